/* SPDX-License-Identifier: Apache-2.0 */
/* What making rules and asking them share. */
#ifndef ACL_RULES_INT_H
#define ACL_RULES_INT_H

#include "rules.h"

enum { NONE = 0, SUPER = 0 };

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

/* The child of that text, or NONE. */
uint32_t acl_find(const struct acl_rules *rules, uint32_t parent, struct acl_text text);
/* The root of a user ('u'), client id ('c'), group ('g'), of the memberships of a user ('m'), or of
 * everybody ('a'); NONE. */
uint32_t acl_find_root(const struct acl_rules *rules, char kind, struct acl_text name);
/* The next level; false: there is none. *at begins at 0 and is past the end then. */
bool acl_next_level(struct acl_text topic, size_t *at, struct acl_text *level);
/* One of the names that rules compare client ids with. */
struct acl_text acl_name_at(const struct acl_rules *rules, size_t i);
/* IPv4 as ::ffff:a.b.c.d. */
bool acl_parse_ip(struct acl_text text, uint8_t bytes[16]);

#endif
