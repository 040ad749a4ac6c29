/* SPDX-License-Identifier: Apache-2.0 */
#include "msg/plain.h"

#include "wire/writer.h"

struct msg_plain
msg_plain_measure(const struct msg *msg, uint8_t version, uint8_t qos)
{
	struct msg_plain plain = {0};
	size_t remaining = (size_t)2 + msg_topic_len(msg) + (qos != 0 ? 2 : 0) + msg->payload_len;

	if (version == WIRE_V5) {
		remaining += wire_varint_len(msg->props_len) + msg->props_len;
	}
	if (remaining <= WIRE_MAX_REMAINING_LENGTH) {
		plain.remaining = (uint32_t)remaining;
		plain.total = 1 + wire_varint_len(plain.remaining) + remaining;
	}
	return plain;
}

static uint8_t *
put_varint(uint8_t *at, uint32_t value)
{
	for (; value >= 0x80; value >>= 7) {
		*at++ = (uint8_t)(value | 0x80);
	}
	*at++ = (uint8_t)value;
	return at;
}

static uint8_t *
put(uint8_t *at, const uint8_t *data, size_t len)
{
	memcpy(at, data, len);
	return at + len;
}

void
msg_plain_write(const struct msg *msg, const struct msg_plain *plain, uint8_t version,
    uint8_t first, uint16_t packet_id, uint8_t *out)
{
	size_t topic_len = (size_t)2 + msg_topic_len(msg);
	bool has_id = (first & 6) != 0;

	*out++ = first;
	out = put_varint(out, plain->remaining);
	if (version != WIRE_V5 && msg->props_len == 0 && !has_id) {
		(void)put(out, msg->data, topic_len + msg->payload_len);
		return;
	}
	out = put(out, msg->data, topic_len);
	if (has_id) {
		*out++ = (uint8_t)(packet_id >> 8);
		*out++ = (uint8_t)packet_id;
	}
	if (version == WIRE_V5) {
		out = put_varint(out, msg->props_len);
		(void)put(out, msg->data + topic_len, (size_t)msg->props_len + msg->payload_len);
	} else {
		(void)put(out, msg->data + topic_len + msg->props_len, msg->payload_len);
	}
}
