/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine gives this process: CPUs and memory. At start, on main. */
#ifndef BROKER_MACHINE_H
#define BROKER_MACHINE_H

#include <stdint.h>

#include "base/bytes.h"

/* CPUs that the process may use; at least 1. */
unsigned broker_machine_cpus(void);

/* Bytes of memory: what the machine has, or what a cgroup allows where that is less. */
int64_t broker_machine_memory(void);

/* How many CPUs a list such as "0-3,8" names; 0 when it is none. Pure. */
unsigned broker_machine_count_list(struct bytes text);

/* What follows a key such as "MemTotal:" at the start of a line, blanks taken off; empty: no such
 * line. Pure. */
struct bytes broker_machine_find_line(struct bytes text, const char *key);

#endif
