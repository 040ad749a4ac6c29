/* SPDX-License-Identifier: Apache-2.0 */
/* avocet.runtime/0: file descriptors that main watches for an instance. */
#include "loop/watch.h"

#include "base/mem.h"
#include "plugin/plugin_int.h"

enum { MAX_WATCHES = 4096 };

struct own_watch {
	struct watch watch;
	struct list_link link; /* of self->watches */
	struct avocet_self *self;
	uint64_t number;
	int fd;
	avocet_fd_fn fn;
	void *arg;
};

static int32_t
refuse_thread(avocet_self *self, const char *sentence)
{
	plugin_fault(self, PLUGIN_FAULT_THREAD, sentence);
	return AVOCET_E_THREAD;
}

static struct own_watch *
find(struct avocet_self *self, avocet_watch_h number)
{
	list_each (link, &self->watches) {
		struct own_watch *own = list_item(link, struct own_watch, link);

		if (own->number == number) {
			return own;
		}
	}
	return NULL;
}

static void
on_ready(struct watch *watch, unsigned events)
{
	struct own_watch *own = list_item(watch, struct own_watch, watch);
	uint32_t told = ((events & WATCH_READ) != 0 ? AVOCET_FD_READ : 0) |
			((events & WATCH_WRITE) != 0 ? AVOCET_FD_WRITE : 0);

	/* It may delete the watch. */
	own->fn(own->self->inst, own->fd, told, own->arg);
}

static unsigned
wanted_of(uint32_t events)
{
	return ((events & AVOCET_FD_READ) != 0 ? WATCH_READ : 0U) |
	       ((events & AVOCET_FD_WRITE) != 0 ? WATCH_WRITE : 0U);
}

int32_t
plugin_fd_add(
    avocet_self *self, int32_t fd, uint32_t events, avocet_fd_fn fn, void *arg, avocet_watch_h *out)
{
	struct own_watch *own;

	if (!plugin_is_main(self)) {
		return refuse_thread(self, "called fd_add on another thread than main");
	}
	if (fd < 0 || fn == NULL || out == NULL ||
	    (events & ~(AVOCET_FD_READ | AVOCET_FD_WRITE)) != 0) {
		return AVOCET_E_INVAL;
	}
	if (self->watch_count == MAX_WATCHES) {
		return AVOCET_E_FULL;
	}
	own = mem_zalloc(sizeof(*own));
	own->watch.fn = on_ready;
	own->self = self;
	own->fd = fd;
	own->fn = fn;
	own->arg = arg;
	own->number = ++self->next_watch;
	if (watch_attach(&own->watch, self->house->options.main, fd, wanted_of(events)) != 0) {
		mem_free(&own);
		return AVOCET_E_INVAL;
	}
	list_append(&self->watches, &own->link);
	self->watch_count++;
	*out = own->number;
	return AVOCET_OK;
}

int32_t
plugin_fd_mod(avocet_self *self, avocet_watch_h number, uint32_t events)
{
	struct own_watch *own;

	if (!plugin_is_main(self)) {
		return refuse_thread(self, "called fd_mod on another thread than main");
	}
	own = find(self, number);
	if (own == NULL) {
		return AVOCET_E_GONE;
	}
	watch_set(&own->watch, wanted_of(events));
	return AVOCET_OK;
}

static void
drop(struct own_watch *own)
{
	watch_detach(&own->watch);
	list_remove(&own->link);
	own->self->watch_count--;
	mem_free(&own);
}

int32_t
plugin_fd_del(avocet_self *self, avocet_watch_h number)
{
	struct own_watch *own;

	if (!plugin_is_main(self)) {
		return refuse_thread(self, "called fd_del on another thread than main");
	}
	own = find(self, number);
	if (own == NULL) {
		return AVOCET_E_GONE;
	}
	drop(own);
	return AVOCET_OK;
}

void
plugin_watches_end(struct avocet_self *self)
{
	list_each (link, &self->watches) {
		drop(list_item(link, struct own_watch, link));
	}
}
