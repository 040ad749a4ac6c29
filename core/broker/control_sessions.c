/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about clients and sessions: a page goes from worker to worker, a part of each at a time.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "broker/control_int.h"
#include "conf/value.h"

enum { PAGE_SLOTS = 1024, SECOND_MS = 1000 };

/* --- one session --- */

static const char *
protocol_of(const struct msg_client *client)
{
	return client->version == 5 ? "5.0" : client->version == 4 ? "3.1.1" : "3.1";
}

static void
put_session_json(struct control_page *page, const struct session_info *info, int64_t asleep_s)
{
	struct buf *out = &page->text;
	const struct msg_client *client = info->client;

	buf_append_text(out, page->rows != 0 ? ",\n{" : "{");
	broker_control_put_text(out, "client_id", msg_client_id_of(client));
	buf_append_byte(out, ',');
	broker_control_put_text(out, "user", msg_client_username_of(client));
	buf_append_byte(out, ',');
	broker_control_put_text(out, "address", msg_client_address_of(client));
	buf_append_byte(out, ',');
	broker_control_put_text(out, "listener", msg_client_listener_of(client));
	buf_printf(out,
	    ",\"protocol\":\"%s\",\"connected\":%s,\"asleep_s\":%lld,\"expiry_s\":%lld,"
	    "\"subscriptions\":%llu,\"queued\":%llu,\"queued_bytes\":%llu,\"inflight\":%llu,"
	    "\"will\":%s,\"worker\":%u}",
	    protocol_of(client), info->is_attached ? "true" : "false", (long long)asleep_s,
	    info->expiry_s == UINT32_MAX ? -1LL : (long long)info->expiry_s,
	    (unsigned long long)info->subscriptions, (unsigned long long)info->queued,
	    (unsigned long long)info->queued_bytes, (unsigned long long)info->inflight,
	    info->has_will ? "true" : "false", page->hand + 1);
}

static void
put_session_row(struct control_page *page, const struct session_info *info, int64_t asleep_s)
{
	struct buf *out = &page->text;
	const struct msg_client *client = info->client;
	char numbers[96];

	broker_control_put_cell(out, msg_client_id_of(client), 24);
	broker_control_put_cell(out, msg_client_username_of(client), 12);
	if (page->is_attached_only) {
		broker_control_put_cell(out, msg_client_address_of(client), 21);
	} else {
		(void)snprintf(numbers, sizeof(numbers), asleep_s < 0 ? "connected" : "%lld s ago",
		    (long long)asleep_s);
		broker_control_put_cell(out, bytes_of(numbers), 21);
	}
	broker_control_put_cell(out, msg_client_listener_of(client), 12);
	broker_control_put_cell(out, bytes_of(protocol_of(client)), 5);
	(void)snprintf(numbers, sizeof(numbers), "%5llu %7llu %8llu",
	    (unsigned long long)info->subscriptions, (unsigned long long)info->queued,
	    (unsigned long long)info->inflight);
	buf_append_text(out, numbers);
	buf_append_byte(out, '\n');
}

static void
put_session_long(struct control_page *page, const struct session_info *info, int64_t asleep_s)
{
	const struct msg_client *client = info->client;
	const struct {
		const char *name;
		struct bytes value;
	} texts[] = {{"client id", msg_client_id_of(client)},
	    {"user", msg_client_username_of(client)}, {"address", msg_client_address_of(client)},
	    {"listener", msg_client_listener_of(client)},
	    {"protocol", bytes_of(protocol_of(client))}};
	struct buf *out = &page->text;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		broker_control_put_cell(out, bytes_of(texts[i].name), 15);
		broker_control_put_cell(out, texts[i].value, 0);
		buf_append_byte(out, '\n');
	}
	if (info->is_attached) {
		buf_append_text(out, "connected       yes\n");
	} else {
		buf_printf(out, "connected       no, since %lld s\n", (long long)asleep_s);
	}
	if (info->expiry_s == UINT32_MAX) {
		buf_append_text(out, "expires         never\n");
	} else {
		buf_printf(out, "expires         %u s after it leaves\n", (unsigned)info->expiry_s);
	}
	buf_printf(out,
	    "subscriptions   %llu\nqueued          %llu messages, %llu bytes\n"
	    "in flight       %llu\nwill            %s\nworker          %u\n",
	    (unsigned long long)info->subscriptions, (unsigned long long)info->queued,
	    (unsigned long long)info->queued_bytes, (unsigned long long)info->inflight,
	    info->has_will ? "yes" : "no", page->hand + 1);
}

/* On the session's worker. True: it shall end. */
static bool
visit(const struct session_info *info, void *arg)
{
	struct control_page *page = arg;
	int64_t asleep_ms = info->left_ms < 0 ? -1 : context_current->mono_ms - info->left_ms;

	if ((page->is_attached_only && !info->is_attached) || asleep_ms < page->idle_ms) {
		return false;
	}
	page->hits++;
	if (page->ends) {
		return true;
	}
	if (!page->kicks && page->session->has_json) {
		put_session_json(page, info, asleep_ms < 0 ? -1 : asleep_ms / SECOND_MS);
	} else if (!page->kicks && page->is_long) {
		put_session_long(page, info, asleep_ms < 0 ? -1 : asleep_ms / SECOND_MS);
	} else if (!page->kicks) {
		put_session_row(page, info, asleep_ms < 0 ? -1 : asleep_ms / SECOND_MS);
	}
	page->rows++;
	return false;
}

void
broker_control_fill_page(struct control_page *page, const struct broker_hand *hand)
{
	page->has_more = false;
	if (page->kicks) {
		page->hits += conn_table_kick(hand->conns, bytes_of(page->id)) ||
			      link_table_kick(hand->links, bytes_of(page->id));
	} else if (page->id != NULL) {
		(void)session_table_tell(hand->sessions, bytes_of(page->id), visit, page);
	} else {
		page->has_more =
		    session_table_page(hand->sessions, &page->slot, PAGE_SLOTS, visit, page);
	}
}

/* --- going from worker to worker --- */

static void
finish_walk(struct control_session *session)
{
	const struct control_page *page = &session->page;

	if (page->id != NULL && page->hits == 0) {
		broker_control_fail(session, CONTROL_REFUSED,
		    page->kicks ? "no client \"%s\" is connected" : "there is no session \"%s\"",
		    page->id);
		return;
	}
	if (page->ends || page->kicks) {
		broker_control_print(session, session->has_json ? "{\"%s\":%llu}\n" : "%s: %llu\n",
		    page->kicks ? "kicked" : "ended", (unsigned long long)page->hits);
	} else if (session->has_json) {
		broker_control_out(session, bytes_of("]\n"));
	}
	broker_control_end(session, CONTROL_DONE);
}

static void
on_page(struct control_session *session)
{
	struct control_page *page = &session->page;
	bool is_found = page->id != NULL && page->hits != 0;

	if (!page->has_more) {
		page->hand++;
		page->slot = 0;
	}
	if (is_found || page->hand >= session->broker->house->count) {
		finish_walk(session);
	} else {
		broker_control_send_page(session, on_page);
	}
}

static void
walk(struct control_session *session)
{
	struct control_page *page = &session->page;
	bool lists = !page->ends && !page->kicks && !page->is_long;

	if (session->has_json && !page->ends && !page->kicks) {
		broker_control_out(session, bytes_of("["));
	} else if (lists) {
		broker_control_print(session, "%-24s %-12s %-21s %-12s %-5s %5s %7s %8s\n",
		    "CLIENT ID", "USER", page->is_attached_only ? "ADDRESS" : "LAST SEEN",
		    "LISTENER", "MQTT", "SUBS", "QUEUED", "INFLIGHT");
	}
	broker_control_send_page(session, on_page);
}

void
broker_control_run_clients(struct control_session *session, const char *const *args, size_t count)
{
	(void)args;
	(void)count;
	session->page.is_attached_only = true;
	session->page.idle_ms = -1;
	walk(session);
}

void
broker_control_run_sessions(struct control_session *session, const char *const *args, size_t count)
{
	(void)args;
	(void)count;
	session->page.idle_ms = -1;
	walk(session);
}

void
broker_control_run_show(struct control_session *session, const char *const *args, size_t count)
{
	(void)count;
	session->page.id = args[0];
	session->page.idle_ms = -1;
	session->page.is_long = true;
	walk(session);
}

/* "30d" -> ms; false: it is none. */
static bool
read_idle(const char *text, int64_t *ms_out)
{
	return conf_value_duration(bytes_of(text), ms_out) == NULL && *ms_out > 0;
}

void
broker_control_run_end(struct control_session *session, const char *const *args, size_t count)
{
	bool is_idle = strcmp(args[0], "--idle") == 0;

	session->page.ends = true;
	session->page.idle_ms = -1;
	if (!is_idle && count == 1) {
		session->page.id = args[0];
	} else if (!is_idle) {
		broker_control_fail(
		    session, CONTROL_USAGE, "one session at a time ends, or --idle TIME");
		return;
	} else if (count != 2 || !read_idle(args[1], &session->page.idle_ms)) {
		broker_control_fail(session, CONTROL_USAGE, "--idle takes a time such as 30d");
		return;
	}
	log_info("sessions are ended by the control socket");
	walk(session);
}

void
broker_control_run_kick(struct control_session *session, const char *const *args, size_t count)
{
	(void)count;
	session->page.id = args[0];
	session->page.kicks = true;
	walk(session);
}
