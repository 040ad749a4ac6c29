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

enum {
	MAX_FILE = 256 << 20,
	MAX_LINE = 4096,
	SALT_LEN = 16,
	SHA1_LEN = 20,
	SHA256_LEN = 32,
	SHA384_LEN = 48,
	SHA512_LEN = 64
};

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
	struct users_verifier dummy; /* of the first line */
	struct users_verifier dummies[USERS_PBKDF2_SHA512 + 1];
};

/* --- hashes --- */

struct scheme {
	const char *name;
	const EVP_MD *(*digest)(void);
	uint8_t len;
};

static const struct scheme schemes[] = {
    [USERS_SCRAM_SHA_1] = {"SCRAM-SHA-1", EVP_sha1, SHA1_LEN},
    [USERS_SCRAM_SHA_256] = {"SCRAM-SHA-256", EVP_sha256, SHA256_LEN},
    [USERS_SCRAM_SHA_384] = {"SCRAM-SHA-384", EVP_sha384, SHA384_LEN},
    [USERS_SCRAM_SHA_512] = {"SCRAM-SHA-512", EVP_sha512, SHA512_LEN},
    [USERS_SHA512] = {NULL, EVP_sha512, SHA512_LEN},
    [USERS_PBKDF2_SHA512] = {NULL, EVP_sha512, SHA512_LEN},
};

static const EVP_MD *
digest_of(enum users_kind kind)
{
	return schemes[kind].digest();
}

static size_t
digest_len(enum users_kind kind)
{
	return schemes[kind].len;
}

const char *
users_scheme(enum users_kind kind)
{
	return schemes[kind].name;
}

int
users_kind_of(const char *scheme, size_t len)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		if (schemes[i].name != NULL && strlen(schemes[i].name) == len &&
		    memcmp(schemes[i].name, scheme, len) == 0) {
			return (int)i;
		}
	}
	return -1;
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
	case USERS_SCRAM_SHA_1:
	case USERS_SCRAM_SHA_256:
	case USERS_SCRAM_SHA_384:
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
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		const char *rest = at;

		if (schemes[i].name != NULL && starts_with(&rest, schemes[i].name) &&
		    *rest == '$') {
			return read_scram(rest + 1, (enum users_kind)i, out) ? NULL : malformed;
		}
	}
	if (starts_with(&at, "$6$")) {
		return read_mosquitto(at, false, out) ? NULL : malformed;
	}
	if (starts_with(&at, "$7$")) {
		return read_mosquitto(at, true, out) ? NULL : malformed;
	}
	return "the hash is of no kind that is known (SCRAM-SHA-1, -256, -384 or -512, $6$, $7$); "
	       "passwords do not stand in this file: make a line with avocetctl user add";
}

bool
users_file_has_changed(const struct stat *before, const struct stat *now)
{
	return before->st_dev != now->st_dev || before->st_ino != now->st_ino ||
	       before->st_size != now->st_size || before->st_mtim.tv_sec != now->st_mtim.tv_sec ||
	       before->st_mtim.tv_nsec != now->st_mtim.tv_nsec;
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

/* What is computed for users that are not there: like the first of a kind. */
static void
make_dummies(struct users_table *table)
{
	for (size_t kind = 0; kind < sizeof(schemes) / sizeof(schemes[0]); kind++) {
		table->dummies[kind] = (struct users_verifier){.kind = (enum users_kind)kind,
		    .iterations = USERS_ITERATIONS,
		    .salt_len = SALT_LEN,
		    .key_len = schemes[kind].len};
	}
	for (size_t i = table->count; i > 0; i--) {
		const struct users_verifier *verifier = &table->entries[i - 1].verifier;

		table->dummies[verifier->kind] = *verifier;
	}
	table->dummy = table->dummies[table->count != 0 ? table->entries[0].verifier.kind
							: USERS_SCRAM_SHA_256];
	memset(table->dummy.key, 0, sizeof(table->dummy.key));
}

bool
users_invent(const struct users_table *table, enum users_kind kind, const uint8_t *secret,
    size_t secret_len, const char *name, size_t name_len, struct users_verifier *out)
{
	uint8_t made[3][USERS_MAX_KEY];
	bool good = true;

	*out = table->dummies[kind];
	for (uint8_t i = 0; i < 3; i++) {
		unsigned char text[USERS_MAX_NAME + 2] = {(unsigned char)kind, i};
		size_t len = name_len < USERS_MAX_NAME ? name_len : USERS_MAX_NAME;
		unsigned int n;

		memcpy(text + 2, name, len);
		good = good && HMAC(EVP_sha512(), secret, (int)secret_len, text, len + 2, made[i],
				   &n) != NULL;
	}
	for (size_t i = 0; i < out->salt_len; i++) {
		out->salt[i] = made[0][i % USERS_MAX_KEY];
	}
	memcpy(out->key, made[1], sizeof(out->key));
	memcpy(out->server_key, made[2], sizeof(out->server_key));
	return good;
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
	make_dummies(table);
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
users_format_hash(const struct users_verifier *verifier, char *out, size_t size)
{
	unsigned char salt[USERS_MAX_SALT * 2], stored[USERS_MAX_KEY * 2],
	    server[USERS_MAX_KEY * 2];
	int n;

	(void)EVP_EncodeBlock(salt, verifier->salt, verifier->salt_len);
	(void)EVP_EncodeBlock(stored, verifier->key, verifier->key_len);
	(void)EVP_EncodeBlock(server, verifier->server_key, verifier->key_len);
	n = snprintf(out, size, "%s$%u:%s$%s:%s", schemes[verifier->kind].name,
	    verifier->iterations, (char *)salt, (char *)stored, (char *)server);
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

size_t
users_format(const char *name, const struct users_verifier *verifier, char *out, size_t size)
{
	char hash[USERS_MAX_SALT * 2 + USERS_MAX_KEY * 4 + 64];
	int n;

	if (users_format_hash(verifier, hash, sizeof(hash)) == 0) {
		return 0;
	}
	n = snprintf(out, size, "%s:%s\n", name, hash);
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}
