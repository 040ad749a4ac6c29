/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is it? Members that do not know the Authentication Method count as DEFER, unasked. CONTINUE
 * pins the exchange to the member: the next AUTH goes there at once, with what members before it
 * have said kept in the exchange.
 */
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/chain_int.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

enum { MAX_DELAY_MS = 60000 };

/* An exchange of AUTH packets with one member. */
struct exchange {
	struct avocet_self *self; /* a reference */
	size_t at;
	void *state;              /* the plugin's; NULL while a call has it */
	struct plugin_said *said; /* by members before */
};

static avocet_str
str_of(struct bytes text)
{
	return (avocet_str){(const char *)text.data, text.len};
}

static avocet_bytes
bytes_view(struct bytes bytes)
{
	return (avocet_bytes){bytes.data, bytes.len};
}

static bool
knows_method(const struct plugin_member *member, struct bytes method)
{
	for (size_t i = 0; i < member->words->count; i++) {
		if (bytes_equal_text(method, member->words->items[i])) {
			return true;
		}
	}
	return false;
}

void
plugin_exchange_free(struct plugin_authority *authority, void *arg)
{
	struct exchange *exchange = arg;

	(void)authority;
	if (exchange == NULL) {
		return;
	}
	if (exchange->state != NULL && exchange->self->authenticator.exchange_free != NULL) {
		exchange->self->authenticator.exchange_free(exchange->self->inst, exchange->state);
	}
	plugin_unref(exchange->self);
	plugin_said_free(&exchange->said);
	mem_free(&exchange);
}

size_t
plugin_authn_begin(struct plugin_run *run)
{
	struct plugin_request *request = run->request;
	struct exchange *exchange = request->exchange;

	/* After a reload the member may stand elsewhere, or nowhere; then it begins anew, which the
	 * plugin refuses since it finds no exchange. */
	if (request->question != PLUGIN_AUTH_CONTINUE || exchange == NULL) {
		return 0;
	}
	plugin_said_add(&request->said, exchange->said);
	if (exchange->at < run->chain->count &&
	    run->chain->members[exchange->at].self == exchange->self) {
		return exchange->at;
	}
	for (size_t i = 0; i < run->chain->count; i++) {
		if (run->chain->members[i].self == exchange->self) {
			return i;
		}
	}
	return run->chain->count; /* nobody: denied */
}

/* The state that goes to this member with this question, or NULL. The call has it until it has come
 * back, however long that takes. */
static void *
take_state(const struct plugin_request *request, const struct plugin_member *member)
{
	struct exchange *exchange = request->exchange;
	void *state = NULL;

	if (exchange != NULL && exchange->self == member->self) {
		state = exchange->state;
		exchange->state = NULL;
	}
	return state;
}

static void
fill(struct plugin_run *run, const struct plugin_member *member, void *state, avocet_auth_in *in)
{
	const struct plugin_request *request = run->request;

	*in = (avocet_auth_in){
	    .struct_size = sizeof(*in),
	    .step = request->question == PLUGIN_AUTH_CONTINUE    ? AVOCET_AUTH_CONTINUE
		    : request->question == PLUGIN_REAUTHENTICATE ? AVOCET_AUTH_REAUTH
								 : AVOCET_AUTH_CONNECT,
	    .client = &plugin_client_of(request->client)->info,
	    .username = str_of(request->username),
	    .password = bytes_view(request->password),
	    .method = str_of(request->method),
	    .data = bytes_view(request->data),
	    .flags = (request->has_username ? AVOCET_AUTH_HAS_USERNAME : 0) |
		     (request->has_password ? AVOCET_AUTH_HAS_PASSWORD : 0) |
		     (request->has_data ? AVOCET_AUTH_HAS_DATA : 0) |
		     (request->is_proven ? AVOCET_AUTH_PROVEN : 0),
	    .exchange = state,
	    .deadline_ns = plugin_deadline_ns(member),
	};
}

static bool
prefix_is_good(struct bytes prefix)
{
	return prefix.len == 0 || (wire_topic_name_check(prefix, false) == WIRE_TOPIC_OK &&
				      memchr(prefix.data, '$', prefix.len) == NULL);
}

static enum plugin_fold
go_on_with(struct plugin_run *run, struct plugin_member *member, struct plugin_reply *reply)
{
	struct plugin_request *request = run->request;
	struct plugin_call *call = list_item(reply, struct plugin_call, reply);
	struct exchange *exchange = request->exchange;

	if (exchange == NULL || exchange->self != member->self) {
		plugin_exchange_free(&run->chain->authority, exchange);
		exchange = mem_zalloc(sizeof(*exchange));
		exchange->self = plugin_ref(member->self);
		request->exchange = exchange;
	}
	exchange->at = run->at;
	/* NULL: it goes on with what it was given. */
	exchange->state = reply->exchange != NULL ? reply->exchange : call->state;
	reply->exchange = NULL;
	call->state = NULL;
	/* What those before have said waits; the AUTH packet says what this one does. */
	plugin_said_free(&exchange->said);
	exchange->said = request->said;
	request->said = reply->said;
	reply->said = NULL;
	request->verdict = PLUGIN_CONTINUE;
	return PLUGIN_FOLD_DONE;
}

/* The exchange is over; the plugin's state goes with the call. */
static void
end_exchange(struct plugin_run *run, const struct plugin_member *member)
{
	struct exchange *exchange = run->request->exchange;

	if (exchange != NULL && exchange->self == member->self) {
		plugin_exchange_free(&run->chain->authority, exchange);
		run->request->exchange = NULL;
	}
}

static enum plugin_fold
accept(struct plugin_run *run, struct plugin_member *member, struct plugin_reply *reply)
{
	struct plugin_request *request = run->request;

	const struct plugin_said *said = plugin_said_or_none(reply->said);

	if (!prefix_is_good(buf_bytes(&said->prefix))) {
		plugin_fault(member->self, PLUGIN_FAULT_VALUE, "gave a topic prefix that is none");
		return run->chain->kind->fail(run, member, WIRE_REASON_SERVER_UNAVAILABLE);
	}
	plugin_said_add(&request->said, reply->said);
	if (request->said != NULL) {
		buf_clear(&request->said->data);
		buf_append_bytes(&request->said->data, buf_bytes(&said->data));
	}
	if (member->is_required) {
		return PLUGIN_FOLD_NEXT;
	}
	request->verdict = PLUGIN_ACCEPT;
	request->by = member->self->name;
	return PLUGIN_FOLD_DONE;
}

static enum plugin_fold
fold(struct plugin_run *run, struct plugin_member *member, struct plugin_reply *reply)
{
	struct plugin_request *request = run->request;
	uint8_t reason = reply->reason >= WIRE_REASON_FIRST_ERROR
			     ? reply->reason
			     : (uint8_t)WIRE_REASON_NOT_AUTHORIZED;

	if (reply->verdict == AVOCET_CONTINUE && request->method.len != 0) {
		return go_on_with(run, member, reply);
	}
	end_exchange(run, member);
	switch (reply->verdict) {
	case AVOCET_ACCEPT:
		return accept(run, member, reply);
	case AVOCET_DENY:
		/* What others have said to a yes is not said to a no. */
		plugin_said_free(&request->said);
		request->said = reply->said;
		reply->said = NULL;
		request->answer_delay_ms =
		    reply->delay_ms < MAX_DELAY_MS ? reply->delay_ms : MAX_DELAY_MS;
		return plugin_fold_no(run, member, reason);
	case AVOCET_DEFER:
		return member->is_required ? plugin_fold_no(run, member, WIRE_REASON_NOT_AUTHORIZED)
					   : PLUGIN_FOLD_NEXT;
	default:
		plugin_fault(member->self, PLUGIN_FAULT_VALUE, "gave a verdict that is none here");
		return run->chain->kind->fail(run, member, WIRE_REASON_SERVER_UNAVAILABLE);
	}
}

/* Many logins may go through a chain at once; none is remembered, so each is a call. */
static enum plugin_fold
put(struct plugin_run *run, struct plugin_member *member)
{
	struct plugin_request *request = run->request;
	struct plugin_call *call;
	avocet_auth_in *in;
	struct bytes parts[4];
	uint8_t *at;

	if (!knows_method(member, request->method)) {
		return member->is_required ? plugin_fold_no(run, member, WIRE_REASON_NOT_AUTHORIZED)
					   : PLUGIN_FOLD_NEXT;
	}
	call = plugin_call_new(request->desk, member->self, PLUGIN_AUTHENTICATOR, request->client);
	in = &call->in.auth;
	call->state = take_state(request, member);
	fill(run, member, call->state, in);
	parts[0] = request->username;
	parts[1] = request->password;
	parts[2] = request->method;
	parts[3] = request->data;
	at = buf_reserve(
	    &call->texts, parts[0].len + parts[1].len + parts[2].len + parts[3].len + 1);
	for (size_t i = 0; i < 4; i++) {
		if (parts[i].len != 0) {
			memcpy(at, parts[i].data, parts[i].len);
		}
		parts[i].data = at;
		at += parts[i].len;
		call->texts.len += parts[i].len;
	}
	in->username = str_of(parts[0]);
	in->password = bytes_view(parts[1]);
	in->method = str_of(parts[2]);
	in->data = bytes_view(parts[3]);
	return plugin_run_put(run, call);
}

static enum plugin_fold
fail(struct plugin_run *run, struct plugin_member *member, uint8_t reason)
{
	end_exchange(run, member);
	if (member->defers_errors && !member->is_required) {
		return PLUGIN_FOLD_NEXT;
	}
	return plugin_fold_no(run, member, reason);
}

static void
end(struct plugin_run *run)
{
	struct plugin_request *request = run->request;

	request->verdict = run->chain->all_required ? PLUGIN_ACCEPT : PLUGIN_DENY;
	request->reason = WIRE_REASON_NOT_AUTHORIZED;
}

const struct plugin_kind plugin_authn = {
    .service = PLUGIN_AUTHENTICATOR, .put = put, .fold = fold, .fail = fail, .end = end};

long
plugin_psk(struct plugin_authority *authority, struct bytes identity, uint8_t *key, size_t size)
{
	struct plugin_chain *chain = (struct plugin_chain *)(void *)authority;

	for (size_t i = 0; i < chain->count; i++) {
		struct avocet_self *self = chain->members[i].self;
		int64_t entered;
		long len;

		if (self->authenticator.psk == NULL || !plugin_is_serving(self)) {
			continue;
		}
		entered = plugin_enter(self);
		len = self->authenticator.psk(self->inst, str_of(identity), key, size);
		plugin_leave(self, entered, "psk");
		if (len > 0) {
			return len <= (long)size ? len : 0;
		}
	}
	return 0;
}
