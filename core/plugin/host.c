/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The house of instances, on main's thread. A change marks all as unwanted, takes or makes those
 * that are wanted and prepares them; commit switches all of them, abort leaves all as they were.
 *
 * The end of an instance: nobody names it any more -> the last set and the last call go (their
 * reference sends mail) -> drain, stop, its threads are joined -> its eras are retired -> destroy.
 */
#include "plugin/host.h"

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

/* --- instances --- */

const char *
plugin_name(const struct avocet_self *self)
{
	return self->name;
}

bool
plugin_offers(const struct avocet_self *self, const char *service)
{
	return plugin_module_service(&self->module, service) != NULL;
}

/* What is there of a sized table, the rest zero. */
static void
copy_table(void *into, size_t size, const void *from)
{
	uint32_t given;

	if (from != NULL) {
		memcpy(&given, from, sizeof(given));
		memcpy(into, from, given < size ? given : size);
	}
}

static bool
wants_threads(const struct avocet_self *self, uint32_t exec)
{
	return (self->authenticator.struct_size != 0 && self->authenticator.exec == exec) ||
	       (self->authorizer.struct_size != 0 && self->authorizer.exec == exec) ||
	       (self->interceptor.struct_size != 0 && self->interceptor.exec == exec);
}

/* On main: fails it, and says so. */
static void
fail(struct avocet_self *self, const char *text)
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
on_news(struct worker *worker, struct mail *mail)
{
	struct avocet_self *self = list_item(mail, struct avocet_self, news);
	char text[MAX_TEXT];
	int status;

	(void)worker;
	atomic_store(&self->has_news, false);
	status = atomic_load(&self->news_status);
	lock_take(&self->lock);
	memcpy(text, self->text, sizeof(text));
	lock_give(&self->lock);
	if (status != AVOCET_OK) {
		fail(self, text[0] != '\0' ? text : "it did not say why");
	} else if (atomic_load(&self->state) == PLUGIN_STARTING) {
		atomic_store_explicit(&self->state, PLUGIN_SERVING, memory_order_release);
		log_info("plugin %s is ready", self->name);
	}
}

static void try_end(struct avocet_self *self);

static void
on_gone(struct worker *worker, struct mail *mail)
{
	struct avocet_self *self = list_item(mail, struct avocet_self, gone);

	(void)worker;
	atomic_store(&self->gone_is_posted, false);
	try_end(self);
}

static struct avocet_self *
instance_new(struct plugin_house *house, const char *name, const struct plugin_module *module)
{
	struct avocet_self *self = mem_zalloc(sizeof(*self));
	const avocet_plugin *descriptor = module->descriptor;

	ref_init(&self->ref);
	self->house = house;
	self->module =
	    (struct plugin_module){.descriptor = module->descriptor, .handle = module->handle};
	self->name = mem_text(bytes_of(name));
	copy_table(&self->lifecycle_copy, sizeof(self->lifecycle_copy), descriptor->lifecycle);
	self->lifecycle = &self->lifecycle_copy;
	copy_table(&self->authenticator, sizeof(self->authenticator),
	    plugin_module_service(module, AVOCET_SERVICE_AUTHENTICATOR));
	copy_table(&self->authorizer, sizeof(self->authorizer),
	    plugin_module_service(module, AVOCET_SERVICE_AUTHORIZER));
	copy_table(&self->interceptor, sizeof(self->interceptor),
	    plugin_module_service(module, AVOCET_SERVICE_INTERCEPTOR));
	copy_table(&self->observer, sizeof(self->observer),
	    plugin_module_service(module, AVOCET_SERVICE_OBSERVER));
	lock_init(&self->lock);
	lock_init(&self->era_lock);
	list_init(&self->eras);
	list_init(&self->threads);
	list_init(&self->timers);
	list_init(&self->watches);
	self->news.run = on_news;
	self->gone.run = on_gone;
	if (self->authenticator.struct_size != 0) {
		static const char *const none[] = {"", NULL};

		self->methods = plugin_words_new(
		    self->authenticator.methods != NULL ? self->authenticator.methods : none);
	}
	return self;
}

/* It has no threads, and nobody asks it any more. */
static void
instance_free(struct avocet_self *self)
{
	struct list_link *link;

	if (self->is_lost) {
		return; /* a thread is in it for good */
	}
	if (self->next != NULL && self->lifecycle->abort != NULL) {
		self->lifecycle->abort(self->inst, self->next);
	}
	plugin_config_unref(&self->next_config);
	while ((link = list_take_first(&self->eras)) != NULL) {
		plugin_era_end(list_item(link, struct plugin_era, link));
	}
	if (self->has_created) {
		self->lifecycle->destroy(self->inst);
	}
	list_remove(&self->link);
	plugin_observer_fini(self);
	plugin_jobs_fini(self);
	plugin_metrics_fini(self);
	plugin_commands_fini(self);
	plugin_words_unref(&self->methods);
	plugin_words_unref(&self->filters);
	plugin_words_unref(&self->next_methods);
	plugin_words_unref(&self->next_filters);
	lock_fini(&self->lock);
	lock_fini(&self->era_lock);
	mem_free(&self->name);
	mem_free(&self);
}

static void
end_threads(struct avocet_self *self)
{
	bool joined = plugin_pool_free(&self->pool);

	joined = plugin_pool_free(&self->serial) && joined;
	joined = plugin_jobs_end(self) && joined;
	joined = plugin_observer_end(self) && joined;
	joined = plugin_runtime_end(self) && joined;
	self->is_lost = !joined;
}

/* Drains and stops it, if it was started. */
static void
instance_stop(struct avocet_self *self)
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

/* Nobody names it, and nobody needs it. */
static void
try_end(struct avocet_self *self)
{
	if (!self->wants_end || self->house->is_stopping ||
	    atomic_load_explicit(&self->ref.count, memory_order_acquire) != 1 ||
	    atomic_load(&self->has_news)) {
		return;
	}
	instance_stop(self);
	if (atomic_load_explicit(&self->ref.count, memory_order_acquire) != 1) {
		return; /* its threads left lines for the log, the last of which comes back here */
	}
	log_info("plugin %s has ended", self->name);
	instance_free(self);
}

/* --- house --- */

struct plugin_house *
plugin_house_new(const struct plugin_house_options *options)
{
	struct plugin_house *house = mem_zalloc(sizeof(*house));

	house->options = *options;
	plugin_offer_host(&house->host, options->workers);
	atomic_init(&house->epoch, 1);
	atomic_init(&house->stall_warn_ms, options->stall_warn_ms);
	list_init(&house->instances);
	list_init(&house->going);
	list_init(&house->errands);
	return house;
}

void
plugin_house_free(struct plugin_house **house_at)
{
	struct plugin_house *house = *house_at;

	if (house == NULL) {
		return;
	}
	house->is_stopping = true;
	plugin_observers_clear(house);
	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		instance_stop(self);
		instance_free(self);
	}
	list_each (link, &house->going) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		instance_stop(self);
		instance_free(self);
	}
	mem_free(&house->start);
	mem_free(house_at);
}

void
plugin_house_set_stall_warn(struct plugin_house *house, int64_t ms)
{
	atomic_store(&house->stall_warn_ms, ms);
}

void
plugin_house_flush(struct plugin_house *house)
{
	atomic_fetch_add_explicit(&house->epoch, 1, memory_order_acq_rel);
}

/* --- changes --- */

void
plugin_house_begin(struct plugin_house *house)
{
	list_each (link, &house->instances) {
		list_item(link, struct avocet_self, link)->wants_end = true;
	}
}

static struct avocet_self *
find(struct plugin_house *house, const char *name, const struct plugin_module *module,
    const struct plugin_config *config)
{
	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		if (strcmp(self->name, name) == 0 && self->wants_end &&
		    self->module.descriptor == module->descriptor &&
		    plugin_config_obstacle(self->era->config, config) == NULL) {
			return self;
		}
	}
	return NULL;
}

static bool
create(struct avocet_self *self, const struct plugin_instance_options *options, char *why,
    size_t why_size)
{
	avocet_error error = {0};
	int32_t status;

	self->options = *options;
	status = self->lifecycle->create(&self->house->host, self, &self->inst, &error);
	if (status != AVOCET_OK) {
		plugin_say_error(&error, "it cannot be made", self->name, why, why_size);
		return false;
	}
	self->has_created = true;
	return true;
}

struct avocet_self *
plugin_house_want(struct plugin_house *house, const char *name, const struct plugin_module *module,
    struct plugin_config *config, const struct plugin_instance_options *options, char *why,
    size_t why_size)
{
	struct avocet_self *self = find(house, name, module, config);
	bool is_new = self == NULL;

	if (is_new) {
		self = instance_new(house, name, module);
		self->is_new = true;
		list_append(&house->instances, &self->link);
		if (!create(self, options, why, why_size)) {
			list_remove(&self->link);
			instance_free(self);
			return NULL;
		}
	}
	self->wants_end = false;
	self->next_options = *options;
	return plugin_prepare(self, config, why, why_size) ? self : NULL;
}

void
plugin_house_abort(struct plugin_house *house)
{
	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		plugin_abort(self);
		self->wants_end = false;
		if (self->is_new) {
			instance_free(self);
		}
	}
}

void
plugin_house_commit(struct plugin_house *house)
{
	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		if (self->is_prepared) {
			plugin_commit(self);
		} else if (self->wants_end) {
			list_remove(&self->link);
			list_append(&house->going, &self->link);
			/* The sets of the old snapshot may be gone already, or nobody had one. */
			if (!atomic_exchange(&self->gone_is_posted, true)) {
				mail_post(house->options.main, &self->gone);
			}
		}
	}
	plugin_observers_renew(house);
	plugin_house_flush(house);
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
		fail(self, "the system has no threads left");
		return;
	}
	status =
	    self->lifecycle->start != NULL ? self->lifecycle->start(self->inst, &error) : AVOCET_OK;
	if (status == AVOCET_OK) {
		atomic_store_explicit(&self->state, PLUGIN_SERVING, memory_order_release);
	} else if (status != AVOCET_PENDING) {
		plugin_say_error(&error, "it cannot start", self->name, why, sizeof(why));
		fail(self, why);
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
			fail(self, "its start took too long");
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
		tell_unanswered(list_item(link, struct avocet_self, link));
		instance_stop(list_item(link, struct avocet_self, link));
	}
	list_each (link, &house->going) {
		instance_stop(list_item(link, struct avocet_self, link));
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
