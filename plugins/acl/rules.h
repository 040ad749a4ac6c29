/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of who may do what with which topics, and which of them decides. Any deny that applies
 * wins; without a rule that applies nothing is decided. A table is made by one thread, then it does
 * not change and any number of threads may ask it.
 */
#ifndef ACL_RULES_H
#define ACL_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ACL_PUBLISH = 1, ACL_SUBSCRIBE = 2, ACL_RECEIVE = 4 };

/* A view of text. */
struct acl_text {
	const char *p;
	size_t n;
};

struct acl_list {
	const struct acl_text *items;
	size_t count;
};

/* A rule as it is written. It applies to clients that are among users or groups, and among
 * client_ids, and among addresses; an empty list: all. */
struct acl_rule {
	bool is_deny;
	bool is_literal;  /* %u and %c stand for themselves */
	unsigned actions; /* ACL_* */
	unsigned line;
	struct acl_list users;      /* "" = who has no user name */
	struct acl_list groups;     /* known to the table: acl_rules_add_member */
	struct acl_list client_ids; /* likewise "" */
	struct acl_list addresses;  /* "192.0.2.0/24", "2001:db8::1" */
	struct acl_list topics;     /* filters, in which %u and %c stand for user and client id */
};

/* Who asks. */
struct acl_who {
	struct acl_text user, client_id, address;
};

/* What decides. */
struct acl_ruling {
	bool is_decided; /* false: no rule applies */
	bool is_deny;
	unsigned line; /* of the rule; 0: the kind of file decides */
};

struct acl_rules;

struct acl_rules *acl_rules_new(void); /* NULL: no memory */
void acl_rules_free(struct acl_rules *rules);
/* Puts a user into a group. false: no memory. */
bool acl_rules_add_member(struct acl_rules *rules, struct acl_text group, struct acl_text user);
/* Copies it. NULL, or a sentence about what is wrong: static text. */
const char *acl_rules_add(struct acl_rules *rules, const struct acl_rule *rule);
/* Subscribing is left to everybody, and what is delivered is judged, as Mosquitto does. */
void acl_rules_open_subscribe(struct acl_rules *rules);

size_t acl_rules_count(const struct acl_rules *rules);
/* Must deliveries be judged, since a subscription does not say all? */
bool acl_rules_judge_receive(const struct acl_rules *rules);
/* NULL, or what is wrong with a filter of a rule: static text. */
const char *acl_rules_check_topic(struct acl_text topic);

/*
 * action: one ACL_*. topic: a name, or for ACL_SUBSCRIBE a filter, which an allow must cover
 * wholly; a deny that covers a part of it only is a matter of delivery.
 */
struct acl_ruling acl_rules_ask(const struct acl_rules *rules, const struct acl_who *who,
    unsigned action, struct acl_text topic);

#endif
