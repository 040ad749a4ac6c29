/* SPDX-License-Identifier: Apache-2.0 */
/* Everything back, table by table, each row as the PUT that made it. */
#include <stdio.h>

#include "db.h"

struct table {
	const char *name;
	const char *sql;
	void (*read)(sqlite3_stmt *statement, avocet_store_op *op);
	uint32_t kind;
};

static avocet_bytes
column(sqlite3_stmt *statement, int at)
{
	/* The bytes of a text as they are; first the pointer, then the length. */
	const void *data = sqlite3_column_type(statement, at) == SQLITE_TEXT
			       ? (const void *)sqlite3_column_text(statement, at)
			       : sqlite3_column_blob(statement, at);

	return (avocet_bytes){data, (size_t)sqlite3_column_bytes(statement, at)};
}

static uint64_t
number(sqlite3_stmt *statement, int at)
{
	return (uint64_t)sqlite3_column_int64(statement, at);
}

static void
read_message(sqlite3_stmt *statement, avocet_store_op *op)
{
	op->t = sqlite3_column_int64(statement, 1);
	op->s[0] = column(statement, 2);
	op->s[1] = column(statement, 3);
	op->s[2] = column(statement, 4);
}

static void
read_named(sqlite3_stmt *statement, avocet_store_op *op)
{
	op->s[0] = column(statement, 1);
	op->s[2] = column(statement, 2);
}

static void
read_cursor(sqlite3_stmt *statement, avocet_store_op *op)
{
	op->s[0] = column(statement, 1);
}

static void
read_row(sqlite3_stmt *statement, avocet_store_op *op)
{
	op->t = sqlite3_column_int64(statement, 1);
	op->b = number(statement, 2);
	op->s[2] = column(statement, 3);
}

static void
read_received(sqlite3_stmt *statement, avocet_store_op *op)
{
	op->b = number(statement, 1);
}

static void
read_retained(sqlite3_stmt *statement, avocet_store_op *op)
{
	op->b = number(statement, 1);
	op->s[0] = column(statement, 2);
}

static void
read_will(sqlite3_stmt *statement, avocet_store_op *op)
{
	op->s[0] = column(statement, 1);
	op->s[1] = column(statement, 2);
	op->s[2] = column(statement, 3);
}

static const struct table tables[] = {
    {"message", "SELECT mid, expires_at, topic, payload, rec FROM message ORDER BY mid",
	read_message, AVOCET_OP_MSG_PUT},
    {"session", "SELECT sid, client_id, rec FROM session ORDER BY sid", read_named,
	AVOCET_OP_SESSION_PUT},
    {"sub", "SELECT sid, filter, rec FROM sub", read_named, AVOCET_OP_SUB_PUT},
    {"cursor", "SELECT sid, filter FROM cursor", read_cursor, AVOCET_OP_CURSOR_PUT},
    {"queue", "SELECT qid, sid, mid, rec, state, pid FROM queue ORDER BY qid", read_row,
	AVOCET_OP_QUEUE_PUT},
    {"recv", "SELECT sid, pid FROM recv", read_received, AVOCET_OP_RECV_PUT},
    {"retained", "SELECT mid, version, topic FROM retained", read_retained, AVOCET_OP_RETAIN_PUT},
    {"will", "SELECT sid, topic, payload, rec FROM will", read_will, AVOCET_OP_WILL_PUT},
};

/* A row may have a state behind it. */
static int32_t
give(const struct table *table, sqlite3_stmt *statement, db_take_fn *take, void *arg)
{
	avocet_store_op op = {.kind = table->kind, .a = number(statement, 0)};
	int32_t status;

	table->read(statement, &op);
	status = take(arg, &op);
	if (status == AVOCET_OK && table->kind == AVOCET_OP_QUEUE_PUT &&
	    number(statement, 4) != 0) {
		op = (avocet_store_op){.kind = AVOCET_OP_QUEUE_STATE,
		    .a = op.a,
		    .b = number(statement, 4),
		    .t = sqlite3_column_int64(statement, 5)};
		status = take(arg, &op);
	}
	return status == AVOCET_E_CORRUPT ? AVOCET_OK : status;
}

static int32_t
load_table(
    struct db *db, const struct table *table, db_take_fn *take, void *arg, char why[DB_MAX_WHY])
{
	sqlite3_stmt *statement = NULL;
	int32_t status = AVOCET_OK;
	int code = sqlite3_prepare_v2(db->handle, table->sql, -1, &statement, NULL);

	if (code == SQLITE_OK) {
		while (status == AVOCET_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
			status = give(table, statement, take, arg);
		}
	}
	if (status != AVOCET_OK) {
		(void)snprintf(
		    why, DB_MAX_WHY, "the broker does not take its table %s", table->name);
	} else if (code != SQLITE_DONE) {
		status = db_fail(db, table->name, why);
	}
	(void)sqlite3_finalize(statement);
	return status;
}

int32_t
db_load(struct db *db, db_take_fn *take, void *arg, char why[DB_MAX_WHY])
{
	/* Each page is read once: no memory for them. */
	(void)db_run(db, "PRAGMA cache_size = -2000");
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		int32_t status = load_table(db, &tables[i], take, arg, why);

		if (status != AVOCET_OK) {
			return status;
		}
	}
	return db_configure(db) ? AVOCET_OK : db_fail(db, "opening it", why);
}
