/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the room: what its files and the two implementations share. worker.c, mailbox.c,
 * timer.c, epoch.c and watch.c are the same in both; loop_event.c and loop_sim.c define
 * loop_native_* and the functions of worker.h that start, run and end threads.
 */
#ifndef LOOP_WORKER_INT_H
#define LOOP_WORKER_INT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/context.h"
#include "base/counter.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/rand.h"
#include "base/spare.h"
#include "base/vec.h"
#include "loop/epoch.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "loop/watch.h"
#include "loop/worker.h"

#define LOOP_NEVER INT64_MAX /* a moment that does not come */

/* --- mail --- */

/* Where mail for a worker arrives. Any thread, under the lock. */
struct mailbox {
	_Alignas(64) struct lock lock; /* guards all below */
	_Atomic(struct mail *) first;  /* also read without it, as a hint */
	struct mail *last;
	_Atomic bool waits; /* the worker sleeps, or is about to: who appends must wake it */
	_Atomic bool is_stopping;
};

/* What a worker has for one target until its turn ends. Its own. */
struct mail_outbox {
	struct mail *first;
	struct mail *last;
	uint64_t cost;
};

/* Credit of one source for one target; kept with the source. */
struct mail_pair {
	_Alignas(64) _Atomic uint64_t undigested; /* bytes flushed and not digested */
	_Atomic bool waits;                       /* the source waits for credit */
	bool is_asked;      /* the source's: waits is set or `credit` is under way */
	struct mail credit; /* from the target to the source: there is credit again */
};

struct mail_credit_call {
	mail_credit_fn *fn;
	void *arg;
};

/* A worker's own side of the mail; what others touch says so. */
struct mail_desk {
	struct mail *taken; /* out of the mailbox, and not yet run */
	unsigned dirty_count;
	unsigned touched_count;
	uint64_t turn_digested;             /* bytes run in this turn */
	_Atomic uint64_t sent_total;        /* any thread reads */
	_Atomic uint64_t digested_total;    /* any thread reads */
	VEC(struct mail_credit_call) calls; /* mail_on_credit */
	uint16_t dirty[WORKER_MAX];         /* targets of this turn's mail, in order */
	uint16_t touched[WORKER_MAX];       /* sources of this turn's mail */
	uint64_t digested[WORKER_MAX];      /* of those, bytes run in this turn */
	struct mail_outbox out[WORKER_MAX];
	struct mail_pair pairs[WORKER_MAX]; /* targets write into theirs */
};

void mail_desk_init(struct worker *worker);
void mail_desk_fini(struct worker *worker);

/* Runs at most `most` mails in their order, and no longer than worker_set_mail_time says. */
void mail_run(struct worker *worker, unsigned most);

/* Hands this turn's mail over, then gives credit back for what was run in it. */
void mail_flush(struct worker *worker);

/* The turn is over: what it has run no longer counts as undigested. */
void mail_end_turn(struct worker *worker);

/* Own thread: mail that waits to be run or flushed; without a lock, so new mail may be overlooked.
 */
bool mail_is_waiting(const struct worker *worker);

/* Own thread, before it sleeps: from now on who appends wakes it. False: there is something to do.
 */
bool mail_begin_wait(struct worker *worker);
void mail_end_wait(struct worker *worker);

/* Any thread: wakes the worker if it waits. */
void mail_kick(struct worker *worker);

/* Any thread: the worker ends after its present turn. */
void mail_stop(struct worker *worker);

/* --- timers --- */

enum { TIMER_LEVELS = 8, TIMER_SLOTS = 512 };

struct timer_wheel {
	int64_t clock_ms; /* slots that end before this moment are empty */
	int64_t next_ms;  /* when the first slot that is used ends, if it is known */
	bool next_known;
	struct list due;    /* their moment has come; they fire in this turn or the next */
	struct list firing; /* being fired */
	uint64_t used[TIMER_LEVELS][TIMER_SLOTS / 64];
	struct list slots[TIMER_LEVELS][TIMER_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_ms);

/* Collects what has become due. */
void timer_wheel_advance(struct timer_wheel *wheel, int64_t now_ms);

/* When the worker must have a turn for its timers: LOOP_NEVER when none is set; a moment in the
 * past when some are due. */
int64_t timer_wheel_next(struct timer_wheel *wheel);

/* Fires what is due; what becomes due meanwhile waits for the next turn. */
void timer_run_due(struct worker *worker);

/* --- reclamation --- */

struct epoch_retired {
	void *memory;
	epoch_free_fn *free_fn;
	uint64_t epoch; /* the one in which its worker's turn ended */
};

struct epoch_view {
	_Alignas(64) _Atomic uint64_t seen; /* EPOCH_ASLEEP, or the epoch of the last pass */
	_Alignas(64) VEC(struct epoch_retired) items; /* in the order in which they were retired */
	size_t freed_count;                           /* of items: done with */
	size_t closed_count;                          /* of items: have their epoch */
	int64_t patience_ms; /* how long to sleep before looking again whether others have passed */
};

enum { EPOCH_ASLEEP = 0, EPOCH_WAKING = 1, EPOCH_FIRST = 2 };

/* Own thread: after sleeping, before shared data is touched. */
void epoch_wake(struct worker *worker);

/* Own thread: it holds nothing of shared data any more. Frees what may be freed. */
void epoch_pass(struct worker *worker);
void epoch_sleep(struct worker *worker);

/* Own thread: something was retired after the last pass. */
bool epoch_is_open(const struct worker *worker);
/* Something waits for others to pass; and: they have. */
bool epoch_is_waiting(const struct worker *worker);
bool epoch_is_ready(const struct worker *worker);

/* No worker runs any more: frees everything. */
void epoch_drain(struct worker *worker);

/* --- worker and loop --- */

struct worker_call {
	worker_fn *fn;
	void *arg;
};

struct worker_calls {
	VEC(struct worker_call) list;
};

struct worker {
	struct loop *loop;
	void *native; /* the implementation's */
	uint16_t index;
	bool is_in_turn;
	bool is_again;
	bool is_asleep;      /* own view of epoch.seen */
	struct list raised;  /* watches that wait for the next pass */
	struct list raising; /* watches of the present pass */
	uint8_t *scratch;    /* made at first use */
	struct context context;
	struct context *entered_from; /* sim_enter's */
	struct rand_gen random;
	struct timer_wheel *wheel;
	struct mail_desk *desk;
	int64_t mail_ns; /* worker_set_mail_time */
	struct worker_calls phases[WORKER_PHASE_COUNT];
	struct worker_calls on_start;
	struct worker_calls on_stop;
	char name[16];
	_Atomic uint64_t turns;
	struct mailbox mailbox;
	struct epoch_view epoch;
	struct counter_set counters;
	struct spare_set spares;
};

struct loop {
	struct worker *workers[WORKER_MAX];
	unsigned worker_count;
	bool is_started;
	struct loop_options options;
	void *native;
	worker_fn *log_fn; /* main's */
	void *log_arg;
	_Atomic bool log_is_wanted;
	_Alignas(64) _Atomic uint64_t epoch;
	_Alignas(64) _Atomic bool log_is_pending; /* a ring that was empty has got a record */
};

/* Zeroed, aligned to cache lines, never NULL; given back with mem_free. */
void *worker_alloc(size_t size);

/* Takes the implementation's time into the context, and collects timers. */
void worker_update_time(struct worker *worker);

/* Begins a turn unless one has begun: called by whatever happens first after sleeping. */
void worker_begin_turn(struct worker *worker);

/* From the raised watches to the end of the turn, with at most so many mails. */
void worker_finish_turn(struct worker *worker, unsigned mail_most);

/* Own thread, between turns: marks it asleep; false: there is something to do. */
bool worker_try_sleep(struct worker *worker);

/* Own thread: something other than new mail wants a turn now. */
bool worker_is_busy(const struct worker *worker);

void worker_run_calls(struct worker *worker, const struct worker_calls *calls);

/* On its thread: sets the context, and what comes before the first turn and after the last one. */
void worker_enter_thread(struct worker *worker);
void worker_leave_thread(struct worker *worker);

/* The raised watches of one pass. */
void watch_run_raised(struct worker *worker);
/* The kernel's events and what was raised meanwhile, in one call. */
void watch_fire(struct watch *watch, unsigned events);

/* --- what an implementation defines --- */

void loop_native_init(struct loop *loop);
void loop_native_fini(struct loop *loop);
void loop_native_open(struct worker *worker);
void loop_native_close(struct worker *worker);
void loop_native_time(const struct loop *loop, int64_t *mono_ms_out, int64_t *wall_ms_out);
uint64_t loop_native_seed(struct worker *worker);
void loop_native_random(struct worker *worker, void *memory, size_t size);

/* Any thread: the worker has said that it waits. */
void loop_native_wake(struct worker *worker);

/* Asks the kernel for what is wanted of a descriptor, in place of what it was asked for. */
int loop_native_arm(struct watch *watch, unsigned wanted);
void loop_native_disarm(struct watch *watch);

/* Appends all of `from`, which is empty afterwards. */
static inline void
list_move_all(struct list *from, struct list *to)
{
	struct list_link *first = from->head.next;
	struct list_link *last = from->head.prev;

	if (first == &from->head) {
		return;
	}
	first->prev = to->head.prev;
	to->head.prev->next = first;
	last->next = &to->head;
	to->head.prev = last;
	list_init(from);
}

#endif
