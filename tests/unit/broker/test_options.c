/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "base/log.h"
#include "broker/entry.h"
#include "broker/options.h"
#include "transport/addr_text.h"

struct read {
	struct conf *conf;
	struct broker_options *options; /* NULL: there were errors */
	struct buf errors;
};

static struct read
read_with(const char *text, int port, bool verbose)
{
	struct read read = {.conf = conf_read("a", bytes_of(text), NULL, NULL)};

	read.options = broker_options_bind(read.conf, (struct broker_override){port, verbose});
	buf_init(&read.errors, SIZE_MAX);
	conf_format_errors(read.conf, &read.errors);
	return read;
}

static void
end(struct read *read)
{
	buf_fini(&read->errors);
	conf_unref(&read->conf);
}

/* The whole of what is said about a text. */
#define assert_errors(text, expected)                                  \
	do {                                                           \
		struct read read = read_with(text, 0, false);          \
                                                                       \
		assert_string_equal(buf_text(&read.errors), expected); \
		assert_null(read.options);                             \
		end(&read);                                            \
	} while (0)

static void
an_empty_text_is_one_listener_on_this_machine(void **state)
{
	struct read read = read_with("", 0, false);
	const struct broker_listener *listener;

	(void)state;
	assert_non_null(read.options);
	assert_int_equal(read.options->listeners.count, 1);
	listener = broker_options_listener(read.options, 0);
	assert_string_equal(listener->bind, "127.0.0.1:1883");
	assert_string_equal(listener->name, "127.0.0.1:1883");
	assert_string_equal(listener->conn.name, "127.0.0.1:1883");
	assert_int_equal(listener->conn.protocol_versions, CONN_V31 | CONN_V311 | CONN_V5);
	assert_ptr_equal(listener->conn.limits, &read.options->limits);
	end(&read);
}

static void
defaults_of_the_broker_are_those_of_the_contract(void **state)
{
	struct read read = read_with("", 0, false);
	const struct broker_general *general = &read.options->broker;

	(void)state;
	assert_int_equal(general->workers, BROKER_AUTO);
	assert_string_equal(general->data_dir, "/var/lib/avocet");
	assert_string_equal(general->plugin_dir, "");
	assert_string_equal(general->user, "");
	assert_int_equal(general->sys_interval_ms, 10000);
	assert_int_equal(general->max_memory, BROKER_AUTO);
	assert_int_equal(general->max_connections, 0);
	assert_int_equal(general->max_connect_rate, 0);
	assert_int_equal(general->max_connections_per_address, 0);
	assert_int_equal(general->shutdown_timeout_ms, 10000);
	assert_int_equal(general->max_transit, BROKER_AUTO);
	assert_string_equal(general->control, "/run/avocet/control.sock");
	assert_int_equal(general->trusted_proxies.count, 0);
	assert_int_equal(general->stall_warn_ms, 20);
	assert_int_equal(read.options->log.level, LOG_LEVEL_INFO);
	assert_int_equal(read.options->log.format, LOG_FORMAT_TEXT);
	assert_string_equal(read.options->log.to, "stderr");
	assert_null(read.options->store);
	assert_int_equal(read.options->durability.mode, ROUTE_COMMIT);
	assert_int_equal(read.options->durability.interval_ms, 200);
	end(&read);
}

static void
defaults_of_the_limits_are_those_of_the_contract(void **state)
{
	struct read read = read_with("", 0, false);
	const struct conn_limits *limits = &read.options->limits;

	(void)state;
	assert_int_equal(limits->max_packet_size, 16 << 20);
	assert_int_equal(limits->max_connect_size, 64 << 10);
	assert_int_equal(limits->max_qos, 2);
	assert_true(limits->retain_available && limits->wildcard_subscriptions &&
		    limits->shared_subscriptions && limits->subscription_identifiers &&
		    limits->allow_empty_client_id);
	assert_int_equal(limits->max_keepalive, 0);
	assert_true(limits->session.max_session_expiry_ms == CONF_NEVER);
	assert_int_equal(limits->session.max_inflight_messages, 100);
	assert_int_equal(limits->session.receive_maximum, 1000);
	assert_int_equal(limits->session.max_queued_messages, 10000);
	assert_int_equal(limits->session.max_queued_bytes, 64 << 20);
	assert_int_equal(limits->session.queue_full, SESSION_DROP_NEW);
	assert_false(
	    limits->session.queue_qos0 || limits->session.upgrade_outgoing_qos || limits->lenient);
	assert_int_equal(limits->max_topic_alias, 64);
	assert_int_equal(limits->max_topic_alias_broker, 64);
	assert_int_equal(limits->max_topic_levels, 128);
	assert_int_equal(limits->session.max_subscriptions, 1000);
	assert_int_equal(limits->max_sessions, 0);
	assert_int_equal(limits->max_retained_messages, 0);
	assert_int_equal(limits->max_retained_bytes, 0);
	assert_int_equal(limits->max_publish_rate, 0);
	assert_int_equal(limits->max_publish_bytes_rate, 0);
	assert_string_equal(limits->auto_id_prefix, "auto-");
	assert_int_equal(limits->connect_timeout_ms, 10000);
	assert_int_equal(limits->write_timeout_ms, 60000);
	assert_int_equal(limits->max_pending, 16);
	assert_int_equal(limits->max_grants, 128);
	assert_null(limits->response_information);
	assert_int_equal(limits->auth_delay_ms, 1000);
	assert_int_equal(limits->max_delayed, 1000);
	end(&read);
}

static void
limits_of_a_listener_lie_over_those_of_all(void **state)
{
	struct read read = read_with("limits: {max_qos: 1, max_keepalive: 60}\n"
				     "listeners:\n"
				     "- {bind: 1883, limits: {max_qos: 0, auto_id_prefix: x-}}\n"
				     "- {bind: 1884}\n",
	    0, false);
	const struct conn_limits *limits;

	(void)state;
	assert_non_null(read.options);
	limits = broker_options_listener(read.options, 0)->conn.limits;
	assert_int_equal(limits->max_qos, 0);
	assert_int_equal(limits->max_keepalive, 60);
	assert_string_equal(limits->auto_id_prefix, "x-");
	limits = broker_options_listener(read.options, 1)->conn.limits;
	assert_int_equal(limits->max_qos, 1);
	assert_string_equal(limits->auto_id_prefix, "auto-");
	end(&read);
}

static void
durability_of_a_listener_lies_over_that_of_all(void **state)
{
	struct read read =
	    read_with("durability: {default: relaxed, filters: [{filter: a/#, mode: none}]}\n"
		      "listeners:\n"
		      "- {bind: 1, durability: none}\n"
		      "- {bind: 2, durability: {filters: [{filter: b, mode: commit}]}}\n"
		      "- {bind: 3}\n",
		0, false);
	const struct route_durability *durability;

	(void)state;
	assert_non_null(read.options);
	durability = &broker_options_listener(read.options, 0)->conn.durability;
	assert_int_equal(durability->mode, ROUTE_NONE);
	assert_int_equal(durability->filter_count, 1);
	durability = &broker_options_listener(read.options, 1)->conn.durability;
	assert_int_equal(durability->mode, ROUTE_RELAXED);
	assert_int_equal(durability->filter_count, 2);
	assert_string_equal(durability->filters[0].filter, "b");
	assert_int_equal(durability->filters[0].mode, ROUTE_COMMIT);
	assert_string_equal(durability->filters[1].filter, "a/#");
	durability = &broker_options_listener(read.options, 2)->conn.durability;
	assert_int_equal(durability->mode, ROUTE_RELAXED);
	end(&read);
}

static void
a_listener_is_found_by_its_name(void **state)
{
	struct read read = read_with("listeners: [{name: x, bind: 1}, {bind: 2}]", 0, false);

	(void)state;
	assert_non_null(read.options);
	assert_ptr_equal(broker_options_find(read.conf, BYTES_LITERAL("x")),
	    &broker_options_listener(read.options, 0)->conn);
	assert_ptr_equal(broker_options_find(read.conf, BYTES_LITERAL("2")),
	    &broker_options_listener(read.options, 1)->conn);
	assert_null(broker_options_find(read.conf, BYTES_LITERAL("1")));
	end(&read);
}

static void
p_replaces_the_port_of_the_first_listener(void **state)
{
	static const struct {
		const char *text, *bind, *name;
	} cases[] = {
	    {"", "127.0.0.1:2000", "127.0.0.1:2000"},
	    {"limits: {max_qos: 1}", "127.0.0.1:2000", "127.0.0.1:2000"},
	    {"listeners: [{bind: 1883}]", "2000", "2000"},
	    {"listeners: [{name: x, bind: '[::1]:1883'}]", "[::1]:2000", "x"},
	    {"listeners: [{bind: host.example:1}, {bind: 2}]", "host.example:2000",
		"host.example:2000"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct read read = read_with(cases[i].text, 2000, false);
		const struct broker_listener *first;

		assert_non_null(read.options);
		/* A second time, as main checks first and the broker binds then. */
		read.options =
		    broker_options_bind(read.conf, (struct broker_override){2000, false});
		assert_non_null(read.options);
		first = broker_options_listener(read.options, 0);
		assert_string_equal(first->bind, cases[i].bind);
		assert_string_equal(first->name, cases[i].name);
		assert_string_equal(first->conn.name, cases[i].name);
		end(&read);
	}
}

static void
p_needs_a_port_to_replace(void **state)
{
	struct read read = read_with("listeners: [{bind: 'unix:/tmp/x'}]", 2000, false);

	(void)state;
	assert_null(read.options);
	assert_string_equal(
	    buf_text(&read.errors), "a: listeners[0].bind: has no port that -p could replace\n");
	end(&read);
}

static void
v_logs_everything(void **state)
{
	struct read read = read_with("log: {level: error}", 0, true);

	(void)state;
	assert_int_equal(read.options->log.level, LOG_LEVEL_DEBUG);
	end(&read);
}

static void
budgets_follow_from_the_machine(void **state)
{
	struct read read = read_with("", 0, false);

	(void)state;
	assert_int_equal(broker_options_max_memory(read.options, 1600), 800);
	assert_int_equal(broker_options_max_transit(read.options, 1600), 100);
	end(&read);
	read = read_with("broker: {max_memory: 80KiB}", 0, false);
	assert_int_equal(broker_options_max_memory(read.options, 1600), 81920);
	assert_int_equal(broker_options_max_transit(read.options, 1600), 10240);
	end(&read);
	read = read_with("broker: {max_memory: 0, max_transit: 5}", 0, false);
	assert_int_equal(broker_options_max_memory(read.options, 1600), 0);
	assert_int_equal(broker_options_max_transit(read.options, 1600), 5);
	end(&read);
}

/* --- errors --- */

static void
links_are_of_instances(void **state)
{
	(void)state;
	assert_errors(
	    "links: {x: {}}", "a:1:12: links.x: there is no plugin instance of this name\n");
	assert_errors("links: {x: {limits: {max_qos: 2}, chains: y}}",
	    "a:1:12: links.x: there is no plugin instance of this name\n"
	    "a:1:43: links.x.chains: there is no set of chains \"y\"\n");
}

static void
plugins_and_chains_must_name_what_is_there(void **state)
{
	(void)state;
	assert_errors("broker: {plugin_dir: /no}\nplugins: [{name: a, module: b}]",
	    "a:2:29: plugins[0].module: /no/b.so: No such file or directory\n");
	assert_errors("plugins: [{name: 'a b', module: b}]",
	    "a:1:18: plugins[0].name: must consist of letters, digits, dashes and underscores\n");
	assert_errors("chains: {default: {authorize: [rules]}}",
	    "a:1:32: chains.default.authorize[0]: there is no plugin instance \"rules\"\n");
	assert_errors("chains: {x: {intercept: [{use: y, control: required}]}}",
	    "a:1:26: chains.x.intercept[0]: there is no plugin instance \"y\"\n");
	assert_errors("store: db", "a:1:8: store: there is no plugin instance \"db\"\n");
	assert_errors("listeners: [{durability: {interval: 1s}}]",
	    "a:1:37: listeners[0].durability.interval: counts for the broker as a whole: set it in "
	    "the durability of all\n");
	assert_errors("listeners: [{authenticate: [users]}]",
	    "a:1:29: listeners[0].authenticate[0]: there is no plugin instance \"users\"\n");
}

static void
harmless_defaults_may_be_written(void **state)
{
	struct read read =
	    read_with("broker: {control: /x, plugin_dir: /y, trusted_proxies: []}\n"
		      "plugins: []\n"
		      "links: {}\n"
		      "store: null\n"
		      "durability: relaxed\n"
		      "chains: {default: {authenticate: []}, none: {}}\n"
		      "listeners:\n"
		      "- {bind: 1, chains: none, authorize: [], tls: {min_version: 1.2}}\n",
		0, false);

	(void)state;
	assert_string_equal(buf_text(&read.errors), "");
	assert_non_null(read.options);
	end(&read);
}

static void
what_is_wrong_with_tls_has_its_place(void **state)
{
	(void)state;
	assert_errors("listeners:\n- bind: 1\n  tls:\n    certfile: /no/x\n",
	    "a:4:15: listeners[0].tls.certfile: cannot read /no/x: No such file or directory\n");
	assert_errors("listeners: [{tls: {keyfile: x}}]",
	    "a:1:29: listeners[0].tls.keyfile: needs a certfile (or psk)\n");
	assert_errors("listeners: [{tls: {min_version: '1.3'}}]",
	    "a:1:33: listeners[0].tls.min_version: needs a certfile (or psk)\n");
	assert_errors("listeners: [{tls: {psk: true, username_from: cn}}]",
	    "a:1:46: listeners[0].tls.username_from: username_from needs a cafile\n");
	assert_errors("listeners: [{tls: {psk: true, ciphers: nonsense}}]",
	    "a:1:40: listeners[0].tls.ciphers: ciphers \"nonsense\": no cipher match\n");
	assert_errors("listeners: [{tls: {psk: true, cafile: /no/y}}]",
	    "a:1:39: listeners[0].tls.cafile: cannot read /no/y: No such file or directory\n");
}

static void
paths_of_certificates_begin_beside_the_file(void **state)
{
	struct conf *conf = conf_read("/no/such/a.yaml",
	    BYTES_LITERAL("listeners: [{tls: {certfile: x, keyfile: /y}}]"), NULL, NULL);
	struct buf errors;

	(void)state;
	buf_init(&errors, SIZE_MAX);
	assert_null(broker_options_bind(conf, (struct broker_override){0}));
	conf_format_errors(conf, &errors);
	assert_string_equal(buf_text(&errors),
	    "/no/such/a.yaml:1:30: listeners[0].tls.certfile: cannot read /no/such/x: No such file "
	    "or directory\n");
	buf_fini(&errors);
	conf_unref(&conf);
}

static bool
is_in(const char *network, const char *address)
{
	struct broker_network found;
	struct addr addr;

	assert_null(broker_network_parse(network, &found));
	assert_true(addr_parse(bytes_of(address), &addr));
	return broker_network_has(&found, &addr);
}

static void
proxies_are_addresses_networks_or_unix(void **state)
{
	(void)state;
	assert_true(is_in("192.0.2.1", "192.0.2.1:4711"));
	assert_false(is_in("192.0.2.1", "192.0.2.2"));
	assert_true(is_in("10.0.0.0/8", "10.255.3.4"));
	assert_false(is_in("10.0.0.0/8", "11.0.0.0"));
	assert_true(is_in("192.0.2.128/25", "192.0.2.200"));
	assert_false(is_in("192.0.2.128/25", "192.0.2.127"));
	assert_true(is_in("10.0.0.0/8", "[::ffff:10.1.2.3]:5"));
	assert_true(is_in("0.0.0.0/0", "203.0.113.9"));
	assert_false(is_in("0.0.0.0/0", "2001:db8::1"));
	assert_true(is_in("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(is_in("2001:db8::/33", "2001:db8:8000::1"));
	assert_false(is_in("::/0", "10.0.0.1"));
	assert_true(is_in("unix", "unix:/run/x"));
	assert_false(is_in("unix", "127.0.0.1"));
	assert_false(is_in("::/0", "unix:/run/x"));
}

static void
what_is_no_proxy_is_refused(void **state)
{
	(void)state;
	assert_errors("broker: {trusted_proxies: [10.0.0.0/8, 10.0.0.1/8]}",
	    "a:1:27: broker.trusted_proxies: \"10.0.0.1/8\" has bits set behind those of the "
	    "network\n");
	for (const char *const *text = (const char *const[]){"", "proxy", "10.0.0.1:80", "[::1]",
		 "[::1]:80", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/-1", "::/129",
		 "::ffff:10.0.0.1", "unix:/x", "10.0/8", "/8", NULL};
	     *text != NULL; text++) {
		struct broker_network network;

		assert_non_null(broker_network_parse(*text, &network));
	}
}

static void
listeners_must_not_be_twins(void **state)
{
	(void)state;
	assert_errors("listeners:\n- bind: 1\n- bind: 1\n",
	    "a:3:9: listeners[1].bind: listeners[0] is bound to 1 already\n");
	assert_errors("listeners:\n- {bind: 1, name: x}\n- {bind: 2}\n- {bind: 3, name: x}\n",
	    "a:4:19: listeners[2].name: listeners[0] has this name already\n");
	assert_errors("listeners:\n- {bind: 1}\n- {bind: 2, name: 1}\n",
	    "a:3:19: listeners[1].name: listeners[0] has this name already\n");
}

static void
a_listener_must_make_sense(void **state)
{
	(void)state;
	assert_errors("listeners: []", "a:1:12: listeners: there must be at least one\n");
	assert_errors("listeners: [{bind: 'x:99999'}]",
	    "a:1:20: listeners[0].bind: the port must be a number from 0 to 65535\n");
	assert_errors("listeners: [{protocol_versions: []}]",
	    "a:1:33: listeners[0].protocol_versions: must name at least one version\n");
	assert_errors("listeners: [{path: /x}]",
	    "a:1:20: listeners[0].path: is for the protocol websocket only\n");
	assert_errors("listeners: [{origins: [x]}]",
	    "a:1:23: listeners[0].origins: is for the protocol websocket only\n");
	assert_errors("listeners: [{protocol: websocket, path: x}]",
	    "a:1:41: listeners[0].path: must begin with a slash\n");
	assert_errors("listeners: [{proxy_protocol: true}]",
	    "a:1:30: listeners[0].proxy_protocol: nobody could come in: broker.trusted_proxies is "
	    "empty\n");
	assert_errors("listeners: [{mount_point: 'a/#'}]",
	    "a:1:27: listeners[0].mount_point: the topic name contains a wildcard\n");
	assert_errors("listeners: [{mount_point: $x}]",
	    "a:1:27: listeners[0].mount_point: must not contain $\n");
	assert_errors("listeners: [{name: ''}]", "a:1:20: listeners[0].name: must not be empty\n");
	assert_errors("listeners: [{chains: x}]",
	    "a:1:22: listeners[0].chains: there is no set of chains of this name\n");
}

static void
limits_of_the_whole_are_not_a_listeners(void **state)
{
	(void)state;
	assert_errors("listeners: [{limits: {max_sessions: 1, max_qos: 1}}]",
	    "a:1:37: listeners[0].limits.max_sessions: counts for the broker as a whole: set it in "
	    "the limits of all\n");
	assert_errors("listeners: [{limits: {max_qos: 3}}]",
	    "a:1:32: listeners[0].limits.max_qos: \"3\" must be from 0 to 2\n");
}

static void
all_errors_are_told_in_one_run(void **state)
{
	(void)state;
	assert_errors("broker: {workers: 0, user: [x]}\n"
		      "log: {to: ''}\n"
		      "listeners:\n"
		      "- {bind: x}\n"
		      "- {path: /x}\n"
		      "durability: {filters: [{filter: 'a#', mode: commit}]}\n",
	    "a:1:19: broker.workers: \"0\" must be from 1 to 256\n"
	    "a:1:28: broker.user: must be a value, not a sequence\n"
	    "a:2:11: log.to: must be stderr, syslog or a path\n"
	    "a:4:10: listeners[0].bind: a port is missing, HOST:PORT\n"
	    "a:5:10: listeners[1].path: is for the protocol websocket only\n"
	    "a:6:33: durability.filters[0].filter: # must stand alone in the last level of a topic "
	    "filter\n");
}

static void
texts_of_the_limits_must_fit_into_packets(void **state)
{
	struct buf text;
	struct read read;

	(void)state;
	buf_init(&text, SIZE_MAX);
	buf_append_text(&text, "limits: {auto_id_prefix: ");
	for (int i = 0; i < 201; i++) {
		buf_append_byte(&text, 'x');
	}
	buf_append_byte(&text, '}');
	read = read_with(buf_text(&text), 0, false);
	assert_string_equal(
	    buf_text(&read.errors), "a:1:26: limits.auto_id_prefix: must have at most 200 bytes\n");
	end(&read);
	buf_fini(&text);
}

/* --- what is made of the tables --- */

static void
comment_out(struct buf *text, const char *what, const char *instead)
{
	char *at = strstr(buf_text(text), what);

	assert_non_null(at);
	assert_null(strstr(at + 1, what));
	memcpy(at, instead, strlen(instead));
}

static void
the_example_is_a_valid_configuration_and_says_the_defaults(void **state)
{
	struct read defaults = read_with("", 0, false), example;
	struct buf text, dump, expected;

	(void)state;
	buf_init(&text, SIZE_MAX);
	buf_init(&dump, SIZE_MAX);
	buf_init(&expected, SIZE_MAX);
	broker_options_example(&text);
	/* What is in force needs a plugin that is installed. */
	comment_out(&text, "\nplugins:\n", "\n#lugins:\n");
	comment_out(&text, "\n  - name: db\n", "\n# - name: db\n");
	comment_out(&text, "\n    module: persist-sqlite\n", "\n#   module: persist-sqlite\n");
	comment_out(&text, "\nstore: db\n", "\n#tore: db\n");
	example = read_with(buf_text(&text), 0, false);
	assert_string_equal(buf_text(&example.errors), "");
	conf_dump(example.conf, &broker_options_schema, example.options, false, &dump);
	conf_dump(defaults.conf, &broker_options_schema, defaults.options, false, &expected);
	assert_string_equal(buf_text(&dump), buf_text(&expected));
	buf_fini(&expected);
	buf_fini(&dump);
	buf_fini(&text);
	end(&example);
	end(&defaults);
}

static void
the_dump_reads_back_to_itself(void **state)
{
	struct read first = read_with(
	    "limits: {max_qos: 1}\nlisteners: [{bind: 1, limits: {lenient: on}}]", 0, false);
	struct read second;
	struct buf dump, again;

	(void)state;
	buf_init(&dump, SIZE_MAX);
	buf_init(&again, SIZE_MAX);
	conf_dump(first.conf, &broker_options_schema, first.options, true, &dump);
	second = read_with(buf_text(&dump), 0, false);
	assert_string_equal(buf_text(&second.errors), "");
	conf_dump(second.conf, &broker_options_schema, second.options, true, &again);
	assert_string_equal(buf_text(&again), buf_text(&dump));
	buf_fini(&again);
	buf_fini(&dump);
	end(&second);
	end(&first);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_empty_text_is_one_listener_on_this_machine),
	    cmocka_unit_test(defaults_of_the_broker_are_those_of_the_contract),
	    cmocka_unit_test(defaults_of_the_limits_are_those_of_the_contract),
	    cmocka_unit_test(limits_of_a_listener_lie_over_those_of_all),
	    cmocka_unit_test(durability_of_a_listener_lies_over_that_of_all),
	    cmocka_unit_test(a_listener_is_found_by_its_name),
	    cmocka_unit_test(p_replaces_the_port_of_the_first_listener),
	    cmocka_unit_test(p_needs_a_port_to_replace),
	    cmocka_unit_test(v_logs_everything),
	    cmocka_unit_test(budgets_follow_from_the_machine),
	    cmocka_unit_test(links_are_of_instances),
	    cmocka_unit_test(plugins_and_chains_must_name_what_is_there),
	    cmocka_unit_test(harmless_defaults_may_be_written),
	    cmocka_unit_test(what_is_wrong_with_tls_has_its_place),
	    cmocka_unit_test(paths_of_certificates_begin_beside_the_file),
	    cmocka_unit_test(proxies_are_addresses_networks_or_unix),
	    cmocka_unit_test(what_is_no_proxy_is_refused),
	    cmocka_unit_test(listeners_must_not_be_twins),
	    cmocka_unit_test(a_listener_must_make_sense),
	    cmocka_unit_test(limits_of_the_whole_are_not_a_listeners),
	    cmocka_unit_test(all_errors_are_told_in_one_run),
	    cmocka_unit_test(texts_of_the_limits_must_fit_into_packets),
	    cmocka_unit_test(the_example_is_a_valid_configuration_and_says_the_defaults),
	    cmocka_unit_test(the_dump_reads_back_to_itself),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
