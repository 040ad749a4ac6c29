/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nearly all topics are printable ASCII without wildcards. Eight bytes at a time tell so; only a
 * topic with something else in it is looked at closely.
 */
#include "wire/topic_name.h"

#include "base/utf8.h"
#include "wire/packet.h"

static inline bool
word_has_byte(uint64_t word, uint8_t byte)
{
	const uint64_t ones = 0x0101010101010101;
	uint64_t x = word ^ ones * byte;

	return ((x - ones) & ~x & 0x80 * ones) != 0;
}

static inline bool
word_is_simple(uint64_t word)
{
	return utf8_word_is_printable(word) && !word_has_byte(word, '+') &&
	       !word_has_byte(word, '#');
}

/* Printable ASCII, no wildcard: certainly a valid name. False: not certain. */
static bool
is_simple_name(struct bytes name)
{
	const uint8_t *p = name.data;
	const uint8_t *end = p + name.len;

	if (name.len >= 8) {
		for (; end - p > 8; p += 8) {
			if (!word_is_simple(utf8_word_at(p))) {
				return false;
			}
		}
		return word_is_simple(utf8_word_at(end - 8)); /* overlaps the one before */
	}
	for (; p != end; p++) {
		if (*p < 0x20 || *p > 0x7e || *p == '+' || *p == '#') {
			return false;
		}
	}
	return true;
}

static enum wire_topic_fault
check_text(struct bytes topic, bool allow_control)
{
	if (topic.len == 0) {
		return WIRE_TOPIC_EMPTY;
	}
	if (topic.len > WIRE_MAX_STRING) {
		return WIRE_TOPIC_TOO_LONG;
	}
	switch (utf8_classify(topic)) {
	case UTF8_MALFORMED:
		return WIRE_TOPIC_NOT_UTF8;
	case UTF8_NUL:
		return WIRE_TOPIC_NUL;
	case UTF8_RESTRICTED:
		return allow_control ? WIRE_TOPIC_OK : WIRE_TOPIC_RESTRICTED;
	case UTF8_PLAIN:
		break;
	}
	return WIRE_TOPIC_OK;
}

bool
wire_topic_has_wildcard(struct bytes topic)
{
	return topic.len != 0 && (memchr(topic.data, '+', topic.len) != NULL ||
				     memchr(topic.data, '#', topic.len) != NULL);
}

enum wire_topic_fault
wire_topic_name_check(struct bytes name, bool allow_control)
{
	enum wire_topic_fault fault;

	if (name.len - 1 < WIRE_MAX_STRING && is_simple_name(name)) {
		return WIRE_TOPIC_OK;
	}
	fault = check_text(name, allow_control);
	if (fault == WIRE_TOPIC_OK && wire_topic_has_wildcard(name)) {
		fault = WIRE_TOPIC_WILDCARD;
	}
	return fault;
}

/* # fills the last level, + fills any. */
static enum wire_topic_fault
check_wildcards(struct bytes filter)
{
	for (size_t i = 0; i < filter.len; i++) {
		bool starts = i == 0 || filter.data[i - 1] == '/';
		bool last = i + 1 == filter.len;

		if (filter.data[i] == '#' && !(starts && last)) {
			return WIRE_TOPIC_HASH;
		}
		if (filter.data[i] == '+' && !(starts && (last || filter.data[i + 1] == '/'))) {
			return WIRE_TOPIC_PLUS;
		}
	}
	return WIRE_TOPIC_OK;
}

/* "$share" or "$share/…": meant as a shared subscription, well formed or not. */
static bool
is_share(struct bytes filter)
{
	static const struct bytes prefix = {(const uint8_t *)"$share", 6};

	return bytes_starts_with(filter, prefix) && (filter.len == 6 || filter.data[6] == '/');
}

bool
wire_topic_share_split(struct bytes filter, struct bytes *share_name_out, struct bytes *filter_out)
{
	struct bytes name;
	const uint8_t *slash;

	if (!is_share(filter) || filter.len == 6) {
		return false;
	}
	name = bytes_skip(filter, 7);
	slash = name.len != 0 ? memchr(name.data, '/', name.len) : NULL;
	if (slash == NULL) {
		return false;
	}
	*filter_out = bytes_skip(name, (size_t)(slash - name.data) + 1);
	name.len = (size_t)(slash - name.data);
	*share_name_out = name;
	return name.len != 0 && filter_out->len != 0 && !wire_topic_has_wildcard(name);
}

enum wire_topic_fault
wire_topic_filter_check(struct bytes filter, bool allow_control, bool shared)
{
	enum wire_topic_fault fault = check_text(filter, allow_control);
	struct bytes share_name, inner;

	if (fault != WIRE_TOPIC_OK) {
		return fault;
	}
	if (shared && is_share(filter)) {
		return wire_topic_share_split(filter, &share_name, &inner) ? check_wildcards(inner)
									   : WIRE_TOPIC_SHARE;
	}
	return check_wildcards(filter);
}

const char *
wire_topic_fault_text(enum wire_topic_fault fault)
{
	switch (fault) {
	case WIRE_TOPIC_OK:
		return "the topic is well formed";
	case WIRE_TOPIC_EMPTY:
		return "the topic is empty";
	case WIRE_TOPIC_TOO_LONG:
		return "the topic is longer than 65535 bytes";
	case WIRE_TOPIC_NOT_UTF8:
		return "the topic is not valid UTF-8";
	case WIRE_TOPIC_NUL:
		return "the topic contains U+0000";
	case WIRE_TOPIC_RESTRICTED:
		return "the topic contains a control character or a non-character";
	case WIRE_TOPIC_WILDCARD:
		return "the topic name contains a wildcard";
	case WIRE_TOPIC_HASH:
		return "# must stand alone in the last level of a topic filter";
	case WIRE_TOPIC_PLUS:
		return "+ must stand alone in its level of a topic filter";
	case WIRE_TOPIC_SHARE:
		return "a shared subscription must be $share/NAME/FILTER";
	}
	return "the topic is ill-formed";
}

bool
wire_topic_fault_is_malformed(enum wire_topic_fault fault)
{
	return fault == WIRE_TOPIC_NOT_UTF8 || fault == WIRE_TOPIC_NUL ||
	       fault == WIRE_TOPIC_RESTRICTED;
}

bool
wire_topic_next_level(struct wire_topic_levels *levels, struct bytes *level_out)
{
	const uint8_t *slash;

	if (!levels->more) {
		return false;
	}
	slash = levels->rest.len != 0 ? memchr(levels->rest.data, '/', levels->rest.len) : NULL;
	*level_out = levels->rest;
	levels->more = slash != NULL;
	if (slash != NULL) {
		level_out->len = (size_t)(slash - levels->rest.data);
		levels->rest = bytes_skip(levels->rest, level_out->len + 1);
	}
	return true;
}

static inline size_t
slashes_of_word(uint64_t word)
{
	const uint64_t ones = 0x0101010101010101;
	uint64_t x = word ^ ones * '/';
	/* The high bit of each byte that is 0: nothing is carried from one byte into the next. */
	uint64_t zeros = ~(((x & 0x7f * ones) + 0x7f * ones) | x | 0x7f * ones);

	return (size_t)((zeros >> 7) * ones >> 56);
}

size_t
wire_topic_level_count(struct bytes topic)
{
	const uint8_t *p = topic.data;
	const uint8_t *end = p + topic.len;
	size_t count = 1;

	for (; end - p >= 8; p += 8) {
		count += slashes_of_word(utf8_word_at(p));
	}
	for (; p != end; p++) {
		count += *p == '/';
	}
	return count;
}

static bool
is_wildcard(struct bytes level, char wildcard)
{
	return level.len == 1 && level.data[0] == wildcard;
}

bool
wire_topic_matches(struct bytes filter, struct bytes name)
{
	struct wire_topic_levels wanted = wire_topic_levels_of(filter);
	struct wire_topic_levels given = wire_topic_levels_of(name);
	struct bytes want, have;

	if (name.len != 0 && name.data[0] == '$' && filter.len != 0 &&
	    (filter.data[0] == '+' || filter.data[0] == '#')) {
		return false;
	}
	while (wire_topic_next_level(&wanted, &want)) {
		if (is_wildcard(want, '#')) {
			return true; /* also of the parent level */
		}
		if (!wire_topic_next_level(&given, &have) ||
		    (!is_wildcard(want, '+') && !bytes_equal(want, have))) {
			return false;
		}
	}
	return !given.more;
}
