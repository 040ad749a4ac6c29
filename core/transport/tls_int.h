/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS inside the room: what a context holds, the way between OpenSSL and the stream below, and what
 * is known of the other side.
 */
#ifndef TRANSPORT_TLS_INT_H
#define TRANSPORT_TLS_INT_H

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "base/buf.h"
#include "base/ref.h"
#include "transport/stream.h"
#include "transport/tls_ctx.h"

struct tls_ctx {
	struct ref ref;
	SSL_CTX *ssl;
	BIO_METHOD *method; /* of tls_bio.c */
	enum tls_username username_from;
	const struct transport_secret_ops *psk;
	void *psk_arg;
	uint8_t alpn_len;
	char alpn[255];
};

/* --- tls_bio.c --- */

enum { TLS_INTAKE_SIZE = 32768 }; /* holds the largest record and more */

/* Encrypted bytes on their way to OpenSSL, during one call: on the stack. */
struct tls_intake {
	size_t given;    /* OpenSSL has taken so many */
	size_t whole;    /* up to here these are whole records */
	size_t len;      /* all of them */
	bool is_drained; /* the stream below has no more now */
	uint8_t bytes[TLS_INTAKE_SIZE];
};

/* Inside its connection. */
struct tls_bio {
	struct stream *lower;
	struct tls_intake *intake; /* NULL between calls */
	struct buf kept;           /* encrypted, not shown to OpenSSL yet */
	struct buf spill;          /* encrypted, not taken below yet */
	bool gathers;              /* all output is spilled, to be flushed at once */
	bool is_unframed;          /* the input is no TLS */
	bool is_ended;             /* below */
	bool is_broken;            /* below, or nothing is taken there */
};

/* NULL without memory. */
BIO_METHOD *tls_bio_method_new(void);
void tls_bio_init(struct tls_bio *bio, struct stream *lower);
void tls_bio_fini(struct tls_bio *bio);

/* Puts it below an SSL; false without memory. */
bool tls_bio_connect(struct tls_bio *bio, const struct tls_ctx *ctx, SSL *ssl);

/* What was kept is there again; close keeps what is left, false: no memory for it. */
void tls_bio_open(struct tls_bio *bio, struct tls_intake *intake);
bool tls_bio_close(struct tls_bio *bio);

/* OpenSSL has taken all whole records: reads more from below, once. */
void tls_bio_fetch(struct tls_bio *bio);

/* Sends what was spilled, as far as it goes. */
void tls_bio_flush(struct tls_bio *bio);

static inline bool
tls_bio_has_records(const struct tls_bio *bio)
{
	return bio->intake->whole != bio->intake->given;
}

static inline bool
tls_bio_is_held_back(const struct tls_bio *bio)
{
	return bio->spill.len != 0;
}

/* --- tls_psk.c --- */

/* Lets the context's callbacks ask ctx->psk. */
void tls_psk_set(struct tls_ctx *ctx);

/* The identity whose key this connection, or the one that it resumes, was proven with; empty: no
 * PSK. Borrowed from the session. */
struct bytes tls_psk_identity(SSL *ssl);

/* --- tls_name.c --- */

/* What a finished handshake has shown. The texts are in *names_out, which the caller frees; NULL
 * when there are none. */
void tls_name_identify(
    SSL *ssl, enum tls_username from, struct stream_identity *identity, char **names_out);
/* As stream_proof. */
void tls_name_prove(SSL *ssl, struct stream_proof *proof);

#endif
