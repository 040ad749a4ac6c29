/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The users file: a line per user and hash, `name:hash`. A hash is a SCRAM verifier in PostgreSQL's
 * format, SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY (or SCRAM-SHA-512, -384, -1), or one of
 * Mosquitto's lines: $6$SALT$HASH (SHA-512) and $7$ITERATIONS$SALT$HASH (PBKDF2 with SHA-512).
 * Empty lines and lines that begin with # are passed over. For plugins; compiled into each that
 * needs it.
 *
 * A table is immutable once read; any thread may look at it.
 */
#ifndef USERS_USERS_H
#define USERS_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum {
	USERS_MAX_KEY = 64,    /* bytes of a key or hash */
	USERS_MAX_SALT = 128,  /* bytes */
	USERS_MAX_NAME = 1024, /* bytes */
	USERS_ITERATIONS = 10000,
	USERS_MAX_ITERATIONS = 10000000,
};

enum users_kind {
	USERS_SCRAM_SHA_1,
	USERS_SCRAM_SHA_256,
	USERS_SCRAM_SHA_384,
	USERS_SCRAM_SHA_512,
	USERS_SHA512,
	USERS_PBKDF2_SHA512,
};

struct users_verifier {
	enum users_kind kind;
	uint32_t iterations;
	uint8_t salt_len, key_len;
	uint8_t salt[USERS_MAX_SALT];
	uint8_t key[USERS_MAX_KEY];        /* StoredKey, or the hash */
	uint8_t server_key[USERS_MAX_KEY]; /* of SCRAM */
};

struct users_table;

/* NULL with a sentence, which names the line. */
struct users_table *users_read(const char *path, char *why, size_t why_size);
/* The same from memory; name: for sentences. */
struct users_table *users_parse(
    const char *name, const char *text, size_t len, char *why, size_t why_size);
void users_free(struct users_table *table);
size_t users_count(const struct users_table *table); /* lines that have a hash */

/* The user's first verifier (kind < 0), or the first of that kind; NULL: none. */
const struct users_verifier *users_find(
    const struct users_table *table, const char *name, size_t name_len, int kind);

/* Is it the user's password? Takes the same time for a user that is not there: then a verifier of
 * the file's first scheme is computed for nothing. is_known_out: is the user there? */
bool users_check(const struct users_table *table, const char *name, size_t name_len,
    const uint8_t *password, size_t password_len, bool *is_known_out);

/* "SCRAM-SHA-256" …; NULL for a kind that is none of SCRAM. The kind of such a name, or -1. */
const char *users_scheme(enum users_kind kind);
int users_kind_of(const char *scheme, size_t len);

/*
 * A verifier for a name that no password fits, always the same for name, secret and kind, which
 * looks like those of the file: so that who asks cannot tell it from one. False: the library
 * refuses.
 */
bool users_invent(const struct users_table *table, enum users_kind kind, const uint8_t *secret,
    size_t secret_len, const char *name, size_t name_len, struct users_verifier *out);

/* A new SCRAM verifier with a random salt; false: the library refuses. */
bool users_make(enum users_kind kind, uint32_t iterations, const uint8_t *password, size_t len,
    struct users_verifier *out);
/* "SCHEME$ITERATIONS:SALT$STOREDKEY:SERVERKEY" of a SCRAM verifier, NUL terminated; the length, or
 * 0 when it does not fit. */
size_t users_format_hash(const struct users_verifier *verifier, char *out, size_t size);
/* "name:hash\n"; likewise. */
size_t users_format(
    const char *name, const struct users_verifier *verifier, char *out, size_t size);

/* Between two looks at a file. */
bool users_file_has_changed(const struct stat *before, const struct stat *now);

/* May it be a name? No colon, no control character, not empty, no # in front. */
bool users_is_name(const char *name, size_t len);

#endif
