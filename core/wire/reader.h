/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cursor over received bytes whose first error sticks: after it every read gives zero or the
 * empty view, so a decoder reads all fields in their order and tests once. Pure.
 */
#ifndef WIRE_READER_H
#define WIRE_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

struct wire_reader {
	const uint8_t *at;
	const uint8_t *end;
	const char *fault;  /* a static sentence, NULL while all is well */
	uint8_t reason;     /* enum wire_reason, with fault */
	bool lenient;       /* accept padded variable byte integers */
	bool allow_control; /* accept control and non-characters in topics */
};

static inline struct wire_reader
wire_reader_of(struct bytes bytes)
{
	return (struct wire_reader){
	    .at = bytes.data, .end = bytes.len != 0 ? bytes.data + bytes.len : bytes.data};
}

static inline bool
wire_reader_failed(const struct wire_reader *reader)
{
	return reader->fault != NULL;
}

/* Marks the reader as failed, unless it already is. */
static inline void
wire_reader_fail(struct wire_reader *reader, enum wire_reason reason, const char *fault)
{
	if (reader->fault == NULL) {
		reader->fault = fault;
		reader->reason = (uint8_t)reason;
		reader->at = reader->end;
	}
}

static inline size_t
wire_reader_left(const struct wire_reader *reader)
{
	return (size_t)(reader->end - reader->at);
}

/* All that is left, which the reader does not move over. */
static inline struct bytes
wire_reader_rest(const struct wire_reader *reader)
{
	return (struct bytes){reader->at, wire_reader_left(reader)};
}

/* True when n bytes are left; else the packet is cut off. */
static inline bool
wire_reader_need(struct wire_reader *reader, size_t n)
{
	if (__builtin_expect(wire_reader_left(reader) < n, 0)) {
		wire_reader_fail(reader, WIRE_REASON_MALFORMED_PACKET,
		    "the packet ends in the middle of a field");
		return false;
	}
	return true;
}

static inline uint8_t
wire_read_u8(struct wire_reader *reader)
{
	return wire_reader_need(reader, 1) ? *reader->at++ : 0;
}

static inline uint16_t
wire_read_u16(struct wire_reader *reader)
{
	const uint8_t *at = reader->at;

	if (!wire_reader_need(reader, 2)) {
		return 0;
	}
	reader->at += 2;
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t
wire_read_u32(struct wire_reader *reader)
{
	uint32_t high = wire_read_u16(reader);

	return high << 16 | wire_read_u16(reader);
}

static inline struct bytes
wire_read_bytes(struct wire_reader *reader, size_t n)
{
	const uint8_t *at = reader->at;

	if (!wire_reader_need(reader, n)) {
		return (struct bytes){NULL, 0};
	}
	reader->at += n;
	return (struct bytes){at, n};
}

/* Two bytes of length and as many bytes: binary data, or a string that is not checked here. */
static inline struct bytes
wire_read_prefixed(struct wire_reader *reader)
{
	return wire_read_bytes(reader, wire_read_u16(reader));
}

/* Fails the reader unless the text is UTF-8 without U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2]. */
void wire_reader_check_string(struct wire_reader *reader, struct bytes text);

/* Fails the reader with what was found of a topic, unless nothing was. */
void wire_reader_fail_topic(struct wire_reader *reader, enum wire_topic_fault fault);

/* A string, so checked. */
struct bytes wire_read_string(struct wire_reader *reader);

/* A variable byte integer of more than one byte; see wire_read_varint. */
uint32_t wire_read_long_varint(struct wire_reader *reader);

static inline uint32_t
wire_read_varint(struct wire_reader *reader)
{
	if (reader->at != reader->end && *reader->at < 0x80) {
		return *reader->at++;
	}
	return wire_read_long_varint(reader);
}

#endif
