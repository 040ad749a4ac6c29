/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What links publish, while it waits: messages that remotes sent, and those of local links. They
 * are carried out in their order per link, whatever the order of answers, and when their link has
 * gone, too.
 *
 * Nothing that a remote sent is refused because the store fails: the remote would forget it. The
 * first that would write a row waits, all behind it wait with it, and the remote is not read.
 */
#include "base/mem.h"
#include "link/link_int.h"
#include "wire/reason.h"

enum { MOST_WAITING = 64, MOST_BYTES = 1 << 20 };

/* --- what is said of them --- */

uint8_t
link_told_reason(const struct link_conn *conn, uint8_t qos, uint8_t reason)
{
	enum wire_type type = qos == 1 ? WIRE_PUBACK : WIRE_PUBREC;

	if (conn->peer.version != WIRE_V5) {
		return WIRE_REASON_SUCCESS;
	}
	return wire_reason_is_allowed(type, WIRE_CLIENT, reason)
		   ? reason
		   : (uint8_t)WIRE_REASON_UNSPECIFIED_ERROR;
}

void
link_stop_for_credit(struct link *link, uint32_t workers)
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

void
link_log_refusal(struct link *link, struct bytes topic, uint8_t reason)
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

/* Local: the plugin is told what became of it, and that there is room. */
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
	if (link != NULL) {
		link_local_leave(link);
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

/* Where its packet id is known; NULL: nowhere any more. */
static struct session *
session_of(const struct link_publication *made)
{
	const struct route_publication *publication = &made->publication;

	return made->is_forgotten ? NULL
				  : session_table_get(made->table->sessions,
					publication->session_slot, publication->session_generation);
}

static void
finish_remote(struct link_publication *made)
{
	struct route_publication *publication = &made->publication;
	struct link *link = made->link;
	struct session *session = session_of(made);
	uint64_t ticket = publication->ticket;
	uint8_t reason = made->conn != NULL
			     ? link_told_reason(made->conn, made->qos, publication->reason)
			     : publication->reason;

	list_remove(&made->all_item);
	if (publication->reason >= WIRE_REASON_FIRST_ERROR && link != NULL) {
		link_log_refusal(link, publication->draft.topic, publication->reason);
	}
	if (made->qos == 2 && session != NULL) {
		/* Tells the sink that is attached now, which need not be the one it came by. */
		session_inbound_done(session, made->packet_id, reason, &ticket, true);
	} else if (made->qos == 1 && made->conn != NULL) {
		peer_ack_know(&made->conn->peer, made->ack, reason, ticket);
	}
	if (link != NULL && made->conn != NULL) {
		link_stop_for_credit(link, publication->worker_over);
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

void
link_publication_ready(struct link_publication *made)
{
	made->is_ready = true;
	if (made->link != NULL) {
		go_on(made->link);
	} else {
		(void)route_carry(&made->publication); /* its link has gone, and so has its place */
		finish(made);
	}
}

static void
on_ready(struct route_publication *publication)
{
	link_publication_ready(list_item(publication, struct link_publication, publication));
}

struct link_publication *
link_publication_new(struct link *link, const struct route_publication *on_stack)
{
	struct link_publication *made = mem_zalloc(sizeof(*made));

	made->publication = *on_stack;
	made->table = link->table;
	made->link = link;
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
		link_publication_ready(made);
		break;
	case ROUTE_DONE:
	case ROUTE_BLOCKED: /* not who says `ready` */
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

/* It waits for the store, and its link goes: nobody was told that it is taken. */
static void
give_up(struct link_publication *made)
{
	struct session *session = session_of(made);
	uint64_t ticket = 0;

	leave_line(made);
	list_remove(&made->all_item);
	made->publication.reason = WIRE_REASON_SERVER_UNAVAILABLE;
	if (made->is_local) {
		tell_published(made);
	} else if (made->qos == 2 && session != NULL) {
		session_inbound_done(
		    session, made->packet_id, made->publication.reason, &ticket, false);
	}
	route_forget(&made->publication);
	plugin_end(&made->publication.request, free_publication);
}

/* It has its answer, and stands behind one that has not. */
static void
carry_or_give_up(struct link_publication *made)
{
	if (route_carry(&made->publication) == ROUTE_BLOCKED) {
		give_up(made);
	} else {
		finish(made);
	}
}

void
link_forget_publications(struct link *link)
{
	list_each (item, &link->table->publications) {
		struct link_publication *made = list_item(item, struct link_publication, all_item);

		made->is_forgotten = made->is_forgotten ||
				     (made->publication.session_slot == link->slot &&
					 made->publication.session_generation == link->generation);
	}
}

void
link_drop_publications(struct link *link, bool goes)
{
	list_each (item, &link->line) {
		struct link_publication *made = list_item(item, struct link_publication, order);

		made->conn = NULL;
		if (goes && made->is_ready) {
			carry_or_give_up(made);
		} else if (goes) {
			list_remove(&made->order);
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
