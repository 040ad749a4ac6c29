/* SPDX-License-Identifier: Apache-2.0 */
/* Questions and their answers: at once, later, twice, too late, never, and to nobody. */
#include "lib/unit.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "loop/sim.h"
#include "plugin/ask.h"

static struct loop *loop;
static struct worker *worker;
static struct plugin_desk *desk, *desks[2];
static enum plugin_verdict at_once; /* what ask says */
static bool answers_inside;         /* plugin_complete while the question is being put */
static uint64_t asked, cancelled;
static unsigned done_count, freed_count, exchange_count;
static enum plugin_verdict seen;

/* --- an authority and an asker --- */

static const struct plugin_answer yes = {.verdict = PLUGIN_ACCEPT};

static enum plugin_verdict
on_ask(struct plugin_authority *authority, struct plugin_request *request)
{
	(void)authority;
	asked = request->number;
	if (answers_inside) {
		assert_int_equal(plugin_complete(desks, 2, asked, &yes), 0);
	}
	request->reason = at_once == PLUGIN_DENY ? 0x87 : 0;
	return at_once;
}

static void
on_cancel(struct plugin_authority *authority, uint64_t number)
{
	(void)authority;
	cancelled = number;
}

static const struct plugin_authority_ops ops = {.ask = on_ask, .cancel = on_cancel};
static struct plugin_authority authority = {.ops = &ops, .may_wait = true, .timeout_ms = 300};
static struct plugin_authority quick = {.ops = &ops};

static void
on_free(struct plugin_request *request)
{
	freed_count++;
	exchange_count += request->exchange != NULL;
	plugin_request_fini(request);
	msg_draft_fini(request->draft);
	mem_free(&request->draft);
	mem_free(&request->items);
	mem_free(&request);
}

static void
on_done(struct plugin_request *request)
{
	done_count++;
	seen = request->verdict;
}

static void
on_done_ends(struct plugin_request *request)
{
	on_done(request);
	plugin_end(request, on_free);
}

static struct plugin_request *
request_new(void (*done)(struct plugin_request *request))
{
	struct plugin_request *request = mem_zalloc(sizeof(*request));

	plugin_request_init(request);
	request->question = PLUGIN_PUBLISH;
	request->done = done;
	request->draft = mem_zalloc(sizeof(*request->draft));
	request->draft->topic = bytes_of("a");
	request->draft->payload = bytes_of("text");
	request->items = mem_zalloc(2 * sizeof(*request->items));
	request->item_count = 2;
	return request;
}

static void
settle(void)
{
	assert_true(sim_settle(loop, 100000));
}

static enum plugin_verdict
put(struct plugin_authority *whom, struct plugin_request *request)
{
	enum plugin_verdict verdict;

	sim_enter(worker);
	verdict = plugin_ask(desk, whom, request);
	sim_leave();
	return verdict;
}

static void
end(struct plugin_request *request)
{
	sim_enter(worker);
	plugin_end(request, on_free);
	sim_leave();
}

/* As a foreign thread, whose counters are nobody's. */
static int
answer(uint64_t number, const struct plugin_answer *what)
{
	int result;

	sim_enter(worker);
	result = plugin_complete(desks, 2, number, what);
	sim_leave();
	return result;
}

static int
begin(void **state)
{
	struct loop_options options = {.seed = 3};

	(void)state;
	loop = loop_new(&options);
	(void)loop_add_worker(loop, "main");
	worker = loop_add_worker(loop, "worker");
	desk = plugin_desk_new(worker);
	desks[0] = NULL;
	desks[1] = desk;
	assert_int_equal(loop_start(loop), 0);
	settle();
	at_once = PLUGIN_PENDING;
	answers_inside = false;
	asked = cancelled = 0;
	done_count = freed_count = exchange_count = 0;
	seen = PLUGIN_PENDING;
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	loop_join(loop);
	plugin_desk_free(&desk);
	loop_free(&loop);
	return 0;
}

/* --- cases --- */

static void
a_verdict_at_once_needs_no_number_afterwards(void **state)
{
	struct plugin_request *request = request_new(on_done);

	(void)state;
	at_once = PLUGIN_DENY;
	assert_int_equal(put(&authority, request), PLUGIN_DENY);
	assert_int_equal(request->reason, 0x87);
	assert_int_equal(plugin_desk_open_count(desk), 0);
	assert_int_equal(answer(asked, &yes), ERR_GONE);
	at_once = PLUGIN_ACCEPT;
	assert_int_equal(put(&quick, request), PLUGIN_ACCEPT);
	assert_int_equal(asked, 0);
	end(request);
	settle();
	assert_int_equal(done_count, 0);
	assert_int_equal(freed_count, 1);
}

static void
an_answer_comes_in_another_turn(void **state)
{
	static const struct plugin_access items[] = {{.reason = 0, .max_qos = 1}, {.reason = 0x87}};
	struct plugin_request *request = request_new(on_done);
	struct plugin_answer what = {.verdict = PLUGIN_CONTINUE,
	    .reason = 1,
	    .data = bytes_of("data"),
	    .username = bytes_of("user"),
	    .client_id = bytes_of("id"),
	    .items = items,
	    .item_count = 2,
	    .exchange = &loop,
	    .topic = bytes_of("b"),
	    .payload = bytes_of(""),
	    .replace_payload = true};

	(void)state;
	assert_int_equal(put(&authority, request), PLUGIN_PENDING);
	assert_int_equal(plugin_desk_open_count(desk), 1);
	assert_int_equal(answer(asked, &what), 0);
	assert_int_equal(done_count, 0);
	settle();
	assert_int_equal(done_count, 1);
	assert_int_equal(seen, PLUGIN_CONTINUE);
	assert_bytes_text(buf_bytes(&request->said->data), "data");
	assert_bytes_text(buf_bytes(&request->said->username), "user");
	assert_bytes_text(buf_bytes(&request->said->client_id), "id");
	assert_bytes_text(request->draft->topic, "b");
	assert_int_equal(request->draft->payload.len, 0);
	assert_ptr_equal(request->exchange, &loop);
	assert_int_equal(request->items[0].max_qos, 1);
	assert_int_equal(request->items[1].reason, 0x87);
	assert_int_equal(plugin_desk_open_count(desk), 0);
	sim_advance(loop, 1000);
	assert_int_equal(done_count, 1);
	end(request);
	assert_int_equal(freed_count, 1);
}

static void
it_may_come_while_the_question_is_put(void **state)
{
	(void)state;
	answers_inside = true;
	assert_int_equal(put(&authority, request_new(on_done_ends)), PLUGIN_PENDING);
	assert_int_equal(done_count, 0);
	settle();
	assert_int_equal(done_count, 1);
	assert_int_equal(freed_count, 1);
}

static void
one_reason_is_for_all_filters(void **state)
{
	struct plugin_request *request = request_new(on_done);

	(void)state;
	(void)put(&authority, request);
	(void)answer(asked, &(struct plugin_answer){.verdict = PLUGIN_DENY, .reason = 0x97});
	settle();
	assert_int_equal(request->items[0].reason, 0x97);
	assert_int_equal(request->items[1].reason, 0x97);
	assert_int_equal(request->items[1].max_qos, 2);
	end(request);
}

static void
a_second_or_stale_answer_finds_nobody(void **state)
{
	uint64_t first;

	(void)state;
	(void)put(&authority, request_new(on_done_ends));
	first = asked;
	assert_int_equal(answer(first, &yes), 0);
	assert_int_equal(answer(first, &yes), ERR_GONE);
	settle();
	assert_int_equal(answer(first, &yes), ERR_GONE);
	/* The slot is used again, under another number. */
	(void)put(&authority, request_new(on_done_ends));
	assert_int_not_equal(asked, first);
	assert_int_equal(answer(first, &yes), ERR_GONE);
	assert_int_equal(answer(0, &yes), ERR_GONE);
	assert_int_equal(answer(UINT64_MAX, &yes), ERR_GONE);
	assert_int_equal(answer(asked, &yes), 0);
	settle();
	assert_int_equal(done_count, 2);
	assert_int_equal(freed_count, 2);
}

static void
what_is_not_answered_in_time_is_denied_and_its_memory_stays(void **state)
{
	(void)state;
	(void)put(&authority, request_new(on_done_ends));
	sim_advance(loop, 250);
	assert_int_equal(done_count, 0);
	sim_advance(loop, 100);
	assert_int_equal(done_count, 1);
	assert_int_equal(seen, PLUGIN_DENY);
	assert_int_equal(cancelled, asked);
	assert_int_equal(freed_count, 0);
	assert_int_equal(plugin_desk_open_count(desk), 1);
	/* The late answer gives the input back, and whatever it brings is seen once. */
	assert_int_equal(
	    answer(asked, &(struct plugin_answer){.verdict = PLUGIN_CONTINUE, .exchange = &loop}),
	    0);
	settle();
	assert_int_equal(done_count, 1);
	assert_int_equal(freed_count, 1);
	assert_int_equal(exchange_count, 1);
	assert_int_equal(plugin_desk_open_count(desk), 0);
}

static void
nobody_is_told_after_the_end(void **state)
{
	struct plugin_request *request = request_new(on_done);

	(void)state;
	(void)put(&authority, request);
	end(request);
	assert_int_equal(cancelled, asked);
	assert_int_equal(freed_count, 0);
	sim_advance(loop, 1000);
	assert_int_equal(freed_count, 0);
	assert_int_equal(answer(asked, &yes), 0);
	settle();
	assert_int_equal(freed_count, 1);
	assert_int_equal(done_count, 0);
}

static void
an_answer_that_is_under_way_comes_to_nobody_after_the_end(void **state)
{
	struct plugin_request *request = request_new(on_done);

	(void)state;
	(void)put(&authority, request);
	(void)answer(asked, &yes);
	end(request);
	assert_int_equal(freed_count, 0);
	settle();
	assert_int_equal(freed_count, 1);
	assert_int_equal(done_count, 0);
}

static void
many_are_open_and_answered_out_of_order(void **state)
{
	enum { COUNT = 200 };
	uint64_t numbers[COUNT];

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < COUNT; i++) {
			(void)put(&authority, request_new(on_done_ends));
			numbers[i] = asked;
		}
		assert_int_equal(plugin_desk_open_count(desk), COUNT);
		for (unsigned i = 0; i < COUNT; i++) {
			assert_int_equal(answer(numbers[i * 77 % COUNT], &yes), 0);
		}
		settle();
		assert_int_equal(plugin_desk_open_count(desk), 0);
	}
	assert_int_equal(done_count, 3 * COUNT);
	assert_int_equal(freed_count, 3 * COUNT);
}

/* A loop that ends with an answer in the mail: nothing leaks, and the exchange of the answer is the
 * one that is left. */
static void
what_is_under_way_at_the_end_goes_with_the_desk(void **state)
{
	struct plugin_request *ended = request_new(on_done);

	(void)state;
	(void)put(&authority, ended);
	(void)answer(
	    asked, &(struct plugin_answer){
		       .verdict = PLUGIN_CONTINUE, .exchange = &loop, .data = bytes_of("data")});
	end(ended);
	ended = request_new(on_done);
	(void)put(&authority, ended);
	end(ended);
	loop_join(loop);
	assert_int_equal(freed_count, 0);
	plugin_desk_free(&desk);
	assert_int_equal(freed_count, 2);
	assert_int_equal(exchange_count, 1);
	loop_free(&loop);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		a_verdict_at_once_needs_no_number_afterwards, begin, finish),
	    cmocka_unit_test_setup_teardown(an_answer_comes_in_another_turn, begin, finish),
	    cmocka_unit_test_setup_teardown(it_may_come_while_the_question_is_put, begin, finish),
	    cmocka_unit_test_setup_teardown(one_reason_is_for_all_filters, begin, finish),
	    cmocka_unit_test_setup_teardown(a_second_or_stale_answer_finds_nobody, begin, finish),
	    cmocka_unit_test_setup_teardown(
		what_is_not_answered_in_time_is_denied_and_its_memory_stays, begin, finish),
	    cmocka_unit_test_setup_teardown(nobody_is_told_after_the_end, begin, finish),
	    cmocka_unit_test_setup_teardown(
		an_answer_that_is_under_way_comes_to_nobody_after_the_end, begin, finish),
	    cmocka_unit_test_setup_teardown(many_are_open_and_answered_out_of_order, begin, finish),
	    cmocka_unit_test_setup(what_is_under_way_at_the_end_goes_with_the_desk, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
