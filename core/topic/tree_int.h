/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the tree of filters.
 *
 * A node is a level of a filter below its parent. Nodes do not hold their children: one hash table
 * for the whole tree, in TOPIC_TABLE_COUNT parts that grow by themselves, finds a child by (parent,
 * level). So a node is small, and a node with a million children costs what a million nodes with
 * one cost. A shared group is such a child too, of kind TOPIC_NODE_SHARE, so that it is found by
 * its name.
 *
 * Reading without a lock: everything that a reader follows is an atomic word that a writer replaces
 * (release) when what it will point to is complete (acquire). A node's parent, level and hash never
 * change. What is taken out is given to epoch_retire by a writer after no word leads to it any
 * more; a reader that stands on it may go on from there until its turn ends. A worker never un-sees
 * an insert: a word that it has read never shows it an older value again, an item stays behind the
 * same word while it exists, and when a table or a set is rebuilt, the new one is complete before
 * the word above it leads to it.
 *
 * Writing: everything else, and every store, is under tree->lock.
 */
#ifndef TOPIC_TREE_INT_H
#define TOPIC_TREE_INT_H

#include <stdatomic.h>

#include "base/hash.h"
#include "base/lock.h"
#include "topic/tree.h"

enum topic_node_kind {
	TOPIC_NODE_LEVEL = 0,
	TOPIC_NODE_SHARE = 1,  /* a ShareName below its filter's node */
	TOPIC_NODE_INLINE = 2, /* or-ed: a subscriber lies behind the text */
};

enum { TOPIC_TABLE_COUNT = 256 };

/* In topic_node.children; the other bits count the children that are literal levels. */
#define TOPIC_HAS_HASH (UINT32_C(1) << 31)
#define TOPIC_HAS_PLUS (UINT32_C(1) << 30)
#define TOPIC_LITERALS (TOPIC_HAS_PLUS - 1)

struct topic_node {
	struct topic_node *parent; /* NULL: the root */
	_Atomic uintptr_t
	    members; /* of a level: see members.c; of a share: its struct topic_share */
	uint32_t hash;
	_Atomic uint32_t children;
	uint16_t len;
	uint8_t kind;
	uint8_t text[]; /* the level; then, aligned, the subscriber of TOPIC_NODE_INLINE */
};

struct topic_share {
	_Atomic(struct topic_share *) next; /* of the same filter */
	struct topic_share *prev;           /* writers only */
	_Atomic(struct topic_group *) group;
	struct topic_node *node;
	struct topic_member_array *array; /* writers only: where the group's members lie */
	uint32_t live_count;              /* of those that have not left; writers only */
	uint32_t persistent_count;        /* of them */
	uint32_t text_len;
	uint8_t text[]; /* $share/NAME/FILTER */
};

struct topic_chunk;
struct topic_table;

/* The members of a filter that has more than one subscriber, or groups. */
struct topic_set {
	_Atomic(struct topic_share *) shares;
	uint32_t count; /* of subscribers; writers only */
	uint32_t mask;  /* number of chunks - 1 */
	_Atomic(struct topic_chunk *) chunks[];
};

struct topic_tree {
	/* For readers. */
	struct topic_node *root;
	_Atomic uint64_t version; /* odd: a change is being made */
	struct hash_key key;      /* drawn with the first filter */
	uint64_t hash_of_plus;
	uint64_t hash_of_hash;
	_Atomic(struct topic_table *) tables[TOPIC_TABLE_COUNT];
	uint8_t gap[64];

	/* For writers. */
	struct lock lock; /* guards all that follows, and every change of the above */
	struct {
		uint32_t live;
		uint32_t used; /* live ones and what deleted ones left behind */
	} fill[TOPIC_TABLE_COUNT];
	uint64_t group_count; /* ever made */
	bool has_key;
	_Atomic uint64_t subscriptions; /* these are read by anybody */
	_Atomic uint64_t shared;
	_Atomic uint64_t filters;
	_Atomic uint64_t memory;
};

/* --- tree.c: the memory of the tree, counted; writers --- */

/* NULL without memory. */
void *topic_tree_alloc(struct topic_tree *tree, size_t size);
/* For what makes things smaller: never NULL. */
void *topic_tree_alloc_surely(struct topic_tree *tree, size_t size);
/* What readers may see; and what was never shown. NULL is allowed. */
void topic_tree_retire(struct topic_tree *tree, struct worker *worker, void *memory, size_t size);
void topic_tree_discard(struct topic_tree *tree, void *memory, size_t size);

/* --- node.c --- */

/* Any thread. The tree has a key, which is so when the root has children. */
uint64_t topic_level_hash(const struct topic_tree *tree, struct bytes level);
struct topic_node *topic_node_find(const struct topic_tree *tree, const struct topic_node *parent,
    enum topic_node_kind kind, struct bytes level, uint64_t level_hash);

/* Writers. A node that nobody sees yet; with a subscriber it has that as its only member. NULL
 * without memory. */
struct topic_node *topic_node_new(struct topic_tree *tree, struct topic_node *parent,
    enum topic_node_kind kind, struct bytes level, const struct topic_subscriber *subscriber);
void topic_node_discard(struct topic_tree *tree, struct topic_node *node);
/* Shows it. False without memory: then the caller still owns it. */
bool topic_node_link(
    struct topic_tree *tree, struct worker *worker, struct topic_node *node, uint64_t level_hash);
/* Takes it out and retires it, not what it leads to. */
void topic_node_unlink(struct topic_tree *tree, struct worker *worker, struct topic_node *node);
/* Unlinks the node and those above it as far as they are empty. */
void topic_node_prune(struct topic_tree *tree, struct worker *worker, struct topic_node *node);
/* Where the subscriber of TOPIC_NODE_INLINE lies. */
struct topic_subscriber *topic_node_inline(const struct topic_node *node);
/* When no thread reads: calls fn for each node, then frees node and tables. */
void topic_node_free_all(struct topic_tree *tree, void (*fn)(struct topic_node *node));

/* --- members.c --- */

/* 1 new, 0 replaced, ERR_NOMEM. */
int topic_members_add(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    const struct topic_subscriber *subscriber);
/* key: worker, slot and generation count. */
bool topic_members_remove(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    const struct topic_subscriber *key);
/* The node's set, made if need be; NULL without memory. */
struct topic_set *topic_members_set(
    struct topic_tree *tree, struct worker *worker, struct topic_node *node);
/* Drops a set that holds nothing. */
void topic_members_settle(struct topic_tree *tree, struct worker *worker, struct topic_node *node);
/* Readers. */
void topic_members_show(
    const struct topic_node *node, const struct topic_match_ops *ops, void *arg);
/* When no thread reads. */
void topic_members_free(struct topic_node *node);

static inline bool
topic_subscriber_is(const struct topic_subscriber *a, const struct topic_subscriber *b)
{
	return a->slot == b->slot && a->generation == b->generation && a->worker == b->worker;
}

/* --- share.c --- */

/* As topic_members_add; the filter is for the group's name. */
int topic_share_add(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    struct bytes share_name, struct bytes filter, const struct topic_group_member *member);
bool topic_share_remove(struct topic_tree *tree, struct worker *worker, struct topic_node *node,
    struct bytes share_name, const struct topic_subscriber *key);
/* Any thread: the group below the filter's node, or NULL. */
const struct topic_group *topic_share_find(
    const struct topic_tree *tree, const struct topic_node *node, struct bytes share_name);
/* When no thread reads: the share of a node of kind TOPIC_NODE_SHARE. */
void topic_share_free(struct topic_node *node);

#endif
