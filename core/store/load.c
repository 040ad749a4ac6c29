/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids, and what the engine gives back at start. The store listens in on the way to the caller: it
 * names each message as it is named on disk, counts the rows that name it, learns which sessions
 * are there and which is the largest id. A row whose message is not there is deleted; so is a
 * message that no row names. Main only, before the workers run: so the fields of messages that
 * belong to the store's thread are not touched by two.
 */
#include "base/log.h"
#include "store/loaded.h"
#include "store/store_int.h"

enum { ID_BLOCK = 256 };

/* Which ids others draw or have drawn does not matter, only that each is drawn once and later ones
 * are larger: one read-modify-write gives both. */
uint64_t
store_id_draw(struct store_ids *ids, struct store_id_block *block)
{
	if (block->next == block->end) {
		block->next = atomic_fetch_add_explicit(&ids->next, ID_BLOCK, memory_order_relaxed);
		block->end = block->next + ID_BLOCK;
		if (block->next == 0) {
			block->next = 1; /* 0 names nothing */
		}
	}
	return block->next++;
}

/* --- loading --- */

struct load {
	struct store *store;
	const struct store_load_ops *ops;
	void *arg;
	struct store_loaded messages;
	struct store_chunk *repairs;
	uint64_t largest;
	uint64_t dangling;
};

static void
see_id(struct load *load, uint64_t id)
{
	load->largest = id > load->largest ? id : load->largest;
}

static void
take_session(void *arg, uint64_t sid, struct bytes client_id, struct bytes rec)
{
	struct load *load = arg;

	see_id(load, sid);
	store_idset_add(&load->store->cut.sessions, sid);
	load->ops->session(load->arg, sid, client_id, rec);
}

static void
take_subscription(void *arg, uint64_t sid, struct bytes filter, struct bytes rec)
{
	struct load *load = arg;

	see_id(load, sid);
	load->ops->subscription(load->arg, sid, filter, rec);
}

static void
take_message(void *arg, uint64_t mid, struct msg *msg)
{
	struct load *load = arg;

	see_id(load, mid);
	if (!store_loaded_add(&load->messages, mid, msg)) {
		msg_unref(&msg); /* cannot be: the engine's key is the id */
		return;
	}
	(void)msg_store_id_set(msg, mid);
	msg->store_kept = true;
	load->ops->message(load->arg, mid, msg_ref(msg));
}

/* Counts a row that names it; false if it is not there. */
static bool
count_row(struct load *load, uint64_t mid)
{
	struct msg *msg = store_loaded_find(&load->messages, mid);

	if (msg == NULL) {
		load->dangling++;
		return false;
	}
	msg->store_rows++;
	return true;
}

static void
repair(struct load *load, const struct store_op *op)
{
	if (load->repairs == NULL) {
		load->repairs = store_chunk_new(NULL, 0);
	}
	store_chunk_add(load->repairs, op);
}

static void
take_queue(void *arg, uint64_t sid, uint64_t qid, uint64_t mid, uint8_t state, uint16_t packet_id,
    struct bytes rec)
{
	struct load *load = arg;

	see_id(load, sid);
	see_id(load, qid);
	see_id(load, mid);
	if (count_row(load, mid)) {
		load->ops->queue(load->arg, sid, qid, mid, state, packet_id, rec);
	} else {
		repair(load, &(struct store_op){.kind = STORE_QUEUE_DEL, .sid = sid, .qid = qid});
	}
}

static void
take_received(void *arg, uint64_t sid, uint16_t packet_id)
{
	struct load *load = arg;

	see_id(load, sid);
	load->ops->received(load->arg, sid, packet_id);
}

static void
take_retained(void *arg, struct bytes topic, uint64_t mid, uint64_t version)
{
	struct load *load = arg;

	see_id(load, mid);
	if (count_row(load, mid)) {
		load->ops->retained(load->arg, topic, mid, version);
	} else {
		repair(load,
		    &(struct store_op){.kind = STORE_RETAIN_DEL, .key = topic, .version = version});
	}
}

static void
take_will(void *arg, uint64_t sid, struct msg *msg, struct bytes rec)
{
	struct load *load = arg;

	see_id(load, sid);
	load->ops->will(load->arg, sid, msg, rec);
}

static void
take_cursor(void *arg, uint64_t sid, struct bytes filter)
{
	struct load *load = arg;

	see_id(load, sid);
	load->ops->cursor(load->arg, sid, filter);
}

static const struct store_load_ops listening = {.session = take_session,
    .subscription = take_subscription,
    .message = take_message,
    .queue = take_queue,
    .received = take_received,
    .retained = take_retained,
    .will = take_will,
    .cursor = take_cursor};

static void
keep_orphans(struct load *load)
{
	for (size_t i = 0; i < load->messages.items.count; i++) {
		struct msg *msg = load->messages.items.items[i].msg;

		if (msg->store_rows == 0) {
			vec_push(&load->store->orphans, msg_ref(msg));
		}
	}
	store_loaded_fini(&load->messages);
}

int
store_load(struct store *store, struct store_ids *ids, const struct store_load_ops *ops, void *arg,
    char *why, size_t why_size)
{
	struct load load = {.store = store, .ops = ops, .arg = arg};
	int error;

	if (store->engine == NULL) {
		return 0;
	}
	error = store->engine->ops->load(store->engine, &listening, &load, why, why_size);
	keep_orphans(&load);
	if (load.repairs != NULL) {
		log_warning("The store held %llu rows of messages that it does not hold; they "
			    "are deleted.",
		    (unsigned long long)load.dangling);
		store_hand_over(store, load.repairs);
	}
	if (load.largest >= atomic_load_explicit(&ids->next, memory_order_relaxed)) {
		atomic_store_explicit(&ids->next, load.largest + 1, memory_order_relaxed);
	}
	store->is_loaded = error == 0;
	return error;
}
