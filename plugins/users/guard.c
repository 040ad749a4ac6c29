/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>

enum { SETS = 4096, WAYS = 4, STEP_MS = 250 };

struct entry {
	uint64_t key; /* a keyed hash; two that collide share their failures */
	int64_t last_ns;
	uint32_t failures; /* 0: free */
};

struct guard {
	pthread_mutex_t lock; /* guards the entries */
	uint64_t seed;
	struct entry entries[SETS][WAYS];
};

struct guard *
guard_new(void)
{
	struct guard *guard = calloc(1, sizeof(*guard));

	if (guard != NULL) {
		(void)pthread_mutex_init(&guard->lock, NULL);
		if (RAND_bytes((unsigned char *)&guard->seed, sizeof(guard->seed)) != 1) {
			guard->seed = (uint64_t)(uintptr_t)guard;
		}
	}
	return guard;
}

void
guard_free(struct guard *guard)
{
	(void)pthread_mutex_destroy(&guard->lock);
	free(guard);
}

static uint64_t
hash_of(const struct guard *guard, char kind, avocet_str text)
{
	uint64_t hash = guard->seed ^ (uint64_t)(uint8_t)kind * 0x9e3779b97f4a7c15ULL;

	for (size_t i = 0; i < text.n; i++) {
		hash = (hash ^ (uint8_t)text.p[i]) * 0xff51afd7ed558ccdULL;
		hash ^= hash >> 33;
	}
	return hash | 1;
}

/* The entry of a key; with `make` one is made, in the place of the oldest. */
static struct entry *
find(struct guard *guard, uint64_t key, bool make)
{
	struct entry *set = guard->entries[key >> 20 & (SETS - 1)], *oldest = &set[0];

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].failures != 0 && set[i].key == key) {
			return &set[i];
		}
		if (set[i].failures == 0 ||
		    (oldest->failures != 0 && set[i].last_ns < oldest->last_ns)) {
			oldest = &set[i];
		}
	}
	if (!make) {
		return NULL;
	}
	*oldest = (struct entry){.key = key};
	return oldest;
}

static bool
is_shut(struct guard *guard, uint64_t key, uint32_t max, const struct guard_options *options,
    int64_t now_ns)
{
	const struct entry *entry = find(guard, key, false);

	return entry != NULL && max != 0 && entry->failures >= max &&
	       now_ns - entry->last_ns < options->lockout_ns;
}

static uint32_t
note(struct guard *guard, uint64_t key, const struct guard_options *options, int64_t now_ns)
{
	struct entry *entry = find(guard, key, true);

	if (now_ns - entry->last_ns >= options->lockout_ns) {
		entry->failures = 0;
	}
	entry->last_ns = now_ns;
	return ++entry->failures;
}

bool
guard_is_shut(struct guard *guard, const struct guard_options *options, const struct guard_key *key,
    int64_t now_ns, uint32_t *delay_ms_out)
{
	bool shut;

	(void)pthread_mutex_lock(&guard->lock);
	shut = is_shut(guard, hash_of(guard, 'a', key->address), options->max_failures, options,
		   now_ns) ||
	       (key->user.n != 0 && is_shut(guard, hash_of(guard, 'u', key->user),
					options->max_user_failures, options, now_ns));
	(void)pthread_mutex_unlock(&guard->lock);
	*delay_ms_out = options->max_delay_ms;
	return shut;
}

uint32_t
guard_note(struct guard *guard, const struct guard_options *options, const struct guard_key *key,
    int64_t now_ns)
{
	uint64_t delay_ms;

	(void)pthread_mutex_lock(&guard->lock);
	if (key->user.n != 0) {
		(void)note(guard, hash_of(guard, 'u', key->user), options, now_ns);
	}
	delay_ms =
	    (uint64_t)note(guard, hash_of(guard, 'a', key->address), options, now_ns) * STEP_MS;
	(void)pthread_mutex_unlock(&guard->lock);
	return delay_ms < options->max_delay_ms ? (uint32_t)delay_ms : options->max_delay_ms;
}

void
guard_forgive(struct guard *guard, const struct guard_key *key)
{
	struct entry *entry;

	(void)pthread_mutex_lock(&guard->lock);
	entry = find(guard, hash_of(guard, 'a', key->address), false);
	if (entry != NULL) {
		entry->failures = 0;
	}
	(void)pthread_mutex_unlock(&guard->lock);
}
