/* SPDX-License-Identifier: Apache-2.0 */
/* Links of plugins in the configuration: what `links` says, for each instance that may have some.
 */
#ifndef BROKER_LINKS_H
#define BROKER_LINKS_H

#include "broker/options.h"
#include "conf/schema.h"

/* Among the last checks of the whole: makes the terms of each instance, without their chains. */
void broker_links_make(struct conf_check *check, struct broker_options *options);

/* The set of chains that `links` names for this instance, or "default". */
const char *broker_links_chains(const struct broker_options *options, const char *instance);

/* For struct link_house_options. Any thread. */
const struct link_terms *broker_links_terms(struct conf *conf, const char *instance);

#endif
