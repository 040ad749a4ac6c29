/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CONNECT and CONNACK (mqtt5-tables 4; flow 4). The order of checks: version, client id, will, keep
 * alive, who it is, what the will may do; then home.c finds the session. What CONNECT said is
 * copied, since any step may be answered in another turn.
 */
#include <assert.h>
#include <avocet/avocet_base.h>
#include <stdio.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/mem.h"
#include "conn/conn_int.h"
#include "plugin/chain.h"
#include "plugin/observe.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

enum { RANDOM_ID_LEN = 16 };

/* --- CONNACK --- */

/* What the client must be told because it differs from the standard's defaults [MQTT-3.2.2.3]. */
static void
write_session_props(struct conn *conn, struct wire_writer *writer)
{
	const struct conn_connect *connect = conn->connect;
	const struct conn_limits *limits = conn_limits_of(conn);

	if (connect->expiry_s != connect->expiry_asked_s) {
		wire_write_prop_number(writer, WIRE_SESSION_EXPIRY_INTERVAL, connect->expiry_s);
	}
	if (connect->is_assigned) {
		wire_write_prop_bytes(
		    writer, WIRE_ASSIGNED_CLIENT_IDENTIFIER, msg_client_id_of(conn->client));
	}
	if (connect->keep_alive != connect->keep_alive_asked) {
		wire_write_prop_number(writer, WIRE_SERVER_KEEP_ALIVE, connect->keep_alive);
	}
	if (connect->has_method) {
		wire_write_prop_bytes(writer, WIRE_AUTHENTICATION_METHOD, connect->method);
		if (connect->said != NULL && connect->said->data.len != 0) {
			wire_write_prop_bytes(
			    writer, WIRE_AUTHENTICATION_DATA, buf_bytes(&connect->said->data));
		}
	}
	if (connect->wants_response_information && limits->response_information != NULL) {
		wire_write_prop_bytes(
		    writer, WIRE_RESPONSE_INFORMATION, bytes_of(limits->response_information));
	}
}

static void
write_limits(const struct conn *conn, struct wire_writer *writer)
{
	const struct conn_limits *limits = conn_limits_of(conn);

	if (conn_receive_maximum(conn) < UINT16_MAX) {
		wire_write_prop_number(writer, WIRE_RECEIVE_MAXIMUM, conn_receive_maximum(conn));
	}
	if (limits->max_qos < 2) {
		wire_write_prop_number(writer, WIRE_MAXIMUM_QOS, (uint32_t)limits->max_qos);
	}
	if (!limits->retain_available) {
		wire_write_prop_number(writer, WIRE_RETAIN_AVAILABLE, 0);
	}
	wire_write_prop_number(writer, WIRE_MAXIMUM_PACKET_SIZE, conn->peer.max_packet_in);
	if (limits->max_topic_alias != 0) {
		wire_write_prop_number(
		    writer, WIRE_TOPIC_ALIAS_MAXIMUM, (uint32_t)limits->max_topic_alias);
	}
	if (!limits->wildcard_subscriptions) {
		wire_write_prop_number(writer, WIRE_WILDCARD_SUBSCRIPTION_AVAILABLE, 0);
	}
	if (!limits->subscription_identifiers) {
		wire_write_prop_number(writer, WIRE_SUBSCRIPTION_IDENTIFIER_AVAILABLE, 0);
	}
	if (!limits->shared_subscriptions) {
		wire_write_prop_number(writer, WIRE_SHARED_SUBSCRIPTION_AVAILABLE, 0);
	}
}

static void
write_connack_props(
    struct conn *conn, uint8_t reason, const char *sentence, struct wire_writer *writer)
{
	if (reason == WIRE_REASON_SUCCESS) {
		write_session_props(conn, writer);
		write_limits(conn, writer);
		sentence = NULL;
	}
	/* There is none where CONNECT could not even be read. */
	conn_write_said(writer, conn->connect != NULL ? conn->connect->said : NULL,
	    bytes_of(sentence != NULL ? sentence : ""));
}

void
conn_send_connack(struct conn *conn, uint8_t reason, const char *sentence)
{
	struct wire_packet packet = {.type = WIRE_CONNACK, .connack = {.reason = reason}};
	struct wire_writer writer = wire_writer_of(NULL, 0);
	uint8_t *block = NULL;

	if (reason != WIRE_REASON_SUCCESS &&
	    !wire_reason_is_allowed(WIRE_CONNACK, WIRE_SERVER, reason)) {
		packet.connack.reason = WIRE_REASON_UNSPECIFIED_ERROR;
	}
	if (reason == WIRE_REASON_SUCCESS) {
		/* The acknowledge flags of MQTT 3.1 are reserved. */
		packet.connack.session_present =
		    conn_version(conn) >= WIRE_V311 && conn->connect->present;
	}
	if (conn_version(conn) == WIRE_V5) {
		/* Once for the length. */
		write_connack_props(conn, reason, sentence, &writer);
		block = mem_alloc(writer.len + 1);
		writer = wire_writer_of(block, writer.len);
		write_connack_props(conn, reason, sentence, &writer);
		packet.connack.props.block = bytes_make(block, writer.len);
	}
	if (!peer_send(&conn->peer, &packet) && reason == WIRE_REASON_SUCCESS) {
		/* It was not let in, so it has no will. */
		conn_close(conn, SESSION_LEAVE_NORMAL, WIRE_REASON_SUCCESS,
		    "CONNACK does not fit the client's Maximum Packet Size");
	}
	mem_free(&block);
}

void
conn_refuse(struct conn *conn, uint8_t reason, const char *sentence)
{
	const struct buf *text =
	    conn->connect != NULL ? &plugin_said_or_none(conn->connect->said)->text : NULL;

	if (sentence != NULL && text != NULL && text->len != 0) {
		conn_close(conn, SESSION_LEAVE_NORMAL, reason, "%s: %.*s", sentence, (int)text->len,
		    (const char *)text->data);
	} else if (sentence != NULL) {
		conn_close(conn, SESSION_LEAVE_NORMAL, reason, "%s", sentence);
	} else {
		conn_close(conn, SESSION_LEAVE_NORMAL, reason, NULL);
	}
}

/* --- what CONNECT says --- */

static struct bytes
keep_text(uint8_t **at, struct bytes text)
{
	struct bytes copy = {*at, text.len};

	if (text.len != 0) {
		memcpy(*at, text.data, text.len);
	}
	*at += text.len;
	return copy;
}

static void
copy_texts(struct conn *conn, const struct wire_connect *packet)
{
	struct conn_connect *connect = conn->connect;
	struct bytes method = wire_props_bytes(&packet->props, WIRE_AUTHENTICATION_METHOD);
	/* Plugins may ask for them. */
	struct bytes props =
	    conn->listener->plugins->is_counted ||
		    plugin_is_observed(conn->table->house->options.observers, UINT64_MAX)
		? packet->props.block
		: (struct bytes){0};
	size_t len = packet->client_id.len + packet->username.len + packet->password.len +
		     method.len + props.len;
	uint8_t *at = mem_alloc(len + 1);

	connect->texts = at;
	connect->texts_len = (uint32_t)len;
	connect->client_id = keep_text(&at, packet->client_id);
	connect->username = keep_text(&at, packet->username);
	connect->password = keep_text(&at, packet->password);
	connect->method = keep_text(&at, method);
	connect->props = keep_text(&at, props);
	connect->has_username = packet->has_username;
	connect->has_password = packet->has_password;
	connect->has_method = wire_props_has(&packet->props, WIRE_AUTHENTICATION_METHOD);
}

static void
copy_numbers(struct conn *conn, const struct wire_connect *packet)
{
	struct conn_connect *connect = conn->connect;
	const struct wire_props *props = &packet->props;

	connect->clean_start = packet->clean_start;
	connect->keep_alive = connect->keep_alive_asked = packet->keep_alive;
	connect->receive_maximum = UINT16_MAX;
	if (packet->version == WIRE_V5) {
		connect->expiry_asked_s = wire_props_number(props, WIRE_SESSION_EXPIRY_INTERVAL, 0);
		connect->receive_maximum =
		    (uint16_t)wire_props_number(props, WIRE_RECEIVE_MAXIMUM, UINT16_MAX);
		connect->max_packet_size = wire_props_number(props, WIRE_MAXIMUM_PACKET_SIZE, 0);
		connect->topic_alias_maximum =
		    (uint16_t)wire_props_number(props, WIRE_TOPIC_ALIAS_MAXIMUM, 0);
		connect->wants_response_information =
		    wire_props_number(props, WIRE_REQUEST_RESPONSE_INFORMATION, 0) == 1;
		conn->peer.omit_problem_information =
		    wire_props_number(props, WIRE_REQUEST_PROBLEM_INFORMATION, 1) == 0;
	} else {
		/* CleanSession 0 is a session without an end [mqtt5-tables 6]. */
		connect->expiry_asked_s = packet->clean_start ? 0 : UINT32_MAX;
	}
	connect->expiry_s = conn_capped_expiry(conn, connect->expiry_asked_s);
	conn->connect_expiry_s = connect->expiry_asked_s;
	conn->peer.max_packet_out = connect->max_packet_size;
}

/* --- checks; each refuses and says false --- */

static bool
check_version(struct conn *conn, const struct wire_connect *packet)
{
	int64_t bit = packet->version == WIRE_V5     ? CONN_V5
		      : packet->version == WIRE_V311 ? CONN_V311
						     : CONN_V31;

	if ((conn->listener->protocol_versions & bit) == 0) {
		conn_refuse(conn, WIRE_REASON_UNSUPPORTED_PROTOCOL_VERSION,
		    "this listener does not take this version of MQTT");
		return false;
	}
	return true;
}

static void
assign_client_id(struct conn *conn)
{
	struct conn_connect *connect = conn->connect;
	uint8_t random[RANDOM_ID_LEN];
	int len = snprintf(connect->assigned, sizeof(connect->assigned) - 2 * sizeof(random), "%s",
	    conn_limits_of(conn)->auto_id_prefix);
	size_t at = len > 0 ? (size_t)len : 0;

	at = at < sizeof(connect->assigned) - 2 * sizeof(random) - 1
		 ? at
		 : sizeof(connect->assigned) - 2 * sizeof(random) - 1;
	worker_random_fill(conn->table->worker, random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++, at += 2) {
		(void)snprintf(connect->assigned + at, 3, "%02x", random[i]);
	}
	connect->client_id = bytes_of(connect->assigned);
	connect->is_assigned = true;
}

static bool
check_client_id(struct conn *conn, const struct wire_connect *packet)
{
	if (packet->client_id.len != 0 || conn->listener->username_as_client_id) {
		return true;
	}
	/* [MQTT-3.1.3-6] [MQTT311-3.1.3-8] */
	if (!conn_limits_of(conn)->allow_empty_client_id ||
	    (packet->version != WIRE_V5 && !packet->clean_start)) {
		conn_refuse(conn, WIRE_REASON_CLIENT_IDENTIFIER_NOT_VALID,
		    "the client identifier is empty");
		return false;
	}
	assign_client_id(conn);
	return true;
}

static bool
check_will(struct conn *conn, const struct wire_connect *packet)
{
	const struct conn_limits *limits = conn_limits_of(conn);
	struct conn_connect *connect = conn->connect;
	struct bytes topic;

	if (!packet->has_will) {
		return true;
	}
	if (packet->will.qos > limits->max_qos) {
		conn_refuse(conn, WIRE_REASON_QOS_NOT_SUPPORTED, "the will's QoS is too high");
		return false;
	}
	if (packet->will.retain && !limits->retain_available) {
		conn_refuse(conn, WIRE_REASON_RETAIN_NOT_SUPPORTED, "retained wills are not taken");
		return false;
	}
	topic = conn_full_topic(conn, packet->will.topic);
	if (topic.len > WIRE_MAX_STRING ||
	    wire_topic_level_count(topic) > (size_t)limits->max_topic_levels ||
	    bytes_starts_with(topic, BYTES_LITERAL("$share/"))) {
		conn_refuse(conn, WIRE_REASON_TOPIC_NAME_INVALID, "the will's topic is not taken");
		return false;
	}
	if (bytes_starts_with(topic, BYTES_LITERAL("$SYS/"))) {
		if (packet->bridge) {
			/* Mosquitto's bridges tell their state there unless told not to; as what
			 * they publish there, it is taken and goes nowhere. */
			return true;
		}
		conn_refuse(
		    conn, WIRE_REASON_NOT_AUTHORIZED, "the will's topic is the broker's own");
		return false;
	}
	connect->has_will = true;
	connect->will_delay_s = wire_props_number(&packet->will.props, WIRE_WILL_DELAY_INTERVAL, 0);
	msg_draft_of_will(&connect->will, &packet->will);
	connect->will.topic = topic;
	if (msg_draft_own(&connect->will) != 0) {
		connect->has_will = false;
		conn_refuse(conn, WIRE_REASON_SERVER_BUSY, "no memory for the will");
		return false;
	}
	return true;
}

static bool
check_keep_alive(struct conn *conn)
{
	struct conn_connect *connect = conn->connect;
	int64_t max = conn_limits_of(conn)->max_keepalive;

	if (max == 0 || (connect->keep_alive != 0 && connect->keep_alive <= max)) {
		return true;
	}
	if (conn_version(conn) != WIRE_V5) {
		conn_refuse(conn, WIRE_REASON_CLIENT_IDENTIFIER_NOT_VALID,
		    "the keep alive is too long, and MQTT 3 cannot be told");
		return false;
	}
	connect->keep_alive = (uint16_t)max;
	return true;
}

void
conn_on_connect(struct conn *conn, const struct wire_connect *packet)
{
	conn->connect = mem_zalloc(sizeof(*conn->connect));
	conn->connect->conn = conn;
	conn->peer.version = packet->version & 15U;
	conn->peer.max_packet_in = (uint32_t)conn_limits_of(conn)->max_packet_size;
	copy_texts(conn, packet);
	copy_numbers(conn, packet);
	if (packet->version == WIRE_V5 && route_wants_marks(&packet->props)) {
		conn->wants_marks = true;
		route_house_mark(route_desk_house(conn->table->route), conn->table->worker);
	}
	conn->handle = session_handle_new(conn->table->house->options.sessions->directory,
	    (uint16_t)worker_index(conn->table->worker), conn);
	if (check_version(conn, packet) && check_client_id(conn, packet) &&
	    check_will(conn, packet) && check_keep_alive(conn)) {
		/* Until CONNACK nothing is read but AUTH. */
		peer_pause(&conn->peer, PEER_PAUSE_ROLE);
		conn_authenticate(conn, packet);
	}
}

/* --- accepted --- */

/* The client id in force; false: there is none. */
static bool
final_client_id(struct conn *conn, const struct plugin_said *said, struct bytes *id_out)
{
	struct conn_connect *connect = conn->connect;

	*id_out = connect->client_id;
	if (said->client_id.len != 0) {
		*id_out = buf_bytes(&said->client_id);
		connect->is_assigned = !bytes_equal(*id_out, connect->client_id);
	} else if (conn->listener->username_as_client_id) {
		*id_out = said->username.len != 0 ? buf_bytes(&said->username) : connect->username;
		connect->is_assigned = !bytes_equal(*id_out, connect->client_id);
	}
	return id_out->len != 0 && id_out->len <= WIRE_MAX_STRING;
}

/* Mount point, then what the authenticator says. */
static void
join_prefix(struct conn *conn, const struct plugin_said *said, struct msg_client_parts *client)
{
	struct buf *prefix = &conn->table->topic;

	if (said->prefix.len == 0) {
		return;
	}
	buf_clear(prefix);
	buf_append_bytes(prefix, client->prefix);
	buf_append_bytes(prefix, buf_bytes(&said->prefix));
	client->prefix = buf_bytes(prefix);
}

static uint32_t
transport_of(const struct conn *conn, const struct stream_identity *identity)
{
	bool is_encrypted = identity != NULL && identity->is_encrypted;
	bool is_websocket = conn->listener->is_websocket;

	if (conn->is_local && !is_encrypted && !is_websocket &&
	    bytes_starts_with(stream_peer_name(conn->peer.stream), BYTES_LITERAL("unix"))) {
		return AVOCET_TRANSPORT_UNIX;
	}
	return is_websocket ? (is_encrypted ? AVOCET_TRANSPORT_WSS : AVOCET_TRANSPORT_WS)
			    : (is_encrypted ? AVOCET_TRANSPORT_TLS : AVOCET_TRANSPORT_TCP);
}

struct msg_client *
conn_make_client(struct conn *conn, const struct msg_client_parts *parts)
{
	const struct stream_identity *identity = stream_identity(conn->peer.stream);
	const struct conn_connect *connect = conn->connect;
	struct msg_client *client = msg_client_new(parts);
	struct plugin_client_facts facts = {
	    .handle = conn->handle, .worker = worker_index(conn->table->worker)};
	struct stream_proof proof = {0};

	if (connect == NULL ||
	    (!conn->listener->plugins->is_counted &&
		!plugin_is_observed(conn->table->house->options.observers, UINT64_MAX))) {
		return client;
	}
	facts.transport = transport_of(conn, identity);
	facts.has_will = connect->has_will;
	facts.clean_start = connect->clean_start;
	facts.keepalive_s = connect->keep_alive;
	facts.session_expiry_s = connect->expiry_s;
	facts.props = connect->props;
	facts.attrs = buf_bytes(&plugin_said_or_none(connect->said)->attrs);
	if (identity != NULL) {
		facts.is_verified = identity->has_certificate;
		facts.sni = identity->sni;
		facts.tls_version = bytes_of(identity->tls_version);
		if (!identity->has_certificate && identity->is_encrypted) {
			facts.psk_identity = identity->username;
		}
	}
	buf_init(&proof.certificate, SIZE_MAX);
	if (conn->listener->plugins->wants_proof && stream_proof(conn->peer.stream, &proof)) {
		facts.certificate = buf_bytes(&proof.certificate);
		facts.exporter =
		    bytes_make(proof.exporter, proof.has_exporter ? sizeof(proof.exporter) : 0);
	}
	plugin_client_describe(client, &facts);
	buf_fini(&proof.certificate);
	return client;
}

void
conn_accepted(struct conn *conn, bool was_asked)
{
	struct conn_connect *connect = conn->connect;
	const struct plugin_said *said = plugin_said_or_none(connect->said);
	struct msg_client_parts client = {.version = conn_version(conn),
	    .authenticated = was_asked || connect->is_proven,
	    .listener = bytes_of(conn->listener->name),
	    .address = stream_peer_name(conn->peer.stream),
	    .prefix = bytes_of(conn->listener->mount_point),
	    .method = connect->method};

	if (!final_client_id(conn, said, &client.client_id)) {
		conn_refuse(
		    conn, WIRE_REASON_CLIENT_IDENTIFIER_NOT_VALID, "there is no client identifier");
		return;
	}
	if (bytes_starts_with(client.client_id, BYTES_LITERAL("$link/"))) {
		conn_refuse(conn, WIRE_REASON_CLIENT_IDENTIFIER_NOT_VALID,
		    "client identifiers that begin with $link/ are the broker's own");
		return;
	}
	if (client.authenticated) {
		client.username =
		    said->username.len != 0 ? buf_bytes(&said->username) : connect->username;
	}
	join_prefix(conn, said, &client);
	conn_take_terms(conn, connect->said);
	connect->expiry_s = conn_capped_expiry(conn, connect->expiry_asked_s);
	conn->client = conn_make_client(conn, &client);
	conn->prefix_len = conn->client->prefix_len;
	mem_wipe((uint8_t *)(uintptr_t)connect->password.data, connect->password.len);
	connect->will.client_id = msg_client_id_of(conn->client);
	connect->will.username = msg_client_username_of(conn->client);
	peer_set_deadline(&conn->peer, 0);
	conn_authorize_will(conn);
}
