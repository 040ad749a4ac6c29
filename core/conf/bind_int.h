/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of binding share: bind.c (structs and sequences) and scalar.c (values, and the
 * sentences about them).
 */
#ifndef CONF_BIND_INT_H
#define CONF_BIND_INT_H

#include "conf/bind.h"

/* One option with the node that sets it, and the member that it fills. */
struct conf_slot {
	const struct conf_option *option;
	const struct conf_node *node;
	void *member;
};

/* Goes down to a key; what it returns is given to conf_path_leave. */
size_t conf_path_enter(struct conf_path *path, const char *name);
void conf_path_leave(struct conf_path *path, size_t before);

/* An error at a place, under the current path. */
void conf_bind_fail(struct conf_bind *bind, struct conf_place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Fills the member from a scalar; the node is one. */
void conf_scalar_bind(struct conf_bind *bind, const struct conf_slot *slot);

/* "X must be SENTENCE, or WORDS"; sentence NULL: one of the option's words is all that may stand
 * there. */
void conf_scalar_fail_word(
    struct conf_bind *bind, const struct conf_slot *slot, const char *sentence);

#endif
