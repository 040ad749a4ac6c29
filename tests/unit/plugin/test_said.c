/* SPDX-License-Identifier: Apache-2.0 */
/* What members of a chain say one after the other. */
#include "lib/unit.h"
#include "plugin/said.h"

static struct plugin_said *
said_of(const char *user, const char *attr, int64_t expires_ms, uint32_t limit)
{
	struct plugin_said *said = plugin_said_new();

	buf_append_text(&said->username, user);
	buf_append_text(&said->attrs, attr);
	buf_append_text(&said->data, user);
	said->expires_ms = expires_ms;
	said->max_receive = limit;
	return said;
}

static void
the_last_name_rules_and_attributes_are_kept(void **state)
{
	struct plugin_said *all = NULL, *one = said_of("first", "a", 0, 0);
	struct plugin_said *two = said_of("second", "b", 0, 0), *three = said_of("", "", 0, 0);

	(void)state;
	plugin_said_add(&all, NULL);
	assert_null(all);
	plugin_said_add(&all, one);
	plugin_said_add(&all, two);
	plugin_said_add(&all, three);
	assert_bytes_text(buf_bytes(&all->username), "second");
	assert_bytes_text(buf_bytes(&all->attrs), "ab");
	assert_int_equal(all->data.len, 0);
	plugin_said_free(&all);
	plugin_said_free(&one);
	plugin_said_free(&two);
	plugin_said_free(&three);
	plugin_said_free(&three);
}

static void
the_strictest_limit_rules(void **state)
{
	static const struct {
		int64_t expires_ms, expires_then;
		uint32_t limit, limit_then;
	} steps[] = {{0, 0, 0, 0}, {500, 500, 9, 9}, {0, 500, 0, 9}, {700, 500, 12, 9},
	    {300, 300, 2, 2}, {0, 300, 0, 2}};
	struct plugin_said *all = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct plugin_said *one = said_of("", "", steps[i].expires_ms, steps[i].limit);

		plugin_said_add(&all, one);
		assert_int_equal(all->expires_ms, steps[i].expires_then);
		assert_int_equal(all->max_receive, steps[i].limit_then);
		plugin_said_free(&one);
	}
	plugin_said_free(&all);
}

static void
who_said_nothing_said_nothing(void **state)
{
	(void)state;
	assert_int_equal(plugin_said_or_none(NULL)->username.len, 0);
	assert_int_equal(plugin_said_or_none(NULL)->expires_ms, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_last_name_rules_and_attributes_are_kept),
	    cmocka_unit_test(the_strictest_limit_rules),
	    cmocka_unit_test(who_said_nothing_said_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
