/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What plugins see of a client. Made when the first plugin is asked about it, and hung on the
 * client's snapshot; it lives and moves with that.
 */
#include "base/mem.h"
#include "base/str.h"
#include "plugin/plugin_int.h"
#include "wire/props.h"

enum { MAX_PORT_LEN = 5 };

static avocet_str
str_of(struct bytes text)
{
	return (avocet_str){(const char *)text.data, text.len};
}

static size_t
copy_len(const struct plugin_client_facts *facts)
{
	return facts->props.len + facts->sni.len + facts->tls_version.len +
	       facts->psk_identity.len + facts->certificate.len + facts->exporter.len +
	       facts->attrs.len;
}

static void
free_client(struct msg_client_more *more)
{
	struct plugin_client *client = (struct plugin_client *)(void *)more;

	plugin_grants_free(&client->grants);
	mem_free(&client->props);
	mem_free(&client->attrs);
	if (client->copy != NULL) {
		mem_wipe(client->copy, copy_len(&client->facts)); /* attributes may be secrets */
	}
	mem_free(&client->copy);
	mem_free(&client);
}

/* "192.0.2.1:4711", "[2001:db8::1]:4711" or "unix:7" into host and port. */
static void
split_address(struct bytes address, avocet_client_info *info)
{
	const uint8_t *colon = memrchr(address.data, ':', address.len);
	struct bytes host = address, port;
	int64_t number;

	if (address.len != 0 && colon != NULL) {
		host.len = (size_t)(colon - address.data);
		port = bytes_skip(address, host.len + 1);
		if (port.len > 0 && port.len <= MAX_PORT_LEN && str_to_i64(port, &number) &&
		    number >= 0 && number <= UINT16_MAX) {
			info->peer_port = (uint32_t)number;
			if (host.len > 2 && host.data[0] == '[') {
				host = bytes_make(host.data + 1, host.len - 2);
			}
		} else {
			host = address;
		}
	}
	info->peer_addr = str_of(host);
}

struct plugin_client *
plugin_client_of(struct msg_client *client)
{
	struct plugin_client *seen = (struct plugin_client *)(void *)client->more;
	avocet_client_info *info;

	if (seen != NULL) {
		return seen;
	}
	seen = mem_zalloc(sizeof(*seen));
	seen->more.free = free_client;
	info = &seen->info;
	info->struct_size = sizeof(*info);
	info->client_id = str_of(msg_client_id_of(client));
	info->username = str_of(msg_client_username_of(client));
	info->listener = str_of(msg_client_listener_of(client));
	split_address(msg_client_address_of(client), info);
	info->protocol = client->version;
	info->connected_ms = context_current->wall_ms;
	client->more = &seen->more;
	return seen;
}

static struct bytes
keep(uint8_t **at, struct bytes text)
{
	struct bytes copy = {*at, text.len};

	if (text.len != 0) {
		memcpy(*at, text.data, text.len);
	}
	*at += text.len;
	return copy;
}

size_t
plugin_props_view(struct bytes block, avocet_prop *out)
{
	struct wire_property property;
	size_t count = 0;

	for (; wire_props_next(&block, &property); count++) {
		avocet_prop prop = {.id = property.id, .num = property.number};

		if (out == NULL) {
			continue;
		}
		prop.a = (avocet_bytes){property.value.data, property.value.len};
		prop.b = (avocet_bytes){property.second.data, property.second.len};
		prop.kind = property.type == WIRE_PROP_PAIR     ? AVOCET_PROP_PAIR
			    : property.type == WIRE_PROP_BINARY ? AVOCET_PROP_BIN
			    : property.type == WIRE_PROP_STRING ? AVOCET_PROP_STR
								: AVOCET_PROP_NUM;
		out[count] = prop;
	}
	return count;
}

static void
view_attrs(struct plugin_client *seen)
{
	struct bytes block = seen->facts.attrs;
	struct wire_property property;
	size_t count = 0;

	while (wire_props_next(&block, &property)) {
		count++;
	}
	seen->info.n_attrs = count;
	if (count == 0) {
		return;
	}
	seen->attrs = mem_alloc(count * sizeof(*seen->attrs));
	seen->info.attrs = seen->attrs;
	block = seen->facts.attrs;
	for (count = 0; wire_props_next(&block, &property); count++) {
		seen->attrs[count] = (avocet_pair){str_of(property.value), str_of(property.second)};
	}
}

void
plugin_client_describe(struct msg_client *client, const struct plugin_client_facts *facts)
{
	struct plugin_client *seen = plugin_client_of(client);
	avocet_client_info *info = &seen->info;
	uint8_t *at;

	info->handle = facts->handle;
	info->transport = facts->transport;
	info->worker = facts->worker;
	info->keepalive_s = facts->keepalive_s;
	info->session_expiry_s = facts->session_expiry_s;
	info->flags = (facts->clean_start ? AVOCET_CLIENT_CLEAN_START : 0) |
		      (facts->has_will ? AVOCET_CLIENT_HAS_WILL : 0) |
		      (facts->is_verified ? AVOCET_CLIENT_TLS_VERIFIED : 0);
	at = seen->copy = mem_alloc(copy_len(facts) + 1);
	seen->facts = *facts;
	seen->facts.props = keep(&at, facts->props);
	seen->facts.sni = keep(&at, facts->sni);
	seen->facts.tls_version = keep(&at, facts->tls_version);
	seen->facts.psk_identity = keep(&at, facts->psk_identity);
	seen->facts.certificate = keep(&at, facts->certificate);
	seen->facts.exporter = keep(&at, facts->exporter);
	seen->facts.attrs = keep(&at, facts->attrs);
	info->tls_sni = str_of(seen->facts.sni);
	info->tls_version = str_of(seen->facts.tls_version);
	info->tls_psk_identity = str_of(seen->facts.psk_identity);
	info->tls_cert_der =
	    (avocet_bytes){seen->facts.certificate.data, seen->facts.certificate.len};
	info->tls_exporter = (avocet_bytes){seen->facts.exporter.data, seen->facts.exporter.len};
	info->connect_props.n = plugin_props_view(seen->facts.props, NULL);
	if (info->connect_props.n != 0) {
		seen->props = mem_alloc(info->connect_props.n * sizeof(*seen->props));
		(void)plugin_props_view(seen->facts.props, seen->props);
	}
	info->connect_props.v = seen->props;
	view_attrs(seen);
}

void
plugin_client_renew(struct msg_client *client, const struct msg_client *before, struct bytes attrs)
{
	const struct plugin_client *old = (const struct plugin_client *)(const void *)before->more;
	struct plugin_client_facts facts;

	if (old == NULL) {
		return;
	}
	facts = old->facts;
	facts.attrs = attrs;
	plugin_client_describe(client, &facts);
	plugin_client_of(client)->info.connected_ms = old->info.connected_ms;
}
