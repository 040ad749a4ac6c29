/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A publication before it is sealed: views with one owner, which interceptors may replace. As long
 * as nobody must wait, nothing is copied but what is replaced; sealing makes the one copy of the
 * payload. If it must wait (an answer comes later), msg_draft_own copies it once, and sealing then
 * adopts that copy.
 *
 *     msg_draft_of_publish(&draft, &packet.publish);
 *     … set client_id, username, born …, now or later; msg_draft_set_topic(&draft, full_topic); …
 *     msg = msg_seal(&draft);        (or msg_draft_fini(&draft), when it is refused)
 */
#ifndef MSG_DRAFT_H
#define MSG_DRAFT_H

#include "msg/msg.h"
#include "wire/packet.h"

struct msg_scrap;

struct msg_draft {
	struct bytes topic;
	struct bytes payload;
	struct bytes
	    props; /* a checked block; what is not for receivers is dropped when it is sealed */
	struct bytes received;  /* the topic before it was replaced; NULL: it was not */
	struct bytes client_id; /* of the publisher, at most 65535 bytes; so is the user name */
	struct bytes username;
	int64_t born_mono_ms;
	int64_t born_wall_ms;
	uint32_t expiry_s; /* if MSG_EXPIRES */
	uint8_t qos;
	uint8_t flags; /* enum msg_flag */

	/* The draft's own affairs. */
	struct msg *copy;         /* of msg_draft_own */
	struct msg_scrap *scraps; /* memory of replaced values */
};

/* Views into the packet; Message Expiry Interval is taken from its properties. Nothing to free yet.
 */
void msg_draft_of_publish(struct msg_draft *draft, const struct wire_publish *publish);
void msg_draft_of_will(struct msg_draft *draft, const struct wire_will *will);

/* For msg_draft_fini, where there is something to free. */
void msg_draft_free(struct msg_draft *draft);

/* Frees what the draft owns. After msg_seal there is nothing left to free; calling it then does no
 * harm. */
static inline void
msg_draft_fini(struct msg_draft *draft)
{
	if (draft->scraps != NULL || draft->copy != NULL) {
		msg_draft_free(draft);
	}
}

/*
 * Replacing a value by a copy of the given one. 0; or ERR_NOMEM, or ERR_LIMIT above what MQTT can
 * say (a topic of 65535 bytes, a payload of 268435455), and then nothing has changed. The caller
 * has checked topics and blocks. A Message Expiry Interval among the properties replaces that of
 * the draft; where there is none it stays, since a copy of the draft has none among its own.
 */
int msg_draft_set_topic(struct msg_draft *draft, struct bytes topic);
int msg_draft_set_payload(struct msg_draft *draft, struct bytes payload);
int msg_draft_set_props(struct msg_draft *draft, struct bytes props);

/* Copies all views, so that they outlive the packet. 0 or ERR_NOMEM. */
int msg_draft_own(struct msg_draft *draft);

/* The message, with one reference, which the caller owns; the draft is empty afterwards. NULL
 * without memory: then the draft is as it was. */
struct msg *msg_seal(struct msg_draft *draft);

#endif
