/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mail and credit, in the simulator: order over all schedules that a few seeds draw.
 */
#include "lib/unit.h"

#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "loop/mailbox.h"
#include "loop/sim.h"

enum { WORKERS = 3, SEEDS = 50, MAILS = 200 };

struct letter {
	struct mail mail;
	unsigned number;
};

static struct loop *loop;
static unsigned received[WORKERS][WORKERS]; /* by target and source */
static unsigned run_count;
static unsigned credit_count;
static unsigned max_per_turn;
static unsigned in_turn;

static void
start_loop(uint64_t seed)
{
	struct loop_options options = {.seed = seed};
	static const char *const names[WORKERS] = {"main", "w1", "w2"};

	loop = loop_new(&options);
	for (unsigned i = 0; i < WORKERS; i++) {
		loop_add_worker(loop, names[i]);
	}
	memset(received, 0, sizeof(received));
	run_count = credit_count = max_per_turn = in_turn = 0;
}

static void
end_loop(void)
{
	loop_join(loop);
	loop_free(&loop);
}

static void
on_letter(struct worker *to, struct mail *mail)
{
	struct letter *letter = list_item(mail, struct letter, mail);

	run_count++;
	in_turn++;
	if (mail->counted) {
		assert_int_equal(received[worker_index(to)][mail->source], letter->number);
		received[worker_index(to)][mail->source]++;
	}
	mem_free(&letter);
}

static struct mail *
letter_new(unsigned number)
{
	struct letter *letter = mem_zalloc(sizeof(*letter));

	letter->mail.run = on_letter;
	letter->number = number;
	return &letter->mail;
}

static void
send_letters(unsigned from, unsigned to, unsigned first, unsigned count, uint32_t cost)
{
	sim_enter(loop_worker(loop, from));
	for (unsigned i = first; i < first + count; i++) {
		mail_send(loop_worker(loop, from), loop_worker(loop, to), letter_new(i), cost);
	}
	sim_leave();
}

static void
mail_of_one_source_arrives_once_and_in_order(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		start_loop(seed);
		loop_start(loop);
		for (unsigned i = 0; i < MAILS; i += 20) {
			for (unsigned pair = 0; pair < WORKERS * WORKERS; pair++) {
				send_letters(pair / WORKERS, pair % WORKERS, i, 20, 1);
			}
			for (unsigned steps = 0; steps < seed % 5; steps++) {
				sim_step(loop);
			}
		}
		assert_true(sim_settle(loop, 100000));
		assert_int_equal(run_count, MAILS * WORKERS * WORKERS);
		assert_int_equal(mail_undigested(loop), 0);
		end_loop();
	}
}

static void
note_turn(struct worker *worker, void *arg)
{
	(void)worker;
	(void)arg;
	max_per_turn = in_turn > max_per_turn ? in_turn : max_per_turn;
	in_turn = 0;
}

static void
one_turn_takes_no_more_than_the_cap(void **state)
{
	(void)state;
	start_loop(3);
	for (unsigned i = 0; i < WORKERS; i++) {
		worker_on_phase(loop_worker(loop, i), WORKER_SETTLE, note_turn, NULL);
	}
	loop_start(loop);
	send_letters(0, 1, 0, 3 * WORKER_MAIL_PER_TURN, 1);
	send_letters(2, 1, 0, 10, 1);
	assert_true(sim_settle(loop, 100000));
	assert_int_equal(run_count, 3 * WORKER_MAIL_PER_TURN + 10);
	assert_int_equal(max_per_turn, WORKER_MAIL_PER_TURN);
	end_loop();
}

static void
mail_leaves_at_the_end_of_the_turn(void **state)
{
	(void)state;
	start_loop(1);
	loop_start(loop);
	sim_settle(loop, 100);
	send_letters(0, 1, 0, 1, 5);
	assert_int_equal(mail_undigested(loop), 5);
	assert_true(sim_step(loop)); /* only main can do anything */
	assert_int_equal(run_count, 0);
	assert_true(sim_step(loop));
	assert_int_equal(run_count, 1);
	assert_int_equal(mail_undigested(loop), 0);
	end_loop();
}

static void
posted_mail_is_there_at_once_and_has_no_cost(void **state)
{
	(void)state;
	start_loop(1);
	loop_start(loop);
	sim_settle(loop, 100);
	mail_post(loop_worker(loop, 2), letter_new(0));
	assert_int_equal(mail_undigested(loop), 0);
	assert_true(sim_step(loop));
	assert_int_equal(run_count, 1);
	end_loop();
}

static void
send_once(struct worker *worker, void *arg)
{
	bool *is_sent = arg;

	if (!*is_sent) {
		*is_sent = true;
		mail_send(worker, loop_worker(loop, 2), letter_new(0), 5);
	}
}

static void
mail_sent_in_the_last_phase_leaves_in_the_next_turn(void **state)
{
	bool is_sent = false;

	(void)state;
	start_loop(1);
	worker_on_phase(loop_worker(loop, 1), WORKER_WRITE, send_once, &is_sent);
	loop_start(loop);
	assert_true(sim_settle(loop, 100));
	assert_int_equal(run_count, 1);
	end_loop();
}

/* --- credit --- */

static void
on_credit(struct worker *worker, struct worker *target, void *arg)
{
	assert_ptr_equal(arg, &credit_count);
	assert_int_equal(worker_index(worker), 0);
	assert_int_equal(worker_index(target), 1);
	assert_false(mail_is_over(worker, target));
	credit_count++;
}

static void
credit_comes_back_when_the_target_has_digested(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct worker *from;
		struct worker *to;

		start_loop(seed);
		from = loop_worker(loop, 0);
		to = loop_worker(loop, 1);
		mail_on_credit(from, on_credit, &credit_count);
		loop_start(loop);
		sim_settle(loop, 100);

		/* At the limit, but not over it. */
		send_letters(0, 1, 0, 1, MAIL_CREDIT);
		assert_false(mail_is_over(from, to));
		assert_false(mail_wait_credit(from, to));
		send_letters(0, 1, 1, 1, 1);
		assert_true(mail_is_over(from, to));
		assert_false(mail_is_over(to, from));
		assert_true(mail_wait_credit(from, to));
		assert_true(mail_wait_credit(from, to));
		assert_true(sim_settle(loop, 1000));
		assert_int_equal(credit_count, 1);
		assert_false(mail_is_over(from, to));
		assert_false(mail_wait_credit(from, to));
		assert_true(sim_settle(loop, 1000));
		assert_int_equal(credit_count, 1);
		end_loop();
	}
}

static void
credit_that_is_used_up_again_is_waited_for_again(void **state)
{
	struct worker *from;

	(void)state;
	start_loop(1);
	from = loop_worker(loop, 0);
	mail_on_credit(from, on_credit, &credit_count);
	loop_start(loop);
	sim_settle(loop, 100);
	send_letters(0, 1, 0, 1, 2 * MAIL_CREDIT);
	assert_true(mail_wait_credit(from, loop_worker(loop, 1)));
	sim_step(loop); /* main sends */
	sim_step(loop); /* w1 digests, and gives credit back */
	assert_int_equal(run_count, 1);
	assert_int_equal(credit_count, 0);
	send_letters(0, 1, 1, 1, 2 * MAIL_CREDIT);
	sim_step(loop); /* main is told, and is over again */
	assert_int_equal(credit_count, 0);
	assert_true(sim_settle(loop, 100));
	assert_int_equal(run_count, 2);
	assert_int_equal(credit_count, 1);
	end_loop();
}

/* The source produces whenever it may, and stops when it is over: it must never stop for good. */
struct producer {
	struct worker *target;
	unsigned left;
	bool waits;
	unsigned number;
};

static void
produce(struct worker *worker, struct producer *producer)
{
	while (producer->left != 0 && !producer->waits) {
		mail_send(worker, producer->target, letter_new(producer->number++), 100000);
		producer->left--;
		producer->waits = mail_is_over(worker, producer->target) &&
				  mail_wait_credit(worker, producer->target);
	}
}

static void
on_producer_credit(struct worker *worker, struct worker *target, void *arg)
{
	struct producer *producer = arg;

	(void)target;
	credit_count++;
	producer->waits = false;
	produce(worker, producer);
}

static void
a_source_that_stops_for_credit_always_goes_on(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct producer producer = {.left = MAILS};

		start_loop(seed);
		producer.target = loop_worker(loop, 1);
		mail_on_credit(loop_worker(loop, 0), on_producer_credit, &producer);
		loop_start(loop);
		sim_enter(loop_worker(loop, 0));
		produce(loop_worker(loop, 0), &producer);
		sim_leave();
		assert_true(producer.waits);
		assert_true(sim_settle(loop, 10000));
		assert_int_equal(producer.left, 0);
		assert_int_equal(run_count, MAILS);
		assert_in_range(credit_count, MAILS / 20, MAILS);
		end_loop();
	}
}

static void
sending_beyond_the_credit_is_never_refused(void **state)
{
	(void)state;
	start_loop(5);
	loop_start(loop);
	send_letters(0, 1, 0, 100, MAIL_CREDIT);
	assert_int_equal(mail_undigested(loop), UINT64_C(100) * MAIL_CREDIT);
	assert_true(sim_settle(loop, 1000));
	assert_int_equal(run_count, 100);
	assert_int_equal(mail_undigested(loop), 0);
	end_loop();
}

/* --- what is under way --- */

static void
on_relay(struct worker *to, struct mail *mail)
{
	struct letter *letter = list_item(mail, struct letter, mail);
	unsigned next = (worker_index(to) + 1) % WORKERS;

	run_count++;
	if (letter->number-- != 0) {
		mail_send(to, loop_worker(loop, next), mail, 1);
	} else {
		mem_free(&letter);
	}
}

static void
mail_that_moves_on_is_never_overlooked(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct letter *letter = mem_zalloc(sizeof(*letter));

		start_loop(seed);
		loop_start(loop);
		letter->mail.run = on_relay;
		letter->number = 20;
		sim_enter(loop_worker(loop, 0));
		mail_send(loop_worker(loop, 0), loop_worker(loop, 1), &letter->mail, 1);
		sim_leave();
		while (run_count <= 20) {
			assert_int_equal(mail_undigested(loop), 1);
			assert_true(sim_step(loop));
		}
		assert_int_equal(mail_undigested(loop), 0);
		end_loop();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mail_of_one_source_arrives_once_and_in_order),
	    cmocka_unit_test(one_turn_takes_no_more_than_the_cap),
	    cmocka_unit_test(mail_leaves_at_the_end_of_the_turn),
	    cmocka_unit_test(posted_mail_is_there_at_once_and_has_no_cost),
	    cmocka_unit_test(mail_sent_in_the_last_phase_leaves_in_the_next_turn),
	    cmocka_unit_test(credit_comes_back_when_the_target_has_digested),
	    cmocka_unit_test(credit_that_is_used_up_again_is_waited_for_again),
	    cmocka_unit_test(a_source_that_stops_for_credit_always_goes_on),
	    cmocka_unit_test(sending_beyond_the_credit_is_never_refused),
	    cmocka_unit_test(mail_that_moves_on_is_never_overlooked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
