/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One function per packet, reading its fields in the order of the standard. The reader's first
 * fault sticks, so they read on and are asked once, at the end; a check is made where its field
 * stands, so the first fault in the order of the bytes is the one that is told.
 */
#include "wire/decode.h"

#include "wire/props.h"
#include "wire/quick.h"
#include "wire/reader.h"
#include "wire/topic_name.h"

/* What the functions for the packets share. */
struct scope {
	const struct wire_decoder *decoder;
	enum wire_type type;
	uint8_t version;
	uint8_t flags; /* low nibble of the first byte */
	enum wire_side sender;
};

typedef void decode_fn(
    const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet);

/* --- fields --- */

static void
malformed(struct wire_reader *reader, const char *text)
{
	wire_reader_fail(reader, WIRE_REASON_MALFORMED_PACKET, text);
}

static void
protocol_error(struct wire_reader *reader, const char *text)
{
	wire_reader_fail(reader, WIRE_REASON_PROTOCOL_ERROR, text);
}

static uint16_t
read_packet_id(struct wire_reader *reader)
{
	uint16_t id = wire_read_u16(reader);

	if (id == 0) {
		protocol_error(reader, "the Packet Identifier is 0"); /* [MQTT-2.2.1-3] */
	}
	return id;
}

static void
read_props(const struct scope *scope, struct wire_reader *reader, struct wire_props *props)
{
	if (scope->version == WIRE_V5) {
		wire_props_decode(reader, (int)scope->type, scope->sender, props);
	} else {
		wire_props_clear(props);
	}
}

static void
check_reason(const struct scope *scope, struct wire_reader *reader, uint8_t reason)
{
	if (!wire_reason_is_allowed(scope->type, scope->sender, reason)) {
		protocol_error(reader, "the reason code is not allowed in this packet");
	}
}

static bool
at_end(const struct wire_reader *reader)
{
	return wire_reader_left(reader) == 0;
}

/* --- CONNECT --- */

enum connect_flag {
	CONNECT_RESERVED = 0x01,
	CONNECT_CLEAN_START = 0x02,
	CONNECT_WILL = 0x04,
	CONNECT_WILL_QOS = 0x18,
	CONNECT_WILL_RETAIN = 0x20,
	CONNECT_PASSWORD = 0x40,
	CONNECT_USERNAME = 0x80,
};

/* Protocol Name and Protocol Version: what we speak, or Unsupported Protocol Version. */
static void
read_protocol(struct wire_reader *reader, struct wire_connect *connect)
{
	struct bytes name = wire_read_string(reader);
	uint8_t level = wire_read_u8(reader);
	uint8_t version = level & 0x7f;
	bool bridge = (level & 0x80) != 0;
	bool is_v31 = bytes_equal_text(name, "MQIsdp");

	if (wire_reader_failed(reader)) {
		return;
	}
	connect->level = level;
	connect->is_mqtt = is_v31 || bytes_equal_text(name, "MQTT");
	if (connect->is_mqtt &&
	    (is_v31 ? version == WIRE_V31
		    : version == WIRE_V311 || (version == WIRE_V5 && !bridge))) {
		connect->version = version;
		connect->bridge = bridge;
	} else {
		wire_reader_fail(reader, WIRE_REASON_UNSUPPORTED_PROTOCOL_VERSION,
		    "the protocol name and version are not known"); /* [MQTT-3.1.2-1] [MQTT-3.1.2-2]
								     */
	}
}

static void
read_connect_flags(struct wire_reader *reader, struct wire_connect *connect)
{
	uint8_t flags = wire_read_u8(reader);

	connect->clean_start = (flags & CONNECT_CLEAN_START) != 0;
	connect->has_will = (flags & CONNECT_WILL) != 0;
	connect->has_username = (flags & CONNECT_USERNAME) != 0;
	connect->has_password = (flags & CONNECT_PASSWORD) != 0;
	connect->will.qos = (uint8_t)((flags & CONNECT_WILL_QOS) >> 3);
	connect->will.retain = (flags & CONNECT_WILL_RETAIN) != 0;
	if ((flags & CONNECT_RESERVED) != 0) {
		malformed(reader, "the reserved connect flag is set"); /* [MQTT-3.1.2-3] */
	}
	if (!connect->has_will && connect->version == WIRE_V31) {
		connect->will.qos = 0; /* MQTT 3.1 disregards them then */
		connect->will.retain = false;
	} else if (!connect->has_will && (flags & (CONNECT_WILL_QOS | CONNECT_WILL_RETAIN)) != 0) {
		malformed(reader, "Will QoS or Will Retain without a Will");
	} /* [MQTT-3.1.2-11] [MQTT-3.1.2-13] */
	if (connect->will.qos == 3) {
		malformed(reader, "Will QoS is 3"); /* [MQTT-3.1.2-12] */
	}
	if (connect->version != WIRE_V5 && connect->has_password && !connect->has_username) {
		malformed(reader, "a password without a user name"); /* [MQTT311-3.1.2-22] */
	}
}

static void
read_client_id(struct wire_reader *reader, struct wire_connect *connect)
{
	connect->client_id = wire_read_string(reader); /* [MQTT-3.1.3-4] */
	if (connect->client_id.len != 0 || connect->version == WIRE_V5) {
		return;
	}
	if (connect->version == WIRE_V31) {
		wire_reader_fail(reader, WIRE_REASON_CLIENT_IDENTIFIER_NOT_VALID,
		    "MQTT 3.1 needs a client identifier");
	} else if (!connect->clean_start) {
		wire_reader_fail(reader, WIRE_REASON_CLIENT_IDENTIFIER_NOT_VALID,
		    "an empty client identifier needs a clean session"); /* [MQTT311-3.1.3-8] */
	}
}

static void
read_will(struct wire_reader *reader, struct wire_connect *connect)
{
	struct wire_will *will = &connect->will;

	wire_props_clear(&will->props);
	if (!connect->has_will) {
		will->topic = will->payload = (struct bytes){NULL, 0};
		return;
	}
	if (connect->version == WIRE_V5) {
		wire_props_decode(reader, WIRE_WILL_PROPS, WIRE_CLIENT, &will->props);
	}
	will->topic = wire_read_prefixed(reader);
	if (!wire_reader_failed(reader)) {
		wire_reader_fail_topic(
		    reader, wire_topic_name_check(will->topic, reader->allow_control));
	} /* [MQTT-3.1.3-11] */
	will->payload = wire_read_prefixed(reader);
}

/*
 * MQTT 3.1 lets the Remaining Length overrule the flags: a client may announce a user name or
 * password and end without it. Then it has none.
 */
static bool
is_left_out(const struct wire_connect *connect, const struct wire_reader *reader)
{
	return connect->version == WIRE_V31 && at_end(reader);
}

static void
read_credentials(struct wire_reader *reader, struct wire_connect *connect)
{
	connect->username = connect->password = (struct bytes){NULL, 0};
	if (connect->has_username && !is_left_out(connect, reader)) {
		connect->username = wire_read_string(reader); /* [MQTT-3.1.3-12] */
	} else {
		connect->has_username = false;
	}
	if (connect->has_password && !is_left_out(connect, reader)) {
		connect->password = wire_read_prefixed(reader);
	} else {
		connect->has_password = false;
	}
}

static void
decode_connect(const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet)
{
	struct wire_connect *connect = &packet->connect;

	(void)scope;
	read_protocol(reader, connect);
	read_connect_flags(reader, connect);
	connect->keep_alive = wire_read_u16(reader);
	wire_props_clear(&connect->props);
	if (connect->version == WIRE_V5) {
		wire_props_decode(reader, WIRE_CONNECT, WIRE_CLIENT, &connect->props);
		if (wire_props_has(&connect->props, WIRE_AUTHENTICATION_DATA) &&
		    !wire_props_has(&connect->props, WIRE_AUTHENTICATION_METHOD)) {
			protocol_error(reader, "Authentication Data without Authentication Method");
		}
	}
	read_client_id(reader, connect);
	read_will(reader, connect);
	read_credentials(reader, connect);
}

/* --- CONNACK --- */

static void
decode_connack(const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet)
{
	struct wire_connack *connack = &packet->connack;
	uint8_t flags = wire_read_u8(reader);
	uint8_t code = wire_read_u8(reader);

	connack->session_present = scope->version != WIRE_V31 && (flags & 1) != 0;
	connack->reason = code;
	if (scope->version != WIRE_V31 && (flags & ~1) != 0) {
		malformed(reader, "reserved acknowledge flags are set"); /* [MQTT-3.2.2-1] */
	}
	if (scope->version == WIRE_V5) {
		check_reason(scope, reader, code);
	} else if (wire_reason_of_return_code(code) >= 0) {
		connack->reason = (uint8_t)wire_reason_of_return_code(code);
	} else {
		protocol_error(reader, "the return code is reserved");
	}
	if (connack->session_present && connack->reason != WIRE_REASON_SUCCESS) {
		protocol_error(reader, "Session Present with a refusal"); /* [MQTT-3.2.2-6] */
	}
	read_props(scope, reader, &connack->props);
}

/* --- PUBLISH and its acknowledgements --- */

static void
decode_publish(const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet)
{
	struct wire_publish *publish = &packet->publish;

	publish->dup = (scope->flags & 8) != 0;
	publish->qos = scope->flags >> 1 & 3;
	publish->retain = (scope->flags & 1) != 0;
	publish->topic = wire_read_prefixed(reader);
	if (publish->topic.len != 0 && !bytes_equal(publish->topic, scope->decoder->known_topic)) {
		wire_reader_fail_topic(
		    reader, wire_topic_name_check(publish->topic, reader->allow_control));
	}
	publish->packet_id = publish->qos != 0 ? read_packet_id(reader) : 0;
	read_props(scope, reader, &publish->props);
	if (publish->topic.len == 0 && !wire_props_has(&publish->props, WIRE_TOPIC_ALIAS)) {
		protocol_error(reader, "an empty topic without a Topic Alias"); /* [MQTT-4.7.3-1] */
	}
	publish->payload = wire_reader_rest(reader);
	reader->at = reader->end;
}

/* The reason code and the properties may be left out from behind, but properties need the code. */
static void
read_reason_and_props(const struct scope *scope, struct wire_reader *reader, uint8_t *reason,
    struct wire_props *props)
{
	*reason = WIRE_REASON_SUCCESS;
	wire_props_clear(props);
	if (scope->version != WIRE_V5 || at_end(reader)) {
		return;
	}
	*reason = wire_read_u8(reader);
	check_reason(scope, reader, *reason);
	if (!at_end(reader)) {
		read_props(scope, reader, props);
	}
}

static void
decode_ack(const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet)
{
	packet->ack.packet_id = read_packet_id(reader);
	read_reason_and_props(scope, reader, &packet->ack.reason, &packet->ack.props);
}

/* --- SUBSCRIBE, UNSUBSCRIBE and their acknowledgements --- */

enum {
	OPTION_QOS = 0x03,
	OPTION_NO_LOCAL = 0x04,
	OPTION_RETAIN_HANDLING = 0x30,
	OPTION_RESERVED = 0xc0
};

static struct bytes
read_filter(const struct scope *scope, struct wire_reader *reader)
{
	struct bytes filter = wire_read_prefixed(reader);

	if (!wire_reader_failed(reader)) {
		wire_reader_fail_topic(
		    reader, wire_topic_filter_check(
				filter, reader->allow_control, scope->version == WIRE_V5));
	}
	return filter;
}

static void
read_options(const struct scope *scope, struct wire_reader *reader, struct bytes filter)
{
	uint8_t options = wire_read_u8(reader);
	uint8_t reserved = scope->version == WIRE_V5 ? OPTION_RESERVED : (uint8_t)~OPTION_QOS;
	struct bytes share_name, inner;

	if ((options & reserved) != 0) {
		malformed(reader, "reserved bits of the subscription options are set");
	} /* [MQTT-3.8.3-5] [MQTT311-3.8.3-4] */
	if ((options & OPTION_QOS) == OPTION_QOS) {
		protocol_error(reader, "a subscription asks for QoS 3");
	}
	if ((options & OPTION_RETAIN_HANDLING) == OPTION_RETAIN_HANDLING) {
		protocol_error(reader, "Retain Handling is 3");
	}
	if ((options & OPTION_NO_LOCAL) != 0 &&
	    wire_topic_share_split(filter, &share_name, &inner)) {
		protocol_error(reader, "No Local on a shared subscription"); /* [MQTT-3.8.3-4] */
	}
}

static void
decode_subscribe(const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet)
{
	struct wire_subscribe *subscribe = &packet->subscribe;

	subscribe->packet_id = read_packet_id(reader);
	read_props(scope, reader, &subscribe->props);
	subscribe->filters = wire_reader_rest(reader);
	subscribe->filter_count = 0;
	if (at_end(reader)) {
		protocol_error(reader, "no topic filter at all");
	} /* [MQTT-3.8.3-2] [MQTT-3.10.3-2] */
	while (!at_end(reader)) {
		struct bytes filter = read_filter(scope, reader);

		if (scope->type == WIRE_SUBSCRIBE) {
			read_options(scope, reader, filter);
		}
		subscribe->filter_count++;
	}
}

static void
decode_suback(const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet)
{
	struct wire_suback *suback = &packet->suback;

	suback->packet_id = read_packet_id(reader);
	read_props(scope, reader, &suback->props);
	if (scope->version != WIRE_V5 && scope->type == WIRE_UNSUBACK) {
		suback->reasons = (struct bytes){NULL, 0};
		return;
	}
	suback->reasons = wire_reader_rest(reader);
	if (at_end(reader)) {
		protocol_error(reader, "no reason code at all"); /* [MQTT-3.8.4-6] */
	}
	while (!at_end(reader)) {
		uint8_t reason = wire_read_u8(reader);

		check_reason(scope, reader, reason);
		if (scope->version != WIRE_V5 && reason > WIRE_REASON_UNSPECIFIED_ERROR) {
			protocol_error(
			    reader, "the return code is reserved"); /* [MQTT311-3.9.3-2] */
		}
	}
}

/* --- PINGREQ, PINGRESP, DISCONNECT, AUTH --- */

static void
decode_ping(const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet)
{
	(void)scope;
	(void)reader;
	(void)packet;
}

static void
decode_disconnect(const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet)
{
	read_reason_and_props(scope, reader, &packet->disconnect.reason, &packet->disconnect.props);
}

static void
decode_auth(const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet)
{
	struct wire_disconnect *auth = &packet->auth;

	if (at_end(reader)) {
		/* The short form: success without properties, which only the server can say. */
		auth->reason = WIRE_REASON_SUCCESS;
		wire_props_clear(&auth->props);
		check_reason(scope, reader, auth->reason);
		return;
	}
	auth->reason = wire_read_u8(reader);
	check_reason(scope, reader, auth->reason);
	read_props(scope, reader, &auth->props);
	if (!wire_props_has(&auth->props, WIRE_AUTHENTICATION_METHOD)) {
		protocol_error(reader, "AUTH without Authentication Method"); /* [MQTT-4.12.0-5] */
	}
}

/* --- the fixed header --- */

static const struct kind {
	decode_fn *decode;
	uint8_t flags; /* the only legal flags; PUBLISH has its own rules */
	bool from_client;
	bool from_server;
} kinds[] = {
    [WIRE_CONNECT] = {decode_connect, 0, true, false},
    [WIRE_CONNACK] = {decode_connack, 0, false, true},
    [WIRE_PUBLISH] = {decode_publish, 0, true, true},
    [WIRE_PUBACK] = {decode_ack, 0, true, true},
    [WIRE_PUBREC] = {decode_ack, 0, true, true},
    [WIRE_PUBREL] = {decode_ack, 2, true, true},
    [WIRE_PUBCOMP] = {decode_ack, 0, true, true},
    [WIRE_SUBSCRIBE] = {decode_subscribe, 2, true, false},
    [WIRE_SUBACK] = {decode_suback, 0, false, true},
    [WIRE_UNSUBSCRIBE] = {decode_subscribe, 2, true, false},
    [WIRE_UNSUBACK] = {decode_suback, 0, false, true},
    [WIRE_PINGREQ] = {decode_ping, 0, true, false},
    [WIRE_PINGRESP] = {decode_ping, 0, false, true},
    [WIRE_DISCONNECT] = {decode_disconnect, 0, true, true},
    [WIRE_AUTH] = {decode_auth, 0, true, true},
};

/* Judges type and flags, all that the first byte says. */
static void
check_first_byte(const struct scope *scope, struct wire_reader *reader)
{
	const struct kind *kind = &kinds[scope->type];
	bool is_publish = scope->type == WIRE_PUBLISH;
	/* MQTT 3.1 marks a resent PUBREL, SUBSCRIBE or UNSUBSCRIBE with DUP. */
	uint8_t ignored = scope->version == WIRE_V31 && kind->flags == 2 ? 8 : 0;
	bool legal_side = scope->sender == WIRE_CLIENT ? kind->from_client : kind->from_server;

	if (kind->decode == NULL || (scope->type == WIRE_AUTH && scope->version < WIRE_V5)) {
		malformed(reader, "the packet type is reserved"); /* [MQTT-2.1.3-1] */
	} else if (scope->version == 0 && scope->type != WIRE_CONNECT) {
		protocol_error(reader, "the first packet is not CONNECT"); /* [MQTT-3.1.0-1] */
	} else if (!legal_side || (scope->type == WIRE_DISCONNECT && scope->version < WIRE_V5 &&
				      scope->sender == WIRE_SERVER)) {
		protocol_error(reader, "the packet comes from the wrong side");
	} else if (!is_publish && (scope->flags & ~ignored) != kind->flags) {
		malformed(reader, "reserved flags of the fixed header are wrong");
	} else if (is_publish && (scope->flags & 6) == 6) {
		malformed(reader, "a PUBLISH has QoS 3"); /* [MQTT-3.3.1-4] */
	} else if (is_publish && (scope->flags & 0xe) == 8 && !scope->decoder->lenient) {
		malformed(reader, "a PUBLISH of QoS 0 has DUP"); /* [MQTT-3.3.1-2] */
	}
}

/* Reads the Remaining Length; false while it is incomplete. */
static bool
read_remaining_length(struct wire_reader *reader, uint32_t *length_out)
{
	size_t left = wire_reader_left(reader);
	size_t len = 0;

	while (len < left && len < 4 && reader->at[len] >= 0x80) {
		len++;
	}
	if (len == left && len < 4) {
		return false;
	}
	*length_out = wire_read_varint(reader);
	return true;
}

static struct wire_outcome
refused(const struct wire_reader *reader)
{
	return (struct wire_outcome){
	    .status = WIRE_REFUSED, .reason = reader->reason, .text = reader->fault};
}

static struct wire_outcome
decode_body(const struct scope *scope, struct wire_reader *reader, struct wire_packet *packet)
{
	kinds[scope->type].decode(scope, reader, packet);
	if (!at_end(reader)) {
		malformed(reader, "bytes are left over behind the last field");
	}
	return wire_reader_failed(reader) ? refused(reader)
					  : (struct wire_outcome){.status = WIRE_DONE};
}

struct wire_outcome
wire_decode_fully(
    const struct wire_decoder *decoder, struct bytes input, struct wire_packet *packet_out)
{
	struct wire_outcome outcome = {.status = WIRE_MORE};
	struct wire_reader reader = wire_reader_of(input);
	struct scope scope = {.decoder = decoder,
	    .version = decoder->version,
	    .sender = decoder->receiver == WIRE_SERVER ? WIRE_CLIENT : WIRE_SERVER};
	uint32_t length = 0, size;

	packet_out->type = 0;
	if (input.len == 0) {
		return outcome;
	}
	reader.lenient = decoder->lenient;
	reader.allow_control = decoder->allow_control;
	scope.type = *input.data >> 4;
	scope.flags = *input.data & 0xf;
	packet_out->type = kinds[scope.type].decode != NULL ? scope.type : 0;
	if (scope.type == WIRE_CONNECT) {
		packet_out->connect.version = packet_out->connect.level = 0;
		packet_out->connect.is_mqtt = packet_out->connect.bridge = false;
	}
	check_first_byte(&scope, &reader);
	if (wire_reader_failed(&reader)) {
		return refused(&reader);
	}
	reader.at++;
	if (!read_remaining_length(&reader, &length)) {
		return outcome;
	}
	size = (uint32_t)(reader.at - input.data) + length;
	if (!wire_reader_failed(&reader) && decoder->max_packet_size != 0 &&
	    size > decoder->max_packet_size) {
		if (scope.type == WIRE_CONNECT) {
			struct wire_reader peek = reader; /* how to answer, if that much is there */

			read_protocol(&peek, &packet_out->connect);
		}
		wire_reader_fail(&reader, WIRE_REASON_PACKET_TOO_LARGE,
		    "the packet is larger than allowed"); /* [MQTT-3.2.2-15] */
	}
	if (wire_reader_failed(&reader)) {
		return refused(&reader);
	}
	if (wire_reader_left(&reader) >= length) {
		reader.end = reader.at + length;
		outcome = decode_body(&scope, &reader, packet_out);
	}
	outcome.size = size;
	return outcome;
}

struct wire_outcome
wire_decode(const struct wire_decoder *decoder, struct bytes input, struct wire_packet *packet_out)
{
	uint32_t size = wire_decode_quick(decoder, input, packet_out);

	return size != 0 ? (struct wire_outcome){.status = WIRE_DONE, .size = size}
			 : wire_decode_fully(decoder, input, packet_out);
}
