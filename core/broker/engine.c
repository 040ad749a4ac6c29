/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the store and a plugin. One direction copies nothing but records that are made here; the
 * other one believes nothing. A record from a newer version than this ends the load, since to go on
 * would lose it; a damaged one is left out, counted and said.
 */
#include "broker/engine.h"

#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "loop/worker.h"
#include "msg/record.h"
#include "plugin/engine.h"
#include "plugin/host.h"
#include "store/store.h"
#include "wire/topic_name.h"

enum { MAX_CLIENT_ID = 65535, MAX_PACKET_ID = 65535, WILL_HEAD = 2 };

/* Of ids that are loaded: new ones go on above them, and must fit as well. */
static const uint64_t max_id = INT64_MAX / 2;

/* A row whose state may follow. */
struct pending_row {
	bool is_there;
	uint64_t sid, qid, mid;
	uint8_t state;
	uint16_t packet_id;
	struct buf rec;
};

struct loading {
	const struct store_load_ops *ops;
	void *arg;
	struct pending_row row;
	uint64_t last_mid, last_sid, last_qid;
	int last_rank;
	uint64_t damaged;
	bool is_newer;
};

struct broker_engine {
	struct store_engine engine; /* first */
	struct worker *main;
	struct avocet_self *self; /* NULL: not bound */
	bool is_open;
	VEC(avocet_store_op) ops; /* of the present commit */
	struct buf records;       /* likewise */
};

static struct broker_engine *
of(struct store_engine *engine)
{
	return (struct broker_engine *)(void *)engine;
}

static avocet_bytes
view(struct bytes bytes)
{
	return (avocet_bytes){bytes.data, bytes.len};
}

static struct bytes
bytes_from(avocet_bytes bytes)
{
	return bytes_make(bytes.p, bytes.n);
}

/* --- writing --- */

static const uint32_t kinds[] = {
    [STORE_SESSION_PUT] = AVOCET_OP_SESSION_PUT,
    [STORE_SESSION_DEL] = AVOCET_OP_SESSION_DEL,
    [STORE_SUB_PUT] = AVOCET_OP_SUB_PUT,
    [STORE_SUB_DEL] = AVOCET_OP_SUB_DEL,
    [STORE_CURSOR_PUT] = AVOCET_OP_CURSOR_PUT,
    [STORE_CURSOR_DEL] = AVOCET_OP_CURSOR_DEL,
    [STORE_QUEUE_PUT] = AVOCET_OP_QUEUE_PUT,
    [STORE_QUEUE_STATE] = AVOCET_OP_QUEUE_STATE,
    [STORE_QUEUE_DEL] = AVOCET_OP_QUEUE_DEL,
    [STORE_RECV_PUT] = AVOCET_OP_RECV_PUT,
    [STORE_RECV_DEL] = AVOCET_OP_RECV_DEL,
    [STORE_RETAIN_PUT] = AVOCET_OP_RETAIN_PUT,
    [STORE_RETAIN_DEL] = AVOCET_OP_RETAIN_DEL,
    [STORE_WILL_PUT] = AVOCET_OP_WILL_PUT,
    [STORE_WILL_DEL] = AVOCET_OP_WILL_DEL,
    [STORE_MSG_PUT] = AVOCET_OP_MSG_PUT,
    [STORE_MSG_DEL] = AVOCET_OP_MSG_DEL,
};

static size_t
record_size(const struct store_op *op)
{
	return op->kind == STORE_MSG_PUT    ? msg_record_size(op->msg)
	       : op->kind == STORE_WILL_PUT ? WILL_HEAD + op->rec.len + msg_record_size(op->msg)
					    : 0;
}

/* The message's record, behind the one that the session wrote if there is one. Room is there. */
static avocet_bytes
make_record(struct buf *records, const struct store_op *op)
{
	uint8_t *start = records->data + records->len, *at = start;

	if (op->kind == STORE_WILL_PUT) {
		*at++ = (uint8_t)(op->rec.len >> 8);
		*at++ = (uint8_t)op->rec.len;
		memcpy(at, op->rec.data, op->rec.len);
		at += op->rec.len;
	}
	msg_record_encode(op->msg, at);
	records->len += record_size(op);
	return (avocet_bytes){start, record_size(op)};
}

static avocet_store_op
translate(struct buf *records, const struct store_op *op)
{
	avocet_store_op out = {.kind = kinds[op->kind]};

	switch (op->kind) {
	case STORE_QUEUE_PUT:
	case STORE_QUEUE_DEL:
		out.a = op->qid;
		out.b = op->mid;
		out.t = (int64_t)op->sid;
		out.s[2] = view(op->rec);
		break;
	case STORE_QUEUE_STATE:
		out.a = op->qid;
		out.b = op->state;
		out.t = op->packet_id;
		break;
	case STORE_RECV_PUT:
	case STORE_RECV_DEL:
		out.a = op->sid;
		out.b = op->packet_id;
		break;
	case STORE_RETAIN_PUT:
		out.a = op->mid;
		out.b = op->version;
		out.s[0] = view(msg_topic(op->msg));
		break;
	case STORE_RETAIN_DEL:
		out.b = op->version;
		out.s[0] = view(op->key);
		break;
	case STORE_MSG_PUT:
		out.a = op->mid;
		out.t = msg_record_expires_ms(op->msg);
		out.s[0] = view(msg_topic(op->msg));
		out.s[1] = view(msg_payload(op->msg));
		out.s[2] = make_record(records, op);
		break;
	case STORE_MSG_DEL:
		out.a = op->mid;
		break;
	case STORE_WILL_PUT:
		out.a = op->sid;
		out.s[0] = view(msg_topic(op->msg));
		out.s[1] = view(msg_payload(op->msg));
		out.s[2] = make_record(records, op);
		break;
	default: /* of a session: by sid and what it names */
		out.a = op->sid;
		out.s[0] = view(op->key);
		out.s[2] = view(op->rec);
		break;
	}
	return out;
}

static enum store_result
result_of(int32_t status)
{
	return status == AVOCET_OK          ? STORE_OK
	       : status == AVOCET_STORE_LOW ? STORE_LOW
	       : status == AVOCET_E_FULL    ? STORE_FULL
					    : STORE_IO;
}

static enum store_result
engine_commit(struct store_engine *engine, const struct store_op *const *ops, size_t count,
    char *why, size_t why_size)
{
	struct broker_engine *own = of(engine);
	avocet_store_batch batch = {.struct_size = sizeof(batch), .n_ops = count};
	size_t size = 0;

	own->ops.count = 0;
	buf_clear(&own->records);
	for (size_t i = 0; i < count; i++) {
		size += record_size(ops[i]);
	}
	if (size != 0 && buf_reserve(&own->records, size) == NULL) {
		(void)snprintf(why, why_size, "there is no memory");
		return STORE_IO;
	}
	for (size_t i = 0; i < count; i++) {
		avocet_store_op op = translate(&own->records, ops[i]);

		batch.bytes += op.s[0].n + op.s[1].n + op.s[2].n;
		vec_push(&own->ops, op);
	}
	batch.ops = own->ops.items;
	return result_of(plugin_engine_commit(own->self, &batch, why, why_size));
}

/* --- loading --- */

static int32_t
damaged(struct loading *loading)
{
	loading->damaged++;
	return AVOCET_E_CORRUPT;
}

/* Ids rise, so none comes twice. */
static bool
rises(uint64_t *last, uint64_t id)
{
	bool does = id > *last;

	*last = does ? id : *last;
	return does;
}

static void
give_row(struct loading *loading)
{
	struct pending_row *row = &loading->row;

	if (row->is_there) {
		row->is_there = false;
		loading->ops->queue(loading->arg, row->sid, row->qid, row->mid, row->state,
		    row->packet_id, buf_bytes(&row->rec));
	}
}

/* Without one it goes to nobody, and is left out too. */
static int32_t
decode(struct loading *loading, const avocet_store_op *op, struct bytes rec, struct msg **msg_out)
{
	switch (msg_record_decode(bytes_from(op->s[0]), bytes_from(op->s[1]), rec,
	    context_current->mono_ms, context_current->wall_ms, msg_out)) {
	case MSG_RECORD_OK:
		return AVOCET_OK;
	case MSG_RECORD_NEWER:
		loading->is_newer = true;
		return AVOCET_E_UNSUPPORTED;
	case MSG_RECORD_NO_MEMORY:
		return AVOCET_E_NOMEM;
	case MSG_RECORD_DAMAGED:
		break;
	}
	return damaged(loading);
}

static int32_t
take_message(struct loading *loading, const avocet_store_op *op)
{
	struct msg *msg = NULL;
	int32_t status;

	if (!rises(&loading->last_mid, op->a)) {
		return damaged(loading);
	}
	status = decode(loading, op, bytes_from(op->s[2]), &msg);
	if (status == AVOCET_OK) {
		loading->ops->message(loading->arg, op->a, msg);
	}
	return status;
}

static int32_t
take_will(struct loading *loading, const avocet_store_op *op)
{
	struct bytes rec = bytes_from(op->s[2]), own;
	struct msg *msg = NULL;
	int32_t status;

	if (rec.len < WILL_HEAD) {
		return damaged(loading);
	}
	own = bytes_make(rec.data + WILL_HEAD, (size_t)rec.data[0] << 8 | rec.data[1]);
	if (own.len > rec.len - WILL_HEAD) {
		return damaged(loading);
	}
	status = decode(loading, op, bytes_skip(rec, WILL_HEAD + own.len), &msg);
	if (status == AVOCET_OK) {
		loading->ops->will(loading->arg, op->a, msg, own);
	}
	return status;
}

static int32_t
take_row(struct loading *loading, const avocet_store_op *op)
{
	struct pending_row *row = &loading->row;

	if (op->b == 0 || op->b > max_id || op->t <= 0 || (uint64_t)op->t > max_id ||
	    !rises(&loading->last_qid, op->a)) {
		return damaged(loading);
	}
	row->is_there = true;
	row->qid = op->a;
	row->mid = op->b;
	row->sid = (uint64_t)op->t;
	row->state = STORE_QUEUED;
	row->packet_id = 0;
	buf_clear(&row->rec);
	buf_append(&row->rec, op->s[2].p, op->s[2].n);
	return row->rec.failed ? AVOCET_E_NOMEM : AVOCET_OK;
}

/* Behind its row. */
static int32_t
take_state(struct loading *loading, const avocet_store_op *op)
{
	struct pending_row *row = &loading->row;

	if (!row->is_there || row->qid != op->a || op->b > STORE_RELEASED || op->t < 0 ||
	    op->t > MAX_PACKET_ID || (op->b != STORE_QUEUED) != (op->t != 0)) {
		return damaged(loading);
	}
	row->state = (uint8_t)op->b;
	row->packet_id = (uint16_t)op->t;
	return AVOCET_OK;
}

static bool
is_client_id(struct bytes id)
{
	return id.len != 0 && id.len <= MAX_CLIENT_ID && utf8_classify(id) < UTF8_NUL;
}

static bool
is_filter(struct bytes filter)
{
	return wire_topic_filter_check(filter, true, false) == WIRE_TOPIC_OK;
}

static int32_t
take_named(struct loading *loading, const avocet_store_op *op)
{
	struct bytes name = bytes_from(op->s[0]), rec = bytes_from(op->s[2]);

	if (op->kind == AVOCET_OP_SESSION_PUT
		? !is_client_id(name) || !rises(&loading->last_sid, op->a)
		: !is_filter(name)) {
		return damaged(loading);
	}
	if (op->kind == AVOCET_OP_SESSION_PUT) {
		loading->ops->session(loading->arg, op->a, name, rec);
	} else if (op->kind == AVOCET_OP_SUB_PUT) {
		loading->ops->subscription(loading->arg, op->a, name, rec);
	} else {
		loading->ops->cursor(loading->arg, op->a, name);
	}
	return AVOCET_OK;
}

/* Which kinds come before which. */
static int
rank(uint32_t kind)
{
	switch (kind) {
	case AVOCET_OP_MSG_PUT:
		return 0;
	case AVOCET_OP_SESSION_PUT:
		return 1;
	case AVOCET_OP_SUB_PUT:
		return 2;
	case AVOCET_OP_CURSOR_PUT:
		return 3;
	case AVOCET_OP_QUEUE_PUT:
	case AVOCET_OP_QUEUE_STATE:
		return 4;
	default:
		return 5;
	}
}

static int32_t
take(void *arg, const avocet_store_op *op)
{
	struct loading *loading = arg;

	if (op->kind != AVOCET_OP_QUEUE_STATE) {
		give_row(loading);
	}
	if (op->a == 0 || op->a > max_id || rank(op->kind) < loading->last_rank) {
		return damaged(loading);
	}
	loading->last_rank = rank(op->kind);
	switch (op->kind) {
	case AVOCET_OP_SESSION_PUT:
	case AVOCET_OP_SUB_PUT:
	case AVOCET_OP_CURSOR_PUT:
		return take_named(loading, op);
	case AVOCET_OP_MSG_PUT:
		return take_message(loading, op);
	case AVOCET_OP_QUEUE_PUT:
		return take_row(loading, op);
	case AVOCET_OP_QUEUE_STATE:
		return take_state(loading, op);
	case AVOCET_OP_RECV_PUT:
		if (op->b == 0 || op->b > MAX_PACKET_ID) {
			return damaged(loading);
		}
		loading->ops->received(loading->arg, op->a, (uint16_t)op->b);
		return AVOCET_OK;
	case AVOCET_OP_RETAIN_PUT:
		if (op->b > max_id ||
		    wire_topic_name_check(bytes_from(op->s[0]), true) != WIRE_TOPIC_OK) {
			return damaged(loading);
		}
		loading->ops->retained(loading->arg, bytes_from(op->s[0]), op->a, op->b);
		return AVOCET_OK;
	case AVOCET_OP_WILL_PUT:
		return take_will(loading, op);
	default:
		return AVOCET_E_INVAL;
	}
}

static int
engine_load(struct store_engine *engine, const struct store_load_ops *ops, void *arg, char *why,
    size_t why_size)
{
	struct loading loading = {.ops = ops, .arg = arg};
	struct avocet_sink sink = {take, &loading};
	int32_t status;

	if (of(engine)->self == NULL) {
		return 0;
	}
	buf_init(&loading.row.rec, SIZE_MAX);
	status = plugin_engine_load(of(engine)->self, &sink, why, why_size);
	give_row(&loading);
	buf_fini(&loading.row.rec);
	if (loading.is_newer) {
		(void)snprintf(
		    why, why_size, "the store holds messages that a newer version of avocet wrote");
		return ERR_INVALID;
	}
	if (loading.damaged != 0) {
		log_error("The store held %llu records that are damaged; they are left out.",
		    (unsigned long long)loading.damaged);
	}
	return status == AVOCET_OK ? 0 : ERR_IO;
}

/* --- the rest --- */

static int64_t
engine_idle(struct store_engine *engine, bool busy)
{
	return plugin_engine_idle(of(engine)->self, busy);
}

static int64_t
engine_delay(struct store_engine *engine)
{
	(void)engine;
	return 0;
}

struct closing {
	struct broker_engine *own;
	bool clean;
};

static void
close_in_context(struct worker *main, void *arg)
{
	struct closing *closing = arg;

	(void)main;
	plugin_engine_close(closing->own->self, closing->clean);
}

static void
engine_free(struct store_engine *engine, bool clean)
{
	struct broker_engine *own = of(engine);

	if (own->is_open) {
		worker_lend(
		    own->main, close_in_context, &(struct closing){.own = own, .clean = clean});
	}
	vec_fini(&own->ops);
	buf_fini(&own->records);
	mem_free(&own);
}

static const struct store_engine_ops engine_ops = {.commit = engine_commit,
    .load = engine_load,
    .idle = engine_idle,
    .delay = engine_delay,
    .free = engine_free};

struct store_engine *
broker_engine_new(struct worker *main)
{
	struct broker_engine *own = mem_zalloc(sizeof(*own));

	own->engine.ops = &engine_ops;
	own->main = main;
	buf_init(&own->records, SIZE_MAX);
	return &own->engine;
}

static void
on_wake(void *arg)
{
	store_ask_idle(arg);
}

int
broker_engine_bind(struct store_engine *engine, struct store *store, struct avocet_self *self,
    char *why, size_t why_size)
{
	struct broker_engine *own = of(engine);

	own->self = self;
	plugin_engine_pin(self, on_wake, store);
	if (plugin_engine_open(self, why, why_size) != AVOCET_OK) {
		return ERR_IO;
	}
	own->is_open = true;
	return 0;
}
