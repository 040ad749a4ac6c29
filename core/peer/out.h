/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The output of a connection: a chain of chunks from the worker's pool. Small packets are copied
 * into the last chunk; a large payload is referenced (a chunk that holds a reference on the message
 * and no bytes). Most connections have no output at most times, and many have little at once (a
 * publication to all of them): so what is known of the whole stands in the first chunk, and that is
 * a small one. Own thread.
 */
#ifndef PEER_OUT_H
#define PEER_OUT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msg/msg.h"

struct stream;

enum {
	PEER_CHUNK_SIZE = 8192,     /* bytes of data in a chunk of the pool … */
	PEER_SMALL_SIZE = 448,      /* … and in the first one of an output */
	PEER_POOL_KEEP = 256,       /* free chunks of a size that a worker keeps */
	PEER_REFERENCE_FROM = 2048, /* payloads from this size on are not copied */
	PEER_OUT_LIMIT = 262144, /* bytes of PUBLISH that wait before the session keeps the next */
	PEER_ANSWER_LIMIT = 65536, /* bytes of answers that wait before nothing more is read */
};

struct peer_chunk {
	struct peer_chunk *next;
	struct msg *msg;     /* payload reference; NULL: bytes follow the struct */
	const uint8_t *data; /* where this chunk's bytes lie */
	uint32_t start, end; /* what of them is to be sent */
	uint32_t cap;        /* of own bytes */

	/* Of the first of a chain only. */
	uint32_t len;        /* bytes in all chunks */
	uint32_t answer_len; /* of them answers, at most */
	struct peer_chunk *last;
};

/* Free chunks of one size. */
struct peer_shelf {
	struct peer_chunk *free;
	uint32_t count;
};

struct peer_pool {
	struct peer_shelf large, small;
};

struct peer_out {
	struct peer_chunk *first; /* NULL: empty */
};

static inline uint32_t
peer_out_len(const struct peer_out *out)
{
	return out->first != NULL ? out->first->len : 0;
}

static inline uint32_t
peer_out_answer_len(const struct peer_out *out)
{
	return out->first != NULL ? out->first->answer_len : 0;
}

void peer_pool_init(struct peer_pool *pool);
void peer_pool_fini(struct peer_pool *pool);

void peer_out_fini(struct peer_out *out, struct peer_pool *pool);

/* The same, where the last chunk has no room. */
uint8_t *peer_out_reserve_chunk(struct peer_out *out, struct peer_pool *pool, size_t size);

/* Room for size bytes in one piece; the caller writes there and then calls peer_out_add, or
 * peer_out_cancel when there is nothing to add. */
static inline uint8_t *
peer_out_reserve(struct peer_out *out, struct peer_pool *pool, size_t size)
{
	struct peer_chunk *last = out->first != NULL ? out->first->last : NULL;

	return last != NULL && last->msg == NULL && last->cap - last->end >= size
		   ? (uint8_t *)(last + 1) + last->end
		   : peer_out_reserve_chunk(out, pool, size);
}

static inline void
peer_out_add(struct peer_out *out, size_t size)
{
	struct peer_chunk *first = out->first;

	assert(first != NULL && first->last->cap - first->last->end >= size);
	first->last->end += (uint32_t)size;
	first->len += (uint32_t)size;
}

void peer_out_cancel(struct peer_out *out, struct peer_pool *pool);

/* The payload of msg goes out from where it lies; takes a reference. */
void peer_out_reference(struct peer_out *out, struct peer_pool *pool, struct msg *msg);

/* One write. Bytes taken, or ERR_IO. What was taken is freed. */
long peer_out_flush(struct peer_out *out, struct peer_pool *pool, struct stream *stream);

#endif
