/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "peer/alias.h"

static void
an_alias_means_the_topic_that_was_set_last(void **state)
{
	struct peer_aliases *aliases = peer_aliases_new(3, 0);

	(void)state;
	assert_int_equal(peer_alias_max_in(aliases), 3);
	assert_int_equal(peer_alias_get(aliases, 1).len, 0);
	peer_alias_set(aliases, 1, bytes_of("a/b"));
	peer_alias_set(aliases, 3, bytes_of("c"));
	assert_bytes_text(peer_alias_get(aliases, 1), "a/b");
	assert_bytes_text(peer_alias_get(aliases, 3), "c");
	assert_int_equal(peer_alias_get(aliases, 2).len, 0);
	peer_alias_set(aliases, 1, bytes_of("xyz"));
	assert_bytes_text(peer_alias_get(aliases, 1), "xyz");
	peer_alias_set(aliases, 1, bytes_of("longer than before"));
	assert_bytes_text(peer_alias_get(aliases, 1), "longer than before");
	assert_int_equal(peer_alias_get(aliases, 4).len, 0);
	peer_aliases_free(&aliases);
	assert_null(aliases);
}

static void
without_a_maximum_no_alias_is_given(void **state)
{
	struct peer_aliases *aliases = peer_aliases_new(0, 0);
	bool known = true;

	(void)state;
	assert_int_equal(peer_alias_for(aliases, bytes_of("a"), &known), 0);
	assert_false(known);
	peer_aliases_free(&aliases);
}

static void
a_topic_gets_one_alias_and_keeps_it(void **state)
{
	enum { COUNT = 500 };
	struct peer_aliases *aliases = peer_aliases_new(0, COUNT);
	char topic[32];
	bool known;

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < COUNT; i++) {
			size_t len =
			    (size_t)snprintf(topic, sizeof(topic), "house/%u/temperature", i);

			assert_int_equal(
			    peer_alias_for(aliases, bytes_make(topic, len), &known), i + 1);
			assert_int_equal(known, round == 1);
		}
	}
	assert_int_equal(peer_alias_for(aliases, bytes_of("one too many"), &known), 0);
	assert_false(known);
	peer_aliases_free(&aliases);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_alias_means_the_topic_that_was_set_last),
	    cmocka_unit_test(without_a_maximum_no_alias_is_given),
	    cmocka_unit_test(a_topic_gets_one_alias_and_keeps_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
