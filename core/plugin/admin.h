/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that running instances answer. Main's thread. */
#ifndef PLUGIN_ADMIN_H
#define PLUGIN_ADMIN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

struct plugin_house;
struct plugin_errand; /* a command that is under way */

struct plugin_errand_ops {
	void (*print)(void *arg, struct bytes text);
	/* Once, and the errand is gone then. */
	void (*end)(void *arg, int status, const char *sentence);
};

/*
 * Runs `INSTANCE COMMAND ...`. False: there is no such command. The answer may come within the
 * call, and then *errand_out is NULL; else it is open until end() is called or plugin_errand_leave.
 */
bool plugin_house_command(struct plugin_house *house, const char *const *words, size_t count,
    bool is_json, const struct plugin_errand_ops *ops, void *arg,
    struct plugin_errand **errand_out);
/* Nobody waits any more. */
void plugin_errand_leave(struct plugin_errand **errand);

/* Each command of each instance. */
void plugin_house_commands(struct plugin_house *house,
    void (*fn)(
	void *arg, const char *instance, const char *name, const char *usage, const char *help),
    void *arg);

#endif
