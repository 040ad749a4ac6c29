/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cond.h"

#include "base/err.h"

void
cond_init(struct cond *cond)
{
	if (pthread_cond_init(&cond->cond, NULL) != 0) {
		err_fatal("a condition cannot be made");
	}
}

void
cond_fini(struct cond *cond)
{
	(void)pthread_cond_destroy(&cond->cond);
}

void
cond_wait(struct cond *cond, struct lock *lock)
{
	if (pthread_cond_wait(&cond->cond, &lock->mutex) != 0) {
		err_fatal("a condition cannot be waited for");
	}
}

void
cond_wake_one(struct cond *cond)
{
	(void)pthread_cond_signal(&cond->cond);
}

void
cond_wake_all(struct cond *cond)
{
	(void)pthread_cond_broadcast(&cond->cond);
}
