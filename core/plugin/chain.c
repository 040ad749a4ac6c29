/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of all chains. A run goes over the members; as long as each answers at once it lives on
 * the stack of the asker. When the first one answers later it moves to the heap, and the call's
 * mail (or its deadline) takes it up again on the same worker.
 */
#include "plugin/chain.h"

#include "base/counter.h"
#include "base/err.h"
#include "base/mem.h"
#include "plugin/chain_int.h"
#include "wire/reason.h"

/* --- running --- */

/* The set may go with it: the caller looks at nothing of the chain afterwards. */
static void
free_run(struct plugin_run *run)
{
	const struct plugin_set *set = run->set;

	timer_clear(plugin_desk_worker(run->request->desk), &run->timer);
	run->request->run = NULL;
	buf_fini(&run->cover_text);
	mem_free(&run);
	plugin_set_unref(&set);
}

int64_t
plugin_deadline_ns(const struct plugin_member *member)
{
	enum { MS_NS = 1000000 };

	return (context_current->mono_ms + member->timeout_ms) * MS_NS;
}

static void on_reply(struct plugin_call *call, void *arg);
static void go_on(struct plugin_run *run, enum plugin_fold fold);

static void
on_deadline(struct worker *worker, struct timer *timer)
{
	struct plugin_run *run = list_item(timer, struct plugin_run, timer);
	struct plugin_member *member = &run->chain->members[run->at];
	struct plugin_call *call = run->call;

	(void)worker;
	counter_add(COUNTER_QUESTIONS_TIMED_OUT, 1);
	plugin_fault(member->self, PLUGIN_FAULT_LATE, "did not answer in time");
	run->call = NULL;
	call->is_overdue = true;
	plugin_call_end(call);
	go_on(run, run->chain->kind->fail(run, member, WIRE_REASON_IMPLEMENTATION_SPECIFIC_ERROR));
}

enum plugin_fold
plugin_run_put(struct plugin_run *run, struct plugin_call *call)
{
	struct plugin_member *member = &run->chain->members[run->at];
	enum plugin_fold fold;

	/* `run` may be on the stack: on_reply finds it through the request. */
	if (plugin_call_put(call, on_reply, run->request)) {
		fold = call->reply.verdict == AVOCET_ERROR
			   ? run->chain->kind->fail(run, member, WIRE_REASON_SERVER_UNAVAILABLE)
			   : run->chain->kind->fold(run, member, &call->reply);
		plugin_call_end(call);
		return fold;
	}
	run->call = call;
	return PLUGIN_FOLD_WAIT;
}

/* The run waits for its call: it must outlive the asker's stack. */
static void
wait_for_call(struct plugin_run *run)
{
	struct plugin_request *request = run->request;
	struct plugin_run *kept = run;

	if (!run->is_heap) {
		kept = mem_alloc(sizeof(*kept));
		*kept = *run;
		kept->is_heap = true;
		kept->set = plugin_set_ref(run->chain->set);
		request->run = kept;
	}
	kept->timer.fn = on_deadline;
	timer_set(plugin_desk_worker(request->desk), &kept->timer,
	    context_current->mono_ms + kept->chain->members[kept->at].timeout_ms);
}

/* As many of its questions are out as may be. */
static bool
is_full(const struct avocet_self *self)
{
	int64_t max = atomic_load_explicit(&self->max_requests, memory_order_relaxed);

	return max != 0 && atomic_load_explicit(&self->open_count, memory_order_relaxed) >= max;
}

/* Asks from run->at on, until somebody's answer ends it or is waited for. */
static enum plugin_fold
ask_on(struct plugin_run *run)
{
	struct plugin_chain *chain = run->chain;
	enum plugin_fold fold = PLUGIN_FOLD_NEXT;

	for (; run->at < chain->count && fold == PLUGIN_FOLD_NEXT;
	     run->at += fold == PLUGIN_FOLD_NEXT) {
		struct plugin_member *member = &chain->members[run->at];

		if (!plugin_is_serving(member->self)) {
			fold = chain->kind->fail(run, member, WIRE_REASON_SERVER_UNAVAILABLE);
		} else if (is_full(member->self)) {
			fold = chain->kind->fail(run, member, WIRE_REASON_SERVER_BUSY);
		} else {
			fold = chain->kind->put(run, member);
		}
	}
	if (fold == PLUGIN_FOLD_NEXT) {
		chain->kind->end(run);
		fold = PLUGIN_FOLD_DONE;
	}
	return fold;
}

/* A run on the heap, after an answer. */
static void
go_on(struct plugin_run *run, enum plugin_fold fold)
{
	struct plugin_request *request = run->request;
	const struct plugin_set *set;

	timer_clear(plugin_desk_worker(request->desk), &run->timer);
	if (fold == PLUGIN_FOLD_NEXT) {
		run->at++;
		fold = ask_on(run);
	}
	if (fold == PLUGIN_FOLD_WAIT) {
		wait_for_call(run);
		return;
	}
	/* Who is answered may look at the set that it asked. */
	set = run->set;
	run->set = NULL;
	free_run(run);
	plugin_answer(request, request->verdict);
	plugin_set_unref(&set);
}

static void
on_reply(struct plugin_call *call, void *arg)
{
	struct plugin_request *request = arg;
	struct plugin_run *run = request->run;
	struct plugin_member *member = &run->chain->members[run->at];
	enum plugin_fold fold;

	run->call = NULL;
	fold = call->reply.verdict == AVOCET_ERROR
		   ? run->chain->kind->fail(run, member, WIRE_REASON_SERVER_UNAVAILABLE)
		   : run->chain->kind->fold(run, member, &call->reply);
	plugin_call_end(call);
	go_on(run, fold);
}

static enum plugin_verdict
ask(struct plugin_authority *authority, struct plugin_request *request)
{
	struct plugin_chain *chain = (struct plugin_chain *)(void *)authority;
	struct plugin_run run = {.chain = chain, .request = request, .may_keep = true};

	request->verdict = PLUGIN_PENDING;
	if (chain->kind->service == PLUGIN_AUTHORIZER && plugin_authz_recall(chain, request)) {
		return request->verdict;
	}
	if (chain->kind->service == PLUGIN_AUTHENTICATOR) {
		run.at = plugin_authn_begin(&run);
	}
	buf_init(&run.cover_text, SIZE_MAX);
	if (ask_on(&run) == PLUGIN_FOLD_WAIT) {
		wait_for_call(&run);
		return PLUGIN_PENDING;
	}
	buf_fini(&run.cover_text);
	return request->verdict;
}

static void
leave(struct plugin_authority *authority, struct plugin_request *request)
{
	struct plugin_run *run = request->run;

	(void)authority;
	if (err_impossible(run == NULL)) {
		return;
	}
	if (run->call != NULL) {
		plugin_call_end(run->call);
	}
	free_run(run);
}

static const struct plugin_authority_ops chain_ops = {
    .ask = ask, .leave = leave, .exchange_free = plugin_exchange_free, .psk = plugin_psk};
static const struct plugin_authority_ops intercept_ops = {
    .ask = ask, .leave = leave, .concerns = plugin_intercept_concerns};

/* --- making --- */

static bool
is_inline(const struct avocet_self *self, enum plugin_service service)
{
	return service == PLUGIN_AUTHENTICATOR ? self->authenticator.exec == AVOCET_EXEC_INLINE
	       : service == PLUGIN_AUTHORIZER  ? self->authorizer.exec == AVOCET_EXEC_INLINE
					       : self->interceptor.exec == AVOCET_EXEC_INLINE;
}

static struct plugin_words *
words_of(const struct avocet_self *self, enum plugin_service service)
{
	/* What was prepared, where a change is under way that the set is made for. */
	struct plugin_words *methods =
	    self->next_methods != NULL ? self->next_methods : self->methods;
	struct plugin_words *filters = self->has_next_filters ? self->next_filters : self->filters;
	struct plugin_words *words = service == PLUGIN_AUTHENTICATOR ? methods
				     : service == PLUGIN_INTERCEPTOR ? filters
								     : NULL;

	if (words != NULL) {
		ref_get(&words->ref);
	}
	return words;
}

/* The methods that some member knows; "" is none. */
static void
join_methods(struct plugin_chain *chain)
{
	size_t count = 0;

	for (size_t i = 0; i < chain->count; i++) {
		count += chain->members[i].words != NULL ? chain->members[i].words->count : 0;
	}
	chain->methods = mem_zalloc((count + 1) * sizeof(*chain->methods));
	count = 0;
	for (size_t i = 0; i < chain->count; i++) {
		const struct plugin_words *words = chain->members[i].words;

		for (size_t j = 0; words != NULL && j < words->count; j++) {
			if (words->items[j][0] != '\0') {
				chain->methods[count++] = words->items[j];
			}
		}
	}
	chain->authority.methods = chain->methods;
}

static struct plugin_authority *
chain_new(struct plugin_set *set, const struct plugin_set_options *all,
    const struct plugin_chain_options *options, const struct plugin_kind *kind)
{
	struct plugin_chain *chain;

	if (options->count == 0) {
		return NULL;
	}
	chain = mem_zalloc(sizeof(*chain) + options->count * sizeof(chain->members[0]));
	chain->authority.ops = kind->service == PLUGIN_INTERCEPTOR ? &intercept_ops : &chain_ops;
	chain->authority.timeout_ms = -1;
	chain->kind = kind;
	chain->set = set;
	chain->house = all->house;
	chain->max_grants = (size_t)all->max_grants;
	chain->count = options->count;
	chain->is_inline = true;
	chain->all_required = true;
	for (size_t i = 0; i < options->count; i++) {
		const struct plugin_member_options *from = &options->members[i];

		chain->members[i] = (struct plugin_member){.self = plugin_ref(from->self),
		    .is_required = from->is_required,
		    .defers_errors = from->defers_errors,
		    .timeout_ms = from->timeout_ms,
		    .words = words_of(from->self, kind->service)};
		chain->is_inline = chain->is_inline && is_inline(from->self, kind->service);
		chain->all_required = chain->all_required && from->is_required;
	}
	chain->authority.may_wait = !chain->is_inline;
	if (kind->service == PLUGIN_AUTHENTICATOR) {
		join_methods(chain);
	}
	return &chain->authority;
}

static void
chain_free(struct plugin_authority *authority)
{
	struct plugin_chain *chain = (struct plugin_chain *)(void *)authority;

	if (chain == NULL) {
		return;
	}
	for (size_t i = 0; i < chain->count; i++) {
		plugin_words_unref(&chain->members[i].words);
		plugin_unref(chain->members[i].self);
	}
	mem_free(&chain->methods);
	mem_free(&chain);
}

struct plugin_set *
plugin_set_new(const struct plugin_set_options *options)
{
	struct plugin_set *set = mem_zalloc(sizeof(*set));
	const struct plugin_chain *authorize, *authenticate;

	ref_init(&set->ref);
	set->is_counted = true;
	set->authenticate = chain_new(set, options, &options->authenticate, &plugin_authn);
	set->authorize = chain_new(set, options, &options->authorize, &plugin_authz);
	set->intercept = chain_new(set, options, &options->intercept, &plugin_intercept);
	set->intercepts_out = plugin_intercepts(set->intercept, AVOCET_AT_OUT);
	set->intercepts_subscribe = plugin_intercepts(set->intercept, AVOCET_AT_SUB);
	set->intercepts_unsubscribe = plugin_intercepts(set->intercept, AVOCET_AT_UNSUB);
	authorize = (const struct plugin_chain *)(void *)set->authorize;
	for (size_t i = 0; authorize != NULL && i < authorize->count; i++) {
		set->judges_receive |= authorize->members[i].self->authorizer.may_receive != NULL;
	}
	authenticate = (const struct plugin_chain *)(void *)set->authenticate;
	for (size_t i = 0; authenticate != NULL && i < authenticate->count; i++) {
		set->wants_proof |= authenticate->members[i].self->authenticator.wants != 0;
	}
	return set;
}

const struct plugin_set *
plugin_set_ref(const struct plugin_set *set)
{
	if (set->is_counted) {
		ref_get(&((struct plugin_set *)(uintptr_t)set)->ref);
	}
	return set;
}

void
plugin_set_unref(const struct plugin_set **set_at)
{
	struct plugin_set *set = (struct plugin_set *)(uintptr_t)*set_at;

	*set_at = NULL;
	if (set != NULL && set->is_counted && ref_put(&set->ref)) {
		chain_free(set->authenticate);
		chain_free(set->authorize);
		chain_free(set->intercept);
		mem_free(&set);
	}
}
