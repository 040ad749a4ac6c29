/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance is made of: references, eras, faults. An era ends with a commit; it is retired
 * when no call that may have seen what was in force then is running any more: calls hold
 * references, and calls that answer at once are over when every worker has ended its turn.
 */
#include <stdio.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/epoch.h"
#include "plugin/plugin_int.h"

enum { SAY_EVERY_MS = 10000, MS_NS = 1000000 };

/* --- words --- */

struct plugin_words *
plugin_words_new(const char *const *items)
{
	struct plugin_words *words;
	size_t count = 0, size = 0;
	char *at;

	for (; items[count] != NULL; count++) {
		size += strlen(items[count]) + 1;
	}
	words = mem_alloc(sizeof(*words) + (count + 1) * sizeof(words->items[0]) +
			  count * sizeof(struct bytes) + size);
	ref_init(&words->ref);
	words->count = count;
	words->views = (struct bytes *)(void *)&words->items[count + 1];
	at = (char *)&words->views[count];
	for (size_t i = 0; i < count; i++) {
		words->items[i] = at;
		at = stpcpy(at, items[i]) + 1;
		words->views[i] = bytes_of(words->items[i]);
	}
	words->items[count] = NULL;
	return words;
}

void
plugin_words_unref(struct plugin_words **words)
{
	if (*words != NULL && ref_put(&(*words)->ref)) {
		mem_free(words);
	}
	*words = NULL;
}

/* --- faults --- */

void
plugin_fault(struct avocet_self *self, enum plugin_fault fault, const char *sentence)
{
	int64_t now_ms = loop_coarse_ns(self->house->options.loop) / MS_NS;
	int64_t said_ms = atomic_load_explicit(&self->said_at_ms[fault], memory_order_relaxed);
	uint64_t count =
	    atomic_fetch_add_explicit(&self->faults[fault], 1, memory_order_relaxed) + 1;
	char text[192];

	counter_add(COUNTER_PLUGIN_FAULTS, 1);
	if ((said_ms != 0 && now_ms - said_ms < SAY_EVERY_MS) ||
	    !atomic_compare_exchange_strong(&self->said_at_ms[fault], &said_ms, now_ms)) {
		return;
	}
	(void)snprintf(
	    text, sizeof(text), "%s (%llu times so far)", sentence, (unsigned long long)count);
	self->house->host.log(self, AVOCET_LOG_WARN, text, strlen(text));
}

/* --- references --- */

struct avocet_self *
plugin_ref(struct avocet_self *self)
{
	ref_get(&self->ref);
	return self;
}

void
plugin_unref(struct avocet_self *self)
{
	/* The house's reference stays until main has ended it. */
	uint32_t left = atomic_fetch_sub_explicit(&self->ref.count, 1, memory_order_acq_rel) - 1;

	if (left == 1 && atomic_load(&self->wants_end) &&
	    !atomic_exchange(&self->gone_is_posted, true)) {
		mail_post(self->house->options.main, &self->gone);
	}
}

/* --- eras --- */

static void
on_retire(struct worker *worker, struct mail *mail)
{
	struct plugin_era *era = list_item(mail, struct plugin_era, mail);

	(void)worker;
	plugin_era_end(era);
}

void
plugin_era_end(struct plugin_era *era)
{
	const struct avocet_lifecycle *lifecycle = era->self->lifecycle;

	if (era->old != NULL && lifecycle->retire != NULL) {
		lifecycle->retire(era->self->inst, era->old);
	}
	list_remove(&era->link);
	plugin_config_unref(&era->config);
	mem_free(&era);
}

void
plugin_era_unref(struct plugin_era **era_at)
{
	struct plugin_era *era = *era_at;

	*era_at = NULL;
	if (ref_put(&era->ref)) {
		era->mail.run = on_retire;
		mail_post(era->self->house->options.main, &era->mail);
	}
}

static void
unref_era(void *memory)
{
	struct plugin_era *era = memory;

	plugin_era_unref(&era);
}

void
plugin_era_begin(struct avocet_self *self, struct plugin_config *config, void *old)
{
	struct plugin_era *era = mem_zalloc(sizeof(*era)), *before;

	ref_init(&era->ref);
	era->self = self;
	era->config = config;
	list_append(&self->eras, &era->link);
	lock_take(&self->era_lock);
	before = self->era;
	self->era = era;
	lock_give(&self->era_lock);
	if (before != NULL) {
		before->old = old;
		epoch_retire(self->house->options.main, before, unref_era);
	}
}

/* --- for rooms above --- */

void *
plugin_inst(const struct avocet_self *self)
{
	return self->inst;
}

bool
plugin_is_alive(const struct avocet_self *self)
{
	int state = atomic_load_explicit(&self->state, memory_order_acquire);

	return state == PLUGIN_STARTING || state == PLUGIN_SERVING;
}

void *
plugin_links_of(const struct avocet_self *self)
{
	return self->house->options.links;
}

void
plugin_show_msg(const struct msg *msg, uint8_t qos, bool retain, avocet_msg *msg_out)
{
	struct msg_draft draft;

	plugin_view_msg(msg, qos, retain, &draft);
	plugin_view_draft(&draft, msg_out);
}
