/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a listener's clients may do, as the configuration says: immutable, part of a struct conf
 * that each connection references.
 */
#ifndef CONN_OPTIONS_H
#define CONN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/schema.h"
#include "plugin/ask.h"
#include "route/route.h"
#include "session/limits.h"

/* `limits`. 0 means no limit unless the manual says otherwise. */
struct conn_limits {
	struct session_limits session;
	int64_t max_packet_size;
	int64_t max_connect_size;
	int64_t max_qos;
	int64_t max_keepalive; /* seconds */
	int64_t max_topic_alias;
	int64_t max_topic_alias_broker;
	int64_t max_topic_levels;
	int64_t max_sessions;          /* of the broker as a whole; only the global one counts */
	int64_t max_retained_messages; /* likewise */
	int64_t max_retained_bytes;    /* likewise */
	int64_t max_publish_rate;
	int64_t max_publish_bytes_rate;
	int64_t connect_timeout_ms;
	int64_t write_timeout_ms;
	int64_t max_pending;
	int64_t max_grants;
	int64_t auth_delay_ms;
	int64_t max_delayed;
	const char *auto_id_prefix;
	const char *response_information; /* NULL: none */
	bool retain_available;
	bool wildcard_subscriptions;
	bool shared_subscriptions;
	bool subscription_identifiers;
	bool allow_empty_client_id;
	bool lenient;
};

extern const struct conf_schema conn_limits_schema;

enum conn_protocol_version { CONN_V31 = 1, CONN_V311 = 2, CONN_V5 = 4 };

/* One listener as its connections see it. Made by broker from its options. */
struct conn_listener {
	const char *name;
	const char *mount_point;   /* "" */
	int64_t protocol_versions; /* enum conn_protocol_version or-ed */
	int64_t max_connections;
	bool allow_anonymous; /* decided */
	bool username_as_client_id;
	bool is_websocket;
	bool needs_certificate_name; /* who has a certificate must have a name in it */
	const struct conn_limits *limits;
	struct route_durability durability;
	const struct plugin_set *plugins; /* never NULL */
};

#endif
