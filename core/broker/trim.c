/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C library keeps what queues have freed. When they have lost much since they were fullest, and
 * have stopped losing it, it is given back to the system, and once more a little later. It is a
 * client worker that notices, at the end of a turn; main does it, a moment later.
 */
#include "base/mem.h"
#include "broker/broker_int.h"

enum { LOOK_MS = 1000, LATER_MS = 5000, MOST_LOOKS = 10, MUCH = 32 << 20, LITTLE = 1 << 20 };

static int64_t
queued(const struct broker_trim *trim)
{
	return atomic_load_explicit(&trim->house->sessions.queued_bytes, memory_order_relaxed);
}

static void
on_timer(struct worker *worker, struct timer *timer)
{
	struct broker_trim *trim = list_item(timer, struct broker_trim, timer);
	int64_t now = queued(trim), before = trim->seen;

	trim->seen = now;
	if (now < before - LITTLE && ++trim->looks < MOST_LOOKS) {
		timer_set(worker, timer, context_current->mono_ms + LOOK_MS);
		return;
	}
	if (now < atomic_load(&trim->peak) - MUCH) {
		mem_trim();
		atomic_store(&trim->peak, now);
		/* And what the store still held then. */
		timer_set(worker, timer, context_current->mono_ms + LATER_MS);
		trim->is_last = true;
		return;
	}
	if (trim->is_last) {
		mem_trim();
		trim->is_last = false;
	}
	atomic_store(&trim->is_asked, false);
}

static void
on_asked(struct worker *worker, struct mail *mail)
{
	struct broker_trim *trim = list_item(mail, struct broker_trim, mail);

	trim->seen = queued(trim);
	trim->looks = 0;
	if (trim->timer.fn != NULL) {
		timer_set(worker, &trim->timer, context_current->mono_ms + LOOK_MS);
	}
}

/* On a client worker, each turn. */
static void
on_turn(struct worker *worker, void *arg)
{
	struct broker_trim *trim = arg;
	int64_t now = queued(trim), peak = atomic_load_explicit(&trim->peak, memory_order_relaxed);

	if (now > peak) {
		/* Two workers may both be right for a moment. */
		atomic_store_explicit(&trim->peak, now, memory_order_relaxed);
	} else if (now < peak - MUCH &&
		   !atomic_load_explicit(&trim->is_asked, memory_order_relaxed) &&
		   !atomic_exchange(&trim->is_asked, true)) {
		mail_post(trim->house->main.worker, &trim->mail);
	}
	(void)worker;
}

void
broker_trim_init(struct broker_trim *trim, struct broker_house *house)
{
	trim->house = house;
	trim->timer.fn = on_timer;
	trim->mail.run = on_asked;
	for (unsigned i = 0; i < house->count; i++) {
		worker_on_phase(house->hands[i].worker, WORKER_SETTLE, on_turn, trim);
	}
}

/* is_asked stays as it is: nobody asks again. */
void
broker_trim_stop(struct broker_trim *trim)
{
	timer_clear(trim->house->main.worker, &trim->timer);
	trim->timer.fn = NULL;
}
