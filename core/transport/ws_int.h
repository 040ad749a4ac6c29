/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the WebSocket stream share. */
#ifndef TRANSPORT_WS_INT_H
#define TRANSPORT_WS_INT_H

#include "base/list.h"
#include "transport/ws.h"
#include "transport/ws_frame.h"

enum ws_state {
	WS_HANDSHAKE,
	WS_OPEN,
	WS_CLOSING, /* our close frame is sent or waits; the far end's has not come */
	WS_ENDED,   /* the far end has closed: reading gives the end */
	WS_FAILED   /* reading gives ERR_IO */
};

struct ws_client;

struct ws {
	struct stream stream;
	const struct ws_options *options; /* until the handshake is over */
	struct buf *head;                 /* of the request; during the handshake */
	struct buf control;               /* our own output that waits */
	size_t last_control;              /* where its last frame begins */
	size_t frame_left;                /* payload of the owner's frame that is not out yet */
	struct ws_decoder decoder;
	const char *why;          /* static */
	char *name;               /* NULL: that of the stream below */
	struct ws_client *client; /* NULL: the server's side */
	uint8_t frame_head[WS_HEAD_SIZE];
	uint8_t frame_head_len;
	uint8_t frame_head_sent;
	uint8_t state; /* enum ws_state */
	uint8_t scan;  /* of ws_head_scan */
	uint8_t wanted;
	uint8_t raised;       /* by hand and not delivered yet */
	uint8_t lower_wanted; /* what the stream below was asked for last */
	bool close_is_out;    /* or waits: nothing may follow it */
	bool shuts;           /* the stream below, when the control output is out */
};

static inline struct ws *
ws_of(struct stream *stream)
{
	return list_item(stream, struct ws, stream);
}

/* --- ws.c: what both sides do --- */

/* True: nothing of ours is before the owner's next frame. */
bool ws_flush_control(struct ws *ws);
void ws_drop_control(struct ws *ws);

/* Asks the stream below for what is wanted of it; always: though it is no other than before. */
void ws_want_below(struct ws *ws, bool always);

/* A pass over n bytes that were read; what reading gives. may_be_more: without being woken. */
long ws_take_input(struct ws *ws, uint8_t *memory, long n, size_t size, bool may_be_more);

stream_ready_fn ws_take_events;
long ws_read(struct stream *stream, void *memory, size_t size);
void ws_want(struct stream *stream, unsigned events);
void ws_raise(struct stream *stream, unsigned events);
int ws_attach(struct stream *stream, struct worker *worker);
void ws_detach(struct stream *stream);
void ws_shut(struct stream *stream);
void ws_free(struct stream *stream);
struct bytes ws_peer_name(const struct stream *stream);

/* --- ws_accept.c: the server's handshake --- */

/* It is over, and this is the state that follows. */
void ws_end_handshake(struct ws *ws, enum ws_state state);

/* Takes what was read into memory; how many bytes are behind the head, moved to the front;
 * ERR_AGAIN or ERR_IO. */
long ws_accept(struct ws *ws, uint8_t *memory, size_t len, size_t size);

/* --- ws_client.c: the client's side --- */

extern const struct stream_ops ws_client_ops;

/* A control frame of the client's, behind what waits. */
void ws_client_add_control(struct ws *ws, enum ws_opcode opcode, struct bytes payload);

#endif
