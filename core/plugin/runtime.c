/* SPDX-License-Identifier: Apache-2.0 */
/* avocet.runtime/0: tasks and timers on main, threads of a plugin's own. */
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/plugin_int.h"

enum { MS_NS = 1000000, JOIN_MS = 5000 };

/* --- tasks --- */

struct task {
	struct mail mail;
	struct avocet_self *self; /* a reference */
	avocet_task_fn fn;
	void *arg;
};

static void
on_task(struct worker *worker, struct mail *mail)
{
	struct task *task = list_item(mail, struct task, mail);

	(void)worker;
	if (atomic_load(&task->self->state) != PLUGIN_STOPPED) {
		task->fn(task->self->inst, task->arg);
	}
	plugin_unref(task->self);
	mem_free(&task);
}

static int32_t
post(avocet_self *self, avocet_task_fn fn, void *arg)
{
	struct task *task = mem_alloc(sizeof(*task));

	*task =
	    (struct task){.mail = {.run = on_task}, .self = plugin_ref(self), .fn = fn, .arg = arg};
	mail_post(self->house->options.main, &task->mail);
	return AVOCET_OK;
}

static int64_t
now_ns(void)
{
	/* The clock of the machine is one: no loop is needed to read it. */
	return loop_now_ns(NULL);
}

bool
plugin_is_main(const avocet_self *self)
{
	return !atomic_load_explicit(&self->house->has_started, memory_order_acquire) ||
	       (context_current != NULL && context_current->worker == self->house->options.main);
}

static int32_t
refuse_thread(avocet_self *self, const char *function)
{
	plugin_fault(self, PLUGIN_FAULT_THREAD, function);
	return AVOCET_E_THREAD;
}

/* --- timers --- */

struct own_timer {
	struct timer timer;
	struct avocet_self *self;
	struct list_link link; /* of self->timers */
	uint64_t number;
	int64_t period_ms; /* 0: once */
	avocet_task_fn fn;
	void *arg;
};

static void
free_timer(struct own_timer *own)
{
	timer_clear(own->self->house->options.main, &own->timer);
	list_remove(&own->link);
	mem_free(&own);
}

static void
on_timer(struct worker *worker, struct timer *timer)
{
	struct own_timer *own = list_item(timer, struct own_timer, timer);
	struct avocet_self *self = own->self;
	avocet_task_fn fn = own->fn;
	void *arg = own->arg;

	if (own->period_ms != 0) {
		timer_set(worker, &own->timer, context_current->mono_ms + own->period_ms);
	} else {
		free_timer(own);
	}
	fn(self->inst, arg);
}

static int64_t
to_ms(int64_t ns)
{
	return ns <= 0 ? 0 : (ns + MS_NS - 1) / MS_NS;
}

static int32_t
timer_add(avocet_self *self, int64_t after_ns, int64_t period_ns, avocet_task_fn fn, void *arg,
    avocet_timer_h *out)
{
	struct own_timer *own;

	if (!plugin_is_main(self)) {
		return refuse_thread(self, "called timer_add on another thread than main");
	}
	own = mem_zalloc(sizeof(*own));
	own->timer.fn = on_timer;
	own->self = self;
	own->number = ++self->next_timer;
	own->period_ms = to_ms(period_ns);
	own->fn = fn;
	own->arg = arg;
	list_append(&self->timers, &own->link);
	timer_set(
	    self->house->options.main, &own->timer, context_current->mono_ms + to_ms(after_ns));
	if (out != NULL) {
		*out = own->number;
	}
	return AVOCET_OK;
}

static int32_t
timer_del(avocet_self *self, avocet_timer_h number)
{
	if (!plugin_is_main(self)) {
		return refuse_thread(self, "called timer_del on another thread than main");
	}
	list_each (link, &self->timers) {
		struct own_timer *own = list_item(link, struct own_timer, link);

		if (own->number == number) {
			free_timer(own);
			return AVOCET_OK;
		}
	}
	return AVOCET_E_GONE;
}

/* --- threads --- */

struct own_thread {
	struct list_link link;
	struct thread *thread;
	struct avocet_self *self;
	char *name;
	avocet_task_fn fn;
	void *arg;
};

static void
run_thread(void *arg)
{
	struct own_thread *own = arg;

	own->fn(own->self->inst, own->arg);
}

static int32_t
start_thread(avocet_self *self, const char *name, avocet_task_fn fn, void *arg)
{
	struct own_thread *own;

	if (!plugin_is_main(self)) {
		return refuse_thread(self, "called thread_start on another thread than main");
	}
	own = mem_zalloc(sizeof(*own));
	own->self = self;
	own->name = mem_text(bytes_of(name));
	own->fn = fn;
	own->arg = arg;
	own->thread = thread_start(name, run_thread, own);
	if (own->thread == NULL) {
		mem_free(&own->name);
		mem_free(&own);
		return AVOCET_E_NOMEM;
	}
	list_append(&self->threads, &own->link);
	return AVOCET_OK;
}

bool
plugin_runtime_end(struct avocet_self *self)
{
	struct list_link *link;
	bool joined = true;

	plugin_watches_end(self);

	while ((link = list_take_first(&self->timers)) != NULL) {
		struct own_timer *own = list_item(link, struct own_timer, link);

		timer_clear(self->house->options.main, &own->timer);
		mem_free(&own);
	}
	while ((link = list_take_first(&self->threads)) != NULL) {
		struct own_thread *own = list_item(link, struct own_thread, link);

		if (thread_join(&own->thread, JOIN_MS)) {
			mem_free(&own->name);
			mem_free(&own);
			continue;
		}
		log_error("plugin %s does not end: its thread \"%s\" hangs", self->name, own->name);
		thread_abandon(&own->thread);
		joined = false;
	}
	return joined;
}

/* --- renewal --- */

static int32_t
renew(avocet_self *self, avocet_error *err)
{
	avocet_error unwanted = {0};

	if (!plugin_is_main(self)) {
		return refuse_thread(self, "called renew on another thread than main");
	}
	return plugin_renew(self, err != NULL ? err : &unwanted);
}

const avocet_runtime_api plugin_runtime_api = {
    .struct_size = sizeof(plugin_runtime_api),
    .now_ns = now_ns,
    .post = post,
    .timer_add = timer_add,
    .timer_del = timer_del,
    .thread_start = start_thread,
    .renew = renew,
    .fd_add = plugin_fd_add,
    .fd_mod = plugin_fd_mod,
    .fd_del = plugin_fd_del,
    .job = plugin_job,
};
