/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open requests of a worker. A slot is taken before the authority is asked, so that an answer finds
 * it even when it comes first. The lock guards what foreign threads look at: a slot's generation
 * and whether it was answered; everything else is the worker's. An answer travels as mail and is
 * unpacked on the worker; what is still in the mail when the loop has ended goes with the desk.
 *
 * A number is 16 bits of worker, 24 of slot, 24 of generation.
 */
#include "plugin/ask.h"

#include <assert.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "loop/mailbox.h"
#include "loop/worker.h"
#include "plugin/plugin_int.h"
#include "wire/reason.h"

enum { SLOT_BITS = 24, DEFAULT_TIMEOUT_MS = 5000 };
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)

struct answer_mail;

struct slot {
	struct plugin_request *request;                  /* NULL: free */
	void (*free_fn)(struct plugin_request *request); /* set: nobody waits any more */
	struct answer_mail *letter;                      /* the answer, while it is in the mail */
	uint32_t generation;
};

struct plugin_desk {
	struct worker *worker;
	struct lock lock; /* guards slots' request, generation, letter, and the array itself */
	VEC(struct slot) slots;
	VEC(uint32_t) unused;
	size_t open_count;
	struct plugin_calls *calls; /* questions to instances */
};

struct answer_mail {
	struct mail mail; /* first */
	struct plugin_desk *desk;
	uint64_t number;
	struct plugin_answer answer; /* its bytes lie behind */
};

struct plugin_desk *
plugin_desk_new(struct worker *worker)
{
	struct plugin_desk *desk = mem_zalloc(sizeof(*desk));

	desk->worker = worker;
	lock_init(&desk->lock);
	desk->calls = plugin_calls_new();
	return desk;
}

void
plugin_desk_free(struct plugin_desk **desk_at)
{
	struct plugin_desk *desk = *desk_at;

	if (desk == NULL) {
		return;
	}
	for (size_t i = 0; i < desk->slots.count; i++) {
		struct slot *slot = &desk->slots.items[i];

		if (slot->request != NULL && slot->free_fn != NULL) {
			if (slot->letter != NULL) {
				slot->request->exchange = slot->letter->answer.exchange;
			}
			slot->free_fn(slot->request);
		}
		mem_free(&slot->letter);
	}
	plugin_calls_free(&desk->calls);
	vec_fini(&desk->slots);
	vec_fini(&desk->unused);
	lock_fini(&desk->lock);
	mem_free(desk_at);
}

struct plugin_calls *
plugin_desk_calls(struct plugin_desk *desk)
{
	return desk->calls;
}

struct worker *
plugin_desk_worker(struct plugin_desk *desk)
{
	return desk->worker;
}

size_t
plugin_desk_open_count(const struct plugin_desk *desk)
{
	return desk->open_count;
}

void
plugin_request_init(struct plugin_request *request)
{
	request->verdict = PLUGIN_PENDING;
	request->reason = 0;
	request->number = 0;
	request->desk = NULL;
	request->timed_out = false;
	request->authority = NULL;
	request->timer = (struct timer){0};
	request->said = NULL;
	request->answer_delay_ms = 0;
	request->by = NULL;
	request->run = NULL;
}

/* --- slots --- */

static uint64_t
number_of(const struct plugin_desk *desk, uint32_t at)
{
	return (uint64_t)worker_index(desk->worker) << 48 | (uint64_t)at << SLOT_BITS |
	       (desk->slots.items[at].generation & SLOT_MASK);
}

static struct slot *
slot_of(struct plugin_desk *desk, uint64_t number)
{
	uint64_t at = number >> SLOT_BITS & SLOT_MASK;
	struct slot *slot = at < desk->slots.count ? &desk->slots.items[at] : NULL;

	if (slot == NULL || slot->request == NULL ||
	    (slot->generation & SLOT_MASK) != (number & SLOT_MASK)) {
		return NULL;
	}
	return slot;
}

/* False: more questions are open than numbers can tell. */
static bool
take_slot(struct plugin_desk *desk, struct plugin_request *request)
{
	uint32_t at;

	lock_take(&desk->lock);
	if (desk->unused.count != 0) {
		at = vec_pop(&desk->unused);
	} else if (desk->slots.count > SLOT_MASK) {
		lock_give(&desk->lock);
		return false;
	} else {
		at = (uint32_t)desk->slots.count;
		vec_push(&desk->slots, (struct slot){.generation = 1});
	}
	desk->slots.items[at].request = request;
	desk->slots.items[at].free_fn = NULL;
	desk->slots.items[at].letter = NULL;
	request->number = number_of(desk, at);
	lock_give(&desk->lock);
	desk->open_count++;
	return true;
}

static void
give_slot(struct plugin_desk *desk, struct slot *slot)
{
	uint32_t at = (uint32_t)(slot - desk->slots.items);

	slot->request->number = 0;
	lock_take(&desk->lock);
	slot->request = NULL;
	slot->letter = NULL;
	slot->generation++;
	slot->generation += (slot->generation & SLOT_MASK) == 0; /* number 0 is none */
	vec_push(&desk->unused, at);
	lock_give(&desk->lock);
	desk->open_count--;
}

/* --- asking --- */

static void
on_deadline(struct worker *worker, struct timer *timer)
{
	struct plugin_request *request = list_item(timer, struct plugin_request, timer);

	(void)worker;
	request->timed_out = true;
	request->verdict = PLUGIN_DENY;
	request->reason = WIRE_REASON_IMPLEMENTATION_SPECIFIC_ERROR;
	counter_add(COUNTER_QUESTIONS_TIMED_OUT, 1);
	if (request->authority->ops->cancel != NULL) {
		request->authority->ops->cancel(request->authority, request->number);
	}
	request->done(request);
}

enum plugin_verdict
plugin_ask(
    struct plugin_desk *desk, struct plugin_authority *authority, struct plugin_request *request)
{
	int64_t timeout_ms =
	    authority->timeout_ms != 0 ? authority->timeout_ms : DEFAULT_TIMEOUT_MS;

	counter_add(COUNTER_QUESTIONS, 1);
	request->desk = desk;
	request->authority = authority;
	if (!authority->may_wait) {
		request->verdict = authority->ops->ask(authority, request);
		if (err_impossible(request->verdict == PLUGIN_PENDING)) {
			request->verdict = PLUGIN_DENY;
		}
		return request->verdict;
	}
	if (!take_slot(desk, request)) {
		request->reason = WIRE_REASON_SERVER_BUSY;
		request->verdict = PLUGIN_DENY;
		return request->verdict;
	}
	request->verdict = authority->ops->ask(authority, request);
	if (request->verdict == PLUGIN_PENDING) {
		request->timer.fn = on_deadline;
		if (timeout_ms >= 0) {
			timer_set(
			    desk->worker, &request->timer, context_current->mono_ms + timeout_ms);
		}
	} else {
		struct slot *slot = slot_of(desk, request->number);

		give_slot(desk, slot);
	}
	return request->verdict;
}

void
plugin_end(struct plugin_request *request, void (*free_fn)(struct plugin_request *request))
{
	struct slot *slot = request->number != 0 ? slot_of(request->desk, request->number) : NULL;

	if (slot == NULL) {
		free_fn(request);
		return;
	}
	timer_clear(request->desk->worker, &request->timer);
	if (request->authority->ops->leave != NULL) {
		request->authority->ops->leave(request->authority, request);
		give_slot(request->desk, slot);
		free_fn(request);
		return;
	}
	slot->free_fn = free_fn;
	if (!request->timed_out && request->authority->ops->cancel != NULL) {
		request->authority->ops->cancel(request->authority, request->number);
	}
}

/* --- answers --- */

void
plugin_answer(struct plugin_request *request, enum plugin_verdict verdict)
{
	struct slot *slot = slot_of(request->desk, request->number);

	timer_clear(request->desk->worker, &request->timer);
	if (!err_impossible(slot == NULL)) {
		give_slot(request->desk, slot);
	}
	request->verdict = verdict;
	request->done(request);
}

static void
take_answer(struct plugin_request *request, const struct plugin_answer *answer)
{
	request->verdict = answer->verdict;
	request->reason = answer->reason;
	request->exchange = answer->exchange;
	if (answer->data.len + answer->username.len + answer->client_id.len != 0) {
		struct plugin_said *said = plugin_said_at(&request->said);

		buf_append_bytes(&said->data, answer->data);
		buf_append_bytes(&said->username, answer->username);
		buf_append_bytes(&said->client_id, answer->client_id);
	}
	for (size_t i = 0; i < request->item_count; i++) {
		bool given = answer->items != NULL && i < answer->item_count;

		request->items[i].reason = given ? answer->items[i].reason : answer->reason;
		request->items[i].max_qos = given ? answer->items[i].max_qos : 2;
	}
	if (request->draft != NULL && answer->topic.len != 0 &&
	    msg_draft_set_topic(request->draft, answer->topic) != 0) {
		request->verdict = PLUGIN_DENY;
		request->reason = WIRE_REASON_QUOTA_EXCEEDED;
	}
	if (request->draft != NULL && answer->replace_payload &&
	    msg_draft_set_payload(request->draft, answer->payload) != 0) {
		request->verdict = PLUGIN_DENY;
		request->reason = WIRE_REASON_QUOTA_EXCEEDED;
	}
}

static void
on_answer(struct worker *worker, struct mail *mail)
{
	struct answer_mail *letter = (struct answer_mail *)(void *)mail;
	struct plugin_desk *desk = letter->desk;
	struct slot *slot = slot_of(desk, letter->number);

	if (slot != NULL) {
		struct plugin_request *request = slot->request;
		void (*free_fn)(struct plugin_request * request) = slot->free_fn;
		bool timed_out = request->timed_out;

		timer_clear(worker, &request->timer);
		give_slot(desk, slot);
		if (free_fn != NULL) {
			/* The authority has taken back what it was given. */
			request->exchange = letter->answer.exchange;
			free_fn(request);
		} else if (!timed_out) {
			take_answer(request, &letter->answer);
			request->done(request);
		}
	}
	mem_free(&mail);
}

static struct bytes
put_bytes(uint8_t **at, struct bytes bytes)
{
	struct bytes copy = {*at, bytes.len};

	if (bytes.len != 0) {
		memcpy(*at, bytes.data, bytes.len);
	}
	*at += bytes.len;
	return copy;
}

static struct answer_mail *
pack_answer(const struct plugin_answer *answer)
{
	size_t items_len = answer->items != NULL ? answer->item_count * sizeof(*answer->items) : 0;
	size_t size = sizeof(struct answer_mail) + items_len + answer->data.len +
		      answer->username.len + answer->client_id.len + answer->topic.len +
		      answer->payload.len;
	struct answer_mail *letter = mem_alloc(size);
	uint8_t *at = (uint8_t *)(letter + 1);
	struct bytes items;

	memset(letter, 0, sizeof(*letter));
	letter->answer = *answer;
	items = put_bytes(&at, bytes_make(answer->items, items_len));
	if (items_len != 0) {
		letter->answer.items = (const struct plugin_access *)(const void *)items.data;
	}
	letter->answer.data = put_bytes(&at, answer->data);
	letter->answer.username = put_bytes(&at, answer->username);
	letter->answer.client_id = put_bytes(&at, answer->client_id);
	letter->answer.topic = put_bytes(&at, answer->topic);
	letter->answer.payload = put_bytes(&at, answer->payload);
	return letter;
}

int
plugin_complete(struct plugin_desk *const *desks, size_t desk_count, uint64_t number,
    const struct plugin_answer *answer)
{
	size_t index = (size_t)(number >> 48);
	struct plugin_desk *desk = index < desk_count ? desks[index] : NULL;
	struct answer_mail *letter;
	struct slot *slot;

	if (desk == NULL || number == 0) {
		return ERR_GONE;
	}
	letter = pack_answer(answer);
	letter->mail.run = on_answer;
	letter->desk = desk;
	letter->number = number;
	lock_take(&desk->lock);
	slot = slot_of(desk, number);
	if (slot == NULL || slot->letter != NULL) {
		lock_give(&desk->lock);
		mem_free(&letter);
		counter_add(COUNTER_ANSWERS_STALE, 1);
		return ERR_GONE;
	}
	slot->letter = letter;
	lock_give(&desk->lock);
	mail_post(desk->worker, &letter->mail);
	return 0;
}
