/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor of a plugin, the life of its instances, their configuration, and the host's core
 * functions. Rules, codes and thread tags stand in avocet_base.h. Since ABI 0.0.
 */
#ifndef AVOCET_PLUGIN_H
#define AVOCET_PLUGIN_H

#include <avocet/avocet_base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the host's core table ---- */

#define AVOCET_LOG_DEBUG 0
#define AVOCET_LOG_INFO 1
#define AVOCET_LOG_WARN 2
#define AVOCET_LOG_ERROR 3

#define AVOCET_THREAD_MAIN 1u
#define AVOCET_THREAD_WORKER 2u
#define AVOCET_THREAD_POOL 3u
#define AVOCET_THREAD_STORE 4u
#define AVOCET_THREAD_FOREIGN 5u /* A thread that the host knows nothing of. */

/* A message of the plugin's own. Sized; the plugin allocates it, the host copies it. */
typedef struct avocet_publish {
	uint32_t struct_size;
	uint32_t flags;   /* AVOCET_MSG_RETAIN */
	avocet_str topic; /* A topic name; not below $SYS. */
	avocet_bytes payload;
	uint32_t qos;
	uint32_t expiry_s;  /* Message Expiry Interval; 0 = none. */
	avocet_props props; /* As of avocet_message_api.set_prop. */
} avocet_publish;

/* Sized, append-only. It lives as long as the process. */
typedef struct avocet_host {
	uint32_t struct_size;
	uint32_t abi_major;  /* AVOCET_ABI_MAJOR of the host. */
	uint32_t abi_minor;  /* AVOCET_ABI_MINOR of the host. */
	uint32_t workers;    /* Event loops that have clients; 0 in a tool. Fixed for its life. */
	const char *version; /* For logs. Decide by query() and AVOCET_HAS(), never by this. */

	/* A host interface by its id, e.g. "avocet.auth/0", or NULL where this host does not offer
	 * it. The table stays valid for the life of the process. [any] */
	const void *(*query)(avocet_self *self, const char *name);

	/* One line of text without a newline, n bytes. It never blocks: what the log cannot take is
	 * dropped and counted. The host adds time and instance. [any] */
	void (*log)(avocet_self *self, int32_t level, const char *text, size_t n);

	/* The answer to start() that was PENDING: AVOCET_OK, or an error with a sentence, which
	 * counts as fail(). Once; AVOCET_E_STATE otherwise. [any] */
	int32_t (*ready)(avocet_self *self, int32_t status, const char *text);

	/* The instance cannot work any more, text says why: `on_failure` of its configuration
	 * applies, its members of chains count as ERROR. [any] */
	void (*fail)(avocet_self *self, const char *text);

	/* Where the calling thread is: AVOCET_THREAD_*. index_out, which may be NULL, gets the
	 * number of the worker. [any] */
	uint32_t (*thread)(uint32_t *index_out);

	/* Publishes, later and in order. The instance is trusted: neither interceptors nor
	 * authorizers are asked. AVOCET_E_AGAIN: 1024 calls of this and client_kick are under way.
	 * AVOCET_E_STATE: before ready and after drain. [any] */
	int32_t (*publish)(avocet_self *self, const avocet_publish *message);

	/* Sends a client away, later: DISCONNECT with the reason (0: 0x98) and a text, which may be
	 * empty. Either client is 0 or client_id is empty. Its session stays. Who has gone already
	 * is ignored. [any] */
	int32_t (*client_kick)(avocet_self *self, avocet_client_h client, avocet_str client_id,
	    uint32_t reason, avocet_str text);

	/* The instance's name in the configuration. It lives as long as the instance. Since 0.3.
	 * [any] */
	const char *(*name)(const avocet_self *self);
} avocet_host;

/* ---- configuration ---- */

#define AVOCET_CONF_STR 1u
#define AVOCET_CONF_INT 2u
#define AVOCET_CONF_BOOL 3u
#define AVOCET_CONF_DURATION 4u /* "5s", "200ms": num() gives nanoseconds. */
#define AVOCET_CONF_SIZE 5u     /* "64KiB": num() gives bytes. */
#define AVOCET_CONF_ENUM 6u     /* constraint "a|b|c": num() gives the index, str() the word. */
#define AVOCET_CONF_PATH 7u     /* Made absolute against the file that names it. */
#define AVOCET_CONF_SECRET 8u   /* As STR; never logged or dumped. */
#define AVOCET_CONF_MAP 9u      /* A mapping with the keys of `children`. */
#define AVOCET_CONF_LIST                                                                      \
	10u                       /* No children: a sequence of texts, or one alone. Else: of \
				     mappings with the keys of `children`. */
#define AVOCET_CONF_ANY 11u       /* A free-form subtree, walked with count(), key() and str(). */
#define AVOCET_CONF_DATA_PATH 12u /* Made absolute against broker.data_dir. */

#define AVOCET_CONF_REQUIRED 1u
#define AVOCET_CONF_RELOADABLE 2u /* A change needs no restart of the instance. */
#define AVOCET_CONF_DEPRECATED 4u

/* One key of the configuration. In arrays with stride conf_item_size; grows at its end. */
typedef struct avocet_conf_item {
	const char *name;       /* Lower case, digits and underscores. */
	uint32_t type;          /* AVOCET_CONF_* */
	uint32_t flags;         /* AVOCET_CONF_REQUIRED ... */
	const char *def;        /* The default as YAML text, or NULL. */
	const char *constraint; /* "1..65535", "1s..1h", "a|b|c", or NULL. */
	const char *help;       /* One line, for the manual. */
	const struct avocet_conf_item *children;
	uint32_t n_children;
	uint32_t reserved;
} avocet_conf_item;

/*
 * Reading a configuration. A path names an item from the top: "tls.ca", "rules[3].topic"; "" is the
 * whole. An item that is not there and has no default gives AVOCET_E_NOTFOUND, one of another type
 * AVOCET_E_INVAL. Views live as long as the avocet_conf: that is from prepare() until retire() or
 * abort() of what was prepared with it has returned.
 */
#define AVOCET_HOST_CONF "avocet.conf/0"
typedef struct avocet_conf_api {
	uint32_t struct_size;
	uint32_t reserved;
	/* STR, PATH, SECRET, ENUM, entries of lists, scalars of ANY. NUL terminated as well. */
	int32_t (*str)(const avocet_conf *conf, const char *path, avocet_str *out);
	/* INT, BOOL, DURATION, SIZE, ENUM. */
	int32_t (*num)(const avocet_conf *conf, const char *path, int64_t *out);
	/* The entries of a list or of a mapping. */
	int32_t (*count)(const avocet_conf *conf, const char *path, size_t *out);
	/* The i-th key of a mapping. */
	int32_t (*key)(const avocet_conf *conf, const char *path, size_t i, avocet_str *out);
	/* "file:line:column" of an item, for the plugin's own sentences. */
	int32_t (*where)(const avocet_conf *conf, const char *path, avocet_str *out);
} avocet_conf_api;

/* ---- life of an instance ---- */

/*
 * One .so has any number of instances, each an entry below `plugins:`, so it needs no global state.
 *
 *     create -> prepare, commit -> start -> (prepare, commit | prepare, abort)* for each reload
 *            -> drain -> stop -> retire -> destroy
 *
 * A reload prepares all instances first; if one refuses, all are aborted and the old state serves
 * on. Sized. Functions that are NULL are not called; create, destroy, prepare and commit are
 * required. In a tool (avocetctl) an instance may be created and destroyed without the rest.
 */
typedef struct avocet_lifecycle {
	uint32_t struct_size;
	uint32_t reserved;

	/* Makes an instance, which keeps host and self. No threads and no I/O yet. [main] */
	int32_t (*create)(
	    const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err);
	void (*destroy)(void *inst); /* [main] */

	/* Builds the state that conf asks for, beside the one in use. [main] */
	int32_t (*prepare)(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err);
	/* Switches to it; must not fail. Calls may run on other threads meanwhile: publish it with
	 * an atomic pointer. *old_out gets what was in use, or NULL. [main] */
	void (*commit)(void *inst, void *next, void **old_out);
	void (*abort)(void *inst, void *next); /* [main] */
	/* No call that began before the commit is running any more: old may go. [main] */
	void (*retire)(void *inst, void *old);

	/* Opens connections, starts threads. AVOCET_OK: it serves. AVOCET_PENDING: host->ready()
	 * follows; listeners stay shut until all instances are ready or `start_timeout` is over.
	 * [main] */
	int32_t (*start)(void *inst, avocet_error *err);
	/* No new questions come; those that are open want their answer. [main] */
	void (*drain)(void *inst);
	/* All questions are answered or written off; end your threads. After it only retire and
	 * destroy are called. [main] */
	void (*stop)(void *inst);
} avocet_lifecycle;

/* ---- the descriptor: the one exported symbol ---- */

#define AVOCET_SERVICE_OPTIONAL 1u /* A host that does not know it may load the plugin. */

/* A service is a table of functions with a name, "avocet.authenticator/0". Sized. Read-only data:
 * `avocetctl plugin info` shows it without running any function of the plugin. */
typedef struct avocet_service {
	uint32_t struct_size;
	uint32_t flags; /* AVOCET_SERVICE_OPTIONAL */
	const char *id;
	const void *vtable; /* Its first member is its struct_size. */
} avocet_service;

/* How the host runs the calls of a service. */
#define AVOCET_EXEC_WORKER                                                                       \
	0u                    /* On the client's worker. It must not block; it may answer later. \
			       */
#define AVOCET_EXEC_POOL 1u   /* On the instance's threads. It may block. In order per client. */
#define AVOCET_EXEC_SERIAL 2u /* As POOL with one thread: for libraries without threads. */
#define AVOCET_EXEC_INLINE                                                      \
	3u /* As WORKER, and it never answers PENDING. The cheapest: what it is \
	      given need not be kept, so nothing is copied for it. */

/* Sized. */
typedef struct avocet_plugin {
	uint32_t magic; /* AVOCET_MAGIC */
	uint32_t struct_size;
	uint32_t abi_major;        /* AVOCET_ABI_MAJOR that it was compiled with. */
	uint32_t abi_minor;        /* AVOCET_ABI_MINOR that it was compiled with: informative. */
	uint32_t abi_minor_needed; /* The oldest host that will do; an older one refuses it. */
	uint32_t flags;            /* 0 */
	const char *name; /* "auth-file": lower case, digits and dashes, at most 32 bytes. */
	const char *version, *summary, *license, *url; /* For people; version is required. */
	const avocet_lifecycle *lifecycle;
	const avocet_service *const *services; /* Ends with NULL. */
	const char *const *needs; /* Ids of host interfaces without which it cannot run; ends with
				     NULL, or is NULL. */
	const avocet_conf_item *conf;
	uint32_t n_conf;
	uint32_t conf_item_size; /* sizeof(avocet_conf_item) */
} avocet_plugin;

/* The symbol names the major, so that one .so may serve two. Data and not a function: the version
 * is judged before any code of the plugin but ELF constructors runs. */
#define AVOCET_PLUGIN_SYMBOL "avocet_plugin_v0"
extern AVOCET_EXPORT const avocet_plugin avocet_plugin_v0;

/* ---- tool: offline commands that avocetctl runs ---- */

#define AVOCET_SERVICE_TOOL "avocet.tool/0"

#define AVOCET_TOOL_JSON 1u /* --json was given: print one JSON value. */

/* What a command is given. Sized; the host allocates it. */
typedef struct avocet_tool_in {
	uint32_t struct_size;
	uint32_t flags;         /* AVOCET_TOOL_* */
	const avocet_str *args; /* The words behind the command's name. */
	size_t n_args;
	/* Prints a line to standard output or standard error; the newline is added. */
	void (*out)(void *arg, const char *text, size_t n);
	void (*err)(void *arg, const char *text, size_t n);
	/* Asks for a password: from the terminal (twice, if `confirm`), or from where --stdin or
	 * --password-file say. At most size - 1 bytes and a NUL; their number, or a negative status
	 * (a sentence was printed). */
	int32_t (*password)(
	    void *arg, const char *prompt, uint32_t confirm, char *buffer, size_t size);
	void *arg;
} avocet_tool_in;

/* One command. In arrays with stride command_size; grows at its end. */
typedef struct avocet_tool_command {
	const char *name;  /* "user add": one or two words. */
	const char *usage; /* "FILE NAME": what follows. */
	const char *help;  /* One line. */
	/* The exit status: 0; 1 refused, not found; 2 usage. The only thread. */
	int32_t (*run)(const avocet_tool_in *in);
} avocet_tool_command;

/* The vtable of the service. Sized. */
typedef struct avocet_tool {
	uint32_t struct_size;
	uint32_t n_commands;
	const avocet_tool_command *commands;
	size_t command_size; /* sizeof(avocet_tool_command) */
} avocet_tool;

#ifdef __cplusplus
}
#endif
#endif
