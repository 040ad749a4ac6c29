/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bound socket that accepts, in batches, on main. What is accepted is handed to a function as a
 * bare descriptor: the stack of streams is built on the worker that gets it. Out of descriptors:
 * one is kept in reserve, so that what exceeds is accepted and closed at once and counted, never a
 * busy loop.
 */
#ifndef TRANSPORT_LISTENER_H
#define TRANSPORT_LISTENER_H

#include <sys/types.h>

#include "transport/addr.h"

struct worker;
struct listener;

/* Owns fd. */
typedef void listener_accept_fn(
    struct listener *listener, int fd, const struct addr *peer, void *arg);

/*
 * Binds and listens (SO_REUSEADDR, no SO_REUSEPORT, IPv6 without V6ONLY for all addresses; a stale
 * unix socket's file is replaced when nobody listens there; the new one has the mode 0660). Not
 * accepting yet. NULL with a sentence in `why` ("cannot bind 0.0.0.0:1883: Address already in
 * use").
 */
struct listener *listener_bind(const char *text, char *why, size_t why_size);

/*
 * Takes over `count` sockets that somebody else has bound (a service manager): as listener_bind,
 * but a unix socket's file stays where it is at the end. They must listen already. Owns the
 * descriptors, also where it returns NULL, with a sentence.
 */
struct listener *listener_adopt(const int *fds, int count, char *why, size_t why_size);

/* Is fd a socket that is bound to one of the addresses that `text` means? Host names are looked up,
 * blocking. */
bool listener_is_at(int fd, const char *text);

/* Begins and ends accepting on this worker (main). */
int listener_start(
    struct listener *listener, struct worker *worker, listener_accept_fn *fn, void *arg);
void listener_stop(struct listener *listener);

/* A unix socket's file that was made here gets another owner. False: it could not be done. */
bool listener_give(const struct listener *listener, uid_t user, gid_t group);

/* Stops, closes, frees; removes a unix socket's file. */
void listener_free(struct listener **listener);

/* The address it is really bound to (the port that 0 became); the first one where there are
 * several. */
const struct addr *listener_addr(const struct listener *listener);

/* All its addresses are on this machine only (loopback, unix). */
bool listener_is_local(const struct listener *listener);

#endif
