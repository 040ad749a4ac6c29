/* SPDX-License-Identifier: Apache-2.0 */
/* The FIFO of acknowledgements: order, verdicts, durability, what is withheld, and its limit. */
#include "unit/peer/peer_house.h"

static struct house house;

static int
begin(void **state)
{
	(void)state;
	house_open(&house);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	house_close(&house);
	return 0;
}

static void
enter(void)
{
	sim_enter(house.workers[0]);
}

static void
leave(void)
{
	sim_leave();
	house_settle(&house);
}

static uint8_t *
reasons_of(uint8_t first, uint8_t second)
{
	uint8_t *reasons = mem_alloc(2);

	reasons[0] = first;
	reasons[1] = second;
	return reasons;
}

static void
what_waits_for_nothing_leaves_at_once(void **state)
{
	(void)state;
	enter();
	peer_ack(&house.peer, WIRE_PUBACK, 1, 0, 0);
	peer_ack(&house.peer, WIRE_PUBREC, 2, 0x10, 0);
	peer_ack(&house.peer, WIRE_PUBCOMP, 0x1234, 0, 0);
	leave();
	assert_int_equal(peer_ack_count(&house.peer), 0);
	assert_null(house.peer.acks);
	assert_got(&house, "40020001"
			   "5003000210"
			   "70021234");
}

static void
they_leave_in_the_order_of_their_packets(void **state)
{
	uint64_t first, second, third;

	(void)state;
	enter();
	first = peer_ack_begin(&house.peer, WIRE_PUBACK, 1);
	second = peer_ack_begin(&house.peer, WIRE_PUBREC, 2);
	third = peer_ack_begin(&house.peer, WIRE_SUBACK, 3);
	peer_ack(&house.peer, WIRE_PUBCOMP, 4, 0x92, 0);
	assert_int_equal(peer_ack_publishes(&house.peer), 2);
	assert_int_equal(peer_ack_pubrecs(&house.peer), 1);
	peer_ack_know_many(&house.peer, third, reasons_of(1, 0x87), 2, 0);
	peer_ack_know(&house.peer, second, 0x87, 0);
	leave();
	assert_got(&house, "");
	enter();
	peer_ack_know(&house.peer, first, 0, 0);
	leave();
	assert_got(&house, "40020001"
			   "5003000287"
			   "90050003000187"
			   "7003000492");
	assert_int_equal(peer_ack_publishes(&house.peer), 0);
	assert_int_equal(peer_ack_pubrecs(&house.peer), 0);
}

static void
what_is_not_durable_waits_and_so_do_those_behind_it(void **state)
{
	(void)state;
	enter();
	peer_ack(&house.peer, WIRE_PUBACK, 1, 0, house_put(&house));
	peer_ack(&house.peer, WIRE_PUBACK, 2, 0, 0);
	leave();
	assert_got(&house, "");
	sim_advance(house.loop, HOUSE_COMMIT_MS + 1);
	assert_got(&house, "40020001"
			   "40020002");
	enter();
	peer_ack(&house.peer, WIRE_PUBACK, 3, 0, 1);
	leave();
	assert_got(&house, "40020003");
}

static void
over_the_transit_budget_puback_and_pubrec_wait(void **state)
{
	(void)state;
	enter();
	peer_room_set_withhold(&house.rooms[0], true);
	peer_ack(&house.peer, WIRE_PUBCOMP, 1, 0, 0);
	peer_ack(&house.peer, WIRE_PUBACK, 2, 0, 0);
	peer_ack(&house.peer, WIRE_PUBREC, 3, 0, 0);
	peer_ack(&house.peer, WIRE_PUBCOMP, 4, 0, 0);
	leave();
	assert_got(&house, "70020001");
	enter();
	peer_room_set_withhold(&house.rooms[0], false);
	leave();
	assert_got(&house, "40020002"
			   "50020003"
			   "70020004");
}

static void
a_verdict_by_packet_id_is_for_all_that_ask(void **state)
{
	(void)state;
	enter();
	(void)peer_ack_begin(&house.peer, WIRE_PUBREC, 7);
	(void)peer_ack_begin(&house.peer, WIRE_PUBREC, 8);
	(void)peer_ack_begin(&house.peer, WIRE_PUBREC, 7);
	peer_ack_know_id(&house.peer, WIRE_PUBREC, 7, 0x10, 0);
	leave();
	assert_got(&house, "5003000710");
	enter();
	peer_ack_know_id(&house.peer, WIRE_PUBREC, 8, 0, 0);
	leave();
	assert_got(&house, "50020008"
			   "5003000710");
}

static void
the_ring_grows_wherever_it_begins(void **state)
{
	uint64_t numbers[100];

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		enter();
		for (unsigned i = 0; i < 100; i++) {
			numbers[i] = peer_ack_begin(&house.peer, WIRE_PUBACK, (uint16_t)(i + 1));
			if (i % 7 == round % 7) {
				peer_ack_know(&house.peer, numbers[i], 0, 0);
			}
		}
		for (unsigned i = 100; i-- > 0;) {
			if (i % 7 != round % 7) {
				peer_ack_know(&house.peer, numbers[i], 0, 0);
			}
		}
		leave();
		assert_int_equal(peer_ack_count(&house.peer), 0);
		assert_null(house.peer.acks);
		assert_int_equal(mem_pipe_output(house.far).len, 400);
		for (unsigned i = 0; i < 100; i++) {
			assert_int_equal(mem_pipe_output(house.far).data[4 * i + 3], i + 1);
		}
		house_take(&house, 400);
	}
}

static void
a_fifo_that_is_too_long_stops_reading(void **state)
{
	uint64_t first;

	(void)state;
	enter();
	first = peer_ack_begin(&house.peer, WIRE_PUBREC, 1);
	for (unsigned i = 1; i < 4095; i++) {
		peer_ack(&house.peer, WIRE_PUBREC, 1, 0, 0);
	}
	assert_int_equal(house.peer.paused, 0);
	peer_ack(&house.peer, WIRE_PUBREC, 1, 0, 0);
	assert_int_equal(house.peer.paused, PEER_PAUSE_OWING);
	leave();
	house_write(&house, bytes_make("\xc0\0", 2));
	assert_said(&house, "");
	enter();
	peer_ack_know(&house.peer, first, 0, 0);
	leave();
	assert_said(&house, "PINGREQ");
	assert_int_equal(mem_pipe_output(house.far).len, 4096 * 4);
}

static void
nothing_leaves_when_the_peer_is_closed_and_nothing_is_lost(void **state)
{
	uint64_t second;

	(void)state;
	enter();
	peer_ack(&house.peer, WIRE_PUBACK, 1, 0, house_put(&house));
	second = peer_ack_begin(&house.peer, WIRE_SUBACK, 2);
	peer_ack_know_many(&house.peer, second, reasons_of(0, 0), 2, 0);
	peer_close(&house.peer, false);
	leave();
	sim_advance(house.loop, HOUSE_COMMIT_MS + 1);
	assert_got(&house, "");
	sim_advance(house.loop, 10000);
	assert_said(&house, "freed");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(what_waits_for_nothing_leaves_at_once, begin, end),
	    cmocka_unit_test_setup_teardown(they_leave_in_the_order_of_their_packets, begin, end),
	    cmocka_unit_test_setup_teardown(
		what_is_not_durable_waits_and_so_do_those_behind_it, begin, end),
	    cmocka_unit_test_setup_teardown(
		over_the_transit_budget_puback_and_pubrec_wait, begin, end),
	    cmocka_unit_test_setup_teardown(a_verdict_by_packet_id_is_for_all_that_ask, begin, end),
	    cmocka_unit_test_setup_teardown(the_ring_grows_wherever_it_begins, begin, end),
	    cmocka_unit_test_setup_teardown(a_fifo_that_is_too_long_stops_reading, begin, end),
	    cmocka_unit_test_setup_teardown(
		nothing_leaves_when_the_peer_is_closed_and_nothing_is_lost, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
