/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing array of any type. `VEC(struct x) v = {0};` owns its items' memory, not what the items
 * point to. Growth is geometric and cannot fail: for counts that a client drives, compare with a
 * limit first.
 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <assert.h>
#include <stddef.h>

#include "base/mem.h"

#define VEC(type)             \
	struct {              \
		type *items;  \
		size_t count; \
		size_t cap;   \
	}

#define vec_push(v, ...)                                                                      \
	do {                                                                                  \
		if ((v)->count == (v)->cap) {                                                 \
			(v)->cap = vec_next_cap((v)->cap, sizeof(*(v)->items));               \
			(v)->items = mem_realloc((v)->items, (v)->cap * sizeof(*(v)->items)); \
		}                                                                             \
		(v)->items[(v)->count++] = (__VA_ARGS__);                                     \
	} while (0)

/* The last item, taken off; the vector must not be empty. */
#define vec_pop(v) (assert((v)->count != 0), (v)->items[--(v)->count])

/* Removes item i by putting the last one in its place: order is not kept. */
#define vec_swap_remove(v, i)                             \
	do {                                              \
		assert((size_t)(i) < (v)->count);         \
		(v)->items[i] = (v)->items[--(v)->count]; \
	} while (0)

#define vec_each(item, v) \
	for ((item) = (v)->items; (v)->count != 0 && (item) < (v)->items + (v)->count; (item)++)

#define vec_fini(v)                    \
	do {                           \
		mem_free(&(v)->items); \
		(v)->count = 0;        \
		(v)->cap = 0;          \
	} while (0)

/* The capacity after `cap`, in items of `size` bytes. */
size_t vec_next_cap(size_t cap, size_t size);

#endif
