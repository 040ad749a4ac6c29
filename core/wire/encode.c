/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a packet is written twice: into a writer without room, which gives the Remaining
 * Length, and behind the fixed header. PUBLISH, the only packet of the hot path, computes its
 * lengths instead.
 */
#include "wire/encode.h"

#include <assert.h>

#include "wire/props.h"
#include "wire/reason.h"

/* Properties that may be left out: bits of identifiers, as in wire_props.present. */
#define OMIT_REASON_STRING ((uint64_t)1 << WIRE_REASON_STRING)
#define OMIT_USER_PROPERTIES ((uint64_t)1 << WIRE_USER_PROPERTY)
#define OMIT_ALL (OMIT_REASON_STRING | OMIT_USER_PROPERTIES)

struct scope {
	uint8_t version;
	enum wire_side sender;
	uint64_t omit;
};

/* --- properties --- */

/* Property by property: what a lenient peer padded goes out in its shortest form. */
static void
write_kept(struct wire_writer *writer, struct bytes block, uint64_t omit)
{
	struct wire_property property;

	while (wire_props_next(&block, &property)) {
		if ((omit >> property.id & 1) == 0) {
			wire_write_property(writer, &property);
		}
	}
	assert(block.len == 0); /* the block was checked */
}

static void
write_props(const struct scope *scope, struct wire_writer *writer, const struct wire_props *props)
{
	struct wire_writer measure = wire_writer_of(NULL, 0);

	if (scope->version != WIRE_V5) {
		return;
	}
	write_kept(&measure, props->block, scope->omit);
	wire_write_varint(writer, (uint32_t)measure.len);
	write_kept(writer, props->block, scope->omit);
}

static bool
has_props(const struct scope *scope, const struct wire_props *props)
{
	struct wire_writer measure = wire_writer_of(NULL, 0);

	write_kept(&measure, props->block, scope->omit);
	return measure.len != 0;
}

/* --- bodies; false when the version has no such packet --- */

static void
write_will(const struct scope *scope, struct wire_writer *writer, const struct wire_will *will)
{
	write_props(scope, writer, &will->props);
	wire_write_prefixed(writer, will->topic);
	wire_write_prefixed(writer, will->payload);
}

static bool
write_connect(
    const struct scope *scope, struct wire_writer *writer, const struct wire_connect *connect)
{
	uint8_t flags = (uint8_t)(connect->has_username << 7 | connect->has_password << 6 |
				  connect->has_will << 2 | connect->clean_start << 1);

	if (connect->has_will) {
		flags |= (uint8_t)(connect->will.retain << 5 | connect->will.qos << 3);
	}
	wire_write_prefixed(writer, bytes_of(connect->version == WIRE_V31 ? "MQIsdp" : "MQTT"));
	wire_write_u8(writer, (uint8_t)(connect->version | connect->bridge << 7));
	wire_write_u8(writer, flags);
	wire_write_u16(writer, connect->keep_alive);
	write_props(scope, writer, &connect->props);
	wire_write_prefixed(writer, connect->client_id);
	if (connect->has_will) {
		write_will(scope, writer, &connect->will);
	}
	if (connect->has_username) {
		wire_write_prefixed(writer, connect->username);
	}
	if (connect->has_password) {
		wire_write_prefixed(writer, connect->password);
	}
	return true;
}

static bool
write_connack(
    const struct scope *scope, struct wire_writer *writer, const struct wire_connack *connack)
{
	int code = connack->reason;

	if (scope->version != WIRE_V5) {
		code = wire_reason_to_return_code(connack->reason);
	}
	if (code < 0) {
		return false;
	}
	wire_write_u8(writer, connack->session_present && code == 0 && scope->version != WIRE_V31);
	wire_write_u8(writer, (uint8_t)code);
	write_props(scope, writer, &connack->props);
	return true;
}

static void
write_reason_and_props(const struct scope *scope, struct wire_writer *writer, uint8_t reason,
    const struct wire_props *props)
{
	bool with_props;

	if (scope->version != WIRE_V5) {
		return;
	}
	with_props = has_props(scope, props);
	if (reason != WIRE_REASON_SUCCESS || with_props) {
		wire_write_u8(writer, reason);
	}
	if (with_props) {
		write_props(scope, writer, props);
	}
}

static bool
write_subscribe(
    const struct scope *scope, struct wire_writer *writer, const struct wire_subscribe *subscribe)
{
	wire_write_u16(writer, subscribe->packet_id);
	write_props(scope, writer, &subscribe->props);
	wire_write_bytes(writer, subscribe->filters);
	return true;
}

static bool
write_suback(
    const struct scope *scope, struct wire_writer *writer, const struct wire_packet *packet)
{
	const struct wire_suback *suback = &packet->suback;

	wire_write_u16(writer, suback->packet_id);
	write_props(scope, writer, &suback->props);
	if (scope->version == WIRE_V5) {
		wire_write_bytes(writer, suback->reasons);
		return true;
	}
	for (size_t i = 0; packet->type == WIRE_SUBACK && i < suback->reasons.len; i++) {
		bool refused = suback->reasons.data[i] >= WIRE_REASON_FIRST_ERROR;

		wire_write_u8(
		    writer, refused ? WIRE_REASON_UNSPECIFIED_ERROR : suback->reasons.data[i]);
	}
	return true;
}

static bool
write_auth(
    const struct scope *scope, struct wire_writer *writer, const struct wire_disconnect *auth)
{
	if (scope->version != WIRE_V5) {
		return false;
	}
	if (auth->reason != WIRE_REASON_SUCCESS || has_props(scope, &auth->props)) {
		wire_write_u8(writer, auth->reason);
		write_props(scope, writer, &auth->props);
	}
	return true;
}

static bool
write_publish(
    const struct scope *scope, struct wire_writer *writer, const struct wire_publish *publish)
{
	wire_write_prefixed(writer, publish->topic);
	if (publish->qos != 0) {
		wire_write_u16(writer, publish->packet_id);
	}
	write_props(scope, writer, &publish->props);
	wire_write_bytes(writer, publish->payload);
	return true;
}

static bool
write_ack(const struct scope *scope, struct wire_writer *writer, const struct wire_ack *ack)
{
	wire_write_u16(writer, ack->packet_id);
	write_reason_and_props(scope, writer, ack->reason, &ack->props);
	return true;
}

/* MQTT 3 has one from the client, which says goodbye and nothing else. */
static bool
write_disconnect(
    const struct scope *scope, struct wire_writer *writer, const struct wire_disconnect *disconnect)
{
	if (scope->version != WIRE_V5) {
		return scope->sender == WIRE_CLIENT &&
		       disconnect->reason == WIRE_REASON_NORMAL_DISCONNECTION;
	}
	write_reason_and_props(scope, writer, disconnect->reason, &disconnect->props);
	return true;
}

static bool
write_body(const struct scope *scope, struct wire_writer *writer, const struct wire_packet *packet)
{
	switch (packet->type) {
	case WIRE_CONNECT:
		return write_connect(scope, writer, &packet->connect);
	case WIRE_CONNACK:
		return write_connack(scope, writer, &packet->connack);
	case WIRE_PUBLISH:
		return write_publish(scope, writer, &packet->publish);
	case WIRE_PUBACK:
	case WIRE_PUBREC:
	case WIRE_PUBREL:
	case WIRE_PUBCOMP:
		return write_ack(scope, writer, &packet->ack);
	case WIRE_SUBSCRIBE:
	case WIRE_UNSUBSCRIBE:
		return write_subscribe(scope, writer, &packet->subscribe);
	case WIRE_SUBACK:
	case WIRE_UNSUBACK:
		return write_suback(scope, writer, packet);
	case WIRE_PINGREQ:
	case WIRE_PINGRESP:
		return true;
	case WIRE_DISCONNECT:
		return write_disconnect(scope, writer, &packet->disconnect);
	case WIRE_AUTH:
		return write_auth(scope, writer, &packet->auth);
	}
	return false;
}

/* The reasons that a packet carries, as bytes; none for most. */
static struct bytes
reasons_of(const struct wire_packet *packet)
{
	switch (packet->type) {
	case WIRE_CONNACK:
		return bytes_make(&packet->connack.reason, 1);
	case WIRE_PUBACK:
	case WIRE_PUBREC:
	case WIRE_PUBREL:
	case WIRE_PUBCOMP:
		return bytes_make(&packet->ack.reason, 1);
	case WIRE_SUBACK:
	case WIRE_UNSUBACK:
		return packet->suback.reasons;
	case WIRE_DISCONNECT:
	case WIRE_AUTH:
		return bytes_make(&packet->disconnect.reason, 1);
	default:
		return (struct bytes){NULL, 0};
	}
}

/* MQTT 3 has no reasons, and what stands for them is mapped. */
static bool
reasons_are_allowed(const struct scope *scope, const struct wire_packet *packet)
{
	struct bytes reasons = reasons_of(packet);

	for (size_t i = 0; scope->version == WIRE_V5 && i < reasons.len; i++) {
		if (!wire_reason_is_allowed(packet->type, scope->sender, reasons.data[i])) {
			return false;
		}
	}
	return true;
}

/* --- the whole packet --- */

static uint8_t
first_byte(const struct wire_packet *packet)
{
	uint8_t flags = 0;

	switch (packet->type) {
	case WIRE_PUBLISH:
		flags = (uint8_t)(packet->publish.dup << 3 | packet->publish.qos << 1 |
				  packet->publish.retain);
		break;
	case WIRE_PUBREL:
	case WIRE_SUBSCRIBE:
	case WIRE_UNSUBSCRIBE:
		flags = 2;
		break;
	default:
		break;
	}
	return (uint8_t)(packet->type << 4 | flags);
}

static size_t
size_of_packet(size_t remaining)
{
	return 1 + wire_varint_len((uint32_t)remaining) + remaining;
}

/* The size that a packet would have; 0 when it cannot be said. */
static size_t
measure(const struct scope *scope, const struct wire_encoder *encoder,
    const struct wire_packet *packet, size_t *remaining_out)
{
	struct wire_writer body = wire_writer_of(NULL, 0);
	size_t size;

	if (!write_body(scope, &body, packet) || body.failed ||
	    body.len > WIRE_MAX_REMAINING_LENGTH) {
		return 0;
	}
	*remaining_out = body.len;
	size = size_of_packet(body.len);
	return encoder->max_packet_size != 0 && size > encoder->max_packet_size ? 0 : size;
}

/* Which packets carry Reason String and User Properties that may be left out: what answers, but
 * never a PUBLISH. */
static bool
may_omit(enum wire_type type)
{
	return type == WIRE_CONNACK || (type >= WIRE_PUBACK && type <= WIRE_PUBCOMP) ||
	       type == WIRE_SUBACK || type == WIRE_UNSUBACK || type == WIRE_DISCONNECT ||
	       type == WIRE_AUTH;
}

size_t
wire_encode(
    const struct wire_encoder *encoder, const struct wire_packet *packet, uint8_t *out, size_t room)
{
	static const uint64_t attempts[] = {0, OMIT_REASON_STRING, OMIT_ALL};
	bool is_ack = may_omit(packet->type);
	bool asked = encoder->omit_problem_information && is_ack && packet->type != WIRE_CONNACK &&
		     packet->type != WIRE_DISCONNECT;
	struct scope scope = {.version = encoder->version, .sender = encoder->sender};
	struct wire_writer writer = wire_writer_of(out, room);
	size_t remaining = 0, size = 0;

	if (packet->type == WIRE_CONNECT) {
		scope.version = packet->connect.version;
	}
	if (!reasons_are_allowed(&scope, packet)) {
		return 0;
	}
	for (size_t i = asked ? 2 : 0; size == 0 && i < (is_ack ? 3 : 1); i++) {
		scope.omit = attempts[i];
		size = measure(&scope, encoder, packet, &remaining);
	}
	if (size == 0 || size > room) {
		return size;
	}
	wire_write_u8(&writer, first_byte(packet));
	wire_write_varint(&writer, (uint32_t)remaining);
	write_body(&scope, &writer, packet);
	return size;
}

/* --- PUBLISH from parts --- */

struct wire_publish_size
wire_publish_measure(const struct wire_publish_head *head)
{
	struct wire_publish_size size = {0};
	size_t remaining = 2 + head->topic.len + (head->qos != 0 ? 2 : 0);

	if (head->topic.len > WIRE_MAX_STRING) {
		return size;
	}
	if (head->version == WIRE_V5) {
		size_t props =
		    head->props.len + (head->expires ? 5 : 0) + (head->topic_alias != 0 ? 3 : 0);

		for (size_t i = 0; i < head->subscription_id_count; i++) {
			props += 1 + wire_varint_len(head->subscription_ids[i]);
		}
		if (props > WIRE_MAX_REMAINING_LENGTH) {
			return size;
		}
		size.props = (uint32_t)props;
		remaining += wire_varint_len(size.props) + props;
	}
	if (head->payload_len > WIRE_MAX_REMAINING_LENGTH ||
	    remaining + head->payload_len > WIRE_MAX_REMAINING_LENGTH) {
		return size;
	}
	size.remaining = (uint32_t)(remaining + head->payload_len);
	size.total = size_of_packet(size.remaining);
	size.head = size.total - head->payload_len;
	return size;
}

static void
write_publish_props(const struct wire_publish_head *head, const struct wire_publish_size *size,
    struct wire_writer *writer)
{
	wire_write_varint(writer, size->props);
	if (size->props == 0) {
		return;
	}
	if (head->expires) {
		wire_write_u8(writer, WIRE_MESSAGE_EXPIRY_INTERVAL);
		wire_write_u32(writer, head->message_expiry);
	}
	if (head->topic_alias != 0) {
		wire_write_u8(writer, WIRE_TOPIC_ALIAS);
		wire_write_u16(writer, head->topic_alias);
	}
	for (size_t i = 0; i < head->subscription_id_count; i++) {
		wire_write_u8(writer, WIRE_SUBSCRIPTION_IDENTIFIER);
		wire_write_varint(writer, head->subscription_ids[i]);
	}
	wire_write_bytes(writer, head->props);
}

void
wire_publish_write(
    const struct wire_publish_head *head, const struct wire_publish_size *size, uint8_t *out)
{
	struct wire_writer writer = wire_writer_of(out, size->head);

	wire_write_u8(
	    &writer, (uint8_t)(WIRE_PUBLISH << 4 | head->dup << 3 | head->qos << 1 | head->retain));
	wire_write_varint(&writer, size->remaining);
	wire_write_prefixed(&writer, head->topic);
	if (head->qos != 0) {
		wire_write_u16(&writer, head->packet_id);
	}
	if (head->version == WIRE_V5) {
		write_publish_props(head, size, &writer);
	}
}

/* --- payloads of SUBSCRIBE and UNSUBSCRIBE --- */

void
wire_write_subscription(
    struct wire_writer *writer, const struct wire_subscription *item, uint8_t version)
{
	uint8_t options = item->qos;

	if (version == WIRE_V5) {
		options |= (uint8_t)(item->no_local << 2 | item->retain_as_published << 3 |
				     item->retain_handling << 4);
	}
	wire_write_prefixed(writer, item->filter);
	wire_write_u8(writer, options);
}

void
wire_write_filter(struct wire_writer *writer, struct bytes filter)
{
	wire_write_prefixed(writer, filter);
}
