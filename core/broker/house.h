/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The house without its doors: everything between a stream and the store, put together over a loop.
 * It has no listeners, signals or log, so the simulator builds the same thing and feeds it streams
 * by conn_open. Made and freed on main's thread.
 */
#ifndef BROKER_HOUSE_H
#define BROKER_HOUSE_H

#include "conn/conn.h"
#include "link/link.h"
#include "loop/worker.h"
#include "route/route.h"
#include "session/session.h"
#include "store/store.h"

struct broker_house_options {
	struct plugin_observers *observers; /* who is told what happens; NULL: nobody */
	struct store_engine *engine;        /* taken over; NULL: nothing outlives the process */
	bool loads_later; /* the engine is not ready yet: broker_house_load is called before the
			   * loop starts */
	/* Who is asked about wills, by the name of their listener; NULL: nobody. */
	route_set_fn *set_of;
	void *set_arg;
	bool move_always;
	/* Budgets and limits of the whole, 0: none; broker_house_set_limits changes them. */
	int64_t max_memory;
	int64_t max_transit;
	const struct conn_limits *limits; /* of loaded sessions, and max_sessions, max_retained_… */
	struct conf *conf;                /* what `limits` is part of; may be NULL in tests */
	int64_t wall_ms;                  /* UNIX time at start; for loaded sessions */
	/* Somebody has subscribed below $SYS; any worker. May be NULL. */
	void (*on_sys)(void *arg);
	void *arg;
	/* As in struct link_house_options; NULL: there are no links. */
	struct conf *(*conf_now)(void *arg);
	void *conf_arg;
};

/* A client worker and what belongs to its thread. */
struct broker_hand {
	struct worker *worker;
	struct plugin_desk *plugins;
	struct store_port *port; /* NULL with the null engine */
	struct route_desk *route;
	struct session_table *sessions;
	struct conn_table *conns;
	struct link_table *links;
};

struct broker_house {
	struct loop *loop;
	struct session_house sessions;
	struct store *store; /* NULL with the null engine */
	struct route_house *route;
	struct conn_house *conn;
	struct link_house *link;
	struct broker_hand main;               /* without sessions and conns */
	struct plugin_desk *desks[WORKER_MAX]; /* by the worker's index, for plugin_complete */
	unsigned count;
	struct broker_hand hands[];
};

/*
 * Adds `count` client workers (and one for the store) to the loop, whose only worker so far is
 * main, and makes what belongs to them; loads what the store holds. Then the caller starts the
 * loop. NULL with a sentence when the store cannot be loaded; the loop can then only be freed.
 */
struct broker_house *broker_house_new(struct loop *loop, struct worker *main, unsigned count,
    const struct broker_house_options *options, char *why, size_t why_size);

/* Takes down what the store holds, with the options of broker_house_new. 0, or an error with a
 * sentence; then the house can only be freed. */
int broker_house_load(struct broker_house *house, const struct broker_house_options *options,
    char *why, size_t why_size);

/* After loop_join, before loop_free. */
void broker_house_free(struct broker_house **house);

/* Main: of a new configuration. */
void broker_house_set_limits(struct broker_house *house, const struct conn_limits *limits,
    int64_t max_memory, int64_t max_transit);

/* A set that asks nobody. */
extern const struct plugin_set broker_house_no_plugins;

#endif
