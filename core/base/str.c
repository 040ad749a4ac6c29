/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include "base/mem.h"
#include "base/utf8.h"

bool
str_to_i64(struct bytes text, int64_t *value_out)
{
	bool negative = text.len != 0 && text.data[0] == '-';
	struct bytes digits = negative ? bytes_skip(text, 1) : text;
	int64_t value = 0;

	if (digits.len == 0) {
		return false;
	}
	for (size_t i = 0; i < digits.len; i++) {
		int digit = digits.data[i] - '0';

		if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_sub_overflow(value, digit, &value)) {
			return false;
		}
	}
	/* Summed up as a negative number, whose range is the larger one. */
	if (!negative && value == INT64_MIN) {
		return false;
	}
	*value_out = negative ? value : -value;
	return true;
}

static void
escape_byte(struct buf *out, uint8_t byte)
{
	switch (byte) {
	case '\n':
		buf_append_text(out, "\\n");
		break;
	case '\r':
		buf_append_text(out, "\\r");
		break;
	case '\t':
		buf_append_text(out, "\\t");
		break;
	case '"':
	case '\\':
		buf_append_byte(out, '\\');
		buf_append_byte(out, byte);
		break;
	default:
		buf_printf(out, "\\x%02x", byte);
		break;
	}
}

void
str_escape(struct buf *out, struct bytes text, bool quoted)
{
	while (text.len != 0) {
		uint32_t code;
		size_t len = utf8_next(text, &code);
		struct bytes one = {text.data, len};

		if (len == 0 || utf8_classify(one) != UTF8_PLAIN ||
		    (quoted && (*one.data == '"' || *one.data == '\\'))) {
			len = len != 0 ? len : 1;
			for (size_t i = 0; i < len; i++) {
				escape_byte(out, text.data[i]);
			}
		} else {
			buf_append_bytes(out, one);
		}
		text = bytes_skip(text, len);
	}
}

void
str_escape_json(struct buf *out, struct bytes text)
{
	while (text.len != 0) {
		uint32_t code;
		size_t len = utf8_next(text, &code);

		if (len == 0) {
			buf_append_text(out, "\xef\xbf\xbd");
			len = 1;
		} else if (*text.data == '"' || *text.data == '\\') {
			buf_append_byte(out, '\\');
			buf_append_byte(out, *text.data);
		} else if (*text.data < 0x20 || *text.data == 0x7f) {
			buf_printf(out, "\\u%04x", *text.data);
		} else {
			buf_append(out, text.data, len);
		}
		text = bytes_skip(text, len);
	}
}

static size_t
min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Fills the row of the first i + 1 bytes of a from the two rows before it. */
static void
fill_row(
    struct bytes a, struct bytes b, size_t i, const size_t *before, const size_t *last, size_t *now)
{
	now[0] = i + 1;
	for (size_t j = 0; j < b.len; j++) {
		bool swapped =
		    i != 0 && j != 0 && a.data[i] == b.data[j - 1] && a.data[i - 1] == b.data[j];

		now[j + 1] = min3(now[j] + 1, last[j + 1] + 1, last[j] + (a.data[i] != b.data[j]));
		if (swapped && before[j - 1] + 1 < now[j + 1]) {
			now[j + 1] = before[j - 1] + 1;
		}
	}
}

/* Optimal string alignment by rows: entry j of row i is the distance of the first i and j bytes. */
static size_t
align(struct bytes a, struct bytes b)
{
	size_t *memory = mem_alloc(3 * (b.len + 1) * sizeof(*memory));
	size_t *before = memory, *last = before + b.len + 1, *now = last + b.len + 1;
	size_t distance;

	for (size_t j = 0; j <= b.len; j++) {
		last[j] = j;
	}
	for (size_t i = 0; i < a.len; i++) {
		size_t *spare = before;

		fill_row(a, b, i, before, last, now);
		before = last;
		last = now;
		now = spare;
	}
	distance = last[b.len];
	mem_free(&memory);
	return distance;
}

size_t
str_distance(struct bytes a, struct bytes b, size_t limit)
{
	size_t longer = a.len > b.len ? a.len - b.len : b.len - a.len;
	size_t distance = longer > limit ? longer : align(a, b);

	return distance > limit ? limit + 1 : distance;
}

const char *
str_nearest(struct bytes text, const char *const *words)
{
	size_t best = text.len < 4 ? 1 : text.len < 8 ? 2 : 3; /* further away is another word */
	const char *nearest = NULL;

	for (; *words != NULL; words++) {
		size_t distance = str_distance(text, bytes_of(*words), best);

		if (distance < best || (distance == best && nearest == NULL)) {
			best = distance;
			nearest = *words;
		}
	}
	return nearest;
}

size_t
str_match_words(const char *words, const char *const *given, size_t count)
{
	size_t used = 0;

	while (*words != '\0') {
		size_t len = strcspn(words, " ");

		if (used == count || strlen(given[used]) != len ||
		    strncmp(given[used], words, len) != 0) {
			return 0;
		}
		used++;
		words += len;
		words += *words == ' ';
	}
	return used;
}
