/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bound configuration as YAML: that it reads back to the same struct, whatever was in it. The
 * comparison walks the schema, so that it sees every member.
 */
#include "unit/conf/conf_unit.h"

#include "unit/conf/sample.h"

static bool same_struct(const struct conf_schema *schema, const void *a, const void *b);

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
is_nothing(const struct conf_node *node)
{
	return node == NULL || conf_node_is_null(node);
}

static bool
same_node(const struct conf_node *a, const struct conf_node *b)
{
	if (is_nothing(a) || is_nothing(b)) {
		return is_nothing(a) && is_nothing(b);
	}
	if (a->kind != b->kind || a->count != b->count) {
		return false;
	}
	if (a->kind == CONF_SCALAR) {
		return bytes_equal(a->text, b->text);
	}
	for (size_t i = 0; i < a->count; i++) {
		bool same = a->kind == CONF_SEQUENCE
				? same_node(a->items[i], b->items[i])
				: same_text(a->pairs[i].key, b->pairs[i].key) &&
				      same_node(a->pairs[i].value, b->pairs[i].value);
		if (!same) {
			return false;
		}
	}
	return true;
}

static bool
same_strings(const struct conf_strings *a, const struct conf_strings *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++) {
		same = same_text(a->items[i], b->items[i]);
	}
	return same;
}

static const char *
name_of(const struct conf_schema *schema, const void *item)
{
	const char *name = NULL;

	memcpy(&name, (const uint8_t *)item + schema->name_offset, sizeof(name));
	return name;
}

static bool
same_list(const struct conf_option *option, const struct conf_list *a, const struct conf_list *b)
{
	const struct conf_schema *schema = option->schema;
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++) {
		const uint8_t *left = (const uint8_t *)a->items + i * schema->size;
		const uint8_t *right = (const uint8_t *)b->items + i * schema->size;

		same = same_struct(schema, left, right) &&
		       (option->type != CONF_NAMED ||
			   same_text(name_of(schema, left), name_of(schema, right)));
	}
	return same;
}

static bool
same_member(const struct conf_option *option, const void *a, const void *b)
{
	switch (option->type) {
	case CONF_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case CONF_INT:
	case CONF_SIZE:
	case CONF_DURATION:
	case CONF_ENUM:
	case CONF_FLAGS:
		return *(const int64_t *)a == *(const int64_t *)b;
	case CONF_STRING:
		return same_text(*(const char *const *)a, *(const char *const *)b);
	case CONF_STRINGS:
		return same_strings(a, b);
	case CONF_STRUCT:
		return same_struct(option->schema, a, b);
	case CONF_LIST:
	case CONF_NAMED:
		return same_list(option, a, b);
	case CONF_NODE:
		return same_node(
		    *(const struct conf_node *const *)a, *(const struct conf_node *const *)b);
	}
	return false;
}

static bool
same_struct(const struct conf_schema *schema, const void *a, const void *b)
{
	for (size_t i = 0; i < schema->count; i++) {
		const struct conf_option *option = &schema->options[i];

		if (!same_member(option, (const uint8_t *)a + option->offset,
			(const uint8_t *)b + option->offset)) {
			print_error("%s differs\n", option->name);
			return false;
		}
	}
	return true;
}

/* The dump of a bound text; the caller frees it. */
static char *
dumped(struct conf *conf, bool help)
{
	const struct sample *sample = conf_bind(conf, &sample_schema);
	struct buf out;

	assert_nothing_said(conf);
	assert_non_null(sample);
	buf_init(&out, SIZE_MAX);
	conf_dump(conf, &sample_schema, sample, help, &out);
	assert_false(out.failed);
	char *text = strdup(buf_text(&out));
	buf_fini(&out);
	assert_non_null(text);
	return text;
}

static void
assert_reads_back(const char *text, bool help)
{
	struct conf *conf = read_text(text);
	char *dump = dumped(conf, help);
	struct conf *again = read_text(dump);
	const void *same = conf_bind(again, &sample_schema);

	assert_nothing_said(again);
	assert_non_null(same);
	if (!same_struct(&sample_schema, conf_bind(conf, &sample_schema), same)) {
		fail_msg("%s was dumped as\n%s", text, dump);
	}
	char *second = dumped(again, help);
	assert_string_equal(second, dump);
	free(second);
	free(dump);
	conf_unref(&again);
	conf_unref(&conf);
}

static void
the_defaults_read_back(void **state)
{
	(void)state;
	assert_reads_back("", false);
	assert_reads_back("", true);
}

static const char rich[] =
    "broker:\n"
    "  workers: 7\n"
    "  data_dir: \"/a b/\xc3\xa4 # c: d\"\n"
    "  plugin_dir: ~\n"
    "  user: \"null\"\n"
    "  sys_interval: 1h30m5s7ms\n"
    "  max_memory: 1025\n"
    "  max_transit: 3GiB\n"
    "  max_connections: 9223372036854775807\n"
    "  shutdown_timeout: 0\n"
    "  trusted_proxies: ['', '~', 'a, b', \"[x]\", \"tab\\tnew\\nline\", '- a', '{', 10.0.0.0/8]\n"
    "log: {level: debug, format: json, to: ''}\n"
    "listeners:\n"
    "  - bind: \"[::1]:1883\"\n"
    "    name: \"true\"\n"
    "    origins: []\n"
    "    protocol: websocket\n"
    "    protocol_versions: [5.0, 3.1]\n"
    "    allow_anonymous: false\n"
    "    proxy_protocol: on\n"
    "    tls: {certfile: c, keyfile: k, min_version: \"1.3\", username_from: san, psk: yes}\n"
    "    limits: {max_qos: 1, max_session_expiry: 30d}\n"
    "    durability: {default: none, filters: [{filter: 'a/#', mode: relaxed}]}\n"
    "    authenticate: [a, {use: b, control: required, timeout: 0}]\n"
    "  - {bind: unix:/run/x, protocol_versions: [], limits: {}, durability: none}\n"
    "limits: {max_session_expiry: 1ms, retain_available: false, auto_id_prefix: ~}\n"
    "plugins:\n"
    "  - name: \"\"\n"
    "    module: 'a''b\"c\\'\n"
    "    config: {a: ~, b: [], c: {}, d: [[], [[x]], {}], e: \"l\\nm\", \"f: g\": ' h ', \"\": i,\n"
    "      \"~\": [~, '~', null, \"null\", ''], null: {k: [{l: {m: n}}, {o: p}]}}\n"
    "    links: {\"a: b\": {chains: ~}, \"~\": {limits: {max_qos: 0}}, '': {}}\n"
    "  - {name: b, module: m, config: [a, 'b ', {c: d}]}\n"
    "  - {name: c, module: m, config: 'just: text'}\n"
    "chains:\n"
    "  default: {authenticate: [x, y], authorize: [], intercept: [{use: z, on_error: defer}]}\n"
    "  null: ~\n"
    "  \"#\": {}\n"
    "  \"a\\nb\": {}\n"
    "store: |\n"
    "  two\n"
    "   lines\n"
    "durability: {default: relaxed, interval: 1ms, filters: [{filter: \"+/#\"}, {filter: $SYS}]}\n";

static void
everything_written_reads_back(void **state)
{
	(void)state;
	assert_reads_back(rich, false);
	assert_reads_back(rich, true);
}

static void
empty_lists_are_not_defaults_again(void **state)
{
	(void)state;
	assert_reads_back("listeners: []\n", false);
	assert_reads_back("listeners: []\nplugins: []\nchains: {}\nstore: ~\n", true);
	assert_reads_back("durability: none\nbroker: {data_dir: ~, trusted_proxies: x}\n", false);
}

static void
names_of_every_look_read_back(void **state)
{
	static const char *const names[] = {"a", "a b", "a: b", "#", "\xc3\xa4", "'", "\\\"", "- a",
	    "?", "? a", "[a]", "{a}", "&a", "*a", "!a", "|", "%", "@", "true", "null", "~", "", "5",
	    "\\n", "\\t", "a\\nb", " a ", "---", "...", ",", ":", "\\e[31m"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(names); i++) {
		char text[256];

		(void)snprintf(text, sizeof(text),
		    "chains: {\"%s\": {authorize: [\"%s\"]}}\nstore: \"%s\"\n"
		    "plugins: [{name: \"%s\", module: m, config: {\"%s\": [\"%s\"]}}]\n",
		    names[i], names[i], names[i], names[i], names[i], names[i]);
		assert_reads_back(text, true);
	}
}

static void
numbers_of_every_size_read_back(void **state)
{
	static const char *const texts[] = {
	    "broker: {max_memory: auto, max_transit: 0, workers: auto}\n",
	    "broker: {max_memory: 1023, max_transit: 1025, workers: 1024}\n",
	    "broker: {max_memory: 9223372036854775807, max_transit: 8589934591GiB}\n",
	    "broker: {sys_interval: 0, stall_warn: 999ms, shutdown_timeout: 1001ms}\n",
	    "broker: {sys_interval: 1d1ms, stall_warn: 25h, shutdown_timeout: 106751991167d}\n",
	    "limits: {max_session_expiry: never, max_qos: 0, max_topic_levels: 1}\n",
	    "limits: {max_session_expiry: 0, max_packet_size: 268435460}\n",
	    "listeners: [{bind: a, protocol_versions: []}]\n",
	    "listeners: [{bind: a, protocol_versions: [3.1.1]}]\n",
	};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		assert_reads_back(texts[i], false);
	}
}

static void
an_alias_is_dumped_as_what_it_stands_for(void **state)
{
	(void)state;
	assert_reads_back("chains: {a: &a {authorize: &r [x, y]}, b: *a, c: {intercept: *r}}\n"
			  "plugins: [{name: p, module: m, config: {k: &k [1, 2], l: [*k, *k]}}]\n",
	    false);
}

/* yaml.h: in quotes it is text; without, a plugin may take it for a number. */
static void
a_quoted_number_of_a_raw_node_stays_text(void **state)
{
	static const char *const texts[] = {"5", "true", "1.5", "-1", "10s", "no"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		char text[128];

		(void)snprintf(text, sizeof(text),
		    "plugins: [{name: p, module: m, config: {a: \"%s\", b: %s}}]\n", texts[i],
		    texts[i]);
		struct conf *conf = read_text(text);
		char *dump = dumped(conf, false);
		struct conf *again = read_text(dump);
		const struct sample *sample = conf_bind(again, &sample_schema);

		assert_non_null(sample);
		const struct sample_plugin *plugin = sample->plugins.items;
		assert_true(value_of(plugin->config, "a")->quoted);
		assert_false(value_of(plugin->config, "b")->quoted);
		conf_unref(&again);
		free(dump);
		conf_unref(&conf);
	}
}

static void
assert_has_help(const char *dump, const struct conf_schema *schema)
{
	for (size_t i = 0; i < schema->count; i++) {
		const struct conf_option *option = &schema->options[i];
		char line[256];

		(void)snprintf(line, sizeof(line), "# %s\n", option->help);
		const char *help = strstr(dump, line);
		if (help == NULL) {
			fail_msg("no help of %s: %s", option->name, line);
			return;
		}
		if (option->type == CONF_STRUCT) {
			assert_has_help(dump, option->schema);
		}
	}
}

static void
help_stands_before_each_option_as_a_comment(void **state)
{
	struct conf *conf = read_text("");
	char *dump = dumped(conf, true);

	(void)state;
	assert_has_help(dump, &sample_schema);
	assert_has_help(dump, &sample_listener_schema);
	assert_non_null(strstr(
	    dump, "# the log\nlog:\n  # how much is told\n  level: info\n  # of each line\n"));
	free(dump);
	conf_unref(&conf);
}

static void
without_help_there_are_no_comments(void **state)
{
	struct conf *conf = read_text("broker: {token: x}\n");
	char *dump = dumped(conf, false);

	(void)state;
	for (const char *line = dump; *line != '\0'; line += strcspn(line, "\n") + 1) {
		assert_int_not_equal(line[strspn(line, " ")], '#');
	}
	free(dump);
	conf_unref(&conf);
}

static void
every_option_is_dumped_in_the_order_of_its_table(void **state)
{
	struct conf *conf = read_text("durability: none\nstore: x\nbroker: {}\n");
	char *dump = dumped(conf, false);
	const char *at = dump;

	(void)state;
	for (size_t i = 0; i < sample_schema.count; i++) {
		char key[64];

		(void)snprintf(
		    key, sizeof(key), "%s%s:", i != 0 ? "\n" : "", sample_options[i].name);
		at = strstr(at, key);
		assert_non_null(at);
	}
	for (size_t i = 0; i < sample_limits_schema.count; i++) {
		char key[64];

		(void)snprintf(key, sizeof(key), "\n  %s: ", sample_limits_options[i].name);
		assert_non_null(strstr(dump, key));
	}
	free(dump);
	conf_unref(&conf);
}

static void
a_secret_is_not_dumped_and_reads_back_as_none(void **state)
{
	struct conf *conf = read_text("broker: {token: hunter2}\n");
	char *dump = dumped(conf, true);
	struct conf *again = read_text(dump);
	const struct sample *sample = conf_bind(again, &sample_schema);

	(void)state;
	assert_null(strstr(dump, "hunter2"));
	assert_non_null(strstr(dump, "token:"));
	assert_nothing_said(again);
	assert_non_null(sample);
	assert_null(sample->broker.token);
	conf_unref(&again);
	free(dump);
	conf_unref(&conf);
}

static void
a_dump_is_appended_to_what_is_there(void **state)
{
	struct conf *conf = read_text("");
	const void *sample = conf_bind(conf, &sample_schema);
	struct buf out;

	(void)state;
	buf_init(&out, SIZE_MAX);
	buf_append_text(&out, "# mine\n");
	conf_dump(conf, &sample_schema, sample, false, &out);
	assert_int_equal(strncmp(buf_text(&out), "# mine\nbroker:\n", 15), 0);
	buf_fini(&out);
	conf_unref(&conf);
}

/* libyaml takes a key of more than 1024 bytes behind a question mark only. */
static void
long_keys_read_back(void **state)
{
	char text[4096];

	(void)state;
	(void)snprintf(text, sizeof(text),
	    "chains:\n  ? \"%s\"\n  : {authorize: [a]}\nplugins: [{name: p, module: m, config: {? "
	    "\"%s\" : 1}}]\n",
	    "\\x01kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
	    "kkkkkkkkkkkkkk"
	    "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
	    "kkkkkkkkkkkkkk",
	    "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
	    "kkkkkkkkkkkk"
	    "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
	    "kkkkkkkkkkkkkk");
	struct conf *conf = read_text(text);
	char *dump = dumped(conf, false);
	struct conf *again = read_text(dump);
	char *twice = dumped(again, false);

	assert_string_equal(dump, twice);
	assert_non_null(strstr(dump, "? "));
	free(twice);
	conf_unref(&again);
	free(dump);
	conf_unref(&conf);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_defaults_read_back),
	    cmocka_unit_test(everything_written_reads_back),
	    cmocka_unit_test(empty_lists_are_not_defaults_again),
	    cmocka_unit_test(names_of_every_look_read_back),
	    cmocka_unit_test(numbers_of_every_size_read_back),
	    cmocka_unit_test(an_alias_is_dumped_as_what_it_stands_for),
	    cmocka_unit_test(a_quoted_number_of_a_raw_node_stays_text),
	    cmocka_unit_test(help_stands_before_each_option_as_a_comment),
	    cmocka_unit_test(without_help_there_are_no_comments),
	    cmocka_unit_test(every_option_is_dumped_in_the_order_of_its_table),
	    cmocka_unit_test(a_secret_is_not_dumped_and_reads_back_as_none),
	    cmocka_unit_test(long_keys_read_back),
	    cmocka_unit_test(a_dump_is_appended_to_what_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
