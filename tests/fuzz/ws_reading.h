/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second reading of frames of WebSocket, which sees the whole input at once and is as simple as
 * it can be: what payload comes out, and how it ends, however the bytes are cut.
 */
#ifndef FUZZ_WS_READING_H
#define FUZZ_WS_READING_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

enum ending { OPEN, CLOSED, FAILED };

struct expected {
	struct buf payload;
	enum ending ending;
	unsigned code; /* of our close frame; 1005: an empty one */
	size_t pings;
	struct bytes last_ping; /* masked as it came */
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
read_frames(struct bytes in, bool is_client, struct expected *expected)
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
		if (is_masked == is_client || (in.data[0] & 0x70) != 0) {
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
			uint8_t byte = is_client ? in.data[i] : in.data[i] ^ mask[i & 3];

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

#endif
