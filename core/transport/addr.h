/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a listener binds: HOST:PORT, [IPV6]:PORT, PORT (all addresses, IPv6 and IPv4 in one socket
 * where the machine has IPv6) or unix:/path. HOST may be a name: it is looked up, blocking, at
 * start and at reload only.
 */
#ifndef TRANSPORT_ADDR_H
#define TRANSPORT_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/bytes.h"

enum { ADDR_TEXT_SIZE = 128 };

struct addr {
	struct sockaddr_storage storage;
	socklen_t len;
};

/* What `text` says, in words: 0; or ERR_INVALID with a sentence (static) in *why_out. Syntax only,
 * no look-up: for checking a configuration. */
int addr_check(const char *text, const char **why_out);

/* The host of HOST:PORT and [IPV6]:PORT, without brackets; a view into text. False: the text is
 * wrong, or names no host (a unix socket, a bare port). */
bool addr_host_text(const char *text, struct bytes *host_out);

/* At most `max` addresses into `addrs`; their number, or ERR_INVALID / ERR_IO with a sentence
 * (static) in *why_out. */
int addr_resolve(const char *text, struct addr *addrs, int max, const char **why_out);

/* "192.0.2.1:4711", "[2001:db8::1]:4711" (an IPv4-mapped one as IPv4), "unix:/path", "unix:"; NUL
 * terminated; returns its length. */
size_t addr_format(const struct addr *addr, char text[ADDR_TEXT_SIZE]);

/* 127.0.0.0/8, ::1, or a unix socket: who connects there is on this machine. */
bool addr_is_local(const struct addr *addr);

/* The part without the port, for limits per address: 4 or 16 bytes; empty for unix. */
struct bytes addr_host(const struct addr *addr);

#endif
