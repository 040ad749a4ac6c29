/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses as they stand in the configuration and in logs. One parser serves both the check and
 * the look-up, so that what passes the check has no second opinion on its form later.
 */
#include "transport/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

/* What the text says. host is empty for "all addresses" and for unix. */
struct spec {
	struct bytes path; /* of a unix socket; empty: none */
	struct bytes host;
	uint16_t port;
	bool numeric6;
};

/* --- parsing --- */

static int
refuse(const char **why_out, const char *why)
{
	*why_out = why;
	return ERR_INVALID;
}

static int
parse_port(struct bytes text, uint16_t *port_out, const char **why_out)
{
	int64_t port;

	if (text.len == 0 || text.data[0] < '0' || text.data[0] > '9' || text.len > 5 ||
	    !str_to_i64(text, &port) || port > UINT16_MAX) {
		return refuse(why_out, "the port must be a number from 0 to 65535");
	}
	*port_out = (uint16_t)port;
	return 0;
}

static int
parse_path(struct bytes path, struct spec *spec, const char **why_out)
{
	if (path.len == 0 || path.data[0] != '/') {
		return refuse(why_out, "the path of a unix socket must begin with a slash");
	}
	if (path.len >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		return refuse(why_out, "the path of a unix socket is longer than 107 bytes");
	}
	spec->path = path;
	return 0;
}

/* A scope (%eth0) is left to the look-up. */
static bool
is_ipv6(struct bytes host)
{
	char text[INET6_ADDRSTRLEN + 32], *scope;
	struct in6_addr address;

	if (host.len >= sizeof(text)) {
		return false;
	}
	memcpy(text, host.data, host.len);
	text[host.len] = '\0';
	scope = strchr(text, '%');
	if (scope != NULL) {
		*scope = '\0';
	}
	return inet_pton(AF_INET6, text, &address) == 1;
}

static int
parse_bracketed(struct bytes text, struct spec *spec, const char **why_out)
{
	struct bytes inside = bytes_skip(text, 1);
	const uint8_t *end = inside.len != 0 ? memchr(inside.data, ']', inside.len) : NULL;
	struct bytes rest;

	if (end == NULL) {
		return refuse(why_out, "a closing bracket is missing");
	}
	spec->host = bytes_make(inside.data, (size_t)(end - inside.data));
	rest = bytes_skip(inside, spec->host.len + 1);
	if (!is_ipv6(spec->host)) {
		return refuse(why_out, "between the brackets must be an IPv6 address");
	}
	if (rest.len == 0 || rest.data[0] != ':') {
		return refuse(why_out, "a colon and a port must follow the bracket");
	}
	spec->numeric6 = true;
	return parse_port(bytes_skip(rest, 1), &spec->port, why_out);
}

static bool
is_host_name(struct bytes host)
{
	for (size_t i = 0; i < host.len; i++) {
		uint8_t c = host.data[i];
		bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (!is_letter && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_') {
			return false;
		}
	}
	return host.len != 0 && host.len <= 253;
}

/* Digits and dots only are meant as an IPv4 address; the resolver would take "1.2" or "1" as well.
 */
static bool
is_broken_ipv4(struct bytes host)
{
	char text[INET_ADDRSTRLEN];
	struct in_addr address;

	for (size_t i = 0; i < host.len; i++) {
		if ((host.data[i] < '0' || host.data[i] > '9') && host.data[i] != '.') {
			return false;
		}
	}
	if (host.len >= sizeof(text)) {
		return true;
	}
	memcpy(text, host.data, host.len);
	text[host.len] = '\0';
	return inet_pton(AF_INET, text, &address) != 1;
}

static int
parse_host(struct bytes text, const uint8_t *colon, struct spec *spec, const char **why_out)
{
	spec->host = bytes_make(text.data, (size_t)(colon - text.data));
	if (memchr(colon + 1, ':', text.len - spec->host.len - 1) != NULL) {
		return refuse(why_out, "an IPv6 address must stand in brackets, [ADDRESS]:PORT");
	}
	if (!is_host_name(spec->host)) {
		return refuse(why_out, "the host must be a name or an address");
	}
	if (is_broken_ipv4(spec->host)) {
		return refuse(why_out, "the host is not an IPv4 address");
	}
	return parse_port(bytes_skip(text, spec->host.len + 1), &spec->port, why_out);
}

static int
parse(const char *text, struct spec *spec, const char **why_out)
{
	struct bytes bytes = bytes_of(text);
	const uint8_t *colon;

	*spec = (struct spec){0};
	if (bytes.len == 0) {
		return refuse(why_out, "the address is empty");
	}
	if (bytes_starts_with(bytes, BYTES_LITERAL("unix:"))) {
		return parse_path(bytes_skip(bytes, 5), spec, why_out);
	}
	if (bytes.data[0] == '[') {
		return parse_bracketed(bytes, spec, why_out);
	}
	colon = memchr(bytes.data, ':', bytes.len);
	if (colon != NULL) {
		return parse_host(bytes, colon, spec, why_out);
	}
	if (bytes.data[0] < '0' || bytes.data[0] > '9') {
		return refuse(why_out, "a port is missing, HOST:PORT");
	}
	return parse_port(bytes, &spec->port, why_out);
}

int
addr_check(const char *text, const char **why_out)
{
	struct spec spec;

	return parse(text, &spec, why_out);
}

bool
addr_host_text(const char *text, struct bytes *host_out)
{
	const char *why;
	struct spec spec;

	if (parse(text, &spec, &why) != 0) {
		return false;
	}
	*host_out = spec.host;
	return spec.host.len != 0;
}

/* --- looking up --- */

static void
set_unix(struct addr *addr, struct bytes path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	memcpy(un.sun_path, path.data, path.len);
	*addr = (struct addr){
	    .len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1)};
	memcpy(&addr->storage, &un, sizeof(un));
}

/* All addresses: of IPv6, which takes IPv4 in as well, unless the machine knows IPv4 only. */
static void
set_any(struct addr *addr, uint16_t port)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = (struct addr){0};
	if (fd >= 0) {
		struct sockaddr_in6 in6 = {
		    .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};

		(void)close(fd);
		memcpy(&addr->storage, &in6, sizeof(in6));
		addr->len = sizeof(in6);
	} else {
		struct sockaddr_in in = {.sin_family = AF_INET,
		    .sin_port = htons(port),
		    .sin_addr.s_addr = htonl(INADDR_ANY)};

		memcpy(&addr->storage, &in, sizeof(in));
		addr->len = sizeof(in);
	}
}

static const char *
lookup_sentence(int code)
{
	switch (code) {
	case EAI_NONAME:
		return "there is no such host";
	case EAI_AGAIN:
		return "the name service does not answer";
	case EAI_MEMORY:
		return "there is no memory";
	default:
		return gai_strerror(code);
	}
}

static int
look_up(const struct spec *spec, struct addr *addrs, int max, const char **why_out)
{
	struct addrinfo hints = {.ai_family = spec->numeric6 ? AF_INET6 : AF_UNSPEC,
	    .ai_socktype = SOCK_STREAM,
	    .ai_flags = AI_PASSIVE | AI_NUMERICSERV | (spec->numeric6 ? AI_NUMERICHOST : 0)};
	char *host = mem_text(spec->host);
	struct addrinfo *found = NULL;
	char port[8];
	int count = 0, code;

	(void)snprintf(port, sizeof(port), "%u", (unsigned)spec->port);
	code = getaddrinfo(host, port, &hints, &found);
	mem_free(&host);
	if (code != 0) {
		*why_out = lookup_sentence(code);
		return ERR_IO;
	}
	for (const struct addrinfo *at = found; at != NULL && count < max; at = at->ai_next) {
		if (at->ai_addrlen <= sizeof(addrs[count].storage)) {
			addrs[count] = (struct addr){.len = at->ai_addrlen};
			memcpy(&addrs[count].storage, at->ai_addr, at->ai_addrlen);
			count++;
		}
	}
	freeaddrinfo(found);
	return count;
}

int
addr_resolve(const char *text, struct addr *addrs, int max, const char **why_out)
{
	struct spec spec;
	int error = parse(text, &spec, why_out);

	if (error != 0) {
		return error;
	}
	if (max <= 0) {
		return refuse(why_out, "there is no room for an address");
	}
	if (spec.path.len != 0) {
		set_unix(&addrs[0], spec.path);
		return 1;
	}
	if (spec.host.len == 0) {
		set_any(&addrs[0], spec.port);
		return 1;
	}
	return look_up(&spec, addrs, max, why_out);
}

/* --- saying and asking --- */

static const struct sockaddr_in *
as_in(const struct addr *addr)
{
	return addr->storage.ss_family == AF_INET ? (const void *)&addr->storage : NULL;
}

static const struct sockaddr_in6 *
as_in6(const struct addr *addr)
{
	return addr->storage.ss_family == AF_INET6 ? (const void *)&addr->storage : NULL;
}

/* A path may fill sun_path without a NUL; a name without a file begins with one and is shown by @.
 */
static int
format_unix(const struct addr *addr, char text[ADDR_TEXT_SIZE])
{
	const size_t path_at = offsetof(struct sockaddr_un, sun_path);
	const struct sockaddr_un *un = (const void *)&addr->storage;
	size_t room = addr->len > path_at ? addr->len - path_at : 0;

	if (room > sizeof(un->sun_path)) {
		room = sizeof(un->sun_path);
	}
	if (room > 1 && un->sun_path[0] == '\0') {
		return snprintf(
		    text, ADDR_TEXT_SIZE, "unix:@%.*s", (int)(room - 1), un->sun_path + 1);
	}
	return snprintf(text, ADDR_TEXT_SIZE, "unix:%.*s", (int)room, un->sun_path);
}

size_t
addr_format(const struct addr *addr, char text[ADDR_TEXT_SIZE])
{
	const struct sockaddr_in *in = as_in(addr);
	const struct sockaddr_in6 *in6 = as_in6(addr);
	char host[INET6_ADDRSTRLEN] = "?";
	int len;

	if (addr->storage.ss_family == AF_UNIX) {
		len = format_unix(addr, text);
	} else if (in != NULL) {
		(void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		len = snprintf(text, ADDR_TEXT_SIZE, "%s:%u", host, (unsigned)ntohs(in->sin_port));
	} else if (in6 != NULL && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		(void)inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, host, sizeof(host));
		len =
		    snprintf(text, ADDR_TEXT_SIZE, "%s:%u", host, (unsigned)ntohs(in6->sin6_port));
	} else if (in6 != NULL) {
		(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		len = in6->sin6_scope_id != 0
			  ? snprintf(text, ADDR_TEXT_SIZE, "[%s%%%u]:%u", host,
				(unsigned)in6->sin6_scope_id, (unsigned)ntohs(in6->sin6_port))
			  : snprintf(text, ADDR_TEXT_SIZE, "[%s]:%u", host,
				(unsigned)ntohs(in6->sin6_port));
	} else {
		len = snprintf(text, ADDR_TEXT_SIZE, "?");
	}
	return len > 0 ? (size_t)len : 0;
}

bool
addr_is_local(const struct addr *addr)
{
	const struct sockaddr_in6 *in6 = as_in6(addr);
	struct bytes host = addr_host(addr);

	if (addr->storage.ss_family == AF_UNIX) {
		return true;
	}
	if (host.len == 4) {
		return host.data[0] == 127;
	}
	return in6 != NULL && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

struct bytes
addr_host(const struct addr *addr)
{
	const struct sockaddr_in *in = as_in(addr);
	const struct sockaddr_in6 *in6 = as_in6(addr);

	if (in != NULL) {
		return bytes_make(&in->sin_addr, 4);
	}
	if (in6 == NULL) {
		return bytes_make(NULL, 0);
	}
	return IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ? bytes_make(in6->sin6_addr.s6_addr + 12, 4)
						     : bytes_make(&in6->sin6_addr, 16);
}
