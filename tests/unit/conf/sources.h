/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An environment and files that are tables, for the tests of references: most of what they bring
 * is the one text that nobody may see again.
 */
#ifndef UNIT_CONF_SOURCES_H
#define UNIT_CONF_SOURCES_H

#include "unit/conf/conf_unit.h"

#include <errno.h>

#include "unit/conf/sample.h"

#define SECRET "hunter2"

static char big_value[70000];

static inline const char *
fake_env(const char *name)
{
	static const struct {
		const char *name, *value;
	} rows[] = {{"SECRET", SECRET}, {"FOUR", "4"}, {"NO", "no"}, {"NULL", "null"},
	    {"TILDE", "~"}, {"EMPTY", ""}, {"SIZE", "2MiB"}, {"LEVEL", "debug"}, {"VERSION", "5.0"},
	    {"LIST", "[a, *b, !env X]"}, {"LINES", "a\nb: c\n"}, {"SPACES", "  a  "},
	    {"BINARY", "\xff\xfe"}, {"BIG", big_value}, {"AUTO", "auto"}, {"SPAN", "1h30m"}};

	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		if (strcmp(rows[i].name, name) == 0) {
			return rows[i].value;
		}
	}
	return NULL;
}

static inline bool
fake_file(const char *path, struct buf *out)
{
	static const struct {
		const char *path;
		struct bytes content;
	} rows[] = {
	    {"d/secret", {(const uint8_t *)"hunter2\n", 8}},
	    {"d/bare", {(const uint8_t *)"hunter2", 7}},
	    {"d/four", {(const uint8_t *)"4\n", 2}},
	    {"d/null", {(const uint8_t *)"null\n", 5}},
	    {"d/empty", {(const uint8_t *)"", 0}},
	    {"d/lines", {(const uint8_t *)"a\nb\n", 4}},
	    {"d/spaces", {(const uint8_t *)"  a: b # c\t \n", 13}},
	    {"d/binary", {(const uint8_t *)"hunter2\xff", 8}},
	    {"d/nul", {(const uint8_t *)"hunter2\0x", 9}},
	    {"/abs", {(const uint8_t *)"hunter2", 7}},
	    {"d/../up", {(const uint8_t *)"hunter2", 7}},
	    {"d/big", {(const uint8_t *)big_value, sizeof(big_value) - 1}},
	};

	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		if (strcmp(rows[i].path, path) == 0) {
			buf_append_bytes(out, rows[i].content);
			return true;
		}
	}
	errno = ENOENT;
	return false;
}

static const struct conf_sources fake = {fake_env, fake_file};

static inline int
fill_big_value(void **state)
{
	(void)state;
	memset(big_value, 'B', sizeof(big_value) - 1);
	return 0;
}

static inline struct conf *
read_fake(const char *text)
{
	return conf_read("d/x.yaml", bytes_of(text), NULL, &fake);
}

static inline const struct sample *
bound(struct conf **conf, const char *text)
{
	*conf = read_fake(text);
	const struct sample *sample = conf_bind(*conf, &sample_schema);

	assert_nothing_said(*conf);
	assert_non_null(sample);
	return sample;
}

#endif
