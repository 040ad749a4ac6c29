/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Properties of MQTT 5 (section 2.2.2): what each may be, asking a decoded block for values,
 * walking over it, and making one. Pure.
 */
#ifndef WIRE_PROPS_H
#define WIRE_PROPS_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/packet.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum wire_prop_type {
	WIRE_PROP_NONE, /* no such property */
	WIRE_PROP_BYTE,
	WIRE_PROP_U16,
	WIRE_PROP_U32,
	WIRE_PROP_VARINT,
	WIRE_PROP_STRING,
	WIRE_PROP_BINARY,
	WIRE_PROP_PAIR,
};

enum wire_prop {
	WIRE_PAYLOAD_FORMAT_INDICATOR = 0x01,
	WIRE_MESSAGE_EXPIRY_INTERVAL = 0x02,
	WIRE_CONTENT_TYPE = 0x03,
	WIRE_RESPONSE_TOPIC = 0x08,
	WIRE_CORRELATION_DATA = 0x09,
	WIRE_SUBSCRIPTION_IDENTIFIER = 0x0b,
	WIRE_SESSION_EXPIRY_INTERVAL = 0x11,
	WIRE_ASSIGNED_CLIENT_IDENTIFIER = 0x12,
	WIRE_SERVER_KEEP_ALIVE = 0x13,
	WIRE_AUTHENTICATION_METHOD = 0x15,
	WIRE_AUTHENTICATION_DATA = 0x16,
	WIRE_REQUEST_PROBLEM_INFORMATION = 0x17,
	WIRE_WILL_DELAY_INTERVAL = 0x18,
	WIRE_REQUEST_RESPONSE_INFORMATION = 0x19,
	WIRE_RESPONSE_INFORMATION = 0x1a,
	WIRE_SERVER_REFERENCE = 0x1c,
	WIRE_REASON_STRING = 0x1f,
	WIRE_RECEIVE_MAXIMUM = 0x21,
	WIRE_TOPIC_ALIAS_MAXIMUM = 0x22,
	WIRE_TOPIC_ALIAS = 0x23,
	WIRE_MAXIMUM_QOS = 0x24,
	WIRE_RETAIN_AVAILABLE = 0x25,
	WIRE_USER_PROPERTY = 0x26,
	WIRE_MAXIMUM_PACKET_SIZE = 0x27,
	WIRE_WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28,
	WIRE_SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29,
	WIRE_SHARED_SUBSCRIPTION_AVAILABLE = 0x2a,
};

/* Where properties stand: in a packet, or in the Will of a CONNECT, which takes the number of no
 * packet type. */
enum { WIRE_WILL_PROPS = 0 };

/* One property as walking over a block gives it. */
struct wire_property {
	uint8_t id; /* enum wire_prop */
	enum wire_prop_type type;
	uint32_t number;     /* of the numeric types */
	struct bytes value;  /* string, binary, or the name of a pair */
	struct bytes second; /* the value of a pair */
};

/* `name_in_words`, as in "receive_maximum"; NULL for an identifier that is none. */
const char *wire_prop_name(uint32_t id);
enum wire_prop_type wire_prop_type(uint32_t id);

/*
 * Reads Property Length and properties. place: enum wire_type of the packet, or WIRE_WILL_PROPS.
 * Each property is checked: known, allowed in this place and from this sender, not repeated, value
 * in range, strings valid. What is wrong fails the reader.
 */
void wire_props_decode(
    struct wire_reader *reader, int place, enum wire_side sender, struct wire_props *props_out);

/* The same for a bare block: the reader holds it and nothing else, without a length in front. */
void wire_props_check(
    struct wire_reader *reader, int place, enum wire_side sender, struct wire_props *props_out);

/* Fills present and at from a block that was checked before (a stored one); false when it is broken
 * after all. */
bool wire_props_index(struct wire_props *props, struct bytes block);

/* Makes it the empty block. */
static inline void
wire_props_clear(struct wire_props *props)
{
	props->block = (struct bytes){NULL, 0};
	props->present = 0;
}

static inline bool
wire_props_has(const struct wire_props *props, enum wire_prop id)
{
	return (props->present >> id & 1) != 0;
}

/* A number of any size, or `absent` when it is not there. */
uint32_t wire_props_number(const struct wire_props *props, enum wire_prop id, uint32_t absent);

/* A string or binary value; the empty view when it is not there. */
struct bytes wire_props_bytes(const struct wire_props *props, enum wire_prop id);

/* Takes the next property off a checked block; false at its end. `block` starts as props.block and
 * is advanced. */
bool wire_props_next(struct bytes *block, struct wire_property *property_out);

/* Appending to a block that is being made. Values must keep to the rules: these do not check. */
void wire_write_prop_number(struct wire_writer *writer, enum wire_prop id, uint32_t number);
void wire_write_prop_bytes(struct wire_writer *writer, enum wire_prop id, struct bytes value);
void wire_write_user_property(struct wire_writer *writer, struct bytes name, struct bytes value);

/* Appends a property that wire_props_next gave. */
void wire_write_property(struct wire_writer *writer, const struct wire_property *property);

#endif
