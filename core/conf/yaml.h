/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML text to a tree of nodes, each with its place. The tree lives in an arena. Bounded: size,
 * depth, number of nodes (aliases count what they stand for), length of a value; what is beyond is
 * refused with a sentence, as are anchors that contain themselves, duplicate keys, keys that are no
 * scalars, several documents and unknown tags.
 */
#ifndef CONF_YAML_H
#define CONF_YAML_H

#include <stdbool.h>

#include "base/bytes.h"
#include "conf/error.h"

enum conf_kind { CONF_SCALAR, CONF_SEQUENCE, CONF_MAPPING };

struct conf_node;

struct conf_pair {
	const char *key;
	struct conf_place place; /* of the key */
	struct conf_node *value;
};

struct conf_node {
	enum conf_kind kind;
	bool quoted;      /* a scalar in quotes, or a block: text, never null or a number */
	bool failed;      /* its value could not be had, which was told: binding passes over it */
	bool has_default; /* of a reference: it names a default */
	unsigned height;  /* levels in this subtree, 1 for a scalar */
	struct conf_place place;
	struct bytes text;     /* of a scalar: its value, NUL terminated */
	const char *reference; /* YAML text of where the value came from, "!env NAME"; else NULL */
	struct conf_node **items; /* of a sequence */
	struct conf_pair *pairs;  /* of a mapping */
	size_t count;             /* of items or pairs */
	size_t
	    weight; /* nodes in this subtree, aliases expanded, and one per 64 bytes of a value */
};

struct conf_limits {
	size_t max_bytes; /* of a file */
	size_t max_value; /* bytes of a scalar, and of a file that !file names */
	size_t max_nodes; /* of all files together; a long value counts for several */
	size_t max_keys;  /* of one mapping */
	unsigned max_depth;
	size_t max_files;  /* the first one and those that it includes */
	size_t max_errors; /* kept; more are counted */
};

extern const struct conf_limits conf_default_limits;

/* How !env and !file are looked up; NULL functions refuse. Values are copied. */
struct conf_sources {
	/* The value of an environment variable, or NULL. */
	const char *(*env)(const char *name);
	/* Appends the contents of a file; false and errno when it cannot be read. */
	bool (*file)(const char *path, struct buf *out);
};

struct conf_parse {
	struct arena *arena;
	struct conf_errors *errors;
	const struct conf_limits *limits;
	const struct conf_sources *sources;
	size_t nodes; /* made so far, over all files */
};

/* So many bytes of a value weigh as much as a node: what an alias repeats is bytes as well. */
enum { CONF_BYTES_PER_NODE = 64 };

/* Adds the weight of a value's bytes to a node; false when the limit is met. For the room itself.
 */
bool conf_yaml_weigh(struct conf_parse *parse, struct conf_node *node, size_t len);

/*
 * Parses one text. `file` is its name for places, and its folder is where relative paths of !file
 * begin. NULL when the text could not be read to its end; faults of content (a key that stands
 * twice, a tag that is unknown, a variable that is not set) leave a tree. The errors say what was
 * wrong. An empty text is an empty mapping.
 */
struct conf_node *conf_yaml_parse(struct conf_parse *parse, const char *file, struct bytes text);

/* The pair with this key, or NULL; for a mapping. */
const struct conf_pair *conf_node_find(const struct conf_node *node, const char *key);

/* Nothing was written: no text, ~ or null, not in quotes and not from elsewhere. */
bool conf_node_is_null(const struct conf_node *node);

/* "a mapping", "a sequence", "a value": for sentences. */
const char *conf_kind_name(enum conf_kind kind);

/* A path of a file as another file names it: relative to that file's folder. In the arena. */
const char *conf_path_beside(struct arena *arena, const char *file, const char *path);

#endif
