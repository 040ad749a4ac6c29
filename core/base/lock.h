/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock between threads, for the few things that threads share. It is held for a handful of memory
 * accesses and never over a system call, a callback or another lock unless the owner's header says
 * in which order. In the simulator, which has one thread, it is never contended.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <pthread.h>

struct lock {
	pthread_mutex_t mutex;
};

void lock_init(struct lock *lock);
void lock_fini(struct lock *lock);
void lock_take(struct lock *lock);
void lock_give(struct lock *lock);

#endif
