/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are loaded, and what their `include` brings: in which order, and what is refused. How
 * it merges is in test_merge.c.
 */
#include "unit/conf/folder.h"

static void
a_file_without_include_is_loaded(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(*state, &conf, "store: a\n");

	assert_string_equal(sample->store, "a");
	conf_unref(&conf);
}

static int
load_empty_file(void *argument)
{
	struct conf *conf = conf_load(argument, NULL);
	bool fine = conf_bind(conf, &sample_schema) != NULL && !conf_has_errors(conf);

	conf_unref(&conf);
	return fine ? 0 : 1;
}

static void
an_empty_file_is_a_configuration(void **state)
{
	char path[256];

	put(*state, "main.yaml", "");
	(void)strcpy(path, path_in(*state, "main.yaml"));
	assert_int_equal(run_apart(load_empty_file, path, 5), 0);
}

static void
a_pattern_brings_its_files_by_name(void **state)
{
	struct conf *conf = NULL;

	put_folder(*state, "conf.d");
	put(*state, "conf.d/20-b.yaml", "plugins: [{name: b, module: m}]\n");
	put(*state, "conf.d/10-c.yaml", "plugins: [{name: c, module: m}, {name: d, module: m}]\n");
	put(*state, "conf.d/30-a.yaml", "plugins: [{name: a, module: m}]\n");
	put(*state, "conf.d/40-x.yml", "unknown: 1\n");
	put(*state, "conf.d/.hidden.yaml", "unknown: 1\n");
	const struct sample *sample =
	    bound(*state, &conf, "include: conf.d/*.yaml\nplugins: [{name: z, module: m}]\n");
	assert_string_equal(plugin_names(sample), "z c d b a ");
	conf_unref(&conf);
}

static void
several_paths_are_read_as_they_are_listed(void **state)
{
	struct conf *conf = NULL;

	put(*state, "1.yaml", "plugins: [{name: a, module: m}]\n");
	put(*state, "2.yaml", "plugins: [{name: b, module: m}]\n");
	put(*state, "x3.yaml", "plugins: [{name: c, module: m}]\n");
	const struct sample *sample =
	    bound(*state, &conf, "include:\n  - x*.yaml\n  - 2.yaml\n  - 1.yaml\n");
	assert_string_equal(plugin_names(sample), "c b a ");
	conf_unref(&conf);
}

static void
paths_are_absolute_or_beside_the_file(void **state)
{
	const struct folder *folder = *state;
	struct conf *conf = NULL;
	char text[256];

	put_folder(*state, "sub");
	put(*state, "sub/a.yaml", "store: !file secret\n");
	put(*state, "sub/secret", "from sub\n");
	put(*state, "secret", "from above\n");
	(void)snprintf(text, sizeof(text), "include: %ssub/a.yaml\n", folder->base);
	assert_string_equal(bound(*state, &conf, text)->store, "from sub");
	conf_unref(&conf);
	assert_string_equal(
	    bound(*state, &conf, "include: ./sub/../sub/a.yaml\n")->store, "from sub");
	conf_unref(&conf);
}

static void
a_folder_may_have_a_name_like_a_pattern(void **state)
{
	struct folder deeper = *(struct folder *)*state;
	struct conf *conf = NULL;

	put_folder(&deeper, "we[i]rd*");
	(void)strcat(deeper.base, "we[i]rd*/");
	put(&deeper, "a.yaml", "store: a\n");
	put(&deeper, "b1.yaml", "broker: {user: b}\n");
	const struct sample *sample = bound(&deeper, &conf, "include: [a.yaml, b*.yaml]\n");
	assert_non_null(sample->store);
	assert_string_equal(sample->store, "a");
	assert_string_equal(sample->broker.user, "b");
	conf_unref(&conf);
}

static void
a_pattern_may_match_nothing(void **state)
{
	static const char *const texts[] = {
	    "include: conf.d/*.yaml\n", "include: [a*, b?, \"c.[d]\"]\n", "include: []\n"};

	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		struct conf *conf = NULL;

		(void)bound(*state, &conf, texts[i]);
		conf_unref(&conf);
	}
}

static void
nothing_to_include_is_nothing(void **state)
{
	struct conf *conf = NULL;

	(void)bound(*state, &conf, "include: ~\n");
	conf_unref(&conf);
	(void)bound(*state, &conf, "include:\nstore: a\n");
	conf_unref(&conf);
}

static void
a_plain_path_must_be_there(void **state)
{
	put(*state, "a.yaml", "store: a\n");
	assert_load_said_once(
	    *state, "include: nope.yaml\n", "main.yaml:1:10", "include", "nope.yaml");
	assert_load_said_once(
	    *state, "include: [a.yaml, x*, nope.yaml]\n", "main.yaml:1:23", "include", "nope.yaml");
}

static void
include_is_a_path_or_paths(void **state)
{
	assert_load_said_once(*state, "include: {a: b}\n", "main.yaml:1:10", "include", "must be");
	assert_load_said_once(*state, "include: [[a]]\n", "main.yaml:1:11", "include", "must be");
	assert_load_said_once(*state, "include: ''\n", "main.yaml:1:10", "include", "must be");
}

static void
an_included_file_includes_nothing(void **state)
{
	put(*state, "a.yaml", "store: a\ninclude: b.yaml\n");
	put(*state, "b.yaml", "broker: {workers: 4}\n");
	assert_load_said_once(*state, "include: a.yaml\n", "a.yaml:2:10", "include", "include");
	assert_load_said_once(
	    *state, "include: main.yaml\n", "main.yaml:1:10", "include", "include");
}

static void
errors_of_all_files_are_told_in_one_run(void **state)
{
	static const struct said want[] = {
	    {"a.yaml:1:19", "broker.workers", "1 to 1024"},
	    {"a.yaml:2:1", "", "did you mean store?"},
	    {"b.yaml:1:5", "", NULL},
	    {"main.yaml:2:14", "log.level", "debug"},
	};

	put(*state, "a.yaml", "broker: {workers: 0}\nstoer: a\n");
	put(*state, "b.yaml", "a: b: c\n");
	struct conf *conf = load(*state, "include: '?.yaml'\nlog: {level: x}\n");
	(void)conf_bind(conf, &sample_schema);
	assert_said_in(conf, ((struct folder *)*state)->base, want, CONF_COUNT(want));
	conf_unref(&conf);
}

static void
an_included_file_may_be_empty_but_no_list(void **state)
{
	struct conf *conf = NULL;

	put(*state, "a.yaml", "# nothing\n");
	(void)bound(*state, &conf, "include: a.yaml\n");
	conf_unref(&conf);
	put(*state, "a.yaml", "- a\n");
	assert_load_said_once(*state, "include: a.yaml\n", "a.yaml:1:1", "", "must be a mapping");
}

static void
the_number_of_files_is_limited(void **state)
{
	struct conf_limits limits = conf_default_limits;

	put(*state, "a1.yaml", "{}\n");
	put(*state, "a2.yaml", "{}\n");
	put(*state, "main.yaml", "\ninclude: a*.yaml\n");
	limits.max_files = 3;
	struct conf *conf = conf_load(path_in(*state, "main.yaml"), &limits);
	assert_nothing_said(conf);
	conf_unref(&conf);
	limits.max_files = 2;
	conf = conf_load(path_in(*state, "main.yaml"), &limits);
	assert_said_in(conf, ((struct folder *)*state)->base,
	    &(struct said){"main.yaml:2:10", "include", "files"}, 1);
	conf_unref(&conf);
}

static void
limits_hold_for_each_file_and_for_all_together(void **state)
{
	struct conf_limits limits = conf_default_limits;
	const char *folder = ((struct folder *)*state)->base;

	put(*state, "a.yaml", "plugins: [1, 2, 3]\n");
	put(*state, "main.yaml", "include: a.yaml\n");
	limits.max_bytes = 17;
	struct conf *conf = conf_load(path_in(*state, "main.yaml"), &limits);
	assert_said_in(conf, folder, &(struct said){"a.yaml", "", "large"}, 1);
	conf_unref(&conf);
	limits = conf_default_limits;
	limits.max_nodes = 6;
	conf = conf_load(path_in(*state, "main.yaml"), &limits);
	assert_said_in(conf, folder, &(struct said){"a.yaml:1:17", "", "many"}, 1);
	conf_unref(&conf);
}

static void
what_cannot_be_read_is_told(void **state)
{
	put_folder(*state, "c.yaml");
	assert_int_equal(symlink("nowhere", path_in(*state, "d.yaml")), 0);
	char loop[256];
	(void)strcpy(loop, path_in(*state, "e.yaml"));
	assert_int_equal(symlink(loop, loop), 0);
	assert_load_said_once(*state, "include: c.yaml\n", "c.yaml", "", "directory");
	assert_load_said_once(*state, "include: c*\n", "c.yaml", "", "directory");
	struct conf *conf = load(*state, "include: e*.yaml\n");
	assert_true(conf_has_errors(conf));
	conf_unref(&conf);
	conf = load(*state, "include: d*.yaml\n");
	assert_true(conf_has_errors(conf));
	conf_unref(&conf);
}

static void
a_file_without_permission_is_told(void **state)
{
	put(*state, "a.yaml", "store: a\n");
	if (geteuid() == 0) {
		return; /* root may read everything */
	}
	assert_int_equal(chmod(path_in(*state, "a.yaml"), 0), 0);
	assert_load_said_once(*state, "include: a*.yaml\n", "a.yaml", "", "ermission");
}

/* Nobody waits for who writes into a pipe. */
static void
what_is_no_file_is_not_waited_for(void **state)
{
	struct conf *conf;

	assert_int_equal(mkfifo(path_in(*state, "a.yaml"), 0600), 0);
	conf = load(*state, "include: a.yaml\nstore: !file a.yaml\n");
	assert_true(conf_has_errors(conf));
	conf_unref(&conf);
}

static void
a_first_file_that_is_not_there_is_told(void **state)
{
	const char *folder = ((struct folder *)*state)->base;
	struct conf *conf = conf_load(path_in(*state, "nope.yaml"), NULL);

	assert_non_null(conf);
	assert_said_in(conf, folder, &(struct said){"nope.yaml", "", "No such file"}, 1);
	assert_null(conf_root(conf));
	assert_null(conf_bind(conf, &sample_schema));
	conf_unref(&conf);
	put_folder(*state, "folder");
	conf = conf_load(path_in(*state, "folder"), NULL);
	assert_said_in(conf, folder, &(struct said){"folder", "", "directory"}, 1);
	conf_unref(&conf);
}

static void
the_environment_and_files_are_read_for_real(void **state)
{
	struct conf *conf = NULL;

	assert_int_equal(setenv("AVOCET_UNIT_TEST", "from env", 1), 0);
	put_folder(*state, "folder");
	put(*state, "secret", "from file\n");
	const struct sample *sample =
	    bound(*state, &conf, "store: !file secret\nbroker: {user: !env AVOCET_UNIT_TEST}\n");
	assert_string_equal(sample->store, "from file");
	assert_string_equal(sample->broker.user, "from env");
	conf_unref(&conf);
	assert_int_equal(unsetenv("AVOCET_UNIT_TEST"), 0);
	assert_load_said_once(
	    *state, "store: !env AVOCET_UNIT_TEST\n", "main.yaml:1:8", "", "AVOCET_UNIT_TEST");
	assert_load_said_once(*state, "store: !file nope\n", "main.yaml:1:8", "", "No such file");
	assert_load_said_once(*state, "store: !file folder\n", "main.yaml:1:8", "", "directory");
	assert_load_said_once(*state, "store: !file /dev/zero\n", "main.yaml:1:8", "", NULL);
}

static void
a_path_from_the_environment_is_not_shown(void **state)
{
	assert_int_equal(setenv("AVOCET_UNIT_TEST", "hunter2", 1), 0);
	struct conf *conf = load(*state, "include: !env AVOCET_UNIT_TEST\n");
	char *text = said_text(conf);

	assert_true(conf_has_errors(conf));
	assert_null(strstr(text, "hunter2"));
	free(text);
	conf_unref(&conf);
	assert_int_equal(unsetenv("AVOCET_UNIT_TEST"), 0);
}

/* buf.h: SIZE_MAX as limit is none. */
static void
the_largest_limit_is_none(void **state)
{
	struct conf_limits limits = conf_default_limits;

	limits.max_bytes = SIZE_MAX;
	limits.max_value = SIZE_MAX;
	put(*state, "secret", "s\n");
	put(*state, "main.yaml", "store: !file secret\n");
	struct conf *conf = conf_load(path_in(*state, "main.yaml"), &limits);
	const struct sample *sample = conf_bind(conf, &sample_schema);
	assert_nothing_said(conf);
	assert_non_null(sample);
	assert_non_null(sample->store);
	assert_string_equal(sample->store, "s");
	conf_unref(&conf);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    folder_test(a_file_without_include_is_loaded),
	    folder_test(an_empty_file_is_a_configuration),
	    folder_test(a_pattern_brings_its_files_by_name),
	    folder_test(several_paths_are_read_as_they_are_listed),
	    folder_test(paths_are_absolute_or_beside_the_file),
	    folder_test(a_folder_may_have_a_name_like_a_pattern),
	    folder_test(a_pattern_may_match_nothing),
	    folder_test(nothing_to_include_is_nothing),
	    folder_test(a_plain_path_must_be_there),
	    folder_test(include_is_a_path_or_paths),
	    folder_test(an_included_file_includes_nothing),
	    folder_test(errors_of_all_files_are_told_in_one_run),
	    folder_test(an_included_file_may_be_empty_but_no_list),
	    folder_test(the_number_of_files_is_limited),
	    folder_test(limits_hold_for_each_file_and_for_all_together),
	    folder_test(what_cannot_be_read_is_told),
	    folder_test(a_file_without_permission_is_told),
	    folder_test(what_is_no_file_is_not_waited_for),
	    folder_test(a_first_file_that_is_not_there_is_told),
	    folder_test(the_environment_and_files_are_read_for_real),
	    folder_test(a_path_from_the_environment_is_not_shown),
	    folder_test(the_largest_limit_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
