/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages by id while a store is loaded. Ids come rising, and rows name them nearly in the same
 * order, so a list and the place of the last answer find a million without a table of hashes. One
 * thread.
 */
#ifndef STORE_LOADED_H
#define STORE_LOADED_H

#include <stdbool.h>

#include "base/vec.h"
#include "msg/msg.h"

struct store_loaded_item {
	uint64_t mid;
	struct msg *msg; /* a reference */
};

struct store_loaded {
	VEC(struct store_loaded_item) items;
	size_t last;
};

/* Takes the reference over; false when the id does not rise, and then it is the caller's still. */
bool store_loaded_add(struct store_loaded *loaded, uint64_t mid, struct msg *msg);

/* NULL: it is not there. */
struct msg *store_loaded_find(struct store_loaded *loaded, uint64_t mid);

/* Gives all references back. */
void store_loaded_fini(struct store_loaded *loaded);

#endif
