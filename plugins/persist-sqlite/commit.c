/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch as one transaction. When it fails it is rolled back, and comes again later on the same
 * connection: then SQLite writes the same frames of its log once more, so that what the kernel may
 * have thrown away with a failed fsync is written anew. What an earlier COMMIT has synced stays in
 * the log until it was written back, and synced there.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "db.h"

enum { QUICK_NS = 4000000, SMOOTHING = 8, QUICK_PART = 16 };

/* --- binding --- */

static void
bind_number(sqlite3_stmt *statement, int at, uint64_t number)
{
	(void)sqlite3_bind_int64(statement, at, (sqlite3_int64)number);
}

static void
bind_text(sqlite3_stmt *statement, int at, avocet_bytes text)
{
	(void)sqlite3_bind_text64(statement, at, text.n != 0 ? (const char *)text.p : "", text.n,
	    SQLITE_STATIC, SQLITE_UTF8);
}

static void
bind_blob(sqlite3_stmt *statement, int at, avocet_bytes blob)
{
	(void)sqlite3_bind_blob64(
	    statement, at, blob.n != 0 ? (const void *)blob.p : "", blob.n, SQLITE_STATIC);
}

/* --- one operation --- */

/* A constraint cannot fail but by a fault of the broker: said, and skipped, so that the rest is not
 * lost. */
static bool
step(struct db *db, enum db_statement which)
{
	sqlite3_stmt *statement = db->statements[which];
	int code = sqlite3_step(statement);

	if ((code & 0xff) == SQLITE_CONSTRAINT) {
		db->skipped++;
		db_sayf(db, AVOCET_LOG_ERROR,
		    "an operation is refused and skipped, which is a bug: %s",
		    sqlite3_errmsg(db->handle));
		code = SQLITE_DONE;
	}
	(void)sqlite3_reset(statement);
	return code == SQLITE_DONE;
}

static bool
step_by_id(struct db *db, enum db_statement which, uint64_t id)
{
	bind_number(db->statements[which], 1, id);
	return step(db, which);
}

static bool
step_by_name(struct db *db, enum db_statement which, const avocet_store_op *op, bool has_record)
{
	bind_number(db->statements[which], 1, op->a);
	bind_text(db->statements[which], 2, op->s[0]);
	if (has_record) {
		bind_blob(db->statements[which], 3, op->s[2]);
	}
	return step(db, which);
}

static bool
step_by_pair(struct db *db, enum db_statement which, const avocet_store_op *op)
{
	bind_number(db->statements[which], 1, op->a);
	bind_number(db->statements[which], 2, op->b);
	return step(db, which);
}

static bool
put_message(struct db *db, const avocet_store_op *op)
{
	sqlite3_stmt *statement = db->statements[DB_MSG_PUT];

	bind_number(statement, 1, op->a);
	bind_number(statement, 2, (uint64_t)op->t);
	bind_text(statement, 3, op->s[0]);
	bind_blob(statement, 4, op->s[1]);
	bind_blob(statement, 5, op->s[2]);
	return step(db, DB_MSG_PUT);
}

static bool
put_row(struct db *db, const avocet_store_op *op)
{
	sqlite3_stmt *statement = db->statements[DB_QUEUE_PUT];

	bind_number(statement, 1, op->a);
	bind_number(statement, 2, (uint64_t)op->t);
	bind_number(statement, 3, op->b);
	bind_blob(statement, 4, op->s[2]);
	return step(db, DB_QUEUE_PUT);
}

static bool
set_state(struct db *db, const avocet_store_op *op)
{
	bind_number(db->statements[DB_QUEUE_STATE], 3, (uint64_t)op->t);
	return step_by_pair(db, DB_QUEUE_STATE, op);
}

static bool
put_retained(struct db *db, const avocet_store_op *op)
{
	bind_text(db->statements[DB_RETAIN_PUT], 1, op->s[0]);
	bind_number(db->statements[DB_RETAIN_PUT], 2, op->a);
	bind_number(db->statements[DB_RETAIN_PUT], 3, op->b);
	return step(db, DB_RETAIN_PUT);
}

static bool
delete_retained(struct db *db, const avocet_store_op *op)
{
	bind_text(db->statements[DB_RETAIN_DEL], 1, op->s[0]);
	return step(db, DB_RETAIN_DEL);
}

static bool
put_will(struct db *db, const avocet_store_op *op)
{
	bind_number(db->statements[DB_WILL_PUT], 1, op->a);
	bind_text(db->statements[DB_WILL_PUT], 2, op->s[0]);
	bind_blob(db->statements[DB_WILL_PUT], 3, op->s[1]);
	bind_blob(db->statements[DB_WILL_PUT], 4, op->s[2]);
	return step(db, DB_WILL_PUT);
}

static bool
delete_session(struct db *db, uint64_t sid)
{
	return step_by_id(db, DB_SESSION_DEL_SUBS, sid) &&
	       step_by_id(db, DB_SESSION_DEL_CURSORS, sid) &&
	       step_by_id(db, DB_SESSION_DEL_RECV, sid) && step_by_id(db, DB_WILL_DEL, sid) &&
	       step_by_id(db, DB_SESSION_DEL, sid);
}

static bool
apply(struct db *db, const avocet_store_op *op)
{
	switch (op->kind) {
	case AVOCET_OP_SESSION_PUT:
		return step_by_name(db, DB_SESSION_PUT, op, true);
	case AVOCET_OP_SESSION_DEL:
		return delete_session(db, op->a);
	case AVOCET_OP_SUB_PUT:
		return step_by_name(db, DB_SUB_PUT, op, true);
	case AVOCET_OP_SUB_DEL:
		return step_by_name(db, DB_SUB_DEL, op, false);
	case AVOCET_OP_CURSOR_PUT:
		return step_by_name(db, DB_CURSOR_PUT, op, false);
	case AVOCET_OP_CURSOR_DEL:
		return step_by_name(db, DB_CURSOR_DEL, op, false);
	case AVOCET_OP_MSG_PUT:
		return put_message(db, op);
	case AVOCET_OP_MSG_DEL:
		return step_by_id(db, DB_MSG_DEL, op->a);
	case AVOCET_OP_QUEUE_PUT:
		return put_row(db, op);
	case AVOCET_OP_QUEUE_STATE:
		return set_state(db, op);
	case AVOCET_OP_QUEUE_DEL:
		return step_by_id(db, DB_QUEUE_DEL, op->a);
	case AVOCET_OP_RECV_PUT:
		return step_by_pair(db, DB_RECV_PUT, op);
	case AVOCET_OP_RECV_DEL:
		return step_by_pair(db, DB_RECV_DEL, op);
	case AVOCET_OP_RETAIN_PUT:
		return put_retained(db, op);
	case AVOCET_OP_RETAIN_DEL:
		return delete_retained(db, op);
	case AVOCET_OP_WILL_PUT:
		return put_will(db, op);
	case AVOCET_OP_WILL_DEL:
		return step_by_id(db, DB_WILL_DEL, op->a);
	default:
		db->skipped++;
		db_sayf(db, AVOCET_LOG_ERROR, "operation %u is not known and skipped", op->kind);
		return true;
	}
}

/* --- the batch --- */

int64_t
db_now_ns(void)
{
	struct timespec now;

	return clock_gettime(CLOCK_MONOTONIC, &now) == 0
		   ? now.tv_sec * INT64_C(1000000000) + now.tv_nsec
		   : 0;
}

static bool
write_batch(struct db *db, const avocet_store_batch *batch)
{
	int64_t begin_ns;

	if (!step(db, DB_BEGIN) || (batch->n_ops == 0 && !step(db, DB_PROBE))) {
		return false;
	}
	for (size_t i = 0; i < batch->n_ops; i++) {
		if (!apply(db, &batch->ops[i])) {
			return false;
		}
	}
	begin_ns = db_now_ns();
	if (!step(db, DB_COMMIT)) {
		return false;
	}
	db->committed_ns = db_now_ns();
	db->commit_ns += (db->committed_ns - begin_ns - db->commit_ns) / SMOOTHING;
	return true;
}

static int32_t
attempt(struct db *db, const avocet_store_batch *batch, char why[DB_MAX_WHY])
{
	int32_t status;

	if (write_batch(db, batch)) {
		return AVOCET_OK;
	}
	status = db_fail(db, "writing", why);
	if (sqlite3_get_autocommit(db->handle) == 0) {
		(void)step(db, DB_ROLLBACK);
	}
	return status;
}

/* Says when it begins and ends. */
static bool
is_low(struct db *db, bool gave_ballast)
{
	int64_t left = db->options.min_free != 0 ? db_free_space(db) : INT64_MAX;
	bool low = gave_ballast || left < db->options.min_free ||
		   (db->options.ballast != 0 && db->is_low && !db->has_ballast);

	if (low != db->is_low) {
		db->is_low = low;
		if (low) {
			db_sayf(db, AVOCET_LOG_WARN,
			    "%s: the disk has %lld MiB left; nothing new is stored below %lld MiB",
			    db->options.path, (long long)(left >> 20),
			    (long long)(db->options.min_free >> 20));
		}
	}
	return low;
}

/* Writing the log back takes three syncs: where they are quick it is done often, so that each time
 * is short. */
static int64_t
checkpoint_size(const struct db *db)
{
	return db->commit_ns < QUICK_NS ? db->options.checkpoint_size / QUICK_PART
					: db->options.checkpoint_size;
}

int32_t
db_commit(struct db *db, const avocet_store_batch *batch, char why[DB_MAX_WHY])
{
	bool gave_ballast = false;
	int32_t status = attempt(db, batch, why);

	if (status == AVOCET_E_FULL && db_drop_ballast(db)) {
		gave_ballast = true;
		status = attempt(db, batch, why);
	}
	if (status != AVOCET_OK) {
		return status;
	}
	db_checkpoint_from(db, checkpoint_size(db));
	return is_low(db, gave_ballast) ? AVOCET_STORE_LOW : AVOCET_OK;
}
