/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters: one table names them all, and $SYS, the metrics page and the manual are made from it.
 * Each thread writes its own set without a lock; readers sum the sets of all threads. A gauge may
 * go down: what one thread takes away may have been added by another, so a single set's gauge may
 * be "negative" (modulo 2^64) while the sum is right.
 */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/context.h"

enum counter_kind { COUNTER_TOTAL, COUNTER_GAUGE };

/*
 * X(NAME, kind, "name in metrics and manual", "help"). A room adds its rows with the code that
 * counts them.
 */
#define COUNTER_TABLE(X)                                             \
	X(LOG_LINES, TOTAL, "log_lines", "lines written to the log") \
	X(LOG_DROPPED, TOTAL, "log_dropped", "log lines lost because a thread's ring was full")

#define COUNTER_ENUM(name, kind, label, help) COUNTER_##name,
enum counter { COUNTER_TABLE(COUNTER_ENUM) COUNTER_COUNT };
#undef COUNTER_ENUM

struct counter_info {
	const char *name;
	const char *help;
	enum counter_kind kind;
};

extern const struct counter_info counter_infos[COUNTER_COUNT];

/* One thread's counters, on cache lines of their own. */
struct counter_set {
	_Alignas(64) _Atomic uint64_t values[COUNTER_COUNT];
};

/* Adds to the current thread's set. The only writer is this thread: a load and a store, no locked
 * instruction. */
static inline void
counter_add(enum counter counter, uint64_t n)
{
	struct context *context = context_current;

	if (context != NULL && context->counters != NULL) {
		_Atomic uint64_t *value = &context->counters->values[counter];

		atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n,
		    memory_order_relaxed);
	}
}

static inline void
counter_sub(enum counter counter, uint64_t n)
{
	counter_add(counter, -n);
}

/* Any thread: the sum over `count` sets. */
uint64_t counter_sum(const struct counter_set *const *sets, size_t count, enum counter counter);

#endif
