/* SPDX-License-Identifier: Apache-2.0 */
#include "stress/packets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- bytes --- */

void
bytes_put(struct bytes_out *out, const void *data, size_t len)
{
	if (out->len + len > out->cap) {
		out->cap = (out->len + len) * 2;
		out->data = realloc(out->data, out->cap);
		if (out->data == NULL) {
			fputs("stress: no memory\n", stderr);
			abort();
		}
	}
	if (len != 0) {
		memcpy(out->data + out->len, data, len);
		out->len += len;
	}
}

void
bytes_drop(struct bytes_out *out, size_t len)
{
	out->len -= len;
	if (out->len != 0) {
		memmove(out->data, out->data + len, out->len);
	}
}

void
bytes_free(struct bytes_out *out)
{
	free(out->data);
	*out = (struct bytes_out){0};
}

static void
put_byte(struct bytes_out *out, unsigned byte)
{
	uint8_t value = (uint8_t)byte;

	bytes_put(out, &value, 1);
}

static void
put_short(struct bytes_out *out, unsigned number)
{
	put_byte(out, number >> 8);
	put_byte(out, number);
}

static void
put_long(struct bytes_out *out, uint32_t number)
{
	put_short(out, number >> 16);
	put_short(out, number & 0xffff);
}

static void
put_string(struct bytes_out *out, const char *text)
{
	put_short(out, (unsigned)strlen(text));
	bytes_put(out, text, strlen(text));
}

static void
put_varint(struct bytes_out *out, size_t number)
{
	do {
		put_byte(out, (unsigned)(number & 127) | (number > 127 ? 128U : 0));
		number >>= 7;
	} while (number != 0);
}

/* The body becomes a packet. */
static void
put_packet(struct bytes_out *out, unsigned first, struct bytes_out *body)
{
	put_byte(out, first);
	put_varint(out, body->len);
	bytes_put(out, body->data, body->len);
	bytes_free(body);
}

/* --- packets --- */

static void
put_will(struct bytes_out *body, int version, const struct will *will)
{
	if (version == 5) {
		put_varint(body, will->delay_s != 0 ? 5 : 0);
		if (will->delay_s != 0) {
			put_byte(body, 0x18);
			put_long(body, will->delay_s);
		}
	}
	put_string(body, will->topic);
	put_string(body, "will");
}

void
put_connect(struct bytes_out *out, int version, const char *id, bool clean, uint32_t expiry_s,
    const struct will *will)
{
	struct bytes_out body = {0};
	unsigned flags = clean ? 2 : 0;

	if (will->topic != NULL) {
		flags |= 4U | (unsigned)will->qos << 3 | (will->retain ? 32U : 0);
	}
	put_string(&body, "MQTT");
	put_byte(&body, (unsigned)version);
	put_byte(&body, flags);
	put_short(&body, 0); /* no keep alive: some of these only listen, for minutes */
	if (version == 5) {
		put_varint(&body, expiry_s != 0 ? 5 : 0);
		if (expiry_s != 0) {
			put_byte(&body, 0x11);
			put_long(&body, expiry_s);
		}
	}
	put_string(&body, id);
	if (will->topic != NULL) {
		put_will(&body, version, will);
	}
	put_packet(out, CONNECT << 4, &body);
}

void
put_publish(struct bytes_out *out, int version, const char *topic, const void *payload, size_t len,
    int qos, bool retain, bool dup, uint16_t packet_id)
{
	struct bytes_out body = {0};

	put_string(&body, topic);
	if (qos != 0) {
		put_short(&body, packet_id);
	}
	if (version == 5) {
		put_byte(&body, 0);
	}
	bytes_put(&body, payload, len);
	put_packet(
	    out, PUBLISH << 4 | (dup ? 8U : 0) | (unsigned)qos << 1 | (retain ? 1U : 0), &body);
}

void
put_ack(struct bytes_out *out, enum packet_type type, uint16_t packet_id)
{
	struct bytes_out body = {0};

	put_short(&body, packet_id);
	put_packet(out, (unsigned)type << 4 | (type == PUBREL ? 2U : 0), &body);
}

void
put_subscribe(struct bytes_out *out, int version, uint16_t packet_id, const char *const *filters,
    const uint8_t *options, size_t count)
{
	struct bytes_out body = {0};

	put_short(&body, packet_id);
	if (version == 5) {
		put_byte(&body, 0);
	}
	for (size_t i = 0; i < count; i++) {
		put_string(&body, filters[i]);
		put_byte(&body, version == 5 ? options[i] : options[i] & 3U);
	}
	put_packet(out, SUBSCRIBE << 4 | 2, &body);
}

void
put_unsubscribe(struct bytes_out *out, int version, uint16_t packet_id, const char *filter)
{
	struct bytes_out body = {0};

	put_short(&body, packet_id);
	if (version == 5) {
		put_byte(&body, 0);
	}
	put_string(&body, filter);
	put_packet(out, UNSUBSCRIBE << 4 | 2, &body);
}

void
put_pingreq(struct bytes_out *out)
{
	put_byte(out, PINGREQ << 4);
	put_byte(out, 0);
}

void
put_disconnect(struct bytes_out *out, int version, uint8_t reason)
{
	put_byte(out, DISCONNECT << 4);
	put_byte(out, version == 5 && reason != 0 ? 1 : 0);
	if (version == 5 && reason != 0) {
		put_byte(out, reason);
	}
}

/* --- what comes --- */

struct reader {
	const uint8_t *at;
	const uint8_t *end;
	bool failed;
};

static const uint8_t *
take(struct reader *reader, size_t len)
{
	const uint8_t *at = reader->at;

	if ((size_t)(reader->end - reader->at) < len) {
		reader->failed = true;
		return NULL;
	}
	reader->at += len;
	return at;
}

static unsigned
take_byte(struct reader *reader)
{
	const uint8_t *at = take(reader, 1);

	return at != NULL ? *at : 0;
}

static unsigned
take_short(struct reader *reader)
{
	unsigned high = take_byte(reader);

	return high << 8 | take_byte(reader);
}

static size_t
take_varint(struct reader *reader)
{
	size_t number = 0;

	for (unsigned shift = 0; shift < 28; shift += 7) {
		unsigned byte = take_byte(reader);

		number |= (size_t)(byte & 127) << shift;
		if (byte < 128) {
			return number;
		}
	}
	reader->failed = true;
	return 0;
}

static void
skip_props(struct reader *reader, int version)
{
	if (version == 5 && reader->at != reader->end) {
		size_t len = take_varint(reader);

		(void)take(reader, len);
	}
}

static void
get_publish(struct reader *reader, unsigned flags, int version, struct packet *packet)
{
	packet->dup = (flags & 8) != 0;
	packet->qos = (int)(flags >> 1 & 3);
	packet->retain = (flags & 1) != 0;
	packet->topic_len = take_short(reader);
	packet->topic = take(reader, packet->topic_len);
	if (packet->qos != 0) {
		packet->packet_id = (uint16_t)take_short(reader);
		reader->failed |= packet->packet_id == 0;
	}
	skip_props(reader, version);
	packet->payload = reader->at;
	packet->payload_len = (size_t)(reader->end - reader->at);
	reader->at = reader->end;
	reader->failed |= packet->qos == 3;
}

static void
get_list(struct reader *reader, int version, struct packet *packet)
{
	packet->packet_id = (uint16_t)take_short(reader);
	skip_props(reader, version);
	while (reader->at != reader->end) {
		unsigned reason = take_byte(reader);

		packet->reason = reason > packet->reason ? (uint8_t)reason : packet->reason;
	}
}

static void
get_body(struct reader *reader, unsigned first, int version, struct packet *packet)
{
	switch (packet->type) {
	case CONNACK:
		packet->session_present = (take_byte(reader) & 1) != 0;
		packet->reason = (uint8_t)take_byte(reader);
		skip_props(reader, version);
		break;
	case PUBLISH:
		get_publish(reader, first & 15, version, packet);
		break;
	case PUBACK:
	case PUBREC:
	case PUBREL:
	case PUBCOMP:
		packet->packet_id = (uint16_t)take_short(reader);
		if (reader->at != reader->end) {
			packet->reason = (uint8_t)take_byte(reader);
			skip_props(reader, version);
		}
		break;
	case SUBACK:
	case UNSUBACK:
		get_list(reader, version, packet);
		break;
	case DISCONNECT:
		if (reader->at != reader->end) {
			packet->reason = (uint8_t)take_byte(reader);
			skip_props(reader, version);
		}
		break;
	case PINGRESP:
		break;
	default:
		reader->failed = true; /* no broker sends that to us */
		break;
	}
}

long
get_packet(const uint8_t *data, size_t len, int version, struct packet *packet)
{
	struct reader reader = {data + 1, data + len, false};
	size_t body;

	if (len < 2) {
		return 0;
	}
	body = take_varint(&reader);
	if (reader.failed) {
		return len < 5 ? 0 : -1;
	}
	if ((size_t)(reader.end - reader.at) < body) {
		return 0;
	}
	reader.end = reader.at + body;
	*packet = (struct packet){.type = (enum packet_type)(data[0] >> 4)};
	get_body(&reader, data[0], version, packet);
	if (reader.failed || reader.at != reader.end) {
		return -1;
	}
	return reader.end - data;
}
