/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers that an instance shows: `avocetctl metrics` prints them. Since ABI 0.0.
 */
#ifndef AVOCET_METRICS_H
#define AVOCET_METRICS_H

#include <avocet/avocet_plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AVOCET_HOST_METRICS "avocet.metrics/0"

#define AVOCET_METRIC_COUNTER 1u /* Rises; its name ends in _total. */
#define AVOCET_METRIC_GAUGE 2u   /* Is what it was set to last. */

typedef struct avocet_metrics_api {
	uint32_t struct_size;
	uint32_t reserved;
	/* name: lower case, digits and underscores; avocet_PLUGIN_ is put before it. labels may be
	 * NULL; their keys are as names, `instance` is the host's. All texts are copied. The same
	 * name and labels again give the same metric. At most 256 per instance: AVOCET_E_FULL.
	 * [main] */
	int32_t (*add)(avocet_self *self, uint32_t type, const char *name, const char *help,
	    const avocet_pair *labels, size_t n_labels, avocet_metric_h *out);
	/* A counter: value is added, and is not negative. A gauge: it is value now. Nobody waits
	 * for it. [any] */
	int32_t (*update)(avocet_self *self, avocet_metric_h metric, int64_t value);
} avocet_metrics_api;

#ifdef __cplusplus
}
#endif
#endif
