/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session's subscriptions: what the client asked for, beside what stands in the tree. Owned by
 * the session; one compact allocation each; a map by the client's filter only where there are many.
 *
 * The key of a subscription is its filter as the client wrote it. In the tree and in the store it
 * stands with the prefix of the client; a client that comes back with another prefix and subscribes
 * to the same filter moves its subscription.
 *
 * Order (flow 5): first into the tree, then `asof` is drawn, so a publisher that draws a later
 * version sees the subscription.
 */
#include "session/session_int.h"

#include "base/err.h"
#include "loop/epoch.h"
#include "session/record.h"
#include "wire/topic_name.h"

enum {
	MAP_ABOVE = 8,
	SHARE_LEN = 7, /* "$share/" */
};

static struct bytes
filter_of(const void *item)
{
	return session_sub_filter(item);
}

/* --- looking up --- */

static struct session_sub *
find(const struct session *session, struct bytes filter)
{
	const struct session_subs *subs = session->subs;

	if (subs == NULL) {
		return NULL;
	}
	if (subs->by_filter != NULL) {
		return map_find(subs->by_filter, filter);
	}
	for (size_t i = 0; i < subs->count; i++) {
		if (bytes_equal(session_sub_filter(subs->items[i]), filter)) {
			return subs->items[i];
		}
	}
	return NULL;
}

struct session_sub *
session_sub_by_group(const struct session *session, uint64_t group)
{
	for (size_t i = 0; session->subs != NULL && i < session->subs->count; i++) {
		struct session_sub *sub = session->subs->items[i];

		if (sub->share_len != 0 && sub->group == group) {
			return sub;
		}
	}
	return NULL;
}

struct session_sub *
session_sub_by_key(const struct session *session, struct bytes key)
{
	for (size_t i = 0; session->subs != NULL && i < session->subs->count; i++) {
		if (bytes_equal(session_sub_key(session->subs->items[i]), key)) {
			return session->subs->items[i];
		}
	}
	return NULL;
}

bool
session_has_subscription(const struct session *session, struct bytes filter)
{
	return find(session, filter) != NULL;
}

size_t
session_subscription_count(const struct session *session)
{
	return session->subs != NULL ? session->subs->count : 0;
}

/* --- making and keeping --- */

/* What goes into the tree; a full filter that came with $share/NAME/ is understood, too. */
static struct bytes
full_of(const struct session_subscribe *subscribe)
{
	size_t head = SHARE_LEN + subscribe->share_name.len + 1;

	if (subscribe->share_name.len != 0 && subscribe->full_filter.len >= subscribe->filter.len &&
	    bytes_starts_with(subscribe->full_filter, bytes_make(subscribe->filter.data, head))) {
		return bytes_skip(subscribe->full_filter, head);
	}
	return subscribe->full_filter;
}

static void
set_options(struct session_sub *sub, const struct session_subscribe *subscribe)
{
	sub->subscription_id = subscribe->subscription_id;
	sub->qos = subscribe->qos;
	sub->flags = (uint8_t)((subscribe->no_local ? TOPIC_NO_LOCAL : 0) |
			       (subscribe->retain_as_published ? TOPIC_RETAIN_AS_PUBLISHED : 0));
	sub->retain_handling = subscribe->retain_handling;
}

/* NULL without memory. */
static struct session_sub *
make(const struct session_subscribe *subscribe)
{
	struct bytes full = full_of(subscribe), filter = subscribe->filter;
	size_t share_len = subscribe->share_name.len;
	size_t head = share_len != 0 ? SHARE_LEN + share_len + 1 : 0;
	size_t key_len = head + full.len;
	/* With a prefix the filter is no part of a shared key. */
	bool apart = head != 0 && key_len != filter.len;
	struct session_sub *sub = mem_try_alloc(sizeof(*sub) + key_len + (apart ? filter.len : 0));

	if (sub == NULL) {
		return NULL;
	}
	*sub = (struct session_sub){.key_len = (uint32_t)key_len,
	    .filter_at = (uint32_t)(apart ? key_len : key_len - filter.len),
	    .filter_len = (uint32_t)filter.len,
	    .share_len = (uint16_t)share_len};
	memcpy(sub->text, filter.data, head);
	memcpy(sub->text + head, full.data, full.len);
	if (apart) {
		memcpy(sub->text + key_len, filter.data, filter.len);
	}
	set_options(sub, subscribe);
	return sub;
}

static void
make_subs(struct session *session)
{
	if (session->subs == NULL) {
		session->subs = mem_zalloc(sizeof(*session->subs));
		session->subs->session = session;
		list_init(&session->subs->replays);
	}
}

/* Room for one more in list and map; false without memory. */
static bool
reserve(struct session *session)
{
	struct session_subs *subs = session->subs;

	if (subs->count == subs->cap) {
		size_t cap = subs->cap != 0 ? subs->cap * 2 : 1;
		struct session_sub **items =
		    mem_try_realloc(subs->items, cap * sizeof(struct session_sub *));

		if (items == NULL) {
			return false;
		}
		subs->items = items;
		subs->cap = cap;
	}
	if (subs->by_filter == NULL && subs->count >= MAP_ABOVE) {
		subs->by_filter = mem_alloc(sizeof(*subs->by_filter));
		map_init(subs->by_filter, filter_of, session->table->hash_key);
		for (size_t i = 0; i < subs->count; i++) {
			map_put(subs->by_filter, subs->items[i]);
		}
	}
	return subs->by_filter == NULL || map_try_reserve(subs->by_filter);
}

static void
enter(struct session_subs *subs, struct session_sub *sub)
{
	sub->index = (uint32_t)subs->count;
	subs->items[subs->count++] = sub;
	if (subs->by_filter != NULL) {
		map_put(subs->by_filter, sub);
	}
	counter_add(COUNTER_SUBSCRIPTIONS, 1);
}

static void
free_member(void *memory)
{
	free(memory);
}

static void
drop_if_empty(struct session *session)
{
	struct session_subs *subs = session->subs;

	if (subs == NULL || subs->count != 0) {
		return;
	}
	if (subs->member != NULL) {
		/* Publishers of this turn may still look at it. */
		epoch_retire(session->table->worker, subs->member, free_member);
	}
	if (subs->by_filter != NULL) {
		map_fini(subs->by_filter);
		mem_free(&subs->by_filter);
	}
	mem_free(&subs->items);
	mem_free(&session->subs);
}

/* Takes it out of list and map. */
static void
leave(struct session_subs *subs, struct session_sub *sub)
{
	if (subs->by_filter != NULL) {
		map_take(subs->by_filter, session_sub_filter(sub));
	}
	subs->items[sub->index] = subs->items[--subs->count];
	subs->items[sub->index]->index = sub->index;
	counter_sub(COUNTER_SUBSCRIPTIONS, 1);
}

/* --- the tree --- */

static int
add_to_tree(struct session *session, const struct session_sub *sub,
    const struct session_subscribe *subscribe)
{
	struct session_table *table = session->table;
	struct topic_subscriber subscriber = {.sid = session->sid,
	    .slot = session->slot,
	    .generation = session->generation,
	    .subscription_id = subscribe->subscription_id,
	    .worker = (uint16_t)worker_index(table->worker),
	    .qos = subscribe->qos,
	    .flags = (uint8_t)((subscribe->no_local ? TOPIC_NO_LOCAL : 0) |
			       (subscribe->retain_as_published ? TOPIC_RETAIN_AS_PUBLISHED : 0) |
			       (session_is_stored(session) ? TOPIC_PERSISTENT : 0) |
			       (session->limits->upgrade_outgoing_qos ? TOPIC_UPGRADE_QOS : 0))};

	if (sub->share_len == 0) {
		return topic_tree_add(
		    table->house->tree, table->worker, session_sub_full(sub), &subscriber);
	}
	if (session->subs->member == NULL) {
		session->subs->member = mem_zalloc(sizeof(*session->subs->member));
		session_show_room(session);
	}
	return topic_tree_share_add(table->house->tree, table->worker, session_sub_share_name(sub),
	    session_sub_full(sub), &subscriber, session->subs->member);
}

static void
remove_from_tree(struct session *session, const struct session_sub *sub)
{
	struct session_table *table = session->table;
	uint16_t worker = (uint16_t)worker_index(table->worker);

	if (sub->share_len == 0) {
		topic_tree_remove(table->house->tree, table->worker, session_sub_full(sub), worker,
		    session->slot, session->generation);
	} else {
		topic_tree_share_remove(table->house->tree, table->worker,
		    session_sub_share_name(sub), session_sub_full(sub), worker, session->slot,
		    session->generation);
	}
}

static void
name_group(struct session *session, struct session_sub *sub)
{
	const struct topic_group *group = topic_tree_find_group(
	    session->table->house->tree, session_sub_share_name(sub), session_sub_full(sub));

	sub->group = group != NULL ? group->id : 0;
}

/* --- SUBSCRIBE --- */

static uint64_t
put_sub(struct session *session, const struct session_sub *sub)
{
	struct session_record_sub record = {.subscription_id = sub->subscription_id,
	    .prefix_len = (uint16_t)(sub->key_len - sub->filter_len),
	    .qos = sub->qos,
	    .retain_handling = sub->retain_handling,
	    .no_local = (sub->flags & TOPIC_NO_LOCAL) != 0,
	    .retain_as_published = (sub->flags & TOPIC_RETAIN_AS_PUBLISHED) != 0,
	    .shared = sub->share_len != 0};
	struct buf rec;
	uint64_t ticket;

	buf_init(&rec, SIZE_MAX);
	session_record_sub_encode(&record, &rec);
	ticket = session_put(session->table, &(struct store_op){.kind = STORE_SUB_PUT,
						 .sid = session->sid,
						 .key = session_sub_key(sub),
						 .rec = buf_bytes(&rec)});
	buf_fini(&rec);
	return ticket;
}

static void
remove_sub(struct session *session, struct session_sub *sub, uint64_t *ticket_out)
{
	remove_from_tree(session, sub);
	session_replay_close(session, sub, true);
	if (session_is_stored(session)) {
		*ticket_out = session_put(session->table,
		    &(struct store_op){
			.kind = STORE_SUB_DEL, .sid = session->sid, .key = session_sub_key(sub)});
	}
	if (sub->share_len != 0) {
		session_queue_give_back(session, sub);
	}
	leave(session->subs, sub);
	mem_free(&sub);
}

/* A new one, in the tree and here. */
static int
insert(struct session *session, const struct session_subscribe *subscribe,
    struct session_sub **sub_out)
{
	struct session_sub *sub;
	int result = ERR_NOMEM;

	make_subs(session);
	sub = reserve(session) ? make(subscribe) : NULL;
	if (sub != NULL) {
		result = add_to_tree(session, sub, subscribe);
	}
	if (result < 0) {
		mem_free(&sub);
		drop_if_empty(session);
		return result;
	}
	enter(session->subs, sub);
	if (sub->share_len != 0) {
		name_group(session, sub);
	}
	*sub_out = sub;
	return 0;
}

/* The place of the subscription in time, and the replay that it asks for. */
static void
begin_replay(struct session *session, struct session_sub *sub, bool is_new, uint64_t *ticket_out)
{
	struct session_subs *subs = session->subs;
	uint64_t asof = 0;
	/* Retain Handling: 0 always, 1 if new, 2 never [MQTT-3.3.1-9] ff. What an earlier SUBSCRIBE
	 * still owes goes on. */
	bool wanted = sub->retain_handling == 0 || (sub->retain_handling == 1 && is_new);

	if (is_new || wanted) {
		asof = topic_retain_asof(session->table->house->retain);
	}
	if (is_new) {
		sub->asof = asof;
		subs->max_asof = asof > subs->max_asof ? asof : subs->max_asof;
	}
	if (wanted) {
		session_replay_begin(
		    session, sub, asof, session_is_stored(session) ? *ticket_out : 0, true);
	}
}

int
session_subscribe(
    struct session *session, const struct session_subscribe *subscribe, uint64_t *ticket_out)
{
	struct session_sub *sub = find(session, subscribe->filter);
	int64_t most = session->limits->max_subscriptions;
	bool is_new = sub == NULL || !bytes_equal(session_sub_full(sub), full_of(subscribe));
	int result;

	if (full_of(subscribe).len > UINT16_MAX ||
	    (sub == NULL && most > 0 && session_subscription_count(session) >= (size_t)most)) {
		return ERR_LIMIT;
	}
	if (sub != NULL && is_new) {
		remove_sub(session, sub, ticket_out);
	}
	if (is_new) {
		result = insert(session, subscribe, &sub);
	} else {
		result = add_to_tree(session, sub, subscribe);
		if (result >= 0) {
			set_options(sub, subscribe);
		}
	}
	if (result < 0) {
		return result;
	}
	if (session_is_stored(session)) {
		*ticket_out = put_sub(session, sub);
	}
	if (sub->share_len == 0) {
		begin_replay(session, sub, is_new, ticket_out);
	}
	return 0;
}

bool
session_unsubscribe(struct session *session, struct bytes filter, uint64_t *ticket_out)
{
	struct session_sub *sub = find(session, filter);

	if (sub == NULL) {
		return false;
	}
	remove_sub(session, sub, ticket_out);
	drop_if_empty(session);
	return true;
}

void
session_each_subscription(struct session *session,
    bool (*fn)(struct session *session, const struct session_subscribe *subscription, void *arg),
    void *arg)
{
	uint64_t ticket = 0;

	/* Backwards: what is removed is replaced by one that was seen. */
	for (size_t i = session_subscription_count(session); i-- > 0;) {
		struct session_sub *sub = session->subs->items[i];
		struct session_subscribe subscription = {.filter = session_sub_filter(sub),
		    .full_filter = session_sub_full(sub),
		    .share_name = session_sub_share_name(sub),
		    .subscription_id = sub->subscription_id,
		    .qos = sub->qos,
		    .no_local = (sub->flags & TOPIC_NO_LOCAL) != 0,
		    .retain_as_published = (sub->flags & TOPIC_RETAIN_AS_PUBLISHED) != 0,
		    .retain_handling = sub->retain_handling};

		if (!fn(session, &subscription, arg)) {
			remove_sub(session, sub, &ticket);
		}
	}
	drop_if_empty(session);
}

/* --- loading and ending --- */

int
session_sub_load(struct session *session, const struct session_subscribe *subscribe)
{
	struct session_sub *sub;

	/* What was loaded was published before all that is published from now on: asof is 0. */
	return insert(session, subscribe, &sub);
}

void
session_subs_leave_tree(struct session *session)
{
	for (size_t i = 0; session->subs != NULL && i < session->subs->count; i++) {
		remove_from_tree(session, session->subs->items[i]);
		session_replay_close(session, session->subs->items[i], false);
	}
}

void
session_subs_free(struct session *session)
{
	struct session_subs *subs = session->subs;

	if (subs == NULL) {
		return;
	}
	for (size_t i = 0; i < subs->count; i++) {
		session_replay_close(session, subs->items[i], false);
		mem_free(&subs->items[i]);
	}
	counter_sub(COUNTER_SUBSCRIPTIONS, subs->count);
	subs->count = 0;
	drop_if_empty(session);
}
