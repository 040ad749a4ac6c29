/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash after Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012). Four words of
 * state; each eight bytes of input, read little endian, go in through v3 and out through v0; the
 * last word carries the length.
 */
#include "base/hash.h"

#include <string.h>

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t
rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static inline uint64_t
load_le(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

static inline void
sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v2 = rotate(s->v2, 32);
}

static inline uint64_t
sip_hash(const struct hash_key *key, struct bytes bytes, int rounds, int final_rounds)
{
	struct sip s = {key->k0 ^ 0x736f6d6570736575, key->k1 ^ 0x646f72616e646f6d,
	    key->k0 ^ 0x6c7967656e657261, key->k1 ^ 0x7465646279746573};
	const uint8_t *p = bytes.data;
	size_t left = bytes.len;
	uint64_t word;

	for (; left >= 8; left -= 8, p += 8) {
		word = load_le(p);
		s.v3 ^= word;
		for (int i = 0; i < rounds; i++) {
			sip_round(&s);
		}
		s.v0 ^= word;
	}
	word = (uint64_t)bytes.len << 56;
	for (size_t i = 0; i < left; i++) {
		word |= (uint64_t)p[i] << (8 * i);
	}
	s.v3 ^= word;
	for (int i = 0; i < rounds; i++) {
		sip_round(&s);
	}
	s.v0 ^= word;
	s.v2 ^= 0xff;
	for (int i = 0; i < final_rounds; i++) {
		sip_round(&s);
	}
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t
hash_bytes(const struct hash_key *key, struct bytes bytes)
{
	return sip_hash(key, bytes, 1, 3);
}

uint64_t
hash_sip(const struct hash_key *key, struct bytes bytes, int rounds, int final_rounds)
{
	return sip_hash(key, bytes, rounds, final_rounds);
}
