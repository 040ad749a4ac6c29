/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses that others have written: by proxies, in headers. Numbers only, nothing is looked up.
 * Pure.
 */
#ifndef TRANSPORT_ADDR_TEXT_H
#define TRANSPORT_ADDR_TEXT_H

#include "transport/addr.h"

/* 192.0.2.1, 192.0.2.1:4711, 2001:db8::1, [2001:db8::1], [2001:db8::1]:4711, unix:…: all that
 * addr_format says, but for a scope, which is left out. False: none of these. */
bool addr_parse(struct bytes text, struct addr *addr_out);

/* A port from 0 to 65535, in digits without zeros in front; in the order of the machine. */
bool addr_parse_port(struct bytes text, uint16_t *port_out);

/* AF_INET: 4 bytes at `host`, AF_INET6: 16. */
void addr_set_ip(struct addr *addr_out, int family, const uint8_t *host, uint16_t port);

/* Cut to what a unix socket's address can hold. */
void addr_set_unix(struct addr *addr_out, struct bytes path);

#endif
