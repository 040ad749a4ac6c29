/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/error.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

void
conf_errors_init(struct conf_errors *errors, struct arena *arena, size_t max)
{
	*errors = (struct conf_errors){.arena = arena, .max = max};
}

void
conf_errors_fini(struct conf_errors *errors)
{
	vec_fini(&errors->list);
}

void
conf_errors_vadd(struct conf_errors *errors, struct conf_place place, const char *path,
    const char *format, va_list args)
{
	struct conf_error error = {.place = place};
	struct buf sentence;

	if (errors->list.count == errors->max) {
		errors->more++;
		return;
	}
	buf_init(&sentence, SIZE_MAX);
	buf_vprintf(&sentence, format, args);
	error.path = arena_text(errors->arena, bytes_of(path));
	error.sentence = arena_text(errors->arena, buf_bytes(&sentence));
	buf_fini(&sentence);
	vec_push(&errors->list, error);
}

void
conf_errors_add(
    struct conf_errors *errors, struct conf_place place, const char *path, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	conf_errors_vadd(errors, place, path, format, args);
	va_end(args);
}

/* Names of files are shared pointers; the order among files is that of their texts. */
static int
compare(const void *left, const void *right)
{
	const struct conf_place *a = &((const struct conf_error *)left)->place;
	const struct conf_place *b = &((const struct conf_error *)right)->place;
	int files = strcmp(a->file, b->file);

	if (files != 0) {
		return files;
	}
	if (a->line != b->line) {
		return a->line < b->line ? -1 : 1;
	}
	return a->column == b->column ? 0 : a->column < b->column ? -1 : 1;
}

void
conf_errors_format(struct conf_errors *errors, struct buf *out)
{
	const struct conf_error *error;

	if (errors->list.count > 1) {
		qsort(errors->list.items, errors->list.count, sizeof(*errors->list.items), compare);
	}
	vec_each (error, &errors->list) {
		str_escape(out, bytes_of(error->place.file), false);
		if (error->place.line != 0) {
			buf_printf(out, ":%u:%u", error->place.line, error->place.column);
		}
		buf_append_text(out, ": ");
		str_escape(out, bytes_of(error->path), false);
		buf_append_text(out, *error->path != '\0' ? ": " : "");
		str_escape(out, bytes_of(error->sentence), false);
		buf_append_byte(out, '\n');
	}
	if (errors->more != 0) {
		buf_printf(out, "and %zu more\n", errors->more);
	}
}
