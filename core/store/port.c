/* SPDX-License-Identifier: Apache-2.0 */
#include "store/port_int.h"

#include "base/err.h"
#include "store/store_int.h"

/* --- writing --- */

/* Whoever writes after phase STORE of a turn needs another turn to hand it over. */
static void
open_chunk(struct store_port *port)
{
	port->open = store_chunk_new(port, ++port->last_ticket);
	if (worker_turns(port->worker) == port->stored_turn) {
		worker_again(port->worker);
	}
}

uint64_t
store_put(struct store_port *port, const struct store_op *op)
{
	if (err_impossible(store_is_null(port))) {
		return 0;
	}
	if (port->open == NULL) {
		open_chunk(port);
	}
	store_chunk_add(port->open, op);
	return port->last_ticket;
}

void
store_port_hand_over(struct store_port *port)
{
	struct store_chunk *chunk = port->open;

	port->stored_turn = worker_turns(port->worker);
	if (chunk != NULL) {
		port->open = NULL;
		store_hand_over(port->store, chunk);
	}
}

static void
run_phase(struct worker *worker, void *arg)
{
	(void)worker;
	store_port_hand_over(arg);
}

/* --- waiting --- */

void
store_port_wake(struct store_port *port)
{
	if (!atomic_exchange(&port->waking, true)) {
		mail_post(port->worker, &port->wake);
	}
}

void
store_port_publish(struct store_port *port)
{
	if (atomic_load_explicit(&port->durable, memory_order_relaxed) == port->taken) {
		return;
	}
	atomic_store(&port->durable, port->taken);
	if (atomic_exchange(&port->waits_set, false)) {
		store_port_wake(port);
	}
}

uint64_t
store_last_ticket(const struct store_port *port)
{
	return store_is_null(port) ? 0 : port->last_ticket;
}

bool
store_is_durable(const struct store_port *port, uint64_t ticket)
{
	return store_is_null(port) ||
	       ticket <= atomic_load_explicit(&port->durable, memory_order_acquire);
}

/* Sets `waits`, then looks: true if what is waited for became durable meanwhile. */
static bool
wait_for(struct store_port *port, uint64_t ticket)
{
	if (!atomic_exchange(&port->waits_set, true)) {
		store_hurry(port->store);
	}
	return ticket <= atomic_load(&port->durable);
}

void
store_wait(struct store_port *port, struct store_wait *wait, uint64_t ticket)
{
	struct list_link *before;

	wait->ticket = ticket;
	if (err_impossible(store_is_null(port))) {
		wait->fn(wait);
		return;
	}
	before = port->waits.head.prev;
	while (before != &port->waits.head &&
	       list_item(before, struct store_wait, link)->ticket > ticket) {
		before = before->prev;
	}
	list_insert_between(&wait->link, before, before->next);
	if (wait_for(port, ticket)) {
		store_port_wake(port);
	}
}

void
store_wait_cancel(struct store_port *port, struct store_wait *wait)
{
	(void)port;
	list_remove(&wait->link);
}

static struct store_wait *
first_wait(const struct store_port *port)
{
	return list_is_empty(&port->waits)
		   ? NULL
		   : list_item(port->waits.head.next, struct store_wait, link);
}

static void
run_waits(struct store_port *port)
{
	struct store_wait *wait;

	while ((wait = first_wait(port)) != NULL) {
		if (!store_is_durable(port, wait->ticket) && !wait_for(port, wait->ticket)) {
			return;
		}
		list_remove(&wait->link);
		wait->fn(wait);
	}
}

/* --- the state --- */

static void
tell_state(struct store_port *port)
{
	bool failing = store_is_failing(port);

	if (failing == port->told_failing) {
		return;
	}
	port->told_failing = failing;
	for (size_t i = 0; i < port->watchers.count; i++) {
		port->watchers.items[i].fn(port, failing, port->watchers.items[i].arg);
	}
}

static void
run_wake(struct worker *worker, struct mail *mail)
{
	struct store_port *port = list_item(mail, struct store_port, wake);

	(void)worker;
	(void)atomic_exchange(&port->waking, false);
	tell_state(port);
	run_waits(port);
}

bool
store_is_failing(const struct store_port *port)
{
	return !store_is_null(port) && atomic_load(&port->store->failing);
}

uint64_t
store_pending_bytes(const struct store_port *port)
{
	if (store_is_null(port) || store_is_failing(port)) {
		return 0;
	}
	return atomic_load_explicit(&port->store->pending, memory_order_relaxed);
}

void
store_on_state(struct store_port *port, store_state_fn *fn, void *arg)
{
	if (!store_is_null(port)) {
		vec_push(&port->watchers, (struct store_watcher){.fn = fn, .arg = arg});
	}
}

/* --- life --- */

struct store_port *
store_port_new(struct store *store, struct worker *worker)
{
	struct store_port *port = mem_zalloc(sizeof(*port));

	port->store = store;
	port->worker = worker;
	port->wake.run = run_wake;
	list_init(&port->waits);
	worker_on_phase(worker, WORKER_STORE, run_phase, port);
	return port;
}

void
store_port_free(struct store_port **port)
{
	if ((*port)->open != NULL) {
		store_chunk_free(&(*port)->open);
	}
	vec_fini(&(*port)->watchers);
	mem_free(port);
}
