/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes to packets, however they come. */
#include "unit/peer/peer_house.h"

static struct house house;

static const char connect_bytes[] = "\x10\x0e\0\4MQTT\5\2\0\0\0\0\1c";
static const char ping_bytes[] = "\xc0\0";

enum { CONNECT_LEN = sizeof(connect_bytes) - 1, PING_LEN = 2 };

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

/* CONNECT, two PUBLISHes and a PINGREQ. */
static struct buf
conversation(void)
{
	struct buf buf;

	buf_init(&buf, SIZE_MAX);
	buf_append(&buf, connect_bytes, CONNECT_LEN);
	put_publish(&buf, "a/b", 3, 'x');
	put_publish(&buf, "c", 200, 'y');
	buf_append(&buf, ping_bytes, PING_LEN);
	return buf;
}

#define CONVERSATION "CONNECT PUBLISH a/b=xxx PUBLISH c=200 PINGREQ"

static void
begin_unconnected(size_t max_connect_size)
{
	house.peer.version = 0;
	house.peer.max_packet_in = (uint32_t)max_connect_size;
	house_attach(&house, SIZE_MAX);
}

static void
packets_are_found_at_every_split(void **state)
{
	struct buf buf = conversation();

	(void)state;
	for (size_t at = 0; at <= buf.len; at++) {
		house_build(&house);
		begin_unconnected(1000);
		house_write(&house, bytes_make(buf.data, at));
		house_write(&house, bytes_make(buf.data + at, buf.len - at));
		assert_said(&house, CONVERSATION);
		assert_null(house.peer.tail);
		house_close(&house);
	}
	buf_fini(&buf);
}

static void
packets_are_found_whatever_one_read_brings(void **state)
{
	struct buf buf = conversation();

	(void)state;
	for (size_t size = 1; size <= buf.len; size += size < 20 ? 1 : 7) {
		house_build(&house);
		begin_unconnected(1000);
		mem_pipe_set_read_size(house.far, size);
		house_write(&house, buf_bytes(&buf));
		assert_said(&house, CONVERSATION);
		house_close(&house);
	}
	buf_fini(&buf);
}

/* Around each size at which the way of reading changes. */
static void
large_packets_grow_in_the_tail(void **state)
{
	static const size_t sizes[] = {WORKER_SCRATCH_SIZE / 2 - 10, WORKER_SCRATCH_SIZE / 2,
	    WORKER_SCRATCH_SIZE - 100, WORKER_SCRATCH_SIZE + 1, 3 * WORKER_SCRATCH_SIZE};
	static const size_t reads[] = {0, 1000, 65536};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		for (size_t r = 0; r < sizeof(reads) / sizeof(*reads); r++) {
			struct buf buf;
			char text[64];

			buf_init(&buf, SIZE_MAX);
			put_publish(&buf, "s", 5, 's');
			put_publish(&buf, "big", sizes[i], 'b');
			put_publish(&buf, "s", 5, 't');
			house_build(&house);
			house_attach(&house, SIZE_MAX);
			mem_pipe_set_read_size(house.far, reads[r]);
			house_write(&house, buf_bytes(&buf));
			(void)snprintf(text, sizeof(text),
			    "PUBLISH s=sssss PUBLISH big=%zu PUBLISH s=ttttt", sizes[i]);
			assert_said(&house, text);
			assert_null(house.peer.tail);
			house_close(&house);
			buf_fini(&buf);
		}
	}
}

static void
a_pass_has_an_end_and_another_follows(void **state)
{
	enum { COUNT = 4500 };
	struct buf buf;

	(void)state;
	buf_init(&buf, SIZE_MAX);
	for (unsigned i = 0; i < COUNT; i++) {
		buf_append(&buf, ping_bytes, PING_LEN);
	}
	house.is_quiet = true;
	house_attach(&house, SIZE_MAX);
	house_write(&house, buf_bytes(&buf));
	assert_int_equal(house.packets, COUNT);
	assert_null(house.peer.tail);
	buf_fini(&buf);
}

static void
pause_now(struct house *at, const struct wire_packet *packet)
{
	(void)packet;
	peer_pause(&at->peer, PEER_PAUSE_ROLE);
}

static void
resume(enum peer_pause why)
{
	sim_enter(house.workers[0]);
	peer_resume(&house.peer, why);
	sim_leave();
	house_settle(&house);
}

static void
a_pause_in_the_middle_loses_nothing(void **state)
{
	struct buf buf = conversation();

	(void)state;
	begin_unconnected(1000);
	house.on_packet = pause_now;
	house_write(&house, buf_bytes(&buf));
	assert_said(&house, "CONNECT");
	/* It ends meanwhile: what came before is handled first. */
	sim_enter(house.workers[0]);
	mem_pipe_close(house.far, false);
	sim_leave();
	house_settle(&house);
	assert_said(&house, "");
	resume(PEER_PAUSE_ROLE);
	assert_said(&house, "PUBLISH a/b=xxx");
	resume(PEER_PAUSE_ROLE);
	assert_said(&house, "PUBLISH c=200");
	house.on_packet = NULL;
	resume(PEER_PAUSE_ROLE);
	assert_said(&house, "PINGREQ end:0 freed");
	buf_fini(&buf);
}

static void
it_reads_when_nobody_has_a_reason_not_to(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	sim_enter(house.workers[0]);
	peer_pause(&house.peer, PEER_PAUSE_RATE);
	peer_pause(&house.peer, PEER_PAUSE_CREDIT);
	sim_leave();
	house_write(&house, bytes_make(ping_bytes, PING_LEN));
	resume(PEER_PAUSE_RATE);
	assert_said(&house, "");
	resume(PEER_PAUSE_CREDIT);
	assert_said(&house, "PINGREQ");
}

static void
who_is_paused_notices_the_end(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	sim_enter(house.workers[0]);
	peer_pause(&house.peer, PEER_PAUSE_ROLE);
	mem_pipe_close(house.far, false);
	sim_leave();
	house_settle(&house);
	assert_said(&house, "end:0 freed");
}

static void
before_connect_no_more_is_kept_than_a_connect_may_have(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, SIZE_MAX);
	buf_append(&buf, connect_bytes, CONNECT_LEN);
	for (unsigned i = 0; i < 20000; i++) {
		buf_append(&buf, ping_bytes, PING_LEN);
	}
	begin_unconnected(64);
	house.on_packet = pause_now;
	house_write(&house, buf_bytes(&buf));
	assert_said(&house, "CONNECT");
	assert_true(peer_tail_len(&house.peer) <= 64 - CONNECT_LEN);
	house.on_packet = NULL;
	house.is_quiet = true;
	resume(PEER_PAUSE_ROLE);
	assert_int_equal(house.packets, 20001);
	buf_fini(&buf);
}

static void
close_now(struct house *at, const struct wire_packet *packet)
{
	(void)packet;
	peer_close(&at->peer, false);
}

static void
nothing_is_handled_behind_a_close(void **state)
{
	struct buf buf = conversation();

	(void)state;
	begin_unconnected(1000);
	house.on_packet = close_now;
	house_write(&house, buf_bytes(&buf));
	assert_said(&house, "CONNECT");
	buf_fini(&buf);
}

static void
a_refusal_ends_it(void **state)
{
	(void)state;
	house_attach(&house, SIZE_MAX);
	house_write(&house, bytes_make("\xc0\0\xf0\0\xc0\0", 6));
	assert_said(&house, "PINGREQ end:2");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(packets_are_found_at_every_split),
	    cmocka_unit_test(packets_are_found_whatever_one_read_brings),
	    cmocka_unit_test(large_packets_grow_in_the_tail),
	    cmocka_unit_test_setup_teardown(a_pass_has_an_end_and_another_follows, begin, end),
	    cmocka_unit_test_setup_teardown(a_pause_in_the_middle_loses_nothing, begin, end),
	    cmocka_unit_test_setup_teardown(it_reads_when_nobody_has_a_reason_not_to, begin, end),
	    cmocka_unit_test_setup_teardown(who_is_paused_notices_the_end, begin, end),
	    cmocka_unit_test_setup_teardown(
		before_connect_no_more_is_kept_than_a_connect_may_have, begin, end),
	    cmocka_unit_test_setup_teardown(nothing_is_handled_behind_a_close, begin, end),
	    cmocka_unit_test_setup_teardown(a_refusal_ends_it, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
