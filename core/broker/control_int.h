/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the control socket share. Main's, but for what a page does on a worker. */
#ifndef BROKER_CONTROL_INT_H
#define BROKER_CONTROL_INT_H

#include "base/buf.h"
#include "base/list.h"
#include "broker/broker_int.h"
#include "broker/control.h"
#include "loop/watch.h"
#include "plugin/admin.h"
#include "session/session.h"

enum { CONTROL_MAX_WORDS = 32 };

/* What avocetctl exits with. */
enum { CONTROL_DONE = 0, CONTROL_REFUSED = 1, CONTROL_USAGE = 2 };

struct control_session;

/* What goes from worker to worker, and comes back with a page of text. */
struct control_page {
	struct mail mail;
	struct control_session *session;
	unsigned hand;       /* where it is */
	uint32_t slot;       /* of that one's sessions: where it goes on */
	bool has_more;       /* of that worker */
	uint64_t rows, hits; /* so far */
	int64_t idle_ms;     /* sessions that sleep for at least so long; -1: all */
	const char *id;      /* a word of the request; NULL: all */
	bool is_attached_only;
	bool ends;  /* those that are found end */
	bool kicks; /* their connections do */
	bool is_long;
	struct buf text;
};

/* A connection of avocetctl. */
struct control_session {
	struct list_link link; /* of the control's; unlinked: the connection has gone */
	struct broker *broker;
	struct broker_control *control;
	struct watch watch;
	struct timer timer; /* it must ask, and read, in time */
	int fd;             /* -1: gone */
	struct buf in, out;
	size_t sent;
	const char *words[CONTROL_MAX_WORDS];
	size_t count;
	bool has_json;
	bool is_running; /* a command has it */
	bool is_ended;   /* its exit status is in the output */
	bool is_paged;   /* the page is out, or waits for room */
	bool page_waits;
	struct plugin_errand *errand; /* a plugin's command is under way; NULL: none */
	void (*on_page)(struct control_session *session);
	struct control_page page;
};

/* --- control.c --- */

void broker_control_out(struct control_session *session, struct bytes text);
void broker_control_print(struct control_session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A sentence for standard error, and the end. */
void broker_control_fail(struct control_session *session, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void broker_control_end(struct control_session *session, int status);
/* Sends session->page to its hand; on_page is called when it is back, and not if the connection has
 * gone by then. While much waits to be read by avocetctl it is sent later. */
void broker_control_send_page(
    struct control_session *session, void (*on_page)(struct control_session *session));

/* --- control_commands.c --- */

/* Runs what the words say; it ends now or later. */
void broker_control_run(struct control_session *session);
/* "name":"value" */
void broker_control_put_text(struct buf *out, const char *name, struct bytes value);
/* A cell of a table: what would break a line is escaped, and "" shows. */
void broker_control_put_cell(struct buf *out, struct bytes value, int width);

/* --- control_sessions.c --- */

/* On the worker whose hand it is: fills the page's text. */
void broker_control_fill_page(struct control_page *page, const struct broker_hand *hand);

void broker_control_run_clients(
    struct control_session *session, const char *const *args, size_t count);
void broker_control_run_sessions(
    struct control_session *session, const char *const *args, size_t count);
void broker_control_run_show(
    struct control_session *session, const char *const *args, size_t count);
void broker_control_run_end(struct control_session *session, const char *const *args, size_t count);
void broker_control_run_kick(
    struct control_session *session, const char *const *args, size_t count);

#endif
