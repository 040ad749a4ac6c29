/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of WebSocket point into the configuration, so an entry that needs them keeps it. TLS
 * is a context of its own for each snapshot: a reload reads the files again, whatever has changed,
 * and those who are connected keep what they were let in with.
 *
 * Keys of PSKs are asked for in the handshake, on the worker, from whoever authenticates the
 * listener's clients.
 */
#include "broker/entry.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/ref.h"
#include "base/str.h"
#include "transport/addr_text.h"
#include "transport/plain.h"
#include "transport/proxy.h"
#include "transport/tls.h"
#include "transport/ws.h"

struct broker_entry {
	struct ref ref;
	struct broker_door *door;
	struct conf
	    *conf; /* a reference, for what ws, trusted and PSK point to; NULL: not needed */
	struct tls_ctx *tls; /* NULL: none */
	const struct broker_network *trusted;
	size_t trusted_count;
	bool is_behind_proxy;
	bool is_websocket;
	struct ws_options ws;
	const char **origins; /* of ws; ends with NULL */
};

/* --- networks --- */

static bool
parse_bits(struct bytes text, size_t most, size_t *bits_out)
{
	uint16_t bits;

	if (!addr_parse_port(text, &bits)) { /* a small number, written in the one way */
		return false;
	}
	*bits_out = bits;
	return bits <= most;
}

const char *
broker_network_parse(const char *text, struct broker_network *network_out)
{
	static const char wrong[] = "must be an address, a network such as 10.0.0.0/8, or unix";
	struct bytes all = bytes_of(text), host = all, bytes;
	const char *slash = strchr(text, '/');
	struct addr addr;
	size_t bits;

	*network_out = (struct broker_network){.is_unix = strcmp(text, "unix") == 0};
	if (network_out->is_unix) {
		return NULL;
	}
	host.len = slash != NULL ? (size_t)(slash - text) : all.len;
	/* No port, neither of one kind nor of the other. */
	if (host.len == 0 || text[0] == '[' || !addr_parse(host, &addr)) {
		return wrong;
	}
	bytes = addr_host(&addr);
	if (bytes.len != 16 && (bytes.len != 4 || memchr(host.data, ':', host.len) != NULL)) {
		return wrong;
	}
	bits = 8 * bytes.len;
	if (slash != NULL && !parse_bits(bytes_skip(all, host.len + 1), bits, &bits)) {
		return "is an address with a wrong number of bits behind the slash";
	}
	network_out->bits = (uint8_t)bits;
	network_out->len = (uint8_t)bytes.len;
	memcpy(network_out->host, bytes.data, bytes.len);
	for (size_t i = network_out->bits; i < 8 * bytes.len; i++) {
		if ((network_out->host[i / 8] & 0x80U >> i % 8) != 0) {
			return "has bits set behind those of the network";
		}
	}
	return NULL;
}

bool
broker_network_has(const struct broker_network *network, const struct addr *addr)
{
	struct bytes host = addr_host(addr);
	size_t whole = network->bits / 8, rest = network->bits % 8;

	if (host.len == 0 || network->is_unix) {
		return host.len == 0 && network->is_unix && addr_is_local(addr);
	}
	if (host.len != network->len || memcmp(host.data, network->host, whole) != 0) {
		return false;
	}
	return rest == 0 ||
	       ((host.data[whole] ^ network->host[whole]) & 0xff00U >> rest & 0xffU) == 0;
}

static bool
trusts(void *arg, const struct addr *peer)
{
	const struct broker_entry *entry = arg;

	for (size_t i = 0; i < entry->trusted_count; i++) {
		if (broker_network_has(&entry->trusted[i], peer)) {
			return true;
		}
	}
	return false;
}

/* --- TLS --- */

static long
find_key(void *arg, struct bytes identity, uint8_t *key, size_t size)
{
	const struct conn_listener *listener = arg;
	struct plugin_authority *authority =
	    listener != NULL ? listener->plugins->authenticate : NULL;

	return authority != NULL && authority->ops->psk != NULL
		   ? authority->ops->psk(authority, identity, key, size)
		   : 0;
}

struct tls_ctx *
broker_entry_tls(const struct broker_listener *listener, const struct broker_tls *tls,
    const char **wrong_out, char *why, size_t why_size)
{
	static const struct transport_secret_ops secrets = {.psk = find_key};
	bool is_websocket = listener != NULL && listener->protocol == BROKER_WEBSOCKET;
	const struct conn_listener *conn = listener != NULL ? &listener->conn : NULL;

	*wrong_out = NULL;
	return tls_ctx_new(
	    &(struct tls_options){
		.certfile = tls->certfile,
		.keyfile = tls->keyfile,
		.cafile = tls->cafile,
		.crlfile = tls->crlfile,
		.require_certificate = tls->require_certificate,
		.username_from = (int)tls->username_from,
		.min_version = (int)tls->min_version,
		.ciphers = tls->ciphers,
		.ciphersuites = tls->ciphersuites,
		.psk = tls->psk ? &secrets : NULL,
		.psk_arg = (void *)(uintptr_t)conn,
		/* Browsers say so for WebSocket. */
		.alpn = is_websocket ? "http/1.1" : NULL,
		.wrong_out = wrong_out,
	    },
	    why, why_size);
}

/* --- making --- */

static void
set_websocket(struct broker_entry *entry, const struct broker_listener *listener)
{
	size_t count = listener->origins.count;

	entry->is_websocket = true;
	entry->origins = mem_zalloc((count + 1) * sizeof(*entry->origins));
	for (size_t i = 0; i < count; i++) {
		entry->origins[i] = listener->origins.items[i];
	}
	entry->ws = (struct ws_options){
	    .path = listener->path, .origins = entry->origins, .trusts = trusts, .arg = entry};
}

struct broker_entry *
broker_entry_new(struct conf *conf, const struct broker_listener *listener,
    struct broker_door *door, char *why, size_t why_size)
{
	struct broker_entry *entry = mem_zalloc(sizeof(*entry));
	const struct broker_options *options = broker_options_of(conf);
	const char *wrong;

	ref_init(&entry->ref);
	entry->door = door;
	entry->is_behind_proxy = listener->proxy_protocol;
	entry->trusted = options->broker.trusted;
	entry->trusted_count = options->broker.trusted_proxies.count;
	if (listener->protocol == BROKER_WEBSOCKET) {
		set_websocket(entry, listener);
	}
	if (entry->is_behind_proxy || entry->is_websocket || listener->tls.psk) {
		entry->conf = conf_ref(conf);
	}
	if (broker_tls_is_used(&listener->tls)) {
		entry->tls = broker_entry_tls(listener, &listener->tls, &wrong, why, why_size);
		if (entry->tls == NULL) {
			broker_entry_unref(&entry);
		}
	}
	return entry;
}

struct broker_entry *
broker_entry_ref(struct broker_entry *entry)
{
	ref_get(&entry->ref);
	return entry;
}

void
broker_entry_unref(struct broker_entry **address)
{
	struct broker_entry *entry = *address;

	*address = NULL;
	if (entry != NULL && ref_put(&entry->ref)) {
		tls_ctx_unref(&entry->tls);
		mem_free(&entry->origins);
		conf_unref(&entry->conf);
		mem_free(&entry);
	}
}

struct broker_door *
broker_entry_door(const struct broker_entry *entry)
{
	return entry->door;
}

/* --- who comes in --- */

bool
broker_entry_takes(const struct broker_entry *entry, const struct addr *peer)
{
	return !entry->is_behind_proxy || trusts((void *)(uintptr_t)entry, peer);
}

struct stream *
broker_entry_stream(const struct broker_entry *entry, int fd, const struct addr *peer)
{
	struct stream *stream = plain_new(fd, peer);

	if (entry->is_behind_proxy) {
		stream = proxy_stream_new(stream);
	}
	if (entry->tls != NULL) {
		stream = tls_stream_new(stream, entry->tls);
	}
	if (entry->is_websocket) {
		stream = ws_stream_new(stream, &entry->ws);
	}
	return stream;
}

/* --- telling --- */

static void
describe_tls(const struct broker_listener *listener, struct buf *out)
{
	const struct broker_tls *tls = &listener->tls;
	const char *wrong;
	char why[256] = "";
	struct tls_ctx *ctx = broker_entry_tls(listener, tls, &wrong, why, sizeof(why));

	buf_printf(out, ", TLS %s or later, ", tls->min_version == TLS_VERSION_1_3 ? "1.3" : "1.2");
	if (ctx == NULL) {
		buf_append_text(out, why);
		return;
	}
	tls_ctx_describe(ctx, out);
	tls_ctx_unref(&ctx);
	if (tls->cafile != NULL) {
		buf_printf(out, ", clients %s certificates",
		    tls->require_certificate ? "must show" : "may show");
	}
	if (tls->psk) {
		buf_append_text(out, ", pre-shared keys");
	}
}

void
broker_entry_describe(const struct broker_listener *listener, struct buf *out)
{
	if (listener->proxy_protocol) {
		buf_append_text(out, ", behind a proxy");
	}
	if (broker_tls_is_used(&listener->tls)) {
		describe_tls(listener, out);
	}
	if (listener->protocol == BROKER_WEBSOCKET) {
		buf_append_text(out, ", WebSocket at ");
		str_escape(
		    out, bytes_of(listener->path != NULL ? listener->path : "any path"), false);
	}
}
