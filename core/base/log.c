/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring. Positions count bytes for ever; a position modulo the size is the place in memory. One
 * thread moves `head` (writes), one moves `tail` (reads). A record lies in one piece: behind the
 * ring's memory there is room for one more, into which the last one may run over; the bytes at the
 * start that it would have taken count as used, and are not touched. The writer publishes a record
 * by a release store of head; the reader's acquire load sees all of it; the other way round the
 * reader gives room back by a release store of tail.
 *
 * Waking: the writer stores head, then loads tail; the reader stores tail, then loads head. All
 * four are sequentially consistent, so at least one of the two sees the other's step: either the
 * writer sees that the reader had emptied the ring and wakes it, or the reader sees the new record
 * before it sleeps.
 */
#include "base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/context.h"
#include "base/counter.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

enum { LOG_ALIGN = 8 };

/* In front of each record in the ring; the text follows, then per field its value. */
struct header {
	uint32_t size; /* of header and all that follows, rounded up to LOG_ALIGN */
	uint8_t level;
	uint8_t field_count;
	uint16_t text_len;
	int64_t wall_ms;
};

struct stored_field {
	const char *name;
	size_t len;
};

/* The largest record there can be. */
enum {
	LOG_MAX_RECORD = (int)sizeof(struct header) + LOG_MAX_TEXT + LOG_ALIGN +
			 LOG_MAX_FIELDS * ((int)sizeof(struct stored_field) + LOG_MAX_VALUE)
};

struct log_ring {
	uint8_t *data; /* mask + 1 bytes, and LOG_MAX_RECORD behind them */
	size_t mask;
	log_wake_fn *wake;
	void *wake_arg;
	_Atomic uint32_t level;
	_Alignas(64) _Atomic uint64_t head;
	_Atomic uint64_t dropped;
	_Alignas(64) _Atomic uint64_t tail;
	uint64_t taken_dropped; /* reader's */
	size_t taken_size;      /* reader's: of the record that is out, 0 when none is */
};

static const char *const level_names[] = {"error", "warning", "info", "debug"};

const char *
log_level_name(enum log_level level)
{
	return level_names[(unsigned)level <= LOG_LEVEL_DEBUG ? (unsigned)level : LOG_LEVEL_ERROR];
}

struct log_ring *
log_ring_new(size_t size, enum log_level level, log_wake_fn *wake, void *arg)
{
	struct log_ring *ring;
	size_t rounded = 4096;

	while (rounded < size) {
		rounded *= 2;
	}
	ring = aligned_alloc(64, sizeof(*ring));
	if (ring == NULL) {
		err_fatal("out of memory");
	}
	memset(ring, 0, sizeof(*ring));
	ring->data = mem_alloc(rounded + LOG_MAX_RECORD);
	ring->mask = rounded - 1;
	ring->wake = wake;
	ring->wake_arg = arg;
	atomic_init(&ring->level, (uint32_t)level);
	return ring;
}

void
log_ring_free(struct log_ring **ring)
{
	if (*ring != NULL) {
		mem_free(&(*ring)->data);
		mem_free(ring);
	}
}

void
log_ring_set_level(struct log_ring *ring, enum log_level level)
{
	atomic_store_explicit(&ring->level, (uint32_t)level, memory_order_relaxed);
}

/* --- the writing side --- */

static size_t
round_up(size_t size)
{
	return (size + LOG_ALIGN - 1) & ~(size_t)(LOG_ALIGN - 1);
}

static size_t
value_len(const struct log_field *field)
{
	return field->value.len < LOG_MAX_VALUE ? field->value.len : LOG_MAX_VALUE;
}

static void
store_record(
    uint8_t *room, const struct header *header, const char *text, const struct log_field *fields)
{
	memcpy(room, header, sizeof(*header));
	room += sizeof(*header);
	for (size_t i = 0; i < header->field_count; i++) {
		struct stored_field stored = {fields[i].name, value_len(&fields[i])};

		memcpy(room, &stored, sizeof(stored));
		room += sizeof(stored);
	}
	memcpy(room, text, header->text_len);
	room += header->text_len;
	for (size_t i = 0; i < header->field_count; i++) {
		if (fields[i].value.len != 0) {
			memcpy(room, fields[i].value.data, value_len(&fields[i]));
		}
		room += value_len(&fields[i]);
	}
}

static void
write_ring(struct log_ring *ring, const struct header *header, const char *text,
    const struct log_field *fields)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);

	if (head - tail + header->size > ring->mask + 1) {
		counter_add(COUNTER_LOG_DROPPED, 1);
		atomic_store_explicit(&ring->dropped,
		    atomic_load_explicit(&ring->dropped, memory_order_relaxed) + 1,
		    memory_order_relaxed);
		return;
	}
	store_record(ring->data + (head & ring->mask), header, text, fields);
	counter_add(COUNTER_LOG_LINES, 1);
	atomic_store(&ring->head, head + header->size);
	if (ring->wake != NULL && atomic_load(&ring->tail) == head) {
		ring->wake(ring->wake_arg);
	}
}

static void
write_stderr(const struct header *header, const char *text, const struct log_field *fields)
{
	struct log_record record = {.level = header->level,
	    .wall_ms = header->wall_ms,
	    .text = bytes_make(text, header->text_len),
	    .field_count = header->field_count};
	struct buf line;

	if (header->field_count != 0) {
		memcpy(record.fields, fields, header->field_count * sizeof(*fields));
	}
	buf_init(&line, SIZE_MAX);
	log_format_record(&line, &record, LOG_FORMAT_TEXT);
	fwrite(line.data, 1, line.len, stderr);
	buf_fini(&line);
}

void
log_write(enum log_level level, const struct log_field *fields, size_t field_count,
    const char *format, ...)
{
	struct context *context = context_current;
	struct log_ring *ring = context != NULL ? context->log : NULL;
	struct header header = {.level = (uint8_t)level};
	char text[LOG_MAX_TEXT + 1];
	size_t size = sizeof(header);
	va_list args;
	int len;

	if (ring != NULL &&
	    (uint32_t)level > atomic_load_explicit(&ring->level, memory_order_relaxed)) {
		return;
	}
	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	len = len < 0 ? 0 : len < LOG_MAX_TEXT ? len : LOG_MAX_TEXT;
	header.text_len = (uint16_t)len;
	header.field_count = (uint8_t)(field_count < LOG_MAX_FIELDS ? field_count : LOG_MAX_FIELDS);
	header.wall_ms = context != NULL ? context->wall_ms : LOG_NO_TIME;
	size += header.text_len;
	for (size_t i = 0; i < header.field_count; i++) {
		size += sizeof(struct stored_field) + value_len(&fields[i]);
	}
	header.size = (uint32_t)round_up(size);
	if (ring != NULL) {
		write_ring(ring, &header, text, fields);
	} else {
		write_stderr(&header, text, fields);
	}
}

void
log_stderr(const char *sentence)
{
	static const char prefix[] = "avocet: ";
	ssize_t ignored;

	ignored = write(STDERR_FILENO, prefix, sizeof(prefix) - 1);
	ignored = write(STDERR_FILENO, sentence, strlen(sentence));
	ignored = write(STDERR_FILENO, "\n", 1);
	(void)ignored;
}

/* --- the reading side --- */

static void
parse_record(const uint8_t *at, const struct header *header, struct log_record *record)
{
	const uint8_t *value;

	record->level = header->level;
	record->wall_ms = header->wall_ms;
	record->field_count = header->field_count;
	at += sizeof(*header);
	value = at + header->field_count * sizeof(struct stored_field) + header->text_len;
	for (size_t i = 0; i < header->field_count; i++) {
		struct stored_field stored;

		memcpy(&stored, at, sizeof(stored));
		at += sizeof(stored);
		record->fields[i] = (struct log_field){stored.name, bytes_make(value, stored.len)};
		value += stored.len;
	}
	record->text = bytes_make(at, header->text_len);
}

bool
log_ring_take(struct log_ring *ring, struct log_record *record_out)
{
	uint64_t tail;
	const uint8_t *at;
	struct header header;

	log_ring_release(ring);
	tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	if (atomic_load(&ring->head) == tail) {
		return false;
	}
	at = ring->data + (tail & ring->mask);
	memcpy(&header, at, sizeof(header));
	parse_record(at, &header, record_out);
	ring->taken_size = header.size;
	return true;
}

void
log_ring_release(struct log_ring *ring)
{
	if (ring->taken_size != 0) {
		atomic_store(&ring->tail,
		    atomic_load_explicit(&ring->tail, memory_order_relaxed) + ring->taken_size);
		ring->taken_size = 0;
	}
}

uint64_t
log_ring_take_dropped(struct log_ring *ring)
{
	uint64_t all = atomic_load_explicit(&ring->dropped, memory_order_relaxed);
	uint64_t news = all - ring->taken_dropped;

	ring->taken_dropped = all;
	return news;
}

/* --- lines --- */

static void
format_time(struct buf *out, int64_t wall_ms)
{
	int64_t ms = ((wall_ms % 1000) + 1000) % 1000; /* also before 1970 */
	time_t seconds = (time_t)(wall_ms / 1000 - (wall_ms % 1000 < 0));
	struct tm tm;

	if (gmtime_r(&seconds, &tm) == NULL) {
		tm = (struct tm){.tm_mday = 1}; /* a year that does not fit */
	}
	buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
	    tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)ms);
}

/* Quotes are spared where the value is one plain word. */
static bool
is_word(struct bytes value)
{
	for (size_t i = 0; i < value.len; i++) {
		uint8_t c = value.data[i];

		if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=') {
			return false;
		}
	}
	return value.len != 0;
}

static void
format_text(struct buf *out, const struct log_record *record)
{
	if (record->wall_ms != LOG_NO_TIME) {
		format_time(out, record->wall_ms);
		buf_append_byte(out, ' ');
	}
	buf_append_text(out, log_level_name(record->level));
	buf_append_byte(out, ' ');
	str_escape(out, record->text, false);
	for (size_t i = 0; i < record->field_count; i++) {
		const struct log_field *field = &record->fields[i];

		buf_printf(out, " %s=", field->name);
		if (is_word(field->value)) {
			buf_append_bytes(out, field->value);
		} else {
			buf_append_byte(out, '"');
			str_escape(out, field->value, true);
			buf_append_byte(out, '"');
		}
	}
}

static void
format_json(struct buf *out, const struct log_record *record)
{
	buf_append_byte(out, '{');
	if (record->wall_ms != LOG_NO_TIME) {
		buf_append_text(out, "\"time\":\"");
		format_time(out, record->wall_ms);
		buf_append_text(out, "\",");
	}
	buf_printf(out, "\"level\":\"%s\",\"message\":\"", log_level_name(record->level));
	str_escape_json(out, record->text);
	buf_append_byte(out, '"');
	for (size_t i = 0; i < record->field_count; i++) {
		buf_printf(out, ",\"%s\":\"", record->fields[i].name);
		str_escape_json(out, record->fields[i].value);
		buf_append_byte(out, '"');
	}
	buf_append_byte(out, '}');
}

void
log_format_record(struct buf *out, const struct log_record *record, enum log_format format)
{
	if (format == LOG_FORMAT_JSON) {
		format_json(out, record);
	} else {
		format_text(out, record);
	}
	buf_append_byte(out, '\n');
}
