/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A schema with an option of every type, shaped like the broker's: for the fuzzer of the
 * configuration.
 */
#ifndef LIB_CONF_SAMPLE_H
#define LIB_CONF_SAMPLE_H

#include "conf/schema.h"

extern const struct conf_schema conf_sample_schema;

#endif
