/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values that come from the environment and from files: that they arrive as what they are. That
 * nobody gets to see them afterwards is in test_secret.c; real files are in test_include.c.
 */
#include "unit/conf/sources.h"

static void
assert_store(const char *written, const char *want)
{
	struct conf *conf = NULL;
	char text[256];

	(void)snprintf(text, sizeof(text), "store: %s\n", written);
	const struct sample *sample = bound(&conf, text);
	assert_non_null(sample->store);
	assert_string_equal(sample->store, want);
	conf_unref(&conf);
}

static void
a_variable_brings_its_value(void **state)
{
	(void)state;
	assert_store("!env SECRET", SECRET);
	assert_store("!env 'SECRET'", SECRET);
	assert_store("!env {name: SECRET}", SECRET);
	assert_store("!env {name: SECRET, default: x}", SECRET);
	assert_store("!env {default: x, name: SECRET}", SECRET);
	assert_store("!env EMPTY", "");
	assert_store("!env {name: EMPTY, default: x}", "");
}

static void
a_variable_that_is_not_set_leaves_its_default(void **state)
{
	(void)state;
	assert_store("!env {name: UNSET, default: x}", "x");
	assert_store("!env {name: UNSET, default: ''}", "");
	assert_store("!env {name: UNSET, default: 'null'}", "null");
	assert_store("!env {name: UNSET, default: 5}", "5");
}

static void
a_value_is_text_and_never_yaml(void **state)
{
	(void)state;
	assert_store("!env NULL", "null");
	assert_store("!env TILDE", "~");
	assert_store("!env LIST", "[a, *b, !env X]");
	assert_store("!env LINES", "a\nb: c\n");
	assert_store("!env SPACES", "  a  ");
	assert_store("!file 'null'", "null");
	assert_store("!file spaces", "  a: b # c\t ");
}

static void
a_value_is_never_null_in_the_tree(void **state)
{
	static const char *const texts[] = {"a: !env NULL\n", "a: !env TILDE\n", "a: !env EMPTY\n",
	    "a: !file 'null'\n", "a: !file empty\n"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		struct conf *conf = read_fake(texts[i]);

		assert_nothing_said(conf);
		assert_false(conf_node_is_null(value_of(conf_root(conf), "a")));
		conf_unref(&conf);
	}
}

static void
a_value_serves_every_type(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf,
	    "broker: {workers: !env FOUR, max_memory: !env SIZE, sys_interval: !env SPAN,\n"
	    "  max_transit: !env AUTO, trusted_proxies: [!env SECRET, x], token: !env SECRET}\n"
	    "log: {level: !env LEVEL}\n"
	    "limits: {retain_available: !env NO, max_queued_messages: !file four}\n"
	    "listeners: [{bind: !env SECRET, protocol_versions: [!env VERSION]}]\n"
	    "plugins: [{name: p, module: m, config: {password: !file secret}}]\n");
	const struct sample_listener *listener = sample->listeners.items;
	const struct sample_plugin *plugin = sample->plugins.items;

	(void)state;
	assert_int_equal(sample->broker.workers, 4);
	assert_int_equal(sample->broker.max_memory, 2 << 20);
	assert_int_equal(sample->broker.sys_interval, 5400000);
	assert_int_equal(sample->broker.max_transit, SAMPLE_AUTO);
	assert_string_equal(sample->broker.trusted_proxies.items[0], SECRET);
	assert_string_equal(sample->broker.token, SECRET);
	assert_int_equal(sample->log.level, 3);
	assert_false(sample->limits.retain_available);
	assert_int_equal(sample->limits.max_queued_messages, 4);
	assert_string_equal(listener->bind, SECRET);
	assert_int_equal(listener->protocol_versions, SAMPLE_V5);
	const struct conf_node *password = value_of(plugin->config, "password");
	assert_scalar(password, SECRET);
	assert_string_equal(password->reference, "!file secret");
	conf_unref(&conf);
}

static void
an_alias_of_a_reference_is_one_too(void **state)
{
	struct conf *conf =
	    read_fake("a: &x !env SECRET\nb: *x\nc: !env {name: U, default: d}\nd: e\n");
	const struct conf_node *root = conf_root(conf);

	(void)state;
	assert_nothing_said(conf);
	assert_scalar(value_of(root, "b"), SECRET);
	assert_string_equal(value_of(root, "a")->reference, "!env SECRET");
	assert_string_equal(value_of(root, "b")->reference, "!env SECRET");
	assert_non_null(value_of(root, "c")->reference);
	assert_null(value_of(root, "d")->reference);
	conf_unref(&conf);
}

static void
a_file_brings_its_text_without_the_last_line_end(void **state)
{
	(void)state;
	assert_store("!file secret", SECRET);
	assert_store("!file bare", SECRET);
	assert_store("!file 'secret'", SECRET);
	assert_store("!file empty", "");
	assert_store("!file lines", "a\nb");
	assert_store("!file /abs", SECRET);
	assert_store("!file ../up", SECRET);
}

struct wrong {
	const char *written;
	const char *words;
};

static void
assert_wrong(const struct conf_sources *sources, const struct wrong *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct said want = {"d/x.yaml:2:8", "", rows[i].words};
		char text[256];

		(void)snprintf(text, sizeof(text), "\nstore: %s\n", rows[i].written);
		struct conf *conf = conf_read("d/x.yaml", bytes_of(text), NULL, sources);
		assert_said(conf, &want, 1);
		conf_unref(&conf);
	}
}

static void
what_brings_nothing_is_told(void **state)
{
	static const struct wrong rows[] = {
	    {"!env UNSET", "UNSET"},
	    {"!env {name: UNSET}", "UNSET"},
	    {"!env ''", NULL},
	    {"!env [SECRET]", "!env"},
	    {"!env {}", "!env"},
	    {"!env {default: x}", "!env"},
	    {"!env {name: [SECRET]}", "!env"},
	    {"!env {name: UNSET, default: [x]}", "!env"},
	    {"!env {name: SECRET, other: x}", "!env"},
	    {"!env BINARY", NULL},
	    {"!env BIG", "too long"},
	    {"!file missing", "d/missing"},
	    {"!file binary", NULL},
	    {"!file nul", NULL},
	    {"!file ''", "!file"},
	    {"!file [secret]", "!file"},
	    {"!file {name: secret}", "!file"},
	};

	(void)state;
	assert_wrong(&fake, rows, CONF_COUNT(rows));
}

/* The buffer that a source fills has a limit, and says when it was met. */
static void
a_file_that_is_too_long_is_told(void **state)
{
	static const struct wrong rows[] = {{"!file big", "too long"}};

	(void)state;
	assert_wrong(&fake, rows, CONF_COUNT(rows));
}

static void
without_sources_every_reference_is_refused(void **state)
{
	static const struct wrong rows[] = {{"!env SECRET", "SECRET"}, {"!file secret", NULL}};
	static const struct conf_sources none = {NULL, NULL};

	(void)state;
	assert_wrong(NULL, rows, CONF_COUNT(rows));
	assert_wrong(&none, rows, CONF_COUNT(rows));
}

/* That nothing is no number either goes without saying. */
static void
what_brings_nothing_is_told_once(void **state)
{
	static const char *const texts[] = {"broker: {workers: !env UNSET}\n",
	    "broker: {workers: !file missing}\n", "broker: {workers: !env {default: 4}}\n",
	    "broker: {workers: !foo bar}\n"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		struct said want = {"d/x.yaml:1:19", "", NULL};
		struct conf *conf = read_fake(texts[i]);

		assert_null(conf_bind(conf, &sample_schema));
		assert_said(conf, &want, 1);
		conf_unref(&conf);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_variable_brings_its_value),
	    cmocka_unit_test(a_variable_that_is_not_set_leaves_its_default),
	    cmocka_unit_test(a_value_is_text_and_never_yaml),
	    cmocka_unit_test(a_value_is_never_null_in_the_tree),
	    cmocka_unit_test(a_value_serves_every_type),
	    cmocka_unit_test(an_alias_of_a_reference_is_one_too),
	    cmocka_unit_test(a_file_brings_its_text_without_the_last_line_end),
	    cmocka_unit_test(what_brings_nothing_is_told),
	    cmocka_unit_test(a_file_that_is_too_long_is_told),
	    cmocka_unit_test(without_sources_every_reference_is_refused),
	    cmocka_unit_test(what_brings_nothing_is_told_once),
	};

	return cmocka_run_group_tests(tests, fill_big_value, NULL);
}
