/* SPDX-License-Identifier: Apache-2.0 */
/* What keeps the file small and the disk usable: the log is written back, free pages are given
 * back, and a ballast lies ready for a full disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "db.h"

enum {
	PAGE = 4096,
	IDLE_WAL_BYTES = 4 << 20, /* when idle, a log of so much is written back */
	RETRY_NS = 1000000000,    /* a log that could not be */
	VACUUM_PAGES = 500,
	VACUUM_SHARE = 4, /* … when more than a fourth of the file is free */
	VACUUM_MIN = 256,
	AGAIN_MS = 5,
	QUIET_MS = 100, /* without a commit: there is time */
	QUIET_NS = QUIET_MS * 1000000,
};

bool
db_checkpoint(struct db *db, int mode)
{
	int code = sqlite3_wal_checkpoint_v2(db->handle, NULL, mode, NULL, NULL);

	if (code == SQLITE_OK) {
		db->wal_pages = 0;
		db->checkpoint_at_ns = 0;
		return true;
	}
	/* What was committed is safe in the log, which grows meanwhile. */
	if (db->checkpoint_at_ns == 0) {
		db_sayf(db, AVOCET_LOG_WARN, "%s: its log cannot be written back: %s",
		    db->options.path, sqlite3_errmsg(db->handle));
	}
	db->checkpoint_at_ns = db_now_ns() + RETRY_NS;
	return false;
}

void
db_checkpoint_from(struct db *db, int64_t bytes)
{
	if ((int64_t)db->wal_pages * PAGE >= bytes && db_now_ns() >= db->checkpoint_at_ns) {
		(void)db_checkpoint(db, SQLITE_CHECKPOINT_PASSIVE);
	}
}

/* --- the disk --- */

int64_t
db_free_space(const struct db *db)
{
	struct statvfs disk;

	return statvfs(db->options.path, &disk) == 0
		   ? (int64_t)disk.f_bavail * (int64_t)disk.f_frsize
		   : INT64_MAX;
}

static void
ballast_path(const struct db *db, char path[DB_MAX_PATH + 16])
{
	(void)snprintf(path, DB_MAX_PATH + 16, "%s.ballast", db->options.path);
}

void
db_make_ballast(struct db *db)
{
	char path[DB_MAX_PATH + 16];
	struct stat status;
	int fd;

	ballast_path(db, path);
	db->has_ballast =
	    stat(path, &status) == 0 && (int64_t)status.st_blocks * 512 >= db->options.ballast;
	if (db->options.ballast == 0 || db->has_ballast ||
	    db_free_space(db) < db->options.min_free + 2 * db->options.ballast) {
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
	if (fd < 0) {
		return;
	}
	db->has_ballast = posix_fallocate(fd, 0, db->options.ballast) == 0;
	if (!db->has_ballast) {
		(void)unlink(path);
	}
	(void)close(fd);
}

bool
db_drop_ballast(struct db *db)
{
	char path[DB_MAX_PATH + 16];

	if (!db->has_ballast) {
		return false;
	}
	db->has_ballast = false;
	ballast_path(db, path);
	db_sayf(
	    db, AVOCET_LOG_WARN, "%s: the disk is full; the ballast is given up", db->options.path);
	return unlink(path) == 0;
}

/* --- when there is time --- */

/* Gives free pages back, some at a time; true if there are more. */
static bool
shrink(struct db *db)
{
	int64_t free_pages = db_number(db, "PRAGMA freelist_count", 0);
	int64_t pages = db_number(db, "PRAGMA page_count", 0);
	char sql[64];

	if (free_pages < VACUUM_MIN || free_pages < pages / VACUUM_SHARE) {
		return false;
	}
	(void)snprintf(sql, sizeof(sql), "PRAGMA incremental_vacuum(%d)", VACUUM_PAGES);
	return db_run(db, sql);
}

int64_t
db_upkeep(struct db *db, bool busy)
{
	if (db->is_low) {
		db_make_ballast(db);
	}
	if (busy) {
		return -1;
	}
	/* Between two commits there is always a moment without work. */
	if (db_now_ns() - db->committed_ns < QUIET_NS) {
		return QUIET_MS;
	}
	if (shrink(db)) {
		return AGAIN_MS;
	}
	if (!db->has_ballast) {
		db_make_ballast(db);
	}
	db_checkpoint_from(db, IDLE_WAL_BYTES);
	return -1;
}
