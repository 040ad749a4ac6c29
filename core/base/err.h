/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors between rooms: an int, 0 or one of these negative codes. A refusal to a client is a reason
 * code of MQTT and never one of these. Any thread.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

enum err {
	ERR_NONE = 0,
	ERR_NOMEM = -1,   /* no memory for a size that a client or a file drives */
	ERR_LIMIT = -2,   /* a configured or built-in limit was reached */
	ERR_INVALID = -3, /* an argument or a file is not what it must be */
	ERR_IO = -4,      /* the operating system refused; errno says why */
	ERR_NOT_FOUND = -5,
	ERR_AGAIN = -6,       /* not now; the matching callback will say when */
	ERR_GONE = -7,        /* the handle is stale */
	ERR_UNSUPPORTED = -8, /* the other side cannot do this */
};

/* A short phrase in lower case, for logs; never NULL. */
const char *err_text(int code);

/* Writes one line to stderr and aborts. For what cannot be survived: no memory, a broken invariant.
 */
void err_fatal(const char *sentence) __attribute__((noreturn, cold));

/*
 * "Cannot happen": true when it did. A debug build aborts; a build with NDEBUG goes on, and the
 * caller refuses safely:
 *
 *     if (err_impossible(slot >= table->count)) {
 *             return ERR_GONE;
 *     }
 */
#define err_impossible(condition) \
	(__builtin_expect(!!(condition), 0) && err_happened(#condition, __FILE__, __LINE__))

bool err_happened(const char *condition, const char *file, int line) __attribute__((cold));

#endif
