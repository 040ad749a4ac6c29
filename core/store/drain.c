/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shutdown: main asks by mail, the store's thread answers by mail as soon as nothing waits, and a
 * timer of main's is faster if that takes too long. A late answer finds nobody who asks.
 */
#include "store/store_int.h"

static void
finish(struct store_drain *drain, bool durable)
{
	store_drain_fn *fn = drain->fn;

	drain->fn = NULL;
	timer_clear(drain->main, &drain->timer);
	if (fn != NULL) {
		fn(drain->main, durable, drain->arg);
	}
}

static void
on_deadline(struct worker *main, struct timer *timer)
{
	struct store_drain *drain = list_item(timer, struct store_drain, timer);

	(void)main;
	finish(drain, drain->store->engine == NULL);
}

static void
run_answer(struct worker *main, struct mail *mail)
{
	struct store_drain *drain = list_item(mail, struct store_drain, answer);

	(void)main;
	drain->is_open = false;
	finish(drain, true);
}

static void
run_question(struct worker *worker, struct mail *mail)
{
	struct store_drain *drain = list_item(mail, struct store_drain, question);

	(void)worker;
	drain->asked = true;
	store_hurry(drain->store);
	store_drain_check(drain->store);
}

void
store_drain_check(struct store *store)
{
	struct store_drain *drain = &store->drain;

	if (drain->asked && !store_has_work(store)) {
		drain->asked = false;
		mail_post(drain->main, &drain->answer);
	}
}

/* What main itself has written in this turn is to be in it. */
static void
hand_over_mains(struct store *store, const struct worker *main)
{
	for (size_t i = 0; i < store->ports.count; i++) {
		if (store->ports.items[i]->worker == main) {
			store_port_hand_over(store->ports.items[i]);
		}
	}
}

void
store_drain(
    struct store *store, struct worker *main, int64_t deadline_ms, store_drain_fn *fn, void *arg)
{
	struct store_drain *drain = &store->drain;
	bool is_null = store->engine == NULL;

	drain->main = main;
	drain->fn = fn;
	drain->arg = arg;
	drain->timer.fn = on_deadline;
	drain->question.run = run_question;
	drain->answer.run = run_answer;
	timer_set(main, &drain->timer, is_null ? context_current->mono_ms : deadline_ms);
	if (is_null || drain->is_open) {
		return;
	}
	drain->is_open = true;
	hand_over_mains(store, main);
	mail_post(store->worker, &drain->question);
}
