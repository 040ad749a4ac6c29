/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/bind_int.h"

#include "base/str.h"
#include "conf/value.h"

void
conf_bind_fail(struct conf_bind *bind, struct conf_place place, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	conf_errors_vadd(bind->errors, place, bind->path.text, format, args);
	va_end(args);
}

/* "VALUE must be …"; what !env or !file gave, and a secret, is not shown. */
static void
fail_value(struct conf_bind *bind, const struct conf_slot *slot, const char *sentence)
{
	struct bytes text = slot->node->text;
	struct buf shown;

	if (slot->option->secret || slot->node->reference != NULL) {
		conf_bind_fail(bind, slot->node->place, "the value %s", sentence);
		return;
	}
	buf_init(&shown, SIZE_MAX);
	text.len = text.len < 64 ? text.len : 64;
	str_escape(&shown, text, true);
	conf_bind_fail(bind, slot->node->place, "\"%s\" %s", buf_text(&shown), sentence);
	buf_fini(&shown);
}

/* "auto, true or false": for a sentence. */
static void
join_words(struct buf *out, const struct conf_word *words)
{
	for (const struct conf_word *word = words; word->word != NULL; word++) {
		if (word != words) {
			buf_append_text(out, word[1].word != NULL ? ", " : " or ");
		}
		buf_append_text(out, word->word);
	}
}

void
conf_scalar_fail_word(struct conf_bind *bind, const struct conf_slot *slot, const char *sentence)
{
	struct buf text;

	buf_init(&text, SIZE_MAX);
	if (sentence != NULL) {
		buf_printf(&text, "%s, or ", sentence);
	} else {
		buf_append_text(&text, "must be ");
	}
	join_words(&text, slot->option->words);
	fail_value(bind, slot, buf_text(&text));
	buf_fini(&text);
}

static void
fail_range(struct conf_bind *bind, const struct conf_slot *slot)
{
	const struct conf_option bare = {.type = slot->option->type};
	struct buf text;

	buf_init(&text, SIZE_MAX);
	buf_append_text(&text, "must be ");
	if (slot->option->max != 0) {
		buf_append_text(&text, "from ");
		conf_value_format(&text, &bare, slot->option->min);
		buf_append_text(&text, " to ");
		conf_value_format(&text, &bare, slot->option->max);
	} else {
		buf_append_text(&text, "at least ");
		conf_value_format(&text, &bare, slot->option->min);
	}
	fail_value(bind, slot, buf_text(&text));
	buf_fini(&text);
}

static const char *
parse_number(const struct conf_slot *slot, int64_t *value_out)
{
	switch (slot->option->type) {
	case CONF_SIZE:
		return conf_value_size(slot->node->text, value_out);
	case CONF_DURATION:
		return conf_value_duration(slot->node->text, value_out);
	default:
		return conf_value_int(slot->node->text, value_out);
	}
}

/* Numbers and truths are not in quotes; the sentence says so where that is all that is wrong. */
static bool
fail_quoted(struct conf_bind *bind, const struct conf_slot *slot, const char *sentence)
{
	struct buf text;

	if (!slot->node->quoted) {
		return false;
	}
	buf_init(&text, SIZE_MAX);
	buf_printf(&text, "%s, without quotes", sentence);
	fail_value(bind, slot, buf_text(&text));
	buf_fini(&text);
	return true;
}

static const char *
number_sentence(enum conf_type type)
{
	switch (type) {
	case CONF_SIZE:
		return conf_value_size(bytes_of(""), &(int64_t){0});
	case CONF_DURATION:
		return conf_value_duration(bytes_of(""), &(int64_t){0});
	default:
		return conf_value_int(bytes_of(""), &(int64_t){0});
	}
}

/* Numbers, and words in their place. */
static void
bind_number(struct conf_bind *bind, const struct conf_slot *slot)
{
	const struct conf_option *option = slot->option;
	int64_t *member = slot->member, value;
	const char *sentence;

	if (conf_value_word(slot->node->text, option->words, member)) {
		return;
	}
	if (fail_quoted(bind, slot, number_sentence(option->type))) {
		return;
	}
	sentence = parse_number(slot, &value);
	if (sentence != NULL && option->words != NULL) {
		conf_scalar_fail_word(bind, slot, sentence);
	} else if (sentence != NULL) {
		fail_value(bind, slot, sentence);
	} else if (value < option->min || (option->max != 0 && value > option->max)) {
		fail_range(bind, slot);
	} else {
		*member = value;
	}
}

void
conf_scalar_bind(struct conf_bind *bind, const struct conf_slot *slot)
{
	const char *sentence;

	switch (slot->option->type) {
	case CONF_BOOL:
		sentence = conf_value_bool(slot->node->text, slot->member);
		if (sentence == NULL) {
			(void)fail_quoted(bind, slot, "must be true or false");
		} else {
			fail_value(bind, slot, sentence);
		}
		break;
	case CONF_STRING:
		*(const char **)slot->member =
		    conf_node_is_null(slot->node) ? NULL : (const char *)slot->node->text.data;
		break;
	case CONF_ENUM:
		if (!conf_value_word(slot->node->text, slot->option->words, slot->member)) {
			conf_scalar_fail_word(bind, slot, NULL);
		}
		break;
	default:
		bind_number(bind, slot);
		break;
	}
}
