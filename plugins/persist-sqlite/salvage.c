/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A damaged file: what can be read of it is copied to a new one, PATH.salvaging; when that is whole
 * it is called PATH.salvaged, the damaged file is set aside under another name, never deleted, and
 * the new one takes its place. Whatever ends the process on the way, the next start has the damaged
 * file still, and begins anew, or finds the whole copy, and goes on.
 *
 * Rows are read forwards until the damage, then from behind it: in tables by number, whose first
 * readable row behind it is searched for; in the others, from the end backwards.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "db.h"

enum { MAX_SQL = 400, MAX_GAPS = 200, BATCH = 2000 };

struct table {
	const char *name, *columns, *key; /* key: of tables by number; NULL: another */
	const char *order;
	int count; /* of columns */
};

static const struct table tables[] = {
    {"session", "sid, client_id, rec", "sid", NULL, 3},
    {"sub", "sid, filter, rec", NULL, "sid, filter", 3},
    {"cursor", "sid, filter", NULL, "sid, filter", 2},
    {"message", "mid, expires_at, topic, payload, rec", "mid", NULL, 5},
    {"queue", "qid, sid, mid, state, pid, rec", "qid", NULL, 6},
    {"recv", "sid, pid", NULL, "sid, pid", 2},
    {"retained", "topic, mid, version", NULL, "topic", 3},
    {"will", "sid, topic, payload, rec", "sid", NULL, 4},
};

struct salvage {
	struct db *db; /* the new file */
	sqlite3 *old;
	int64_t copied;
	int64_t gaps;
	int in_batch;
	bool failed; /* the new file cannot be written */
};

static bool
begin(struct salvage *salvage)
{
	if (salvage->in_batch == 0) {
		salvage->failed = salvage->failed || !db_run(salvage->db, "BEGIN IMMEDIATE");
	} else if (salvage->in_batch >= BATCH) {
		salvage->in_batch = 0;
		salvage->failed =
		    salvage->failed || !db_run(salvage->db, "COMMIT; BEGIN IMMEDIATE");
	}
	salvage->in_batch++;
	return !salvage->failed;
}

static void
copy_row(struct salvage *salvage, sqlite3_stmt *from, sqlite3_stmt *into, int count)
{
	if (!begin(salvage)) {
		return;
	}
	for (int i = 0; i < count; i++) {
		(void)sqlite3_bind_value(into, i + 1, sqlite3_column_value(from, i));
	}
	/* What a damaged page made of a row may break a rule of the table; then it is no row. */
	switch (sqlite3_step(into) & 0xff) {
	case SQLITE_DONE:
		salvage->copied += sqlite3_changes(salvage->db->handle) != 0;
		break;
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
		break;
	default:
		salvage->failed = true;
	}
	(void)sqlite3_reset(into);
}

/* One direction, from `after` on (tables by number). Returns true when it came to the end; *last is
 * the number of the last row. Numbers rise, or it is damage. */
static bool
copy_range(struct salvage *salvage, const struct table *table, sqlite3_stmt *into, bool backwards,
    sqlite3_int64 after, sqlite3_int64 *last)
{
	sqlite3_stmt *from = NULL;
	char sql[MAX_SQL];
	int code;

	if (table->key != NULL) {
		(void)snprintf(sql, sizeof(sql),
		    "SELECT %s FROM %s WHERE %s > %" PRId64 " ORDER BY %s", table->columns,
		    table->name, table->key, (int64_t)after, table->key);
	} else if (!backwards) {
		(void)snprintf(sql, sizeof(sql), "SELECT %s FROM %s ORDER BY %s", table->columns,
		    table->name, table->order);
	} else {
		/* "sid, filter" backwards is "sid DESC, filter DESC". */
		const char *comma = strchr(table->order, ',');
		int len = comma != NULL ? (int)(comma - table->order) : (int)strlen(table->order);

		(void)snprintf(sql, sizeof(sql), "SELECT %s FROM %s ORDER BY %.*s DESC%s%s",
		    table->columns, table->name, len, table->order, comma != NULL ? comma : "",
		    comma != NULL ? " DESC" : "");
	}
	code = sqlite3_prepare_v2(salvage->old, sql, -1, &from, NULL);
	while (code == SQLITE_OK || code == SQLITE_ROW) {
		code = sqlite3_step(from);
		if (code == SQLITE_ROW) {
			sqlite3_int64 number = sqlite3_column_int64(from, 0);

			if (table->key != NULL && number <= *last) {
				code = SQLITE_CORRUPT;
				break;
			}
			*last = number;
			copy_row(salvage, from, into, table->count);
			if (salvage->failed) {
				break;
			}
		}
	}
	(void)sqlite3_finalize(from);
	return code == SQLITE_DONE;
}

/* Can the first row behind this number be read, or is there none? */
static bool
is_readable(struct salvage *salvage, const struct table *table, sqlite3_int64 after)
{
	sqlite3_stmt *from = NULL;
	char sql[MAX_SQL];
	int code;

	(void)snprintf(sql, sizeof(sql),
	    "SELECT %s FROM %s WHERE %s > %" PRId64 " ORDER BY %s LIMIT 1", table->columns,
	    table->name, table->key, (int64_t)after, table->key);
	code = sqlite3_prepare_v2(salvage->old, sql, -1, &from, NULL);
	code = code == SQLITE_OK ? sqlite3_step(from) : code;
	if (code == SQLITE_ROW && sqlite3_column_int64(from, 0) <= after) {
		code = SQLITE_CORRUPT;
	}
	(void)sqlite3_finalize(from);
	return code == SQLITE_ROW || code == SQLITE_DONE;
}

/* Behind *after nothing can be read: by growing steps to where something can, then by halves back
 * to the end of that damage (if there are several close together, of one of them). False: there is
 * none. */
static bool
find_readable(struct salvage *salvage, const struct table *table, sqlite3_int64 *after)
{
	sqlite3_int64 bad = *after, good, step = 1;

	if (bad == INT64_MAX) {
		return false;
	}
	for (; good = bad + step, !is_readable(salvage, table, good); step *= 2) {
		bad = good;
		if (step > (INT64_MAX - bad) / 2) {
			return false;
		}
	}
	while (good - bad > 1) {
		sqlite3_int64 middle = bad + (good - bad) / 2;

		if (is_readable(salvage, table, middle)) {
			good = middle;
		} else {
			bad = middle;
		}
	}
	*after = good;
	return true;
}

static void
copy_numbered(struct salvage *salvage, const struct table *table, sqlite3_stmt *into)
{
	sqlite3_int64 after = 0;

	for (int i = 0; i < MAX_GAPS && !salvage->failed; i++) {
		if (copy_range(salvage, table, into, false, after, &after)) {
			return;
		}
		salvage->gaps++;
		if (!find_readable(salvage, table, &after)) {
			return;
		}
	}
}

static void
copy_table(struct salvage *salvage, const struct table *table)
{
	static const char *const holders[] = {
	    "", "?1", "?1,?2", "?1,?2,?3", "?1,?2,?3,?4", "?1,?2,?3,?4,?5", "?1,?2,?3,?4,?5,?6"};
	sqlite3_stmt *into = NULL;
	sqlite3_int64 last = 0;
	char sql[MAX_SQL];

	salvage->copied = salvage->gaps = 0;
	(void)snprintf(sql, sizeof(sql), "INSERT OR IGNORE INTO %s (%s) VALUES (%s)", table->name,
	    table->columns, holders[table->count]);
	if (sqlite3_prepare_v2(salvage->db->handle, sql, -1, &into, NULL) != SQLITE_OK) {
		salvage->failed = true;
		return;
	}
	if (table->key != NULL) {
		copy_numbered(salvage, table, into);
	} else if (!copy_range(salvage, table, into, false, 0, &last) && !salvage->failed) {
		salvage->gaps++;
		(void)copy_range(salvage, table, into, true, 0, &last);
	}
	(void)sqlite3_finalize(into);
	db_sayf(salvage->db, salvage->gaps != 0 ? AVOCET_LOG_ERROR : AVOCET_LOG_INFO,
	    "salvage: table %s: %lld rows copied%s", table->name, (long long)salvage->copied,
	    salvage->gaps != 0 ? ", others cannot be read and are lost" : "");
}

/* --- the files --- */

static bool
set_aside(const char *path, const char *aside, const char *suffix)
{
	char from[DB_MAX_PATH + 16], to[DB_MAX_PATH + 64];

	(void)snprintf(from, sizeof(from), "%s%s", path, suffix);
	(void)snprintf(to, sizeof(to), "%s%s", aside, suffix);
	return rename(from, to) == 0 || errno == ENOENT;
}

/* PATH.corrupt-20261127T101500Z, and a number behind it if that is taken. */
static void
name_aside(const char *path, char aside[DB_MAX_PATH + 48])
{
	time_t now = time(NULL);
	char when[24] = "";
	struct tm utc;

	if (gmtime_r(&now, &utc) != NULL) {
		(void)strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &utc);
	}
	(void)snprintf(aside, DB_MAX_PATH + 48, "%s.corrupt-%s", path, when);
	for (int i = 2; access(aside, F_OK) == 0; i++) {
		(void)snprintf(aside, DB_MAX_PATH + 48, "%s.corrupt-%s-%d", path, when, i);
	}
}

static void
path_with(const struct db *db, const char *suffix, char path[DB_MAX_PATH + 16])
{
	(void)snprintf(path, DB_MAX_PATH + 16, "%s%s", db->options.path, suffix);
}

static bool
make_new(struct db *db, const char *path)
{
	return db_connect(db, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) == SQLITE_OK &&
	       db_run(db, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL") &&
	       db_configure(db) && db_create(db);
}

/* False: it is said, and what cannot be opened has no rows. */
static bool
open_old(struct salvage *salvage)
{
	bool good = sqlite3_open_v2(salvage->db->options.path, &salvage->old,
			SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
			NULL) == SQLITE_OK &&
		    sqlite3_exec(salvage->old,
			"PRAGMA locking_mode = EXCLUSIVE; SELECT 1 FROM sqlite_schema", NULL, NULL,
			NULL) == SQLITE_OK;

	if (!good) {
		db_sayf(salvage->db, AVOCET_LOG_ERROR, "salvage: nothing can be read: %s",
		    salvage->old != NULL ? sqlite3_errmsg(salvage->old) : "no memory");
		return false;
	}
	/* It stays as it was found, its log too. */
	(void)sqlite3_db_config(salvage->old, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	return true;
}

/* The new file is open, and written. */
static bool
copy_all(struct db *db)
{
	struct salvage salvage = {.db = db};

	if (open_old(&salvage)) {
		for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && !salvage.failed; i++) {
			copy_table(&salvage, &tables[i]);
		}
	}
	(void)sqlite3_close_v2(salvage.old);
	return !salvage.failed && (salvage.in_batch == 0 || db_run(db, "COMMIT")) &&
	       db_checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE);
}

static int32_t
copy_what_is_left(struct db *db, char why[DB_MAX_WHY])
{
	char part[DB_MAX_PATH + 16], log[DB_MAX_PATH + 16], whole[DB_MAX_PATH + 16];
	int32_t status = AVOCET_OK;

	path_with(db, ".salvaging", part);
	path_with(db, ".salvaging-wal", log);
	path_with(db, ".salvaged", whole);
	(void)unlink(log);
	(void)unlink(part);
	if (!make_new(db, part) || !copy_all(db)) {
		status = db_fail(db, "copying what can be read", why);
	}
	db_disconnect(db);
	if (status == AVOCET_OK && (rename(part, whole) != 0 || !db_sync_folder(whole))) {
		(void)snprintf(
		    why, DB_MAX_WHY, "what could be read cannot be kept: %s", strerror(errno));
		status = AVOCET_E_IO;
	}
	return status;
}

static bool
set_old_aside(struct db *db, char why[DB_MAX_WHY])
{
	char aside[DB_MAX_PATH + 48];

	name_aside(db->options.path, aside);
	/* The log first: without it the file may look whole, and be older. */
	if (!set_aside(db->options.path, aside, "-wal") ||
	    !set_aside(db->options.path, aside, "")) {
		(void)snprintf(
		    why, DB_MAX_WHY, "it is damaged and cannot be set aside: %s", strerror(errno));
		return false;
	}
	db_sayf(db, AVOCET_LOG_ERROR, "the damaged file is set aside as %s", aside);
	return db_sync_folder(db->options.path);
}

int32_t
db_salvage_finish(struct db *db, char why[DB_MAX_WHY])
{
	char whole[DB_MAX_PATH + 16];

	path_with(db, ".salvaged", whole);
	if (access(whole, F_OK) != 0) {
		return AVOCET_OK;
	}
	if (access(db->options.path, F_OK) == 0 && !set_old_aside(db, why)) {
		return AVOCET_E_IO;
	}
	if (rename(whole, db->options.path) != 0 || !db_sync_folder(db->options.path)) {
		(void)snprintf(why, DB_MAX_WHY, "what was salvaged cannot take its place: %s",
		    strerror(errno));
		return AVOCET_E_IO;
	}
	return AVOCET_OK;
}

int32_t
db_salvage(struct db *db, bool copies, char why[DB_MAX_WHY])
{
	int32_t status;

	if (copies) {
		status = copy_what_is_left(db, why);
		return status == AVOCET_OK ? db_salvage_finish(db, why) : status;
	}
	if (!set_old_aside(db, why)) {
		return AVOCET_E_IO;
	}
	db_sayf(db, AVOCET_LOG_ERROR, "%s: starting without what was stored", db->options.path);
	return AVOCET_OK;
}
