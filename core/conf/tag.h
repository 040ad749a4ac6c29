/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tags of YAML that bring a value from elsewhere: !env and !file. What they bring is a secret: only
 * the reference is ever shown.
 */
#ifndef CONF_TAG_H
#define CONF_TAG_H

#include "conf/yaml.h"

/* Puts the value that the tag stands for in place of the node; errors are gathered. file: where the
 * node stands. */
void conf_tag_apply(
    struct conf_parse *parse, const char *file, struct conf_node *node, const char *tag);

#endif
