/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store keeps of a message beside its topic and payload: opaque to the engine, versioned
 * here. Numbers are big-endian, a text is two bytes of length and its bytes.
 *
 *     1, QoS u8, flags u8 (enum msg_flag), expiry u32, 0 u32 (not looked at), born i64 (UNIX ms),
 *     client id, user name, and to the end the properties as they go out
 */
#ifndef MSG_RECORD_H
#define MSG_RECORD_H

#include "msg/msg.h"

enum msg_record_fault { MSG_RECORD_OK, MSG_RECORD_DAMAGED, MSG_RECORD_NEWER, MSG_RECORD_NO_MEMORY };

/* Bytes of the record. */
size_t msg_record_size(const struct msg *msg);

/* Writes it to `out`, which has room for msg_record_size. */
void msg_record_encode(const struct msg *msg, uint8_t *out);

/* When it expires, UNIX ms; 0: never. */
int64_t msg_record_expires_ms(const struct msg *msg);

/*
 * The message again, with one reference, which the caller owns. What a file says is not believed:
 * topic and properties are checked. It is as old as the wall clock says; mono_ms and wall_ms are
 * now.
 */
enum msg_record_fault msg_record_decode(struct bytes topic, struct bytes payload, struct bytes rec,
    int64_t mono_ms, int64_t wall_ms, struct msg **msg_out);

#endif
