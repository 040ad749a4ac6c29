/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { BUF_FIRST_CAP = 64 };

void
buf_fini(struct buf *buf)
{
	mem_free(&buf->data);
	buf_init(buf, buf->limit);
}

void
buf_fini_wiped(struct buf *buf)
{
	if (buf->data != NULL) {
		mem_wipe(buf->data, buf->cap);
	}
	buf_fini(buf);
}

void
buf_clear(struct buf *buf)
{
	buf->len = 0;
	buf->failed = false;
}

/* Makes the capacity at least `wanted`; the limit was checked by the caller. */
static bool
grow(struct buf *buf, size_t wanted)
{
	size_t cap = buf->cap != 0 ? buf->cap : BUF_FIRST_CAP;
	uint8_t *data;

	while (cap < wanted) {
		cap = cap <= SIZE_MAX / 2 ? cap * 2 : wanted;
	}
	/* Not twice the limit; a byte more than it may be wanted for a NUL. */
	cap = cap < buf->limit || wanted > buf->limit ? cap : buf->limit;
	cap = cap > wanted ? cap : wanted;
	data = mem_try_realloc(buf->data, cap);
	if (data == NULL) {
		return false;
	}
	buf->data = data;
	buf->cap = cap;
	return true;
}

uint8_t *
buf_reserve(struct buf *buf, size_t n)
{
	assert(buf->len <= buf->limit);
	if (buf->failed || n > buf->limit - buf->len) {
		buf->failed = true;
		return NULL;
	}
	if (n > buf->cap - buf->len && !grow(buf, buf->len + n)) {
		buf->failed = true;
		return NULL;
	}
	if (buf->data == NULL && !grow(buf, 1)) {
		buf->failed = true;
		return NULL;
	}
	return buf->data + buf->len;
}

void
buf_append(struct buf *buf, const void *data, size_t len)
{
	uint8_t *room = buf_reserve(buf, len);

	if (room != NULL && len != 0) {
		memcpy(room, data, len);
		buf->len += len;
	}
}

void
buf_append_bytes(struct buf *buf, struct bytes bytes)
{
	buf_append(buf, bytes.data, bytes.len);
}

void
buf_append_text(struct buf *buf, const char *text)
{
	buf_append(buf, text, strlen(text));
}

void
buf_append_byte(struct buf *buf, uint8_t byte)
{
	buf_append(buf, &byte, 1);
}

void
buf_vprintf(struct buf *buf, const char *format, va_list args)
{
	va_list again;
	uint8_t *room;
	int len;

	va_copy(again, args);
	len = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (len < 0 || (size_t)len > buf->limit - buf->len) {
		buf->failed = true;
		return;
	}
	/* One byte more for vsnprintf's NUL, which is not counted and may lie beyond the limit. */
	if ((size_t)len + 1 > buf->cap - buf->len && !grow(buf, buf->len + (size_t)len + 1)) {
		buf->failed = true;
		return;
	}
	room = buf_reserve(buf, (size_t)len);
	if (room != NULL) {
		vsnprintf((char *)room, (size_t)len + 1, format, args);
		buf->len += (size_t)len;
	}
}

void
buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	buf_vprintf(buf, format, args);
	va_end(args);
}

void
buf_consume(struct buf *buf, size_t n)
{
	assert(n <= buf->len);
	if (n != 0) {
		memmove(buf->data, buf->data + n, buf->len - n);
		buf->len -= n;
	}
}

const char *
buf_text(struct buf *buf)
{
	if (buf->len == buf->cap && !grow(buf, buf->len + 1)) {
		return "";
	}
	buf->data[buf->len] = '\0';
	return (const char *)buf->data;
}
