/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory engine. Everything on the disk is the disk's own copy, so that nothing survives a
 * crash but what was committed. A table is a map from the bytes of a key to rows; ids in keys are
 * big-endian, so that rows sorted by key are sorted by id. Beside what an engine must do it checks
 * what no engine can know: that rows name messages that are there.
 */
#include "store/engine_mem.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/context.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "msg/draft.h"
#include "store/store.h"

enum table {
	TABLE_SESSION, /* sid */
	TABLE_SUB,     /* sid, filter */
	TABLE_CURSOR,  /* sid, filter */
	TABLE_WILL,    /* sid */
	TABLE_RECV,    /* sid, packet id */
	TABLE_MSG,     /* mid */
	TABLE_QUEUE,   /* qid */
	TABLE_RETAIN,  /* topic */
	TABLE_COUNT
};

struct row {
	struct bytes key;
	uint64_t sid;
	uint64_t mid;
	uint64_t version;
	uint16_t packet_id;
	uint8_t state;
	struct msg *msg;   /* the disk's own copy */
	struct bytes name; /* client id or filter */
	struct bytes rec;
};

struct store_disk {
	struct lock lock; /* guards all below */
	struct map tables[TABLE_COUNT];
	bool failing;
};

struct engine_mem {
	struct store_engine engine;
	struct store_disk *disk;
	struct store_mem_options options;
	uint64_t random;
	uint32_t failures_left;
};

/* --- rows --- */

static struct bytes
key_of(const void *item)
{
	return ((const struct row *)item)->key;
}

static struct bytes
copy(struct bytes bytes)
{
	return bytes_make(mem_text(bytes), bytes.len);
}

static void
free_copy(struct bytes *bytes)
{
	union {
		const uint8_t *data;
		uint8_t *own;
	} memory = {.data = bytes->data};

	mem_free(&memory.own);
	*bytes = (struct bytes){0};
}

static void
free_row(struct row *row)
{
	if (row != NULL) {
		free_copy(&row->key);
		free_copy(&row->name);
		free_copy(&row->rec);
		msg_unref(&row->msg);
		mem_free(&row);
	}
}

enum { KEY_SIZE = 8 };

static struct bytes
id_key(uint8_t key[KEY_SIZE], uint64_t id)
{
	uint64_t big = htobe64(id);

	memcpy(key, &big, sizeof(big));
	return bytes_make(key, sizeof(big));
}

/* sid and what follows it; the caller frees it. */
static struct bytes
long_key(uint64_t sid, struct bytes more)
{
	uint8_t *key = mem_alloc(KEY_SIZE + more.len);

	(void)id_key(key, sid);
	if (more.len != 0) {
		memcpy(key + KEY_SIZE, more.data, more.len);
	}
	return bytes_make(key, KEY_SIZE + more.len);
}

/* An empty row with this key, in place of the one there was. */
static struct row *
put_row(struct store_disk *disk, enum table table, struct bytes key)
{
	struct row *row = mem_zalloc(sizeof(*row));

	row->key = copy(key);
	free_row(map_put(&disk->tables[table], row));
	return row;
}

static void
delete_row(struct store_disk *disk, enum table table, struct bytes key)
{
	free_row(map_take(&disk->tables[table], key));
}

static void
delete_of_session(struct store_disk *disk, enum table table, uint64_t sid)
{
	struct map *map = &disk->tables[table];
	VEC(struct row *) rows = {0};
	struct row *item;

	map_each (item, map) {
		if (item->sid == sid) {
			vec_push(&rows, item);
		}
	}
	while (rows.count != 0) {
		item = vec_pop(&rows);
		(void)map_take(map, item->key);
		free_row(item);
	}
	vec_fini(&rows);
}

static struct msg *
copy_msg(const struct msg *msg)
{
	struct msg_draft draft = {.topic = msg_topic(msg),
	    .payload = msg_payload(msg),
	    .props = msg_props(msg),
	    .client_id = msg_client_id(msg),
	    .username = msg_username(msg),
	    .born_mono_ms = msg->born_mono_ms,
	    .born_wall_ms = msg->born_wall_ms,
	    .expiry_s = msg->expiry_s,
	    .qos = msg->qos,
	    .flags = msg->flags};
	struct msg *own = msg_seal(&draft);

	if (own == NULL) {
		err_fatal("out of memory");
	}
	return own;
}

/* --- committing --- */

static void
apply_row(struct store_disk *disk, const struct store_op *op)
{
	uint8_t memory[KEY_SIZE];
	struct bytes key = id_key(memory, op->qid);
	struct row *row;

	switch (op->kind) {
	case STORE_QUEUE_PUT:
		row = put_row(disk, TABLE_QUEUE, key);
		row->sid = op->sid;
		row->mid = op->mid;
		row->rec = copy(op->rec);
		break;
	case STORE_QUEUE_STATE:
		row = map_find(&disk->tables[TABLE_QUEUE], key);
		if (row != NULL) {
			row->state = op->state;
			row->packet_id = op->packet_id;
		}
		break;
	default:
		delete_row(disk, TABLE_QUEUE, key);
		break;
	}
}

/* What has sid and something more as its key. */
static void
apply_named(struct store_disk *disk, const struct store_op *op, enum table table, bool puts)
{
	uint16_t packet_id = htobe16(op->packet_id);
	struct bytes more =
	    table == TABLE_RECV ? bytes_make(&packet_id, sizeof(packet_id)) : op->key;
	struct bytes key = long_key(op->sid, more);

	if (puts) {
		struct row *row = put_row(disk, table, key);

		row->sid = op->sid;
		row->packet_id = op->packet_id;
		row->name = copy(op->key);
		row->rec = copy(op->rec);
	} else {
		delete_row(disk, table, key);
	}
	free_copy(&key);
}

static void
apply_session(struct store_disk *disk, const struct store_op *op)
{
	uint8_t memory[KEY_SIZE];
	struct bytes key = id_key(memory, op->sid);
	struct row *row;

	if (op->kind == STORE_SESSION_PUT) {
		row = put_row(disk, TABLE_SESSION, key);
		row->sid = op->sid;
		row->name = copy(op->key);
		row->rec = copy(op->rec);
		return;
	}
	delete_row(disk, TABLE_SESSION, key);
	delete_of_session(disk, TABLE_SUB, op->sid);
	delete_of_session(disk, TABLE_CURSOR, op->sid);
	delete_of_session(disk, TABLE_WILL, op->sid);
	delete_of_session(disk, TABLE_RECV, op->sid);
	delete_of_session(disk, TABLE_QUEUE, op->sid);
}

static void
apply_msg(struct store_disk *disk, const struct store_op *op)
{
	uint8_t memory[KEY_SIZE];
	struct bytes key = id_key(memory, op->mid);

	if (op->kind == STORE_MSG_PUT) {
		struct row *row = put_row(disk, TABLE_MSG, key);

		row->mid = op->mid;
		row->msg = copy_msg(op->msg);
	} else {
		delete_row(disk, TABLE_MSG, key);
	}
}

static void
apply_will(struct store_disk *disk, const struct store_op *op)
{
	uint8_t memory[KEY_SIZE];
	struct bytes key = id_key(memory, op->sid);

	if (op->kind == STORE_WILL_PUT) {
		struct row *row = put_row(disk, TABLE_WILL, key);

		row->sid = op->sid;
		row->msg = copy_msg(op->msg);
		row->rec = copy(op->rec);
	} else {
		delete_row(disk, TABLE_WILL, key);
	}
}

static void
apply(struct store_disk *disk, const struct store_op *op)
{
	switch (op->kind) {
	case STORE_SESSION_PUT:
	case STORE_SESSION_DEL:
		apply_session(disk, op);
		break;
	case STORE_SUB_PUT:
	case STORE_SUB_DEL:
		apply_named(disk, op, TABLE_SUB, op->kind == STORE_SUB_PUT);
		break;
	case STORE_CURSOR_PUT:
	case STORE_CURSOR_DEL:
		apply_named(disk, op, TABLE_CURSOR, op->kind == STORE_CURSOR_PUT);
		break;
	case STORE_RECV_PUT:
	case STORE_RECV_DEL:
		apply_named(disk, op, TABLE_RECV, op->kind == STORE_RECV_PUT);
		break;
	case STORE_QUEUE_PUT:
	case STORE_QUEUE_STATE:
	case STORE_QUEUE_DEL:
		apply_row(disk, op);
		break;
	case STORE_RETAIN_PUT: {
		struct row *row = put_row(disk, TABLE_RETAIN, msg_topic(op->msg));

		row->mid = op->mid;
		row->version = op->version;
		break;
	}
	case STORE_RETAIN_DEL:
		delete_row(disk, TABLE_RETAIN, op->key);
		break;
	case STORE_WILL_PUT:
	case STORE_WILL_DEL:
		apply_will(disk, op);
		break;
	case STORE_MSG_PUT:
	case STORE_MSG_DEL:
		apply_msg(disk, op);
		break;
	}
}

static void
check_rows(const struct store_disk *disk, enum table table)
{
	struct row *item;
	uint8_t key[KEY_SIZE];

	map_each (item, &disk->tables[table]) {
		(void)err_impossible(
		    map_find(&disk->tables[TABLE_MSG], id_key(key, item->mid)) == NULL);
	}
}

/* splitmix64; this room may not draw numbers, a test gives the seed. */
static uint64_t
draw(struct engine_mem *mem, uint64_t bound)
{
	uint64_t z = mem->random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % bound;
}

static bool
must_fail(struct engine_mem *mem)
{
	if (mem->disk->failing) {
		return true;
	}
	if (mem->failures_left != 0) {
		mem->failures_left--;
		return true;
	}
	if (draw(mem, 1000) < mem->options.fail_per_mille) {
		mem->failures_left = (uint32_t)draw(mem, (uint64_t)mem->options.fail_length + 1);
		return true;
	}
	return false;
}

static enum store_result
mem_commit(struct store_engine *engine, const struct store_op *const *ops, size_t count, char *why,
    size_t why_size)
{
	struct engine_mem *mem = (struct engine_mem *)(void *)engine;
	struct store_disk *disk = mem->disk;
	enum store_result result = STORE_OK;

	(void)why;
	(void)why_size;
	lock_take(&disk->lock);
	if (must_fail(mem)) {
		result = draw(mem, 2) == 0 ? STORE_FULL : STORE_IO;
	} else {
		for (size_t i = 0; i < count; i++) {
			apply(disk, ops[i]);
		}
		check_rows(disk, TABLE_QUEUE);
		check_rows(disk, TABLE_RETAIN);
	}
	lock_give(&disk->lock);
	return result;
}

/* --- loading --- */

/* Born as long ago as the wall clock says; the monotonic one began anew. */
static struct msg *
load_msg(const struct row *row)
{
	struct msg *msg = copy_msg(row->msg);

	if (context_current != NULL) {
		msg->born_mono_ms =
		    context_current->mono_ms - (context_current->wall_ms - msg->born_wall_ms);
	}
	return msg;
}

static void
give(const struct row *row, enum table table, const struct store_load_ops *ops, void *arg)
{
	uint64_t id;

	switch (table) {
	case TABLE_SESSION:
		ops->session(arg, row->sid, row->name, row->rec);
		break;
	case TABLE_SUB:
		ops->subscription(arg, row->sid, row->name, row->rec);
		break;
	case TABLE_CURSOR:
		ops->cursor(arg, row->sid, row->name);
		break;
	case TABLE_WILL:
		ops->will(arg, row->sid, load_msg(row), row->rec);
		break;
	case TABLE_RECV:
		ops->received(arg, row->sid, row->packet_id);
		break;
	case TABLE_MSG:
		ops->message(arg, row->mid, load_msg(row));
		break;
	case TABLE_QUEUE:
		memcpy(&id, row->key.data, sizeof(id));
		ops->queue(
		    arg, row->sid, be64toh(id), row->mid, row->state, row->packet_id, row->rec);
		break;
	case TABLE_RETAIN:
		ops->retained(arg, row->key, row->mid, row->version);
		break;
	case TABLE_COUNT:
		break;
	}
}

static int
by_key(const void *a, const void *b)
{
	const struct row *const *left = a, *const *right = b;

	return bytes_compare((*left)->key, (*right)->key);
}

static void
give_table(
    const struct store_disk *disk, enum table table, const struct store_load_ops *ops, void *arg)
{
	VEC(const struct row *) rows = {0};
	const struct row *item;

	map_each (item, &disk->tables[table]) {
		vec_push(&rows, item);
	}
	if (rows.count > 1) {
		qsort(rows.items, rows.count, sizeof(*rows.items), by_key);
	}
	for (size_t i = 0; i < rows.count; i++) {
		give(rows.items[i], table, ops, arg);
	}
	vec_fini(&rows);
}

static int
mem_load(struct store_engine *engine, const struct store_load_ops *ops, void *arg, char *why,
    size_t why_size)
{
	static const enum table order[] = {TABLE_MSG, TABLE_SESSION, TABLE_SUB, TABLE_CURSOR,
	    TABLE_QUEUE, TABLE_RECV, TABLE_RETAIN, TABLE_WILL};
	struct store_disk *disk = ((struct engine_mem *)(void *)engine)->disk;

	lock_take(&disk->lock);
	if (disk->failing) {
		lock_give(&disk->lock);
		(void)snprintf(why, why_size, "the memory engine was told to fail");
		return ERR_IO;
	}
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		give_table(disk, order[i], ops, arg);
	}
	lock_give(&disk->lock);
	return 0;
}

/* --- the rest --- */

static int64_t
mem_idle(struct store_engine *engine, bool busy)
{
	(void)engine;
	(void)busy;
	return -1;
}

static int64_t
mem_delay(struct store_engine *engine)
{
	struct engine_mem *mem = (struct engine_mem *)(void *)engine;
	int64_t span = mem->options.max_delay_ms - mem->options.min_delay_ms;

	return mem->options.min_delay_ms + (span > 0 ? (int64_t)draw(mem, (uint64_t)span + 1) : 0);
}

static void
mem_free_engine(struct store_engine *engine, bool clean)
{
	struct engine_mem *mem = (struct engine_mem *)(void *)engine;

	(void)clean;
	mem_free(&mem);
}

static const struct store_engine_ops mem_ops = {.commit = mem_commit,
    .load = mem_load,
    .idle = mem_idle,
    .delay = mem_delay,
    .free = mem_free_engine};

struct store_engine *
store_engine_mem_new(struct store_disk *disk, const struct store_mem_options *options)
{
	struct engine_mem *mem = mem_zalloc(sizeof(*mem));

	mem->engine.ops = &mem_ops;
	mem->disk = disk;
	mem->options = *options;
	mem->random = options->seed;
	return &mem->engine;
}

struct store_disk *
store_disk_new(void)
{
	struct store_disk *disk = mem_zalloc(sizeof(*disk));

	lock_init(&disk->lock);
	for (int table = 0; table < TABLE_COUNT; table++) {
		map_init(&disk->tables[table], key_of, (struct hash_key){0});
	}
	return disk;
}

void
store_disk_free(struct store_disk **disk)
{
	struct store_disk *gone = *disk;
	struct row *item;

	*disk = NULL;
	if (gone == NULL) {
		return;
	}
	for (int table = 0; table < TABLE_COUNT; table++) {
		map_each (item, &gone->tables[table]) {
			free_row(item);
		}
		map_fini(&gone->tables[table]);
	}
	lock_fini(&gone->lock);
	mem_free(&gone);
}

void
store_disk_set_failing(struct store_disk *disk, bool failing)
{
	lock_take(&disk->lock);
	disk->failing = failing;
	lock_give(&disk->lock);
}

void
store_disk_counts(struct store_disk *disk, struct store_disk_counts *counts_out)
{
	lock_take(&disk->lock);
	*counts_out = (struct store_disk_counts){.sessions = disk->tables[TABLE_SESSION].count,
	    .subscriptions = disk->tables[TABLE_SUB].count,
	    .messages = disk->tables[TABLE_MSG].count,
	    .queue = disk->tables[TABLE_QUEUE].count,
	    .received = disk->tables[TABLE_RECV].count,
	    .retained = disk->tables[TABLE_RETAIN].count,
	    .wills = disk->tables[TABLE_WILL].count,
	    .cursors = disk->tables[TABLE_CURSOR].count};
	lock_give(&disk->lock);
}
