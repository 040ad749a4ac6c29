/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that writes records and one that reads them, which sleeps on a condition until `wake`
 * signals it. Whatever was written is either read, in order and whole, or counted as dropped, and
 * the reader never sleeps while there is something to read. A reader that was not woken would sleep
 * for ever, since a ring that is not empty wakes nobody: here it sleeps for some seconds, looks
 * into the ring and reports what it finds. A reader that spins instead of sleeping comes much more
 * often close to the writer, so it is the sharper test of waking. Build with -fsanitize=thread for
 * the order of memory, and without any sanitizer for the wakes: both are needed.
 */
#include "lib/unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/context.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/rand.h"

enum { RECORDS = 200000, PATIENCE_S = 3, FAULTS_SHOWN = 5 };
enum { READER_PAUSE = 300, MOST_PAUSE = 1200 }; /* steps of an empty loop */

enum mode {
	MODE_IN_STEP,  /* the writer lets the reader catch up now and then, which sleeps */
	MODE_SPINNING, /* the reader spins; the writer aims for the moment when it is done */
	MODE_FLOODING, /* the writer never pauses */
};

/* In groups of one writer each, on cache lines of their own, so that the ring sets the pace. */
struct exchange {
	struct log_ring *ring;
	enum mode mode;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool is_woken; /* guarded by mutex */

	/* the writer's; what is not atomic is read after it was joined */
	_Alignas(64) pthread_t writer_thread;
	uint64_t written_count;
	uint64_t wake_count;
	uint64_t foreign_wakes; /* called by another thread than the writer */

	_Alignas(64) _Atomic bool is_spin_over; /* what is_woken is, for the reader that spins */
	_Atomic bool is_done;                   /* the writer will write no more */

	/* the reader's, who is the main thread */
	_Alignas(64) _Atomic uint64_t settled_count; /* taken or counted as dropped */
	_Atomic bool is_given_up;                    /* has found a fault and left */
	uint64_t read_count;
	uint64_t dropped_count;
	uint64_t sleep_count;
	uint64_t broken_count; /* records that are not as they were written */
	uint64_t missed_wakes;
	_Alignas(64) struct counter_set counters; /* the writer's */
};

static void
pause_for(uint64_t steps)
{
	for (volatile uint64_t i = 0; i < steps; i++) {}
}

static void
signal_reader(struct exchange *x)
{
	if (x->mode == MODE_SPINNING) {
		x->is_spin_over = true;
		return;
	}
	pthread_mutex_lock(&x->mutex);
	x->is_woken = true;
	pthread_cond_signal(&x->cond);
	pthread_mutex_unlock(&x->mutex);
}

static void
wake(void *arg)
{
	struct exchange *x = arg;

	x->wake_count++;
	x->foreign_wakes += !pthread_equal(pthread_self(), x->writer_thread);
	signal_reader(x);
}

/* --- the writer --- */

static char letters[256];

static size_t
text_len_of(uint64_t number)
{
	return number % 13 == 0 ? number % 241 : number % 29;
}

static void
write_record(uint64_t number)
{
	size_t len = text_len_of(number);
	struct log_field fields[2] = {{"number", bytes_make(&number, sizeof(number))},
	    {"letters", bytes_make(letters + number % 7, number % 50)}};

	context_current->wall_ms = (int64_t)number;
	log_write(LOG_LEVEL_INFO, fields, number % 3, "%.*s", (int)len, letters);
}

/* Lets the reader catch up, so that it finds the ring empty while the next record comes. */
static void
wait_for_reader(struct exchange *x)
{
	/* not an acquire: the writer shall learn nothing about the ring from this */
	while (atomic_load_explicit(&x->settled_count, memory_order_relaxed) < x->written_count &&
	       !atomic_load_explicit(&x->is_given_up, memory_order_relaxed)) {
		sched_yield();
	}
}

static void *
write_all(void *arg)
{
	struct exchange *x = arg;
	struct context context = {.log = x->ring, .counters = &x->counters};
	struct rand_gen gen;
	uint64_t burst = 0;
	uint64_t pause = 0; /* longer when the last record came too early, shorter when too late */

	context_current = &context;
	x->writer_thread = pthread_self();
	rand_gen_init(&gen, 1);
	for (uint64_t number = 1; number <= RECORDS; number++) {
		uint64_t wakes = x->wake_count;

		write_record(number);
		x->written_count = number;
		if (x->mode == MODE_FLOODING) {
			continue;
		}
		if (burst-- == 0) {
			wait_for_reader(x);
			burst = rand_gen_below(&gen, x->mode == MODE_SPINNING ? 128 : 24);
		}
		if (x->mode == MODE_SPINNING) {
			pause += x->wake_count == wakes && pause < MOST_PAUSE;
			pause -= x->wake_count != wakes && pause != 0;
			pause_for(pause);
		} else {
			pause_for(rand_gen_below(&gen, number % 4 == 0 ? 600 : 30));
		}
	}
	context_current = NULL;
	x->is_done = true;
	signal_reader(x);
	return NULL;
}

/* --- the reader --- */

static void
check_record(struct exchange *x, const struct log_record *record, uint64_t *last)
{
	uint64_t number = (uint64_t)record->wall_ms;
	struct bytes text = bytes_make(letters, text_len_of(number));
	bool is_good = number > *last && number <= RECORDS && record->level == LOG_LEVEL_INFO &&
		       record->field_count == number % 3 && bytes_equal(record->text, text);

	if (is_good && record->field_count > 0) {
		is_good = bytes_equal(record->fields[0].value, bytes_make(&number, sizeof(number)));
	}
	if (is_good && record->field_count > 1) {
		is_good = bytes_equal(
		    record->fields[1].value, bytes_make(letters + number % 7, number % 50));
	}
	if (!is_good) {
		x->broken_count++;
	}
	*last = number;
}

/* Sleeps until it is woken; false when nobody did so in good time. */
static bool
sleep_until_woken(struct exchange *x)
{
	struct timespec until;
	bool is_woken;
	int error = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&x->mutex);
	x->sleep_count += !x->is_woken;
	while (!x->is_woken && error == 0) {
		error = pthread_cond_timedwait(&x->cond, &x->mutex, &until);
	}
	is_woken = x->is_woken;
	x->is_woken = false;
	pthread_mutex_unlock(&x->mutex);
	return is_woken;
}

static bool
spin_until_woken(struct exchange *x)
{
	int64_t until = clock_mono_ms() + PATIENCE_S * 1000;

	x->sleep_count++;
	for (unsigned spins = 1; !x->is_spin_over; spins++) {
		if (spins % 1024 == 0) {
			sched_yield();
			if (clock_mono_ms() > until) {
				return false;
			}
		}
	}
	x->is_spin_over = false;
	return true;
}

static bool
wait_until_woken(struct exchange *x)
{
	return x->mode == MODE_SPINNING ? spin_until_woken(x) : sleep_until_woken(x);
}

static void
settle(struct exchange *x)
{
	x->dropped_count += log_ring_take_dropped(x->ring);
	atomic_store_explicit(
	    &x->settled_count, x->read_count + x->dropped_count, memory_order_relaxed);
}

static void
read_all(struct exchange *x)
{
	struct log_record record;
	uint64_t last = 0;

	while (x->broken_count < FAULTS_SHOWN) {
		bool was_done = x->is_done;

		if (log_ring_take(x->ring, &record)) {
			check_record(x, &record, &last);
			if (x->mode == MODE_SPINNING) {
				pause_for(READER_PAUSE);
			}
			log_ring_release(x->ring);
			x->read_count++;
		} else if (was_done) {
			break;
		} else {
			settle(x);
			/* twice, should the machine have stopped the writer just before its call */
			if (!wait_until_woken(x) && !wait_until_woken(x) &&
			    log_ring_take(x->ring, &record)) {
				x->missed_wakes++;
				break;
			}
		}
	}
	x->is_given_up = true;
}

static void
exchange(struct exchange *x, size_t ring_size, enum mode mode)
{
	pthread_t thread;

	for (size_t i = 0; i < sizeof(letters); i++) {
		letters[i] = (char)('0' + i % 75);
	}
	memset(x, 0, sizeof(*x));
	pthread_mutex_init(&x->mutex, NULL);
	pthread_cond_init(&x->cond, NULL);
	x->mode = mode;
	x->ring = log_ring_new(ring_size, LOG_LEVEL_DEBUG, wake, x);
	assert_int_equal(pthread_create(&thread, NULL, write_all, x), 0);
	read_all(x);
	pthread_join(thread, NULL);
	x->dropped_count += log_ring_take_dropped(x->ring);
	log_ring_free(&x->ring);
	pthread_cond_destroy(&x->cond);
	pthread_mutex_destroy(&x->mutex);
}

static void
assert_nothing_lost(struct exchange *x)
{
	print_message("read %llu, dropped %llu, wakes %llu, sleeps %llu\n",
	    (unsigned long long)x->read_count, (unsigned long long)x->dropped_count,
	    (unsigned long long)x->wake_count, (unsigned long long)x->sleep_count);
	assert_int_equal(x->broken_count, 0);
	assert_int_equal(x->missed_wakes, 0);
	assert_int_equal(x->foreign_wakes, 0);
	assert_int_equal(x->written_count, RECORDS);
	assert_int_equal(x->read_count + x->dropped_count, RECORDS);
	assert_int_equal(x->counters.values[COUNTER_LOG_LINES], x->read_count);
	assert_int_equal(x->counters.values[COUNTER_LOG_DROPPED], x->dropped_count);
	/* woken once for each time that the ring was empty, which is when the reader slept */
	assert_true(x->wake_count <= x->read_count);
	assert_true(x->wake_count >= x->sleep_count - 1);
}

static void
a_writer_that_waits_at_times_loses_nothing(void **state)
{
	static struct exchange x;

	(void)state;
	exchange(&x, 65536, MODE_IN_STEP);
	assert_nothing_lost(&x);
	assert_int_equal(x.dropped_count, 0);
}

static void
a_reader_that_spins_is_woken_whenever_it_has_to_be(void **state)
{
	static struct exchange x;

	(void)state;
	exchange(&x, 65536, MODE_SPINNING);
	assert_nothing_lost(&x);
	if (x.wake_count < RECORDS / 20) {
		print_message("the threads hardly met: too busy a machine to say much of wakes\n");
	}
}

static void
a_flood_of_records_is_read_or_counted(void **state)
{
	static struct exchange x;

	(void)state;
	exchange(&x, 4096, MODE_FLOODING);
	assert_nothing_lost(&x);
	assert_true(x.read_count > 0);
}

/* --- the level --- */

struct level_change {
	struct log_ring *ring;
	_Atomic bool is_done;
};

static void *
change_level(void *arg)
{
	struct level_change *change = arg;

	for (int i = 0; !change->is_done; i++) {
		log_ring_set_level(change->ring, i % 2 == 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_DEBUG);
	}
	log_ring_set_level(change->ring, LOG_LEVEL_WARNING);
	return NULL;
}

static void
any_thread_may_change_the_level(void **state)
{
	struct level_change change = {.ring = log_ring_new(65536, LOG_LEVEL_DEBUG, NULL, NULL)};
	struct context context = {.log = change.ring};
	struct log_record record;
	pthread_t thread;
	int kept = 0;

	(void)state;
	context_current = &context;
	assert_int_equal(pthread_create(&thread, NULL, change_level, &change), 0);
	for (int i = 0; i < 20000; i++) {
		log_write(i % 2 == 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, NULL, 0, "%d", i);
		while (log_ring_take(change.ring, &record)) {
			kept += record.level == LOG_LEVEL_ERROR;
			log_ring_release(change.ring);
		}
	}
	change.is_done = true;
	pthread_join(thread, NULL);
	assert_int_equal(kept, 10000);
	log_info("not kept");
	assert_false(log_ring_take(change.ring, &record));
	log_warning("kept");
	assert_true(log_ring_take(change.ring, &record));
	log_ring_release(change.ring);
	context_current = NULL;
	log_ring_free(&change.ring);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_writer_that_waits_at_times_loses_nothing),
	    cmocka_unit_test(a_reader_that_spins_is_woken_whenever_it_has_to_be),
	    cmocka_unit_test(a_flood_of_records_is_read_or_counted),
	    cmocka_unit_test(any_thread_may_change_the_level),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
