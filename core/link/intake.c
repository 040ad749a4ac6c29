/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What links publish: messages that remotes send, and those of local links. They are carried out in
 * their order per link, whatever the order of answers, and when their link has gone, too.
 *
 * Nothing that a remote sent is refused because the store fails: the remote would forget it. The
 * first that would write a row waits, all behind it wait with it, and the remote is not read.
 */
#include "base/counter.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "link/link_int.h"
#include "wire/props.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

enum { ROOM_SIZE = 65535, MOST_WAITING = 64, MOST_BYTES = 1 << 20 };

/* --- acknowledging --- */

static uint8_t
told_reason(const struct link_conn *conn, uint8_t qos, uint8_t reason)
{
	enum wire_type type = qos == 1 ? WIRE_PUBACK : WIRE_PUBREC;

	if (conn->peer.version != WIRE_V5) {
		return WIRE_REASON_SUCCESS;
	}
	return wire_reason_is_allowed(type, WIRE_CLIENT, reason)
		   ? reason
		   : (uint8_t)WIRE_REASON_UNSPECIFIED_ERROR;
}

static void
stop_for_credit(struct link *link, uint32_t workers)
{
	struct link_table *table = link->table;
	struct loop *loop = table->house->options.loop;

	for (unsigned i = 0; workers != 0 && i < loop_worker_count(loop); i++) {
		unsigned bit = i < ROUTE_LAST_WORKER ? i : ROUTE_LAST_WORKER;

		if ((workers >> bit & 1) != 0 && link->conn != NULL &&
		    mail_wait_credit(table->worker, loop_worker(loop, i))) {
			peer_pause(&link->conn->peer, PEER_PAUSE_CREDIT);
		}
	}
}

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
	reason = told_reason(link->conn, packet->qos, reason);
	if (packet->qos == 1) {
		peer_ack(&link->conn->peer, WIRE_PUBACK, packet->packet_id, reason, ticket);
		return;
	}
	session_inbound_done(link->session, packet->packet_id, reason, &ticket, false);
	peer_ack(&link->conn->peer, WIRE_PUBREC, packet->packet_id, reason, ticket);
}

static void
acknowledge(
    struct link *link, uint8_t qos, uint16_t packet_id, const struct route_publication *publication)
{
	uint64_t ticket = publication->ticket;
	uint8_t reason = told_reason(link->conn, qos, publication->reason);

	if (qos == 1) {
		peer_ack(&link->conn->peer, WIRE_PUBACK, packet_id, reason, ticket);
	} else if (qos == 2) {
		session_inbound_done(link->session, packet_id, reason, &ticket, false);
		peer_ack(&link->conn->peer, WIRE_PUBREC, packet_id, reason,
		    publication->mode == ROUTE_COMMIT ? ticket : 0);
	}
	stop_for_credit(link, publication->worker_over);
}

static void
log_refusal(struct link *link, struct bytes topic, uint8_t reason)
{
	link_log(link, LOG_LEVEL_WARNING, "a message of the remote to \"%.*s\" is refused: %s",
	    (int)(topic.len < 100 ? topic.len : 100), (const char *)topic.data,
	    wire_reason_name(reason));
}

/* --- the line --- */

static void
free_publication(struct plugin_request *request)
{
	struct link_publication *made =
	    list_item(request, struct link_publication, publication.request);

	plugin_request_fini(request);
	msg_draft_fini(&made->publication.draft);
	msg_client_unref(&made->client);
	mem_free(&made);
}

static void
resume(struct link *link)
{
	if (link->conn != NULL && link->line_bytes < MOST_BYTES / 2) {
		peer_resume(&link->conn->peer, PEER_PAUSE_PENDING);
	}
}

static void
leave_line(struct link_publication *made)
{
	struct link *link = made->link;

	list_remove(&made->order);
	if (link != NULL) {
		link->line_bytes -= made->size;
		resume(link);
	}
}

static void
tell_published(struct link_publication *made)
{
	struct link *link = made->link;
	int64_t entered;

	if (link != NULL && made->qos != 0 && link->events.published != NULL) {
		entered = plugin_enter(link->self);
		link->events.published(plugin_inst(link->self), link->handle, link->user,
		    made->cookie, made->publication.reason);
		plugin_leave(link->self, entered, "published");
	}
}

static void
on_durable(struct store_wait *wait)
{
	struct link_publication *made = list_item(wait, struct link_publication, wait);

	made->is_waiting_store = false;
	list_remove(&made->all_item);
	tell_published(made);
	plugin_end(&made->publication.request, free_publication);
}

/* Local: the plugin is told when it is durable. */
static void
finish_local(struct link_publication *made)
{
	struct link_table *table = made->table;
	uint64_t ticket = made->publication.mode == ROUTE_COMMIT ? made->publication.ticket : 0;

	if (ticket == 0 || store_is_durable(table->port, ticket)) {
		list_remove(&made->all_item);
		tell_published(made);
		plugin_end(&made->publication.request, free_publication);
		return;
	}
	made->is_waiting_store = true;
	made->wait.fn = on_durable;
	store_wait(table->port, &made->wait, ticket);
}

static void
finish_remote(struct link_publication *made)
{
	struct route_publication *publication = &made->publication;
	struct link *link = made->link;
	struct session *session = link != NULL ? link_session_of(link) : NULL;
	uint64_t ticket = publication->ticket;
	uint8_t reason = made->conn != NULL
			     ? told_reason(made->conn, made->qos, publication->reason)
			     : publication->reason;

	list_remove(&made->all_item);
	if (publication->reason >= WIRE_REASON_FIRST_ERROR && link != NULL) {
		log_refusal(link, publication->draft.topic, publication->reason);
	}
	if (made->qos == 2 && session != NULL && made->epoch == link->epoch) {
		session_inbound_done(session, made->packet_id, reason, &ticket, true);
	} else if (made->qos == 1 && made->conn != NULL) {
		peer_ack_know(&made->conn->peer, made->ack, reason, ticket);
	}
	if (link != NULL && made->conn != NULL) {
		stop_for_credit(link, publication->worker_over);
	}
	plugin_end(&publication->request, free_publication);
}

static void
finish(struct link_publication *made)
{
	leave_line(made);
	route_forget(&made->publication);
	if (made->is_local) {
		finish_local(made);
	} else {
		finish_remote(made);
	}
}

static void
be_blocked(struct link *link)
{
	if (!link->is_blocked) {
		link->is_blocked = true;
		list_append(&link->table->blocked, &link->blocked_item);
	}
	if (link->conn != NULL) {
		peer_pause(&link->conn->peer, PEER_PAUSE_STORE);
	}
}

static void
go_on(struct link *link)
{
	while (!list_is_empty(&link->line)) {
		struct link_publication *made =
		    list_item(link->line.head.next, struct link_publication, order);

		if (!made->is_ready) {
			return;
		}
		if (route_carry(&made->publication) == ROUTE_BLOCKED) {
			be_blocked(link);
			return;
		}
		finish(made);
	}
}

void
link_unblock(struct link_table *table)
{
	struct list_link *item;
	struct list now;

	list_init(&now);
	while ((item = list_take_first(&table->blocked)) != NULL) {
		list_append(&now, item);
	}
	while ((item = list_take_first(&now)) != NULL) {
		struct link *link = list_item(item, struct link, blocked_item);

		link->is_blocked = false;
		go_on(link);
		if (!link->is_blocked && link->conn != NULL) {
			peer_resume(&link->conn->peer, PEER_PAUSE_STORE);
		}
	}
}

/* Refused, dropped, or not answered in time. */
static void
on_done(struct route_publication *publication)
{
	struct link_publication *made =
	    list_item(publication, struct link_publication, publication);
	struct link *link = made->link;

	finish(made);
	if (link != NULL) {
		go_on(link);
	}
}

static void
on_ready(struct route_publication *publication)
{
	struct link_publication *made =
	    list_item(publication, struct link_publication, publication);

	made->is_ready = true;
	if (made->link != NULL) {
		go_on(made->link);
	} else {
		(void)route_carry(publication); /* its link has gone, and so has its place */
		finish(made);
	}
}

struct link_publication *
link_publication_new(struct link *link, const struct route_publication *on_stack)
{
	struct link_publication *made = mem_zalloc(sizeof(*made));

	made->publication = *on_stack;
	made->table = link->table;
	made->link = link;
	made->epoch = link->epoch;
	made->client = msg_client_ref(link->client);
	made->publication.client = made->client;
	made->publication.done = on_done;
	made->publication.ready = on_ready;
	made->publication.draft.client_id = msg_client_id_of(made->client);
	made->publication.draft.username = msg_client_username_of(made->client);
	plugin_request_init(&made->publication.request);
	if (msg_draft_own(&made->publication.draft) != 0) {
		free_publication(&made->publication.request);
		return NULL;
	}
	made->size = made->publication.draft.payload.len + made->publication.draft.props.len;
	list_append(&link->table->publications, &made->all_item);
	list_append(&link->line, &made->order);
	link->line_bytes += made->size;
	return made;
}

void
link_publish(struct link *link, struct link_publication *made)
{
	size_t count = 0;

	switch (route_publish(link->table->route, &made->publication)) {
	case ROUTE_PENDING:
		break;
	case ROUTE_READY:
		on_ready(&made->publication);
		break;
	case ROUTE_DONE:
	case ROUTE_BLOCKED:
		on_done(&made->publication);
		break;
	}
	if (link->conn == NULL) {
		return;
	}
	list_each (item, &link->line) {
		count += item != NULL;
	}
	if (link->line_bytes > MOST_BYTES || count >= MOST_WAITING) {
		peer_pause(&link->conn->peer, PEER_PAUSE_PENDING);
	}
}

void
link_drop_publications(struct link *link, bool goes)
{
	list_each (item, &link->line) {
		struct link_publication *made = list_item(item, struct link_publication, order);

		made->conn = NULL;
		if (!goes) {
			continue;
		}
		list_remove(&made->order);
		made->link = NULL;
		if (made->is_ready) {
			/* It waits for the store: nobody was told that it is taken. */
			list_remove(&made->all_item);
			route_forget(&made->publication);
			plugin_end(&made->publication.request, free_publication);
		}
	}
	if (!goes) {
		return;
	}
	list_each (item, &link->table->publications) {
		struct link_publication *made = list_item(item, struct link_publication, all_item);

		if (made->link == link) {
			made->link = NULL;
		}
	}
}

void
link_free_publications(struct link_table *table)
{
	struct list_link *item;

	while ((item = list_take_first(&table->publications)) != NULL) {
		struct link_publication *made = list_item(item, struct link_publication, all_item);

		list_remove(&made->order);
		if (made->is_waiting_store) {
			store_wait_cancel(table->port, &made->wait);
		}
		plugin_end(&made->publication.request, free_publication);
	}
}

/* --- PUBLISH of the remote --- */

/* More than our Receive Maximum: the remote does not keep to MQTT [MQTT-3.3.4-7]. */
static bool
check_quota(struct link *link, const struct wire_publish *packet)
{
	const struct link_conn *conn = link->conn;
	size_t ids, open;

	if (conn->peer.version != WIRE_V5 || packet->qos == 0 ||
	    (packet->qos == 2 && session_inbound_has(link->session, packet->packet_id))) {
		return true;
	}
	ids = session_inbound_quota(link->session, link->terms->durability.mode == ROUTE_COMMIT);
	open = peer_ack_publishes(&conn->peer) - peer_ack_pubrecs(&conn->peer) + ids;
	if (open < link->options->remote->receive_max) {
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
is_publishable(struct bytes topic)
{
	return wire_topic_name_check(topic, true) == WIRE_TOPIC_OK &&
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
		log_refusal(link, publication->draft.topic, publication->reason);
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
			on_ready(&made->publication);
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
	if (!is_publishable(bytes_make(map.topic.p, map.topic.n))) {
		log_refusal(link, topic, WIRE_REASON_TOPIC_NAME_INVALID);
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
