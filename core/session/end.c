/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a session. It leaves the tree; what its shared subscriptions still owe goes to other
 * members (flow 8): what waits, and QoS 1 that was not acknowledged, but never QoS 2 that was sent.
 * Every row that goes says so itself, since the store counts by message which rows name it; then
 * SESSION_DEL. The directory forgets it after that chunk was handed over. Owner's worker.
 */
#include "session/session_int.h"

/* Another member takes it; or it dies with its session, lost unless its client has it. Consumes. */
static void
part_with(struct session *session, struct session_delivery *delivery, bool may_move, bool arrived)
{
	struct session_table *table = session->table;
	const struct session_sub *sub = may_move && (delivery->flags & SESSION_SHARED) != 0
					    ? session_sub_by_group(session, delivery->group)
					    : NULL;

	if (sub != NULL) {
		delivery->packet_id = 0;
		delivery->flags &= (uint8_t)~SESSION_DUP;
		delivery->flags |= SESSION_GIVEN_BACK;
		if (table->route_ops->redispatch(table->route_arg, table, session_sub_key(sub),
			delivery, session->sid, msg_client_id_of(session->client))) {
			return;
		}
	}
	if (delivery->qos > 0 && !arrived) {
		counter_add(COUNTER_DROPPED_SESSION_GONE, 1);
	}
	session_delete_row(table, session->sid, delivery);
	session_delivery_fini(delivery);
}

static void
part_with_inflight(struct session *session, struct session_inflight *inflight)
{
	for (uint16_t id = inflight->first; id != 0;) {
		struct session_flight *flight = &inflight->items[id - 1];
		bool arrived = flight->state == SESSION_FLIGHT_HELD ||
			       flight->state == SESSION_FLIGHT_RELEASED;
		/* QoS 2 that is GATED was never sent on any connection. */
		bool may_move = flight->state == SESSION_FLIGHT_GATED ||
				(flight->state == SESSION_FLIGHT_SENT && flight->delivery.qos == 1);
		struct session_delivery delivery = flight->delivery;

		id = flight->next;
		flight->delivery = (struct session_delivery){0};
		part_with(session, &delivery, may_move, arrived);
	}
}

static void
part_with_queues(struct session *session)
{
	static const enum session_ring_name order[] = {
	    SESSION_RING_FRESH, SESSION_RING_QOS12, SESSION_RING_QOS0};
	struct session_delivery delivery;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		while (session_queue_pop(session, order[i], &delivery)) {
			part_with(session, &delivery, delivery.qos > 0, false);
		}
	}
}

void
session_end(struct session *session, uint64_t *ticket_io)
{
	struct session_table *table = session->table;

	if (table->route_ops->ended != NULL) {
		table->route_ops->ended(table->route_arg, session);
	}
	session_subs_leave_tree(session);
	if (session->out != NULL) {
		part_with_inflight(session, &session->out->inflight);
		part_with_queues(session);
	}
	session_will_cancel(session);
	if (session->has_row) {
		uint64_t ticket = session_put(table, &(struct store_op){.kind = STORE_SESSION_DEL,
							 .sid = session->sid,
							 .key = msg_client_id_of(session->client)});

		*ticket_io = session->persistent ? ticket : *ticket_io;
	}
	session_table_say_gone(table, session->client, session->sid);
	session_free(session);
}
