/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring that grows. Its head leaves when its verdict is known, its ticket durable, and the broker
 * not over its transit budget. Only the head waits at the store; tickets rise along the ring, so
 * nothing behind it could leave earlier by much.
 */
#include "peer/acks.h"

#include <assert.h>

#include "base/mem.h"
#include "peer/peer.h"

enum {
	FIRST_CAP = 4,
	MANY = 4096, /* entries from which on nothing more is read until some have left */
};

static struct peer_ack *
entry_at(const struct peer_acks *acks, uint64_t number)
{
	return &acks->ring[number & (acks->cap - 1)];
}

static struct peer_acks *
make(struct peer *peer)
{
	if (peer->acks == NULL) {
		peer->acks = mem_zalloc(sizeof(*peer->acks));
		peer->acks->peer = peer;
	}
	return peer->acks;
}

void
peer_acks_free(struct peer *peer)
{
	struct peer_acks *acks = peer->acks;

	if (acks == NULL) {
		return;
	}
	if (list_is_linked(&acks->wait.link)) {
		store_wait_cancel(peer->room->port, &acks->wait);
	}
	list_remove(&acks->withheld_link);
	for (uint32_t i = 0; i < acks->count; i++) {
		mem_free(&entry_at(acks, acks->first + i)->reasons);
	}
	mem_free(&acks->ring);
	mem_free(&peer->acks);
}

static void
grow(struct peer_acks *acks)
{
	uint32_t cap = acks->cap != 0 ? 2 * acks->cap : FIRST_CAP;
	struct peer_ack *ring = mem_alloc(cap * sizeof(*ring));

	for (uint32_t i = 0; i < acks->count; i++) {
		ring[(acks->first + i) & (cap - 1)] = *entry_at(acks, acks->first + i);
	}
	mem_free(&acks->ring);
	acks->ring = ring;
	acks->cap = cap;
}

static bool
answers_publish(enum wire_type type)
{
	return type == WIRE_PUBACK || type == WIRE_PUBREC;
}

uint64_t
peer_ack_begin(struct peer *peer, enum wire_type type, uint16_t packet_id)
{
	struct peer_acks *acks = make(peer);
	uint64_t number;

	if (acks->count == acks->cap) {
		grow(acks);
	}
	number = acks->first + acks->count++;
	*entry_at(acks, number) =
	    (struct peer_ack){.packet_id = packet_id, .type = (unsigned)type & 0x7fU};
	acks->publishes += answers_publish(type);
	acks->pubrecs += type == WIRE_PUBREC;
	/* What repeats itself (a resent PUBLISH, PUBREL) is in no quota. */
	if (acks->count >= MANY) {
		peer_pause(peer, PEER_PAUSE_OWING);
	}
	return number;
}

void
peer_ack_know(struct peer *peer, uint64_t number, uint8_t reason, uint64_t ticket)
{
	struct peer_ack *ack = entry_at(peer->acks, number);

	assert(number >= peer->acks->first && number - peer->acks->first < peer->acks->count);
	ack->reason = reason;
	ack->ticket = ticket;
	ack->known = true;
	peer_acks_release(peer);
}

void
peer_ack_know_many(
    struct peer *peer, uint64_t number, uint8_t *reasons, uint32_t count, uint64_t ticket)
{
	struct peer_ack *ack = entry_at(peer->acks, number);

	ack->reasons = reasons;
	ack->reason_count = count;
	peer_ack_know(peer, number, 0, ticket);
}

void
peer_ack_know_id(
    struct peer *peer, enum wire_type type, uint16_t packet_id, uint8_t reason, uint64_t ticket)
{
	struct peer_acks *acks = peer->acks;

	for (uint32_t i = 0; acks != NULL && i < acks->count; i++) {
		struct peer_ack *ack = entry_at(acks, acks->first + i);

		if (ack->type == type && ack->packet_id == packet_id && !ack->known) {
			ack->reason = reason;
			ack->ticket = ticket;
			ack->known = true;
		}
	}
	peer_acks_release(peer);
}

void
peer_ack(
    struct peer *peer, enum wire_type type, uint16_t packet_id, uint8_t reason, uint64_t ticket)
{
	if (peer->acks == NULL && !peer->room->withhold &&
	    (ticket == 0 || store_is_durable(peer->room->port, ticket))) {
		peer_send_ack(peer, type, packet_id, reason);
		return;
	}
	peer_ack_know(peer, peer_ack_begin(peer, type, packet_id), reason, ticket);
}

static void
send_entry(struct peer *peer, struct peer_ack *ack)
{
	if (ack->reasons != NULL) {
		struct wire_packet packet = {.type = (enum wire_type)ack->type,
		    .suback = {.packet_id = ack->packet_id,
			.reasons = bytes_make(ack->reasons, ack->reason_count)}};

		(void)peer_send(peer, &packet);
		mem_free(&ack->reasons);
	} else {
		peer_send_ack(peer, (enum wire_type)ack->type, ack->packet_id, ack->reason);
	}
}

static void
on_durable(struct store_wait *wait)
{
	peer_acks_release(list_item(wait, struct peer_acks, wait)->peer);
}

void
peer_acks_release(struct peer *peer)
{
	struct peer_acks *acks = peer->acks;

	while (acks != NULL && acks->count != 0 && peer->state == PEER_OPEN) {
		struct peer_ack *ack = entry_at(acks, acks->first);

		if (!ack->known) {
			return;
		}
		if (answers_publish((enum wire_type)ack->type) && peer->room->withhold) {
			if (!list_is_linked(&acks->withheld_link)) {
				list_append(&peer->room->withheld, &acks->withheld_link);
			}
			return;
		}
		if (ack->ticket != 0 && !store_is_durable(peer->room->port, ack->ticket)) {
			if (!list_is_linked(&acks->wait.link)) {
				acks->wait.fn = on_durable;
				store_wait(peer->room->port, &acks->wait, ack->ticket);
			}
			return;
		}
		acks->publishes -= answers_publish((enum wire_type)ack->type);
		acks->pubrecs -= ack->type == WIRE_PUBREC;
		send_entry(peer, ack);
		acks->first++;
		acks->count--;
		if ((peer->paused & PEER_PAUSE_OWING) != 0) {
			peer_resume(peer, PEER_PAUSE_OWING);
		}
	}
	if (acks != NULL && acks->count == 0) {
		peer_acks_free(peer);
	}
}
