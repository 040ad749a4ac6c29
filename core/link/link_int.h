/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of link share. */
#ifndef LINK_LINK_INT_H
#define LINK_LINK_INT_H

#include <avocet/avocet_link.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/vec.h"
#include "link/link.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "loop/worker.h"
#include "msg/draft.h"
#include "peer/peer.h"
#include "plugin/guest.h"
#include "transport/dial.h"
#include "transport/tls_ctx.h"

struct link;
struct link_echo;

/* --- options.c: what open was given, copied --- */

struct link_sub {
	struct bytes filter;
	uint8_t qos;
	bool no_local, retain_as_published;
	uint8_t retain_handling;
};

struct link_subs {
	struct link_sub *items;
	size_t count;
};

struct link_remote {
	uint32_t flags; /* AVOCET_LINK_* */
	VEC(char *) addresses;
	struct bytes client_id, username, method;
	struct buf password; /* wiped */
	bool has_username, has_password;
	char *path, *server_name, *state_topic; /* NULL: none */
	struct tls_ctx *tls;                    /* NULL: none */
	struct msg_draft will, birth;
	bool has_will, has_birth;
	struct link_subs subs;
	VEC(struct bytes) unsubs;
	uint8_t version; /* enum wire_version */
	uint16_t keep_alive_s, receive_max, topic_alias_max;
	uint32_t session_expiry_s, max_packet_size;
	uint32_t connect_timeout_ms, backoff_min_ms, backoff_max_ms, lazy_count, lazy_idle_ms;
};

struct link_options {
	struct arena arena; /* of all texts */
	char *name;
	struct bytes client_id, username; /* of the session here */
	struct link_subs subs;
	struct link_remote *remote; /* NULL: local */
	uint32_t session_expiry_s, receive_max, worker;
	uint32_t part, parts;
	bool forgets;
	struct msg_draft will; /* local */
	bool has_will;
};

/* NULL with a status and a sentence. Main: reads files. */
struct link_options *link_options_new(
    const avocet_link_opts *given, const char *instance, int32_t *status, avocet_error *err);
void link_options_free(struct link_options **options);
/* A sentence for who called; err may be NULL. */
int32_t link_refuse(avocet_error *err, int32_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool link_filter_is_good(struct bytes filter);

/* --- the link --- */

enum link_state {
	LINK_TRAVELS,    /* on its way to its worker */
	LINK_RETRIES,    /* the session could not be had; again after a while */
	LINK_OPENING,    /* the session is waited for, or its subscriptions are asked about */
	LINK_LOCAL,      /* local: serves */
	LINK_IDLE,       /* remote, lazy: nothing to do */
	LINK_WAITING,    /* remote: for the next attempt */
	LINK_DIALLING,   /* for a connection */
	LINK_GREETING,   /* for the stream, or the plugin's first data; CONNECT is not sent */
	LINK_CONNECTING, /* for CONNACK or AUTH */
	LINK_PROVING,    /* for what the plugin says of the remote */
	LINK_ATTACHING,  /* for the session */
	LINK_UP,
	LINK_CLOSED,
};

/* A connection to a remote; it outlives its link for a moment. */
struct link_conn {
	struct peer peer;      /* first */
	struct link *link;     /* NULL: it has been left */
	struct list_link item; /* of table->conns */
	struct link_table *table;
	uint64_t up_ms;       /* since when it is up */
	uint32_t sub_at;      /* remote subscriptions that were asked for */
	uint32_t sub_known;   /* and answered */
	uint32_t unsub_at;    /* likewise, of those that are not wanted any more */
	uint16_t asked_id;    /* of the SUBSCRIBE or UNSUBSCRIBE that is not answered; 0: none */
	uint16_t asked_count; /* its filters */
	uint16_t last_id;     /* of these; they are apart from those of PUBLISH */
	bool asks_to_end;     /* it is an UNSUBSCRIBE */
	uint16_t receive_max; /* of the remote */
	uint8_t max_qos;
	bool has_session; /* it had kept it */
	bool is_asked;    /* the plugin is, about authentication */
	bool no_retain;
	bool was_clean; /* its CONNECT said Clean Start 1 */
	bool was_private;
};

struct link_publication;

/* To a remote at a time: the session has no packet ids above, so those are free for other packets.
 */
enum { LINK_MOST_INFLIGHT = 32768 };

struct link {
	struct mail mail;      /* first: its way to its worker */
	struct list_link item; /* of table->links */
	struct link_table *table;
	struct link_house *house;
	struct avocet_self *self; /* a reference */
	avocet_link_events events;
	void *user;
	uint64_t handle;
	struct link_options *options;
	struct conf *conf; /* a reference */
	const struct link_terms *terms;
	struct msg_client *client;
	struct session_sink sink;
	struct session *session;   /* attached; NULL: not now */
	uint32_t slot, generation; /* of the session, once there is one */
	struct link_asking *asking;
	struct timer timer; /* of its state; back-off, lazy, ping */
	struct list line;   /* of publications that wait, in their order */
	size_t line_bytes;
	enum link_state state;
	bool was_ready;  /* the plugin knows that the session stands */
	bool asks_again; /* about its subscriptions, when `asking` has ended … */
	bool resends;    /* … and what is retained goes out in any case */
	bool is_claimed;
	bool ends; /* the session goes with the link */

	/* Remote. */
	struct dial *dial;
	struct link_conn *conn;
	struct link_echo *echo;        /* NULL: none is expected */
	int64_t connect_end_ms;        /* until then the remote must have accepted */
	int64_t used_ms;               /* when something was sent or received last */
	uint32_t attempt;              /* since it was up */
	uint32_t at;                   /* the address that is dialled */
	bool is_fresh;                 /* here is no session for the remote's to go on with */
	bool wipes;                    /* MQTT 3: the next connection is there to end a session */
	bool at_once;                  /* the next attempt need not wait */
	bool no_private;               /* the remote did not understand */
	bool has_unsubscribed;         /* the remote knows what is not wanted any more */
	bool is_blocked;               /* the first of the line waits for the store */
	bool shows_up;                 /* state_topic says 1 */
	struct list_link blocked_item; /* of table->blocked */
	VEC(uint16_t) released;        /* local, QoS 2: to be completed in phase SETTLE */
	struct list_link settle_item;
	_Atomic int32_t api_count; /* local: publications from the call to their end */
	_Atomic bool wants_room;
};

/* A publication from a link. */
struct link_publication {
	struct route_publication publication; /* first */
	struct link_table *table;
	struct link *link; /* NULL: it has gone */
	struct msg_client *client;
	struct list_link order;    /* of link->line */
	struct list_link all_item; /* of table->publications */
	uint64_t ack;              /* remote, QoS 1: its place in the FIFO */
	uint64_t cookie;           /* local */
	struct link_conn *conn;    /* remote: that it came by; NULL: it has gone */
	struct store_wait wait;    /* local: for what `published` tells */
	size_t size;
	uint16_t packet_id;
	uint8_t qos;
	bool is_local;
	bool is_ready;
	bool is_waiting_store;
	bool is_forgotten; /* remote: its packet id means nothing any more */
};

struct link_table {
	struct link_house *house;
	struct worker *worker;
	struct session_table *sessions;
	struct route_desk *route;
	struct plugin_desk *plugins;
	struct store_port *port;
	struct peer_room room;
	struct dial_room dials;
	struct list links, conns, publications, blocked, settling, askings;
	struct timer poll;    /* while withholding */
	char *room_for_topic; /* of 65535 bytes, with the first mapping */
	bool stopping, closed;
};

struct link_entry {
	struct link *link; /* NULL: free */
	uint32_t generation;
	uint16_t worker; /* 0: on its way */
};

struct link_house {
	struct link_house_options options;
	struct link_table *tables[WORKER_MAX];
	struct lock lock;
	VEC(struct link_entry) entries; /* guarded by the lock */
	uint32_t next_worker;           /* main's */
	_Atomic bool is_stopping;
};

/* --- house.c --- */
/* Own thread: the link of a handle, if it is here. */
struct link *link_find(struct link_table *table, uint64_t handle);
uint16_t link_worker_of(struct link_house *house, uint64_t handle);
uint64_t link_enter(struct link_house *house, struct link *link);
void link_moved(struct link_house *house, uint64_t handle, uint16_t worker);
void link_forget(struct link_house *house, uint64_t handle);
bool link_name_is_taken(struct link_house *house, struct avocet_self *self, const char *name);

/* --- life.c --- */
void link_arrive(struct worker *worker, struct mail *mail);
/* Opens the session; remote: once its connection may use it. */
void link_open_session(struct link *link);
void link_opened(struct session_sink *sink, struct session *session, bool present, uint64_t ticket,
    uint8_t reason);
/* The one way to end. */
void link_close(struct link *link, uint8_t reason, enum session_leave how);
void link_free(struct link *link);
void link_detach_session(struct link *link, enum session_leave how);
void link_log(struct link *link, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct session *link_session_of(const struct link *link);
static inline bool
link_is_remote(const struct link *link)
{
	return link->options->remote != NULL;
}

/* --- subscribe.c: of the session here --- */
/* Those that are not wanted go, those that are wanted are asked about and made; then done. */
void link_subscribe_all(struct link *link, void (*done)(struct link *link));
void link_subscribe_some(struct link *link, const struct link_subs *subs, uint64_t cookie);
/* The rules may have changed: those that it may not have any more end. resends: what is retained
 * goes out again. */
void link_recheck(struct link *link, bool resends);
void link_drop_asking(struct link *link);
void link_free_askings(struct link_table *table);

/* --- local.c --- */
extern const struct session_sink_ops link_local_sink;
void link_local_begin(struct link *link, bool present);
void link_local_settle(struct link_table *table);
void link_local_ack(struct link *link, uint64_t delivery, uint8_t reason);
void link_local_publish(struct link *link, struct msg_draft *draft, uint64_t cookie);
/* A publication is over. */
void link_local_leave(struct link *link);
enum { LINK_MOST_UNDER_WAY = 1024 }; /* publications of a local link */

/* --- remote.c --- */
extern const struct peer_ops link_peer_ops;
void link_remote_begin(struct link *link);
/* The connection is over; says goodbye with the reason (0: nothing is said), and tries again. */
void link_lose(struct link *link, uint8_t goodbye, uint8_t reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void link_remote_opened(struct link *link);
void link_remote_close(struct link *link);
void link_drop_conn(struct link *link, bool at_once);
void link_show_state(struct link *link, bool is_up);
void link_auth_replied(struct link *link, int32_t status, struct bytes data);

/* --- connect.c --- */
void link_greet(struct link *link);
void link_send_connect(struct link *link, struct bytes data);
void link_on_connack(struct link *link, const struct wire_connack *packet);
void link_on_auth(struct link *link, const struct wire_disconnect *packet);
void link_on_suback(struct link *link, const struct wire_suback *packet, bool is_of_unsubscribe);
void link_come_up(struct link *link);
void link_tell_auth(struct link *link, uint32_t step, struct bytes data);

/* --- intake.c --- */
void link_on_publish(struct link *link, const struct wire_publish *packet);
void link_on_pubrel(struct link *link, const struct wire_ack *packet);

/* --- line.c --- */
/* What PUBACK and PUBREC may say to this remote. */
uint8_t link_told_reason(const struct link_conn *conn, uint8_t qos, uint8_t reason);
/* A remote that sends more than these workers take is not read for a while. */
void link_stop_for_credit(struct link *link, uint32_t workers);
void link_log_refusal(struct link *link, struct bytes topic, uint8_t reason);
/* A publication that may wait, last in the line of its link. NULL: no memory. */
struct link_publication *link_publication_new(
    struct link *link, const struct route_publication *on_stack);
/* Asks, and carries it out when it is its turn. */
void link_publish(struct link *link, struct link_publication *made);
/* It has its answer: it is carried out when it is its turn. */
void link_publication_ready(struct link_publication *made);
/* The store works again, perhaps. */
void link_unblock(struct link_table *table);
/* The remote has forgotten the session: packet ids of what waits are not those of what comes. */
void link_forget_publications(struct link *link);
/* The connection, or the link, goes: what waits for an answer is carried out all the same. */
void link_drop_publications(struct link *link, bool goes);
void link_free_publications(struct link_table *table);

/* --- sink.c --- */
extern const struct session_sink_ops link_remote_sink;
static inline struct link *
link_of_sink(struct session_sink *sink)
{
	return list_item(sink, struct link, sink);
}

/* --- echo.c --- */
/* What was sent to a remote of MQTT 3 that sends it back. Own thread. */
struct link_echo *link_echo_new(void);
void link_echo_free(struct link_echo **echo);
void link_echo_sent(
    struct link_echo *echo, struct bytes topic, struct bytes payload, int64_t now_ms);
/* True: it is one of these, come back; it counts once. */
bool link_echo_is(struct link_echo *echo, struct bytes topic, struct bytes payload, int64_t now_ms);

#endif
