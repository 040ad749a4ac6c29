/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What topics matched when they were last looked up. Devices publish to the same few topics again
 * and again, and to find a topic's subscribers in the tree costs more than half of all else that a
 * message takes. A worker has a table of its own, by a hash of the topic: one topic per place, the
 * newest wins. An entry is good while the tree has not changed (topic_tree_version), and holds
 * copies, so nothing in it can be stale or freed. Shared groups, whose choice is made anew for each
 * message, and topics with many subscribers, which cost what those cost, are not remembered.
 *
 * A topic gets an entry when it comes the second time, so that topics that come once cost no
 * memory. Who chooses topics that collide loses what the memo gains and no more.
 */
#include "base/mem.h"
#include "route/route_int.h"

enum {
	MEMO_PLACES = 1024,
	MEMO_RUNS = 4,
	MEMO_SUBSCRIBERS = 8,
	MEMO_TOPIC = 128, /* bytes of the longest topic */
};

struct memo_entry {
	uint64_t version;
	uint8_t topic_len;
	uint8_t run_count;
	uint8_t counts[MEMO_RUNS];
	struct topic_subscriber subscribers[MEMO_SUBSCRIBERS];
	uint8_t topic[MEMO_TOPIC];
};

struct memo_place {
	uint64_t hash;            /* of the topic that came here last */
	struct memo_entry *entry; /* of a topic that came here twice; NULL: none yet */
};

struct route_memo {
	const struct memo_entry *last; /* that was found; NULL: none */
	struct memo_place places[MEMO_PLACES];
};

/* For places only: collisions cost time and no more, so it has no key. */
static uint64_t
hash_topic(struct bytes topic)
{
	uint64_t hash = topic.len;
	size_t at = 0;
	uint64_t word;

	for (; at + sizeof(word) < topic.len; at += sizeof(word)) {
		memcpy(&word, topic.data + at, sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 32;
	}
	if (topic.len >= sizeof(word)) {
		/* It may overlap the one before. */
		memcpy(&word, topic.data + topic.len - sizeof(word), sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
	} else {
		for (; at < topic.len; at++) {
			hash = (hash ^ topic.data[at]) * 0x9e3779b97f4a7c15;
		}
	}
	return hash ^ hash >> 29;
}

static bool
fits(const struct memo_entry *entry, struct bytes topic, uint64_t version)
{
	return entry != NULL && entry->version == version &&
	       bytes_equal(bytes_make(entry->topic, entry->topic_len), topic);
}

static inline void
show(struct route_desk *desk, const struct memo_entry *entry)
{
	const struct topic_subscriber *at = entry->subscribers;

	for (unsigned i = 0; i < entry->run_count; i++) {
		vec_push(
		    &desk->runs, (struct route_run){.subscribers = at, .count = entry->counts[i]});
		at += entry->counts[i];
	}
}

static bool
is_small(const struct route_desk *desk)
{
	uint64_t count = 0;

	for (size_t i = 0; i < desk->runs.count; i++) {
		count += desk->runs.items[i].count;
	}
	return desk->groups.count == 0 && desk->runs.count <= MEMO_RUNS &&
	       count <= MEMO_SUBSCRIBERS;
}

/* version: of the tree, from before it was asked. */
static void
keep(struct route_desk *desk, struct memo_entry *entry, struct bytes topic, uint64_t version)
{
	struct topic_subscriber *at = entry->subscribers;

	for (size_t i = 0; i < desk->runs.count; i++) {
		const struct route_run *run = &desk->runs.items[i];

		entry->counts[i] = (uint8_t)run->count;
		memcpy(at, run->subscribers, run->count * sizeof(*at));
		at += run->count;
	}
	entry->version = version;
	entry->run_count = (uint8_t)desk->runs.count;
	entry->topic_len = (uint8_t)topic.len;
	memcpy(entry->topic, topic.data, topic.len);
}

/* From the tree; what came here twice is kept. */
static void
learn(struct route_desk *desk, struct memo_place *place, uint64_t hash, struct bytes topic,
    uint64_t version)
{
	route_tree_match(desk, topic);
	if (place->hash != hash) {
		place->hash = hash;
	} else if (is_small(desk)) {
		if (place->entry == NULL) {
			place->entry = mem_zalloc(sizeof(*place->entry));
		}
		keep(desk, place->entry, topic, version);
	}
}

void
route_memo_match(struct route_desk *desk, struct bytes topic)
{
	const struct topic_tree *tree = desk->house->sessions->tree;
	uint64_t version = topic_tree_version(tree);
	struct memo_place *place;
	uint64_t hash;

	if (topic.len > MEMO_TOPIC || version == TOPIC_TREE_CHANGING) {
		route_tree_match(desk, topic);
		return;
	}
	if (desk->memo == NULL) {
		desk->memo = mem_zalloc(sizeof(*desk->memo));
	}
	/* Who publishes mostly says the same as before. */
	if (!fits(desk->memo->last, topic, version)) {
		hash = hash_topic(topic);
		place = &desk->memo->places[hash % MEMO_PLACES];
		if (place->hash != hash || !fits(place->entry, topic, version)) {
			learn(desk, place, hash, topic, version);
			return;
		}
		desk->memo->last = place->entry;
	}
	show(desk, desk->memo->last);
}

void
route_memo_free(struct route_memo **memo)
{
	for (unsigned i = 0; *memo != NULL && i < MEMO_PLACES; i++) {
		mem_free(&(*memo)->places[i].entry);
	}
	mem_free(memo);
}
