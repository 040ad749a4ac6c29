/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of inbound QoS 2 packet ids of a session (flow 7). It outlives connections: an id enters
 * it when the PUBLISH was decoded, and leaves it when the RECV_DEL of its PUBREL is durable, or
 * when the publication was refused. Owned by the session.
 *
 * A small hash table, open addressing; its size is bounded by Receive Maximum, which conn watches.
 * Ids whose deletion has become durable meanwhile are dropped when they are met or counted, and
 * when the table is rebuilt: nobody waits for them. A rebuilt table is as large as what is left in
 * it needs. To count looks through the table only when the oldest deletion is durable, so at most
 * once per commit.
 */
#include "session/session_int.h"

enum { FEWEST_PLACES = 4 };

enum inbound_state { INBOUND_FREE, INBOUND_ASKED, INBOUND_TAKEN, INBOUND_RELEASED };

struct inbound {
	uint64_t ticket; /* TAKEN: of PUBREC; RELEASED: of PUBCOMP */
	uint16_t packet_id;
	uint8_t state;
	bool again; /* asked for once more while the question is open */
	bool here;  /* came on the present connection */
};

struct session_inbox {
	uint64_t oldest; /* no RELEASED one has a smaller ticket */
	uint32_t count;
	uint32_t released;
	uint32_t mask;
	struct inbound items[];
};

static uint32_t
home_of(const struct session_inbox *inbox, uint16_t packet_id)
{
	return (packet_id * UINT32_C(0x9e3779b1) >> 16) & inbox->mask;
}

static struct inbound *
find(const struct session *session, uint16_t packet_id)
{
	struct session_inbox *inbox = session->inbox;

	if (inbox == NULL) {
		return NULL;
	}
	for (uint32_t at = home_of(inbox, packet_id);; at = (at + 1) & inbox->mask) {
		struct inbound *item = &inbox->items[at];

		if (item->state == INBOUND_FREE) {
			return NULL;
		}
		if (item->packet_id == packet_id) {
			return item;
		}
	}
}

static void
note_release(struct session_inbox *inbox, uint64_t ticket)
{
	if (inbox->released++ == 0 || ticket < inbox->oldest) {
		inbox->oldest = ticket;
	}
}

static void
put(struct session_inbox *inbox, const struct inbound *item)
{
	uint32_t at = home_of(inbox, item->packet_id);

	while (inbox->items[at].state != INBOUND_FREE) {
		at = (at + 1) & inbox->mask;
	}
	inbox->items[at] = *item;
	inbox->count++;
	if (item->state == INBOUND_RELEASED) {
		note_release(inbox, item->ticket);
	}
}

static struct session_inbox *
make(uint32_t size)
{
	struct session_inbox *inbox = mem_zalloc(sizeof(*inbox) + size * sizeof(inbox->items[0]));

	inbox->mask = size - 1;
	return inbox;
}

/* Takes an item out and closes the gap by moving back what belongs before it. */
static void
take_out(struct session *session, struct inbound *item)
{
	struct session_inbox *inbox = session->inbox;
	uint32_t gap = (uint32_t)(item - inbox->items);

	inbox->count--;
	inbox->released -= item->state == INBOUND_RELEASED;
	for (uint32_t at = (gap + 1) & inbox->mask; inbox->items[at].state != INBOUND_FREE;
	     at = (at + 1) & inbox->mask) {
		uint32_t home = home_of(inbox, inbox->items[at].packet_id);

		if (((at - home) & inbox->mask) >= ((at - gap) & inbox->mask)) {
			inbox->items[gap] = inbox->items[at];
			gap = at;
		}
	}
	inbox->items[gap] = (struct inbound){0};
	if (inbox->count == 0) {
		mem_free(&session->inbox);
	}
}

static bool
is_over(const struct session *session, const struct inbound *item)
{
	return item->state == INBOUND_RELEASED &&
	       store_is_durable(session->table->port, item->ticket);
}

static bool
stays(const struct session *session, const struct inbound *item)
{
	return item->state != INBOUND_FREE && !is_over(session, item);
}

/* Without what is over, and half full at most; without anything there is none. */
static void
rebuild(struct session *session)
{
	struct session_inbox *old = session->inbox;
	uint32_t count = 0, size = FEWEST_PLACES;

	session->inbox = NULL;
	for (uint32_t at = 0; at <= old->mask; at++) {
		count += stays(session, &old->items[at]);
	}
	while (count * 2 > size) {
		size *= 2;
	}
	if (count != 0) {
		session->inbox = make(size);
	}
	for (uint32_t at = 0; at <= old->mask; at++) {
		if (stays(session, &old->items[at])) {
			put(session->inbox, &old->items[at]);
		}
	}
	mem_free(&old);
}

static void
enter(struct session *session, const struct inbound *item)
{
	struct session_inbox *inbox = session->inbox;

	if (inbox != NULL && (inbox->count + 1) * 4 > (inbox->mask + 1) * 3) {
		rebuild(session);
	}
	if (session->inbox == NULL) {
		session->inbox = make(FEWEST_PLACES);
	}
	put(session->inbox, item);
}

enum session_inbound
session_inbound_begin(struct session *session, uint16_t packet_id, uint64_t *ticket_out)
{
	struct inbound *item = find(session, packet_id);

	if (item != NULL && is_over(session, item)) {
		take_out(session, item);
		item = NULL;
	}
	if (item == NULL) {
		enter(session, &(struct inbound){
				   .packet_id = packet_id, .state = INBOUND_ASKED, .here = true});
		return SESSION_INBOUND_NEW;
	}
	item->here = true;
	if (item->state == INBOUND_ASKED) {
		/* No second question; it gets the verdict of the first. */
		item->again = true;
		return SESSION_INBOUND_ASKED;
	}
	/* [MQTT-4.3.3-10]: not routed again, whatever its DUP. */
	*ticket_out = item->ticket;
	return SESSION_INBOUND_KNOWN;
}

void
session_inbound_done(
    struct session *session, uint16_t packet_id, uint8_t reason, uint64_t *ticket_io, bool tell)
{
	struct inbound *item = find(session, packet_id);

	if (item == NULL || item->state != INBOUND_ASKED) {
		return;
	}
	tell = tell || item->again;
	if (reason < WIRE_REASON_FIRST_ERROR) {
		if (session_is_stored(session)) {
			*ticket_io =
			    session_put(session->table, &(struct store_op){.kind = STORE_RECV_PUT,
							    .sid = session->sid,
							    .packet_id = packet_id});
		}
		item->state = INBOUND_TAKEN;
		item->again = false;
		item->ticket = *ticket_io;
	} else {
		take_out(session, item);
	}
	if (tell && session->sink != NULL) {
		session->sink->ops->received(session->sink, packet_id, reason, *ticket_io);
	}
}

uint8_t
session_inbound_release(struct session *session, uint16_t packet_id, uint64_t *ticket_out)
{
	struct inbound *item = find(session, packet_id);

	*ticket_out = 0;
	if (item != NULL && is_over(session, item)) {
		take_out(session, item);
		item = NULL;
	}
	/* Before its PUBREC no PUBREL can be meant for it. */
	if (item == NULL || item->state == INBOUND_ASKED) {
		return WIRE_REASON_PACKET_IDENTIFIER_NOT_FOUND;
	}
	if (item->state == INBOUND_RELEASED) {
		*ticket_out = item->ticket;
		return WIRE_REASON_SUCCESS;
	}
	if (!session_is_stored(session)) {
		take_out(session, item);
		return WIRE_REASON_SUCCESS;
	}
	item->ticket = session_put(session->table,
	    &(struct store_op){
		.kind = STORE_RECV_DEL, .sid = session->sid, .packet_id = packet_id});
	item->state = INBOUND_RELEASED;
	note_release(session->inbox, item->ticket);
	*ticket_out = item->ticket;
	return WIRE_REASON_SUCCESS;
}

void
session_forgotten(struct session *session, size_t *sent_out, size_t *received_out)
{
	struct session_inbox *inbox = session->inbox;

	*received_out = 0;
	for (uint32_t at = 0; inbox != NULL && at <= inbox->mask; at++) {
		const struct inbound *item = &inbox->items[at];

		if (item->state != INBOUND_TAKEN) {
			continue; /* free, released already, or not answered: it has no row */
		}
		++*received_out;
		if (session_is_stored(session)) {
			(void)session_put(session->table, &(struct store_op){.kind = STORE_RECV_DEL,
							      .sid = session->sid,
							      .packet_id = item->packet_id});
		}
	}
	mem_free(&session->inbox);
	*sent_out = session_inflight_forget(session);
}

size_t
session_inbound_count(struct session *session)
{
	const struct session_inbox *inbox = session->inbox;

	if (inbox != NULL && inbox->released != 0 &&
	    store_is_durable(session->table->port, inbox->oldest)) {
		rebuild(session);
	}
	return session->inbox != NULL ? session->inbox->count : 0;
}

/* Mostly the number of all says it: to look at each was a tenth of QoS 2's instructions. */
bool
session_inbound_reaches(const struct session *session, size_t most, bool until_durable)
{
	const struct session_inbox *inbox = session->inbox;
	size_t count = 0;

	if (inbox == NULL || inbox->count < most) {
		return most == 0;
	}
	for (uint32_t at = 0; at <= inbox->mask; at++) {
		const struct inbound *item = &inbox->items[at];

		count += item->here && item->state != INBOUND_FREE && !is_over(session, item) &&
			 (until_durable || item->state != INBOUND_RELEASED);
	}
	return count >= most;
}

void
session_inbox_leave(struct session *session)
{
	struct session_inbox *inbox = session->inbox;

	for (uint32_t at = 0; inbox != NULL && at <= inbox->mask; at++) {
		inbox->items[at].here = false;
	}
}

void
session_inbox_load(struct session *session, uint16_t packet_id)
{
	if (find(session, packet_id) == NULL) {
		enter(session, &(struct inbound){.packet_id = packet_id, .state = INBOUND_TAKEN});
	}
}

void
session_inbox_free(struct session *session)
{
	mem_free(&session->inbox);
}

bool
session_inbound_has(const struct session *session, uint16_t packet_id)
{
	return find(session, packet_id) != NULL;
}
