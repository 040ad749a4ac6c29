/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What falls away in a cut. All operations of a transaction take effect at once, so of several
 * about the same thing only the newest need be written, and what comes and goes within the cut need
 * not be written at all. An item stands for a thing: a session, a subscription, a replay's cursor,
 * a will, a received packet id, a queue row, a retained topic; it points to the records about it
 * that are still alive. While the store fails one cut grows for long; then this is what bounds it.
 *
 * - A row that is put and deleted in the cut falls away with its states; so does a received packet
 * id. A packet id may be deleted and put again: then both stay, and the next deletion takes the
 * put.
 * - SESSION_DEL takes with it whatever the cut holds about the session but rows, which
 *   have their own deletions, and falls away itself if the engine never saw the session.
 * - A retained topic's operation with an older version than the applied one is skipped. One that
 *   deletes what the engine never saw falls away.
 *
 * Messages: `store_rows` counts rows and retained topics that name one, `store_kept` says that the
 * engine holds it. A message is in the list `messages` while these two disagree: its MSG_PUT or
 * MSG_DEL joins the transaction, and when the cut is durable they agree again.
 *
 * Order of a transaction: MSG_PUTs by id, QUEUE_PUTs by id (engines append), everything else as it
 * came, MSG_DELs.
 */
#include "store/cut_int.h"

#include <stdlib.h>

#include "base/counter.h"
#include "base/err.h"

enum { TRIM_SIZE = 65536 };

/* The first byte of an item's key; behind it an id and, where the id does not say all, more. */
enum item_class {
	ITEM_SESSION = 'S', /* sid */
	ITEM_SUB = 'F',     /* sid, filter */
	ITEM_CURSOR = 'C',  /* sid, filter */
	ITEM_WILL = 'W',    /* sid */
	ITEM_RECV = 'R',    /* sid, packet id */
	ITEM_ROW = 'Q',     /* qid */
	ITEM_TOPIC = 'T',   /* address of its msg_applied, which its operations keep alive */
	ITEM_MSG = 'M',     /* address */
};

struct item {
	struct list_link link;      /* in its session's list, or among the cut's messages */
	struct list children;       /* of a session: items that go with it */
	struct store_record *now;   /* the newest that is alive */
	struct store_record *other; /* a row's state; the RECV_DEL before a RECV_PUT */
	struct msg *msg;            /* of a message; owned */
	bool stored;                /* of a topic: the engine holds one from before the cut */
	size_t key_len;
	uint8_t key[];
};

static struct bytes
key_of(const void *item)
{
	const struct item *self = item;

	return bytes_make(self->key, self->key_len);
}

void
store_cut_init(struct store_cut *cut, struct hash_key hash_key)
{
	*cut = (struct store_cut){0};
	map_init(&cut->items, key_of, hash_key);
	list_init(&cut->messages);
	buf_init(&cut->key, SIZE_MAX);
}

/* --- items --- */

static struct bytes
make_key(struct store_cut *cut, enum item_class class, uint64_t id, struct bytes more)
{
	buf_clear(&cut->key);
	buf_append_byte(&cut->key, (uint8_t) class);
	buf_append(&cut->key, &id, sizeof(id));
	buf_append_bytes(&cut->key, more);
	if (cut->key.failed) {
		err_fatal("out of memory");
	}
	return buf_bytes(&cut->key);
}

static struct item *
get_item(struct store_cut *cut, enum item_class class, uint64_t id, struct bytes more)
{
	struct bytes key = make_key(cut, class, id, more);
	struct item *item = map_find(&cut->items, key);

	if (item == NULL) {
		item = mem_zalloc(sizeof(*item) + key.len);
		list_init(&item->children);
		item->key_len = key.len;
		memcpy(item->key, key.data, key.len);
		(void)map_put(&cut->items, item);
	}
	return item;
}

/* One that goes when its session goes. */
static struct item *
get_child(struct store_cut *cut, enum item_class class, uint64_t sid, struct bytes more)
{
	struct item *item = get_item(cut, class, sid, more);

	if (!list_is_linked(&item->link)) {
		struct item *session = get_item(cut, ITEM_SESSION, sid, bytes_make(NULL, 0));

		list_append(&session->children, &item->link);
	}
	return item;
}

static void
free_item(struct item *item)
{
	msg_unref(&item->msg);
	mem_free(&item);
}

static void
remove_item(struct store_cut *cut, struct item *item)
{
	(void)map_take(&cut->items, key_of(item));
	list_remove(&item->link);
	free_item(item);
}

/* All at once, in any order: nobody looks at their lists any more. */
static void
clear_items(struct store_cut *cut)
{
	struct item *item;

	map_each (item, &cut->items) {
		free_item(item);
	}
	map_fini(&cut->items);
	list_init(&cut->messages);
}

void
store_cut_fini(struct store_cut *cut)
{
	clear_items(cut);
	store_records_fini(&cut->records);
	store_idset_fini(&cut->sessions);
	buf_fini(&cut->key);
	vec_fini(&cut->ops);
	vec_fini(&cut->msg_ops);
}

/* --- records --- */

static bool
is_kind(const struct store_record *record, enum store_kind kind)
{
	return record != NULL && record->op.kind == kind;
}

static void
drop(struct store_cut *cut, struct store_record *record)
{
	if (record != NULL) {
		record->dropped = true;
		record->home = NULL;
		store_record_release(record);
		cut->dropped_size += record->size;
		cut->dropped_count++;
	}
}

static void
hold(struct store_record **home, struct store_record *record)
{
	*home = record;
	if (record != NULL) {
		record->home = home;
	}
}

static void
replace(struct store_cut *cut, struct store_record **home, struct store_record *record)
{
	drop(cut, *home);
	hold(home, record);
}

/* --- messages --- */

static uint64_t
message_id(const struct msg *msg)
{
	return atomic_load_explicit(&msg->store_id, memory_order_relaxed);
}

static bool
disagrees(const struct msg *msg)
{
	return (msg->store_rows != 0) != msg->store_kept;
}

static struct item *
message_item(struct store_cut *cut, struct msg *msg)
{
	return get_item(cut, ITEM_MSG, (uint64_t)(uintptr_t)msg, bytes_make(NULL, 0));
}

static void
list_message(struct store_cut *cut, struct msg *msg)
{
	struct item *item = message_item(cut, msg);

	item->msg = msg_ref(msg);
	list_append(&cut->messages, &item->link);
}

static void
change_rows(struct store_cut *cut, struct msg *msg, bool up)
{
	bool disagreed = disagrees(msg);

	if (err_impossible(!up && msg->store_rows == 0)) {
		return;
	}
	msg->store_rows = up ? msg->store_rows + 1 : msg->store_rows - 1;
	if (disagrees(msg) == disagreed) {
		return;
	}
	if (disagreed) {
		remove_item(cut, message_item(cut, msg));
	} else {
		list_message(cut, msg);
	}
}

void
store_cut_orphan(struct store_cut *cut, struct msg *msg)
{
	if (disagrees(msg)) {
		list_message(cut, msg);
	}
}

/* The caller has named the message; one without a name is not written. */
static bool
is_named(const struct store_op *op)
{
	return !err_impossible(op->msg == NULL || op->mid == 0);
}

/* --- absorbing --- */

static void
absorb_session_del(struct store_cut *cut, struct store_record *record)
{
	struct item *session = get_item(cut, ITEM_SESSION, record->op.sid, bytes_make(NULL, 0));

	list_each (link, &session->children) {
		struct item *child = list_item(link, struct item, link);

		drop(cut, child->now);
		drop(cut, child->other);
		remove_item(cut, child);
	}
	replace(cut, &session->now, record);
	if (!store_idset_has(&cut->sessions, record->op.sid)) {
		drop(cut, record);
		remove_item(cut, session);
	}
}

static void
absorb_newest(struct store_cut *cut, struct store_record *record, enum item_class class)
{
	struct item *item = get_child(cut, class, record->op.sid, record->op.key);

	replace(cut, &item->now, record);
}

static void
absorb_recv(struct store_cut *cut, struct store_record *record)
{
	struct bytes packet_id = bytes_make(&record->op.packet_id, sizeof(record->op.packet_id));
	struct item *item = get_child(cut, ITEM_RECV, record->op.sid, packet_id);
	bool puts = is_kind(record, STORE_RECV_PUT);

	if (puts && is_kind(item->now, STORE_RECV_DEL)) {
		hold(&item->other, item->now);
		hold(&item->now, record);
	} else if (!puts && is_kind(item->now, STORE_RECV_PUT)) {
		drop(cut, record);
		replace(cut, &item->now, item->other);
		item->other = NULL;
		if (item->now == NULL) {
			remove_item(cut, item);
		}
	} else {
		replace(cut, &item->now, record);
	}
}

static void
absorb_row(struct store_cut *cut, struct store_record *record)
{
	struct store_op *op = &record->op;
	struct item *item = get_item(cut, ITEM_ROW, op->qid, bytes_make(NULL, 0));

	if (op->kind == STORE_QUEUE_STATE) {
		if (is_kind(item->now, STORE_QUEUE_DEL)) {
			drop(cut, record);
		} else {
			replace(cut, &item->other, record);
		}
		return;
	}
	if (op->kind == STORE_QUEUE_PUT) {
		if (err_impossible(item->now != NULL) || !is_named(op)) {
			drop(cut, record);
		} else {
			hold(&item->now, record);
			change_rows(cut, op->msg, true);
		}
		return;
	}
	if (err_impossible(is_kind(item->now, STORE_QUEUE_DEL))) { /* a row has one deleter */
		drop(cut, record);
		return;
	}
	if (op->msg != NULL) {
		change_rows(cut, op->msg, false);
	}
	drop(cut, item->other);
	item->other = NULL;
	if (item->now != NULL) {
		drop(cut, item->now);
		drop(cut, record);
		remove_item(cut, item);
	} else {
		hold(&item->now, record);
	}
}

static void
absorb_topic(struct store_cut *cut, struct store_record *record)
{
	struct store_op *op = &record->op;
	struct msg_applied *applied = op->applied;
	struct msg *old;
	struct item *item;

	if (applied == NULL) { /* a loaded row that nobody knows; deleted without accounting */
		return;
	}
	if (op->version < applied->version || (op->kind == STORE_RETAIN_PUT && !is_named(op))) {
		drop(cut, record);
		return;
	}
	old = applied->msg;
	item = get_item(cut, ITEM_TOPIC, (uint64_t)(uintptr_t)applied, bytes_make(NULL, 0));
	if (item->now == NULL) {
		item->stored = old != NULL;
	}
	applied->version = op->version;
	applied->msg = NULL;
	if (op->kind == STORE_RETAIN_PUT) {
		applied->msg = msg_ref(op->msg);
		change_rows(cut, op->msg, true);
	}
	if (old != NULL) {
		change_rows(cut, old, false);
		msg_unref(&old);
	}
	replace(cut, &item->now, record);
	if (op->kind == STORE_RETAIN_DEL && !item->stored) {
		drop(cut, record); /* its entry, and `applied` in it, may be gone now */
		remove_item(cut, item);
	}
}

static void
absorb(struct store_cut *cut, struct store_record *record)
{
	if (record->op.msg != NULL) {
		record->op.mid = message_id(record->op.msg);
	}
	switch (record->op.kind) {
	case STORE_SESSION_PUT:
		replace(cut, &get_item(cut, ITEM_SESSION, record->op.sid, bytes_make(NULL, 0))->now,
		    record);
		break;
	case STORE_SESSION_DEL:
		absorb_session_del(cut, record);
		break;
	case STORE_SUB_PUT:
	case STORE_SUB_DEL:
		absorb_newest(cut, record, ITEM_SUB);
		break;
	case STORE_CURSOR_PUT:
	case STORE_CURSOR_DEL:
		absorb_newest(cut, record, ITEM_CURSOR);
		break;
	case STORE_WILL_PUT:
	case STORE_WILL_DEL:
		absorb_newest(cut, record, ITEM_WILL);
		break;
	case STORE_RECV_PUT:
	case STORE_RECV_DEL:
		absorb_recv(cut, record);
		break;
	case STORE_QUEUE_PUT:
	case STORE_QUEUE_STATE:
	case STORE_QUEUE_DEL:
		absorb_row(cut, record);
		break;
	case STORE_RETAIN_PUT:
	case STORE_RETAIN_DEL:
		absorb_topic(cut, record);
		break;
	case STORE_MSG_PUT:
	case STORE_MSG_DEL:
	default:
		(void)err_impossible(true);
		drop(cut, record);
		break;
	}
}

void
store_cut_absorb(struct store_cut *cut, struct store_chunk *chunk)
{
	struct store_record *at = chunk->records.first;

	cut->cost += chunk->cost;
	store_records_join(&cut->records, &chunk->records);
	store_chunk_free(&chunk);
	for (; at != NULL; at = at->next) {
		absorb(cut, at);
	}
}

void
store_cut_trim(struct store_cut *cut)
{
	if (cut->dropped_size > TRIM_SIZE && cut->dropped_size > cut->records.size / 2) {
		store_records_compact(&cut->records);
		cut->dropped_size = 0;
	}
}

/* --- the transaction --- */

static int
by_mid(const void *a, const void *b)
{
	const struct store_op *left = a, *right = b;

	return left->mid < right->mid ? -1 : left->mid > right->mid;
}

static int
by_qid(const void *a, const void *b)
{
	const struct store_op *const *left = a, *const *right = b;

	return (*left)->qid < (*right)->qid ? -1 : (*left)->qid > (*right)->qid;
}

static void
push_msg_ops(struct store_cut *cut, enum store_kind kind)
{
	list_each (link, &cut->messages) {
		struct msg *msg = list_item(link, struct item, link)->msg;

		if ((msg->store_rows != 0) == (kind == STORE_MSG_PUT)) {
			vec_push(&cut->msg_ops,
			    (struct store_op){.kind = kind, .msg = msg, .mid = message_id(msg)});
		}
	}
}

static void
push_queue_puts(struct store_cut *cut)
{
	size_t start = cut->ops.count;
	uint64_t last = 0;
	bool sorted = true;

	for (const struct store_record *at = cut->records.first; at != NULL; at = at->next) {
		if (!at->dropped && at->op.kind == STORE_QUEUE_PUT) {
			vec_push(&cut->ops, &at->op);
			sorted = sorted && at->op.qid > last;
			last = at->op.qid;
		}
	}
	if (!sorted) {
		qsort(cut->ops.items + start, cut->ops.count - start, sizeof(*cut->ops.items),
		    by_qid);
	}
}

size_t
store_cut_assemble(struct store_cut *cut)
{
	size_t put_count, i;

	cut->ops.count = 0;
	cut->msg_ops.count = 0;
	push_msg_ops(cut, STORE_MSG_PUT);
	put_count = cut->msg_ops.count;
	push_msg_ops(cut, STORE_MSG_DEL);
	if (put_count > 1) {
		qsort(cut->msg_ops.items, put_count, sizeof(*cut->msg_ops.items), by_mid);
	}
	for (i = 0; i < put_count; i++) {
		vec_push(&cut->ops, &cut->msg_ops.items[i]);
	}
	push_queue_puts(cut);
	for (const struct store_record *at = cut->records.first; at != NULL; at = at->next) {
		if (!at->dropped && at->op.kind != STORE_QUEUE_PUT) {
			vec_push(&cut->ops, &at->op);
		}
	}
	for (; i < cut->msg_ops.count; i++) {
		vec_push(&cut->ops, &cut->msg_ops.items[i]);
	}
	return cut->ops.count;
}

void
store_cut_settle(struct store_cut *cut)
{
	for (const struct store_record *at = cut->records.first; at != NULL; at = at->next) {
		if (at->dropped) {
			continue;
		}
		if (at->op.kind == STORE_SESSION_PUT) {
			store_idset_add(&cut->sessions, at->op.sid);
		} else if (at->op.kind == STORE_SESSION_DEL) {
			store_idset_remove(&cut->sessions, at->op.sid);
		}
	}
	list_each (link, &cut->messages) {
		struct msg *msg = list_item(link, struct item, link)->msg;

		msg->store_kept = msg->store_rows != 0;
	}
	counter_add(COUNTER_STORE_OPERATIONS, cut->ops.count);
	counter_add(COUNTER_STORE_ANNIHILATED, cut->dropped_count);
	clear_items(cut);
	store_records_fini(&cut->records);
	cut->ops.count = 0;
	cut->msg_ops.count = 0;
	cut->dropped_size = 0;
	cut->dropped_count = 0;
	cut->cost = 0;
}
