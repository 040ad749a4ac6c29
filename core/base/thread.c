/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum { NAME_MAX_LEN = 15, MS_NS = 1000000, SECOND_NS = 1000000000 };

struct thread {
	pthread_t id;
	thread_fn *fn;
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t news;
	bool is_done; /* guarded by the lock */
};

static void *
run(void *arg)
{
	struct thread *thread = arg;

	thread->fn(thread->arg);
	(void)pthread_mutex_lock(&thread->lock);
	thread->is_done = true;
	(void)pthread_cond_signal(&thread->news);
	(void)pthread_mutex_unlock(&thread->lock);
	return NULL;
}

static struct thread *
thread_new(thread_fn *fn, void *arg)
{
	struct thread *thread = mem_zalloc(sizeof(*thread));
	pthread_condattr_t monotonic;

	thread->fn = fn;
	thread->arg = arg;
	(void)pthread_mutex_init(&thread->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&thread->news, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	return thread;
}

static void
thread_free(struct thread **thread)
{
	(void)pthread_cond_destroy(&(*thread)->news);
	(void)pthread_mutex_destroy(&(*thread)->lock);
	mem_free(thread);
}

struct thread *
thread_start(const char *name, thread_fn *fn, void *arg)
{
	struct thread *thread = thread_new(fn, arg);
	char short_name[NAME_MAX_LEN + 1] = "";
	sigset_t all, before;
	int result;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&thread->id, NULL, run, thread);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result != 0) {
		thread_free(&thread);
		return NULL;
	}
	memcpy(short_name, name, strnlen(name, NAME_MAX_LEN));
	(void)pthread_setname_np(thread->id, short_name);
	return thread;
}

bool
thread_join(struct thread **address, int64_t timeout_ms)
{
	struct thread *thread = *address;
	int64_t until_ns = clock_mono_ns() + timeout_ms * MS_NS;
	struct timespec until = {until_ns / SECOND_NS, until_ns % SECOND_NS};
	bool is_done;

	if (thread == NULL) {
		return true;
	}
	/* Not pthread_clockjoin_np: ThreadSanitizer does not know it for a join. */
	(void)pthread_mutex_lock(&thread->lock);
	while (!thread->is_done &&
	       pthread_cond_timedwait(&thread->news, &thread->lock, &until) == 0) {}
	is_done = thread->is_done;
	(void)pthread_mutex_unlock(&thread->lock);
	if (is_done) {
		(void)pthread_join(thread->id, NULL);
		thread_free(address);
	}
	return is_done;
}

void
thread_abandon(struct thread **address)
{
	if (*address != NULL) {
		(void)pthread_detach((*address)->id);
		/* Its memory is the running thread's. */
		*address = NULL;
	}
}
