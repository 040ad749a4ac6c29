/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the control socket, and what they print: a plain table, or JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "broker/control_int.h"
#include "conf/value.h"

enum { DONE = 0, REFUSED = 1, USAGE = 2, PAGE_SLOTS = 1024, SECOND_MS = 1000 };

struct command {
	const char *words; /* "sessions show" */
	size_t min, max;   /* words behind them */
	const char *usage;
	void (*run)(struct control_session *session, const char *const *args, size_t count);
};

/* --- JSON and tables --- */

static void
put_text(struct buf *out, const char *name, struct bytes value)
{
	buf_printf(out, "\"%s\":\"", name);
	str_escape_json(out, value);
	buf_append_byte(out, '"');
}

/* A cell: what would break a line is escaped, and "" shows. */
static void
put_cell(struct buf *out, struct bytes value, int width)
{
	size_t before = out->len;

	if (value.len == 0) {
		buf_append_byte(out, '-');
	} else {
		str_escape(out, value, false);
	}
	for (size_t n = out->len - before; n < (size_t)width; n++) {
		buf_append_byte(out, ' ');
	}
	buf_append_byte(out, ' ');
}

/* --- sessions --- */

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
	put_text(out, "client_id", msg_client_id_of(client));
	buf_append_byte(out, ',');
	put_text(out, "user", msg_client_username_of(client));
	buf_append_byte(out, ',');
	put_text(out, "address", msg_client_address_of(client));
	buf_append_byte(out, ',');
	put_text(out, "listener", msg_client_listener_of(client));
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

	put_cell(out, msg_client_id_of(client), 24);
	put_cell(out, msg_client_username_of(client), 12);
	if (page->is_attached_only) {
		put_cell(out, msg_client_address_of(client), 21);
	} else {
		(void)snprintf(numbers, sizeof(numbers), asleep_s < 0 ? "connected" : "%lld s ago",
		    (long long)asleep_s);
		put_cell(out, bytes_of(numbers), 21);
	}
	put_cell(out, msg_client_listener_of(client), 12);
	put_cell(out, bytes_of(protocol_of(client)), 5);
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
		put_cell(out, bytes_of(texts[i].name), 15);
		put_cell(out, texts[i].value, 0);
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
		page->hits += conn_table_kick(hand->conns, bytes_of(page->id));
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
		broker_control_fail(session, REFUSED,
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
	broker_control_end(session, DONE);
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

static void
run_clients(struct control_session *session, const char *const *args, size_t count)
{
	(void)args;
	(void)count;
	session->page.is_attached_only = true;
	session->page.idle_ms = -1;
	walk(session);
}

static void
run_sessions(struct control_session *session, const char *const *args, size_t count)
{
	(void)args;
	(void)count;
	session->page.idle_ms = -1;
	walk(session);
}

static void
run_show(struct control_session *session, const char *const *args, size_t count)
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

static void
run_end(struct control_session *session, const char *const *args, size_t count)
{
	session->page.ends = true;
	session->page.idle_ms = -1;
	if (strcmp(args[0], "--idle") != 0) {
		session->page.id = args[0];
	} else if (count != 2 || !read_idle(args[1], &session->page.idle_ms)) {
		broker_control_fail(session, USAGE, "--idle takes a time such as 30d");
		return;
	}
	log_info("sessions are ended by the control socket");
	walk(session);
}

static void
run_kick(struct control_session *session, const char *const *args, size_t count)
{
	(void)count;
	session->page.id = args[0];
	session->page.kicks = true;
	walk(session);
}

/* --- the broker --- */

static void
run_status(struct control_session *session, const char *const *args, size_t count)
{
	struct broker_sys_sample sample;
	struct broker *broker = session->broker;

	(void)args;
	(void)count;
	broker_sys_sample(&broker->sys, &sample);
	if (session->has_json) {
		broker_control_print(session,
		    "{\"version\":\"" PACKAGE_VERSION "\",\"uptime_s\":%lld,\"workers\":%u,"
		    "\"clients\":%llu,\"sessions\":%llu,\"subscriptions\":%llu,\"retained\":%llu,"
		    "\"publishes_received\":%llu,\"publishes_sent\":%llu,"
		    "\"publishes_dropped\":%llu,\"stored_bytes\":%llu}\n",
		    (long long)sample.uptime_s, broker->house->count,
		    (unsigned long long)sample.clients_connected,
		    (unsigned long long)sample.clients_total,
		    (unsigned long long)sample.subscriptions, (unsigned long long)sample.retained,
		    (unsigned long long)sample.publishes_received,
		    (unsigned long long)sample.publishes_sent,
		    (unsigned long long)sample.publishes_dropped,
		    (unsigned long long)sample.store_bytes);
	} else {
		broker_control_print(session,
		    "version         " PACKAGE_VERSION
		    "\nuptime          %lld s\nworkers         %u\n"
		    "clients         %llu connected, %llu sessions\nsubscriptions   %llu\n"
		    "retained        %llu messages\n"
		    "publications    %llu received, %llu sent, %llu dropped\n"
		    "kept            %llu bytes of messages\n",
		    (long long)sample.uptime_s, broker->house->count,
		    (unsigned long long)sample.clients_connected,
		    (unsigned long long)sample.clients_total,
		    (unsigned long long)sample.subscriptions, (unsigned long long)sample.retained,
		    (unsigned long long)sample.publishes_received,
		    (unsigned long long)sample.publishes_sent,
		    (unsigned long long)sample.publishes_dropped,
		    (unsigned long long)sample.store_bytes);
	}
	broker_control_end(session, DONE);
}

static void
put_plugin(const struct plugin_report *report, void *arg)
{
	struct control_session *session = arg;
	struct buf text;

	buf_init(&text, SIZE_MAX);
	if (session->has_json) {
		buf_append_text(&text, session->page.rows != 0 ? ",\n{" : "{");
		put_text(&text, "name", bytes_of(report->name));
		buf_append_byte(&text, ',');
		put_text(&text, "module", bytes_of(report->module));
		buf_append_byte(&text, ',');
		put_text(&text, "version", bytes_of(report->version));
		buf_append_byte(&text, ',');
		put_text(&text, "state", bytes_of(report->state));
		buf_append_byte(&text, ',');
		put_text(&text, "why", bytes_of(report->why));
		buf_printf(&text, ",\"questions\":%llu,\"open\":%llu,\"faults\":{",
		    (unsigned long long)report->questions, (unsigned long long)report->open);
		for (size_t i = 0; i < report->fault_count; i++) {
			buf_printf(&text, "%s\"%s\":%llu", i != 0 ? "," : "",
			    report->faults[i].name, (unsigned long long)report->faults[i].count);
		}
		buf_append_text(&text, "}}");
	} else {
		put_cell(&text, bytes_of(report->name), 16);
		put_cell(&text, bytes_of(report->module), 16);
		put_cell(&text, bytes_of(report->version), 10);
		put_cell(&text, bytes_of(report->state), 9);
		buf_printf(&text, "%10llu %6llu ", (unsigned long long)report->questions,
		    (unsigned long long)report->open);
		for (size_t i = 0; i < report->fault_count; i++) {
			if (report->faults[i].count != 0) {
				buf_printf(&text, " %s: %llu", report->faults[i].name,
				    (unsigned long long)report->faults[i].count);
			}
		}
		if (report->why[0] != '\0') {
			buf_append_byte(&text, ' ');
			str_escape(&text, bytes_of(report->why), false);
		}
		buf_append_byte(&text, '\n');
	}
	session->page.rows++;
	broker_control_out(session, buf_bytes(&text));
	buf_fini(&text);
}

static void
run_plugins(struct control_session *session, const char *const *args, size_t count)
{
	(void)args;
	(void)count;
	if (session->has_json) {
		broker_control_out(session, bytes_of("["));
	} else {
		broker_control_print(session, "%-16s %-16s %-10s %-9s %10s %6s  %s\n", "INSTANCE",
		    "MODULE", "VERSION", "STATE", "QUESTIONS", "OPEN", "FAULTS");
	}
	plugin_house_report(session->broker->plugins.house, put_plugin, session);
	if (session->has_json) {
		broker_control_out(session, bytes_of("]\n"));
	}
	broker_control_end(session, DONE);
}

/* avocet_PLUGIN_NAME, whatever stands in the plugin's name. */
static void
put_metric_name(struct buf *out, const struct plugin_number *number)
{
	buf_append_text(out, "avocet_");
	for (const char *at = number->module; *at != '\0'; at++) {
		buf_append_byte(out, *at == '-' ? '_' : (uint8_t)*at);
	}
	buf_printf(out, "_%s", number->name);
}

static void
put_metric(const struct plugin_number *number, void *arg)
{
	struct control_session *session = arg;
	struct buf text, name;

	buf_init(&text, SIZE_MAX);
	buf_init(&name, SIZE_MAX);
	put_metric_name(&name, number);
	if (session->has_json) {
		buf_append_text(&text, session->page.rows != 0 ? ",\n{" : "{");
		put_text(&text, "name", buf_bytes(&name));
		buf_append_byte(&text, ',');
		put_text(&text, "instance", bytes_of(number->instance));
		buf_append_byte(&text, ',');
		put_text(
		    &text, "labels", bytes_of(number->labels[0] != '\0' ? number->labels + 1 : ""));
		buf_printf(&text, ",\"type\":\"%s\",\"value\":%lld}",
		    number->is_counter ? "counter" : "gauge", (long long)number->value);
	} else {
		buf_printf(&text, "# HELP %s ", buf_text(&name));
		str_escape(&text, bytes_of(number->help), false);
		buf_printf(&text, "\n# TYPE %s %s\n%s{instance=\"%s\"%s} %lld\n", buf_text(&name),
		    number->is_counter ? "counter" : "gauge", buf_text(&name), number->instance,
		    number->labels, (long long)number->value);
	}
	session->page.rows++;
	broker_control_out(session, buf_bytes(&text));
	buf_fini(&name);
	buf_fini(&text);
}

static void
run_metrics(struct control_session *session, const char *const *args, size_t count)
{
	(void)args;
	(void)count;
	if (session->has_json) {
		broker_control_out(session, bytes_of("["));
	}
	plugin_house_metrics(session->broker->plugins.house, put_metric, session);
	if (session->has_json) {
		broker_control_out(session, bytes_of("]\n"));
	}
	broker_control_end(session, DONE);
}

static void
run_reload(struct control_session *session, const char *const *args, size_t count)
{
	struct broker *broker = session->broker;

	(void)args;
	(void)count;
	broker->reload.why[0] = '\0';
	broker_reload_run(broker);
	if (broker->reload.why[0] != '\0') {
		broker_control_fail(session, REFUSED, "refused, everything stays as it was: %s",
		    broker->reload.why);
		return;
	}
	broker_control_out(
	    session, bytes_of(broker->reload.is_again ? "the configuration will be loaded again\n"
						      : "the configuration was loaded again\n"));
	broker_control_end(session, DONE);
}

/* --- those of plugins --- */

static void
on_print(void *arg, struct bytes text)
{
	broker_control_out(arg, text);
}

static void
on_end(void *arg, int status, const char *sentence)
{
	struct control_session *session = arg;

	session->errand = NULL;
	if (sentence[0] != '\0') {
		broker_control_fail(session, status, "%s", sentence);
	} else {
		broker_control_end(session, status);
	}
}

static const struct plugin_errand_ops errand_ops = {.print = on_print, .end = on_end};

static void
put_command(void *arg, const char *instance, const char *name, const char *usage, const char *help)
{
	struct control_session *session = arg;
	struct buf text;

	buf_init(&text, SIZE_MAX);
	if (session->has_json) {
		buf_append_text(&text, session->page.rows != 0 ? ",\n{" : "{");
		put_text(&text, "instance", bytes_of(instance));
		buf_append_byte(&text, ',');
		put_text(&text, "command", bytes_of(name));
		buf_append_byte(&text, ',');
		put_text(&text, "usage", bytes_of(usage));
		buf_append_byte(&text, ',');
		put_text(&text, "help", bytes_of(help));
		buf_append_byte(&text, '}');
	} else {
		buf_printf(
		    &text, "%s %s%s%s\n    ", instance, name, usage[0] != '\0' ? " " : "", usage);
		str_escape(&text, bytes_of(help), false);
		buf_append_byte(&text, '\n');
	}
	session->page.rows++;
	broker_control_out(session, buf_bytes(&text));
	buf_fini(&text);
}

static void
run_commands(struct control_session *session, const char *const *args, size_t count)
{
	(void)args;
	(void)count;
	if (session->has_json) {
		broker_control_out(session, bytes_of("["));
	}
	plugin_house_commands(session->broker->plugins.house, put_command, session);
	if (session->has_json) {
		broker_control_out(session, bytes_of("]\n"));
	}
	broker_control_end(session, DONE);
}

/* --- which --- */

static const struct command commands[] = {
    {"status", 0, 0, "", run_status},
    {"clients", 0, 0, "", run_clients},
    {"sessions show", 1, 1, "CLIENT-ID", run_show},
    {"sessions end", 1, 2, "CLIENT-ID | --idle TIME", run_end},
    {"sessions", 0, 0, "[show CLIENT-ID | end CLIENT-ID | end --idle TIME]", run_sessions},
    {"kick", 1, 1, "CLIENT-ID", run_kick},
    {"plugins", 0, 0, "", run_plugins},
    {"metrics", 0, 0, "", run_metrics},
    {"commands", 0, 0, "", run_commands},
    {"reload", 0, 0, "", run_reload},
};

void
broker_control_run(struct control_session *session)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *command = &commands[i];
		size_t used = str_match_words(command->words, session->words, session->count),
		       left = session->count - used;

		if (used == 0) {
			continue;
		}
		if (left < command->min || left > command->max) {
			broker_control_fail(session, USAGE, "usage: avocetctl %s%s%s",
			    command->words, command->usage[0] != '\0' ? " " : "", command->usage);
			return;
		}
		command->run(session, session->words + used, left);
		return;
	}
	if (plugin_house_command(session->broker->plugins.house, session->words, session->count,
		session->has_json, &errand_ops, session, &session->errand)) {
		return;
	}
	broker_control_fail(
	    session, USAGE, "the broker knows no command \"%s\"", session->words[0]);
}
