/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One question to one instance that may be answered later. A call owns copies of (or references on)
 * all that the plugin is given, so who asked may go or lose patience while the plugin still reads;
 * the call itself goes when the plugin has given it back.
 *
 * Calls stand in a table of their desk, guarded by a lock, which is held for a few memory accesses.
 * The number names worker, slot and generation; a number that is stale finds nothing and is a
 * fault. An answer is copied by the thread that gives it and travels as mail, unless it is given
 * inside the call on the call's own worker.
 */
#include <assert.h>

#include "base/counter.h"
#include "base/mem.h"
#include "plugin/plugin_int.h"

enum { SLOT_BITS = 24 };
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)

struct place {
	struct plugin_call *call; /* NULL: free */
	uint32_t generation;
};

struct plugin_calls {
	struct lock lock; /* guards the table, and of each call what its struct says */
	VEC(struct place) places;
	VEC(uint32_t) unused;
};

struct plugin_calls *
plugin_calls_new(void)
{
	struct plugin_calls *calls = mem_zalloc(sizeof(*calls));

	lock_init(&calls->lock);
	return calls;
}

/* --- the table --- */

static struct plugin_call *
find(struct plugin_calls *calls, uint64_t number)
{
	uint64_t at = number >> SLOT_BITS & SLOT_MASK;
	struct place *place = at < calls->places.count ? &calls->places.items[at] : NULL;

	return place != NULL && (place->generation & SLOT_MASK) == (number & SLOT_MASK)
		   ? place->call
		   : NULL;
}

static void
enter(struct plugin_calls *calls, struct plugin_call *call)
{
	uint32_t at;

	lock_take(&calls->lock);
	if (calls->unused.count != 0) {
		at = vec_pop(&calls->unused);
	} else {
		at = (uint32_t)calls->places.count;
		vec_push(&calls->places, (struct place){.generation = 1});
	}
	calls->places.items[at].call = call;
	call->number = (uint64_t)worker_index(plugin_desk_worker(call->desk)) << 48 |
		       (uint64_t)at << SLOT_BITS | (calls->places.items[at].generation & SLOT_MASK);
	lock_give(&calls->lock);
}

static void
leave(struct plugin_calls *calls, struct plugin_call *call)
{
	uint32_t at = (uint32_t)(call->number >> SLOT_BITS & SLOT_MASK);
	struct place *place = &calls->places.items[at];

	lock_take(&calls->lock);
	place->call = NULL;
	place->generation++;
	place->generation += (place->generation & SLOT_MASK) == 0;
	vec_push(&calls->unused, at);
	lock_give(&calls->lock);
}

/* --- replies --- */

void
plugin_reply_init(struct plugin_reply *reply)
{
	*reply = (struct plugin_reply){.verdict = AVOCET_ERROR};
	buf_init(&reply->covers, SIZE_MAX);
}

void
plugin_reply_fini(struct plugin_reply *reply)
{
	plugin_said_free(&reply->said);
	buf_fini(&reply->covers);
	vec_fini(&reply->grants);
}

/* --- a call's life --- */

struct plugin_call *
plugin_call_new(struct plugin_desk *desk, struct avocet_self *self, enum plugin_service service,
    struct msg_client *client)
{
	struct plugin_call *call = mem_zalloc(sizeof(*call));

	call->desk = desk;
	call->self = plugin_ref(self);
	call->service = service;
	call->point = AVOCET_AT_IN;
	call->client = client != NULL ? msg_client_ref(client) : NULL;
	lock_take(&self->era_lock);
	call->era = self->era;
	ref_get(&call->era->ref);
	lock_give(&self->era_lock);
	buf_init(&call->texts, SIZE_MAX);
	plugin_reply_init(&call->reply);
	plugin_edit_init(&call->edit, NULL, &call->msg);
	atomic_fetch_add_explicit(&self->open_count, 1, memory_order_relaxed);
	enter(plugin_desk_calls(desk), call);
	return call;
}

static void
free_call(struct plugin_call *call)
{
	struct avocet_self *self = call->self;

	/* Exchanges that nobody took over. */
	if (self->authenticator.exchange_free != NULL) {
		if (call->state != NULL) {
			self->authenticator.exchange_free(self->inst, call->state);
		}
		if (call->reply.exchange != NULL && call->reply.exchange != call->state) {
			self->authenticator.exchange_free(self->inst, call->reply.exchange);
		}
	}
	plugin_reply_fini(&call->reply);
	plugin_edit_fini(&call->edit);
	buf_fini_wiped(&call->texts);
	msg_client_unref(&call->client);
	msg_unref(&call->kept);
	mem_free(&call->items);
	mem_free(&call->props);
	plugin_era_unref(&call->era);
	mem_free(&call);
	atomic_fetch_sub_explicit(&self->open_count, 1, memory_order_relaxed);
	plugin_unref(self);
}

void
plugin_calls_free(struct plugin_calls **calls_at)
{
	struct plugin_calls *calls = *calls_at;

	for (size_t i = 0; calls != NULL && i < calls->places.count; i++) {
		struct plugin_call *call = calls->places.items[i].call;

		if (call != NULL) {
			if (!call->is_answered) {
				plugin_fault(
				    call->self, PLUGIN_FAULT_NEVER, "never answered a question");
			}
			free_call(call);
		}
	}
	if (calls != NULL) {
		vec_fini(&calls->places);
		vec_fini(&calls->unused);
		lock_fini(&calls->lock);
	}
	mem_free(calls_at);
}

void
plugin_call_end(struct plugin_call *call)
{
	struct plugin_calls *calls = plugin_desk_calls(call->desk);
	const struct avocet_self *self = call->self;
	void (*cancel)(void *inst, avocet_req_h req) =
	    call->service == PLUGIN_AUTHENTICATOR ? self->authenticator.cancel
	    : call->service == PLUGIN_AUTHORIZER  ? self->authorizer.cancel
						  : self->interceptor.cancel;
	bool is_back;

	lock_take(&calls->lock);
	call->done = NULL;
	is_back = call->is_answered && !call->is_mailed;
	lock_give(&calls->lock);
	if (is_back) {
		leave(calls, call);
		free_call(call);
		return;
	}
	switch (call->pool != NULL ? plugin_pool_late(call->pool, call) : PLUGIN_LATE_ASKED) {
	case PLUGIN_LATE_NEVER_RAN:
		leave(calls, call);
		free_call(call);
		return;
	case PLUGIN_LATE_RUNNING:
	case PLUGIN_LATE_ASKED:
		break;
	}
	if (cancel != NULL) {
		int64_t entered = plugin_enter(call->self);

		cancel(self->inst, call->number);
		plugin_leave(call->self, entered, "cancel");
	}
}

/* --- asking --- */

int32_t
plugin_call_run(struct plugin_call *call)
{
	struct avocet_self *self = call->self;

	switch (call->service) {
	case PLUGIN_AUTHENTICATOR:
		return self->authenticator.authenticate(self->inst, call->number, &call->in.auth);
	case PLUGIN_AUTHORIZER:
		return self->authorizer.authorize(self->inst, call->number, &call->in.authz, NULL);
	case PLUGIN_INTERCEPTOR:
		if (call->point != AVOCET_AT_IN) {
			return self->interceptor.subscribe(self->inst, call->number, call->point,
			    &call->sub, &plugin_client_of(call->client)->info, &call->edit);
		}
		return self->interceptor.publish(self->inst, call->number, AVOCET_AT_IN, &call->msg,
		    &plugin_client_of(call->client)->info, &call->edit);
	}
	return AVOCET_ERROR;
}

static const char *
function_of(const struct plugin_call *call)
{
	return call->service == PLUGIN_AUTHENTICATOR ? "authenticate"
	       : call->service == PLUGIN_AUTHORIZER  ? "authorize"
	       : call->point == AVOCET_AT_IN         ? "publish"
						     : "subscribe";
}

static uint32_t
exec_of(const struct plugin_call *call)
{
	return call->service == PLUGIN_AUTHENTICATOR ? call->self->authenticator.exec
	       : call->service == PLUGIN_AUTHORIZER  ? call->self->authorizer.exec
						     : call->self->interceptor.exec;
}

/* On the call's worker. True: it is answered. */
static bool
run_here(struct plugin_call *call)
{
	struct plugin_calls *calls = plugin_desk_calls(call->desk);
	int64_t entered = plugin_enter(call->self);
	bool was_answered, is_back;
	int32_t verdict;

	call->in_call = true; /* no other thread knows the number yet */
	verdict = plugin_call_run(call);
	plugin_leave(call->self, entered, function_of(call));
	if (verdict == AVOCET_PENDING && exec_of(call) == AVOCET_EXEC_INLINE) {
		plugin_fault(call->self, PLUGIN_FAULT_VALUE,
		    "answered PENDING, which a service of exec INLINE must not");
		verdict = AVOCET_ERROR;
	}
	lock_take(&calls->lock);
	call->in_call = false;
	was_answered = call->is_answered;
	if (verdict != AVOCET_PENDING && !was_answered) {
		call->is_answered = true;
		call->reply.verdict = verdict;
	}
	is_back = call->is_answered && !call->is_mailed;
	lock_give(&calls->lock);
	if (verdict != AVOCET_PENDING && was_answered) {
		plugin_fault(call->self, PLUGIN_FAULT_TWICE,
		    "answered a question twice: by its verdict and by complete()");
	}
	return is_back;
}

bool
plugin_call_put(
    struct plugin_call *call, void (*done)(struct plugin_call *call, void *arg), void *arg)
{
	struct avocet_self *self = call->self;
	uint32_t exec = exec_of(call);

	atomic_fetch_add_explicit(&self->question_count, 1, memory_order_relaxed);
	call->done = done;
	call->arg = arg;
	if (exec == AVOCET_EXEC_WORKER || exec == AVOCET_EXEC_INLINE) {
		return run_here(call);
	}
	call->pool = exec == AVOCET_EXEC_SERIAL ? self->serial : self->pool;
	if (plugin_pool_put(call->pool, call)) {
		return false;
	}
	call->is_answered = true; /* it never went out */
	call->reply.verdict = AVOCET_ERROR;
	return true;
}

/* --- answers --- */

static void
on_mail(struct worker *worker, struct mail *mail)
{
	struct plugin_call *call = list_item(mail, struct plugin_call, mail);
	struct plugin_calls *calls = plugin_desk_calls(call->desk);
	void (*done)(struct plugin_call * call, void *arg);

	(void)worker;
	lock_take(&calls->lock);
	call->is_mailed = false;
	done = call->done;
	lock_give(&calls->lock);
	if (done != NULL) {
		done(call, call->arg);
	} else {
		leave(calls, call);
		free_call(call);
	}
}

struct plugin_call *
plugin_call_take(
    struct avocet_self *self, uint64_t number, enum plugin_service service, int32_t *status_out)
{
	size_t index = (size_t)(number >> 48);
	struct plugin_desk *desk =
	    index < WORKER_MAX && number != 0 ? self->house->options.desks[index] : NULL;
	struct plugin_calls *calls = desk != NULL ? plugin_desk_calls(desk) : NULL;
	struct plugin_call *call = NULL;

	*status_out = AVOCET_E_GONE;
	if (calls != NULL) {
		lock_take(&calls->lock);
		call = find(calls, number);
		if (call != NULL &&
		    (call->self != self || call->service != service || call->is_answered)) {
			call = NULL;
		}
		if (call != NULL) {
			call->is_answered = true;
			call->is_mailed = true; /* so that it stays until plugin_call_reply */
		}
		lock_give(&calls->lock);
	}
	if (call == NULL) {
		counter_add(COUNTER_ANSWERS_STALE, 1);
		plugin_fault(
		    self, PLUGIN_FAULT_TWICE, "answered a question that is not open (any more)");
	}
	return call;
}

int32_t
plugin_call_reply(struct plugin_call *call)
{
	struct plugin_calls *calls = plugin_desk_calls(call->desk);
	struct worker *worker = plugin_desk_worker(call->desk);
	bool is_here = context_current != NULL && context_current->worker == worker;
	bool is_inside;
	int32_t status;

	lock_take(&calls->lock);
	status = call->done != NULL ? AVOCET_OK : AVOCET_E_GONE;
	is_inside = is_here && call->in_call;
	if (is_inside) {
		call->is_mailed = false;
	}
	lock_give(&calls->lock);
	if (!is_inside) {
		call->mail.run = on_mail;
		mail_post(worker, &call->mail);
	}
	return status;
}
