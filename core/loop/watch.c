/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches: the part that both implementations share. A raised watch stands in its worker's list; a
 * pass moves that list aside and takes one after the other off its front, so that a callback may
 * detach or free any watch, also one whose turn is still to come: detaching takes it off whichever
 * list it is in. What is raised meanwhile waits for the next turn, which follows without sleep.
 */
#include "loop/watch.h"

#include <assert.h>

#include "base/err.h"
#include "base/log.h"
#include "loop/worker_int.h"

int
watch_attach(struct watch *watch, struct worker *worker, int fd, unsigned wanted)
{
	int error;

	assert(watch->worker == NULL && watch->fn != NULL);
	watch->worker = worker;
	watch->fd = fd;
	watch->wanted = (uint8_t)wanted;
	watch->raised = 0;
	watch->is_armed = false;
	error = fd >= 0 ? loop_native_arm(watch, wanted) : 0;
	if (error != 0) {
		watch->worker = NULL;
	}
	return error;
}

void
watch_detach(struct watch *watch)
{
	if (watch->worker == NULL) {
		return;
	}
	if (watch->is_armed) {
		loop_native_disarm(watch);
	}
	list_remove(&watch->raised_link);
	watch->raised = 0;
	watch->worker = NULL;
}

void
watch_set(struct watch *watch, unsigned wanted)
{
	watch->wanted = (uint8_t)wanted;
	if (watch->worker == NULL || !watch->is_armed || watch->armed == wanted) {
		return;
	}
	if (loop_native_arm(watch, wanted) != 0) {
		/* Out of memory, or of the kernel's watches. The owner tries its input and output,
		 * and sets again what it wants. */
		log_error("cannot watch a file descriptor");
		watch_raise(watch, WATCH_READ | WATCH_WRITE);
	}
}

void
watch_raise(struct watch *watch, unsigned events)
{
	if (err_impossible(watch->worker == NULL)) {
		return;
	}
	watch->raised |= (uint8_t)events;
	if (!list_is_linked(&watch->raised_link)) {
		list_append(&watch->worker->raised, &watch->raised_link);
	}
}

void
watch_fire(struct watch *watch, unsigned events)
{
	events |= watch->raised;
	watch->raised = 0;
	list_remove(&watch->raised_link);
	watch->fn(watch, events);
}

void
watch_run_raised(struct worker *worker)
{
	struct list_link *link;

	list_move_all(&worker->raised, &worker->raising);
	while ((link = worker->raising.head.next) != &worker->raising.head) {
		watch_fire(list_item(link, struct watch, raised_link), 0);
	}
}
