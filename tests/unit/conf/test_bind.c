/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees to structs: defaults, every type, parts bound later and over others. What is refused has
 * its own file, test_bind_errors.c.
 */
#include "unit/conf/conf_unit.h"

#include "unit/conf/sample.h"

/* Read and bound without a word; the caller gives conf back. */
static const struct sample *
bound(struct conf **conf, const char *text)
{
	*conf = read_text(text);
	const struct sample *sample = conf_bind(*conf, &sample_schema);

	assert_nothing_said(*conf);
	assert_non_null(sample);
	return sample;
}

static const struct sample_listener *
listener_at(const struct sample *sample, size_t index)
{
	assert_true(index < sample->listeners.count);
	return (const struct sample_listener *)sample->listeners.items + index;
}

static const struct sample_chains *
chains_at(const struct sample *sample, size_t index)
{
	assert_true(index < sample->chains.count);
	return (const struct sample_chains *)sample->chains.items + index;
}

static const struct sample_member *
member_at(const struct conf_list *members, size_t index)
{
	assert_true(index < members->count);
	return (const struct sample_member *)members->items + index;
}

static void
an_empty_file_has_every_default(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf, "");

	(void)state;
	assert_int_equal(sample->broker.workers, SAMPLE_AUTO);
	assert_string_equal(sample->broker.data_dir, "/var/lib/avocet");
	assert_string_equal(sample->broker.user, "");
	assert_int_equal(sample->broker.sys_interval, 10000);
	assert_int_equal(sample->broker.max_memory, SAMPLE_AUTO);
	assert_int_equal(sample->broker.max_connections, 0);
	assert_int_equal(sample->broker.trusted_proxies.count, 0);
	assert_null(sample->broker.token);
	assert_int_equal(sample->log.level, 2);
	assert_string_equal(sample->log.to, "stderr");
	assert_int_equal(sample->limits.max_packet_size, 16 * 1024 * 1024);
	assert_true(sample->limits.retain_available);
	assert_false(sample->limits.lenient);
	assert_int_equal(sample->limits.max_session_expiry, CONF_NEVER);
	assert_null(sample->limits.response_information);
	assert_int_equal(sample->plugins.count, 0);
	assert_int_equal(sample->chains.count, 0);
	assert_null(sample->store);
	assert_int_equal(sample->durability.fallback, SAMPLE_COMMIT);
	assert_int_equal(sample->durability.interval, 200);
	conf_unref(&conf);
}

static void
a_default_may_be_a_list_of_structs_with_their_own_defaults(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf, "");
	const struct sample_listener *listener = listener_at(sample, 0);

	(void)state;
	assert_int_equal(sample->listeners.count, 1);
	assert_string_equal(listener->bind, "127.0.0.1:1883");
	assert_null(listener->name);
	assert_int_equal(listener->protocol_versions, SAMPLE_V31 | SAMPLE_V311 | SAMPLE_V5);
	assert_int_equal(listener->tls.min_version, 12);
	assert_null(listener->tls.certfile);
	assert_null(listener->limits);
	assert_string_equal(listener->chains, "default");
	conf_unref(&conf);
}

static void
what_is_written_takes_the_place_of_its_default_alone(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample =
	    bound(&conf, "broker: {workers: 4}\nlog: {level: debug}\nlisteners: []\n");

	(void)state;
	assert_int_equal(sample->broker.workers, 4);
	assert_string_equal(sample->broker.data_dir, "/var/lib/avocet");
	assert_int_equal(sample->log.level, 3);
	assert_int_equal(sample->log.format, 0);
	assert_int_equal(sample->listeners.count, 0);
	conf_unref(&conf);
}

static void
each_type_takes_its_value(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample =
	    bound(&conf, "broker:\n"
			 "  workers: 1024\n"
			 "  data_dir: /srv\n"
			 "  max_memory: 2GiB\n"
			 "  sys_interval: 1h30m\n"
			 "  trusted_proxies: [10.0.0.0/8, \"::1\"]\n"
			 "limits: {retain_available: no, queue_full: drop_old, max_qos: 0}\n");

	(void)state;
	assert_int_equal(sample->broker.workers, 1024);
	assert_string_equal(sample->broker.data_dir, "/srv");
	assert_int_equal(sample->broker.max_memory, INT64_C(2) << 30);
	assert_int_equal(sample->broker.sys_interval, 5400000);
	assert_int_equal(sample->broker.trusted_proxies.count, 2);
	assert_string_equal(sample->broker.trusted_proxies.items[0], "10.0.0.0/8");
	assert_string_equal(sample->broker.trusted_proxies.items[1], "::1");
	assert_false(sample->limits.retain_available);
	assert_int_equal(sample->limits.queue_full, 1);
	assert_int_equal(sample->limits.max_qos, 0);
	conf_unref(&conf);
}

static void
a_string_takes_what_looks_like_something_else(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
	    {"store: 5\n", "5"},
	    {"store: true\n", "true"},
	    {"store: 1.20\n", "1.20"},
	    {"store: \"null\"\n", "null"},
	    {"store: '~'\n", "~"},
	    {"store: ''\n", ""},
	    {"store: |\n  a\n  b\n", "a\nb\n"},
	    {"store: \"\xc3\xa4\\t\"\n", "\xc3\xa4\t"},
	};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		struct conf *conf = NULL;

		assert_string_equal(bound(&conf, rows[i].text)->store, rows[i].want);
		conf_unref(&conf);
	}
}

static void
one_text_alone_is_a_list_of_one(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf, "broker: {trusted_proxies: 10.0.0.1}\n");

	(void)state;
	assert_int_equal(sample->broker.trusted_proxies.count, 1);
	assert_string_equal(sample->broker.trusted_proxies.items[0], "10.0.0.1");
	conf_unref(&conf);
}

static void
a_word_stands_in_place_of_a_number(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample =
	    bound(&conf, "broker: {workers: auto, max_memory: 0, max_transit: auto}\n"
			 "limits: {max_session_expiry: never}\n");

	(void)state;
	assert_int_equal(sample->broker.workers, SAMPLE_AUTO);
	assert_int_equal(sample->broker.max_memory, 0);
	assert_int_equal(sample->broker.max_transit, SAMPLE_AUTO);
	assert_int_equal(sample->limits.max_session_expiry, CONF_NEVER);
	conf_unref(&conf);
}

static void
words_are_words_in_quotes_too(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample =
	    bound(&conf, "broker: {workers: \"auto\"}\n"
			 "listeners:\n"
			 "  - {bind: a, tls: {min_version: \"1.3\"}, allow_anonymous: \"true\"}\n"
			 "  - {bind: b, tls: {min_version: 1.3}, allow_anonymous: true}\n");

	(void)state;
	assert_int_equal(sample->broker.workers, SAMPLE_AUTO);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(listener_at(sample, i)->tls.min_version, 13);
		assert_int_equal(listener_at(sample, i)->allow_anonymous, SAMPLE_ANONYMOUS_YES);
	}
	conf_unref(&conf);
}

static void
flags_are_the_sum_of_their_words(void **state)
{
	static const struct {
		const char *text;
		int64_t flags;
	} rows[] = {
	    {"[3.1, 3.1.1, 5.0]", 7},
	    {"[5.0, 3.1]", 5},
	    {"[5.0]", 4},
	    {"[\"5.0\", 5.0]", 4},
	    {"[]", 0},
	    {"~", 7},
	};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		struct conf *conf = NULL;
		char text[128];

		(void)snprintf(text, sizeof(text), "listeners: [{bind: a, protocol_versions: %s}]",
		    rows[i].text);
		assert_int_equal(
		    listener_at(bound(&conf, text), 0)->protocol_versions, rows[i].flags);
		conf_unref(&conf);
	}
}

static void
null_keeps_the_default_and_makes_a_string_null(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf,
	    "broker:\n  workers: ~\n  data_dir: null\n  sys_interval:\n  trusted_proxies: ~\n"
	    "log: ~\nlisteners:\nlimits: {retain_available: ~, queue_full: null}\n"
	    "plugins: ~\nchains: ~\nstore: ~\ndurability: ~\n");

	(void)state;
	assert_int_equal(sample->broker.workers, SAMPLE_AUTO);
	assert_null(sample->broker.data_dir);
	assert_int_equal(sample->broker.sys_interval, 10000);
	assert_int_equal(sample->broker.trusted_proxies.count, 0);
	assert_int_equal(sample->log.level, 2);
	assert_int_equal(sample->listeners.count, 1);
	assert_true(sample->limits.retain_available);
	assert_int_equal(sample->limits.queue_full, 0);
	assert_int_equal(sample->chains.count, 0);
	assert_null(sample->store);
	assert_int_equal(sample->durability.fallback, SAMPLE_COMMIT);
	conf_unref(&conf);
}

static void
names_are_kept_in_the_order_of_the_file(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(
	    &conf, "chains:\n  zebra: {authorize: [a]}\n  \"a b\": {}\n  null: ~\n  '': {}\n");

	(void)state;
	assert_int_equal(sample->chains.count, 4);
	assert_string_equal(chains_at(sample, 0)->name, "zebra");
	assert_string_equal(chains_at(sample, 1)->name, "a b");
	assert_string_equal(chains_at(sample, 2)->name, "null");
	assert_string_equal(chains_at(sample, 3)->name, "");
	assert_int_equal(chains_at(sample, 0)->authorize.count, 1);
	assert_int_equal(chains_at(sample, 2)->authorize.count, 0);
	conf_unref(&conf);
}

static void
a_bare_value_is_the_key_it_is_short_for(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf,
	    "chains:\n  default:\n    authenticate:\n      - users\n"
	    "      - {use: scram, control: required, timeout: 1s}\n      - use: third\n"
	    "durability: relaxed\n");
	const struct conf_list *members = &chains_at(sample, 0)->authenticate;

	(void)state;
	assert_int_equal(members->count, 3);
	assert_string_equal(member_at(members, 0)->use, "users");
	assert_int_equal(member_at(members, 0)->control, SAMPLE_SUFFICIENT);
	assert_int_equal(member_at(members, 0)->timeout, 5000);
	assert_string_equal(member_at(members, 1)->use, "scram");
	assert_int_equal(member_at(members, 1)->control, SAMPLE_REQUIRED);
	assert_int_equal(member_at(members, 1)->timeout, 1000);
	assert_string_equal(member_at(members, 2)->use, "third");
	assert_int_equal(sample->durability.fallback, SAMPLE_RELAXED);
	assert_int_equal(sample->durability.interval, 200);
	conf_unref(&conf);
}

static void
structs_nest_in_lists_in_names_in_lists(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample =
	    bound(&conf, "plugins:\n"
			 "  - {name: p, module: m}\n"
			 "  - name: q\n    module: m\n    config: [1, {a: b}]\n"
			 "    links: {up: {chains: other, limits: {max_qos: 1}}, down: {}}\n");
	const struct sample_plugin *plugins = sample->plugins.items;

	(void)state;
	assert_int_equal(sample->plugins.count, 2);
	assert_null(plugins[0].config);
	assert_int_equal(plugins[0].links.count, 0);
	assert_int_equal(plugins[0].threads, 1);
	assert_string_equal(plugins[1].name, "q");
	assert_int_equal(plugins[1].config->kind, CONF_SEQUENCE);
	assert_scalar(value_of(plugins[1].config->items[1], "a"), "b");
	assert_int_equal(plugins[1].links.count, 2);
	const struct sample_link *links = plugins[1].links.items;
	assert_string_equal(links[0].name, "up");
	assert_string_equal(links[0].chains, "other");
	assert_non_null(links[0].limits);
	assert_string_equal(links[1].name, "down");
	assert_string_equal(links[1].chains, "default");
	assert_null(links[1].limits);
	conf_unref(&conf);
}

static void
an_alias_binds_as_often_as_it_stands(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf, "listeners:\n  - &a {bind: x, origins: &o [y, "
						   "z]}\n  - *a\n  - {bind: w, origins: *o}\n");

	(void)state;
	assert_int_equal(sample->listeners.count, 3);
	assert_string_equal(listener_at(sample, 1)->bind, "x");
	assert_int_equal(listener_at(sample, 2)->origins.count, 2);
	assert_string_equal(listener_at(sample, 2)->origins.items[1], "z");
	conf_unref(&conf);
}

static void
a_part_is_bound_by_itself(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample =
	    bound(&conf, "listeners: [{bind: a, limits: {max_qos: 1, max_packet_size: 1MiB}}]\n");
	const struct sample_limits *limits = conf_bind_part(
	    conf, &sample_limits_schema, listener_at(sample, 0)->limits, "listeners[0].limits");

	(void)state;
	assert_non_null(limits);
	assert_int_equal(limits->max_qos, 1);
	assert_int_equal(limits->max_packet_size, 1 << 20);
	assert_int_equal(limits->receive_maximum, 1000);
	assert_string_equal(limits->auto_id_prefix, "auto-");
	assert_nothing_said(conf);
	conf_unref(&conf);
}

static void
a_part_that_is_not_there_is_all_defaults(void **state)
{
	struct conf *conf = NULL;

	(void)state;
	(void)bound(&conf, "limits: {max_qos: 1}\n");
	const struct sample_limits *limits =
	    conf_bind_part(conf, &sample_limits_schema, NULL, "listeners[0].limits");
	assert_non_null(limits);
	assert_int_equal(limits->max_qos, 2);
	assert_int_equal(limits->max_session_expiry, CONF_NEVER);
	conf_unref(&conf);
}

static void
a_part_over_another_changes_what_it_writes(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf,
	    "limits: {max_qos: 1, receive_maximum: 7, auto_id_prefix: x-, retain_available: "
	    "false}\n"
	    "listeners: [{bind: a, limits: {receive_maximum: 9, lenient: true, auto_id_prefix: ~,\n"
	    "  max_session_expiry: 30d}}]\n");
	const struct sample_limits *limits = conf_bind_part_over(conf, &sample_limits_schema,
	    listener_at(sample, 0)->limits, "listeners[0].limits", &sample->limits);

	(void)state;
	assert_non_null(limits);
	assert_ptr_not_equal(limits, &sample->limits);
	assert_int_equal(limits->max_qos, 1);
	assert_int_equal(limits->receive_maximum, 9);
	assert_null(limits->auto_id_prefix);
	assert_false(limits->retain_available);
	assert_true(limits->lenient);
	assert_int_equal(limits->max_session_expiry, INT64_C(30) * 86400000);
	assert_int_equal(limits->max_packet_size, 16 << 20);
	assert_int_equal(sample->limits.receive_maximum, 7);
	assert_string_equal(sample->limits.auto_id_prefix, "x-");
	assert_false(sample->limits.lenient);
	conf_unref(&conf);
}

static void
nothing_over_another_is_a_copy_of_it(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample =
	    bound(&conf, "limits: {max_qos: 1}\nlisteners: [{bind: a, limits: {max_qos: ~}}]\n");
	const struct sample_limits *none =
	    conf_bind_part_over(conf, &sample_limits_schema, NULL, "x", &sample->limits);
	const struct sample_limits *null = conf_bind_part_over(conf, &sample_limits_schema,
	    listener_at(sample, 0)->limits, "listeners[0].limits", &sample->limits);

	(void)state;
	assert_non_null(none);
	assert_int_equal(none->max_qos, 1);
	assert_non_null(null);
	assert_int_equal(null->max_qos, 1);
	conf_unref(&conf);
}

static void
a_struct_inside_is_bound_over_as_well(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample =
	    bound(&conf, "listeners: [{bind: a, tls: {certfile: c, keyfile: k}, origins: [x, y]}]\n"
			 "plugins: [{name: p, module: m, config: {bind: b, tls: {keyfile: l}, "
			 "origins: [z]}}]\n");
	const struct sample_plugin *plugin = sample->plugins.items;
	const struct sample_listener *listener = conf_bind_part_over(
	    conf, &sample_listener_schema, plugin->config, "p", listener_at(sample, 0));

	(void)state;
	assert_nothing_said(conf);
	assert_non_null(listener);
	assert_string_equal(listener->bind, "b");
	assert_string_equal(listener->tls.certfile, "c");
	assert_string_equal(listener->tls.keyfile, "l");
	assert_int_equal(listener->origins.count, 1);
	assert_string_equal(listener->origins.items[0], "z");
	assert_int_equal(listener_at(sample, 0)->origins.count, 2);
	conf_unref(&conf);
}

static void
what_is_required_may_be_in_the_base(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf,
	    "listeners: [{bind: a}]\nplugins: [{name: p, module: m, config: {mount_point: z}}]\n");
	const struct sample_plugin *plugin = sample->plugins.items;
	const struct sample_listener *listener = conf_bind_part_over(
	    conf, &sample_listener_schema, plugin->config, "p", listener_at(sample, 0));

	(void)state;
	assert_nothing_said(conf);
	assert_non_null(listener);
	assert_string_equal(listener->bind, "a");
	assert_string_equal(listener->mount_point, "z");
	conf_unref(&conf);
}

static void
a_configuration_lives_as_long_as_somebody_holds_it(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf, "store: db\n");
	struct conf *other = conf_ref(conf);

	(void)state;
	assert_ptr_equal(other, conf);
	conf_unref(&conf);
	assert_null(conf);
	assert_string_equal(sample->store, "db");
	conf_unref(&other);
	assert_null(other);
	conf_unref(&other);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_empty_file_has_every_default),
	    cmocka_unit_test(a_default_may_be_a_list_of_structs_with_their_own_defaults),
	    cmocka_unit_test(what_is_written_takes_the_place_of_its_default_alone),
	    cmocka_unit_test(each_type_takes_its_value),
	    cmocka_unit_test(a_string_takes_what_looks_like_something_else),
	    cmocka_unit_test(one_text_alone_is_a_list_of_one),
	    cmocka_unit_test(a_word_stands_in_place_of_a_number),
	    cmocka_unit_test(words_are_words_in_quotes_too),
	    cmocka_unit_test(flags_are_the_sum_of_their_words),
	    cmocka_unit_test(null_keeps_the_default_and_makes_a_string_null),
	    cmocka_unit_test(names_are_kept_in_the_order_of_the_file),
	    cmocka_unit_test(a_bare_value_is_the_key_it_is_short_for),
	    cmocka_unit_test(structs_nest_in_lists_in_names_in_lists),
	    cmocka_unit_test(an_alias_binds_as_often_as_it_stands),
	    cmocka_unit_test(a_part_is_bound_by_itself),
	    cmocka_unit_test(a_part_that_is_not_there_is_all_defaults),
	    cmocka_unit_test(a_part_over_another_changes_what_it_writes),
	    cmocka_unit_test(nothing_over_another_is_a_copy_of_it),
	    cmocka_unit_test(a_struct_inside_is_bound_over_as_well),
	    cmocka_unit_test(what_is_required_may_be_in_the_base),
	    cmocka_unit_test(a_configuration_lives_as_long_as_somebody_holds_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
