/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a bridge's configuration, for the host's checks and its manual. */
#include "bridge.h"

#define RELOAD AVOCET_CONF_RELOADABLE
#define COUNT(items) (uint32_t)(sizeof(items) / sizeof(*(items)))

static const avocet_conf_item tls_items[] = {
    {"cafile", AVOCET_CONF_PATH, RELOAD, NULL, NULL,
	"authorities of the remote's certificate; default: those of the system", NULL, 0, 0},
    {"certfile", AVOCET_CONF_PATH, RELOAD, NULL, NULL, "this broker's own certificate", NULL, 0, 0},
    {"keyfile", AVOCET_CONF_PATH, RELOAD, NULL, NULL, "its key; default: it is in certfile", NULL,
	0, 0},
    {"crlfile", AVOCET_CONF_PATH, RELOAD, NULL, NULL, "revoked certificates", NULL, 0, 0},
    {"server_name", AVOCET_CONF_STR, RELOAD, NULL, NULL,
	"what the remote's certificate must be for; default: the host of the address", NULL, 0, 0},
    {"min_version", AVOCET_CONF_ENUM, RELOAD, "\"1.2\"", "1.2|1.3", "1.2 or 1.3", NULL, 0, 0},
    {"ciphers", AVOCET_CONF_STR, RELOAD, NULL, NULL, "of TLS 1.2", NULL, 0, 0},
    {"ciphersuites", AVOCET_CONF_STR, RELOAD, NULL, NULL, "of TLS 1.3", NULL, 0, 0},
};

static const avocet_conf_item remote_items[] = {
    {"address", AVOCET_CONF_LIST, AVOCET_CONF_REQUIRED | RELOAD, NULL, NULL,
	"mqtt://HOST[:PORT], mqtts://, ws://HOST[:PORT]/PATH, wss://, or unix:/path; several are "
	"tried in turn",
	NULL, 0, 0},
    {"version", AVOCET_CONF_ENUM, RELOAD, "\"5.0\"", "3.1|3.1.1|5.0", "of MQTT", NULL, 0, 0},
    {"client_id", AVOCET_CONF_STR, RELOAD, NULL, NULL, "default: HOSTNAME.INSTANCE", NULL, 0, 0},
    {"username", AVOCET_CONF_STR, RELOAD, NULL, NULL, "at the remote", NULL, 0, 0},
    {"password", AVOCET_CONF_SECRET, RELOAD, NULL, NULL, "at the remote; best as !file", NULL, 0,
	0},
    {"mechanism", AVOCET_CONF_ENUM, RELOAD, "none", "none|SCRAM-SHA-256|SCRAM-SHA-512",
	"enhanced authentication (version 5.0) in place of a password that is shown", NULL, 0, 0},
    {"keep_alive", AVOCET_CONF_DURATION, RELOAD, "60s", "0s..18h",
	"how often the remote hears something; 0 = never", NULL, 0, 0},
    {"clean_session", AVOCET_CONF_BOOL, RELOAD, "false", NULL,
	"the remote forgets the session at each connection", NULL, 0, 0},
    {"session_expiry", AVOCET_CONF_DURATION, RELOAD, "0s", NULL,
	"how long the remote keeps the session without a connection (version 5.0); 0 = for ever",
	NULL, 0, 0},
    {"receive_maximum", AVOCET_CONF_INT, RELOAD, "1000", "1..65535",
	"messages from the remote that are not acknowledged yet (version 5.0)", NULL, 0, 0},
    {"max_packet_size", AVOCET_CONF_SIZE, RELOAD, "0", NULL,
	"the largest packet that is taken from the remote; 0 = no limit", NULL, 0, 0},
    {"topic_alias_maximum", AVOCET_CONF_INT, RELOAD, "10", "0..65535",
	"topic aliases, either way (version 5.0)", NULL, 0, 0},
    {"connect_timeout", AVOCET_CONF_DURATION, RELOAD, "30s", "1s..1h",
	"until an attempt is given up", NULL, 0, 0},
    {"backoff_min", AVOCET_CONF_DURATION, RELOAD, "1s", "10ms..1d",
	"between two attempts; doubled each time, up to …", NULL, 0, 0},
    {"backoff_max", AVOCET_CONF_DURATION, RELOAD, "30s", "10ms..1d", "… this", NULL, 0, 0},
    {"round_robin", AVOCET_CONF_BOOL, RELOAD, "false", NULL,
	"a lost connection goes on at the next address, not again at the first", NULL, 0, 0},
    {"try_private", AVOCET_CONF_BOOL, RELOAD, "true", NULL,
	"MQTT 3: says that it is a bridge, so that the remote does not send back what it was sent",
	NULL, 0, 0},
    {"tls", AVOCET_CONF_MAP, RELOAD, NULL, NULL, "of mqtts and wss", tls_items, COUNT(tls_items),
	0},
};

static const avocet_conf_item topic_items[] = {
    {"direction", AVOCET_CONF_ENUM, RELOAD, "out", "in|out|both", "in, out or both", NULL, 0, 0},
    {"filter", AVOCET_CONF_STR, RELOAD, NULL, NULL,
	"between the prefixes; empty: the prefixes are one topic here and one there", NULL, 0, 0},
    {"qos", AVOCET_CONF_INT, RELOAD, "0", "0..2", "at most", NULL, 0, 0},
    {"local_prefix", AVOCET_CONF_STR, RELOAD, NULL, NULL, "what topics begin with here", NULL, 0,
	0},
    {"remote_prefix", AVOCET_CONF_STR, RELOAD, NULL, NULL, "what they begin with there", NULL, 0,
	0},
    {"retain", AVOCET_CONF_ENUM, RELOAD, "keep", "keep|clear",
	"clear: what is retained on one side is an ordinary message on the other", NULL, 0, 0},
};

const avocet_conf_item bridge_items[BRIDGE_ITEMS] = {
    {"remote", AVOCET_CONF_MAP, AVOCET_CONF_REQUIRED | RELOAD, NULL, NULL, "the other broker",
	remote_items, COUNT(remote_items), 0},
    {"topics", AVOCET_CONF_LIST, AVOCET_CONF_REQUIRED | RELOAD, NULL, NULL,
	"what goes over the bridge; the first that matches a message decides", topic_items,
	COUNT(topic_items), 0},
    {"connections", AVOCET_CONF_INT, RELOAD, "1", "1..64",
	"parallel ones; each topic goes over one of them", NULL, 0, 0},
    {"start", AVOCET_CONF_ENUM, RELOAD, "automatic", "automatic|lazy",
	"lazy: connects when there is something to send", NULL, 0, 0},
    {"threshold", AVOCET_CONF_INT, RELOAD, "10", "1..1000000",
	"lazy: so many messages wait before it connects", NULL, 0, 0},
    {"idle_timeout", AVOCET_CONF_DURATION, RELOAD, "60s", "1s..1d",
	"lazy: it disconnects after so long without a message", NULL, 0, 0},
    {"local_username", AVOCET_CONF_STR, RELOAD, NULL, NULL,
	"as whom it publishes and subscribes here; default: the instance's name", NULL, 0, 0},
    {"max_age", AVOCET_CONF_DURATION, RELOAD, "0s", NULL,
	"what waited longer for the remote is dropped; 0 = never", NULL, 0, 0},
    {"notifications", AVOCET_CONF_BOOL, RELOAD, "true", NULL,
	"$SYS/broker/connection/INSTANCE/state is 1 or 0 here", NULL, 0, 0},
    {"notifications_local_only", AVOCET_CONF_BOOL, RELOAD, "true", NULL,
	"false: the remote is told so, too, with a will", NULL, 0, 0},
    {"notification_topic", AVOCET_CONF_STR, RELOAD, NULL, NULL,
	"where at the remote; default: the same as here", NULL, 0, 0},
};
