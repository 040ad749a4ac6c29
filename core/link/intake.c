/* SPDX-License-Identifier: Apache-2.0 */
/* PUBLISH and PUBREL of remotes: what comes of them here, and what is acknowledged. */
#include "base/counter.h"
#include "base/mem.h"
#include "link/link_int.h"
#include "wire/props.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

enum { ROOM_SIZE = 65535 };

/* --- acknowledging --- */

/* What is acknowledged without being carried out: it was before, perhaps on another way. Whatever
 * was handed to the store by then is durable when this is. */
static void
acknowledge_unrouted(struct link *link, const struct wire_publish *packet, uint8_t reason)
{
	struct link_table *table = link->table;
	uint64_t ticket = 0;

	if (packet->qos == 0) {
		return;
	}
	if (table->port != NULL && link->terms->durability.mode == ROUTE_COMMIT) {
		ticket = store_put(table->port,
		    &(struct store_op){.kind = STORE_RECV_DEL, .sid = session_sid(link->session)});
	}
	reason = link_told_reason(link->conn, packet->qos, reason);
	if (packet->qos == 1) {
		peer_ack(&link->conn->peer, WIRE_PUBACK, packet->packet_id, reason, ticket);
		return;
	}
	session_inbound_done(link->session, packet->packet_id, reason, &ticket, false);
	peer_ack(&link->conn->peer, WIRE_PUBREC, packet->packet_id, reason,
	    link->terms->durability.mode == ROUTE_COMMIT ? ticket : 0);
}

static void
acknowledge(
    struct link *link, uint8_t qos, uint16_t packet_id, const struct route_publication *publication)
{
	uint64_t ticket = publication->ticket;
	uint8_t reason = link_told_reason(link->conn, qos, publication->reason);

	if (qos == 1) {
		peer_ack(&link->conn->peer, WIRE_PUBACK, packet_id, reason, ticket);
	} else if (qos == 2) {
		session_inbound_done(link->session, packet_id, reason, &ticket, false);
		peer_ack(&link->conn->peer, WIRE_PUBREC, packet_id, reason,
		    publication->mode == ROUTE_COMMIT ? ticket : 0);
	}
	link_stop_for_credit(link, publication->worker_over);
}

/* --- PUBLISH of the remote --- */

/* More than our Receive Maximum: the remote does not keep to MQTT [MQTT-3.3.4-7]. */
static bool
check_quota(struct link *link, const struct wire_publish *packet)
{
	const struct link_conn *conn = link->conn;
	size_t max = link->options->remote->receive_max, open;

	if (conn->peer.version != WIRE_V5 || packet->qos == 0 ||
	    (packet->qos == 2 && session_inbound_has(link->session, packet->packet_id))) {
		return true;
	}
	open = peer_ack_publishes(&conn->peer) - peer_ack_pubrecs(&conn->peer);
	if (open < max && !session_inbound_reaches(link->session, max - open,
			      link->terms->durability.mode == ROUTE_COMMIT)) {
		return true;
	}
	link_lose(link, WIRE_REASON_RECEIVE_MAXIMUM_EXCEEDED, WIRE_REASON_RECEIVE_MAXIMUM_EXCEEDED,
	    "the remote sends more than the Receive Maximum");
	return false;
}

/* Where it goes here. False: nowhere. */
static bool
map_in(
    struct link *link, const struct wire_publish *packet, struct bytes topic, avocet_link_map *map)
{
	struct link_table *table = link->table;
	int64_t entered;
	int32_t verdict;

	*map = (avocet_link_map){.struct_size = sizeof(*map),
	    .qos = packet->qos,
	    .retain = packet->retain,
	    .topic = {(const char *)topic.data, topic.len},
	    .payload = {packet->payload.data, packet->payload.len},
	    .room_size = ROOM_SIZE};
	if (link->events.map_in == NULL) {
		return true;
	}
	if (table->room_for_topic == NULL) {
		table->room_for_topic = mem_alloc(ROOM_SIZE);
	}
	map->room = table->room_for_topic;
	entered = plugin_enter(link->self);
	verdict = link->events.map_in(plugin_inst(link->self), link->handle, link->user, map);
	plugin_leave(link->self, entered, "map_in");
	return verdict == AVOCET_PASS;
}

static bool
is_publishable(const struct link *link, struct bytes topic)
{
	return wire_topic_level_count(topic) <= (size_t)link->terms->max_topic_levels &&
	       wire_topic_name_check(topic, true) == WIRE_TOPIC_OK &&
	       !bytes_starts_with(topic, BYTES_LITERAL("$share/")) &&
	       !bytes_starts_with(topic, BYTES_LITERAL("$SYS/")) &&
	       !bytes_equal(topic, BYTES_LITERAL("$SYS"));
}

/* QoS 2: is it new? Else it gets what the first one got, or will get. */
static bool
begin_inbound(struct link *link, const struct wire_publish *packet)
{
	uint64_t ticket = 0;

	switch (session_inbound_begin(link->session, packet->packet_id, &ticket)) {
	case SESSION_INBOUND_NEW:
		return true;
	case SESSION_INBOUND_KNOWN:
		peer_ack(
		    &link->conn->peer, WIRE_PUBREC, packet->packet_id, WIRE_REASON_SUCCESS, ticket);
		return false;
	case SESSION_INBOUND_ASKED:
		(void)peer_ack_begin(&link->conn->peer, WIRE_PUBREC, packet->packet_id);
		return false;
	}
	return false;
}

static void
fill(struct link *link, const struct wire_publish *packet, const avocet_link_map *map,
    struct route_publication *publication)
{
	struct msg_draft *draft = &publication->draft;

	msg_draft_of_publish(draft, packet);
	draft->topic = bytes_make(map->topic.p, map->topic.n);
	draft->qos = map->qos < packet->qos ? (uint8_t)map->qos : packet->qos;
	draft->flags = (uint8_t)(draft->flags & ~(unsigned)MSG_RETAIN);
	draft->flags |= map->retain != 0 ? MSG_RETAIN : 0;
	draft->client_id = msg_client_id_of(link->client);
	draft->username = msg_client_username_of(link->client);
	draft->born_mono_ms = context_current->mono_ms;
	draft->born_wall_ms = context_current->wall_ms;
	publication->client = link->client;
	publication->plugins = link->terms->plugins;
	publication->session = link->session;
	publication->mode = (uint8_t)route_mode_of(&link->terms->durability, draft->topic);
}

/* Nobody need be asked, and nothing waits before it: it is carried out from where it lies. */
static bool
publish_now(
    struct link *link, struct route_publication *publication, const struct wire_publish *packet)
{
	if (route_publish(link->table->route, publication) == ROUTE_BLOCKED) {
		return false;
	}
	if (publication->reason >= WIRE_REASON_FIRST_ERROR) {
		link_log_refusal(link, publication->draft.topic, publication->reason);
	}
	msg_draft_fini(&publication->draft);
	plugin_request_fini(&publication->request);
	acknowledge(link, packet->qos, packet->packet_id, publication);
	return true;
}

static struct link_publication *
make_waiting(struct link *link, const struct route_publication *publication,
    const struct wire_publish *packet)
{
	struct link_publication *made = link_publication_new(link, publication);

	if (made == NULL) {
		link_lose(link, 0, 0, "no memory for a message");
		return NULL;
	}
	made->conn = link->conn;
	made->packet_id = packet->packet_id;
	made->qos = packet->qos;
	if (made->qos != 0) {
		made->ack = peer_ack_begin(
		    &link->conn->peer, made->qos == 1 ? WIRE_PUBACK : WIRE_PUBREC, made->packet_id);
	}
	return made;
}

/* What it was sent, come back. */
static bool
is_echo(struct link *link, const struct wire_publish *packet, struct bytes topic)
{
	return link->echo != NULL && !packet->retain && !packet->dup &&
	       link_echo_is(link->echo, topic, packet->payload, context_current->mono_ms);
}

static void
route(struct link *link, const struct wire_publish *packet, const avocet_link_map *map)
{
	struct route_publication publication = {0};
	struct link_publication *made;

	fill(link, packet, map, &publication);
	plugin_request_init(&publication.request);
	if (plugin_set_may_wait(link->terms->plugins) || !list_is_empty(&link->line)) {
		made = make_waiting(link, &publication, packet);
		if (made != NULL) {
			link_publish(link, made);
		}
	} else if (!publish_now(link, &publication, packet)) {
		made = make_waiting(link, &publication, packet);
		if (made != NULL) {
			link_publication_ready(made);
		}
	}
}

void
link_on_publish(struct link *link, const struct wire_publish *packet)
{
	avocet_link_map map;
	struct bytes topic;
	const char *why;
	uint8_t reason;

	counter_add(COUNTER_PUBLISHES_RECEIVED, 1);
	counter_add(COUNTER_PUBLISH_BYTES_RECEIVED, packet->payload.len);
	reason = peer_resolve_topic(&link->conn->peer, packet, &topic, &why);
	if (reason != WIRE_REASON_SUCCESS) {
		link_lose(link, reason, reason, "%s", why);
		return;
	}
	if (!check_quota(link, packet) || (packet->qos == 2 && !begin_inbound(link, packet))) {
		return;
	}
	if (is_echo(link, packet, topic) || !map_in(link, packet, topic, &map)) {
		acknowledge_unrouted(link, packet, WIRE_REASON_SUCCESS);
		return;
	}
	if (!is_publishable(link, bytes_make(map.topic.p, map.topic.n))) {
		link_log_refusal(link, topic, WIRE_REASON_TOPIC_NAME_INVALID);
		acknowledge_unrouted(link, packet, WIRE_REASON_TOPIC_NAME_INVALID);
		return;
	}
	route(link, packet, &map);
}

void
link_on_pubrel(struct link *link, const struct wire_ack *packet)
{
	uint64_t ticket = 0;
	uint8_t reason = session_inbound_release(link->session, packet->packet_id, &ticket);

	if (link->terms->durability.mode != ROUTE_COMMIT) {
		ticket = 0;
	}
	peer_ack(&link->conn->peer, WIRE_PUBCOMP, packet->packet_id, reason, ticket);
}
