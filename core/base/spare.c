/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sizes of the classes are those of the C library for x86-64 (multiples of 16 less the 8 bytes
 * before each block), so that rounding up to a class costs no memory. With another library it costs
 * at most 15 bytes.
 */
#include "base/spare.h"

#include "base/context.h"
#include "base/mem.h"

enum { STEP = 16, OVERHEAD = 8 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEPS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define KEEPS 0
#endif
#endif
#ifndef KEEPS
#define KEEPS 1
#endif

struct spare_block {
	struct spare_block *next;
};

/* The class whose blocks have room for so much. */
static inline size_t
class_of(size_t size)
{
	return (size + OVERHEAD + STEP - 1) / STEP;
}

static inline size_t
size_of(size_t class)
{
	return class * STEP - OVERHEAD;
}

/* Of this thread; NULL: it has none, or there is none for such blocks. */
static inline struct spare_set *
set_for(size_t class)
{
	const struct context *context = context_current;

	return KEEPS && class < SPARE_CLASSES && context != NULL ? context->spares : NULL;
}

void *
spare_alloc(size_t size)
{
	size_t class = class_of(size);
	struct spare_set *set = set_for(class);
	struct spare_block *block = set != NULL ? set->first[class] : NULL;

	if (block != NULL) {
		set->first[class] = block->next;
		set->bytes[class] -= (uint32_t)(class * STEP);
		return block;
	}
	return mem_try_alloc(size > size_of(class) ? size : size_of(class));
}

void
spare_free(void *block, size_t size)
{
	size_t class = class_of(size);
	struct spare_set *set = set_for(class);
	struct spare_block *spare = block;

	if (set == NULL || set->bytes[class] >= SPARE_MOST) {
		mem_free(&block);
		return;
	}
	spare->next = set->first[class];
	set->first[class] = spare;
	set->bytes[class] += (uint32_t)(class * STEP);
}

void
spare_set_fini(struct spare_set *set)
{
	for (size_t class = 0; class < SPARE_CLASSES; class ++) {
		while (set->first[class] != NULL) {
			struct spare_block *block = set->first[class];

			set->first[class] = block->next;
			mem_free(&block);
		}
		set->bytes[class] = 0;
	}
}
