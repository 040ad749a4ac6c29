/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unlike addr.c, which reads what an operator has written and may ask for names, this reads what
 * came over a connection: it is strict, and never blocks.
 */
#include "transport/addr_text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

void
addr_set_ip(struct addr *addr_out, int family, const uint8_t *host, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	*addr_out = (struct addr){0};
	if (family == AF_INET) {
		memcpy(&in.sin_addr, host, sizeof(in.sin_addr));
		memcpy(&addr_out->storage, &in, sizeof(in));
		addr_out->len = sizeof(in);
	} else {
		memcpy(&in6.sin6_addr, host, sizeof(in6.sin6_addr));
		memcpy(&addr_out->storage, &in6, sizeof(in6));
		addr_out->len = sizeof(in6);
	}
}

void
addr_set_unix(struct addr *addr_out, struct bytes path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	if (path.len > sizeof(un.sun_path)) {
		path.len = sizeof(un.sun_path);
	}
	if (path.len != 0) {
		memcpy(un.sun_path, path.data, path.len);
	}
	*addr_out =
	    (struct addr){.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len)};
	memcpy(&addr_out->storage, &un, sizeof(un));
}

bool
addr_parse_port(struct bytes text, uint16_t *port_out)
{
	unsigned port = 0;

	if (text.len == 0 || text.len > 5 || (text.len > 1 && text.data[0] == '0')) {
		return false;
	}
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9') {
			return false;
		}
		port = port * 10 + (unsigned)(text.data[i] - '0');
	}
	*port_out = (uint16_t)port;
	return port <= UINT16_MAX;
}

/* A scope (fe80::1%eth0) means something on the machine that wrote it only. */
static bool
parse_host(int family, struct bytes host, uint16_t port, struct addr *addr)
{
	uint8_t numbers[sizeof(struct in6_addr)];
	char text[INET6_ADDRSTRLEN];
	const uint8_t *scope =
	    family == AF_INET6 && host.len != 0 ? memchr(host.data, '%', host.len) : NULL;

	if (scope != NULL) {
		host.len = (size_t)(scope - host.data);
	}
	if (host.len == 0 || host.len >= sizeof(text) || memchr(host.data, 0, host.len) != NULL) {
		return false;
	}
	memcpy(text, host.data, host.len);
	text[host.len] = '\0';
	if (inet_pton(family, text, numbers) != 1) {
		return false;
	}
	addr_set_ip(addr, family, numbers, port);
	return true;
}

static bool
parse_bracketed(struct bytes text, struct addr *addr)
{
	const uint8_t *end = memchr(text.data, ']', text.len);
	struct bytes host, rest;
	uint16_t port = 0;

	if (end == NULL) {
		return false;
	}
	host = bytes_make(text.data + 1, (size_t)(end - text.data) - 1);
	rest = bytes_skip(text, host.len + 2);
	if (rest.len != 0 &&
	    (rest.data[0] != ':' || !addr_parse_port(bytes_skip(rest, 1), &port))) {
		return false;
	}
	return parse_host(AF_INET6, host, port, addr);
}

bool
addr_parse(struct bytes text, struct addr *addr_out)
{
	const uint8_t *colon;
	struct bytes host = text;
	uint16_t port = 0;

	if (text.len == 0) {
		return false;
	}
	if (bytes_starts_with(text, BYTES_LITERAL("unix:"))) {
		addr_set_unix(addr_out, bytes_skip(text, 5));
		return true;
	}
	if (text.data[0] == '[') {
		return parse_bracketed(text, addr_out);
	}
	colon = memchr(text.data, ':', text.len);
	if (colon != NULL) {
		host.len = (size_t)(colon - text.data);
		if (memchr(colon + 1, ':', text.len - host.len - 1) != NULL) {
			return parse_host(AF_INET6, text, 0, addr_out);
		}
		if (!addr_parse_port(bytes_skip(text, host.len + 1), &port)) {
			return false;
		}
	}
	return parse_host(AF_INET, host, port, addr_out);
}
