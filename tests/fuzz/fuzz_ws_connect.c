/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: the answer to a client of WebSocket, and frames from a server behind it. Settings, a
 * head, frames; the first byte 1 stands for what the answer must show as Sec-WebSocket-Accept, and
 * one bit of the settings puts a right answer in front, so that all input is frames.
 *
 * A second reading of the head says whether it is right; then one of the frames says what payload
 * must come out and how it must end, however the bytes are cut, with an owner who reads when he is
 * told. What the client sends must be its request and then frames with masks, one for each of its
 * answers, and the answers bounded.
 */
#include <stdint.h>
#include <stdlib.h>

#include "fuzz/ws_reading.h"

#include "base/err.h"
#include "base/mem.h"
#include "loop/sim.h"
#include "transport/mem_stream.h"
#include "transport/ws.h"
#include "transport/ws_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IS_UPGRADED = 1, MOVES_ROOM = 2 };

static const struct ws_connect_options options = {.host = "x"};

/* --- the second reading of a head --- */

enum verdict { UNFINISHED, RIGHT, WRONG };

static bool
is_text(const char *text, size_t len, const char *word, bool any_case)
{
	if (len != strlen(word)) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		c = any_case && c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
		if (c != word[i]) {
			return false;
		}
	}
	return true;
}

static bool
is_name(const char *text, size_t len)
{
	static const char legal[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (size_t i = 0; i < len; i++) {
		if (memchr(legal, text[i], sizeof(legal) - 1) == NULL) {
			return false;
		}
	}
	return len != 0;
}

static void
strip(const char **text, size_t *len)
{
	while (*len != 0 && (**text == ' ' || **text == '\t')) {
		(*text)++;
		(*len)--;
	}
	while (*len != 0 && ((*text)[*len - 1] == ' ' || (*text)[*len - 1] == '\t')) {
		(*len)--;
	}
}

static bool
has_upgrade(const char *text, size_t len)
{
	size_t begin = 0;

	for (size_t i = 0; i <= len; i++) {
		if (i == len || text[i] == ',') {
			const char *item = text + begin;
			size_t item_len = i - begin;

			strip(&item, &item_len);
			if (is_text(item, item_len, "upgrade", true)) {
				return true;
			}
			begin = i + 1;
		}
	}
	return false;
}

struct fields {
	unsigned upgrade, right_upgrade, connection, accept, right_accept, protocol, right_protocol;
	unsigned extension;
};

static bool
read_line(const char *line, size_t len, const char *accept, struct fields *fields)
{
	const char *colon = memchr(line, ':', len), *value;
	size_t name_len, value_len;

	if (colon == NULL || !is_name(line, (size_t)(colon - line))) {
		return false;
	}
	name_len = (size_t)(colon - line);
	value = colon + 1;
	value_len = len - name_len - 1;
	strip(&value, &value_len);
	if (is_text(line, name_len, "upgrade", true)) {
		fields->upgrade++;
		fields->right_upgrade += is_text(value, value_len, "websocket", true);
	}
	fields->connection +=
	    is_text(line, name_len, "connection", true) && has_upgrade(value, value_len);
	if (is_text(line, name_len, "sec-websocket-accept", true)) {
		fields->accept++;
		fields->right_accept += is_text(value, value_len, accept, false);
	}
	if (is_text(line, name_len, "sec-websocket-protocol", true)) {
		fields->protocol++;
		fields->right_protocol += is_text(value, value_len, "mqtt", false);
	}
	fields->extension +=
	    is_text(line, name_len, "sec-websocket-extensions", true) && value_len != 0;
	return true;
}

static bool
is_status_line(const char *line, size_t len)
{
	return len >= 12 && memcmp(line, "HTTP/1.", 7) == 0 && line[7] >= '1' && line[7] <= '9' &&
	       memcmp(line + 8, " 101", 4) == 0 && (len == 12 || line[12] == ' ');
}

static bool
is_right(const char *head, size_t len, const char *accept)
{
	struct fields fields = {0};
	const char *line = head;

	while (line < head + len) {
		const char *line_end = memchr(line, '\r', (size_t)(head + len - line));

		require(line_end != NULL);
		if (line == head && !is_status_line(line, (size_t)(line_end - line))) {
			return false;
		}
		if (line != head && line_end != line &&
		    !read_line(line, (size_t)(line_end - line), accept, &fields)) {
			return false;
		}
		line = line_end + 2;
	}
	return fields.upgrade == 1 && fields.right_upgrade == 1 && fields.connection != 0 &&
	       fields.accept == 1 && fields.right_accept == 1 && fields.protocol == 1 &&
	       fields.right_protocol == 1 && fields.extension == 0;
}

static enum verdict
read_head(struct bytes bytes, const char *accept, size_t *len_out)
{
	const char *text = (const char *)bytes.data;

	for (size_t i = 0; i < bytes.len; i++) {
		uint8_t c = bytes.data[i];

		if ((c < 32 && c != '\t' && c != '\r' && c != '\n') || c == 127 ||
		    (c == '\n') != (i > 0 && text[i - 1] == '\r')) {
			return WRONG;
		}
		if (i >= 3 && memcmp(text + i - 3, "\r\n\r\n", 4) == 0) {
			*len_out = i + 1;
			return is_right(text, i + 1, accept) ? RIGHT : WRONG;
		}
	}
	return UNFINISHED;
}

/* --- the stream --- */

struct session {
	struct stream *stream;
	struct mem_pipe *far;
	struct buf received;
	struct buf sent;
	size_t read_size;
	uint8_t *memory;
	long last;
};

static void
take_ready(struct stream *stream, unsigned events, void *owner)
{
	struct session *session = owner;

	if ((events & STREAM_READ) == 0) {
		return;
	}
	session->last = stream_read(stream, session->memory, session->read_size);
	require(session->last <= (long)session->read_size);
	if (session->last > 0) {
		buf_append(&session->received, session->memory, (size_t)session->last);
		if ((size_t)session->last == session->read_size) {
			stream_raise(stream, STREAM_READ);
		}
	} else if (session->last != ERR_AGAIN) {
		stream_want(stream, 0);
	}
}

/* Until nothing moves; all output is taken as it comes. */
static void
settle(struct loop *loop, struct session *session)
{
	struct bytes out;

	do {
		require(sim_settle(loop, 100000));
		out = mem_pipe_output(session->far);
		buf_append_bytes(&session->sent, out);
		mem_pipe_take(session->far, out.len);
	} while (out.len != 0);
}

static void
begin(struct loop *loop, struct session *session, const uint8_t *settings)
{
	struct worker *worker = loop_worker(loop, 0);

	session->stream =
	    ws_stream_connect_new(mem_stream_new("127.0.0.1:1", SIZE_MAX, &session->far), &options);
	stream_on_ready(session->stream, take_ready, session);
	session->read_size = 1 + (size_t)settings[2] * (settings[2] & 1 ? 1 : 50);
	session->memory = mem_alloc(session->read_size);
	buf_init(&session->received, SIZE_MAX);
	buf_init(&session->sent, SIZE_MAX);
	mem_pipe_set_read_size(session->far, settings[1]);
	if ((settings[0] & MOVES_ROOM) != 0) {
		mem_pipe_set_room(session->far, 1 + (settings[0] >> 4));
	}
	sim_enter(worker);
	require(stream_attach(session->stream, worker) == 0);
	sim_leave();
	settle(loop, session);
}

static void
end(struct session *session)
{
	stream_free(&session->stream);
	mem_pipe_release(&session->far);
	mem_free(&session->memory);
	buf_fini(&session->received);
	buf_fini(&session->sent);
}

/* Pongs, then maybe a close frame with this code; all masked. */
static void
check_sent(struct bytes sent, const struct expected *expected)
{
	size_t pongs = 0, last_len = 0;
	uint8_t last[WS_CONTROL_MAX];
	bool closed = false;

	while (sent.len != 0) {
		size_t len;

		require(!closed && sent.len >= 6 && sent.data[1] >= 128);
		len = sent.data[1] - 128U;
		require(len <= WS_CONTROL_MAX && sent.len >= 6 + len);
		for (size_t i = 0; i < len; i++) {
			last[i] = sent.data[6 + i] ^ sent.data[2 + (i & 3)];
		}
		if (sent.data[0] == 0x8a) {
			pongs++;
			last_len = len;
			if (pongs == expected->pings) {
				require(last_len == expected->last_ping.len);
				require(
				    len == 0 || memcmp(last, expected->last_ping.data, len) == 0);
			}
		} else {
			require(sent.data[0] == 0x88);
			closed = true;
			require(len == (expected->code == 1005 ? 0U : 2U));
			require(len == 0 || number(last, 2) == expected->code);
		}
		sent = bytes_skip(sent, 6 + len);
	}
	require(closed == (expected->ending != OPEN));
	require(pongs <= expected->pings && (pongs != 0) == (expected->pings != 0));
}

static void
check(struct session *session, struct bytes bytes, size_t request_len, const char *accept)
{
	struct expected expected = {.ending = OPEN};
	struct bytes sent = bytes_skip(buf_bytes(&session->sent), request_len);
	size_t len = 0;
	enum verdict verdict = read_head(bytes, accept, &len);

	if (verdict != RIGHT) {
		require(session->last == (verdict == WRONG ? ERR_IO : ERR_AGAIN));
		require(session->received.len == 0 && sent.len == 0);
		require((ws_stream_error(session->stream) != NULL) == (verdict == WRONG));
		return;
	}
	buf_init(&expected.payload, SIZE_MAX);
	read_frames(bytes_skip(bytes, len), true, &expected);
	require(bytes_equal(buf_bytes(&session->received), buf_bytes(&expected.payload)));
	if (expected.ending == OPEN) {
		require(session->last > 0 || session->last == ERR_AGAIN);
	} else {
		require(session->last == (expected.ending == CLOSED ? 0 : ERR_IO));
	}
	require((ws_stream_error(session->stream) != NULL) == (expected.ending != OPEN));
	check_sent(sent, &expected);
	buf_fini(&expected.payload);
}

/* Of the request that the client has sent. */
static void
find_accept(struct bytes request, char accept[WS_ACCEPT_SIZE])
{
	static const struct ws_options server = {.path = "/mqtt"};
	struct ws_answer answer;

	ws_handshake(request, &server, &answer);
	require(answer.status == 101);
	memcpy(accept, answer.accept, WS_ACCEPT_SIZE);
}

static void
make_input(struct buf *input, const char *accept, bool is_upgraded, struct bytes bytes)
{
	const uint8_t *at = bytes.len != 0 ? memchr(bytes.data, 1, bytes.len) : NULL;

	buf_init(input, SIZE_MAX);
	if (is_upgraded) {
		struct ws_answer answer = {.protocol = "mqtt"};

		memcpy(answer.accept, accept, WS_ACCEPT_SIZE);
		ws_handshake_write(input, &answer);
	} else if (at != NULL) {
		buf_append(input, bytes.data, (size_t)(at - bytes.data));
		buf_append_text(input, accept);
		bytes = bytes_skip(bytes, (size_t)(at - bytes.data) + 1);
	}
	buf_append_bytes(input, bytes);
}

/* The judge alone, with memory of exactly the head's size: any bytes may be asked about. */
static void
judge(struct bytes bytes, const char *accept)
{
	uint8_t *head = mem_alloc(bytes.len);

	if (bytes.len != 0) {
		memcpy(head, bytes.data, bytes.len);
	}
	(void)ws_connect_judge(bytes_make(head, bytes.len), &options, accept);
	mem_free(&head);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop_options loop_options = {.seed = 1, .log_ring_size = 4096};
	struct session session = {.last = ERR_AGAIN};
	char accept[WS_ACCEPT_SIZE];
	struct loop *loop;
	struct buf input;
	size_t request_len;

	if (size < 3) {
		return 0;
	}
	loop = loop_new(&loop_options);
	(void)loop_add_worker(loop, "main");
	require(loop_start(loop) == 0);
	begin(loop, &session, data);
	request_len = session.sent.len;
	find_accept(buf_bytes(&session.sent), accept);
	make_input(&input, accept, (data[0] & IS_UPGRADED) != 0, bytes_make(data + 3, size - 3));
	mem_pipe_write(session.far, buf_bytes(&input));
	settle(loop, &session);
	check(&session, buf_bytes(&input), request_len, accept);
	judge(buf_bytes(&input), accept);
	stream_shut(session.stream);
	end(&session);
	loop_join(loop);
	loop_free(&loop);
	buf_fini(&input);
	return 0;
}
