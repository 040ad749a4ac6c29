/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for questions that may block. The calls of one client stand on a strand: one at a time
 * and in order; strands that have work stand in a queue, from which the threads take. The queue is
 * bounded. A thread that is past its call's time is not waited for: the asker was answered, and
 * while all threads hang nothing more is queued. It is said once, and again when it is over.
 *
 * One lock; it is not held while a plugin runs.
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "plugin/plugin_int.h"

enum { JOIN_MS = 2000 };

struct plugin_strand {
	uint64_t client;
	struct list calls;
	struct list_link ready_link; /* of the pool: it has a call, and none is running */
	bool is_running;
};

/* A thread, and what it is in. */
struct plugin_seat {
	struct plugin_pool *pool;
	struct thread *thread;
	uint64_t number; /* of the call; 0: none */
	struct plugin_strand *strand;
	bool is_late; /* it is past its time */
	bool is_left; /* nobody waits for it, which may be no fault of the plugin's */
};

struct plugin_pool {
	struct avocet_self *self;
	struct lock lock; /* guards all below but threads */
	struct cond work;
	struct list ready;
	struct map strands;
	size_t queued, queue_max;
	unsigned hung; /* threads that run what nobody waits for */
	bool said_hung;
	bool said_full;
	bool is_ending;
	unsigned seat_count;
	struct plugin_seat seats[];
};

static struct bytes
key_of(const void *item)
{
	const struct plugin_strand *strand = item;

	return bytes_make(&strand->client, sizeof(strand->client));
}

struct plugin_pool *
plugin_pool_new(struct avocet_self *self, unsigned threads, size_t queue)
{
	struct plugin_pool *pool = mem_zalloc(sizeof(*pool) + threads * sizeof(pool->seats[0]));

	pool->self = self;
	pool->seat_count = threads;
	pool->queue_max = queue;
	lock_init(&pool->lock);
	cond_init(&pool->work);
	list_init(&pool->ready);
	/* Clients do not choose their numbers. */
	map_init(&pool->strands, key_of, (struct hash_key){1, 2});
	return pool;
}

/* --- the queue; under the lock --- */

static void
drop_if_idle(struct plugin_pool *pool, struct plugin_strand *strand)
{
	if (list_is_empty(&strand->calls) && !strand->is_running) {
		list_remove(&strand->ready_link);
		(void)map_take(&pool->strands, key_of(strand));
		mem_free(&strand);
	}
}

static void
append(struct plugin_pool *pool, struct plugin_call *call)
{
	uint64_t client = plugin_client_of(call->client)->info.handle;
	struct plugin_strand *strand;

	if (client == 0) {
		client = (uint64_t)(uintptr_t)call->client;
	}
	strand = map_find(&pool->strands, bytes_make(&client, sizeof(client)));
	if (strand == NULL) {
		strand = mem_zalloc(sizeof(*strand));
		strand->client = client;
		list_init(&strand->calls);
		(void)map_put(&pool->strands, strand);
	}
	call->strand = strand;
	list_append(&strand->calls, &call->pool_link);
	if (!strand->is_running && !list_is_linked(&strand->ready_link)) {
		list_append(&pool->ready, &strand->ready_link);
	}
	pool->queued++;
}

static struct plugin_call *
take(struct plugin_pool *pool, struct plugin_seat *seat)
{
	struct list_link *link = list_take_first(&pool->ready);
	struct plugin_strand *strand;
	struct plugin_call *call;

	if (link == NULL) {
		return NULL;
	}
	strand = list_item(link, struct plugin_strand, ready_link);
	call = list_item(list_take_first(&strand->calls), struct plugin_call, pool_link);
	strand->is_running = true;
	call->strand = NULL;
	call->seat = seat;
	seat->number = call->number;
	seat->strand = strand;
	seat->is_late = false;
	seat->is_left = false;
	pool->queued--;
	pool->said_full = pool->said_full && pool->queued > pool->queue_max / 2;
	return call;
}

/* The plugin's function has returned. True: the pool had been hung, and is not any more. */
static bool
give_back(struct plugin_pool *pool, struct plugin_seat *seat)
{
	struct plugin_strand *strand = seat->strand;
	bool recovered = seat->is_late && pool->said_hung;

	strand->is_running = false;
	if (seat->is_late) {
		pool->hung--;
		pool->said_hung = false;
	}
	if (!list_is_empty(&strand->calls)) {
		list_append(&pool->ready, &strand->ready_link);
		cond_wake_one(&pool->work);
	}
	drop_if_idle(pool, strand);
	seat->number = 0;
	return recovered;
}

/* --- threads --- */

/* Asks, and answers. The call is not looked at after the plugin's function has returned: it may
 * have been answered by another thread, and have gone. */
static void
serve(struct plugin_pool *pool, struct plugin_seat *seat, struct plugin_call *call)
{
	static const char says[] = "its threads answer again";
	struct avocet_self *self = pool->self;
	enum plugin_service service = call->service;
	uint64_t number = call->number;
	int32_t verdict = plugin_call_run(call), status;
	bool recovered;

	lock_take(&pool->lock);
	recovered = give_back(pool, seat);
	lock_give(&pool->lock);
	if (verdict != AVOCET_PENDING) {
		call = plugin_call_take(self, number, service, &status);
		if (call != NULL) {
			call->reply.verdict = verdict;
			(void)plugin_call_reply(call);
		}
	}
	if (recovered) {
		self->house->host.log(self, AVOCET_LOG_INFO, says, sizeof(says) - 1);
	}
}

static void
work(void *arg)
{
	struct plugin_seat *seat = arg;
	struct plugin_pool *pool = seat->pool;

	lock_take(&pool->lock);
	while (!pool->is_ending) {
		struct plugin_call *call = take(pool, seat);

		if (call == NULL) {
			cond_wait(&pool->work, &pool->lock);
			continue;
		}
		lock_give(&pool->lock);
		serve(pool, seat, call);
		lock_take(&pool->lock);
	}
	lock_give(&pool->lock);
}

int
plugin_pool_start(struct plugin_pool *pool)
{
	for (unsigned i = 0; i < pool->seat_count; i++) {
		struct plugin_seat *seat = &pool->seats[i];

		seat->pool = pool;
		seat->thread = thread_start(pool->self->name, work, seat);
		if (seat->thread == NULL) {
			return ERR_IO;
		}
	}
	return 0;
}

/* What is new since it was asked last, said outside the lock; NULL: nothing. */
static const char *
take_news(struct plugin_pool *pool, bool is_full)
{
	if (pool->hung >= pool->seat_count && !pool->said_hung) {
		pool->said_hung = true;
		return "hangs: all its threads are past their time; until one returns, questions "
		       "to it fail at once";
	}
	if (pool->hung < pool->seat_count && is_full && !pool->said_full) {
		pool->said_full = true;
		return "is overloaded: its queue is full, questions to it fail at once";
	}
	return NULL;
}

static void
tell(struct plugin_pool *pool, const char *news)
{
	if (news != NULL) {
		pool->self->house->host.log(pool->self, AVOCET_LOG_WARN, news, strlen(news));
	}
}

bool
plugin_pool_put(struct plugin_pool *pool, struct plugin_call *call)
{
	bool is_hung, is_full;
	const char *news;

	lock_take(&pool->lock);
	is_hung = pool->hung >= pool->seat_count;
	is_full = pool->queued >= pool->queue_max;
	news = take_news(pool, is_full);
	if (!is_hung && !is_full) {
		append(pool, call);
		cond_wake_one(&pool->work);
	}
	lock_give(&pool->lock);
	tell(pool, news);
	return !is_hung && !is_full;
}

static void
mark_late(struct plugin_pool *pool, struct plugin_seat *seat)
{
	pool->hung += !seat->is_late;
	seat->is_late = true;
}

/* A call has waited in the queue for all its time: what nobody waits for on the threads' side has
 * lasted as long, and is not waited for either. */
static void
mark_left(struct plugin_pool *pool)
{
	for (unsigned i = 0; i < pool->seat_count; i++) {
		struct plugin_seat *seat = &pool->seats[i];

		if (seat->number != 0 && seat->is_left) {
			mark_late(pool, seat);
		}
	}
}

enum plugin_late
plugin_pool_late(struct plugin_pool *pool, struct plugin_call *call)
{
	enum plugin_late late = PLUGIN_LATE_ASKED;
	const char *news;

	lock_take(&pool->lock);
	if (call->seat != NULL && call->seat->number == call->number) {
		call->seat->is_left = true;
		if (call->is_overdue) {
			mark_late(pool, call->seat);
		}
		late = PLUGIN_LATE_RUNNING;
	} else if (list_is_linked(&call->pool_link)) {
		struct plugin_strand *strand = call->strand;

		list_remove(&call->pool_link);
		call->strand = NULL;
		pool->queued--;
		if (list_is_empty(&strand->calls)) {
			list_remove(&strand->ready_link);
		}
		drop_if_idle(pool, strand);
		if (call->is_overdue) {
			mark_left(pool);
		}
		late = PLUGIN_LATE_NEVER_RAN;
	}
	news = take_news(pool, false);
	lock_give(&pool->lock);
	tell(pool, news);
	return late;
}

bool
plugin_pool_free(struct plugin_pool **pool_at)
{
	struct plugin_pool *pool = *pool_at;
	struct plugin_strand *item;
	bool hangs = false;

	*pool_at = NULL;
	if (pool == NULL) {
		return true;
	}
	lock_take(&pool->lock);
	pool->is_ending = true;
	cond_wake_all(&pool->work);
	lock_give(&pool->lock);
	for (unsigned i = 0; i < pool->seat_count; i++) {
		if (!thread_join(&pool->seats[i].thread, hangs ? 0 : JOIN_MS)) {
			hangs = true;
			thread_abandon(&pool->seats[i].thread);
		}
	}
	if (hangs) {
		log_error("plugin %s does not end: a thread hangs in it", pool->self->name);
		return false;
	}
	map_each (item, &pool->strands) {
		mem_free(&item);
	}
	map_fini(&pool->strands);
	cond_fini(&pool->work);
	lock_fini(&pool->lock);
	mem_free(&pool);
	return true;
}
