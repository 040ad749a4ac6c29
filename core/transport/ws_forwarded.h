/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is behind the proxies: X-Forwarded-For, as far as it can be believed. Pure.
 */
#ifndef TRANSPORT_WS_FORWARDED_H
#define TRANSPORT_WS_FORWARDED_H

#include "transport/ws_handshake.h"

/* The client's address by a whole head that came from `peer` (as peer_name says it); false: none
 * but the peer's is known. */
bool ws_forwarded(
    struct bytes head, const struct ws_options *options, struct bytes peer, struct addr *addr_out);

#endif
