/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: any bytes into the decoder. The first byte chooses the settings, the rest is a stream of
 * packets. Besides what the sanitizers see: an answer is one of three and complete, and cutting a
 * packet short never refuses what is good.
 */
#include <stdint.h>
#include <stdlib.h>

#include "wire/decode.h"
#include "wire/props.h"
#include "wire/quick.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

/* Walks over all that a decoded packet holds, so that a view out of bounds is touched. */
static size_t
touch(const struct wire_packet *packet)
{
	struct wire_subscription item = {0};
	struct wire_property property;
	struct bytes rest;
	size_t sum = 0;

	if (packet->type == WIRE_SUBSCRIBE) {
		uint32_t count = 0;

		for (rest = packet->subscribe.filters; wire_subscribe_next(&rest, &item); count++) {
			sum += item.filter.len != 0 ? item.filter.data[item.filter.len - 1] : 0u;
		}
		require(rest.len == 0 && count == packet->subscribe.filter_count);
	}
	if (packet->type == WIRE_PUBLISH) {
		const struct wire_publish *publish = &packet->publish;

		for (rest = publish->props.block; wire_props_next(&rest, &property);) {
			sum += property.number + property.value.len;
		}
		require(rest.len == 0);
		require(publish->payload.len == 0 || publish->payload.data != NULL);
		sum += wire_props_number(&publish->props, WIRE_TOPIC_ALIAS, 0) +
		       wire_props_bytes(&publish->props, WIRE_CORRELATION_DATA).len;
	}
	return sum;
}

static bool
is_same(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || a.data == b.data);
}

/* What is taken the quick way the other way takes, too, and to the same. */
static void
compare(const struct wire_decoder *decoder, struct bytes input)
{
	struct wire_packet quick, full;
	uint32_t size = wire_decode_quick(decoder, input, &quick);
	struct wire_outcome outcome = wire_decode_fully(decoder, input, &full);

	if (size == 0) {
		return;
	}
	require(outcome.status == WIRE_DONE && outcome.size == size && quick.type == full.type);
	if (quick.type != WIRE_PUBLISH) {
		require(quick.ack.packet_id == full.ack.packet_id &&
			quick.ack.reason == full.ack.reason);
		require(quick.ack.props.present == 0 && full.ack.props.block.len == 0);
		return;
	}
	require(quick.publish.dup == full.publish.dup && quick.publish.qos == full.publish.qos);
	require(quick.publish.retain == full.publish.retain);
	require(quick.publish.packet_id == full.publish.packet_id);
	require(is_same(quick.publish.topic, full.publish.topic));
	require(is_same(quick.publish.payload, full.publish.payload));
	require(quick.publish.props.present == 0 && full.publish.props.present == 0);
}

static struct wire_outcome
check(const struct wire_decoder *decoder, struct bytes input)
{
	struct wire_packet packet;
	struct wire_outcome outcome = wire_decode(decoder, input, &packet);

	compare(decoder, input);

	switch (outcome.status) {
	case WIRE_DONE:
		require(outcome.size != 0 && outcome.size <= input.len);
		touch(&packet);
		break;
	case WIRE_MORE:
		require(outcome.size == 0 || outcome.size > input.len);
		break;
	case WIRE_REFUSED:
		require(outcome.text != NULL && outcome.reason >= WIRE_REASON_FIRST_ERROR);
		break;
	}
	return outcome;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_decoder decoder = {0};
	struct wire_packet packet;
	struct bytes rest;

	if (size == 0) {
		return 0;
	}
	decoder.version = (uint8_t[]){0, 3, 4, 5}[*data & 3];
	decoder.receiver = *data & 4 ? WIRE_CLIENT : WIRE_SERVER;
	decoder.lenient = (*data & 8) != 0;
	decoder.allow_control = (*data & 16) != 0;
	decoder.max_packet_size = *data & 32 ? 64 : 0;
	for (rest = bytes_make(data + 1, size - 1); rest.len != 0;) {
		struct wire_outcome outcome = check(&decoder, rest);

		if (outcome.status != WIRE_DONE) {
			break;
		}
		require(
		    check(&decoder, bytes_make(rest.data, outcome.size - 1)).status == WIRE_MORE);
		(void)wire_decode(&decoder, rest, &packet);
		if (packet.type == WIRE_PUBLISH && packet.publish.topic.len != 0) {
			decoder.known_topic = packet.publish.topic; /* as peer does */
		}
		rest = bytes_skip(rest, outcome.size);
	}
	return 0;
}
