/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SUBSCRIBE and UNSUBSCRIBE. A SUBSCRIBE is judged filter by filter; plugins are asked once for all
 * of them. While their answer is out the connection is not read; if the client leaves meanwhile the
 * subscriptions are made all the same, if its session still stands (flow 7).
 */
#include <assert.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "conn/conn_int.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

/* A SUBSCRIBE under way. */
struct open_subscribe {
	struct plugin_request request; /* first */
	struct conn *conn;             /* NULL: it has gone */
	struct conn_table *table;
	struct msg_client *client;
	struct plugin_access *access; /* one per filter */
	struct wire_subscription *items;
	uint8_t *reasons;
	uint8_t *filters; /* the packet's payload, copied */
	uint8_t *full;    /* the filters with the prefix; NULL: there is none */
	struct bytes prefix;
	uint64_t ack;
	uint32_t count;
	uint32_t subscription_id;
	uint32_t slot, generation;
	bool wants_sys;            /* one of the filters is below $SYS */
	struct list_link all_link; /* of table->subscribes */
};

static void
free_subscribe(struct plugin_request *request)
{
	struct open_subscribe *open = (struct open_subscribe *)(void *)request;

	plugin_request_fini(request);
	msg_client_unref(&open->client);
	mem_free(&open->access);
	mem_free(&open->items);
	mem_free(&open->reasons);
	mem_free(&open->filters);
	mem_free(&open->full);
	mem_free(&open);
}

/* The filter as it stands in the tree: the prefix goes in front of it, or behind $share/NAME/. */
static struct bytes
full_filter(struct conn_table *table, struct bytes prefix, struct bytes filter)
{
	struct buf *full = &table->topic;

	if (prefix.len == 0 || filter.len == 0 || filter.data[0] == '$') {
		return filter;
	}
	buf_clear(full);
	buf_append_bytes(full, prefix);
	buf_append_bytes(full, filter);
	return buf_bytes(full);
}

/* Splits; without a share the name is empty. */
static void
split(struct bytes filter, struct bytes *share_out, struct bytes *inner_out)
{
	if (!wire_topic_share_split(filter, share_out, inner_out)) {
		*share_out = (struct bytes){0};
		*inner_out = filter;
	}
}

static uint8_t
judge_filter(
    const struct conn_limits *limits, struct bytes prefix, const struct wire_subscription *item)
{
	struct bytes share, inner;

	split(item->filter, &share, &inner);
	if (share.len != 0 && !limits->shared_subscriptions) {
		return WIRE_REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
	}
	if (!limits->wildcard_subscriptions && wire_topic_has_wildcard(inner)) {
		return WIRE_REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
	}
	if (inner.len + prefix.len > WIRE_MAX_STRING ||
	    wire_topic_level_count(inner) > (size_t)limits->max_topic_levels) {
		return WIRE_REASON_TOPIC_FILTER_INVALID;
	}
	return WIRE_REASON_SUCCESS;
}

static bool
is_below_sys(struct bytes filter)
{
	return bytes_starts_with(filter, BYTES_LITERAL("$SYS"));
}

/* One filter into the session; returns its code for SUBACK. */
static uint8_t
subscribe_one(struct open_subscribe *open, struct session *session, uint32_t at, uint8_t max_qos,
    uint64_t *ticket_io)
{
	const struct wire_subscription *item = &open->items[at];
	struct session_subscribe subscribe = {.filter = item->filter,
	    .subscription_id = open->subscription_id,
	    .no_local = item->no_local,
	    .retain_as_published = item->retain_as_published,
	    .retain_handling = item->retain_handling};
	struct bytes inner;
	uint8_t qos = item->qos < max_qos ? item->qos : max_qos;

	qos = qos < open->access[at].max_qos ? qos : open->access[at].max_qos;
	split(item->filter, &subscribe.share_name, &inner);
	subscribe.full_filter = full_filter(open->table, open->prefix, inner);
	subscribe.qos = qos;
	switch (session_subscribe(session, &subscribe, ticket_io)) {
	case 0:
		break;
	case ERR_LIMIT:
	case ERR_NOMEM:
		return WIRE_REASON_QUOTA_EXCEEDED;
	default:
		return WIRE_REASON_UNSPECIFIED_ERROR;
	}
	open->wants_sys = open->wants_sys || is_below_sys(inner);
	return qos;
}

/* Asked and answered: carries it out. */
static void
carry_out(struct open_subscribe *open)
{
	struct conn *conn = open->conn;
	struct session *session =
	    session_table_get(open->table->sessions, open->slot, open->generation);
	bool failing = open->table->port != NULL && session != NULL && session_is_stored(session) &&
		       store_is_failing(open->table->port);
	uint8_t max_qos = conn != NULL ? (uint8_t)conn_limits_of(conn)->max_qos : 2;
	bool v5 = open->client->version == WIRE_V5;
	uint64_t ticket = 0;

	for (uint32_t i = 0; i < open->count && session != NULL; i++) {
		uint8_t *reason = &open->reasons[i];

		if (*reason < WIRE_REASON_FIRST_ERROR) {
			*reason = open->access[i].reason;
		}
		if (*reason < WIRE_REASON_FIRST_ERROR) {
			*reason = failing ? (uint8_t)WIRE_REASON_QUOTA_EXCEEDED
					  : subscribe_one(open, session, i, max_qos, &ticket);
		}
		/* MQTT 3 knows 0x80 only; and a plugin's reason need not be one of a SUBACK. */
		if (*reason >= WIRE_REASON_FIRST_ERROR &&
		    (!v5 || !wire_reason_is_allowed(WIRE_SUBACK, WIRE_SERVER, *reason))) {
			*reason = WIRE_REASON_UNSPECIFIED_ERROR;
		}
	}
	/* Once for all: its filters may be thousands. */
	if (open->wants_sys && open->table->house->options.on_sys != NULL) {
		open->table->house->options.on_sys(open->table->house->options.arg);
	}
	if (conn == NULL) {
		return;
	}
	if (conn->more != NULL) {
		conn->more->subscribing = NULL;
	}
	if (conn->listener->durability.mode != ROUTE_COMMIT) {
		ticket = 0;
	}
	peer_ack_know_many(&conn->peer, open->ack, open->reasons, open->count, ticket);
	open->reasons = NULL;
	conn_resume_pending(conn);
	conn_settle(conn);
}

static void
on_answer(struct plugin_request *request)
{
	struct open_subscribe *open = (struct open_subscribe *)(void *)request;
	struct conn *conn = open->conn;
	uint8_t refusal = request->reason >= WIRE_REASON_FIRST_ERROR
			      ? request->reason
			      : (uint8_t)WIRE_REASON_NOT_AUTHORIZED;

	if (request->timed_out || request->verdict != PLUGIN_ACCEPT) {
		for (uint32_t i = 0; i < open->count; i++) {
			if (open->reasons[i] < WIRE_REASON_FIRST_ERROR &&
			    (request->timed_out ||
				open->access[i].reason < WIRE_REASON_FIRST_ERROR)) {
				open->reasons[i] = refusal;
			}
		}
	}
	carry_out(open);
	if (conn != NULL && request->verdict == PLUGIN_DISCONNECT) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, refusal, "SUBSCRIBE is refused");
	}
	list_remove(&open->all_link);
	plugin_end(request, free_subscribe);
}

void
conn_free_subscribes(struct conn_table *table)
{
	struct list_link *link;

	while ((link = list_take_first(&table->subscribes)) != NULL) {
		plugin_end(
		    &list_item(link, struct open_subscribe, all_link)->request, free_subscribe);
	}
}

void
conn_drop_subscribe(struct conn *conn)
{
	if (conn->more != NULL && conn->more->subscribing != NULL) {
		conn->more->subscribing->conn = NULL;
		conn->more->subscribing = NULL;
	}
}

/* Who is asked sees the filters as they stand in the tree. */
static void
show_full_filters(struct open_subscribe *open, size_t filters_len)
{
	uint8_t *at;

	if (open->prefix.len == 0) {
		return;
	}
	at = open->full = mem_alloc(filters_len + open->count * open->prefix.len);
	for (uint32_t i = 0; i < open->count; i++) {
		struct bytes *filter = &open->access[i].filter;
		struct bytes full = full_filter(open->table, open->prefix, *filter);

		memcpy(at, full.data, full.len);
		*filter = bytes_make(at, full.len);
		at += full.len;
	}
}

static struct open_subscribe *
open_new(struct conn *conn, const struct wire_subscribe *packet)
{
	struct open_subscribe *open = mem_zalloc(sizeof(*open));
	struct bytes filters;

	open->conn = conn;
	open->table = conn->table;
	open->client = msg_client_ref(conn->client);
	open->prefix = msg_client_prefix_of(open->client);
	open->count = packet->filter_count;
	open->subscription_id = wire_props_number(&packet->props, WIRE_SUBSCRIPTION_IDENTIFIER, 0);
	open->slot = session_slot(conn->session);
	open->generation = session_generation(conn->session);
	open->filters = mem_alloc(packet->filters.len + 1);
	memcpy(open->filters, packet->filters.data, packet->filters.len);
	open->items = mem_zalloc(open->count * sizeof(*open->items));
	open->access = mem_zalloc(open->count * sizeof(*open->access));
	open->reasons = mem_zalloc(open->count);
	filters = bytes_make(open->filters, packet->filters.len);
	for (uint32_t i = 0; i < open->count; i++) {
		struct plugin_access *access = &open->access[i];

		(void)wire_subscribe_next(&filters, &open->items[i]);
		split(open->items[i].filter, &access->share_name, &access->filter);
		access->qos = open->items[i].qos;
		access->max_qos = 2;
		open->reasons[i] =
		    judge_filter(conn_limits_of(conn), open->prefix, &open->items[i]);
	}
	plugin_request_init(&open->request);
	return open;
}

static bool
check_ids(struct conn *conn, const struct wire_subscribe *packet)
{
	if (wire_props_has(&packet->props, WIRE_SUBSCRIPTION_IDENTIFIER) &&
	    !conn_limits_of(conn)->subscription_identifiers) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL,
		    WIRE_REASON_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, NULL);
		return false;
	}
	return true;
}

void
conn_on_subscribe(struct conn *conn, const struct wire_subscribe *packet)
{
	struct plugin_authority *authority = conn->listener->plugins->authorize;
	struct open_subscribe *open;

	if (!check_ids(conn, packet)) {
		return;
	}
	open = open_new(conn, packet);
	open->ack = peer_ack_begin(&conn->peer, WIRE_SUBACK, packet->packet_id);
	if (authority != NULL) {
		conn_more_of(conn)->subscribing = open;
		show_full_filters(open, packet->filters.len);
		open->request.question = PLUGIN_SUBSCRIBE;
		open->request.done = on_answer;
		open->request.client = open->client;
		open->request.items = open->access;
		open->request.item_count = open->count;
		if (plugin_ask(conn->table->plugins, authority, &open->request) == PLUGIN_PENDING) {
			peer_pause(&conn->peer, PEER_PAUSE_PENDING);
			list_append(&conn->table->subscribes, &open->all_link);
			return;
		}
		on_answer(&open->request);
		return;
	}
	carry_out(open);
	free_subscribe(&open->request);
}

void
conn_on_unsubscribe(struct conn *conn, const struct wire_subscribe *packet)
{
	struct bytes filters = packet->filters, filter;
	uint8_t *reasons = mem_zalloc(packet->filter_count);
	uint64_t ticket = 0, ack;

	for (uint32_t i = 0; i < packet->filter_count && wire_unsubscribe_next(&filters, &filter);
	     i++) {
		reasons[i] = session_unsubscribe(conn->session, filter, &ticket)
				 ? WIRE_REASON_SUCCESS
				 : WIRE_REASON_NO_SUBSCRIPTION_EXISTED;
	}
	if (conn->listener->durability.mode != ROUTE_COMMIT) {
		ticket = 0;
	}
	ack = peer_ack_begin(&conn->peer, WIRE_UNSUBACK, packet->packet_id);
	peer_ack_know_many(&conn->peer, ack, reasons, packet->filter_count, ticket);
}
