/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "transport/addr_text.h"

static void
addresses_of_all_forms_are_read(void **state)
{
	static const struct {
		const char *text;
		const char *name;
	} rows[] = {
	    {"192.0.2.1", "192.0.2.1:0"},
	    {"192.0.2.1:4711", "192.0.2.1:4711"},
	    {"192.0.2.1:0", "192.0.2.1:0"},
	    {"2001:db8::1", "[2001:db8::1]:0"},
	    {"[2001:db8::1]", "[2001:db8::1]:0"},
	    {"[2001:db8::1]:65535", "[2001:db8::1]:65535"},
	    {"::ffff:192.0.2.1", "192.0.2.1:0"},
	    {"[fe80::1%eth0]:1", "[fe80::1]:1"},
	    {"fe80::1%eth0", "[fe80::1]:0"},
	    {"unix:/run/x", "unix:/run/x"},
	    {"unix:", "unix:"},
	};
	char name[ADDR_TEXT_SIZE];
	struct addr addr;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(addr_parse(bytes_of(rows[i].text), &addr));
		(void)addr_format(&addr, name);
		assert_string_equal(name, rows[i].name);
		assert_true(addr_parse(bytes_of(name), &addr));
	}
}

static void
what_is_no_address_is_not_read(void **state)
{
	static const char *const texts[] = {"", "1", "1.2.3", "1.2.3.4.5",
	    "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:x", "192.0.2.1:+1", "192.0.2.1:01",
	    "192.0.2.1:000001", "localhost", "localhost:1", "[::1", "[::1]1", "[::1]:", "[]",
	    "[]:1", "[1.2.3.4]", "[%]", "%", ":", "::g", " 192.0.2.1", "[::1]:1:2", "unix",
	    "_hidden", "1111111111111111111111111111111111111111111111111111111111111111"};
	struct addr addr;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (addr_parse(bytes_of(texts[i]), &addr)) {
			fail_msg("%s", texts[i]);
		}
	}
	assert_false(addr_parse(BYTES_LITERAL("1.2.3.4\0"), &addr));
}

static void
long_paths_are_cut(void **state)
{
	char path[300] = "unix:", name[ADDR_TEXT_SIZE];
	struct addr addr;

	(void)state;
	memset(path + 5, 'x', sizeof(path) - 6);
	assert_true(addr_parse(bytes_of(path), &addr));
	assert_int_equal(addr_format(&addr, name), 5 + 108);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses_of_all_forms_are_read),
	    cmocka_unit_test(what_is_no_address_is_not_read),
	    cmocka_unit_test(long_paths_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
