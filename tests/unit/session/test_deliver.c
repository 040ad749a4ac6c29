/* SPDX-License-Identifier: Apache-2.0 */
/* QoS 0, 1 and 2 outward, windows, queues, limits and the drop rule; with the null engine. */
#include "session_house.h"

#include "session/session_int.h"

struct bench {
	struct house house;
	struct fake_sink sink;
	struct session *session;
};

/* A session "s" that sleeps for an hour at most, subscribed to t with QoS 2. */
static void
set_up(struct bench *bench)
{
	house_open(&bench->house, NULL);
	bench->session = house_connect(&bench->house, &bench->sink, "s", 3600, false, false);
	house_subscribe(&bench->house, bench->session, "t", 2);
}

static void
tear_down(struct bench *bench)
{
	house_close(&bench->house);
	fake_fini(&bench->sink);
}

static void
publish(struct bench *bench, const char *payload, uint8_t qos)
{
	sim_enter(bench->house.workers[0]);
	house_publish(&bench->house, "t", payload, qos);
	sim_leave();
}

static void
puback(struct bench *bench, uint16_t id)
{
	sim_enter(bench->house.workers[0]);
	session_puback(bench->session, id);
	sim_leave();
	house_settle(&bench->house);
}

static bool
pubrec(struct bench *bench, uint16_t id, uint8_t reason)
{
	bool known;

	sim_enter(bench->house.workers[0]);
	known = session_pubrec(bench->session, id, reason);
	sim_leave();
	house_settle(&bench->house);
	return known;
}

static void
pubcomp(struct bench *bench, uint16_t id)
{
	sim_enter(bench->house.workers[0]);
	session_pubcomp(bench->session, id);
	sim_leave();
	house_settle(&bench->house);
}

static struct session_counts
counts(struct bench *bench)
{
	struct session_counts result;

	session_table_counts(bench->house.tables[0], &result);
	return result;
}

static void
reconnect(struct bench *bench)
{
	bench->session = house_connect(&bench->house, &bench->sink, "s", 3600, false, true);
}

static void
each_qos_takes_its_way_at_once(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	publish(&bench, "a", 0);
	publish(&bench, "b", 1);
	publish(&bench, "c", 2);
	assert_said(&bench.sink.said, "a q0 b q1#1 c q2#2"); /* before any phase */
	house_settle(&bench.house);
	puback(&bench, 2); /* not QoS 1 */
	puback(&bench, 9); /* unknown */
	assert_int_equal(counts(&bench).inflight, 2);
	puback(&bench, 1);
	assert_int_equal(counts(&bench).inflight, 1);
	pubcomp(&bench, 2); /* before its PUBREL */
	assert_int_equal(counts(&bench).inflight, 1);
	assert_true(pubrec(&bench, 2, 0));
	assert_true(pubrec(&bench, 2, 0)); /* again */
	assert_said(&bench.sink.said, "rel#2 rel#2");
	pubcomp(&bench, 2);
	assert_int_equal(counts(&bench).inflight, 0);
	assert_false(pubrec(&bench, 2, 0));
	assert_true(pubrec(&bench, 2, 0x92)); /* asks for nothing */
	assert_said(&bench.sink.said, "");
	tear_down(&bench);
}

static void
a_negative_pubrec_frees_the_id_without_pubrel(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	publish(&bench, "a", 2);
	assert_true(pubrec(&bench, 1, 0x87));
	assert_int_equal(counts(&bench).inflight, 0);
	assert_said(&bench.sink.said, "a q2#1");
	tear_down(&bench);
}

static void
the_window_is_the_smaller_limit_and_what_exceeds_it_waits_in_order(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.house.receive_maximum = 2;
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	reconnect(&bench);
	publish(&bench, "a", 1);
	publish(&bench, "b", 2);
	publish(&bench, "c", 1);
	publish(&bench, "d", 1);
	publish(&bench, "e", 0); /* needs no window */
	house_settle(&bench.house);
	assert_said(&bench.sink.said, "a q1#1 b q2#2 e q0");
	assert_int_equal(counts(&bench).queued, 2);
	puback(&bench, 1);
	assert_said(&bench.sink.said, "c q1#1");
	pubrec(&bench, 2, 0); /* keeps its place */
	assert_said(&bench.sink.said, "rel#2");
	pubcomp(&bench, 2);
	assert_said(&bench.sink.said, "d q1#2");
	tear_down(&bench);
}

static void
without_room_everything_waits_and_goes_on_in_phase_settle(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.sink.room = 1;
	publish(&bench, "a", 1);
	publish(&bench, "b", 1);
	publish(&bench, "c", 0);
	publish(&bench, "d", 0);
	house_settle(&bench.house);
	assert_said(&bench.sink.said, "a q1#1");
	bench.sink.room = 10;
	bench.sink.sink.has_room = true;
	publish(&bench, "e", 1); /* not past those that wait */
	sim_enter(bench.house.workers[0]);
	session_has_room(bench.session);
	sim_leave();
	assert_said(&bench.sink.said, "");
	house_settle(&bench.house);
	assert_said(&bench.sink.said, "b q1#2 c q0 e q1#3 d q0");
	tear_down(&bench);
}

static void
an_offer_that_finds_no_room_keeps_its_place_and_its_id_is_free(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.sink.room = 0; /* has_room is a hint, and wrong */
	publish(&bench, "a", 1);
	publish(&bench, "b", 0);
	house_settle(&bench.house);
	assert_int_equal(counts(&bench).inflight, 0);
	assert_int_equal(counts(&bench).queued, 2);
	bench.sink.room = 5;
	bench.sink.sink.has_room = true;
	sim_enter(bench.house.workers[0]);
	session_has_room(bench.session);
	sim_leave();
	house_settle(&bench.house);
	assert_said(&bench.sink.said, "a q1#1 b q0");
	tear_down(&bench);
}

/* A long queue gives its memory back with the last one, which then comes back. */
static void
the_last_of_a_long_queue_may_find_no_room(void **state)
{
	enum { MANY = 100 };
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.sink.room = 0;
	bench.sink.sink.has_room = false;
	for (int i = 0; i < MANY; i++) {
		publish(&bench, "x", 0);
	}
	for (unsigned more = MANY - 1; more != UINT32_MAX; more = more != 0 ? 0 : UINT32_MAX) {
		bench.sink.room = more;
		bench.sink.sink.has_room = true;
		sim_enter(bench.house.workers[0]);
		session_has_room(bench.session);
		sim_leave();
		house_settle(&bench.house);
		assert_int_equal(counts(&bench).queued, 1);
	}
	buf_clear(&bench.sink.said);
	bench.sink.room = 1;
	bench.sink.sink.has_room = true;
	sim_enter(bench.house.workers[0]);
	session_has_room(bench.session);
	sim_leave();
	house_settle(&bench.house);
	assert_said(&bench.sink.said, "x q0");
	tear_down(&bench);
}

static void
what_is_too_large_or_denied_counts_as_completed(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.sink.answer = SESSION_TOO_LARGE;
	publish(&bench, "a", 1);
	publish(&bench, "b", 0);
	bench.sink.answer = SESSION_DENIED;
	publish(&bench, "c", 2);
	publish(&bench, "c", 0);
	bench.sink.answer = SESSION_TAKEN;
	publish(&bench, "d", 1);
	assert_said(&bench.sink.said, "d q1#1");
	assert_int_equal(house_counter(&bench.house, COUNTER_DROPPED_TOO_LARGE), 2);
	assert_int_equal(house_counter(&bench.house, COUNTER_DROPPED_DENIED), 2);
	tear_down(&bench);
}

static void
what_is_lent_is_over_at_once_or_stays_the_lenders(void **state)
{
	struct bench bench = {0};
	struct session_delivery delivery = {0};

	(void)state;
	set_up(&bench);
	sim_enter(bench.house.workers[0]);
	delivery.msg = house_msg(&bench.house, "t", "a", 0, false, 0);
	assert_true(session_lend(bench.session, &delivery));
	assert_said(&bench.sink.said, "a q0");
	bench.sink.answer = SESSION_DENIED;
	assert_true(session_lend(bench.session, &delivery));
	bench.sink.answer = SESSION_TOO_LARGE;
	assert_true(session_lend(bench.session, &delivery));
	assert_true(ref_is_single(&delivery.msg->ref));
	/* Nothing has happened in these. */
	bench.sink.answer = SESSION_LATER;
	assert_false(session_lend(bench.session, &delivery));
	bench.sink.answer = SESSION_TAKEN;
	delivery.version = 1;
	assert_false(session_lend(bench.session, &delivery));
	delivery.version = 0;
	delivery.qos = 1;
	assert_false(session_lend(bench.session, &delivery));
	delivery.qos = 0;
	bench.sink.sink.has_room = false;
	assert_false(session_lend(bench.session, &delivery));
	sim_leave();
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	sim_enter(bench.house.workers[0]);
	assert_false(session_lend(bench.session, &delivery));
	sim_leave();
	assert_said(&bench.sink.said, "");
	assert_int_equal(house_counter(&bench.house, COUNTER_DROPPED_DENIED), 1);
	assert_int_equal(house_counter(&bench.house, COUNTER_DROPPED_TOO_LARGE), 1);
	msg_unref(&delivery.msg);
	tear_down(&bench);
}

static void
what_expires_is_not_lent(void **state)
{
	struct bench bench = {0};
	struct session_delivery delivery = {0};

	(void)state;
	set_up(&bench);
	sim_enter(bench.house.workers[0]);
	delivery.msg = house_msg(&bench.house, "t", "a", 0, false, 1);
	delivery.msg->born_mono_ms -= 1000;
	assert_false(session_lend(bench.session, &delivery));
	msg_unref(&delivery.msg);
	sim_leave();
	tear_down(&bench);
}

static void
after_resume_what_is_in_flight_is_sent_again_in_order_with_dup(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	publish(&bench, "a", 1);
	publish(&bench, "b", 2);
	publish(&bench, "c", 2);
	publish(&bench, "d", 1);
	publish(&bench, "e", 1);
	pubrec(&bench, 2, 0);
	puback(&bench, 4);
	publish(&bench, "f", 1); /* takes the freed id, and is the last */
	buf_clear(&bench.sink.said);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	publish(&bench, "g", 1);
	publish(&bench, "h", 0);
	reconnect(&bench);
	assert_said(&bench.sink.said, "a q1#1,dup rel#2 c q2#3,dup e q1#5,dup f q1#4,dup g q1#6");
	tear_down(&bench);
}

static void
resends_keep_to_a_smaller_receive_maximum(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	publish(&bench, "a", 1);
	publish(&bench, "b", 1);
	publish(&bench, "c", 1);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	bench.house.receive_maximum = 1;
	reconnect(&bench);
	assert_said(&bench.sink.said, "a q1#1,dup");
	publish(&bench, "d", 1);
	puback(&bench, 1);
	assert_said(&bench.sink.said, "b q1#2,dup");
	puback(&bench, 2);
	assert_said(&bench.sink.said, "c q1#3,dup");
	puback(&bench, 3);
	assert_said(&bench.sink.said, "d q1#3");
	tear_down(&bench);
}

static void
nothing_is_sent_before_connack(void **state)
{
	struct bench bench = {0};
	struct session *session;
	bool present;
	uint64_t ticket;
	uint8_t reason;

	(void)state;
	set_up(&bench);
	publish(&bench, "a", 1);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	fake_init(&bench.house, &bench.sink);
	sim_enter(bench.house.workers[0]);
	assert_int_equal(house_try(&bench.house, &bench.sink, "s", 3600, false, &session, &present,
			     &ticket, &reason),
	    SESSION_OPENED);
	sim_leave();
	publish(&bench, "b", 1);
	publish(&bench, "c", 0);
	house_settle(&bench.house);
	assert_said(&bench.sink.said, "");
	sim_enter(bench.house.workers[0]);
	session_serve(session);
	sim_leave();
	house_settle(&bench.house);
	assert_said(&bench.sink.said, "a q1#1,dup b q1#2 c q0");
	tear_down(&bench);
}

static void
qos0_for_a_sleeper_is_dropped_unless_it_is_to_be_kept(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.sink.sink.has_room = false;
	publish(&bench, "w", 0); /* waits for room, and dies with the connection */
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	publish(&bench, "a", 0);
	assert_int_equal(house_counter(&bench.house, COUNTER_DROPPED_QOS0_OFFLINE), 2);
	bench.house.limits.queue_qos0 = true;
	publish(&bench, "b", 0);
	reconnect(&bench);
	assert_said(&bench.sink.said, "b q0");
	tear_down(&bench);
}

static void
a_full_queue_drops_qos0_first_and_then_the_new_one(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench.house.limits = (struct session_limits){
	    .max_inflight_messages = 10, .max_queued_messages = 3, .queue_qos0 = true};
	set_up(&bench);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	publish(&bench, "a", 0);
	publish(&bench, "b", 1);
	publish(&bench, "c", 2);
	publish(&bench, "d", 0); /* never at the cost of others */
	publish(&bench, "e", 1); /* in place of a */
	publish(&bench, "f", 1);
	assert_int_equal(house_counter(&bench.house, COUNTER_DROPPED_QUEUE_FULL), 3);
	reconnect(&bench);
	assert_said(&bench.sink.said, "b q1#1 c q2#2 e q1#3");
	tear_down(&bench);
}

static void
drop_old_drops_the_oldest(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench.house.limits = (struct session_limits){
	    .max_inflight_messages = 10, .max_queued_messages = 2, .queue_full = SESSION_DROP_OLD};
	set_up(&bench);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	publish(&bench, "a", 1);
	publish(&bench, "b", 1);
	publish(&bench, "c", 1);
	publish(&bench, "d", 1);
	reconnect(&bench);
	assert_said(&bench.sink.said, "c q1#1 d q1#2");
	tear_down(&bench);
}

static void
bytes_are_limited_too_and_what_never_fits_costs_nobody(void **state)
{
	struct bench bench = {0};
	char large[600];

	(void)state;
	bench.house.limits = (struct session_limits){
	    .max_inflight_messages = 10, .max_queued_bytes = 500, .queue_full = SESSION_DROP_OLD};
	set_up(&bench);
	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	publish(&bench, "a", 1);
	publish(&bench, large, 1);
	publish(&bench, "b", 1);
	assert_true(counts(&bench).queued_bytes <= 500);
	reconnect(&bench);
	assert_said(&bench.sink.said, "a q1#1 b q1#2");
	tear_down(&bench);
}

static void
over_the_memory_budget_the_larger_queues_count_as_full(void **state)
{
	struct bench bench = {0};
	struct fake_sink other = {0};
	struct session *small;

	(void)state;
	set_up(&bench);
	small = house_connect(&bench.house, &other, "small", 3600, false, false);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	for (int i = 0; i < 20; i++) {
		publish(&bench, "x", 1);
	}
	house_subscribe(&bench.house, small, "t", 1);
	house_detach(&bench.house, small, SESSION_LEAVE_NORMAL);
	publish(&bench, "y", 1);
	house_settle(&bench.house);
	assert_true(atomic_load(&bench.house.house.queued_bytes) > 0);
	assert_int_equal(atomic_load(&bench.house.house.queued_sessions), 2);
	atomic_store(&bench.house.house.max_memory, 1);
	publish(&bench, "z", 1);
	assert_int_equal(house_counter(&bench.house, COUNTER_DROPPED_QUEUE_FULL), 1);
	small = house_connect(&bench.house, &other, "small", 3600, false, true);
	assert_said(&other.said, "y q1#1 z q1#2");
	fake_fini(&other);
	tear_down(&bench);
}

static void
what_expired_in_the_queue_is_not_sent_but_what_was_sent_does_not_expire(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	sim_enter(bench.house.workers[0]);
	house_send_msg(&bench.house, house_msg(&bench.house, "t", "sent", 1, false, 5), 0);
	sim_leave();
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	sim_enter(bench.house.workers[0]);
	house_send_msg(&bench.house, house_msg(&bench.house, "t", "short", 1, false, 5), 0);
	house_send_msg(&bench.house, house_msg(&bench.house, "t", "long", 1, false, 500), 0);
	sim_leave();
	sim_advance(bench.house.loop, 6000);
	reconnect(&bench);
	assert_said(&bench.sink.said, "sent q1#1,dup long q1#2");
	assert_int_equal(house_counter(&bench.house, COUNTER_DROPPED_EXPIRED), 1);
	tear_down(&bench);
}

static void
a_long_queue_is_sent_in_several_turns(void **state)
{
	struct bench bench = {0};
	struct session_counts left;

	(void)state;
	bench.house.limits =
	    (struct session_limits){.max_inflight_messages = 5000, .queue_qos0 = true};
	set_up(&bench);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	for (int i = 0; i < 1000; i++) {
		publish(&bench, "x", (uint8_t)(i % 3));
	}
	reconnect(&bench);
	left = counts(&bench);
	assert_int_equal(left.queued, 0);
	assert_int_equal(left.inflight, 666);
	tear_down(&bench);
}

static void
an_idle_session_is_small(void **state)
{
	(void)state;
	assert_true(sizeof(struct session_delivery) == 40);
	assert_true(sizeof(struct session) <= 200);
	assert_true(sizeof(struct session_sub) <= 72); /* and a pointer */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_qos_takes_its_way_at_once),
	    cmocka_unit_test(a_negative_pubrec_frees_the_id_without_pubrel),
	    cmocka_unit_test(the_window_is_the_smaller_limit_and_what_exceeds_it_waits_in_order),
	    cmocka_unit_test(without_room_everything_waits_and_goes_on_in_phase_settle),
	    cmocka_unit_test(an_offer_that_finds_no_room_keeps_its_place_and_its_id_is_free),
	    cmocka_unit_test(the_last_of_a_long_queue_may_find_no_room),
	    cmocka_unit_test(what_is_too_large_or_denied_counts_as_completed),
	    cmocka_unit_test(what_is_lent_is_over_at_once_or_stays_the_lenders),
	    cmocka_unit_test(what_expires_is_not_lent),
	    cmocka_unit_test(after_resume_what_is_in_flight_is_sent_again_in_order_with_dup),
	    cmocka_unit_test(resends_keep_to_a_smaller_receive_maximum),
	    cmocka_unit_test(nothing_is_sent_before_connack),
	    cmocka_unit_test(qos0_for_a_sleeper_is_dropped_unless_it_is_to_be_kept),
	    cmocka_unit_test(a_full_queue_drops_qos0_first_and_then_the_new_one),
	    cmocka_unit_test(drop_old_drops_the_oldest),
	    cmocka_unit_test(bytes_are_limited_too_and_what_never_fits_costs_nobody),
	    cmocka_unit_test(over_the_memory_budget_the_larger_queues_count_as_full),
	    cmocka_unit_test(
		what_expired_in_the_queue_is_not_sent_but_what_was_sent_does_not_expire),
	    cmocka_unit_test(a_long_queue_is_sent_in_several_turns),
	    cmocka_unit_test(an_idle_session_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
