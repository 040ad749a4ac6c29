/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retained messages for a new subscription: a cursor that is pulled when window and output have
 * room, outside the limits of the queue (flow 5). Owned by the session; open until it is through.
 *
 * Every value newer than `asof` is delivered live, since its publisher saw the subscription; the
 * cursor sends the present value of a topic if it is not newer, else skips it. What goes out at QoS
 * 0 is sent whatever its version: its live copy may have died with a connection. A message that was
 * pulled when the sink turned out to have no room is held and looked up again: by then its topic
 * may have a newer value.
 *
 * On resume the cursor goes on from its position once what was queued then has been sent, and then
 * with a new asof: so it brings also what the queue had no room for meanwhile. In the store only
 * the fact stands that a replay is open: after a crash it begins anew. A replay waits for the
 * ticket of its SUBSCRIBE, so SUBACK goes first, and while the store is failing a replay that would
 * write rows waits for it to be well.
 */
#include "session/session_int.h"

#include "session/record.h"

bool
session_replay_is_open(const struct session *session)
{
	const struct session_subs_more *more = session_subs_more_of(session);

	return more != NULL && !list_is_empty(&more->replays);
}

/* Mostly the first: they end in the order in which they began. */
static struct session_replay *
find(const struct session *session, const struct session_sub *sub)
{
	if (!sub->has_replay) {
		return NULL;
	}
	list_each (link, &session->subs->more->replays) {
		struct session_replay *replay = list_item(link, struct session_replay, link);

		if (replay->sub == sub) {
			return replay;
		}
	}
	return NULL;
}

static void
put_cursor(struct session *session, const struct session_sub *sub, enum store_kind kind)
{
	if (session_is_stored(session)) {
		session_put(session->table,
		    &(struct store_op){
			.kind = kind, .sid = session->sid, .key = session_sub_key(sub)});
	}
}

void
session_replay_begin(
    struct session *session, struct session_sub *sub, uint64_t asof, uint64_t ticket, bool write)
{
	struct session_replay *replay = find(session, sub);

	if (replay == NULL) {
		replay = mem_zalloc(sizeof(*replay));
		replay->sub = sub;
		topic_retain_cursor_init(&replay->cursor, session_sub_full(sub));
		list_append(&session_subs_make_more(session)->replays, &replay->link);
		sub->has_replay = true;
	} else {
		msg_unref(&replay->held);
		topic_retain_cursor_restart(&replay->cursor);
	}
	replay->asof = asof;
	replay->resumed = false;
	replay->ticket = ticket;
	if (write) {
		put_cursor(session, sub, STORE_CURSOR_PUT);
	}
	session_mark_dirty(session);
}

void
session_replay_close(struct session *session, struct session_sub *sub, bool write)
{
	struct session_subs_more *more = session_subs_more_of(session);
	struct session_replay *replay = find(session, sub);

	if (replay == NULL) {
		return;
	}
	if (write) {
		put_cursor(session, sub, STORE_CURSOR_DEL);
	}
	sub->has_replay = false;
	list_remove(&replay->link);
	topic_retain_cursor_fini(&replay->cursor);
	msg_unref(&replay->held);
	mem_free(&replay);
	if (list_is_empty(&more->replays)) {
		memset(more->replay_hold, 0, sizeof(more->replay_hold));
		if (more->replay_waits) {
			more->replay_waits = false;
			store_wait_cancel(session->table->port, &more->replay_wait);
		}
		session_subs_settle(session);
	}
}

void
session_replay_attach(struct session *session)
{
	if (!session_replay_is_open(session)) {
		return;
	}
	list_each (link, &session->subs->more->replays) {
		list_item(link, struct session_replay, link)->resumed = true;
	}
	for (int ring = 0; ring <= SESSION_RING_QOS12; ring++) {
		session->subs->more->replay_hold[ring] =
		    session_queue_count(session, (enum session_ring_name)ring);
	}
}

void
session_replay_held_one(struct session *session, enum session_ring_name ring)
{
	struct session_subs_more *more = session_subs_more_of(session);

	if (more != NULL && more->replay_hold[ring] > 0) {
		more->replay_hold[ring]--;
	}
}

/* Is something there that was queued at resume? What was given back since then is not. */
static bool
is_held(struct session *session)
{
	bool held = false;

	for (int ring = 0; ring <= SESSION_RING_QOS12; ring++) {
		uint32_t count = session_queue_count(session, (enum session_ring_name)ring);
		uint32_t *hold = &session->subs->more->replay_hold[ring];

		*hold = *hold < count ? *hold : count;
		held = held || *hold != 0;
	}
	return held;
}

/* One asof for all that go on. */
static void
go_on(struct session *session)
{
	uint64_t asof = topic_retain_asof(session->table->house->retain);

	list_each (link, &session->subs->more->replays) {
		struct session_replay *replay = list_item(link, struct session_replay, link);

		if (replay->resumed) {
			replay->asof = asof;
			replay->resumed = false;
		}
	}
}

/* --- a step --- */

static void
store_answered(struct store_wait *wait)
{
	struct session_subs_more *more = list_item(wait, struct session_subs_more, replay_wait);

	more->replay_waits = false;
	session_wake(more->session);
}

static void
wait_for(struct session *session, uint64_t ticket)
{
	struct session_subs_more *more = session->subs->more;

	if (!more->replay_waits) {
		more->replay_waits = true;
		more->replay_wait.fn = store_answered;
		store_wait(session->table->port, &more->replay_wait, ticket);
	}
}

/* May the first cursor be pulled now? */
static bool
may_pull(struct session *session, const struct session_replay *replay)
{
	struct store_port *port = session->table->port;

	if (is_held(session) || (replay->sub->qos > 0 && !session_window_is_open(session))) {
		return false;
	}
	if (port == NULL) {
		return true;
	}
	if (!store_is_durable(port, replay->ticket)) {
		wait_for(session, replay->ticket);
		return false;
	}
	if (replay->sub->qos > 0 && session_is_stored(session) && store_is_failing(port)) {
		/* An operation that deletes nothing: it is durable when the store is well. */
		if (!session->subs->more->replay_waits) {
			wait_for(session,
			    session_put(session->table,
				&(struct store_op){.kind = STORE_RECV_DEL, .sid = session->sid}));
		}
		return false;
	}
	return true;
}

/* The present value of the next topic; NULL: none, and *over_out says whether the walk is. */
static struct msg *
pull(struct session *session, struct session_replay *replay, unsigned *visits,
    uint64_t *version_out, bool *over_out)
{
	struct topic_retain *retain = session->table->house->retain;
	struct msg *msg;
	uint32_t left;

	*over_out = false;
	if (replay->held == NULL) {
		msg =
		    topic_retain_next(retain, &replay->cursor, session_now(), visits, version_out);
		*over_out = msg == NULL && replay->cursor.done;
		return msg;
	}
	msg = topic_retain_get(retain, msg_topic(replay->held), version_out);
	msg_unref(&replay->held);
	if (msg != NULL && !msg_expiry_left(msg, session_now(), &left)) {
		msg_unref(&msg);
	}
	return msg;
}

static void
put_row(struct session *session, struct session_delivery *delivery)
{
	struct session_table *table = session->table;
	struct buf rec;

	if (atomic_load_explicit(&delivery->msg->store_id, memory_order_relaxed) == 0) {
		msg_store_id_set(delivery->msg, session_table_draw_id(table));
	}
	delivery->qid = session_table_draw_id(table);
	delivery->flags |= SESSION_GATED;
	buf_init(&rec, SIZE_MAX);
	session_record_queue_encode(delivery, (struct bytes){NULL, 0}, &rec);
	session_put(table, &(struct store_op){.kind = STORE_QUEUE_PUT,
			       .sid = session->sid,
			       .qid = delivery->qid,
			       .msg = delivery->msg,
			       .rec = buf_bytes(&rec)});
	buf_fini(&rec);
}

/* False: no room; the message is held. */
static bool
send(struct session *session, struct session_replay *replay, struct msg *msg, uint8_t qos,
    uint64_t version)
{
	struct session_delivery delivery = {.msg = msg,
	    .version = version,
	    .qos = qos,
	    .flags = SESSION_RETAIN | SESSION_REPLAY, /* [MQTT-3.3.1-8] */
	    .subscription_id = replay->sub->subscription_id,
	    .subscription_id_count = replay->sub->subscription_id != 0};

	if (qos > 0 && session_is_stored(session)) {
		put_row(session, &delivery);
	}
	if (session_send(session, &delivery)) {
		return true;
	}
	session_delete_row(session->table, session->sid, &delivery);
	replay->held = delivery.msg;
	return false;
}

enum session_step
session_replay_step(struct session *session, unsigned *visits)
{
	struct session_replay *replay;
	struct msg *msg;
	uint64_t version = 0;
	uint8_t qos;
	bool over;

	if (!session_replay_is_open(session)) {
		return SESSION_STEP_NONE;
	}
	replay = list_item(session->subs->more->replays.head.next, struct session_replay, link);
	if (!may_pull(session, replay)) {
		return SESSION_STEP_NONE;
	}
	if (*visits == 0) {
		return SESSION_STEP_AGAIN;
	}
	if (replay->resumed) {
		go_on(session);
	}
	msg = pull(session, replay, visits, &version, &over);
	if (msg == NULL) {
		if (over) {
			session_replay_close(session, replay->sub, true);
		}
		return over || *visits != 0 ? SESSION_STEP_DONE : SESSION_STEP_AGAIN;
	}
	if ((replay->sub->flags & TOPIC_NO_LOCAL) != 0 &&
	    bytes_equal(msg_client_id(msg), session_client_id(session))) {
		/* Its own, which No Local keeps from it in the store, too [MQTT-3.8.3-3]. */
		msg_unref(&msg);
		return SESSION_STEP_DONE;
	}
	if (topic_id_is_part(replay->sub->subscription_id) &&
	    !topic_is_in_part(replay->sub->subscription_id, msg_topic(msg))) {
		msg_unref(&msg);
		return SESSION_STEP_DONE;
	}
	qos = session_limits_of(session)->upgrade_outgoing_qos || msg->qos > replay->sub->qos
		  ? replay->sub->qos
		  : msg->qos;
	if (qos > 0 && version > replay->asof) {
		msg_unref(&msg);
		return SESSION_STEP_DONE;
	}
	return send(session, replay, msg, qos, version) ? SESSION_STEP_DONE : SESSION_STEP_STOP;
}
