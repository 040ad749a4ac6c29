/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one configuration of an instance to the next: prepared beside what is in force, then put in
 * its place or dropped. An instance may also ask to be renewed, with the configuration that it has:
 * a file that it names has changed. Main's thread.
 */
#include <stdio.h>

#include "base/mem.h"
#include "plugin/plugin_int.h"

void
plugin_say_error(
    const avocet_error *error, const char *step, const char *name, char *why, size_t why_size)
{
	char text[sizeof(error->text)];

	memcpy(text, error->text, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	(void)snprintf(why, why_size, "plugin %s: %s", name, text[0] != '\0' ? text : step);
}

static int32_t
prepare(struct avocet_self *self, struct plugin_config *config, avocet_error *error)
{
	int32_t status;

	plugin_config_unref(&self->next_config);
	self->next_config = plugin_config_ref(config);
	self->next = NULL;
	self->is_preparing = true;
	self->next_actions = self->authorizer.actions;
	self->has_next_filters = false;
	status =
	    self->lifecycle->prepare(self->inst, plugin_config_abi(config), &self->next, error);
	self->is_preparing = false;
	if (status != AVOCET_OK) {
		self->next = NULL;
		plugin_config_unref(&self->next_config);
		return status < 0 ? status : AVOCET_E_INTERNAL;
	}
	self->is_prepared = true;
	return AVOCET_OK;
}

bool
plugin_prepare(struct avocet_self *self, struct plugin_config *config, char *why, size_t why_size)
{
	avocet_error error = {0};

	if (prepare(self, config, &error) != AVOCET_OK) {
		plugin_say_error(&error, "it refuses its configuration", self->name, why, why_size);
		return false;
	}
	return true;
}

static void
forget_next(struct avocet_self *self)
{
	plugin_words_unref(&self->next_methods);
	plugin_words_unref(&self->next_filters);
	self->has_next_filters = false;
	self->is_prepared = false;
}

/* Its state only. */
static void
commit_state(struct avocet_self *self)
{
	void *old = NULL;

	self->lifecycle->commit(self->inst, self->next, &old);
	self->next = NULL;
	plugin_era_begin(self, self->next_config, old);
	self->next_config = NULL;
	atomic_store(&self->actions, self->next_actions);
}

void
plugin_commit(struct avocet_self *self)
{
	commit_state(self);
	self->options = self->next_options;
	atomic_store(&self->max_requests, self->options.max_requests);
	self->is_new = false;
	if (self->next_methods != NULL) {
		plugin_words_unref(&self->methods);
		self->methods = self->next_methods;
		self->next_methods = NULL;
	}
	if (self->has_next_filters) {
		plugin_words_unref(&self->filters);
		self->filters = self->next_filters;
		self->next_filters = NULL;
	}
	forget_next(self);
}

void
plugin_abort(struct avocet_self *self)
{
	if (self->is_prepared && self->lifecycle->abort != NULL) {
		self->lifecycle->abort(self->inst, self->next);
	}
	self->next = NULL;
	plugin_config_unref(&self->next_config);
	forget_next(self);
}

int32_t
plugin_renew(struct avocet_self *self, avocet_error *err)
{
	int32_t status;

	/* Not within a change: what that prepared would be lost. */
	if (self->is_preparing || self->is_prepared || self->era == NULL ||
	    atomic_load(&self->state) >= PLUGIN_DRAINING) {
		return AVOCET_E_STATE;
	}
	status = prepare(self, self->era->config, err);
	if (status == AVOCET_OK) {
		commit_state(self);
	}
	forget_next(self);
	return status;
}
