/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both sides do, and the frames that a server writes; a client's output is in ws_client.c.
 *
 * Two kinds of output share the stream below: the owner's frames, of which a head or a payload may
 * be half out, and what this layer says itself (the HTTP answer, pongs, the close frame). The
 * latter waits in `control` and goes out between two frames of the owner only; for that the layer
 * wants STREAM_WRITE by itself. A frame that is half out is the owner's to finish: it was told of a
 * short write, so it waits for STREAM_WRITE.
 *
 * Reading needs no buffer: bytes are read into the owner's memory and decoded there, payload to the
 * front. So nothing decoded is ever kept, but a pass may give less than was read, or nothing; then
 * READ is raised, since a stream below that gave all that was asked for may have more.
 *
 * Pongs are collected in a pass and go out at its end. RFC 6455, 5.5.3, allows to answer only the
 * latest of several pings, so a flood of them finds a bounded place.
 */
#include "transport/ws.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "transport/ws_int.h"

enum { MAX_PARTS = 80 };

/* --- our own output --- */

static bool
is_in_frame(const struct ws *ws)
{
	return ws->frame_left != 0 || ws->frame_head_sent != ws->frame_head_len;
}

void
ws_want_below(struct ws *ws, bool always)
{
	unsigned wanted = ws->wanted;

	if (ws->control.len != 0 && !is_in_frame(ws)) {
		wanted |= STREAM_WRITE;
	}
	if (always || wanted != ws->lower_wanted) {
		ws->lower_wanted = (uint8_t)wanted;
		stream_want(ws->stream.lower, wanted);
	}
}

void
ws_drop_control(struct ws *ws)
{
	buf_fini(&ws->control);
	buf_init(&ws->control, SIZE_MAX);
	ws->last_control = 0;
}

static void
consume_control(struct ws *ws, size_t n)
{
	if (n == ws->control.len) {
		ws_drop_control(ws);
		return;
	}
	buf_consume(&ws->control, n);
	ws->last_control -= n < ws->last_control ? n : ws->last_control;
}

bool
ws_flush_control(struct ws *ws)
{
	if (ws->control.len != 0 && !is_in_frame(ws)) {
		struct iovec part = {ws->control.data, ws->control.len};
		long n = stream_write(ws->stream.lower, &part, 1);

		if (n < 0) {
			ws_drop_control(ws); /* reading and writing will see it themselves */
		} else if (n > 0) {
			consume_control(ws, (size_t)n);
		}
	}
	if (ws->shuts && ws->control.len == 0) {
		ws->shuts = false;
		stream_shut(ws->stream.lower);
	}
	return ws->control.len == 0;
}

static void
add_control(struct ws *ws, enum ws_opcode opcode, struct bytes payload)
{
	uint8_t head[WS_HEAD_SIZE];
	size_t head_len;

	if (ws->client != NULL) {
		ws_client_add_control(ws, opcode, payload);
		return;
	}
	head_len = ws_encode_head(head, opcode, payload.len);
	ws->last_control = ws->control.len;
	buf_append(&ws->control, head, head_len);
	buf_append_bytes(&ws->control, payload);
}

/* With so much waiting, the last frame is a pong, and no byte of it is out yet; or it is a client's
 * first, behind a frame of its owner. */
static void
add_pong(struct ws *ws, struct bytes payload)
{
	if (ws->close_is_out) {
		return;
	}
	if (ws->control.len >= WS_PONG_LIMIT && ws->last_control != 0) {
		ws->control.len = ws->last_control;
	}
	add_control(ws, WS_PONG, payload);
}

static void
add_close(struct ws *ws, unsigned code)
{
	const uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};

	if (!ws->close_is_out) {
		ws->close_is_out = true;
		add_control(ws, WS_CLOSE, bytes_make(payload, code != WS_CODE_NO_STATUS ? 2 : 0));
	}
}

/* --- reading --- */

/* What an end gives from now on. */
static long
end_result(const struct ws *ws)
{
	return ws->state == WS_FAILED ? ERR_IO : 0;
}

/* Decodes len bytes in place; returns how many are payload. */
static size_t
decode(struct ws *ws, uint8_t *memory, size_t len)
{
	struct ws_cursor cursor = {.memory = memory, .end = len};
	struct ws_event event;
	enum ws_found found;

	while ((found = ws_decode(&ws->decoder, &cursor, &event)) == WS_FOUND_PING) {
		add_pong(ws, event.payload);
	}
	if (found == WS_FOUND_CLOSE) {
		ws->state = WS_ENDED;
		ws->why = ws->client != NULL ? "the server closed the WebSocket"
					     : "the client closed the WebSocket";
		add_close(ws, event.code);
	} else if (found == WS_FOUND_FAULT) {
		ws->state = WS_FAILED;
		ws->why = event.why;
		add_close(ws, event.code);
	}
	return cursor.out;
}

long
ws_take_input(struct ws *ws, uint8_t *memory, long n, size_t size, bool may_be_more)
{
	size_t out = 0;

	if (ws->state == WS_HANDSHAKE) {
		n = ws_accept(ws, memory, (size_t)n, size);
	}
	if (n > 0) {
		out = decode(ws, memory, (size_t)n);
	}
	(void)ws_flush_control(ws);
	ws_want_below(ws, false);
	if (ws->state >= WS_ENDED) {
		if (out == 0) {
			ws_decoder_fini(&ws->decoder);
			return end_result(ws);
		}
		may_be_more = true;
	}
	if (may_be_more && out < size) {
		stream_raise(&ws->stream, STREAM_READ);
	}
	return out != 0 ? (long)out : ERR_AGAIN;
}

long
ws_read(struct stream *stream, void *memory, size_t size)
{
	struct ws *ws = ws_of(stream);
	long n;

	if (ws->state >= WS_ENDED) {
		return end_result(ws);
	}
	n = stream_read(stream->lower, memory, size);
	if (n > 0) {
		return ws_take_input(ws, memory, n, size, (size_t)n == size);
	}
	if (n == 0 && ws->why == NULL) {
		ws->why = ws->state == WS_HANDSHAKE ? "the connection ended within the handshake"
			  : ws->state == WS_OPEN    ? "the connection ended without a close frame"
						    : NULL;
	}
	return n;
}

/* --- writing --- */

/* The parts' bytes from `skip` on, at most `len`, in at most `max` pieces; returns their number. */
static int
slice(const struct iovec *parts, int count, size_t skip, size_t len, struct iovec *out, int max)
{
	int used = 0;

	for (int i = 0; i < count && used < max && len != 0; i++) {
		size_t part_len = parts[i].iov_len;
		uint8_t *base = parts[i].iov_base;

		if (skip >= part_len) {
			skip -= part_len;
			continue;
		}
		part_len -= skip;
		part_len = part_len < len ? part_len : len;
		out[used++] = (struct iovec){base + skip, part_len};
		len -= part_len;
		skip = 0;
	}
	return used;
}

static void
begin_frame(struct ws *ws, size_t len)
{
	ws->frame_head_len = (uint8_t)ws_encode_head(ws->frame_head, WS_BINARY, len);
	ws->frame_head_sent = 0;
	ws->frame_left = len;
}

/*
 * Writes what the present frame still needs, from `skip` on in the parts. Returns how much payload
 * was taken, or ERR_IO; *whole_out: all that was offered below was taken.
 */
static long
push(struct ws *ws, const struct iovec *parts, int count, size_t skip, bool *whole_out)
{
	struct iovec vector[MAX_PARTS];
	size_t head_left = (size_t)(ws->frame_head_len - ws->frame_head_sent), offered = 0;
	int used = 0;
	long n;

	if (head_left != 0) {
		vector[used++] = (struct iovec){ws->frame_head + ws->frame_head_sent, head_left};
	}
	used += slice(parts, count, skip, ws->frame_left, vector + used, MAX_PARTS - used);
	for (int i = 0; i < used; i++) {
		offered += vector[i].iov_len;
	}
	n = used != 0 ? stream_write(ws->stream.lower, vector, used) : 0;
	if (n < 0) {
		return n;
	}
	*whole_out = (size_t)n == offered;
	if ((size_t)n <= head_left) {
		ws->frame_head_sent += (uint8_t)n;
		return 0;
	}
	ws->frame_head_sent = ws->frame_head_len;
	ws->frame_left -= (size_t)n - head_left;
	return n - (long)head_left;
}

static size_t
total_of(const struct iovec *parts, int count)
{
	size_t total = 0;

	for (int i = 0; i < count; i++) {
		total += parts[i].iov_len;
	}
	return total;
}

/*
 * Usually one turn of the loop. More where a frame was half out (its rest is the first part of what
 * is offered, and what else is offered becomes the next frame), or has very many parts.
 */
static long
ws_write(struct stream *stream, const struct iovec *parts, int count)
{
	struct ws *ws = ws_of(stream);
	size_t total = total_of(parts, count), done = 0;
	bool whole = true;

	if (ws->state == WS_HANDSHAKE) {
		return 0;
	}
	if (ws->close_is_out) {
		return ERR_IO;
	}
	while (whole) {
		long n;

		if (!is_in_frame(ws)) {
			if (!ws_flush_control(ws) || done == total) {
				break;
			}
			begin_frame(ws, total - done);
		} else if (done == total && ws->frame_head_sent == ws->frame_head_len) {
			break; /* less was offered than the frame needs */
		}
		n = push(ws, parts, count, done, &whole);
		if (n < 0) {
			return n;
		}
		done += (size_t)n;
	}
	ws_want_below(ws, false);
	return (long)done;
}

/* --- readiness --- */

/* READ is always told: it is wanted, raised, or the end. */
void
ws_take_events(struct stream *lower, unsigned events, void *owner)
{
	struct ws *ws = owner;
	unsigned told = events & (STREAM_READ | ws->wanted | ws->raised);

	(void)lower;
	ws->raised &= (uint8_t)~events;
	if ((events & STREAM_WRITE) != 0) {
		(void)ws_flush_control(ws);
		ws_want_below(ws, false);
	}
	if (told != 0 && ws->stream.ready != NULL) {
		ws->stream.ready(&ws->stream, told, ws->stream.owner);
	}
}

void
ws_want(struct stream *stream, unsigned events)
{
	struct ws *ws = ws_of(stream);

	ws->wanted = (uint8_t)events;
	ws_want_below(ws, true);
}

void
ws_raise(struct stream *stream, unsigned events)
{
	struct ws *ws = ws_of(stream);

	ws->raised |= (uint8_t)events;
	stream_raise(stream->lower, events);
}

int
ws_attach(struct stream *stream, struct worker *worker)
{
	struct ws *ws = ws_of(stream);
	int error = stream_attach(stream->lower, worker);

	if (error == 0) {
		ws->raised = 0;
		ws->wanted = ws->lower_wanted = STREAM_READ;
		ws_want_below(ws, false);
	}
	return error;
}

void
ws_detach(struct stream *stream)
{
	ws_of(stream)->raised = 0;
	stream_detach(stream->lower);
}

/* A frame that is half out cannot be closed in a friendly way. */
void
ws_shut(struct stream *stream)
{
	struct ws *ws = ws_of(stream);

	if (is_in_frame(ws)) {
		ws->close_is_out = true;
		ws_drop_control(ws);
	} else if (ws->state == WS_OPEN) {
		ws->state = WS_CLOSING;
		add_close(ws, WS_CODE_NORMAL);
	}
	if (is_in_frame(ws) || ws->control.len == 0) {
		stream_shut(stream->lower);
		return;
	}
	ws->shuts = true;
	(void)ws_flush_control(ws);
	ws_want_below(ws, false);
}

void
ws_free(struct stream *stream)
{
	struct ws *ws = ws_of(stream);

	ws_end_handshake(ws, WS_FAILED);
	ws_decoder_fini(&ws->decoder);
	buf_fini(&ws->control);
	mem_free(&ws->name);
	mem_free(&ws);
}

struct bytes
ws_peer_name(const struct stream *stream)
{
	const struct ws *ws = (const void *)stream;

	return ws->name != NULL ? bytes_of(ws->name) : stream_peer_name(stream->lower);
}

static const struct stream_ops ws_ops = {.read = ws_read,
    .write = ws_write,
    .want = ws_want,
    .raise = ws_raise,
    .attach = ws_attach,
    .detach = ws_detach,
    .shut = ws_shut,
    .free = ws_free,
    .peer_name = ws_peer_name};

struct stream *
ws_stream_new(struct stream *lower, const struct ws_options *options)
{
	struct ws *ws = mem_zalloc(sizeof(*ws));

	ws->stream.ops = &ws_ops;
	ws->stream.lower = lower;
	ws->options = options;
	ws->head = mem_alloc(sizeof(*ws->head));
	buf_init(ws->head, SIZE_MAX);
	buf_init(&ws->control, SIZE_MAX);
	stream_on_ready(lower, ws_take_events, ws);
	return &ws->stream;
}

const char *
ws_stream_error(const struct stream *top)
{
	while (top != NULL && top->ops != &ws_ops && top->ops != &ws_client_ops) {
		top = top->lower;
	}
	return top != NULL ? ((const struct ws *)(const void *)top)->why : NULL;
}
