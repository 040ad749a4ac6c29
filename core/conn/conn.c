/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of a worker: how they begin, how they end, what is told about them. conn_close is the
 * one way to die; it may be called at any moment from the connection's own worker, and again. The
 * object is freed by its peer in phase WRITE, never inside a callback.
 *
 * A little longer than the guide: birth and death of one object, told in one place.
 */
#include "conn/conn.h"

#include <assert.h>
#include <stdio.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "conn/conn_int.h"
#include "transport/proxy.h"
#include "transport/tls.h"
#include "transport/ws.h"
#include "wire/reason.h"

enum { POLL_MS = 5, MAX_SENTENCE = 256 };

/* --- house and tables --- */

struct conn_house *
conn_house_new(const struct conn_house_options *options)
{
	struct conn_house *house = mem_zalloc(sizeof(*house));

	house->options = *options;
	return house;
}

void
conn_house_free(struct conn_house **house)
{
	mem_free(house);
}

/*
 * Transit (flow 6): acknowledgements wait while too much is under way. A store that failed and
 * recovered between two looks of its port tells nobody, so what waits for it is looked at here,
 * too.
 */
static void
settle_phase(struct worker *worker, void *arg)
{
	struct conn_table *table = arg;
	bool over = route_desk_is_over(table->route);

	if (!list_is_empty(&table->blocked) && !store_is_failing(table->port)) {
		conn_unblock(table);
	}
	if (over != table->room.withhold) {
		peer_room_set_withhold(&table->room, over);
	}
	if ((over || !list_is_empty(&table->rated)) && !timer_is_set(&table->poll)) {
		timer_set(worker, &table->poll, context_current->mono_ms + POLL_MS);
	}
}

static void
on_poll(struct worker *worker, struct timer *timer)
{
	(void)worker;
	conn_unrate(list_item(timer, struct conn_table, poll));
}

static void
on_store_state(struct store_port *port, bool failing, void *arg)
{
	(void)port;
	if (!failing) {
		conn_unblock(arg);
	}
}

/* A target has credit again: all who stopped for want of it read on, and stop again if they must.
 */
static void
on_credit(struct worker *worker, struct worker *target, void *arg)
{
	struct conn_table *table = arg;

	(void)worker;
	(void)target;
	list_each (link, &table->conns) {
		peer_resume(&list_item(link, struct conn, link)->peer, PEER_PAUSE_CREDIT);
	}
}

struct conn_table *
conn_table_new(const struct conn_table_options *options)
{
	struct conn_table *table = mem_zalloc(sizeof(*table));

	table->house = options->house;
	table->worker = options->worker;
	table->sessions = options->sessions;
	table->route = options->route;
	table->plugins = options->plugins;
	table->port = options->port;
	list_init(&table->conns);
	list_init(&table->moving);
	list_init(&table->rated);
	list_init(&table->blocked);
	list_init(&table->publications);
	list_init(&table->subscribes);
	list_init(&table->rechecks);
	buf_init(&table->topic, SIZE_MAX);
	table->poll.fn = on_poll;
	table->house->tables[worker_index(table->worker)] = table;
	worker_on_phase(table->worker, WORKER_SETTLE, conn_move_phase, table);
	worker_on_phase(table->worker, WORKER_SETTLE, settle_phase, table);
	peer_room_init(&table->room, table->worker, table->port);
	worker_on_phase(table->worker, WORKER_WRITE, conn_moved_phase, table);
	mail_on_credit(table->worker, on_credit, table);
	if (table->port != NULL) {
		store_on_state(table->port, on_store_state, table);
	}
	return table;
}

void
conn_table_free(struct conn_table **table_at)
{
	struct conn_table *table = *table_at;
	struct list_link *link;

	if (table == NULL) {
		return;
	}
	while ((link = list_take_first(&table->conns)) != NULL) {
		struct conn *conn = list_item(link, struct conn, link);

		conn->session = NULL; /* the tables of sessions free them */
		peer_kill(&conn->peer);
	}
	conn_free_publications(table);
	conn_free_subscribes(table);
	conn_free_rechecks(table);
	peer_room_fini(&table->room);
	vec_fini(&table->moved);
	buf_fini(&table->topic);
	mem_free(table_at);
}

unsigned
conn_table_count(const struct conn_table *table)
{
	return atomic_load_explicit(&table->count, memory_order_relaxed);
}

/* --- what is told --- */

static struct bytes
known_client_id(const struct conn *conn)
{
	if (conn->client != NULL) {
		return msg_client_id_of(conn->client);
	}
	return conn->connect != NULL ? conn->connect->client_id : (struct bytes){0};
}

static struct bytes
known_username(const struct conn *conn)
{
	if (conn->client != NULL) {
		return msg_client_username_of(conn->client);
	}
	return conn->connect != NULL ? conn->connect->username : (struct bytes){0};
}

void
conn_log(struct conn *conn, enum log_level level, uint8_t reason, const char *sentence)
{
	struct bytes client_id = known_client_id(conn), username = known_username(conn);
	struct log_field fields[5];
	size_t count = 0;
	char code[8];

	fields[count++] = (struct log_field){"address", conn->client != NULL
							    ? msg_client_address_of(conn->client)
							    : stream_peer_name(conn->peer.stream)};
	fields[count++] = (struct log_field){"client_id", client_id};
	if (username.len != 0) {
		fields[count++] = (struct log_field){"user", username};
	}
	fields[count++] = (struct log_field){"listener", bytes_of(conn->listener->name)};
	if (reason != WIRE_REASON_SUCCESS) {
		(void)snprintf(code, sizeof(code), "0x%02x", reason);
		fields[count++] = (struct log_field){"reason", bytes_of(code)};
	}
	log_write(level, fields, count, "%s", sentence);
}

/* --- beginning --- */

void
conn_open(struct conn_table *table, struct stream *stream, const struct conn_listener *listener,
    struct conf *conf, bool is_local, struct conn_gone *gone)
{
	struct conn *conn = mem_zalloc(sizeof(*conn));
	const struct conn_limits *limits = listener->limits;

	conn->table = table;
	conn->listener = listener;
	conn->conf = conf != NULL ? conf_ref(conf) : NULL;
	conn->is_local = is_local;
	conn->gone = gone;
	conn->sink.ops = &conn_sink_ops;
	conn->sink.has_room = true;
	conn->peer.side = WIRE_SERVER;
	conn->peer.lenient = limits->lenient;
	conn->peer.max_packet_in = (uint32_t)limits->max_connect_size;
	conn->peer.write_timeout_ms =
	    limits->write_timeout_ms < UINT32_MAX ? (uint32_t)limits->write_timeout_ms : 0;
	list_append(&table->conns, &conn->link);
	atomic_fetch_add_explicit(&table->count, 1, memory_order_relaxed);
	/* However many come at once: who is in goes on as before. */
	stream_set_late(stream, true);
	if (peer_init(&conn->peer, &conn_peer_ops, &table->room, stream) != 0) {
		conn->state = CONN_CLOSING;
		peer_close(&conn->peer, true);
		return;
	}
	if (limits->connect_timeout_ms != 0 && limits->connect_timeout_ms != CONF_NEVER) {
		peer_set_deadline(
		    &conn->peer, context_current->mono_ms + limits->connect_timeout_ms);
	}
	if (table->stopping) {
		peer_pause(&conn->peer, PEER_PAUSE_STOP);
	}
	if (table->closed) {
		conn_close(
		    conn, SESSION_LEAVE_NORMAL, WIRE_REASON_SUCCESS, "the broker shuts down");
	}
}

void
conn_set_state(struct conn *conn, enum conn_state state)
{
	assert(conn->state != CONN_CLOSING);
	conn->state = (uint8_t)state;
}

struct conn_more *
conn_more_of(struct conn *conn)
{
	if (conn->more == NULL) {
		conn->more = mem_zalloc(sizeof(*conn->more));
		conn->more->conn = conn;
	}
	return conn->more;
}

void
conn_settle(struct conn *conn)
{
	const struct conn_more *more = conn->more;
	int64_t now_us = context_current->mono_ms * 1000;

	if (more != NULL && more->question == NULL && more->subscribing == NULL &&
	    more->exchange == NULL && !list_is_linked(&more->wait_link) &&
	    more->rate_at_us <= now_us && more->bytes_at_us <= now_us &&
	    more->reauth == CONN_REAUTH_NONE) {
		mem_free(&conn->more);
	}
}

void
conn_free_connect(struct conn *conn)
{
	struct conn_connect *connect = conn->connect;

	if (connect == NULL) {
		return;
	}
	if (list_is_linked(&connect->wait.link)) {
		store_wait_cancel(conn->table->port, &connect->wait);
	}
	msg_draft_fini(&connect->will);
	msg_unref(&connect->will_msg);
	if (connect->texts != NULL) {
		mem_wipe(connect->texts, connect->texts_len);
		mem_free(&connect->texts);
	}
	plugin_said_free(&connect->said);
	mem_free(&conn->connect);
}

/* --- ending --- */

static void
say_goodbye(struct conn *conn, uint8_t reason, const char *sentence)
{
	const struct plugin_said *said = conn->more != NULL ? conn->more->said : NULL;
	struct bytes text = bytes_of(sentence != NULL ? sentence : "");
	struct wire_packet packet = {.type = WIRE_DISCONNECT};
	struct wire_writer writer = wire_writer_of(NULL, 0);
	uint8_t *block;

	if (reason == WIRE_REASON_SUCCESS) {
		return;
	}
	if (conn->state != CONN_SERVING) {
		if (conn->connect != NULL && conn_version(conn) != 0) {
			conn_send_connack(conn, reason, sentence);
		}
		return;
	}
	if (conn_version(conn) != WIRE_V5) {
		return;
	}
	packet.disconnect.reason = wire_reason_is_allowed(WIRE_DISCONNECT, WIRE_SERVER, reason)
				       ? reason
				       : (uint8_t)WIRE_REASON_UNSPECIFIED_ERROR;
	/* Once for the length. */
	conn_write_said(&writer, said, text);
	block = mem_alloc(writer.len + 1);
	writer = wire_writer_of(block, writer.len);
	conn_write_said(&writer, said, text);
	packet.disconnect.props.block = bytes_make(block, writer.len);
	(void)peer_send(&conn->peer, &packet);
	mem_free(&block);
}

static void
leave_session(struct conn *conn, enum session_leave how)
{
	if (conn->session != NULL) {
		struct session *session = conn->session;

		conn->session = NULL;
		session_detach(session, how);
	} else if (conn->state == CONN_OPENING) {
		session_open_cancel(
		    conn->table->sessions, &conn->sink, msg_client_id_of(conn->client));
	}
	if (conn->claimed) {
		conn->claimed = false;
		session_directory_unclaim(conn->table->house->options.sessions->directory,
		    msg_client_id_of(conn->client));
	}
}

static void
count_end(const struct conn *conn, uint8_t reason)
{
	if (conn->state == CONN_SERVING) {
		counter_add(COUNTER_DISCONNECTS, 1);
	} else if (reason >= WIRE_REASON_FIRST_ERROR && conn->connect != NULL) {
		counter_add(COUNTER_CONNECTS_REFUSED, 1);
	}
	if (reason == WIRE_REASON_MALFORMED_PACKET || reason == WIRE_REASON_PROTOCOL_ERROR) {
		counter_add(COUNTER_CLOSED_PROTOCOL, 1);
	}
}

/* Why a layer of the stream has failed, and which; NULL: none has. The lowest one is the cause. */
static const char *
stream_failure(const struct conn *conn, const char **layer_out)
{
	const struct stream *stream = conn->peer.stream;
	const char *why = proxy_stream_error(stream);

	*layer_out = "PROXY header";
	if (why == NULL) {
		why = tls_stream_error(stream);
		*layer_out = "TLS";
	}
	if (why == NULL) {
		why = ws_stream_error(stream);
		*layer_out = "WebSocket";
	}
	return why;
}

/* Not just an end: a layer of the stream has refused it. */
static bool
has_failed(const struct conn *conn)
{
	const char *layer;

	return conn->peer.lost && stream_failure(conn, &layer) != NULL;
}

void
conn_close(struct conn *conn, enum session_leave how, uint8_t reason, const char *format, ...)
{
	char sentence[MAX_SENTENCE] = "";
	va_list args;

	if (conn->state == CONN_CLOSING) {
		return;
	}
	if (format != NULL) {
		va_start(args, format);
		(void)vsnprintf(sentence, sizeof(sentence), format, args);
		va_end(args);
		/* Not cut off inside of a character: it may become a Reason String. */
		sentence[utf8_fault_at(bytes_of(sentence))] = '\0';
	} else {
		(void)snprintf(sentence, sizeof(sentence), "%s", wire_reason_name(reason));
	}
	count_end(conn, reason);
	if (conn->state == CONN_DELAYED) {
		atomic_fetch_sub_explicit(&conn->table->house->delayed, 1, memory_order_relaxed);
	}
	/* Somebody who knocks and goes again without a word is a probe: not worth a line at info.
	 */
	conn_log(conn,
	    conn->connect == NULL && conn->client == NULL && reason == WIRE_REASON_SUCCESS &&
		    !has_failed(conn)
		? LOG_LEVEL_DEBUG
	    : reason == WIRE_REASON_BAD_USER_NAME_OR_PASSWORD ||
		    reason == WIRE_REASON_NOT_AUTHORIZED
		? LOG_LEVEL_WARNING
		: LOG_LEVEL_INFO,
	    reason, sentence);
	conn_tell_closed(conn, how, reason, sentence);
	say_goodbye(conn, reason, sentence);
	conn_drop_question(conn);
	leave_session(conn, how);
	conn_drop_publications(conn);
	conn_drop_subscribe(conn);
	if (conn->more != NULL) {
		list_remove(&conn->more->wait_link);
	}
	conn->state = CONN_CLOSING;
	peer_close(&conn->peer, conn->peer.lost);
}

static void
on_freed(struct peer *peer)
{
	struct conn *conn = conn_of_peer(peer);
	struct conn_table *table = conn->table;

	conn_drop_question(conn);
	conn_drop_publications(conn);
	conn_drop_subscribe(conn);
	conn_free_connect(conn);
	if (conn->more != NULL) {
		list_remove(&conn->more->wait_link);
		mem_free(&conn->more);
	}
	mem_free(&conn->terms);
	list_remove(&conn->link);
	if (conn->handle != 0) {
		session_handle_free(table->house->options.sessions->directory, conn->handle);
	}
	atomic_fetch_sub_explicit(&table->count, 1, memory_order_relaxed);
	if (conn->gone != NULL) {
		conn->gone->fn(conn->gone);
	}
	msg_client_unref(&conn->client);
	if (conn->conf != NULL) {
		conf_unref(&conn->conf);
	}
	mem_free(&conn);
}

static void
on_refused(struct conn *conn, const struct wire_outcome *outcome, const struct wire_packet *packet)
{
	uint8_t reason = outcome->reason;

	if (conn->state == CONN_NEW && packet->type == WIRE_CONNECT) {
		/* Enough of it was seen to answer in its own version [MQTT-3.1.2-1] [MQTT-3.1.2-2].
		 */
		if (packet->connect.is_mqtt) {
			unsigned version = packet->connect.version != 0 ? packet->connect.version
					   : packet->connect.level > WIRE_V5 ? WIRE_V5
									     : WIRE_V311;

			conn->peer.version = version & 15U;
			/* Without a sentence: its Maximum Packet Size may not have been seen
			 * [MQTT-3.2.2-19]. */
			conn_send_connack(conn, reason, NULL);
		}
		counter_add(COUNTER_CONNECTS_REFUSED, 1);
		conn_close(conn, SESSION_LEAVE_NORMAL, WIRE_REASON_SUCCESS, "%s", outcome->text);
		return;
	}
	if (conn->state == CONN_NEW) {
		/* Nothing is said to who does not begin with CONNECT [MQTT-3.1.0-1]. */
		conn_close(conn, SESSION_LEAVE_NORMAL, WIRE_REASON_SUCCESS, "%s", outcome->text);
		return;
	}
	conn_close(conn, SESSION_LEAVE_ABNORMAL, reason, "%s: %s", wire_type_name(packet->type),
	    outcome->text);
}

static void
on_deadline(struct conn *conn)
{
	if (conn->state == CONN_DELAYED) {
		conn_refuse(conn, conn->connect->refusal, conn->connect->refusal_text);
	} else if (conn->state == CONN_SERVING) {
		if (!conn_check_terms(conn)) {
			conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_MAXIMUM_CONNECT_TIME,
			    "the credential has expired");
		}
	} else {
		if (conn->state == CONN_NEW) {
			counter_add(COUNTER_CLOSED_CONNECT_TIMEOUT, 1);
		}
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_SUCCESS,
		    conn->state == CONN_NEW ? "no CONNECT came in time"
					    : "authentication took too long");
	}
}

static void
count_failure(const struct conn *conn)
{
	const struct stream *stream = conn->peer.stream;

	if (conn->state != CONN_NEW) {
		return;
	}
	if (proxy_stream_error(stream) != NULL) {
		counter_add(COUNTER_PROXY_REFUSED, 1);
	} else if (tls_stream_error(stream) != NULL) {
		counter_add(COUNTER_TLS_HANDSHAKES_FAILED, stream_identity(stream) == NULL);
	} else if (ws_stream_error(stream) != NULL) {
		counter_add(COUNTER_WS_HANDSHAKES_FAILED, 1);
	}
}

static void
on_broken(struct conn *conn)
{
	const char *layer, *why = stream_failure(conn, &layer);

	conn->peer.lost = true;
	count_failure(conn);
	if (why != NULL) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_SUCCESS, "%s: %s", layer, why);
	} else {
		conn_close(
		    conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_SUCCESS, "the connection broke");
	}
}

static void
on_ended(struct peer *peer, enum peer_end end, const struct wire_outcome *outcome,
    const struct wire_packet *packet)
{
	struct conn *conn = conn_of_peer(peer);

	switch (end) {
	case PEER_EOF:
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_SUCCESS,
		    conn->state == CONN_SERVING ? "the client closed without DISCONNECT"
						: "the client closed");
		break;
	case PEER_BROKEN:
		on_broken(conn);
		break;
	case PEER_REFUSED:
		on_refused(conn, outcome, packet);
		break;
	case PEER_KEEP_ALIVE:
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_KEEP_ALIVE_TIMEOUT, NULL);
		break;
	case PEER_WRITE_TIMEOUT:
		conn->peer.lost = true;
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_SUCCESS,
		    "the client took nothing for too long");
		break;
	case PEER_DEADLINE:
		on_deadline(conn);
		break;
	}
}

static void
on_has_room(struct peer *peer)
{
	struct conn *conn = conn_of_peer(peer);

	conn->sink.has_room = true;
	if (conn->session != NULL && conn->state == CONN_SERVING) {
		session_has_room(conn->session);
	}
}

const struct peer_ops conn_peer_ops = {
    .packet = conn_dispatch, .ended = on_ended, .has_room = on_has_room, .freed = on_freed};

/* --- reload and shutdown --- */

void
conn_table_reload(struct conn_table *table, struct conf *conf,
    const struct conn_listener *(*find)(struct conf *conf, struct bytes name))
{
	list_each (link, &table->conns) {
		struct conn *conn = list_item(link, struct conn, link);
		const struct conn_listener *listener = find(conf, bytes_of(conn->listener->name));

		if (conn->state == CONN_CLOSING) {
			continue;
		}
		if (listener == NULL) {
			conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_SERVER_SHUTTING_DOWN,
			    "its listener is removed");
			continue;
		}
		conn->listener = listener;
		if (conn->session != NULL) {
			session_set_limits(conn->session, &listener->limits->session, conf);
		}
		(void)conf_ref(conf);
		if (conn->conf != NULL) {
			conf_unref(&conn->conf);
		}
		conn->conf = conf;
	}
}

void
conn_table_stop_reading(struct conn_table *table)
{
	table->stopping = true;
	list_each (link, &table->conns) {
		peer_pause(&list_item(link, struct conn, link)->peer, PEER_PAUSE_STOP);
	}
}

bool
conn_table_is_busy(const struct conn_table *table)
{
	if (plugin_desk_open_count(table->plugins) != 0) {
		return true;
	}
	list_each (link, &table->conns) {
		if (peer_ack_count(&list_item(link, struct conn, link)->peer) != 0) {
			return true;
		}
	}
	return false;
}

void
conn_table_close_all(struct conn_table *table, uint8_t reason)
{
	table->closed = true;
	list_each (link, &table->conns) {
		struct conn *conn = list_item(link, struct conn, link);
		bool served = conn->state == CONN_SERVING;

		conn_close(conn, SESSION_LEAVE_SHUTDOWN,
		    served ? reason : (uint8_t)WIRE_REASON_SERVER_UNAVAILABLE,
		    "the broker shuts down");
	}
}

bool
conn_table_is_empty(const struct conn_table *table)
{
	return list_is_empty(&table->conns);
}
