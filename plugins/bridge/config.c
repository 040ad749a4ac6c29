/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a bridge, from the host's typed view of it. Main's thread. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bridge.h"

/* As many as a link takes. */
enum { MOST_ADDRESSES = 100, MOST_TOPICS = 10000 };
enum { MS_NS = 1000000, MAX_PATH = 96, MAX_HOST = 64 };
#define SECOND_NS INT64_C(1000000000)

struct reader {
	const avocet_conf_api *api;
	const avocet_conf *conf;
	struct bridge_config *config;
	avocet_error *err;
	bool failed;
	FILE *text;
};

__attribute__((format(printf, 2, 3))) static void
fail(struct reader *reader, const char *format, ...)
{
	va_list args;

	if (!reader->failed && reader->err != NULL) {
		reader->err->code = AVOCET_E_CONFIG;
		va_start(args, format);
		(void)vsnprintf(reader->err->text, sizeof(reader->err->text), format, args);
		va_end(args);
	}
	reader->failed = true;
}

/* --- values --- */

static char *
copy(struct reader *reader, const char *text, size_t len)
{
	char *result = malloc(len + 1);

	if (result == NULL) {
		fail(reader, "no memory");
		return NULL;
	}
	if (len != 0) {
		memcpy(result, text, len);
	}
	result[len] = '\0';
	return result;
}

/* NULL where it is not there, or empty. */
static char *
secret_of(struct reader *reader, const char *path)
{
	avocet_str value = {NULL, 0};

	if (reader->api->str(reader->conf, path, &value) != AVOCET_OK || value.n == 0) {
		return NULL;
	}
	if (memchr(value.p, '\0', value.n) != NULL) {
		fail(reader, "%s holds U+0000", path);
	}
	return copy(reader, value.p, value.n);
}

/* Everything that is no secret is put into one text as well. */
static char *
text_of(struct reader *reader, const char *path)
{
	char *value = secret_of(reader, path);

	if (value != NULL) {
		(void)fprintf(reader->text, "%s=%zu:%s\n", path, strlen(value), value);
	}
	return value;
}

static char *
text_or_empty(struct reader *reader, const char *path)
{
	char *text = text_of(reader, path);

	return text != NULL ? text : copy(reader, "", 0);
}

static int64_t
number_of(struct reader *reader, const char *path)
{
	int64_t value = 0;

	(void)reader->api->num(reader->conf, path, &value);
	(void)fprintf(reader->text, "%s=%lld\n", path, (long long)value);
	return value;
}

/* Rounded up: 0 means never, or for ever. */
static uint32_t
span_of(struct reader *reader, const char *path, int64_t unit)
{
	int64_t value = number_of(reader, path);
	int64_t count = value / unit + (value % unit != 0);

	return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

static uint32_t
ms_of(struct reader *reader, const char *path)
{
	return span_of(reader, path, MS_NS);
}

static uint32_t
seconds_of(struct reader *reader, const char *path)
{
	return span_of(reader, path, SECOND_NS);
}

/* --- addresses --- */

/* Of WebSocket: one for all. NULL: there is none. */
static void
take_path(struct reader *reader, const char *path, bool is_first)
{
	struct bridge_config *config = reader->config;
	const char *known = config->path != NULL ? config->path : "";

	if (is_first) {
		config->path = path != NULL ? copy(reader, path, strlen(path)) : NULL;
	} else if (strcmp(known, path != NULL ? path : "") != 0) {
		fail(reader, "remote.address: all must have the same path");
	}
}

static void
read_address(struct reader *reader, size_t at)
{
	struct bridge_config *config = reader->config;
	char path[MAX_PATH], *text;
	const char *ws_path, *why;
	uint32_t flags;

	(void)snprintf(path, sizeof(path), "remote.address[%zu]", at);
	text = text_or_empty(reader, path);
	if (text == NULL) {
		return;
	}
	why = bridge_address_read(text, &config->addresses[at], &ws_path, &flags);
	config->n_addresses = at + 1;
	if (why != NULL) {
		fail(reader, "remote.address: \"%.100s\": %s", text, why);
	} else {
		take_path(reader, ws_path, at == 0);
	}
	if (at == 0) {
		config->flags |= flags;
	} else if (flags != (config->flags & (AVOCET_LINK_TLS | AVOCET_LINK_WEBSOCKET))) {
		fail(reader, "remote.address: all must be of one kind, as TLS or not");
	}
	free(text);
}

static void
read_addresses(struct reader *reader)
{
	struct bridge_config *config = reader->config;
	size_t count = 0;

	(void)reader->api->count(reader->conf, "remote.address", &count);
	if (count == 0 || count > MOST_ADDRESSES) {
		fail(reader, "remote.address: 1 to %d are possible", MOST_ADDRESSES);
		return;
	}
	config->addresses = calloc(count, sizeof(*config->addresses));
	for (size_t i = 0; config->addresses != NULL && i < count; i++) {
		read_address(reader, i);
	}
}

/* --- topics --- */

/* Mosquitto: an empty filter with prefixes is one topic that is called so here and so there. */
static char *
join(struct reader *reader, const char *prefix, const char *filter)
{
	size_t prefix_len = strlen(prefix), filter_len = strlen(filter);
	char *result = malloc(prefix_len + filter_len + 1);

	if (result == NULL) {
		fail(reader, "no memory");
		return NULL;
	}
	memcpy(result, prefix, prefix_len);
	memcpy(result + prefix_len, filter, filter_len + 1);
	return result;
}

static bool
has_wildcard(const char *text)
{
	return strpbrk(text, "+#") != NULL;
}

/* What is subscribed to, here and there. */
static void
check_filters(struct reader *reader, const struct bridge_rule *rule, const char *path)
{
	const char *filters[] = {rule->direction != BRIDGE_IN ? rule->local : NULL,
	    rule->direction != BRIDGE_OUT ? rule->remote : NULL};

	for (size_t i = 0; i < 2; i++) {
		if (filters[i] != NULL && !bridge_filter_is_good(filters[i])) {
			fail(reader, "%s: \"%.100s\" is no topic filter", path, filters[i]);
		}
	}
}

static void
read_rule(struct reader *reader, size_t at)
{
	struct bridge_rule *rule = &reader->config->rules[at];
	char path[MAX_PATH], *filter;
	const char *part[] = {
	    "direction", "qos", "retain", "local_prefix", "remote_prefix", "filter"};
	char paths[6][MAX_PATH];

	for (size_t i = 0; i < 6; i++) {
		(void)snprintf(paths[i], sizeof(paths[i]), "topics[%zu].%s", at, part[i]);
	}
	(void)snprintf(path, sizeof(path), "topics[%zu]", at);
	rule->direction = (enum bridge_direction)number_of(reader, paths[0]);
	rule->qos = (uint32_t)number_of(reader, paths[1]);
	rule->clears_retain = number_of(reader, paths[2]) == 1;
	rule->local_prefix = text_or_empty(reader, paths[3]);
	rule->remote_prefix = text_or_empty(reader, paths[4]);
	filter = text_or_empty(reader, paths[5]);
	if (rule->local_prefix == NULL || rule->remote_prefix == NULL || filter == NULL) {
		free(filter);
		return;
	}
	rule->local_prefix_len = strlen(rule->local_prefix);
	rule->remote_prefix_len = strlen(rule->remote_prefix);
	if (has_wildcard(rule->local_prefix) || has_wildcard(rule->remote_prefix)) {
		fail(reader, "%s: a prefix has no wildcards", path);
	}
	if (filter[0] == '\0' && (rule->local_prefix_len == 0 || rule->remote_prefix_len == 0)) {
		fail(reader, "%s: without a filter both prefixes must be there", path);
	}
	rule->local = join(reader, rule->local_prefix, filter);
	rule->remote = join(reader, rule->remote_prefix, filter);
	rule->is_all =
	    strcmp(filter, "#") == 0 && rule->local_prefix_len == 0 && rule->remote_prefix_len == 0;
	free(filter);
	check_filters(reader, rule, path);
}

static void
read_rules(struct reader *reader)
{
	struct bridge_config *config = reader->config;
	size_t count = 0;

	(void)reader->api->count(reader->conf, "topics", &count);
	if (count == 0) {
		fail(reader, "topics is empty: there is nothing to bridge");
		return;
	}
	if (count > MOST_TOPICS) {
		fail(reader, "topics: %d are possible", MOST_TOPICS);
		return;
	}
	config->rules = calloc(count, sizeof(*config->rules));
	if (config->rules == NULL) {
		fail(reader, "no memory");
		return;
	}
	config->n_rules = count;
	for (size_t i = 0; i < count; i++) {
		read_rule(reader, i);
	}
}

/* --- the rest --- */

static void
read_login(struct reader *reader)
{
	struct bridge_config *config = reader->config;

	config->username = text_of(reader, "remote.username");
	config->password = secret_of(reader, "remote.password");
	config->mechanism = text_of(reader, "remote.mechanism");
	if (config->mechanism != NULL && strcmp(config->mechanism, "none") == 0) {
		free(config->mechanism);
		config->mechanism = NULL;
	}
	if (config->mechanism != NULL && (config->username == NULL || config->password == NULL)) {
		fail(reader, "remote.mechanism needs a username and a password");
	}
	if (config->mechanism != NULL && config->version != 5) {
		fail(reader, "remote.mechanism needs version 5.0");
	}
	if (config->password != NULL && config->username == NULL && config->version != 5) {
		fail(reader, "remote.password without a username needs version 5.0");
	}
}

static void
read_max_packet_size(struct reader *reader)
{
	int64_t size = number_of(reader, "remote.max_packet_size");

	if (size > UINT32_MAX) {
		fail(reader, "remote.max_packet_size: MQTT has no such packets");
		return;
	}
	reader->config->max_packet_size = (uint32_t)size;
}

static void
read_remote(struct reader *reader, const char *name)
{
	static const uint32_t versions[] = {3, 4, 5};
	struct bridge_config *config = reader->config;
	char host[MAX_HOST] = "", id[MAX_HOST + 64];

	read_addresses(reader);
	config->version = versions[number_of(reader, "remote.version")];
	config->client_id = text_of(reader, "remote.client_id");
	if (config->client_id == NULL) {
		(void)gethostname(host, sizeof(host) - 1);
		(void)snprintf(id, sizeof(id), "%s.%.60s", host, name);
		config->client_id = copy(reader, id, strlen(id));
	}
	read_login(reader);
	read_max_packet_size(reader);
	config->keep_alive_s = seconds_of(reader, "remote.keep_alive");
	config->session_expiry_s = seconds_of(reader, "remote.session_expiry");
	if (config->session_expiry_s == 0) {
		config->session_expiry_s = UINT32_MAX;
	}
	config->receive_max = (uint32_t)number_of(reader, "remote.receive_maximum");
	config->topic_alias_max = (uint32_t)number_of(reader, "remote.topic_alias_maximum");
	config->connect_timeout_ms = ms_of(reader, "remote.connect_timeout");
	config->backoff_min_ms = ms_of(reader, "remote.backoff_min");
	config->backoff_max_ms = ms_of(reader, "remote.backoff_max");
	config->flags |= number_of(reader, "remote.clean_session") != 0 ? AVOCET_LINK_CLEAN : 0;
	config->flags |= number_of(reader, "remote.round_robin") != 0 ? AVOCET_LINK_ROUND_ROBIN : 0;
	config->flags |= number_of(reader, "remote.try_private") != 0 ? AVOCET_LINK_PRIVATE : 0;
}

/* What is in them is part of the configuration. */
static void
note_files(struct reader *reader)
{
	const struct bridge_config *config = reader->config;
	const struct {
		const char *path, *label;
	} files[] = {{config->cafile, "CERTIFICATE"}, {config->certfile, "CERTIFICATE"},
	    {config->keyfile != NULL ? config->keyfile : config->certfile, "PRIVATE KEY"},
	    {config->crlfile, "CRL"}};
	char why[300];

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		if (files[i].path != NULL && !bridge_file_state(files[i].path, files[i].label,
						 reader->text, why, sizeof(why))) {
			fail(reader, "remote.tls: %s", why);
		}
	}
}

static void
read_tls(struct reader *reader)
{
	struct bridge_config *config = reader->config;
	bool is_set;

	config->cafile = text_of(reader, "remote.tls.cafile");
	config->certfile = text_of(reader, "remote.tls.certfile");
	config->keyfile = text_of(reader, "remote.tls.keyfile");
	config->crlfile = text_of(reader, "remote.tls.crlfile");
	config->ciphers = text_of(reader, "remote.tls.ciphers");
	config->ciphersuites = text_of(reader, "remote.tls.ciphersuites");
	config->server_name = text_of(reader, "remote.tls.server_name");
	config->tls_min_version = number_of(reader, "remote.tls.min_version") == 1 ? 3 : 2;
	is_set = config->cafile != NULL || config->certfile != NULL || config->keyfile != NULL ||
		 config->crlfile != NULL || config->ciphers != NULL ||
		 config->ciphersuites != NULL || config->server_name != NULL ||
		 config->tls_min_version != 2;
	if ((config->flags & AVOCET_LINK_TLS) != 0) {
		note_files(reader);
	} else if (is_set) {
		fail(reader, "remote.tls is set, but the address is not mqtts:// or wss://");
	}
	if (config->keyfile != NULL && config->certfile == NULL) {
		fail(reader, "remote.tls.keyfile is of no use without a certfile");
	}
}

static bool
brings_in(const struct bridge_config *config)
{
	for (size_t i = 0; i < config->n_rules; i++) {
		if (config->rules[i].direction != BRIDGE_OUT) {
			return true;
		}
	}
	return false;
}

static void
read_all(struct reader *reader, const char *name)
{
	struct bridge_config *config = reader->config;

	read_remote(reader, name);
	read_tls(reader);
	read_rules(reader);
	config->connections = (uint32_t)number_of(reader, "connections");
	config->local_username = text_of(reader, "local_username");
	config->max_age_s = seconds_of(reader, "max_age");
	config->flags |= number_of(reader, "start") == 1 ? AVOCET_LINK_LAZY : 0;
	config->lazy_count = (uint32_t)number_of(reader, "threshold");
	config->lazy_idle_ms = ms_of(reader, "idle_timeout");
	config->notifies = number_of(reader, "notifications") != 0;
	config->notifies_remote = number_of(reader, "notifications_local_only") == 0;
	config->notification_topic = text_of(reader, "notification_topic");
	if (config->notification_topic != NULL &&
	    !bridge_topic_is_good(config->notification_topic)) {
		fail(reader, "notification_topic is no topic name");
	}
	if ((config->flags & AVOCET_LINK_LAZY) != 0 && brings_in(config)) {
		fail(reader, "start: lazy is for bridges that only send: a topic comes in");
	}
	if (config->connections > 1 && config->version != 5 && brings_in(config)) {
		fail(reader, "connections above 1 with topics that come in need version 5.0");
	}
	if (!reader->failed) {
		bridge_mark_again(config);
	}
}

struct bridge_config *
bridge_config_read(
    const avocet_conf_api *api, const avocet_conf *conf, const char *name, avocet_error *err)
{
	struct bridge_config *config = calloc(1, sizeof(*config));
	struct reader reader = {.api = api, .conf = conf, .config = config, .err = err};
	size_t len = 0;

	if (config == NULL) {
		return NULL;
	}
	atomic_init(&config->users, 1);
	reader.text = open_memstream(&config->text, &len);
	if (reader.text == NULL) {
		bridge_config_unref(config);
		return NULL;
	}
	read_all(&reader, name);
	(void)fclose(reader.text);
	if (reader.failed) {
		bridge_config_unref(config);
		return NULL;
	}
	return config;
}

static bool
equals(const char *one, const char *other)
{
	return one == other || (one != NULL && other != NULL && strcmp(one, other) == 0);
}

bool
bridge_config_equals(const struct bridge_config *one, const struct bridge_config *other)
{
	return strcmp(one->text, other->text) == 0 && equals(one->password, other->password);
}

static void
free_wiped(char *text)
{
	if (text != NULL) {
		explicit_bzero(text, strlen(text));
		free(text);
	}
}

static void
free_rules(struct bridge_config *config)
{
	for (size_t i = 0; i < config->n_rules; i++) {
		free(config->rules[i].local);
		free(config->rules[i].remote);
		free(config->rules[i].local_prefix);
		free(config->rules[i].remote_prefix);
	}
	free(config->rules);
}

void
bridge_config_unref(struct bridge_config *config)
{
	if (config == NULL || atomic_fetch_sub(&config->users, 1) != 1) {
		return;
	}
	for (size_t i = 0; i < config->n_addresses; i++) {
		free(config->addresses[i]);
	}
	free(config->addresses);
	free_rules(config);
	free(config->path);
	free(config->client_id);
	free(config->username);
	free_wiped(config->password);
	free(config->local_username);
	free(config->mechanism);
	free(config->cafile);
	free(config->certfile);
	free(config->keyfile);
	free(config->crlfile);
	free(config->ciphers);
	free(config->ciphersuites);
	free(config->server_name);
	free(config->notification_topic);
	free(config->text);
	free(config);
}
