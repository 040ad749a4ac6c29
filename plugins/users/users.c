/* SPDX-License-Identifier: Apache-2.0 */
#include "users.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE = 256 << 20, MAX_LINE = 4096, SALT_LEN = 16, SHA256_LEN = 32, SHA512_LEN = 64 };

struct entry {
	const char *name; /* in the table's text; NUL terminated */
	size_t name_len;
	struct users_verifier verifier;
	struct entry *next; /* of the bucket; lines of one name stay in the file's order */
};

struct users_table {
	char *text;
	size_t count, cap, mask;
	struct entry *entries;
	struct entry **buckets;
	struct users_verifier dummy;
};

/* --- hashes --- */

static const EVP_MD *
digest_of(enum users_kind kind)
{
	return kind == USERS_SCRAM_SHA_256 ? EVP_sha256() : EVP_sha512();
}

static size_t
digest_len(enum users_kind kind)
{
	return kind == USERS_SCRAM_SHA_256 ? SHA256_LEN : SHA512_LEN;
}

static bool
derive(const struct users_verifier *verifier, const uint8_t *password, size_t len, uint8_t *out)
{
	return len <= INT32_MAX &&
	       PKCS5_PBKDF2_HMAC((const char *)password, (int)len, verifier->salt,
		   verifier->salt_len, (int)verifier->iterations, digest_of(verifier->kind),
		   (int)digest_len(verifier->kind), out) == 1;
}

/* StoredKey and ServerKey [RFC 5802, 3]. */
static bool
scram_keys(const struct users_verifier *verifier, const uint8_t *password, size_t len,
    uint8_t *stored, uint8_t *server)
{
	static const unsigned char client_text[] = "Client Key", server_text[] = "Server Key";
	const EVP_MD *digest = digest_of(verifier->kind);
	int key_len = (int)digest_len(verifier->kind);
	uint8_t salted[USERS_MAX_KEY], client[USERS_MAX_KEY];
	unsigned int n;
	bool good;

	good =
	    derive(verifier, password, len, salted) &&
	    HMAC(digest, salted, key_len, client_text, sizeof(client_text) - 1, client, &n) !=
		NULL &&
	    EVP_Digest(client, (size_t)key_len, stored, &n, digest, NULL) == 1 &&
	    HMAC(digest, salted, key_len, server_text, sizeof(server_text) - 1, server, &n) != NULL;
	OPENSSL_cleanse(salted, sizeof(salted));
	OPENSSL_cleanse(client, sizeof(client));
	return good;
}

/* SHA-512 over password and salt, as mosquitto_passwd made them once. */
static bool
sha512_hash(
    const struct users_verifier *verifier, const uint8_t *password, size_t len, uint8_t *out)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned int n;
	bool good = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha512(), NULL) == 1 &&
		    EVP_DigestUpdate(ctx, password, len) == 1 &&
		    EVP_DigestUpdate(ctx, verifier->salt, verifier->salt_len) == 1 &&
		    EVP_DigestFinal_ex(ctx, out, &n) == 1;

	EVP_MD_CTX_free(ctx);
	return good;
}

static bool
matches(const struct users_verifier *verifier, const uint8_t *password, size_t len)
{
	uint8_t key[USERS_MAX_KEY], server[USERS_MAX_KEY];
	bool good = false;

	switch (verifier->kind) {
	case USERS_SCRAM_SHA_256:
	case USERS_SCRAM_SHA_512:
		good = scram_keys(verifier, password, len, key, server);
		break;
	case USERS_SHA512:
		good = sha512_hash(verifier, password, len, key);
		break;
	case USERS_PBKDF2_SHA512:
		good = derive(verifier, password, len, key);
		break;
	}
	good = good && CRYPTO_memcmp(key, verifier->key, verifier->key_len) == 0;
	OPENSSL_cleanse(key, sizeof(key));
	OPENSSL_cleanse(server, sizeof(server));
	return good;
}

bool
users_make(enum users_kind kind, uint32_t iterations, const uint8_t *password, size_t len,
    struct users_verifier *out)
{
	*out = (struct users_verifier){.kind = kind,
	    .iterations = iterations,
	    .salt_len = SALT_LEN,
	    .key_len = (uint8_t)digest_len(kind)};
	return RAND_bytes(out->salt, SALT_LEN) == 1 &&
	       scram_keys(out, password, len, out->key, out->server_key);
}

/* --- base64 --- */

/* At most `size` bytes; their number, or -1. */
static int
decode(const char *text, size_t len, uint8_t *out, size_t size)
{
	unsigned char block[USERS_MAX_SALT * 2 + 4];
	size_t padding = 0;
	int n;

	if (len == 0 || len % 4 != 0 || len / 4 * 3 > sizeof(block)) {
		return -1;
	}
	while (padding < 2 && text[len - 1 - padding] == '=') {
		padding++;
	}
	n = EVP_DecodeBlock(block, (const unsigned char *)text, (int)len);
	if (n < 0 || (size_t)n - padding > size) {
		return -1;
	}
	memcpy(out, block, (size_t)n - padding);
	return n - (int)padding;
}

/* --- lines --- */

static bool
read_number(const char **at, char end, uint32_t *out)
{
	uint64_t value = 0;
	const char *p = *at;

	for (; *p >= '0' && *p <= '9' && value <= USERS_MAX_ITERATIONS; p++) {
		value = value * 10 + (uint64_t)(*p - '0');
	}
	if (p == *at || *p != end || value == 0 || value > USERS_MAX_ITERATIONS) {
		return false;
	}
	*out = (uint32_t)value;
	*at = p + 1;
	return true;
}

/* Base64 up to a character (0: the end). */
static bool
read_base64(const char **at, char end, uint8_t *out, size_t size, uint8_t *len_out)
{
	const char *stop = end != '\0' ? strchr(*at, end) : *at + strlen(*at);
	int n;

	if (stop == NULL) {
		return false;
	}
	n = decode(*at, (size_t)(stop - *at), out, size);
	if (n <= 0) {
		return false;
	}
	*len_out = (uint8_t)n;
	*at = stop + (end != '\0');
	return true;
}

static bool
read_scram(const char *at, enum users_kind kind, struct users_verifier *out)
{
	uint8_t stored_len, server_len;

	out->kind = kind;
	if (!read_number(&at, ':', &out->iterations) ||
	    !read_base64(&at, '$', out->salt, sizeof(out->salt) - 1, &out->salt_len) ||
	    !read_base64(&at, ':', out->key, sizeof(out->key), &stored_len) ||
	    !read_base64(&at, '\0', out->server_key, sizeof(out->server_key), &server_len)) {
		return false;
	}
	out->key_len = stored_len;
	return stored_len == digest_len(kind) && server_len == stored_len;
}

static bool
read_mosquitto(const char *at, bool has_iterations, struct users_verifier *out)
{
	out->kind = has_iterations ? USERS_PBKDF2_SHA512 : USERS_SHA512;
	out->iterations = 1;
	return (!has_iterations || read_number(&at, '$', &out->iterations)) &&
	       read_base64(&at, '$', out->salt, sizeof(out->salt) - 1, &out->salt_len) &&
	       read_base64(&at, '\0', out->key, sizeof(out->key), &out->key_len) &&
	       out->key_len == SHA512_LEN;
}

static bool
starts_with(const char **at, const char *prefix)
{
	size_t len = strlen(prefix);

	if (strncmp(*at, prefix, len) != 0) {
		return false;
	}
	*at += len;
	return true;
}

/* What is wrong, or NULL. */
static const char *
read_hash(const char *at, struct users_verifier *out)
{
	static const char malformed[] = "the hash is malformed";

	*out = (struct users_verifier){0};
	if (starts_with(&at, "SCRAM-SHA-256$")) {
		return read_scram(at, USERS_SCRAM_SHA_256, out) ? NULL : malformed;
	}
	if (starts_with(&at, "SCRAM-SHA-512$")) {
		return read_scram(at, USERS_SCRAM_SHA_512, out) ? NULL : malformed;
	}
	if (starts_with(&at, "$6$")) {
		return read_mosquitto(at, false, out) ? NULL : malformed;
	}
	if (starts_with(&at, "$7$")) {
		return read_mosquitto(at, true, out) ? NULL : malformed;
	}
	return "the hash is of no kind that is known (SCRAM-SHA-256, SCRAM-SHA-512, $6$, $7$); "
	       "passwords do not stand in this file: make a line with avocetctl user add";
}

bool
users_is_name(const char *name, size_t len)
{
	if (len == 0 || len > USERS_MAX_NAME || name[0] == '#') {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (name[i] == ':' || (unsigned char)name[i] < ' ' || name[i] == 0x7f) {
			return false;
		}
	}
	return true;
}

/* --- the table --- */

static uint64_t
hash_of(const char *name, size_t len)
{
	uint64_t hash = 14695981039346656037ULL;

	for (size_t i = 0; i < len; i++) {
		hash = (hash ^ (uint8_t)name[i]) * 1099511628211ULL;
	}
	return hash ^ hash >> 29;
}

static bool
add(struct users_table *table, char *line, size_t number, const char *file, char *why,
    size_t why_size)
{
	char *colon = strchr(line, ':');
	struct entry *entry;
	const char *wrong;

	if (colon == NULL || !users_is_name(line, (size_t)(colon - line))) {
		(void)snprintf(why, why_size, "%s:%zu: a line is name:hash", file, number);
		return false;
	}
	if (table->count == table->cap) {
		size_t cap = table->cap != 0 ? table->cap * 2 : 16;
		struct entry *entries = realloc(table->entries, cap * sizeof(*entries));

		if (entries == NULL) {
			(void)snprintf(why, why_size, "%s: no memory", file);
			return false;
		}
		table->entries = entries;
		table->cap = cap;
	}
	entry = &table->entries[table->count];
	*colon = '\0';
	entry->name = line;
	entry->name_len = (size_t)(colon - line);
	wrong = read_hash(colon + 1, &entry->verifier);
	if (wrong != NULL) {
		(void)snprintf(why, why_size, "%s:%zu: user \"%s\": %s", file, number, line, wrong);
		return false;
	}
	table->count++;
	return true;
}

static bool
index_names(struct users_table *table)
{
	size_t buckets = 16;

	while (buckets < table->count * 2) {
		buckets *= 2;
	}
	table->mask = buckets - 1;
	table->buckets = calloc(buckets, sizeof(*table->buckets));
	for (size_t i = 0; table->buckets != NULL && i < table->count; i++) {
		struct entry *entry = &table->entries[i];
		struct entry **at =
		    &table->buckets[hash_of(entry->name, entry->name_len) & table->mask];

		while (*at != NULL) {
			at = &(*at)->next;
		}
		entry->next = NULL;
		*at = entry;
	}
	return table->buckets != NULL;
}

/* What is computed for users that are not there. */
static void
make_dummy(struct users_table *table)
{
	if (table->count != 0) {
		table->dummy = table->entries[0].verifier;
	} else {
		table->dummy = (struct users_verifier){.kind = USERS_SCRAM_SHA_256,
		    .iterations = USERS_ITERATIONS,
		    .salt_len = SALT_LEN,
		    .key_len = SHA256_LEN};
	}
	memset(table->dummy.key, 0, sizeof(table->dummy.key));
}

struct users_table *
users_parse(const char *name, const char *text, size_t len, char *why, size_t why_size)
{
	struct users_table *table = calloc(1, sizeof(*table));
	size_t number = 1;
	char *line;

	if (table == NULL || (table->text = malloc(len + 1)) == NULL) {
		(void)snprintf(why, why_size, "%s: no memory", name);
		users_free(table);
		return NULL;
	}
	memcpy(table->text, text, len);
	table->text[len] = '\0';
	if (memchr(text, '\0', len) != NULL) {
		(void)snprintf(why, why_size, "%s: is not a text file", name);
		users_free(table);
		return NULL;
	}
	for (line = table->text; line != NULL; number++) {
		char *end = strchr(line, '\n');
		size_t line_len = end != NULL ? (size_t)(end - line) : strlen(line);

		if (line_len != 0 && line[line_len - 1] == '\r') {
			line[line_len - 1] = '\0';
		}
		if (end != NULL) {
			*end = '\0';
		}
		if (line[0] != '\0' && line[0] != '#' &&
		    !add(table, line, number, name, why, why_size)) {
			users_free(table);
			return NULL;
		}
		line = end != NULL ? end + 1 : NULL;
	}
	make_dummy(table);
	if (!index_names(table)) {
		(void)snprintf(why, why_size, "%s: no memory", name);
		users_free(table);
		return NULL;
	}
	return table;
}

struct users_table *
users_read(const char *path, char *why, size_t why_size)
{
	struct users_table *table = NULL;
	struct stat status;
	char *text = NULL;
	size_t len = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status) != 0) {
		(void)snprintf(why, why_size, "%s: %s", path, strerror(errno));
	} else if (!S_ISREG(status.st_mode) || status.st_size > MAX_FILE) {
		(void)snprintf(why, why_size, "%s: is no file, or too large", path);
	} else if ((text = malloc((size_t)status.st_size + 1)) == NULL) {
		(void)snprintf(why, why_size, "%s: no memory", path);
	} else {
		ssize_t n;

		while (len < (size_t)status.st_size &&
		       (n = read(fd, text + len, (size_t)status.st_size - len)) > 0) {
			len += (size_t)n;
		}
		table = users_parse(path, text, len, why, why_size);
		OPENSSL_cleanse(text, len);
	}
	free(text);
	if (fd >= 0) {
		(void)close(fd);
	}
	return table;
}

void
users_free(struct users_table *table)
{
	if (table != NULL) {
		if (table->entries != NULL) {
			OPENSSL_cleanse(table->entries, table->cap * sizeof(*table->entries));
		}
		if (table->text != NULL) {
			OPENSSL_cleanse(table->text, strlen(table->text));
		}
		free(table->entries);
		free(table->buckets);
		free(table->text);
		free(table);
	}
}

size_t
users_count(const struct users_table *table)
{
	return table->count;
}

const struct users_verifier *
users_find(const struct users_table *table, const char *name, size_t name_len, int kind)
{
	const struct entry *entry = table->buckets[hash_of(name, name_len) & table->mask];

	for (; entry != NULL; entry = entry->next) {
		if (entry->name_len == name_len && memcmp(entry->name, name, name_len) == 0 &&
		    (kind < 0 || (int)entry->verifier.kind == kind)) {
			return &entry->verifier;
		}
	}
	return NULL;
}

bool
users_check(const struct users_table *table, const char *name, size_t name_len,
    const uint8_t *password, size_t password_len, bool *is_known_out)
{
	const struct users_verifier *verifier = users_find(table, name, name_len, -1);
	bool good;

	*is_known_out = verifier != NULL;
	good = matches(verifier != NULL ? verifier : &table->dummy, password, password_len);
	return good && verifier != NULL;
}

size_t
users_format(const char *name, const struct users_verifier *verifier, char *out, size_t size)
{
	unsigned char salt[USERS_MAX_SALT * 2], stored[USERS_MAX_KEY * 2],
	    server[USERS_MAX_KEY * 2];
	int n;

	(void)EVP_EncodeBlock(salt, verifier->salt, verifier->salt_len);
	(void)EVP_EncodeBlock(stored, verifier->key, verifier->key_len);
	(void)EVP_EncodeBlock(server, verifier->server_key, verifier->key_len);
	n = snprintf(out, size, "%s:SCRAM-SHA-%s$%u:%s$%s:%s\n", name,
	    verifier->kind == USERS_SCRAM_SHA_256 ? "256" : "512", verifier->iterations,
	    (char *)salt, (char *)stored, (char *)server);
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}
