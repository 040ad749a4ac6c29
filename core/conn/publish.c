/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PUBLISH from the client (flows 1, 3, 6, 7). Without plugins it is carried out in place, from
 * views into the read buffer, and its acknowledgement is ready when it returns. Where an answer may
 * come later the publication gets an object of its own; it is carried out even if the client has
 * left.
 *
 * The set of inbound QoS 2 packet ids belongs to the session; the FIFO of acknowledgements to the
 * connection. For QoS 2 the session tells the connection the verdict by packet id, so that a
 * PUBLISH that came again, on whatever connection, gets the verdict of the first.
 */
#include <assert.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/mem.h"
#include "conn/conn_int.h"
#include "wire/reason.h"
#include "wire/props.h"
#include "wire/topic_name.h"

struct bytes
conn_full_topic(struct conn *conn, struct bytes topic)
{
	struct buf *full = &conn->table->topic;
	/* A client keeps the prefix with which it was accepted, as it is stripped from what it
	 * gets. */
	struct bytes prefix = conn->client != NULL ? msg_client_prefix_of(conn->client)
						   : bytes_of(conn->listener->mount_point);

	if (prefix.len == 0 || topic.len == 0 || topic.data[0] == '$') {
		return topic;
	}
	buf_clear(full);
	buf_append_bytes(full, prefix);
	buf_append_bytes(full, topic);
	return buf_bytes(full);
}

/* --- checks --- */

/* The topic that the PUBLISH means; false: the connection is closed. */
static bool
resolve_alias(struct conn *conn, const struct wire_publish *packet, struct bytes *topic_out)
{
	const char *why;
	uint8_t reason;

	if (!wire_props_has(&packet->props, WIRE_TOPIC_ALIAS)) {
		*topic_out = packet->topic;
		return true;
	}
	reason = peer_resolve_topic(&conn->peer, packet, topic_out, &why);
	if (reason != WIRE_REASON_SUCCESS) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, reason, "%s", why);
	}
	return reason == WIRE_REASON_SUCCESS;
}

static bool
check_limits(struct conn *conn, const struct wire_publish *packet)
{
	const struct conn_limits *limits = conn_limits_of(conn);

	if (packet->qos > limits->max_qos) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_QOS_NOT_SUPPORTED,
		    "PUBLISH: the QoS is above the maximum"); /* [MQTT-3.2.2-11] */
		return false;
	}
	if (packet->retain && !limits->retain_available) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_RETAIN_NOT_SUPPORTED,
		    "PUBLISH: RETAIN is not available"); /* [MQTT-3.2.2-14] */
		return false;
	}
	return true;
}

/* Why this topic is not taken, or 0. */
static uint8_t
judge_topic(const struct conn *conn, struct bytes topic)
{
	size_t most = (size_t)conn_limits_of(conn)->max_topic_levels;

	/* There is at most one level more than bytes. */
	if (topic.len > WIRE_MAX_STRING ||
	    (topic.len >= most && wire_topic_level_count(topic) > most)) {
		return WIRE_REASON_TOPIC_NAME_INVALID;
	}
	if (topic.data[0] != '$') {
		return WIRE_REASON_SUCCESS;
	}
	if (bytes_starts_with(topic, BYTES_LITERAL("$share/"))) {
		return WIRE_REASON_TOPIC_NAME_INVALID;
	}
	return bytes_starts_with(topic, BYTES_LITERAL("$SYS/")) ||
		       bytes_equal(topic, BYTES_LITERAL("$SYS"))
		   ? WIRE_REASON_NOT_AUTHORIZED
		   : WIRE_REASON_SUCCESS;
}

static bool
is_resent(const struct conn *conn, const struct wire_publish *packet)
{
	return packet->qos == 2 && session_inbound_has(conn->session, packet->packet_id);
}

/* More than Receive Maximum from a client of MQTT 5 [MQTT-3.3.4-9]; false: closed. */
static bool
check_quota(struct conn *conn, const struct wire_publish *packet)
{
	size_t max, open;

	if (conn_version(conn) != WIRE_V5 || packet->qos == 0 || is_resent(conn, packet)) {
		return true;
	}
	max = conn_receive_maximum(conn);
	open = peer_ack_publishes(&conn->peer) - peer_ack_pubrecs(&conn->peer);
	/* An id counts until its PUBCOMP, which waits for the store where that promises something.
	 */
	if (open < max && !session_inbound_reaches(conn->session, max - open,
			      conn->listener->durability.mode == ROUTE_COMMIT)) {
		return true;
	}
	conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_RECEIVE_MAXIMUM_EXCEEDED, NULL);
	return false;
}

/* --- outcomes --- */

/*
 * What the acknowledgement says. A refusal that MQTT 3 cannot be told is acknowledged like any
 * other: its publisher would send it for ever. A plugin's reason need not be one that may stand
 * there.
 */
uint8_t
conn_told_reason(uint8_t version, uint8_t qos, uint8_t reason)
{
	enum wire_type type = qos == 1 ? WIRE_PUBACK : WIRE_PUBREC;

	if (version != WIRE_V5) {
		return WIRE_REASON_SUCCESS;
	}
	return wire_reason_is_allowed(type, WIRE_SERVER, reason)
		   ? reason
		   : (uint8_t)WIRE_REASON_UNSPECIFIED_ERROR;
}

/* Nothing was routed. */
void
conn_refuse_publish(struct conn *conn, const struct wire_publish *packet, uint8_t reason)
{
	enum wire_type type = packet->qos == 1 ? WIRE_PUBACK : WIRE_PUBREC;

	counter_add(COUNTER_PUBLISHES_DROPPED, 1);
	if (packet->qos == 0) {
		return;
	}
	if (conn_version(conn) != WIRE_V5 && packet->qos == 2) {
		/* It will be released: the id is known until then. */
		uint64_t ticket = 0;

		if (session_inbound_begin(conn->session, packet->packet_id, &ticket) ==
		    SESSION_INBOUND_NEW) {
			session_inbound_done(conn->session, packet->packet_id, 0, &ticket, false);
		}
	}
	peer_ack(&conn->peer, type, packet->packet_id,
	    conn_told_reason(conn_version(conn), packet->qos, reason), 0);
}

static void
fill(struct conn *conn, const struct wire_publish *packet, struct bytes topic,
    struct route_publication *publication)
{
	struct msg_draft *draft = &publication->draft;

	route_publication_init(publication);
	msg_draft_of_publish(draft, packet);
	draft->topic = topic;
	draft->client_id = msg_client_id_of(conn->client);
	draft->username = msg_client_username_of(conn->client);
	draft->born_mono_ms = context_current->mono_ms;
	draft->born_wall_ms = context_current->wall_ms;
	publication->client = conn->client;
	publication->plugins = conn->listener->plugins;
	publication->session = conn->session;
	publication->mode = (uint8_t)route_mode_of(&conn->listener->durability, topic);
}

/* The verdict of a publication whose connection is there. */
static void
acknowledge(
    struct conn *conn, uint8_t qos, uint16_t packet_id, const struct route_publication *publication)
{
	uint64_t ticket = publication->ticket;
	uint8_t reason = conn_told_reason(conn_version(conn), qos, publication->reason);

	if (publication->disconnect) {
		if (qos == 2) {
			session_inbound_done(
			    conn->session, packet_id, publication->reason, &ticket, false);
		}
		conn_close(conn, SESSION_LEAVE_ABNORMAL, publication->reason, "PUBLISH is refused");
		return;
	}
	if (qos == 1) {
		peer_ack(&conn->peer, WIRE_PUBACK, packet_id, reason, ticket);
	} else if (qos == 2) {
		session_inbound_done(conn->session, packet_id, reason, &ticket, false);
		peer_ack(&conn->peer, WIRE_PUBREC, packet_id, reason,
		    publication->mode == ROUTE_COMMIT ? ticket : 0);
	}
	if (publication->worker_over != 0) {
		conn_stop_for_credit(conn, publication->worker_over);
	}
	if (qos != 0) {
		conn_stop_if_owing(conn);
	}
}

/* --- PUBLISH --- */

/* Without plugins that wait: in place. */
static void
publish_now(
    struct conn *conn, struct route_publication *publication, const struct wire_publish *packet)
{
	uint64_t ticket = 0;

	if (route_publish(conn->table->route, publication) != ROUTE_BLOCKED) {
		msg_draft_fini(&publication->draft);
		plugin_request_fini(&publication->request);
		acknowledge(conn, packet->qos, packet->packet_id, publication);
		return;
	}
	if (conn_version(conn) != WIRE_V5) {
		conn_park(conn, publication, packet);
		return;
	}
	msg_draft_fini(&publication->draft);
	plugin_request_fini(&publication->request);
	if (packet->qos == 2) {
		session_inbound_done(
		    conn->session, packet->packet_id, WIRE_REASON_QUOTA_EXCEEDED, &ticket, false);
	}
	conn_refuse_publish(conn, packet, WIRE_REASON_QUOTA_EXCEEDED);
}

/* QoS 2: is it new? Else it gets what the first one got, or will get. */
static bool
begin_inbound(struct conn *conn, const struct wire_publish *packet)
{
	uint64_t ticket = 0;

	switch (session_inbound_begin(conn->session, packet->packet_id, &ticket)) {
	case SESSION_INBOUND_NEW:
		return true;
	case SESSION_INBOUND_KNOWN:
		peer_ack(&conn->peer, WIRE_PUBREC, packet->packet_id, WIRE_REASON_SUCCESS, ticket);
		return false;
	case SESSION_INBOUND_ASKED:
		(void)peer_ack_begin(&conn->peer, WIRE_PUBREC, packet->packet_id);
		return false;
	}
	return false;
}

/* Behind those that wait it waits, too [MQTT-4.6.0-5]; QoS 0 does not wait for the store. */
static bool
must_wait(const struct conn *conn, uint8_t qos)
{
	const struct conn_line *line = conn->line;

	return plugin_set_may_wait(conn->listener->plugins) ||
	       (line != NULL && !list_is_empty(&line->waiting) &&
		   (qos != 0 || !conn_is_blocked(line)));
}

void
conn_on_publish(struct conn *conn, const struct wire_publish *packet)
{
	struct route_publication publication;
	struct bytes topic;
	uint8_t refusal;

	counter_add(COUNTER_PUBLISHES_RECEIVED, 1);
	counter_add(COUNTER_PUBLISH_BYTES_RECEIVED, packet->payload.len);
	if (!resolve_alias(conn, packet, &topic) || !check_limits(conn, packet) ||
	    !check_quota(conn, packet)) {
		return;
	}
	conn_stop_for_rate(conn, packet->payload.len + topic.len);
	topic = conn->prefix_len != 0 ? conn_full_topic(conn, topic) : topic;
	refusal = judge_topic(conn, topic);
	if (refusal != WIRE_REASON_SUCCESS) {
		conn_refuse_publish(conn, packet, refusal);
		return;
	}
	if (packet->qos == 2 && !begin_inbound(conn, packet)) {
		return;
	}
	fill(conn, packet, topic, &publication);
	if (must_wait(conn, packet->qos)) {
		conn_publish_waiting(conn, &publication, packet);
	} else {
		publish_now(conn, &publication, packet);
	}
}

void
conn_on_pubrel(struct conn *conn, const struct wire_ack *packet)
{
	uint64_t ticket = 0;
	uint8_t reason = session_inbound_release(conn->session, packet->packet_id, &ticket);

	if (conn->listener->durability.mode != ROUTE_COMMIT) {
		ticket = 0;
	}
	/* MQTT 3 has no codes: PUBCOMP in any case [MQTT-4.3.3-11]. */
	peer_ack(&conn->peer, WIRE_PUBCOMP, packet->packet_id, reason, ticket);
}
