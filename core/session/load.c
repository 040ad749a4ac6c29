/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions as the store holds them (flows 2, 8, 9). On main, before workers start: so tables, ports
 * and the tree may be touched from here.
 *
 * The engine gives messages, sessions, subscriptions and replays first, then the rows by qid, then
 * the rest. Sessions and what they have subscribed to are taken down and put together before the
 * first row, dealt to the workers in turn; of equal client ids the larger sid wins. A row goes to
 * its session at once: there may be millions. What names a session that is not there is deleted,
 * but a row that names a shared group moves at the end to another persistent member, if there is
 * one and it was not sent as QoS 2.
 *
 * Sessions that were connected count as disconnected now. Losers and transient sessions fire their
 * wills and end in their workers' first turn, as do those that have expired meanwhile.
 *
 * Longer than the guide: the loader's tables are of no use to anybody else.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/err.h"
#include "conf/conf.h"
#include "session/record.h"
#include "session/session_int.h"
#include "store/loaded.h"
#include "wire/topic_name.h"

struct load_session {
	uint64_t sid;
	struct bytes client_id, rec;
};

/* Of a subscription, a cursor or a will. */
struct load_item {
	uint64_t sid;
	struct bytes key, rec;
	struct msg *msg; /* owned */
};

struct load_row {
	uint64_t sid, qid, mid;
	struct bytes rec;
	uint16_t packet_id;
	uint8_t state;
};

struct load_received {
	uint64_t sid;
	uint16_t packet_id;
};

struct load_retained {
	uint64_t mid, version;
};

struct load_client {
	struct bytes client_id;
};

struct session_loader {
	struct session_house *house;
	struct session_table *const *tables;
	size_t table_count;
	const struct session_limits *limits;
	struct conf *conf;
	int64_t wall_ms;
	struct arena arena;
	VEC(struct load_session) sessions;
	VEC(struct load_item) subs;
	VEC(struct load_item) cursors;
	VEC(struct load_item) wills;
	VEC(struct load_row) orphans; /* rows whose session is not there, for the end */
	bool has_begun;               /* sessions and subscriptions are put together */
	VEC(struct load_received) received;
	VEC(struct load_retained) retained;
	struct store_loaded messages;
	struct map by_sid;  /* struct session */
	struct map clients; /* struct load_client, in the arena */
	char *why;
	size_t why_size;
	bool failed;
};

static void
fail(struct session_loader *loader, const char *what, uint64_t sid)
{
	if (!loader->failed) {
		loader->failed = true;
		snprintf(loader->why, loader->why_size,
		    "the record of a %s (session %" PRIu64 ") is not understood: it was written by "
		    "a newer version, or it is damaged",
		    what, sid);
	}
}

/* --- taking down --- */

static struct bytes
keep(struct session_loader *loader, struct bytes bytes)
{
	return bytes_make(arena_text(&loader->arena, bytes), bytes.len);
}

static void
take_session(void *arg, uint64_t sid, struct bytes client_id, struct bytes rec)
{
	struct session_loader *loader = arg;

	vec_push(&loader->sessions,
	    (struct load_session){sid, keep(loader, client_id), keep(loader, rec)});
}

static void
take_subscription(void *arg, uint64_t sid, struct bytes filter, struct bytes rec)
{
	struct session_loader *loader = arg;

	vec_push(
	    &loader->subs, (struct load_item){sid, keep(loader, filter), keep(loader, rec), NULL});
}

static void
take_cursor(void *arg, uint64_t sid, struct bytes filter)
{
	struct session_loader *loader = arg;

	vec_push(&loader->cursors, (struct load_item){sid, keep(loader, filter), {NULL, 0}, NULL});
}

static void
take_will(void *arg, uint64_t sid, struct msg *msg, struct bytes rec)
{
	struct session_loader *loader = arg;

	vec_push(&loader->wills, (struct load_item){sid, {NULL, 0}, keep(loader, rec), msg});
}

static void
take_message(void *arg, uint64_t mid, struct msg *msg)
{
	struct session_loader *loader = arg;

	if (!store_loaded_add(&loader->messages, mid, msg)) {
		msg_unref(&msg);
	}
}

static void take_row(void *arg, uint64_t sid, uint64_t qid, uint64_t mid, uint8_t state,
    uint16_t packet_id, struct bytes rec);

static void
take_received(void *arg, uint64_t sid, uint16_t packet_id)
{
	struct session_loader *loader = arg;

	vec_push(&loader->received, (struct load_received){sid, packet_id});
}

static void
take_retained(void *arg, struct bytes topic, uint64_t mid, uint64_t version)
{
	struct session_loader *loader = arg;

	(void)topic;
	vec_push(&loader->retained, (struct load_retained){mid, version});
}

static const struct store_load_ops takers = {
    .session = take_session,
    .subscription = take_subscription,
    .message = take_message,
    .queue = take_row,
    .received = take_received,
    .retained = take_retained,
    .will = take_will,
    .cursor = take_cursor,
};

/* --- looking up --- */

static struct bytes
sid_of(const void *item)
{
	const struct session *session = item;

	return bytes_make(&session->sid, sizeof(session->sid));
}

static struct bytes
client_id_of(const void *item)
{
	const struct load_client *client = item;

	return client->client_id;
}

/* One that stays: neither a loser nor transient. */
static struct session *
find_session(const struct session_loader *loader, uint64_t sid, bool *known_out)
{
	struct session *session = map_find(&loader->by_sid, bytes_make(&sid, sizeof(sid)));

	*known_out = session != NULL;
	return session != NULL && session->persistent && !session->ending ? session : NULL;
}

/* Deletes what belongs to nobody. What belongs to a session that ends goes with it. */
static void
put_orphan(const struct session_loader *loader, const struct store_op *op)
{
	session_put(loader->tables[0], op);
}

/* --- sessions --- */

static int
newest_first(const void *a, const void *b)
{
	const struct load_session *left = a, *right = b;

	return left->sid > right->sid ? -1 : left->sid < right->sid;
}

static void
make_session(struct session_loader *loader, size_t index)
{
	const struct load_session *item = &loader->sessions.items[index];
	struct session_table *table = loader->tables[index % loader->table_count];
	struct session_record_session record;
	struct load_client *name;
	struct msg_client *client;
	struct session *session;
	int64_t left_ms, asleep_ms;
	bool wins;

	if (!session_record_session_decode(item->rec, &record)) {
		fail(loader, "session", item->sid);
		return;
	}
	wins = map_find(&loader->clients, item->client_id) == NULL;
	if (wins) {
		name = arena_alloc(&loader->arena, sizeof(*name));
		name->client_id = item->client_id;
		map_put(&loader->clients, name);
	}
	record.client.client_id = item->client_id;
	client = msg_client_new(&record.client);
	session = session_make(table, client, item->sid, wins);
	msg_client_unref(&client);
	session_set_limits(session, loader->limits, loader->conf);
	session->expiry_s = record.transient ? 0 : record.expiry_s;
	session->persistent = !record.transient;
	session->has_row = true;
	session->ending = !wins;
	/* A clock that was before 1970 says no more than "long ago". */
	left_ms = record.left_wall_ms > 0 ? record.left_wall_ms : 0;
	asleep_ms = record.connected || loader->wall_ms < left_ms ? 0 : loader->wall_ms - left_ms;
	session_fall_asleep(session, -asleep_ms); /* table's start adds the time */
	map_put(&loader->by_sid, session);
	vec_push(
	    &table->loaded, (struct session_loaded){.slot = session->slot,
				.generation = session_generation(session),
				.was_connected = record.connected && session->persistent && wins});
}

/* --- what they have --- */

/* The filter as the client wrote it: the key without the prefix, which stands behind `head` bytes.
 */
static struct bytes
strip_prefix(struct session_loader *loader, struct bytes key, size_t head, size_t prefix_len)
{
	struct bytes rest = bytes_skip(key, head + prefix_len);
	uint8_t *filter;

	if (head == 0 || prefix_len == 0) {
		return bytes_skip(key, prefix_len);
	}
	filter = arena_alloc(&loader->arena, head + rest.len);
	memcpy(filter, key.data, head);
	memcpy(filter + head, rest.data, rest.len);
	return bytes_make(filter, head + rest.len);
}

/* False: the record makes no sense. */
static bool
read_sub(struct session_loader *loader, const struct load_item *item,
    struct session_subscribe *subscribe_out)
{
	struct session_record_sub record;
	struct bytes name = {NULL, 0}, full = item->key;
	size_t head;

	if (!session_record_sub_decode(item->rec, &record) ||
	    (record.shared && !wire_topic_share_split(item->key, &name, &full)) ||
	    record.prefix_len > full.len) {
		return false;
	}
	head = item->key.len - full.len;
	*subscribe_out = (struct session_subscribe){
	    .filter = strip_prefix(loader, item->key, head, record.prefix_len),
	    .full_filter = full,
	    .share_name = name,
	    .subscription_id = record.subscription_id,
	    .qos = record.qos,
	    .no_local = record.no_local,
	    .retain_as_published = record.retain_as_published,
	    .retain_handling = record.retain_handling};
	return true;
}

static void
load_sub(struct session_loader *loader, const struct load_item *item)
{
	bool known;
	struct session *session = find_session(loader, item->sid, &known);
	struct session_subscribe subscribe;

	if (session == NULL) {
		if (!known) {
			put_orphan(
			    loader, &(struct store_op){
					.kind = STORE_SUB_DEL, .sid = item->sid, .key = item->key});
		}
		return;
	}
	if (!read_sub(loader, item, &subscribe)) {
		fail(loader, "subscription", item->sid);
		return;
	}
	if (session_sub_load(session, &subscribe) != 0 && !loader->failed) {
		loader->failed = true;
		snprintf(loader->why, loader->why_size,
		    "there is no memory for the subscriptions of session %" PRIu64, item->sid);
	}
}

static void
load_cursor(struct session_loader *loader, const struct load_item *item)
{
	bool known;
	struct session *session = find_session(loader, item->sid, &known);
	struct session_sub *sub = session != NULL ? session_sub_by_key(session, item->key) : NULL;

	if (sub != NULL && sub->share_len == 0) {
		/* asof is drawn when the session is resumed. */
		session_replay_begin(session, sub, 0, 0, false);
	} else if (!known || session != NULL) {
		put_orphan(
		    loader, &(struct store_op){
				.kind = STORE_CURSOR_DEL, .sid = item->sid, .key = item->key});
	}
}

static void
load_will(struct session_loader *loader, struct load_item *item)
{
	struct session *session =
	    map_find(&loader->by_sid, bytes_make(&item->sid, sizeof(item->sid)));
	uint32_t delay_s;

	if (session == NULL || session->will != NULL) {
		put_orphan(loader, &(struct store_op){.kind = STORE_WILL_DEL, .sid = item->sid});
		return;
	}
	if (!session_record_will_decode(item->rec, &delay_s)) {
		fail(loader, "will", item->sid);
		return;
	}
	session->will = mem_zalloc(sizeof(*session->will));
	*session->will =
	    (struct session_will){.msg = item->msg, .delay_s = delay_s, .stored = true};
	item->msg = NULL;
}

static void
load_received(struct session_loader *loader, const struct load_received *item)
{
	bool known;
	struct session *session = find_session(loader, item->sid, &known);

	if (session != NULL) {
		session_inbox_load(session, item->packet_id);
	} else if (!known) {
		put_orphan(loader,
		    &(struct store_op){
			.kind = STORE_RECV_DEL, .sid = item->sid, .packet_id = item->packet_id});
	}
}

/* --- rows --- */

static void
load_row(struct session *session, const struct load_row *row, struct session_delivery *delivery,
    struct bytes group_name)
{
	const struct session_sub *sub =
	    group_name.len != 0 ? session_sub_by_key(session, group_name) : NULL;

	delivery->flags &= (uint8_t) ~(SESSION_SHARED | SESSION_DUP);
	delivery->flags |= SESSION_GATED;
	if (sub != NULL) {
		delivery->flags |= SESSION_SHARED;
		delivery->group = sub->group;
	}
	if (row->packet_id != 0) {
		delivery->packet_id = row->packet_id;
		if (session_inflight_load(session, delivery, row->state == STORE_RELEASED)) {
			return;
		}
		delivery->packet_id = 0;
	}
	if (!session_queue_push(session, SESSION_RING_QOS12, delivery)) {
		session_drop(session, delivery, SESSION_DROP_MEMORY);
	}
}

/* A persistent member of the group, one of them by the row's number. */
static struct session *
choose_member(const struct session_loader *loader, struct bytes group_name, uint64_t qid)
{
	const struct topic_group *group = NULL;
	struct session *found = NULL;
	struct bytes name, filter;
	uint64_t count = 0;

	if (wire_topic_share_split(group_name, &name, &filter)) {
		group = topic_tree_find_group(loader->house->tree, name, filter);
	}
	for (uint32_t i = 0; group != NULL && i < group->member_count; i++) {
		const struct topic_subscriber *member = &group->members[i].subscriber;
		bool known;
		struct session *session = find_session(loader, member->sid, &known);

		/* The chance of the n-th to be taken is 1/n. */
		if ((member->flags & TOPIC_PERSISTENT) != 0 && session != NULL &&
		    qid % ++count == 0) {
			found = session;
		}
	}
	return found;
}

/* The same message for another member, on disk and here; in one chunk with the deletion of the old
 * row. */
static void
move_row(struct session *session, struct session_delivery *delivery, uint64_t old_sid,
    struct bytes group_name)
{
	struct session_table *table = session->table;
	const struct session_sub *sub = session_sub_by_key(session, group_name);
	uint8_t most = delivery->msg->qos;
	struct buf rec;

	if (session_limits_of(session)->upgrade_outgoing_qos || most > sub->qos) {
		most = sub->qos;
	}
	session_delete_row(table, old_sid, delivery);
	if (most == 0) {
		session_drop(session, delivery, SESSION_DROP_QOS0_OFFLINE);
		return;
	}
	if (delivery->subscription_id_count > 1) {
		mem_free(&delivery->subscription_ids);
	}
	delivery->subscription_id = sub->subscription_id;
	delivery->subscription_id_count = sub->subscription_id != 0;
	delivery->qos = most;
	delivery->flags = SESSION_SHARED | SESSION_GIVEN_BACK | SESSION_GATED;
	if ((delivery->msg->flags & MSG_RETAIN) != 0 &&
	    (sub->flags & TOPIC_RETAIN_AS_PUBLISHED) != 0) {
		delivery->flags |= SESSION_RETAIN;
	}
	delivery->group = sub->group;
	delivery->qid = session_table_draw_id(table);
	buf_init(&rec, SIZE_MAX);
	session_record_queue_encode(delivery, group_name, &rec);
	session_put(table, &(struct store_op){.kind = STORE_QUEUE_PUT,
			       .sid = session->sid,
			       .qid = delivery->qid,
			       .msg = delivery->msg,
			       .rec = buf_bytes(&rec)});
	buf_fini(&rec);
	if (!session_queue_push(session, SESSION_RING_QOS12, delivery)) {
		session_drop(session, delivery, SESSION_DROP_MEMORY);
	}
}

static void
load_orphan(struct session_loader *loader, const struct load_row *row,
    struct session_delivery *delivery, struct bytes group_name)
{
	struct session *heir = NULL;

	/* QoS 2 that was sent is never given to another. */
	if (group_name.len != 0 && !(delivery->qos == 2 && row->packet_id != 0)) {
		heir = choose_member(loader, group_name, row->qid);
	}
	if (heir != NULL) {
		move_row(heir, delivery, row->sid, group_name);
		return;
	}
	session_delete_row(loader->tables[0], row->sid, delivery);
	session_delivery_fini(delivery);
}

static void
load_orphan_row(struct session_loader *loader, const struct load_row *row)
{
	struct session_delivery delivery = {.qid = row->qid};
	struct msg *msg = store_loaded_find(&loader->messages, row->mid);
	struct bytes group_name;

	if (!session_record_queue_decode(row->rec, &delivery, &group_name)) {
		fail(loader, "queued message", row->sid);
		return;
	}
	delivery.msg = msg_ref(msg);
	load_orphan(loader, row, &delivery, group_name);
}

static void begin_rows(struct session_loader *loader);

static void
take_row(void *arg, uint64_t sid, uint64_t qid, uint64_t mid, uint8_t state, uint16_t packet_id,
    struct bytes rec)
{
	struct session_loader *loader = arg;
	struct load_row row = {
	    .sid = sid, .qid = qid, .mid = mid, .rec = rec, .packet_id = packet_id, .state = state};
	struct session_delivery delivery = {.qid = qid};
	struct msg *msg = store_loaded_find(&loader->messages, mid);
	struct session *session;
	struct bytes group_name;
	bool known;

	begin_rows(loader);
	if (loader->failed || msg == NULL) {
		return; /* a row without its message: the store has deleted it */
	}
	session = find_session(loader, sid, &known);
	if (session == NULL) {
		row.rec = keep(loader, rec);
		vec_push(&loader->orphans, row);
	} else if (!session_record_queue_decode(rec, &delivery, &group_name)) {
		fail(loader, "queued message", sid);
	} else {
		delivery.msg = msg_ref(msg);
		load_row(session, &row, &delivery, group_name);
	}
}

/* --- all of it --- */

static void
begin_rows(struct session_loader *loader)
{
	if (loader->has_begun) {
		return;
	}
	loader->has_begun = true;
	/* qsort wants no NULL. */
	if (loader->sessions.count != 0) {
		qsort(loader->sessions.items, loader->sessions.count, sizeof(struct load_session),
		    newest_first);
	}
	for (size_t i = 0; i < loader->sessions.count; i++) {
		make_session(loader, i);
	}
	for (size_t i = 0; i < loader->subs.count && !loader->failed; i++) {
		load_sub(loader, &loader->subs.items[i]);
	}
	for (size_t i = 0; i < loader->cursors.count && !loader->failed; i++) {
		load_cursor(loader, &loader->cursors.items[i]);
	}
}

static void
put_together(struct session_loader *loader)
{
	begin_rows(loader);
	for (size_t i = 0; i < loader->wills.count && !loader->failed; i++) {
		load_will(loader, &loader->wills.items[i]);
	}
	for (size_t i = 0; i < loader->received.count; i++) {
		load_received(loader, &loader->received.items[i]);
	}
	/* What moves comes behind what its new owner has. */
	for (size_t i = 0; i < loader->orphans.count && !loader->failed; i++) {
		load_orphan_row(loader, &loader->orphans.items[i]);
	}
	for (size_t i = 0; i < loader->retained.count && !loader->failed; i++) {
		struct msg *msg =
		    store_loaded_find(&loader->messages, loader->retained.items[i].mid);

		if (msg != NULL) {
			topic_retain_load(
			    loader->house->retain, msg_ref(msg), loader->retained.items[i].version);
		}
	}
}

static void
fini(struct session_loader *loader)
{
	struct load_item *will;

	store_loaded_fini(&loader->messages);
	vec_each (will, &loader->wills) {
		msg_unref(&will->msg);
	}
	map_fini(&loader->by_sid);
	map_fini(&loader->clients);
	vec_fini(&loader->sessions);
	vec_fini(&loader->subs);
	vec_fini(&loader->cursors);
	vec_fini(&loader->wills);
	vec_fini(&loader->orphans);
	vec_fini(&loader->received);
	vec_fini(&loader->retained);
	arena_fini(&loader->arena);
}

int
session_load(struct session_house *house, struct session_table *const *tables, size_t count,
    const struct session_limits *limits, struct conf *conf, int64_t wall_ms, char *why,
    size_t why_size)
{
	struct session_loader loader = {.house = house,
	    .tables = tables,
	    .table_count = count,
	    .limits = limits,
	    .conf = conf,
	    .wall_ms = wall_ms,
	    .why = why,
	    .why_size = why_size};
	struct hash_key key = session_directory_hash_key(house->directory);
	int error;

	if (house->store == NULL || count == 0) {
		return 0;
	}
	arena_init(&loader.arena);
	map_init(&loader.by_sid, sid_of, key);
	map_init(&loader.clients, client_id_of, key);
	error = store_load(house->store, &house->ids, &takers, &loader, why, why_size);
	if (error == 0) {
		put_together(&loader);
		error = loader.failed ? ERR_INVALID : 0;
	}
	fini(&loader);
	return error;
}
