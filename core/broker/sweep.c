/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retained messages that have expired are deleted when somebody meets them; those that nobody meets
 * are found here, every ten seconds, so many at a time that all are looked at within ten minutes.
 * An idle broker without retained messages sleeps: it is a client worker that sees the first one,
 * at the end of a turn, and tells main.
 */
#include "broker/broker_int.h"

enum { EVERY_MS = 10000, LEAST = 1000, MOST = 20000, CALLS_PER_ROUND = 60 };

static uint64_t
count_retained(const struct broker_sweep *sweep)
{
	struct topic_retain_stats stats;

	topic_retain_stats(sweep->house->sessions.retain, &stats);
	return stats.messages;
}

static void
set_timer(struct broker_sweep *sweep)
{
	timer_set(sweep->house->main.worker, &sweep->timer, context_current->mono_ms + EVERY_MS);
}

/* Main's own port: the operation is written under the lock of the topic's shard. */
static void
write_deletion(void *arg, struct topic_retained *entry, struct msg_applied *applied,
    struct msg *msg, uint64_t version)
{
	const struct broker_sweep *sweep = arg;

	(void)msg; /* NULL: it is gone */
	(void)store_put(sweep->house->main.port, &(struct store_op){
						     .kind = STORE_RETAIN_DEL,
						     .version = version,
						     .applied = applied,
						     .entry = entry,
						     .entry_release = topic_retained_release,
						     .key = topic_retained_topic(entry),
						 });
}

static void
on_timer(struct worker *worker, struct timer *timer)
{
	struct broker_sweep *sweep = list_item(timer, struct broker_sweep, timer);
	uint64_t count = count_retained(sweep);
	uint64_t budget = count / CALLS_PER_ROUND;

	(void)worker;
	if (count == 0) {
		atomic_store(&sweep->is_running, false);
		return;
	}
	budget = budget < LEAST ? LEAST : budget > MOST ? MOST : budget;
	topic_retain_sweep(sweep->house->sessions.retain, context_current->mono_ms,
	    (unsigned)budget, store_is_null(sweep->house->main.port) ? NULL : write_deletion,
	    sweep);
	set_timer(sweep);
}

static void
on_asked(struct worker *worker, struct mail *mail)
{
	struct broker_sweep *sweep = list_item(mail, struct broker_sweep, mail);

	(void)worker;
	if (sweep->timer.fn != NULL) {
		set_timer(sweep);
	}
}

/* On a client worker, each turn. */
static void
on_turn(struct worker *worker, void *arg)
{
	struct broker_sweep *sweep = arg;

	(void)worker;
	if (atomic_load_explicit(&sweep->is_running, memory_order_relaxed) ||
	    count_retained(sweep) == 0) {
		return;
	}
	if (!atomic_exchange(&sweep->is_running, true)) {
		mail_post(sweep->house->main.worker, &sweep->mail);
	}
}

void
broker_sweep_init(struct broker_sweep *sweep, struct broker_house *house)
{
	sweep->house = house;
	sweep->timer.fn = on_timer;
	sweep->mail.run = on_asked;
	for (unsigned i = 0; i < house->count; i++) {
		worker_on_phase(house->hands[i].worker, WORKER_SETTLE, on_turn, sweep);
	}
}

/* is_running stays as it is: nobody asks again. */
void
broker_sweep_stop(struct broker_sweep *sweep)
{
	timer_clear(sweep->house->main.worker, &sweep->timer);
	sweep->timer.fn = NULL;
}
