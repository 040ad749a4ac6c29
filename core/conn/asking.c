/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is asked about a SUBSCRIBE or UNSUBSCRIBE: interceptors, about one filter after the other;
 * then authorizers, once for all of them. While an answer is out the connection is not read. An
 * UNSUBSCRIBE comes here only where interceptors look at it.
 */
#include "base/mem.h"
#include "conn/subscribe_int.h"
#include "plugin/observe.h"
#include "wire/reason.h"

static uint8_t
refusal_of(const struct plugin_request *request)
{
	return request->reason >= WIRE_REASON_FIRST_ERROR ? request->reason
							  : (uint8_t)WIRE_REASON_NOT_AUTHORIZED;
}

static void
on_answer(struct plugin_request *request)
{
	struct open_subscribe *open = (struct open_subscribe *)(void *)request;

	if (request->timed_out || request->verdict != PLUGIN_ACCEPT) {
		for (uint32_t i = 0; i < open->count; i++) {
			if (open->reasons[i] < WIRE_REASON_FIRST_ERROR &&
			    (request->timed_out ||
				open->access[i].reason < WIRE_REASON_FIRST_ERROR)) {
				open->reasons[i] = refusal_of(request);
			}
		}
	}
	for (uint32_t i = 0; i < open->count; i++) {
		uint8_t reason = open->access[i].reason >= WIRE_REASON_FIRST_ERROR
				     ? open->access[i].reason
				     : open->reasons[i];

		if (reason >= WIRE_REASON_FIRST_ERROR) {
			conn_tell_filter(open->table, open->client, AVOCET_EV_DENIED,
			    open->items[i].filter, reason, request->by);
		}
	}
	if (request->verdict == PLUGIN_DISCONNECT) {
		open->goodbye = refusal_of(request);
	}
	conn_carry_out(open);
	list_remove(&open->all_link);
	plugin_end(request, conn_free_subscribe);
}

static struct bytes
show_full(const struct open_subscribe *open, struct bytes filter, uint8_t **at)
{
	struct bytes full = conn_full_filter(open->table, open->prefix, filter);
	struct bytes copy = {*at, full.len};

	memcpy(*at, full.data, full.len);
	*at += full.len;
	return copy;
}

/* Who is asked sees the filters as they stand in the tree. */
static void
show_full_filters(struct open_subscribe *open, size_t filters_len)
{
	uint8_t *at;

	if (open->prefix.len == 0) {
		return;
	}
	at = open->full = mem_alloc(filters_len + 2 * open->count * open->prefix.len);
	for (uint32_t i = 0; i < open->count; i++) {
		struct plugin_access *access = &open->access[i];

		access->filter = show_full(open, access->filter, &at);
		if (access->received.len != 0) {
			access->received = show_full(open, access->received, &at);
		}
	}
}

/* Not read until it is answered. */
static void
wait_for_answer(struct open_subscribe *open)
{
	if (open->conn != NULL) {
		conn_more_of(open->conn)->subscribing = open;
		peer_pause(&open->conn->peer, PEER_PAUSE_PENDING);
	}
	if (!list_is_linked(&open->all_link)) {
		list_append(&open->table->subscribes, &open->all_link);
	}
}

/* Authorizers, then the session. */
static void
go_on(struct open_subscribe *open)
{
	struct plugin_authority *authority = open->listener->plugins->authorize;
	size_t filters_len = 0;

	if (open->unsubscribes || authority == NULL) {
		if (!open->unsubscribes) {
			conn_judge_filters(open);
		}
		conn_carry_out(open);
		list_remove(&open->all_link);
		conn_free_subscribe(&open->request);
		return;
	}
	conn_judge_filters(open);
	for (uint32_t i = 0; i < open->count; i++) {
		filters_len += open->access[i].filter.len + open->access[i].received.len;
	}
	show_full_filters(open, filters_len);
	plugin_request_init(&open->request);
	open->request.question = PLUGIN_SUBSCRIBE;
	open->request.done = on_answer;
	open->request.client = open->client;
	open->request.items = open->access;
	open->request.item_count = open->count;
	if (plugin_ask(open->table->plugins, authority, &open->request) == PLUGIN_PENDING) {
		wait_for_answer(open);
		return;
	}
	on_answer(&open->request);
}

/* --- interceptors --- */

/* The filter as the client would have sent it. */
static void
take_changed(struct open_subscribe *open, struct bytes full, struct bytes share)
{
	static const char begin[] = "$share/";
	struct bytes inner = full.data[0] != '$' ? bytes_skip(full, open->prefix.len) : full;
	struct buf text;

	buf_init(&text, SIZE_MAX);
	if (share.len != 0) {
		buf_append_text(&text, begin);
		buf_append_bytes(&text, share);
		buf_append_byte(&text, '/');
	}
	buf_append_bytes(&text, inner);
	if (open->changed == NULL) {
		open->changed = mem_zalloc(open->count * sizeof(*open->changed));
	}
	open->changed[open->at] = text.data;
	open->items[open->at].filter = buf_bytes(&text);
}

/* The answer about the filter open->at. */
static void
take_answer(struct open_subscribe *open)
{
	const struct plugin_request *request = &open->request;
	struct plugin_filter *filter = &open->filter;
	struct bytes share, inner;

	if (request->verdict == PLUGIN_ACCEPT) {
		conn_split_filter(open->items[open->at].filter, &share, &inner);
		if (filter->changed.len != 0) {
			open->access[open->at].received = inner;
			take_changed(open, buf_bytes(&filter->changed), share);
		}
		open->items[open->at].qos = filter->qos;
		return;
	}
	open->reasons[open->at] = refusal_of(request);
	conn_tell_filter(open->table, open->client, AVOCET_EV_DENIED, open->items[open->at].filter,
	    refusal_of(request), request->by);
	if (request->verdict == PLUGIN_DISCONNECT) {
		open->goodbye = refusal_of(request);
		for (uint32_t i = open->at; i < open->count; i++) {
			open->reasons[i] = open->goodbye;
		}
	}
}

static void
fill_filter(struct open_subscribe *open)
{
	const struct wire_subscription *item = &open->items[open->at];
	struct plugin_filter *filter = &open->filter;
	struct bytes inner;

	buf_clear(&filter->changed);
	conn_split_filter(item->filter, &filter->share_name, &inner);
	/* Copied: members that answer later come to it when the table has made others. */
	buf_clear(&open->whole);
	buf_append_bytes(&open->whole, conn_full_filter(open->table, open->prefix, inner));
	filter->filter = buf_bytes(&open->whole);
	filter->prefix = open->prefix;
	filter->props = buf_bytes(&open->props);
	filter->subscription_id = open->subscription_id;
	filter->qos = item->qos;
	filter->options = (uint8_t)(item->no_local << 2 | item->retain_as_published << 3 |
				    item->retain_handling << 4);
}

static void
stay(struct plugin_request *request)
{
	(void)request; /* it is asked with again */
}

static void intercept(struct open_subscribe *open);

static void
on_intercepted(struct plugin_request *request)
{
	struct open_subscribe *open = (struct open_subscribe *)(void *)request;

	take_answer(open);
	plugin_end(request, stay);
	open->at++;
	intercept(open);
}

/* Asks about the filters from open->at on. */
static void
intercept(struct open_subscribe *open)
{
	struct plugin_authority *authority = open->listener->plugins->intercept;

	for (; authority != NULL && open->at < open->count && open->goodbye == 0; open->at++) {
		fill_filter(open);
		plugin_request_init(&open->request);
		open->request.question =
		    open->unsubscribes ? PLUGIN_INTERCEPT_UNSUBSCRIBE : PLUGIN_INTERCEPT_SUBSCRIBE;
		open->request.done = on_intercepted;
		open->request.client = open->client;
		open->request.filter = &open->filter;
		if (plugin_ask(open->table->plugins, authority, &open->request) == PLUGIN_PENDING) {
			wait_for_answer(open);
			return;
		}
		take_answer(open);
		plugin_end(&open->request, stay);
	}
	go_on(open);
}

void
conn_ask_filters(struct open_subscribe *open)
{
	const struct plugin_set *plugins = open->listener->plugins;

	if (open->unsubscribes ? plugins->intercepts_unsubscribe : plugins->intercepts_subscribe) {
		intercept(open);
	} else {
		go_on(open);
	}
}
