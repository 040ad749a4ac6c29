/* SPDX-License-Identifier: Apache-2.0 */
/* The database of persist-sqlite without a broker: there and back, older and newer files,
 * operations that cannot be. */
#include "lib/unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "persist-sqlite/db.h"

static char folder[] = "/tmp/avocet-test-db.XXXXXX";
static char why[DB_MAX_WHY];
static char said[8192];
static struct db db;
static struct db_options options = {.cache_size = 1 << 20, .checkpoint_size = 1 << 20};

static void
say(void *arg, int32_t level, const char *text)
{
	(void)arg;
	(void)level;
	(void)snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s\n", text);
}

static int
begin(void **state)
{
	(void)state;
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	assert_non_null(mkdtemp(folder));
	(void)snprintf(options.path, sizeof(options.path), "%s/sub/a.db", folder);
	said[0] = '\0';
	return 0;
}

static int
end(void **state)
{
	char command[128];

	(void)state;
	db_steps = NULL;
	db_newest = DB_VERSION;
	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static int32_t
open_db(void)
{
	why[0] = '\0';
	return db_open(&db, &options, say, NULL, why);
}

static avocet_bytes
text(const char *bytes)
{
	return (avocet_bytes){(const uint8_t *)bytes, strlen(bytes)};
}

static int32_t
commit(const avocet_store_op *ops, size_t count)
{
	avocet_store_batch batch = {.struct_size = sizeof(batch), .ops = ops, .n_ops = count};

	return db_commit(&db, &batch, why);
}

static int32_t
write_down(void *arg, const avocet_store_op *op)
{
	char *at = (char *)arg + strlen(arg);

	(void)sprintf(at, "%u:%llu,%llu,%lld,%.*s ", op->kind, (unsigned long long)op->a,
	    (unsigned long long)op->b, (long long)op->t, (int)op->s[0].n,
	    op->s[0].n != 0 ? (const char *)op->s[0].p : "");
	return op->kind == AVOCET_OP_WILL_PUT ? AVOCET_E_CORRUPT : AVOCET_OK;
}

static void
assert_holds(const char *expected)
{
	char got[4096] = "";

	assert_int_equal(db_load(&db, write_down, got, why), AVOCET_OK);
	assert_string_equal(got, expected);
}

static const avocet_store_op one_of_each[] = {
    {.kind = AVOCET_OP_MSG_PUT, .a = 10, .t = 99},
    {.kind = AVOCET_OP_QUEUE_PUT, .a = 20, .b = 10, .t = 1},
    {.kind = AVOCET_OP_QUEUE_PUT, .a = 21, .b = 10, .t = 1},
    {.kind = AVOCET_OP_SESSION_PUT, .a = 1},
    {.kind = AVOCET_OP_SUB_PUT, .a = 1},
    {.kind = AVOCET_OP_CURSOR_PUT, .a = 1},
    {.kind = AVOCET_OP_QUEUE_STATE, .a = 21, .b = 2, .t = 7},
    {.kind = AVOCET_OP_RECV_PUT, .a = 1, .b = 65535},
    {.kind = AVOCET_OP_RETAIN_PUT, .a = 10, .b = 3},
    {.kind = AVOCET_OP_WILL_PUT, .a = 1},
};
enum { EACH = sizeof(one_of_each) / sizeof(one_of_each[0]) };

static void
put_one_of_each(void)
{
	avocet_store_op ops[EACH];

	memcpy(ops, one_of_each, sizeof(ops));
	for (int i = 0; i < EACH; i++) {
		ops[i].s[0] = text("007");
	}
	assert_int_equal(commit(ops, EACH), AVOCET_OK);
}

#define HELD                                                                                  \
	"5:10,0,99,007 1:1,0,0,007 3:1,0,0,007 16:1,0,0,007 7:20,10,1, 7:21,10,1, 8:21,2,7, " \
	"10:1,65535,0, 12:10,3,0,007 14:1,0,0,007 "

static void
everything_comes_back_in_order(void **state)
{
	(void)state;
	assert_int_equal(open_db(), AVOCET_OK);
	put_one_of_each();
	assert_holds(HELD);
	db_close(&db, true);
	assert_int_equal(open_db(), AVOCET_OK);
	assert_holds(HELD);
	assert_string_equal(said, "");
	assert_int_equal(commit((avocet_store_op[]){{.kind = AVOCET_OP_QUEUE_DEL, .a = 20},
				    {.kind = AVOCET_OP_QUEUE_DEL, .a = 21},
				    {.kind = AVOCET_OP_SESSION_DEL, .a = 1}},
			     3),
	    AVOCET_OK);
	assert_holds("5:10,0,99,007 12:10,3,0,007 ");
	assert_int_equal(
	    commit((avocet_store_op[]){{.kind = AVOCET_OP_RETAIN_DEL, .b = 4, .s[0] = text("007")},
		       {.kind = AVOCET_OP_MSG_DEL, .a = 10}},
		2),
	    AVOCET_OK);
	assert_holds("");
	db_close(&db, true);
}

static void
a_batch_may_come_again(void **state)
{
	(void)state;
	assert_int_equal(open_db(), AVOCET_OK);
	put_one_of_each();
	put_one_of_each();
	assert_holds(HELD);
	assert_int_equal(commit(NULL, 0), AVOCET_OK);
	assert_int_equal(db.skipped, 0);
	db_close(&db, false);
	assert_int_equal(open_db(), AVOCET_OK);
	assert_non_null(strstr(said, "was not closed"));
	assert_holds(HELD);
	db_close(&db, true);
}

static void
what_cannot_be_is_skipped_and_said(void **state)
{
	(void)state;
	assert_int_equal(open_db(), AVOCET_OK);
	assert_int_equal(commit((avocet_store_op[]){{.kind = 99, .a = 1},
				    {.kind = AVOCET_OP_SESSION_PUT, .a = 5, .s[0] = text("c")}},
			     2),
	    AVOCET_OK);
	assert_int_equal(db.skipped, 1);
	assert_non_null(strstr(said, "operation 99 is not known"));
	assert_holds("1:5,0,0,c ");
	db_close(&db, true);
}

static void
an_older_file_is_copied_and_brought_up_to_date(void **state)
{
	static const struct db_step steps[] = {
	    {NULL}, {"ALTER TABLE session ADD COLUMN more TEXT"}, {"CREATE TABLE another (a)"}};
	char copy[DB_MAX_PATH + 16];
	struct stat status;

	(void)state;
	assert_int_equal(open_db(), AVOCET_OK);
	put_one_of_each();
	db_close(&db, true);
	db_steps = steps;
	db_newest = 3;
	assert_int_equal(open_db(), AVOCET_OK);
	assert_int_equal(db_number(&db, "PRAGMA user_version", 0), 3);
	assert_int_equal(db_number(&db, "SELECT count(*) FROM another", -1), 0);
	assert_non_null(strstr(said, "from version 1 to 2"));
	assert_non_null(strstr(said, "from version 2 to 3"));
	assert_holds(HELD);
	db_close(&db, true);
	(void)snprintf(copy, sizeof(copy), "%s.v1.bak", options.path);
	assert_int_equal(stat(copy, &status), 0);

	/* The copy is what it was, and an older program refuses what is newer. */
	db_newest = DB_VERSION;
	assert_int_equal(open_db(), AVOCET_E_INVAL);
	assert_non_null(strstr(why, "version 3"));
	assert_non_null(strstr(why, "versions up to 1"));
	assert_int_equal(rename(copy, options.path), 0);
	assert_int_equal(open_db(), AVOCET_OK);
	assert_holds(HELD);
	db_close(&db, true);
}

static void
a_step_that_fails_changes_nothing(void **state)
{
	static const struct db_step steps[] = {
	    {NULL}, {"CREATE TABLE another (a); SELECT nothing FROM nowhere"}};

	(void)state;
	assert_int_equal(open_db(), AVOCET_OK);
	db_close(&db, true);
	db_steps = steps;
	db_newest = 2;
	assert_true(open_db() < 0);
	assert_non_null(strstr(why, "bringing it up to date"));
	db_newest = DB_VERSION;
	assert_int_equal(open_db(), AVOCET_OK);
	assert_int_equal(
	    db_number(&db, "SELECT count(*) FROM sqlite_schema WHERE name = 'another'", -1), 0);
	db_close(&db, true);
}

static void
what_frees_pages_gives_the_file_back(void **state)
{
	static char payload[4000];
	int64_t pages;

	(void)state;
	memset(payload, 'x', sizeof(payload));
	assert_int_equal(open_db(), AVOCET_OK);
	for (uint64_t i = 1; i <= 2000; i++) {
		avocet_store_op op = {.kind = AVOCET_OP_MSG_PUT, .a = i};

		op.s[0] = text("t");
		op.s[1] = (avocet_bytes){(const uint8_t *)payload, sizeof(payload)};
		assert_int_equal(commit(&op, 1), AVOCET_OK);
	}
	pages = db_number(&db, "PRAGMA page_count", 0);
	assert_true(pages > 2000);
	for (uint64_t i = 1; i <= 2000; i++) {
		assert_int_equal(
		    commit(&(avocet_store_op){.kind = AVOCET_OP_MSG_DEL, .a = i}, 1), AVOCET_OK);
	}
	assert_true(db_upkeep(&db, false) > 0); /* not between two commits */
	assert_int_equal(db_number(&db, "PRAGMA page_count", 0), pages);
	db.committed_ns = 0;
	while (db_upkeep(&db, false) >= 0) {}
	assert_true(db_number(&db, "PRAGMA page_count", 0) < pages / 2);
	db_close(&db, true);
}

static int
count_said(const char *what)
{
	int count = 0;

	for (const char *at = said; (at = strstr(at, what)) != NULL; at++) {
		count++;
	}
	return count;
}

/* A file may grow to a MiB: the database reaches that long before its log does. */
static void
a_log_that_cannot_be_written_back_is_said_once_and_keeps_all(void **state)
{
	static char payload[20000];
	struct rlimit before, small;
	char log[DB_MAX_PATH + 8];
	uint64_t count = 0;
	struct stat status;

	(void)state;
	memset(payload, 'x', sizeof(payload));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){1 << 20, before.rlim_max};
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(open_db(), AVOCET_OK);
	(void)snprintf(log, sizeof(log), "%s-wal", options.path);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	do {
		avocet_store_op op = {.kind = AVOCET_OP_MSG_PUT, .a = ++count};

		op.s[0] = text("t");
		op.s[1] = (avocet_bytes){(const uint8_t *)payload, sizeof(payload)};
		assert_int_equal(commit(&op, 1), AVOCET_OK);
		assert_int_equal(stat(log, &status), 0);
	} while (status.st_size < 800000 && count < 1000);
	assert_int_equal(count_said("cannot be written back"), 1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	db.checkpoint_at_ns = 1;
	db_checkpoint_from(&db, 1);
	assert_int_equal(db.wal_pages, 0);
	db_close(&db, true);
	assert_int_equal(open_db(), AVOCET_OK);
	assert_true(db_number(&db, "SELECT count(*) FROM message", 0) == (int64_t)count);
	db_close(&db, true);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(everything_comes_back_in_order),
	    CASE(a_batch_may_come_again),
	    CASE(what_cannot_be_is_skipped_and_said),
	    CASE(an_older_file_is_copied_and_brought_up_to_date),
	    CASE(a_step_that_fails_changes_nothing),
	    CASE(what_frees_pages_gives_the_file_back),
	    CASE(a_log_that_cannot_be_written_back_is_said_once_and_keeps_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
