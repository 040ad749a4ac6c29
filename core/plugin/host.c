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

enum { MAX_TEXT = 256 };

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
		plugin_fail(self, text[0] != '\0' ? text : "it did not say why");
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

struct avocet_self *
plugin_instance_new(
    struct plugin_house *house, const char *name, const struct plugin_module *module)
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
	copy_table(
	    &self->store, sizeof(self->store), plugin_module_service(module, AVOCET_SERVICE_STORE));
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

void
plugin_instance_free(struct avocet_self *self)
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
	plugin_kv_fini(self);
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

/* Nobody names it, and nobody needs it. */
static void
try_end(struct avocet_self *self)
{
	if (!self->wants_end || self->house->is_stopping ||
	    atomic_load_explicit(&self->ref.count, memory_order_acquire) != 1 ||
	    atomic_load(&self->has_news)) {
		return;
	}
	plugin_stop(self);
	if (atomic_load_explicit(&self->ref.count, memory_order_acquire) != 1) {
		return; /* its threads left lines for the log, the last of which comes back here */
	}
	log_info("plugin %s has ended", self->name);
	plugin_instance_free(self);
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

		plugin_stop(self);
		plugin_instance_free(self);
	}
	list_each (link, &house->going) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		plugin_stop(self);
		plugin_instance_free(self);
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

bool
plugin_instance_create(struct avocet_self *self, const struct plugin_instance_options *options,
    char *why, size_t why_size)
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
		self = plugin_instance_new(house, name, module);
		self->is_new = true;
		list_append(&house->instances, &self->link);
		if (!plugin_instance_create(self, options, why, why_size)) {
			list_remove(&self->link);
			plugin_instance_free(self);
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
			plugin_instance_free(self);
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
			if (house->options.on_going != NULL) {
				house->options.on_going(house->options.arg, self);
			}
			/* The sets of the old snapshot may be gone already, or nobody had one. */
			if (!atomic_exchange(&self->gone_is_posted, true)) {
				mail_post(house->options.main, &self->gone);
			}
		}
	}
	plugin_observers_renew(house);
	plugin_house_flush(house);
}
