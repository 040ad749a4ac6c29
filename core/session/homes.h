/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client ids and where they are at home: one shard of the directory, which locks it. A hash table
 * of small entries that lie in it by value, since every client has one: the key is the client id in
 * a snapshot of the client, which is shared with its session and so costs nothing here.
 */
#ifndef SESSION_HOMES_H
#define SESSION_HOMES_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"

struct msg_client;

enum { SESSION_HOME_WORKER_BITS = 9 };

struct session_home {
	struct msg_client *client; /* its client id is the key; referenced; NULL: an empty place */
	uint64_t sid;              /* of its session; 0: none */
	uint32_t slot;             /* of that, on its worker */
	uint32_t worker : SESSION_HOME_WORKER_BITS;
	uint32_t claims : 32 - SESSION_HOME_WORKER_BITS;
};

/* All zero is empty. */
struct session_homes {
	struct session_home *items;
	uint32_t count;
	uint32_t cap;
};

/* Drops all entries. */
void session_homes_fini(struct session_homes *homes);

/* The entry of this client id, or NULL. `hash` is of the id, by `key`. An entry stays where it is
 * until the next one is made or dropped. */
struct session_home *session_homes_find(
    const struct session_homes *homes, uint64_t hash, struct bytes client_id);

/* A new one, zero but for its key: the client id must not be there. References the client. */
struct session_home *session_homes_make(struct session_homes *homes, const struct hash_key *key,
    uint64_t hash, struct msg_client *client);

/* The same id in another snapshot: the older one is let go. */
void session_home_set_client(struct session_home *home, struct msg_client *client);

void session_homes_drop(
    struct session_homes *homes, const struct hash_key *key, struct session_home *home);

#endif
