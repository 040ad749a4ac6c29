/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes to packets. Input is read into the worker's scratch, behind what was left of the last time;
 * packets are handled in place; what remains becomes the tail again. A packet too large for that
 * grows in the tail itself, as its bytes come: what a client announces costs nothing.
 *
 * A pass ends when the bytes do, when the role pauses or closes the peer, or at a cap, for
 * fairness; then whole packets may be left, and the next pass reads nothing before it has handled
 * them.
 */
#include <assert.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/mem.h"
#include "loop/worker.h"
#include "peer/peer_int.h"

enum {
	PACKETS_PER_PASS = 1000,
	BIG = WORKER_SCRATCH_SIZE / 2, /* tails from here on are read into directly */
	FIRST_BIG_CAP = 2 * WORKER_SCRATCH_SIZE,
	LOOK_SIZE = 4096, /* read of who is paused, to find the end */
};

/* Handles packets at the front of the input; returns how many bytes they were. */
static size_t
handle(struct peer *peer, struct bytes input, bool *more_out)
{
	struct wire_decoder decoder = peer_decoder(peer);
	size_t used = 0;
	int left = PACKETS_PER_PASS;

	*more_out = false;
	while (peer->state == PEER_OPEN && peer->paused == 0) {
		struct bytes rest = bytes_skip(input, used);
		struct wire_packet packet;
		struct wire_outcome outcome;

		if (rest.len == 0) {
			break;
		}
		if (left-- == 0) {
			*more_out = true;
			break;
		}
		outcome = wire_decode(&decoder, rest, &packet);
		if (outcome.status == WIRE_MORE) {
			break;
		}
		peer->read_at = (uint32_t)context_current->mono_ms;
		if (outcome.status == WIRE_REFUSED) {
			peer->ops->ended(peer, PEER_REFUSED, &outcome, &packet);
			break;
		}
		if (peer->ops->may_read != NULL && !peer->ops->may_read(peer)) {
			assert(peer->paused != 0);
			break;
		}
		counter_add(COUNTER_PACKETS_RECEIVED, 1);
		used += outcome.size;
		if (packet.type == WIRE_PUBLISH && packet.publish.topic.len != 0) {
			decoder.known_topic = packet.publish.topic;
		}
		peer->ops->packet(peer, &packet);
		if (packet.type == WIRE_CONNECT) {
			decoder = peer_decoder(peer); /* the version is known now */
		}
	}
	*more_out = *more_out || (peer->paused != 0 && used < input.len);
	return used;
}

/* Keeps what was not used. */
static void
keep_tail(struct peer *peer, struct bytes rest)
{
	struct peer_tail *tail = peer->tail;

	if (rest.len == 0 || peer->state != PEER_OPEN) {
		mem_free(&peer->tail);
		return;
	}
	if (tail == NULL || tail->cap < rest.len) {
		tail = mem_alloc(sizeof(*tail) + rest.len);
		memcpy(tail->data, rest.data, rest.len);
		mem_free(&peer->tail);
		peer->tail = tail;
		tail->cap = (uint32_t)rest.len;
	} else {
		memmove(tail->data, rest.data, rest.len);
	}
	tail->len = (uint32_t)rest.len;
}

/* Room for more bytes of a big packet in the tail; false without memory. */
static bool
grow_tail(struct peer *peer)
{
	struct peer_tail *tail = peer->tail;
	size_t cap = tail->cap < FIRST_BIG_CAP / 2 ? FIRST_BIG_CAP : 2 * (size_t)tail->cap;

	if (tail->cap - tail->len >= WORKER_SCRATCH_SIZE / 4) {
		return true;
	}
	tail = mem_try_realloc(tail, sizeof(*tail) + cap);
	if (tail == NULL) {
		return false;
	}
	peer->tail = tail;
	tail->cap = (uint32_t)cap;
	return true;
}

/* How much may lie there unhandled. Before CONNECT it is no more than that may be [flow 6]. */
static size_t
most_input(const struct peer *peer, size_t room)
{
	size_t most = peer->max_packet_in;

	return peer->version == 0 && most != 0 && most < room ? most : room;
}

/* Where the input of this pass is, with what could be read; false: the peer is over. */
static bool
gather(struct peer *peer, struct bytes *input_out, bool *again_out)
{
	size_t len = peer_tail_len(peer), room;
	uint8_t *at;
	long n = ERR_AGAIN;

	if (peer->tail_whole && peer->tail != NULL) {
		at = peer->tail->data;
		room = len;
	} else if (len < BIG) {
		at = worker_scratch(peer->room->worker);
		if (len != 0) {
			memcpy(at, peer->tail->data, len);
		}
		room = most_input(peer, WORKER_SCRATCH_SIZE);
	} else {
		if (!grow_tail(peer)) {
			peer_fail(peer, PEER_BROKEN);
			return false;
		}
		at = peer->tail->data;
		room = peer->tail->cap;
	}
	if (room > len) {
		room -= len;
		n = stream_read(peer->stream, at + len, room);
	}
	if (n == 0 || (n < 0 && n != ERR_AGAIN)) {
		peer->eof = true;
		peer_fail(peer, n == 0 ? PEER_EOF : PEER_BROKEN);
		return false;
	}
	n = n > 0 ? n : 0;
	counter_add(COUNTER_BYTES_RECEIVED, (uint64_t)n);
	*input_out = bytes_make(at, len + (size_t)n);
	/* Handled without reading: there may be more to read. A full read: likewise. */
	*again_out = peer->tail_whole || (size_t)n == room;
	return true;
}

/*
 * Whoever pauses still notices the end: the stream has told of it, unless this was raised before
 * the pause. What was received before the end is handled first, so nothing is over while something
 * is left.
 */
void
peer_look(struct peer *peer)
{
	uint8_t *at = worker_scratch(peer->room->worker);
	long n;

	if (peer->tail != NULL) {
		return;
	}
	n = stream_read(peer->stream, at, LOOK_SIZE);
	if (n > 0) {
		counter_add(COUNTER_BYTES_RECEIVED, (uint64_t)n);
		keep_tail(peer, bytes_make(at, (size_t)n));
		peer->tail_whole = true;
	} else if (n != ERR_AGAIN) {
		peer->eof = true;
		peer_fail(peer, n == 0 ? PEER_EOF : PEER_BROKEN);
	}
}

void
peer_read(struct peer *peer)
{
	struct bytes input;
	size_t used;
	bool again, more;

	if (!gather(peer, &input, &again)) {
		return;
	}
	peer->is_reading = true;
	used = handle(peer, input, &more);
	peer->is_reading = false;
	if (peer->state == PEER_DEAD) {
		return; /* the tail goes with the peer */
	}
	keep_tail(peer, bytes_skip(input, used));
	peer->tail_whole = more;
	if (peer->state == PEER_OPEN && peer->paused == 0 && (again || more)) {
		stream_raise(peer->stream, STREAM_READ);
	}
}
