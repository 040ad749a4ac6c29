/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The subscribers of one filter. Most filters have one: then node->members is its address with the
 * lowest bit set, and it lies in the node if the node was made for it. Else node->members is a set:
 * groups, and subscribers in chunks. A subscriber's chunk follows from its worker and slot (sixteen
 * neighbours fall together), so it is found again without a search; with some dozens per chunk on
 * average the number of chunks doubles, and halves when few are left.
 *
 * A chunk is appended to in place: the new subscriber is written behind the last one, and then the
 * count shows it. Everything else makes a new chunk and swaps it in. What a reader was shown never
 * changes.
 */
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"
#include "topic/tree_int.h"

enum { FULL_CHUNK = 64, SPARSE_CHUNK = 8 }; /* subscribers per chunk, on average */

struct topic_chunk {
	_Atomic uint32_t count;
	uint32_t cap;
	struct topic_subscriber items[];
};

static size_t
chunk_size(uint32_t cap)
{
	return offsetof(struct topic_chunk, items) + cap * sizeof(struct topic_subscriber);
}

static size_t
set_size(uint32_t mask)
{
	return offsetof(struct topic_set, chunks) +
	       ((size_t)mask + 1) * sizeof(struct topic_chunk *);
}

static uintptr_t
members_of(const struct topic_node *node)
{
	return atomic_load_explicit(&node->members, memory_order_relaxed);
}

static void
set_members(struct topic_node *node, uintptr_t members)
{
	atomic_store_explicit(&node->members, members, memory_order_release);
}

static inline bool
is_single(uintptr_t members)
{
	return (members & 1) != 0;
}

static inline struct topic_subscriber *
single_of(uintptr_t members)
{
	return (struct topic_subscriber *)(members & ~(uintptr_t)1);
}

static inline struct topic_set *
set_of(uintptr_t members)
{
	return (struct topic_set *)members;
}

static uint32_t
spread(const struct topic_subscriber *key)
{
	uint64_t x = ((uint64_t)key->worker << 32 | key->slot >> 4) * 0x9e3779b97f4a7c15;

	return (uint32_t)(x >> 32) ^ (uint32_t)(x >> 48);
}

/* --- readers --- */

static void
show_set(struct topic_set *set, const struct topic_match_ops *ops, void *arg)
{
	struct topic_share *share = atomic_load_explicit(&set->shares, memory_order_acquire);

	for (uint32_t i = 0; i <= set->mask; i++) {
		struct topic_chunk *chunk =
		    atomic_load_explicit(&set->chunks[i], memory_order_acquire);

		if (chunk != NULL) {
			ops->subscribers(arg, chunk->items,
			    atomic_load_explicit(&chunk->count, memory_order_acquire));
		}
	}
	while (share != NULL) {
		ops->group(arg, atomic_load_explicit(&share->group, memory_order_acquire));
		share = atomic_load_explicit(&share->next, memory_order_acquire);
	}
}

void
topic_members_show(const struct topic_node *node, const struct topic_match_ops *ops, void *arg)
{
	uintptr_t members = atomic_load_explicit(&node->members, memory_order_acquire);

	if (is_single(members)) {
		ops->subscribers(arg, single_of(members), 1);
	} else if (members != 0) {
		show_set(set_of(members), ops, arg);
	}
}

/* --- chunks; writers --- */

static uint32_t
count_of(const struct topic_chunk *chunk)
{
	return chunk == NULL ? 0 : atomic_load_explicit(&chunk->count, memory_order_relaxed);
}

static struct topic_chunk *
chunk_at(struct topic_set *set, uint32_t i)
{
	return atomic_load_explicit(&set->chunks[i], memory_order_relaxed);
}

/* Shows a new chunk in the place of the present one; either may be NULL. */
static void
swap_chunk(struct topic_tree *tree, struct worker *worker, struct topic_set *set, uint32_t i,
    struct topic_chunk *chunk)
{
	struct topic_chunk *old = chunk_at(set, i);

	atomic_store_explicit(&set->chunks[i], chunk, memory_order_release);
	if (old != NULL) {
		topic_tree_retire(tree, worker, old, chunk_size(old->cap));
	}
}

/* A copy that is not shown yet, with its count; chunk may be NULL, cap is enough. */
static struct topic_chunk *
copy_chunk(struct topic_tree *tree, const struct topic_chunk *chunk, uint32_t cap)
{
	struct topic_chunk *copy = topic_tree_alloc(tree, chunk_size(cap));
	uint32_t count = count_of(chunk);

	if (copy == NULL) {
		return NULL;
	}
	copy->cap = cap;
	atomic_init(&copy->count, count);
	if (count != 0) {
		memcpy(copy->items, chunk->items, count * sizeof(copy->items[0]));
	}
	return copy;
}

static void
append(struct topic_chunk *chunk, const struct topic_subscriber *subscriber)
{
	uint32_t count = count_of(chunk);

	chunk->items[count] = *subscriber;
	atomic_store_explicit(&chunk->count, count + 1, memory_order_release);
}

/* Its index, or the count when it is not there. */
static uint32_t
find(const struct topic_chunk *chunk, const struct topic_subscriber *key)
{
	uint32_t i = 0, count = count_of(chunk);

	while (i < count && !topic_subscriber_is(&chunk->items[i], key)) {
		i++;
	}
	return i;
}

/* --- sets; writers --- */

static struct topic_set *
new_set(struct topic_tree *tree, uint32_t mask)
{
	struct topic_set *set = topic_tree_alloc(tree, set_size(mask));

	if (set != NULL) {
		atomic_init(&set->shares, NULL);
		set->count = 0;
		set->mask = mask;
		for (uint32_t i = 0; i <= mask; i++) {
			atomic_init(&set->chunks[i], NULL);
		}
	}
	return set;
}

static void
drop_set(struct topic_tree *tree, struct topic_set *set)
{
	for (uint32_t i = 0; i <= set->mask; i++) {
		struct topic_chunk *chunk = chunk_at(set, i);

		if (chunk != NULL) {
			topic_tree_discard(tree, chunk, chunk_size(chunk->cap));
		}
	}
	topic_tree_discard(tree, set, set_size(set->mask));
}

/* With its chunks, to which it goes on leading those who are reading it. */
static void
retire_set(struct topic_tree *tree, struct worker *worker, struct topic_set *set)
{
	for (uint32_t i = 0; i <= set->mask; i++) {
		struct topic_chunk *chunk = chunk_at(set, i);

		if (chunk != NULL) {
			topic_tree_retire(tree, worker, chunk, chunk_size(chunk->cap));
		}
	}
	topic_tree_retire(tree, worker, set, set_size(set->mask));
}

/* Appends to a set that is not shown, or is. False without memory. */
static bool
append_to_set(struct topic_tree *tree, struct worker *worker, struct topic_set *set,
    const struct topic_subscriber *subscriber)
{
	uint32_t i = spread(subscriber) & set->mask;
	struct topic_chunk *chunk = chunk_at(set, i);

	if (chunk != NULL && count_of(chunk) < chunk->cap) {
		append(chunk, subscriber);
	} else {
		uint32_t count = count_of(chunk);
		struct topic_chunk *larger = copy_chunk(tree, chunk, count + count / 2 + 2);

		if (larger == NULL) {
			return false;
		}
		append(larger, subscriber);
		swap_chunk(tree, worker, set, i, larger);
	}
	set->count++;
	return true;
}

/* Chunk i of `to` gets what belongs to it from the chunks of `from` that can have it. */
static bool
gather(struct topic_tree *tree, struct topic_set *from, struct topic_set *to, uint32_t i)
{
	uint32_t common = from->mask < to->mask ? from->mask : to->mask, count = 0;
	struct topic_chunk *chunk;

	for (uint32_t j = i & common; j <= from->mask; j += common + 1) {
		const struct topic_chunk *source = chunk_at(from, j);

		for (uint32_t k = 0; k < count_of(source); k++) {
			count += (spread(&source->items[k]) & to->mask) == i;
		}
	}
	if (count == 0) {
		return true;
	}
	chunk = copy_chunk(tree, NULL, count + count / 4 + 2);
	if (chunk == NULL) {
		return false;
	}
	for (uint32_t j = i & common; j <= from->mask; j += common + 1) {
		const struct topic_chunk *source = chunk_at(from, j);

		for (uint32_t k = 0; k < count_of(source); k++) {
			if ((spread(&source->items[k]) & to->mask) == i) {
				append(chunk, &source->items[k]);
			}
		}
	}
	atomic_init(&to->chunks[i], chunk);
	return true;
}

/* Shows a set with another number of chunks. Without memory all stays as it is, which is only
 * slower. */
static void
resize_set(struct topic_tree *tree, struct worker *worker, struct topic_node *node, uint32_t mask)
{
	struct topic_set *old = set_of(members_of(node));
	struct topic_set *set = new_set(tree, mask);

	if (set == NULL) {
		return;
	}
	for (uint32_t i = 0; i <= mask; i++) {
		if (!gather(tree, old, set, i)) {
			drop_set(tree, set);
			return;
		}
	}
	set->count = old->count;
	atomic_init(&set->shares, atomic_load_explicit(&old->shares, memory_order_relaxed));
	set_members(node, (uintptr_t)set);
	retire_set(tree, worker, old);
}

/* --- singles; writers --- */

static void
retire_single(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    struct topic_subscriber *single)
{
	if ((node->kind & TOPIC_NODE_INLINE) == 0 || single != topic_node_inline(node)) {
		topic_tree_retire(tree, worker, single, sizeof(*single));
	}
}

static int
set_single(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    const struct topic_subscriber *subscriber)
{
	uintptr_t old = members_of(node);
	struct topic_subscriber *single = topic_tree_alloc(tree, sizeof(*single));

	if (single == NULL) {
		return ERR_NOMEM;
	}
	*single = *subscriber;
	set_members(node, (uintptr_t)single | 1);
	if (old != 0) {
		retire_single(tree, worker, node, single_of(old));
	}
	return old == 0;
}

struct topic_set *
topic_members_set(struct topic_tree *tree, struct worker *worker, struct topic_node *node)
{
	uintptr_t old = members_of(node);
	struct topic_set *set;

	if (old != 0 && !is_single(old)) {
		return set_of(old);
	}
	set = new_set(tree, 0);
	if (set == NULL) {
		return NULL;
	}
	if (old != 0 && !append_to_set(tree, worker, set, single_of(old))) {
		drop_set(tree, set);
		return NULL;
	}
	set_members(node, (uintptr_t)set);
	if (old != 0) {
		retire_single(tree, worker, node, single_of(old));
	}
	return set;
}

void
topic_members_settle(struct topic_tree *tree, struct worker *worker, struct topic_node *node)
{
	uintptr_t members = members_of(node);

	if (members != 0 && !is_single(members) && set_of(members)->count == 0 &&
	    atomic_load_explicit(&set_of(members)->shares, memory_order_relaxed) == NULL) {
		set_members(node, 0);
		retire_set(tree, worker, set_of(members));
	}
}

/* --- adding and removing --- */

static int
add_to_set(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    const struct topic_subscriber *subscriber)
{
	struct topic_set *set = set_of(members_of(node));
	uint32_t i = spread(subscriber) & set->mask;
	struct topic_chunk *chunk = chunk_at(set, i);
	uint32_t at = find(chunk, subscriber);

	if (at != count_of(chunk)) {
		struct topic_chunk *copy = copy_chunk(tree, chunk, chunk->cap);

		if (copy == NULL) {
			return ERR_NOMEM;
		}
		copy->items[at] = *subscriber;
		swap_chunk(tree, worker, set, i, copy);
		return 0;
	}
	if (set->count / FULL_CHUNK > set->mask) {
		resize_set(tree, worker, node, set->mask * 2 + 1);
		set = set_of(members_of(node));
	}
	return append_to_set(tree, worker, set, subscriber) ? 1 : ERR_NOMEM;
}

int
topic_members_add(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    const struct topic_subscriber *subscriber)
{
	uintptr_t members = members_of(node);

	if (members == 0 ||
	    (is_single(members) && topic_subscriber_is(single_of(members), subscriber))) {
		return set_single(tree, worker, node, subscriber);
	}
	if (topic_members_set(tree, worker, node) == NULL) {
		return ERR_NOMEM;
	}
	return add_to_set(tree, worker, node, subscriber);
}

static void
remove_from_chunk(
    struct topic_tree *tree, struct worker *worker, struct topic_set *set, uint32_t i, uint32_t at)
{
	const struct topic_chunk *chunk = chunk_at(set, i);
	uint32_t left = count_of(chunk) - 1;
	struct topic_chunk *copy = NULL;

	if (left != 0) {
		copy = topic_tree_alloc_surely(tree, chunk_size(left));
		copy->cap = left;
		atomic_init(&copy->count, left);
		memcpy(copy->items, chunk->items, at * sizeof(copy->items[0]));
		memcpy(
		    copy->items + at, chunk->items + at + 1, (left - at) * sizeof(copy->items[0]));
	}
	swap_chunk(tree, worker, set, i, copy);
	set->count--;
}

bool
topic_members_remove(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    const struct topic_subscriber *key)
{
	uintptr_t members = members_of(node);
	struct topic_set *set = set_of(members);
	uint32_t i, at;

	if (is_single(members)) {
		if (!topic_subscriber_is(single_of(members), key)) {
			return false;
		}
		set_members(node, 0);
		retire_single(tree, worker, node, single_of(members));
		return true;
	}
	if (members == 0) {
		return false;
	}
	i = spread(key) & set->mask;
	at = find(chunk_at(set, i), key);
	if (at == count_of(chunk_at(set, i))) {
		return false;
	}
	remove_from_chunk(tree, worker, set, i, at);
	if (set->mask != 0 && set->count / SPARSE_CHUNK < set->mask) {
		resize_set(tree, worker, node, set->mask / 2);
	}
	topic_members_settle(tree, worker, node);
	return true;
}

void
topic_members_free(struct topic_node *node)
{
	uintptr_t members = members_of(node);
	struct topic_subscriber *single = single_of(members);
	struct topic_set *set = set_of(members);

	if (is_single(members)) {
		if ((node->kind & TOPIC_NODE_INLINE) == 0 || single != topic_node_inline(node)) {
			mem_free(&single);
		}
	} else if (set != NULL) {
		for (uint32_t i = 0; i <= set->mask; i++) {
			struct topic_chunk *chunk = chunk_at(set, i);

			mem_free(&chunk);
		}
		mem_free(&set);
	}
}
