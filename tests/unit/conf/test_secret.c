/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What came from elsewhere, and what an option calls secret: in no sentence and in no dump.
 */
#include "unit/conf/sources.h"

/* Wherever a value may stand, with a value that is wrong there. */
static const char *const leaky[] = {
    "broker: {workers: %s}\n",
    "broker: {max_memory: %s}\n",
    "broker: {sys_interval: %s}\n",
    "limits: {retain_available: %s}\n",
    "limits: {queue_full: %s}\n",
    "listeners: [{bind: a, protocol_versions: [%s]}]\n",
    "listeners: [{bind: a, protocol_versions: %s}]\n",
    "listeners: [{bind: a, tls: {min_version: %s}}]\n",
    "listeners: [{bind: a, limits: {max_qos: %s}}]\n",
    "listeners: [{bind: a, durability: %s}]\n",
    "listeners: [%s]\n",
    "listeners: %s\n",
    "broker: %s\n",
    "chains: {a: %s}\n",
    "durability: %s\n",
    "durability: {filters: [{filter: a, mode: %s}]}\n",
    "%s\n",
};

static void
assert_hidden(const char *written)
{
	for (size_t i = 0; i < CONF_COUNT(leaky); i++) {
		char text[256] = "";
		const char *spot = strstr(leaky[i], "%s");

		(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(spot - leaky[i]), leaky[i],
		    written, spot + 2);
		struct conf *conf = read_fake(text);
		assert_null(conf_bind(conf, &sample_schema));
		char *said = said_text(conf);
		assert_non_null(strstr(said, "d/x.yaml:1:"));
		assert_null(strstr(said, SECRET));
		free(said);
		conf_unref(&conf);
	}
}

static void
no_sentence_repeats_what_a_reference_brought(void **state)
{
	(void)state;
	assert_hidden("!env SECRET");
	assert_hidden("!file secret");
	assert_hidden("!env {name: SECRET, default: x}");
	assert_hidden("!file binary");
	assert_hidden("!file nul");
}

static void
no_sentence_repeats_a_reference_inside_a_reference(void **state)
{
	static const char *const texts[] = {"store: !env {name: !env SECRET}\n",
	    "store: !env {name: !file secret}\n",
	    "broker: {user: &s !env SECRET}\nstore: !env {name: *s}\n",
	    "broker: {workers: !env {name: UNSET, default: !env SECRET}}\n"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		struct conf *conf = read_fake(texts[i]);

		assert_null(conf_bind(conf, &sample_schema));
		char *said = said_text(conf);
		assert_null(strstr(said, SECRET));
		free(said);
		conf_unref(&conf);
	}
}

static void
a_number_from_a_reference_is_hidden_too(void **state)
{
	static const char *const texts[] = {
	    "limits: {max_qos: !env FOUR}\n", "limits: {max_packet_size: !file four}\n"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		struct conf *conf = read_fake(texts[i]);

		assert_null(conf_bind(conf, &sample_schema));
		char *said = said_text(conf);
		assert_null(strstr(said, "4\""));
		assert_non_null(strstr(said, "must be from"));
		free(said);
		conf_unref(&conf);
	}
}

struct secrets {
	int64_t number;
	const char *text;
	int64_t word;
	struct conf_strings texts;
	const struct conf_node *node;
	struct conf_list list;
	struct conf_list named;
	int64_t size;
	int64_t flags;
	bool truth;
};

struct secret_item {
	const char *name;
	const char *text;
};

#define SECRETS(member) .offset = offsetof(struct secrets, member), .secret = true

static const struct conf_word secret_words[] = {{"hunter1", 1}, {"hunter3", 4}, {NULL, 0}};
static const struct conf_option item_options[] = {
    {"text", CONF_STRING, .offset = offsetof(struct secret_item, text)}};
static const struct conf_schema item_schema = {.options = item_options,
    .count = 1,
    .size = sizeof(struct secret_item),
    .name_offset = offsetof(struct secret_item, name)};
static const struct conf_option secret_options[] = {
    {"number", CONF_INT, SECRETS(number), .max = 100000},
    {"text", CONF_STRING, SECRETS(text)},
    {"word", CONF_ENUM, SECRETS(word), .fallback = "hunter1", .words = secret_words},
    {"texts", CONF_STRINGS, SECRETS(texts)},
    {"node", CONF_NODE, SECRETS(node)},
    {"list", CONF_LIST, SECRETS(list), .schema = &item_schema},
    {"named", CONF_NAMED, SECRETS(named), .schema = &item_schema},
    {"size", CONF_SIZE, SECRETS(size)},
    {"flags", CONF_FLAGS, SECRETS(flags), .words = secret_words},
    {"truth", CONF_BOOL, SECRETS(truth)},
};
static const struct conf_schema secret_schema = {
    .options = secret_options, .count = CONF_COUNT(secret_options), .size = sizeof(struct secrets)};

static void
no_sentence_repeats_what_an_option_keeps_secret(void **state)
{
	static const char *const names[] = {
	    "number", "word", "size", "flags", "truth", "list", "named", "unknown"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(names); i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "%s: %s\n", names[i], SECRET);
		struct conf *conf = read_text(text);
		assert_null(conf_bind(conf, &secret_schema));
		char *said = said_text(conf);
		assert_non_null(strstr(said, names[i]));
		assert_null(strstr(said, SECRET));
		free(said);
		conf_unref(&conf);
	}
}

static char *
dumped(struct conf *conf, const struct conf_schema *schema)
{
	const void *target = conf_bind(conf, schema);
	struct buf out;

	assert_non_null(target);
	buf_init(&out, SIZE_MAX);
	conf_dump(conf, schema, target, true, &out);
	char *text = strdup(buf_text(&out));
	buf_fini(&out);
	assert_non_null(text);
	return text;
}

static void
assert_dump_hides(const char *text)
{
	struct conf *conf = conf_read("d/x.yaml", bytes_of(text), NULL, &fake);
	char *dump = dumped(conf, &secret_schema);

	if (strstr(dump, "hunter") != NULL || strstr(dump, "4711") != NULL) {
		fail_msg("%s was dumped as\n%s", text, dump);
	}
	struct conf *again = conf_read("d/x.yaml", bytes_of(dump), NULL, &fake);
	assert_non_null(conf_bind(again, &secret_schema));
	assert_nothing_said(again);
	free(dump);
	conf_unref(&again);
	conf_unref(&conf);
}

static void
a_dump_shows_no_secret(void **state)
{
	(void)state;
	assert_dump_hides("number: 4711\n");
	assert_dump_hides("text: hunter2\n");
	assert_dump_hides("word: hunter3\n");
	assert_dump_hides("texts: [hunter2]\n");
	assert_dump_hides("node: {hunter2: [hunter2]}\n");
	assert_dump_hides("size: 4711KiB\n");
	assert_dump_hides("flags: [hunter1]\n");
	assert_dump_hides("text: !env SECRET\n");
	assert_dump_hides("texts: [!env SECRET, !file secret]\n");
	assert_dump_hides("node: {a: !env SECRET}\n");
}

static void
a_dump_shows_no_secret_inside_a_secret(void **state)
{
	(void)state;
	assert_dump_hides("list: [{text: hunter2}]\n");
	assert_dump_hides("named: {hunter2: {text: hunter2}}\n");
}

static void
a_dump_shows_no_secret_that_is_a_default(void **state)
{
	(void)state;
	assert_dump_hides("text: !env {name: UNSET, default: hunter2}\n");
	assert_dump_hides("texts: [!env {name: UNSET, default: hunter2}]\n");
}

/* Where a reference may not be a default, the text may be refused; it may not be shown. */
static void
a_dump_shows_no_reference_inside_a_reference(void **state)
{
	static const char *const texts[] = {"store: !env {name: UNSET, default: !file secret}\n",
	    "store: !env {name: UNSET, default: !env SECRET}\n",
	    "broker: {user: &s !env SECRET}\nstore: !env {name: UNSET, default: *s}\n"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		struct conf *conf = read_fake(texts[i]);
		const void *sample = conf_bind(conf, &sample_schema);
		struct buf out;

		buf_init(&out, SIZE_MAX);
		if (sample != NULL) {
			conf_dump(conf, &sample_schema, sample, false, &out);
		}
		assert_null(strstr(buf_text(&out), SECRET));
		buf_fini(&out);
		conf_unref(&conf);
	}
}

static void
a_dump_keeps_references(void **state)
{
	struct conf *conf =
	    read_fake("store: !file secret\nbroker: {token: !env SECRET, workers: !env FOUR,\n"
		      "  trusted_proxies: [!env SECRET]}\n"
		      "plugins: [{name: p, module: m, config: {password: !env {name: SECRET, "
		      "default: x}}}]\n");
	char *dump = dumped(conf, &sample_schema);

	(void)state;
	assert_null(strstr(dump, SECRET));
	assert_non_null(strstr(dump, "store: !file secret\n"));
	assert_non_null(strstr(dump, "token: !env SECRET\n"));
	assert_non_null(strstr(dump, "workers: !env FOUR\n"));
	assert_non_null(strstr(dump, "trusted_proxies: [!env SECRET]\n"));
	struct conf *again = NULL;
	const struct sample *same = bound(&again, dump);
	assert_string_equal(same->store, SECRET);
	assert_string_equal(same->broker.token, SECRET);
	assert_int_equal(same->broker.workers, 4);
	const struct sample_plugin *plugin = same->plugins.items;
	assert_scalar(value_of(plugin->config, "password"), SECRET);
	conf_unref(&again);
	free(dump);
	conf_unref(&conf);
}

static void
a_dump_keeps_the_references_of_each_item(void **state)
{
	struct conf *conf = read_fake(
	    "listeners: [{bind: plain1}, {bind: !env SECRET}, {bind: plain2, name: !file secret}]\n"
	    "plugins: [{name: p, module: m, links: {x: {chains: plain3}, y: {chains: !env "
	    "SECRET}}}]\n"
	    "chains: {a: {authorize: [plain4, !env SECRET, {use: !file secret}]}}\n");
	char *dump = dumped(conf, &sample_schema);

	(void)state;
	assert_null(strstr(dump, SECRET));
	assert_non_null(strstr(dump, "bind: plain1\n"));
	assert_non_null(strstr(dump, "bind: !env SECRET\n"));
	assert_non_null(strstr(dump, "name: !file secret\n"));
	assert_non_null(strstr(dump, "bind: plain2\n"));
	assert_non_null(strstr(dump, "chains: plain3\n"));
	assert_non_null(strstr(dump, "chains: !env SECRET\n"));
	assert_non_null(strstr(dump, "use: plain4\n"));
	assert_non_null(strstr(dump, "use: !env SECRET\n"));
	assert_non_null(strstr(dump, "use: !file secret\n"));
	free(dump);
	conf_unref(&conf);
}

static void
a_reference_of_an_odd_name_is_written_so_that_it_reads_back(void **state)
{
	static const char *const texts[] = {"store: !env {name: UNSET, default: 'a: b'}\n",
	    "store: !env {name: UNSET, default: \"x}\\n\"}\n", "store: !file 'null'\n",
	    "store: !file \"../up\"\n", "store: !env {name: UNSET, default: ''}\n"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		struct conf *conf = read_fake(texts[i]);
		char *dump = dumped(conf, &sample_schema);
		struct conf *again = NULL;
		const struct sample *same = bound(&again, dump);

		assert_string_equal(
		    same->store, ((const struct sample *)conf_bind(conf, &sample_schema))->store);
		conf_unref(&again);
		free(dump);
		conf_unref(&conf);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_sentence_repeats_what_a_reference_brought),
	    cmocka_unit_test(no_sentence_repeats_a_reference_inside_a_reference),
	    cmocka_unit_test(a_number_from_a_reference_is_hidden_too),
	    cmocka_unit_test(no_sentence_repeats_what_an_option_keeps_secret),
	    cmocka_unit_test(a_dump_shows_no_secret),
	    cmocka_unit_test(a_dump_shows_no_secret_inside_a_secret),
	    cmocka_unit_test(a_dump_shows_no_secret_that_is_a_default),
	    cmocka_unit_test(a_dump_shows_no_reference_inside_a_reference),
	    cmocka_unit_test(a_dump_keeps_references),
	    cmocka_unit_test(a_dump_keeps_the_references_of_each_item),
	    cmocka_unit_test(a_reference_of_an_odd_name_is_written_so_that_it_reads_back),
	};

	return cmocka_run_group_tests(tests, fill_big_value, NULL);
}
