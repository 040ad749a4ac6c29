/* SPDX-License-Identifier: Apache-2.0 */
/* How instances start, fail and stop, one by one and all at the end. Main's thread. */
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/epoch.h"
#include "plugin/plugin_int.h"

enum { MAX_TEXT = 256, LOOK_MS = 20 };

/* Waits until all have started, or stopped. */
struct plugin_start {
	struct plugin_house *house;
	void (*done)(void *arg);
	void *arg;
	struct timer timer;
	int64_t end_ms;
	bool is_quiet;  /* of a stop: nobody who saw an instance serve is still about to ask it */
	bool is_waited; /* that is not known yet */
	bool is_over;
};

void
plugin_fail(struct avocet_self *self, const char *text)
{
	struct plugin_house *house = self->house;
	int state = atomic_load(&self->state);

	if (state == PLUGIN_FAILED || state >= PLUGIN_DRAINING) {
		return;
	}
	atomic_store_explicit(&self->state, PLUGIN_FAILED, memory_order_release);
	log_error("plugin %s has failed: %s", self->name, text);
	if (self->options.stops_broker && house->options.on_stop != NULL) {
		house->options.on_stop(house->options.arg, self->name);
	}
}

static void
end_threads(struct avocet_self *self)
{
	bool joined = plugin_pool_free(&self->pool);

	joined = plugin_pool_free(&self->serial) && joined;
	joined = plugin_jobs_end(self) && joined;
	joined = plugin_observer_end(self) && joined;
	joined = plugin_kv_end(self) && joined;
	joined = plugin_runtime_end(self) && joined;
	self->is_lost = !joined;
}

void
plugin_stop(struct avocet_self *self)
{
	int state = atomic_load(&self->state);

	if (state == PLUGIN_STOPPED) {
		return;
	}
	plugin_jobs_drop(self);
	if (state != PLUGIN_MADE) {
		if (state != PLUGIN_DRAINING && self->lifecycle->drain != NULL) {
			self->lifecycle->drain(self->inst);
		}
		if (self->lifecycle->stop != NULL) {
			self->lifecycle->stop(self->inst);
		}
	}
	atomic_store_explicit(&self->state, PLUGIN_STOPPED, memory_order_release);
	end_threads(self);
}

static bool
wants_threads(const struct avocet_self *self, uint32_t exec)
{
	return (self->authenticator.struct_size != 0 && self->authenticator.exec == exec) ||
	       (self->authorizer.struct_size != 0 && self->authorizer.exec == exec) ||
	       (self->interceptor.struct_size != 0 && self->interceptor.exec == exec);
}

/* --- start --- */

static bool
start_pools(struct avocet_self *self)
{
	const struct plugin_instance_options *options = &self->options;

	if (wants_threads(self, AVOCET_EXEC_POOL)) {
		self->pool =
		    plugin_pool_new(self, (unsigned)options->threads, (size_t)options->queue);
	}
	if (wants_threads(self, AVOCET_EXEC_SERIAL)) {
		self->serial = plugin_pool_new(self, 1, (size_t)options->queue);
	}
	return plugin_observer_start(self) &&
	       (self->pool == NULL || plugin_pool_start(self->pool) == 0) &&
	       (self->serial == NULL || plugin_pool_start(self->serial) == 0);
}

static void
start(struct avocet_self *self)
{
	avocet_error error = {0};
	char why[MAX_TEXT + 64];
	int32_t status;

	/* Before start(), so that ready() from another thread finds it so. */
	atomic_store_explicit(&self->state, PLUGIN_STARTING, memory_order_release);
	if (!start_pools(self)) {
		plugin_fail(self, "the system has no threads left");
		return;
	}
	status =
	    self->lifecycle->start != NULL ? self->lifecycle->start(self->inst, &error) : AVOCET_OK;
	if (status == AVOCET_OK) {
		atomic_store_explicit(&self->state, PLUGIN_SERVING, memory_order_release);
	} else if (status != AVOCET_PENDING) {
		plugin_say_error(&error, "it cannot start", self->name, why, sizeof(why));
		plugin_fail(self, why);
	} else {
		self->start_end_ms = context_current->mono_ms + self->options.start_timeout_ms;
	}
}

static void
look_at_start(struct worker *worker, struct timer *timer)
{
	struct plugin_start *wait = list_item(timer, struct plugin_start, timer);
	struct plugin_house *house = wait->house;
	bool is_open = false;

	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		if (atomic_load(&self->state) != PLUGIN_STARTING) {
			continue;
		}
		if (context_current->mono_ms >= self->start_end_ms) {
			plugin_fail(self, "its start took too long");
		} else {
			is_open = true;
		}
	}
	if (is_open) {
		timer_set(worker, &wait->timer, context_current->mono_ms + LOOK_MS);
		return;
	}
	house->start = NULL;
	wait->done(wait->arg);
	mem_free(&wait);
}

void
plugin_house_start(struct plugin_house *house, void (*done)(void *arg), void *arg)
{
	struct plugin_start *wait;

	atomic_store_explicit(&house->has_started, true, memory_order_release);
	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		if (atomic_load(&self->state) == PLUGIN_MADE) {
			start(self);
		}
	}
	plugin_watch_workers(house);
	if (err_impossible(house->start != NULL)) {
		return;
	}
	wait = mem_zalloc(sizeof(*wait));
	wait->done = done;
	wait->arg = arg;
	wait->house = house;
	wait->timer.fn = look_at_start;
	house->start = wait;
	look_at_start(house->options.main, &wait->timer);
}

/* --- stop --- */

/* Whoever still has questions now will not answer them: is named while there is a log. */
static void
tell_unanswered(struct avocet_self *self)
{
	int64_t count = atomic_load(&self->open_count);
	char sentence[96];

	if (count > 0) {
		(void)snprintf(sentence, sizeof(sentence),
		    "did not answer %lld questions until the end", (long long)count);
		plugin_fault(self, PLUGIN_FAULT_NEVER, sentence);
	}
}

/* What the threads that were joined had sent has come by now: mail goes before timers. */
static void
on_all_stopped(struct worker *worker, struct timer *timer)
{
	struct plugin_start *wait = list_item(timer, struct plugin_start, timer);

	(void)worker;
	wait->house->start = NULL;
	wait->done(wait->arg);
	if (wait->is_waited) {
		wait->is_over = true; /* on_quiet frees it */
	} else {
		mem_free(&wait);
	}
}

static void
finish_stop(struct plugin_house *house)
{
	struct plugin_start *wait = house->start;

	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		tell_unanswered(self);
		if (!atomic_load(&self->is_pinned)) {
			plugin_stop(self);
		}
	}
	list_each (link, &house->going) {
		plugin_stop(list_item(link, struct avocet_self, link));
	}
	wait->timer.fn = on_all_stopped;
	timer_set(house->options.main, &wait->timer, context_current->mono_ms + 1);
}

/* Every worker has ended the turn in which an instance may have served. */
static void
on_quiet(void *memory)
{
	struct plugin_start *wait = memory;

	wait->is_waited = false;
	wait->is_quiet = true;
	if (wait->is_over) {
		mem_free(&wait);
	}
}

static void
look_at_stop(struct worker *worker, struct timer *timer)
{
	struct plugin_start *wait = list_item(timer, struct plugin_start, timer);
	struct plugin_house *house = wait->house;
	bool is_open = !wait->is_quiet;

	list_each (link, &house->instances) {
		is_open = is_open ||
			  atomic_load(&list_item(link, struct avocet_self, link)->open_count) != 0;
	}
	if (is_open && context_current->mono_ms < wait->end_ms) {
		timer_set(worker, &wait->timer, context_current->mono_ms + LOOK_MS);
		return;
	}
	finish_stop(house);
}

void
plugin_house_stop(
    struct plugin_house *house, int64_t timeout_ms, void (*done)(void *arg), void *arg)
{
	struct plugin_start *wait = house->start;

	house->is_stopping = true;
	timer_clear(house->options.main, &house->watchdog);
	plugin_errands_end(house);
	if (wait == NULL) {
		wait = house->start = mem_zalloc(sizeof(*wait));
	} else {
		/* It had not even started. */
		timer_clear(house->options.main, &wait->timer);
	}
	wait->done = done;
	wait->arg = arg;
	wait->house = house;
	wait->end_ms = context_current->mono_ms + timeout_ms;
	wait->timer.fn = look_at_stop;
	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);
		int state = atomic_load(&self->state);

		if (state == PLUGIN_SERVING || state == PLUGIN_STARTING || state == PLUGIN_FAILED) {
			atomic_store_explicit(&self->state, PLUGIN_DRAINING, memory_order_release);
			if (self->lifecycle->drain != NULL) {
				self->lifecycle->drain(self->inst);
			}
		}
	}
	wait->is_quiet = list_is_empty(&house->instances);
	if (!wait->is_quiet) {
		wait->is_waited = true;
		epoch_retire(house->options.main, wait, on_quiet);
	}
	look_at_stop(house->options.main, &wait->timer);
}
