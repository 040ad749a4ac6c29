/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records as lines of text and of JSON: exact lines, times, and what comes from outside and would
 * like to be a line or a field of its own. Also what goes to stderr without a context.
 */
#include "lib/unit.h"

#include <string.h>
#include <unistd.h>

#include "base/context.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/utf8.h"

static struct log_record
make_record(struct bytes text, const struct log_field *fields, size_t field_count)
{
	struct log_record record = {.level = LOG_LEVEL_INFO, .wall_ms = 1795518803042};

	record.text = text;
	record.field_count = field_count;
	if (field_count != 0) {
		memcpy(record.fields, fields, field_count * sizeof(*fields));
	}
	return record;
}

static void
assert_line(const struct log_record *record, enum log_format format, const char *line)
{
	struct buf buf;

	buf_init(&buf, SIZE_MAX);
	buf_append_text(&buf, "before\n");
	log_format_record(&buf, record, format);
	assert_bytes_text(bytes_make(buf.data, 7), "before\n");
	buf_consume(&buf, 7);
	assert_bytes_text(buf_bytes(&buf), line);
	buf_fini(&buf);
}

static void
levels_have_names(void **state)
{
	(void)state;
	assert_string_equal(log_level_name(LOG_LEVEL_ERROR), "error");
	assert_string_equal(log_level_name(LOG_LEVEL_WARNING), "warning");
	assert_string_equal(log_level_name(LOG_LEVEL_INFO), "info");
	assert_string_equal(log_level_name(LOG_LEVEL_DEBUG), "debug");
}

#define TIME "2026-11-24T11:13:23.042Z"
#define JSON "{\"time\":\"" TIME "\",\"level\":\"info\",\"message\":\"" /* and so on */

static void
a_record_without_fields_is_its_sentence(void **state)
{
	static const struct {
		struct bytes text;
		const char *line;
		const char *json;
	} cases[] = {
	    {BYTES_LITERAL("client connected"), TIME " info client connected\n",
		JSON "client connected\"}\n"},
	    {{NULL, 0}, TIME " info \n", JSON "\"}\n"},
	    {BYTES_LITERAL("a\nb\r\tc"), TIME " info a\\nb\\r\\tc\n",
		JSON "a\\u000ab\\u000d\\u0009c\"}\n"},
	    {BYTES_LITERAL("a\"b\\c"), TIME " info a\"b\\c\n", JSON "a\\\"b\\\\c\"}\n"},
	    {BYTES_LITERAL("a\0b"), TIME " info a\\x00b\n", JSON "a\\u0000b\"}\n"},
	    {BYTES_LITERAL("\x1b[31m"), TIME " info \\x1b[31m\n", JSON "\\u001b[31m\"}\n"},
	    {BYTES_LITERAL("caf\xc3\xa9"), TIME " info caf\xc3\xa9\n", JSON "caf\xc3\xa9\"}\n"},
	    {BYTES_LITERAL("\xff"), TIME " info \\xff\n", JSON "\xef\xbf\xbd\"}\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct log_record record = make_record(cases[i].text, NULL, 0);

		assert_line(&record, LOG_FORMAT_TEXT, cases[i].line);
		assert_line(&record, LOG_FORMAT_JSON, cases[i].json);
	}
}

static void
a_field_is_named_and_quoted_where_it_must_be(void **state)
{
	static const struct {
		struct bytes value;
		const char *line;
		const char *json;
	} cases[] = {
	    {BYTES_LITERAL("sensor-1"), "sensor-1", "sensor-1"},
	    {BYTES_LITERAL("[::1]:1883"), "[::1]:1883", "[::1]:1883"},
	    {BYTES_LITERAL("a/b/+/#"), "a/b/+/#", "a/b/+/#"},
	    {BYTES_LITERAL(""), "\"\"", ""},
	    {{NULL, 0}, "\"\"", ""},
	    {BYTES_LITERAL("a b"), "\"a b\"", "a b"},
	    {BYTES_LITERAL(" "), "\" \"", " "},
	    {BYTES_LITERAL("a=b"), "\"a=b\"", "a=b"},
	    {BYTES_LITERAL("a\"b"), "\"a\\\"b\"", "a\\\"b"},
	    {BYTES_LITERAL("\"\""), "\"\\\"\\\"\"", "\\\"\\\""},
	    {BYTES_LITERAL("a\\"), "\"a\\\\\"", "a\\\\"},
	    {BYTES_LITERAL("a\nb"), "\"a\\nb\"", "a\\u000ab"},
	    {BYTES_LITERAL("a\n" TIME " error b"), "\"a\\n" TIME " error b\"",
		"a\\u000a" TIME " error b"},
	    {BYTES_LITERAL("\",\"level\":\"error"), "\"\\\",\\\"level\\\":\\\"error\"",
		"\\\",\\\"level\\\":\\\"error"},
	    {BYTES_LITERAL("a\0"), "\"a\\x00\"", "a\\u0000"},
	    {BYTES_LITERAL("\x7f"), "\"\\x7f\"", "\\u007f"},
	    {BYTES_LITERAL("\xff\xfe"), "\"\\xff\\xfe\"", "\xef\xbf\xbd\xef\xbf\xbd"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct log_field fields[] = {
		    {"client_id", cases[i].value}, {"next", bytes_of("x")}};
		struct log_record record = make_record(bytes_of("refused"), fields, 2);
		char line[300];

		snprintf(line, sizeof(line), "%s info refused client_id=%s next=x\n", TIME,
		    cases[i].line);
		assert_line(&record, LOG_FORMAT_TEXT, line);
		snprintf(line, sizeof(line), "%srefused\",\"client_id\":\"%s\",\"next\":\"x\"}\n",
		    JSON, cases[i].json);
		assert_line(&record, LOG_FORMAT_JSON, line);
	}
}

static void
assert_time(int64_t wall_ms, const char *time)
{
	struct log_record record = make_record(bytes_of("t"), NULL, 0);
	char line[100];

	record.wall_ms = wall_ms;
	snprintf(line, sizeof(line), "%s info t\n", time);
	assert_line(&record, LOG_FORMAT_TEXT, line);
	snprintf(
	    line, sizeof(line), "{\"time\":\"%s\",\"level\":\"info\",\"message\":\"t\"}\n", time);
	assert_line(&record, LOG_FORMAT_JSON, line);
}

static void
a_time_is_that_of_the_calendar(void **state)
{
	static const struct {
		int64_t wall_ms;
		const char *time;
	} cases[] = {
	    {1, "1970-01-01T00:00:00.001Z"},
	    {999, "1970-01-01T00:00:00.999Z"},
	    {86400000, "1970-01-02T00:00:00.000Z"},
	    {951782400000, "2000-02-29T00:00:00.000Z"},
	    {1735689599999, "2024-12-31T23:59:59.999Z"},
	    {1735689600000, "2025-01-01T00:00:00.000Z"},
	    {2147483647999, "2038-01-19T03:14:07.999Z"},
	    {4107542400000, "2100-03-01T00:00:00.000Z"},
	    {253402300799999, "9999-12-31T23:59:59.999Z"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_time(cases[i].wall_ms, cases[i].time);
	}
}

static void
the_epoch_is_a_time_too(void **state)
{
	(void)state;
	assert_time(0, "1970-01-01T00:00:00.000Z");
}

static void
a_time_before_the_epoch_counts_forward(void **state)
{
	(void)state;
	assert_time(-1000, "1969-12-31T23:59:59.000Z");
	assert_time(-1, "1969-12-31T23:59:59.999Z");
	assert_time(-1999, "1969-12-31T23:59:58.001Z");
}

static void
a_time_beyond_the_calendar_is_still_one_line(void **state)
{
	static const int64_t times[] = {
	    INT64_MAX, LOG_NO_TIME + 1, 253402300800000, -62135596800001, INT64_MAX / 1000};

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct log_record record = make_record(bytes_of("t"), NULL, 0);
		struct buf buf;

		record.wall_ms = times[i];
		buf_init(&buf, SIZE_MAX);
		log_format_record(&buf, &record, LOG_FORMAT_TEXT);
		assert_int_equal(utf8_classify(bytes_make(buf.data, buf.len - 1)), UTF8_PLAIN);
		assert_non_null(strstr(buf_text(&buf), "Z info t\n"));
		buf_fini(&buf);
	}
}

static void
a_line_that_does_not_fit_fails_its_buffer(void **state)
{
	const struct log_field field = {"key", bytes_of("value")};
	struct log_record record = make_record(bytes_of("sentence"), &field, 1);
	struct buf whole;

	(void)state;
	for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
		buf_init(&whole, SIZE_MAX);
		log_format_record(&whole, &record, (enum log_format)format);
		for (size_t limit = 0; limit <= whole.len; limit++) {
			struct buf buf;

			buf_init(&buf, limit);
			log_format_record(&buf, &record, (enum log_format)format);
			assert_int_equal(buf.failed, limit < whole.len);
			buf_fini(&buf);
		}
		buf_fini(&whole);
	}
}

/* --- what comes from outside --- */

/* Steps over the text, or fails. */
static void
expect(const char **p, const char *text)
{
	assert_int_equal(strncmp(*p, text, strlen(text)), 0);
	*p += strlen(text);
}

static uint8_t
byte_at(const char *p)
{
	return (uint8_t)*p;
}

static unsigned
hex_number(const char **p, int digits)
{
	static const char hex_digits[] = "0123456789abcdef";
	unsigned value = 0;

	for (; digits > 0; digits--, (*p)++) {
		const char *found = memchr(hex_digits, byte_at(*p), 16);

		assert_non_null(found);
		value = value * 16 + (unsigned)(found - hex_digits);
	}
	return value;
}

/* Reads to the closing quote: the escapes of lines and those of JSON. */
static void
read_quoted(const char **p, struct buf *value)
{
	static const char names[] = "\\\"ntr";
	static const char bytes[] = "\\\"\n\t\r";

	expect(p, "\"");
	while (**p != '"') {
		const char *name;

		assert_true(byte_at(*p) >= 0x20);
		if (**p != '\\') {
			buf_append_byte(value, byte_at((*p)++));
			continue;
		}
		(*p)++;
		name = memchr(names, byte_at(*p), sizeof(names) - 1);
		if (**p == 'x' || **p == 'u') {
			int digits = *(*p)++ == 'x' ? 2 : 4;

			buf_append_byte(value, (uint8_t)hex_number(p, digits));
		} else {
			assert_non_null(name);
			buf_append_byte(value, (uint8_t)bytes[name - names]);
			(*p)++;
		}
	}
	expect(p, "\"");
}

static void
read_value(const char **p, struct buf *value)
{
	buf_clear(value);
	if (**p == '"') {
		read_quoted(p, value);
		return;
	}
	for (; **p != ' ' && **p != '\n'; (*p)++) {
		assert_true(byte_at(*p) > ' ' && strchr("\"=\\\x7f", **p) == NULL);
		buf_append_byte(value, byte_at(*p));
	}
	assert_int_not_equal(value->len, 0);
}

/* Both lines of a record with the value in its middle are read back to that value. */
static void
assert_value_stays_inside(struct bytes value)
{
	const struct log_field fields[] = {{"a", value}, {"b", value}};
	struct log_record record = make_record(bytes_of("t"), fields, 2);
	struct buf line;
	struct buf back;
	const char *p;

	buf_init(&line, SIZE_MAX);
	buf_init(&back, SIZE_MAX);
	log_format_record(&line, &record, LOG_FORMAT_TEXT);
	assert_int_equal(utf8_classify(bytes_make(line.data, line.len - 1)), UTF8_PLAIN);
	p = buf_text(&line);
	expect(&p, TIME " info t a=");
	read_value(&p, &back);
	assert_true(bytes_equal(buf_bytes(&back), value));
	expect(&p, " b=");
	read_value(&p, &back);
	assert_true(bytes_equal(buf_bytes(&back), value));
	expect(&p, "\n");
	assert_ptr_equal(p, buf_text(&line) + line.len);

	buf_clear(&line);
	buf_clear(&back);
	log_format_record(&line, &record, LOG_FORMAT_JSON);
	assert_true(utf8_classify(bytes_make(line.data, line.len - 1)) < UTF8_NUL);
	p = buf_text(&line);
	expect(&p, JSON "t\",\"a\":");
	read_quoted(&p, &back);
	if (utf8_classify(value) != UTF8_MALFORMED) {
		assert_true(bytes_equal(buf_bytes(&back), value));
	}
	expect(&p, ",\"b\":");
	read_quoted(&p, &back);
	expect(&p, "}\n");
	assert_ptr_equal(p, buf_text(&line) + line.len);
	buf_fini(&line);
	buf_fini(&back);
}

static void
no_value_becomes_a_line_or_a_field_of_its_own(void **state)
{
	static const char trouble[] =
	    "ab =\"\\\n\r\t\x01\x1b\x7f,:{}\xc3\xa4\xc2\x85\xe2\x82\xac\xff"
	    "xnu00";
	struct rand_gen gen;

	(void)state;
	for (unsigned byte = 0; byte < 256; byte++) {
		const uint8_t text[] = {'x', (uint8_t)byte, 'y', '=', '1'};

		assert_value_stays_inside(bytes_make(text + 1, 1));
		assert_value_stays_inside(bytes_make(text, 3));
		assert_value_stays_inside(bytes_make(text, 5));
	}
	rand_gen_init(&gen, 9);
	for (int i = 0; i < 20000; i++) {
		uint8_t text[12];
		size_t len = (size_t)rand_gen_below(&gen, sizeof(text) + 1);

		for (size_t j = 0; j < len; j++) {
			text[j] = (uint8_t)trouble[rand_gen_below(&gen, sizeof(trouble))];
		}
		assert_value_stays_inside(bytes_make(text, len));
	}
}

static void
no_sentence_becomes_two_lines(void **state)
{
	(void)state;
	for (unsigned byte = 0; byte < 256; byte++) {
		const uint8_t text[] = {'x', (uint8_t)byte, 'y'};
		struct log_record record = make_record(bytes_make(text, 3), NULL, 0);

		for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
			struct buf buf;

			buf_init(&buf, SIZE_MAX);
			log_format_record(&buf, &record, (enum log_format)format);
			assert_ptr_equal(memchr(buf.data, '\n', buf.len), buf.data + buf.len - 1);
			assert_null(memchr(buf.data, '\r', buf.len));
			assert_null(memchr(buf.data, '\0', buf.len));
			buf_fini(&buf);
		}
	}
}

/* --- stderr --- */

/* What the body writes to stderr. */
static void
catch_stderr(void (*body)(void), char *text, size_t size)
{
	int saved = dup(STDERR_FILENO);
	FILE *file = tmpfile();
	ssize_t len;

	assert_non_null(file);
	fflush(stderr);
	assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
	body();
	fflush(stderr);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	len = pread(fileno(file), text, size - 1, 0);
	assert_true(len >= 0);
	text[len] = '\0';
	fclose(file);
}

static void
write_without_context(void)
{
	const struct log_field fields[] = {
	    {"file", bytes_of("avocet.yaml")}, {"reason", bytes_of("two\nlines")}};

	context_current = NULL;
	log_write(LOG_LEVEL_WARNING, fields, 2, "cannot read %s", "it");
}

static void
without_a_context_a_record_goes_to_stderr_as_one_line(void **state)
{
	char text[500];

	(void)state;
	catch_stderr(write_without_context, text, sizeof(text));
	assert_non_null(strstr(text, "warning"));
	assert_non_null(strstr(text, "cannot read it"));
	assert_non_null(strstr(text, "file=avocet.yaml reason=\"two\\nlines\"\n"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void
write_to_a_context_without_ring(void)
{
	struct context context = {.log = NULL};

	context_current = &context;
	log_error("not lost");
	context_current = NULL;
}

static void
a_context_without_a_ring_loses_nothing(void **state)
{
	char text[500];

	(void)state;
	catch_stderr(write_to_a_context_without_ring, text, sizeof(text));
	assert_non_null(strstr(text, "not lost\n"));
}

static void
write_last_words(void)
{
	log_stderr("out of memory");
}

static void
last_words_are_one_line_on_stderr(void **state)
{
	char text[500];

	(void)state;
	catch_stderr(write_last_words, text, sizeof(text));
	assert_non_null(strstr(text, "out of memory\n"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(levels_have_names),
	    cmocka_unit_test(a_record_without_fields_is_its_sentence),
	    cmocka_unit_test(a_field_is_named_and_quoted_where_it_must_be),
	    cmocka_unit_test(a_time_is_that_of_the_calendar),
	    cmocka_unit_test(the_epoch_is_a_time_too),
	    cmocka_unit_test(a_time_before_the_epoch_counts_forward),
	    cmocka_unit_test(a_time_beyond_the_calendar_is_still_one_line),
	    cmocka_unit_test(a_line_that_does_not_fit_fails_its_buffer),
	    cmocka_unit_test(no_value_becomes_a_line_or_a_field_of_its_own),
	    cmocka_unit_test(no_sentence_becomes_two_lines),
	    cmocka_unit_test(without_a_context_a_record_goes_to_stderr_as_one_line),
	    cmocka_unit_test(a_context_without_a_ring_loses_nothing),
	    cmocka_unit_test(last_words_are_one_line_on_stderr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
