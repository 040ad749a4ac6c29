/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who publishes, subscribes and receives: an immutable, counted snapshot of a client as it was
 * accepted, replaced as a whole at re-authentication. Any thread may hold one. One allocation, of
 * which every connected client has one: the lengths of the texts, and behind them the texts, each
 * NUL terminated as well.
 */
#ifndef MSG_CLIENT_H
#define MSG_CLIENT_H

#include "base/ref.h"
#include "base/bytes.h"

/* What a snapshot is made of. Texts are cut: address and listener at
 * 255 bytes, the others at 65535. */
struct msg_client_parts {
	uint8_t version;    /* enum wire_version; 0: not a client of MQTT */
	bool authenticated; /* somebody vouched for the user name */
	struct bytes client_id;
	struct bytes username; /* the principal */
	struct bytes listener; /* its name */
	struct bytes address;  /* "192.0.2.1:4711" */
	struct bytes prefix;   /* what is put before every topic: mount point and topic prefix */
	struct bytes method;   /* Authentication Method; empty: none */
};

/* What a room above has to say about a client; hung on once, by the client's worker, and freed with
 * it on any thread. */
struct msg_client_more {
	void (*free)(struct msg_client_more *more);
};

/* Behind it lie client id, user name, prefix, address, listener and method. */
struct msg_client {
	struct ref ref;
	uint16_t client_id_len;
	uint16_t username_len;
	struct msg_client_more *more; /* NULL: nothing. The client's worker alone looks at it */
	uint16_t prefix_len;
	uint16_t method_len;
	uint8_t address_len;
	uint8_t listener_len;
	uint8_t version : 7; /* as in the parts */
	uint8_t authenticated : 1;
	uint8_t text[];
};

/* Copies all texts. The caller owns one reference. */
struct msg_client *msg_client_new(const struct msg_client_parts *parts);

static inline struct msg_client *
msg_client_ref(struct msg_client *client)
{
	ref_get(&client->ref);
	return client;
}

void msg_client_unref(struct msg_client **client);

/* The text that lies behind another one. */
static inline struct bytes
msg_client_text_behind(struct bytes text, uint16_t len)
{
	return (struct bytes){text.data + text.len + 1, len};
}

static inline struct bytes
msg_client_id_of(const struct msg_client *client)
{
	return (struct bytes){client->text, client->client_id_len};
}

static inline struct bytes
msg_client_username_of(const struct msg_client *client)
{
	return msg_client_text_behind(msg_client_id_of(client), client->username_len);
}

static inline struct bytes
msg_client_prefix_of(const struct msg_client *client)
{
	return msg_client_text_behind(msg_client_username_of(client), client->prefix_len);
}

static inline struct bytes
msg_client_address_of(const struct msg_client *client)
{
	return msg_client_text_behind(msg_client_prefix_of(client), client->address_len);
}

static inline struct bytes
msg_client_listener_of(const struct msg_client *client)
{
	return msg_client_text_behind(msg_client_address_of(client), client->listener_len);
}

static inline struct bytes
msg_client_method_of(const struct msg_client *client)
{
	return msg_client_text_behind(msg_client_listener_of(client), client->method_len);
}

/* Views into the snapshot. */
static inline struct msg_client_parts
msg_client_parts_of(const struct msg_client *client)
{
	return (struct msg_client_parts){.version = client->version,
	    .authenticated = client->authenticated,
	    .client_id = msg_client_id_of(client),
	    .username = msg_client_username_of(client),
	    .listener = msg_client_listener_of(client),
	    .address = msg_client_address_of(client),
	    .prefix = msg_client_prefix_of(client),
	    .method = msg_client_method_of(client)};
}

#endif
