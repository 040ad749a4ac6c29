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
};

static void *
run(void *arg)
{
	struct thread *thread = arg;

	thread->fn(thread->arg);
	return NULL;
}

struct thread *
thread_start(const char *name, thread_fn *fn, void *arg)
{
	struct thread *thread = mem_zalloc(sizeof(*thread));
	char short_name[NAME_MAX_LEN + 1] = "";
	sigset_t all, before;
	int result;

	thread->fn = fn;
	thread->arg = arg;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&thread->id, NULL, run, thread);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result != 0) {
		mem_free(&thread);
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

	if (thread == NULL) {
		return true;
	}
	if (pthread_clockjoin_np(thread->id, NULL, CLOCK_MONOTONIC, &until) != 0) {
		return false;
	}
	mem_free(address);
	return true;
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
