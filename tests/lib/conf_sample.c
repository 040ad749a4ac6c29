/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/conf_sample.h"

struct sample_tls {
	const char *certfile;
	bool psk;
};

struct sample_limits {
	int64_t max_packet_size;
	int64_t max_session_expiry;
	int64_t max_qos;
};

struct sample_listener {
	const char *name;
	const char *bind;
	int64_t protocol;
	int64_t versions;
	struct conf_strings origins;
	struct sample_tls tls;
	const struct conf_node *limits;
};

struct sample_member {
	const char *use;
	int64_t timeout;
};

struct sample_chain {
	const char *name;
	struct conf_list authenticate;
};

struct sample {
	int64_t workers;
	const char *password;
	struct sample_limits limits;
	struct conf_list listeners;
	struct conf_list chains;
	const struct conf_node *config;
};

#define OPTION(type, member, label) .name = (label), .offset = offsetof(struct type, member)

static const struct conf_word never[] = {{"never", CONF_NEVER}, {NULL, 0}};
static const struct conf_word automatic[] = {{"auto", -1}, {NULL, 0}};
static const struct conf_word protocols[] = {{"mqtt", 0}, {"websocket", 1}, {NULL, 0}};
static const struct conf_word versions[] = {{"3.1", 1}, {"3.1.1", 2}, {"5.0", 4}, {NULL, 0}};

static const struct conf_option tls_options[] = {
    {OPTION(sample_tls, certfile, "certfile"), .type = CONF_STRING},
    {OPTION(sample_tls, psk, "psk"), .type = CONF_BOOL, .fallback = "false"},
};
static const struct conf_schema tls_schema = {
    .options = tls_options, .count = CONF_COUNT(tls_options), .size = sizeof(struct sample_tls)};

static const struct conf_option limits_options[] = {
    {OPTION(sample_limits, max_packet_size, "max_packet_size"), .type = CONF_SIZE,
	.fallback = "16MiB", .min = 16, .max = 268435460},
    {OPTION(sample_limits, max_session_expiry, "max_session_expiry"), .type = CONF_DURATION,
	.fallback = "never", .words = never},
    {OPTION(sample_limits, max_qos, "max_qos"), .type = CONF_INT, .fallback = "2", .max = 2},
};
static const struct conf_schema limits_schema = {.options = limits_options,
    .count = CONF_COUNT(limits_options),
    .size = sizeof(struct sample_limits)};

static const struct conf_option listener_options[] = {
    {OPTION(sample_listener, name, "name"), .type = CONF_STRING},
    {OPTION(sample_listener, bind, "bind"), .type = CONF_STRING, .required = true},
    {OPTION(sample_listener, protocol, "protocol"), .type = CONF_ENUM, .fallback = "mqtt",
	.words = protocols},
    {OPTION(sample_listener, versions, "protocol_versions"), .type = CONF_FLAGS,
	.fallback = "[3.1, 3.1.1, 5.0]", .words = versions},
    {OPTION(sample_listener, origins, "origins"), .type = CONF_STRINGS, .fallback = "[]"},
    {OPTION(sample_listener, tls, "tls"), .type = CONF_STRUCT, .schema = &tls_schema},
    {OPTION(sample_listener, limits, "limits"), .type = CONF_NODE, .schema = &limits_schema},
};
static const struct conf_schema listener_schema = {.options = listener_options,
    .count = CONF_COUNT(listener_options),
    .size = sizeof(struct sample_listener)};

static const struct conf_option member_options[] = {
    {OPTION(sample_member, use, "use"), .type = CONF_STRING, .required = true},
    {OPTION(sample_member, timeout, "timeout"), .type = CONF_DURATION, .fallback = "5s"},
};
static const struct conf_schema member_schema = {.options = member_options,
    .count = CONF_COUNT(member_options),
    .size = sizeof(struct sample_member),
    .shorthand = "use"};

static const struct conf_option chain_options[] = {
    {OPTION(sample_chain, authenticate, "authenticate"), .type = CONF_LIST,
	.schema = &member_schema},
};
static const struct conf_schema chain_schema = {.options = chain_options,
    .count = CONF_COUNT(chain_options),
    .size = sizeof(struct sample_chain),
    .name_offset = offsetof(struct sample_chain, name)};

static const struct conf_option sample_options[] = {
    {OPTION(sample, workers, "workers"), .type = CONF_INT, .fallback = "auto", .min = 1, .max = 256,
	.words = automatic},
    {OPTION(sample, password, "password"), .type = CONF_STRING, .secret = true},
    {OPTION(sample, limits, "limits"), .type = CONF_STRUCT, .schema = &limits_schema,
	.help = "what a client may use"},
    {OPTION(sample, listeners, "listeners"), .type = CONF_LIST, .schema = &listener_schema},
    {OPTION(sample, chains, "chains"), .type = CONF_NAMED, .schema = &chain_schema},
    {OPTION(sample, config, "config"), .type = CONF_NODE},
};
const struct conf_schema conf_sample_schema = {
    .options = sample_options, .count = CONF_COUNT(sample_options), .size = sizeof(struct sample)};
