/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits: QoS 0 while the output has no room (or the session sleeps and queue_qos0 is set), QoS
 * 1 and 2 while the window is full or the session sleeps. Rings of deliveries, owned by the
 * session.
 *
 * The drop rule: a queue that is full drops what waits of QoS 0 first, then by queue_full either
 * the new one or the oldest; but a shared one that is new is given to another member of its group,
 * if there is one. Over the broker's budget (max_memory) the queues that hold more than
 * the mean count as full, so the largest pay, and nobody is made to wait.
 */
#include "session/session_int.h"

/* --- rings --- */

static bool
grow(struct session_ring *ring)
{
	uint32_t cap = ring->cap != 0 ? ring->cap * 2 : 4;
	struct session_delivery *items =
	    cap > ring->cap ? mem_try_alloc(cap * sizeof(*items)) : NULL;

	if (items == NULL) {
		return false;
	}
	for (uint32_t i = 0; i < ring->count; i++) {
		items[i] = ring->items[(ring->first + i) & (ring->cap - 1)];
	}
	mem_free(&ring->items);
	ring->items = items;
	ring->first = 0;
	ring->cap = cap;
	return true;
}

/* FRESH ones are on their way to somebody else: limits do not count them. */
static uint32_t
waiting(const struct session_out *out)
{
	return out->rings[SESSION_RING_QOS0].count + out->rings[SESSION_RING_QOS12].count;
}

static uint32_t
total(const struct session_out *out)
{
	return waiting(out) + out->rings[SESSION_RING_FRESH].count;
}

/* Of both: the session's and the table's accounts. */
static void
account(struct session_out *out, const struct session_delivery *delivery, bool comes)
{
	struct session_table *table = out->session->table;
	size_t size = session_delivery_size(delivery);

	if (comes) {
		out->queued_bytes += size;
		table->queued_bytes += (int64_t)size;
		table->queued_sessions += total(out) == 1;
	} else {
		out->queued_bytes -= size;
		table->queued_bytes -= (int64_t)size;
		table->queued_sessions -= total(out) == 0;
	}
}

bool
session_queue_push(
    struct session *session, enum session_ring_name name, const struct session_delivery *delivery)
{
	struct session_out *out = session_out_of(session);
	struct session_ring *ring = &out->rings[name];

	if (ring->count == ring->cap && !grow(ring)) {
		return false;
	}
	ring->items[(ring->first + ring->count++) & (ring->cap - 1)] = *delivery;
	account(out, delivery, true);
	return true;
}

void
session_queue_push_front(
    struct session *session, enum session_ring_name name, const struct session_delivery *delivery)
{
	struct session_out *out = session->out;
	struct session_ring *ring = &out->rings[name];

	/* It has just been popped, so there is a place, unless it was the last and the ring was
	 * given back. */
	if (ring->count == ring->cap && !grow(ring)) {
		struct session_delivery lost = *delivery;

		session_drop(session, &lost, SESSION_DROP_MEMORY);
		return;
	}
	ring->first = (ring->first - 1) & (ring->cap - 1);
	ring->items[ring->first] = *delivery;
	ring->count++;
	account(out, delivery, true);
}

bool
session_queue_pop(
    struct session *session, enum session_ring_name name, struct session_delivery *delivery_out)
{
	struct session_out *out = session->out;
	struct session_ring *ring;

	if (out == NULL || out->rings[name].count == 0) {
		return false;
	}
	ring = &out->rings[name];
	*delivery_out = ring->items[ring->first];
	ring->first = (ring->first + 1) & (ring->cap - 1);
	ring->count--;
	account(out, delivery_out, false);
	/* A queue that was long once does not keep its memory. */
	if (ring->count == 0 && ring->cap > 64) {
		mem_free(&ring->items);
		ring->first = ring->cap = 0;
	}
	return true;
}

uint32_t
session_queue_count(const struct session *session, enum session_ring_name name)
{
	return session->out != NULL ? session->out->rings[name].count : 0;
}

/* --- limits --- */

/* Is the broker over its budget, and this queue one of the larger ones? */
static bool
must_shrink(const struct session *session)
{
	const struct session_house *house = session->table->house;
	int64_t budget = atomic_load_explicit(&house->max_memory, memory_order_relaxed);
	int64_t bytes, sessions;

	if (budget == 0) {
		return false;
	}
	bytes = atomic_load_explicit(&house->queued_bytes, memory_order_relaxed);
	sessions = atomic_load_explicit(&house->queued_sessions, memory_order_relaxed);
	/* More than the mean; a queue that is as large as all others is not spared by rounding. */
	return bytes > budget && session->out->queued_bytes != 0 &&
	       (int64_t)session->out->queued_bytes * (sessions > 0 ? sessions : 1) >= bytes;
}

static void
drop_oldest(struct session *session, enum session_ring_name ring)
{
	struct session_delivery delivery;

	session_queue_pop(session, ring, &delivery);
	session_drop(session, &delivery, SESSION_DROP_QUEUE_FULL);
	session_replay_held_one(session, ring);
}

/* Makes room for one more of this size by the rule; false: the new one is to be dropped. */
static bool
make_room(struct session *session, uint8_t qos, size_t size)
{
	const struct session_limits *limits = session_limits_of(session);
	struct session_out *out = session_out_of(session);
	size_t most = limits->max_queued_bytes > 0 ? (size_t)limits->max_queued_bytes : SIZE_MAX;

	if (must_shrink(session) && out->queued_bytes < most) {
		most = out->queued_bytes;
	}
	while (out->queued_bytes + size > most ||
	       (limits->max_queued_messages > 0 && waiting(out) >= limits->max_queued_messages)) {
		if (qos == 0 || size > most) {
			return false;
		}
		if (out->rings[SESSION_RING_QOS0].count != 0) {
			drop_oldest(session, SESSION_RING_QOS0);
		} else if (limits->queue_full == SESSION_DROP_OLD &&
			   out->rings[SESSION_RING_QOS12].count != 0) {
			drop_oldest(session, SESSION_RING_QOS12);
		} else {
			return false;
		}
	}
	return true;
}

/* Could another member of its group have it? Each is asked once round. */
static bool
may_be_given_back(const struct session_delivery *delivery)
{
	return delivery->qos > 0 && (delivery->flags & SESSION_SHARED) != 0 &&
	       (delivery->flags & SESSION_GIVEN_BACK) == 0;
}

void
session_queue_add(struct session *session, struct session_delivery *delivery)
{
	enum session_ring_name ring = delivery->qos == 0 ? SESSION_RING_QOS0 : SESSION_RING_QOS12;

	if (!make_room(session, delivery->qos, session_delivery_size(delivery))) {
		/* Not here: this may be the middle of a fan-out. */
		if (may_be_given_back(delivery) &&
		    session_queue_push(session, SESSION_RING_FRESH, delivery)) {
			session_mark_dirty(session);
			return;
		}
		session_drop(session, delivery, SESSION_DROP_QUEUE_FULL);
	} else if (!session_queue_push(session, ring, delivery)) {
		session_drop(session, delivery, SESSION_DROP_MEMORY);
	}
}

void
session_queue_drop_qos0(struct session *session)
{
	struct session_delivery delivery;

	while (session_queue_pop(session, SESSION_RING_QOS0, &delivery)) {
		session_drop(session, &delivery, SESSION_DROP_QOS0_OFFLINE);
	}
}

/* --- giving back --- */

static bool
redispatch(
    struct session *session, const struct session_sub *sub, struct session_delivery *delivery)
{
	struct session_table *table = session->table;

	delivery->flags |= SESSION_GIVEN_BACK;
	return table->route_ops->redispatch(table->route_arg, table, session_sub_key(sub), delivery,
	    session->sid, msg_client_id_of(session->client));
}

void
session_queue_settle_fresh(struct session *session)
{
	uint32_t count = session_queue_count(session, SESSION_RING_FRESH);

	/* What comes meanwhile waits for another turn. */
	while (count-- > 0) {
		struct session_delivery delivery;
		const struct session_sub *sub;

		if (!session_queue_pop(session, SESSION_RING_FRESH, &delivery)) {
			return;
		}
		if (session->sink == NULL ||
		    !make_room(session, delivery.qos, session_delivery_size(&delivery))) {
			sub = session_sub_by_group(session, delivery.group);
			if (sub != NULL && redispatch(session, sub, &delivery)) {
				continue;
			}
			delivery.flags |= SESSION_GIVEN_BACK;
		}
		session_queue_add(session, &delivery);
	}
}

void
session_queue_give_back(struct session *session, const struct session_sub *sub)
{
	uint32_t count = session_queue_count(session, SESSION_RING_QOS12);

	while (count-- > 0) {
		struct session_delivery delivery;

		if (!session_queue_pop(session, SESSION_RING_QOS12, &delivery)) {
			return;
		}
		if ((delivery.flags & SESSION_SHARED) != 0 && delivery.group == sub->group) {
			if (redispatch(session, sub, &delivery)) {
				continue;
			}
			/* Nobody else is there: it is an ordinary delivery from now on. */
			delivery.flags &= (uint8_t)~SESSION_SHARED;
			delivery.version = 0;
		}
		if (!session_queue_push(session, SESSION_RING_QOS12, &delivery)) {
			session_drop(session, &delivery, SESSION_DROP_MEMORY);
		}
	}
}
