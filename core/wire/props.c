/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table says everything about a property; decoding, walking and writing read it. A place is a
 * bit: the number of the packet type, bit 0 for the Will. A property that its place allows, but not
 * from this sender, is a Protocol Error; one that the place does not know at all is malformed.
 */
#include "wire/props.h"

#include <assert.h>

#include "wire/topic_name.h"

#define AT(type) (1u << WIRE_##type)
#define WILL (1u << WIRE_WILL_PROPS)
#define ACKS (AT(PUBACK) | AT(PUBREC) | AT(PUBREL) | AT(PUBCOMP))
#define ANSWERS (AT(CONNACK) | ACKS | AT(SUBACK) | AT(UNSUBACK) | AT(DISCONNECT) | AT(AUTH))

struct rule {
	const char *name;
	enum wire_prop_type type;
	uint32_t places;      /* where it may stand */
	uint32_t client_only; /* of these, where only the client may send it */
	uint32_t server_only; /* … only the server */
	uint32_t repeats;     /* … where it may stand more than once */
	uint32_t min, max;    /* of a number; max 0: any */
};

/* RULE(identifier, name, type, places, the fields that are not 0) */
#define RULE(id, label, kind, where, ...) \
	[id] = {.name = (label), .type = WIRE_PROP_##kind, .places = (where), __VA_ARGS__}
static const struct rule rules[WIRE_PROP_ID_LIMIT] = {
    RULE(0x01, "payload_format_indicator", BYTE, AT(PUBLISH) | WILL, .max = 1),
    RULE(0x02, "message_expiry_interval", U32, AT(PUBLISH) | WILL),
    RULE(0x03, "content_type", STRING, AT(PUBLISH) | WILL),
    RULE(0x08, "response_topic", STRING, AT(PUBLISH) | WILL),
    RULE(0x09, "correlation_data", BINARY, AT(PUBLISH) | WILL),
    RULE(0x0b, "subscription_identifier", VARINT, AT(SUBSCRIBE) | AT(PUBLISH),
	.server_only = AT(PUBLISH), .repeats = AT(PUBLISH), .min = 1,
	.max = WIRE_MAX_REMAINING_LENGTH),
    RULE(0x11, "session_expiry_interval", U32, AT(CONNECT) | AT(CONNACK) | AT(DISCONNECT),
	.client_only = AT(DISCONNECT)),
    RULE(0x12, "assigned_client_identifier", STRING, AT(CONNACK)),
    RULE(0x13, "server_keep_alive", U16, AT(CONNACK)),
    RULE(0x15, "authentication_method", STRING, AT(CONNECT) | AT(CONNACK) | AT(AUTH)),
    RULE(0x16, "authentication_data", BINARY, AT(CONNECT) | AT(CONNACK) | AT(AUTH)),
    RULE(0x17, "request_problem_information", BYTE, AT(CONNECT), .max = 1),
    RULE(0x18, "will_delay_interval", U32, WILL),
    RULE(0x19, "request_response_information", BYTE, AT(CONNECT), .max = 1),
    RULE(0x1a, "response_information", STRING, AT(CONNACK)),
    RULE(0x1c, "server_reference", STRING, AT(CONNACK) | AT(DISCONNECT),
	.server_only = AT(DISCONNECT)),
    RULE(0x1f, "reason_string", STRING, ANSWERS),
    RULE(0x21, "receive_maximum", U16, AT(CONNECT) | AT(CONNACK), .min = 1),
    RULE(0x22, "topic_alias_maximum", U16, AT(CONNECT) | AT(CONNACK)),
    RULE(0x23, "topic_alias", U16, AT(PUBLISH), .min = 1),
    RULE(0x24, "maximum_qos", BYTE, AT(CONNACK), .max = 1),
    RULE(0x25, "retain_available", BYTE, AT(CONNACK), .max = 1),
    RULE(0x26, "user_property", PAIR,
	ANSWERS | AT(CONNECT) | AT(PUBLISH) | AT(SUBSCRIBE) | AT(UNSUBSCRIBE) | WILL,
	.repeats = UINT32_MAX),
    RULE(0x27, "maximum_packet_size", U32, AT(CONNECT) | AT(CONNACK), .min = 1),
    RULE(0x28, "wildcard_subscription_available", BYTE, AT(CONNACK), .max = 1),
    RULE(0x29, "subscription_identifier_available", BYTE, AT(CONNACK), .max = 1),
    RULE(0x2a, "shared_subscription_available", BYTE, AT(CONNACK), .max = 1),
};
#undef RULE

#undef ANSWERS
#undef ACKS
#undef WILL
#undef AT

const char *
wire_prop_name(uint32_t id)
{
	return id < WIRE_PROP_ID_LIMIT ? rules[id].name : NULL;
}

enum wire_prop_type
wire_prop_type(uint32_t id)
{
	return id < WIRE_PROP_ID_LIMIT ? rules[id].type : WIRE_PROP_NONE;
}

/* The value behind an identifier, by its type; strings unchecked. */
static void
read_value(struct wire_reader *reader, struct wire_property *property)
{
	switch (property->type) {
	case WIRE_PROP_BYTE:
		property->number = wire_read_u8(reader);
		break;
	case WIRE_PROP_U16:
		property->number = wire_read_u16(reader);
		break;
	case WIRE_PROP_U32:
		property->number = wire_read_u32(reader);
		break;
	case WIRE_PROP_VARINT:
		property->number = wire_read_varint(reader);
		break;
	case WIRE_PROP_STRING:
	case WIRE_PROP_BINARY:
		property->value = wire_read_prefixed(reader);
		break;
	case WIRE_PROP_PAIR:
		property->value = wire_read_prefixed(reader);
		property->second = wire_read_prefixed(reader);
		break;
	case WIRE_PROP_NONE:
		break;
	}
}

/* --- decoding --- */

/* Reads an identifier; 0 and a failed reader when it may not stand here. */
static uint32_t
read_id(struct wire_reader *reader, int place, enum wire_side sender, uint64_t present)
{
	uint32_t here = 1u << place;
	uint32_t id = wire_read_varint(reader);
	const struct rule *rule;

	if (wire_reader_failed(reader)) {
		return 0;
	}
	if (id >= WIRE_PROP_ID_LIMIT || rules[id].type == WIRE_PROP_NONE) {
		wire_reader_fail(reader, WIRE_REASON_MALFORMED_PACKET, "a property is unknown");
		return 0;
	}
	rule = &rules[id];
	if ((rule->places & here) == 0) {
		wire_reader_fail(reader, WIRE_REASON_MALFORMED_PACKET,
		    "a property is not allowed in this packet");
	} else if (((sender == WIRE_CLIENT ? rule->server_only : rule->client_only) & here) != 0) {
		wire_reader_fail(
		    reader, WIRE_REASON_PROTOCOL_ERROR, "a property is not allowed from this side");
	} else if ((present >> id & 1) != 0 && (rule->repeats & here) == 0) {
		wire_reader_fail(reader, WIRE_REASON_PROTOCOL_ERROR,
		    "a property that may stand once is repeated");
	}
	return wire_reader_failed(reader) ? 0 : id;
}

static void
check_number(
    struct wire_reader *reader, const struct rule *rule, const struct wire_property *property)
{
	if (property->number >= rule->min && (rule->max == 0 || property->number <= rule->max)) {
		return;
	}
	if (property->id == WIRE_TOPIC_ALIAS) {
		wire_reader_fail(reader, WIRE_REASON_TOPIC_ALIAS_INVALID, "Topic Alias is 0");
		return; /* [MQTT-3.3.2-8] */
	}
	wire_reader_fail(reader, WIRE_REASON_PROTOCOL_ERROR,
	    property->number == 0 ? "a property that must not be 0 is 0"
				  : "a property's value is out of range");
}

static void
check_strings(struct wire_reader *reader, const struct wire_property *property)
{
	wire_reader_check_string(reader, property->value);
	if (property->type == WIRE_PROP_PAIR) {
		wire_reader_check_string(reader, property->second); /* [MQTT-1.5.7-1] */
	}
	if (property->id == WIRE_RESPONSE_TOPIC) {
		wire_reader_fail_topic(
		    reader, wire_topic_name_check(property->value, reader->allow_control));
	} /* [MQTT-3.3.2-13] [MQTT-3.3.2-14] */
}

/* One property at the reader, put on record. */
static void
check_property(
    struct wire_reader *reader, int place, enum wire_side sender, struct wire_props *props)
{
	struct wire_property property = {
	    .id = (uint8_t)read_id(reader, place, sender, props->present)};
	const struct rule *rule = &rules[property.id];

	property.type = rule->type;
	if (wire_reader_failed(reader)) {
		return;
	}
	if (!wire_props_has(props, property.id)) {
		props->at[property.id] = (uint32_t)(reader->at - props->block.data);
		props->present |= (uint64_t)1 << property.id;
	}
	read_value(reader, &property);
	if (rule->type <= WIRE_PROP_VARINT) {
		check_number(reader, rule, &property);
	} else if (rule->type != WIRE_PROP_BINARY) {
		check_strings(reader, &property);
	}
}

void
wire_props_check(
    struct wire_reader *reader, int place, enum wire_side sender, struct wire_props *props_out)
{
	props_out->block = wire_reader_rest(reader);
	props_out->present = 0;
	while (reader->at != reader->end) {
		check_property(reader, place, sender, props_out);
	}
}

void
wire_props_decode(
    struct wire_reader *reader, int place, enum wire_side sender, struct wire_props *props_out)
{
	struct wire_reader block =
	    wire_reader_of(wire_read_bytes(reader, wire_read_varint(reader)));

	block.lenient = reader->lenient;
	block.allow_control = reader->allow_control;
	wire_props_check(&block, place, sender, props_out);
	if (wire_reader_failed(&block)) {
		wire_reader_fail(reader, block.reason, block.fault);
	}
}

/* --- asking --- */

static struct wire_reader
value_at(const struct wire_props *props, enum wire_prop id)
{
	struct wire_reader reader = wire_reader_of(bytes_skip(props->block, props->at[id]));

	reader.lenient = true; /* what was accepted when it was decoded is so now */
	return reader;
}

uint32_t
wire_props_number(const struct wire_props *props, enum wire_prop id, uint32_t absent)
{
	struct wire_property property = {.type = rules[id].type};
	struct wire_reader reader;

	assert(property.type >= WIRE_PROP_BYTE && property.type <= WIRE_PROP_VARINT);
	if (!wire_props_has(props, id)) {
		return absent;
	}
	reader = value_at(props, id);
	read_value(&reader, &property);
	return property.number;
}

struct bytes
wire_props_bytes(const struct wire_props *props, enum wire_prop id)
{
	struct wire_reader reader;

	assert(rules[id].type == WIRE_PROP_STRING || rules[id].type == WIRE_PROP_BINARY);
	if (!wire_props_has(props, id)) {
		return (struct bytes){NULL, 0};
	}
	reader = value_at(props, id);
	return wire_read_prefixed(&reader);
}

bool
wire_props_next(struct bytes *block, struct wire_property *property_out)
{
	struct wire_reader reader = wire_reader_of(*block);
	uint32_t id;

	if (block->len == 0) {
		return false;
	}
	reader.lenient = true;
	id = wire_read_varint(&reader);
	*property_out = (struct wire_property){.id = (uint8_t)id, .type = wire_prop_type(id)};
	if (property_out->type == WIRE_PROP_NONE) {
		return false;
	}
	read_value(&reader, property_out);
	*block = wire_reader_rest(&reader);
	return !wire_reader_failed(&reader);
}

bool
wire_props_index(struct wire_props *props, struct bytes block)
{
	struct bytes rest = block;

	props->block = block;
	props->present = 0;
	while (rest.len != 0) {
		size_t at = block.len - rest.len;
		struct wire_property property;

		if (!wire_props_next(&rest, &property)) {
			return false;
		}
		if (!wire_props_has(props, property.id)) {
			/* The value begins behind the identifier, of which a lenient peer may have
			 * sent more bytes. */
			while ((block.data[at] & 0x80) != 0) {
				at++;
			}
			props->at[property.id] = (uint32_t)at + 1;
			props->present |= (uint64_t)1 << property.id;
		}
	}
	return true;
}

/* --- making --- */

void
wire_write_property(struct wire_writer *writer, const struct wire_property *property)
{
	wire_write_u8(writer, property->id);
	switch (property->type) {
	case WIRE_PROP_BYTE:
		wire_write_u8(writer, (uint8_t)property->number);
		break;
	case WIRE_PROP_U16:
		wire_write_u16(writer, (uint16_t)property->number);
		break;
	case WIRE_PROP_U32:
		wire_write_u32(writer, property->number);
		break;
	case WIRE_PROP_VARINT:
		wire_write_varint(writer, property->number);
		break;
	case WIRE_PROP_STRING:
	case WIRE_PROP_BINARY:
		wire_write_prefixed(writer, property->value);
		break;
	case WIRE_PROP_PAIR:
		wire_write_prefixed(writer, property->value);
		wire_write_prefixed(writer, property->second);
		break;
	case WIRE_PROP_NONE:
		assert(false);
		break;
	}
}

void
wire_write_prop_number(struct wire_writer *writer, enum wire_prop id, uint32_t number)
{
	struct wire_property property = {
	    .id = (uint8_t)id, .type = rules[id].type, .number = number};

	assert(property.type >= WIRE_PROP_BYTE && property.type <= WIRE_PROP_VARINT);
	wire_write_property(writer, &property);
}

void
wire_write_prop_bytes(struct wire_writer *writer, enum wire_prop id, struct bytes value)
{
	struct wire_property property = {.id = (uint8_t)id, .type = rules[id].type, .value = value};

	assert(property.type == WIRE_PROP_STRING || property.type == WIRE_PROP_BINARY);
	wire_write_property(writer, &property);
}

void
wire_write_user_property(struct wire_writer *writer, struct bytes name, struct bytes value)
{
	struct wire_property property = {
	    .id = WIRE_USER_PROPERTY, .type = WIRE_PROP_PAIR, .value = name, .second = value};

	wire_write_property(writer, &property);
}
