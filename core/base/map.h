/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash map from bytes to objects that contain their key. The map owns neither; an object's key
 * must not change while it is in. Open addressing with linear probing, the load kept below 3/4,
 * deletion by shifting back (no tombstones). One owner; who shares it locks it.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"

typedef struct bytes map_key_fn(const void *item);

struct map_slot {
	uint64_t hash;
	void *item; /* NULL: empty */
};

struct map {
	struct map_slot *slots;
	size_t count;
	size_t mask; /* number of slots - 1; slots is NULL when 0 */
	map_key_fn *key_of;
	struct hash_key hash_key;
};

void map_init(struct map *map, map_key_fn *key_of, struct hash_key hash_key);
void map_fini(struct map *map);

/* The item with this key, or NULL. */
void *map_find(const struct map *map, struct bytes key);

/*
 * Makes room for one more item; false without memory, and then nothing has changed. Before map_put
 * of items whose number strangers drive. Growing moves all items: a map that many share is better
 * many maps.
 */
bool map_try_reserve(struct map *map) __attribute__((warn_unused_result));

/* Puts the item in, growing at need (which cannot fail); returns the one with an equal key that it
 * replaced, or NULL. */
void *map_put(struct map *map, void *item);

/* Takes the item with this key out and returns it, or NULL. */
void *map_take(struct map *map, struct bytes key);

/* Over all items, in no order; the map must not change in the body. */
#define map_each(item, map)                                      \
	for (size_t item##_at = map_next(map, 0);                \
	     item##_at <= (map)->mask && (map)->slots != NULL && \
	     ((item) = (map)->slots[item##_at].item, 1);         \
	     item##_at = map_next(map, item##_at + 1))

/* The first slot from `at` on that holds an item; beyond mask when there is none. */
size_t map_next(const struct map *map, size_t at);

#endif
