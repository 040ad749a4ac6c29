/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A view of bytes that somebody else owns. The word for "some bytes" in every room: topics,
 * payloads, names, keys. Not NUL terminated; data may be NULL when len is 0. Compared byte by byte,
 * never as text of a locale.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	const uint8_t *data;
	size_t len;
};

/* A view of a string literal or array, without its NUL. */
#define BYTES_LITERAL(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

/* The bytes of a C string; NULL is the empty view. */
static inline struct bytes
bytes_of(const char *text)
{
	return (struct bytes){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

static inline struct bytes
bytes_make(const void *data, size_t len)
{
	return (struct bytes){data, len};
}

static inline bool
bytes_equal(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool
bytes_equal_text(struct bytes a, const char *text)
{
	return bytes_equal(a, bytes_of(text));
}

static inline bool
bytes_starts_with(struct bytes a, struct bytes prefix)
{
	return a.len >= prefix.len &&
	       (prefix.len == 0 || memcmp(a.data, prefix.data, prefix.len) == 0);
}

/* Order by bytes, a prefix before what it begins: negative, 0 or positive. */
static inline int
bytes_compare(struct bytes a, struct bytes b)
{
	size_t shorter = a.len < b.len ? a.len : b.len;
	int order = shorter != 0 ? memcmp(a.data, b.data, shorter) : 0;

	if (order != 0) {
		return order;
	}
	return a.len == b.len ? 0 : a.len < b.len ? -1 : 1;
}

/* The view without its first n bytes; n is at most len. */
static inline struct bytes
bytes_skip(struct bytes a, size_t n)
{
	return (struct bytes){n != 0 ? a.data + n : a.data, a.len - n};
}

#endif
