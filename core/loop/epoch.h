/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When may memory be freed that other workers read without a lock? Not before every worker has
 * ended the turn in which it could see it. Who has made an object unreachable retires it; it is
 * freed on the thread of the retiring worker in a later turn. A sleeping worker sees nothing: it
 * marks itself asleep, and when it wakes it takes the present epoch by a read-modify-write before
 * it touches shared data. C11 atomics on variables, no stand-alone fences (which TSan does not
 * model).
 */
#ifndef LOOP_EPOCH_H
#define LOOP_EPOCH_H

struct worker;
typedef void epoch_free_fn(void *memory);

/* Own thread of `worker`. free_fn runs on it, later. Retired objects keep nobody awake for longer
 * than it takes all workers to pass their turn. */
void epoch_retire(struct worker *worker, void *memory, epoch_free_fn *free_fn);

/* Own thread, in a turn, around a call that may block for long (a disk): as long as it lasts the
 * worker counts as asleep and holds up nobody's memory. What the turn has read of shared data
 * before is not to be looked at after epoch_leave. */
void epoch_leave(struct worker *worker);
void epoch_return(struct worker *worker);

#endif
