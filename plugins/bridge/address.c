/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of remotes, from what the operator writes to what the host takes. Pure. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "bridge.h"

enum { MAX_HOST_NAME = 253, MAX_PORT_DIGITS = 5, MAX_PORT = 65535 };

/* --- what the host takes --- */

static const char *
port_fault(const char *text)
{
	size_t digits = strspn(text, "0123456789");
	unsigned port = 0;

	for (size_t i = 0; i < digits && i < MAX_PORT_DIGITS; i++) {
		port = port * 10 + (unsigned)(text[i] - '0');
	}
	return digits == 0 || digits > MAX_PORT_DIGITS || text[digits] != '\0' || port == 0 ||
		       port > MAX_PORT
		   ? "the port must be a number from 1 to 65535"
		   : NULL;
}

static const char *
path_fault(const char *path)
{
	if (path[0] != '/') {
		return "the path of a unix socket must begin with a slash";
	}
	return strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)
		   ? "the path of a unix socket is too long"
		   : NULL;
}

/* A scope (%eth0) is left to the look-up. */
static bool
is_ipv6(const char *text, size_t len)
{
	char copy[INET6_ADDRSTRLEN + 32];
	struct in6_addr address;

	if (len >= sizeof(copy)) {
		return false;
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	copy[strcspn(copy, "%")] = '\0';
	return inet_pton(AF_INET6, copy, &address) == 1;
}

static const char *
bracketed_fault(const char *text)
{
	const char *end = strchr(text, ']');

	if (end == NULL || end[1] != ':' || !is_ipv6(text + 1, (size_t)(end - text) - 1)) {
		return "an IPv6 address stands in brackets, [ADDRESS]:PORT";
	}
	return port_fault(end + 2);
}

/* Digits and dots only are meant as an IPv4 address. */
static bool
is_host(const char *text, size_t len)
{
	char copy[INET_ADDRSTRLEN];
	struct in_addr address;
	size_t plain = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._");

	if (len == 0 || len > MAX_HOST_NAME || plain < len) {
		return false;
	}
	if (strspn(text, "0123456789.") < len) {
		return true;
	}
	if (len >= sizeof(copy)) {
		return false;
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	return inet_pton(AF_INET, copy, &address) == 1;
}

static const char *
fault_of(const char *address)
{
	const char *colon;

	if (strncmp(address, "unix:", 5) == 0) {
		return path_fault(address + 5);
	}
	if (address[0] == '[') {
		return bracketed_fault(address);
	}
	colon = strchr(address, ':');
	if (colon == NULL) {
		return "a port is missing, HOST:PORT";
	}
	if (strchr(colon + 1, ':') != NULL) {
		return "an IPv6 address stands in brackets, [ADDRESS]:PORT";
	}
	if (!is_host(address, (size_t)(colon - address))) {
		return "the host must be a name or an address";
	}
	return port_fault(colon + 1);
}

/* --- what the operator writes --- */

struct scheme {
	const char *name;
	uint32_t flags;
	const char *port;
};

static const struct scheme schemes[] = {
    {"mqtt://", 0, "1883"}, {"tcp://", 0, "1883"}, {"mqtts://", AVOCET_LINK_TLS, "8883"},
    {"ssl://", AVOCET_LINK_TLS, "8883"}, {"tls://", AVOCET_LINK_TLS, "8883"},
    {"ws://", AVOCET_LINK_WEBSOCKET, "80"},
    {"wss://", AVOCET_LINK_WEBSOCKET | AVOCET_LINK_TLS, "443"}, {"", 0, "1883"}, /* last */
};

static const struct scheme *
scheme_of(const char *text)
{
	const struct scheme *scheme = schemes;

	while (strncmp(text, scheme->name, strlen(scheme->name)) != 0) {
		scheme++;
	}
	return scheme;
}

static bool
has_port(const char *host)
{
	const char *bracket = strrchr(host, ']');
	const char *colon = strrchr(host, ':');

	return colon != NULL && (bracket == NULL || colon > bracket);
}

/* NULL: no memory. */
static char *
with_port(const char *host, size_t len, const char *port)
{
	char *address = malloc(len + strlen(port) + 2);

	if (address == NULL) {
		return NULL;
	}
	memcpy(address, host, len);
	address[len] = '\0';
	if (!has_port(address)) {
		address[len] = ':';
		memcpy(address + len + 1, port, strlen(port) + 1);
	}
	return address;
}

static bool
is_path(const char *path)
{
	for (; *path != '\0'; path++) {
		if (*path <= ' ' || *path > '~') {
			return false; /* it goes into a line of HTTP */
		}
	}
	return true;
}

const char *
bridge_address_read(
    const char *text, char **address_out, const char **path_out, uint32_t *flags_out)
{
	const struct scheme *scheme = scheme_of(text);
	const char *host = text + strlen(scheme->name);
	bool is_unix = strncmp(text, "unix:", 5) == 0;
	const char *path = is_unix ? NULL : strchr(host, '/');

	*address_out = NULL;
	*path_out = path;
	*flags_out = scheme->flags;
	if (scheme->name[0] == '\0' && !is_unix && strstr(text, "://") != NULL) {
		return "begins with a scheme that is not known";
	}
	if (path != NULL && (scheme->flags & AVOCET_LINK_WEBSOCKET) == 0) {
		return "has a path, which only ws and wss have";
	}
	if (path != NULL && !is_path(path)) {
		return "has a path with spaces or letters that must be escaped";
	}
	*address_out = is_unix
			   ? strdup(text)
			   : with_port(host, path != NULL ? (size_t)(path - host) : strlen(host),
				 scheme->port);
	return *address_out != NULL ? fault_of(*address_out) : "there is no memory";
}
