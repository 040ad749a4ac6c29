/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/transport/ws_kit.h"

#include <stdlib.h>

#include "base/mem.h"
#include "transport/ws_frame.h"

/* What came of some input. */
struct result {
	struct buf payload;
	struct buf pings; /* their payloads, each with a bar behind it */
	enum ws_found found;
	struct ws_event event;
	bool owns_window;
};

static struct buf input;
static struct result result;
static bool is_client;

static void
feed(struct ws_decoder *decoder, struct bytes part)
{
	uint8_t *memory = mem_alloc(part.len);
	struct ws_cursor cursor = {.memory = memory, .end = part.len};

	if (part.len != 0) {
		memcpy(memory, part.data, part.len);
	}
	while ((result.found = ws_decode(decoder, &cursor, &result.event)) == WS_FOUND_PING) {
		buf_append_bytes(&result.pings, result.event.payload);
		buf_append_byte(&result.pings, '|');
	}
	assert_true(cursor.out <= cursor.in && cursor.in <= cursor.end);
	buf_append(&result.payload, memory, cursor.out);
	mem_free(&memory);
}

/* The input in parts of `first` bytes and then of `size`. */
static void
run(size_t first, size_t size)
{
	struct ws_decoder decoder = {.is_client = is_client};
	struct bytes rest = buf_bytes(&input);

	buf_clear(&result.payload);
	buf_clear(&result.pings);
	result.found = WS_FOUND_MORE;
	while (rest.len != 0 && result.found == WS_FOUND_MORE) {
		size_t len = first < rest.len ? first : rest.len;

		feed(&decoder, bytes_make(rest.data, len));
		rest = bytes_skip(rest, len);
		first = size;
	}
	result.owns_window = decoder.window != NULL;
	ws_decoder_fini(&decoder);
}

static void
expect(const char *payload, const char *pings, enum ws_found found, unsigned code)
{
	assert_bytes_text(buf_bytes(&result.payload), payload);
	assert_bytes_text(buf_bytes(&result.pings), pings);
	assert_int_equal(result.found, found);
	if (found == WS_FOUND_FAULT || found == WS_FOUND_CLOSE) {
		assert_int_equal(result.event.code, code);
	}
}

/* However the input is cut, the same comes out. */
static void
check(const char *payload, const char *pings, enum ws_found found, unsigned code)
{
	for (size_t first = 1; first <= input.len; first++) {
		run(first, SIZE_MAX);
		expect(payload, pings, found, code);
	}
	run(1, 1);
	expect(payload, pings, found, code);
	buf_clear(&input);
}

static void
frames_lose_their_heads_and_masks(void **state)
{
	(void)state;
	put_text(&input, FIN | WS_BINARY, "hello");
	put_text(&input, FIN | WS_BINARY, "");
	put_text(&input, FIN | WS_BINARY, ", world");
	check("hello, world", "", WS_FOUND_MORE, 0);
}

static void
fragments_and_controls_between_them_are_told_apart(void **state)
{
	(void)state;
	put_text(&input, WS_BINARY, "a");
	put_text(&input, FIN | WS_PING, "p1");
	put_text(&input, WS_CONTINUATION, "b");
	put_text(&input, FIN | WS_PONG, "ignored");
	put_text(&input, WS_CONTINUATION, "");
	put_text(&input, FIN | WS_PING, "");
	put_text(&input, FIN | WS_CONTINUATION, "c");
	put_text(&input, FIN | WS_BINARY, "d");
	check("abcd", "p1||", WS_FOUND_MORE, 0);
}

static void
read_lengths_of_all_sizes(unsigned masked)
{
	static const size_t sizes[] = {125, 126, 127, 4095, 4096, 4097, 65535, 65536, 200000};
	static const size_t cuts[] = {1, 2, 3, 7, 13, 14, 15, 4096, 5000, SIZE_MAX};
	struct buf all;

	buf_init(&all, SIZE_MAX);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *payload = mem_alloc(sizes[i]);

		for (size_t at = 0; at < sizes[i]; at++) {
			payload[at] = (uint8_t)(at * 7 + i);
		}
		put_frame(&input, FIN | WS_BINARY, masked, bytes_make(payload, sizes[i]));
		buf_append(&all, payload, sizes[i]);
		mem_free(&payload);
	}
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		run(cuts[i], cuts[i]);
		assert_int_equal(result.found, WS_FOUND_MORE);
		assert_true(bytes_equal(buf_bytes(&result.payload), buf_bytes(&all)));
		assert_false(result.owns_window);
	}
	buf_clear(&input);
	buf_fini(&all);
}

static void
lengths_of_all_sizes_are_read(void **state)
{
	(void)state;
	read_lengths_of_all_sizes(MASKED);
	is_client = true;
	read_lengths_of_all_sizes(0);
	is_client = false;
}

static void
between_frames_no_memory_is_owned(void **state)
{
	(void)state;
	put_text(&input, FIN | WS_BINARY, "hello");
	put_text(&input, FIN | WS_PING, "ping");
	put_text(&input, WS_BINARY, "a fragment");
	for (size_t len = input.len; len != 0; len--) {
		bool is_between = len == 11 || len == 21 || len == 37;

		input.len = len;
		run(SIZE_MAX, 1);
		assert_int_equal(result.owns_window, !is_between);
		run(1, 1);
		assert_int_equal(result.owns_window, !is_between);
	}
	buf_clear(&input);
}

static void
what_a_client_may_not_send_is_refused(void **state)
{
	(void)state;
	put_text(&input, FIN | WS_BINARY, "good");
	put_text(&input, FIN | WS_TEXT, "text");
	check("good", "", WS_FOUND_FAULT, WS_CODE_UNSUPPORTED);
	put_frame(&input, FIN | WS_BINARY, 0, bytes_of("bare"));
	check("", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
	put_frame(&input, FIN | WS_PING, 0, bytes_of("bare"));
	check("", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
	for (unsigned bit = 0x10; bit <= 0x40; bit <<= 1) {
		put_text(&input, FIN | bit | WS_BINARY, "reserved");
		check("", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
	}
	for (unsigned opcode = 3; opcode < 16; opcode++) {
		if (opcode < WS_CLOSE || opcode > WS_PONG) {
			put_text(&input, FIN | opcode, "unknown");
			check("", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
		}
	}
	put_text(&input, FIN | WS_CONTINUATION, "of nothing");
	check("", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
	put_text(&input, WS_BINARY, "one");
	put_text(&input, FIN | WS_BINARY, "two");
	check("one", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
	put_text(&input, WS_PING, "in pieces");
	check("", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
}

static void
lengths_that_lie_are_refused(void **state)
{
	static const uint8_t lies[][14] = {
	    {0x89, 0xfe, 0, 126},                             /* a ping of 126 bytes */
	    {0x82, 0xfe, 0, 125},                             /* a length longer than needed */
	    {0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff},       /* likewise */
	    {0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3}, /* 2^63 */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		buf_append(&input, lies[i], sizeof(lies[i]));
		check("", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
	}
	buf_append(&input, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0abc", 17);
	check("abc", "", WS_FOUND_MORE, 0);
}

static void
close_frames_are_read_and_their_codes_checked(void **state)
{
	static const struct {
		const char *payload;
		size_t len;
		enum ws_found found;
		unsigned code;
	} rows[] = {{"", 0, WS_FOUND_CLOSE, WS_CODE_NO_STATUS},
	    {"\x03", 1, WS_FOUND_FAULT, WS_CODE_PROTOCOL}, {"\x03\xe8", 2, WS_FOUND_CLOSE, 1000},
	    {"\x03\xe9 bye", 6, WS_FOUND_CLOSE, 1001},
	    {"\x03\xe7", 2, WS_FOUND_FAULT, WS_CODE_PROTOCOL}, /* 999 */
	    {"\x03\xec", 2, WS_FOUND_FAULT, WS_CODE_PROTOCOL}, /* 1004 */
	    {"\x03\xed", 2, WS_FOUND_FAULT, WS_CODE_PROTOCOL}, /* 1005 */
	    {"\x03\xee", 2, WS_FOUND_FAULT, WS_CODE_PROTOCOL}, /* 1006 */
	    {"\x03\xef", 2, WS_FOUND_CLOSE, 1007}, {"\x03\xf6", 2, WS_FOUND_CLOSE, 1014},
	    {"\x03\xf7", 2, WS_FOUND_FAULT, WS_CODE_PROTOCOL}, /* 1015 */
	    {"\x0b\xb7", 2, WS_FOUND_FAULT, WS_CODE_PROTOCOL}, /* 2999 */
	    {"\x0b\xb8", 2, WS_FOUND_CLOSE, 3000}, {"\x13\x87", 2, WS_FOUND_CLOSE, 4999},
	    {"\x13\x88", 2, WS_FOUND_FAULT, WS_CODE_PROTOCOL}, /* 5000 */
	    {"\x03\xe8\xff", 3, WS_FOUND_FAULT, WS_CODE_INVALID}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put_text(&input, FIN | WS_BINARY, "last");
		put_frame(&input, FIN | WS_CLOSE, MASKED, bytes_make(rows[i].payload, rows[i].len));
		check("last", "", rows[i].found, rows[i].code);
	}
}

static void
a_client_reads_frames_without_masks(void **state)
{
	(void)state;
	is_client = true;
	put_frame(&input, WS_BINARY, 0, bytes_of("a"));
	put_frame(&input, FIN | WS_PING, 0, bytes_of("p1"));
	put_frame(&input, WS_CONTINUATION, 0, bytes_of(""));
	put_frame(&input, FIN | WS_PONG, 0, bytes_of("ignored"));
	put_frame(&input, FIN | WS_PING, 0, bytes_of(""));
	put_frame(&input, FIN | WS_CONTINUATION, 0, bytes_of("b"));
	put_frame(&input, FIN | WS_CLOSE, 0, bytes_make("\x03\xe9 bye", 6));
	check("ab", "p1||", WS_FOUND_CLOSE, 1001);
	put_frame(&input, FIN | WS_BINARY, 0, bytes_of("good"));
	put_text(&input, FIN | WS_BINARY, "masked");
	check("good", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
	put_text(&input, FIN | WS_PING, "masked");
	check("", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
	put_text(&input, FIN | WS_CLOSE, "");
	check("", "", WS_FOUND_FAULT, WS_CODE_PROTOCOL);
	assert_string_equal(result.event.why, "a frame is masked");
	put_frame(&input, FIN | WS_TEXT, 0, bytes_of("text"));
	check("", "", WS_FOUND_FAULT, WS_CODE_UNSUPPORTED);
	put_frame(&input, FIN | WS_BINARY, 0, bytes_of("hello"));
	put_frame(&input, FIN | WS_PING, 0, bytes_of("ping"));
	for (size_t len = input.len; len != 0; len--) {
		input.len = len;
		run(1, 1);
		assert_int_equal(result.owns_window, len != 7 && len != 13);
	}
	buf_clear(&input);
	is_client = false;
}

static void
masks_are_put_on_and_taken_off(void **state)
{
	static const uint8_t mask[WS_MASK_SIZE] = {0x11, 0x22, 0x33, 0x44};
	static const size_t sizes[] = {0, 1, 125, 126, 65535, 65536};
	uint8_t head[WS_MASKED_HEAD_SIZE], bytes[64];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *payload = calloc(1, sizes[i] + 1);

		put_frame(&input, FIN | WS_BINARY, MASKED, bytes_make(payload, sizes[i]));
		ws_mask(payload, sizes[i], mask);
		assert_int_equal(
		    ws_encode_masked_head(head, WS_BINARY, sizes[i], mask), input.len - sizes[i]);
		assert_memory_equal(head, input.data, input.len - sizes[i]);
		assert_memory_equal(payload, input.data + input.len - sizes[i], sizes[i]);
		free(payload);
		buf_clear(&input);
	}
	for (size_t len = 0; len < sizeof(bytes); len++) {
		memset(bytes, 0xa5, sizeof(bytes));
		ws_mask(bytes, len, mask);
		for (size_t i = 0; i < sizeof(bytes); i++) {
			assert_int_equal(bytes[i], i < len ? 0xa5 ^ mask[i & 3] : 0xa5);
		}
	}
}

static void
heads_are_written_in_their_shortest_form(void **state)
{
	uint8_t head[WS_HEAD_SIZE];

	(void)state;
	assert_int_equal(ws_encode_head(head, WS_BINARY, 125), 2);
	assert_memory_equal(head, "\x82\x7d", 2);
	assert_int_equal(ws_encode_head(head, WS_PONG, 0), 2);
	assert_memory_equal(head, "\x8a\x00", 2);
	assert_int_equal(ws_encode_head(head, WS_BINARY, 126), 4);
	assert_memory_equal(head, "\x82\x7e\x00\x7e", 4);
	assert_int_equal(ws_encode_head(head, WS_BINARY, 65535), 4);
	assert_memory_equal(head, "\x82\x7e\xff\xff", 4);
	assert_int_equal(ws_encode_head(head, WS_BINARY, 65536), 10);
	assert_memory_equal(head, "\x82\x7f\0\0\0\0\0\x01\0\0", 10);
}

static int
begin(void **state)
{
	(void)state;
	buf_init(&input, SIZE_MAX);
	buf_init(&result.payload, SIZE_MAX);
	buf_init(&result.pings, SIZE_MAX);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	buf_fini(&input);
	buf_fini(&result.payload);
	buf_fini(&result.pings);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(frames_lose_their_heads_and_masks),
	    cmocka_unit_test(fragments_and_controls_between_them_are_told_apart),
	    cmocka_unit_test(lengths_of_all_sizes_are_read),
	    cmocka_unit_test(between_frames_no_memory_is_owned),
	    cmocka_unit_test(what_a_client_may_not_send_is_refused),
	    cmocka_unit_test(lengths_that_lie_are_refused),
	    cmocka_unit_test(close_frames_are_read_and_their_codes_checked),
	    cmocka_unit_test(a_client_reads_frames_without_masks),
	    cmocka_unit_test(masks_are_put_on_and_taken_off),
	    cmocka_unit_test(heads_are_written_in_their_shortest_form),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
