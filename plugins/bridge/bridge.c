/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bridges to other brokers. An instance is one remote; it has as many remote links as `connections`
 * says, each a session of this broker, which keeps what the remote has not acknowledged. The host
 * dials and speaks MQTT; here is what only a bridge knows: which topics go where, and what the
 * operator is told.
 *
 * Links are opened and closed on the main thread. A reload that changes something closes them; each
 * is opened again when it says that it has closed, with the configuration of then. What they tell
 * comes on their workers and is kept in atomics.
 */
#include <stdlib.h>
#include <string.h>

#include "bridge.h"

static void
say(struct bridge *instance, int32_t level, const char *text)
{
	instance->host->log(instance->self, level, text, strlen(text));
}

/* --- what links tell: on their workers --- */

static void
on_opened(void *inst, avocet_link_h link, void *user, uint32_t present)
{
	struct bridge_line *line = user;

	(void)inst;
	(void)link;
	(void)present;
	atomic_store(&line->is_up, true);
	atomic_fetch_add(&line->connects, 1);
}

/* The broker accepts clients when all links keep what is for them. */
static void
on_ready(void *inst, avocet_link_h link, void *user)
{
	struct bridge *instance = inst;
	struct bridge_line *line = user;

	(void)link;
	if (!atomic_exchange(&line->is_ready, true) &&
	    atomic_fetch_sub(&instance->pending, 1) == 1) {
		(void)instance->host->ready(instance->self, AVOCET_OK, NULL);
	}
}

/* Of the remote's words no byte may mean something to a terminal. */
static void
set_text(struct bridge_line *line, avocet_str text)
{
	size_t len = text.n < sizeof(line->text) ? text.n : sizeof(line->text) - 1;

	(void)pthread_mutex_lock(&line->lock);
	for (size_t i = 0; i < len; i++) {
		line->text[i] = text.p[i] >= ' ' && text.p[i] <= '~' ? text.p[i] : '?';
	}
	line->text[len] = '\0';
	(void)pthread_mutex_unlock(&line->lock);
}

static void
on_lost(void *inst, avocet_link_h link, void *user, uint32_t reason, avocet_str text)
{
	struct bridge_line *line = user;

	(void)inst;
	(void)link;
	(void)reason;
	if (atomic_exchange(&line->is_up, false)) {
		atomic_fetch_add(&line->losses, 1);
	}
	bridge_login_free(line->login);
	line->login = NULL;
	set_text(line, text);
}

static int32_t
on_map_out(void *inst, avocet_link_h link, void *user, avocet_link_map *map)
{
	struct bridge_line *line = user;
	int32_t verdict = bridge_map_out(line->config, map);

	(void)inst;
	(void)link;
	atomic_fetch_add_explicit(
	    verdict == AVOCET_PASS ? &line->sent : &line->dropped, 1, memory_order_relaxed);
	return verdict;
}

static int32_t
on_map_in(void *inst, avocet_link_h link, void *user, avocet_link_map *map)
{
	struct bridge_line *line = user;
	int32_t verdict = bridge_map_in(line->config, map);

	(void)inst;
	(void)link;
	atomic_fetch_add_explicit(
	    verdict == AVOCET_PASS ? &line->received : &line->dropped, 1, memory_order_relaxed);
	return verdict;
}

static void
on_auth(void *inst, avocet_link_h link, void *user, uint32_t step, avocet_bytes data)
{
	struct bridge *instance = inst;
	struct bridge_line *line = user;
	const struct bridge_config *config = line->config;
	avocet_bytes answer = {NULL, 0};
	char why[BRIDGE_MAX_TEXT] = "";
	int status = -1;

	if (step == AVOCET_LINK_AUTH_BEGIN) {
		bridge_login_free(line->login);
		line->login = bridge_login_new(
		    config->mechanism, config->username, config->password, why, sizeof(why));
	}
	if (line->login != NULL) {
		status = bridge_login_step(line->login, step, data, &answer);
	} else {
		say(instance, AVOCET_LOG_ERROR, why);
	}
	(void)instance->links->auth_reply(
	    instance->self, link, status == 0 ? AVOCET_OK : AVOCET_E_INVAL, answer);
}

static void reopen(void *inst, void *arg);

static void
on_closed(void *inst, avocet_link_h link, void *user, uint32_t reason)
{
	struct bridge *instance = inst;
	struct bridge_line *line = user;

	(void)link;
	(void)reason;
	atomic_store(&line->is_up, false);
	bridge_login_free(line->login);
	line->login = NULL;
	(void)instance->runtime->post(instance->self, reopen, line);
}

static const avocet_link_events events = {
    AVOCET_SIZED(avocet_link_events),
    .opened = on_opened,
    .ready = on_ready,
    .lost = on_lost,
    .map_out = on_map_out,
    .map_in = on_map_in,
    .auth = on_auth,
    .closed = on_closed,
};

/* --- opening: main --- */

static avocet_link_sub *
make_subs(const struct bridge_config *config, enum bridge_direction except, size_t *count_out)
{
	avocet_link_sub *subs = calloc(config->n_rules + 1, sizeof(*subs));

	*count_out = 0;
	for (size_t i = 0; subs != NULL && i < config->n_rules; i++) {
		const struct bridge_rule *rule = &config->rules[i];

		if (rule->direction == except ||
		    (except == BRIDGE_IN ? rule->is_again_here : rule->is_again_there)) {
			continue;
		}
		subs[(*count_out)++] = (avocet_link_sub){
		    .filter = avocet_str_of(except == BRIDGE_IN ? rule->local : rule->remote),
		    .qos = rule->qos,
		    .options = AVOCET_SUB_NO_LOCAL | AVOCET_SUB_RETAIN_AS_PUBLISHED |
			       AVOCET_SUB_RETAIN_IF_NEW};
	}
	return subs;
}

/* What is made for the call of open. */
struct opening {
	avocet_link_sub *here, *there;
	avocet_str *addresses, *unsubs;
	char name[16], client_id[256], state_topic[256];
	avocet_publish will, birth;
	avocet_link_remote remote;
	avocet_link_opts opts;
};

static void
set_notifications(const struct bridge *instance, const struct bridge_config *config,
    const struct bridge_line *line, struct opening *opening)
{
	const char *topic = config->notification_topic;

	if (!config->notifies || line->at != 0) {
		return;
	}
	(void)snprintf(opening->state_topic, sizeof(opening->state_topic),
	    "$SYS/broker/connection/%.100s/state", instance->name);
	opening->remote.state_topic = avocet_str_of(opening->state_topic);
	if (!config->notifies_remote) {
		return;
	}
	topic = topic != NULL ? topic : opening->state_topic;
	opening->will = (avocet_publish){AVOCET_SIZED(avocet_publish), .flags = AVOCET_MSG_RETAIN,
	    .topic = avocet_str_of(topic), .payload = {(const uint8_t *)"0", 1}, .qos = 1};
	opening->birth = opening->will;
	opening->birth.payload.p = (const uint8_t *)"1";
	opening->remote.will = &opening->will;
	opening->remote.birth = &opening->birth;
}

static void
set_remote(struct bridge *instance, const struct bridge_config *config,
    const struct bridge_line *line, struct opening *opening)
{
	avocet_link_remote *remote = &opening->remote;

	*remote = (avocet_link_remote){AVOCET_SIZED(avocet_link_remote), .flags = config->flags,
	    .addresses = opening->addresses, .n_addresses = config->n_addresses,
	    .path = avocet_str_of(config->path), .cafile = avocet_str_of(config->cafile),
	    .certfile = avocet_str_of(config->certfile), .keyfile = avocet_str_of(config->keyfile),
	    .crlfile = avocet_str_of(config->crlfile), .ciphers = avocet_str_of(config->ciphers),
	    .ciphersuites = avocet_str_of(config->ciphersuites),
	    .server_name = avocet_str_of(config->server_name), .version = config->version,
	    .keep_alive_s = config->keep_alive_s, .session_expiry_s = config->session_expiry_s,
	    .receive_max = config->receive_max, .max_packet_size = config->max_packet_size,
	    .topic_alias_max = config->topic_alias_max,
	    .connect_timeout_ms = config->connect_timeout_ms,
	    .backoff_min_ms = config->backoff_min_ms, .backoff_max_ms = config->backoff_max_ms,
	    .lazy_count = config->lazy_count, .lazy_idle_ms = config->lazy_idle_ms,
	    .tls_min_version = config->tls_min_version};
	if (line->at == 0) {
		(void)snprintf(
		    opening->client_id, sizeof(opening->client_id), "%.240s", config->client_id);
		remote->subs = opening->there;
		remote->sub_size = sizeof(*opening->there);
		remote->unsubs = opening->unsubs;
		remote->n_unsubs = instance->n_old_filters;
	} else {
		(void)snprintf(opening->client_id, sizeof(opening->client_id), "%.240s-%u",
		    config->client_id, line->at);
	}
	remote->client_id = avocet_str_of(opening->client_id);
	if (config->mechanism != NULL) {
		remote->method = avocet_str_of(config->mechanism);
	} else if (config->username != NULL) {
		remote->username = avocet_str_of(config->username);
	}
	if (config->mechanism == NULL && config->password != NULL) {
		remote->password =
		    (avocet_bytes){(const uint8_t *)config->password, strlen(config->password)};
	}
	set_notifications(instance, config, line, opening);
}

static bool
begin_opening(struct bridge *instance, const struct bridge_config *config,
    const struct bridge_line *line, struct opening *opening)
{
	size_t here, there;

	opening->here = make_subs(config, BRIDGE_IN, &here);
	opening->there = make_subs(config, BRIDGE_OUT, &there);
	opening->addresses = calloc(config->n_addresses + 1, sizeof(*opening->addresses));
	opening->unsubs = calloc(instance->n_old_filters + 1, sizeof(*opening->unsubs));
	if (opening->here == NULL || opening->there == NULL || opening->addresses == NULL ||
	    opening->unsubs == NULL) {
		return false;
	}
	for (size_t i = 0; i < config->n_addresses; i++) {
		opening->addresses[i] = avocet_str_of(config->addresses[i]);
	}
	for (size_t i = 0; i < instance->n_old_filters; i++) {
		opening->unsubs[i] = avocet_str_of(instance->old_filters[i]);
	}
	set_remote(instance, config, line, opening);
	opening->remote.n_subs = line->at == 0 ? there : 0;
	if (line->drains) {
		opening->remote.flags |= AVOCET_LINK_DRAIN;
		here = 0;
	}
	(void)snprintf(opening->name, sizeof(opening->name), "%u", line->at);
	opening->opts =
	    (avocet_link_opts){AVOCET_SIZED(avocet_link_opts), .name = avocet_str_of(opening->name),
		.username = avocet_str_of(config->local_username), .subs = opening->here,
		.n_subs = here, .sub_size = sizeof(*opening->here), .remote = &opening->remote,
		.session_expiry_s = UINT32_MAX, .part = config->connections > 1 ? line->at : 0,
		.parts = config->connections > 1 ? config->connections : 0,
		.worker = AVOCET_ANY_WORKER};
	return true;
}

static void
end_opening(struct opening *opening)
{
	free(opening->here);
	free(opening->there);
	free(opening->addresses);
	free(opening->unsubs);
}

/* AVOCET_OK, or what open() said, with a sentence: it is tried again at the next reload. */
static int32_t
open_line(struct bridge_line *line, avocet_error *err)
{
	struct bridge *instance = line->instance;
	struct bridge_config *config = instance->config;
	struct opening opening = {0};
	int32_t status = AVOCET_E_NOMEM;

	atomic_fetch_add(&config->users, 1);
	bridge_config_unref(line->config);
	line->config = config;
	if (begin_opening(instance, config, line, &opening)) {
		status = instance->links->open(
		    instance->self, &opening.opts, &events, line, &line->link, err);
	}
	end_opening(&opening);
	line->is_open = status == AVOCET_OK;
	if (!line->is_open) {
		set_text(line, avocet_str_of(err->text));
	}
	return status;
}

/* Main: a link has closed. */
static void
reopen(void *inst, void *arg)
{
	struct bridge *instance = inst;
	struct bridge_line *line = arg;
	avocet_error error = {0};
	int32_t status;

	line->is_open = false;
	if (instance->is_stopping || !line->wants_open) {
		return;
	}
	if (line->drains) {
		line->wants_open = false; /* but this once */
	}
	status = open_line(line, &error);
	if (status != AVOCET_OK && status != AVOCET_E_STATE) { /* that is the end of all links */
		say(instance, AVOCET_LOG_ERROR, error.text);
	}
}

static bool
open_all(struct bridge *instance, avocet_error *err)
{
	bool good = true;

	for (uint32_t i = 0; i < BRIDGE_MAX_CONNECTIONS; i++) {
		struct bridge_line *line = &instance->lines[i];

		line->wants_open = i < instance->config->connections;
		line->drains = line->drains && !line->wants_open;
		if (line->is_open) {
			/* `closed` comes, and then it is opened again. Who is not wanted any more
			 * sends what he has, and ends. */
			line->drains = !line->wants_open;
			line->wants_open = true;
			(void)instance->links->close(instance->self, line->link, 0);
		} else if (line->wants_open && good) {
			good = open_line(line, err) == AVOCET_OK;
		}
	}
	return good;
}

/* Nothing has changed; but what could not be opened may be possible now. */
static bool
open_missing(struct bridge *instance, avocet_error *err)
{
	bool good = true;

	for (uint32_t i = 0; i < instance->config->connections && good; i++) {
		if (!instance->lines[i].is_open) {
			good = open_line(&instance->lines[i], err) == AVOCET_OK;
		}
	}
	return good;
}

/* --- life --- */

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err)
{
	struct bridge *instance = calloc(1, sizeof(*instance));

	if (instance == NULL) {
		(void)snprintf(err->text, sizeof(err->text), "no memory");
		return AVOCET_E_NOMEM;
	}
	instance->host = host;
	instance->self = self;
	instance->conf = host->query(self, AVOCET_HOST_CONF);
	instance->links = host->query(self, AVOCET_HOST_LINK); /* NULL in a tool */
	instance->runtime = host->query(self, AVOCET_HOST_RUNTIME);
	instance->admin = host->query(self, AVOCET_HOST_ADMIN);
	for (uint32_t i = 0; i < BRIDGE_MAX_CONNECTIONS; i++) {
		instance->lines[i].instance = instance;
		instance->lines[i].at = i;
		(void)pthread_mutex_init(&instance->lines[i].lock, NULL);
	}
	(void)snprintf(instance->name, sizeof(instance->name), "%.100s",
	    AVOCET_HAS(host, name) ? host->name(self) : "bridge");
	*inst_out = instance;
	return AVOCET_OK;
}

static void
forget_old_filters(struct bridge *instance)
{
	for (size_t i = 0; i < instance->n_old_filters; i++) {
		free(instance->old_filters[i]);
	}
	free(instance->old_filters);
	instance->old_filters = NULL;
	instance->n_old_filters = 0;
}

static void
destroy(void *inst)
{
	struct bridge *instance = inst;

	for (uint32_t i = 0; i < BRIDGE_MAX_CONNECTIONS; i++) {
		bridge_config_unref(instance->lines[i].config);
		bridge_login_free(instance->lines[i].login);
		(void)pthread_mutex_destroy(&instance->lines[i].lock);
	}
	forget_old_filters(instance);
	bridge_config_unref(instance->config);
	free(instance);
}

static int32_t
prepare(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err)
{
	struct bridge *instance = inst;
	struct bridge_config *config =
	    bridge_config_read(instance->conf, conf, instance->name, err);
	const char *why = config != NULL && config->mechanism != NULL ? bridge_login_init() : NULL;

	if (why != NULL) {
		(void)snprintf(err->text, sizeof(err->text), "SASL: %s", why);
		bridge_config_unref(config);
		config = NULL;
	}
	*next_out = config;
	return config != NULL ? AVOCET_OK : AVOCET_E_CONFIG;
}

static bool
is_wanted(const struct bridge_config *config, const char *filter)
{
	for (size_t i = 0; i < config->n_rules; i++) {
		if (config->rules[i].direction != BRIDGE_OUT &&
		    strcmp(config->rules[i].remote, filter) == 0) {
			return true;
		}
	}
	return false;
}

/* What the remote has to be told that it is not wanted any more: also what was so before, since
 * perhaps it was away. */
static void
note_old_filters(struct bridge *instance, const struct bridge_config *old)
{
	size_t kept = 0;
	char **filters = realloc(
	    instance->old_filters, (instance->n_old_filters + old->n_rules + 1) * sizeof(*filters));

	if (filters == NULL) {
		return;
	}
	for (size_t i = 0; i < instance->n_old_filters; i++) {
		if (is_wanted(instance->config, filters[i])) {
			free(filters[i]);
		} else {
			filters[kept++] = filters[i];
		}
	}
	for (size_t i = 0; i < old->n_rules; i++) {
		const struct bridge_rule *rule = &old->rules[i];

		if (rule->direction != BRIDGE_OUT && !rule->is_again_there &&
		    !is_wanted(instance->config, rule->remote)) {
			filters[kept] = strdup(rule->remote);
			kept += filters[kept] != NULL;
		}
	}
	instance->old_filters = filters;
	instance->n_old_filters = kept;
}

static void
commit(void *inst, void *next, void **old_out)
{
	struct bridge *instance = inst;
	struct bridge_config *old = instance->config;
	avocet_error error = {0};
	bool is_same;

	instance->config = next;
	*old_out = old;
	if (old == NULL || !instance->has_started) {
		return;
	}
	is_same = bridge_config_equals(old, instance->config);
	if (!is_same) {
		note_old_filters(instance, old);
	}
	if (!(is_same ? open_missing(instance, &error) : open_all(instance, &error))) {
		say(instance, AVOCET_LOG_ERROR, error.text);
	}
}

static void
drop(void *inst, void *config)
{
	(void)inst;
	bridge_config_unref(config);
}

/* --- start and end --- */

static int32_t
start(void *inst, avocet_error *err)
{
	struct bridge *instance = inst;

	if (instance->links == NULL) {
		(void)snprintf(err->text, sizeof(err->text), "this host has no links");
		return AVOCET_E_UNSUPPORTED;
	}
	(void)instance->admin->command(instance->self, "status", "",
	    "whether the remote is there, and what has gone over the bridge", bridge_on_status,
	    NULL);
	instance->has_started = true;
	atomic_store(&instance->pending, (int32_t)instance->config->connections);
	return open_all(instance, err) ? AVOCET_PENDING : AVOCET_E_CONFIG;
}

static void
drain(void *inst)
{
	struct bridge *instance = inst;

	instance->is_stopping = true;
}

static const avocet_lifecycle lifecycle = {
    AVOCET_SIZED(avocet_lifecycle),
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .commit = commit,
    .abort = drop,
    .retire = drop,
    .start = start,
    .drain = drain,
};

/* --- descriptor --- */

static const char *const needs[] = {
    AVOCET_HOST_CONF, AVOCET_HOST_LINK, AVOCET_HOST_RUNTIME, AVOCET_HOST_ADMIN, NULL};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {
    .magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .abi_minor_needed = 3,
    .name = "bridge",
    .version = PACKAGE_VERSION,
    .summary = "bridges to other brokers that lose nothing",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .needs = needs,
    .conf = bridge_items,
    .n_conf = BRIDGE_ITEMS,
    .conf_item_size = sizeof(avocet_conf_item),
};
