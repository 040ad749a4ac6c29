/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four workers mail each other and read, without a lock, objects that the others replace and
 * retire. Balls travel from worker to worker at random until their hops are used up, so there are
 * always some workers asleep and some awake. One worker floods another and stops for credit. For
 * the thread sanitizer (the order of memory) and the address sanitizer (use after free); without
 * either, for speed and lost wake-ups.
 */
#include "lib/unit.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/context.h"
#include "base/list.h"
#include "base/mem.h"
#include "loop/epoch.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "loop/worker.h"

enum { WORKERS = 5, BALLS = 6, HOPS = 4000, SLOTS = 8, FLOOD = 3000, PATIENCE_MS = 60000 };
enum { FLOOD_COST = 20000, MAGIC = 0x5eed };

struct shared {
	unsigned magic;
	unsigned twice; /* 2 * magic */
};

struct ball {
	struct mail mail;
	unsigned hops_left;
	unsigned hops; /* plain: it travels with the mail */
};

static struct loop *loop;
static _Atomic(struct shared *) slots[SLOTS];
static struct ball balls[BALLS];
static _Atomic unsigned home_count;
static _Atomic unsigned made_count;
static _Atomic unsigned freed_count;
static struct timer look;
static struct timer patience;
static bool ran_out;

static struct shared *
shared_new(unsigned magic)
{
	struct shared *shared = mem_alloc(sizeof(*shared));

	*shared = (struct shared){magic, 2 * magic};
	atomic_fetch_add_explicit(&made_count, 1, memory_order_relaxed);
	return shared;
}

static void
shared_free(void *memory)
{
	memset(memory, 0xff, sizeof(struct shared));
	mem_free(&memory);
	atomic_fetch_add_explicit(&freed_count, 1, memory_order_relaxed);
}

/* Holds what it has read while others may replace, retire and end their turns. */
static void
read_shared(struct worker *worker)
{
	const struct shared *held[SLOTS];

	for (unsigned i = 0; i < SLOTS; i++) {
		held[i] = atomic_load_explicit(&slots[i], memory_order_acquire);
	}
	if (worker_random(worker) % 8 == 0) {
		sched_yield();
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		assert_int_equal(held[i]->twice, 2 * held[i]->magic);
	}
	if (worker_random(worker) % 4 == 0) {
		unsigned at = (unsigned)(worker_random(worker) % SLOTS);
		struct shared *fresh = shared_new((unsigned)(worker_random(worker) % MAGIC));
		struct shared *old =
		    atomic_exchange_explicit(&slots[at], fresh, memory_order_acq_rel);

		epoch_retire(worker, old, shared_free);
		assert_int_equal(old->twice, 2 * old->magic); /* until the turn ends */
	}
}

static void
on_ball(struct worker *to, struct mail *mail)
{
	struct ball *ball = list_item(mail, struct ball, mail);

	read_shared(to);
	ball->hops++;
	if (--ball->hops_left != 0) {
		mail_send(to, loop_worker(loop, (unsigned)(worker_random(to) % WORKERS)), mail,
		    (uint32_t)sizeof(*ball));
	} else {
		atomic_fetch_add(&home_count, 1);
	}
}

/* --- a source that floods its target --- */

struct drop {
	struct mail mail;
	unsigned number;
};

static unsigned sent_count;    /* the source's */
static unsigned arrived_count; /* the target's */
static bool is_waiting;        /* the source's */

static void
on_drop(struct worker *to, struct mail *mail)
{
	struct drop *drop = list_item(mail, struct drop, mail);

	assert_int_equal(drop->number, arrived_count++);
	read_shared(to);
	mem_free(&drop);
}

static void
flood(struct worker *worker, void *arg)
{
	struct worker *target = loop_worker(loop, 2);

	(void)arg;
	while (sent_count < FLOOD && !is_waiting) {
		struct drop *drop = mem_alloc(sizeof(*drop));

		*drop = (struct drop){{.run = on_drop}, sent_count++};
		mail_send(worker, target, &drop->mail, FLOOD_COST);
		is_waiting = mail_is_over(worker, target) && mail_wait_credit(worker, target);
	}
}

static void
on_credit(struct worker *worker, struct worker *target, void *arg)
{
	assert_int_equal(worker_index(target), 2);
	is_waiting = false;
	flood(worker, arg);
}

/* --- the run --- */

static void
on_look(struct worker *worker, struct timer *timer)
{
	if (atomic_load(&home_count) == BALLS && mail_undigested(loop) == 0) {
		loop_stop(loop);
	} else {
		timer_set(worker, timer, context_current->mono_ms + 2);
	}
}

static void
on_patience(struct worker *worker, struct timer *timer)
{
	(void)worker;
	(void)timer;
	ran_out = true;
	loop_stop(loop);
}

static void
begin(struct worker *worker, void *arg)
{
	(void)arg;
	look.fn = on_look;
	timer_set(worker, &look, context_current->mono_ms + 2);
	patience.fn = on_patience;
	timer_set(worker, &patience, context_current->mono_ms + PATIENCE_MS);
	for (unsigned i = 0; i < BALLS; i++) {
		balls[i] = (struct ball){.mail.run = on_ball, .hops_left = HOPS};
		mail_send(worker, loop_worker(loop, i % WORKERS), &balls[i].mail,
		    (uint32_t)sizeof(*balls));
	}
}

static void
workers_that_mail_and_retire_lose_nothing_and_read_nothing_freed(void **state)
{
	struct loop_options options = {.log_level = LOG_LEVEL_INFO};
	static const char *const names[WORKERS] = {"main", "w1", "w2", "w3", "w4"};

	(void)state;
	loop = loop_new(&options);
	for (unsigned i = 0; i < WORKERS; i++) {
		loop_add_worker(loop, names[i]);
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		atomic_init(&slots[i], shared_new(i));
	}
	worker_on_start(loop_worker(loop, 0), begin, NULL);
	worker_on_start(loop_worker(loop, 1), flood, NULL);
	mail_on_credit(loop_worker(loop, 1), on_credit, NULL);
	assert_int_equal(loop_start(loop), 0);
	loop_run(loop);
	loop_join(loop);
	assert_false(ran_out);
	for (unsigned i = 0; i < BALLS; i++) {
		assert_int_equal(balls[i].hops, HOPS);
	}
	assert_int_equal(arrived_count, FLOOD);
	assert_int_equal(mail_undigested(loop), 0);
	assert_int_equal(made_count - freed_count, SLOTS);
	for (unsigned i = 0; i < SLOTS; i++) {
		shared_free(slots[i]);
	}
	loop_free(&loop);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(workers_that_mail_and_retire_lose_nothing_and_read_nothing_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
