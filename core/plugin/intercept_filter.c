/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interceptors of the filters of SUBSCRIBE and UNSUBSCRIBE, one filter at a time. Changes are noted
 * and laid on the filter when the answer has come.
 */
#include "plugin/chain_int.h"
#include "base/mem.h"
#include "wire/reason.h"

static avocet_str
str_of(struct bytes text)
{
	return (avocet_str){(const char *)text.data, text.len};
}

static struct bytes
keep(struct plugin_call *call, struct bytes text)
{
	struct bytes copy = {call->texts.data + call->texts.len, text.len};

	buf_append_bytes(&call->texts, text);
	return copy;
}

/* A call that has copies of all that it shows. */
static struct plugin_call *
call_of(struct plugin_request *request, struct avocet_self *self, uint32_t point)
{
	const struct plugin_filter *filter = request->filter;
	struct plugin_call *call =
	    plugin_call_new(request->desk, self, PLUGIN_INTERCEPTOR, request->client);
	avocet_sub *sub = &call->sub;
	struct bytes props;

	(void)buf_reserve(&call->texts, filter->filter.len + filter->share_name.len +
					    filter->prefix.len + filter->props.len + 1);
	call->point = point;
	*sub = (avocet_sub){.struct_size = sizeof(*sub),
	    .qos = filter->qos,
	    .filter = str_of(keep(call, filter->filter)),
	    .share = str_of(keep(call, filter->share_name)),
	    .options = filter->options,
	    .sub_id = filter->subscription_id};
	plugin_edit_init_filter(&call->edit, keep(call, filter->prefix), sub);
	props = keep(call, filter->props);
	sub->props.n = plugin_props_view(props, NULL);
	if (sub->props.n != 0) {
		call->props = mem_alloc(sub->props.n * sizeof(*call->props));
		(void)plugin_props_view(props, call->props);
	}
	sub->props.v = call->props;
	return call;
}

enum plugin_fold
plugin_put_filter(struct plugin_run *run, struct plugin_member *member)
{
	struct plugin_request *request = run->request;
	uint32_t point =
	    request->question == PLUGIN_INTERCEPT_SUBSCRIBE ? AVOCET_AT_SUB : AVOCET_AT_UNSUB;

	if (!plugin_intercept_wants(member, point, request->filter->filter)) {
		return PLUGIN_FOLD_NEXT;
	}
	return plugin_run_put(run, call_of(request, member->self, point));
}
