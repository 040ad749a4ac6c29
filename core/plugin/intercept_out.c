/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interceptors of what goes out, one receiver at a time: on the receiver's worker, never later.
 * What they do not change goes out as it is, shared with all other receivers.
 */
#include "plugin/chain.h"

#include "base/mem.h"
#include "plugin/chain_int.h"
#include "wire/reason.h"

enum { FEW = 16 };

void
plugin_view_msg(const struct msg *msg, uint8_t qos, bool retain, struct msg_draft *draft)
{
	*draft = (struct msg_draft){.topic = msg_topic(msg),
	    .payload = msg_payload(msg),
	    .props = msg_props(msg),
	    .client_id = msg_client_id(msg),
	    .username = msg_username(msg),
	    .born_mono_ms = msg->born_mono_ms,
	    .born_wall_ms = msg->born_wall_ms,
	    .expiry_s = msg->expiry_s,
	    .qos = qos,
	    .flags = (uint8_t)((msg->flags & ~MSG_RETAIN) | (retain ? MSG_RETAIN : 0))};
}

/* PASS, or what keeps it back. */
static int32_t
ask(const struct plugin_member *member, struct msg_client *client, struct msg_draft *draft)
{
	struct avocet_self *self = member->self;
	avocet_prop few[FEW], *props = few;
	struct avocet_edit edit;
	avocet_msg msg;
	int64_t entered;
	int32_t verdict;

	plugin_view_draft(draft, &msg);
	msg.props.n = plugin_props_view(draft->props, NULL);
	if (msg.props.n > FEW) {
		props = mem_alloc(msg.props.n * sizeof(*props));
	}
	(void)plugin_props_view(draft->props, props);
	msg.props.v = props;
	plugin_edit_init(&edit, draft, &msg);
	entered = plugin_enter(self);
	verdict =
	    self->interceptor.publish_out(self->inst, &msg, &plugin_client_of(client)->info, &edit);
	plugin_leave(self, entered, "publish_out");
	plugin_edit_fini(&edit);
	if (props != few) {
		mem_free(&props);
	}
	return verdict;
}

/* Does it go on to the next? */
static bool
passes(const struct plugin_member *member, int32_t verdict)
{
	switch (verdict) {
	case AVOCET_PASS:
	case AVOCET_DEFER:
		return true;
	case AVOCET_DROP:
	case AVOCET_REJECT:
		return false;
	case AVOCET_ERROR:
		return member->defers_errors;
	default:
		plugin_fault(member->self, PLUGIN_FAULT_VALUE, "gave a verdict that is none here");
		return member->defers_errors;
	}
}

static bool
is_changed(const struct msg_draft *draft, const struct msg *msg, uint8_t flags)
{
	return draft->topic.data != msg_topic(msg).data ||
	       draft->payload.data != msg_payload(msg).data ||
	       draft->props.data != msg_props(msg).data || draft->flags != flags ||
	       draft->expiry_s != msg->expiry_s;
}

struct msg *
plugin_send_out(const struct plugin_set *set, struct msg_client *client, struct msg *msg,
    uint8_t qos, bool retain)
{
	const struct plugin_chain *chain =
	    (const struct plugin_chain *)(const void *)set->intercept;
	struct msg *out = msg;
	struct msg_draft draft;
	uint8_t flags;

	plugin_view_msg(msg, qos, retain, &draft);
	flags = draft.flags;
	for (size_t i = 0; i < chain->count && out != NULL; i++) {
		const struct plugin_member *member = &chain->members[i];

		if (plugin_intercept_wants(member, AVOCET_AT_OUT, draft.topic) &&
		    !passes(member, plugin_is_serving(member->self) ? ask(member, client, &draft)
								    : AVOCET_ERROR)) {
			out = NULL;
		}
	}
	if (out != NULL && is_changed(&draft, msg, flags)) {
		out = msg_seal(&draft); /* no memory: it is not sent */
	}
	msg_draft_fini(&draft);
	return out;
}
