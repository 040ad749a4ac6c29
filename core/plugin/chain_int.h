/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run of a request through a chain. The frame (chain.c) goes from member to member and folds
 * their verdicts; what a kind of chain asks and what it makes of an answer is its own (authn.c,
 * authz.c, intercept.c).
 */
#ifndef PLUGIN_CHAIN_INT_H
#define PLUGIN_CHAIN_INT_H

#include "plugin/plugin_int.h"

struct plugin_member {
	struct avocet_self *self; /* a reference */
	bool is_required;
	bool defers_errors;
	int64_t timeout_ms;
	struct plugin_words *words; /* methods or filters, as they were when the set was made; NULL:
				       none or all */
};

struct plugin_chain {
	struct plugin_authority authority; /* first */
	const struct plugin_kind *kind;
	struct plugin_set *set; /* that it is part of */
	struct plugin_house *house;
	const char **methods; /* of authority; of all members, ends with NULL */
	size_t max_grants;
	bool is_inline; /* nobody ever answers later */
	bool all_required;
	size_t count;
	struct plugin_member members[];
};

/* On the stack while it is not known that somebody waits; then on the heap. */
struct plugin_run {
	struct plugin_chain *chain;
	struct plugin_request *request;
	struct plugin_call *call; /* that is out; NULL: none */
	struct timer timer;       /* of the member that is asked */
	size_t at;                /* the member */
	bool is_heap;
	const struct plugin_set *set; /* of the heap: a reference */

	/* Authorizers: what may be remembered. */
	bool may_keep;
	uint32_t keep_ms;
	enum plugin_cover cover;
	struct buf cover_text;
};

/* What a member's answer means for the run. */
enum plugin_fold {
	PLUGIN_FOLD_NEXT, /* ask the next */
	PLUGIN_FOLD_DONE, /* request->verdict is the answer */
	PLUGIN_FOLD_WAIT, /* of put only: its answer follows */
};

struct plugin_kind {
	enum plugin_service service;
	/* Asks the member run->at, which is there and serves: WAIT, or what its answer means. */
	enum plugin_fold (*put)(struct plugin_run *run, struct plugin_member *member);
	/* The reply of the member's call has come. */
	enum plugin_fold (*fold)(
	    struct plugin_run *run, struct plugin_member *member, struct plugin_reply *reply);
	/* It has failed, or did not answer in time: on_error. reason: why, as MQTT has it. */
	enum plugin_fold (*fail)(
	    struct plugin_run *run, struct plugin_member *member, uint8_t reason);
	/* All have been asked: sets request->verdict. */
	void (*end)(struct plugin_run *run);
};

extern const struct plugin_kind plugin_authn, plugin_authz, plugin_intercept;

/* Puts a call out for the run; what comes back goes through kind->fold. */
enum plugin_fold plugin_run_put(struct plugin_run *run, struct plugin_call *call);
int64_t plugin_deadline_ns(const struct plugin_member *member);

/* The fold of a yes or a no. */
static inline enum plugin_fold
plugin_fold_no(struct plugin_run *run, struct plugin_member *member, uint8_t reason)
{
	run->request->verdict = PLUGIN_DENY;
	run->request->reason = reason;
	run->request->by = member->self->name;
	return PLUGIN_FOLD_DONE;
}

/* exchange_free of a chain: of an exchange that authn.c has made. */
void plugin_exchange_free(struct plugin_authority *authority, void *exchange);
long plugin_psk(
    struct plugin_authority *authority, struct bytes identity, uint8_t *key, size_t size);
/* Where a request begins: at the first member, or at the one that has its exchange. */
size_t plugin_authn_begin(struct plugin_run *run);
/* Does a member want to see messages with this topic? */
bool plugin_intercept_concerns(const struct plugin_authority *authority, struct bytes topic);
/* Is a member there at this AVOCET_AT_*? authority may be NULL. */
bool plugin_intercepts(const struct plugin_authority *authority, uint32_t point);
bool plugin_intercept_wants(const struct plugin_member *member, uint32_t point, struct bytes topic);
enum plugin_fold plugin_intercept_judge(struct plugin_run *run, struct plugin_member *member,
    int32_t verdict, const struct avocet_edit *edit);
/* intercept_filter.c: asks about a filter; what was said when it has come. */
enum plugin_fold plugin_put_filter(struct plugin_run *run, struct plugin_member *member);
/* The draft into the call, which references what it views. False: no memory. */
bool plugin_keep_draft(struct plugin_call *call, struct msg_draft *draft);
/* A remembered answer for the whole request. */
bool plugin_authz_recall(struct plugin_chain *chain, struct plugin_request *request);

#endif
