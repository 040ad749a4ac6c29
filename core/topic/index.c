/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of retained topics: level by level, and by bytes within a level. That is the order of
 * the bytes, if `/` comes before all other bytes: so a topic stands directly before all that are
 * below it. Kept in a skip list (Pugh 1990) whose towers lie in the entries.
 */
#include <assert.h>

#include "topic/retain_int.h"

/* `/` first. */
static inline int
rank(uint8_t byte)
{
	return byte == '/' ? 0 : byte + 1;
}

static inline size_t
common_len(const uint8_t *a, const uint8_t *b, size_t len)
{
	size_t i = 0;

	while (i + 8 <= len && memcmp(a + i, b + i, 8) == 0) {
		i += 8;
	}
	while (i < len && a[i] == b[i]) {
		i++;
	}
	return i;
}

/*
 * Compares with the key's piece at `at`, which is a place in the text up to which all is equal.
 * Negative: the text stands before; 0: the piece is there, too.
 */
static inline int
compare_piece(struct bytes text, size_t at, struct bytes piece)
{
	size_t len = text.len - at < piece.len ? text.len - at : piece.len;
	size_t same = len != 0 ? common_len(text.data + at, piece.data, len) : 0;

	if (same == piece.len) {
		return 0;
	}
	if (at + same == text.len) {
		return -1;
	}
	return rank(text.data[at + same]) - rank(piece.data[same]);
}

/* Does the entry stand before the place? */
static bool
is_before(const struct topic_retained *entry, const struct topic_index_key *key)
{
	struct bytes text = topic_entry_topic(entry);
	size_t len = key->a.len + key->b.len;
	int order = compare_piece(text, 0, key->a);

	if (order == 0) {
		order = compare_piece(text, key->a.len, key->b);
	}
	if (order != 0) {
		return order < 0;
	}
	switch (key->mode) {
	case TOPIC_INDEX_AT:
		return false;
	case TOPIC_INDEX_NEXT:
		return text.len == len;
	case TOPIC_INDEX_BEYOND:
		return text.len == len || text.data[len] == '/';
	}
	return false;
}

/* The links that lead to the place, one per height: what stands before it. */
static void
find_links(struct topic_index *index, const struct topic_index_key *key,
    struct topic_retained **links[TOPIC_INDEX_HEIGHT])
{
	struct topic_retained **tower = index->head;
	const struct topic_retained *refused = NULL;

	for (size_t h = TOPIC_INDEX_HEIGHT; h-- > 0;) {
		while (tower[h] != NULL && tower[h] != refused && is_before(tower[h], key)) {
			tower = tower[h]->tower;
		}
		refused = tower[h]; /* it need not be compared again further down */
		links[h] = &tower[h];
	}
}

struct topic_retained *
topic_index_seek(const struct topic_index *index, const struct topic_retained *last,
    const struct topic_index_key *key)
{
	struct topic_retained *const *tower = index->head;
	const struct topic_retained *refused = NULL;

	if (last != NULL && (last->tower[0] == NULL || !is_before(last->tower[0], key))) {
		return last->tower[0];
	}
	for (size_t h = TOPIC_INDEX_HEIGHT; h-- > 0;) {
		while (tower[h] != NULL && tower[h] != refused && is_before(tower[h], key)) {
			tower = tower[h]->tower;
		}
		refused = tower[h];
	}
	return tower[0];
}

void
topic_index_insert(struct topic_index *index, struct topic_retained *entry)
{
	const struct topic_index_key key = {.a = topic_entry_topic(entry), .mode = TOPIC_INDEX_AT};
	struct topic_retained **links[TOPIC_INDEX_HEIGHT];

	find_links(index, &key, links);
	for (size_t h = 0; h < entry->height; h++) {
		entry->tower[h] = *links[h];
		*links[h] = entry;
	}
}

void
topic_index_remove(struct topic_index *index, struct topic_retained *entry)
{
	const struct topic_index_key key = {.a = topic_entry_topic(entry), .mode = TOPIC_INDEX_AT};
	struct topic_retained **links[TOPIC_INDEX_HEIGHT];

	index->removals++;
	find_links(index, &key, links);
	for (size_t h = 0; h < entry->height; h++) {
		assert(*links[h] == entry);
		*links[h] = entry->tower[h];
	}
}
