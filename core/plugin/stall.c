/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of plugins on workers are timed by the coarse clock, which costs a few nanoseconds; what
 * took longer than broker.stall_warn is a fault, and is logged with the instance. Main looks now
 * and then who is inside: who never returns is named, too.
 */
#include <stdio.h>

#include "plugin/plugin_int.h"

enum { MS_NS = 1000000, LOOK_MS = 250 };

static struct plugin_inside *
inside_of(struct avocet_self *self)
{
	const struct context *context = context_current;

	return context != NULL && context->worker != NULL
		   ? &self->house->inside[worker_index(context->worker)]
		   : NULL;
}

int64_t
plugin_enter(struct avocet_self *self)
{
	int64_t now_ns = loop_coarse_ns(self->house->options.loop);
	struct plugin_inside *inside = inside_of(self);

	if (inside != NULL) {
		atomic_store_explicit(&inside->since_ns, now_ns, memory_order_relaxed);
		atomic_store_explicit(&inside->self, self, memory_order_release);
	}
	return now_ns;
}

void
plugin_leave(struct avocet_self *self, int64_t entered_ns, const char *function)
{
	int64_t warn_ms = atomic_load_explicit(&self->house->stall_warn_ms, memory_order_relaxed);
	struct plugin_inside *inside = inside_of(self);
	int64_t spent_ms;
	char sentence[96];

	if (inside != NULL) {
		atomic_store_explicit(&inside->self, NULL, memory_order_release);
	}
	if (warn_ms == 0) {
		return;
	}
	spent_ms = (loop_coarse_ns(self->house->options.loop) - entered_ns) / MS_NS;
	if (spent_ms > warn_ms) {
		(void)snprintf(sentence, sizeof(sentence), "blocked a worker for %lld ms (%s)",
		    (long long)spent_ms, function);
		plugin_fault(self, PLUGIN_FAULT_STALL, sentence);
	}
}

/* --- while it lasts --- */

/* Instances are freed by main alone, and not while a worker is in one. */
static void
look_at(struct plugin_house *house, struct plugin_inside *inside, int64_t warn_ms)
{
	struct avocet_self *self = atomic_load_explicit(&inside->self, memory_order_acquire);
	int64_t since_ns = atomic_load_explicit(&inside->since_ns, memory_order_relaxed);
	int64_t spent_ms = (loop_coarse_ns(house->options.loop) - since_ns) / MS_NS;
	char sentence[96];

	/* Twice: it may have left, and another be there, since the clock was read. */
	if (self == NULL || inside->told_ns == since_ns ||
	    spent_ms <= (warn_ms > LOOK_MS ? warn_ms : LOOK_MS) ||
	    atomic_load_explicit(&inside->self, memory_order_acquire) != self ||
	    atomic_load_explicit(&inside->since_ns, memory_order_relaxed) != since_ns) {
		return;
	}
	inside->told_ns = since_ns;
	(void)snprintf(sentence, sizeof(sentence),
	    "blocks worker %u, has done so for %lld ms, and has not returned",
	    (unsigned)(inside - house->inside), (long long)spent_ms);
	plugin_fault(self, PLUGIN_FAULT_STALL, sentence);
}

static void
on_look(struct worker *worker, struct timer *timer)
{
	struct plugin_house *house = list_item(timer, struct plugin_house, watchdog);
	int64_t warn_ms = atomic_load_explicit(&house->stall_warn_ms, memory_order_relaxed);

	for (unsigned i = 1; i <= house->options.workers && warn_ms != 0; i++) {
		look_at(house, &house->inside[i], warn_ms);
	}
	if (!list_is_empty(&house->instances)) {
		timer_set(worker, timer, context_current->mono_ms + LOOK_MS);
	}
}

void
plugin_watch_workers(struct plugin_house *house)
{
	house->watchdog.fn = on_look;
	if (!list_is_empty(&house->instances) && !timer_is_set(&house->watchdog)) {
		timer_set(
		    house->options.main, &house->watchdog, context_current->mono_ms + LOOK_MS);
	}
}
