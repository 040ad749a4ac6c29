/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of filters: making and pruning paths, and matching.
 *
 * A match is a walk through the tree, depth first: from a node to the child of the topic's next
 * level, else to the child `+`; where it ends it goes back to the parent, and from a literal child
 * on to the `+` beside it. Going back needs the parent alone, so the walk needs no memory that
 * grows with the topic: a topic of 65 535 levels is as safe as a short one. The hashes of the first
 * levels are kept, since a level is looked up below several nodes.
 */
#include "topic/tree.h"

#include "base/err.h"
#include "base/mem.h"
#include "loop/epoch.h"
#include "loop/worker.h"
#include "topic/tree_int.h"
#include "wire/topic_name.h"

enum { KEPT_HASHES = 32 };

static const struct bytes plus_level = {(const uint8_t *)"+", 1};
static const struct bytes hash_level = {(const uint8_t *)"#", 1};

/* --- memory --- */

/* What malloc makes of a size: a word of its own, and a multiple of 16. */
static uint64_t
footprint(size_t size)
{
	return (size + 8 + 15) / 16 * 16;
}

static void
add_to(_Atomic uint64_t *value, uint64_t n)
{
	/* The lock is held: nobody else writes it. */
	atomic_store_explicit(
	    value, atomic_load_explicit(value, memory_order_relaxed) + n, memory_order_relaxed);
}

void *
topic_tree_alloc(struct topic_tree *tree, size_t size)
{
	void *memory = mem_try_alloc(size);

	if (memory != NULL) {
		add_to(&tree->memory, footprint(size));
	}
	return memory;
}

void *
topic_tree_alloc_surely(struct topic_tree *tree, size_t size)
{
	add_to(&tree->memory, footprint(size));
	return mem_alloc(size);
}

void
topic_tree_retire(struct topic_tree *tree, struct worker *worker, void *memory, size_t size)
{
	add_to(&tree->memory, -footprint(size));
	epoch_retire(worker, memory, free);
}

void
topic_tree_discard(struct topic_tree *tree, void *memory, size_t size)
{
	if (memory != NULL) {
		add_to(&tree->memory, -footprint(size));
		mem_free(&memory);
	}
}

struct topic_tree *
topic_tree_new(void)
{
	struct topic_tree *tree = mem_zalloc(sizeof(*tree));

	lock_init(&tree->lock);
	tree->root = topic_node_new(tree, NULL, TOPIC_NODE_LEVEL, bytes_make(NULL, 0), NULL);
	if (tree->root == NULL) {
		err_fatal("no memory for the tree of topic filters");
	}
	return tree;
}

static void
free_contents(struct topic_node *node)
{
	if ((node->kind & TOPIC_NODE_SHARE) != 0) {
		topic_share_free(node);
	} else {
		topic_members_free(node);
	}
}

void
topic_tree_free(struct topic_tree **tree)
{
	if (*tree != NULL) {
		topic_node_free_all(*tree, free_contents);
		mem_free(&(*tree)->root);
		lock_fini(&(*tree)->lock);
		mem_free(tree);
	}
}

/* --- paths --- */

/* The key is drawn by the first writer; readers use it after they saw that the root has children.
 */
static void
draw_key(struct topic_tree *tree, struct worker *worker)
{
	if (!tree->has_key) {
		worker_random_fill(worker, &tree->key, sizeof(tree->key));
		tree->hash_of_plus = topic_level_hash(tree, plus_level);
		tree->hash_of_hash = topic_level_hash(tree, hash_level);
		tree->has_key = true;
	}
}

static uint32_t
children_of(const struct topic_node *node)
{
	return atomic_load_explicit(&node->children, memory_order_acquire);
}

/* The filter's node, or NULL. Readers and writers. */
static struct topic_node *
find_path(const struct topic_tree *tree, struct bytes filter)
{
	struct wire_topic_levels levels = wire_topic_levels_of(filter);
	struct topic_node *node = tree->root;
	struct bytes level;

	while (node != NULL && wire_topic_next_level(&levels, &level)) {
		node = children_of(node) == 0 ? NULL
					      : topic_node_find(tree, node, TOPIC_NODE_LEVEL, level,
						    topic_level_hash(tree, level));
	}
	return node;
}

/* A new child, shown. NULL without memory. */
static struct topic_node *
make_child(struct topic_tree *tree, struct worker *worker, struct topic_node *parent,
    struct bytes level, const struct topic_subscriber *subscriber)
{
	struct topic_node *child =
	    topic_node_new(tree, parent, TOPIC_NODE_LEVEL, level, subscriber);

	if (child != NULL && !topic_node_link(tree, worker, child, topic_level_hash(tree, level))) {
		topic_node_discard(tree, child);
		child = NULL;
	}
	return child;
}

/* The filter's node, made at need; when its last level is made, the subscriber is put into it.
 * NULL without memory: then nothing has changed. */
static struct topic_node *
make_path(struct topic_tree *tree, struct worker *worker, struct bytes filter,
    const struct topic_subscriber *subscriber, bool *placed_out)
{
	struct wire_topic_levels levels = wire_topic_levels_of(filter);
	struct topic_node *node = tree->root;
	struct bytes level;

	draw_key(tree, worker);
	*placed_out = false;
	while (wire_topic_next_level(&levels, &level)) {
		struct topic_node *child = topic_node_find(
		    tree, node, TOPIC_NODE_LEVEL, level, topic_level_hash(tree, level));

		if (child == NULL) {
			*placed_out = !levels.more && subscriber != NULL;
			child =
			    make_child(tree, worker, node, level, *placed_out ? subscriber : NULL);
		}
		if (child == NULL) {
			topic_node_prune(tree, worker, node);
			return NULL;
		}
		node = child;
	}
	return node;
}

static bool
has_members(const struct topic_node *node)
{
	return atomic_load_explicit(&node->members, memory_order_relaxed) != 0;
}

/* --- changes --- */

/*
 * The version is odd from before the first thing that a reader may see of a change until after the
 * last one: who has seen any of it, by an acquire, cannot read the old version any more.
 */
static void
begin_change(struct topic_tree *tree)
{
	lock_take(&tree->lock);
	(void)atomic_fetch_add_explicit(&tree->version, 1, memory_order_relaxed);
}

static void
end_change(struct topic_tree *tree)
{
	(void)atomic_fetch_add_explicit(&tree->version, 1, memory_order_release);
	lock_give(&tree->lock);
}

uint64_t
topic_tree_version(const struct topic_tree *tree)
{
	uint64_t version = atomic_load_explicit(&tree->version, memory_order_acquire);

	return (version & 1) == 0 ? version : TOPIC_TREE_CHANGING;
}

int
topic_tree_add(struct topic_tree *tree, struct worker *worker, struct bytes filter,
    const struct topic_subscriber *subscriber)
{
	struct topic_node *node;
	bool placed, was_filter;
	int outcome = ERR_NOMEM;

	begin_change(tree);
	node = make_path(tree, worker, filter, subscriber, &placed);
	if (node != NULL) {
		was_filter = !placed && has_members(node);
		outcome = placed ? 1 : topic_members_add(tree, worker, node, subscriber);
		add_to(&tree->filters, !was_filter && has_members(node));
		add_to(&tree->subscriptions, outcome == 1);
		topic_node_prune(tree, worker, node);
	}
	end_change(tree);
	return outcome;
}

/* After members of the node were taken away. */
static void
close_removal(struct topic_tree *tree, struct worker *worker, struct topic_node *node)
{
	add_to(&tree->subscriptions, (uint64_t)-1);
	if (!has_members(node)) {
		add_to(&tree->filters, (uint64_t)-1);
		topic_node_prune(tree, worker, node);
	}
}

bool
topic_tree_remove(struct topic_tree *tree, struct worker *worker, struct bytes filter,
    uint16_t subscriber_worker, uint32_t slot, uint32_t generation)
{
	const struct topic_subscriber key = {
	    .worker = subscriber_worker, .slot = slot, .generation = generation};
	struct topic_node *node;
	bool removed;

	begin_change(tree);
	node = find_path(tree, filter);
	removed = node != NULL && topic_members_remove(tree, worker, node, &key);
	if (removed) {
		close_removal(tree, worker, node);
	}
	end_change(tree);
	return removed;
}

int
topic_tree_share_add(struct topic_tree *tree, struct worker *worker, struct bytes share_name,
    struct bytes filter, const struct topic_subscriber *subscriber,
    struct topic_member_state *state)
{
	const struct topic_group_member member = {*subscriber, state};
	struct topic_node *node;
	bool placed, was_filter;
	int outcome = ERR_NOMEM;

	begin_change(tree);
	node = make_path(tree, worker, filter, NULL, &placed);
	if (node != NULL) {
		was_filter = has_members(node);
		outcome = topic_share_add(tree, worker, node, share_name, filter, &member);
		topic_members_settle(tree, worker, node);
		add_to(&tree->filters, !was_filter && has_members(node));
		add_to(&tree->subscriptions, outcome == 1);
		add_to(&tree->shared, outcome == 1);
		topic_node_prune(tree, worker, node);
	}
	end_change(tree);
	return outcome;
}

bool
topic_tree_share_remove(struct topic_tree *tree, struct worker *worker, struct bytes share_name,
    struct bytes filter, uint16_t subscriber_worker, uint32_t slot, uint32_t generation)
{
	const struct topic_subscriber key = {
	    .worker = subscriber_worker, .slot = slot, .generation = generation};
	struct topic_node *node;
	bool removed;

	begin_change(tree);
	node = find_path(tree, filter);
	removed = node != NULL && topic_share_remove(tree, worker, node, share_name, &key);
	if (removed) {
		add_to(&tree->shared, (uint64_t)-1);
		close_removal(tree, worker, node);
	}
	end_change(tree);
	return removed;
}

/* --- matching --- */

struct walk {
	const struct topic_tree *tree;
	const struct topic_match_ops *ops;
	void *arg;
	struct bytes topic;
	const struct topic_node *node; /* where it stands */
	size_t start; /* the level below it lies from here; behind the topic: there is none */
	size_t end;   /* to here */
	unsigned depth;
	uint32_t known_hashes; /* a bit per level */
	bool is_dollar;        /* wildcards of the first level do not count */
	uint64_t hashes[KEPT_HASHES];
};

static void
set_level(struct walk *walk, size_t start)
{
	const uint8_t *slash;

	walk->start = start;
	if (start > walk->topic.len) {
		return;
	}
	slash = start < walk->topic.len
		    ? memchr(walk->topic.data + start, '/', walk->topic.len - start)
		    : NULL;
	walk->end = slash != NULL ? (size_t)(slash - walk->topic.data) : walk->topic.len;
}

static void
go_down(struct walk *walk, const struct topic_node *node)
{
	walk->node = node;
	walk->depth++;
	set_level(walk, walk->end + 1);
}

/* To the parent: the level becomes the one that led here. */
static void
go_up(struct walk *walk)
{
	walk->node = walk->node->parent;
	walk->depth--;
	walk->end = walk->start - 1;
	walk->start = walk->end;
	while (walk->start > 0 && walk->topic.data[walk->start - 1] != '/') {
		walk->start--;
	}
}

static uint64_t
hash_here(struct walk *walk, struct bytes level)
{
	if (walk->depth >= KEPT_HASHES) {
		return topic_level_hash(walk->tree, level);
	}
	if ((walk->known_hashes >> walk->depth & 1) == 0) {
		walk->hashes[walk->depth] = topic_level_hash(walk->tree, level);
		walk->known_hashes |= UINT32_C(1) << walk->depth;
	}
	return walk->hashes[walk->depth];
}

static const struct topic_node *
literal_child(struct walk *walk)
{
	struct bytes level = bytes_make(walk->topic.data + walk->start, walk->end - walk->start);

	return topic_node_find(
	    walk->tree, walk->node, TOPIC_NODE_LEVEL, level, hash_here(walk, level));
}

static bool
may_be_wild(const struct walk *walk)
{
	return !walk->is_dollar || walk->node != walk->tree->root; /* [MQTT-4.7.2-1] */
}

static const struct topic_node *
plus_child(const struct walk *walk)
{
	return topic_node_find(
	    walk->tree, walk->node, TOPIC_NODE_LEVEL, plus_level, walk->tree->hash_of_plus);
}

static void
show_hash_child(const struct walk *walk)
{
	const struct topic_node *node = topic_node_find(
	    walk->tree, walk->node, TOPIC_NODE_LEVEL, hash_level, walk->tree->hash_of_hash);

	if (node != NULL) {
		topic_members_show(node, walk->ops, walk->arg);
	}
}

/* What the node itself gives; then the child to go to, or NULL. */
static const struct topic_node *
visit(struct walk *walk)
{
	uint32_t children = children_of(walk->node);
	const struct topic_node *child = NULL;

	if ((children & TOPIC_HAS_HASH) != 0 && may_be_wild(walk)) {
		show_hash_child(walk); /* also of the parent level */
	}
	if (walk->start > walk->topic.len) {
		topic_members_show(walk->node, walk->ops, walk->arg);
		return NULL;
	}
	if ((children & TOPIC_LITERALS) != 0) {
		child = literal_child(walk);
	}
	if (child == NULL && (children & TOPIC_HAS_PLUS) != 0 && may_be_wild(walk)) {
		child = plus_child(walk);
	}
	return child;
}

static bool
is_plus(const struct topic_node *node)
{
	return node->len == 1 && node->text[0] == '+';
}

/* Back to where a `+` has not been tried, and to that; NULL at the end of the walk. */
static const struct topic_node *
turn_back(struct walk *walk)
{
	const struct topic_node *child = NULL;

	while (child == NULL && walk->node->parent != NULL) {
		bool was_plus = is_plus(walk->node);

		go_up(walk);
		if (!was_plus && may_be_wild(walk) &&
		    (children_of(walk->node) & TOPIC_HAS_PLUS) != 0) {
			child = plus_child(walk);
		}
	}
	return child;
}

void
topic_tree_match(
    const struct topic_tree *tree, struct bytes topic, const struct topic_match_ops *ops, void *arg)
{
	struct walk walk;

	if (children_of(tree->root) == 0) {
		return;
	}
	walk.tree = tree;
	walk.ops = ops;
	walk.arg = arg;
	walk.topic = topic;
	walk.node = tree->root;
	walk.depth = 0;
	walk.known_hashes = 0;
	walk.is_dollar = topic.len != 0 && topic.data[0] == '$';
	set_level(&walk, 0);
	for (;;) {
		const struct topic_node *child = visit(&walk);

		if (child == NULL) {
			child = turn_back(&walk);
		}
		if (child == NULL) {
			return;
		}
		go_down(&walk, child);
	}
}

/* --- questions --- */

bool
topic_tree_has_level(const struct topic_tree *tree, struct bytes first_level)
{
	return children_of(tree->root) != 0 &&
	       topic_node_find(tree, tree->root, TOPIC_NODE_LEVEL, first_level,
		   topic_level_hash(tree, first_level)) != NULL;
}

const struct topic_group *
topic_tree_find_group(const struct topic_tree *tree, struct bytes share_name, struct bytes filter)
{
	const struct topic_node *node = find_path(tree, filter);

	return node != NULL ? topic_share_find(tree, node, share_name) : NULL;
}

void
topic_tree_stats(const struct topic_tree *tree, struct topic_tree_stats *stats_out)
{
	*stats_out = (struct topic_tree_stats){
	    .subscriptions = atomic_load_explicit(&tree->subscriptions, memory_order_relaxed),
	    .shared_subscriptions = atomic_load_explicit(&tree->shared, memory_order_relaxed),
	    .filters = atomic_load_explicit(&tree->filters, memory_order_relaxed),
	    .memory = atomic_load_explicit(&tree->memory, memory_order_relaxed)};
}
