/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database: one file, one connection, one thread at a time. It knows nothing of the broker but
 * the shape of its operations (avocet_store.h), so that avocetctl and tests use it without one.
 *
 * Written in WAL mode with synchronous FULL and an exclusive lock: a COMMIT that succeeded survives
 * a power cut, and nobody else, not even the sqlite3 command, comes between. Why one connection,
 * and why append-only tables: doc/store.md.
 */
#ifndef PERSIST_SQLITE_DB_H
#define PERSIST_SQLITE_DB_H

#include <avocet/avocet_store.h>
#include <sqlite3.h>
#include <stdbool.h>

enum { DB_MAX_PATH = 4096, DB_MAX_WHY = 240 };

/* PRAGMA user_version and application_id ("AVOC") of a file of ours. */
#define DB_VERSION 1
#define DB_APPLICATION 0x41564f43

enum db_check { DB_CHECK_UNCLEAN, DB_CHECK_ALWAYS, DB_CHECK_NEVER };
enum db_corrupt { DB_SALVAGE, DB_REFUSE, DB_FRESH };

struct db_options {
	char path[DB_MAX_PATH];
	int64_t cache_size;      /* bytes of SQLite's page cache */
	int64_t checkpoint_size; /* bytes of the log beyond which it is written back at once */
	int64_t min_free;        /* bytes on the disk; below nothing new is let in; 0: never */
	int64_t ballast;         /* bytes of a file that is given up when the disk is full */
	enum db_check check;
	enum db_corrupt on_corrupt;
	bool is_offline; /* a command of a stopped broker: nothing is created, marked or salvaged */
};

/* level: AVOCET_LOG_*. */
typedef void db_say_fn(void *arg, int32_t level, const char *text);

/* One step of a schema: from the version that is its index. */
struct db_step {
	const char *sql;
};

enum db_statement {
	DB_BEGIN,
	DB_COMMIT,
	DB_ROLLBACK,
	DB_PROBE, /* does it write? */
	DB_SESSION_PUT,
	DB_SESSION_DEL,
	DB_SESSION_DEL_SUBS,
	DB_SESSION_DEL_CURSORS,
	DB_SESSION_DEL_RECV,
	DB_SUB_PUT,
	DB_SUB_DEL,
	DB_CURSOR_PUT,
	DB_CURSOR_DEL,
	DB_MSG_PUT,
	DB_MSG_DEL,
	DB_QUEUE_PUT,
	DB_QUEUE_STATE,
	DB_QUEUE_DEL,
	DB_RECV_PUT,
	DB_RECV_DEL,
	DB_RETAIN_PUT,
	DB_RETAIN_DEL,
	DB_WILL_PUT,
	DB_WILL_DEL,
	DB_STATEMENTS,
};

struct db {
	struct db_options options;
	db_say_fn *say;
	void *arg;
	sqlite3 *handle;
	sqlite3_stmt *statements[DB_STATEMENTS];
	int wal_pages;            /* in the log since it was written back */
	int64_t commit_ns;        /* that a COMMIT takes, smoothed */
	int64_t checkpoint_at_ns; /* when the log may be written back again; 0: it could be */
	int64_t committed_ns;     /* when the last one was over */
	bool has_ballast;
	bool is_low; /* said so */
	uint64_t skipped;
};

/* Where the schema begins and which steps bring older files to DB_VERSION: step i from version i.
 * A test may put others. */
extern const struct db_step *db_steps;
extern int db_newest;

/* Opens, creates, migrates, checks, salvages, as the options say. AVOCET_OK, or an error with a
 * sentence; then it is closed. */
int32_t db_open(struct db *db, const struct db_options *options, db_say_fn *say, void *arg,
    char why[DB_MAX_WHY]);

/* clean: marks it so, and writes the log back. */
void db_close(struct db *db, bool clean);

/* As avocet_store.commit. */
int32_t db_commit(struct db *db, const avocet_store_batch *batch, char why[DB_MAX_WHY]);

/* As avocet_store.load; take's errors end it but for AVOCET_E_CORRUPT. */
typedef int32_t db_take_fn(void *arg, const avocet_store_op *op);
int32_t db_load(struct db *db, db_take_fn *take, void *arg, char why[DB_MAX_WHY]);

/* A moment's housekeeping; ms until more, or negative. */
int64_t db_upkeep(struct db *db, bool busy);

/* --- for the other files of this folder --- */

/* What SQLite says happened, as an ABI status; `why` gets a sentence about `step`. */
int32_t db_fail(struct db *db, const char *step, char why[DB_MAX_WHY]);
bool db_run(struct db *db, const char *sql);
/* One number from one row; `absent` if there is none. */
int64_t db_number(struct db *db, const char *sql, int64_t absent);
void db_sayf(struct db *db, int32_t level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Quick, or all of it: 0 rows are wrong, or `why` says what. */
bool db_is_sound(struct db *db, bool whole, char why[DB_MAX_WHY]);
/* Makes the tables of a new file. */
bool db_create(struct db *db);
bool db_configure(struct db *db);
int db_connect(struct db *db, const char *path, int flags);
void db_disconnect(struct db *db);
bool db_prepare(struct db *db);
bool db_checkpoint(struct db *db, int mode);
/* A log of so many bytes or more is written back; not at once again when it could not be. */
void db_checkpoint_from(struct db *db, int64_t bytes);
int64_t db_now_ns(void);
int64_t db_free_space(const struct db *db);
void db_make_ballast(struct db *db);
bool db_drop_ballast(struct db *db);
bool db_sync_folder(const char *path);

/* Before a file is opened: goes on with a salvage that was interrupted when its copy was whole. */
int32_t db_salvage_finish(struct db *db, char why[DB_MAX_WHY]);

/* Nothing is open, before and after. Puts a file in the damaged one's place that holds what can be
 * read of it (copies), or nothing; the damaged one is set aside. */
int32_t db_salvage(struct db *db, bool copies, char why[DB_MAX_WHY]);

#endif
