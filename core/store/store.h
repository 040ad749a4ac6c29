/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must outlive the process: typed operations in one total order with a durability watermark,
 * on which acknowledgements ride (flow 2, durability.md).
 *
 * Each worker has a port. In a turn its operations gather in an open chunk; phase STORE hands the
 * chunk to the one list under one short lock, before mail is flushed: so the log's order is an
 * order of causes for everything that travels by mail. The store's own worker (thread) cuts the
 * list, annihilates inside the cut, lets the engine commit, and publishes what is durable to the
 * ports that wait. A chunk is taken whole.
 *
 * What waits, waits for a ticket: the number of its worker's chunk, which is known while the chunk
 * is still open. Ticket 0 is nothing to wait for. The null engine stores nothing: store_is_null,
 * and every ticket is 0; rooms then write no operations at all.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/list.h"
#include "msg/applied.h"
#include "store/engine.h"

struct worker;
struct loop;
struct store;
struct store_port;

/*
 * engine NULL: the null engine; then `worker` is NULL too. Else the engine's calls run on `worker`,
 * which is the store's alone. The store owns the engine.
 */
struct store *store_new(struct store_engine *engine, struct worker *worker);
/* After loop_join. */
void store_free(struct store **store);

/* Any thread: how long what nobody waits for may lie until it is committed, ms; 0, which holds
 * until it is said: it is committed at once. */
void store_set_interval(struct store *store, int64_t ms);

/* Any thread: lets the engine's idle() run soon, even while there is work. */
void store_ask_idle(struct store *store);

/* Before loop_start, for each worker that writes: hooks itself into the worker's phase STORE. Lives
 * as long as the store. */
struct store_port *store_add_port(struct store *store, struct worker *worker);

static inline bool
store_is_null(const struct store_port *port)
{
	return port == NULL;
}

/*
 * Own thread. Adds an operation to the open chunk: key and rec are copied, msg gets a reference of
 * the operation. Operations that free something (…_DEL) are always taken; for the others who calls
 * has asked store_is_failing at admission. Returns the ticket of the open chunk.
 */
uint64_t store_put(struct store_port *port, const struct store_op *op);

/* Own thread: the newest ticket: when it is durable, so is all that this worker has written before.
 * For who tells that something is gone already, perhaps by an operation that waits. 0 with the null
 * engine. */
uint64_t store_last_ticket(const struct store_port *port);

/* Own thread: is the ticket's chunk durable? 0 is. */
bool store_is_durable(const struct store_port *port, uint64_t ticket);

/* Something that waits for a ticket; inside its owner. */
struct store_wait;
typedef void store_wait_fn(struct store_wait *wait);
struct store_wait {
	struct list_link link;
	uint64_t ticket;
	store_wait_fn *fn; /* on the port's worker, in ticket order; may wait again */
};
void store_wait(struct store_port *port, struct store_wait *wait, uint64_t ticket);
void store_wait_cancel(struct store_port *port, struct store_wait *wait);

/* Any thread. Failing (full, I/O error) is a state, tested at admission (flow 3); it ends by
 * itself. */
bool store_is_failing(const struct store_port *port);

/* Any thread: bytes of operations that wait to be durable while the store is well (they count as
 * transit); 0 while it is failing, when they have a budget of their own. */
uint64_t store_pending_bytes(const struct store_port *port);

/* fn runs on the port's worker when failing begins or ends. */
typedef void store_state_fn(struct store_port *port, bool failing, void *arg);
void store_on_state(struct store_port *port, store_state_fn *fn, void *arg);

/*
 * Ids drawn from one atomic counter in the turn that uses them, a block at first use, the rest
 * thrown away at the end of the turn (flow 2): rises per port, and above all that was acknowledged
 * before the turn began. Valid with and without a store: `ids` belongs to the house, not to the
 * engine.
 */
struct store_ids {
	_Atomic uint64_t next;
};
struct store_id_block {
	uint64_t next, end;
};
uint64_t store_id_draw(struct store_ids *ids, struct store_id_block *block);
/* At the end of each turn. */
static inline void
store_id_block_end_turn(struct store_id_block *block)
{
	block->next = block->end = 0;
}

/* At start, on main, before workers run: everything the engine holds, by functions of the caller:
 * messages, sessions, subscriptions, cursors, rows, the rest. Ids go on above the largest loaded
 * one. 0 or an error with a sentence in `why`.
 */
struct store_load_ops {
	void (*session)(void *arg, uint64_t sid, struct bytes client_id, struct bytes rec);
	void (*subscription)(void *arg, uint64_t sid, struct bytes filter, struct bytes rec);
	void (*message)(void *arg, uint64_t mid, struct msg *msg); /* reference taken over */
	void (*queue)(void *arg, uint64_t sid, uint64_t qid, uint64_t mid, uint8_t state,
	    uint16_t packet_id, struct bytes rec);
	void (*received)(void *arg, uint64_t sid, uint16_t packet_id);
	void (*retained)(void *arg, struct bytes topic, uint64_t mid, uint64_t version);
	void (*will)(void *arg, uint64_t sid, struct msg *msg, struct bytes rec);
	void (*cursor)(void *arg, uint64_t sid, struct bytes filter);
};
int store_load(struct store *store, struct store_ids *ids, const struct store_load_ops *ops,
    void *arg, char *why, size_t why_size);

/* Shutdown: on main; fn(worker, arg) runs on main when all that was handed over is durable, or at
 * the deadline. */
void store_drain(struct store *store, struct worker *main, int64_t deadline_ms,
    void (*fn)(struct worker *main, bool durable, void *arg), void *arg);

#endif
