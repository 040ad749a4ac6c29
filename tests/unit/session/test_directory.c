/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "msg/client.h"
#include "session/directory.h"

static const struct hash_key key = {3, 4};

static uint16_t
claim(struct session_directory *directory, const char *client_id, uint16_t own, uint64_t *claim_out)
{
	struct msg_client *client =
	    msg_client_new(&(struct msg_client_parts){.client_id = bytes_of(client_id)});
	uint16_t home;

	session_directory_claim(directory, client, own, &home, claim_out);
	msg_client_unref(&client);
	return home;
}

static void
make(struct session_directory *directory, const char *client_id, uint16_t home, uint64_t sid,
    uint32_t slot)
{
	struct msg_client *client =
	    msg_client_new(&(struct msg_client_parts){.client_id = bytes_of(client_id)});

	session_directory_session_made(directory, client, home, sid, slot);
	msg_client_unref(&client);
}

static void
the_first_claim_makes_its_worker_the_home_and_later_ones_go_there(void **state)
{
	struct session_directory *directory = session_directory_new(key);
	uint64_t first, second;

	(void)state;
	assert_int_equal(claim(directory, "c", 3, &first), 3);
	assert_int_equal(claim(directory, "c", 5, &second), 3);
	assert_true(second > first);
	assert_int_equal(session_directory_count(directory), 1);
	session_directory_unclaim(directory, bytes_of("c"));
	session_directory_unclaim(directory, bytes_of("c"));
	assert_int_equal(session_directory_count(directory), 0);
	assert_int_equal(claim(directory, "c", 5, &first), 5);
	assert_true(first > second);
	session_directory_unclaim(directory, bytes_of("c"));
	session_directory_free(&directory);
}

static void
an_entry_stays_while_it_has_a_session(void **state)
{
	struct session_directory *directory = session_directory_new(key);
	uint64_t number;

	(void)state;
	(void)claim(directory, "c", 3, &number);
	make(directory, "c", 3, 77, 1);
	session_directory_unclaim(directory, bytes_of("c"));
	assert_int_equal(session_directory_count(directory), 1);
	make(directory, "c", 3, 78, 2);
	/* The old one's end comes late and names the old sid. */
	session_directory_session_gone(directory, bytes_of("c"), 77);
	assert_int_equal(claim(directory, "c", 9, &number), 3);
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
a_session_is_found_by_its_home_until_it_has_gone(void **state)
{
	struct session_directory *directory = session_directory_new(key);
	uint64_t number, sid = 0;
	uint32_t slot = 0;

	(void)state;
	assert_false(session_directory_find(directory, bytes_of("c"), 3, &sid, &slot));
	(void)claim(directory, "c", 3, &number);
	assert_false(session_directory_find(directory, bytes_of("c"), 3, &sid, &slot));
	make(directory, "c", 3, 77, 5);
	assert_true(session_directory_find(directory, bytes_of("c"), 3, &sid, &slot));
	assert_int_equal(sid, 77);
	assert_int_equal(slot, 5);
	assert_false(session_directory_find(directory, bytes_of("c"), 2, &sid, &slot));
	assert_false(session_directory_find(directory, bytes_of("d"), 3, &sid, &slot));
	session_directory_session_gone(directory, bytes_of("c"), 77);
	assert_false(session_directory_find(directory, bytes_of("c"), 3, &sid, &slot));
	session_directory_free(&directory);
}

static const char *
name_of(int i)
{
	static char name[16];

	snprintf(name, sizeof(name), "c%d", i);
	return name;
}

static void
many_client_ids_are_kept_apart(void **state)
{
	struct session_directory *directory = session_directory_new(key);
	uint64_t number;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		(void)claim(directory, name_of(i), (uint16_t)(i % 7), &number);
	}
	assert_int_equal(session_directory_count(directory), 1000);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(claim(directory, name_of(i), 100, &number), i % 7);
	}
	session_directory_free(&directory);
}

static void
those_that_go_leave_the_others_where_they_are_found(void **state)
{
	enum { COUNT = 5000 };
	struct session_directory *directory = session_directory_new(key);
	uint64_t sid;
	uint32_t slot;

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		make(directory, name_of(i), 1, (uint64_t)i + 1, (uint32_t)i);
	}
	/* Every third goes, then every other one of the rest; some come again. */
	for (int step = 3; step >= 2; step--) {
		for (int i = 0; i < COUNT; i += step) {
			session_directory_session_gone(
			    directory, bytes_of(name_of(i)), (uint64_t)i + 1);
		}
		for (int i = 0; i < COUNT; i++) {
			bool gone = i % 3 == 0 || (step == 2 && i % 2 == 0);

			assert_int_equal(
			    session_directory_find(directory, bytes_of(name_of(i)), 1, &sid, &slot),
			    !gone);
			assert_true(gone || (sid == (uint64_t)i + 1 && slot == (uint32_t)i));
		}
	}
	assert_int_equal(session_directory_count(directory), 1667);
	make(directory, name_of(0), 2, 9, 0);
	assert_true(session_directory_find(directory, bytes_of(name_of(0)), 2, &sid, &slot));
	assert_int_equal(session_directory_count(directory), 1668);
	session_directory_free(&directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_first_claim_makes_its_worker_the_home_and_later_ones_go_there),
	    cmocka_unit_test(an_entry_stays_while_it_has_a_session),
	    cmocka_unit_test(a_handle_is_never_zero_and_never_dangles),
	    cmocka_unit_test(a_session_is_found_by_its_home_until_it_has_gone),
	    cmocka_unit_test(many_client_ids_are_kept_apart),
	    cmocka_unit_test(those_that_go_leave_the_others_where_they_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
