/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket, its connections, and the pages on their way. A connection that has gone while its
 * page is out is freed when that comes back.
 */
#include "broker/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/control_int.h"
#include "transport/listener.h"

enum {
	MAX_SESSIONS = 16,
	MAX_REQUEST = 1 << 20,
	MAX_OUT = 1 << 18, /* bytes that wait; then pages do */
	IDLE_MS = 30000,
	HEAD = 5,
	READ_SIZE = 4096,
};

struct broker_control {
	struct broker *broker;
	struct listener *listener;
	struct list sessions;
	unsigned count; /* also those that have gone and whose page is out */
	bool is_stopped;
};

/* --- the end of a connection --- */

static void
free_session(struct control_session *session)
{
	session->control->count--;
	buf_fini(&session->in);
	buf_fini(&session->out);
	buf_fini(&session->page.text);
	mem_free(&session);
}

static void
drop(struct control_session *session)
{
	plugin_errand_leave(&session->errand);
	list_remove(&session->link);
	watch_detach(&session->watch);
	timer_clear(broker_main(session->broker), &session->timer);
	(void)close(session->fd);
	session->fd = -1;
	if (!session->is_paged || session->page_waits) {
		free_session(session);
	}
}

/* --- writing --- */

static void
put_frame(struct control_session *session, char kind, struct bytes text)
{
	uint8_t head[HEAD] = {(uint8_t)kind, (uint8_t)(text.len >> 24), (uint8_t)(text.len >> 16),
	    (uint8_t)(text.len >> 8), (uint8_t)text.len};

	buf_append(&session->out, head, sizeof(head));
	buf_append_bytes(&session->out, text);
	watch_set(&session->watch, WATCH_READ | WATCH_WRITE);
}

void
broker_control_out(struct control_session *session, struct bytes text)
{
	if (text.len != 0) {
		put_frame(session, 'o', text);
	}
}

void
broker_control_print(struct control_session *session, const char *format, ...)
{
	struct buf text;
	va_list args;

	buf_init(&text, SIZE_MAX);
	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	broker_control_out(session, buf_bytes(&text));
	buf_fini(&text);
}

void
broker_control_end(struct control_session *session, int status)
{
	uint8_t byte = (uint8_t)status;

	put_frame(session, 'x', bytes_make(&byte, 1));
	session->is_ended = true;
}

void
broker_control_fail(struct control_session *session, int status, const char *format, ...)
{
	struct buf text;
	va_list args;

	buf_init(&text, SIZE_MAX);
	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	put_frame(session, 'e', buf_bytes(&text));
	buf_fini(&text);
	broker_control_end(session, status);
}

/* False: the connection has gone, and the session perhaps with it. */
static bool
flush(struct control_session *session)
{
	while (session->sent < session->out.len) {
		ssize_t n = write(session->fd, session->out.data + session->sent,
		    session->out.len - session->sent);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0 && (errno == EAGAIN)) {
			return true;
		}
		if (n <= 0) {
			drop(session);
			return false;
		}
		session->sent += (size_t)n;
		timer_set(broker_main(session->broker), &session->timer,
		    context_current->mono_ms + IDLE_MS);
	}
	buf_clear(&session->out);
	session->sent = 0;
	if (session->is_ended) {
		drop(session);
		return false;
	}
	watch_set(&session->watch, WATCH_READ);
	return true;
}

/* --- pages --- */

static void
on_page_back(struct worker *worker, struct mail *mail)
{
	struct control_page *page = list_item(mail, struct control_page, mail);
	struct control_session *session = page->session;

	(void)worker;
	session->is_paged = false;
	if (session->fd < 0) {
		free_session(session);
		return;
	}
	broker_control_out(session, buf_bytes(&page->text));
	buf_clear(&page->text);
	session->on_page(session);
}

static void
on_page_there(struct worker *worker, struct mail *mail)
{
	struct control_page *page = list_item(mail, struct control_page, mail);
	struct broker *broker = page->session->broker;

	(void)worker;
	broker_control_fill_page(page, &broker->house->hands[page->hand]);
	page->mail.run = on_page_back;
	mail_post(broker_main(broker), &page->mail);
}

static void
send_page(struct control_session *session)
{
	struct broker *broker = session->broker;

	session->page_waits = false;
	session->page.session = session;
	session->page.mail.run = on_page_there;
	mail_post(broker->house->hands[session->page.hand].worker, &session->page.mail);
}

void
broker_control_send_page(
    struct control_session *session, void (*on_page)(struct control_session *session))
{
	session->on_page = on_page;
	session->is_paged = true;
	if (session->out.len - session->sent > MAX_OUT) {
		session->page_waits = true;
	} else {
		send_page(session);
	}
}

/* --- requests --- */

/* 1: all words are there; 0: more follow; -1: it is none. */
static int
take_words(struct control_session *session)
{
	const char *at = (const char *)session->in.data;
	size_t left = session->in.len;

	session->count = 0;
	session->has_json = false;
	for (;;) {
		const char *end = left != 0 ? memchr(at, '\0', left) : NULL;

		if (end == NULL) {
			return session->in.len >= MAX_REQUEST ? -1 : 0;
		}
		if (end == at) {
			return 1;
		}
		if (strcmp(at, "--json") == 0) {
			session->has_json = true;
		} else if (session->count == CONTROL_MAX_WORDS) {
			return -1;
		} else {
			session->words[session->count++] = at;
		}
		left -= (size_t)(end + 1 - at);
		at = end + 1;
	}
}

static void
receive(struct control_session *session)
{
	/* While a command runs its words stay where they are: what comes then is read and dropped.
	 */
	uint8_t rest[READ_SIZE], *room = rest;
	ssize_t n;
	int taken;

	if (!session->is_running) {
		room = buf_reserve(&session->in, READ_SIZE);
	}
	n = read(session->fd, room, READ_SIZE);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n <= 0) {
		drop(session);
		return;
	}
	if (session->is_running) {
		return; /* one command per connection */
	}
	session->in.len += (size_t)n;
	taken = take_words(session);
	if (taken == 0) {
		return;
	}
	session->is_running = true;
	if (taken < 0 || session->count == 0) {
		broker_control_fail(session, 2, "that is no request");
	} else {
		broker_control_run(session);
	}
}

static void
on_ready(struct watch *watch, unsigned events)
{
	struct control_session *session = list_item(watch, struct control_session, watch);

	if ((events & WATCH_WRITE) != 0 && session->out.len != 0) {
		if (!flush(session)) {
			return;
		}
		if (session->page_waits && session->out.len - session->sent <= MAX_OUT) {
			send_page(session);
		}
	}
	if ((events & WATCH_READ) != 0) {
		receive(session);
	}
}

static void
on_idle(struct worker *worker, struct timer *timer)
{
	struct control_session *session = list_item(timer, struct control_session, timer);

	if (session->is_running && session->out.len == 0) {
		/* The command takes its time. */
		timer_set(worker, &session->timer, context_current->mono_ms + IDLE_MS);
		return;
	}
	drop(session);
}

static void
on_accept(struct listener *listener, int fd, const struct addr *peer, void *arg)
{
	struct broker_control *control = arg;
	struct control_session *session;

	(void)listener;
	(void)peer;
	if (control->count >= MAX_SESSIONS || control->is_stopped) {
		(void)close(fd);
		return;
	}
	session = mem_zalloc(sizeof(*session));
	session->broker = control->broker;
	session->control = control;
	session->fd = fd;
	session->watch.fn = on_ready;
	session->timer.fn = on_idle;
	buf_init(&session->in, SIZE_MAX);
	buf_init(&session->out, SIZE_MAX);
	buf_init(&session->page.text, SIZE_MAX);
	control->count++;
	list_append(&control->sessions, &session->link);
	if (watch_attach(&session->watch, broker_main(control->broker), fd, WATCH_READ) != 0) {
		drop(session);
		return;
	}
	timer_set(
	    broker_main(control->broker), &session->timer, context_current->mono_ms + IDLE_MS);
}

/* --- life --- */

struct broker_control *
broker_control_new(struct broker *broker, const char *path, char *why, size_t why_size)
{
	struct broker_control *control;
	struct listener *listener;
	struct buf text;

	why[0] = '\0';
	if (path[0] == '\0') {
		return NULL;
	}
	buf_init(&text, SIZE_MAX);
	if (path[0] != '/') {
		/* A listener wants the whole path. */
		char *here = realpath(".", NULL);

		buf_printf(&text, "unix:%s/%s", here != NULL ? here : "", path);
		free(here);
	} else {
		buf_printf(&text, "unix:%s", path);
	}
	listener = listener_bind(buf_text(&text), why, why_size);
	buf_fini(&text);
	if (listener == NULL) {
		return NULL;
	}
	control = mem_zalloc(sizeof(*control));
	control->broker = broker;
	control->listener = listener;
	list_init(&control->sessions);
	return control;
}

bool
broker_control_give(const struct broker_control *control, uid_t user, gid_t group)
{
	return control == NULL || listener_give(control->listener, user, group);
}

int
broker_control_start(struct broker_control *control)
{
	return control != NULL ? listener_start(control->listener, broker_main(control->broker),
				     on_accept, control)
			       : 0;
}

void
broker_control_stop(struct broker_control *control)
{
	if (control == NULL || control->is_stopped) {
		return;
	}
	control->is_stopped = true;
	listener_stop(control->listener);
	list_each (link, &control->sessions) {
		drop(list_item(link, struct control_session, link));
	}
}

void
broker_control_free(struct broker_control **control_at)
{
	struct broker_control *control = *control_at;

	if (control == NULL) {
		return;
	}
	list_each (link, &control->sessions) {
		struct control_session *session = list_item(link, struct control_session, link);

		plugin_errand_leave(&session->errand);
		list_remove(&session->link);
		(void)close(session->fd);
		free_session(session);
	}
	listener_free(&control->listener);
	mem_free(control_at);
}
