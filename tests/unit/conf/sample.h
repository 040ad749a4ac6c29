/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A schema that resembles avocet.yaml, for the tests that bind and dump: every type of option,
 * every way to write one. Nothing of it is the broker's own; it shall only be as hard.
 */
#ifndef UNIT_CONF_SAMPLE_H
#define UNIT_CONF_SAMPLE_H

#include <string.h>

#include "conf/conf.h"

enum sample_auto { SAMPLE_AUTO = -1 };
enum sample_protocol { SAMPLE_MQTT, SAMPLE_WEBSOCKET };
enum sample_anonymous { SAMPLE_ANONYMOUS_AUTO, SAMPLE_ANONYMOUS_YES, SAMPLE_ANONYMOUS_NO };
enum sample_version { SAMPLE_V31 = 1, SAMPLE_V311 = 2, SAMPLE_V5 = 4 };
enum sample_mode { SAMPLE_COMMIT, SAMPLE_RELAXED, SAMPLE_NONE };
enum sample_name { SAMPLE_NO_NAME, SAMPLE_CN, SAMPLE_SUBJECT, SAMPLE_SAN };
enum sample_control { SAMPLE_SUFFICIENT, SAMPLE_REQUIRED };

struct sample_broker {
	int64_t workers;
	const char *data_dir;
	const char *plugin_dir;
	const char *user;
	int64_t sys_interval;
	int64_t max_memory;
	int64_t max_connections;
	int64_t max_connect_rate;
	int64_t max_connections_per_address;
	int64_t shutdown_timeout;
	int64_t max_transit;
	const char *control;
	struct conf_strings trusted_proxies;
	int64_t stall_warn;
	const char *token;
};

struct sample_log {
	int64_t level;
	int64_t format;
	const char *to;
};

struct sample_tls {
	const char *certfile;
	const char *keyfile;
	const char *cafile;
	const char *crlfile;
	bool require_certificate;
	int64_t username_from;
	int64_t min_version;
	const char *ciphers;
	const char *ciphersuites;
	bool psk;
};

struct sample_limits {
	int64_t max_packet_size;
	int64_t max_connect_size;
	int64_t max_qos;
	bool retain_available;
	bool wildcard_subscriptions;
	bool shared_subscriptions;
	bool subscription_identifiers;
	int64_t max_keepalive;
	int64_t max_session_expiry;
	int64_t max_inflight_messages;
	int64_t receive_maximum;
	int64_t max_queued_messages;
	int64_t max_queued_bytes;
	int64_t queue_full;
	bool queue_qos0;
	int64_t max_topic_alias;
	int64_t max_topic_alias_broker;
	int64_t max_topic_levels;
	int64_t max_subscriptions;
	int64_t max_sessions;
	int64_t max_retained_messages;
	int64_t max_retained_bytes;
	int64_t max_publish_rate;
	int64_t max_publish_bytes_rate;
	bool allow_empty_client_id;
	const char *auto_id_prefix;
	int64_t connect_timeout;
	int64_t write_timeout;
	bool upgrade_outgoing_qos;
	bool lenient;
	int64_t max_pending;
	int64_t max_grants;
	const char *response_information;
	int64_t auth_delay;
	int64_t max_delayed;
};

struct sample_member {
	const char *use;
	int64_t control;
	int64_t on_error;
	int64_t timeout;
};

struct sample_listener {
	const char *name;
	const char *bind;
	int64_t protocol;
	const char *path;
	struct conf_strings origins;
	bool proxy_protocol;
	int64_t allow_anonymous;
	int64_t protocol_versions;
	int64_t max_connections;
	const char *mount_point;
	bool username_as_client_id;
	struct sample_tls tls;
	const struct conf_node *limits;
	const struct conf_node *durability;
	const char *chains;
	struct conf_list authenticate; /* of struct sample_member */
};

struct sample_link {
	const char *name;
	const char *chains;
	const struct conf_node *limits;
};

struct sample_plugin {
	const char *name;
	const char *module;
	const struct conf_node *config;
	int64_t threads;
	struct conf_list links; /* of struct sample_link */
};

struct sample_chains {
	const char *name;
	struct conf_list authenticate; /* of struct sample_member */
	struct conf_list authorize;
	struct conf_list intercept;
};

struct sample_filter {
	const char *filter;
	int64_t mode;
};

struct sample_durability {
	int64_t fallback;
	int64_t interval;
	struct conf_list filters; /* of struct sample_filter */
};

struct sample {
	struct sample_broker broker;
	struct sample_log log;
	struct conf_list listeners; /* of struct sample_listener */
	struct sample_limits limits;
	struct conf_list plugins; /* of struct sample_plugin */
	struct conf_list chains;  /* of struct sample_chains */
	const char *store;
	struct sample_durability durability;
};

#define SAMPLE_AT(type, member) .offset = offsetof(struct sample_##type, member)

static const struct conf_word sample_words_auto[] = {{"auto", SAMPLE_AUTO}, {NULL, 0}};
static const struct conf_word sample_words_never[] = {{"never", CONF_NEVER}, {NULL, 0}};
static const struct conf_word sample_words_level[] = {
    {"error", 0}, {"warning", 1}, {"info", 2}, {"debug", 3}, {NULL, 0}};
static const struct conf_word sample_words_format[] = {{"text", 0}, {"json", 1}, {NULL, 0}};
static const struct conf_word sample_words_protocol[] = {
    {"mqtt", SAMPLE_MQTT}, {"websocket", SAMPLE_WEBSOCKET}, {NULL, 0}};
static const struct conf_word sample_words_anonymous[] = {{"auto", SAMPLE_ANONYMOUS_AUTO},
    {"true", SAMPLE_ANONYMOUS_YES}, {"false", SAMPLE_ANONYMOUS_NO}, {NULL, 0}};
static const struct conf_word sample_words_versions[] = {
    {"3.1", SAMPLE_V31}, {"3.1.1", SAMPLE_V311}, {"5.0", SAMPLE_V5}, {NULL, 0}};
static const struct conf_word sample_words_tls[] = {{"1.2", 12}, {"1.3", 13}, {NULL, 0}};
static const struct conf_word sample_words_name[] = {{"none", SAMPLE_NO_NAME}, {"cn", SAMPLE_CN},
    {"subject", SAMPLE_SUBJECT}, {"san", SAMPLE_SAN}, {NULL, 0}};
static const struct conf_word sample_words_error[] = {{"deny", 0}, {"defer", 1}, {NULL, 0}};
static const struct conf_word sample_words_full[] = {{"drop_new", 0}, {"drop_old", 1}, {NULL, 0}};
static const struct conf_word sample_words_mode[] = {
    {"commit", SAMPLE_COMMIT}, {"relaxed", SAMPLE_RELAXED}, {"none", SAMPLE_NONE}, {NULL, 0}};
static const struct conf_word sample_words_control[] = {
    {"sufficient", SAMPLE_SUFFICIENT}, {"required", SAMPLE_REQUIRED}, {NULL, 0}};

static const struct conf_option sample_broker_options[] = {
    {"workers", CONF_INT, SAMPLE_AT(broker, workers), .fallback = "auto", .help = "event loops",
	.min = 1, .max = 1024, .words = sample_words_auto},
    {"data_dir", CONF_STRING, SAMPLE_AT(broker, data_dir), .fallback = "/var/lib/avocet",
	.help = "where data is kept"},
    {"plugin_dir", CONF_STRING, SAMPLE_AT(broker, plugin_dir),
	.fallback = "/usr/lib/avocet/plugins", .help = "where plugins are"},
    {"user", CONF_STRING, SAMPLE_AT(broker, user), .fallback = "\"\"",
	.help = "switch to it after binding"},
    {"sys_interval", CONF_DURATION, SAMPLE_AT(broker, sys_interval), .fallback = "10s",
	.help = "how often $SYS is told"},
    {"max_memory", CONF_SIZE, SAMPLE_AT(broker, max_memory), .fallback = "auto",
	.help = "budget of all queues", .words = sample_words_auto},
    {"max_connections", CONF_INT, SAMPLE_AT(broker, max_connections), .help = "0: no limit"},
    {"max_connect_rate", CONF_INT, SAMPLE_AT(broker, max_connect_rate),
	.help = "accepted in a second"},
    {"max_connections_per_address", CONF_INT, SAMPLE_AT(broker, max_connections_per_address),
	.fallback = "0", .help = "0: no limit"},
    {"shutdown_timeout", CONF_DURATION, SAMPLE_AT(broker, shutdown_timeout), .fallback = "10s",
	.help = "for a clean end"},
    {"max_transit", CONF_SIZE, SAMPLE_AT(broker, max_transit), .fallback = "auto",
	.help = "messages under way", .words = sample_words_auto},
    {"control", CONF_STRING, SAMPLE_AT(broker, control), .fallback = "/run/avocet/control.sock",
	.help = "for avocetctl"},
    {"trusted_proxies", CONF_STRINGS, SAMPLE_AT(broker, trusted_proxies),
	.help = "whose header is believed"},
    {"stall_warn", CONF_DURATION, SAMPLE_AT(broker, stall_warn), .fallback = "20ms",
	.help = "longer is logged"},
    {"token", CONF_STRING, SAMPLE_AT(broker, token), .help = "for the board", .secret = true},
};
static const struct conf_schema sample_broker_schema = {.options = sample_broker_options,
    .count = CONF_COUNT(sample_broker_options),
    .size = sizeof(struct sample_broker)};

static const struct conf_option sample_log_options[] = {
    {"level", CONF_ENUM, SAMPLE_AT(log, level), .fallback = "info", .help = "how much is told",
	.words = sample_words_level},
    {"format", CONF_ENUM, SAMPLE_AT(log, format), .fallback = "text", .help = "of each line",
	.words = sample_words_format},
    {"to", CONF_STRING, SAMPLE_AT(log, to), .fallback = "stderr", .help = "or syslog, or a path"},
};
static const struct conf_schema sample_log_schema = {.options = sample_log_options,
    .count = CONF_COUNT(sample_log_options),
    .size = sizeof(struct sample_log)};

/* A key needs its certificate: what one option alone cannot say. */
static inline void
sample_check_tls(struct conf_check *check, void *target)
{
	const struct sample_tls *tls = target;

	if (tls->keyfile != NULL && tls->certfile == NULL) {
		conf_check_fail(check, "keyfile", "%s needs certfile beside it", "keyfile");
	}
	if (tls->require_certificate && tls->certfile == NULL) {
		conf_check_fail(check, NULL, "a certificate is asked for and none is there");
	}
}

static const struct conf_option sample_tls_options[] = {
    {"certfile", CONF_STRING, SAMPLE_AT(tls, certfile), .help = "chain, leaf first"},
    {"keyfile", CONF_STRING, SAMPLE_AT(tls, keyfile), .help = "the key"},
    {"cafile", CONF_STRING, SAMPLE_AT(tls, cafile), .help = "for client certificates"},
    {"crlfile", CONF_STRING, SAMPLE_AT(tls, crlfile), .help = "refused ones"},
    {"require_certificate", CONF_BOOL, SAMPLE_AT(tls, require_certificate), .fallback = "false",
	.help = "from clients"},
    {"username_from", CONF_ENUM, SAMPLE_AT(tls, username_from), .fallback = "none",
	.help = "who it is", .words = sample_words_name},
    {"min_version", CONF_ENUM, SAMPLE_AT(tls, min_version), .fallback = "\"1.2\"",
	.help = "the oldest TLS", .words = sample_words_tls},
    {"ciphers", CONF_STRING, SAMPLE_AT(tls, ciphers), .help = "up to 1.2"},
    {"ciphersuites", CONF_STRING, SAMPLE_AT(tls, ciphersuites), .help = "of 1.3"},
    {"psk", CONF_BOOL, SAMPLE_AT(tls, psk), .fallback = "false",
	.help = "keys in place of certificates"},
};
static const struct conf_schema sample_tls_schema = {.options = sample_tls_options,
    .count = CONF_COUNT(sample_tls_options),
    .size = sizeof(struct sample_tls),
    .check = sample_check_tls};

static const struct conf_option sample_limits_options[] = {
    {"max_packet_size", CONF_SIZE, SAMPLE_AT(limits, max_packet_size), .fallback = "16MiB",
	.help = "of any packet", .min = 1024, .max = 268435460},
    {"max_connect_size", CONF_SIZE, SAMPLE_AT(limits, max_connect_size), .fallback = "64KiB",
	.help = "of the CONNECT packet"},
    {"max_qos", CONF_INT, SAMPLE_AT(limits, max_qos), .fallback = "2", .help = "0 to 2", .max = 2},
    {"retain_available", CONF_BOOL, SAMPLE_AT(limits, retain_available), .fallback = "true",
	.help = "keep retained messages"},
    {"wildcard_subscriptions", CONF_BOOL, SAMPLE_AT(limits, wildcard_subscriptions),
	.fallback = "true", .help = "as its name says"},
    {"shared_subscriptions", CONF_BOOL, SAMPLE_AT(limits, shared_subscriptions), .fallback = "true",
	.help = "as its name says"},
    {"subscription_identifiers", CONF_BOOL, SAMPLE_AT(limits, subscription_identifiers),
	.fallback = "true", .help = "as its name says"},
    {"max_keepalive", CONF_INT, SAMPLE_AT(limits, max_keepalive), .fallback = "0",
	.help = "seconds", .max = 65535},
    {"max_session_expiry", CONF_DURATION, SAMPLE_AT(limits, max_session_expiry),
	.fallback = "never", .help = "cap", .words = sample_words_never},
    {"max_inflight_messages", CONF_INT, SAMPLE_AT(limits, max_inflight_messages), .fallback = "100",
	.help = "to a client at a time", .min = 1, .max = 65535},
    {"receive_maximum", CONF_INT, SAMPLE_AT(limits, receive_maximum), .fallback = "1000",
	.help = "from a client at a time", .min = 1, .max = 65535},
    {"max_queued_messages", CONF_INT, SAMPLE_AT(limits, max_queued_messages), .fallback = "10000",
	.help = "of a session"},
    {"max_queued_bytes", CONF_SIZE, SAMPLE_AT(limits, max_queued_bytes), .fallback = "64MiB",
	.help = "of a session"},
    {"queue_full", CONF_ENUM, SAMPLE_AT(limits, queue_full), .fallback = "drop_new",
	.help = "what goes", .words = sample_words_full},
    {"queue_qos0", CONF_BOOL, SAMPLE_AT(limits, queue_qos0), .fallback = "false",
	.help = "for sleeping sessions"},
    {"max_topic_alias", CONF_INT, SAMPLE_AT(limits, max_topic_alias), .fallback = "64",
	.help = "from a client", .max = 65535},
    {"max_topic_alias_broker", CONF_INT, SAMPLE_AT(limits, max_topic_alias_broker),
	.fallback = "64", .help = "to a client", .max = 65535},
    {"max_topic_levels", CONF_INT, SAMPLE_AT(limits, max_topic_levels), .fallback = "128",
	.help = "of a topic", .min = 1},
    {"max_subscriptions", CONF_INT, SAMPLE_AT(limits, max_subscriptions), .fallback = "1000",
	.help = "of a session"},
    {"max_sessions", CONF_INT, SAMPLE_AT(limits, max_sessions), .fallback = "0",
	.help = "0: no limit"},
    {"max_retained_messages", CONF_INT, SAMPLE_AT(limits, max_retained_messages), .fallback = "0",
	.help = "0: no limit"},
    {"max_retained_bytes", CONF_SIZE, SAMPLE_AT(limits, max_retained_bytes), .fallback = "0",
	.help = "0: no limit"},
    {"max_publish_rate", CONF_INT, SAMPLE_AT(limits, max_publish_rate), .fallback = "0",
	.help = "of a client"},
    {"max_publish_bytes_rate", CONF_SIZE, SAMPLE_AT(limits, max_publish_bytes_rate),
	.fallback = "0", .help = "of a client"},
    {"allow_empty_client_id", CONF_BOOL, SAMPLE_AT(limits, allow_empty_client_id),
	.fallback = "true", .help = "as its name says"},
    {"auto_id_prefix", CONF_STRING, SAMPLE_AT(limits, auto_id_prefix), .fallback = "auto-",
	.help = "of made-up client ids"},
    {"connect_timeout", CONF_DURATION, SAMPLE_AT(limits, connect_timeout), .fallback = "10s",
	.help = "up to CONNECT"},
    {"write_timeout", CONF_DURATION, SAMPLE_AT(limits, write_timeout), .fallback = "60s",
	.help = "of a client that reads nothing"},
    {"upgrade_outgoing_qos", CONF_BOOL, SAMPLE_AT(limits, upgrade_outgoing_qos),
	.fallback = "false", .help = "as its name says"},
    {"lenient", CONF_BOOL, SAMPLE_AT(limits, lenient), .fallback = "false",
	.help = "accept what is padded"},
    {"max_pending", CONF_INT, SAMPLE_AT(limits, max_pending), .fallback = "16",
	.help = "that wait for a plugin"},
    {"max_grants", CONF_INT, SAMPLE_AT(limits, max_grants), .fallback = "128",
	.help = "answers kept"},
    {"response_information", CONF_STRING, SAMPLE_AT(limits, response_information),
	.help = "given on request"},
    {"auth_delay", CONF_DURATION, SAMPLE_AT(limits, auth_delay), .fallback = "1s",
	.help = "before a refusal", .max = 60000},
    {"max_delayed", CONF_INT, SAMPLE_AT(limits, max_delayed), .fallback = "1000",
	.help = "refusals held back"},
};
static const struct conf_schema sample_limits_schema = {.options = sample_limits_options,
    .count = CONF_COUNT(sample_limits_options),
    .size = sizeof(struct sample_limits)};

static const struct conf_option sample_member_options[] = {
    {"use", CONF_STRING, SAMPLE_AT(member, use), .help = "a plugin", .required = true},
    {"control", CONF_ENUM, SAMPLE_AT(member, control), .fallback = "sufficient",
	.help = "how it counts", .words = sample_words_control},
    {"on_error", CONF_ENUM, SAMPLE_AT(member, on_error), .fallback = "deny",
	.help = "when it fails", .words = sample_words_error},
    {"timeout", CONF_DURATION, SAMPLE_AT(member, timeout), .fallback = "5s", .help = "then no"},
};
static const struct conf_schema sample_member_schema = {.options = sample_member_options,
    .count = CONF_COUNT(sample_member_options),
    .size = sizeof(struct sample_member),
    .shorthand = "use"};

static const struct conf_option sample_filter_options[] = {
    {"filter", CONF_STRING, SAMPLE_AT(filter, filter), .help = "of topics", .required = true},
    {"mode", CONF_ENUM, SAMPLE_AT(filter, mode), .fallback = "commit", .help = "for these",
	.words = sample_words_mode},
};
static const struct conf_schema sample_filter_schema = {.options = sample_filter_options,
    .count = CONF_COUNT(sample_filter_options),
    .size = sizeof(struct sample_filter)};

static const struct conf_option sample_durability_options[] = {
    {"default", CONF_ENUM, SAMPLE_AT(durability, fallback), .fallback = "commit",
	.help = "of what no filter names", .words = sample_words_mode},
    {"interval", CONF_DURATION, SAMPLE_AT(durability, interval), .fallback = "200ms",
	.help = "of relaxed commits", .min = 1},
    {"filters", CONF_LIST, SAMPLE_AT(durability, filters), .help = "the first wins",
	.schema = &sample_filter_schema},
};
static const struct conf_schema sample_durability_schema = {.options = sample_durability_options,
    .count = CONF_COUNT(sample_durability_options),
    .size = sizeof(struct sample_durability),
    .shorthand = "default"};

static const struct conf_option sample_listener_options[] = {
    {"name", CONF_STRING, SAMPLE_AT(listener, name), .help = "default: its bind"},
    {"bind", CONF_STRING, SAMPLE_AT(listener, bind), .help = "where", .required = true},
    {"protocol", CONF_ENUM, SAMPLE_AT(listener, protocol), .fallback = "mqtt", .help = "spoken",
	.words = sample_words_protocol},
    {"path", CONF_STRING, SAMPLE_AT(listener, path), .fallback = "/mqtt", .help = "of a websocket"},
    {"origins", CONF_STRINGS, SAMPLE_AT(listener, origins), .fallback = "[]", .help = "empty: any"},
    {"proxy_protocol", CONF_BOOL, SAMPLE_AT(listener, proxy_protocol), .fallback = "false",
	.help = "v1 and v2"},
    {"allow_anonymous", CONF_ENUM, SAMPLE_AT(listener, allow_anonymous), .fallback = "auto",
	.help = "who needs no name", .words = sample_words_anonymous},
    {"protocol_versions", CONF_FLAGS, SAMPLE_AT(listener, protocol_versions),
	.fallback = "[3.1, 3.1.1, 5.0]", .help = "served", .words = sample_words_versions},
    {"max_connections", CONF_INT, SAMPLE_AT(listener, max_connections), .fallback = "0",
	.help = "0: no limit"},
    {"mount_point", CONF_STRING, SAMPLE_AT(listener, mount_point), .fallback = "\"\"",
	.help = "before every topic"},
    {"username_as_client_id", CONF_BOOL, SAMPLE_AT(listener, username_as_client_id),
	.fallback = "false", .help = "the name is the id"},
    {"tls", CONF_STRUCT, SAMPLE_AT(listener, tls), .help = "TLS", .schema = &sample_tls_schema},
    {"limits", CONF_NODE, SAMPLE_AT(listener, limits), .help = "for this listener",
	.schema = &sample_limits_schema},
    {"durability", CONF_NODE, SAMPLE_AT(listener, durability), .help = "for this listener",
	.schema = &sample_durability_schema},
    {"chains", CONF_STRING, SAMPLE_AT(listener, chains), .fallback = "default",
	.help = "the name of a set"},
    {"authenticate", CONF_LIST, SAMPLE_AT(listener, authenticate), .help = "in place of the set's",
	.schema = &sample_member_schema},
};
static const struct conf_schema sample_listener_schema = {.options = sample_listener_options,
    .count = CONF_COUNT(sample_listener_options),
    .size = sizeof(struct sample_listener)};

static const struct conf_option sample_link_options[] = {
    {"chains", CONF_STRING, SAMPLE_AT(link, chains), .fallback = "default", .help = "of the link"},
    {"limits", CONF_NODE, SAMPLE_AT(link, limits), .help = "of the link",
	.schema = &sample_limits_schema},
};
static const struct conf_schema sample_link_schema = {.options = sample_link_options,
    .count = CONF_COUNT(sample_link_options),
    .size = sizeof(struct sample_link),
    .name_offset = offsetof(struct sample_link, name)};

static const struct conf_option sample_plugin_options[] = {
    {"name", CONF_STRING, SAMPLE_AT(plugin, name), .help = "of the instance", .required = true},
    {"module", CONF_STRING, SAMPLE_AT(plugin, module), .help = "to load", .required = true},
    {"config", CONF_NODE, SAMPLE_AT(plugin, config), .help = "the module's own"},
    {"threads", CONF_INT, SAMPLE_AT(plugin, threads), .fallback = "1", .help = "of its pool",
	.min = 1, .max = 64},
    {"links", CONF_NAMED, SAMPLE_AT(plugin, links), .help = "of the plugin",
	.schema = &sample_link_schema},
};
static const struct conf_schema sample_plugin_schema = {.options = sample_plugin_options,
    .count = CONF_COUNT(sample_plugin_options),
    .size = sizeof(struct sample_plugin)};

static const struct conf_option sample_chains_options[] = {
    {"authenticate", CONF_LIST, SAMPLE_AT(chains, authenticate), .help = "who gets in",
	.schema = &sample_member_schema},
    {"authorize", CONF_LIST, SAMPLE_AT(chains, authorize), .help = "empty: all is allowed",
	.schema = &sample_member_schema},
    {"intercept", CONF_LIST, SAMPLE_AT(chains, intercept), .help = "who looks on",
	.schema = &sample_member_schema},
};
static const struct conf_schema sample_chains_schema = {.options = sample_chains_options,
    .count = CONF_COUNT(sample_chains_options),
    .size = sizeof(struct sample_chains),
    .name_offset = offsetof(struct sample_chains, name)};

#define SAMPLE_TOP(member) .offset = offsetof(struct sample, member)

static const struct conf_option sample_options[] = {
    {"broker", CONF_STRUCT, SAMPLE_TOP(broker), .help = "the broker as a whole",
	.schema = &sample_broker_schema},
    {"log", CONF_STRUCT, SAMPLE_TOP(log), .help = "the log", .schema = &sample_log_schema},
    {"listeners", CONF_LIST, SAMPLE_TOP(listeners), .fallback = "[{bind: \"127.0.0.1:1883\"}]",
	.help = "where clients come in", .schema = &sample_listener_schema},
    {"limits", CONF_STRUCT, SAMPLE_TOP(limits), .help = "of every listener",
	.schema = &sample_limits_schema},
    {"plugins", CONF_LIST, SAMPLE_TOP(plugins), .help = "instances",
	.schema = &sample_plugin_schema},
    {"chains", CONF_NAMED, SAMPLE_TOP(chains), .help = "named sets",
	.schema = &sample_chains_schema},
    {"store", CONF_STRING, SAMPLE_TOP(store), .help = "none: nothing outlives the process"},
    {"durability", CONF_STRUCT, SAMPLE_TOP(durability), .help = "what acknowledged means",
	.schema = &sample_durability_schema},
};
static const struct conf_schema sample_schema = {
    .options = sample_options, .count = CONF_COUNT(sample_options), .size = sizeof(struct sample)};

#endif
