/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log's writer: takes records out of the rings of all workers and writes them as lines to
 * stderr, a file or syslog. Main's thread.
 */
#ifndef BROKER_LOGGER_H
#define BROKER_LOGGER_H

#include "base/buf.h"
#include "broker/options.h"
#include "loop/mailbox.h"

enum broker_log_target { BROKER_LOG_STDERR, BROKER_LOG_FILE, BROKER_LOG_SYSLOG };

/* Where lines go; opened before it is used, so that a reload can be refused. */
struct broker_log_sink {
	enum broker_log_target target;
	char *path; /* of a file; owned */
	int fd;     /* of stderr or the file; -1: none */
};

struct broker_logger {
	struct loop *loop; /* NULL: not started */
	struct broker_log_sink sink;
	enum log_format format;
	struct buf out;
	struct mail again; /* there was more than one call takes */
	bool is_again;
	uint64_t lost_bytes; /* that could not be written */
};

/* 0, or ERR_IO with a sentence. `to` as in the configuration. */
int broker_log_sink_open(struct broker_log_sink *sink, const char *to, char *why, size_t why_size);
void broker_log_sink_close(struct broker_log_sink *sink);

/* Takes the sink. */
void broker_logger_init(
    struct broker_logger *logger, struct broker_log_sink *sink, const struct broker_log *options);
/* Before loop_start. */
void broker_logger_start(struct broker_logger *logger, struct loop *loop);

/* Other options, live; takes the sink if it is not NULL. */
void broker_logger_change(
    struct broker_logger *logger, struct broker_log_sink *sink, const struct broker_log *options);

/* The file is opened again by its name (SIGUSR1). */
void broker_logger_reopen(struct broker_logger *logger);

/* Writes all that is in the rings; at the end also after loop_join. */
void broker_logger_drain(struct broker_logger *logger);

void broker_logger_fini(struct broker_logger *logger);

#endif
