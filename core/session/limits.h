/* SPDX-License-Identifier: Apache-2.0 */
/* What a session may use: part of `limits` of a listener. Immutable, part of a configuration. 0
 * means no limit unless it says otherwise. */
#ifndef SESSION_LIMITS_H
#define SESSION_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

enum session_queue_full { SESSION_DROP_NEW, SESSION_DROP_OLD };

struct session_limits {
	int64_t max_inflight_messages; /* QoS 1 and 2 to a client at a time; at least 1 */
	int64_t max_queued_messages;   /* beyond the inflight */
	int64_t max_queued_bytes;
	int64_t queue_full; /* enum session_queue_full */
	bool queue_qos0;    /* keep QoS 0 for sleeping sessions */
	bool upgrade_outgoing_qos;
	int64_t max_subscriptions;
	int64_t max_session_expiry_ms; /* CONF_NEVER: no cap */
	int64_t receive_maximum;       /* QoS 1 and 2 from a client at a time */
};

#endif
