/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of an instance: what a module declares (avocet_conf_item) becomes a schema of
 * the room conf, so that errors, places and nearest keys are the same as everywhere. Each item gets
 * a member in a struct that is laid out here.
 *
 * What was bound outlives the snapshot that it came from (the plugin may look at it until it is
 * retired), so the nodes are copied first.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/conf.h"
#include "conf/value.h"
#include "plugin/config_int.h"

enum { MEMBER_ALIGN = 16, MAX_DEPTH = 16 };

const avocet_conf *
plugin_config_abi(const struct plugin_config *config)
{
	return &config->conf;
}

struct plugin_config *
plugin_config_ref(struct plugin_config *config)
{
	ref_get(&config->conf.ref);
	return config;
}

void
plugin_config_unref(struct plugin_config **config)
{
	if (*config != NULL && ref_put(&(*config)->conf.ref)) {
		arena_fini(&(*config)->conf.arena);
		mem_free(config);
	}
	*config = NULL;
}

/* --- items to a schema --- */

avocet_conf_item
plugin_config_item(const avocet_conf_item *items, size_t item_size, size_t i)
{
	avocet_conf_item item = {0};

	memcpy(&item, (const char *)items + i * item_size,
	    item_size < sizeof(item) ? item_size : sizeof(item));
	return item;
}

static enum conf_type
type_of(const avocet_conf_item *item)
{
	switch (item->type) {
	case AVOCET_CONF_INT:
		return CONF_INT;
	case AVOCET_CONF_BOOL:
		return CONF_BOOL;
	case AVOCET_CONF_DURATION:
		return CONF_DURATION;
	case AVOCET_CONF_SIZE:
		return CONF_SIZE;
	case AVOCET_CONF_ENUM:
		return CONF_ENUM;
	case AVOCET_CONF_MAP:
		return CONF_STRUCT;
	case AVOCET_CONF_LIST:
		return item->n_children != 0 ? CONF_LIST : CONF_STRINGS;
	case AVOCET_CONF_ANY:
		return CONF_NODE;
	default:
		return CONF_STRING;
	}
}

/* "a|b|c": each with its index. */
struct conf_word *
plugin_config_words(struct arena *arena, const char *constraint)
{
	struct conf_word *words;
	size_t count = 1, i = 0;

	for (const char *at = constraint; *at != '\0'; at++) {
		count += *at == '|';
	}
	words = arena_alloc(arena, (count + 1) * sizeof(*words));
	while (i < count) {
		size_t len = strcspn(constraint, "|");

		words[i].word = arena_text(arena, bytes_make(constraint, len));
		words[i].value = (int64_t)i;
		constraint += len + (constraint[len] == '|');
		i++;
	}
	return words;
}

static bool
read_bound(enum conf_type type, struct bytes text, int64_t *out)
{
	const char *wrong = type == CONF_DURATION ? conf_value_duration(text, out)
			    : type == CONF_SIZE   ? conf_value_size(text, out)
						  : conf_value_int(text, out);

	return wrong == NULL;
}

/* "1..65535"; either end may be left out. False: that is not how one is written. */
static bool
read_range(enum conf_type type, const char *constraint, struct conf_option *option)
{
	const char *dots = strstr(constraint, "..");
	struct bytes low, high;

	if (dots == NULL) {
		return false;
	}
	low = bytes_make(constraint, (size_t)(dots - constraint));
	high = bytes_of(dots + 2);
	return (low.len == 0 || read_bound(type, low, &option->min)) &&
	       (high.len == 0 || read_bound(type, high, &option->max));
}

static struct plugin_shape *make_shape(
    struct arena *arena, const avocet_conf_item *items, size_t count, size_t item_size);

static size_t
member_size(const struct conf_option *option)
{
	return option->type == CONF_STRUCT ? option->schema->size : (size_t)MEMBER_ALIGN;
}

static void
fill_option(struct arena *arena, const avocet_conf_item *item, size_t item_size,
    struct conf_option *option, struct plugin_shape **child)
{
	option->name = item->name;
	option->type = type_of(item);
	/* "" is no YAML; who writes it means an empty text. */
	option->fallback = item->def != NULL && item->def[0] == '\0' ? "\"\"" : item->def;
	option->help = item->help;
	option->required = (item->flags & AVOCET_CONF_REQUIRED) != 0;
	option->secret = item->type == AVOCET_CONF_SECRET;
	if (item->n_children != 0) {
		*child = make_shape(arena, item->children, item->n_children, item_size);
		option->schema = &(*child)->schema;
	}
	if (item->constraint != NULL && option->type == CONF_ENUM) {
		option->words = plugin_config_words(arena, item->constraint);
	} else if (item->constraint != NULL) {
		(void)read_range(option->type, item->constraint, option);
	}
}

static struct plugin_shape *
make_shape(struct arena *arena, const avocet_conf_item *items, size_t count, size_t item_size)
{
	struct plugin_shape *shape = arena_alloc(arena, sizeof(*shape));
	struct conf_option *options = arena_alloc(arena, (count + 1) * sizeof(*options));

	shape->items = items;
	shape->item_size = item_size;
	shape->children = arena_alloc(arena, (count + 1) * sizeof(struct plugin_shape *));
	for (size_t i = 0; i < count; i++) {
		avocet_conf_item item = plugin_config_item(items, item_size, i);

		fill_option(arena, &item, item_size, &options[i], &shape->children[i]);
		options[i].offset = shape->schema.size;
		shape->schema.size +=
		    (member_size(&options[i]) + MEMBER_ALIGN - 1) / MEMBER_ALIGN * MEMBER_ALIGN;
	}
	shape->schema.options = options;
	shape->schema.count = count;
	return shape;
}

/* --- is a declaration well-formed? --- */

static bool
is_key(const char *name)
{
	return name != NULL && name[0] != '\0' &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static const char *
find_wrong_item(const avocet_conf_item *items, size_t count, size_t item_size, unsigned depth,
    char *key, size_t size)
{
	if (depth > MAX_DEPTH) {
		return "it is nested too deeply";
	}
	for (size_t i = 0; i < count; i++) {
		avocet_conf_item item = plugin_config_item(items, item_size, i);
		struct conf_option option = {0};
		const char *wrong;

		(void)snprintf(key, size, "%s", item.name != NULL ? item.name : "?");
		if (!is_key(item.name)) {
			return "its name is not one";
		}
		if (item.type < AVOCET_CONF_STR || item.type > AVOCET_CONF_DATA_PATH) {
			return "its type is not known to this broker";
		}
		if (item.type == AVOCET_CONF_ENUM && item.constraint == NULL) {
			return "its words are missing (constraint)";
		}
		if (item.constraint != NULL && item.type != AVOCET_CONF_ENUM &&
		    !read_range(type_of(&item), item.constraint, &option)) {
			return "its constraint is not a range such as 1..10";
		}
		if ((item.type == AVOCET_CONF_MAP) != (item.n_children != 0) &&
		    item.type != AVOCET_CONF_LIST) {
			return "its children do not fit its type";
		}
		wrong = find_wrong_item(
		    item.children, item.n_children, item_size, depth + 1, key, size);
		if (wrong != NULL) {
			return wrong;
		}
	}
	return NULL;
}

static const char *
find_wrong_default(const struct plugin_shape *shape, char *key, size_t size)
{
	for (size_t i = 0; i < shape->schema.count; i++) {
		const struct conf_option *option = &shape->schema.options[i];
		const char *wrong = NULL;

		(void)snprintf(key, size, "%s", option->name);
		if (option->fallback != NULL &&
		    (option->type == CONF_STRUCT || !conf_default_fits(option))) {
			return "its default does not fit it";
		}
		if (shape->children[i] != NULL) {
			wrong = find_wrong_default(shape->children[i], key, size);
		}
		if (wrong != NULL) {
			return wrong;
		}
	}
	return NULL;
}

bool
plugin_config_check(const avocet_plugin *descriptor, char *why, size_t why_size)
{
	enum { FIRST_SIZE = offsetof(avocet_conf_item, children) };
	char key[64] = "";
	const char *wrong;

	if (descriptor->n_conf == 0) {
		return true;
	}
	if (descriptor->conf == NULL || descriptor->conf_item_size < FIRST_SIZE ||
	    descriptor->conf_item_size % sizeof(void *) != 0) {
		(void)snprintf(why, why_size, "its configuration schema is malformed");
		return false;
	}
	wrong = find_wrong_item(
	    descriptor->conf, descriptor->n_conf, descriptor->conf_item_size, 0, key, sizeof(key));
	if (wrong == NULL) {
		struct arena arena;

		arena_init(&arena);
		wrong = find_wrong_default(make_shape(&arena, descriptor->conf, descriptor->n_conf,
					       descriptor->conf_item_size),
		    key, sizeof(key));
		arena_fini(&arena);
	}
	if (wrong != NULL) {
		(void)snprintf(why, why_size,
		    "its configuration schema is malformed: of \"%s\", %s", key, wrong);
	}
	return wrong == NULL;
}

/* --- binding --- */

static struct conf_node *
copy_node(struct arena *arena, const struct conf_node *node)
{
	struct conf_node *copy = arena_alloc(arena, sizeof(*copy));

	*copy = *node;
	if (node->place.file != NULL) {
		copy->place.file = arena_text(arena, bytes_of(node->place.file));
	}
	if (node->text.data != NULL) {
		copy->text.data = (const uint8_t *)arena_text(arena, node->text);
	}
	if (node->reference != NULL) {
		copy->reference = arena_text(arena, bytes_of(node->reference));
	}
	if (node->kind == CONF_SEQUENCE) {
		copy->items = arena_alloc(arena, (node->count + 1) * sizeof(struct conf_node *));
		for (size_t i = 0; i < node->count; i++) {
			copy->items[i] = copy_node(arena, node->items[i]);
		}
	} else if (node->kind == CONF_MAPPING) {
		copy->pairs = arena_alloc(arena, (node->count + 1) * sizeof(*copy->pairs));
		for (size_t i = 0; i < node->count; i++) {
			copy->pairs[i] = node->pairs[i];
			copy->pairs[i].key = arena_text(arena, bytes_of(node->pairs[i].key));
			copy->pairs[i].value = copy_node(arena, node->pairs[i].value);
		}
	}
	return copy;
}

const char *
plugin_config_place(struct arena *arena, const struct conf_place *place)
{
	char text[512];

	(void)snprintf(text, sizeof(text), "%s:%u:%u", place->file != NULL ? place->file : "",
	    (unsigned)place->line, (unsigned)place->column);
	return arena_text(arena, bytes_of(text));
}

static void
free_refused(void *arg)
{
	struct plugin_config *config = arg;

	plugin_config_unref(&config);
}

struct plugin_config *
plugin_config_bind(struct conf *conf, const struct plugin_module *module,
    const struct conf_node *node, const struct conf_place *about, const char *path,
    const char *data_dir)
{
	struct plugin_config *config = mem_zalloc(sizeof(*config));
	const avocet_plugin *descriptor = module->descriptor;
	avocet_conf *own = &config->conf;
	struct conf_place place = *about;
	struct conf_bind bind;
	void *target;
	bool good;

	ref_init(&own->ref);
	arena_init(&own->arena);
	own->data_dir = arena_text(&own->arena, bytes_of(data_dir));
	own->shape = make_shape(
	    &own->arena, descriptor->conf, descriptor->n_conf, descriptor->conf_item_size);
	if (node != NULL && !conf_node_is_null(node)) {
		own->node = copy_node(&own->arena, node);
		place = own->node->place;
	}
	own->place = plugin_config_place(&own->arena, &place);
	target = arena_alloc(&own->arena, own->shape->schema.size + 1);
	own->target = target;
	conf_bind_init(&bind, &own->arena, conf_errors_of(conf));
	(void)snprintf(bind.path.text, sizeof(bind.path.text), "%s", path);
	bind.path.len = strlen(bind.path.text);
	good = conf_bind_struct(&bind, &own->shape->schema, own->node, place, target);
	conf_bind_fini(&bind);
	if (!good) {
		/* The errors name files by what stands in it. */
		conf_on_free(conf, free_refused, config);
		config = NULL;
	}
	return config;
}

/* --- from one to the next --- */

static bool
nodes_equal(const struct conf_node *a, const struct conf_node *b)
{
	if (a == NULL || b == NULL) {
		return a == b;
	}
	if (a->kind != b->kind || a->count != b->count) {
		return false;
	}
	if (a->kind == CONF_SCALAR) {
		return bytes_equal(a->text, b->text);
	}
	for (size_t i = 0; i < a->count; i++) {
		if (a->kind == CONF_SEQUENCE
			? !nodes_equal(a->items[i], b->items[i])
			: strcmp(a->pairs[i].key, b->pairs[i].key) != 0 ||
			      !nodes_equal(a->pairs[i].value, b->pairs[i].value)) {
			return false;
		}
	}
	return true;
}

static const struct conf_node *
value_of(const struct conf_node *node, const char *key)
{
	const struct conf_pair *pair =
	    node != NULL && node->kind == CONF_MAPPING ? conf_node_find(node, key) : NULL;

	return pair != NULL ? pair->value : NULL;
}

const char *
plugin_config_obstacle(const struct plugin_config *old, const struct plugin_config *next)
{
	const struct plugin_shape *shape = next->conf.shape;

	for (size_t i = 0; i < shape->schema.count; i++) {
		avocet_conf_item item = plugin_config_item(shape->items, shape->item_size, i);

		if ((item.flags & AVOCET_CONF_RELOADABLE) == 0 &&
		    !nodes_equal(value_of(old->conf.node, item.name),
			value_of(next->conf.node, item.name))) {
			return item.name;
		}
	}
	return NULL;
}
