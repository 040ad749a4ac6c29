/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker remembers of topics: the same is delivered as without it, whatever becomes of the
 * subscriptions between two publications of a topic. Each is published three times: to be seen, to
 * be remembered, to be found.
 */
#include "unit/route/route_office.h"

#include <stdio.h>

enum { CROWD = 16, TOPICS = 3000 };

static struct office office;
static struct client publisher, near, far, crowd[CROWD];

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
	for (int i = 0; i < CROWD; i++) {
		client_fini(&crowd[i]);
	}
	return 0;
}

static void
publish_as(const char *topic, const char *payload, uint8_t qos, uint8_t reason)
{
	for (int i = 0; i < 3; i++) {
		assert_int_equal(office_publish(&office, &publisher, topic, payload, qos), reason);
	}
	office_settle(&office);
}

/* Publishes three times; 0x10 each when there is nobody. */
static void
publish(const char *topic, const char *payload, uint8_t reason)
{
	publish_as(topic, payload, 1, reason);
}

static void
unsubscribe(struct client *client, const char *filter)
{
	uint64_t ticket;

	sim_enter(office.workers[client->at]);
	assert_true(session_unsubscribe(client->session, bytes_of(filter), &ticket));
	sim_leave();
	office_settle(&office);
}

static void
subscriptions_that_come_and_go(void **state)
{
	(void)state;
	publish("a/b", "1", 0x10);
	office_subscribe(&office, &near, "a/b", 1, 0);
	publish("a/b", "2", 0);
	office_subscribe(&office, &far, "a/#", 1, 7);
	publish("a/b", "3", 0);
	unsubscribe(&near, "a/b");
	publish("a/b", "4", 0);
	unsubscribe(&far, "a/#");
	publish("a/b", "5", 0x10);
	assert_got(&near, "2 q1 2 q1 2 q1 3 q1 3 q1 3 q1");
	assert_got(&far, "3 q1{7} 3 q1{7} 3 q1{7} 4 q1{7} 4 q1{7} 4 q1{7}");
}

static void
a_subscription_that_is_made_anew(void **state)
{
	(void)state;
	office_subscribe(&office, &near, "a/b", 1, 3);
	publish("a/b", "1", 0);
	office_subscribe(&office, &near, "a/b", 0, 4);
	publish("a/b", "2", 0);
	assert_got(&near, "1 q1{3} 1 q1{3} 1 q1{3} 2 q0{4} 2 q0{4} 2 q0{4}");
}

static void
a_session_that_ends(void **state)
{
	(void)state;
	office_subscribe(&office, &far, "a/b", 1, 0);
	publish("a/b", "1", 0);
	office_leave(&office, &far);
	office_settle(&office);
	publish("a/b", "2", 0x10);
	assert_got(&far, "1 q1 1 q1 1 q1");
}

static void
overlapping_subscriptions_are_merged(void **state)
{
	(void)state;
	office_subscribe(&office, &near, "a/#", 0, 5);
	office_subscribe(&office, &near, "a/+", 1, 0);
	publish("a/b", "x", 0);
	assert_got(&near, "x q1{5} x q1{5} x q1{5}");
}

static void
more_filters_than_are_remembered(void **state)
{
	static const char *const filters[] = {
	    "#", "+/#", "a/#", "a/+", "a/b", "+/+", "+/b", "a/b/#"};

	(void)state;
	for (int i = 0; i < 8; i++) {
		office_subscribe(&office, &near, filters[i], 1, 0);
		publish("a/b", "x", 0);
		assert_got(&near, "x q1 x q1 x q1");
	}
}

static void
more_subscribers_than_are_remembered(void **state)
{
	char id[16];

	(void)state;
	for (int i = 0; i < CROWD; i++) {
		(void)snprintf(id, sizeof(id), "crowd-%d", i);
		office_connect(&office, &crowd[i], i % 2, id, 0);
		office_subscribe(&office, &crowd[i], "a/b", 1, 0);
		publish("a/b", "x", 0);
		for (int k = 0; k <= i; k++) {
			assert_got(&crowd[k], "x q1 x q1 x q1");
		}
	}
}

static void
a_group_chooses_anew(void **state)
{
	(void)state;
	office_subscribe(&office, &near, "$share/g/a/b", 1, 0);
	office_subscribe(&office, &far, "$share/g/a/b", 1, 0);
	publish("a/b", "x", 0);
	publish("a/b", "x", 0);
	assert_got(&near, "x q1 x q1 x q1");
	assert_got(&far, "x q1 x q1 x q1");
}

/* More topics than there are places, so that many share one. */
static void
topics_that_share_a_place(void **state)
{
	char topic[32], text[64];

	(void)state;
	for (int i = 0; i < TOPICS; i += 2) {
		(void)snprintf(topic, sizeof(topic), "sensor/%d", i);
		office_subscribe(&office, &near, topic, 1, (uint32_t)i + 1);
	}
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < TOPICS; i++) {
			(void)snprintf(topic, sizeof(topic), "sensor/%d", i);
			publish_as(topic, "x", 0, i % 2 == 0 ? 0 : 0x10);
			(void)snprintf(
			    text, sizeof(text), "x q0{%d} x q0{%d} x q0{%d}", i + 1, i + 1, i + 1);
			assert_got(&near, i % 2 == 0 ? text : "");
		}
	}
}

/* What memo.c makes of the first eight bytes of a topic of sixteen. */
static uint64_t
half_a_hash(const char *half)
{
	uint64_t word, hash = 16;

	memcpy(&word, half, sizeof(word));
	hash = (hash ^ word) * 0x9e3779b97f4a7c15;
	return hash ^ hash >> 32;
}

/* The second half that gives the topic the hash of another; false: that is no text. */
static bool
forge(const char *topic, char *forged)
{
	uint64_t word;

	memcpy(&word, topic + 8, sizeof(word));
	word ^= half_a_hash(topic) ^ half_a_hash(forged);
	memcpy(forged + 8, &word, sizeof(word));
	forged[16] = '\0';
	return strlen(forged) == 16 && strcspn(forged, "+#/") == 16;
}

static void
topics_of_the_same_hash(void **state)
{
	const char *topic = "aaaaaaaabbbbbbbb";
	char forged[17];
	int count = 0;

	(void)state;
	office_subscribe(&office, &near, topic, 1, 0);
	for (int i = 0; i < 100; i++) {
		(void)snprintf(forged, sizeof(forged), "%08d", i);
		if (forge(topic, forged)) {
			publish(topic, "x", 0);
			publish(forged, "y", 0x10);
			assert_got(&near, "x q1 x q1 x q1");
			count++;
		}
	}
	assert_true(count > 50);
}

static void
topics_of_all_lengths(void **state)
{
	char topic[300];

	(void)state;
	for (size_t len = 1; len < sizeof(topic) - 1; len++) {
		memset(topic, 'a', len);
		topic[len] = '\0';
		office_subscribe(&office, &near, topic, 1, (uint32_t)len);
		publish(topic, "x", 0);
		unsubscribe(&near, topic);
		publish(topic, "y", 0x10);
		topic[len - 1] = 'b';
		publish(topic, "z", 0x10);
	}
	assert_non_null(strstr(buf_text(&near.said), "x q1{298} x q1{298} x q1{298}"));
	assert_null(strchr(buf_text(&near.said), 'y'));
	assert_null(strchr(buf_text(&near.said), 'z'));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(subscriptions_that_come_and_go, begin, end),
	    cmocka_unit_test_setup_teardown(a_subscription_that_is_made_anew, begin, end),
	    cmocka_unit_test_setup_teardown(a_session_that_ends, begin, end),
	    cmocka_unit_test_setup_teardown(overlapping_subscriptions_are_merged, begin, end),
	    cmocka_unit_test_setup_teardown(more_filters_than_are_remembered, begin, end),
	    cmocka_unit_test_setup_teardown(more_subscribers_than_are_remembered, begin, end),
	    cmocka_unit_test_setup_teardown(a_group_chooses_anew, begin, end),
	    cmocka_unit_test_setup_teardown(topics_that_share_a_place, begin, end),
	    cmocka_unit_test_setup_teardown(topics_of_the_same_hash, begin, end),
	    cmocka_unit_test_setup_teardown(topics_of_all_lengths, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
