/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Megabytes of what a parser may be bad at. Whether they are refused does not matter here; they
 * shall end, soon, and in an amount of memory that the limits let expect.
 */
#include "unit/conf/conf_unit.h"

enum {
	MIB = 1024 * 1024,
	FLOOD_SECONDS = 4, /* of CPU, sanitizers included; without them less than one */
};

/* Text of one unit again and again. */
struct flood {
	const char *head, *unit, *tail;
	size_t len;
	void (*fill)(struct buf *out); /* in place of all that */
};

static void
fill_anchors_and_aliases(struct buf *out)
{
	for (int i = 0; i < 45000; i++) {
		buf_printf(out, "- &anchor_of_a_long_name_%d x\n", i);
	}
	for (int i = 0; i < 45000; i++) {
		buf_printf(out, "- *anchor_of_a_long_name_%d\n", i);
	}
}

static void
fill_one_missing_alias(struct buf *out)
{
	for (int i = 0; i < 90000; i++) {
		buf_printf(out, "- &a%d x\n", i);
	}
	buf_append_text(out, "- *b\n");
}

static void
fill_tag_directives(struct buf *out)
{
	for (int i = 0; i < 60000; i++) {
		buf_printf(out, "%%TAG !e%d! x\n", i);
	}
	buf_append_text(out, "---\na: 1\n");
}

static void
fill_keys(struct buf *out)
{
	for (int i = 0; i < 24; i++) {
		buf_printf(out, "m%d:\n", i);
		for (int k = 0; k < 4096; k++) {
			buf_printf(out, " a_key_with_a_long_common_part_%d: 1\n", k);
		}
	}
}

static void
fill_double_keys(struct buf *out)
{
	for (int i = 0; i < 24; i++) {
		buf_printf(out, "m%d:\n", i);
		for (int k = 0; k < 4096; k++) {
			buf_printf(out, " k%d: 1\n", k < 2048 ? k : 2047);
		}
	}
}

static void
fill_laughs(struct buf *out)
{
	buf_append_text(out, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
	for (int i = 1; i < 1000; i++) {
		buf_printf(out, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++) {
			buf_printf(out, "*a%d, ", i - 1);
		}
		buf_append_text(out, "]\n");
	}
}

static void
fill_rising_indent(struct buf *out)
{
	for (int i = 0; i < 2000; i++) {
		buf_printf(out, "%*sa:\n", i, "");
	}
}

static void
fill_rising_questions(struct buf *out)
{
	for (int i = 0; i < 1400; i++) {
		buf_printf(out, "%*s?\n", i, "");
	}
}

static const struct flood floods[] = {
    {"", "[", "", 4 * MIB, NULL},
    {"", "{", "", 4 * MIB, NULL},
    {"", "[{", "", 4 * MIB, NULL},
    {"", "[\n", "", 4 * MIB, NULL},
    {"[", "[],", "]", 4 * MIB, NULL},
    {"", "]", "", 4 * MIB, NULL},
    {"", "? ", "", 4 * MIB, NULL},
    {"", "- ", "", 4 * MIB, NULL},
    {"", "- ? ", "", 4 * MIB, NULL},
    {"", "a: ", "", 4 * MIB, NULL},
    {"[", "? ", "", 4 * MIB, NULL},
    {"[", "a: b,", "]", 4 * MIB, NULL},
    {"a: ", "x", "\n", 4 * MIB, NULL},
    {"a: ", "x ", "\n", 4 * MIB, NULL},
    {"a: ", "x\n ", "\n", 4 * MIB, NULL},
    {"", "x", ": 1\n", 4 * MIB, NULL},
    {"a: \"", "x", "\"\n", 4 * MIB, NULL},
    {"a: \"", "x", "", 4 * MIB, NULL},
    {"a: \"", "\\u00e9", "\"\n", 4 * MIB, NULL},
    {"a: '", "\n", "'\n", 4 * MIB, NULL},
    {"a: |\n", " x\n", "", 4 * MIB, NULL},
    {"a: >\n", " x\n", "", 4 * MIB, NULL},
    {"", "a: 1\n", "", 4 * MIB, NULL},
    {"{", "a,", "}\n", 4 * MIB, NULL},
    {"", "- &a x\n", "", 600000, NULL},
    {"- ", "&a ", "", 4 * MIB, NULL},
    {"a: &", "x", " b\n", 4 * MIB, NULL},
    {"a: *", "x", "\n", 4 * MIB, NULL},
    {"a: !", "x", " b\n", 4 * MIB, NULL},
    {"", "- !x y\n", "", 600000, NULL},
    {"", "- !env X\n", "", 800000, NULL},
    {"", "---\n", "", 4 * MIB, NULL},
    {"", "%FOO x\n", "", 4 * MIB, NULL},
    {"", "\"", "", 4 * MIB, NULL},
    {"[", "\"\",", "]", 4 * MIB, NULL},
    {"", "- |\n", "", 4 * MIB, NULL},
    {"", "\t", "", 4 * MIB, NULL},
    {"", "\n", "", 4 * MIB, NULL},
    {"", "#", "", 4 * MIB, NULL},
    {"", "#\n", "", 4 * MIB, NULL},
    {"", "", "", 0, fill_anchors_and_aliases},
    {"", "", "", 0, fill_one_missing_alias},
    {"", "", "", 0, fill_tag_directives},
    {"", "", "", 0, fill_keys},
    {"", "", "", 0, fill_double_keys},
    {"", "", "", 0, fill_laughs},
    {"", "", "", 0, fill_rising_indent},
    {"", "", "", 0, fill_rising_questions},
};

static void
flood_fill(const struct flood *flood, struct buf *out)
{
	size_t tail = strlen(flood->tail);

	if (flood->fill != NULL) {
		flood->fill(out);
		return;
	}
	buf_append_text(out, flood->head);
	while (out->len + strlen(flood->unit) + tail <= flood->len) {
		buf_append_text(out, flood->unit);
	}
	buf_append_text(out, flood->tail);
}

/* 0: it ended, and took no more than the limits let expect; 2: it took more. */
static int
flood_read(void *argument)
{
	struct buf text;
	struct arena arena;
	struct conf_errors errors;

	buf_init(&text, SIZE_MAX);
	flood_fill(argument, &text);
	arena_init(&arena);
	conf_errors_init(&errors, &arena, conf_default_limits.max_errors);
	struct conf_parse parse = {&arena, &errors, &conf_default_limits, NULL, 0};
	(void)conf_yaml_parse(&parse, "x.yaml", buf_bytes(&text));
	bool small =
	    arena.total <= 64 * (size_t)MIB && errors.list.count <= conf_default_limits.max_errors;
	struct buf said;

	buf_init(&said, SIZE_MAX);
	conf_errors_format(&errors, &said);
	small = small && said.len <= 100000;
	buf_fini(&said);
	conf_errors_fini(&errors);
	arena_fini(&arena);
	buf_fini(&text);
	return small ? 0 : 2;
}

static void
no_flood_takes_long_or_much(void **state)
{
	size_t bad = 0;

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(floods); i++) {
		struct flood flood = floods[i];
		int answer = run_apart(flood_read, &flood, FLOOD_SECONDS);

		if (answer != 0) {
			print_error("flood %zu of \"%s%s...\": %s\n", i, flood.head, flood.unit,
			    answer == 2 ? "too much memory" : "too long, or dead");
			bad++;
		}
	}
	assert_int_equal(bad, 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_flood_takes_long_or_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
