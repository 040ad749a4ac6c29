/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: several connections into a whole broker without sockets (peer, conn, session, route,
 * store over the simulated loop). The first two bytes choose the settings; the rest is a list of
 * commands: open a connection, send packets that are nearly right, send any bytes, take output,
 * close, let time pass. Besides what the sanitizers see: what the broker sends can be read, to a
 * client that is told to be small nothing larger is sent, and when all have gone no connection,
 * question or mail is left.
 */
#include <stdint.h>
#include <stdlib.h>

#include "broker/house.h"
#include "conf/schema.h"
#include "loop/mailbox.h"
#include "loop/sim.h"
#include "store/engine_mem.h"
#include "transport/mem_stream.h"
#include "wire/decode.h"
#include "wire/encode.h"
#include "wire/props.h"
#include "wire/reason.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINKS = 5, WORKERS = 2, STEPS = 100000, MAX_COMMANDS = 400, OUT = 2048 };

struct link {
	struct mem_pipe *pipe; /* NULL: none */
	struct wire_decoder decoder;
	bool has_begun; /* something was sent */
	bool is_known;  /* it began with a CONNECT of ours: what comes can be read */
};

struct fuzz {
	const uint8_t *at, *end;
	struct loop *loop;
	struct broker_house *house;
	struct store_disk *disk;
	struct conn_limits limits;
	struct conn_listener listener;
	struct link links[LINKS];
};

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

static uint8_t
take(struct fuzz *fuzz)
{
	return fuzz->at < fuzz->end ? *fuzz->at++ : 0;
}

static struct bytes
take_bytes(struct fuzz *fuzz, size_t most)
{
	size_t left = (size_t)(fuzz->end - fuzz->at);
	struct bytes bytes = bytes_make(fuzz->at, left < most ? left : most);

	fuzz->at += bytes.len;
	return bytes;
}

/* --- the broker --- */

static void
start(struct fuzz *fuzz)
{
	static const struct store_mem_options options = {.seed = 1, .max_delay_ms = 5};
	uint8_t settings = take(fuzz), size = take(fuzz);
	struct worker *main;
	char why[128];

	fuzz->limits = (struct conn_limits){.session = {.max_inflight_messages = 1 + (size & 3),
						.max_queued_messages = 1 + (size >> 2 & 15),
						.queue_full = settings & 1,
						.queue_qos0 = (settings & 2) != 0,
						.max_subscriptions = 8,
						.max_session_expiry_ms = CONF_NEVER,
						.receive_maximum = 1 + (size >> 6)},
	    .max_packet_size = 1024,
	    .max_connect_size = 512,
	    .max_qos = 2,
	    .max_topic_alias = 2,
	    .max_topic_alias_broker = 2,
	    .max_topic_levels = 8,
	    .connect_timeout_ms = 10000,
	    .write_timeout_ms = 5000,
	    .max_pending = 4,
	    .auto_id_prefix = "auto-",
	    .retain_available = true,
	    .wildcard_subscriptions = true,
	    .shared_subscriptions = true,
	    .subscription_identifiers = true,
	    .allow_empty_client_id = true,
	    .lenient = (settings & 4) != 0};
	fuzz->listener = (struct conn_listener){.name = "fuzz",
	    .mount_point = (settings & 8) != 0 ? "m/" : "",
	    .protocol_versions = CONN_V31 | CONN_V311 | CONN_V5,
	    .allow_anonymous = true,
	    .limits = &fuzz->limits,
	    .durability = {.mode = ROUTE_COMMIT},
	    .plugins = &broker_house_no_plugins};
	fuzz->disk = (settings & 16) != 0 ? store_disk_new() : NULL;
	fuzz->loop = loop_new(&(struct loop_options){
	    .seed = settings, .log_level = LOG_LEVEL_DEBUG, .log_ring_size = 4096});
	main = loop_add_worker(fuzz->loop, "main");
	fuzz->house = broker_house_new(fuzz->loop, main, WORKERS,
	    &(struct broker_house_options){
		.engine = fuzz->disk != NULL ? store_engine_mem_new(fuzz->disk, &options) : NULL,
		.move_always = (settings & 32) != 0,
		.max_transit = (settings & 64) != 0 ? 2000 : 0,
		.max_memory = (settings & 128) != 0 ? 4000 : 0,
		.limits = &fuzz->limits},
	    why, sizeof(why));
	require(fuzz->house != NULL);
	loop_start(fuzz->loop);
}

static void
let_go(struct link *link)
{
	if (link->pipe != NULL) {
		mem_pipe_close(link->pipe, false);
		mem_pipe_release(&link->pipe);
	}
	*link = (struct link){0};
}

static void
open_link(struct fuzz *fuzz, struct link *link)
{
	struct broker_hand *hand = &fuzz->house->hands[take(fuzz) % WORKERS];
	uint8_t how = take(fuzz);
	struct stream *stream;

	let_go(link);
	stream = mem_stream_new("fuzz", (how & 1) != 0 ? 40 : SIZE_MAX, &link->pipe);
	mem_pipe_set_read_size(link->pipe, how >> 1 & 31);
	sim_enter(hand->worker);
	conn_open(hand->conns, stream, &fuzz->listener, NULL, false, NULL);
	sim_leave();
}

/* --- packets that are nearly right --- */

static const char *const topics[] = {"a", "a/b", "b", "$SYS/x", "a/#", "+", "$share/g/a", "#"};

static struct bytes
take_topic(struct fuzz *fuzz)
{
	return bytes_of(topics[take(fuzz) & 7]);
}

static void
write_number(struct fuzz *fuzz, struct wire_writer *writer, enum wire_prop id, uint32_t bound)
{
	uint8_t byte = take(fuzz);

	if ((byte & 1) != 0) {
		wire_write_prop_number(writer, id, (byte >> 1) % bound);
	}
}

static void
fill_connect(struct fuzz *fuzz, struct link *link, struct wire_packet *packet,
    struct wire_writer *props, struct wire_writer *will_props)
{
	static const char *const ids[] = {"x", "y", "", "z"};
	struct wire_connect *connect = &packet->connect;
	uint8_t flags = take(fuzz), more = take(fuzz);
	uint32_t max_packet_size = 0;

	connect->version = (uint8_t)((flags & 3) == 0   ? WIRE_V31
				     : (flags & 3) == 1 ? WIRE_V311
							: WIRE_V5);
	connect->clean_start = (flags & 4) != 0;
	connect->client_id = bytes_of(ids[flags >> 3 & 3]);
	connect->keep_alive = (flags & 32) != 0 ? 5 : 0;
	connect->has_will = (flags & 64) != 0;
	if (connect->has_will) {
		connect->will.topic = take_topic(fuzz);
		connect->will.qos = more & 1;
		connect->will.retain = (more & 2) != 0;
		connect->will.payload = BYTES_LITERAL("will");
	}
	if (connect->version == WIRE_V5) {
		write_number(fuzz, props, WIRE_SESSION_EXPIRY_INTERVAL, 100);
		write_number(fuzz, props, WIRE_RECEIVE_MAXIMUM, 4);
		write_number(fuzz, props, WIRE_TOPIC_ALIAS_MAXIMUM, 4);
		if ((more & 4) != 0) {
			max_packet_size = 30 + (more >> 3);
			wire_write_prop_number(props, WIRE_MAXIMUM_PACKET_SIZE, max_packet_size);
		}
		if (connect->has_will) {
			write_number(fuzz, will_props, WIRE_WILL_DELAY_INTERVAL, 20);
		}
	}
	connect->props.block = bytes_make(props->data, props->len);
	connect->will.props.block = bytes_make(will_props->data, will_props->len);
	if (!link->has_begun) {
		link->decoder = (struct wire_decoder){.version = connect->version,
		    .receiver = WIRE_CLIENT,
		    .max_packet_size = max_packet_size};
		link->is_known = true;
	}
}

static void
fill_publish(struct fuzz *fuzz, const struct link *link, struct wire_publish *publish,
    struct wire_writer *props)
{
	uint8_t flags = take(fuzz);

	publish->topic = take_topic(fuzz);
	publish->qos = (uint8_t)((flags & 3) % 3);
	publish->retain = (flags & 4) != 0;
	publish->dup = publish->qos != 0 && (flags & 8) != 0;
	publish->packet_id = publish->qos != 0 ? (uint16_t)(1 + (flags >> 4 & 3)) : 0;
	publish->payload = take_bytes(fuzz, flags >> 6);
	if (link->decoder.version == WIRE_V5) {
		write_number(fuzz, props, WIRE_MESSAGE_EXPIRY_INTERVAL, 30);
		write_number(fuzz, props, WIRE_TOPIC_ALIAS, 4);
	}
	publish->props.block = bytes_make(props->data, props->len);
}

static void
fill_filters(struct fuzz *fuzz, const struct link *link, struct wire_packet *packet,
    struct wire_writer *body, struct wire_writer *props)
{
	unsigned count = 1 + (take(fuzz) & 1);

	for (unsigned i = 0; i < count; i++) {
		uint8_t options = take(fuzz);
		struct wire_subscription item = {.filter = take_topic(fuzz),
		    .qos = (uint8_t)((options & 3) % 3),
		    .no_local = (options & 4) != 0,
		    .retain_as_published = (options & 8) != 0,
		    .retain_handling = (uint8_t)((options >> 4 & 3) % 3)};

		if (packet->type == WIRE_SUBSCRIBE) {
			wire_write_subscription(body, &item, link->decoder.version);
		} else {
			wire_write_filter(body, item.filter);
		}
	}
	if (packet->type == WIRE_SUBSCRIBE && link->decoder.version == WIRE_V5) {
		write_number(fuzz, props, WIRE_SUBSCRIPTION_IDENTIFIER, 50);
	}
	packet->subscribe = (struct wire_subscribe){.packet_id = 9,
	    .filter_count = count,
	    .filters = bytes_make(body->data, body->len),
	    .props = {.block = bytes_make(props->data, props->len)}};
}

static void
send_packet(struct fuzz *fuzz, struct link *link)
{
	uint8_t props_memory[64], will_memory[16], body_memory[128], out[OUT];
	struct wire_writer props = wire_writer_of(props_memory, sizeof(props_memory));
	struct wire_writer will_props = wire_writer_of(will_memory, sizeof(will_memory));
	struct wire_writer body = wire_writer_of(body_memory, sizeof(body_memory));
	struct wire_packet packet = {.type = (enum wire_type)(1 + take(fuzz) % 15)};
	struct wire_encoder encoder = {.sender = WIRE_CLIENT};
	size_t size;

	switch (packet.type) {
	case WIRE_CONNECT:
		fill_connect(fuzz, link, &packet, &props, &will_props);
		break;
	case WIRE_PUBLISH:
		fill_publish(fuzz, link, &packet.publish, &props);
		break;
	case WIRE_SUBSCRIBE:
	case WIRE_UNSUBSCRIBE:
		fill_filters(fuzz, link, &packet, &body, &props);
		break;
	case WIRE_PUBACK:
	case WIRE_PUBREC:
	case WIRE_PUBREL:
	case WIRE_PUBCOMP:
		packet.ack.packet_id = (uint16_t)(1 + (take(fuzz) & 3));
		break;
	case WIRE_DISCONNECT:
		packet.disconnect.reason = (take(fuzz) & 1) != 0 ? 4 : 0;
		break;
	default:
		break;
	}
	encoder.version =
	    packet.type == WIRE_CONNECT ? packet.connect.version : link->decoder.version;
	link->has_begun = true;
	size = wire_encode(&encoder, &packet, out, sizeof(out));
	if (size != 0 && size <= sizeof(out)) {
		mem_pipe_write(link->pipe, bytes_make(out, size));
	}
}

/* --- commands --- */

/* A CONNECT that cannot be decoded is refused without knowing how small its client is. */
static struct wire_outcome
decode(const struct link *link, struct bytes input)
{
	struct wire_decoder decoder = link->decoder;
	struct wire_packet packet;
	struct wire_outcome outcome = wire_decode(&decoder, input, &packet);

	if (outcome.status == WIRE_REFUSED && packet.type == WIRE_CONNACK) {
		decoder.max_packet_size = 0;
		outcome = wire_decode(&decoder, input, &packet);
		require(outcome.status != WIRE_DONE ||
			packet.connack.reason >= WIRE_REASON_FIRST_ERROR);
	}
	return outcome;
}

/* Whole packets at the front of the output can be read. */
static void
read_output(struct link *link, size_t most)
{
	struct bytes output = mem_pipe_output(link->pipe);
	size_t used = 0;

	while (link->is_known && used < output.len && used < most) {
		struct wire_outcome outcome = decode(link, bytes_skip(output, used));

		require(outcome.status != WIRE_REFUSED);
		if (outcome.status == WIRE_MORE) {
			break;
		}
		used += outcome.size;
	}
	mem_pipe_take(link->pipe, link->is_known && used != 0 ? used : 0);
	if (!link->is_known) {
		mem_pipe_take(link->pipe, most);
	} else if (used == 0 && output.len >= 40) {
		/* A packet that does not fit the pipe: its rest comes when there is room. */
		mem_pipe_set_room(link->pipe, SIZE_MAX);
	}
}

static void
obey(struct fuzz *fuzz)
{
	uint8_t command = take(fuzz);
	struct link *link = &fuzz->links[(command >> 4) % LINKS];

	if (link->pipe == NULL) {
		open_link(fuzz, link);
		return;
	}
	switch (command & 15) {
	case 0:
		mem_pipe_write(link->pipe, take_bytes(fuzz, take(fuzz)));
		link->is_known = false;
		link->has_begun = true;
		break;
	case 1:
		let_go(link);
		break;
	case 2:
		mem_pipe_close(link->pipe, true);
		break;
	case 3:
		sim_advance(fuzz->loop, take(fuzz) * 100);
		break;
	case 4:
		open_link(fuzz, link);
		break;
	case 5:
	case 6:
		read_output(link, SIZE_MAX);
		break;
	case 7:
	case 8:
		require(sim_settle(fuzz->loop, STEPS));
		break;
	case 9:
		if (fuzz->disk != NULL) {
			store_disk_set_failing(fuzz->disk, (take(fuzz) & 1) != 0);
		}
		break;
	default:
		send_packet(fuzz, link);
		break;
	}
	(void)sim_settle(fuzz->loop, 3);
}

static void
finish(struct fuzz *fuzz)
{
	for (unsigned i = 0; i < LINKS; i++) {
		if (fuzz->links[i].pipe != NULL) {
			read_output(&fuzz->links[i], SIZE_MAX);
		}
		let_go(&fuzz->links[i]);
	}
	if (fuzz->disk != NULL) {
		store_disk_set_failing(fuzz->disk, false);
	}
	sim_advance(fuzz->loop, 20000);
	for (unsigned i = 0; i < WORKERS; i++) {
		require(conn_table_is_empty(fuzz->house->hands[i].conns));
		require(plugin_desk_open_count(fuzz->house->hands[i].plugins) == 0);
	}
	require(mail_undigested(fuzz->loop) == 0);
	loop_join(fuzz->loop);
	broker_house_free(&fuzz->house);
	loop_free(&fuzz->loop);
	store_disk_free(&fuzz->disk);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = {.at = data, .end = data + size};

	start(&fuzz);
	for (unsigned i = 0; i < MAX_COMMANDS && fuzz.at < fuzz.end; i++) {
		obey(&fuzz);
	}
	finish(&fuzz);
	return 0;
}
