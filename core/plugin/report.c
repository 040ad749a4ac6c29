/* SPDX-License-Identifier: Apache-2.0 */
/* What operators are told of instances. */
#include "plugin/plugin_int.h"

static const char *
state_of(const struct avocet_self *self)
{
	static const char *const names[] = {
	    "made", "starting", "serving", "failed", "draining", "stopped"};

	return names[atomic_load(&self->state)];
}

void
plugin_house_report(struct plugin_house *house,
    void (*fn)(const struct plugin_report *report, void *arg), void *arg)
{
	static const char *const names[PLUGIN_FAULT_COUNT] = {
	    "twice", "never", "thread", "late", "stall", "value", "lost"};

	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);
		struct plugin_report_fault faults[PLUGIN_FAULT_COUNT];
		char why[sizeof(self->text)] = "";
		struct plugin_report report = {.name = self->name,
		    .module = self->module.descriptor->name,
		    .version = self->module.descriptor->version,
		    .state = state_of(self),
		    .why = why,
		    .questions = atomic_load(&self->question_count),
		    .open = (uint64_t)atomic_load(&self->open_count),
		    .faults = faults,
		    .fault_count = PLUGIN_FAULT_COUNT};

		for (size_t i = 0; i < PLUGIN_FAULT_COUNT; i++) {
			faults[i] =
			    (struct plugin_report_fault){names[i], atomic_load(&self->faults[i])};
		}
		if (atomic_load(&self->state) == PLUGIN_FAILED) {
			lock_take(&self->lock);
			memcpy(why, self->text, sizeof(why));
			lock_give(&self->lock);
		}
		fn(&report, arg);
	}
}
