/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store with some workers in the simulator; and an engine that writes down what it is asked to
 * do.
 */
#ifndef UNIT_STORE_HOUSE_H
#define UNIT_STORE_HOUSE_H

#include "lib/unit.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "loop/sim.h"
#include "msg/draft.h"
#include "store/engine_mem.h"
#include "store/store.h"

enum { HOUSE_PORTS = 3 };

struct house {
	struct loop *loop;
	struct worker *workers[HOUSE_PORTS]; /* the first is main */
	struct worker *store_worker;
	struct store *store;
	struct store_port *ports[HOUSE_PORTS];
};

static inline void
house_open(struct house *house, struct store_engine *engine, uint64_t seed)
{
	static const char *const names[HOUSE_PORTS] = {"main", "w1", "w2"};
	struct loop_options options = {.seed = seed};

	house->loop = loop_new(&options);
	for (int i = 0; i < HOUSE_PORTS; i++) {
		house->workers[i] = loop_add_worker(house->loop, names[i]);
	}
	house->store_worker = loop_add_worker(house->loop, "store");
	house->store = store_new(engine, house->store_worker);
	for (int i = 0; i < HOUSE_PORTS; i++) {
		house->ports[i] = store_add_port(house->store, house->workers[i]);
	}
}

static inline void
house_close(struct house *house)
{
	loop_join(house->loop);
	store_free(&house->store);
	loop_free(&house->loop);
}

/* As kill -9: nobody ends anything. */
static inline void
house_crash(struct house *house)
{
	loop_free(&house->loop);
	store_free(&house->store);
}

static inline void
house_settle(struct house *house)
{
	assert_true(sim_settle(house->loop, 100000));
}

/* An operation, written outside of a turn by this worker. */
static inline uint64_t
house_put(struct house *house, int at, const struct store_op *op)
{
	uint64_t ticket;

	sim_enter(house->workers[at]);
	ticket = store_put(house->ports[at], op);
	sim_leave();
	return ticket;
}

static inline uint64_t
house_count(const struct house *house, enum counter counter)
{
	const struct counter_set *set = worker_counters(house->store_worker);

	return counter_sum(&set, 1, counter);
}

static inline struct msg *
house_msg(const char *topic, const char *payload, uint64_t mid)
{
	struct msg_draft draft = {
	    .topic = bytes_of(topic), .payload = bytes_of(payload), .client_id = bytes_of("c")};
	struct msg *msg = msg_seal(&draft);

	assert_non_null(msg);
	if (mid != 0) {
		(void)msg_store_id_set(msg, mid);
	}
	return msg;
}

/* --- the engine that writes down --- */

struct spy {
	struct store_engine engine;
	struct buf said;
	unsigned commits;
	unsigned idles;
	unsigned busy_idles;
	size_t last_count;
	bool fails;
	bool is_low;
	int64_t delay_ms;
	int64_t idle_ms;
};

static inline enum store_result
spy_commit(struct store_engine *engine, const struct store_op *const *ops, size_t count, char *why,
    size_t why_size)
{
	static const char *const names[] = {[STORE_SESSION_PUT] = "session+",
	    [STORE_SESSION_DEL] = "session-",
	    [STORE_SUB_PUT] = "sub+",
	    [STORE_SUB_DEL] = "sub-",
	    [STORE_CURSOR_PUT] = "cursor+",
	    [STORE_CURSOR_DEL] = "cursor-",
	    [STORE_QUEUE_PUT] = "row+",
	    [STORE_QUEUE_STATE] = "state",
	    [STORE_QUEUE_DEL] = "row-",
	    [STORE_RECV_PUT] = "recv+",
	    [STORE_RECV_DEL] = "recv-",
	    [STORE_RETAIN_PUT] = "retain+",
	    [STORE_RETAIN_DEL] = "retain-",
	    [STORE_WILL_PUT] = "will+",
	    [STORE_WILL_DEL] = "will-",
	    [STORE_MSG_PUT] = "msg+",
	    [STORE_MSG_DEL] = "msg-"};
	struct spy *spy = (struct spy *)(void *)engine;

	(void)why;
	(void)why_size;
	spy->commits++;
	spy->last_count = count;
	if (spy->fails) {
		buf_append_text(&spy->said, "FAIL ");
		return STORE_FULL;
	}
	for (size_t i = 0; i < count; i++) {
		const struct store_op *op = ops[i];
		bool by_mid = op->kind == STORE_MSG_PUT || op->kind == STORE_MSG_DEL;
		bool by_qid = op->kind == STORE_QUEUE_PUT || op->kind == STORE_QUEUE_STATE ||
			      op->kind == STORE_QUEUE_DEL;
		bool by_pid = op->kind == STORE_RECV_PUT || op->kind == STORE_RECV_DEL;
		uint64_t id = by_mid   ? op->mid
			      : by_qid ? op->qid
			      : by_pid ? op->packet_id
				       : op->sid;

		if (op->kind == STORE_RETAIN_PUT || op->kind == STORE_RETAIN_DEL) {
			id = op->version;
		}
		buf_printf(&spy->said, "%s%u ", names[op->kind], (unsigned)id);
	}
	buf_append_text(&spy->said, "| ");
	return spy->is_low ? STORE_LOW : STORE_OK;
}

static inline int
spy_load(struct store_engine *engine, const struct store_load_ops *ops, void *arg, char *why,
    size_t why_size)
{
	(void)engine;
	(void)ops;
	(void)arg;
	(void)why;
	(void)why_size;
	return 0;
}

static inline int64_t
spy_idle(struct store_engine *engine, bool busy)
{
	struct spy *spy = (struct spy *)(void *)engine;

	spy->busy_idles += busy;
	spy->idles++;
	return spy->idle_ms;
}

static inline int64_t
spy_delay(struct store_engine *engine)
{
	return ((struct spy *)(void *)engine)->delay_ms;
}

static inline void
spy_free(struct store_engine *engine, bool clean)
{
	(void)clean;
	buf_fini(&((struct spy *)(void *)engine)->said);
}

static inline struct store_engine *
spy_init(struct spy *spy)
{
	static const struct store_engine_ops ops = {.commit = spy_commit,
	    .load = spy_load,
	    .idle = spy_idle,
	    .delay = spy_delay,
	    .free = spy_free};

	*spy = (struct spy){.engine = {.ops = &ops}, .idle_ms = -1};
	buf_init(&spy->said, SIZE_MAX);
	return &spy->engine;
}

/* What it was asked since the last time. */
#define assert_said(spy, text)                                    \
	do {                                                      \
		assert_bytes_text(buf_bytes(&(spy)->said), text); \
		buf_clear(&(spy)->said);                          \
	} while (0)

#endif
