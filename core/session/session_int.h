/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a session, for the files of this room. What a session does not need yet is not
 * there: an idle one without subscriptions is this struct and its client's snapshot.
 */
#ifndef SESSION_SESSION_INT_H
#define SESSION_SESSION_INT_H

#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"
#include "loop/timer.h"
#include "loop/worker.h"
#include "session/session.h"
#include "wire/reason.h"

/* --- outgoing --- */

enum session_flight_state {
	SESSION_FLIGHT_FREE,
	SESSION_FLIGHT_GATED,    /* has its id; leaves when the ticket is durable */
	SESSION_FLIGHT_SENT,     /* waits for PUBACK or PUBREC */
	SESSION_FLIGHT_HELD,     /* has its PUBREC; PUBREL leaves when the ticket is durable */
	SESSION_FLIGHT_RELEASED, /* waits for PUBCOMP */
};

/* One packet id. Its number is its place in the table, counted from 1; 0 is "none" in all links. */
struct session_flight {
	struct session_delivery delivery; /* msg is NULL once it is not needed any more */
	uint64_t ticket;                  /* GATED, HELD */
	uint16_t prev, next;              /* the order of sending; next: also the free list */
	uint16_t gate_next;
	uint8_t state; /* enum session_flight_state */
	bool on_wire;  /* sent on this connection */
	bool is_new;   /* the other side has forgotten that it was sent */
};

struct session_inflight {
	struct session_flight *items;
	uint32_t cap;
	uint32_t count;       /* ids in use */
	uint32_t active;      /* of these on_wire: they use the client's Receive Maximum */
	uint16_t first, last; /* order of sending */
	uint16_t free;
	uint16_t resend;                /* the next one to be sent again on this connection */
	uint16_t gate_first, gate_last; /* GATED and HELD, in the order of their tickets */
};

enum session_ring_name {
	SESSION_RING_QOS0,
	SESSION_RING_QOS12,
	SESSION_RING_FRESH, /* shared ones that came while it slept or was full: to be given back */
	SESSION_RING_COUNT,
};

struct session_ring {
	struct session_delivery *items;
	uint32_t first, count;
	uint32_t cap; /* a power of two */
};

struct session_out {
	struct session *session;
	struct session_inflight inflight;
	struct session_ring rings[SESSION_RING_COUNT];
	size_t queued_bytes; /* of the rings */
	struct store_wait gate_wait;
	bool gate_waits;
};

/* --- subscriptions --- */

/*
 * One subscription. text: the key, which is the full filter, behind $share/NAME/ if shared; and
 * behind that the filter as the client wrote it where it is no part of the key. There are millions
 * of these, so nothing stands here that can be found otherwise.
 */
struct session_sub {
	union {
		uint64_t asof;  /* not shared: drawn when it was first made */
		uint64_t group; /* shared: topic_group.id */
	};
	uint32_t subscription_id;
	uint16_t full_len; /* of what is in the tree */
	uint16_t filter_len;
	uint16_t share_len; /* of ShareName; 0: not shared */
	uint8_t qos : 2;
	uint8_t retain_handling : 2;
	uint8_t flags : 2;   /* TOPIC_NO_LOCAL, TOPIC_RETAIN_AS_PUBLISHED */
	bool is_apart : 1;   /* the filter lies behind the key */
	bool has_replay : 1; /* one of the list `replays` is for this */
	uint8_t text[];
};

/* What few sessions have: many subscriptions, shared ones, or open replays. */
struct session_subs_more {
	struct session *session;
	struct map *by_filter; /* above a handful: then they are here and not in items */
	uint64_t max_asof;     /* with by_filter: the largest of theirs */
	struct topic_member_state *member; /* with the first shared one */
	struct list replays;               /* struct session_replay, in the order they were begun */
	struct store_wait replay_wait;
	bool replay_waits;
	/* Deliveries that were queued at resume: they go first. */
	uint32_t replay_hold[SESSION_RING_QOS12 + 1];
};

struct session_subs {
	struct session_subs_more *more; /* NULL: none of it */
	uint32_t count;
	uint32_t cap; /* of items */
	struct session_sub *items[];
};

struct session_replay {
	struct list_link link;
	struct session_sub *sub;
	struct topic_retain_cursor cursor;
	uint64_t asof;
	uint64_t ticket;  /* of its SUBSCRIBE: SUBACK goes first */
	struct msg *held; /* pulled, and the sink had no room */
	bool resumed;     /* draws a new asof when it goes on */
};

/* --- the session --- */

struct session_will {
	struct msg *msg;
	uint32_t delay_s;
	bool stored;
};

/* An open that waits for the answer about a will. */
struct session_waiting {
	struct session_open open; /* with references of its own */
	struct session_sink *sink;
};

struct session_inbox; /* inbound.c */

/* What is needed only while no connection is there. */
struct session_sleep {
	struct session *session;
	struct timer timer; /* will delay or expiry, whichever is first */
	int64_t left_ms;    /* since when, monotonic; loaded: before start */
	struct session_waiting *waiting;
};

/* What many sessions of a table share. */
struct session_terms {
	const struct session_limits *limits; /* part of conf */
	struct conf *conf;                   /* referenced; may be NULL in tests */
	uint32_t users;
};

struct session {
	struct session_table *table;
	struct msg_client *client;
	struct session_terms *terms;
	struct session_sink *sink;   /* NULL: asleep */
	struct session_sleep *sleep; /* NULL: awake, or just made */
	struct session_will *will;
	struct session_out *out;
	struct session_inbox *inbox;
	struct session_subs *subs;
	uint64_t sid;
	uint64_t made_ticket; /* of its first SESSION_PUT */
	uint32_t slot;
	uint32_t expiry_s;
	uint16_t receive_maximum; /* of the client */
	uint16_t window;          /* the smaller of it and max_inflight_messages */
	uint16_t drop_minute;     /* when a drop was last logged */
	bool serving : 1;         /* CONNACK is out */
	bool persistent : 1;      /* made with an expiry */
	bool has_row : 1;         /* persistent and stored, or stored for its will only */
	bool asking : 1;          /* the question about its will is open */
	bool ending : 1;          /* ends when that is answered */
	bool dirty : 1;           /* stands in table->dirty or settling */
	bool replay_turn : 1;     /* whose turn it is to send: live or replay … */
	bool qos0_turn : 1;       /* … QoS 0 or the others */
	uint8_t max_qos : 2;      /* that is sent on this connection */
};

struct session_slot {
	struct session *session; /* NULL: free */
	uint32_t generation;
	uint32_t next_free; /* + 1; 0: none */
};

struct session_name {
	uint32_t slot, generation;
};

struct session_loaded {
	uint32_t slot, generation;
	bool was_connected;
};

struct session_gone {
	struct msg_client *client; /* referenced */
	uint64_t sid;
};

struct session_table {
	struct session_house *house;
	struct worker *worker;
	struct store_port *port;
	const struct session_route_ops *route_ops;
	void *route_arg;
	struct hash_key hash_key;
	VEC(struct session_slot) slots;
	uint32_t free_slot; /* + 1 */
	size_t count;
	/* Have something to do in phase SETTLE; and: have their turn in it now. */
	VEC(struct session_name) dirty, settling;
	VEC(struct session_terms *) terms;
	/* The session that changed its subscriptions last, in which turn, and how often in that. */
	uint64_t changed_sid, changed_turn, changes;
	VEC(struct session_gone) gone; /* leave the directory after the hand-over of this turn */
	struct store_id_block ids;
	uint64_t ids_turn;
	uint64_t settled_turn; /* the last one whose phase SETTLE has run here */
	int64_t queued_bytes, queued_sessions;
	int64_t shown_bytes, shown_sessions; /* what the house knows of them */
	VEC(struct session_loaded) loaded;   /* to be looked at in the first turn */
	struct timer boot_timer;
};

/* The turn's time. */
static inline int64_t
session_now(void)
{
	return context_current != NULL ? context_current->mono_ms : 0;
}

static inline int64_t
session_wall(void)
{
	return context_current != NULL ? context_current->wall_ms : 0;
}

static inline const struct session_limits *
session_limits_of(const struct session *session)
{
	return session->terms->limits;
}

/* An open that waits for this session, or NULL. */
static inline struct session_waiting *
session_waiting_of(const struct session *session)
{
	return session->sleep != NULL ? session->sleep->waiting : NULL;
}

/* Nothing with the null engine. */
static inline uint64_t
session_put(const struct session_table *table, const struct store_op *op)
{
	return table->port != NULL ? store_put(table->port, op) : 0;
}

/* --- session.c --- */

/* A session in a slot, known by its client id if `mapped`; takes its own reference on client. */
struct session *session_make(
    struct session_table *table, struct msg_client *client, uint64_t sid, bool mapped);
/* Frees it and all it owns; writes and fires nothing. */
void session_free(struct session *session);
/* Is pumped in this turn's phase SETTLE, or in a turn that follows. */
void session_mark_dirty(struct session *session);
/* The same, if there is something that waits for its turn. */
void session_wake(struct session *session);
void session_set_window(struct session *session);
/* No connection is there from this moment on, and: one is again. */
void session_fall_asleep(struct session *session, int64_t left_ms);
void session_wake_up(struct session *session);
/* The session leaves the directory after the next hand-over of chunks. */
void session_table_say_gone(struct session_table *table, struct msg_client *client, uint64_t sid);
/* Writes SESSION_PUT for a session that has a row. */
uint64_t session_put_row(const struct session *session);

/* --- directory.c --- */

struct hash_key session_directory_hash_key(const struct session_directory *directory);

/* --- deliver.c --- */

enum session_step {
	SESSION_STEP_DONE,  /* something was done */
	SESSION_STEP_NONE,  /* nothing to do now */
	SESSION_STEP_STOP,  /* no room */
	SESSION_STEP_AGAIN, /* the rest in another turn */
};

/* QUEUE_DEL, if it has a row. */
void session_delete_row(
    const struct session_table *table, uint64_t sid, struct session_delivery *delivery);
/* Drops it, row and all, counted and logged. */
void session_drop(
    struct session *session, struct session_delivery *delivery, enum session_drop reason);
/* Offers it; consumes it, or false: no room. For QoS 1 and 2 the window must be open. */
bool session_send(struct session *session, struct session_delivery *delivery);
/* Does what can be done now; true when it stopped for fairness. */
bool session_pump(struct session *session);
/* Tells publishers whether a shared message can go here. */
void session_show_room(const struct session *session);

/* --- inflight.c --- */

struct session_out *session_out_of(struct session *session); /* makes it */
bool session_window_is_open(const struct session *session);
bool session_inflight_send(struct session *session, struct session_delivery *delivery);
/* Resends and what was gated; false when nothing else may be sent before. */
bool session_inflight_pump(struct session *session, unsigned *budget);
void session_inflight_attach(struct session *session); /* a new connection serves */
void session_inflight_detach(struct session *session);
/* The other side has forgotten; how many go out as new. */
size_t session_inflight_forget(struct session *session);
/* A loaded row: takes its id. False: the id is taken or not to be had. */
bool session_inflight_load(
    struct session *session, struct session_delivery *delivery, bool released);
void session_out_free(struct session *session);

/* --- queue.c --- */

/* By the limits and the drop rule; consumes. */
void session_queue_add(struct session *session, struct session_delivery *delivery);
/* Without limits; false without memory. */
bool session_queue_push(
    struct session *session, enum session_ring_name ring, const struct session_delivery *delivery);
bool session_queue_pop(
    struct session *session, enum session_ring_name ring, struct session_delivery *delivery_out);
void session_queue_push_front(
    struct session *session, enum session_ring_name ring, const struct session_delivery *delivery);
uint32_t session_queue_count(const struct session *session, enum session_ring_name ring);
/* Drops what waits of QoS 0. */
void session_queue_drop_qos0(struct session *session);
/* What came for a shared subscription while asleep goes to somebody who is awake, or is queued. */
void session_queue_settle_fresh(struct session *session);
/* Gives queued deliveries of a subscription's group back; what nobody takes stays. */
void session_queue_give_back(struct session *session, const struct session_sub *sub);

/* --- replay.c --- */

/* Begins it, or begins anew; write: CURSOR_PUT, if stored. */
void session_replay_begin(
    struct session *session, struct session_sub *sub, uint64_t asof, uint64_t ticket, bool write);
void session_replay_close(struct session *session, struct session_sub *sub, bool write);
void session_replay_attach(struct session *session);
bool session_replay_is_open(const struct session *session);
enum session_step session_replay_step(struct session *session, unsigned *visits);
void session_replay_held_one(struct session *session, enum session_ring_name ring);

/* --- subscribe.c --- */

/* Of $share/NAME/ */
static inline size_t
session_sub_head_len(const struct session_sub *sub)
{
	return sub->share_len != 0 ? 8 + (size_t)sub->share_len : 0;
}

static inline struct bytes
session_sub_key(const struct session_sub *sub)
{
	return (struct bytes){sub->text, session_sub_head_len(sub) + sub->full_len};
}

static inline struct bytes
session_sub_filter(const struct session_sub *sub)
{
	size_t key_len = session_sub_head_len(sub) + sub->full_len;

	return (struct bytes){
	    sub->text + (sub->is_apart ? key_len : key_len - sub->filter_len), sub->filter_len};
}

static inline struct bytes
session_sub_share_name(const struct session_sub *sub)
{
	return (struct bytes){sub->text + (sub->share_len != 0 ? 7 : 0), sub->share_len};
}

/* Without $share/NAME/: as it is in the tree. */
static inline struct bytes
session_sub_full(const struct session_sub *sub)
{
	return (struct bytes){sub->text + session_sub_head_len(sub), sub->full_len};
}

static inline struct session_subs_more *
session_subs_more_of(const struct session *session)
{
	return session->subs != NULL ? session->subs->more : NULL;
}

/* Makes it; there are subs. */
struct session_subs_more *session_subs_make_more(struct session *session);
/* Drops it when nothing of it is in use. */
void session_subs_settle(struct session *session);
/* The next from *at on, which begins with 0; NULL: no more. None may come or go meanwhile. */
struct session_sub *session_sub_next(const struct session *session, size_t *at);
/* A delivery with a larger version was published after all of them were made. */
uint64_t session_subs_max_asof(const struct session *session);
struct session_sub *session_sub_by_group(const struct session *session, uint64_t group);
struct session_sub *session_sub_by_key(const struct session *session, struct bytes key);
/* Inserts without writing anything and without replay: for loading. */
int session_sub_load(struct session *session, const struct session_subscribe *subscribe);
/* Takes all out of the tree; the items stay until session_subs_free. */
void session_subs_leave_tree(struct session *session);
void session_subs_free(struct session *session);

/* --- inbound.c --- */

void session_inbox_load(struct session *session, uint16_t packet_id);
void session_inbox_free(struct session *session);
/* The connection is let go. */
void session_inbox_leave(struct session *session);

/* --- will.c --- */

/* Takes the reference over; writes WILL_PUT if the session has a row. */
void session_will_set(struct session *session, struct msg *msg, uint32_t delay_s);
/* Dropped without being published. */
void session_will_cancel(struct session *session);
void session_will_free(struct session *session);
/* Publishes it; false: a question is open, session_will_answered goes on. */
bool session_will_fire(struct session *session);

/* --- expiry.c --- */

bool session_is_expired(const struct session *session);
bool session_will_is_due(const struct session *session);
/* Asleep: sets the timer for what comes first. */
void session_arm(struct session *session);
/* Asleep and nothing is asked: fires what is due, ends if it must, or sets the timer. */
void session_go_on(struct session *session);

/* --- end.c --- */

/* Detached, nothing asked, its will settled. *ticket_io becomes what waits for the deletion of a
 * stored session. */
void session_end(struct session *session, uint64_t *ticket_io);

/* --- open.c --- */

/* The connection is let go: no sink any more. */
void session_let_go(struct session *session);
void session_waiting_free(struct session *session);
/* The will's question was answered: the waiting open goes on. */
void session_waiting_go_on(struct session *session);

#endif
