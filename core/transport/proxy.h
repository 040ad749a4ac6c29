/* SPDX-License-Identifier: Apache-2.0 */
/*
 * At the bottom of a stack, above the socket: eats one header of the PROXY protocol and then passes
 * everything. Owns the stream below. Whether the proxy may be believed is asked before, by who
 * builds the stack.
 *
 * Until the header is whole, reading gives ERR_AGAIN; a malformed one gives ERR_IO. The client's
 * address becomes peer_name; without one (UNKNOWN, LOCAL) it stays that of the stream below.
 */
#ifndef TRANSPORT_PROXY_H
#define TRANSPORT_PROXY_H

#include "transport/stream.h"

/* Detached. */
struct stream *proxy_stream_new(struct stream *lower);

/* These are asked of a stack of streams whose upper end is given. Without a proxy layer in it, or
 * before the header was read, they are NULL or empty. Borrowed from the layer. */

/* Why the header was refused, for the log; static. */
const char *proxy_stream_error(const struct stream *top);
/* The common name of the client's certificate, which the proxy has verified. */
struct bytes proxy_stream_client_cn(const struct stream *top);
/* The server name that the client asked the proxy for. */
struct bytes proxy_stream_authority(const struct stream *top);
/* The client speaks TLS with the proxy. */
bool proxy_stream_is_tls(const struct stream *top);

#endif
