/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call takes a bounded number of records from each ring, so that one worker that floods the log
 * neither starves the others' lines nor keeps main from accepting; what is left is taken in main's
 * next turn. All lines of a call leave in few writes.
 */
#include "broker/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

enum {
	RECORDS_PER_CALL = 2000, /* of each ring */
	WRITE_FROM = 65536,      /* bytes gathered before they are written */
	FILE_MODE = 0640,
	MAX_SENTENCE = 512,
};

/* --- sinks --- */

static int
open_file(const char *path)
{
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, FILE_MODE);
}

int
broker_log_sink_open(struct broker_log_sink *sink, const char *to, char *why, size_t why_size)
{
	char reason[MAX_SENTENCE];

	*sink = (struct broker_log_sink){.fd = -1};
	if (strcmp(to, "stderr") == 0) {
		sink->target = BROKER_LOG_STDERR;
		sink->fd = STDERR_FILENO;
		return 0;
	}
	if (strcmp(to, "syslog") == 0) {
		sink->target = BROKER_LOG_SYSLOG;
		openlog("avocet", LOG_PID | LOG_NDELAY, LOG_DAEMON);
		return 0;
	}
	sink->target = BROKER_LOG_FILE;
	sink->fd = open_file(to);
	if (sink->fd < 0) {
		(void)snprintf(why, why_size, "cannot open the log %s: %s", to,
		    strerror_r(errno, reason, sizeof(reason)));
		return ERR_IO;
	}
	sink->path = mem_text(bytes_of(to));
	return 0;
}

void
broker_log_sink_close(struct broker_log_sink *sink)
{
	if (sink->target == BROKER_LOG_FILE && sink->fd >= 0) {
		(void)close(sink->fd);
	}
	mem_free(&sink->path);
	*sink = (struct broker_log_sink){.fd = -1};
}

/* --- writing --- */

/* What cannot be written is lost: a full disk must not stop the broker. */
static void
write_out(struct broker_logger *logger)
{
	struct bytes rest = buf_bytes(&logger->out);

	while (rest.len != 0) {
		ssize_t n = write(logger->sink.fd, rest.data, rest.len);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			break;
		}
		rest = bytes_skip(rest, (size_t)n);
	}
	logger->lost_bytes += rest.len;
	buf_clear(&logger->out);
}

static int
priority_of(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return LOG_ERR;
	case LOG_LEVEL_WARNING:
		return LOG_WARNING;
	case LOG_LEVEL_INFO:
		return LOG_INFO;
	default:
		return LOG_DEBUG;
	}
}

/* syslog has a time of its own, and no newline. */
static void
write_syslog(struct broker_logger *logger, const struct log_record *record)
{
	struct log_record timeless = *record;

	timeless.wall_ms = LOG_NO_TIME;
	log_format_record(&logger->out, &timeless, logger->format);
	syslog(priority_of(record->level), "%.*s",
	    (int)(logger->out.len != 0 ? logger->out.len - 1 : 0), (const char *)logger->out.data);
	buf_clear(&logger->out);
}

static void
put_record(struct broker_logger *logger, const struct log_record *record)
{
	if (logger->sink.target == BROKER_LOG_SYSLOG) {
		write_syslog(logger, record);
		return;
	}
	log_format_record(&logger->out, record, logger->format);
	if (logger->out.len >= WRITE_FROM) {
		write_out(logger);
	}
}

/* A line of the writer itself. */
static void __attribute__((format(printf, 2, 3)))
say(struct broker_logger *logger, const char *format, ...)
{
	char sentence[MAX_SENTENCE];
	struct log_record record = {.level = LOG_LEVEL_WARNING, .wall_ms = LOG_NO_TIME};
	va_list args;

	va_start(args, format);
	(void)vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	if (context_current != NULL) {
		record.wall_ms = context_current->wall_ms;
	}
	record.text = bytes_of(sentence);
	put_record(logger, &record);
}

/* --- reading --- */

/* False: there may be more. */
static bool
take_ring(struct broker_logger *logger, struct worker *worker, unsigned most)
{
	struct log_ring *ring = worker_log(worker);
	struct log_record record;
	uint64_t dropped;
	bool is_empty = false;

	for (unsigned i = 0; i < most && !is_empty; i++) {
		is_empty = !log_ring_take(ring, &record);
		if (!is_empty) {
			put_record(logger, &record);
		}
	}
	if (!is_empty) {
		log_ring_release(ring);
	}
	dropped = log_ring_take_dropped(ring);
	if (dropped != 0) {
		say(logger, "%llu lines of the log were dropped: %s wrote too many at a time",
		    (unsigned long long)dropped, worker_name(worker));
	}
	return is_empty;
}

/* False: there may be more. */
static bool
take_all(struct broker_logger *logger, unsigned most)
{
	unsigned count = loop_worker_count(logger->loop);
	bool is_empty = true;

	for (unsigned i = 0; i < count; i++) {
		is_empty = take_ring(logger, loop_worker(logger->loop, i), most) && is_empty;
	}
	if (logger->lost_bytes != 0) {
		uint64_t lost = logger->lost_bytes;

		logger->lost_bytes = 0;
		say(logger, "%llu bytes of the log could not be written", (unsigned long long)lost);
	}
	write_out(logger);
	return is_empty;
}

static void
on_log(struct worker *worker, void *arg)
{
	struct broker_logger *logger = arg;

	if (!take_all(logger, RECORDS_PER_CALL) && !logger->is_again) {
		logger->is_again = true;
		mail_post(worker, &logger->again);
	}
}

static void
on_again(struct worker *worker, struct mail *mail)
{
	struct broker_logger *logger = list_item(mail, struct broker_logger, again);

	logger->is_again = false;
	on_log(worker, logger);
}

/* --- life --- */

void
broker_logger_init(
    struct broker_logger *logger, struct broker_log_sink *sink, const struct broker_log *options)
{
	*logger = (struct broker_logger){.sink = *sink, .format = (enum log_format)options->format};
	logger->again.run = on_again;
	buf_init(&logger->out, SIZE_MAX);
	*sink = (struct broker_log_sink){.fd = -1};
}

void
broker_logger_start(struct broker_logger *logger, struct loop *loop)
{
	logger->loop = loop;
	loop_on_log(loop, on_log, logger);
}

void
broker_logger_change(
    struct broker_logger *logger, struct broker_log_sink *sink, const struct broker_log *options)
{
	unsigned count = loop_worker_count(logger->loop);

	broker_logger_drain(logger);
	if (sink != NULL) {
		broker_log_sink_close(&logger->sink);
		logger->sink = *sink;
		*sink = (struct broker_log_sink){.fd = -1};
	}
	logger->format = (enum log_format)options->format;
	for (unsigned i = 0; i < count; i++) {
		log_ring_set_level(
		    worker_log(loop_worker(logger->loop, i)), (enum log_level)options->level);
	}
}

void
broker_logger_reopen(struct broker_logger *logger)
{
	char reason[MAX_SENTENCE];
	int fd;

	if (logger->sink.target != BROKER_LOG_FILE) {
		return;
	}
	broker_logger_drain(logger);
	fd = open_file(logger->sink.path);
	if (fd < 0) {
		log_warning("the log %s cannot be opened again, the old file is kept: %s",
		    logger->sink.path, strerror_r(errno, reason, sizeof(reason)));
		return;
	}
	(void)close(logger->sink.fd);
	logger->sink.fd = fd;
	log_info("the log was opened again");
}

void
broker_logger_drain(struct broker_logger *logger)
{
	enum { ROUNDS = 1000 }; /* while others go on writing there is no end */

	for (int i = 0; i < ROUNDS && logger->loop != NULL; i++) {
		if (take_all(logger, RECORDS_PER_CALL)) {
			break;
		}
	}
}

void
broker_logger_fini(struct broker_logger *logger)
{
	broker_log_sink_close(&logger->sink);
	buf_fini(&logger->out);
	logger->loop = NULL;
}
