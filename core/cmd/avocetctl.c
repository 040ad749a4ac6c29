/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator asks. A configuration is checked by the broker beside it: there is one checker
 * only. Commands about plugins' own files come from the plugins.
 */
#include "cmd/avocetctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define BROKER "avocet"
#define DEFAULT_CONTROL "/run/avocet/control.sock"

static const char usage[] =
    "usage: avocetctl [OPTION ...] COMMAND [ARGUMENT ...]\n"
    "  -h, --help            print this\n"
    "  -V, --version         print the version\n"
    "  --plugin-dir DIR      where plugins are, instead of " AVOCET_PLUGIN_DIR "\n"
    "  --control SOCKET      the broker's control socket, instead of " DEFAULT_CONTROL "\n"
    "  --plugin NAME         the plugin whose command is meant\n"
    "  --json                print JSON\n"
    "  --stdin               read the password from standard input\n"
    "  --password-file FILE  read the password from a file\n"
    "  --                    what follows is for the command\n"
    "commands:\n"
    "  config check FILE\n"
    "      check a configuration and say what would run, as avocet -t -c FILE\n"
    "  status\n"
    "      what a running broker does, in numbers\n"
    "  clients\n"
    "      who is connected\n"
    "  sessions [show CLIENT-ID | end CLIENT-ID | end --idle TIME]\n"
    "      all sessions; one; end one, or those that nobody has used for so long\n"
    "  kick CLIENT-ID\n"
    "      send a client away; its session stays\n"
    "  plugins\n"
    "      the instances of plugins, and what they did wrong\n"
    "  metrics\n"
    "      the numbers that plugins show, as Prometheus reads them\n"
    "  commands\n"
    "      what running instances of plugins answer: INSTANCE COMMAND [ARGUMENT ...]\n"
    "  reload\n"
    "      load the configuration again: all of it, or nothing, and why\n"
    "  plugin list\n"
    "      the plugins that are installed\n"
    "  plugin info|check|doc FILE\n"
    "      what a plugin offers; whether it keeps the ABI's rules; its configuration\n";

static int
fail_usage(void)
{
	fputs(usage, stderr);
	return CMD_USAGE;
}

static int
print(const char *text)
{
	return fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? CMD_DONE : CMD_NOT_STARTED;
}

/* The program of that name in the folder of our own; false: nobody says where we are. */
static bool
find_beside(char path[PATH_MAX], const char *name)
{
	ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
	size_t size = strlen(name) + 1;
	char *slash;

	if (len <= 0 || len >= PATH_MAX) {
		return false;
	}
	path[len] = '\0';
	slash = strrchr(path, '/');
	if (slash == NULL || (size_t)(slash + 1 - path) + size > PATH_MAX) {
		return false;
	}
	memcpy(slash + 1, name, size);
	return access(path, X_OK) == 0;
}

/* Becomes the broker; returns only when it could not. */
static int
check_config(const char *file)
{
	char name[] = BROKER, check[] = "-t", config[] = "-c";
	char *argv[] = {name, check, config, (char *)(uintptr_t)file, NULL};
	char path[PATH_MAX];

	if (find_beside(path, BROKER)) {
		(void)execv(path, argv);
	} else {
		(void)execvp(BROKER, argv);
	}
	fprintf(stderr, "avocetctl: cannot run %s: %s\n", BROKER, strerror(errno));
	return CMD_NOT_STARTED;
}

/* An option of our own at argv[i]: how many words it takes; 0: it is none; -1: it is wrong. */
static int
take_option(struct cmd_line *line, int argc, char **argv, int i)
{
	const char *word = argv[i];
	const char **value = strcmp(word, "--plugin-dir") == 0      ? &line->plugin_dir
			     : strcmp(word, "--control") == 0       ? &line->control
			     : strcmp(word, "--plugin") == 0        ? &line->plugin
			     : strcmp(word, "--password-file") == 0 ? &line->password_file
								    : NULL;
	bool *flag = strcmp(word, "--json") == 0    ? &line->has_json
		     : strcmp(word, "--stdin") == 0 ? &line->has_stdin
						    : NULL;

	if (flag != NULL) {
		*flag = true;
		return 1;
	}
	if (value == NULL) {
		return 0;
	}
	if (i + 1 == argc) {
		return -1;
	}
	*value = argv[i + 1];
	return 2;
}

/* false: the usage is wrong. */
static bool
parse(struct cmd_line *line, int argc, char **argv)
{
	for (int i = 1; i < argc;) {
		int taken = take_option(line, argc, argv, i);

		if (taken < 0) {
			return false;
		}
		if (taken == 0 && strcmp(argv[i], "--") == 0) {
			while (++i < argc) {
				line->words[line->count++] = argv[i];
			}
			return true;
		}
		if (taken == 0) {
			line->words[line->count++] = argv[i];
			taken = 1;
		}
		i += taken;
	}
	return line->password_file == NULL || !line->has_stdin;
}

/* `store CHECK` is the broker's, `store CHECK FILE` a file's; a backup has one word more. */
static bool
is_of_running_store(const struct cmd_line *line)
{
	size_t own = line->count > 1 && strcmp(line->words[1], "backup") == 0 ? 3 : 2;

	return line->count >= 2 && strcmp(line->words[0], "store") == 0 && line->count <= own;
}

static int
run(const struct cmd_line *line)
{
	const char *first = line->count != 0 ? line->words[0] : "";

	if (line->count == 1 && (strcmp(first, "-h") == 0 || strcmp(first, "--help") == 0)) {
		int status = print(usage);

		cmd_tool_list(line);
		return fflush(stdout) == 0 ? status : CMD_NOT_STARTED;
	}
	if (line->count == 1 && (strcmp(first, "-V") == 0 || strcmp(first, "--version") == 0)) {
		return print("avocetctl " PACKAGE_VERSION "\n");
	}
	if (strcmp(first, "config") == 0) {
		return line->count == 3 && strcmp(line->words[1], "check") == 0
			   ? check_config(line->words[2])
			   : fail_usage();
	}
	if (strcmp(first, "plugin") == 0) {
		return cmd_plugin(line);
	}
	if (cmd_ask_knows(first) || is_of_running_store(line)) {
		return cmd_ask(line);
	}
	return first[0] == '\0' || first[0] == '-' ? fail_usage() : cmd_tool(line);
}

int
main(int argc, char **argv)
{
	struct cmd_line line = {.plugin_dir = AVOCET_PLUGIN_DIR, .control = DEFAULT_CONTROL};
	int status;

	line.words = mem_alloc(((size_t)argc + 1) * sizeof(*line.words));
	status = parse(&line, argc, argv) ? run(&line) : fail_usage();
	mem_free(&line.words);
	return status;
}
