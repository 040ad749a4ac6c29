/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "broker/machine.h"

static unsigned
count(const char *list)
{
	return broker_machine_count_list(bytes_of(list));
}

static void
a_list_of_cpus_is_counted(void **state)
{
	(void)state;
	assert_int_equal(count("0"), 1);
	assert_int_equal(count("0-3"), 4);
	assert_int_equal(count("0-3,8"), 5);
	assert_int_equal(count("1,3,5-7"), 5);
	assert_int_equal(count("0-255"), 256);
}

static void
what_is_no_list_counts_nothing(void **state)
{
	(void)state;
	assert_int_equal(count(""), 0);
	assert_int_equal(count("x"), 0);
	assert_int_equal(count("3-1"), 0);
	assert_int_equal(count("1;2"), 0);
	assert_int_equal(count("1-"), 0);
	assert_int_equal(count("99999999999999999999"), 0);
	assert_int_equal(count("0-99999999"), 0);
}

static void
a_line_is_found_by_its_key(void **state)
{
	struct bytes text = bytes_of("MemTotal:       16384 kB\nCpus_allowed:\tff\n0::/a b\n");

	(void)state;
	assert_bytes_text(broker_machine_find_line(text, "MemTotal:"), "16384 kB");
	assert_bytes_text(broker_machine_find_line(text, "Cpus_allowed:"), "ff");
	assert_bytes_text(broker_machine_find_line(text, "0::"), "/a b");
	assert_bytes_text(broker_machine_find_line(text, "Total:"), "");
	assert_bytes_text(broker_machine_find_line(bytes_of("key: end"), "key:"), "end");
}

static void
this_machine_has_cpus_and_memory(void **state)
{
	(void)state;
	assert_true(broker_machine_cpus() >= 1);
	assert_true(broker_machine_memory() > 1 << 20);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_list_of_cpus_is_counted),
	    cmocka_unit_test(what_is_no_list_counts_nothing),
	    cmocka_unit_test(a_line_is_found_by_its_key),
	    cmocka_unit_test(this_machine_has_cpus_and_memory),
	};

	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
