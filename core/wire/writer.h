/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cursor over memory to be filled. It goes on counting beyond the end of its room without writing
 * there, so that one function both measures and writes: what was written is whole only if
 * wire_writer_fits. Pure.
 */
#ifndef WIRE_WRITER_H
#define WIRE_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/packet.h"

struct wire_writer {
	uint8_t *data;
	size_t room;
	size_t len;  /* bytes asked for so far; may exceed room */
	bool failed; /* something cannot be said at all */
};

static inline struct wire_writer
wire_writer_of(void *data, size_t room)
{
	return (struct wire_writer){.data = data, .room = room};
}

static inline bool
wire_writer_fits(const struct wire_writer *writer)
{
	return !writer->failed && writer->len <= writer->room;
}

static inline void
wire_write_u8(struct wire_writer *writer, uint8_t value)
{
	if (writer->len < writer->room) {
		writer->data[writer->len] = value;
	}
	writer->len++;
}

static inline void
wire_write_u16(struct wire_writer *writer, uint16_t value)
{
	wire_write_u8(writer, (uint8_t)(value >> 8));
	wire_write_u8(writer, (uint8_t)value);
}

static inline void
wire_write_u32(struct wire_writer *writer, uint32_t value)
{
	wire_write_u16(writer, (uint16_t)(value >> 16));
	wire_write_u16(writer, (uint16_t)value);
}

static inline void
wire_write_bytes(struct wire_writer *writer, struct bytes bytes)
{
	if (bytes.len != 0 && writer->len <= writer->room &&
	    bytes.len <= writer->room - writer->len) {
		memcpy(writer->data + writer->len, bytes.data, bytes.len);
	}
	writer->len += bytes.len;
}

/* A string or binary data with its two bytes of length; fails above WIRE_MAX_STRING bytes. */
static inline void
wire_write_prefixed(struct wire_writer *writer, struct bytes bytes)
{
	if (bytes.len > WIRE_MAX_STRING) {
		writer->failed = true;
		return;
	}
	wire_write_u16(writer, (uint16_t)bytes.len);
	wire_write_bytes(writer, bytes);
}

static inline size_t
wire_varint_len(uint32_t value)
{
	return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : 4;
}

/* In the fewest bytes [MQTT-1.5.5-1]; fails above WIRE_MAX_REMAINING_LENGTH. */
static inline void
wire_write_varint(struct wire_writer *writer, uint32_t value)
{
	if (value > WIRE_MAX_REMAINING_LENGTH) {
		writer->failed = true;
		return;
	}
	for (; value >= 0x80; value >>= 7) {
		wire_write_u8(writer, (uint8_t)(value | 0x80));
	}
	wire_write_u8(writer, (uint8_t)value);
}

#endif
