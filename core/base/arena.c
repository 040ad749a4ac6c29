/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum { ARENA_CHUNK = 16 * 1024 };

struct arena_chunk {
	struct arena_chunk *next;
	size_t size;
	size_t used;
	alignas(max_align_t) uint8_t data[];
};

void
arena_init(struct arena *arena)
{
	*arena = (struct arena){0};
}

void
arena_fini(struct arena *arena)
{
	while (arena->chunks != NULL) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->next;
		mem_wipe(chunk->data, chunk->used);
		mem_free(&chunk);
	}
	arena->total = 0;
}

static struct arena_chunk *
chunk_for(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk = arena->chunks;
	size_t wanted = size > ARENA_CHUNK ? size : ARENA_CHUNK;

	if (chunk != NULL && size <= chunk->size - chunk->used) {
		return chunk;
	}
	chunk = mem_alloc(sizeof(*chunk) + wanted);
	chunk->size = wanted;
	chunk->used = 0;
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	return chunk;
}

void *
arena_alloc(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk;
	void *memory;

	if (size > SIZE_MAX / 2) {
		err_fatal("an arena was asked for more than the address space");
	}
	size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	chunk = chunk_for(arena, size);
	memory = chunk->data + chunk->used;
	chunk->used += size;
	arena->total += size;
	memset(memory, 0, size);
	return memory;
}

char *
arena_text(struct arena *arena, struct bytes text)
{
	char *copy = arena_alloc(arena, text.len + 1);

	if (text.len != 0) {
		memcpy(copy, text.data, text.len);
	}
	return copy;
}
