/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What conn and route ask before they let something happen, and how an answer that comes later
 * finds them again (flow 7). An authority is one object behind a table of functions: a chain of
 * loaded plugins (chain.h), or that of the tests, which answers at once, later, out of order, on a
 * foreign thread, or never.
 *
 * A question is a struct plugin_request that the asker embeds in an object of its own on the heap.
 * The authority returns a verdict, or PLUGIN_PENDING and later calls plugin_complete with the
 * request's number exactly once, from any thread, at the earliest while the question is still being
 * put. The number is worker | slot | generation: a second or stale answer finds nothing and is
 * counted.
 *
 * What a request points to stays as it is until the answer has arrived or the request is cancelled;
 * an asker whose input is a view into a read buffer copies it first if the authority may wait
 * (plugin_authority.may_wait).
 */
#ifndef PLUGIN_ASK_H
#define PLUGIN_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ref.h"
#include "loop/timer.h"
#include "msg/client.h"
#include "msg/draft.h"
#include "plugin/said.h"

struct worker;
struct plugin_desk; /* a worker's open requests */
struct plugin_request;

enum plugin_verdict {
	PLUGIN_PENDING,
	PLUGIN_ACCEPT,     /* yes; of an interceptor: go on */
	PLUGIN_DENY,       /* no, with reason; of an interceptor: reject */
	PLUGIN_CONTINUE,   /* authenticate: another AUTH step */
	PLUGIN_DROP,       /* intercept: acknowledge and forget */
	PLUGIN_DISCONNECT, /* close the connection with reason */
};

enum plugin_question {
	PLUGIN_AUTHENTICATE,        /* CONNECT, first step */
	PLUGIN_AUTH_CONTINUE,       /* AUTH 0x18 */
	PLUGIN_REAUTHENTICATE,      /* AUTH 0x19 */
	PLUGIN_PUBLISH,             /* may this client publish this message? */
	PLUGIN_WILL,                /* the same of a will, at CONNECT and when it fires */
	PLUGIN_SUBSCRIBE,           /* items: the filters of a SUBSCRIBE */
	PLUGIN_INTERCEPT_PUBLISH,   /* may change the draft */
	PLUGIN_INTERCEPT_SUBSCRIBE, /* may change the filter */
	PLUGIN_INTERCEPT_UNSUBSCRIBE,
};

/* One filter of a SUBSCRIBE, with its answer. */
struct plugin_access {
	struct bytes filter;   /* full, without $share/NAME/ */
	struct bytes received; /* before an interceptor changed it; empty: none did */
	struct bytes share_name;
	uint8_t qos;
	uint8_t reason;  /* answer: 0, or why not (>= 0x80) */
	uint8_t max_qos; /* answer: granted at most this */
};

/* One filter of a SUBSCRIBE or UNSUBSCRIBE for interceptors, who may change it. */
struct plugin_filter {
	struct bytes
	    filter; /* full, without $share/NAME/; afterwards perhaps a view of `changed` */
	struct bytes share_name;
	struct bytes prefix; /* the client's: a changed filter begins with it, or with $ */
	struct bytes props;  /* of the packet, a checked block */
	uint32_t subscription_id;
	uint8_t qos;        /* may become lower */
	uint8_t options;    /* no local, retain as published, retain handling, as in SUBSCRIBE */
	struct buf changed; /* begun by the asker, who ends it */
};

struct plugin_request {
	/* Set by the asker. */
	enum plugin_question question;
	void (*done)(
	    struct plugin_request *request); /* on the asker's worker, when it was PENDING */
	struct msg_client *client; /* who; borrowed while it is open. At CONNECT: what is claimed */
	struct bytes username, password; /* AUTHENTICATE without a method */
	bool has_username, has_password, has_data;
	bool is_proven; /* the user name is that of a certificate that was verified, or of a PSK */
	struct bytes method, data; /* of the AUTH steps */
	struct msg_draft *draft;   /* of publications */
	struct plugin_access *items;
	size_t item_count;
	struct plugin_filter *filter;

	/* The answer. */
	enum plugin_verdict verdict;
	uint8_t reason;           /* DENY, DISCONNECT: MQTT 5 reason code */
	struct plugin_said *said; /* of logins; owned, freed by plugin_request_fini; NULL:
				     nothing more */
	uint32_t answer_delay_ms; /* DENY of a login: hold the answer back so long at least */
	const char *by;           /* the instance that decided, or NULL; lives as long as the set */

	/* The desk's. */
	uint64_t number; /* 0: not open */
	struct plugin_desk *desk;
	bool timed_out;
	/* The authority's state of an AUTH exchange, passed on by the asker. An answer replaces it:
	 * the authority frees or goes on with the one it was given, and NULL is none. */
	void *exchange;
	struct plugin_authority *authority;
	struct plugin_run *run; /* a chain's own: how far it has got with this */
	struct timer timer;     /* the deadline */
};

/* What a foreign thread answers with; copied by plugin_complete. */
struct plugin_answer {
	enum plugin_verdict verdict;
	uint8_t reason;
	struct bytes data;
	struct bytes username;
	struct bytes client_id;
	const struct plugin_access
	    *items; /* SUBSCRIBE: reason and max_qos of each; NULL: verdict for all */
	size_t item_count;
	void *exchange;
	struct bytes topic;   /* INTERCEPT: replaces the topic, where not empty */
	struct bytes payload; /* likewise */
	bool replace_payload;
};

struct plugin_authority_ops {
	/* On the asker's worker. Must not block. A verdict at once is given by filling request's
	 * answer. */
	enum plugin_verdict (*ask)(
	    struct plugin_authority *authority, struct plugin_request *request);
	/* A hint: nobody waits for this number any more. The answer is still due once. */
	void (*cancel)(struct plugin_authority *authority, uint64_t number);
	/* In place of it, where the authority keeps nothing of the asker's: it lets go of the
	 * request in this call, and no answer is due. */
	void (*leave)(struct plugin_authority *authority, struct plugin_request *request);
	void (*exchange_free)(struct plugin_authority *authority, void *exchange);
	/* On a worker, any, inside a TLS handshake. Must not block. The key of this PSK identity
	 * into `key`; its length, or <= 0 when there is none. NULL: it has no keys. */
	long (*psk)(
	    struct plugin_authority *authority, struct bytes identity, uint8_t *key, size_t size);
	/* Own thread of the asker: would anybody look at a publication with this topic? Else it
	 * need not be asked. NULL: it looks at all. */
	bool (*concerns)(const struct plugin_authority *authority, struct bytes topic);
};

struct plugin_authority {
	const struct plugin_authority_ops *ops;
	bool may_wait; /* may answer PENDING */
	int64_t
	    timeout_ms; /* then the answer is DENY 0x83; 0: 5 s; negative: it sees to that itself */
	const char *const *methods; /* Authentication Methods it knows; NULL ends; NULL: none */
};

/* Who is asked about the clients of a listener; NULL members: nobody, all is allowed by
 * configuration. */
struct plugin_set {
	struct plugin_authority *authenticate;
	struct plugin_authority *authorize; /* PUBLISH, WILL, SUBSCRIBE */
	struct plugin_authority *intercept;
	bool intercepts_out; /* an interceptor may change what goes to receivers: plugin_send_out */
	bool intercepts_subscribe, intercepts_unsubscribe;
	bool judges_receive; /* an authorizer may want to see each delivery: plugin_may_receive */
	bool wants_proof;    /* an authenticator wants to see more of TLS: stream_proof */
	bool is_counted;     /* it has references (chain.h); else it outlives all who use it */
	struct ref ref;
};

/* Must the authority be asked about a publication with this topic? */
static inline bool
plugin_is_concerned(const struct plugin_authority *authority, struct bytes topic)
{
	return authority->ops->concerns == NULL || authority->ops->concerns(authority, topic);
}

static inline bool
plugin_set_may_wait(const struct plugin_set *set)
{
	return (set->authorize != NULL && set->authorize->may_wait) ||
	       (set->intercept != NULL && set->intercept->may_wait);
}

struct plugin_desk *plugin_desk_new(struct worker *worker);
/* After loop_join: what is still outstanding is freed by its free_fn, or forgotten where its asker
 * holds it. */
void plugin_desk_free(struct plugin_desk **desk);

/* Clears the answer and the desk's members; what the asker has set stays. */
void plugin_request_init(struct plugin_request *request);

/* Asks. A verdict at once, or PLUGIN_PENDING: done will be called in another turn, unless
 * plugin_end comes before. */
enum plugin_verdict plugin_ask(
    struct plugin_desk *desk, struct plugin_authority *authority, struct plugin_request *request);

/*
 * The asker is through with the request, answered or not: done is not called any more. Its memory
 * may go only when the authority has given the input back, that is when it has answered: free_fn
 * runs then (at once where nothing is outstanding; after a time-out something is). Every request
 * ends here.
 */
void plugin_end(struct plugin_request *request, void (*free_fn)(struct plugin_request *request));

/* On the asker's worker, by the authority: the answer to a request that is PENDING, whose answer's
 * members it has filled. */
void plugin_answer(struct plugin_request *request, enum plugin_verdict verdict);

/* Frees what was said, if anything was. */
static inline void
plugin_request_fini(struct plugin_request *request)
{
	if (request->said != NULL) {
		plugin_said_free(&request->said);
	}
}

/* Any thread. desks: by index of worker. 0, or ERR_GONE for a second or stale answer. */
int plugin_complete(struct plugin_desk *const *desks, size_t desk_count, uint64_t number,
    const struct plugin_answer *answer);

/* Open requests of a desk; own thread. */
size_t plugin_desk_open_count(const struct plugin_desk *desk);

#endif
