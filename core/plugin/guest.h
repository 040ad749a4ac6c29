/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a room above needs to offer an interface of its own to instances: to hold one, to call it,
 * and to find its own house again. Any thread.
 */
#ifndef PLUGIN_GUEST_H
#define PLUGIN_GUEST_H

#include <avocet/avocet_plugin.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "msg/draft.h"

/* While somebody holds it, it is not freed. */
struct avocet_self *plugin_ref(struct avocet_self *self);
void plugin_unref(struct avocet_self *self);

const char *plugin_name(const struct avocet_self *self);
void *plugin_inst(const struct avocet_self *self); /* what its functions are given first */

/* It was made and has not stopped: may it use what the host offers? */
bool plugin_is_alive(const struct avocet_self *self);

/* Around each call of one of its functions on a worker: it is timed, and named if it blocks. */
int64_t plugin_enter(struct avocet_self *self);
void plugin_leave(struct avocet_self *self, int64_t entered_ns, const char *function);

/* plugin_house_options.links of its house. */
void *plugin_links_of(const struct avocet_self *self);

/* Main's thread? Also true before there are others. */
bool plugin_is_main(const struct avocet_self *self);

/* A message of the plugin's own as a draft, which owns its copy; the given struct may be an older
 * one; is_for_here: not below
 * $SYS. AVOCET_OK, _E_INVAL, _E_NOMEM; then there is nothing to free. */
int32_t plugin_take_publish(
    const avocet_publish *given, bool is_for_here, struct msg_draft *draft_out);

/* A message as plugins see it, without its properties; and those, into `out` (NULL: only counted).
 * Views. */
void plugin_show_msg(const struct msg *msg, uint8_t qos, bool retain, avocet_msg *msg_out);
size_t plugin_props_view(struct bytes block, avocet_prop *out);

#endif
