/* SPDX-License-Identifier: Apache-2.0 */
#include "../sasl/threads.h"

#include <pthread.h>
#include <sasl/sasl.h>
#include <stdlib.h>

static void *
mutex_new(void)
{
	pthread_mutex_t *mutex = malloc(sizeof(*mutex));

	if (mutex != NULL) {
		(void)pthread_mutex_init(mutex, NULL);
	}
	return mutex;
}

static int
mutex_lock(void *mutex)
{
	return pthread_mutex_lock(mutex) == 0 ? SASL_OK : SASL_FAIL;
}

static int
mutex_unlock(void *mutex)
{
	return pthread_mutex_unlock(mutex) == 0 ? SASL_OK : SASL_FAIL;
}

static void
mutex_free(void *mutex)
{
	(void)pthread_mutex_destroy(mutex);
	free(mutex);
}

void
sasl_threads_set(void)
{
	sasl_set_mutex(mutex_new, mutex_lock, mutex_unlock, mutex_free);
}
