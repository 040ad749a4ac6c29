/* SPDX-License-Identifier: Apache-2.0 */
/* What a link needs of its session: a remote that forgets, and one that takes a lower QoS only. */
#include "durable_bench.h"

static void
forget(struct bench *bench, size_t sent, size_t received)
{
	size_t sent_out = 99, received_out = 99;

	house_detach(&bench->house, bench->session, SESSION_LEAVE_ABNORMAL);
	sim_enter(bench->house.workers[0]);
	session_forgotten(house_find(&bench->house, "s"), &sent_out, &received_out);
	sim_leave();
	assert_int_equal(sent_out, sent);
	assert_int_equal(received_out, received);
}

/* a: released; b: its PUBREL waits for the disk; c: sent; d: QoS 1, sent; e: waits for the disk. */
static void
what_was_taken_over_is_over_and_what_was_sent_is_new(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench_open(&bench);
	bench_publish(&bench, "a", 2);
	bench_publish(&bench, "b", 2);
	bench_publish(&bench, "c", 2);
	bench_publish(&bench, "d", 1);
	(void)bench_on_disk(&bench);
	assert_said(&bench.sink.said, "d q1#4 a q2#1 b q2#2 c q2#3");
	bench_acknowledge(&bench, 1, 'r');
	(void)bench_on_disk(&bench);
	assert_said(&bench.sink.said, "rel#1");
	bench_acknowledge(&bench, 2, 'r');
	bench_publish(&bench, "e", 2);
	forget(&bench, 2, 0);
	assert_int_equal(bench_on_disk(&bench).queue, 3);
	bench_reconnect(&bench);
	(void)bench_on_disk(&bench);
	assert_said(&bench.sink.said, "c q2#3 d q1#4 e q2#5"); /* as new: without DUP */
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	bench_reconnect(&bench);
	assert_said(&bench.sink.said, "c q2#3,dup d q1#4,dup e q2#5,dup");
	bench_close(&bench);
}

static void
received_ids_are_free_again(void **state)
{
	struct bench bench = {0};
	uint64_t ticket = 0;

	(void)state;
	bench_open(&bench);
	sim_enter(bench.house.workers[0]);
	for (uint16_t id = 1; id <= 3; id++) {
		assert_int_equal(
		    session_inbound_begin(bench.session, id, &ticket), SESSION_INBOUND_NEW);
	}
	session_inbound_done(bench.session, 1, 0, &ticket, false);
	session_inbound_done(bench.session, 2, 0, &ticket, false);
	sim_leave();
	assert_int_equal(bench_on_disk(&bench).received, 2);
	forget(&bench, 0, 2);
	assert_int_equal(bench_on_disk(&bench).received, 0);
	bench_reconnect(&bench);
	sim_enter(bench.house.workers[0]);
	assert_int_equal(session_inbound_count(bench.session), 0);
	for (uint16_t id = 1; id <= 3; id++) {
		assert_int_equal(
		    session_inbound_begin(bench.session, id, &ticket), SESSION_INBOUND_NEW);
	}
	sim_leave();
	bench_close(&bench);
}

static void
a_lower_qos_rules_what_is_sent_from_now_on(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench_open(&bench);
	bench_publish(&bench, "a", 2);
	(void)bench_on_disk(&bench);
	assert_said(&bench.sink.said, "a q2#1");
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	bench_publish(&bench, "b", 2);
	bench.house.has_max_qos = true;
	bench.house.max_qos = 1;
	bench_reconnect(&bench);
	assert_said(&bench.sink.said, "a q1#1,dup b q1#2");
	bench_publish(&bench, "c", 2);
	assert_said(&bench.sink.said, "c q1#3");
	sim_enter(bench.house.workers[0]);
	for (uint16_t id = 1; id <= 3; id++) {
		session_puback(bench.session, id);
	}
	sim_leave();
	assert_int_equal(bench_on_disk(&bench).queue, 0);
	bench_close(&bench);
}

static void
qos0_is_over_when_it_is_sent(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench_open(&bench);
	bench_publish(&bench, "a", 2);
	(void)bench_on_disk(&bench);
	assert_said(&bench.sink.said, "a q2#1");
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	bench_publish(&bench, "b", 1);
	bench.house.has_max_qos = true;
	bench.house.max_qos = 0;
	bench_reconnect(&bench);
	assert_said(&bench.sink.said, "a q0 b q0");
	bench_publish(&bench, "c", 1);
	assert_said(&bench.sink.said, "c q0");
	assert_int_equal(bench_on_disk(&bench).queue, 0);
	bench_close(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_taken_over_is_over_and_what_was_sent_is_new),
	    cmocka_unit_test(received_ids_are_free_again),
	    cmocka_unit_test(a_lower_qos_rules_what_is_sent_from_now_on),
	    cmocka_unit_test(qos0_is_over_when_it_is_sent),
	};

	return cmocka_run_group_tests_name("forget", tests, NULL, NULL);
}
