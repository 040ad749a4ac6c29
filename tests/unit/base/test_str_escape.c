/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Escaping for lines and for JSON. What comes out is read back by small decoders of the test, for
 * all strings of two bytes and for random ones made of what likes to cause trouble.
 */
#include "lib/unit.h"

#include <string.h>

#include "base/rand.h"
#include "base/str.h"
#include "base/utf8.h"

static void
text_from_outside_is_shown_as_it_is(void **state)
{
	static const struct {
		struct bytes text;
		const char *bare;
		const char *quoted;
	} cases[] = {
	    {{NULL, 0}, "", ""},
	    {BYTES_LITERAL(" !~azAZ09#[]'"), " !~azAZ09#[]'", " !~azAZ09#[]'"},
	    {BYTES_LITERAL("a\"b"), "a\"b", "a\\\"b"},
	    {BYTES_LITERAL("a\\b"), "a\\b", "a\\\\b"},
	    {BYTES_LITERAL("\n\t\r"), "\\n\\t\\r", "\\n\\t\\r"},
	    {BYTES_LITERAL("a\0b"), "a\\x00b", "a\\x00b"},
	    {BYTES_LITERAL("\x01\x1f\x7f"), "\\x01\\x1f\\x7f", "\\x01\\x1f\\x7f"},
	    {BYTES_LITERAL("\x1b[2J"), "\\x1b[2J", "\\x1b[2J"},
	    {BYTES_LITERAL("\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa6"),
		"\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa6", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa6"},
	    {BYTES_LITERAL("\xff\xfe"), "\\xff\\xfe", "\\xff\\xfe"},
	    {BYTES_LITERAL("\xc0\xaf"), "\\xc0\\xaf", "\\xc0\\xaf"},
	    {BYTES_LITERAL("\xe2\x82z"), "\\xe2\\x82z", "\\xe2\\x82z"},
	    {BYTES_LITERAL("\xf0\x9f\x90"), "\\xf0\\x9f\\x90", "\\xf0\\x9f\\x90"},
	    {BYTES_LITERAL("\xe2\x82\xc3\xa4"), "\\xe2\\x82\xc3\xa4", "\\xe2\\x82\xc3\xa4"},
	    {BYTES_LITERAL("\xed\xa0\x80"), "\\xed\\xa0\\x80", "\\xed\\xa0\\x80"},
	    {BYTES_LITERAL("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80", "\\xf4\\x90\\x80\\x80"},
	    /* NEL and CSI are controls: one breaks lines, the other commands terminals */
	    {BYTES_LITERAL("\xc2\x85\xc2\x9b"), "\\xc2\\x85\\xc2\\x9b", "\\xc2\\x85\\xc2\\x9b"},
	};
	struct buf buf;

	(void)state;
	buf_init(&buf, SIZE_MAX);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		buf_clear(&buf);
		str_escape(&buf, cases[i].text, false);
		assert_bytes_text(buf_bytes(&buf), cases[i].bare);
		buf_clear(&buf);
		str_escape(&buf, cases[i].text, true);
		assert_bytes_text(buf_bytes(&buf), cases[i].quoted);
	}
	buf_clear(&buf);
	buf_append_text(&buf, "before ");
	str_escape(&buf, bytes_of("after"), true);
	assert_bytes_text(buf_bytes(&buf), "before after");
	buf_fini(&buf);
}

static unsigned
hex_digit(uint8_t c)
{
	assert_true((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'));
	return c <= '9' ? c - 0x30u : (c | 0x20u) - 0x61u + 10;
}

/* Reads what stands between double quotes. */
static void
unescape(struct buf *out, struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		const uint8_t *p = text.data + i;

		assert_true(p[0] >= 0x20 && p[0] != 0x7f && p[0] != '"');
		if (p[0] != '\\') {
			buf_append_byte(out, p[0]);
			continue;
		}
		assert_true(text.len - i >= 2);
		i++;
		switch (p[1]) {
		case 'n':
			buf_append_byte(out, '\n');
			break;
		case 't':
			buf_append_byte(out, '\t');
			break;
		case 'r':
			buf_append_byte(out, '\r');
			break;
		case 'x':
			assert_true(text.len - i >= 3);
			buf_append_byte(out, (uint8_t)(hex_digit(p[2]) << 4 | hex_digit(p[3])));
			i += 2;
			break;
		default:
			assert_true(p[1] == '\\' || p[1] == '"');
			buf_append_byte(out, p[1]);
			break;
		}
	}
}

/* Bytes that like to make trouble, in no good order. */
static size_t
make_trouble(struct rand_gen *gen, uint8_t *text, size_t most)
{
	static const char alphabet[] =
	    "a\\\"\n\r\tn x01\x01\x1b\x7f\x80\xa0\xbf\xc2\xc3\xe2\x82\xac\xed"
	    "\xf0\x9f\x90\xa6\xff";
	size_t len = (size_t)rand_gen_below(gen, most + 1);

	for (size_t i = 0; i < len; i++) {
		/* with its NUL */
		text[i] = (uint8_t)alphabet[rand_gen_below(gen, sizeof(alphabet))];
	}
	return len;
}

static void
quoted_text_is_clean_and_can_be_read_back(void **state)
{
	struct rand_gen gen;
	struct buf escaped;
	struct buf back;

	(void)state;
	rand_gen_init(&gen, 2);
	buf_init(&escaped, SIZE_MAX);
	buf_init(&back, SIZE_MAX);
	for (unsigned i = 0; i < 0x10000 + 5000; i++) {
		uint8_t text[24] = {(uint8_t)(i >> 8), (uint8_t)i};
		size_t len = i < 0x10000 ? 2 : make_trouble(&gen, text, sizeof(text));

		buf_clear(&escaped);
		buf_clear(&back);
		str_escape(&escaped, bytes_make(text, len), true);
		assert_int_equal(utf8_classify(buf_bytes(&escaped)), UTF8_PLAIN);
		unescape(&back, buf_bytes(&escaped));
		assert_true(bytes_equal(buf_bytes(&back), bytes_make(text, len)));
	}
	buf_fini(&escaped);
	buf_fini(&back);
}

static void
text_that_does_not_fit_fails_its_buffer(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 5);
	str_escape(&buf, bytes_of("ab\x01"), false);
	assert_true(buf.failed);
	buf_clear(&buf);
	str_escape(&buf, bytes_of("a\x01"), false);
	assert_false(buf.failed);
	assert_bytes_text(buf_bytes(&buf), "a\\x01");
	buf_clear(&buf);
	str_escape_json(&buf, bytes_of("\x01"));
	assert_true(buf.failed);
	buf_fini(&buf);
}

/* --- JSON --- */

static void
append_code_unit(struct buf *out, unsigned unit)
{
	/* no surrogates come out of the broker: it writes UTF-8 as it is */
	assert_true(unit < 0xd800 || unit > 0xdfff);
	if (unit < 0x80) {
		buf_append_byte(out, (uint8_t)unit);
	} else if (unit < 0x800) {
		buf_append_byte(out, (uint8_t)(0xc0 | unit >> 6));
		buf_append_byte(out, (uint8_t)(0x80 | (unit & 0x3f)));
	} else {
		buf_append_byte(out, (uint8_t)(0xe0 | unit >> 12));
		buf_append_byte(out, (uint8_t)(0x80 | (unit >> 6 & 0x3f)));
		buf_append_byte(out, (uint8_t)(0x80 | (unit & 0x3f)));
	}
}

/* Reads the inside of a string as RFC 8259 has it; fails where it is none. */
static void
read_json(struct buf *out, struct bytes text)
{
	static const char names[] = "\"\\/bfnrt";
	static const char values[] = "\"\\/\b\f\n\r\t";

	assert_true(utf8_classify(text) < UTF8_NUL);
	for (size_t i = 0; i < text.len; i++) {
		const uint8_t *p = text.data + i;

		assert_true(p[0] >= 0x20 && p[0] != '"');
		if (p[0] != '\\') {
			buf_append_byte(out, p[0]);
			continue;
		}
		i++;
		assert_true(i < text.len);
		if (p[1] == 'u') {
			assert_true(text.len - i >= 5);
			append_code_unit(out, hex_digit(p[2]) << 12 | hex_digit(p[3]) << 8 |
						  hex_digit(p[4]) << 4 | hex_digit(p[5]));
			i += 4;
		} else {
			const char *name = memchr(names, p[1], sizeof(names) - 1);

			assert_non_null(name);
			buf_append_byte(out, (uint8_t)values[name - names]);
		}
	}
}

/* The text with each byte that is no UTF-8 as U+FFFD. */
static void
replace_faults(struct buf *out, struct bytes text)
{
	while (text.len != 0) {
		size_t at = utf8_fault_at(text);

		buf_append_bytes(out, bytes_make(text.data, at));
		text = bytes_skip(text, at);
		if (text.len == 0) {
			return;
		}
		if (text.data[0] == 0) {
			buf_append_byte(out, 0);
		} else {
			buf_append_text(out, "\xef\xbf\xbd");
		}
		text = bytes_skip(text, 1);
	}
}

static void
json_is_always_valid_and_says_the_text(void **state)
{
	struct rand_gen gen;
	struct buf escaped;
	struct buf back;
	struct buf want;

	(void)state;
	rand_gen_init(&gen, 3);
	buf_init(&escaped, SIZE_MAX);
	buf_init(&back, SIZE_MAX);
	buf_init(&want, SIZE_MAX);
	for (unsigned i = 0; i < 0x10000 + 5000; i++) {
		uint8_t text[24] = {(uint8_t)(i >> 8), (uint8_t)i};
		size_t len = i < 0x10000 ? 2 : make_trouble(&gen, text, sizeof(text));

		buf_clear(&escaped);
		buf_clear(&back);
		buf_clear(&want);
		str_escape_json(&escaped, bytes_make(text, len));
		read_json(&back, buf_bytes(&escaped));
		replace_faults(&want, bytes_make(text, len));
		assert_true(bytes_equal(buf_bytes(&back), buf_bytes(&want)));
	}
	buf_fini(&escaped);
	buf_fini(&back);
	buf_fini(&want);
}

static void
json_leaves_what_needs_no_escape(void **state)
{
	const char *text = "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa6 a/b+#$ {}[]:,'";
	struct buf buf;

	(void)state;
	buf_init(&buf, SIZE_MAX);
	str_escape_json(&buf, bytes_of(text));
	assert_bytes_text(buf_bytes(&buf), text);
	buf_clear(&buf);
	str_escape_json(&buf, bytes_of("\"\\"));
	assert_bytes_text(buf_bytes(&buf), "\\\"\\\\");
	buf_fini(&buf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_from_outside_is_shown_as_it_is),
	    cmocka_unit_test(quoted_text_is_clean_and_can_be_read_back),
	    cmocka_unit_test(text_that_does_not_fit_fails_its_buffer),
	    cmocka_unit_test(json_is_always_valid_and_says_the_text),
	    cmocka_unit_test(json_leaves_what_needs_no_escape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
