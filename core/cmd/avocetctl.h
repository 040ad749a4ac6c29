/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of avocetctl share. One thread; views and texts are of argv. */
#ifndef CMD_AVOCETCTL_H
#define CMD_AVOCETCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What avocetctl exits with. */
enum { CMD_DONE = 0, CMD_REFUSED = 1, CMD_USAGE = 2, CMD_NOT_STARTED = 3 };

/* The command line: options that avocetctl itself takes, wherever they stand, and the words. */
struct cmd_line {
	const char *plugin_dir; /* never NULL */
	const char *control;    /* the broker's socket; never NULL */
	const char *plugin;     /* of several plugins that bring the command, this one; or NULL */
	const char *password_file; /* NULL: none */
	bool has_stdin;
	bool has_json;
	const char **words; /* what is left */
	size_t count;
};

/* A command for the broker that runs; is it one? */
bool cmd_ask_knows(const char *word);
int cmd_ask(const struct cmd_line *line);
/* Is there a socket to ask at? */
bool cmd_ask_has_broker(const struct cmd_line *line);

/* plugin list | info FILE | check FILE | doc FILE */
int cmd_plugin(const struct cmd_line *line);

/* A command that a plugin brings. */
int cmd_tool(const struct cmd_line *line);
/* Prints a line for each of those, of all plugins. */
void cmd_tool_list(const struct cmd_line *line);

/* As `password` of avocet_tool_in; arg is the command line. */
int32_t cmd_password(void *arg, const char *prompt, uint32_t confirm, char *buffer, size_t size);

#endif
