/* SPDX-License-Identifier: Apache-2.0 */
/* avocetctl acl explain FILE ... and acl check FILE: the same reader and the same judgement as the
 * plugin's, without a broker. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl.h"
#include "read.h"

enum { DONE = 0, REFUSED = 1, USAGE = 2, MAX_PATH = 4096, MAX_LINE = 8192 };

static void __attribute__((format(printf, 3, 4)))
print(const avocet_tool_in *in, bool is_error, const char *format, ...)
{
	char text[MAX_PATH + MAX_LINE];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(is_error ? in->err : in->out)(
	    in->arg, text, n > 0 && (size_t)n < sizeof(text) ? (size_t)n : strlen(text));
}

static bool
is_arg(avocet_str arg, const char *word)
{
	return arg.n == strlen(word) && memcmp(arg.p, word, arg.n) == 0;
}

/* What the command asks about. */
struct wish {
	char path[MAX_PATH];
	struct acl_who who;
	unsigned action;
	avocet_str verb;
	struct acl_text topic;
};

static bool
read_words(const avocet_tool_in *in, struct wish *wish)
{
	size_t words = 0;

	for (size_t i = 0; i < in->n_args; i++) {
		avocet_str arg = in->args[i];
		struct acl_text *value = is_arg(arg, "--user")        ? &wish->who.user
					 : is_arg(arg, "--client-id") ? &wish->who.client_id
					 : is_arg(arg, "--address")   ? &wish->who.address
								      : NULL;

		if (value != NULL) {
			if (++i == in->n_args) {
				return false;
			}
			*value = (struct acl_text){in->args[i].p, in->args[i].n};
		} else if (words == 0 && arg.n < sizeof(wish->path)) {
			(void)snprintf(wish->path, sizeof(wish->path), "%.*s", (int)arg.n, arg.p);
			words++;
		} else if (words == 1) {
			wish->action = is_arg(arg, "publish")     ? ACL_PUBLISH
				       : is_arg(arg, "subscribe") ? ACL_SUBSCRIBE
				       : is_arg(arg, "receive")   ? ACL_RECEIVE
								  : 0;
			wish->verb = arg;
			words++;
		} else if (words == 2) {
			wish->topic = (struct acl_text){arg.p, arg.n};
			words++;
		} else {
			return false;
		}
	}
	return words == 3 && wish->action != 0;
}

/* A line of the file, without blanks around it. */
static struct acl_text
line_of(const char *text, unsigned line)
{
	struct acl_text found;

	while (line > 1 && (text = strchr(text, '\n')) != NULL) {
		text++;
		line--;
	}
	if (text == NULL) {
		return (struct acl_text){"", 0};
	}
	text += strspn(text, " \t");
	found = (struct acl_text){text, strcspn(text, "\r\n")};
	if (found.n > MAX_LINE / 2) {
		found.n = MAX_LINE / 2;
	}
	return found;
}

static void
tell(const avocet_tool_in *in, const struct wish *wish, const char *text,
    const struct acl_ruling *ruling)
{
	struct acl_text line = line_of(text, ruling->line);
	const char *verdict = ruling->is_decided && !ruling->is_deny ? "allowed" : "denied";

	if ((in->flags & AVOCET_TOOL_JSON) != 0) {
		print(in, false, "{\"verdict\":\"%s\",\"line\":%u,\"rule\":%s}", verdict,
		    ruling->line, ruling->is_decided ? "true" : "false");
	} else if (ruling->line != 0) {
		print(in, false, "%s by %s:%u: %.*s", verdict, wish->path, ruling->line,
		    (int)line.n, line.p);
	} else if (ruling->is_decided) {
		print(in, false,
		    "%s: an aclfile lets everybody subscribe, and judges what is received",
		    verdict);
	} else {
		print(in, false, "%s: no rule of %s applies", verdict, wish->path);
	}
}

static int32_t
explain(const avocet_tool_in *in)
{
	struct wish wish = {0};
	char why[MAX_PATH + 512] = "";
	struct acl_rules *rules = NULL;
	struct acl_ruling ruling;
	const char *wrong;
	size_t len = 0;
	char *text;

	if (!read_words(in, &wish)) {
		return USAGE;
	}
	wrong = acl_rules_check_topic(wish.topic);
	if (wrong == NULL && wish.action != ACL_SUBSCRIBE &&
	    (memchr(wish.topic.p, '+', wish.topic.n) != NULL ||
		memchr(wish.topic.p, '#', wish.topic.n) != NULL)) {
		wrong = "a topic to publish or receive has no wildcard";
	}
	if (wrong != NULL) {
		print(in, true, "%s", wrong);
		return REFUSED;
	}
	text = acl_read_text(wish.path, &len, why, sizeof(why));
	if (text != NULL) {
		rules = acl_parse(wish.path, text, len, ACL_AUTO, why, sizeof(why));
	}
	if (rules == NULL) {
		print(in, true, "%s", why);
		free(text);
		return REFUSED;
	}
	ruling = acl_rules_ask(rules, &wish.who, wish.action, wish.topic);
	tell(in, &wish, text, &ruling);
	acl_rules_free(rules);
	free(text);
	return ruling.is_decided && !ruling.is_deny ? DONE : REFUSED;
}

static int32_t
check(const avocet_tool_in *in)
{
	char why[MAX_PATH + 512] = "", path[MAX_PATH];
	struct acl_rules *rules;

	if (in->n_args != 1 || in->args[0].n >= sizeof(path)) {
		return USAGE;
	}
	(void)snprintf(path, sizeof(path), "%.*s", (int)in->args[0].n, in->args[0].p);
	rules = acl_read(path, ACL_AUTO, why, sizeof(why));
	if (rules == NULL) {
		print(in, true, "%s", why);
		return REFUSED;
	}
	if ((in->flags & AVOCET_TOOL_JSON) != 0) {
		print(in, false, "{\"rules\":%zu,\"judges_receive\":%s}", acl_rules_count(rules),
		    acl_rules_judge_receive(rules) ? "true" : "false");
	} else {
		print(in, false, "%s: %zu rules%s", path, acl_rules_count(rules),
		    acl_rules_judge_receive(rules) ? "; each delivery is judged" : "");
	}
	acl_rules_free(rules);
	return DONE;
}

static const avocet_tool_command commands[] = {
    {"acl explain", "FILE [--user U] [--client-id C] [--address A] publish|subscribe|receive TOPIC",
	"say which rule decides, and whether it is allowed (exit status 0) or denied (1)", explain},
    {"acl check", "FILE", "read a file of rules, and say what is wrong with it", check},
};

const avocet_tool acl_tool = {
    AVOCET_SIZED(avocet_tool),
    .n_commands = sizeof(commands) / sizeof(*commands),
    .commands = commands,
    .command_size = sizeof(*commands),
};
