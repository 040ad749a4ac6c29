/* SPDX-License-Identifier: Apache-2.0 */
/*
 * $share groups: one member of a group gets each message. A member session has one word, written by
 * its owner when it changes and read by publishers: is it online, and has it room. Each publishing
 * worker has its own cursor, so that members share fairly without a shared counter. When all are
 * asleep one persistent member queues, chosen by hash [flow 8].
 */
#ifndef TOPIC_SHARE_H
#define TOPIC_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "topic/subscriber.h"

enum { TOPIC_MEMBER_ONLINE = 1, TOPIC_MEMBER_HAS_ROOM = 2 };

/* One per session with shared subscriptions. Owned by the session; freed by it through
 * epoch_retire. */
struct topic_member_state {
	_Atomic uint32_t
	    word; /* or-ed TOPIC_MEMBER_…; relaxed: a hint, wrong at worst for a moment */
};

struct topic_group_member {
	struct topic_subscriber subscriber;
	_Atomic(struct topic_member_state *) state; /* NULL: it has left */
};

/* TOPIC_MEMBER_…; 0 also of who has left. */
static inline uint32_t
topic_member_word(const struct topic_group_member *member)
{
	struct topic_member_state *state =
	    atomic_load_explicit(&member->state, memory_order_acquire);

	return state != NULL ? atomic_load_explicit(&state->word, memory_order_relaxed) : 0;
}

static inline bool
topic_member_is_there(const struct topic_group_member *member)
{
	return atomic_load_explicit(&member->state, memory_order_acquire) != NULL;
}

/* Replaced when members come; who leaves only loses its state. Good until the end of the turn. Its
 * text is "$share/NAME/FILTER". */
struct topic_group {
	uint64_t id;           /* never used again; names the group in deliveries of this run */
	struct bytes name;     /* "$share/NAME/FILTER" */
	uint32_t member_count; /* at least 1; those that left are among them */
	bool has_persistent;   /* a member's session is persistent */
	const struct topic_group_member *members;
};

/* Where a worker stands in the groups: one per worker, made by the caller. A small table by group
 * id; two groups that share an entry disturb each other's fairness, nothing else. */
enum { TOPIC_CURSOR_COUNT = 1024 };
struct topic_cursors {
	uint32_t next[TOPIC_CURSOR_COUNT];
};

/*
 * Whom this message goes to: an online member with room, round robin from the worker's cursor; else
 * an online one without; else a persistent one by hash; else any. One that has left is chosen only
 * by who looks at a group that is replaced already: then its session passes the message on. Members
 * for which `exclude` says true are passed over (NULL: none) while others are there. NULL: nobody
 * is left.
 */
typedef bool topic_exclude_fn(void *arg, const struct topic_group_member *member);
const struct topic_group_member *topic_group_choose(const struct topic_group *group,
    struct topic_cursors *cursors, uint64_t hash, topic_exclude_fn *exclude, void *arg);

#endif
