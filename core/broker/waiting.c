/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accepted connections for which there is no place: each waits for a moment, few at a time, because
 * a client that leaves and comes again is often faster than the worker that has to notice that it
 * left. Main's thread; the timer runs only while somebody waits.
 */
#include <unistd.h>

#include "broker/broker_int.h"

enum { LOOK_EVERY_MS = 5, PATIENCE_MS = 100, MOST = 64 };

struct waiter {
	struct list_link link;
	struct broker_door *door;
	int64_t until_ms;
	int fd;
	struct addr peer;
};

static void
drop(struct broker_doors *doors, struct waiter *waiter)
{
	list_remove(&waiter->link);
	doors->waiting_count--;
	mem_free(&waiter);
}

static void
look_later(struct worker *worker, struct broker_doors *doors)
{
	if (!list_is_empty(&doors->waiting) && !timer_is_set(&doors->waiting_timer)) {
		timer_set(worker, &doors->waiting_timer, context_current->mono_ms + LOOK_EVERY_MS);
	}
}

static void
on_timer(struct worker *worker, struct timer *timer)
{
	struct broker_doors *doors = list_item(timer, struct broker_doors, waiting_timer);

	list_each (link, &doors->waiting) {
		struct waiter *waiter = list_item(link, struct waiter, link);
		bool last = context_current->mono_ms >= waiter->until_ms;

		if (broker_door_admit(waiter->door, waiter->fd, &waiter->peer, last)) {
			drop(doors, waiter);
		}
	}
	look_later(worker, doors);
}

void
broker_waiting_init(struct broker *broker)
{
	list_init(&broker->doors.waiting);
	broker->doors.waiting_timer.fn = on_timer;
}

bool
broker_waiting_add(struct broker_door *door, int fd, const struct addr *peer)
{
	struct broker_doors *doors = &door->broker->doors;
	struct waiter *waiter;

	if (doors->waiting_count == MOST) {
		return false;
	}
	waiter = mem_zalloc(sizeof(*waiter));
	waiter->door = door;
	waiter->fd = fd;
	waiter->peer = *peer;
	waiter->until_ms = context_current->mono_ms + PATIENCE_MS;
	list_append(&doors->waiting, &waiter->link);
	doors->waiting_count++;
	look_later(broker_main(door->broker), doors);
	return true;
}

/* The timer finds nothing and is not set again. */
void
broker_waiting_close(struct broker *broker)
{
	struct broker_doors *doors = &broker->doors;

	list_each (link, &doors->waiting) {
		struct waiter *waiter = list_item(link, struct waiter, link);

		(void)close(waiter->fd);
		drop(doors, waiter);
	}
}
