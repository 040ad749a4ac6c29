/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CONNECT to the remote and what comes of it. What the remote says of itself is obeyed: Receive
 * Maximum and Maximum QoS by the session, the rest by the peer and the sink.
 *
 * Session Present must fit: a remote that kept a session where there is none here is connected to
 * once more with Clean Start; one that has lost it makes the session here forget what it had there,
 * and everything that was under way goes out as new.
 */
#include "base/log.h"
#include "base/mem.h"
#include "link/link_int.h"
#include "wire/props.h"
#include "wire/reason.h"

enum {
	SUBS_PER_PACKET = 100,
	PACKET_REST = 16, /* of SUBSCRIBE and of a filter in it, beside the texts; at least */
	PROPS_ROOM = 512,
	FIRST_ID = LINK_MOST_INFLIGHT + 1,
};

/* --- let in --- */

static void
forget(struct link *link)
{
	struct session *session = link_session_of(link);
	size_t sent = 0, received = 0;

	link_forget_publications(link);
	if (session == NULL) {
		return;
	}
	session_forgotten(session, &sent, &received);
	if (sent + received != 0) {
		link_log(link, LOG_LEVEL_WARNING,
		    "the remote has forgotten the session: %zu messages under way are sent "
		    "again, of which some may come twice; %zu may come from it again",
		    sent, received);
	}
}

/* The remote is who it should be. */
static void
attach(struct link *link)
{
	if (!link->conn->has_session) {
		forget(link);
	}
	link->state = LINK_ATTACHING;
	link_open_session(link);
}

/* --- enhanced authentication --- */

void
link_tell_auth(struct link *link, uint32_t step, struct bytes data)
{
	int64_t entered;

	if (link->events.auth == NULL) {
		link_lose(link, 0, WIRE_REASON_NOT_AUTHORIZED, "nobody authenticates for it");
		return;
	}
	link->conn->is_asked = true;
	entered = plugin_enter(link->self);
	link->events.auth(plugin_inst(link->self), link->handle, link->user, step,
	    (avocet_bytes){data.data, data.len});
	plugin_leave(link->self, entered, "auth");
}

static void
send_auth(struct link *link, struct bytes data)
{
	const struct link_remote *remote = link->options->remote;
	struct wire_packet packet = {
	    .type = WIRE_AUTH, .auth = {.reason = WIRE_REASON_CONTINUE_AUTHENTICATION}};
	struct buf block;
	size_t room = PROPS_ROOM + remote->method.len + data.len;
	struct wire_writer writer;

	buf_init(&block, SIZE_MAX);
	writer = wire_writer_of(buf_reserve(&block, room), room);
	wire_write_prop_bytes(&writer, WIRE_AUTHENTICATION_METHOD, remote->method);
	wire_write_prop_bytes(&writer, WIRE_AUTHENTICATION_DATA, data);
	block.len = writer.len;
	packet.auth.props.block = buf_bytes(&block);
	(void)peer_send(&link->conn->peer, &packet);
	buf_fini_wiped(&block);
}

void
link_auth_replied(struct link *link, int32_t status, struct bytes data)
{
	if (link->conn == NULL || !link->conn->is_asked) {
		return;
	}
	link->conn->is_asked = false;
	if (status < 0) {
		link_lose(link, WIRE_REASON_UNSPECIFIED_ERROR, WIRE_REASON_NOT_AUTHORIZED,
		    link->state == LINK_PROVING ? "the remote is not who it should be"
						: "authentication cannot go on");
	} else if (link->state == LINK_GREETING) {
		link_send_connect(link, data);
	} else if (link->state == LINK_CONNECTING) {
		peer_resume(&link->conn->peer, PEER_PAUSE_ROLE);
		send_auth(link, data);
	} else if (link->state == LINK_PROVING) {
		peer_resume(&link->conn->peer, PEER_PAUSE_ROLE);
		attach(link);
	}
}

static bool
is_own_method(const struct link *link, const struct wire_props *props)
{
	return bytes_equal(
	    wire_props_bytes(props, WIRE_AUTHENTICATION_METHOD), link->options->remote->method);
}

void
link_on_auth(struct link *link, const struct wire_disconnect *packet)
{
	if (link->options->remote->method.len == 0 || !is_own_method(link, &packet->props) ||
	    packet->reason != WIRE_REASON_CONTINUE_AUTHENTICATION) {
		link_lose(link, WIRE_REASON_PROTOCOL_ERROR, WIRE_REASON_PROTOCOL_ERROR,
		    "an AUTH that was not asked for"); /* [MQTT-4.12.0-6] */
		return;
	}
	/* What comes behind it is read when the plugin has judged this: its answer is to one packet
	 * and to no other. */
	peer_pause(&link->conn->peer, PEER_PAUSE_ROLE);
	link_tell_auth(link, AVOCET_LINK_AUTH_CONTINUE,
	    wire_props_bytes(&packet->props, WIRE_AUTHENTICATION_DATA));
}

/* --- CONNECT --- */

static void
write_props(const struct link *link, struct bytes data, struct buf *block)
{
	const struct link_remote *remote = link->options->remote;
	size_t room = PROPS_ROOM + remote->method.len + data.len;
	struct wire_writer writer = wire_writer_of(buf_reserve(block, room), room);

	if (remote->session_expiry_s != 0) {
		wire_write_prop_number(
		    &writer, WIRE_SESSION_EXPIRY_INTERVAL, remote->session_expiry_s);
	}
	if (remote->receive_max != UINT16_MAX) {
		wire_write_prop_number(&writer, WIRE_RECEIVE_MAXIMUM, remote->receive_max);
	}
	if (remote->max_packet_size != 0) {
		wire_write_prop_number(&writer, WIRE_MAXIMUM_PACKET_SIZE, remote->max_packet_size);
	}
	if (remote->topic_alias_max != 0) {
		wire_write_prop_number(&writer, WIRE_TOPIC_ALIAS_MAXIMUM, remote->topic_alias_max);
	}
	if (remote->method.len != 0) {
		wire_write_prop_bytes(&writer, WIRE_AUTHENTICATION_METHOD, remote->method);
		wire_write_prop_bytes(&writer, WIRE_AUTHENTICATION_DATA, data);
	}
	route_write_wants_marks(&writer);
	block->len = writer.len;
}

static struct wire_will
will_of(const struct link_remote *remote)
{
	return (struct wire_will){.topic = remote->will.topic,
	    .payload = remote->will.payload,
	    .props = {.block = remote->version == WIRE_V5 ? remote->will.props : (struct bytes){0}},
	    .qos = remote->will.qos,
	    .retain = (remote->will.flags & MSG_RETAIN) != 0};
}

void
link_send_connect(struct link *link, struct bytes data)
{
	const struct link_remote *remote = link->options->remote;
	struct link_conn *conn = link->conn;
	struct wire_packet packet = {.type = WIRE_CONNECT};
	struct wire_connect *connect = &packet.connect;
	struct buf block;

	/* Asked for only where there is something to be cleaned: in MQTT 3 a clean session also
	 * ends with its connection, and Mosquitto 2.0 never writes down a session that began with
	 * Clean Start. */
	conn->was_clean = link->wipes || (remote->flags & AVOCET_LINK_CLEAN) != 0;
	conn->was_private = remote->version != WIRE_V5 && !link->no_private &&
			    (remote->flags & AVOCET_LINK_PRIVATE) != 0;
	*connect = (struct wire_connect){.version = remote->version,
	    .bridge = conn->was_private,
	    .clean_start = conn->was_clean,
	    .has_username = remote->has_username,
	    .has_password = remote->has_password,
	    .has_will = remote->has_will,
	    .keep_alive = remote->keep_alive_s,
	    .client_id = remote->client_id,
	    .username = remote->username,
	    .password = buf_bytes(&remote->password)};
	if (remote->has_will) {
		connect->will = will_of(remote);
	}
	buf_init(&block, SIZE_MAX);
	if (remote->version == WIRE_V5) {
		write_props(link, data, &block);
		connect->props.block = buf_bytes(&block);
	}
	link->state = LINK_CONNECTING;
	if (!peer_send(&conn->peer, &packet)) {
		link_lose(link, 0, 0, "its CONNECT is too large");
	}
	buf_fini_wiped(&block);
}

void
link_greet(struct link *link)
{
	if (link->options->remote->method.len != 0) {
		link_tell_auth(link, AVOCET_LINK_AUTH_BEGIN, (struct bytes){0});
	} else {
		link_send_connect(link, (struct bytes){0});
	}
}

/* --- CONNACK --- */

static void
on_refused(struct link *link, const struct wire_connack *packet)
{
	struct bytes text = wire_props_bytes(&packet->props, WIRE_REASON_STRING);

	if (link->conn->was_private && packet->reason == WIRE_REASON_UNSUPPORTED_PROTOCOL_VERSION) {
		link->no_private = true;
	}
	link->conn->peer.eof = true;
	link_lose(link, 0, packet->reason, "the remote refuses: %s%s%.*s",
	    wire_reason_name(packet->reason), text.len != 0 ? ", " : "",
	    (int)(text.len < 100 ? text.len : 100), (const char *)text.data);
}

static void
obey(struct link *link, const struct wire_props *props)
{
	const struct link_remote *remote = link->options->remote;
	struct link_conn *conn = link->conn;
	uint32_t alias_max = wire_props_number(props, WIRE_TOPIC_ALIAS_MAXIMUM, 0);
	uint32_t keep_alive =
	    wire_props_number(props, WIRE_SERVER_KEEP_ALIVE, remote->keep_alive_s);

	conn->receive_max = (uint16_t)wire_props_number(props, WIRE_RECEIVE_MAXIMUM, UINT16_MAX);
	conn->max_qos = (uint8_t)wire_props_number(props, WIRE_MAXIMUM_QOS, 2);
	conn->no_retain = wire_props_number(props, WIRE_RETAIN_AVAILABLE, 1) == 0;
	conn->peer.max_packet_out = wire_props_number(props, WIRE_MAXIMUM_PACKET_SIZE, 0);
	if (conn->peer.version == WIRE_V5) {
		conn->peer.aliases_in = remote->topic_alias_max;
		conn->peer.aliases_out =
		    (uint16_t)(alias_max < remote->topic_alias_max ? alias_max
								   : remote->topic_alias_max);
	}
	if (keep_alive != 0) {
		peer_set_keep_alive(&conn->peer, keep_alive * 1500);
	}
}

/* The remote may have a session where there is none here: it is wiped out by a connection with
 * Clean Start, which MQTT 5 can go on with. */
static bool
fits(struct link *link)
{
	bool was_wiped = link->wipes;

	if ((link->options->remote->flags & AVOCET_LINK_CLEAN) != 0) {
		return true;
	}
	link->wipes = !was_wiped && link->is_fresh && link->conn->has_session;
	link->is_fresh = link->is_fresh && !was_wiped;
	return !link->wipes && (!was_wiped || link->conn->peer.version == WIRE_V5);
}

void
link_on_connack(struct link *link, const struct wire_connack *packet)
{
	struct link_conn *conn = link->conn;

	peer_set_deadline(&conn->peer, 0);
	if (packet->reason != WIRE_REASON_SUCCESS) {
		on_refused(link, packet);
		return;
	}
	/* MQTT 3.1 does not say it: it is what its standard promises. */
	conn->has_session = conn->peer.version == WIRE_V31 ? !conn->was_clean && !link->is_fresh
							   : packet->session_present;
	if (conn->has_session && conn->was_clean) {
		/* [MQTT-3.2.2-4] */
		link_lose(link, WIRE_REASON_PROTOCOL_ERROR, WIRE_REASON_PROTOCOL_ERROR,
		    "Session Present after Clean Start");
		return;
	}
	if (!fits(link)) {
		link->at_once = true;
		link_lose(link, WIRE_REASON_NORMAL_DISCONNECTION, WIRE_REASON_SUCCESS,
		    "it begins anew, since the remote had a session of before");
		return;
	}
	if (!is_own_method(link, &packet->props)) {
		link_lose(link, WIRE_REASON_PROTOCOL_ERROR, WIRE_REASON_PROTOCOL_ERROR,
		    link->options->remote->method.len != 0
			? "the remote has let it in without authentication"
			: "a method that was not asked for");
		return;
	}
	obey(link, &packet->props);
	if (link->options->remote->method.len != 0) {
		link->state = LINK_PROVING;
		peer_pause(&conn->peer, PEER_PAUSE_ROLE);
		link_tell_auth(link, AVOCET_LINK_AUTH_DONE,
		    wire_props_bytes(&packet->props, WIRE_AUTHENTICATION_DATA));
		return;
	}
	attach(link);
}

/* --- what is wanted from there --- */

/* Packet ids of PUBLISH are places in the session's table, which is never larger than FIRST_ID. */
static uint16_t
next_id(struct link_conn *conn)
{
	conn->last_id = conn->last_id < FIRST_ID || conn->last_id == UINT16_MAX
			    ? FIRST_ID
			    : (uint16_t)(conn->last_id + 1);
	return conn->last_id;
}

static bool
send_filters(struct link_conn *conn, bool ends, struct bytes filters, uint32_t count)
{
	struct wire_packet packet = {.type = ends ? WIRE_UNSUBSCRIBE : WIRE_SUBSCRIBE,
	    .subscribe = {.packet_id = next_id(conn), .filter_count = count, .filters = filters}};

	conn->asks_to_end = ends;
	conn->asked_count = (uint16_t)count;
	conn->asked_id = packet.subscribe.packet_id;
	return peer_send(&conn->peer, &packet);
}

static void
write_sub(struct buf *out, const struct link_sub *sub, const struct link_conn *conn)
{
	struct wire_subscription item = {.filter = sub->filter,
	    .qos = sub->qos < conn->max_qos ? sub->qos : conn->max_qos,
	    .no_local = sub->no_local && !bytes_starts_with(sub->filter, BYTES_LITERAL("$share/")),
	    .retain_as_published = sub->retain_as_published,
	    .retain_handling = sub->retain_handling};
	size_t room = sub->filter.len + 8;
	struct wire_writer writer = wire_writer_of(buf_reserve(out, room), room);

	wire_write_subscription(&writer, &item, conn->peer.version);
	out->len += writer.len;
}

/* One more in the packet? The first one always: it may be too large by itself. */
static bool
has_place(const struct link_conn *conn, const struct buf *filters, uint32_t count, size_t len)
{
	uint32_t most = conn->peer.max_packet_out;

	return count == 0 ||
	       (count < SUBS_PER_PACKET && (most == 0 || filters->len + len + PACKET_REST <= most));
}

static bool
ask_subs(struct link *link)
{
	struct link_conn *conn = link->conn;
	const struct link_subs *subs = &link->options->remote->subs;
	struct buf filters;
	uint32_t count = 0;
	bool good = true;

	buf_init(&filters, SIZE_MAX);
	while (conn->sub_at < subs->count &&
	       has_place(conn, &filters, count, subs->items[conn->sub_at].filter.len)) {
		write_sub(&filters, &subs->items[conn->sub_at], conn);
		conn->sub_at++;
		count++;
	}
	if (count != 0) {
		good = send_filters(conn, false, buf_bytes(&filters), count);
	}
	buf_fini(&filters);
	return good;
}

static bool
ask_unsubs(struct link *link)
{
	struct link_conn *conn = link->conn;
	const struct link_remote *remote = link->options->remote;
	struct buf filters;
	uint32_t count = 0;
	bool good = true;

	buf_init(&filters, SIZE_MAX);
	while (conn->unsub_at < remote->unsubs.count &&
	       has_place(conn, &filters, count, remote->unsubs.items[conn->unsub_at].len)) {
		struct bytes filter = remote->unsubs.items[conn->unsub_at++];
		size_t room = filter.len + 2;
		struct wire_writer writer = wire_writer_of(buf_reserve(&filters, room), room);

		wire_write_filter(&writer, filter);
		filters.len += writer.len;
		count++;
	}
	if (count != 0) {
		good = send_filters(conn, true, buf_bytes(&filters), count);
	}
	buf_fini(&filters);
	return good;
}

/* What is not wanted any more goes first; each packet when the one before it was answered, so the
 * answers are in the order of the filters. */
static void
ask_next(struct link *link)
{
	struct link_conn *conn = link->conn;
	bool ends = !link->has_unsubscribed && conn->unsub_at < link->options->remote->unsubs.count;

	conn->asked_id = 0;
	while (!(ends ? ask_unsubs(link) : ask_subs(link))) {
		conn->asked_id = 0;
		conn->sub_known = conn->sub_at;
		link_log(link, LOG_LEVEL_ERROR,
		    "its filters are larger than the remote's Maximum Packet Size");
		ends = ends && conn->unsub_at < link->options->remote->unsubs.count;
	}
}

static void
tell_suback(struct link *link, const struct wire_suback *packet)
{
	struct link_conn *conn = link->conn;
	const struct link_subs *subs = &link->options->remote->subs;
	int64_t entered;

	for (size_t i = 0; i < packet->reasons.len; i++) {
		uint8_t reason = packet->reasons.data[i];
		struct bytes filter = subs->items[conn->sub_known++].filter;

		if (reason >= WIRE_REASON_FIRST_ERROR) {
			link_log(link, LOG_LEVEL_ERROR, "the remote refuses \"%.*s\": %s",
			    (int)filter.len, (const char *)filter.data, wire_reason_name(reason));
		}
	}
	if (link->events.subscribed != NULL) {
		entered = plugin_enter(link->self);
		link->events.subscribed(plugin_inst(link->self), link->handle, link->user, 0,
		    packet->reasons.data, packet->reasons.len);
		plugin_leave(link->self, entered, "subscribed");
	}
}

void
link_on_suback(struct link *link, const struct wire_suback *packet, bool is_of_unsubscribe)
{
	struct link_conn *conn = link->conn;
	/* UNSUBACK of MQTT 3 has no codes. */
	bool has_codes = !is_of_unsubscribe || conn->peer.version == WIRE_V5;

	if (conn->asked_id == 0 || packet->packet_id != conn->asked_id ||
	    is_of_unsubscribe != conn->asks_to_end ||
	    (has_codes && packet->reasons.len != conn->asked_count)) {
		link_lose(link, WIRE_REASON_PROTOCOL_ERROR, WIRE_REASON_PROTOCOL_ERROR,
		    "%s that answers nothing", is_of_unsubscribe ? "UNSUBACK" : "SUBACK");
		return;
	}
	if (!is_of_unsubscribe) {
		tell_suback(link, packet);
	} else if (conn->unsub_at == link->options->remote->unsubs.count) {
		link->has_unsubscribed = true;
	}
	ask_next(link);
}

void
link_come_up(struct link *link)
{
	const struct link_remote *remote = link->options->remote;
	struct wire_packet birth = {.type = WIRE_PUBLISH,
	    .publish = {.topic = remote->birth.topic,
		.payload = remote->birth.payload,
		.retain = (remote->birth.flags & MSG_RETAIN) != 0 && !link->conn->no_retain}};

	if (remote->has_birth) {
		(void)peer_send(&link->conn->peer, &birth);
	}
	ask_next(link);
}
