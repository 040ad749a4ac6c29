/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shared object as a module: opened, and judged before any of its code runs. Every refusal says
 * what was found, what is needed, and which side is older. A module that was opened stays mapped
 * for the life of the process: nothing of it may dangle. Main's thread.
 */
#ifndef PLUGIN_LOAD_H
#define PLUGIN_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct avocet_plugin;
struct conf;
struct conf_node;
struct conf_place;

struct plugin_module {
	const struct avocet_plugin *descriptor;
	char *path;
	void *handle;
};

/*
 * Opens the module that a configuration calls by `name`: NAME.so below `folder`, or a path that
 * contains a slash. NULL with a sentence. The caller frees it, which does not unmap it.
 */
struct plugin_module *plugin_module_open(
    const char *folder, const char *name, char *why, size_t why_size);
void plugin_module_free(struct plugin_module **module);

/* The vtable of a service that it offers, or NULL. */
const void *plugin_module_service(const struct plugin_module *module, const char *id);

/* Does it need this host interface? */
bool plugin_module_needs(const struct plugin_module *module, const char *id);

/* Appends what it is and offers, in lines of text. */
void plugin_module_describe(const struct plugin_module *module, struct buf *out);
void plugin_module_describe_json(const struct plugin_module *module, struct buf *out);
/* Appends the manual of its configuration. */
void plugin_module_manual(const struct plugin_module *module, struct buf *out);
/* Looks for what the ABI's rules forbid but loading forgives; appends a line for each finding and
 * says how many there are. */
size_t plugin_module_check(const struct plugin_module *module, struct buf *out);

/* --- its configuration --- */

struct plugin_config;

/*
 * Checks a node (NULL: nothing was written) by the module's schema, and keeps what it says; what is
 * wrong is among the errors of conf, and then it is NULL. about: where the instance stands, for
 * what is wrong when nothing was written; path: where its configuration would. The memory is
 * conf's; who keeps the result longer than conf takes a reference.
 */
struct plugin_config *plugin_config_bind(struct conf *conf, const struct plugin_module *module,
    const struct conf_node *node, const struct conf_place *about, const char *path,
    const char *data_dir);
struct plugin_config *plugin_config_ref(struct plugin_config *config);
void plugin_config_unref(struct plugin_config **config);
/* May an instance go from one to the other without a restart? NULL: yes; else the key that may not
 * change. */
const char *plugin_config_obstacle(
    const struct plugin_config *old, const struct plugin_config *next);

#endif
