/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mail between workers. Each worker has one mailbox, first in first out over all sources; the cap
 * per turn cuts it and never reorders it. What a worker sends in a turn leaves at the end of the
 * turn, after phase STORE and before phase WRITE, one batch per target. Mail carries its own `run`,
 * so the room knows no kinds.
 *
 * Credit (flow 6): bytes that a target has not digested yet are counted per (source, target). Above
 * MAIL_CREDIT the source should stop producing for that target: mail_wait_credit sets the pair's
 * flag, reads the counter again (both sequentially consistent), and when the target has brought the
 * counter below the limit it takes the flag and wakes the source, whose credit functions then run.
 * Digesting never waits for credit, and sending is never refused.
 */
#ifndef LOOP_MAILBOX_H
#define LOOP_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "loop/worker.h"

enum { MAIL_CREDIT = 1 << 20 }; /* bytes under way per pair of workers */

struct mail;
typedef void mail_run_fn(struct worker *to, struct mail *mail);

/* First member of the sender's own struct. `run` owns the mail when it is called; it runs on the
 * target's thread. */
struct mail {
	struct mail *next;
	mail_run_fn *run;
	uint32_t cost;   /* bytes for the credit; set by mail_send */
	uint16_t source; /* index of the sender; of posted mail UINT16_MAX */
	bool counted;
};

/* Own thread of `from`. To itself: runs in a following turn. cost: about the bytes it keeps alive.
 */
void mail_send(struct worker *from, struct worker *to, struct mail *mail, uint32_t cost);

/* Any thread, at once, without credit: answers of foreign threads, wake-ups. */
void mail_post(struct worker *to, struct mail *mail);

/* Own thread of `from`: are more than MAIL_CREDIT bytes to this target undigested? */
bool mail_is_over(const struct worker *from, const struct worker *to);

/* Own thread of `from`: asks for the credit functions to run when the target is below the limit
 * again. False: it already is, nothing was asked. */
bool mail_wait_credit(struct worker *from, const struct worker *to);

typedef void mail_credit_fn(struct worker *worker, struct worker *target, void *arg);

/* fn runs on the worker's thread when a target that was waited for has credit again. */
void mail_on_credit(struct worker *worker, mail_credit_fn *fn, void *arg);

/* Any thread: bytes of counted mail of all workers that are sent and not yet digested. For budgets
 * and for shutdown, which waits until it is 0: it is not 0 while counted mail is under way, also
 * when that moves on, as long as each turn that digests it sends what follows from it. */
uint64_t mail_undigested(struct loop *loop);

#endif
