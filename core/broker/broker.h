/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker as a whole, for the programs that are one: avocet, and avocet-test of the tests. Built
 * in main, passed down; there are no globals. All functions: main's thread.
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broker;
struct buf;
struct conf;
struct loop;
struct plugin_desk;
struct plugin_set;
struct store_engine;

/* What the process ends with. */
enum broker_status { BROKER_OK, BROKER_REFUSED, BROKER_USAGE, BROKER_NOT_STARTED };

struct broker_setup {
	struct conf
	    *conf; /* checked by broker_conf_check; the broker takes a reference of its own */
	const char *conf_path; /* what SIGHUP reads; NULL: there is no file. Outlives the broker */
	int port;              /* -p, or 0 */
	bool verbose;          /* -v */
	struct store_engine *engine;      /* taken over; NULL: the null engine */
	const struct plugin_set *plugins; /* NULL: nobody is asked. Outlives the broker */
	bool move_always;                 /* a test's wish: see conn/conn.h */
	uint64_t seed;                    /* of loop_sim */
	int64_t wall_ms;                  /* UNIX time; counts only for what a store brings back */
	/* Tests: the loop and the desks by worker's index, before the threads start; to add foreign
	 * ones. */
	void (*on_loop)(struct loop *loop, struct plugin_desk *const *desks, void *arg);
	void *arg;
};

/* Opens the log, binds all listeners, drops privileges, builds the house. NULL with a sentence. The
 * engine is taken over also then. */
struct broker *broker_new(const struct broker_setup *setup, char *why, size_t why_size);

/* Blocks until it is shut down; what to exit with. Once. */
int broker_run(struct broker *broker);

void broker_free(struct broker **broker);

/* From now on the process leaves no core file, and nobody but root looks into its memory: there are
 * secrets in it. Before the configuration is read. */
void broker_keep_secrets(void);

/* --- the configuration, for a main that knows nothing of it --- */

/* Reads the file; NULL: /etc/avocet/avocet.yaml if it is there, else the defaults. Never NULL: what
 * was wrong broker_conf_check tells. path_out: the file that was read, or NULL. */
struct conf *broker_conf_load(const char *path, const char **path_out);
void broker_conf_free(struct conf **conf);

/* False: appends what is wrong, a line for each error. */
bool broker_conf_check(struct conf *conf, int port, bool verbose, struct buf *errors);

/* After the check: appends what would run (-t); all keys with the values in force (--dump-config).
 */
void broker_conf_describe(struct conf *conf, struct buf *out);
void broker_conf_dump(struct conf *conf, struct buf *out);

#endif
