/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publications that wait (flows 3 and 7): for an answer, for those before them, or for the store.
 * They stand in the line of their connection and are carried out in its order, also when the
 * connection has gone; the line then lives as long as they do. Own thread.
 *
 * While the store fails, one of MQTT 3 that would write a row stays at the front, and all behind it
 * that have a QoS wait with it; QoS 0 passes. What waits has a limit per connection and one per
 * worker.
 */
#include "base/counter.h"
#include "base/mem.h"
#include "conn/conn_int.h"
#include "wire/reason.h"

enum {
	PARKED_BYTES = 1 << 20, /* of a connection that waits for the store: then it is not read */
	WAITING_COST = 512,     /* of a publication that waits, beside its bytes */
};

/* --- their order --- */

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
bool
conn_is_blocked(const struct conn_line *line)
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

	if (conn_is_blocked(line)) {
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
						 : conn_told_reason(publication->client->version,
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
		conn_stop_for_credit(conn, publication->worker_over);
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
	if (!conn_is_blocked(line)) {
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
	if (conn_is_blocked(line)) {
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
		if (line->conn != NULL && !conn_is_blocked(line)) {
			peer_resume(&line->conn->peer, PEER_PAUSE_STORE);
		}
		unref_line(&line);
	}
}

/* --- their life --- */

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
	if (open->qos != 0 && conn_is_blocked(open->line)) {
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
void
conn_publish_waiting(
    struct conn *conn, const struct route_publication *on_stack, const struct wire_publish *packet)
{
	struct conn_publication *open = open_new(conn, on_stack, packet);

	if (open == NULL) {
		uint64_t ticket = 0;

		if (packet->qos == 2) {
			session_inbound_done(conn->session, packet->packet_id,
			    WIRE_REASON_QUOTA_EXCEEDED, &ticket, false);
		}
		conn_refuse_publish(conn, packet, WIRE_REASON_QUOTA_EXCEEDED);
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
	conn_stop_if_owing(conn);
	if (is_full(conn)) {
		peer_pause(&conn->peer, PEER_PAUSE_PENDING);
	}
}

/* The store fails, and MQTT 3 cannot be told: it waits. */
void
conn_park(
    struct conn *conn, const struct route_publication *on_stack, const struct wire_publish *packet)
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
	conn_stop_if_owing(conn);
}
