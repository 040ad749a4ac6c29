/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS as a layer of a stack of streams. Owns the stream below. The handshake runs inside reads and
 * readiness: until it is done a read gives ERR_AGAIN and a write takes nothing, and the identity is
 * NULL. It has no deadline of its own: the owner has. Nothing in it is bound to a thread, so it
 * moves as other streams do, in the middle of buffered data too.
 *
 * An end without close_notify is ERR_IO, since it may have been cut off; one before the first byte
 * is an end like any other.
 *
 * What a write has taken may be kept here while the stream below is full (a record, no more); it is
 * sent as soon as there is room, and stream_shut waits for it; stream_free does not.
 */
#ifndef TRANSPORT_TLS_H
#define TRANSPORT_TLS_H

#include "transport/stream.h"
#include "transport/tls_ctx.h"

/* The server's side. Never NULL; detached. Takes a reference of its own. */
struct stream *tls_stream_new(struct stream *lower, struct tls_ctx *ctx);

/* The client's side, of a context made by tls_ctx_new_client: host (a name or an address, copied)
 * is what the other side's certificate must be for. */
struct stream *tls_stream_connect_new(struct stream *lower, struct tls_ctx *ctx, const char *host);

/* Why the TLS layer of this stack gave ERR_IO, as a short text for the log; NULL: it has not, or
 * there is none. Borrowed. */
const char *tls_stream_error(const struct stream *stream);

#endif
