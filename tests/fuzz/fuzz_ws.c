/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: the handshake of WebSocket and its frames. Settings, a request, frames; one bit of the
 * settings puts a good request in front, so that all input is frames.
 *
 * A second reading of frames, which sees the whole input at once and is as simple as it can be,
 * says what payload must come out and how it must end, however the bytes are cut. What the stream
 * sends must be frames of a server, one for each of its answers, and the answers bounded.
 */
#include <stdint.h>
#include <stdlib.h>

#include "fuzz/ws_reading.h"

#include "base/err.h"
#include "base/mem.h"
#include "transport/mem_stream.h"
#include "transport/ws.h"
#include "transport/ws_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUEST                                           \
	"GET /mqtt HTTP/1.1\r\nHost: x\r\n"               \
	"Upgrade: websocket\r\nConnection: Upgrade\r\n"   \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

enum { IS_UPGRADED = 1, HAS_ORIGINS = 2, TRUSTS = 4, MOVES_ROOM = 8, MAX_HEAD = 600 };

/* --- the stream --- */

static bool
trusts(void *arg, const struct addr *peer)
{
	struct bytes host = addr_host(peer);

	(void)arg;
	return host.len != 0 && (host.data[host.len - 1] & 1) != 0;
}

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
begin(struct session *session, const struct ws_options *options, const uint8_t *settings)
{
	session->stream =
	    ws_stream_new(mem_stream_new("127.0.0.1:1", SIZE_MAX, &session->far), options);
	mem_pipe_set_read_size(session->far, settings[1]);
	session->read_size = 1 + (size_t)settings[2] * (settings[2] & 1 ? 1 : 50);
	session->memory = mem_alloc(session->read_size);
	if ((settings[0] & MOVES_ROOM) != 0) {
		mem_pipe_set_room(session->far, 1 + (settings[0] >> 4));
	}
	buf_init(&session->received, SIZE_MAX);
	buf_init(&session->sent, SIZE_MAX);
}

static void
take_output(struct session *session)
{
	struct bytes out = mem_pipe_output(session->far);

	buf_append_bytes(&session->sent, out);
	mem_pipe_take(session->far, out.len);
}

/* Detached, so nobody tells of room; but writing nothing flushes what waits, and after an end
 * shutting does. */
static void
flush(struct session *session)
{
	size_t before;

	do {
		before = session->sent.len;
		if (stream_write(session->stream, NULL, 0) != 0) {
			stream_shut(session->stream);
		}
		take_output(session);
	} while (session->sent.len != before);
}

/* Each read takes at least a byte, as long as there are any. */
static void
run(struct session *session, struct bytes bytes)
{
	mem_pipe_write(session->far, bytes);
	for (size_t i = 0; i < bytes.len + 2; i++) {
		session->last = stream_read(session->stream, session->memory, session->read_size);
		require(session->last <= (long)session->read_size);
		if (session->last > 0) {
			buf_append(&session->received, session->memory, (size_t)session->last);
		} else if (session->last != ERR_AGAIN) {
			break;
		}
		take_output(session);
	}
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

/* What a server sent: an HTTP answer, then pongs, then maybe a close frame with this code. */
static void
check_sent(struct bytes sent, const struct expected *expected)
{
	size_t pongs = 0;
	bool closed = false;
	struct bytes last = {0};

	while (sent.len != 0) {
		size_t len;

		require(!closed && sent.len >= 2 && sent.data[1] <= 125);
		len = sent.data[1];
		require(sent.len >= 2 + len);
		if (sent.data[0] == 0x8a) {
			pongs++;
			last = bytes_make(sent.data + 2, len);
		} else {
			require(sent.data[0] == 0x88);
			closed = true;
			require(len == (expected->code == 1005 ? 0U : 2U));
			require(len == 0 || number(sent.data + 2, 2) == expected->code);
		}
		sent = bytes_skip(sent, 2 + len);
	}
	require(closed == (expected->ending != OPEN));
	require(pongs <= expected->pings && (pongs != 0) == (expected->pings != 0));
	if (pongs != 0) {
		require(last.len == expected->last_ping.len);
		for (size_t i = 0; i < last.len; i++) {
			require(last.data[i] ==
				(expected->last_ping.data[i] ^ expected->last_mask[i & 3]));
		}
	}
}

/* The head's length, by what follows from it: an answer of 101. */
static size_t
head_end(struct bytes bytes)
{
	for (size_t i = 4; i <= bytes.len; i++) {
		if (memcmp(bytes.data + i - 4, "\r\n\r\n", 4) == 0) {
			return i;
		}
	}
	return 0;
}

static void
check(struct session *session, struct bytes bytes)
{
	static const char upgraded[] = "HTTP/1.1 101 ";
	struct expected expected = {.ending = OPEN};
	size_t answer_len = head_end(buf_bytes(&session->sent)), len = head_end(bytes);

	if (session->sent.len == 0) {
		/* No end of a head yet: nothing is said, nothing is given. */
		require(session->last == ERR_AGAIN && session->received.len == 0);
		return;
	}
	require(answer_len != 0);
	if (!bytes_starts_with(
		buf_bytes(&session->sent), bytes_make(upgraded, sizeof(upgraded) - 1))) {
		require(session->last == ERR_IO && session->received.len == 0);
		require(ws_stream_error(session->stream) != NULL);
		return;
	}
	require(len != 0 && len <= MAX_HEAD);
	buf_init(&expected.payload, SIZE_MAX);
	read_frames(bytes_skip(bytes, len), false, &expected);
	require(bytes_equal(buf_bytes(&session->received), buf_bytes(&expected.payload)));
	require(session->last == (expected.ending == OPEN        ? ERR_AGAIN
				     : expected.ending == CLOSED ? 0
								 : ERR_IO));
	require((ws_stream_error(session->stream) != NULL) == (expected.ending != OPEN));
	check_sent(bytes_skip(buf_bytes(&session->sent), answer_len), &expected);
	buf_fini(&expected.payload);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const origins[] = {"http://a", NULL};
	struct ws_options options = {.path = "/mqtt", .max_head_size = MAX_HEAD};
	struct session session = {0};
	struct buf input;

	if (size < 3) {
		return 0;
	}
	options.origins = data[0] & HAS_ORIGINS ? origins : NULL;
	options.trusts = data[0] & TRUSTS ? trusts : NULL;
	buf_init(&input, SIZE_MAX);
	if ((data[0] & IS_UPGRADED) != 0) {
		buf_append_text(&input, REQUEST);
	}
	buf_append(&input, data + 3, size - 3);
	begin(&session, &options, data);
	run(&session, buf_bytes(&input));
	flush(&session);
	check(&session, buf_bytes(&input));
	require(stream_peer_name(session.stream).len != 0);
	stream_shut(session.stream);
	end(&session);
	buf_fini(&input);
	return 0;
}
