/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one thing that is carried: a publication, sealed. One allocation, shared by reference count,
 * immutable but for what is marked below. It knows topic, payload, properties, publisher, birth and
 * expiry; it knows no session, packet id, QoS of a delivery, listener or mailbox. Made by
 * msg/draft.h.
 *
 * Behind the struct lie, without gaps: the topic with its two bytes of length, the properties as
 * they go out (MQTT 5's wire form, in their shortest form, without what differs per receiver:
 * expiry, alias, subscription identifiers), the payload, the publisher's client id and user name.
 * So without properties the body of an MQTT 3 PUBLISH of QoS 0 lies there ready to be sent.
 */
#ifndef MSG_MSG_H
#define MSG_MSG_H

#include <stddef.h>

#include "base/ref.h"
#include "wire/encode.h"

enum msg_flag {
	MSG_RETAIN = 1,    /* the publisher set RETAIN */
	MSG_WILL = 2,      /* it is somebody's will */
	MSG_EXPIRES = 4,   /* expiry_s counts */
	MSG_FORWARDED = 8, /* came from another node: is not sent to a node again */
};

struct msg {
	struct ref ref;
	uint32_t payload_len;
	int64_t born_mono_ms;      /* when it was accepted, by the monotonic clock */
	int64_t born_wall_ms;      /* and by UNIX time, for the store */
	_Atomic uint64_t store_id; /* see msg_store_id_set; 0 = none */
	/* The store's thread only: rows that name it, and whether it is in the store itself. */
	uint32_t store_rows : 31;
	uint32_t store_kept : 1;
	uint32_t expiry_s; /* Message Expiry Interval as received, if MSG_EXPIRES */
	uint32_t props_len;
	uint16_t client_id_len;
	uint16_t username_len;
	uint8_t qos : 2;   /* of the PUBLISH; a delivery has its own */
	uint8_t flags : 6; /* enum msg_flag */
	uint8_t data[];
};

static inline size_t
msg_topic_len(const struct msg *msg)
{
	return (size_t)msg->data[0] << 8 | msg->data[1];
}

static inline struct bytes
msg_topic(const struct msg *msg)
{
	return (struct bytes){msg->data + 2, msg_topic_len(msg)};
}

static inline struct bytes
msg_props(const struct msg *msg)
{
	return (struct bytes){msg->data + 2 + msg_topic_len(msg), msg->props_len};
}

static inline struct bytes
msg_payload(const struct msg *msg)
{
	return (struct bytes){
	    msg->data + 2 + msg_topic_len(msg) + msg->props_len, msg->payload_len};
}

/* Empty: the broker itself published it. */
static inline struct bytes
msg_client_id(const struct msg *msg)
{
	struct bytes payload = msg_payload(msg);

	return (struct bytes){payload.data + payload.len, msg->client_id_len};
}

static inline struct bytes
msg_username(const struct msg *msg)
{
	struct bytes client_id = msg_client_id(msg);

	return (struct bytes){client_id.data + client_id.len, msg->username_len};
}

/* Bytes that a message with so many bytes of data occupies; the data begins before the struct's
 * padding ends. */
static inline size_t
msg_size_for(size_t data_len)
{
	size_t size = offsetof(struct msg, data) + data_len;

	return size > sizeof(struct msg) ? size : sizeof(struct msg);
}

/* Bytes that it occupies, but for a few that sealing may leave unused. */
size_t msg_size(const struct msg *msg);

static inline struct msg *
msg_ref(struct msg *msg)
{
	ref_get(&msg->ref);
	return msg;
}

/* Gives the caller's reference up and makes it NULL; the last one frees. Any thread. */
void msg_unref(struct msg **msg);

/*
 * Names the message for the store: by the first worker that writes a row of it, whichever comes
 * first. Returns the id in force. Any thread.
 */
uint64_t msg_store_id_set(struct msg *msg, uint64_t id);

/*
 * The Message Expiry Interval for a delivery that begins now: whole seconds that are left
 * [MQTT-3.3.2-6]. False when it has expired and must not be delivered any more [MQTT-3.3.2-5]; a
 * message that never expires gives UINT32_MAX.
 */
bool msg_expiry_left(const struct msg *msg, int64_t mono_ms, uint32_t *seconds_out);

/* Sets what is the same for all receivers (topic, props, payload_len) and clears the rest. */
void msg_start_head(const struct msg *msg, struct wire_publish_head *head);

#endif
