/* SPDX-License-Identifier: Apache-2.0 */
/* offline: queues messages for sessions whose clients are away; then all come back at once. */
#include "bench/load/load.h"

#include <inttypes.h>
#include <stdio.h>

enum { TURN_NS = 10000000 };

static struct {
	long session_count;
	struct client *subscribers, *publisher;
	struct stream *streams; /* one for each session */
	uint8_t *payload;
	uint64_t goal; /* messages in all */
	uint64_t delivered, bad;
	long reconnected, session_present;
	double connect_s, drain_s;
} run;

static void
take_message(struct client *client, const struct message *message)
{
	if (message->len < HEAD_LEN || client->role != SUBSCRIBER ||
	    get_u32(message->payload + 8) != client->index) {
		run.bad++;
		return;
	}
	run.delivered++;
	stream_take(&run.streams[client->index], get_u32(message->payload + 12));
}

/* Messages that came at least once. */
static uint64_t
delivered_once(void)
{
	return run.delivered - sequences.duplicates;
}

static long
connect_subscribers(void)
{
	for (long i = 0; i < run.session_count; i++) {
		client_init(&run.subscribers[i], i, SUBSCRIBER, "off");
		run.subscribers[i].is_persistent = true;
	}
	return clients_connect(run.subscribers, run.session_count);
}

static void
name_topic(char *topic, uint64_t session)
{
	snprintf(topic, FILTER_SIZE, "%s/off/%" PRIu64, options.prefix, session);
}

static void
make_sessions(void)
{
	char filter[1][FILTER_SIZE];

	if (connect_subscribers() != run.session_count) {
		die("connections failed");
	}
	for (long i = 0; i < run.session_count; i++) {
		name_topic(filter[0], (uint64_t)i);
		send_subscribe(&run.subscribers[i], filter, 1, 1);
	}
	if (!clients_subscribed(run.subscribers, run.session_count, 1)) {
		die("SUBACKs missing");
	}
	for (long i = 0; i < run.session_count; i++) {
		send_disconnect(&run.subscribers[i]);
		client_end(&run.subscribers[i]);
	}
}

static void
publish_next(void)
{
	uint64_t session = run.publisher->sent % (uint64_t)run.session_count;
	char topic[FILTER_SIZE];

	name_topic(topic, session);
	put_u64(run.payload, 0);
	put_u32(run.payload + 8, (uint32_t)session);
	put_u32(run.payload + 12, run.publisher->sent / (uint32_t)run.session_count);
	send_publish(run.publisher, topic, run.payload, 1, false);
	run.publisher->sent++;
}

static void
store(void)
{
	struct progress progress = progress_begin(0);

	while (run.publisher->acked < run.goal && run.publisher->state == CLIENT_UP &&
	       progress_goes_on(&progress, run.publisher->acked)) {
		while (run.publisher->sent < run.goal && client_window_open(run.publisher)) {
			publish_next();
		}
		turn(TURN_NS);
	}
}

static void
drain(void)
{
	double begun_at = now_s();

	run.reconnected = connect_subscribers();
	run.connect_s = now_s() - begun_at;
	for (long i = 0; i < run.session_count; i++) {
		run.session_present += run.subscribers[i].session_present ? 1 : 0;
	}
	struct progress progress = progress_begin(run.delivered);

	while (
	    progress_goes_on(&progress, run.delivered) && delivered_once() < run.publisher->acked) {
		turn(TURN_NS);
	}
	run.drain_s = progress.moved_at - begun_at;
}

static void
prepare(void)
{
	run.session_count = options.number;
	run.goal = (uint64_t)options.number * (uint64_t)options.messages;
	if (run.goal > UINT32_MAX) {
		die("--n times --msgs is too much");
	}
	run.subscribers = clients_new(run.session_count);
	run.streams = allocate((size_t)run.session_count, sizeof(struct stream));
	run.payload = payload_new();
	run.publisher = clients_new(1);
	make_sessions();
	client_init(run.publisher, 0, PUBLISHER, "offp");
	if (clients_connect(run.publisher, 1) != 1) {
		die("the publisher did not connect");
	}
}

void
run_offline(void)
{
	prepare();
	turn_for(0.5);
	on_message = take_message;
	struct usage begin = usage_now();

	store();
	struct usage stored = usage_now();

	turn_for(0.5);
	struct usage settled = usage_now();

	drain();
	struct usage drained = usage_now();

	turn_for(0.5);
	struct usage end = usage_now();
	uint64_t queued = run.publisher->acked, came = delivered_once();
	double store_s = stored.at_s - begin.at_s;

	printf("{\"cmd\":\"offline\",");
	print_label();
	printf(",\"v\":%ld,\"sessions\":%ld,\"per_session\":%ld,\"size\":%ld,\"queued\":%" PRIu64
	       ",\"store_wall_s\":%.3f,\"store_per_s\":%.0f,\"store_cpu_us\":%.3f,"
	       "\"rss_before_kb\":%ld,\"rss_after_kb\":%ld,\"rss_bytes_per_msg\":%.1f,",
	    options.version, run.session_count, options.messages, options.size, queued, store_s,
	    per_second(queued, store_s), cpu_us_per(&begin, &stored, queued), begin.rss_kb,
	    settled.rss_kb, rss_per(&begin, &settled, queued));
	printf("\"reconnected\":%ld,\"session_present\":%ld,\"connect_s\":%.3f,\"drain_s\":%.3f,"
	       "\"drain_per_s\":%.0f,\"drain_cpu_us\":%.3f,",
	    run.reconnected, run.session_present, run.connect_s, run.drain_s,
	    per_second(run.delivered, run.drain_s), cpu_us_per(&settled, &drained, run.delivered));
	printf("\"delivered\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"dup\":%" PRIu64
	       ",\"out_of_order\":%" PRIu64 ",\"bad\":%" PRIu64
	       ",\"rss_end_kb\":%ld,\"closed\":%ld}\n",
	    run.delivered, queued > came ? queued - came : 0, sequences.duplicates,
	    sequences.out_of_order, run.bad, end.rss_kb, counts.closed);
}
