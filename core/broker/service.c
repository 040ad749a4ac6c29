/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watchdog hears that we live as long as every worker does: since it was told last, a worker
 * must have begun a turn, or sleep now. Main itself is judged by being here. One that hangs (a
 * plugin that blocks, a disk that does not answer) keeps its turn's number; then we look again
 * after a short while, so that one who was only slow is forgiven before the manager's patience ends
 * at twice our period, and the manager ends the process if nothing moves.
 *
 * Sockets that were handed over stay open here for the life of the process; a listener gets a
 * duplicate. So it can be closed by a reload and come back, although nobody else could bind the
 * address meanwhile. Who connects while we stop waits in the socket's queue for our successor.
 */
#include "broker/service.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "loop/worker.h"
#include "transport/datagram.h"
#include "transport/listener.h"

enum {
	FIRST_FD = 3,       /* sd_listen_fds(3) */
	MOST_SOCKETS = 256, /* that are believed */
	MOST_OF_LISTENER = 16,
	LOOKS = 8, /* per period, while a worker hangs */
	MAX_WORDS = 512,
	US_PER_MS = 1000,
	GRACE_MS = 5000, /* for closing the store, after the shutdown's time */
};

/* --- the environment --- */

/* INT64_MIN: it is not there, or no number. */
static int64_t
read_number(const char *variable)
{
	const char *text = getenv(variable);
	int64_t number;

	return text != NULL && str_to_i64(bytes_of(text), &number) ? number : INT64_MIN;
}

/* Is the variable absent, or is it us that it means? */
static bool
means_us(const char *variable)
{
	return getenv(variable) == NULL || read_number(variable) == getpid();
}

static void
take_watchdog(struct broker_service *service)
{
	int64_t span_us = read_number("WATCHDOG_USEC");

	if (service->socket == NULL || span_us <= 0 || !means_us("WATCHDOG_PID")) {
		return;
	}
	service->period_ms = span_us / US_PER_MS / 2;
	if (service->period_ms == 0) {
		service->period_ms = 1;
	}
}

static void
take_socket(struct broker_service *service)
{
	const char *socket = getenv("NOTIFY_SOCKET");

	if (socket == NULL || socket[0] == '\0') {
		return;
	}
	service->fd = transport_datagram_open();
	if (service->fd >= 0) {
		service->socket = mem_text(bytes_of(socket));
	}
}

/* The next of the names that colons part. */
static char *
take_name(const char **names)
{
	const char *begin = *names;
	size_t len = strcspn(begin, ":");

	*names = begin[len] != '\0' ? begin + len + 1 : begin + len;
	return mem_text(len != 0 ? bytes_make(begin, len) : bytes_of("unknown"));
}

static void
take_handed(struct broker_service *service)
{
	int64_t count = read_number("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");

	if (read_number("LISTEN_PID") != getpid()) {
		return;
	}
	names = names != NULL ? names : "";
	for (int i = 0; i < count && i < MOST_SOCKETS; i++) {
		struct broker_handed handed = {.fd = FIRST_FD + i};

		handed.name = take_name(&names);
		if (fcntl(handed.fd, F_SETFD, FD_CLOEXEC) == 0) {
			vec_push(&service->sockets, handed);
		} else {
			mem_free(&handed.name);
		}
	}
}

void
broker_service_init(struct broker_service *service)
{
	static const char *const variables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
	    "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"};

	*service = (struct broker_service){.fd = -1};
	take_handed(service);
	take_socket(service);
	take_watchdog(service);
	for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++) {
		(void)unsetenv(variables[i]);
	}
}

void
broker_service_fini(struct broker_service *service)
{
	struct broker_handed *handed;

	vec_each (handed, &service->sockets) {
		(void)close(handed->fd);
		mem_free(&handed->name);
	}
	vec_fini(&service->sockets);
	if (service->fd >= 0) {
		(void)close(service->fd);
		service->fd = -1;
	}
	mem_free(&service->socket);
	mem_free(&service->turns);
}

/* --- sockets --- */

/* Those of that name; where `bind` is not NULL, those at that address. Their number. */
static int
gather(struct broker_service *service, const char *name, const char *bind, int fds[])
{
	struct broker_handed *handed;
	int count = 0;

	vec_each (handed, &service->sockets) {
		bool fits = bind != NULL ? listener_is_at(handed->fd, bind)
					 : strcmp(handed->name, name) == 0;
		int fd = fits && count < MOST_OF_LISTENER
			     ? fcntl(handed->fd, F_DUPFD_CLOEXEC, FIRST_FD)
			     : -1;

		if (fd >= 0) {
			handed->is_used = true;
			fds[count++] = fd;
		}
	}
	return count;
}

bool
broker_service_adopt(struct broker_service *service, const char *name, const char *bind,
    struct listener **listener_out, char *why, size_t why_size)
{
	char reason[MAX_WORDS] = "";
	int fds[MOST_OF_LISTENER];
	int count = gather(service, name, NULL, fds);

	if (count == 0) {
		count = gather(service, name, bind, fds);
	}
	if (count == 0) {
		return false;
	}
	*listener_out = listener_adopt(fds, count, reason, sizeof(reason));
	if (*listener_out == NULL) {
		(void)snprintf(why, why_size, "the listener %s: %s", name, reason);
	}
	return true;
}

static void
say_unused(const struct broker_service *service)
{
	const struct broker_handed *handed;

	vec_each (handed, &service->sockets) {
		if (!handed->is_used) {
			const struct log_field fields[] = {{"socket", bytes_of(handed->name)}};

			log_write(LOG_LEVEL_WARNING, fields, 1,
			    "a socket that was handed over is not used: no listener has its name "
			    "or its address");
		}
	}
}

/* --- telling --- */

static int
tell(struct broker_service *service, const char *words, bool may_wait)
{
	if (service->fd < 0) {
		return 0;
	}
	return transport_datagram_send(service->fd, service->socket, bytes_of(words), may_wait);
}

/* What must arrive. */
static void
announce(struct broker_service *service, const char *words)
{
	int error = tell(service, words, true);

	if (error != 0) {
		log_warning("the service manager cannot be told: %s", err_text(error));
	}
}

void
broker_service_ready(struct broker_service *service, const char *status)
{
	char words[MAX_WORDS];
	int at = snprintf(words, sizeof(words), "READY=1\nSTATUS=");

	(void)snprintf(words + at, sizeof(words) - (size_t)at, "%s", status);
	for (char *c = words + at; *c != '\0'; c++) {
		if ((unsigned char)*c < ' ') {
			*c = ' ';
		}
	}
	announce(service, words);
}

/* The manager compares the moment with that of its signal, by the same clock but in finer steps: it
 * must not lie before it, so it is rounded up. */
void
broker_service_reloading(struct broker_service *service)
{
	char words[MAX_WORDS];

	(void)snprintf(words, sizeof(words),
	    "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=Reloading the configuration",
	    (context_current->mono_ms + 1) * US_PER_MS);
	announce(service, words);
}

void
broker_service_stopping(struct broker_service *service, int64_t timeout_ms)
{
	char words[MAX_WORDS];

	(void)snprintf(words, sizeof(words),
	    "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRId64 "\nSTATUS=Stopping",
	    (timeout_ms + GRACE_MS) * US_PER_MS);
	announce(service, words);
}

/* --- the watchdog --- */

/* A worker that has not moved since the watchdog was told, or NULL. */
static struct worker *
find_stuck(const struct broker_service *service)
{
	unsigned count = loop_worker_count(service->loop);

	for (unsigned i = 1; i < count; i++) {
		struct worker *worker = loop_worker(service->loop, i);

		if (worker_turns(worker) == service->turns[i] && !worker_is_asleep(worker)) {
			return worker;
		}
	}
	return NULL;
}

static void
note_turns(struct broker_service *service)
{
	unsigned count = loop_worker_count(service->loop);

	for (unsigned i = 0; i < count; i++) {
		service->turns[i] = worker_turns(loop_worker(service->loop, i));
	}
	service->told_at_ms = context_current->mono_ms;
}

static void
say_stuck(struct broker_service *service, const struct worker *stuck)
{
	int64_t span = context_current->mono_ms - service->told_at_ms;

	if (stuck != NULL && !service->is_stuck) {
		log_error("the worker %s has been busy with one thing for %" PRId64
			  " ms: the watchdog is not told that all is well",
		    worker_name(stuck), span);
	} else if (stuck == NULL && service->is_stuck) {
		log_warning("the worker that was busy goes on, after %" PRId64 " ms", span);
	}
	service->is_stuck = stuck != NULL;
}

static void
on_timer(struct worker *main, struct timer *timer)
{
	struct broker_service *service = list_item(timer, struct broker_service, timer);
	const struct worker *stuck = find_stuck(service);
	int64_t next = service->period_ms / LOOKS + 1;

	say_stuck(service, stuck);
	if (stuck == NULL && tell(service, "WATCHDOG=1", false) == 0) {
		note_turns(service);
		next = service->period_ms;
	}
	timer_set(main, timer, context_current->mono_ms + next);
}

void
broker_service_start(struct broker_service *service, struct loop *loop)
{
	service->loop = loop;
	say_unused(service);
	if (service->period_ms == 0) {
		return;
	}
	service->turns = mem_zalloc(loop_worker_count(loop) * sizeof(*service->turns));
	note_turns(service);
	service->timer.fn = on_timer;
	timer_set(
	    loop_worker(loop, 0), &service->timer, context_current->mono_ms + service->period_ms);
}
