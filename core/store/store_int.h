/* SPDX-License-Identifier: Apache-2.0 */
/* The store: the list that all workers append to, and what its own thread makes of it. */
#ifndef STORE_STORE_INT_H
#define STORE_STORE_INT_H

#include "base/lock.h"
#include "base/vec.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "store/cut_int.h"
#include "store/port_int.h"

typedef void store_drain_fn(struct worker *main, bool durable, void *arg);

/* Of main, but for `asked`, which is the store thread's. Each mail is under way once at most. */
struct store_drain {
	struct store *store;
	struct worker *main;
	struct timer timer;
	store_drain_fn *fn; /* NULL: nobody asks, or it was answered */
	void *arg;
	struct mail question;
	struct mail answer;
	bool is_open; /* a question is under way or not answered */
	bool asked;
};

struct store_chunks {
	struct store_chunk *first;
	struct store_chunk *last;
};

struct store {
	struct store_engine *engine; /* NULL: null engine */
	struct worker *worker;
	VEC(struct store_port *) ports; /* complete before the loop starts */
	VEC(struct msg *) orphans;      /* loaded messages without a row, until the thread starts */

	struct lock lock;         /* of list: taken for two assignments, once per turn and cut */
	struct store_chunks list; /* handed over and not seen by the store's thread */
	_Atomic bool waking;      /* wake is under way */
	struct mail wake;
	_Atomic uint64_t pending; /* cost of what was handed over and is not durable */
	bool is_loaded;           /* main */
	_Atomic bool failing;
	_Atomic bool wants_idle;
	_Atomic int64_t interval_ms;

	/* Store's thread. */
	struct store_chunks backlog; /* taken from the list, and not in the cut yet */
	struct store_cut cut;
	struct timer commit_timer; /* an engine that commits late, or nobody waits */
	bool is_lazy;              /* commit_timer is set because nobody waits */
	bool is_gathering;         /* commit_timer is set because more will come at once … */
	int64_t gathers_until_ms;  /* … until then at most; 0: nothing is expected … */
	uint64_t gathers_bytes;    /* … or until so much is there */
	bool is_low;               /* failing, but what there is can be committed */
	struct timer retry_timer;
	struct timer idle_timer;

	struct store_drain drain;
};

/* Any thread: appends a closed chunk to the list and wakes the store. */
void store_hand_over(struct store *store, struct store_chunk *chunk);

/* Any thread: somebody waits now. */
void store_hurry(struct store *store);

/* Store's thread: nothing waits any more; says so to who drains. */
void store_drain_check(struct store *store);
/* Store's thread: is anything not durable? */
bool store_has_work(struct store *store);

#endif
