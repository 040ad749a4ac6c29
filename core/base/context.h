/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a thread carries with it: its log, its counters, the time of its turn. `loop` makes one per
 * thread and sets it when the thread starts; the simulator sets it before each step. This pointer
 * is the program's one thread-local, and there are no globals. Without a context (early in main, in
 * tools) log lines go to stderr and counting does nothing.
 */
#ifndef BASE_CONTEXT_H
#define BASE_CONTEXT_H

#include <stdint.h>

struct counter_set;
struct log_ring;
struct spare_set;
struct worker;

struct context {
	struct log_ring *log;         /* borrowed; the thread is its only writer */
	struct counter_set *counters; /* borrowed; the thread is its only writer */
	struct spare_set *spares;     /* borrowed; the thread's own; NULL: none */
	struct worker *worker;        /* whose it is; NULL: nobody's */
	int64_t mono_ms;              /* the turn's time, monotonic */
	int64_t wall_ms;              /* the turn's time, UNIX */
};

extern _Thread_local struct context *context_current;

#endif
