/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong in a configuration: all of it in one run, each as `file:line:column: path:
 * sentence`. A sentence never repeats a value that came from !env or !file.
 */
#ifndef CONF_ERROR_H
#define CONF_ERROR_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/vec.h"

/* A place in a file, lines and characters counted from 1; line 0: the file as a whole. */
struct conf_place {
	const char *file; /* lives as long as the configuration */
	uint32_t line;
	uint32_t column;
};

struct conf_error {
	struct conf_place place;
	const char *path; /* `listeners[0].tls`, "" at the top */
	const char *sentence;
};

struct conf_errors {
	struct arena *arena; /* holds the texts */
	VEC(struct conf_error) list;
	size_t max;  /* more are counted, not kept */
	size_t more; /* those */
};

void conf_errors_init(struct conf_errors *errors, struct arena *arena, size_t max);
void conf_errors_fini(struct conf_errors *errors);

void conf_errors_add(struct conf_errors *errors, struct conf_place place, const char *path,
    const char *format, ...) __attribute__((format(printf, 4, 5)));
void conf_errors_vadd(struct conf_errors *errors, struct conf_place place, const char *path,
    const char *format, va_list args) __attribute__((format(printf, 4, 0)));

/* Appends a line for each, ordered by file, line and column; nothing in it breaks a line. */
void conf_errors_format(struct conf_errors *errors, struct buf *out);

#endif
