/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PUBLISH of a message for a receiver who gets it as it lies there: nothing is put in (Topic
 * Alias, Subscription Identifier, what is left of an expiry) and nothing is left out. That is
 * nearly every delivery, and one to three copies make it; wire/encode.h makes the others.
 */
#ifndef MSG_PLAIN_H
#define MSG_PLAIN_H

#include "msg/draft.h"

struct msg_plain {
	size_t total;       /* bytes of the packet; 0 when MQTT cannot say so much */
	uint32_t remaining; /* Remaining Length */
};

/* version: enum wire_version of the receiver; qos: of the delivery. */
struct msg_plain msg_plain_measure(const struct msg *msg, uint8_t version, uint8_t qos);

/* Writes plain->total bytes. first: the first byte of the packet; its QoS is the one that was
 * measured. packet_id: of QoS 1 and 2. */
void msg_plain_write(const struct msg *msg, const struct msg_plain *plain, uint8_t version,
    uint8_t first, uint16_t packet_id, uint8_t *out);

/* The same at QoS 0 and without RETAIN for a draft that has no properties, of which no message is
 * made. */
struct msg_plain msg_plain_measure_draft(const struct msg_draft *draft, uint8_t version);
void msg_plain_write_draft(
    const struct msg_draft *draft, const struct msg_plain *plain, uint8_t version, uint8_t *out);

#endif
