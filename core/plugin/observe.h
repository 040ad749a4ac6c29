/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Observers of what happens, on whatever worker it does. Who has something to tell asks first
 * whether anybody wants to know, which is one load of a number that hardly ever changes.
 */
#ifndef PLUGIN_OBSERVE_H
#define PLUGIN_OBSERVE_H

#include <avocet/avocet_observer.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct avocet_self;
struct msg;
struct msg_client;
struct plugin_observed;
struct worker;

struct plugin_observers {
	_Atomic uint64_t events; /* AVOCET_EV_* that somebody wants */
	struct plugin_observed *_Atomic list;
};

/* What has happened; borrowed. */
struct plugin_event {
	uint64_t what;             /* AVOCET_EV_* */
	struct msg_client *client; /* NULL: none. Told on its own thread */
	struct msg *msg;           /* NULL: none */
	struct bytes filter;
	const char *by_name; /* NULL: none */
	const char *text;    /* NULL: none */
	uint32_t by, reason, qos;
	bool retain; /* of the msg as it is told */
};

/* observers may be NULL. */
static inline bool
plugin_is_observed(const struct plugin_observers *observers, uint64_t what)
{
	return observers != NULL &&
	       (atomic_load_explicit(&observers->events, memory_order_relaxed) & what) != 0;
}

/* In a turn of a worker: tells all who want to know. */
void plugin_observe(struct plugin_observers *observers, const struct plugin_event *event);

#endif
