/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From acceptance to CONNACK (flow 4). The client id is claimed in the directory; if its home is
 * another worker the connection moves there, once, from its own turn, with no question open. At
 * home the session is opened, its rows become durable, CONNACK goes out, and the session begins to
 * serve.
 *
 * Moving: in phase SETTLE the peer leaves its loop and travels by mail with all it has not read;
 * its handle is rewritten in phase WRITE, when the mail has left. In mail a connection's first
 * event is its arrival.
 */
#include <assert.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/mem.h"
#include "conn/conn_int.h"
#include "wire/reason.h"

static void
serve(struct conn *conn)
{
	struct conn_connect *connect = conn->connect;
	const struct conn_limits *limits = conn_limits_of(conn);
	uint16_t alias_in = conn_version(conn) == WIRE_V5 ? (uint16_t)limits->max_topic_alias : 0;
	uint16_t alias_out = connect->topic_alias_maximum < limits->max_topic_alias_broker
				 ? connect->topic_alias_maximum
				 : (uint16_t)limits->max_topic_alias_broker;
	bool resumed;

	conn_send_connack(conn, WIRE_REASON_SUCCESS, NULL);
	if (conn->state == CONN_CLOSING) {
		return;
	}
	conn_set_state(conn, CONN_SERVING);
	stream_set_late(conn->peer.stream, false);
	session_directory_unclaim(
	    conn->table->house->options.sessions->directory, msg_client_id_of(conn->client));
	conn->claimed = false;
	counter_add(COUNTER_CONNECTS, 1);
	conn_log(conn, LOG_LEVEL_INFO, WIRE_REASON_SUCCESS,
	    connect->present ? "connected, the session goes on" : "connected");
	if (conn_version(conn) == WIRE_V5 && (alias_in != 0 || alias_out != 0)) {
		conn->peer.aliases_in = alias_in;
		conn->peer.aliases_out = alias_out;
	}
	if (connect->keep_alive != 0) {
		peer_set_keep_alive(&conn->peer, (uint32_t)connect->keep_alive * 1500);
	}
	conn_tell_connected(conn);
	resumed = connect->present;
	conn_free_connect(conn);
	conn_begin_terms(conn);
	conn_settle(conn);
	if (resumed && conn->listener->plugins->is_counted) {
		conn_recheck(conn); /* while it slept the rules may have changed */
	}
	session_serve(conn->session);
	peer_resume(&conn->peer, PEER_PAUSE_ROLE);
}

static void
on_durable(struct store_wait *wait)
{
	serve(list_item(wait, struct conn_connect, wait)->conn);
}

static void
acknowledge(struct conn *conn, bool present, uint64_t ticket)
{
	struct conn_connect *connect = conn->connect;

	connect->present = present;
	conn_set_state(conn, CONN_ACKING);
	if (ticket != 0 && conn->listener->durability.mode == ROUTE_COMMIT &&
	    !store_is_durable(conn->table->port, ticket)) {
		connect->wait.fn = on_durable;
		store_wait(conn->table->port, &connect->wait, ticket);
		return;
	}
	serve(conn);
}

void
conn_opened(struct session_sink *sink, struct session *session, bool present, uint64_t ticket,
    uint8_t reason)
{
	struct conn *conn = (struct conn *)(void *)((char *)sink - offsetof(struct conn, sink));

	if (session == NULL) {
		conn_set_state(conn, CONN_ACKING); /* it waits no longer */
		conn_refuse(conn, reason, NULL);
		return;
	}
	conn->session = session;
	acknowledge(conn, present, ticket);
}

/* At home. */
static void
open_session(struct conn *conn)
{
	struct conn_connect *connect = conn->connect;
	struct session_open open = {.client = conn->client,
	    .limits = &conn_limits_of(conn)->session,
	    .conf = conn->conf,
	    .expiry_s = connect->expiry_s,
	    .receive_maximum = connect->receive_maximum,
	    .clean_start = connect->clean_start,
	    .store = conn->listener->durability.mode != ROUTE_NONE,
	    .will = connect->will_msg,
	    .will_delay_s = connect->will_delay_s};
	struct session *session = NULL;
	enum session_open_status status;
	bool present = false;
	uint64_t ticket = 0;
	uint8_t reason = WIRE_REASON_SUCCESS;

	conn_set_state(conn, CONN_OPENING);
	status = session_open(
	    conn->table->sessions, &open, &conn->sink, &session, &present, &ticket, &reason);
	if (conn->state == CONN_CLOSING) {
		return;
	}
	switch (status) {
	case SESSION_OPENED:
		connect->will_msg = NULL; /* the session has it */
		conn->session = session;
		acknowledge(conn, present, ticket);
		break;
	case SESSION_WAIT:
		connect->will_msg = NULL;
		break;
	case SESSION_OUTDATED:
		conn_set_state(conn, CONN_ACKING);
		counter_add(COUNTER_CLOSED_TAKEN_OVER, 1);
		conn_refuse(conn, WIRE_REASON_SERVER_BUSY,
		    "the session is taken over by another connection");
		break;
	case SESSION_REFUSED:
		conn_set_state(conn, CONN_ACKING);
		conn_refuse(conn, reason, NULL);
		break;
	}
}

static bool
seal_will(struct conn *conn)
{
	struct conn_connect *connect = conn->connect;

	if (!connect->has_will) {
		return true;
	}
	connect->will.born_mono_ms = context_current->mono_ms;
	connect->will.born_wall_ms = context_current->wall_ms;
	connect->will_msg = msg_seal(&connect->will);
	return connect->will_msg != NULL;
}

/* With `move: always` every connection whose session is not here already has its home elsewhere. */
static uint16_t
preferred_home(const struct conn *conn)
{
	const struct conn_house *house = conn->table->house;
	unsigned own = worker_index(conn->table->worker), at = own;

	if (!house->options.move_always) {
		return (uint16_t)own;
	}
	do {
		at = (at + 1) % WORKER_MAX;
	} while (house->tables[at] == NULL);
	return (uint16_t)at;
}

void
conn_go_home(struct conn *conn)
{
	struct conn_table *table = conn->table;
	uint64_t claim;
	uint16_t home;

	if (!seal_will(conn)) {
		conn_refuse(conn, WIRE_REASON_SERVER_BUSY, "no memory for the will");
		return;
	}
	session_directory_claim(table->house->options.sessions->directory, conn->client,
	    preferred_home(conn), &home, &claim);
	conn->sink.claim = claim & INT64_MAX;
	conn->claimed = true;
	if (home == worker_index(table->worker)) {
		open_session(conn);
		return;
	}
	conn_set_state(conn, CONN_MOVING);
	conn->connect->home = home;
	list_append(&table->moving, &conn_more_of(conn)->wait_link);
	worker_again(table->worker);
}

static void
on_arrival(struct worker *worker, struct mail *mail)
{
	struct conn *conn = ((struct conn_connect *)(void *)mail)->conn;
	struct conn_table *table = conn->table->house->tables[worker_index(worker)];

	conn->table = table;
	list_append(&table->conns, &conn->link);
	atomic_fetch_add_explicit(&table->count, 1, memory_order_relaxed);
	if (peer_attach(&conn->peer, &table->room) != 0) {
		conn->peer.lost = true;
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_SUCCESS,
		    "the connection could not be attached");
		return;
	}
	if (table->stopping) {
		peer_pause(&conn->peer, PEER_PAUSE_STOP);
	}
	if (table->closed) {
		conn_refuse(conn, WIRE_REASON_SERVER_UNAVAILABLE, "the broker shuts down");
		return;
	}
	open_session(conn);
}

static void
move(struct conn_table *table, struct conn *conn)
{
	uint16_t home = conn->connect->home;
	struct conn_table *target = table->house->tables[home];

	counter_add(COUNTER_MOVES, 1);
	peer_detach(&conn->peer);
	list_remove(&conn->link);
	atomic_fetch_sub_explicit(&table->count, 1, memory_order_relaxed);
	vec_push(&table->moved, (struct conn_moved){conn->handle, home});
	conn->connect->mail.run = on_arrival;
	mail_send(table->worker, target->worker, &conn->connect->mail,
	    (uint32_t)sizeof(*conn) + peer_tail_len(&conn->peer));
}

void
conn_move_phase(struct worker *worker, void *arg)
{
	struct conn_table *table = arg;
	struct list_link *link;

	(void)worker;
	while ((link = list_take_first(&table->moving)) != NULL) {
		move(table, list_item(link, struct conn_more, wait_link)->conn);
	}
}

void
conn_moved_phase(struct worker *worker, void *arg)
{
	struct conn_table *table = arg;
	struct conn_moved *moved;

	(void)worker;
	vec_each (moved, &table->moved) {
		session_handle_moved(
		    table->house->options.sessions->directory, moved->handle, moved->worker);
	}
	table->moved.count = 0;
}
