/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clocks of the machine. Only `loop`, `transport/tls*` and `cmd` may include this: every other
 * room is told the time by its worker (base/context.h), so that the simulator can make it.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_ns(void);   /* never goes back; counts from an unknown moment */
int64_t clock_coarse_ns(void); /* clock_mono_ns to a few milliseconds; cheaper */
int64_t clock_mono_ms(void);
int64_t clock_wall_ms(void); /* UNIX time in milliseconds; may jump */

#endif
