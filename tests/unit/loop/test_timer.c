/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers, in virtual time. The bounds are those of loop/timer.h: never early, and late by at most
 * 1/63 of the distance.
 */
#include "lib/unit.h"

#include <string.h>

#include "base/context.h"
#include "base/mem.h"
#include "base/rand.h"
#include "loop/sim.h"
#include "loop/timer.h"

enum { MANY = 3000, ORDER_MAX = 16 };

struct probe {
	struct timer timer;
	int64_t set_at;
	int64_t fired_at; /* 0: not yet */
	unsigned fired_count;
	unsigned number;
};

static struct loop *loop;
static struct worker *main_worker;
static unsigned order[ORDER_MAX];
static unsigned order_count;

static int
set_up(void **state)
{
	struct loop_options options = {.seed = 7};

	(void)state;
	loop = loop_new(&options);
	main_worker = loop_add_worker(loop, "main");
	loop_start(loop);
	sim_settle(loop, 100);
	order_count = 0;
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
on_probe(struct worker *worker, struct timer *timer)
{
	struct probe *probe = list_item(timer, struct probe, timer);

	assert_ptr_equal(worker, main_worker);
	assert_false(timer_is_set(timer));
	assert_int_equal(context_current->mono_ms, sim_now_ms(loop));
	probe->fired_at = sim_now_ms(loop);
	probe->fired_count++;
	if (order_count < ORDER_MAX) {
		order[order_count++] = probe->number;
	}
}

static void
set(struct probe *probe, int64_t distance_ms)
{
	sim_enter(main_worker);
	probe->timer.fn = on_probe;
	probe->set_at = sim_now_ms(loop);
	timer_set(main_worker, &probe->timer, sim_now_ms(loop) + distance_ms);
	sim_leave();
}

static void
clear(struct probe *probe)
{
	sim_enter(main_worker);
	timer_clear(main_worker, &probe->timer);
	sim_leave();
}

static void
a_near_timer_fires_at_its_millisecond(void **state)
{
	struct probe probes[500] = {0};
	int64_t start = sim_now_ms(loop);

	(void)state;
	for (int i = 0; i < 500; i++) {
		set(&probes[i], i + 1);
	}
	sim_advance(loop, 600);
	for (int i = 0; i < 500; i++) {
		assert_int_equal(probes[i].fired_at, start + i + 1);
		assert_int_equal(probes[i].fired_count, 1);
	}
}

static void
a_moment_that_has_passed_fires_without_time_going_on(void **state)
{
	struct probe now = {0};
	struct probe past = {0};

	(void)state;
	set(&now, 0);
	set(&past, -5000);
	assert_true(sim_settle(loop, 10));
	assert_int_equal(now.fired_at, now.set_at);
	assert_int_equal(past.fired_at, past.set_at);
}

static void
timers_of_all_distances_are_never_early_and_hardly_late(void **state)
{
	static struct probe probes[MANY];
	struct rand_gen random;
	int64_t end;

	(void)state;
	memset(probes, 0, sizeof(probes));
	rand_gen_init(&random, 1);
	for (unsigned i = 0; i < MANY; i++) {
		set(&probes[i], (int64_t)rand_gen_below(&random, UINT64_C(1) << (1 + i % 33)));
		if (i % 100 == 0) {
			sim_advance(loop, (int64_t)rand_gen_below(&random, 2000));
		}
	}
	end = sim_now_ms(loop) + (INT64_C(1) << 34);
	while (sim_now_ms(loop) < end) {
		sim_advance(loop, 1 + (end - sim_now_ms(loop)) / 3);
	}
	for (unsigned i = 0; i < MANY; i++) {
		int64_t distance = probes[i].timer.due_ms - probes[i].set_at;

		assert_int_equal(probes[i].fired_count, 1);
		assert_true(probes[i].fired_at >= probes[i].timer.due_ms);
		assert_true(probes[i].fired_at - probes[i].timer.due_ms <= distance / 63);
	}
}

/* Where one level ends and the next begins, with the clock anywhere within a slot. */
static void
the_ends_of_a_level_are_no_worse_than_its_middle(void **state)
{
	(void)state;
	for (unsigned clock = 0; clock < 10; clock++) {
		for (int64_t slots = 508; slots < 514; slots++) {
			struct probe probes[2] = {0};

			set(&probes[0], slots * 8);
			set(&probes[1], slots * 64);
			sim_advance(loop, 514 * 64 + 512);
			for (unsigned i = 0; i < 2; i++) {
				int64_t late = probes[i].fired_at - probes[i].timer.due_ms;

				assert_int_equal(probes[i].fired_count, 1);
				assert_in_range(late, 0, 8 * slots * (i == 0 ? 1 : 8) / 63);
			}
		}
		sim_advance(loop, 1);
	}
}

static void
a_timer_set_after_a_long_sleep_is_as_exact_as_any(void **state)
{
	struct probe probe = {0};
	struct probe far = {0};

	(void)state;
	set(&far, INT64_C(100) * 86400 * 1000);
	sim_advance(loop, 10000000);
	set(&probe, 100);
	sim_advance(loop, 200);
	assert_int_equal(probe.fired_at, probe.set_at + 100);
	clear(&far);
}

static void
a_moment_beyond_the_wheel_is_kept(void **state)
{
	struct probe year = {0};
	struct probe never = {0};
	int64_t distance = INT64_C(365) * 86400 * 1000;

	(void)state;
	set(&year, distance);
	sim_enter(main_worker);
	never.timer.fn = on_probe;
	timer_set(main_worker, &never.timer, INT64_MAX);
	sim_leave();
	sim_advance(loop, distance - 1);
	assert_int_equal(year.fired_count, 0);
	sim_advance(loop, distance / 63);
	assert_int_equal(year.fired_count, 1);
	assert_int_equal(never.fired_count, 0);
	assert_true(timer_is_set(&never.timer));
	clear(&never);
}

static void
a_cleared_timer_never_fires_and_wakes_nobody(void **state)
{
	struct probe probes[3] = {0};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		set(&probes[i], 1000 * (i + 1));
	}
	clear(&probes[1]);
	clear(&probes[1]);
	assert_false(timer_is_set(&probes[1].timer));
	clear(&probes[0]);
	clear(&probes[2]);
	sim_settle(loop, 10);
	assert_false(sim_step(loop));
	sim_advance(loop, 10000);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(probes[i].fired_count, 0);
	}
}

static void
a_timer_that_is_moved_fires_once_at_its_last_moment(void **state)
{
	struct probe probe = {0};

	(void)state;
	set(&probe, 100);
	set(&probe, 50000);
	set(&probe, 300);
	sim_advance(loop, 299);
	assert_int_equal(probe.fired_count, 0);
	sim_advance(loop, 100000);
	assert_int_equal(probe.fired_count, 1);
	assert_int_equal(probe.fired_at, probe.set_at + 300);
}

static void
timers_of_one_moment_fire_in_the_order_in_which_they_were_set(void **state)
{
	struct probe probes[4] = {0};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		probes[i].number = i;
		set(&probes[i], 20);
	}
	sim_advance(loop, 20);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(order[i], i);
	}
}

/* --- callbacks that change timers --- */

static struct probe *victims[2];

static void
on_rival(struct worker *worker, struct timer *timer)
{
	struct probe *own = list_item(timer, struct probe, timer);

	own->fired_count++;
	timer_clear(worker, &victims[own->number]->timer);
}

static void
one_of_two_due_timers_may_clear_the_other(void **state)
{
	struct probe a = {.number = 0};
	struct probe b = {.number = 1};

	(void)state;
	victims[0] = &b;
	victims[1] = &a;
	set(&a, 10);
	set(&b, 10);
	a.timer.fn = b.timer.fn = on_rival;
	sim_advance(loop, 100);
	assert_int_equal(a.fired_count, 1);
	assert_int_equal(b.fired_count, 0);
}

static void
on_again(struct worker *worker, struct timer *timer)
{
	struct probe *probe = list_item(timer, struct probe, timer);

	if (++probe->fired_count < 3) {
		timer_set(worker, timer, 0);
	}
}

static void
a_callback_that_sets_itself_to_the_past_gets_a_turn_each(void **state)
{
	struct probe probe = {0};
	uint64_t turns;

	(void)state;
	set(&probe, 10);
	probe.timer.fn = on_again;
	sim_advance(loop, 9);
	turns = worker_turns(main_worker);
	sim_advance(loop, 1);
	assert_int_equal(probe.fired_count, 3);
	assert_int_equal(worker_turns(main_worker) - turns, 3);
}

static void
on_free(struct worker *worker, struct timer *timer)
{
	(void)worker;
	mem_free(&timer);
}

static void
a_callback_may_free_its_timer(void **state)
{
	struct timer *timer = mem_zalloc(sizeof(*timer));

	(void)state;
	sim_enter(main_worker);
	timer->fn = on_free;
	timer_set(main_worker, timer, sim_now_ms(loop) + 5);
	sim_leave();
	sim_advance(loop, 5);
	sim_settle(loop, 10);
	assert_false(sim_step(loop));
}

static void
a_worker_with_timers_has_no_turn_before_the_first_is_due(void **state)
{
	static struct probe probes[MANY];
	uint64_t turns;

	(void)state;
	memset(probes, 0, sizeof(probes));
	for (unsigned i = 0; i < MANY; i++) {
		set(&probes[i], 60000 + i);
	}
	sim_settle(loop, 10);
	turns = worker_turns(main_worker);
	sim_advance(loop, 59999);
	assert_int_equal(worker_turns(main_worker), turns);
	sim_advance(loop, 5000);
	/* A slot for each 512 milliseconds of 3000. */
	assert_in_range(worker_turns(main_worker) - turns, 1, 8);
	assert_int_equal(probes[MANY - 1].fired_count, 1);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    CASE(a_near_timer_fires_at_its_millisecond),
	    CASE(a_moment_that_has_passed_fires_without_time_going_on),
	    CASE(timers_of_all_distances_are_never_early_and_hardly_late),
	    CASE(the_ends_of_a_level_are_no_worse_than_its_middle),
	    CASE(a_timer_set_after_a_long_sleep_is_as_exact_as_any),
	    CASE(a_moment_beyond_the_wheel_is_kept),
	    CASE(a_cleared_timer_never_fires_and_wakes_nobody),
	    CASE(a_timer_that_is_moved_fires_once_at_its_last_moment),
	    CASE(timers_of_one_moment_fire_in_the_order_in_which_they_were_set),
	    CASE(one_of_two_due_timers_may_clear_the_other),
	    CASE(a_callback_that_sets_itself_to_the_past_gets_a_turn_each),
	    CASE(a_callback_may_free_its_timer),
	    CASE(a_worker_with_timers_has_no_turn_before_the_first_is_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
