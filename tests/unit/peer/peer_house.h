/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer on a stream in memory, in the simulator, with two workers and a store that commits late.
 * Its role writes down what it is told: "PINGREQ", "PUBLISH a/b=text", "end:0" (enum peer_end),
 * "room", "freed".
 */
#ifndef UNIT_PEER_HOUSE_H
#define UNIT_PEER_HOUSE_H

#include "lib/unit.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "loop/sim.h"
#include "msg/draft.h"
#include "peer/peer.h"
#include "store/engine_mem.h"
#include "transport/mem_stream.h"

enum { HOUSE_COMMIT_MS = 50, HOUSE_WORKERS = 2 };

struct house {
	struct peer peer; /* first */
	struct loop *loop;
	struct worker *workers[HOUSE_WORKERS];
	struct peer_room rooms[HOUSE_WORKERS];
	struct store *store;
	struct store_disk *disk;
	struct store_port *ports[HOUSE_WORKERS];
	struct mem_pipe *far;
	struct buf said;
	void (*on_packet)(struct house *house, const struct wire_packet *packet);
	unsigned packets;
	bool is_quiet;  /* packets are counted, not written down */
	bool keeps_end; /* does not close when it is told of the end */
	bool freed;
};

static inline void
house_say(struct house *house, const char *word)
{
	if (house->said.len != 0) {
		buf_append_byte(&house->said, ' ');
	}
	buf_append_text(&house->said, word);
}

static inline void
house_on_packet(struct peer *peer, struct wire_packet *packet)
{
	struct house *house = (struct house *)(void *)peer;

	house->packets++;
	if (!house->is_quiet) {
		house_say(house, wire_type_name(packet->type));
		if (packet->type == WIRE_PUBLISH) {
			buf_append_byte(&house->said, ' ');
			buf_append_bytes(&house->said, packet->publish.topic);
			buf_append_byte(&house->said, '=');
			if (packet->publish.payload.len < 100) {
				buf_append_bytes(&house->said, packet->publish.payload);
			} else {
				buf_printf(&house->said, "%zu", packet->publish.payload.len);
			}
		}
	}
	if (packet->type == WIRE_CONNECT) {
		peer->version = packet->connect.version & 15U;
		peer->max_packet_in = 0;
	}
	if (house->on_packet != NULL) {
		house->on_packet(house, packet);
	}
}

static inline void
house_on_ended(struct peer *peer, enum peer_end end, const struct wire_outcome *outcome,
    const struct wire_packet *packet)
{
	struct house *house = (struct house *)(void *)peer;
	char word[16];

	(void)outcome;
	(void)packet;
	(void)snprintf(word, sizeof(word), "end:%d", (int)end);
	house_say(house, word);
	if (!house->keeps_end) {
		peer_close(peer, end == PEER_BROKEN || end == PEER_WRITE_TIMEOUT);
	}
}

static inline void
house_on_room(struct peer *peer)
{
	house_say((struct house *)(void *)peer, "room");
}

static inline void
house_on_freed(struct peer *peer)
{
	struct house *house = (struct house *)(void *)peer;

	house->freed = true;
	house_say(house, "freed");
}

static const struct peer_ops house_ops = {.packet = house_on_packet,
    .ended = house_on_ended,
    .has_room = house_on_room,
    .freed = house_on_freed};

#define assert_said(house, text)                                     \
	do {                                                         \
		assert_string_equal(buf_text(&(house)->said), text); \
		buf_clear(&(house)->said);                           \
	} while (0)

static inline void
house_settle(struct house *house)
{
	assert_true(sim_settle(house->loop, 1000000));
}

/* A server's peer of MQTT 5, attached; what differs is set by the test before house_open. */
static inline void
house_build(struct house *house)
{
	struct loop_options options = {.seed = 11};

	*house = (struct house){.peer.side = WIRE_SERVER, .peer.version = WIRE_V5};
	buf_init(&house->said, SIZE_MAX);
	house->loop = loop_new(&options);
	for (int i = 0; i < HOUSE_WORKERS; i++) {
		house->workers[i] = loop_add_worker(house->loop, "worker");
	}
	house->disk = store_disk_new();
	house->store =
	    store_new(store_engine_mem_new(house->disk, &(struct store_mem_options){.seed = 1,
							    .min_delay_ms = HOUSE_COMMIT_MS,
							    .max_delay_ms = HOUSE_COMMIT_MS}),
		loop_add_worker(house->loop, "store"));
	for (int i = 0; i < HOUSE_WORKERS; i++) {
		house->ports[i] = store_add_port(house->store, house->workers[i]);
		peer_room_init(&house->rooms[i], house->workers[i], house->ports[i]);
	}
	assert_int_equal(loop_start(house->loop), 0);
}

static inline void
house_attach(struct house *house, size_t room)
{
	struct stream *stream = mem_stream_new("mem", room, &house->far);

	sim_enter(house->workers[0]);
	assert_int_equal(peer_init(&house->peer, &house_ops, &house->rooms[0], stream), 0);
	sim_leave();
	house_settle(house);
}

static inline void
house_open(struct house *house)
{
	house_build(house);
	house_attach(house, SIZE_MAX);
}

static inline void
house_close(struct house *house)
{
	loop_join(house->loop);
	if (!house->freed) {
		peer_kill(&house->peer);
	}
	for (int i = 0; i < HOUSE_WORKERS; i++) {
		assert_int_equal(house->rooms[i].count, 0);
		peer_room_fini(&house->rooms[i]);
	}
	mem_pipe_release(&house->far);
	store_free(&house->store);
	loop_free(&house->loop);
	store_disk_free(&house->disk);
	buf_fini(&house->said);
}

/* The far end says this. */
static inline void
house_write(struct house *house, struct bytes bytes)
{
	sim_enter(house->workers[0]);
	mem_pipe_write(house->far, bytes);
	sim_leave();
	house_settle(house);
}

/* What the far end has got and not taken, as hex; takes it. */
#define assert_got(house, text)                                                                \
	do {                                                                                   \
		struct bytes got_bytes = mem_pipe_output((house)->far);                        \
		char got_hex[4096] = "";                                                       \
                                                                                               \
		for (size_t got_i = 0; got_i < got_bytes.len && got_i < 1000; got_i++) {       \
			(void)snprintf(got_hex + 2 * got_i, 3, "%02x", got_bytes.data[got_i]); \
		}                                                                              \
		assert_string_equal(got_hex, text);                                            \
		house_take(house, got_bytes.len);                                              \
	} while (0)

static inline void
house_take(struct house *house, size_t size)
{
	sim_enter(house->workers[0]);
	mem_pipe_take(house->far, size);
	sim_leave();
	house_settle(house);
}

/* A row that is durable HOUSE_COMMIT_MS after the turn. Own worker. */
static inline uint64_t
house_put(struct house *house)
{
	return store_put(
	    house->ports[0], &(struct store_op){.kind = STORE_RECV_PUT, .sid = 1, .packet_id = 1});
}

/* Appends a PUBLISH of QoS 0 (MQTT 5, without properties). */
static inline void
put_publish(struct buf *buf, const char *topic, size_t payload_len, uint8_t fill)
{
	size_t topic_len = strlen(topic), remaining = 2 + topic_len + 1 + payload_len;

	buf_append_byte(buf, 0x30);
	for (; remaining >= 0x80; remaining >>= 7) {
		buf_append_byte(buf, (uint8_t)(0x80 | (remaining & 0x7f)));
	}
	buf_append_byte(buf, (uint8_t)remaining);
	buf_append_byte(buf, (uint8_t)(topic_len >> 8));
	buf_append_byte(buf, (uint8_t)topic_len);
	buf_append_text(buf, topic);
	buf_append_byte(buf, 0);
	for (size_t i = 0; i < payload_len; i++) {
		buf_append_byte(buf, fill);
	}
}

#endif
