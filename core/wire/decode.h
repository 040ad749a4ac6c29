/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes to packets. Pure: the result is views into the input. Whatever the input is, the answer is
 * one of three, in time linear in the bytes looked at.
 */
#ifndef WIRE_DECODE_H
#define WIRE_DECODE_H

#include "wire/packet.h"
#include "wire/reason.h"

/* What a connection has agreed on; constant between packets. */
struct wire_decoder {
	uint8_t version;         /* enum wire_version, or 0: nothing but a CONNECT is due */
	enum wire_side receiver; /* which side we are */
	bool lenient;            /* padded variable byte integers and QoS 0 with DUP are accepted */
	bool allow_control;      /* control and non-characters are accepted in topics */
	uint32_t max_packet_size; /* total bytes; 0 = what MQTT can say */
	/* A topic name that was found valid under these terms; NULL: none. A PUBLISH with the same
	 * bytes is not checked again: who publishes mostly says the same as before. */
	struct bytes known_topic;
};

enum wire_status {
	WIRE_DONE,    /* a packet, of which size bytes were consumed */
	WIRE_MORE,    /* so far all is well, but the packet goes on */
	WIRE_REFUSED, /* the connection must end with this reason */
};

struct wire_outcome {
	enum wire_status status;
	uint8_t reason; /* enum wire_reason, when refused */
	uint32_t size;  /* whole packet; 0 while it is not known, and when refused before it was */
	const char *text; /* a static sentence, when refused */
};

/*
 * Decodes the packet at the front of the input. Refusals come as soon as they are certain: a wrong
 * type or flags at the first byte, a size beyond the limit as soon as the Remaining Length is
 * complete.
 *
 * What is set: with WIRE_DONE the packet's struct (of wire_props, `at` only where `present` says
 * so). Otherwise only packet->type (0 while it is unknown or when it is none), and of a CONNECT
 * version, level, is_mqtt and bridge as far as they were seen (else 0): they say how to answer.
 * Nothing else may be looked at.
 */
struct wire_outcome wire_decode(
    const struct wire_decoder *decoder, struct bytes input, struct wire_packet *packet_out);

#endif
