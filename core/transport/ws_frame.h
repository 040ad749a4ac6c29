/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of WebSocket (RFC 6455). Pure: bytes in, bytes out. The decoder strips heads and masks in
 * place and says what is no payload; the encoder writes heads. What a client sends is masked, what
 * a server sends is not, and either side insists on that of the other. One owner, one thread.
 */
#ifndef TRANSPORT_WS_FRAME_H
#define TRANSPORT_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
	WS_HEAD_SIZE = 10, /* most bytes of a head that a server writes */
	WS_MASK_SIZE = 4,
	WS_MASKED_HEAD_SIZE = 14, /* most bytes of a head that a client writes */
	WS_CONTROL_MAX = 125,     /* most bytes of a control frame's payload */
};

enum ws_opcode {
	WS_CONTINUATION = 0,
	WS_TEXT = 1,
	WS_BINARY = 2,
	WS_CLOSE = 8,
	WS_PING = 9,
	WS_PONG = 10
};

/* Codes of a close frame. */
enum ws_code {
	WS_CODE_NORMAL = 1000,
	WS_CODE_PROTOCOL = 1002,
	WS_CODE_UNSUPPORTED = 1003,
	WS_CODE_NO_STATUS = 1005, /* never sent: the close frame was empty */
	WS_CODE_INVALID = 1007,
	WS_CODE_INTERNAL = 1011
};

/* What a stream remembers of its input. All zero at first, but for is_client. */
struct ws_decoder {
	struct ws_window *window; /* NULL between frames: an idle connection owns none */
	bool in_message;          /* a fragmented message is open */
	bool is_client;           /* frames come from a server, and have no mask */
};

/*
 * The caller's memory: its first `end` bytes are frames, `in` of them are taken. Payload is written
 * to the front, `out` bytes of it; that never overtakes the input.
 */
struct ws_cursor {
	uint8_t *memory;
	size_t in;
	size_t end;
	size_t out;
};

enum ws_found {
	WS_FOUND_MORE,  /* all input is taken */
	WS_FOUND_PING,  /* answer it with `payload`, go on */
	WS_FOUND_CLOSE, /* the far end's close frame: answer with `code` */
	WS_FOUND_FAULT, /* close with `code`; `why` says it */
};

struct ws_event {
	struct bytes payload; /* borrowed until the next call */
	const char *why;      /* static */
	uint16_t code;
};

/* Goes on until there is no more input or something other than payload was found. With a cursor
 * once begun it is called until WS_FOUND_MORE; after close and fault never again. */
enum ws_found ws_decode(
    struct ws_decoder *decoder, struct ws_cursor *cursor, struct ws_event *event_out);
void ws_decoder_fini(struct ws_decoder *decoder);

/* The head of a final frame without a mask; its length. */
size_t ws_encode_head(uint8_t head[WS_HEAD_SIZE], enum ws_opcode opcode, uint64_t payload_len);

/* The same with a mask; its length. */
size_t ws_encode_masked_head(uint8_t head[WS_MASKED_HEAD_SIZE], enum ws_opcode opcode,
    uint64_t payload_len, const uint8_t mask[WS_MASK_SIZE]);

/* Puts the mask on a payload, from its first byte on. */
void ws_mask(uint8_t *payload, size_t len, const uint8_t mask[WS_MASK_SIZE]);

#endif
