/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/value.h"

#include "base/str.h"
#include "base/utf8.h"

struct unit {
	const char *name;
	int64_t factor;
};

/* Largest first. */
static const struct unit size_units[] = {
    {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {NULL, 0}};
static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};

const char *
conf_value_bool(struct bytes text, bool *value_out)
{
	static const struct conf_word words[] = {
	    {"true", 1}, {"yes", 1}, {"on", 1}, {"false", 0}, {"no", 0}, {"off", 0}, {NULL, 0}};
	int64_t value;

	if (!conf_value_word(text, words, &value)) {
		return "must be true or false";
	}
	*value_out = value != 0;
	return NULL;
}

const char *
conf_value_int(struct bytes text, int64_t *value_out)
{
	return str_to_i64(text, value_out) ? NULL : "must be a whole number";
}

/* Takes digits and a unit off the front and adds them to *sum; false when there are none or the sum
 * overflows. */
static bool
add_quantity(struct bytes *text, const struct unit *units, int64_t *sum)
{
	struct bytes digits = *text, name;
	int64_t number;

	for (digits.len = 0; digits.len < text->len && text->data[digits.len] >= '0' &&
			     text->data[digits.len] <= '9';) {
		digits.len++;
	}
	*text = bytes_skip(*text, digits.len);
	while (text->len != 0 && *text->data == ' ') {
		*text = bytes_skip(*text, 1);
	}
	for (name = *text, name.len = 0; name.len < text->len &&
					 (text->data[name.len] | 0x20) >= 'a' &&
					 (text->data[name.len] | 0x20) <= 'z';) {
		name.len++;
	}
	while (units->name != NULL && !bytes_equal_text(name, units->name)) {
		units++;
	}
	*text = bytes_skip(*text, name.len);
	return units->name != NULL && str_to_i64(digits, &number) &&
	       !__builtin_mul_overflow(number, units->factor, &number) &&
	       !__builtin_add_overflow(*sum, number, sum);
}

const char *
conf_value_size(struct bytes text, int64_t *value_out)
{
	int64_t bytes = 0;

	if (str_to_i64(text, value_out)) {
		return NULL;
	}
	if (!add_quantity(&text, size_units, &bytes) || text.len != 0) {
		return "must be a size: a number of bytes, or with KiB, MiB or GiB";
	}
	*value_out = bytes;
	return NULL;
}

const char *
conf_value_duration(struct bytes text, int64_t *value_out)
{
	int64_t ms = 0;

	if (bytes_equal_text(text, "0")) {
		*value_out = 0;
		return NULL;
	}
	do {
		if (!add_quantity(&text, duration_units, &ms)) {
			return "must be a duration: a number with ms, s, m, h or d";
		}
	} while (text.len != 0);
	*value_out = ms;
	return NULL;
}

bool
conf_value_word(struct bytes text, const struct conf_word *words, int64_t *value_out)
{
	for (; words != NULL && words->word != NULL; words++) {
		if (bytes_equal_text(text, words->word)) {
			*value_out = words->value;
			return true;
		}
	}
	return false;
}

static void
format_units(struct buf *out, const struct unit *units, int64_t value)
{
	while (value % units->factor != 0) {
		units++;
	}
	buf_printf(out, "%lld%s", (long long)(value / units->factor), units->name);
}

void
conf_value_format(struct buf *out, const struct conf_option *option, int64_t value)
{
	for (const struct conf_word *word = option->words; word != NULL && word->word != NULL;
	     word++) {
		if (word->value == value) {
			conf_value_quote(out, bytes_of(word->word));
			return;
		}
	}
	if (option->type == CONF_SIZE && value >= size_units[2].factor) {
		format_units(out, size_units, value);
	} else if (option->type == CONF_DURATION && value > 0) {
		format_units(out, duration_units, value);
	} else {
		buf_printf(out, "%lld", (long long)value);
	}
}

/* Nothing in it that YAML gives a meaning, and not empty. */
static bool
is_plain(struct bytes text)
{
	static const char safe[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.-";

	for (size_t i = 0; i < text.len; i++) {
		if (memchr(safe, text.data[i], sizeof(safe) - 1) == NULL) {
			return false;
		}
	}
	return text.len != 0 && *text.data != '-' && *text.data != '.' &&
	       !bytes_equal_text(text, "null");
}

void
conf_value_quote(struct buf *out, struct bytes text)
{
	if (is_plain(text)) {
		buf_append_bytes(out, text);
		return;
	}
	buf_append_byte(out, '"');
	str_escape(out, text, true);
	buf_append_byte(out, '"');
}
