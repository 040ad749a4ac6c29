/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small work on text: numbers, escaping, the nearest of some words.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"

/* Decimal, optional minus sign, nothing else, no overflow. */
bool str_to_i64(struct bytes text, int64_t *value_out);

/*
 * Appends text from outside so that it stays on one line and shows what it is: well-formed
 * UTF-8 as it is but for control and non-characters, these and everything else as \n, \t, \r or
 * \xHH. quoted: for use between double quotes, backslash and quote escaped.
 */
void str_escape(struct buf *out, struct bytes text, bool quoted);

/* The inside of a JSON string: always valid JSON, bytes that are no UTF-8 as U+FFFD. */
void str_escape_json(struct buf *out, struct bytes text);

/* Insertions, deletions, replacements and swaps of neighbours between two texts, at most `limit`
 * + 1. */
size_t str_distance(struct bytes a, struct bytes b, size_t limit);

/* Of the words (NULL ends them) the one nearest to a misspelt text, or NULL when none is near. */
const char *str_nearest(struct bytes text, const char *const *words);

/* How many of the given words are `words`, which are divided by single blanks: "sessions show" has
 * two; 0: they begin otherwise. */
size_t str_match_words(const char *words, const char *const *given, size_t count);

#endif
