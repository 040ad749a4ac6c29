/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with linear probing; entries that follow move up when one goes, so there are no
 * graves. A hash is scaled to the number of places, which therefore need not be a power of two: the
 * table grows by half and is never less than half full, but for a small one. No hash is kept: it is
 * reckoned again when entries move, which only CONNECTs pay for.
 */
#include "session/homes.h"

#include "base/mem.h"
#include "msg/client.h"

enum { FIRST_CAP = 8 };

static uint32_t
place_of(const struct session_homes *homes, uint64_t hash)
{
	return (uint32_t)((hash & UINT32_MAX) * homes->cap >> 32);
}

static uint32_t
behind(const struct session_homes *homes, uint32_t place)
{
	return place + 1 < homes->cap ? place + 1 : 0;
}

void
session_homes_fini(struct session_homes *homes)
{
	for (uint32_t i = 0; i < homes->cap; i++) {
		msg_client_unref(&homes->items[i].client);
	}
	mem_free(&homes->items);
	homes->count = homes->cap = 0;
}

struct session_home *
session_homes_find(const struct session_homes *homes, uint64_t hash, struct bytes client_id)
{
	if (homes->count == 0) {
		return NULL;
	}
	for (uint32_t i = place_of(homes, hash); homes->items[i].client != NULL;
	     i = behind(homes, i)) {
		if (bytes_equal(msg_client_id_of(homes->items[i].client), client_id)) {
			return &homes->items[i];
		}
	}
	return NULL;
}

static struct session_home *
free_place(const struct session_homes *homes, uint64_t hash)
{
	uint32_t i = place_of(homes, hash);

	while (homes->items[i].client != NULL) {
		i = behind(homes, i);
	}
	return &homes->items[i];
}

static uint64_t
hash_of(const struct session_home *home, const struct hash_key *key)
{
	return hash_bytes(key, msg_client_id_of(home->client));
}

static void
grow(struct session_homes *homes, const struct hash_key *key)
{
	struct session_homes old = *homes;

	homes->cap = old.cap != 0 ? old.cap + old.cap / 2 : FIRST_CAP;
	homes->items = mem_zalloc(homes->cap * sizeof(*homes->items));
	for (uint32_t i = 0; i < old.cap; i++) {
		if (old.items[i].client != NULL) {
			*free_place(homes, hash_of(&old.items[i], key)) = old.items[i];
		}
	}
	mem_free(&old.items);
}

struct session_home *
session_homes_make(struct session_homes *homes, const struct hash_key *key, uint64_t hash,
    struct msg_client *client)
{
	struct session_home *home;

	/* Of four places one stays empty. */
	if (((uint64_t)homes->count + 1) * 4 > (uint64_t)homes->cap * 3) {
		grow(homes, key);
	}
	home = free_place(homes, hash);
	*home = (struct session_home){.client = msg_client_ref(client)};
	homes->count++;
	return home;
}

void
session_home_set_client(struct session_home *home, struct msg_client *client)
{
	struct msg_client *old = home->client;

	home->client = msg_client_ref(client);
	msg_client_unref(&old);
}

/* How far `at` lies behind `from`, round the end. */
static uint32_t
distance(const struct session_homes *homes, uint32_t from, uint32_t at)
{
	return at >= from ? at - from : at + homes->cap - from;
}

void
session_homes_drop(
    struct session_homes *homes, const struct hash_key *key, struct session_home *home)
{
	uint32_t hole = (uint32_t)(home - homes->items);

	msg_client_unref(&home->client);
	/* Whatever follows in the same run and may move to the hole without passing the place of
	 * its hash does so. */
	for (uint32_t i = behind(homes, hole); homes->items[i].client != NULL;
	     i = behind(homes, i)) {
		uint32_t place = place_of(homes, hash_of(&homes->items[i], key));

		if (distance(homes, place, i) >= distance(homes, hole, i)) {
			homes->items[hole] = homes->items[i];
			hole = i;
		}
	}
	homes->items[hole] = (struct session_home){0};
	homes->count--;
}
