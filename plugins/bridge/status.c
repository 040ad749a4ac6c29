/* SPDX-License-Identifier: Apache-2.0 */
/* What operators are told of a bridge. Main's thread; the numbers come from the links' workers. */
#include <stdlib.h>
#include <string.h>

#include "bridge.h"

static void
print(struct bridge *instance, avocet_req_h req, const char *text)
{
	(void)instance->admin->print(instance->self, req, text, strlen(text));
}

static void
print_json_text(FILE *out, const char *text)
{
	(void)fputc('"', out);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\') {
			(void)fputc('\\', out);
		}
		(void)fprintf(out, (unsigned char)*text < ' ' ? "\\u%04x" : "%c",
		    (unsigned)(unsigned char)*text);
	}
	(void)fputc('"', out);
}

static void
print_line(struct bridge_line *line, FILE *out, bool as_json)
{
	char text[BRIDGE_MAX_TEXT];
	const char *state;
	bool is_up = atomic_load(&line->is_up);
	unsigned long long sent = atomic_load(&line->sent), received = atomic_load(&line->received);
	unsigned long long connects = atomic_load(&line->connects),
			   losses = atomic_load(&line->losses),
			   dropped = atomic_load(&line->dropped);

	(void)pthread_mutex_lock(&line->lock);
	memcpy(text, line->text, sizeof(text));
	(void)pthread_mutex_unlock(&line->lock);
	if (!as_json) {
		state = is_up ? line->drains ? "draining" : "connected" : "away";
		(void)fprintf(out, "%-4u %-12s %12llu %12llu %12llu %9llu %9llu  %s\n", line->at,
		    state, sent, received, dropped, connects, losses, is_up ? "" : text);
		return;
	}
	(void)fprintf(out,
	    "%s{\"connection\": %u, \"connected\": %s, \"sent\": %llu, \"received\": %llu, "
	    "\"dropped\": %llu, \"connects\": %llu, \"losses\": %llu, \"draining\": %s, "
	    "\"reason\": ",
	    line->at == 0 ? "" : ", ", line->at, is_up ? "true" : "false", sent, received, dropped,
	    connects, losses, line->drains ? "true" : "false");
	print_json_text(out, is_up ? "" : text);
	(void)fputc('}', out);
}

void
bridge_on_status(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	struct bridge *instance = inst;
	bool as_json = (in->flags & AVOCET_ADMIN_JSON) != 0;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)arg;
	if (out == NULL) {
		(void)instance->admin->end(instance->self, req, 1, "no memory");
		return;
	}
	(void)fputs(as_json ? "["
			    : "link state                sent     received      dropped  connects  "
			      "  losses  reason\n",
	    out);
	for (uint32_t i = 0; i < BRIDGE_MAX_CONNECTIONS; i++) {
		if (i < instance->config->connections || instance->lines[i].is_open) {
			print_line(&instance->lines[i], out, as_json);
		}
	}
	(void)fputs(as_json ? "]\n" : "", out);
	(void)fclose(out);
	print(instance, req, text);
	(void)instance->admin->end(instance->self, req, 0, NULL);
	free(text);
}
