/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions wait in one list under a lock. The thread looks for the one that is due first, reads
 * the request (which stays as it is until it is answered), judges it and answers by its number. At
 * once is the same judgement, made by the asker. An exchange is memory of its own, so that a
 * sanitizer sees whoever loses it or uses it too long.
 */
#include "broker/authority.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "loop/worker.h"
#include "wire/reason.h"

struct part {
	struct plugin_authority plugin; /* first */
	struct authority *owner;
};

struct authority {
	struct authority_options options;
	struct part part;
	struct plugin_set set;
	struct plugin_desk *const *desks;
	unsigned desk_count;

	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	struct list open; /* of struct question, in the order in which they were put */
	uint64_t random;
	bool stopping;
};

struct question {
	struct list_link link;
	const struct plugin_request *request;
	uint64_t number;
	int64_t due_ms;
};

struct exchange {
	uint32_t steps;
};

/* What was decided. */
struct judgement {
	struct plugin_answer answer;
	struct plugin_access *items; /* owned */
	struct buf topic;
	struct buf payload;
};

/* --- the rules --- */

static bool
is_below(struct bytes topic, const char *prefix)
{
	return bytes_starts_with(topic, bytes_of(prefix));
}

static void
refuse(struct judgement *judgement, uint8_t reason)
{
	judgement->answer.verdict = PLUGIN_DENY;
	judgement->answer.reason = reason;
}

static void
judge_login(const struct plugin_request *request, struct judgement *judgement)
{
	bool knows = request->is_proven ||
		     (request->has_password && bytes_equal_text(request->password, "good"));

	if (knows && bytes_equal_text(request->username, "renamed")) {
		judgement->answer.username = BYTES_LITERAL("principal");
		judgement->answer.client_id = BYTES_LITERAL("assigned");
	} else if (!knows || !bytes_equal_text(request->username, "good")) {
		refuse(judgement, WIRE_REASON_BAD_USER_NAME_OR_PASSWORD);
	}
}

static void
judge_exchange(const struct plugin_request *request, struct judgement *judgement)
{
	struct exchange *exchange = request->exchange;
	bool begins = request->question != PLUGIN_AUTH_CONTINUE;

	if (begins && exchange == NULL && bytes_equal_text(request->data, "hello")) {
		exchange = mem_zalloc(sizeof(*exchange));
		exchange->steps = 1;
		judgement->answer.verdict = PLUGIN_CONTINUE;
		judgement->answer.data = BYTES_LITERAL("challenge");
		judgement->answer.exchange = exchange;
		return;
	}
	if (!begins && exchange != NULL && exchange->steps == 1 &&
	    bytes_equal_text(request->data, "answer")) {
		judgement->answer.data = BYTES_LITERAL("welcome");
	} else {
		refuse(judgement, WIRE_REASON_NOT_AUTHORIZED);
	}
	mem_free(&exchange);
}

static void
judge_topic(const struct plugin_request *request, struct judgement *judgement)
{
	if (is_below(request->draft->topic, "deny/")) {
		refuse(judgement, WIRE_REASON_NOT_AUTHORIZED);
	}
}

static void
judge_filters(const struct plugin_request *request, struct judgement *judgement)
{
	judgement->items = mem_alloc(request->item_count * sizeof(*judgement->items));
	for (size_t i = 0; i < request->item_count; i++) {
		struct plugin_access *item = &judgement->items[i];

		*item = request->items[i];
		item->reason = is_below(item->filter, "deny/") ? (uint8_t)WIRE_REASON_NOT_AUTHORIZED
							       : (uint8_t)WIRE_REASON_SUCCESS;
		item->max_qos = is_below(item->filter, "low/") ? 0 : 2;
	}
	judgement->answer.items = judgement->items;
	judgement->answer.item_count = request->item_count;
}

static void
intercept(const struct plugin_request *request, struct judgement *judgement)
{
	struct plugin_answer *answer = &judgement->answer;
	struct bytes topic = request->draft->topic, prefix = BYTES_LITERAL("rewrite/");

	if (is_below(topic, "drop/")) {
		answer->verdict = PLUGIN_DROP;
	} else if (is_below(topic, "kick/")) {
		answer->verdict = PLUGIN_DISCONNECT;
		answer->reason = WIRE_REASON_ADMINISTRATIVE_ACTION;
	} else if (bytes_starts_with(topic, prefix)) {
		buf_append_text(&judgement->topic, "rewritten/");
		buf_append_bytes(&judgement->topic, bytes_skip(topic, prefix.len));
		buf_append_bytes(&judgement->payload, request->draft->payload);
		buf_append_byte(&judgement->payload, '!');
		answer->topic = buf_bytes(&judgement->topic);
		answer->payload = buf_bytes(&judgement->payload);
		answer->replace_payload = true;
	}
}

/* To be freed by judgement_fini. */
static void
judge(const struct plugin_request *request, struct judgement *judgement)
{
	memset(judgement, 0, sizeof(*judgement));
	buf_init(&judgement->topic, SIZE_MAX);
	buf_init(&judgement->payload, SIZE_MAX);
	judgement->answer.verdict = PLUGIN_ACCEPT;
	switch (request->question) {
	case PLUGIN_AUTHENTICATE:
		if (request->method.len == 0) {
			judge_login(request, judgement);
			break;
		}
		judge_exchange(request, judgement);
		break;
	case PLUGIN_AUTH_CONTINUE:
	case PLUGIN_REAUTHENTICATE:
		judge_exchange(request, judgement);
		break;
	case PLUGIN_PUBLISH:
	case PLUGIN_WILL:
		judge_topic(request, judgement);
		break;
	case PLUGIN_SUBSCRIBE:
		judge_filters(request, judgement);
		break;
	case PLUGIN_INTERCEPT_PUBLISH:
		intercept(request, judgement);
		break;
	case PLUGIN_INTERCEPT_SUBSCRIBE:
	case PLUGIN_INTERCEPT_UNSUBSCRIBE:
		break;
	}
}

static void
judgement_fini(struct judgement *judgement)
{
	mem_free(&judgement->items);
	buf_fini(&judgement->topic);
	buf_fini(&judgement->payload);
}

/* --- at once --- */

static void
fill(struct plugin_request *request, const struct plugin_answer *answer)
{
	request->reason = answer->reason;
	request->exchange = answer->exchange;
	if (answer->data.len + answer->username.len + answer->client_id.len != 0) {
		struct plugin_said *said = plugin_said_at(&request->said);

		buf_append_bytes(&said->data, answer->data);
		buf_append_bytes(&said->username, answer->username);
		buf_append_bytes(&said->client_id, answer->client_id);
	}
	for (size_t i = 0; i < answer->item_count; i++) {
		request->items[i].reason = answer->items[i].reason;
		request->items[i].max_qos = answer->items[i].max_qos;
	}
	if (answer->topic.len != 0) {
		(void)msg_draft_set_topic(request->draft, answer->topic);
	}
	if (answer->replace_payload) {
		(void)msg_draft_set_payload(request->draft, answer->payload);
	}
}

static enum plugin_verdict
answer_at_once(struct plugin_request *request)
{
	struct judgement judgement;
	enum plugin_verdict verdict;

	judge(request, &judgement);
	verdict = judgement.answer.verdict;
	fill(request, &judgement.answer);
	judgement_fini(&judgement);
	return verdict;
}

/* --- later --- */

/* splitmix64. Under the lock. */
static uint64_t
draw(struct authority *authority, uint64_t bound)
{
	uint64_t z = authority->random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % bound;
}

static int64_t
delay_of(struct authority *authority)
{
	switch (authority->options.manner) {
	case AUTHORITY_LATER:
		return authority->options.delay_ms;
	case AUTHORITY_OUT_OF_ORDER:
		return (int64_t)draw(authority, (uint64_t)authority->options.delay_ms + 1);
	default:
		return 0;
	}
}

static enum plugin_verdict
ask(struct plugin_authority *plugin, struct plugin_request *request)
{
	struct authority *authority = ((struct part *)(void *)plugin)->owner;
	bool is_heard = request->draft == NULL || !is_below(request->draft->topic, "unanswered/");
	struct question *question;

	if (authority->options.manner == AUTHORITY_AT_ONCE) {
		return answer_at_once(request);
	}
	if (authority->options.manner == AUTHORITY_NEVER || !is_heard) {
		return PLUGIN_PENDING;
	}
	question = mem_zalloc(sizeof(*question));
	question->request = request;
	question->number = request->number;
	(void)pthread_mutex_lock(&authority->lock);
	question->due_ms = clock_mono_ms() + delay_of(authority);
	list_append(&authority->open, &question->link);
	(void)pthread_cond_signal(&authority->changed);
	(void)pthread_mutex_unlock(&authority->lock);
	return PLUGIN_PENDING;
}

static void
exchange_free(struct plugin_authority *plugin, void *exchange)
{
	struct exchange *own = exchange;

	(void)plugin;
	mem_free(&own);
}

/* On a worker; what is proven by a key is judged like any other login. */
static long
find_key(struct plugin_authority *plugin, struct bytes identity, uint8_t *key, size_t size)
{
	static const char *const known[] = {"good", "renamed", "stranger"};

	(void)plugin;
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (bytes_equal_text(identity, known[i]) && size >= AUTHORITY_KEY_SIZE) {
			for (uint8_t at = 0; at < AUTHORITY_KEY_SIZE; at++) {
				key[at] = at;
			}
			return AUTHORITY_KEY_SIZE;
		}
	}
	return 0;
}

static struct question *
first_due(struct authority *authority)
{
	struct question *first = NULL;

	list_each (link, &authority->open) {
		struct question *question = list_item(link, struct question, link);

		if (first == NULL || question->due_ms < first->due_ms) {
			first = question;
		}
	}
	return first;
}

static void
answer(struct authority *authority, const struct question *question)
{
	struct judgement judgement;

	judge(question->request, &judgement);
	if (plugin_complete(authority->desks, authority->desk_count, question->number,
		&judgement.answer) != 0) {
		abort(); /* each question has one answer, and this is it */
	}
	judgement_fini(&judgement);
}

/* Until the moment, or until something changes. Under the lock. */
static void
wait_until(struct authority *authority, int64_t due_ms)
{
	struct timespec at = {
	    .tv_sec = (time_t)(due_ms / 1000), .tv_nsec = (long)(due_ms % 1000) * 1000000};

	(void)pthread_cond_timedwait(&authority->changed, &authority->lock, &at);
}

static void *
run(void *arg)
{
	struct authority *authority = arg;

	(void)pthread_mutex_lock(&authority->lock);
	while (!authority->stopping) {
		struct question *question = first_due(authority);

		if (question == NULL) {
			(void)pthread_cond_wait(&authority->changed, &authority->lock);
		} else if (question->due_ms > clock_mono_ms()) {
			wait_until(authority, question->due_ms);
		} else {
			list_remove(&question->link);
			(void)pthread_mutex_unlock(&authority->lock);
			answer(authority, question);
			mem_free(&question);
			(void)pthread_mutex_lock(&authority->lock);
		}
	}
	(void)pthread_mutex_unlock(&authority->lock);
	return NULL;
}

/* --- its life --- */

bool
authority_manner_of(const char *name, enum authority_manner *manner_out)
{
	static const char *const names[] = {[AUTHORITY_AT_ONCE] = "at-once",
	    [AUTHORITY_LATER] = "later",
	    [AUTHORITY_OUT_OF_ORDER] = "out-of-order",
	    [AUTHORITY_THREAD] = "thread",
	    [AUTHORITY_NEVER] = "never"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*manner_out = (enum authority_manner)i;
			return true;
		}
	}
	return false;
}

static void
init_lock(struct authority *authority)
{
	pthread_condattr_t monotonic;

	(void)pthread_mutex_init(&authority->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&authority->changed, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
}

struct authority *
authority_new(const struct authority_options *options)
{
	static const struct plugin_authority_ops ops = {
	    .ask = ask, .exchange_free = exchange_free, .psk = find_key};
	static const char *const methods[] = {"TEST", NULL};
	struct authority *authority = mem_zalloc(sizeof(*authority));

	authority->options = *options;
	authority->random = options->seed;
	authority->part.owner = authority;
	authority->part.plugin = (struct plugin_authority){.ops = &ops,
	    .may_wait = options->manner != AUTHORITY_AT_ONCE,
	    .timeout_ms = options->timeout_ms,
	    .methods = methods};
	authority->set = (struct plugin_set){.authenticate = &authority->part.plugin,
	    .authorize = &authority->part.plugin,
	    .intercept = &authority->part.plugin};
	list_init(&authority->open);
	init_lock(authority);
	return authority;
}

const struct plugin_set *
authority_plugins(const struct authority *authority)
{
	return &authority->set;
}

bool
authority_start(struct authority *authority, struct loop *loop, struct plugin_desk *const *desks)
{
	sigset_t all, before;

	authority->desks = desks;
	authority->desk_count = loop_worker_count(loop);
	if (authority->options.manner == AUTHORITY_AT_ONCE) {
		return true;
	}
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &before);
	authority->has_thread = pthread_create(&authority->thread, NULL, run, authority) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return authority->has_thread;
}

void
authority_stop(struct authority *authority)
{
	if (authority == NULL || !authority->has_thread) {
		return;
	}
	(void)pthread_mutex_lock(&authority->lock);
	authority->stopping = true;
	(void)pthread_cond_signal(&authority->changed);
	(void)pthread_mutex_unlock(&authority->lock);
	(void)pthread_join(authority->thread, NULL);
	authority->has_thread = false;
}

void
authority_free(struct authority **authority_at)
{
	struct authority *authority = *authority_at;
	struct list_link *link;

	if (authority == NULL) {
		return;
	}
	while ((link = list_take_first(&authority->open)) != NULL) {
		struct question *question = list_item(link, struct question, link);

		mem_free(&question);
	}
	(void)pthread_cond_destroy(&authority->changed);
	(void)pthread_mutex_destroy(&authority->lock);
	mem_free(authority_at);
}
