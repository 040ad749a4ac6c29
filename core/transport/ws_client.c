/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of WebSocket on a stream. What it shares with the server's is in ws.c.
 *
 * All output waits in `control`, in the order in which it was said: the request, frames of the
 * owner that the stream below has not taken whole, pongs, the close frame. A frame of the owner is
 * masked in a copy on the stack, and begun only when nothing waits; what does not go out at once is
 * kept, and counts as taken. So the owner is never half in a frame, and a client that is idle, or
 * whose stream below keeps up, owns no memory for it.
 *
 * The handshake reads by itself, so it may get bytes that are behind the answer's head. They stay
 * in `input` until the owner reads.
 */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "loop/worker.h"
#include "transport/ws_int.h"

enum { ANSWER_READ = 1024 };

struct ws_client {
	struct worker *worker; /* NULL: detached */
	struct buf input;      /* the answer's head so far; then what came behind it */
	/* Owned; gone when the handshake is over. */
	char *host, *path, *protocol;
	char accept[WS_ACCEPT_SIZE]; /* what the answer must show; "": no request is made yet */
	uint8_t wanted;              /* by the owner; during the handshake */
};

/* --- masks --- */

static bool
draw_mask(struct ws *ws, uint8_t mask[WS_MASK_SIZE])
{
	if (ws->client->worker == NULL) {
		return false;
	}
	worker_random_fill(ws->client->worker, mask, WS_MASK_SIZE);
	return true;
}

/* Of a payload that stands behind WS_MASKED_HEAD_SIZE bytes of room: its frame, in the same memory.
 */
static struct bytes
make_frame(
    uint8_t *memory, enum ws_opcode opcode, size_t payload_len, const uint8_t mask[WS_MASK_SIZE])
{
	uint8_t head[WS_MASKED_HEAD_SIZE];
	size_t head_len = ws_encode_masked_head(head, opcode, payload_len, mask);
	uint8_t *at = memory + WS_MASKED_HEAD_SIZE;

	ws_mask(at, payload_len, mask);
	at -= head_len;
	memcpy(at, head, head_len);
	return bytes_make(at, head_len + payload_len);
}

void
ws_client_add_control(struct ws *ws, enum ws_opcode opcode, struct bytes payload)
{
	uint8_t memory[WS_MASKED_HEAD_SIZE + WS_CONTROL_MAX], mask[WS_MASK_SIZE];

	if (err_impossible(payload.len > WS_CONTROL_MAX) || !draw_mask(ws, mask)) {
		return;
	}
	if (payload.len != 0) {
		memcpy(memory + WS_MASKED_HEAD_SIZE, payload.data, payload.len);
	}
	ws->last_control = ws->control.len;
	buf_append_bytes(&ws->control, make_frame(memory, opcode, payload.len, mask));
}

/* --- the handshake --- */

static struct ws_connect_options
options_of(const struct ws_client *client)
{
	return (struct ws_connect_options){client->host, client->path, client->protocol};
}

static void
end_handshake(struct ws *ws, enum ws_state state, const char *why)
{
	struct ws_client *client = ws->client;

	ws_end_handshake(ws, state);
	ws->why = why;
	ws->close_is_out = state != WS_OPEN;
	ws->wanted = client->wanted;
	mem_free(&client->host);
	mem_free(&client->path);
	mem_free(&client->protocol);
}

static void
ask(struct ws *ws)
{
	struct ws_connect_options options = options_of(ws->client);
	uint8_t nonce[WS_NONCE_SIZE];

	worker_random_fill(ws->client->worker, nonce, sizeof(nonce));
	if (!ws_connect_write(&ws->control, &options, nonce, ws->client->accept)) {
		end_handshake(ws, WS_FAILED, "there is no SHA-1 to be had");
	} else if (ws->control.failed) {
		end_handshake(ws, WS_FAILED, "no memory");
	}
}

/* The head is whole; `rest` stands behind it. */
static void
judge(struct ws *ws, struct bytes rest)
{
	struct ws_client *client = ws->client;
	struct ws_connect_options options = options_of(client);
	const char *why = ws_connect_judge(buf_bytes(&client->input), &options, client->accept);

	buf_fini(&client->input);
	buf_init(&client->input, SIZE_MAX);
	if (why == NULL) {
		buf_append_bytes(&client->input, rest);
		why = client->input.failed ? "no memory" : NULL;
	}
	end_handshake(ws, why == NULL ? WS_OPEN : WS_FAILED, why);
}

static void
take_answer(struct ws *ws, struct bytes bytes)
{
	struct buf *head = &ws->client->input;
	bool done;
	long used = ws_head_scan(&ws->scan, bytes, &done);

	if (used < 0) {
		end_handshake(ws, WS_FAILED, "the server's answer is malformed");
	} else if ((size_t)used > WS_MAX_HEAD_SIZE - head->len) {
		end_handshake(ws, WS_FAILED, "the head of the server's answer is too large");
	} else {
		buf_append(head, bytes.data, (size_t)used);
		if (head->failed) {
			end_handshake(ws, WS_FAILED, "no memory");
		} else if (done) {
			judge(ws, bytes_skip(bytes, (size_t)used));
		}
	}
}

/* As far as it goes; the head's limit bounds it. */
static void
shake_hands(struct ws *ws)
{
	uint8_t memory[ANSWER_READ];
	long n = ANSWER_READ;

	while (ws->state == WS_HANDSHAKE && n == ANSWER_READ) {
		n = stream_read(ws->stream.lower, memory, ANSWER_READ);
		if (n > 0) {
			take_answer(ws, bytes_make(memory, (size_t)n));
		} else if (n == 0) {
			end_handshake(ws, WS_ENDED, "the connection ended within the handshake");
		} else if (n != ERR_AGAIN) {
			end_handshake(ws, WS_FAILED, NULL); /* the stream below may say why */
		}
	}
	if (ws->state >= WS_ENDED) {
		ws_drop_control(ws);
		buf_fini(&ws->client->input);
	}
	ws_want_below(ws, false);
}

/* --- readiness --- */

/* What the owner is told of events in the handshake. */
static unsigned
drive(struct ws *ws, unsigned events)
{
	unsigned told = events & ws->raised;

	ws->raised &= (uint8_t)~events;
	(void)ws_flush_control(ws);
	shake_hands(ws);
	if (ws->state == WS_OPEN) {
		/* The owner waited for this, and what follows it may be here already. */
		told |= ws->wanted;
	} else if (ws->state >= WS_ENDED) {
		told |= STREAM_READ;
	}
	return told;
}

static void
take_events(struct stream *lower, unsigned events, void *owner)
{
	struct ws *ws = owner;
	unsigned told;

	if (ws->state != WS_HANDSHAKE) {
		ws_take_events(lower, events, owner);
		return;
	}
	told = drive(ws, events);
	if (told != 0 && ws->stream.ready != NULL) {
		ws->stream.ready(&ws->stream, told, ws->stream.owner);
	}
}

static void
client_want(struct stream *stream, unsigned events)
{
	struct ws *ws = ws_of(stream);
	bool resumes = (events & ~(unsigned)ws->wanted & STREAM_READ) != 0;

	if (ws->state == WS_HANDSHAKE) {
		ws->client->wanted = (uint8_t)events;
		return;
	}
	ws_want(stream, events);
	if (resumes && ws->client->input.len != 0) {
		ws_raise(stream, STREAM_READ);
	}
}

/* --- reading --- */

/* What came behind the answer, before all else. */
static long
read_early(struct ws *ws, uint8_t *memory, size_t size)
{
	struct buf *input = &ws->client->input;
	size_t n = input->len < size ? input->len : size;

	memcpy(memory, input->data, n);
	buf_consume(input, n);
	if (input->len == 0) {
		buf_fini(input);
	}
	return ws_take_input(ws, memory, (long)n, size, true);
}

static long
client_read(struct stream *stream, void *memory, size_t size)
{
	struct ws *ws = ws_of(stream);

	if (ws->state == WS_HANDSHAKE && ws->client->accept[0] != '\0') {
		shake_hands(ws); /* who waits to write is told of it from below */
	}
	if (ws->state == WS_HANDSHAKE) {
		return ERR_AGAIN;
	}
	if (ws->state < WS_ENDED && ws->client->input.len != 0) {
		return read_early(ws, memory, size);
	}
	return ws_read(stream, memory, size);
}

/* --- writing --- */

/* Where in the owner's parts a write is. */
struct cursor {
	const struct iovec *parts;
	int left;  /* parts */
	size_t at; /* in the first of them */
};

/* Copies what is there, at most `size` bytes. */
static size_t
copy(struct cursor *cursor, uint8_t *memory, size_t size)
{
	size_t filled = 0;

	while (cursor->left > 0) {
		size_t len = cursor->parts->iov_len - cursor->at;

		if (len > size - filled) {
			len = size - filled;
		}
		if (len != 0) {
			memcpy(
			    memory + filled, (uint8_t *)cursor->parts->iov_base + cursor->at, len);
			filled += len;
			cursor->at += len;
		}
		if (cursor->at != cursor->parts->iov_len) {
			break;
		}
		cursor->parts++;
		cursor->left--;
		cursor->at = 0;
	}
	return filled;
}

/* Keeps what the stream below did not take of a frame. */
static bool
keep(struct ws *ws, struct bytes rest)
{
	buf_append_bytes(&ws->control, rest);
	if (ws->control.failed) {
		ws_drop_control(ws);
		ws->state = WS_FAILED;
		ws->why = "no memory";
		ws->close_is_out = true;
		return false;
	}
	return true;
}

/* One frame, while nothing waits: bytes of payload taken, 0 at the end or when there is no room at
 * all, or ERR_IO. */
static long
send_frame(struct ws *ws, struct cursor *cursor)
{
	uint8_t memory[WS_MASKED_HEAD_SIZE + WS_CLIENT_FRAME], mask[WS_MASK_SIZE];
	size_t len = copy(cursor, memory + WS_MASKED_HEAD_SIZE, WS_CLIENT_FRAME);
	struct bytes frame;
	long n;

	if (len == 0 || !draw_mask(ws, mask)) {
		return 0;
	}
	frame = make_frame(memory, WS_BINARY, len, mask);
	n = stream_write(
	    ws->stream.lower, &(struct iovec){(void *)(uintptr_t)frame.data, frame.len}, 1);
	if (n <= 0) {
		return n;
	}
	if ((size_t)n < frame.len && !keep(ws, bytes_skip(frame, (size_t)n))) {
		return ERR_IO;
	}
	return (long)len;
}

static long
client_write(struct stream *stream, const struct iovec *parts, int count)
{
	struct ws *ws = ws_of(stream);
	struct cursor cursor = {parts, count, 0};
	long done = 0, n = 1;

	if (ws->close_is_out) {
		return ERR_IO;
	}
	if (ws->state == WS_HANDSHAKE) {
		return 0;
	}
	while (n > 0 && ws_flush_control(ws)) {
		n = send_frame(ws, &cursor);
		if (n > 0) {
			done += n;
		}
	}
	ws_want_below(ws, false);
	return n < 0 ? n : done;
}

/* --- a place on a loop, and the end --- */

static int
client_attach(struct stream *stream, struct worker *worker)
{
	struct ws *ws = ws_of(stream);
	int error;

	ws->client->worker = worker;
	ws->client->wanted = STREAM_READ;
	if (ws->state == WS_HANDSHAKE && ws->client->accept[0] == '\0') {
		ask(ws);
	}
	error = ws_attach(stream, worker);
	if (error != 0) {
		ws->client->worker = NULL;
	}
	return error;
}

static void
client_detach(struct stream *stream)
{
	ws_of(stream)->client->worker = NULL;
	ws_detach(stream);
}

/* A request that is half out is no loss. */
static void
client_shut(struct stream *stream)
{
	struct ws *ws = ws_of(stream);

	if (ws->state == WS_HANDSHAKE) {
		end_handshake(ws, WS_FAILED, NULL);
		ws_drop_control(ws);
	}
	ws_shut(stream);
}

static void
client_free(struct stream *stream)
{
	struct ws *ws = ws_of(stream);

	end_handshake(ws, WS_FAILED, NULL);
	buf_fini(&ws->client->input);
	mem_free(&ws->client);
	ws_free(stream);
}

const struct stream_ops ws_client_ops = {.read = client_read,
    .write = client_write,
    .want = client_want,
    .raise = ws_raise,
    .attach = client_attach,
    .detach = client_detach,
    .shut = client_shut,
    .free = client_free,
    .peer_name = ws_peer_name};

static char *
copy_text(const char *text)
{
	return text != NULL ? mem_text(bytes_of(text)) : NULL;
}

struct stream *
ws_stream_connect_new(struct stream *lower, const struct ws_connect_options *options)
{
	struct ws *ws = mem_zalloc(sizeof(*ws));
	const char *why = ws_connect_check(options);

	ws->stream.ops = &ws_client_ops;
	ws->stream.lower = lower;
	ws->client = mem_zalloc(sizeof(*ws->client));
	ws->client->host = copy_text(options->host);
	ws->client->path = copy_text(options->path);
	ws->client->protocol = copy_text(options->protocol);
	ws->client->wanted = STREAM_READ;
	ws->decoder.is_client = true;
	buf_init(&ws->client->input, SIZE_MAX);
	buf_init(&ws->control, SIZE_MAX);
	stream_on_ready(lower, take_events, ws);
	if (why != NULL) {
		end_handshake(ws, WS_FAILED, why);
	}
	return &ws->stream;
}
