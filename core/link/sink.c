/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the session of a remote link sends: RECEIVE and OUT are asked as for a client, then the
 * plugin maps the topic, then it goes out from where it lies, under the new topic and with its
 * mark.
 */
#include "base/mem.h"
#include "link/link_int.h"
#include "plugin/chain.h"
#include "wire/reason.h"

enum { ROOM_SIZE = 65535 };

/* Asks the plugin. False: it is dropped. */
static bool
map_out(struct link *link, const struct session_delivery *delivery, avocet_link_map *map)
{
	const struct msg *msg = delivery->msg;
	struct bytes topic = msg_topic(msg), payload = msg_payload(msg);
	int64_t entered;
	int32_t verdict;

	*map = (avocet_link_map){.struct_size = sizeof(*map),
	    .qos = delivery->qos,
	    .retain = (delivery->flags & SESSION_RETAIN) != 0,
	    /* What was sent before is under way, and must come through. */
	    .age_s = (delivery->flags & SESSION_DUP) != 0
			 ? 0
			 : (uint32_t)((context_current->mono_ms - msg->born_mono_ms) / 1000),
	    .topic = {(const char *)topic.data, topic.len},
	    .payload = {payload.data, payload.len},
	    .room_size = ROOM_SIZE};
	if (link->events.map_out == NULL) {
		return true;
	}
	if (link->table->room_for_topic == NULL) {
		link->table->room_for_topic = mem_alloc(ROOM_SIZE);
	}
	map->room = link->table->room_for_topic;
	entered = plugin_enter(link->self);
	verdict = link->events.map_out(plugin_inst(link->self), link->handle, link->user, map);
	plugin_leave(link->self, entered, "map_out");
	return verdict == AVOCET_PASS && map->topic.n != 0 && map->topic.n <= WIRE_MAX_STRING;
}

static enum session_offer
send_mapped(struct link *link, const struct session_delivery *delivery)
{
	struct session_delivery changed = *delivery;
	struct bytes props = {0};
	avocet_link_map map;
	enum session_offer offer;

	if (link->conn->peer.was_full) {
		return SESSION_LATER;
	}
	if (!map_out(link, delivery, &map)) {
		return SESSION_DENIED;
	}
	changed.subscription_id_count = 0; /* those are of this side */
	changed.flags = (uint8_t)(changed.flags & ~(unsigned)SESSION_RETAIN);
	if (map.retain != 0 && !link->conn->no_retain) {
		changed.flags |= SESSION_RETAIN;
	}
	if (link->conn->peer.version == WIRE_V5) {
		props = route_marked_props(link->table->route, delivery->msg);
	}
	offer = peer_send_publish_as(&link->conn->peer, &changed,
	    bytes_make(map.topic.p, map.topic.n), props, context_current->mono_ms);
	if (offer == SESSION_TAKEN && link->echo != NULL) {
		link_echo_sent(link->echo, bytes_make(map.topic.p, map.topic.n),
		    msg_payload(delivery->msg), context_current->mono_ms);
	}
	return offer;
}

static enum session_offer
send_out(struct link *link, const struct session_delivery *delivery)
{
	struct session_delivery changed = *delivery;
	enum session_offer offer;

	changed.msg = plugin_send_out(link->terms->plugins, link->client, delivery->msg,
	    delivery->qos, (delivery->flags & SESSION_RETAIN) != 0);
	if (changed.msg == NULL) {
		return SESSION_DENIED;
	}
	if (changed.msg == delivery->msg) {
		return send_mapped(link, delivery);
	}
	changed.flags =
	    (uint8_t)((changed.msg->flags & MSG_RETAIN) != 0 ? changed.flags | SESSION_RETAIN
							     : changed.flags & ~SESSION_RETAIN);
	offer = send_mapped(link, &changed);
	msg_unref(&changed.msg);
	return offer;
}

/* Several connections of one bridge are one: what one brought in the others do not take out. */
static bool
is_of_instance(const struct link *link, const struct msg *msg)
{
	struct bytes own = link->options->client_id, id = msg_client_id(msg);

	own.len -= strlen(link->options->name);
	return id.len != 0 && id.data[0] == '$' && bytes_starts_with(id, own);
}

static enum session_offer
on_offer(struct session_sink *sink, const struct session_delivery *delivery)
{
	struct link *link = link_of_sink(sink);
	const struct plugin_set *plugins = link->terms->plugins;
	enum session_offer offer;

	if (link->conn == NULL) {
		return SESSION_LATER;
	}
	if (is_of_instance(link, delivery->msg)) {
		return SESSION_DENIED;
	}
	if (plugins->judges_receive &&
	    !plugin_may_receive(plugins, link->client, msg_topic(delivery->msg))) {
		return SESSION_DENIED;
	}
	link->used_ms = context_current->mono_ms;
	offer = plugins->intercepts_out && !link->conn->peer.was_full ? send_out(link, delivery)
								      : send_mapped(link, delivery);
	if (link->conn->peer.was_full) {
		sink->has_room = false;
	}
	return offer;
}

static void
on_pubrel(struct session_sink *sink, uint16_t packet_id)
{
	struct link *link = link_of_sink(sink);

	if (link->conn != NULL) {
		peer_send_ack(&link->conn->peer, WIRE_PUBREL, packet_id, WIRE_REASON_SUCCESS);
	}
}

static void
on_received(struct session_sink *sink, uint16_t packet_id, uint8_t reason, uint64_t ticket)
{
	struct link *link = link_of_sink(sink);

	if (link->terms->durability.mode != ROUTE_COMMIT) {
		ticket = 0;
	}
	if (link->conn != NULL) {
		peer_ack_know_id(&link->conn->peer, WIRE_PUBREC, packet_id, reason, ticket);
	}
}

/* An operator has ended it: it begins anew. */
static void
on_ended(struct session_sink *sink, enum session_end why)
{
	struct link *link = link_of_sink(sink);

	(void)why;
	link->session = NULL;
	if (link->state == LINK_UP) {
		link_lose(link, WIRE_REASON_UNSPECIFIED_ERROR, WIRE_REASON_ADMINISTRATIVE_ACTION,
		    "its session was ended");
	}
}

const struct session_sink_ops link_remote_sink = {.offer = on_offer,
    .pubrel = on_pubrel,
    .received = on_received,
    .opened = link_opened,
    .ended = on_ended};
