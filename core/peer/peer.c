/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a peer: open -> closing (nothing is read, output goes out) -> lingering (shut; what still
 * comes is thrown away, so that the last words are not destroyed by a reset) -> dead (freed in
 * phase WRITE, never inside a callback).
 *
 * The clocks of a peer share one timer, which is set for the earliest and looks again when it
 * fires: a packet moves no timer.
 */
#include "peer/peer.h"

#include <assert.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/mem.h"
#include "loop/worker.h"
#include "peer/peer_int.h"

enum {
	LINGER_MS = 500,
	CLOSE_MS = 5000,
	FARTHEST_MS = INT32_MAX / 2, /* of a deadline */
};

static int64_t
now_ms(void)
{
	return context_current->mono_ms;
}

void
peer_mark_dirty(struct peer *peer)
{
	struct peer_room *room = peer->room;

	if (peer->dirty_at == 0) {
		vec_push(&room->dirty, peer);
		peer->dirty_at = (uint32_t)room->dirty.count;
	}
}

/* Not in phase WRITE, but for a peer whose turn in it has come. */
static void
unmark_dirty(struct peer *peer)
{
	if (peer->dirty_at != 0) {
		peer->room->dirty.items[peer->dirty_at - 1] = NULL;
		peer->dirty_at = 0;
	}
}

/* What the stream shall tell, from the state. */
static void
update_wanted(struct peer *peer)
{
	unsigned wanted = peer->wants_write ? STREAM_WRITE : 0;

	if (peer->state == PEER_LINGERING || (peer->state == PEER_OPEN && peer->paused == 0)) {
		wanted |= STREAM_READ;
	}
	stream_want(peer->stream, wanted);
}

/* --- clocks --- */

static int64_t
sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* How long until so many ms have passed since a moment; 0: they have. */
static int64_t
left_of(uint32_t since, uint32_t milliseconds)
{
	uint32_t elapsed = (uint32_t)now_ms() - since;

	return elapsed < milliseconds ? milliseconds - elapsed : 0;
}

static int64_t
left_to_deadline(const struct peer *peer)
{
	return peer->has_deadline ? (int32_t)(peer->deadline_at - (uint32_t)now_ms()) : INT64_MAX;
}

static int64_t
left_to_write(const struct peer *peer)
{
	return peer->state == PEER_OPEN && peer->write_timeout_ms != 0 &&
		       peer_out_len(&peer->out) != 0
		   ? left_of(peer->written_at, peer->write_timeout_ms)
		   : INT64_MAX;
}

static int64_t
left_to_live(const struct peer *peer)
{
	return peer->state == PEER_OPEN && peer->keep_alive_ms != 0 && peer->paused == 0
		   ? left_of(peer->read_at, peer->keep_alive_ms)
		   : INT64_MAX;
}

/* A timer that fires too early is cheap; one that is moved per packet is not. */
static void
arm(struct peer *peer)
{
	int64_t left =
	    sooner(left_to_deadline(peer), sooner(left_to_write(peer), left_to_live(peer)));

	if (left == INT64_MAX ||
	    (timer_is_set(&peer->timer) && peer->timer.due_ms <= now_ms() + left)) {
		return;
	}
	timer_set(peer->room->worker, &peer->timer, now_ms() + left);
}

static void
die(struct peer *peer)
{
	if (peer->state != PEER_DEAD) {
		peer->state = PEER_DEAD;
		timer_clear(peer->room->worker, &peer->timer);
		peer_mark_dirty(peer);
		worker_again(peer->room->worker);
	}
}

void
peer_fail(struct peer *peer, enum peer_end end)
{
	if (peer->state == PEER_OPEN) {
		peer->ops->ended(peer, end, NULL, NULL);
	} else {
		die(peer);
	}
}

static void
on_timer(struct worker *worker, struct timer *timer)
{
	struct peer *peer = list_item(timer, struct peer, timer);

	(void)worker;
	if (left_to_deadline(peer) <= 0) {
		peer_fail(peer, PEER_DEADLINE);
		return;
	}
	if (left_to_write(peer) == 0) {
		counter_add(COUNTER_CLOSED_WRITE_TIMEOUT, 1);
		peer_fail(peer, PEER_WRITE_TIMEOUT);
		return;
	}
	if (left_to_live(peer) == 0) {
		counter_add(COUNTER_CLOSED_KEEP_ALIVE, 1);
		peer_fail(peer, PEER_KEEP_ALIVE);
		return;
	}
	arm(peer);
}

void
peer_set_keep_alive(struct peer *peer, uint32_t milliseconds)
{
	peer->keep_alive_ms = milliseconds;
	peer->read_at = (uint32_t)now_ms();
	arm(peer);
}

void
peer_set_deadline(struct peer *peer, int64_t at_ms)
{
	int64_t left = at_ms - now_ms();

	peer->has_deadline = at_ms != 0;
	peer->deadline_at = (uint32_t)now_ms() + (uint32_t)sooner(left, FARTHEST_MS);
	arm(peer);
}

/* --- attaching --- */

static void
on_ready(struct stream *stream, unsigned events, void *owner)
{
	struct peer *peer = owner;

	(void)stream;
	if ((events & STREAM_WRITE) != 0 && peer->wants_write) {
		peer->wants_write = false;
		update_wanted(peer);
		peer_mark_dirty(peer);
	}
	if ((events & STREAM_READ) == 0) {
		return;
	}
	if (peer->state == PEER_OPEN) {
		if (peer->paused == 0) {
			peer_read(peer);
		} else {
			peer_look(peer);
		}
	} else if (peer->state == PEER_LINGERING) {
		long n = stream_read(
		    peer->stream, worker_scratch(peer->room->worker), WORKER_SCRATCH_SIZE);

		if (n == 0 || (n < 0 && n != ERR_AGAIN)) {
			die(peer);
		}
	}
}

int
peer_init(
    struct peer *peer, const struct peer_ops *ops, struct peer_room *room, struct stream *stream)
{
	peer->ops = ops;
	peer->stream = stream;
	peer->timer.fn = on_timer;
	peer->state = PEER_OPEN;
	stream_on_ready(stream, on_ready, peer);
	return peer_attach(peer, room);
}

int
peer_attach(struct peer *peer, struct peer_room *room)
{
	int error;

	peer->room = room;
	room->count++;
	peer->read_at = peer->written_at = (uint32_t)now_ms();
	error = stream_attach(peer->stream, room->worker);
	if (error != 0) {
		return error;
	}
	update_wanted(peer);
	if (peer->tail != NULL) {
		stream_raise(peer->stream, STREAM_READ);
	}
	if (peer_out_len(&peer->out) != 0) {
		peer_mark_dirty(peer);
	}
	arm(peer);
	return 0;
}

void
peer_detach(struct peer *peer)
{
	assert(peer->acks == NULL && !peer->is_reading);
	timer_clear(peer->room->worker, &peer->timer);
	unmark_dirty(peer);
	stream_detach(peer->stream);
	peer->wants_write = false;
	peer->room->count--;
	peer->room = NULL;
}

/* --- pausing --- */

void
peer_pause(struct peer *peer, enum peer_pause why)
{
	bool was = peer->paused != 0;

	peer->paused |= (uint8_t)why;
	if (!was && peer->state == PEER_OPEN) {
		update_wanted(peer);
	}
}

void
peer_resume(struct peer *peer, enum peer_pause why)
{
	if (peer->paused == 0) {
		return;
	}
	peer->paused &= (uint8_t)~why;
	if (peer->paused != 0 || peer->state != PEER_OPEN) {
		return;
	}
	/* The clock of keep alive stood still while nothing was read. */
	peer->read_at = (uint32_t)now_ms();
	arm(peer);
	update_wanted(peer);
	if (!peer->is_reading) {
		stream_raise(peer->stream, STREAM_READ);
	}
}

/* --- closing --- */

void
peer_close(struct peer *peer, bool at_once)
{
	if (peer->state == PEER_DEAD) {
		return;
	}
	if (at_once) {
		die(peer);
		return;
	}
	if (peer->state != PEER_OPEN) {
		return;
	}
	peer->state = PEER_CLOSING;
	peer_set_deadline(
	    peer, now_ms() + (peer->write_timeout_ms != 0 && peer->write_timeout_ms < CLOSE_MS
				     ? peer->write_timeout_ms
				     : CLOSE_MS));
	update_wanted(peer);
	peer_mark_dirty(peer);
	worker_again(peer->room->worker);
}

static void
free_peer(struct peer *peer)
{
	struct peer_room *room = peer->room;

	unmark_dirty(peer);
	timer_clear(room->worker, &peer->timer);
	peer_acks_free(peer);
	peer_out_fini(&peer->out, &room->pool);
	peer_aliases_free(&peer->aliases);
	mem_free(&peer->tail);
	stream_free(&peer->stream);
	room->count--;
	peer->ops->freed(peer);
}

static void
linger(struct peer *peer)
{
	peer->state = PEER_LINGERING;
	mem_free(&peer->tail);
	stream_shut(peer->stream);
	if (peer->eof) {
		die(peer);
		return;
	}
	timer_clear(peer->room->worker, &peer->timer);
	peer_set_deadline(peer, now_ms() + LINGER_MS);
	update_wanted(peer);
}

/* --- phase WRITE --- */

static void
after_progress(struct peer *peer)
{
	if (peer->was_full && peer_out_len(&peer->out) < PEER_OUT_LIMIT / 2) {
		peer->was_full = false;
		if (peer->state == PEER_OPEN) {
			peer->ops->has_room(peer);
		}
	}
	if ((peer->paused & PEER_PAUSE_OUTPUT) != 0 &&
	    peer_out_answer_len(&peer->out) < PEER_ANSWER_LIMIT / 2) {
		peer_resume(peer, PEER_PAUSE_OUTPUT);
	}
}

static void
flush(struct peer *peer)
{
	long taken;

	if (peer_out_len(&peer->out) == 0 || peer->wants_write) {
		return;
	}
	taken = peer_out_flush(&peer->out, &peer->room->pool, peer->stream);
	if (taken < 0) {
		peer->eof = true;
		peer_fail(peer, PEER_BROKEN);
		return;
	}
	counter_add(COUNTER_BYTES_SENT, (uint64_t)taken);
	if (taken > 0) {
		peer->written_at = (uint32_t)now_ms();
	}
	if (peer_out_len(&peer->out) != 0) {
		peer->wants_write = true;
		update_wanted(peer);
		arm(peer);
	}
	after_progress(peer);
}

static void
write_phase(struct worker *worker, void *arg)
{
	struct peer_room *room = arg;
	__typeof__(room->dirty) now = room->dirty;

	(void)worker;
	/* Those that become dirty meanwhile have their turn in the next. */
	room->dirty = room->writing;
	room->writing = now;
	for (size_t i = 0; i < room->writing.count; i++) {
		struct peer *peer = room->writing.items[i];

		if (peer == NULL) {
			continue;
		}
		peer->dirty_at = 0;
		if (peer->state != PEER_DEAD) {
			flush(peer);
		}
		if (peer->state == PEER_CLOSING && peer_out_len(&peer->out) == 0) {
			linger(peer);
		}
		if (peer->state == PEER_DEAD) {
			free_peer(peer);
		}
	}
	room->writing.count = 0;
	if (room->dirty.count != 0) {
		worker_again(room->worker);
	}
}

void
peer_room_init(struct peer_room *room, struct worker *worker, struct store_port *port)
{
	*room = (struct peer_room){.worker = worker, .port = port};
	peer_pool_init(&room->pool);
	list_init(&room->withheld);
	worker_on_phase(worker, WORKER_WRITE, write_phase, room);
}

void
peer_room_fini(struct peer_room *room)
{
	peer_pool_fini(&room->pool);
	vec_fini(&room->dirty);
	vec_fini(&room->writing);
}

void
peer_room_set_withhold(struct peer_room *room, bool withhold)
{
	struct list_link *link;
	struct list now;

	room->withhold = withhold;
	if (withhold) {
		return;
	}
	list_init(&now);
	while ((link = list_take_first(&room->withheld)) != NULL) {
		list_append(&now, link);
	}
	while ((link = list_take_first(&now)) != NULL) {
		peer_acks_release(list_item(link, struct peer_acks, withheld_link)->peer);
	}
}

void
peer_kill(struct peer *peer)
{
	free_peer(peer);
}
