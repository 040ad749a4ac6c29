/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands for operators that a running instance answers: `avocetctl INSTANCE COMMAND ...`, over
 * the broker's control socket. Since ABI 0.0.
 */
#ifndef AVOCET_ADMIN_H
#define AVOCET_ADMIN_H

#include <avocet/avocet_plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AVOCET_HOST_ADMIN "avocet.admin/0"

#define AVOCET_ADMIN_JSON 1u /* --json was given: print one JSON value. */

/* What a command is given; borrowed for the call. Sized; the host allocates it. */
typedef struct avocet_admin_in {
	uint32_t struct_size;
	uint32_t flags;         /* AVOCET_ADMIN_* */
	const avocet_str *args; /* The words behind the command's name. */
	size_t n_args;
} avocet_admin_in;

/* Answers by print() and one end(), in the call or later. It must not block. [main] */
typedef void (*avocet_admin_fn)(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg);

typedef struct avocet_admin_api {
	uint32_t struct_size;
	uint32_t reserved;
	/* name: one or two words of lower case, digits and dashes; usage: what follows them; help:
	 * one line. The texts are copied. The same name again replaces what it does. At most 64 per
	 * instance: AVOCET_E_FULL. [main] */
	int32_t (*command)(avocet_self *self, const char *name, const char *usage, const char *help,
	    avocet_admin_fn fn, void *arg);
	/* Text for standard output, as it is. AVOCET_E_GONE: nobody waits; other threads than main
	 * are not told so. [any] */
	int32_t (*print)(avocet_self *self, avocet_req_h req, const char *text, size_t n);
	/* The end: exit status (0; 1 refused, not found; 2 usage) and, unless NULL or empty, a
	 * sentence for standard error. Once. [any] */
	int32_t (*end)(avocet_self *self, avocet_req_h req, int32_t status, const char *sentence);
} avocet_admin_api;

#ifdef __cplusplus
}
#endif
#endif
