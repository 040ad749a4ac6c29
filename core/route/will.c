/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wills (flow 9) and what members of shared groups give back (flow 8). Both come from sessions, by
 * the table that route gave them.
 */
#include "base/counter.h"
#include "base/mem.h"
#include "plugin/chain.h"
#include "route/batch.h"
#include "route/route_int.h"
#include "wire/topic_name.h"

struct open_will {
	struct route_publication publication; /* first */
	struct msg_client *client;
	struct msg *will;
	struct list_link link; /* of desk->wills, while its question is open */
	uint64_t sid;
	bool stored;
};

static void
delete_row(struct route_desk *desk, uint64_t sid)
{
	struct store_op op = {.kind = STORE_WILL_DEL, .sid = sid};

	(void)store_put(desk->port, &op);
}

/* The will as it came, born now: its expiry begins when it is published. */
static void
draft_of(struct msg_draft *draft, const struct msg *will)
{
	*draft = (struct msg_draft){.topic = msg_topic(will),
	    .payload = msg_payload(will),
	    .props = msg_props(will),
	    .client_id = msg_client_id(will),
	    .username = msg_username(will),
	    .born_mono_ms = context_current->mono_ms,
	    .born_wall_ms = context_current->wall_ms,
	    .expiry_s = will->expiry_s,
	    .qos = will->qos,
	    .flags = will->flags | MSG_WILL};
}

static void
free_will(struct plugin_request *request)
{
	struct open_will *open =
	    (struct open_will *)(void *)((char *)request -
					 offsetof(struct open_will, publication.request));

	plugin_request_fini(request);
	msg_draft_fini(&open->publication.draft);
	msg_client_unref(&open->client);
	msg_unref(&open->will);
	mem_free(&open);
}

void
route_wills_free(struct route_desk *desk)
{
	struct list_link *link;

	while ((link = list_take_first(&desk->wills)) != NULL) {
		struct open_will *open = list_item(link, struct open_will, link);

		plugin_end(&open->publication.request, free_will);
	}
}

static void
on_done(struct route_publication *publication)
{
	struct open_will *open = (struct open_will *)(void *)publication;
	struct route_desk *desk = publication->desk;

	if (open->stored) {
		delete_row(desk, open->sid);
	}
	session_will_answered(
	    desk->table, publication->session_slot, publication->session_generation);
	list_remove(&open->link);
	plugin_end(&publication->request, free_will);
}

enum session_will_status
route_will(void *arg, struct session_table *table, struct session *session, struct msg *will,
    struct msg_client *client, bool stored)
{
	struct route_desk *desk = arg;
	struct route_house *house = desk->house;
	const struct plugin_set *set =
	    house->set_fn != NULL ? house->set_fn(house->set_arg, msg_client_listener_of(client))
				  : NULL;
	struct open_will *open = mem_zalloc(sizeof(*open));
	struct route_publication *publication = &open->publication;
	enum route_status status;

	(void)table;
	open->client = msg_client_ref(client);
	open->will = msg_ref(will);
	open->sid = session_sid(session);
	open->stored = stored;
	draft_of(&publication->draft, will);
	publication->client = open->client;
	publication->plugins = set;
	publication->session = session;
	/* With a store every session that has a will has a row, unless its durability is `none`. */
	publication->mode = stored ? ROUTE_COMMIT : ROUTE_NONE;
	publication->done = on_done;
	plugin_request_init(&publication->request);
	/* A will is not refused because the store fails: its rows wait, as all that was routed
	 * before does. */
	status = route_publish(desk, publication);
	/* While a question is open its chain has a reference. */
	plugin_set_unref(&set);
	if (status == ROUTE_PENDING) {
		list_append(&desk->wills, &open->link);
		return SESSION_WILL_PENDING;
	}
	if (stored) {
		delete_row(desk, open->sid);
	}
	free_will(&publication->request);
	return SESSION_WILL_DONE;
}

static bool
is_from(void *arg, const struct topic_group_member *member)
{
	return member->subscriber.sid == *(const uint64_t *)arg;
}

bool
route_redispatch(void *arg, struct session_table *table, struct bytes group_name,
    struct session_delivery *delivery, uint64_t from_sid, struct bytes client_id)
{
	struct route_desk *desk = arg;
	struct bytes share_name, filter;
	const struct topic_group *group;
	const struct topic_group_member *member;
	uint64_t old_qid = delivery->qid;

	(void)table;
	(void)client_id;
	if (!wire_topic_share_split(group_name, &share_name, &filter)) {
		return false;
	}
	group = topic_tree_find_group(desk->house->sessions->tree, share_name, filter);
	member = group == NULL ? NULL
			       : topic_group_choose(group, &desk->cursors,
				     worker_random(desk->worker), is_from, &from_sid);
	if (member == NULL || member->subscriber.sid == from_sid) {
		return false;
	}
	if (delivery->subscription_id_count > 1) {
		mem_free(&delivery->subscription_ids);
	}
	delivery->subscription_id = member->subscriber.subscription_id;
	delivery->subscription_id_count = delivery->subscription_id != 0;
	delivery->group = group->id;
	delivery->packet_id = 0;
	delivery->qid = 0;
	delivery->qos = route_qos_of(&member->subscriber, delivery->msg->qos);
	delivery->flags &= (uint8_t) ~(SESSION_RETAIN | SESSION_DUP);
	delivery->flags |= SESSION_GIVEN_BACK | SESSION_SHARED;
	if ((delivery->msg->flags & MSG_RETAIN) != 0 &&
	    (member->subscriber.flags & TOPIC_RETAIN_AS_PUBLISHED) != 0) {
		delivery->flags |= SESSION_RETAIN;
	}
	/* Here QUEUE_DEL, there QUEUE_PUT, in one chunk [flow 8]. */
	if (old_qid != 0 && desk->port != NULL) {
		struct store_op op = {
		    .kind = STORE_QUEUE_DEL, .sid = from_sid, .qid = old_qid, .msg = delivery->msg};

		if (delivery->qos > 0 && group->has_persistent) {
			(void)route_put_row(desk, member->subscriber.sid, group_name, delivery);
		}
		(void)store_put(desk->port, &op);
	}
	counter_add(COUNTER_SHARED_GIVEN_BACK, 1);
	route_send(desk, &member->subscriber, group_name, delivery);
	route_end_message(desk);
	return true;
}
