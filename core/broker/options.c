/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of avocet.yaml. Checks that need more than one key stand in check.c; what is made of
 * the tables for readers (the example, the manual) in manual.c.
 */
#include "broker/options.h"

#include <string.h>

#include "base/log.h"
#include "broker/check_int.h"
#include "transport/tls_ctx.h"

#define OPTION(type, member, label) .name = (label), .offset = offsetof(struct type, member)
#define SCHEMA(table, type) \
	.options = table, .count = CONF_COUNT(table), .size = sizeof(struct type)

enum { WORKERS_MAX = 256, DAY_MS = 86400000, SECOND_MS = 1000 };

static const struct conf_word automatic[] = {{"auto", BROKER_AUTO}, {NULL, 0}};
static const struct conf_word automatic_truth[] = {{"auto", BROKER_AUTO}, {"true", 1}, {"yes", 1},
    {"on", 1}, {"false", 0}, {"no", 0}, {"off", 0}, {NULL, 0}};
static const struct conf_word levels[] = {{"error", LOG_LEVEL_ERROR},
    {"warning", LOG_LEVEL_WARNING}, {"info", LOG_LEVEL_INFO}, {"debug", LOG_LEVEL_DEBUG},
    {NULL, 0}};
static const struct conf_word formats[] = {
    {"text", LOG_FORMAT_TEXT}, {"json", LOG_FORMAT_JSON}, {NULL, 0}};
static const struct conf_word protocols[] = {
    {"mqtt", BROKER_MQTT}, {"websocket", BROKER_WEBSOCKET}, {NULL, 0}};
static const struct conf_word versions[] = {
    {"3.1", CONN_V31}, {"3.1.1", CONN_V311}, {"5.0", CONN_V5}, {NULL, 0}};
static const struct conf_word modes[] = {
    {"commit", ROUTE_COMMIT}, {"relaxed", ROUTE_RELAXED}, {"none", ROUTE_NONE}, {NULL, 0}};
static const struct conf_word controls[] = {{"sufficient", 0}, {"required", 1}, {NULL, 0}};
static const struct conf_word on_errors[] = {{"deny", 0}, {"defer", 1}, {NULL, 0}};
static const struct conf_word on_failures[] = {{"deny", 0}, {"stop", 1}, {NULL, 0}};
static const struct conf_word names_from[] = {{"none", TLS_USERNAME_NONE}, {"cn", TLS_USERNAME_CN},
    {"subject", TLS_USERNAME_SUBJECT}, {"san", TLS_USERNAME_SAN}, {NULL, 0}};
static const struct conf_word tls_versions[] = {
    {"1.2", TLS_VERSION_1_2}, {"1.3", TLS_VERSION_1_3}, {NULL, 0}};

static const struct conf_option general_options[] = {
    {OPTION(broker_general, workers, "workers"), .type = CONF_INT, .fallback = "auto", .min = 1,
	.max = WORKERS_MAX, .words = automatic,
	.help = "event loops; auto = one per CPU that the process may use"},
    {OPTION(broker_general, data_dir, "data_dir"), .type = CONF_STRING,
	.fallback = "/var/lib/avocet", .help = "where data is kept"},
    {OPTION(broker_general, plugin_dir, "plugin_dir"), .type = CONF_STRING, .fallback = "\"\"",
	.help = "where plugins are looked for; \"\" = where they were installed"},
    {OPTION(broker_general, user, "user"), .type = CONF_STRING, .fallback = "\"\"",
	.help = "switch to this user after binding, when started as root; \"\" = stay"},
    {OPTION(broker_general, sys_interval_ms, "sys_interval"), .type = CONF_DURATION,
	.fallback = "10s", .max = 365LL * DAY_MS,
	.help = "how often $SYS is published, while somebody subscribes to it; 0 = off"},
    {OPTION(broker_general, max_memory, "max_memory"), .type = CONF_SIZE, .fallback = "auto",
	.words = automatic,
	.help = "budget of all queues together; auto = half of what the machine or its cgroup "
		"has; 0 = none"},
    {OPTION(broker_general, max_connections, "max_connections"), .type = CONF_INT, .fallback = "0",
	.help = "over all listeners; 0 = no limit"},
    {OPTION(broker_general, max_connect_rate, "max_connect_rate"), .type = CONF_INT,
	.fallback = "0", .max = 1000000000,
	.help = "accepted connections per second, all listeners; 0 = no limit"},
    {OPTION(broker_general, max_connections_per_address, "max_connections_per_address"),
	.type = CONF_INT, .fallback = "0",
	.help = "connections from one address, all listeners; of those that come through a proxy "
		"it is the proxy's; 0 = no limit"},
    {OPTION(broker_general, shutdown_timeout_ms, "shutdown_timeout"), .type = CONF_DURATION,
	.fallback = "10s", .max = DAY_MS,
	.help = "how long a stop may take to finish what was begun and to say goodbye"},
    {OPTION(broker_general, max_transit, "max_transit"), .type = CONF_SIZE, .fallback = "auto",
	.words = automatic,
	.help = "messages under way inside the broker; auto = an eighth of max_memory; 0 = none"},
    {OPTION(broker_general, control, "control"), .type = CONF_STRING,
	.fallback = "/run/avocet/control.sock", .help = "socket for avocetctl; \"\" = none"},
    {OPTION(broker_general, trusted_proxies, "trusted_proxies"), .type = CONF_STRINGS,
	.fallback = "[]",
	.help =
	    "addresses, networks (10.0.0.0/8), or unix for all unix sockets, whose PROXY header "
	    "and X-Forwarded-For are believed; at a listener with proxy_protocol all others are "
	    "closed at once, X-Forwarded-For of others is ignored"},
    {OPTION(broker_general, stall_warn_ms, "stall_warn"), .type = CONF_DURATION, .fallback = "20ms",
	.help = "a plugin call on a worker that takes longer is logged"},
};
static const struct conf_schema general_schema = {
    SCHEMA(general_options, broker_general), .check = broker_check_general};

static const struct conf_option log_options[] = {
    {OPTION(broker_log, level, "level"), .type = CONF_ENUM, .fallback = "info", .words = levels,
	.help = "error, warning, info or debug"},
    {OPTION(broker_log, format, "format"), .type = CONF_ENUM, .fallback = "text", .words = formats,
	.help = "text or json"},
    {OPTION(broker_log, to, "to"), .type = CONF_STRING, .fallback = "stderr",
	.help = "stderr, syslog, or a path (which is opened again on SIGUSR1)"},
};
static const struct conf_schema log_schema = {
    SCHEMA(log_options, broker_log), .check = broker_check_log};

static const struct conf_option member_options[] = {
    {OPTION(broker_member, use, "use"), .type = CONF_STRING, .required = true,
	.help = "the name of a plugin's instance"},
    {OPTION(broker_member, control, "control"), .type = CONF_ENUM, .fallback = "sufficient",
	.words = controls,
	.help = "sufficient: its yes or no is final; required: its yes is needed"},
    {OPTION(broker_member, on_error, "on_error"), .type = CONF_ENUM, .fallback = "deny",
	.words = on_errors, .help = "what a failure counts as: deny or defer"},
    {OPTION(broker_member, timeout_ms, "timeout"), .type = CONF_DURATION, .fallback = "5s",
	.min = 1, .max = DAY_MS, .help = "how long its answer may take"},
};
static const struct conf_schema member_schema = {
    SCHEMA(member_options, broker_member), .shorthand = "use"};

#define CHAIN(owner, member) \
	OPTION(owner, member, #member), .type = CONF_LIST, .schema = &member_schema

static const struct conf_option chain_options[] = {
    {CHAIN(broker_chain, authenticate), .help = "who decides whether a client is who it says"},
    {CHAIN(broker_chain, authorize),
	.help = "who decides what a client may do; empty = all is allowed"},
    {CHAIN(broker_chain, intercept), .help = "who may change or drop messages"},
};
static const struct conf_schema chain_schema = {
    SCHEMA(chain_options, broker_chain), .name_offset = offsetof(struct broker_chain, name)};

static const struct conf_option plugin_options[] = {
    {OPTION(broker_plugin, name, "name"), .type = CONF_STRING, .required = true,
	.help = "the name of the instance"},
    {OPTION(broker_plugin, module, "module"), .type = CONF_STRING, .required = true,
	.help = "the plugin"},
    {OPTION(broker_plugin, config, "config"), .type = CONF_NODE, .help = "what it wants to know"},
    {OPTION(broker_plugin, threads, "threads"), .type = CONF_INT, .fallback = "1", .min = 1,
	.max = 64, .help = "threads for its blocking calls"},
    {OPTION(broker_plugin, queue, "queue"), .type = CONF_INT, .fallback = "1000", .min = 1,
	.help = "calls that may wait for a thread"},
    {OPTION(broker_plugin, max_requests, "max_requests"), .type = CONF_INT, .fallback = "0",
	.help = "questions open at a time; 0 = no limit"},
    {OPTION(broker_plugin, start_timeout_ms, "start_timeout"), .type = CONF_DURATION,
	.fallback = "30s", .min = 1, .max = DAY_MS, .help = "how long its start may take"},
    {OPTION(broker_plugin, on_failure, "on_failure"), .type = CONF_ENUM, .fallback = "deny",
	.words = on_failures, .help = "when it fails: deny what it is asked, or stop the broker"},
};
static const struct conf_schema plugin_schema = {
    SCHEMA(plugin_options, broker_plugin), .check = broker_check_plugin};

static const struct conf_option link_options[] = {
    {OPTION(broker_link, chains, "chains"), .type = CONF_STRING, .fallback = "default",
	.help = "the set of chains of a plugin's links"},
    {OPTION(broker_link, limits, "limits"), .type = CONF_NODE, .schema = &conn_limits_schema,
	.fallback = "{}", .help = "any key of limits"},
};
static const struct conf_schema link_schema = {SCHEMA(link_options, broker_link),
    .name_offset = offsetof(struct broker_link, name), .check = broker_check_link};

static const struct conf_option filter_options[] = {
    {OPTION(route_durability_filter, filter, "filter"), .type = CONF_STRING, .required = true,
	.help = "a topic filter; full topics are matched, with mount_point"},
    {OPTION(route_durability_filter, mode, "mode"), .type = CONF_ENUM, .required = true,
	.words = modes, .help = "commit, relaxed or none"},
};
static const struct conf_schema filter_schema = {
    SCHEMA(filter_options, route_durability_filter), .check = broker_check_filter};

static const struct conf_option durability_options[] = {
    {OPTION(broker_durability, mode, "default"), .type = CONF_ENUM, .fallback = "commit",
	.words = modes,
	.help = "commit: acknowledged means on disk; relaxed: one commit each interval; none"},
    {OPTION(broker_durability, interval_ms, "interval"), .type = CONF_DURATION, .fallback = "200ms",
	.min = 1, .max = DAY_MS, .help = "how long may lie what no acknowledgement waits for"},
    {OPTION(broker_durability, filters, "filters"), .type = CONF_LIST, .schema = &filter_schema,
	.fallback = "[]",
	.help = "the first filter that matches a topic wins, then the listener, then the default"},
};
const struct conf_schema broker_durability_schema = {
    SCHEMA(durability_options, broker_durability), .shorthand = "default"};

static const struct conf_option tls_options[] = {
    {OPTION(broker_tls, certfile, "certfile"), .type = CONF_STRING,
	.help = "the certificate chain, leaf first; paths begin beside the file that names them"},
    {OPTION(broker_tls, keyfile, "keyfile"), .type = CONF_STRING,
	.help = "its key; default: it is in certfile"},
    {OPTION(broker_tls, cafile, "cafile"), .type = CONF_STRING,
	.help = "authorities of client certificates; without it clients are not asked for any"},
    {OPTION(broker_tls, crlfile, "crlfile"), .type = CONF_STRING,
	.help = "revoked certificates; who issues those of clients must have a list here"},
    {OPTION(broker_tls, require_certificate, "require_certificate"), .type = CONF_BOOL,
	.fallback = "false", .help = "whether clients must have a certificate"},
    {OPTION(broker_tls, username_from, "username_from"), .type = CONF_ENUM, .fallback = "none",
	.words = names_from,
	.help =
	    "the user name is taken from the certificate, a claimed one is ignored, and who has "
	    "a certificate without such a name is refused: none, cn, subject, san"},
    {OPTION(broker_tls, min_version, "min_version"), .type = CONF_ENUM, .fallback = "1.2",
	.words = tls_versions, .help = "1.2 or 1.3"},
    {OPTION(broker_tls, ciphers, "ciphers"), .type = CONF_STRING, .help = "of TLS 1.2"},
    {OPTION(broker_tls, ciphersuites, "ciphersuites"), .type = CONF_STRING, .help = "of TLS 1.3"},
    {OPTION(broker_tls, psk, "psk"), .type = CONF_BOOL, .fallback = "false",
	.help = "pre-shared keys, which come from the authenticate chain; the identity is the user "
		"name"},
};
static const struct conf_schema tls_schema = {
    SCHEMA(tls_options, broker_tls), .check = broker_check_tls};

static const struct conf_option listener_options[] = {
    {OPTION(broker_listener, name, "name"), .type = CONF_STRING,
	.help = "what logs and plugins call it; default: its bind"},
    {OPTION(broker_listener, bind, "bind"), .type = CONF_STRING, .fallback = "0.0.0.0:1883",
	.help = "HOST:PORT, [IPV6]:PORT, PORT (all addresses) or unix:/path (mode 0660, owner and "
		"group are the broker's)"},
    {OPTION(broker_listener, protocol, "protocol"), .type = CONF_ENUM, .fallback = "mqtt",
	.words = protocols, .help = "mqtt or websocket"},
    {OPTION(broker_listener, path, "path"), .type = CONF_STRING, .fallback = "/mqtt",
	.help = "of websocket only; null = any; sub-protocols are mqtt and mqttv3.1"},
    {OPTION(broker_listener, origins, "origins"), .type = CONF_STRINGS, .fallback = "[]",
	.help = "pages that may connect, of websocket only; empty = any"},
    {OPTION(broker_listener, proxy_protocol, "proxy_protocol"), .type = CONF_BOOL,
	.fallback = "false",
	.help =
	    "clients come through a proxy of broker.trusted_proxies, which says by a PROXY header "
	    "(version 1 or 2) who they are"},
    {OPTION(broker_listener, allow_anonymous, "allow_anonymous"), .type = CONF_ENUM,
	.fallback = "auto", .words = automatic_truth,
	.help = "auto, true or false; auto = true on loopback and unix sockets without "
		"proxy_protocol, else false"},
    {OPTION(broker_listener, protocol_versions, "protocol_versions"), .type = CONF_FLAGS,
	.fallback = "[3.1, 3.1.1, 5.0]", .words = versions, .help = "versions of MQTT"},
    {OPTION(broker_listener, max_connections, "max_connections"), .type = CONF_INT, .fallback = "0",
	.help = "of this listener; 0 = no limit"},
    {OPTION(broker_listener, mount_point, "mount_point"), .type = CONF_STRING, .fallback = "\"\"",
	.help = "prefix put before every topic of its clients"},
    {OPTION(broker_listener, username_as_client_id, "username_as_client_id"), .type = CONF_BOOL,
	.fallback = "false", .help = "the user name takes the client id's place"},
    {OPTION(broker_listener, tls, "tls"), .type = CONF_STRUCT, .schema = &tls_schema,
	.help = "TLS, if there is a certfile or psk"},
    {OPTION(broker_listener, limits, "limits"), .type = CONF_NODE, .schema = &conn_limits_schema,
	.fallback = "{}", .help = "any key of limits, for this listener"},
    {OPTION(broker_listener, durability, "durability"), .type = CONF_NODE,
	.schema = &broker_durability_schema, .help = "as below, for this listener"},
    {OPTION(broker_listener, chains, "chains"), .type = CONF_STRING, .fallback = "default",
	.help = "the name of a set of chains"},
    {CHAIN(broker_listener, authenticate), .help = "replaces this chain of the set"},
    {CHAIN(broker_listener, authorize), .help = "replaces this chain of the set"},
    {CHAIN(broker_listener, intercept), .help = "replaces this chain of the set"},
};
static const struct conf_schema listener_schema = {
    SCHEMA(listener_options, broker_listener), .check = broker_check_listener};

static const struct conf_option options[] = {
    {OPTION(broker_options, broker, "broker"), .type = CONF_STRUCT, .schema = &general_schema,
	.help = "The broker as a whole."},
    {OPTION(broker_options, log, "log"), .type = CONF_STRUCT, .schema = &log_schema,
	.help = "The log."},
    {OPTION(broker_options, listeners, "listeners"), .type = CONF_LIST, .schema = &listener_schema,
	.fallback = "[{bind: \"127.0.0.1:1883\"}]",
	.help = "Where clients come in. Without this key: 127.0.0.1:1883, this machine only."},
    {OPTION(broker_options, limits, "limits"), .type = CONF_STRUCT, .schema = &conn_limits_schema,
	.help = "What a client may use. Each listener may lay its own limits over these."},
    {OPTION(broker_options, plugins, "plugins"), .type = CONF_LIST, .schema = &plugin_schema,
	.fallback = "[]", .help = "Instances of plugins. One module may be loaded several times."},
    {OPTION(broker_options, chains, "chains"), .type = CONF_NAMED, .schema = &chain_schema,
	.fallback = "{default: {authenticate: [], authorize: [], intercept: []}}",
	.help = "Sets of chains: who is asked about a client, in this order."},
    {OPTION(broker_options, links, "links"), .type = CONF_NAMED, .schema = &link_schema,
	.fallback = "{}",
	.help =
	    "Chains and limits of the links of a plugin's instance, by its name. What waits for a "
	    "link is not limited by number unless this says so."},
    {OPTION(broker_options, store, "store"), .type = CONF_STRING,
	.help = "The instance that keeps sessions and messages. Without one nothing outlives the "
		"process."},
    {OPTION(broker_options, durability, "durability"), .type = CONF_STRUCT,
	.schema = &broker_durability_schema,
	.help = "When an acknowledged message is on disk: commit, relaxed or none, or a mapping as "
		"here. Without a store it changes nothing."},
};

const struct conf_schema broker_options_schema = {
    SCHEMA(options, broker_options), .check = broker_check_options};
