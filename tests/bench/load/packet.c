/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MQTT 3.1.1 and 5 as a client needs it that measures. Answers at once what the broker sends.
 * Judges only what a wrong measurement could come from; what cannot be read is a protocol error.
 */
#include "bench/load/load.h"

#include <stdio.h>
#include <string.h>

enum { LENGTH_MOST = 4 };

enum type {
	CONNECT = 1,
	CONNACK,
	PUBLISH,
	PUBACK,
	PUBREC,
	PUBREL,
	PUBCOMP,
	SUBSCRIBE,
	SUBACK,
	DISCONNECT = 14,
};

enum property {
	SESSION_EXPIRY_INTERVAL = 0x11,
	ASSIGNED_CLIENT_IDENTIFIER = 0x12,
	SERVER_KEEP_ALIVE = 0x13,
	AUTHENTICATION_METHOD = 0x15,
	AUTHENTICATION_DATA = 0x16,
	RESPONSE_INFORMATION = 0x1a,
	SERVER_REFERENCE = 0x1c,
	REASON_STRING = 0x1f,
	RECEIVE_MAXIMUM = 0x21,
	TOPIC_ALIAS_MAXIMUM = 0x22,
	MAXIMUM_QOS = 0x24,
	RETAIN_AVAILABLE = 0x25,
	USER_PROPERTY = 0x26,
	MAXIMUM_PACKET_SIZE = 0x27,
	WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28,
	SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29,
	SHARED_SUBSCRIPTION_AVAILABLE = 0x2a,
};

message_fn *on_message;

/* --- writing --- */

uint8_t *
put_length(uint8_t *at, uint32_t len)
{
	do {
		*at++ = (uint8_t)((len & 127) | (len > 127 ? 128 : 0));
		len >>= 7;
	} while (len != 0);
	return at;
}

static uint8_t *
put_u16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return at + 2;
}

uint8_t *
put_text(uint8_t *at, const char *text, uint32_t len)
{
	at = put_u16(at, len);
	memcpy(at, text, len);
	return at + len;
}

/* Room for a packet whose body has len bytes; returns where the body begins. */
static uint8_t *
begin_packet(struct client *client, uint8_t head, uint32_t len)
{
	uint8_t start[1 + LENGTH_MOST] = {head};
	uint32_t start_len = (uint32_t)(put_length(start + 1, len) - start);
	uint8_t *at = client_room(client, start_len + len);

	memcpy(at, start, start_len);
	return at + start_len;
}

static uint32_t
text_len(const char *text)
{
	return text == NULL ? 0 : (uint32_t)strlen(text) + 2;
}

void
send_connect(struct client *client)
{
	bool is_5 = options.version == 5;
	uint32_t properties_len = is_5 && client->is_persistent ? 5 : 0;
	uint32_t len = 10 + properties_len + text_len(client->id) + text_len(options.user) +
		       text_len(options.password);

	len += is_5 ? 1 : 0;
	uint8_t *at = put_text(begin_packet(client, CONNECT << 4, len), "MQTT", 4);

	*at++ = (uint8_t)options.version;
	*at++ = (uint8_t)((client->is_persistent ? 0 : 0x02) | (options.user != NULL ? 0x80 : 0) |
			  (options.password != NULL ? 0x40 : 0));
	at = put_u16(at, KEEP_ALIVE_S);
	if (is_5) {
		*at++ = (uint8_t)properties_len;
	}
	if (properties_len != 0) {
		*at++ = SESSION_EXPIRY_INTERVAL;
		at = put_u16(put_u16(at, 0), SESSION_EXPIRY_S);
	}
	at = put_text(at, client->id, (uint32_t)strlen(client->id));
	if (options.user != NULL) {
		at = put_text(at, options.user, (uint32_t)strlen(options.user));
	}
	if (options.password != NULL) {
		put_text(at, options.password, (uint32_t)strlen(options.password));
	}
}

void
send_subscribe(struct client *client, char (*filters)[FILTER_SIZE], long count, long qos)
{
	uint32_t len = 2 + (options.version == 5 ? 1 : 0);

	for (long i = 0; i < count; i++) {
		len += text_len(filters[i]) + 1;
	}
	uint8_t *at = put_u16(begin_packet(client, SUBSCRIBE << 4 | 2, len), next_id(client));

	if (options.version == 5) {
		*at++ = 0;
	}
	for (long i = 0; i < count; i++) {
		at = put_text(at, filters[i], (uint32_t)strlen(filters[i]));
		*at++ = (uint8_t)qos;
	}
}

void
send_publish(
    struct client *client, const char *topic, const uint8_t *payload, long qos, bool retain)
{
	uint32_t size = (uint32_t)options.size;
	uint32_t len = text_len(topic) + (qos != 0 ? 2 : 0) + (options.version == 5 ? 1 : 0) + size;
	uint8_t head = (uint8_t)(PUBLISH << 4 | qos << 1 | (retain ? 1 : 0));
	uint8_t *at = put_text(begin_packet(client, head, len), topic, (uint32_t)strlen(topic));

	if (qos != 0) {
		at = put_u16(at, next_id(client));
	}
	if (options.version == 5) {
		*at++ = 0;
	}
	memcpy(at, payload, size);
}

static void
send_ack(struct client *client, uint8_t head, uint32_t id)
{
	put_u16(begin_packet(client, head, 2), id);
}

void
send_disconnect(struct client *client)
{
	begin_packet(client, DISCONNECT << 4, 0);
}

/* --- reading --- */

/* What is left of a body; once too short, it stays so and reads zeros. */
struct reader {
	const uint8_t *at;
	uint32_t left;
	bool is_short;
};

static const uint8_t *
skip(struct reader *reader, uint32_t len)
{
	const uint8_t *at = reader->at;

	if (len > reader->left) {
		reader->is_short = true;
		reader->left = 0;
		return NULL;
	}
	reader->at += len;
	reader->left -= len;
	return at;
}

static uint32_t
read_number(struct reader *reader, uint32_t len)
{
	const uint8_t *at = skip(reader, len);
	uint32_t value = 0;

	for (uint32_t i = 0; at != NULL && i < len; i++) {
		value = value << 8 | at[i];
	}
	return value;
}

static uint32_t
read_length(struct reader *reader)
{
	uint32_t value = 0;

	for (unsigned shift = 0; shift < 7 * LENGTH_MOST; shift += 7) {
		uint32_t byte = read_number(reader, 1);

		value |= (byte & 127) << shift;
		if ((byte & 128) == 0) {
			return value;
		}
	}
	reader->is_short = true;
	return 0;
}

static void
skip_properties(struct reader *reader)
{
	if (options.version == 5 && reader->left != 0) {
		skip(reader, read_length(reader));
	}
}

/* Those that measuring does not need. */
static void
skip_property(struct reader *reader, uint32_t id)
{
	switch (id) {
	case MAXIMUM_QOS:
	case RETAIN_AVAILABLE:
	case WILDCARD_SUBSCRIPTION_AVAILABLE:
	case SUBSCRIPTION_IDENTIFIER_AVAILABLE:
	case SHARED_SUBSCRIPTION_AVAILABLE:
		skip(reader, 1);
		break;
	case SERVER_KEEP_ALIVE:
	case TOPIC_ALIAS_MAXIMUM:
		skip(reader, 2);
		break;
	case SESSION_EXPIRY_INTERVAL:
	case MAXIMUM_PACKET_SIZE:
		skip(reader, 4);
		break;
	case USER_PROPERTY:
		skip(reader, read_number(reader, 2));
		skip(reader, read_number(reader, 2));
		break;
	case REASON_STRING:
	case RESPONSE_INFORMATION:
	case SERVER_REFERENCE:
	case AUTHENTICATION_METHOD:
	case AUTHENTICATION_DATA:
		skip(reader, read_number(reader, 2));
		break;
	default:
		reader->is_short = true;
		reader->left = 0;
	}
}

static void
read_property(struct client *client, struct reader *reader)
{
	uint32_t id = read_number(reader, 1), len;
	const uint8_t *text;

	switch (id) {
	case RECEIVE_MAXIMUM:
		client->receive_maximum = read_number(reader, 2);
		break;
	case ASSIGNED_CLIENT_IDENTIFIER:
		len = read_number(reader, 2);
		text = skip(reader, len);
		if (text != NULL && len < sizeof(client->id)) {
			memcpy(client->id, text, len);
			client->id[len] = '\0';
		}
		break;
	default:
		skip_property(reader, id);
	}
}

static void
take_connack(struct client *client, struct reader *reader)
{
	uint32_t flags = read_number(reader, 1);
	uint32_t code = read_number(reader, 1);

	if (reader->is_short || code != 0) {
		counts.refused++;
		if (counts.refused < 4) { /* the others say the same */
			fprintf(stderr, "mqload: CONNACK refused code %d\n",
			    reader->is_short ? -1 : (int)code);
		}
		client_fail(client);
		return;
	}
	client->session_present = (flags & 1) != 0;
	if (options.version == 5 && reader->left != 0) {
		uint32_t len = read_length(reader);
		struct reader properties = {.at = reader->at, .left = len};

		if (skip(reader, len) == NULL) {
			properties.left = 0;
		}
		while (properties.left != 0) {
			read_property(client, &properties);
		}
		reader->is_short = reader->is_short || properties.is_short;
	}
	client->state = CLIENT_UP;
}

static void
take_publish(struct client *client, uint8_t head, struct reader *reader, int64_t read_ns)
{
	uint32_t qos = (head >> 1) & 3;
	uint32_t id = 0;

	skip(reader, read_number(reader, 2));
	if (qos != 0) {
		id = read_number(reader, 2);
	}
	skip_properties(reader);
	if (reader->is_short || qos == 3) {
		reader->is_short = true;
		return;
	}
	struct message message = {.payload = reader->at,
	    .len = reader->left,
	    .retain = (head & 1) != 0,
	    .read_ns = read_ns};

	if (on_message != NULL) {
		on_message(client, &message);
	}
	if (qos != 0) {
		send_ack(client, qos == 1 ? PUBACK << 4 : PUBREC << 4, id);
	}
}

/* PUBACK, PUBREC and PUBCOMP. A refusal ends the flow too, or the window would fill up. */
static void
take_ack(struct client *client, uint8_t type, struct reader *reader)
{
	uint32_t id = read_number(reader, 2);
	bool is_refused = reader->left != 0 && read_number(reader, 1) >= 0x80;

	if (reader->is_short) {
		return;
	}
	counts.protocol_errors += is_refused ? 1 : 0;
	if (type == PUBREC && !is_refused) {
		send_ack(client, PUBREL << 4 | 2, id);
	} else {
		client->acked++;
	}
}

static void
take_suback(struct client *client, struct reader *reader)
{
	read_number(reader, 2);
	skip_properties(reader);
	while (reader->left != 0) {
		counts.sub_failed += read_number(reader, 1) >= 0x80 ? 1 : 0;
	}
	client->suback_count++;
}

void
packet_take(struct client *client, uint8_t head, const uint8_t *body, uint32_t len, int64_t read_ns)
{
	struct reader reader = {.at = body, .left = len};
	uint8_t type = head >> 4;

	switch (type) {
	case CONNACK:
		take_connack(client, &reader);
		break;
	case PUBLISH:
		take_publish(client, head, &reader, read_ns);
		break;
	case PUBACK:
	case PUBREC:
	case PUBCOMP:
		take_ack(client, type, &reader);
		break;
	case PUBREL:
		send_ack(client, PUBCOMP << 4, read_number(&reader, 2));
		break;
	case SUBACK:
		take_suback(client, &reader);
		break;
	case DISCONNECT:
		fprintf(stderr, "mqload: broker sent DISCONNECT reason %u\n",
		    len != 0 ? read_number(&reader, 1) : 0);
		client_fail(client);
		break;
	default:
		reader.is_short = true;
	}
	counts.protocol_errors += reader.is_short ? 1 : 0;
}
