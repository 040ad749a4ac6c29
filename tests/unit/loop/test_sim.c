/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator itself: the same seed gives the same run, another one another; time and context.
 */
#include "lib/unit.h"

#include "base/context.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/list.h"
#include "loop/mailbox.h"
#include "loop/sim.h"
#include "loop/timer.h"
#include "loop/watch.h"

enum { WORKERS = 4, HOPS = 300 };

struct ball {
	struct mail mail;
	unsigned hops_left;
};

static uint64_t trail; /* a digest of who did what when */

static void
note(struct worker *worker, uint64_t what)
{
	const struct hash_key key = {1, 2};
	uint64_t step[4] = {trail, worker_index(worker), what, (uint64_t)context_current->mono_ms};

	trail = hash_bytes(&key, bytes_make(step, sizeof(step)));
}

static void
on_ball(struct worker *to, struct mail *mail)
{
	struct ball *ball = list_item(mail, struct ball, mail);
	struct loop *loop = worker_loop(to);

	assert_int_equal(context_current->mono_ms, sim_now_ms(loop));
	note(to, ball->hops_left);
	if (ball->hops_left-- > 1) {
		mail_send(to, loop_worker(loop, (unsigned)(worker_random(to) % WORKERS)), mail, 1);
	}
}

static struct loop *
new_loop(uint64_t seed)
{
	struct loop_options options = {.seed = seed};
	static const char *const names[WORKERS] = {"main", "w1", "w2", "w3"};
	struct loop *loop = loop_new(&options);

	for (unsigned i = 0; i < WORKERS; i++) {
		loop_add_worker(loop, names[i]);
	}
	return loop;
}

static uint64_t
play(uint64_t seed)
{
	struct loop *loop = new_loop(seed);
	struct ball balls[3] = {0};

	trail = 0;
	loop_start(loop);
	for (unsigned i = 0; i < 3; i++) {
		balls[i] = (struct ball){.mail.run = on_ball, .hops_left = HOPS};
		mail_post(loop_worker(loop, i), &balls[i].mail);
	}
	loop_run(loop);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(balls[i].hops_left, 0);
	}
	loop_join(loop);
	loop_free(&loop);
	return trail;
}

static void
a_seed_gives_one_run_and_another_seed_another(void **state)
{
	uint64_t first = play(1);

	(void)state;
	assert_true(play(1) == first);
	assert_true(play(2) != first);
}

static void
on_early(struct worker *worker, struct timer *timer)
{
	note(worker, 1);
	assert_int_equal(context_current->mono_ms, timer->due_ms);
	assert_int_equal(context_current->wall_ms % 1000, timer->due_ms % 1000);
}

static void
time_passes_only_as_far_as_it_is_told(void **state)
{
	struct loop *loop = new_loop(1);
	struct timer timers[WORKERS] = {0};
	int64_t start = sim_now_ms(loop);

	(void)state;
	loop_start(loop);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *worker = loop_worker(loop, i);

		sim_enter(worker);
		timers[i].fn = on_early;
		timer_set(worker, &timers[i], start + 100 * (i + 1));
		sim_leave();
	}
	assert_null(context_current);
	sim_settle(loop, 100);
	assert_int_equal(sim_now_ms(loop), start);
	sim_advance(loop, 208); /* timers of some distance are a few milliseconds late */
	assert_int_equal(sim_now_ms(loop), start + 208);
	assert_false(timer_is_set(&timers[0]));
	assert_false(timer_is_set(&timers[1]));
	assert_true(timer_is_set(&timers[2]));
	while (sim_step(loop)) {}
	assert_false(timer_is_set(&timers[3]));
	loop_join(loop);
	loop_free(&loop);
}

static void
entering_nests(void **state)
{
	struct loop *loop = new_loop(1);

	(void)state;
	loop_start(loop);
	sim_enter(loop_worker(loop, 1));
	sim_enter(loop_worker(loop, 2));
	assert_ptr_equal(context_current->log, worker_log(loop_worker(loop, 2)));
	sim_leave();
	assert_ptr_equal(context_current->log, worker_log(loop_worker(loop, 1)));
	sim_leave();
	assert_null(context_current);
	sim_leave();
	loop_join(loop);
	loop_free(&loop);
}

static void
be_restless(struct worker *worker, void *arg)
{
	(void)arg;
	worker_again(worker);
}

static void
settling_has_a_limit(void **state)
{
	struct loop *loop = new_loop(1);

	(void)state;
	worker_on_phase(loop_worker(loop, 1), WORKER_WRITE, be_restless, NULL);
	loop_start(loop);
	assert_false(sim_settle(loop, 100));
	assert_true(sim_step(loop));
	loop_join(loop);
	loop_free(&loop);
}

static void
on_nothing(struct watch *watch, unsigned events)
{
	(void)watch;
	(void)events;
}

static void
there_are_no_file_descriptors(void **state)
{
	struct loop *loop = new_loop(1);
	struct watch watch = {.fn = on_nothing};

	(void)state;
	assert_int_equal(
	    watch_attach(&watch, loop_worker(loop, 0), 0, WATCH_READ), ERR_UNSUPPORTED);
	assert_null(watch.worker);
	loop_free(&loop);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_seed_gives_one_run_and_another_seed_another),
	    cmocka_unit_test(time_passes_only_as_far_as_it_is_told),
	    cmocka_unit_test(entering_nests),
	    cmocka_unit_test(settling_has_a_limit),
	    cmocka_unit_test(there_are_no_file_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
