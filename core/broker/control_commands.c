/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the control socket, and what they print: a plain table, or JSON. */
#include <stdio.h>

#include "base/str.h"
#include "broker/control_int.h"

struct command {
	const char *words; /* "sessions show" */
	size_t min, max;   /* words behind them */
	const char *usage;
	void (*run)(struct control_session *session, const char *const *args, size_t count);
};

/* --- JSON and tables --- */

void
broker_control_put_text(struct buf *out, const char *name, struct bytes value)
{
	buf_printf(out, "\"%s\":\"", name);
	str_escape_json(out, value);
	buf_append_byte(out, '"');
}

void
broker_control_put_cell(struct buf *out, struct bytes value, int width)
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

/* A list that is there at once. */
static void
begin_list(struct control_session *session)
{
	if (session->has_json) {
		broker_control_out(session, bytes_of("["));
	}
}

static void
end_list(struct control_session *session)
{
	if (session->has_json) {
		broker_control_out(session, bytes_of("]\n"));
	}
	broker_control_end(session, CONTROL_DONE);
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
	broker_control_end(session, CONTROL_DONE);
}

static void
put_plugin(const struct plugin_report *report, void *arg)
{
	struct control_session *session = arg;
	struct buf text;

	buf_init(&text, SIZE_MAX);
	if (session->has_json) {
		buf_append_text(&text, session->page.rows != 0 ? ",\n{" : "{");
		broker_control_put_text(&text, "name", bytes_of(report->name));
		buf_append_byte(&text, ',');
		broker_control_put_text(&text, "module", bytes_of(report->module));
		buf_append_byte(&text, ',');
		broker_control_put_text(&text, "version", bytes_of(report->version));
		buf_append_byte(&text, ',');
		broker_control_put_text(&text, "state", bytes_of(report->state));
		buf_append_byte(&text, ',');
		broker_control_put_text(&text, "why", bytes_of(report->why));
		buf_printf(&text, ",\"questions\":%llu,\"open\":%llu,\"faults\":{",
		    (unsigned long long)report->questions, (unsigned long long)report->open);
		for (size_t i = 0; i < report->fault_count; i++) {
			buf_printf(&text, "%s\"%s\":%llu", i != 0 ? "," : "",
			    report->faults[i].name, (unsigned long long)report->faults[i].count);
		}
		buf_append_text(&text, "}}");
	} else {
		broker_control_put_cell(&text, bytes_of(report->name), 16);
		broker_control_put_cell(&text, bytes_of(report->module), 16);
		broker_control_put_cell(&text, bytes_of(report->version), 10);
		broker_control_put_cell(&text, bytes_of(report->state), 9);
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
	end_list(session);
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
		broker_control_put_text(&text, "name", buf_bytes(&name));
		buf_append_byte(&text, ',');
		broker_control_put_text(&text, "instance", bytes_of(number->instance));
		buf_append_byte(&text, ',');
		broker_control_put_text(
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
	begin_list(session);
	plugin_house_metrics(session->broker->plugins.house, put_metric, session);
	end_list(session);
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
		broker_control_fail(session, CONTROL_REFUSED,
		    "refused, everything stays as it was: %s", broker->reload.why);
		return;
	}
	broker_control_out(
	    session, bytes_of(broker->reload.is_again ? "the configuration will be loaded again\n"
						      : "the configuration was loaded again\n"));
	broker_control_end(session, CONTROL_DONE);
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
		broker_control_put_text(&text, "instance", bytes_of(instance));
		buf_append_byte(&text, ',');
		broker_control_put_text(&text, "command", bytes_of(name));
		buf_append_byte(&text, ',');
		broker_control_put_text(&text, "usage", bytes_of(usage));
		buf_append_byte(&text, ',');
		broker_control_put_text(&text, "help", bytes_of(help));
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
	begin_list(session);
	plugin_house_commands(session->broker->plugins.house, put_command, session);
	end_list(session);
}

/* --- which --- */

static const struct command commands[] = {
    {"status", 0, 0, "", run_status},
    {"clients", 0, 0, "", broker_control_run_clients},
    {"sessions show", 1, 1, "CLIENT-ID", broker_control_run_show},
    {"sessions end", 1, 2, "CLIENT-ID | --idle TIME", broker_control_run_end},
    {"sessions", 0, 0, "[show CLIENT-ID | end CLIENT-ID | end --idle TIME]",
	broker_control_run_sessions},
    {"kick", 1, 1, "CLIENT-ID", broker_control_run_kick},
    {"plugins", 0, 0, "", run_plugins},
    {"metrics", 0, 0, "", run_metrics},
    {"commands", 0, 0, "", run_commands},
    {"reload", 0, 0, "", run_reload},
};

void
broker_control_run(struct control_session *session)
{
	const char *store = session->broker->options->store;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *command = &commands[i];
		size_t used = str_match_words(command->words, session->words, session->count),
		       left = session->count - used;

		if (used == 0) {
			continue;
		}
		if (left < command->min || left > command->max) {
			broker_control_fail(session, CONTROL_USAGE, "usage: avocetctl %s%s%s",
			    command->words, command->usage[0] != '\0' ? " " : "", command->usage);
			return;
		}
		command->run(session, session->words + used, left);
		return;
	}
	if (session->count != 0 && store != NULL && strcmp(session->words[0], "store") == 0) {
		session->words[0] = store; /* whatever it is called */
	}
	if (plugin_house_command(session->broker->plugins.house, session->words, session->count,
		session->has_json, &errand_ops, session, &session->errand)) {
		return;
	}
	broker_control_fail(
	    session, CONTROL_USAGE, "the broker knows no command \"%s\"", session->words[0]);
}
