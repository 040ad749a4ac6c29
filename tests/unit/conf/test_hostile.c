/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML that is refused: each with one sentence at the place that is to blame.
 */
#include "unit/conf/conf_unit.h"

struct refusal {
	const char *text;
	const char *place;
	const char *words;
};

static void
assert_refused(const struct refusal *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct conf *conf = read_text(rows[i].text);

		assert_said_once(conf, rows[i].place, "", rows[i].words);
		conf_unref(&conf);
	}
}

static void
an_alias_needs_an_anchor_that_is_complete(void **state)
{
	static const struct refusal rows[] = {
	    {"a: *x\n", "1:4", "alias"},
	    {"a: *x\nb: &x 1\n", "1:4", "alias"},
	    {"a: &x [*x]\n", "1:8", "alias"},
	    {"a: &x {b: *x}\n", "1:11", "alias"},
	    {"&x\na: [b, {c: *x}]\n", "2:12", "alias"},
	    {"a: &x [&y [*x]]\n", "1:12", "alias"},
	    {"a: &x 1\nb: *X\n", "2:4", "alias"},
	    {"\xc3\xa4: [\xc3\xa4, *x]\n", "1:8", "alias"},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

static void
a_key_stands_once_and_both_places_are_told(void **state)
{
	static const struct refusal rows[] = {
	    {"a: 1\na: 2\n", "2:1", "line 1"},
	    {"a: 1\n\"a\": 2\n", "2:1", "line 1"},
	    {"a:\n  b: 1\n  c: 2\n  b: 3\n", "4:3", "line 2"},
	    {"{a: 1, b: 2, a: 3}\n", "1:14", "\"a\""},
	    {"\xc3\xa4: {b: 1, b: 2}\n", "1:11", "\"b\""},
	    {"- {}\n- {b: 1, b: 1}\n", "2:10", "line 2"},
	    {"a:\na:\n", "2:1", "line 1"},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

static void
each_double_of_a_key_is_told(void **state)
{
	static const struct said want[] = {
	    {"x.yaml:3:1", "", "\"a\""},
	    {"x.yaml:4:1", "", "\"b\""},
	    {"x.yaml:5:1", "", "\"a\""},
	};
	struct conf *conf = read_text("a: 1\nb: 2\na: 3\nb: 4\na: 5\n");

	(void)state;
	assert_said(conf, want, CONF_COUNT(want));
	conf_unref(&conf);
}

static void
the_same_key_in_different_mappings_is_fine(void **state)
{
	struct conf *conf = read_text("a: {a: 1, b: {a: 1}}\nb: [{a: 1}, {a: 2}]\nA: 1\n");

	(void)state;
	assert_nothing_said(conf);
	conf_unref(&conf);
}

static void
a_key_is_a_plain_word(void **state)
{
	static const struct refusal rows[] = {
	    {"[1]: 2\n", "1:1", "key"},
	    {"{a: 1}: 2\n", "1:1", "key"},
	    {"? [a]\n: b\n", "1:3", "key"},
	    {"? - a\n  - b\n: c\n", "1:3", "key"},
	    {"? {a: b}\n: c\n", "1:3", "key"},
	    {"a:\n  ? ? b\n", "2:5", "key"},
	    {"<<: {a: 1}\n", "1:1", "<<"},
	    {"a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n", "3:3", "<<"},
	    {"a: &x {b: 1}\nc: {d: 1, <<: [*x, *x]}\n", "2:11", "<<"},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

static void
a_key_does_not_hide_a_nul(void **state)
{
	static const struct refusal rows[] = {
	    {"\"a\\0b\": 1\n", "1:1", "NUL"},
	    {"x: {y: 1, \"\\0\": 1}\n", "1:11", "NUL"},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

static void
a_tag_that_is_unknown_is_refused(void **state)
{
	static const struct refusal rows[] = {
	    {"a: !foo 1\n", "1:4", "!foo"},
	    {"a: !foo [x]\n", "1:4", "!foo"},
	    {"- !bar {a: b}\n", "1:3", "!bar"},
	    {"a: !Env X\n", "1:4", "!Env"},
	    {"a: !envx X\n", "1:4", "!envx"},
	    {"a: !!python/object/apply:os.system [ls]\n", "1:4", "python"},
	    {"a: !<x:y> 1\n", "1:4", "x:y"},
	    {"a: !e!f 1\n", "1:4", NULL},
	    {"%TAG !e! tag:example,\n---\na: !e!f 1\n", "3:4", "tag:example,f"},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

static void
a_tag_before_a_key_is_refused_as_well(void **state)
{
	static const struct refusal rows[] = {
	    {"!foo a: 1\n", "1:1", "!foo"},
	    {"a: 1\n!env b: 1\n", "2:1", NULL},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

static void
a_file_is_one_document(void **state)
{
	static const struct refusal rows[] = {
	    {"a: 1\n---\nb: 2\n", "2:1", "document"},
	    {"a: 1\n...\n---\nb: 2\n", "3:1", "document"},
	    {"---\n---\n", "2:1", "document"},
	    {"a: 1\n--- b\n", "2:1", "document"},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

static void
text_is_utf8_and_nothing_else(void **state)
{
	static const struct refusal rows[] = {
	    {"a: \xff\n", "1:4", "UTF-8"},
	    {"a: b\nc: \xc0\xaf\n", "2:4", "UTF-8"},
	    {"a: \xed\xa0\x80\n", "1:4", "UTF-8"},
	    {"a: \xf4\x90\x80\x80\n", "1:4", "UTF-8"},
	    {"a: \xc3", "1:4", "UTF-8"},
	    {"\xc3\xa4: \xc3\xa4\xff\n", "1:5", "UTF-8"},
	    {"# \xe4\n", "1:3", "UTF-8"},
	    {"\xfe\xff", "1:1", "UTF-8"},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

static void
a_nul_anywhere_is_refused_at_its_place(void **state)
{
	static const struct {
		struct bytes text;
		const char *place;
	} rows[] = {
	    {{(const uint8_t *)"a: b\0c\n", 7}, "1:5"},
	    {{(const uint8_t *)"a: b\n\0", 6}, "2:1"},
	    {{(const uint8_t *)"\0", 1}, "1:1"},
	    {{(const uint8_t *)"a: 1\n# \0\nb: 2\n", 14}, "2:3"},
	    {{(const uint8_t *)"\xff\xfe\x61\0\x3a\0\x20\0\x31\0", 10}, "1:1"},
	};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		struct conf *conf = conf_read("x.yaml", rows[i].text, NULL, NULL);

		assert_said_once(conf, rows[i].place, "", NULL);
		assert_null(conf_root(conf));
		conf_unref(&conf);
	}
}

static void
control_characters_are_refused_at_their_place(void **state)
{
	static const struct refusal rows[] = {
	    {"a: \x01\n", "1:4", "control"},
	    {"a: b\x1b[31m\n", "1:5", "control"},
	    {"a: \"\x08\"\n", "1:5", "control"},
	    {"a: 1\nb\x7f: 2\n", "2:2", "control"},
	    {"a: 1 # \x0c\n", "1:8", "control"},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

static void
a_tab_is_no_indentation(void **state)
{
	static const struct refusal rows[] = {
	    {"\ta: 1\n", "1:1", "tab"},
	    {"a:\n\tb: 1\n", "2:1", "tab"},
	    {"a:\n  - b\n\t- c\n", "3:1", "tab"},
	    {"a: |\n\tb\n", "2:1", "tab"},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

static void
a_tab_is_seen_behind_characters_of_several_bytes(void **state)
{
	static const struct refusal rows[] = {
	    {"\xc3\xa4: 1\na:\n\tb: 1\n", "3:1", "tab"},
	    {"# \xf0\x9f\x90\xa6\n\ta: 1\n", "2:1", "tab"},
	};
	struct conf *conf = read_text("\xc3\xa4z:\t@x\n");

	(void)state;
	char *text = said_text(conf);
	assert_non_null(strstr(text, "x.yaml:1:5: "));
	assert_null(strstr(text, "tab")); /* it is the @ that is to blame */
	free(text);
	conf_unref(&conf);
	assert_refused(rows, CONF_COUNT(rows));
}

static void
what_is_no_yaml_is_refused_where_it_stops_being_it(void **state)
{
	static const struct refusal rows[] = {
	    {"a: b: c\n", "1:5", NULL},
	    {"a: @x\n", "1:4", NULL},
	    {"a: `x`\n", "1:4", NULL},
	    {"a: %x\n", "1:4", NULL},
	    {"a:\n  b: 1\n c: 2\n", "3:2", NULL},
	    {"a: [x\nb: 1\n", "2:2", NULL},
	    {"a: 1\n...\nfoo\n", "3:1", NULL},
	    {"]\n", "1:1", NULL},
	    {"a: [b}\n", "1:6", NULL},
	    {"%YAML 3.1\n---\na: 1\n", "1:1", NULL},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

/* Where it begins and where the text ends are both good places. */
static void
what_is_not_ended_is_refused(void **state)
{
	static const struct {
		const char *text, *begin, *end;
	} rows[] = {
	    {"a: \"x\n", "1:4", "2:1"},
	    {"a: 'x\n", "1:4", "2:1"},
	    {"a: [1, 2\n", "1:4", "2:1"},
	    {"a: {b: 1\n", "1:4", "2:1"},
	    {"a: [", "1:4", "2:1"},
	    {"a: \"", "1:4", "1:5"},
	};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		struct conf *conf = read_text(rows[i].text);
		char *text = said_text(conf);
		char at[32];

		(void)snprintf(at, sizeof(at), "x.yaml:%s:", rows[i].begin);
		bool begin = strncmp(text, at, strlen(at)) == 0;
		assert_said_once(conf, begin ? rows[i].begin : rows[i].end, "", NULL);
		free(text);
		conf_unref(&conf);
	}
}

static void
a_sentence_carries_no_control_characters(void **state)
{
	static const struct refusal rows[] = {
	    {"\"a\\nb\": 1\n\"a\\nb\": 2\n", "2:1", NULL},
	    {"\"\\e[31m\": 1\n\"\\e[31m\": 2\n", "2:1", NULL},
	    {"a: !<x%0Ay> 1\n", "1:4", NULL},
	    {"a: !<%1B> 1\n", "1:4", NULL},
	};

	(void)state;
	assert_refused(rows, CONF_COUNT(rows));
}

enum limit_name { NO_LIMIT, MAX_BYTES, MAX_VALUE, MAX_NODES, MAX_KEYS, MAX_DEPTH };

struct limit {
	enum limit_name name;
	unsigned value;
	const char *text;
	const char *place; /* NULL: allowed */
	const char *words;
};

static struct conf_limits
limits_of(const struct limit *limit)
{
	struct conf_limits limits = conf_default_limits;

	switch (limit->name) {
	case NO_LIMIT:
		break;
	case MAX_BYTES:
		limits.max_bytes = limit->value;
		break;
	case MAX_VALUE:
		limits.max_value = limit->value;
		break;
	case MAX_NODES:
		limits.max_nodes = limit->value;
		break;
	case MAX_KEYS:
		limits.max_keys = limit->value;
		break;
	case MAX_DEPTH:
		limits.max_depth = limit->value;
		break;
	}
	return limits;
}

static const struct limit limit_rows[] = {
    {NO_LIMIT, 0, "a: [1, 2]\n", NULL, NULL},
    {MAX_BYTES, 5, "a: 1\n", NULL, NULL},
    {MAX_BYTES, 4, "a: 1\n", "", "large"},
    {MAX_VALUE, 7, "a: abcdefg\n", NULL, NULL},
    {MAX_VALUE, 7, "a: abcdefgh\n", "1:4", "long"},
    {MAX_VALUE, 7, "a: [x, \"abcdefgh\"]\n", "1:8", "long"},
    {MAX_VALUE, 7, "a:\n  - |\n    abc\n    def\n", "2:5", "long"},
    {MAX_VALUE, 7, "abcdefg: 1\n", NULL, NULL},
    {MAX_VALUE, 7, "abcdefgh: 1\n", "1:1", "long"},
    {MAX_VALUE, 7, "a: \xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\n", "1:4", "long"},
    {MAX_NODES, 6, "a: [1, 2, 3, 4]\n", NULL, NULL},
    {MAX_NODES, 5, "a: [1, 2, 3, 4]\n", "1:14", "many"},
    {MAX_NODES, 3, "a: 1\nb: 2\nc: 3\n", "3:4", "many"},
    {MAX_NODES, 7, "- &x [1, 2]\n- *x\n", NULL, NULL},
    {MAX_NODES, 6, "- &x [1, 2]\n- *x\n", "2:3", "many"},
    {MAX_NODES, 10, "- &x [1, 2]\n- *x\n- *x\n", NULL, NULL},
    {MAX_NODES, 9, "- &x [1, 2]\n- *x\n- *x\n", "3:3", "many"},
    {MAX_KEYS, 2, "a: 1\nb: {c: 1, d: 1}\n", NULL, NULL},
    {MAX_KEYS, 2, "a: 1\nb: 2\nc: 3\n", "3:1", "keys"},
    {MAX_KEYS, 2, "a: [{b: 1, c: 2, d: 3}]\n", "1:18", "keys"},
    {MAX_DEPTH, 4, "a: [[[]]]\n", NULL, NULL},
    {MAX_DEPTH, 4, "a: [[[], []], [[]]]\n", NULL, NULL},
    {MAX_DEPTH, 4, "a: [[[[]]]]\n", "1:7", "deep"},
    {MAX_DEPTH, 4, "a:\n  b:\n    c:\n      d:\n        e: 1\n", "5:9", "deep"},
    {MAX_DEPTH, 4, "- - - - - x\n", "1:9", "deep"},
};

static void
each_limit_holds_at_its_last_value(void **state)
{
	(void)state;
	for (size_t i = 0; i < CONF_COUNT(limit_rows); i++) {
		const struct limit *row = &limit_rows[i];
		struct conf_limits limits = limits_of(row);
		struct conf *conf = conf_read("x.yaml", bytes_of(row->text), &limits, NULL);

		if (row->place == NULL) {
			assert_nothing_said(conf);
			assert_non_null(conf_root(conf));
		} else {
			assert_said_once(conf, row->place, "", row->words);
			assert_null(conf_root(conf));
		}
		conf_unref(&conf);
	}
}

/* Who walks the tree trusts max_depth, whichever way the depth was written. */
static void
aliases_do_not_nest_deeper_than_the_limit(void **state)
{
	static const char text[] =
	    "- &a []\n- &b [*a]\n- &c [*b]\n- &d [*c]\n- &e [*d]\n- &f [*e]\n";
	struct conf_limits limits = conf_default_limits;

	(void)state;
	limits.max_depth = 4;
	struct conf *conf = conf_read("x.yaml", BYTES_LITERAL(text), &limits, NULL);
	assert_said_once(conf, "4:7", "", "deep");
	conf_unref(&conf);
}

static void
errors_beyond_the_limit_are_counted(void **state)
{
	struct conf_limits limits = conf_default_limits;

	(void)state;
	limits.max_errors = 2;
	struct conf *conf = conf_read(
	    "x.yaml", BYTES_LITERAL("- !a 1\n- !b 1\n- !c 1\n- !d 1\n- !e 1\n"), &limits, NULL);
	char *text = said_text(conf);
	assert_true(conf_has_errors(conf));
	assert_non_null(strstr(text, "x.yaml:1:3: "));
	assert_non_null(strstr(text, "x.yaml:2:3: "));
	assert_null(strstr(text, "x.yaml:3:3: "));
	assert_non_null(strstr(text, "3 more"));
	free(text);
	conf_unref(&conf);
}

static void
errors_that_are_only_counted_are_errors(void **state)
{
	struct conf_limits limits = conf_default_limits;

	(void)state;
	limits.max_errors = 0;
	struct conf *conf = conf_read("x.yaml", BYTES_LITERAL("a: 1\na: 2\n"), &limits, NULL);
	assert_true(conf_has_errors(conf));
	conf_unref(&conf);
}

static const char *
long_env(const char *name)
{
	static char value[60000];

	(void)name;
	memset(value, 'x', sizeof(value) - 1);
	return value;
}

/* What references and aliases repeat is bounded in bytes as well. */
static void
long_values_weigh_more(void **state)
{
	static const struct conf_sources sources = {.env = long_env};
	struct buf text;

	(void)state;
	buf_init(&text, SIZE_MAX);
	for (int i = 0; i < 200; i++) {
		buf_append_text(&text, "- !env X\n");
	}
	struct conf *conf = conf_read("x.yaml", buf_bytes(&text), NULL, &sources);
	assert_true(conf_has_errors(conf));
	conf_unref(&conf);
	buf_clear(&text);
	buf_append_text(&text, "- &a ");
	for (int i = 0; i < 6000; i++) {
		buf_append_text(&text, "xxxxxxxxxx");
	}
	for (int i = 0; i < 200; i++) {
		buf_append_text(&text, "\n- *a");
	}
	conf = conf_read("x.yaml", buf_bytes(&text), NULL, NULL);
	assert_true(conf_has_errors(conf));
	conf_unref(&conf);
	buf_fini(&text);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_alias_needs_an_anchor_that_is_complete),
	    cmocka_unit_test(a_key_stands_once_and_both_places_are_told),
	    cmocka_unit_test(each_double_of_a_key_is_told),
	    cmocka_unit_test(the_same_key_in_different_mappings_is_fine),
	    cmocka_unit_test(a_key_is_a_plain_word),
	    cmocka_unit_test(a_key_does_not_hide_a_nul),
	    cmocka_unit_test(a_tag_that_is_unknown_is_refused),
	    cmocka_unit_test(a_tag_before_a_key_is_refused_as_well),
	    cmocka_unit_test(a_file_is_one_document),
	    cmocka_unit_test(text_is_utf8_and_nothing_else),
	    cmocka_unit_test(a_nul_anywhere_is_refused_at_its_place),
	    cmocka_unit_test(control_characters_are_refused_at_their_place),
	    cmocka_unit_test(a_tab_is_no_indentation),
	    cmocka_unit_test(a_tab_is_seen_behind_characters_of_several_bytes),
	    cmocka_unit_test(what_is_no_yaml_is_refused_where_it_stops_being_it),
	    cmocka_unit_test(what_is_not_ended_is_refused),
	    cmocka_unit_test(a_sentence_carries_no_control_characters),
	    cmocka_unit_test(each_limit_holds_at_its_last_value),
	    cmocka_unit_test(aliases_do_not_nest_deeper_than_the_limit),
	    cmocka_unit_test(errors_beyond_the_limit_are_counted),
	    cmocka_unit_test(long_values_weigh_more),
	    cmocka_unit_test(errors_that_are_only_counted_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
