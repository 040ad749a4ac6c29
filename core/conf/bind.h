/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes to structs, by a schema. All that is wrong is told, none of it stops the rest: unknown keys
 * (with the nearest known one), wrong types, values out of range, what is required and missing.
 */
#ifndef CONF_BIND_H
#define CONF_BIND_H

#include "conf/schema.h"
#include "conf/yaml.h"

/* Where in the tree one is, so that errors can name it. */
struct conf_path {
	char text[256]; /* "listeners[0].tls"; cut when longer */
	size_t len;
};

/* The defaults of a schema, made once. */
struct conf_defaults {
	const struct conf_schema *schema;
	const void *target;
};

struct conf_bind {
	struct arena *arena;
	struct conf_errors *errors;
	struct conf_path path;
	VEC(struct conf_defaults) defaults;
	bool over;      /* what is filled lies over another: nothing is required */
	bool unchecked; /* what it lies over is not known: no check function is asked */
};

void conf_bind_init(struct conf_bind *bind, struct arena *arena, struct conf_errors *errors);
void conf_bind_fini(struct conf_bind *bind);

/* What a schema's check function is given. */
struct conf_check {
	struct conf_bind *bind;
	const struct conf_node *node; /* NULL: nothing was written, all is default */
	struct conf_place place;
};

/*
 * Fills the struct at target: defaults, then what the node says. node may be NULL. A key whose
 * value is null keeps its default, but a string's is NULL then. The memory that strings and lists
 * need comes from the arena and lives as long as it. False when there were errors; then target is
 * not to be used.
 */
bool conf_bind_struct(struct conf_bind *bind, const struct conf_schema *schema,
    const struct conf_node *node, struct conf_place place, void *target);

/* The same without the defaults: members whose keys are not there keep what they have. */
bool conf_bind_over(struct conf_bind *bind, const struct conf_schema *schema,
    const struct conf_node *node, struct conf_place place, void *target);

/* Is the default of an option, which is not a struct, YAML that fits it? For schemas that are not
 * our own: a default that does not fit ends the program where it is used. */
bool conf_default_fits(const struct conf_option *option);

/* For a check function: an error at the key's value (or at the struct as a whole when the key was
 * not written or is NULL). */
void conf_check_fail(struct conf_check *check, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
