/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the plugin `bridge` share. */
#ifndef BRIDGE_BRIDGE_H
#define BRIDGE_BRIDGE_H

#include <avocet/avocet_link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

enum { BRIDGE_MAX_CONNECTIONS = 64, BRIDGE_MAX_TOPIC = 65535 };

enum bridge_direction { BRIDGE_IN, BRIDGE_OUT, BRIDGE_BOTH };

/* A line of `topics`. */
struct bridge_rule {
	enum bridge_direction direction;
	uint32_t qos;
	bool clears_retain;
	char *local, *remote;               /* whole filters */
	char *local_prefix, *remote_prefix; /* "" where there is none */
	size_t local_prefix_len, remote_prefix_len;
	bool is_all; /* the filter is "#" on both sides, without prefixes */
};

/* A configuration, read. Immutable, counted. */
struct bridge_config {
	_Atomic int users;
	struct bridge_rule *rules;
	size_t n_rules;
	char **addresses;
	size_t n_addresses;
	uint32_t flags; /* AVOCET_LINK_* */
	uint32_t version;
	char *path, *client_id, *username, *password; /* NULL: none */
	char *local_username, *mechanism;
	char *cafile, *certfile, *keyfile, *crlfile, *ciphers, *ciphersuites, *server_name;
	uint32_t tls_min_version;
	uint32_t keep_alive_s, session_expiry_s, receive_max, max_packet_size, topic_alias_max;
	uint32_t connect_timeout_ms, backoff_min_ms, backoff_max_ms, lazy_count, lazy_idle_ms;
	uint32_t max_age_s; /* 0: none */
	uint32_t connections;
	bool notifies, notifies_remote;
	char *notification_topic;
	char *text; /* all of it in one text, to see whether anything has changed; wiped */
};

/* --- config.c --- */
/* NULL with a sentence in err. name: the instance's. */
struct bridge_config *bridge_config_read(
    const avocet_conf_api *api, const avocet_conf *conf, const char *name, avocet_error *err);
void bridge_config_unref(struct bridge_config *config);

/* --- map.c --- */
/* Does a filter match a topic? As MQTT has it; both are well formed. */
bool bridge_matches(const char *filter, const char *topic, size_t topic_len);
/* What goes out, and what comes in: AVOCET_PASS or AVOCET_DROP. Any thread. */
int32_t bridge_map_out(const struct bridge_config *config, avocet_link_map *map);
int32_t bridge_map_in(const struct bridge_config *config, avocet_link_map *map);

/* --- login.c --- */
struct bridge_login;
/* Once per process, before the first; NULL or a sentence. Main. */
const char *bridge_login_init(void);
struct bridge_login *bridge_login_new(
    const char *mechanism, const char *username, const char *password, char *why, size_t why_size);
void bridge_login_free(struct bridge_login *login);
/* A step of AVOCET_LINK_AUTH_*. 0: out is the answer, which lives until the next step; < 0: it has
 * failed. */
int bridge_login_step(
    struct bridge_login *login, uint32_t step, avocet_bytes data, avocet_bytes *out);

#endif
