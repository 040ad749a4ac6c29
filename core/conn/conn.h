/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's role of a peer: a connection of a client, from accept to close. A table
 * legal[state][packet type] picks the handler or the reason; every handler can be answered later;
 * there is one way to die: conn_close. A connection belongs to the worker it was given to, and
 * moves at most once, to the home of its session, after authentication and before CONNACK.
 */
#ifndef CONN_CONN_H
#define CONN_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "conn/options.h"
#include "peer/peer.h"
#include "plugin/ask.h"
#include "route/route.h"
#include "session/session.h"
#include "transport/stream.h"

struct conf;
struct conn;
struct conn_house; /* shared by all workers */
struct conn_table; /* a worker's connections */

struct conn_house_options {
	struct loop *loop;
	struct session_house *sessions;
	bool move_always; /* a test's wish: every CONNECT gets a home elsewhere if there is one */
	/* Somebody has subscribed below $SYS: tell main, any worker. May be NULL. */
	void (*on_sys)(void *arg);
	void *arg;
	struct plugin_observers *observers; /* NULL: none */
};

struct conn_house *conn_house_new(const struct conn_house_options *options);
void conn_house_free(struct conn_house **house);

struct conn_table_options {
	struct conn_house *house;
	struct worker *worker;
	struct session_table *sessions;
	struct route_desk *route;
	struct plugin_desk *plugins;
	struct store_port *port; /* NULL with the null engine */
};

/* Before loop_start; hooks itself into the loop's phases (through peer_room). */
struct conn_table *conn_table_new(const struct conn_table_options *options);
/* After loop_join: drops what is left. */
void conn_table_free(struct conn_table **table);

/* Any thread, approximate: connections the table holds, for handing out new ones. */
unsigned conn_table_count(const struct conn_table *table);

/* Who wants to know when a connection has gone (for max_connections and limits per address) puts
 * this at the front of what is its own; called on the connection's worker. */
struct conn_gone {
	void (*fn)(struct conn_gone *gone);
};

/*
 * Own thread: a new connection. Takes the stream; listener is part of conf, which is referenced.
 * gone may be NULL.
 */
void conn_open(struct conn_table *table, struct stream *stream,
    const struct conn_listener *listener, struct conf *conf, bool is_local, struct conn_gone *gone);

/* --- reload and shutdown, own thread (flow 10) --- */

/*
 * Another snapshot: connections find their listener by name in it at their next packet; those whose
 * listener is no longer there get DISCONNECT 0x8B. find: listener of that name in the new conf, or
 * NULL.
 */
void conn_table_reload(struct conn_table *table, struct conf *conf,
    const struct conn_listener *(*find)(struct conf *conf, struct bytes name));

/* Subscriptions of all who are connected are asked for again; those denied end. */
void conn_table_recheck(struct conn_table *table);

/* An operator sends a client away (DISCONNECT 0x98); its session stays. False: it is not here. */
bool conn_table_kick(struct conn_table *table, struct bytes client_id);

/* The same of a connection, or of who has this client id (handle 0), by a plugin. It may be called
 * on any worker: false, and nothing happens, where it is another's. The text may be empty. */
bool conn_table_send_away(struct conn_table *table, uint64_t handle, struct bytes client_id,
    uint8_t reason, struct bytes text);

/* Nothing more is read. */
void conn_table_stop_reading(struct conn_table *table);
/* Are questions open, or acknowledgements owed? */
bool conn_table_is_busy(const struct conn_table *table);
/* DISCONNECT with this reason to all (CONNACK 0x88 to those who have none yet), and close; wills
 * are kept. */
void conn_table_close_all(struct conn_table *table, uint8_t reason);
bool conn_table_is_empty(const struct conn_table *table);

#endif
