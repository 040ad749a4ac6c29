/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reference count that threads share. Who holds a reference may take another; the last one to
 * give its reference up frees the object. Taking is relaxed (the taker already sees the object);
 * giving up is a release, and the last one acquires, so that it sees all that the others did before
 * they let go.
 */
#ifndef BASE_REF_H
#define BASE_REF_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ref {
	_Atomic uint32_t count;
};

static inline void
ref_init(struct ref *ref)
{
	atomic_init(&ref->count, 1);
}

/* Takes n more references: one atomic step for a batch of receivers. */
static inline void
ref_get_many(struct ref *ref, uint32_t n)
{
	uint32_t before = atomic_fetch_add_explicit(&ref->count, n, memory_order_relaxed);

	assert(before != 0 && before <= UINT32_MAX - n);
	(void)before;
}

static inline void
ref_get(struct ref *ref)
{
	ref_get_many(ref, 1);
}

/* Gives n references up; true when they were the last: the caller frees the object. */
static inline bool
ref_put_many(struct ref *ref, uint32_t n)
{
	uint32_t before = atomic_fetch_sub_explicit(&ref->count, n, memory_order_acq_rel);

	assert(before >= n);
	return before == n;
}

static inline bool
ref_put(struct ref *ref)
{
	return ref_put_many(ref, 1);
}

/* True when the caller's reference is the only one; nobody else can then take another. */
static inline bool
ref_is_single(struct ref *ref)
{
	return atomic_load_explicit(&ref->count, memory_order_acquire) == 1;
}

#endif
