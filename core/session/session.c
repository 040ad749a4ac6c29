/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's table of sessions: slots with generations, and client ids. Owned by its worker; all
 * functions run on that worker's thread (before loop_start and after loop_join: on main).
 *
 * In the middle of a turn a session only sends what can go at once; everything else marks it dirty,
 * and phase SETTLE pumps the dirty ones. A session that is marked while or after that runs has its
 * turn in a following one, so a pump never runs inside another.
 *
 * Phase STORE comes behind the store's own hand-over (its port is older than the table): then what
 * has ended leaves the directory, and the house learns what the queues hold.
 */
#include "session/session.h"

#include <assert.h>

#include "base/err.h"
#include "conf/conf.h"
#include "session/record.h"
#include "session/session_int.h"

/* --- phases --- */

static void
settle(struct worker *worker, void *arg)
{
	struct session_table *table = arg;
	__typeof__(table->dirty) batch = table->dirty;
	struct session_name *name;

	table->settled_turn = worker_turns(worker);
	assert(table->settling.count == 0);
	/* Those that become dirty meanwhile have their turn later. */
	table->dirty = table->settling;
	table->settling = batch;
	vec_each (name, &table->settling) {
		struct session *session = session_table_get(table, name->slot, name->generation);

		if (session == NULL) {
			continue; /* it has ended meanwhile */
		}
		session->dirty = false;
		if (session_pump(session)) {
			session_mark_dirty(session);
		}
	}
	table->settling.count = 0;
}

static void
publish_counts(struct session_table *table)
{
	struct session_house *house = table->house;

	if (table->queued_bytes != table->shown_bytes) {
		atomic_fetch_add_explicit(&house->queued_bytes,
		    table->queued_bytes - table->shown_bytes, memory_order_relaxed);
		table->shown_bytes = table->queued_bytes;
	}
	if (table->queued_sessions != table->shown_sessions) {
		atomic_fetch_add_explicit(&house->queued_sessions,
		    table->queued_sessions - table->shown_sessions, memory_order_relaxed);
		table->shown_sessions = table->queued_sessions;
	}
}

static void
after_store(struct worker *worker, void *arg)
{
	struct session_table *table = arg;
	struct session_gone *gone;

	(void)worker;
	vec_each (gone, &table->gone) {
		session_directory_session_gone(
		    table->house->directory, msg_client_id_of(gone->client), gone->sid);
		msg_client_unref(&gone->client);
	}
	table->gone.count = 0;
	publish_counts(table);
	store_id_block_end_turn(&table->ids);
}

/* Another turn, where this one has settled already. */
static void
want_turn(struct session_table *table)
{
	if (worker_turns(table->worker) == table->settled_turn) {
		worker_again(table->worker);
	}
}

/* What was loaded is looked at in the first turn: wills and expiries that are due, timers, rows
 * that loading wrote. */
static void
boot(struct worker *worker, struct timer *timer)
{
	struct session_table *table = list_item(timer, struct session_table, boot_timer);
	struct session_loaded *at;

	(void)worker;
	vec_each (at, &table->loaded) {
		struct session *session = session_table_get(table, at->slot, at->generation);

		if (session != NULL && session->sink == NULL && !session->asking) {
			session_go_on(session);
		}
	}
	vec_fini(&table->loaded);
}

/* Loading knew no clock that goes on: left_ms is relative to now. */
static void
start(struct worker *worker, void *arg)
{
	struct session_table *table = arg;
	struct session_loaded *at;

	vec_each (at, &table->loaded) {
		struct session *session = session_table_get(table, at->slot, at->generation);

		if (session != NULL) {
			session->sleep->left_ms += session_now();
			if (at->was_connected) {
				session_put_row(session);
			}
		}
	}
	if (table->loaded.count != 0) {
		timer_set(worker, &table->boot_timer, session_now());
	}
	worker_again(worker);
}

/* --- the table --- */

struct session_table *
session_table_new(const struct session_table_options *options)
{
	struct session_table *table = mem_zalloc(sizeof(*table));

	table->house = options->house;
	table->worker = options->worker;
	table->port = options->port;
	table->route_ops = options->route_ops;
	table->route_arg = options->route_arg;
	table->hash_key = session_directory_hash_key(options->house->directory);
	table->settled_turn = UINT64_MAX;
	table->ids_turn = UINT64_MAX;
	table->boot_timer.fn = boot;
	worker_on_start(table->worker, start, table);
	worker_on_phase(table->worker, WORKER_SETTLE, settle, table);
	worker_on_phase(table->worker, WORKER_STORE, after_store, table);
	return table;
}

void
session_table_free(struct session_table **table_address)
{
	struct session_table *table = *table_address;
	struct session_gone *gone;

	if (table == NULL) {
		return;
	}
	for (size_t i = 0; i < table->slots.count; i++) {
		if (table->slots.items[i].session != NULL) {
			session_free(table->slots.items[i].session);
		}
	}
	vec_each (gone, &table->gone) {
		msg_client_unref(&gone->client);
	}
	vec_fini(&table->gone);
	vec_fini(&table->slots);
	vec_fini(&table->dirty);
	vec_fini(&table->settling);
	assert(table->terms.count == 0);
	vec_fini(&table->terms);
	vec_fini(&table->loaded);
	publish_counts(table);
	mem_free(table_address);
}

struct worker *
session_table_worker(const struct session_table *table)
{
	return table->worker;
}

struct store_port *
session_table_port(const struct session_table *table)
{
	return table->port;
}

uint64_t
session_table_draw_id(struct session_table *table)
{
	uint64_t turn = worker_turns(table->worker);

	/* Phase WRITE of the turn before may have drawn behind the end of its block. */
	if (turn != table->ids_turn) {
		store_id_block_end_turn(&table->ids);
		table->ids_turn = turn;
	}
	return store_id_draw(&table->house->ids, &table->ids);
}

struct session *
session_table_get(const struct session_table *table, uint32_t slot, uint32_t generation)
{
	const struct session_slot *at;

	if (slot >= table->slots.count) {
		return NULL;
	}
	at = &table->slots.items[slot];
	return at->generation == generation ? at->session : NULL;
}

struct session *
session_table_find(const struct session_table *table, struct bytes client_id)
{
	struct session *session;
	uint64_t sid;
	uint32_t slot;

	if (!session_directory_find(table->house->directory, client_id,
		(uint16_t)worker_index(table->worker), &sid, &slot)) {
		return NULL;
	}
	session = table->slots.items[slot].session;
	return session != NULL && session->sid == sid ? session : NULL;
}

void
session_table_each(
    struct session_table *table, void (*fn)(struct session *session, void *arg), void *arg)
{
	for (size_t i = 0; i < table->slots.count; i++) {
		if (table->slots.items[i].session != NULL) {
			fn(table->slots.items[i].session, arg);
		}
	}
}

size_t
session_table_count(const struct session_table *table)
{
	return table->count;
}

static void
count_session(struct session *session, void *arg)
{
	struct session_counts *counts = arg;

	counts->sessions++;
	counts->connected += session->sink != NULL;
	counts->subscriptions += session_subscription_count(session);
	counts->received += session_inbound_count(session);
	if (session->out != NULL) {
		counts->inflight += session->out->inflight.count;
		counts->queued_bytes += session->out->queued_bytes;
		for (int i = 0; i < SESSION_RING_COUNT; i++) {
			counts->queued += session->out->rings[i].count;
		}
	}
	if (session_replay_is_open(session)) {
		list_each (link, &session->subs->more->replays) {
			counts->replays++;
		}
	}
}

void
session_table_counts(struct session_table *table, struct session_counts *counts_out)
{
	*counts_out = (struct session_counts){0};
	session_table_each(table, count_session, counts_out);
}

void
session_table_say_gone(struct session_table *table, struct msg_client *client, uint64_t sid)
{
	vec_push(&table->gone, (struct session_gone){msg_client_ref(client), sid});
	want_turn(table);
}

/* --- terms --- */

/* There are as many as snapshots of listeners are in use: few. */
static struct session_terms *
terms_of(struct session_table *table, const struct session_limits *limits, struct conf *conf)
{
	struct session_terms *terms;

	for (size_t i = table->terms.count; i-- > 0;) {
		terms = table->terms.items[i];
		if (terms->limits == limits && terms->conf == conf) {
			return terms;
		}
	}
	terms = mem_alloc(sizeof(*terms));
	*terms =
	    (struct session_terms){.limits = limits, .conf = conf != NULL ? conf_ref(conf) : NULL};
	vec_push(&table->terms, terms);
	return terms;
}

static void
leave_terms(struct session *session)
{
	struct session_table *table = session->table;
	struct session_terms *terms = session->terms;

	session->terms = NULL;
	if (terms == NULL || --terms->users != 0) {
		return;
	}
	for (size_t i = 0; i < table->terms.count; i++) {
		if (table->terms.items[i] == terms) {
			vec_swap_remove(&table->terms, i);
			break;
		}
	}
	if (terms->conf != NULL) {
		conf_unref(&terms->conf);
	}
	mem_free(&terms);
}

/* --- a session --- */

static uint32_t
take_slot(struct session_table *table, struct session *session)
{
	struct session_slot *slot;
	uint32_t index = table->free_slot;

	if (index == 0) {
		vec_push(&table->slots, (struct session_slot){0});
		index = (uint32_t)table->slots.count;
	} else {
		table->free_slot = table->slots.items[index - 1].next_free;
	}
	slot = &table->slots.items[index - 1];
	slot->session = session;
	slot->generation++;
	session->slot = index - 1;
	return index;
}

struct session *
session_make(struct session_table *table, struct msg_client *client, uint64_t sid, bool mapped)
{
	struct session *session = mem_zalloc(sizeof(*session));

	session->table = table;
	session->client = msg_client_ref(client);
	session->sid = sid;
	take_slot(table, session);
	if (mapped) {
		session_directory_session_made(table->house->directory, client,
		    (uint16_t)worker_index(table->worker), sid, session->slot);
	}
	table->count++;
	atomic_fetch_add_explicit(&table->house->sessions, 1, memory_order_relaxed);
	counter_add(COUNTER_SESSIONS, 1);
	return session;
}

void
session_free(struct session *session)
{
	struct session_table *table = session->table;
	struct session_slot *slot = &table->slots.items[session->slot];

	session_waiting_free(session);
	session_wake_up(session);
	session_will_free(session);
	session_out_free(session);
	session_inbox_free(session);
	session_subs_free(session);
	if (session->sink != NULL) {
		counter_sub(COUNTER_SESSIONS_ATTACHED, 1);
	}
	slot->session = NULL;
	slot->next_free = table->free_slot;
	table->free_slot = session->slot + 1;
	table->count--;
	atomic_fetch_sub_explicit(&table->house->sessions, 1, memory_order_relaxed);
	counter_sub(COUNTER_SESSIONS, 1);
	msg_client_unref(&session->client);
	leave_terms(session);
	mem_free(&session);
}

void
session_mark_dirty(struct session *session)
{
	if (!session->dirty) {
		session->dirty = true;
		vec_push(&session->table->dirty,
		    (struct session_name){session->slot, session_generation(session)});
	}
	want_turn(session->table);
}

void
session_wake(struct session *session)
{
	const struct session_out *out = session->out;

	if (!session->serving) {
		return;
	}
	if (session_replay_is_open(session) ||
	    (out != NULL && (out->rings[SESSION_RING_QOS0].count != 0 ||
				out->rings[SESSION_RING_QOS12].count != 0 ||
				out->inflight.resend != 0 || out->inflight.gate_first != 0))) {
		session_mark_dirty(session);
	}
}

void
session_set_window(struct session *session)
{
	int64_t most = session_limits_of(session)->max_inflight_messages;
	uint16_t window = session->receive_maximum != 0 ? session->receive_maximum : UINT16_MAX;

	session->window = most > 0 && most < window ? (uint16_t)most : window;
}

uint64_t
session_put_row(const struct session *session)
{
	struct buf rec;
	uint64_t ticket;

	if (!session->has_row) {
		return 0;
	}
	buf_init(&rec, SIZE_MAX);
	session_record_session_encode(
	    &(struct session_record_session){.client = msg_client_parts_of(session->client),
		.expiry_s = session->expiry_s,
		.left_wall_ms = session->sleep == NULL
				    ? 0
				    : session_wall() - (session_now() - session->sleep->left_ms),
		.connected = session->sink != NULL,
		.transient = !session->persistent},
	    &rec);
	ticket = session_put(session->table, &(struct store_op){.kind = STORE_SESSION_PUT,
						 .sid = session->sid,
						 .key = msg_client_id_of(session->client),
						 .rec = buf_bytes(&rec)});
	buf_fini(&rec);
	return ticket;
}

void
session_set_expiry(struct session *session, uint32_t expiry_s)
{
	/* The row is written when the session is left, which is now. */
	session->expiry_s = expiry_s;
}

void
session_set_client(struct session *session, struct msg_client *client)
{
	struct msg_client *old = session->client;

	if (err_impossible(!bytes_equal(msg_client_id_of(client), msg_client_id_of(old)))) {
		return;
	}
	session->client = msg_client_ref(client);
	msg_client_unref(&old);
	session_put_row(session);
}

void
session_set_limits(struct session *session, const struct session_limits *limits, struct conf *conf)
{
	struct session_terms *terms = terms_of(session->table, limits, conf);

	terms->users++;
	leave_terms(session);
	session->terms = terms;
	session_set_window(session);
	session_wake(session);
}

void
session_fall_asleep(struct session *session, int64_t left_ms)
{
	assert(session->sleep == NULL);
	session->sleep = mem_zalloc(sizeof(*session->sleep));
	session->sleep->session = session;
	session->sleep->left_ms = left_ms;
}

void
session_wake_up(struct session *session)
{
	if (session->sleep != NULL) {
		assert(session->sleep->waiting == NULL);
		timer_clear(session->table->worker, &session->sleep->timer);
		mem_free(&session->sleep);
	}
}

/* --- what it is --- */

struct bytes
session_client_id(const struct session *session)
{
	return msg_client_id_of(session->client);
}

struct msg_client *
session_client(const struct session *session)
{
	return session->client;
}

uint64_t
session_sid(const struct session *session)
{
	return session->sid;
}

uint32_t
session_slot(const struct session *session)
{
	return session->slot;
}

uint32_t
session_generation(const struct session *session)
{
	return session->table->slots.items[session->slot].generation;
}

bool
session_is_stored(const struct session *session)
{
	return session->has_row && session->persistent;
}

bool
session_is_attached(const struct session *session)
{
	return session->sink != NULL;
}

uint32_t
session_expiry_s(const struct session *session)
{
	return session->expiry_s;
}

struct session_table *
session_table_of(const struct session *session)
{
	return session->table;
}
