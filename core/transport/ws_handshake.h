/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The opening handshake of WebSocket: the head of an HTTP request in, an answer out. Pure. Strict
 * where leniency has let requests mean two things: lines end with CRLF, are not folded, and a
 * request has no body.
 */
#ifndef TRANSPORT_WS_HANDSHAKE_H
#define TRANSPORT_WS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "transport/addr.h"

struct ws_options {
	const char *path;             /* the part before `?`, byte by byte; NULL: any */
	const char *const *protocols; /* NULL ends them; NULL: mqtt and mqttv3.1 */
	const char *const *origins;   /* NULL ends them; NULL or none: any. Letters' case does not
					 matter. Who sends no Origin is no page, and is let in */
	size_t max_head_size;         /* of the request, in bytes; 0: WS_MAX_HEAD_SIZE */
	/* Whether this address may speak for others in X-Forwarded-For; NULL: none may. */
	bool (*trusts)(void *arg, const struct addr *peer);
	void *arg;
};

enum { WS_MAX_HEAD_SIZE = 8192, WS_ACCEPT_SIZE = 29 };

struct ws_answer {
	const char *why;      /* a sentence, static; NULL: upgraded */
	const char *protocol; /* of the options; upgraded only */
	uint16_t status;      /* 101: upgraded */
	char accept[WS_ACCEPT_SIZE];
};

/*
 * Looks for the end of a head as its bytes come. *state is 0 at first. Returns how many of these
 * bytes belong to the head; the last of them ends it when *done_out. ERR_INVALID at a byte that no
 * head has.
 */
long ws_head_scan(uint8_t *state, struct bytes bytes, bool *done_out);

/* What a whole head asks for; a NULL protocol or path of the options: see there. */
void ws_handshake(
    struct bytes head, const struct ws_options *options, struct ws_answer *answer_out);

/* A refusal that has other grounds than the head's contents. */
void ws_handshake_refuse(struct ws_answer *answer_out, uint16_t status, const char *why);

/* The answer as bytes. */
void ws_handshake_write(struct buf *out, const struct ws_answer *answer);

/* The next header field of a head (which begins behind its first line), its name and its value
 * without the blanks around it. 1; 0 at the end; ERR_INVALID. */
int ws_head_next(struct bytes *rest, struct bytes *name_out, struct bytes *value_out);

/* The next item of a value that is a list, without the blanks around it; false at the end. Empty
 * items are left out. */
bool ws_list_next(struct bytes *rest, struct bytes *item_out);

/* ASCII letters' case does not matter: a text that is the word, a list that has it. */
bool ws_same_word(struct bytes text, const char *word);
bool ws_list_has(struct bytes list, const char *word);

bool ws_is_token(struct bytes text);

/* The first line, without its end, taken off the head. */
struct bytes ws_head_line(struct bytes *rest);

/* What answers this key (of 24 bytes) in Sec-WebSocket-Accept; false: there is no SHA-1. */
bool ws_accept_of(struct bytes key, char accept_out[WS_ACCEPT_SIZE]);

#endif
