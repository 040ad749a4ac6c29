/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine in memory, for tests: commits late, in cuts, and fails by seed; what it holds survives
 * the broker, so that a test may crash it and load again. Not part of `avocet`.
 */
#ifndef STORE_ENGINE_MEM_H
#define STORE_ENGINE_MEM_H

#include "store/engine.h"

/* What is "on disk": made and freed by the test, used by one engine at a time. */
struct store_disk;
struct store_disk *store_disk_new(void);
void store_disk_free(struct store_disk **disk);

struct store_mem_options {
	uint64_t seed;
	int64_t min_delay_ms;    /* a commit comes so much later, drawn evenly … */
	int64_t max_delay_ms;    /* … up to this */
	uint32_t fail_per_mille; /* of 1000 commits so many fail (FULL or IO) … */
	uint32_t fail_length;    /* … and so many attempts after them, drawn up to this */
};

struct store_engine *store_engine_mem_new(
    struct store_disk *disk, const struct store_mem_options *options);

/* Any thread: forced state, for tests: fails until it is set back. */
void store_disk_set_failing(struct store_disk *disk, bool failing);

/* How many of each kind it holds, for tests: sessions, subscriptions, messages, queue rows,
 * receives, retained, wills. */
struct store_disk_counts {
	size_t sessions, subscriptions, messages, queue, received, retained, wills, cursors;
};
void store_disk_counts(struct store_disk *disk, struct store_disk_counts *counts_out);

#endif
