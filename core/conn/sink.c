/* SPDX-License-Identifier: Apache-2.0 */
/* What a session says to its connection. */
#include "base/counter.h"
#include "conn/conn_int.h"
#include "plugin/chain.h"
#include "wire/reason.h"

uint32_t
conn_stripped_len(const struct conn *conn, const struct msg *msg)
{
	/* Topics that begin with $ have no prefix. */
	return conn->prefix_len != 0 && msg_topic_len(msg) > conn->prefix_len &&
		       msg_topic(msg).data[0] != '$' &&
		       (!conn->listener->plugins->intercepts_out ||
			   bytes_starts_with(msg_topic(msg), msg_client_prefix_of(conn->client)))
		   ? conn->prefix_len
		   : 0;
}

static struct conn *
conn_of_sink(struct session_sink *sink)
{
	return (struct conn *)(void *)((char *)sink - offsetof(struct conn, sink));
}

/* To another broker's link with the mark of where the message first came in. */
static enum session_offer
send_plain(struct conn *conn, const struct session_delivery *delivery)
{
	uint32_t stripped = conn_stripped_len(conn, delivery->msg);

	if (!conn->wants_marks || conn->peer.was_full) {
		return peer_send_publish(&conn->peer, delivery, stripped, context_current->mono_ms);
	}
	return peer_send_publish_as(&conn->peer, delivery,
	    bytes_skip(msg_topic(delivery->msg), stripped),
	    route_marked_props(conn->table->route, delivery->msg), context_current->mono_ms);
}

/* Interceptors may change what this receiver gets. */
static enum session_offer
send_out(struct conn *conn, const struct session_delivery *delivery)
{
	struct session_delivery changed = *delivery;
	enum session_offer offer;

	changed.msg = plugin_send_out(conn->listener->plugins, conn->client, delivery->msg,
	    delivery->qos, (delivery->flags & SESSION_RETAIN) != 0);
	if (changed.msg == NULL) {
		return SESSION_DENIED;
	}
	if (changed.msg == delivery->msg) {
		return send_plain(conn, delivery);
	}
	changed.flags =
	    (uint8_t)((changed.msg->flags & MSG_RETAIN) != 0 ? changed.flags | SESSION_RETAIN
							     : changed.flags & ~SESSION_RETAIN);
	offer = send_plain(conn, &changed);
	msg_unref(&changed.msg);
	return offer;
}

static enum session_offer
on_offer(struct session_sink *sink, const struct session_delivery *delivery)
{
	struct conn *conn = conn_of_sink(sink);
	const struct plugin_set *plugins = conn->listener->plugins;
	enum session_offer offer;

	if (plugins->judges_receive && conn->client != NULL &&
	    !plugin_may_receive(plugins, conn->client, msg_topic(delivery->msg))) {
		return SESSION_DENIED;
	}
	offer = plugins->intercepts_out && conn->client != NULL && !conn->peer.was_full
		    ? send_out(conn, delivery)
		    : send_plain(conn, delivery);
	if (offer == SESSION_TAKEN) {
		conn_tell_delivered(
		    conn, delivery->msg, delivery->qos, (delivery->flags & SESSION_RETAIN) != 0);
	}
	if (conn->peer.was_full) {
		sink->has_room = false;
	}
	return offer;
}

/* Nobody looks at it on its way. */
static bool
on_pass(struct session_sink *sink, const struct msg_draft *draft)
{
	struct conn *conn = conn_of_sink(sink);
	const struct plugin_set *plugins = conn->listener->plugins;
	bool taken;

	if (plugins->judges_receive || plugins->intercepts_out || conn->wants_marks ||
	    conn->prefix_len != 0 || conn_tells_delivered(conn)) {
		return false;
	}
	taken = peer_send_draft(&conn->peer, draft);
	if (conn->peer.was_full) {
		sink->has_room = false;
	}
	return taken;
}

static void
on_pubrel(struct session_sink *sink, uint16_t packet_id)
{
	peer_send_ack(&conn_of_sink(sink)->peer, WIRE_PUBREL, packet_id, WIRE_REASON_SUCCESS);
}

static void
on_received(struct session_sink *sink, uint16_t packet_id, uint8_t reason, uint64_t ticket)
{
	struct conn *conn = conn_of_sink(sink);

	if (conn->listener->durability.mode != ROUTE_COMMIT) {
		ticket = 0;
	}
	peer_ack_know_id(&conn->peer, WIRE_PUBREC, packet_id, reason, ticket);
}

static void
on_ended(struct session_sink *sink, enum session_end why)
{
	struct conn *conn = conn_of_sink(sink);
	bool served = conn->state == CONN_SERVING;

	conn->session = NULL;
	if (conn->state == CONN_OPENING) {
		/* It waits no longer: there is nothing to cancel. */
		conn_set_state(conn, CONN_ACKING);
	}
	if (why == SESSION_TAKEN_OVER) {
		counter_add(COUNTER_CLOSED_TAKEN_OVER, 1);
		conn_tell_taken_over(conn);
		/* 0x8E is for those who got their CONNACK [flow 4]. */
		conn_close(conn, SESSION_LEAVE_ABNORMAL,
		    served ? WIRE_REASON_SESSION_TAKEN_OVER : WIRE_REASON_SERVER_BUSY,
		    "the session is taken over by another connection");
	} else {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_ADMINISTRATIVE_ACTION,
		    "the session was ended");
	}
}

/* The connection that the session of this client id is attached to. NULL: it is not here, asleep,
 * or a link's. */
static struct conn *
find_attached(struct conn_table *table, struct bytes client_id)
{
	struct session *session = session_table_find(table->sessions, client_id);
	struct session_sink *sink = session != NULL ? session_sink_of(session) : NULL;

	return sink != NULL && sink->ops == &conn_sink_ops ? conn_of_sink(sink) : NULL;
}

bool
conn_table_kick(struct conn_table *table, struct bytes client_id)
{
	struct conn *conn = find_attached(table, client_id);

	if (conn == NULL) {
		return false;
	}
	conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_ADMINISTRATIVE_ACTION,
	    "an operator sent it away");
	return true;
}

static struct conn *
find(struct conn_table *table, uint64_t handle, struct bytes client_id)
{
	uint16_t worker;
	void *found;

	if (handle != 0) {
		return session_handle_find(
			   table->house->options.sessions->directory, handle, &worker, &found) &&
			       worker == worker_index(table->worker)
			   ? found
			   : NULL;
	}
	return find_attached(table, client_id);
}

bool
conn_table_send_away(struct conn_table *table, uint64_t handle, struct bytes client_id,
    uint8_t reason, struct bytes text)
{
	struct conn *conn = find(table, handle, client_id);
	struct plugin_said *said;

	if (conn == NULL || conn->table != table || conn->state == CONN_CLOSING) {
		return false;
	}
	if (text.len == 0) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, reason, "a plugin sent it away");
		return true;
	}
	/* Whole for the client; the sentence of the log may be cut off anywhere. */
	said = plugin_said_at(&conn_more_of(conn)->said);
	buf_append_bytes(&said->text, text);
	conn_close(conn, SESSION_LEAVE_ABNORMAL, reason, "a plugin sent it away: %.*s",
	    (int)text.len, (const char *)text.data);
	plugin_said_free(&conn->more->said);
	return true;
}

const struct session_sink_ops conn_sink_ops = {.offer = on_offer,
    .pass = on_pass,
    .pubrel = on_pubrel,
    .received = on_received,
    .opened = conn_opened,
    .ended = on_ended};
