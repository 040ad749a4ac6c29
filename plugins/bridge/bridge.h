/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the plugin `bridge` share. */
#ifndef BRIDGE_BRIDGE_H
#define BRIDGE_BRIDGE_H

#include <avocet/avocet_admin.h>
#include <avocet/avocet_link.h>
#include <avocet/avocet_runtime.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

enum {
	BRIDGE_MAX_CONNECTIONS = 64,
	BRIDGE_MAX_TOPIC = 65535,
	BRIDGE_MAX_TEXT = 160,
	BRIDGE_MAX_NAME = 128,
	BRIDGE_ITEMS = 11,
};

enum bridge_direction { BRIDGE_IN, BRIDGE_OUT, BRIDGE_BOTH };

/* A line of `topics`. */
struct bridge_rule {
	enum bridge_direction direction;
	uint32_t qos;
	bool clears_retain;
	char *local, *remote;               /* whole filters */
	char *local_prefix, *remote_prefix; /* "" where there is none */
	size_t local_prefix_len, remote_prefix_len;
	bool is_all;                        /* the filter is "#" on both sides, without prefixes */
	bool is_again_here, is_again_there; /* an earlier line asks for the same filter */
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
	/* All of it but the password in one text, and the state of the files of TLS: to see whether
	 * anything has changed. */
	char *text;
};

struct bridge;

/* A connection. It lives as long as its instance. */
struct bridge_line {
	struct bridge *instance;
	uint32_t at;
	avocet_link_h link;
	bool is_open; /* main: a link stands, or is closing */
	bool wants_open;
	bool drains; /* there are fewer connections now: it sends what it has, and ends */
	struct bridge_config *config; /* a reference: of the link that stands */
	struct bridge_login *login;   /* its worker's */
	_Atomic bool is_up, is_ready;
	_Atomic uint64_t connects, losses, sent, received, dropped;
	pthread_mutex_t lock;
	char text[BRIDGE_MAX_TEXT]; /* why it was lost; under the lock */
};

struct bridge {
	const avocet_host *host;
	avocet_self *self;
	const avocet_conf_api *conf;
	const avocet_link_api *links;
	const avocet_runtime_api *runtime;
	const avocet_admin_api *admin;
	char name[BRIDGE_MAX_NAME];
	struct bridge_config *config; /* main's: in force */
	char **old_filters;           /* that remotes have, and nobody wants any more */
	size_t n_old_filters;
	struct bridge_line lines[BRIDGE_MAX_CONNECTIONS];
	_Atomic int32_t pending; /* lines that are not ready yet, at the start */
	bool has_started, is_stopping;
};

/* --- config.c --- */
/* NULL with a sentence in err. name: the instance's. */
struct bridge_config *bridge_config_read(
    const avocet_conf_api *api, const avocet_conf *conf, const char *name, avocet_error *err);
void bridge_config_unref(struct bridge_config *config);
/* They ask for the same links. */
bool bridge_config_equals(const struct bridge_config *one, const struct bridge_config *other);

/* --- address.c --- */
/* [SCHEME://]HOST[:PORT][/PATH] or unix:/PATH. NULL, or what is wrong with it, static.
 * *address_out: HOST:PORT, [IPV6]:PORT or unix:/PATH, to be freed; *path_out: of WebSocket, in
 * text, or NULL; *flags_out: AVOCET_LINK_TLS and AVOCET_LINK_WEBSOCKET. */
const char *bridge_address_read(
    const char *text, char **address_out, const char **path_out, uint32_t *flags_out);

/* --- check.c --- */
bool bridge_topic_is_good(const char *topic);
bool bridge_filter_is_good(const char *filter);
/* A file of TLS, in which a line of PEM must have this label: what tells whether it has changed is
 * written to `state`. False with a sentence. */
bool bridge_file_state(
    const char *path, const char *label, FILE *state, char *why, size_t why_size);

/* --- map.c --- */
/* Does a filter match a topic? As MQTT has it; both are well formed. */
bool bridge_matches(const char *filter, const char *topic, size_t topic_len);
/* What goes out, and what comes in: AVOCET_PASS or AVOCET_DROP. Any thread. */
int32_t bridge_map_out(const struct bridge_config *config, avocet_link_map *map);
int32_t bridge_map_in(const struct bridge_config *config, avocet_link_map *map);
/* Of lines with the same filter the first one decides, as of all that match. */
void bridge_mark_again(struct bridge_config *config);

/* --- login.c --- */
struct bridge_login;
/* Before the first, any number of times; NULL or a sentence. Main. */
const char *bridge_login_init(void);
struct bridge_login *bridge_login_new(
    const char *mechanism, const char *username, const char *password, char *why, size_t why_size);
void bridge_login_free(struct bridge_login *login);
/* A step of AVOCET_LINK_AUTH_*. 0: out is the answer, which lives until the next step; < 0: it has
 * failed. */
int bridge_login_step(
    struct bridge_login *login, uint32_t step, avocet_bytes data, avocet_bytes *out);

/* --- status.c --- */
/* avocetctl INSTANCE status. Main. */
void bridge_on_status(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg);

/* --- schema.c --- */
extern const avocet_conf_item bridge_items[BRIDGE_ITEMS];

#endif
