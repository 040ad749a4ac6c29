/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who observes stands in an immutable list, which main replaces when instances come and go; workers
 * read it without a lock, and the old one is freed when they have passed their turn. An observer
 * that may block gets its events through a queue, on one thread of its own.
 */
#include "plugin/observe.h"

#include "base/log.h"
#include "base/mem.h"
#include "loop/epoch.h"
#include "plugin/plugin_int.h"

enum { JOIN_MS = 2000, FEW = 16 };

struct plugin_observed {
	size_t count;
	struct avocet_self *items[]; /* references */
};

/* An event that waits; it has references on, or copies of, all that it tells. */
struct kept_event {
	struct list_link link;
	struct plugin_event event;
	char texts[]; /* the filter, by_name, text */
};

/* The queue of an observer that may block. */
struct plugin_ear {
	struct avocet_self *self;
	struct thread *thread;
	struct lock lock; /* guards what is below */
	struct cond news;
	struct list waiting;
	size_t count;
	bool is_ending;
};

/* --- telling one --- */

static avocet_str
str_of(struct bytes text)
{
	return (avocet_str){(const char *)text.data, text.len};
}

/* On a worker, or on the observer's thread. */
static void
tell(struct avocet_self *self, const struct plugin_event *event)
{
	avocet_event told = {.struct_size = sizeof(told),
	    .by = event->by,
	    .what = event->what,
	    .client = event->client != NULL ? &plugin_client_of(event->client)->info : NULL,
	    .filter = str_of(event->filter),
	    .by_name = avocet_str_of(event->by_name),
	    .text = avocet_str_of(event->text),
	    .reason = event->reason,
	    .qos = event->qos};
	avocet_prop few[FEW], *props = few;
	struct msg_draft draft;
	avocet_msg msg;

	if (event->msg != NULL) {
		plugin_view_msg(event->msg, (uint8_t)event->qos, event->retain, &draft);
		plugin_view_draft(&draft, &msg);
		msg.props.n = plugin_props_view(draft.props, NULL);
		if (msg.props.n > FEW) {
			props = mem_alloc(msg.props.n * sizeof(*props));
		}
		(void)plugin_props_view(draft.props, props);
		msg.props.v = props;
		told.msg = &msg;
	}
	self->observer.event(self->inst, &told);
	if (props != few) {
		mem_free(&props);
	}
}

/* --- the queue --- */

static void
free_kept(struct kept_event *kept)
{
	msg_client_unref(&kept->event.client);
	msg_unref(&kept->event.msg);
	mem_free(&kept);
}

static char *
keep(char *at, const char *text, const char **out)
{
	size_t len = text != NULL ? strlen(text) + 1 : 0;

	*out = text != NULL ? at : NULL;
	if (len != 0) {
		memcpy(at, text, len);
	}
	return at + len;
}

static struct kept_event *
keep_event(const struct plugin_event *event)
{
	size_t len = event->filter.len + (event->by_name != NULL ? strlen(event->by_name) + 1 : 0) +
		     (event->text != NULL ? strlen(event->text) + 1 : 0);
	struct kept_event *kept = mem_zalloc(sizeof(*kept) + len);
	char *at = kept->texts;

	kept->event = *event;
	if (event->filter.len != 0) {
		memcpy(at, event->filter.data, event->filter.len);
	}
	kept->event.filter = bytes_make(at, event->filter.len);
	at = keep(at + event->filter.len, event->by_name, &kept->event.by_name);
	(void)keep(at, event->text, &kept->event.text);
	if (event->client != NULL) {
		(void)plugin_client_of(event->client); /* here, since it is made once */
		kept->event.client = msg_client_ref(event->client);
	}
	if (event->msg != NULL) {
		kept->event.msg = msg_ref(event->msg);
	}
	return kept;
}

static void
put(struct plugin_ear *ear, const struct plugin_event *event)
{
	struct kept_event *kept = keep_event(event);
	bool is_full;

	lock_take(&ear->lock);
	is_full = ear->is_ending || ear->count >= (size_t)ear->self->options.queue;
	if (!is_full) {
		list_append(&ear->waiting, &kept->link);
		ear->count++;
		cond_wake_one(&ear->news);
	}
	lock_give(&ear->lock);
	if (is_full) {
		free_kept(kept);
		plugin_fault(ear->self, PLUGIN_FAULT_LOST, "lost events: its queue is full");
	}
}

static void
listen(void *arg)
{
	struct plugin_ear *ear = arg;

	lock_take(&ear->lock);
	while (!ear->is_ending || !list_is_empty(&ear->waiting)) {
		struct list_link *link = list_take_first(&ear->waiting);
		struct kept_event *kept;

		if (link == NULL) {
			cond_wait(&ear->news, &ear->lock);
			continue;
		}
		ear->count--;
		lock_give(&ear->lock);
		kept = list_item(link, struct kept_event, link);
		tell(ear->self, &kept->event);
		free_kept(kept);
		lock_take(&ear->lock);
	}
	lock_give(&ear->lock);
}

bool
plugin_observer_start(struct avocet_self *self)
{
	struct plugin_ear *ear;

	if (self->observer.struct_size == 0 || (self->observer.exec != AVOCET_EXEC_POOL &&
						   self->observer.exec != AVOCET_EXEC_SERIAL)) {
		return true;
	}
	ear = mem_zalloc(sizeof(*ear));
	ear->self = self;
	lock_init(&ear->lock);
	cond_init(&ear->news);
	list_init(&ear->waiting);
	ear->thread = thread_start(self->name, listen, ear);
	self->ear = ear;
	return ear->thread != NULL;
}

bool
plugin_observer_end(struct avocet_self *self)
{
	struct plugin_ear *ear = self->ear;

	if (ear == NULL) {
		return true;
	}
	lock_take(&ear->lock);
	ear->is_ending = true;
	cond_wake_all(&ear->news);
	lock_give(&ear->lock);
	if (ear->thread != NULL && !thread_join(&ear->thread, JOIN_MS)) {
		log_error("plugin %s does not end: its observer hangs", self->name);
		thread_abandon(&ear->thread);
		return false;
	}
	return true;
}

void
plugin_observer_fini(struct avocet_self *self)
{
	struct list_link *link;

	if (self->ear == NULL) {
		return;
	}
	while ((link = list_take_first(&self->ear->waiting)) != NULL) {
		free_kept(list_item(link, struct kept_event, link));
	}
	cond_fini(&self->ear->news);
	lock_fini(&self->ear->lock);
	mem_free(&self->ear);
}

/* --- telling all --- */

void
plugin_observe(struct plugin_observers *observers, const struct plugin_event *event)
{
	const struct plugin_observed *list =
	    atomic_load_explicit(&observers->list, memory_order_acquire);

	for (size_t i = 0; list != NULL && i < list->count; i++) {
		struct avocet_self *self = list->items[i];
		int64_t entered;

		if ((self->observer.events & event->what) == 0 || !plugin_is_serving(self)) {
			continue;
		}
		if (self->ear != NULL) {
			put(self->ear, event);
			continue;
		}
		entered = plugin_enter(self);
		tell(self, event);
		plugin_leave(self, entered, "event");
	}
}

/* --- who observes --- */

static void
free_list(void *memory)
{
	struct plugin_observed *list = memory;

	for (size_t i = 0; i < list->count; i++) {
		plugin_unref(list->items[i]);
	}
	mem_free(&list);
}

static struct plugin_observed *
list_of(const struct plugin_house *house, uint64_t *events_out)
{
	struct plugin_observed *list = NULL;
	size_t count = 0;

	*events_out = 0;
	list_each (link, &house->instances) {
		count += list_item(link, struct avocet_self, link)->observer.struct_size != 0;
	}
	if (count == 0) {
		return NULL;
	}
	list = mem_zalloc(sizeof(*list) + count * sizeof(struct avocet_self *));
	list_each (link, &house->instances) {
		struct avocet_self *self = list_item(link, struct avocet_self, link);

		if (self->observer.struct_size != 0) {
			list->items[list->count++] = plugin_ref(self);
			*events_out |= self->observer.events;
		}
	}
	return list;
}

void
plugin_observers_renew(struct plugin_house *house)
{
	struct plugin_observers *observers = house->options.observers;
	struct plugin_observed *before;
	uint64_t events;

	if (observers == NULL) {
		return;
	}
	before = atomic_exchange(&observers->list, list_of(house, &events));
	atomic_store_explicit(&observers->events, events, memory_order_release);
	if (before == NULL) {
		return;
	}
	if (atomic_load(&house->has_started)) {
		epoch_retire(house->options.main, before, free_list);
	} else {
		free_list(before);
	}
}

void
plugin_observers_clear(struct plugin_house *house)
{
	struct plugin_observers *observers = house->options.observers;
	struct plugin_observed *before;

	if (observers == NULL) {
		return;
	}
	atomic_store(&observers->events, 0);
	before = atomic_exchange(&observers->list, NULL);
	if (before != NULL) {
		free_list(before);
	}
}
