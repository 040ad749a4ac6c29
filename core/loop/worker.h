/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads as actors. A worker is a thread with one event loop; main, the store's thread and helper
 * threads are workers too, so that the simulator can step all of them. The loop owns the workers;
 * everything else of a worker belongs to its own thread unless a function says "any thread".
 *
 * A turn: readiness -> mail (capped) -> timers -> phase SETTLE -> phase STORE -> mail is flushed,
 * one batch and at most one wake-up per target -> phase WRITE -> end of turn (quiescent) -> sleep,
 * unless something was raised, posted to itself or is due. An idle worker does not wake up.
 *
 * Two implementations behind this header, chosen when linking: loop_event.c (libevent, threads) and
 * loop_sim.c (one thread, virtual time, a scheduler by seed; see loop/sim.h).
 */
#ifndef LOOP_WORKER_H
#define LOOP_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/context.h"
#include "base/counter.h"
#include "base/log.h"

struct loop;
struct worker;

struct loop_options {
	uint64_t seed; /* of loop_sim; loop_event draws its own */
	enum log_level log_level;
	size_t log_ring_size; /* bytes per worker; 0: 256 KiB */
};

enum {
	WORKER_MAX = 288,             /* of a loop, all kinds together */
	WORKER_SCRATCH_SIZE = 262144, /* bytes of the read buffer each worker has */
	WORKER_MAIL_PER_TURN = 4096,  /* mails taken in one turn; the rest waits for the next */
};

/* In this order at the end of each turn in which anything happened. */
enum worker_phase { WORKER_SETTLE, WORKER_STORE, WORKER_WRITE, WORKER_PHASE_COUNT };

typedef void worker_fn(struct worker *worker, void *arg);

/* Never NULL. Made, and its workers added, by one thread before loop_start. */
struct loop *loop_new(const struct loop_options *options);

/* All threads have ended (loop_join), or never started. Undelivered mail is neither run nor freed
 * (it may be part of something): who sends mail that owns memory ends its conversation before.
 * Frees what is still retired. */
void loop_free(struct loop **loop);

/*
 * Adds a worker; the first one is main, which loop_run runs on the calling thread. The name (at
 * most 15 bytes, copied) is the thread's. Returns it; it lives as long as the loop.
 */
struct worker *loop_add_worker(struct loop *loop, const char *name);

/* Starts the threads of all workers but the first. 0 or ERR_IO. */
int loop_start(struct loop *loop);

/* Runs main on the calling thread until loop_stop. loop_sim: steps until stopped or nothing can
 * happen any more. */
void loop_run(struct loop *loop);

/* Any thread: ends loop_run after main's present turn. */
void loop_stop(struct loop *loop);

/* Main's thread, after loop_run: ends all other workers after their present turn and joins them;
 * then main's worker_on_stop functions run, and all that is retired is freed. */
void loop_join(struct loop *loop);

unsigned loop_worker_count(const struct loop *loop);
struct worker *loop_worker(const struct loop *loop, unsigned index);

unsigned worker_index(const struct worker *worker);
struct loop *worker_loop(const struct worker *worker);
const char *worker_name(const struct worker *worker);

/* Before loop_start, or from the worker's own thread; functions of one phase run in the order in
 * which they were added. */
void worker_on_phase(struct worker *worker, enum worker_phase phase, worker_fn *fn, void *arg);

/* fn runs on the worker's own thread before its first turn / after its last one. Before loop_start.
 */
void worker_on_start(struct worker *worker, worker_fn *fn, void *arg);
void worker_on_stop(struct worker *worker, worker_fn *fn, void *arg);

/* Before loop_start: fn runs at once, in the context of the worker, with its log, counters and
 * time. For what is loaded before there are threads. */
void worker_lend(struct worker *worker, worker_fn *fn, void *arg);

/* Before loop_start: where there is much mail, what begins to be run after so long in one turn (and
 * 16 mails) waits for the next, behind sockets and timers. 0, as it is made: only
 * WORKER_MAIL_PER_TURN counts. For workers whose mails may each be work, and who serve others. */
void worker_set_mail_time(struct worker *worker, int64_t ns);

/* Own thread: another turn follows this one without sleeping. */
void worker_again(struct worker *worker);

/* Own thread: WORKER_SCRATCH_SIZE bytes, valid until the caller returns to the loop. */
uint8_t *worker_scratch(struct worker *worker);

/* Own thread: the worker's generator (from the kernel's numbers, or the simulator's seed), good for
 * jitter, choice and ids that must not collide; and bytes that nobody can guess (hash keys). */
uint64_t worker_random(struct worker *worker);
void worker_random_fill(struct worker *worker, void *memory, size_t size);

/* Any thread: how many turns it has begun; the watchdog looks whether it moves. And whether it
 * sleeps. */
uint64_t worker_turns(const struct worker *worker);
bool worker_is_asleep(const struct worker *worker);

/* Any thread, inside a turn or not: the monotonic clock now, in nanoseconds; the turn's time is
 * cheaper (context_current). loop_sim: its virtual time, any thread that it steps. */
int64_t loop_now_ns(const struct loop *loop);
/* The same to a few milliseconds, for a few nanoseconds. */
int64_t loop_coarse_ns(const struct loop *loop);

/* The worker's counters and log ring; read by main (counter_sum, the log's writer). */
const struct counter_set *worker_counters(const struct worker *worker);
struct log_ring *worker_log(const struct worker *worker);

/* Main's thread: fn runs on main when a ring that was empty has got a record. */
void loop_on_log(struct loop *loop, worker_fn *fn, void *arg);

/* Main only, before loop_run: fn runs on main in its turn after the process got the signal.
 * loop_sim: never. */
typedef void worker_signal_fn(struct worker *worker, int number, void *arg);
int worker_on_signal(struct worker *worker, int number, worker_signal_fn *fn, void *arg);

#endif
