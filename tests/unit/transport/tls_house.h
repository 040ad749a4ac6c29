/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of TLS share: certificates made at run time, a server's stream in the simulator
 * over a pipe in memory, and a client of OpenSSL's own at the far end of the pipe.
 */
#ifndef UNIT_TRANSPORT_TLS_HOUSE_H
#define UNIT_TRANSPORT_TLS_HOUSE_H

#include "lib/unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/sim.h"
#include "transport/mem_stream.h"
#include "transport/tls.h"

#define UNUSED __attribute__((unused))

/* --- certificates --- */

struct entity {
	EVP_PKEY *key;
	X509 *certificate;
};

struct spec {
	struct bytes cn; /* empty: none */
	const char *san; /* as in openssl.cnf */
	const char *usage;
	const struct entity *issuer; /* NULL: itself */
	bool is_authority;
	long from_s, to_s; /* from now; 0, 0: an hour around it */
};

static char house_dir[] = "/tmp/avocet-tls-XXXXXX";
static struct entity authority, stranger, server_entity;
static long last_serial;

/* A file of the house, by its name; good for 64 calls. */
static const char *
house_path(const char *name)
{
	static char paths[64][128];
	static unsigned at;
	char *path = paths[at++ % 64];

	snprintf(path, sizeof(paths[0]), "%s/%s", house_dir, name);
	return path;
}

static void
add_extension(X509 *certificate, const X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, (X509 *)(uintptr_t)issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static struct entity
issue(struct spec spec)
{
	struct entity made = {EVP_EC_gen("P-256"), X509_new()};
	const struct entity *issuer = spec.issuer != NULL ? spec.issuer : &made;
	X509_NAME *name = X509_get_subject_name(made.certificate);
	bool is_around = spec.from_s == 0 && spec.to_s == 0;

	X509_set_version(made.certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), ++last_serial);
	X509_gmtime_adj(X509_getm_notBefore(made.certificate), is_around ? -3600 : spec.from_s);
	X509_gmtime_adj(X509_getm_notAfter(made.certificate), is_around ? 3600 : spec.to_s);
	X509_NAME_add_entry_by_txt(
	    name, "O", MBSTRING_UTF8, (const unsigned char *)"avocet", -1, -1, 0);
	if (spec.cn.len != 0) {
		X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
		    (unsigned char *)(uintptr_t)spec.cn.data, (int)spec.cn.len, -1, 0);
	}
	X509_set_issuer_name(made.certificate, X509_get_subject_name(issuer->certificate));
	X509_set_pubkey(made.certificate, made.key);
	if (spec.is_authority) {
		add_extension(made.certificate, issuer->certificate, NID_basic_constraints,
		    "critical,CA:TRUE");
	}
	if (spec.san != NULL) {
		add_extension(
		    made.certificate, issuer->certificate, NID_subject_alt_name, spec.san);
	}
	if (spec.usage != NULL) {
		add_extension(made.certificate, issuer->certificate, NID_ext_key_usage, spec.usage);
	}
	assert_true(X509_sign(made.certificate, issuer->key, EVP_sha256()) > 0);
	return made;
}

static void
dismiss(struct entity *entity)
{
	EVP_PKEY_free(entity->key);
	X509_free(entity->certificate);
	*entity = (struct entity){NULL, NULL};
}

static FILE *
create(const char *name)
{
	FILE *out = fopen(house_path(name), "w");

	assert_non_null(out);
	return out;
}

static void
save_certificate(const char *name, const struct entity *entity)
{
	FILE *out = create(name);

	assert_int_equal(PEM_write_X509(out, entity->certificate), 1);
	fclose(out);
}

static void
save_key(const char *name, const struct entity *entity)
{
	FILE *out = create(name);

	assert_int_equal(PEM_write_PrivateKey(out, entity->key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(out);
}

/* revoked may be NULL: a list of nobody. */
UNUSED static void
save_crl(const char *name, const struct entity *issuer, const X509 *revoked)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *time = X509_gmtime_adj(NULL, -60);
	FILE *out = create(name);

	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->certificate));
	X509_CRL_set1_lastUpdate(crl, time);
	if (revoked != NULL) {
		X509_REVOKED *row = X509_REVOKED_new();

		X509_REVOKED_set_serialNumber(
		    row, (ASN1_INTEGER *)(uintptr_t)X509_get0_serialNumber(revoked));
		X509_REVOKED_set_revocationDate(row, time);
		X509_CRL_add0_revoked(crl, row);
	}
	X509_gmtime_adj(time, 3600);
	X509_CRL_set1_nextUpdate(crl, time);
	assert_true(X509_CRL_sign(crl, issuer->key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509_CRL(out, crl), 1);
	fclose(out);
	ASN1_TIME_free(time);
	X509_CRL_free(crl);
}

static int
open_house(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(house_dir));
	authority = issue((struct spec){.cn = BYTES_LITERAL("authority"), .is_authority = true});
	stranger = issue((struct spec){.cn = BYTES_LITERAL("stranger"), .is_authority = true});
	server_entity = issue((struct spec){.cn = BYTES_LITERAL("server"),
	    .issuer = &authority,
	    .san = "DNS:broker.example,IP:192.0.2.1"});
	save_certificate("ca.pem", &authority);
	save_certificate("server.pem", &server_entity);
	save_key("server.key", &server_entity);
	return 0;
}

static int
close_house(void **state)
{
	char command[64];

	(void)state;
	dismiss(&authority);
	dismiss(&stranger);
	dismiss(&server_entity);
	snprintf(command, sizeof(command), "rm -r %s", house_dir);
	return system(command);
}

/* --- the server's end --- */

static struct loop *loop;
static struct worker *workers[2];
static struct stream *stream;
static struct mem_pipe *far;
static unsigned calls, seen; /* of ready */
static bool reads, frees, is_writing;
static struct buf received;
static size_t read_size;
static long last_read;

static void
take_ready(struct stream *self, unsigned events, void *owner)
{
	static uint8_t memory[65536];

	assert_ptr_equal(owner, &calls);
	calls++;
	seen |= events;
	if (frees) {
		stream_free(&stream);
		return;
	}
	if (is_writing && (events & STREAM_WRITE) != 0) {
		is_writing = false;
		stream_want(self, STREAM_READ);
	}
	if (!reads && (events & STREAM_READ) != 0) {
		stream_want(self, 0); /* or it would be told again and again */
	} else if (reads && (events & STREAM_READ) != 0) {
		last_read = stream_read(self, memory, read_size);
		if (last_read > 0) {
			buf_append(&received, memory, (size_t)last_read);
		} else if (last_read != ERR_AGAIN) {
			stream_want(self, 0);
		}
	}
}

static void
settle(void)
{
	assert_true(sim_settle(loop, 100000));
}

static void
attach(unsigned worker)
{
	sim_enter(workers[worker]);
	assert_int_equal(stream_attach(stream, workers[worker]), 0);
	sim_leave();
}

static struct tls_options
usual_options(void)
{
	return (struct tls_options){
	    .certfile = house_path("server.pem"), .keyfile = house_path("server.key")};
}

static struct tls_ctx *
new_ctx(struct tls_options options)
{
	char why[256] = "";
	struct tls_ctx *ctx = tls_ctx_new(&options, why, sizeof(why));

	if (ctx == NULL) {
		fail_msg("%s", why);
	}
	return ctx;
}

/* A stream that somebody has connected to; the context is kept by it alone, unless `ctx` is given.
 */
static void
accept_stream(struct tls_ctx *ctx, struct tls_options options)
{
	struct tls_ctx *own = ctx != NULL ? tls_ctx_ref(ctx) : new_ctx(options);

	stream = tls_stream_new(mem_stream_new("mem:1", SIZE_MAX, &far), own);
	tls_ctx_unref(&own);
	stream_on_ready(stream, take_ready, &calls);
	attach(0);
}

static int
begin(void **state)
{
	struct loop_options options = {.seed = 1};

	(void)state;
	loop = loop_new(&options);
	workers[0] = loop_add_worker(loop, "one");
	workers[1] = loop_add_worker(loop, "two");
	assert_int_equal(loop_start(loop), 0);
	calls = seen = 0;
	reads = true;
	frees = is_writing = false;
	read_size = 65536;
	last_read = 1;
	buf_init(&received, SIZE_MAX);
	return 0;
}

/* The server's stream and its pipe are gone. */
static void
hang_up(void)
{
	stream_free(&stream);
	mem_pipe_release(&far);
}

/* --- the client's end --- */

static SSL *client;
static BIO *client_in, *client_out;
static struct buf client_got;
static bool client_is_done, client_has_end;
static char client_error[256]; /* "": none */
static size_t cut;             /* bytes carried at once; 0: all */

UNUSED static SSL_CTX *
new_client_ctx(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), authority.certificate);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return ctx;
}

UNUSED static void
start_client(SSL_CTX *ctx)
{
	client = SSL_new(ctx);
	client_in = BIO_new(BIO_s_mem());
	client_out = BIO_new(BIO_s_mem());
	BIO_set_mem_eof_return(client_in, -1);
	SSL_set_bio(client, client_in, client_out);
	SSL_set_connect_state(client);
	client_is_done = client_has_end = false;
	client_error[0] = '\0';
	buf_init(&client_got, SIZE_MAX);
}

static void
end_client(void)
{
	SSL_free(client);
	client = NULL;
	buf_fini(&client_got);
}

static void
judge_client(int result)
{
	switch (SSL_get_error(client, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		break;
	case SSL_ERROR_ZERO_RETURN:
		client_has_end = true;
		break;
	default:
		snprintf(client_error, sizeof(client_error), "%s",
		    ERR_reason_error_string(ERR_peek_error()));
	}
	ERR_clear_error();
}

static void
step_client(void)
{
	uint8_t memory[16384];
	int n;

	ERR_clear_error();
	if (!client_is_done) {
		n = SSL_do_handshake(client);
		client_is_done = n == 1;
		if (n != 1) {
			judge_client(n);
			return;
		}
	}
	while ((n = SSL_read(client, memory, sizeof(memory))) > 0) {
		buf_append(&client_got, memory, (size_t)n);
	}
	judge_client(n);
}

/* Carries what the client has written, `cut` bytes at a time. */
static bool
carry_up(void)
{
	bool moved = false;
	uint8_t memory[65536];
	int n;

	while ((n = BIO_read(client_out, memory, cut != 0 ? (int)cut : (int)sizeof(memory))) > 0) {
		mem_pipe_write(far, bytes_make(memory, (size_t)n));
		settle();
		moved = true;
	}
	return moved;
}

static bool
carry_down(void)
{
	struct bytes output = mem_pipe_output(far);
	size_t n = cut != 0 && cut < output.len ? cut : output.len;

	if (n == 0) {
		return false;
	}
	assert_int_equal(BIO_write(client_in, output.data, (int)n), (int)n);
	mem_pipe_take(far, n);
	return true;
}

/* Until nothing moves any more. */
UNUSED static void
pump(void)
{
	bool moved;

	do {
		settle();
		if (client_error[0] == '\0' && !client_has_end) {
			step_client();
		}
		moved = carry_up();
		moved |= carry_down();
	} while (moved);
}

static int
end(void **state)
{
	(void)state;
	if (client != NULL) {
		end_client();
	}
	hang_up();
	loop_join(loop);
	loop_free(&loop);
	buf_fini(&received);
	cut = 0;
	return 0;
}

/* What both ends say when nothing is wrong. */
UNUSED static void
assert_they_talk(void)
{
	struct iovec parts[2] = {{(char[]){'w', 'o'}, 2}, {(char[]){'r', 'l', 'd'}, 3}};

	assert_string_equal(client_error, "");
	if (tls_stream_error(stream) != NULL) {
		fail_msg("%s", tls_stream_error(stream));
	}
	assert_true(client_is_done);
	buf_clear(&received);
	buf_clear(&client_got);
	assert_int_equal(SSL_write(client, "hello", 5), 5);
	pump();
	assert_bytes_text(buf_bytes(&received), "hello");
	assert_int_equal(stream_write(stream, parts, 2), 5);
	pump();
	assert_bytes_text(buf_bytes(&client_got), "world");
}

/* Both say no; what the server's log says. */
UNUSED static void
assert_refused(const char *text)
{
	assert_int_equal(last_read, ERR_IO);
	assert_non_null(tls_stream_error(stream));
	assert_string_equal(tls_stream_error(stream), text);
	assert_null(stream_identity(stream));
	assert_int_equal(stream_write(stream, &(struct iovec){(char[]){'x'}, 1}, 1), ERR_IO);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

#endif
