/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avocet.auth/0: what authenticators and authorizers answer with, from any thread. What the plugin
 * points to is copied before its call returns. A struct may be shorter than this host's: members
 * that it does not have are zero.
 */
#include "base/mem.h"
#include "plugin/plugin_int.h"

static void
take_str(struct buf *buf, avocet_str text)
{
	buf_append(buf, text.p, text.n);
}

void
plugin_copy_auth(struct plugin_reply *reply, const avocet_auth_out *given)
{
	avocet_auth_out out = {0};

	memcpy(&out, given, given->struct_size < sizeof(out) ? given->struct_size : sizeof(out));
	reply->reason = out.reason <= UINT8_MAX ? (uint8_t)out.reason : 0;
	reply->delay_ms = out.deny_delay_ms;
	reply->exchange = out.exchange;
	buf_append(&reply->data, out.data.p, out.data.n);
	take_str(&reply->username, out.username);
	take_str(&reply->client_id, out.client_id);
	take_str(&reply->prefix, out.topic_prefix);
}

void
plugin_copy_grants(struct plugin_reply *reply, const avocet_grant *grants, size_t n)
{
	size_t room = 0;
	uint8_t *at;

	for (size_t i = 0; i < n; i++) {
		room += grants[i].cover.n;
	}
	at = buf_reserve(&reply->covers, room + 1);
	for (size_t i = 0; i < n; i++) {
		avocet_grant grant = grants[i];

		if (grant.cover.n != 0) {
			memcpy(at, grant.cover.p, grant.cover.n);
			grant.cover.p = (const char *)at;
			at += grant.cover.n;
		}
		vec_push(&reply->grants, grant);
	}
}

static int32_t
auth_complete(avocet_self *self, avocet_req_h req, int32_t verdict, const avocet_auth_out *out)
{
	int32_t status;
	struct plugin_call *call = plugin_call_take(self, req, PLUGIN_AUTHENTICATOR, &status);

	if (call == NULL) {
		return status;
	}
	call->reply.verdict = verdict;
	if (out != NULL) {
		plugin_copy_auth(&call->reply, out);
	}
	return plugin_call_reply(call);
}

static int32_t
authz_complete(
    avocet_self *self, avocet_req_h req, int32_t verdict, const avocet_grant *grants, size_t n)
{
	int32_t status;
	struct plugin_call *call = plugin_call_take(self, req, PLUGIN_AUTHORIZER, &status);

	if (call == NULL) {
		return status;
	}
	call->reply.verdict = verdict;
	if (verdict == AVOCET_PASS && (grants == NULL || n != call->in.authz.n_items)) {
		call->reply.verdict = AVOCET_ERROR;
		plugin_fault(
		    self, PLUGIN_FAULT_VALUE, "gave another number of grants than was asked");
	} else if (verdict == AVOCET_PASS) {
		plugin_copy_grants(&call->reply, grants, n);
	}
	return plugin_call_reply(call);
}

static int32_t
set_methods(avocet_self *self, const char *const *methods)
{
	static const char *const none[] = {"", NULL};

	if (!self->is_preparing) {
		return AVOCET_E_STATE;
	}
	plugin_words_unref(&self->next_methods);
	self->next_methods = plugin_words_new(methods != NULL ? methods : none);
	return AVOCET_OK;
}

static int32_t
set_actions(avocet_self *self, uint32_t actions)
{
	if (!self->is_preparing) {
		return AVOCET_E_STATE;
	}
	self->next_actions = actions;
	return AVOCET_OK;
}

static void
on_flush(struct worker *worker, struct mail *mail)
{
	struct plugin_house *house = list_item(mail, struct plugin_house, flush_mail);

	(void)worker;
	atomic_store(&house->flush_is_posted, false);
	if (house->options.on_flush != NULL) {
		house->options.on_flush(
		    house->options.arg, atomic_exchange(&house->flush_rechecks, false));
	}
}

static int32_t
authz_flush(avocet_self *self, uint32_t flags)
{
	struct plugin_house *house = self->house;

	plugin_house_flush(house);
	if ((flags & AVOCET_RECHECK_SUBS) != 0) {
		atomic_store(&house->flush_rechecks, true);
		if (!atomic_exchange(&house->flush_is_posted, true)) {
			house->flush_mail.run = on_flush;
			mail_post(house->options.main, &house->flush_mail);
		}
	}
	return AVOCET_OK;
}

const avocet_auth_api plugin_auth_api = {
    .struct_size = sizeof(plugin_auth_api),
    .auth_complete = auth_complete,
    .authz_complete = authz_complete,
    .set_methods = set_methods,
    .set_actions = set_actions,
    .authz_flush = authz_flush,
};
