/* SPDX-License-Identifier: Apache-2.0 */
/* Subscriptions, retained replay with its versions, and shared groups; with the null engine. */
#include "session_house.h"

struct bench {
	struct house house;
	struct fake_sink sink;
	struct session *session;
};

static void
set_up(struct bench *bench)
{
	house_open(&bench->house, NULL);
	bench->session = house_connect(&bench->house, &bench->sink, "s", 3600, false, false);
}

static void
tear_down(struct bench *bench)
{
	house_close(&bench->house);
	fake_fini(&bench->sink);
}

static void
publish(struct bench *bench, const char *topic, const char *payload, uint8_t qos)
{
	sim_enter(bench->house.workers[0]);
	house_publish(&bench->house, topic, payload, qos);
	sim_leave();
	house_settle(&bench->house);
}

static void
retain(struct bench *bench, const char *topic, const char *payload, uint8_t qos)
{
	sim_enter(bench->house.workers[0]);
	house_publish_retained(&bench->house, topic, payload, qos);
	sim_leave();
	house_settle(&bench->house);
}

static bool
unsubscribe(struct bench *bench, struct session *session, const char *filter)
{
	uint64_t ticket = 0;
	bool found;

	sim_enter(bench->house.workers[0]);
	found = session_unsubscribe(session, bytes_of(filter), &ticket);
	sim_leave();
	house_settle(&bench->house);
	return found;
}

static void
puback(struct bench *bench, struct session *session, uint16_t id)
{
	sim_enter(bench->house.workers[0]);
	session_puback(session, id);
	sim_leave();
	house_settle(&bench->house);
}

static void
room(struct bench *bench, unsigned more)
{
	bench->sink.room = more;
	bench->sink.sink.has_room = more != 0;
	sim_enter(bench->house.workers[0]);
	session_has_room(bench->session);
	sim_leave();
	house_settle(&bench->house);
}

/* --- the list --- */

static void
a_subscription_is_replaced_and_removed(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	house_subscribe_as(&bench.house, bench.session, "a/+", 1, 7, 0);
	house_subscribe_as(&bench.house, bench.session, "a/+", 0, 8, 0);
	assert_int_equal(session_subscription_count(bench.session), 1);
	publish(&bench, "a/b", "x", 2);
	assert_said(&bench.sink.said, "x q0{8}");
	assert_true(session_has_subscription(bench.session, bytes_of("a/+")));
	assert_true(unsubscribe(&bench, bench.session, "a/+"));
	assert_false(unsubscribe(&bench, bench.session, "a/+"));
	assert_false(session_has_subscription(bench.session, bytes_of("a/+")));
	publish(&bench, "a/b", "x", 2);
	assert_said(&bench.sink.said, "");
	tear_down(&bench);
}

static void
many_subscriptions_are_found_and_limited(void **state)
{
	struct bench bench = {0};
	struct session_subscribe one = {0};
	uint64_t ticket = 0;
	char filter[16];

	(void)state;
	bench.house.limits =
	    (struct session_limits){.max_inflight_messages = 10, .max_subscriptions = 100};
	set_up(&bench);
	for (int i = 0; i < 100; i++) {
		snprintf(filter, sizeof(filter), "t/%d", i);
		house_subscribe(&bench.house, bench.session, filter, 0);
	}
	one.filter = one.full_filter = bytes_of("more");
	sim_enter(bench.house.workers[0]);
	assert_int_equal(session_subscribe(bench.session, &one, &ticket), ERR_LIMIT);
	one.filter = one.full_filter = bytes_of("t/5");
	assert_int_equal(session_subscribe(bench.session, &one, &ticket), 0);
	sim_leave();
	for (int i = 0; i < 100; i += 2) {
		snprintf(filter, sizeof(filter), "t/%d", i);
		assert_true(unsubscribe(&bench, bench.session, filter));
	}
	for (int i = 0; i < 100; i++) {
		snprintf(filter, sizeof(filter), "t/%d", i);
		assert_int_equal(session_has_subscription(bench.session, bytes_of(filter)), i % 2);
	}
	assert_int_equal(house_counter(&bench.house, COUNTER_SUBSCRIPTIONS), 50);
	tear_down(&bench);
}

/* As a packet that names one filter again and again. */
static void
one_turn_changes_only_so_many_subscriptions(void **state)
{
	struct bench bench = {0};
	struct session_subscribe one = {.filter = bytes_of("a"), .full_filter = bytes_of("a")};
	uint64_t ticket = 0;
	int done = 0;

	(void)state;
	set_up(&bench);
	sim_enter(bench.house.workers[0]);
	for (int i = 0; i < 100000; i++) {
		one.qos = (uint8_t)(i % 2);
		one.retain_handling = 2;
		done += session_subscribe(bench.session, &one, &ticket) == 0;
	}
	sim_leave();
	assert_in_range(done, 1000, 1100);
	house_settle(&bench.house);
	house_subscribe(&bench.house, bench.session, "b", 0);
	/* Many that differ are no storm. */
	sim_enter(bench.house.workers[0]);
	for (int i = 0; i < 10000; i++) {
		char filter[16];

		snprintf(filter, sizeof(filter), "t/%d", i);
		one.filter = one.full_filter = bytes_of(filter);
		assert_int_equal(session_subscribe(bench.session, &one, &ticket), 0);
	}
	sim_leave();
	tear_down(&bench);
}

static bool
keeps_b(struct session *session, const struct session_subscribe *subscription, void *arg)
{
	(void)session;
	++*(int *)arg;
	return bytes_equal_text(subscription->filter, "b") ||
	       bytes_equal_text(subscription->share_name, "g");
}

static void
each_subscription_is_shown_once_and_may_be_removed(void **state)
{
	struct bench bench = {0};
	int count = 0;

	(void)state;
	set_up(&bench);
	house_subscribe(&bench.house, bench.session, "a", 0);
	house_subscribe(&bench.house, bench.session, "b", 0);
	house_subscribe(&bench.house, bench.session, "$share/g/x", 0);
	house_subscribe(&bench.house, bench.session, "c", 0);
	sim_enter(bench.house.workers[0]);
	session_each_subscription(bench.session, keeps_b, &count);
	sim_leave();
	assert_int_equal(count, 4);
	assert_int_equal(session_subscription_count(bench.session), 2);
	publish(&bench, "a", "1", 0);
	publish(&bench, "b", "2", 0);
	publish(&bench, "x", "3", 0);
	assert_said(&bench.sink.said, "2 q0 3 q0");
	tear_down(&bench);
}

static void
a_prefix_stands_in_the_tree_and_not_in_the_name(void **state)
{
	struct bench bench = {0};
	struct session_subscribe plain = {.filter = bytes_of("a"), .full_filter = bytes_of("p/a")};
	struct session_subscribe shared = {.filter = bytes_of("$share/g/a"),
	    .full_filter = bytes_of("p/a"),
	    .share_name = bytes_of("g")};
	uint64_t ticket = 0;

	(void)state;
	set_up(&bench);
	sim_enter(bench.house.workers[0]);
	assert_int_equal(session_subscribe(bench.session, &plain, &ticket), 0);
	assert_int_equal(session_subscribe(bench.session, &shared, &ticket), 0);
	/* The other way of writing the same. */
	shared.full_filter = bytes_of("$share/g/p/a");
	assert_int_equal(session_subscribe(bench.session, &shared, &ticket), 0);
	sim_leave();
	assert_int_equal(session_subscription_count(bench.session), 2);
	publish(&bench, "p/a", "x", 0);
	publish(&bench, "a", "y", 0);
	assert_said(&bench.sink.said, "x q0 x q0");
	/* With another prefix the subscription moves. */
	plain.full_filter = bytes_of("q/a");
	sim_enter(bench.house.workers[0]);
	assert_int_equal(session_subscribe(bench.session, &plain, &ticket), 0);
	sim_leave();
	assert_true(unsubscribe(&bench, bench.session, "$share/g/a"));
	publish(&bench, "p/a", "x", 0);
	publish(&bench, "q/a", "z", 0);
	assert_said(&bench.sink.said, "z q0");
	assert_int_equal(session_subscription_count(bench.session), 1);
	tear_down(&bench);
}

/* --- replay --- */

static void
a_new_subscription_gets_what_is_retained(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	retain(&bench, "a/1", "one", 2);
	retain(&bench, "a/2", "two", 0);
	retain(&bench, "b/1", "three", 1);
	house_subscribe_as(&bench.house, bench.session, "a/1", 1, 5, 0);
	house_subscribe_as(&bench.house, bench.session, "a/2", 1, 0, 0);
	assert_said(&bench.sink.said, "one q1#1,ret{5} two q0,ret");
	house_subscribe_as(&bench.house, bench.session, "b/#", 2, 0, 2); /* never */
	house_subscribe_as(&bench.house, bench.session, "a/1", 1, 5, 1); /* only if new */
	assert_said(&bench.sink.said, "");
	house_subscribe_as(&bench.house, bench.session, "a/1", 0, 6, 0); /* always */
	house_subscribe_as(&bench.house, bench.session, "a/+", 0, 0, 1);
	house_subscribe_as(&bench.house, bench.session, "$share/g/b/1", 0, 0, 0); /* never */
	assert_string_equal(buf_text(&bench.sink.said) + strlen("one q0,ret{6} "),
	    strstr(buf_text(&bench.sink.said), "one q0,ret{6} one") != NULL
		? "one q0,ret two q0,ret"
		: "two q0,ret one q0,ret");
	tear_down(&bench);
}

static void
expired_retained_messages_are_not_sent(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	sim_enter(bench.house.workers[0]);
	{
		struct msg *msg = house_msg(&bench.house, "a", "gone", 1, true, 5);

		house_retain(&bench.house, msg);
		msg_unref(&msg);
	}
	sim_leave();
	sim_advance(bench.house.loop, 6000);
	house_subscribe(&bench.house, bench.session, "#", 1);
	assert_said(&bench.sink.said, "");
	tear_down(&bench);
}

static void
a_replay_takes_turns_with_what_is_live(void **state)
{
	struct bench bench = {0};
	struct session_counts counts;
	char topic[16];
	int live = 0, replayed = 0;

	(void)state;
	bench.house.limits = (struct session_limits){.max_inflight_messages = 1};
	set_up(&bench);
	house_subscribe(&bench.house, bench.session, "live", 1);
	for (int i = 0; i < 20; i++) {
		snprintf(topic, sizeof(topic), "r/%d", i);
		retain(&bench, topic, "r", 1);
	}
	publish(&bench, "live", "l", 1);
	house_subscribe(&bench.house, bench.session, "r/+", 1);
	for (int i = 0; i < 20; i++) {
		publish(&bench, "live", "l", 1);
	}
	buf_clear(&bench.sink.said);
	for (int i = 0; i < 20; i++) {
		puback(&bench, bench.session, 1);
		live += buf_text(&bench.sink.said)[0] == 'l';
		replayed += buf_text(&bench.sink.said)[0] == 'r';
		buf_clear(&bench.sink.said);
	}
	assert_int_equal(live, 10);
	assert_int_equal(replayed, 10);
	session_table_counts(bench.house.tables[0], &counts);
	assert_int_equal(counts.replays, 1);
	for (int i = 0; i < 30; i++) {
		puback(&bench, bench.session, 1);
	}
	session_table_counts(bench.house.tables[0], &counts);
	assert_int_equal(counts.replays, 0);
	assert_int_equal(counts.queued + counts.inflight, 0);
	tear_down(&bench);
}

static void
a_value_newer_than_asof_comes_live_and_not_again(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	retain(&bench, "a", "old", 1);
	bench.sink.room = 0;
	bench.sink.sink.has_room = false;
	house_subscribe(&bench.house, bench.session, "a", 1);
	retain(&bench, "a", "new", 1); /* waits in the queue */
	room(&bench, 10);
	assert_said(&bench.sink.said, "new q1#1");
	/* At QoS 0 the cursor sends it, too: the live copy might have died. */
	unsubscribe(&bench, bench.session, "a");
	puback(&bench, bench.session, 1);
	bench.sink.room = 0;
	bench.sink.sink.has_room = false;
	house_subscribe(&bench.house, bench.session, "a", 0);
	retain(&bench, "a", "newer", 1);
	room(&bench, 10);
	assert_true(strcmp(buf_text(&bench.sink.said), "newer q0,ret newer q0") == 0 ||
		    strcmp(buf_text(&bench.sink.said), "newer q0 newer q0,ret") == 0);
	tear_down(&bench);
}

static void
what_was_published_before_the_subscription_does_not_come_live(void **state)
{
	struct bench bench = {0};
	struct msg *msg;
	uint64_t version;

	(void)state;
	set_up(&bench);
	/* Another worker has drawn its version and is about to match. */
	sim_enter(bench.house.workers[0]);
	msg = house_msg(&bench.house, "a", "x", 1, true, 0);
	version = house_retain(&bench.house, msg);
	sim_leave();
	house_subscribe_as(&bench.house, bench.session, "a", 1, 5, 0);
	assert_said(&bench.sink.said, "x q1#1,ret{5}");
	sim_enter(bench.house.workers[0]);
	house_send_msg(&bench.house, msg, version);
	sim_leave();
	house_settle(&bench.house);
	assert_said(&bench.sink.said, "");
	tear_down(&bench);
}

static void
of_several_subscriptions_those_that_were_there_count(void **state)
{
	struct bench bench = {0};
	struct msg *msg;
	uint64_t version;

	(void)state;
	set_up(&bench);
	house_subscribe_as(&bench.house, bench.session, "+", 1, 3, 0);
	house_subscribe_as(&bench.house, bench.session, "#", 0, 4, 0);
	sim_enter(bench.house.workers[0]);
	msg = house_msg(&bench.house, "a", "x", 2, true, 0);
	version = house_retain(&bench.house, msg);
	sim_leave();
	house_subscribe_as(&bench.house, bench.session, "a", 2, 5, 2);
	sim_enter(bench.house.workers[0]);
	house_send_msg(&bench.house, msg, version);
	sim_leave();
	assert_said(&bench.sink.said, "x q1#1{3}{4}");
	/* A replacing SUBSCRIBE draws no first asof. */
	sim_enter(bench.house.workers[0]);
	msg = house_msg(&bench.house, "a", "y", 2, true, 0);
	version = house_retain(&bench.house, msg);
	sim_leave();
	house_subscribe_as(&bench.house, bench.session, "a", 2, 6, 2);
	sim_enter(bench.house.workers[0]);
	house_send_msg(&bench.house, msg, version);
	sim_leave();
	assert_non_null(strstr(buf_text(&bench.sink.said), "y q2#2"));
	assert_non_null(strstr(buf_text(&bench.sink.said), "{6}"));
	buf_clear(&bench.sink.said);
	tear_down(&bench);
}

static void
a_held_value_is_looked_up_again(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	retain(&bench, "a", "old", 0);
	bench.sink.room = 0; /* the hint says there is room */
	house_subscribe(&bench.house, bench.session, "a", 0);
	assert_said(&bench.sink.said, "");
	retain(&bench, "a", "new", 0);
	retain(&bench, "b", "", 0);
	room(&bench, 10);
	assert_null(strstr(buf_text(&bench.sink.said), "old"));
	assert_non_null(strstr(buf_text(&bench.sink.said), "new q0,ret"));
	buf_clear(&bench.sink.said);
	tear_down(&bench);
}

static void
a_replay_goes_on_after_resume_behind_what_was_queued(void **state)
{
	struct bench bench = {0};
	char topic[16];
	const char *said;
	int count = 0;

	(void)state;
	set_up(&bench);
	house_subscribe(&bench.house, bench.session, "live", 1);
	for (int i = 0; i < 20; i++) {
		snprintf(topic, sizeof(topic), "r/%d", i);
		retain(&bench, topic, "r", 1);
	}
	bench.sink.room = 5;
	house_subscribe(&bench.house, bench.session, "r/+", 1);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	publish(&bench, "live", "l", 1);
	publish(&bench, "live", "l", 1);
	bench.session = house_connect(&bench.house, &bench.sink, "s", 3600, false, true);
	assert_memory_equal(buf_text(&bench.sink.said),
	    "r q1#1,dup,ret r q1#2,dup,ret r q1#3,dup,ret r q1#4,dup,ret r q1#5,dup,ret "
	    "l q1#6 l q1#7 r q1#8,ret r q1#9,ret r q1#10,ret",
	    strlen(buf_text(&bench.sink.said)));
	buf_clear(&bench.sink.said);
	for (uint16_t round = 0; round < 3; round++) {
		for (uint16_t id = 1; id <= 10; id++) {
			puback(&bench, bench.session, id);
		}
	}
	said = buf_text(&bench.sink.said);
	for (; (said = strstr(said, "r q1")) != NULL; said++) {
		count++;
	}
	assert_int_equal(count, 12); /* 20 in all */
	tear_down(&bench);
}

/* Its live copy finds the queue full before the cursor gets there. */
static void
a_resumed_replay_brings_what_the_queue_had_no_room_for(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench.house.limits =
	    (struct session_limits){.max_inflight_messages = 1, .max_queued_messages = 2};
	set_up(&bench);
	retain(&bench, "r", "old", 1);
	house_subscribe(&bench.house, bench.session, "live", 1);
	bench.sink.room = 0;
	bench.sink.sink.has_room = false;
	house_subscribe(&bench.house, bench.session, "r", 1);
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	publish(&bench, "live", "1", 1);
	publish(&bench, "live", "2", 1);
	bench.session = house_connect(&bench.house, &bench.sink, "s", 3600, false, true);
	publish(&bench, "live", "3", 1);
	retain(&bench, "r", "new", 1); /* dropped */
	assert_int_equal(house_counter(&bench.house, COUNTER_DROPPED_QUEUE_FULL), 1);
	for (int i = 0; i < 4; i++) {
		puback(&bench, bench.session, 1);
	}
	assert_non_null(strstr(buf_text(&bench.sink.said), "1 q1#1 2 q1#1"));
	assert_non_null(strstr(buf_text(&bench.sink.said), "new q1#1,ret"));
	assert_null(strstr(buf_text(&bench.sink.said), "old"));
	tear_down(&bench);
}

static void
unsubscribe_closes_the_replay(void **state)
{
	struct bench bench = {0};

	(void)state;
	set_up(&bench);
	retain(&bench, "a", "x", 0);
	bench.sink.sink.has_room = false;
	house_subscribe(&bench.house, bench.session, "a", 0);
	unsubscribe(&bench, bench.session, "a");
	room(&bench, 10);
	assert_said(&bench.sink.said, "");
	tear_down(&bench);
}

/* --- shared groups --- */

struct pair {
	struct bench bench;
	struct fake_sink other_sink;
	struct session *other;
};

/* Two members of $share/g/t, QoS 2. */
static void
set_up_pair(struct pair *pair, uint32_t expiry_s)
{
	house_open(&pair->bench.house, NULL);
	pair->bench.session =
	    house_connect(&pair->bench.house, &pair->bench.sink, "s", expiry_s, false, false);
	pair->other =
	    house_connect(&pair->bench.house, &pair->other_sink, "o", expiry_s, false, false);
	house_subscribe(&pair->bench.house, pair->bench.session, "$share/g/t", 2);
	house_subscribe(&pair->bench.house, pair->other, "$share/g/t", 2);
}

static void
tear_down_pair(struct pair *pair)
{
	fake_fini(&pair->other_sink);
	tear_down(&pair->bench);
}

static void
members_with_room_take_turns(void **state)
{
	struct pair pair = {0};

	(void)state;
	set_up_pair(&pair, 3600);
	for (int i = 0; i < 4; i++) {
		publish(&pair.bench, "t", "x", 0);
	}
	assert_said(&pair.bench.sink.said, "x q0 x q0");
	assert_said(&pair.other_sink.said, "x q0 x q0");
	pair.other_sink.room = 1;
	publish(&pair.bench, "t", "x", 1);
	publish(&pair.bench, "t", "x", 1);
	for (int i = 0; i < 4; i++) {
		publish(&pair.bench, "t", "y", 1);
	}
	/* The other has no room any more. */
	assert_said(&pair.other_sink.said, "x q1#1");
	assert_said(&pair.bench.sink.said, "x q1#1 y q1#2 y q1#3 y q1#4 y q1#5");
	tear_down_pair(&pair);
}

static void
a_member_that_ends_gives_back_what_it_may(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair.bench.house.limits = (struct session_limits){.max_inflight_messages = 2};
	set_up_pair(&pair, 0);
	unsubscribe(&pair.bench, pair.other, "$share/g/t");
	publish(&pair.bench, "t", "a", 1);
	publish(&pair.bench, "t", "b", 2);
	publish(&pair.bench, "t", "c", 1); /* waits */
	publish(&pair.bench, "t", "d", 2); /* waits */
	house_subscribe(&pair.bench.house, pair.other, "$share/g/t", 2);
	house_detach(&pair.bench.house, pair.bench.session, SESSION_LEAVE_ABNORMAL);
	/* b was sent as QoS 2 and dies. */
	assert_said(&pair.bench.house.said, "moved moved moved");
	assert_said(&pair.other_sink.said, "a q1#1 c q1#2");
	puback(&pair.bench, pair.other, 1);
	assert_said(&pair.other_sink.said, "d q2#1");
	assert_int_equal(house_counter(&pair.bench.house, COUNTER_DROPPED_SESSION_GONE), 1);
	tear_down_pair(&pair);
}

static void
unsubscribe_gives_back_what_was_not_sent(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair.bench.house.limits = (struct session_limits){.max_inflight_messages = 1};
	set_up_pair(&pair, 0);
	unsubscribe(&pair.bench, pair.other, "$share/g/t");
	publish(&pair.bench, "t", "a", 1);
	publish(&pair.bench, "t", "b", 1);
	house_subscribe(&pair.bench.house, pair.other, "$share/g/t", 2);
	unsubscribe(&pair.bench, pair.bench.session, "$share/g/t");
	assert_said(&pair.bench.house.said, "moved");
	assert_said(&pair.other_sink.said, "b q1#1");
	/* The last one keeps what is buffered. */
	publish(&pair.bench, "t", "c", 1);
	unsubscribe(&pair.bench, pair.other, "$share/g/t");
	assert_said(&pair.bench.house.said, "keep");
	puback(&pair.bench, pair.other, 1);
	assert_said(&pair.other_sink.said, "c q1#1");
	tear_down_pair(&pair);
}

static void
a_sleeping_member_gives_to_one_who_is_awake(void **state)
{
	struct pair pair = {0};
	struct session_delivery delivery;
	const struct topic_group *group;

	(void)state;
	set_up_pair(&pair, 3600);
	house_detach(&pair.bench.house, pair.bench.session, SESSION_LEAVE_ABNORMAL);
	sim_enter(pair.bench.house.workers[0]);
	/* It was chosen before it fell asleep. */
	group = topic_tree_find_group(pair.bench.house.house.tree, bytes_of("g"), bytes_of("t"));
	delivery =
	    (struct session_delivery){.msg = house_msg(&pair.bench.house, "t", "a", 1, false, 0),
		.group = group->id,
		.qos = 1,
		.flags = SESSION_SHARED};
	session_deliver(pair.bench.session, &delivery);
	assert_said(&pair.bench.house.said, ""); /* not in the middle of a fan-out */
	sim_leave();
	house_settle(&pair.bench.house);
	assert_said(&pair.bench.house.said, "moved");
	assert_said(&pair.other_sink.said, "a q1#1");
	/* At most once round. */
	sim_enter(pair.bench.house.workers[0]);
	delivery =
	    (struct session_delivery){.msg = house_msg(&pair.bench.house, "t", "b", 1, false, 0),
		.group = group->id,
		.qos = 1,
		.flags = SESSION_SHARED | SESSION_GIVEN_BACK};
	session_deliver(pair.bench.session, &delivery);
	sim_leave();
	/* And when all sleep it stays. */
	house_detach(&pair.bench.house, pair.other, SESSION_LEAVE_ABNORMAL);
	sim_enter(pair.bench.house.workers[0]);
	delivery =
	    (struct session_delivery){.msg = house_msg(&pair.bench.house, "t", "c", 1, false, 0),
		.group = group->id,
		.qos = 1,
		.flags = SESSION_SHARED};
	session_deliver(pair.bench.session, &delivery);
	sim_leave();
	house_settle(&pair.bench.house);
	assert_said(&pair.bench.house.said, "");
	pair.bench.session =
	    house_connect(&pair.bench.house, &pair.bench.sink, "s", 3600, false, true);
	assert_said(&pair.bench.sink.said, "b q1#1 c q1#2");
	tear_down_pair(&pair);
}

static void
a_delivery_whose_session_is_gone_goes_to_another_member(void **state)
{
	struct pair pair = {0};
	struct session_delivery delivery;

	(void)state;
	set_up_pair(&pair, 3600);
	sim_enter(pair.bench.house.workers[0]);
	delivery =
	    (struct session_delivery){.msg = house_msg(&pair.bench.house, "t", "a", 1, false, 0),
		.qos = 1,
		.flags = SESSION_SHARED};
	session_deliver_lost(pair.bench.house.tables[0], 4711, bytes_of("$share/g/t"), &delivery);
	pair.bench.house.no_heirs = true;
	delivery.msg = house_msg(&pair.bench.house, "t", "b", 1, false, 0);
	session_deliver_lost(pair.bench.house.tables[0], 4711, bytes_of("$share/g/t"), &delivery);
	sim_leave();
	assert_said(&pair.bench.house.said, "moved keep");
	assert_int_equal(house_counter(&pair.bench.house, COUNTER_DROPPED_SESSION_GONE), 1);
	tear_down_pair(&pair);
}

static void
a_full_member_gives_back_what_another_can_take(void **state)
{
	struct pair pair = {
	    .bench.house.limits = {.max_inflight_messages = 1, .max_queued_messages = 1}};
	struct bench *bench = &pair.bench;

	(void)state;
	set_up_pair(&pair, 0);
	house_subscribe(&bench->house, bench->session, "own", 1);
	publish(bench, "own", "x", 1);
	publish(bench, "own", "x", 1);
	for (int i = 0; i < 6; i++) {
		publish(bench, "t", "1", 1); /* the other has room */
		publish(bench, "t", "2", 1); /* nobody has: they take turns */
		puback(bench, pair.other, 1);
		puback(bench, pair.other, 1);
		assert_said(&pair.other_sink.said, "1 q1#1 2 q1#1");
	}
	assert_non_null(strstr(buf_text(&bench->house.said), "moved"));
	assert_int_equal(house_counter(&bench->house, COUNTER_DROPPED_QUEUE_FULL), 0);
	/* Where nobody has a place each is asked once, and then it is dropped. */
	publish(bench, "t", "1", 1);
	publish(bench, "t", "2", 1);
	buf_clear(&bench->house.said);
	publish(bench, "t", "3", 1);
	assert_said(&bench->house.said, "moved");
	assert_int_equal(house_counter(&bench->house, COUNTER_DROPPED_QUEUE_FULL), 1);
	tear_down_pair(&pair);
}

/* The queue that a replay waits for goes to somebody else. */
static void
a_replay_does_not_wait_for_what_was_given_back(void **state)
{
	struct pair pair = {.bench.house.limits = {.max_inflight_messages = 1}};
	struct bench *bench = &pair.bench;

	(void)state;
	set_up_pair(&pair, 3600);
	retain(bench, "r", "value", 1);
	bench->sink.room = 0;
	bench->sink.sink.has_room = false;
	house_subscribe(&bench->house, bench->session, "r", 0);
	house_detach(&bench->house, pair.other, SESSION_LEAVE_ABNORMAL);
	house_detach(&bench->house, bench->session, SESSION_LEAVE_ABNORMAL);
	for (int i = 0; i < 20; i++) {
		publish(bench, "t", "shared", 1);
	}
	bench->session = house_connect(&bench->house, &bench->sink, "s", 3600, false, true);
	pair.other = house_connect(&bench->house, &pair.other_sink, "o", 3600, false, true);
	unsubscribe(bench, bench->session, "$share/g/t");
	assert_non_null(strstr(buf_text(&bench->sink.said), "value q0,ret"));
	tear_down_pair(&pair);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_subscription_is_replaced_and_removed),
	    cmocka_unit_test(many_subscriptions_are_found_and_limited),
	    cmocka_unit_test(one_turn_changes_only_so_many_subscriptions),
	    cmocka_unit_test(each_subscription_is_shown_once_and_may_be_removed),
	    cmocka_unit_test(a_prefix_stands_in_the_tree_and_not_in_the_name),
	    cmocka_unit_test(a_new_subscription_gets_what_is_retained),
	    cmocka_unit_test(expired_retained_messages_are_not_sent),
	    cmocka_unit_test(a_replay_takes_turns_with_what_is_live),
	    cmocka_unit_test(a_value_newer_than_asof_comes_live_and_not_again),
	    cmocka_unit_test(what_was_published_before_the_subscription_does_not_come_live),
	    cmocka_unit_test(of_several_subscriptions_those_that_were_there_count),
	    cmocka_unit_test(a_held_value_is_looked_up_again),
	    cmocka_unit_test(a_replay_goes_on_after_resume_behind_what_was_queued),
	    cmocka_unit_test(a_resumed_replay_brings_what_the_queue_had_no_room_for),
	    cmocka_unit_test(unsubscribe_closes_the_replay),
	    cmocka_unit_test(a_full_member_gives_back_what_another_can_take),
	    cmocka_unit_test(a_replay_does_not_wait_for_what_was_given_back),
	    cmocka_unit_test(members_with_room_take_turns),
	    cmocka_unit_test(a_member_that_ends_gives_back_what_it_may),
	    cmocka_unit_test(unsubscribe_gives_back_what_was_not_sent),
	    cmocka_unit_test(a_sleeping_member_gives_to_one_who_is_awake),
	    cmocka_unit_test(a_delivery_whose_session_is_gone_goes_to_another_member),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
