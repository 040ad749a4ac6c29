/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of `limits`, as the manual lists them. One table for the broker as a whole and for what
 * a listener lays over it. Pure tables; any thread.
 */
#include "conn/options.h"

#include <string.h>

#include "conf/bind.h"

#define OPTION(member, label) .name = (label), .offset = offsetof(struct conn_limits, member)

enum {
	PACKET_MIN = 64,        /* enough for an ordinary CONNECT */
	PACKET_MAX = 268435460, /* the largest packet that MQTT can say */
	DAY_MS = 86400000,
};

static const struct conf_word never[] = {{"never", CONF_NEVER}, {NULL, 0}};
static const struct conf_word queue_full[] = {
    {"drop_new", SESSION_DROP_NEW}, {"drop_old", SESSION_DROP_OLD}, {NULL, 0}};

static const struct conf_option options[] = {
    {OPTION(max_packet_size, "max_packet_size"), .type = CONF_SIZE, .fallback = "16MiB",
	.min = PACKET_MIN, .max = PACKET_MAX, .help = "the largest packet that a client may send"},
    {OPTION(max_connect_size, "max_connect_size"), .type = CONF_SIZE, .fallback = "64KiB",
	.min = PACKET_MIN, .max = PACKET_MAX,
	.help = "the same of the CONNECT packet: strangers get no more"},
    {OPTION(max_qos, "max_qos"), .type = CONF_INT, .fallback = "2", .max = 2,
	.help = "the highest QoS that clients may use"},
    {OPTION(retain_available, "retain_available"), .type = CONF_BOOL, .fallback = "true",
	.help = "whether clients may publish retained messages"},
    {OPTION(wildcard_subscriptions, "wildcard_subscriptions"), .type = CONF_BOOL,
	.fallback = "true", .help = "whether filters may have + and #"},
    {OPTION(shared_subscriptions, "shared_subscriptions"), .type = CONF_BOOL, .fallback = "true",
	.help = "whether clients may subscribe to $share/NAME/FILTER"},
    {OPTION(subscription_identifiers, "subscription_identifiers"), .type = CONF_BOOL,
	.fallback = "true", .help = "whether subscriptions may have an identifier (MQTT 5.0)"},
    {OPTION(max_keepalive, "max_keepalive"), .type = CONF_INT, .fallback = "0", .max = 65535,
	.help = "seconds; 0 = what the client asks; else a 5.0 client gets Server Keep Alive, and "
		"an older client that asks for more, or for none, is refused: it cannot be told"},
    {OPTION(session.max_session_expiry_ms, "max_session_expiry"), .type = CONF_DURATION,
	.fallback = "never", .words = never,
	.help = "how long a session may sleep at most (30d suits most); sessions of 3.1.1 with "
		"CleanSession 0 get exactly this"},
    {OPTION(session.max_inflight_messages, "max_inflight_messages"), .type = CONF_INT,
	.fallback = "100", .min = 1, .max = 65535,
	.help = "messages of QoS 1 and 2 on their way to a client at a time"},
    {OPTION(session.receive_maximum, "receive_maximum"), .type = CONF_INT, .fallback = "1000",
	.min = 1, .max = 65535,
	.help = "messages of QoS 1 and 2 from a client that are not acknowledged yet"},
    {OPTION(session.max_queued_messages, "max_queued_messages"), .type = CONF_INT,
	.fallback = "10000",
	.help = "messages that wait in a session beyond those on their way; 0 = no limit"},
    {OPTION(session.max_queued_bytes, "max_queued_bytes"), .type = CONF_SIZE, .fallback = "64MiB",
	.help = "their size, per session; 0 = no limit"},
    {OPTION(session.queue_full, "queue_full"), .type = CONF_ENUM, .fallback = "drop_new",
	.words = queue_full,
	.help = "what a full queue drops: drop_new the message that comes, drop_old the oldest"},
    {OPTION(session.queue_qos0, "queue_qos0"), .type = CONF_BOOL, .fallback = "false",
	.help = "keep messages of QoS 0 for sleeping sessions"},
    {OPTION(max_topic_alias, "max_topic_alias"), .type = CONF_INT, .fallback = "64", .max = 65535,
	.help = "topic aliases from client to broker (MQTT 5.0); 0 = none"},
    {OPTION(max_topic_alias_broker, "max_topic_alias_broker"), .type = CONF_INT, .fallback = "64",
	.max = 65535, .help = "topic aliases from broker to client (MQTT 5.0); 0 = none"},
    {OPTION(max_topic_levels, "max_topic_levels"), .type = CONF_INT, .fallback = "128", .min = 1,
	.max = 65535, .help = "levels that a topic or filter may have"},
    {OPTION(session.max_subscriptions, "max_subscriptions"), .type = CONF_INT, .fallback = "1000",
	.help = "subscriptions per session; 0 = no limit, here and below"},
    {OPTION(max_sessions, "max_sessions"), .type = CONF_INT, .fallback = "0",
	.help = "sessions in the broker as a whole"},
    {OPTION(max_retained_messages, "max_retained_messages"), .type = CONF_INT, .fallback = "0",
	.help = "retained messages in the broker as a whole"},
    {OPTION(max_retained_bytes, "max_retained_bytes"), .type = CONF_SIZE, .fallback = "0",
	.help = "their size"},
    {OPTION(max_publish_rate, "max_publish_rate"), .type = CONF_INT, .fallback = "0",
	.help = "messages per second and client; beyond it reading slows down"},
    {OPTION(max_publish_bytes_rate, "max_publish_bytes_rate"), .type = CONF_SIZE, .fallback = "0",
	.help = "bytes per second and client, likewise"},
    {OPTION(allow_empty_client_id, "allow_empty_client_id"), .type = CONF_BOOL, .fallback = "true",
	.help = "whether a client may ask the broker for a client id"},
    {OPTION(auto_id_prefix, "auto_id_prefix"), .type = CONF_STRING, .fallback = "auto-",
	.help = "what such a client id begins with"},
    {OPTION(connect_timeout_ms, "connect_timeout"), .type = CONF_DURATION, .fallback = "10s",
	.min = 1, .max = DAY_MS,
	.help = "from accept to CONNECT, and for each step of authentication"},
    {OPTION(write_timeout_ms, "write_timeout"), .type = CONF_DURATION, .fallback = "60s", .min = 1,
	.max = DAY_MS, .help = "a client that takes nothing for so long is closed"},
    {OPTION(session.upgrade_outgoing_qos, "upgrade_outgoing_qos"), .type = CONF_BOOL,
	.fallback = "false",
	.help = "send with the QoS of the subscription, also what was published with a lower one"},
    {OPTION(lenient, "lenient"), .type = CONF_BOOL, .fallback = "false",
	.help = "accept padded variable byte integers and QoS 0 with DUP"},
    {OPTION(max_pending, "max_pending"), .type = CONF_INT, .fallback = "16", .min = 1, .max = 65535,
	.help = "PUBLISHes of a client that wait for a plugin's answer"},
    {OPTION(max_grants, "max_grants"), .type = CONF_INT, .fallback = "128", .max = 65535,
	.help = "cached access answers per client; 0 = none"},
    {OPTION(response_information, "response_information"), .type = CONF_STRING,
	.help = "prefix given to clients that ask for Response Information (MQTT 5.0)"},
    {OPTION(auth_delay_ms, "auth_delay"), .type = CONF_DURATION, .fallback = "1s", .max = 60000,
	.help = "a refused login is answered so much later"},
    {OPTION(max_delayed, "max_delayed"), .type = CONF_INT, .fallback = "1000",
	.help = "refusals held back at a time; beyond it they are given at once"},
};

enum { AUTO_ID_PREFIX_MAX = 200, RESPONSE_INFORMATION_MAX = 65535 };

/* What is put into packets and client ids must fit there. */
static void
check_texts(struct conf_check *check, void *target)
{
	struct conn_limits *limits = target;

	if (limits->auto_id_prefix == NULL) {
		limits->auto_id_prefix = "";
	}
	if (strlen(limits->auto_id_prefix) > AUTO_ID_PREFIX_MAX) {
		conf_check_fail(
		    check, "auto_id_prefix", "must have at most %d bytes", AUTO_ID_PREFIX_MAX);
	}
	if (limits->response_information != NULL &&
	    strlen(limits->response_information) > RESPONSE_INFORMATION_MAX) {
		conf_check_fail(check, "response_information", "must have at most %d bytes",
		    RESPONSE_INFORMATION_MAX);
	}
}

const struct conf_schema conn_limits_schema = {.options = options,
    .count = CONF_COUNT(options),
    .size = sizeof(struct conn_limits),
    .check = check_texts};
