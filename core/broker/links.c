/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links have the limits of all but for one: what waits for a remote is not limited by number, since
 * to keep it is what bridges are for; broker.max_memory bounds it, or what `links` says.
 */
#include "broker/links.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "broker/check_int.h"
#include "conf/bind.h"

static const struct broker_link *
find_link(const struct broker_options *options, const char *instance)
{
	const struct broker_link *links = options->links.items;

	for (size_t i = 0; i < options->links.count; i++) {
		if (strcmp(links[i].name, instance) == 0) {
			return &links[i];
		}
	}
	return NULL;
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

static bool
is_set_of_chains(const struct broker_options *options, const char *name)
{
	const struct broker_chain *chains = options->chains.items;

	for (size_t i = 0; i < options->chains.count; i++) {
		if (strcmp(chains[i].name, name) == 0) {
			return true;
		}
	}
	return strcmp(name, "default") == 0;
}

static const struct conn_limits *
make_limits(
    struct conf_check *check, const struct broker_options *options, const struct broker_link *link)
{
	struct conn_limits *limits = arena_alloc(check->bind->arena, sizeof(*limits));
	const struct conf_node *node = link != NULL ? link->limits : NULL;

	*limits = options->limits;
	limits->session.max_queued_messages = 0;
	limits->session.max_queued_bytes = 0;
	if (node != NULL) {
		conf_bind_over(check->bind, &conn_limits_schema, node, node->place, limits);
	}
	return limits;
}

static void
make_terms(struct conf_check *check, struct broker_options *options, struct broker_plugin *plugin)
{
	const struct conn_limits *limits =
	    make_limits(check, options, find_link(options, plugin->name));
	const struct conf_list *filters = &options->durability.filters;
	char name[128];
	size_t len;
	char *copy;

	(void)snprintf(name, sizeof(name), "link:%s", plugin->name);
	len = strlen(name) + 1;
	copy = arena_alloc(check->bind->arena, len);
	memcpy(copy, name, len);
	plugin->link_terms = (struct link_terms){.listener = copy,
	    .limits = &limits->session,
	    .durability = {.mode = options->durability.mode,
		.filters = filters->items,
		.filter_count = filters->count},
	    .write_timeout_ms = limits->write_timeout_ms,
	    .max_topic_levels = limits->max_topic_levels};
}

/* The check at the place of this entry of `links`. */
static struct conf_check
check_of(const struct conf_check *check, const char *name)
{
	struct conf_check at = *check;
	const struct conf_pair *pair =
	    check->node != NULL ? conf_node_find(check->node, "links") : NULL;

	pair = pair != NULL && pair->value->kind == CONF_MAPPING ? conf_node_find(pair->value, name)
								 : NULL;
	if (pair != NULL) {
		at.node = pair->value;
		at.place = pair->value->place;
	}
	return at;
}

void
broker_links_make(struct conf_check *check, struct broker_options *options)
{
	const struct broker_link *links = options->links.items;
	struct broker_plugin *plugins = options->plugins.items;
	struct conf_path before = check->bind->path;

	for (size_t i = 0; i < options->links.count; i++) {
		struct conf_path *path = &check->bind->path;
		int n = snprintf(path->text, sizeof(path->text), "links.%.100s", links[i].name);

		struct conf_check at = check_of(check, links[i].name);

		path->len = n > 0 ? (size_t)n : 0;
		if (find_plugin(options, links[i].name) == NULL) {
			conf_check_fail(&at, NULL, "there is no plugin instance of this name");
		}
		if (!is_set_of_chains(options, links[i].chains)) {
			conf_check_fail(
			    &at, "chains", "there is no set of chains \"%s\"", links[i].chains);
		}
	}
	for (size_t i = 0; i < options->plugins.count; i++) {
		struct conf_path *path = &check->bind->path;
		int n = snprintf(
		    path->text, sizeof(path->text), "links.%.100s.limits", plugins[i].name);

		path->len = n > 0 ? (size_t)n : 0;
		make_terms(check, options, &plugins[i]);
	}
	check->bind->path = before;
}

const char *
broker_links_chains(const struct broker_options *options, const char *instance)
{
	const struct broker_link *link = find_link(options, instance);

	return link != NULL ? link->chains : "default";
}

const struct link_terms *
broker_links_terms(struct conf *conf, const char *instance)
{
	const struct broker_plugin *plugin = find_plugin(broker_options_of(conf), instance);

	return plugin != NULL ? &plugin->link_terms : NULL;
}
