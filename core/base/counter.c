/* SPDX-License-Identifier: Apache-2.0 */
#include "base/counter.h"

#define COUNTER_INFO(id, type, label, text) \
	[COUNTER_##id] = {.name = (label), .help = (text), .kind = COUNTER_##type},
const struct counter_info counter_infos[COUNTER_COUNT] = {COUNTER_TABLE(COUNTER_INFO)};
#undef COUNTER_INFO

uint64_t
counter_sum(const struct counter_set *const *sets, size_t count, enum counter counter)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		sum += atomic_load_explicit(&sets[i]->values[counter], memory_order_relaxed);
	}
	return sum;
}
