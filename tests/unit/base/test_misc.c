/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small things of `base`: counters, clocks, random numbers, errors.
 */
#include "lib/unit.h"

#include <ctype.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/context.h"
#include "base/counter.h"
#include "base/err.h"
#include "base/rand.h"

/* --- counters --- */

static void
each_counter_has_a_name_of_its_own_and_a_help(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_info *info = &counter_infos[i];

		assert_non_null(info->name);
		assert_int_not_equal(strlen(info->name), 0);
		assert_int_equal(strspn(info->name, "abcdefghijklmnopqrstuvwxyz0123456789_"),
		    strlen(info->name));
		assert_non_null(info->help);
		assert_int_not_equal(strlen(info->help), 0);
		assert_true(info->kind == COUNTER_TOTAL || info->kind == COUNTER_GAUGE);
		for (size_t j = 0; j < i; j++) {
			assert_string_not_equal(info->name, counter_infos[j].name);
		}
	}
	assert_string_equal(counter_infos[COUNTER_LOG_DROPPED].name, "log_dropped");
}

static void
without_a_context_counting_does_nothing(void **state)
{
	struct context context = {.counters = NULL};

	(void)state;
	counter_add(COUNTER_LOG_LINES, 1);
	counter_sub(COUNTER_LOG_LINES, 1);
	context_current = &context;
	counter_add(COUNTER_LOG_LINES, 1);
	context_current = NULL;
}

static void
sets_are_summed_counter_by_counter(void **state)
{
	static struct counter_set sets[3];
	const struct counter_set *all[] = {&sets[0], &sets[1], &sets[2]};
	struct context context = {.counters = &sets[0]};

	(void)state;
	memset(sets, 0, sizeof(sets));
	assert_int_equal((uintptr_t)&sets[1] % 64, 0);
	assert_int_equal(sizeof(sets[0]) % 64, 0);
	context_current = &context;
	counter_add(COUNTER_LOG_LINES, 5);
	context.counters = &sets[1];
	counter_add(COUNTER_LOG_LINES, 10);
	counter_add(COUNTER_LOG_LINES, 0);
	counter_add(COUNTER_LOG_DROPPED, 1);
	context.counters = &sets[2];
	counter_add(COUNTER_LOG_LINES, 20);
	counter_sub(COUNTER_LOG_LINES, 3);
	context_current = NULL;
	assert_int_equal(counter_sum(all, 3, COUNTER_LOG_LINES), 32);
	assert_int_equal(counter_sum(all, 2, COUNTER_LOG_LINES), 15);
	assert_int_equal(counter_sum(all + 1, 1, COUNTER_LOG_LINES), 10);
	assert_int_equal(counter_sum(all, 3, COUNTER_LOG_DROPPED), 1);
	assert_int_equal(counter_sum(NULL, 0, COUNTER_LOG_LINES), 0);
}

enum { STEPS = 100000 };

/* One thread adds, the other takes away what the first has added. */
struct counting {
	pthread_t thread;
	struct counter_set *set;
	bool is_taking;
};

static void *
count_up_or_down(void *arg)
{
	struct counting *counting = arg;
	struct context context = {.counters = counting->set};

	context_current = &context;
	for (int i = 0; i < STEPS; i++) {
		if (counting->is_taking) {
			counter_sub(COUNTER_LOG_LINES, 2);
		} else {
			counter_add(COUNTER_LOG_LINES, 3);
		}
		counter_add(COUNTER_LOG_DROPPED, 1);
	}
	context_current = NULL;
	return NULL;
}

static void
a_gauge_is_right_in_the_sum_of_two_threads_sets(void **state)
{
	static struct counter_set sets[2];
	const struct counter_set *all[] = {&sets[0], &sets[1]};
	struct counting counting[2] = {{.set = &sets[0]}, {.set = &sets[1], .is_taking = true}};
	uint64_t last = 0;

	(void)state;
	memset(sets, 0, sizeof(sets));
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(
		    pthread_create(&counting[i].thread, NULL, count_up_or_down, &counting[i]), 0);
	}
	/* a reader beside them sees totals that only grow */
	while (last < STEPS) {
		uint64_t sum = counter_sum(all, 2, COUNTER_LOG_DROPPED);

		assert_true(sum >= last && sum <= 2 * STEPS);
		last = sum;
	}
	for (size_t i = 0; i < 2; i++) {
		pthread_join(counting[i].thread, NULL);
	}
	assert_int_equal(counter_sum(all, 2, COUNTER_LOG_LINES), STEPS);
	assert_int_equal(counter_sum(all, 2, COUNTER_LOG_DROPPED), 2 * STEPS);
	/* one set alone is below zero, modulo 2^64 */
	assert_true(counter_sum(all + 1, 1, COUNTER_LOG_LINES) == (uint64_t)0 - 2 * STEPS);
}

/* --- context --- */

static void *
see_no_context(void *arg)
{
	*(bool *)arg = context_current == NULL;
	return NULL;
}

static void
a_context_belongs_to_its_thread(void **state)
{
	struct context context = {.mono_ms = 1};
	bool is_clear = false;
	pthread_t thread;

	(void)state;
	context_current = &context;
	assert_int_equal(pthread_create(&thread, NULL, see_no_context, &is_clear), 0);
	pthread_join(thread, NULL);
	assert_true(is_clear);
	assert_ptr_equal(context_current, &context);
	context_current = NULL;
}

/* --- clocks --- */

static void
the_monotonic_clock_goes_on_and_its_units_agree(void **state)
{
	int64_t first = clock_mono_ns();
	int64_t last = first;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		int64_t ms = clock_mono_ms();
		int64_t now = clock_mono_ns();

		assert_true(now >= last);
		assert_true(ms >= last / 1000000 && ms <= now / 1000000);
		last = now;
	}
	assert_true(last > first);
	nanosleep(&(struct timespec){0, 3000000}, NULL);
	assert_true(clock_mono_ns() - last >= 3000000);
}

static void
the_wall_clock_is_that_of_the_system(void **state)
{
	struct timespec before, after;
	int64_t now;

	(void)state;
	clock_gettime(CLOCK_REALTIME, &before);
	now = clock_wall_ms();
	clock_gettime(CLOCK_REALTIME, &after);
	assert_true(now >= (int64_t)before.tv_sec * 1000 + before.tv_nsec / 1000000);
	assert_true(now <= (int64_t)after.tv_sec * 1000 + after.tv_nsec / 1000000);
}

/* --- random numbers --- */

static void
a_seed_gives_the_known_numbers(void **state)
{
	/* splitmix64 fills the state from the seed, xoshiro256** goes on from there */
	static const struct {
		uint64_t seed;
		uint64_t state[4];
		uint64_t numbers[4];
	} cases[] = {
	    {0, {0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f, 0xf88bb8a8724c81ec},
		{0x99ec5f36cb75f2b4, 0xbf6e1f784956452a, 0x1a5f849d4933e6e0, 0x6aa594f1262d2d2c}},
	    {1, {0x910a2dec89025cc1, 0xbeeb8da1658eec67, 0xf893a2eefb32555e, 0x71c18690ee42c90b},
		{0xb3f2af6d0fc710c5, 0x853b559647364cea, 0x92f89756082a4514, 0x642e1c7bc266a3a7}},
	    {42, {0xbdd732262feb6e95, 0x28efe333b266f103, 0x47526757130f9f52, 0x581ce1ff0e4ae394},
		{0x15780b2e0c2ec716, 0x6104d9866d113a7e, 0xae17533239e499a1, 0xecb8ad4703b360a1}},
	};
	struct rand_gen gen;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		rand_gen_init(&gen, cases[i].seed);
		for (size_t j = 0; j < 4; j++) {
			assert_true(gen.state[j] == cases[i].state[j]);
		}
		for (size_t j = 0; j < 4; j++) {
			assert_true(rand_gen_next(&gen) == cases[i].numbers[j]);
		}
	}
}

static void
a_state_gives_the_published_numbers(void **state)
{
	static const uint64_t numbers[] = {11520, 0, 1509978240, 1215971899390074240,
	    1216172134540287360, 607988272756665600, 16172922978634559625u, 8476171486693032832,
	    10595114339597558777u, 2904607092377533576};
	struct rand_gen gen = {{1, 2, 3, 4}};

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		assert_true(rand_gen_next(&gen) == numbers[i]);
	}
}

static void
a_number_is_below_its_bound(void **state)
{
	static const uint64_t bounds[] = {1, 2, 3, 7, 10, 256, 1000, UINT32_MAX,
	    (uint64_t)UINT32_MAX + 1, (uint64_t)UINT32_MAX + 2, (uint64_t)1 << 63,
	    ((uint64_t)1 << 63) + 1, UINT64_MAX - 1, UINT64_MAX};
	struct rand_gen gen;

	(void)state;
	rand_gen_init(&gen, 12);
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		uint64_t most = 0;

		for (int j = 0; j < 1000; j++) {
			uint64_t number = rand_gen_below(&gen, bounds[i]);

			assert_true(number < bounds[i]);
			most = number > most ? number : most;
		}
		/* not only the lower part */
		assert_true(most >= bounds[i] / 4 * 3);
	}
}

/* Numbers fall evenly into the parts of the range; 5 sigma for a fixed seed. */
static void
numbers_are_even_over_their_range(void **state)
{
	/* a remainder would favour the lower part of the last two: 2^64 is not a multiple of them
	 */
	static const struct {
		uint64_t bound;
		unsigned parts;
	} cases[] = {{2, 2}, {3, 3}, {7, 7}, {10, 10}, {100, 10}, {(uint64_t)3 << 62, 3},
	    {(uint64_t)5 << 61, 5}};
	enum { DRAWS = 30000 };
	struct rand_gen gen;

	(void)state;
	rand_gen_init(&gen, 99);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t expected = DRAWS / (int64_t)cases[i].parts;
		int64_t counts[10] = {0};

		for (int j = 0; j < DRAWS; j++) {
			uint64_t number = rand_gen_below(&gen, cases[i].bound);

			counts[number / (cases[i].bound / cases[i].parts)]++;
		}
		for (unsigned part = 0; part < cases[i].parts; part++) {
			int64_t off = counts[part] - expected;

			assert_true(off * off < 25 * expected);
		}
	}
}

static void
the_kernel_fills_exactly_what_was_asked_for(void **state)
{
	static const size_t sizes[] = {0, 1, 7, 8, 16, 255, 256, 257, 1000, 100000};
	static uint8_t a[100002];
	static uint8_t b[100002];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t size = sizes[i];

		memset(a, 0xa5, sizeof(a));
		memset(b, 0xa5, sizeof(b));
		rand_fill(a + 1, size);
		rand_fill(b + 1, size);
		assert_int_equal(a[0], 0xa5);
		assert_int_equal(a[size + 1], 0xa5);
		if (size >= 16) {
			/* the last bytes too, not only those that one call gives */
			assert_memory_not_equal(a + 1, b + 1, size);
			assert_memory_not_equal(a + 1 + size - 8, b + 1 + size - 8, 8);
		}
	}
}

static volatile sig_atomic_t alarm_count;

static void
on_alarm(int number)
{
	(void)number;
	alarm_count++;
}

/* A signal ends the kernel's call early. */
static void
the_kernel_is_asked_again_for_what_is_left(void **state)
{
	enum { SIZE = 8 * 1024 * 1024 };
	static const uint8_t zeros[32];
	const struct itimerval often = {{0, 500}, {0, 500}};
	const struct itimerval never = {{0, 0}, {0, 0}};
	uint8_t *memory = calloc(1, SIZE);
	struct sigaction action = {.sa_handler = on_alarm};
	struct sigaction before;

	(void)state;
	assert_non_null(memory);
	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	rand_fill(memory, SIZE);
	assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
	assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
	assert_int_not_equal(alarm_count, 0);
	assert_memory_not_equal(memory + SIZE - sizeof(zeros), zeros, sizeof(zeros));
	free(memory);
}

/* --- errors --- */

static void
each_error_has_a_phrase_of_its_own(void **state)
{
	static const int codes[] = {ERR_NONE, ERR_NOMEM, ERR_LIMIT, ERR_INVALID, ERR_IO,
	    ERR_NOT_FOUND, ERR_AGAIN, ERR_GONE, ERR_UNSUPPORTED};
	const size_t count = sizeof(codes) / sizeof(codes[0]);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		const char *text = err_text(codes[i]);

		assert_int_equal(codes[i], -(int)i);
		assert_int_not_equal(strlen(text), 0);
		for (size_t j = 0; text[j] != '\0'; j++) {
			assert_false(isupper((unsigned char)text[j]));
		}
		for (size_t j = 0; j < i; j++) {
			assert_string_not_equal(text, err_text(codes[j]));
		}
		assert_string_not_equal(text, err_text(INT_MIN));
	}
}

static void
any_number_has_a_phrase(void **state)
{
	static const int codes[] = {1, 1000, INT_MAX, -9, -1000, INT_MIN};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		assert_int_not_equal(strlen(err_text(codes[i])), 0);
	}
}

/* How a child that runs the body ends; what it wrote to stderr is in text. */
static int
end_of(void (*body)(void), char *text, size_t size)
{
	FILE *file = tmpfile();
	int status = 0;
	ssize_t len;
	pid_t child;

	assert_non_null(file);
	child = fork();
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		dup2(fileno(file), STDERR_FILENO);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	len = pread(fileno(file), text, size - 1, 0);
	text[len < 0 ? 0 : len] = '\0';
	fclose(file);
	return status;
}

static void
die(void)
{
	err_fatal("the sky is falling");
}

static void
a_fatal_error_says_one_line_and_aborts(void **state)
{
	char text[300];
	int status = end_of(die, text, sizeof(text));

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(text, "the sky is falling\n"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static volatile int three = 3;

static void
meet_the_impossible(void)
{
	_exit(err_impossible(three > 2) ? 42 : 0);
}

static void
the_impossible_aborts_in_debug_and_is_told_otherwise(void **state)
{
	char text[300];
	int status = end_of(meet_the_impossible, text, sizeof(text));

	(void)state;
#ifdef NDEBUG
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
#else
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(text, "three > 2"));
	assert_non_null(strstr(text, "test_misc.c"));
#endif
	assert_false(err_impossible(three > 3));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_counter_has_a_name_of_its_own_and_a_help),
	    cmocka_unit_test(without_a_context_counting_does_nothing),
	    cmocka_unit_test(sets_are_summed_counter_by_counter),
	    cmocka_unit_test(a_gauge_is_right_in_the_sum_of_two_threads_sets),
	    cmocka_unit_test(a_context_belongs_to_its_thread),
	    cmocka_unit_test(the_monotonic_clock_goes_on_and_its_units_agree),
	    cmocka_unit_test(the_wall_clock_is_that_of_the_system),
	    cmocka_unit_test(a_seed_gives_the_known_numbers),
	    cmocka_unit_test(a_state_gives_the_published_numbers),
	    cmocka_unit_test(a_number_is_below_its_bound),
	    cmocka_unit_test(numbers_are_even_over_their_range),
	    cmocka_unit_test(the_kernel_fills_exactly_what_was_asked_for),
	    cmocka_unit_test(the_kernel_is_asked_again_for_what_is_left),
	    cmocka_unit_test(each_error_has_a_phrase_of_its_own),
	    cmocka_unit_test(any_number_has_a_phrase),
	    cmocka_unit_test(a_fatal_error_says_one_line_and_aborts),
	    cmocka_unit_test(the_impossible_aborts_in_debug_and_is_told_otherwise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
