/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of conn share. */
#ifndef CONN_CONN_INT_H
#define CONN_CONN_INT_H

#include "base/vec.h"
#include "conf/conf.h"
#include "conn/conn.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "loop/worker.h"
#include "wire/props.h"

struct conn_house {
	struct conn_house_options options;
	struct conn_table *tables[WORKER_MAX]; /* by worker; NULL: none */
	_Atomic int64_t delayed;               /* refusals that are held back */
	_Atomic bool told_names;               /* it was said that user names are ignored */
};

struct conn_moved {
	uint64_t handle;
	uint16_t worker;
};

struct conn_table {
	struct conn_house *house;
	struct worker *worker;
	struct session_table *sessions;
	struct route_desk *route;
	struct plugin_desk *plugins;
	struct store_port *port;
	struct peer_room room;
	struct list conns;
	struct list moving;           /* leave for another worker in phase SETTLE */
	struct list rated;            /* paused for their rate */
	struct list blocked;          /* struct conn_line: until the store is well */
	size_t waiting_bytes;         /* of all publications that wait, in all lines */
	struct list publications;     /* struct conn_publication, all that wait, also of connections
					 that have gone */
	struct list subscribes;       /* struct open_subscribe: likewise */
	struct list rechecks;         /* struct recheck: their questions are open */
	VEC(struct conn_moved) moved; /* handles to be rewritten once the mail has left */
	struct timer poll;            /* while withholding, or while somebody is over its rate */
	struct buf topic;             /* scratch: a topic with its prefix */
	_Atomic unsigned count;
	bool stopping; /* nothing is read any more */
	bool closed;   /* everybody is sent away; who arrives now, too */
};

enum conn_state {
	CONN_NEW,      /* waits for CONNECT */
	CONN_ASKED,    /* a question about CONNECT or AUTH is open */
	CONN_EXCHANGE, /* waits for the client's AUTH */
	CONN_DELAYED,  /* refused; the answer is held back */
	CONN_MOVING,   /* on its way home */
	CONN_OPENING,  /* waits for its session: a will's question is open */
	CONN_ACKING,   /* CONNACK waits for the store */
	CONN_SERVING,
	CONN_CLOSING,
	CONN_STATE_COUNT,
};

/* Re-authentication of a serving connection. */
enum conn_reauth { CONN_REAUTH_NONE, CONN_REAUTH_ASKED, CONN_REAUTH_EXCHANGE };

struct open_subscribe;

/* What CONNECT said, from its arrival until CONNACK; and what is found out about it. */
struct conn_connect {
	struct mail mail; /* carries the connection home */
	struct conn *conn;
	struct store_wait wait; /* CONNACK's */
	struct msg_draft will;  /* owned; topic with prefix */
	struct msg *will_msg;   /* sealed */
	uint8_t *texts;         /* what the views below point to */
	struct bytes client_id; /* as it will be; owned through texts or `assigned` */
	struct bytes username;
	struct bytes password;
	struct bytes method;
	struct bytes props; /* a checked block; empty where no plugin is asked */
	char assigned[128];
	uint32_t texts_len;
	uint32_t expiry_asked_s;
	uint32_t expiry_s;
	uint32_t max_packet_size;
	uint32_t will_delay_s;
	uint16_t keep_alive; /* in force */
	uint16_t keep_alive_asked;
	uint16_t receive_maximum;
	uint16_t topic_alias_maximum;
	uint16_t home;            /* MOVING: the worker it goes to */
	uint8_t refusal;          /* DELAYED */
	const char *refusal_text; /* static */
	bool has_will;
	bool has_username, has_password, has_method;
	bool is_proven; /* the user name, by the stream */
	bool clean_start;
	bool wants_response_information;
	bool is_assigned;
	bool present;
	bool authenticated;
	struct plugin_said *said; /* NULL: nothing more */
};

/*
 * The publications of a connection that wait: they are carried out in the order in which they came,
 * whatever the order of the answers [MQTT-4.6.0-5], and when their connection has gone, too.
 * References: the connection and each publication that stands in it. It goes when nothing waits.
 */
struct conn_line {
	struct list waiting;           /* of conn_publication.order */
	struct list_link blocked_link; /* of table->blocked: the first waits for the store */
	struct conn *conn;             /* NULL: it has gone */
	struct conn_table *table;
	uint32_t count;       /* of those that wait */
	size_t bytes;         /* of payloads and properties that wait */
	uint32_t ready_count; /* of those that wait */
	uint32_t users;
	bool is_going; /* somebody carries out what is ready */
};

/* A question about the connection itself: authentication and the will's authorization. */
struct conn_question {
	struct plugin_request request; /* first */
	struct conn *conn;             /* NULL: it has gone */
	struct msg_client *client;
	struct msg_draft draft; /* the will, if that is what is asked */
	struct buf input;       /* what method and data point to */
};

/* What matters only while something of it is under way. */
struct conn_more {
	struct conn *conn;
	struct conn_question *question;              /* open */
	struct open_subscribe *subscribing;          /* a SUBSCRIBE that is asked about */
	void *exchange;                              /* the authority's, between AUTH steps */
	struct plugin_authority *exchange_authority; /* whose; it may have gone, with its ops not */
	void (*exchange_free)(struct plugin_authority *authority, void *exchange);
	struct list_link wait_link; /* of table->moving or rated */
	int64_t rate_at_us;         /* publications are allowed from here on (GCRA) */
	int64_t bytes_at_us;
	struct plugin_said *said; /* for DISCONNECT, while it closes */
	uint8_t reauth;           /* enum conn_reauth */
};

/* On which an authenticator has let it in. */
struct conn_terms {
	int64_t expires_ms;            /* UNIX time; 0: never */
	uint32_t max_session_expiry_s; /* 0: as the listener says, also below */
	uint32_t max_receive;
};

struct conn {
	struct peer peer; /* first */
	struct session_sink sink;
	struct conn_table *table;
	struct conf *conf;
	const struct conn_listener *listener;
	struct session *session;      /* attached, from OPENED on */
	struct msg_client *client;    /* from acceptance on */
	struct conn_connect *connect; /* until CONNACK */
	struct conn_more *more;       /* NULL: nothing of it is under way */
	struct conn_line *line;       /* publications that wait; NULL: none */
	struct conn_terms *terms;     /* NULL: those of the listener */
	struct list_link link;        /* of the table */
	struct conn_gone *gone;       /* may be NULL */
	uint64_t handle;              /* 0: none yet */
	uint32_t connect_expiry_s;    /* Session Expiry Interval of CONNECT */
	uint16_t prefix_len;
	uint8_t state; /* enum conn_state */
	bool is_local : 1;
	bool claimed : 1;
	bool said_ignored_name : 1;
	bool wants_marks : 1; /* it is the link of another broker */
};

/* A PUBLISH that waits for an answer, for its turn, or for the store. */
struct conn_publication {
	struct route_publication publication; /* first */
	struct conn *conn;                    /* NULL: it has gone */
	struct conn_table *table;
	struct msg_client *client;
	struct conn_line *line;
	struct list_link order;    /* of line->waiting */
	struct list_link all_link; /* of table->publications */
	uint64_t ack;              /* its place in the FIFO (QoS 1) */
	size_t size;               /* what of line->bytes is its */
	uint16_t packet_id;
	uint8_t qos;
	bool is_ready; /* all is answered with yes: only its turn is missing, and the store */
};

static inline struct conn *
conn_of_peer(struct peer *peer)
{
	return (struct conn *)(void *)peer;
}

static inline uint8_t
conn_version(const struct conn *conn)
{
	return conn->peer.version;
}

static inline const struct conn_limits *
conn_limits_of(const struct conn *conn)
{
	return conn->listener->limits;
}

/* --- conn.c --- */

/* The one way to die: says goodbye as the state and version allow (CONNACK or DISCONNECT with the
 * reason; nothing for WIRE_REASON_SUCCESS), leaves the session, logs, closes. The format may be
 * NULL: the reason's name. */
void conn_close(struct conn *conn, enum session_leave how, uint8_t reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void conn_log(struct conn *conn, enum log_level level, uint8_t reason, const char *sentence);
void conn_free_connect(struct conn *conn);
extern const struct peer_ops conn_peer_ops;
/* Makes it; and: drops it when nothing of it is under way. */
struct conn_more *conn_more_of(struct conn *conn);
void conn_settle(struct conn *conn);
/* Sets the state; dies on an impossible step. */
void conn_set_state(struct conn *conn, enum conn_state state);

/* --- dispatch.c --- */
void conn_dispatch(struct peer *peer, struct wire_packet *packet);

/* --- connect.c --- */
void conn_on_connect(struct conn *conn, const struct wire_connect *packet);
/* CONNACK with a refusal, then closed. */
void conn_refuse(struct conn *conn, uint8_t reason, const char *sentence);
/* Authentication is over with yes; what was said to it stands in conn->connect. */
void conn_accepted(struct conn *conn, bool was_asked);
/* The snapshot, with what plugins want to know of it. */
struct msg_client *conn_make_client(struct conn *conn, const struct msg_client_parts *parts);
void conn_send_connack(struct conn *conn, uint8_t reason, const char *sentence);

/* --- tell.c --- */
void conn_tell_connected(struct conn *conn);
/* Before it closes. */
void conn_tell_closed(
    struct conn *conn, enum session_leave how, uint8_t reason, const char *sentence);
void conn_tell_taken_over(struct conn *conn);
bool conn_tells_delivered(const struct conn *conn);
void conn_tell_delivered(struct conn *conn, struct msg *msg, uint8_t qos, bool retain);
/* what: AVOCET_EV_SUBSCRIBED (reason is the QoS), _UNSUBSCRIBED or _DENIED. */
void conn_tell_filter(const struct conn_table *table, struct msg_client *client, uint64_t what,
    struct bytes filter, uint8_t reason, const char *by_name);

/* --- auth.c --- */
/* The claim, before acceptance: the caller's reference. */
struct msg_client *conn_claimed_client(struct conn *conn);
void conn_authenticate(struct conn *conn, const struct wire_connect *packet);
void conn_on_auth(struct conn *conn, const struct wire_disconnect *packet);
void conn_authorize_will(struct conn *conn);
/* The connection goes: whoever answers later finds nobody. */
void conn_drop_question(struct conn *conn);

/* --- terms.c --- */
/* Server Reference, Reason String (what was said, or else the sentence) and User Properties. */
void conn_write_said(
    struct wire_writer *writer, const struct plugin_said *said, struct bytes sentence);
/* At acceptance; when it serves; and when it has re-authenticated. said may be NULL. */
void conn_take_terms(struct conn *conn, const struct plugin_said *said);
void conn_begin_terms(struct conn *conn);
void conn_renew_terms(struct conn *conn, const struct plugin_said *said);
/* At the deadline of a connection that serves. False: its credential has ended. */
bool conn_check_terms(struct conn *conn);
/* How many PUBLISHes of QoS 1 and 2 it may have under way. */
uint32_t conn_receive_maximum(const struct conn *conn);
/* A Session Expiry Interval of CONNECT or DISCONNECT as it is granted. */
uint32_t conn_capped_expiry(const struct conn *conn, uint32_t seconds);

/* --- home.c --- */
void conn_go_home(struct conn *conn);
void conn_opened(struct session_sink *sink, struct session *session, bool present, uint64_t ticket,
    uint8_t reason);
/* Phase SETTLE: those that move leave; phase WRITE: their handles are rewritten. */
void conn_move_phase(struct worker *worker, void *arg);
void conn_moved_phase(struct worker *worker, void *arg);

/* --- sink.c --- */
extern const struct session_sink_ops conn_sink_ops;
/* Bytes of this topic that the client does not see. */
uint32_t conn_stripped_len(const struct conn *conn, const struct msg *msg);

/* --- publish.c --- */
void conn_on_publish(struct conn *conn, const struct wire_publish *packet);
void conn_on_pubrel(struct conn *conn, const struct wire_ack *packet);
/* The full topic: a view into the packet, or into the table's scratch. */
struct bytes conn_full_topic(struct conn *conn, struct bytes topic);
/* The reason as this version of MQTT can be told it. */
uint8_t conn_told_reason(uint8_t version, uint8_t qos, uint8_t reason);
/* Nothing was routed: acknowledges with the reason. */
void conn_refuse_publish(struct conn *conn, const struct wire_publish *packet, uint8_t reason);

/* --- waiting.c --- */
/* Does its first wait for the store? NULL: no. */
bool conn_is_blocked(const struct conn_line *line);
/* A plugin may answer later, or others wait before it. */
void conn_publish_waiting(
    struct conn *conn, const struct route_publication *on_stack, const struct wire_publish *packet);
/* The store fails, and MQTT 3 cannot be told: it waits. */
void conn_park(
    struct conn *conn, const struct route_publication *on_stack, const struct wire_publish *packet);
/* The connection goes; what waits is carried out all the same. */
void conn_drop_publications(struct conn *conn);
/* After loop_join: what still waits goes, or will when the desk of questions does. */
void conn_free_publications(struct conn_table *table);
/* The store is well: what waits for it goes on. */
void conn_unblock(struct conn_table *table);
/* Reads on unless a SUBSCRIBE is asked about, or too many publications are. */
void conn_resume_pending(struct conn *conn);

/* --- pace.c --- */
void conn_stop_if_owing(struct conn *conn);
void conn_stop_for_credit(struct conn *conn, uint32_t workers);
void conn_stop_for_rate(struct conn *conn, size_t size);
void conn_unrate(struct conn_table *table);

/* --- recheck.c --- */
void conn_recheck(struct conn *conn);
/* After loop_join, likewise. */
void conn_free_rechecks(struct conn_table *table);

/* --- subscribe.c --- */
/* After loop_join, likewise. */
void conn_free_subscribes(struct conn_table *table);
void conn_on_subscribe(struct conn *conn, const struct wire_subscribe *packet);
void conn_on_unsubscribe(struct conn *conn, const struct wire_subscribe *packet);
void conn_drop_subscribe(struct conn *conn);

#endif
