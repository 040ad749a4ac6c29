/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/dump.h"

#include <string.h>

#include "conf/value.h"

enum { HELP_WIDTH = 92, SHORT_KEY = 128 };

static void
put_indent(struct conf_dump *dump, unsigned indent)
{
	for (unsigned i = 0; i < indent; i++) {
		buf_append_text(dump->out, "  ");
	}
}

static void
put_text(struct conf_dump *dump, const char *text)
{
	if (text == NULL) {
		buf_append_text(dump->out, "null");
	} else {
		conf_value_quote(dump->out, bytes_of(text));
	}
}

/* YAML wants a question mark before a long key. */
static bool
is_long(const char *key)
{
	return strlen(key) > SHORT_KEY;
}

/* The help in lines of comment, broken at blanks. */
static void
put_help(struct conf_dump *dump, const char *help, unsigned indent)
{
	struct bytes rest = bytes_of(help);

	while (rest.len != 0) {
		size_t len = rest.len;

		if (len > HELP_WIDTH) {
			len = HELP_WIDTH;
			while (len != 0 && rest.data[len] != ' ') {
				len--;
			}
			len = len != 0 ? len : HELP_WIDTH;
		}
		put_indent(dump, indent);
		buf_append_text(dump->out, "# ");
		buf_append(dump->out, rest.data, len);
		buf_append_byte(dump->out, '\n');
		rest = bytes_skip(rest, len);
		while (rest.len != 0 && *rest.data == ' ') {
			rest = bytes_skip(rest, 1);
		}
	}
}

/* A secret is hidden, unless it lies elsewhere and only that place is written here. */
static bool
is_hidden(const struct conf_option *option, const struct conf_node *node)
{
	bool elsewhere = node != NULL && node->reference != NULL && !node->has_default;

	return option->secret && !elsewhere;
}

/* --- nodes that are kept as they are --- */

static void put_node(
    struct conf_dump *dump, const struct conf_node *node, const struct conf_schema *schema);

static const struct conf_option *
find_option(const struct conf_schema *schema, const char *name)
{
	for (size_t i = 0; schema != NULL && i < schema->count; i++) {
		if (strcmp(schema->options[i].name, name) == 0) {
			return &schema->options[i];
		}
	}
	return NULL;
}

static void
put_scalar(struct conf_dump *dump, const struct conf_node *node)
{
	if (node->reference != NULL) {
		buf_append_text(dump->out, node->reference);
	} else if (conf_node_is_null(node) || node->failed) {
		buf_append_text(dump->out, "null");
	} else if (node->quoted) {
		conf_value_quote_always(dump->out, node->text);
	} else {
		conf_value_quote(dump->out, node->text);
	}
}

static void
put_pair(struct conf_dump *dump, const struct conf_pair *pair, const struct conf_schema *schema)
{
	const struct conf_option *option = find_option(schema, pair->key);

	buf_append_text(dump->out, is_long(pair->key) ? "? " : "");
	put_text(dump, pair->key);
	buf_append_text(dump->out, is_long(pair->key) ? " : " : ": ");
	if (option != NULL && is_hidden(option, pair->value)) {
		buf_append_text(dump->out, "null");
	} else {
		put_node(dump, pair->value, option != NULL ? option->schema : NULL);
	}
}

/* In flow style, on one line. The schema, if there is one, says what is secret. */
static void
put_node(struct conf_dump *dump, const struct conf_node *node, const struct conf_schema *schema)
{
	bool mapping = node->kind == CONF_MAPPING;

	if (node->kind == CONF_SCALAR) {
		put_scalar(dump, node);
		return;
	}
	buf_append_byte(dump->out, mapping ? '{' : '[');
	for (size_t i = 0; i < node->count && !dump->out->failed; i++) {
		buf_append_text(dump->out, i != 0 ? ", " : "");
		if (mapping) {
			put_pair(dump, &node->pairs[i], schema);
		} else {
			put_node(dump, node->items[i], schema);
		}
	}
	buf_append_byte(dump->out, mapping ? '}' : ']');
}

/* --- values --- */

/* Item i of a list that was written as a sequence, or as one value. */
static const struct conf_node *
item_of(const struct conf_node *node, size_t i)
{
	if (node == NULL || node->kind == CONF_SCALAR) {
		return node;
	}
	return node->kind == CONF_SEQUENCE && i < node->count ? node->items[i] : NULL;
}

static bool
put_reference(struct conf_dump *dump, const struct conf_node *node)
{
	if (node == NULL || node->reference == NULL) {
		return false;
	}
	buf_append_text(dump->out, node->reference);
	return true;
}

static void
put_strings(
    struct conf_dump *dump, const struct conf_strings *strings, const struct conf_node *node)
{
	if (strings->items == NULL) {
		buf_append_text(dump->out, "null");
		return;
	}
	buf_append_byte(dump->out, '[');
	for (size_t i = 0; i < strings->count; i++) {
		buf_append_text(dump->out, i != 0 ? ", " : "");
		if (!put_reference(dump, item_of(node, i))) {
			put_text(dump, strings->items[i]);
		}
	}
	buf_append_byte(dump->out, ']');
}

static void
put_flags(struct conf_dump *dump, const struct conf_option *option, int64_t flags)
{
	const char *comma = "";

	buf_append_byte(dump->out, '[');
	for (const struct conf_word *word = option->words; word->word != NULL; word++) {
		if (word->value != 0 ? (flags & word->value) == word->value : flags == 0) {
			buf_append_text(dump->out, comma);
			put_text(dump, word->word);
			comma = ", ";
		}
	}
	buf_append_byte(dump->out, ']');
}

static void
put_value(struct conf_dump *dump, const struct conf_option *option, const void *member,
    const struct conf_node *node)
{
	const struct conf_node *kept;

	if (put_reference(dump, node)) {
		return;
	}
	switch (option->type) {
	case CONF_BOOL:
		buf_append_text(dump->out, *(const bool *)member ? "true" : "false");
		break;
	case CONF_STRING:
		put_text(dump, *(const char *const *)member);
		break;
	case CONF_STRINGS:
		put_strings(dump, member, node);
		break;
	case CONF_FLAGS:
		put_flags(dump, option, *(const int64_t *)member);
		break;
	case CONF_NODE:
		kept = *(const struct conf_node *const *)member;
		if (kept != NULL) {
			put_node(dump, kept, option->schema);
		} else {
			buf_append_text(dump->out, "null");
		}
		break;
	default:
		conf_value_format(dump->out, option, *(const int64_t *)member);
		break;
	}
}

/* --- structs and lists --- */

static void
put_list(struct conf_dump *dump, const struct conf_option *option, const struct conf_list *list,
    const struct conf_node *node, unsigned indent)
{
	const uint8_t *at = list->items;

	buf_append_text(dump->out, list->items == NULL ? " null\n"
				   : list->count == 0  ? " []\n"
						       : "\n");
	for (size_t i = 0; i < list->count; i++, at += option->schema->size) {
		put_indent(dump, indent);
		buf_append_text(dump->out, "-\n");
		conf_dump_struct(dump, option->schema, at, item_of(node, i), indent + 1);
	}
}

static void
put_named(struct conf_dump *dump, const struct conf_option *option, const struct conf_list *list,
    const struct conf_node *node, unsigned indent)
{
	const uint8_t *at = list->items;

	buf_append_text(dump->out, list->items == NULL ? " null\n"
				   : list->count == 0  ? " {}\n"
						       : "\n");
	for (size_t i = 0; i < list->count; i++, at += option->schema->size) {
		const char *name;

		memcpy(&name, at + option->schema->name_offset, sizeof(name));
		put_indent(dump, indent);
		if (is_long(name)) {
			buf_append_text(dump->out, "? ");
			put_text(dump, name);
			buf_append_byte(dump->out, '\n');
			put_indent(dump, indent);
		} else {
			put_text(dump, name);
		}
		buf_append_text(dump->out, ":\n");
		conf_dump_struct(dump, option->schema, at,
		    node != NULL && node->kind == CONF_MAPPING && i < node->count
			? node->pairs[i].value
			: NULL,
		    indent + 1);
	}
}

static const struct conf_node *
node_of(const struct conf_schema *schema, const struct conf_option *option,
    const struct conf_node *node)
{
	const struct conf_pair *pair;

	if (node == NULL) {
		return NULL;
	}
	if (node->kind != CONF_MAPPING) {
		return schema->shorthand != NULL && strcmp(schema->shorthand, option->name) == 0
			   ? node
			   : NULL;
	}
	pair = conf_node_find(node, option->name);
	return pair != NULL ? pair->value : NULL;
}

void
conf_dump_struct(struct conf_dump *dump, const struct conf_schema *schema, const void *target,
    const struct conf_node *node, unsigned indent)
{
	for (size_t i = 0; i < schema->count; i++) {
		const struct conf_option *option = &schema->options[i];
		const struct conf_node *source = node_of(schema, option, node);
		const void *member = (const uint8_t *)target + option->offset;

		if (dump->help && option->help != NULL) {
			put_help(dump, option->help, indent);
		}
		put_indent(dump, indent);
		buf_printf(dump->out, "%s:", option->name);
		if (is_hidden(option, source)) {
			buf_append_text(dump->out, " null # not shown\n");
			continue;
		}
		switch (option->type) {
		case CONF_STRUCT:
			buf_append_byte(dump->out, '\n');
			conf_dump_struct(dump, option->schema, member, source, indent + 1);
			break;
		case CONF_LIST:
			put_list(dump, option, member, source, indent + 1);
			break;
		case CONF_NAMED:
			put_named(dump, option, member, source, indent + 1);
			break;
		default:
			buf_append_byte(dump->out, ' ');
			put_value(dump, option, member, source);
			buf_append_byte(dump->out, '\n');
			break;
		}
	}
}
