/* SPDX-License-Identifier: Apache-2.0 */
/* Under which readings is a PUBLISH that came right? See model.c. */
#ifndef SIM_READING_H
#define SIM_READING_H

#include "sim.h"

/* What came. */
struct came {
	struct cable *link;
	struct life *life;
	struct pub *pub;
	const struct wire_publish *packet;
	uint32_t ids[16];
	unsigned id_count;
	unsigned from, to; /* ticks between which it was routed */
	unsigned asked;    /* read as a replay: when that was first asked for */
	bool was_acked;    /* and one of its SUBSCRIBEs is acknowledged */
};

/* Live, merged over the subscriptions that are not shared. */
bool reading_is_live(const struct came *came);
/* Of a group: the member's subscription; NULL: no. */
const struct sub *reading_is_shared(const struct came *came);
/* Of the retained store: sets asked and was_acked. */
bool reading_is_replay(struct came *came);

#endif
