/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topics of all rules stand in one forest, level by level, with a root for each user, group and
 * client id that rules name, and one for everybody. A question walks the few trees of who asks, so
 * that rules of others cost nothing. Nodes are found by their parent and text in one hash table;
 * what it is asked for cannot grow it.
 */
#include "rules.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LEVELS = 128, MAX_ITEMS = 1 << 26, NONE = 0, SUPER = 0 };

/* How a level of a filter is matched. */
enum kind { KIND_LITERAL, KIND_TEMPLATE };

struct node {
	uint32_t parent;
	uint32_t text, len;  /* its level, in `texts` */
	uint32_t plus, hash; /* children + and #; NONE */
	uint32_t child;      /* the first of all others; NONE */
	uint32_t next;       /* its sibling */
	uint32_t templates;  /* the first child whose text has %u or %c */
	uint32_t ref;        /* the rules whose filter ends here; NONE */
	uint32_t kind;
};

/* An entry of a node's list. */
struct ref {
	uint32_t value; /* a rule; for members of groups: the group's root */
	uint32_t next;  /* NONE */
};

struct address {
	uint8_t bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
	unsigned bits;
};

struct rule {
	uint32_t line;
	uint8_t actions;
	bool is_deny;
	uint32_t client_ids, client_id_count; /* in `names`, where users are asked for as well */
	uint32_t addresses, address_count;
};

#define LIST(type)            \
	struct {              \
		type *items;  \
		size_t count; \
		size_t cap;   \
	}

struct acl_rules {
	LIST(struct node) nodes; /* [0] is the root of roots */
	LIST(struct ref) refs;   /* [0] is not used */
	LIST(struct rule) rules;
	LIST(struct address) addresses;
	LIST(struct acl_text) names; /* offsets into texts while it is made: see name_at */
	LIST(char) texts;
	uint32_t *table; /* nodes by parent and text; NONE: free */
	size_t mask;
	bool failed; /* no memory */
	bool has_open_subscribe;
	bool judges_receive;
	bool allow_names_receive;
};

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

static uint32_t
find(const struct acl_rules *rules, uint32_t parent, struct acl_text text)
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
	uint32_t index = find(rules, parent, text);
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

/* The root of a user ('u'), client id ('c'), group ('g') or of the memberships of a user ('m'). */
static uint32_t
root_find(const struct acl_rules *rules, char kind, struct acl_text name)
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
	root = find(rules, SUPER, (struct acl_text){text, name.n + 1});
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

/* The next level; false: there is none. *at begins at 0 and is past the end then. */
static bool
next_level(struct acl_text topic, size_t *at, struct acl_text *level)
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
	while (next_level(topic, &at, &level)) {
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

static bool
parse_ip(struct acl_text text, uint8_t bytes[16])
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

	if (!parse_ip(host, address->bytes)) {
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

static struct acl_text
name_at(const struct acl_rules *rules, size_t i)
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

		while (node != NONE && next_level(rule->topics.items[i], &at, &level)) {
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
		done = add_topics(rules, root_find(rules, 'a', (struct acl_text){"", 0}), given);
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

/* --- asking it --- */

struct question {
	const struct acl_rules *rules;
	const struct acl_who *who;
	unsigned action;
	struct acl_text topic;
	bool is_hidden; /* it begins with $: wildcards of the first level do not match it */
	bool has_ip, knows_ip;
	uint8_t ip[16];
	uint32_t allow, deny; /* the first of each that applies; UINT32_MAX: none */
};

static bool
is_in_network(const uint8_t ip[16], const struct address *network)
{
	unsigned whole = network->bits / 8, rest = network->bits % 8;

	return memcmp(ip, network->bytes, whole) == 0 &&
	       (rest == 0 || ((ip[whole] ^ network->bytes[whole]) >> (8 - rest)) == 0);
}

static bool
is_from(struct question *question, const struct rule *rule)
{
	if (rule->address_count == 0) {
		return true;
	}
	if (!question->knows_ip) {
		question->has_ip = parse_ip(question->who->address, question->ip);
		question->knows_ip = true;
	}
	/* Who has no address (a unix socket) is in no network. */
	for (uint32_t i = 0; question->has_ip && i < rule->address_count; i++) {
		if (is_in_network(
			question->ip, &question->rules->addresses.items[rule->addresses + i])) {
			return true;
		}
	}
	return false;
}

static bool
has_client_id(const struct question *question, const struct rule *rule)
{
	struct acl_text id = question->who->client_id;

	for (uint32_t i = 0; i < rule->client_id_count; i++) {
		struct acl_text name = name_at(question->rules, rule->client_ids + i);

		if (name.n == id.n && (id.n == 0 || memcmp(name.p, id.p, id.n) == 0)) {
			return true;
		}
	}
	return rule->client_id_count == 0;
}

static bool
is_about(const struct question *question, const struct rule *rule)
{
	unsigned actions = rule->actions;

	/* Who may subscribe may receive, unless an allow tells the two apart. */
	if ((actions & ACL_SUBSCRIBE) != 0 &&
	    (rule->is_deny || !question->rules->allow_names_receive)) {
		actions |= ACL_RECEIVE;
	}
	return (actions & question->action) != 0;
}

static void
take(struct question *question, uint32_t index, bool denies_only)
{
	const struct node *node = &question->rules->nodes.items[index];

	for (uint32_t at = node->ref; at != NONE; at = question->rules->refs.items[at].next) {
		uint32_t number = question->rules->refs.items[at].value;
		const struct rule *rule = &question->rules->rules.items[number];
		uint32_t *first = rule->is_deny ? &question->deny : &question->allow;

		if (number < *first && (rule->is_deny || !denies_only) &&
		    is_about(question, rule) && has_client_id(question, rule) &&
		    is_from(question, rule)) {
			*first = number;
		}
	}
}

/* All denies at and below a node. */
static void
take_denies(struct question *question, uint32_t index)
{
	const struct node *node = &question->rules->nodes.items[index];

	take(question, index, true);
	if (node->plus != NONE) {
		take_denies(question, node->plus);
	}
	if (node->hash != NONE) {
		take(question, node->hash, true);
	}
	for (uint32_t at = node->child; at != NONE; at = question->rules->nodes.items[at].next) {
		take_denies(question, at);
	}
	for (uint32_t at = node->templates; at != NONE;
	     at = question->rules->nodes.items[at].next) {
		take_denies(question, at);
	}
}

/* A value that could be taken for more than one level, or for none. */
static bool
is_dirty(struct acl_text value)
{
	if (value.n == 0) {
		return true;
	}
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '+' || value.p[i] == '#' || value.p[i] == '/') {
			return true;
		}
	}
	return false;
}

enum fit { FIT_NO, FIT_YES, FIT_DIRTY };

/* Is the level what the template gives with this client's values? */
static enum fit
fit(const struct acl_who *who, struct acl_text text, struct acl_text level)
{
	bool is_same = true;
	size_t at = 0;

	for (size_t i = 0; i < text.n; i++) {
		struct acl_text piece = {text.p + i, 1};

		if (text.p[i] == '%' && i + 1 < text.n &&
		    (text.p[i + 1] == 'u' || text.p[i + 1] == 'c')) {
			piece = text.p[++i] == 'u' ? who->user : who->client_id;
			if (is_dirty(piece)) {
				return FIT_DIRTY;
			}
		}
		is_same = is_same && level.n - at >= piece.n &&
			  memcmp(level.p + at, piece.p, piece.n) == 0;
		at += is_same ? piece.n : 0;
	}
	return is_same && at == level.n ? FIT_YES : FIT_NO;
}

static void
walk(struct question *question, uint32_t index, size_t at)
{
	const struct acl_rules *rules = question->rules;
	const struct node *node = &rules->nodes.items[index];
	bool is_shown = at != 0 || !question->is_hidden;
	bool is_filter = question->action == ACL_SUBSCRIBE;
	struct acl_text level;
	size_t rest = at;
	uint32_t child;

	if (node->hash != NONE && is_shown) {
		take(question, node->hash, false);
	}
	if (!next_level(question->topic, &rest, &level)) {
		take(question, index, false);
		return;
	}
	if (is_filter && level.n == 1 && level.p[0] == '#') {
		return; /* only # covers # */
	}
	if (node->plus != NONE && is_shown) {
		walk(question, node->plus, rest);
	}
	/* A + that is asked for is covered by + and # only: no other child has that text. */
	child = find(rules, index, level);
	if (child != NONE && rules->nodes.items[child].kind == KIND_LITERAL &&
	    child != node->plus && child != node->hash) {
		walk(question, child, rest);
	}
	for (child = node->templates; child != NONE; child = rules->nodes.items[child].next) {
		const struct node *below = &rules->nodes.items[child];

		switch (fit(question->who,
		    (struct acl_text){rules->texts.items + below->text, below->len}, level)) {
		case FIT_YES:
			walk(question, child, rest);
			break;
		case FIT_DIRTY:
			take_denies(question, child);
			break;
		case FIT_NO:
			break;
		}
	}
}

static void
walk_root(struct question *question, uint32_t root)
{
	if (root != NONE) {
		walk(question, root, 0);
	}
}

struct acl_ruling
acl_rules_ask(const struct acl_rules *rules, const struct acl_who *who, unsigned action,
    struct acl_text topic)
{
	struct question question = {.rules = rules,
	    .who = who,
	    .action = action,
	    .topic = topic,
	    .is_hidden = topic.n != 0 && topic.p[0] == '$',
	    .allow = UINT32_MAX,
	    .deny = UINT32_MAX};
	uint32_t member;

	if (action == ACL_SUBSCRIBE && rules->has_open_subscribe) {
		return (struct acl_ruling){.is_decided = true};
	}
	if (topic.n == 0) {
		return (struct acl_ruling){0};
	}
	walk_root(&question, root_find(rules, 'a', (struct acl_text){"", 0}));
	walk_root(&question, root_find(rules, 'u', who->user));
	walk_root(&question, root_find(rules, 'c', who->client_id));
	member = root_find(rules, 'm', who->user);
	for (uint32_t at = member != NONE ? rules->nodes.items[member].ref : NONE; at != NONE;
	     at = rules->refs.items[at].next) {
		walk_root(&question, rules->refs.items[at].value);
	}
	if (question.deny != UINT32_MAX) {
		return (struct acl_ruling){.is_decided = true,
		    .is_deny = true,
		    .line = rules->rules.items[question.deny].line};
	}
	if (question.allow != UINT32_MAX) {
		return (struct acl_ruling){
		    .is_decided = true, .line = rules->rules.items[question.allow].line};
	}
	return (struct acl_ruling){0};
}
