/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operators ask of the database: the same steps whether the broker runs (on the store's
 * thread, between commits) or not (avocetctl opens the file itself).
 */
#ifndef PERSIST_SQLITE_JOB_H
#define PERSIST_SQLITE_JOB_H

#include "db.h"

enum job_kind { JOB_CHECK, JOB_DUMP, JOB_BACKUP, JOB_COMPACT, JOB_STATUS };

struct job {
	enum job_kind kind;
	bool is_running; /* the broker runs: what would take long is refused */
	char path[DB_MAX_PATH];
	/* Where its text goes; n bytes. */
	void (*print)(void *arg, const char *text, size_t n);
	void *arg;

	int32_t status; /* when it is done: of the command */
	char sentence[DB_MAX_WHY];

	/* How far it is. */
	size_t table;
	sqlite3_value *after[2];
	sqlite3 *target;
	sqlite3_backup *backup;
};

/* Does a part. True: it is done, `status` and `sentence` say how. */
bool job_step(struct job *job, struct db *db);
/* Gives up what it holds; done or not. */
void job_fini(struct job *job);

#endif
