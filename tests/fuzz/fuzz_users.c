/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: a users file. What is refused says where; a SCRAM line that is accepted is written as a
 * line that reads the same.
 */
#include <stdlib.h>
#include <string.h>

#include "../../plugins/users/users.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

static void
round_trip(const char *name, const struct users_verifier *verifier)
{
	char line[2048], why[512];
	size_t len = users_format(name, verifier, line, sizeof(line));
	struct users_table *table;
	const struct users_verifier *again;

	if (len == 0) {
		return;
	}
	table = users_parse("f", line, len, why, sizeof(why));
	require(table != NULL && users_count(table) == 1);
	again = users_find(table, name, strlen(name), -1);
	require(again != NULL && again->kind == verifier->kind &&
		again->iterations == verifier->iterations && again->key_len == verifier->key_len &&
		memcmp(again->key, verifier->key, verifier->key_len) == 0 &&
		memcmp(again->server_key, verifier->server_key, verifier->key_len) == 0);
	users_free(table);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[512] = "";
	struct users_table *table = users_parse("f", (const char *)data, size, why, sizeof(why));
	const struct users_verifier *found;

	if (table == NULL) {
		require(why[0] == 'f');
		return 0;
	}
	found = users_find(table, "alice", 5, -1);
	if (found != NULL &&
	    (found->kind == USERS_SCRAM_SHA_256 || found->kind == USERS_SCRAM_SHA_512)) {
		round_trip("alice", found);
	}
	(void)users_find(table, "", 0, USERS_PBKDF2_SHA512);
	users_free(table);
	return 0;
}
