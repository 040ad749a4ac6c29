/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When retired memory is freed, in the simulator. A worker that has work counts as being in its
 * turn, as far as others can tell.
 */
#include "lib/unit.h"

#include "base/mem.h"
#include "loop/epoch.h"
#include "loop/mailbox.h"
#include "loop/sim.h"

enum { WORKERS = 3, MANY = 1000 };

static struct loop *loop;
static unsigned freed_count;
static struct worker *next_retirer; /* who retires once more when something is freed */

static int
set_up(void **state)
{
	struct loop_options options = {.seed = 4};
	static const char *const names[WORKERS] = {"main", "w1", "w2"};

	(void)state;
	loop = loop_new(&options);
	for (unsigned i = 0; i < WORKERS; i++) {
		loop_add_worker(loop, names[i]);
	}
	freed_count = 0;
	next_retirer = NULL;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	loop_join(loop);
	loop_free(&loop);
	return 0;
}

static void
on_free(void *memory)
{
	struct worker *retirer = next_retirer;

	freed_count++;
	mem_free(&memory);
	if (retirer != NULL) {
		next_retirer = NULL;
		epoch_retire(retirer, mem_alloc(1), on_free);
	}
}

static void
retire(unsigned i)
{
	sim_enter(loop_worker(loop, i));
	epoch_retire(loop_worker(loop, i), mem_alloc(1), on_free);
	sim_leave();
}

static void
memory_is_freed_at_once_when_all_others_sleep(void **state)
{
	(void)state;
	loop_start(loop);
	assert_true(sim_settle(loop, 100));
	retire(1);
	assert_int_equal(freed_count, 0);
	assert_true(sim_step(loop));
	assert_int_equal(freed_count, 1);
	assert_false(sim_step(loop));
}

static void
memory_waits_for_a_worker_that_is_awake(void **state)
{
	(void)state;
	loop_start(loop);
	/* All three are awake until their first turns are over. */
	retire(0);
	for (unsigned ended = 0; ended < WORKERS;) {
		assert_int_equal(freed_count, 0);
		assert_true(sim_step(loop));
		ended = 0;
		for (unsigned i = 0; i < WORKERS; i++) {
			ended += worker_turns(loop_worker(loop, i)) != 0;
		}
	}
	assert_true(sim_settle(loop, 10));
	assert_int_equal(freed_count, 1);
}

static void
be_busy(struct worker *worker, void *arg)
{
	bool *is_busy = arg;

	if (*is_busy) {
		worker_again(worker);
	}
}

static void
a_worker_that_never_sleeps_holds_nothing_up(void **state)
{
	bool is_busy = true;

	(void)state;
	worker_on_phase(loop_worker(loop, 2), WORKER_SETTLE, be_busy, &is_busy);
	loop_start(loop);
	for (unsigned i = 0; i < MANY; i++) {
		retire(1);
		sim_step(loop);
	}
	assert_false(sim_settle(loop, 100));
	assert_int_equal(freed_count, MANY);
	is_busy = false;
	assert_true(sim_settle(loop, 100));
}

static void
freeing_may_retire(void **state)
{
	(void)state;
	loop_start(loop);
	assert_true(sim_settle(loop, 100));
	next_retirer = loop_worker(loop, 1);
	retire(1);
	assert_true(sim_settle(loop, 100));
	assert_int_equal(freed_count, 2);
}

static void
what_was_retired_before_the_start_is_freed(void **state)
{
	(void)state;
	epoch_retire(loop_worker(loop, 2), mem_alloc(1), on_free);
	loop_start(loop);
	assert_true(sim_settle(loop, 100));
	assert_int_equal(freed_count, 1);
}

static void
joining_and_freeing_the_loop_free_the_rest(void **state)
{
	(void)state;
	loop_start(loop);
	retire(0);
	retire(1);
	loop_join(loop);
	assert_int_equal(freed_count, 2);
	epoch_retire(loop_worker(loop, 0), mem_alloc(1), on_free);
	next_retirer = loop_worker(loop, 0);
	loop_free(&loop);
	assert_int_equal(freed_count, 4);
	set_up(state);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    CASE(memory_is_freed_at_once_when_all_others_sleep),
	    CASE(memory_waits_for_a_worker_that_is_awake),
	    CASE(a_worker_that_never_sleeps_holds_nothing_up),
	    CASE(freeing_may_retire),
	    CASE(what_was_retired_before_the_start_is_freed),
	    CASE(joining_and_freeing_the_loop_free_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
