/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of Topic Filters with its subscribers. Readers (every worker, for each PUBLISH) take no
 * lock and write no shared cache line; writers copy what changes and swap it in under one mutex;
 * what was replaced is freed by loop/epoch. A worker that has seen an insert never un-sees it.
 *
 * A subscriber is {worker, slot, generation, …}: resolved by its owner, never a pointer. A filter
 * with 100 000 subscribers and 1 000 000 distinct filters both build in time linear in their
 * number: subscribers of a filter lie in chunks, so that adding one copies a chunk and not all.
 *
 * $share groups hang on the same nodes (topic/share.h). Filters here are checked, and full: with
 * mount point and prefix.
 */
#ifndef TOPIC_TREE_H
#define TOPIC_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "topic/share.h"
#include "topic/subscriber.h"

struct worker;
struct loop;
struct topic_tree;

struct topic_tree *topic_tree_new(void);
/* No worker runs any more. */
void topic_tree_free(struct topic_tree **tree);

/*
 * Any worker. Adds the subscriber under the filter, or replaces the one of the same {worker, slot,
 * generation}. True when it was new. 0/1; ERR_NOMEM.
 */
int topic_tree_add(struct topic_tree *tree, struct worker *worker, struct bytes filter,
    const struct topic_subscriber *subscriber);

/* Any worker. False when there was none. */
bool topic_tree_remove(struct topic_tree *tree, struct worker *worker, struct bytes filter,
    uint16_t subscriber_worker, uint32_t slot, uint32_t generation);

/*
 * The same for a member of a shared group (ShareName, filter without $share/NAME/). `state` is the
 * member's word, see topic/share.h; it is shared by all groups of the session and outlives its
 * memberships: the tree frees nothing of it. topic_tree_share_remove returns after which no new
 * reader finds it; readers of this turn may.
 */
int topic_tree_share_add(struct topic_tree *tree, struct worker *worker, struct bytes share_name,
    struct bytes filter, const struct topic_subscriber *subscriber,
    struct topic_member_state *state);
bool topic_tree_share_remove(struct topic_tree *tree, struct worker *worker,
    struct bytes share_name, struct bytes filter, uint16_t subscriber_worker, uint32_t slot,
    uint32_t generation);

/*
 * What a topic matches. The caller's function is called for each run of subscribers of one matching
 * filter (a pointer and a count; as many calls as chunks), and for each matching group. Views are
 * good until the end of the worker's turn. Does not allocate. A filter that begins with a wildcard
 * does not match a topic that begins with $ [MQTT-4.7.2-1].
 */
struct topic_match_ops {
	void (*subscribers)(void *arg, const struct topic_subscriber *subscribers, uint32_t count);
	void (*group)(void *arg, const struct topic_group *group);
};
void topic_tree_match(const struct topic_tree *tree, struct bytes topic,
    const struct topic_match_ops *ops, void *arg);

/*
 * A number that is another one after each change: what a worker matched while it was the same is
 * what it would match now. Read it before the match. TOPIC_TREE_CHANGING: a change is being made,
 * and what is matched now must not be remembered. Any worker.
 */
#define TOPIC_TREE_CHANGING UINT64_MAX
uint64_t topic_tree_version(const struct topic_tree *tree);

/* Is there any subscription whose filter begins with this first level ("$SYS")? Any worker. */
bool topic_tree_has_level(const struct topic_tree *tree, struct bytes first_level);

/* The group of this name and filter, or NULL; good until the end of the turn. */
const struct topic_group *topic_tree_find_group(
    const struct topic_tree *tree, struct bytes share_name, struct bytes filter);

/* Any thread, approximate while writers run: subscriptions (shared ones too), shared ones, and
 * filters. */
struct topic_tree_stats {
	uint64_t subscriptions;
	uint64_t shared_subscriptions;
	uint64_t filters;
	uint64_t memory; /* bytes, without what waits for its epoch */
};
void topic_tree_stats(const struct topic_tree *tree, struct topic_tree_stats *stats_out);

#endif
