/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl.yaml: a mapping of `groups` (name: list of users) and `rules`, a list of mappings with
 * `allow` or `deny` (actions), `topics`, and whom it is about: `users`, `groups`, `client_ids`,
 * `addresses`. A single text may stand where a list may.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "read.h"

struct reader {
	struct acl_rules *rules;
	yaml_document_t document;
	const char *path;
	struct acl_text *groups; /* that are known */
	size_t group_count;
	char *why;
	size_t why_size;
};

static bool __attribute__((format(printf, 3, 4)))
fail(const struct reader *reader, const yaml_mark_t *mark, const char *format, ...)
{
	va_list args;
	int n = snprintf(reader->why, reader->why_size, "%s:%zu:%zu: ", reader->path,
	    mark->line + 1, mark->column + 1);

	va_start(args, format);
	if (n > 0 && (size_t)n < reader->why_size) {
		(void)vsnprintf(reader->why + n, reader->why_size - (size_t)n, format, args);
	}
	va_end(args);
	return false;
}

static yaml_node_t *
node_at(struct reader *reader, int index)
{
	return yaml_document_get_node(&reader->document, index);
}

static struct acl_text
text_of(const yaml_node_t *node)
{
	return (struct acl_text){(const char *)node->data.scalar.value, node->data.scalar.length};
}

static bool
is_text(const yaml_node_t *node, const char *text)
{
	return node->type == YAML_SCALAR_NODE && node->data.scalar.length == strlen(text) &&
	       memcmp(node->data.scalar.value, text, strlen(text)) == 0;
}

/* Nothing written behind a key. */
static bool
is_null(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE &&
	       node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (node->data.scalar.length == 0 || is_text(node, "~") || is_text(node, "null"));
}

/* A list of texts, or one. The caller frees the items. */
static bool
read_list(struct reader *reader, yaml_node_t *node, const char *key, struct acl_list *list)
{
	struct acl_text *items;
	size_t count;

	if (list->items != NULL) {
		return fail(reader, &node->start_mark, "\"%s\" stands here twice", key);
	}
	if (node->type == YAML_SCALAR_NODE && !is_null(node)) {
		items = malloc(sizeof(*items));
		if (items == NULL) {
			return fail(reader, &node->start_mark, "no memory");
		}
		items[0] = text_of(node);
		*list = (struct acl_list){items, 1};
		return true;
	}
	count = node->type == YAML_SEQUENCE_NODE
		    ? (size_t)(node->data.sequence.items.top - node->data.sequence.items.start)
		    : 0;
	if (count == 0) {
		return fail(reader, &node->start_mark, "\"%s\" takes a list of texts", key);
	}
	items = calloc(count, sizeof(*items));
	if (items == NULL) {
		return fail(reader, &node->start_mark, "no memory");
	}
	*list = (struct acl_list){items, count};
	for (size_t i = 0; i < count; i++) {
		yaml_node_t *item = node_at(reader, node->data.sequence.items.start[i]);

		if (item->type != YAML_SCALAR_NODE) {
			return fail(reader, &item->start_mark, "\"%s\" takes a list of texts", key);
		}
		items[i] = text_of(item);
	}
	return true;
}

static void
free_list(struct acl_list *list)
{
	free((void *)(uintptr_t)list->items);
	*list = (struct acl_list){0};
}

/* --- groups --- */

static bool
is_group(const struct reader *reader, struct acl_text name)
{
	for (size_t i = 0; i < reader->group_count; i++) {
		if (reader->groups[i].n == name.n &&
		    (name.n == 0 || memcmp(reader->groups[i].p, name.p, name.n) == 0)) {
			return true;
		}
	}
	return false;
}

static bool
read_group(struct reader *reader, yaml_node_t *key, yaml_node_t *value)
{
	struct acl_list users = {0};
	bool done;

	if (key->type != YAML_SCALAR_NODE || is_group(reader, text_of(key))) {
		return fail(reader, &key->start_mark, "a group has a name that no other group has");
	}
	reader->groups[reader->group_count++] = text_of(key);
	if (is_null(value) ||
	    (value->type == YAML_SEQUENCE_NODE &&
		value->data.sequence.items.top == value->data.sequence.items.start)) {
		return true; /* nobody */
	}
	done = read_list(reader, value, "groups", &users);
	for (size_t i = 0; done && i < users.count; i++) {
		done = acl_rules_add_member(reader->rules, text_of(key), users.items[i]) ||
		       fail(reader, &value->start_mark, "no memory");
	}
	free_list(&users);
	return done;
}

static bool
read_groups(struct reader *reader, yaml_node_t *node)
{
	if (is_null(node)) {
		return true;
	}
	if (node->type != YAML_MAPPING_NODE) {
		return fail(
		    reader, &node->start_mark, "\"groups\" takes a mapping of names to users");
	}
	reader->groups =
	    calloc((size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start) + 1,
		sizeof(*reader->groups));
	if (reader->groups == NULL) {
		return fail(reader, &node->start_mark, "no memory");
	}
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++) {
		if (!read_group(reader, node_at(reader, pair->key), node_at(reader, pair->value))) {
			return false;
		}
	}
	return true;
}

/* --- rules --- */

static bool
read_actions(struct reader *reader, yaml_node_t *node, const char *key, struct acl_rule *rule)
{
	struct acl_list words = {0};
	bool done = read_list(reader, node, key, &words);

	if (done && rule->actions != 0) {
		done = fail(
		    reader, &node->start_mark, "a rule has \"allow\" or \"deny\", and one of them");
	}
	for (size_t i = 0; done && i < words.count; i++) {
		struct acl_text word = words.items[i];
		unsigned action = word.n == 7 && memcmp(word.p, "publish", 7) == 0 ? ACL_PUBLISH
				  : word.n == 9 && memcmp(word.p, "subscribe", 9) == 0
				      ? ACL_SUBSCRIBE
				  : word.n == 7 && memcmp(word.p, "receive", 7) == 0 ? ACL_RECEIVE
										     : 0;

		if (action == 0) {
			done = fail(reader, &node->start_mark,
			    "\"%.*s\" is none of publish, subscribe and receive",
			    (int)(word.n < 64 ? word.n : 64), word.p);
		}
		rule->actions |= action;
	}
	rule->is_deny = key[0] == 'd';
	free_list(&words);
	return done;
}

static bool
read_entry(struct reader *reader, yaml_node_t *key, yaml_node_t *value, struct acl_rule *rule)
{
	static const char *const names[] = {
	    "users", "groups", "client_ids", "addresses", "topics", NULL};
	struct acl_list *const lists[] = {
	    &rule->users, &rule->groups, &rule->client_ids, &rule->addresses, &rule->topics};

	if (is_text(key, "allow") || is_text(key, "deny")) {
		return read_actions(reader, value, is_text(key, "deny") ? "deny" : "allow", rule);
	}
	for (size_t i = 0; names[i] != NULL; i++) {
		if (is_text(key, names[i])) {
			return read_list(reader, value, names[i], lists[i]);
		}
	}
	return fail(reader, &key->start_mark,
	    "a rule has the keys allow, deny, topics, users, groups, client_ids and addresses");
}

static bool
finish_rule(struct reader *reader, yaml_node_t *node, const struct acl_rule *rule)
{
	const char *wrong;

	if (rule->actions == 0 || rule->topics.count == 0) {
		return fail(reader, &node->start_mark,
		    "a rule needs \"allow\" or \"deny\", and \"topics\"");
	}
	for (size_t i = 0; i < rule->groups.count; i++) {
		if (!is_group(reader, rule->groups.items[i])) {
			return fail(reader, &node->start_mark, "there is no group \"%.*s\"",
			    (int)(rule->groups.items[i].n < 64 ? rule->groups.items[i].n : 64),
			    rule->groups.items[i].p);
		}
	}
	wrong = acl_rules_add(reader->rules, rule);
	return wrong == NULL || fail(reader, &node->start_mark, "%s", wrong);
}

static bool
read_rule(struct reader *reader, yaml_node_t *node)
{
	struct acl_rule rule = {.line = (unsigned)node->start_mark.line + 1};
	bool done = true;

	if (node->type != YAML_MAPPING_NODE) {
		return fail(reader, &node->start_mark, "a rule is a mapping");
	}
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     done && pair < node->data.mapping.pairs.top; pair++) {
		done = read_entry(
		    reader, node_at(reader, pair->key), node_at(reader, pair->value), &rule);
	}
	done = done && finish_rule(reader, node, &rule);
	free_list(&rule.users);
	free_list(&rule.groups);
	free_list(&rule.client_ids);
	free_list(&rule.addresses);
	free_list(&rule.topics);
	return done;
}

static bool
read_rules(struct reader *reader, yaml_node_t *node)
{
	if (is_null(node)) {
		return true;
	}
	if (node->type != YAML_SEQUENCE_NODE) {
		return fail(reader, &node->start_mark, "\"rules\" takes a list");
	}
	for (yaml_node_item_t *item = node->data.sequence.items.start;
	     item < node->data.sequence.items.top; item++) {
		if (!read_rule(reader, node_at(reader, *item))) {
			return false;
		}
	}
	return true;
}

/* --- the whole --- */

static bool
read_document(struct reader *reader, yaml_node_t *root)
{
	yaml_node_t *groups = NULL, *rules = NULL;

	if (root == NULL || is_null(root)) {
		return true; /* no rules */
	}
	if (root->type != YAML_MAPPING_NODE) {
		return fail(reader, &root->start_mark,
		    "the file is a mapping with the keys groups and rules");
	}
	for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
	     pair < root->data.mapping.pairs.top; pair++) {
		yaml_node_t *key = node_at(reader, pair->key);
		yaml_node_t **into = is_text(key, "groups")  ? &groups
				     : is_text(key, "rules") ? &rules
							     : NULL;

		if (into == NULL || *into != NULL) {
			return fail(reader, &key->start_mark,
			    into == NULL ? "the file has the keys groups and rules"
					 : "this key stands here twice");
		}
		*into = node_at(reader, pair->value);
	}
	return (groups == NULL || read_groups(reader, groups)) &&
	       (rules == NULL || read_rules(reader, rules));
}

bool
acl_parse_yaml(struct acl_rules *rules, const char *path, const char *text, size_t len, char *why,
    size_t why_size)
{
	struct reader reader = {.rules = rules, .path = path, .why = why, .why_size = why_size};
	yaml_parser_t parser;
	bool done = false;

	if (!yaml_parser_initialize(&parser)) {
		(void)snprintf(why, why_size, "%s: no memory", path);
		return false;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, &reader.document)) {
		(void)fail(&reader, &parser.problem_mark, "%s",
		    parser.problem != NULL ? parser.problem : "this is not YAML");
	} else {
		done = read_document(&reader, yaml_document_get_root_node(&reader.document));
		yaml_document_delete(&reader.document);
	}
	free(reader.groups);
	yaml_parser_delete(&parser);
	return done;
}
