/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who publishes, subscribes and receives: an immutable, counted snapshot of a client as it was
 * accepted, replaced as a whole at re-authentication. Any thread may hold one. One allocation; the
 * texts lie behind the struct and are NUL terminated as well.
 */
#ifndef MSG_CLIENT_H
#define MSG_CLIENT_H

#include "base/ref.h"
#include "base/bytes.h"

struct msg_client {
	struct ref ref;
	uint8_t version;     /* enum wire_version; 0: not a client of MQTT */
	bool authenticated;  /* somebody vouched for the user name */
	uint16_t prefix_len; /* of what is put before every topic: mount point and topic prefix */
	struct bytes client_id;
	struct bytes username; /* the principal */
	struct bytes listener; /* its name */
	struct bytes address;  /* "192.0.2.1:4711" */
	struct bytes prefix;
	struct bytes method; /* Authentication Method; empty: none */
};

/* Copies all texts of `from`; its ref is not looked at. The caller owns one reference. */
struct msg_client *msg_client_new(const struct msg_client *from);

static inline struct msg_client *
msg_client_ref(struct msg_client *client)
{
	ref_get(&client->ref);
	return client;
}

void msg_client_unref(struct msg_client **client);

#endif
