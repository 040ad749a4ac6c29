/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topic aliases of a connection, both ways (mqtt5-tables 11). Inbound: alias -> topic as the client
 * set it. Outbound: the broker gives aliases to topics as it sends them, up to the client's
 * maximum, and keeps those it has (no replacement: the first topics keep theirs).
 */
#ifndef PEER_ALIAS_H
#define PEER_ALIAS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"

struct peer_aliases;

struct peer_aliases *peer_aliases_new(uint16_t max_in, uint16_t max_out);
void peer_aliases_free(struct peer_aliases **aliases);

/* Sets or replaces; the topic is copied. alias is 1 .. max_in. */
void peer_alias_set(struct peer_aliases *aliases, uint16_t alias, struct bytes topic);
/* Empty: not set. */
struct bytes peer_alias_get(const struct peer_aliases *aliases, uint16_t alias);
uint16_t peer_alias_max_in(const struct peer_aliases *aliases);

/* The alias for a topic that is about to be sent; 0: none. known_out: the client knows it already,
 * the topic may be left empty. */
uint16_t peer_alias_for(struct peer_aliases *aliases, struct bytes topic, bool *known_out);

#endif
