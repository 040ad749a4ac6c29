/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing with linear probing, load below 3/4, deletion by shifting back. */
#include "store/idset_int.h"

#include "base/mem.h"

static size_t
home(const struct store_idset *set, uint64_t id)
{
	return (size_t)((id * 0x9e3779b97f4a7c15) >> 32) & set->mask;
}

/* Where it is, or the empty slot where it belongs. */
static size_t
locate(const struct store_idset *set, uint64_t id)
{
	size_t at = home(set, id);

	while (set->slots[at] != 0 && set->slots[at] != id) {
		at = (at + 1) & set->mask;
	}
	return at;
}

static void
grow(struct store_idset *set)
{
	struct store_idset bigger = {
	    .count = set->count, .mask = set->mask == 0 ? 15 : set->mask * 2 + 1};

	bigger.slots = mem_zalloc((bigger.mask + 1) * sizeof(*bigger.slots));
	for (size_t i = 0; set->slots != NULL && i <= set->mask; i++) {
		if (set->slots[i] != 0) {
			bigger.slots[locate(&bigger, set->slots[i])] = set->slots[i];
		}
	}
	mem_free(&set->slots);
	*set = bigger;
}

void
store_idset_fini(struct store_idset *set)
{
	mem_free(&set->slots);
	*set = (struct store_idset){0};
}

bool
store_idset_has(const struct store_idset *set, uint64_t id)
{
	return set->slots != NULL && id != 0 && set->slots[locate(set, id)] == id;
}

void
store_idset_add(struct store_idset *set, uint64_t id)
{
	size_t at;

	if (id == 0) {
		return;
	}
	if (set->slots == NULL || (set->count + 1) * 4 > (set->mask + 1) * 3) {
		grow(set);
	}
	at = locate(set, id);
	set->count += set->slots[at] == 0;
	set->slots[at] = id;
}

void
store_idset_remove(struct store_idset *set, uint64_t id)
{
	size_t hole, at;

	if (!store_idset_has(set, id)) {
		return;
	}
	hole = at = locate(set, id);
	for (;;) {
		at = (at + 1) & set->mask;
		if (set->slots[at] == 0) {
			break;
		}
		/* It may move unless its home lies between the hole and itself. */
		if (((at - home(set, set->slots[at])) & set->mask) >= ((at - hole) & set->mask)) {
			set->slots[hole] = set->slots[at];
			hole = at;
		}
	}
	set->slots[hole] = 0;
	set->count--;
}
