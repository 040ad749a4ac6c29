/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include "base/err.h"
#include "base/mem.h"

enum { MAP_FIRST_SLOTS = 16 };

void
map_init(struct map *map, map_key_fn *key_of, struct hash_key hash_key)
{
	*map = (struct map){.key_of = key_of, .hash_key = hash_key};
}

void
map_fini(struct map *map)
{
	mem_free(&map->slots);
	map->count = 0;
	map->mask = 0;
}

/* The slot that holds the key, or the empty one where it belongs. The table always has an empty
 * slot. */
static size_t
locate(const struct map *map, uint64_t hash, struct bytes key)
{
	size_t at = (size_t)hash & map->mask;

	while (map->slots[at].item != NULL) {
		if (map->slots[at].hash == hash &&
		    bytes_equal(map->key_of(map->slots[at].item), key)) {
			return at;
		}
		at = (at + 1) & map->mask;
	}
	return at;
}

void *
map_find(const struct map *map, struct bytes key)
{
	if (map->count == 0) {
		return NULL;
	}
	return map->slots[locate(map, hash_bytes(&map->hash_key, key), key)].item;
}

static bool
is_full(const struct map *map)
{
	return map->slots == NULL || map->count + 1 >= (map->mask + 1) / 4 * 3;
}

bool
map_try_reserve(struct map *map)
{
	struct map_slot *old = map->slots;
	size_t old_slots = old != NULL ? map->mask + 1 : 0;
	size_t slots = old_slots != 0 ? old_slots * 2 : MAP_FIRST_SLOTS;
	struct map_slot *grown;

	if (!is_full(map)) {
		return true;
	}
	grown = calloc(slots, sizeof(*grown));
	if (grown == NULL) {
		return false;
	}
	map->slots = grown;
	map->mask = slots - 1;
	for (size_t i = 0; i < old_slots; i++) {
		size_t at;

		if (old[i].item == NULL) {
			continue;
		}
		for (at = (size_t)old[i].hash & map->mask; map->slots[at].item != NULL;) {
			at = (at + 1) & map->mask;
		}
		map->slots[at] = old[i];
	}
	mem_free(&old);
	return true;
}

void *
map_put(struct map *map, void *item)
{
	struct bytes key = map->key_of(item);
	uint64_t hash = hash_bytes(&map->hash_key, key);
	void *replaced;
	size_t at;

	if (!map_try_reserve(map)) {
		err_fatal("out of memory");
	}
	at = locate(map, hash, key);
	replaced = map->slots[at].item;
	map->slots[at] = (struct map_slot){hash, item};
	map->count += replaced == NULL;
	return replaced;
}

void *
map_take(struct map *map, struct bytes key)
{
	void *item;
	size_t hole;

	if (map->count == 0) {
		return NULL;
	}
	hole = locate(map, hash_bytes(&map->hash_key, key), key);
	item = map->slots[hole].item;
	if (item == NULL) {
		return NULL;
	}
	/* Whatever follows in the same run and may move to the hole without passing its home does
	 * so. */
	for (size_t at = (hole + 1) & map->mask; map->slots[at].item != NULL;
	     at = (at + 1) & map->mask) {
		size_t home = (size_t)map->slots[at].hash & map->mask;

		if (((at - home) & map->mask) >= ((at - hole) & map->mask)) {
			map->slots[hole] = map->slots[at];
			hole = at;
		}
	}
	map->slots[hole] = (struct map_slot){0};
	map->count--;
	return item;
}

size_t
map_next(const struct map *map, size_t at)
{
	if (map->slots == NULL) {
		return map->mask + 1;
	}
	while (at <= map->mask && map->slots[at].item == NULL) {
		at++;
	}
	return at;
}
