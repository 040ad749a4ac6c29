/* SPDX-License-Identifier: Apache-2.0 */
/* A question walks the trees of who asks: each path that the topic can take in them. */
#include <string.h>

#include "rules_int.h"

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
		question->has_ip = acl_parse_ip(question->who->address, question->ip);
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
		struct acl_text name = acl_name_at(question->rules, rule->client_ids + i);

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
	if (!acl_next_level(question->topic, &rest, &level)) {
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
	child = acl_find(rules, index, level);
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
	walk_root(&question, acl_find_root(rules, 'a', (struct acl_text){"", 0}));
	walk_root(&question, acl_find_root(rules, 'u', who->user));
	walk_root(&question, acl_find_root(rules, 'c', who->client_id));
	member = acl_find_root(rules, 'm', who->user);
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
