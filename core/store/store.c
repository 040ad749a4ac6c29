/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's thread. It is woken by one mail, which is under way at most once; takes the list;
 * puts chunks into the cut up to a cap, whole ones; lets the engine commit; publishes; and if more
 * is there wakes itself again, so that a slow disk makes large cuts and a fast one small ones,
 * without a timer. While nobody waits for what is there, it may lie for an interval: then more of
 * it falls away, and a quiet broker writes less often.
 *
 * When a commit fails, the store is failing: the cut stays, takes in all that comes (and so shrinks
 * it to the newest of each thing), and is tried again each second. Nothing of it was or will be
 * answered negatively. The first commit that succeeds ends the state. An engine with little room
 * left commits and says so: then what is there goes on as usual, and nothing new is let in.
 */
#include "store/store.h"

#include "base/counter.h"
#include "base/err.h"
#include "base/log.h"
#include "loop/epoch.h"
#include "store/store_int.h"

enum {
	CUT_MAX_RECORDS = 4000, /* then it takes no further chunk; one commit stays short */
	CUT_MAX_BYTES = 4 << 20,
	RETRY_MS = 1000,
	MAX_WHY = 256,
	MS_NS = 1000000,
	SLOW_MS = 4, /* a commit that takes as long is a slow disk's … */
	MANY_RECORDS =
	    32, /* … and if so much was in it, more comes from those who waited for it … */
	GATHER_PART = 4,    /* … within this part of the time that it took … */
	GATHER_MAX_MS = 10, /* … or this */
};

/* --- chunks --- */

static void
push_chunk(struct store_chunks *chunks, struct store_chunk *chunk)
{
	if (chunks->last != NULL) {
		chunks->last->next = chunk;
	} else {
		chunks->first = chunk;
	}
	chunks->last = chunk;
}

static struct store_chunk *
pop_chunk(struct store_chunks *chunks)
{
	struct store_chunk *chunk = chunks->first;

	if (chunk != NULL) {
		chunks->first = chunk->next;
		chunk->next = NULL;
		if (chunks->first == NULL) {
			chunks->last = NULL;
		}
	}
	return chunk;
}

static void
free_chunks(struct store_chunks *chunks)
{
	struct store_chunk *chunk;

	while ((chunk = pop_chunk(chunks)) != NULL) {
		store_chunk_free(&chunk);
	}
}

static void
wake(struct store *store)
{
	if (!atomic_exchange(&store->waking, true)) {
		mail_post(store->worker, &store->wake);
	}
}

void
store_hurry(struct store *store)
{
	if (atomic_load_explicit(&store->interval_ms, memory_order_relaxed) != 0) {
		wake(store);
	}
}

void
store_set_interval(struct store *store, int64_t ms)
{
	atomic_store(&store->interval_ms, ms);
}

void
store_ask_idle(struct store *store)
{
	atomic_store(&store->wants_idle, true);
	wake(store);
}

void
store_hand_over(struct store *store, struct store_chunk *chunk)
{
	(void)atomic_fetch_add_explicit(&store->pending, chunk->cost, memory_order_relaxed);
	lock_take(&store->lock);
	push_chunk(&store->list, chunk);
	lock_give(&store->lock);
	wake(store);
}

/* Puts what the workers have handed over behind the backlog; true if anything is there. */
static bool
gather(struct store *store)
{
	struct store_chunks list;

	lock_take(&store->lock);
	list = store->list;
	store->list = (struct store_chunks){0};
	lock_give(&store->lock);
	if (list.first != NULL) {
		if (store->backlog.last != NULL) {
			store->backlog.last->next = list.first;
		} else {
			store->backlog.first = list.first;
		}
		store->backlog.last = list.last;
	}
	return store->backlog.first != NULL;
}

static bool
cut_is_empty(const struct store *store)
{
	return store->cut.records.first == NULL && list_is_empty(&store->cut.messages);
}

bool
store_has_work(struct store *store)
{
	return gather(store) || !cut_is_empty(store);
}

static void
fill_cut(struct store *store, bool whole)
{
	const struct store_cut *cut = &store->cut;
	struct store_chunk *chunk;

	(void)gather(store);
	while (whole || (cut->records.count < CUT_MAX_RECORDS && cut->cost < CUT_MAX_BYTES)) {
		chunk = pop_chunk(&store->backlog);
		if (chunk == NULL) {
			break;
		}
		if (chunk->port != NULL) {
			chunk->port->taken = chunk->ticket;
		}
		store_cut_absorb(&store->cut, chunk);
	}
}

/* --- committing --- */

static void
tell_all(struct store *store)
{
	for (size_t i = 0; i < store->ports.count; i++) {
		store_port_wake(store->ports.items[i]);
	}
}

static void
set_failing(struct store *store, enum store_result result, const char *why)
{
	counter_add(COUNTER_STORE_FAILURES, 1);
	if (!atomic_load(&store->failing)) {
		atomic_store(&store->failing, true);
		log_error("The store fails: %s. What needs it is refused or waits; trying again "
			  "each second.",
		    why[0] != '\0'       ? why
		    : result == STORE_IO ? "input/output error"
					 : "it is full");
		tell_all(store);
	}
	timer_set(store->worker, &store->retry_timer, context_current->mono_ms + RETRY_MS);
}

static void
set_well(struct store *store)
{
	if (atomic_load(&store->failing)) {
		atomic_store(&store->failing, false);
		timer_clear(store->worker, &store->retry_timer);
		log_info("The store works again.");
		tell_all(store);
	}
}

static void
publish(struct store *store)
{
	uint64_t cost = store->cut.cost;

	store_cut_settle(&store->cut);
	(void)atomic_fetch_sub_explicit(&store->pending, cost, memory_order_relaxed);
	for (size_t i = 0; i < store->ports.count; i++) {
		store_port_publish(store->ports.items[i]);
	}
}

/* Not the turn's time: a commit lies in between. */
static int64_t
now_ms(const struct store *store)
{
	return loop_now_ns(worker_loop(store->worker)) / MS_NS;
}

/*
 * Those whose acknowledgements leave now send again within a moment. If the next commit began at
 * once, it would find one half of them, and the one after it the other half: each would wait for
 * two commits instead of one. On a fast disk that costs less than to wait.
 */
static void
expect_more(struct store *store, int64_t took_ms)
{
	uint64_t answered = store->cut.cost;
	int64_t most_ms = took_ms / GATHER_PART;

	store->gathers_until_ms = 0;
	if (took_ms >= SLOW_MS && store->cut.records.count >= MANY_RECORDS) {
		most_ms = most_ms < GATHER_MAX_MS ? most_ms : GATHER_MAX_MS;
		store->gathers_until_ms = now_ms(store) + most_ms;
		/* `pending` has them still, so this is what is there already and nearly as much
		 * again. */
		store->gathers_bytes =
		    atomic_load_explicit(&store->pending, memory_order_relaxed) - answered / 8;
	}
}

/* A cut of which nothing is left needs no disk, but while it fails the engine is asked. */
static enum store_result
attempt(struct store *store, char *why)
{
	size_t count = store_cut_assemble(&store->cut);
	enum store_result result;

	if (count == 0 && !atomic_load(&store->failing)) {
		return STORE_OK;
	}
	counter_add(COUNTER_STORE_COMMITS, count != 0);
	epoch_leave(store->worker);
	result =
	    store->engine->ops->commit(store->engine, store->cut.ops.items, count, why, MAX_WHY);
	epoch_return(store->worker);
	return result;
}

/* What it has to do beside. */
static void
be_idle(struct store *store, bool busy)
{
	int64_t ms;

	atomic_store(&store->wants_idle, false);
	epoch_leave(store->worker);
	ms = store->engine->ops->idle(store->engine, busy);
	epoch_return(store->worker);
	if (ms >= 0) {
		timer_set(store->worker, &store->idle_timer, context_current->mono_ms + ms);
	} else {
		timer_clear(store->worker, &store->idle_timer);
	}
}

/* All that comes joins what failed, and so replaces it where it can. */
static void
hold(struct store *store)
{
	fill_cut(store, true);
	store_cut_trim(&store->cut);
}

static bool
is_stuck(const struct store *store)
{
	return atomic_load(&store->failing) && !store->is_low;
}

static void
commit(struct store *store)
{
	enum store_result result;
	char why[MAX_WHY] = "";
	int64_t begin_ms;

	store->is_lazy = store->is_gathering = false;
	fill_cut(store, is_stuck(store));
	begin_ms = now_ms(store);
	result = attempt(store, why);
	expect_more(store, now_ms(store) - begin_ms);
	store->is_low = result == STORE_LOW;
	if (result != STORE_OK) {
		set_failing(store, result, why);
	} else {
		set_well(store);
	}
	if (is_stuck(store)) {
		hold(store);
		return;
	}
	publish(store);
	if (store_has_work(store)) {
		if (atomic_load_explicit(&store->wants_idle, memory_order_relaxed)) {
			be_idle(store, true);
		}
		wake(store);
		return;
	}
	be_idle(store, false);
	store_drain_check(store);
}

/* --- when --- */

static bool
has_gathered(const struct store *store)
{
	return atomic_load_explicit(&store->pending, memory_order_relaxed) >= store->gathers_bytes;
}

/* Somebody waits, or there is much. */
static bool
is_urgent(struct store *store)
{
	if (store->drain.asked || atomic_load(&store->failing) ||
	    atomic_load_explicit(&store->pending, memory_order_relaxed) >= CUT_MAX_BYTES) {
		return true;
	}
	for (size_t i = 0; i < store->ports.count; i++) {
		if (atomic_load(&store->ports.items[i]->waits_set)) {
			return true;
		}
	}
	return false;
}

/* ms that what is there may lie; 0: not at all. */
static int64_t
find_delay(struct store *store)
{
	int64_t interval_ms = atomic_load_explicit(&store->interval_ms, memory_order_relaxed);
	int64_t delay = store->engine->ops->delay(store->engine);

	store->is_lazy = delay == 0 && interval_ms != 0 && !is_urgent(store);
	if (store->is_lazy) {
		return interval_ms;
	}
	store->is_gathering = delay == 0 && store->gathers_until_ms != 0 && !has_gathered(store) &&
			      now_ms(store) < store->gathers_until_ms;
	return store->is_gathering ? store->gathers_until_ms - now_ms(store) : delay;
}

/* What the timer was set for is there before its time. */
static bool
is_due(struct store *store)
{
	return (store->is_lazy && is_urgent(store)) || (store->is_gathering && has_gathered(store));
}

static void
work(struct store *store)
{
	int64_t delay;

	if (is_stuck(store)) {
		hold(store);
		return;
	}
	if ((timer_is_set(&store->commit_timer) && !is_due(store)) || !store_has_work(store)) {
		return;
	}
	timer_clear(store->worker, &store->commit_timer);
	delay = find_delay(store);
	if (delay > 0) {
		timer_set(store->worker, &store->commit_timer, now_ms(store) + delay);
	} else {
		commit(store);
	}
}

static void
run_wake(struct worker *worker, struct mail *mail)
{
	struct store *store = list_item(mail, struct store, wake);

	(void)worker;
	(void)atomic_exchange(&store->waking, false);
	work(store);
	if (atomic_load(&store->wants_idle)) {
		be_idle(store, store_has_work(store));
	}
}

static void
on_commit_timer(struct worker *worker, struct timer *timer)
{
	(void)worker;
	commit(list_item(timer, struct store, commit_timer));
}

/* The engine may open what it has closed, or make room. */
static void
on_retry_timer(struct worker *worker, struct timer *timer)
{
	struct store *store = list_item(timer, struct store, retry_timer);

	(void)worker;
	be_idle(store, true);
	commit(store);
}

static void
on_idle_timer(struct worker *worker, struct timer *timer)
{
	struct store *store = list_item(timer, struct store, idle_timer);

	(void)worker;
	if (!is_stuck(store)) {
		be_idle(store, store_has_work(store));
	}
}

/* --- life --- */

static void
on_start(struct worker *worker, void *arg)
{
	struct store *store = arg;

	worker_random_fill(worker, &store->cut.items.hash_key, sizeof(store->cut.items.hash_key));
	while (store->orphans.count != 0) {
		struct msg *msg = vec_pop(&store->orphans);

		store_cut_orphan(&store->cut, msg);
		msg_unref(&msg);
	}
	if (store_has_work(store)) {
		wake(store);
	}
}

static void
on_stop(struct worker *worker, void *arg)
{
	struct store *store = arg;

	timer_clear(worker, &store->commit_timer);
	timer_clear(worker, &store->retry_timer);
	timer_clear(worker, &store->idle_timer);
}

struct store *
store_new(struct store_engine *engine, struct worker *worker)
{
	struct store *store = mem_zalloc(sizeof(*store));

	store->engine = engine;
	store->worker = worker;
	store->drain.store = store;
	store->wake.run = run_wake;
	store->commit_timer.fn = on_commit_timer;
	store->retry_timer.fn = on_retry_timer;
	store->idle_timer.fn = on_idle_timer;
	lock_init(&store->lock);
	store_cut_init(&store->cut, (struct hash_key){0});
	if (engine != NULL) {
		worker_on_start(worker, on_start, store);
		worker_on_stop(worker, on_stop, store);
	}
	return store;
}

struct store_port *
store_add_port(struct store *store, struct worker *worker)
{
	struct store_port *port;

	if (store->engine == NULL) {
		return NULL;
	}
	port = store_port_new(store, worker);
	vec_push(&store->ports, port);
	return port;
}

void
store_free(struct store **store)
{
	struct store *gone = *store;
	bool is_clean;

	*store = NULL;
	if (gone == NULL) {
		return;
	}
	for (size_t i = 0; i < gone->ports.count; i++) {
		store_port_free(&gone->ports.items[i]);
	}
	while (gone->orphans.count != 0) {
		struct msg *msg = vec_pop(&gone->orphans);

		msg_unref(&msg);
	}
	is_clean = gone->is_loaded && !store_has_work(gone) && !atomic_load(&gone->failing);
	free_chunks(&gone->list);
	free_chunks(&gone->backlog);
	store_cut_fini(&gone->cut);
	if (gone->engine != NULL) {
		gone->engine->ops->free(gone->engine, is_clean);
	}
	vec_fini(&gone->ports);
	vec_fini(&gone->orphans);
	lock_fini(&gone->lock);
	mem_free(&gone);
}
