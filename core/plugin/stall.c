/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of plugins on workers are timed by the coarse clock, which costs a few nanoseconds; what
 * took longer than broker.stall_warn is a fault, and is logged with the instance.
 */
#include <stdio.h>

#include "plugin/plugin_int.h"

enum { MS_NS = 1000000 };

int64_t
plugin_enter(struct avocet_self *self)
{
	return loop_coarse_ns(self->house->options.loop);
}

void
plugin_leave(struct avocet_self *self, int64_t entered_ns, const char *function)
{
	int64_t warn_ms = atomic_load_explicit(&self->house->stall_warn_ms, memory_order_relaxed);
	int64_t spent_ms;
	char sentence[96];

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
