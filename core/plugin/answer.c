/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avocet.auth/0: what authenticators and authorizers answer with, from any thread. What the plugin
 * points to is copied before its call returns. A struct may be shorter than this host's: members
 * that it does not have are zero.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "plugin/plugin_int.h"
#include "wire/props.h"

/* Into a buffer; false: MQTT cannot say it. */
static bool
take_str(struct buf *buf, avocet_str given)
{
	struct bytes text = bytes_make(given.p, given.n);

	buf_append_bytes(buf, text);
	return text.len <= WIRE_MAX_STRING && utf8_fault_at(text) == text.len;
}

static bool
take_pairs(struct buf *buf, const avocet_pair *pairs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct bytes key = bytes_make(pairs[i].key.p, pairs[i].key.n);
		struct bytes value = bytes_make(pairs[i].value.p, pairs[i].value.n);
		size_t room = key.len + value.len + 5;
		struct wire_writer writer;

		if (key.len > WIRE_MAX_STRING || value.len > WIRE_MAX_STRING ||
		    utf8_fault_at(key) != key.len || utf8_fault_at(value) != value.len) {
			return false;
		}
		writer = wire_writer_of(buf_reserve(buf, room), room);
		wire_write_user_property(&writer, key, value);
		buf->len += writer.len;
	}
	return true;
}

/* False: something of it is not what MQTT can say. */
static bool
copy_said(struct plugin_said *said, const avocet_auth_out *out)
{
	bool is_good = out->data.n <= WIRE_MAX_STRING;

	buf_append(&said->data, out->data.p, out->data.n);
	is_good &= take_str(&said->username, out->username);
	is_good &= take_str(&said->client_id, out->client_id);
	is_good &= take_str(&said->prefix, out->topic_prefix);
	is_good &= take_str(&said->text, out->reason_text);
	is_good &= take_str(&said->server, out->server_reference);
	is_good &= take_pairs(&said->user_props, out->user_props, out->n_user_props);
	is_good &= take_pairs(&said->attrs, out->attrs, out->n_attrs);
	said->expires_ms = out->expires_ms;
	said->max_session_expiry_s = out->max_session_expiry_s;
	said->max_receive = out->max_receive;
	said->max_packet = out->max_packet;
	return is_good;
}

static bool
copy_auth(struct plugin_reply *reply, const avocet_auth_out *given)
{
	avocet_auth_out out = {0};

	memcpy(&out, given, given->struct_size < sizeof(out) ? given->struct_size : sizeof(out));
	reply->reason = out.reason <= UINT8_MAX ? (uint8_t)out.reason : 0;
	reply->delay_ms = out.deny_delay_ms;
	reply->exchange = out.exchange;
	return copy_said(plugin_said_at(&reply->said), &out);
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
	if (out != NULL && !copy_auth(&call->reply, out)) {
		call->reply.verdict = AVOCET_ERROR;
		plugin_fault(self, PLUGIN_FAULT_VALUE,
		    "gave a text that is not UTF-8, or longer than 65535 bytes");
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
