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

struct ws {
	struct stream stream;
	const struct ws_options *options; /* until the handshake is over */
	struct buf *head;                 /* of the request; during the handshake */
	struct buf control;               /* our own output that waits */
	size_t last_control;              /* where its last frame begins */
	size_t frame_left;                /* payload of the owner's frame that is not out yet */
	struct ws_decoder decoder;
	const char *why; /* static */
	char *name;      /* NULL: that of the stream below */
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

/* True: nothing of ours is before the owner's next frame. */
bool ws_flush_control(struct ws *ws);

/* --- ws_accept.c: the server's handshake --- */

/* It is over, and this is the state that follows. */
void ws_end_handshake(struct ws *ws, enum ws_state state);

/* Takes what was read into memory; how many bytes are behind the head, moved to the
 * front; ERR_AGAIN or ERR_IO. */
long ws_accept(struct ws *ws, uint8_t *memory, size_t len, size_t size);

#endif
