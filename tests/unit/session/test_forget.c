/* SPDX-License-Identifier: Apache-2.0 */
/* What a link needs of its session: a remote that forgets, and one that takes a lower QoS only. */
#include "session_house.h"

struct bench {
	struct store_disk *disk;
	struct house house;
	struct fake_sink sink;
	struct session *session;
};

static void
set_up(struct bench *bench)
{
	bench->disk = store_disk_new();
	house_open(&bench->house, bench->disk);
	bench->session = house_connect(&bench->house, &bench->sink, "s", 3600, false, false);
	house_subscribe(&bench->house, bench->session, "t", 2);
	house_commit(&bench->house);
}

static void
tear_down(struct bench *bench)
{
	house_close(&bench->house);
	fake_fini(&bench->sink);
	store_disk_free(&bench->disk);
}

static void
publish(struct bench *bench, const char *payload, uint8_t qos)
{
	sim_enter(bench->house.workers[0]);
	house_publish(&bench->house, "t", payload, qos);
	sim_leave();
	house_settle(&bench->house);
}

static void
pubrec(struct bench *bench, uint16_t id)
{
	sim_enter(bench->house.workers[0]);
	assert_true(session_pubrec(bench->session, id, 0));
	sim_leave();
	house_settle(&bench->house);
}

static struct store_disk_counts
on_disk(struct bench *bench)
{
	struct store_disk_counts counts;

	house_commit(&bench->house);
	store_disk_counts(bench->disk, &counts);
	return counts;
}

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

static void
reconnect(struct bench *bench)
{
	bench->session = house_connect(&bench->house, &bench->sink, "s", 3600, false, true);
}

/* a: released; b: its PUBREL waits for the disk; c: sent; d: QoS 1, sent; e: waits for the disk. */
static void
what_was_taken_over_is_over_and_what_was_sent_is_new(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	publish(&bench, "a", 2);
	publish(&bench, "b", 2);
	publish(&bench, "c", 2);
	publish(&bench, "d", 1);
	(void)on_disk(&bench);
	assert_said(&bench.sink.said, "d q1#4 a q2#1 b q2#2 c q2#3");
	pubrec(&bench, 1);
	(void)on_disk(&bench);
	assert_said(&bench.sink.said, "rel#1");
	pubrec(&bench, 2);
	publish(&bench, "e", 2);
	forget(&bench, 2, 0);
	assert_int_equal(on_disk(&bench).queue, 3);
	reconnect(&bench);
	(void)on_disk(&bench);
	assert_said(&bench.sink.said, "c q2#3 d q1#4 e q2#5"); /* as new: without DUP */
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	reconnect(&bench);
	assert_said(&bench.sink.said, "c q2#3,dup d q1#4,dup e q2#5,dup");
	tear_down(&bench);
}

static void
received_ids_are_free_again(void **state)
{
	struct bench bench = {0};
	uint64_t ticket = 0;

	(void)state;
	set_up(&bench);
	sim_enter(bench.house.workers[0]);
	for (uint16_t id = 1; id <= 3; id++) {
		assert_int_equal(
		    session_inbound_begin(bench.session, id, &ticket), SESSION_INBOUND_NEW);
	}
	session_inbound_done(bench.session, 1, 0, &ticket, false);
	session_inbound_done(bench.session, 2, 0, &ticket, false);
	sim_leave();
	assert_int_equal(on_disk(&bench).received, 2);
	forget(&bench, 0, 2);
	assert_int_equal(on_disk(&bench).received, 0);
	reconnect(&bench);
	sim_enter(bench.house.workers[0]);
	assert_int_equal(session_inbound_count(bench.session), 0);
	for (uint16_t id = 1; id <= 3; id++) {
		assert_int_equal(
		    session_inbound_begin(bench.session, id, &ticket), SESSION_INBOUND_NEW);
	}
	sim_leave();
	tear_down(&bench);
}

static void
a_lower_qos_rules_what_is_sent_from_now_on(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	publish(&bench, "a", 2);
	(void)on_disk(&bench);
	assert_said(&bench.sink.said, "a q2#1");
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	publish(&bench, "b", 2);
	bench.house.has_max_qos = true;
	bench.house.max_qos = 1;
	reconnect(&bench);
	assert_said(&bench.sink.said, "a q1#1,dup b q1#2");
	publish(&bench, "c", 2);
	assert_said(&bench.sink.said, "c q1#3");
	sim_enter(bench.house.workers[0]);
	for (uint16_t id = 1; id <= 3; id++) {
		session_puback(bench.session, id);
	}
	sim_leave();
	assert_int_equal(on_disk(&bench).queue, 0);
	tear_down(&bench);
}

static void
qos0_is_over_when_it_is_sent(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	publish(&bench, "a", 2);
	(void)on_disk(&bench);
	assert_said(&bench.sink.said, "a q2#1");
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	publish(&bench, "b", 1);
	bench.house.has_max_qos = true;
	bench.house.max_qos = 0;
	reconnect(&bench);
	assert_said(&bench.sink.said, "a q0 b q0");
	publish(&bench, "c", 1);
	assert_said(&bench.sink.said, "c q0");
	assert_int_equal(on_disk(&bench).queue, 0);
	tear_down(&bench);
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
