/* SPDX-License-Identifier: Apache-2.0 */
/* What a listener's TLS options do: files and their errors, versions, ALPN, SNI, tickets. */
#include "unit/transport/tls_house.h"

#include <sys/stat.h>

static char why[256];

/* ~ in the sentence stands for the house's directory. */
static void
assert_no_ctx(struct tls_options options, const char *sentence)
{
	struct buf expected;

	buf_init(&expected, SIZE_MAX);
	for (const char *at = sentence; *at != '\0'; at++) {
		if (*at == '~') {
			buf_append_text(&expected, house_dir);
		} else {
			buf_append_byte(&expected, (uint8_t)*at);
		}
	}
	why[0] = '\0';
	assert_null(tls_ctx_new(&options, why, sizeof(why)));
	assert_string_equal(why, buf_text(&expected));
	assert_int_equal(ERR_peek_error(), 0);
	buf_fini(&expected);
}

static void
save_text(const char *name, const char *text)
{
	FILE *out = create(name);

	fputs(text, out);
	fclose(out);
}

static void
files_that_cannot_be_used_are_named(void **state)
{
	struct tls_options options = usual_options();

	(void)state;
	save_text("noise", "this is not PEM\n");
	options.certfile = house_path("none.pem");
	assert_no_ctx(options, "cannot read ~/none.pem: No such file or directory");
	options.certfile = house_dir;
	assert_no_ctx(options, "cannot read ~: Is a directory");
	options.certfile = house_path("noise");
	assert_no_ctx(options,
	    "cannot use ~/noise as a certificate: it holds nothing of that kind in PEM form");
	options.certfile = house_path("server.pem");
	options.keyfile = house_path("none.key");
	assert_no_ctx(options, "cannot read ~/none.key: No such file or directory");
	options.keyfile = house_path("server.pem");
	assert_null(tls_ctx_new(&options, why, sizeof(why)));
	assert_non_null(strstr(why, "server.pem as a key: "));
	options.keyfile = NULL; /* it might be in the same file */
	assert_null(tls_ctx_new(&options, why, sizeof(why)));
	assert_non_null(strstr(why, "server.pem as a key: "));
	options = usual_options();
	options.cafile = house_path("noise");
	assert_null(tls_ctx_new(&options, why, sizeof(why)));
	assert_non_null(strstr(why, "noise as authorities: "));
	options.cafile = house_path("ca.pem");
	options.crlfile = house_path("server.pem");
	assert_null(tls_ctx_new(&options, why, sizeof(why)));
	assert_non_null(strstr(why, "server.pem as a list of revoked certificates: "));
	assert_int_equal(ERR_peek_error(), 0);
}

static void
a_key_that_does_not_fit_is_refused(void **state)
{
	struct tls_options options = usual_options();
	struct entity rsa = {EVP_RSA_gen(2048), NULL};

	(void)state;
	save_key("other.key", &authority);
	options.keyfile = house_path("other.key");
	assert_no_ctx(
	    options, "the key in ~/other.key is not that of the certificate in ~/server.pem");
	save_key("rsa.key", &rsa);
	options.keyfile = house_path("rsa.key");
	assert_no_ctx(
	    options, "the key in ~/rsa.key is not that of the certificate in ~/server.pem");
	dismiss(&rsa);
}

static void
a_key_with_a_pass_phrase_is_refused_without_asking(void **state)
{
	struct tls_options options = usual_options();
	FILE *out = create("locked.key");

	(void)state;
	PEM_write_PKCS8PrivateKey(
	    out, server_entity.key, EVP_aes_128_cbc(), (char[]){'p', 'w', 'p', 'w'}, 4, NULL, NULL);
	fclose(out);
	options.keyfile = house_path("locked.key");
	assert_no_ctx(options, "the key in ~/locked.key is protected by a pass phrase");
}

static void
an_expired_certificate_is_refused(void **state)
{
	struct tls_options options = usual_options();
	struct entity old = issue((struct spec){
	    .cn = BYTES_LITERAL("old"), .issuer = &authority, .from_s = -7200, .to_s = -3600});

	(void)state;
	save_certificate("old.pem", &old);
	save_key("old.key", &old);
	options.certfile = house_path("old.pem");
	options.keyfile = house_path("old.key");
	assert_no_ctx(options, "the certificate in ~/old.pem has expired");
	dismiss(&old);
}

static void
options_that_do_not_go_together_are_refused(void **state)
{
	struct tls_options options = {.require_certificate = false};
	char name[300];

	(void)state;
	assert_no_ctx(options, "certfile is missing");
	options.keyfile = house_path("server.key");
	assert_no_ctx(options, "keyfile needs a certfile");
	options = usual_options();
	options.require_certificate = true;
	assert_no_ctx(options, "require_certificate needs a cafile");
	options.require_certificate = false;
	options.username_from = TLS_USERNAME_CN;
	assert_no_ctx(options, "username_from needs a cafile");
	options.username_from = TLS_USERNAME_NONE;
	options.crlfile = house_path("crl.pem");
	assert_no_ctx(options, "crlfile needs a cafile");
	options.crlfile = NULL;
	options.ciphers = "NONSENSE";
	assert_no_ctx(options, "ciphers \"NONSENSE\": no cipher match");
	options.ciphers = NULL;
	options.ciphersuites = "NONSENSE";
	assert_null(tls_ctx_new(&options, why, sizeof(why)));
	assert_non_null(strstr(why, "ciphersuites \"NONSENSE\": "));
	options.ciphersuites = NULL;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	options.alpn = name;
	assert_no_ctx(options, "alpn is longer than 255 bytes");
}

static void
certificate_and_key_may_share_a_file(void **state)
{
	struct tls_options options = {.certfile = house_path("both.pem")};
	FILE *out = create("both.pem");
	SSL_CTX *ctx = new_client_ctx(TLS1_3_VERSION);

	(void)state;
	PEM_write_X509(out, server_entity.certificate);
	PEM_write_PrivateKey(out, server_entity.key, NULL, NULL, 0, NULL, NULL);
	fclose(out);
	accept_stream(NULL, options);
	start_client(ctx);
	SSL_CTX_free(ctx);
	pump();
	assert_they_talk();
}

/* --- what a client meets --- */

static void
meet(SSL_CTX *client_ctx, struct tls_ctx *ctx, struct tls_options options)
{
	accept_stream(ctx, options);
	start_client(client_ctx);
	pump();
}

static void
part_ways(void)
{
	end_client();
	hang_up();
}

static void
old_versions_are_refused(void **state)
{
	struct tls_options options = usual_options();
	SSL_CTX *old = new_client_ctx(TLS1_1_VERSION);
	SSL_CTX *present = new_client_ctx(TLS1_2_VERSION);

	(void)state;
	SSL_CTX_set_security_level(old, 0);
	SSL_CTX_set_cipher_list(old, "ALL");
	meet(old, NULL, options);
	assert_refused("unsupported protocol");
	assert_string_equal(client_error, "tlsv1 alert protocol version");
	part_ways();
	options.min_version = TLS_VERSION_1_3;
	meet(present, NULL, options);
	assert_refused("unsupported protocol");
	assert_string_equal(client_error, "tlsv1 alert protocol version");
	SSL_CTX_free(old);
	SSL_CTX_free(present);
}

static void
the_servers_order_of_ciphers_counts(void **state)
{
	struct tls_options options = usual_options();
	SSL_CTX *ctx = new_client_ctx(TLS1_2_VERSION);

	(void)state;
	SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256");
	options.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384";
	meet(ctx, NULL, options);
	assert_they_talk();
	assert_string_equal(SSL_get_cipher(client), "ECDHE-ECDSA-AES128-GCM-SHA256");
	part_ways();
	SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-SHA"); /* not by default */
	meet(ctx, NULL, usual_options());
	assert_refused("no shared cipher");
	SSL_CTX_free(ctx);
}

static void
mqtt_is_chosen_by_alpn_and_others_are_refused(void **state)
{
	static const struct {
		const char *alpn, *offer, *chosen, *error;
	} rows[] = {
	    {NULL, NULL, "", NULL},
	    {NULL, "\4mqtt", "mqtt", NULL},
	    {NULL, "\2h2\4mqtt\3foo", "mqtt", NULL},
	    {NULL, "\2h2\10http/1.1", "", "no application protocol"},
	    {NULL, "\5mqtts", "", "no application protocol"},
	    {"http/1.1", "\2h2\10http/1.1", "http/1.1", NULL},
	    {"", "\2h2", "", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct tls_options options = usual_options();
		SSL_CTX *ctx = new_client_ctx(i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION);
		const unsigned char *chosen;
		unsigned len;

		options.alpn = rows[i].alpn;
		if (rows[i].offer != NULL) {
			SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)rows[i].offer,
			    (unsigned)strlen(rows[i].offer));
		}
		meet(ctx, NULL, options);
		if (rows[i].error != NULL) {
			assert_refused(rows[i].error);
		} else {
			assert_they_talk();
			SSL_get0_alpn_selected(client, &chosen, &len);
			assert_bytes_text(bytes_make(chosen, len), rows[i].chosen);
		}
		part_ways();
		SSL_CTX_free(ctx);
	}
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
use_session(SSL_CTX *client_ctx, struct tls_ctx *ctx, bool is_resumed)
{
	accept_stream(ctx, usual_options());
	start_client(client_ctx);
	SSL_set_tlsext_host_name(client, (char[]){"broker.example"});
	if (session != NULL) {
		SSL_set_session(client, session);
	}
	pump();
	assert_they_talk();
	assert_int_equal(SSL_session_reused(client), is_resumed);
	assert_non_null(session);
	assert_bytes_text(stream_identity(stream)->sni, "broker.example");
	SSL_shutdown(client);
	pump();
	part_ways();
}

static void
a_session_is_resumed_but_not_after_a_reload(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct tls_ctx *ctx = new_ctx(usual_options());
		SSL_CTX *client_ctx = new_client_ctx(i == 0 ? TLS1_2_VERSION : TLS1_3_VERSION);

		SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT);
		SSL_CTX_sess_set_new_cb(client_ctx, keep_session);
		use_session(client_ctx, ctx, false);
		use_session(client_ctx, ctx, true);
		tls_ctx_unref(&ctx);
		ctx = new_ctx(usual_options());
		use_session(client_ctx, ctx, false);
		tls_ctx_unref(&ctx);
		SSL_SESSION_free(session);
		session = NULL;
		SSL_CTX_free(client_ctx);
	}
}

static void
a_live_connection_outlives_a_reload(void **state)
{
	struct tls_ctx *ctx = new_ctx(usual_options());
	SSL_CTX *client_ctx = new_client_ctx(TLS1_3_VERSION);

	(void)state;
	meet(client_ctx, ctx, usual_options());
	tls_ctx_unref(&ctx);
	assert_null(ctx);
	SSL_CTX_free(client_ctx);
	assert_they_talk();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(files_that_cannot_be_used_are_named),
	    cmocka_unit_test(a_key_that_does_not_fit_is_refused),
	    cmocka_unit_test(a_key_with_a_pass_phrase_is_refused_without_asking),
	    cmocka_unit_test(an_expired_certificate_is_refused),
	    cmocka_unit_test(options_that_do_not_go_together_are_refused),
	    CASE(certificate_and_key_may_share_a_file),
	    CASE(old_versions_are_refused),
	    CASE(the_servers_order_of_ciphers_counts),
	    CASE(mqtt_is_chosen_by_alpn_and_others_are_refused),
	    CASE(a_session_is_resumed_but_not_after_a_reload),
	    CASE(a_live_connection_outlives_a_reload),
	};

	return cmocka_run_group_tests(tests, open_house, close_house);
}
