/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Benchmark: the main paths through the whole broker, from bytes in to bytes out, over the
 * simulated loop in one thread. What is batched with what does not depend on time, so two runs take
 * the same instructions. For callgrind, which collects inside sim_settle only
 * (tests/bench/paths.py): the difference of two counts of rounds is what a round takes.
 *
 *     bench_paths            names the cases, a line each: how many messages a round, and the name
 *     bench_paths CASE N     N rounds of case number CASE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/house.h"
#include "conf/schema.h"
#include "loop/sim.h"
#include "transport/mem_stream.h"
#include "wire/encode.h"
#include "wire/props.h"

enum { CLIENTS_MAX = 128, WORKERS = 2, PAYLOAD = 64, PACKET_MAX = 512, STEPS = 1000000 };

struct path {
	const char *name;
	unsigned pubs, subs; /* publisher i publishes to topic i */
	bool is_fan;         /* all publish to one topic, which all subscribers are subscribed to */
	bool props;          /* each message has five properties */
	bool crosses;        /* publishers and subscribers are on different workers */
	bool reconnects;     /* a round is CONNECT, SUBSCRIBE, DISCONNECT of a client */
	uint8_t version, qos;
	unsigned batch; /* messages of each publisher that are read at once */
};

static const struct path paths[] = {
    {.name = "3.1.1 QoS 0, 32 at once", .pubs = 8, .subs = 8, .version = WIRE_V311, .batch = 32},
    {.name = "3.1.1 QoS 0, one at a time", .pubs = 1, .subs = 1, .version = WIRE_V311, .batch = 1},
    {.name = "3.1.1 QoS 0, 32 at once, to another worker",
	.pubs = 8,
	.subs = 8,
	.crosses = true,
	.version = WIRE_V311,
	.batch = 32},
    {.name = "3.1.1 QoS 0, one at a time, to another worker",
	.pubs = 1,
	.subs = 1,
	.crosses = true,
	.version = WIRE_V311,
	.batch = 1},
    {.name = "3.1.1 QoS 0, 32 publishers to one",
	.pubs = 32,
	.subs = 1,
	.is_fan = true,
	.version = WIRE_V311,
	.batch = 8},
    {.name = "3.1.1 QoS 0, one publisher to 64",
	.pubs = 1,
	.subs = 64,
	.is_fan = true,
	.version = WIRE_V311,
	.batch = 8},
    {.name = "3.1.1 QoS 1, 32 at once",
	.pubs = 8,
	.subs = 8,
	.version = WIRE_V311,
	.qos = 1,
	.batch = 32},
    {.name = "3.1.1 QoS 1, one at a time",
	.pubs = 1,
	.subs = 1,
	.version = WIRE_V311,
	.qos = 1,
	.batch = 1},
    {.name = "3.1.1 QoS 2, 32 at once",
	.pubs = 8,
	.subs = 8,
	.version = WIRE_V311,
	.qos = 2,
	.batch = 32},
    {.name = "5.0 QoS 0, 32 at once", .pubs = 8, .subs = 8, .version = WIRE_V5, .batch = 32},
    {.name = "5.0 QoS 1 with 5 properties, 32 at once",
	.pubs = 8,
	.subs = 8,
	.props = true,
	.version = WIRE_V5,
	.qos = 1,
	.batch = 32},
    {.name = "3.1.1 CONNECT, SUBSCRIBE, DISCONNECT", .reconnects = true, .version = WIRE_V311},
};

struct client {
	struct mem_pipe *pipe;
	uint16_t next_id;
	char topic[48];
};

struct bench {
	const struct path *path;
	struct loop *loop;
	struct broker_house *house;
	struct conn_limits limits;
	struct conn_listener listener;
	struct client clients[CLIENTS_MAX]; /* publishers, then subscribers */
	unsigned long delivered;
};

static void
require(bool condition, const char *what)
{
	if (!condition) {
		(void)fprintf(stderr, "bench_paths: %s\n", what);
		exit(1);
	}
}

/* --- the broker --- */

static void
start(struct bench *bench)
{
	struct worker *main;
	char why[128];

	bench->limits = (struct conn_limits){.session = {.max_inflight_messages = 1000,
						 .max_queued_messages = 1000,
						 .max_session_expiry_ms = CONF_NEVER,
						 .receive_maximum = 1000},
	    .max_packet_size = 1 << 20,
	    .max_connect_size = 1 << 16,
	    .max_qos = 2,
	    .max_topic_levels = 32,
	    .connect_timeout_ms = 10000,
	    .write_timeout_ms = 5000,
	    .max_pending = 1000,
	    .auto_id_prefix = "auto-",
	    .retain_available = true,
	    .wildcard_subscriptions = true,
	    .shared_subscriptions = true,
	    .subscription_identifiers = true,
	    .allow_empty_client_id = true};
	bench->listener = (struct conn_listener){.name = "bench",
	    .mount_point = "",
	    .protocol_versions = CONN_V31 | CONN_V311 | CONN_V5,
	    .allow_anonymous = true,
	    .limits = &bench->limits,
	    .durability = {.mode = ROUTE_COMMIT},
	    .plugins = &broker_house_no_plugins};
	bench->loop = loop_new(&(struct loop_options){
	    .seed = 1, .log_level = LOG_LEVEL_WARNING, .log_ring_size = 4096});
	main = loop_add_worker(bench->loop, "main");
	bench->house = broker_house_new(bench->loop, main, WORKERS,
	    &(struct broker_house_options){.limits = &bench->limits}, why, sizeof(why));
	require(bench->house != NULL, "the broker does not start");
	loop_start(bench->loop);
}

/* Called by a pointer that the compiler does not know: so sim_settle is neither inlined nor cloned
 * under another name, by which callgrind would not find it. */
static void
settle(struct bench *bench)
{
	static bool (*volatile const settle_loop)(struct loop * loop, unsigned limit) = sim_settle;

	require(settle_loop(bench->loop, STEPS), "the broker does not come to rest");
}

static void
stop(struct bench *bench)
{
	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		if (bench->clients[i].pipe != NULL) {
			mem_pipe_close(bench->clients[i].pipe, false);
			mem_pipe_release(&bench->clients[i].pipe);
		}
	}
	sim_advance(bench->loop, 20000);
	loop_join(bench->loop);
	broker_house_free(&bench->house);
	loop_free(&bench->loop);
}

/* --- clients --- */

static void
send(struct bench *bench, struct client *client, const struct wire_packet *packet)
{
	struct wire_encoder encoder = {.version = bench->path->version, .sender = WIRE_CLIENT};
	uint8_t out[PACKET_MAX];
	size_t size = wire_encode(&encoder, packet, out, sizeof(out));

	require(size != 0 && size <= sizeof(out), "a packet cannot be encoded");
	mem_pipe_write(client->pipe, bytes_make(out, size));
}

/* Takes what came, and answers it as MQTT asks. The broker is trusted: it is tested elsewhere. */
static bool
take(struct bench *bench, struct client *client)
{
	struct bytes out = mem_pipe_output(client->pipe);
	const uint8_t *at = out.data, *end = at + out.len;
	uint8_t answers[8192];
	size_t count = 0;

	while (at != end) {
		uint8_t first = *at++, qos = first >> 1 & 3, type = first >> 4, answer = 0;
		size_t len = 0;
		const uint8_t *id;

		for (unsigned shift = 0;; shift += 7) {
			len |= (size_t)(*at & 127) << shift;
			if ((*at++ & 128) == 0) {
				break;
			}
		}
		id = at;
		if (type == WIRE_PUBLISH) {
			bench->delivered++;
			id += 2 + (at[0] << 8 | at[1]);
			answer = qos == 0 ? 0 : qos == 1 ? WIRE_PUBACK : WIRE_PUBREC;
		} else if (type == WIRE_PUBREC) {
			answer = WIRE_PUBREL;
		} else if (type == WIRE_PUBREL) {
			answer = WIRE_PUBCOMP;
		}
		if (answer != 0) {
			require(count + 4 <= sizeof(answers), "too much came at once");
			answers[count++] = (uint8_t)(answer << 4 | (answer == WIRE_PUBREL ? 2 : 0));
			answers[count++] = 2;
			answers[count++] = id[0];
			answers[count++] = id[1];
		}
		at += len;
	}
	mem_pipe_take(client->pipe, out.len);
	if (count != 0) {
		mem_pipe_write(client->pipe, bytes_make(answers, count));
	}
	return count != 0;
}

/* Until nobody has anything to say. */
static void
exchange(struct bench *bench, unsigned count)
{
	bool has_more;

	do {
		has_more = false;
		settle(bench);
		for (unsigned i = 0; i < count; i++) {
			has_more |= take(bench, &bench->clients[i]);
		}
	} while (has_more);
}

static void
open_client(struct bench *bench, struct client *client, unsigned worker, const char *id)
{
	struct broker_hand *hand = &bench->house->hands[worker];
	struct wire_packet packet = {.type = WIRE_CONNECT};
	struct stream *stream = mem_stream_new("bench", SIZE_MAX, &client->pipe);

	sim_enter(hand->worker);
	conn_open(hand->conns, stream, &bench->listener, NULL, false, NULL);
	sim_leave();
	packet.connect.version = bench->path->version;
	packet.connect.clean_start = true;
	packet.connect.client_id = bytes_of(id);
	send(bench, client, &packet);
}

static void
subscribe(struct bench *bench, struct client *client)
{
	struct wire_subscription item = {
	    .filter = bytes_of(client->topic), .qos = bench->path->qos};
	struct wire_packet packet = {.type = WIRE_SUBSCRIBE};
	uint8_t block[64];
	struct wire_writer writer = wire_writer_of(block, sizeof(block));

	wire_write_subscription(&writer, &item, bench->path->version);
	packet.subscribe.packet_id = 1;
	packet.subscribe.filter_count = 1;
	packet.subscribe.filters = bytes_make(block, writer.len);
	send(bench, client, &packet);
}

static void
publish(struct bench *bench, struct client *client)
{
	static const uint8_t payload[PAYLOAD] = {1, 2, 3};
	struct wire_packet packet = {.type = WIRE_PUBLISH};
	uint8_t block[128];
	struct wire_writer writer = wire_writer_of(block, sizeof(block));

	if (bench->path->props) {
		wire_write_prop_number(&writer, WIRE_PAYLOAD_FORMAT_INDICATOR, 1);
		wire_write_prop_number(&writer, WIRE_MESSAGE_EXPIRY_INTERVAL, 3600);
		wire_write_prop_bytes(&writer, WIRE_CONTENT_TYPE, bytes_of("text/plain"));
		wire_write_user_property(&writer, bytes_of("unit"), bytes_of("celsius"));
		wire_write_user_property(&writer, bytes_of("site"), bytes_of("b7"));
		packet.publish.props.block = bytes_make(block, writer.len);
	}
	packet.publish.topic = bytes_of(client->topic);
	packet.publish.payload = bytes_make(payload, sizeof(payload));
	packet.publish.qos = bench->path->qos;
	if (bench->path->qos != 0) {
		client->next_id = (uint16_t)(client->next_id % 1000 + 1);
		packet.publish.packet_id = client->next_id;
	}
	send(bench, client, &packet);
}

/* --- the paths --- */

static void
run_messages(struct bench *bench, unsigned long rounds)
{
	const struct path *path = bench->path;
	unsigned count = path->pubs + path->subs;
	unsigned long fan = path->is_fan ? path->subs : 1;

	for (unsigned i = 0; i < count; i++) {
		struct client *client = &bench->clients[i];
		bool is_sub = i >= path->pubs;
		char id[32];

		(void)snprintf(id, sizeof(id), "client-%u", i);
		(void)snprintf(client->topic, sizeof(client->topic),
		    "building/%u/floor/3/temperature",
		    path->is_fan ? 0
		    : is_sub     ? i - path->pubs
				 : i);
		open_client(bench, client, path->crosses && is_sub ? 1 : 0, id);
		if (is_sub) {
			subscribe(bench, client);
		}
	}
	exchange(bench, count);
	for (unsigned long n = 0; n < rounds; n++) {
		for (unsigned i = 0; i < path->pubs; i++) {
			for (unsigned k = 0; k < path->batch; k++) {
				publish(bench, &bench->clients[i]);
			}
		}
		exchange(bench, count);
	}
	require(
	    bench->delivered == rounds * path->pubs * path->batch * fan, "messages are missing");
}

static void
run_connects(struct bench *bench, unsigned long rounds)
{
	struct client *client = &bench->clients[0];
	struct wire_packet packet = {.type = WIRE_DISCONNECT};

	(void)snprintf(client->topic, sizeof(client->topic), "building/1/floor/3/temperature");
	for (unsigned long n = 0; n < rounds; n++) {
		open_client(bench, client, 0, "client-1");
		exchange(bench, 1);
		subscribe(bench, client);
		exchange(bench, 1);
		send(bench, client, &packet);
		settle(bench);
		require(mem_pipe_is_closed(client->pipe), "the connection is not closed");
		mem_pipe_release(&client->pipe);
	}
}

static unsigned
messages_of(const struct path *path)
{
	return path->reconnects ? 1 : path->pubs * path->batch * (path->is_fan ? path->subs : 1);
}

int
main(int argc, char **argv)
{
	static struct bench bench;
	enum { COUNT = sizeof(paths) / sizeof(paths[0]) };

	if (argc == 1) {
		for (unsigned i = 0; i < COUNT; i++) {
			(void)printf("%u %s\n", messages_of(&paths[i]), paths[i].name);
		}
		return 0;
	}
	require(argc == 3 && strtoul(argv[1], NULL, 10) < COUNT, "usage: bench_paths [CASE N]");
	bench.path = &paths[strtoul(argv[1], NULL, 10)];
	start(&bench);
	if (bench.path->reconnects) {
		run_connects(&bench, strtoul(argv[2], NULL, 10));
	} else {
		run_messages(&bench, strtoul(argv[2], NULL, 10));
	}
	stop(&bench);
	return 0;
}
