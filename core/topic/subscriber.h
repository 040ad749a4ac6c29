/* SPDX-License-Identifier: Apache-2.0 */
/* A subscriber as the tree holds it: enough for a publishing worker to make the delivery and its
 * row without asking the owner. By value everywhere. */
#ifndef TOPIC_SUBSCRIBER_H
#define TOPIC_SUBSCRIBER_H

#include <stdint.h>

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

#endif
