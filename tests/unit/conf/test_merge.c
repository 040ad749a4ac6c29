/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several files as one tree: mappings merge, sequences are joined, a value is set once, and no
 * alias changes behind somebody's back.
 */
#include "unit/conf/folder.h"

static void
what_is_included_merges_with_the_rest(void **state)
{
	struct conf *conf = NULL;

	put(*state, "a.yaml", "broker: {workers: 4, user: u}\nstore: db\n");
	const struct sample *sample =
	    bound(*state, &conf, "include: a.yaml\nbroker: {data_dir: /d}\nlog: {level: debug}\n");
	assert_int_equal(sample->broker.workers, 4);
	assert_string_equal(sample->broker.user, "u");
	assert_string_equal(sample->broker.data_dir, "/d");
	assert_int_equal(sample->broker.sys_interval, 10000);
	assert_int_equal(sample->log.level, 3);
	assert_string_equal(sample->store, "db");
	assert_null(conf_node_find(conf_root(conf), "include"));
	conf_unref(&conf);
}

static void
mappings_merge_at_every_depth(void **state)
{
	struct conf *conf = NULL;

	put(*state, "a.yaml", "chains: {x: {authorize: [b]}, z: {}}\n");
	put(*state, "b.yaml", "chains: {x: {intercept: [c]}}\n");
	const struct sample *sample = bound(
	    *state, &conf, "chains: {x: {authenticate: [a]}, y: {}}\ninclude: [a.yaml, b.yaml]\n");
	const struct sample_chains *chains = sample->chains.items;
	assert_int_equal(sample->chains.count, 3);
	assert_string_equal(chains[0].name, "x");
	assert_int_equal(chains[0].authenticate.count, 1);
	assert_int_equal(chains[0].authorize.count, 1);
	assert_int_equal(chains[0].intercept.count, 1);
	assert_string_equal(chains[1].name, "y");
	assert_string_equal(chains[2].name, "z");
	conf_unref(&conf);
}

static void
a_value_that_is_set_twice_names_both_places(void **state)
{
	put(*state, "a.yaml", "\nbroker:\n  workers: 4\n");
	struct conf *conf = load(*state, "include: a.yaml\nbroker:\n  user: u\n  workers: 4\n");
	char *text = said_text(conf);

	assert_true(conf_has_errors(conf));
	assert_non_null(strstr(text, "a.yaml:3:12: "));
	assert_non_null(strstr(text, "main.yaml, line 4"));
	free(text);
	conf_unref(&conf);
}

static void
a_value_that_is_set_twice_has_its_whole_path(void **state)
{
	put(*state, "a.yaml", "chains: {x: {authorize: [r]}}\nbroker:\n  workers: 4\n");
	assert_load_said_once(*state, "include: a.yaml\nbroker:\n  workers: 4\nchains: {x: {}}\n",
	    "a.yaml:3:12", "broker.workers", "main.yaml, line 3");
}

static void
kinds_that_do_not_merge_are_set_twice(void **state)
{
	put(*state, "a.yaml", "store: [a]\n");
	struct conf *conf = load(*state, "include: a.yaml\nstore: a\n");

	assert_said_in(conf, ((struct folder *)*state)->base,
	    &(struct said){"a.yaml:1:8", "store", "main.yaml, line 2"}, 1);
	conf_unref(&conf);
}

static void
two_included_files_may_not_set_the_same(void **state)
{
	static const struct said want[] = {
	    {"b.yaml:1:8", "store", "a.yaml, line 1"},
	    {"b.yaml:2:14", "durability", "a.yaml, line 2"},
	};

	put(*state, "a.yaml", "store: a\ndurability: none\n");
	put(*state, "b.yaml", "store: b\ndurability:  none\n");
	struct conf *conf = load(*state, "include: [a.yaml, b.yaml]\n");
	assert_said_in(conf, ((struct folder *)*state)->base, want, CONF_COUNT(want));
	conf_unref(&conf);
}

/* An installed file whose keys are all comments: `broker:` and nothing in it. */
static void
a_key_with_nothing_in_it_takes_what_is_included(void **state)
{
	struct conf *conf = NULL;

	put(*state, "a.yaml", "broker: {workers: 4}\nplugins: [{name: a, module: m}]\nlog:\n");
	const struct sample *sample = bound(*state, &conf,
	    "include: a.yaml\nbroker:\n  # workers: auto\nplugins:\nlog: {level: debug}\n");
	assert_int_equal(sample->broker.workers, 4);
	assert_string_equal(plugin_names(sample), "a ");
	assert_int_equal(sample->log.level, 3);
	conf_unref(&conf);
}

static void
a_mapping_is_not_merged_beyond_the_limit_of_keys(void **state)
{
	struct conf_limits limits = conf_default_limits;

	put(*state, "a.yaml", "chains: {a: {}, b: {}}\n");
	put(*state, "b.yaml", "chains: {c: {}, d: {}}\n");
	put(*state, "main.yaml", "include: '?.yaml'\n");
	limits.max_keys = 3;
	struct conf *conf = conf_load(path_in(*state, "main.yaml"), &limits);
	char *text = said_text(conf);
	assert_true(conf_has_errors(conf));
	assert_non_null(strstr(text, "keys"));
	free(text);
	conf_unref(&conf);
}

static void
merging_spoils_no_alias(void **state)
{
	struct conf *conf = NULL;

	put(*state, "a.yaml", "chains: {x: {intercept: [i], authorize: [s]}}\n");
	const struct sample *sample = bound(*state, &conf,
	    "include: a.yaml\n"
	    "chains: {x: &x {authorize: &l [r]}, y: *x, z: {authenticate: *l}}\n");
	const struct sample_chains *chains = sample->chains.items;
	assert_int_equal(sample->chains.count, 3);
	assert_int_equal(chains[0].intercept.count, 1);
	assert_int_equal(chains[0].authorize.count, 2);
	assert_int_equal(chains[1].intercept.count, 0);
	assert_int_equal(chains[1].authorize.count, 1);
	assert_int_equal(chains[2].authenticate.count, 1);
	conf_unref(&conf);
}

static void
merging_into_an_alias_spoils_no_anchor(void **state)
{
	struct conf *conf = NULL;

	put(*state, "a.yaml",
	    "chains: {y: {intercept: &i [i], authorize: [s]}, q: {authorize: *i}}\n");
	put(*state, "b.yaml", "chains: {y: {intercept: [k]}}\n");
	const struct sample *sample =
	    bound(*state, &conf, "include: ['?.yaml']\nchains: {x: &x {authorize: [r]}, y: *x}\n");
	const struct sample_chains *chains = sample->chains.items;
	assert_int_equal(sample->chains.count, 3);
	assert_int_equal(chains[0].authorize.count, 1);
	assert_int_equal(chains[0].intercept.count, 0);
	assert_int_equal(chains[1].authorize.count, 2);
	assert_int_equal(chains[1].intercept.count, 2);
	assert_string_equal(chains[2].name, "q");
	assert_int_equal(chains[2].authorize.count, 1);
	conf_unref(&conf);
}

static void
an_anchor_belongs_to_its_file(void **state)
{
	put(*state, "a.yaml", "store: *x\n");
	struct conf *conf = load(*state, "include: a.yaml\nbroker: {user: &x u}\n");

	assert_said_in(
	    conf, ((struct folder *)*state)->base, &(struct said){"a.yaml:1:8", "", "alias"}, 1);
	conf_unref(&conf);
}

static void
what_is_merged_stands_where_it_was_first_written(void **state)
{
	put(*state, "a.yaml", "\n\nplugins: [1]\nbroker: {b: 2}\n");
	struct conf *conf = load(*state, "include: a.yaml\nplugins:\n - 3\nbroker:\n  a: 1\n");
	const struct conf_node *plugins = value_of(conf_root(conf), "plugins");
	const struct conf_node *broker = value_of(conf_root(conf), "broker");

	assert_int_equal(plugins->count, 2);
	assert_place(plugins->place, 3, 2);
	assert_non_null(strstr(plugins->place.file, "main.yaml"));
	assert_place(plugins->items[1]->place, 3, 11);
	assert_non_null(strstr(plugins->items[1]->place.file, "a.yaml"));
	assert_place(broker->place, 5, 3);
	assert_place(broker->pairs[1].place, 4, 10);
	conf_unref(&conf);
}

static void
the_tree_weighs_what_was_merged(void **state)
{
	put(*state, "a.yaml", "plugins: [1, 2]\nbroker: {a: 1}\n");
	struct conf *conf = load(*state, "include: a.yaml\nplugins: [3]\nbroker: {b: 2}\n");
	const struct conf_node *root = conf_root(conf);

	assert_int_equal(value_of(root, "plugins")->weight, 4);
	assert_int_equal(value_of(root, "broker")->weight, 3);
	assert_int_equal(root->weight, 8);
	conf_unref(&conf);
}

/* 24 files with 4000 keys each, of one mapping. */
static void
put_many_keys(const struct folder *folder)
{
	for (int i = 0; i < 24; i++) {
		struct buf text;
		char name[32];

		buf_init(&text, SIZE_MAX);
		buf_append_text(&text, "chains:\n");
		for (int k = 0; k < 4000; k++) {
			buf_printf(&text, " a_chain_with_a_long_name_%d_%d: {}\n", i, k);
		}
		(void)snprintf(name, sizeof(name), "%d.yaml", i);
		put(folder, name, buf_text(&text));
		buf_fini(&text);
	}
}

static int
load_path(void *argument)
{
	struct conf *conf = conf_load(argument, NULL);

	conf_unref(&conf);
	return 0;
}

static void
many_keys_do_not_take_long(void **state)
{
	char path[256];

	put_many_keys(*state);
	put(*state, "main.yaml", "include: '*[0-9].yaml'\n");
	(void)strcpy(path, path_in(*state, "main.yaml"));
	assert_int_equal(run_apart(load_path, path, 4), 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    folder_test(what_is_included_merges_with_the_rest),
	    folder_test(mappings_merge_at_every_depth),
	    folder_test(a_value_that_is_set_twice_names_both_places),
	    folder_test(a_value_that_is_set_twice_has_its_whole_path),
	    folder_test(kinds_that_do_not_merge_are_set_twice),
	    folder_test(two_included_files_may_not_set_the_same),
	    folder_test(a_key_with_nothing_in_it_takes_what_is_included),
	    folder_test(a_mapping_is_not_merged_beyond_the_limit_of_keys),
	    folder_test(merging_spoils_no_alias),
	    folder_test(merging_into_an_alias_spoils_no_anchor),
	    folder_test(an_anchor_belongs_to_its_file),
	    folder_test(what_is_merged_stands_where_it_was_first_written),
	    folder_test(the_tree_weighs_what_was_merged),
	    folder_test(many_keys_do_not_take_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
