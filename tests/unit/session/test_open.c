/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, taking over, leaving, expiry and wills; with the null engine unless a case needs a
 * store. */
#include "session_house.h"

struct bench {
	struct house house;
	struct fake_sink old, new;
	struct session *session;
	bool present;
	uint64_t ticket;
	uint8_t reason;
};

static void
set_up(struct bench *bench)
{
	house_open(&bench->house, NULL);
}

static void
tear_down(struct bench *bench)
{
	house_close(&bench->house);
	fake_fini(&bench->old);
	fake_fini(&bench->new);
}

/* "c" connects with a will. */
static void
connect_old(struct bench *bench, uint32_t expiry_s, uint32_t delay_s)
{
	bench->house.will = "W";
	bench->house.will_delay_s = delay_s;
	bench->session = house_connect(&bench->house, &bench->old, "c", expiry_s, false, false);
}

static enum session_open_status
try_new(struct bench *bench, uint32_t expiry_s, bool clean)
{
	enum session_open_status status;

	if (bench->new.sink.claim == 0) {
		fake_init(&bench->house, &bench->new);
	}
	sim_enter(bench->house.workers[0]);
	status = house_try(&bench->house, &bench->new, "c", expiry_s, clean, &bench->session,
	    &bench->present, &bench->ticket, &bench->reason);
	sim_leave();
	house_settle(&bench->house);
	return status;
}

static size_t
session_count(struct bench *bench)
{
	return session_table_count(bench->house.tables[0]);
}

/* --- sessions --- */

static void
a_session_without_expiry_ends_with_its_connection(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.session = house_connect(&bench.house, &bench.old, "c", 0, false, false);
	assert_int_equal(session_directory_count(bench.house.house.directory), 1);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	assert_int_equal(session_count(&bench), 0);
	assert_int_equal(session_directory_count(bench.house.house.directory), 0);
	assert_int_equal(house_counter(&bench.house, COUNTER_SESSIONS), 0);
	assert_int_equal(house_counter(&bench.house, COUNTER_SESSIONS_ATTACHED), 0);
	tear_down(&bench);
}

static void
a_session_with_expiry_sleeps_and_ends_in_time(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.session = house_connect(&bench.house, &bench.old, "c", 10, false, false);
	sim_advance(bench.house.loop, 20000); /* not while attached */
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	sim_advance(bench.house.loop, 9000);
	assert_int_equal(session_count(&bench), 1);
	bench.session = house_connect(&bench.house, &bench.old, "c", 10, false, true);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	sim_advance(bench.house.loop, 9000);
	assert_int_equal(session_count(&bench), 1);
	sim_advance(bench.house.loop, 1500);
	assert_int_equal(session_count(&bench), 0);
	assert_int_equal(house_counter(&bench.house, COUNTER_SESSIONS_EXPIRED), 1);
	bench.session = house_connect(&bench.house, &bench.old, "c", 10, false, false);
	tear_down(&bench);
}

static void
the_longest_expiry_never_ends(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.session = house_connect(&bench.house, &bench.old, "c", UINT32_MAX, false, false);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	sim_advance(bench.house.loop, INT64_C(1000) * 86400 * 365 * 200);
	assert_int_equal(session_count(&bench), 1);
	tear_down(&bench);
}

static void
disconnect_may_bring_another_expiry(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, false);
	sim_enter(bench.house.workers[0]);
	session_set_expiry(bench.session, 0);
	session_detach(bench.session, SESSION_LEAVE_NORMAL);
	sim_leave();
	assert_int_equal(session_count(&bench), 0);
	tear_down(&bench);
}

static void
a_clean_start_makes_a_new_session(void **state)
{
	struct bench bench = {0};
	uint64_t sid;

	(void)state;
	set_up(&bench);
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, false);
	house_subscribe(&bench.house, bench.session, "t", 1);
	sid = session_sid(bench.session);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, true, false);
	assert_true(session_sid(bench.session) > sid);
	assert_int_equal(session_subscription_count(bench.session), 0);
	assert_int_equal(session_count(&bench), 1);
	assert_int_equal(session_directory_count(bench.house.house.directory), 1);
	tear_down(&bench);
}

static void
names_of_a_session_that_ended_do_not_find_the_next_one(void **state)
{
	struct bench bench = {0};
	uint32_t slot, generation;

	(void)state;
	set_up(&bench);
	bench.session = house_connect(&bench.house, &bench.old, "c", 0, false, false);
	slot = session_slot(bench.session);
	generation = session_generation(bench.session);
	assert_ptr_equal(session_table_get(bench.house.tables[0], slot, generation), bench.session);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	bench.session = house_connect(&bench.house, &bench.old, "c", 0, false, false);
	assert_int_equal(session_slot(bench.session), slot);
	assert_null(session_table_get(bench.house.tables[0], slot, generation));
	tear_down(&bench);
}

static void
sessions_are_limited_but_old_ones_may_come_back(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.session = house_connect(&bench.house, &bench.old, "other", 100, false, false);
	atomic_store(&bench.house.house.max_sessions, 1);
	assert_int_equal(try_new(&bench, 0, false), SESSION_REFUSED);
	assert_int_equal(bench.reason, 0x97);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	bench.session = house_connect(&bench.house, &bench.old, "other", 100, true, false);
	tear_down(&bench);
}

static void
administration_ends_a_session_awake_or_asleep(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 100, 50);
	sim_enter(bench.house.workers[0]);
	session_terminate(bench.session);
	sim_leave();
	assert_said(&bench.old.said, "ended");
	assert_said(&bench.house.said, "will:W");
	assert_int_equal(session_count(&bench), 0);
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, false);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	sim_enter(bench.house.workers[0]);
	session_terminate(bench.session);
	sim_leave();
	assert_int_equal(session_count(&bench), 0);
	tear_down(&bench);
}

/* --- taking over --- */

static void
a_newer_claim_takes_the_session_over(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, false);
	house_subscribe(&bench.house, bench.session, "t", 1);
	sim_enter(bench.house.workers[0]);
	house_publish(&bench.house, "t", "a", 1);
	sim_leave();
	assert_said(&bench.old.said, "a q1#1");
	assert_int_equal(try_new(&bench, 100, false), SESSION_OPENED);
	assert_true(bench.present);
	assert_said(&bench.old.said, "over");
	sim_enter(bench.house.workers[0]);
	session_serve(bench.session);
	sim_leave();
	house_settle(&bench.house);
	assert_said(&bench.new.said, "a q1#1,dup");
	assert_int_equal(house_counter(&bench.house, COUNTER_SESSIONS_ATTACHED), 1);
	tear_down(&bench);
}

static void
a_smaller_claim_is_itself_the_one_taken_over(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	fake_init(&bench.house, &bench.new); /* claimed first, arrives last */
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, false);
	assert_int_equal(try_new(&bench, 100, true), SESSION_OUTDATED);
	assert_said(&bench.old.said, "");
	assert_int_equal(session_count(&bench), 1);
	tear_down(&bench);
}

static void
a_session_with_expiry_0_ends_at_take_over(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 0, 60);
	assert_int_equal(try_new(&bench, 100, false), SESSION_OPENED);
	assert_false(bench.present);
	assert_said(&bench.old.said, "over");
	assert_said(&bench.house.said, "will:W");
	tear_down(&bench);
}

/* --- wills --- */

static void
a_normal_disconnect_drops_the_will(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 0, 0);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	connect_old(&bench, 100, 10);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	sim_advance(bench.house.loop, 200000);
	assert_said(&bench.house.said, "");
	tear_down(&bench);
}

static void
an_abnormal_end_publishes_the_will_after_its_delay(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 100, 0);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	assert_said(&bench.house.said, "will:W");
	bench.house.will = "X";
	bench.house.will_delay_s = 10;
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, true);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	sim_advance(bench.house.loop, 9900);
	assert_said(&bench.house.said, "");
	sim_advance(bench.house.loop, 1000);
	assert_said(&bench.house.said, "will:X");
	assert_int_equal(session_count(&bench), 1);
	sim_advance(bench.house.loop, 100000);
	assert_said(&bench.house.said, "");
	assert_int_equal(session_count(&bench), 0);
	tear_down(&bench);
}

static void
an_expiry_before_the_delay_publishes_the_will(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 5, 100);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	sim_advance(bench.house.loop, 5200);
	assert_said(&bench.house.said, "will:W");
	assert_int_equal(session_count(&bench), 0);
	tear_down(&bench);
}

static void
coming_back_within_the_delay_drops_the_will(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 100, 10);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	sim_advance(bench.house.loop, 5000);
	bench.session = house_connect(&bench.house, &bench.new, "c", 100, false, true);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	sim_advance(bench.house.loop, 200000);
	assert_said(&bench.house.said, "");
	tear_down(&bench);
}

static void
a_clean_start_within_the_delay_publishes_the_will(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 100, 10);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	assert_int_equal(try_new(&bench, 100, true), SESSION_OPENED);
	assert_said(&bench.house.said, "will:W");
	tear_down(&bench);
}

static void
a_take_over_publishes_or_drops_the_will_by_its_delay(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 100, 10);
	assert_int_equal(try_new(&bench, 100, false), SESSION_OPENED);
	assert_said(&bench.house.said, "");
	bench.house.will = "X";
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, true);
	fake_init(&bench.house, &bench.new);
	assert_int_equal(try_new(&bench, 100, false), SESSION_OPENED);
	assert_true(bench.present);
	assert_said(&bench.house.said, "will:X");
	bench.house.will = "Y";
	bench.house.will_delay_s = 10;
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, true);
	fake_init(&bench.house, &bench.new);
	assert_int_equal(try_new(&bench, 100, true), SESSION_OPENED);
	assert_said(&bench.house.said, "will:Y");
	tear_down(&bench);
}

static void
while_a_will_is_asked_for_an_open_waits(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 100, 0);
	house_subscribe(&bench.house, bench.session, "t", 1);
	bench.house.will_pends = true;
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	sim_advance(bench.house.loop, 200000); /* it does not end meanwhile … */
	assert_int_equal(session_count(&bench), 1);
	assert_int_equal(try_new(&bench, 100, false), SESSION_WAIT);
	house_answer_will(&bench.house, false);
	assert_said(&bench.new.said, "opened-"); /* … but it has expired */
	assert_int_equal(session_subscription_count(bench.new.session), 0);
	assert_int_equal(session_count(&bench), 1);
	assert_said(&bench.house.said, "will:W");
	tear_down(&bench);
}

static void
an_open_that_waits_resumes_where_the_session_goes_on(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 100, 0);
	bench.house.will_pends = true;
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	bench.house.will = "N";
	assert_int_equal(try_new(&bench, 100, false), SESSION_WAIT);
	house_answer_will(&bench.house, false);
	assert_said(&bench.new.said, "opened+");
	bench.house.will_session = bench.new.session;
	house_answer_will(&bench.house, false); /* nothing is asked: ignored */
	house_detach(&bench.house, bench.new.session, SESSION_LEAVE_ABNORMAL);
	assert_said(&bench.house.said, "will:W will:N");
	tear_down(&bench);
}

static void
an_open_that_waits_is_overtaken_like_any_other(void **state)
{
	struct bench bench = {0};
	struct fake_sink third = {0}, late = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 0, 0);
	bench.house.will_pends = true;
	fake_init(&bench.house, &late);
	assert_int_equal(try_new(&bench, 100, true), SESSION_WAIT);
	assert_said(&bench.old.said, "over");
	sim_enter(bench.house.workers[0]);
	bench.house.will = "unused";
	assert_int_equal(house_try(&bench.house, &late, "c", 0, true, &bench.session,
			     &bench.present, &bench.ticket, &bench.reason),
	    SESSION_OUTDATED);
	fake_init(&bench.house, &third);
	bench.house.will = "T";
	assert_int_equal(house_try(&bench.house, &third, "c", 0, true, &bench.session,
			     &bench.present, &bench.ticket, &bench.reason),
	    SESSION_WAIT);
	sim_leave();
	assert_said(&bench.new.said, "over");
	house_answer_will(&bench.house, false);
	assert_said(&third.said, "opened-");
	assert_said(&bench.house.said, "will:W"); /* once */
	fake_fini(&third);
	fake_fini(&late);
	tear_down(&bench);
}

static void
an_open_that_waits_may_be_cancelled(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 0, 0);
	bench.house.will_pends = true;
	bench.house.will = "unused";
	assert_int_equal(try_new(&bench, 100, true), SESSION_WAIT);
	sim_enter(bench.house.workers[0]);
	session_open_cancel(bench.house.tables[0], &bench.old.sink, bytes_of("c")); /* not it */
	session_open_cancel(bench.house.tables[0], &bench.new.sink, bytes_of("c"));
	session_open_cancel(bench.house.tables[0], &bench.new.sink, bytes_of("nobody"));
	sim_leave();
	house_answer_will(&bench.house, false);
	house_settle(&bench.house);
	assert_said(&bench.new.said, "");
	assert_int_equal(session_count(&bench), 0);
	assert_int_equal(session_directory_count(bench.house.house.directory), 0);
	tear_down(&bench);
}

static void
a_session_ended_while_its_will_is_asked_for_ends_with_the_answer(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 100, 0);
	bench.house.will_pends = true;
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	sim_enter(bench.house.workers[0]);
	session_terminate(bench.session);
	sim_leave();
	assert_int_equal(session_count(&bench), 1);
	house_answer_will(&bench.house, false);
	assert_int_equal(session_count(&bench), 0);
	/* An answer that comes twice or too late names nobody. */
	session_will_answered(bench.house.tables[0], 0, 1);
	tear_down(&bench);
}

static void
a_shutdown_fires_no_will(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	connect_old(&bench, 0, 0);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_SHUTDOWN);
	connect_old(&bench, 100, 0);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_SHUTDOWN);
	assert_said(&bench.house.said, "");
	tear_down(&bench);
}

/* --- with a store --- */

static void
a_stored_session_is_durable_before_connack_and_gone_after_a_clean_one(void **state)
{
	struct store_disk *disk = store_disk_new();
	struct store_disk_counts counts;
	struct bench bench = {0};

	(void)state;
	house_open(&bench.house, disk);
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, false);
	assert_true(session_is_stored(bench.session));
	store_disk_counts(disk, &counts);
	assert_int_equal(counts.sessions, 1);
	/* A clean session over it waits until it is gone. */
	assert_int_equal(try_new(&bench, 0, true), SESSION_OPENED);
	assert_true(bench.ticket != 0);
	assert_false(session_is_stored(bench.session));
	house_commit(&bench.house);
	store_disk_counts(disk, &counts);
	assert_int_equal(counts.sessions, 0);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	bench.house.no_store = true;
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, false);
	assert_false(session_is_stored(bench.session));
	tear_down(&bench);
	store_disk_free(&disk);
}

static void
a_transient_session_has_rows_for_its_will_only(void **state)
{
	struct store_disk *disk = store_disk_new();
	struct store_disk_counts counts;
	struct bench bench = {0};

	(void)state;
	house_open(&bench.house, disk);
	bench.house.will = "W";
	assert_int_equal(try_new(&bench, 0, true), SESSION_OPENED);
	assert_int_equal(bench.ticket, 0); /* CONNACK does not wait */
	assert_false(session_is_stored(bench.session));
	house_commit(&bench.house);
	store_disk_counts(disk, &counts);
	assert_int_equal(counts.sessions, 1);
	assert_int_equal(counts.wills, 1);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	house_commit(&bench.house);
	store_disk_counts(disk, &counts);
	assert_int_equal(counts.sessions, 0);
	assert_int_equal(counts.wills, 0);
	assert_said(&bench.house.said, "will:W");
	tear_down(&bench);
	store_disk_free(&disk);
}

static void
a_failing_store_admits_what_it_holds_and_refuses_what_it_cannot(void **state)
{
	struct store_disk *disk = store_disk_new();
	struct bench bench = {0};

	(void)state;
	house_open(&bench.house, disk);
	bench.session = house_connect(&bench.house, &bench.old, "c", 100, false, false);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	house_commit(&bench.house);
	store_disk_set_failing(disk, true);
	/* It is found out by something that is written. */
	sim_enter(bench.house.workers[0]);
	store_put(bench.house.ports[0],
	    &(struct store_op){.kind = STORE_RECV_PUT, .sid = 1, .packet_id = 1});
	sim_leave();
	house_commit(&bench.house);
	house_settle(&bench.house);
	assert_true(store_is_failing(bench.house.ports[0]));
	assert_int_equal(try_new(&bench, 100, true), SESSION_REFUSED);
	assert_int_equal(bench.reason, 0x88);
	assert_int_equal(try_new(&bench, 0, true), SESSION_REFUSED);
	assert_int_equal(session_count(&bench), 1);
	assert_int_equal(try_new(&bench, 100, false), SESSION_OPENED);
	assert_true(bench.present);
	assert_int_equal(bench.ticket, 0);
	sim_enter(bench.house.workers[0]);
	fake_init(&bench.house, &bench.old);
	assert_int_equal(house_try(&bench.house, &bench.old, "new", 100, false, &bench.session,
			     &bench.present, &bench.ticket, &bench.reason),
	    SESSION_REFUSED);
	assert_int_equal(house_try(&bench.house, &bench.old, "new", 0, false, &bench.session,
			     &bench.present, &bench.ticket, &bench.reason),
	    SESSION_OPENED);
	sim_leave();
	tear_down(&bench);
	store_disk_free(&disk);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_session_without_expiry_ends_with_its_connection),
	    cmocka_unit_test(a_session_with_expiry_sleeps_and_ends_in_time),
	    cmocka_unit_test(the_longest_expiry_never_ends),
	    cmocka_unit_test(disconnect_may_bring_another_expiry),
	    cmocka_unit_test(a_clean_start_makes_a_new_session),
	    cmocka_unit_test(names_of_a_session_that_ended_do_not_find_the_next_one),
	    cmocka_unit_test(sessions_are_limited_but_old_ones_may_come_back),
	    cmocka_unit_test(administration_ends_a_session_awake_or_asleep),
	    cmocka_unit_test(a_newer_claim_takes_the_session_over),
	    cmocka_unit_test(a_smaller_claim_is_itself_the_one_taken_over),
	    cmocka_unit_test(a_session_with_expiry_0_ends_at_take_over),
	    cmocka_unit_test(a_normal_disconnect_drops_the_will),
	    cmocka_unit_test(an_abnormal_end_publishes_the_will_after_its_delay),
	    cmocka_unit_test(an_expiry_before_the_delay_publishes_the_will),
	    cmocka_unit_test(coming_back_within_the_delay_drops_the_will),
	    cmocka_unit_test(a_clean_start_within_the_delay_publishes_the_will),
	    cmocka_unit_test(a_take_over_publishes_or_drops_the_will_by_its_delay),
	    cmocka_unit_test(while_a_will_is_asked_for_an_open_waits),
	    cmocka_unit_test(an_open_that_waits_resumes_where_the_session_goes_on),
	    cmocka_unit_test(an_open_that_waits_is_overtaken_like_any_other),
	    cmocka_unit_test(an_open_that_waits_may_be_cancelled),
	    cmocka_unit_test(a_session_ended_while_its_will_is_asked_for_ends_with_the_answer),
	    cmocka_unit_test(a_shutdown_fires_no_will),
	    cmocka_unit_test(a_stored_session_is_durable_before_connack_and_gone_after_a_clean_one),
	    cmocka_unit_test(a_transient_session_has_rows_for_its_will_only),
	    cmocka_unit_test(a_failing_store_admits_what_it_holds_and_refuses_what_it_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
