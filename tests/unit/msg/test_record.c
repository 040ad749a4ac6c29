/* SPDX-License-Identifier: Apache-2.0 */
/* What the store keeps of a message: there and back, and what is no record. */
#include "lib/unit.h"

#include "msg/draft.h"
#include "msg/record.h"

enum { MONO = 5000000 };
#define WALL INT64_C(1800000000000)

static struct msg *
make(void)
{
	struct msg_draft draft = {.topic = bytes_of("a/b"),
	    .payload = bytes_of("hello"),
	    .props = BYTES_LITERAL("\x01\x01\x26\0\1k\0\1v"),
	    .client_id = bytes_of("c1"),
	    .username = bytes_of("u1"),
	    .born_mono_ms = MONO - 3000,
	    .born_wall_ms = WALL - 3000,
	    .expiry_s = 10,
	    .qos = 2,
	    .flags = MSG_RETAIN | MSG_EXPIRES};

	return msg_seal(&draft);
}

static struct bytes
encode(const struct msg *msg, uint8_t out[256])
{
	assert_true(msg_record_size(msg) <= 256);
	msg_record_encode(msg, out);
	return bytes_make(out, msg_record_size(msg));
}

static enum msg_record_fault
decode(const char *topic, struct bytes rec, int64_t wall_ms, struct msg **msg_out)
{
	return msg_record_decode(bytes_of(topic), bytes_of("hello"), rec, 1000, wall_ms, msg_out);
}

static void
a_message_comes_back_as_it_was_and_older(void **state)
{
	struct msg *msg = make(), *back = NULL;
	uint32_t left;
	uint8_t memory[256];

	(void)state;
	assert_true(msg_record_expires_ms(msg) == WALL + 7000);
	assert_int_equal(decode("a/b", encode(msg, memory), WALL + 1000, &back), MSG_RECORD_OK);
	assert_bytes_text(msg_topic(back), "a/b");
	assert_bytes_text(msg_payload(back), "hello");
	assert_bytes_text(msg_client_id(back), "c1");
	assert_bytes_text(msg_username(back), "u1");
	assert_true(bytes_equal(msg_props(back), msg_props(msg)));
	assert_int_equal(back->qos, 2);
	assert_int_equal(back->flags, MSG_RETAIN | MSG_EXPIRES);
	assert_true(back->born_wall_ms == WALL - 3000);
	assert_true(back->born_mono_ms == 1000 - 4000);
	assert_true(msg_expiry_left(back, 1000, &left));
	assert_int_equal(left, 6);
	msg_unref(&back);
	msg_unref(&msg);
}

static void
a_clock_that_was_set_back_makes_nothing_younger_than_now(void **state)
{
	struct msg *msg = make(), *back = NULL;
	uint8_t memory[256];

	(void)state;
	assert_int_equal(decode("a/b", encode(msg, memory), WALL - 99999, &back), MSG_RECORD_OK);
	assert_true(back->born_mono_ms == 1000);
	msg_unref(&back);
	msg_unref(&msg);
}

static void
what_is_no_record_is_said_to_be_none(void **state)
{
	struct msg *msg = make(), *back = NULL;
	uint8_t memory[256];
	struct bytes rec = encode(msg, memory);
	size_t props = rec.len - msg->props_len;

	(void)state;
	for (size_t len = 0; len < rec.len; len++) {
		/* Cut between two properties it is one with fewer. */
		bool whole = len == props || len == props + 2;

		assert_int_equal(decode("a/b", bytes_make(memory, len), WALL, &back),
		    whole ? MSG_RECORD_OK : MSG_RECORD_DAMAGED);
		msg_unref(&back);
	}
	assert_int_equal(decode("a/+", rec, WALL, &back), MSG_RECORD_DAMAGED);
	assert_int_equal(decode("", rec, WALL, &back), MSG_RECORD_DAMAGED);
	memory[1] = 3;
	assert_int_equal(decode("a/b", rec, WALL, &back), MSG_RECORD_DAMAGED);
	memory[1] = 2;
	memory[2] |= 0x80;
	assert_int_equal(decode("a/b", rec, WALL, &back), MSG_RECORD_DAMAGED);
	memory[2] &= 0x7f;
	memory[11] |= 0x80; /* born before 1970 */
	assert_int_equal(decode("a/b", rec, WALL, &back), MSG_RECORD_DAMAGED);
	memory[11] = 0x7f; /* so late that an expiry cannot be told */
	assert_int_equal(decode("a/b", rec, WALL, &back), MSG_RECORD_DAMAGED);
	memory[11] = 0;
	memory[0] = 0;
	assert_int_equal(decode("a/b", rec, WALL, &back), MSG_RECORD_DAMAGED);
	memory[0] = 2;
	assert_int_equal(decode("a/b", rec, WALL, &back), MSG_RECORD_NEWER);
	assert_null(back);
	msg_unref(&msg);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_message_comes_back_as_it_was_and_older),
	    cmocka_unit_test(a_clock_that_was_set_back_makes_nothing_younger_than_now),
	    cmocka_unit_test(what_is_no_record_is_said_to_be_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
