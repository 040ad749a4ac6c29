/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of client ids and of connections' handles. Shared by all workers; each shard has a
 * lock, which guards everything in it and is held for a look-up only.
 *
 * homes: a hash of the client id picks the shard, a map in it holds the entries. The claims' number
 * comes from the shard's counter, so that it rises per entry even when an entry goes and comes
 * back.
 *
 * handles: generation << 32 | (place << SHARD_BITS | shard). The generation of a place begins with
 * 1 and rises when it is freed: a handle is never 0 and never names another connection.
 */
#include "session/directory.h"

#include "base/err.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/vec.h"
#include "session/session_int.h"

enum { SHARD_BITS = 6, SHARD_COUNT = 1 << SHARD_BITS };

struct home {
	uint64_t sid; /* of its session; 0: none */
	uint32_t claims;
	uint16_t worker;
	uint32_t client_id_len;
	uint8_t client_id[];
};

struct handle {
	void *connection; /* NULL: free */
	uint32_t generation;
	uint32_t next_free; /* + 1; 0: none */
	uint16_t worker;
};

struct shard {
	_Alignas(64) struct lock lock;
	struct map homes;
	uint64_t last_claim;
	VEC(struct handle) handles;
	uint32_t free_handle; /* + 1 */
};

struct session_directory {
	struct shard shards[SHARD_COUNT];
	struct hash_key key;
};

static struct bytes
client_id_of(const void *item)
{
	const struct home *home = item;

	return (struct bytes){home->client_id, home->client_id_len};
}

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
		map_init(&directory->shards[i].homes, client_id_of, key);
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
		struct home *item;

		map_each (item, &shard->homes) {
			mem_free(&item);
		}
		map_fini(&shard->homes);
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
lock_shard(struct session_directory *directory, struct bytes client_id)
{
	/* The map uses the lower bits of the same hash. */
	struct shard *shard =
	    &directory->shards[hash_bytes(&directory->key, client_id) >> (64 - SHARD_BITS)];

	lock_take(&shard->lock);
	return shard;
}

static struct home *
find_or_make(struct shard *shard, struct bytes client_id, uint16_t worker)
{
	struct home *home = map_find(&shard->homes, client_id);

	if (home == NULL) {
		home = mem_zalloc(sizeof(*home) + client_id.len);
		home->worker = worker;
		home->client_id_len = (uint32_t)client_id.len;
		if (client_id.len != 0) {
			memcpy(home->client_id, client_id.data, client_id.len);
		}
		map_put(&shard->homes, home);
	}
	return home;
}

static void
drop_unused(struct shard *shard, struct home *home)
{
	if (home->claims == 0 && home->sid == 0) {
		map_take(&shard->homes, client_id_of(home));
		mem_free(&home);
	}
}

void
session_directory_claim(struct session_directory *directory, struct bytes client_id, uint16_t own,
    uint16_t *home_out, uint64_t *claim_out)
{
	struct shard *shard = lock_shard(directory, client_id);
	struct home *home = find_or_make(shard, client_id, own);

	home->claims++;
	*home_out = home->worker;
	*claim_out = ++shard->last_claim;
	lock_give(&shard->lock);
}

void
session_directory_unclaim(struct session_directory *directory, struct bytes client_id)
{
	struct shard *shard = lock_shard(directory, client_id);
	struct home *home = map_find(&shard->homes, client_id);

	if (!err_impossible(home == NULL || home->claims == 0)) {
		home->claims--;
		drop_unused(shard, home);
	}
	lock_give(&shard->lock);
}

void
session_directory_session_made(
    struct session_directory *directory, struct bytes client_id, uint16_t worker, uint64_t sid)
{
	struct shard *shard = lock_shard(directory, client_id);
	struct home *home = find_or_make(shard, client_id, worker);

	home->worker = worker;
	home->sid = sid;
	lock_give(&shard->lock);
}

void
session_directory_session_gone(
    struct session_directory *directory, struct bytes client_id, uint64_t sid)
{
	struct shard *shard = lock_shard(directory, client_id);
	struct home *home = map_find(&shard->homes, client_id);

	if (home != NULL && home->sid == sid) {
		home->sid = 0;
		drop_unused(shard, home);
	}
	lock_give(&shard->lock);
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
		shard->free_handle = shard->handles.items[place - 1].next_free;
	}
	handle = &shard->handles.items[place - 1];
	handle->connection = connection;
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
	return handle->connection != NULL && handle->generation == number >> 32 ? handle : NULL;
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
		handle->connection = NULL;
		handle->generation++;
		/* A place whose generations are used up is not used again. */
		if (handle->generation != 0) {
			handle->next_free = shard->free_handle;
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
		*connection_out = handle->connection;
	}
	lock_give(&shard->lock);
	return found;
}
