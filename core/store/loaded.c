/* SPDX-License-Identifier: Apache-2.0 */
#include "store/loaded.h"

bool
store_loaded_add(struct store_loaded *loaded, uint64_t mid, struct msg *msg)
{
	size_t count = loaded->items.count;

	if (count != 0 && mid <= loaded->items.items[count - 1].mid) {
		return false;
	}
	vec_push(&loaded->items, (struct store_loaded_item){mid, msg});
	return true;
}

/* The first whose id is not smaller. */
static size_t
search(const struct store_loaded *loaded, uint64_t mid)
{
	size_t low = 0, high = loaded->items.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (loaded->items.items[middle].mid < mid) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

struct msg *
store_loaded_find(struct store_loaded *loaded, uint64_t mid)
{
	const struct store_loaded_item *items = loaded->items.items;
	size_t at = loaded->last, count = loaded->items.count;

	/* The one of the last row, or the next one. */
	for (size_t end = at + 2; at < end && at < count; at++) {
		if (items[at].mid == mid) {
			loaded->last = at;
			return items[at].msg;
		}
	}
	at = search(loaded, mid);
	if (at == count || items[at].mid != mid) {
		return NULL;
	}
	loaded->last = at;
	return items[at].msg;
}

void
store_loaded_fini(struct store_loaded *loaded)
{
	for (size_t i = 0; i < loaded->items.count; i++) {
		msg_unref(&loaded->items.items[i].msg);
	}
	vec_fini(&loaded->items);
}
