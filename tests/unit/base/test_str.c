/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers, the distance of two texts, compared with a plain table, and the nearest word.
 */
#include "lib/unit.h"

#include <inttypes.h>
#include <string.h>

#include "base/rand.h"
#include "base/str.h"

/* --- numbers --- */

static void
decimal_numbers_are_read(void **state)
{
	static const struct {
		const char *text;
		int64_t value;
	} cases[] = {{"0", 0}, {"-0", 0}, {"7", 7}, {"-7", -7}, {"10", 10}, {"007", 7},
	    {"1234567890", 1234567890}, {"9223372036854775806", INT64_MAX - 1},
	    {"9223372036854775807", INT64_MAX}, {"-9223372036854775807", -INT64_MAX},
	    {"-9223372036854775808", INT64_MIN}, {"999999999999999999", 999999999999999999},
	    {"-1000000000000000000", -1000000000000000000},
	    {"00000000000000000000000000000000000009223372036854775807", INT64_MAX},
	    {"-00000000000000000000000000000000000009223372036854775808", INT64_MIN}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t value = 42;

		if (!str_to_i64(bytes_of(cases[i].text), &value) || value != cases[i].value) {
			print_error("%s gives %" PRId64 "\n", cases[i].text, value);
			fail();
		}
	}
}

static void
anything_else_is_no_number(void **state)
{
	static const struct bytes cases[] = {{NULL, 0}, BYTES_LITERAL("-"), BYTES_LITERAL("--1"),
	    BYTES_LITERAL("+1"), BYTES_LITERAL("-+1"), BYTES_LITERAL(" 1"), BYTES_LITERAL("1 "),
	    BYTES_LITERAL("1\n"), BYTES_LITERAL("- 1"), BYTES_LITERAL("1-"), BYTES_LITERAL("1_000"),
	    BYTES_LITERAL("1,000"), BYTES_LITERAL("1.0"), BYTES_LITERAL("1e3"),
	    BYTES_LITERAL("0x10"), BYTES_LITERAL("a"), BYTES_LITERAL("1a"), BYTES_LITERAL("\0"),
	    BYTES_LITERAL("1\0"), BYTES_LITERAL("1/"), BYTES_LITERAL("1:"),
	    BYTES_LITERAL("\xd9\xa1"), /* an Arabic digit */
	    BYTES_LITERAL("\xb1"), BYTES_LITERAL("9223372036854775808"),
	    BYTES_LITERAL("-9223372036854775809"), BYTES_LITERAL("9223372036854775810"),
	    BYTES_LITERAL("9300000000000000000"), BYTES_LITERAL("10000000000000000000"),
	    BYTES_LITERAL("18446744073709551616"), BYTES_LITERAL("18446744073709551617"),
	    BYTES_LITERAL("-18446744073709551617"), BYTES_LITERAL("92233720368547758070"),
	    BYTES_LITERAL("99999999999999999999999999999999999999999999")};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t value = 0;

		if (str_to_i64(cases[i], &value)) {
			print_error("case %zu gives %" PRId64 "\n", i, value);
			fail();
		}
	}
}

static void
a_number_ends_with_its_view(void **state)
{
	int64_t value = 0;

	(void)state;
	assert_true(str_to_i64(bytes_make("12345", 3), &value));
	assert_int_equal(value, 123);
}

static void
what_was_printed_is_read_back(void **state)
{
	struct rand_gen gen;

	(void)state;
	rand_gen_init(&gen, 1);
	for (int i = 0; i < 20000; i++) {
		int64_t number = (int64_t)(rand_gen_next(&gen) >> rand_gen_below(&gen, 64));
		int64_t value = 0;
		char text[32];

		number = i % 2 == 0 ? number : -(number / 2);
		snprintf(text, sizeof(text), "%" PRId64, number);
		assert_true(str_to_i64(bytes_of(text), &value));
		assert_true(value == number);
	}
}

/* --- distance --- */

static size_t
smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The whole table: insert, delete, replace, swap neighbours; no text is changed twice in a place.
 */
static size_t
model_distance(struct bytes a, struct bytes b)
{
	size_t d[16][16];

	for (size_t i = 0; i <= a.len; i++) {
		for (size_t j = 0; j <= b.len; j++) {
			if (i == 0 || j == 0) {
				d[i][j] = i + j;
				continue;
			}
			d[i][j] = smaller(d[i - 1][j], d[i][j - 1]) + 1;
			d[i][j] =
			    smaller(d[i][j], d[i - 1][j - 1] + (a.data[i - 1] != b.data[j - 1]));
			if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] &&
			    a.data[i - 2] == b.data[j - 1]) {
				d[i][j] = smaller(d[i][j], d[i - 2][j - 2] + 1);
			}
		}
	}
	return d[a.len][b.len];
}

static void
the_distance_counts_the_smallest_number_of_changes(void **state)
{
	static const struct {
		const char *a;
		const char *b;
		size_t distance;
	} cases[] = {{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1},
	    {"abc", "ab", 1}, {"abc", "xabc", 1}, {"ab", "ba", 1}, {"abcd", "badc", 2},
	    {"kitten", "sitting", 3}, {"prot", "port", 1}, {"abc", "cab", 2}, {"abc", "xyz", 3},
	    {"a", "A", 1}, {"max_queued", "max_qeued", 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bytes a = bytes_of(cases[i].a);
		struct bytes b = bytes_of(cases[i].b);

		assert_int_equal(model_distance(a, b), cases[i].distance);
		for (size_t limit = 0; limit < 12; limit++) {
			size_t expected = smaller(cases[i].distance, limit + 1);

			assert_int_equal(str_distance(a, b, limit), expected);
			assert_int_equal(str_distance(b, a, limit), expected);
		}
	}
}

static void
random_distances_agree_with_the_table(void **state)
{
	struct rand_gen gen;

	(void)state;
	rand_gen_init(&gen, 4);
	for (int i = 0; i < 20000; i++) {
		struct bytes views[2];
		uint8_t text[2][12];
		size_t limit = (size_t)rand_gen_below(&gen, 14);

		for (int t = 0; t < 2; t++) {
			views[t] = bytes_make(text[t], (size_t)rand_gen_below(&gen, 13));
			for (size_t j = 0; j < sizeof(text[t]); j++) {
				text[t][j] = (uint8_t)('a' + rand_gen_below(&gen, 3));
			}
		}
		assert_int_equal(str_distance(views[0], views[1], limit),
		    smaller(model_distance(views[0], views[1]), limit + 1));
	}
}

static void
long_texts_have_a_distance_too(void **state)
{
	static char a[3000];
	static char b[3001];

	(void)state;
	memset(a, 'x', sizeof(a));
	memset(b, 'x', sizeof(b));
	assert_int_equal(str_distance(bytes_make(a, 3000), bytes_make(b, 3000), 5), 0);
	assert_int_equal(str_distance(bytes_make(a, 3000), bytes_make(b, 3001), 5), 1);
	b[1500] = 'y';
	assert_int_equal(str_distance(bytes_make(a, 3000), bytes_make(b, 3000), 5), 1);
	assert_int_equal(str_distance(bytes_make(a, 3000), bytes_make(b, 1000), 5), 6);
	assert_int_equal(str_distance(bytes_make(a, 3000), bytes_of(NULL), SIZE_MAX), 3000);
}

/* --- the nearest word --- */

static void
the_nearest_word_is_named_and_only_when_it_is_near(void **state)
{
	static const char *const words[] = {"persistence", "password_file", "port",
	    "max_queued_bytes", "max_queued_messages", "log", "listener", NULL};
	static const struct {
		const char *text;
		const char *nearest;
	} cases[] = {{"port", "port"}, {"prot", "port"}, {"por", "port"}, {"portt", "port"},
	    {"persistance", "persistence"}, {"passwordfile", "password_file"}, {"lag", "log"},
	    {"max_qeued_bytes", "max_queued_bytes"}, {"max_queued_message", "max_queued_messages"},
	    {"listner", "listener"}, {"zzzzzzzz", NULL}, {"bridge_keepalive", NULL}};
	static const char *const none[] = {NULL};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *nearest = str_nearest(bytes_of(cases[i].text), words);

		if (cases[i].nearest == NULL) {
			assert_null(nearest);
		} else {
			assert_non_null(nearest);
			assert_string_equal(nearest, cases[i].nearest);
		}
		assert_null(str_nearest(bytes_of(cases[i].text), none));
	}
	(void)str_nearest(bytes_of(NULL), words);
}

static void
words_are_matched_from_the_begin(void **state)
{
	static const char *const given[] = {"sessions", "show", "x", "session"};

	(void)state;
	assert_int_equal(str_match_words("sessions", given, 3), 1);
	assert_int_equal(str_match_words("sessions show", given, 3), 2);
	assert_int_equal(str_match_words("sessions show", given, 1), 0);
	assert_int_equal(str_match_words("sessions end", given, 3), 0);
	assert_int_equal(str_match_words("sessions", given + 3, 1), 0);
	assert_int_equal(str_match_words("session", given, 3), 0);
	assert_int_equal(str_match_words("sessions", given, 0), 0);
	assert_int_equal(str_match_words("", given, 3), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(decimal_numbers_are_read),
	    cmocka_unit_test(anything_else_is_no_number),
	    cmocka_unit_test(a_number_ends_with_its_view),
	    cmocka_unit_test(what_was_printed_is_read_back),
	    cmocka_unit_test(the_distance_counts_the_smallest_number_of_changes),
	    cmocka_unit_test(random_distances_agree_with_the_table),
	    cmocka_unit_test(long_texts_have_a_distance_too),
	    cmocka_unit_test(the_nearest_word_is_named_and_only_when_it_is_near),
	    cmocka_unit_test(words_are_matched_from_the_begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
