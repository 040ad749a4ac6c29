/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of authorizers that are remembered for a client. Topics stand in a table of sets of four,
 * in which a new one takes the place of one that is over, or of the one that was kept first;
 * filters that cover many topics stand in a short list. Bounded by limits.max_grants. Own thread of
 * the client.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "plugin/plugin_int.h"
#include "wire/topic_name.h"

enum { WAYS = 4, COVERS = 8, MIN_SETS = 2 };

struct grant {
	uint64_t hash;
	int64_t until_ms;
	uint8_t *text; /* owned; NULL: free */
	uint32_t text_len;
	uint32_t action;
	uint32_t epoch;
	struct plugin_answer_kept kept;
};

struct plugin_grants {
	size_t mask; /* number of sets - 1 */
	uint8_t next_cover;
	struct grant covers[COVERS];
	struct grant topics[];
};

static uint64_t
hash_of(struct bytes topic)
{
	/* Who makes them collide forgets answers of its own. */
	static const struct hash_key key = {0x61766f6365742d67ULL, 0x72616e7473ULL};

	return hash_bytes(&key, topic);
}

void
plugin_grants_free(struct plugin_grants **grants)
{
	struct plugin_grants *old = *grants;

	if (old == NULL) {
		return;
	}
	for (size_t i = 0; i < COVERS; i++) {
		mem_free(&old->covers[i].text);
	}
	for (size_t i = 0; i < (old->mask + 1) * WAYS; i++) {
		mem_free(&old->topics[i].text);
	}
	mem_free(grants);
}

static bool
is_good(const struct grant *grant, uint32_t epoch, uint32_t action, int64_t now_ms)
{
	return grant->text != NULL && grant->epoch == epoch && grant->action == action &&
	       grant->until_ms > now_ms;
}

static struct bytes
text_of(const struct grant *grant)
{
	return bytes_make(grant->text, grant->text_len);
}

struct plugin_answer_kept
plugin_grants_find(struct plugin_grants *grants, uint32_t epoch, uint32_t action,
    struct bytes topic, int64_t now_ms)
{
	uint64_t hash;
	struct grant *set;

	if (grants == NULL) {
		return (struct plugin_answer_kept){0};
	}
	hash = hash_of(topic);
	set = &grants->topics[(hash & grants->mask) * WAYS];
	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].hash == hash && is_good(&set[i], epoch, action, now_ms) &&
		    bytes_equal(text_of(&set[i]), topic)) {
			return set[i].kept;
		}
	}
	for (size_t i = 0; i < COVERS; i++) {
		if (is_good(&grants->covers[i], epoch, action, now_ms) &&
		    wire_topic_matches(text_of(&grants->covers[i]), topic)) {
			return grants->covers[i].kept;
		}
	}
	return (struct plugin_answer_kept){0};
}

static struct plugin_grants *
grants_new(size_t max)
{
	size_t sets = MIN_SETS;
	struct plugin_grants *grants;

	while (sets * 2 * WAYS <= max) {
		sets *= 2;
	}
	grants = mem_zalloc(sizeof(*grants) + sets * WAYS * sizeof(grants->topics[0]));
	grants->mask = sets - 1;
	return grants;
}

/* Where a new one goes: its own old place, one that is over, or that which is over first. */
static struct grant *
choose(struct grant *set, uint64_t hash, uint32_t epoch, uint32_t action, struct bytes topic)
{
	struct grant *chosen = &set[0];

	for (size_t i = 0; i < WAYS; i++) {
		struct grant *grant = &set[i];

		if (grant->text != NULL && grant->hash == hash && grant->action == action &&
		    bytes_equal(text_of(grant), topic)) {
			return grant;
		}
		if (grant->text == NULL || grant->epoch != epoch ||
		    (chosen->text != NULL && chosen->epoch == epoch &&
			grant->until_ms < chosen->until_ms)) {
			chosen = grant;
		}
	}
	return chosen;
}

void
plugin_grants_keep(struct plugin_grants **grants_at, size_t max, uint32_t epoch, uint32_t action,
    enum plugin_cover cover, struct bytes text, struct plugin_answer_kept kept, int64_t until_ms)
{
	struct plugin_grants *grants = *grants_at;
	uint64_t hash = hash_of(text);
	struct grant *place;

	if (max == 0 || text.len == 0 || text.len > UINT16_MAX) {
		return;
	}
	if (grants == NULL) {
		grants = *grants_at = grants_new(max);
	}
	if (cover == PLUGIN_COVER_FILTER) {
		place = &grants->covers[grants->next_cover++ % COVERS];
	} else {
		place = choose(
		    &grants->topics[(hash & grants->mask) * WAYS], hash, epoch, action, text);
	}
	if (place->text == NULL || place->text_len != text.len) {
		mem_free(&place->text);
		place->text = mem_alloc(text.len);
	}
	memcpy(place->text, text.data, text.len);
	place->text_len = (uint32_t)text.len;
	place->hash = hash;
	place->action = action;
	place->epoch = epoch;
	place->kept = kept;
	place->until_ms = until_ms;
}
