/* SPDX-License-Identifier: Apache-2.0 */
/* What the tables of options.c have checked by check.c; inside the room. */
#ifndef BROKER_CHECK_INT_H
#define BROKER_CHECK_INT_H

#include "broker/options.h"

extern const struct conf_schema broker_durability_schema;

conf_check_fn broker_check_general;
conf_check_fn broker_check_log;
conf_check_fn broker_check_member;
conf_check_fn broker_check_plugin;
conf_check_fn broker_check_link;
conf_check_fn broker_check_filter;
conf_check_fn broker_check_tls;
conf_check_fn broker_check_listener;
conf_check_fn broker_check_options;

#endif
