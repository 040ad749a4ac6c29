/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/bind.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "conf/bind_int.h"
#include "conf/value.h"

void
conf_bind_init(struct conf_bind *bind, struct arena *arena, struct conf_errors *errors)
{
	*bind = (struct conf_bind){.arena = arena, .errors = errors};
}

void
conf_bind_fini(struct conf_bind *bind)
{
	vec_fini(&bind->defaults);
}

/* --- the path --- */

size_t
conf_path_enter(struct conf_path *path, const char *name)
{
	size_t before = path->len;
	int n = snprintf(path->text + path->len, sizeof(path->text) - path->len, "%s%s",
	    path->len != 0 ? "." : "", name);

	path->len += n > 0 ? (size_t)n : 0;
	path->len = path->len < sizeof(path->text) ? path->len : sizeof(path->text) - 1;
	return before;
}

static size_t
path_enter_index(struct conf_path *path, size_t index)
{
	size_t before = path->len;
	int n = snprintf(path->text + path->len, sizeof(path->text) - path->len, "[%zu]", index);

	path->len += n > 0 ? (size_t)n : 0;
	path->len = path->len < sizeof(path->text) ? path->len : sizeof(path->text) - 1;
	return before;
}

void
conf_path_leave(struct conf_path *path, size_t before)
{
	path->len = before;
	path->text[before] = '\0';
}

static size_t
count_errors(const struct conf_bind *bind)
{
	return bind->errors->list.count + bind->errors->more;
}

/* --- sequences --- */

static bool bind_whole(struct conf_bind *bind, const struct conf_schema *schema,
    const struct conf_node *node, struct conf_place place, const char *name, void *target);

/* A sequence's items, or a single value in place of a sequence of one. */
struct items {
	struct conf_node *const *nodes;
	size_t count;
};

static struct items
items_of(const struct conf_slot *slot, struct conf_node **single)
{
	if (slot->node->kind == CONF_SEQUENCE) {
		return (struct items){slot->node->items, slot->node->count};
	}
	return (struct items){single, 1};
}

static void
bind_words(struct conf_bind *bind, const struct conf_slot *slot, struct items items)
{
	int64_t *flags = slot->member;

	*flags = 0;
	for (size_t i = 0; i < items.count; i++) {
		struct conf_slot item = {slot->option, items.nodes[i], NULL};
		size_t before = path_enter_index(&bind->path, i);
		int64_t value = 0;

		if (items.nodes[i]->failed) {
			value = 0;
		} else if (items.nodes[i]->kind != CONF_SCALAR) {
			conf_bind_fail(bind, items.nodes[i]->place, "must be a value, not %s",
			    conf_kind_name(items.nodes[i]->kind));
		} else if (!conf_value_word(items.nodes[i]->text, slot->option->words, &value)) {
			conf_scalar_fail_word(bind, &item, NULL);
		}
		*flags |= value;
		conf_path_leave(&bind->path, before);
	}
}

static void
bind_strings(struct conf_bind *bind, const struct conf_slot *slot, struct items items)
{
	struct conf_strings *strings = slot->member;

	strings->count = items.count;
	strings->items = arena_alloc(bind->arena, items.count * sizeof(*strings->items));
	for (size_t i = 0; i < items.count; i++) {
		size_t before = path_enter_index(&bind->path, i);

		strings->items[i] = "";
		if (items.nodes[i]->failed) {
			/* told already */
		} else if (items.nodes[i]->kind != CONF_SCALAR) {
			conf_bind_fail(bind, items.nodes[i]->place, "must be a text, not %s",
			    conf_kind_name(items.nodes[i]->kind));
		} else if (conf_node_is_null(items.nodes[i])) {
			conf_bind_fail(bind, items.nodes[i]->place, "must be a text, not null");
		} else {
			strings->items[i] = (const char *)items.nodes[i]->text.data;
		}
		conf_path_leave(&bind->path, before);
	}
}

static void
bind_list(struct conf_bind *bind, const struct conf_slot *slot, struct items items)
{
	const struct conf_schema *schema = slot->option->schema;
	struct conf_list *list = slot->member;
	uint8_t *at = arena_alloc(bind->arena, items.count * schema->size);

	list->items = at;
	list->count = items.count;
	for (size_t i = 0; i < items.count; i++, at += schema->size) {
		size_t before = path_enter_index(&bind->path, i);

		conf_bind_struct(bind, schema, items.nodes[i], items.nodes[i]->place, at);
		conf_path_leave(&bind->path, before);
	}
}

static void
bind_named(struct conf_bind *bind, const struct conf_slot *slot)
{
	const struct conf_schema *schema = slot->option->schema;
	struct conf_list *list = slot->member;
	uint8_t *at = arena_alloc(bind->arena, slot->node->count * schema->size);

	list->items = at;
	list->count = slot->node->count;
	for (size_t i = 0; i < slot->node->count; i++, at += schema->size) {
		const struct conf_pair *pair = &slot->node->pairs[i];
		size_t before = conf_path_enter(&bind->path, pair->key);

		bind_whole(bind, schema, pair->value, pair->place, pair->key, at);
		conf_path_leave(&bind->path, before);
	}
}

/* --- one option --- */

static bool bind_struct(struct conf_bind *bind, const struct conf_schema *schema,
    const struct conf_node *node, struct conf_place place, void *target);

static bool
kind_fits(const struct conf_slot *slot)
{
	enum conf_kind kind = slot->node->kind;

	switch (slot->option->type) {
	case CONF_FLAGS:
	case CONF_STRINGS:
		return kind != CONF_MAPPING;
	case CONF_LIST:
		return kind == CONF_SEQUENCE;
	case CONF_NAMED:
		return kind == CONF_MAPPING;
	case CONF_STRUCT: /* judged where the struct is bound: there may be a shorthand */
	case CONF_NODE:
		return true;
	default:
		return kind == CONF_SCALAR;
	}
}

static const char *
wanted_kind(enum conf_type type)
{
	switch (type) {
	case CONF_FLAGS:
	case CONF_STRINGS:
	case CONF_LIST:
		return conf_kind_name(CONF_SEQUENCE);
	case CONF_STRUCT:
	case CONF_NAMED:
		return conf_kind_name(CONF_MAPPING);
	default:
		return conf_kind_name(CONF_SCALAR);
	}
}

/*
 * A node kept for later is looked at now, by filling a struct that is thrown away: keys, types and
 * ranges. What it will be laid over is not known yet, so nothing is required of it, and no check
 * function is asked.
 */
static void
bind_node(struct conf_bind *bind, const struct conf_slot *slot)
{
	const struct conf_schema *schema = slot->option->schema;
	bool unchecked = bind->unchecked;

	*(const struct conf_node **)slot->member = slot->node;
	if (schema != NULL) {
		bind->unchecked = true;
		conf_bind_over(bind, schema, slot->node, slot->node->place,
		    arena_alloc(bind->arena, schema->size));
		bind->unchecked = unchecked;
	}
}

static void
bind_option(struct conf_bind *bind, const struct conf_slot *slot)
{
	struct conf_node *single = (struct conf_node *)(uintptr_t)slot->node;

	if (slot->node->failed ||
	    (conf_node_is_null(slot->node) && slot->option->type != CONF_STRING)) {
		return;
	}
	if (!kind_fits(slot)) {
		conf_bind_fail(bind, slot->node->place, "must be %s, not %s",
		    wanted_kind(slot->option->type), conf_kind_name(slot->node->kind));
		return;
	}
	switch (slot->option->type) {
	case CONF_FLAGS:
		bind_words(bind, slot, items_of(slot, &single));
		break;
	case CONF_STRINGS:
		bind_strings(bind, slot, items_of(slot, &single));
		break;
	case CONF_LIST:
		bind_list(bind, slot, items_of(slot, &single));
		break;
	case CONF_NAMED:
		bind_named(bind, slot);
		break;
	case CONF_STRUCT:
		bind_struct(
		    bind, slot->option->schema, slot->node, slot->node->place, slot->member);
		break;
	case CONF_NODE:
		bind_node(bind, slot);
		break;
	default:
		conf_scalar_bind(bind, slot);
		break;
	}
}

/* --- structs --- */

static const void *defaults_of(struct conf_bind *bind, const struct conf_schema *schema);

/* The default of an option is YAML text like any other; a table that is wrong is a bug and ends the
 * program. */
static void
bind_fallback(struct conf_bind *bind, const struct conf_option *option, void *member)
{
	struct conf_parse parse = {
	    .arena = bind->arena, .errors = bind->errors, .limits = &conf_default_limits};
	struct conf_slot slot = {option, NULL, member};
	size_t before = count_errors(bind);

	slot.node = conf_yaml_parse(&parse, "default", bytes_of(option->fallback));
	if (slot.node != NULL) {
		bind_option(bind, &slot);
	}
	if (err_impossible(count_errors(bind) != before)) {
		conf_bind_fail(bind, (struct conf_place){"default", 0, 0},
		    "the default of %s is wrong", option->name);
	}
}

bool
conf_default_fits(const struct conf_option *option)
{
	/* Room for the member of any type but a struct. */
	union {
		struct conf_list list;
		struct conf_strings strings;
		int64_t number;
	} member = {0};
	struct conf_errors errors;
	struct conf_bind bind;
	struct arena arena;
	bool fits;

	arena_init(&arena);
	conf_errors_init(&errors, &arena, 1);
	conf_bind_init(&bind, &arena, &errors);
	{
		struct conf_parse parse = {
		    .arena = &arena, .errors = &errors, .limits = &conf_default_limits};
		struct conf_slot slot = {option, NULL, &member};

		slot.node = conf_yaml_parse(&parse, "default", bytes_of(option->fallback));
		if (slot.node != NULL) {
			bind_option(&bind, &slot);
		}
		fits = slot.node != NULL && count_errors(&bind) == 0;
	}
	conf_bind_fini(&bind);
	conf_errors_fini(&errors);
	arena_fini(&arena);
	return fits;
}

static const void *
make_defaults(struct conf_bind *bind, const struct conf_schema *schema)
{
	uint8_t *target = arena_alloc(bind->arena, schema->size);

	for (size_t i = 0; i < schema->count; i++) {
		const struct conf_option *option = &schema->options[i];

		if (option->type == CONF_STRUCT) {
			memcpy(target + option->offset, defaults_of(bind, option->schema),
			    option->schema->size);
		}
		if (option->fallback != NULL) {
			bind_fallback(bind, option, target + option->offset);
		}
	}
	return target;
}

static const void *
defaults_of(struct conf_bind *bind, const struct conf_schema *schema)
{
	const struct conf_defaults *known;
	const void *target;

	vec_each (known, &bind->defaults) {
		if (known->schema == schema) {
			return known->target;
		}
	}
	target = make_defaults(bind, schema);
	vec_push(&bind->defaults, (struct conf_defaults){schema, target});
	return target;
}

static const struct conf_option *
find_option(const struct conf_schema *schema, const char *name)
{
	for (size_t i = 0; i < schema->count; i++) {
		if (strcmp(schema->options[i].name, name) == 0) {
			return &schema->options[i];
		}
	}
	return NULL;
}

static void
fail_unknown(struct conf_bind *bind, const struct conf_schema *schema, const struct conf_pair *pair)
{
	const char **names = mem_alloc((schema->count + 1) * sizeof(*names));
	const char *nearest;
	struct buf key;

	for (size_t i = 0; i < schema->count; i++) {
		names[i] = schema->options[i].name;
	}
	names[schema->count] = NULL;
	nearest = str_nearest(bytes_of(pair->key), names);
	buf_init(&key, SIZE_MAX);
	str_escape(&key, bytes_make(pair->key, strnlen(pair->key, 64)), true);
	if (nearest != NULL) {
		conf_bind_fail(bind, pair->place, "unknown key \"%s\"; did you mean %s?",
		    buf_text(&key), nearest);
	} else {
		conf_bind_fail(bind, pair->place, "unknown key \"%s\"", buf_text(&key));
	}
	buf_fini(&key);
	mem_free(&names);
}

static void
bind_pair(struct conf_bind *bind, const struct conf_schema *schema, const struct conf_pair *pair,
    void *target)
{
	struct conf_slot slot = {find_option(schema, pair->key), pair->value, NULL};
	size_t before;

	if (slot.option == NULL) {
		fail_unknown(bind, schema, pair);
		return;
	}
	slot.member = (uint8_t *)target + slot.option->offset;
	before = conf_path_enter(&bind->path, pair->key);
	bind_option(bind, &slot);
	conf_path_leave(&bind->path, before);
}

/* A bare value in place of a struct: one pair, of the shorthand's key. */
static void
bind_shorthand(struct conf_bind *bind, const struct conf_schema *schema,
    const struct conf_node *node, void *target)
{
	const struct conf_option *option =
	    schema->shorthand != NULL ? find_option(schema, schema->shorthand) : NULL;
	struct conf_slot slot = {option, node, NULL};

	if (option == NULL) {
		conf_bind_fail(
		    bind, node->place, "must be a mapping, not %s", conf_kind_name(node->kind));
		return;
	}
	slot.member = (uint8_t *)target + option->offset;
	bind_option(bind, &slot);
}

static bool
is_written(const struct conf_node *node, const char *key)
{
	const struct conf_pair *pair = node != NULL ? conf_node_find(node, key) : NULL;

	return pair != NULL && !conf_node_is_null(pair->value);
}

/* node: a mapping, or NULL where nothing is written. */
static void
check_required(struct conf_bind *bind, const struct conf_schema *schema,
    const struct conf_node *node, struct conf_place place)
{
	for (size_t i = 0; i < schema->count; i++) {
		const struct conf_option *option = &schema->options[i];

		if (option->required && !is_written(node, option->name)) {
			conf_bind_fail(bind, place, "the key %s is missing", option->name);
		}
	}
}

static void
run_check(struct conf_bind *bind, const struct conf_schema *schema, const struct conf_node *node,
    struct conf_place place, void *target)
{
	struct conf_check check = {bind, node, place};

	if (schema->check != NULL) {
		schema->check(&check, target);
	}
}

/* Structs within that are not written are still looked at: their defaults may not fit together. */
static void
check_unwritten(struct conf_bind *bind, const struct conf_schema *schema,
    const struct conf_node *node, struct conf_place place, void *target)
{
	const struct conf_node *mapping = node != NULL && node->kind == CONF_MAPPING ? node : NULL;

	for (size_t i = 0; i < schema->count; i++) {
		const struct conf_option *option = &schema->options[i];
		uint8_t *member = (uint8_t *)target + option->offset;
		size_t errors = count_errors(bind), before;

		if (option->type != CONF_STRUCT || is_written(mapping, option->name)) {
			continue;
		}
		before = conf_path_enter(&bind->path, option->name);
		check_unwritten(bind, option->schema, NULL, place, member);
		if (count_errors(bind) == errors) {
			run_check(bind, option->schema, NULL, place, member);
		}
		conf_path_leave(&bind->path, before);
	}
}

/* Members are set already, by defaults or by what the struct is laid over. node: never null, but
 * NULL. */
static bool
bind_struct(struct conf_bind *bind, const struct conf_schema *schema, const struct conf_node *node,
    struct conf_place place, void *target)
{
	size_t before = count_errors(bind);

	if (node != NULL && node->kind == CONF_MAPPING) {
		for (size_t i = 0; i < node->count; i++) {
			bind_pair(bind, schema, &node->pairs[i], target);
		}
	} else if (node != NULL) {
		bind_shorthand(bind, schema, node, target);
	}
	if (!bind->over && (node == NULL || node->kind == CONF_MAPPING)) {
		check_required(bind, schema, node, place);
	}
	if (count_errors(bind) == before && !bind->unchecked) {
		check_unwritten(bind, schema, node, place, target);
	}
	if (count_errors(bind) == before && !bind->unchecked) {
		run_check(bind, schema, node, place, target);
	}
	return count_errors(bind) == before;
}

/* What is written, or NULL: null says nothing. A node that failed was told of already. */
static const struct conf_node *
written(const struct conf_node *node)
{
	return node != NULL && !conf_node_is_null(node) ? node : NULL;
}

bool
conf_bind_over(struct conf_bind *bind, const struct conf_schema *schema,
    const struct conf_node *node, struct conf_place place, void *target)
{
	bool over = bind->over, good;

	if (node != NULL && node->failed) {
		return false;
	}
	bind->over = true;
	good = bind_struct(bind, schema, written(node), place, target);
	bind->over = over;
	return good;
}

/* name: of a struct that has one, or NULL. */
static bool
bind_whole(struct conf_bind *bind, const struct conf_schema *schema, const struct conf_node *node,
    struct conf_place place, const char *name, void *target)
{
	bool over = bind->over, good;

	memcpy(target, defaults_of(bind, schema), schema->size);
	if (name != NULL) {
		memcpy((uint8_t *)target + schema->name_offset, &name, sizeof(name));
	}
	if (node != NULL && node->failed) {
		return false;
	}
	bind->over =
	    false; /* an item of a list is whole, also where the list is laid over another */
	good = bind_struct(bind, schema, written(node), place, target);
	bind->over = over;
	return good;
}

bool
conf_bind_struct(struct conf_bind *bind, const struct conf_schema *schema,
    const struct conf_node *node, struct conf_place place, void *target)
{
	return bind_whole(bind, schema, node, place, NULL, target);
}

void
conf_check_fail(struct conf_check *check, const char *key, const char *format, ...)
{
	const struct conf_node *node = check->node;
	const struct conf_pair *pair = key != NULL && node != NULL && node->kind == CONF_MAPPING
					   ? conf_node_find(node, key)
					   : NULL;
	size_t before = check->bind->path.len;
	va_list args;

	if (key != NULL) {
		before = conf_path_enter(&check->bind->path, key);
	}
	va_start(args, format);
	conf_errors_vadd(check->bind->errors, pair != NULL ? pair->value->place : check->place,
	    check->bind->path.text, format, args);
	va_end(args);
	conf_path_leave(&check->bind->path, before);
}
