/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "wire/props.h"
#include "wire/reason.h"

/* One of each kind, made by the writer. */
static size_t
make_block(uint8_t *out, size_t room)
{
	struct wire_writer writer = wire_writer_of(out, room);

	wire_write_prop_number(&writer, WIRE_PAYLOAD_FORMAT_INDICATOR, 1);
	wire_write_user_property(&writer, bytes_of("k"), bytes_of("v1"));
	wire_write_prop_number(&writer, WIRE_MESSAGE_EXPIRY_INTERVAL, 0x01020304);
	wire_write_prop_number(&writer, WIRE_SUBSCRIPTION_IDENTIFIER, 300);
	wire_write_prop_bytes(&writer, WIRE_CONTENT_TYPE, bytes_of("text/plain"));
	wire_write_prop_bytes(&writer, WIRE_CORRELATION_DATA, BYTES_LITERAL("\0\1"));
	wire_write_prop_number(&writer, WIRE_TOPIC_ALIAS, 7);
	wire_write_user_property(&writer, bytes_of("k"), bytes_of("v2"));
	assert_true(wire_writer_fits(&writer));
	return writer.len;
}

static void
check_values(const struct wire_props *props)
{
	assert_int_equal(wire_props_number(props, WIRE_PAYLOAD_FORMAT_INDICATOR, 9), 1);
	assert_int_equal(wire_props_number(props, WIRE_MESSAGE_EXPIRY_INTERVAL, 9), 0x01020304);
	assert_int_equal(wire_props_number(props, WIRE_SUBSCRIPTION_IDENTIFIER, 9), 300);
	assert_int_equal(wire_props_number(props, WIRE_TOPIC_ALIAS, 9), 7);
	assert_int_equal(wire_props_number(props, WIRE_RECEIVE_MAXIMUM, 65535), 65535);
	assert_bytes_text(wire_props_bytes(props, WIRE_CONTENT_TYPE), "text/plain");
	assert_int_equal(wire_props_bytes(props, WIRE_CORRELATION_DATA).len, 2);
	assert_int_equal(wire_props_bytes(props, WIRE_RESPONSE_TOPIC).len, 0);
	assert_true(wire_props_has(props, WIRE_USER_PROPERTY));
	assert_false(wire_props_has(props, WIRE_RESPONSE_TOPIC));
}

static void
what_was_written_is_found_again(void **state)
{
	uint8_t memory[128];
	struct bytes block = {memory + 1, make_block(memory + 1, sizeof(memory) - 1)};
	struct wire_props props;
	struct wire_reader reader;

	(void)state;
	assert_true(wire_props_index(&props, block));
	check_values(&props);
	memory[0] = (uint8_t)block.len;
	reader = wire_reader_of(bytes_make(memory, block.len + 1));
	memset(&props, 0xa5, sizeof(props));
	wire_props_decode(&reader, WIRE_PUBLISH, WIRE_SERVER, &props);
	assert_false(wire_reader_failed(&reader));
	assert_int_equal(wire_reader_left(&reader), 0);
	check_values(&props);
}

static void
walking_keeps_order_and_repetition(void **state)
{
	uint8_t memory[128];
	struct bytes block = {memory, make_block(memory, sizeof(memory))};
	static const uint8_t ids[] = {0x01, 0x26, 0x02, 0x0b, 0x03, 0x09, 0x23, 0x26};
	struct wire_property property;

	(void)state;
	for (size_t i = 0; i < sizeof(ids); i++) {
		assert_true(wire_props_next(&block, &property));
		assert_int_equal(property.id, ids[i]);
	}
	assert_bytes_text(property.value, "k");
	assert_bytes_text(property.second, "v2");
	assert_false(wire_props_next(&block, &property));
}

/* wire_props_next is for checked blocks; on another it must still end, within the block. */
static void
walking_a_broken_block_ends(void **state)
{
	struct bytes unknown = BYTES_LITERAL("\x7f\x01");
	struct bytes cut = BYTES_LITERAL("\x26\0\1k\0\5v");
	struct wire_property property;
	struct wire_props props;

	(void)state;
	assert_false(wire_props_next(&unknown, &property));
	assert_false(wire_props_next(&cut, &property));
	assert_false(wire_props_index(&props, BYTES_LITERAL("\x7f\x01")));
	assert_int_equal(props.present, 0);
	assert_true(wire_props_index(&props, bytes_of("")));
}

static void
the_first_of_several_is_the_one_that_is_asked_for(void **state)
{
	const struct bytes block = BYTES_LITERAL("\x0b\x05\x0b\x87\x00\x0b\x09");
	struct wire_reader reader = wire_reader_of(block);
	struct wire_props props;

	(void)state;
	memset(&props, 0xa5, sizeof(props));
	assert_true(wire_props_index(&props, block));
	assert_int_equal(wire_props_number(&props, WIRE_SUBSCRIPTION_IDENTIFIER, 0), 5);
	reader.lenient = true;
	memset(&props, 0xa5, sizeof(props));
	wire_props_check(&reader, WIRE_PUBLISH, WIRE_SERVER, &props);
	assert_false(wire_reader_failed(&reader));
	assert_int_equal(wire_props_number(&props, WIRE_SUBSCRIPTION_IDENTIFIER, 0), 5);
	assert_int_equal(wire_props_bytes(&props, WIRE_CONTENT_TYPE).len, 0);
}

static void
a_padded_number_is_read_as_it_was_accepted(void **state)
{
	struct wire_props props;

	(void)state;
	assert_true(wire_props_index(&props, BYTES_LITERAL("\x0b\x87\x80\x00")));
	assert_int_equal(wire_props_number(&props, WIRE_SUBSCRIPTION_IDENTIFIER, 0), 7);
}

/* As an interceptor's answer is checked: there is no length in front. */
static void
a_bare_block_is_checked_like_a_received_one(void **state)
{
	static const struct {
		struct bytes block;
		uint8_t reason;
	} rows[] = {
	    {{(const uint8_t *)"\x01\x01\x26\0\1k\0\1v", 9}, 0},
	    {{NULL, 0}, 0},
	    {{(const uint8_t *)"\x01\x02", 2}, WIRE_REASON_PROTOCOL_ERROR},
	    {{(const uint8_t *)"\x0b\x02", 2}, WIRE_REASON_PROTOCOL_ERROR},
	    {{(const uint8_t *)"\x21\0\1", 3}, WIRE_REASON_MALFORMED_PACKET},
	    {{(const uint8_t *)"\x26\0\1k\0\5v", 7}, WIRE_REASON_MALFORMED_PACKET},
	    {{(const uint8_t *)"\x08\0\1+", 4}, WIRE_REASON_PROTOCOL_ERROR},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct wire_reader reader = wire_reader_of(rows[i].block);
		struct wire_props props;

		wire_props_check(&reader, WIRE_PUBLISH, WIRE_CLIENT, &props);
		assert_int_equal(wire_reader_failed(&reader), rows[i].reason != 0);
		assert_int_equal(reader.reason, rows[i].reason);
	}
}

static void
a_padded_identifier_is_indexed_where_its_value_is(void **state)
{
	struct wire_props props;

	(void)state;
	assert_true(wire_props_index(&props, BYTES_LITERAL("\xa3\x00\x00\x09")));
	assert_int_equal(wire_props_number(&props, WIRE_TOPIC_ALIAS, 0), 9);
}

static void
names_and_types_come_from_one_table(void **state)
{
	int known = 0;

	(void)state;
	for (uint32_t id = 0; id < 256; id++) {
		assert_int_equal(wire_prop_name(id) != NULL, wire_prop_type(id) != WIRE_PROP_NONE);
		known += wire_prop_name(id) != NULL;
	}
	assert_int_equal(known, 27);
	assert_string_equal(wire_prop_name(WIRE_SERVER_KEEP_ALIVE), "server_keep_alive");
	assert_int_equal(wire_prop_type(WIRE_USER_PROPERTY), WIRE_PROP_PAIR);
}

static void
reasons_have_names_and_return_codes(void **state)
{
	static const struct {
		uint8_t reason;
		int code;
	} rows[] = {{0x00, 0}, {0x84, 1}, {0x85, 2}, {0x88, 3}, {0x89, 3}, {0x97, 3}, {0x9c, 3},
	    {0x9d, 3}, {0x9f, 3}, {0x86, 4}, {0x87, 5}, {0x8a, 5}, {0x8c, 5}, {0x9a, 5}, {0x9b, 5}};
	int named = 0, mapped = 0;

	(void)state;
	for (int code = 0; code < 256; code++) {
		named += strcmp(wire_reason_name((uint8_t)code), "unknown reason") != 0;
		mapped += wire_reason_to_return_code((uint8_t)code) != -1;
	}
	assert_int_equal(named, 43);
	assert_int_equal(mapped, sizeof(rows) / sizeof(*rows));
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(wire_reason_to_return_code(rows[i].reason), rows[i].code);
	}
	for (uint8_t code = 0; code <= 5; code++) {
		uint8_t reason = (uint8_t)wire_reason_of_return_code(code);

		assert_int_equal(wire_reason_to_return_code(reason), code);
	}
	assert_int_equal(wire_reason_of_return_code(6), -1);
	assert_false(wire_reason_is_allowed(WIRE_PUBLISH, WIRE_CLIENT, 0));
	assert_false(wire_reason_is_allowed(WIRE_PUBACK, WIRE_CLIENT, 0x50));
	assert_false(wire_reason_is_allowed(WIRE_PUBACK, WIRE_CLIENT, 0xd0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_written_is_found_again),
	    cmocka_unit_test(walking_keeps_order_and_repetition),
	    cmocka_unit_test(walking_a_broken_block_ends),
	    cmocka_unit_test(the_first_of_several_is_the_one_that_is_asked_for),
	    cmocka_unit_test(a_padded_number_is_read_as_it_was_accepted),
	    cmocka_unit_test(a_bare_block_is_checked_like_a_received_one),
	    cmocka_unit_test(a_padded_identifier_is_indexed_where_its_value_is),
	    cmocka_unit_test(names_and_types_come_from_one_table),
	    cmocka_unit_test(reasons_have_names_and_return_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
