/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for many small objects that die together: a configuration, a parsed file. Nothing in it is
 * freed alone. One owner, one thread. Allocation cannot fail: who feeds it from a file limits the
 * file.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/bytes.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* newest first */
	size_t total;               /* bytes handed out */
};

void arena_init(struct arena *arena);

/* Overwrites all of it, then gives it back: an arena may hold secrets. */
void arena_fini(struct arena *arena);

/* Zeroed, aligned for any type, never NULL. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((returns_nonnull));

/* A NUL-terminated copy. */
char *arena_text(struct arena *arena, struct bytes text) __attribute__((returns_nonnull));

#endif
