/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both loops must do alike: this program is linked with each of them. Everything happens on
 * main, in turns of loop_run; a script runs one step per turn and stops the loop after the last.
 */
#include "lib/unit.h"

#include <string.h>

#include "base/context.h"
#include "base/counter.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "loop/watch.h"
#include "loop/worker.h"

static struct loop *loop;
static struct worker *main_worker;
static char trace[256];

static void
note(const char *word)
{
	size_t len = strlen(trace);

	snprintf(trace + len, sizeof(trace) - len, "%s%s", len != 0 ? " " : "", word);
}

static int
set_up(void **state)
{
	struct loop_options options = {.seed = 11, .log_level = LOG_LEVEL_INFO};

	(void)state;
	loop = loop_new(&options);
	main_worker = loop_add_worker(loop, "main");
	trace[0] = '\0';
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	loop_join(loop);
	loop_free(&loop);
	assert_null(loop);
	assert_null(context_current);
	return 0;
}

static void
run(void)
{
	assert_int_equal(loop_start(loop), 0);
	loop_run(loop);
}

static void
on_word(struct worker *worker, void *arg)
{
	(void)worker;
	note(arg);
}

/* Ends the loop in the turn in which it is found that nothing more has happened. */
struct watchman {
	char seen[sizeof(trace)];
	unsigned quiet_turns;
};

static void
stop_when_quiet(struct worker *worker, void *arg)
{
	struct watchman *watchman = arg;

	worker_again(worker);
	if (strcmp(watchman->seen, trace) != 0) {
		strcpy(watchman->seen, trace);
		watchman->quiet_turns = 0;
	} else if (++watchman->quiet_turns == 3) {
		loop_stop(worker_loop(worker));
	}
}

static void
run_until_quiet(void)
{
	struct watchman watchman = {.quiet_turns = 0};

	worker_on_phase(main_worker, WORKER_WRITE, stop_when_quiet, &watchman);
	run();
}

/* --- the order of a turn --- */

static struct mail letter;
static struct timer alarm_timer;
static struct watch bell;

static void
on_mail(struct worker *to, struct mail *mail)
{
	(void)to;
	(void)mail;
	note("mail");
}

static void
on_timer(struct worker *worker, struct timer *timer)
{
	(void)worker;
	(void)timer;
	note("timer");
}

static void
on_bell(struct watch *watch, unsigned events)
{
	(void)watch;
	(void)events;
	note("watch");
}

static void
prepare_turn(struct worker *worker, void *arg)
{
	(void)arg;
	note("start");
	assert_ptr_equal(worker, main_worker);
	assert_non_null(context_current);
	letter.run = on_mail;
	mail_post(worker, &letter);
	alarm_timer = (struct timer){.fn = on_timer};
	timer_set(worker, &alarm_timer, context_current->mono_ms);
	bell = (struct watch){.fn = on_bell};
	assert_int_equal(watch_attach(&bell, worker, -1, 0), 0);
	watch_raise(&bell, WATCH_READ);
}

static void
stop_loop(struct worker *worker, void *arg)
{
	(void)arg;
	loop_stop(worker_loop(worker));
}

static void
a_turn_has_its_order(void **state)
{
	(void)state;
	worker_on_start(main_worker, prepare_turn, NULL);
	worker_on_phase(main_worker, WORKER_WRITE, on_word, (void *)(uintptr_t) "write");
	worker_on_phase(main_worker, WORKER_STORE, on_word, (void *)(uintptr_t) "store");
	worker_on_phase(main_worker, WORKER_SETTLE, on_word, (void *)(uintptr_t) "settle");
	worker_on_phase(main_worker, WORKER_SETTLE, on_word, (void *)(uintptr_t) "settle2");
	worker_on_phase(main_worker, WORKER_WRITE, stop_loop, NULL);
	worker_on_stop(main_worker, on_word, (void *)(uintptr_t) "stop");
	run();
	assert_string_equal(trace, "start watch mail timer settle settle2 store write");
	loop_join(loop);
	assert_string_equal(trace, "start watch mail timer settle settle2 store write stop");
	watch_detach(&bell);
	assert_int_equal(worker_turns(main_worker), 1);
}

static void
add_late(struct worker *worker, void *arg)
{
	if (worker_turns(worker) == 1) {
		worker_on_phase(worker, WORKER_SETTLE, on_word, arg);
	}
}

static void
a_phase_may_be_added_by_a_phase(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		worker_on_phase(main_worker, WORKER_SETTLE, add_late, (void *)(uintptr_t) "late");
	}
	worker_on_phase(main_worker, WORKER_WRITE, stop_loop, NULL);
	run();
	assert_string_equal(trace, "late late late late");
}

/* --- raised watches and their hazards --- */

enum { BELLS = 4 };

struct ringer {
	struct watch watch;
	const char *name;
	struct ringer *target; /* what the callback does something to */
	void (*act)(struct ringer *target);
	unsigned events;
};

static struct ringer *ringers[BELLS];

static void
on_ringer(struct watch *watch, unsigned events)
{
	struct ringer *own = list_item(watch, struct ringer, watch);
	struct ringer *target = own->target;

	note(own->name);
	own->events = events;
	if (target != NULL) {
		own->target = NULL;
		own->act(target);
	}
}

static void
make_ringers(struct worker *worker, void *arg)
{
	static const char *const names[BELLS] = {"a", "b", "c", "d"};

	(void)arg;
	for (unsigned i = 0; i < BELLS; i++) {
		ringers[i] = mem_zalloc(sizeof(*ringers[i]));
		ringers[i]->watch.fn = on_ringer;
		ringers[i]->name = names[i];
		assert_int_equal(watch_attach(&ringers[i]->watch, worker, -1, WATCH_READ), 0);
	}
}

static void
free_ringers(void)
{
	for (unsigned i = 0; i < BELLS; i++) {
		if (ringers[i] != NULL) {
			watch_detach(&ringers[i]->watch);
			mem_free(&ringers[i]);
		}
	}
}

static void
ring_three(struct worker *worker, void *arg)
{
	(void)worker;
	(void)arg;
	for (unsigned i = 0; i < 3; i++) {
		watch_raise(&ringers[i]->watch, WATCH_READ);
	}
}

static void
raise_it(struct ringer *target)
{
	watch_raise(&target->watch, WATCH_WRITE);
}

static void
detach_it(struct ringer *target)
{
	watch_detach(&target->watch);
}

static void
free_it(struct ringer *target)
{
	for (unsigned i = 0; i < BELLS; i++) {
		if (ringers[i] == target) {
			ringers[i] = NULL;
		}
	}
	watch_detach(&target->watch);
	memset(target, 0xff, sizeof(*target));
	mem_free(&target);
}

/* Ringer `actor` does `act` to `target` in a pass in which a, b and c are raised. */
struct scene {
	unsigned actor;
	unsigned target;
	void (*act)(struct ringer *target);
};

static void
set_scene(struct worker *worker, void *arg)
{
	const struct scene *scene = arg;

	make_ringers(worker, NULL);
	ring_three(worker, NULL);
	ringers[scene->actor]->target = ringers[scene->target];
	ringers[scene->actor]->act = scene->act;
}

static void
play(const struct scene *scene, const char *expected)
{
	worker_on_start(main_worker, set_scene, (void *)(uintptr_t)scene);
	run_until_quiet();
	assert_string_equal(trace, expected);
	free_ringers();
}

static void
raised_watches_are_called_once_in_their_order(void **state)
{
	(void)state;
	play(&(struct scene){0, 0, detach_it}, "a b c");
}

static void
a_callback_may_free_its_own_watch(void **state)
{
	(void)state;
	play(&(struct scene){1, 1, free_it}, "a b c");
}

static void
a_callback_may_free_a_watch_whose_turn_is_still_to_come(void **state)
{
	(void)state;
	play(&(struct scene){0, 1, free_it}, "a c");
}

static void
a_callback_may_free_the_last_watch_of_the_pass(void **state)
{
	(void)state;
	play(&(struct scene){1, 2, free_it}, "a b");
}

static void
a_callback_may_free_a_watch_that_was_called_before(void **state)
{
	(void)state;
	play(&(struct scene){2, 0, free_it}, "a b c");
}

static void
a_callback_may_detach_a_pending_watch(void **state)
{
	(void)state;
	play(&(struct scene){0, 2, detach_it}, "a b");
}

static void
a_watch_that_raises_itself_is_called_again(void **state)
{
	(void)state;
	play(&(struct scene){0, 0, raise_it}, "a b c a");
}

static void
a_watch_that_another_raises_is_called(void **state)
{
	(void)state;
	play(&(struct scene){2, 3, raise_it}, "a b c d");
}

static void
raise_twice(struct worker *worker, void *arg)
{
	make_ringers(worker, arg);
	watch_raise(&ringers[0]->watch, WATCH_READ);
	watch_raise(&ringers[0]->watch, WATCH_READ);
	watch_raise(&ringers[0]->watch, WATCH_WRITE);
	watch_raise(&ringers[1]->watch, WATCH_WRITE);
	watch_set(&ringers[1]->watch, 0);
	watch_raise(&ringers[2]->watch, WATCH_READ);
	watch_detach(&ringers[2]->watch);
	watch_detach(&ringers[2]->watch);
	assert_int_equal(watch_attach(&ringers[2]->watch, worker, -1, 0), 0);
}

static void
events_that_were_raised_together_come_together(void **state)
{
	(void)state;
	worker_on_start(main_worker, raise_twice, NULL);
	run_until_quiet();
	assert_string_equal(trace, "a b");
	assert_int_equal(ringers[0]->events, WATCH_READ | WATCH_WRITE);
	assert_int_equal(ringers[1]->events, WATCH_WRITE);
	free_ringers();
}

static void
raise_in_the_end(struct worker *worker, void *arg)
{
	(void)arg;
	if (worker_turns(worker) == 1) {
		watch_raise(&ringers[0]->watch, WATCH_READ);
	}
}

static void
stop_by_ringer(struct ringer *target)
{
	loop_stop(worker_loop(target->watch.worker));
}

static void
make_stopper(struct worker *worker, void *arg)
{
	make_ringers(worker, arg);
	ringers[0]->target = ringers[0];
	ringers[0]->act = stop_by_ringer;
}

static void
what_is_raised_in_the_last_phase_needs_no_other_event(void **state)
{
	(void)state;
	worker_on_start(main_worker, make_stopper, NULL);
	worker_on_phase(main_worker, WORKER_WRITE, raise_in_the_end, NULL);
	run();
	assert_string_equal(trace, "a");
	assert_int_equal(worker_turns(main_worker), 2);
	free_ringers();
}

/* --- time, mail to itself, log, the rest --- */

static void
stop_by_timer(struct worker *worker, struct timer *timer)
{
	assert_true(context_current->mono_ms >= timer->due_ms);
	assert_true(context_current->mono_ms <= timer->due_ms + 2000);
	note("timer");
	loop_stop(worker_loop(worker));
}

static void
set_alarm_timer(struct worker *worker, void *arg)
{
	(void)arg;
	alarm_timer = (struct timer){.fn = stop_by_timer};
	timer_set(worker, &alarm_timer, context_current->mono_ms + 30);
}

static void
a_timer_ends_the_sleep_and_the_time_is_new(void **state)
{
	(void)state;
	worker_on_start(main_worker, set_alarm_timer, NULL);
	run();
	assert_string_equal(trace, "timer");
	assert_in_range(worker_turns(main_worker), 2, 4);
}

static void
on_echo(struct worker *to, struct mail *mail)
{
	note("mail");
	if (strlen(trace) < 20) {
		mail_send(to, to, mail, 1);
	} else {
		loop_stop(worker_loop(to));
	}
}

static void
send_echo(struct worker *worker, void *arg)
{
	(void)arg;
	letter.run = on_echo;
	mail_send(worker, worker, &letter, 1);
}

static void
mail_to_itself_takes_a_turn_each(void **state)
{
	(void)state;
	worker_on_start(main_worker, send_echo, NULL);
	run();
	assert_string_equal(trace, "mail mail mail mail mail");
	assert_int_equal(worker_turns(main_worker), 6);
	assert_int_equal(mail_undigested(loop), 0);
}

static void
read_log(struct worker *worker, void *arg)
{
	struct log_record record;

	(void)arg;
	while (log_ring_take(worker_log(worker), &record)) {
		char text[32];

		snprintf(text, sizeof(text), "%.*s", (int)record.text.len, record.text.data);
		note(text);
		log_ring_release(worker_log(worker));
	}
}

static void
write_log(struct worker *worker, void *arg)
{
	(void)arg;
	log_debug("hidden");
	if (worker_turns(worker) <= 2) {
		log_info("turn%u", (unsigned)worker_turns(worker));
		worker_again(worker);
	} else {
		loop_stop(worker_loop(worker));
	}
}

static void
the_log_is_read_in_the_turn_that_wrote_it(void **state)
{
	(void)state;
	loop_on_log(loop, read_log, NULL);
	worker_on_phase(main_worker, WORKER_SETTLE, write_log, NULL);
	run();
	assert_string_equal(trace, "turn1 turn2");
	assert_int_equal(worker_counters(main_worker)->values[COUNTER_LOOP_TURNS], 3);
}

static void
a_worker_has_memory_and_chance_of_its_own(void **state)
{
	uint8_t drawn[2][13] = {{0}};
	uint8_t *scratch = worker_scratch(main_worker);

	(void)state;
	memset(scratch, 1, WORKER_SCRATCH_SIZE);
	assert_ptr_equal(worker_scratch(main_worker), scratch);
	assert_int_not_equal(worker_random(main_worker), worker_random(main_worker));
	worker_random_fill(main_worker, drawn[0], sizeof(drawn[0]));
	worker_random_fill(main_worker, drawn[1], sizeof(drawn[1]));
	assert_memory_not_equal(drawn[0], drawn[1], sizeof(drawn[0]));
	assert_int_equal(worker_index(main_worker), 0);
	assert_string_equal(worker_name(main_worker), "main");
	assert_int_equal(loop_worker_count(loop), 1);
	assert_ptr_equal(loop_worker(loop, 0), main_worker);
	assert_true(worker_is_asleep(main_worker));
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    CASE(a_turn_has_its_order),
	    CASE(a_phase_may_be_added_by_a_phase),
	    CASE(raised_watches_are_called_once_in_their_order),
	    CASE(a_callback_may_free_its_own_watch),
	    CASE(a_callback_may_free_a_watch_whose_turn_is_still_to_come),
	    CASE(a_callback_may_free_the_last_watch_of_the_pass),
	    CASE(a_callback_may_free_a_watch_that_was_called_before),
	    CASE(a_callback_may_detach_a_pending_watch),
	    CASE(a_watch_that_raises_itself_is_called_again),
	    CASE(a_watch_that_another_raises_is_called),
	    CASE(events_that_were_raised_together_come_together),
	    CASE(what_is_raised_in_the_last_phase_needs_no_other_event),
	    CASE(a_timer_ends_the_sleep_and_the_time_is_new),
	    CASE(mail_to_itself_takes_a_turn_each),
	    CASE(the_log_is_read_in_the_turn_that_wrote_it),
	    CASE(a_worker_has_memory_and_chance_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
