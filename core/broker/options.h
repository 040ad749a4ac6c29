/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as a whole: the structs that avocet.yaml fills, by the tables of options.c. All
 * of it lives in a struct conf and is immutable once it is bound; what connections see of a
 * listener (struct conn_listener) lies in it too, so that whoever has a reference on the conf may
 * keep a pointer.
 *
 * Keys whose feature this version does not have are known, with their types; to use one is an error
 * at its place.
 */
#ifndef BROKER_OPTIONS_H
#define BROKER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "conn/options.h"
#include "link/link.h"

struct avocet_self;
struct plugin_config;
struct plugin_module;

enum { BROKER_AUTO = -1 }; /* `auto`, of sizes and truths */

/* Whom trusted_proxies names. */
struct broker_network {
	uint8_t host[16];
	uint8_t len;  /* of host: 4 or 16 */
	uint8_t bits; /* of it that count */
	bool is_unix; /* all who come through a unix socket */
};

/* `broker` */
struct broker_general {
	int64_t workers; /* BROKER_AUTO, or 1 … */
	const char *data_dir;
	const char *plugin_dir;
	const char *user;        /* "": stay */
	int64_t sys_interval_ms; /* 0: off */
	int64_t max_memory;      /* bytes; BROKER_AUTO; 0: none */
	int64_t max_connections;
	int64_t max_connect_rate;
	int64_t max_connections_per_address;
	int64_t shutdown_timeout_ms;
	int64_t max_transit; /* bytes; BROKER_AUTO; 0: none */
	const char *control;
	struct conf_strings trusted_proxies;
	const struct broker_network *trusted; /* made of them, as many */
	int64_t stall_warn_ms;
};

/* `log` */
struct broker_log {
	int64_t level;  /* enum log_level */
	int64_t format; /* enum log_format */
	const char *to; /* "stderr", "syslog", or a path */
};

/* A member of a chain. */
struct broker_member {
	const char *use;
	int64_t control;
	int64_t on_error;
	int64_t timeout_ms;
};

/* `chains.NAME` */
struct broker_chain {
	const char *name;
	struct conf_list authenticate; /* of struct broker_member */
	struct conf_list authorize;
	struct conf_list intercept;
};

/* `plugins[]` */
struct broker_plugin {
	const char *name;
	const char *module;
	const struct conf_node *config;
	int64_t threads;
	int64_t queue;
	int64_t max_requests;
	int64_t start_timeout_ms;
	int64_t on_failure;

	/* Made of the above. */
	struct plugin_module *opened; /* owned by the snapshot */
	struct plugin_config *bound;  /* a reference */
	struct avocet_self *instance; /* once main has prepared it */
	struct link_terms link_terms; /* of its links; their plugins once main has made them */
};

/* `links.NAME` */
struct broker_link {
	const char *name;
	const char *chains;
	const struct conf_node *limits;
};

/* `durability`, of the whole and of a listener */
struct broker_durability {
	int64_t mode; /* enum route_mode */
	int64_t interval_ms;
	struct conf_list filters; /* of struct route_durability_filter */
};

/* Without certfile and psk there is no TLS. */
struct broker_tls {
	const char *certfile, *keyfile, *cafile, *crlfile; /* paths, beside the file naming them */
	bool require_certificate;
	int64_t username_from; /* enum tls_username */
	int64_t min_version;   /* enum tls_version */
	const char *ciphers, *ciphersuites;
	bool psk;
};

enum broker_protocol { BROKER_MQTT, BROKER_WEBSOCKET };

/* `listeners[]` */
struct broker_listener {
	const char *name; /* never NULL once it is bound */
	const char *bind;
	int64_t protocol; /* enum broker_protocol */
	const char *path;
	struct conf_strings origins;
	bool proxy_protocol;
	int64_t allow_anonymous; /* BROKER_AUTO, 0, 1 */
	int64_t protocol_versions;
	int64_t max_connections;
	const char *mount_point;
	bool username_as_client_id;
	struct broker_tls tls;
	const struct conf_node *limits;
	const struct conf_node *durability;
	const char *chains;
	struct conf_list authenticate, authorize, intercept;
	const struct conf_list *chain[3]; /* those in force, in this order */

	/* Made of the above. allow_anonymous and plugins are decided by main before a worker sees
	 * it. */
	struct conn_listener conn;
	char port_bind[320]; /* bind with the port of -p */
};

struct broker_options {
	struct broker_general broker;
	struct broker_log log;
	struct conf_list listeners; /* of struct broker_listener */
	struct conn_limits limits;
	struct conf_list plugins; /* of struct broker_plugin */
	struct conf_list chains;  /* of struct broker_chain */
	struct conf_list links;   /* of struct broker_link */
	const char *store;        /* NULL: none */
	struct broker_durability durability;
};

extern const struct conf_schema broker_options_schema;

/* What the command line says on top of the file. */
struct broker_override {
	int port;     /* -p; 0: nothing */
	bool verbose; /* -v */
};

/*
 * Binds and checks the configuration and lays the command line over it. NULL when there are errors,
 * which conf_format_errors tells. Borrowed from conf. Before conf is shared with other threads; the
 * result is changed by nobody but main, and by it only where this header says so.
 */
struct broker_options *broker_options_bind(struct conf *conf, struct broker_override override);

/* What broker_options_bind made of this configuration; any thread. */
const struct broker_options *broker_options_of(const struct conf *conf);

static inline struct broker_listener *
broker_options_listener(const struct broker_options *options, size_t i)
{
	return &((struct broker_listener *)options->listeners.items)[i];
}

/* The listener of that name, as its connections see it, or NULL. For conn_table_reload. */
const struct conn_listener *broker_options_find(struct conf *conf, struct bytes name);

/* Nobody can come in there: anonymous clients are refused, and nobody vouches for others. */
bool broker_listener_is_shut(const struct broker_listener *listener);

/* Budgets in bytes, 0: none; `memory`: what the machine has. */
int64_t broker_options_max_memory(const struct broker_options *options, int64_t memory);
int64_t broker_options_max_transit(const struct broker_options *options, int64_t memory);

/* Appends all options at their defaults, each commented out behind its help: etc/avocet.yaml. */
void broker_options_example(struct buf *out);

/* Appends the manual page avocet.yaml(5), in mdoc. */
void broker_options_manual(struct buf *out);

#endif
