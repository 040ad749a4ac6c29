/* SPDX-License-Identifier: Apache-2.0 */
/* One message to its receivers: merging, No Local, identifiers, groups, and other workers. */
#include "unit/route/route_office.h"

static struct office office;
static struct client publisher, near, far, third;

static int
begin(void **state)
{
	(void)state;
	office_open(&office, false);
	office_connect(&office, &publisher, 0, "publisher", 0);
	office_connect(&office, &near, 0, "near", 0);
	office_connect(&office, &far, 1, "far", 0);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	office_close(&office);
	client_fini(&publisher);
	client_fini(&near);
	client_fini(&far);
	return 0;
}

static void
nobody_is_told_of(void **state)
{
	(void)state;
	assert_int_equal(office_publish(&office, &publisher, "a/b", "x", 1), 0x10);
	office_subscribe(&office, &near, "a/b", 1, 0);
	assert_int_equal(office_publish(&office, &publisher, "a/b", "x", 1), 0);
	office_settle(&office);
	assert_got(&near, "x q1");
}

static void
overlapping_subscriptions_are_one_delivery(void **state)
{
	struct client *clients[] = {&near, &far};

	(void)state;
	for (int i = 0; i < 2; i++) {
		office_subscribe(&office, clients[i], "a/#", 0, 5);
		office_subscribe(&office, clients[i], "a/+", 2, 0);
		office_subscribe(&office, clients[i], "a/b", 1, 7);
		office_subscribe(&office, clients[i], "other", 2, 9);
	}
	(void)office_publish(&office, &publisher, "a/b", "x", 2);
	(void)office_publish(&office, &publisher, "a/b", "y", 1);
	(void)office_publish(&office, &publisher, "a/c", "z", 0);
	office_settle(&office);
	for (int i = 0; i < 2; i++) {
		const char *said = buf_text(&clients[i]->said);

		/* The identifiers in any order. */
		assert_true(strcmp(said, "x q2{5}{7} y q1{5}{7} z q0{5}") == 0 ||
			    strcmp(said, "x q2{7}{5} y q1{7}{5} z q0{5}") == 0);
		buf_clear(&clients[i]->said);
	}
}

static void
no_local_is_judged_per_subscription(void **state)
{
	(void)state;
	office_subscribe_as(&office, &publisher, "a/#",
	    (struct session_subscribe){.qos = 2, .subscription_id = 1, .no_local = true});
	assert_int_equal(office_publish(&office, &publisher, "a/b", "own", 2), 0x10);
	office_subscribe(&office, &publisher, "a/b", 1, 2);
	assert_int_equal(office_publish(&office, &publisher, "a/b", "own", 2), 0);
	assert_int_equal(office_publish(&office, &far, "a/c", "other's", 2), 0);
	office_settle(&office);
	assert_got(&publisher, "own q1{2} other's q2{1}");
}

static void
retain_stays_for_those_who_want_it_as_published(void **state)
{
	struct route_publication publication = publication_of(&publisher, "r", "x", 0);

	(void)state;
	publication.draft.flags = MSG_RETAIN;
	office_subscribe(&office, &near, "r", 0, 0);
	office_subscribe_as(
	    &office, &far, "r", (struct session_subscribe){.retain_as_published = true});
	office_settle(&office);
	sim_enter(office.workers[0]);
	assert_int_equal(route_publish(office.desks[0], &publication), ROUTE_DONE);
	sim_leave();
	office_settle(&office);
	assert_got(&near, "x q0");
	assert_got(&far, "x q0,ret");
}

static void
a_group_is_one_delivery_beside_the_others(void **state)
{
	(void)state;
	office_subscribe(&office, &near, "$share/g/a/+", 1, 3);
	office_subscribe(&office, &far, "$share/g/a/+", 1, 4);
	office_subscribe(&office, &far, "a/b", 1, 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(office_publish(&office, &publisher, "a/b", "x", 1), 0);
	}
	office_settle(&office);
	assert_got(&near, "x q1{3} x q1{3}");
	assert_true(strlen(buf_text(&far.said)) == strlen("x q1 x q1 x q1 x q1 x q1{4} x q1{4}"));
}

/* Two workers publish many messages of all sizes; each receiver gets them in order. */
static void
batches_keep_the_order_of_a_publisher(void **state)
{
	enum { COUNT = 300 };
	static const size_t sizes[] = {1, 90, 5000, 100000};
	char *large = mem_zalloc(100011);
	struct buf want;

	(void)state;
	buf_init(&want, SIZE_MAX);
	memset(large, 'x', 100010);
	office_subscribe(&office, &far, "#", 0, 0);
	office_subscribe(&office, &far, "a", 0, 6);
	office_subscribe(&office, &far, "+", 0, 8);
	office_subscribe(&office, &near, "#", 0, 0);
	for (unsigned i = 0; i < COUNT; i++) {
		size_t size = sizes[i % 4] + i % 10;

		large[size] = '\0';
		(void)office_publish(&office, &publisher, "a", large, 0);
		large[size] = 'x';
		if (want.len != 0) {
			buf_append_byte(&want, ' ');
		}
		if (size < 100) {
			buf_append(&want, large, size);
		} else {
			buf_printf(&want, "%zu", size);
		}
		buf_append_text(&want, " q0");
		if (i % 50 == 0) {
			office_settle(&office);
		}
	}
	office_settle(&office);
	assert_string_equal(buf_text(&near.said), buf_text(&want));
	assert_int_equal(far.said.len, want.len + COUNT * strlen("{6}{8}"));
	assert_int_equal(mail_undigested(office.loop), 0);
	buf_fini(&want);
	mem_free(&large);
}

static void
a_full_mailbox_is_told_of(void **state)
{
	struct route_publication publication = {0};
	char *large = mem_zalloc(300001);
	unsigned count = 0;

	(void)state;
	memset(large, 'x', 300000);
	office_subscribe(&office, &far, "a", 0, 0);
	sim_enter(office.workers[0]);
	while (publication.worker_over == 0 && count++ < 100) {
		publication = publication_of(&publisher, "a", large, 0);
		(void)route_publish(office.desks[0], &publication);
		if (count % 60 == 0) {
			sim_leave();
			office_settle(&office);
			sim_enter(office.workers[0]);
		}
	}
	sim_leave();
	assert_int_equal(publication.worker_over, 1 << 1);
	office_settle(&office);
	mem_free(&large);
}

/* A member that has gone before its delivery came: another one gets it. */
static void
what_a_member_can_not_take_any_more_goes_to_another(void **state)
{
	(void)state;
	office_subscribe(&office, &far, "$share/g/a", 1, 4);
	office_subscribe(&office, &near, "$share/g/a", 1, 3);
	sim_enter(office.workers[0]);
	for (int i = 0; i < 4; i++) {
		struct route_publication publication = publication_of(&publisher, "a", "y", 1);

		assert_int_equal(route_publish(office.desks[0], &publication), ROUTE_DONE);
	}
	sim_leave();
	office_leave(&office, &far);
	office_settle(&office);
	assert_got(&far, "");
	assert_got(&near, "y q1{3} y q1{3} y q1{3} y q1{3}");
}

/* --- without a message --- */

static bool passes;

static bool
on_pass(struct session_sink *sink, const struct msg_draft *draft)
{
	struct client *client = (struct client *)(void *)sink;

	if (passes) {
		buf_append_bytes(&client->said, draft->topic);
		buf_append_byte(&client->said, '=');
		buf_append_bytes(&client->said, draft->payload);
	}
	return passes;
}

static const struct session_sink_ops passing_ops = {.offer = office_offer,
    .pass = on_pass,
    .pubrel = office_pubrel,
    .received = office_received,
    .opened = office_opened,
    .ended = office_ended};

static uint8_t
publish_draft(struct client *from, struct msg_draft draft)
{
	struct route_publication publication = publication_of(from, "a", "x", draft.qos);

	publication.draft.flags = draft.flags;
	publication.draft.expiry_s = draft.expiry_s;
	if (draft.props.len != 0) {
		publication.draft.props = draft.props;
	}
	sim_enter(office.workers[from->at]);
	publication.draft.born_mono_ms = context_current->mono_ms;
	assert_int_equal(route_publish(office.desks[from->at], &publication), ROUTE_DONE);
	msg_draft_fini(&publication.draft);
	sim_leave();
	office_settle(&office);
	return publication.reason;
}

/* What only one session of this worker gets at QoS 0, as it is. */
static void
a_draft_is_passed_on_where_nothing_else_is_to_be_done(void **state)
{
	(void)state;
	passes = true;
	near.sink.ops = &passing_ops;
	far.sink.ops = &passing_ops;
	office_subscribe(&office, &near, "a", 1, 0);
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 0}), 0);
	assert_got(&near, "a=x");
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 1}), 0);
	assert_got(&near, "x q1");
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.flags = MSG_RETAIN}), 0);
	assert_got(&near, "x q0");
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.flags = MSG_WILL}), 0);
	assert_got(&near, "x q0");
	assert_int_equal(
	    publish_draft(&publisher, (struct msg_draft){.flags = MSG_EXPIRES, .expiry_s = 9}), 0);
	assert_got(&near, "x q0");
	assert_int_equal(
	    publish_draft(&publisher, (struct msg_draft){.props = BYTES_LITERAL("\x01\x01")}), 0);
	assert_got(&near, "x q0");
	passes = false; /* its output cannot */
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 0}), 0);
	assert_got(&near, "x q0");
	passes = true;
	office_subscribe(&office, &near, "a", 0, 0);
	office_settle(&office);
	assert_got(&near, "x q0,ret");
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 2}), 0);
	assert_got(&near, "a=x");
	/* Another worker's. */
	assert_int_equal(publish_draft(&far, (struct msg_draft){.qos = 0}), 0);
	assert_got(&near, "x q0");
	/* Two get it. */
	office_subscribe(&office, &far, "a", 0, 0);
	office_settle(&office);
	assert_got(&far, "x q0,ret");
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 0}), 0);
	assert_got(&near, "x q0");
	assert_got(&far, "x q0");
}

/* By another filter, or as a group. */
static void
a_draft_is_not_passed_on_where_others_get_it(void **state)
{
	(void)state;
	passes = true;
	near.sink.ops = publisher.sink.ops = far.sink.ops = &passing_ops;
	/* Publisher's place is far's of the other worker. */
	office_subscribe(&office, &publisher, "a", 0, 0);
	assert_int_equal(publish_draft(&far, (struct msg_draft){.qos = 0}), 0);
	assert_got(&publisher, "x q0");
	assert_got(&far, "");
	office_subscribe(&office, &near, "a", 0, 0);
	office_subscribe(&office, &publisher, "#", 0, 0);
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 0}), 0);
	assert_got(&near, "x q0");
	assert_got(&publisher, "x q0");
	office_connect(&office, &third, 0, "third", 0);
	office_subscribe(&office, &third, "$share/g/b", 0, 0);
	office_subscribe(&office, &near, "b", 0, 0);
	office_leave(&office, &publisher);
	assert_int_equal(office_publish(&office, &far, "b", "y", 0), 0);
	office_settle(&office);
	assert_got(&near, "y q0");
	assert_got(&third, "y q0");
	assert_int_equal(office_publish(&office, &near, "b", "y", 0), 0);
	office_settle(&office);
	assert_got(&near, "y q0");
	assert_got(&third, "y q0");
	client_fini(&third);
}

static void
a_draft_is_not_passed_on_against_the_subscription(void **state)
{
	(void)state;
	passes = true;
	near.sink.ops = publisher.sink.ops = &passing_ops;
	office_subscribe(&office, &near, "a", 0, 7); /* has an identifier */
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 0}), 0);
	assert_got(&near, "x q0{7}");
	office_subscribe_as(&office, &near, "a", (struct session_subscribe){.no_local = true});
	assert_int_equal(publish_draft(&near, (struct msg_draft){.qos = 0}), 0x10);
	assert_got(&near, "");
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 0}), 0);
	assert_got(&near, "x q0");
	/* What waits goes first. */
	office_subscribe(&office, &near, "a", 0, 0);
	near.sink.has_room = false;
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 0}), 0);
	assert_got(&near, "");
	near.sink.has_room = true;
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 0}), 0);
	assert_got(&near, "");
	sim_enter(office.workers[0]);
	session_has_room(near.session);
	sim_leave();
	office_settle(&office);
	assert_got(&near, "x q0 x q0");
	office_leave(&office, &near);
	assert_int_equal(publish_draft(&publisher, (struct msg_draft){.qos = 0}), 0x10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(nobody_is_told_of, begin, end),
	    cmocka_unit_test_setup_teardown(overlapping_subscriptions_are_one_delivery, begin, end),
	    cmocka_unit_test_setup_teardown(no_local_is_judged_per_subscription, begin, end),
	    cmocka_unit_test_setup_teardown(
		retain_stays_for_those_who_want_it_as_published, begin, end),
	    cmocka_unit_test_setup_teardown(a_group_is_one_delivery_beside_the_others, begin, end),
	    cmocka_unit_test_setup_teardown(
		a_draft_is_passed_on_where_nothing_else_is_to_be_done, begin, end),
	    cmocka_unit_test_setup_teardown(
		a_draft_is_not_passed_on_where_others_get_it, begin, end),
	    cmocka_unit_test_setup_teardown(
		a_draft_is_not_passed_on_against_the_subscription, begin, end),
	    cmocka_unit_test_setup_teardown(batches_keep_the_order_of_a_publisher, begin, end),
	    cmocka_unit_test_setup_teardown(a_full_mailbox_is_told_of, begin, end),
	    cmocka_unit_test_setup_teardown(
		what_a_member_can_not_take_any_more_goes_to_another, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
