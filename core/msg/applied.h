/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store has applied for a retained topic (flow 5): an operation with an older version is
 * skipped, so chunks may arrive in any order. It stands in the topic's entry; only the store's
 * thread touches it once workers run.
 */
#ifndef MSG_APPLIED_H
#define MSG_APPLIED_H

#include "msg/msg.h"

struct msg_applied {
	uint64_t version; /* 0: nothing */
	struct msg *msg;  /* owned; NULL: deleted */
};

#endif
