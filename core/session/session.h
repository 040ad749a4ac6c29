/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: QoS 0, 1 and 2, packet ids, receive maximum, queue limits and drop rule, retained
 * replay, expiry, delayed will. A session lives on the worker where it was made and never moves;
 * all functions run on that worker's thread. It knows no socket, no listener and no packet: it
 * speaks to a session_sink, and to route through session_route_ops.
 *
 * Names of a session: slot and generation in its worker's table (in the topic tree), sid (in the
 * store), client id (in the directory).
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "msg/client.h"
#include "session/delivery.h"
#include "session/directory.h"
#include "session/limits.h"
#include "session/sink.h"
#include "store/store.h"
#include "topic/retain.h"
#include "topic/tree.h"

struct conf;
struct worker;
struct session_table; /* a worker's sessions */

/* --- the house, shared by all workers --- */

struct session_house {
	struct session_directory *directory;
	struct topic_tree *tree;
	struct topic_retain *retain;
	struct store_ids ids;            /* mid, qid, sid */
	_Atomic int64_t queued_bytes;    /* of all queues; published by tables once per turn */
	_Atomic int64_t queued_sessions; /* how many have something queued; likewise */
	_Atomic int64_t max_memory;      /* budget of queued_bytes; 0 = none */
	_Atomic int64_t sessions;        /* all; for max_sessions, see session_open */
	_Atomic int64_t max_sessions;    /* 0 = no limit */
	struct store *store;             /* NULL with the null engine */
};

/* --- what route gives --- */

enum session_will_status {
	SESSION_WILL_DONE,    /* published or denied; its rows, WILL_DEL included, are in the open
				 chunk */
	SESSION_WILL_PENDING, /* session_will_answered will be called */
};

enum session_drop {
	SESSION_DROP_QUEUE_FULL,
	SESSION_DROP_QOS0_OFFLINE,
	SESSION_DROP_EXPIRED,
	SESSION_DROP_TOO_LARGE,
	SESSION_DROP_DENIED,
	SESSION_DROP_MEMORY,
	SESSION_DROP_GONE,
};

struct session_route_ops {
	/*
	 * Publishes a will through all of route (intercept, authorize, retain, fan). `will` is
	 * borrowed: its data are the will as it came (topic with prefix), msg->qos, MSG_RETAIN.
	 * Writes WILL_DEL(sid) in the chunk of the will's own rows, or of its denial, if `stored`.
	 */
	enum session_will_status (*will)(void *arg, struct session_table *table,
	    struct session *session, struct msg *will, struct msg_client *client, bool stored);
	/*
	 * Gives a shared delivery to another member of its group ($share/NAME/FILTER), not to this
	 * session: consumes it; moves its row (QUEUE_DEL here, QUEUE_PUT there, in one chunk).
	 * False: nobody else is there, nothing was consumed. from_sid: of this session.
	 */
	bool (*redispatch)(void *arg, struct session_table *table, struct bytes group_name,
	    struct session_delivery *delivery, uint64_t from_sid, struct bytes client_id);
	/* A delivery is dropped; a session ends. Both may be NULL. */
	void (*dropped)(void *arg, struct session *session, const struct session_delivery *delivery,
	    enum session_drop reason);
	void (*ended)(void *arg, struct session *session);
};

/* --- a worker's table --- */

struct session_table_options {
	struct session_house *house;
	struct worker *worker;
	struct store_port *port; /* NULL with the null engine */
	const struct session_route_ops *route_ops;
	void *route_arg;
};

/* Before loop_start; hooks itself into phases SETTLE (pumps sessions that have something to do) and
 * STORE (publishes counts, ends the turn of its id block). */
struct session_table *session_table_new(const struct session_table_options *options);
/* After loop_join: frees all sessions without firing anything. */
void session_table_free(struct session_table **table);

struct worker *session_table_worker(const struct session_table *table);
struct store_port *session_table_port(const struct session_table *table);
/* A mid, qid or sid, valid in this turn. */
uint64_t session_table_draw_id(struct session_table *table);

/* NULL when the generation does not stand any more. */
struct session *session_table_get(
    const struct session_table *table, uint32_t slot, uint32_t generation);
struct session *session_table_find(const struct session_table *table, struct bytes client_id);
/* All sessions, for reload and status; the callback must not end sessions. */
void session_table_each(
    struct session_table *table, void (*fn)(struct session *session, void *arg), void *arg);
size_t session_table_count(const struct session_table *table);

/* What a table holds, for the account at the end of a stress test and for status; own thread. */
struct session_counts {
	uint64_t sessions, connected, subscriptions, inflight, queued, queued_bytes, received,
	    replays;
};
void session_table_counts(struct session_table *table, struct session_counts *counts_out);

/* What operators are told of a session. The client is borrowed for the call. */
struct session_info {
	const struct msg_client *client;
	bool is_attached;
	bool has_will;
	uint32_t expiry_s; /* UINT32_MAX: never */
	int64_t left_ms;   /* since when it sleeps, monotonic; -1: it does not */
	uint64_t subscriptions, queued, queued_bytes, inflight;
};
/* True: the session ends. */
typedef bool session_page_fn(const struct session_info *info, void *arg);
/* Own thread: those in the next `max` places from *slot_io on, which begins at 0. True: there are
 * more. */
bool session_table_page(
    struct session_table *table, uint32_t *slot_io, uint32_t max, session_page_fn *fn, void *arg);
/* The one of this client id. False: it is not here. */
bool session_table_tell(
    struct session_table *table, struct bytes client_id, session_page_fn *fn, void *arg);

/* --- opening and leaving (flows 4 and 9) --- */

struct session_open {
	struct msg_client *client;           /* whose client_id is the session's; referenced */
	const struct session_limits *limits; /* part of conf */
	struct conf *conf; /* referenced while the session uses limits; may be NULL in tests */
	uint32_t
	    expiry_s; /* Session Expiry Interval in force, already capped; UINT32_MAX = never */
	uint16_t receive_maximum; /* of the client (65535 for MQTT 3): window is the smaller of this
				     and max_inflight */
	bool clean_start;
	bool store; /* the listener's durability is not `none`: a persistent session has rows */
	struct msg *will; /* NULL: none; a reference is taken over when it is opened */
	uint32_t will_delay_s;
	bool has_max_qos; /* the other side takes nothing above max_qos (a link's): what is more is
			     sent with that */
	uint8_t max_qos;
};

enum session_open_status {
	SESSION_OPENED,   /* attached; CONNACK may be sent when the ticket is durable */
	SESSION_WAIT,     /* a will's question is open: sink->ops->opened comes (or ended) */
	SESSION_OUTDATED, /* a newer claim is attached or waits: this connection is the one taken
			     over */
	SESSION_REFUSED,  /* reason_out says why: 0x88 store is failing, 0x97 max_sessions */
};

/*
 * Home worker. Takes over (the old sink gets `ended` and its will's rule is kept), resumes, or ends
 * the old session and makes a new one. A persistent session writes SESSION_PUT (a will: WILL_PUT,
 * also when the session is transient) and ticket_out is what CONNACK waits for (0: nothing).
 * Whether a session is persistent is fixed when it is made. Nothing is sent to the sink before
 * session_serve. The struct is only read; with SESSION_WAIT its contents are copied.
 */
enum session_open_status session_open(struct session_table *table, const struct session_open *open,
    struct session_sink *sink, struct session **session_out, bool *present_out,
    uint64_t *ticket_out, uint8_t *reason_out);

/* The connection died while session_open's answer was SESSION_WAIT. */
void session_open_cancel(
    struct session_table *table, struct session_sink *sink, struct bytes client_id);

/* CONNACK is in the output: what is in flight is resent (PUBLISH with DUP, PUBREL), then replays
 * and the queue go on. */
void session_serve(struct session *session);

enum session_leave {
	SESSION_LEAVE_NORMAL,   /* DISCONNECT 0x00: the will is dropped */
	SESSION_LEAVE_ABNORMAL, /* anything else: the will is owed after its delay */
	SESSION_LEAVE_SHUTDOWN, /* the broker stops: wills are kept and not fired */
};

/* The connection ends. A session with expiry 0 ends now (its will at once), others sleep until
 * their expiry. The session pointer is not to be used afterwards. */
void session_detach(struct session *session, enum session_leave how);

/* DISCONNECT brought another Session Expiry Interval. */
void session_set_expiry(struct session *session, uint32_t expiry_s);

/*
 * The other side of a link has forgotten the session (it said Session Present 0). Nobody is
 * attached. What it had taken in its charge (PUBREC was there) is over; what it was sent goes out
 * again as new; the packet ids that it had used are free. All of it is in one chunk. sent_out: how
 * many may come twice. received_out: how many ids of QoS 2 it was not released from.
 */
void session_forgotten(struct session *session, size_t *sent_out, size_t *received_out);

/* Re-authentication: another snapshot of the same client. Referenced. */
void session_set_client(struct session *session, struct msg_client *client);
/* Reload: other limits. */
void session_set_limits(
    struct session *session, const struct session_limits *limits, struct conf *conf);

/* Ends it, attached or not (administration, expiry). */
void session_terminate(struct session *session);

/* route: the will that was PENDING has been carried out or denied (slot and generation as they were
 * when it was asked; stale ones are ignored). */
void session_will_answered(struct session_table *table, uint32_t slot, uint32_t generation);

/* --- what it is --- */

struct bytes session_client_id(const struct session *session);
struct msg_client *session_client(const struct session *session); /* borrowed */
uint64_t session_sid(const struct session *session);
uint32_t session_slot(const struct session *session);
uint32_t session_generation(const struct session *session);
/* Has rows in the store (never with the null engine). */
bool session_is_stored(const struct session *session);
bool session_is_attached(const struct session *session);
/* Where it is attached; NULL: nowhere. */
struct session_sink *session_sink_of(const struct session *session);
uint32_t session_expiry_s(const struct session *session);
struct session_table *session_table_of(const struct session *session);

/* --- outgoing --- */

/* Consumes the delivery. Sends it, queues it, or drops it by the rules, counted with its reason. A
 * publisher's worker may call this for a session of its own worker in the middle of its fan-out:
 * output goes to the sink at once, nothing else happens in the call. */
void session_deliver(struct session *session, struct session_delivery *delivery);
/* The same for a delivery whose message is lent, so that it costs no reference: true when it is
 * over, sent or dropped; false: nothing has happened, and session_deliver is to have one of its
 * own. Of QoS 0, with at most one Subscription Identifier. */
bool session_lend(struct session *session, const struct session_delivery *delivery);
/* The same before there is a message: of QoS 0, without properties, RETAIN and Subscription
 * Identifier. False: nothing has happened. */
bool session_pass(struct session *session, const struct msg_draft *draft);

/* A delivery whose session is gone: deletes its row, or (shared) gives it back under group_name.
 * Consumes. */
void session_deliver_lost(struct session_table *table, uint64_t sid, struct bytes group_name,
    struct session_delivery *delivery);

/* From the client. Unknown packet ids are ignored (PUBACK, PUBCOMP). */
void session_puback(struct session *session, uint16_t packet_id);
/* PUBREC: true: send PUBREL — the session does it through its sink when it is durable; false: no
 * such id (PUBREL 0x92 for MQTT 5, plain for 3, by the caller). */
bool session_pubrec(struct session *session, uint16_t packet_id, uint8_t reason);
void session_pubcomp(struct session *session, uint16_t packet_id);

/* The sink has room again: offers what waits in this turn's phase SETTLE. */
void session_has_room(struct session *session);

/* --- inbound QoS 2 (flow 7): the set belongs to the session --- */

enum session_inbound {
	SESSION_INBOUND_NEW,   /* entered as asked: now route it, then session_inbound_done */
	SESSION_INBOUND_ASKED, /* a question is open: sink->received tells its verdict; send nothing
				  now */
	SESSION_INBOUND_KNOWN, /* it was taken: PUBREC 0x00 when ticket_out is durable */
};
enum session_inbound session_inbound_begin(
    struct session *session, uint16_t packet_id, uint64_t *ticket_out);

/* The verdict: reason < 0x80 keeps the id (RECV_PUT is written here, in the open chunk, if the
 * session is stored), and *ticket_io, which holds what the publication's rows wait for (0:
 * nothing), becomes what PUBREC waits for. Else the id leaves the set. Tells the sink by `received`
 * when others ask for it (ASKED was given), and `tell` says whether the caller wants that in any
 * case. */
void session_inbound_done(
    struct session *session, uint16_t packet_id, uint8_t reason, uint64_t *ticket_io, bool tell);

/* PUBREL: 0x00 with the ticket that PUBCOMP waits for, or 0x92: not in the set. */
uint8_t session_inbound_release(struct session *session, uint16_t packet_id, uint64_t *ticket_out);

size_t session_inbound_count(struct session *session);
/* Are there so many or more that came on the present connection, since quotas do not outlive one
 * (MQTT 5, 4.9), and are not through: until PUBREL came, or until that is durable? */
bool session_inbound_reaches(const struct session *session, size_t most, bool until_durable);
/* Is the packet id in the set? */
bool session_inbound_has(const struct session *session, uint16_t packet_id);

/* --- subscriptions --- */

struct session_subscribe {
	struct bytes filter; /* as the client wrote it, with $share, without prefix */
	struct bytes
	    full_filter; /* what goes into the tree: prefix before the filter behind $share/NAME/ */
	struct bytes share_name;  /* empty: not shared */
	uint32_t subscription_id; /* 0 with parts */
	/* parts > 1: only messages whose topics fall into this one of so many parts. */
	uint16_t part, parts;
	uint8_t qos; /* granted */
	bool no_local;
	bool retain_as_published;
	uint8_t retain_handling;
};

/* Inserts into the tree or replaces; SUB_PUT if stored; begins a replay as Retain Handling says (it
 * starts after the caller's turn has sent SUBACK: in phase SETTLE). 0; ERR_LIMIT:
 * max_subscriptions, or far too many in one turn; ERR_NOMEM. ticket_out: what SUBACK waits for,
 * unchanged when nothing was written. */
int session_subscribe(
    struct session *session, const struct session_subscribe *subscribe, uint64_t *ticket_out);

/* False: there was none (0x11). */
bool session_unsubscribe(struct session *session, struct bytes filter, uint64_t *ticket_out);

bool session_has_subscription(const struct session *session, struct bytes filter);
size_t session_subscription_count(const struct session *session);
/* Each subscription; the callback may return false to have it removed (re-check after reload). */
void session_each_subscription(struct session *session,
    bool (*fn)(struct session *session, const struct session_subscribe *subscription, void *arg),
    void *arg);

/* --- loading what the store holds: on main, before workers start --- */

struct session_loader;
/* tables: one per worker, sessions are dealt to them in turn (worker indices first …
 * first+count-1). */
int session_load(struct session_house *house, struct session_table *const *tables, size_t count,
    const struct session_limits *limits, struct conf *conf, int64_t wall_ms, char *why,
    size_t why_size);

#endif
