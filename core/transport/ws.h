/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket on a stream, the server's side: the HTTP request that asks for it, and then binary
 * frames. Owns the stream below.
 *
 * Until the upgrade is done reading gives ERR_AGAIN and writing takes nothing. A request that is no
 * upgrade is answered, and reading gives ERR_IO. Bytes come as they are in the frames' payload:
 * neither frames nor messages can be told. What is written in one call goes out as one frame. The
 * far end's close frame is answered and is the end of the stream. Shutting sends a close frame, and
 * shuts the stream below once that is out.
 */
#ifndef TRANSPORT_WS_H
#define TRANSPORT_WS_H

#include "transport/stream.h"
#include "transport/ws_handshake.h"

enum {
	WS_PONG_LIMIT =
	    1024, /* bytes of answers that wait for room; further pings replace the last */
};

/* Detached. The options are borrowed for the handshake: until reading gives bytes or an end, or the
 * stream is freed. peer_name is the client's by X-Forwarded-For where the peer below is trusted. */
struct stream *ws_stream_new(struct stream *lower, const struct ws_options *options);

/* Of a stack of streams whose upper end is given: why WebSocket has ended it ("a frame is not
 * masked"), for the log; static; NULL: it has not. */
const char *ws_stream_error(const struct stream *top);

#endif
