/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: blocking work of a plugin, on threads that are started with the first one. Any thread puts
 * a job, a thread of the instance runs it, main says that it is done. The queue is bounded.
 *
 * Each job that was taken is done exactly once: those that wait when the instance stops are done
 * unrun, before stop(); those that run then, after it.
 */
#include "base/log.h"
#include "base/mem.h"
#include "plugin/plugin_int.h"

enum { JOIN_MS = 5000 };

struct job {
	struct list_link link; /* of waiting, or of finished */
	avocet_task_fn fn, done;
	void *arg;
};

struct plugin_jobs {
	struct avocet_self *self;
	struct lock lock; /* guards all below but threads */
	struct cond work;
	struct list waiting, finished;
	size_t count; /* that wait */
	struct mail mail;
	bool mail_is_out; /* it has a reference on self */
	bool is_ending;
	unsigned thread_count;
	struct thread *threads[];
};

static void
finish(struct plugin_jobs *jobs, struct list *list)
{
	struct list_link *link;

	for (;;) {
		struct job *job;

		lock_take(&jobs->lock);
		link = list_take_first(list);
		jobs->count -= link != NULL && list == &jobs->waiting;
		lock_give(&jobs->lock);
		if (link == NULL) {
			return;
		}
		job = list_item(link, struct job, link);
		if (job->done != NULL) {
			job->done(jobs->self->inst, job->arg);
		}
		mem_free(&job);
	}
}

static void
on_finished(struct worker *worker, struct mail *mail)
{
	struct plugin_jobs *jobs = list_item(mail, struct plugin_jobs, mail);
	struct avocet_self *self = jobs->self;

	(void)worker;
	lock_take(&jobs->lock);
	jobs->mail_is_out = false;
	lock_give(&jobs->lock);
	if (self->jobs != NULL) {
		finish(jobs, &jobs->finished);
	}
	plugin_unref(self);
}

static void
work(void *arg)
{
	struct plugin_jobs *jobs = arg;

	lock_take(&jobs->lock);
	while (!jobs->is_ending) {
		struct list_link *link = list_take_first(&jobs->waiting);
		struct job *job;

		if (link == NULL) {
			cond_wait(&jobs->work, &jobs->lock);
			continue;
		}
		jobs->count--;
		job = list_item(link, struct job, link);
		lock_give(&jobs->lock);
		job->fn(jobs->self->inst, job->arg);
		lock_take(&jobs->lock);
		list_append(&jobs->finished, &job->link);
		if (!jobs->mail_is_out && !jobs->is_ending) {
			jobs->mail_is_out = true;
			(void)plugin_ref(jobs->self);
			mail_post(jobs->self->house->options.main, &jobs->mail);
		}
	}
	lock_give(&jobs->lock);
}

static struct plugin_jobs *
jobs_new(struct avocet_self *self)
{
	unsigned count = (unsigned)self->options.threads;
	struct plugin_jobs *jobs = mem_zalloc(sizeof(*jobs) + count * sizeof(jobs->threads[0]));

	jobs->self = self;
	jobs->mail.run = on_finished;
	lock_init(&jobs->lock);
	cond_init(&jobs->work);
	list_init(&jobs->waiting);
	list_init(&jobs->finished);
	for (unsigned i = 0; i < count; i++) {
		jobs->threads[i] = thread_start(self->name, work, jobs);
		if (jobs->threads[i] == NULL) {
			break;
		}
		jobs->thread_count++;
	}
	return jobs;
}

static void
jobs_free(struct plugin_jobs **jobs_at)
{
	cond_fini(&(*jobs_at)->work);
	lock_fini(&(*jobs_at)->lock);
	mem_free(jobs_at);
}

int32_t
plugin_job(avocet_self *self, avocet_task_fn fn, avocet_task_fn done, void *arg)
{
	int state = atomic_load(&self->state);
	struct plugin_jobs *jobs;
	int32_t status = AVOCET_OK;
	struct job *job;

	if (fn == NULL || (state != PLUGIN_STARTING && state != PLUGIN_SERVING)) {
		return fn == NULL ? AVOCET_E_INVAL : AVOCET_E_STATE;
	}
	lock_take(&self->lock);
	if (self->jobs == NULL && !self->jobs_are_over) {
		self->jobs = jobs_new(self);
	}
	jobs = self->jobs;
	if (jobs == NULL || jobs->thread_count == 0) {
		status = jobs == NULL ? AVOCET_E_STATE : AVOCET_E_NOMEM;
	} else {
		lock_take(&jobs->lock);
		if (jobs->is_ending) {
			status = AVOCET_E_STATE;
		} else if (jobs->count >= (size_t)self->options.queue) {
			status = AVOCET_E_AGAIN;
		} else {
			job = mem_alloc(sizeof(*job));
			*job = (struct job){.fn = fn, .done = done, .arg = arg};
			list_append(&jobs->waiting, &job->link);
			jobs->count++;
			cond_wake_one(&jobs->work);
		}
		lock_give(&jobs->lock);
	}
	lock_give(&self->lock);
	return status;
}

void
plugin_jobs_drop(struct avocet_self *self)
{
	struct plugin_jobs *jobs;

	lock_take(&self->lock);
	self->jobs_are_over = true;
	jobs = self->jobs;
	lock_give(&self->lock);
	if (jobs == NULL) {
		return;
	}
	lock_take(&jobs->lock);
	jobs->is_ending = true;
	cond_wake_all(&jobs->work);
	lock_give(&jobs->lock);
	finish(jobs, &jobs->waiting);
}

bool
plugin_jobs_end(struct avocet_self *self)
{
	struct plugin_jobs *jobs = self->jobs;
	bool hangs = false;

	if (jobs == NULL) {
		return true;
	}
	for (unsigned i = 0; i < jobs->thread_count; i++) {
		if (!thread_join(&jobs->threads[i], hangs ? 0 : JOIN_MS)) {
			hangs = true;
			thread_abandon(&jobs->threads[i]);
		}
	}
	if (hangs) {
		log_error("plugin %s does not end: a job hangs in it", self->name);
		return false;
	}
	finish(jobs, &jobs->finished);
	return true;
}

void
plugin_jobs_fini(struct avocet_self *self)
{
	if (self->jobs != NULL) {
		jobs_free(&self->jobs);
	}
}
