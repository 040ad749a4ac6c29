/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lock.h"

#include "base/err.h"

void
lock_init(struct lock *lock)
{
	if (pthread_mutex_init(&lock->mutex, NULL) != 0) {
		err_fatal("a mutex cannot be made");
	}
}

void
lock_fini(struct lock *lock)
{
	(void)pthread_mutex_destroy(&lock->mutex);
}

void
lock_take(struct lock *lock)
{
	if (pthread_mutex_lock(&lock->mutex) != 0) {
		err_fatal("a mutex cannot be taken");
	}
}

void
lock_give(struct lock *lock)
{
	if (pthread_mutex_unlock(&lock->mutex) != 0) {
		err_fatal("a mutex cannot be given back");
	}
}
