/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pre-shared keys, TLS 1.2 and 1.3. Runs inside a handshake, on the connection's worker.
 *
 * Which identity was proven must never be guessed from which was asked for last: a client of
 * TLS 1.3 may offer several, and a key that was found can still be passed over because its hash
 * does not suit the cipher. So the identity is bound to the session that is made from its key, as
 * the data of its tickets; what the handshake ends with, it has proven, and a resumed session
 * brings it along. In TLS 1.2 OpenSSL does the same by itself.
 */
#include "transport/tls_int.h"

#include "base/mem.h"
#include "base/utf8.h"

/* Before a ticket of ours is tried it is offered here as an identity: never text. */
static bool
is_identity(struct bytes identity)
{
	return identity.len != 0 && identity.len <= TLS_MAX_PSK_IDENTITY &&
	       utf8_classify(identity) <= UTF8_RESTRICTED;
}

static size_t
ask(SSL *ssl, struct bytes identity, uint8_t *key, size_t size)
{
	const struct tls_ctx *ctx = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	long len = 0;

	if (is_identity(identity)) {
		len = ctx->psk->psk(ctx->psk_arg, identity, key, size);
	}
	return len > 0 && (size_t)len <= size ? (size_t)len : 0;
}

static unsigned
answer_12(SSL *ssl, const char *identity, unsigned char *key, unsigned size)
{
	/* OpenSSL would also ask here for TLS 1.3, where the other callback has answered. */
	return SSL_version(ssl) >= TLS1_3_VERSION ? 0
						  : (unsigned)ask(ssl, bytes_of(identity), key,
							size < TLS_MAX_PSK ? size : TLS_MAX_PSK);
}

static SSL_SESSION *
make_session(SSL *ssl, struct bytes identity, const uint8_t *key, size_t len)
{
	static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01};
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
	SSL_SESSION *session = SSL_SESSION_new();

	/* The cipher stands for its hash: SHA-256 unless told otherwise, RFC 8446, 4.2.11. */
	if (session != NULL &&
	    (cipher == NULL || SSL_SESSION_set1_master_key(session, key, len) != 1 ||
		SSL_SESSION_set_cipher(session, cipher) != 1 ||
		SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) != 1 ||
		SSL_SESSION_set1_ticket_appdata(session, identity.data, identity.len) != 1)) {
		SSL_SESSION_free(session);
		session = NULL;
	}
	return session;
}

static int
answer_13(SSL *ssl, const unsigned char *identity, size_t identity_len, SSL_SESSION **session_out)
{
	struct bytes name = bytes_make(identity, identity_len);
	uint8_t key[TLS_MAX_PSK];
	size_t len = ask(ssl, name, key, sizeof(key));

	*session_out = len != 0 ? make_session(ssl, name, key, len) : NULL;
	mem_wipe(key, sizeof(key));
	return len == 0 || *session_out != NULL;
}

void
tls_psk_set(struct tls_ctx *ctx)
{
	SSL_CTX_set_psk_server_callback(ctx->ssl, answer_12);
	SSL_CTX_set_psk_find_session_callback(ctx->ssl, answer_13);
}

struct bytes
tls_psk_identity(SSL *ssl)
{
	SSL_SESSION *session = SSL_get_session(ssl);
	void *data = NULL;
	size_t len = 0;

	if (SSL_version(ssl) < TLS1_3_VERSION) {
		return bytes_of(SSL_get_psk_identity(ssl));
	}
	if (session == NULL || SSL_SESSION_get0_ticket_appdata(session, &data, &len) != 1) {
		return bytes_make(NULL, 0);
	}
	return bytes_make(data, len);
}
