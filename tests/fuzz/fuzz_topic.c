/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: a filter, a newline, a name. The checks agree with slow ones that are written another
 * way, and matching agrees with a recursive matcher.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "wire/topic_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

static bool
is_text(struct bytes topic)
{
	return topic.len != 0 && topic.len <= 65535 && utf8_classify(topic) == UTF8_PLAIN &&
	       utf8_fault_at(topic) == topic.len;
}

static bool
slow_name_is_good(struct bytes name)
{
	for (size_t i = 0; i < name.len; i++) {
		if (name.data[i] == '+' || name.data[i] == '#') {
			return false;
		}
	}
	return is_text(name);
}

static bool
slow_level_is_good(struct bytes level, bool last)
{
	for (size_t i = 0; i < level.len; i++) {
		bool alone = level.len == 1;

		if ((level.data[i] == '+' && !alone) ||
		    (level.data[i] == '#' && !(alone && last))) {
			return false;
		}
	}
	return true;
}

static bool
slow_filter_is_good(struct bytes filter)
{
	size_t start = 0;

	for (size_t i = 0; i <= filter.len; i++) {
		if (i == filter.len || filter.data[i] == '/') {
			if (!slow_level_is_good(
				bytes_make(filter.data + start, i - start), i == filter.len)) {
				return false;
			}
			start = i + 1;
		}
	}
	return is_text(filter);
}

/* The length of the first level. */
static size_t
level_len(const uint8_t *topic, size_t len)
{
	size_t i = 0;

	while (i < len && topic[i] != '/') {
		i++;
	}
	return i;
}

static bool
slow_match(const uint8_t *filter, size_t filter_len, const uint8_t *name, size_t name_len)
{
	size_t f = level_len(filter, filter_len), n = level_len(name, name_len);
	bool filter_ends = f == filter_len, name_ends = n == name_len;

	if (f == 1 && *filter == '#') {
		return true;
	}
	if (!(f == 1 && *filter == '+') && !(f == n && memcmp(filter, name, f) == 0)) {
		return false;
	}
	if (name_ends) {
		return filter_ends || (filter_len == f + 2 && filter[f + 1] == '#');
	}
	return !filter_ends &&
	       slow_match(filter + f + 1, filter_len - f - 1, name + n + 1, name_len - n - 1);
}

static void
check_filter(struct bytes filter)
{
	struct bytes share_name, inner;
	bool plain = wire_topic_filter_check(filter, false, false) == WIRE_TOPIC_OK;
	bool shared = wire_topic_filter_check(filter, false, true) == WIRE_TOPIC_OK;

	require(plain == slow_filter_is_good(filter));
	require(wire_topic_fault_text(wire_topic_filter_check(filter, false, true)) != NULL);
	if (wire_topic_share_split(filter, &share_name, &inner)) {
		require(share_name.len != 0 && inner.len != 0);
		require(share_name.len + inner.len + 8 == filter.len);
		require(shared == (is_text(filter) && slow_filter_is_good(inner)));
	} else if (shared) {
		require(plain);
	}
}

static void
check_match(struct bytes filter, struct bytes name)
{
	bool hidden = *name.data == '$' && (*filter.data == '+' || *filter.data == '#');

	require(wire_topic_matches(filter, name) ==
		(!hidden && slow_match(filter.data, filter.len, name.data, name.len)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = size != 0 ? memchr(data, '\n', size) : NULL;
	struct bytes filter, name;
	bool name_is_good;

	if (newline == NULL) {
		return 0;
	}
	filter = bytes_make(data, (size_t)(newline - data));
	name = bytes_make(newline + 1, size - filter.len - 1);
	name_is_good = wire_topic_name_check(name, false) == WIRE_TOPIC_OK;
	require(name_is_good == slow_name_is_good(name));
	check_filter(filter);
	if (name_is_good && wire_topic_filter_check(filter, false, false) == WIRE_TOPIC_OK) {
		check_match(filter, name);
		require(wire_topic_level_count(name) >= 1);
	}
	return 0;
}
