/* SPDX-License-Identifier: Apache-2.0 */
/* From the topics of one side to those of the other. */
#include "lib/unit.h"

#include <string.h>

#include "../../../plugins/bridge/bridge.h"
#include "wire/topic_name.h"

static char room[BRIDGE_MAX_TOPIC];

static avocet_link_map
map_of(const char *topic)
{
	return (avocet_link_map){AVOCET_SIZED(avocet_link_map), .qos = 2, .retain = 1,
	    .topic = avocet_str_of(topic), .room = room, .room_size = sizeof(room)};
}

static struct bridge_rule
rule(enum bridge_direction direction, const char *local_prefix, const char *remote_prefix,
    const char *filter)
{
	static char texts[8][2][256];
	static int next;
	int at = next++ % 8;

	(void)snprintf(texts[at][0], sizeof(texts[at][0]), "%s%s", local_prefix, filter);
	(void)snprintf(texts[at][1], sizeof(texts[at][1]), "%s%s", remote_prefix, filter);
	return (struct bridge_rule){.direction = direction,
	    .qos = 1,
	    .local = texts[at][0],
	    .remote = texts[at][1],
	    .local_prefix = (char *)(uintptr_t)local_prefix,
	    .remote_prefix = (char *)(uintptr_t)remote_prefix,
	    .local_prefix_len = strlen(local_prefix),
	    .remote_prefix_len = strlen(remote_prefix)};
}

/* "" where it is dropped. */
static const char *
out(const struct bridge_config *config, const char *topic)
{
	static char text[256];
	avocet_link_map map = map_of(topic);

	if (bridge_map_out(config, &map) != AVOCET_PASS) {
		return "";
	}
	(void)snprintf(text, sizeof(text), "%.*s", (int)map.topic.n, map.topic.p);
	return text;
}

static const char *
in(const struct bridge_config *config, const char *topic)
{
	static char text[256];
	avocet_link_map map = map_of(topic);

	if (bridge_map_in(config, &map) != AVOCET_PASS) {
		return "";
	}
	(void)snprintf(text, sizeof(text), "%.*s %u%s", (int)map.topic.n, map.topic.p, map.qos,
	    map.retain != 0 ? " retained" : "");
	return text;
}

static void
prefixes_are_exchanged(void **state)
{
	struct bridge_rule rules[] = {rule(BRIDGE_OUT, "here/", "there/", "#"),
	    rule(BRIDGE_IN, "", "far/", "x/+"), rule(BRIDGE_BOTH, "one", "other", ""),
	    rule(BRIDGE_BOTH, "long/prefix/", "", "#")};
	struct bridge_config config = {.rules = rules, .n_rules = 4};

	(void)state;
	assert_string_equal(out(&config, "here/a/b"), "there/a/b");
	assert_string_equal(out(&config, "there/a/b"), "");
	assert_string_equal(out(&config, "one"), "other");
	assert_string_equal(out(&config, "one/more"), "");
	assert_string_equal(out(&config, "long/prefix/a"), "a");
	assert_string_equal(in(&config, "far/x/1"), "x/1 1 retained");
	assert_string_equal(in(&config, "far/x/1/2"), "long/prefix/far/x/1/2 1 retained");
	assert_string_equal(in(&config, "other"), "one 1 retained");
}

static void
the_first_that_matches_decides(void **state)
{
	struct bridge_rule rules[] = {
	    rule(BRIDGE_OUT, "", "a/", "t/1"), rule(BRIDGE_OUT, "", "b/", "t/#")};
	struct bridge_config config = {.rules = rules, .n_rules = 2};

	(void)state;
	rules[1].clears_retain = true;
	assert_string_equal(out(&config, "t/1"), "a/t/1");
	assert_string_equal(out(&config, "t/2"), "b/t/2");
	assert_string_equal(out(&config, "t"), "b/t");
}

static void
what_cannot_be_said_is_dropped(void **state)
{
	static char topic[BRIDGE_MAX_TOPIC + 1];
	struct bridge_rule rules[] = {
	    rule(BRIDGE_OUT, "x/", "", "#"), rule(BRIDGE_OUT, "", "long/", "t/#")};
	struct bridge_config config = {.rules = rules, .n_rules = 2, .max_age_s = 10};
	avocet_link_map map = map_of("x");

	(void)state;
	assert_int_equal(
	    bridge_map_out(&config, &map), AVOCET_DROP); /* matches x/#, has no prefix */
	assert_string_equal(out(&config, "x/"), "");     /* nothing would be left */
	memset(topic, 'a', BRIDGE_MAX_TOPIC);
	memcpy(topic, "t/", 2);
	map = map_of(topic);
	assert_int_equal(bridge_map_out(&config, &map), AVOCET_DROP);
	map = map_of("t/a");
	map.age_s = 10;
	assert_int_equal(bridge_map_out(&config, &map), AVOCET_PASS);
	map = map_of("t/a");
	map.age_s = 11;
	assert_int_equal(bridge_map_out(&config, &map), AVOCET_DROP);
}

/* All short filters against all short topics: the same answer as the broker gives. */
static void
filters_mean_what_they_mean_to_the_broker(void **state)
{
	static const char letters[] = "a/+#$";
	size_t matched = 0, compared = 0;

	(void)state;
	for (unsigned f = 0; f < 5 * 5 * 5 * 5 * 5; f++) {
		for (size_t f_len = 1; f_len <= 5; f_len++) {
			char filter[6] = "";
			unsigned rest = f;

			for (size_t i = 0; i < f_len; i++, rest /= 5) {
				filter[i] = letters[rest % 5];
			}
			if (rest != 0 || wire_topic_filter_check(bytes_of(filter), true, false) !=
					     WIRE_TOPIC_OK) {
				continue;
			}
			for (unsigned t = 0; t < 3 * 3 * 3 * 3; t++) {
				char topic[5] = "";
				unsigned left = t;
				bool is_so;

				for (size_t i = 0; i < 4; i++, left /= 3) {
					topic[i] = "a/$"[left % 3];
				}
				is_so = wire_topic_matches(bytes_of(filter), bytes_of(topic));
				assert_int_equal(bridge_matches(filter, topic, 4), is_so);
				matched += is_so;
				compared++;
			}
		}
	}
	assert_true(matched > 300 && compared > 2 * matched);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(prefixes_are_exchanged),
	    cmocka_unit_test(the_first_that_matches_decides),
	    cmocka_unit_test(what_cannot_be_said_is_dropped),
	    cmocka_unit_test(filters_mean_what_they_mean_to_the_broker),
	};

	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
