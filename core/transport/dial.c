/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look-up belongs to its thread and to the room: under its lock the thread says that it is done,
 * and the room that it has gone; whoever comes second frees it. The dial is freed before its
 * function is called.
 */
#include "transport/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "loop/watch.h"
#include "loop/worker.h"
#include "transport/addr_text.h"

enum { MOST_ADDRESSES = 16, WHY_SIZE = 256, JOIN_MS = 1000 };

struct lookup {
	struct mail mail;
	struct list_link link; /* of the room */
	struct lock lock;
	struct worker *worker; /* guarded by the lock; NULL: the room has gone */
	bool is_done;          /* likewise: the thread will not touch it again */
	struct thread *thread;
	struct dial *dial; /* NULL: cancelled */
	const char *why;   /* static */
	int count;
	struct addr addrs[MOST_ADDRESSES];
	char text[];
};

struct dial {
	struct dial_room *room;
	dial_fn *fn;
	void *arg;
	struct watch watch;
	struct timer timer; /* the way out of dial_start; then of the look-up, and each address */
	struct lookup *lookup;
	int64_t end_ms;
	int count, at; /* addresses, and the one that is tried */
	struct addr *addrs;
	char why[WHY_SIZE];
};

/* --- looking up --- */

static void
free_lookup(struct lookup *lookup)
{
	lock_fini(&lookup->lock);
	mem_free(&lookup);
}

static void
look_up(void *arg)
{
	struct lookup *lookup = arg;
	bool is_alone;

	lookup->count = addr_resolve(lookup->text, lookup->addrs, MOST_ADDRESSES, &lookup->why);
	lock_take(&lookup->lock);
	lookup->is_done = true;
	is_alone = lookup->worker == NULL;
	if (!is_alone) {
		mail_post(lookup->worker, &lookup->mail);
	}
	lock_give(&lookup->lock);
	if (is_alone) {
		free_lookup(lookup);
	}
}

static void
end_thread(struct lookup *lookup)
{
	if (lookup->thread != NULL && !thread_join(&lookup->thread, JOIN_MS)) {
		thread_abandon(&lookup->thread);
	}
}

/* --- connecting --- */

static timer_fn on_address_over;

static void
let_go(struct dial *dial)
{
	struct worker *worker = dial->room->worker;

	timer_clear(worker, &dial->timer);
	if (dial->watch.worker != NULL) {
		watch_detach(&dial->watch);
	}
	if (dial->watch.fd >= 0) {
		(void)close(dial->watch.fd);
		dial->watch.fd = -1;
	}
	if (dial->lookup != NULL) {
		dial->lookup->dial = NULL;
		dial->lookup = NULL;
	}
}

static void
free_dial(struct dial *dial)
{
	let_go(dial);
	mem_free(&dial->addrs);
	mem_free(&dial);
}

static void
fail(struct dial *dial, const char *why)
{
	dial_fn *fn = dial->fn;
	void *arg = dial->arg;
	char text[WHY_SIZE];

	(void)snprintf(text, sizeof(text), "%s", why);
	free_dial(dial);
	fn(arg, -1, NULL, text);
}

static void
succeed(struct dial *dial)
{
	dial_fn *fn = dial->fn;
	void *arg = dial->arg;
	struct addr peer = dial->addrs[dial->at];
	int fd = dial->watch.fd;

	watch_detach(&dial->watch);
	dial->watch.fd = -1;
	free_dial(dial);
	fn(arg, fd, &peer, NULL);
}

static void
note(struct dial *dial, const char *reason)
{
	char name[ADDR_TEXT_SIZE];

	(void)addr_format(&dial->addrs[dial->at], name);
	(void)snprintf(dial->why, sizeof(dial->why), "%s: %s", name, reason);
}

static void
note_error(struct dial *dial, int error)
{
	char reason[128];

	note(dial, strerror_r(error, reason, sizeof(reason)));
}

/* Each that is left gets the same share of the time that is left: one that does not answer leaves
 * some to the others. */
static void
set_address_timer(struct dial *dial)
{
	int64_t now_ms = context_current->mono_ms;

	dial->timer.fn = on_address_over;
	timer_set(dial->room->worker, &dial->timer,
	    now_ms + (dial->end_ms - now_ms) / (dial->count - dial->at));
}

/* The next address; or it has failed. */
static void
try_next(struct dial *dial)
{
	for (; dial->at < dial->count; dial->at++) {
		const struct addr *addr = &dial->addrs[dial->at];
		int fd =
		    socket(addr->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		int on = 1;

		if (fd < 0) {
			note_error(dial, errno);
			continue;
		}
		if (addr->storage.ss_family != AF_UNIX) {
			(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		}
		/* A connection that stands at once is told by the watch, too. */
		if ((connect(fd, (const void *)&addr->storage, addr->len) == 0 ||
			errno == EINPROGRESS) &&
		    watch_attach(&dial->watch, dial->room->worker, fd, WATCH_WRITE) == 0) {
			dial->watch.fd = fd;
			set_address_timer(dial);
			return;
		}
		note_error(dial, errno);
		(void)close(fd);
	}
	fail(dial, dial->why);
}

static void
leave_address(struct dial *dial)
{
	watch_detach(&dial->watch);
	(void)close(dial->watch.fd);
	dial->watch.fd = -1;
	dial->at++;
	try_next(dial);
}

static void
on_address_over(struct worker *worker, struct timer *timer)
{
	struct dial *dial = list_item(timer, struct dial, timer);

	(void)worker;
	note(dial, "no answer in time");
	leave_address(dial);
}

static void
on_watch(struct watch *watch, unsigned events)
{
	struct dial *dial = list_item(watch, struct dial, watch);
	socklen_t len = sizeof(int);
	int error = 0;

	(void)events;
	if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
		error = errno;
	}
	if (error == 0) {
		succeed(dial);
		return;
	}
	note_error(dial, error);
	leave_address(dial);
}

static void
on_found(struct worker *worker, struct mail *mail)
{
	struct lookup *lookup = list_item(mail, struct lookup, mail);
	struct dial *dial = lookup->dial;

	(void)worker;
	list_remove(&lookup->link);
	end_thread(lookup);
	if (dial != NULL) {
		dial->lookup = NULL;
		if (lookup->count > 0) {
			size_t size = (size_t)lookup->count * sizeof(lookup->addrs[0]);

			dial->count = lookup->count;
			dial->addrs = mem_alloc(size);
			memcpy(dial->addrs, lookup->addrs, size);
			try_next(dial);
		} else {
			fail(dial, lookup->why);
		}
	}
	free_lookup(lookup);
}

static void
on_lookup_over(struct worker *worker, struct timer *timer)
{
	(void)worker;
	fail(list_item(timer, struct dial, timer), "the host's name was not found in time");
}

/* What is an address already needs no thread. */
static bool
is_at_once(const char *text)
{
	struct addr addr;

	return strncmp(text, "unix:", 5) == 0 || addr_parse(bytes_of(text), &addr);
}

/* The first turn of a dial: no function of the caller's is called before. */
static void
on_begin(struct worker *worker, struct timer *timer)
{
	struct dial *dial = list_item(timer, struct dial, timer);
	struct lookup *lookup = dial->lookup;

	timer->fn = on_lookup_over;
	timer_set(worker, timer, dial->end_ms);
	if (is_at_once(lookup->text)) {
		lookup->count =
		    addr_resolve(lookup->text, lookup->addrs, MOST_ADDRESSES, &lookup->why);
		on_found(worker, &lookup->mail);
		return;
	}
	lookup->thread = thread_start("look-up", look_up, lookup);
	if (lookup->thread == NULL) {
		list_remove(&lookup->link);
		dial->lookup = NULL;
		free_lookup(lookup);
		fail(dial, "the system has no threads left");
	}
}

/* --- the room --- */

void
dial_room_init(struct dial_room *room, struct worker *worker)
{
	room->worker = worker;
	list_init(&room->lookups);
}

void
dial_room_fini(struct dial_room *room)
{
	struct list_link *link;

	while ((link = list_take_first(&room->lookups)) != NULL) {
		struct lookup *lookup = list_item(link, struct lookup, link);
		struct thread *thread = lookup->thread;
		bool is_done;

		lock_take(&lookup->lock);
		is_done = lookup->is_done || thread == NULL;
		lookup->worker = NULL;
		lock_give(&lookup->lock);
		if (is_done) {
			end_thread(lookup);
			free_lookup(lookup);
		} else {
			thread_abandon(&thread); /* which frees the look-up: perhaps it has */
		}
	}
}

struct dial *
dial_start(struct dial_room *room, const char *text, int64_t timeout_ms, dial_fn *fn, void *arg)
{
	struct dial *dial = mem_zalloc(sizeof(*dial));
	size_t len = strlen(text);
	struct lookup *lookup = mem_zalloc(sizeof(*lookup) + len + 1);

	memcpy(lookup->text, text, len);
	lookup->mail.run = on_found;
	lookup->worker = room->worker;
	lookup->dial = dial;
	lookup->why = "there is no such host";
	lock_init(&lookup->lock);
	list_append(&room->lookups, &lookup->link);
	dial->room = room;
	dial->fn = fn;
	dial->arg = arg;
	dial->lookup = lookup;
	dial->watch.fn = on_watch;
	dial->watch.fd = -1;
	dial->end_ms = context_current->mono_ms + timeout_ms;
	dial->timer.fn = on_begin;
	timer_set(room->worker, &dial->timer, context_current->mono_ms);
	return dial;
}

void
dial_cancel(struct dial **dial_at)
{
	struct dial *dial = *dial_at;
	struct lookup *lookup;

	*dial_at = NULL;
	if (dial == NULL) {
		return;
	}
	lookup = dial->lookup;
	free_dial(dial);
	if (lookup != NULL && lookup->thread == NULL) {
		/* It had not begun. */
		list_remove(&lookup->link);
		free_lookup(lookup);
	}
}
