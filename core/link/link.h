/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links: sessions of this broker that a plugin has (avocet.link/0). A local link is a session
 * without a socket; a remote one a session whose connection the broker dials: the client's role of
 * a peer. A link belongs to one worker, the home of its session, which makes all its callbacks; the
 * functions of the interface may be called on any thread and go there by mail.
 *
 *     open (main) -> home -> session and its subscriptions -> local: serves
 *                                                          -> remote: waits, dials, greets, is up,
 *                                                             is lost, waits …
 */
#ifndef LINK_LINK_H
#define LINK_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "plugin/ask.h"
#include "route/route.h"
#include "session/limits.h"
#include "session/session.h"

struct avocet_self;
struct link_house; /* shared by all workers */
struct link_table; /* a worker's links */

/* What the links of an instance may do: part of a configuration. */
struct link_terms {
	const char *listener; /* "link:NAME": what chains, plugins and logs call it */
	const struct session_limits *limits;
	struct route_durability durability;
	const struct plugin_set *plugins; /* never NULL once it is in force */
	int64_t write_timeout_ms;
	int64_t max_topic_levels; /* of what remotes send */
};

struct link_house_options {
	struct loop *loop;
	struct worker *main;
	struct session_house *sessions;
	struct route_house *route;
	/* Main: the configuration in force, borrowed. */
	struct conf *(*conf)(void *arg);
	void *arg;
	/* What it says of an instance's links; NULL: nothing, the instance is not in it. Any
	 * thread. */
	const struct link_terms *(*terms)(struct conf *conf, const char *instance);
};

struct link_house *link_house_new(const struct link_house_options *options);
void link_house_free(struct link_house **house);

/* avocet.link/0: avocet_link_api. */
extern const struct avocet_link_api link_api;

struct link_table_options {
	struct link_house *house;
	struct worker *worker;
	struct session_table *sessions;
	struct route_desk *route;
	struct plugin_desk *plugins;
	struct store_port *port; /* NULL with the null engine */
};

/* Before loop_start; hooks itself into the loop's phases. */
struct link_table *link_table_new(const struct link_table_options *options);
/* After loop_join, before the sessions' tables. */
void link_table_free(struct link_table **table);

/* Main: nobody names this instance any more; its links close. */
void link_house_close_of(struct link_house *house, struct avocet_self *self);

/* Own thread: an operator, or a plugin, sends the link of this client id away: a remote one loses
 * its connection and dials again, a local one closes. False: it is not here, or not connected. */
bool link_table_kick(struct link_table *table, struct bytes client_id);
/* Own thread: logs sessions of links that are no more: they go on keeping messages. */
void link_table_tell_orphans(struct link_table *table);

/* --- reload and shutdown, own thread (flow 10) --- */

void link_table_reload(struct link_table *table, struct conf *conf);
/* Subscriptions are asked about again; those that are denied end. */
void link_table_recheck(struct link_table *table);
/* Nothing more is read from remotes. */
void link_table_stop_reading(struct link_table *table);
/* Are acknowledgements owed, or publications under way? */
bool link_table_is_busy(const struct link_table *table);
/* Says goodbye to remotes and lets all sessions sleep. */
void link_table_close_all(struct link_table *table);
/* All links have gone, and their connections. */
bool link_table_is_empty(const struct link_table *table);

#endif
