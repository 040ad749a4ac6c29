/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers. rand_fill asks the kernel: for keys and for what must not be guessed. struct
 * rand_gen is a fast generator from a seed (xoshiro256**): for jitter, and for the simulator, which
 * replays a run from its seed; never for secrets. Only `loop`, `transport/tls*` and `cmd` may
 * include this; others are given numbers by their worker.
 */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

/* Any thread; ends the process when the kernel has none to give. */
void rand_fill(void *memory, size_t size);

struct rand_gen {
	uint64_t state[4];
};

void rand_gen_init(struct rand_gen *gen, uint64_t seed);
uint64_t rand_gen_next(struct rand_gen *gen);

/* Even over 0 .. bound - 1; bound is not 0. */
uint64_t rand_gen_below(struct rand_gen *gen, uint64_t bound);

#endif
