/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that may block, for plugins that ask for them; the threads of event loops are the
 * room loop's own.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <stdbool.h>
#include <stdint.h>

struct thread;
typedef void thread_fn(void *arg);

/* A thread with all signals blocked; the name is cut at 15 bytes. NULL: the system has none left.
 */
struct thread *thread_start(const char *name, thread_fn *fn, void *arg);

/* Waits for its end, at most so long; then frees it. False: it is still running, and stays. */
bool thread_join(struct thread **thread, int64_t timeout_ms);

/* Gives up on a thread that hangs: it is left to itself. */
void thread_abandon(struct thread **thread);

#endif
