/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a TLS context from options; main only, at start and at reload. Reading files may block.
 *
 * Resumption is by tickets alone: nothing is remembered for a client that is gone. Their keys are
 * drawn with the context and live as long as it. So a reload ends all tickets, and must: who
 * resumes is not checked against authorities and revoked certificates again.
 *
 * Revocation is checked for the whole chain, but only the issuer of the leaf must have a list: many
 * authorities publish none for their root.
 */
#include "transport/tls_ctx.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "transport/tls_int.h"

/* Forward secrecy and authenticated encryption; for keys that are shared also without the former,
 * since small devices often have nothing else. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM"
#define CIPHERS_PSK                                                                         \
	":ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES128-GCM-SHA256:DHE-PSK-AES256-GCM-SHA384"  \
	":PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384:PSK-CHACHA20-POLY1305:PSK-AES128-CCM" \
	":PSK-AES128-CCM8:ECDHE-PSK-AES128-CBC-SHA256:PSK-AES128-CBC-SHA256"
/* SHA-256 in front: a PSK goes with nothing else, and AES-128 costs least. */
#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"

enum { TICKET_LIFE_S = 7200 };

/* What is being made. */
struct build {
	struct tls_ctx *ctx;
	const struct tls_options *options;
	bool is_client;
	char *why;
	size_t why_size;
};

__attribute__((format(printf, 3, 4))) static bool
refuse(const struct build *build, const char *option, const char *format, ...)
{
	va_list args;

	if (build->options->wrong_out != NULL) {
		*build->options->wrong_out = option;
	}
	va_start(args, format);
	(void)vsnprintf(build->why, build->why_size, format, args);
	va_end(args);
	ERR_clear_error();
	return false;
}

/* OpenSSL's reason for what just failed: the oldest error is the cause of the others. */
static const char *
reason(void)
{
	unsigned long code = ERR_peek_error();
	const char *text = ERR_reason_error_string(code);

	if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE) {
		return "it holds nothing of that kind in PEM form";
	}
	return text != NULL ? text : "OpenSSL does not say why";
}

/* The system's reasons are better told by the system. */
static bool
may_read(const struct build *build, const char *option, const char *file)
{
	FILE *in = fopen(file, "re");
	char text[128];
	int error = 0;

	if (in == NULL) {
		error = errno;
	} else {
		if (getc(in) == EOF && ferror(in)) {
			error = errno;
		}
		(void)fclose(in);
	}
	return error == 0 || refuse(build, option, "cannot read %s: %s", file,
				 strerror_r(error, text, sizeof(text)));
}

/* --- certificate and key --- */

static bool
load_certificate(const struct build *build)
{
	const char *file = build->options->certfile;
	SSL_CTX *ssl = build->ctx->ssl;
	const X509 *leaf;

	if (!may_read(build, "certfile", file)) {
		return false;
	}
	if (SSL_CTX_use_certificate_chain_file(ssl, file) != 1) {
		return refuse(
		    build, "certfile", "cannot use %s as a certificate: %s", file, reason());
	}
	leaf = SSL_CTX_get0_certificate(ssl);
	if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) {
		return refuse(build, "certfile", "the certificate in %s has expired", file);
	}
	if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0) {
		log_warning("the certificate in %s is not valid yet", file);
	}
	return true;
}

/* Without it OpenSSL would ask at the terminal. */
static int
has_no_pass_phrase(char *text, int size, int writes, void *was_asked)
{
	(void)text;
	(void)size;
	(void)writes;
	*(bool *)was_asked = true;
	return -1;
}

static EVP_PKEY *
read_key(const struct build *build, const char *option, const char *file)
{
	bool was_asked = false;
	EVP_PKEY *key = NULL;
	BIO *in = BIO_new_file(file, "r");

	if (in != NULL) {
		key = PEM_read_bio_PrivateKey(in, NULL, has_no_pass_phrase, &was_asked);
	}
	BIO_free(in);
	if (key == NULL && was_asked) {
		(void)refuse(build, option, "the key in %s is protected by a pass phrase", file);
	} else if (key == NULL) {
		(void)refuse(build, option, "cannot use %s as a key: %s", file, reason());
	}
	return key;
}

static bool
load_key(const struct build *build)
{
	const struct tls_options *options = build->options;
	const char *option = options->keyfile != NULL ? "keyfile" : "certfile";
	const char *file = options->keyfile != NULL ? options->keyfile : options->certfile;
	SSL_CTX *ssl = build->ctx->ssl;
	EVP_PKEY *key;
	bool good = true;

	if (!may_read(build, option, file) || (key = read_key(build, option, file)) == NULL) {
		return false;
	}
	if (X509_check_private_key(SSL_CTX_get0_certificate(ssl), key) != 1) {
		good = refuse(build, option, "the key in %s is not that of the certificate in %s",
		    file, options->certfile);
	} else if (SSL_CTX_use_PrivateKey(ssl, key) != 1) {
		good = refuse(build, option, "cannot use %s as a key: %s", file, reason());
	}
	EVP_PKEY_free(key);
	return good;
}

/* --- who is believed --- */

static int
judge_chain(int good, X509_STORE_CTX *chain)
{
	if (!good && X509_STORE_CTX_get_error(chain) == X509_V_ERR_UNABLE_TO_GET_CRL &&
	    X509_STORE_CTX_get_error_depth(chain) > 0) {
		X509_STORE_CTX_set_error(chain, X509_V_OK);
		return 1;
	}
	return good;
}

static bool
load_revoked(const struct build *build)
{
	const char *file = build->options->crlfile;
	X509_STORE *store = SSL_CTX_get_cert_store(build->ctx->ssl);
	X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());

	if (!may_read(build, "crlfile", file)) {
		return false;
	}
	if (lookup == NULL || X509_load_crl_file(lookup, file, X509_FILETYPE_PEM) <= 0) {
		return refuse(build, "crlfile",
		    "cannot use %s as a list of revoked certificates: %s", file, reason());
	}
	(void)X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return true;
}

static bool
load_authorities(const struct build *build)
{
	const char *file = build->options->cafile;
	SSL_CTX *ssl = build->ctx->ssl;
	STACK_OF(X509_NAME) * names;

	if (!may_read(build, "cafile", file)) {
		return false;
	}
	if (SSL_CTX_load_verify_file(ssl, file) != 1) {
		return refuse(build, "cafile", "cannot use %s as authorities: %s", file, reason());
	}
	if (!build->is_client) {
		names = SSL_load_client_CA_file(file);
		if (names == NULL) {
			return refuse(
			    build, "cafile", "cannot use %s as authorities: %s", file, reason());
		}
		SSL_CTX_set_client_CA_list(ssl, names);
	}
	return true;
}

static bool
set_verification(const struct build *build)
{
	const struct tls_options *options = build->options;
	SSL_CTX *ssl = build->ctx->ssl;
	int mode = SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE;

	if (options->cafile != NULL) {
		if (!load_authorities(build)) {
			return false;
		}
	} else if (build->is_client) {
		(void)SSL_CTX_set_default_verify_paths(ssl);
	} else if (options->require_certificate) {
		return refuse(build, "require_certificate", "require_certificate needs a cafile");
	} else if (options->username_from != TLS_USERNAME_NONE) {
		return refuse(build, "username_from", "username_from needs a cafile");
	} else if (options->crlfile != NULL) {
		return refuse(build, "crlfile", "crlfile needs a cafile");
	} else {
		return true; /* clients are not asked for certificates */
	}
	if (options->crlfile != NULL && !load_revoked(build)) {
		return false;
	}
	if (options->require_certificate) {
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	}
	SSL_CTX_set_verify(ssl, mode, judge_chain);
	return true;
}

/* --- the protocol --- */

static bool
set_ciphers(const struct build *build)
{
	const struct tls_options *options = build->options;
	SSL_CTX *ssl = build->ctx->ssl;
	const char *ciphers = options->ciphers;
	const char *suites = options->ciphersuites;

	if (ciphers == NULL) {
		ciphers = options->psk != NULL ? CIPHERS CIPHERS_PSK : CIPHERS;
	}
	if (SSL_CTX_set_cipher_list(ssl, ciphers) != 1) {
		return refuse(build, "ciphers", "ciphers \"%s\": %s", ciphers, reason());
	}
	suites = suites != NULL ? suites : CIPHERSUITES;
	if (SSL_CTX_set_ciphersuites(ssl, suites) != 1) {
		return refuse(build, "ciphersuites", "ciphersuites \"%s\": %s", suites, reason());
	}
	return true;
}

static bool
set_protocol(const struct build *build)
{
	const struct tls_options *options = build->options;
	SSL_CTX *ssl = build->ctx->ssl;
	char groups[] = "X25519:P-256:P-384:P-521";
	int least = options->min_version == TLS_VERSION_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;

	(void)SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					   SSL_OP_CIPHER_SERVER_PREFERENCE |
					   SSL_OP_PRIORITIZE_CHACHA);
	/* Set by the system's openssl.cnf, it would hide that the end was cut off. */
	(void)SSL_CTX_clear_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
	(void)SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_set_min_proto_version(ssl, least) != 1 ||
	    SSL_CTX_set_max_proto_version(ssl, 0) != 1 ||
	    SSL_CTX_set1_groups_list(ssl, groups) != 1) {
		return refuse(build, NULL, "OpenSSL refuses versions or groups: %s", reason());
	}
	(void)SSL_CTX_set_dh_auto(ssl, 1);
	return set_ciphers(build);
}

static bool
set_sessions(const struct build *build)
{
	SSL_CTX *ssl = build->ctx->ssl;
	unsigned char id[SSL_MAX_SID_CTX_LENGTH];

	rand_fill(id, sizeof(id));
	(void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_timeout(ssl, TICKET_LIFE_S);
	if (SSL_CTX_set_session_id_context(ssl, id, sizeof(id)) != 1 ||
	    SSL_CTX_set_num_tickets(ssl, 1) != 1) {
		return refuse(build, NULL, "OpenSSL refuses tickets: %s", reason());
	}
	return true;
}

/* --- names --- */

static int
choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *offered, unsigned offered_len, void *arg)
{
	const struct tls_ctx *ctx = arg;

	(void)ssl;
	for (unsigned at = 0; at < offered_len; at += 1u + offered[at]) {
		if (offered[at] == ctx->alpn_len && ctx->alpn_len < offered_len - at &&
		    memcmp(offered + at + 1, ctx->alpn, ctx->alpn_len) == 0) {
			*out = offered + at + 1;
			*out_len = offered[at];
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301, 3.2 */
}

/* Any host is right; said so, OpenSSL keeps the name with the session. */
static int
take_host(SSL *ssl, int *alert, void *arg)
{
	(void)ssl;
	(void)alert;
	(void)arg;
	return SSL_TLSEXT_ERR_OK;
}

static bool
set_alpn(const struct build *build)
{
	struct tls_ctx *ctx = build->ctx;
	const char *name = build->options->alpn;
	unsigned char offer[1 + sizeof(ctx->alpn)];
	size_t len;

	if (name == NULL) {
		name = build->is_client ? "" : "mqtt";
	}
	len = strlen(name);
	if (len > sizeof(ctx->alpn)) {
		return refuse(build, "alpn", "alpn is longer than %zu bytes", sizeof(ctx->alpn));
	}
	ctx->alpn_len = (uint8_t)len;
	memcpy(ctx->alpn, name, len);
	if (len != 0 && build->is_client) {
		offer[0] = ctx->alpn_len;
		memcpy(offer + 1, name, len);
		if (SSL_CTX_set_alpn_protos(ctx->ssl, offer, (unsigned)len + 1) != 0) {
			return refuse(build, "alpn", "alpn \"%s\": %s", name, reason());
		}
	} else if (len != 0) {
		SSL_CTX_set_alpn_select_cb(ctx->ssl, choose_alpn, ctx);
	}
	return true;
}

static bool
set_server(const struct build *build)
{
	struct tls_ctx *ctx = build->ctx;
	const struct tls_options *options = build->options;

	if (options->certfile == NULL && options->psk == NULL) {
		return refuse(build, "certfile", "certfile is missing");
	}
	ctx->username_from = (enum tls_username)options->username_from;
	(void)SSL_CTX_set_tlsext_servername_callback(ctx->ssl, take_host);
	if (options->psk != NULL) {
		ctx->psk = options->psk;
		ctx->psk_arg = options->psk_arg;
		tls_psk_set(ctx);
	}
	return true;
}

static bool
build_ctx(const struct build *build)
{
	const struct tls_options *options = build->options;
	struct tls_ctx *ctx = build->ctx;

	ctx->ssl = SSL_CTX_new(build->is_client ? TLS_client_method() : TLS_server_method());
	ctx->method = tls_bio_method_new();
	if (ctx->ssl == NULL || ctx->method == NULL) {
		return refuse(build, NULL, "OpenSSL makes no context: %s", reason());
	}
	(void)SSL_CTX_set_app_data(ctx->ssl, ctx);
	if (!set_protocol(build) || !set_sessions(build) || !set_alpn(build)) {
		return false;
	}
	if (options->certfile != NULL && (!load_certificate(build) || !load_key(build))) {
		return false;
	}
	if (options->certfile == NULL && options->keyfile != NULL) {
		return refuse(build, "keyfile", "keyfile needs a certfile");
	}
	return set_verification(build) && (build->is_client || set_server(build));
}

static struct tls_ctx *
make(struct build *build)
{
	build->ctx = mem_zalloc(sizeof(*build->ctx));
	ref_init(&build->ctx->ref);
	ERR_clear_error();
	if (!build_ctx(build)) {
		tls_ctx_unref(&build->ctx);
	}
	ERR_clear_error();
	return build->ctx;
}

struct tls_ctx *
tls_ctx_new(const struct tls_options *options, char *why, size_t why_size)
{
	struct build build = {.options = options, .why = why, .why_size = why_size};

	return make(&build);
}

struct tls_ctx *
tls_ctx_new_client(const struct tls_options *options, char *why, size_t why_size)
{
	struct tls_options own = *options;
	struct build build = {.options = &own, .is_client = true, .why = why, .why_size = why_size};

	own.require_certificate = false;
	own.username_from = TLS_USERNAME_NONE;
	own.psk = NULL;
	return make(&build);
}

/* --- asking --- */

static void
put_name(struct buf *out, const X509_NAME *name)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long len;

	if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) > 0) {
		len = BIO_get_mem_data(bio, &text);
		buf_append(out, text, len > 0 ? (size_t)len : 0);
	}
	BIO_free(bio);
}

void
tls_ctx_describe(const struct tls_ctx *ctx, struct buf *out)
{
	const X509 *leaf = SSL_CTX_get0_certificate(ctx->ssl);
	struct tm end;

	if (leaf == NULL) {
		buf_append_text(out, "no certificate");
		return;
	}
	buf_append_text(out, "certificate of ");
	put_name(out, X509_get_subject_name(leaf));
	if (ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &end) == 1) {
		buf_printf(
		    out, " until %04d-%02d-%02d", end.tm_year + 1900, end.tm_mon + 1, end.tm_mday);
	}
	ERR_clear_error();
}

struct tls_ctx *
tls_ctx_ref(struct tls_ctx *ctx)
{
	ref_get(&ctx->ref);
	return ctx;
}

void
tls_ctx_unref(struct tls_ctx **ctx)
{
	struct tls_ctx *held = *ctx;

	*ctx = NULL;
	if (held != NULL && ref_put(&held->ref)) {
		SSL_CTX_free(held->ssl);
		BIO_meth_free(held->method);
		mem_free(&held);
	}
}
