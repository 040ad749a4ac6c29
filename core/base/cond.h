/* SPDX-License-Identifier: Apache-2.0 */
/* A condition, for a queue between threads that may block; under a lock. */
#ifndef BASE_COND_H
#define BASE_COND_H

#include <pthread.h>

#include "base/lock.h"

struct cond {
	pthread_cond_t cond;
};

void cond_init(struct cond *cond);
void cond_fini(struct cond *cond);
/* Under the lock; it may wake up for no reason. */
void cond_wait(struct cond *cond, struct lock *lock);
void cond_wake_one(struct cond *cond);
void cond_wake_all(struct cond *cond);

#endif
