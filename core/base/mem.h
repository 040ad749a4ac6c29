/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory. Small allocations of a fixed size cannot fail (the process ends with one sentence); sizes
 * that a client or a file drives go through the try_ forms, which may.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>

#include "base/bytes.h"

/* Never NULL. mem_zalloc clears. A size of 0 gives a pointer that can be freed. */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *mem_zalloc(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *mem_realloc(void *memory, size_t size) __attribute__((returns_nonnull, warn_unused_result));

/* NULL when there is no memory; then nothing has changed. */
void *mem_try_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_try_realloc(void *memory, size_t size) __attribute__((warn_unused_result));

/* A NUL-terminated copy of a view; never NULL. The caller frees it. */
char *mem_text(struct bytes text) __attribute__((malloc, returns_nonnull, warn_unused_result));

/* Overwrites a secret so that no compiler drops it. */
void mem_wipe(void *memory, size_t size);

/* Called once, before there are threads: free() gives memory back to the system only when more than
 * this is free at the end of a heap. Output that comes and goes with each turn would be given back
 * and cleared by the kernel again otherwise, 128 KiB at a time. */
void mem_keep(size_t size);

/* Gives memory that is free back to the system. It takes tens of milliseconds where that is
 * hundreds of megabytes, and holds up who allocates meanwhile. */
void mem_trim(void);

/* Frees what *address points to and makes it NULL. */
#define mem_free(address)          \
	do {                       \
		free(*(address));  \
		*(address) = NULL; \
	} while (0)

#endif
