/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of client ids and of connections' handles. Shared by all workers; each shard has a
 * lock, which guards everything in it and is held for a look-up only.
 *
 * homes: a hash of the client id picks the shard, a table in it (homes.h) holds the entries. The
 * claims' number comes from the shard's counter, so that it rises per entry even when an entry goes
 * and comes back. The client id itself is not kept here: an entry names it by the snapshot of the
 * last client that claimed it, which is its session's in the end.
 *
 * handles: generation << 32 | (place << SHARD_BITS | shard). The generation of a place begins with
 * 1 and rises when it is freed: a handle is never 0 and never names another connection.
 */
#include "session/directory.h"

#include <assert.h>

#include "base/err.h"
#include "base/lock.h"
#include "base/vec.h"
#include "loop/worker.h"
#include "msg/client.h"
#include "session/homes.h"
#include "session/session_int.h"

enum { SHARD_BITS = 6, SHARD_COUNT = 1 << SHARD_BITS };

_Static_assert(WORKER_MAX <= 1 << SESSION_HOME_WORKER_BITS, "session_home.worker");

struct handle {
	uintptr_t connection; /* free: that of the next free one + 1 (0: none), << 1 | 1 */
	uint32_t generation;
	uint16_t worker;
};

struct shard {
	_Alignas(64) struct lock lock;
	struct session_homes homes;
	uint64_t last_claim;
	VEC(struct handle) handles;
	uint32_t free_handle; /* + 1 */
};

struct session_directory {
	struct shard shards[SHARD_COUNT];
	struct hash_key key;
};

struct session_directory *
session_directory_new(struct hash_key key)
{
	struct session_directory *directory = aligned_alloc(64, sizeof(*directory));

	if (directory == NULL) {
		err_fatal("out of memory");
	}
	memset(directory, 0, sizeof(*directory));
	directory->key = key;
	for (size_t i = 0; i < SHARD_COUNT; i++) {
		lock_init(&directory->shards[i].lock);
	}
	return directory;
}

void
session_directory_free(struct session_directory **directory)
{
	if (*directory == NULL) {
		return;
	}
	for (size_t i = 0; i < SHARD_COUNT; i++) {
		struct shard *shard = &(*directory)->shards[i];

		session_homes_fini(&shard->homes);
		vec_fini(&shard->handles);
		lock_fini(&shard->lock);
	}
	mem_free(directory);
}

struct hash_key
session_directory_hash_key(const struct session_directory *directory)
{
	return directory->key;
}

/* --- homes --- */

static struct shard *
lock_shard(struct session_directory *directory, struct bytes client_id, uint64_t *hash_out)
{
	struct shard *shard;

	*hash_out = hash_bytes(&directory->key, client_id);
	/* The table uses the lower bits of the same hash. */
	shard = &directory->shards[*hash_out >> (64 - SHARD_BITS)];
	lock_take(&shard->lock);
	return shard;
}

static struct session_home *
find_or_make(struct session_directory *directory, struct shard *shard, uint64_t hash,
    struct msg_client *client, uint16_t worker)
{
	struct session_home *home =
	    session_homes_find(&shard->homes, hash, msg_client_id_of(client));

	if (home == NULL) {
		home = session_homes_make(&shard->homes, &directory->key, hash, client);
		home->worker = worker & ((1U << SESSION_HOME_WORKER_BITS) - 1);
	} else {
		session_home_set_client(home, client);
	}
	return home;
}

static void
drop_unused(struct session_directory *directory, struct shard *shard, struct session_home *home)
{
	if (home->claims == 0 && home->sid == 0) {
		session_homes_drop(&shard->homes, &directory->key, home);
	}
}

void
session_directory_claim(struct session_directory *directory, struct msg_client *client,
    uint16_t own, uint16_t *home_out, uint64_t *claim_out)
{
	uint64_t hash;
	struct shard *shard = lock_shard(directory, msg_client_id_of(client), &hash);
	struct session_home *home = find_or_make(directory, shard, hash, client, own);

	home->claims++;
	*home_out = (uint16_t)home->worker;
	*claim_out = ++shard->last_claim;
	lock_give(&shard->lock);
}

void
session_directory_unclaim(struct session_directory *directory, struct bytes client_id)
{
	uint64_t hash;
	struct shard *shard = lock_shard(directory, client_id, &hash);
	struct session_home *home = session_homes_find(&shard->homes, hash, client_id);

	if (!err_impossible(home == NULL || home->claims == 0)) {
		home->claims--;
		drop_unused(directory, shard, home);
	}
	lock_give(&shard->lock);
}

void
session_directory_session_made(struct session_directory *directory, struct msg_client *client,
    uint16_t worker, uint64_t sid, uint32_t slot)
{
	uint64_t hash;
	struct shard *shard = lock_shard(directory, msg_client_id_of(client), &hash);
	struct session_home *home = find_or_make(directory, shard, hash, client, worker);

	home->worker = worker & ((1U << SESSION_HOME_WORKER_BITS) - 1);
	home->sid = sid;
	home->slot = slot;
	lock_give(&shard->lock);
}

void
session_directory_session_gone(
    struct session_directory *directory, struct bytes client_id, uint64_t sid)
{
	uint64_t hash;
	struct shard *shard = lock_shard(directory, client_id, &hash);
	struct session_home *home = session_homes_find(&shard->homes, hash, client_id);

	if (home != NULL && home->sid == sid) {
		home->sid = 0;
		drop_unused(directory, shard, home);
	}
	lock_give(&shard->lock);
}

bool
session_directory_find(struct session_directory *directory, struct bytes client_id, uint16_t worker,
    uint64_t *sid_out, uint32_t *slot_out)
{
	uint64_t hash;
	struct shard *shard = lock_shard(directory, client_id, &hash);
	const struct session_home *home = session_homes_find(&shard->homes, hash, client_id);
	bool found = home != NULL && home->sid != 0 && home->worker == worker;

	if (found) {
		*sid_out = home->sid;
		*slot_out = home->slot;
	}
	lock_give(&shard->lock);
	return found;
}

uint64_t
session_directory_count(struct session_directory *directory)
{
	uint64_t count = 0;

	for (size_t i = 0; i < SHARD_COUNT; i++) {
		lock_take(&directory->shards[i].lock);
		count += directory->shards[i].homes.count;
		lock_give(&directory->shards[i].lock);
	}
	return count;
}

/* --- handles --- */

uint64_t
session_handle_new(struct session_directory *directory, uint16_t worker, void *connection)
{
	uint32_t shard_index = worker % SHARD_COUNT;
	struct shard *shard = &directory->shards[shard_index];
	struct handle *handle;
	uint32_t place;
	uint64_t number;

	lock_take(&shard->lock);
	place = shard->free_handle;
	if (place == 0) {
		vec_push(&shard->handles, (struct handle){.generation = 1});
		place = (uint32_t)shard->handles.count;
	} else {
		shard->free_handle = (uint32_t)(shard->handles.items[place - 1].connection >> 1);
	}
	handle = &shard->handles.items[place - 1];
	assert(((uintptr_t)connection & 1) == 0);
	handle->connection = (uintptr_t)connection;
	handle->worker = worker;
	number = (uint64_t)handle->generation << 32 | (place - 1) << SHARD_BITS | shard_index;
	lock_give(&shard->lock);
	return number;
}

/* The shard is locked, whatever is found. */
static struct handle *
find_handle(struct session_directory *directory, uint64_t number, struct shard **shard_out)
{
	struct shard *shard = &directory->shards[number % SHARD_COUNT];
	uint32_t place = (uint32_t)number >> SHARD_BITS;
	struct handle *handle;

	lock_take(&shard->lock);
	*shard_out = shard;
	if (place >= shard->handles.count) {
		return NULL;
	}
	handle = &shard->handles.items[place];
	return (handle->connection & 1) == 0 && handle->generation == number >> 32 ? handle : NULL;
}

void
session_handle_moved(struct session_directory *directory, uint64_t number, uint16_t worker)
{
	struct shard *shard;
	struct handle *handle = find_handle(directory, number, &shard);

	if (handle != NULL) {
		handle->worker = worker;
	}
	lock_give(&shard->lock);
}

void
session_handle_free(struct session_directory *directory, uint64_t number)
{
	struct shard *shard;
	struct handle *handle = find_handle(directory, number, &shard);

	if (handle != NULL) {
		handle->connection = (uintptr_t)shard->free_handle << 1 | 1;
		handle->generation++;
		/* A place whose generations are used up is not used again. */
		if (handle->generation != 0) {
			shard->free_handle = ((uint32_t)number >> SHARD_BITS) + 1;
		}
	}
	lock_give(&shard->lock);
}

bool
session_handle_find(struct session_directory *directory, uint64_t number, uint16_t *worker_out,
    void **connection_out)
{
	struct shard *shard;
	struct handle *handle = find_handle(directory, number, &shard);
	bool found = handle != NULL;

	if (found) {
		*worker_out = handle->worker;
		*connection_out = (void *)handle->connection;
	}
	lock_give(&shard->lock);
	return found;
}
