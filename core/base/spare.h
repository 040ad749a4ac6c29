/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small blocks that a thread has freed and is about to need again. Messages are made and freed at
 * the broker's full speed and have a handful of sizes. The C library keeps seven free blocks of a
 * size at hand; a few clients with a window each go beyond that, and then making and freeing one
 * costs 350 instructions instead of 50.
 *
 * Each worker has a set (context.h); a block goes to the set of the thread that frees it. Without a
 * set, and in builds with sanitizers, which look at every block, this is malloc and free.
 */
#ifndef BASE_SPARE_H
#define BASE_SPARE_H

#include <stddef.h>
#include <stdint.h>

enum { SPARE_CLASSES = 32, SPARE_MOST = 128 << 10 /* bytes of a class */ };

struct spare_set {
	struct spare_block *first[SPARE_CLASSES];
	uint32_t bytes[SPARE_CLASSES];
};

/* Frees the blocks that lie in it. */
void spare_set_fini(struct spare_set *set);

/* NULL without memory. */
void *spare_alloc(size_t size) __attribute__((malloc, warn_unused_result));

/* What spare_alloc gave for this size or a larger one. Any thread. */
void spare_free(void *block, size_t size);

#endif
