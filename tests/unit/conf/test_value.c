/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scalars: which texts are which values, which are none, and that what is written reads back.
 */
#include "unit/conf/conf_unit.h"

#include <inttypes.h>

#include "conf/value.h"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

typedef const char *parse_fn(struct bytes text, int64_t *value_out);

struct row {
	const char *text;
	int64_t value;
};

static void
assert_understood(parse_fn *parse, const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int64_t value = -4711;
		const char *sentence = parse(bytes_of(rows[i].text), &value);

		if (sentence != NULL || value != rows[i].value) {
			fail_msg("\"%s\" is %" PRId64 ", not %" PRId64 " (%s)", rows[i].text,
			    rows[i].value, value, sentence != NULL ? sentence : "");
		}
	}
}

static void
assert_sentence(const char *text, const char *sentence)
{
	if (sentence == NULL) {
		fail_msg("\"%s\" was understood", text);
		return;
	}
	if (strncmp(sentence, "must be ", 8) != 0 || strlen(sentence) < 12) {
		fail_msg("no sentence about \"%s\": %s", text, sentence);
	}
}

static void
assert_refused(parse_fn *parse, const char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int64_t value = 0;

		assert_sentence(texts[i], parse(bytes_of(texts[i]), &value));
	}
}

static void
a_bool_has_three_words_for_each_side(void **state)
{
	static const struct {
		const char *text;
		bool value;
	} rows[] = {{"true", true}, {"yes", true}, {"on", true}, {"false", false}, {"no", false},
	    {"off", false}};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		bool value = !rows[i].value;

		assert_null(conf_value_bool(bytes_of(rows[i].text), &value));
		assert_int_equal(value, rows[i].value);
	}
}

static void
what_is_almost_a_bool_is_none(void **state)
{
	static const char *const texts[] = {
	    "", "t", "y", "n", "1", "0", "tru", "truer", "true ", " on", "onoff", "nope", "auto"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		bool value = false;

		assert_sentence(texts[i], conf_value_bool(bytes_of(texts[i]), &value));
	}
}

static void
an_int_is_decimal_and_has_64_bits(void **state)
{
	static const struct row rows[] = {
	    {"0", 0},
	    {"7", 7},
	    {"65535", 65535},
	    {"-1", -1},
	    {"2147483648", 2147483648},
	    {"9223372036854775807", INT64_MAX},
	    {"-9223372036854775807", -INT64_MAX},
	    {"-9223372036854775808", INT64_MIN},
	};

	(void)state;
	assert_understood(conf_value_int, rows, CONF_COUNT(rows));
}

static void
what_is_almost_an_int_is_none(void **state)
{
	static const char *const texts[] = {"", "-", "--1", "- 1", "0x10", "0o7", "1e3", "1.0",
	    "1.", ".5", "1_000", "1,000", " 1", "1 ", "1\n", "1a", "a1", "auto",
	    "9223372036854775808", "-9223372036854775809", "18446744073709551616",
	    "18446744073709551617", "99999999999999999999999999999", "\xd9\xa3"};

	(void)state;
	assert_refused(conf_value_int, texts, CONF_COUNT(texts));
}

static void
a_number_ends_where_its_view_ends(void **state)
{
	int64_t value = 0;
	bool flag = false;

	(void)state;
	assert_null(conf_value_int(bytes_make("1234", 2), &value));
	assert_int_equal(value, 12);
	assert_null(conf_value_size(bytes_make("4KiBx", 4), &value));
	assert_int_equal(value, 4 * KIB);
	assert_null(conf_value_duration(bytes_make("1h30m9", 5), &value));
	assert_int_equal(value, HOUR + 30 * MINUTE);
	assert_null(conf_value_bool(bytes_make("nobody", 2), &flag));
	assert_non_null(conf_value_int(bytes_make("1\0", 2), &value));
	assert_non_null(conf_value_int(bytes_make(NULL, 0), &value));
	assert_non_null(conf_value_size(bytes_make(NULL, 0), &value));
	assert_non_null(conf_value_duration(bytes_make(NULL, 0), &value));
	assert_non_null(conf_value_bool(bytes_make(NULL, 0), &flag));
}

static void
a_size_takes_units_of_1024(void **state)
{
	static const struct row rows[] = {
	    {"0", 0},
	    {"4096", 4096},
	    {"1KiB", KIB},
	    {"64KiB", 64 * KIB},
	    {"16MiB", 16 * MIB},
	    {"2GiB", 2 * GIB},
	    {"0GiB", 0},
	    {"9223372036854775807", INT64_MAX},
	    {"9007199254740991KiB", INT64_MAX - 1023},
	    {"8796093022207MiB", INT64_MAX - (MIB - 1)},
	    {"8589934591GiB", INT64_MAX - (GIB - 1)},
	};

	(void)state;
	assert_understood(conf_value_size, rows, CONF_COUNT(rows));
}

static void
what_is_almost_a_size_is_none(void **state)
{
	static const char *const texts[] = {"", "KiB", "1K", "1k", "1KB", "1kB", "1kib", "1KIB",
	    "1Mi", "1MB", "1.5MiB", "1KiBx", "1KiB1", "1KiB1MiB", "0x1KiB", "1e3KiB", "auto", "10s",
	    "9223372036854775808", "9007199254740992KiB", "8796093022208MiB", "8589934592GiB",
	    "18446744073709551617", "18014398509481984KiB", "17179869184GiB"};

	(void)state;
	assert_refused(conf_value_size, texts, CONF_COUNT(texts));
}

static void
a_duration_adds_its_parts(void **state)
{
	static const struct row rows[] = {
	    {"0", 0},
	    {"0s", 0},
	    {"200ms", 200},
	    {"10s", 10 * SECOND},
	    {"5m", 5 * MINUTE},
	    {"2h", 2 * HOUR},
	    {"30d", 30 * DAY},
	    {"1h30m", HOUR + 30 * MINUTE},
	    {"1m30s", MINUTE + 30 * SECOND},
	    {"1m30ms", MINUTE + 30},
	    {"1d2h3m4s5ms", DAY + 2 * HOUR + 3 * MINUTE + 4 * SECOND + 5},
	    {"90m", 90 * MINUTE},
	    {"106751991167d", 106751991167 * DAY},
	};

	(void)state;
	assert_understood(conf_value_duration, rows, CONF_COUNT(rows));
}

static void
what_is_almost_a_duration_is_none(void **state)
{
	static const char *const texts[] = {"", "1", "30", "s", "ms", "1w", "1y", "1M", "1S",
	    "1sec", "1.5s", "1h30", "30 1h", "-1s", "--1s", "1s-1s", "1sm", "1mss", "1e3s", "0x1s",
	    "soon", "1KiB", "106751991168d", "9223372036854775808ms", "9223372036854776s",
	    "106751991167d7h12m55s808ms", "99999999999999999999s", "213503982335d"};

	(void)state;
	assert_refused(conf_value_duration, texts, CONF_COUNT(texts));
}

static const struct conf_word words[] = {
    {"auto", -1}, {"never", CONF_NEVER}, {"3.1", 1}, {"3.1.1", 2}, {NULL, 0}};

static void
a_word_is_itself_and_no_other(void **state)
{
	static const char *const others[] = {"", "aut", "autos", "Auto", "AUTO", " auto", "auto ",
	    "3", "3.1.", "3.1.1.1", "-1", "4711"};
	int64_t value = 4711;

	(void)state;
	for (const struct conf_word *word = words; word->word != NULL; word++) {
		assert_true(conf_value_word(bytes_of(word->word), words, &value));
		assert_int_equal(value, word->value);
	}
	for (size_t i = 0; i < CONF_COUNT(others); i++) {
		assert_false(conf_value_word(bytes_of(others[i]), words, &value));
	}
	assert_false(conf_value_word(bytes_of("auto"), NULL, &value));
	assert_false(conf_value_word(bytes_make(NULL, 0), words, &value));
}

static void
assert_format_reads_back(parse_fn *parse, enum conf_type type, int64_t value)
{
	struct conf_option option = {.name = "x", .type = type};
	struct buf out;
	int64_t back = ~value;

	buf_init(&out, SIZE_MAX);
	conf_value_format(&out, &option, value);
	if (parse(buf_bytes(&out), &back) != NULL || back != value) {
		fail_msg("%" PRId64 " was written as \"%s\"", value, buf_text(&out));
	}
	buf_fini(&out);
}

static void
what_is_written_of_a_number_reads_back(void **state)
{
	static const int64_t values[] = {0, 1, 9, 10, 999, 1000, 1001, 1023, 1024, 1025, 1536,
	    59999, MINUTE, MINUTE + 1, HOUR, HOUR + 30 * MINUTE, DAY, DAY - 1, DAY + HOUR, 30 * DAY,
	    MIB - 1, MIB, MIB + KIB, GIB, GIB + 1, 3 * GIB, 1024 * GIB, 106751991167 * DAY,
	    INT64_MAX / 1024, INT64_MAX - 1023, INT64_MAX - 807, INT64_MAX - 1, INT64_MAX};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(values); i++) {
		assert_format_reads_back(conf_value_int, CONF_INT, values[i]);
		assert_format_reads_back(conf_value_size, CONF_SIZE, values[i]);
		assert_format_reads_back(conf_value_duration, CONF_DURATION, values[i]);
	}
	assert_format_reads_back(conf_value_int, CONF_INT, -1);
	assert_format_reads_back(conf_value_int, CONF_INT, INT64_MIN);
	assert_format_reads_back(conf_value_size, CONF_SIZE, -1);
}

static void
a_number_is_written_as_people_write_it(void **state)
{
	static const struct {
		enum conf_type type;
		int64_t value;
		const char *text;
	} rows[] = {
	    {CONF_INT, 1000, "1000"},
	    {CONF_INT, -1, "auto"},
	    {CONF_SIZE, 0, "0"},
	    {CONF_SIZE, 64 * KIB, "64KiB"},
	    {CONF_SIZE, 16 * MIB, "16MiB"},
	    {CONF_SIZE, 2 * GIB, "2GiB"},
	    {CONF_SIZE, -1, "auto"},
	    {CONF_DURATION, 0, "0"},
	    {CONF_DURATION, 20, "20ms"},
	    {CONF_DURATION, 10 * SECOND, "10s"},
	    {CONF_DURATION, 5 * MINUTE, "5m"},
	    {CONF_DURATION, 2 * HOUR, "2h"},
	    {CONF_DURATION, 30 * DAY, "30d"},
	    {CONF_DURATION, CONF_NEVER, "never"},
	    {CONF_ENUM, CONF_NEVER, "never"},
	    {CONF_ENUM, 2, "3.1.1"},
	};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(rows); i++) {
		struct conf_option option = {.name = "x", .type = rows[i].type, .words = words};
		struct buf out;

		buf_init(&out, SIZE_MAX);
		conf_value_format(&out, &option, rows[i].value);
		assert_bytes_text(buf_bytes(&out), rows[i].text);
		buf_fini(&out);
	}
}

/* Nothing that a reader of YAML takes for the end of a line, and no other control character. */
static bool
is_one_visible_line(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t next = i + 1 < text.len ? text.data[i + 1] : 0;

		if (text.data[i] < ' ' || text.data[i] == 0x7f ||
		    (text.data[i] == 0xc2 && next < 0xa0) ||
		    (text.data[i] == 0xe2 && next == 0x80 && i + 2 < text.len &&
			(text.data[i + 2] == 0xa8 || text.data[i + 2] == 0xa9))) {
			return false;
		}
	}
	return true;
}

static bool
node_is_text(const struct conf_node *node, struct bytes text)
{
	return node != NULL && node->kind == CONF_SCALAR && bytes_equal(node->text, text) &&
	       !conf_node_is_null(node);
}

enum spot { SPOT_TOP, SPOT_VALUE, SPOT_ITEM, SPOT_FLOW, SPOT_KEY, SPOT_FLOW_KEY, SPOT_COUNT };

static bool
found_at(enum spot spot, const struct conf_node *root, struct bytes text)
{
	const struct conf_node *node = root;

	if (node == NULL || spot == SPOT_TOP) {
		return node_is_text(node, text);
	}
	if (node->kind != CONF_MAPPING || node->count != 1) {
		return false;
	}
	if (spot == SPOT_KEY || spot == SPOT_FLOW_KEY) {
		return bytes_equal(bytes_of(node->pairs[0].key), text);
	}
	node = node->pairs[0].value;
	if (spot == SPOT_ITEM || spot == SPOT_FLOW) {
		size_t at = spot == SPOT_FLOW ? 1 : 0;

		node = node->kind == CONF_SEQUENCE && node->count == 2 * at + 1 ? node->items[at]
										: NULL;
	}
	return node_is_text(node, text);
}

static void
assert_quote_reads_back(struct bytes text, enum spot spot)
{
	static const char *const before[] = {"", "a: ", "a:\n  - ", "a: [x, ", "", "{"};
	static const char *const after[] = {" # c\n", "\n", "\n", ", y]\n", ": 1\n", ": 1}\n"};
	struct buf out;

	buf_init(&out, SIZE_MAX);
	buf_append_text(&out, before[spot]);
	size_t start = out.len;
	conf_value_quote(&out, text);
	struct bytes quoted = bytes_skip(buf_bytes(&out), start);
	bool visible = is_one_visible_line(quoted);
	buf_append_text(&out, after[spot]);
	struct conf *conf = conf_read("x.yaml", buf_bytes(&out), NULL, NULL);
	bool same = !conf_has_errors(conf) && found_at(spot, conf_root(conf), text);

	if (!visible || !same) {
		print_error("written as %s", buf_text(&out));
	}
	conf_unref(&conf);
	buf_fini(&out);
	assert_true(visible);
	assert_true(same);
}

static void
assert_all_read_back(const char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (int spot = SPOT_TOP; spot < SPOT_COUNT; spot++) {
			assert_quote_reads_back(bytes_of(texts[i]), (enum spot)spot);
		}
	}
}

static void
what_is_quoted_reads_back_as_the_same_text(void **state)
{
	static const char *const texts[] = {"", " ", "a", "~", "null", "Null", "NULL", "true",
	    "yes", "12", "-1", "1.5", "0x1f", "1:30", "2001-01-01", "-", "- a", "-a", "--", "---",
	    "...", "--- a", "?", "? a", "?a", ":", ": a", ":a", "a:", "a: b", "a:b", "#", "#a",
	    "a #b", "a#b", "a # b", " a", "a ", "  a  ", "a  b", "\ta", "a\t", "a\tb", "\t", "\n",
	    "a\n", "\na", "a\nb", "a\n\n b", "\r", "a\r\nb", "\"", "'", "a'b", "a\"b", "'a'",
	    "\"a\"", "\\", "\\n", "a\\", "{", "}", "[", "]", ",", "{}", "[]", "a,b", "a, b", "a]b",
	    "a}b", "{a: b}", "[a]", "&a", "*a", "!a", "!env X", "!file x", "|", ">", "|-", "%a",
	    "%YAML 1.1", "@a", "`a`", "=", "<", "\x01", "\x07", "\x1b[31m", "\x7f", "\xc2\xa0",
	    "\xc3\xbc", "\xe2\x82\xac", "\xef\xbb\xbf", "\xef\xbb\xbfx", "\xef\xbf\xbd",
	    "\xf0\x9f\x90\xa6", "$SYS/#", "+/a", "a/+/#", "/var/lib/avocet",
	    "mqtts://a:b@c:8883/?x=y&z", "SCRAM-SHA-256", "auto-"};

	(void)state;
	assert_all_read_back(texts, CONF_COUNT(texts));
}

static void
the_second_set_of_controls_reads_back(void **state)
{
	static const char *const texts[] = {
	    "\xc2\x80", "\xc2\x85", "x\xc2\x85y", "\xc2\x9bm", "\xc2\x9f"};

	(void)state;
	assert_all_read_back(texts, CONF_COUNT(texts));
}

static void
the_separators_of_unicode_read_back(void **state)
{
	static const char *const texts[] = {
	    "\xe2\x80\xa8", "\xe2\x80\xa9", " \xe2\x80\xa8 ", "a \xe2\x80\xa8 b", "\xe2\x80\xa9x"};

	(void)state;
	assert_all_read_back(texts, CONF_COUNT(texts));
}

static void
what_unicode_calls_no_character_reads_back(void **state)
{
	static const char *const texts[] = {"\xef\xb7\x90", "\xf0\x9f\xbf\xbf", "\xf4\x8f\xbf\xbf"};

	(void)state;
	assert_all_read_back(texts, CONF_COUNT(texts));
}

static void
what_no_reader_can_mistake_stays_plain(void **state)
{
	static const char *const texts[] = {
	    "default", "drop_new", "auto-", "/var/lib/avocet", "site1", "SCRAM-SHA-256"};

	(void)state;
	for (size_t i = 0; i < CONF_COUNT(texts); i++) {
		struct buf out;

		buf_init(&out, SIZE_MAX);
		conf_value_quote(&out, bytes_of(texts[i]));
		assert_bytes_text(buf_bytes(&out), texts[i]);
		buf_fini(&out);
	}
}

static void
texts_made_of_what_yaml_minds_read_back(void **state)
{
	static const char *const pieces[] = {"a", "b", "0", " ", " ", "\n", "\r", "\t", ":", "#",
	    "-", "?", ",", "[", "]", "{", "}", "&", "*", "!", "|", ">", "<", "=", "'", "\"", "%",
	    "@", "`", "\\", "~", ".", "/", "\x01", "\x7f", "\xc3\xa9", "\xef\xbb\xbf",
	    "\xf0\x9f\x98\x80"};
	uint32_t seed = 1;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char text[64] = "";
		size_t len = 0;

		for (int i = 0; i < 6; i++) {
			seed = seed * 1664525u + 1013904223u;
			const char *piece = pieces[(seed >> 16) % CONF_COUNT(pieces)];

			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s", piece);
			if ((seed >> 8) % 4 == 0) {
				break;
			}
		}
		if (strcmp(text, "<<") != 0) {
			assert_quote_reads_back(bytes_of(text), (enum spot)(round % SPOT_COUNT));
		}
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_bool_has_three_words_for_each_side),
	    cmocka_unit_test(what_is_almost_a_bool_is_none),
	    cmocka_unit_test(an_int_is_decimal_and_has_64_bits),
	    cmocka_unit_test(what_is_almost_an_int_is_none),
	    cmocka_unit_test(a_number_ends_where_its_view_ends),
	    cmocka_unit_test(a_size_takes_units_of_1024),
	    cmocka_unit_test(what_is_almost_a_size_is_none),
	    cmocka_unit_test(a_duration_adds_its_parts),
	    cmocka_unit_test(what_is_almost_a_duration_is_none),
	    cmocka_unit_test(a_word_is_itself_and_no_other),
	    cmocka_unit_test(what_is_written_of_a_number_reads_back),
	    cmocka_unit_test(a_number_is_written_as_people_write_it),
	    cmocka_unit_test(what_is_quoted_reads_back_as_the_same_text),
	    cmocka_unit_test(the_second_set_of_controls_reads_back),
	    cmocka_unit_test(the_separators_of_unicode_read_back),
	    cmocka_unit_test(what_unicode_calls_no_character_reads_back),
	    cmocka_unit_test(what_no_reader_can_mistake_stays_plain),
	    cmocka_unit_test(texts_made_of_what_yaml_minds_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
