/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subs: a growing tree of subscriptions. Stops at some sizes, and publishes what matches exactly
 * one of them, and the hot subscribers' `#`.
 */
#include "bench/load/load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNANSWERED = 2, TURN_NS = 5000000, LESS_AFTER_S = 10, STOP_AFTER_S = 20 };

static const long stops[] = {1000, 10000, 100000, 1000000, 4000000};

static struct {
	struct client *subscribers, *hot, *publisher;
	uint32_t *asked; /* SUBSCRIBEs of each subscriber */
	char (*filters)[FILTER_SIZE];
	uint8_t *payload;
	uint64_t fan; /* deliveries of one message */
	uint64_t sent, delivered;
	long have; /* subscriptions */
	unsigned seed;
	double begun_at;
	bool is_aborted;
} run;

/* Of ten 7 are exact, 2 have a `+`, and 1 a `#`. */
static void
name_filter(char *filter, long number)
{
	long group = number / 1000, kind = number % 10;

	if (kind < 7) {
		snprintf(filter, FILTER_SIZE, "%s/%ld/dev/%ld/t", options.prefix, group, number);
	} else if (kind < 9) {
		snprintf(filter, FILTER_SIZE, "%s/%ld/+/%ld/p", options.prefix, group, number);
	} else {
		snprintf(filter, FILTER_SIZE, "%s/%ld/grp/%ld/#", options.prefix, group, number);
	}
}

/* Matches name_filter() of the same number, and of no other. */
static void
name_topic(char *topic, long number)
{
	long group = number / 1000, kind = number % 10;

	if (kind < 7) {
		snprintf(topic, FILTER_SIZE, "%s/%ld/dev/%ld/t", options.prefix, group, number);
	} else if (kind < 9) {
		snprintf(topic, FILTER_SIZE, "%s/%ld/dev/%ld/p", options.prefix, group, number);
	} else {
		snprintf(topic, FILTER_SIZE, "%s/%ld/grp/%ld/x/y", options.prefix, group, number);
	}
}

static void
take_message(struct client *client, const struct message *message)
{
	(void)client;
	if (message->len < HEAD_LEN) {
		counts.protocol_errors++;
		return;
	}
	run.delivered++;
	latency_add(message->read_ns - (int64_t)get_u64(message->payload));
}

static void
prepare(void)
{
	long count = options.subscribers + options.hot + 1;
	struct client *all = clients_new(count);
	char filter[1][FILTER_SIZE];

	run.subscribers = all;
	run.hot = all + options.subscribers;
	run.publisher = run.hot + options.hot;
	for (long i = 0; i < count; i++) {
		bool is_subscriber = i < options.subscribers;
		enum role role = is_subscriber   ? SUBSCRIBER
				 : i < count - 1 ? HOT_SUBSCRIBER
						 : PUBLISHER;

		client_init(&all[i], i, role, is_subscriber ? "s" : "h");
	}
	if (clients_connect(all, count) != count) {
		die("connections failed");
	}
	snprintf(filter[0], FILTER_SIZE, "%s/#", options.prefix);
	for (long i = 0; i < options.hot; i++) {
		send_subscribe(&run.hot[i], filter, 1, 0);
	}
	if (!clients_subscribed(run.hot, options.hot, 1)) {
		die("SUBACKs missing");
	}
	run.asked = allocate((size_t)options.subscribers, sizeof(run.asked[0]));
	run.filters = allocate((size_t)options.batch, sizeof(run.filters[0]));
	run.payload = payload_new();
	run.fan = 1 + (uint64_t)options.hot;
	run.seed = 1;
}

/* One SUBSCRIBE; then waits until its connection has few without an answer. */
static void
subscribe_batch(long goal)
{
	long index = run.have / options.batch % options.subscribers, count = 0;
	struct client *client = &run.subscribers[index];

	while (count < options.batch && run.have < goal) {
		name_filter(run.filters[count++], run.have++);
	}
	send_subscribe(client, run.filters, count, 0);
	run.asked[index]++;
	turn(0);
	struct progress progress = progress_begin(0);

	while (run.asked[index] - client->suback_count > UNANSWERED && client->state == CLIENT_UP) {
		turn(TURN_NS);
		if (!progress_goes_on(&progress, client->suback_count)) {
			run.is_aborted = true;
			return;
		}
	}
	run.is_aborted = client->state != CLIENT_UP || now_s() - run.begun_at > options.limit;
}

static void
subscribe_to(long goal)
{
	while (run.have < goal && !run.is_aborted) {
		subscribe_batch(goal);
	}
	for (long i = 0; i < options.subscribers && !run.is_aborted; i++) {
		run.is_aborted = !clients_subscribed(&run.subscribers[i], 1, run.asked[i]);
	}
}

static void
publish_one(void)
{
	char topic[FILTER_SIZE];
	uint64_t high = (uint64_t)rand_r(&run.seed) << 15;
	uint64_t draw = high ^ (uint64_t)rand_r(&run.seed);

	name_topic(topic, (long)(draw % (uint64_t)run.have));
	put_u64(run.payload, (uint64_t)now_ns());
	put_u32(run.payload + 8, 0);
	put_u32(run.payload + 12, (uint32_t)run.sent);
	send_publish(run.publisher, topic, run.payload, 0, false);
	run.sent++;
}

static void
publish_burst(void)
{
	uint64_t goal = (uint64_t)options.burst, window = (uint64_t)options.window * run.fan;
	double begun_at = now_s(), moved_at = begun_at, at = begun_at;
	uint64_t seen = 0;

	run.sent = run.delivered = 0;
	latency_clear();
	while (!run.is_aborted && (run.sent < goal || run.delivered < run.sent * run.fan) &&
	       at - moved_at <= options.stall && at - begun_at <= STOP_AFTER_S) {
		while (run.sent < goal && run.sent * run.fan < run.delivered + window) {
			publish_one();
		}
		turn(TURN_NS);
		at = now_s();
		if (run.delivered != seen) {
			seen = run.delivered;
			moved_at = at;
		}
		if (at - begun_at > LESS_AFTER_S) {
			goal = run.sent; /* a slow broker gets fewer */
		}
	}
}

static void
measure_stop(long goal, const struct usage *base, bool is_first)
{
	long before = run.have;
	struct usage begin = usage_now();

	subscribe_to(goal);
	struct usage subscribed = usage_now();

	turn_for(0.3);
	struct usage settled = usage_now(), publishing = settled;

	publish_burst();
	struct usage end = usage_now();
	uint64_t added = (uint64_t)(run.have - before);
	double wall_s = subscribed.at_s - begin.at_s;

	printf("%s{\"n\":%ld,\"sub_wall_s\":%.3f,\"subs_per_s\":%.0f,\"sub_cpu_us\":%.3f,"
	       "\"rss_kb\":%ld,\"rss_bytes_per_sub\":%.1f,",
	    is_first ? "" : ",", run.have, wall_s, per_second(added, wall_s),
	    cpu_us_per(&begin, &subscribed, added), settled.rss_kb,
	    rss_per(base, &settled, (uint64_t)run.have));
	printf("\"published\":%" PRIu64 ",\"delivered\":%" PRIu64 ",\"expected\":%" PRIu64
	       ",\"pub_wall_s\":%.3f,\"pub_cpu_us\":%.3f,\"p50_us\":%.1f,\"p99_us\":%.1f}",
	    run.sent, run.delivered, run.sent * run.fan, end.at_s - publishing.at_s,
	    cpu_us_per(&publishing, &end, run.sent), latency_percentile_us(50),
	    latency_percentile_us(99));
}

void
run_subs(void)
{
	on_message = take_message;
	prepare();
	turn_for(0.3);
	struct usage base = usage_now();

	run.begun_at = base.at_s;
	printf("{\"cmd\":\"subs\",");
	print_label();
	printf(",\"v\":%ld,\"conns\":%ld,\"hot\":%ld,\"levels\":[", options.version,
	    options.subscribers, options.hot);
	for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
		if (stops[i] <= options.number && !run.is_aborted) {
			measure_stop(stops[i], &base, i == 0);
		}
	}
	printf("],\"aborted\":%d,\"closed\":%ld,\"sub_failed\":%ld,\"protocol_errors\":%ld}\n",
	    run.is_aborted, counts.closed, counts.sub_failed, counts.protocol_errors);
}
