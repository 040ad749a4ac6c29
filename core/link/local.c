/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A local link: a session without a socket. What it is sent goes to the plugin in the middle of a
 * turn; the plugin answers by mail, so nothing runs inside of something else. QoS 2 needs no second
 * round between two ends of one process: it is completed in phase SETTLE.
 */
#include "base/mem.h"
#include "link/link_int.h"
#include "plugin/chain.h"
#include "wire/reason.h"

enum { FIRST_PROPS = 16 };

/* --- to the plugin --- */

static void
tell_message(struct link *link, const struct session_delivery *delivery)
{
	avocet_prop some[FIRST_PROPS], *props = some;
	struct bytes block = msg_props(delivery->msg);
	size_t count = plugin_props_view(block, NULL);
	avocet_msg message;
	int64_t entered;

	if (link->events.message == NULL) {
		return;
	}
	if (count > FIRST_PROPS) {
		props = mem_alloc(count * sizeof(*props));
	}
	plugin_show_msg(
	    delivery->msg, delivery->qos, (delivery->flags & SESSION_RETAIN) != 0, &message);
	message.flags |= (delivery->flags & SESSION_DUP) != 0 ? AVOCET_MSG_DUP : 0;
	message.props = (avocet_props){props, plugin_props_view(block, props)};
	entered = plugin_enter(link->self);
	link->events.message(plugin_inst(link->self), link->handle, link->user, &message,
	    (uint64_t)delivery->packet_id);
	plugin_leave(link->self, entered, "message");
	if (props != some) {
		mem_free(&props);
	}
}

static enum session_offer
on_offer(struct session_sink *sink, const struct session_delivery *delivery)
{
	struct link *link = link_of_sink(sink);
	const struct plugin_set *plugins = link->terms->plugins;
	struct session_delivery changed = *delivery;

	if (plugins->judges_receive &&
	    !plugin_may_receive(plugins, link->client, msg_topic(delivery->msg))) {
		return SESSION_DENIED;
	}
	if (!plugins->intercepts_out) {
		tell_message(link, delivery);
		return SESSION_TAKEN;
	}
	changed.msg = plugin_send_out(plugins, link->client, delivery->msg, delivery->qos,
	    (delivery->flags & SESSION_RETAIN) != 0);
	if (changed.msg == NULL) {
		return SESSION_DENIED;
	}
	tell_message(link, &changed);
	if (changed.msg != delivery->msg) {
		msg_unref(&changed.msg);
	}
	return SESSION_TAKEN;
}

/* The plugin has it: nothing more is to be said. */
static void
on_pubrel(struct session_sink *sink, uint16_t packet_id)
{
	struct link *link = link_of_sink(sink);

	vec_push(&link->released, packet_id);
	if (!list_is_linked(&link->settle_item)) {
		list_append(&link->table->settling, &link->settle_item);
		worker_again(link->table->worker);
	}
}

void
link_local_settle(struct link_table *table)
{
	struct list_link *item;

	while ((item = list_take_first(&table->settling)) != NULL) {
		struct link *link = list_item(item, struct link, settle_item);

		for (size_t i = 0; i < link->released.count && link->session != NULL; i++) {
			session_pubcomp(link->session, link->released.items[i]);
		}
		link->released.count = 0;
	}
}

static void
on_received(struct session_sink *sink, uint16_t packet_id, uint8_t reason, uint64_t ticket)
{
	(void)sink;
	(void)packet_id;
	(void)reason;
	(void)ticket;
}

static void
on_ended(struct session_sink *sink, enum session_end why)
{
	struct link *link = link_of_sink(sink);

	(void)why;
	link->session = NULL;
	link->slot = link->generation = 0; /* it is ending: it must not be ended again */
	link_close(link, WIRE_REASON_ADMINISTRATIVE_ACTION, SESSION_LEAVE_ABNORMAL);
}

const struct session_sink_ops link_local_sink = {.offer = on_offer,
    .pubrel = on_pubrel,
    .received = on_received,
    .opened = link_opened,
    .ended = on_ended};

void
link_local_begin(struct link *link, bool present)
{
	int64_t entered;

	link->state = LINK_LOCAL;
	if (link->events.opened != NULL) {
		entered = plugin_enter(link->self);
		link->events.opened(plugin_inst(link->self), link->handle, link->user, present);
		plugin_leave(link->self, entered, "opened");
	}
	session_serve(link->session);
}

void
link_local_ack(struct link *link, uint64_t delivery, uint8_t reason)
{
	uint16_t packet_id = (uint16_t)delivery;

	if (link->session == NULL || link_is_remote(link) || delivery > UINT16_MAX) {
		return;
	}
	/* Which of them it is the session knows; the other finds nothing. */
	session_puback(link->session, packet_id);
	(void)session_pubrec(link->session, packet_id, reason);
}

/* --- from the plugin --- */

/* Nothing was made of it. */
static void
refuse(struct link *link, uint8_t qos, uint64_t cookie, uint8_t reason)
{
	int64_t entered;

	if (qos != 0 && link->events.published != NULL) {
		entered = plugin_enter(link->self);
		link->events.published(
		    plugin_inst(link->self), link->handle, link->user, cookie, reason);
		plugin_leave(link->self, entered, "published");
	}
	link_local_leave(link);
}

void
link_local_publish(struct link *link, struct msg_draft *draft, uint64_t cookie)
{
	struct route_publication publication = {.draft = *draft,
	    .client = link->client,
	    .plugins = link->terms->plugins,
	    .session = link->session,
	    .mode = (uint8_t)route_mode_of(&link->terms->durability, draft->topic)};
	struct link_publication *made;
	uint8_t qos = draft->qos;

	*draft = (struct msg_draft){0};
	publication.draft.born_mono_ms = context_current->mono_ms;
	publication.draft.born_wall_ms = context_current->wall_ms;
	if (link_is_remote(link) || link->session == NULL) {
		msg_draft_fini(&publication.draft);
		refuse(link, qos, cookie, WIRE_REASON_SERVER_UNAVAILABLE);
		return;
	}
	made = link_publication_new(link, &publication);
	if (made == NULL) {
		refuse(link, qos, cookie, WIRE_REASON_QUOTA_EXCEEDED);
		return;
	}
	made->is_local = true;
	made->cookie = cookie;
	made->qos = qos;
	link_publish(link, made);
}

/* Who was sent away hears of it when half of the room is free. */
void
link_local_leave(struct link *link)
{
	int64_t entered;

	if (atomic_fetch_sub(&link->api_count, 1) <= LINK_MOST_UNDER_WAY / 2 &&
	    atomic_exchange(&link->wants_room, false) && link->events.writable != NULL) {
		entered = plugin_enter(link->self);
		link->events.writable(plugin_inst(link->self), link->handle, link->user);
		plugin_leave(link->self, entered, "writable");
	}
}
