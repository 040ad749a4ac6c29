/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authority of a run: it decides when it is asked, tells the model, and says it at once, later,
 * out of order, too late, or only when everything ends. Answers come from an actor that is no part
 * of the house, or while the question is still being put.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "sim.h"
#include "wire/reason.h"

enum { ITEMS_MAX = 4, TIMEOUT_MS = 2000 };

struct question {
	uint64_t number;
	enum plugin_question kind;
	struct plugin_answer answer;
	struct plugin_access items[ITEMS_MAX];
	unsigned pub;
	int64_t asked_ms;
	bool stuck; /* answered at the very end */
};

struct oracle {
	struct plugin_authority authority; /* first */
	struct sim *sim;
	struct plugin_set set;
	VEC(struct question) open;
};

static struct pub *
pub_of(struct oracle *oracle, const struct plugin_request *request, unsigned *number_out)
{
	*number_out = request->draft != NULL ? model_number_of(request->draft->payload) : 0;
	return *number_out != 0 ? model_pub(oracle->sim, *number_out) : NULL;
}

static void
decide_access(
    struct oracle *oracle, const struct plugin_request *request, struct question *question)
{
	struct sim *sim = oracle->sim;
	bool observer = bytes_equal_text(msg_client_id_of(request->client), "c0");

	question->answer.verdict = PLUGIN_ACCEPT;
	for (size_t i = 0; i < request->item_count && i < ITEMS_MAX; i++) {
		struct plugin_access *item = &question->items[i];

		*item = (struct plugin_access){.max_qos = 2};
		if (!observer && !sim->is_final && sim_chance(sim, 5)) {
			item->reason = WIRE_REASON_NOT_AUTHORIZED;
		} else if (!observer && !sim->is_final && sim_chance(sim, 5)) {
			item->max_qos = (uint8_t)sim_draw(sim, 3);
		}
	}
	question->answer.items = question->items;
	question->answer.item_count = request->item_count;
}

static void
decide(struct oracle *oracle, const struct plugin_request *request, struct question *question)
{
	struct sim *sim = oracle->sim;
	struct pub *pub = pub_of(oracle, request, &question->pub);
	bool observer = bytes_equal_text(msg_client_id_of(request->client), "c0");
	unsigned luck = sim->is_final || observer ? 100 : (unsigned)sim_draw(sim, 100);

	if (request->question == PLUGIN_SUBSCRIBE) {
		decide_access(oracle, request, question);
		return;
	}
	question->answer.verdict = PLUGIN_ACCEPT;
	if (request->question == PLUGIN_AUTHENTICATE) {
		if (luck < 5) {
			question->answer.verdict = PLUGIN_DENY;
			question->answer.reason = WIRE_REASON_BAD_USER_NAME_OR_PASSWORD;
		}
		return;
	}
	if (pub == NULL && request->draft->payload.len != 0) {
		sim_fail(sim, "the authority is asked about a message that nobody has made");
	}
	if (pub == NULL) {
		return;
	}
	if (luck < 4) {
		question->answer.verdict = PLUGIN_DENY;
		question->answer.reason = WIRE_REASON_NOT_AUTHORIZED;
	} else if (luck == 4 && request->question == PLUGIN_INTERCEPT_PUBLISH) {
		question->answer.verdict = PLUGIN_DROP;
	} else if (luck == 5 && !pub->is_will) {
		question->answer.verdict = PLUGIN_DISCONNECT;
		question->answer.reason = WIRE_REASON_NOT_AUTHORIZED;
	}
	pub->denied = pub->denied || question->answer.verdict != PLUGIN_ACCEPT;
	pub->doubtful = pub->doubtful || question->answer.verdict != PLUGIN_ACCEPT;
}

/* A verdict at once stands in the request. */
static enum plugin_verdict
say_at_once(struct plugin_request *request, const struct question *question)
{
	request->reason = question->answer.reason;
	for (size_t i = 0; i < request->item_count && i < ITEMS_MAX; i++) {
		request->items[i].reason = question->items[i].reason;
		request->items[i].max_qos = question->items[i].max_qos;
	}
	return question->answer.verdict;
}

static void
complete(struct oracle *oracle, struct question *question)
{
	struct sim *sim = oracle->sim;
	struct pub *pub = question->pub != 0 ? model_pub(sim, question->pub) : NULL;

	if (pub != NULL && question->asked_ms != 0) {
		if (world_now(&sim->world) - question->asked_ms < TIMEOUT_MS - 10) {
			pub->waits--;
		}
	}
	question->answer.items = question->answer.items != NULL ? question->items : NULL;
	(void)plugin_complete(
	    sim->world.house->desks, WORKER_MAX, question->number, &question->answer);
}

static enum plugin_verdict
ask(struct plugin_authority *authority, struct plugin_request *request)
{
	struct oracle *oracle = (struct oracle *)(void *)authority;
	struct sim *sim = oracle->sim;
	struct question question = {.number = request->number, .kind = request->question};
	unsigned how = sim->is_final ? 0 : (unsigned)sim_draw(sim, 100);

	decide(oracle, request, &question);
	sim_say(sim, "  asked %d about #%u by %.*s: %d", request->question, question.pub,
	    (int)msg_client_id_of(request->client).len,
	    (const char *)msg_client_id_of(request->client).data, question.answer.verdict);
	if (!authority->may_wait || how < 50) {
		return say_at_once(request, &question);
	}
	if (how < 60) {
		complete(oracle, &question);
		return PLUGIN_PENDING;
	}
	question.asked_ms = world_now(&sim->world);
	if (question.pub != 0) {
		model_pub(sim, question.pub)->waits++;
	}
	question.stuck = how >= 98;
	vec_push(&oracle->open, question);
	return PLUGIN_PENDING;
}

static const struct plugin_authority_ops ops = {.ask = ask};

void
oracle_answer(struct oracle *oracle, bool all)
{
	struct sim *sim = oracle->sim;

	while (oracle->open.count != 0) {
		size_t at = (size_t)sim_draw(sim, oracle->open.count);
		struct question question = oracle->open.items[at];

		if (question.stuck && !all) {
			return;
		}
		sim_say(sim, "  answers about #%u", question.pub);
		vec_swap_remove(&oracle->open, at);
		sim_enter(sim->world.foreign);
		complete(oracle, &question);
		sim_leave();
		if (!all) {
			return;
		}
	}
}

/* The broker has crashed: nobody waits any more. */
void
oracle_forget(struct oracle *oracle)
{
	oracle->open.count = 0;
}

size_t
oracle_open_count(const struct oracle *oracle)
{
	return oracle->open.count;
}

bool
oracle_may_wait(const struct oracle *oracle)
{
	return oracle != NULL && oracle->authority.may_wait;
}

struct oracle *
oracle_new(struct sim *sim, bool may_wait)
{
	struct oracle *oracle = mem_zalloc(sizeof(*oracle));

	oracle->sim = sim;
	oracle->authority =
	    (struct plugin_authority){.ops = &ops, .may_wait = may_wait, .timeout_ms = TIMEOUT_MS};
	oracle->set.authorize = &oracle->authority;
	oracle->set.authenticate = sim_chance(sim, 50) ? &oracle->authority : NULL;
	oracle->set.intercept = sim_chance(sim, 30) ? &oracle->authority : NULL;
	return oracle;
}

void
oracle_free(struct oracle **address)
{
	struct oracle *oracle = *address;

	if (oracle != NULL) {
		vec_fini(&oracle->open);
		mem_free(address);
	}
}

const struct plugin_set *
oracle_set(struct oracle *oracle)
{
	return &oracle->set;
}
