/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vectors: pushing, popping, removing, and growth up to the end of the machine.
 */
#include "lib/unit.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/vec.h"

/* The signal that ends a child which runs the body, 0 when it comes back. */
static int
signal_of(void (*body)(void))
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		fclose(stderr);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

struct pair {
	int number;
	const char *name;
};

static void
an_empty_vector_is_all_zero_and_has_no_items(void **state)
{
	VEC(int) v = {0};
	int *item;

	(void)state;
	vec_each (item, &v) {
		fail();
	}
	vec_fini(&v);
	vec_fini(&v);
	assert_null(v.items);
}

static void
what_is_pushed_is_kept_in_order(void **state)
{
	enum { COUNT = 10000 };
	VEC(struct pair) v = {0};
	struct pair *item;
	int expected = 0;

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		vec_push(&v, (struct pair){i, "pair"});
		assert_int_equal(v.count, i + 1);
		assert_true(v.cap >= v.count);
	}
	vec_each (item, &v) {
		assert_int_equal(item->number, expected);
		assert_string_equal(item->name, "pair");
		expected++;
	}
	assert_int_equal(expected, COUNT);
	vec_fini(&v);
	assert_null(v.items);
	assert_int_equal(v.count, 0);
	assert_int_equal(v.cap, 0);
	vec_push(&v, (struct pair){1, "again"});
	assert_string_equal(v.items[0].name, "again");
	vec_fini(&v);
}

static void
popping_takes_the_last(void **state)
{
	VEC(int) v = {0};

	(void)state;
	for (int i = 0; i < 5; i++) {
		vec_push(&v, i * i);
	}
	assert_int_equal(vec_pop(&v), 16);
	assert_int_equal(vec_pop(&v), 9);
	vec_push(&v, 7);
	assert_int_equal(vec_pop(&v), 7);
	assert_int_equal(v.count, 3);
	vec_fini(&v);
}

static void
removing_puts_the_last_in_the_place(void **state)
{
	VEC(int) v = {0};

	(void)state;
	for (int i = 0; i < 4; i++) {
		vec_push(&v, i);
	}
	vec_swap_remove(&v, 1);
	assert_int_equal(v.count, 3);
	assert_int_equal(v.items[0], 0);
	assert_int_equal(v.items[1], 3);
	assert_int_equal(v.items[2], 2);
	vec_swap_remove(&v, 2);
	vec_swap_remove(&v, 0);
	assert_int_equal(v.count, 1);
	assert_int_equal(v.items[0], 3);
	vec_swap_remove(&v, 0);
	assert_int_equal(v.count, 0);
	vec_fini(&v);
}

static void
growth_doubles_and_later_adds_a_half(void **state)
{
	static const size_t sizes[] = {1, 3, 8, 24, 100, 4096, 100000};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t cap = vec_next_cap(0, sizes[i]);

		assert_true(cap > 0);
		for (int step = 0; step < 15; step++) {
			size_t next = vec_next_cap(cap, sizes[i]);

			assert_int_equal(next, cap < 256 ? 2 * cap : cap + cap / 2);
			cap = next;
		}
	}
}

static size_t growing_cap;
static size_t growing_size;

static void
grow_beyond_the_machine(void)
{
	volatile size_t cap = vec_next_cap(growing_cap, growing_size);

	(void)cap;
}

static void
growth_beyond_the_machine_ends_the_process(void **state)
{
	static const struct {
		size_t cap;
		size_t size;
	} cases[] = {{SIZE_MAX / 2 + 1, 1}, {SIZE_MAX / 8, 8}, {SIZE_MAX / 16 + 1, 8},
	    {SIZE_MAX / 24, 24}, {SIZE_MAX / 4096, 4096}, {SIZE_MAX, 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		growing_cap = cases[i].cap;
		growing_size = cases[i].size;
		assert_int_equal(signal_of(grow_beyond_the_machine), SIGABRT);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_empty_vector_is_all_zero_and_has_no_items),
	    cmocka_unit_test(what_is_pushed_is_kept_in_order),
	    cmocka_unit_test(popping_takes_the_last),
	    cmocka_unit_test(removing_puts_the_last_in_the_place),
	    cmocka_unit_test(growth_doubles_and_later_adds_a_half),
	    cmocka_unit_test(growth_beyond_the_machine_ends_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
