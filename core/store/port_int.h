/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's way to the store. Belongs to the worker's thread but for what is marked.
 *
 * Waiting (flow 2): the worker sets `waits` by a read-modify-write and then reads `durable`; the
 * store publishes `durable` and then exchanges `waits`. Both are sequentially consistent, so at
 * least one of them sees the other: no wake-up is lost, and a port that does not wait is not woken.
 * Either may post the one mail there is; `waking` is set while it is under way, and its run clears
 * that before it looks.
 */
#ifndef STORE_PORT_INT_H
#define STORE_PORT_INT_H

#include "base/vec.h"
#include "loop/mailbox.h"
#include "store/chunk_int.h"

struct store_watcher {
	store_state_fn *fn;
	void *arg;
};

struct store_port {
	struct store *store;
	struct worker *worker;
	struct store_chunk *open; /* of this turn; NULL: nothing was put */
	uint64_t last_ticket;     /* of the newest chunk, open or handed over */
	uint64_t stored_turn;     /* the last turn in which phase STORE ran */
	struct list waits;        /* in the order of their tickets */
	VEC(struct store_watcher) watchers;
	bool told_failing;

	_Atomic uint64_t durable; /* written by the store's thread */
	_Atomic bool waits_set;   /* both */
	_Atomic bool waking;      /* both: wake is under way */
	struct mail wake;

	uint64_t taken; /* store's thread only: the newest ticket in its cut */
};

struct store_port *store_port_new(struct store *store, struct worker *worker);
void store_port_free(struct store_port **port);

/* Own thread: what phase STORE does. */
void store_port_hand_over(struct store_port *port);

/* Any thread: the port looks what is durable and whether the store fails. */
void store_port_wake(struct store_port *port);

/* Store's thread: what it has taken is durable. */
void store_port_publish(struct store_port *port);

#endif
