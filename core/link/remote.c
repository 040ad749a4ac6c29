/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a link's connection: it waits, dials, greets, is up, is lost, and waits again. A
 * connection has an object of its own, which its peer frees after the last words, while the link is
 * dialling the next one already.
 */
#include <stdio.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "link/link_int.h"
#include "transport/plain.h"
#include "transport/tls.h"
#include "transport/ws.h"
#include "wire/props.h"
#include "wire/reason.h"

enum {
	LAZY_LOOK_MS = 1000,
	MAX_SENTENCE = 200,
	NEXT_ADDRESS_MS = 50,
	MOST_DOUBLINGS = 20,
};

static void dial(struct link *link);

static void
set_timer(struct link *link, timer_fn *fn, int64_t after_ms)
{
	link->timer.fn = fn;
	timer_set(link->table->worker, &link->timer, context_current->mono_ms + after_ms);
}

/* --- telling --- */

void
link_show_state(struct link *link, bool is_up)
{
	const char *topic = link->options->remote->state_topic;

	if (topic != NULL) {
		route_publish_own(link->table->route, bytes_of(topic),
		    is_up ? BYTES_LITERAL("1") : BYTES_LITERAL("0"), true);
	}
}

static void
tell_lost(struct link *link, uint8_t reason, const char *text)
{
	int64_t entered;

	if (link->events.lost != NULL) {
		entered = plugin_enter(link->self);
		link->events.lost(
		    plugin_inst(link->self), link->handle, link->user, reason, avocet_str_of(text));
		plugin_leave(link->self, entered, "lost");
	}
}

/* --- waiting --- */

static void
on_wait_over(struct worker *worker, struct timer *timer)
{
	(void)worker;
	dial(list_item(timer, struct link, timer));
}

static int64_t
backoff_of(struct link *link)
{
	const struct link_remote *remote = link->options->remote;
	int64_t most = remote->backoff_min_ms;

	for (uint32_t i = 1; i < link->attempt && most < remote->backoff_max_ms; i++) {
		most *= 2;
	}
	most = most < remote->backoff_max_ms ? most : remote->backoff_max_ms;
	/* Half of it is chance: many who lost one broker do not come back together. */
	return most / 2 + (int64_t)(worker_random(link->table->worker) % (uint64_t)(most / 2 + 1));
}

/* What waits for a lazy link. */
static bool
count_queued(const struct session_info *info, void *arg)
{
	*(uint64_t *)arg = info->queued + info->inflight;
	return false;
}

static void
on_lazy_look(struct worker *worker, struct timer *timer)
{
	struct link *link = list_item(timer, struct link, timer);
	uint64_t queued = 0;

	(void)worker;
	(void)session_table_tell(
	    link->table->sessions, link->options->client_id, count_queued, &queued);
	if (queued >= link->options->remote->lazy_count || link_session_of(link) == NULL) {
		dial(link);
	} else {
		set_timer(link, on_lazy_look, LAZY_LOOK_MS);
	}
}

static void
wait_again(struct link *link)
{
	const struct link_remote *remote = link->options->remote;
	bool has_more = link->at + 1 < remote->addresses.count;

	if (link->state == LINK_CLOSED) {
		return;
	}
	if (link->at_once) {
		link->at_once = false;
		link->state = LINK_WAITING;
		set_timer(link, on_wait_over, 0);
		return;
	}
	if (has_more && link->attempt != 0) {
		/* Those that were not tried yet need not wait. */
		link->at++;
		link->state = LINK_WAITING;
		set_timer(link, on_wait_over, NEXT_ADDRESS_MS);
		return;
	}
	if (link->attempt == 0 && (remote->flags & AVOCET_LINK_ROUND_ROBIN) != 0) {
		link->at = (link->at + 1) % (uint32_t)remote->addresses.count;
	} else {
		link->at = 0;
	}
	link->attempt += link->attempt < MOST_DOUBLINGS;
	link->state = LINK_WAITING;
	set_timer(link, on_wait_over, backoff_of(link));
}

static void
be_idle(struct link *link)
{
	link->state = LINK_IDLE;
	set_timer(link, on_lazy_look, LAZY_LOOK_MS);
}

/* --- losing --- */

static void
say_disconnect(struct link_conn *conn, uint8_t reason)
{
	struct wire_packet packet = {.type = WIRE_DISCONNECT, .disconnect = {.reason = reason}};

	if (conn->peer.version == WIRE_V5 || reason == WIRE_REASON_NORMAL_DISCONNECTION) {
		(void)peer_send(&conn->peer, &packet);
	}
}

void
link_drop_conn(struct link *link, bool at_once)
{
	struct link_conn *conn = link->conn;

	if (link->dial != NULL) {
		dial_cancel(&link->dial);
	}
	if (conn == NULL) {
		return;
	}
	link_drop_publications(link, false);
	link->conn = NULL;
	conn->link = NULL;
	peer_close(&conn->peer, at_once || conn->peer.lost);
}

void
link_lose(struct link *link, uint8_t goodbye, uint8_t reason, const char *format, ...)
{
	char sentence[MAX_SENTENCE];
	bool was_up = link->state == LINK_UP;
	va_list args;

	if (link->state == LINK_CLOSED) {
		return;
	}
	va_start(args, format);
	(void)vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	link_log(link, was_up || link->attempt == 0 ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
	    was_up ? "the connection to %s is lost: %s" : "no connection to %s: %s",
	    link->options->remote->addresses.items[link->at], sentence);
	if (link->conn != NULL && (goodbye != 0 || link->at_once)) {
		say_disconnect(link->conn, goodbye);
	}
	link_drop_conn(link, goodbye == 0 && !link->at_once);
	link_detach_session(link, SESSION_LEAVE_ABNORMAL);
	if (was_up) {
		link_show_state(link, false);
	}
	tell_lost(link, reason, sentence);
	link->attempt += !was_up && link->attempt == 0;
	wait_again(link);
}

/* A lazy link has nothing more to do. */
static void
rest(struct link *link)
{
	link_log(link, LOG_LEVEL_INFO, "nothing to do: disconnects from %s",
	    link->options->remote->addresses.items[link->at]);
	say_disconnect(link->conn, WIRE_REASON_NORMAL_DISCONNECTION);
	link_drop_conn(link, false);
	link_detach_session(link, SESSION_LEAVE_ABNORMAL);
	link_show_state(link, false);
	tell_lost(link, WIRE_REASON_SUCCESS, "nothing to do");
	be_idle(link);
}

/* The will is what the remote shall say of us; who goes in peace says it himself. */
static void
say_will(struct link *link)
{
	const struct msg_draft *will = &link->options->remote->will;
	struct wire_packet packet = {.type = WIRE_PUBLISH,
	    .publish = {.topic = will->topic,
		.payload = will->payload,
		.retain = (will->flags & MSG_RETAIN) != 0 && !link->conn->no_retain}};

	if (link->options->remote->has_will) {
		(void)peer_send(&link->conn->peer, &packet);
	}
}

void
link_remote_close(struct link *link)
{
	bool was_up = link->state == LINK_UP;

	if (was_up) {
		say_will(link);
		say_disconnect(link->conn, WIRE_REASON_NORMAL_DISCONNECTION);
	}
	link_drop_conn(link, !was_up);
	link_show_state(link, false);
}

/* --- being up --- */

static bool
is_done(const struct link *link)
{
	uint64_t queued = 0;

	(void)session_table_tell(
	    link->table->sessions, link->options->client_id, count_queued, &queued);
	return queued == 0 && (link->conn == NULL || peer_ack_count(&link->conn->peer) == 0);
}

static void
end_drained(struct link *link)
{
	link_log(link, LOG_LEVEL_INFO, "everything is sent: it ends");
	link->ends = true;
	link_close(link, WIRE_REASON_SUCCESS, SESSION_LEAVE_NORMAL);
}

/* Twice in a Keep Alive: so the remote hears something in each [MQTT-3.1.2-20]. */
static void
on_up_timer(struct worker *worker, struct timer *timer)
{
	static const struct wire_packet ping = {.type = WIRE_PINGREQ};
	struct link *link = list_item(timer, struct link, timer);
	const struct link_remote *remote = link->options->remote;
	int64_t period_ms = link->conn->peer.keep_alive_ms / 3;

	(void)worker;
	if ((remote->flags & AVOCET_LINK_DRAIN) != 0 && is_done(link)) {
		end_drained(link);
		return;
	}
	if ((remote->flags & AVOCET_LINK_LAZY) != 0 &&
	    context_current->mono_ms - link->used_ms >= remote->lazy_idle_ms && is_done(link)) {
		rest(link);
		return;
	}
	if (period_ms != 0) {
		(void)peer_send(&link->conn->peer, &ping);
	} else {
		period_ms = remote->lazy_idle_ms;
	}
	if ((remote->flags & AVOCET_LINK_LAZY) != 0 && remote->lazy_idle_ms < period_ms) {
		period_ms = remote->lazy_idle_ms;
	}
	if ((remote->flags & AVOCET_LINK_DRAIN) != 0) {
		period_ms = LAZY_LOOK_MS;
	}
	if (period_ms != 0) {
		set_timer(link, on_up_timer, period_ms);
	}
}

void
link_remote_opened(struct link *link)
{
	const struct link_remote *remote = link->options->remote;
	struct link_conn *conn = link->conn;
	int64_t entered, period_ms = conn->peer.keep_alive_ms / 3;
	/* Where the session is gone, what was retained there may be gone, too. */
	bool resends =
	    !conn->has_session && !link->is_fresh && (remote->flags & AVOCET_LINK_CLEAN) == 0;

	link->state = LINK_UP;
	link->attempt = 0;
	link->is_fresh = false;
	link->used_ms = context_current->mono_ms;
	link_log(link, LOG_LEVEL_INFO, "connected to %s%s", remote->addresses.items[link->at],
	    conn->has_session ? ", which had kept the session" : "");
	if ((remote->flags & AVOCET_LINK_LAZY) != 0 &&
	    (period_ms == 0 || remote->lazy_idle_ms < period_ms)) {
		period_ms = remote->lazy_idle_ms;
	}
	if ((remote->flags & AVOCET_LINK_DRAIN) != 0) {
		period_ms = LAZY_LOOK_MS;
	}
	if (period_ms != 0) {
		set_timer(link, on_up_timer, period_ms);
	}
	if (conn->peer.version != WIRE_V5 && !conn->was_private && remote->subs.count != 0 &&
	    link->echo == NULL) {
		link->echo = link_echo_new();
	}
	link_come_up(link);
	link_show_state(link, true);
	if (link->events.opened != NULL) {
		entered = plugin_enter(link->self);
		link->events.opened(
		    plugin_inst(link->self), link->handle, link->user, conn->has_session);
		plugin_leave(link->self, entered, "opened");
	}
	link->sink.has_room = true;
	link_recheck(link, resends); /* while it slept the rules may have changed */
	if (link->session != NULL) {
		session_serve(link->session);
	}
}

/* --- dialling --- */

static const char *
failure_of(const struct link_conn *conn)
{
	const struct stream *stream = conn->peer.stream;
	const char *why = tls_stream_error(stream);

	return why != NULL ? why : ws_stream_error(stream);
}

static void
on_ended(struct peer *peer, enum peer_end end, const struct wire_outcome *outcome,
    const struct wire_packet *packet)
{
	struct link_conn *conn = list_item(peer, struct link_conn, peer);
	struct link *link = conn->link;
	const char *why;

	if (link == NULL) {
		peer->lost = true;
		peer_close(peer, true);
		return;
	}
	if (end != PEER_REFUSED && end != PEER_DEADLINE && end != PEER_KEEP_ALIVE) {
		peer->lost = true;
	}
	if (conn->was_private && link->state == LINK_CONNECTING) {
		link->no_private = true; /* perhaps it did not understand */
	}
	switch (end) {
	case PEER_EOF:
		link_lose(link, 0, 0, "the remote closed");
		break;
	case PEER_BROKEN:
		why = failure_of(conn);
		link_lose(link, 0, 0, "%s", why != NULL ? why : "the connection broke");
		break;
	case PEER_REFUSED:
		link_lose(link, outcome->reason, outcome->reason, "%s: %s",
		    wire_type_name(packet->type), outcome->text);
		break;
	case PEER_KEEP_ALIVE:
		link_lose(link, WIRE_REASON_UNSPECIFIED_ERROR, WIRE_REASON_KEEP_ALIVE_TIMEOUT,
		    "the remote does not answer");
		break;
	case PEER_WRITE_TIMEOUT:
		link_lose(link, 0, 0, "the remote took nothing for too long");
		break;
	case PEER_DEADLINE:
		link_lose(link, 0, 0, "the remote did not answer in time");
		break;
	}
}

static void
on_freed(struct peer *peer)
{
	struct link_conn *conn = list_item(peer, struct link_conn, peer);

	if (conn->link != NULL) {
		conn->link->conn = NULL;
	}
	list_remove(&conn->item);
	mem_free(&conn);
}

static void
on_has_room(struct peer *peer)
{
	struct link *link = list_item(peer, struct link_conn, peer)->link;

	if (link != NULL) {
		link->sink.has_room = true;
		if (link->session != NULL && link->state == LINK_UP) {
			session_has_room(link->session);
		}
	}
}

static void
on_puback(struct link *link, const struct wire_ack *ack)
{
	if (ack->reason >= WIRE_REASON_FIRST_ERROR) {
		link_log(link, LOG_LEVEL_WARNING, "the remote refused a message: %s",
		    wire_reason_name(ack->reason));
	}
	session_puback(link->session, ack->packet_id);
}

static void
on_pubrec(struct link *link, const struct wire_ack *ack)
{
	if (ack->reason >= WIRE_REASON_FIRST_ERROR) {
		link_log(link, LOG_LEVEL_WARNING, "the remote refused a message: %s",
		    wire_reason_name(ack->reason));
	}
	if (!session_pubrec(link->session, ack->packet_id, ack->reason) &&
	    ack->reason < WIRE_REASON_FIRST_ERROR) {
		peer_send_ack(&link->conn->peer, WIRE_PUBREL, ack->packet_id,
		    WIRE_REASON_PACKET_IDENTIFIER_NOT_FOUND);
	}
}

static void
on_disconnect(struct link *link, const struct wire_disconnect *packet)
{
	struct bytes text = wire_props_bytes(&packet->props, WIRE_REASON_STRING);

	link_lose(link, 0, packet->reason, "the remote disconnected: %s%s%.*s",
	    wire_reason_name(packet->reason), text.len != 0 ? ", " : "",
	    (int)(text.len < 100 ? text.len : 100), (const char *)text.data);
}

static void
on_packet_up(struct link *link, struct wire_packet *packet)
{
	switch (packet->type) {
	case WIRE_PUBLISH:
		link->used_ms = context_current->mono_ms;
		link_on_publish(link, &packet->publish);
		return;
	case WIRE_PUBACK:
		on_puback(link, &packet->ack);
		return;
	case WIRE_PUBREC:
		on_pubrec(link, &packet->ack);
		return;
	case WIRE_PUBREL:
		link_on_pubrel(link, &packet->ack);
		return;
	case WIRE_PUBCOMP:
		session_pubcomp(link->session, packet->ack.packet_id);
		return;
	case WIRE_SUBACK:
		link_on_suback(link, &packet->suback, false);
		return;
	case WIRE_UNSUBACK:
		link_on_suback(link, &packet->suback, true);
		return;
	case WIRE_PINGRESP:
		return;
	case WIRE_DISCONNECT:
		on_disconnect(link, &packet->disconnect);
		return;
	case WIRE_CONNECT:
	case WIRE_CONNACK:
	case WIRE_SUBSCRIBE:
	case WIRE_UNSUBSCRIBE:
	case WIRE_PINGREQ:
	case WIRE_AUTH:
		break;
	}
	link_lose(link, WIRE_REASON_PROTOCOL_ERROR, WIRE_REASON_PROTOCOL_ERROR,
	    "%s is not allowed here", wire_type_name(packet->type));
}

/* What the remote may send, by the state. */
static void
on_packet(struct peer *peer, struct wire_packet *packet)
{
	struct link *link = list_item(peer, struct link_conn, peer)->link;

	if (link == NULL) {
		return;
	}
	if (link->state == LINK_UP) {
		on_packet_up(link, packet);
	} else if (link->state == LINK_CONNECTING && packet->type == WIRE_CONNACK) {
		link_on_connack(link, &packet->connack);
	} else if (link->state == LINK_CONNECTING && packet->type == WIRE_AUTH) {
		link_on_auth(link, &packet->auth);
	} else if (packet->type == WIRE_DISCONNECT) {
		on_disconnect(link, &packet->disconnect);
	} else {
		link_lose(link, WIRE_REASON_PROTOCOL_ERROR, WIRE_REASON_PROTOCOL_ERROR,
		    "%s is not allowed here", wire_type_name(packet->type));
	}
}

const struct peer_ops link_peer_ops = {
    .packet = on_packet, .ended = on_ended, .has_room = on_has_room, .freed = on_freed};

static struct stream *
make_stream(struct link *link, int fd, const struct addr *peer)
{
	const struct link_remote *remote = link->options->remote;
	const char *address = remote->addresses.items[link->at];
	struct stream *stream = plain_new(fd, peer);
	struct bytes host = {0};
	char *name;

	(void)addr_host_text(address, &host);
	if (remote->tls != NULL) {
		name = remote->server_name != NULL ? mem_text(bytes_of(remote->server_name))
						   : mem_text(host);
		stream = tls_stream_connect_new(stream, remote->tls, name);
		mem_free(&name);
	}
	if ((remote->flags & AVOCET_LINK_WEBSOCKET) != 0) {
		stream = ws_stream_connect_new(
		    stream, &(struct ws_connect_options){.host = address, .path = remote->path});
	}
	return stream;
}

static void
on_dialled(void *arg, int fd, const struct addr *addr, const char *why)
{
	struct link *link = arg;
	struct link_conn *conn;

	link->dial = NULL;
	if (fd < 0) {
		link_lose(link, 0, 0, "%s", why);
		return;
	}
	conn = mem_zalloc(sizeof(*conn));
	conn->link = link;
	conn->table = link->table;
	conn->max_qos = 2;
	conn->receive_max = UINT16_MAX;
	link->conn = conn;
	link->state = LINK_GREETING;
	list_append(&link->table->conns, &conn->item);
	conn->peer.side = WIRE_CLIENT;
	conn->peer.version = link->options->remote->version & 15U;
	conn->peer.allow_control = true;
	conn->peer.lenient = true;
	conn->peer.max_packet_in = link->options->remote->max_packet_size;
	conn->peer.write_timeout_ms = (uint32_t)link->terms->write_timeout_ms;
	if (peer_init(&conn->peer, &link_peer_ops, &link->table->room,
		make_stream(link, fd, addr)) != 0) {
		conn->peer.lost = true;
		link_lose(link, 0, 0, "the connection could not be attached");
		return;
	}
	if (link->table->stopping) {
		peer_pause(&conn->peer, PEER_PAUSE_STOP);
	}
	peer_set_deadline(&conn->peer, link->connect_end_ms);
	link_greet(link);
}

static void
dial(struct link *link)
{
	const struct link_remote *remote = link->options->remote;

	if (link_session_of(link) == NULL) {
		/* It was ended while it slept. First it is made again: it keeps what is sent. */
		link_open_session(link);
		return;
	}
	link->state = LINK_DIALLING;
	link->connect_end_ms = context_current->mono_ms + remote->connect_timeout_ms;
	link->dial = dial_start(&link->table->dials, remote->addresses.items[link->at],
	    remote->connect_timeout_ms, on_dialled, link);
}

void
link_remote_begin(struct link *link)
{
	link->attempt = 0;
	link->at = 0;
	link_show_state(link, false);
	if ((link->options->remote->flags & AVOCET_LINK_DRAIN) != 0 && is_done(link)) {
		end_drained(link);
	} else if ((link->options->remote->flags & AVOCET_LINK_LAZY) != 0) {
		be_idle(link);
	} else {
		dial(link);
	}
}
