/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the retained store.
 *
 * An entry is found by its topic's hash in one of the shards. While it has a message it stands also
 * in the index, which is ordered. Locks: a shard's lock guards the shard and its entries' messages
 * and versions; the index's lock guards the towers. A shard's lock may be held when the index's is
 * taken, never the other way round: a walk takes a reference on the entry that it has found, gives
 * the index back and then looks into the entry under its shard's lock.
 *
 * An entry is freed when it has no message and no references, under its shard's lock. References
 * are taken under the shard's lock or, by walks, under the index's lock while the entry stands in
 * the index; so none is taken any more after it was found without message and references.
 */
#ifndef TOPIC_RETAIN_INT_H
#define TOPIC_RETAIN_INT_H

#include <stdatomic.h>

#include "base/lock.h"
#include "base/vec.h"
#include "topic/retain.h"

enum {
	TOPIC_SHARD_COUNT = 64,
	TOPIC_INDEX_HEIGHT = 12, /* a quarter is one higher: for 4^12 topics */
};

struct topic_retained {
	struct topic_retained *next; /* in its bucket */
	_Atomic(struct msg *) msg;   /* NULL: a tombstone; under the shard's lock, but for hints */
	uint64_t version;            /* of the last change */
	struct msg_applied applied;  /* the store's thread */
	_Atomic uint32_t refs;       /* operations and walks */
	uint16_t topic_len;
	uint8_t height;
	bool is_buried;                 /* stands among the shard's graves */
	struct topic_retained *tower[]; /* `height` in the index; then the topic */
};

/* A skip list over the entries with messages. How high an entry stands follows from its keyed hash.
 */
struct topic_index {
	struct lock lock;
	uint64_t removals; /* of entries, ever */
	struct topic_retained *head[TOPIC_INDEX_HEIGHT];
};

/* A place in the order: the text a, b. */
struct topic_index_key {
	struct bytes a;
	struct bytes b;
	enum {
		TOPIC_INDEX_AT,     /* the text itself or the first behind it */
		TOPIC_INDEX_NEXT,   /* the first behind it */
		TOPIC_INDEX_BEYOND, /* the first behind it and all below it */
	} mode;
};

struct topic_shard {
	struct lock lock;
	struct topic_retained **buckets;
	size_t bucket_count;
	size_t entry_count;
	size_t expiring_count;               /* messages that can expire */
	VEC(struct topic_retained *) graves; /* were tombstones; looked through again and again */
	size_t grave_at;
};

struct topic_retain {
	struct hash_key key;
	_Atomic uint64_t version; /* the last one drawn */
	_Atomic uint64_t messages;
	_Atomic uint64_t bytes;
	_Atomic uint64_t max_messages;
	_Atomic uint64_t max_bytes;
	size_t sweep_shard; /* main only */
	size_t sweep_bucket;
	struct topic_index index;
	struct topic_shard shards[TOPIC_SHARD_COUNT];
};

static inline struct bytes
topic_entry_topic(const struct topic_retained *entry)
{
	return (struct bytes){
	    (const uint8_t *)entry->tower + entry->height * sizeof(entry->tower[0]),
	    entry->topic_len};
}

/* --- index.c; the caller holds the index's lock --- */

void topic_index_insert(struct topic_index *index, struct topic_retained *entry);
void topic_index_remove(struct topic_index *index, struct topic_retained *entry);
/* The first entry at or behind the key, or NULL. last: an entry that stands there and before the
 * key, from which the way may be short; NULL: none is known. */
struct topic_retained *topic_index_seek(const struct topic_index *index,
    const struct topic_retained *last, const struct topic_index_key *key);

/* --- retain.c --- */

/* The entry's message with a reference, if it has one that has not expired. */
struct msg *topic_retained_msg(struct topic_retain *retain, struct topic_retained *entry,
    int64_t mono_ms, uint64_t *version_out);
/* The same by name. */
struct msg *topic_retain_look_up(
    struct topic_retain *retain, struct bytes topic, int64_t mono_ms, uint64_t *version_out);

#endif
