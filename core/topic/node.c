/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes, and the table that finds them.
 *
 * The table has open addressing with linear probing. A slot is a pointer to a node with four bits
 * of its hash in the low bits, which are free by malloc's alignment: so a probe touches hardly any
 * node but the one it looks for. A deleted one leaves a grave, which a probe passes by and a later
 * insert may use. Graves and nodes together fill at most 3/4; then the part of the table is
 * rebuilt for its nodes, half full, at a cost that the inserts and deletes since the last time have
 * paid for. A hash is scaled to the number of slots, so that need not be a power of two. The hash
 * of a level is keyed, so nobody can choose collisions; a node's hash mixes that with the address
 * of its parent.
 *
 * Readers see a slot go from empty or grave to a node and from a node to a grave or, where the next
 * slot is empty, back to empty: behind such a slot nothing lies that a probe through it looks for.
 */
#include <assert.h>
#include <stddef.h>

#include "base/mem.h"
#include "topic/tree_int.h"

enum { SMALLEST_TABLE = 8, TAG_MASK = 15 };

static const uintptr_t GRAVE = 1;

struct topic_table {
	uint32_t cap;
	_Atomic uintptr_t slots[];
};

static size_t
table_size(size_t slots)
{
	return offsetof(struct topic_table, slots) + slots * sizeof(uintptr_t);
}

static inline uint32_t
hash_below(const struct topic_node *parent, enum topic_node_kind kind, uint64_t level_hash)
{
	uint64_t x = level_hash ^ ((uint64_t)(uintptr_t)parent + kind) * 0x9e3779b97f4a7c15;

	/* A level's hash is keyed and even by itself: the parent's address must only be spread. */
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
	return (uint32_t)(x >> 32);
}

/* The part of the table from the upper 8 bits, the place in it from those below, the tag from the
 * lowest. */
static inline size_t
part_of(uint32_t hash)
{
	return hash >> 24;
}

static inline uintptr_t
tag_of(uint32_t hash)
{
	return hash & TAG_MASK;
}

static inline uint32_t
place_of(const struct topic_table *table, uint32_t hash)
{
	return (uint32_t)((uint64_t)(hash << 8) * table->cap >> 32);
}

static inline uint32_t
behind(const struct topic_table *table, uint32_t place)
{
	return place + 1 != table->cap ? place + 1 : 0;
}

static inline struct topic_node *
node_at(uintptr_t slot)
{
	return (struct topic_node *)(slot & ~(uintptr_t)TAG_MASK);
}

static inline bool
is_node(uintptr_t slot)
{
	return slot > TAG_MASK;
}

uint64_t
topic_level_hash(const struct topic_tree *tree, struct bytes level)
{
	return hash_bytes(&tree->key, level);
}

static inline bool
is_sought(const struct topic_node *node, const struct topic_node *parent, enum topic_node_kind kind,
    struct bytes level, uint32_t hash)
{
	return node->hash == hash && node->parent == parent &&
	       (node->kind & TOPIC_NODE_SHARE) == kind &&
	       bytes_equal(bytes_make(node->text, node->len), level);
}

struct topic_node *
topic_node_find(const struct topic_tree *tree, const struct topic_node *parent,
    enum topic_node_kind kind, struct bytes level, uint64_t level_hash)
{
	uint32_t hash = hash_below(parent, kind, level_hash);
	struct topic_table *table =
	    atomic_load_explicit(&tree->tables[part_of(hash)], memory_order_acquire);

	if (table == NULL) {
		return NULL;
	}
	for (uint32_t i = place_of(table, hash);; i = behind(table, i)) {
		uintptr_t slot = atomic_load_explicit(&table->slots[i], memory_order_acquire);

		if (slot == 0) {
			return NULL;
		}
		if (is_node(slot) && (slot & TAG_MASK) == tag_of(hash) &&
		    is_sought(node_at(slot), parent, kind, level, hash)) {
			return node_at(slot);
		}
	}
}

/* --- nodes --- */

static size_t
inline_offset(size_t len)
{
	const size_t align = _Alignof(struct topic_subscriber);

	return (offsetof(struct topic_node, text) + len + align - 1) / align * align;
}

static size_t
node_size(size_t len, bool has_inline)
{
	size_t size = has_inline ? inline_offset(len) + sizeof(struct topic_subscriber)
				 : offsetof(struct topic_node, text) + len;

	return size > sizeof(struct topic_node) ? size : sizeof(struct topic_node);
}

static size_t
size_of(const struct topic_node *node)
{
	return node_size(node->len, (node->kind & TOPIC_NODE_INLINE) != 0);
}

struct topic_subscriber *
topic_node_inline(const struct topic_node *node)
{
	return (struct topic_subscriber *)((uintptr_t)node + inline_offset(node->len));
}

struct topic_node *
topic_node_new(struct topic_tree *tree, struct topic_node *parent, enum topic_node_kind kind,
    struct bytes level, const struct topic_subscriber *subscriber)
{
	struct topic_node *node = topic_tree_alloc(tree, node_size(level.len, subscriber != NULL));

	if (node == NULL) {
		return NULL;
	}
	assert(((uintptr_t)node & TAG_MASK) == 0);
	node->parent = parent;
	node->hash = 0;
	node->len = (uint16_t)level.len;
	node->kind = (uint8_t)kind;
	if (level.len != 0) {
		memcpy(node->text, level.data, level.len);
	}
	atomic_init(&node->members, 0);
	atomic_init(&node->children, 0);
	if (subscriber != NULL) {
		node->kind |= TOPIC_NODE_INLINE;
		*topic_node_inline(node) = *subscriber;
		atomic_init(&node->members, (uintptr_t)topic_node_inline(node) | 1);
	}
	return node;
}

void
topic_node_discard(struct topic_tree *tree, struct topic_node *node)
{
	topic_tree_discard(tree, node, size_of(node));
}

/* What this node is among its parent's children; a count, or a flag. */
static uint32_t
share_of_children(const struct topic_node *node)
{
	if ((node->kind & TOPIC_NODE_SHARE) != 0) {
		return 0;
	}
	if (node->len == 1 && node->text[0] == '#') {
		return TOPIC_HAS_HASH;
	}
	return node->len == 1 && node->text[0] == '+' ? TOPIC_HAS_PLUS : 1;
}

static void
set_children(struct topic_node *node, uint32_t children)
{
	atomic_store_explicit(&node->children, children, memory_order_release);
}

static uint32_t
children_of(const struct topic_node *node)
{
	return atomic_load_explicit(&node->children, memory_order_relaxed);
}

/* --- the table; writers --- */

/* The place for a node that is not there: the first grave or empty slot. */
static uint32_t
free_slot(const struct topic_table *table, uint32_t hash)
{
	uint32_t i = place_of(table, hash);

	while (is_node(atomic_load_explicit(&table->slots[i], memory_order_relaxed))) {
		i = behind(table, i);
	}
	return i;
}

static void
fill_table(struct topic_table *table, const struct topic_table *old)
{
	for (size_t i = 0; old != NULL && i < old->cap; i++) {
		uintptr_t slot = atomic_load_explicit(&old->slots[i], memory_order_relaxed);

		if (is_node(slot)) {
			uint32_t at = free_slot(table, node_at(slot)->hash);

			atomic_store_explicit(&table->slots[at], slot, memory_order_relaxed);
		}
	}
}

/* Rebuilds a part for so many nodes. False without memory; then it is as it was. */
static bool
rebuild(struct topic_tree *tree, struct worker *worker, size_t part, size_t count)
{
	struct topic_table *old = atomic_load_explicit(&tree->tables[part], memory_order_relaxed);
	struct topic_table *table;
	size_t slots = count * 2 > SMALLEST_TABLE ? count * 2 : SMALLEST_TABLE;

	table = topic_tree_alloc(tree, table_size(slots));
	if (table == NULL) {
		return false;
	}
	table->cap = (uint32_t)slots;
	for (size_t i = 0; i < slots; i++) {
		atomic_init(&table->slots[i], 0);
	}
	fill_table(table, old);
	atomic_store_explicit(&tree->tables[part], table, memory_order_release);
	tree->fill[part].used = tree->fill[part].live;
	if (old != NULL) {
		topic_tree_retire(tree, worker, old, table_size(old->cap));
	}
	return true;
}

static bool
has_slot(const struct topic_tree *tree, size_t part)
{
	const struct topic_table *table =
	    atomic_load_explicit(&tree->tables[part], memory_order_relaxed);

	return table != NULL && ((size_t)tree->fill[part].used + 1) * 4 <= (size_t)table->cap * 3;
}

bool
topic_node_link(
    struct topic_tree *tree, struct worker *worker, struct topic_node *node, uint64_t level_hash)
{
	uint32_t hash = hash_below(node->parent, node->kind & TOPIC_NODE_SHARE, level_hash);
	size_t part = part_of(hash);
	struct topic_table *table;
	uint32_t at, share = share_of_children(node);

	if (!has_slot(tree, part) &&
	    !rebuild(tree, worker, part, (size_t)tree->fill[part].live + 1)) {
		return false;
	}
	node->hash = hash;
	table = atomic_load_explicit(&tree->tables[part], memory_order_relaxed);
	at = free_slot(table, hash);
	tree->fill[part].live++;
	if (atomic_load_explicit(&table->slots[at], memory_order_relaxed) == 0) {
		tree->fill[part].used++;
	}
	atomic_store_explicit(
	    &table->slots[at], (uintptr_t)node | tag_of(hash), memory_order_release);
	/* After the slot: who reads the count finds the node. */
	if (share != 0) {
		set_children(node->parent, children_of(node->parent) + share);
	}
	return true;
}

/* Graves before an empty slot are of no use. */
static void
clear_graves(struct topic_tree *tree, size_t part, struct topic_table *table, uint32_t at)
{
	if (atomic_load_explicit(&table->slots[behind(table, at)], memory_order_relaxed) != 0) {
		return;
	}
	while (atomic_load_explicit(&table->slots[at], memory_order_relaxed) == GRAVE) {
		atomic_store_explicit(&table->slots[at], 0, memory_order_release);
		tree->fill[part].used--;
		at = at != 0 ? at - 1 : table->cap - 1;
	}
}

static void
shrink(struct topic_tree *tree, struct worker *worker, size_t part)
{
	struct topic_table *table = atomic_load_explicit(&tree->tables[part], memory_order_relaxed);
	size_t slots = table->cap;

	if (tree->fill[part].live == 0) {
		atomic_store_explicit(&tree->tables[part], NULL, memory_order_release);
		tree->fill[part].used = 0;
		topic_tree_retire(tree, worker, table, table_size(slots));
	} else if (slots > SMALLEST_TABLE && (size_t)tree->fill[part].live * 8 < slots) {
		(void)rebuild(tree, worker, part, tree->fill[part].live);
	}
}

void
topic_node_unlink(struct topic_tree *tree, struct worker *worker, struct topic_node *node)
{
	size_t part = part_of(node->hash);
	struct topic_table *table = atomic_load_explicit(&tree->tables[part], memory_order_relaxed);
	uintptr_t slot = (uintptr_t)node | tag_of(node->hash);
	uint32_t at = place_of(table, node->hash), share = share_of_children(node);

	/* Before the slot: a reader need not look for what is about to go. */
	if (share != 0) {
		set_children(node->parent, children_of(node->parent) - share);
	}
	while (atomic_load_explicit(&table->slots[at], memory_order_relaxed) != slot) {
		at = behind(table, at);
	}
	atomic_store_explicit(&table->slots[at], GRAVE, memory_order_release);
	tree->fill[part].live--;
	clear_graves(tree, part, table, at);
	shrink(tree, worker, part);
	topic_tree_retire(tree, worker, node, size_of(node));
}

void
topic_node_prune(struct topic_tree *tree, struct worker *worker, struct topic_node *node)
{
	while (node->parent != NULL && children_of(node) == 0 &&
	       atomic_load_explicit(&node->members, memory_order_relaxed) == 0) {
		struct topic_node *parent = node->parent;

		topic_node_unlink(tree, worker, node);
		node = parent;
	}
}

void
topic_node_free_all(struct topic_tree *tree, void (*fn)(struct topic_node *node))
{
	for (size_t part = 0; part < TOPIC_TABLE_COUNT; part++) {
		struct topic_table *table =
		    atomic_load_explicit(&tree->tables[part], memory_order_relaxed);

		for (size_t i = 0; table != NULL && i < table->cap; i++) {
			uintptr_t slot =
			    atomic_load_explicit(&table->slots[i], memory_order_relaxed);
			struct topic_node *node = node_at(slot);

			if (is_node(slot)) {
				fn(node);
				mem_free(&node);
			}
		}
		mem_free(&table);
	}
}
