/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log with one thread: what goes in comes out in order; what is too long is cut; the reader is
 * woken when it must be and not otherwise. Sizes and positions in the ring are in test_log_ring.c,
 * two threads in test_log_threads.c, lines in test_log_line.c.
 */
#include "lib/unit.h"

#include <string.h>

#include "base/context.h"
#include "base/counter.h"
#include "base/log.h"

/* A thread's context with its ring; the fixture owns both. */
struct fixture {
	struct log_ring *ring;
	struct context context;
	struct counter_set counters;
	unsigned wakes;
};

static void
count_wake(void *arg)
{
	(*(unsigned *)arg)++;
}

static void
open_ring(struct fixture *f, size_t size, enum log_level level)
{
	memset(f, 0, sizeof(*f));
	f->ring = log_ring_new(size, level, count_wake, &f->wakes);
	assert_non_null(f->ring);
	f->context.log = f->ring;
	f->context.counters = &f->counters;
	context_current = &f->context;
}

static void
close_ring(struct fixture *f)
{
	context_current = NULL;
	log_ring_free(&f->ring);
	assert_null(f->ring);
}

/* The oldest record is the text, without fields; it is released. */
static void
assert_next(struct fixture *f, const char *text)
{
	struct log_record record;

	assert_true(log_ring_take(f->ring, &record));
	assert_bytes_text(record.text, text);
	assert_int_equal(record.field_count, 0);
	log_ring_release(f->ring);
}

static void
assert_empty(struct fixture *f)
{
	struct log_record record;

	assert_false(log_ring_take(f->ring, &record));
}

static void
records_come_out_in_the_order_they_went_in(void **state)
{
	struct fixture f;

	(void)state;
	open_ring(&f, 65536, LOG_LEVEL_DEBUG);
	assert_empty(&f);
	log_info("one");
	log_info("%s and %d", "two", 2);
	log_info("%s", "");
	assert_next(&f, "one");
	log_info("four");
	assert_next(&f, "two and 2");
	assert_next(&f, "");
	assert_next(&f, "four");
	assert_empty(&f);
	assert_empty(&f);
	close_ring(&f);
}

static void
a_record_carries_its_level_time_and_fields(void **state)
{
	static const char name[] = "client_id";
	char value[] = "a\0b";
	struct log_field fields[] = {{name, {(const uint8_t *)value, 3}}, {"empty", {NULL, 0}}};
	struct log_record record;
	struct fixture f;

	(void)state;
	open_ring(&f, 4096, LOG_LEVEL_DEBUG);
	f.context.wall_ms = 1795518803042;
	log_write(LOG_LEVEL_WARNING, fields, 2, "%s", value);
	f.context.wall_ms++;
	memset(value, 'x', sizeof(value));
	memset(fields, 0, sizeof(fields));
	assert_true(log_ring_take(f.ring, &record));
	assert_int_equal(record.level, LOG_LEVEL_WARNING);
	assert_int_equal(record.wall_ms, 1795518803042);
	assert_bytes_text(record.text, "a");
	assert_int_equal(record.field_count, 2);
	assert_ptr_equal(record.fields[0].name, name);
	assert_true(bytes_equal(record.fields[0].value, BYTES_LITERAL("a\0b")));
	assert_string_equal(record.fields[1].name, "empty");
	assert_int_equal(record.fields[1].value.len, 0);
	log_ring_release(f.ring);
	assert_empty(&f);
	close_ring(&f);
}

static void
asking_for_the_next_record_releases_the_last(void **state)
{
	struct log_record record;
	struct fixture f;

	(void)state;
	open_ring(&f, 4096, LOG_LEVEL_DEBUG);
	log_info("one");
	log_info("two");
	assert_true(log_ring_take(f.ring, &record));
	assert_true(log_ring_take(f.ring, &record));
	assert_bytes_text(record.text, "two");
	assert_empty(&f);
	/* it was empty then, so the next one wakes; releasing again changes nothing */
	log_ring_release(f.ring);
	assert_int_equal(f.wakes, 1);
	log_info("three");
	assert_int_equal(f.wakes, 2);
	log_ring_release(f.ring);
	assert_next(&f, "three");
	close_ring(&f);
}

static void
each_short_form_has_its_level(void **state)
{
	static const enum log_level levels[] = {
	    LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG};
	struct log_record record;
	struct fixture f;

	(void)state;
	open_ring(&f, 4096, LOG_LEVEL_DEBUG);
	log_error("%d", 0);
	log_warning("%d", 1);
	log_info("%d", 2);
	log_debug("%d", 3);
	for (size_t i = 0; i < 4; i++) {
		assert_true(log_ring_take(f.ring, &record));
		assert_int_equal(record.level, levels[i]);
		assert_int_equal(record.text.data[0], '0' + i);
		log_ring_release(f.ring);
	}
	close_ring(&f);
}

static void
a_record_that_does_not_fit_is_dropped_and_counted(void **state)
{
	struct fixture f;
	char text[32];
	int kept = 0;

	(void)state;
	open_ring(&f, 4096, LOG_LEVEL_DEBUG);
	while (log_ring_take_dropped(f.ring) == 0) {
		log_info("record %d", kept++);
		assert_true(kept < 4096);
	}
	kept--;
	assert_true(kept > 10);
	log_info("dropped");
	log_info("dropped");
	assert_int_equal(log_ring_take_dropped(f.ring), 2);
	assert_int_equal(log_ring_take_dropped(f.ring), 0);
	/* what was dropped has harmed nothing; one released makes room for one of its size */
	assert_next(&f, "record 0");
	log_info("record!!");
	assert_int_equal(log_ring_take_dropped(f.ring), 0);
	for (int i = 1; i < kept; i++) {
		snprintf(text, sizeof(text), "record %d", i);
		assert_next(&f, text);
	}
	assert_next(&f, "record!!");
	assert_empty(&f);
	assert_int_equal(f.counters.values[COUNTER_LOG_LINES], kept + 1);
	assert_int_equal(f.counters.values[COUNTER_LOG_DROPPED], 3);
	close_ring(&f);
}

/* --- levels --- */

static void
records_above_the_level_of_the_ring_are_not_kept(void **state)
{
	(void)state;
	for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
		struct log_record record;
		struct fixture f;

		open_ring(&f, 4096, (enum log_level)level);
		for (int l = LOG_LEVEL_DEBUG; l >= LOG_LEVEL_ERROR; l--) {
			log_write((enum log_level)l, NULL, 0, "%d", l);
			assert_int_equal(f.wakes, l <= level ? 1 : 0);
		}
		for (int l = level; l >= LOG_LEVEL_ERROR; l--) {
			assert_true(log_ring_take(f.ring, &record));
			assert_int_equal(record.level, l);
			log_ring_release(f.ring);
		}
		assert_empty(&f);
		assert_int_equal(log_ring_take_dropped(f.ring), 0);
		assert_int_equal(f.counters.values[COUNTER_LOG_LINES], level + 1);
		assert_int_equal(f.counters.values[COUNTER_LOG_DROPPED], 0);
		close_ring(&f);
	}
}

static void
a_new_level_holds_for_the_records_that_follow(void **state)
{
	struct fixture f;

	(void)state;
	open_ring(&f, 4096, LOG_LEVEL_INFO);
	log_debug("hidden");
	log_info("kept");
	log_ring_set_level(f.ring, LOG_LEVEL_DEBUG);
	log_debug("shown");
	log_ring_set_level(f.ring, LOG_LEVEL_ERROR);
	log_warning("hidden");
	log_error("last");
	assert_next(&f, "kept");
	assert_next(&f, "shown");
	assert_next(&f, "last");
	assert_empty(&f);
	close_ring(&f);
}

/* --- cutting --- */

static const size_t cut_lens[] = {0, 1, LOG_MAX_TEXT - 2, LOG_MAX_TEXT - 1, LOG_MAX_TEXT,
    LOG_MAX_TEXT + 1, LOG_MAX_TEXT + 2, 5000};

static void
a_long_sentence_is_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cut_lens) / sizeof(cut_lens[0]); i++) {
		size_t expected = cut_lens[i] < LOG_MAX_TEXT ? cut_lens[i] : LOG_MAX_TEXT;
		char text[5001];
		struct log_record record;
		struct fixture f;

		memset(text, 's', cut_lens[i]);
		text[cut_lens[i]] = '\0';
		open_ring(&f, 65536, LOG_LEVEL_DEBUG);
		log_info("%s", text);
		assert_true(log_ring_take(f.ring, &record));
		assert_int_equal(record.text.len, expected);
		assert_memory_equal(record.text.data, text, expected);
		log_ring_release(f.ring);
		close_ring(&f);
	}
}

static void
a_long_value_is_cut_and_its_neighbours_are_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cut_lens) / sizeof(cut_lens[0]); i++) {
		size_t expected = cut_lens[i] < LOG_MAX_VALUE ? cut_lens[i] : LOG_MAX_VALUE;
		struct log_field fields[3] = {
		    {"a", bytes_of("before")}, {"b", {NULL, 0}}, {"c", bytes_of("behind")}};
		uint8_t value[5000];
		struct log_record record;
		struct fixture f;

		memset(value, 'v', sizeof(value));
		fields[1].value = bytes_make(value, cut_lens[i]);
		open_ring(&f, 65536, LOG_LEVEL_DEBUG);
		log_write(LOG_LEVEL_INFO, fields, 3, "sentence");
		assert_true(log_ring_take(f.ring, &record));
		assert_bytes_text(record.text, "sentence");
		assert_bytes_text(record.fields[0].value, "before");
		assert_true(bytes_equal(record.fields[1].value, bytes_make(value, expected)));
		assert_bytes_text(record.fields[2].value, "behind");
		log_ring_release(f.ring);
		close_ring(&f);
	}
}

static void
fields_beyond_the_most_are_left_out(void **state)
{
	struct log_field fields[LOG_MAX_FIELDS + 3];
	struct log_record record;
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < LOG_MAX_FIELDS + 3; i++) {
		fields[i] = (struct log_field){"field", bytes_make(&"abcdefghijklmnopqrs"[i], 1)};
	}
	open_ring(&f, 4096, LOG_LEVEL_DEBUG);
	for (size_t count = LOG_MAX_FIELDS - 1; count <= LOG_MAX_FIELDS + 3; count++) {
		log_write(LOG_LEVEL_INFO, fields, count, "many");
		assert_true(log_ring_take(f.ring, &record));
		assert_int_equal(
		    record.field_count, count < LOG_MAX_FIELDS ? count : LOG_MAX_FIELDS);
		for (size_t i = 0; i < record.field_count; i++) {
			assert_true(bytes_equal(record.fields[i].value, fields[i].value));
		}
		log_ring_release(f.ring);
	}
	close_ring(&f);
}

/* --- waking --- */

static void
the_reader_is_woken_exactly_when_the_ring_was_empty(void **state)
{
	struct log_record record;
	struct fixture f;

	(void)state;
	open_ring(&f, 4096, LOG_LEVEL_INFO);
	assert_int_equal(f.wakes, 0);
	for (unsigned round = 1; round < 500; round++) {
		log_info("%*d", (int)(round % 97), 1);
		assert_int_equal(f.wakes, round);
		log_info("second");
		log_debug("not kept");
		assert_int_equal(f.wakes, round);
		assert_true(log_ring_take(f.ring, &record));
		/* held by the reader, which asks again after it: not empty */
		log_info("third");
		log_ring_release(f.ring);
		log_info("fourth");
		assert_next(&f, "second");
		assert_next(&f, "third");
		assert_next(&f, "fourth");
		assert_int_equal(f.wakes, round);
		log_debug("not kept");
		assert_int_equal(f.wakes, round);
	}
	close_ring(&f);
}

static void
a_full_ring_wakes_nobody_again(void **state)
{
	struct log_record record;
	struct fixture f;

	(void)state;
	open_ring(&f, 4096, LOG_LEVEL_INFO);
	for (int i = 0; i < 1000; i++) {
		log_info("filling");
	}
	assert_int_equal(f.wakes, 1);
	while (log_ring_take(f.ring, &record)) {
		log_ring_release(f.ring);
	}
	assert_true(log_ring_take_dropped(f.ring) > 0);
	assert_int_equal(f.wakes, 1);
	log_info("again");
	assert_int_equal(f.wakes, 2);
	close_ring(&f);
}

static void
a_ring_needs_nobody_to_wake_and_is_freed_with_what_it_holds(void **state)
{
	struct fixture f;

	(void)state;
	memset(&f, 0, sizeof(f));
	f.ring = log_ring_new(4096, LOG_LEVEL_INFO, NULL, NULL);
	f.context.log = f.ring;
	context_current = &f.context;
	log_info("one");
	log_info("two");
	assert_next(&f, "one");
	close_ring(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records_come_out_in_the_order_they_went_in),
	    cmocka_unit_test(a_record_carries_its_level_time_and_fields),
	    cmocka_unit_test(asking_for_the_next_record_releases_the_last),
	    cmocka_unit_test(each_short_form_has_its_level),
	    cmocka_unit_test(a_record_that_does_not_fit_is_dropped_and_counted),
	    cmocka_unit_test(records_above_the_level_of_the_ring_are_not_kept),
	    cmocka_unit_test(a_new_level_holds_for_the_records_that_follow),
	    cmocka_unit_test(a_long_sentence_is_cut),
	    cmocka_unit_test(a_long_value_is_cut_and_its_neighbours_are_not),
	    cmocka_unit_test(fields_beyond_the_most_are_left_out),
	    cmocka_unit_test(the_reader_is_woken_exactly_when_the_ring_was_empty),
	    cmocka_unit_test(a_full_ring_wakes_nobody_again),
	    cmocka_unit_test(a_ring_needs_nobody_to_wake_and_is_freed_with_what_it_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
