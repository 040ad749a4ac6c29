/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration as data: a room describes its options in a table, and binding, checking, dumping
 * and the manual read the same table. An option fills one member of a struct; the member's C type
 * follows from the option's type.
 */
#ifndef CONF_SCHEMA_H
#define CONF_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf_node;
struct conf_check;

/* The type of an option                                          the member it fills */
enum conf_type {
	CONF_BOOL,     /* true, yes, on; false, no, off               bool */
	CONF_INT,      /* decimal, or one of `words`                  int64_t */
	CONF_SIZE,     /* 4096, 64KiB, 16MiB, 2GiB, or a word         int64_t, bytes */
	CONF_DURATION, /* 200ms, 10s, 5m, 1h30m, 30d, 0, or a word    int64_t, milliseconds */
	CONF_ENUM,     /* one of `words`                              int64_t */
	CONF_FLAGS,    /* a sequence of `words`                       int64_t, their values or-ed */
	CONF_STRING,   /* text without NUL; null is NULL              const char * */
	CONF_STRINGS,  /* a sequence of texts, or one alone           struct conf_strings */
	CONF_STRUCT,   /* a mapping, by `schema`                      that struct itself */
	CONF_LIST,     /* a sequence of mappings, by `schema`         struct conf_list */
	CONF_NAMED,    /* a mapping of names to mappings              struct conf_list */
	CONF_NODE,     /* anything; checked by `schema` if there      const struct conf_node * */
};

/* A duration that never ends. */
#define CONF_NEVER INT64_MAX

/* A word with its value; a NULL word ends the list. */
struct conf_word {
	const char *word;
	int64_t value;
};

/* items is NULL where nothing was written and there is no default: that is not an empty sequence.
 */
struct conf_strings {
	const char **items;
	size_t count;
};

struct conf_list {
	void *items; /* an array of structs of the schema's size */
	size_t count;
};

struct conf_option {
	const char *name; /* the key: lower case, underscores */
	enum conf_type type;
	size_t offset;        /* of the member */
	const char *fallback; /* the default, as YAML text; NULL: zero, NULL or empty (of a struct:
				 its own defaults) */
	const char *help; /* one plain sentence or phrase, for the manual and the commented dump */
	int64_t min, max; /* of numbers, ends included; max 0: no limit above */
	const struct conf_word *words;
	const struct conf_schema *schema;
	bool required;
	bool secret; /* never shown */
};

/*
 * Looks at a struct after it was filled; says what is wrong with conf_check_fail (bind.h). Not
 * called for a struct that already has errors.
 */
typedef void conf_check_fn(struct conf_check *check, void *target);

struct conf_schema {
	const struct conf_option *options;
	size_t count;
	size_t size;           /* of the struct */
	const char *shorthand; /* the key that a bare value stands for; NULL: a mapping is needed */
	size_t name_offset;    /* for CONF_NAMED: of the const char * that takes the name */
	conf_check_fn *check;
};

#define CONF_COUNT(options) (sizeof(options) / sizeof((options)[0]))

#endif
