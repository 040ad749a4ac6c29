/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Table 3-7 of the Unicode standard: the second byte's range depends on the first, which excludes
 * overlong forms, surrogates and what lies above U+10FFFF; all later bytes are 80..BF.
 */
#include "base/utf8.h"

static enum utf8_class
classify_ascii(uint8_t c)
{
	if (c == 0) {
		return UTF8_NUL;
	}
	return c < 0x20 || c == 0x7f ? UTF8_RESTRICTED : UTF8_PLAIN;
}

static enum utf8_class
classify_code_point(uint32_t c)
{
	bool is_control = c <= 0x9f;
	bool is_nonchar = (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;

	return is_control || is_nonchar ? UTF8_RESTRICTED : UTF8_PLAIN;
}

/* One sequence of two to four bytes at p; its length, or 0 when malformed. */
static size_t
decode_sequence(const uint8_t *p, size_t left, uint32_t *code_out)
{
	uint8_t first = p[0];
	uint8_t low = 0x80, high = 0xbf; /* the range of the second byte */
	size_t len = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	uint32_t code = first & (0x7fu >> len);

	if (first < 0xc2 || first > 0xf4 || left < len) {
		return 0;
	}
	switch (first) {
	case 0xe0:
		low = 0xa0;
		break;
	case 0xed:
		high = 0x9f;
		break;
	case 0xf0:
		low = 0x90;
		break;
	case 0xf4:
		high = 0x8f;
		break;
	default:
		break;
	}
	if (p[1] < low || p[1] > high) {
		return 0;
	}
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80) {
			return 0;
		}
		code = code << 6 | (p[i] & 0x3fu);
	}
	*code_out = code;
	return len;
}

/* The class of the character at p, which is not the end, and its length; the length of a malformed
 * one is 0. */
static inline enum utf8_class
classify_next(const uint8_t *p, size_t left, size_t *len_out)
{
	uint32_t code;

	*len_out = 1;
	if (*p < 0x80) {
		return classify_ascii(*p);
	}
	*len_out = decode_sequence(p, left, &code);
	return *len_out != 0 ? classify_code_point(code) : UTF8_MALFORMED;
}

size_t
utf8_next(struct bytes text, uint32_t *code_out)
{
	if (*text.data < 0x80) {
		*code_out = *text.data;
		return 1;
	}
	return decode_sequence(text.data, text.len, code_out);
}

enum utf8_class
utf8_classify(struct bytes text)
{
	enum utf8_class worst = UTF8_PLAIN;
	const uint8_t *p = text.data;
	size_t left = text.len, len;

	for (; left != 0; p += len, left -= len) {
		enum utf8_class class;

		if (left >= 8 && utf8_word_is_printable(utf8_word_at(p))) {
			len = 8;
			continue;
		}
		if (*p >= 0x20 && *p < 0x7f) {
			len = 1;
			continue;
		}
		class = classify_next(p, left, &len);
		if (class == UTF8_MALFORMED) {
			return class;
		}
		worst = class > worst ? class : worst;
	}
	return worst;
}

size_t
utf8_fault_at(struct bytes text)
{
	size_t at = 0, len;

	for (; at < text.len; at += len) {
		if (classify_next(text.data + at, text.len - at, &len) >= UTF8_NUL) {
			break;
		}
	}
	return at;
}
