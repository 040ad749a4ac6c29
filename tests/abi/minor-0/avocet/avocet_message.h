/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interceptors, which see messages on their way and may change, drop or refuse them. Since ABI 0.0.
 *
 * The order in the broker is fixed:
 *
 *     decode, validate -> INTERCEPT -> validate what changed -> authorize (the new topic, the old
 *     one beside it) -> retain -> route
 *
 * so that no rewriting goes round an authorizer, and a rewritten topic is always well-formed.
 */
#ifndef AVOCET_MESSAGE_H
#define AVOCET_MESSAGE_H

#include <avocet/avocet_plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AVOCET_SERVICE_INTERCEPTOR "avocet.interceptor/0"

#define AVOCET_AT_IN 1u /* Once for each PUBLISH that comes in, and each will. */

/* The vtable. Sized. */
typedef struct avocet_interceptor {
	uint32_t struct_size;
	uint32_t exec;
	uint32_t points; /* AVOCET_AT_* */
	uint32_t reserved;
	/* PASS, DROP, REJECT, DISCONNECT, DEFER (as PASS), ERROR, or PENDING. who sent it. Changes
	 * are made through edit, which belongs to the thread that works on the request, until it is
	 * answered. [exec] */
	int32_t (*publish)(void *inst, avocet_req_h req, uint32_t point, const avocet_msg *msg,
	    const avocet_client_info *who, avocet_edit *edit);
	void (*cancel)(void *inst, avocet_req_h req); /* A hint; may be NULL. [worker] */
} avocet_interceptor;

#define AVOCET_HOST_MESSAGE "avocet.message/0"

typedef struct avocet_message_api {
	uint32_t struct_size;
	uint32_t reserved;
	/* Each copies what it is given, checks it, and fails without effect: AVOCET_E_INVAL (a
	 * wildcard in a topic, malformed UTF-8, too long ...). A later interceptor sees the result.
	 * On the thread that has the request. */
	int32_t (*set_topic)(avocet_edit *edit, avocet_str topic);
	int32_t (*set_payload)(avocet_edit *edit, const void *p, size_t n);
	int32_t (*set_retain)(avocet_edit *edit, uint32_t on);
	int32_t (*add_user_prop)(avocet_edit *edit, avocet_str key, avocet_str value);
	/* The reason code that REJECT or DISCONNECT gives; 0x80 and above. */
	int32_t (*set_reason)(avocet_edit *edit, uint32_t code);
	/* [any] */
	int32_t (*complete)(avocet_self *self, avocet_req_h req, int32_t verdict);
	/* Only messages whose topic one of these filters matches reach `publish`; the core matches,
	 * so that an unconcerned message costs next to nothing. NULL = all. Takes effect with the
	 * commit. From within prepare(). [main] */
	int32_t (*set_filters)(avocet_self *self, const char *const *filters);
} avocet_message_api;

#ifdef __cplusplus
}
#endif
#endif
