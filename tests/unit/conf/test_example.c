/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The complete example that users are shown, as it stands in the contract with them, comments
 * included.
 */
#include "unit/conf/conf_unit.h"

#include "unit/conf/sample.h"

static const char example[] =
    "broker:\n"
    "  workers: auto                  # event loops; auto = one per CPU the process may use\n"
    "  data_dir: /var/lib/avocet\n"
    "  plugin_dir: /usr/lib/avocet/plugins\n"
    "  user: \"\"                       # switch to it after binding, when started as root; \"\" = "
    "stay (the systemd unit sets its own)\n"
    "  sys_interval: 10s              # $SYS; 0 = off\n"
    "  max_memory: auto               # budget of all queues together; auto = half of what the "
    "machine or cgroup has; 0 = none\n"
    "  max_connections: 0             # over all listeners; 0 = no limit\n"
    "  max_connect_rate: 0            # accepted connections per second, all listeners; 0 = no "
    "limit\n"
    "  max_connections_per_address: 0\n"
    "  shutdown_timeout: 10s\n"
    "  max_transit: auto              # messages under way inside the broker; auto = an eighth of "
    "max_memory\n"
    "  control: /run/avocet/control.sock   # for avocetctl; root and the broker's user\n"
    "  trusted_proxies: []            # addresses or networks whose PROXY header or "
    "X-Forwarded-For is believed; from others it closes the connection\n"
    "  stall_warn: 20ms               # a plugin call on a worker that takes longer is logged\n"
    "log:\n"
    "  level: info                    # error warning info debug\n"
    "  format: text                   # text json\n"
    "  to: stderr                     # stderr, syslog, or a path (reopened on SIGUSR1)\n"
    "\n"
    "listeners:\n"
    "  - name: mqtt                   # default: its bind\n"
    "    bind: 0.0.0.0:1883           # HOST:PORT, [IPV6]:PORT, PORT (all addresses) or "
    "unix:/path\n"
    "    protocol: mqtt               # mqtt, websocket\n"
    "    path: /mqtt                  # websocket only; sub-protocols mqtt and mqttv3.1\n"
    "    origins: []                  # websocket only; empty = any\n"
    "    proxy_protocol: false        # v1 and v2, from broker.trusted_proxies only\n"
    "    allow_anonymous: auto        # auto, true, false; auto = true on loopback and unix "
    "sockets without proxy_protocol, else false\n"
    "    protocol_versions: [3.1, 3.1.1, 5.0]\n"
    "    max_connections: 0\n"
    "    mount_point: \"\"              # prefix put before every topic of its clients\n"
    "    username_as_client_id: false\n"
    "    tls:\n"
    "      certfile: server.pem       # chain, leaf first\n"
    "      keyfile: server.key\n"
    "      cafile: ca.pem             # for client certificates\n"
    "      crlfile: null\n"
    "      require_certificate: false\n"
    "      username_from: none        # none, cn, subject, san\n"
    "      min_version: \"1.2\"\n"
    "      ciphers: null\n"
    "      ciphersuites: null\n"
    "      psk: false                 # keys come from the authenticator chain\n"
    "    limits: {}                   # any key of `limits`, for this listener\n"
    "    durability: null             # as below, for this listener\n"
    "    chains: default              # the name of a set; authenticate, authorize or intercept "
    "beside it replace that chain alone\n"
    "\n"
    "limits:\n"
    "  max_packet_size: 16MiB\n"
    "  max_connect_size: 64KiB        # of the CONNECT packet: strangers get no more\n"
    "  max_qos: 2\n"
    "  retain_available: true\n"
    "  wildcard_subscriptions: true\n"
    "  shared_subscriptions: true\n"
    "  subscription_identifiers: true\n"
    "  max_keepalive: 0               # seconds; 0 = what the client asks; else 5.0 gets Server "
    "Keep Alive, and older clients that ask for more, or for none, are refused (0x02): they cannot "
    "be told\n"
    "  max_session_expiry: never      # cap; 3.1.1 sessions with CleanSession 0 get exactly this\n"
    "  max_inflight_messages: 100     # QoS 1 and 2 to a client at a time\n"
    "  receive_maximum: 1000          # QoS 1 and 2 from a client at a time\n"
    "  max_queued_messages: 10000     # per session, beyond the inflight\n"
    "  max_queued_bytes: 64MiB\n"
    "  queue_full: drop_new           # drop_new, drop_old\n"
    "  queue_qos0: false              # keep QoS 0 for sleeping sessions\n"
    "  max_topic_alias: 64            # client to broker\n"
    "  max_topic_alias_broker: 64     # broker to client\n"
    "  max_topic_levels: 128\n"
    "  max_subscriptions: 1000        # per session; 0 = no limit, here and below\n"
    "  max_sessions: 0\n"
    "  max_retained_messages: 0\n"
    "  max_retained_bytes: 0\n"
    "  max_publish_rate: 0            # messages per second and client, beyond it reading slows "
    "down\n"
    "  max_publish_bytes_rate: 0\n"
    "  allow_empty_client_id: true\n"
    "  auto_id_prefix: auto-\n"
    "  connect_timeout: 10s           # from accept to CONNECT, and for each step of "
    "authentication\n"
    "  write_timeout: 60s             # a client that takes nothing for so long is closed\n"
    "  upgrade_outgoing_qos: false\n"
    "  lenient: false                 # accept padded variable byte integers and QoS 0 with DUP\n"
    "  max_pending: 16                # PUBLISHes of a client that wait for a plugin's answer\n"
    "  max_grants: 128                # cached access answers per client\n"
    "  response_information: null     # prefix given out on request\n"
    "  auth_delay: 1s                 # a refused login is answered so much later\n"
    "  max_delayed: 1000              # refusals held back at a time; beyond it they are given at "
    "once\n"
    "\n"
    "plugins:                         # instances; one module may be loaded several times\n"
    "  - name: users\n"
    "    module: auth-file\n"
    "    config: { file: users }      # checked against the schema that the module declares\n"
    "  - name: scram\n"
    "    module: auth-sasl\n"
    "    config: { users: users, mechanisms: [SCRAM-SHA-256, SCRAM-SHA-512] }\n"
    "  - name: rules\n"
    "    module: acl\n"
    "    config: { file: acl.yaml }\n"
    "  - name: db\n"
    "    module: persist-sqlite\n"
    "    config: { file: avocet.db }\n"
    "  - name: to-cloud\n"
    "    module: bridge\n"
    "    config:\n"
    "      remote: { address: mqtts://cloud.example:8883, client_id: site1, username: site1, "
    "password: !file cloud.pw }\n"
    "      topics: [ { direction: out, filter: sensors/#, qos: 1, remote_prefix: site1/ } ]\n"
    "\n"
    "chains:\n"
    "  default:\n"
    "    authenticate: [users, scram] # a member is a name, or {use: NAME, control: "
    "sufficient|required, on_error: deny|defer, timeout: 5s}\n"
    "    authorize: [rules]           # empty = all is allowed, and the log says so at start\n"
    "    intercept: []\n"
    "store: db                        # no store: nothing outlives the process\n"
    "durability: commit               # commit: acknowledged means on disk. relaxed: one commit "
    "each interval. none\n"
    "                                 # or {default: commit, interval: 200ms, filters: [{filter: "
    "telemetry/#, mode: relaxed}]}; the first filter that matches wins, then the listener, then "
    "the default\n";

static bool
file_of_password(const char *path, struct buf *out)
{
	buf_append_text(out, "cloud password\n");
	return strcmp(path, "/etc/avocet/cloud.pw") == 0;
}

static const struct conf_sources sources = {NULL, file_of_password};

static const struct sample *
bound(struct conf **conf, struct bytes text)
{
	*conf = conf_read("/etc/avocet/avocet.yaml", text, NULL, &sources);
	const struct sample *sample = conf_bind(*conf, &sample_schema);

	assert_nothing_said(*conf);
	assert_non_null(sample);
	return sample;
}

static void
the_example_binds_without_a_word(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf, bytes_of(example));

	(void)state;
	assert_int_equal(sample->broker.workers, SAMPLE_AUTO);
	assert_string_equal(sample->broker.user, "");
	assert_int_equal(sample->broker.stall_warn, 20);
	assert_string_equal(sample->broker.control, "/run/avocet/control.sock");
	assert_int_equal(sample->broker.trusted_proxies.count, 0);
	assert_string_equal(sample->log.to, "stderr");
	assert_int_equal(sample->limits.max_packet_size, 16 << 20);
	assert_int_equal(sample->limits.max_session_expiry, CONF_NEVER);
	assert_string_equal(sample->limits.auto_id_prefix, "auto-");
	assert_null(sample->limits.response_information);
	assert_string_equal(sample->store, "db");
	assert_int_equal(sample->durability.fallback, SAMPLE_COMMIT);
	conf_unref(&conf);
}

static void
its_listener_is_what_it_says(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf, bytes_of(example));
	const struct sample_listener *listener = sample->listeners.items;

	(void)state;
	assert_int_equal(sample->listeners.count, 1);
	assert_string_equal(listener->name, "mqtt");
	assert_string_equal(listener->bind, "0.0.0.0:1883");
	assert_int_equal(listener->protocol, SAMPLE_MQTT);
	assert_int_equal(listener->allow_anonymous, SAMPLE_ANONYMOUS_AUTO);
	assert_int_equal(listener->protocol_versions, SAMPLE_V31 | SAMPLE_V311 | SAMPLE_V5);
	assert_string_equal(listener->tls.certfile, "server.pem");
	assert_null(listener->tls.crlfile);
	assert_int_equal(listener->tls.min_version, 12);
	assert_non_null(listener->limits);
	assert_int_equal(listener->limits->count, 0);
	assert_true(listener->durability == NULL || conf_node_is_null(listener->durability));
	assert_string_equal(listener->chains, "default");
	conf_unref(&conf);
}

static void
its_plugins_keep_their_own_configuration(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf, bytes_of(example));
	const struct sample_plugin *plugins = sample->plugins.items;

	(void)state;
	assert_int_equal(sample->plugins.count, 5);
	assert_string_equal(plugins[0].name, "users");
	assert_string_equal(plugins[3].module, "persist-sqlite");
	assert_scalar(value_of(plugins[0].config, "file"), "users");
	assert_scalar(value_of(plugins[1].config, "mechanisms")->items[1], "SCRAM-SHA-512");
	const struct conf_node *remote = value_of(plugins[4].config, "remote");
	assert_scalar(value_of(remote, "address"), "mqtts://cloud.example:8883");
	assert_scalar(value_of(remote, "password"), "cloud password");
	assert_string_equal(value_of(remote, "password")->reference, "!file cloud.pw");
	const struct conf_node *topic = value_of(plugins[4].config, "topics")->items[0];
	assert_scalar(value_of(topic, "filter"), "sensors/#");
	conf_unref(&conf);
}

static void
its_chains_have_their_members(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf, bytes_of(example));
	const struct sample_chains *chains = sample->chains.items;

	(void)state;
	assert_int_equal(sample->chains.count, 1);
	assert_string_equal(chains->name, "default");
	assert_int_equal(chains->authenticate.count, 2);
	assert_string_equal(
	    ((const struct sample_member *)chains->authenticate.items)[1].use, "scram");
	assert_int_equal(chains->authorize.count, 1);
	assert_int_equal(chains->intercept.count, 0);
	conf_unref(&conf);
}

static void
its_dump_reads_back_without_the_password(void **state)
{
	struct conf *conf = NULL;
	const struct sample *sample = bound(&conf, bytes_of(example));
	struct buf out;

	(void)state;
	buf_init(&out, SIZE_MAX);
	conf_dump(conf, &sample_schema, sample, true, &out);
	assert_null(strstr(buf_text(&out), "cloud password"));
	struct conf *again = NULL;
	const struct sample *same = bound(&again, buf_bytes(&out));
	const struct sample_plugin *plugins = same->plugins.items;
	assert_int_equal(same->plugins.count, 5);
	assert_scalar(
	    value_of(value_of(plugins[4].config, "remote"), "password"), "cloud password");
	conf_unref(&again);
	buf_fini(&out);
	conf_unref(&conf);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_example_binds_without_a_word),
	    cmocka_unit_test(its_listener_is_what_it_says),
	    cmocka_unit_test(its_plugins_keep_their_own_configuration),
	    cmocka_unit_test(its_chains_have_their_members),
	    cmocka_unit_test(its_dump_reads_back_without_the_password),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
