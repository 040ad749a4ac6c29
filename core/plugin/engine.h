/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instance that is the store's engine. It is pinned: neither a reload nor the stop of the
 * plugins ends it, only the end of the house. Calls come on one thread at a time, as avocet_store.h
 * says; the room does not look inside what they carry.
 */
#ifndef PLUGIN_ENGINE_H
#define PLUGIN_ENGINE_H

#include <avocet/avocet_store.h>
#include <stdbool.h>

/* Takes what load() gives; its return goes to the plugin. */
struct avocet_sink {
	int32_t (*take)(void *arg, const avocet_store_op *op);
	void *arg;
};

/* Main, before it is opened. wake: any thread, until the house ends. */
void plugin_engine_pin(struct avocet_self *self, void (*wake)(void *arg), void *arg);
bool plugin_engine_is_pinned(const struct avocet_self *self);

/* AVOCET_OK, or an error with a sentence. */
int32_t plugin_engine_open(struct avocet_self *self, char *why, size_t why_size);
int32_t plugin_engine_load(
    struct avocet_self *self, struct avocet_sink *sink, char *why, size_t why_size);
/* Also AVOCET_STORE_LOW. */
int32_t plugin_engine_commit(
    struct avocet_self *self, const avocet_store_batch *batch, char *why, size_t why_size);
int64_t plugin_engine_idle(struct avocet_self *self, bool busy);
void plugin_engine_close(struct avocet_self *self, bool clean);

#endif
