/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FIFO of acknowledgements of a connection: PUBACK, PUBREC, PUBCOMP, SUBACK and UNSUBACK leave
 * in the order of the packets they answer, each when its verdict is known and what it promises is
 * durable. Entries are named by a number that rises while there are any. It is there only as long
 * as something waits, and dies with its connection.
 */
#ifndef PEER_ACKS_H
#define PEER_ACKS_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"
#include "wire/packet.h"

struct peer;

struct peer_ack {
	uint64_t ticket;  /* of the store; 0: nothing to wait for */
	uint8_t *reasons; /* of SUBACK and UNSUBACK; owned */
	uint32_t reason_count;
	uint16_t packet_id;
	uint8_t reason;
	uint8_t type : 7; /* enum wire_type */
	bool known : 1;   /* the verdict is there */
};

struct peer_acks {
	struct peer *peer;
	struct peer_ack *ring; /* cap entries, a power of two */
	uint64_t first;        /* number of the oldest */
	uint32_t count;
	uint32_t cap;
	uint32_t publishes; /* how many of them are PUBACK or PUBREC … */
	uint32_t pubrecs;   /* … and of these PUBREC */
	struct store_wait wait;
	struct list_link withheld_link; /* of room->withheld */
};

void peer_acks_free(struct peer *peer);

/* An acknowledgement that will be due; its number. */
uint64_t peer_ack_begin(struct peer *peer, enum wire_type type, uint16_t packet_id);

/* Its verdict. reasons (SUBACK, UNSUBACK) is taken over. Sends what can be sent. */
void peer_ack_know(struct peer *peer, uint64_t number, uint8_t reason, uint64_t ticket);
void peer_ack_know_many(
    struct peer *peer, uint64_t number, uint8_t *reasons, uint32_t count, uint64_t ticket);

/* All entries of this type and packet id that have no verdict yet. */
void peer_ack_know_id(
    struct peer *peer, enum wire_type type, uint16_t packet_id, uint8_t reason, uint64_t ticket);

/* Nothing waits and the ticket is durable: sent at once; else it queues. The fast way of most. */
void peer_ack(
    struct peer *peer, enum wire_type type, uint16_t packet_id, uint8_t reason, uint64_t ticket);

/* Sends from the front what is known, durable and not withheld. */
void peer_acks_release(struct peer *peer);

#endif
