/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket on a stream: the HTTP request that asks for it, and then binary frames. Owns the stream
 * below.
 *
 * Until the upgrade is done reading gives ERR_AGAIN and writing takes nothing. A request that is no
 * upgrade is answered, and reading gives ERR_IO; so does an answer that is none. Bytes come as they
 * are in the frames' payload: neither frames nor messages can be told. What a server writes in one
 * call goes out as one frame; a client's frames are copied to be masked, so they are of
 * WS_CLIENT_FRAME bytes at most. The far end's close frame is answered and is the end of the
 * stream. Shutting sends a close frame, and shuts the stream below once that is out.
 */
#ifndef TRANSPORT_WS_H
#define TRANSPORT_WS_H

#include "transport/stream.h"
#include "transport/ws_connect.h"
#include "transport/ws_handshake.h"

enum {
	WS_PONG_LIMIT =
	    1024, /* bytes of answers that wait for room; further pings replace the last */
	WS_CLIENT_FRAME = 16384, /* most payload of a client's frame */
};

/* The server's side. Detached. The options are borrowed for the handshake: until reading gives
 * bytes or an end, or the stream is freed. peer_name is the client's by X-Forwarded-For where the
 * peer below is trusted. */
struct stream *ws_stream_new(struct stream *lower, const struct ws_options *options);

/*
 * The client's side. Detached; the options are copied. The request is sent when the stream below
 * can be written for the first time. Events from below drive the handshake, whatever the owner
 * wants; it is told of READ and WRITE, as far as it wants them, when that is done. There is no
 * deadline: the owner has one.
 *
 * Masks are random numbers of the worker that the stream is attached to: while it is detached a
 * write takes nothing, and pings and close frames are not answered. What a write has taken may be
 * kept here while the stream below is full (a frame, no more); it is sent as soon as there is room,
 * and stream_shut waits for it; stream_free does not.
 */
struct stream *ws_stream_connect_new(
    struct stream *lower, const struct ws_connect_options *options);

/* Of a stack of streams whose upper end is given: why WebSocket has ended it ("a frame is not
 * masked"), for the log; static; NULL: it has not. */
const char *ws_stream_error(const struct stream *top);

#endif
