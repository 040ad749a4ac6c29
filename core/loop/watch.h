/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readiness. A watch tells its owner when a file descriptor can be read or written (level
 * triggered), or that somebody raised it by hand: a stream in memory, or an owner who stopped in
 * the middle for fairness. All functions: own thread of the worker it is attached to. The callback
 * may detach the watch and free it.
 */
#ifndef LOOP_WATCH_H
#define LOOP_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct worker;
struct watch;
typedef void watch_fn(struct watch *watch, unsigned events);

enum { WATCH_READ = 1, WATCH_WRITE = 2 };

/* Inside its owner; all zero but fn is detached. */
struct watch {
	struct worker *worker; /* NULL: detached */
	watch_fn *fn;
	struct list_link raised_link;
	int fd; /* -1: only raised by hand */
	uint8_t wanted;
	uint8_t raised;
	uint8_t armed;     /* the loop's own: what the kernel is asked for */
	bool is_armed : 1; /* the loop's own: the kernel is asked */
	bool is_late : 1; /* its owner's, at any time: in a turn it comes after the others, and when
			   * these took the turn's time, in a later turn */
};

/* wanted: WATCH_READ and WATCH_WRITE or-ed, may be 0: then only the end of
 * the connection is told, as WATCH_READ, once. 0 or ERR_IO; of loop_sim, which knows no file
 * descriptors, ERR_UNSUPPORTED unless fd is -1. */
int watch_attach(struct watch *watch, struct worker *worker, int fd, unsigned wanted);
void watch_detach(struct watch *watch);

/* Changes what is wanted; costs a system call only where that differs. */
void watch_set(struct watch *watch, unsigned wanted);

/* fn is called with these events once, in the next pass of this turn or in the next turn, without
 * sleeping in between; raised events are given whatever is wanted. Raising the same twice before is
 * once. */
void watch_raise(struct watch *watch, unsigned events);

#endif
