/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link from its arrival at a worker to its end. It claims its client id as a connection does, so
 * that it lives where its session is; there the session is opened and its subscriptions are made.
 * The session of a remote link then sleeps: it is attached while the remote is connected, and keeps
 * what is for the remote meanwhile.
 *
 * link_close is the one way to end. What waits for an answer then is carried out all the same.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "link/link_int.h"
#include "plugin/chain.h"
#include "wire/reason.h"

enum { RETRY_MS = 1000, MAX_SENTENCE = 256 };

void
link_log(struct link *link, int level, const char *format, ...)
{
	struct log_field fields[] = {
	    {"link", link->options->client_id}, {"user", link->options->username}};
	char sentence[MAX_SENTENCE];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	log_write((enum log_level)level, fields, 2, "%s", sentence);
}

struct session *
link_session_of(const struct link *link)
{
	return session_table_get(link->table->sessions, link->slot, link->generation);
}

/* --- the session --- */

static void
make_client(struct link *link)
{
	struct msg_client_parts parts = {.version = WIRE_V5,
	    .authenticated = true,
	    .client_id = link->options->client_id,
	    .username = link->options->username,
	    .listener = bytes_of(link->terms->listener),
	    .address = BYTES_LITERAL("link")};
	struct plugin_client_facts facts = {.transport = AVOCET_TRANSPORT_LINK};

	link->client = msg_client_new(&parts);
	plugin_client_describe(link->client, &facts);
}

/* The id stays its own while it has a session: a claim is made for each opening. */
static uint16_t
claim(struct link *link, uint16_t own)
{
	uint64_t number;
	uint16_t home;

	session_directory_claim(
	    link->house->options.sessions->directory, link->client, own, &home, &number);
	link->sink.claim = number & INT64_MAX;
	link->is_claimed = true;
	return home;
}

static void
unclaim(struct link *link)
{
	if (link->is_claimed) {
		link->is_claimed = false;
		session_directory_unclaim(
		    link->house->options.sessions->directory, msg_client_id_of(link->client));
	}
}

static void
on_retry(struct worker *worker, struct timer *timer)
{
	(void)worker;
	link_open_session(list_item(timer, struct link, timer));
}

static void
retry_later(struct link *link)
{
	unclaim(link);
	link->state = LINK_RETRIES;
	link->timer.fn = on_retry;
	timer_set(link->table->worker, &link->timer, context_current->mono_ms + RETRY_MS);
}

static void
tell_ready(struct link *link)
{
	int64_t entered;

	if (!link->was_ready && link->events.ready != NULL) {
		entered = plugin_enter(link->self);
		link->events.ready(plugin_inst(link->self), link->handle, link->user);
		plugin_leave(link->self, entered, "ready");
	}
	link->was_ready = true;
}

static void
on_subscribed(struct link *link)
{
	tell_ready(link);
	if (link_is_remote(link)) {
		link_detach_session(link, SESSION_LEAVE_ABNORMAL);
		link_remote_begin(link);
	} else {
		link_local_begin(link, !link->is_fresh);
	}
}

void
link_opened(struct session_sink *sink, struct session *session, bool present, uint64_t ticket,
    uint8_t reason)
{
	struct link *link = link_of_sink(sink);

	(void)ticket;
	if (session == NULL) {
		link_log(link, LOG_LEVEL_WARNING, "its session cannot be had now: %s",
		    wire_reason_name(reason));
		if (link->state == LINK_ATTACHING) {
			link_lose(
			    link, WIRE_REASON_SUCCESS, reason, "the session here is not to be had");
		} else {
			retry_later(link);
		}
		return;
	}
	unclaim(link);
	link->session = session;
	link->slot = session_slot(session);
	link->generation = session_generation(session);
	if (link->state == LINK_ATTACHING && present) {
		link_remote_opened(link);
		return;
	}
	if (link->state == LINK_ATTACHING) {
		/* It ended while it slept: there is nothing that the remote could go on with. */
		link_drop_conn(link, false);
	}
	link->state = LINK_OPENING;
	link->is_fresh = !present;
	link->has_unsubscribed = false;
	link_subscribe_all(link, on_subscribed);
}

/* The session keeps what is made of it, and the options the original, since it may be opened again.
 */
static struct msg *
make_will(const struct link *link)
{
	struct msg_draft draft = link->options->will;

	if (!link->options->has_will) {
		return NULL;
	}
	draft.copy = NULL; /* views only: sealing copies */
	draft.scraps = NULL;
	draft.client_id = msg_client_id_of(link->client);
	draft.username = msg_client_username_of(link->client);
	draft.born_mono_ms = context_current->mono_ms;
	draft.born_wall_ms = context_current->wall_ms;
	draft.flags |= MSG_WILL;
	return msg_seal(&draft);
}

void
link_open_session(struct link *link)
{
	const struct link_remote *remote = link->options->remote;
	const struct link_conn *conn = link->conn;
	uint32_t expiry_s = link->options->session_expiry_s;
	struct session_open open = {.client = link->client,
	    .limits = link->terms->limits,
	    .conf = link->conf,
	    /* Without one the session is a matter of this process, but outlives connections. */
	    .expiry_s = expiry_s != 0 || remote == NULL ? expiry_s : UINT32_MAX,
	    .receive_maximum = remote != NULL ? LINK_MOST_INFLIGHT : UINT16_MAX,
	    .clean_start = link->options->forgets,
	    .store = link->terms->durability.mode != ROUTE_NONE && expiry_s != 0};
	struct session *session = NULL;
	uint8_t reason = WIRE_REASON_SUCCESS;
	uint64_t ticket = 0;
	bool present = false;

	link->options->forgets = false;
	open.will = make_will(link);
	if (remote == NULL && link->options->receive_max != 0 &&
	    link->options->receive_max < UINT16_MAX) {
		open.receive_maximum = (uint16_t)link->options->receive_max;
	} else if (conn != NULL) {
		open.receive_maximum =
		    conn->receive_max < LINK_MOST_INFLIGHT ? conn->receive_max : LINK_MOST_INFLIGHT;
		open.has_max_qos = true;
		open.max_qos = conn->max_qos;
	}
	if (!link->is_claimed) {
		(void)claim(link, (uint16_t)worker_index(link->table->worker));
	}
	if (link->state != LINK_ATTACHING) {
		link->state = LINK_OPENING;
	}
	switch (session_open(
	    link->table->sessions, &open, &link->sink, &session, &present, &ticket, &reason)) {
	case SESSION_OPENED:
		link_opened(&link->sink, session, present, ticket, WIRE_REASON_SUCCESS);
		break;
	case SESSION_WAIT:
		break;
	case SESSION_OUTDATED:
	case SESSION_REFUSED:
		msg_unref(&open.will);
		link_opened(&link->sink, NULL, false, 0, reason);
		break;
	}
}

void
link_detach_session(struct link *link, enum session_leave how)
{
	struct session *session = link->session;

	link->session = NULL;
	if (session != NULL) {
		session_detach(session, how);
	}
}

/* --- its way --- */

void
link_arrive(struct worker *worker, struct mail *mail)
{
	struct link *link = list_item(mail, struct link, mail);
	uint16_t own = (uint16_t)worker_index(worker);
	struct link_table *table = link->house->tables[own];

	if (link->client == NULL) {
		link->terms = link->house->options.terms(link->conf, plugin_name(link->self));
		if (!err_impossible(link->terms == NULL)) {
			make_client(link);
		}
	}
	if (link->client != NULL && !link->is_claimed) {
		uint16_t home = claim(link, own);

		if (home != own) {
			mail_post(loop_worker(link->house->options.loop, home), &link->mail);
			return;
		}
	}
	link->table = table;
	list_append(&table->links, &link->item);
	link_moved(link->house, link->handle, own);
	link->sink.ops = link_is_remote(link) ? &link_remote_sink : &link_local_sink;
	link->sink.has_room = true;
	if (table->closed || link->client == NULL) {
		link_close(link, WIRE_REASON_SERVER_SHUTTING_DOWN, SESSION_LEAVE_SHUTDOWN);
		return;
	}
	link_open_session(link);
}

/* --- the end --- */

/* Asleep, and nobody will come for it. */
static void
end_sleeping(struct link *link)
{
	struct session *session = link->client != NULL ? link_session_of(link) : NULL;

	if (session != NULL && (link->ends || link->options->session_expiry_s == 0)) {
		session_terminate(session);
	}
}

static void
leave_session(struct link *link, enum session_leave how)
{
	if (link->is_claimed && link->session == NULL) {
		session_open_cancel(link->table->sessions, &link->sink, link->options->client_id);
	}
	unclaim(link);
	link_detach_session(link, how);
	if (link->slot != 0 || link->generation != 0) {
		end_sleeping(link);
	}
}

void
link_free(struct link *link)
{
	list_remove(&link->item);
	list_remove(&link->settle_item);
	list_remove(&link->blocked_item);
	vec_fini(&link->released);
	link_echo_free(&link->echo);
	link_options_free(&link->options);
	msg_client_unref(&link->client);
	conf_unref(&link->conf);
	plugin_unref(link->self);
	mem_free(&link);
}

void
link_close(struct link *link, uint8_t reason, enum session_leave how)
{
	int64_t entered;

	if (link->state == LINK_CLOSED) {
		return;
	}
	if (link_is_remote(link)) {
		link_remote_close(link);
	}
	link->state = LINK_CLOSED;
	timer_clear(link->table->worker, &link->timer);
	link_drop_asking(link);
	link_drop_publications(link, true);
	leave_session(link, how);
	link_forget(link->house, link->handle);
	if (link->events.closed != NULL) {
		entered = plugin_enter(link->self);
		link->events.closed(plugin_inst(link->self), link->handle, link->user, reason);
		plugin_leave(link->self, entered, "closed");
	}
	link_free(link);
}
