/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops. To other brokers that speak MQTT 5 each message goes with a mark, a User Property that
 * says which node it first came to and which of its messages it is; a node that sees its own mark,
 * or one that it has seen, goes no further with it. So a ring of bridges carries each message round
 * once, and one that comes by two ways counts once.
 *
 * Who could name marks of other nodes before they come could keep their messages away, so the
 * number in a mark cannot be guessed. The same message under two topics is two.
 *
 * What was seen stands in two sets: the newer takes in, and becomes the older when it is full or a
 * minute old.
 */
#include <stdio.h>

#include "base/counter.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/mem.h"
#include "loop/worker.h"
#include "route/route_int.h"
#include "wire/reason.h"
#include "wire/props.h"

#define MARK_NAME "avocet-origin"

enum {
	SET_SIZE = 1 << 16, /* places; half of them are used */
	SET_MS = 60000,
	MARK_LEN = 32,
};

struct hop {
	uint64_t node, id; /* both 0: free */
};

struct hop_set {
	struct hop *items; /* NULL: none yet */
	uint32_t count;
	int64_t since_ms;
};

struct route_hops {
	uint64_t node;
	struct hash_key key;
	struct lock lock;
	struct hop_set sets[2]; /* the newer, the older */
};

void
route_house_mark(struct route_house *house, struct worker *worker)
{
	struct route_hops *none = NULL, *hops;

	if (atomic_load(&house->hops) != NULL) {
		return;
	}
	hops = mem_zalloc(sizeof(*hops));
	lock_init(&hops->lock);
	worker_random_fill(worker, &hops->node, sizeof(hops->node));
	worker_random_fill(worker, &hops->key, sizeof(hops->key));
	if (!atomic_compare_exchange_strong(&house->hops, &none, hops)) {
		lock_fini(&hops->lock); /* another worker was faster */
		mem_free(&hops);
	}
}

void
route_hops_free(struct route_house *house)
{
	struct route_hops *hops = atomic_load(&house->hops);

	if (hops == NULL) {
		return;
	}

	mem_free(&hops->sets[0].items);
	mem_free(&hops->sets[1].items);
	lock_fini(&hops->lock);
	mem_free(&hops);
}

/* Its place, or the free one where it would stand. Marks come from other brokers: who chooses them
 * to collide makes a search long, so it ends after a while, and the mark counts as not seen. */
static struct hop *
place_of(const struct hop_set *set, uint64_t node, uint64_t id)
{
	uint64_t hash = (node ^ id * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xff51afd7ed558ccd);

	for (uint32_t i = 0; i < 64; i++) {
		struct hop *hop = &set->items[((hash >> 40) + i) & (SET_SIZE - 1)];

		if ((hop->node == node && hop->id == id) || (hop->node == 0 && hop->id == 0)) {
			return hop;
		}
	}
	return NULL;
}

static bool
has(const struct hop_set *set, uint64_t node, uint64_t id)
{
	const struct hop *hop = set->items != NULL ? place_of(set, node, id) : NULL;

	return hop != NULL && (hop->node != 0 || hop->id != 0);
}

static void
turn_over(struct route_hops *hops, int64_t now_ms)
{
	struct hop_set old = hops->sets[1];

	hops->sets[1] = hops->sets[0];
	if (old.items == NULL) {
		old.items = mem_zalloc(SET_SIZE * sizeof(*old.items));
	} else {
		memset(old.items, 0, SET_SIZE * sizeof(*old.items));
	}
	hops->sets[0] = (struct hop_set){.items = old.items, .since_ms = now_ms};
}

/* False: it was there already. */
static bool
enter(struct route_hops *hops, uint64_t node, uint64_t id, int64_t now_ms)
{
	struct hop_set *set = &hops->sets[0];
	bool is_new = true;

	lock_take(&hops->lock);
	if (set->items == NULL || set->count >= SET_SIZE / 2 || now_ms - set->since_ms > SET_MS) {
		turn_over(hops, now_ms);
	}
	if (has(set, node, id) || has(&hops->sets[1], node, id)) {
		is_new = false;
	} else {
		struct hop *hop = place_of(set, node, id);

		if (hop != NULL) {
			*hop = (struct hop){node, id};
			set->count++;
		}
	}
	lock_give(&hops->lock);
	return is_new;
}

/* --- marks --- */

static bool
read_hex(struct bytes text, uint64_t *number_out)
{
	uint64_t number = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];
		unsigned digit = c >= '0' && c <= '9'   ? c - (unsigned)'0'
				 : c >= 'a' && c <= 'f' ? c - (unsigned)'a' + 10
							: 16;

		if (digit == 16) {
			return false;
		}
		number = number << 4 | digit;
	}
	*number_out = number;
	return true;
}

/* The mark among these properties. */
static bool
find_mark(struct bytes props, uint64_t *node_out, uint64_t *id_out)
{
	struct wire_property property;

	while (wire_props_next(&props, &property)) {
		if (property.id == WIRE_USER_PROPERTY &&
		    bytes_equal(property.value, BYTES_LITERAL(MARK_NAME)) &&
		    property.second.len == MARK_LEN &&
		    read_hex(bytes_make(property.second.data, MARK_LEN / 2), node_out) &&
		    read_hex(bytes_skip(property.second, MARK_LEN / 2), id_out) && *node_out != 0 &&
		    *id_out != 0) {
			return true;
		}
	}
	return false;
}

struct bytes
route_marked_props(struct route_desk *desk, struct msg *msg)
{
	const struct route_hops *hops = atomic_load(&desk->house->hops);
	const size_t room = sizeof(MARK_NAME) + MARK_LEN + 8;
	struct buf *block = &desk->marked;
	char text[MARK_LEN + 1];
	struct wire_writer writer;
	uint64_t node, id;
	uint8_t *at;

	if (hops == NULL || find_mark(msg_props(msg), &node, &id)) {
		return msg_props(msg);
	}
	id = atomic_load_explicit(&msg->store_id, memory_order_relaxed);
	if (id == 0) {
		id = msg_store_id_set(msg, session_table_draw_id(desk->table));
	}
	/* All links of this node say the same of this message. */
	id = hash_bytes(&hops->key, bytes_make(&id, sizeof(id))) | 1;
	buf_clear(block);
	buf_append_bytes(block, msg_props(msg));
	at = buf_reserve(block, room);
	if (at == NULL) {
		return msg_props(msg);
	}
	(void)snprintf(text, sizeof(text), "%016llx%016llx", (unsigned long long)hops->node,
	    (unsigned long long)id);
	writer = wire_writer_of(at, room);
	wire_write_user_property(&writer, BYTES_LITERAL(MARK_NAME), bytes_of(text));
	block->len += writer.len;
	return buf_bytes(block);
}

bool
route_wants_marks(const struct wire_props *props)
{
	struct bytes block = props->block;
	struct wire_property property;

	while (wire_props_has(props, WIRE_USER_PROPERTY) && wire_props_next(&block, &property)) {
		if (property.id == WIRE_USER_PROPERTY &&
		    bytes_equal(property.value, BYTES_LITERAL(MARK_NAME))) {
			return true;
		}
	}
	return false;
}

void
route_write_wants_marks(struct wire_writer *writer)
{
	wire_write_user_property(writer, BYTES_LITERAL(MARK_NAME), BYTES_LITERAL("1"));
}

/* Whatever was handed to the store by now is durable when this is: so an acknowledgement promises
 * of what came again no more than of what came first. */
static uint64_t
ticket_of_now(struct route_desk *desk, const struct route_publication *publication)
{
	if (desk->port == NULL || publication->session == NULL || publication->draft.qos == 0 ||
	    publication->mode != ROUTE_COMMIT) {
		return 0;
	}
	return store_put(desk->port,
	    &(struct store_op){.kind = STORE_RECV_DEL, .sid = session_sid(publication->session)});
}

bool
route_has_come_round(struct route_desk *desk, struct route_publication *publication)
{
	struct route_hops *hops = atomic_load(&desk->house->hops);
	const struct msg_draft *draft = &publication->draft;
	uint64_t node, id;

	if (!find_mark(draft->props, &node, &id)) {
		return false;
	}
	id ^= hash_bytes(&hops->key, draft->topic);
	if (node != hops->node && enter(hops, node, id, context_current->mono_ms)) {
		return false;
	}
	counter_add(COUNTER_PUBLISHES_DROPPED, 1);
	publication->reason = WIRE_REASON_SUCCESS;
	publication->ticket = ticket_of_now(desk, publication);
	return true;
}
