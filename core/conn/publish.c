/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PUBLISH from the client (flows 1, 3, 6, 7). Without plugins it is carried out in place, from
 * views into the read buffer, and its acknowledgement is ready when it returns. Where an answer may
 * come later the publication gets an object of its own; it is carried out even if the client has
 * left.
 *
 * The set of inbound QoS 2 packet ids belongs to the session; the FIFO of acknowledgements to the
 * connection. For QoS 2 the session tells the connection the verdict by packet id, so that a
 * PUBLISH that came again, on whatever connection, gets the verdict of the first.
 */
#include <assert.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/mem.h"
#include "conn/conn_int.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

enum {
	BURST_US = 1000000,
	PARKED_BYTES = 1 << 20, /* of a connection that waits for the store: then it is not read */
	WAITING_COST = 512,     /* of a publication that waits, beside its bytes */
};

struct bytes
conn_full_topic(struct conn *conn, struct bytes topic)
{
	struct buf *full = &conn->table->topic;
	/* A client keeps the prefix with which it was accepted, as it is stripped from what it
	 * gets. */
	struct bytes prefix = conn->client != NULL ? msg_client_prefix_of(conn->client)
						   : bytes_of(conn->listener->mount_point);

	if (prefix.len == 0 || topic.len == 0 || topic.data[0] == '$') {
		return topic;
	}
	buf_clear(full);
	buf_append_bytes(full, prefix);
	buf_append_bytes(full, topic);
	return buf_bytes(full);
}

/* --- checks --- */

/* The topic that the PUBLISH means [MQTT-3.3.2-7] …; false: the connection is closed. */
static bool
resolve_alias(struct conn *conn, const struct wire_publish *packet, struct bytes *topic_out)
{
	struct peer *peer = &conn->peer;
	uint32_t alias;

	*topic_out = packet->topic;
	if (!wire_props_has(&packet->props, WIRE_TOPIC_ALIAS)) {
		return true;
	}
	alias = wire_props_number(&packet->props, WIRE_TOPIC_ALIAS, 0);
	if (alias == 0 || alias > peer->aliases_in) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_TOPIC_ALIAS_INVALID,
		    "PUBLISH: the Topic Alias is above the maximum");
		return false;
	}
	if (packet->topic.len != 0) {
		peer_alias_set(peer_aliases_of(peer), (uint16_t)alias, packet->topic);
		return true;
	}
	*topic_out = peer_alias_get(peer_aliases_of(peer), (uint16_t)alias);
	if (topic_out->len == 0) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_PROTOCOL_ERROR,
		    "PUBLISH: the Topic Alias is not known");
		return false;
	}
	return true;
}

static bool
check_limits(struct conn *conn, const struct wire_publish *packet)
{
	const struct conn_limits *limits = conn_limits_of(conn);

	if (packet->qos > limits->max_qos) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_QOS_NOT_SUPPORTED,
		    "PUBLISH: the QoS is above the maximum"); /* [MQTT-3.2.2-11] */
		return false;
	}
	if (packet->retain && !limits->retain_available) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_RETAIN_NOT_SUPPORTED,
		    "PUBLISH: RETAIN is not available"); /* [MQTT-3.2.2-14] */
		return false;
	}
	return true;
}

/* Why this topic is not taken, or 0. */
static uint8_t
judge_topic(const struct conn *conn, struct bytes topic)
{
	if (topic.len > WIRE_MAX_STRING ||
	    (wire_topic_level_count(topic) > (size_t)conn_limits_of(conn)->max_topic_levels)) {
		return WIRE_REASON_TOPIC_NAME_INVALID;
	}
	if (topic.data[0] != '$') {
		return WIRE_REASON_SUCCESS;
	}
	if (bytes_starts_with(topic, BYTES_LITERAL("$share/"))) {
		return WIRE_REASON_TOPIC_NAME_INVALID;
	}
	return bytes_starts_with(topic, BYTES_LITERAL("$SYS/")) ||
		       bytes_equal(topic, BYTES_LITERAL("$SYS"))
		   ? WIRE_REASON_NOT_AUTHORIZED
		   : WIRE_REASON_SUCCESS;
}

/* More than Receive Maximum from a client of MQTT 5 [MQTT-3.3.4-9]; false: closed. */
static bool
check_quota(struct conn *conn)
{
	size_t max = (size_t)conn_limits_of(conn)->session.receive_maximum;
	/* An id counts until its PUBCOMP, which waits for the store where that promises something.
	 */
	size_t ids =
	    session_inbound_quota(conn->session, conn->listener->durability.mode == ROUTE_COMMIT);
	size_t open = peer_ack_publishes(&conn->peer) - peer_ack_pubrecs(&conn->peer) + ids;

	if (conn_version(conn) == WIRE_V5 && open >= max) {
		conn_close(
		    conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_RECEIVE_MAXIMUM_EXCEEDED, NULL);
		return false;
	}
	return true;
}

/* --- when reading must stop --- */

/* MQTT 3 has no Receive Maximum: it is read again when it has got its acknowledgements (flow 6). */
static void
stop_if_owing(struct conn *conn)
{
	if (conn_version(conn) != WIRE_V5 &&
	    peer_ack_publishes(&conn->peer) >=
		(uint32_t)conn_limits_of(conn)->session.receive_maximum) {
		peer_pause(&conn->peer, PEER_PAUSE_OWING);
	}
}

static void
stop_for_credit(struct conn *conn, uint32_t workers)
{
	struct conn_table *table = conn->table;
	struct loop *loop = table->house->options.loop;

	for (unsigned i = 0; workers != 0 && i < loop_worker_count(loop); i++) {
		unsigned bit = i < ROUTE_LAST_WORKER ? i : ROUTE_LAST_WORKER;

		if ((workers >> bit & 1) != 0 &&
		    mail_wait_credit(table->worker, loop_worker(loop, i))) {
			peer_pause(&conn->peer, PEER_PAUSE_CREDIT);
		}
	}
}

static int64_t
now_us(void)
{
	return context_current->mono_ms * 1000;
}

/* GCRA: each publication moves the moment on by its share; a second of burst is allowed. */
static void
stop_for_rate(struct conn *conn, size_t size)
{
	const struct conn_limits *limits = conn_limits_of(conn);
	int64_t now = now_us();
	struct conn_more *more;

	if (limits->max_publish_rate == 0 && limits->max_publish_bytes_rate == 0) {
		return;
	}
	more = conn_more_of(conn);
	more->rate_at_us = more->rate_at_us > now ? more->rate_at_us : now;
	more->bytes_at_us = more->bytes_at_us > now ? more->bytes_at_us : now;
	if (limits->max_publish_rate != 0) {
		more->rate_at_us += 1000000 / limits->max_publish_rate;
	}
	if (limits->max_publish_bytes_rate != 0) {
		more->bytes_at_us += (int64_t)size * 1000000 / limits->max_publish_bytes_rate;
	}
	if (more->rate_at_us > now + BURST_US || more->bytes_at_us > now + BURST_US) {
		peer_pause(&conn->peer, PEER_PAUSE_RATE);
		if (!list_is_linked(&more->wait_link)) {
			list_append(&conn->table->rated, &more->wait_link);
		}
	}
}

void
conn_unrate(struct conn_table *table)
{
	int64_t now = now_us();

	list_each (link, &table->rated) {
		struct conn_more *more = list_item(link, struct conn_more, wait_link);

		if (more->rate_at_us <= now + BURST_US && more->bytes_at_us <= now + BURST_US) {
			list_remove(link);
			peer_resume(&more->conn->peer, PEER_PAUSE_RATE);
		}
	}
}

/* --- outcomes --- */

/*
 * What the acknowledgement says. A refusal that MQTT 3 cannot be told is acknowledged like any
 * other: its publisher would send it for ever. A plugin's reason need not be one that may stand
 * there.
 */
static uint8_t
told_reason(uint8_t version, uint8_t qos, uint8_t reason)
{
	enum wire_type type = qos == 1 ? WIRE_PUBACK : WIRE_PUBREC;

	if (version != WIRE_V5) {
		return WIRE_REASON_SUCCESS;
	}
	return wire_reason_is_allowed(type, WIRE_SERVER, reason)
		   ? reason
		   : (uint8_t)WIRE_REASON_UNSPECIFIED_ERROR;
}

/* Nothing was routed. */
static void
refuse(struct conn *conn, const struct wire_publish *packet, uint8_t reason)
{
	enum wire_type type = packet->qos == 1 ? WIRE_PUBACK : WIRE_PUBREC;

	counter_add(COUNTER_PUBLISHES_DROPPED, 1);
	if (packet->qos == 0) {
		return;
	}
	if (conn_version(conn) != WIRE_V5 && packet->qos == 2) {
		/* It will be released: the id is known until then. */
		uint64_t ticket = 0;

		if (session_inbound_begin(conn->session, packet->packet_id, &ticket) ==
		    SESSION_INBOUND_NEW) {
			session_inbound_done(conn->session, packet->packet_id, 0, &ticket, false);
		}
	}
	peer_ack(&conn->peer, type, packet->packet_id,
	    told_reason(conn_version(conn), packet->qos, reason), 0);
}

static enum route_mode
mode_of(const struct conn *conn, struct bytes topic)
{
	const struct conn_durability *durability = &conn->listener->durability;

	for (size_t i = 0; i < durability->filter_count; i++) {
		if (wire_topic_matches(bytes_of(durability->filters[i].filter), topic)) {
			return (enum route_mode)durability->filters[i].mode;
		}
	}
	return (enum route_mode)durability->mode;
}

static void
fill(struct conn *conn, const struct wire_publish *packet, struct bytes topic,
    struct route_publication *publication)
{
	struct msg_draft *draft = &publication->draft;

	msg_draft_of_publish(draft, packet);
	draft->topic = topic;
	draft->client_id = msg_client_id_of(conn->client);
	draft->username = msg_client_username_of(conn->client);
	draft->born_mono_ms = context_current->mono_ms;
	draft->born_wall_ms = context_current->wall_ms;
	publication->client = conn->client;
	publication->plugins = conn->listener->plugins;
	publication->session = conn->session;
	publication->mode = (uint8_t)mode_of(conn, topic);
}

/* The verdict of a publication whose connection is there. */
static void
acknowledge(
    struct conn *conn, uint8_t qos, uint16_t packet_id, const struct route_publication *publication)
{
	uint64_t ticket = publication->ticket;
	uint8_t reason = told_reason(conn_version(conn), qos, publication->reason);

	if (publication->disconnect) {
		if (qos == 2) {
			session_inbound_done(
			    conn->session, packet_id, publication->reason, &ticket, false);
		}
		conn_close(conn, SESSION_LEAVE_ABNORMAL, publication->reason, "PUBLISH is refused");
		return;
	}
	if (qos == 1) {
		peer_ack(&conn->peer, WIRE_PUBACK, packet_id, reason, ticket);
	} else if (qos == 2) {
		session_inbound_done(conn->session, packet_id, reason, &ticket, false);
		peer_ack(&conn->peer, WIRE_PUBREC, packet_id, reason,
		    publication->mode == ROUTE_COMMIT ? ticket : 0);
	}
	stop_for_credit(conn, publication->worker_over);
	stop_if_owing(conn);
}

/* --- those that wait: their order --- */

static void
unref_line(struct conn_line **line_at)
{
	struct conn_line *line = *line_at;

	*line_at = NULL;
	line->users--;
	if (line->users == 1 && line->conn != NULL && !list_is_linked(&line->blocked_link)) {
		/* The connection's own is the last. */
		line->conn->line = NULL;
		line->users = 0;
	}
	if (line->users == 0) {
		list_remove(&line->blocked_link);
		mem_free(&line);
	}
}

static void
join_line(struct conn *conn, struct conn_publication *open)
{
	if (conn->line == NULL) {
		conn->line = mem_zalloc(sizeof(*conn->line));
		conn->line->conn = conn;
		conn->line->table = conn->table;
		conn->line->users = 1;
		list_init(&conn->line->waiting);
	}
	open->line = conn->line;
	open->line->users++;
	open->line->count++;
	list_append(&open->line->waiting, &open->order);
	open->size = open->publication.draft.payload.len + open->publication.draft.props.len;
	open->line->bytes += open->size;
	open->table->waiting_bytes += open->size + WAITING_COST;
}

/* Does its first wait for the store? */
static bool
is_blocked(const struct conn_line *line)
{
	return line != NULL && list_is_linked(&line->blocked_link);
}

static void
free_publication(struct plugin_request *request)
{
	struct conn_publication *open =
	    (struct conn_publication *)(void *)((char *)request - offsetof(struct conn_publication,
								      publication.request));

	plugin_request_fini(request);
	msg_draft_fini(&open->publication.draft);
	msg_client_unref(&open->client);
	mem_free(&open);
}

/* It waits no longer. The caller has a reference on the line. */
static void
forget(struct conn_publication *open)
{
	list_remove(&open->all_link);
	list_remove(&open->order);
	open->line->bytes -= open->size;
	open->table->waiting_bytes -= open->size + WAITING_COST;
	open->line->ready_count -= open->is_ready;
	open->line->count--;
	unref_line(&open->line);
	open->conn = NULL;
}

static struct session *
session_of(const struct conn_publication *open)
{
	return session_table_get(open->table->sessions, open->publication.session_slot,
	    open->publication.session_generation);
}

/* As many wait as may. Those that wait for the store have another limit. */
static bool
is_full(const struct conn *conn)
{
	const struct conn_line *line = conn->line;
	int64_t count = line != NULL ? line->count : 0;

	if (is_blocked(line)) {
		count -= line->ready_count;
	}
	return count >= conn_limits_of(conn)->max_pending;
}

void
conn_resume_pending(struct conn *conn)
{
	if ((conn->more == NULL || conn->more->subscribing == NULL) && !is_full(conn)) {
		peer_resume(&conn->peer, PEER_PAUSE_PENDING);
	}
}

/* The verdict goes to whoever it is for, and the publication goes. */
static void
finish(struct conn_publication *open)
{
	struct route_publication *publication = &open->publication;
	struct conn *conn = open->conn;
	uint64_t ticket = publication->ticket;
	/* Who is closed over it is told nothing: a packet id must not count as taken. */
	uint8_t reason = publication->disconnect ? publication->reason
						 : told_reason(publication->client->version,
						       open->qos, publication->reason);
	struct session *session;

	forget(open);
	if (conn != NULL && publication->disconnect) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, publication->reason, "PUBLISH is refused");
		conn = NULL;
	}
	session = session_of(open);
	if (open->qos == 2 && session != NULL) {
		/* Tells the sink that is attached now, which need not be the one it came by. */
		session_inbound_done(session, open->packet_id, reason, &ticket, true);
	} else if (open->qos == 1 && conn != NULL) {
		peer_ack_know(&conn->peer, open->ack, reason, ticket);
	}
	if (conn != NULL) {
		stop_for_credit(conn, publication->worker_over);
		conn_resume_pending(conn);
	}
	route_forget(publication);
	plugin_end(&publication->request, free_publication);
}

/* What waits while the store fails has a budget of its own: as much as may be under way, shared by
 * the workers. Connections may come and go meanwhile, and each leaves what it was not acknowledged.
 */
static bool
is_over_budget(const struct conn_table *table)
{
	int64_t budget = route_house_max_transit(route_desk_house(table->route));
	int64_t workers = (int64_t)loop_worker_count(table->house->options.loop);

	if (budget == 0) {
		return false;
	}
	budget /= workers;
	return table->waiting_bytes > (size_t)(budget > PARKED_BYTES ? budget : PARKED_BYTES);
}

/* The store fails (flow 3). True: it is refused. MQTT 3 cannot be told: it waits, and so do all
 * behind it that have a QoS; reading goes on until it is owed Receive Maximum (stop_if_owing). */
static bool
is_refused(struct conn_publication *open)
{
	struct conn_line *line = open->line;

	if (open->client->version == WIRE_V5) {
		open->publication.reason = WIRE_REASON_QUOTA_EXCEEDED;
		counter_add(COUNTER_PUBLISHES_DROPPED, 1);
		return true;
	}
	if (is_over_budget(line->table)) {
		/* It was not acknowledged: its client keeps it, and is closed. */
		open->publication.disconnect = true;
		open->publication.reason = WIRE_REASON_QUOTA_EXCEEDED;
		counter_add(COUNTER_PUBLISHES_DROPPED, 1);
		counter_add(COUNTER_CLOSED_OVERLOAD, 1);
		return true;
	}
	if (!is_blocked(line)) {
		list_append(&line->table->blocked, &line->blocked_link);
		if (line->conn != NULL) {
			conn_resume_pending(line->conn);
		}
	}
	if (line->conn != NULL && line->bytes > PARKED_BYTES) {
		peer_pause(&line->conn->peer, PEER_PAUSE_STORE);
	}
	return false;
}

/* QoS 0 does not wait for the store, but for QoS 0 before it that is not ready. */
static void
pass_blocked(struct conn_line *line)
{
	list_each (link, &line->waiting) {
		struct conn_publication *open = list_item(link, struct conn_publication, order);

		if (open->qos != 0) {
			continue;
		}
		if (!open->is_ready) {
			return;
		}
		(void)route_carry(&open->publication);
		finish(open);
	}
}

/* Carries out from the front what is ready. */
static void
go_on(struct conn_line *line)
{
	if (line->is_going) {
		return;
	}
	line->is_going = true;
	line->users++;
	while (!list_is_empty(&line->waiting)) {
		struct conn_publication *open =
		    list_item(line->waiting.head.next, struct conn_publication, order);

		if (!open->is_ready ||
		    (route_carry(&open->publication) == ROUTE_BLOCKED && !is_refused(open))) {
			break;
		}
		finish(open);
	}
	if (is_blocked(line)) {
		pass_blocked(line);
	}
	line->is_going = false;
	unref_line(&line);
}

void
conn_unblock(struct conn_table *table)
{
	struct list_link *link;
	struct list now;

	list_init(&now);
	while ((link = list_take_first(&table->blocked)) != NULL) {
		list_append(&now, link);
	}
	while ((link = list_take_first(&now)) != NULL) {
		struct conn_line *line = list_item(link, struct conn_line, blocked_link);

		line->users++;
		go_on(line);
		if (line->conn != NULL && !is_blocked(line)) {
			peer_resume(&line->conn->peer, PEER_PAUSE_STORE);
		}
		unref_line(&line);
	}
}

/* --- those that wait: their life --- */

/* Refused, dropped, or not answered in time: it need not wait for its turn, but those behind it
 * did. */
static void
on_done(struct route_publication *publication)
{
	struct conn_publication *open = (struct conn_publication *)(void *)publication;
	struct conn_line *line = open->line;

	line->users++;
	finish(open);
	go_on(line);
	unref_line(&line);
}

static void
on_ready(struct route_publication *publication)
{
	struct conn_publication *open = (struct conn_publication *)(void *)publication;

	open->is_ready = true;
	open->line->ready_count++;
	if (open->qos != 0 && is_blocked(open->line)) {
		route_forget(publication); /* what waits for the store is no transit */
		if (open->conn != NULL) {
			conn_resume_pending(open->conn);
		}
	}
	go_on(open->line);
}

void
conn_drop_publications(struct conn *conn)
{
	if (conn->line == NULL) {
		return;
	}
	list_each (link, &conn->line->waiting) {
		list_item(link, struct conn_publication, order)->conn = NULL;
	}
	conn->line->conn = NULL;
	unref_line(&conn->line);
}

void
conn_free_publications(struct conn_table *table)
{
	struct list_link *link;

	while ((link = list_take_first(&table->publications)) != NULL) {
		struct conn_publication *open = list_item(link, struct conn_publication, all_link);

		forget(open);
		plugin_end(&open->publication.request, free_publication);
	}
}

/* One on the heap, last in line; NULL without memory. Takes over what `on_stack` holds. */
static struct conn_publication *
open_new(
    struct conn *conn, const struct route_publication *on_stack, const struct wire_publish *packet)
{
	struct conn_publication *open = mem_zalloc(sizeof(*open));

	open->publication = *on_stack;
	open->conn = conn;
	open->table = conn->table;
	open->client = msg_client_ref(conn->client);
	open->publication.client = open->client;
	open->publication.done = on_done;
	open->publication.ready = on_ready;
	open->publication.draft.client_id = msg_client_id_of(open->client);
	open->publication.draft.username = msg_client_username_of(open->client);
	open->packet_id = packet->packet_id;
	open->qos = packet->qos;
	plugin_request_fini(&open->publication.request);
	plugin_request_init(&open->publication.request);
	if (msg_draft_own(&open->publication.draft) != 0) {
		free_publication(&open->publication.request);
		return NULL;
	}
	list_append(&conn->table->publications, &open->all_link);
	join_line(conn, open);
	if (open->qos != 0) {
		open->ack = peer_ack_begin(
		    &conn->peer, open->qos == 1 ? WIRE_PUBACK : WIRE_PUBREC, open->packet_id);
	}
	return open;
}

/* A plugin may answer later, or others wait before it. */
static void
publish_waiting(
    struct conn *conn, const struct route_publication *on_stack, const struct wire_publish *packet)
{
	struct conn_publication *open = open_new(conn, on_stack, packet);

	if (open == NULL) {
		uint64_t ticket = 0;

		if (packet->qos == 2) {
			session_inbound_done(conn->session, packet->packet_id,
			    WIRE_REASON_QUOTA_EXCEEDED, &ticket, false);
		}
		refuse(conn, packet, WIRE_REASON_QUOTA_EXCEEDED);
		return;
	}
	switch (route_publish(conn->table->route, &open->publication)) {
	case ROUTE_PENDING:
		break;
	case ROUTE_READY:
		on_ready(&open->publication);
		break;
	case ROUTE_DONE:
	case ROUTE_BLOCKED:
		on_done(&open->publication);
		break;
	}
	if (conn->state != CONN_SERVING) {
		return;
	}
	stop_if_owing(conn);
	if (is_full(conn)) {
		peer_pause(&conn->peer, PEER_PAUSE_PENDING);
	}
}

/* The store fails, and MQTT 3 cannot be told: it waits. */
static void
park(struct conn *conn, const struct route_publication *on_stack, const struct wire_publish *packet)
{
	struct conn_publication *open = open_new(conn, on_stack, packet);

	if (open == NULL) {
		uint64_t ticket = 0;

		if (packet->qos == 2) {
			session_inbound_done(conn->session, packet->packet_id,
			    WIRE_REASON_QUOTA_EXCEEDED, &ticket, false);
		}
		conn_close(conn, SESSION_LEAVE_ABNORMAL, WIRE_REASON_SUCCESS, "no memory");
		return;
	}
	on_ready(&open->publication);
	stop_if_owing(conn);
}

/* --- PUBLISH --- */

/* Without plugins that wait: in place. */
static void
publish_now(
    struct conn *conn, struct route_publication *publication, const struct wire_publish *packet)
{
	uint64_t ticket = 0;

	if (route_publish(conn->table->route, publication) != ROUTE_BLOCKED) {
		msg_draft_fini(&publication->draft);
		plugin_request_fini(&publication->request);
		acknowledge(conn, packet->qos, packet->packet_id, publication);
		return;
	}
	if (conn_version(conn) != WIRE_V5) {
		park(conn, publication, packet);
		return;
	}
	msg_draft_fini(&publication->draft);
	plugin_request_fini(&publication->request);
	if (packet->qos == 2) {
		session_inbound_done(
		    conn->session, packet->packet_id, WIRE_REASON_QUOTA_EXCEEDED, &ticket, false);
	}
	refuse(conn, packet, WIRE_REASON_QUOTA_EXCEEDED);
}

/* QoS 2: is it new? Else it gets what the first one got, or will get. */
static bool
begin_inbound(struct conn *conn, const struct wire_publish *packet)
{
	uint64_t ticket = 0;

	switch (session_inbound_begin(conn->session, packet->packet_id, &ticket)) {
	case SESSION_INBOUND_NEW:
		return true;
	case SESSION_INBOUND_KNOWN:
		peer_ack(&conn->peer, WIRE_PUBREC, packet->packet_id, WIRE_REASON_SUCCESS, ticket);
		return false;
	case SESSION_INBOUND_ASKED:
		(void)peer_ack_begin(&conn->peer, WIRE_PUBREC, packet->packet_id);
		return false;
	}
	return false;
}

/* Behind those that wait it waits, too [MQTT-4.6.0-5]; QoS 0 does not wait for the store. */
static bool
must_wait(const struct conn *conn, uint8_t qos)
{
	const struct conn_line *line = conn->line;

	return plugin_set_may_wait(conn->listener->plugins) ||
	       (line != NULL && !list_is_empty(&line->waiting) && (qos != 0 || !is_blocked(line)));
}

static bool
is_resent(const struct conn *conn, const struct wire_publish *packet)
{
	return packet->qos == 2 && session_inbound_has(conn->session, packet->packet_id);
}

void
conn_on_publish(struct conn *conn, const struct wire_publish *packet)
{
	struct route_publication publication = {0};
	struct bytes topic;
	uint8_t refusal;

	counter_add(COUNTER_PUBLISHES_RECEIVED, 1);
	counter_add(COUNTER_PUBLISH_BYTES_RECEIVED, packet->payload.len);
	if (!resolve_alias(conn, packet, &topic) || !check_limits(conn, packet)) {
		return;
	}
	if (packet->qos != 0 && !is_resent(conn, packet) && !check_quota(conn)) {
		return;
	}
	stop_for_rate(conn, packet->payload.len + topic.len);
	topic = conn_full_topic(conn, topic);
	refusal = judge_topic(conn, topic);
	if (refusal != WIRE_REASON_SUCCESS) {
		refuse(conn, packet, refusal);
		return;
	}
	if (packet->qos == 2 && !begin_inbound(conn, packet)) {
		return;
	}
	fill(conn, packet, topic, &publication);
	if (must_wait(conn, packet->qos)) {
		publish_waiting(conn, &publication, packet);
	} else {
		publish_now(conn, &publication, packet);
	}
}

void
conn_on_pubrel(struct conn *conn, const struct wire_ack *packet)
{
	uint64_t ticket = 0;
	uint8_t reason = session_inbound_release(conn->session, packet->packet_id, &ticket);

	if (conn->listener->durability.mode != ROUTE_COMMIT) {
		ticket = 0;
	}
	/* MQTT 3 has no codes: PUBCOMP in any case [MQTT-4.3.3-11]. */
	peer_ack(&conn->peer, WIRE_PUBCOMP, packet->packet_id, reason, ticket);
}
