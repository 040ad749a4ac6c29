/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a finished handshake has shown: the user name from a certificate or a PSK, the host that the
 * client asked for. Pure but for OpenSSL's objects; the connection's worker.
 *
 * A certificate's texts may hold anything, a NUL in the middle too ("admin\0.example.org" for those
 * who think in C strings). What is no text that MQTT could carry as a user name counts as absent:
 * nobody is let in under a part of a name.
 */
#include "transport/tls_int.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

enum { MAX_USERNAME = 65535, MAX_SNI = 255 };

static bool
is_text(struct bytes text, size_t limit)
{
	return text.len != 0 && text.len <= limit && utf8_classify(text) <= UTF8_RESTRICTED;
}

static void
add_string(struct buf *out, const ASN1_STRING *string)
{
	unsigned char *text = NULL;
	int len = ASN1_STRING_to_UTF8(&text, string);

	if (len > 0) {
		buf_append(out, text, (size_t)len);
	}
	OPENSSL_free(text);
}

static void
add_cn(struct buf *out, const X509 *certificate)
{
	const X509_NAME *name = X509_get_subject_name(certificate);
	int last = -1;

	for (int at = -1; (at = X509_NAME_get_index_by_NID(name, NID_commonName, at)) >= 0;) {
		last = at;
	}
	if (last >= 0) {
		add_string(out, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, last)));
	}
}

static void
add_subject(struct buf *out, const X509 *certificate)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long len;

	if (bio != NULL && X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0,
			       XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) > 0) {
		len = BIO_get_mem_data(bio, &text);
		if (len > 0) {
			buf_append(out, text, (size_t)len);
		}
	}
	BIO_free(bio);
}

static void
add_san(struct buf *out, const X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		int type;
		const ASN1_STRING *value =
		    GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);

		if (type == GEN_DNS || type == GEN_EMAIL || type == GEN_URI) {
			add_string(out, value);
			break;
		}
	}
	GENERAL_NAMES_free(names);
}

static void
add_username(struct buf *out, SSL *ssl, const X509 *certificate, enum tls_username from)
{
	struct bytes psk = tls_psk_identity(ssl);

	if (certificate == NULL) {
		buf_append_bytes(out, psk);
	} else if (from == TLS_USERNAME_CN) {
		add_cn(out, certificate);
	} else if (from == TLS_USERNAME_SUBJECT) {
		add_subject(out, certificate);
	} else if (from == TLS_USERNAME_SAN) {
		add_san(out, certificate);
	}
	if (!is_text(buf_bytes(out), MAX_USERNAME)) {
		buf_clear(out);
	}
}

void
tls_name_identify(
    SSL *ssl, enum tls_username from, struct stream_identity *identity, char **names_out)
{
	X509 *certificate =
	    SSL_get_verify_result(ssl) == X509_V_OK ? SSL_get0_peer_certificate(ssl) : NULL;
	struct bytes sni = bytes_of(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
	struct buf names;
	size_t len;

	buf_init(&names, MAX_USERNAME + MAX_SNI);
	add_username(&names, ssl, certificate, from);
	len = names.len;
	if (is_text(sni, MAX_SNI)) {
		buf_append_bytes(&names, sni);
	}
	*names_out = names.len != 0 ? mem_text(buf_bytes(&names)) : NULL;
	*identity = (struct stream_identity){.username = bytes_make(*names_out, len),
	    .has_certificate = certificate != NULL,
	    .is_encrypted = true,
	    .sni = bytes_skip(bytes_make(*names_out, names.len), len),
	    .tls_version = SSL_get_version(ssl)};
	buf_fini(&names);
	ERR_clear_error();
}

void
tls_name_prove(SSL *ssl, struct stream_proof *proof)
{
	static const char label[] = "EXPORTER-Channel-Binding";
	X509 *certificate = SSL_get0_peer_certificate(ssl);
	unsigned char *der = NULL;
	int len = certificate != NULL ? i2d_X509(certificate, &der) : 0;

	if (len > 0) {
		buf_append(&proof->certificate, der, (size_t)len);
	}
	OPENSSL_free(der);
	/* Without it a TLS 1.2 session is not bound to its handshake [RFC 9266, 4.2]. */
	proof->has_exporter =
	    (SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) == 1) &&
	    SSL_export_keying_material(ssl, proof->exporter, sizeof(proof->exporter), label,
		sizeof(label) - 1, (const unsigned char *)"", 0, 1) == 1;
	ERR_clear_error();
}
