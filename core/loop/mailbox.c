/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mail. A worker gathers what it sends in one chain per target; at the end of its turn it appends
 * each chain to the target's mailbox in one step under the mailbox's lock. The target takes
 * everything that is there in one step too, and runs it in order; what the cap leaves over stays at
 * the front. So a mail costs no allocation and no atomic operation, a batch costs one lock and one
 * atomic addition.
 *
 * Sleeping: a worker that finds its mailbox empty sets `waits` under the lock. Who appends takes
 * the flag away under the lock, and only who has taken it wakes: one wake-up per sleep. A worker
 * that woke for another reason clears the flag without the lock; at worst it is woken once too
 * often.
 *
 * Credit: `undigested` of a pair is raised by the source when it flushes and lowered by the target
 * at the end of the turn in which it ran the mail. The source sets `waits` and then reads
 * `undigested`; the target lowers `undigested` and then reads `waits`. All four are sequentially
 * consistent, so one of the two sees the other's step. The target answers with the pair's own mail
 * `credit`, which cannot be under way twice: the source sets `waits` only when the last one has
 * come back (is_asked).
 *
 * mail_undigested does not sum over pairs, which could miss mail that moves on while it is looking:
 * each worker counts what it has sent (when it sends) and what it has digested (when the turn is
 * over, so after everything was sent that this digesting caused). Who reads all that was digested
 * first, and then all that was sent, finds them equal only if there was a moment in between without
 * mail under way.
 */
#include "loop/mailbox.h"

#include <assert.h>

#include "base/mem.h"
#include "loop/worker_int.h"

enum { NO_SOURCE = UINT16_MAX, MAIL_PER_LOOK = 8 };

static void run_credit(struct worker *worker, struct mail *mail);

void
mail_desk_init(struct worker *worker)
{
	worker->desk = worker_alloc(sizeof(*worker->desk));
	lock_init(&worker->mailbox.lock);
	for (unsigned i = 0; i < WORKER_MAX; i++) {
		worker->desk->pairs[i].credit.run = run_credit;
	}
}

void
mail_desk_fini(struct worker *worker)
{
	vec_fini(&worker->desk->calls);
	mem_free(&worker->desk);
	lock_fini(&worker->mailbox.lock);
}

/* --- the mailbox --- */

/* Takes the flag of a sleeping worker; under its lock. True: the caller wakes it. */
static bool
take_waits(struct mailbox *box)
{
	if (!atomic_load_explicit(&box->waits, memory_order_relaxed)) {
		return false;
	}
	atomic_store_explicit(&box->waits, false, memory_order_relaxed);
	return true;
}

static void
wake(struct worker *worker)
{
	counter_add(COUNTER_LOOP_WAKEUPS, 1);
	loop_native_wake(worker);
}

/* Appends a chain that ends with NULL. */
static void
append(struct worker *to, struct mail *first, struct mail *last)
{
	struct mailbox *box = &to->mailbox;
	bool must_wake;

	lock_take(&box->lock);
	if (box->last != NULL) {
		box->last->next = first;
	} else {
		atomic_store_explicit(&box->first, first, memory_order_relaxed);
	}
	box->last = last;
	must_wake = take_waits(box);
	lock_give(&box->lock);
	if (must_wake) {
		wake(to);
	}
}

/* All that is in the box; NULL: nothing. Mail that comes at this moment may be overlooked. */
static struct mail *
take_all(struct mailbox *box)
{
	struct mail *first;

	if (atomic_load_explicit(&box->first, memory_order_relaxed) == NULL) {
		return NULL;
	}
	lock_take(&box->lock);
	first = atomic_load_explicit(&box->first, memory_order_relaxed);
	atomic_store_explicit(&box->first, NULL, memory_order_relaxed);
	box->last = NULL;
	lock_give(&box->lock);
	return first;
}

bool
mail_begin_wait(struct worker *worker)
{
	struct mailbox *box = &worker->mailbox;
	bool is_main = worker->index == 0;
	bool is_quiet;

	lock_take(&box->lock);
	is_quiet = box->last == NULL && !atomic_load(&box->is_stopping) &&
		   !(is_main && atomic_load(&worker->loop->log_is_pending));
	atomic_store_explicit(&box->waits, is_quiet, memory_order_relaxed);
	lock_give(&box->lock);
	return is_quiet;
}

void
mail_end_wait(struct worker *worker)
{
	atomic_store_explicit(&worker->mailbox.waits, false, memory_order_relaxed);
}

void
mail_kick(struct worker *worker)
{
	bool must_wake;

	lock_take(&worker->mailbox.lock);
	must_wake = take_waits(&worker->mailbox);
	lock_give(&worker->mailbox.lock);
	if (must_wake) {
		wake(worker);
	}
}

void
mail_stop(struct worker *worker)
{
	atomic_store(&worker->mailbox.is_stopping, true);
	mail_kick(worker);
}

/* --- sending --- */

static void
count_sent(struct mail_desk *desk, uint32_t cost)
{
	atomic_store_explicit(&desk->sent_total,
	    atomic_load_explicit(&desk->sent_total, memory_order_relaxed) + cost,
	    memory_order_release);
}

void
mail_send(struct worker *from, struct worker *to, struct mail *mail, uint32_t cost)
{
	struct mail_desk *desk = from->desk;
	struct mail_outbox *out = &desk->out[to->index];

	mail->next = NULL;
	mail->cost = cost;
	mail->source = from->index;
	mail->counted = true;
	if (out->last != NULL) {
		out->last->next = mail;
	} else {
		out->first = mail;
		desk->dirty[desk->dirty_count++] = to->index;
	}
	out->last = mail;
	out->cost += cost;
	count_sent(desk, cost);
}

void
mail_post(struct worker *to, struct mail *mail)
{
	mail->next = NULL;
	mail->cost = 0;
	mail->source = NO_SOURCE;
	mail->counted = false;
	append(to, mail, mail);
}

static void
flush_to(struct worker *from, unsigned target)
{
	struct mail_outbox *out = &from->desk->out[target];
	struct mail_outbox batch = *out;

	*out = (struct mail_outbox){0};
	atomic_fetch_add(&from->desk->pairs[target].undigested, batch.cost);
	append(from->loop->workers[target], batch.first, batch.last);
}

/* --- digesting --- */

static void
note_digested(struct mail_desk *desk, const struct mail *mail)
{
	if (mail->counted && mail->cost != 0) {
		if (desk->digested[mail->source] == 0) {
			desk->touched[desk->touched_count++] = mail->source;
		}
		desk->digested[mail->source] += mail->cost;
		desk->turn_digested += mail->cost;
	}
}

/* Asked after every MAIL_PER_LOOK; the time begins with the first asking, so that a turn with
 * little mail reads no clock. */
static bool
is_time_over(const struct worker *worker, int64_t *end_ns)
{
	int64_t now_ns;

	if (worker->mail_ns == 0) {
		return false;
	}
	now_ns = loop_now_ns(worker->loop);
	if (*end_ns == 0) {
		*end_ns = now_ns + worker->mail_ns;
	}
	return now_ns >= *end_ns;
}

void
mail_run(struct worker *worker, unsigned most)
{
	struct mail_desk *desk = worker->desk;
	int64_t end_ns = 0;
	unsigned count = 0;

	while (count < most) {
		struct mail *mail = desk->taken;

		if (mail == NULL) {
			desk->taken = take_all(&worker->mailbox);
			if (desk->taken == NULL) {
				break;
			}
			continue;
		}
		desk->taken = mail->next;
		note_digested(desk, mail);
		mail->run(worker, mail);
		if (++count % MAIL_PER_LOOK == 0 && is_time_over(worker, &end_ns)) {
			break;
		}
	}
	if (count != 0) {
		counter_add(COUNTER_LOOP_MAILS, count);
	}
}

/* Gives one source its credit back, and wakes it if it waits for that. */
static void
give_credit(struct worker *worker, unsigned source)
{
	struct worker *from = worker->loop->workers[source];
	struct mail_pair *pair = &from->desk->pairs[worker->index];
	uint64_t cost = worker->desk->digested[source];

	worker->desk->digested[source] = 0;
	if (atomic_fetch_sub(&pair->undigested, cost) - cost <= MAIL_CREDIT &&
	    atomic_load(&pair->waits) && atomic_exchange(&pair->waits, false)) {
		mail_post(from, &pair->credit);
	}
}

void
mail_flush(struct worker *worker)
{
	struct mail_desk *desk = worker->desk;

	for (unsigned i = 0; i < desk->dirty_count; i++) {
		flush_to(worker, desk->dirty[i]);
	}
	desk->dirty_count = 0;
	for (unsigned i = 0; i < desk->touched_count; i++) {
		give_credit(worker, desk->touched[i]);
	}
	desk->touched_count = 0;
}

void
mail_end_turn(struct worker *worker)
{
	struct mail_desk *desk = worker->desk;

	if (desk->turn_digested != 0) {
		atomic_store_explicit(&desk->digested_total,
		    atomic_load_explicit(&desk->digested_total, memory_order_relaxed) +
			desk->turn_digested,
		    memory_order_release);
		desk->turn_digested = 0;
	}
}

bool
mail_is_waiting(const struct worker *worker)
{
	return worker->desk->taken != NULL || worker->desk->dirty_count != 0 ||
	       atomic_load_explicit(&worker->mailbox.first, memory_order_relaxed) != NULL;
}

/* --- credit --- */

bool
mail_is_over(const struct worker *from, const struct worker *to)
{
	const struct mail_desk *desk = from->desk;

	return atomic_load(&desk->pairs[to->index].undigested) + desk->out[to->index].cost >
	       MAIL_CREDIT;
}

bool
mail_wait_credit(struct worker *from, const struct worker *to)
{
	struct mail_pair *pair = &from->desk->pairs[to->index];

	if (pair->is_asked) {
		return true;
	}
	pair->is_asked = true;
	atomic_store(&pair->waits, true);
	if (mail_is_over(from, to)) {
		return true;
	}
	/* Too late to take it back when the target has taken the flag: then `credit` is under way.
	 */
	pair->is_asked = !atomic_exchange(&pair->waits, false);
	return pair->is_asked;
}

/* On the source: the target has given credit back. Since then it may have been used up again. */
static void
run_credit(struct worker *worker, struct mail *mail)
{
	struct mail_pair *pair = list_item(mail, struct mail_pair, credit);
	struct worker *target = worker->loop->workers[pair - worker->desk->pairs];

	pair->is_asked = false;
	if (mail_is_over(worker, target) && mail_wait_credit(worker, target)) {
		return;
	}
	for (size_t i = 0; i < worker->desk->calls.count; i++) {
		const struct mail_credit_call *call = &worker->desk->calls.items[i];

		call->fn(worker, target, call->arg);
	}
}

void
mail_on_credit(struct worker *worker, mail_credit_fn *fn, void *arg)
{
	vec_push(&worker->desk->calls, (struct mail_credit_call){.fn = fn, .arg = arg});
}

uint64_t
mail_undigested(struct loop *loop)
{
	uint64_t digested = 0;
	uint64_t sent = 0;

	for (unsigned i = 0; i < loop->worker_count; i++) {
		digested += atomic_load_explicit(
		    &loop->workers[i]->desk->digested_total, memory_order_acquire);
	}
	for (unsigned i = 0; i < loop->worker_count; i++) {
		sent +=
		    atomic_load_explicit(&loop->workers[i]->desk->sent_total, memory_order_acquire);
	}
	return sent - digested;
}
