/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's end of a connection: bytes into the pipe and out of it, and packets to those who
 * judge them. A link that has left, or that a newer one has replaced, is only watched until the
 * broker closes it.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sim.h"
#include "wire/props.h"
#include "wire/reason.h"

enum { PACKET_MAX = 16384 };

struct cable *
cable_open(struct client *client, unsigned worker)
{
	struct sim *sim = client->sim;
	struct broker_hand *hand = &sim->world.house->hands[worker];
	struct cable *link = mem_zalloc(sizeof(*link));
	bool slow =
	    sim->has_slow && client->index != OBSERVER && !sim->is_final && sim_chance(sim, 40);
	struct stream *stream;
	char name[32];

	link->number = ++sim->cable_count;
	link->client = client;
	link->is_slow = slow;
	link->eager = slow ? 5 + (unsigned)sim_draw(sim, 60) : 100;
	link->take_max = slow ? 1 + (size_t)sim_draw(sim, 100) : SIZE_MAX;
	link->opened = ++sim->tick;
	link->opened_ms = link->alive_ms = link->looked_ms = world_now(&sim->world);
	link->decoder = (struct wire_decoder){.version = client->version, .receiver = WIRE_CLIENT};
	buf_init(&link->input, SIZE_MAX);
	(void)snprintf(name, sizeof(name), "sim:%u", link->number);
	stream =
	    mem_stream_new(name, slow ? 20 + (size_t)sim_draw(sim, 300) : SIZE_MAX, &link->pipe);
	if (sim_chance(sim, 30)) {
		mem_pipe_set_read_size(link->pipe, 1 + (size_t)sim_draw(sim, 40));
	}
	sim_enter(hand->worker);
	conn_open(hand->conns, stream, &sim->world.listener, NULL, false, NULL);
	sim_leave();
	vec_push(&client->links, link);
	return link;
}

static size_t
encode(const struct cable *link, const struct wire_packet *packet, uint8_t *out)
{
	struct wire_encoder encoder = {.version = link->client->version, .sender = WIRE_CLIENT};
	size_t size = wire_encode(&encoder, packet, out, PACKET_MAX);

	if (size == 0 || size > PACKET_MAX) {
		sim_fail(link->client->sim, "the simulator cannot encode a packet of type %d",
		    packet->type);
	}
	return size;
}

void
cable_send(struct cable *link, const struct wire_packet *packet)
{
	uint8_t out[PACKET_MAX];

	mem_pipe_write(link->pipe, bytes_make(out, encode(link, packet, out)));
}

void
cable_send_part(struct cable *link, const struct wire_packet *packet)
{
	uint8_t out[PACKET_MAX];
	size_t size = encode(link, packet, out);

	mem_pipe_write(
	    link->pipe, bytes_make(out, 1 + (size_t)sim_draw(link->client->sim, size - 1)));
}

/* --- packets --- */

static void
on_publish(struct cable *link, const struct wire_publish *packet)
{
	struct sim *sim = link->client->sim;
	struct bytes topic = packet->topic;
	uint32_t alias = wire_props_number(&packet->props, WIRE_TOPIC_ALIAS, 0);
	uint8_t at;

	if (alias > link->alias_max) {
		sim_fail(sim, "link %u: Topic Alias %u is above the maximum %u", link->number,
		    alias, link->alias_max);
	}
	if (topic.len == 0 && (alias == 0 || link->aliases[alias] == 0)) {
		sim_fail(sim, "link %u: an unknown Topic Alias %u", link->number, alias);
	}
	if (topic.len == 0) {
		at = (uint8_t)(link->aliases[alias] - 1);
	} else {
		for (at = 0; at < TOPIC_COUNT && !bytes_equal_text(topic, sim_topics[at]); at++) {}
		if (at == TOPIC_COUNT) {
			sim_fail(sim, "link %u: a topic that nobody publishes: %.*s", link->number,
			    (int)topic.len, (const char *)topic.data);
		}
		if (alias != 0) {
			link->aliases[alias] = (uint8_t)(at + 1);
		}
	}
	model_delivery(link, packet, at);
}

static void
on_pubrel(struct cable *link, const struct wire_ack *packet)
{
	struct life *life = link->life;
	struct reply reply = {WIRE_PUBCOMP, packet->packet_id, 0};
	bool found = false;

	sim_say(link->client->sim, "link %u (%s): PUBREL %u", link->number, link->client->id,
	    packet->packet_id);
	for (size_t i = 0; i < life->arrivals.count; i++) {
		struct arrival *arrival = &life->arrivals.items[i];

		if (arrival->packet_id == packet->packet_id && arrival->qos == 2 &&
		    (arrival->received || arrival->acked)) {
			arrival->received = false;
			arrival->acked = arrival->released = true;
			found = true;
		}
	}
	if (!found && link->client->version == WIRE_V5) {
		reply.reason = WIRE_REASON_PACKET_IDENTIFIER_NOT_FOUND;
	}
	vec_push(&link->replies, reply);
}

static void
on_disconnect(struct cable *link, const struct wire_disconnect *packet)
{
	struct sim *sim = link->client->sim;

	sim_say(sim, "link %u: DISCONNECT 0x%02x", link->number, packet->reason);
	if (link->client->version != WIRE_V5) {
		sim_fail(sim, "link %u: DISCONNECT to MQTT 3", link->number);
	}
	if (packet->reason == WIRE_REASON_SESSION_TAKEN_OVER && !link->zombie && !link->has_rival) {
		sim_fail(sim, "link %u is taken over by nobody", link->number);
	}
	if (packet->reason == WIRE_REASON_PROTOCOL_ERROR ||
	    packet->reason == WIRE_REASON_MALFORMED_PACKET ||
	    (packet->reason == WIRE_REASON_RECEIVE_MAXIMUM_EXCEEDED && link->life != NULL &&
		!link->life->fuzzy) ||
	    packet->reason == WIRE_REASON_TOPIC_ALIAS_INVALID ||
	    packet->reason == WIRE_REASON_PACKET_TOO_LARGE) {
		sim_fail(sim, "link %u: a client that has done nothing wrong is told 0x%02x",
		    link->number, packet->reason);
	}
	link->goodbye = true;
}

static void
handle(struct cable *link, const struct wire_packet *packet)
{
	struct sim *sim = link->client->sim;

	if (link->goodbye) {
		sim_fail(sim, "link %u: something behind DISCONNECT", link->number);
	}
	if (packet->type == WIRE_CONNACK) {
		if (link->got_connack || link->is_refused) {
			sim_fail(sim, "link %u: a second CONNACK", link->number);
		}
		ack_connack(link, &packet->connack);
		return;
	}
	if (!link->got_connack) {
		sim_fail(
		    sim, "link %u: %s before CONNACK", link->number, wire_type_name(packet->type));
	}
	if (packet->type == WIRE_DISCONNECT) {
		on_disconnect(link, &packet->disconnect);
		return;
	}
	if (link->zombie || link->state != LINK_UP) {
		return;
	}
	switch (packet->type) {
	case WIRE_PUBLISH:
		on_publish(link, &packet->publish);
		break;
	case WIRE_PUBREL:
		on_pubrel(link, &packet->ack);
		break;
	case WIRE_PINGRESP:
		if (++link->pings_got > link->pings_sent) {
			sim_fail(sim, "link %u: PINGRESP without PINGREQ", link->number);
		}
		break;
	default:
		ack_came(link, packet);
		break;
	}
}

static void
take_in(struct cable *link)
{
	struct sim *sim = link->client->sim;
	struct bytes output = mem_pipe_output(link->pipe);
	size_t n = output.len < link->take_max ? output.len : link->take_max;
	size_t used = 0;

	buf_append(&link->input, output.data, n);
	mem_pipe_take(link->pipe, n);
	for (;;) {
		struct wire_packet packet;
		struct wire_outcome outcome =
		    wire_decode(&link->decoder, bytes_skip(buf_bytes(&link->input), used), &packet);

		if (used == link->input.len || outcome.status == WIRE_MORE) {
			break;
		}
		if (outcome.status == WIRE_REFUSED) {
			sim_fail(sim, "link %u: the broker sent what cannot be read: %s: %s",
			    link->number, wire_type_name(packet.type), outcome.text);
		}
		if (link->max_packet != 0 && outcome.size > link->max_packet) {
			sim_fail(sim, "link %u: a packet of %u bytes, the maximum is %u",
			    link->number, outcome.size, link->max_packet);
		}
		sim->tick++;
		handle(link, &packet);
		used += outcome.size;
	}
	buf_consume(&link->input, used);
}

void
cable_look(struct cable *link)
{
	struct sim *sim = link->client->sim;

	if (link->state == LINK_GONE) {
		return;
	}
	if (!link->closed) {
		take_in(link);
	}
	if (mem_pipe_is_closed(link->pipe) &&
	    (link->closed || mem_pipe_output(link->pipe).len == 0)) {
		sim_say(sim, "link %u is closed", link->number);
		cable_ended(link);
		return;
	}
	if (!link->is_slow) {
		/* It is there now, so its session was surely attached at the last look. */
		link->alive_ms = link->looked_ms;
		if (link->life != NULL && !link->zombie) {
			link->life->alive_ms = link->looked_ms;
		}
		link->looked_ms = world_now(&sim->world);
	}
}

/* Acknowledgements that are due, in their order. */
void
cable_reply(struct cable *link, unsigned most)
{
	size_t sent = 0;

	while (sent < link->replies.count && sent < most && link->state == LINK_UP) {
		const struct reply *reply = &link->replies.items[sent++];
		struct wire_packet packet = {.type = reply->type,
		    .ack = {.packet_id = reply->packet_id, .reason = reply->reason}};

		if (reply->type == WIRE_PUBREL) {
			ack_expect(link,
			    &(struct expect){.type = WIRE_PUBCOMP, .packet_id = reply->packet_id});
		}
		if (reply->type == WIRE_PUBACK || reply->type == WIRE_PUBCOMP ||
		    reply->reason >= WIRE_REASON_FIRST_ERROR) {
			for (size_t i = 0; i < link->life->arrivals.count; i++) {
				struct arrival *arrival = &link->life->arrivals.items[i];

				if (arrival->packet_id == reply->packet_id &&
				    arrival->link == link->number && !arrival->counted_out) {
					arrival->counted_out = true;
					link->unacked--;
				}
			}
		}
		sim_say(link->client->sim, "link %u (%s): sends %s %u 0x%02x", link->number,
		    link->client->id, wire_type_name(reply->type), reply->packet_id, reply->reason);
		cable_send(link, &packet);
	}
	for (size_t i = 0; i + sent < link->replies.count; i++) {
		link->replies.items[i] = link->replies.items[i + sent];
	}
	link->replies.count -= sent;
}

/* --- the end --- */

/* Its CONNECT was carried out, or not: nobody has told. */
static void
doubt(struct cable *link)
{
	struct client *client = link->client;
	struct life *life = client->life;
	int64_t now = world_now(&client->sim->world);

	if (client->link != NULL && client->link != link && client->link->got_connack) {
		return; /* the next CONNACK has told */
	}
	if (link->expiry_s != 0) {
		client->may_exist = client->may_exist || life == NULL || life->ended;
	}
	if (life == NULL || life->ended) {
		return;
	}
	life->left_ms = life->left_ms != 0 ? now : 0;
	if (life->expiry_s != UINT32_MAX &&
	    now > life->alive_ms + (int64_t)life->expiry_s * 1000 - SLACK_MS) {
		client->may_exist = client->may_exist || link->expiry_s != 0;
		model_life_blur(life);
	}
}

/* The client closes: nothing is read any more. */
void
cable_close(struct cable *link, bool broken)
{
	if (link->closed || link->state == LINK_GONE) {
		return;
	}
	link->closed = true;
	link->state = LINK_LEFT;
	if (link->left_ms == 0) {
		link->left_ms = world_now(&link->client->sim->world);
	}
	mem_pipe_close(link->pipe, broken);
}

/* Nothing that was asked on it is told any more; a SUBSCRIBE may be carried out later all the same.
 */
void
cable_leave(struct cable *link)
{
	struct life *life = link->life;

	if (life == NULL || !oracle_may_wait(link->client->sim->world.oracle)) {
		return;
	}
	for (size_t i = 0; i < link->expects.count; i++) {
		const struct expect *expect = &link->expects.items[i];

		for (unsigned k = 0; expect->type == WIRE_SUBACK && k < expect->count; k++) {
			life->murky |= UINT32_C(1) << expect->filters[k];
			life->subs.items[expect->subs[k]].asked_late = true;
			life->subs.items[expect->subs[k]].may_be_new = true;
		}
	}
}

void
cable_ended(struct cable *link)
{
	struct client *client = link->client;
	struct sim *sim = client->sim;
	struct life *life = link->life;

	if (link->state == LINK_GONE) {
		return;
	}
	sim->tick++;
	if (link->left_ms == 0) {
		link->left_ms = link->alive_ms;
	}
	link->state = LINK_GONE;
	if (!link->got_connack && !link->is_refused) {
		doubt(link);
	}
	/* One that the client had given up may have been the one that was let in last. */
	if (client->life != NULL && link->got_connack &&
	    (client->link == NULL || client->link == link || !client->link->got_connack)) {
		client->life->left_ms = world_now(&sim->world);
	}
	cable_leave(link);
	if (life != NULL && !life->persistent) {
		life->ended = true;
		for (size_t i = 0; i < life->subs.count; i++) {
			sim->shared_lost |= life->subs.items[i].filter >= FIRST_SHARED;
		}
	}
	will_link_ended(link);
	if (client->link == link) {
		client->link = NULL;
	}
}

void
cable_free(struct cable *link)
{
	mem_pipe_release(&link->pipe);
	buf_fini(&link->input);
	vec_fini(&link->expects);
	vec_fini(&link->replies);
	mem_free(&link);
}
