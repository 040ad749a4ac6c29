/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/out.h"

#include <assert.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/mem.h"
#include "transport/stream.h"

enum { MAX_PARTS = 64 };

void
peer_pool_init(struct peer_pool *pool)
{
	*pool = (struct peer_pool){0};
}

void
peer_pool_fini(struct peer_pool *pool)
{
	while (pool->free != NULL) {
		struct peer_chunk *chunk = pool->free;

		pool->free = chunk->next;
		mem_free(&chunk);
	}
	pool->count = 0;
}

static struct peer_chunk *
chunk_new(struct peer_pool *pool, size_t size)
{
	struct peer_chunk *chunk;

	if (size <= PEER_CHUNK_SIZE && pool->free != NULL) {
		chunk = pool->free;
		pool->free = chunk->next;
		pool->count--;
	} else {
		size = size < PEER_CHUNK_SIZE ? PEER_CHUNK_SIZE : size;
		chunk = mem_alloc(sizeof(*chunk) + size);
		chunk->cap = (uint32_t)size;
		chunk->data = (uint8_t *)(chunk + 1);
	}
	chunk->next = NULL;
	chunk->msg = NULL;
	chunk->start = chunk->end = 0;
	return chunk;
}

static void
chunk_free(struct peer_pool *pool, struct peer_chunk *chunk)
{
	msg_unref(&chunk->msg);
	if (chunk->cap == PEER_CHUNK_SIZE && pool->count < PEER_POOL_KEEP) {
		chunk->next = pool->free;
		pool->free = chunk;
		pool->count++;
	} else {
		mem_free(&chunk);
	}
}

void
peer_out_fini(struct peer_out *out, struct peer_pool *pool)
{
	while (out->first != NULL) {
		struct peer_chunk *chunk = out->first;

		out->first = chunk->next;
		chunk_free(pool, chunk);
	}
	*out = (struct peer_out){0};
}

static void
append(struct peer_out *out, struct peer_chunk *chunk)
{
	if (out->last != NULL) {
		out->last->next = chunk;
	} else {
		out->first = chunk;
	}
	out->last = chunk;
}

uint8_t *
peer_out_reserve(struct peer_out *out, struct peer_pool *pool, size_t size)
{
	struct peer_chunk *last = out->last;

	if (last == NULL || last->msg != NULL || last->cap - last->end < size) {
		last = chunk_new(pool, size);
		append(out, last);
	}
	return (uint8_t *)(last + 1) + last->end;
}

void
peer_out_add(struct peer_out *out, size_t size)
{
	assert(out->last != NULL && out->last->cap - out->last->end >= size);
	out->last->end += (uint32_t)size;
	out->len += (uint32_t)size;
}

void
peer_out_reference(struct peer_out *out, struct peer_pool *pool, struct msg *msg)
{
	struct peer_chunk *chunk = mem_alloc(sizeof(*chunk));

	(void)pool;
	*chunk = (struct peer_chunk){
	    .msg = msg_ref(msg), .data = msg_payload(msg).data, .end = msg->payload_len};
	append(out, chunk);
	out->len += msg->payload_len;
}

/* Drops the first `taken` bytes; chunks that are out go back. */
static void
consume(struct peer_out *out, struct peer_pool *pool, size_t taken)
{
	out->len -= (uint32_t)taken;
	/* Answers are not told apart from other bytes: the count falls with all that leaves. */
	out->answer_len -= taken < out->answer_len ? (uint32_t)taken : out->answer_len;
	while (out->first != NULL) {
		struct peer_chunk *chunk = out->first;
		size_t left = chunk->end - chunk->start;

		if (taken < left) {
			chunk->start += (uint32_t)taken;
			return;
		}
		taken -= left;
		out->first = chunk->next;
		if (out->first == NULL) {
			out->last = NULL;
		}
		chunk_free(pool, chunk);
	}
	out->answer_len = 0;
}

long
peer_out_flush(struct peer_out *out, struct peer_pool *pool, struct stream *stream)
{
	struct iovec parts[MAX_PARTS];
	int count = 0;
	long taken;

	for (struct peer_chunk *chunk = out->first; chunk != NULL && count < MAX_PARTS;
	     chunk = chunk->next) {
		uint8_t *data = (uint8_t *)(uintptr_t)chunk->data;

		if (chunk->end != chunk->start) {
			parts[count++] = (struct iovec){
			    .iov_base = data + chunk->start, .iov_len = chunk->end - chunk->start};
		}
	}
	if (count == 0) {
		consume(out, pool, 0);
		return 0;
	}
	taken = stream_write(stream, parts, count);
	if (taken > 0) {
		consume(out, pool, (size_t)taken);
	}
	return taken;
}
