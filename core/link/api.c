/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avocet.link/0 as instances call it. What is given is copied here, on the caller's thread, and
 * goes to the link's worker by mail, in the order of the calls of a thread. A link that is still on
 * its way to its worker is asked there again: its mail goes over main, as the link does.
 */
#include "base/mem.h"
#include "link/link_int.h"
#include "wire/reason.h"

enum { MOST_FILTERS = 10000 };

enum call_kind { CALL_CLOSE, CALL_SUBSCRIBE, CALL_UNSUBSCRIBE, CALL_PUBLISH, CALL_ACK, CALL_AUTH };

struct call {
	struct mail mail;
	struct link_house *house;
	uint64_t handle;
	enum call_kind kind;
	int32_t status;
	uint64_t number; /* cookie, or delivery */
	uint8_t reason;
	uint32_t flags;
	struct msg_draft draft;
	struct link_subs subs;
	struct arena arena;
	struct buf data; /* wiped */
};

static void
free_call(struct call *call)
{
	msg_draft_fini(&call->draft);
	arena_fini(&call->arena);
	buf_fini_wiped(&call->data);
	mem_free(&call);
}

static void
unsubscribe(struct link *link, const struct link_subs *subs)
{
	uint64_t ticket = 0;

	for (size_t i = 0; link->session != NULL && i < subs->count; i++) {
		(void)session_unsubscribe(link->session, subs->items[i].filter, &ticket);
	}
}

static void
carry_out(struct link *link, struct call *call)
{
	switch (call->kind) {
	case CALL_CLOSE:
		link->ends = link->ends || (call->flags & AVOCET_LINK_END) != 0;
		link_close(link, WIRE_REASON_SUCCESS,
		    (call->flags & AVOCET_LINK_WILL) != 0 ? SESSION_LEAVE_ABNORMAL
							  : SESSION_LEAVE_NORMAL);
		break;
	case CALL_SUBSCRIBE:
		link_subscribe_some(link, &call->subs, call->number);
		break;
	case CALL_UNSUBSCRIBE:
		unsubscribe(link, &call->subs);
		break;
	case CALL_PUBLISH:
		link_local_publish(link, &call->draft, call->number);
		break;
	case CALL_ACK:
		link_local_ack(link, call->number, call->reason);
		break;
	case CALL_AUTH:
		link_auth_replied(link, call->status, buf_bytes(&call->data));
		break;
	}
}

static void send_call(struct call *call);

static void
on_call(struct worker *worker, struct mail *mail)
{
	struct call *call = list_item(mail, struct call, mail);
	struct link_table *table = call->house->tables[worker_index(worker)];
	struct link *link = table != NULL ? link_find(table, call->handle) : NULL;

	if (link != NULL) {
		carry_out(link, call);
	} else if (link_worker_of(call->house, call->handle) != UINT16_MAX &&
		   !atomic_load(&call->house->is_stopping)) {
		send_call(call); /* it is on its way */
		return;
	}
	free_call(call);
}

static void
send_call(struct call *call)
{
	uint16_t at = link_worker_of(call->house, call->handle);

	call->mail.run = on_call;
	mail_post(loop_worker(call->house->options.loop, at != UINT16_MAX ? at : 0), &call->mail);
}

static struct call *
call_new(avocet_self *self, uint64_t handle, enum call_kind kind, int32_t *status)
{
	struct link_house *house = plugin_links_of(self);
	struct call *call;

	if (house == NULL || atomic_load(&house->is_stopping)) {
		*status = AVOCET_E_STATE;
		return NULL;
	}
	if (link_worker_of(house, handle) == UINT16_MAX) {
		*status = AVOCET_E_GONE;
		return NULL;
	}
	call = mem_zalloc(sizeof(*call));
	call->house = house;
	call->handle = handle;
	call->kind = kind;
	arena_init(&call->arena);
	buf_init(&call->data, WIRE_MAX_STRING);
	*status = AVOCET_OK;
	return call;
}

/* --- opening --- */

static uint16_t
choose_worker(struct link_house *house, uint32_t wanted)
{
	unsigned count = loop_worker_count(house->options.loop);

	if (wanted < count && house->tables[wanted] != NULL) {
		return (uint16_t)wanted;
	}
	do {
		house->next_worker = (house->next_worker + 1) % count;
	} while (house->tables[house->next_worker] == NULL);
	return (uint16_t)house->next_worker;
}

static struct link *
link_new(avocet_self *self, struct link_house *house, struct link_options *options,
    const avocet_link_events *events, void *user)
{
	struct link *link = mem_zalloc(sizeof(*link));

	link->house = house;
	link->self = plugin_ref(self);
	link->options = options;
	link->user = user;
	memcpy(&link->events, events,
	    events->struct_size < sizeof(link->events) ? events->struct_size
						       : sizeof(link->events));
	link->mail.run = link_arrive;
	list_init(&link->line);
	return link;
}

static int32_t
api_open(avocet_self *self, const avocet_link_opts *opts, const avocet_link_events *events,
    void *user, avocet_link_h *out, avocet_error *err)
{
	struct link_house *house = plugin_links_of(self);
	struct link_options *options;
	struct link *link;
	int32_t status;

	if (!plugin_is_main(self)) {
		return AVOCET_E_THREAD;
	}
	if (house == NULL || !plugin_is_alive(self) || atomic_load(&house->is_stopping) ||
	    house->options.terms(house->options.conf(house->options.arg), plugin_name(self)) ==
		NULL) {
		return link_refuse(
		    err, AVOCET_E_STATE, "links are opened between start() and the end");
	}
	options = link_options_new(opts, plugin_name(self), &status, err);
	if (options == NULL) {
		return status;
	}
	if (link_name_is_taken(house, self, options->name)) {
		status = link_refuse(
		    err, AVOCET_E_BUSY, "there is a link \"%s\" already", options->name);
		link_options_free(&options);
		return status;
	}
	link = link_new(self, house, options, events, user);
	link->conf = conf_ref(house->options.conf(house->options.arg));
	if (options->remote != NULL) {
		route_house_mark(house->options.route, house->options.main);
	}
	link->handle = link_enter(house, link);
	*out = link->handle;
	mail_post(
	    loop_worker(house->options.loop, choose_worker(house, options->worker)), &link->mail);
	return AVOCET_OK;
}

/* --- the rest --- */

static int32_t
api_close(avocet_self *self, avocet_link_h handle, uint32_t flags)
{
	int32_t status;
	struct call *call = call_new(self, handle, CALL_CLOSE, &status);

	if (call != NULL) {
		call->flags = flags;
		send_call(call);
	}
	return status;
}

static bool
copy_filters(struct call *call, const void *given, size_t n, size_t stride, bool is_sub)
{
	call->subs.items = arena_alloc(&call->arena, (n + 1) * sizeof(*call->subs.items));
	call->subs.count = n;
	for (size_t i = 0; i < n; i++) {
		avocet_link_sub sub = {0};

		memcpy(&sub, (const char *)given + i * stride,
		    stride < sizeof(sub) ? stride : sizeof(sub));
		call->subs.items[i] = (struct link_sub){
		    .filter =
			bytes_of(arena_text(&call->arena, bytes_make(sub.filter.p, sub.filter.n))),
		    .qos = (uint8_t)(is_sub ? sub.qos & 3U : 0),
		    .no_local = (sub.options & AVOCET_SUB_NO_LOCAL) != 0,
		    .retain_as_published = (sub.options & AVOCET_SUB_RETAIN_AS_PUBLISHED) != 0,
		    .retain_handling = (sub.options & AVOCET_SUB_RETAIN_NEVER) != 0    ? 2
				       : (sub.options & AVOCET_SUB_RETAIN_IF_NEW) != 0 ? 1
										       : 0};
		if (!link_filter_is_good(call->subs.items[i].filter) ||
		    call->subs.items[i].qos > 2) {
			return false;
		}
	}
	return true;
}

static int32_t
send_filters(avocet_self *self, avocet_link_h handle, enum call_kind kind, const void *given,
    size_t n, size_t stride, uint64_t cookie)
{
	int32_t status;
	struct call *call;

	if (n == 0 || n > MOST_FILTERS || stride < sizeof(avocet_str)) {
		return AVOCET_E_INVAL;
	}
	call = call_new(self, handle, kind, &status);
	if (call == NULL) {
		return status;
	}
	if (!copy_filters(call, given, n, stride, kind == CALL_SUBSCRIBE)) {
		free_call(call);
		return AVOCET_E_INVAL;
	}
	call->number = cookie;
	send_call(call);
	return AVOCET_OK;
}

static int32_t
api_subscribe(avocet_self *self, avocet_link_h handle, const avocet_link_sub *subs, size_t n,
    size_t stride, uint64_t cookie)
{
	return send_filters(self, handle, CALL_SUBSCRIBE, subs, n, stride, cookie);
}

static int32_t
api_unsubscribe(avocet_self *self, avocet_link_h handle, const avocet_str *filters, size_t n)
{
	return send_filters(self, handle, CALL_UNSUBSCRIBE, filters, n, sizeof(*filters), 0);
}

/* Who is sent away is told when there is room: unless that is so since. */
static bool
may_publish(struct link *link)
{
	if (atomic_fetch_add(&link->api_count, 1) < LINK_MOST_UNDER_WAY) {
		return true;
	}
	atomic_fetch_sub(&link->api_count, 1);
	atomic_store(&link->wants_room, true);
	if (atomic_load(&link->api_count) <= LINK_MOST_UNDER_WAY / 2 &&
	    atomic_exchange(&link->wants_room, false)) {
		atomic_fetch_add(&link->api_count, 1);
		return true;
	}
	return false;
}

/* Counted where the caller is, since its worker may be busy; true: it may go. */
static bool
count_in(struct link_house *house, uint64_t handle)
{
	bool goes = false;

	lock_take(&house->lock);
	for (size_t at = (size_t)(handle & UINT32_MAX); at != 0 && at <= house->entries.count;
	     at = 0) {
		const struct link_entry *entry = &house->entries.items[at - 1];

		if (entry->link == NULL || entry->generation != handle >> 32) {
			break;
		}
		goes = may_publish(entry->link);
	}
	lock_give(&house->lock);
	return goes;
}

static int32_t
api_publish(avocet_self *self, avocet_link_h handle, const avocet_publish *message, uint64_t cookie)
{
	int32_t status;
	struct call *call = call_new(self, handle, CALL_PUBLISH, &status);

	if (call == NULL) {
		return status;
	}
	status = plugin_take_publish(message, true, &call->draft);
	if (status == AVOCET_OK && !count_in(call->house, handle)) {
		status = AVOCET_E_AGAIN;
	}
	if (status != AVOCET_OK) {
		free_call(call);
		return status;
	}
	call->number = cookie;
	send_call(call);
	return AVOCET_OK;
}

static int32_t
api_ack(avocet_self *self, avocet_link_h handle, uint64_t delivery, uint32_t reason)
{
	int32_t status;
	struct call *call;

	if (reason > UINT8_MAX) {
		return AVOCET_E_INVAL;
	}
	call = call_new(self, handle, CALL_ACK, &status);
	if (call != NULL) {
		call->number = delivery;
		call->reason = (uint8_t)reason;
		send_call(call);
	}
	return status;
}

static int32_t
api_auth_reply(avocet_self *self, avocet_link_h handle, int32_t status, avocet_bytes data)
{
	int32_t result;
	struct call *call = call_new(self, handle, CALL_AUTH, &result);

	if (call == NULL) {
		return result;
	}
	call->status = status;
	buf_append(&call->data, data.p, data.n);
	if (call->data.failed) {
		free_call(call);
		return AVOCET_E_INVAL;
	}
	send_call(call);
	return AVOCET_OK;
}

const avocet_link_api link_api = {
    .struct_size = sizeof(avocet_link_api),
    .open = api_open,
    .close = api_close,
    .subscribe = api_subscribe,
    .unsubscribe = api_unsubscribe,
    .publish = api_publish,
    .ack = api_ack,
    .auth_reply = api_auth_reply,
};
