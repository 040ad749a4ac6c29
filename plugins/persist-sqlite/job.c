/* SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	DUMP_ROWS = 500,
	MAX_RUNNING_DUMP = 100000,
	BACKUP_PAGES = 200,
	MAX_SQL = 300,
	STATUS_OK = 0,
	STATUS_REFUSED = 1,
};

static void __attribute__((format(printf, 2, 3)))
printf_to(struct job *job, const char *format, ...)
{
	char text[DB_MAX_PATH + 256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n > 0) {
		job->print(job->arg, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
	}
}

static bool __attribute__((format(printf, 3, 4)))
finish(struct job *job, int32_t status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(job->sentence, sizeof(job->sentence), format, args);
	va_end(args);
	job->status = status;
	return true;
}

static bool
finish_failed(struct job *job, struct db *db, const char *step)
{
	char why[DB_MAX_WHY];

	(void)db_fail(db, step, why);
	return finish(job, STATUS_REFUSED, "%s", why);
}

/* --- tables --- */

struct table {
	const char *name, *columns, *keys, *holders;
	int key_count;
	int key_at[2]; /* which column each key is */
};

static const struct table tables[] = {
    {"meta", "key, value", "key", "?1", 1, {0, 0}},
    {"session", "sid, client_id, rec", "sid", "?1", 1, {0, 0}},
    {"sub", "sid, filter, rec", "sid, filter", "?1, ?2", 2, {0, 1}},
    {"cursor", "sid, filter", "sid, filter", "?1, ?2", 2, {0, 1}},
    {"message", "mid, expires_at, topic, payload, rec", "mid", "?1", 1, {0, 0}},
    {"queue", "qid, sid, mid, state, pid, rec", "qid", "?1", 1, {0, 0}},
    {"recv", "sid, pid", "sid, pid", "?1, ?2", 2, {0, 1}},
    {"retained", "topic, mid, version", "topic", "?1", 1, {0, 0}},
    {"will", "sid, topic, payload, rec", "sid", "?1", 1, {0, 0}},
};
enum { TABLES = sizeof(tables) / sizeof(tables[0]) };

static int64_t
count_rows(struct db *db, const char *name)
{
	char sql[MAX_SQL];

	(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", name);
	return db_number(db, sql, -1);
}

/* --- dump: an object a line --- */

struct line {
	char *data;
	size_t len, cap;
	bool failed;
};

static void
add(struct line *line, const char *text, size_t n)
{
	if (line->len + n > line->cap) {
		size_t cap = (line->len + n) * 2;
		char *data = realloc(line->data, cap);

		if (data == NULL) {
			line->failed = true;
			return;
		}
		line->data = data;
		line->cap = cap;
	}
	memcpy(line->data + line->len, text, n);
	line->len += n;
}

static void
add_text(struct line *line, const char *text)
{
	add(line, text, strlen(text));
}

static void
add_string(struct line *line, const unsigned char *text, size_t n)
{
	char escaped[8];

	add_text(line, "\"");
	for (size_t i = 0; i < n; i++) {
		if (text[i] < 0x20 || text[i] == '"' || text[i] == '\\' || text[i] == 0x7f) {
			(void)snprintf(escaped, sizeof(escaped), "\\u%04x", text[i]);
			add_text(line, escaped);
		} else {
			add(line, (const char *)&text[i], 1);
		}
	}
	add_text(line, "\"");
}

static void
add_hex(struct line *line, const unsigned char *blob, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	add_text(line, "\"");
	for (size_t i = 0; i < n; i++) {
		char pair[2] = {digits[blob[i] >> 4], digits[blob[i] & 15]};

		add(line, pair, 2);
	}
	add_text(line, "\"");
}

static void
add_value(struct line *line, sqlite3_stmt *statement, int at)
{
	char number[24];

	switch (sqlite3_column_type(statement, at)) {
	case SQLITE_INTEGER:
		(void)snprintf(
		    number, sizeof(number), "%lld", (long long)sqlite3_column_int64(statement, at));
		add_text(line, number);
		break;
	case SQLITE_TEXT:
		add_string(line, sqlite3_column_text(statement, at),
		    (size_t)sqlite3_column_bytes(statement, at));
		break;
	case SQLITE_BLOB:
		add_hex(line, sqlite3_column_blob(statement, at),
		    (size_t)sqlite3_column_bytes(statement, at));
		break;
	default:
		add_text(line, "null");
		break;
	}
}

static void
print_row(struct job *job, const struct table *table, sqlite3_stmt *statement)
{
	struct line line = {0};

	add_text(&line, "{\"table\":\"");
	add_text(&line, table->name);
	add_text(&line, "\"");
	for (int i = 0; i < sqlite3_column_count(statement); i++) {
		add_text(&line, ",\"");
		add_text(&line, sqlite3_column_name(statement, i));
		add_text(&line, "\":");
		add_value(&line, statement, i);
	}
	add_text(&line, "}\n");
	if (!line.failed) {
		job->print(job->arg, line.data, line.len);
	}
	free(line.data);
}

static void
forget_place(struct job *job)
{
	for (int i = 0; i < 2; i++) {
		sqlite3_value_free(job->after[i]);
		job->after[i] = NULL;
	}
}

static void
keep_place(struct job *job, const struct table *table, sqlite3_stmt *statement)
{
	forget_place(job);
	for (int i = 0; i < table->key_count; i++) {
		job->after[i] =
		    sqlite3_value_dup(sqlite3_column_value(statement, table->key_at[i]));
	}
}

static bool
dump_some(struct job *job, struct db *db)
{
	const struct table *table = &tables[job->table];
	sqlite3_stmt *statement = NULL;
	char sql[MAX_SQL];
	int count = 0, code;

	(void)snprintf(sql, sizeof(sql), "SELECT %s FROM %s %s%s%s%s%s ORDER BY %s LIMIT %d",
	    table->columns, table->name, job->after[0] != NULL ? "WHERE (" : "",
	    job->after[0] != NULL ? table->keys : "", job->after[0] != NULL ? ") > (" : "",
	    job->after[0] != NULL ? table->holders : "", job->after[0] != NULL ? ")" : "",
	    table->keys, DUMP_ROWS);
	code = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);
	for (int i = 0; code == SQLITE_OK && job->after[0] != NULL && i < table->key_count; i++) {
		code = sqlite3_bind_value(statement, i + 1, job->after[i]);
	}
	if (code == SQLITE_OK) {
		while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
			print_row(job, table, statement);
			if (++count == DUMP_ROWS) {
				keep_place(job, table, statement);
			}
		}
	}
	(void)sqlite3_finalize(statement);
	if (code != SQLITE_DONE) {
		return finish_failed(job, db, table->name);
	}
	if (count < DUMP_ROWS) {
		forget_place(job);
		job->table++;
	}
	return job->table == TABLES && finish(job, STATUS_OK, "%s", "");
}

static bool
dump(struct job *job, struct db *db)
{
	int64_t rows = 0;

	for (size_t i = 0;
	     job->is_running && job->table == 0 && job->after[0] == NULL && i < TABLES; i++) {
		rows += count_rows(db, tables[i].name);
	}
	if (rows > MAX_RUNNING_DUMP) {
		return finish(job, STATUS_REFUSED,
		    "there are %lld rows, too many to pass them through a running broker: make a "
		    "backup and dump that",
		    (long long)rows);
	}
	return dump_some(job, db);
}

/* --- backup --- */

static bool
sync_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool good = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0) {
		(void)close(fd);
	}
	return good;
}

static void
part_path(const struct job *job, char path[DB_MAX_PATH + 16])
{
	(void)snprintf(path, DB_MAX_PATH + 16, "%s.part", job->path);
}

/* Nothing is written over: neither a backup nor somebody else's file. */
static bool
begin_backup(struct job *job, struct db *db)
{
	char part[DB_MAX_PATH + 16];
	int fd;

	part_path(job, part);
	if (access(job->path, F_OK) == 0) {
		(void)finish(job, STATUS_REFUSED, "%.200s is there already", job->path);
		return false;
	}
	fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
	if (fd < 0) {
		(void)finish(job, STATUS_REFUSED, "%.180s: %s", part, strerror(errno));
		return false;
	}
	(void)close(fd);
	if (sqlite3_open_v2(part, &job->target, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
		NULL) != SQLITE_OK ||
	    (job->backup = sqlite3_backup_init(job->target, "main", db->handle, "main")) == NULL) {
		(void)finish(job, STATUS_REFUSED, "%.100s: %.100s", part,
		    job->target != NULL ? sqlite3_errmsg(job->target) : "no memory");
		return false;
	}
	return true;
}

static bool
end_backup(struct job *job)
{
	char part[DB_MAX_PATH + 16];
	int code = sqlite3_backup_finish(job->backup);

	part_path(job, part);
	job->backup = NULL;
	if (code != SQLITE_OK || sqlite3_close(job->target) != SQLITE_OK) {
		return finish(job, STATUS_REFUSED, "%.200s: %s", part, sqlite3_errstr(code));
	}
	job->target = NULL;
	if (!sync_file(part) || rename(part, job->path) != 0 || !db_sync_folder(job->path)) {
		return finish(job, STATUS_REFUSED, "%.180s: %s", job->path, strerror(errno));
	}
	printf_to(job, "%s was written\n", job->path);
	return finish(job, STATUS_OK, "%s", "");
}

static bool
backup(struct job *job, struct db *db)
{
	int code;

	if (job->backup == NULL && !begin_backup(job, db)) {
		return true;
	}
	code = sqlite3_backup_step(job->backup, BACKUP_PAGES);
	if (code == SQLITE_DONE) {
		return end_backup(job);
	}
	if (code == SQLITE_OK) {
		return false;
	}
	return finish(job, STATUS_REFUSED, "%.180s: %s", job->path, sqlite3_errstr(code));
}

/* --- the short ones --- */

/* Rows that name what is not there; they are removed at the next start. */
static const struct {
	const char *sql, *what;
} contradictions[] = {
    {"SELECT count(*) FROM queue WHERE mid NOT IN (SELECT mid FROM message)",
	"rows of queues without their message"},
    {"SELECT count(*) FROM queue WHERE sid NOT IN (SELECT sid FROM session)",
	"rows of queues without their session"},
    {"SELECT count(*) FROM retained WHERE mid NOT IN (SELECT mid FROM message)",
	"retained topics without their message"},
    {"SELECT count(*) FROM message WHERE mid NOT IN (SELECT mid FROM queue)"
     " AND mid NOT IN (SELECT mid FROM retained)",
	"messages that nobody waits for"},
    {"SELECT count(*) FROM sub WHERE sid NOT IN (SELECT sid FROM session)",
	"subscriptions without their session"},
};

static bool
check(struct job *job, struct db *db)
{
	char why[DB_MAX_WHY];
	bool sound = db_is_sound(db, true, why);

	printf_to(job, "structure: %s\n", sound ? "ok" : why);
	for (size_t i = 0; i < sizeof(contradictions) / sizeof(contradictions[0]); i++) {
		int64_t count = db_number(db, contradictions[i].sql, -1);

		if (count != 0) {
			printf_to(job, "%s: %lld\n", contradictions[i].what, (long long)count);
		}
	}
	return sound ? finish(job, STATUS_OK, "%s", "")
		     : finish(job, STATUS_REFUSED, "the database is damaged");
}

static bool
tell_status(struct job *job, struct db *db)
{
	int64_t pages = db_number(db, "PRAGMA page_count", 0);

	printf_to(job, "file: %s\nbytes: %lld\nfree bytes in it: %lld\nbytes of the log: %lld\n",
	    db->options.path, (long long)pages * 4096,
	    (long long)db_number(db, "PRAGMA freelist_count", 0) * 4096,
	    (long long)db->wal_pages * 4096);
	for (size_t i = 1; i < TABLES; i++) {
		printf_to(
		    job, "%s: %lld\n", tables[i].name, (long long)count_rows(db, tables[i].name));
	}
	return finish(job, STATUS_OK, "%s", "");
}

static bool
compact(struct job *job, struct db *db)
{
	int64_t before = db_number(db, "PRAGMA page_count", 0), after;

	if (!db_run(db, "VACUUM")) {
		return finish_failed(job, db, "compacting");
	}
	(void)db_checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE);
	after = db_number(db, "PRAGMA page_count", 0);
	printf_to(job, "%lld bytes, before it were %lld\n", (long long)after * 4096,
	    (long long)before * 4096);
	return finish(job, STATUS_OK, "%s", "");
}

bool
job_step(struct job *job, struct db *db)
{
	switch (job->kind) {
	case JOB_CHECK:
		return check(job, db);
	case JOB_DUMP:
		return dump(job, db);
	case JOB_BACKUP:
		return backup(job, db);
	case JOB_COMPACT:
		return compact(job, db);
	case JOB_STATUS:
		break;
	}
	return tell_status(job, db);
}

void
job_fini(struct job *job)
{
	char part[DB_MAX_PATH + 16];

	forget_place(job);
	if (job->backup != NULL) {
		(void)sqlite3_backup_finish(job->backup);
		job->backup = NULL;
	}
	if (job->target != NULL) {
		(void)sqlite3_close_v2(job->target);
		job->target = NULL;
		part_path(job, part);
		(void)unlink(part);
	}
}
