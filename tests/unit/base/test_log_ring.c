/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log's ring with records of all sizes at all its positions, also around its end, and with
 * records that do not fit. One thread.
 */
#include "lib/unit.h"

#include <string.h>

#include "base/context.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/rand.h"

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
a_record_larger_than_the_ring_is_dropped_and_counted(void **state)
{
	char value[LOG_MAX_VALUE];
	struct log_field fields[LOG_MAX_FIELDS];
	struct fixture f;

	(void)state;
	memset(value, 'v', sizeof(value));
	for (size_t i = 0; i < LOG_MAX_FIELDS; i++) {
		fields[i] = (struct log_field){"field", bytes_make(value, sizeof(value))};
	}
	open_ring(&f, 4096, LOG_LEVEL_DEBUG);
	for (size_t count = 4; count <= LOG_MAX_FIELDS; count++) {
		log_write(LOG_LEVEL_ERROR, fields, count, "large");
		assert_int_equal(log_ring_take_dropped(f.ring), 1);
		assert_empty(&f);
		log_info("small");
		assert_next(&f, "small");
	}
	assert_int_equal(log_ring_take_dropped(f.ring), 0);
	close_ring(&f);
}

/* By the header a record is dropped when the ring is full, and an empty one is not. */
static void
a_record_that_fits_an_empty_ring_fits_at_every_position(void **state)
{
	static char value[LOG_MAX_VALUE];
	const struct log_field fields[] = {{"a", {(const uint8_t *)value, sizeof(value)}},
	    {"b", {(const uint8_t *)value, sizeof(value)}}, {"c", {(const uint8_t *)value, 300}}};

	(void)state;
	for (size_t small = 0; small < 256; small++) {
		struct log_record record;
		struct fixture f;

		open_ring(&f, 4096, LOG_LEVEL_DEBUG);
		log_write(LOG_LEVEL_INFO, fields, 3, "large");
		assert_int_equal(log_ring_take_dropped(f.ring), 0);
		assert_true(log_ring_take(f.ring, &record));
		log_ring_release(f.ring);
		for (size_t i = 0; i < small; i++) {
			log_info("small");
			assert_next(&f, "small");
		}
		log_write(LOG_LEVEL_INFO, fields, 3, "large");
		assert_int_equal(log_ring_take_dropped(f.ring), 0);
		close_ring(&f);
	}
}

static void
the_largest_record_goes_round_a_large_ring(void **state)
{
	static char text[LOG_MAX_TEXT];
	static char value[LOG_MAX_VALUE];
	struct log_field fields[LOG_MAX_FIELDS];
	struct fixture f;

	(void)state;
	memset(text, 't', sizeof(text) - 1);
	memset(value, 'v', sizeof(value));
	for (size_t i = 0; i < LOG_MAX_FIELDS; i++) {
		fields[i] = (struct log_field){"field", bytes_make(value, sizeof(value))};
	}
	open_ring(&f, 65536, LOG_LEVEL_DEBUG);
	for (int round = 0; round < 300; round++) {
		struct log_record record;

		log_write(LOG_LEVEL_INFO, fields, LOG_MAX_FIELDS, "%s", text);
		assert_int_equal(log_ring_take_dropped(f.ring), 0);
		assert_true(log_ring_take(f.ring, &record));
		assert_bytes_text(record.text, text);
		assert_int_equal(record.field_count, LOG_MAX_FIELDS);
		for (size_t i = 0; i < LOG_MAX_FIELDS; i++) {
			assert_true(bytes_equal(record.fields[i].value, fields[i].value));
		}
		log_ring_release(f.ring);
		log_info("%.*s", round % 40, text);
		assert_true(log_ring_take(f.ring, &record));
		assert_int_equal(record.text.len, round % 40);
		log_ring_release(f.ring);
	}
	close_ring(&f);
}

/* How many records with a text of this length fit into an empty ring. */
static size_t
count_that_fit(size_t size, int text_len)
{
	struct fixture f;
	size_t count = 0;

	open_ring(&f, size, LOG_LEVEL_DEBUG);
	while (log_ring_take_dropped(f.ring) == 0) {
		log_info("%*s", text_len, "");
		count++;
	}
	close_ring(&f);
	return count - 1;
}

/* Small records lead to the last bytes of the ring, whatever they need beside their text. */
static void
the_largest_record_may_begin_anywhere_before_the_end(void **state)
{
	enum { SIZE = 32768, LENS = 17 };
	static char value[LOG_MAX_VALUE];
	struct log_field fields[LOG_MAX_FIELDS];

	(void)state;
	for (size_t i = 0; i < LOG_MAX_FIELDS; i++) {
		fields[i] = (struct log_field){"field", bytes_make(value, sizeof(value))};
	}
	for (int i = 0; i < 3 * LENS; i++) {
		size_t count = count_that_fit(SIZE, i / 3) - (size_t)(i % 3);
		struct log_record record;
		struct fixture f;

		open_ring(&f, SIZE, LOG_LEVEL_DEBUG);
		for (size_t j = 0; j < count; j++) {
			log_info("%*s", i / 3, "");
			assert_true(log_ring_take(f.ring, &record));
			log_ring_release(f.ring);
		}
		memset(value, 'a' + i % 26, sizeof(value));
		log_write(LOG_LEVEL_INFO, fields, LOG_MAX_FIELDS, "%*s", LOG_MAX_TEXT, "x");
		log_info("%s", "");
		assert_true(log_ring_take(f.ring, &record));
		assert_int_equal(record.text.len, LOG_MAX_TEXT);
		for (size_t j = 0; j < LOG_MAX_FIELDS; j++) {
			assert_true(bytes_equal(record.fields[j].value, fields[j].value));
		}
		log_ring_release(f.ring);
		assert_next(&f, "");
		close_ring(&f);
	}
}

static void
a_size_is_rounded_up_to_a_power_of_two(void **state)
{
	struct fixture f;
	size_t kept = 0;

	(void)state;
	open_ring(&f, 4097, LOG_LEVEL_DEBUG);
	while (log_ring_take_dropped(f.ring) == 0) {
		log_info("%0100d", 1);
		kept++;
	}
	kept--;
	assert_true(100 * kept > 4096 && 100 * kept < 8192);
	close_ring(&f);
}

/* --- records of all sizes --- */

/* A record made from its number, so that it need not be kept to be known again. */
struct sample {
	struct log_field fields[LOG_MAX_FIELDS];
	size_t field_count;
	char text[LOG_MAX_TEXT];
	size_t payload;
};

static char letters[LOG_MAX_VALUE + 64];

static void
make_sample(struct sample *sample, uint64_t number)
{
	struct rand_gen gen;
	size_t text_len;

	rand_gen_init(&gen, number);
	text_len = (size_t)rand_gen_below(&gen, rand_gen_below(&gen, 8) == 0 ? 1000 : 40);
	memset(sample->text, (int)('a' + number % 26), text_len);
	sample->text[text_len] = '\0';
	sample->payload = text_len;
	sample->field_count =
	    (size_t)rand_gen_below(&gen, rand_gen_below(&gen, 8) == 0 ? LOG_MAX_FIELDS + 1 : 3);
	for (size_t i = 0; i < sample->field_count; i++) {
		uint64_t most = rand_gen_below(&gen, 8) == 0 ? LOG_MAX_VALUE : 40;
		size_t len = (size_t)rand_gen_below(&gen, most + 1);
		const char *from = letters + rand_gen_below(&gen, 64);

		sample->fields[i] = (struct log_field){"field", bytes_make(from, len)};
		sample->payload += len;
	}
}

/* More than any record of this payload can need. */
static size_t
most_room(const struct sample *sample)
{
	return sample->payload + 64 + 32 * sample->field_count;
}

static void
assert_takes_sample(struct fixture *f, uint64_t number)
{
	struct log_record record;
	struct sample sample;

	make_sample(&sample, number);
	assert_true(log_ring_take(f->ring, &record));
	assert_int_equal(record.wall_ms, number);
	assert_bytes_text(record.text, sample.text);
	assert_int_equal(record.field_count, sample.field_count);
	for (size_t i = 0; i < sample.field_count; i++) {
		assert_string_equal(record.fields[i].name, "field");
		assert_true(bytes_equal(record.fields[i].value, sample.fields[i].value));
	}
	log_ring_release(f->ring);
}

/* Writes and takes at random and compares with a queue of numbers. */
static void
go_round(size_t size, uint64_t seed)
{
	enum { QUEUE = 8192 };
	static uint64_t queue[QUEUE];
	size_t first = 0;
	size_t count = 0;
	size_t payload = 0;
	size_t room = 0;
	struct sample sample;
	struct rand_gen gen;
	struct fixture f;

	rand_gen_init(&gen, seed);
	open_ring(&f, size, LOG_LEVEL_DEBUG);
	for (uint64_t step = 1; step <= 12000; step++) {
		bool must_fit;

		if (rand_gen_below(&gen, 10) < (step / 1000 % 2 == 0 ? 6 : 4)) {
			unsigned wakes = f.wakes;
			uint64_t dropped;

			make_sample(&sample, step);
			must_fit = room + most_room(&sample) <= size;
			f.context.wall_ms = (int64_t)step;
			log_write(
			    LOG_LEVEL_INFO, sample.fields, sample.field_count, "%s", sample.text);
			dropped = log_ring_take_dropped(f.ring);
			assert_true(dropped <= 1);
			assert_false(dropped == 1 && must_fit);
			if (dropped == 1) {
				continue;
			}
			assert_int_equal(f.wakes, wakes + (count == 0));
			queue[(first + count++) % QUEUE] = step;
			payload += sample.payload;
			room += most_room(&sample);
			assert_true(payload <= size);
		} else if (count != 0) {
			assert_takes_sample(&f, queue[first % QUEUE]);
			make_sample(&sample, queue[first++ % QUEUE]);
			payload -= sample.payload;
			room -= most_room(&sample);
			count--;
		} else {
			assert_empty(&f);
		}
	}
	for (; count != 0; count--) {
		assert_takes_sample(&f, queue[first++ % QUEUE]);
	}
	assert_empty(&f);
	close_ring(&f);
}

static void
records_of_all_sizes_go_round_rings_of_all_sizes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(letters); i++) {
		letters[i] = (char)('A' + i % 57);
	}
	for (uint64_t seed = 1; seed <= 3; seed++) {
		go_round(4096, seed);
		go_round(16384, seed);
		go_round(65536, seed);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_record_larger_than_the_ring_is_dropped_and_counted),
	    cmocka_unit_test(a_record_that_fits_an_empty_ring_fits_at_every_position),
	    cmocka_unit_test(the_largest_record_goes_round_a_large_ring),
	    cmocka_unit_test(the_largest_record_may_begin_anywhere_before_the_end),
	    cmocka_unit_test(a_size_is_rounded_up_to_a_power_of_two),
	    cmocka_unit_test(records_of_all_sizes_go_round_rings_of_all_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
