/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers on threads: who runs where, that the idle sleep, that the woken are woken once, signals.
 * What a worker's thread counts is read after loop_join.
 */
#include "lib/unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/context.h"
#include "base/counter.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/epoch.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "loop/worker.h"

enum { WORKERS = 4, BATCH = 10000, QUIET_MS = 60, PATIENCE_MS = 20000 };

static struct loop *loop;
static struct worker *workers[WORKERS];
static struct timer steps; /* main's */
static unsigned step;
static struct timer patience;
static bool ran_out;

static uint64_t
sum(enum counter counter)
{
	const struct counter_set *sets[WORKERS];

	for (unsigned i = 0; i < WORKERS; i++) {
		sets[i] = worker_counters(workers[i]);
	}
	return counter_sum(sets, WORKERS, counter);
}

static void
on_patience(struct worker *worker, struct timer *timer)
{
	(void)timer;
	ran_out = true;
	loop_stop(worker_loop(worker));
}

static void
set_patience(struct worker *worker, void *arg)
{
	(void)arg;
	patience = (struct timer){.fn = on_patience};
	timer_set(worker, &patience, context_current->mono_ms + PATIENCE_MS);
}

static int
set_up(void **state)
{
	static const char *const names[WORKERS] = {"main", "w1", "w2", "a-name-too-long-to-keep"};
	struct loop_options options = {.log_level = LOG_LEVEL_INFO};

	(void)state;
	loop = loop_new(&options);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = loop_add_worker(loop, names[i]);
	}
	step = 0;
	ran_out = false;
	worker_on_start(workers[0], set_patience, NULL);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	loop_free(&loop);
	return 0;
}

static void
run(void)
{
	assert_int_equal(loop_start(loop), 0);
	loop_run(loop);
	loop_join(loop);
	assert_false(ran_out);
}

/* Calls fn on main each so many milliseconds, until it stops the loop. */
static void
set_steps(struct worker *worker, void *arg)
{
	*(void **)&steps.fn = arg;
	steps.link = (struct list_link){0};
	timer_set(worker, &steps, context_current->mono_ms + QUIET_MS);
}

static void
run_steps(timer_fn *fn)
{
	void *arg;

	memcpy(&arg, &fn, sizeof(arg));
	worker_on_start(workers[0], set_steps, arg);
	run();
}

static void
next_step(struct worker *worker)
{
	step++;
	timer_set(worker, &steps, context_current->mono_ms + QUIET_MS);
}

/* --- whose thread --- */

static pthread_t threads[WORKERS];
static unsigned calls[WORKERS];
static _Atomic unsigned started_count;

static void
note_thread(struct worker *worker, void *arg)
{
	char name[16];

	(void)arg;
	threads[worker_index(worker)] = pthread_self();
	assert_ptr_equal(context_current->log, worker_log(worker));
	assert_true(context_current->mono_ms > 0 && context_current->wall_ms > 0);
	pthread_getname_np(pthread_self(), name, sizeof(name));
	if (worker_index(worker) != 0) {
		assert_string_equal(name, worker_name(worker));
	}
	if (atomic_fetch_add(&started_count, 1) == WORKERS - 1) {
		loop_stop(worker_loop(worker));
	}
}

static void
check_thread(struct worker *worker, void *arg)
{
	(void)arg;
	assert_true(pthread_equal(threads[worker_index(worker)], pthread_self()));
	calls[worker_index(worker)]++;
}

static void
each_worker_starts_and_stops_on_its_own_thread(void **state)
{
	(void)state;
	atomic_store(&started_count, 0);
	memset(calls, 0, sizeof(calls));
	for (unsigned i = 0; i < WORKERS; i++) {
		worker_on_start(workers[i], note_thread, NULL);
		worker_on_stop(workers[i], check_thread, NULL);
	}
	run();
	for (unsigned i = 0; i < WORKERS; i++) {
		assert_int_equal(calls[i], 1);
		assert_int_equal(pthread_equal(threads[i], threads[0]) != 0, i == 0);
	}
	assert_string_equal(worker_name(workers[3]), "a-name-too-long");
}

/* --- sleeping and waking --- */

static uint64_t turns_before[WORKERS];

static bool
all_others_sleep(void)
{
	bool sleep = true;

	for (unsigned i = 1; i < WORKERS; i++) {
		sleep = sleep && worker_turns(workers[i]) != 0 && worker_is_asleep(workers[i]);
	}
	return sleep;
}

static void
watch_the_idle(struct worker *worker, struct timer *timer)
{
	(void)timer;
	assert_false(worker_is_asleep(worker));
	if (step == 0 && !all_others_sleep()) {
		next_step(worker);
		step = 0; /* a busy machine */
		return;
	}
	for (unsigned i = 1; i < WORKERS; i++) {
		assert_true(step == 0 || worker_turns(workers[i]) == turns_before[i]);
		turns_before[i] = worker_turns(workers[i]);
	}
	if (step == 2) {
		loop_stop(worker_loop(worker));
	} else {
		next_step(worker);
	}
}

static void
an_idle_worker_does_not_wake_up(void **state)
{
	(void)state;
	run_steps(watch_the_idle);
	assert_int_equal(worker_turns(workers[1]), 1 + 1); /* the first, and the one that ends it */
}

struct letter {
	struct mail mail;
	unsigned number;
};

static struct letter letters[BATCH];
static unsigned next_number;

static void
on_letter(struct worker *to, struct mail *mail)
{
	assert_int_equal(list_item(mail, struct letter, mail)->number, next_number++);
	assert_ptr_equal(context_current->log, worker_log(to));
	if (next_number == BATCH) {
		loop_stop(worker_loop(to));
	}
}

static void
send_batch(struct worker *worker, struct timer *timer)
{
	(void)timer;
	for (unsigned i = 0; i < BATCH; i++) {
		letters[i] = (struct letter){{.run = on_letter}, i};
		mail_send(worker, workers[1], &letters[i].mail, 10);
	}
}

static void
a_batch_of_mail_wakes_its_target_once(void **state)
{
	(void)state;
	next_number = 0;
	run_steps(send_batch);
	assert_int_equal(next_number, BATCH);
	assert_int_equal(mail_undigested(loop), 0);
	assert_int_equal(sum(COUNTER_LOOP_MAILS), BATCH);
	/* w1 for its mail, and main for the end unless it was not asleep yet. */
	assert_in_range(sum(COUNTER_LOOP_WAKEUPS), 1, 2);
}

enum { HEAVY = 64, HEAVY_PER_TURN = 16, HEAVY_US = 200 };

static uint64_t heavy_turn;
static unsigned heavy_in_turn;

/* Each takes so long at least, and main sends all of them at once. */
static void
on_heavy(struct worker *to, struct mail *mail)
{
	const struct timespec time = {.tv_nsec = HEAVY_US * 1000};

	assert_int_equal(list_item(mail, struct letter, mail)->number, next_number++);
	heavy_in_turn = worker_turns(to) == heavy_turn ? heavy_in_turn + 1 : 1;
	heavy_turn = worker_turns(to);
	assert_int_equal(heavy_in_turn, (next_number - 1) % HEAVY_PER_TURN + 1);
	(void)nanosleep(&time, NULL);
	if (next_number == HEAVY) {
		loop_stop(worker_loop(to));
	}
}

static void
send_heavy(struct worker *worker, struct timer *timer)
{
	(void)timer;
	for (unsigned i = 0; i < HEAVY; i++) {
		letters[i] = (struct letter){{.run = on_heavy}, i};
		mail_send(worker, workers[1], &letters[i].mail, 10);
	}
}

static void
mail_that_takes_long_is_spread_over_turns(void **state)
{
	(void)state;
	next_number = 0;
	heavy_turn = 0;
	worker_set_mail_time(workers[1], HEAVY_US * 1000);
	run_steps(send_heavy);
	assert_int_equal(next_number, HEAVY);
	assert_int_equal(mail_undigested(loop), 0);
}

static void *
post_from_outside(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < BATCH; i++) {
		letters[i] = (struct letter){{.run = on_letter}, i};
		mail_post(workers[2], &letters[i].mail);
	}
	return NULL;
}

static void
a_foreign_thread_may_post(void **state)
{
	pthread_t thread;

	(void)state;
	next_number = 0;
	assert_int_equal(loop_start(loop), 0);
	assert_int_equal(pthread_create(&thread, NULL, post_from_outside, NULL), 0);
	loop_run(loop);
	pthread_join(thread, NULL);
	loop_join(loop);
	assert_false(ran_out);
	assert_int_equal(next_number, BATCH);
}

/* --- the log --- */

static unsigned lines_read;

static void
write_lines(struct worker *to, struct mail *mail)
{
	(void)to;
	(void)mail;
	log_info("one");
	log_info("two");
}

static void
read_lines(struct worker *worker, void *arg)
{
	struct log_record record;

	(void)arg;
	assert_int_equal(worker_index(worker), 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		while (log_ring_take(worker_log(workers[i]), &record)) {
			lines_read++;
		}
	}
	if (lines_read == 2) {
		loop_stop(worker_loop(worker));
	}
}

static void
a_line_of_another_worker_wakes_main(void **state)
{
	struct mail mail = {.run = write_lines};

	(void)state;
	lines_read = 0;
	loop_on_log(loop, read_lines, NULL);
	assert_int_equal(loop_start(loop), 0);
	mail_post(workers[3], &mail);
	loop_run(loop);
	loop_join(loop);
	assert_false(ran_out);
	assert_int_equal(lines_read, 2);
}

/* --- signals --- */

static void
on_signal(struct worker *worker, int number, void *arg)
{
	assert_int_equal(worker_index(worker), 0);
	assert_ptr_equal(context_current->log, worker_log(worker));
	*(int *)arg = number;
	loop_stop(worker_loop(worker));
}

static void
raise_signal(struct worker *to, struct mail *mail)
{
	sigset_t blocked;

	(void)to;
	(void)mail;
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	assert_true(sigismember(&blocked, SIGUSR1));
	assert_false(sigismember(&blocked, SIGSEGV));
	kill(getpid(), SIGUSR1);
}

static void
a_signal_to_the_process_comes_to_main(void **state)
{
	struct mail mail = {.run = raise_signal};
	int number = 0;

	(void)state;
	assert_int_equal(worker_on_signal(workers[0], SIGUSR1, on_signal, &number), 0);
	assert_int_equal(loop_start(loop), 0);
	mail_post(workers[1], &mail);
	loop_run(loop);
	loop_join(loop);
	assert_false(ran_out);
	assert_int_equal(number, SIGUSR1);
}

/* --- reclamation --- */

static _Atomic bool is_held;
static _Atomic unsigned freed_count;

static void
on_freed(void *memory)
{
	assert_false(atomic_load(&is_held));
	mem_free(&memory);
	atomic_fetch_add(&freed_count, 1);
}

static void
retire_one(struct worker *to, struct mail *mail)
{
	(void)mail;
	epoch_retire(to, mem_alloc(8), on_freed);
}

/* A turn of w1 that takes long: what w2 retires meanwhile must wait. */
static void
hold_long(struct worker *to, struct mail *mail)
{
	static struct mail order;
	struct timespec pause = {.tv_nsec = QUIET_MS * 1000000L};

	(void)to;
	(void)mail;
	atomic_store(&is_held, true);
	order = (struct mail){.run = retire_one};
	mail_post(workers[2], &order);
	nanosleep(&pause, NULL);
	assert_int_equal(atomic_load(&freed_count), 0);
	atomic_store(&is_held, false);
}

static void
watch_freeing(struct worker *worker, struct timer *timer)
{
	static struct mail order;
	static uint64_t turns;

	(void)timer;
	if (step == 0) {
		order = (struct mail){.run = hold_long};
		mail_post(workers[1], &order);
	} else if (step == 1) {
		turns = 0;
	} else if (atomic_load(&freed_count) == 1) {
		/* Nobody looks for anything any more. */
		if (turns == worker_turns(workers[2])) {
			loop_stop(worker_loop(worker));
			return;
		}
		turns = worker_turns(workers[2]);
	}
	next_step(worker);
}

static void
memory_waits_for_a_long_turn_and_then_all_sleep(void **state)
{
	(void)state;
	atomic_store(&freed_count, 0);
	run_steps(watch_freeing);
	assert_int_equal(atomic_load(&freed_count), 1);
	assert_in_range(worker_turns(workers[2]), 3, 12);
}

/* A turn of w1 that waits for a disk, which is done when what w2 retires meanwhile is freed. */
static void
block_long(struct worker *to, struct mail *mail)
{
	static struct mail order;
	struct timespec pause = {.tv_nsec = 1000000};

	(void)mail;
	order = (struct mail){.run = retire_one};
	mail_post(workers[2], &order);
	epoch_leave(to);
	for (int i = 0; i < PATIENCE_MS / 4 && atomic_load(&freed_count) == 0; i++) {
		nanosleep(&pause, NULL);
	}
	epoch_return(to);
	assert_int_equal(atomic_load(&freed_count), 1);
	loop_stop(loop);
}

static void
order_blocking(struct worker *worker, struct timer *timer)
{
	static struct mail order;

	(void)worker;
	(void)timer;
	order = (struct mail){.run = block_long};
	mail_post(workers[1], &order);
}

static void
memory_does_not_wait_for_a_worker_that_left(void **state)
{
	(void)state;
	atomic_store(&freed_count, 0);
	run_steps(order_blocking);
	assert_int_equal(atomic_load(&freed_count), 1);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    CASE(each_worker_starts_and_stops_on_its_own_thread),
	    CASE(an_idle_worker_does_not_wake_up),
	    CASE(a_batch_of_mail_wakes_its_target_once),
	    CASE(mail_that_takes_long_is_spread_over_turns),
	    CASE(a_foreign_thread_may_post),
	    CASE(a_line_of_another_worker_wakes_main),
	    CASE(a_signal_to_the_process_comes_to_main),
	    CASE(memory_waits_for_a_long_turn_and_then_all_sleep),
	    CASE(memory_does_not_wait_for_a_worker_that_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
