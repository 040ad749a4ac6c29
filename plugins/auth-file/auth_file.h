/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AUTH_FILE_AUTH_FILE_H
#define AUTH_FILE_AUTH_FILE_H

#include <avocet/avocet_plugin.h>

/* avocetctl user add, passwd, del, list; tool.c */
extern const avocet_tool auth_file_tool;

#endif
