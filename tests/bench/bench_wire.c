/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Benchmark: what decoding and encoding cost. Prints nanoseconds per packet, the best and the
 * median of nine rounds, as one line of JSON per case. With a count as argument it does just that
 * many packets of one case and prints nothing: for callgrind, where the difference of two counts is
 * what one packet takes (./dev bench).
 *
 *     bench_wire            all cases
 *     bench_wire CASE N     N packets of case number CASE
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "msg/draft.h"
#include "wire/decode.h"
#include "wire/encode.h"
#include "wire/props.h"

enum { ROUNDS = 9, PACKETS = 1000000 };

struct bench {
	const char *name;
	uint8_t version;
	uint8_t qos;
	bool props;
	bool seal; /* from the decoded packet to a sealed message and from that to the bytes */
};

static const struct bench benches[] = {
    {"3.1.1 QoS 0, decode and encode", WIRE_V311, 0, false, false},
    {"3.1.1 QoS 1, decode and encode", WIRE_V311, 1, false, false},
    {"5.0 QoS 0, decode and encode", WIRE_V5, 0, false, false},
    {"5.0 QoS 1 with 5 properties, decode and encode", WIRE_V5, 1, true, false},
    {"3.1.1 QoS 0, decode, seal and encode", WIRE_V311, 0, false, true},
    {"5.0 QoS 1 with 5 properties, decode, seal and encode", WIRE_V5, 1, true, true},
};

static uint8_t packet_bytes[512];
static size_t packet_len;
static volatile uint64_t sink;

/* A PUBLISH of 64 bytes of payload to a topic as sensors have it. */
static void
make_packet(const struct bench *bench)
{
	static const uint8_t payload[64] = {1, 2, 3};
	struct wire_encoder encoder = {.version = bench->version};
	struct wire_packet packet = {.type = WIRE_PUBLISH};
	uint8_t block[128];
	struct wire_writer writer = wire_writer_of(block, sizeof(block));

	packet.publish.topic = bytes_of("building/7/floor/3/room/12/temperature");
	packet.publish.payload = bytes_make(payload, sizeof(payload));
	packet.publish.qos = bench->qos;
	packet.publish.packet_id = bench->qos != 0 ? 77 : 0;
	if (bench->props) {
		wire_write_prop_number(&writer, WIRE_PAYLOAD_FORMAT_INDICATOR, 1);
		wire_write_prop_number(&writer, WIRE_MESSAGE_EXPIRY_INTERVAL, 3600);
		wire_write_prop_bytes(&writer, WIRE_CONTENT_TYPE, bytes_of("text/plain"));
		wire_write_user_property(&writer, bytes_of("unit"), bytes_of("celsius"));
		wire_write_user_property(&writer, bytes_of("site"), bytes_of("b7"));
	}
	packet.publish.props.block = bytes_make(block, writer.len);
	packet_len = wire_encode(&encoder, &packet, packet_bytes, sizeof(packet_bytes));
}

static void
encode(const struct bench *bench, struct wire_publish_head *head, struct bytes payload)
{
	uint8_t out[512];
	struct wire_publish_size size;

	head->version = bench->version;
	head->qos = bench->qos;
	head->packet_id = bench->qos != 0 ? 78 : 0;
	size = wire_publish_measure(head);
	wire_publish_write(head, &size, out);
	memcpy(out + size.head, payload.data, payload.len);
	sink += out[size.total - 1];
}

static void
run_once(const struct bench *bench, const struct wire_decoder *decoder)
{
	struct wire_publish_head head = {0};
	struct wire_packet packet;
	struct msg_draft draft;
	struct msg *msg;

	if (wire_decode(decoder, bytes_make(packet_bytes, packet_len), &packet).status !=
	    WIRE_DONE) {
		abort();
	}
	if (!bench->seal) {
		head.topic = packet.publish.topic;
		head.props = packet.publish.props.block;
		head.payload_len = packet.publish.payload.len;
		encode(bench, &head, packet.publish.payload);
		return;
	}
	msg_draft_of_publish(&draft, &packet.publish);
	msg = msg_seal(&draft);
	msg_start_head(msg, &head);
	encode(bench, &head, msg_payload(msg));
	msg_unref(&msg);
}

static void
run(const struct bench *bench, long count)
{
	const struct wire_decoder decoder = {.version = bench->version, .receiver = WIRE_SERVER};

	for (long i = 0; i < count; i++) {
		run_once(bench, &decoder);
	}
}

static int
compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return left < right ? -1 : left > right;
}

static void
measure(const struct bench *bench)
{
	double ns[ROUNDS];

	make_packet(bench);
	run(bench, PACKETS / 10);
	for (int i = 0; i < ROUNDS; i++) {
		struct timespec before, after;

		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
		run(bench, PACKETS);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
		ns[i] = ((double)(after.tv_sec - before.tv_sec) * 1e9 +
			    (double)(after.tv_nsec - before.tv_nsec)) /
			PACKETS;
	}
	qsort(ns, ROUNDS, sizeof(*ns), compare);
	printf("{\"case\":\"%s\",\"bytes\":%zu,\"ns_best\":%.1f,\"ns_median\":%.1f}\n", bench->name,
	    packet_len, ns[0], ns[ROUNDS / 2]);
}

int
main(int argc, char **argv)
{
	const size_t count = sizeof(benches) / sizeof(*benches);

	if (argc == 3) {
		const struct bench *bench = &benches[(size_t)atoi(argv[1]) % count];

		make_packet(bench);
		run(bench, atol(argv[2]));
		return 0;
	}
	for (size_t i = 0; i < count; i++) {
		measure(&benches[i]);
	}
	return 0;
}
