/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mosquitto's aclfile, line by line:
 *
 *     topic [read|write|readwrite|deny] TOPIC    for the user above; before the first user: for
 *                                                clients without a user name
 *     user NAME
 *     pattern [read|write|readwrite|deny] TOPIC  for everybody; %u and %c
 *
 * `read` is judged when a message is delivered; to subscribe is left to everybody.
 */
#include <stdio.h>
#include <string.h>

#include "read.h"

struct reader {
	struct acl_rules *rules;
	const char *path;
	unsigned line;
	struct acl_text user;
	char *why;
	size_t why_size;
};

static bool
fail(const struct reader *reader, const char *sentence)
{
	(void)snprintf(
	    reader->why, reader->why_size, "%s:%u: %s", reader->path, reader->line, sentence);
	return false;
}

static bool
is_blank(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r';
}

/* Without what is blank at both ends. */
static struct acl_text
trim(struct acl_text text)
{
	while (text.n != 0 && is_blank(text.p[0])) {
		text.p++;
		text.n--;
	}
	while (text.n != 0 && is_blank(text.p[text.n - 1])) {
		text.n--;
	}
	return text;
}

/* Takes the first word off; what is left is trimmed. */
static struct acl_text
take_word(struct acl_text *text)
{
	struct acl_text word = {text->p, 0};

	while (word.n < text->n && !is_blank(text->p[word.n])) {
		word.n++;
	}
	*text = trim((struct acl_text){text->p + word.n, text->n - word.n});
	return word;
}

static bool
is_word(struct acl_text text, const char *word)
{
	return text.n == strlen(word) && memcmp(text.p, word, text.n) == 0;
}

static bool
read_access(struct acl_text word, struct acl_rule *rule)
{
	rule->actions = is_word(word, "read")        ? ACL_RECEIVE
			: is_word(word, "write")     ? ACL_PUBLISH
			: is_word(word, "readwrite") ? ACL_PUBLISH | ACL_RECEIVE
			: is_word(word, "deny")      ? ACL_PUBLISH | ACL_RECEIVE
						     : 0;
	rule->is_deny = is_word(word, "deny");
	return rule->actions != 0;
}

static bool
add(struct reader *reader, struct acl_text rest, bool is_pattern)
{
	struct acl_rule rule = {.actions = ACL_PUBLISH | ACL_RECEIVE, .line = reader->line};
	struct acl_text topic = rest, word = take_word(&rest);
	const char *wrong;

	/* One word alone is a topic, whatever it is. */
	if (rest.n != 0) {
		topic = rest;
		if (!read_access(word, &rule)) {
			return fail(reader,
			    "before the topic stands one of read, write, readwrite and deny");
		}
	}
	rule.topics = (struct acl_list){&topic, 1};
	if (!is_pattern) {
		rule.users = (struct acl_list){&reader->user, 1};
		rule.is_literal = true;
	}
	wrong = acl_rules_add(reader->rules, &rule);
	return wrong == NULL || fail(reader, wrong);
}

static bool
read_line(struct reader *reader, struct acl_text line)
{
	struct acl_text rest = trim(line), word;

	if (rest.n == 0 || rest.p[0] == '#') {
		return true;
	}
	word = take_word(&rest);
	if (!is_word(word, "topic") && !is_word(word, "pattern") && !is_word(word, "user")) {
		return fail(reader, "a line begins with topic, user or pattern");
	}
	if (rest.n == 0) {
		return fail(reader, "the line ends too early");
	}
	if (is_word(word, "user")) {
		reader->user = rest;
		return true;
	}
	return add(reader, rest, is_word(word, "pattern"));
}

bool
acl_parse_aclfile(struct acl_rules *rules, const char *path, const char *text, size_t len,
    char *why, size_t why_size)
{
	struct reader reader = {
	    .rules = rules, .path = path, .user = {"", 0}, .why = why, .why_size = why_size};
	const char *end = text + len;

	acl_rules_open_subscribe(rules);
	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		size_t n = newline != NULL ? (size_t)(newline - text) : (size_t)(end - text);

		reader.line++;
		if (!read_line(&reader, (struct acl_text){text, n})) {
			return false;
		}
		text += n + (newline != NULL);
	}
	return true;
}
