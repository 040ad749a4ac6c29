/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash-1-3: a keyed hash, so that who chooses the keys (client ids, topics) cannot choose
 * collisions. The key is drawn once per process and is not told to anybody.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdint.h>

#include "base/bytes.h"

struct hash_key {
	uint64_t k0;
	uint64_t k1;
};

uint64_t hash_bytes(const struct hash_key *key, struct bytes bytes);

/* SipHash with other numbers of rounds; 2 and 4 are those of the published test vectors. */
uint64_t hash_sip(const struct hash_key *key, struct bytes bytes, int rounds, int final_rounds);

#endif
