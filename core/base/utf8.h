/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8 as MQTT wants it. Pure.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdint.h>

#include "base/bytes.h"

/* What is in a string, the worst last: a string is judged by the worst it holds. */
enum utf8_class {
	UTF8_PLAIN,      /* well formed, nothing of the below */
	UTF8_RESTRICTED, /* U+0001..001F, U+007F..009F or a non-character: legal, may be refused */
	UTF8_NUL,        /* U+0000: never legal [MQTT-1.5.4-2] */
	UTF8_MALFORMED,  /* overlong, cut off, a surrogate or above U+10FFFF [MQTT-1.5.4-1] */
};

enum utf8_class utf8_classify(struct bytes text);

/*
 * The first character of a text that is not empty: its length in bytes and its code point; length 0
 * when it is malformed.
 */
size_t utf8_next(struct bytes text, uint32_t *code_out);

/* Where the first malformed sequence or NUL begins; the length of the text when there is none. */
size_t utf8_fault_at(struct bytes text);

/*
 * Eight printable ASCII bytes at a time: true when each byte of the word is within 0x20 .. 0x7e.
 * Without a high bit in w, subtracting 0x20 borrows into the high bit of the lowest byte below
 * 0x20, and adding 1 carries only from 0x7f.
 */
static inline bool
utf8_word_is_printable(uint64_t w)
{
	const uint64_t ones = 0x0101010101010101;

	return ((w | (w - 0x20 * ones) | (w + ones)) & 0x80 * ones) == 0;
}

static inline uint64_t
utf8_word_at(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

#endif
