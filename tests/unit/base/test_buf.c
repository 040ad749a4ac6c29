/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing buffers: every way to append, at, below and beyond the limit. That secrets are wiped is
 * in test_mem.c.
 */
#include "lib/unit.h"
#include "lib/huge.h"

#include <string.h>

#include "base/buf.h"
#include "base/rand.h"

static void print_to(struct buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
print_to(struct buf *buf, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	buf_vprintf(buf, format, args);
	va_end(args);
}

static void
a_new_buffer_is_empty_and_has_allocated_nothing(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 7);
	assert_null(buf.data);
	assert_int_equal(buf.len, 0);
	assert_int_equal(buf.cap, 0);
	assert_int_equal(buf.limit, 7);
	assert_false(buf.failed);
	assert_int_equal(buf_bytes(&buf).len, 0);
	buf_append(&buf, NULL, 0);
	buf_append_bytes(&buf, bytes_of(NULL));
	assert_false(buf.failed);
	assert_string_equal(buf_text(&buf), "");
	buf_fini(&buf);
}

static void
appends_of_all_kinds_follow_each_other(void **state)
{
	struct buf buf;
	uint8_t *room;

	(void)state;
	buf_init(&buf, SIZE_MAX);
	buf_append(&buf, "ab\0", 3);
	buf_append_bytes(&buf, bytes_of("cd"));
	buf_append_text(&buf, "");
	buf_append_text(&buf, "ef");
	buf_append_byte(&buf, 0xff);
	buf_printf(&buf, "%d-%s", -5, "g");
	print_to(&buf, "%03x", 0x1fu);
	room = buf_reserve(&buf, 2);
	assert_non_null(room);
	assert_ptr_equal(room, buf.data + buf.len);
	memcpy(room, "hi", 2);
	buf.len += 2;
	assert_false(buf.failed);
	assert_true(bytes_equal(buf_bytes(&buf), BYTES_LITERAL("ab\0cdef\xff-5-g01fhi")));
	buf_fini(&buf);
}

/* Each way to append the text; it has at least one byte and none of it is a NUL. */
static void
append_by(struct buf *buf, int way, const char *text)
{
	struct bytes bytes = bytes_of(text);
	uint8_t *room;

	switch (way) {
	case 0:
		buf_append(buf, text, bytes.len);
		break;
	case 1:
		buf_append_bytes(buf, bytes);
		break;
	case 2:
		buf_append_text(buf, text);
		break;
	case 3:
		buf_printf(buf, "%s", text);
		break;
	case 4:
		print_to(buf, "%s", text);
		break;
	case 5:
		room = buf_reserve(buf, bytes.len);
		assert_int_equal(room == NULL, buf->failed);
		if (room != NULL) {
			memcpy(room, text, bytes.len);
			buf->len += bytes.len;
		}
		break;
	default:
		/* the last byte alone, which is the one beyond the limit */
		buf_append(buf, text, bytes.len - 1);
		buf_append_byte(buf, bytes.data[bytes.len - 1]);
		break;
	}
}

enum { WAYS_TO_APPEND = 7, WAYS_IN_ONE_STEP = 6 };

static void
a_buffer_holds_exactly_as_much_as_its_limit(void **state)
{
	char text[202] = "";

	(void)state;
	for (size_t limit = 1; limit <= 200; limit++) {
		memset(text, 'x', limit);
		text[limit] = '\0';
		for (int way = 0; way < WAYS_TO_APPEND; way++) {
			struct buf buf;

			buf_init(&buf, limit);
			append_by(&buf, way, text);
			assert_false(buf.failed);
			assert_bytes_text(buf_bytes(&buf), text);
			assert_string_equal(buf_text(&buf), text);
			assert_int_equal(buf.len, limit);
			assert_false(buf.failed);
			buf_fini(&buf);
		}
	}
}

static void
an_append_beyond_the_limit_changes_nothing_and_fails(void **state)
{
	(void)state;
	for (size_t limit = 0; limit <= 130; limit++) {
		for (int way = 0; way < WAYS_IN_ONE_STEP; way++) {
			char text[140] = "";
			struct buf buf;

			memset(text, 'x', limit + 1 - limit / 2);
			buf_init(&buf, limit);
			for (size_t i = 0; i < limit / 2; i++) {
				buf_append_byte(&buf, 'a');
			}
			assert_false(buf.failed);
			append_by(&buf, way, text);
			assert_true(buf.failed);
			assert_int_equal(buf.len, limit / 2);
			for (size_t i = 0; i < buf.len; i++) {
				assert_int_equal(buf.data[i], 'a');
			}
			assert_int_equal(strlen(buf_text(&buf)), limit / 2);
			buf_fini(&buf);
		}
	}
}

static void
a_failure_sticks_until_the_buffer_is_cleared(void **state)
{
	struct buf buf;
	const uint8_t *data;
	size_t cap;

	(void)state;
	buf_init(&buf, 4);
	buf_append_text(&buf, "ab");
	buf_append_text(&buf, "cde");
	buf_append_text(&buf, "f");
	buf_append_byte(&buf, 'g');
	buf_printf(&buf, "h");
	buf_consume(&buf, 0);
	assert_true(buf.failed);
	/* no later piece may take the place of the one that did not fit */
	assert_bytes_text(buf_bytes(&buf), "ab");
	assert_string_equal(buf_text(&buf), "ab");
	data = buf.data;
	cap = buf.cap;
	buf_clear(&buf);
	assert_false(buf.failed);
	assert_int_equal(buf.len, 0);
	assert_int_equal(buf.limit, 4);
	assert_ptr_equal(buf.data, data);
	assert_int_equal(buf.cap, cap);
	assert_string_equal(buf_text(&buf), "");
	buf_append_text(&buf, "wxyz");
	assert_false(buf.failed);
	assert_bytes_text(buf_bytes(&buf), "wxyz");
	buf_fini(&buf);
}

static void
sizes_that_no_machine_has_fail_and_change_nothing(void **state)
{
	static const size_t sizes[] = {
	    SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 3, SIZE_MAX - 64, SIZE_MAX / 2 + 1, SIZE_MAX / 2};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct buf buf;

		buf_init(&buf, SIZE_MAX);
		buf_append_text(&buf, "abc");
		assert_null(buf_reserve(&buf, sizes[i]));
		assert_true(buf.failed);
		assert_bytes_text(buf_bytes(&buf), "abc");
		buf_clear(&buf);
		assert_null(buf_reserve(&buf, sizes[i]));
		assert_true(buf.failed);
		assert_int_equal(buf.len, 0);
		buf_fini(&buf);
	}
}

static void
no_room_can_be_reserved_everywhere(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 2);
	assert_non_null(buf_reserve(&buf, 0));
	buf_append_text(&buf, "ab");
	assert_non_null(buf_reserve(&buf, 0));
	assert_false(buf.failed);
	buf_fini(&buf);
}

static void
the_text_of_a_buffer_ends_behind_its_length(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, SIZE_MAX);
	for (size_t len = 0; len < 600; len++) {
		const char *text = buf_text(&buf);

		assert_int_equal(strlen(text), len);
		assert_int_equal(buf.len, len);
		buf_append_byte(&buf, 'x');
	}
	buf_consume(&buf, 597);
	assert_string_equal(buf_text(&buf), "xxx");
	buf_fini(&buf);
}

static void
printed_text_fits_behind_whatever_is_there(void **state)
{
	char text[150];

	(void)state;
	for (size_t before = 0; before < 140; before++) {
		for (size_t len = 0; len < 140; len++) {
			struct buf buf;

			memset(text, 'x', len);
			text[len] = '\0';
			buf_init(&buf, before + len);
			for (size_t i = 0; i < before; i++) {
				buf_append_byte(&buf, 'b');
			}
			buf_printf(&buf, "%s", text);
			assert_false(buf.failed);
			assert_int_equal(buf.len, before + len);
			assert_string_equal(buf_text(&buf) + before, text);
			buf_fini(&buf);
		}
	}
}

static void
consuming_moves_the_rest_to_the_front(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 6);
	buf_append_text(&buf, "avocet");
	buf_consume(&buf, 0);
	assert_bytes_text(buf_bytes(&buf), "avocet");
	buf_consume(&buf, 2);
	assert_bytes_text(buf_bytes(&buf), "ocet");
	buf_append_text(&buf, "xy");
	assert_false(buf.failed);
	assert_bytes_text(buf_bytes(&buf), "ocetxy");
	buf_consume(&buf, 6);
	assert_int_equal(buf.len, 0);
	buf_consume(&buf, 0);
	buf_append_text(&buf, "again");
	assert_string_equal(buf_text(&buf), "again");
	buf_fini(&buf);
}

static void
random_appends_agree_with_an_array(void **state)
{
	static uint8_t model[3000];
	size_t model_len = 0;
	struct rand_gen gen;
	struct buf buf;

	(void)state;
	rand_gen_init(&gen, 7);
	buf_init(&buf, sizeof(model));
	for (int i = 0; i < 20000; i++) {
		uint8_t piece[300];
		size_t len = (size_t)rand_gen_below(&gen, sizeof(piece));

		memset(piece, i & 0xff, sizeof(piece));
		if (rand_gen_below(&gen, 3) == 0 && len <= buf.len) {
			buf_consume(&buf, len);
			memmove(model, model + len, model_len - len);
			model_len -= len;
		} else if (model_len + len <= sizeof(model)) {
			buf_append(&buf, piece, len);
			memcpy(model + model_len, piece, len);
			model_len += len;
		}
		assert_false(buf.failed);
		assert_true(bytes_equal(buf_bytes(&buf), bytes_make(model, model_len)));
	}
	buf_fini(&buf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_new_buffer_is_empty_and_has_allocated_nothing),
	    cmocka_unit_test(appends_of_all_kinds_follow_each_other),
	    cmocka_unit_test(a_buffer_holds_exactly_as_much_as_its_limit),
	    cmocka_unit_test(an_append_beyond_the_limit_changes_nothing_and_fails),
	    cmocka_unit_test(a_failure_sticks_until_the_buffer_is_cleared),
	    cmocka_unit_test(sizes_that_no_machine_has_fail_and_change_nothing),
	    cmocka_unit_test(no_room_can_be_reserved_everywhere),
	    cmocka_unit_test(the_text_of_a_buffer_ends_behind_its_length),
	    cmocka_unit_test(printed_text_fits_behind_whatever_is_there),
	    cmocka_unit_test(consuming_moves_the_rest_to_the_front),
	    cmocka_unit_test(random_appends_agree_with_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
