/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scalars: text to values and back.
 */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include "base/buf.h"
#include "base/bytes.h"
#include "conf/schema.h"

/* NULL when the text was understood, else what it should have been: "must be a size such as 64KiB".
 */
const char *conf_value_bool(struct bytes text, bool *value_out);
const char *conf_value_int(struct bytes text, int64_t *value_out);
const char *conf_value_size(struct bytes text, int64_t *value_out);
const char *conf_value_duration(struct bytes text, int64_t *value_out);

/* The word's value; false when it is none of them. words may be NULL. */
bool conf_value_word(struct bytes text, const struct conf_word *words, int64_t *value_out);

/* A number of the option's type as text that binding reads back to the same value. */
void conf_value_format(struct buf *out, const struct conf_option *option, int64_t value);

/* Text as a YAML scalar on one line: plain where that is safe, else in double quotes. */
void conf_value_quote(struct buf *out, struct bytes text);

/* Always in double quotes: text that must stay text. */
void conf_value_quote_always(struct buf *out, struct bytes text);

#endif
