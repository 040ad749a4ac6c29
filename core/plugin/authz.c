/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May it? Members that do not judge an action count as DEFER, unasked. A SUBSCRIBE asks for all its
 * filters at once; those that a member defers go on alone to the next. What a whole chain has said
 * about a topic is remembered for the client where each member that was asked allows it.
 */
#include "base/counter.h"
#include "base/mem.h"
#include "plugin/chain_int.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

enum {
	OPEN = 0xff, /* plugin_access.reason: no member has decided it yet */
	MAX_KEEP_MS = 600000,
	FEW = 16, /* items that are asked for without an allocation */
};

static avocet_str
str_of(struct bytes text)
{
	return (avocet_str){(const char *)text.data, text.len};
}

static uint32_t
action_of(const struct plugin_request *request)
{
	return request->question == PLUGIN_SUBSCRIBE ? AVOCET_DO_SUBSCRIBE
	       : request->question == PLUGIN_WILL    ? AVOCET_DO_WILL
						     : AVOCET_DO_PUBLISH;
}

/* --- what is remembered --- */

static uint32_t
epoch_of(const struct plugin_chain *chain)
{
	return atomic_load_explicit(&chain->house->epoch, memory_order_acquire);
}

bool
plugin_authz_recall(struct plugin_chain *chain, struct plugin_request *request)
{
	struct plugin_answer_kept kept;

	if (request->question == PLUGIN_SUBSCRIBE || request->client == NULL) {
		return false;
	}
	kept = plugin_grants_find(plugin_client_of(request->client)->grants, epoch_of(chain),
	    action_of(request), request->draft->topic, context_current->mono_ms);
	if (kept.verdict == 0) {
		return false;
	}
	request->verdict = (enum plugin_verdict)kept.verdict;
	request->reason = kept.reason;
	return true;
}

/* What this member allows to be remembered, for the answer as a whole. */
static void
note_cache(struct plugin_run *run, const avocet_grant *grant)
{
	uint32_t ms = grant->cache_ms < MAX_KEEP_MS ? grant->cache_ms : MAX_KEEP_MS;

	if (grant->cache == AVOCET_CACHE_NONE || ms == 0) {
		run->may_keep = false;
		return;
	}
	run->keep_ms = run->keep_ms == 0 || ms < run->keep_ms ? ms : run->keep_ms;
	if (grant->cache == AVOCET_CACHE_COVER && run->at == 0 &&
	    grant->cover.n <= WIRE_MAX_STRING &&
	    wire_topic_filter_check(bytes_make(grant->cover.p, grant->cover.n), true, false) ==
		WIRE_TOPIC_OK) {
		run->cover = PLUGIN_COVER_FILTER;
		buf_append(&run->cover_text, grant->cover.p, grant->cover.n);
	} else {
		/* Two covers need not be the same: together they hold for this topic. */
		run->cover = PLUGIN_COVER_TOPIC;
	}
}

static void
keep(struct plugin_run *run)
{
	struct plugin_request *request = run->request;
	struct plugin_client *client;
	struct bytes text = request->draft->topic;

	if (!run->may_keep || run->keep_ms == 0 || request->client == NULL) {
		return;
	}
	if (run->cover == PLUGIN_COVER_FILTER) {
		text = buf_bytes(&run->cover_text);
	}
	client = plugin_client_of(request->client);
	plugin_grants_keep(&client->grants, run->chain->max_grants, epoch_of(run->chain),
	    action_of(request), run->cover, text,
	    (struct plugin_answer_kept){
		.verdict = (uint8_t)request->verdict, .reason = request->reason},
	    context_current->mono_ms + run->keep_ms);
}

/* --- folding --- */

static uint8_t
reason_of(const avocet_grant *grant)
{
	return grant->reason >= WIRE_REASON_FIRST_ERROR && grant->reason <= UINT8_MAX
		   ? (uint8_t)grant->reason
		   : (uint8_t)WIRE_REASON_NOT_AUTHORIZED;
}

/* One item, or the message. PENDING: it goes on to the next member. */
static enum plugin_verdict
judge(const struct plugin_member *member, int32_t verdict)
{
	switch (verdict) {
	case AVOCET_ACCEPT:
		return member->is_required ? PLUGIN_PENDING : PLUGIN_ACCEPT;
	case AVOCET_DEFER:
		return member->is_required ? PLUGIN_DENY : PLUGIN_PENDING;
	case AVOCET_ERROR:
		return member->defers_errors && !member->is_required ? PLUGIN_PENDING : PLUGIN_DENY;
	default:
		return PLUGIN_DENY;
	}
}

static enum plugin_fold
fold_message(struct plugin_run *run, struct plugin_member *member, const avocet_grant *grant)
{
	struct plugin_request *request = run->request;

	note_cache(run, grant);
	request->verdict = judge(member, grant->verdict);
	if (request->verdict == PLUGIN_PENDING) {
		return PLUGIN_FOLD_NEXT;
	}
	if (request->verdict == PLUGIN_DENY) {
		request->reason = reason_of(grant);
		counter_add(COUNTER_DENIED, 1);
	}
	request->by = member->self->name;
	keep(run);
	return PLUGIN_FOLD_DONE;
}

/* The n grants are of those items that are open, in order. */
static enum plugin_fold
fold_items(struct plugin_run *run, struct plugin_member *member, const avocet_grant *grants)
{
	struct plugin_request *request = run->request;
	bool is_open = false;

	for (size_t i = 0; i < request->item_count; i++) {
		struct plugin_access *item = &request->items[i];
		const avocet_grant *grant = grants;
		enum plugin_verdict verdict;

		if (item->reason != OPEN) {
			continue;
		}
		grants++;
		verdict = judge(member, grant->verdict);
		if (grant->verdict == AVOCET_ACCEPT && grant->max_qos < item->max_qos) {
			item->max_qos = (uint8_t)grant->max_qos;
		}
		if (verdict == PLUGIN_PENDING) {
			is_open = true;
		} else {
			item->reason = verdict == PLUGIN_ACCEPT ? (uint8_t)WIRE_REASON_SUCCESS
								: reason_of(grant);
			counter_add(COUNTER_DENIED, verdict == PLUGIN_DENY);
		}
	}
	request->by = member->self->name;
	request->verdict = PLUGIN_ACCEPT; /* the items' reasons say the rest */
	return is_open ? PLUGIN_FOLD_NEXT : PLUGIN_FOLD_DONE;
}

static size_t
open_items(const struct plugin_request *request)
{
	size_t count = 0;

	for (size_t i = 0; i < request->item_count; i++) {
		count += request->items[i].reason == OPEN;
	}
	return count;
}

/* The same answer for all. */
static enum plugin_fold
fold_alike(struct plugin_run *run, struct plugin_member *member, const avocet_grant *grant)
{
	struct plugin_request *request = run->request;
	enum plugin_fold fold;
	avocet_grant *grants;
	size_t count;

	if (request->question != PLUGIN_SUBSCRIBE) {
		return fold_message(run, member, grant);
	}
	count = open_items(request);
	grants = mem_alloc((count + 1) * sizeof(*grants));
	for (size_t i = 0; i < count; i++) {
		grants[i] = *grant;
	}
	fold = fold_items(run, member, grants);
	mem_free(&grants);
	return fold;
}

static enum plugin_fold
fold(struct plugin_run *run, struct plugin_member *member, struct plugin_reply *reply)
{
	avocet_grant grant = {.verdict = reply->verdict, .reason = reply->reason, .max_qos = 2};

	switch (reply->verdict) {
	case AVOCET_ACCEPT:
	case AVOCET_DENY:
	case AVOCET_DEFER:
		return fold_alike(run, member, &grant);
	case AVOCET_PASS:
		if (reply->grants.count != 0) {
			return run->request->question == PLUGIN_SUBSCRIBE
				   ? fold_items(run, member, reply->grants.items)
				   : fold_message(run, member, &reply->grants.items[0]);
		}
		break;
	default:
		break;
	}
	plugin_fault(member->self, PLUGIN_FAULT_VALUE, "gave a verdict that is none here");
	return run->chain->kind->fail(run, member, WIRE_REASON_IMPLEMENTATION_SPECIFIC_ERROR);
}

static enum plugin_fold
fail(struct plugin_run *run, struct plugin_member *member, uint8_t reason)
{
	avocet_grant grant = {.verdict = AVOCET_DENY,
	    .reason = reason == WIRE_REASON_SERVER_UNAVAILABLE || reason == WIRE_REASON_SERVER_BUSY
			  ? (uint32_t)WIRE_REASON_IMPLEMENTATION_SPECIFIC_ERROR
			  : reason,
	    .max_qos = 2};

	if (member->defers_errors && !member->is_required) {
		grant.verdict = AVOCET_DEFER;
	}
	return fold_alike(run, member, &grant);
}

static void
end(struct plugin_run *run)
{
	struct plugin_request *request = run->request;
	bool all = run->chain->all_required;

	for (size_t i = 0; i < request->item_count; i++) {
		if (request->items[i].reason == OPEN) {
			request->items[i].reason = all ? (uint8_t)WIRE_REASON_SUCCESS
						       : (uint8_t)WIRE_REASON_NOT_AUTHORIZED;
		}
	}
	if (request->question == PLUGIN_SUBSCRIBE) {
		request->verdict = PLUGIN_ACCEPT;
		return;
	}
	request->verdict = all ? PLUGIN_ACCEPT : PLUGIN_DENY;
	request->reason = WIRE_REASON_NOT_AUTHORIZED;
	keep(run);
}

/* --- asking --- */

void
plugin_view_draft(const struct msg_draft *draft, avocet_msg *msg)
{
	*msg = (avocet_msg){.struct_size = sizeof(*msg),
	    .flags = ((draft->flags & MSG_RETAIN) != 0 ? AVOCET_MSG_RETAIN : 0) |
		     ((draft->flags & MSG_WILL) != 0 ? AVOCET_MSG_WILL : 0),
	    .received_ms = draft->born_wall_ms,
	    .topic = str_of(draft->topic),
	    .topic_received = str_of(draft->received.data != NULL ? draft->received : draft->topic),
	    .payload = {draft->payload.data, draft->payload.len},
	    .qos = draft->qos,
	    .origin_client_id = str_of(draft->client_id),
	    .origin_username = str_of(draft->username)};
	if ((draft->flags & MSG_EXPIRES) != 0) {
		msg->expires_ms = draft->born_wall_ms + (int64_t)draft->expiry_s * 1000;
	}
}

static size_t
fill_items(const struct plugin_request *request, avocet_access *items)
{
	size_t count = 0;

	if (request->question != PLUGIN_SUBSCRIBE) {
		items[0] = (avocet_access){.topic = str_of(request->draft->topic),
		    .topic_received =
			str_of(request->draft->received.data != NULL ? request->draft->received
								     : request->draft->topic),
		    .qos = request->draft->qos,
		    .flags = (request->draft->flags & MSG_RETAIN) != 0 ? AVOCET_MSG_RETAIN : 0};
		return 1;
	}
	for (size_t i = 0; i < request->item_count; i++) {
		const struct plugin_access *item = &request->items[i];

		if (item->reason == OPEN) {
			items[count++] = (avocet_access){.topic = str_of(item->filter),
			    .topic_received =
				str_of(item->received.len != 0 ? item->received : item->filter),
			    .share = str_of(item->share_name),
			    .qos = item->qos};
		}
	}
	return count;
}

static avocet_authz_in
make_in(const struct plugin_run *run, const struct plugin_member *member,
    const avocet_access *items, size_t count, const avocet_msg *msg)
{
	return (avocet_authz_in){.struct_size = sizeof(avocet_authz_in),
	    .action = action_of(run->request),
	    .client = &plugin_client_of(run->request->client)->info,
	    .items = items,
	    .n_items = (uint32_t)count,
	    .item_size = sizeof(*items),
	    .msg = run->request->question != PLUGIN_SUBSCRIBE ? msg : NULL,
	    .deadline_ns = plugin_deadline_ns(member)};
}

/* Answers at once: nothing is copied. */
static enum plugin_fold
ask_inline(struct plugin_run *run, struct plugin_member *member)
{
	struct plugin_request *request = run->request;
	struct avocet_self *self = member->self;
	size_t count = request->question == PLUGIN_SUBSCRIBE ? open_items(request) : 1;
	avocet_access few_items[FEW], *items = few_items;
	avocet_grant few_grants[FEW], *grants = few_grants;
	enum plugin_fold fold;
	avocet_authz_in in;
	avocet_msg msg;
	int64_t entered;
	int32_t verdict;

	if (count > FEW) {
		items = mem_alloc(count * sizeof(*items));
		grants = mem_alloc(count * sizeof(*grants));
	}
	(void)fill_items(request, items);
	for (size_t i = 0; i < count; i++) {
		grants[i] = (avocet_grant){.verdict = AVOCET_DEFER, .max_qos = 2};
	}
	if (request->question != PLUGIN_SUBSCRIBE) {
		plugin_view_draft(request->draft, &msg);
	}
	in = make_in(run, member, items, count, &msg);
	entered = plugin_enter(self);
	verdict = self->authorizer.authorize(self->inst, 0, &in, grants);
	plugin_leave(self, entered, "authorize");
	if (verdict == AVOCET_PASS) {
		fold = request->question == PLUGIN_SUBSCRIBE ? fold_items(run, member, grants)
							     : fold_message(run, member, grants);
	} else if (verdict == AVOCET_ACCEPT || verdict == AVOCET_DENY || verdict == AVOCET_DEFER) {
		fold = fold_alike(run, member, &(avocet_grant){.verdict = verdict, .max_qos = 2});
	} else {
		if (verdict != AVOCET_ERROR) {
			plugin_fault(self, PLUGIN_FAULT_VALUE, "gave a verdict that is none here");
		}
		fold = fail(run, member, WIRE_REASON_IMPLEMENTATION_SPECIFIC_ERROR);
	}
	if (items != few_items) {
		mem_free(&items);
		mem_free(&grants);
	}
	return fold;
}

/* The filters are copied: the asker may go. */
static void
keep_filters(struct plugin_call *call, size_t count)
{
	size_t len = 0;
	uint8_t *at;

	for (size_t i = 0; i < count; i++) {
		len += call->items[i].topic.n + call->items[i].topic_received.n +
		       call->items[i].share.n;
	}
	at = buf_reserve(&call->texts, len + 1);
	for (size_t i = 0; i < count; i++) {
		avocet_access *item = &call->items[i];

		memcpy(at, item->topic.p, item->topic.n);
		item->topic.p = (const char *)at;
		at += item->topic.n;
		memcpy(at, item->topic_received.p, item->topic_received.n);
		item->topic_received.p = (const char *)at;
		at += item->topic_received.n;
		if (item->share.n != 0) {
			memcpy(at, item->share.p, item->share.n);
		}
		item->share.p = (const char *)at;
		at += item->share.n;
	}
}

bool
plugin_keep_draft(struct plugin_call *call, struct msg_draft *draft)
{
	if (msg_draft_own(draft) != 0) {
		return false;
	}
	call->kept = msg_ref(draft->copy);
	plugin_view_draft(draft, &call->msg);
	call->msg.props.n = plugin_props_view(draft->props, NULL);
	if (call->msg.props.n != 0) {
		call->props = mem_alloc(call->msg.props.n * sizeof(*call->props));
		(void)plugin_props_view(draft->props, call->props);
	}
	call->msg.props.v = call->props;
	return true;
}

static enum plugin_fold
put(struct plugin_run *run, struct plugin_member *member)
{
	struct plugin_request *request = run->request;
	struct plugin_call *call;
	size_t count;

	if (run->at == 0) {
		for (size_t i = 0; i < request->item_count; i++) {
			request->items[i].reason = OPEN;
		}
	}
	if (!plugin_judges(member->self, action_of(request))) {
		return fold_alike(run, member,
		    &(avocet_grant){.verdict = AVOCET_DEFER,
			.max_qos = 2,
			.cache = AVOCET_CACHE_TOPIC,
			.cache_ms = MAX_KEEP_MS});
	}
	if (member->self->authorizer.exec == AVOCET_EXEC_INLINE) {
		atomic_fetch_add_explicit(&member->self->question_count, 1, memory_order_relaxed);
		return ask_inline(run, member);
	}
	call = plugin_call_new(request->desk, member->self, PLUGIN_AUTHORIZER, request->client);
	count = request->question == PLUGIN_SUBSCRIBE ? open_items(request) : 1;
	if (request->question != PLUGIN_SUBSCRIBE && !plugin_keep_draft(call, request->draft)) {
		call->is_answered = true;
		plugin_call_end(call);
		return plugin_fold_no(run, member, WIRE_REASON_QUOTA_EXCEEDED);
	}
	call->items = mem_alloc((count + 1) * sizeof(*call->items));
	(void)fill_items(request, call->items);
	if (request->question == PLUGIN_SUBSCRIBE) {
		keep_filters(call, count);
	}
	call->in.authz = make_in(run, member, call->items, count, &call->msg);
	return plugin_run_put(run, call);
}

const struct plugin_kind plugin_authz = {
    .service = PLUGIN_AUTHORIZER, .put = put, .fold = fold, .fail = fail, .end = end};

/* --- deliveries --- */

bool
plugin_may_receive(const struct plugin_set *set, struct msg_client *client, struct bytes topic)
{
	struct plugin_chain *chain = (struct plugin_chain *)(void *)set->authorize;
	bool any = false, all = true;

	for (size_t i = 0; i < chain->count; i++) {
		struct plugin_member *member = &chain->members[i];
		struct avocet_self *self = member->self;
		int32_t verdict = AVOCET_ERROR;

		if (self->authorizer.may_receive == NULL ||
		    !plugin_judges(self, AVOCET_DO_RECEIVE)) {
			continue;
		}
		any = true;
		if (plugin_is_serving(self)) {
			int64_t entered = plugin_enter(self);

			verdict = self->authorizer.may_receive(
			    self->inst, &plugin_client_of(client)->info, str_of(topic));
			plugin_leave(self, entered, "may_receive");
		}
		if (verdict == AVOCET_ACCEPT && !member->is_required) {
			return true;
		}
		if (verdict == AVOCET_DENY ||
		    (verdict != AVOCET_ACCEPT && verdict != AVOCET_DEFER &&
			!member->defers_errors) ||
		    (verdict != AVOCET_ACCEPT && member->is_required)) {
			return false;
		}
		all = all && member->is_required;
	}
	return !any || all;
}
