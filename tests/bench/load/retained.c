/* SPDX-License-Identifier: Apache-2.0 */
/* retained: stores many retained messages, then one subscription to all of them. */
#include "bench/load/load.h"

#include <inttypes.h>
#include <stdio.h>

enum { PUBLISHERS = 4, TURN_NS = 10000000 };

static struct {
	struct client *publishers, *subscriber;
	uint8_t *payload;
	uint8_t *seen; /* a bit for each message */
	uint64_t count;
	uint64_t next; /* to be published */
	uint64_t delivered, duplicates, bad;
	double first_s; /* until the first one came */
} run;

static void
take_message(struct client *client, const struct message *message)
{
	(void)client;
	if (message->len < HEAD_LEN) {
		run.bad++;
		return;
	}
	uint64_t number = get_u64(message->payload);

	run.bad += message->retain ? 0 : 1;
	if (number >= run.count) {
		run.bad++;
		return;
	}
	uint8_t bit = (uint8_t)(1 << (number & 7));

	if ((run.seen[number >> 3] & bit) != 0) {
		run.duplicates++;
		return;
	}
	run.seen[number >> 3] |= bit;
	run.delivered++;
}

/* 50 times 100 times as many as it needs, below the prefix. */
static void
publish_next(struct client *client)
{
	char topic[FILTER_SIZE];

	snprintf(topic, sizeof(topic), "%s/%" PRIu64 "/%" PRIu64 "/%" PRIu64, options.prefix,
	    run.next % 50, run.next / 50 % 100, run.next / 5000);
	put_u64(run.payload, run.next);
	send_publish(client, topic, run.payload, 1, true);
	client->sent++;
	run.next++;
}

static uint64_t
acked(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < PUBLISHERS; i++) {
		sum += run.publishers[i].acked;
	}
	return sum;
}

static void
store(void)
{
	struct progress progress = progress_begin(0);

	while (acked() < run.count && progress_goes_on(&progress, acked())) {
		for (int i = 0; i < PUBLISHERS; i++) {
			while (run.next < run.count && client_window_open(&run.publishers[i])) {
				publish_next(&run.publishers[i]);
			}
		}
		turn(TURN_NS);
	}
}

/* Returns the seconds until the last one came. */
static double
drain(void)
{
	char filter[1][FILTER_SIZE];

	snprintf(filter[0], FILTER_SIZE, "%s/#", options.prefix);
	send_subscribe(run.subscriber, filter, 1, options.sub_qos >= 0 ? options.sub_qos : 1);
	struct progress progress = progress_begin(0);

	while (progress_goes_on(&progress, run.delivered) && run.delivered < run.count &&
	       run.subscriber->state == CLIENT_UP) {
		turn(TURN_NS);
		if (run.first_s <= 0 && run.delivered != 0) {
			run.first_s = now_s() - progress.begun_at;
		}
	}
	return progress.moved_at - progress.begun_at;
}

static void
prepare(void)
{
	run.count = (uint64_t)options.number;
	run.seen = allocate(run.count / 8 + 1, 1);
	run.payload = payload_new();
	run.publishers = clients_new(PUBLISHERS + 1);
	run.subscriber = run.publishers + PUBLISHERS;
	for (long i = 0; i <= PUBLISHERS; i++) {
		client_init(&run.publishers[i], i, i < PUBLISHERS ? PUBLISHER : SUBSCRIBER, "r");
	}
	if (clients_connect(run.publishers, PUBLISHERS + 1) != PUBLISHERS + 1) {
		die("connections failed");
	}
}

void
run_retained(void)
{
	prepare();
	on_message = take_message;
	struct usage begin = usage_now();

	store();
	struct usage stored = usage_now();
	uint64_t count = acked();
	double store_s = stored.at_s - begin.at_s;

	turn_for(0.5);
	struct usage settled = usage_now();
	double drain_s = drain();
	struct usage end = usage_now();

	printf("{\"cmd\":\"retained\",");
	print_label();
	printf(",\"v\":%ld,\"n\":%" PRIu64 ",\"acked\":%" PRIu64 ",\"store_wall_s\":%.3f,"
	       "\"store_per_s\":%.0f,\"store_cpu_us\":%.3f,\"rss_before_kb\":%ld,"
	       "\"rss_after_kb\":%ld,\"rss_bytes_per_msg\":%.1f,",
	    options.version, run.count, count, store_s, per_second(count, store_s),
	    cpu_us_per(&begin, &stored, count), begin.rss_kb, settled.rss_kb,
	    rss_per(&begin, &settled, count));
	printf("\"delivered\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"dup\":%" PRIu64 ",\"bad\":%" PRIu64
	       ",\"first_s\":%.4f,\"drain_s\":%.3f,\"drain_per_s\":%.0f,\"drain_cpu_us\":%.3f,"
	       "\"rss_peak_kb\":%ld,\"closed\":%ld,\"protocol_errors\":%ld}\n",
	    run.delivered, run.count - run.delivered, run.duplicates, run.bad, run.first_s, drain_s,
	    per_second(run.delivered, drain_s), cpu_us_per(&settled, &end, run.delivered),
	    end.rss_kb, counts.closed, counts.protocol_errors);
}
