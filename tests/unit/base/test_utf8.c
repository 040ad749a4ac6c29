/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8 against table 3-7 of Unicode ("Well-Formed UTF-8 Byte Sequences"), which the test reads row
 * by row: all strings of one and two bytes, all of three and four that stand at a boundary, every
 * code point, and the path for eight bytes at once at every alignment and length.
 */
#include "lib/unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "base/utf8.h"

/* --- the other decoder --- */

struct table_row {
	size_t len;
	uint8_t low[4];
	uint8_t high[4];
};

static const struct table_row table_3_7[] = {
    {1, {0x00}, {0x7f}},
    {2, {0xc2, 0x80}, {0xdf, 0xbf}},
    {3, {0xe0, 0xa0, 0x80}, {0xe0, 0xbf, 0xbf}},
    {3, {0xe1, 0x80, 0x80}, {0xec, 0xbf, 0xbf}},
    {3, {0xed, 0x80, 0x80}, {0xed, 0x9f, 0xbf}},
    {3, {0xee, 0x80, 0x80}, {0xef, 0xbf, 0xbf}},
    {4, {0xf0, 0x90, 0x80, 0x80}, {0xf0, 0xbf, 0xbf, 0xbf}},
    {4, {0xf1, 0x80, 0x80, 0x80}, {0xf3, 0xbf, 0xbf, 0xbf}},
    {4, {0xf4, 0x80, 0x80, 0x80}, {0xf4, 0x8f, 0xbf, 0xbf}},
};

static bool
row_matches(const struct table_row *row, const uint8_t *p, size_t len)
{
	if (len < row->len) {
		return false;
	}
	for (size_t i = 0; i < row->len; i++) {
		if (p[i] < row->low[i] || p[i] > row->high[i]) {
			return false;
		}
	}
	return true;
}

/* Length of the well-formed sequence at p, 0 when there is none. */
static size_t
model_sequence(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < sizeof(table_3_7) / sizeof(table_3_7[0]); i++) {
		if (row_matches(&table_3_7[i], p, len)) {
			return table_3_7[i].len;
		}
	}
	return 0;
}

static enum utf8_class
class_of_code_point(uint32_t code)
{
	if (code == 0) {
		return UTF8_NUL;
	}
	if (code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0xfdd0 && code <= 0xfdef) ||
	    (code & 0xfffe) == 0xfffe) {
		return UTF8_RESTRICTED;
	}
	return UTF8_PLAIN;
}

/* Of a well-formed sequence. */
static uint32_t
code_point(const uint8_t *p, size_t len)
{
	static const uint8_t first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t code = p[0] & first_bits[len];

	for (size_t i = 1; i < len; i++) {
		code = code * 64 + p[i] % 64;
	}
	return code;
}

struct verdict {
	enum utf8_class worst;
	size_t fault_at;
};

static struct verdict
model_verdict(struct bytes text)
{
	struct verdict verdict = {UTF8_PLAIN, text.len};
	size_t step;

	for (size_t at = 0; at < text.len; at += step != 0 ? step : 1) {
		enum utf8_class class = UTF8_MALFORMED;

		step = model_sequence(text.data + at, text.len - at);
		if (step != 0) {
			class = class_of_code_point(code_point(text.data + at, step));
		}
		if (class >= UTF8_NUL && verdict.fault_at == text.len) {
			verdict.fault_at = at;
		}
		if (class > verdict.worst) {
			verdict.worst = class;
		}
	}
	return verdict;
}

/* The first character of a text that is not empty. */
static void
assert_first(struct bytes text)
{
	size_t expected = model_sequence(text.data, text.len);
	uint32_t code = 0;

	assert_int_equal(utf8_next(text, &code), expected);
	if (expected != 0) {
		assert_int_equal(code, code_point(text.data, expected));
	}
}

static void
assert_verdict(const uint8_t *data, size_t len)
{
	struct bytes text = bytes_make(data, len);
	struct verdict expected = model_verdict(text);
	enum utf8_class class = utf8_classify(text);
	size_t fault_at = utf8_fault_at(text);

	if (class != expected.worst || fault_at != expected.fault_at) {
		print_error("class %d, want %d; fault at %zu, want %zu, in", (int)class,
		    (int)expected.worst, fault_at, expected.fault_at);
		for (size_t i = 0; i < len; i++) {
			print_error(" %02x", data[i]);
		}
		print_error("\n");
		fail();
	}
	if (len != 0) {
		assert_first(text);
	}
}

/* --- short strings --- */

static void
no_bytes_are_plain(void **state)
{
	(void)state;
	assert_int_equal(utf8_classify(bytes_of(NULL)), UTF8_PLAIN);
	assert_int_equal(utf8_classify(bytes_of("")), UTF8_PLAIN);
	assert_int_equal(utf8_fault_at(bytes_of(NULL)), 0);
}

static void
every_row_of_the_table_ends_where_it_says(void **state)
{
	/* the last one outside, the first and the last one inside, the first one outside */
	static const struct {
		const char *text;
		enum utf8_class class;
	} cases[] = {
	    {"\x7e", UTF8_PLAIN},
	    {"\x7f", UTF8_RESTRICTED},
	    {"\x80", UTF8_MALFORMED},
	    {"\xbf", UTF8_MALFORMED},
	    {"\xc0\x80", UTF8_MALFORMED},
	    {"\xc1\xbf", UTF8_MALFORMED},
	    {"\xc2\x7f", UTF8_MALFORMED},
	    {"\xc2\x80", UTF8_RESTRICTED},
	    {"\xc2\x9f", UTF8_RESTRICTED},
	    {"\xc2\xa0", UTF8_PLAIN},
	    {"\xc2\xc0", UTF8_MALFORMED},
	    {"\xdf\xbf", UTF8_PLAIN},
	    {"\xe0\x80\x80", UTF8_MALFORMED},
	    {"\xe0\x9f\xbf", UTF8_MALFORMED},
	    {"\xe0\xa0\x80", UTF8_PLAIN},
	    {"\xe0\xbf\xbf", UTF8_PLAIN},
	    {"\xe0\xc0\x80", UTF8_MALFORMED},
	    {"\xe1\x7f\x80", UTF8_MALFORMED},
	    {"\xe1\x80\x80", UTF8_PLAIN},
	    {"\xe1\x80\x7f", UTF8_MALFORMED},
	    {"\xe1\x80\xc0", UTF8_MALFORMED},
	    {"\xec\xbf\xbf", UTF8_PLAIN},
	    {"\xed\x80\x80", UTF8_PLAIN},
	    {"\xed\x9f\xbf", UTF8_PLAIN},
	    {"\xed\xa0\x80", UTF8_MALFORMED},
	    {"\xed\xbf\xbf", UTF8_MALFORMED},
	    {"\xee\x80\x80", UTF8_PLAIN},
	    {"\xef\xb7\x8f", UTF8_PLAIN},
	    {"\xef\xb7\x90", UTF8_RESTRICTED},
	    {"\xef\xb7\xaf", UTF8_RESTRICTED},
	    {"\xef\xb7\xb0", UTF8_PLAIN},
	    {"\xef\xbb\xbf", UTF8_PLAIN},
	    {"\xef\xbf\xbd", UTF8_PLAIN},
	    {"\xef\xbf\xbe", UTF8_RESTRICTED},
	    {"\xef\xbf\xbf", UTF8_RESTRICTED},
	    {"\xf0\x80\x80\x80", UTF8_MALFORMED},
	    {"\xf0\x8f\xbf\xbf", UTF8_MALFORMED},
	    {"\xf0\x90\x80\x80", UTF8_PLAIN},
	    {"\xf0\x9f\xbf\xbe", UTF8_RESTRICTED},
	    {"\xf0\xbf\xbf\xbd", UTF8_PLAIN},
	    {"\xf1\x80\x80\x80", UTF8_PLAIN},
	    {"\xf3\xbf\xbf\xbf", UTF8_RESTRICTED},
	    {"\xf4\x80\x80\x80", UTF8_PLAIN},
	    {"\xf4\x8f\xbf\xbd", UTF8_PLAIN},
	    {"\xf4\x8f\xbf\xbf", UTF8_RESTRICTED},
	    {"\xf4\x90\x80\x80", UTF8_MALFORMED},
	    {"\xf5\x80\x80\x80", UTF8_MALFORMED},
	    {"\xf8\x88\x80\x80\x80", UTF8_MALFORMED},
	    {"\xfe", UTF8_MALFORMED},
	    {"\xff", UTF8_MALFORMED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bytes text = bytes_of(cases[i].text);

		assert_int_equal(utf8_classify(text), cases[i].class);
		assert_int_equal(
		    utf8_fault_at(text), cases[i].class == UTF8_MALFORMED ? 0 : text.len);
		assert_verdict(text.data, text.len);
	}
}

static void
all_strings_of_one_and_two_bytes_are_judged_by_the_table(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 0x10000; i++) {
		uint8_t text[2] = {(uint8_t)(i >> 8), (uint8_t)i};

		assert_verdict(text, 2);
		assert_verdict(text + 1, 1);
	}
}

static const uint8_t boundaries[] = {0x00, 0x01, 0x20, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xb7,
    0xbe, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4,
    0xf5, 0xff};

static void
all_boundaries_of_three_and_four_bytes_are_judged_by_the_table(void **state)
{
	const size_t count = sizeof(boundaries);

	(void)state;
	for (size_t i = 0; i < count * count * count * count; i++) {
		uint8_t text[4] = {boundaries[i % count], boundaries[i / count % count],
		    boundaries[i / count / count % count], boundaries[i / count / count / count]};

		assert_verdict(text, 4);
		if (i < count * count * count) {
			assert_verdict(text, 3);
		}
	}
}

static size_t
encode(uint8_t *p, uint32_t code)
{
	size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (size_t i = len - 1; i > 0; i--) {
		p[i] = (uint8_t)(0x80 | (code & 0x3f));
		code >>= 6;
	}
	p[0] = (uint8_t)(first[len] | code);
	return len;
}

static void
every_code_point_has_its_class(void **state)
{
	(void)state;
	for (uint32_t code = 0; code < 0x120000; code++) {
		bool is_scalar = code < 0xd800 || (code > 0xdfff && code <= 0x10ffff);
		enum utf8_class expected = is_scalar ? class_of_code_point(code) : UTF8_MALFORMED;
		uint8_t text[4];
		size_t len = encode(text, code);

		if (utf8_classify(bytes_make(text, len)) != expected) {
			print_error("U+%04X\n", code);
			fail();
		}
		/* cut off at the end of the text */
		for (size_t cut = 1; cut < len; cut++) {
			assert_int_equal(utf8_classify(bytes_make(text, cut)), UTF8_MALFORMED);
		}
	}
}

/* --- longer strings --- */

/* One string of each class. */
static const struct {
	const char *text;
	size_t len;
} samples[] = {{"plain", 5}, {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa6", 9}, {"\x01", 1}, {"\x1f", 1},
    {"\x7f", 1}, {"\xc2\x85", 2}, {"\xef\xbf\xbf", 3}, {"\xf4\x8f\xbf\xbe", 4}, {"\0", 1},
    {"\x80", 1}, {"\xff", 1}, {"\xc0\xaf", 2}, {"\xe2\x82", 2}, {"\xed\xa0\x80", 3},
    {"\xf0\x9f\x90", 3}, {"\xf4\x90\x80\x80", 4}};

enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

static void
a_string_is_judged_by_the_worst_it_holds(void **state)
{
	(void)state;
	for (size_t a = 0; a < SAMPLES; a++) {
		for (size_t b = 0; b < SAMPLES; b++) {
			for (size_t c = 0; c < SAMPLES; c++) {
				uint8_t text[40];
				size_t len = 0;

				memcpy(text, samples[a].text, samples[a].len);
				len += samples[a].len;
				memcpy(text + len, samples[b].text, samples[b].len);
				len += samples[b].len;
				memcpy(text + len, samples[c].text, samples[c].len);
				len += samples[c].len;
				assert_verdict(text, len);
			}
		}
	}
}

static void
a_fault_is_found_where_it_begins(void **state)
{
	static const struct {
		struct bytes text;
		enum utf8_class class;
		size_t fault_at;
	} cases[] = {
	    {BYTES_LITERAL("a\0b\xff"), UTF8_MALFORMED, 1},
	    {BYTES_LITERAL("a\xff\0"), UTF8_MALFORMED, 1},
	    {BYTES_LITERAL("a\x01\0b"), UTF8_NUL, 2},
	    {BYTES_LITERAL("a\x01\xc2\x80z"), UTF8_RESTRICTED, 5},
	    {BYTES_LITERAL("abcdefgh\xe2\x82"), UTF8_MALFORMED, 8},
	    {BYTES_LITERAL("abcdefg\xe2\x82z"), UTF8_MALFORMED, 7},
	    {BYTES_LITERAL("\xe2\x82\xac\xe2\x82\xac\xe2\x28"), UTF8_MALFORMED, 6},
	    {BYTES_LITERAL("\xf0\x9f\x90\xa6\xf0\x9f\x90"), UTF8_MALFORMED, 4},
	    {BYTES_LITERAL("abcdefghijklmnopqrstuvwxyz\xc3\xa4\x80"), UTF8_MALFORMED, 28},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(utf8_classify(cases[i].text), cases[i].class);
		assert_int_equal(utf8_fault_at(cases[i].text), cases[i].fault_at);
	}
}

/* Every sample at every place in texts of every length and alignment, in memory that ends there. */
static void
eight_bytes_at_a_time_see_what_one_at_a_time_sees(void **state)
{
	(void)state;
	for (size_t offset = 0; offset < 8; offset++) {
		for (size_t len = 0; len < 36; len++) {
			uint8_t *memory = malloc(offset + len + 1);
			uint8_t *text = memory + 1 + offset;

			assert_non_null(memory);
			memset(memory, 'x', offset + len + 1);
			assert_verdict(text, len);
			for (size_t s = 0; s < SAMPLES; s++) {
				for (size_t at = 0; at + samples[s].len <= len; at++) {
					memcpy(text + at, samples[s].text, samples[s].len);
					assert_verdict(text, len);
					memset(text, 'x', len);
				}
			}
			free(memory);
		}
	}
}

static void
random_strings_are_judged_by_the_table(void **state)
{
	struct rand_gen gen;

	(void)state;
	rand_gen_init(&gen, 5);
	for (int i = 0; i < 20000; i++) {
		uint8_t text[80];
		size_t len = 0;
		size_t pieces = (size_t)rand_gen_below(&gen, 20);

		while (pieces-- > 0) {
			size_t s = (size_t)rand_gen_below(&gen, SAMPLES);

			/* mostly well-formed, or the first fault hides all others */
			s = rand_gen_below(&gen, 30) != 0 ? s % 8 : s;
			memcpy(text + len, samples[s].text, samples[s].len);
			len += samples[s].len;
			if (len > sizeof(text) - 9) {
				break;
			}
		}
		assert_verdict(text, len);
	}
}

/* --- the word --- */

static void
a_word_is_read_from_any_address(void **state)
{
	uint8_t memory[16];

	(void)state;
	for (size_t offset = 0; offset <= 8; offset++) {
		uint64_t expected;

		for (size_t i = 0; i < sizeof(memory); i++) {
			memory[i] = (uint8_t)(i * 17);
		}
		memcpy(&expected, memory + offset, sizeof(expected));
		assert_true(utf8_word_at(memory + offset) == expected);
	}
}

static void
a_word_is_printable_when_each_of_its_bytes_is(void **state)
{
	static const uint8_t others[] = {
	    0x20, 0x21, 0x40, 0x7d, 0x7e, 0x1f, 0x7f, 0x00, 0x80, 0xff};

	(void)state;
	for (unsigned byte = 0; byte < 256; byte++) {
		for (size_t at = 0; at < 8; at++) {
			for (size_t o = 0; o < sizeof(others); o++) {
				bool expected = byte >= 0x20 && byte <= 0x7e && o < 5;
				uint8_t word[8];

				memset(word, others[o], sizeof(word));
				word[at] = (uint8_t)byte;
				assert_int_equal(
				    utf8_word_is_printable(utf8_word_at(word)), expected);
				/* the bad byte between bytes of another kind */
				word[(at + 1) % 8] = 0x7e;
				word[(at + 7) % 8] = 0x20;
				assert_int_equal(
				    utf8_word_is_printable(utf8_word_at(word)), expected);
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_bytes_are_plain),
	    cmocka_unit_test(every_row_of_the_table_ends_where_it_says),
	    cmocka_unit_test(all_strings_of_one_and_two_bytes_are_judged_by_the_table),
	    cmocka_unit_test(all_boundaries_of_three_and_four_bytes_are_judged_by_the_table),
	    cmocka_unit_test(every_code_point_has_its_class),
	    cmocka_unit_test(a_string_is_judged_by_the_worst_it_holds),
	    cmocka_unit_test(a_fault_is_found_where_it_begins),
	    cmocka_unit_test(eight_bytes_at_a_time_see_what_one_at_a_time_sees),
	    cmocka_unit_test(random_strings_are_judged_by_the_table),
	    cmocka_unit_test(a_word_is_read_from_any_address),
	    cmocka_unit_test(a_word_is_printable_when_each_of_its_bytes_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
