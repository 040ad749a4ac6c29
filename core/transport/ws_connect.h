/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The opening handshake of WebSocket, as a client has it: a request out, and the head of an answer
 * in. Pure. As strict as the server's side: what was not asked for is not accepted.
 */
#ifndef TRANSPORT_WS_CONNECT_H
#define TRANSPORT_WS_CONNECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "transport/ws_handshake.h"

struct ws_connect_options {
	const char *host;     /* for the field Host: "example.com:8080", "[2001:db8::1]" */
	const char *path;     /* with its query, if any; NULL: /mqtt */
	const char *protocol; /* the one that is offered; NULL: mqtt */
};

enum { WS_NONCE_SIZE = 16 };

/* A sentence on what cannot stand in a request, static; NULL: all can. */
const char *ws_connect_check(const struct ws_connect_options *options);

/* Appends the request. nonce: bytes that nobody can guess, and no other connection has. False: what
 * the answer must show in accept_out cannot be computed. */
bool ws_connect_write(struct buf *out, const struct ws_connect_options *options,
    const uint8_t nonce[WS_NONCE_SIZE], char accept_out[WS_ACCEPT_SIZE]);

/* What the whole head of an answer says: NULL: upgraded; else why not, a sentence, static. */
const char *ws_connect_judge(
    struct bytes head, const struct ws_connect_options *options, const char *accept);

#endif
