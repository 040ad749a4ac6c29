/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each row of the table of packets is a test case. A good packet must decode to its text, from
 * every prefix ask for more, come out of the encoder as it went in (or, where the row says so,
 * decode to the same text again), and never be touched behind its end: it lies in memory of its
 * own, so the sanitizers see a step too far.
 */
#include <stdlib.h>

#include "lib/unit.h"

#include "lib/fixture.h"
#include "lib/packet_text.h"
#include "wire/decode.h"
#include "wire/encode.h"

static const char *
status_name(enum wire_status status)
{
	return status == WIRE_DONE ? "done" : status == WIRE_MORE ? "more" : "refused";
}

static void
check_outcome(const struct fixture *fixture, const struct wire_outcome *outcome)
{
	if (outcome->status != fixture->status ||
	    (outcome->status == WIRE_REFUSED && outcome->reason != fixture->reason)) {
		print_error("want %s %02x, have %s %02x: %s\n", status_name(fixture->status),
		    fixture->reason, status_name(outcome->status), outcome->reason,
		    outcome->text != NULL ? outcome->text : "");
		fail();
	}
	if (outcome->status == WIRE_REFUSED) {
		assert_non_null(outcome->text);
	}
}

static void
check_prefixes(const struct fixture *fixture)
{
	size_t step = fixture->packet.len < 2000 ? 1 : 997;

	for (size_t len = 0; len < fixture->packet.len; len += step) {
		uint8_t *copy = malloc(len != 0 ? len : 1);
		struct wire_packet packet;
		struct wire_outcome outcome;

		if (len != 0) {
			memcpy(copy, fixture->packet.data, len);
		}
		outcome = wire_decode(&fixture->decoder, bytes_make(copy, len), &packet);
		free(copy);
		if (outcome.status != WIRE_MORE) {
			print_error("%zu bytes of %zu: %s\n", len, fixture->packet.len,
			    status_name(outcome.status));
			fail();
		}
		assert_true(outcome.size == 0 || outcome.size == fixture->packet.len);
	}
}

static void
check_text(const struct wire_packet *packet, const char *want)
{
	struct buf text;

	buf_init(&text, SIZE_MAX);
	packet_text(&text, packet);
	assert_string_equal(buf_text(&text), want);
	buf_fini(&text);
}

static void
check_encoding(const struct fixture *fixture, const struct wire_packet *packet)
{
	struct wire_encoder encoder = {.version = fixture->decoder.version,
	    .sender = fixture->decoder.receiver == WIRE_SERVER ? WIRE_CLIENT : WIRE_SERVER};
	size_t size = wire_encode(&encoder, packet, NULL, 0);
	uint8_t *copy = malloc(size != 0 ? size : 1);

	assert_int_not_equal(size, 0);
	assert_int_equal(wire_encode(&encoder, packet, copy, size), size);
	if (fixture->canonical) {
		assert_int_equal(size, fixture->packet.len);
		assert_memory_equal(copy, fixture->packet.data, size);
	} else {
		struct wire_decoder strict = fixture->decoder;
		struct wire_outcome outcome;
		struct wire_packet again;

		strict.lenient = packet->type == WIRE_PUBLISH; /* DUP of QoS 0 is kept */
		assert_true(size <= fixture->packet.len);
		outcome = wire_decode(&strict, bytes_make(copy, size), &again);
		assert_int_equal(outcome.status, WIRE_DONE);
		check_text(&again, fixture->text);
	}
	free(copy);
}

static void
test_row(void **state)
{
	const struct fixture *fixture = *state;
	struct wire_packet packet;
	struct wire_outcome outcome;

	memset(&packet, 0xa5, sizeof(packet)); /* whatever is not set shows */
	outcome = wire_decode(&fixture->decoder, fixture->packet, &packet);
	check_outcome(fixture, &outcome);
	if (outcome.status == WIRE_DONE) {
		assert_int_equal(outcome.size, fixture->packet.len);
		check_text(&packet, fixture->text);
		check_prefixes(fixture);
		check_encoding(fixture, &packet);
	}
}

int
main(void)
{
	struct fixtures fixtures = {0};
	struct CMUnitTest *tests;
	int failed;

	fixtures_load(&fixtures);
	tests = calloc(fixtures.list.count, sizeof(*tests));
	for (size_t i = 0; i < fixtures.list.count; i++) {
		tests[i].name = fixtures.list.items[i].name;
		tests[i].test_func = test_row;
		tests[i].initial_state = &fixtures.list.items[i];
	}
	failed = _cmocka_run_group_tests("wire fixtures", tests, fixtures.list.count, NULL, NULL);
	free(tests);
	fixtures_free(&fixtures);
	return failed;
}
