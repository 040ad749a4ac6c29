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
		outcome = wire_decode(&peer->decoder, rest, &packet);
		if (outcome.status == WIRE_MORE) {
			break;
		}
		peer->read_at_ms = context_current->mono_ms;
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
		peer->ops->packet(peer, &packet);
	}
	*more_out = *more_out || (peer->paused != 0 && used < input.len);
	return used;
}

/* Keeps what was not used. */
static void
keep_tail(struct peer *peer, struct bytes rest)
{
	if (rest.len == 0 || peer->state != PEER_OPEN) {
		mem_free(&peer->tail);
		peer->tail_len = peer->tail_cap = 0;
		return;
	}
	if (peer->tail_cap < rest.len) {
		uint8_t *tail = mem_alloc(rest.len);

		memcpy(tail, rest.data, rest.len);
		mem_free(&peer->tail);
		peer->tail = tail;
		peer->tail_cap = (uint32_t)rest.len;
	} else {
		memmove(peer->tail, rest.data, rest.len);
	}
	peer->tail_len = (uint32_t)rest.len;
}

/* Room for more bytes of a big packet in the tail; false without memory. */
static bool
grow_tail(struct peer *peer)
{
	size_t cap =
	    peer->tail_cap < FIRST_BIG_CAP / 2 ? FIRST_BIG_CAP : 2 * (size_t)peer->tail_cap;
	uint8_t *tail;

	if (peer->tail_cap - peer->tail_len >= WORKER_SCRATCH_SIZE / 4) {
		return true;
	}
	tail = mem_try_realloc(peer->tail, cap);
	if (tail == NULL) {
		return false;
	}
	peer->tail = tail;
	peer->tail_cap = (uint32_t)cap;
	return true;
}

/* How much may lie there unhandled. Before CONNECT it is no more than that may be [flow 6]. */
static size_t
most_input(const struct peer *peer, size_t room)
{
	size_t most = peer->decoder.max_packet_size;

	return peer->decoder.version == 0 && most != 0 && most < room ? most : room;
}

/* Where the input of this pass is, with what could be read; false: the peer is over. */
static bool
gather(struct peer *peer, struct bytes *input_out, bool *again_out)
{
	uint8_t *at;
	size_t room;
	long n = ERR_AGAIN;

	if (peer->tail_whole) {
		at = peer->tail;
		room = peer->tail_len;
	} else if (peer->tail_len < BIG) {
		at = worker_scratch(peer->room->worker);
		if (peer->tail_len != 0) {
			memcpy(at, peer->tail, peer->tail_len);
		}
		room = most_input(peer, WORKER_SCRATCH_SIZE);
	} else {
		if (!grow_tail(peer)) {
			peer_fail(peer, PEER_BROKEN);
			return false;
		}
		at = peer->tail;
		room = peer->tail_cap;
	}
	if (room > peer->tail_len) {
		room -= peer->tail_len;
		n = stream_read(peer->stream, at + peer->tail_len, room);
	}
	if (n == 0 || (n < 0 && n != ERR_AGAIN)) {
		peer->eof = true;
		peer_fail(peer, n == 0 ? PEER_EOF : PEER_BROKEN);
		return false;
	}
	n = n > 0 ? n : 0;
	counter_add(COUNTER_BYTES_RECEIVED, (uint64_t)n);
	*input_out = bytes_make(at, peer->tail_len + (size_t)n);
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

	if (peer->tail_len != 0) {
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
