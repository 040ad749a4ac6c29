/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session's subscriptions: what the client asked for, beside what stands in the tree. Owned by
 * the session; one compact allocation each. A handful stand in an array; where there are more, in a
 * map by the client's filter and in that alone.
 *
 * The key of a subscription is its filter as the client wrote it. In the tree and in the store it
 * stands with the prefix of the client; a client that comes back with another prefix and subscribes
 * to the same filter moves its subscription.
 *
 * Order (flow 5): first into the tree, then `asof` is drawn, so a publisher that draws a later
 * version sees the subscription.
 *
 * A little longer than the guide: array and map hold the same thing, and nobody else looks inside.
 */
#include "session/session_int.h"

#include "base/err.h"
#include "loop/epoch.h"
#include "session/record.h"
#include "wire/topic_name.h"

enum {
	FIRST_CAP = 1,
	SECOND_CAP = 3,
	MOST_ITEMS = 8, /* beyond that: a map */
	SHARE_LEN = 7,  /* "$share/" */
	CHANGES_PER_TURN = 1000,
};

static struct bytes
filter_of(const void *item)
{
	return session_sub_filter(item);
}

/* --- looking up --- */

static struct map *
map_of(const struct session *session)
{
	const struct session_subs_more *more = session_subs_more_of(session);

	return more != NULL ? more->by_filter : NULL;
}

static struct session_sub *
find(const struct session *session, struct bytes filter)
{
	const struct session_subs *subs = session->subs;
	const struct map *map = map_of(session);

	if (map != NULL) {
		return map_find(map, filter);
	}
	for (uint32_t i = 0; subs != NULL && i < subs->count; i++) {
		if (bytes_equal(session_sub_filter(subs->items[i]), filter)) {
			return subs->items[i];
		}
	}
	return NULL;
}

struct session_sub *
session_sub_next(const struct session *session, size_t *at)
{
	const struct session_subs *subs = session->subs;
	const struct map *map = map_of(session);

	if (map != NULL) {
		*at = map_next(map, *at);
		return *at <= map->mask ? map->slots[(*at)++].item : NULL;
	}
	return subs != NULL && *at < subs->count ? subs->items[(*at)++] : NULL;
}

uint64_t
session_subs_max_asof(const struct session *session)
{
	const struct session_sub *sub;
	uint64_t max = 0;

	if (map_of(session) != NULL) {
		return session->subs->more->max_asof;
	}
	for (size_t at = 0; (sub = session_sub_next(session, &at)) != NULL;) {
		max = sub->share_len == 0 && sub->asof > max ? sub->asof : max;
	}
	return max;
}

struct session_sub *
session_sub_by_group(const struct session *session, uint64_t group)
{
	struct session_sub *sub;

	for (size_t at = 0; (sub = session_sub_next(session, &at)) != NULL;) {
		if (sub->share_len != 0 && sub->group == group) {
			return sub;
		}
	}
	return NULL;
}

struct session_sub *
session_sub_by_key(const struct session *session, struct bytes key)
{
	struct session_sub *sub = find(session, key); /* without a prefix they are the same */

	if (sub != NULL && bytes_equal(session_sub_key(sub), key)) {
		return sub;
	}
	for (size_t at = 0; (sub = session_sub_next(session, &at)) != NULL;) {
		if (bytes_equal(session_sub_key(sub), key)) {
			return sub;
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

static uint32_t
id_of(const struct session_subscribe *subscribe)
{
	return subscribe->parts > 1 ? topic_part_id(subscribe->part, subscribe->parts)
				    : subscribe->subscription_id;
}

static void
set_options(struct session_sub *sub, const struct session_subscribe *subscribe)
{
	sub->subscription_id = id_of(subscribe);
	sub->qos = subscribe->qos & 3U;
	sub->flags = ((subscribe->no_local ? TOPIC_NO_LOCAL : 0) |
			 (subscribe->retain_as_published ? TOPIC_RETAIN_AS_PUBLISHED : 0)) &
		     3;
	sub->retain_handling = subscribe->retain_handling & 3U;
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
	size_t size = offsetof(struct session_sub, text) + key_len + (apart ? filter.len : 0);
	struct session_sub *sub = mem_try_alloc(size > sizeof(*sub) ? size : sizeof(*sub));

	if (sub == NULL) {
		return NULL;
	}
	*sub = (struct session_sub){.full_len = (uint16_t)full.len,
	    .filter_len = (uint16_t)filter.len,
	    .share_len = (uint16_t)share_len,
	    .is_apart = apart};
	memcpy(sub->text, filter.data, head);
	memcpy(sub->text + head, full.data, full.len);
	if (apart) {
		memcpy(sub->text + key_len, filter.data, filter.len);
	}
	set_options(sub, subscribe);
	return sub;
}

static size_t
subs_size(uint32_t cap)
{
	return sizeof(struct session_subs) + cap * sizeof(struct session_sub *);
}

static void
make_subs(struct session *session)
{
	if (session->subs == NULL) {
		session->subs = mem_zalloc(subs_size(FIRST_CAP));
		session->subs->cap = FIRST_CAP;
	}
}

struct session_subs_more *
session_subs_make_more(struct session *session)
{
	struct session_subs *subs = session->subs;

	if (subs->more == NULL) {
		subs->more = mem_zalloc(sizeof(*subs->more));
		subs->more->session = session;
		list_init(&subs->more->replays);
	}
	return subs->more;
}

void
session_subs_settle(struct session *session)
{
	const struct session_subs_more *more = session->subs->more;

	if (more != NULL && more->by_filter == NULL && more->member == NULL &&
	    list_is_empty(&more->replays)) {
		mem_free(&session->subs->more);
	}
}

/* From the array to a map; the array goes. */
static void
make_map(struct session *session)
{
	struct session_subs_more *more = session_subs_make_more(session);
	struct session_subs *subs = session->subs;
	struct map *map = mem_alloc(sizeof(*map));

	map_init(map, filter_of, session->table->hash_key);
	more->max_asof = session_subs_max_asof(session);
	for (uint32_t i = 0; i < subs->count; i++) {
		map_put(map, subs->items[i]);
	}
	more->by_filter = map;
	subs->cap = 0;
	session->subs = mem_realloc(subs, subs_size(0));
}

/* Room for one more; false without memory. */
static bool
reserve(struct session *session)
{
	struct session_subs *subs = session->subs;
	uint32_t cap = subs->cap < SECOND_CAP ? SECOND_CAP : MOST_ITEMS;

	if (map_of(session) == NULL) {
		if (subs->count < subs->cap) {
			return true;
		}
		if (subs->count < MOST_ITEMS) {
			subs = mem_try_realloc(subs, subs_size(cap));
			if (subs == NULL) {
				return false;
			}
			subs->cap = cap;
			session->subs = subs;
			return true;
		}
		make_map(session);
	}
	return map_try_reserve(map_of(session));
}

static void
enter(struct session *session, struct session_sub *sub)
{
	struct session_subs *subs = session->subs;

	if (map_of(session) != NULL) {
		map_put(map_of(session), sub);
	} else {
		subs->items[subs->count] = sub;
	}
	subs->count++;
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
	struct session_subs_more *more = session_subs_more_of(session);

	if (subs == NULL || subs->count != 0) {
		return;
	}
	if (more != NULL) {
		if (more->member != NULL) {
			/* Publishers of this turn may still look at it. */
			epoch_retire(session->table->worker, more->member, free_member);
		}
		if (more->by_filter != NULL) {
			map_fini(more->by_filter);
			mem_free(&more->by_filter);
		}
		mem_free(&subs->more);
	}
	mem_free(&session->subs);
}

/* Takes it out of array or map. */
static void
leave(struct session *session, struct session_sub *sub)
{
	struct session_subs *subs = session->subs;
	uint32_t i = 0;

	subs->count--;
	counter_sub(COUNTER_SUBSCRIPTIONS, 1);
	if (map_of(session) != NULL) {
		map_take(map_of(session), session_sub_filter(sub));
		return;
	}
	while (subs->items[i] != sub) {
		i++;
	}
	subs->items[i] = subs->items[subs->count];
}

/* --- the tree --- */

static int
add_to_tree(struct session *session, const struct session_sub *sub,
    const struct session_subscribe *subscribe)
{
	struct session_table *table = session->table;
	struct session_subs_more *more;
	struct topic_subscriber subscriber = {.sid = session->sid,
	    .slot = session->slot,
	    .generation = session_generation(session),
	    .subscription_id = id_of(subscribe),
	    .worker = (uint16_t)worker_index(table->worker),
	    .qos = subscribe->qos,
	    .flags = (uint8_t)((subscribe->no_local ? TOPIC_NO_LOCAL : 0) |
			       (subscribe->retain_as_published ? TOPIC_RETAIN_AS_PUBLISHED : 0) |
			       (session_is_stored(session) ? TOPIC_PERSISTENT : 0) |
			       (session_limits_of(session)->upgrade_outgoing_qos ? TOPIC_UPGRADE_QOS
										 : 0))};

	if (sub->share_len == 0) {
		return topic_tree_add(
		    table->house->tree, table->worker, session_sub_full(sub), &subscriber);
	}
	more = session_subs_make_more(session);
	if (more->member == NULL) {
		more->member = mem_zalloc(sizeof(*more->member));
		session_show_room(session);
	}
	return topic_tree_share_add(table->house->tree, table->worker, session_sub_share_name(sub),
	    session_sub_full(sub), &subscriber, more->member);
}

static void
remove_from_tree(struct session *session, const struct session_sub *sub)
{
	struct session_table *table = session->table;
	uint16_t worker = (uint16_t)worker_index(table->worker);

	if (sub->share_len == 0) {
		topic_tree_remove(table->house->tree, table->worker, session_sub_full(sub), worker,
		    session->slot, session_generation(session));
	} else {
		topic_tree_share_remove(table->house->tree, table->worker,
		    session_sub_share_name(sub), session_sub_full(sub), worker, session->slot,
		    session_generation(session));
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
	    .prefix_len = (uint16_t)(session_sub_head_len(sub) + sub->full_len - sub->filter_len),
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
		session_wake(session); /* a replay may have waited for those */
	}
	leave(session, sub);
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
	enter(session, sub);
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
	uint64_t asof = 0;
	/* Retain Handling: 0 always, 1 if new, 2 never [MQTT-3.3.1-9] ff. What an earlier SUBSCRIBE
	 * still owes goes on. */
	bool wanted = sub->retain_handling == 0 || (sub->retain_handling == 1 && is_new);

	if (is_new || wanted) {
		asof = topic_retain_asof(session->table->house->retain);
	}
	if (is_new) {
		sub->asof = asof;
		if (map_of(session) != NULL && asof > session->subs->more->max_asof) {
			session->subs->more->max_asof = asof;
		}
	}
	if (wanted) {
		session_replay_begin(
		    session, sub, asof, session_is_stored(session) ? *ticket_out : 0, true);
	}
}

/* A packet may name one filter a million times; and what the tree copies each time, since others
 * may be reading it, is there until the turn ends. Nobody who means it comes near this limit. */
static bool
may_change(struct session *session)
{
	struct session_table *table = session->table;
	uint64_t turn = worker_turns(table->worker);

	if (table->changed_sid != session->sid || table->changed_turn != turn) {
		table->changed_sid = session->sid;
		table->changed_turn = turn;
		table->changes = 0;
	}
	return table->changes++ <
	       CHANGES_PER_TURN + 2 * (uint64_t)session_subscription_count(session);
}

int
session_subscribe(
    struct session *session, const struct session_subscribe *subscribe, uint64_t *ticket_out)
{
	struct session_sub *sub = find(session, subscribe->filter);
	int64_t most = session_limits_of(session)->max_subscriptions;
	bool is_new = sub == NULL || !bytes_equal(session_sub_full(sub), full_of(subscribe));
	int result;

	if (full_of(subscribe).len > UINT16_MAX ||
	    (sub == NULL && most > 0 && session_subscription_count(session) >= (size_t)most) ||
	    !may_change(session)) {
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
		/* What took it away may not be durable yet. */
		if (session_is_stored(session)) {
			*ticket_out = store_last_ticket(session->table->port);
		}
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
	VEC(struct session_sub *) all = {0};
	struct session_sub *sub;
	uint64_t ticket = 0;

	for (size_t at = 0; (sub = session_sub_next(session, &at)) != NULL;) {
		vec_push(&all, sub);
	}
	for (size_t i = 0; i < all.count; i++) {
		struct session_subscribe subscription;

		sub = all.items[i];
		subscription = (struct session_subscribe){.filter = session_sub_filter(sub),
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
	vec_fini(&all);
	drop_if_empty(session);
}

/* --- loading and ending --- */

int
session_sub_load(struct session *session, const struct session_subscribe *subscribe)
{
	struct session_sub *sub;

	if (full_of(subscribe).len > UINT16_MAX || subscribe->filter.len > UINT16_MAX) {
		return ERR_LIMIT;
	}
	/* What was loaded was published before all that is published from now on: asof is 0. */
	return insert(session, subscribe, &sub);
}

void
session_subs_leave_tree(struct session *session)
{
	struct session_sub *sub;

	for (size_t at = 0; (sub = session_sub_next(session, &at)) != NULL;) {
		remove_from_tree(session, sub);
		session_replay_close(session, sub, false);
	}
}

void
session_subs_free(struct session *session)
{
	struct session_sub *sub;

	if (session->subs == NULL) {
		return;
	}
	for (size_t at = 0; (sub = session_sub_next(session, &at)) != NULL;) {
		session_replay_close(session, sub, false);
		mem_free(&sub);
	}
	counter_sub(COUNTER_SUBSCRIPTIONS, session->subs->count);
	session->subs->count = 0;
	drop_if_empty(session);
}
