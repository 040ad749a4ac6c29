/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers on a wheel: setting and clearing cost the same however many there are, and an idle worker
 * with a million timers sleeps until the first is due. Due moments are of the monotonic clock that
 * context_current shows. A timer fires not before its moment and at most a few milliseconds after
 * (1 ms when near, coarser by 1/63 of the distance when far). All functions: own thread of the
 * worker.
 */
#ifndef LOOP_TIMER_H
#define LOOP_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct worker;
struct timer;
typedef void timer_fn(struct worker *worker, struct timer *timer);

/* Inside its owner; all zero but fn is unset. 32 bytes. */
struct timer {
	struct list_link link;
	int64_t due_ms;
	timer_fn *fn; /* may set it again, or free its owner */
};

static inline bool
timer_is_set(const struct timer *timer)
{
	return timer->link.next != NULL;
}

/* Sets it, or moves it. A moment that has passed fires in this or the next turn. */
void timer_set(struct worker *worker, struct timer *timer, int64_t due_ms);

/* Does nothing to one that is not set. */
void timer_clear(struct worker *worker, struct timer *timer);

#endif
