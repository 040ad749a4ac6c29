/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include "base/utf8.h"

enum { STR_NEAREST_MAX = 64 }; /* longer words are not compared */

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

/* The length of the well-formed character at the front, 0 when there is none. */
static size_t
character_len(struct bytes text)
{
	for (size_t len = 1; len <= 4 && len <= text.len; len++) {
		if (utf8_classify((struct bytes){text.data, len}) != UTF8_MALFORMED) {
			return len;
		}
	}
	return 0;
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
		size_t len = character_len(text);
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
		size_t len = character_len(text);

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

/* Optimal string alignment by rows: row[i + 1][j + 1] is the distance of the first i + 1 and j + 1
 * bytes. */
size_t
str_distance(struct bytes a, struct bytes b, size_t limit)
{
	size_t rows[3][STR_NEAREST_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *now = rows[2];

	if (a.len > STR_NEAREST_MAX || b.len > STR_NEAREST_MAX) {
		return limit + 1;
	}
	for (size_t j = 0; j <= b.len; j++) {
		last[j] = j;
	}
	for (size_t i = 0; i < a.len; i++) {
		size_t *spare = before;

		now[0] = i + 1;
		for (size_t j = 0; j < b.len; j++) {
			bool same = a.data[i] == b.data[j];

			now[j + 1] = min3(now[j] + 1, last[j + 1] + 1, last[j] + !same);
			if (i != 0 && j != 0 && a.data[i] == b.data[j - 1] &&
			    a.data[i - 1] == b.data[j] && before[j - 1] + 1 < now[j + 1]) {
				now[j + 1] = before[j - 1] + 1;
			}
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[b.len] <= limit ? last[b.len] : limit + 1;
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
