/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <malloc.h>
#include <string.h>

#include "base/err.h"

void *
mem_try_alloc(size_t size)
{
	return malloc(size != 0 ? size : 1);
}

void *
mem_try_realloc(void *memory, size_t size)
{
	return realloc(memory, size != 0 ? size : 1);
}

void *
mem_alloc(size_t size)
{
	void *memory = mem_try_alloc(size);

	if (memory == NULL) {
		err_fatal("out of memory");
	}
	return memory;
}

void *
mem_zalloc(size_t size)
{
	void *memory = calloc(1, size != 0 ? size : 1);

	if (memory == NULL) {
		err_fatal("out of memory");
	}
	return memory;
}

void *
mem_realloc(void *memory, size_t size)
{
	void *grown = mem_try_realloc(memory, size);

	if (grown == NULL) {
		err_fatal("out of memory");
	}
	return grown;
}

char *
mem_text(struct bytes text)
{
	char *copy = mem_alloc(text.len + 1);

	if (text.len != 0) {
		memcpy(copy, text.data, text.len);
	}
	copy[text.len] = '\0';
	return copy;
}

void
mem_wipe(void *memory, size_t size)
{
	if (size != 0) {
		explicit_bzero(memory, size);
	}
}

void
mem_keep(size_t size)
{
	/* The first switches off that the second adapts itself; then blocks from there on are
	 * mapped one by one. */
	(void)mallopt(M_TRIM_THRESHOLD, (int)size);
	(void)mallopt(M_MMAP_THRESHOLD, (int)(size / 8));
}

void
mem_trim(void)
{
	(void)malloc_trim(0);
}
