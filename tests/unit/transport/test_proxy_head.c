/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "base/buf.h"
#include "base/mem.h"
#include "transport/proxy_head.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static struct proxy_head head;
static struct buf input;

/* From memory of just its size, so that a sanitizer sees what is read behind it. */
static struct proxy_outcome
parse(struct bytes bytes)
{
	uint8_t *copy = mem_alloc(bytes.len);
	struct proxy_outcome outcome;

	if (bytes.len != 0) {
		memcpy(copy, bytes.data, bytes.len);
	}
	outcome = proxy_head_parse(bytes_make(copy, bytes.len), &head);
	mem_free(&copy);
	return outcome;
}

static void
expect_source(const char *name)
{
	char text[ADDR_TEXT_SIZE];

	assert_int_equal(head.has_source, name != NULL);
	if (name != NULL) {
		(void)addr_format(&head.source, text);
		assert_string_equal(text, name);
	}
}

/* Done with the whole of it; asks for more, truly, wherever it is cut; the rest does not matter. */
static void
check_good(struct bytes bytes, const char *name)
{
	uint8_t *longer = mem_alloc(bytes.len + 3);
	struct proxy_outcome outcome;

	for (size_t len = 0; len < bytes.len; len++) {
		outcome = parse(bytes_make(bytes.data, len));
		if (outcome.status != PROXY_MORE) {
			fail_msg("cut at %zu: %d %s", len, (int)outcome.status,
			    outcome.why != NULL ? outcome.why : "");
		}
		assert_true(outcome.size > len && outcome.size <= bytes.len);
	}
	memcpy(longer, bytes.data, bytes.len);
	memcpy(longer + bytes.len, "\r\nX", 3);
	for (size_t more = 0; more <= 3; more++) {
		outcome = parse(bytes_make(longer, bytes.len + more));
		assert_int_equal(outcome.status, PROXY_DONE);
		assert_int_equal(outcome.size, bytes.len);
		expect_source(name);
	}
	mem_free(&longer);
}

static void
check_bad(struct bytes bytes)
{
	struct proxy_outcome outcome = parse(bytes);

	if (outcome.status != PROXY_BAD) {
		fail_msg(
		    "\"%.*s\": %d", (int)bytes.len, (const char *)bytes.data, (int)outcome.status);
	}
	assert_non_null(outcome.why);
}

/* --- version 1 --- */

static void
lines_give_the_source(void **state)
{
	(void)state;
	check_good(
	    BYTES_LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2 56324 1883\r\n"), "192.0.2.1:56324");
	check_good(BYTES_LITERAL("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
	    "255.255.255.255:65535");
	check_good(BYTES_LITERAL("PROXY TCP6 2001:db8::1 ::1 0 1\r\n"), "[2001:db8::1]:0");
	check_good(BYTES_LITERAL("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
				 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
	check_good(BYTES_LITERAL("PROXY UNKNOWN\r\n"), NULL);
	check_good(BYTES_LITERAL("PROXY UNKNOWN ffff:: what ever 65535\r\n"), NULL);
}

static void
malformed_lines_are_refused(void **state)
{
	static const char *const lines[] = {"PROXY \r\n", "PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n", "PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n", "PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n",
	    "PROXY TCP4 ::1 ::1 1 1\r\n", "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
	    "PROXY TCP6 ::1 ::g 1 1\r\n", "PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
	    "PROXY tcp4 1.2.3.4 1.2.3.4 1 1\r\n", "PROXY UNKNOWNS\r\n", "PROXY UNKNOWN\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n", "PROXY\r\n", "PROXX ", "proxy ", "GET / ",
	    "\x10\x0c", "P\n", "PROXY \n", "\r\n\r\nX"};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		check_bad(bytes_of(lines[i]));
	}
	check_bad(BYTES_LITERAL("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 1\r\n"));
}

static void
a_line_has_at_most_107_bytes(void **state)
{
	char text[200] = "PROXY UNKNOWN ";

	(void)state;
	memset(text + 14, 'x', sizeof(text) - 14);
	memcpy(text + 105, "\r\n", 2);
	check_good(bytes_make(text, 107), NULL);
	memset(text + 105, 'x', 2);
	memcpy(text + 106, "\r\n", 2);
	check_bad(bytes_make(text, 108));
	memset(text + 14, 'x', sizeof(text) - 14);
	assert_int_equal(parse(bytes_make(text, 106)).status, PROXY_MORE);
	check_bad(bytes_make(text, 107));
	check_bad(bytes_make(text, 200));
}

/* --- version 2 --- */

static void
start(unsigned command, unsigned family)
{
	buf_clear(&input);
	buf_append(&input, SIGNATURE, 12);
	buf_append_byte(&input, (uint8_t)command);
	buf_append_byte(&input, (uint8_t)family);
	buf_append(&input, "\0\0", 2);
}

static void
put_value(struct buf *out, unsigned type, struct bytes value)
{
	buf_append_byte(out, (uint8_t)type);
	buf_append_byte(out, (uint8_t)(value.len >> 8));
	buf_append_byte(out, (uint8_t)value.len);
	buf_append_bytes(out, value);
}

static struct bytes
finish(void)
{
	input.data[14] = (uint8_t)((input.len - 16) >> 8);
	input.data[15] = (uint8_t)(input.len - 16);
	return buf_bytes(&input);
}

static void
start_tcp4(void)
{
	start(0x21, 0x11);
	buf_append(&input, "\xc0\0\2\1\xc0\0\2\2\x12\x67\x07\x5b", 12);
}

static void
binary_headers_give_the_source(void **state)
{
	(void)state;
	start_tcp4();
	check_good(finish(), "192.0.2.1:4711");
	start(0x21, 0x21);
	buf_append(&input, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	buf_append(&input, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2\x12\x67\x07\x5b", 20);
	check_good(finish(), "[2001:db8::1]:4711");
	start(0x21, 0x31);
	for (int i = 0; i < 2; i++) {
		char path[108] = "/run/x";

		buf_append(&input, path, sizeof(path));
	}
	check_good(finish(), "unix:/run/x");
	memset(input.data + 16, 'x', 108);
	check_good(finish(), "unix:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
}

static void
what_has_no_source_is_skipped(void **state)
{
	static const uint8_t families[] = {0x00, 0x10, 0x12, 0x22, 0x32, 0x41, 0xff};

	(void)state;
	start(0x20, 0x00);
	check_good(finish(), NULL);
	start(0x20, 0x11);
	buf_append(&input, "junk that nobody reads", 22);
	check_good(finish(), NULL);
	for (size_t i = 0; i < sizeof(families); i++) {
		start(0x21, families[i]);
		buf_append(&input, "\xff\xff\xff", 3);
		check_good(finish(), NULL);
	}
}

static void
malformed_binary_headers_are_refused(void **state)
{
	static const uint8_t commands[] = {0x00, 0x10, 0x11, 0x22, 0x2f, 0x31, 0xff};

	(void)state;
	for (size_t i = 0; i < sizeof(commands); i++) {
		start(commands[i], 0x11);
		input.len = 13;
		check_bad(buf_bytes(&input));
	}
	start_tcp4();
	input.len--;
	check_bad(finish());
	start(0x21, 0x21);
	buf_append(
	    &input, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 35);
	check_bad(finish());
	start(0x21, 0x11);
	input.data[14] = 0x10;
	input.data[15] = 0x01;
	check_bad(buf_bytes(&input));
	input.data[15] = 0;
	assert_int_equal(parse(buf_bytes(&input)).status, PROXY_MORE);
	assert_int_equal(parse(buf_bytes(&input)).size, 4112);
}

/* --- values --- */

static void
put_ssl(unsigned client, const char *verify, struct bytes cn)
{
	struct buf ssl;

	buf_init(&ssl, SIZE_MAX);
	buf_append_byte(&ssl, (uint8_t)client);
	buf_append(&ssl, verify, 4);
	put_value(&ssl, 0x21, BYTES_LITERAL("TLSv1.3"));
	if (cn.data != NULL) {
		put_value(&ssl, 0x22, cn);
	}
	put_value(&ssl, 0x23, BYTES_LITERAL("TLS_AES_128_GCM_SHA256"));
	put_value(&input, 0x20, buf_bytes(&ssl));
	buf_fini(&ssl);
}

/* Kept alive, since the views of the head are into it. */
static void
read_good(void)
{
	struct proxy_outcome outcome = proxy_head_parse(finish(), &head);

	assert_int_equal(outcome.status, PROXY_DONE);
	assert_int_equal(outcome.size, input.len);
}

static void
names_are_taken_from_the_values(void **state)
{
	(void)state;
	start_tcp4();
	put_value(&input, 0x01, BYTES_LITERAL("mqtt"));
	put_value(&input, 0x04, BYTES_LITERAL("\0\0\0"));
	put_value(&input, 0x02, BYTES_LITERAL("broker.example"));
	put_ssl(7, "\0\0\0\0", BYTES_LITERAL("M\xc3\xbcller"));
	put_value(&input, 0xee, BYTES_LITERAL(""));
	read_good();
	assert_bytes_text(head.authority, "broker.example");
	assert_bytes_text(head.client_cn, "M\xc3\xbcller");
	assert_true(head.is_tls);
	expect_source("192.0.2.1:4711");
	check_good(finish(), "192.0.2.1:4711");
}

static void
a_name_counts_only_when_it_was_verified(void **state)
{
	static const struct {
		unsigned client;
		const char *verify;
		bool counts;
	} rows[] = {{1 | 2, "\0\0\0\0", true}, {1 | 4, "\0\0\0\0", true}, {1, "\0\0\0\0", false},
	    {0, "\0\0\0\0", false}, {2 | 4, "\0\0\0\0", false}, {7, "\0\0\0\1", false},
	    {7, "\1\0\0\0", false}, {7, "\0\1\0\0", false}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		start_tcp4();
		put_ssl(rows[i].client, rows[i].verify, BYTES_LITERAL("name"));
		read_good();
		assert_bytes_text(head.client_cn, rows[i].counts ? "name" : "");
		assert_int_equal(head.is_tls, rows[i].client & 1);
	}
	start_tcp4();
	put_ssl(7, "\0\0\0\0", bytes_make(NULL, 0));
	read_good();
	assert_int_equal(head.client_cn.len, 0);
}

static void
malformed_values_are_refused(void **state)
{
	(void)state;
	for (size_t junk = 1; junk <= 4; junk++) {
		start_tcp4();
		buf_append(&input, "\x01\x00\x02\xff", junk);
		check_bad(finish());
	}
	start_tcp4();
	put_value(&input, 0x02, BYTES_LITERAL("bad\xff"));
	check_bad(finish());
	start_tcp4();
	put_value(&input, 0x02, BYTES_LITERAL("a\0b"));
	check_bad(finish());
	start_tcp4();
	put_value(&input, 0x02, BYTES_LITERAL("a"));
	put_value(&input, 0x02, BYTES_LITERAL("a"));
	check_bad(finish());
	start_tcp4();
	put_ssl(7, "\0\0\0\0", BYTES_LITERAL("a\0b"));
	check_bad(finish());
	start_tcp4();
	put_ssl(7, "\0\0\0\0", BYTES_LITERAL("a"));
	put_ssl(7, "\0\0\0\0", BYTES_LITERAL("b"));
	check_bad(finish());
	start_tcp4();
	put_value(&input, 0x20, BYTES_LITERAL("\1\0\0\0"));
	check_bad(finish());
	start_tcp4();
	put_value(&input, 0x20, BYTES_LITERAL("\1\0\0\0\0\x22\0\2a"));
	check_bad(finish());
	start_tcp4();
	put_value(&input, 0x20, BYTES_LITERAL("\7\0\0\0\0\x22\0\1a\x22\0\1b"));
	check_bad(finish());
}

/* The sum of this header was computed by another program, which knows that the CRC-32C of
 * "123456789" is e3069283. */
static void
checksums_are_verified(void **state)
{
	(void)state;
	start_tcp4();
	put_value(&input, 0x03, BYTES_LITERAL("\x00\x00\x00\x00"));
	put_value(&input, 0x02, BYTES_LITERAL("x"));
	finish();
	memcpy(input.data + 31, "\xf7\xbe\x14\x25", 4);
	check_good(finish(), "192.0.2.1:4711");
	for (size_t i = 16; i < input.len; i++) {
		if (i == 28 || i == 29 || i == 30 || i == 35 || i == 36 || i == 37) {
			continue; /* types and lengths */
		}
		input.data[i] ^= 1;
		check_bad(buf_bytes(&input));
		input.data[i] ^= 1;
	}
	start_tcp4();
	put_value(&input, 0x03, BYTES_LITERAL("\0\0\0"));
	check_bad(finish());
}

static int
begin(void **state)
{
	(void)state;
	buf_init(&input, SIZE_MAX);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	buf_fini(&input);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_give_the_source),
	    cmocka_unit_test(malformed_lines_are_refused),
	    cmocka_unit_test(a_line_has_at_most_107_bytes),
	    cmocka_unit_test(binary_headers_give_the_source),
	    cmocka_unit_test(what_has_no_source_is_skipped),
	    cmocka_unit_test(malformed_binary_headers_are_refused),
	    cmocka_unit_test(names_are_taken_from_the_values),
	    cmocka_unit_test(a_name_counts_only_when_it_was_verified),
	    cmocka_unit_test(malformed_values_are_refused),
	    cmocka_unit_test(checksums_are_verified),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
