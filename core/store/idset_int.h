/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of ids that the house has drawn itself (never 0, so 0 is an empty slot): which sessions the
 * store holds. Eight bytes a slot, since there may be millions. One owner: the store's thread.
 */
#ifndef STORE_IDSET_INT_H
#define STORE_IDSET_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_idset {
	uint64_t *slots;
	size_t count;
	size_t mask; /* number of slots - 1; slots is NULL when 0 */
};

void store_idset_fini(struct store_idset *set);
bool store_idset_has(const struct store_idset *set, uint64_t id);
void store_idset_add(struct store_idset *set, uint64_t id);
void store_idset_remove(struct store_idset *set, uint64_t id);

#endif
