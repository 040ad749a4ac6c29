/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: what the decoder takes, the encoder says again, and it means the same: never longer,
 * accepted by a strict decoder, equal as text. A PUBLISH also goes through a draft and a sealed
 * message and comes out of its parts.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "lib/packet_text.h"
#include "msg/draft.h"
#include "wire/decode.h"
#include "wire/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

static void
require_equal_text(const struct wire_packet *a, const struct wire_packet *b)
{
	struct buf left, right;

	buf_init(&left, SIZE_MAX);
	buf_init(&right, SIZE_MAX);
	packet_text(&left, a);
	packet_text(&right, b);
	require(bytes_equal(buf_bytes(&left), buf_bytes(&right)));
	buf_fini(&left);
	buf_fini(&right);
}

static void
round_trip(struct wire_decoder decoder, const struct wire_packet *packet, size_t original_size)
{
	struct wire_encoder encoder = {.version = decoder.version,
	    .sender = decoder.receiver == WIRE_SERVER ? WIRE_CLIENT : WIRE_SERVER};
	size_t size = wire_encode(&encoder, packet, NULL, 0);
	uint8_t *out = mem_alloc(size);
	struct wire_packet again;

	require(size != 0 && size <= original_size);
	require(wire_encode(&encoder, packet, out, size) == size);
	decoder.lenient = packet->type == WIRE_PUBLISH && packet->publish.dup;
	require(wire_decode(&decoder, bytes_make(out, size), &again).status == WIRE_DONE);
	require_equal_text(packet, &again);
	mem_free(&out);
}

/* To a subscriber of MQTT 5 without alias, expiry or identifiers. */
static void
deliver(const struct wire_publish *publish)
{
	const struct wire_decoder decoder = {
	    .version = WIRE_V5, .receiver = WIRE_CLIENT, .allow_control = true};
	struct wire_publish_head head;
	struct wire_publish_size size;
	struct wire_packet packet;
	struct msg_draft draft;
	struct msg *msg;
	uint8_t *out;

	msg_draft_of_publish(&draft, publish);
	if (publish->dup) {
		require(msg_draft_own(&draft) == 0);
	}
	msg = msg_seal(&draft);
	require(msg != NULL);
	msg_start_head(msg, &head);
	head.version = WIRE_V5;
	size = wire_publish_measure(&head);
	out = mem_alloc(size.total);
	wire_publish_write(&head, &size, out);
	memcpy(out + size.head, msg_payload(msg).data, msg->payload_len);
	if (publish->topic.len != 0) {
		require(wire_decode(&decoder, bytes_make(out, size.total), &packet).status ==
			WIRE_DONE);
		require(bytes_equal(packet.publish.payload, publish->payload));
		require(bytes_equal(packet.publish.topic, publish->topic));
	}
	mem_free(&out);
	msg_unref(&msg);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_decoder decoder = {.allow_control = true};
	struct wire_outcome outcome;
	struct wire_packet packet;

	if (size == 0) {
		return 0;
	}
	decoder.version = (uint8_t[]){3, 4, 5, 5}[*data & 3];
	decoder.receiver = *data & 4 ? WIRE_CLIENT : WIRE_SERVER;
	decoder.lenient = (*data & 8) != 0;
	outcome = wire_decode(&decoder, bytes_make(data + 1, size - 1), &packet);
	if (outcome.status == WIRE_DONE) {
		round_trip(decoder, &packet, outcome.size);
		if (packet.type == WIRE_PUBLISH) {
			deliver(&packet.publish);
		}
	}
	return 0;
}
