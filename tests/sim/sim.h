/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator of the whole broker: clients with a mind of their own against a broker in one
 * thread, and a model of what MQTT and flows 1 to 10 promise, which judges every packet. Everything
 * is drawn from one seed. sim.c drives; client.c speaks MQTT; model.c judges deliveries, ack.c
 * acknowledgements, will.c wills, final.c what must be true when all has come to rest.
 *
 * Time of the model is the tick: it rises with each thing a client does or sees. What was
 * acknowledged at tick a happened before what was sent at tick b > a.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "base/buf.h"
#include "base/rand.h"
#include "base/vec.h"
#include "transport/mem_stream.h"
#include "wire/decode.h"
#include "wire/encode.h"
#include "world.h"

enum {
	MAX_CLIENTS = 12,
	TOPIC_COUNT = 6,
	FILTER_COUNT = 12,
	OBSERVER = 0, /* the client that sees everything: subscribed to # at QoS 2 from the start */
	NEVER = 0,    /* a tick that has not come */
	FOREVER = UINT32_MAX,
	SLACK_MS = 3000, /* how late the broker may be about seconds */
};

extern const char *const sim_topics[TOPIC_COUNT];
/* Those from FIRST_SHARED on are shared. */
extern const char *const sim_filters[FILTER_COUNT];
enum { FIRST_SHARED = 9 };

struct sim;
struct client;
struct cable;
struct life;

enum will_state {
	WILL_OFFERED, /* CONNECT was sent */
	WILL_ARMED,   /* CONNACK came */
	WILL_OWED,    /* its connection ended without DISCONNECT 0 */
	WILL_SETTLED,
};

/* A message that somebody publishes, or a will. Its number is in its payload. */
struct pub {
	unsigned number;
	bool is_will;
	bool retain, empty, expires;
	uint8_t owner; /* index of the client */
	uint8_t topic;
	uint8_t qos;
	uint32_t expiry_s;
	struct life *life; /* of the publisher */
	unsigned link;     /* number of the link it was first sent on */
	size_t size;       /* of the payload */
	unsigned sent;     /* tick of the first complete sending */
	unsigned ended;    /* tick from which on it is surely routed; NEVER: not known */
	int64_t sent_ms, ended_ms;
	unsigned sends;
	unsigned lives_sent;   /* sessions of the publisher in which it was sent */
	bool ok;               /* taken: what it promises is due */
	bool refused;          /* the broker said no, and it was sent once only */
	bool sure;             /* its effect on retained messages is sure */
	bool denied;           /* the authority said no, or may have been too late */
	unsigned waits;        /* questions about it that are not answered in time */
	unsigned observed;     /* how often the observer got it */
	unsigned shared2[3];   /* deliveries of QoS 2 by shared filter */
	unsigned group_got[3]; /* lives that got it by shared filter */
	unsigned unkept2[3];   /* of shared2, those to sessions that a crash ends */
	bool doubtful;         /* of a will: nobody promises that it is published */
	/* Of a will: */
	enum will_state will;
	unsigned least, most; /* when settled: how often it was published */
	bool transient;       /* of a session that is not persistent */
	uint32_t delay_s;
	int64_t left_min_ms, left_max_ms; /* OWED: when the connection ended */
	int64_t settled_ms;
};

/* What a session knows of one filter: one record for each SUBSCRIBE. */
struct sub {
	uint8_t filter;
	uint8_t qos; /* granted, or asked for while that is not known */
	bool no_local, retain_as_published;
	uint8_t retain_handling;
	bool was_new; /* surely no such subscription was there */
	bool may_be_new;
	uint32_t id;
	unsigned link;
	unsigned sent;
	unsigned acked;       /* NEVER: not yet */
	unsigned closed_from; /* when its end was first asked for */
	unsigned closed_at;   /* since when it is surely over */
	unsigned closer;      /* index + 1 of the one that replaces it */
	bool refused;
	bool asked_late; /* its answer may come when its connection has gone */
};

/* What a session got of one message. */
struct got {
	unsigned all;     /* new deliveries; resends are not counted */
	unsigned live[3]; /* surely not from the retained store, not shared; by QoS */
	unsigned low;     /* of QoS 0 and 1 */
	bool refused; /* by PUBREC with an error: what the broker makes of it may not be durable */
	bool may_be_live;
	unsigned replayed; /* RETAIN 1 and surely a replay */
	unsigned first;    /* tick */
	unsigned first_crashes;
};

/* On its way to the client: from PUBLISH until the broker surely knows that it is through. */
struct arrival {
	uint16_t packet_id;
	uint8_t qos;
	bool acked;    /* PUBACK, or PUBREC with an error, or PUBCOMP was put on the way */
	bool received; /* QoS 2: PUBREC was sent, PUBREL has not come */
	bool released; /* QoS 2: PUBREL came */
	unsigned pub;
	unsigned link;    /* the last one it came on */
	bool counted_out; /* it does not use the Receive Maximum of that link any more */
};

/* A session in the broker, as the client believes. */
struct life {
	unsigned number;
	uint8_t owner;
	bool persistent;
	bool fuzzy; /* it may be another than the client believes: nothing is promised */
	bool ended;
	uint32_t expiry_s;
	unsigned links;
	unsigned crashes;      /* how many there had been when it began */
	uint32_t least_packet; /* smallest Maximum Packet Size of its links; 0: none */
	uint32_t murky;        /* bits of filters of which nothing is sure */
	int64_t alive_ms;      /* when it was last surely attached */
	int64_t left_ms;       /* when it was surely left; 0: not known */
	VEC(struct sub) subs;
	VEC(struct got) gots;
	VEC(struct arrival) arrivals;
	/* The newest that came, by publisher, topic, QoS of publication and of delivery. */
	unsigned last[MAX_CLIENTS][TOPIC_COUNT][3][3];
};

/* A packet whose answer is due; they come in this order. */
struct expect {
	enum wire_type type;
	uint16_t packet_id;
	unsigned pub;
	unsigned count;
	unsigned subs[4]; /* SUBSCRIBE: index into life->subs */
	uint8_t filters[4];
	uint8_t had[4]; /* UNSUBSCRIBE: 1 it was there, 2 it was not, 0 not known */
	unsigned tick;
};

/* A publication of QoS 1 or 2 that is not through, in the order of sending. */
struct outgoing {
	unsigned pub;
	uint16_t packet_id;
	bool released; /* PUBREC came */
	unsigned link; /* it was last sent on */
};

struct reply {
	enum wire_type type;
	uint16_t packet_id;
	uint8_t reason;
};

enum cable_state {
	LINK_OPENING, /* CONNECT was sent */
	LINK_UP,
	LINK_LEFT, /* nothing is sent any more; it waits to be closed by the broker */
	LINK_GONE,
};

struct cable {
	unsigned number;
	struct client *client;
	struct mem_pipe *pipe;
	struct life *life; /* from CONNACK on */
	enum cable_state state;
	bool clean_start;
	bool got_connack;
	bool is_refused; /* CONNACK with an error */
	bool goodbye;    /* the broker sent DISCONNECT */
	bool zombie;     /* a newer one was opened */
	bool has_rival;  /* another link of the client was not gone when this one was opened */
	bool closed;     /* by us: nothing is read any more */
	bool is_slow;    /* or was: nobody knows how long what comes was on its way */
	bool left_clean; /* we sent DISCONNECT 0 */
	bool crashed;    /* the broker did */
	uint8_t reason;  /* of CONNACK */
	uint32_t max_packet;
	uint32_t expiry_s;
	uint16_t receive_max, alias_max, keep_alive;
	unsigned eager;      /* of 100 looks, so many take what is there */
	size_t take_max;     /* bytes at a time */
	unsigned unacked;    /* QoS 1 and 2 that came and were not acknowledged */
	unsigned opened;     /* tick */
	unsigned alias_told; /* bits of topics */
	int64_t opened_ms, left_ms, alive_ms, looked_ms;
	unsigned will; /* number of the pub; 0: none */
	unsigned pings_sent, pings_got;
	struct wire_decoder decoder;
	struct buf input;
	VEC(struct expect) expects;
	VEC(struct reply) replies;
	uint8_t aliases[65]; /* topic + 1 by alias */
};

struct client {
	struct sim *sim;
	uint8_t index;
	char id[16];
	uint8_t version;
	bool is_persistent;
	bool is_messy; /* two CONNECTs were under way at a time */
	bool has_login;
	uint32_t expiry_s;
	uint16_t next_id;
	struct life *life;         /* NULL: none, as far as is known */
	bool may_exist;            /* a session may be there that the client does not know */
	struct cable *link;        /* the newest; NULL: none */
	VEC(struct cable *) links; /* all that are not gone */
	VEC(struct outgoing) outgoing;
};

struct sim {
	struct world world;
	struct rand_gen random;
	uint64_t seed;
	bool verbose;
	bool is_final;  /* it comes to an end: everybody behaves */
	bool is_wiping; /* all sessions end */
	unsigned tick;
	unsigned cable_count;
	uint32_t next_sub_id;
	unsigned client_count;
	bool has_failures; /* the store may fail */
	bool has_wills, has_shared, has_expiry, has_crashes, has_slow, has_big;
	bool has_small_packets; /* somebody has a Maximum Packet Size */
	bool shared_lost;       /* a member of a group ended */
	int64_t last_crash_ms;
	struct client clients[MAX_CLIENTS];
	VEC(struct pub) pubs; /* number - 1 */
	VEC(struct life *) lives;
};

/* --- sim.c --- */

uint64_t sim_draw(struct sim *sim, uint64_t bound);
bool sim_chance(struct sim *sim, unsigned percent);
/* A line of the trace. */
void sim_say(const struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The broker has broken a promise: says so and ends the run. */
void sim_fail(const struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void sim_run_seed(uint64_t seed, unsigned steps, bool verbose, bool clean_memory);
bool sim_store_may_fail(const struct sim *sim);
void sim_pump_all(struct sim *sim);

/* --- client.c: what clients do --- */

void client_init(struct client *client, struct sim *sim, uint8_t index);
void client_connect(struct client *client);
void client_publish(struct client *client);
void client_subscribe(struct client *client);
void client_subscribe_one(struct client *client, uint8_t filter, uint8_t qos, uint32_t id);
void client_unsubscribe(struct client *client);
void client_ping(struct client *client);
void client_send_pub(struct cable *link, struct pub *pub, uint16_t packet_id, bool dup);
void client_disconnect(struct client *client, bool with_will);
/* Closes; half: within a packet. */
void client_drop(struct client *client);
/* Publishes an empty retained message on a topic, QoS 1. */
void client_clear(struct client *client, uint8_t topic);
uint16_t client_next_id(struct client *client);
bool client_may_publish(const struct client *client);

/* --- cable.c: bytes in and out --- */

struct cable *cable_open(struct client *client, unsigned worker);
/* Encodes and sends. */
void cable_send(struct cable *link, const struct wire_packet *packet);
/* Sends but a part of it. */
void cable_send_part(struct cable *link, const struct wire_packet *packet);
/* Looks what the broker has sent, handles it, and answers. */
void cable_look(struct cable *link);
void cable_reply(struct cable *link, unsigned most);
void cable_close(struct cable *link, bool broken);
void cable_free(struct cable *link);
/* The link is over: on the client's side nothing comes or goes any more. */
void cable_ended(struct cable *link);
/* The client turns away from it. */
void cable_leave(struct cable *link);

/* --- ack.c --- */

void ack_expect(struct cable *link, const struct expect *expect);
void ack_came(struct cable *link, const struct wire_packet *packet);
void ack_connack(struct cable *link, const struct wire_connack *packet);
struct outgoing *ack_outgoing(struct client *client, uint16_t packet_id);

/* --- model.c --- */

struct pub *model_pub(struct sim *sim, unsigned number);
bool model_is_denied(const struct pub *pub);
/* The number in a payload; 0: none. */
unsigned model_number_of(struct bytes payload);
struct life *model_life_new(struct client *client, const struct cable *link);
void model_life_blur(struct life *life);
void model_delivery(struct cable *link, const struct wire_publish *packet, uint8_t topic);
struct got *model_got(struct life *life, unsigned pub);
bool model_matches(uint8_t filter, uint8_t topic);
/* Was the subscription there during all of a..b; may it have been there at some time of it? */
bool model_is_certain(const struct life *life, const struct sub *sub, unsigned a, unsigned b);
bool model_is_possible(const struct sub *sub, unsigned a, unsigned b);

/* --- will.c --- */

void will_link_ended(struct cable *link);
void will_reconnected(struct client *client, struct cable *link, bool present);
void will_check(struct sim *sim);
void will_crash(struct sim *sim);

/* --- final.c --- */

void final_phase(struct sim *sim);

/* --- oracle.c: the authority --- */

struct oracle *oracle_new(struct sim *sim, bool may_wait);
void oracle_free(struct oracle **oracle);
const struct plugin_set *oracle_set(struct oracle *oracle);
/* Answers some of what is open; all: everything. */
void oracle_answer(struct oracle *oracle, bool all);
void oracle_forget(struct oracle *oracle);
size_t oracle_open_count(const struct oracle *oracle);
bool oracle_may_wait(const struct oracle *oracle);

#endif
