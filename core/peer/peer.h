/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One MQTT connection without a role: a stream, framing, output, the FIFO of acknowledgements,
 * topic aliases, packet sizes and the clocks of reading and writing. Both ends of the protocol are
 * built on it; the role gives it a table of functions. All on the thread of its worker; it moves
 * with its connection.
 *
 * An idle peer owns no buffer: input is read into the worker's scratch and only an unfinished tail
 * is kept; output lies in chunks from the worker's pool until phase WRITE has given it to the
 * stream, one write per dirty connection and turn. Nor is anything else in the struct that an idle
 * one does not need: there may be a million of them.
 */
#ifndef PEER_PEER_H
#define PEER_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/vec.h"
#include "loop/timer.h"
#include "peer/acks.h"
#include "peer/alias.h"
#include "peer/out.h"
#include "session/delivery.h"
#include "session/sink.h"
#include "transport/stream.h"
#include "wire/decode.h"
#include "wire/encode.h"

struct worker;
struct store_port;
struct peer;

/* A worker's peers: pool of chunks, dirty list. */
struct peer_room {
	struct worker *worker;
	struct store_port *port;
	struct peer_pool pool;
	VEC(struct peer *) dirty, writing; /* have output, or are to be freed; and: in this phase */
	uint64_t count;                    /* peers attached here */
	bool withhold;        /* transit budget is over: acknowledgements wait (flow 6) */
	struct list withheld; /* struct peer_acks: those that wait for that only */
};

/* Why a connection ends, as far as the peer can tell. */
enum peer_end {
	PEER_EOF,           /* the other side closed */
	PEER_BROKEN,        /* I/O error */
	PEER_REFUSED,       /* the decoder refused: reason and sentence say what */
	PEER_KEEP_ALIVE,    /* nothing was read for 1.5 times the Keep Alive */
	PEER_WRITE_TIMEOUT, /* it took nothing for write_timeout */
	PEER_DEADLINE,      /* peer_set_deadline */
};

struct peer_ops {
	/* One packet; views into the read buffer, valid during the call. May pause or close the
	 * peer. */
	void (*packet)(struct peer *peer, struct wire_packet *packet);
	/* The connection is over, or must be: the role calls peer_close. `packet` type is what was
	 * being decoded with PEER_REFUSED. */
	void (*ended)(struct peer *peer, enum peer_end end, const struct wire_outcome *outcome,
	    const struct wire_packet *packet);
	/* Output fell below half of its limit after it was full. */
	void (*has_room)(struct peer *peer);
	/* The last act: stream and buffers are gone, the role frees its object. */
	void (*freed)(struct peer *peer);
	/* Before each packet: may it be handled now? False: it has paused the peer, and the packet
	 * stays. NULL: always. */
	bool (*may_read)(struct peer *peer);
};

enum peer_state { PEER_OPEN, PEER_CLOSING, PEER_LINGERING, PEER_DEAD };

/* Bytes of an unfinished packet, or unread ones while paused. */
struct peer_tail {
	uint32_t len; /* not 0 */
	uint32_t cap;
	uint8_t data[];
};

/* Moments are the lower half of the monotonic clock in milliseconds: they are compared with ones
 * that are weeks away at most. */
struct peer {
	const struct peer_ops *ops;
	struct peer_room *room;
	struct stream *stream;
	struct peer_out out;
	struct peer_acks *acks;       /* NULL: none wait */
	struct peer_aliases *aliases; /* made at first use */
	struct peer_tail *tail;       /* NULL: none */
	struct timer timer;           /* keep alive, write time-out, deadline: whichever is first */
	uint32_t read_at;             /* when a packet was last received */
	uint32_t written_at;    /* when output last made progress; counts while output waits */
	uint32_t deadline_at;   /* if has_deadline */
	uint32_t keep_alive_ms; /* 1.5 times; 0: off */
	uint32_t write_timeout_ms;
	uint32_t max_packet_in;            /* as in struct wire_decoder */
	uint32_t max_packet_out;           /* as in struct wire_encoder */
	uint32_t dirty_at;                 /* place in room->dirty or writing, from 1; 0: in none */
	uint16_t aliases_in;               /* Topic Alias Maximum of this side … */
	uint16_t aliases_out;              /* … and what is used of the other's */
	uint8_t paused;                    /* reasons not to read, PEER_PAUSE_… or-ed */
	uint8_t version : 4;               /* enum wire_version; 0: nothing but a CONNECT is due */
	uint8_t side : 2;                  /* enum wire_side: which one we are */
	uint8_t state : 2;                 /* enum peer_state */
	bool lenient : 1;                  /* as in struct wire_decoder */
	bool allow_control : 1;            /* likewise */
	bool omit_problem_information : 1; /* as in struct wire_encoder */
	bool has_deadline : 1;
	bool eof : 1;  /* the other side says nothing more */
	bool lost : 1; /* nothing can be said to it any more */
	bool wants_write : 1;
	bool is_reading : 1; /* inside the packet loop */
	bool tail_whole : 1; /* the tail may hold whole packets: handled before reading on */
	bool was_full : 1;   /* output was over its limit */
};

enum peer_pause {
	PEER_PAUSE_ROLE = 1,     /* peer_pause */
	PEER_PAUSE_OUTPUT = 2,   /* too many answers that it does not take */
	PEER_PAUSE_CREDIT = 4,   /* mail to a worker is over its credit */
	PEER_PAUSE_RATE = 8,     /* publish rate */
	PEER_PAUSE_STORE = 16,   /* parked until the store is well */
	PEER_PAUSE_STOP = 32,    /* the broker stops */
	PEER_PAUSE_PENDING = 64, /* as many questions are open as may be */
	PEER_PAUSE_OWING = 128,  /* it is owed too many acknowledgements */
};

/* Before loop_start; hooks itself into phase WRITE. */
void peer_room_init(struct peer_room *room, struct worker *worker, struct store_port *port);
void peer_room_fini(struct peer_room *room);

/* In the role's memory, zeroed. Takes the stream, which is detached; attaches it and reads. 0 or
 * ERR_IO (the role then calls peer_fini). */
int peer_init(
    struct peer *peer, const struct peer_ops *ops, struct peer_room *room, struct stream *stream);

/* Moving: off this worker with everything unread in its tail; to another. */
void peer_detach(struct peer *peer);
int peer_attach(struct peer *peer, struct peer_room *room);

/* Encodes a packet into the output. False: it cannot be said to this peer (too large); nothing was
 * written. */
bool peer_send(struct peer *peer, const struct wire_packet *packet);

/* A PUBLISH out of a delivery. */
enum session_offer peer_send_publish(struct peer *peer, const struct session_delivery *delivery,
    uint32_t prefix_len, int64_t mono_ms);

/* A PUBLISH of QoS 0, without RETAIN, out of a draft without properties, of which no message is
 * made. False: it cannot go out so, nothing was written. */
bool peer_send_draft(struct peer *peer, const struct msg_draft *draft);

/* The same as peer_send_publish under another topic, and for MQTT 5 with another block of
 * properties; retain and QoS are the delivery's. Views for the call. */
enum session_offer peer_send_publish_as(struct peer *peer, const struct session_delivery *delivery,
    struct bytes topic, struct bytes props, int64_t mono_ms);

/* Its table of aliases. */
struct peer_aliases *peer_aliases_of(struct peer *peer);

/* The topic that a received PUBLISH means; an alias that it brings is kept [MQTT-3.3.2-7] …. Not
 * SUCCESS: the connection must end for this reason, with this sentence (static). */
uint8_t peer_resolve_topic(struct peer *peer, const struct wire_publish *packet,
    struct bytes *topic_out, const char **why_out);

/* Small acknowledgement without properties, straight into the output. */
void peer_send_ack(struct peer *peer, enum wire_type type, uint16_t packet_id, uint8_t reason);

void peer_pause(struct peer *peer, enum peer_pause why);
void peer_resume(struct peer *peer, enum peer_pause why);

/* The clocks. deadline: moment for PEER_DEADLINE, 0 ends it. */
void peer_set_keep_alive(struct peer *peer, uint32_t milliseconds);
void peer_set_deadline(struct peer *peer, int64_t at_ms);

/*
 * Nothing is read any more; what is in the output goes out (at most until the write time-out or a
 * few seconds), then the stream is shut, lingers for a moment so that the client sees what was
 * said, and `freed` is called, never inside this call. Idempotent. at_once: output is thrown away.
 */
void peer_close(struct peer *peer, bool at_once);

/* Transit budget (flow 6): while set, PUBACK and PUBREC wait; what waited leaves when it is
 * cleared. */
void peer_room_set_withhold(struct peer_room *room, bool withhold);

/* After loop_join: frees it at once, with `freed`. */
void peer_kill(struct peer *peer);

static inline struct wire_decoder
peer_decoder(const struct peer *peer)
{
	return (struct wire_decoder){.version = peer->version,
	    .receiver = (enum wire_side)peer->side,
	    .lenient = peer->lenient,
	    .allow_control = peer->allow_control,
	    .max_packet_size = peer->max_packet_in};
}

static inline uint32_t
peer_tail_len(const struct peer *peer)
{
	return peer->tail != NULL ? peer->tail->len : 0;
}

/* Acknowledgements that wait; of these PUBACK and PUBREC; and PUBREC. */
static inline uint32_t
peer_ack_count(const struct peer *peer)
{
	return peer->acks != NULL ? peer->acks->count : 0;
}

static inline uint32_t
peer_ack_publishes(const struct peer *peer)
{
	return peer->acks != NULL ? peer->acks->publishes : 0;
}

static inline uint32_t
peer_ack_pubrecs(const struct peer *peer)
{
	return peer->acks != NULL ? peer->acks->pubrecs : 0;
}

static inline bool
peer_is_open(const struct peer *peer)
{
	return peer->state == PEER_OPEN;
}

#endif
