/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "lib/unit.h"

#include "wire/topic_name.h"

struct row {
	const char *topic;
	enum wire_topic_fault fault;
};

static void
names_are_judged_by_their_worst_character(void **state)
{
	static const struct row rows[] = {
	    {"a", WIRE_TOPIC_OK},
	    {"/", WIRE_TOPIC_OK},
	    {"//", WIRE_TOPIC_OK},
	    {"a b/c", WIRE_TOPIC_OK},
	    {"$SYS/broker", WIRE_TOPIC_OK},
	    {"sensors/kitchen/temperature", WIRE_TOPIC_OK},
	    {"\xef\xbb\xbf", WIRE_TOPIC_OK},
	    {"gr\xc3\xbc\xc3\x9f"
	     "e/\xf0\x9f\x90\xa6",
		WIRE_TOPIC_OK},
	    {"", WIRE_TOPIC_EMPTY},
	    {"+", WIRE_TOPIC_WILDCARD},
	    {"#", WIRE_TOPIC_WILDCARD},
	    {"a/b+", WIRE_TOPIC_WILDCARD},
	    {"sensors/kitchen/#", WIRE_TOPIC_WILDCARD},
	    {"+ensors/kitchen/x", WIRE_TOPIC_WILDCARD},
	    {"a\x01", WIRE_TOPIC_RESTRICTED},
	    {"sensors/kitchen\x7f/a", WIRE_TOPIC_RESTRICTED},
	    {"\xc2\x80", WIRE_TOPIC_RESTRICTED},
	    {"\xef\xb7\x90", WIRE_TOPIC_RESTRICTED},
	    {"\xef\xbf\xbf", WIRE_TOPIC_RESTRICTED},
	    {"\xf0\x9f\xbf\xbe", WIRE_TOPIC_RESTRICTED},
	    {"\xc0\x80", WIRE_TOPIC_NOT_UTF8},
	    {"sensors/kitchen/\xff", WIRE_TOPIC_NOT_UTF8},
	    {"\xed\xa0\x80", WIRE_TOPIC_NOT_UTF8},
	    {"\xf4\x90\x80\x80", WIRE_TOPIC_NOT_UTF8},
	    {"abc\xe2\x82", WIRE_TOPIC_NOT_UTF8},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(
		    wire_topic_name_check(bytes_of(rows[i].topic), false), rows[i].fault);
	}
	assert_int_equal(wire_topic_name_check(BYTES_LITERAL("a\0b"), false), WIRE_TOPIC_NUL);
	assert_int_equal(
	    wire_topic_name_check(BYTES_LITERAL("sensors/\0kitchen"), false), WIRE_TOPIC_NUL);
	assert_int_equal(wire_topic_name_check(BYTES_LITERAL("a\x01"), true), WIRE_TOPIC_OK);
	assert_int_equal(wire_topic_name_check(BYTES_LITERAL("a\x01+"), true), WIRE_TOPIC_WILDCARD);
}

/* The fast path looks at eight bytes at a time: each kind of byte in each place of each short
 * length. */
static void
a_bad_byte_is_found_in_every_place(void **state)
{
	static const struct {
		char byte;
		enum wire_topic_fault fault;
	} bad[] = {{'+', WIRE_TOPIC_WILDCARD}, {'#', WIRE_TOPIC_WILDCARD}, {0, WIRE_TOPIC_NUL},
	    {0x1f, WIRE_TOPIC_RESTRICTED}, {0x7f, WIRE_TOPIC_RESTRICTED},
	    {(char)0x80, WIRE_TOPIC_NOT_UTF8}, {(char)0xff, WIRE_TOPIC_NOT_UTF8}};
	static const char good[] = {' ', '!', '"', '$', '*', ',', '/', '~', '\x22', '\x2a'};
	char topic[40];

	(void)state;
	for (size_t len = 1; len < sizeof(topic); len++) {
		for (size_t at = 0; at < len; at++) {
			for (size_t i = 0; i < sizeof(topic); i++) {
				topic[i] = good[(i + at) % sizeof(good)];
			}
			assert_int_equal(
			    wire_topic_name_check(bytes_make(topic, len), false), WIRE_TOPIC_OK);
			for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
				topic[at] = bad[i].byte;
				assert_int_equal(
				    wire_topic_name_check(bytes_make(topic, len), false),
				    bad[i].fault);
			}
		}
	}
}

/* In memory of the exact size, so that the sanitizers see a step behind the end. */
static void
nothing_is_read_behind_the_end(void **state)
{
	static const char *const topics[] = {"a", "ab/cdef", "ab/cdefg", "ab/cdefgh", "$share",
	    "$share/g", "$share/", "\xc3", "+#aaaaaa"};
	struct bytes share_name, inner;

	(void)state;
	for (size_t i = 0; i < sizeof(topics) / sizeof(*topics); i++) {
		size_t len = strlen(topics[i]);
		uint8_t *copy = malloc(len);
		struct bytes topic = {copy, len};

		memcpy(copy, topics[i], len);
		assert_int_equal(wire_topic_name_check(topic, false) == WIRE_TOPIC_OK, i < 7);
		(void)wire_topic_filter_check(topic, false, true);
		assert_false(wire_topic_share_split(topic, &share_name, &inner));
		free(copy);
	}
}

static void
a_name_may_have_65535_bytes_and_no_more(void **state)
{
	static char topic[65536];

	(void)state;
	memset(topic, 'a', sizeof(topic));
	assert_int_equal(wire_topic_name_check(bytes_make(topic, 65535), false), WIRE_TOPIC_OK);
	assert_int_equal(
	    wire_topic_name_check(bytes_make(topic, 65536), false), WIRE_TOPIC_TOO_LONG);
	assert_int_equal(
	    wire_topic_filter_check(bytes_make(topic, 65536), false, true), WIRE_TOPIC_TOO_LONG);
}

static void
filters_place_their_wildcards_alone_in_a_level(void **state)
{
	static const struct row rows[] = {
	    {"#", WIRE_TOPIC_OK},
	    {"+", WIRE_TOPIC_OK},
	    {"a/#", WIRE_TOPIC_OK},
	    {"+/+", WIRE_TOPIC_OK},
	    {"/+", WIRE_TOPIC_OK},
	    {"+//#", WIRE_TOPIC_OK},
	    {"a/+/b", WIRE_TOPIC_OK},
	    {"$share/g/#", WIRE_TOPIC_OK},
	    {"$share/g//a", WIRE_TOPIC_OK},
	    {"$shared/+", WIRE_TOPIC_OK},
	    {"$sharex", WIRE_TOPIC_OK},
	    {"", WIRE_TOPIC_EMPTY},
	    {"a#", WIRE_TOPIC_HASH},
	    {"#/a", WIRE_TOPIC_HASH},
	    {"a/#/b", WIRE_TOPIC_HASH},
	    {"##", WIRE_TOPIC_HASH},
	    {"a+", WIRE_TOPIC_PLUS},
	    {"+a", WIRE_TOPIC_PLUS},
	    {"a/+b/c", WIRE_TOPIC_PLUS},
	    {"++", WIRE_TOPIC_PLUS},
	    {"$share", WIRE_TOPIC_SHARE},
	    {"$share/", WIRE_TOPIC_SHARE},
	    {"$share/g", WIRE_TOPIC_SHARE},
	    {"$share/g/", WIRE_TOPIC_SHARE},
	    {"$share//a", WIRE_TOPIC_SHARE},
	    {"$share/+/a", WIRE_TOPIC_SHARE},
	    {"$share/a#/a", WIRE_TOPIC_SHARE},
	    {"$share/g/a#", WIRE_TOPIC_HASH},
	    {"$share/g/+b", WIRE_TOPIC_PLUS},
	    {"\xff/#", WIRE_TOPIC_NOT_UTF8},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		enum wire_topic_fault fault =
		    wire_topic_filter_check(bytes_of(rows[i].topic), false, true);

		if (fault != rows[i].fault) {
			print_error("%s: %d\n", rows[i].topic, fault);
		}
		assert_int_equal(fault, rows[i].fault);
	}
}

static void
before_mqtt_5_an_ill_formed_share_is_an_ordinary_filter(void **state)
{
	(void)state;
	assert_int_equal(
	    wire_topic_filter_check(bytes_of("$share/g"), false, false), WIRE_TOPIC_OK);
	assert_int_equal(
	    wire_topic_filter_check(bytes_of("$share/+/a"), false, false), WIRE_TOPIC_OK);
	assert_int_equal(
	    wire_topic_filter_check(bytes_of("$share/a#"), false, false), WIRE_TOPIC_HASH);
}

static void
a_shared_filter_is_split_at_the_second_slash(void **state)
{
	struct bytes name, filter;

	(void)state;
	assert_true(wire_topic_share_split(bytes_of("$share/group/a/b"), &name, &filter));
	assert_bytes_text(name, "group");
	assert_bytes_text(filter, "a/b");
	assert_true(wire_topic_share_split(bytes_of("$share/g//a"), &name, &filter));
	assert_bytes_text(filter, "/a");
	assert_false(wire_topic_share_split(bytes_of("$share/g"), &name, &filter));
	assert_false(wire_topic_share_split(bytes_of("$share"), &name, &filter));
	assert_false(wire_topic_share_split(bytes_of("a/b/c"), &name, &filter));
	assert_false(wire_topic_share_split(bytes_of(""), &name, &filter));
}

static void
matching_follows_section_4_7(void **state)
{
	static const struct {
		const char *filter, *name;
		bool matches;
	} rows[] = {
	    {"a", "a", true},
	    {"a", "b", false},
	    {"a", "A", false},
	    {"a", "a/", false},
	    {"a/", "a", false},
	    {"a/#", "a", true},
	    {"a/#", "a/", true},
	    {"a/#", "a/b/c", true},
	    {"a/#", "ab", false},
	    {"#", "a/b", true},
	    {"#", "/", true},
	    {"#", "$SYS/a", false},
	    {"+", "$SYS", false},
	    {"+/a", "$SYS/a", false},
	    {"$SYS/#", "$SYS/a", true},
	    {"$SYS/+", "$SYS/a", true},
	    {"a/$x", "a/$x", true},
	    {"a/+", "a/$x", true},
	    {"+", "a", true},
	    {"+", "a/b", false},
	    {"+", "/a", false},
	    {"/+", "/a", true},
	    {"+/+", "/a", true},
	    {"+/+", "/", true},
	    {"a/+", "a/", true},
	    {"a/+", "a", false},
	    {"a/+/c", "a/b/c", true},
	    {"a/+/c", "a/b/d", false},
	    {"a//b", "a/b", false},
	    {"a//b", "a//b", true},
	    {"a/b", "a//b", false},
	    {"+/b/#", "a/b", true},
	    {"+/b/#", "a/c", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		bool matches = wire_topic_matches(bytes_of(rows[i].filter), bytes_of(rows[i].name));

		if (matches != rows[i].matches) {
			print_error("%s %s\n", rows[i].filter, rows[i].name);
		}
		assert_int_equal(matches, rows[i].matches);
	}
}

static void
levels_are_counted_and_walked_with_the_empty_ones(void **state)
{
	struct wire_topic_levels levels = wire_topic_levels_of(bytes_of("a//b/"));
	static const char *const want[] = {"a", "", "b", ""};
	struct bytes level;

	(void)state;
	assert_int_equal(wire_topic_level_count(bytes_of("a")), 1);
	assert_int_equal(wire_topic_level_count(bytes_of("/")), 2);
	assert_int_equal(wire_topic_level_count(bytes_of("a/b/c")), 3);
	for (size_t i = 0; i < 4; i++) {
		assert_true(wire_topic_next_level(&levels, &level));
		assert_bytes_text(level, want[i]);
	}
	assert_false(wire_topic_next_level(&levels, &level));
}

static void
each_fault_has_a_sentence_and_a_class(void **state)
{
	(void)state;
	for (int fault = WIRE_TOPIC_OK; fault <= WIRE_TOPIC_SHARE; fault++) {
		assert_non_null(wire_topic_fault_text((enum wire_topic_fault)fault));
	}
	assert_true(wire_topic_fault_is_malformed(WIRE_TOPIC_NUL));
	assert_true(wire_topic_fault_is_malformed(WIRE_TOPIC_NOT_UTF8));
	assert_false(wire_topic_fault_is_malformed(WIRE_TOPIC_WILDCARD));
	assert_false(wire_topic_fault_is_malformed(WIRE_TOPIC_EMPTY));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_are_judged_by_their_worst_character),
	    cmocka_unit_test(a_bad_byte_is_found_in_every_place),
	    cmocka_unit_test(nothing_is_read_behind_the_end),
	    cmocka_unit_test(a_name_may_have_65535_bytes_and_no_more),
	    cmocka_unit_test(filters_place_their_wildcards_alone_in_a_level),
	    cmocka_unit_test(before_mqtt_5_an_ill_formed_share_is_an_ordinary_filter),
	    cmocka_unit_test(a_shared_filter_is_split_at_the_second_slash),
	    cmocka_unit_test(matching_follows_section_4_7),
	    cmocka_unit_test(levels_are_counted_and_walked_with_the_empty_ones),
	    cmocka_unit_test(each_fault_has_a_sentence_and_a_class),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
