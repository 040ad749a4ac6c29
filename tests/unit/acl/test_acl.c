/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of the plugin acl: files as people write them, and a random comparison of the forest
 * with a judge that looks at every rule.
 */
#include <stdlib.h>
#include <string.h>

#include "../../../plugins/acl/read.h"
#include "lib/unit.h"

enum { MAX_WHY = 512 };

static struct acl_text
text(const char *s)
{
	return (struct acl_text){s, strlen(s)};
}

static struct acl_rules *
parse(const char *file)
{
	char why[MAX_WHY] = "";
	struct acl_rules *rules = acl_parse("f", file, strlen(file), ACL_AUTO, why, sizeof(why));

	if (rules == NULL) {
		print_error("%s\n", why);
		fail();
	}
	return rules;
}

/* "ALLOW 3", "DENY 4", "NONE". */
static void
check(const struct acl_rules *rules, const char *user, const char *client_id, unsigned action,
    const char *topic, const char *want)
{
	struct acl_who who = {
	    .user = text(user), .client_id = text(client_id), .address = text("192.0.2.7")};
	struct acl_ruling ruling = acl_rules_ask(rules, &who, action, text(topic));
	char have[32] = "NONE";

	if (ruling.is_decided) {
		(void)snprintf(
		    have, sizeof(have), "%s %u", ruling.is_deny ? "DENY" : "ALLOW", ruling.line);
	}
	if (strcmp(have, want) != 0) {
		print_error(
		    "%s/%s %u %s: have %s, want %s\n", user, client_id, action, topic, have, want);
		fail();
	}
}

enum { PUB = ACL_PUBLISH, SUB = ACL_SUBSCRIBE, RECV = ACL_RECEIVE };

static void
test_the_documented_example(void **state)
{
	struct acl_rules *rules =
	    parse("groups: { operators: [alice, bob] }\n"
		  "rules:\n"
		  "- { allow: [publish], users: [sensor1], topics: [sensors/sensor1/#] }\n"
		  "- { allow: [subscribe], groups: [operators], topics: [\"#\", \"$SYS/#\"] }\n"
		  "- { allow: [publish, subscribe], topics: [\"devices/%c/#\"] }\n"
		  "- { deny: [publish], topics: [admin/#] }\n");

	(void)state;
	assert_int_equal(acl_rules_count(rules), 4);
	assert_false(acl_rules_judge_receive(rules));
	check(rules, "sensor1", "c", PUB, "sensors/sensor1", "ALLOW 3");
	check(rules, "sensor1", "c", PUB, "sensors/sensor1/a/b", "ALLOW 3");
	check(rules, "sensor1", "c", PUB, "sensors/sensor2/a", "NONE");
	check(rules, "sensor2", "c", PUB, "sensors/sensor1/a", "NONE");
	check(rules, "sensor1", "c", SUB, "sensors/sensor1/a", "NONE");
	check(rules, "alice", "c", SUB, "#", "ALLOW 4");
	check(rules, "alice", "c", SUB, "+/x", "ALLOW 4");
	check(rules, "alice", "c", SUB, "$SYS/broker/+", "ALLOW 4");
	check(rules, "alice", "c", SUB, "$other", "NONE");
	check(rules, "alice", "c", RECV, "x", "ALLOW 4");
	check(rules, "", "d1", PUB, "devices/d1", "ALLOW 5");
	check(rules, "", "d1", SUB, "devices/d1/#", "ALLOW 5");
	check(rules, "", "d1", SUB, "devices/+/#", "NONE");
	check(rules, "", "d1", SUB, "devices/#", "NONE");
	check(rules, "", "d1", PUB, "devices/d2/x", "NONE");
	check(rules, "alice", "c", PUB, "admin/x", "DENY 6");
	acl_rules_free(rules);
}

static void
test_values_never_widen_a_rule(void **state)
{
	struct acl_rules *rules = parse("rules:\n"
					"- { allow: [publish, subscribe], topics: [\"a/%c/x\"] }\n"
					"- { allow: publish, topics: [\"b-%u-%c/x\"] }\n"
					"- { deny: publish, topics: [\"d/%u/x\"] }\n"
					"- { allow: publish, topics: d/# }\n");

	(void)state;
	check(rules, "u", "c", PUB, "a/c/x", "ALLOW 2");
	check(rules, "u", "+", PUB, "a/+/x", "NONE");
	check(rules, "u", "+", SUB, "a/+/x", "NONE");
	check(rules, "u", "#", SUB, "a/#", "NONE");
	check(rules, "u", "b/c", PUB, "a/b/c/x", "NONE");
	check(rules, "u", "", PUB, "a//x", "NONE");
	check(rules, "u", "c", SUB, "a/+/x", "NONE");
	check(rules, "u", "%u", PUB, "a/%u/x", "ALLOW 2"); /* compared as it is */
	check(rules, "u", "u", PUB, "a/%c/x", "NONE");
	check(rules, "me", "it", PUB, "b-me-it/x", "ALLOW 3");
	check(rules, "me", "it", PUB, "b-me-itt/x", "NONE");
	check(rules, "me", "it", PUB, "b-me-i/x", "NONE");
	check(rules, "me", "", PUB, "b-me-/x", "NONE");
	/* A deny applies to whatever stands there. */
	check(rules, "u", "c", PUB, "d/u/x", "DENY 4");
	check(rules, "u", "c", PUB, "d/v/x", "ALLOW 5");
	check(rules, "", "c", PUB, "d/v/x", "DENY 4");
	check(rules, "a/b", "c", PUB, "d/a/b/x", "DENY 4");
	check(rules, "+", "c", PUB, "d", "ALLOW 5");
	acl_rules_free(rules);
}

static void
test_whom_a_rule_is_about(void **state)
{
	struct acl_rules *rules =
	    parse("groups: {g: [ann, bea], empty: }\n"
		  "rules:\n"
		  "- { allow: publish, groups: g, client_ids: [x, y], topics: a }\n"
		  "- { allow: publish, users: [\"\"], topics: b }\n"
		  "- { allow: publish, addresses: 192.0.2.0/24, topics: c }\n"
		  "- { allow: publish, addresses: [10.0.0.0/8, \"::1\", 192.0.2.7], topics: d }\n"
		  "- { allow: publish, addresses: 192.0.2.8/29, topics: e }\n"
		  "- { allow: publish, groups: empty, topics: f }\n"
		  "- { allow: publish, client_ids: z, addresses: 10.0.0.0/8, topics: g }\n"
		  "- { allow: publish, groups: g, users: cid, topics: h }\n");

	(void)state;
	check(rules, "ann", "x", PUB, "a", "ALLOW 3");
	check(rules, "ann", "z", PUB, "a", "NONE");
	check(rules, "cid", "x", PUB, "a", "NONE");
	check(rules, "", "x", PUB, "b", "ALLOW 4");
	check(rules, "ann", "x", PUB, "b", "NONE");
	check(rules, "", "", PUB, "c", "ALLOW 5");
	check(rules, "", "", PUB, "d", "ALLOW 6");
	check(rules, "", "", PUB, "e", "NONE");
	check(rules, "ann", "", PUB, "f", "NONE");
	check(rules, "", "z", PUB, "g", "NONE");
	check(rules, "cid", "", PUB, "h", "ALLOW 10");
	check(rules, "bea", "", PUB, "h", "ALLOW 10");
	acl_rules_free(rules);
}

static void
test_subscribe_and_receive(void **state)
{
	struct acl_rules *rules = parse("rules:\n"
					"- { allow: subscribe, topics: \"#\" }\n"
					"- { deny: subscribe, topics: secret/# }\n");

	(void)state;
	assert_true(acl_rules_judge_receive(rules));
	check(rules, "", "", SUB, "secret/x", "DENY 3");
	check(rules, "", "", SUB, "secret/#", "DENY 3");
	check(rules, "", "", SUB, "#", "ALLOW 2");
	check(rules, "", "", RECV, "secret/x", "DENY 3");
	check(rules, "", "", RECV, "secret", "DENY 3");
	check(rules, "", "", RECV, "open", "ALLOW 2");
	acl_rules_free(rules);

	rules = parse("rules:\n"
		      "- { allow: subscribe, topics: \"#\" }\n"
		      "- { allow: receive, topics: mine/# }\n");
	assert_true(acl_rules_judge_receive(rules));
	check(rules, "", "", SUB, "#", "ALLOW 2");
	check(rules, "", "", RECV, "mine/x", "ALLOW 3");
	check(rules, "", "", RECV, "other", "NONE");
	acl_rules_free(rules);

	rules = parse("rules:\n"
		      "- { allow: subscribe, topics: \"#\" }\n"
		      "- { deny: receive, topics: secret/# }\n");
	check(rules, "", "", RECV, "other", "ALLOW 2");
	check(rules, "", "", RECV, "secret/x", "DENY 3");
	check(rules, "", "", SUB, "secret/x", "ALLOW 2");
	acl_rules_free(rules);
}

static void
test_an_aclfile(void **state)
{
	struct acl_rules *rules = parse("# Mosquitto's\n"
					"topic read $SYS/#\r\n"
					"\n"
					"user roger the shrubber\n"
					"topic foo/bar\n"
					"topic write with a blank/x\n"
					"topic deny foo/bar\n"
					"user eve\n"
					"topic readwrite a/%c\n"
					"topic read\n"
					"pattern write $SYS/broker/%u/state\n");

	(void)state;
	assert_true(acl_rules_judge_receive(rules));
	check(rules, "", "c", RECV, "$SYS/x", "ALLOW 2");
	check(rules, "eve", "c", RECV, "$SYS/x", "NONE");
	check(rules, "", "c", SUB, "anything/#", "ALLOW 0");
	check(rules, "roger the shrubber", "c", PUB, "foo/bar", "DENY 7");
	check(rules, "roger the shrubber", "c", PUB, "with a blank/x", "ALLOW 6");
	check(rules, "roger the shrubber", "c", RECV, "with a blank/x", "NONE");
	check(rules, "eve", "c", PUB, "a/%c", "ALLOW 9"); /* as it is written */
	check(rules, "eve", "c", PUB, "a/c", "NONE");
	check(rules, "eve", "c", PUB, "read", "ALLOW 10"); /* one word is a topic */
	check(rules, "eve", "c", PUB, "$SYS/broker/eve/state", "ALLOW 11");
	check(rules, "", "c", PUB, "$SYS/broker//state", "NONE");
	acl_rules_free(rules);
}

static void
test_what_is_wrong_is_told_with_its_place(void **state)
{
	static const struct {
		const char *file, *why;
	} rows[] = {
	    {"rules:\n- { allow: [eat], topics: a }\n", "f:2:12: \"eat\" is none of publish, "},
	    {"rules:\n- { allow: publish }\n", "f:2:3: a rule needs "},
	    {"rules:\n- { topics: a }\n", "f:2:3: a rule needs "},
	    {"rules:\n- { allow: publish, deny: publish, topics: a }\n", "f:2:27: a rule has "},
	    {"rules:\n- { allow: publish, topics: a/#/b }\n", "f:2:3: # is the last level"},
	    {"rules:\n- { allow: publish, topics: a+ }\n", "f:2:3: + and # stand alone"},
	    {"rules:\n- { allow: publish, topics: [] }\n", "f:2:29: \"topics\" takes a list"},
	    {"rules:\n- { allow: publish, topics: [{}] }\n", "f:2:30: \"topics\" takes a list"},
	    {"rules:\n- { allow: publish, topics: a, groups: g }\n", "there is no group \"g\""},
	    {"rules:\n- { allow: publish, topics: a, user: g }\n", "f:2:32: a rule has the keys "},
	    {"rules:\n- { allow: publish, topics: a, topics: b }\n", "stands here twice"},
	    {"rules:\n- { allow: publish, topics: a, addresses: 1.2.3 }\n", "an address is "},
	    {"rules:\n- { allow: publish, topics: a, addresses: 1.2.3.4/33 }\n", "an address is "},
	    {"rules:\n- { allow: publish, topics: a, addresses: 1.2.3.4/ }\n", "an address is "},
	    {"rules: {}\n", "\"rules\" takes a list"},
	    {"rule: []\n", "f:1:1: the file has the keys"},
	    {"groups: {a: [b], a: [c]}\n", "a group has a name"},
	    {"groups: [a]\n", "takes a mapping"},
	    {"- a\n", "the file is a mapping"},
	    {"rules: [\n", "f:2:1: "},
	    {"rules:\n- x\n", "mapping"},
	    {"user\n", "f:1: the line ends too early"},
	    {"user a\ntopic eat a\n", "f:2: before the topic stands one of"},
	    {"topic a\nuse b\n", "f:2: a line begins with"},
	    {"topic read a/#/b\n", "f:1: # is the last level"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char why[MAX_WHY] = "";
		struct acl_rules *rules =
		    acl_parse("f", rows[i].file, strlen(rows[i].file), ACL_AUTO, why, sizeof(why));

		if (rules != NULL || strstr(why, rows[i].why) == NULL) {
			print_error("%s\nhave: %s\nwant: %s\n", rows[i].file, why, rows[i].why);
			fail();
		}
	}
	acl_rules_free(parse(""));
	acl_rules_free(parse("rules:\n"));
	acl_rules_free(parse("groups:\nrules: ~\n"));
}

/* --- against a judge that looks at every rule --- */

static unsigned seed;

static unsigned
chance(unsigned n)
{
	seed = seed * 1103515245U + 12345U;
	return (seed >> 16) % n;
}

struct slow_rule {
	struct acl_rule rule;
	char topic[64];
	struct acl_text topic_view, user, client_id, group;
};

static const char *const names[] = {"", "a", "b", "u", "a/b", "+"};

/* Does the rule's filter cover the question, level by level? Not clever. */
static bool
covers(const char *filter, const char *asked, bool is_filter, const struct acl_who *who,
    bool is_deny, bool is_first)
{
	size_t filter_len = strcspn(filter, "/"), asked_len;
	const char *rest;

	if (strcmp(filter, "#") == 0) {
		return !(is_first && asked[0] == '$');
	}
	asked_len = strcspn(asked, "/");
	if (is_filter && asked_len == 1 && asked[0] == '#') {
		return false;
	}
	if (filter_len == 2 && filter[0] == '%') {
		struct acl_text value = filter[1] == 'u' ? who->user : who->client_id;
		bool is_dirty = value.n == 0;

		for (size_t i = 0; i < value.n; i++) {
			is_dirty |= strchr("+#/", value.p[i]) != NULL;
		}
		if (is_dirty) {
			return is_deny;
		}
		if (value.n != asked_len || memcmp(value.p, asked, asked_len) != 0) {
			return false;
		}
	} else if (filter_len == 1 && filter[0] == '+') {
		if (is_first && asked[0] == '$') {
			return false;
		}
	} else if ((is_filter && asked_len == 1 && asked[0] == '+') || filter_len != asked_len ||
		   memcmp(filter, asked, asked_len) != 0) {
		return false;
	}
	rest = filter + filter_len;
	if (asked[asked_len] == '\0') {
		return *rest == '\0' || strcmp(rest, "/#") == 0;
	}
	return *rest == '/' &&
	       covers(rest + 1, asked + asked_len + 1, is_filter, who, is_deny, false);
}

static bool
is_same(struct acl_text a, struct acl_text b)
{
	return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

static struct acl_ruling
judge(const struct slow_rule *rules, size_t count, const struct acl_who *who, unsigned action,
    const char *topic)
{
	struct acl_ruling ruling = {0};
	bool allow_names_receive = false;

	for (size_t i = 0; i < count; i++) {
		allow_names_receive |=
		    !rules[i].rule.is_deny && (rules[i].rule.actions & ACL_RECEIVE) != 0;
	}
	for (size_t i = 0; i < count; i++) {
		const struct slow_rule *rule = &rules[i];
		unsigned actions = rule->rule.actions;
		bool is_member = rule->rule.groups.count != 0 && who->user.n != 0 &&
				 (who->user.p[0] == 'a' || who->user.p[0] == 'u');

		if ((actions & ACL_SUBSCRIBE) != 0 &&
		    (rule->rule.is_deny || !allow_names_receive)) {
			actions |= ACL_RECEIVE;
		}
		if ((actions & action) == 0 ||
		    (rule->rule.users.count + rule->rule.groups.count != 0 && !is_member &&
			!(rule->rule.users.count != 0 && is_same(rule->user, who->user))) ||
		    (rule->rule.client_ids.count != 0 &&
			!is_same(rule->client_id, who->client_id)) ||
		    !covers(rule->topic, topic, action == ACL_SUBSCRIBE, who, rule->rule.is_deny,
			true)) {
			continue;
		}
		if (!ruling.is_decided || (rule->rule.is_deny && !ruling.is_deny)) {
			ruling = (struct acl_ruling){.is_decided = true,
			    .is_deny = rule->rule.is_deny,
			    .line = rule->rule.line};
		}
	}
	return ruling;
}

static void
make_topic(char *out, const char *const *levels, unsigned count, bool may_end)
{
	unsigned depth = 1 + chance(3);

	out[0] = '\0';
	for (unsigned i = 0; i < depth; i++) {
		const char *level = levels[chance(count)];

		strcat(out, i != 0 ? "/" : "");
		strcat(out, level);
	}
	if (may_end && chance(3) == 0) {
		strcat(out, "/#");
	}
}

static void
make_rule(struct slow_rule *rule, unsigned line)
{
	static const char *const levels[] = {"a", "b", "u", "+", "%u", "%c", "$s", ""};
	unsigned about = chance(4);

	*rule = (struct slow_rule){
	    .rule = {.is_deny = chance(3) == 0, .actions = 1 + chance(7), .line = line},
	    .user = text(names[chance(6)]),
	    .client_id = text(names[chance(6)]),
	    .group = text("g")};
	make_topic(rule->topic, levels, 8, true);
	if (chance(8) == 0 || rule->topic[0] == '\0') {
		strcpy(rule->topic, "#");
	}
	rule->topic_view = text(rule->topic);
	rule->rule.topics = (struct acl_list){&rule->topic_view, 1};
	if (about & 1) {
		rule->rule.users = (struct acl_list){&rule->user, 1};
	}
	if (chance(4) == 0) {
		rule->rule.groups = (struct acl_list){&rule->group, 1};
	}
	if (about & 2) {
		rule->rule.client_ids = (struct acl_list){&rule->client_id, 1};
	}
}

static void
ask_much(const struct acl_rules *rules, const struct slow_rule *slow, size_t count)
{
	static const char *const levels[] = {"a", "b", "u", "$s", "", "x", "+"};

	for (int i = 0; i < 300; i++) {
		unsigned action = 1U << chance(3);
		struct acl_who who = {
		    .user = text(names[chance(6)]), .client_id = text(names[chance(6)])};
		struct acl_ruling want, have;
		char topic[64];

		make_topic(topic, levels, action == ACL_SUBSCRIBE ? 7 : 6, action == ACL_SUBSCRIBE);
		if (topic[0] == '\0') {
			continue;
		}
		want = judge(slow, count, &who, action, topic);
		have = acl_rules_ask(rules, &who, action, text(topic));
		if (have.is_decided != want.is_decided || have.is_deny != want.is_deny ||
		    have.line != want.line) {
			for (size_t k = 0; k < count; k++) {
				print_error("%u: %s %u %s users %zu (%s) groups %zu ids %zu (%s)\n",
				    slow[k].rule.line, slow[k].rule.is_deny ? "deny" : "allow",
				    slow[k].rule.actions, slow[k].topic, slow[k].rule.users.count,
				    slow[k].user.p, slow[k].rule.groups.count,
				    slow[k].rule.client_ids.count, slow[k].client_id.p);
			}
			print_error("%s/%s action %u topic %s: have %d %d %u, want %d %d %u\n",
			    who.user.p, who.client_id.p, action, topic, have.is_decided,
			    have.is_deny, have.line, want.is_decided, want.is_deny, want.line);
			fail();
		}
	}
}

static void
test_the_forest_judges_as_a_list_does(void **state)
{
	enum { MOST = 12 };

	(void)state;
	for (seed = 1; seed < 3000 * 7919U; seed += 7919) {
		unsigned before = seed;
		struct slow_rule slow[MOST];
		struct acl_rules *rules = acl_rules_new();
		size_t count = 1 + chance(MOST);

		assert_true(acl_rules_add_member(rules, text("g"), text("a")));
		assert_true(acl_rules_add_member(rules, text("g"), text("u")));
		assert_true(acl_rules_add_member(rules, text("g"), text("a/b")));
		for (size_t i = 0; i < count; i++) {
			make_rule(&slow[i], (unsigned)i + 1);
			assert_null(acl_rules_add(rules, &slow[i].rule));
		}
		ask_much(rules, slow, count);
		acl_rules_free(rules);
		seed = before;
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_documented_example),
	    cmocka_unit_test(test_values_never_widen_a_rule),
	    cmocka_unit_test(test_whom_a_rule_is_about),
	    cmocka_unit_test(test_subscribe_and_receive),
	    cmocka_unit_test(test_an_aclfile),
	    cmocka_unit_test(test_what_is_wrong_is_told_with_its_place),
	    cmocka_unit_test(test_the_forest_judges_as_a_list_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
