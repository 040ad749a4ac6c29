/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/tag.h"

#include <errno.h>
#include <string.h>

#include <yaml.h>

#include "base/utf8.h"
#include "conf/value.h"

/* The node has no value; binding passes over it. */
static void __attribute__((format(printf, 3, 4)))
fail(struct conf_parse *parse, struct conf_node *node, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	conf_errors_vadd(parse->errors, node->place, "", format, args);
	va_end(args);
	*node = (struct conf_node){.kind = CONF_SCALAR,
	    .failed = true,
	    .place = node->place,
	    .weight = node->weight,
	    .height = node->height,
	    .text = {(const uint8_t *)"", 0}};
}

static void
set_value(
    struct conf_parse *parse, struct conf_node *node, const char *reference, struct bytes value)
{
	if (value.len > parse->limits->max_value || !conf_yaml_weigh(parse, node, value.len)) {
		fail(parse, node, "the value that this brings is too long");
		return;
	}
	if (utf8_classify(value) >= UTF8_NUL) {
		fail(parse, node, "the value that this brings is no text");
		return;
	}
	*node = (struct conf_node){.kind = CONF_SCALAR,
	    .place = node->place,
	    .weight = node->weight,
	    .height = node->height,
	    .reference = reference};
	node->text.len = value.len;
	node->text.data = (const uint8_t *)arena_text(parse->arena, value);
}

/* The reference as YAML that reads back: "!env NAME", "!env {name: NAME, default: TEXT}" or "!file
 * PATH". */
static const char *
make_reference(struct conf_parse *parse, const char *tag, const char *name, const char *fallback)
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

/* A scalar of a mapping, or NULL; one that came from elsewhere is a secret, and none to build on.
 */
static const char *
scalar_of(const struct conf_node *node, const char *key)
{
	const struct conf_pair *pair = conf_node_find(node, key);
	const struct conf_node *value = pair != NULL ? pair->value : NULL;

	if (value == NULL || value->kind != CONF_SCALAR || value->reference != NULL) {
		return NULL;
	}
	return (const char *)value->text.data;
}

/* !env NAME, or !env {name: NAME, default: TEXT}. */
static void
resolve_env(struct conf_parse *parse, struct conf_node *node)
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
		fail(parse, node, "the environment variable %.64s is not set", name);
		return;
	}
	value = value != NULL ? value : fallback;
	set_value(parse, node, make_reference(parse, "!env", name, fallback), bytes_of(value));
	node->has_default = fallback != NULL;
}

static bool
is_line_end(uint8_t byte)
{
	return byte == '\n' || byte == '\r';
}

/* !file PATH: the file's text without the newline at its end. */
static void
resolve_file(struct conf_parse *parse, const char *file, struct conf_node *node)
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
	buf_init(
	    &text, parse->limits->max_value < SIZE_MAX ? parse->limits->max_value + 1 : SIZE_MAX);
	errno = 0;
	if (sources == NULL || sources->file == NULL || !sources->file(path, &text)) {
		fail(parse, node, "%.256s cannot be read: %s", path,
		    errno != 0 ? strerror(errno) : "files are not allowed here");
	} else if (text.failed) {
		fail(parse, node, "%.256s is too long", path);
	} else {
		while (text.len != 0 && is_line_end(text.data[text.len - 1])) {
			text.len--;
		}
		set_value(parse, node,
		    make_reference(parse, "!file", (const char *)node->text.data, NULL),
		    buf_bytes(&text));
	}
	buf_fini_wiped(&text);
}

void
conf_tag_apply(struct conf_parse *parse, const char *file, struct conf_node *node, const char *tag)
{
	if (strcmp(tag, "!env") == 0) {
		resolve_env(parse, node);
	} else if (strcmp(tag, "!file") == 0) {
		resolve_file(parse, file, node);
	} else if (strcmp(tag, YAML_STR_TAG) == 0 && node->kind == CONF_SCALAR) {
		node->quoted = true;
	} else if (strcmp(tag, "!") != 0) {
		fail(parse, node, "the tag %.64s is unknown; there are !env and !file", tag);
	}
}
