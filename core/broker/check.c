/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of the configuration that need more than a table: values of one key that another key
 * rules, and the parts that fit together only as a whole (names that must differ, limits of a
 * listener over those of all). What holds for one struct is checked with it, so that one wrong
 * listener does not hide another; what needs the whole comes last.
 *
 * The last check also makes struct conn_listener, in the same arena. Main's thread, before the
 * configuration is shared.
 */
#include "broker/check_int.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "broker/entry.h"
#include "broker/links.h"
#include "broker/plugins.h"
#include "transport/addr.h"
#include "transport/tls_ctx.h"
#include "wire/topic_name.h"

enum { MAX_WHY = 512 };

#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

/* --- one struct at a time --- */

/* null is as good as nothing. */
static void
set_if_null(const char **text, const char *fallback)
{
	if (*text == NULL) {
		*text = fallback;
	}
}

static void
check_proxies(struct conf_check *check, struct broker_general *general)
{
	const struct conf_strings *names = &general->trusted_proxies;
	struct broker_network *trusted =
	    arena_alloc(check->bind->arena, (names->count + 1) * sizeof(*trusted));

	for (size_t i = 0; i < names->count; i++) {
		const char *why = broker_network_parse(names->items[i], &trusted[i]);

		if (why != NULL) {
			conf_check_fail(
			    check, "trusted_proxies", "\"%s\" %s", names->items[i], why);
		}
	}
	general->trusted = trusted;
}

void
broker_check_general(struct conf_check *check, void *target)
{
	struct broker_general *general = target;

	set_if_null(&general->data_dir, "");
	set_if_null(&general->plugin_dir, "");
	set_if_null(&general->user, "");
	set_if_null(&general->control, "");
	check_proxies(check, general);
}

void
broker_check_log(struct conf_check *check, void *target)
{
	const struct broker_log *log = target;

	if (log->to == NULL || log->to[0] == '\0') {
		conf_check_fail(check, "to", "must be stderr, syslog or a path");
	}
}

void
broker_check_plugin(struct conf_check *check, void *target)
{
	const struct broker_plugin *plugin = target;
	size_t len = plugin->name != NULL ? strlen(plugin->name) : 0;

	if (len == 0 || plugin->name[strspn(plugin->name, NAME_LETTERS)] != '\0') {
		conf_check_fail(
		    check, "name", "must consist of letters, digits, dashes and underscores");
	}
	if (plugin->module == NULL || plugin->module[0] == '\0') {
		conf_check_fail(check, "module", "must not be empty");
	}
}

void
broker_check_link(struct conf_check *check, void *target)
{
	struct broker_link *link = target;

	(void)check;
	set_if_null(&link->chains, "default");
}

void
broker_check_filter(struct conf_check *check, void *target)
{
	const struct route_durability_filter *filter = target;
	struct bytes text = bytes_of(filter->filter);
	enum wire_topic_fault fault = wire_topic_filter_check(text, false, false);

	if (fault != WIRE_TOPIC_OK) {
		conf_check_fail(check, "filter", "%s", wire_topic_fault_text(fault));
	} else if (bytes_starts_with(text, BYTES_LITERAL("$share/"))) {
		conf_check_fail(check, "filter", "topics are matched, not shared subscriptions");
	}
}

/* The first key that says nothing without a certificate, or NULL. */
static const char *
find_lone_key(const struct broker_tls *tls)
{
	const struct {
		const char *key;
		bool used;
	} keys[] = {
	    {"keyfile", tls->keyfile != NULL},
	    {"cafile", tls->cafile != NULL},
	    {"crlfile", tls->crlfile != NULL},
	    {"require_certificate", tls->require_certificate},
	    {"username_from", tls->username_from != TLS_USERNAME_NONE},
	    {"min_version", tls->min_version != TLS_VERSION_1_2},
	    {"ciphers", tls->ciphers != NULL},
	    {"ciphersuites", tls->ciphersuites != NULL},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (keys[i].used) {
			return keys[i].key;
		}
	}
	return NULL;
}

/* Paths begin in the folder of the file that names them. */
static void
find_file(struct conf_check *check, const char *key, const char **path)
{
	const struct conf_pair *pair =
	    check->node != NULL ? conf_node_find(check->node, key) : NULL;

	if (pair != NULL && *path != NULL) {
		*path = conf_path_beside(check->bind->arena, pair->value->place.file, *path);
	}
}

/* The files are read here, so that what is wrong with them has its place; and once more when they
 * are needed. */
void
broker_check_tls(struct conf_check *check, void *target)
{
	struct broker_tls *tls = target;
	const char *wrong;
	char why[MAX_WHY] = "";
	struct tls_ctx *ctx;

	if (!broker_tls_is_used(tls)) {
		wrong = find_lone_key(tls);
		if (wrong != NULL) {
			conf_check_fail(check, wrong, "needs a certfile (or psk)");
		}
		return;
	}
	find_file(check, "certfile", &tls->certfile);
	find_file(check, "keyfile", &tls->keyfile);
	find_file(check, "cafile", &tls->cafile);
	find_file(check, "crlfile", &tls->crlfile);
	ctx = broker_entry_tls(NULL, tls, &wrong, why, sizeof(why));
	if (ctx == NULL) {
		conf_check_fail(check, wrong, "%s", why);
	}
	tls_ctx_unref(&ctx);
}

static void
check_mount_point(struct conf_check *check, const char *mount_point)
{
	struct bytes text = bytes_of(mount_point);
	enum wire_topic_fault fault =
	    text.len != 0 ? wire_topic_name_check(text, false) : WIRE_TOPIC_OK;

	if (fault != WIRE_TOPIC_OK) {
		conf_check_fail(check, "mount_point", "%s", wire_topic_fault_text(fault));
	} else if (strchr(mount_point, '$') != NULL) {
		conf_check_fail(check, "mount_point", "must not contain $");
	}
}

static void
check_bind(struct conf_check *check, const struct broker_listener *listener)
{
	const char *why = "";

	if (addr_check(listener->bind, &why) != 0) {
		conf_check_fail(check, "bind", "%s", why);
	}
}

/* Keys of a protocol or a feature that this listener does not have. */
static void
check_protocol(struct conf_check *check, const struct broker_listener *listener)
{
	if (listener->protocol == BROKER_WEBSOCKET) {
		if (listener->path != NULL && listener->path[0] != '/') {
			conf_check_fail(check, "path", "must begin with a slash");
		}
	} else if (listener->path == NULL || strcmp(listener->path, "/mqtt") != 0) {
		conf_check_fail(check, "path", "is for the protocol websocket only");
	} else if (listener->origins.count != 0) {
		conf_check_fail(check, "origins", "is for the protocol websocket only");
	}
	if (listener->protocol_versions == 0) {
		conf_check_fail(check, "protocol_versions", "must name at least one version");
	}
}

void
broker_check_listener(struct conf_check *check, void *target)
{
	struct broker_listener *listener = target;

	set_if_null(&listener->bind, "");
	set_if_null(&listener->name, listener->bind);
	set_if_null(&listener->mount_point, "");
	set_if_null(&listener->chains, "default");
	check_bind(check, listener);
	check_protocol(check, listener);
	check_mount_point(check, listener->mount_point);
	if (listener->name[0] == '\0') {
		conf_check_fail(check, "name", "must not be empty");
	}
}

/* --- the whole --- */

/* The check of one listener within that of the whole. */
struct within {
	struct conf_check check;
	struct broker_options *options;
	struct broker_listener *listener;
	size_t index;
};

static void
go_to(struct conf_bind *bind, size_t index, const char *key)
{
	struct conf_path *path = &bind->path;
	int n = snprintf(path->text, sizeof(path->text), "listeners[%zu]%s", index, key);

	path->len = n > 0 ? (size_t)n : 0;
}

static bool
is_same(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static void
check_twins(struct within *within)
{
	const struct broker_listener *listener = within->listener;

	for (size_t i = 0; i < within->index; i++) {
		const struct broker_listener *other = broker_options_listener(within->options, i);

		if (is_same(other->bind, listener->bind)) {
			conf_check_fail(&within->check, "bind",
			    "listeners[%zu] is bound to %s already", i, other->bind);
		} else if (is_same(other->name, listener->name)) {
			conf_check_fail(
			    &within->check, "name", "listeners[%zu] has this name already", i);
		}
	}
}

static void
check_chains(struct within *within)
{
	const struct broker_chain *chains = within->options->chains.items;
	bool known = is_same(within->listener->chains, "default");

	for (size_t i = 0; i < within->options->chains.count; i++) {
		known = known || is_same(chains[i].name, within->listener->chains);
	}
	if (!known) {
		conf_check_fail(&within->check, "chains", "there is no set of chains of this name");
	}
}

static void
check_proxy(struct within *within)
{
	if (within->listener->proxy_protocol &&
	    within->options->broker.trusted_proxies.count == 0) {
		conf_check_fail(&within->check, "proxy_protocol",
		    "nobody could come in: broker.trusted_proxies is empty");
	}
}

/* The listener's limits over those of all; some count for the broker as a whole only. */
static const struct conn_limits *
make_limits(struct within *within)
{
	static const char *const global[] = {
	    "max_sessions", "max_retained_messages", "max_retained_bytes"};
	const struct conf_node *node = within->listener->limits;
	struct conf_bind *bind = within->check.bind;
	struct conf_check check = {bind, node, within->check.place};
	struct conn_limits *limits;

	if (node == NULL || (node->kind == CONF_MAPPING && node->count == 0)) {
		return &within->options->limits;
	}
	limits = arena_alloc(bind->arena, sizeof(*limits));
	*limits = within->options->limits;
	check.place = node->place;
	go_to(bind, within->index, ".limits");
	conf_bind_over(bind, &conn_limits_schema, node, node->place, limits);
	for (size_t i = 0; i < sizeof(global) / sizeof(*global); i++) {
		if (node->kind == CONF_MAPPING && conf_node_find(node, global[i]) != NULL) {
			conf_check_fail(&check, global[i],
			    "counts for the broker as a whole: set it in the limits of all");
		}
	}
	go_to(bind, within->index, "");
	return limits;
}

/* The listener's filters go before those of all. */
static void
join_filters(struct within *within, const struct conf_list *own)
{
	const struct conf_list *all = &within->options->durability.filters;
	struct route_durability *durability = &within->listener->conn.durability;
	struct route_durability_filter *filters =
	    arena_alloc(within->check.bind->arena, (own->count + all->count) * sizeof(*filters));

	for (size_t i = 0; i < own->count; i++) {
		filters[i] = ((const struct route_durability_filter *)own->items)[i];
	}
	for (size_t i = 0; i < all->count; i++) {
		filters[own->count + i] = ((const struct route_durability_filter *)all->items)[i];
	}
	durability->filters = filters;
	durability->filter_count = own->count + all->count;
}

static void
make_durability(struct within *within)
{
	const struct conf_node *node = within->listener->durability;
	struct conf_bind *bind = within->check.bind;
	struct broker_durability own = within->options->durability;

	own.filters = (struct conf_list){NULL, 0};
	if (node != NULL) {
		go_to(bind, within->index, ".durability");
		conf_bind_over(bind, &broker_durability_schema, node, node->place, &own);
		if (own.interval_ms != within->options->durability.interval_ms) {
			struct conf_check check = {bind, node, node->place};

			conf_check_fail(&check, "interval",
			    "counts for the broker as a whole: set it in the durability of all");
		}
		go_to(bind, within->index, "");
	}
	within->listener->conn.durability.mode = own.mode;
	join_filters(within, &own.filters);
}

static void
make_listener(struct within *within)
{
	struct broker_listener *listener = within->listener;
	struct conn_listener *conn = &listener->conn;

	conn->name = listener->name;
	conn->mount_point = listener->mount_point;
	conn->protocol_versions = listener->protocol_versions;
	conn->max_connections = listener->max_connections;
	conn->allow_anonymous = listener->allow_anonymous == 1;
	conn->is_websocket = listener->protocol == BROKER_WEBSOCKET;
	conn->needs_certificate_name = listener->tls.username_from != TLS_USERNAME_NONE;
	conn->username_as_client_id = listener->username_as_client_id;
	conn->limits = make_limits(within);
	make_durability(within);
}

void
broker_check_options(struct conf_check *check, void *target)
{
	struct broker_options *options = target;
	const struct conf_pair *pair =
	    check->node != NULL ? conf_node_find(check->node, "listeners") : NULL;
	struct conf_path before = check->bind->path;

	if (options->listeners.count == 0) {
		conf_check_fail(check, "listeners", "there must be at least one");
	}
	if (options->store != NULL && options->store[0] == '\0') {
		options->store = NULL;
	}
	for (size_t i = 0; i < options->listeners.count; i++) {
		const struct conf_node *node = pair != NULL && pair->value->kind == CONF_SEQUENCE
						   ? pair->value->items[i]
						   : NULL;
		struct within within = {
		    .check = {check->bind, node, node != NULL ? node->place : check->place},
		    .options = options,
		    .listener = broker_options_listener(options, i),
		    .index = i,
		};

		go_to(check->bind, i, "");
		check_twins(&within);
		check_chains(&within);
		check_proxy(&within);
		make_listener(&within);
	}
	check->bind->path = before;
	broker_links_make(check, options);
}

/* --- binding --- */

/* "HOST:PORT" or "PORT" with another port, or NULL where there is none. */
static const char *
with_port(struct broker_listener *listener, int port)
{
	const char *colon = strrchr(listener->bind, ':');
	int host = colon != NULL ? (int)(colon - listener->bind) + 1 : 0;
	int n;

	/* The default listener is one for all bindings of a configuration. */
	if (listener->bind == listener->port_bind) {
		return listener->bind;
	}
	if (strncmp(listener->bind, "unix:", strlen("unix:")) == 0) {
		return NULL;
	}
	n = snprintf(
	    listener->port_bind, sizeof(listener->port_bind), "%.*s%d", host, listener->bind, port);
	return n > 0 && (size_t)n < sizeof(listener->port_bind) ? listener->port_bind : NULL;
}

static void
override_port(struct conf *conf, struct broker_options *options, int port)
{
	struct broker_listener *first = broker_options_listener(options, 0);
	bool own_name = is_same(first->name, first->bind);
	const char *bind = with_port(first, port);

	if (bind == NULL) {
		conf_fail(conf, NULL, "listeners[0].bind", "has no port that -p could replace");
		return;
	}
	first->bind = bind;
	if (own_name) {
		first->name = bind;
		first->conn.name = bind;
	}
}

struct broker_options *
broker_options_bind(struct conf *conf, struct broker_override override)
{
	/* Nobody else has seen it yet. */
	struct broker_options *options =
	    (struct broker_options *)(uintptr_t)conf_bind(conf, &broker_options_schema);

	if (options == NULL) {
		return NULL;
	}
	if (override.port != 0) {
		override_port(conf, options, override.port);
	}
	broker_plugins_bind(conf, options);
	if (override.verbose) {
		options->log.level = LOG_LEVEL_DEBUG;
	}
	return conf_has_errors(conf) ? NULL : options;
}

const struct broker_options *
broker_options_of(const struct conf *conf)
{
	return conf_bound(conf);
}

const struct conn_listener *
broker_options_find(struct conf *conf, struct bytes name)
{
	const struct broker_options *options = broker_options_of(conf);

	for (size_t i = 0; options != NULL && i < options->listeners.count; i++) {
		struct broker_listener *listener = broker_options_listener(options, i);

		if (bytes_equal_text(name, listener->name)) {
			return &listener->conn;
		}
	}
	return NULL;
}

/* --- what follows from it --- */

bool
broker_listener_is_shut(const struct broker_listener *listener)
{
	const struct plugin_set *set = listener->conn.plugins; /* the tests' has no chain */
	bool is_asked =
	    listener->chain[0]->count != 0 || (set != NULL && set->authenticate != NULL);

	return !listener->conn.allow_anonymous && !listener->conn.needs_certificate_name &&
	       !is_asked;
}

int64_t
broker_options_max_memory(const struct broker_options *options, int64_t memory)
{
	return options->broker.max_memory == BROKER_AUTO ? memory / 2 : options->broker.max_memory;
}

int64_t
broker_options_max_transit(const struct broker_options *options, int64_t memory)
{
	enum { SHARE = 8 };

	return options->broker.max_transit == BROKER_AUTO
		   ? broker_options_max_memory(options, memory) / SHARE
		   : options->broker.max_transit;
}
