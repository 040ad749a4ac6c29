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

static bool
is_letter(uint8_t c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
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

static bool
is_alphanumeric(uint8_t c)
{
	return (c >= '0' && c <= '9') || is_letter(c);
}

/* Nothing in it that YAML gives a meaning: letters and digits, and within these _ / . - */
static bool
is_plain(struct bytes text)
{
	bool has_word = false;

	for (size_t i = 0; i < text.len; i++) {
		bool word = is_alphanumeric(text.data[i]);

		if (!word && memchr("_/.-", text.data[i], 4) == NULL) {
			return false;
		}
		has_word = has_word || word;
	}
	return has_word && !bytes_equal_text(text, "null");
}

/* Characters that show, and mean themselves between double quotes. */
static bool
is_visible(uint32_t code, struct bytes one)
{
	return utf8_classify(one) == UTF8_PLAIN && code != '"' && code != '\\' && code != 0xfeff &&
	       code != 0x2028 && code != 0x2029;
}

void
conf_value_quote(struct buf *out, struct bytes text)
{
	if (is_plain(text)) {
		buf_append_bytes(out, text);
	} else {
		conf_value_quote_always(out, text);
	}
}

void
conf_value_quote_always(struct buf *out, struct bytes text)
{
	buf_append_byte(out, '"');
	while (text.len != 0) {
		uint32_t code = 0xfffd; /* what stands for a malformed byte */
		size_t len = utf8_next(text, &code);

		if (len == 0) {
			len = 1;
			buf_append_text(out, "\\ufffd");
		} else if (is_visible(code, bytes_make(text.data, len))) {
			buf_append(out, text.data, len);
		} else if (code == '\n' || code == '\t') {
			buf_append_text(out, code == '\n' ? "\\n" : "\\t");
		} else if (code == '"' || code == '\\') {
			buf_printf(out, "\\%c", (int)code);
		} else {
			buf_printf(out, code > 0xffff ? "\\U%08x" : "\\u%04x", code);
		}
		text = bytes_skip(text, len);
	}
	buf_append_byte(out, '"');
}
