/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of this room share: texts read, sentences compared by place, path and words, and
 * steps that may die or never end, each in a process of its own.
 */
#ifndef UNIT_CONF_CONF_UNIT_H
#define UNIT_CONF_CONF_UNIT_H

#include "lib/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf/conf.h"

/* What one line about an error has to be. */
struct said {
	const char *at;    /* "x.yaml:1:4", "x.yaml" for the file as a whole */
	const char *path;  /* "" at the top */
	const char *words; /* some of the sentence; NULL: any */
};

static inline struct conf *
read_text(const char *text)
{
	return conf_read("x.yaml", bytes_of(text), NULL, NULL);
}

/* The errors as text; the caller frees it. */
static inline char *
said_text(struct conf *conf)
{
	struct buf out;

	buf_init(&out, SIZE_MAX);
	conf_format_errors(conf, &out);
	char *text = strdup(buf_text(&out));
	buf_fini(&out);
	assert_non_null(text);
	return text;
}

/* The line is `at: path: sentence`, and the sentence is there and made of visible characters. */
static inline bool
said_line_fits(const char *line, size_t len, const struct said *want)
{
	char head[512];
	int head_len = snprintf(head, sizeof(head), "%s: %s%s", want->at, want->path,
	    want->path[0] != '\0' ? ": " : "");

	if (head_len < 0 || len <= (size_t)head_len || memcmp(line, head, (size_t)head_len) != 0) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) {
			return false;
		}
	}
	return want->words == NULL || memmem(line + head_len, len - (size_t)head_len, want->words,
					  strlen(want->words)) != NULL;
}

/* Exactly these errors, in this order. folder stands before each place. */
static inline void
assert_said_in(struct conf *conf, const char *folder, const struct said *want, size_t count)
{
	char *text = said_text(conf);
	const char *line = text;
	size_t i = 0;

	for (; *line != '\0' && i < count; i++) {
		size_t len = strcspn(line, "\n");
		size_t skip = strncmp(line, folder, strlen(folder)) == 0 ? strlen(folder) : 0;

		if (line[len] != '\n' || !said_line_fits(line + skip, len - skip, &want[i])) {
			break;
		}
		line += len + 1;
	}
	if (i != count || *line != '\0') {
		print_error("have\n%s", text);
		if (i < count) {
			print_error("want %s: %s: ...%s...\n", want[i].at, want[i].path,
			    want[i].words != NULL ? want[i].words : "");
		}
		free(text);
		fail_msg("%zu errors wanted, wrong from the one of index %zu", count, i);
	}
	assert_int_equal(conf_has_errors(conf), count != 0);
	free(text);
}

static inline void
assert_said(struct conf *conf, const struct said *want, size_t count)
{
	assert_said_in(conf, "", want, count);
}

/* One error, at a place of x.yaml ("" for the file as a whole). */
static inline void
assert_said_once(struct conf *conf, const char *place, const char *path, const char *words)
{
	char at[64];

	(void)snprintf(at, sizeof(at), "x.yaml%s%s", place[0] != '\0' ? ":" : "", place);
	assert_said(conf, &(struct said){at, path, words}, 1);
}

static inline void
assert_nothing_said(struct conf *conf)
{
	assert_said(conf, NULL, 0);
}

/* The value of a key, which must be there. */
static inline const struct conf_node *
value_of(const struct conf_node *mapping, const char *key)
{
	assert_non_null(mapping);
	assert_int_equal(mapping->kind, CONF_MAPPING);
	const struct conf_pair *pair = conf_node_find(mapping, key);

	if (pair == NULL) {
		fail_msg("no key %s", key);
		return NULL;
	}
	assert_non_null(pair->value);
	return pair->value;
}

static inline void
assert_scalar(const struct conf_node *node, const char *text)
{
	assert_non_null(node);
	assert_int_equal(node->kind, CONF_SCALAR);
	assert_bytes_text(node->text, text);
	assert_int_equal(node->text.data[node->text.len], 0);
}

static inline void
assert_place(struct conf_place place, uint32_t line, uint32_t column)
{
	if (place.line != line || place.column != column) {
		fail_msg("have %u:%u, want %u:%u", place.line, place.column, line, column);
	}
}

/*
 * Runs the step in a process of its own with so many seconds of CPU, its stderr closed to us. What
 * it returns, or -1 when it died or was stopped. The step asserts nothing: it answers.
 */
static inline int
run_apart(int (*step)(void *), void *argument, unsigned seconds)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit limit = {seconds, seconds};
		int sink = open("/dev/null", O_WRONLY);

		(void)setrlimit(RLIMIT_CPU, &limit);
		limit = (struct rlimit){0, 0};
		(void)setrlimit(RLIMIT_CORE, &limit);
		(void)dup2(sink, STDERR_FILENO);
		_exit(step(argument));
	}
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
