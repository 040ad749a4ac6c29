/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a publication: questions, retained messages, the store, the transit budget, wills.
 */
#include "unit/route/route_office.h"

static struct office office;
static struct client publisher, other;

/* --- an authority that answers as it is told --- */

static enum plugin_verdict verdict;
static uint8_t reason;
static const char *new_topic;
static uint64_t asked;
static enum plugin_question question;

static enum plugin_verdict
on_ask(struct plugin_authority *authority, struct plugin_request *request)
{
	(void)authority;
	asked = request->number;
	question = request->question;
	request->reason = reason;
	if (new_topic != NULL) {
		assert_int_equal(msg_draft_set_topic(request->draft, bytes_of(new_topic)), 0);
	}
	return verdict;
}

static const struct plugin_authority_ops ops = {.ask = on_ask};
static struct plugin_authority authority = {.ops = &ops, .may_wait = true};
static const struct plugin_set authorizes = {.authorize = &authority};
static const struct plugin_set intercepts = {.intercept = &authority};

static void
answer(const struct plugin_answer *what)
{
	sim_enter(office.workers[0]);
	assert_int_equal(plugin_complete(office.plugins, OFFICE_WORKERS, asked, what), 0);
	sim_leave();
	office_settle(&office);
}

/* --- the asker --- */

static unsigned done_count, ready_count;

static void
on_done(struct route_publication *publication)
{
	(void)publication;
	done_count++;
}

static void
on_ready(struct route_publication *publication)
{
	(void)publication;
	ready_count++;
}

static enum route_status
publish(struct route_publication *publication)
{
	enum route_status status;

	sim_enter(office.workers[0]);
	status = route_publish(office.desks[0], publication);
	sim_leave();
	return status;
}

static enum route_status
carry(struct route_publication *publication)
{
	enum route_status status;

	sim_enter(office.workers[0]);
	status = route_carry(publication);
	sim_leave();
	office_settle(&office);
	return status;
}

static void
on_end(struct plugin_request *request)
{
	plugin_request_fini(request);
}

static void
end_request(struct route_publication *publication)
{
	sim_enter(office.workers[0]);
	plugin_end(&publication->request, on_end);
	sim_leave();
	msg_draft_fini(&publication->draft);
}

static struct route_publication
ask_about(const struct plugin_set *set, const char *topic)
{
	struct route_publication publication = publication_of(&publisher, topic, "x", 1);

	publication.plugins = set;
	publication.done = on_done;
	plugin_request_init(&publication.request);
	return publication;
}

static int
open_with(bool stores)
{
	office_open(&office, stores);
	office_connect(&office, &publisher, 0, "publisher", 0);
	office_connect(&office, &other, 1, "other", 0);
	verdict = PLUGIN_ACCEPT;
	reason = 0;
	new_topic = NULL;
	asked = 0;
	done_count = ready_count = 0;
	return 0;
}

static int
begin(void **state)
{
	(void)state;
	return open_with(false);
}

static int
begin_stored(void **state)
{
	(void)state;
	return open_with(true);
}

static int
end(void **state)
{
	(void)state;
	office_close(&office);
	client_fini(&publisher);
	client_fini(&other);
	return 0;
}

/* --- questions --- */

static void
verdicts_at_once(void **state)
{
	static const struct {
		enum plugin_verdict verdict;
		uint8_t reason, told;
		bool disconnect;
	} rows[] = {{PLUGIN_ACCEPT, 0, 0, false}, {PLUGIN_DENY, 0x97, 0x97, false},
	    {PLUGIN_DENY, 0, 0x87, false}, {PLUGIN_DROP, 0, 0, false},
	    {PLUGIN_DISCONNECT, 0x98, 0x98, true}};

	(void)state;
	office_subscribe(&office, &other, "a", 1, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct route_publication publication = ask_about(&intercepts, "a");

		verdict = rows[i].verdict;
		reason = rows[i].reason;
		assert_int_equal(publish(&publication), ROUTE_DONE);
		assert_int_equal(publication.reason, rows[i].told);
		assert_int_equal(publication.disconnect, rows[i].disconnect);
		end_request(&publication);
		office_settle(&office);
		assert_got(&other, i == 0 ? "x q1" : "");
	}
	assert_int_equal(done_count, 0);
}

static void
a_changed_topic_is_checked(void **state)
{
	struct route_publication publication = ask_about(&intercepts, "a");

	(void)state;
	office_subscribe(&office, &other, "#", 1, 0);
	new_topic = "b/+";
	assert_int_equal(publish(&publication), ROUTE_DONE);
	assert_int_equal(publication.reason, 0x90);
	end_request(&publication);
	publication = ask_about(&intercepts, "a");
	new_topic = "b";
	assert_int_equal(publish(&publication), ROUTE_DONE);
	assert_int_equal(publication.reason, 0);
	end_request(&publication);
	office_settle(&office);
	assert_got(&other, "x q1");
}

static void
an_answer_that_comes_later_carries_on(void **state)
{
	struct route_publication publication = ask_about(&authorizes, "a");

	(void)state;
	office_subscribe(&office, &other, "a", 1, 0);
	verdict = PLUGIN_PENDING;
	assert_int_equal(publish(&publication), ROUTE_PENDING);
	assert_int_equal(question, PLUGIN_PUBLISH);
	assert_int_equal(done_count, 0);
	answer(&(struct plugin_answer){.verdict = PLUGIN_ACCEPT});
	assert_int_equal(done_count, 1);
	assert_int_equal(publication.reason, 0);
	assert_got(&other, "x q1");
	end_request(&publication);
}

static void
nothing_is_carried_out_before_its_turn(void **state)
{
	struct route_publication publication = ask_about(&authorizes, "a");
	struct route_publication plain = ask_about(NULL, "a");

	(void)state;
	office_subscribe(&office, &other, "a", 1, 0);
	publication.ready = plain.ready = on_ready;
	verdict = PLUGIN_PENDING;
	assert_int_equal(publish(&publication), ROUTE_PENDING);
	answer(&(struct plugin_answer){.verdict = PLUGIN_ACCEPT});
	assert_int_equal(ready_count, 1);
	assert_got(&other, "");
	assert_int_equal(carry(&publication), ROUTE_DONE);
	assert_got(&other, "x q1");
	end_request(&publication);
	/* Also where nobody is asked. */
	assert_int_equal(publish(&plain), ROUTE_READY);
	assert_got(&other, "");
	assert_int_equal(carry(&plain), ROUTE_DONE);
	assert_got(&other, "x q1");
	end_request(&plain);
	assert_int_equal(done_count, 0);
}

static void
what_is_not_answered_in_time_is_refused(void **state)
{
	struct route_publication publication = ask_about(&authorizes, "a");

	(void)state;
	verdict = PLUGIN_PENDING;
	assert_int_equal(publish(&publication), ROUTE_PENDING);
	sim_advance(office.loop, 6000);
	assert_int_equal(done_count, 1);
	assert_int_equal(publication.reason, 0x83);
	end_request(&publication);
	answer(&(struct plugin_answer){.verdict = PLUGIN_ACCEPT});
	assert_int_equal(done_count, 1);
}

/* --- the store --- */

static void
a_retained_publication_waits_for_its_row(void **state)
{
	struct route_publication publication = publication_of(&publisher, "r", "x", 1);

	(void)state;
	publication.draft.flags = MSG_RETAIN;
	assert_int_equal(publish(&publication), ROUTE_DONE);
	assert_int_not_equal(publication.ticket, 0);
	publication = publication_of(&publisher, "r", "x", 1);
	publication.draft.flags = MSG_RETAIN;
	publication.mode = ROUTE_RELAXED;
	assert_int_equal(publish(&publication), ROUTE_DONE);
	assert_int_equal(publication.ticket, 0);
	publication = publication_of(&publisher, "r", "x", 0);
	publication.draft.flags = MSG_RETAIN;
	assert_int_equal(publish(&publication), ROUTE_DONE);
	assert_int_equal(publication.ticket, 0);
}

static void
only_what_writes_a_row_waits(void **state)
{
	struct client keeper;
	struct route_publication publication = publication_of(&publisher, "a", "x", 1);

	(void)state;
	office_subscribe(&office, &other, "a", 1, 0);
	assert_int_equal(publish(&publication), ROUTE_DONE);
	assert_int_equal(publication.ticket, 0);
	office_connect(&office, &keeper, 1, "keeper", 100);
	office_subscribe(&office, &keeper, "a", 1, 0);
	publication = publication_of(&publisher, "a", "x", 1);
	assert_int_equal(publish(&publication), ROUTE_DONE);
	assert_int_not_equal(publication.ticket, 0);
	publication = publication_of(&publisher, "a", "x", 0);
	assert_int_equal(publish(&publication), ROUTE_DONE);
	assert_int_equal(publication.ticket, 0);
	office_settle(&office);
	client_fini(&keeper);
}

static void
while_the_store_fails_nothing_happens_to_what_would_need_it(void **state)
{
	struct client keeper;
	struct route_publication blocked, free_one;

	(void)state;
	office_connect(&office, &keeper, 1, "keeper", 100);
	office_subscribe(&office, &keeper, "a", 1, 0);
	store_disk_set_failing(office.disk, true);
	(void)office_publish(&office, &publisher, "a", "before", 1);
	sim_advance(office.loop, 3000);
	assert_true(store_is_failing(office.ports[0]));
	assert_got(&keeper, "before q1");
	blocked = publication_of(&publisher, "a", "x", 1);
	free_one = publication_of(&publisher, "b", "x", 1);
	assert_int_equal(publish(&blocked), ROUTE_BLOCKED);
	assert_bytes_text(blocked.draft.topic, "a");
	assert_int_equal(publish(&free_one), ROUTE_DONE);
	assert_int_equal(free_one.reason, 0x10);
	assert_int_equal(office_publish(&office, &publisher, "a", "q0", 0), 0);
	assert_int_equal(carry(&blocked), ROUTE_BLOCKED);
	assert_got(&keeper, "q0 q0");
	store_disk_set_failing(office.disk, false);
	sim_advance(office.loop, 5000);
	assert_int_equal(carry(&blocked), ROUTE_DONE);
	assert_got(&keeper, "x q1");
	client_fini(&keeper);
}

/* --- transit --- */

static void
over_the_transit_budget_qos_0_is_dropped(void **state)
{
	struct route_publication waiting = ask_about(&authorizes, "a");

	(void)state;
	office_subscribe(&office, &other, "a", 1, 0);
	route_house_set_max_transit(office.route, 100);
	assert_int_equal(office_publish(&office, &publisher, "a", "one", 0), 0);
	office_settle(&office);
	verdict = PLUGIN_PENDING;
	assert_int_equal(publish(&waiting), ROUTE_PENDING);
	office_settle(&office);
	assert_int_equal(office_publish(&office, &publisher, "a", "two", 0), 0);
	assert_int_equal(office_publish(&office, &publisher, "a", "three", 1), 0);
	office_settle(&office);
	assert_got(&other, "one q0 three q1");
	answer(&(struct plugin_answer){.verdict = PLUGIN_DENY, .reason = 0x87});
	end_request(&waiting);
	assert_int_equal(office_publish(&office, &publisher, "a", "four", 0), 0);
	office_settle(&office);
	assert_got(&other, "four q0");
}

/* --- wills --- */

static const struct plugin_set *
set_of(void *arg, struct bytes listener)
{
	(void)arg;
	assert_bytes_text(listener, "default");
	return &authorizes;
}

static struct msg *
will_of(const char *topic)
{
	struct msg_draft draft = {
	    .topic = bytes_of(topic), .payload = bytes_of("gone"), .qos = 1, .flags = MSG_WILL};

	return msg_seal(&draft);
}

static void
a_will_is_asked_about_when_it_fires(void **state)
{
	struct client mortal;

	(void)state;
	office_subscribe(&office, &other, "w", 1, 0);
	route_house_set_plugins(office.route, set_of, NULL);
	office_connect_with(&office, &mortal, 0, "mortal", 0, will_of("w"));
	verdict = PLUGIN_PENDING;
	office_leave(&office, &mortal);
	office_settle(&office);
	assert_int_equal(question, PLUGIN_WILL);
	assert_non_null(session_table_find(office.tables[0], bytes_of("mortal")));
	answer(&(struct plugin_answer){.verdict = PLUGIN_ACCEPT});
	assert_got(&other, "gone q1");
	assert_null(session_table_find(office.tables[0], bytes_of("mortal")));
	office_connect_with(&office, &mortal, 0, "mortal", 0, will_of("w"));
	office_leave(&office, &mortal);
	office_settle(&office);
	answer(&(struct plugin_answer){.verdict = PLUGIN_DENY, .reason = 0x87});
	assert_got(&other, "");
	assert_null(session_table_find(office.tables[0], bytes_of("mortal")));
}

/* Nothing leaks when the loop ends before the answer. */
static void
a_will_that_is_never_answered_goes_with_the_house(void **state)
{
	struct client mortal;

	(void)state;
	route_house_set_plugins(office.route, set_of, NULL);
	office_connect_with(&office, &mortal, 0, "mortal", 0, will_of("w"));
	verdict = PLUGIN_PENDING;
	office_leave(&office, &mortal);
	office_settle(&office);
	assert_int_equal(plugin_desk_open_count(office.plugins[0]), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(verdicts_at_once, begin, end),
	    cmocka_unit_test_setup_teardown(a_changed_topic_is_checked, begin, end),
	    cmocka_unit_test_setup_teardown(an_answer_that_comes_later_carries_on, begin, end),
	    cmocka_unit_test_setup_teardown(nothing_is_carried_out_before_its_turn, begin, end),
	    cmocka_unit_test_setup_teardown(what_is_not_answered_in_time_is_refused, begin, end),
	    cmocka_unit_test_setup_teardown(
		a_retained_publication_waits_for_its_row, begin_stored, end),
	    cmocka_unit_test_setup_teardown(only_what_writes_a_row_waits, begin_stored, end),
	    cmocka_unit_test_setup_teardown(
		while_the_store_fails_nothing_happens_to_what_would_need_it, begin_stored, end),
	    cmocka_unit_test_setup_teardown(over_the_transit_budget_qos_0_is_dropped, begin, end),
	    cmocka_unit_test_setup_teardown(a_will_is_asked_about_when_it_fires, begin, end),
	    cmocka_unit_test_setup_teardown(
		a_will_that_is_never_answered_goes_with_the_house, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
