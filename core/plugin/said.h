/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an authenticator says beyond its verdict. Most questions have none of it: who has something
 * to say allocates one.
 */
#ifndef PLUGIN_SAID_H
#define PLUGIN_SAID_H

#include <stdint.h>

#include "base/buf.h"

struct plugin_said {
	struct buf data;       /* Authentication Data of CONTINUE and ACCEPT; wiped */
	struct buf username;   /* ACCEPT: the principal, where it differs from the claim */
	struct buf client_id;  /* ACCEPT: replaces the client id */
	struct buf prefix;     /* ACCEPT: put behind the mount point, before every topic */
	struct buf text;       /* Reason String */
	struct buf user_props; /* a block of User Properties for CONNACK, AUTH or DISCONNECT */
	struct buf server;     /* DENY 0x9C, 0x9D: Server Reference */
	struct buf attrs;      /* ACCEPT: what later services see, as a block of User Properties */
	int64_t expires_ms;    /* ACCEPT: UNIX time; 0: never */
	uint32_t max_session_expiry_s; /* ACCEPT: at most this; 0: as the listener says */
	uint32_t max_receive;
	uint32_t max_packet;
};

struct plugin_said *plugin_said_new(void);
/* Wipes. */
void plugin_said_free(struct plugin_said **said);

/* Makes it at need. */
struct plugin_said *plugin_said_at(struct plugin_said **said);

/*
 * What members of a chain have said one after the other; from may be NULL. The last who names user,
 * client id, prefix, text or server rules; attributes and properties of all are kept, and the
 * strictest limit of each kind. The data are not taken: they belong to one step.
 */
void plugin_said_add(struct plugin_said **to, const struct plugin_said *from);

/* What was said, or what nobody said. */
const struct plugin_said *plugin_said_or_none(const struct plugin_said *said);

#endif
