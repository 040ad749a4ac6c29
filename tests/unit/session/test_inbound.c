/* SPDX-License-Identifier: Apache-2.0 */
/* The set of inbound QoS 2 packet ids. */
#include "session_house.h"

#include <malloc.h>

#include "session/session_int.h"

struct bench {
	struct store_disk *disk;
	struct house house;
	struct fake_sink sink;
	struct session *session;
	uint64_t ticket;
};

static void
set_up(struct bench *bench, bool stored)
{
	bench->disk = stored ? store_disk_new() : NULL;
	house_open(&bench->house, bench->disk);
	bench->session = house_connect(&bench->house, &bench->sink, "s", 3600, false, false);
	sim_enter(bench->house.workers[0]);
}

static void
tear_down(struct bench *bench)
{
	sim_leave();
	house_close(&bench->house);
	fake_fini(&bench->sink);
	store_disk_free(&bench->disk);
}

static enum session_inbound
begin(struct bench *bench, uint16_t id)
{
	bench->ticket = 99;
	return session_inbound_begin(bench->session, id, &bench->ticket);
}

static void
done(struct bench *bench, uint16_t id, uint8_t reason, bool tell)
{
	bench->ticket = 0;
	session_inbound_done(bench->session, id, reason, &bench->ticket, tell);
}

static void
commit(struct bench *bench)
{
	sim_leave();
	house_commit(&bench->house);
	sim_enter(bench->house.workers[0]);
}

static void
an_id_is_routed_once_until_it_is_released(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench, false);
	assert_int_equal(begin(&bench, 5), SESSION_INBOUND_NEW);
	done(&bench, 5, 0x10, false);
	assert_int_equal(begin(&bench, 5), SESSION_INBOUND_KNOWN);
	assert_int_equal(bench.ticket, 0);
	assert_int_equal(session_inbound_count(bench.session), 1);
	assert_int_equal(session_inbound_release(bench.session, 5, &bench.ticket), 0);
	assert_int_equal(session_inbound_release(bench.session, 5, &bench.ticket), 0x92);
	assert_int_equal(session_inbound_count(bench.session), 0);
	assert_int_equal(begin(&bench, 5), SESSION_INBOUND_NEW);
	assert_said(&bench.sink.said, "");
	tear_down(&bench);
}

static void
a_resend_while_asked_gets_the_verdict_of_the_first(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench, false);
	assert_int_equal(begin(&bench, 5), SESSION_INBOUND_NEW);
	assert_int_equal(begin(&bench, 5), SESSION_INBOUND_ASKED);
	assert_int_equal(session_inbound_release(bench.session, 5, &bench.ticket), 0x92);
	done(&bench, 5, 0, false);
	assert_said(&bench.sink.said, "rec#5=0");
	assert_int_equal(begin(&bench, 6), SESSION_INBOUND_NEW);
	assert_int_equal(begin(&bench, 6), SESSION_INBOUND_ASKED);
	done(&bench, 6, 0x87, false);
	assert_said(&bench.sink.said, "rec#6=87");
	assert_int_equal(begin(&bench, 6), SESSION_INBOUND_NEW); /* a refusal takes it out */
	done(&bench, 6, 0, true);
	assert_said(&bench.sink.said, "rec#6=0");
	tear_down(&bench);
}

static void
the_set_outlives_the_connection(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench, false);
	begin(&bench, 1);
	done(&bench, 1, 0, false);
	begin(&bench, 2);
	session_detach(bench.session, SESSION_LEAVE_ABNORMAL);
	sim_leave();
	bench.session = house_connect(&bench.house, &bench.sink, "s", 3600, false, true);
	sim_enter(bench.house.workers[0]);
	assert_int_equal(begin(&bench, 1), SESSION_INBOUND_KNOWN);
	assert_int_equal(begin(&bench, 2), SESSION_INBOUND_ASKED);
	done(&bench, 2, 0, false); /* the verdict goes to the new connection */
	assert_said(&bench.sink.said, "rec#2=0");
	tear_down(&bench);
}

static void
a_stored_session_waits_for_the_rows_both_ways(void **state)
{
	struct store_disk_counts counts;
	struct bench bench = {0};
	uint64_t ticket;

	(void)state;
	set_up(&bench, true);
	begin(&bench, 7);
	done(&bench, 7, 0, false);
	ticket = bench.ticket;
	assert_false(store_is_durable(bench.house.ports[0], ticket));
	assert_int_equal(begin(&bench, 7), SESSION_INBOUND_KNOWN);
	assert_int_equal(bench.ticket, ticket); /* PUBREC when that is durable, not before */
	commit(&bench);
	store_disk_counts(bench.disk, &counts);
	assert_int_equal(counts.received, 1);
	assert_int_equal(session_inbound_release(bench.session, 7, &ticket), 0);
	assert_false(store_is_durable(bench.house.ports[0], ticket));
	/* A PUBREL that comes again gets its PUBCOMP at the same time. */
	assert_int_equal(session_inbound_release(bench.session, 7, &bench.ticket), 0);
	assert_int_equal(bench.ticket, ticket);
	assert_int_equal(begin(&bench, 7), SESSION_INBOUND_KNOWN);
	assert_int_equal(session_inbound_count(bench.session), 1);
	commit(&bench);
	assert_int_equal(session_inbound_count(bench.session), 0);
	assert_int_equal(session_inbound_release(bench.session, 7, &bench.ticket), 0x92);
	store_disk_counts(bench.disk, &counts);
	assert_int_equal(counts.received, 0);
	assert_int_equal(begin(&bench, 7), SESSION_INBOUND_NEW);
	tear_down(&bench);
}

/* Against an array. */
static void
many_ids_come_and_go(void **state)
{
	struct bench bench = {0};
	static bool there[65536];
	uint32_t random = 1;
	size_t count = 0;

	(void)state;
	memset(there, 0, sizeof(there));
	set_up(&bench, false);
	for (int i = 0; i < 60000; i++) {
		uint16_t id;

		random = random * 1664525 + 1013904223;
		id = (uint16_t)(random >> 20);
		id = id != 0 ? id : 1;
		if ((random & 0x10000) != 0) {
			assert_int_equal(begin(&bench, id),
			    there[id] ? SESSION_INBOUND_KNOWN : SESSION_INBOUND_NEW);
			if (!there[id]) {
				done(&bench, id, 0, false);
				there[id] = true;
				count++;
			}
		} else {
			assert_int_equal(session_inbound_release(bench.session, id, &bench.ticket),
			    there[id] ? 0 : 0x92);
			count -= there[id];
			there[id] = false;
		}
		assert_int_equal(session_inbound_count(bench.session), count);
	}
	tear_down(&bench);
}

/* A publisher of QoS 2 that stays for long. */
static void
released_ids_do_not_pile_up(void **state)
{
	enum { EACH = 100 };
	struct bench bench = {0};
	size_t largest = 0, size;
	uint64_t ticket;

	(void)state;
	set_up(&bench, true);
	for (uint16_t id = 1; id <= 20000; id++) {
		assert_int_equal(begin(&bench, id), SESSION_INBOUND_NEW);
		done(&bench, id, 0, false);
		assert_int_equal(session_inbound_release(bench.session, id, &ticket), 0);
		size = malloc_usable_size(bench.session->inbox);
		largest = size > largest ? size : largest;
		if (id % EACH == 0) {
			commit(&bench);
		}
	}
	assert_int_equal(session_inbound_count(bench.session), 0);
	assert_true(largest < (size_t)16 * 1024);
	tear_down(&bench);
}

/* Counting drops what is over, and only that. */
static void
the_count_follows_what_is_durable(void **state)
{
	struct bench bench = {0};
	uint64_t ticket;

	(void)state;
	set_up(&bench, true);
	for (uint16_t id = 1; id <= 100; id++) {
		begin(&bench, id);
		done(&bench, id, 0, false);
	}
	for (uint16_t id = 1; id <= 40; id++) {
		session_inbound_release(bench.session, id, &ticket);
	}
	assert_int_equal(session_inbound_count(bench.session), 100);
	commit(&bench);
	for (uint16_t id = 41; id <= 60; id++) {
		session_inbound_release(bench.session, id, &ticket);
	}
	assert_int_equal(session_inbound_count(bench.session), 60);
	assert_false(session_inbound_has(bench.session, 40));
	assert_true(session_inbound_has(bench.session, 41));
	commit(&bench);
	assert_int_equal(session_inbound_count(bench.session), 40);
	for (uint16_t id = 61; id <= 100; id++) {
		assert_int_equal(begin(&bench, id), SESSION_INBOUND_KNOWN);
	}
	tear_down(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_id_is_routed_once_until_it_is_released),
	    cmocka_unit_test(a_resend_while_asked_gets_the_verdict_of_the_first),
	    cmocka_unit_test(the_set_outlives_the_connection),
	    cmocka_unit_test(a_stored_session_waits_for_the_rows_both_ways),
	    cmocka_unit_test(many_ids_come_and_go),
	    cmocka_unit_test(released_ids_do_not_pile_up),
	    cmocka_unit_test(the_count_follows_what_is_durable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
