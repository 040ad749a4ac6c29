/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interceptors of messages that come in (those of filters: intercept_filter.c; of what goes out:
 * intercept_out.c). A member whose topic filters do not match is passed over. Where
 * the answer is given at once the draft is changed in place; else the changes are noted in the call
 * and laid on the draft when the answer has come.
 */
#include "base/mem.h"
#include "plugin/chain_int.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

enum { FEW = 16 };

static bool
is_at(const struct avocet_self *self, uint32_t point)
{
	const avocet_interceptor *table = &self->interceptor;

	return (table->points & point) != 0 &&
	       (point == AVOCET_AT_IN       ? table->publish != NULL
		   : point == AVOCET_AT_OUT ? table->publish_out != NULL
					    : table->subscribe != NULL);
}

bool
plugin_intercepts(const struct plugin_authority *authority, uint32_t point)
{
	const struct plugin_chain *chain = (const struct plugin_chain *)(const void *)authority;

	for (size_t i = 0; chain != NULL && i < chain->count; i++) {
		if (is_at(chain->members[i].self, point)) {
			return true;
		}
	}
	return false;
}

bool
plugin_intercept_wants(const struct plugin_member *member, uint32_t point, struct bytes topic)
{
	if (!is_at(member->self, point)) {
		return false;
	}
	if (member->words == NULL || (point & (AVOCET_AT_SUB | AVOCET_AT_UNSUB)) != 0) {
		return true;
	}
	for (size_t i = 0; i < member->words->count; i++) {
		uint8_t first = member->words->views[i].data[0];

		/* Most others differ in their first byte. */
		if (first != '+' && first != '#' && first != topic.data[0]) {
			continue;
		}
		if (wire_topic_matches(member->words->views[i], topic)) {
			return true;
		}
	}
	return false;
}

bool
plugin_intercept_concerns(const struct plugin_authority *authority, struct bytes topic)
{
	const struct plugin_chain *chain = (const struct plugin_chain *)(const void *)authority;

	for (size_t i = 0; i < chain->count; i++) {
		if (plugin_intercept_wants(&chain->members[i], AVOCET_AT_IN, topic)) {
			return true;
		}
	}
	return false;
}

static enum plugin_fold
refuse(struct plugin_run *run, struct plugin_member *member, enum plugin_verdict verdict,
    uint8_t reason)
{
	run->request->verdict = verdict;
	run->request->reason = reason != 0 ? reason : (uint8_t)WIRE_REASON_NOT_AUTHORIZED;
	run->request->by = member->self->name;
	return PLUGIN_FOLD_DONE;
}

static enum plugin_fold
fail(struct plugin_run *run, struct plugin_member *member, uint8_t reason)
{
	(void)reason;
	if (member->defers_errors) {
		return PLUGIN_FOLD_NEXT;
	}
	return refuse(run, member, PLUGIN_DENY, WIRE_REASON_IMPLEMENTATION_SPECIFIC_ERROR);
}

enum plugin_fold
plugin_intercept_judge(struct plugin_run *run, struct plugin_member *member, int32_t verdict,
    const struct avocet_edit *edit)
{
	switch (verdict) {
	case AVOCET_PASS:
	case AVOCET_DEFER:
		return PLUGIN_FOLD_NEXT;
	case AVOCET_DROP:
		if (run->request->question != PLUGIN_INTERCEPT_PUBLISH) {
			plugin_fault(
			    member->self, PLUGIN_FAULT_VALUE, "dropped what is no message");
			break;
		}
		return refuse(run, member, PLUGIN_DROP, 0);
	case AVOCET_REJECT:
		return refuse(run, member, PLUGIN_DENY, edit->reason);
	case AVOCET_DISCONNECT:
		return refuse(run, member, PLUGIN_DISCONNECT, edit->reason);
	case AVOCET_ERROR:
		break;
	default:
		plugin_fault(member->self, PLUGIN_FAULT_VALUE, "gave a verdict that is none here");
		break;
	}
	return fail(run, member, 0);
}

static enum plugin_fold
fold(struct plugin_run *run, struct plugin_member *member, struct plugin_reply *reply)
{
	struct plugin_call *call = list_item(reply, struct plugin_call, reply);

	bool passes = reply->verdict == AVOCET_PASS || reply->verdict == AVOCET_DEFER;

	if (passes && run->request->question != PLUGIN_INTERCEPT_PUBLISH) {
		plugin_edit_apply_filter(&call->edit, run->request->filter);
	} else if (passes && plugin_edit_apply(&call->edit, run->request->draft) != 0) {
		return refuse(run, member, PLUGIN_DENY, WIRE_REASON_QUOTA_EXCEEDED);
	}
	return plugin_intercept_judge(run, member, reply->verdict, &call->edit);
}

static enum plugin_fold
ask_inline(struct plugin_run *run, struct plugin_member *member)
{
	struct plugin_request *request = run->request;
	struct msg_draft *draft = request->draft;
	struct avocet_self *self = member->self;
	avocet_prop few[FEW], *props = few;
	struct avocet_edit edit;
	enum plugin_fold fold;
	avocet_msg msg;
	int64_t entered;
	int32_t verdict;

	plugin_view_draft(draft, &msg);
	if (draft->props.len != 0) {
		msg.props.n = plugin_props_view(draft->props, NULL);
		if (msg.props.n > FEW) {
			props = mem_alloc(msg.props.n * sizeof(*props));
		}
		(void)plugin_props_view(draft->props, props);
		msg.props.v = props;
	}
	plugin_edit_init(&edit, draft, &msg);
	entered = plugin_enter(self);
	verdict = self->interceptor.publish(
	    self->inst, 0, AVOCET_AT_IN, &msg, &plugin_client_of(request->client)->info, &edit);
	plugin_leave(self, entered, "publish");
	fold = plugin_intercept_judge(run, member, verdict, &edit);
	plugin_edit_fini(&edit);
	if (props != few) {
		mem_free(&props);
	}
	return fold;
}

static enum plugin_fold
put(struct plugin_run *run, struct plugin_member *member)
{
	struct plugin_request *request = run->request;
	struct plugin_call *call;

	if (request->question != PLUGIN_INTERCEPT_PUBLISH) {
		return plugin_put_filter(run, member);
	}
	if (request->client == NULL ||
	    !plugin_intercept_wants(member, AVOCET_AT_IN, request->draft->topic)) {
		return PLUGIN_FOLD_NEXT;
	}
	if (member->self->interceptor.exec == AVOCET_EXEC_INLINE) {
		atomic_fetch_add_explicit(&member->self->question_count, 1, memory_order_relaxed);
		return ask_inline(run, member);
	}
	call = plugin_call_new(request->desk, member->self, PLUGIN_INTERCEPTOR, request->client);
	if (!plugin_keep_draft(call, request->draft)) {
		call->is_answered = true;
		plugin_call_end(call);
		return refuse(run, member, PLUGIN_DENY, WIRE_REASON_QUOTA_EXCEEDED);
	}
	call->edit.props_before = request->draft->props;
	return plugin_run_put(run, call);
}

static void
end(struct plugin_run *run)
{
	run->request->verdict = PLUGIN_ACCEPT;
}

const struct plugin_kind plugin_intercept = {
    .service = PLUGIN_INTERCEPTOR, .put = put, .fold = fold, .fail = fail, .end = end};
