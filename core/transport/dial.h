/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outgoing connections. A host's name is looked up on a thread of its own, since that blocks; then
 * its addresses are tried one after the other until one answers. What comes of it is a bare
 * descriptor, connected and non-blocking, over which the caller builds a stack of streams.
 *
 * All on the thread of the room's worker.
 */
#ifndef TRANSPORT_DIAL_H
#define TRANSPORT_DIAL_H

#include <stdint.h>

#include "base/list.h"
#include "transport/addr.h"

struct worker;
struct dial;

/* A worker's look-ups that are under way, also of dials that were cancelled. */
struct dial_room {
	struct worker *worker;
	struct list lookups;
};

void dial_room_init(struct dial_room *room, struct worker *worker);
/* After loop_join. A look-up that still hangs is left to itself. */
void dial_room_fini(struct dial_room *room);

/* fd: the caller's from now on; or -1, and `why` says it, borrowed for the call. */
typedef void dial_fn(void *arg, int fd, const struct addr *peer, const char *why);

/* text: as of addr.h, with a host or path. timeout_ms: of all addresses together, the look-up
 * included; each address that is left gets an equal share of what is left. fn is called once, not
 * inside this call, and the dial is over then. */
struct dial *dial_start(
    struct dial_room *room, const char *text, int64_t timeout_ms, dial_fn *fn, void *arg);

/* Before fn was called: it is not called any more. */
void dial_cancel(struct dial **dial);

#endif
