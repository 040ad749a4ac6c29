/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message on its way to one session: what differs per receiver beside the shared struct msg. 40
 * bytes, by value. Whoever holds it owns the reference on msg and, where many, the list of ids.
 */
#ifndef SESSION_DELIVERY_H
#define SESSION_DELIVERY_H

#include "base/mem.h"
#include "msg/msg.h"

enum session_delivery_flag {
	SESSION_RETAIN = 1,      /* RETAIN of the PUBLISH that goes out */
	SESSION_DUP = 2,         /* it was sent before on another connection */
	SESSION_SHARED = 4,      /* `group` counts, not `version` */
	SESSION_REPLAY = 8,      /* from the retained store, not live */
	SESSION_GIVEN_BACK = 16, /* it came from another member of its group: not once more round */
	SESSION_GATED = 32,      /* has or had a row: QoS 2 leaves only when its chunk is durable */
};

struct session_delivery {
	struct msg *msg;
	uint64_t qid; /* of its row; 0: none */
	union {
		uint64_t version; /* of a retained publication; 0: not retained */
		uint64_t group;   /* topic_group.id */
	};
	union {
		uint32_t subscription_id;   /* where there is one */
		uint32_t *subscription_ids; /* owned, where there are more */
	};
	uint16_t subscription_id_count;
	uint16_t packet_id; /* 0 until sent */
	uint8_t qos;        /* of the delivery */
	uint8_t flags;      /* enum session_delivery_flag */
};

static inline const uint32_t *
session_delivery_ids(const struct session_delivery *delivery)
{
	return delivery->subscription_id_count > 1 ? delivery->subscription_ids
						   : &delivery->subscription_id;
}

/* About what it costs in memory, for limits: shared messages count in full for each receiver. */
static inline size_t
session_delivery_size(const struct session_delivery *delivery)
{
	return sizeof(*delivery) + msg_size(delivery->msg);
}

/* Gives up what it owns. */
static inline void
session_delivery_fini(struct session_delivery *delivery)
{
	msg_unref(&delivery->msg);
	if (delivery->subscription_id_count > 1) {
		mem_free(&delivery->subscription_ids);
	}
	delivery->subscription_id_count = 0;
}

#endif
