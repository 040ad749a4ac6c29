/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bound struct as YAML: every option with the value in force. What came from !env or !file is
 * written as that reference, a secret as nothing; the rest reads back to the same struct.
 */
#ifndef CONF_DUMP_H
#define CONF_DUMP_H

#include "base/buf.h"
#include "conf/schema.h"
#include "conf/yaml.h"

struct conf_dump {
	struct buf *out;
	bool help; /* each option behind its help, as a comment */
};

/* node is what target was bound from, or NULL. indent: levels of two blanks. */
void conf_dump_struct(struct conf_dump *dump, const struct conf_schema *schema, const void *target,
    const struct conf_node *node, unsigned indent);

#endif
