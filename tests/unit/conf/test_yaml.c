/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What YAML that is allowed becomes: kinds, texts, nulls, aliases, and the place of each node. A
 * tree is compared as one line of text; what is refused has its own file, test_hostile.c.
 */
#include "unit/conf/conf_unit.h"

struct show {
	struct buf *out;
	bool places;
};

static void show_node(const struct show *show, const struct conf_node *node);

static void
show_place(const struct show *show, struct conf_place place)
{
	if (show->places) {
		buf_printf(show->out, "%u:%u=", place.line, place.column);
	}
}

static void
show_scalar(const struct show *show, const struct conf_node *node)
{
	if (conf_node_is_null(node)) {
		buf_append_text(show->out, "<null>");
		return;
	}
	if (node->quoted) {
		buf_append_byte(show->out, '"');
	}
	buf_append_bytes(show->out, node->text);
	if (node->quoted) {
		buf_append_byte(show->out, '"');
	}
}

static void
show_items(const struct show *show, const struct conf_node *node)
{
	for (size_t i = 0; i < node->count; i++) {
		buf_append_text(show->out, i != 0 ? ", " : "");
		if (node->kind == CONF_MAPPING) {
			show_place(show, node->pairs[i].place);
			buf_printf(show->out, "%s: ", node->pairs[i].key);
			show_node(show, node->pairs[i].value);
		} else {
			show_node(show, node->items[i]);
		}
	}
}

static void
show_node(const struct show *show, const struct conf_node *node)
{
	show_place(show, node->place);
	if (node->kind == CONF_SCALAR) {
		show_scalar(show, node);
		return;
	}
	buf_append_text(show->out, node->kind == CONF_MAPPING ? "{" : "[");
	show_items(show, node);
	buf_append_text(show->out, node->kind == CONF_MAPPING ? "}" : "]");
}

static void
assert_tree(struct bytes text, const char *want, bool places)
{
	struct conf *conf = conf_read("x.yaml", text, NULL, NULL);
	struct buf out;
	struct show show = {&out, places};

	buf_init(&out, SIZE_MAX);
	assert_nothing_said(conf);
	assert_non_null(conf_root(conf));
	show_node(&show, conf_root(conf));
	assert_bytes_text(buf_bytes(&out), want);
	buf_fini(&out);
	conf_unref(&conf);
}

struct row {
	const char *text;
	const char *tree;
};

static void
assert_rows(const struct row *rows, size_t count, bool places)
{
	for (size_t i = 0; i < count; i++) {
		assert_tree(bytes_of(rows[i].text), rows[i].tree, places);
	}
}

static void
each_node_and_each_key_has_its_place(void **state)
{
	static const struct row rows[] = {
	    {"a: 1\n", "1:1={1:1=a: 1:4=1}"},
	    {"a: 1\nbc:   2\n", "1:1={1:1=a: 1:4=1, 2:1=bc: 2:7=2}"},
	    {"a:\n  b: 1\n  c:\n    d: 2\n",
		"1:1={1:1=a: 2:3={2:3=b: 2:6=1, 3:3=c: 4:5={4:5=d: 4:8=2}}}"},
	    {"a:\n- x\n- - y\n  - z\n", "1:1={1:1=a: 2:1=[2:3=x, 3:3=[3:5=y, 4:5=z]]}"},
	    {"- a: 1\n  b: 2\n- c: 3\n",
		"1:1=[1:3={1:3=a: 1:6=1, 2:3=b: 2:6=2}, 3:3={3:3=c: 3:6=3}]"},
	    {"a: {b: [c, d], e: {}}\n",
		"1:1={1:1=a: 1:4={1:5=b: 1:8=[1:9=c, 1:12=d], 1:16=e: 1:19={}}}"},
	    {"a: {\n  b: 1,\n  c: 2\n}\n", "1:1={1:1=a: 1:4={2:3=b: 2:6=1, 3:3=c: 3:6=2}}"},
	    {"\"a\": 'b'\n", "1:1={1:1=a: 1:6=\"b\"}"},
	    {"a: |\n  x\nb: 1\n", "1:1={1:1=a: 1:4=\"x\n\", 3:1=b: 3:4=1}"},
	    {"a: one\n  two\nb: 1\n", "1:1={1:1=a: 1:4=one two, 3:1=b: 3:4=1}"},
	    {"# c\n\n  # d\na: 1 # e\nb: 2\n", "4:1={4:1=a: 4:4=1, 5:1=b: 5:4=2}"},
	    {"---\na: 1\n", "2:1={2:1=a: 2:4=1}"},
	    {"%YAML 1.1\n---\na: 1\n", "3:1={3:1=a: 3:4=1}"},
	    {"? a\n: b\n", "1:1={1:3=a: 2:3=b}"},
	    {"a:\nb: 1\n", "1:1={1:1=a: 1:3=<null>, 2:1=b: 2:4=1}"},
	    {"a: &x 1\n", "1:1={1:1=a: 1:4=1}"},
	    {"a:\tx\n", "1:1={1:1=a: 1:4=x}"},
	};

	(void)state;
	assert_rows(rows, CONF_COUNT(rows), true);
}

static void
columns_count_characters_and_not_bytes(void **state)
{
	static const struct row rows[] = {
	    {"gr\xc3\xbc\xc3\x9f"
	     "e: x\n",
		"1:1={1:1=gr\xc3\xbc\xc3\x9f"
		"e: 1:8=x}"},
	    {"a: [\xc3\xa4, \xe2\x82\xac, \xf0\x9f\x90\xa6, z]\n",
		"1:1={1:1=a: 1:4=[1:5=\xc3\xa4, 1:8=\xe2\x82\xac, 1:11=\xf0\x9f\x90\xa6, 1:14=z]}"},
	    {"{\"\xf0\x9f\x90\xa6\": 1, b: 2}\n",
		"1:1={1:2=\xf0\x9f\x90\xa6: 1:7=1, 1:10=b: 1:13=2}"},
	    {"a: \xc3\xa4 # \xc3\xa4\nb: x\n", "1:1={1:1=a: 1:4=\xc3\xa4, 2:1=b: 2:4=x}"},
	};

	(void)state;
	assert_rows(rows, CONF_COUNT(rows), true);
}

static void
line_ends_of_other_systems_count_as_one(void **state)
{
	static const struct row rows[] = {
	    {"a: 1\r\nb: 2\r\n\r\nc: 3\r\n", "1:1={1:1=a: 1:4=1, 2:1=b: 2:4=2, 4:1=c: 4:4=3}"},
	    {"a: |\r\n  x\r\n  y\r\nb: 1\r\n", "1:1={1:1=a: 1:4=\"x\ny\n\", 4:1=b: 4:4=1}"},
	    {"a: 1\rb: 2\r", "1:1={1:1=a: 1:4=1, 2:1=b: 2:4=2}"},
	};

	(void)state;
	assert_rows(rows, CONF_COUNT(rows), true);
}

static void
a_byte_order_mark_is_read_over(void **state)
{
	(void)state;
	assert_tree(BYTES_LITERAL("\xef\xbb\xbf"
				  "a: x\nb: y\n"),
	    "{a: x, b: y}", false);
}

static void
a_byte_order_mark_is_no_column(void **state)
{
	(void)state;
	assert_tree(BYTES_LITERAL("\xef\xbb\xbf"
				  "a: x\nb: y\n"),
	    "1:1={1:1=a: 1:4=x, 2:1=b: 2:4=y}", true);
}

static void
a_place_far_to_the_right_is_exact(void **state)
{
	struct buf text;

	(void)state;
	buf_init(&text, SIZE_MAX);
	buf_append_text(&text, "{a: [");
	for (int i = 0; i < 35000; i++) {
		buf_append_text(&text, "x, ");
	}
	buf_append_text(&text, "y]}\n");
	struct conf *conf = conf_read("x.yaml", buf_bytes(&text), NULL, NULL);
	assert_nothing_said(conf);
	const struct conf_node *list = value_of(conf_root(conf), "a");
	assert_int_equal(list->count, 35001);
	assert_place(list->items[35000]->place, 1, 105006);
	assert_string_equal(list->items[35000]->place.file, "x.yaml");
	conf_unref(&conf);
	buf_fini(&text);
}

static void
texts_are_what_yaml_says(void **state)
{
	static const struct row rows[] = {
	    {"a: b c  d\n", "{a: b c  d}"},
	    {"a: b#c\n", "{a: b#c}"},
	    {"a: mqtts://cloud.example:8883\n", "{a: mqtts://cloud.example:8883}"},
	    {"{filter: sensors/#, qos: 1}\n", "{filter: sensors/#, qos: 1}"},
	    {"a: '$SYS/#'\n", "{a: \"$SYS/#\"}"},
	    {"a: 'it''s'\n", "{a: \"it's\"}"},
	    {"a: \"\\x41\\u00e9\\t\\\\\\\"\"\n", "{a: \"A\xc3\xa9\t\\\"\"}"},
	    {"a: \"b\n  c\"\n", "{a: \"b c\"}"},
	    {"a: b\n  c\n", "{a: b c}"},
	    {"a: |\n  b\n   c\n", "{a: \"b\n c\n\"}"},
	    {"a: |-\n  b\n", "{a: \"b\"}"},
	    {"a: >\n  b\n  c\n", "{a: \"b c\n\"}"},
	    {"a: 007\nb: 1.50\nc: Yes\n", "{a: 007, b: 1.50, c: Yes}"},
	    {"a: [ ]\nb: { }\n", "{a: [], b: {}}"},
	    {"[a, [b], {c: d}]\n", "[a, [b], {c: d}]"},
	    {"a\n", "a"},
	    {"'a b': 1\n\"c: d\": 2\nnull: 3\n~: 4\n", "{a b: 1, c: d: 2, null: 3, ~: 4}"},
	    {"a: 1\n...\n", "{a: 1}"},
	};

	(void)state;
	assert_rows(rows, CONF_COUNT(rows), false);
}

static void
nothing_written_is_null_and_quoted_nothing_is_not(void **state)
{
	static const struct row rows[] = {
	    {"a:\nb: ~\nc: null\n", "{a: <null>, b: <null>, c: <null>}"},
	    {"[~, null]\n", "[<null>, <null>]"},
	    {"-\n- x\n", "[<null>, x]"},
	    {"{a: , b}\n", "{a: <null>, b: <null>}"},
	    {"a: ''\nb: \"\"\nc: |\n", "{a: \"\", b: \"\", c: \"\"}"},
	    {"a: '~'\nb: \"null\"\nc: |-\n  null\nd: >-\n  ~\n",
		"{a: \"~\", b: \"null\", c: \"null\", d: \"~\"}"},
	    {"a: nul\nb: nulls\nc: ~x\nd: ~ ~\n", "{a: nul, b: nulls, c: ~x, d: ~ ~}"},
	    {"a: &x\nb: *x\n", "{a: <null>, b: <null>}"},
	};

	(void)state;
	assert_rows(rows, CONF_COUNT(rows), false);
}

static void
a_mapping_and_a_sequence_are_never_null(void **state)
{
	struct conf *conf = read_text("a: []\nb: {}\n");

	(void)state;
	assert_false(conf_node_is_null(value_of(conf_root(conf), "a")));
	assert_false(conf_node_is_null(value_of(conf_root(conf), "b")));
	conf_unref(&conf);
}

static void
an_empty_text_is_an_empty_mapping(void **state)
{
	static const char *const texts[] = {"", "\n", "   \n\n", "# only a comment", "# a\n# b\n",
	    "---\n", "---\n...\n", "--- # c\n", "\xef\xbb\xbf", "\xef\xbb\xbf# c\n", "\r\n\r\n"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		assert_tree(bytes_of(texts[i]), "{}", false);
	}
}

static int
read_no_bytes(void *argument)
{
	(void)argument;
	struct conf *conf = conf_read("x.yaml", (struct bytes){NULL, 0}, NULL, NULL);
	bool fine = !conf_has_errors(conf) && conf_root(conf) != NULL &&
		    conf_root(conf)->kind == CONF_MAPPING && conf_root(conf)->count == 0;

	conf_unref(&conf);
	return fine ? 0 : 1;
}

static void
a_view_of_nothing_at_all_is_an_empty_mapping(void **state)
{
	(void)state;
	assert_int_equal(run_apart(read_no_bytes, NULL, 5), 0);
}

static void
an_alias_stands_for_its_anchor(void **state)
{
	static const struct row rows[] = {
	    {"a: &x 1\nb: *x\n", "{a: 1, b: 1}"},
	    {"a: &x 'null'\nb: *x\n", "{a: \"null\", b: \"null\"}"},
	    {"a: &x [1, 2]\nb: *x\nc: [*x, *x]\n", "{a: [1, 2], b: [1, 2], c: [[1, 2], [1, 2]]}"},
	    {"a: &x {k: v}\nb: {c: *x}\n", "{a: {k: v}, b: {c: {k: v}}}"},
	    {"- &x a\n- &x b\n- *x\n", "[a, b, b]"},
	    {"- &a a\n- &aa b\n- *a\n- *aa\n", "[a, b, a, b]"},
	    {"- &x [&y b, *y]\n- *x\n- *y\n", "[[b, b], [b, b], b]"},
	    {"&r\na: 1\n", "{a: 1}"},
	};

	(void)state;
	assert_rows(rows, CONF_COUNT(rows), false);
}

static void
a_weight_counts_aliases_for_what_they_stand_for(void **state)
{
	static const struct {
		const char *text;
		size_t weight;
	} rows[] = {
	    {"a\n", 1},
	    {"{}\n", 1},
	    {"[a, b]\n", 3},
	    {"a: 1\nb: {c: 2}\n", 4},
	    {"- &x [a, b]\n- *x\n", 7},
	    {"- &x [a]\n- &y [*x, *x]\n- [*y, *y]\n", 19},
	};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		struct conf *conf = read_text(rows[i].text);

		assert_non_null(conf_root(conf));
		assert_int_equal(conf_root(conf)->weight, rows[i].weight);
		conf_unref(&conf);
	}
}

static void
a_key_is_found_by_its_whole_name(void **state)
{
	struct conf *conf = read_text("ab: 1\na: 2\nabc: 3\n");
	const struct conf_node *root = conf_root(conf);

	(void)state;
	assert_scalar(value_of(root, "a"), "2");
	assert_scalar(value_of(root, "ab"), "1");
	assert_scalar(value_of(root, "abc"), "3");
	assert_null(conf_node_find(root, "abcd"));
	assert_null(conf_node_find(root, ""));
	assert_null(conf_node_find(root, "A"));
	conf_unref(&conf);
}

static void
a_text_that_was_read_may_go(void **state)
{
	char text[] = "a: b # c\n";
	char name[] = "x.yaml";
	struct conf *conf = conf_read(name, bytes_of(text), NULL, NULL);

	(void)state;
	memset(text, 'z', sizeof(text) - 1);
	assert_scalar(value_of(conf_root(conf), "a"), "b");
	conf_fail(conf, value_of(conf_root(conf), "a"), "a", "is %s", "bad");
	assert_said_once(conf, "1:4", "a", "is bad");
	conf_unref(&conf);
}

static void
a_parse_counts_its_nodes_over_all_files(void **state)
{
	struct arena arena;
	struct conf_errors errors;
	struct conf_limits limits = conf_default_limits;

	(void)state;
	limits.max_nodes = 8;
	arena_init(&arena);
	conf_errors_init(&errors, &arena, 10);
	struct conf_parse parse = {&arena, &errors, &limits, NULL, 0};
	assert_non_null(conf_yaml_parse(&parse, "a.yaml", BYTES_LITERAL("a: [1, 2]\n")));
	assert_int_equal(parse.nodes, 4);
	assert_non_null(conf_yaml_parse(&parse, "b.yaml", BYTES_LITERAL("a: [1, 2]\n")));
	assert_int_equal(errors.list.count, 0);
	assert_null(conf_yaml_parse(&parse, "c.yaml", BYTES_LITERAL("a: [1, 2]\n")));
	assert_int_equal(errors.list.count, 1);
	assert_string_equal(errors.list.items[0].place.file, "c.yaml");
	conf_errors_fini(&errors);
	arena_fini(&arena);
}

static void
kinds_have_names_for_sentences(void **state)
{
	(void)state;
	assert_string_equal(conf_kind_name(CONF_MAPPING), "a mapping");
	assert_string_equal(conf_kind_name(CONF_SEQUENCE), "a sequence");
	assert_string_equal(conf_kind_name(CONF_SCALAR), "a value");
}

static void
a_path_begins_at_the_folder_of_the_file(void **state)
{
	static const struct {
		const char *file, *path, *want;
	} rows[] = {
	    {"x.yaml", "p", "p"},
	    {"x.yaml", "d/p", "d/p"},
	    {"/etc/avocet/x.yaml", "p", "/etc/avocet/p"},
	    {"/etc/avocet/x.yaml", "/run/p", "/run/p"},
	    {"d/x.yaml", "../p", "d/../p"},
	    {"/x.yaml", "p", "/p"},
	};
	struct arena arena;

	(void)state;
	arena_init(&arena);
	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		assert_string_equal(
		    conf_path_beside(&arena, rows[i].file, rows[i].path), rows[i].want);
	}
	arena_fini(&arena);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_node_and_each_key_has_its_place),
	    cmocka_unit_test(columns_count_characters_and_not_bytes),
	    cmocka_unit_test(line_ends_of_other_systems_count_as_one),
	    cmocka_unit_test(a_byte_order_mark_is_read_over),
	    cmocka_unit_test(a_byte_order_mark_is_no_column),
	    cmocka_unit_test(a_place_far_to_the_right_is_exact),
	    cmocka_unit_test(texts_are_what_yaml_says),
	    cmocka_unit_test(nothing_written_is_null_and_quoted_nothing_is_not),
	    cmocka_unit_test(a_mapping_and_a_sequence_are_never_null),
	    cmocka_unit_test(an_empty_text_is_an_empty_mapping),
	    cmocka_unit_test(a_view_of_nothing_at_all_is_an_empty_mapping),
	    cmocka_unit_test(an_alias_stands_for_its_anchor),
	    cmocka_unit_test(a_weight_counts_aliases_for_what_they_stand_for),
	    cmocka_unit_test(a_key_is_found_by_its_whole_name),
	    cmocka_unit_test(a_text_that_was_read_may_go),
	    cmocka_unit_test(a_parse_counts_its_nodes_over_all_files),
	    cmocka_unit_test(kinds_have_names_for_sentences),
	    cmocka_unit_test(a_path_begins_at_the_folder_of_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
