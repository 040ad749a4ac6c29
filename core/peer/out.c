/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/out.h"

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

static void
empty_shelf(struct peer_shelf *shelf)
{
	while (shelf->free != NULL) {
		struct peer_chunk *chunk = shelf->free;

		shelf->free = chunk->next;
		mem_free(&chunk);
	}
	shelf->count = 0;
}

void
peer_pool_fini(struct peer_pool *pool)
{
	empty_shelf(&pool->large);
	empty_shelf(&pool->small);
}

static struct peer_chunk *
chunk_new(struct peer_pool *pool, size_t size, bool is_first)
{
	bool is_small = is_first && size <= PEER_SMALL_SIZE;
	struct peer_shelf *shelf = is_small ? &pool->small : &pool->large;
	size_t cap = is_small ? PEER_SMALL_SIZE : PEER_CHUNK_SIZE;
	struct peer_chunk *chunk = shelf->free;

	if (size <= cap && chunk != NULL) {
		shelf->free = chunk->next;
		shelf->count--;
	} else {
		cap = size < cap ? cap : size;
		chunk = mem_alloc(sizeof(*chunk) + cap);
		chunk->cap = (uint32_t)cap;
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
	struct peer_shelf *shelf = chunk->cap == PEER_SMALL_SIZE   ? &pool->small
				   : chunk->cap == PEER_CHUNK_SIZE ? &pool->large
								   : NULL;

	msg_unref(&chunk->msg);
	if (shelf != NULL && shelf->count < PEER_POOL_KEEP) {
		chunk->next = shelf->free;
		shelf->free = chunk;
		shelf->count++;
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
	if (out->first == NULL) {
		out->first = chunk;
		chunk->len = chunk->answer_len = 0;
	} else {
		out->first->last->next = chunk;
	}
	out->first->last = chunk;
}

/* All that there is stands in the small chunk, and would fit into a large one with so much more. */
static bool
may_grow(const struct peer_chunk *first, size_t size)
{
	return first != NULL && first->last == first && first->cap == PEER_SMALL_SIZE &&
	       first->end - first->start + size <= PEER_CHUNK_SIZE;
}

/* One chunk is one `send`, which the kernel does in less time than a list of two takes it. */
static uint8_t *
grow_first(struct peer_out *out, struct peer_pool *pool)
{
	struct peer_chunk *first = out->first, *chunk = chunk_new(pool, PEER_CHUNK_SIZE, false);
	uint8_t *data = (uint8_t *)(chunk + 1);

	chunk->end = first->end - first->start;
	memcpy(data, first->data + first->start, chunk->end);
	chunk->len = first->len;
	chunk->answer_len = first->answer_len;
	chunk->last = chunk;
	out->first = chunk;
	chunk_free(pool, first);
	return data + chunk->end;
}

uint8_t *
peer_out_reserve_chunk(struct peer_out *out, struct peer_pool *pool, size_t size)
{
	struct peer_chunk *chunk;

	if (may_grow(out->first, size)) {
		return grow_first(out, pool);
	}
	chunk = chunk_new(pool, size, out->first == NULL);
	append(out, chunk);
	return (uint8_t *)(chunk + 1);
}

void
peer_out_cancel(struct peer_out *out, struct peer_pool *pool)
{
	if (peer_out_len(out) == 0) {
		peer_out_fini(out, pool);
	}
}

void
peer_out_reference(struct peer_out *out, struct peer_pool *pool, struct msg *msg)
{
	struct peer_chunk *chunk = mem_alloc(sizeof(*chunk));

	(void)pool;
	*chunk = (struct peer_chunk){
	    .msg = msg_ref(msg), .data = msg_payload(msg).data, .end = msg->payload_len};
	append(out, chunk);
	out->first->len += msg->payload_len;
}

/* Drops the first `taken` bytes; chunks that are out go back. */
static void
consume(struct peer_out *out, struct peer_pool *pool, size_t taken)
{
	struct peer_chunk *first = out->first, *last = first->last;
	uint32_t len = first->len - (uint32_t)taken;
	/* Answers are not told apart from other bytes: the count falls with all that leaves. */
	uint32_t answer_len = taken < first->answer_len ? first->answer_len - (uint32_t)taken : 0;

	while (first != NULL && taken >= first->end - first->start) {
		taken -= first->end - first->start;
		out->first = first->next;
		chunk_free(pool, first);
		first = out->first;
	}
	if (first != NULL) {
		first->start += (uint32_t)taken;
		first->len = len;
		first->answer_len = answer_len;
		first->last = last;
	}
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
		peer_out_fini(out, pool);
		return 0;
	}
	taken = stream_write(stream, parts, count);
	if (taken > 0) {
		consume(out, pool, (size_t)taken);
	}
	return taken;
}
