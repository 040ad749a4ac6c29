/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test on a real loop: steps that are asked every few milliseconds, one after the other, until
 * each says that what it waits for is so. One worker, on the test's own thread.
 */
#ifndef UNIT_TRANSPORT_SCRIPT_H
#define UNIT_TRANSPORT_SCRIPT_H

#include "lib/unit.h"

#include "loop/timer.h"
#include "loop/worker.h"

typedef bool script_step(void);

enum { SCRIPT_TICK_MS = 2, SCRIPT_LIMIT_MS = 10000 };

static struct loop *script_loop;
static struct worker *script_worker;
static script_step *const *script_steps;
static struct timer script_timer;
static int64_t script_end;

static void
script_tick(struct worker *worker, struct timer *timer)
{
	while (*script_steps != NULL && (*script_steps)()) {
		script_steps++;
	}
	if (*script_steps == NULL || context_current->mono_ms > script_end) {
		loop_stop(script_loop);
	} else {
		timer_set(worker, timer, context_current->mono_ms + SCRIPT_TICK_MS);
	}
}

static void
script_begin(struct worker *worker, void *arg)
{
	(void)arg;
	script_end = context_current->mono_ms + SCRIPT_LIMIT_MS;
	timer_set(worker, &script_timer, context_current->mono_ms);
}

/* Runs the steps; NULL ends them. */
static void
script_run(script_step *const *steps)
{
	struct loop_options options = {.log_level = LOG_LEVEL_DEBUG};

	script_loop = loop_new(&options);
	script_worker = loop_add_worker(script_loop, "main");
	script_steps = steps;
	script_timer = (struct timer){.fn = script_tick};
	worker_on_start(script_worker, script_begin, NULL);
	assert_int_equal(loop_start(script_loop), 0);
	loop_run(script_loop);
	loop_join(script_loop);
	loop_free(&script_loop);
	if (*script_steps != NULL) {
		fail_msg("step %d was not reached in time", (int)(script_steps - steps) + 1);
	}
}

#endif
