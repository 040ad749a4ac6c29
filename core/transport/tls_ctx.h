/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the TLS connections of one listener (or of one link, as clients) share: certificate, key,
 * authorities, revoked certificates, ciphers, ticket keys. Made by main at start and at reload and
 * immutable then; counted, any thread. A reload makes a new one: live connections keep theirs.
 */
#ifndef TRANSPORT_TLS_CTX_H
#define TRANSPORT_TLS_CTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct buf;
struct tls_ctx;

/* Where in a client's certificate its user name is. SUBJECT: the whole name as RFC 2253 writes it,
 * in UTF-8. CN: the last one, which is the most specific. SAN: the first DNS name, e-mail address
 * or URI. */
enum tls_username { TLS_USERNAME_NONE, TLS_USERNAME_CN, TLS_USERNAME_SUBJECT, TLS_USERNAME_SAN };

enum tls_version { TLS_VERSION_1_2 = 2, TLS_VERSION_1_3 = 3 };

enum { TLS_MAX_PSK_IDENTITY = 128, TLS_MAX_PSK = 64 }; /* bytes */

/* Keys come from above (the authenticate chain). Called on the worker of the connection. */
struct transport_secret_ops {
	/* The key of this identity (UTF-8 without NUL, never empty) into `key`; its length, or <= 0
	 * when there is none. */
	long (*psk)(void *arg, struct bytes identity, uint8_t *key, size_t size);
};

/* All borrowed; only psk and psk_arg must outlive the context. NULL: not given. */
struct tls_options {
	const char *certfile; /* chain, leaf first; a server without one has psk */
	const char *keyfile;  /* NULL: the key is in certfile */
	const char *cafile;   /* authorities of the other side; a client's default: the system's */
	const char *crlfile;  /* of these authorities: who issued the other side's certificate must
			       * have a list here, those above may */
	bool require_certificate; /* of clients; who has a PSK needs none */
	int username_from;        /* enum tls_username */
	int min_version;          /* enum tls_version; 0: 1.2 */
	const char *ciphers;      /* of TLS 1.2 */
	const char *ciphersuites; /* of TLS 1.3; a PSK needs one with SHA-256 in front */
	const struct transport_secret_ops *psk;
	void *psk_arg;
	/* A server's default: "mqtt". A client that offers others only is refused, one that offers
	 * none is not. "": whatever is offered is ignored. A client offers it, by default nothing.
	 */
	const char *alpn;
	/* Where it is told which option of these is wrong, by its name here; static, NULL: none.
	 * May be NULL. */
	const char **wrong_out;
};

/* NULL with a sentence in `why` that names the file, or the option, and the reason. Reads files. */
struct tls_ctx *tls_ctx_new(const struct tls_options *options, char *why, size_t why_size);

/* For connections that we open; username_from, require_certificate and psk do not apply. */
struct tls_ctx *tls_ctx_new_client(const struct tls_options *options, char *why, size_t why_size);

/* Appends whose certificate it shows, and until when it is valid. */
void tls_ctx_describe(const struct tls_ctx *ctx, struct buf *out);

struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx);
void tls_ctx_unref(struct tls_ctx **ctx);

#endif
