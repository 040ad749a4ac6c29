/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets to bytes, always in their shortest form. Pure.
 */
#ifndef WIRE_ENCODE_H
#define WIRE_ENCODE_H

#include "wire/packet.h"
#include "wire/writer.h"

/* What a connection has agreed on; constant between packets. */
struct wire_encoder {
	uint8_t version;               /* enum wire_version; CONNECT has its own */
	enum wire_side sender;         /* which side we are */
	bool omit_problem_information; /* the client asked with Request Problem Information 0 */
	uint32_t max_packet_size;      /* the peer's Maximum Packet Size; 0 = what MQTT can say */
};

/*
 * Encodes a packet. Returns its size in bytes; when that is more than `room` nothing useful was
 * written, call again with more. 0: it cannot be said to this peer: no form in this version or from
 * this side, a reason that may not stand in this packet, a string above WIRE_MAX_STRING, or larger
 * than the peer allows.
 *
 * Of properties only props.block counts. Where Request Problem Information is 0, Reason String and
 * User Properties are left out of all packets but PUBLISH, CONNACK and DISCONNECT [MQTT-3.1.2-29];
 * where the packet would be too large, the Reason String is left out, then also User Properties, of
 * all packets that answer [MQTT-3.4.2-2] …. A CONNACK's reason becomes a return code for MQTT 3,
 * and Session Present is 0 with a refusal.
 *
 * The caller sees to the rest: packet identifiers, DUP only above QoS 0, at least one filter or
 * reason, checked topics and property blocks, a method in AUTH, no password without a user name for
 * MQTT 3.
 */
size_t wire_encode(const struct wire_encoder *encoder, const struct wire_packet *packet,
    uint8_t *out, size_t room);

/*
 * A PUBLISH for one receiver, from parts: what is the same for all receivers (topic, properties,
 * payload), and what is not. The way of each delivery, so it takes no detours: ask for the size,
 * then write the head into that much room; the payload follows, copied or sent from where it lies.
 */
struct wire_publish_head {
	struct bytes topic; /* empty with a Topic Alias that the receiver knows */
	struct bytes props; /* block of what is the same for all: MQTT 5 only */
	size_t payload_len;
	const uint32_t *subscription_ids;
	uint16_t subscription_id_count;
	uint16_t packet_id;   /* of QoS 1 and 2 */
	uint16_t topic_alias; /* 0 = none */
	uint8_t version;
	uint8_t qos;
	bool dup;
	bool retain;
	bool expires;
	uint32_t message_expiry; /* seconds that are left, if expires */
};

struct wire_publish_size {
	size_t total;       /* of the packet with its payload; 0 when MQTT cannot say so much */
	size_t head;        /* all but the payload */
	uint32_t remaining; /* Remaining Length */
	uint32_t props;     /* Property Length */
};

struct wire_publish_size wire_publish_measure(const struct wire_publish_head *head);

/* Writes size->head bytes. */
void wire_publish_write(
    const struct wire_publish_head *head, const struct wire_publish_size *size, uint8_t *out);

/* Appends an item to the payload of a SUBSCRIBE or UNSUBSCRIBE that is being made. */
void wire_write_subscription(
    struct wire_writer *writer, const struct wire_subscription *item, uint8_t version);
void wire_write_filter(struct wire_writer *writer, struct bytes filter);

#endif
