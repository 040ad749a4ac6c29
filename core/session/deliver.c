/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A delivery arrives: it is sent at once, queued, or dropped by the rules; and the pump, which
 * sends what waits when window and output have room. Owner's worker.
 *
 * The fast path sends in the middle of a publisher's fan-out; all else that may have effects on
 * other sessions (giving back shared deliveries) waits for phase SETTLE.
 *
 * Versions (flow 5): a live delivery of a retained publication that was published before a
 * subscription was first made came too early for it; the replay brings that value. Where the
 * version is above all first asofs, nothing is looked at. Else the session matches its own
 * subscriptions again and keeps those that were there in time.
 */
#include "session/session_int.h"

#include "wire/topic_name.h"

enum {
	PUMP_CAP = 128,    /* deliveries of a session in one turn */
	PUMP_VISITS = 1024 /* nodes of the retained store in one turn */
};

/* --- dropping --- */

static const struct {
	enum counter counter;
	const char *text; /* NULL: the ordinary fate of QoS 0, not worth a line */
} drops[] = {
    [SESSION_DROP_QUEUE_FULL] = {COUNTER_DROPPED_QUEUE_FULL, "its queue is full"},
    [SESSION_DROP_QOS0_OFFLINE] = {COUNTER_DROPPED_QOS0_OFFLINE, NULL},
    [SESSION_DROP_EXPIRED] = {COUNTER_DROPPED_EXPIRED, NULL},
    [SESSION_DROP_TOO_LARGE] = {COUNTER_DROPPED_TOO_LARGE, "larger than its Maximum Packet Size"},
    [SESSION_DROP_DENIED] = {COUNTER_DROPPED_DENIED, "it may not receive it"},
    [SESSION_DROP_MEMORY] = {COUNTER_DROPPED_MEMORY, "no memory"},
    [SESSION_DROP_GONE] = {COUNTER_DROPPED_SESSION_GONE, "the session ended"},
};

/* At most once per session and minute. */
static void
log_drop(struct session *session, const struct session_delivery *delivery, enum session_drop reason)
{
	uint16_t minute = (uint16_t)(session_now() / 60000 % UINT16_MAX + 1);

	if (drops[reason].text == NULL || session->drop_minute == minute) {
		return;
	}
	session->drop_minute = minute;
	log_write(LOG_LEVEL_WARNING,
	    (struct log_field[]){{"client", msg_client_id_of(session->client)},
		{"topic", delivery->msg != NULL ? msg_topic(delivery->msg) : (struct bytes){0}}},
	    2, "a delivery of QoS %u was dropped: %s (said once a minute)", (unsigned)delivery->qos,
	    drops[reason].text);
}

void
session_delete_row(
    const struct session_table *table, uint64_t sid, struct session_delivery *delivery)
{
	if (delivery->qid != 0) {
		session_put(table, &(struct store_op){.kind = STORE_QUEUE_DEL,
				       .sid = sid,
				       .qid = delivery->qid,
				       .msg = delivery->msg});
		delivery->qid = 0;
	}
}

void
session_drop(struct session *session, struct session_delivery *delivery, enum session_drop reason)
{
	counter_add(drops[reason].counter, 1);
	log_drop(session, delivery, reason);
	if (session->table->route_ops->dropped != NULL) {
		session->table->route_ops->dropped(
		    session->table->route_arg, session, delivery, reason);
	}
	session_delete_row(session->table, session->sid, delivery);
	session_delivery_fini(delivery);
}

void
session_deliver_lost(struct session_table *table, uint64_t sid, struct bytes group_name,
    struct session_delivery *delivery)
{
	if ((delivery->flags & SESSION_SHARED) != 0 && delivery->qos > 0 && group_name.len != 0 &&
	    table->route_ops->redispatch(
		table->route_arg, table, group_name, delivery, sid, (struct bytes){NULL, 0})) {
		return;
	}
	counter_add(COUNTER_DROPPED_SESSION_GONE, 1);
	session_delete_row(table, sid, delivery);
	session_delivery_fini(delivery);
}

/* --- versions --- */

struct kept {
	VEC(uint32_t) ids;
	uint8_t qos;
	bool retain;
	bool any;
};

static void
keep(const struct session *session, const struct session_sub *sub, const struct msg *msg,
    struct kept *kept)
{
	uint8_t qos = session_limits_of(session)->upgrade_outgoing_qos || msg->qos > sub->qos
			  ? sub->qos
			  : msg->qos;

	/* [MQTT-3.3.4-2]: the highest; all identifiers [MQTT-3.3.4-4]. */
	kept->any = true;
	kept->qos = qos > kept->qos ? qos : kept->qos;
	kept->retain = kept->retain || ((sub->flags & TOPIC_RETAIN_AS_PUBLISHED) != 0 &&
					   (msg->flags & MSG_RETAIN) != 0);
	if (sub->subscription_id != 0) {
		vec_push(&kept->ids, sub->subscription_id);
	}
}

/* Which of the subscriptions that match were there when it was published? True when all were. */
static bool
match_again(
    const struct session *session, const struct session_delivery *delivery, struct kept *kept)
{
	const struct msg *msg = delivery->msg;
	const struct session_sub *sub;
	bool all = true;

	for (size_t at = 0; (sub = session_sub_next(session, &at)) != NULL;) {
		if (sub->share_len != 0 ||
		    !wire_topic_matches(session_sub_full(sub), msg_topic(msg))) {
			continue;
		}
		if ((sub->flags & TOPIC_NO_LOCAL) != 0 &&
		    bytes_equal(msg_client_id(msg), msg_client_id_of(session->client))) {
			continue; /* [MQTT-3.8.3-3] */
		}
		if (sub->asof >= delivery->version) {
			all = false;
			continue;
		}
		keep(session, sub, msg, kept);
	}
	return all;
}

static void
adopt(struct session *session, struct session_delivery *delivery, struct kept *kept)
{
	if (delivery->subscription_id_count > 1) {
		mem_free(&delivery->subscription_ids);
	}
	delivery->subscription_id_count =
	    (uint16_t)(kept->ids.count < UINT16_MAX ? kept->ids.count : UINT16_MAX);
	if (kept->ids.count > 1) {
		delivery->subscription_ids = kept->ids.items;
		kept->ids.items = NULL;
	} else {
		delivery->subscription_id = kept->ids.count != 0 ? kept->ids.items[0] : 0;
	}
	delivery->flags &= (uint8_t)~SESSION_RETAIN;
	delivery->flags |= kept->retain ? SESSION_RETAIN : 0;
	delivery->qos = kept->qos;
	if (kept->qos == 0) {
		session_delete_row(session->table, session->sid, delivery);
	}
}

/* False: it was published before all subscriptions that it matches. */
static bool
was_in_time(struct session *session, struct session_delivery *delivery)
{
	struct kept kept = {0};

	if (delivery->version == 0 || (delivery->flags & (SESSION_SHARED | SESSION_REPLAY)) != 0 ||
	    session->subs == NULL || delivery->version > session_subs_max_asof(session)) {
		return true;
	}
	if (!match_again(session, delivery, &kept) && kept.any) {
		adopt(session, delivery, &kept);
	}
	vec_fini(&kept.ids);
	return kept.any;
}

/* --- arriving --- */

/* Is a member of this group awake? Then somebody else should have it. */
static bool
somebody_is_awake(const struct session *session, const struct session_delivery *delivery)
{
	const struct session_sub *sub = session_sub_by_group(session, delivery->group);
	const struct topic_group *group;

	if (sub == NULL) {
		return false;
	}
	group = topic_tree_find_group(
	    session->table->house->tree, session_sub_share_name(sub), session_sub_full(sub));
	for (uint32_t i = 0; group != NULL && i < group->member_count; i++) {
		if (group->members[i].subscriber.sid != session->sid &&
		    (topic_member_word(&group->members[i]) & TOPIC_MEMBER_ONLINE) != 0) {
			return true;
		}
	}
	return false;
}

/* Asleep: the output is not there. */
static void
keep_for_later(struct session *session, struct session_delivery *delivery)
{
	if (delivery->qos == 0) {
		if (!session_limits_of(session)->queue_qos0) {
			session_drop(session, delivery, SESSION_DROP_QOS0_OFFLINE);
			return;
		}
	} else if ((delivery->flags & SESSION_SHARED) != 0 &&
		   (delivery->flags & SESSION_GIVEN_BACK) == 0 &&
		   somebody_is_awake(session, delivery)) {
		/* Not here: this may be the middle of a fan-out. */
		if (session_queue_push(session, SESSION_RING_FRESH, delivery)) {
			session_mark_dirty(session);
			return;
		}
	}
	session_queue_add(session, delivery);
}

/* May it go out before anything that waits? */
static bool
may_pass(const struct session *session, const struct session_delivery *delivery)
{
	const struct session_out *out = session->out;

	if (!session->serving || !session->sink->has_room) {
		return false;
	}
	if (delivery->qos == 0) {
		return out == NULL || out->rings[SESSION_RING_QOS0].count == 0;
	}
	/* An open replay takes turns with what is live, in the pump. */
	return session_window_is_open(session) && !session_replay_is_open(session) &&
	       (out == NULL ||
		   (out->rings[SESSION_RING_QOS12].count == 0 && out->inflight.resend == 0));
}

void
session_deliver(struct session *session, struct session_delivery *delivery)
{
	uint32_t left;

	if (!was_in_time(session, delivery)) {
		session_delete_row(session->table, session->sid, delivery);
		session_delivery_fini(delivery);
		return;
	}
	if (session->sink == NULL) {
		keep_for_later(session, delivery);
		return;
	}
	if (!msg_expiry_left(delivery->msg, session_now(), &left)) {
		session_drop(session, delivery, SESSION_DROP_EXPIRED);
		return;
	}
	if (!may_pass(session, delivery) || !session_send(session, delivery)) {
		session_queue_add(session, delivery);
		if (session_replay_is_open(session)) {
			session_wake(session);
		}
	}
	session_show_room(session);
}

static void
drop_lent(
    struct session *session, const struct session_delivery *delivery, enum session_drop reason)
{
	struct session_delivery own = *delivery;

	(void)msg_ref(own.msg);
	session_drop(session, &own, reason);
}

bool
session_lend(struct session *session, const struct session_delivery *delivery)
{
	uint32_t left;

	if (session->sink == NULL || delivery->version != 0 || delivery->qos != 0 ||
	    !may_pass(session, delivery) || !msg_expiry_left(delivery->msg, session_now(), &left)) {
		return false;
	}
	switch (session->sink->ops->offer(session->sink, delivery)) {
	case SESSION_TAKEN:
		break;
	case SESSION_LATER:
		return false;
	case SESSION_TOO_LARGE:
		drop_lent(session, delivery, SESSION_DROP_TOO_LARGE);
		break;
	case SESSION_DENIED:
		drop_lent(session, delivery, SESSION_DROP_DENIED);
		break;
	}
	session_show_room(session);
	return true;
}

bool
session_pass(struct session *session, const struct msg_draft *draft)
{
	struct session_sink *sink = session->sink;
	const struct session_out *out = session->out;

	if (sink == NULL || sink->ops->pass == NULL || !session->serving || !sink->has_room ||
	    (out != NULL && out->rings[SESSION_RING_QOS0].count != 0) ||
	    !sink->ops->pass(sink, draft)) {
		return false;
	}
	session_show_room(session);
	return true;
}

/* --- sending --- */

bool
session_send(struct session *session, struct session_delivery *delivery)
{
	if (delivery->qos > session->max_qos) {
		delivery->qos = session->max_qos;
		if (delivery->qos == 0) {
			session_delete_row(session->table, session->sid, delivery);
		}
	}
	if (delivery->qos > 0) {
		return session_inflight_send(session, delivery);
	}
	switch (session->sink->ops->offer(session->sink, delivery)) {
	case SESSION_TAKEN:
		session_delivery_fini(delivery);
		return true;
	case SESSION_LATER:
		return false;
	case SESSION_TOO_LARGE:
		session_drop(session, delivery, SESSION_DROP_TOO_LARGE);
		return true;
	case SESSION_DENIED:
		session_drop(session, delivery, SESSION_DROP_DENIED);
		return true;
	}
	return true;
}

/* QoS 0 needs room, the others a window too; they take turns. */
static enum session_step
live_step(struct session *session)
{
	bool others = session_queue_count(session, SESSION_RING_QOS12) != 0 &&
		      session_window_is_open(session);
	bool qos0 = session_queue_count(session, SESSION_RING_QOS0) != 0;
	enum session_ring_name ring;
	struct session_delivery delivery;
	uint32_t left;

	if (!others && !qos0) {
		return SESSION_STEP_NONE;
	}
	ring = qos0 && (!others || session->qos0_turn) ? SESSION_RING_QOS0 : SESSION_RING_QOS12;
	session->qos0_turn = ring != SESSION_RING_QOS0;
	session_queue_pop(session, ring, &delivery);
	if (!msg_expiry_left(delivery.msg, session_now(), &left)) {
		session_drop(session, &delivery, SESSION_DROP_EXPIRED);
	} else if (!session_send(session, &delivery)) {
		session_queue_push_front(session, ring, &delivery);
		return SESSION_STEP_STOP;
	}
	session_replay_held_one(session, ring);
	return SESSION_STEP_DONE;
}

/* The one whose turn it is, or else the other; then it is the other's turn. */
static enum session_step
step(struct session *session, unsigned *visits, bool *again)
{
	bool first = session->replay_turn;

	for (int i = 0; i < 2; i++) {
		bool replay = i == 0 ? first : !first;
		enum session_step result =
		    replay ? session_replay_step(session, visits) : live_step(session);

		if (result == SESSION_STEP_DONE) {
			session->replay_turn = !replay;
		}
		if (result == SESSION_STEP_AGAIN) {
			*again = true;
		} else if (result != SESSION_STEP_NONE) {
			return result;
		}
	}
	return SESSION_STEP_NONE;
}

bool
session_pump(struct session *session)
{
	unsigned budget = PUMP_CAP;
	unsigned visits = PUMP_VISITS;
	bool again = false;

	session_queue_settle_fresh(session);
	if (!session->serving) {
		return false;
	}
	if (session_inflight_pump(session, &budget)) {
		while (budget > 0 && session->sink->has_room &&
		       step(session, &visits, &again) == SESSION_STEP_DONE) {
			budget--;
		}
	}
	session_show_room(session);
	return budget == 0 || again;
}

void
session_has_room(struct session *session)
{
	session_wake(session);
	session_show_room(session);
}

void
session_show_room(const struct session *session)
{
	uint32_t word = 0;

	if (session_subs_more_of(session) == NULL || session->subs->more->member == NULL) {
		return;
	}
	if (session->sink != NULL) {
		word = TOPIC_MEMBER_ONLINE;
		if (session->serving && session->sink->has_room &&
		    session_window_is_open(session) &&
		    session_queue_count(session, SESSION_RING_QOS12) == 0) {
			word |= TOPIC_MEMBER_HAS_ROOM;
		}
	}
	if (atomic_load_explicit(&session->subs->more->member->word, memory_order_relaxed) !=
	    word) {
		atomic_store_explicit(
		    &session->subs->more->member->word, word, memory_order_relaxed);
	}
}
