/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TLS connection on top of another stream. Owned by the layer above; used on the thread of its
 * worker.
 *
 * OpenSSL sits in the middle and never waits for anything but whole records (tls_bio.c). Who has
 * not sent a whole one yet costs no SSL object at all. Since everything it writes is taken, a write
 * either is encrypted and counts as taken, or is not begun: the owner need not offer the same bytes
 * again, as OpenSSL would have it.
 *
 * Readiness: until the handshake is done, events from below drive it, whatever the owner wants.
 * Later they are passed on. What wakes nobody, since it lies here already, is raised by hand, but
 * only while the owner wants to read.
 */
#include "transport/tls.h"

#include <limits.h>
#include <stdio.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "transport/tls_int.h"

enum {
	RECORD_SIZE = 16384, /* plain bytes of a record */
	ROUNDS = 16,         /* of reading below, in one call; then others have their turn */
};

enum state { HANDSHAKE, OPEN, ENDED, FAILED };

struct tls {
	struct stream stream;
	struct tls_bio bio;
	struct tls_ctx *ctx;
	SSL *ssl; /* NULL: no whole record was received yet */
	char *error;
	char *names;                     /* what identity's views show */
	struct stream_identity identity; /* all zero before the handshake is done */
	uint8_t state;
	uint8_t wanted; /* by the owner */
	uint8_t lower_wanted;
	uint8_t raised; /* for the owner, not delivered yet */
	bool is_client;
	bool is_attached;
	bool is_shut;
	bool may_read_more; /* without being woken */
};

static struct tls *
of(struct stream *stream)
{
	return list_item(stream, struct tls, stream);
}

/* --- failing --- */

static void
fail_with(struct tls *tls, const char *text)
{
	if (tls->state != FAILED) {
		tls->error = mem_text(bytes_of(text));
		tls->state = FAILED;
	}
	ERR_clear_error();
}

/* By what OpenSSL says: its oldest error is the cause of the others. */
static void
fail(struct tls *tls)
{
	unsigned long code = ERR_peek_error();
	int number = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
	const char *text = ERR_reason_error_string(code);
	char sentence[256];

	if (tls->bio.is_broken) {
		text = "the connection broke";
	} else if (tls->bio.is_ended && number == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		text = tls->state == HANDSHAKE ? "the connection ended in the handshake"
					       : "the connection ended without close_notify";
	} else if (number == SSL_R_CERTIFICATE_VERIFY_FAILED) {
		(void)snprintf(sentence, sizeof(sentence), "%s: %s", text,
		    X509_verify_cert_error_string(SSL_get_verify_result(tls->ssl)));
		text = sentence;
	}
	fail_with(tls, text != NULL ? text : "OpenSSL does not say why");
}

/* After a call of OpenSSL's that has not done what it should. */
static void
judge(struct tls *tls, int result)
{
	int error = SSL_get_error(tls->ssl, result);

	if (error == SSL_ERROR_WANT_READ) {
		return;
	}
	if (error == SSL_ERROR_ZERO_RETURN && tls->state == OPEN) {
		tls->state = ENDED;
		return;
	}
	(void)err_impossible(error == SSL_ERROR_WANT_WRITE);
	fail(tls);
}

/* Sends what was spilled; a goodbye that waited for it follows. */
static void
flush(struct tls *tls)
{
	bool was_held_back = tls_bio_is_held_back(&tls->bio);

	tls_bio_flush(&tls->bio);
	if (tls->bio.is_broken) {
		fail(tls);
	} else if (was_held_back && tls->is_shut && !tls_bio_is_held_back(&tls->bio)) {
		stream_shut(tls->stream.lower);
	}
}

/* --- the handshake --- */

static bool
make_ssl(struct tls *tls)
{
	tls->ssl = SSL_new(tls->ctx->ssl);
	if (tls->ssl == NULL || !tls_bio_connect(&tls->bio, tls->ctx, tls->ssl)) {
		fail_with(tls, "no memory");
		return false;
	}
	if (tls->is_client) {
		SSL_set_connect_state(tls->ssl);
	} else {
		SSL_set_accept_state(tls->ssl);
	}
	return true;
}

static void
finish_handshake(struct tls *tls)
{
	const X509 *certificate = SSL_get0_peer_certificate(tls->ssl);

	/* It was valid when its chain was verified; but a ticket may outlive it. */
	if (certificate != NULL && SSL_session_reused(tls->ssl) &&
	    X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
		fail_with(tls, "certificate has expired");
		return;
	}
	tls->state = OPEN;
	tls_name_identify(tls->ssl, tls->ctx->username_from, &tls->identity, &tls->names);
	(void)SSL_free_buffers(tls->ssl);
}

static void
shake_hands(struct tls *tls)
{
	bool has_news = tls_bio_has_records(&tls->bio) || tls->bio.is_ended;
	bool begins = tls->is_client && SSL_in_before(tls->ssl);
	int result;

	if (!has_news && !begins) {
		return;
	}
	if (tls->ssl == NULL && !tls_bio_has_records(&tls->bio)) {
		tls->state = ENDED; /* before the first byte: somebody looked whether we are here */
		return;
	}
	if (tls->ssl == NULL && !make_ssl(tls)) {
		return;
	}
	ERR_clear_error();
	tls->bio.gathers = true;
	result = SSL_do_handshake(tls->ssl);
	tls->bio.gathers = false;
	if (result == 1) {
		finish_handshake(tls);
	} else {
		judge(tls, result);
	}
	flush(tls);
}

/* --- reading --- */

static size_t
decrypt(struct tls *tls, uint8_t *memory, size_t size)
{
	size_t got = 0;

	while (got < size &&
	       (tls_bio_has_records(&tls->bio) || tls->bio.is_ended || SSL_pending(tls->ssl) > 0)) {
		size_t room = size - got < INT_MAX ? size - got : INT_MAX;
		int n;

		ERR_clear_error();
		n = SSL_read(tls->ssl, memory + got, (int)room);
		if (n <= 0) {
			judge(tls, n);
			break;
		}
		got += (size_t)n;
	}
	return got;
}

/* Goes on with the handshake, and then reads; a size of 0: the former only. */
static size_t
work(struct tls *tls, uint8_t *memory, size_t size)
{
	struct tls_intake intake;
	size_t got = 0;

	tls_bio_open(&tls->bio, &intake);
	for (unsigned round = 0; round < ROUNDS; round++) {
		if (tls->state == HANDSHAKE) {
			shake_hands(tls);
		}
		if (tls->state == OPEN && got < size) {
			got += decrypt(tls, memory + got, size - got);
		}
		if (tls->state >= ENDED || (tls->state == OPEN && got == size) ||
		    intake.is_drained) {
			break;
		}
		tls_bio_fetch(&tls->bio);
		if (tls->bio.is_broken) {
			fail(tls);
		}
	}
	tls->may_read_more = !intake.is_drained || tls_bio_has_records(&tls->bio) ||
			     (tls->ssl != NULL && SSL_pending(tls->ssl) > 0);
	if (!tls_bio_close(&tls->bio)) {
		fail_with(tls, "no memory");
	}
	return got;
}

/* --- readiness --- */

static void
update_lower(struct tls *tls)
{
	/* Nothing can be written before the handshake is done. */
	unsigned wanted = tls->state == HANDSHAKE ? STREAM_READ : tls->wanted;

	if (tls_bio_is_held_back(&tls->bio)) {
		wanted |= STREAM_WRITE;
	}
	if (wanted != tls->lower_wanted) {
		tls->lower_wanted = (uint8_t)wanted;
		stream_want(tls->stream.lower, wanted);
	}
}

static void
tls_raise(struct stream *stream, unsigned events)
{
	struct tls *tls = of(stream);

	if (tls->is_attached) {
		tls->raised |= (uint8_t)events;
		stream_raise(stream->lower, events);
	}
}

/* A read is over, and gave less than there is. */
static void
tell_of_more(struct tls *tls)
{
	if (tls->may_read_more && (tls->wanted & STREAM_READ) != 0) {
		tls_raise(&tls->stream, STREAM_READ);
	}
}

static long
tls_read(struct stream *stream, void *memory, size_t size)
{
	struct tls *tls = of(stream);
	size_t got;

	if (tls->state < ENDED) {
		got = work(tls, memory, size < LONG_MAX ? size : LONG_MAX);
		update_lower(tls);
		if (tls->state < ENDED) {
			tell_of_more(tls);
			return got != 0 ? (long)got : ERR_AGAIN;
		}
		if (got != 0) {
			tls_raise(stream, STREAM_READ); /* the end comes with the next read */
			return (long)got;
		}
	}
	return tls->state == ENDED ? 0 : ERR_IO;
}

static void
tls_want(struct stream *stream, unsigned events)
{
	struct tls *tls = of(stream);
	bool resumes = (events & ~(unsigned)tls->wanted & STREAM_READ) != 0;

	tls->wanted = (uint8_t)events;
	update_lower(tls);
	if (resumes) {
		tell_of_more(tls);
	}
}

/* What the owner is told of events from below. */
static unsigned
translate(struct tls *tls, unsigned events)
{
	unsigned told = tls->raised & events;

	tls->raised &= (uint8_t)~events;
	flush(tls);
	if (tls->state == HANDSHAKE) {
		(void)work(tls, NULL, 0);
		if (tls->state == HANDSHAKE) {
			return told;
		}
		/* The owner waited for this, and what follows it may be here already. */
		events = tls->state == OPEN ? tls->wanted | STREAM_WRITE : STREAM_READ;
	}
	if (tls->state == FAILED) {
		events |= STREAM_READ;
	}
	told |= events & STREAM_READ;
	if (!tls_bio_is_held_back(&tls->bio)) {
		told |= events & tls->wanted & STREAM_WRITE;
	}
	return told;
}

static void
take_events(struct stream *lower, unsigned events, void *owner)
{
	struct tls *tls = owner;
	unsigned told = translate(tls, events);

	(void)lower;
	update_lower(tls);
	if (told != 0 && tls->stream.ready != NULL) {
		tls->stream.ready(&tls->stream, told, tls->stream.owner);
	}
}

/* --- writing --- */

/* Where in the owner's parts a write is. */
struct cursor {
	const struct iovec *parts;
	int left;  /* parts */
	size_t at; /* in the first of them */
};

static void
skip(struct cursor *cursor, size_t n)
{
	cursor->at += n;
	while (cursor->left > 0 && cursor->at >= cursor->parts->iov_len) {
		cursor->at -= cursor->parts->iov_len;
		cursor->parts++;
		cursor->left--;
	}
}

/* What the next record holds: a large part as it is, small ones together. */
static struct bytes
next_record(struct cursor cursor, uint8_t *memory)
{
	size_t filled = 0;

	while (cursor.left > 0 && filled < RECORD_SIZE) {
		const uint8_t *data = (const uint8_t *)cursor.parts->iov_base + cursor.at;
		size_t len = cursor.parts->iov_len - cursor.at;

		len = len < RECORD_SIZE - filled ? len : RECORD_SIZE - filled;
		if (filled == 0 && (len == RECORD_SIZE || cursor.left == 1)) {
			return bytes_make(data, len);
		}
		memcpy(memory + filled, data, len);
		filled += len;
		skip(&cursor, len);
	}
	return bytes_make(memory, filled);
}

static long
encrypt(struct tls *tls, struct cursor cursor)
{
	uint8_t memory[RECORD_SIZE];
	long taken = 0;

	skip(&cursor, 0);
	while (cursor.left > 0 && !tls_bio_is_held_back(&tls->bio)) {
		struct bytes record = next_record(cursor, memory);
		int n;

		ERR_clear_error();
		n = SSL_write(tls->ssl, record.data, (int)record.len);
		if (n <= 0) {
			judge(tls, n);
			break;
		}
		taken += n;
		skip(&cursor, (size_t)n);
	}
	return taken;
}

static long
tls_write(struct stream *stream, const struct iovec *parts, int count)
{
	struct tls *tls = of(stream);
	long taken = 0;

	flush(tls);
	if (tls->state == HANDSHAKE) {
		(void)work(tls, NULL, 0);
		if (tls->state != HANDSHAKE) {
			tell_of_more(tls);
		}
	}
	if (tls->is_shut || (tls->state == ENDED && tls->ssl == NULL)) {
		taken = ERR_IO;
	} else if (tls->state == OPEN || tls->state == ENDED) {
		taken = encrypt(tls, (struct cursor){parts, count, 0});
	}
	update_lower(tls);
	return tls->state == FAILED ? ERR_IO : taken;
}

/* --- a place on a loop, and the end --- */

static int
tls_attach(struct stream *stream, struct worker *worker)
{
	struct tls *tls = of(stream);
	int error;

	tls->wanted = tls->lower_wanted = tls->raised = STREAM_READ;
	error = stream_attach(stream->lower, worker);
	tls->is_attached = error == 0;
	if (error == 0) {
		update_lower(tls);
	}
	return error;
}

static void
tls_detach(struct stream *stream)
{
	struct tls *tls = of(stream);

	tls->raised = 0;
	tls->is_attached = false;
	stream_detach(stream->lower);
}

static void
tls_shut(struct stream *stream)
{
	struct tls *tls = of(stream);

	if (tls->is_shut) {
		return;
	}
	if (tls->ssl != NULL && (tls->state == OPEN || tls->state == ENDED)) {
		ERR_clear_error();
		(void)SSL_shutdown(tls->ssl); /* if it cannot be said, it is not */
		ERR_clear_error();
	}
	tls->is_shut = true;
	if (tls_bio_is_held_back(&tls->bio)) {
		update_lower(tls);
	} else {
		stream_shut(stream->lower);
	}
}

static void
tls_free(struct stream *stream)
{
	struct tls *tls = of(stream);

	SSL_free(tls->ssl);
	ERR_clear_error();
	tls_bio_fini(&tls->bio);
	mem_free(&tls->error);
	mem_free(&tls->names);
	tls_ctx_unref(&tls->ctx);
	mem_free(&tls);
}

static struct bytes
tls_peer_name(const struct stream *stream)
{
	return stream_peer_name(stream->lower);
}

static const struct stream_identity *
tls_identity(const struct stream *stream)
{
	const struct tls *tls = (const void *)stream;

	return tls->identity.is_encrypted ? &tls->identity : NULL;
}

static bool
tls_proof(const struct stream *stream, struct stream_proof *proof)
{
	const struct tls *tls = (const void *)stream;

	if (!tls->identity.is_encrypted) {
		return false;
	}
	tls_name_prove(tls->ssl, proof);
	return true;
}

static const struct stream_ops tls_ops = {.read = tls_read,
    .write = tls_write,
    .want = tls_want,
    .raise = tls_raise,
    .attach = tls_attach,
    .detach = tls_detach,
    .shut = tls_shut,
    .free = tls_free,
    .peer_name = tls_peer_name,
    .identity = tls_identity,
    .proof = tls_proof};

static struct tls *
make(struct stream *lower, struct tls_ctx *ctx)
{
	struct tls *tls = mem_zalloc(sizeof(*tls));

	tls->stream.ops = &tls_ops;
	tls->stream.lower = lower;
	tls->ctx = tls_ctx_ref(ctx);
	tls_bio_init(&tls->bio, lower);
	stream_on_ready(lower, take_events, tls);
	return tls;
}

struct stream *
tls_stream_new(struct stream *lower, struct tls_ctx *ctx)
{
	return &make(lower, ctx)->stream;
}

static bool
set_host(SSL *ssl, const char *host)
{
	char *name;
	bool good;

	if (*host == '\0') {
		return false; /* OpenSSL would take any certificate then */
	}
	if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1) {
		return true;
	}
	name = mem_text(bytes_of(host));
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	good = SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
	mem_free(&name);
	return good;
}

struct stream *
tls_stream_connect_new(struct stream *lower, struct tls_ctx *ctx, const char *host)
{
	struct tls *tls = make(lower, ctx);

	tls->is_client = true;
	if (make_ssl(tls) && !set_host(tls->ssl, host)) {
		fail_with(tls, "the host's name cannot be used");
	}
	ERR_clear_error();
	return &tls->stream;
}

const char *
tls_stream_error(const struct stream *stream)
{
	while (stream != NULL && stream->ops != &tls_ops) {
		stream = stream->lower;
	}
	return stream != NULL ? ((const struct tls *)(const void *)stream)->error : NULL;
}
