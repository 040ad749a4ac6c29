/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "base/buf.h"
#include "broker/sys.h"

enum { MINUTE_MS = 60000 };

static bool
is_near(double a, double b)
{
	double difference = a > b ? a - b : b - a;

	return difference < 0.0005;
}

/* 1 - 1/e, 1 - e^-1/5, 1 - e^-1/15 */
static void
a_steady_rate_is_approached_by_each_span(void **state)
{
	struct broker_sys_load load = {0};

	(void)state;
	broker_sys_load_update(&load, 100, MINUTE_MS);
	assert_true(is_near(load.average[0], 63.2121));
	assert_true(is_near(load.average[1], 18.1269));
	assert_true(is_near(load.average[2], 6.4493));
	for (uint64_t minute = 2; minute <= 200; minute++) {
		broker_sys_load_update(&load, 100 * minute, MINUTE_MS);
	}
	assert_true(is_near(load.average[0], 100));
	assert_true(is_near(load.average[1], 100));
	assert_true(load.average[2] > 99.999);
}

static void
many_small_steps_give_what_one_large_step_gives(void **state)
{
	struct broker_sys_load small = {0}, large = {0};

	(void)state;
	for (uint64_t i = 1; i <= 600; i++) {
		broker_sys_load_update(&small, 10 * i, 100);
	}
	broker_sys_load_update(&large, 6000, MINUTE_MS);
	for (int i = 0; i < BROKER_SYS_SPANS; i++) {
		assert_true(is_near(small.average[i], large.average[i]));
	}
}

static void
a_load_fades_when_nothing_comes(void **state)
{
	struct broker_sys_load load = {.average = {100, 100, 100}, .total = 7};

	(void)state;
	broker_sys_load_update(&load, 7, MINUTE_MS);
	assert_true(is_near(load.average[0], 36.7879));
	assert_true(is_near(load.average[1], 81.8731));
	assert_true(is_near(load.average[2], 93.5507));
	broker_sys_load_update(&load, 7, (int64_t)MINUTE_MS * 60 * 24 * 365);
	for (int i = 0; i < BROKER_SYS_SPANS; i++) {
		assert_true(is_near(load.average[i], 0));
	}
}

/* Two workers have taken samples, and the older one comes last. */
static void
a_sample_that_comes_late_is_no_flood(void **state)
{
	struct broker_sys_load load = {.total = 100};

	(void)state;
	broker_sys_load_update(&load, 99, 1);
	assert_true(load.average[0] <= 0.0005);
	broker_sys_load_update(&load, 100, MINUTE_MS);
	assert_true(is_near(load.average[0], 0));
}

/* --- texts --- */

static void
collect(void *arg, struct bytes topic, struct bytes payload)
{
	struct buf *text = arg;

	buf_append_bytes(text, topic);
	buf_append_byte(text, '=');
	buf_append_bytes(text, payload);
	buf_append_byte(text, '\n');
}

static void
topics_and_texts_are_mosquittos(void **state)
{
	const struct broker_sys_sample sample = {.uptime_s = 42,
	    .clients_total = 1,
	    .clients_connected = 2,
	    .clients_disconnected = 3,
	    .clients_maximum = 4,
	    .clients_expired = 5,
	    .messages_received = 6,
	    .messages_sent = 7,
	    .publishes_received = 8,
	    .publishes_sent = 9,
	    .publishes_dropped = 10,
	    .publish_bytes_received = 11,
	    .publish_bytes_sent = 12,
	    .bytes_received = 13,
	    .bytes_sent = UINT64_MAX,
	    .store_messages = 15,
	    .store_bytes = 16,
	    .subscriptions = 17,
	    .shared_subscriptions = 18,
	    .retained = 19};
	struct broker_sys_load loads[BROKER_SYS_LOADS] = {
	    [0] = {.average = {1.004, 2.5, 1234567.891}}, [8] = {.average = {3, 0, 0}}};
	struct buf text;
	const char *expected = "$SYS/broker/version=avocet version " PACKAGE_VERSION "\n"
			       "$SYS/broker/uptime=42 seconds\n"
			       "$SYS/broker/clients/total=1\n"
			       "$SYS/broker/clients/connected=2\n"
			       "$SYS/broker/clients/disconnected=3\n"
			       "$SYS/broker/clients/maximum=4\n"
			       "$SYS/broker/clients/expired=5\n"
			       "$SYS/broker/messages/received=6\n"
			       "$SYS/broker/messages/sent=7\n"
			       "$SYS/broker/publish/messages/received=8\n"
			       "$SYS/broker/publish/messages/sent=9\n"
			       "$SYS/broker/publish/messages/dropped=10\n"
			       "$SYS/broker/publish/bytes/received=11\n"
			       "$SYS/broker/publish/bytes/sent=12\n"
			       "$SYS/broker/bytes/received=13\n"
			       "$SYS/broker/bytes/sent=18446744073709551615\n"
			       "$SYS/broker/store/messages/count=15\n"
			       "$SYS/broker/store/messages/bytes=16\n"
			       "$SYS/broker/subscriptions/count=17\n"
			       "$SYS/broker/shared_subscriptions/count=18\n"
			       "$SYS/broker/retained messages/count=19\n"
			       "$SYS/broker/load/connections/1min=1.00\n"
			       "$SYS/broker/load/connections/5min=2.50\n"
			       "$SYS/broker/load/connections/15min=1234567.89\n";

	(void)state;
	buf_init(&text, SIZE_MAX);
	broker_sys_each(&sample, loads, collect, &text);
	assert_true(text.len > strlen(expected));
	assert_memory_equal(text.data, expected, strlen(expected));
	assert_non_null(strstr(buf_text(&text), "$SYS/broker/load/bytes/sent/1min=3.00\n"));
	assert_non_null(strstr(buf_text(&text), "$SYS/broker/load/publish/dropped/15min=0.00\n"));
	buf_fini(&text);
}

static void
a_sample_feeds_its_loads(void **state)
{
	struct broker_sys_load loads[BROKER_SYS_LOADS] = {0};
	const struct broker_sys_sample sample = {.connections = 60, .bytes_sent = 120};

	(void)state;
	broker_sys_loads_update(loads, &sample, (int64_t)MINUTE_MS * 1000);
	assert_true(is_near(loads[0].average[0], 0.06));
	assert_true(is_near(loads[8].average[0], 0.12));
	assert_true(is_near(loads[1].average[0], 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_steady_rate_is_approached_by_each_span),
	    cmocka_unit_test(many_small_steps_give_what_one_large_step_gives),
	    cmocka_unit_test(a_load_fades_when_nothing_comes),
	    cmocka_unit_test(a_sample_that_comes_late_is_no_flood),
	    cmocka_unit_test(topics_and_texts_are_mosquittos),
	    cmocka_unit_test(a_sample_feeds_its_loads),
	};

	return cmocka_run_group_tests_name("sys", tests, NULL, NULL);
}
