/* SPDX-License-Identifier: Apache-2.0 */
/* Output, clocks, moving and the end of a peer. */
#include "unit/peer/peer_house.h"

static struct house house;

static int
begin(void **state)
{
	(void)state;
	house_build(&house);
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

static struct msg *
message(const char *topic, size_t payload_len)
{
	uint8_t *payload = mem_zalloc(payload_len + 1);
	struct msg_draft draft = {
	    .topic = bytes_of(topic), .payload = bytes_make(payload, payload_len)};
	struct msg *msg = msg_seal(&draft);

	assert_non_null(msg);
	mem_free(&payload);
	return msg;
}

static enum session_offer
offer(const char *topic, size_t payload_len, uint32_t prefix_len)
{
	struct session_delivery delivery = {.msg = message(topic, payload_len)};
	enum session_offer answer = peer_send_publish(&house.peer, &delivery, prefix_len, 0);

	session_delivery_fini(&delivery);
	return answer;
}

static void
pong(void)
{
	static const struct wire_packet packet = {.type = WIRE_PINGRESP};

	assert_true(peer_send(&house.peer, &packet));
}

/* --- output --- */

static void
a_publish_goes_out_without_its_prefix(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	enter();
	assert_int_equal(offer("mp/t", 1, 3), SESSION_TAKEN);
	leave();
	assert_got(&house, "30050001740000");
}

static bool
pass(const char *topic, size_t payload_len)
{
	static const uint8_t payload[PEER_REFERENCE_FROM];
	struct msg_draft draft = {
	    .topic = bytes_of(topic), .payload = bytes_make(payload, payload_len)};

	return peer_send_draft(&house.peer, &draft);
}

static void
a_draft_goes_out_where_it_can_as_it_is(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	enter();
	assert_true(pass("t", 1));
	assert_false(pass("t", PEER_REFERENCE_FROM)); /* is sent from where it lies */
	house.peer.max_packet_out = 7;
	assert_true(pass("t", 1));
	assert_false(pass("t", 2));
	house.peer.max_packet_out = 0;
	house.peer.aliases_out = 1;
	assert_false(pass("t", 1));
	house.peer.version = WIRE_V311; /* has none */
	assert_true(pass("t", 1));
	house.peer.was_full = true;
	assert_false(pass("t", 1));
	house.peer.was_full = false;
	leave();
	assert_got(&house, "30050001740000"
			   "30050001740000"
			   "300400017400");
}

/* Little stands in a small chunk, more in a large one, of which some may be out already. */
static void
an_output_that_grows_is_one_piece(void **state)
{
	(void)state;
	house_attach(&house, 100);
	enter();
	assert_true(pass("t", 200));
	leave();
	assert_int_equal(mem_pipe_output(house.far).len, 100);
	enter();
	assert_int_equal(house.peer.out.first->cap, PEER_SMALL_SIZE);
	assert_true(pass("u", 1000));
	assert_ptr_equal(house.peer.out.first, house.peer.out.first->last);
	assert_int_equal(house.peer.out.first->cap, PEER_CHUNK_SIZE);
	assert_int_equal(peer_out_len(&house.peer.out), 207 - 100 + 1007);
	leave();
	mem_pipe_set_room(house.far, SIZE_MAX);
	house_settle(&house);
	assert_int_equal(mem_pipe_output(house.far).len, 207 + 1007);
	assert_int_equal(mem_pipe_output(house.far).data[100], 0); /* no head again */
	assert_memory_equal(
	    mem_pipe_output(house.far).data + 200, "\0\0\0\0\0\0\0\x30\xec\x07\0\1u\0", 14);
	house_take(&house, 207 + 1007);
	/* What would not fit goes into a second one. */
	mem_pipe_set_room(house.far, 0);
	enter();
	assert_true(pass("t", 400));
	for (int i = 0; i < 6; i++) {
		assert_int_equal(offer("t", 1500, 0), SESSION_TAKEN);
	}
	assert_ptr_not_equal(house.peer.out.first, house.peer.out.first->last);
	leave();
	mem_pipe_set_room(house.far, SIZE_MAX);
	house_settle(&house);
	assert_int_equal(mem_pipe_output(house.far).len, 407 + 6 * 1507);
	house_take(&house, 407 + 6 * 1507);
}

static void
what_is_passed_on_counts_for_the_limit_of_the_output(void **state)
{
	unsigned count = 0;

	(void)state;
	house_attach(&house, 0);
	enter();
	while (pass("t", 1000)) {
		count++;
	}
	assert_true(house.peer.was_full);
	assert_in_range(count, PEER_OUT_LIMIT / 1100, PEER_OUT_LIMIT / 1000 + 1);
	leave();
}

static void
a_topic_is_left_out_when_its_alias_is_known(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	house.peer.aliases_out = 1;
	enter();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(offer("t", 0, 0), SESSION_TAKEN);
		assert_int_equal(offer("u", 0, 0), SESSION_TAKEN);
	}
	leave();
	assert_got(&house, "300700017403230001"
			   "3004000175"
			   "00"
			   "3006000003230001"
			   "3004000175"
			   "00");
}

static void
what_is_larger_than_the_client_takes_is_not_sent_and_costs_no_alias(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	house.peer.aliases_out = 5;
	house.peer.max_packet_out = 20;
	enter();
	assert_int_equal(offer("t", 15, 0), SESSION_TOO_LARGE);
	assert_int_equal(offer("t", 14, 0), SESSION_TAKEN); /* 20 bytes, and no room for an alias */
	assert_int_equal(offer("t", 1, 0), SESSION_TAKEN);
	leave();
	assert_got(&house, "301200017400"
			   "0000000000000000000000000000"
			   "30080001740323000100");
}

static void
full_output_says_so_and_tells_when_it_has_room(void **state)
{
	size_t written;

	(void)state;
	house_attach(&house, 1000);
	enter();
	for (written = 0; offer("t", 50000, 0) == SESSION_TAKEN; written++) {}
	assert_int_equal(written, 6);
	assert_int_equal(offer("t", 0, 0), SESSION_LATER);
	leave();
	assert_said(&house, "");
	enter();
	mem_pipe_set_room(house.far, SIZE_MAX);
	leave();
	assert_said(&house, "room");
	assert_int_equal(mem_pipe_output(house.far).len, 6 * (50000 + 8));
	assert_int_equal(peer_out_len(&house.peer.out), 0);
	assert_null(house.peer.out.first);
}

static void
who_asks_and_takes_nothing_is_not_read(void **state)
{
	(void)state;
	house_attach(&house, 0);
	enter();
	for (unsigned i = 0; i < 40000; i++) {
		pong();
	}
	leave();
	assert_int_equal(house.peer.paused, PEER_PAUSE_OUTPUT);
	enter();
	mem_pipe_set_room(house.far, SIZE_MAX);
	leave();
	assert_int_equal(house.peer.paused, 0);
	assert_int_equal(mem_pipe_output(house.far).len, 80000);
}

/* --- clocks --- */

static void
who_says_nothing_is_told_of(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	enter();
	peer_set_keep_alive(&house.peer, 1500);
	leave();
	for (int i = 0; i < 5; i++) {
		sim_advance(house.loop, 1400);
		house_write(&house, bytes_make("\xc0\0", 2));
		assert_said(&house, "PINGREQ");
	}
	sim_advance(house.loop, 1400);
	assert_said(&house, "");
	sim_advance(house.loop, 200);
	assert_said(&house, "end:3");
}

static void
keep_alive_stands_still_while_nothing_is_read(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	enter();
	peer_set_keep_alive(&house.peer, 1500);
	peer_pause(&house.peer, PEER_PAUSE_STORE);
	leave();
	sim_advance(house.loop, 100000);
	assert_said(&house, "");
	enter();
	peer_resume(&house.peer, PEER_PAUSE_STORE);
	leave();
	sim_advance(house.loop, 1400);
	assert_said(&house, "");
	sim_advance(house.loop, 200);
	assert_said(&house, "end:3");
}

static void
who_takes_nothing_is_closed_after_the_write_timeout(void **state)
{
	(void)state;
	house_attach(&house, 10);
	house.peer.write_timeout_ms = 1000;
	enter();
	for (int i = 0; i < 10; i++) {
		pong();
	}
	leave();
	sim_advance(house.loop, 900);
	house_take(&house, 2); /* a little, which counts */
	sim_advance(house.loop, 900);
	assert_said(&house, "");
	sim_advance(house.loop, 200);
	assert_said(&house, "end:4 freed");
}

static void
a_deadline_is_told(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	enter();
	peer_set_deadline(&house.peer, sim_now_ms(house.loop) + 300);
	leave();
	sim_advance(house.loop, 200);
	enter();
	peer_set_deadline(&house.peer, sim_now_ms(house.loop) + 300);
	leave();
	sim_advance(house.loop, 200);
	assert_said(&house, "");
	sim_advance(house.loop, 200);
	assert_said(&house, "end:5");
}

/* --- closing --- */

static void
the_last_words_go_out_and_what_still_comes_is_thrown_away(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	enter();
	pong();
	peer_close(&house.peer, false);
	peer_close(&house.peer, false);
	assert_false(peer_is_open(&house.peer));
	assert_int_equal(offer("t", 0, 0), SESSION_LATER);
	leave();
	assert_got(&house, "d000");
	assert_true(mem_pipe_is_closed(house.far));
	house_write(&house, bytes_make("\xc0\0", 2));
	assert_said(&house, "");
	enter();
	mem_pipe_close(house.far, false);
	leave();
	assert_said(&house, "freed");
}

static void
who_does_not_take_the_last_words_is_closed_all_the_same(void **state)
{
	(void)state;
	house_attach(&house, 1);
	house.peer.write_timeout_ms = 700;
	enter();
	pong();
	peer_close(&house.peer, false);
	leave();
	sim_advance(house.loop, 600);
	assert_said(&house, "");
	sim_advance(house.loop, 200);
	assert_said(&house, "freed");
}

static void
who_does_not_close_is_left_after_a_moment(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	enter();
	peer_close(&house.peer, false);
	leave();
	assert_said(&house, "");
	sim_advance(house.loop, 700);
	assert_said(&house, "freed");
}

static void
at_once_means_that_nothing_more_goes_out(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	enter();
	pong();
	peer_close(&house.peer, true);
	leave();
	assert_got(&house, "");
	assert_said(&house, "freed");
}

static void
a_broken_connection_is_told_when_it_is_written_to(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	enter();
	peer_pause(&house.peer, PEER_PAUSE_ROLE);
	pong();
	mem_pipe_close(house.far, true);
	leave();
	assert_said(&house, "end:1 freed");
}

/* --- moving --- */

static void
it_moves_with_all_that_is_not_read_and_not_written(void **state)
{
	(void)state;
	house_attach(&house, 1);
	enter();
	pong();
	peer_pause(&house.peer, PEER_PAUSE_ROLE);
	leave();
	house_write(&house, bytes_make("\xc0\0\xc0", 3));
	enter();
	peer_detach(&house.peer);
	sim_leave();
	assert_int_equal(house.rooms[0].count, 0);
	sim_enter(house.workers[1]);
	assert_int_equal(peer_attach(&house.peer, &house.rooms[1]), 0);
	sim_leave();
	house_settle(&house);
	assert_said(&house, "");
	sim_enter(house.workers[1]);
	mem_pipe_set_room(house.far, SIZE_MAX);
	peer_resume(&house.peer, PEER_PAUSE_ROLE);
	sim_leave();
	house_settle(&house);
	assert_said(&house, "PINGREQ");
	sim_enter(house.workers[1]);
	mem_pipe_write(house.far, bytes_make("\0", 1));
	sim_leave();
	house_settle(&house);
	assert_said(&house, "PINGREQ");
	assert_got(&house, "d000");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_publish_goes_out_without_its_prefix, begin, end),
	    cmocka_unit_test_setup_teardown(
		what_is_passed_on_counts_for_the_limit_of_the_output, begin, end),
	    cmocka_unit_test_setup_teardown(an_output_that_grows_is_one_piece, begin, end),
	    cmocka_unit_test_setup_teardown(a_draft_goes_out_where_it_can_as_it_is, begin, end),
	    cmocka_unit_test_setup_teardown(
		a_topic_is_left_out_when_its_alias_is_known, begin, end),
	    cmocka_unit_test_setup_teardown(
		what_is_larger_than_the_client_takes_is_not_sent_and_costs_no_alias, begin, end),
	    cmocka_unit_test_setup_teardown(
		full_output_says_so_and_tells_when_it_has_room, begin, end),
	    cmocka_unit_test_setup_teardown(who_asks_and_takes_nothing_is_not_read, begin, end),
	    cmocka_unit_test_setup_teardown(who_says_nothing_is_told_of, begin, end),
	    cmocka_unit_test_setup_teardown(
		keep_alive_stands_still_while_nothing_is_read, begin, end),
	    cmocka_unit_test_setup_teardown(
		who_takes_nothing_is_closed_after_the_write_timeout, begin, end),
	    cmocka_unit_test_setup_teardown(a_deadline_is_told, begin, end),
	    cmocka_unit_test_setup_teardown(
		the_last_words_go_out_and_what_still_comes_is_thrown_away, begin, end),
	    cmocka_unit_test_setup_teardown(
		who_does_not_take_the_last_words_is_closed_all_the_same, begin, end),
	    cmocka_unit_test_setup_teardown(who_does_not_close_is_left_after_a_moment, begin, end),
	    cmocka_unit_test_setup_teardown(at_once_means_that_nothing_more_goes_out, begin, end),
	    cmocka_unit_test_setup_teardown(
		a_broken_connection_is_told_when_it_is_written_to, begin, end),
	    cmocka_unit_test_setup_teardown(
		it_moves_with_all_that_is_not_read_and_not_written, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
