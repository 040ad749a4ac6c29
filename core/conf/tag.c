/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/tag.h"

#include <errno.h>
#include <string.h>

#include <yaml.h>

#include "base/utf8.h"
#include "conf/value.h"

static void
fail(const struct conf_parse *parse, const struct conf_node *node, const char *sentence)
{
	conf_errors_add(parse->errors, node->place, "", "%s", sentence);
}

static void
set_value(const struct conf_parse *parse, struct conf_node *node, const char *reference,
    struct bytes value)
{
	struct arena *arena = parse->arena;

	if (value.len > parse->limits->max_value || utf8_classify(value) >= UTF8_NUL) {
		conf_errors_add(parse->errors, node->place, "",
		    "the value that this brings is too long, or no text");
		value.len = 0;
	}
	*node =
	    (struct conf_node){.kind = CONF_SCALAR, .place = node->place, .weight = node->weight};
	node->quoted = true; /* whatever it says, it is text and not null */
	node->reference = reference;
	node->text.len = value.len;
	node->text.data = (const uint8_t *)arena_text(arena, value);
}

/* The reference as YAML that reads back: "!env NAME", "!env {name: NAME, default: TEXT}" or "!file
 * PATH". */
static const char *
make_reference(
    const struct conf_parse *parse, const char *tag, const char *name, const char *fallback)
{
	struct buf text;
	const char *reference;

	buf_init(&text, SIZE_MAX);
	buf_printf(&text, "%s %s", tag, fallback != NULL ? "{name: " : "");
	conf_value_quote(&text, bytes_of(name));
	if (fallback != NULL) {
		buf_append_text(&text, ", default: ");
		conf_value_quote(&text, bytes_of(fallback));
		buf_append_byte(&text, '}');
	}
	reference = arena_text(parse->arena, buf_bytes(&text));
	buf_fini(&text);
	return reference;
}

static const char *
scalar_of(const struct conf_node *node, const char *key)
{
	const struct conf_pair *pair = conf_node_find(node, key);

	return pair != NULL && pair->value->kind == CONF_SCALAR
		   ? (const char *)pair->value->text.data
		   : NULL;
}

/* !env NAME, or !env {name: NAME, default: TEXT}. */
static void
resolve_env(const struct conf_parse *parse, struct conf_node *node)
{
	const struct conf_sources *sources = parse->sources;
	const char *fallback = NULL, *name = NULL, *value;

	if (node->kind == CONF_SCALAR) {
		name = (const char *)node->text.data;
	} else if (node->kind == CONF_MAPPING) {
		name = scalar_of(node, "name");
		fallback = scalar_of(node, "default");
	}
	if (name == NULL || *name == '\0' ||
	    (node->kind == CONF_MAPPING && node->count != 1u + (fallback != NULL))) {
		fail(parse, node, "write !env NAME or !env {name: NAME, default: VALUE}");
		return;
	}
	value = sources != NULL && sources->env != NULL ? sources->env(name) : NULL;
	if (value == NULL && fallback == NULL) {
		conf_errors_add(parse->errors, node->place, "",
		    "the environment variable %.64s is not set", name);
	}
	value = value != NULL ? value : fallback != NULL ? fallback : "";
	set_value(parse, node, make_reference(parse, "!env", name, fallback), bytes_of(value));
}

/* !file PATH: the file's text without the newline at its end. */
static void
resolve_file(const struct conf_parse *parse, const char *file, struct conf_node *node)
{
	const struct conf_sources *sources = parse->sources;
	const char *path;
	struct buf text;

	if (node->kind != CONF_SCALAR || node->text.len == 0) {
		fail(parse, node, "write !file PATH");
		return;
	}
	path = conf_path_beside(parse->arena, file, (const char *)node->text.data);
	/* One byte more than allowed, so that a file that is too large shows. */
	buf_init(&text, parse->limits->max_value + 1);
	errno = 0;
	if (sources == NULL || sources->file == NULL || !sources->file(path, &text)) {
		conf_errors_add(parse->errors, node->place, "", "%.256s cannot be read: %s", path,
		    errno != 0 ? strerror(errno) : "files are not allowed here");
	}
	while (
	    text.len != 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r')) {
		text.len--;
	}
	set_value(parse, node, make_reference(parse, "!file", (const char *)node->text.data, NULL),
	    buf_bytes(&text));
	buf_fini_wiped(&text);
}

void
conf_tag_apply(
    const struct conf_parse *parse, const char *file, struct conf_node *node, const char *tag)
{
	if (strcmp(tag, "!env") == 0) {
		resolve_env(parse, node);
	} else if (strcmp(tag, "!file") == 0) {
		resolve_file(parse, file, node);
	} else if (strcmp(tag, YAML_STR_TAG) == 0 && node->kind == CONF_SCALAR) {
		node->quoted = true;
	} else if (strcmp(tag, "!") != 0) {
		conf_errors_add(parse->errors, node->place, "",
		    "the tag %.64s is unknown; there are !env and !file", tag);
	}
}
