/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration as a whole: files read and merged, bound by schemas, immutable afterwards and
 * shared by reference count. Reading and binding are done by one thread; then any thread may look
 * at it.
 *
 *     struct conf *conf = conf_load("/etc/avocet/avocet.yaml", NULL);
 *     const struct broker_options *options = conf_bind(conf, &broker_schema);
 *     if (conf_has_errors(conf)) { conf_format_errors(conf, &text); … }
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "conf/bind.h"
#include "conf/dump.h"
#include "conf/schema.h"
#include "conf/yaml.h"

struct conf;

/*
 * Reads a file and the files that its key `include` names (patterns, relative to it; included files
 * include nothing). Mappings merge, sequences are joined in the order of the files, a value set
 * twice is an error. Never NULL; what went wrong is among the errors. limits NULL:
 * conf_default_limits.
 */
struct conf *conf_load(const char *path, const struct conf_limits *limits);

/* The same from a text, without include; sources may be NULL. */
struct conf *conf_read(const char *name, struct bytes text, const struct conf_limits *limits,
    const struct conf_sources *sources);

struct conf *conf_ref(struct conf *conf);
void conf_unref(struct conf **conf);

/* Where to tell what is wrong, for who binds a part of it into memory of its own (bind.h). */
struct conf_errors *conf_errors_of(struct conf *conf);

/* fn runs when the last reference goes, on the thread that gave it up, in the reverse order of
 * these calls. Before it is shared. */
typedef void conf_free_fn(void *arg);
void conf_on_free(struct conf *conf, conf_free_fn *fn, void *arg);

/* The whole tree by one schema: a struct that lives as long as the configuration, or NULL when
 * there are errors. */
const void *conf_bind(struct conf *conf, const struct conf_schema *schema);

/* What conf_bind made of it last, or NULL; for who has the configuration but not the struct. */
const void *conf_bound(const struct conf *conf);

/* A part of it: a node that CONF_NODE kept, or NULL for all defaults. path: where it stands, for
 * errors. */
const void *conf_bind_part(struct conf *conf, const struct conf_schema *schema,
    const struct conf_node *node, const char *path);

/* The same over a copy of `base`, a struct of that schema, in place of the defaults. */
const void *conf_bind_part_over(struct conf *conf, const struct conf_schema *schema,
    const struct conf_node *node, const char *path, const void *base);

/* An error that a room finds later, at a node's place (NULL: the file as a whole). */
void conf_fail(struct conf *conf, const struct conf_node *node, const char *path,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

bool conf_has_errors(const struct conf *conf);

/* Appends one line for each error. */
void conf_format_errors(struct conf *conf, struct buf *out);

/* Appends what was bound by conf_bind as YAML, with defaults; help: and with what each option is
 * for. */
bool conf_dump(const struct conf *conf, const struct conf_schema *schema, const void *target,
    bool help, struct buf *out);

/* The merged tree; NULL when there was none. Borrowed. */
const struct conf_node *conf_root(const struct conf *conf);

#endif
