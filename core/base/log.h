/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log. A thread writes records into its own ring and never blocks: when the ring is full the
 * record is dropped and counted. One other thread takes records out of all rings and writes them
 * where the configuration says. A record is a sentence and named fields (address, client id, reason
 * …), so the same call gives a line of text and an object of JSON.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

enum {
	LOG_MAX_TEXT = 1024,  /* bytes of a sentence; longer ones are cut */
	LOG_MAX_VALUE = 1024, /* bytes of a field's value; likewise */
	LOG_MAX_FIELDS = 16,
};

/* A value beside the sentence. The name is a lower-case word and is not copied: a string literal.
 */
struct log_field {
	const char *name;
	struct bytes value;
};

/* The time of a record from a thread without a context: not known, and left out of lines. */
#define LOG_NO_TIME INT64_MIN

/* What comes out of a ring. The views live in the ring until log_ring_release. */
struct log_record {
	enum log_level level;
	int64_t wall_ms;
	struct bytes text;
	size_t field_count;
	struct log_field fields[LOG_MAX_FIELDS];
};

/* --- writing: any room, any thread --- */

/*
 * Formats the sentence (no newline) into the current thread's ring; without a context straight to
 * stderr. What a client sent belongs into fields, which are quoted; in a sentence it could pass for
 * fields. No field is named time, level or message.
 */
void log_write(enum log_level level, const struct log_field *fields, size_t field_count,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, NULL, 0, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, NULL, 0, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, NULL, 0, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, NULL, 0, __VA_ARGS__)

/* One line to stderr at once, for the process's last words. */
void log_stderr(const char *sentence);

/* --- rings --- */

typedef void log_wake_fn(void *arg);

/*
 * A ring for `size` bytes of records (rounded up to a power of two). Records above `level` are not
 * kept. wake, which may be NULL, is called by the writing thread when the ring was empty before: it
 * must only tell the reader, never block.
 */
struct log_ring *log_ring_new(size_t size, enum log_level level, log_wake_fn *wake, void *arg);
void log_ring_free(struct log_ring **ring);

/* Any thread; takes effect for the records that follow. */
void log_ring_set_level(struct log_ring *ring, enum log_level level);

/*
 * Reader's thread only: the oldest record, or false when the ring is empty. Its views are good
 * until it is released, which the next call does too. The reader may sleep until `wake` only after
 * a call gave false: to release and then sleep would miss what was written in between.
 */
bool log_ring_take(struct log_ring *ring, struct log_record *record_out);
void log_ring_release(struct log_ring *ring);

/* Reader's thread only: how many records were dropped since it was asked last. */
uint64_t log_ring_take_dropped(struct log_ring *ring);

/* --- lines --- */

/* Appends the record as one line with its newline. Text: `2026-11-24T11:13:23.042Z info sentence
 * key=value …`. */
void log_format_record(struct buf *out, const struct log_record *record, enum log_format format);

const char *log_level_name(enum log_level level);

#endif
