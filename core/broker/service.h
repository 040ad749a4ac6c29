/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker as a service of systemd, or of whoever speaks its protocol (sd_notify(3),
 * sd_listen_fds(3)), by hand: what it is told, the watchdog, and the sockets that it has bound for
 * us. Without such a manager all of this does nothing. Owned by the broker; main's thread.
 */
#ifndef BROKER_SERVICE_H
#define BROKER_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"
#include "loop/timer.h"

struct listener;
struct loop;

/* A socket that was handed over. */
struct broker_handed {
	char *name; /* owned */
	int fd;
	bool is_used; /* by a listener, now or before */
};

struct broker_service {
	char *socket;       /* where the manager reads; NULL: there is none */
	int fd;             /* to send from; -1: none */
	struct loop *loop;  /* NULL: not started */
	struct timer timer; /* of the watchdog */
	int64_t period_ms;  /* the watchdog is told so often; 0: there is none */
	int64_t told_at_ms; /* when it was told last */
	uint64_t *turns;    /* of each worker at that time */
	bool is_stuck;      /* said */
	VEC(struct broker_handed) sockets;
};

/* Takes what the environment says and unsets it, so that no child believes it is meant. Before
 * there are threads. */
void broker_service_init(struct broker_service *service);
/* After loop_join. What was handed over is closed. */
void broker_service_fini(struct broker_service *service);

/*
 * The handed sockets for a listener: those that have its name, else those that are bound where it
 * wants to bind. False: there is none. True: *listener_out is it, or NULL with a sentence. The
 * socket stays with the manager: a listener that a reload closes may come back.
 */
bool broker_service_adopt(struct broker_service *service, const char *name, const char *bind,
    struct listener **listener_out, char *why, size_t why_size);

/* In main's first turn: from now on the watchdog is told. Says which sockets nobody wanted. */
void broker_service_start(struct broker_service *service, struct loop *loop);

/* To the manager; `status` is a line for people, of which control characters become blanks. */
void broker_service_ready(struct broker_service *service, const char *status);
void broker_service_reloading(struct broker_service *service);
/* Within timeout_ms it will have stopped. */
void broker_service_stopping(struct broker_service *service, int64_t timeout_ms);

#endif
