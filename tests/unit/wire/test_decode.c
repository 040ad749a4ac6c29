/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the table of packets cannot say: streams of packets, what is set and what is not, memory of
 * the exact size.
 */
#include <stdlib.h>

#include "lib/unit.h"

#include "wire/decode.h"
#include "wire/props.h"

/* Decodes from memory of just that size, into a struct full of rubbish. */
static struct wire_outcome
decode(const struct wire_decoder *decoder, struct bytes input, struct wire_packet *packet)
{
	uint8_t *copy = malloc(input.len != 0 ? input.len : 1);
	struct wire_outcome outcome;

	memset(packet, 0xa5, sizeof(*packet));
	if (input.len != 0) {
		memcpy(copy, input.data, input.len);
	}
	outcome = wire_decode(decoder, bytes_make(copy, input.len), packet);
	free(copy);
	return outcome;
}

static void
packets_in_a_row_are_taken_one_by_one(void **state)
{
	static const char stream[] = "\x30\x04\0\1a1"
				     "\x30\x03\0\1b"
				     "\xc0\0"
				     "\x40\x02\0\7"
				     "\xc0";
	static const uint8_t types[] = {WIRE_PUBLISH, WIRE_PUBLISH, WIRE_PINGREQ, WIRE_PUBACK};
	const struct wire_decoder decoder = {.version = WIRE_V311, .receiver = WIRE_SERVER};
	struct bytes rest = bytes_make(stream, sizeof(stream) - 1);
	struct wire_packet packet;
	struct wire_outcome outcome;

	(void)state;
	for (size_t i = 0; i < sizeof(types); i++) {
		outcome = wire_decode(&decoder, rest, &packet);
		assert_int_equal(outcome.status, WIRE_DONE);
		assert_int_equal(packet.type, types[i]);
		if (i == 0) {
			assert_bytes_text(packet.publish.payload, "1");
		} else if (i == 1) {
			assert_int_equal(packet.publish.payload.len, 0);
		}
		rest = bytes_skip(rest, outcome.size);
	}
	outcome = wire_decode(&decoder, rest, &packet);
	assert_int_equal(outcome.status, WIRE_MORE);
	assert_int_equal(outcome.size, 0);
}

/* How a refused CONNECT is answered depends on the version it speaks. */
static void
a_refused_connect_tells_what_it_is_as_soon_as_that_is_known(void **state)
{
	static const struct {
		struct bytes input;
		uint8_t version, level;
		bool is_mqtt;
	} rows[] = {
	    {{(const uint8_t *)"\x10\x0d\0\4MQTT\5\3\0\x3c\0\0\0", 15}, 5, 5, true},
	    {{(const uint8_t *)"\x10\x0d\0\4MQTT\6\2\0\x3c\0\1a", 15}, 0, 6, true},
	    {{(const uint8_t *)"\x10\x0d\0\4MQTT\x85\2\0\x3c\0\1a", 15}, 0, 0x85, true},
	    {{(const uint8_t *)"\x10\x0d\0\4MQXX\4\2\0\x3c\0\1a", 15}, 0, 4, false},
	    {{(const uint8_t *)"\x10\x0f\0\6MQIsdp\4\2\0\x3c\0\1a", 17}, 0, 4, true},
	    {{(const uint8_t *)"\x10\x05\0\4MQT", 7}, 0, 0, false},
	    {{(const uint8_t *)"\x11", 1}, 0, 0, false},
	};
	const struct wire_decoder decoder = {.receiver = WIRE_SERVER};
	struct wire_packet packet;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(decode(&decoder, rows[i].input, &packet).status, WIRE_REFUSED);
		assert_int_equal(packet.type, WIRE_CONNECT);
		assert_int_equal(packet.connect.version, rows[i].version);
		assert_int_equal(packet.connect.level, rows[i].level);
		assert_int_equal(packet.connect.is_mqtt, rows[i].is_mqtt);
	}
}

static void
a_connect_that_is_too_large_tells_its_version_if_that_is_there(void **state)
{
	const struct wire_decoder decoder = {.receiver = WIRE_SERVER, .max_packet_size = 20};
	struct wire_packet packet;
	struct wire_outcome outcome =
	    decode(&decoder, BYTES_LITERAL("\x10\x7f\0\4MQTT\5\2"), &packet);

	(void)state;
	assert_int_equal(outcome.reason, WIRE_REASON_PACKET_TOO_LARGE);
	assert_int_equal(outcome.size, 0);
	assert_int_equal(packet.connect.version, WIRE_V5);
	outcome = decode(&decoder, BYTES_LITERAL("\x10\x7f\0\4MQT"), &packet);
	assert_int_equal(outcome.reason, WIRE_REASON_PACKET_TOO_LARGE);
	assert_int_equal(packet.connect.version, 0);
	assert_int_equal(packet.connect.level, 0);
}

static void
the_first_packet_must_be_connect(void **state)
{
	const struct wire_decoder decoder = {.version = 0, .receiver = WIRE_SERVER};
	struct wire_packet packet;
	struct wire_outcome outcome = decode(&decoder, BYTES_LITERAL("\xc0"), &packet);

	(void)state;
	assert_int_equal(outcome.status, WIRE_REFUSED);
	assert_int_equal(outcome.reason, WIRE_REASON_PROTOCOL_ERROR);
	assert_int_equal(packet.type, WIRE_PINGREQ);
	outcome = decode(&decoder, BYTES_LITERAL("\x10\x0d\0\4MQTT\4\2\0\x3c\0\1a"), &packet);
	assert_int_equal(outcome.status, WIRE_DONE);
}

static void
a_type_that_is_none_is_told_as_0(void **state)
{
	const struct wire_decoder decoder = {.version = WIRE_V5, .receiver = WIRE_SERVER};
	struct wire_packet packet;

	(void)state;
	assert_int_equal(decode(&decoder, BYTES_LITERAL("\x00"), &packet).status, WIRE_REFUSED);
	assert_int_equal(packet.type, 0);
	assert_int_equal(decode(&decoder, bytes_of(""), &packet).status, WIRE_MORE);
	assert_int_equal(packet.type, 0);
	assert_int_equal(decode(&decoder, BYTES_LITERAL("\x30"), &packet).status, WIRE_MORE);
	assert_int_equal(packet.type, WIRE_PUBLISH);
}

static void
what_is_not_there_is_empty_and_not_rubbish(void **state)
{
	const struct wire_decoder v311 = {.version = WIRE_V311, .receiver = WIRE_SERVER};
	const struct wire_decoder v5 = {.version = WIRE_V5, .receiver = WIRE_SERVER};
	struct wire_packet packet;

	(void)state;
	decode(&v311, BYTES_LITERAL("\x30\x03\0\1a"), &packet);
	assert_int_equal(packet.publish.packet_id, 0);
	assert_false(wire_props_has(&packet.publish.props, WIRE_TOPIC_ALIAS));
	assert_int_equal(packet.publish.props.block.len, 0);
	decode(&v5, BYTES_LITERAL("\x40\x02\0\1"), &packet);
	assert_int_equal(packet.ack.reason, 0);
	assert_false(wire_props_has(&packet.ack.props, WIRE_REASON_STRING));
	decode(&v311, BYTES_LITERAL("\x10\x0d\0\4MQTT\4\2\0\x3c\0\1a"), &packet);
	assert_int_equal(packet.connect.will.topic.len, 0);
	assert_int_equal(packet.connect.will.payload.len, 0);
	assert_int_equal(packet.connect.will.props.present, 0);
	assert_int_equal(packet.connect.username.len, 0);
	assert_int_equal(packet.connect.password.len, 0);
	assert_int_equal(packet.connect.props.present, 0);
}

static void
filters_are_counted(void **state)
{
	const struct wire_decoder decoder = {.version = WIRE_V311, .receiver = WIRE_SERVER};
	struct wire_packet packet;

	(void)state;
	decode(&decoder, BYTES_LITERAL("\x82\x0a\0\1\0\1a\0\0\1b\1"), &packet);
	assert_int_equal(packet.subscribe.filter_count, 2);
	decode(&decoder, BYTES_LITERAL("\xa2\x05\0\1\0\1a"), &packet);
	assert_int_equal(packet.subscribe.filter_count, 1);
}

/* A list of filters that is not checked ends where it breaks. */
static void
walking_broken_filters_ends(void **state)
{
	struct bytes cut = BYTES_LITERAL("\0\5ab"), bare = BYTES_LITERAL("\0\1a");
	struct wire_subscription item;
	struct bytes filter;

	(void)state;
	assert_false(wire_unsubscribe_next(&cut, &filter));
	assert_false(wire_subscribe_next(&bare, &item));
}

/* The short way of acknowledgements says what the long one does: a byte more takes that. */
static void
short_acknowledgements_are_as_the_long_ones(void **state)
{
	const struct wire_decoder decoders[] = {
	    {.version = WIRE_V311, .receiver = WIRE_SERVER},
	    {.version = WIRE_V5, .receiver = WIRE_SERVER},
	    {.version = WIRE_V5, .receiver = WIRE_CLIENT, .max_packet_size = 4},
	    {.version = WIRE_V5, .receiver = WIRE_SERVER, .max_packet_size = 3},
	    {.version = 0, .receiver = WIRE_SERVER},
	};
	/* Of each: is 40 02 00 07 taken? */
	static const bool takes[] = {true, true, true, false, false};

	(void)state;
	for (size_t d = 0; d < sizeof(decoders) / sizeof(decoders[0]); d++) {
		for (unsigned first = 0; first < 256; first++) {
			uint8_t packet[] = {(uint8_t)first, 2, 0, 7},
				nobodys[] = {(uint8_t)first, 2, 0, 0};
			bool is_ack =
			    first == 0x40 || first == 0x50 || first == 0x62 || first == 0x70;
			struct wire_packet got;
			struct wire_outcome outcome =
			    decode(&decoders[d], bytes_make(packet, sizeof(packet)), &got);

			if (!is_ack) {
				continue;
			}
			if (!takes[d]) {
				assert_int_equal(outcome.status, WIRE_REFUSED);
				continue;
			}
			assert_int_equal(outcome.status, WIRE_DONE);
			assert_int_equal(outcome.size, 4);
			assert_int_equal(got.type, first >> 4);
			assert_int_equal(got.ack.packet_id, 7);
			assert_int_equal(got.ack.reason, 0);
			assert_int_equal(got.ack.props.present, 0);
			assert_int_equal(got.ack.props.block.len, 0);
			outcome = decode(&decoders[d], bytes_make(nobodys, sizeof(nobodys)), &got);
			assert_int_equal(outcome.status, WIRE_REFUSED);
			assert_int_equal(outcome.reason, WIRE_REASON_PROTOCOL_ERROR);
			outcome = decode(&decoders[d], bytes_make(packet, 3), &got);
			assert_int_equal(outcome.status, WIRE_MORE);
		}
	}
}

/* Flags of acknowledgements that are wrong are so on the short way, too. */
static void
short_acknowledgements_with_wrong_flags_are_refused(void **state)
{
	const struct wire_decoder decoder = {.version = WIRE_V5, .receiver = WIRE_SERVER};
	static const uint8_t firsts[] = {0x41, 0x42, 0x52, 0x58, 0x60, 0x66, 0x72, 0x7f};

	(void)state;
	for (size_t i = 0; i < sizeof(firsts); i++) {
		uint8_t packet[] = {firsts[i], 2, 0, 7};
		struct wire_packet got;

		assert_int_equal(
		    decode(&decoder, bytes_make(packet, 4), &got).status, WIRE_REFUSED);
	}
}

static void
a_topic_that_is_known_is_not_checked_again(void **state)
{
	struct wire_decoder decoder = {.version = WIRE_V311, .receiver = WIRE_SERVER};
	struct wire_packet got;

	(void)state;
	assert_int_equal(
	    decode(&decoder, BYTES_LITERAL("\x30\x05\0\3a/+"), &got).status, WIRE_REFUSED);
	/* Which is how one sees that it is not. */
	decoder.known_topic = bytes_of("a/+");
	assert_int_equal(
	    decode(&decoder, BYTES_LITERAL("\x30\x05\0\3a/+"), &got).status, WIRE_DONE);
	assert_int_equal(
	    decode(&decoder, BYTES_LITERAL("\x30\x05\0\3b/+"), &got).status, WIRE_REFUSED);
	assert_int_equal(
	    decode(&decoder, BYTES_LITERAL("\x30\x06\0\4a/+b"), &got).status, WIRE_REFUSED);
	assert_int_equal(
	    decode(&decoder, BYTES_LITERAL("\x30\x04\0\2/+"), &got).status, WIRE_REFUSED);
	/* No topic is none. */
	decoder.known_topic = (struct bytes){0};
	assert_int_equal(
	    decode(&decoder, BYTES_LITERAL("\x30\x02\0\0"), &got).status, WIRE_REFUSED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(packets_in_a_row_are_taken_one_by_one),
	    cmocka_unit_test(a_refused_connect_tells_what_it_is_as_soon_as_that_is_known),
	    cmocka_unit_test(a_connect_that_is_too_large_tells_its_version_if_that_is_there),
	    cmocka_unit_test(the_first_packet_must_be_connect),
	    cmocka_unit_test(a_type_that_is_none_is_told_as_0),
	    cmocka_unit_test(what_is_not_there_is_empty_and_not_rubbish),
	    cmocka_unit_test(filters_are_counted),
	    cmocka_unit_test(walking_broken_filters_ends),
	    cmocka_unit_test(short_acknowledgements_are_as_the_long_ones),
	    cmocka_unit_test(short_acknowledgements_with_wrong_flags_are_refused),
	    cmocka_unit_test(a_topic_that_is_known_is_not_checked_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
