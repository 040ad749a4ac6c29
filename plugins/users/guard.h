/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who guesses passwords. Failures are counted by address and by user in a table of fixed size: a
 * new one takes the place of the one that is oldest among a few, so a stranger cannot make it grow.
 * Any thread.
 */
#ifndef USERS_GUARD_H
#define USERS_GUARD_H

#include <avocet/avocet_base.h>
#include <stdbool.h>

struct guard;

struct guard_options {
	uint32_t max_failures;      /* of an address; 0: no end */
	uint32_t max_user_failures; /* of a user; 0: no end */
	int64_t lockout_ns;
	uint32_t max_delay_ms;
};

struct guard_key {
	avocet_str address, user; /* user empty: not known (yet) */
};

struct guard *guard_new(void);
void guard_free(struct guard *guard);

/* Shut out for now? delay_ms_out: how long to hold the refusal back. */
bool guard_is_shut(struct guard *guard, const struct guard_options *options,
    const struct guard_key *key, int64_t now_ns, uint32_t *delay_ms_out);
/* A failure more; how long to hold the refusal back. */
uint32_t guard_note(struct guard *guard, const struct guard_options *options,
    const struct guard_key *key, int64_t now_ns);
/* The right password: its address begins anew. */
void guard_forgive(struct guard *guard, const struct guard_key *key);

#endif
