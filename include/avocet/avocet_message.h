/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interceptors, which see messages on their way and may change, drop or refuse them. Since ABI 0.0.
 *
 * The order in the broker is fixed:
 *
 *     PUBLISH    decode, validate -> INTERCEPT IN -> validate what changed -> authorize (the new
 *                topic, the old one beside it) -> retain -> route -> may_receive -> INTERCEPT OUT,
 *                for each receiver -> encode
 *     SUBSCRIBE  decode -> INTERCEPT SUB, for each filter -> validate what changed -> authorize
 *
 * so that no rewriting goes round an authorizer, and a rewritten topic or filter is always
 * well-formed.
 */
#ifndef AVOCET_MESSAGE_H
#define AVOCET_MESSAGE_H

#include <avocet/avocet_plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AVOCET_SERVICE_INTERCEPTOR "avocet.interceptor/0"

#define AVOCET_AT_IN 1u    /* Once for each PUBLISH that comes in, and each will. */
#define AVOCET_AT_OUT 2u   /* Each time that a message is sent to a receiver: costly. */
#define AVOCET_AT_SUB 4u   /* Each filter of a SUBSCRIBE. */
#define AVOCET_AT_UNSUB 8u /* Each filter of an UNSUBSCRIBE. */

#define AVOCET_SUB_NO_LOCAL 4u            /* Bits of avocet_sub.options, as in SUBSCRIBE. */
#define AVOCET_SUB_RETAIN_AS_PUBLISHED 8u /* ... */
#define AVOCET_SUB_RETAIN_HANDLING 48u    /* Two bits: 0 send, 16 if new, 32 do not. */

/* A filter of SUBSCRIBE or UNSUBSCRIBE. Sized; the host allocates it. */
typedef struct avocet_sub {
	uint32_t struct_size;
	uint32_t qos;      /* As asked for. */
	avocet_str filter; /* The full filter, without $share/GROUP/. */
	avocet_str share;  /* GROUP, or empty. */
	uint32_t options;  /* AVOCET_SUB_* */
	uint32_t sub_id;   /* Subscription Identifier; 0 = none. */
	avocet_props props;
} avocet_sub;

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
	/* PASS (as is DEFER), or DROP (as is REJECT): this receiver does not get it, and it counts
	 * as denied; or ERROR. Changes are this receiver's alone; the topic as it stands in the
	 * tree, a mount point in front. A message that is sent again is asked about again. Must not
	 * block. [worker] */
	int32_t (*publish_out)(void *inst, const avocet_msg *msg,
	    const avocet_client_info *receiver, avocet_edit *edit);
	/* point: AT_SUB or AT_UNSUB. PASS, DEFER (as PASS), REJECT with a reason of SUBACK or
	 * UNSUBACK, DISCONNECT, ERROR, or PENDING. set_topic gives another filter, set_qos a lower
	 * QoS. Who maps filters at SUB must map them at UNSUB as well. [exec] */
	int32_t (*subscribe)(void *inst, avocet_req_h req, uint32_t point, const avocet_sub *sub,
	    const avocet_client_info *who, avocet_edit *edit);
} avocet_interceptor;

#define AVOCET_HOST_MESSAGE "avocet.message/0"

typedef struct avocet_message_api {
	uint32_t struct_size;
	uint32_t reserved;
	/* Each copies what it is given, checks it, and fails without effect: AVOCET_E_INVAL (a
	 * wildcard in a topic, malformed UTF-8, too long ...). A later interceptor sees the result.
	 * On the thread that has the request. */
	int32_t (*set_topic)(avocet_edit *edit, avocet_str topic); /* Or the filter. A filter must
								      keep the client's mount
								      point, or begin with $. */
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
	/* At SUB: at most what was asked for. */
	int32_t (*set_qos)(avocet_edit *edit, uint32_t qos);
	/* Message Expiry Interval from now on; 0 = none. Not at SUB and UNSUB, as those below. */
	int32_t (*set_expiry)(avocet_edit *edit, uint32_t seconds);
	/* In place of all of that id. Payload Format Indicator, Content Type, Response Topic,
	 * Correlation Data and User Property. */
	int32_t (*set_prop)(avocet_edit *edit, const avocet_prop *prop);
	int32_t (*del_prop)(avocet_edit *edit, uint32_t id); /* AVOCET_E_NOTFOUND: there is none. */
} avocet_message_api;

#ifdef __cplusplus
}
#endif
#endif
