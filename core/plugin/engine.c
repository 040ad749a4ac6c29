/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/engine.h"

#include <stdio.h>

#include "plugin/plugin_int.h"

void
plugin_engine_pin(struct avocet_self *self, void (*wake)(void *arg), void *arg)
{
	self->engine_wake = wake;
	self->engine_arg = arg;
	atomic_store_explicit(&self->is_pinned, true, memory_order_release);
}

bool
plugin_engine_is_pinned(const struct avocet_self *self)
{
	return atomic_load_explicit(&self->is_pinned, memory_order_acquire);
}

/* A sentence for every failure. */
static int32_t
judge(
    struct avocet_self *self, int32_t status, const avocet_error *error, char *why, size_t why_size)
{
	if (status != AVOCET_OK && status != AVOCET_STORE_LOW) {
		plugin_say_error(error, "it did not say why", self->name, why, why_size);
		return status < 0 ? status : AVOCET_E_INTERNAL;
	}
	return status;
}

int32_t
plugin_engine_open(struct avocet_self *self, char *why, size_t why_size)
{
	avocet_error error = {0};
	int32_t status = self->store.open(self->inst, &error);

	return judge(
	    self, status == AVOCET_STORE_LOW ? AVOCET_E_INTERNAL : status, &error, why, why_size);
}

int32_t
plugin_engine_load(struct avocet_self *self, struct avocet_sink *sink, char *why, size_t why_size)
{
	avocet_error error = {0};
	int32_t status = self->store.load(self->inst, sink, &error);

	return judge(
	    self, status == AVOCET_STORE_LOW ? AVOCET_E_INTERNAL : status, &error, why, why_size);
}

int32_t
plugin_engine_commit(
    struct avocet_self *self, const avocet_store_batch *batch, char *why, size_t why_size)
{
	avocet_error error = {0};

	return judge(self, self->store.commit(self->inst, batch, &error), &error, why, why_size);
}

int64_t
plugin_engine_idle(struct avocet_self *self, bool busy)
{
	return self->store.idle != NULL ? self->store.idle(self->inst, busy ? AVOCET_STORE_BUSY : 0)
					: -1;
}

void
plugin_engine_close(struct avocet_self *self, bool clean)
{
	self->store.close(self->inst, clean);
}

/* --- what it is offered --- */

static int32_t
sink_op(avocet_sink *sink, const avocet_store_op *op)
{
	return sink->take(sink->arg, op);
}

static int32_t
wake(avocet_self *self)
{
	if (!plugin_engine_is_pinned(self)) {
		return AVOCET_E_STATE;
	}
	self->engine_wake(self->engine_arg);
	return AVOCET_OK;
}

const avocet_store_api plugin_store_api = {
    .struct_size = sizeof(plugin_store_api),
    .sink_op = sink_op,
    .wake = wake,
};
