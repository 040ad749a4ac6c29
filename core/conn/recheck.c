/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client was once allowed to subscribe to may not be allowed any more: after a reload, when
 * an authorizer says that what it granted does not hold, and when a session goes on, its
 * subscriptions are asked for again, and those that are denied end. A subscription that nobody
 * could decide about (the plugin failed, or did not answer) stays: a backend that hiccups must not
 * take them away.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "conn/conn_int.h"
#include "wire/reason.h"

struct recheck {
	struct plugin_request request; /* first */
	struct conn_table *table;
	struct msg_client *client;
	uint32_t slot, generation;
	VEC(struct plugin_access) items;
	VEC(struct bytes) filters; /* as the client wrote them; copies */
	struct buf texts;
	struct list_link all_link; /* of table->rechecks, while it is open */
};

static void
free_recheck(struct plugin_request *request)
{
	struct recheck *recheck = (struct recheck *)(void *)request;

	plugin_request_fini(request);
	msg_client_unref(&recheck->client);
	vec_fini(&recheck->items);
	vec_fini(&recheck->filters);
	buf_fini(&recheck->texts);
	mem_free(&recheck);
}

void
conn_free_rechecks(struct conn_table *table)
{
	struct list_link *link;

	while ((link = list_take_first(&table->rechecks)) != NULL) {
		plugin_end(&list_item(link, struct recheck, all_link)->request, free_recheck);
	}
}

static void
end_subscription(struct recheck *recheck, struct session *session, struct bytes filter)
{
	const struct log_field fields[] = {{"client_id", msg_client_id_of(recheck->client)},
	    {"user", msg_client_username_of(recheck->client)},
	    {"listener", msg_client_listener_of(recheck->client)}, {"filter", filter}};
	uint64_t ticket = 0;

	if (session_unsubscribe(session, filter, &ticket)) {
		log_write(LOG_LEVEL_INFO, fields, sizeof(fields) / sizeof(*fields),
		    "a subscription has ended: it is not allowed any more");
	}
}

static void
on_answer(struct plugin_request *request)
{
	struct recheck *recheck = (struct recheck *)(void *)request;
	struct session *session =
	    session_table_get(recheck->table->sessions, recheck->slot, recheck->generation);

	for (size_t i = 0;
	     session != NULL && request->verdict == PLUGIN_ACCEPT && i < recheck->items.count;
	     i++) {
		uint8_t reason = recheck->items.items[i].reason;

		if (reason >= WIRE_REASON_FIRST_ERROR &&
		    reason != WIRE_REASON_IMPLEMENTATION_SPECIFIC_ERROR) {
			end_subscription(recheck, session, recheck->filters.items[i]);
		}
	}
	list_remove(&recheck->all_link);
	plugin_end(request, free_recheck);
}

static bool
note(struct session *session, const struct session_subscribe *subscription, void *arg)
{
	struct recheck *recheck = arg;

	(void)session;
	/* Lengths now; the texts when none moves any more. */
	vec_push(&recheck->filters, subscription->filter);
	vec_push(&recheck->items, (struct plugin_access){.filter = subscription->full_filter,
				      .share_name = subscription->share_name,
				      .qos = subscription->qos,
				      .max_qos = 2});
	return true;
}

static struct bytes
keep(struct recheck *recheck, struct bytes text)
{
	struct bytes copy = {recheck->texts.data + recheck->texts.len, text.len};

	buf_append_bytes(&recheck->texts, text);
	return copy;
}

static void
keep_texts(struct recheck *recheck)
{
	size_t len = 1;

	for (size_t i = 0; i < recheck->items.count; i++) {
		len += recheck->filters.items[i].len + recheck->items.items[i].filter.len +
		       recheck->items.items[i].share_name.len;
	}
	(void)buf_reserve(&recheck->texts, len);
	for (size_t i = 0; i < recheck->items.count; i++) {
		struct plugin_access *item = &recheck->items.items[i];

		recheck->filters.items[i] = keep(recheck, recheck->filters.items[i]);
		item->filter = keep(recheck, item->filter);
		item->share_name = keep(recheck, item->share_name);
	}
}

void
conn_recheck(struct conn *conn)
{
	struct plugin_authority *authority = conn->listener->plugins->authorize;
	struct conn_table *table = conn->table;
	struct recheck *recheck;

	if (authority == NULL || conn->session == NULL || conn->client == NULL ||
	    session_subscription_count(conn->session) == 0) {
		return;
	}
	recheck = mem_zalloc(sizeof(*recheck));
	recheck->table = table;
	recheck->client = msg_client_ref(conn->client);
	recheck->slot = session_slot(conn->session);
	recheck->generation = session_generation(conn->session);
	buf_init(&recheck->texts, SIZE_MAX);
	session_each_subscription(conn->session, note, recheck);
	keep_texts(recheck);
	plugin_request_init(&recheck->request);
	recheck->request.question = PLUGIN_SUBSCRIBE;
	recheck->request.done = on_answer;
	recheck->request.client = recheck->client;
	recheck->request.items = recheck->items.items;
	recheck->request.item_count = recheck->items.count;
	if (plugin_ask(table->plugins, authority, &recheck->request) == PLUGIN_PENDING) {
		list_append(&table->rechecks, &recheck->all_link);
		return;
	}
	on_answer(&recheck->request);
}

void
conn_table_recheck(struct conn_table *table)
{
	list_each (link, &table->conns) {
		struct conn *conn = list_item(link, struct conn, link);

		if (conn->state == CONN_SERVING) {
			conn_recheck(conn);
		}
	}
}
