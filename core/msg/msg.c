/* SPDX-License-Identifier: Apache-2.0 */
#include "msg/msg.h"

#include "base/spare.h"

size_t
msg_size(const struct msg *msg)
{
	return msg_size_for((size_t)2 + msg_topic_len(msg) + msg->props_len + msg->payload_len +
			    msg->client_id_len + msg->username_len);
}

void
msg_unref(struct msg **msg)
{
	if (*msg != NULL && ref_put(&(*msg)->ref)) {
		spare_free(*msg, msg_size(*msg));
	}
	*msg = NULL;
}

bool
msg_expiry_left(const struct msg *msg, int64_t mono_ms, uint32_t *seconds_out)
{
	int64_t left_ms, life_ms;

	if ((msg->flags & MSG_EXPIRES) == 0) {
		*seconds_out = UINT32_MAX;
		return true;
	}
	life_ms = (int64_t)msg->expiry_s * 1000;
	left_ms = msg->born_mono_ms + life_ms - mono_ms;
	/* Another thread's turn may have begun before the message was born; it does not gain by
	 * that. */
	left_ms = left_ms < life_ms ? left_ms : life_ms;
	/* Seconds begun count as whole ones, so that the interval shrinks only by full seconds
	 * here. */
	*seconds_out = left_ms > 0 ? (uint32_t)((left_ms + 999) / 1000) : 0;
	return left_ms > 0;
}

uint64_t
msg_store_id_set(struct msg *msg, uint64_t id)
{
	uint64_t known = 0;

	/* The number alone travels by this; what it names travels by the store's list. */
	if (atomic_compare_exchange_strong_explicit(
		&msg->store_id, &known, id, memory_order_relaxed, memory_order_relaxed)) {
		return id;
	}
	return known;
}

void
msg_start_head(const struct msg *msg, struct wire_publish_head *head)
{
	*head = (struct wire_publish_head){
	    .topic = msg_topic(msg), .props = msg_props(msg), .payload_len = msg->payload_len};
}
