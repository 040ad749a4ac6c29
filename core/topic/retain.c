/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retained messages: entries, shards, versions, limits. The walk over wildcards is in walk.c.
 *
 * Versions and the tree of filters [flow 5]: who subscribes inserts into the tree and then reads
 * the counter by a read-modify-write; who publishes draws a version and then matches. Both steps on
 * the counter acquire and release, so whoever comes second in the counter's order sees what the
 * other did before.
 *
 * Giving back an entry's reference takes no lock: it may come from the store's thread. So an entry
 * that lost its message while it was referred to lies among its shard's graves; each change of the
 * shard looks at two of them, and frees those that nothing refers to any more.
 */
#include "topic/retain.h"

#include "base/context.h"
#include "base/mem.h"
#include "topic/retain_int.h"

enum { FEWEST_BUCKETS = 8, GRAVES_PER_CHANGE = 2, BUCKETS_PER_LOCK = 64 };

/* --- the places of a hash: 6 bits shard, 26 bits bucket, 24 bits height --- */

static struct topic_shard *
shard_of(struct topic_retain *retain, uint64_t hash)
{
	return &retain->shards[hash % TOPIC_SHARD_COUNT];
}

static size_t
bucket_of(const struct topic_shard *shard, uint64_t hash)
{
	return hash / TOPIC_SHARD_COUNT & (shard->bucket_count - 1);
}

static uint8_t
height_of(uint64_t hash)
{
	uint32_t bits = (uint32_t)(hash >> 32) | UINT32_C(1) << (2 * (TOPIC_INDEX_HEIGHT - 1));

	return (uint8_t)(1 + __builtin_ctz(bits) / 2);
}

static size_t
message_size(const struct msg *msg)
{
	return msg != NULL ? msg_size(msg) : 0;
}

static bool
has_expired(const struct msg *msg, int64_t mono_ms)
{
	uint32_t left;

	return !msg_expiry_left(msg, mono_ms, &left);
}

/* Values of the broker itself are made when they are asked for: they have no version, so that a
 * replay always sends them [flow 5], and no limit of what clients may keep counts them. */
static bool
is_own(struct bytes topic)
{
	return bytes_starts_with(topic, BYTES_LITERAL("$SYS/"));
}

/* --- the store as a whole --- */

struct topic_retain *
topic_retain_new(struct hash_key key)
{
	struct topic_retain *retain = mem_zalloc(sizeof(*retain));

	retain->key = key;
	lock_init(&retain->index.lock);
	for (size_t i = 0; i < TOPIC_SHARD_COUNT; i++) {
		struct topic_shard *shard = &retain->shards[i];

		lock_init(&shard->lock);
		shard->buckets = mem_zalloc(FEWEST_BUCKETS * sizeof(shard->buckets[0]));
		shard->bucket_count = FEWEST_BUCKETS;
	}
	return retain;
}

static void
free_entry(struct topic_retained *entry)
{
	struct msg *msg = entry->msg;

	msg_unref(&msg);
	msg_unref(&entry->applied.msg);
	mem_free(&entry);
}

static void
fini_shard(struct topic_shard *shard)
{
	for (size_t i = 0; i < shard->bucket_count; i++) {
		while (shard->buckets[i] != NULL) {
			struct topic_retained *entry = shard->buckets[i];

			shard->buckets[i] = entry->next;
			free_entry(entry);
		}
	}
	mem_free(&shard->buckets);
	vec_fini(&shard->graves);
	lock_fini(&shard->lock);
}

void
topic_retain_free(struct topic_retain **retain)
{
	if (*retain == NULL) {
		return;
	}
	for (size_t i = 0; i < TOPIC_SHARD_COUNT; i++) {
		fini_shard(&(*retain)->shards[i]);
	}
	lock_fini(&(*retain)->index.lock);
	mem_free(retain);
}

void
topic_retain_set_limits(struct topic_retain *retain, uint64_t max_messages, uint64_t max_bytes)
{
	atomic_store_explicit(&retain->max_messages, max_messages, memory_order_relaxed);
	atomic_store_explicit(&retain->max_bytes, max_bytes, memory_order_relaxed);
}

void
topic_retain_stats(const struct topic_retain *retain, struct topic_retain_stats *stats_out)
{
	stats_out->messages = atomic_load_explicit(&retain->messages, memory_order_relaxed);
	stats_out->bytes = atomic_load_explicit(&retain->bytes, memory_order_relaxed);
}

uint64_t
topic_retain_asof(struct topic_retain *retain)
{
	return atomic_fetch_add_explicit(&retain->version, 0, memory_order_acq_rel);
}

static uint64_t
draw_version(struct topic_retain *retain)
{
	return atomic_fetch_add_explicit(&retain->version, 1, memory_order_acq_rel) + 1;
}

/* --- a shard; its lock is held --- */

static struct topic_retained *
find(const struct topic_shard *shard, struct bytes topic, uint64_t hash)
{
	struct topic_retained *entry = shard->buckets[bucket_of(shard, hash)];

	while (entry != NULL && !bytes_equal(topic_entry_topic(entry), topic)) {
		entry = entry->next;
	}
	return entry;
}

/* Twice the buckets, if there is memory; else the chains just grow. */
static void
grow(struct topic_retain *retain, struct topic_shard *shard)
{
	size_t old_count = shard->bucket_count;
	struct topic_retained **old = shard->buckets;
	struct topic_retained **buckets = mem_try_alloc(old_count * 2 * sizeof(buckets[0]));

	if (buckets == NULL) {
		return;
	}
	memset(buckets, 0, old_count * 2 * sizeof(buckets[0]));
	shard->buckets = buckets;
	shard->bucket_count = old_count * 2;
	for (size_t i = 0; i < old_count; i++) {
		while (old[i] != NULL) {
			struct topic_retained *entry = old[i];
			struct topic_retained **bucket = &buckets[bucket_of(
			    shard, hash_bytes(&retain->key, topic_entry_topic(entry)))];

			old[i] = entry->next;
			entry->next = *bucket;
			*bucket = entry;
		}
	}
	mem_free(&old);
}

/* A new entry without message, in the shard but not in the index. NULL without memory. */
static struct topic_retained *
make_entry(
    struct topic_retain *retain, struct topic_shard *shard, struct bytes topic, uint64_t hash)
{
	uint8_t height = height_of(hash);
	size_t tower_size = height * sizeof(struct topic_retained *);
	struct topic_retained *entry = mem_try_alloc(sizeof(*entry) + tower_size + topic.len);
	struct topic_retained **bucket;

	if (entry == NULL) {
		return NULL;
	}
	memset(entry, 0, sizeof(*entry) + tower_size);
	entry->topic_len = (uint16_t)topic.len;
	entry->height = height;
	memcpy((uint8_t *)entry->tower + tower_size, topic.data, topic.len);
	if (shard->entry_count >= shard->bucket_count * 2) {
		grow(retain, shard);
	}
	bucket = &shard->buckets[bucket_of(shard, hash)];
	entry->next = *bucket;
	*bucket = entry;
	shard->entry_count++;
	return entry;
}

static bool
is_referred_to(struct topic_retained *entry)
{
	return atomic_load_explicit(&entry->refs, memory_order_acquire) != 0;
}

static void
unlink_and_free(
    struct topic_retain *retain, struct topic_shard *shard, struct topic_retained *entry)
{
	uint64_t hash = hash_bytes(&retain->key, topic_entry_topic(entry));
	struct topic_retained **link = &shard->buckets[bucket_of(shard, hash)];

	while (*link != entry) {
		link = &(*link)->next;
	}
	*link = entry->next;
	shard->entry_count--;
	free_entry(entry);
}

/* An entry has lost its message. */
static void
bury(struct topic_retain *retain, struct topic_shard *shard, struct topic_retained *entry)
{
	if (entry->is_buried) {
		return;
	}
	if (is_referred_to(entry)) {
		entry->is_buried = true;
		vec_push(&shard->graves, entry);
	} else {
		unlink_and_free(retain, shard, entry);
	}
}

/* Looks at some graves: those that nothing refers to are freed, those that live again are left. */
static void
visit_graves(struct topic_retain *retain, struct topic_shard *shard)
{
	for (int i = 0; i < GRAVES_PER_CHANGE && shard->graves.count != 0; i++) {
		size_t at = shard->grave_at++ % shard->graves.count;
		struct topic_retained *entry = shard->graves.items[at];

		if (entry->msg != NULL) {
			entry->is_buried = false;
			vec_swap_remove(&shard->graves, at);
		} else if (!is_referred_to(entry)) {
			vec_swap_remove(&shard->graves, at);
			unlink_and_free(retain, shard, entry);
		}
	}
}

/* Gives the entry another message (or none), whose reference it takes over; returns the old one for
 * the caller to give up after the lock. */
static struct msg *
exchange(struct topic_retain *retain, struct topic_shard *shard, struct topic_retained *entry,
    struct msg *msg)
{
	struct msg *old = entry->msg;
	bool counts = !is_own(topic_entry_topic(entry));

	entry->msg = msg;
	shard->expiring_count += msg != NULL && (msg->flags & MSG_EXPIRES) != 0;
	shard->expiring_count -= old != NULL && (old->flags & MSG_EXPIRES) != 0;
	if (counts) {
		atomic_fetch_add_explicit(
		    &retain->bytes, message_size(msg) - message_size(old), memory_order_relaxed);
	}
	if ((msg != NULL) != (old != NULL)) {
		if (counts) {
			atomic_fetch_add_explicit(&retain->messages, msg != NULL ? 1 : (uint64_t)-1,
			    memory_order_relaxed);
		}
		lock_take(&retain->index.lock);
		if (msg != NULL) {
			topic_index_insert(&retain->index, entry);
		} else {
			topic_index_remove(&retain->index, entry);
		}
		lock_give(&retain->index.lock);
	}
	return old;
}

static void
store_change(struct topic_retained *entry, topic_retain_store_fn *store, void *arg)
{
	if (store != NULL) {
		atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
		store(arg, entry, &entry->applied, entry->msg, entry->version);
	}
}

/* Deletes the entry's message, which the caller gets as from exchange. Returns the version; the
 * entry may be gone. */
static uint64_t
delete_message(struct topic_retain *retain, struct topic_shard *shard, struct topic_retained *entry,
    topic_retain_store_fn *store, void *arg, struct msg **old_out)
{
	uint64_t version = draw_version(retain);

	*old_out = exchange(retain, shard, entry, NULL);
	entry->version = version;
	store_change(entry, store, arg);
	bury(retain, shard, entry);
	return version;
}

/* --- changes --- */

/* Would a message of this size fit in the place of one of old_size (0: there is none)? */
static bool
has_room(const struct topic_retain *retain, size_t old_size, size_t size)
{
	uint64_t max_messages = atomic_load_explicit(&retain->max_messages, memory_order_relaxed);
	uint64_t max_bytes = atomic_load_explicit(&retain->max_bytes, memory_order_relaxed);
	struct topic_retain_stats stats;

	topic_retain_stats(retain, &stats);
	if (old_size == 0 && max_messages != 0 && stats.messages >= max_messages) {
		return false;
	}
	return max_bytes == 0 || size <= old_size ||
	       (size - old_size <= max_bytes && stats.bytes <= max_bytes - (size - old_size));
}

bool
topic_retain_has_room(struct topic_retain *retain, struct bytes topic, size_t size)
{
	uint64_t hash = hash_bytes(&retain->key, topic);
	struct topic_shard *shard = shard_of(retain, hash);
	const struct topic_retained *entry;
	size_t old_size;

	lock_take(&shard->lock);
	entry = find(shard, topic, hash);
	old_size = entry != NULL ? message_size(entry->msg) : 0;
	lock_give(&shard->lock);
	return has_room(retain, old_size, size);
}

static enum topic_retain_result
put_delete(struct topic_retain *retain, struct topic_shard *shard, struct topic_retained *entry,
    topic_retain_store_fn *store, void *arg, uint64_t *version_out, struct msg **old_out)
{
	if (entry == NULL || entry->msg == NULL) {
		*version_out = draw_version(retain);
		/* Nothing is there any more, but that may not be durable yet: what is told of this
		 * deletion must wait for it, too. */
		if (entry != NULL && is_referred_to(entry)) {
			entry->version = *version_out;
			store_change(entry, store, arg);
		}
		return TOPIC_RETAIN_NOTHING;
	}
	*version_out = delete_message(retain, shard, entry, store, arg, old_out);
	return TOPIC_RETAIN_DELETED;
}

enum topic_retain_result
topic_retain_put(struct topic_retain *retain, struct msg *msg, topic_retain_store_fn *store,
    void *arg, uint64_t *version_out)
{
	uint64_t hash = hash_bytes(&retain->key, msg_topic(msg));
	struct topic_shard *shard = shard_of(retain, hash);
	enum topic_retain_result result = TOPIC_RETAIN_KEPT;
	struct topic_retained *entry;
	struct msg *old = NULL;
	bool own = is_own(msg_topic(msg));

	*version_out = 0;
	lock_take(&shard->lock);
	visit_graves(retain, shard);
	entry = find(shard, msg_topic(msg), hash);
	if (msg->payload_len == 0) {
		result = put_delete(retain, shard, entry, store, arg, version_out, &old);
	} else if ((!own && !has_room(retain, entry != NULL ? message_size(entry->msg) : 0,
				message_size(msg))) ||
		   (entry == NULL &&
		       (entry = make_entry(retain, shard, msg_topic(msg), hash)) == NULL)) {
		result = TOPIC_RETAIN_FULL;
	} else {
		old = exchange(retain, shard, entry, msg_ref(msg));
		entry->version = *version_out = own ? 0 : draw_version(retain);
		store_change(entry, store, arg);
	}
	lock_give(&shard->lock);
	msg_unref(&old);
	return result;
}

void
topic_retain_load(struct topic_retain *retain, struct msg *msg, uint64_t version)
{
	uint64_t hash = hash_bytes(&retain->key, msg_topic(msg));
	struct topic_shard *shard = shard_of(retain, hash);
	struct topic_retained *entry;
	struct msg *old = msg;

	lock_take(&shard->lock);
	entry = find(shard, msg_topic(msg), hash);
	if (entry == NULL) {
		entry = make_entry(retain, shard, msg_topic(msg), hash);
	}
	if (entry != NULL && version >= entry->version) {
		old = exchange(retain, shard, entry, msg);
		entry->version = version;
		msg_unref(&entry->applied.msg);
		entry->applied = (struct msg_applied){version, msg_ref(msg)};
	}
	lock_give(&shard->lock);
	if (version > atomic_load_explicit(&retain->version, memory_order_relaxed)) {
		atomic_store_explicit(&retain->version, version, memory_order_relaxed);
	}
	msg_unref(&old);
}

/* --- sweeping --- */

/* What has expired in one bucket; returns the number of entries looked at. */
static unsigned
sweep_bucket(struct topic_retain *retain, struct topic_shard *shard, size_t bucket, int64_t mono_ms,
    topic_retain_store_fn *store, void *arg)
{
	struct topic_retained *entry = shard->buckets[bucket], *next;
	unsigned count = 0;

	for (; entry != NULL; entry = next) {
		next = entry->next;
		count++;
		if (entry->msg != NULL && has_expired(entry->msg, mono_ms)) {
			struct msg *old;

			(void)delete_message(retain, shard, entry, store, arg, &old);
			msg_unref(&old);
		}
	}
	return count;
}

/* Some buckets from the present one on; returns the work done. Goes to the next shard at the end.
 */
static unsigned
sweep_part(struct topic_retain *retain, struct topic_shard *shard, int64_t mono_ms, unsigned budget,
    topic_retain_store_fn *store, void *arg)
{
	unsigned work = 1;

	visit_graves(retain, shard);
	for (int i = 0; i < BUCKETS_PER_LOCK && work < budget && shard->expiring_count != 0 &&
			retain->sweep_bucket < shard->bucket_count;
	     i++) {
		work += sweep_bucket(retain, shard, retain->sweep_bucket++, mono_ms, store, arg);
	}
	if (shard->expiring_count == 0 || retain->sweep_bucket >= shard->bucket_count) {
		retain->sweep_bucket = 0;
		retain->sweep_shard = (retain->sweep_shard + 1) % TOPIC_SHARD_COUNT;
	}
	return work;
}

void
topic_retain_sweep(struct topic_retain *retain, int64_t mono_ms, unsigned budget,
    topic_retain_store_fn *store, void *arg)
{
	size_t passed = 0;

	/* At most once round. */
	while (budget > 0 && passed <= TOPIC_SHARD_COUNT) {
		size_t before = retain->sweep_shard;
		struct topic_shard *shard = &retain->shards[before];
		unsigned work;

		lock_take(&shard->lock);
		work = sweep_part(retain, shard, mono_ms, budget, store, arg);
		lock_give(&shard->lock);
		budget -= work < budget ? work : budget;
		passed += retain->sweep_shard != before;
	}
}

/* --- looking --- */

void
topic_retained_release(void *entry)
{
	struct topic_retained *retained = entry;

	/* Release: who frees the entry sees all that was done with it. */
	atomic_fetch_sub_explicit(&retained->refs, 1, memory_order_release);
}

struct bytes
topic_retained_topic(const struct topic_retained *entry)
{
	return topic_entry_topic(entry);
}

/* The lock of the entry's shard is held. */
static struct msg *
take_message(const struct topic_retained *entry, int64_t mono_ms, uint64_t *version_out)
{
	if (entry == NULL || entry->msg == NULL || has_expired(entry->msg, mono_ms)) {
		*version_out = 0;
		return NULL;
	}
	*version_out = entry->version;
	return msg_ref(entry->msg);
}

struct msg *
topic_retained_msg(struct topic_retain *retain, struct topic_retained *entry, int64_t mono_ms,
    uint64_t *version_out)
{
	uint64_t hash = hash_bytes(&retain->key, topic_entry_topic(entry));
	struct topic_shard *shard = shard_of(retain, hash);
	struct msg *msg;

	lock_take(&shard->lock);
	msg = take_message(entry, mono_ms, version_out);
	lock_give(&shard->lock);
	return msg;
}

struct msg *
topic_retain_look_up(
    struct topic_retain *retain, struct bytes topic, int64_t mono_ms, uint64_t *version_out)
{
	uint64_t hash = hash_bytes(&retain->key, topic);
	struct topic_shard *shard = shard_of(retain, hash);
	struct msg *msg;

	lock_take(&shard->lock);
	msg = take_message(find(shard, topic, hash), mono_ms, version_out);
	lock_give(&shard->lock);
	return msg;
}

struct msg *
topic_retain_get(struct topic_retain *retain, struct bytes topic, uint64_t *version_out)
{
	int64_t mono_ms = context_current != NULL ? context_current->mono_ms : 0;

	return topic_retain_look_up(retain, topic, mono_ms, version_out);
}
