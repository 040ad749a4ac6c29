/* SPDX-License-Identifier: Apache-2.0 */
#include "msg/plain.h"

#include "wire/writer.h"

static struct msg_plain
plain_of(size_t remaining)
{
	struct msg_plain plain = {0};

	if (remaining <= WIRE_MAX_REMAINING_LENGTH) {
		plain.remaining = (uint32_t)remaining;
		plain.total = 1 + wire_varint_len(plain.remaining) + remaining;
	}
	return plain;
}

struct msg_plain
msg_plain_measure(const struct msg *msg, uint8_t version, uint8_t qos)
{
	size_t remaining = (size_t)2 + msg_topic_len(msg) + (qos != 0 ? 2 : 0) + msg->payload_len;

	if (version == WIRE_V5) {
		remaining += wire_varint_len(msg->props_len) + msg->props_len;
	}
	return plain_of(remaining);
}

struct msg_plain
msg_plain_measure_draft(const struct msg_draft *draft, uint8_t version)
{
	return plain_of(2 + draft->topic.len + (version == WIRE_V5 ? 1 : 0) + draft->payload.len);
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

void
msg_plain_write_draft(
    const struct msg_draft *draft, const struct msg_plain *plain, uint8_t version, uint8_t *out)
{
	*out++ = WIRE_PUBLISH << 4;
	out = put_varint(out, plain->remaining);
	*out++ = (uint8_t)(draft->topic.len >> 8);
	*out++ = (uint8_t)draft->topic.len;
	out = put(out, draft->topic.data, draft->topic.len);
	if (version == WIRE_V5) {
		*out++ = 0; /* no properties */
	}
	if (draft->payload.len != 0) {
		(void)put(out, draft->payload.data, draft->payload.len);
	}
}
