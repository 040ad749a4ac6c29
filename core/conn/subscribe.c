/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SUBSCRIBE and UNSUBSCRIBE: filter by filter judged by the limits and carried out. If the client
 * leaves while somebody is asked about it, that is done all the same, if its session still stands
 * (flow 7).
 */
#include "conn/subscribe_int.h"

#include "base/counter.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/observe.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

void
conn_free_subscribe(struct plugin_request *request)
{
	struct open_subscribe *open = (struct open_subscribe *)(void *)request;

	plugin_request_fini(request);
	msg_client_unref(&open->client);
	conf_unref(&open->conf);
	mem_free(&open->access);
	mem_free(&open->items);
	mem_free(&open->reasons);
	mem_free(&open->filters);
	mem_free(&open->full);
	for (uint32_t i = 0; open->changed != NULL && i < open->count; i++) {
		mem_free(&open->changed[i]);
	}
	mem_free(&open->changed);
	buf_fini(&open->props);
	buf_fini(&open->filter.changed);
	buf_fini(&open->whole);
	mem_free(&open);
}

struct bytes
conn_full_filter(struct conn_table *table, struct bytes prefix, struct bytes filter)
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

void
conn_split_filter(struct bytes filter, struct bytes *share_out, struct bytes *inner_out)
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

	conn_split_filter(item->filter, &share, &inner);
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

void
conn_judge_filters(struct open_subscribe *open)
{
	for (uint32_t i = 0; i < open->count; i++) {
		struct plugin_access *access = &open->access[i];

		conn_split_filter(open->items[i].filter, &access->share_name, &access->filter);
		access->qos = open->items[i].qos;
		access->max_qos = 2;
		if (open->reasons[i] < WIRE_REASON_FIRST_ERROR) {
			open->reasons[i] =
			    judge_filter(open->listener->limits, open->prefix, &open->items[i]);
		}
	}
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
	conn_split_filter(item->filter, &subscribe.share_name, &inner);
	subscribe.full_filter = conn_full_filter(open->table, open->prefix, inner);
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

/* MQTT 3 knows 0x80 only; and a plugin's reason need not be one of this packet. */
static uint8_t
told_reason(const struct open_subscribe *open, uint8_t reason)
{
	enum wire_type type = open->unsubscribes ? WIRE_UNSUBACK : WIRE_SUBACK;

	return reason >= WIRE_REASON_FIRST_ERROR &&
		       (open->client->version != WIRE_V5 ||
			   !wire_reason_is_allowed(type, WIRE_SERVER, reason))
		   ? (uint8_t)WIRE_REASON_UNSPECIFIED_ERROR
		   : reason;
}

/* Tells the connection, if it is still there. */
static void
tell(struct open_subscribe *open, uint64_t ticket)
{
	struct conn *conn = open->conn;

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
	if (open->goodbye != 0) {
		conn_close(conn, SESSION_LEAVE_ABNORMAL, open->goodbye, "%s is refused",
		    open->unsubscribes ? "UNSUBSCRIBE" : "SUBSCRIBE");
	}
}

/* Asked and answered: carries it out. */
static void
carry_out_subscribe(struct open_subscribe *open)
{
	struct session *session =
	    session_table_get(open->table->sessions, open->slot, open->generation);
	bool failing = open->table->port != NULL && session != NULL && session_is_stored(session) &&
		       store_is_failing(open->table->port);
	uint8_t max_qos = (uint8_t)open->listener->limits->max_qos;
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
		*reason = told_reason(open, *reason);
		if (*reason < WIRE_REASON_FIRST_ERROR) {
			conn_tell_filter(open->table, open->client, AVOCET_EV_SUBSCRIBED,
			    open->items[i].filter, *reason, NULL);
		}
	}
	/* Once for all: its filters may be thousands. */
	if (open->wants_sys && open->table->house->options.on_sys != NULL) {
		open->table->house->options.on_sys(open->table->house->options.arg);
	}
	tell(open, ticket);
}

static uint8_t
unsubscribe_one(struct session *session, struct bytes filter, uint64_t *ticket)
{
	return session_unsubscribe(session, filter, ticket)
		   ? (uint8_t)WIRE_REASON_SUCCESS
		   : (uint8_t)WIRE_REASON_NO_SUBSCRIPTION_EXISTED;
}

static void
carry_out_unsubscribe(struct open_subscribe *open)
{
	struct session *session =
	    session_table_get(open->table->sessions, open->slot, open->generation);
	uint64_t ticket = 0;

	for (uint32_t i = 0; i < open->count && session != NULL; i++) {
		uint8_t *reason = &open->reasons[i];

		if (*reason < WIRE_REASON_FIRST_ERROR) {
			*reason = unsubscribe_one(session, open->items[i].filter, &ticket);
		}
		if (*reason == WIRE_REASON_SUCCESS) {
			conn_tell_filter(open->table, open->client, AVOCET_EV_UNSUBSCRIBED,
			    open->items[i].filter, 0, NULL);
		}
		*reason = told_reason(open, *reason);
	}
	tell(open, ticket);
}

void
conn_carry_out(struct open_subscribe *open)
{
	if (open->unsubscribes) {
		carry_out_unsubscribe(open);
	} else {
		carry_out_subscribe(open);
	}
}

void
conn_free_subscribes(struct conn_table *table)
{
	struct list_link *link;

	while ((link = list_take_first(&table->subscribes)) != NULL) {
		plugin_end(&list_item(link, struct open_subscribe, all_link)->request,
		    conn_free_subscribe);
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

static struct bytes
copy_of(struct bytes bytes)
{
	uint8_t *copy = mem_alloc(bytes.len + 1);

	if (bytes.len != 0) {
		memcpy(copy, bytes.data, bytes.len);
	}
	return bytes_make(copy, bytes.len);
}

static struct open_subscribe *
open_new(struct conn *conn, const struct wire_subscribe *packet, bool unsubscribes)
{
	struct open_subscribe *open = mem_zalloc(sizeof(*open));
	struct bytes filters = copy_of(packet->filters);

	open->conn = conn;
	open->conf = conn->conf != NULL ? conf_ref(conn->conf) : NULL;
	open->listener = conn->listener;
	open->table = conn->table;
	open->client = msg_client_ref(conn->client);
	open->prefix = msg_client_prefix_of(open->client);
	open->count = packet->filter_count;
	open->subscription_id = wire_props_number(&packet->props, WIRE_SUBSCRIPTION_IDENTIFIER, 0);
	open->slot = session_slot(conn->session);
	open->generation = session_generation(conn->session);
	open->filters = (uint8_t *)(uintptr_t)filters.data;
	open->items = mem_zalloc(open->count * sizeof(*open->items));
	open->access = mem_zalloc(open->count * sizeof(*open->access));
	open->reasons = mem_zalloc(open->count);
	open->unsubscribes = unsubscribes;
	buf_init(&open->filter.changed, WIRE_MAX_STRING);
	buf_init(&open->props, SIZE_MAX);
	buf_init(&open->whole, SIZE_MAX);
	if (open->listener->plugins->intercept != NULL) {
		buf_append_bytes(&open->props, packet->props.block);
	}
	for (uint32_t i = 0; i < open->count; i++) {
		if (unsubscribes) {
			(void)wire_unsubscribe_next(&filters, &open->items[i].filter);
		} else {
			(void)wire_subscribe_next(&filters, &open->items[i]);
		}
	}
	plugin_request_init(&open->request);
	return open;
}

/* --- packets --- */

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
	struct open_subscribe *open;

	if (!check_ids(conn, packet)) {
		return;
	}
	open = open_new(conn, packet, false);
	open->ack = peer_ack_begin(&conn->peer, WIRE_SUBACK, packet->packet_id);
	conn_ask_filters(open);
}

void
conn_on_unsubscribe(struct conn *conn, const struct wire_subscribe *packet)
{
	struct bytes filters = packet->filters, filter;
	uint64_t ticket = 0, ack;
	uint8_t *reasons;

	if (conn->listener->plugins->intercepts_unsubscribe) {
		struct open_subscribe *open = open_new(conn, packet, true);

		open->ack = peer_ack_begin(&conn->peer, WIRE_UNSUBACK, packet->packet_id);
		conn_ask_filters(open);
		return;
	}
	reasons = mem_zalloc(packet->filter_count);
	for (uint32_t i = 0; i < packet->filter_count && wire_unsubscribe_next(&filters, &filter);
	     i++) {
		reasons[i] = unsubscribe_one(conn->session, filter, &ticket);
		if (reasons[i] == WIRE_REASON_SUCCESS) {
			conn_tell_filter(
			    conn->table, conn->client, AVOCET_EV_UNSUBSCRIBED, filter, 0, NULL);
		}
	}
	if (conn->listener->durability.mode != ROUTE_COMMIT) {
		ticket = 0;
	}
	ack = peer_ack_begin(&conn->peer, WIRE_UNSUBACK, packet->packet_id);
	peer_ack_know_many(&conn->peer, ack, reasons, packet->filter_count, ticket);
}
