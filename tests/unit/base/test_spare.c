/* SPDX-License-Identifier: Apache-2.0 */
/* Small blocks that a thread keeps. A build with a sanitizer keeps none: there only the ways
 * without a set are seen. */
#include "lib/unit.h"
#include "lib/huge.h"

#include "base/context.h"
#include "base/mem.h"
#include "base/spare.h"

static struct spare_set set;
static struct context context = {.spares = &set};

/* Does this build keep blocks? */
static bool
keeps(void)
{
	void *block = spare_alloc(100);
	bool has;

	spare_free(block, 100);
	has = set.bytes[7] != 0;
	spare_set_fini(&set);
	return has;
}

static int
set_up(void **state)
{
	(void)state;
	context_current = &context;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	spare_set_fini(&set);
	context_current = NULL;
	return 0;
}

static size_t
kept(void)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < SPARE_CLASSES; i++) {
		bytes += set.bytes[i];
		assert_true((set.bytes[i] == 0) == (set.first[i] == NULL));
	}
	return bytes;
}

static void
a_block_that_was_freed_is_the_next_of_its_class(void **state)
{
	void *first, *second;

	(void)state;
	if (!keeps()) {
		return;
	}
	first = spare_alloc(90);
	second = spare_alloc(90);
	spare_free(first, 90);
	spare_free(second, 90);
	assert_ptr_equal(spare_alloc(104), second); /* 16 * 7 - 8 */
	assert_ptr_equal(spare_alloc(89), first);
	assert_int_equal(kept(), 0);
	spare_free(first, 89);
	first = spare_alloc(105); /* the next class */
	assert_ptr_not_equal(first, second);
	assert_int_equal(kept(), 112);
	spare_free(first, 105);
	spare_free(second, 104);
	assert_int_equal(kept(), 112 + 112 + 128);
}

/* Whatever the size: what is given has it, also when it was freed as a smaller one. */
static void
every_block_has_room_for_what_was_asked(void **state)
{
	(void)state;
	for (size_t size = 0; size < 700; size++) {
		uint8_t *block = spare_alloc(size);
		uint8_t *again;

		memset(block, 0xff, size);
		spare_free(block, size - size / 3);
		again = spare_alloc(size - size / 3);
		memset(again, 0xff, size - size / 3);
		spare_free(again, size - size / 3);
	}
}

static void
so_much_is_kept_and_no_more(void **state)
{
	enum { COUNT = 3 * SPARE_MOST / 208 };
	static void *blocks[COUNT];

	(void)state;
	if (!keeps()) {
		return;
	}
	for (unsigned i = 0; i < COUNT; i++) {
		blocks[i] = spare_alloc(200);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		spare_free(blocks[i], 200);
	}
	assert_in_range(kept(), SPARE_MOST, SPARE_MOST + 208);
	spare_set_fini(&set);
	assert_int_equal(kept(), 0);
}

static void
large_blocks_are_not_kept(void **state)
{
	void *block;

	(void)state;
	block = spare_alloc(SPARE_CLASSES * 16);
	spare_free(block, SPARE_CLASSES * 16);
	assert_int_equal(kept(), 0);
	assert_null(spare_alloc(SIZE_MAX / 2));
}

static void
without_a_set_nothing_is_kept(void **state)
{
	void *block;

	(void)state;
	context_current = NULL;
	block = spare_alloc(100);
	spare_free(block, 100);
	context_current = &(struct context){0};
	block = spare_alloc(100);
	spare_free(block, 100);
	context_current = &context;
	assert_int_equal(kept(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		a_block_that_was_freed_is_the_next_of_its_class, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		every_block_has_room_for_what_was_asked, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(so_much_is_kept_and_no_more, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(large_blocks_are_not_kept, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(without_a_set_nothing_is_kept, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
