/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a table of options may say beyond the usual: defaults of every type, ranges with one end,
 * short forms, and checks of whole structs.
 */
#include "unit/conf/conf_unit.h"

struct inner {
	const char *name;
	int64_t size;
	const char *text;
};

struct outer {
	int64_t number;
	const char *text;
	struct conf_strings texts;
	int64_t flags;
	struct inner inner;
	struct conf_list list;
	struct conf_list named;
	const struct conf_node *node;
};

#define OUTER(member) .offset = offsetof(struct outer, member)
#define INNER(member) .offset = offsetof(struct inner, member)
#define SCHEMA(list, type, ...)                                                                 \
	{                                                                                       \
		.options = (list), .count = CONF_COUNT(list), .size = sizeof(type), __VA_ARGS__ \
	}

static const struct conf_word words_flags[] = {{"a", 1}, {"b", 2}, {"c", 4}, {NULL, 0}};

static const struct conf_option inner_options[] = {
    {"size", CONF_SIZE, INNER(size), .fallback = "4KiB"},
    {"text", CONF_STRING, INNER(text), .fallback = "inner"},
};
static const struct conf_schema inner_schema = SCHEMA(
    inner_options, struct inner, .shorthand = "size", .name_offset = offsetof(struct inner, name));

static const struct conf_option outer_options[] = {
    {"number", CONF_INT, OUTER(number), .fallback = "-7", .min = -10, .max = 10},
    {"text", CONF_STRING, OUTER(text), .fallback = "'a: b # c'"},
    {"texts", CONF_STRINGS, OUTER(texts), .fallback = "[x, 'y z']"},
    {"flags", CONF_FLAGS, OUTER(flags), .fallback = "[a, c]", .words = words_flags},
    {"inner", CONF_STRUCT, OUTER(inner), .fallback = "{size: 1MiB}", .schema = &inner_schema},
    {"list", CONF_LIST, OUTER(list), .fallback = "[{text: l}, 8KiB]", .schema = &inner_schema},
    {"named", CONF_NAMED, OUTER(named), .fallback = "{n: {}, m: 2KiB}", .schema = &inner_schema},
    {"node", CONF_NODE, OUTER(node), .fallback = "{k: [v]}"},
};
static const struct conf_schema outer_schema = SCHEMA(outer_options, struct outer, .check = NULL);

static const void *
bound(struct conf **conf, const struct conf_schema *schema, const char *text)
{
	*conf = read_text(text);
	const void *target = conf_bind(*conf, schema);

	assert_nothing_said(*conf);
	assert_non_null(target);
	return target;
}

static const struct inner *
inner_at(const struct conf_list *list, size_t index)
{
	assert_true(index < list->count);
	return (const struct inner *)list->items + index;
}

static void
a_default_of_each_type_is_yaml(void **state)
{
	struct conf *conf = NULL;
	const struct outer *outer = bound(&conf, &outer_schema, "");

	(void)state;
	assert_int_equal(outer->number, -7);
	assert_string_equal(outer->text, "a: b # c");
	assert_int_equal(outer->texts.count, 2);
	assert_string_equal(outer->texts.items[1], "y z");
	assert_int_equal(outer->flags, 5);
	assert_int_equal(outer->inner.size, 1 << 20);
	assert_string_equal(outer->inner.text, "inner");
	assert_int_equal(outer->list.count, 2);
	assert_string_equal(inner_at(&outer->list, 0)->text, "l");
	assert_int_equal(inner_at(&outer->list, 0)->size, 4096);
	assert_int_equal(inner_at(&outer->list, 1)->size, 8192);
	assert_int_equal(outer->named.count, 2);
	assert_string_equal(inner_at(&outer->named, 0)->name, "n");
	assert_string_equal(inner_at(&outer->named, 1)->name, "m");
	assert_int_equal(inner_at(&outer->named, 1)->size, 2048);
	assert_non_null(outer->node);
	assert_scalar(value_of(outer->node, "k")->items[0], "v");
	conf_unref(&conf);
}

static void
what_is_written_takes_the_place_of_each_default(void **state)
{
	struct conf *conf = NULL;
	const struct outer *outer = bound(&conf, &outer_schema,
	    "{number: 10, text: ~, texts: [], flags: [], inner: {text: t},\n"
	    " list: [], named: {}, node: 5}");

	(void)state;
	assert_int_equal(outer->number, 10);
	assert_null(outer->text);
	assert_int_equal(outer->texts.count, 0);
	assert_int_equal(outer->flags, 0);
	assert_string_equal(outer->inner.text, "t");
	assert_int_equal(outer->inner.size, 1 << 20);
	assert_int_equal(outer->list.count, 0);
	assert_int_equal(outer->named.count, 0);
	assert_scalar(outer->node, "5");
	conf_unref(&conf);
}

static void
a_default_is_dumped_as_it_is_bound(void **state)
{
	struct conf *conf = NULL;
	const struct outer *outer = bound(&conf, &outer_schema, "");
	struct buf out;

	(void)state;
	buf_init(&out, SIZE_MAX);
	conf_dump(conf, &outer_schema, outer, false, &out);
	struct conf *again = NULL;
	const struct outer *same = bound(&again, &outer_schema, buf_text(&out));
	assert_int_equal(same->number, outer->number);
	assert_string_equal(same->text, outer->text);
	assert_string_equal(same->texts.items[1], outer->texts.items[1]);
	assert_int_equal(same->flags, outer->flags);
	assert_int_equal(same->inner.size, outer->inner.size);
	assert_int_equal(inner_at(&same->list, 1)->size, 8192);
	assert_string_equal(inner_at(&same->named, 1)->name, "m");
	assert_non_null(same->node);
	assert_scalar(value_of(same->node, "k")->items[0], "v");
	conf_unref(&again);
	conf_unref(&conf);
	buf_fini(&out);
}

static void
a_long_help_is_several_lines_of_comment(void **state)
{
	static const char word[] = "eleven_long ";
	char help[25 * (sizeof(word) - 1) + 1];
	struct conf_option options[] = {{"number", CONF_INT, OUTER(number), .help = help}};
	const struct conf_schema schema = SCHEMA(options, struct outer, .check = NULL);
	struct conf *conf = NULL;
	struct buf out;
	size_t words_seen = 0;

	(void)state;
	for (size_t i = 0; i < 25; i++) {
		memcpy(help + i * (sizeof(word) - 1), word, sizeof(word));
	}
	help[sizeof(help) - 2] = '\0';
	const void *outer = bound(&conf, &schema, "");
	buf_init(&out, SIZE_MAX);
	conf_dump(conf, &schema, outer, true, &out);
	for (const char *line = buf_text(&out); *line != '\0'; line += strcspn(line, "\n") + 1) {
		assert_true(*line == '#' || strncmp(line, "number: 0\n", 10) == 0);
		assert_true(strcspn(line, "\n") <= 100);
	}
	for (const char *at = buf_text(&out); (at = strstr(at, "eleven_long")) != NULL; at++) {
		words_seen++;
	}
	assert_int_equal(words_seen, 25);
	buf_fini(&out);
	conf_unref(&conf);
}

/* schema.h: the default is YAML text, and null is NULL. */
static int
bind_default_null(void *argument)
{
	static const struct conf_option options[] = {
	    {"text", CONF_STRING, OUTER(text), .fallback = "null"}};
	static const struct conf_schema schema = SCHEMA(options, struct outer, .check = NULL);
	struct conf *conf = read_text("");
	const struct outer *outer = conf_bind(conf, &schema);
	bool fine = outer != NULL && outer->text == NULL;

	(void)argument;
	conf_unref(&conf);
	return fine ? 0 : 1;
}

static void
a_default_may_be_null(void **state)
{
	(void)state;
	assert_int_equal(run_apart(bind_default_null, NULL, 5), 0);
}

static void
a_range_may_have_one_end_or_be_below_zero(void **state)
{
	static const struct conf_option options[] = {
	    {"low", CONF_INT, OUTER(number), .fallback = "5", .min = 5},
	    {"high", CONF_INT, OUTER(flags), .fallback = "1", .min = -5, .max = 5}};
	static const struct conf_schema schema = SCHEMA(options, struct outer, .check = NULL);
	static const struct {
		const char *text, *path, *words;
	} rows[] = {
	    {"low: 4", "low", "\"4\" must be at least 5"},
	    {"high: 6", "high", "must be from -5 to 5"},
	    {"high: -6", "high", "must be from -5 to 5"},
	};
	struct conf *conf = NULL;

	(void)state;
	(void)bound(&conf, &schema, "low: 9223372036854775807\nhigh: -5\n");
	conf_unref(&conf);
	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		conf = read_text(rows[i].text);
		assert_null(conf_bind(conf, &schema));
		assert_said_once(
		    conf, rows[i].path[0] == 'l' ? "1:6" : "1:7", rows[i].path, rows[i].words);
		conf_unref(&conf);
	}
}

static void
a_short_form_has_the_rules_of_its_key(void **state)
{
	struct conf *conf = read_text("list: [16KiB, many, [8]]\n");

	(void)state;
	assert_null(conf_bind(conf, &outer_schema));
	char *text = said_text(conf);
	assert_non_null(strstr(text, "x.yaml:1:15: list[1]"));
	assert_non_null(strstr(text, "\"many\" must be a size"));
	assert_non_null(strstr(text, "x.yaml:1:21: list[2]"));
	free(text);
	conf_unref(&conf);
}

/* What the last check was given, and what it shall say. */
static struct {
	int calls;
	bool had_node;
	char name[8];
	int64_t size;
	const char *fail_key;
	bool fail;
} seen;

static void
check_checked(struct conf_check *check, void *target)
{
	const struct inner *inner = target;

	seen.calls++;
	seen.had_node = check->node != NULL;
	seen.size = inner->size;
	(void)snprintf(seen.name, sizeof(seen.name), "%s", inner->name != NULL ? inner->name : "");
	if (seen.fail) {
		conf_check_fail(check, seen.fail_key, "size is %d", (int)inner->size);
	}
}

static const struct conf_schema checked_schema = SCHEMA(inner_options, struct inner,
    .shorthand = "size", .name_offset = offsetof(struct inner, name), .check = check_checked);

static const struct conf_option checker_options[] = {
    {"inner", CONF_STRUCT, OUTER(inner), .schema = &checked_schema},
    {"list", CONF_LIST, OUTER(list), .schema = &checked_schema},
    {"number", CONF_INT, OUTER(number), .fallback = "1"},
};
static const struct conf_schema checker_schema =
    SCHEMA(checker_options, struct outer, .check = NULL);

static void
assert_check_says(const char *text, const char *key, const char *place, const char *path)
{
	memset(&seen, 0, sizeof(seen));
	seen.fail = true;
	seen.fail_key = key;
	struct conf *conf = read_text(text);

	assert_null(conf_bind(conf, &checker_schema));
	assert_said_once(conf, place, path, "size is");
	conf_unref(&conf);
}

static void
a_check_is_given_what_was_written(void **state)
{
	struct conf *conf = NULL;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	(void)bound(&conf, &checker_schema, "inner: {size: 8}\n");
	assert_int_equal(seen.calls, 1);
	assert_true(seen.had_node);
	assert_int_equal(seen.size, 8);
	conf_unref(&conf);
	memset(&seen, 0, sizeof(seen));
	(void)bound(&conf, &checker_schema, "inner: 9\n");
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.size, 9);
	conf_unref(&conf);
}

static void
a_check_looks_at_defaults_too(void **state)
{
	struct conf *conf = NULL;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	(void)bound(&conf, &checker_schema, "number: 2\n");
	assert_true(seen.calls >= 1);
	assert_false(seen.had_node);
	assert_int_equal(seen.size, 4096);
	conf_unref(&conf);
}

static void
a_check_of_a_named_struct_sees_its_name(void **state)
{
	static const struct conf_option options[] = {
	    {"named", CONF_NAMED, OUTER(named), .schema = &checked_schema}};
	static const struct conf_schema schema = SCHEMA(options, struct outer, .check = NULL);
	struct conf *conf = NULL;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	(void)bound(&conf, &schema, "named: {who: {size: 8}}\n");
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.size, 8);
	assert_string_equal(seen.name, "who");
	conf_unref(&conf);
}

/* bind.h: the node is NULL when nothing was written; yaml.h: null is nothing written. */
static void
a_check_of_a_null_item_has_no_node(void **state)
{
	static const struct conf_option options[] = {
	    {"list", CONF_LIST, OUTER(list), .schema = &checked_schema}};
	static const struct conf_schema schema = SCHEMA(options, struct outer, .check = NULL);
	struct conf *conf = NULL;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	(void)bound(&conf, &schema, "list: [~]\n");
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.size, 4096);
	assert_false(seen.had_node);
	conf_unref(&conf);
}

static void
a_check_blames_a_key_or_the_struct(void **state)
{
	(void)state;
	assert_check_says("number: 1\ninner:\n  size: 8\n", "size", "3:9", "inner.size");
	assert_check_says("number: 1\ninner:\n  size: 8\n", NULL, "3:3", "inner");
	assert_check_says("number: 1\ninner: {size: 8}\n", NULL, "2:8", "inner");
	assert_check_says("list:\n  - {text: a}\n", NULL, "2:5", "list[0]");
}

static void
a_check_blames_the_struct_for_a_key_that_is_not_written(void **state)
{
	char *text = NULL;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	seen.fail = true;
	seen.fail_key = "size";
	struct conf *conf = read_text("number: 1\ninner:\n  text: a\n");
	assert_null(conf_bind(conf, &checker_schema));
	text = said_text(conf);
	assert_non_null(strstr(text, "x.yaml:3:3: inner"));
	assert_non_null(strstr(text, "size is 4096"));
	free(text);
	conf_unref(&conf);
}

static int
blame_what_is_not_there(void *argument)
{
	(void)argument;
	memset(&seen, 0, sizeof(seen));
	seen.fail = true;
	struct conf *conf = read_text("\n  number: 1\n");
	const void *target = conf_bind(conf, &checker_schema);
	struct buf said;

	buf_init(&said, SIZE_MAX);
	conf_format_errors(conf, &said);
	bool fine = target == NULL && strstr(buf_text(&said), "x.yaml:2:3: inner: size is 4096");
	buf_fini(&said);
	conf_unref(&conf);
	return fine ? 0 : 1;
}

/* The struct that would hold it is the nearest place there is. */
static void
a_check_may_blame_a_struct_that_is_not_there(void **state)
{
	(void)state;
	assert_int_equal(run_apart(blame_what_is_not_there, NULL, 5), 0);
}

static void
each_item_is_checked_and_each_bad_one_is_told(void **state)
{
	static const struct conf_option options[] = {
	    {"list", CONF_LIST, OUTER(list), .schema = &checked_schema}};
	static const struct conf_schema schema = SCHEMA(options, struct outer, .check = NULL);
	static const struct said want[] = {
	    {"x.yaml:1:8", "list[0]", "size is 1"},
	    {"x.yaml:1:11", "list[1]", "\"x\" must be a size"},
	    {"x.yaml:1:14", "list[2]", "size is 3"},
	};
	struct conf *conf = read_text("list: [1, x, 3]\n");

	(void)state;
	memset(&seen, 0, sizeof(seen));
	seen.fail = true;
	assert_null(conf_bind(conf, &schema));
	assert_said(conf, want, CONF_COUNT(want));
	assert_int_equal(seen.calls, 2);
	conf_unref(&conf);
}

/* A base that is fine alone may not be with what is written over it. */
static void
a_part_is_checked_whatever_it_is_bound_over(void **state)
{
	struct conf *conf = read_text("inner: {text: a}\n");
	static const struct inner base = {NULL, 77, "base"};
	const struct conf_node *node = value_of(conf_root(conf), "inner");

	(void)state;
	memset(&seen, 0, sizeof(seen));
	assert_non_null(conf_bind_part(conf, &checked_schema, NULL, "a"));
	assert_int_equal(seen.calls, 1);
	assert_false(seen.had_node);
	assert_non_null(conf_bind_part_over(conf, &checked_schema, node, "b", &base));
	assert_int_equal(seen.calls, 2);
	assert_true(seen.had_node);
	assert_int_equal(seen.size, 77);
	seen.fail = true;
	assert_null(conf_bind_part_over(conf, &checked_schema, node, "b", &base));
	assert_said_once(conf, "1:8", "b", "size is 77");
	conf_unref(&conf);
}

static void
a_tree_is_bound_by_several_schemas(void **state)
{
	static const struct conf_option options[] = {
	    {"number", CONF_STRING, OUTER(text)}, {"text", CONF_INT, OUTER(number)}};
	static const struct conf_schema other_schema = SCHEMA(options, struct outer, .check = NULL);
	struct conf *conf = read_text("number: 3\ntext: 4\n");
	const struct outer *first = conf_bind(conf, &outer_schema);
	const struct outer *second = conf_bind(conf, &other_schema);

	(void)state;
	assert_non_null(first);
	assert_non_null(second);
	assert_int_equal(first->number, 3);
	assert_string_equal(first->text, "4");
	assert_int_equal(second->number, 4);
	assert_string_equal(second->text, "3");
	conf_unref(&conf);
}

struct part {
	const char *id;
	const char *address;
	int64_t low, high;
};

struct whole {
	struct part part;
	const struct conf_node *kept;
	struct conf_strings texts;
	struct conf_list list;
};

static void
low_is_not_above_high(struct conf_check *check, void *target)
{
	const struct part *part = target;

	if (part->low > part->high) {
		conf_check_fail(check, "low", "is above high");
	}
}

static const struct conf_option part_options[] = {
    {.name = "id", .type = CONF_STRING, .offset = offsetof(struct part, id)},
    {.name = "address",
	.type = CONF_STRING,
	.offset = offsetof(struct part, address),
	.required = true,
	.secret = true},
    {.name = "low", .type = CONF_INT, .offset = offsetof(struct part, low), .fallback = "5"},
    {.name = "high", .type = CONF_INT, .offset = offsetof(struct part, high), .fallback = "9"},
};
static const struct conf_schema part_schema = {.options = part_options,
    .count = CONF_COUNT(part_options),
    .size = sizeof(struct part),
    .check = low_is_not_above_high};
static const struct conf_option whole_options[] = {
    {.name = "part",
	.type = CONF_STRUCT,
	.offset = offsetof(struct whole, part),
	.schema = &part_schema},
    {.name = "kept",
	.type = CONF_NODE,
	.offset = offsetof(struct whole, kept),
	.schema = &part_schema},
    {.name = "texts", .type = CONF_STRINGS, .offset = offsetof(struct whole, texts)},
    {.name = "list",
	.type = CONF_LIST,
	.offset = offsetof(struct whole, list),
	.schema = &part_schema},
};
static const struct conf_schema whole_schema = {
    .options = whole_options, .count = CONF_COUNT(whole_options), .size = sizeof(struct whole)};

static void
what_a_struct_within_requires_is_required(void **state)
{
	static const struct said want[] = {{"x.yaml:1:7", "part", "address is missing"}};
	struct conf *conf = read_text("part: {id: a}\n");

	(void)state;
	assert_null(conf_bind(conf, &whole_schema));
	assert_said(conf, want, CONF_COUNT(want));
	conf_unref(&conf);
}

/* It will be laid over something that is not known yet. */
static void
a_kept_node_is_not_judged_by_defaults(void **state)
{
	struct conf *conf = NULL;
	const struct whole *whole = bound(&conf, &whole_schema, "kept: {high: 3}\n");
	struct part base = {.id = "i", .address = "a", .low = 1, .high = 2};
	const struct part *part;

	(void)state;
	part = conf_bind_part_over(conf, &part_schema, whole->kept, "kept", &base);
	assert_non_null(part);
	assert_int_equal(part->high, 3);
	base.low = 7;
	assert_null(conf_bind_part_over(conf, &part_schema, whole->kept, "kept", &base));
	conf_unref(&conf);
}

static void
a_dump_tells_unwritten_from_empty_and_hides_what_a_kept_node_hides(void **state)
{
	struct conf *conf = NULL;
	const struct whole *whole =
	    bound(&conf, &whole_schema, "kept: {address: hunter2, id: x}\ntexts: []\n");
	struct buf out;

	(void)state;
	buf_init(&out, SIZE_MAX);
	assert_true(conf_dump(conf, &whole_schema, whole, false, &out));
	assert_null(strstr(buf_text(&out), "hunter2"));
	assert_non_null(strstr(buf_text(&out), "texts: []\n"));
	assert_non_null(strstr(buf_text(&out), "list: null\n"));
	buf_fini(&out);
	buf_init(&out, 20);
	assert_false(conf_dump(conf, &whole_schema, whole, false, &out));
	buf_fini(&out);
	conf_unref(&conf);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_default_of_each_type_is_yaml),
	    cmocka_unit_test(what_is_written_takes_the_place_of_each_default),
	    cmocka_unit_test(a_default_is_dumped_as_it_is_bound),
	    cmocka_unit_test(a_long_help_is_several_lines_of_comment),
	    cmocka_unit_test(a_default_may_be_null),
	    cmocka_unit_test(a_range_may_have_one_end_or_be_below_zero),
	    cmocka_unit_test(a_short_form_has_the_rules_of_its_key),
	    cmocka_unit_test(a_check_is_given_what_was_written),
	    cmocka_unit_test(a_check_looks_at_defaults_too),
	    cmocka_unit_test(a_check_of_a_named_struct_sees_its_name),
	    cmocka_unit_test(a_check_of_a_null_item_has_no_node),
	    cmocka_unit_test(a_check_blames_a_key_or_the_struct),
	    cmocka_unit_test(a_check_blames_the_struct_for_a_key_that_is_not_written),
	    cmocka_unit_test(a_check_may_blame_a_struct_that_is_not_there),
	    cmocka_unit_test(each_item_is_checked_and_each_bad_one_is_told),
	    cmocka_unit_test(a_part_is_checked_whatever_it_is_bound_over),
	    cmocka_unit_test(what_a_struct_within_requires_is_required),
	    cmocka_unit_test(a_kept_node_is_not_judged_by_defaults),
	    cmocka_unit_test(a_dump_tells_unwritten_from_empty_and_hides_what_a_kept_node_hides),
	    cmocka_unit_test(a_tree_is_bound_by_several_schemas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
