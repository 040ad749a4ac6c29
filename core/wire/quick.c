/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/quick.h"

#include "wire/props.h"
#include "wire/topic_name.h"

static uint16_t
u16_at(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* An acknowledgement of four bytes without a fault; its size, or 0. */
static uint32_t
decode_short_ack(
    const struct wire_decoder *decoder, struct bytes input, struct wire_packet *packet_out)
{
	enum { SIZE = 4 };
	uint16_t id;

	if (input.len < SIZE || input.data[1] != SIZE - 2 || decoder->version == 0 ||
	    (decoder->max_packet_size != 0 && decoder->max_packet_size < SIZE)) {
		return 0;
	}
	switch (input.data[0]) {
	case WIRE_PUBACK << 4:
	case WIRE_PUBREC << 4:
	case WIRE_PUBREL << 4 | 2:
	case WIRE_PUBCOMP << 4:
		break;
	default:
		return 0;
	}
	id = u16_at(input.data + 2);
	if (id == 0) {
		return 0;
	}
	packet_out->type = input.data[0] >> 4;
	packet_out->ack.packet_id = id;
	packet_out->ack.reason = WIRE_REASON_SUCCESS;
	wire_props_clear(&packet_out->ack.props);
	return SIZE;
}

/* A whole PUBLISH without properties and without a fault, of up to 16 KiB; its size. 0: it is none,
 * or not for certain, and the reader says what it is. */
static uint32_t
decode_plain_publish(
    const struct wire_decoder *decoder, struct bytes input, struct wire_packet *packet_out)
{
	struct wire_publish *publish = &packet_out->publish;
	bool has_props = decoder->version == WIRE_V5, has_id;
	uint32_t length, size, head;
	const uint8_t *at;
	uint8_t first;

	if (input.len < 3) {
		return 0;
	}
	first = input.data[0];
	if (decoder->version == 0 || first >> 4 != WIRE_PUBLISH || (first & 6) == 6 ||
	    (first & 0xe) == 8) {
		return 0;
	}
	length = input.data[1];
	at = input.data + 2;
	if (length >= 0x80) {
		if (*at == 0 || *at >= 0x80) {
			return 0;
		}
		length = (length & 0x7f) | (uint32_t)*at++ << 7;
	}
	has_id = (first & 6) != 0;
	head = 2U + (has_id ? 2U : 0U) + (has_props ? 1U : 0U);
	size = (uint32_t)(at - input.data) + length;
	if (length < head || input.len < size ||
	    (decoder->max_packet_size != 0 && size > decoder->max_packet_size)) {
		return 0;
	}
	publish->topic = bytes_make(at + 2, u16_at(at));
	if (publish->topic.len == 0 || publish->topic.len > length - head ||
	    (!bytes_equal(publish->topic, decoder->known_topic) &&
		wire_topic_name_check(publish->topic, decoder->allow_control) != WIRE_TOPIC_OK)) {
		return 0;
	}
	at = publish->topic.data + publish->topic.len;
	publish->packet_id = has_id ? u16_at(at) : 0;
	if (has_id && publish->packet_id == 0) {
		return 0;
	}
	at += has_id ? 2 : 0;
	if (has_props && *at++ != 0) {
		return 0;
	}
	packet_out->type = WIRE_PUBLISH;
	publish->dup = (first & 8) != 0;
	publish->qos = first >> 1 & 3;
	publish->retain = (first & 1) != 0;
	wire_props_clear(&publish->props);
	publish->payload = bytes_make(at, (size_t)(input.data + size - at));
	return size;
}

uint32_t
wire_decode_quick(
    const struct wire_decoder *decoder, struct bytes input, struct wire_packet *packet_out)
{
	uint32_t size = decode_plain_publish(decoder, input, packet_out);

	return size != 0 ? size : decode_short_ack(decoder, input, packet_out);
}
