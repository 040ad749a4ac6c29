/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "session/directory.h"

static const struct hash_key key = {3, 4};

static void
the_first_claim_makes_its_worker_the_home_and_later_ones_go_there(void **state)
{
	struct session_directory *directory = session_directory_new(key);
	uint64_t first, second;
	uint16_t home;

	(void)state;
	session_directory_claim(directory, bytes_of("c"), 3, &home, &first);
	assert_int_equal(home, 3);
	session_directory_claim(directory, bytes_of("c"), 5, &home, &second);
	assert_int_equal(home, 3);
	assert_true(second > first);
	assert_int_equal(session_directory_count(directory), 1);
	session_directory_unclaim(directory, bytes_of("c"));
	session_directory_unclaim(directory, bytes_of("c"));
	assert_int_equal(session_directory_count(directory), 0);
	session_directory_claim(directory, bytes_of("c"), 5, &home, &first);
	assert_int_equal(home, 5);
	assert_true(first > second);
	session_directory_unclaim(directory, bytes_of("c"));
	session_directory_free(&directory);
}

static void
an_entry_stays_while_it_has_a_session(void **state)
{
	struct session_directory *directory = session_directory_new(key);
	uint64_t claim;
	uint16_t home;

	(void)state;
	session_directory_claim(directory, bytes_of("c"), 3, &home, &claim);
	session_directory_session_made(directory, bytes_of("c"), 3, 77);
	session_directory_unclaim(directory, bytes_of("c"));
	assert_int_equal(session_directory_count(directory), 1);
	session_directory_session_made(directory, bytes_of("c"), 3, 78);
	/* The old one's end comes late and names the old sid. */
	session_directory_session_gone(directory, bytes_of("c"), 77);
	session_directory_claim(directory, bytes_of("c"), 9, &home, &claim);
	assert_int_equal(home, 3);
	session_directory_unclaim(directory, bytes_of("c"));
	session_directory_session_gone(directory, bytes_of("c"), 78);
	assert_int_equal(session_directory_count(directory), 0);
	session_directory_free(&directory);
}

static void
a_handle_is_never_zero_and_never_dangles(void **state)
{
	struct session_directory *directory = session_directory_new(key);
	int one, two;
	uint64_t a = session_handle_new(directory, 65, &one);
	uint64_t b = session_handle_new(directory, 65, &two), c;
	uint16_t worker;
	void *connection;

	(void)state;
	assert_true(a != 0 && b != 0 && a != b);
	assert_true(session_handle_find(directory, a, &worker, &connection));
	assert_ptr_equal(connection, &one);
	assert_int_equal(worker, 65);
	session_handle_moved(directory, a, 2);
	assert_true(session_handle_find(directory, a, &worker, &connection));
	assert_int_equal(worker, 2);
	session_handle_free(directory, a);
	assert_false(session_handle_find(directory, a, &worker, &connection));
	c = session_handle_new(directory, 65, &one);
	assert_true(c != a);
	assert_false(session_handle_find(directory, a, &worker, &connection));
	assert_true(session_handle_find(directory, c, &worker, &connection));
	assert_false(session_handle_find(directory, 0, &worker, &connection));
	assert_false(session_handle_find(directory, UINT64_MAX, &worker, &connection));
	session_handle_moved(directory, a, 7); /* too late: nothing happens */
	session_handle_free(directory, a);
	assert_true(session_handle_find(directory, c, &worker, &connection));
	session_directory_free(&directory);
}

static void
many_client_ids_are_kept_apart(void **state)
{
	struct session_directory *directory = session_directory_new(key);
	char name[16];
	uint64_t claim;
	uint16_t home;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		session_directory_claim(
		    directory, bytes_of(name), (uint16_t)(i % 7), &home, &claim);
	}
	assert_int_equal(session_directory_count(directory), 1000);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		session_directory_claim(directory, bytes_of(name), 100, &home, &claim);
		assert_int_equal(home, i % 7);
	}
	session_directory_free(&directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_first_claim_makes_its_worker_the_home_and_later_ones_go_there),
	    cmocka_unit_test(an_entry_stays_while_it_has_a_session),
	    cmocka_unit_test(a_handle_is_never_zero_and_never_dangles),
	    cmocka_unit_test(many_client_ids_are_kept_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
