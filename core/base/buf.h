/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing buffer of bytes with a limit. Appending beyond the limit, or without memory, changes
 * nothing and marks the buffer as failed; the mark sticks, so a sequence of appends is tested once
 * at its end. One owner, one thread.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t limit; /* most bytes that it may hold */
	bool failed;
};

/* SIZE_MAX as limit: none. Nothing is allocated before the first append. */
static inline void
buf_init(struct buf *buf, size_t limit)
{
	*buf = (struct buf){.limit = limit};
}

void buf_fini(struct buf *buf);

/* Overwrites the contents before the memory goes: for secrets. Growth of a buffer leaves copies
 * behind, so reserve first. */
void buf_fini_wiped(struct buf *buf);

/* Empty again, memory and limit kept, mark cleared. */
void buf_clear(struct buf *buf);

/* Room for n more bytes, or NULL (and failed). The caller writes there and adds to len. */
uint8_t *buf_reserve(struct buf *buf, size_t n);

void buf_append(struct buf *buf, const void *data, size_t len);
void buf_append_bytes(struct buf *buf, struct bytes bytes);
void buf_append_text(struct buf *buf, const char *text);
void buf_append_byte(struct buf *buf, uint8_t byte);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *buf, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Drops the first n bytes; the rest moves to the front: once per turn, not once per packet. */
void buf_consume(struct buf *buf, size_t n);

/* The contents as a C string: a NUL is put behind len. "" when empty or failed for memory; borrowed
 * until the next change. */
const char *buf_text(struct buf *buf);

static inline struct bytes
buf_bytes(const struct buf *buf)
{
	return (struct bytes){buf->data, buf->len};
}

#endif
