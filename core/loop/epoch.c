/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reclamation by quiescent states. The loop has one epoch, a number that rises. Each worker shows
 * in `seen` the epoch that it read when it last held nothing (at the end of a turn, or on waking),
 * or that it sleeps. What a worker retires in a turn is closed at the turn's end: the worker raises
 * the epoch from e to e + 1 by a read-modify-write, and its objects of that turn have the epoch e.
 * They may be freed when each worker sleeps or has seen more than e. All of it is own-thread work
 * but `epoch` and `seen`.
 *
 * Why that is enough, in the order of C11:
 *
 * - A worker shows n > e. It has read n from the chain of read-modify-writes (a release sequence)
 * that goes through the one that closed e, so whatever made the objects unreachable happened before
 *   what it reads afterwards: it cannot find them in later turns. What it read earlier happened
 * before its release store of n, which the freeing worker has acquired.
 * - A worker shows that it sleeps: its earlier reads happened before that store likewise. It may be
 *   waking up at the same moment: it stores EPOCH_WAKING (less than every e) and then does a
 *   read-modify-write of the epoch. If that comes after the one that closed e in the epoch's order,
 * it cannot find the objects. If it comes before, then its store of EPOCH_WAKING happened before
 * the closing, and so before the freeing worker's look at `seen`, which therefore does not find it
 *   asleep. A load in place of the read-modify-write would break exactly this.
 *
 * A worker that waits for others sleeps for a moment, twice as long each time, and looks again;
 * when nothing waits it sets no alarm.
 */
#include "loop/epoch.h"

#include <string.h>

#include "loop/worker_int.h"

enum { PATIENCE_MIN_MS = 1, PATIENCE_MAX_MS = 64 };

void
epoch_retire(struct worker *worker, void *memory, epoch_free_fn *free_fn)
{
	vec_push(
	    &worker->epoch.items, (struct epoch_retired){.memory = memory, .free_fn = free_fn});
}

void
epoch_wake(struct worker *worker)
{
	uint64_t now;

	atomic_store_explicit(&worker->epoch.seen, EPOCH_WAKING, memory_order_relaxed);
	now = atomic_fetch_add_explicit(&worker->loop->epoch, 0, memory_order_acq_rel);
	atomic_store_explicit(&worker->epoch.seen, now, memory_order_release);
}

void
epoch_sleep(struct worker *worker)
{
	atomic_store_explicit(&worker->epoch.seen, EPOCH_ASLEEP, memory_order_release);
}

void
epoch_leave(struct worker *worker)
{
	epoch_sleep(worker);
}

void
epoch_return(struct worker *worker)
{
	epoch_wake(worker);
}

bool
epoch_is_open(const struct worker *worker)
{
	return worker->epoch.closed_count < worker->epoch.items.count;
}

bool
epoch_is_waiting(const struct worker *worker)
{
	return worker->epoch.freed_count < worker->epoch.closed_count;
}

/* All that is retired in epochs before this one may be freed. */
static uint64_t
seen_by_all(const struct loop *loop)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < loop->worker_count; i++) {
		uint64_t seen =
		    atomic_load_explicit(&loop->workers[i]->epoch.seen, memory_order_acquire);

		if (seen != EPOCH_ASLEEP && seen < least) {
			least = seen;
		}
	}
	return least;
}

bool
epoch_is_ready(const struct worker *worker)
{
	const struct epoch_view *view = &worker->epoch;

	return epoch_is_waiting(worker) &&
	       view->items.items[view->freed_count].epoch < seen_by_all(worker->loop);
}

/* Gives the objects of this turn their epoch, and says that the worker has passed. */
static void
close_turn(struct worker *worker)
{
	struct epoch_view *view = &worker->epoch;
	uint64_t now;

	if (epoch_is_open(worker)) {
		now = atomic_fetch_add_explicit(&worker->loop->epoch, 1, memory_order_acq_rel);
		while (view->closed_count < view->items.count) {
			view->items.items[view->closed_count++].epoch = now;
		}
		now++;
	} else {
		now = atomic_load_explicit(&worker->loop->epoch, memory_order_acquire);
	}
	/* To say the same again would only dirty a cache line: what this turn may have seen was
	 * retired in that epoch or later. */
	if (now != atomic_load_explicit(&view->seen, memory_order_relaxed)) {
		atomic_store_explicit(&view->seen, now, memory_order_release);
	}
}

/* Moves what is left to the front once it is the smaller part. */
static void
compact(struct epoch_view *view)
{
	size_t left = view->items.count - view->freed_count;

	if (left > view->freed_count) {
		return;
	}
	if (left != 0) {
		memmove(view->items.items, view->items.items + view->freed_count,
		    left * sizeof(*view->items.items));
	}
	view->items.count = left;
	view->closed_count -= view->freed_count;
	view->freed_count = 0;
}

void
epoch_pass(struct worker *worker)
{
	struct epoch_view *view = &worker->epoch;
	size_t before = view->freed_count;
	uint64_t seen;

	close_turn(worker);
	if (!epoch_is_waiting(worker)) {
		return;
	}
	seen = seen_by_all(worker->loop);
	while (epoch_is_waiting(worker) && view->items.items[view->freed_count].epoch < seen) {
		/* free_fn may retire, which moves the items. */
		struct epoch_retired item = view->items.items[view->freed_count++];

		item.free_fn(item.memory);
	}
	if (view->freed_count != before) {
		view->patience_ms = PATIENCE_MIN_MS;
		compact(view);
	} else if (view->patience_ms < PATIENCE_MAX_MS) {
		view->patience_ms =
		    view->patience_ms == 0 ? PATIENCE_MIN_MS : 2 * view->patience_ms;
	}
}

void
epoch_drain(struct worker *worker)
{
	struct epoch_view *view = &worker->epoch;

	while (view->freed_count < view->items.count) {
		struct epoch_retired item = view->items.items[view->freed_count++];

		item.free_fn(item.memory);
	}
	view->items.count = view->freed_count = view->closed_count = 0;
}
