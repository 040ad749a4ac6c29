/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message to its receivers. The publishing worker makes one delivery and at most one row per
 * session, with the highest QoS among the hits, all Subscription Identifiers, and No Local applied
 * [MQTT-3.3.4-2] [MQTT-3.8.3-3]. Where more than one filter matched, a table of stamps by (worker,
 * slot) finds the sessions that were hit twice: no sort. Where one filter matched nothing is
 * merged.
 *
 * Receivers of this worker get their delivery at once. For another worker they are gathered in its
 * batch: entries {msg, receivers}; the batch becomes one mail at the end of the turn.
 */
#include <assert.h>

#include "base/counter.h"
#include "base/mem.h"
#include "route/batch.h"
#include "route/route_int.h"
#include "session/record.h"

static void
on_subscribers(void *arg, const struct topic_subscriber *subscribers, uint32_t count)
{
	struct route_desk *desk = arg;

	vec_push(&desk->runs, (struct route_run){.subscribers = subscribers, .count = count});
}

static void
on_group(void *arg, const struct topic_group *group)
{
	struct route_desk *desk = arg;

	vec_push(&desk->groups, group);
}

static const struct topic_match_ops match_ops = {.subscribers = on_subscribers, .group = on_group};

void
route_tree_match(struct route_desk *desk, struct bytes topic)
{
	topic_tree_match(desk->house->sessions->tree, topic, &match_ops, desk);
}

void
route_match(struct route_desk *desk, struct bytes topic)
{
	desk->runs.count = 0;
	desk->groups.count = 0;
	route_memo_match(desk, topic);
}

uint8_t
route_qos_of(const struct topic_subscriber *subscriber, uint8_t qos)
{
	return (subscriber->flags & TOPIC_UPGRADE_QOS) != 0 || subscriber->qos < qos
		   ? subscriber->qos
		   : qos;
}

bool
route_writes_row(const struct route_desk *desk, uint8_t qos)
{
	for (size_t i = 0; i < desk->runs.count; i++) {
		const struct route_run *run = &desk->runs.items[i];

		for (uint32_t k = 0; k < run->count; k++) {
			if ((run->subscribers[k].flags & TOPIC_PERSISTENT) != 0 &&
			    route_qos_of(&run->subscribers[k], qos) > 0) {
				return true;
			}
		}
	}
	for (size_t i = 0; i < desk->groups.count; i++) {
		if (desk->groups.items[i]->has_persistent) {
			return true;
		}
	}
	return false;
}

/* --- rows --- */

uint64_t
route_put_row(struct route_desk *desk, uint64_t sid, struct bytes group_name,
    struct session_delivery *delivery)
{
	struct store_op op = {.kind = STORE_QUEUE_PUT, .sid = sid, .msg = delivery->msg};

	delivery->qid = session_table_draw_id(desk->table);
	delivery->flags |= SESSION_GATED;
	(void)msg_store_id_set(delivery->msg, session_table_draw_id(desk->table));
	buf_clear(&desk->record);
	session_record_queue_encode(delivery, group_name, &desk->record);
	op.qid = delivery->qid;
	op.rec = buf_bytes(&desk->record);
	return store_put(desk->port, &op);
}

/* --- one delivery --- */

void
route_send(struct route_desk *desk, const struct topic_subscriber *subscriber,
    struct bytes group_name, struct session_delivery *delivery)
{
	if (subscriber->worker == worker_index(desk->worker)) {
		struct session *session =
		    session_table_get(desk->table, subscriber->slot, subscriber->generation);

		if (session != NULL) {
			session_deliver(session, delivery);
		} else {
			session_deliver_lost(desk->table, subscriber->sid, group_name, delivery);
		}
		return;
	}
	route_batch_add(desk, subscriber, group_name, delivery);
}

static void
note_credit(struct route_desk *desk, struct route_fan *fan, uint16_t worker)
{
	struct worker *target = loop_worker(desk->house->loop, worker);

	if (mail_is_over(desk->worker, target)) {
		fan->worker_over |= UINT32_C(1)
				    << (worker < ROUTE_LAST_WORKER ? worker : ROUTE_LAST_WORKER);
	}
}

/* It goes out at once, and the fan-out's own reference is enough. */
static bool
lend(const struct route_desk *desk, const struct topic_subscriber *subscriber,
    const struct session_delivery *delivery)
{
	struct session *session;

	if (subscriber->worker != worker_index(desk->worker) ||
	    delivery->subscription_id_count > 1) {
		return false;
	}
	session = session_table_get(desk->table, subscriber->slot, subscriber->generation);
	return session != NULL && session_lend(session, delivery);
}

bool
route_pass(struct route_desk *desk, const struct msg_draft *draft)
{
	const struct topic_subscriber *subscriber;
	struct session *session;

	if (desk->runs.count != 1 || desk->groups.count != 0 || desk->runs.items[0].count != 1 ||
	    draft->flags != 0 || draft->props.len != 0) {
		return false;
	}
	subscriber = desk->runs.items[0].subscribers;
	if (subscriber->worker != worker_index(desk->worker) || subscriber->subscription_id != 0 ||
	    (subscriber->flags & TOPIC_NO_LOCAL) != 0 ||
	    route_qos_of(subscriber, draft->qos) != 0) {
		return false;
	}
	session = session_table_get(desk->table, subscriber->slot, subscriber->generation);
	return session != NULL && session_pass(session, draft);
}

static void
deliver(struct route_desk *desk, struct route_fan *fan, const struct topic_subscriber *subscriber,
    struct session_delivery *delivery)
{
	if (delivery->qos > 0 && desk->port != NULL && desk->table != NULL &&
	    fan->mode != ROUTE_NONE && (subscriber->flags & TOPIC_PERSISTENT) != 0) {
		fan->ticket = route_put_row(desk, subscriber->sid, (struct bytes){0}, delivery);
	}
	fan->reached++;
	if (delivery->qos == 0 && lend(desk, subscriber, delivery)) {
		return;
	}
	(void)msg_ref(delivery->msg);
	route_send(desk, subscriber, (struct bytes){0}, delivery);
}

/* It does not want this one: it is its own, or of another part. */
static bool
is_left_out(const struct route_fan *fan, const struct topic_subscriber *subscriber)
{
	if (topic_id_is_part(subscriber->subscription_id) &&
	    !topic_is_in_part(subscriber->subscription_id, msg_topic(fan->msg))) {
		return true;
	}
	return (subscriber->flags & TOPIC_NO_LOCAL) != 0 && fan->no_local &&
	       subscriber->worker == fan->worker && subscriber->slot == fan->slot &&
	       subscriber->generation == fan->generation;
}

static uint8_t
retain_flag(const struct route_fan *fan, const struct topic_subscriber *subscriber)
{
	return (fan->msg->flags & MSG_RETAIN) != 0 &&
		       (subscriber->flags & TOPIC_RETAIN_AS_PUBLISHED) != 0
		   ? SESSION_RETAIN
		   : 0;
}

/* One filter: each session is there once. */
static void
fan_single(struct route_desk *desk, struct route_fan *fan, const struct route_run *run)
{
	for (uint32_t i = 0; i < run->count; i++) {
		const struct topic_subscriber *subscriber = &run->subscribers[i];
		struct session_delivery delivery = {.msg = fan->msg,
		    .version = fan->version,
		    .subscription_id = subscriber->subscription_id,
		    .subscription_id_count = subscriber->subscription_id != 0,
		    .qos = route_qos_of(subscriber, fan->msg->qos),
		    .flags = retain_flag(fan, subscriber)};

		if (!is_left_out(fan, subscriber)) {
			deliver(desk, fan, subscriber, &delivery);
		}
	}
}

/* --- merging --- */

static struct route_stamp *
stamp_of(struct route_desk *desk, const struct topic_subscriber *subscriber)
{
	struct route_stamps *stamps = &desk->stamps[subscriber->worker];

	if (subscriber->slot >= stamps->count) {
		uint32_t count = stamps->count != 0 ? stamps->count : 64;

		while (count <= subscriber->slot) {
			count *= 2;
		}
		stamps->items = mem_realloc(stamps->items, count * sizeof(*stamps->items));
		memset(stamps->items + stamps->count, 0,
		    (count - stamps->count) * sizeof(*stamps->items));
		stamps->count = count;
	}
	return &stamps->items[subscriber->slot];
}

static void
add_id(struct route_desk *desk, struct route_receiver *receiver, uint32_t id)
{
	uint32_t at;

	if (id == 0 || receiver->id_count == UINT16_MAX) {
		return;
	}
	vec_push(&desk->ids, (struct route_id){.id = id});
	at = (uint32_t)desk->ids.count;
	if (receiver->last_id != 0) {
		desk->ids.items[receiver->last_id - 1].next = at;
	} else {
		receiver->first_id = at;
	}
	receiver->last_id = at;
	receiver->id_count++;
}

static void
merge(struct route_desk *desk, struct route_fan *fan, const struct topic_subscriber *subscriber)
{
	uint8_t qos = route_qos_of(subscriber, fan->msg->qos);
	struct route_stamp *stamp = stamp_of(desk, subscriber);
	struct route_receiver *receiver;

	/* A slot may have been given to another session meanwhile: the generation tells. */
	if (stamp->number == desk->stamp &&
	    desk->receivers.items[stamp->at].subscriber.generation == subscriber->generation) {
		receiver = &desk->receivers.items[stamp->at];
	} else {
		*stamp = (struct route_stamp){
		    .number = desk->stamp, .at = (uint32_t)desk->receivers.count};
		vec_push(&desk->receivers,
		    (struct route_receiver){.subscriber = *subscriber, .qos = qos});
		receiver = &desk->receivers.items[desk->receivers.count - 1];
	}
	receiver->qos = qos > receiver->qos ? qos : receiver->qos;
	receiver->subscriber.flags |= subscriber->flags & TOPIC_PERSISTENT;
	receiver->retain = receiver->retain || retain_flag(fan, subscriber) != 0;
	add_id(desk, receiver, subscriber->subscription_id);
}

static void
set_ids(struct route_desk *desk, const struct route_receiver *receiver,
    struct session_delivery *delivery)
{
	uint32_t at = receiver->first_id;

	delivery->subscription_id_count = receiver->id_count;
	if (receiver->id_count == 1) {
		delivery->subscription_id = desk->ids.items[at - 1].id;
	} else if (receiver->id_count > 1) {
		delivery->subscription_ids = mem_alloc(receiver->id_count * sizeof(uint32_t));
		for (uint32_t i = 0; i < receiver->id_count; i++) {
			delivery->subscription_ids[i] = desk->ids.items[at - 1].id;
			at = desk->ids.items[at - 1].next;
		}
	}
}

static void
fan_merged(struct route_desk *desk, struct route_fan *fan)
{
	if (++desk->stamp == 0) {
		for (unsigned w = 0; w < WORKER_MAX; w++) {
			memset(desk->stamps[w].items, 0,
			    desk->stamps[w].count * sizeof(struct route_stamp));
		}
		desk->stamp = 1;
	}
	desk->receivers.count = 0;
	desk->ids.count = 0;
	for (size_t i = 0; i < desk->runs.count; i++) {
		const struct route_run *run = &desk->runs.items[i];

		for (uint32_t k = 0; k < run->count; k++) {
			if (!is_left_out(fan, &run->subscribers[k])) {
				merge(desk, fan, &run->subscribers[k]);
			}
		}
	}
	for (size_t i = 0; i < desk->receivers.count; i++) {
		const struct route_receiver *receiver = &desk->receivers.items[i];
		struct session_delivery delivery = {.msg = fan->msg,
		    .version = fan->version,
		    .qos = receiver->qos,
		    .flags = receiver->retain ? SESSION_RETAIN : 0};

		set_ids(desk, receiver, &delivery);
		deliver(desk, fan, &receiver->subscriber, &delivery);
	}
}

/* --- shared groups: one delivery each, beside the others --- */

static void
fan_group(struct route_desk *desk, struct route_fan *fan, const struct topic_group *group)
{
	const struct topic_group_member *member =
	    topic_group_choose(group, &desk->cursors, worker_random(desk->worker), NULL, NULL);
	const struct topic_subscriber *subscriber;
	struct session_delivery delivery;

	if (member == NULL) {
		return;
	}
	subscriber = &member->subscriber;
	delivery = (struct session_delivery){.msg = fan->msg,
	    .group = group->id,
	    .subscription_id = subscriber->subscription_id,
	    .subscription_id_count = subscriber->subscription_id != 0,
	    .qos = route_qos_of(subscriber, fan->msg->qos),
	    .flags = (uint8_t)(SESSION_SHARED | retain_flag(fan, subscriber))};
	if (delivery.qos > 0 && desk->port != NULL && desk->table != NULL &&
	    fan->mode != ROUTE_NONE && group->has_persistent) {
		fan->ticket = route_put_row(desk, subscriber->sid, group->name, &delivery);
	}
	delivery.msg = msg_ref(fan->msg);
	fan->reached++;
	route_send(desk, subscriber, group->name, &delivery);
}

void
route_fan_out(struct route_desk *desk, struct route_fan *fan)
{
	if (desk->runs.count == 1) {
		fan_single(desk, fan, &desk->runs.items[0]);
	} else if (desk->runs.count > 1) {
		fan_merged(desk, fan);
	}
	for (size_t i = 0; i < desk->groups.count; i++) {
		fan_group(desk, fan, desk->groups.items[i]);
	}
	for (uint16_t i = 0; i < desk->touched_count; i++) {
		note_credit(desk, fan, desk->touched[i]);
	}
	route_end_message(desk);
}
