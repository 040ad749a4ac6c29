/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's handshake on a stream: gathers the head of a request, answers it, and takes the
 * client's name out of it.
 */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "transport/ws_forwarded.h"
#include "transport/ws_int.h"

enum { DRAIN_READS = 16 };

void
ws_end_handshake(struct ws *ws, enum ws_state state)
{
	ws->state = (uint8_t)state;
	ws->options = NULL;
	if (ws->head != NULL) {
		buf_fini(ws->head);
		mem_free(&ws->head);
	}
}

/*
 * What the client still sends is thrown away as far as it is there: bytes that nobody has read when
 * the connection is closed make its kernel forget the answer.
 */
static void
refuse(struct ws *ws, const struct ws_answer *answer, uint8_t *memory, size_t len, size_t size)
{
	ws->why = answer->why;
	ws->close_is_out = true;
	ws_handshake_write(&ws->control, answer);
	(void)ws_flush_control(ws);
	ws_end_handshake(ws, WS_FAILED);
	for (int i = 0; len == size && i < DRAIN_READS; i++) {
		long n = stream_read(ws->stream.lower, memory, size);

		len = n > 0 ? (size_t)n : 0;
	}
}

static void
take_name(struct ws *ws, struct bytes head)
{
	char text[ADDR_TEXT_SIZE];
	struct addr addr;

	if (ws_forwarded(head, ws->options, stream_peer_name(ws->stream.lower), &addr)) {
		size_t len = addr_format(&addr, text);

		ws->name = mem_text(bytes_make(text, len));
	}
}

static size_t
max_head_size(const struct ws *ws)
{
	return ws->options->max_head_size != 0 ? ws->options->max_head_size : WS_MAX_HEAD_SIZE;
}

/* Gathers the head; true when it is whole. Refuses what cannot become one. */
static bool
gather_head(struct ws *ws, struct bytes input, size_t *used_out, struct ws_answer *answer)
{
	bool done;
	long used = ws_head_scan(&ws->scan, input, &done);

	answer->why = NULL;
	if (used < 0) {
		ws_handshake_refuse(answer, 400, "the request is malformed");
	} else if ((size_t)used > max_head_size(ws) - ws->head->len) {
		ws_handshake_refuse(answer, 431, "the request's head is too large");
	} else {
		buf_append(ws->head, input.data, (size_t)used);
		if (ws->head->failed) {
			ws_handshake_refuse(answer, 500, "no memory");
		}
		*used_out = (size_t)used;
	}
	return done && answer->why == NULL;
}

long
ws_accept(struct ws *ws, uint8_t *memory, size_t len, size_t size)
{
	struct ws_answer answer;
	size_t used = 0;

	if (gather_head(ws, bytes_make(memory, len), &used, &answer)) {
		ws_handshake(buf_bytes(ws->head), ws->options, &answer);
	} else if (answer.why == NULL) {
		return ERR_AGAIN;
	}
	if (answer.why != NULL) {
		refuse(ws, &answer, memory, len, size);
		return ERR_IO;
	}
	take_name(ws, buf_bytes(ws->head));
	ws_handshake_write(&ws->control, &answer);
	ws_end_handshake(ws, WS_OPEN);
	if ((ws->wanted & STREAM_WRITE) != 0) {
		stream_raise(&ws->stream, STREAM_WRITE);
	}
	memmove(memory, memory + used, len - used);
	return (long)(len - used);
}
