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

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

/* --- the second reading --- */

enum ending { OPEN, CLOSED, FAILED };

struct expected {
	struct buf payload;
	enum ending ending;
	unsigned code; /* of our close frame; 1005: an empty one */
	size_t pings;
	struct bytes last_ping; /* still masked */
	const uint8_t *last_mask;
};

static uint64_t
number(const uint8_t *at, unsigned len)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < len; i++) {
		value = value << 8 | at[i];
	}
	return value;
}

static enum ending
fails(struct expected *expected, unsigned code)
{
	expected->code = code;
	return expected->ending = FAILED;
}

static bool
is_utf8(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len;) {
		unsigned c = at[i++], more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
		uint32_t code = more == 0 ? c : c & (0x3fU >> more);

		if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || len - i < more) {
			return false;
		}
		for (unsigned k = 0; k < more; k++) {
			if ((at[i] & 0xc0) != 0x80) {
				return false;
			}
			code = code << 6 | (at[i++] & 0x3fU);
		}
		if ((more == 2 && code < 0x800) || (more == 3 && code < 0x10000) ||
		    code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
			return false;
		}
	}
	return true;
}

static enum ending
closes(struct expected *expected, const uint8_t *payload, size_t len)
{
	unsigned code = len >= 2 ? (unsigned)number(payload, 2) : 1005;

	if (len == 1 || code < 1000 || code == 1004 || (code == 1005 && len != 0) || code == 1006 ||
	    (code > 1014 && code < 3000) || code > 4999) {
		return fails(expected, 1002);
	}
	if (len > 2 && !is_utf8(payload + 2, len - 2)) {
		return fails(expected, 1007);
	}
	expected->code = code;
	return expected->ending = CLOSED;
}

static void
read_frames(struct bytes in, struct expected *expected)
{
	bool in_message = false;

	while (in.len >= 2) {
		unsigned opcode = in.data[0] & 15, extra = 0;
		bool is_control = (opcode & 8) != 0, is_final = (in.data[0] & 0x80) != 0;
		bool is_masked = (in.data[1] & 0x80) != 0;
		uint64_t len = in.data[1] & 127;
		const uint8_t *mask;
		uint8_t payload[125];

		if (is_control && (len > 125 || !is_final)) {
			(void)fails(expected, 1002);
			return;
		}
		extra = len == 126 ? 2 : len == 127 ? 8 : 0;
		if (in.len < 2 + extra) {
			return;
		}
		if (extra != 0) {
			len = number(in.data + 2, extra);
			if (extra == 2 ? len < 126 : len < 65536 || len >> 63 != 0) {
				(void)fails(expected, 1002);
				return;
			}
		}
		extra += 2;
		mask = in.data + extra;
		extra += is_masked ? 4 : 0;
		if (in.len < extra || (in.len == extra && len != 0)) {
			return; /* the decoder judges no head before its payload begins */
		}
		if (!is_masked || (in.data[0] & 0x70) != 0) {
			(void)fails(expected, 1002);
			return;
		}
		if (opcode == 1) {
			(void)fails(expected, 1003);
			return;
		}
		if ((opcode > 2 && opcode < 8) || opcode > 10 || (opcode == 2 && in_message) ||
		    (opcode == 0 && !in_message)) {
			(void)fails(expected, 1002);
			return;
		}
		in = bytes_skip(in, extra);
		if (is_control && in.len < len) {
			return;
		}
		for (uint64_t i = 0; i < len && i < in.len; i++) {
			uint8_t byte = in.data[i] ^ mask[i & 3];

			if (is_control) {
				payload[i] = byte;
			} else {
				buf_append_byte(&expected->payload, byte);
			}
		}
		if (opcode == 8) {
			(void)closes(expected, payload, (size_t)len);
			return;
		}
		if (opcode == 9) {
			expected->pings++;
			expected->last_ping = bytes_make(in.data, (size_t)len);
			expected->last_mask = mask;
		}
		in_message = is_control ? in_message : !is_final;
		if (in.len < len) {
			return;
		}
		in = bytes_skip(in, (size_t)len);
	}
}

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
	read_frames(bytes_skip(bytes, len), &expected);
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
