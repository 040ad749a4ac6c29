/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/dump.h"

#include <string.h>

#include "conf/value.h"

enum { HELP_WIDTH = 92 };

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

/* --- nodes that are kept as they are --- */

/* In flow style, on one line. */
static void
put_node(struct conf_dump *dump, const struct conf_node *node)
{
	const char *comma = "";

	switch (node->kind) {
	case CONF_SCALAR:
		if (node->reference != NULL) {
			buf_append_text(dump->out, node->reference);
		} else if (conf_node_is_null(node)) {
			buf_append_text(dump->out, "null");
		} else if (node->quoted) {
			conf_value_quote_always(dump->out, node->text);
		} else {
			conf_value_quote(dump->out, node->text);
		}
		break;
	case CONF_SEQUENCE:
		buf_append_byte(dump->out, '[');
		for (size_t i = 0; i < node->count; i++, comma = ", ") {
			buf_append_text(dump->out, comma);
			put_node(dump, node->items[i]);
		}
		buf_append_byte(dump->out, ']');
		break;
	case CONF_MAPPING:
		buf_append_byte(dump->out, '{');
		for (size_t i = 0; i < node->count; i++, comma = ", ") {
			buf_append_text(dump->out, comma);
			put_text(dump, node->pairs[i].key);
			buf_append_text(dump->out, ": ");
			put_node(dump, node->pairs[i].value);
		}
		buf_append_byte(dump->out, '}');
		break;
	}
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
		if ((flags & word->value) == word->value) {
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
			put_node(dump, kept);
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

	buf_append_text(dump->out, list->count == 0 ? " []\n" : "\n");
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

	buf_append_text(dump->out, list->count == 0 ? " {}\n" : "\n");
	for (size_t i = 0; i < list->count; i++, at += option->schema->size) {
		const char *name;

		memcpy(&name, at + option->schema->name_offset, sizeof(name));
		put_indent(dump, indent);
		put_text(dump, name);
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

/* A secret is hidden, unless it lies elsewhere and only that place is written here. */
static bool
is_hidden(const struct conf_option *option, const struct conf_node *node)
{
	bool elsewhere = node != NULL && node->reference != NULL && !node->has_default;

	return option->secret && !elsewhere;
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
