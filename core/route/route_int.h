/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of route share. */
#ifndef ROUTE_ROUTE_INT_H
#define ROUTE_ROUTE_INT_H

#include "base/list.h"
#include "base/vec.h"
#include "loop/mailbox.h"
#include "loop/worker.h"
#include "route/route.h"

struct route_house {
	struct loop *loop;
	struct session_house *sessions;
	struct route_desk *desks[WORKER_MAX]; /* by worker; NULL: none */
	struct store_port *any_port;          /* for what all ports know alike */
	struct plugin_observers *observers;   /* NULL: none */
	route_set_fn *set_fn;
	void *set_arg;
	_Atomic int64_t max_transit;
	struct route_hops
	    *_Atomic hops;           /* NULL: nothing leaves with a mark, and none is looked for */
	_Atomic int64_t draft_bytes; /* of publications that wait for an answer */
};

/* A batch of deliveries for one worker, on its way to become mail. */
struct route_batch;
struct route_hops;
struct route_memo;

/* Subscribers of one filter, or of a part of them, as the tree gives them. */
struct route_run {
	const struct topic_subscriber *subscribers;
	uint32_t count;
};

/* One receiver after merging: at most one per session. */
struct route_receiver {
	struct topic_subscriber subscriber; /* with the highest QoS and all that counts */
	uint32_t first_id;                  /* index + 1 into the desk's ids; 0: none */
	uint32_t last_id;
	uint16_t id_count;
	uint8_t qos;
	bool retain;
};

struct route_id {
	uint32_t id;
	uint32_t next; /* index + 1 */
};

/* Where a session stands in the list of receivers of this publication. */
struct route_stamp {
	uint32_t number; /* of the publication; another: not seen */
	uint32_t at;     /* index of the receiver */
};

struct route_stamps {
	struct route_stamp *items; /* by slot */
	uint32_t count;
};

struct route_desk {
	struct route_house *house;
	struct worker *worker;
	struct session_table *table; /* NULL: main */
	struct plugin_desk *plugins;
	struct store_port *port;
	struct topic_cursors cursors;

	/* Of the publication that is being fanned out; kept to be used again. */
	VEC(struct route_run) runs;
	VEC(const struct topic_group *) groups;
	VEC(struct route_receiver) receivers;
	VEC(struct route_id) ids;
	struct route_stamps stamps[WORKER_MAX];
	uint32_t stamp;
	struct buf record, marked;
	struct route_memo *memo; /* NULL: nothing was published yet */

	struct route_batch *batches[WORKER_MAX];
	uint16_t touched[WORKER_MAX]; /* workers whose batch has an open entry */
	uint16_t touched_count;
	uint16_t open[WORKER_MAX]; /* workers that have a batch */
	uint16_t open_count;

	struct list wills; /* struct open_will: their questions are open */

	uint64_t over_turn; /* the turn for which `over` was found out */
	bool over;
};

/* One message to all it matches; where it comes from, and what became of it. */
struct route_fan {
	struct msg *msg;
	uint64_t version; /* of a retained publication; 0: not retained */
	bool no_local;    /* the three below name the publisher */
	uint16_t worker;
	uint32_t slot;
	uint32_t generation;
	uint8_t mode; /* enum route_mode */

	uint64_t ticket;      /* of the rows that were written; 0: none */
	uint32_t reached;     /* deliveries made */
	uint32_t worker_over; /* bits of workers whose credit is used up */
};

/* Matches: fills the desk's runs and groups. */
void route_match(struct route_desk *desk, struct bytes topic);
/* The same, from the tree. */
void route_tree_match(struct route_desk *desk, struct bytes topic);

/* The QoS of a delivery to this subscriber. */
uint8_t route_qos_of(const struct topic_subscriber *subscriber, uint8_t qos);

/* --- memo.c --- */

/* What route_match does, from what is remembered or from the tree. */
void route_memo_match(struct route_desk *desk, struct bytes topic);
void route_memo_free(struct route_memo **memo);

/* After route_match: would it write a row of QoS above 0? */
bool route_writes_row(const struct route_desk *desk, uint8_t qos);

/* After route_match: makes the deliveries and their rows. */
void route_fan_out(struct route_desk *desk, struct route_fan *fan);

/* After route_match: one session of this worker gets it, at QoS 0, and has taken it; of the draft
 * no message needs to be made. False: nothing has happened. */
bool route_pass(struct route_desk *desk, const struct msg_draft *draft);

/* One delivery to one subscriber, here or elsewhere; consumes it. group_name: empty if not shared.
 */
void route_send(struct route_desk *desk, const struct topic_subscriber *subscriber,
    struct bytes group_name, struct session_delivery *delivery);
/* Ends the entries of a message in the batches. */
void route_end_message(struct route_desk *desk);

/* Writes the row of a delivery and gives it its qid; returns the ticket. */
uint64_t route_put_row(struct route_desk *desk, uint64_t sid, struct bytes group_name,
    struct session_delivery *delivery);

/* It has a mark that was seen, or its own: its outcome is set. Only where the house has hops. */
bool route_has_come_round(struct route_desk *desk, struct route_publication *publication);
void route_hops_free(struct route_house *house);

/* Phase STORE: batches become mail. */
void route_flush_batches(struct worker *worker, void *arg);
void route_batches_free(struct route_desk *desk);

enum session_will_status route_will(void *arg, struct session_table *table, struct session *session,
    struct msg *will, struct msg_client *client, bool stored);
/* After loop_join, while the desk of questions still stands. */
void route_wills_free(struct route_desk *desk);
bool route_redispatch(void *arg, struct session_table *table, struct bytes group_name,
    struct session_delivery *delivery, uint64_t from_sid, struct bytes client_id);

#endif
