/* SPDX-License-Identifier: Apache-2.0 */
/* Plugins as files: what they are, and the commands that they bring. */
#include <avocet/avocet_plugin.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "cmd/avocetctl.h"
#include "plugin/host.h"
#include "plugin/load.h"

enum { MAX_WHY = 512 };

/* The modules of the plugin folder, by name, and what was said of those that cannot be used. */
struct shelf {
	VEC(struct plugin_module *) modules;
	struct buf refusals;
};

/* --- the folder --- */

static int
is_module(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 3 && entry->d_name[0] != '.' && strcmp(entry->d_name + len - 3, ".so") == 0;
}

static void
open_shelf(struct shelf *shelf, const struct cmd_line *line)
{
	struct dirent **names;
	int count = scandir(line->plugin_dir, &names, is_module, alphasort);

	*shelf = (struct shelf){0};
	buf_init(&shelf->refusals, SIZE_MAX);
	for (int i = 0; i < count; i++) {
		char why[MAX_WHY];
		struct plugin_module *module;

		names[i]->d_name[strlen(names[i]->d_name) - 3] = '\0';
		module = plugin_module_open(line->plugin_dir, names[i]->d_name, why, sizeof(why));
		if (module != NULL) {
			vec_push(&shelf->modules, module);
		} else {
			buf_printf(&shelf->refusals, "avocetctl: %s\n", why);
		}
		free(names[i]);
	}
	if (count >= 0) {
		free(names);
	}
}

static void
close_shelf(struct shelf *shelf)
{
	for (size_t i = 0; i < shelf->modules.count; i++) {
		plugin_module_free(&shelf->modules.items[i]);
	}
	vec_fini(&shelf->modules);
	buf_fini(&shelf->refusals);
}

/* --- commands --- */

static avocet_tool_command
command_at(const avocet_tool *tool, size_t i)
{
	avocet_tool_command command = {0};
	size_t size = tool->command_size < sizeof(command) ? tool->command_size : sizeof(command);

	memcpy(&command, (const char *)tool->commands + i * tool->command_size, size);
	return command;
}

struct hit {
	const struct plugin_module *module;
	avocet_tool_command command;
	size_t used;
};

/* How many plugins bring the command; the first is in hit. */
static size_t
find(const struct shelf *shelf, const struct cmd_line *line, struct hit *hit)
{
	size_t count = 0;

	for (size_t m = 0; m < shelf->modules.count; m++) {
		const struct plugin_module *module = shelf->modules.items[m];
		const avocet_tool *tool = plugin_module_service(module, AVOCET_SERVICE_TOOL);

		if (line->plugin != NULL && strcmp(line->plugin, module->descriptor->name) != 0) {
			continue;
		}
		for (size_t i = 0; tool != NULL && i < tool->n_commands; i++) {
			avocet_tool_command command = command_at(tool, i);
			size_t used = command.name != NULL
					  ? str_match_words(command.name, line->words, line->count)
					  : 0;

			if (used == 0 || command.run == NULL) {
				continue;
			}
			if (count++ == 0) {
				*hit = (struct hit){module, command, used};
			} else if (count == 2) {
				fprintf(stderr,
				    "avocetctl: the plugins %s and %s both bring \"%s\": choose "
				    "by --plugin NAME\n",
				    hit->module->descriptor->name, module->descriptor->name,
				    command.name);
			}
			break;
		}
	}
	return count;
}

static void
print_out(void *arg, const char *text, size_t n)
{
	(void)arg;
	(void)fwrite(text, 1, n, stdout);
	(void)putchar('\n');
}

static void
print_err(void *arg, const char *text, size_t n)
{
	(void)arg;
	fprintf(stderr, "avocetctl: %.*s\n", (int)n, text);
}

static int
run(const struct hit *hit, const struct cmd_line *line)
{
	size_t count = line->count - hit->used;
	avocet_str *args = mem_alloc((count + 1) * sizeof(*args));
	avocet_tool_in in = {
	    AVOCET_SIZED(avocet_tool_in),
	    .flags = line->has_json ? AVOCET_TOOL_JSON : 0,
	    .args = args,
	    .n_args = count,
	    .out = print_out,
	    .err = print_err,
	    .password = cmd_password,
	    .arg = (void *)(uintptr_t)line,
	};
	int status;

	for (size_t i = 0; i < count; i++) {
		args[i] = avocet_str_of(line->words[hit->used + i]);
	}
	status = hit->command.run(&in);
	mem_free(&args);
	if (status == CMD_USAGE) {
		fprintf(stderr, "usage: avocetctl %s %s\n", hit->command.name,
		    hit->command.usage != NULL ? hit->command.usage : "");
	}
	if (fflush(stdout) != 0 && status == CMD_DONE) {
		return CMD_NOT_STARTED;
	}
	return status >= CMD_DONE && status <= CMD_NOT_STARTED ? status : CMD_NOT_STARTED;
}

int
cmd_tool(const struct cmd_line *line)
{
	struct shelf shelf;
	struct hit hit = {0};
	int status = CMD_USAGE;
	size_t count;

	open_shelf(&shelf, line);
	count = find(&shelf, line, &hit);
	if (count == 1) {
		status = run(&hit, line);
	} else if (count == 0 && cmd_ask_has_broker(line)) {
		/* It may be one of a running instance. */
		status = cmd_ask(line);
	} else if (count == 0) {
		fprintf(stderr,
		    "%savocetctl: there is no command \"%s\", and no plugin in %s brings it; "
		    "avocetctl --help lists what there is\n",
		    buf_text(&shelf.refusals), line->words[0], line->plugin_dir);
	}
	close_shelf(&shelf);
	return status;
}

void
cmd_tool_list(const struct cmd_line *line)
{
	struct shelf shelf;

	open_shelf(&shelf, line);
	for (size_t m = 0; m < shelf.modules.count; m++) {
		const struct plugin_module *module = shelf.modules.items[m];
		const avocet_tool *tool = plugin_module_service(module, AVOCET_SERVICE_TOOL);

		for (size_t i = 0; tool != NULL && i < tool->n_commands; i++) {
			avocet_tool_command command = command_at(tool, i);

			if (command.name != NULL) {
				printf("  %s %s\n      %s (%s)\n", command.name,
				    command.usage != NULL ? command.usage : "",
				    command.help != NULL ? command.help : "",
				    module->descriptor->name);
			}
		}
	}
	close_shelf(&shelf);
}

/* --- plugin list|info|check|doc --- */

static int
list(const struct cmd_line *line)
{
	struct shelf shelf;
	struct buf out;

	open_shelf(&shelf, line);
	buf_init(&out, SIZE_MAX);
	for (size_t i = 0; i < shelf.modules.count; i++) {
		const avocet_plugin *plugin = shelf.modules.items[i]->descriptor;

		if (line->has_json) {
			buf_append_text(&out, i == 0 ? "[" : ",\n");
			plugin_module_describe_json(shelf.modules.items[i], &out);
		} else {
			buf_printf(&out, "%-16s %-10s %s\n", plugin->name, plugin->version,
			    plugin->summary != NULL ? plugin->summary : "");
		}
	}
	if (line->has_json) {
		buf_append_text(&out, shelf.modules.count == 0 ? "[]\n" : "]\n");
	}
	fwrite(out.data, 1, out.len, stdout);
	fputs(buf_text(&shelf.refusals), stderr);
	buf_fini(&out);
	close_shelf(&shelf);
	return CMD_DONE;
}

static int
tell(const struct cmd_line *line, const char *verb)
{
	const char *name = line->words[2], *end = strrchr(name, '.');
	char why[MAX_WHY];
	struct plugin_module *module;
	int status = CMD_DONE;
	struct buf out;

	/* A name is looked for among those installed, a file is taken as it is. */
	buf_init(&out, SIZE_MAX);
	if (strchr(name, '/') == NULL && end != NULL && strcmp(end, ".so") == 0) {
		buf_append_text(&out, "./");
	}
	buf_append_text(&out, name);
	module = plugin_module_open(line->plugin_dir, buf_text(&out), why, sizeof(why));
	buf_clear(&out);
	if (module == NULL) {
		fprintf(stderr, "avocetctl: %s\n", why);
		buf_fini(&out);
		return CMD_REFUSED;
	}
	if (strcmp(verb, "check") == 0) {
		size_t findings = plugin_module_check(module, &out);

		findings += plugin_module_try(module, &out);
		if (findings != 0) {
			status = CMD_REFUSED;
		} else {
			buf_printf(&out, "%s keeps the rules of the plugin ABI\n", module->path);
		}
	} else if (strcmp(verb, "doc") == 0) {
		plugin_module_manual(module, &out);
	} else if (line->has_json) {
		plugin_module_describe_json(module, &out);
		buf_append_byte(&out, '\n');
	} else {
		plugin_module_describe(module, &out);
	}
	fwrite(out.data, 1, out.len, stdout);
	buf_fini(&out);
	plugin_module_free(&module);
	return fflush(stdout) == 0 ? status : CMD_NOT_STARTED;
}

int
cmd_plugin(const struct cmd_line *line)
{
	const char *verb = line->count > 1 ? line->words[1] : "";

	if (line->count == 2 && strcmp(verb, "list") == 0) {
		return list(line);
	}
	if (line->count == 3 &&
	    (strcmp(verb, "info") == 0 || strcmp(verb, "check") == 0 || strcmp(verb, "doc") == 0)) {
		return tell(line, verb);
	}
	fputs("usage: avocetctl plugin list | info FILE | check FILE | doc FILE\n", stderr);
	return CMD_USAGE;
}
