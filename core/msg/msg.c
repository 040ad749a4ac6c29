/* SPDX-License-Identifier: Apache-2.0 */
#include "msg/msg.h"

#include "base/mem.h"

size_t
msg_size(const struct msg *msg)
{
	return msg_size_for((size_t)2 + msg->topic_len + msg->props_len + msg->payload_len +
			    msg->client_id_len + msg->username_len);
}

void
msg_unref(struct msg **msg)
{
	if (*msg != NULL && ref_put(&(*msg)->ref)) {
		mem_free(msg);
	}
	*msg = NULL;
}

bool
msg_expiry_left(const struct msg *msg, int64_t mono_ms, uint32_t *seconds_out)
{
	int64_t left_ms;

	if ((msg->flags & MSG_EXPIRES) == 0) {
		*seconds_out = UINT32_MAX;
		return true;
	}
	left_ms = msg->born_mono_ms + (int64_t)msg->expiry_s * 1000 - mono_ms;
	/* Seconds begun count as whole ones, so that the interval shrinks only by full seconds
	 * spent here. */
	*seconds_out = left_ms > 0 ? (uint32_t)((left_ms + 999) / 1000) : 0;
	return left_ms > 0;
}

void
msg_start_head(const struct msg *msg, struct wire_publish_head *head)
{
	*head = (struct wire_publish_head){
	    .topic = msg_topic(msg), .props = msg_props(msg), .payload_len = msg->payload_len};
}
