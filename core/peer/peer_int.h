/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of peer share. */
#ifndef PEER_PEER_INT_H
#define PEER_PEER_INT_H

#include "peer/peer.h"

/* In the WRITE phase of this or the next turn: flushed, or freed. */
void peer_mark_dirty(struct peer *peer);

/* The stream has bytes, or its tail may hold whole packets: framing. */
void peer_read(struct peer *peer);
/* While paused: bytes or the end are there, though nobody wants to read. */
void peer_look(struct peer *peer);

/* The connection is over: tells the role, or ends what is closing anyway. */
void peer_fail(struct peer *peer, enum peer_end end);

#endif
