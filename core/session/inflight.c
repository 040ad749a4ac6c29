/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QoS 1 and 2 on their way: packet ids, acknowledgements, resends, and the gate in front of what
 * must not run ahead of the disk. Owned by the session.
 *
 * A table whose place is the packet id, so that an acknowledgement costs one look; it grows on
 * demand up to the window. Free places are a list. What is in use is linked in the order of
 * sending, for resending [MQTT-4.6.0-1]. `count` limits what gets an id; `active`, what is sent on
 * this connection and not acknowledged, limits resends to the client's Receive Maximum.
 *
 * The gate (flow 2, A3): a QoS 2 delivery that has a row, or had one, writes QUEUE_STATE with its
 * id and leaves when that is durable; PUBREL likewise. Tickets of a worker rise, so the gate is a
 * queue of which those in front are durable. PUBREL passes a PUBLISH that must still wait for the
 * window: it is what opens the window. QoS 1 writes its state in the turn in which it is sent and
 * waits for nothing; it may pass QoS 2, since order is promised per QoS.
 */
#include "session/session_int.h"

#include "base/err.h"

enum { FIRST_CAP = 8 };

static struct session_flight *
flight_of(struct session_inflight *inflight, uint16_t id)
{
	return &inflight->items[id - 1];
}

/* A place in use with this id, or NULL. */
static struct session_flight *
find(const struct session *session, uint16_t id)
{
	struct session_flight *flight;

	if (session->out == NULL || id == 0 || id > session->out->inflight.cap) {
		return NULL;
	}
	flight = flight_of(&session->out->inflight, id);
	return flight->state != SESSION_FLIGHT_FREE ? flight : NULL;
}

static void gate_opened(struct store_wait *wait);

struct session_out *
session_out_of(struct session *session)
{
	if (session->out == NULL) {
		session->out = mem_zalloc(sizeof(*session->out));
		session->out->session = session;
		session->out->gate_wait.fn = gate_opened;
	}
	return session->out;
}

bool
session_window_is_open(const struct session *session)
{
	return session->out == NULL || session->out->inflight.count < session->window;
}

/* --- places --- */

static bool
grow(struct session_inflight *inflight, uint32_t least)
{
	uint32_t cap = inflight->cap != 0 ? inflight->cap * 2 : FIRST_CAP;
	struct session_flight *items;

	cap = cap > least ? cap : least;
	cap = cap < UINT16_MAX ? cap : UINT16_MAX;
	if (cap <= inflight->cap) {
		return false;
	}
	items = mem_try_realloc(inflight->items, cap * sizeof(*items));
	if (items == NULL) {
		return false;
	}
	inflight->items = items;
	memset(items + inflight->cap, 0, (cap - inflight->cap) * sizeof(*items));
	for (uint32_t id = cap; id > inflight->cap; id--) {
		items[id - 1].next = inflight->free;
		inflight->free = (uint16_t)id;
	}
	inflight->cap = cap;
	return true;
}

/* Puts a place that was taken off the free list into the order, last. */
static struct session_flight *
occupy(struct session_inflight *inflight, uint16_t id, const struct session_delivery *delivery)
{
	struct session_flight *flight = flight_of(inflight, id);

	*flight = (struct session_flight){.delivery = *delivery, .prev = inflight->last};
	flight->delivery.packet_id = id;
	if (inflight->last != 0) {
		flight_of(inflight, inflight->last)->next = id;
	} else {
		inflight->first = id;
	}
	inflight->last = id;
	inflight->count++;
	return flight;
}

/* NULL: no memory, or all ids are in use. */
static struct session_flight *
add(struct session_inflight *inflight, const struct session_delivery *delivery)
{
	uint16_t id;

	if (inflight->free == 0 && !grow(inflight, 0)) {
		return NULL;
	}
	id = inflight->free;
	inflight->free = flight_of(inflight, id)->next;
	return occupy(inflight, id, delivery);
}

/* Frees the place; its delivery is the caller's. */
static void
vacate(struct session_inflight *inflight, struct session_flight *flight)
{
	uint16_t id = (uint16_t)(flight - inflight->items + 1);

	if (flight->prev != 0) {
		flight_of(inflight, flight->prev)->next = flight->next;
	} else {
		inflight->first = flight->next;
	}
	if (flight->next != 0) {
		flight_of(inflight, flight->next)->prev = flight->prev;
	} else {
		inflight->last = flight->prev;
	}
	if (inflight->resend == id) {
		inflight->resend = flight->next;
	}
	inflight->active -= flight->on_wire;
	inflight->count--;
	*flight = (struct session_flight){.next = inflight->free};
	inflight->free = id;
}

static void
put_on_wire(struct session_inflight *inflight, struct session_flight *flight)
{
	inflight->active += !flight->on_wire;
	flight->on_wire = true;
}

/* --- the gate --- */

static void
gate_opened(struct store_wait *wait)
{
	struct session_out *out = list_item(wait, struct session_out, gate_wait);

	out->gate_waits = false;
	session_mark_dirty(out->session);
}

/* Waits for the first ticket that is not durable, unless it does already. */
static void
arm_gate(struct session_out *out, uint64_t ticket)
{
	if (!out->gate_waits) {
		out->gate_waits = true;
		store_wait(out->session->table->port, &out->gate_wait, ticket);
	}
}

/* A row's state: the packet id, and what is known of it. */
static uint64_t
put_state(
    const struct session *session, const struct session_delivery *delivery, enum store_state state)
{
	if (delivery->qid == 0) {
		/* Its row moved or was never needed, but the chunk that moved it must be durable:
		 * any later operation tells when. This one deletes nothing. */
		return session_put(session->table,
		    &(struct store_op){.kind = STORE_RECV_DEL, .sid = session->sid});
	}
	return session_put(session->table, &(struct store_op){.kind = STORE_QUEUE_STATE,
					       .sid = session->sid,
					       .qid = delivery->qid,
					       .packet_id = delivery->packet_id,
					       .state = (uint8_t)state});
}

static void
close_gate(struct session *session, struct session_flight *flight, enum session_flight_state state)
{
	struct session_out *out = session->out;
	struct session_inflight *inflight = &out->inflight;
	uint16_t id = (uint16_t)(flight - inflight->items + 1);

	flight->state = (uint8_t)state;
	flight->gate_next = 0;
	flight->ticket = put_state(
	    session, &flight->delivery, state == SESSION_FLIGHT_HELD ? STORE_RELEASED : STORE_SENT);
	if (inflight->gate_last != 0) {
		flight_of(inflight, inflight->gate_last)->gate_next = id;
	} else {
		inflight->gate_first = id;
	}
	inflight->gate_last = id;
	/* Nobody is waited for: then all in front are durable. */
	arm_gate(out, flight->ticket);
}

/* Takes the one behind `before` (0: the first) out. */
static void
leave_gate(struct session_inflight *inflight, uint16_t before)
{
	uint16_t id = before != 0 ? flight_of(inflight, before)->gate_next : inflight->gate_first;
	uint16_t next = flight_of(inflight, id)->gate_next;

	if (before != 0) {
		flight_of(inflight, before)->gate_next = next;
	} else {
		inflight->gate_first = next;
	}
	if (inflight->gate_last == id) {
		inflight->gate_last = before;
	}
}

/* --- sending --- */

/* The place is freed; row and delivery are dropped for what the sink said. */
static void
drop_flight(struct session *session, struct session_flight *flight, enum session_offer why)
{
	struct session_delivery delivery = flight->delivery;

	vacate(&session->out->inflight, flight);
	session_drop(session, &delivery,
	    why == SESSION_DENIED ? SESSION_DROP_DENIED : SESSION_DROP_TOO_LARGE);
}

static bool
needs_gate(const struct session *session, const struct session_delivery *delivery)
{
	return delivery->qos == 2 && session->table->port != NULL &&
	       (delivery->qid != 0 || (delivery->flags & SESSION_GATED) != 0);
}

bool
session_inflight_send(struct session *session, struct session_delivery *delivery)
{
	struct session_out *out = session_out_of(session);
	struct session_flight *flight = add(&out->inflight, delivery);
	enum session_offer offer;

	if (flight == NULL) {
		session_drop(session, delivery, SESSION_DROP_MEMORY);
		return true;
	}
	if (needs_gate(session, delivery)) {
		close_gate(session, flight, SESSION_FLIGHT_GATED);
		return true;
	}
	flight->state = SESSION_FLIGHT_SENT;
	offer = session->sink->ops->offer(session->sink, &flight->delivery);
	if (offer == SESSION_TAKEN) {
		put_on_wire(&out->inflight, flight);
		if (flight->delivery.qid != 0) {
			put_state(session, &flight->delivery, STORE_SENT);
		}
		return true;
	}
	if (offer == SESSION_LATER) {
		vacate(&out->inflight, flight);
		return false;
	}
	drop_flight(session, flight, offer);
	return true;
}

static void finish(struct session *session, struct session_flight *flight);

/* Offers what was sent before, or has waited at the gate: with the QoS that the other side takes
 * now. QoS 0 is over with it. */
static enum session_offer
offer_flight(struct session *session, struct session_flight *flight)
{
	struct session_delivery lowered = flight->delivery;
	enum session_offer offer;

	if (flight->delivery.qos <= session->max_qos) {
		return session->sink->ops->offer(session->sink, &flight->delivery);
	}
	lowered.qos = session->max_qos;
	if (lowered.qos == 0) {
		lowered.packet_id = 0;
		lowered.flags &= (uint8_t)~SESSION_DUP;
	}
	offer = session->sink->ops->offer(session->sink, &lowered);
	if (offer == SESSION_TAKEN) {
		flight->delivery.qos = lowered.qos;
	}
	return offer;
}

/* It is on the wire, or over. */
static void
note_sent(struct session *session, struct session_flight *flight)
{
	if (flight->delivery.qos == 0) {
		finish(session, flight);
	} else {
		put_on_wire(&session->out->inflight, flight);
	}
}

/* Sends one again, as it stands. False: not now. */
static bool
resend(struct session *session, struct session_flight *flight)
{
	struct session_inflight *inflight = &session->out->inflight;
	enum session_offer offer;

	if (flight->state == SESSION_FLIGHT_RELEASED) {
		session->sink->ops->pubrel(session->sink, flight->delivery.packet_id);
		put_on_wire(inflight, flight);
		return true;
	}
	if (flight->state != SESSION_FLIGHT_SENT) {
		return true; /* the gate sends it */
	}
	if (inflight->active >= session->window || !session->sink->has_room) {
		return false;
	}
	/* [MQTT-3.3.1-1]; it does not expire any more, its delivery has begun. */
	if (!flight->is_new) {
		flight->delivery.flags |= SESSION_DUP;
	}
	offer = offer_flight(session, flight);
	if (offer == SESSION_LATER) {
		return false;
	}
	flight->is_new = false;
	if (offer != SESSION_TAKEN) {
		drop_flight(session, flight, offer);
	} else {
		note_sent(session, flight);
	}
	return true;
}

/* One whose ticket is durable, behind `before` in the gate. False: not now. */
static bool
pass_gate(struct session *session, struct session_flight *flight, uint16_t before)
{
	struct session_inflight *inflight = &session->out->inflight;
	enum session_offer offer;
	uint32_t left;

	if (flight->state == SESSION_FLIGHT_HELD) {
		leave_gate(inflight, before);
		flight->state = SESSION_FLIGHT_RELEASED;
		session->sink->ops->pubrel(session->sink, flight->delivery.packet_id);
		put_on_wire(inflight, flight);
		return true;
	}
	if (inflight->resend != 0 || inflight->active >= session->window ||
	    !session->sink->has_room) {
		return false;
	}
	/* Its delivery has not begun yet [MQTT-3.3.2-5]. */
	if (!msg_expiry_left(flight->delivery.msg, session_now(), &left)) {
		struct session_delivery delivery = flight->delivery;

		leave_gate(inflight, before);
		vacate(inflight, flight);
		session_drop(session, &delivery, SESSION_DROP_EXPIRED);
		return true;
	}
	offer = offer_flight(session, flight);
	if (offer == SESSION_LATER) {
		return false;
	}
	leave_gate(inflight, before);
	if (offer != SESSION_TAKEN) {
		drop_flight(session, flight, offer);
		return true;
	}
	flight->state = SESSION_FLIGHT_SENT;
	note_sent(session, flight);
	return true;
}

static void
pump_gate(struct session *session, unsigned *budget)
{
	struct session_out *out = session->out;
	struct session_inflight *inflight = &out->inflight;
	bool stopped = false; /* a PUBLISH must wait: those behind it, too */
	uint16_t before = 0, next;

	for (uint16_t id = inflight->gate_first; id != 0 && *budget > 0; id = next) {
		struct session_flight *flight = flight_of(inflight, id);

		next = flight->gate_next;
		if (!store_is_durable(session->table->port, flight->ticket)) {
			arm_gate(out, flight->ticket);
			return;
		}
		if ((flight->state == SESSION_FLIGHT_HELD || !stopped) &&
		    pass_gate(session, flight, before)) {
			--*budget;
		} else {
			stopped = true;
			before = id;
		}
	}
}

static void
pump_resends(struct session *session, unsigned *budget)
{
	struct session_inflight *inflight = &session->out->inflight;

	while (inflight->resend != 0 && *budget > 0) {
		struct session_flight *flight = flight_of(inflight, inflight->resend);
		uint16_t next = flight->next;

		if (!resend(session, flight)) {
			return;
		}
		inflight->resend = next;
		--*budget;
	}
}

bool
session_inflight_pump(struct session *session, unsigned *budget)
{
	if (session->out == NULL) {
		return true;
	}
	pump_resends(session, budget);
	pump_gate(session, budget);
	return session->out->inflight.resend == 0;
}

void
session_inflight_attach(struct session *session)
{
	if (session->out != NULL) {
		session->out->inflight.resend = session->out->inflight.first;
	}
}

void
session_inflight_detach(struct session *session)
{
	struct session_inflight *inflight;

	if (session->out == NULL) {
		return;
	}
	inflight = &session->out->inflight;
	for (uint16_t id = inflight->first; id != 0; id = flight_of(inflight, id)->next) {
		flight_of(inflight, id)->on_wire = false;
	}
	inflight->active = 0;
	inflight->resend = 0;
}

/* --- acknowledgements --- */

static void
finish(struct session *session, struct session_flight *flight)
{
	struct session_delivery delivery = flight->delivery;

	vacate(&session->out->inflight, flight);
	session_delete_row(session->table, session->sid, &delivery);
	session_delivery_fini(&delivery);
	session_wake(session);
	session_show_room(session);
}

void
session_puback(struct session *session, uint16_t packet_id)
{
	struct session_flight *flight = find(session, packet_id);

	if (flight != NULL && flight->state == SESSION_FLIGHT_SENT && flight->delivery.qos == 1) {
		finish(session, flight);
	}
}

bool
session_pubrec(struct session *session, uint16_t packet_id, uint8_t reason)
{
	struct session_flight *flight = find(session, packet_id);

	if (flight == NULL || flight->delivery.qos != 2 || flight->state == SESSION_FLIGHT_GATED) {
		/* A refusal of what is not there asks for nothing [MQTT-4.3.3-4]. */
		return reason >= WIRE_REASON_FIRST_ERROR;
	}
	if (flight->state == SESSION_FLIGHT_HELD) {
		return true;
	}
	if (flight->state == SESSION_FLIGHT_SENT && reason >= WIRE_REASON_FIRST_ERROR) {
		finish(session, flight);
		return true;
	}
	if (flight->state == SESSION_FLIGHT_SENT) {
		if (flight->delivery.qid != 0) {
			/* The message stays, for the row's deletion. */
			close_gate(session, flight, SESSION_FLIGHT_HELD);
			return true;
		}
		msg_unref(&flight->delivery.msg);
		flight->state = SESSION_FLIGHT_RELEASED;
	}
	if (session->sink != NULL) {
		session->sink->ops->pubrel(session->sink, packet_id);
		put_on_wire(&session->out->inflight, flight);
	}
	return true;
}

void
session_pubcomp(struct session *session, uint16_t packet_id)
{
	struct session_flight *flight = find(session, packet_id);

	if (flight != NULL && flight->state == SESSION_FLIGHT_RELEASED) {
		finish(session, flight);
	}
}

/* --- a side that has forgotten --- */

/* Those whose PUBREL waits need not send it. */
static void
forget_held(struct session_inflight *inflight)
{
	uint16_t before = 0, next;

	for (uint16_t id = inflight->gate_first; id != 0; id = next) {
		next = flight_of(inflight, id)->gate_next;
		if (flight_of(inflight, id)->state == SESSION_FLIGHT_HELD) {
			leave_gate(inflight, before);
			flight_of(inflight, id)->state = SESSION_FLIGHT_RELEASED;
		} else {
			before = id;
		}
	}
}

size_t
session_inflight_forget(struct session *session)
{
	struct session_inflight *inflight;
	size_t sent = 0;
	uint16_t next;

	if (session->out == NULL) {
		return 0;
	}
	inflight = &session->out->inflight;
	forget_held(inflight);
	for (uint16_t id = inflight->first; id != 0; id = next) {
		struct session_flight *flight = flight_of(inflight, id);

		next = flight->next;
		if (flight->state == SESSION_FLIGHT_RELEASED) {
			finish(session, flight); /* it had the message */
		} else if (flight->state == SESSION_FLIGHT_SENT) {
			flight->delivery.flags &= (uint8_t)~SESSION_DUP;
			flight->is_new = true;
			sent++;
		}
	}
	return sent;
}

/* --- loading and freeing --- */

bool
session_inflight_load(struct session *session, struct session_delivery *delivery, bool released)
{
	struct session_inflight *inflight = &session_out_of(session)->inflight;
	uint16_t id = delivery->packet_id;
	uint16_t before = 0;
	struct session_flight *flight;

	if (id > inflight->cap && !grow(inflight, id)) {
		return false;
	}
	for (uint16_t at = inflight->free; at != id; at = flight_of(inflight, at)->next) {
		if (at == 0) {
			return false;
		}
		before = at;
	}
	if (before != 0) {
		flight_of(inflight, before)->next = flight_of(inflight, id)->next;
	} else {
		inflight->free = flight_of(inflight, id)->next;
	}
	flight = occupy(inflight, id, delivery);
	flight->state = released ? SESSION_FLIGHT_RELEASED : SESSION_FLIGHT_SENT;
	return true;
}

void
session_out_free(struct session *session)
{
	struct session_out *out = session->out;

	if (out == NULL) {
		return;
	}
	for (uint16_t id = out->inflight.first; id != 0;) {
		struct session_flight *flight = flight_of(&out->inflight, id);

		id = flight->next;
		session_delivery_fini(&flight->delivery);
	}
	for (int i = 0; i < SESSION_RING_COUNT; i++) {
		struct session_delivery delivery;

		while (session_queue_pop(session, (enum session_ring_name)i, &delivery)) {
			session_delivery_fini(&delivery);
		}
		mem_free(&out->rings[i].items);
	}
	if (out->gate_waits) {
		store_wait_cancel(session->table->port, &out->gate_wait);
	}
	mem_free(&out->inflight.items);
	mem_free(&session->out);
}
