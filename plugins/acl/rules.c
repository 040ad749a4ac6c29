/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topics of all rules stand in one forest, level by level, with a root for each user, group and
 * client id that rules name, and one for everybody. A question walks the few trees of who asks, so
 * that rules of others cost nothing. Nodes are found by their parent and text in one hash table;
 * what it is asked for cannot grow it.
 */
#include "rules_int.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LEVELS = 128, MAX_ITEMS = 1 << 26 };

/* --- memory --- */

static bool
grow(struct acl_rules *rules, void **items, size_t *cap, size_t need, size_t size)
{
	size_t next = *cap != 0 ? *cap : 16;
	void *grown;

	while (next < need) {
		next *= 2;
	}
	if (next > MAX_ITEMS || (grown = realloc(*items, next * size)) == NULL) {
		rules->failed = true;
		return false;
	}
	*items = grown;
	*cap = next;
	return true;
}

/* Room for n more; false: no memory. */
#define room(rules, list, n)                                                                      \
	((list)->count + (n) <= (list)->cap || grow(rules, (void **)&(list)->items, &(list)->cap, \
						   (list)->count + (n), sizeof(*(list)->items)))

static uint32_t
put_text(struct acl_rules *rules, struct acl_text text)
{
	uint32_t at = (uint32_t)rules->texts.count;

	if (!room(rules, &rules->texts, text.n + 1)) {
		return 0;
	}
	if (text.n != 0) {
		memcpy(rules->texts.items + at, text.p, text.n);
	}
	rules->texts.count += text.n + 1;
	return at;
}

/* --- nodes --- */

static uint64_t
hash_of(uint32_t parent, struct acl_text text)
{
	uint64_t hash = (14695981039346656037ULL ^ parent) * 1099511628211ULL;

	for (size_t i = 0; i < text.n; i++) {
		hash = (hash ^ (uint8_t)text.p[i]) * 1099511628211ULL;
	}
	return hash ^ (hash >> 32);
}

uint32_t
acl_find(const struct acl_rules *rules, uint32_t parent, struct acl_text text)
{
	size_t at = hash_of(parent, text) & rules->mask;

	for (; rules->table[at] != NONE; at = (at + 1) & rules->mask) {
		const struct node *node = &rules->nodes.items[rules->table[at]];

		if (node->parent == parent && node->len == text.n &&
		    memcmp(rules->texts.items + node->text, text.p, text.n) == 0) {
			return rules->table[at];
		}
	}
	return NONE;
}

static void
put_in_table(struct acl_rules *rules, uint32_t index)
{
	const struct node *node = &rules->nodes.items[index];
	struct acl_text text = {rules->texts.items + node->text, node->len};
	size_t at = hash_of(node->parent, text) & rules->mask;

	while (rules->table[at] != NONE) {
		at = (at + 1) & rules->mask;
	}
	rules->table[at] = index;
}

static bool
grow_table(struct acl_rules *rules)
{
	size_t size = rules->mask != 0 ? (rules->mask + 1) * 2 : 64;
	uint32_t *table = calloc(size, sizeof(*table));

	if (table == NULL) {
		rules->failed = true;
		return false;
	}
	free(rules->table);
	rules->table = table;
	rules->mask = size - 1;
	for (size_t i = 1; i < rules->nodes.count; i++) {
		put_in_table(rules, (uint32_t)i);
	}
	return true;
}

static bool
is_template(struct acl_text text)
{
	for (size_t i = 0; i + 1 < text.n; i++) {
		if (text.p[i] == '%' && (text.p[i + 1] == 'u' || text.p[i + 1] == 'c')) {
			return true;
		}
	}
	return false;
}

/* The child of that text, made at need; NONE: no memory. */
static uint32_t
child_of(struct acl_rules *rules, uint32_t parent, struct acl_text text, enum kind kind)
{
	uint32_t index = acl_find(rules, parent, text);
	struct node *node, *above;

	if (index != NONE) {
		return index;
	}
	index = (uint32_t)rules->nodes.count;
	if ((rules->nodes.count + 1) * 2 > rules->mask && !grow_table(rules)) {
		return NONE;
	}
	if (!room(rules, &rules->nodes, 1)) {
		return NONE;
	}
	node = &rules->nodes.items[index];
	*node = (struct node){.parent = parent, .len = (uint32_t)text.n, .kind = kind};
	node->text = put_text(rules, text);
	if (rules->failed) {
		return NONE;
	}
	rules->nodes.count++;
	above = &rules->nodes.items[parent];
	if (text.n == 1 && text.p[0] == '+' && parent != SUPER) {
		above->plus = index;
	} else if (text.n == 1 && text.p[0] == '#' && parent != SUPER) {
		above->hash = index;
	} else if (kind == KIND_TEMPLATE) {
		node->next = above->templates;
		above->templates = index;
	} else if (parent != SUPER) {
		node->next = above->child;
		above->child = index;
	}
	put_in_table(rules, index);
	return index;
}

static bool
add_ref(struct acl_rules *rules, uint32_t node, uint32_t value)
{
	if (node == NONE || !room(rules, &rules->refs, 1)) {
		rules->failed = true;
		return false;
	}
	rules->refs.items[rules->refs.count] = (struct ref){value, rules->nodes.items[node].ref};
	rules->nodes.items[node].ref = (uint32_t)rules->refs.count++;
	return true;
}

uint32_t
acl_find_root(const struct acl_rules *rules, char kind, struct acl_text name)
{
	char small[256], *text = name.n < sizeof(small) ? small : malloc(name.n + 1);
	uint32_t root;

	if (text == NULL) {
		return NONE;
	}
	text[0] = kind;
	if (name.n != 0) {
		memcpy(text + 1, name.p, name.n);
	}
	root = acl_find(rules, SUPER, (struct acl_text){text, name.n + 1});
	if (text != small) {
		free(text);
	}
	return root;
}

static uint32_t
root_make(struct acl_rules *rules, char kind, struct acl_text name)
{
	char *text = malloc(name.n + 1);
	uint32_t root;

	if (text == NULL) {
		rules->failed = true;
		return NONE;
	}
	text[0] = kind;
	if (name.n != 0) {
		memcpy(text + 1, name.p, name.n);
	}
	root = child_of(rules, SUPER, (struct acl_text){text, name.n + 1}, KIND_LITERAL);
	free(text);
	return root;
}

/* --- making it --- */

struct acl_rules *
acl_rules_new(void)
{
	struct acl_rules *rules = calloc(1, sizeof(*rules));

	if (rules == NULL) {
		return NULL;
	}
	if (room(rules, &rules->nodes, 1) && room(rules, &rules->refs, 1) && grow_table(rules)) {
		rules->nodes.items[0] = (struct node){0};
		rules->refs.items[0] = (struct ref){0};
		rules->nodes.count = rules->refs.count = 1;
		(void)put_text(rules, (struct acl_text){"", 0});
		(void)root_make(rules, 'a', (struct acl_text){"", 0});
	}
	if (rules->failed) {
		acl_rules_free(rules);
		return NULL;
	}
	return rules;
}

void
acl_rules_free(struct acl_rules *rules)
{
	if (rules != NULL) {
		free(rules->nodes.items);
		free(rules->refs.items);
		free(rules->rules.items);
		free(rules->addresses.items);
		free(rules->names.items);
		free(rules->texts.items);
		free(rules->table);
		free(rules);
	}
}

bool
acl_rules_add_member(struct acl_rules *rules, struct acl_text group, struct acl_text user)
{
	uint32_t root = root_make(rules, 'g', group), member = root_make(rules, 'm', user);

	return root != NONE && add_ref(rules, member, root);
}

void
acl_rules_open_subscribe(struct acl_rules *rules)
{
	rules->has_open_subscribe = true;
	rules->judges_receive = true;
}

size_t
acl_rules_count(const struct acl_rules *rules)
{
	return rules->rules.count;
}

bool
acl_rules_judge_receive(const struct acl_rules *rules)
{
	return rules->judges_receive;
}

bool
acl_next_level(struct acl_text topic, size_t *at, struct acl_text *level)
{
	const char *slash;

	if (*at > topic.n) {
		return false;
	}
	level->p = topic.p + *at;
	slash = *at < topic.n ? memchr(level->p, '/', topic.n - *at) : NULL;
	level->n = slash != NULL ? (size_t)(slash - level->p) : topic.n - *at;
	*at += level->n + 1;
	return true;
}

const char *
acl_rules_check_topic(struct acl_text topic)
{
	struct acl_text level;
	size_t at = 0, levels = 0;

	if (topic.n == 0) {
		return "a topic is empty";
	}
	if (topic.n > UINT16_MAX || memchr(topic.p, '\0', topic.n) != NULL) {
		return "a topic is longer than 65535 bytes, or contains a NUL";
	}
	while (acl_next_level(topic, &at, &level)) {
		if (++levels > MAX_LEVELS) {
			return "a topic has more than 128 levels";
		}
		if (level.n > 1 && (memchr(level.p, '+', level.n) != NULL ||
				       memchr(level.p, '#', level.n) != NULL)) {
			return "+ and # stand alone in their level of a topic";
		}
		if (level.n == 1 && level.p[0] == '#' && at <= topic.n) {
			return "# is the last level of a topic";
		}
	}
	return NULL;
}

bool
acl_parse_ip(struct acl_text text, uint8_t bytes[16])
{
	char copy[INET6_ADDRSTRLEN + 1];
	uint8_t four[4];

	if (text.n == 0 || text.n >= sizeof(copy)) {
		return false;
	}
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	if (inet_pton(AF_INET, copy, four) == 1) {
		memset(bytes, 0, 10);
		bytes[10] = bytes[11] = 0xff;
		memcpy(bytes + 12, four, 4);
		return true;
	}
	return inet_pton(AF_INET6, copy, bytes) == 1;
}

static bool
parse_address(struct acl_text text, struct address *address)
{
	const char *slash = memchr(text.p, '/', text.n);
	struct acl_text host = {text.p, slash != NULL ? (size_t)(slash - text.p) : text.n};
	bool is_four = memchr(host.p, ':', host.n) == NULL;
	unsigned bits = 0, max = is_four ? 32 : 128;

	if (!acl_parse_ip(host, address->bytes)) {
		return false;
	}
	if (slash == NULL) {
		address->bits = 128;
		return true;
	}
	for (const char *digit = slash + 1; digit < text.p + text.n; digit++) {
		if (*digit < '0' || *digit > '9' || bits > max) {
			return false;
		}
		bits = bits * 10 + (unsigned)(*digit - '0');
	}
	if (slash + 1 == text.p + text.n || bits > max) {
		return false;
	}
	address->bits = is_four ? bits + 96 : bits;
	return true;
}

static const char *
add_addresses(struct acl_rules *rules, struct rule *rule, struct acl_list list)
{
	rule->addresses = (uint32_t)rules->addresses.count;
	rule->address_count = (uint32_t)list.count;
	for (size_t i = 0; i < list.count; i++) {
		struct address address;

		if (!parse_address(list.items[i], &address)) {
			return "an address is neither an IP address nor a network like "
			       "192.0.2.0/24";
		}
		if (!room(rules, &rules->addresses, 1)) {
			return "no memory";
		}
		rules->addresses.items[rules->addresses.count++] = address;
	}
	return NULL;
}

static bool
add_names(struct acl_rules *rules, struct rule *rule, struct acl_list list)
{
	rule->client_ids = (uint32_t)rules->names.count;
	rule->client_id_count = (uint32_t)list.count;
	for (size_t i = 0; i < list.count; i++) {
		if (!room(rules, &rules->names, 1)) {
			return false;
		}
		/* An offset for a pointer: texts still move. */
		rules->names.items[rules->names.count++] = (struct acl_text){
		    (const char *)(uintptr_t)put_text(rules, list.items[i]), list.items[i].n};
	}
	return !rules->failed;
}

struct acl_text
acl_name_at(const struct acl_rules *rules, size_t i)
{
	struct acl_text name = rules->names.items[i];

	return (struct acl_text){rules->texts.items + (uintptr_t)name.p, name.n};
}

/* The filters of a rule, below a root. */
static bool
add_topics(struct acl_rules *rules, uint32_t root, const struct acl_rule *rule)
{
	for (size_t i = 0; i < rule->topics.count; i++) {
		struct acl_text level;
		uint32_t node = root;
		size_t at = 0;

		while (node != NONE && acl_next_level(rule->topics.items[i], &at, &level)) {
			node = child_of(rules, node, level,
			    !rule->is_literal && is_template(level) ? KIND_TEMPLATE : KIND_LITERAL);
		}
		if (!add_ref(rules, node, (uint32_t)rules->rules.count)) {
			return false;
		}
	}
	return true;
}

static bool
add_roots(struct acl_rules *rules, char kind, struct acl_list names, const struct acl_rule *rule)
{
	for (size_t i = 0; i < names.count; i++) {
		if (!add_topics(rules, root_make(rules, kind, names.items[i]), rule)) {
			return false;
		}
	}
	return true;
}

const char *
acl_rules_add(struct acl_rules *rules, const struct acl_rule *given)
{
	struct rule rule = {
	    .line = given->line, .is_deny = given->is_deny, .actions = (uint8_t)given->actions};
	const char *wrong = add_addresses(rules, &rule, given->addresses);
	bool has_users = given->users.count + given->groups.count != 0, done;

	for (size_t i = 0; wrong == NULL && i < given->topics.count; i++) {
		wrong = acl_rules_check_topic(given->topics.items[i]);
	}
	if (wrong != NULL) {
		return wrong;
	}
	if (has_users) {
		done = add_names(rules, &rule, given->client_ids) &&
		       add_roots(rules, 'u', given->users, given) &&
		       add_roots(rules, 'g', given->groups, given);
	} else if (given->client_ids.count != 0) {
		done = add_roots(rules, 'c', given->client_ids, given);
	} else {
		done =
		    add_topics(rules, acl_find_root(rules, 'a', (struct acl_text){"", 0}), given);
	}
	if (!done || !room(rules, &rules->rules, 1)) {
		return "no memory";
	}
	rules->rules.items[rules->rules.count++] = rule;
	if ((given->actions & ACL_RECEIVE) != 0) {
		rules->judges_receive = true;
		rules->allow_names_receive |= !given->is_deny;
	}
	if (given->is_deny && (given->actions & ACL_SUBSCRIBE) != 0) {
		rules->judges_receive = true;
	}
	return NULL;
}
