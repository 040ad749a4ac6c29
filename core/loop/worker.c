/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both implementations share of loops and workers. A turn is begun by whatever happens first
 * after the worker slept or ended its last turn (worker_begin_turn, which does nothing when one has
 * begun): it takes the time, and the present epoch if the worker slept. It ends in
 * worker_finish_turn, where the order of worker.h is written down.
 *
 * What makes a worker take another turn without sleeping is asked in two steps: first what only its
 * own thread can change (worker_is_busy), then, under the mailbox's lock and together with saying
 * that it waits, what others can (mail_begin_wait).
 */
#include "loop/worker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "loop/worker_int.h"

enum { CACHE_LINE = 64, LOG_RING_SIZE = 262144 };

void *
worker_alloc(size_t size)
{
	size_t rounded = (size + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
	void *memory = aligned_alloc(CACHE_LINE, rounded);

	if (memory == NULL) {
		err_fatal("out of memory");
	}
	memset(memory, 0, rounded);
	return memory;
}

/* --- loop --- */

struct loop *
loop_new(const struct loop_options *options)
{
	struct loop *loop = worker_alloc(sizeof(*loop));

	loop->options = *options;
	atomic_init(&loop->epoch, EPOCH_FIRST);
	loop_native_init(loop);
	return loop;
}

/* On the writing thread. */
static void
on_log_wake(void *arg)
{
	struct worker *worker = arg;
	struct loop *loop = worker->loop;

	if (atomic_load(&loop->log_is_wanted) && !atomic_exchange(&loop->log_is_pending, true)) {
		mail_kick(loop->workers[0]);
	}
}

struct worker *
loop_add_worker(struct loop *loop, const char *name)
{
	struct worker *worker;
	const struct loop_options *options = &loop->options;
	size_t log_size = options->log_ring_size != 0 ? options->log_ring_size : LOG_RING_SIZE;

	if (loop->is_started || loop->worker_count == WORKER_MAX) {
		err_fatal("a loop has too many workers, or was started before they were added");
	}
	worker = worker_alloc(sizeof(*worker));
	worker->loop = loop;
	worker->index = (uint16_t)loop->worker_count;
	worker->is_asleep = true;
	worker->is_again = true; /* what was prepared before the first turn may need one */
	strncpy(worker->name, name, sizeof(worker->name) - 1);
	list_init(&worker->raised);
	list_init(&worker->raising);
	mail_desk_init(worker);
	worker->context.log = log_ring_new(log_size, options->log_level, on_log_wake, worker);
	worker->context.counters = &worker->counters;
	worker->context.spares = &worker->spares;
	worker->context.worker = worker;
	loop_native_time(loop, &worker->context.mono_ms, &worker->context.wall_ms);
	worker->wheel = mem_alloc(sizeof(*worker->wheel));
	timer_wheel_init(worker->wheel, worker->context.mono_ms);
	loop->workers[loop->worker_count++] = worker;
	loop_native_open(worker);
	rand_gen_init(&worker->random, loop_native_seed(worker));
	return worker;
}

static void
free_worker(struct worker *worker)
{
	loop_native_close(worker);
	mail_desk_fini(worker);
	for (unsigned phase = 0; phase < WORKER_PHASE_COUNT; phase++) {
		vec_fini(&worker->phases[phase].list);
	}
	vec_fini(&worker->on_start.list);
	vec_fini(&worker->on_stop.list);
	vec_fini(&worker->epoch.items);
	spare_set_fini(&worker->spares);
	mem_free(&worker->wheel);
	mem_free(&worker->scratch);
	log_ring_free(&worker->context.log);
	mem_free(&worker);
}

void
loop_free(struct loop **address)
{
	struct loop *loop = *address;

	if (loop == NULL) {
		return;
	}
	for (unsigned i = 0; i < loop->worker_count; i++) {
		epoch_drain(loop->workers[i]);
	}
	for (unsigned i = 0; i < loop->worker_count; i++) {
		free_worker(loop->workers[i]);
	}
	loop_native_fini(loop);
	mem_free(address);
}

unsigned
loop_worker_count(const struct loop *loop)
{
	return loop->worker_count;
}

struct worker *
loop_worker(const struct loop *loop, unsigned index)
{
	return err_impossible(index >= loop->worker_count) ? NULL : loop->workers[index];
}

void
loop_stop(struct loop *loop)
{
	mail_stop(loop->workers[0]);
}

void
loop_on_log(struct loop *loop, worker_fn *fn, void *arg)
{
	loop->log_fn = fn;
	loop->log_arg = arg;
	/* Rings that are not empty by now wake nobody. */
	atomic_store(&loop->log_is_wanted, true);
	atomic_store(&loop->log_is_pending, true);
	mail_kick(loop->workers[0]);
}

/* --- a worker's own --- */

unsigned
worker_index(const struct worker *worker)
{
	return worker->index;
}

struct loop *
worker_loop(const struct worker *worker)
{
	return worker->loop;
}

const char *
worker_name(const struct worker *worker)
{
	return worker->name;
}

static void
add_call(struct worker_calls *calls, worker_fn *fn, void *arg)
{
	vec_push(&calls->list, (struct worker_call){.fn = fn, .arg = arg});
}

void
worker_on_phase(struct worker *worker, enum worker_phase phase, worker_fn *fn, void *arg)
{
	add_call(&worker->phases[phase], fn, arg);
}

void
worker_on_start(struct worker *worker, worker_fn *fn, void *arg)
{
	add_call(&worker->on_start, fn, arg);
}

void
worker_on_stop(struct worker *worker, worker_fn *fn, void *arg)
{
	add_call(&worker->on_stop, fn, arg);
}

void
worker_lend(struct worker *worker, worker_fn *fn, void *arg)
{
	struct context *before = context_current;

	context_current = &worker->context;
	worker_update_time(worker);
	fn(worker, arg);
	context_current = before;
}

void
worker_set_mail_time(struct worker *worker, int64_t ns)
{
	worker->mail_ns = ns;
}

void
worker_again(struct worker *worker)
{
	worker->is_again = true;
}

uint8_t *
worker_scratch(struct worker *worker)
{
	if (worker->scratch == NULL) {
		worker->scratch = mem_alloc(WORKER_SCRATCH_SIZE);
	}
	return worker->scratch;
}

uint64_t
worker_random(struct worker *worker)
{
	return rand_gen_next(&worker->random);
}

void
worker_random_fill(struct worker *worker, void *memory, size_t size)
{
	loop_native_random(worker, memory, size);
}

uint64_t
worker_turns(const struct worker *worker)
{
	return atomic_load_explicit(&worker->turns, memory_order_relaxed);
}

bool
worker_is_asleep(const struct worker *worker)
{
	return atomic_load_explicit(&worker->epoch.seen, memory_order_relaxed) == EPOCH_ASLEEP;
}

const struct counter_set *
worker_counters(const struct worker *worker)
{
	return &worker->counters;
}

struct log_ring *
worker_log(const struct worker *worker)
{
	return worker->context.log;
}

/* --- turns --- */

/* A call may add others, which moves the list. */
void
worker_run_calls(struct worker *worker, const struct worker_calls *calls)
{
	for (size_t i = 0; i < calls->list.count; i++) {
		struct worker_call call = calls->list.items[i];

		call.fn(worker, call.arg);
	}
}

void
worker_update_time(struct worker *worker)
{
	loop_native_time(worker->loop, &worker->context.mono_ms, &worker->context.wall_ms);
	timer_wheel_advance(worker->wheel, worker->context.mono_ms);
}

static void
stop_sleeping(struct worker *worker)
{
	if (worker->is_asleep) {
		worker->is_asleep = false;
		mail_end_wait(worker);
		epoch_wake(worker);
	}
}

void
worker_begin_turn(struct worker *worker)
{
	if (worker->is_in_turn) {
		return;
	}
	worker->is_in_turn = true;
	worker->is_again = false;
	stop_sleeping(worker);
	worker_update_time(worker);
	atomic_store_explicit(&worker->turns,
	    atomic_load_explicit(&worker->turns, memory_order_relaxed) + 1, memory_order_relaxed);
	counter_add(COUNTER_LOOP_TURNS, 1);
}

/* Main's: lets the log's reader empty the rings. The mark goes first, so that a record which comes
 * while it reads sets it again. */
static void
run_log(struct worker *worker)
{
	struct loop *loop = worker->loop;

	if (worker->index == 0 &&
	    atomic_load_explicit(&loop->log_is_pending, memory_order_relaxed)) {
		atomic_exchange(&loop->log_is_pending, false);
		loop->log_fn(worker, loop->log_arg);
	}
}

void
worker_finish_turn(struct worker *worker, unsigned mail_most)
{
	watch_run_raised(worker);
	mail_run(worker, mail_most);
	timer_run_due(worker);
	worker_run_calls(worker, &worker->phases[WORKER_SETTLE]);
	worker_run_calls(worker, &worker->phases[WORKER_STORE]);
	mail_flush(worker);
	worker_run_calls(worker, &worker->phases[WORKER_WRITE]);
	run_log(worker);
	mail_end_turn(worker);
	worker->is_in_turn = false;
	epoch_pass(worker);
}

bool
worker_is_busy(const struct worker *worker)
{
	return worker->is_again || !list_is_empty(&worker->raised) || mail_is_waiting(worker) ||
	       epoch_is_open(worker) || !list_is_empty(&worker->wheel->due);
}

bool
worker_try_sleep(struct worker *worker)
{
	if (worker_is_busy(worker) || !mail_begin_wait(worker)) {
		return false;
	}
	worker->is_asleep = true;
	epoch_sleep(worker);
	return true;
}

void
worker_enter_thread(struct worker *worker)
{
	context_current = &worker->context;
	stop_sleeping(worker);
	worker_update_time(worker);
	worker_run_calls(worker, &worker->on_start);
}

void
worker_leave_thread(struct worker *worker)
{
	context_current = &worker->context;
	stop_sleeping(worker);
	worker_update_time(worker);
	worker_run_calls(worker, &worker->on_stop);
	worker->is_asleep = true;
	epoch_sleep(worker);
	context_current = NULL;
}
