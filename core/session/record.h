/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records (`rec`) of rows that sessions and route write: opaque to the store, versioned here.
 * Numbers are big-endian; a text is two bytes of length and its bytes. A reader refuses a version
 * that it does not know.
 *
 *     session  1, flags (1 connected, 2 transient, 4 authenticated), expiry u32, time of disconnect
 *              i64 (UNIX ms, 0 while connected), MQTT version u8, texts: user name, listener,
 *              address, prefix, authentication method
 *     sub      1, options u8 (QoS bits 0-1, No Local 2, Retain As Published 3, Retain Handling 4-5,
 *              shared 6),
 *              subscription id u32, length of the prefix in the key u16
 *     queue    1, QoS u8, flags u8 (enum session_delivery_flag), count u16, so many subscription
 * ids u32, text: the group "$share/NAME/FILTER" or nothing will     1, delay u32, QoS u8, RETAIN u8
 */
#ifndef SESSION_RECORD_H
#define SESSION_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "msg/client.h"
#include "session/delivery.h"

/* QUEUE_PUT; group_name: "$share/NAME/FILTER" where the delivery is a group's, else empty. */
void session_record_queue_encode(
    const struct session_delivery *delivery, struct bytes group_name, struct buf *out);
/* Fills qos, flags and ids, which the delivery then owns; the rest is not touched. The name is a
 * view into rec. */
bool session_record_queue_decode(
    struct bytes rec, struct session_delivery *delivery, struct bytes *group_name_out);

struct session_record_session {
	struct msg_client_parts client; /* without client id; decoded texts are views into rec */
	int64_t left_wall_ms;
	uint32_t expiry_s;
	bool connected;
	bool transient;
};
void session_record_session_encode(const struct session_record_session *record, struct buf *out);
bool session_record_session_decode(struct bytes rec, struct session_record_session *record_out);

struct session_record_sub {
	uint32_t subscription_id;
	uint16_t prefix_len;
	uint8_t qos;
	uint8_t retain_handling;
	bool no_local;
	bool retain_as_published;
	bool shared;
};
void session_record_sub_encode(const struct session_record_sub *record, struct buf *out);
bool session_record_sub_decode(struct bytes rec, struct session_record_sub *record_out);

void session_record_will_encode(const struct msg *will, uint32_t delay_s, struct buf *out);
bool session_record_will_decode(struct bytes rec, uint32_t *delay_s_out);

#endif
