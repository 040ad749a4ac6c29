/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rand.h"

#include <assert.h>
#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

#include "base/err.h"

void
rand_fill(void *memory, size_t size)
{
	uint8_t *at = memory;

	while (size != 0) {
		ssize_t got = getrandom(at, size, 0);

		if (got < 0 && errno == EINTR) {
			continue;
		}
		if (got <= 0) {
			err_fatal("the kernel gives no random numbers");
		}
		at += got;
		size -= (size_t)got;
	}
}

/* splitmix64: spreads one seed over the state, as the authors of xoshiro advise. */
void
rand_gen_init(struct rand_gen *gen, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
		z = (z ^ z >> 27) * 0x94d049bb133111eb;
		gen->state[i] = z ^ z >> 31;
	}
}

static inline uint64_t
rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

uint64_t
rand_gen_next(struct rand_gen *gen)
{
	uint64_t *s = gen->state;
	uint64_t result = rotate(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

uint64_t
rand_gen_below(struct rand_gen *gen, uint64_t bound)
{
	uint64_t unfair; /* this many low values would make the small results likelier */
	uint64_t value;

	assert(bound != 0);
	unfair = -bound % bound;
	do {
		value = rand_gen_next(gen);
	} while (value < unfair);
	return value % bound;
}
