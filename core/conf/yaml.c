/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libyaml's events, read by a small recursive descent whose depth is bounded. An anchor's node is
 * known once it is complete, so an alias can never stand inside of it and the nodes form no cycle;
 * each alias adds the weight of what it stands for, so text that explodes meets the limit of nodes.
 * The first fault of the syntax ends the parse (what follows would be noise); faults of content are
 * gathered.
 */
#include "conf/yaml.h"

#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "conf/tag.h"

const struct conf_limits conf_default_limits = {
    .max_bytes = 4 << 20,
    .max_value = 64 << 10,
    .max_nodes = 100000,
    .max_keys = 4096,
    .max_depth = 64,
    .max_files = 256,
    .max_errors = 100,
};

enum { MAX_DIRECTIVES = 16 };

struct anchor {
	const char *name;
	struct conf_node *node;
};

struct state {
	struct conf_parse *parse;
	const char *file;
	struct bytes text;
	yaml_parser_t parser;
	yaml_event_t event; /* the current one; deleted by next() */
	struct map anchors; /* the latest of each name, as YAML has it */
	unsigned depth;
	bool stopped; /* a fault after which nothing more is read */
};

static struct conf_node *parse_node(struct state *state);

/* --- places and faults --- */

static struct conf_place
place_of(const struct state *state, yaml_mark_t mark)
{
	return (struct conf_place){state->file, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1};
}

static struct conf_place
place_of_offset(const struct state *state, size_t offset)
{
	struct conf_place place = {state->file, 1, 1};

	for (size_t i = 0; i < offset && i < state->text.len; i++) {
		if (state->text.data[i] == '\n') {
			place.line++;
			place.column = 1;
		} else {
			place.column += (state->text.data[i] & 0xc0) != 0x80;
		}
	}
	return place;
}

static void
stop(struct state *state, struct conf_place place, const char *sentence)
{
	if (!state->stopped) {
		state->stopped = true;
		conf_errors_add(state->parse->errors, place, "", "%s", sentence);
	}
}

static void
fault(struct state *state, struct conf_place place, const char *sentence)
{
	conf_errors_add(state->parse->errors, place, "", "%s", sentence);
}

/* libyaml counts characters. */
static uint8_t
byte_at_character(struct bytes text, size_t index)
{
	size_t at = 0;

	for (; at < text.len && index != 0; index--) {
		for (at++; at < text.len && (text.data[at] & 0xc0) == 0x80;) {
			at++;
		}
	}
	return at < text.len ? text.data[at] : 0;
}

/* libyaml's own words, with a hint for the commonest slip. */
static void
stop_on_syntax(struct state *state)
{
	yaml_parser_t *parser = &state->parser;
	const char *problem = parser->problem != NULL ? parser->problem : "not valid YAML";

	if (parser->error == YAML_MEMORY_ERROR) {
		stop(state, (struct conf_place){state->file, 0, 0}, "out of memory");
	} else if (parser->error == YAML_SCANNER_ERROR &&
		   byte_at_character(state->text, parser->problem_mark.index) == '\t') {
		stop(state, place_of(state, parser->problem_mark),
		    "a tab stands where YAML wants blanks");
	} else if (parser->error == YAML_READER_ERROR) {
		stop(state, place_of_offset(state, parser->problem_offset), problem);
	} else {
		stop(state, place_of(state, parser->problem_mark), problem);
	}
}

/* A value may be a secret, so it is wiped before its memory goes. */
static void
delete_event(yaml_event_t *event)
{
	if (event->type == YAML_SCALAR_EVENT) {
		mem_wipe(event->data.scalar.value, event->data.scalar.length);
	}
	yaml_event_delete(event);
}

static void
delete_parser(yaml_parser_t *parser)
{
	mem_wipe(
	    parser->raw_buffer.start, (size_t)(parser->raw_buffer.end - parser->raw_buffer.start));
	mem_wipe(parser->buffer.start, (size_t)(parser->buffer.end - parser->buffer.start));
	yaml_parser_delete(parser);
}

/* Reads the next event; false when there is none to be had. */
static bool
next(struct state *state)
{
	delete_event(&state->event);
	if (state->stopped) {
		return false;
	}
	if (!yaml_parser_parse(&state->parser, &state->event)) {
		stop_on_syntax(state);
		return false;
	}
	return true;
}

static const yaml_char_t *
event_anchor(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor;
	default:
		return NULL;
	}
}

static const yaml_char_t *
event_tag(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.tag;
	default:
		return NULL;
	}
}

/* --- nodes --- */

static const char too_much[] =
    "too many values or too long ones, aliases counted for what they stand for";

bool
conf_yaml_weigh(struct conf_parse *parse, struct conf_node *node, size_t len)
{
	size_t weight = len / CONF_BYTES_PER_NODE;

	if (weight > parse->limits->max_nodes - parse->nodes) {
		return false;
	}
	parse->nodes += weight;
	node->weight += weight;
	return true;
}

static bool
add_weight(struct state *state, struct conf_place place, size_t weight)
{
	if (weight > state->parse->limits->max_nodes - state->parse->nodes) {
		stop(state, place, too_much);
		return false;
	}
	state->parse->nodes += weight;
	return true;
}

static struct conf_node *
new_node(struct state *state, enum conf_kind kind)
{
	struct conf_place place = place_of(state, state->event.start_mark);
	struct conf_node *node;

	if (!add_weight(state, place, 1)) {
		return NULL;
	}
	node = arena_alloc(state->parse->arena, sizeof(*node));
	node->kind = kind;
	node->place = place;
	node->weight = 1;
	node->height = 1;
	return node;
}

static struct bytes
key_of_anchor(const void *anchor)
{
	return bytes_of(((const struct anchor *)anchor)->name);
}

static void
add_anchor(struct state *state, const char *name, struct conf_node *node)
{
	struct anchor *anchor;

	if (state->anchors.count == state->parse->limits->max_keys) {
		stop(state, place_of(state, state->event.start_mark), "too many anchors");
	} else if (name != NULL && node != NULL) {
		anchor = arena_alloc(state->parse->arena, sizeof(*anchor));
		*anchor = (struct anchor){name, node};
		map_put(&state->anchors, anchor);
	}
}

static struct conf_node *
parse_alias(struct state *state)
{
	struct conf_place place = place_of(state, state->event.start_mark);
	const char *name = (const char *)state->event.data.alias.anchor;
	const struct anchor *anchor = map_find(&state->anchors, bytes_of(name));

	if (anchor == NULL) {
		stop(state, place, "an alias names no anchor that is complete before it");
		return NULL;
	}
	if (anchor->node->height > state->parse->limits->max_depth - state->depth + 1) {
		stop(state, place, "nested too deeply");
		return NULL;
	}
	return add_weight(state, place, anchor->node->weight) ? anchor->node : NULL;
}

static struct conf_node *
parse_scalar(struct state *state)
{
	const size_t len = state->event.data.scalar.length;
	struct bytes value = {state->event.data.scalar.value, len};
	struct conf_node *node = new_node(state, CONF_SCALAR);

	if (node == NULL) {
		return NULL;
	}
	if (len > state->parse->limits->max_value) {
		stop(state, node->place, "a value is too long");
		return NULL;
	}
	if (utf8_classify(value) >= UTF8_NUL) {
		fault(state, node->place, "a value contains a NUL character");
		value.len = 0;
	}
	if (!conf_yaml_weigh(state->parse, node, value.len)) {
		stop(state, node->place, too_much);
		return NULL;
	}
	node->quoted = state->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	node->text.len = value.len;
	node->text.data = (const uint8_t *)arena_text(state->parse->arena, value);
	return node;
}

static void
grow_by(struct conf_node *node, const struct conf_node *child)
{
	node->weight += child->weight;
	node->height = child->height >= node->height ? child->height + 1 : node->height;
}

static struct conf_node *
parse_sequence(struct state *state)
{
	struct conf_node *node = new_node(state, CONF_SEQUENCE);
	VEC(struct conf_node *) items = {0};

	while (node != NULL && next(state) && state->event.type != YAML_SEQUENCE_END_EVENT) {
		struct conf_node *item = parse_node(state);

		if (item != NULL) {
			grow_by(node, item);
			vec_push(&items, item);
		}
	}
	if (items.count != 0) {
		node->items = arena_alloc(state->parse->arena, items.count * sizeof(*items.items));
		memcpy(node->items, items.items, items.count * sizeof(*items.items));
		node->count = items.count;
	}
	vec_fini(&items);
	return node;
}

static int
compare_pairs(const void *left, const void *right)
{
	const struct conf_pair *const *a = left, *const *b = right;
	int order = strcmp((*a)->key, (*b)->key);

	return order != 0 ? order : *a < *b ? -1 : *a > *b;
}

/* Says which keys stand twice: sorted, so that many keys do not cost the square of their number. */
static void
check_duplicates(struct state *state, const struct conf_node *node)
{
	const struct conf_pair **sorted;

	if (node->count < 2) {
		return;
	}
	sorted = mem_alloc(node->count * sizeof(*sorted));
	for (size_t i = 0; i < node->count; i++) {
		sorted[i] = &node->pairs[i];
	}
	qsort(sorted, node->count, sizeof(*sorted), compare_pairs);
	for (size_t i = 1; i < node->count; i++) {
		if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0) {
			conf_errors_add(state->parse->errors, sorted[i]->place, "",
			    "the key \"%.64s\" stands twice, first in line %u", sorted[i]->key,
			    sorted[i - 1]->place.line);
		}
	}
	mem_free(&sorted);
}

/* What is wrong with the current event as a key, or NULL. */
static const char *
judge_key(const struct state *state)
{
	const yaml_event_t *event = &state->event;
	struct bytes text;

	if (event->type != YAML_SCALAR_EVENT) {
		return "a key must be a plain word";
	}
	text = bytes_make(event->data.scalar.value, event->data.scalar.length);
	if (text.len > state->parse->limits->max_value) {
		return "a key is too long";
	}
	if (utf8_classify(text) >= UTF8_NUL) {
		return "a key contains a NUL character";
	}
	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && bytes_equal_text(text, "<<")) {
		return "merge keys (<<) are not supported; use an alias for a whole value";
	}
	return NULL;
}

/* The key of a pair; NULL after a fault. */
static const char *
parse_key(struct state *state)
{
	struct conf_place place = place_of(state, state->event.start_mark);
	const char *tag = (const char *)event_tag(&state->event);
	const char *sentence = judge_key(state);

	if (sentence != NULL) {
		stop(state, place, sentence);
		return NULL;
	}
	if (tag != NULL && strcmp(tag, "!") != 0 && strcmp(tag, YAML_STR_TAG) != 0) {
		conf_errors_add(state->parse->errors, place, "",
		    "the tag %.64s stands before a key, where it means nothing", tag);
	}
	return arena_text(state->parse->arena,
	    bytes_make(state->event.data.scalar.value, state->event.data.scalar.length));
}

static struct conf_node *
parse_mapping(struct state *state)
{
	struct conf_node *node = new_node(state, CONF_MAPPING);
	VEC(struct conf_pair) pairs = {0};

	while (node != NULL && next(state) && state->event.type != YAML_MAPPING_END_EVENT) {
		struct conf_pair pair = {.place = place_of(state, state->event.start_mark)};

		pair.key = parse_key(state);
		if (pairs.count == state->parse->limits->max_keys) {
			stop(state, pair.place, "too many keys in one mapping");
		}
		if (!next(state)) {
			break;
		}
		pair.value = parse_node(state);
		if (pair.value != NULL) {
			grow_by(node, pair.value);
			vec_push(&pairs, pair);
		}
	}
	if (pairs.count != 0) {
		node->pairs = arena_alloc(state->parse->arena, pairs.count * sizeof(*pairs.items));
		memcpy(node->pairs, pairs.items, pairs.count * sizeof(*pairs.items));
		node->count = pairs.count;
		check_duplicates(state, node);
	}
	vec_fini(&pairs);
	return node;
}

/* --- any node --- */

static const char *
keep(struct state *state, const yaml_char_t *text)
{
	return text != NULL ? arena_text(state->parse->arena, bytes_of((const char *)text)) : NULL;
}

static struct conf_node *
parse_by_type(struct state *state)
{
	switch (state->event.type) {
	case YAML_ALIAS_EVENT:
		return parse_alias(state);
	case YAML_SCALAR_EVENT:
		return parse_scalar(state);
	case YAML_SEQUENCE_START_EVENT:
		return parse_sequence(state);
	case YAML_MAPPING_START_EVENT:
		return parse_mapping(state);
	default:
		return NULL;
	}
}

/* The node that the current event begins; the current event is then its last one. NULL after a
 * fault that stops. */
static struct conf_node *
parse_node(struct state *state)
{
	const char *anchor = keep(state, event_anchor(&state->event));
	const char *tag = keep(state, event_tag(&state->event));
	struct conf_node *node;

	if (state->depth == state->parse->limits->max_depth) {
		stop(state, place_of(state, state->event.start_mark), "nested too deeply");
		return NULL;
	}
	state->depth++;
	node = parse_by_type(state);
	state->depth--;
	if (state->stopped) {
		return NULL;
	}
	if (node != NULL && tag != NULL) {
		conf_tag_apply(state->parse, state->file, node, tag);
	}
	add_anchor(state, anchor, node);
	return node;
}

/* --- the text --- */

/* Lines that begin with %: libyaml compares each directive with all before it. */
static size_t
count_directives(struct bytes text)
{
	size_t count = 0;

	for (size_t i = 0; i < text.len; i++) {
		count += text.data[i] == '%' && (i == 0 || text.data[i - 1] == '\n');
	}
	return count;
}

static bool
check_text(struct state *state)
{
	if (state->text.len > state->parse->limits->max_bytes) {
		stop(state, (struct conf_place){state->file, 0, 0}, "the file is too large");
		return false;
	}
	if (count_directives(state->text) > MAX_DIRECTIVES) {
		stop(state, (struct conf_place){state->file, 0, 0},
		    "too many lines begin with %, which makes them directives");
		return false;
	}
	if (utf8_classify(state->text) < UTF8_NUL) {
		return true;
	}
	stop(state, place_of_offset(state, utf8_fault_at(state->text)),
	    "the file is not valid UTF-8, or contains a NUL");
	return false;
}

static struct conf_node *
parse_document(struct state *state)
{
	struct conf_node *root = NULL;

	if (!next(state) || !next(state)) { /* the stream's start, then the document's */
		return NULL;
	}
	if (state->event.type == YAML_STREAM_END_EVENT) {
		return new_node(state, CONF_MAPPING);
	}
	if (next(state)) {
		root = parse_node(state);
	}
	if (root == NULL || !next(state) || !next(state)) { /* its end, then the stream's */
		return NULL;
	}
	if (state->event.type != YAML_STREAM_END_EVENT) {
		stop(state, place_of(state, state->event.start_mark), "a second document begins");
		return NULL;
	}
	return root;
}

struct conf_node *
conf_yaml_parse(struct conf_parse *parse, const char *file, struct bytes text)
{
	static const struct bytes mark = {(const uint8_t *)"\xef\xbb\xbf", 3};
	struct state state = {.parse = parse, .text = text};
	struct conf_node *root = NULL;

	if (bytes_starts_with(text, mark)) {
		state.text = bytes_skip(text, mark.len);
	}

	state.file = arena_text(parse->arena, bytes_of(file));
	map_init(&state.anchors, key_of_anchor, (struct hash_key){0, 0});
	if (!check_text(&state)) {
		return NULL;
	}
	if (!yaml_parser_initialize(&state.parser)) {
		stop(&state, (struct conf_place){state.file, 0, 0}, "out of memory");
		return NULL;
	}
	yaml_parser_set_encoding(&state.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&state.parser,
	    state.text.len != 0 ? state.text.data : (const uint8_t *)"", state.text.len);
	root = parse_document(&state);
	delete_event(&state.event);
	delete_parser(&state.parser);
	map_fini(&state.anchors);
	return state.stopped ? NULL : root;
}

/* --- asking --- */

const struct conf_pair *
conf_node_find(const struct conf_node *node, const char *key)
{
	for (size_t i = 0; i < node->count; i++) {
		if (strcmp(node->pairs[i].key, key) == 0) {
			return &node->pairs[i];
		}
	}
	return NULL;
}

bool
conf_node_is_null(const struct conf_node *node)
{
	return node->kind == CONF_SCALAR && !node->quoted && !node->failed &&
	       node->reference == NULL &&
	       (node->text.len == 0 || bytes_equal_text(node->text, "~") ||
		   bytes_equal_text(node->text, "null"));
}

const char *
conf_kind_name(enum conf_kind kind)
{
	switch (kind) {
	case CONF_SCALAR:
		return "a value";
	case CONF_SEQUENCE:
		return "a sequence";
	case CONF_MAPPING:
		return "a mapping";
	}
	return "nothing";
}

const char *
conf_path_beside(struct arena *arena, const char *file, const char *path)
{
	const char *slash = strrchr(file, '/');
	struct buf text;
	const char *result;

	if (*path == '/' || slash == NULL) {
		return arena_text(arena, bytes_of(path));
	}
	buf_init(&text, SIZE_MAX);
	buf_append(&text, file, (size_t)(slash - file) + 1);
	buf_append_text(&text, path);
	result = arena_text(arena, buf_bytes(&text));
	buf_fini(&text);
	return result;
}
