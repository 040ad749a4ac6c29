/* SPDX-License-Identifier: Apache-2.0 */
/* How a file is opened, and left. */
#include "db.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

/* No secondary index on what grows, no foreign key, no trigger: rows are appended by ids that rise.
 * All tables are STRICT: a topic "007" stays what it is. */
static const char create[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;"
    "CREATE TABLE session (sid INTEGER PRIMARY KEY, client_id TEXT NOT NULL, rec BLOB) STRICT;"
    "CREATE INDEX session_client ON session (client_id);"
    "CREATE TABLE sub (sid INTEGER, filter TEXT, rec BLOB, PRIMARY KEY (sid, filter)) STRICT,"
    " WITHOUT ROWID;"
    "CREATE TABLE cursor (sid INTEGER, filter TEXT, PRIMARY KEY (sid, filter)) STRICT,"
    " WITHOUT ROWID;"
    "CREATE TABLE message (mid INTEGER PRIMARY KEY, expires_at INTEGER, topic TEXT NOT NULL,"
    " payload BLOB, rec BLOB) STRICT;"
    "CREATE TABLE queue (qid INTEGER PRIMARY KEY, sid INTEGER NOT NULL, mid INTEGER NOT NULL,"
    " state INTEGER, pid INTEGER, rec BLOB) STRICT;"
    "CREATE TABLE recv (sid INTEGER, pid INTEGER, PRIMARY KEY (sid, pid)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE retained (topic TEXT PRIMARY KEY, mid INTEGER NOT NULL, version INTEGER) STRICT,"
    " WITHOUT ROWID;"
    "CREATE TABLE will (sid INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB, rec BLOB)"
    " STRICT;"
    "PRAGMA application_id = " TEXT(DB_APPLICATION) ";"
						    "PRAGMA user_version = " TEXT(DB_VERSION) ";";

const struct db_step *db_steps;
int db_newest = DB_VERSION;

static const char *const texts[DB_STATEMENTS] = {
    [DB_BEGIN] = "BEGIN IMMEDIATE",
    [DB_COMMIT] = "COMMIT",
    [DB_ROLLBACK] = "ROLLBACK",
    [DB_PROBE] = "INSERT INTO meta VALUES ('probes', 1) ON CONFLICT (key) DO UPDATE SET"
		 " value = value + 1",
    [DB_SESSION_PUT] = "INSERT OR REPLACE INTO session (sid, client_id, rec) VALUES (?1, ?2, ?3)",
    [DB_SESSION_DEL] = "DELETE FROM session WHERE sid = ?1",
    [DB_SESSION_DEL_SUBS] = "DELETE FROM sub WHERE sid = ?1",
    [DB_SESSION_DEL_CURSORS] = "DELETE FROM cursor WHERE sid = ?1",
    [DB_SESSION_DEL_RECV] = "DELETE FROM recv WHERE sid = ?1",
    [DB_SUB_PUT] = "INSERT OR REPLACE INTO sub (sid, filter, rec) VALUES (?1, ?2, ?3)",
    [DB_SUB_DEL] = "DELETE FROM sub WHERE sid = ?1 AND filter = ?2",
    [DB_CURSOR_PUT] = "INSERT OR REPLACE INTO cursor (sid, filter) VALUES (?1, ?2)",
    [DB_CURSOR_DEL] = "DELETE FROM cursor WHERE sid = ?1 AND filter = ?2",
    [DB_MSG_PUT] = "INSERT OR REPLACE INTO message (mid, expires_at, topic, payload, rec)"
		   " VALUES (?1, ?2, ?3, ?4, ?5)",
    [DB_MSG_DEL] = "DELETE FROM message WHERE mid = ?1",
    [DB_QUEUE_PUT] = "INSERT OR REPLACE INTO queue (qid, sid, mid, state, pid, rec)"
		     " VALUES (?1, ?2, ?3, 0, 0, ?4)",
    [DB_QUEUE_STATE] = "UPDATE queue SET state = ?2, pid = ?3 WHERE qid = ?1",
    [DB_QUEUE_DEL] = "DELETE FROM queue WHERE qid = ?1",
    [DB_RECV_PUT] = "INSERT OR REPLACE INTO recv (sid, pid) VALUES (?1, ?2)",
    [DB_RECV_DEL] = "DELETE FROM recv WHERE sid = ?1 AND pid = ?2",
    [DB_RETAIN_PUT] = "INSERT OR REPLACE INTO retained (topic, mid, version) VALUES (?1, ?2, ?3)",
    [DB_RETAIN_DEL] = "DELETE FROM retained WHERE topic = ?1",
    [DB_WILL_PUT] =
	"INSERT OR REPLACE INTO will (sid, topic, payload, rec) VALUES (?1, ?2, ?3, ?4)",
    [DB_WILL_DEL] = "DELETE FROM will WHERE sid = ?1",
};

void
db_sayf(struct db *db, int32_t level, const char *format, ...)
{
	char text[DB_MAX_PATH + DB_MAX_WHY];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	db->say(db->arg, level, text);
}

/* --- SQLite's answers --- */

static bool
is_no_space(struct db *db, int code)
{
	int error = sqlite3_system_errno(db->handle);

	return (code & 0xff) == SQLITE_FULL ||
	       ((code & 0xff) == SQLITE_IOERR && (error == ENOSPC || error == EDQUOT));
}

int32_t
db_fail(struct db *db, const char *step, char why[DB_MAX_WHY])
{
	int code = db->handle != NULL ? sqlite3_extended_errcode(db->handle) : SQLITE_NOMEM;

	if (is_no_space(db, code)) {
		(void)snprintf(why, DB_MAX_WHY, "the disk is full (%s)", step);
		return AVOCET_E_FULL;
	}
	if ((code & 0xff) == SQLITE_BUSY) {
		(void)snprintf(why, DB_MAX_WHY, "another process uses the file");
		return AVOCET_E_BUSY;
	}
	(void)snprintf(why, DB_MAX_WHY, "%s: %s", step,
	    db->handle != NULL ? sqlite3_errmsg(db->handle) : "no memory");
	return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB ? AVOCET_E_CORRUPT
	       : (code & 0xff) == SQLITE_NOMEM                                   ? AVOCET_E_NOMEM
										 : AVOCET_E_IO;
}

bool
db_run(struct db *db, const char *sql)
{
	return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK;
}

int64_t
db_number(struct db *db, const char *sql, int64_t absent)
{
	sqlite3_stmt *statement = NULL;
	int64_t number = absent;

	if (sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW) {
		number = sqlite3_column_int64(statement, 0);
	}
	(void)sqlite3_finalize(statement);
	return number;
}

bool
db_is_sound(struct db *db, bool whole, char why[DB_MAX_WHY])
{
	sqlite3_stmt *statement = NULL;
	const char *text;
	bool sound = false;

	(void)snprintf(why, DB_MAX_WHY, "it cannot be checked");
	if (sqlite3_prepare_v2(db->handle,
		whole ? "PRAGMA integrity_check(1)" : "PRAGMA quick_check(1)", -1, &statement,
		NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW) {
		text = (const char *)sqlite3_column_text(statement, 0);
		sound = text != NULL && strcmp(text, "ok") == 0;
		(void)snprintf(why, DB_MAX_WHY, "%s", text != NULL ? text : "no memory");
	} else {
		(void)snprintf(why, DB_MAX_WHY, "%s", sqlite3_errmsg(db->handle));
	}
	(void)sqlite3_finalize(statement);
	return sound;
}

/* --- connecting --- */

/* How much is in the log; nothing is written back by SQLite itself. */
static int
on_wal(void *arg, sqlite3 *handle, const char *name, int pages)
{
	(void)handle;
	(void)name;
	((struct db *)arg)->wal_pages = pages;
	return SQLITE_OK;
}

int
db_connect(struct db *db, const char *path, int flags)
{
	int code = sqlite3_open_v2(path, &db->handle,
	    flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE, NULL);

	if (code == SQLITE_OK) {
		(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
		(void)sqlite3_busy_timeout(db->handle, 0);
	}
	return code;
}

void
db_disconnect(struct db *db)
{
	for (int i = 0; i < DB_STATEMENTS; i++) {
		(void)sqlite3_finalize(db->statements[i]);
		db->statements[i] = NULL;
	}
	(void)sqlite3_close_v2(db->handle);
	db->handle = NULL;
}

static bool
is_wal(struct db *db)
{
	sqlite3_stmt *statement = NULL;
	bool is = sqlite3_prepare_v2(
		      db->handle, "PRAGMA journal_mode = WAL", -1, &statement, NULL) == SQLITE_OK &&
		  sqlite3_step(statement) == SQLITE_ROW &&
		  sqlite3_stricmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;

	(void)sqlite3_finalize(statement);
	return is;
}

bool
db_configure(struct db *db)
{
	char cache[64];

	(void)snprintf(cache, sizeof(cache), "PRAGMA cache_size = -%lld",
	    (long long)(db->options.cache_size / 1024));
	return db_run(db, "PRAGMA locking_mode = EXCLUSIVE") && is_wal(db) &&
	       db_run(db, "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
			  "PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON") &&
	       db_run(db, cache) && sqlite3_wal_hook(db->handle, on_wal, db) == NULL;
}

bool
db_create(struct db *db)
{
	return db_run(db, "BEGIN IMMEDIATE") && db_run(db, create) && db_run(db, "COMMIT");
}

bool
db_prepare(struct db *db)
{
	for (int i = 0; i < DB_STATEMENTS; i++) {
		if (sqlite3_prepare_v3(db->handle, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
			&db->statements[i], NULL) != SQLITE_OK) {
			return false;
		}
	}
	return true;
}

/* --- the file --- */

bool
db_sync_folder(const char *path)
{
	char copy[DB_MAX_PATH];
	int fd;
	bool good;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	good = fd >= 0 && fsync(fd) == 0;
	if (fd >= 0) {
		(void)close(fd);
	}
	return good;
}

/* The folder of the file and those above it, as far as they are not there. */
static bool
make_folders(const char *path, char why[DB_MAX_WHY])
{
	char copy[DB_MAX_PATH];

	(void)snprintf(copy, sizeof(copy), "%s", path);
	for (char *at = copy + 1; *at != '\0'; at++) {
		if (*at != '/') {
			continue;
		}
		*at = '\0';
		if (mkdir(copy, S_IRWXU) != 0 && errno != EEXIST) {
			(void)snprintf(why, DB_MAX_WHY,
			    "the folder %.150s cannot be made or entered: %s", copy,
			    strerror(errno));
			return false;
		}
		*at = '/';
	}
	return true;
}

/* A copy of the file before its shape is changed: PATH.vN.bak. */
static bool
keep_copy(struct db *db, int version, char why[DB_MAX_WHY])
{
	char path[DB_MAX_PATH + 16];
	sqlite3 *copy = NULL;
	sqlite3_backup *backup;
	bool good;

	(void)snprintf(path, sizeof(path), "%s.v%d.bak", db->options.path, version);
	good = sqlite3_open(path, &copy) == SQLITE_OK &&
	       (backup = sqlite3_backup_init(copy, "main", db->handle, "main")) != NULL &&
	       sqlite3_backup_step(backup, -1) == SQLITE_DONE &&
	       sqlite3_backup_finish(backup) == SQLITE_OK;
	if (!good) {
		(void)snprintf(why, DB_MAX_WHY,
		    "cannot keep a copy before it is brought up to date: %s",
		    copy != NULL ? sqlite3_errmsg(copy) : "no memory");
	}
	(void)sqlite3_close_v2(copy);
	return good && db_sync_folder(path);
}

static int32_t
migrate(struct db *db, int version, char why[DB_MAX_WHY])
{
	char set[64];

	if (!keep_copy(db, version, why)) {
		return AVOCET_E_IO;
	}
	for (; version < db_newest; version++) {
		(void)snprintf(set, sizeof(set), "PRAGMA user_version = %d", version + 1);
		if (!db_run(db, "BEGIN IMMEDIATE") || !db_run(db, db_steps[version].sql) ||
		    !db_run(db, set) || !db_run(db, "COMMIT")) {
			int32_t status = db_fail(db, "bringing it up to date", why);

			(void)db_run(db, "ROLLBACK");
			return status;
		}
		db_sayf(db, AVOCET_LOG_INFO, "%s: brought from version %d to %d", db->options.path,
		    version, version + 1);
	}
	return AVOCET_OK;
}

/* What kind of file is it? */
static int32_t
judge(struct db *db, char why[DB_MAX_WHY])
{
	int64_t application = db_number(db, "PRAGMA application_id", -1);
	int64_t version = db_number(db, "PRAGMA user_version", -1);
	int64_t tables = db_number(db, "SELECT count(*) FROM sqlite_schema", -1);

	if (application < 0 || version < 0 || tables < 0) {
		return db_fail(db, "reading it", why);
	}
	if (tables == 0 && application == 0 && !db->options.is_offline) {
		/* New, or it was cut off while it was made. */
		return db_create(db) ? AVOCET_OK : db_fail(db, "making its tables", why);
	}
	if (application != DB_APPLICATION) {
		(void)snprintf(why, DB_MAX_WHY, "it is a database of another program");
		return AVOCET_E_INVAL;
	}
	if (version > db_newest) {
		(void)snprintf(why, DB_MAX_WHY,
		    "it has version %lld, and this program knows versions up to %d: it was written "
		    "by a newer avocet",
		    (long long)version, db_newest);
		return AVOCET_E_INVAL;
	}
	if (version == db_newest) {
		return AVOCET_OK;
	}
	if (db->options.is_offline || db_steps == NULL || version < 1) {
		(void)snprintf(why, DB_MAX_WHY, "it has version %lld, and %d is needed",
		    (long long)version, db_newest);
		return AVOCET_E_INVAL;
	}
	return migrate(db, (int)version, why);
}

static int32_t
check(struct db *db, char why[DB_MAX_WHY])
{
	bool was_clean =
	    db_number(db, "SELECT value FROM meta WHERE key = 'clean_shutdown'", 0) == 1;
	bool is_new = db_number(db, "SELECT count(*) FROM meta", 0) == 0;

	if (!is_new && !was_clean) {
		db_sayf(
		    db, AVOCET_LOG_INFO, "%s: it was not closed, it is checked", db->options.path);
	}
	if (db->options.check == DB_CHECK_NEVER ||
	    (db->options.check == DB_CHECK_UNCLEAN && (is_new || was_clean))) {
		return AVOCET_OK;
	}
	return db_is_sound(db, false, why) ? AVOCET_OK : AVOCET_E_CORRUPT;
}

static int32_t
mark_open(struct db *db, char why[DB_MAX_WHY])
{
	return db_run(db,
		   "BEGIN IMMEDIATE;"
		   "INSERT INTO meta VALUES ('boot_count', 1) ON CONFLICT (key) DO UPDATE SET"
		   " value = value + 1;"
		   "INSERT OR IGNORE INTO meta VALUES ('created_by', 'avocet " PACKAGE_VERSION "');"
		   "INSERT OR REPLACE INTO meta VALUES ('clean_shutdown', 0);"
		   "COMMIT")
		   ? AVOCET_OK
		   : db_fail(db, "writing to it", why);
}

static int32_t
open_file(struct db *db, char why[DB_MAX_WHY])
{
	int flags = SQLITE_OPEN_READWRITE | (db->options.is_offline ? 0 : SQLITE_OPEN_CREATE);
	bool is_new = access(db->options.path, F_OK) != 0;
	int32_t status;

	if (db_connect(db, db->options.path, flags) != SQLITE_OK) {
		return db_fail(db, "opening it", why);
	}
	if (is_new && !db_run(db, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL")) {
		return db_fail(db, "making it", why);
	}
	if (!db_configure(db)) {
		return db_fail(db, "opening it", why);
	}
	status = judge(db, why);
	if (status != AVOCET_OK || db->options.is_offline) {
		return status;
	}
	if (is_new && !db_sync_folder(db->options.path)) {
		(void)snprintf(why, DB_MAX_WHY, "its folder cannot be synced: %s", strerror(errno));
		return AVOCET_E_IO;
	}
	status = check(db, why);
	if (status == AVOCET_OK) {
		status = mark_open(db, why);
	}
	if (status == AVOCET_OK && !db_prepare(db)) {
		status = db_fail(db, "reading its tables", why);
	}
	return status;
}

/* Then it can be opened. */
static int32_t
recover(struct db *db, char why[DB_MAX_WHY])
{
	db_disconnect(db);
	if (db->options.on_corrupt == DB_REFUSE) {
		char found[DB_MAX_WHY];

		(void)snprintf(found, sizeof(found), "%s", why);
		(void)snprintf(why, DB_MAX_WHY,
		    "it is damaged (%.140s); on_corrupt: salvage would start with what can be read",
		    found);
		return AVOCET_E_CORRUPT;
	}
	db_sayf(db, AVOCET_LOG_ERROR, "%s: it is damaged: %s", db->options.path, why);
	return db_salvage(db, db->options.on_corrupt == DB_SALVAGE, why);
}

static int32_t
open_or_recover(struct db *db, char why[DB_MAX_WHY])
{
	int32_t status;

	if (db->options.is_offline) {
		return open_file(db, why);
	}
	status = db_salvage_finish(db, why);
	if (status == AVOCET_OK) {
		status = open_file(db, why);
	}
	if (status == AVOCET_E_CORRUPT) {
		status = recover(db, why);
		status = status == AVOCET_OK ? open_file(db, why) : status;
	}
	return status;
}

int32_t
db_open(struct db *db, const struct db_options *options, db_say_fn *say, void *arg,
    char why[DB_MAX_WHY])
{
	int32_t status;
	mode_t before;

	*db = (struct db){.options = *options, .say = say, .arg = arg};
	if (!options->is_offline && !make_folders(options->path, why)) {
		return AVOCET_E_IO;
	}
	before = umask(S_IRWXG | S_IRWXO);
	status = open_or_recover(db, why);
	if (status == AVOCET_OK && !options->is_offline) {
		db_make_ballast(db);
	}
	(void)umask(before);
	if (status != AVOCET_OK) {
		db_disconnect(db);
	}
	return status;
}

void
db_close(struct db *db, bool clean)
{
	if (db->handle == NULL) {
		return;
	}
	if (clean) {
		(void)db_run(db, "UPDATE meta SET value = 1 WHERE key = 'clean_shutdown'");
	}
	(void)db_checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE);
	db_disconnect(db);
}
