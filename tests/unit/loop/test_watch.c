/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches of file descriptors, on libevent. Each case starts on main, does its steps in callbacks,
 * and stops the loop; a timer ends it when what should come does not.
 */
#include "lib/unit.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/context.h"
#include "base/err.h"
#include "base/list.h"
#include "loop/timer.h"
#include "loop/watch.h"
#include "loop/worker.h"

enum { PATIENCE_MS = 20000, SHORT_MS = 50 };

struct end {
	struct watch watch;
	unsigned calls;
	unsigned events;     /* of the last call */
	unsigned all_events; /* of all calls */
	void (*act)(struct end *end);
};

static struct loop *loop;
static struct worker *main_worker;
static int fds[2];
static struct end ends[2];
static struct timer patience;
static bool ran_out;

static void
on_patience(struct worker *worker, struct timer *timer)
{
	(void)timer;
	ran_out = true;
	loop_stop(worker_loop(worker));
}

static void
give_up_after(int64_t ms)
{
	patience.fn = on_patience;
	timer_set(main_worker, &patience, context_current->mono_ms + ms);
}

static int
set_up(void **state)
{
	struct loop_options options = {.seed = 1};

	(void)state;
	loop = loop_new(&options);
	main_worker = loop_add_worker(loop, "main");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	memset(ends, 0, sizeof(ends));
	memset(&patience, 0, sizeof(patience));
	ran_out = false;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		watch_detach(&ends[i].watch);
		close(fds[i]);
	}
	loop_join(loop);
	loop_free(&loop);
	return 0;
}

static void
on_end(struct watch *watch, unsigned events)
{
	struct end *end = list_item(watch, struct end, watch);

	end->calls++;
	end->events = events;
	end->all_events |= events;
	if (end->act != NULL) {
		end->act(end);
	}
}

static void
attach(unsigned i, unsigned wanted)
{
	ends[i].watch.fn = on_end;
	assert_int_equal(watch_attach(&ends[i].watch, main_worker, fds[i], wanted), 0);
}

static void
run(worker_fn *fn)
{
	worker_on_start(main_worker, fn, NULL);
	assert_int_equal(loop_start(loop), 0);
	loop_run(loop);
}

static void
say(unsigned i)
{
	assert_int_equal(write(fds[i], "x", 1), 1);
}

static void
hear(unsigned i)
{
	char memory[16];

	assert_true(read(fds[i], memory, sizeof(memory)) > 0);
}

static void
stop_at_three(struct end *end)
{
	if (end->calls == 3) {
		loop_stop(loop);
	}
}

static void
start_reading(struct worker *worker, void *arg)
{
	(void)worker;
	(void)arg;
	give_up_after(PATIENCE_MS);
	attach(0, WATCH_READ);
	ends[0].act = stop_at_three;
	say(1);
}

static void
what_is_not_read_is_told_again(void **state)
{
	(void)state;
	run(start_reading);
	assert_false(ran_out);
	assert_int_equal(ends[0].calls, 3);
	assert_int_equal(ends[0].all_events, WATCH_READ);
}

static void
pause_reading(struct end *end)
{
	watch_set(&end->watch, 0);
}

static void
start_pausing(struct worker *worker, void *arg)
{
	(void)worker;
	(void)arg;
	give_up_after(SHORT_MS);
	attach(0, WATCH_READ);
	ends[0].act = pause_reading;
	say(1);
}

static void
a_watch_that_wants_nothing_is_not_told_of_bytes_and_wakes_nobody(void **state)
{
	(void)state;
	run(start_pausing);
	assert_true(ran_out);
	assert_int_equal(ends[0].calls, 1);
	assert_in_range(worker_turns(main_worker), 2, 6);
}

static void
hang_up_when_paused(struct end *end)
{
	if (end->calls == 1) {
		watch_set(&end->watch, 0);
		shutdown(fds[1], SHUT_WR);
	} else {
		give_up_after(SHORT_MS);
	}
}

static void
start_hanging_up(struct worker *worker, void *arg)
{
	start_pausing(worker, arg);
	give_up_after(PATIENCE_MS);
	ends[0].act = hang_up_when_paused;
}

static void
a_watch_that_wants_nothing_notices_the_end_once(void **state)
{
	(void)state;
	run(start_hanging_up);
	assert_int_equal(ends[0].calls, 2);
	assert_int_equal(ends[0].events, WATCH_READ);
	assert_in_range(worker_turns(main_worker), 3, 8);
}

static void
go_on_reading(struct end *end)
{
	if (end->calls == 1) {
		watch_set(&end->watch, 0);
		watch_set(&end->watch, WATCH_READ);
	} else {
		hear(0);
		loop_stop(loop);
	}
}

static void
start_going_on(struct worker *worker, void *arg)
{
	start_pausing(worker, arg);
	give_up_after(PATIENCE_MS);
	ends[0].act = go_on_reading;
}

static void
reading_goes_on_after_a_pause(void **state)
{
	(void)state;
	run(start_going_on);
	assert_false(ran_out);
	assert_int_equal(ends[0].calls, 2);
	assert_int_equal(ends[0].events, WATCH_READ);
}

/* --- a connection that breaks (TCP: libevent reports a reset as readable and writable) --- */

static void
use_tcp(void)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	close(fds[0]);
	close(fds[1]);
	assert_true(listener >= 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	fds[1] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fds[1], (struct sockaddr *)&address, len), 0);
	fds[0] = accept(listener, NULL, NULL);
	assert_true(fds[0] >= 0);
	close(listener);
}

static void
reset_when_paused(struct end *end)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	if (end->calls == 1) {
		watch_set(&end->watch, 0);
		assert_int_equal(
		    setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
		close(fds[1]);
		fds[1] = dup(fds[0]);
	} else {
		give_up_after(SHORT_MS);
	}
}

static void
start_resetting(struct worker *worker, void *arg)
{
	use_tcp();
	start_pausing(worker, arg);
	give_up_after(PATIENCE_MS);
	ends[0].act = reset_when_paused;
}

static void
a_watch_that_wants_nothing_notices_a_reset_and_does_not_spin(void **state)
{
	(void)state;
	run(start_resetting);
	assert_int_equal(ends[0].calls, 2);
	assert_int_equal(ends[0].events, WATCH_READ);
	assert_in_range(worker_turns(main_worker), 3, 8);
}

/* --- writing --- */

static void
write_once(struct end *end)
{
	if ((end->events & WATCH_WRITE) != 0) {
		watch_set(&end->watch, WATCH_READ);
		say(1);
	} else {
		loop_stop(loop);
	}
}

static void
start_writing(struct worker *worker, void *arg)
{
	(void)worker;
	(void)arg;
	give_up_after(PATIENCE_MS);
	attach(0, WATCH_READ);
	ends[0].act = write_once;
	watch_set(&ends[0].watch, WATCH_READ | WATCH_WRITE);
	watch_set(&ends[0].watch, WATCH_READ | WATCH_WRITE);
}

static void
room_to_write_is_told_only_while_it_is_wanted(void **state)
{
	(void)state;
	run(start_writing);
	assert_false(ran_out);
	assert_int_equal(ends[0].calls, 2);
	assert_int_equal(ends[0].events, WATCH_READ);
}

static void
raise_and_be_ready(struct end *end)
{
	if (end->calls == 1) {
		watch_raise(&end->watch, WATCH_READ);
	} else {
		hear(0);
		loop_stop(loop);
	}
}

static void
start_raising(struct worker *worker, void *arg)
{
	start_pausing(worker, arg);
	give_up_after(PATIENCE_MS);
	ends[0].act = raise_and_be_ready;
}

static void
what_is_raised_and_ready_comes_in_one_call(void **state)
{
	(void)state;
	run(start_raising);
	assert_false(ran_out);
	assert_int_equal(ends[0].calls, 2);
}

/* --- hazards --- */

static void
detach_both(struct end *end)
{
	(void)end;
	watch_detach(&ends[0].watch);
	watch_detach(&ends[1].watch);
	give_up_after(SHORT_MS);
}

static void
start_both(struct worker *worker, void *arg)
{
	(void)worker;
	(void)arg;
	give_up_after(PATIENCE_MS);
	for (unsigned i = 0; i < 2; i++) {
		attach(i, WATCH_READ);
		ends[i].act = detach_both;
		say(1 - i);
	}
}

static void
a_callback_may_detach_another_watch_that_is_ready_too(void **state)
{
	(void)state;
	run(start_both);
	assert_int_equal(ends[0].calls + ends[1].calls, 1);
}

static void
attach_anew(struct end *end)
{
	if (end->calls == 1) {
		watch_detach(&end->watch);
		attach(0, WATCH_WRITE);
	} else {
		assert_int_equal(end->events, WATCH_WRITE);
		loop_stop(loop);
	}
}

static void
start_anew(struct worker *worker, void *arg)
{
	start_pausing(worker, arg);
	give_up_after(PATIENCE_MS);
	ends[0].act = attach_anew;
}

static void
a_callback_may_detach_and_attach_its_own_watch(void **state)
{
	(void)state;
	run(start_anew);
	assert_false(ran_out);
	assert_int_equal(ends[0].calls, 2);
}

static void
what_cannot_be_watched_is_refused(void **state)
{
	int pipe_fds[2];

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	ends[0].watch.fn = on_end;
	assert_int_equal(
	    watch_attach(&ends[0].watch, main_worker, pipe_fds[0], WATCH_READ), ERR_IO);
	assert_null(ends[0].watch.worker);
	assert_false(ends[0].watch.is_armed);
}

/* --- late ones --- */

enum { LATE = 3, TURNS = 30, LATE_MS = 1 };

static struct end late[LATE];
static unsigned turn_of_late[TURNS + 2];

static void
take_long(struct end *end)
{
	int64_t end_ns = loop_now_ns(loop) + LATE_MS * 1000000;

	(void)end;
	turn_of_late[ends[0].calls]++;
	while (loop_now_ns(loop) < end_ns) {}
}

static void
stop_at_last(struct end *end)
{
	if (end->calls == TURNS) {
		loop_stop(loop);
	}
}

/* All are ready all the time; the one that is not late was attached last. */
static void
start_late(struct worker *worker, void *arg)
{
	(void)worker;
	(void)arg;
	give_up_after(PATIENCE_MS);
	for (unsigned i = 0; i < LATE; i++) {
		late[i] = (struct end){.watch = {.fn = on_end, .is_late = true}, .act = take_long};
		assert_int_equal(
		    watch_attach(&late[i].watch, main_worker, dup(fds[1]), WATCH_WRITE), 0);
	}
	attach(0, WATCH_WRITE);
	ends[0].act = stop_at_last;
}

static void
late_ones_come_after_the_others_and_within_the_turns_time(void **state)
{
	unsigned calls = 0;

	(void)state;
	memset(turn_of_late, 0, sizeof(turn_of_late));
	run(start_late);
	assert_false(ran_out);
	assert_int_equal(turn_of_late[0], 0);
	for (unsigned i = 1; i < TURNS; i++) {
		assert_int_equal(turn_of_late[i], 1);
	}
	for (unsigned i = 0; i < LATE; i++) {
		assert_in_range(late[i].calls, TURNS / LATE / 2, TURNS / LATE * 2);
		calls += late[i].calls;
		watch_detach(&late[i].watch);
		close(late[i].watch.fd);
	}
	assert_in_range(calls, TURNS - 1, TURNS);
}

/* With nothing to wait for it must be told, since it is told once. */
static void
start_late_end(struct worker *worker, void *arg)
{
	start_late(worker, arg);
	watch_set(&late[LATE - 1].watch, 0);
	late[LATE - 1].act = NULL;
	assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
}

static void
a_late_one_that_wants_nothing_is_told_its_end_at_once(void **state)
{
	(void)state;
	run(start_late_end);
	assert_false(ran_out);
	assert_int_equal(late[LATE - 1].calls, 1);
	for (unsigned i = 0; i < LATE; i++) {
		watch_detach(&late[i].watch);
		close(late[i].watch.fd);
	}
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    CASE(late_ones_come_after_the_others_and_within_the_turns_time),
	    CASE(a_late_one_that_wants_nothing_is_told_its_end_at_once),
	    CASE(what_is_not_read_is_told_again),
	    CASE(a_watch_that_wants_nothing_is_not_told_of_bytes_and_wakes_nobody),
	    CASE(a_watch_that_wants_nothing_notices_the_end_once),
	    CASE(reading_goes_on_after_a_pause),
	    CASE(a_watch_that_wants_nothing_notices_a_reset_and_does_not_spin),
	    CASE(room_to_write_is_told_only_while_it_is_wanted),
	    CASE(what_is_raised_and_ready_comes_in_one_call),
	    CASE(a_callback_may_detach_another_watch_that_is_ready_too),
	    CASE(a_callback_may_detach_and_attach_its_own_watch),
	    CASE(what_cannot_be_watched_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
