/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory: mem, arenas and the wiping of buffers. That a secret is overwritten before its memory
 * goes is seen through the sanitizers' hook on free; a build without them skips those cases.
 */
#include "lib/unit.h"
#include "lib/huge.h"

#include <signal.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"

int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
    void (*on_free)(const volatile void *)) __attribute__((weak));
size_t __sanitizer_get_allocated_size(const volatile void *memory) __attribute__((weak));

enum { SECRET = 'S', SECRET_RUN = 8 };

static bool frees_watched;
static size_t secrets_freed;
static size_t memory_freed;

static void
on_malloc(const volatile void *memory, size_t size)
{
	(void)memory;
	(void)size;
}

/* Counts runs of the secret's letter in what is given back. */
static void
on_free(const volatile void *memory)
{
	const volatile uint8_t *p = memory;
	size_t run = 0;

	if (!frees_watched || memory == NULL) {
		return;
	}
	for (size_t i = 0; i < __sanitizer_get_allocated_size(memory); i++) {
		run = p[i] == SECRET ? run + 1 : 0;
		secrets_freed += run == SECRET_RUN;
	}
	memory_freed++;
}

/* False where there is no sanitizer to ask: the test then has nothing to look at. */
static bool
watch_frees(void)
{
	static bool installed;

	if (__sanitizer_install_malloc_and_free_hooks == NULL) {
		return false;
	}
	if (!installed) {
		installed = true;
		assert_int_not_equal(
		    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free), 0);
	}
	secrets_freed = memory_freed = 0;
	frees_watched = true;
	return true;
}

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

/* --- mem --- */

static void
memory_of_no_size_can_be_freed(void **state)
{
	void *memory[] = {mem_alloc(0), mem_zalloc(0), mem_realloc(NULL, 0), mem_try_alloc(0)};

	(void)state;
	for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]); i++) {
		assert_non_null(memory[i]);
		mem_free(&memory[i]);
		assert_null(memory[i]);
		mem_free(&memory[i]);
	}
}

static void
cleared_memory_is_zero(void **state)
{
	static const size_t sizes[] = {1, 7, 64, 1000, 100000};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		/* dirty memory first, which a plain allocator then hands out again */
		uint8_t *memory = mem_alloc(sizes[i]);

		memset(memory, 0xff, sizes[i]);
		mem_free(&memory);
		memory = mem_zalloc(sizes[i]);
		for (size_t j = 0; j < sizes[i]; j++) {
			assert_int_equal(memory[j], 0);
		}
		mem_free(&memory);
	}
}

static void
changing_the_size_keeps_what_is_in_it(void **state)
{
	uint8_t *memory = mem_realloc(NULL, 4);

	(void)state;
	memcpy(memory, "abcd", 4);
	for (size_t size = 8; size < 100000; size *= 2) {
		memory = mem_realloc(memory, size);
		assert_memory_equal(memory, "abcd", 4);
		memory = mem_try_realloc(memory, size + 5);
		assert_non_null(memory);
		assert_memory_equal(memory, "abcd", 4);
		memset(memory + 4, 0xff, size + 1);
	}
	memory = mem_realloc(memory, 2);
	assert_memory_equal(memory, "ab", 2);
	/* NULL would say that nothing has changed */
	memory = mem_try_realloc(memory, 0);
	assert_non_null(memory);
	memory = mem_realloc(memory, 0);
	assert_non_null(memory);
	mem_free(&memory);
	memory = mem_try_realloc(NULL, 5);
	assert_non_null(memory);
	mem_free(&memory);
}

static void
trying_for_too_much_gives_nothing_and_changes_nothing(void **state)
{
	volatile size_t huge = SIZE_MAX / 2;
	char *text = mem_text(bytes_of("kept"));

	(void)state;
	assert_null(mem_try_alloc(huge));
	assert_null(mem_try_realloc(NULL, huge));
	assert_null(mem_try_realloc(text, huge));
	assert_string_equal(text, "kept");
	mem_free(&text);
}

static volatile size_t wanted_size;
static int wanted_way;

static void
want_too_much(void)
{
	char *text = mem_text(bytes_of("text"));

	switch (wanted_way) {
	case 0:
		text = mem_alloc(wanted_size);
		break;
	case 1:
		text = mem_zalloc(wanted_size);
		break;
	default:
		text = mem_realloc(text, wanted_size);
		break;
	}
	_exit(text != NULL ? 0 : 1);
}

static void
wanting_too_much_ends_the_process(void **state)
{
	(void)state;
	wanted_size = SIZE_MAX / 2;
	for (wanted_way = 0; wanted_way < 3; wanted_way++) {
		assert_int_equal(signal_of(want_too_much), SIGABRT);
	}
}

static void
a_text_is_a_copy_with_a_nul(void **state)
{
	char source[] = "abc";
	char *text = mem_text(bytes_make(source, 2));
	char *none = mem_text(bytes_of(NULL));
	char *nuls = mem_text(BYTES_LITERAL("a\0b"));

	(void)state;
	source[0] = 'x';
	assert_string_equal(text, "ab");
	assert_string_equal(none, "");
	assert_memory_equal(nuls, "a\0b", 4);
	mem_free(&text);
	mem_free(&none);
	mem_free(&nuls);
}

static void
wiping_overwrites_no_more_and_no_less(void **state)
{
	(void)state;
	for (size_t from = 0; from < 9; from++) {
		for (size_t len = 0; len < 60; len++) {
			uint8_t memory[80];

			memset(memory, SECRET, sizeof(memory));
			mem_wipe(memory + from, len);
			for (size_t i = 0; i < sizeof(memory); i++) {
				bool is_inside = i >= from && i < from + len;

				assert_int_equal(memory[i] == SECRET, !is_inside);
			}
		}
	}
}

/* --- arena --- */

static void
an_arena_gives_cleared_memory_aligned_for_any_type(void **state)
{
	static const size_t sizes[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 100, 1000, 4095, 4096, 4097,
	    5, 65536, 9, 1000000, 1, 0, 40};
	const size_t count = sizeof(sizes) / sizeof(sizes[0]);
	uint8_t *objects[sizeof(sizes) / sizeof(sizes[0])];
	struct arena arena;
	size_t sum = 0;

	(void)state;
	arena_init(&arena);
	assert_int_equal(arena.total, 0);
	for (size_t i = 0; i < count; i++) {
		objects[i] = arena_alloc(&arena, sizes[i]);
		assert_int_equal((uintptr_t)objects[i] % alignof(max_align_t), 0);
		for (size_t j = 0; j < sizes[i]; j++) {
			assert_int_equal(objects[i][j], 0);
		}
		memset(objects[i], (int)i + 1, sizes[i]);
		sum += sizes[i];
		assert_true(arena.total >= sum);
	}
	/* nothing lies upon anything else */
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < sizes[i]; j++) {
			assert_int_equal(objects[i][j], i + 1);
		}
	}
	arena_fini(&arena);
}

static void
many_small_objects_keep_what_is_in_them(void **state)
{
	enum { COUNT = 20000 };
	static uint32_t *objects[COUNT];
	struct rand_gen gen;
	struct arena arena;

	(void)state;
	rand_gen_init(&gen, 3);
	arena_init(&arena);
	for (uint32_t i = 0; i < COUNT; i++) {
		size_t words = 1 + (size_t)rand_gen_below(&gen, 30);

		objects[i] = arena_alloc(&arena, words * sizeof(uint32_t));
		for (size_t j = 0; j < words; j++) {
			assert_int_equal(objects[i][j], 0);
			objects[i][j] = i;
		}
	}
	for (uint32_t i = 0; i < COUNT; i++) {
		assert_int_equal(*objects[i], i);
	}
	arena_fini(&arena);
}

static void
the_total_counts_what_was_handed_out(void **state)
{
	const size_t unit = alignof(max_align_t);
	struct arena arena;

	(void)state;
	arena_init(&arena);
	arena_alloc(&arena, unit);
	assert_int_equal(arena.total, unit);
	arena_alloc(&arena, 3 * unit);
	arena_alloc(&arena, 10000 * unit);
	assert_int_equal(arena.total, 10004 * unit);
	arena_fini(&arena);
	arena_init(&arena);
	assert_int_equal(arena.total, 0);
	arena_fini(&arena);
}

static void
a_text_in_an_arena_is_a_copy_with_a_nul(void **state)
{
	char source[] = "topic";
	struct arena arena;
	char *text;
	char *none;

	(void)state;
	arena_init(&arena);
	text = arena_text(&arena, bytes_make(source, 5));
	none = arena_text(&arena, bytes_of(NULL));
	memset(source, 'x', 5);
	assert_string_equal(text, "topic");
	assert_string_equal(none, "");
	for (size_t len = 0; len < 300; len++) {
		char copy[300];

		memset(copy, 'y', len);
		text = arena_text(&arena, bytes_make(copy, len));
		memset(arena_alloc(&arena, 8), 0xff, 8);
		assert_int_equal(strlen(text), len);
	}
	arena_fini(&arena);
}

static void
an_arena_leaves_nothing_in_the_memory_it_gives_back(void **state)
{
	static const size_t sizes[] = {8, 100, 100000, 33, 4000, 4096, 70000, 8};
	struct arena arena;

	(void)state;
	if (!watch_frees()) {
		return;
	}
	arena_init(&arena);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(arena_alloc(&arena, sizes[i]), SECRET, sizes[i]);
	}
	arena_fini(&arena);
	frees_watched = false;
	assert_int_not_equal(memory_freed, 0);
	assert_int_equal(secrets_freed, 0);
}

static size_t impossible_size;

static void
take_an_impossible_size(void)
{
	struct arena arena;

	arena_init(&arena);
	arena_alloc(&arena, 1);
	arena_alloc(&arena, impossible_size);
}

static void
an_impossible_size_ends_the_process(void **state)
{
	static const size_t less[] = {0, 1, 7, 8, 15, 16, 31, 32, 64, 4096, SIZE_MAX / 2};

	(void)state;
	for (size_t i = 0; i < sizeof(less) / sizeof(less[0]); i++) {
		impossible_size = SIZE_MAX - less[i];
		assert_int_equal(signal_of(take_an_impossible_size), SIGABRT);
	}
}

static void
a_wiped_buffer_leaves_nothing_in_the_memory_it_gives_back(void **state)
{
	struct buf buf;

	(void)state;
	if (!watch_frees()) {
		return;
	}
	buf_init(&buf, SIZE_MAX);
	assert_non_null(buf_reserve(&buf, 500));
	for (int i = 0; i < 500; i++) {
		buf_append_byte(&buf, SECRET);
	}
	buf_consume(&buf, 100); /* what moved away is secret too */
	buf_fini_wiped(&buf);
	frees_watched = false;
	assert_int_not_equal(memory_freed, 0);
	assert_int_equal(secrets_freed, 0);
	buf_init(&buf, SIZE_MAX);
	buf_fini_wiped(&buf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(memory_of_no_size_can_be_freed),
	    cmocka_unit_test(cleared_memory_is_zero),
	    cmocka_unit_test(changing_the_size_keeps_what_is_in_it),
	    cmocka_unit_test(trying_for_too_much_gives_nothing_and_changes_nothing),
	    cmocka_unit_test(wanting_too_much_ends_the_process),
	    cmocka_unit_test(a_text_is_a_copy_with_a_nul),
	    cmocka_unit_test(wiping_overwrites_no_more_and_no_less),
	    cmocka_unit_test(an_arena_gives_cleared_memory_aligned_for_any_type),
	    cmocka_unit_test(many_small_objects_keep_what_is_in_them),
	    cmocka_unit_test(the_total_counts_what_was_handed_out),
	    cmocka_unit_test(a_text_in_an_arena_is_a_copy_with_a_nul),
	    cmocka_unit_test(an_arena_leaves_nothing_in_the_memory_it_gives_back),
	    cmocka_unit_test(an_impossible_size_ends_the_process),
	    cmocka_unit_test(a_wiped_buffer_leaves_nothing_in_the_memory_it_gives_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
