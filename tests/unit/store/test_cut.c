/* SPDX-License-Identifier: Apache-2.0 */
/* What a transaction holds: what falls away, what the store adds, in which order. */
#include "unit/store/house.h"

static struct house house;
static struct spy spy;
static struct msg *m1, *m2;

static int
begin(void **state)
{
	(void)state;
	house_open(&house, spy_init(&spy), 7);
	assert_int_equal(loop_start(house.loop), 0);
	house_settle(&house);
	m1 = house_msg("a", "1", 101);
	m2 = house_msg("a", "2", 102);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	house_close(&house);
	assert_true(ref_is_single(&m1->ref)); /* nothing of the store holds it */
	assert_true(ref_is_single(&m2->ref));
	msg_unref(&m1);
	msg_unref(&m2);
	return 0;
}

static void
put(const struct store_op *op)
{
	(void)house_put(&house, 0, op);
}

static void
row(enum store_kind kind, uint64_t qid, struct msg *msg)
{
	put(&(struct store_op){.kind = kind, .sid = 1, .qid = qid, .msg = msg});
}

static void
state_of(uint64_t qid, uint16_t packet_id)
{
	put(&(struct store_op){.kind = STORE_QUEUE_STATE,
	    .sid = 1,
	    .qid = qid,
	    .packet_id = packet_id,
	    .state = STORE_SENT});
}

static void
about(enum store_kind kind, uint64_t sid, const char *key)
{
	put(&(struct store_op){.kind = kind, .sid = sid, .key = bytes_of(key)});
}

static void
recv_op(enum store_kind kind, uint16_t packet_id)
{
	put(&(struct store_op){.kind = kind, .sid = 1, .packet_id = packet_id});
}

static void
rows_come_by_id_behind_their_messages(void **state)
{
	(void)state;
	row(STORE_QUEUE_PUT, 5, m2);
	about(STORE_SESSION_PUT, 1, "c");
	row(STORE_QUEUE_PUT, 4, m1);
	state_of(5, 9);
	row(STORE_QUEUE_PUT, 3, m2);
	house_settle(&house);
	assert_said(&spy, "msg+101 msg+102 row+3 row+4 row+5 session+1 state5 | ");
}

static void
a_message_goes_with_its_last_row(void **state)
{
	(void)state;
	row(STORE_QUEUE_PUT, 1, m1);
	row(STORE_QUEUE_PUT, 2, m1);
	house_settle(&house);
	row(STORE_QUEUE_DEL, 1, m1);
	house_settle(&house);
	assert_said(&spy, "msg+101 row+1 row+2 | row-1 | ");
	row(STORE_QUEUE_DEL, 2, m1);
	house_settle(&house);
	assert_said(&spy, "row-2 msg-101 | ");
	row(STORE_QUEUE_PUT, 3, m1); /* and comes again */
	house_settle(&house);
	assert_said(&spy, "msg+101 row+3 | ");
}

static void
a_row_that_moves_keeps_its_message(void **state)
{
	(void)state;
	row(STORE_QUEUE_PUT, 1, m1);
	house_settle(&house);
	row(STORE_QUEUE_DEL, 1, m1);
	row(STORE_QUEUE_PUT, 2, m1);
	house_settle(&house);
	assert_said(&spy, "msg+101 row+1 | row+2 row-1 | ");
}

static void
what_comes_and_goes_in_a_cut_is_not_written(void **state)
{
	(void)state;
	row(STORE_QUEUE_PUT, 1, m1);
	state_of(1, 7);
	state_of(1, 8);
	row(STORE_QUEUE_DEL, 1, m1);
	recv_op(STORE_RECV_PUT, 3);
	recv_op(STORE_RECV_DEL, 3);
	house_settle(&house);
	assert_said(&spy, "");
	assert_int_equal(spy.commits, 0);
	assert_true(ref_is_single(&m1->ref));
	row(STORE_QUEUE_PUT, 2, m1); /* it stays, the other does not */
	row(STORE_QUEUE_PUT, 3, m1);
	row(STORE_QUEUE_DEL, 2, m1);
	house_settle(&house);
	assert_said(&spy, "msg+101 row+3 | ");
}

static void
a_states_row_of_an_earlier_cut_is_deleted_without_it(void **state)
{
	(void)state;
	row(STORE_QUEUE_PUT, 1, m1);
	house_settle(&house);
	state_of(1, 7);
	row(STORE_QUEUE_DEL, 1, m1);
	state_of(1, 9);
	house_settle(&house);
	assert_said(&spy, "msg+101 row+1 | row-1 msg-101 | ");
}

static void
a_packet_id_may_be_used_again_in_a_cut(void **state)
{
	(void)state;
	recv_op(STORE_RECV_PUT, 3);
	house_settle(&house);
	recv_op(STORE_RECV_DEL, 3);
	recv_op(STORE_RECV_PUT, 3);
	house_settle(&house);
	assert_said(&spy, "recv+3 | recv-3 recv+3 | ");
	recv_op(STORE_RECV_DEL, 3);
	recv_op(STORE_RECV_PUT, 3);
	recv_op(STORE_RECV_DEL, 3);
	recv_op(STORE_RECV_PUT, 4);
	house_settle(&house);
	assert_said(&spy, "recv-3 recv+4 | ");
}

static void
the_newest_of_each_thing_is_written(void **state)
{
	(void)state;
	about(STORE_SESSION_PUT, 1, "c");
	about(STORE_SUB_PUT, 1, "f/1");
	about(STORE_SUB_PUT, 2, "f/1");
	about(STORE_SUB_PUT, 1, "f/2");
	about(STORE_CURSOR_PUT, 1, "f/1");
	about(STORE_SUB_DEL, 1, "f/1");
	put(&(struct store_op){.kind = STORE_WILL_PUT, .sid = 3, .msg = m1});
	put(&(struct store_op){.kind = STORE_WILL_PUT, .sid = 3, .msg = m2});
	about(STORE_SESSION_PUT, 1, "c");
	house_settle(&house);
	assert_said(&spy, "sub+2 sub+1 cursor+1 sub-1 will+3 session+1 | ");
	assert_true(ref_is_single(&m1->ref));
}

static void
a_deleted_session_takes_all_with_it(void **state)
{
	(void)state;
	about(STORE_SESSION_PUT, 1, "c");
	house_settle(&house);
	about(STORE_SUB_PUT, 1, "f");
	recv_op(STORE_RECV_PUT, 1);
	recv_op(STORE_RECV_DEL, 2);
	about(STORE_WILL_DEL, 1, "");
	about(STORE_SUB_PUT, 2, "f");
	about(STORE_SESSION_PUT, 1, "c");
	about(STORE_SESSION_DEL, 1, "");
	house_settle(&house);
	assert_said(&spy, "session+1 | sub+2 session-1 | ");
	about(STORE_SESSION_PUT, 9, "transient"); /* the engine never sees it */
	put(&(struct store_op){.kind = STORE_WILL_PUT, .sid = 9, .msg = m1});
	about(STORE_WILL_DEL, 9, "");
	about(STORE_SESSION_DEL, 9, "");
	house_settle(&house);
	assert_said(&spy, "");
}

/* --- retained --- */

static struct msg_applied applied;
static int entries;

static void
release_entry(void *entry)
{
	assert_ptr_equal(entry, &applied);
	entries--;
}

static void
retain(enum store_kind kind, uint64_t version, struct msg *msg)
{
	entries++;
	put(&(struct store_op){.kind = kind,
	    .version = version,
	    .msg = msg,
	    .key = bytes_of("a"),
	    .applied = &applied,
	    .entry = &applied,
	    .entry_release = release_entry});
}

static void
an_older_version_is_skipped(void **state)
{
	(void)state;
	retain(STORE_RETAIN_PUT, 10, m1);
	house_settle(&house);
	assert_said(&spy, "msg+101 retain+10 | ");
	retain(STORE_RETAIN_PUT, 9, m2);
	retain(STORE_RETAIN_DEL, 8, NULL);
	house_settle(&house);
	assert_said(&spy, "");
	retain(STORE_RETAIN_PUT, 12, m2);
	retain(STORE_RETAIN_PUT, 11, m1);
	house_settle(&house);
	assert_said(&spy, "msg+102 retain+12 msg-101 | ");
	retain(STORE_RETAIN_PUT, 13, m1);
	retain(STORE_RETAIN_DEL, 14, NULL);
	house_settle(&house);
	assert_said(&spy, "retain-14 msg-102 | ");
	retain(STORE_RETAIN_PUT, 15, m1);
	retain(STORE_RETAIN_DEL, 16, NULL);
	house_settle(&house);
	assert_said(&spy, "");
	assert_int_equal(entries, 0);
	assert_null(applied.msg);
	assert_int_equal(applied.version, 16);
	applied.version = 0;
}

static void
a_message_is_kept_for_rows_and_topics_alike(void **state)
{
	(void)state;
	retain(STORE_RETAIN_PUT, 1, m1);
	row(STORE_QUEUE_PUT, 1, m1);
	house_settle(&house);
	row(STORE_QUEUE_DEL, 1, m1);
	house_settle(&house);
	retain(STORE_RETAIN_PUT, 2, m1);
	house_settle(&house);
	retain(STORE_RETAIN_DEL, 3, NULL);
	house_settle(&house);
	assert_said(&spy, "msg+101 row+1 retain+1 | row-1 | retain+2 | retain-3 msg-101 | ");
	assert_int_equal(entries, 0);
	applied.version = 0;
}

/* --- failing --- */

static void
a_failed_cut_grows_and_is_written_whole(void **state)
{
	(void)state;
	spy.fails = true;
	row(STORE_QUEUE_PUT, 2, m1);
	house_settle(&house);
	assert_said(&spy, "FAIL ");
	row(STORE_QUEUE_PUT, 1, m2);
	row(STORE_QUEUE_DEL, 2, m1);
	house_settle(&house);
	assert_said(&spy, ""); /* it waits for its second to pass */
	sim_advance(house.loop, 1100);
	assert_said(&spy, "FAIL ");
	assert_int_equal(spy.idles, 1);
	spy.fails = false;
	sim_advance(house.loop, 1100);
	assert_said(&spy, "msg+102 row+1 | ");
	row(STORE_QUEUE_DEL, 1, m2);
	house_settle(&house);
	assert_said(&spy, "row-1 msg-102 | ");
}

static void
a_cut_of_which_nothing_is_left_still_asks_the_engine(void **state)
{
	(void)state;
	spy.fails = true;
	row(STORE_QUEUE_PUT, 2, m1);
	house_settle(&house);
	row(STORE_QUEUE_DEL, 2, m1);
	sim_advance(house.loop, 1100);
	assert_said(&spy, "FAIL FAIL ");
	assert_true(store_is_failing(house.ports[0]));
	spy.fails = false;
	sim_advance(house.loop, 1100);
	assert_said(&spy, "| ");
	assert_int_equal(spy.last_count, 0);
	assert_false(store_is_failing(house.ports[0]));
}

static void
while_it_fails_what_waits_is_bounded(void **state)
{
	(void)state;
	spy.fails = true;
	about(STORE_SESSION_PUT, 1, "c");
	house_settle(&house);
	for (unsigned i = 0; i < 5000; i++) {
		struct msg *msg = house_msg("a", "x", 1000 + i);

		retain(STORE_RETAIN_PUT, i + 1, msg);
		msg_unref(&msg);
		about(STORE_SESSION_PUT, 1, "c");
		about(STORE_SESSION_PUT, 10 + i, "transient");
		put(&(struct store_op){.kind = STORE_WILL_PUT, .sid = 10 + i, .msg = m1});
		about(STORE_WILL_DEL, 10 + i, "");
		about(STORE_SESSION_DEL, 10 + i, "");
		if (i % 100 == 0) {
			house_settle(&house);
			assert_true(entries <= 2);
		}
	}
	house_settle(&house);
	assert_int_equal(entries, 1);
	assert_true(ref_is_single(&m1->ref));
	spy.fails = false;
	buf_clear(&spy.said);
	sim_advance(house.loop, 2100);
	assert_said(&spy, "msg+5999 retain+5000 session+1 | ");
	msg_unref(&applied.msg);
	applied.version = 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(rows_come_by_id_behind_their_messages),
	    CASE(a_message_goes_with_its_last_row),
	    CASE(a_row_that_moves_keeps_its_message),
	    CASE(what_comes_and_goes_in_a_cut_is_not_written),
	    CASE(a_states_row_of_an_earlier_cut_is_deleted_without_it),
	    CASE(a_packet_id_may_be_used_again_in_a_cut),
	    CASE(the_newest_of_each_thing_is_written),
	    CASE(a_deleted_session_takes_all_with_it),
	    CASE(an_older_version_is_skipped),
	    CASE(a_message_is_kept_for_rows_and_topics_alike),
	    CASE(a_failed_cut_grows_and_is_written_whole),
	    CASE(a_cut_of_which_nothing_is_left_still_asks_the_engine),
	    CASE(while_it_fails_what_waits_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
