/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/reader.h"

#include "base/utf8.h"

void
wire_reader_check_string(struct wire_reader *reader, struct bytes text)
{
	switch (utf8_classify(text)) {
	case UTF8_MALFORMED:
		wire_reader_fail(
		    reader, WIRE_REASON_MALFORMED_PACKET, "a string is not valid UTF-8");
		break;
	case UTF8_NUL:
		wire_reader_fail(reader, WIRE_REASON_MALFORMED_PACKET, "a string contains U+0000");
		break;
	case UTF8_RESTRICTED:
	case UTF8_PLAIN:
		break;
	}
}

void
wire_reader_fail_topic(struct wire_reader *reader, enum wire_topic_fault fault)
{
	if (fault != WIRE_TOPIC_OK) {
		wire_reader_fail(reader,
		    wire_topic_fault_is_malformed(fault) ? WIRE_REASON_MALFORMED_PACKET
							 : WIRE_REASON_PROTOCOL_ERROR,
		    wire_topic_fault_text(fault));
	}
}

struct bytes
wire_read_string(struct wire_reader *reader)
{
	struct bytes text = wire_read_prefixed(reader);

	wire_reader_check_string(reader, text);
	return text;
}

/* [MQTT-1.5.5-1] */
uint32_t
wire_read_long_varint(struct wire_reader *reader)
{
	uint32_t value = 0;

	for (int shift = 0; shift <= 21; shift += 7) {
		uint8_t byte = wire_read_u8(reader);

		value |= (uint32_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) != 0) {
			continue;
		}
		if (byte == 0 && shift != 0 && !reader->lenient) {
			wire_reader_fail(reader, WIRE_REASON_MALFORMED_PACKET,
			    "a variable byte integer is padded");
			return 0;
		}
		return wire_reader_failed(reader) ? 0 : value;
	}
	wire_reader_fail(reader, WIRE_REASON_MALFORMED_PACKET,
	    "a variable byte integer is longer than four bytes");
	return 0;
}
