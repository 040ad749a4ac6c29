/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session speaks to while a connection is attached: a table of functions that the upper room
 * gives at session_open. A sleeping session has none. Same worker, synchronous. None of these may
 * free the session, and none calls back into it unless it says so.
 */
#ifndef SESSION_SINK_H
#define SESSION_SINK_H

#include <stdbool.h>

#include "session/delivery.h"

struct msg_draft;
struct session;
struct session_sink;

/* Why the session lets a connection go. */
enum session_end {
	SESSION_TAKEN_OVER, /* another connection came for this client id (0x8E) */
	SESSION_ENDED,      /* it was ended by administration (0x98) */
};

enum session_offer {
	SESSION_TAKEN, /* encoded, or dropped by the role without a trace (an OUT interceptor) */
	SESSION_LATER, /* no room: offered again after session_has_room */
	SESSION_TOO_LARGE, /* larger than the client's Maximum Packet Size: as if completed
			      [MQTT-3.1.2-25] */
	SESSION_DENIED,    /* the role refuses it (RECEIVE): as if completed */
};

struct session_sink_ops {
	/* A PUBLISH to send; borrows the delivery, takes a reference on msg where it needs one. */
	enum session_offer (*offer)(
	    struct session_sink *sink, const struct session_delivery *delivery);
	/* A publication of QoS 0 that only this session gets and of which no message was made: no
	 * properties, no RETAIN. Views for the call. False: nothing has happened, and it is offered
	 * as a message. NULL: it always is. */
	bool (*pass)(struct session_sink *sink, const struct msg_draft *draft);
	/* A PUBREL to send. */
	void (*pubrel)(struct session_sink *sink, uint16_t packet_id);
	/* What was asked for an inbound QoS 2 PUBLISH is known: acknowledgements that wait for this
	 * packet id get it. reason >= 0x80: refused. ticket: what PUBREC waits for. */
	void (*received)(
	    struct session_sink *sink, uint16_t packet_id, uint8_t reason, uint64_t ticket);
	/* session_open said SESSION_WAIT, and this is the outcome; see session_open. */
	void (*opened)(struct session_sink *sink, struct session *session, bool present,
	    uint64_t ticket, uint8_t reason);
	/* The session lets go: it is already detached (or no longer waiting); the connection says
	 * goodbye and closes. It must not call session_detach. */
	void (*ended)(struct session_sink *sink, enum session_end why);
};

struct session_sink {
	const struct session_sink_ops *ops;
	uint64_t claim : 63; /* of session/directory.h: the larger one wins */
	bool has_room : 1;   /* kept by the sink: output may take more */
};

#endif
