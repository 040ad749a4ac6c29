/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames by wslay. Its decoder pulls: it asks for bytes, keeps them in a window of 4 KiB, takes the
 * mask off there and gives out what part of a payload it has. What it asks for is copied from the
 * caller's memory, what it gives out is copied to the front of the same memory: a frame loses its
 * head on the way, so output stays behind input.
 *
 * The window (8 KiB with what is around it) is much for a connection that says nothing, so it lives
 * within a frame only: between frames, with nothing left in it, it is freed. It does not tell what
 * is left in it; but each frame has one legal length of its head, so what was given to it and what
 * came out can be compared.
 *
 * wslay checks what belongs to one frame's head (lengths, the form of control frames); the rest is
 * checked here: masks, reserved bits and opcodes, the order of fragments, the contents of close
 * frames. An answer to a frame's fault may come as late as with its first byte of payload.
 *
 * Heads are written by hand: ten lines, while wslay would need its window for that too.
 */
#include "transport/ws_frame.h"

#include <string.h>

#include <wslay/wslay.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"

_Static_assert((int)WS_BINARY == (int)WSLAY_BINARY_FRAME && (int)WS_CLOSE == WSLAY_CONNECTION_CLOSE,
    "opcodes are those of wslay");

struct ws_window {
	wslay_frame_context_ptr frames;
	struct ws_cursor *cursor; /* during a call */
	uint64_t left;            /* payload of the present frame that is still to come */
	uint32_t held;            /* bytes that the window took and that did not come out yet */
	uint8_t control_len;
	uint8_t control[WS_CONTROL_MAX];
};

/* --- the window --- */

static ssize_t
give(uint8_t *to, size_t size, int flags, void *arg)
{
	struct ws_window *window = arg;
	struct ws_cursor *cursor = window->cursor;
	size_t len = cursor->end - cursor->in;

	(void)flags;
	if (len == 0) {
		return -1;
	}
	if (len > size) {
		len = size;
	}
	memcpy(to, cursor->memory + cursor->in, len);
	cursor->in += len;
	window->held += (uint32_t)len;
	return (ssize_t)len;
}

static struct ws_window *
window_new(void)
{
	const struct wslay_frame_callbacks callbacks = {.recv_callback = give};
	struct ws_window *window = mem_alloc(sizeof(*window));

	window->left = 0;
	window->held = 0;
	window->control_len = 0;
	if (wslay_frame_context_init(&window->frames, &callbacks, window) != 0) {
		mem_free(&window);
	}
	return window;
}

void
ws_decoder_fini(struct ws_decoder *decoder)
{
	if (decoder->window != NULL) {
		wslay_frame_context_free(decoder->window->frames);
		mem_free(&decoder->window);
	}
}

/* --- checks --- */

static enum ws_found
fault(struct ws_event *event, enum ws_code code, const char *why)
{
	event->code = (uint16_t)code;
	event->why = why;
	return WS_FOUND_FAULT;
}

static bool
is_control(const struct wslay_frame_iocb *frame)
{
	return (frame->opcode & 8) != 0;
}

/* The first part of a frame: may it stand here? */
static enum ws_found
check_frame(
    struct ws_decoder *decoder, const struct wslay_frame_iocb *frame, struct ws_event *event)
{
	if ((frame->mask == 0) != decoder->is_client) {
		return fault(event, WS_CODE_PROTOCOL,
		    decoder->is_client ? "a frame is masked" : "a frame is not masked");
	}
	if (frame->rsv != 0) {
		return fault(event, WS_CODE_PROTOCOL, "a frame has reserved bits set");
	}
	switch (frame->opcode) {
	case WS_CLOSE:
	case WS_PING:
	case WS_PONG:
		return WS_FOUND_MORE;
	case WS_TEXT:
		return fault(event, WS_CODE_UNSUPPORTED, "a text frame: MQTT is binary");
	case WS_BINARY:
		if (decoder->in_message) {
			return fault(
			    event, WS_CODE_PROTOCOL, "a message begins within a fragmented one");
		}
		break;
	case WS_CONTINUATION:
		if (!decoder->in_message) {
			return fault(event, WS_CODE_PROTOCOL, "a fragment without a beginning");
		}
		break;
	default:
		return fault(event, WS_CODE_PROTOCOL, "a frame of an unknown kind");
	}
	decoder->in_message = frame->fin == 0;
	return WS_FOUND_MORE;
}

/* 1004 .. 1006 and 1015 are never on the wire, below 1000 nothing is, and the range up to 2999 is
 * the protocol's own. */
static bool
is_close_code(unsigned code)
{
	return (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) ||
	       (code >= 3000 && code <= 4999);
}

static enum ws_found
read_close(struct bytes payload, struct ws_event *event)
{
	unsigned code;

	event->code = WS_CODE_NO_STATUS;
	if (payload.len == 0) {
		return WS_FOUND_CLOSE;
	}
	if (payload.len == 1) {
		return fault(event, WS_CODE_PROTOCOL, "a close frame with half a code");
	}
	code = (unsigned)payload.data[0] << 8 | payload.data[1];
	if (!is_close_code(code)) {
		return fault(event, WS_CODE_PROTOCOL, "a close frame with an illegal code");
	}
	if (utf8_classify(bytes_skip(payload, 2)) == UTF8_MALFORMED) {
		return fault(event, WS_CODE_INVALID, "a close frame with a malformed text");
	}
	event->code = (uint16_t)code;
	return WS_FOUND_CLOSE;
}

/* --- decoding --- */

/* The only legal length of a frame's head. */
static uint32_t
head_len(uint64_t payload_len, bool is_masked)
{
	uint32_t len = payload_len < 126 ? 2 : payload_len <= UINT16_MAX ? 4 : 10;

	return is_masked ? len + WS_MASK_SIZE : len;
}

static void
take_control(struct ws_window *window, const struct wslay_frame_iocb *frame)
{
	if (frame->data_length != 0) {
		memcpy(window->control + window->control_len, frame->data, frame->data_length);
		window->control_len += (uint8_t)frame->data_length;
	}
}

static void
take_payload(struct ws_cursor *cursor, const struct wslay_frame_iocb *frame)
{
	if (frame->data_length != 0) {
		memcpy(cursor->memory + cursor->out, frame->data, frame->data_length);
		cursor->out += frame->data_length;
	}
}

/* The end of a control frame. */
static enum ws_found
end_control(struct ws_window *window, uint8_t opcode, struct ws_event *event)
{
	event->payload = bytes_make(window->control, window->control_len);
	window->control_len = 0;
	if (opcode == WS_CLOSE) {
		return read_close(event->payload, event);
	}
	return opcode == WS_PING ? WS_FOUND_PING : WS_FOUND_MORE;
}

/* What wslay gave out: the whole or a part of a frame's payload, maybe none. */
static enum ws_found
take_part(struct ws_decoder *decoder, struct ws_cursor *cursor,
    const struct wslay_frame_iocb *frame, struct ws_event *event)
{
	struct ws_window *window = decoder->window;

	if (window->left == 0) {
		enum ws_found found = check_frame(decoder, frame, event);

		if (found != WS_FOUND_MORE) {
			return found;
		}
		window->left = frame->payload_length;
		window->held -= head_len(frame->payload_length, !decoder->is_client);
	}
	window->left -= frame->data_length;
	window->held -= (uint32_t)frame->data_length;
	if (!is_control(frame)) {
		take_payload(cursor, frame);
		return WS_FOUND_MORE;
	}
	take_control(window, frame);
	return window->left == 0 ? end_control(window, frame->opcode, event) : WS_FOUND_MORE;
}

enum ws_found
ws_decode(struct ws_decoder *decoder, struct ws_cursor *cursor, struct ws_event *event_out)
{
	struct wslay_frame_iocb frame;
	enum ws_found found;

	if (decoder->window == NULL) {
		if (cursor->in == cursor->end) {
			return WS_FOUND_MORE;
		}
		decoder->window = window_new();
		if (decoder->window == NULL) {
			return fault(event_out, WS_CODE_INTERNAL, "no memory");
		}
	}
	decoder->window->cursor = cursor;
	do {
		ssize_t got = wslay_frame_recv(decoder->window->frames, &frame);

		if (got == WSLAY_ERR_WANT_READ) {
			if (decoder->window->left == 0 && decoder->window->held == 0) {
				ws_decoder_fini(decoder);
			}
			return WS_FOUND_MORE;
		}
		if (got < 0) {
			return fault(event_out, WS_CODE_PROTOCOL, "a malformed head of a frame");
		}
		found = take_part(decoder, cursor, &frame, event_out);
	} while (found == WS_FOUND_MORE);
	return found;
}

/* --- encoding --- */

size_t
ws_encode_head(uint8_t head[WS_HEAD_SIZE], enum ws_opcode opcode, uint64_t payload_len)
{
	unsigned extra = payload_len < 126 ? 0 : payload_len <= UINT16_MAX ? 2 : 8;

	head[0] = (uint8_t)(0x80 | (unsigned)opcode);
	head[1] = extra == 0 ? (uint8_t)payload_len : extra == 2 ? 126 : 127;
	for (unsigned i = 0; i < extra; i++) {
		head[2 + i] = (uint8_t)(payload_len >> 8 * (extra - 1 - i));
	}
	return 2 + extra;
}

size_t
ws_encode_masked_head(uint8_t head[WS_MASKED_HEAD_SIZE], enum ws_opcode opcode,
    uint64_t payload_len, const uint8_t mask[WS_MASK_SIZE])
{
	size_t len = ws_encode_head(head, opcode, payload_len);

	head[1] |= 0x80;
	memcpy(head + len, mask, WS_MASK_SIZE);
	return len + WS_MASK_SIZE;
}

/* Eight bytes at a time, in whatever order the machine has them. */
void
ws_mask(uint8_t *payload, size_t len, const uint8_t mask[WS_MASK_SIZE])
{
	uint64_t wide, part;
	size_t i = 0;

	memcpy(&wide, mask, WS_MASK_SIZE);
	memcpy((uint8_t *)&wide + WS_MASK_SIZE, mask, WS_MASK_SIZE);
	for (; len - i >= sizeof(wide); i += sizeof(wide)) {
		memcpy(&part, payload + i, sizeof(part));
		part ^= wide;
		memcpy(payload + i, &part, sizeof(part));
	}
	for (; i < len; i++) {
		payload[i] ^= mask[i & 3];
	}
}
