/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator's side of loop_sim: one thread steps all workers of a loop in an order drawn from
 * the seed, with virtual time that moves only when nothing can be done now (or by a draw). The same
 * seed and the same inputs give the same run. Programs that link loop_sim.c only.
 */
#ifndef LOOP_SIM_H
#define LOOP_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "loop/worker.h"

/* One turn of one worker that can do something (mail, a raised watch, a due timer, `again`), chosen
 * by the seed; or, when nobody can, time moves to the next timer. False: nothing can ever happen
 * without new input. loop_start must have been called. Mail that a turn flushed may be seen by
 * targets in any order of steps, but per target first in first out. */
bool sim_step(struct loop *loop);

/* Steps until nothing is due now (time does not move), `limit` steps at most. False: not yet. */
bool sim_settle(struct loop *loop, unsigned limit);

/* Lets virtual time pass, firing timers on the way in order. */
void sim_advance(struct loop *loop, int64_t ms);

int64_t sim_now_ms(const struct loop *loop);

/* The UNIX time of this moment, before workers are added: for a second loop after a crash, whose
 * monotonic time begins anew. */
void sim_set_wall_ms(struct loop *loop, int64_t wall_ms);

/* Sets context_current to a worker's, as a step does, so that a test may call rooms directly. */
void sim_enter(struct worker *worker);
void sim_leave(void);

#endif
