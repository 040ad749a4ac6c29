/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: one thread, which steps the workers of a loop. A step is one whole turn of one
 * worker that can do something, drawn by the seed; a drawn part of the turns takes a few mails
 * only, as a thread that is interrupted would. Time stands still while anybody can do something
 * (but now and then, by a draw, moves a little all the same), else it jumps to the next timer. A
 * worker without work counts as asleep, so that mail, credit and reclamation run the same code as
 * under loop_event.c.
 */
#include "loop/sim.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "loop/worker_int.h"

enum {
	START_MONO_MS = 1000000,
	ONE_IN_STALLS = 64, /* steps before which time moves all the same … */
	MAX_STALL_MS = 4,   /* … by at most this */
	ONE_IN_SHORT = 4,   /* turns that take … */
	MAX_SHORT = 8,      /* … at most so many mails */
	MAX_STEPS = 1000000 /* at one moment; more is an owner that never comes to rest */
};

static const int64_t start_wall_ms = 1767225600000; /* 2026-01-01T00:00:00Z */

struct native {
	struct rand_gen random;
	int64_t now_ms; /* since the start */
	int64_t start_wall_ms;
};

static struct native *
native_of(const struct loop *loop)
{
	return loop->native;
}

void
loop_native_init(struct loop *loop)
{
	struct native *native = mem_zalloc(sizeof(*native));

	rand_gen_init(&native->random, loop->options.seed);
	native->start_wall_ms = start_wall_ms;
	loop->native = native;
}

void
loop_native_fini(struct loop *loop)
{
	mem_free(&loop->native);
}

void
loop_native_open(struct worker *worker)
{
	(void)worker;
}

void
loop_native_close(struct worker *worker)
{
	(void)worker;
}

void
loop_native_time(const struct loop *loop, int64_t *mono_ms_out, int64_t *wall_ms_out)
{
	*mono_ms_out = START_MONO_MS + native_of(loop)->now_ms;
	*wall_ms_out = native_of(loop)->start_wall_ms + native_of(loop)->now_ms;
}

int64_t
loop_now_ns(const struct loop *loop)
{
	enum { MS_NS = 1000000 };

	return (START_MONO_MS + native_of(loop)->now_ms) * MS_NS;
}

int64_t
loop_coarse_ns(const struct loop *loop)
{
	return loop_now_ns(loop);
}

uint64_t
loop_native_seed(struct worker *worker)
{
	return rand_gen_next(&native_of(worker->loop)->random);
}

void
loop_native_random(struct worker *worker, void *memory, size_t size)
{
	uint8_t *at = memory;

	for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
		uint64_t number = rand_gen_next(&worker->random);

		memcpy(at + i, &number, size - i < sizeof(number) ? size - i : sizeof(number));
	}
}

void
loop_native_wake(struct worker *worker)
{
	(void)worker; /* the scheduler looks into every mailbox */
}

int
loop_native_arm(struct watch *watch, unsigned wanted)
{
	(void)watch;
	(void)wanted;
	return ERR_UNSUPPORTED;
}

void
loop_native_disarm(struct watch *watch)
{
	(void)watch;
}

int
worker_on_signal(struct worker *worker, int number, worker_signal_fn *fn, void *arg)
{
	(void)worker;
	(void)number;
	(void)fn;
	(void)arg;
	return 0;
}

/* --- steps --- */

static bool
can_step(const struct worker *worker)
{
	const struct loop *loop = worker->loop;
	int64_t mono_ms;
	int64_t wall_ms;

	loop_native_time(loop, &mono_ms, &wall_ms);
	return worker_is_busy(worker) || timer_wheel_next(worker->wheel) <= mono_ms ||
	       epoch_is_ready(worker) || (worker->index == 0 && atomic_load(&loop->log_is_pending));
}

static unsigned
count_able(const struct loop *loop)
{
	unsigned count = 0;

	for (unsigned i = 0; i < loop->worker_count; i++) {
		count += can_step(loop->workers[i]);
	}
	return count;
}

static struct worker *
nth_able(const struct loop *loop, uint64_t n)
{
	for (unsigned i = 0; i < loop->worker_count; i++) {
		if (can_step(loop->workers[i]) && n-- == 0) {
			return loop->workers[i];
		}
	}
	return NULL;
}

static unsigned
draw_mail_most(struct rand_gen *random)
{
	if (rand_gen_below(random, ONE_IN_SHORT) != 0) {
		return WORKER_MAIL_PER_TURN;
	}
	return 1 + (unsigned)rand_gen_below(random, MAX_SHORT);
}

/* One turn of a drawn worker; false: nobody can do anything now. */
static bool
step_now(struct loop *loop)
{
	struct native *native = native_of(loop);
	unsigned able = count_able(loop);
	struct context *before = context_current;
	struct worker *worker;

	assert(loop->is_started);
	if (able == 0) {
		return false;
	}
	worker = nth_able(loop, rand_gen_below(&native->random, able));
	context_current = &worker->context;
	worker_begin_turn(worker);
	worker_finish_turn(worker, draw_mail_most(&native->random));
	(void)worker_try_sleep(worker);
	context_current = before;
	return true;
}

/* The moment of the first timer of all workers, as loop time since the start. */
static int64_t
next_moment(const struct loop *loop)
{
	int64_t next = LOOP_NEVER;

	for (unsigned i = 0; i < loop->worker_count; i++) {
		int64_t own = timer_wheel_next(loop->workers[i]->wheel);

		next = own < next ? own : next;
	}
	return next != LOOP_NEVER ? next - START_MONO_MS : LOOP_NEVER;
}

bool
sim_step(struct loop *loop)
{
	struct native *native = native_of(loop);
	int64_t next;

	if (count_able(loop) != 0) {
		if (rand_gen_below(&native->random, ONE_IN_STALLS) == 0) {
			native->now_ms +=
			    1 + (int64_t)rand_gen_below(&native->random, MAX_STALL_MS);
		}
		return step_now(loop);
	}
	next = next_moment(loop);
	if (next == LOOP_NEVER) {
		return false;
	}
	native->now_ms = next;
	return true;
}

bool
sim_settle(struct loop *loop, unsigned limit)
{
	for (unsigned i = 0; i < limit; i++) {
		if (!step_now(loop)) {
			return true;
		}
	}
	return count_able(loop) == 0;
}

static void
settle_or_die(struct loop *loop)
{
	if (!sim_settle(loop, MAX_STEPS)) {
		err_fatal("the simulated workers never come to rest");
	}
}

void
sim_advance(struct loop *loop, int64_t ms)
{
	struct native *native = native_of(loop);
	int64_t end = native->now_ms + ms;

	settle_or_die(loop);
	while (native->now_ms < end) {
		int64_t next = next_moment(loop);

		native->now_ms = next < end ? next : end;
		settle_or_die(loop);
	}
}

int64_t
sim_now_ms(const struct loop *loop)
{
	return START_MONO_MS + native_of(loop)->now_ms;
}

void
sim_set_wall_ms(struct loop *loop, int64_t wall_ms)
{
	native_of(loop)->start_wall_ms = wall_ms - native_of(loop)->now_ms;
}

void
sim_enter(struct worker *worker)
{
	worker->entered_from = context_current;
	context_current = &worker->context;
	worker_update_time(worker);
	worker->is_again = true; /* what is done now may need a turn's phases */
}

void
sim_leave(void)
{
	struct worker *worker;

	if (context_current != NULL) {
		worker = list_item(context_current, struct worker, context);
		context_current = worker->entered_from;
		worker->entered_from = NULL;
	}
}

/* --- start and end --- */

int
loop_start(struct loop *loop)
{
	loop->is_started = true;
	for (unsigned i = 0; i < loop->worker_count; i++) {
		worker_enter_thread(loop->workers[i]);
	}
	context_current = NULL;
	return 0;
}

void
loop_run(struct loop *loop)
{
	while (!atomic_load(&loop->workers[0]->mailbox.is_stopping) && sim_step(loop)) {}
}

void
loop_join(struct loop *loop)
{
	if (!loop->is_started) {
		return;
	}
	for (unsigned i = 1; i <= loop->worker_count; i++) {
		worker_leave_thread(loop->workers[i % loop->worker_count]);
	}
	for (unsigned i = 0; i < loop->worker_count; i++) {
		epoch_drain(loop->workers[i]);
	}
}
