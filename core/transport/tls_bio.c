/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between OpenSSL and the stream below. Inside a TLS connection, on the thread of its worker.
 *
 * Towards OpenSSL: what the stream below gives is gathered on the stack, and OpenSSL is shown whole
 * records only; the rest is kept in a buffer of its own size. So a record that trickles in costs
 * its bytes and not one of OpenSSL's buffers of 16 KiB, and one system call reads many records.
 * Input that is no TLS is shown as it is, for OpenSSL to refuse.
 *
 * From it: everything is taken. What the stream below does not take is spilled into a buffer, and
 * whoever writes looks whether it is held back before it writes more. So OpenSSL never has to
 * repeat a write.
 */
#include "transport/tls_int.h"

#include "base/err.h"

enum {
	HEADER_SIZE = 5,
	MAX_BODY = 16384 + 2048, /* RFC 5246, 6.2.3 */
	MAX_SPILL = 256 * 1024,  /* a record, or a handshake with many authorities */
};

_Static_assert((int)TLS_INTAKE_SIZE > HEADER_SIZE + MAX_BODY, "room for more than a record");

/* --- from OpenSSL --- */

static int
give_lower(BIO *end, const char *data, int size)
{
	struct tls_bio *bio = BIO_get_data(end);
	union {
		const char *given;
		char *asked; /* which is not written to */
	} memory = {.given = data};
	struct iovec part = {memory.asked, (size_t)size};
	long taken = 0;

	BIO_clear_retry_flags(end);
	if (!bio->is_broken && !bio->gathers && !tls_bio_is_held_back(bio)) {
		taken = stream_write(bio->lower, &part, 1);
		bio->is_broken = taken < 0;
	}
	if (!bio->is_broken && taken < size) {
		buf_append(&bio->spill, data + taken, (size_t)(size - taken));
		bio->is_broken = bio->spill.failed;
	}
	return bio->is_broken ? -1 : size;
}

void
tls_bio_flush(struct tls_bio *bio)
{
	struct iovec part = {bio->spill.data, bio->spill.len};
	long taken;

	if (!tls_bio_is_held_back(bio)) {
		return;
	}
	taken = bio->is_broken ? ERR_IO : stream_write(bio->lower, &part, 1);
	if (taken < 0) {
		bio->is_broken = true;
		taken = (long)bio->spill.len;
	}
	buf_consume(&bio->spill, (size_t)taken);
	if (!tls_bio_is_held_back(bio)) {
		buf_fini(&bio->spill);
		buf_init(&bio->spill, MAX_SPILL);
	}
}

/* --- to OpenSSL --- */

static int
take_records(BIO *end, char *memory, int size)
{
	struct tls_bio *bio = BIO_get_data(end);
	struct tls_intake *intake = bio->intake;
	size_t len = intake != NULL ? intake->whole - intake->given : 0;

	BIO_clear_retry_flags(end);
	if (len == 0 || size <= 0) {
		if (bio->is_ended) {
			return 0;
		}
		BIO_set_retry_read(end);
		return -1;
	}
	len = len < (size_t)size ? len : (size_t)size;
	memcpy(memory, intake->bytes + intake->given, len);
	intake->given += len;
	return (int)len;
}

static long
answer(BIO *end, int command, long number, void *pointer)
{
	const struct tls_bio *bio = BIO_get_data(end);

	(void)number;
	(void)pointer;
	switch (command) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return bio->is_ended;
	default:
		return 0;
	}
}

/* How long the record is that begins here, by its header; 0: this is none. */
static size_t
record_size(const uint8_t *header)
{
	size_t body = (size_t)header[3] << 8 | header[4];

	if (header[0] < 20 || header[0] > 24 || header[1] != 3 || body > MAX_BODY) {
		return 0;
	}
	return HEADER_SIZE + body;
}

static void
find_whole(struct tls_bio *bio)
{
	struct tls_intake *intake = bio->intake;

	while (!bio->is_unframed && intake->len - intake->whole >= HEADER_SIZE) {
		size_t size = record_size(intake->bytes + intake->whole);

		bio->is_unframed = size == 0;
		if (size > intake->len - intake->whole) {
			break;
		}
		intake->whole += size;
	}
	if (bio->is_unframed || bio->is_ended) {
		intake->whole = intake->len;
	}
}

void
tls_bio_open(struct tls_bio *bio, struct tls_intake *intake)
{
	bio->intake = intake;
	intake->given = intake->whole = 0;
	intake->len = bio->kept.len;
	intake->is_drained = false;
	if (bio->kept.len != 0) {
		memcpy(intake->bytes, bio->kept.data, bio->kept.len);
		buf_clear(&bio->kept);
		find_whole(bio);
	}
}

bool
tls_bio_close(struct tls_bio *bio)
{
	const struct tls_intake *intake = bio->intake;
	size_t rest = intake->len - intake->given;

	bio->intake = NULL;
	if (rest != 0) {
		buf_append(&bio->kept, intake->bytes + intake->given, rest);
		return !bio->kept.failed;
	}
	if (bio->kept.data != NULL) {
		buf_fini(&bio->kept);
		buf_init(&bio->kept, TLS_INTAKE_SIZE);
	}
	return true;
}

void
tls_bio_fetch(struct tls_bio *bio)
{
	struct tls_intake *intake = bio->intake;
	size_t rest = intake->len - intake->given;
	long got;

	memmove(intake->bytes, intake->bytes + intake->given, rest);
	intake->given = intake->whole = 0;
	intake->len = rest;
	got = stream_read(bio->lower, intake->bytes + rest, TLS_INTAKE_SIZE - rest);
	if (got > 0) {
		intake->len += (size_t)got;
		intake->is_drained = intake->len < TLS_INTAKE_SIZE;
	} else {
		intake->is_drained = true;
		bio->is_ended = got == 0;
		bio->is_broken |= got != 0 && got != ERR_AGAIN;
	}
	find_whole(bio);
}

/* --- making --- */

BIO_METHOD *
tls_bio_method_new(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");

	if (method != NULL && (BIO_meth_set_write(method, give_lower) != 1 ||
				  BIO_meth_set_read(method, take_records) != 1 ||
				  BIO_meth_set_ctrl(method, answer) != 1)) {
		BIO_meth_free(method);
		method = NULL;
	}
	return method;
}

void
tls_bio_init(struct tls_bio *bio, struct stream *lower)
{
	*bio = (struct tls_bio){.lower = lower};
	buf_init(&bio->kept, TLS_INTAKE_SIZE);
	buf_init(&bio->spill, MAX_SPILL);
}

void
tls_bio_fini(struct tls_bio *bio)
{
	buf_fini(&bio->kept);
	buf_fini(&bio->spill);
}

bool
tls_bio_connect(struct tls_bio *bio, const struct tls_ctx *ctx, SSL *ssl)
{
	BIO *end = BIO_new(ctx->method);

	if (end == NULL) {
		return false;
	}
	BIO_set_data(end, bio);
	BIO_set_init(end, 1);
	SSL_set_bio(ssl, end, end);
	return true;
}
