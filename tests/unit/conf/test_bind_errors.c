/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a schema refuses: each with its place, its path and its sentence, all of a file in one run.
 */
#include "unit/conf/conf_unit.h"

#include "unit/conf/sample.h"

struct wrong {
	const char *text;
	const char *place;
	const char *path;
	const char *words;
};

/* Each row has one error. */
static void
assert_wrong(const struct wrong *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct conf *conf = read_text(rows[i].text);

		assert_null(conf_bind(conf, &sample_schema));
		assert_said_once(conf, rows[i].place, rows[i].path, rows[i].words);
		conf_unref(&conf);
	}
}

static void
a_number_out_of_its_range_is_told_the_range(void **state)
{
	static const struct wrong rows[] = {
	    {"broker: {workers: 0}\n", "1:19", "broker.workers", "\"0\" must be from 1 to 1024"},
	    {"broker: {workers: 1025}\n", "1:19", "broker.workers", "must be from 1 to 1024"},
	    {"broker: {workers: -1}\n", "1:19", "broker.workers", "must be from 1 to 1024"},
	    {"broker: {max_connections: -1}\n", "1:27", "broker.max_connections", "at least 0"},
	    {"broker: {max_memory: -1}\n", "1:22", "broker.max_memory", "at least 0"},
	    {"limits: {max_qos: 3}\n", "1:19", "limits.max_qos", "\"3\" must be from 0 to 2"},
	    {"limits: {max_qos: -1}\n", "1:19", "limits.max_qos", "must be from 0 to 2"},
	    {"limits:\n  receive_maximum: 65536\n", "2:20", "limits.receive_maximum",
		"must be from 1 to 65535"},
	    {"limits: {auth_delay: 60001ms}\n", "1:22", "limits.auth_delay",
		"must be from 0 to 1m"},
	    {"limits: {max_packet_size: 1023}\n", "1:27", "limits.max_packet_size",
		"must be from 1KiB to 268435460B"},
	    {"durability: {interval: 0}\n", "1:24", "durability.interval", "at least 1"},
	};

	(void)state;
	assert_wrong(rows, CONF_COUNT(rows));
}

static void
the_ends_of_a_range_are_in_it(void **state)
{
	struct conf *conf = read_text(
	    "broker: {workers: 1, max_connections: 9223372036854775807}\n"
	    "limits: {max_qos: 2, receive_maximum: 65535, auth_delay: 1m, max_packet_size: 1KiB}\n"
	    "durability: {interval: 1ms}\n");

	(void)state;
	assert_non_null(conf_bind(conf, &sample_schema));
	assert_nothing_said(conf);
	conf_unref(&conf);
}

static void
a_value_of_another_type_is_told_what_it_must_be(void **state)
{
	static const struct wrong rows[] = {
	    {"broker: {workers: many}\n", "1:19", "broker.workers",
		"\"many\" must be a whole number, or auto"},
	    {"broker: {max_connections: 1.5}\n", "1:27", "broker.max_connections", "whole number"},
	    {"broker: {max_connections: auto}\n", "1:27", "broker.max_connections", "whole number"},
	    {"broker: {max_connections: 99999999999999999999}\n", "1:27", "broker.max_connections",
		"must be"},
	    {"broker: {max_memory: 5MB}\n", "1:22", "broker.max_memory", "must be a size"},
	    {"broker: {sys_interval: 5}\n", "1:24", "broker.sys_interval", "must be a duration"},
	    {"limits: {max_session_expiry: auto}\n", "1:30", "limits.max_session_expiry",
		"or never"},
	    {"limits: {retain_available: maybe}\n", "1:28", "limits.retain_available",
		"\"maybe\" must be true or false"},
	    {"limits: {queue_full: drop}\n", "1:22", "limits.queue_full",
		"\"drop\" must be drop_new or drop_old"},
	    {"log: {level: loud}\n", "1:14", "log.level", "error, warning, info or debug"},
	    {"listeners: [{bind: a, protocol_versions: [3.1, 4, 5.0]}]\n", "1:48",
		"listeners[0].protocol_versions[1]", "\"4\" must be 3.1, 3.1.1 or 5.0"},
	    {"listeners:\n - bind: a\n - bind: b\n   tls: {min_version: 1.1}\n", "4:23",
		"listeners[1].tls.min_version", "\"1.1\" must be 1.2 or 1.3"},
	    {"durability: always\n", "1:13", "durability", "must be commit, relaxed or none"},
	};

	(void)state;
	assert_wrong(rows, CONF_COUNT(rows));
}

static void
a_node_of_another_kind_is_told_which_it_is(void **state)
{
	static const struct wrong rows[] = {
	    {"broker: []\n", "1:9", "broker", "must be a mapping, not a sequence"},
	    {"broker: 5\n", "1:9", "broker", "must be a mapping, not a value"},
	    {"broker: ''\n", "1:9", "broker", "must be a mapping, not a value"},
	    {"broker: {workers: [1]}\n", "1:19", "broker.workers", "not a sequence"},
	    {"broker: {workers: {a: 1}}\n", "1:19", "broker.workers", "not a mapping"},
	    {"limits: {retain_available: []}\n", "1:28", "limits.retain_available", "a sequence"},
	    {"limits: {queue_full: {}}\n", "1:22", "limits.queue_full", "a mapping"},
	    {"store: [a]\n", "1:8", "store", "not a sequence"},
	    {"listeners: {}\n", "1:12", "listeners", "must be a sequence, not a mapping"},
	    {"listeners: a\n", "1:12", "listeners", "must be a sequence, not a value"},
	    {"broker: {trusted_proxies: {}}\n", "1:27", "broker.trusted_proxies", "a mapping"},
	    {"broker: {trusted_proxies: [a, [b]]}\n", "1:31", "broker.trusted_proxies[1]",
		"not a sequence"},
	    {"listeners: [{bind: a, protocol_versions: [[3.1]]}]\n", "1:43",
		"listeners[0].protocol_versions[0]", "a sequence"},
	    {"listeners: [{bind: a, protocol_versions: {a: b}}]\n", "1:42",
		"listeners[0].protocol_versions", "a mapping"},
	    {"chains: []\n", "1:9", "chains", "must be a mapping, not a sequence"},
	    {"chains: {a: []}\n", "1:13", "chains.a", "must be a mapping, not a sequence"},
	    {"chains: {a: b}\n", "1:13", "chains.a", "must be a mapping, not a value"},
	    {"chains: {a: {authorize: b}}\n", "1:25", "chains.a.authorize", "must be a sequence"},
	    {"durability: [a]\n", "1:13", "durability", "a sequence"},
	    {"- a\n", "1:1", "", "must be a mapping, not a sequence"},
	    {"a\n", "1:1", "", "must be a mapping, not a value"},
	};

	(void)state;
	assert_wrong(rows, CONF_COUNT(rows));
}

/* That a key is missing in what is no mapping helps nobody. */
static void
an_item_of_another_kind_is_told_once(void **state)
{
	static const struct wrong rows[] = {
	    {"listeners: [a]\n", "1:13", "listeners[0]", "must be a mapping, not a value"},
	    {"listeners:\n  - bind: a\n  - [b]\n", "3:5", "listeners[1]", "not a sequence"},
	    {"chains: {a: {authorize: [[b]]}}\n", "1:26", "chains.a.authorize[0]", "a sequence"},
	};

	(void)state;
	assert_wrong(rows, CONF_COUNT(rows));
}

/* yaml.h: a scalar in quotes is text, never null or a number. */
static void
a_quoted_number_is_no_number(void **state)
{
	static const struct wrong rows[] = {
	    {"broker: {workers: \"4\"}\n", "1:19", "broker.workers", "must be a whole number"},
	    {"broker: {max_memory: '4KiB'}\n", "1:22", "broker.max_memory", "must be a size"},
	    {"broker: {workers: 'null'}\n", "1:19", "broker.workers", "must be a whole number"},
	    {"broker: {workers: ''}\n", "1:19", "broker.workers", "must be a whole number"},
	};

	(void)state;
	assert_wrong(rows, CONF_COUNT(rows));
}

static void
null_among_texts_is_not_its_spelling(void **state)
{
	struct conf *conf = read_text("broker: {trusted_proxies: [a, ~, null]}\n");
	const struct sample *sample = conf_bind(conf, &sample_schema);

	(void)state;
	for (size_t i = 1; sample != NULL && i < sample->broker.trusted_proxies.count; i++) {
		const char *item = sample->broker.trusted_proxies.items[i];

		assert_true(item == NULL || item[0] == '\0');
	}
	conf_unref(&conf);
}

static void
an_unknown_key_is_told_with_the_nearest_known_one(void **state)
{
	static const struct wrong rows[] = {
	    {"brokr: {}\n", "1:1", "", "unknown key \"brokr\"; did you mean broker?"},
	    {"broker:\n  wrokers: 4\n", "2:3", "broker", "did you mean workers?"},
	    {"broker: {data-dir: x}\n", "1:10", "broker", "did you mean data_dir?"},
	    {"broker: {dataDir: x}\n", "1:10", "broker", "did you mean data_dir?"},
	    {"log: {levels: info}\n", "1:7", "log", "did you mean level?"},
	    {"limits: {max_session_expiri: 1s}\n", "1:10", "limits", "max_session_expiry?"},
	    {"listeners: [{bind: a, tls: {cerfile: c}}]\n", "1:29", "listeners[0].tls",
		"did you mean certfile?"},
	    {"chains: {a: {authorise: []}}\n", "1:14", "chains.a", "did you mean authorize?"},
	    {"durability: {defualt: none}\n", "1:14", "durability", "did you mean default?"},
	    {"include: x\n", "1:1", "", "unknown key \"include\""},
	};

	(void)state;
	assert_wrong(rows, CONF_COUNT(rows));
}

static void
a_key_that_resembles_none_gets_no_proposal(void **state)
{
	static const char *const texts[] = {"xylophone: 1\n", "\"\": 1\n", "q: 1\n"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		struct conf *conf = read_text(texts[i]);

		assert_null(conf_bind(conf, &sample_schema));
		assert_said_once(conf, "1:1", "", "unknown key");
		char *text = said_text(conf);
		assert_null(strstr(text, "did you mean"));
		free(text);
		conf_unref(&conf);
	}
}

static void
what_is_required_and_missing_is_told_where_it_should_be(void **state)
{
	static const struct wrong rows[] = {
	    {"listeners:\n  - name: a\n", "2:5", "listeners[0]", "the key bind is missing"},
	    {"listeners:\n  - bind: a\n  - {}\n", "3:5", "listeners[1]", "bind"},
	    {"listeners: [{bind: ~}]\n", "1:13", "listeners[0]", "bind"},
	    {"listeners: [~]\n", "1:13", "listeners[0]", "bind"},
	    {"plugins: [{name: a}]\n", "1:11", "plugins[0]", "module"},
	    {"chains: {a: {authorize: [b, {control: required}]}}\n", "1:29",
		"chains.a.authorize[1]", "use"},
	    {"durability: {filters: [{mode: none}]}\n", "1:24", "durability.filters[0]", "filter"},
	};

	(void)state;
	assert_wrong(rows, CONF_COUNT(rows));
}

static void
a_node_with_a_schema_is_checked_where_it_stands(void **state)
{
	static const struct wrong rows[] = {
	    {"listeners: [{bind: a, limits: {max_qos: 9}}]\n", "1:41",
		"listeners[0].limits.max_qos", "must be from 0 to 2"},
	    {"listeners: [{bind: a, limits: {max_qs: 1}}]\n", "1:32", "listeners[0].limits",
		"did you mean max_qos?"},
	    {"listeners: [{bind: a, limits: 5}]\n", "1:31", "listeners[0].limits", "a mapping"},
	    {"listeners: [{bind: a, durability: {default: x}}]\n", "1:45",
		"listeners[0].durability.default", "commit, relaxed or none"},
	    {"plugins: [{name: a, module: b, links: {up: {limits: {max_qos: 9}}}}]\n", "1:63",
		"plugins[0].links.up.limits.max_qos", "must be from 0 to 2"},
	};

	(void)state;
	assert_wrong(rows, CONF_COUNT(rows));
}

static void
all_errors_of_a_file_are_told_in_the_order_of_places(void **state)
{
	static const struct said want[] = {
	    {"x.yaml:1:1", "", "unknown key \"storr\"; did you mean store?"},
	    {"x.yaml:3:12", "durability.default", "commit"},
	    {"x.yaml:6:15", "listeners[0].protocol", "mqtt or websocket"},
	    {"x.yaml:7:5", "listeners[1]", "bind"},
	    {"x.yaml:7:6", "listeners[1]", "\"bnd\"; did you mean bind?"},
	    {"x.yaml:7:23", "listeners[1].origins", "mapping"},
	    {"x.yaml:9:3", "broker", "\"foo\""},
	    {"x.yaml:10:12", "broker.workers", "1 to 1024"},
	    {"x.yaml:12:3", "log", "mapping"},
	};
	struct conf *conf = read_text("storr: x\n"
				      "durability:\n"
				      "  default: x\n"
				      "listeners:\n"
				      "  - bind: a\n    protocol: http\n"
				      "  - {bnd: b, origins: {}}\n"
				      "broker:\n"
				      "  foo: 1\n"
				      "  workers: 2000\n"
				      "log:\n  - x\n");

	(void)state;
	assert_null(conf_bind(conf, &sample_schema));
	assert_said(conf, want, CONF_COUNT(want));
	conf_unref(&conf);
}

static void
reading_and_binding_are_told_together(void **state)
{
	static const struct said want[] = {
	    {"x.yaml:1:19", "broker.workers", "whole number"},
	    {"x.yaml:2:8", "", "!foo"},
	    {"x.yaml:3:1", "", "line 2"},
	};
	struct conf *conf = read_text("broker: {workers: x}\nstore: !foo a\nstore: b\n");

	(void)state;
	assert_null(conf_bind(conf, &sample_schema));
	assert_said(conf, want, CONF_COUNT(want));
	conf_unref(&conf);
}

static void
what_is_no_tree_binds_to_nothing(void **state)
{
	struct conf *conf = read_text("a: [\n");

	(void)state;
	assert_null(conf_root(conf));
	assert_null(conf_bind(conf, &sample_schema));
	assert_true(conf_has_errors(conf));
	conf_unref(&conf);
}

static void
errors_of_a_part_stand_under_its_path(void **state)
{
	static const struct said want[] = {
	    {"x.yaml:1:50", "plugins.p.max_qos", "0 to 2"},
	    {"x.yaml:1:53", "plugins.p", "\"foo\""},
	};
	struct conf *conf =
	    read_text("plugins: [{name: p, module: m, config: {max_qos: 7, foo: 1}}]\n");
	const struct sample *sample = conf_bind(conf, &sample_schema);

	(void)state;
	assert_non_null(sample);
	const struct sample_plugin *plugin = sample->plugins.items;
	assert_null(conf_bind_part(conf, &sample_limits_schema, plugin->config, "plugins.p"));
	assert_said(conf, want, CONF_COUNT(want));
	conf_unref(&conf);
}

static void
a_room_may_fail_later_at_a_node_or_as_a_whole(void **state)
{
	static const struct said want[] = {
	    {"x.yaml", "plugins", "none of 2 can be loaded"},
	    {"x.yaml:2:8", "store", "no plugin db"},
	};
	struct conf *conf = read_text("plugins: []\nstore: db\n");

	(void)state;
	assert_non_null(conf_bind(conf, &sample_schema));
	conf_fail(conf, value_of(conf_root(conf), "store"), "store", "no plugin %s", "db");
	conf_fail(conf, NULL, "plugins", "none of %d can be loaded", 2);
	assert_said(conf, want, CONF_COUNT(want));
	conf_unref(&conf);
}

static void
a_check_sees_the_whole_struct(void **state)
{
	static const struct said want[] = {
	    {"x.yaml:4:6", "listeners[0].tls", "a certificate is asked for"},
	    {"x.yaml:4:15", "listeners[0].tls.keyfile", "keyfile needs certfile beside it"},
	};
	struct conf *conf = read_text("listeners:\n - bind: 1\n   tls:\n"
				      "     keyfile: k\n     require_certificate: true\n");

	(void)state;
	assert_null(conf_bind(conf, &sample_schema));
	assert_said(conf, want, CONF_COUNT(want));
	conf_unref(&conf);
}

static void
a_struct_with_errors_is_not_checked(void **state)
{
	static const struct wrong rows[] = {
	    {"listeners: [{bind: a, tls: {keyfile: k, psk: x}}]\n", "1:46", "listeners[0].tls.psk",
		"true or false"},
	    {"listeners: [{bind: a, tls: {keyfile: k, pks: true}}]\n", "1:41", "listeners[0].tls",
		"did you mean psk?"},
	};

	(void)state;
	assert_wrong(rows, CONF_COUNT(rows));
}

static void
a_long_path_is_cut_and_nothing_breaks(void **state)
{
	char text[2048];
	char name[1001];

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	(void)snprintf(text, sizeof(text), "chains: {%s: {authorize: 5, x: 1}, b: []}\n", name);
	struct conf *conf = read_text(text);
	assert_null(conf_bind(conf, &sample_schema));
	char *said = said_text(conf);
	assert_non_null(strstr(said, "x.yaml:1:1024: chains.nnnn"));
	assert_non_null(strstr(said, "chains.b: must be a mapping"));
	assert_true(strlen(said) < 1500);
	free(said);
	conf_unref(&conf);
}

static void
a_path_carries_no_control_characters(void **state)
{
	static const struct wrong rows[] = {
	    {"broker: {workers: \"\\e[31m\\nx\"}\n", "1:19", "broker.workers", "must be"},
	    {"\"\\e\\n\": 1\n", "1:1", "", "unknown key"},
	};
	struct conf *conf = read_text("chains: {\"a\\nb\\e[31m\": 5}\n");

	(void)state;
	assert_wrong(rows, CONF_COUNT(rows));
	assert_null(conf_bind(conf, &sample_schema));
	char *said = said_text(conf);
	assert_int_equal(strcspn(said, "\n"), strlen(said) - 1);
	assert_null(strchr(said, '\x1b'));
	free(said);
	conf_unref(&conf);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_number_out_of_its_range_is_told_the_range),
	    cmocka_unit_test(the_ends_of_a_range_are_in_it),
	    cmocka_unit_test(a_value_of_another_type_is_told_what_it_must_be),
	    cmocka_unit_test(a_node_of_another_kind_is_told_which_it_is),
	    cmocka_unit_test(an_item_of_another_kind_is_told_once),
	    cmocka_unit_test(a_quoted_number_is_no_number),
	    cmocka_unit_test(null_among_texts_is_not_its_spelling),
	    cmocka_unit_test(an_unknown_key_is_told_with_the_nearest_known_one),
	    cmocka_unit_test(a_key_that_resembles_none_gets_no_proposal),
	    cmocka_unit_test(what_is_required_and_missing_is_told_where_it_should_be),
	    cmocka_unit_test(a_node_with_a_schema_is_checked_where_it_stands),
	    cmocka_unit_test(all_errors_of_a_file_are_told_in_the_order_of_places),
	    cmocka_unit_test(reading_and_binding_are_told_together),
	    cmocka_unit_test(what_is_no_tree_binds_to_nothing),
	    cmocka_unit_test(errors_of_a_part_stand_under_its_path),
	    cmocka_unit_test(a_room_may_fail_later_at_a_node_or_as_a_whole),
	    cmocka_unit_test(a_check_sees_the_whole_struct),
	    cmocka_unit_test(a_struct_with_errors_is_not_checked),
	    cmocka_unit_test(a_long_path_is_cut_and_nothing_breaks),
	    cmocka_unit_test(a_path_carries_no_control_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
