/* SPDX-License-Identifier: Apache-2.0 */
/* A subscriber as the tree holds it: enough for a publishing worker to make the delivery and its
 * row without asking the owner. By value everywhere. */
#ifndef TOPIC_SUBSCRIBER_H
#define TOPIC_SUBSCRIBER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum topic_subscriber_flag {
	TOPIC_NO_LOCAL = 1,
	TOPIC_RETAIN_AS_PUBLISHED = 2,
	TOPIC_PERSISTENT = 4,  /* the session is stored: its deliveries of QoS > 0 have rows */
	TOPIC_UPGRADE_QOS = 8, /* deliveries have the granted QoS even above the publication's */
};

struct topic_subscriber {
	uint64_t sid;             /* of the session, for rows */
	uint32_t slot;            /* of the session on its worker */
	uint32_t generation;      /* of that slot */
	uint32_t subscription_id; /* Subscription Identifier, 0 = none */
	uint16_t worker;          /* index of its owner */
	uint8_t qos;              /* granted */
	uint8_t flags;            /* enum topic_subscriber_flag */
};

/*
 * A subscription may want a part of its messages only: those whose topics fall into one of so many
 * parts. That stands in place of a Subscription Identifier, which is below 2^28.
 */
enum { TOPIC_PARTS_MAX = 4095 };
#define TOPIC_PART_BIT UINT32_C(0x80000000)

static inline uint32_t
topic_part_id(uint32_t part, uint32_t parts)
{
	return TOPIC_PART_BIT | parts << 12 | part;
}

static inline bool
topic_id_is_part(uint32_t id)
{
	return (id & TOPIC_PART_BIT) != 0;
}

/* Is the topic of this part? The same on all machines and for ever. */
static inline bool
topic_is_in_part(uint32_t id, struct bytes topic)
{
	uint32_t hash = UINT32_C(2166136261);

	for (size_t i = 0; i < topic.len; i++) {
		hash = (hash ^ topic.data[i]) * UINT32_C(16777619);
	}
	return (hash ^ hash >> 15) % (id >> 12 & 0xfff) == (id & 0xfff);
}

#endif
