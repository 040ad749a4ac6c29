/* SPDX-License-Identifier: Apache-2.0 */
/* Who the other side is: client certificates, revocation, pre-shared keys. */
#include "unit/transport/tls_house.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static struct tls_options
asking_options(int username_from)
{
	struct tls_options options = usual_options();

	options.cafile = house_path("ca.pem");
	options.username_from = username_from;
	return options;
}

/* A client with this certificate, which may be NULL. */
static void
meet(int version, struct tls_options options, const struct entity *entity)
{
	SSL_CTX *ctx = new_client_ctx(version);

	if (entity != NULL) {
		SSL_CTX_use_certificate(ctx, entity->certificate);
		SSL_CTX_use_PrivateKey(ctx, entity->key);
	}
	accept_stream(NULL, options);
	start_client(ctx);
	SSL_CTX_free(ctx);
	pump();
}

static void
part_ways(void)
{
	end_client();
	hang_up();
}

static void
the_user_name_is_taken_from_the_certificate(void **state)
{
	static const char san[] =
	    "IP:192.0.2.7,email:ann@example.org,DNS:ann.example.org,URI:urn:ann";
	static const struct {
		struct bytes cn;
		const char *san;
		int from;
		const char *name;
	} rows[] = {
	    {BYTES_LITERAL("ann"), san, TLS_USERNAME_NONE, ""},
	    {BYTES_LITERAL("ann"), san, TLS_USERNAME_CN, "ann"},
	    {BYTES_LITERAL("J\xc3\xbcrgen"), san, TLS_USERNAME_CN, "J\xc3\xbcrgen"},
	    {BYTES_LITERAL("J\xc3\xbcrgen"), NULL, TLS_USERNAME_SUBJECT,
		"CN=J\xc3\xbcrgen,O=avocet"},
	    {BYTES_LITERAL("a,b=c"), NULL, TLS_USERNAME_SUBJECT, "CN=a\\,b=c,O=avocet"},
	    {BYTES_LITERAL("ann"), san, TLS_USERNAME_SAN, "ann@example.org"},
	    {BYTES_LITERAL("ann"), "URI:urn:ann", TLS_USERNAME_SAN, "urn:ann"},
	    {BYTES_LITERAL("ann"), "IP:192.0.2.7", TLS_USERNAME_SAN, ""},
	    {BYTES_LITERAL("ann"), NULL, TLS_USERNAME_SAN, ""},
	    {BYTES_LITERAL(""), san, TLS_USERNAME_CN, ""},
	    {BYTES_LITERAL("admin\0.example.org"), san, TLS_USERNAME_CN, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct entity entity = issue(
		    (struct spec){.cn = rows[i].cn, .san = rows[i].san, .issuer = &authority});

		meet(versions[i % 2], asking_options(rows[i].from), &entity);
		assert_they_talk();
		assert_bytes_text(stream_identity(stream)->username, rows[i].name);
		assert_true(stream_identity(stream)->has_certificate);
		part_ways();
		dismiss(&entity);
	}
}

static void
of_several_common_names_the_last_counts(void **state)
{
	struct entity entity =
	    issue((struct spec){.cn = BYTES_LITERAL("people"), .issuer = &authority});

	(void)state;
	X509_NAME_add_entry_by_txt(X509_get_subject_name(entity.certificate), "CN", MBSTRING_UTF8,
	    (const unsigned char *)"ann", -1, -1, 0);
	assert_true(X509_sign(entity.certificate, authority.key, EVP_sha256()) > 0);
	meet(TLS1_3_VERSION, asking_options(TLS_USERNAME_CN), &entity);
	assert_they_talk();
	assert_bytes_text(stream_identity(stream)->username, "ann");
	dismiss(&entity);
}

static void
a_certificate_may_be_missing_unless_it_is_required(void **state)
{
	struct tls_options options = asking_options(TLS_USERNAME_CN);

	(void)state;
	for (int i = 0; i < 2; i++) {
		options.require_certificate = false;
		meet(versions[i], options, NULL);
		assert_they_talk();
		assert_false(stream_identity(stream)->has_certificate);
		assert_int_equal(stream_identity(stream)->username.len, 0);
		part_ways();
		options.require_certificate = true;
		meet(versions[i], options, NULL);
		assert_refused("peer did not return a certificate");
		part_ways();
	}
}

static void
assert_certificate_refused(struct spec spec, const char *text)
{
	struct entity entity = issue(spec);

	for (int i = 0; i < 2; i++) {
		meet(versions[i], asking_options(TLS_USERNAME_CN), &entity);
		assert_refused(text);
		assert_true(client_error[0] != '\0');
		part_ways();
	}
	dismiss(&entity);
}

/* Though none is required: who shows one shows a good one. */
static void
certificates_that_are_not_good_are_refused(void **state)
{
	(void)state;
	assert_certificate_refused((struct spec){.cn = BYTES_LITERAL("ann"), .issuer = &stranger},
	    "certificate verify failed: unable to get local issuer certificate");
	assert_certificate_refused((struct spec){.cn = BYTES_LITERAL("ann")},
	    "certificate verify failed: self-signed certificate");
	assert_certificate_refused(
	    (struct spec){
		.cn = BYTES_LITERAL("ann"), .issuer = &authority, .from_s = -7200, .to_s = -10},
	    "certificate verify failed: certificate has expired");
	assert_certificate_refused(
	    (struct spec){
		.cn = BYTES_LITERAL("ann"), .issuer = &authority, .from_s = 3600, .to_s = 7200},
	    "certificate verify failed: certificate is not yet valid");
	assert_certificate_refused(
	    (struct spec){.cn = BYTES_LITERAL("ann"), .issuer = &authority, .usage = "serverAuth"},
	    "certificate verify failed: unsuitable certificate purpose");
}

static void
revoked_certificates_are_refused(void **state)
{
	struct tls_options options = asking_options(TLS_USERNAME_CN);
	struct entity good =
	    issue((struct spec){.cn = BYTES_LITERAL("good"), .issuer = &authority});
	struct entity bad = issue((struct spec){.cn = BYTES_LITERAL("bad"), .issuer = &authority});

	(void)state;
	save_crl("crl.pem", &authority, bad.certificate);
	options.crlfile = house_path("crl.pem");
	for (int i = 0; i < 2; i++) {
		meet(versions[i], options, &good);
		assert_they_talk();
		assert_bytes_text(stream_identity(stream)->username, "good");
		part_ways();
		meet(versions[i], options, &bad);
		assert_refused("certificate verify failed: certificate revoked");
		part_ways();
		buf_clear(&received);
	}
	/* A list of somebody else's says nothing about these. */
	save_crl("other.pem", &stranger, NULL);
	options.crlfile = house_path("other.pem");
	meet(TLS1_3_VERSION, options, &good);
	assert_refused("certificate verify failed: unable to get certificate CRL");
	dismiss(&good);
	dismiss(&bad);
}

/* The chain: authority -> middle -> leaf, with lists of some of them. */
static void
authorities_in_between_are_checked_where_they_have_a_list(void **state)
{
	struct tls_options options = asking_options(TLS_USERNAME_CN);
	struct entity middle = issue((struct spec){
	    .cn = BYTES_LITERAL("middle"), .issuer = &authority, .is_authority = true});
	struct entity leaf = issue((struct spec){.cn = BYTES_LITERAL("leaf"), .issuer = &middle});
	FILE *out = create("chain.pem");
	char command[512];

	(void)state;
	PEM_write_X509(out, authority.certificate);
	PEM_write_X509(out, middle.certificate);
	fclose(out);
	options.cafile = house_path("chain.pem");
	options.crlfile = house_path("middle-crl.pem");
	save_crl("middle-crl.pem", &middle, NULL);
	meet(TLS1_3_VERSION, options, &leaf);
	assert_they_talk();
	part_ways();
	save_crl("root-crl.pem", &authority, middle.certificate);
	snprintf(command, sizeof(command), "cat %s >> %s", house_path("root-crl.pem"),
	    house_path("middle-crl.pem"));
	assert_int_equal(system(command), 0);
	buf_clear(&received);
	meet(TLS1_3_VERSION, options, &leaf);
	assert_refused("certificate verify failed: certificate revoked");
	dismiss(&middle);
	dismiss(&leaf);
}

/* --- resumption --- */

static SSL_SESSION *session;

static int
keep_session(SSL *ssl, SSL_SESSION *fresh)
{
	(void)ssl;
	SSL_SESSION_free(session);
	session = fresh;
	return 1;
}

static void
a_resumed_session_brings_its_name_along(void **state)
{
	struct tls_options options = asking_options(TLS_USERNAME_CN);
	struct entity ann = issue((struct spec){.cn = BYTES_LITERAL("ann"), .issuer = &authority});

	(void)state;
	options.require_certificate = true;
	for (int i = 0; i < 2; i++) {
		struct tls_ctx *ctx = new_ctx(options);
		SSL_CTX *client_ctx = new_client_ctx(versions[i]);

		SSL_CTX_use_certificate(client_ctx, ann.certificate);
		SSL_CTX_use_PrivateKey(client_ctx, ann.key);
		SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT);
		SSL_CTX_sess_set_new_cb(client_ctx, keep_session);
		for (int resumes = 0; resumes < 2; resumes++) {
			accept_stream(ctx, options);
			start_client(client_ctx);
			if (resumes) {
				SSL_set_session(client, session);
			}
			pump();
			assert_they_talk();
			assert_int_equal(SSL_session_reused(client), resumes);
			assert_bytes_text(stream_identity(stream)->username, "ann");
			assert_true(stream_identity(stream)->has_certificate);
			SSL_shutdown(client);
			pump();
			part_ways();
		}
		SSL_SESSION_free(session);
		session = NULL;
		SSL_CTX_free(client_ctx);
		tls_ctx_unref(&ctx);
	}
	dismiss(&ann);
}

static void
a_resumed_session_ends_with_its_certificate(void **state)
{
	struct tls_options options = asking_options(TLS_USERNAME_CN);

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct entity ann = issue((struct spec){
		    .cn = BYTES_LITERAL("ann"), .issuer = &authority, .from_s = -3600, .to_s = 2});
		struct tls_ctx *ctx = new_ctx(options);
		SSL_CTX *client_ctx = new_client_ctx(versions[i]);

		SSL_CTX_use_certificate(client_ctx, ann.certificate);
		SSL_CTX_use_PrivateKey(client_ctx, ann.key);
		SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT);
		SSL_CTX_sess_set_new_cb(client_ctx, keep_session);
		accept_stream(ctx, options);
		start_client(client_ctx);
		pump();
		assert_they_talk();
		SSL_shutdown(client);
		pump();
		part_ways();
		sleep(3);
		accept_stream(ctx, options);
		start_client(client_ctx);
		SSL_set_session(client, session);
		pump();
		assert_refused("certificate has expired");
		part_ways();
		SSL_SESSION_free(session);
		session = NULL;
		SSL_CTX_free(client_ctx);
		tls_ctx_unref(&ctx);
		dismiss(&ann);
	}
}

/* --- the name of the host --- */

static void
the_host_that_was_asked_for_is_known(void **state)
{
	SSL_CTX *ctx = new_client_ctx(TLS1_2_VERSION);

	(void)state;
	accept_stream(NULL, usual_options());
	start_client(ctx);
	SSL_CTX_free(ctx);
	SSL_set_tlsext_host_name(client, (char[]){"other.example"});
	pump();
	assert_they_talk();
	assert_bytes_text(stream_identity(stream)->sni, "other.example");
}

/* --- keys shared before --- */

static unsigned asked; /* for keys */

static long
find_key(void *arg, struct bytes identity, uint8_t *key, size_t size)
{
	assert_ptr_equal(arg, &asked);
	asked++;
	assert_true(size >= 32);
	if (bytes_equal_text(identity, "sensor-1")) {
		memcpy(key, "0123456789abcdef", 16);
		return 16;
	}
	return bytes_equal_text(identity, "strange") ? 1000 : 0;
}

static const struct transport_secret_ops secrets = {find_key};
static const char *offered_identity, *offered_key;

static unsigned
offer_key(SSL *ssl, const char *hint, char *identity, unsigned identity_size, unsigned char *key,
    unsigned key_size)
{
	(void)ssl;
	(void)hint;
	(void)key_size;
	snprintf(identity, identity_size, "%s", offered_identity);
	memcpy(key, offered_key, strlen(offered_key));
	return (unsigned)strlen(offered_key);
}

static struct tls_options
psk_options(bool has_certificate)
{
	struct tls_options options = {.psk = &secrets, .psk_arg = &asked};

	if (has_certificate) {
		options.certfile = house_path("server.pem");
		options.keyfile = house_path("server.key");
	}
	return options;
}

static void
meet_psk(int version, struct tls_options options, const char *identity, const char *key)
{
	SSL_CTX *ctx = new_client_ctx(version);

	SSL_CTX_set_cipher_list(ctx, "PSK");
	SSL_CTX_set_psk_client_callback(ctx, offer_key);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(ctx, keep_session);
	offered_identity = identity;
	offered_key = key;
	accept_stream(NULL, options);
	start_client(ctx);
	SSL_CTX_free(ctx);
	pump();
}

static void
a_shared_key_stands_for_a_name(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct tls_options options = psk_options(i / 2 == 1);

		if (i / 2 == 1) {
			options.cafile = house_path("ca.pem");
			options.require_certificate = true; /* of all others */
		}
		meet_psk(versions[i % 2], options, "sensor-1", "0123456789abcdef");
		assert_they_talk();
		assert_bytes_text(stream_identity(stream)->username, "sensor-1");
		assert_false(stream_identity(stream)->has_certificate);
		assert_string_equal(stream_identity(stream)->tls_version, SSL_get_version(client));
		part_ways();
	}
	SSL_SESSION_free(session);
	session = NULL;
}

static void
unknown_identities_and_wrong_keys_are_refused(void **state)
{
	static const char *const unknown[] = {"sensor-2", "strange", "sensor-1\xff"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		meet_psk(TLS1_2_VERSION, psk_options(true), unknown[i], "0123456789abcdef");
		assert_refused("psk identity not found");
		part_ways();
		meet_psk(TLS1_3_VERSION, psk_options(false), unknown[i], "0123456789abcdef");
		assert_int_equal(last_read, ERR_IO);
		assert_null(stream_identity(stream));
		part_ways();
	}
	meet_psk(TLS1_2_VERSION, psk_options(true), "sensor-1", "0123456789abcdeX");
	assert_refused("decryption failed or bad record mac");
	part_ways();
	meet_psk(TLS1_3_VERSION, psk_options(true), "sensor-1", "0123456789abcdeX");
	assert_refused("binder does not verify");
}

static void
an_unknown_identity_falls_back_to_the_certificate_and_gives_no_name(void **state)
{
	(void)state;
	meet_psk(TLS1_3_VERSION, psk_options(true), "sensor-2", "0123456789abcdef");
	assert_they_talk();
	assert_int_equal(stream_identity(stream)->username.len, 0);
	SSL_SESSION_free(session);
	session = NULL;
}

/* A key that was found, but whose hash the cipher does not have, proves nothing. */
static void
a_key_that_was_passed_over_gives_no_name(void **state)
{
	struct tls_options options = psk_options(true);

	(void)state;
	options.ciphersuites = "TLS_AES_256_GCM_SHA384";
	asked = 0;
	meet_psk(TLS1_3_VERSION, options, "sensor-1", "this is not the key");
	assert_int_equal(last_read, ERR_AGAIN);
	assert_they_talk();
	assert_true(asked != 0);
	assert_int_equal(stream_identity(stream)->username.len, 0);
	SSL_SESSION_free(session);
	session = NULL;
}

static void
a_resumed_session_brings_its_identity_along(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct tls_ctx *ctx = new_ctx(psk_options(true));
		SSL_CTX *client_ctx = new_client_ctx(versions[i]);

		SSL_CTX_set_cipher_list(client_ctx, "PSK");
		SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT);
		SSL_CTX_sess_set_new_cb(client_ctx, keep_session);
		SSL_CTX_set_psk_client_callback(client_ctx, offer_key);
		offered_identity = "sensor-1";
		offered_key = "0123456789abcdef";
		for (int resumes = 0; resumes < 2; resumes++) {
			accept_stream(ctx, psk_options(true));
			start_client(client_ctx);
			if (resumes) {
				SSL_set_session(client, session);
				asked = 0;
				if (versions[i] == TLS1_3_VERSION) {
					SSL_set_psk_client_callback(client, NULL);
				}
			}
			pump();
			assert_they_talk();
			assert_bytes_text(stream_identity(stream)->username, "sensor-1");
			if (resumes) {
				assert_int_equal(SSL_session_reused(client), 1);
				assert_int_equal(asked, 0); /* a ticket is not taken for a name */
			}
			SSL_shutdown(client);
			pump();
			part_ways();
		}
		SSL_SESSION_free(session);
		session = NULL;
		SSL_CTX_free(client_ctx);
		tls_ctx_unref(&ctx);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(the_user_name_is_taken_from_the_certificate),
	    CASE(of_several_common_names_the_last_counts),
	    CASE(a_certificate_may_be_missing_unless_it_is_required),
	    CASE(certificates_that_are_not_good_are_refused),
	    CASE(revoked_certificates_are_refused),
	    CASE(authorities_in_between_are_checked_where_they_have_a_list),
	    CASE(a_resumed_session_brings_its_name_along),
	    CASE(a_resumed_session_ends_with_its_certificate),
	    CASE(the_host_that_was_asked_for_is_known),
	    CASE(a_shared_key_stands_for_a_name),
	    CASE(unknown_identities_and_wrong_keys_are_refused),
	    CASE(an_unknown_identity_falls_back_to_the_certificate_and_gives_no_name),
	    CASE(a_key_that_was_passed_over_gives_no_name),
	    CASE(a_resumed_session_brings_its_identity_along),
	};

	return cmocka_run_group_tests(tests, open_house, close_house);
}
