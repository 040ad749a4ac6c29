/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: a byte that chooses the format, then a file of rules. What is accepted answers every
 * question; what is refused says where. A deny is never lost by asking for a part of what it
 * covers.
 */
#include <stdlib.h>
#include <string.h>

#include "../../plugins/acl/read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const words[] = {"", "a", "a/b", "#", "+", "a/#", "a/+", "$SYS/x", "%u", "//"};
enum { WORDS = sizeof(words) / sizeof(words[0]) };

static struct acl_text
text(const char *s)
{
	return (struct acl_text){s, strlen(s)};
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[512] = "", *copy;
	struct acl_rules *rules;

	if (size == 0) {
		return 0;
	}
	/* As a file's text comes: with a NUL behind it. */
	copy = malloc(size);
	if (copy == NULL) {
		return 0;
	}
	memcpy(copy, data + 1, size - 1);
	copy[size - 1] = '\0';
	rules = acl_parse("f", copy, size - 1, (enum acl_format)(data[0] % 3), why, sizeof(why));
	if ((rules == NULL) != (why[0] == 'f')) {
		abort();
	}
	for (size_t i = 0; rules != NULL && i < WORDS * (size_t)WORDS * 3; i++) {
		struct acl_who who = {.user = text(words[i % WORDS]),
		    .client_id = text(words[i / WORDS % WORDS]),
		    .address = text(i % 2 != 0 ? "192.0.2.1" : "")};
		unsigned action = 1U << (i / (WORDS * WORDS));
		struct acl_ruling all, part;

		all = acl_rules_ask(rules, &who, action, text("a/#"));
		part = acl_rules_ask(rules, &who, action, text("a/b"));
		if (action == ACL_SUBSCRIBE && all.is_deny && !part.is_deny) {
			abort();
		}
		(void)acl_rules_ask(rules, &who, action, text(words[(i * 7) % WORDS]));
	}
	acl_rules_free(rules);
	free(copy);
	return 0;
}
