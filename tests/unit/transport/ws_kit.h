/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of WebSocket share: frames as a client makes them, and requests. */
#ifndef UNIT_TRANSPORT_WS_KIT_H
#define UNIT_TRANSPORT_WS_KIT_H

#include "lib/unit.h"

#include <string.h>

#include "base/buf.h"

enum { FIN = 0x80, MASKED = 0x80 };

#define REQUEST_LINE "GET /mqtt HTTP/1.1\r\n"
#define REQUEST_FIELDS                                    \
	"Host: broker\r\n"                                \
	"Upgrade: websocket\r\n"                          \
	"Connection: keep-alive, Upgrade\r\n"             \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" \
	"Sec-WebSocket-Version: 13\r\n"
#define REQUEST REQUEST_LINE REQUEST_FIELDS "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
#define UPGRADED                                                 \
	"HTTP/1.1 101 Switching Protocols\r\n"                   \
	"Upgrade: websocket\r\n"                                 \
	"Connection: Upgrade\r\n"                                \
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" \
	"Sec-WebSocket-Protocol: mqtt\r\n\r\n"

/* A frame with the mask 0x11 0x22 0x33 0x44, or none. */
static inline void
put_frame(struct buf *out, unsigned first, unsigned masked, struct bytes payload)
{
	static const uint8_t mask[4] = {0x11, 0x22, 0x33, 0x44};
	unsigned extra = payload.len < 126 ? 0 : payload.len < 65536 ? 2 : 8;

	buf_append_byte(out, (uint8_t)first);
	buf_append_byte(out, (uint8_t)(masked | (extra == 0      ? (unsigned)payload.len
						    : extra == 2 ? 126U
								 : 127U)));
	for (unsigned i = extra; i-- != 0;) {
		buf_append_byte(out, (uint8_t)((uint64_t)payload.len >> 8 * i));
	}
	if (masked != 0) {
		buf_append(out, mask, 4);
	}
	for (size_t i = 0; i < payload.len; i++) {
		buf_append_byte(out, payload.data[i] ^ (masked != 0 ? mask[i & 3] : 0));
	}
}

static inline void
put_text(struct buf *out, unsigned first, const char *text)
{
	put_frame(out, first, MASKED, bytes_of(text));
}

#endif
