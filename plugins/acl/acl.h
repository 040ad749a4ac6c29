/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ACL_ACL_H
#define ACL_ACL_H

#include <avocet/avocet_plugin.h>

/* avocetctl acl explain, check; tool.c */
extern const avocet_tool acl_tool;

#endif
