/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets, waiting, failing, late engines, draining, loading. */
#include "unit/store/house.h"

static struct house house;
static struct spy spy;

static int
begin(void **state)
{
	(void)state;
	house_open(&house, spy_init(&spy), 3);
	assert_int_equal(loop_start(house.loop), 0);
	house_settle(&house);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	house_close(&house);
	return 0;
}

static uint64_t
put(int at, uint64_t sid)
{
	return house_put(&house, at, &(struct store_op){.kind = STORE_SESSION_PUT, .sid = sid});
}

/* --- tickets --- */

struct waiter {
	struct store_wait wait;
	int at;
	int number;
	uint64_t again; /* a ticket to wait for when this one came */
	bool cancels;
	struct waiter *other;
};

static int order[16], order_count;

static void
came(struct store_wait *wait)
{
	struct waiter *waiter = list_item(wait, struct waiter, wait);

	assert_true(store_is_durable(house.ports[waiter->at], wait->ticket));
	assert_ptr_equal(context_current->counters, worker_counters(house.workers[waiter->at]));
	order[order_count++] = waiter->number;
	if (waiter->again != 0) {
		uint64_t ticket = waiter->again;

		waiter->again = 0;
		store_wait(house.ports[waiter->at], wait, ticket);
	}
	if (waiter->cancels) {
		store_wait_cancel(house.ports[waiter->at], &waiter->other->wait);
	}
}

static void
wait_for(struct waiter *waiter, int at, int number, uint64_t ticket)
{
	*waiter = (struct waiter){.at = at, .number = number, .wait.fn = came};
	sim_enter(house.workers[at]);
	store_wait(house.ports[at], &waiter->wait, ticket);
	sim_leave();
}

static void
tickets_of_a_port_rise_and_become_durable_in_order(void **state)
{
	struct waiter waiters[5];
	uint64_t first, second, other;

	(void)state;
	order_count = 0;
	spy.fails = true;
	first = put(1, 1);
	assert_int_equal(put(1, 2), first); /* the same turn */
	assert_false(store_is_durable(house.ports[1], first));
	assert_true(store_is_durable(house.ports[1], 0));
	wait_for(&waiters[0], 1, 0, first);
	house_settle(&house);
	second = put(1, 3);
	other = put(2, 4);
	assert_true(second > first);
	wait_for(&waiters[1], 1, 1, second);
	wait_for(&waiters[2], 1, 2, first); /* asked later, but comes before */
	wait_for(&waiters[3], 1, 3, second);
	wait_for(&waiters[4], 2, 4, other);
	house_settle(&house);
	assert_int_equal(order_count, 0);
	spy.fails = false;
	sim_advance(house.loop, 1100);
	assert_true(store_is_durable(house.ports[1], second));
	assert_true(store_is_durable(house.ports[2], other));
	assert_int_equal(order_count, 5);
	for (int i = 0, next = 0; i < order_count; i++) {
		static const int expected[] = {0, 2, 1, 3};

		if (order[i] != 4) {
			assert_int_equal(order[i], expected[next++]);
		}
	}
}

static void
a_wait_may_begin_again_cancel_others_or_be_late(void **state)
{
	struct waiter one, two, late;
	uint64_t first, second;

	(void)state;
	order_count = 0;
	spy.delay_ms = 10;
	first = put(0, 1);
	wait_for(&one, 0, 1, first);
	wait_for(&two, 0, 2, first);
	one.cancels = true;
	one.other = &two;
	house_settle(&house);
	sim_advance(house.loop, 20);
	assert_int_equal(order_count, 1);
	assert_int_equal(order[0], 1);
	assert_false(list_is_linked(&two.wait.link));
	wait_for(&late, 0, 3, first); /* it is durable already */
	late.again = second = put(0, 2);
	assert_int_equal(order_count, 1); /* but never at once */
	house_settle(&house);
	assert_int_equal(order_count, 2);
	assert_true(list_is_linked(&late.wait.link));
	sim_advance(house.loop, 20);
	assert_int_equal(order_count, 3);
	assert_true(store_is_durable(house.ports[0], second));
}

/* --- phases --- */

static uint64_t late_ticket;

static void
write_late(struct worker *worker, void *arg)
{
	(void)worker;
	if (arg == &late_ticket && late_ticket == 0) {
		late_ticket = store_put(
		    house.ports[1], &(struct store_op){.kind = STORE_SESSION_PUT, .sid = 1});
	}
}

static void
what_is_written_behind_phase_store_is_handed_over_too(void **state)
{
	(void)state;
	late_ticket = 0;
	sim_enter(house.workers[1]);
	worker_on_phase(house.workers[1], WORKER_WRITE, write_late, &late_ticket);
	sim_leave();
	house_settle(&house);
	assert_int_not_equal(late_ticket, 0);
	assert_true(store_is_durable(house.ports[1], late_ticket));
}

static int looks;

static void
look_behind_port(struct worker *worker, void *arg)
{
	(void)worker;
	(void)arg;
	looks += store_pending_bytes(house.ports[1]) != 0;
}

/* Mail leaves after phase STORE, so whoever gets it writes behind us. */
static void
a_chunk_is_handed_over_before_mail_leaves(void **state)
{
	(void)state;
	looks = 0;
	spy.delay_ms = 5;
	worker_on_phase(house.workers[1], WORKER_STORE, look_behind_port, NULL);
	(void)put(1, 1);
	house_settle(&house);
	assert_int_equal(looks, 1);
}

static void
a_large_pile_is_committed_in_several_cuts(void **state)
{
	(void)state;
	spy.delay_ms = 5;
	for (unsigned chunk = 0; chunk < 5; chunk++) {
		for (unsigned i = 0; i < 1500; i++) {
			(void)put(0, 1 + chunk * 1500 + i);
		}
		house_settle(&house);
	}
	spy.delay_ms = 0;
	sim_advance(house.loop, 20);
	assert_int_equal(spy.commits, 2);
	assert_int_equal(spy.last_count, 3000); /* whole chunks: 3 + 2 */
	assert_int_equal(store_pending_bytes(house.ports[0]), 0);
}

static void
a_late_engine_gathers_more(void **state)
{
	uint64_t ticket;

	(void)state;
	spy.delay_ms = 50;
	(void)put(0, 1);
	house_settle(&house);
	sim_advance(house.loop, 30);
	assert_int_equal(spy.commits, 0);
	ticket = put(1, 2);
	house_settle(&house);
	sim_advance(house.loop, 30);
	assert_said(&spy, "session+1 session+2 | ");
	assert_true(store_is_durable(house.ports[1], ticket));
}

static void
the_engine_is_asked_when_idle_until_it_is_content(void **state)
{
	(void)state;
	spy.idle_ms = 10;
	(void)put(0, 1);
	house_settle(&house);
	assert_int_equal(spy.idles, 1);
	sim_advance(house.loop, 25);
	assert_int_equal(spy.idles, 3);
	spy.idle_ms = -1;
	sim_advance(house.loop, 1000);
	assert_int_equal(spy.idles, 4);
}

/* --- failing --- */

static int begun, ended;

static void
on_state(struct store_port *port, bool failing, void *arg)
{
	assert_ptr_equal(arg, &begun);
	assert_int_equal(store_is_failing(port), failing);
	begun += failing;
	ended += !failing;
}

static void
failing_is_a_state_that_ends_by_itself(void **state)
{
	uint64_t before;

	(void)state;
	begun = ended = 0;
	for (int i = 0; i < HOUSE_PORTS; i++) {
		store_on_state(house.ports[i], on_state, &begun);
	}
	assert_false(store_is_failing(house.ports[0]));
	assert_int_equal(store_pending_bytes(house.ports[0]), 0);
	spy.delay_ms = 5;
	(void)put(0, 1);
	house_settle(&house);
	before = store_pending_bytes(house.ports[2]);
	assert_true(before > 0);
	spy.fails = true;
	sim_advance(house.loop, 10);
	assert_true(store_is_failing(house.ports[1]));
	assert_int_equal(store_pending_bytes(house.ports[2]), 0);
	assert_int_equal(begun, HOUSE_PORTS);
	sim_advance(house.loop, 5000);
	assert_int_equal(spy.commits, 6);
	assert_int_equal(begun, HOUSE_PORTS);
	assert_int_equal(house_count(&house, COUNTER_STORE_FAILURES), 6);
	spy.fails = false;
	sim_advance(house.loop, 1100);
	assert_false(store_is_failing(house.ports[1]));
	assert_int_equal(ended, HOUSE_PORTS);
	assert_int_equal(store_pending_bytes(house.ports[2]), 0);
}

static void
a_message_counts_once_for_all_its_rows(void **state)
{
	struct msg *msg = house_msg("topic", "payload", 1);
	uint64_t one, ten;

	(void)state;
	spy.delay_ms = 5;
	(void)house_put(
	    &house, 0, &(struct store_op){.kind = STORE_QUEUE_PUT, .sid = 1, .qid = 1, .msg = msg});
	house_settle(&house);
	one = store_pending_bytes(house.ports[0]);
	assert_true(one > msg_size(msg));
	sim_advance(house.loop, 10);
	for (uint64_t i = 2; i < 12; i++) {
		(void)house_put(&house, 0,
		    &(struct store_op){.kind = STORE_QUEUE_PUT, .sid = 1, .qid = i, .msg = msg});
	}
	house_settle(&house);
	ten = store_pending_bytes(house.ports[0]);
	assert_int_equal(ten - msg_size(msg), 10 * (one - msg_size(msg)));
	sim_advance(house.loop, 10);
	msg_unref(&msg);
}

/* --- draining --- */

static int drained, late;

static void
on_drained(struct worker *worker, bool durable, void *arg)
{
	assert_ptr_equal(worker, house.workers[0]);
	assert_ptr_equal(arg, &drained);
	drained += durable;
	late += !durable;
}

static void
drain(int64_t ms)
{
	drained = late = 0;
	sim_enter(house.workers[0]);
	store_drain(
	    house.store, house.workers[0], context_current->mono_ms + ms, on_drained, &drained);
	sim_leave();
}

static void
draining_ends_when_all_is_durable(void **state)
{
	uint64_t ticket, mains;

	(void)state;
	drain(1000);
	house_settle(&house);
	assert_int_equal(drained, 1); /* nothing was there */
	spy.delay_ms = 20;
	ticket = put(1, 1);
	house_settle(&house);
	mains = put(0, 2);
	drain(1000);
	house_settle(&house);
	assert_int_equal(drained, 0);
	sim_advance(house.loop, 50);
	assert_int_equal(drained, 1);
	assert_true(store_is_durable(house.ports[1], ticket));
	assert_true(store_is_durable(house.ports[0], mains));
	sim_advance(house.loop, 5000);
	assert_int_equal(drained + late, 1);
}

static void
draining_ends_at_its_deadline(void **state)
{
	(void)state;
	spy.fails = true;
	(void)put(1, 1);
	drain(3500);
	sim_advance(house.loop, 3000);
	assert_int_equal(late, 0);
	sim_advance(house.loop, 1000);
	assert_int_equal(late, 1);
	spy.fails = false;
	sim_advance(house.loop, 5000);
	assert_int_equal(drained, 0);
}

static void
what_nobody_waits_for_may_lie_for_the_interval(void **state)
{
	struct waiter waiter;
	uint64_t ticket;

	(void)state;
	order_count = 0;
	store_set_interval(house.store, 200);
	(void)put(0, 1);
	sim_advance(house.loop, 150);
	assert_int_equal(spy.commits, 0);
	(void)put(1, 2);
	sim_advance(house.loop, 100);
	assert_int_equal(spy.commits, 1);
	assert_int_equal(spy.last_count, 2);

	/* Somebody waits: at once, with what lay there. */
	(void)put(0, 3);
	house_settle(&house);
	assert_int_equal(spy.commits, 1);
	ticket = put(1, 4);
	wait_for(&waiter, 1, 1, ticket);
	house_settle(&house);
	assert_int_equal(spy.commits, 2);
	assert_int_equal(spy.last_count, 2);
	assert_int_equal(order_count, 1);

	/* The timer of what went with it does not fire into the next one. */
	(void)put(0, 5);
	sim_advance(house.loop, 190);
	assert_int_equal(spy.commits, 2);
	sim_advance(house.loop, 20);
	assert_int_equal(spy.commits, 3);

	/* So does who drains, and nobody waits for what is there already. */
	(void)put(0, 6);
	drain(1000);
	house_settle(&house);
	assert_int_equal(drained, 1);
	assert_int_equal(spy.commits, 4);
	store_set_interval(house.store, 0);
	(void)put(0, 7);
	house_settle(&house);
	assert_int_equal(spy.commits, 5);
}

static void
an_engine_with_little_room_goes_on_but_takes_nothing_new(void **state)
{
	uint64_t ticket;

	(void)state;
	spy.is_low = true;
	ticket = put(0, 1);
	house_settle(&house);
	assert_true(store_is_durable(house.ports[0], ticket));
	assert_true(store_is_failing(house.ports[0]));
	ticket = put(1, 2);
	house_settle(&house);
	assert_true(store_is_durable(house.ports[1], ticket));
	assert_true(store_is_failing(house.ports[0]));
	spy.is_low = false;
	assert_int_equal(spy.commits, 2);
	sim_advance(house.loop, 1100); /* it is asked, though there is nothing to write */
	assert_int_equal(spy.commits, 3);
	assert_int_equal(spy.last_count, 0);
	assert_false(store_is_failing(house.ports[0]));
	sim_advance(house.loop, 5000);
	assert_int_equal(spy.commits, 3);
}

static void
the_engine_is_idle_when_it_asks_for_it(void **state)
{
	unsigned before = spy.idles;

	(void)state;
	store_ask_idle(house.store);
	house_settle(&house);
	assert_int_equal(spy.idles, before + 1);
	assert_int_equal(spy.busy_idles, 0);
	spy.idle_ms = 10;
	store_ask_idle(house.store);
	sim_advance(house.loop, 35);
	assert_int_equal(spy.idles, before + 5);
	spy.idle_ms = -1;
	sim_advance(house.loop, 35);
	assert_int_equal(spy.idles, before + 6);
	spy.delay_ms = 20;
	(void)put(0, 1);
	house_settle(&house);
	store_ask_idle(house.store);
	house_settle(&house);
	assert_int_equal(spy.busy_idles, 1);
}

/* --- the null engine, ids --- */

static void
the_null_engine_stores_nothing(void **state)
{
	struct loop_options options = {.seed = 1};
	struct store_ids ids = {0};
	struct house *here = &house;

	(void)state;
	here->loop = loop_new(&options);
	here->workers[0] = loop_add_worker(here->loop, "main");
	here->store = store_new(NULL, NULL);
	here->ports[0] = store_add_port(here->store, here->workers[0]);
	assert_true(store_is_null(here->ports[0]));
	assert_true(store_is_durable(here->ports[0], 7));
	assert_false(store_is_failing(here->ports[0]));
	assert_int_equal(store_pending_bytes(here->ports[0]), 0);
	store_on_state(here->ports[0], on_state, &begun);
	assert_int_equal(
	    store_load(here->store, &ids, &(struct store_load_ops){0}, NULL, NULL, 0), 0);
	assert_int_equal(loop_start(here->loop), 0);
	drain(1000);
	assert_int_equal(drained, 0);
	sim_advance(here->loop, 1);
	assert_int_equal(drained, 1);
	house_close(here);
}

static void
ids_rise_and_are_never_drawn_twice(void **state)
{
	struct store_ids ids = {0};
	struct store_id_block one = {0}, two = {0};
	uint64_t a = store_id_draw(&ids, &one), b = store_id_draw(&ids, &two), last = a;

	(void)state;
	assert_true(a != 0 && b > a);
	for (int i = 0; i < 1000; i++) {
		uint64_t id = store_id_draw(&ids, &one);

		assert_true(id > last && id != b);
		last = id;
	}
	store_id_block_end_turn(&two);
	assert_true(store_id_draw(&ids, &two) > last);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(tickets_of_a_port_rise_and_become_durable_in_order),
	    CASE(a_wait_may_begin_again_cancel_others_or_be_late),
	    CASE(what_is_written_behind_phase_store_is_handed_over_too),
	    CASE(a_chunk_is_handed_over_before_mail_leaves),
	    CASE(a_large_pile_is_committed_in_several_cuts),
	    CASE(a_late_engine_gathers_more),
	    CASE(the_engine_is_asked_when_idle_until_it_is_content),
	    CASE(failing_is_a_state_that_ends_by_itself),
	    CASE(a_message_counts_once_for_all_its_rows),
	    CASE(draining_ends_when_all_is_durable),
	    CASE(draining_ends_at_its_deadline),
	    CASE(what_nobody_waits_for_may_lie_for_the_interval),
	    CASE(an_engine_with_little_room_goes_on_but_takes_nothing_new),
	    CASE(the_engine_is_idle_when_it_asks_for_it),
	    cmocka_unit_test(the_null_engine_stores_nothing),
	    cmocka_unit_test(ids_rise_and_are_never_drawn_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
