/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pubsub: a stream of messages through one of three topologies. It warms up, measures for --secs,
 * until --count were sent or until SIGTERM, and drains, so that what was lost is known of the whole
 * run.
 */
#include "bench/load/load.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { TURN_NS = 10000000, BURST = 256, DUE_BURST = 2000, DRAIN_S = 2 };

enum topology { PAIRS, FANIN, FANOUT };

enum phase { WARM, MEASURE, DRAIN };

/* Counts and usage at one moment. */
struct mark {
	struct usage usage;
	uint64_t sent, delivered;
};

static struct {
	enum topology topology;
	long publisher_count, subscriber_count;
	struct client *publishers, *subscribers;
	struct stream *streams; /* one for each pair of a publisher and who gets its messages */
	uint64_t fan;           /* deliveries of one message */
	uint64_t sent, delivered;
	enum phase phase;
	struct mark begin, end;
	double warm_until, measure_until, moved_at;
	uint64_t seen;        /* deliveries at moved_at */
	int64_t scheduled_ns; /* when the schedule of --rate began */
	int64_t lag_ns;       /* how late the generator was at most */
	long next_publisher;  /* of the schedule */
	bool is_stalled;
} run;

static volatile sig_atomic_t is_told_to_end;

/* --- messages --- */

static void
take_message(struct client *client, const struct message *message)
{
	bool is_pairs = run.topology == PAIRS;

	if (message->len < HEAD_LEN) {
		counts.protocol_errors++;
		return;
	}
	uint32_t publisher = get_u32(message->payload + 8);

	if (publisher >= run.publisher_count || client->role != SUBSCRIBER ||
	    (is_pairs && publisher != client->index)) {
		counts.protocol_errors++;
		return;
	}
	run.delivered++;
	run.publishers[publisher].delivered++;
	if (run.phase == MEASURE) {
		latency_add(message->read_ns - (int64_t)get_u64(message->payload));
	}
	size_t stream =
	    is_pairs ? publisher : client->index * (size_t)run.publisher_count + publisher;

	stream_take(&run.streams[stream], get_u32(message->payload + 12));
}

static void
name_topic(char *topic, long publisher)
{
	if (run.topology == PAIRS) {
		snprintf(topic, FILTER_SIZE, "%s/p%04ld/t", options.prefix, publisher);
	} else if (run.topology == FANOUT) {
		snprintf(topic, FILTER_SIZE, "%s/out/t", options.prefix);
	} else if (options.same_topic) {
		snprintf(topic, FILTER_SIZE, "%s/in/all", options.prefix);
	} else {
		snprintf(topic, FILTER_SIZE, "%s/in/%04ld/t", options.prefix, publisher);
	}
}

static void
name_filter(char *filter, long subscriber)
{
	if (run.topology == FANIN && !options.same_topic) {
		snprintf(filter, FILTER_SIZE, "%s/in/#", options.prefix);
	} else {
		name_topic(filter, subscriber);
	}
}

/* The packet is made once: what the generator does for a message must be little. */
static void
make_form(struct client *client)
{
	char topic[FILTER_SIZE];

	name_topic(topic, client->index);
	uint32_t topic_len = (uint32_t)strlen(topic), size = (uint32_t)options.size;
	uint32_t len =
	    2 + topic_len + (options.qos != 0 ? 2 : 0) + (options.version == 5 ? 1 : 0) + size;
	uint8_t *form = allocate(1, len + 5);
	uint8_t *at = put_text(put_length(form + 1, len), topic, topic_len);

	form[0] = (uint8_t)(0x30 | options.qos << 1);
	client->form = form;
	client->form_id_at = (uint32_t)(at - form);
	at += options.qos != 0 ? 2 : 0;
	at += options.version == 5 ? 1 : 0; /* no properties */
	client->form_payload_at = (uint32_t)(at - form);
	client->form_len = client->form_payload_at + size;
	memset(at, 'x', size);
}

static void
publish(struct client *client, int64_t stamp_ns)
{
	uint8_t *packet = client_room(client, client->form_len);
	uint8_t *payload = packet + client->form_payload_at;

	memcpy(packet, client->form, client->form_len);
	if (options.qos != 0) {
		uint16_t id = next_id(client);

		packet[client->form_id_at] = (uint8_t)(id >> 8);
		packet[client->form_id_at + 1] = (uint8_t)id;
	}
	put_u64(payload, (uint64_t)stamp_ns);
	put_u32(payload + 8, client->index);
	put_u32(payload + 12, client->sent++);
}

/* Duplicates may have come: there is no difference that could be below 0. */
static bool
may_publish(const struct client *client)
{
	uint64_t window = (uint64_t)options.window;

	if (options.qos != 0 && !client_window_open(client)) {
		return false;
	}
	return client->state == CLIENT_UP &&
	       client->sent * run.fan <= client->delivered + (window - 1) * run.fan;
}

/* Closed loop: each publisher fills its window. */
static int64_t
fill_windows(void)
{
	for (long i = 0; i < run.publisher_count; i++) {
		struct client *client = &run.publishers[i];
		int64_t now = may_publish(client) ? now_ns() : 0;

		for (int k = 0; k < BURST && may_publish(client); k++) {
			publish(client, now);
			run.sent++;
		}
	}
	return TURN_NS;
}

static int64_t
due_ns(uint64_t message)
{
	return run.scheduled_ns + (int64_t)((double)message / options.rate * 1e9);
}

/*
 * Open loop: what is due is sent, with the time when it was due. Returns the time until the next
 * one is. A publisher that is closed loses its messages: they count as sent.
 */
static int64_t
keep_schedule(void)
{
	int64_t now = now_ns();
	uint64_t due = (uint64_t)((double)(now - run.scheduled_ns) / 1e9 * options.rate);

	for (int i = 0; i < DUE_BURST && run.sent < due; i++) {
		int64_t at = due_ns(run.sent + 1);
		struct client *client = &run.publishers[run.next_publisher];

		if (run.phase == MEASURE && now - at > run.lag_ns) {
			run.lag_ns = now - at;
		}
		if (client->state == CLIENT_UP) {
			publish(client, at);
		}
		run.sent++;
		run.next_publisher = (run.next_publisher + 1) % run.publisher_count;
	}
	int64_t wait = due_ns(run.sent + 1) - now_ns();

	return wait < 0 ? 0 : wait > TURN_NS ? TURN_NS : wait;
}

/* --- the run --- */

static struct mark
mark_now(void)
{
	return (struct mark){.usage = usage_now(), .sent = run.sent, .delivered = run.delivered};
}

static uint64_t
acked(void)
{
	uint64_t sum = 0;

	for (long i = 0; i < run.publisher_count; i++) {
		sum += run.publishers[i].acked;
	}
	return sum;
}

static bool
is_complete(void)
{
	return run.delivered >= run.sent * run.fan && (options.qos == 0 || acked() >= run.sent);
}

static void
change_phase(double at)
{
	if (run.phase == WARM && at >= run.warm_until) {
		run.begin = mark_now();
		run.phase = MEASURE;
	}
	if (run.phase == MEASURE &&
	    (at >= run.measure_until || is_told_to_end ||
		(options.count != 0 && run.sent >= (uint64_t)options.count))) {
		run.end = mark_now();
		run.phase = DRAIN;
		run.moved_at = at;
	}
}

/* False: the run is over. */
static bool
goes_on(void)
{
	double at = now_s();

	change_phase(at);
	/* A slow schedule has pauses in which nothing is due. */
	if (run.delivered != run.seen ||
	    (options.rate > 0 && run.phase != DRAIN && is_complete())) {
		run.seen = run.delivered;
		run.moved_at = at;
	}
	if (run.phase == DRAIN) {
		return !is_complete() && at - run.moved_at <= DRAIN_S;
	}
	run.is_stalled = at - run.moved_at > options.stall;
	return !run.is_stalled && counts.closed < run.publisher_count + run.subscriber_count;
}

static void
measure(void)
{
	run.begin = mark_now();
	run.end = run.begin;
	run.moved_at = run.begin.usage.at_s;
	run.warm_until = run.moved_at + options.warm;
	run.measure_until = run.warm_until + options.seconds;
	run.scheduled_ns = now_ns();
	while (goes_on()) {
		int64_t wait_ns = TURN_NS;

		if (run.phase != DRAIN) {
			wait_ns = options.rate > 0 ? keep_schedule() : fill_windows();
		}
		turn(wait_ns);
	}
	if (run.phase != DRAIN) {
		run.end = mark_now();
	}
}

static void
connect_and_subscribe(void)
{
	long count = run.publisher_count + run.subscriber_count;
	struct client *all = clients_new(count);
	char filter[1][FILTER_SIZE];

	run.subscribers = all;
	run.publishers = all + run.subscriber_count;
	for (long i = 0; i < run.subscriber_count; i++) {
		client_init(&run.subscribers[i], i, SUBSCRIBER, "s");
		run.subscribers[i].is_persistent = options.persistent;
	}
	for (long i = 0; i < run.publisher_count; i++) {
		client_init(&run.publishers[i], i, PUBLISHER, "p");
		make_form(&run.publishers[i]);
	}
	if (clients_connect(all, count) != count) {
		die("only some of %ld connections came up (refused %ld)", count, counts.refused);
	}
	for (long i = 0; i < run.subscriber_count; i++) {
		name_filter(filter[0], i);
		send_subscribe(&run.subscribers[i], filter, 1,
		    options.sub_qos >= 0 ? options.sub_qos : options.qos);
	}
	if (!clients_subscribed(run.subscribers, run.subscriber_count, 1)) {
		die("SUBACKs missing");
	}
}

static void
prepare(void)
{
	run.publisher_count = options.publishers;
	run.subscriber_count = options.subscribers;
	if (strcmp(options.topology, "pairs") == 0) {
		run.topology = PAIRS;
		run.subscriber_count = run.publisher_count;
	} else if (strcmp(options.topology, "fanin") == 0) {
		run.topology = FANIN;
	} else if (strcmp(options.topology, "fanout") == 0) {
		run.topology = FANOUT;
		run.publisher_count = 1;
	} else {
		die("--topology %s: pairs, fanin or fanout", options.topology);
	}
	bool is_pairs = run.topology == PAIRS;

	run.fan = is_pairs ? 1 : (uint64_t)run.subscriber_count;
	run.streams =
	    allocate((size_t)run.publisher_count * (size_t)run.fan, sizeof(struct stream));
}

static void
print(const struct usage *first, const struct usage *last)
{
	const struct usage *begin = &run.begin.usage, *end = &run.end.usage;
	double wall_s = end->at_s - begin->at_s, share = wall_s > 0 ? 1 / wall_s : 0;
	uint64_t delivered = run.end.delivered - run.begin.delivered;
	uint64_t due = run.sent * run.fan + sequences.duplicates;

	printf("{\"cmd\":\"pubsub\",");
	print_label();
	printf(",\"topology\":\"%s\",\"v\":%ld,\"tls\":%d,\"qos\":%ld,\"pubs\":%ld,\"subs\":%ld,"
	       "\"size\":%ld,\"window\":%ld,\"rate\":%.0f,",
	    options.topology, options.version, options.tls, options.qos, run.publisher_count,
	    run.subscriber_count, options.size, options.rate > 0 ? 0 : options.window,
	    options.rate);
	printf("\"wall_s\":%.3f,\"published\":%" PRIu64 ",\"delivered\":%" PRIu64
	       ",\"msgs_per_s\":%.0f,\"total_sent\":%" PRIu64 ",\"total_delivered\":%" PRIu64
	       ",\"acked\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"dup\":%" PRIu64
	       ",\"out_of_order\":%" PRIu64 ",",
	    wall_s, run.end.sent - run.begin.sent, delivered, per_second(delivered, wall_s),
	    run.sent, run.delivered, acked(), due > run.delivered ? due - run.delivered : 0,
	    sequences.duplicates, sequences.out_of_order);
	printf("\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,"
	       "\"gen_lag_max_us\":%.1f,",
	    latency_percentile_us(50), latency_percentile_us(90), latency_percentile_us(99),
	    latency_percentile_us(99.9), latency_max_us(), (double)run.lag_ns / 1e3);
	printf("\"cpu_s\":%.4f,\"cpu_user_s\":%.2f,\"cpu_sys_s\":%.2f,\"cpu_us_per_msg\":%.4f,"
	       "\"cpu_util\":%.3f,\"gen_util\":%.3f,\"rss_before_kb\":%ld,\"rss_after_kb\":%ld,",
	    end->cpu_s - begin->cpu_s, end->user_s - begin->user_s, end->system_s - begin->system_s,
	    cpu_us_per(begin, end, delivered), (end->cpu_s - begin->cpu_s) * share,
	    (end->own_s - begin->own_s) * share, first->rss_kb, last->rss_kb);
	printf("\"closed\":%ld,\"protocol_errors\":%ld,\"sub_failed\":%ld,\"stalled\":%d}\n",
	    counts.closed, counts.protocol_errors, counts.sub_failed, run.is_stalled);
}

static void
on_term(int number)
{
	(void)number;
	is_told_to_end = 1;
}

void
run_pubsub(void)
{
	(void)signal(SIGTERM, on_term);
	prepare();
	on_message = take_message;
	connect_and_subscribe();
	turn_for(0.2);
	struct usage first = usage_now();

	measure();
	struct usage last = usage_now();

	print(&first, &last);
}
