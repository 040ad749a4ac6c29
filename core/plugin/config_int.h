/* SPDX-License-Identifier: Apache-2.0 */
/* What binding and reading a plugin's configuration share. */
#ifndef PLUGIN_CONFIG_INT_H
#define PLUGIN_CONFIG_INT_H

#include "base/arena.h"
#include "conf/conf.h"
#include "plugin/plugin_int.h"

/* A schema with the items that it was made of, in the same order. */
struct plugin_shape {
	struct conf_schema schema; /* first */
	const avocet_conf_item *items;
	size_t item_size;
	struct plugin_shape **children; /* by item; NULL: none */
};

struct avocet_conf {
	struct ref ref;
	struct arena arena; /* holds all that follows */
	const struct plugin_shape *shape;
	const void *target;
	const struct conf_node *node; /* NULL: nothing was written */
	const char *data_dir;
	const char *place; /* of the whole */
};

struct plugin_config {
	avocet_conf conf; /* the same thing, as plugins call it */
};

/* Items come with a stride, and an older plugin's may be shorter: what is not there is zero. */
avocet_conf_item plugin_config_item(const avocet_conf_item *items, size_t item_size, size_t i);
/* "a|b|c": each with its index; ends with NULL. */
struct conf_word *plugin_config_words(struct arena *arena, const char *constraint);
/* "file:line:column" */
const char *plugin_config_place(struct arena *arena, const struct conf_place *place);

#endif
