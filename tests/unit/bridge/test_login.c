/* SPDX-License-Identifier: Apache-2.0 */
/* The library is set up once, with mutexes: workers use it at the same time. */
#include "lib/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sasl/sasl.h>

#include "../../../plugins/bridge/bridge.h"

enum { THREADS = 8 };

static int mutexes, inits, inits_without;
static sasl_mutex_alloc_t *make;
static sasl_mutex_lock_t *lock;
static sasl_mutex_unlock_t *unlock;
static sasl_mutex_free_t *destroy;

/* --- instead of the library's --- */

void
sasl_set_mutex(sasl_mutex_alloc_t *alloc, sasl_mutex_lock_t *take, sasl_mutex_unlock_t *give,
    sasl_mutex_free_t *drop)
{
	mutexes++;
	make = alloc;
	lock = take;
	unlock = give;
	destroy = drop;
}

int
sasl_client_init(const sasl_callback_t *callbacks)
{
	(void)callbacks;
	inits++;
	inits_without += mutexes == 0;
	return SASL_OK;
}

static void *
init_one(void *arg)
{
	(void)arg;
	return (void *)(uintptr_t)bridge_login_init();
}

static void
it_is_set_up_once_with_mutexes(void **state)
{
	pthread_t threads[THREADS];
	void *why, *mutex;

	(void)state;
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, init_one, NULL), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], &why), 0);
		assert_null(why);
	}
	assert_int_equal(mutexes, 1);
	assert_int_equal(inits, 1);
	assert_int_equal(inits_without, 0);
	mutex = make();
	assert_non_null(mutex);
	assert_int_equal(lock(mutex), SASL_OK);
	assert_int_equal(pthread_mutex_trylock(mutex), EBUSY);
	assert_int_equal(unlock(mutex), SASL_OK);
	destroy(mutex);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(it_is_set_up_once_with_mutexes)};

	return cmocka_run_group_tests_name("login", tests, NULL, NULL);
}
