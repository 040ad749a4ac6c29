/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugins in the configuration, and in the broker's life.
 *
 * At binding: modules are opened and judged, each instance's `config` is checked by its module's
 * schema, chains are resolved to instances; all that is wrong has its place in the file. Then, on
 * main: instances are wanted and prepared, and each listener gets its set of chains, which lives as
 * long as the snapshot: whoever has the configuration may keep the pointer.
 *
 * Wills are asked about by listener's name, from any worker: the present sets stand in a table
 * under a lock, and each is given out with a reference.
 */
#include "broker/plugins.h"

#include <avocet/avocet_auth.h>
#include <avocet/avocet_link.h>
#include <avocet/avocet_message.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "broker/broker_int.h"
#include "broker/links.h"
#include "plugin/chain.h"
#include "plugin/engine.h"
#include "plugin/host.h"
#include "plugin/load.h"

enum { MAX_WHY = 512, CHAINS = 3 };

/* --- binding --- */

/* Modules and checked configurations of a snapshot; goes with it. */
struct bound {
	const struct broker_options *options;
};

static void
free_bound(void *arg)
{
	struct bound *bound = arg;
	struct broker_plugin *plugins = bound->options->plugins.items;

	for (size_t i = 0; i < bound->options->plugins.count; i++) {
		plugin_config_unref(&plugins[i].bound);
		plugin_module_free(&plugins[i].opened);
	}
	mem_free(&bound);
}

static const struct conf_node *
child(const struct conf_node *node, const char *key)
{
	const struct conf_pair *pair =
	    node != NULL && node->kind == CONF_MAPPING ? conf_node_find(node, key) : NULL;

	return pair != NULL ? pair->value : NULL;
}

static const struct conf_node *
item(const struct conf_node *node, size_t i)
{
	if (node == NULL || node->kind != CONF_SEQUENCE) {
		return i == 0 ? node : NULL;
	}
	return i < node->count ? node->items[i] : NULL;
}

static void
bind_plugin(struct conf *conf, const struct broker_options *options, size_t i)
{
	struct broker_plugin *plugins = options->plugins.items, *plugin = &plugins[i];
	const struct conf_node *node = item(child(conf_root(conf), "plugins"), i);
	char path[64], why[MAX_WHY] = "";

	for (size_t k = 0; k < i; k++) {
		if (strcmp(plugins[k].name, plugin->name) == 0) {
			(void)snprintf(path, sizeof(path), "plugins[%zu].name", i);
			conf_fail(conf, child(node, "name"), path,
			    "plugins[%zu] has this name already", k);
		}
	}
	plugin->opened = plugin_module_open(
	    options->broker.plugin_dir[0] != '\0' ? options->broker.plugin_dir : AVOCET_PLUGIN_DIR,
	    plugin->module, why, sizeof(why));
	if (plugin->opened == NULL) {
		(void)snprintf(path, sizeof(path), "plugins[%zu].module", i);
		conf_fail(conf, child(node, "module"), path, "%s", why);
		return;
	}
	(void)snprintf(path, sizeof(path), "plugins[%zu].config", i);
	plugin->bound = plugin_config_bind(
	    conf, plugin->opened, plugin->config, &node->place, path, options->broker.data_dir);
}

static struct broker_plugin *
find_plugin(const struct broker_options *options, const char *name)
{
	struct broker_plugin *plugins = options->plugins.items;

	for (size_t i = 0; i < options->plugins.count; i++) {
		if (strcmp(plugins[i].name, name) == 0) {
			return &plugins[i];
		}
	}
	return NULL;
}

struct chain_kind {
	const char *key, *service, *noun;
};

static const struct chain_kind kinds[CHAINS] = {
    {"authenticate", AVOCET_SERVICE_AUTHENTICATOR, "does not authenticate"},
    {"authorize", AVOCET_SERVICE_AUTHORIZER, "does not authorize"},
    {"intercept", AVOCET_SERVICE_INTERCEPTOR, "does not intercept"},
};

/* Members of one chain: do they name instances that can do it? */
static void
check_chain(struct conf *conf, const struct broker_options *options, const struct conf_list *chain,
    const struct conf_node *node, const char *path, const struct chain_kind *kind)
{
	const struct broker_member *members = chain->items;

	for (size_t i = 0; i < chain->count; i++) {
		const struct conf_node *at = item(node, i);
		const struct broker_plugin *plugin = find_plugin(options, members[i].use);
		char where[128];

		(void)snprintf(where, sizeof(where), "%s.%s[%zu]", path, kind->key, i);
		if (plugin == NULL) {
			conf_fail(
			    conf, at, where, "there is no plugin instance \"%s\"", members[i].use);
		} else if (plugin->opened != NULL &&
			   plugin_module_service(plugin->opened, kind->service) == NULL) {
			conf_fail(conf, at, where, "%s (module %s) %s", members[i].use,
			    plugin->module, kind->noun);
		}
	}
}

static void
check_chains(struct conf *conf, const struct broker_options *options,
    const struct conf_list *chains[CHAINS], const struct conf_node *node, const char *path)
{
	for (size_t i = 0; i < CHAINS; i++) {
		check_chain(conf, options, chains[i], child(node, kinds[i].key), path, &kinds[i]);
	}
}

static const struct broker_chain *
find_chains(const struct broker_options *options, const char *name)
{
	const struct broker_chain *chains = options->chains.items;

	for (size_t i = 0; i < options->chains.count; i++) {
		if (strcmp(chains[i].name, name) == 0) {
			return &chains[i];
		}
	}
	return NULL;
}

/* A listener's own chains stand in for those of its set. */
static void
resolve(const struct broker_options *options, struct broker_listener *listener)
{
	static const struct broker_chain none;
	const struct broker_chain *set = find_chains(options, listener->chains);

	set = set != NULL ? set : &none;
	listener->chain[0] =
	    listener->authenticate.items != NULL ? &listener->authenticate : &set->authenticate;
	listener->chain[1] =
	    listener->authorize.items != NULL ? &listener->authorize : &set->authorize;
	listener->chain[2] =
	    listener->intercept.items != NULL ? &listener->intercept : &set->intercept;
}

/* Does it name an instance that can do it? */
static void
check_store(struct conf *conf, const struct broker_options *options)
{
	const struct conf_node *node = child(conf_root(conf), "store");
	const struct broker_plugin *plugin;

	if (options->store == NULL) {
		return;
	}
	plugin = find_plugin(options, options->store);
	if (plugin == NULL) {
		conf_fail(
		    conf, node, "store", "there is no plugin instance \"%s\"", options->store);
	} else if (plugin->opened != NULL &&
		   plugin_module_service(plugin->opened, AVOCET_SERVICE_STORE) == NULL) {
		conf_fail(conf, node, "store", "%s (module %s) does not store", plugin->name,
		    plugin->module);
	}
}

struct avocet_self *
broker_plugins_store(const struct broker_options *options)
{
	return find_plugin(options, options->store)->instance;
}

void
broker_plugins_bind(struct conf *conf, struct broker_options *options)
{
	struct bound *bound = mem_alloc(sizeof(*bound));
	const struct conf_node *root = conf_root(conf);
	const struct broker_chain *chains = options->chains.items;
	char path[128];

	bound->options = options;
	conf_on_free(conf, free_bound, bound);
	for (size_t i = 0; i < options->plugins.count; i++) {
		bind_plugin(conf, options, i);
	}
	check_store(conf, options);
	for (size_t i = 0; i < options->chains.count; i++) {
		const struct conf_list *lists[CHAINS] = {
		    &chains[i].authenticate, &chains[i].authorize, &chains[i].intercept};

		(void)snprintf(path, sizeof(path), "chains.%s", chains[i].name);
		check_chains(
		    conf, options, lists, child(child(root, "chains"), chains[i].name), path);
	}
	for (size_t i = 0; i < options->listeners.count; i++) {
		struct broker_listener *listener = broker_options_listener(options, i);
		const struct conf_list *lists[CHAINS] = {
		    &listener->authenticate, &listener->authorize, &listener->intercept};

		(void)snprintf(path, sizeof(path), "listeners[%zu]", i);
		check_chains(conf, options, lists, item(child(root, "listeners"), i), path);
		resolve(options, listener);
	}
}

/* --- sets --- */

struct named_set {
	const char *listener; /* NULL: of those that are no more */
	const struct plugin_set *set;
};

/* The sets of a snapshot, in its arena's life. */
struct broker_sets {
	struct list_link link;          /* of all; guarded by the lock */
	struct broker_plugins *plugins; /* NULL: the broker has gone, and the sets with it */
	VEC(struct named_set) items;
};

static void
empty_sets(struct broker_sets *sets)
{
	for (size_t i = 0; i < sets->items.count; i++) {
		plugin_set_unref(&sets->items.items[i].set);
	}
	vec_fini(&sets->items);
}

/* On the thread that gave the last reference of the snapshot up. */
static void
free_sets(void *arg)
{
	struct broker_sets *sets = arg;

	if (sets->plugins != NULL) {
		lock_take(&sets->plugins->lock);
		list_remove(&sets->link);
		lock_give(&sets->plugins->lock);
	}
	empty_sets(sets);
	mem_free(&sets);
}

static struct plugin_member_options *
make_members(const struct broker_options *options, const struct conf_list *chain)
{
	const struct broker_member *members = chain->items;
	struct plugin_member_options *made = mem_zalloc((chain->count + 1) * sizeof(*made));

	for (size_t i = 0; i < chain->count; i++) {
		made[i] = (struct plugin_member_options){
		    .self = find_plugin(options, members[i].use)->instance,
		    .is_required = members[i].control == 1,
		    .defers_errors = members[i].on_error == 1,
		    .timeout_ms = members[i].timeout_ms};
	}
	return made;
}

static const struct plugin_set *
make_set(struct broker_plugins *plugins, const struct broker_options *options,
    const struct conf_list *const chain[CHAINS], const struct conn_limits *limits)
{
	struct plugin_set_options set = {.house = plugins->house, .max_grants = limits->max_grants};
	struct plugin_chain_options *into[CHAINS] = {
	    &set.authenticate, &set.authorize, &set.intercept};
	struct plugin_member_options *members[CHAINS];
	const struct plugin_set *made;

	for (size_t i = 0; i < CHAINS; i++) {
		members[i] = make_members(options, chain[i]);
		into[i]->members = members[i];
		into[i]->count = chain[i]->count;
	}
	made = plugin_set_new(&set);
	for (size_t i = 0; i < CHAINS; i++) {
		mem_free(&members[i]);
	}
	return made;
}

static bool
has_chains(const struct conf_list *const chain[CHAINS])
{
	return chain[0]->count + chain[1]->count + chain[2]->count != 0;
}

/* So do the links of instances that may have some. */
static void
make_link_sets(
    struct broker_plugins *plugins, struct broker_options *options, struct broker_sets *sets)
{
	struct broker_plugin *items = options->plugins.items;

	for (size_t i = 0; i < options->plugins.count; i++) {
		struct broker_plugin *plugin = &items[i];
		const struct broker_chain *chains =
		    find_chains(options, broker_links_chains(options, plugin->name));
		const struct conf_list *lists[CHAINS];

		plugin->link_terms.plugins = &broker_house_no_plugins;
		if (chains == NULL || plugin->opened == NULL ||
		    !plugin_module_needs(plugin->opened, AVOCET_HOST_LINK)) {
			continue;
		}
		lists[0] = &chains->authenticate;
		lists[1] = &chains->authorize;
		lists[2] = &chains->intercept;
		if (has_chains(lists)) {
			plugin->link_terms.plugins =
			    make_set(plugins, options, lists, &options->limits);
			vec_push(&sets->items, (struct named_set){plugin->link_terms.listener,
						   plugin->link_terms.plugins});
		}
	}
}

/* Each listener of the snapshot gets its set; nobody else has seen it yet. */
static struct broker_sets *
make_sets(struct broker_plugins *plugins, struct conf *conf, struct broker_options *options)
{
	static const struct broker_chain none;
	struct broker_sets *sets = mem_zalloc(sizeof(*sets));
	const struct broker_chain *fallback = find_chains(options, "default");
	const struct conf_list *lists[CHAINS];

	sets->plugins = plugins;
	conf_on_free(conf, free_sets, sets);
	lock_take(&plugins->lock);
	list_append(&plugins->all_sets, &sets->link);
	lock_give(&plugins->lock);
	for (size_t i = 0; i < options->listeners.count; i++) {
		struct broker_listener *listener = broker_options_listener(options, i);

		if (!has_chains(listener->chain)) {
			continue;
		}
		listener->conn.plugins =
		    make_set(plugins, options, listener->chain, listener->conn.limits);
		vec_push(&sets->items, (struct named_set){listener->name, listener->conn.plugins});
	}
	make_link_sets(plugins, options, sets);
	fallback = fallback != NULL ? fallback : &none;
	lists[0] = &fallback->authenticate;
	lists[1] = &fallback->authorize;
	lists[2] = &fallback->intercept;
	if (has_chains(lists)) {
		vec_push(&sets->items,
		    (struct named_set){NULL, make_set(plugins, options, lists, &options->limits)});
	}
	return sets;
}

const struct plugin_set *
broker_plugins_set_of(void *arg, struct bytes listener)
{
	struct broker_plugins *plugins = arg;
	const struct plugin_set *set = &broker_house_no_plugins;
	const struct broker_options *options;
	bool is_known = false;

	lock_take(&plugins->lock);
	options = plugins->options;
	for (size_t i = 0; options != NULL && i < options->listeners.count; i++) {
		is_known = is_known ||
			   bytes_equal_text(listener, broker_options_listener(options, i)->name);
	}
	for (size_t i = 0; options != NULL && i < options->plugins.count; i++) {
		const struct broker_plugin *items = options->plugins.items;

		is_known = is_known || bytes_equal_text(listener, items[i].link_terms.listener);
	}
	for (size_t i = 0; plugins->present != NULL && i < plugins->present->items.count; i++) {
		const struct named_set *named = &plugins->present->items.items[i];

		if (is_known
			? named->listener != NULL && bytes_equal_text(listener, named->listener)
			: named->listener == NULL) {
			set = plugin_set_ref(named->set);
			break;
		}
	}
	lock_give(&plugins->lock);
	return set;
}

/* --- life --- */

static void
on_failed(void *arg, const char *name)
{
	struct broker *broker = arg;

	log_error("stopping, since plugin %s has on_failure: stop", name);
	broker->status = BROKER_NOT_STARTED;
	if (broker->stopping.phase == BROKER_RUNNING) {
		broker_stop(broker);
	}
}

static void
on_flush(void *arg, bool recheck)
{
	struct broker *broker = arg;

	if (recheck && broker->stopping.phase == BROKER_RUNNING) {
		broker_recheck(broker);
	}
}

static void
on_publish(void *arg, struct msg_draft *draft)
{
	broker_speak_publish(arg, draft);
}

static void
on_kick(void *arg, const struct plugin_kick *kick)
{
	broker_speak_kick(arg, kick);
}

static void
on_going(void *arg, struct avocet_self *self)
{
	struct broker *broker = arg;

	link_house_close_of(broker->house->link, self);
}

void
broker_plugins_init(struct broker *broker)
{
	struct broker_plugins *plugins = &broker->plugins;

	lock_init(&plugins->lock);
	list_init(&plugins->all_sets);
}

void
broker_plugins_open(struct broker *broker)
{
	static const struct plugin_interface interfaces[] = {
	    {AVOCET_HOST_LINK, &link_api}, {NULL, NULL}};

	/* A reload does not change it. */
	broker->plugins.data_dir = mem_text(bytes_of(broker->options->broker.data_dir));
	broker->plugins.house = plugin_house_new(&(struct plugin_house_options){
	    .loop = broker->loop,
	    .main = broker_main(broker),
	    .desks = broker->house->desks,
	    .workers = broker->house->count,
	    .data_dir = broker->plugins.data_dir[0] != '\0' ? broker->plugins.data_dir : NULL,
	    .stall_warn_ms = broker->options->broker.stall_warn_ms,
	    .observers = &broker->observers,
	    .on_stop = on_failed,
	    .on_flush = on_flush,
	    .on_publish = on_publish,
	    .on_kick = on_kick,
	    .on_going = on_going,
	    .arg = broker,
	    .interfaces = interfaces,
	    .links = broker->house->link,
	});
}

int
broker_plugins_prepare(struct broker *broker, struct conf *conf, struct broker_options *options,
    char *why, size_t why_size)
{
	struct broker_plugins *plugins = &broker->plugins;
	struct broker_plugin *items = options->plugins.items;

	plugin_house_begin(plugins->house);
	for (size_t i = 0; i < options->plugins.count; i++) {
		struct plugin_instance_options instance = {.threads = items[i].threads,
		    .queue = items[i].queue,
		    .max_requests = items[i].max_requests,
		    .start_timeout_ms = items[i].start_timeout_ms,
		    .stops_broker = items[i].on_failure == 1};

		items[i].instance = plugin_house_want(plugins->house, items[i].name,
		    items[i].opened, items[i].bound, &instance, why, why_size);
		if (items[i].instance == NULL) {
			plugin_house_abort(plugins->house);
			return ERR_INVALID;
		}
	}
	if (broker->is_ready && options->store != NULL &&
	    !plugin_engine_is_pinned(broker_plugins_store(options))) {
		(void)snprintf(why, why_size,
		    "what the store %s is made of cannot change while the broker runs; restart it",
		    options->store);
		plugin_house_abort(plugins->house);
		return ERR_INVALID;
	}
	plugins->next = make_sets(plugins, conf, options);
	return 0;
}

static void
say_open(const struct broker_options *options)
{
	for (size_t i = 0; i < options->listeners.count; i++) {
		const struct broker_listener *listener = broker_options_listener(options, i);

		if (options->plugins.count != 0 && listener->chain[1]->count == 0) {
			log_info("listener %s: its authorize chain is empty, all is allowed",
			    listener->name);
		}
	}
}

void
broker_plugins_commit(struct broker *broker, struct broker_options *options)
{
	struct broker_plugins *plugins = &broker->plugins;

	plugin_house_commit(plugins->house);
	plugin_house_set_stall_warn(plugins->house, options->broker.stall_warn_ms);
	lock_take(&plugins->lock);
	plugins->options = options;
	plugins->present = plugins->next;
	plugins->next = NULL;
	lock_give(&plugins->lock);
	say_open(options);
}

void
broker_plugins_fini(struct broker *broker)
{
	struct broker_plugins *plugins = &broker->plugins;
	struct list_link *link;

	/* Others may still have a snapshot, but nobody asks its sets any more. */
	while ((link = list_take_first(&plugins->all_sets)) != NULL) {
		struct broker_sets *sets = list_item(link, struct broker_sets, link);

		sets->plugins = NULL;
		empty_sets(sets);
	}
	plugin_house_free(&plugins->house);
	mem_free(&plugins->data_dir);
	lock_fini(&plugins->lock);
}
