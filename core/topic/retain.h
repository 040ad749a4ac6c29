/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retained messages with versions (flow 5). Sharded by topic, locked inside; any worker. Beside the
 * look-up by name all topics stand in one order, level by level and bytes within a level, so that a
 * wildcard costs what it matches, and a position (a topic) survives inserts and deletes.
 *
 * A deleted topic's entry stays as a tombstone while the store refers to it (a reference), and is
 * used again if the topic returns.
 */
#ifndef TOPIC_RETAIN_H
#define TOPIC_RETAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "msg/applied.h"

struct topic_retain;
struct topic_retained; /* one topic's entry */

struct topic_retain *topic_retain_new(struct hash_key key);
void topic_retain_free(struct topic_retain **retain);

/* Limits, 0 = none; may change at any time from main. */
void topic_retain_set_limits(
    struct topic_retain *retain, uint64_t max_messages, uint64_t max_bytes);

/*
 * Called under the lock of the topic's shard, after the change: writes the store's operation, so
 * that the order of versions is the order of the log per topic. msg NULL: the topic was deleted;
 * its name is topic_retained_topic(entry). entry: a reference for the operation, which gives it
 * back by topic_retained_release. A NULL function: nothing is stored.
 */
typedef void topic_retain_store_fn(void *arg, struct topic_retained *entry,
    struct msg_applied *applied, struct msg *msg, uint64_t version);

enum topic_retain_result {
	TOPIC_RETAIN_KEPT,
	TOPIC_RETAIN_DELETED,
	TOPIC_RETAIN_NOTHING,
	TOPIC_RETAIN_FULL
};

/*
 * Replaces the topic's message (an empty payload deletes it) and draws a version for it.
 * version_out: 0 when nothing was changed for a limit. Takes its own reference on msg. FULL: a
 * limit was reached (or memory) and the topic is new, or its message would grow beyond max_bytes;
 * what was there stays. A message that has expired is deleted when it is met. The broker's own
 * values ($SYS/…) have the version 0, and neither limits nor stats count them.
 */
enum topic_retain_result topic_retain_put(struct topic_retain *retain, struct msg *msg,
    topic_retain_store_fn *store, void *arg, uint64_t *version_out);

/* Would topic_retain_put take a new topic of this size? For refusing before anything is done. */
bool topic_retain_has_room(struct topic_retain *retain, struct bytes topic, size_t size);

/* Any thread: gives back the entry's reference of a store operation. Takes no lock. All are given
 * back before topic_retain_free. */
void topic_retained_release(void *entry);

/* Any thread that holds a reference, and the store function. */
struct bytes topic_retained_topic(const struct topic_retained *entry);

/* The counter of versions, by a read-modify-write: whoever draws a version later sees what the
 * caller did before (asof). */
uint64_t topic_retain_asof(struct topic_retain *retain);

/* Before workers run: at load. Versions go on above. The message's reference is taken over. */
void topic_retain_load(struct topic_retain *retain, struct msg *msg, uint64_t version);

/* One message, with a reference for the caller, or NULL; one that has expired by the thread's
 * context is not there. */
struct msg *topic_retain_get(
    struct topic_retain *retain, struct bytes topic, uint64_t *version_out);

/*
 * A walk over the messages that a filter matches, in steps. The position is the last topic visited
 * (as levels' hashes and names are found again from it), owned by the cursor.
 */
struct topic_retain_cursor {
	char *filter;      /* owned, NUL terminated, checked */
	uint8_t *position; /* owned; NULL at the start */
	uint32_t filter_len;
	uint32_t position_len;
	const struct topic_retained *last; /* the entry of the position … */
	uint64_t seen_removals;            /* … which stands there unless one was removed */
	bool is_exact;                     /* no wildcard: one look-up */
	bool done;
};

void topic_retain_cursor_init(struct topic_retain_cursor *cursor, struct bytes filter);
void topic_retain_cursor_fini(struct topic_retain_cursor *cursor);
void topic_retain_cursor_restart(struct topic_retain_cursor *cursor);

/*
 * The next message, with a reference for the caller, and its version; NULL: none within `budget`
 * visited nodes (cursor->done says whether the walk is over). budget is decreased by the work done.
 * Skips what has expired at mono_ms.
 */
struct msg *topic_retain_next(struct topic_retain *retain, struct topic_retain_cursor *cursor,
    int64_t mono_ms, unsigned *budget, uint64_t *version_out);

/* Removes what has expired, at most `budget` entries per call, going round; main, now and then.
 * store as in put. */
void topic_retain_sweep(struct topic_retain *retain, int64_t mono_ms, unsigned budget,
    topic_retain_store_fn *store, void *arg);

/* Any thread. */
struct topic_retain_stats {
	uint64_t messages;
	uint64_t bytes; /* of the messages as msg_size counts them */
};
void topic_retain_stats(const struct topic_retain *retain, struct topic_retain_stats *stats_out);

#endif
