/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The post office: the only door for publications, whether of clients, wills, $SYS or plugins:
 * intercept -> validate what changed -> authorize -> seal -> retain -> match -> fan out (flows 1,
 * 2, 5, 7, 8). A desk per worker; all on its thread.
 */
#ifndef ROUTE_ROUTE_H
#define ROUTE_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "msg/draft.h"
#include "plugin/ask.h"
#include "session/session.h"

struct loop;
struct plugin_observers;
struct route_house;
struct route_desk;
struct route_publication;

/* Of all workers. The broker makes it, adds a desk per client worker, and then starts the loop. */
struct route_house *route_house_new(struct loop *loop, struct session_house *sessions);
/* Before the desks of questions: what is still asked for is ended there. */
void route_house_free(struct route_house **house);
/* 0 = none; any thread. Bytes of mail, rows that wait and drafts; over it acknowledgements are
 * withheld and QoS 0 is dropped (flow 6). */
void route_house_set_max_transit(struct route_house *house, int64_t bytes);
int64_t route_house_max_transit(const struct route_house *house);

/* port NULL: the null engine. desk of main too (for $SYS); main has no sessions (table NULL). */
struct route_desk *route_desk_new(struct route_house *house, struct worker *worker,
    struct plugin_desk *plugins, struct store_port *port);
/* Its session table, made with route_session_ops and this desk; before loop_start. */
void route_desk_set_table(struct route_desk *desk, struct session_table *table);
extern const struct session_route_ops route_session_ops; /* arg: struct route_desk */

/* Whom wills are asked about: the set of a listener by name (unknown: the default), with a
 * reference that route gives back. Any worker. Given by the broker. */
typedef const struct plugin_set *route_set_fn(void *arg, struct bytes listener);
void route_house_set_plugins(struct route_house *house, route_set_fn *fn, void *arg);

/* Who is told what happens; outlives the house. */
void route_house_set_observers(struct route_house *house, struct plugin_observers *observers);

enum route_mode { ROUTE_COMMIT, ROUTE_RELAXED, ROUTE_NONE }; /* durability */

/* The first entry whose filter matches a full topic rules, then whoever publishes, then the
 * default. Part of a configuration. */
struct route_durability_filter {
	const char *filter;
	int64_t mode; /* enum route_mode */
};

struct route_durability {
	int64_t mode; /* enum route_mode; of the listener or the default */
	const struct route_durability_filter *filters;
	size_t filter_count;
};

enum route_mode route_mode_of(const struct route_durability *durability, struct bytes topic);

enum { ROUTE_LAST_WORKER = 31 };

enum route_status {
	ROUTE_DONE,    /* reason, ticket */
	ROUTE_PENDING, /* done is called later */
	ROUTE_BLOCKED, /* the store is failing and it would write a row; nothing has happened */
	ROUTE_READY, /* all questions are answered with yes: route_carry is due, when it is its turn
		      */
};

struct route_publication {
	/* In. The draft's topic is full (prefix before it), checked; owned (msg_draft_own) if the
	 * set may wait. */
	struct msg_draft draft;
	struct msg_client *client;        /* borrowed; referenced while pending */
	const struct plugin_set *plugins; /* outlives it */
	struct session *session;          /* the publisher's; NULL: none */
	uint8_t mode;                     /* enum route_mode */
	void (*done)(struct route_publication *publication); /* when it was pending; may free it */
	/* Not NULL: it is not carried out before the caller says so. Called when it was pending and
	 * is ROUTE_READY; the caller then calls route_carry once it is its turn. */
	void (*ready)(struct route_publication *publication);

	/* Out. */
	uint8_t reason;       /* 0x00, 0x10, or a refusal */
	bool disconnect;      /* the refusal wants the connection closed */
	uint64_t ticket;      /* what the acknowledgement waits for */
	uint32_t worker_over; /* bit per worker whose credit is used up by this, the last bit for
				 all from ROUTE_LAST_WORKER on; 0: none */

	/* Route's own. */
	struct route_desk *desk;
	uint32_t session_slot, session_generation;
	uint8_t step;
	int64_t draft_bytes;           /* what of it counts as transit */
	struct plugin_request request; /* cleared before it is put */
};

/* Clears all but the draft, which the caller fills: for the way of each message. `= {0}` does as
 * well. */
static inline void
route_publication_init(struct route_publication *publication)
{
	const size_t from = offsetof(struct route_publication, client);

	memset((char *)publication + from, 0, offsetof(struct route_publication, request) - from);
	publication->request.number = 0;
	publication->request.said = NULL;
}

/*
 * Carries a publication out. QoS 2: the caller has entered the packet id (session_inbound_begin)
 * and calls session_inbound_done with the outcome, in the same turn as `done`, so RECV_PUT is in
 * the chunk of the rows. In: everything above "Out" is set, the rest zero. The draft is consumed
 * unless ROUTE_BLOCKED.
 */
enum route_status route_publish(struct route_desk *desk, struct route_publication *publication);

/* What is ready, or was blocked: matches and fans out, asks nobody. ROUTE_DONE or ROUTE_BLOCKED;
 * done is not called. */
enum route_status route_carry(struct route_publication *publication);
/* It will not be carried out (or was): nothing of it counts as transit any more. */
void route_forget(struct route_publication *publication);

/* From now on messages get marks as they leave for other brokers, and marks of those that come are
 * looked at (route/hops.c). Any worker's own thread, or main. */
void route_house_mark(struct route_house *house, struct worker *worker);
/* The properties of a message that leaves for another broker, with its mark; until the next call.
 * Own thread. */
struct bytes route_marked_props(struct route_desk *desk, struct msg *msg);
/* Does a client say with these properties of CONNECT that it is another broker's link? And: says
 * so, as that link. */
bool route_wants_marks(const struct wire_props *props);
void route_write_wants_marks(struct wire_writer *writer);

struct route_house *route_desk_house(const struct route_desk *desk);

/* The transit budget is over: checked once per turn. */
bool route_desk_is_over(const struct route_desk *desk);

/* A message of a plugin: carried out as it is, nobody is asked. Consumes the draft; false: the
 * store fails, and it would write a row. */
bool route_publish_trusted(struct route_desk *desk, struct msg_draft *draft);

/* A message of the broker itself (QoS 0, retained in memory only), e.g. $SYS. */
void route_publish_own(
    struct route_desk *desk, struct bytes topic, struct bytes payload, bool retain);

#endif
