/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authenticators, which say who a client is, and authorizers, which say what it may do. Since ABI
 * 0.0.
 *
 * How a question is answered, of all services: the call gets the number of the request. It returns
 * a verdict, and that was it; or it returns AVOCET_PENDING, and the answer is the one call of
 * complete() with that number, inside the call (then it may point to memory of the stack, which
 * complete() copies) or at any later time, on any thread. complete() may come before the call has
 * returned PENDING.
 *
 *  - Exactly once. A second answer gets AVOCET_E_GONE and is counted as a fault of the instance.
 *  - The input stays readable until complete() returns (of a question that was PENDING).
 *  - When the client leaves or the time is over the host answers by itself (`timeout` and
 *    `on_error` of the chain's member), then calls cancel() as a hint. The plugin still calls
 *    complete() once, to give the input back; it gets AVOCET_E_GONE, which is no fault then.
 *  - While an answer is out the host reads nothing more of that client, but for up to `max_pending`
 *    publications.
 *  - A service of exec INLINE must not return PENDING.
 */
#ifndef AVOCET_AUTH_H
#define AVOCET_AUTH_H

#include <avocet/avocet_plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- authenticator ---- */

#define AVOCET_SERVICE_AUTHENTICATOR "avocet.authenticator/0"

#define AVOCET_AUTH_CONNECT 1u  /* CONNECT came. */
#define AVOCET_AUTH_CONTINUE 2u /* AUTH 0x18 came, of the exchange that this instance began. */
#define AVOCET_AUTH_REAUTH 3u   /* AUTH 0x19 came: a new exchange on a live connection. */

#define AVOCET_AUTH_HAS_USERNAME 1u
#define AVOCET_AUTH_HAS_PASSWORD 2u
#define AVOCET_AUTH_HAS_DATA 8u /* There is Authentication Data, perhaps of no bytes. */
#define AVOCET_AUTH_PROVEN                                                       \
	4u /* The user name is that of a verified certificate or of a PSK: it is \
	      known who it is, and there is no password to check. */

/* Sized; the host allocates it. */
typedef struct avocet_auth_in {
	uint32_t struct_size;
	uint32_t step; /* AVOCET_AUTH_CONNECT ... */
	const avocet_client_info *client;
	avocet_str username; /* As claimed, or proven. */
	avocet_bytes password;
	avocet_str method; /* Authentication Method; empty: user name and password. */
	avocet_bytes data; /* Authentication Data. */
	uint32_t flags;    /* AVOCET_AUTH_HAS_USERNAME ... */
	uint32_t reserved;
	void *exchange;      /* What the last CONTINUE put into out.exchange; else NULL. */
	int64_t deadline_ns; /* Monotonic clock: then nobody waits any more. */
} avocet_auth_in;

/* Sized; the plugin allocates it. Zero is the default of every member. */
typedef struct avocet_auth_out {
	uint32_t struct_size;
	uint32_t reason;         /* DENY: reason code of MQTT 5, 0 = 0x87; mapped for 3.1.1. */
	avocet_bytes data;       /* Authentication Data of AUTH (CONTINUE) or CONNACK (ACCEPT). */
	avocet_str username;     /* ACCEPT: the principal, where it differs from the claim. */
	avocet_str client_id;    /* ACCEPT at CONNECT: replaces the client id. */
	avocet_str topic_prefix; /* ACCEPT at CONNECT: every topic of this client lives below it,
				    behind the listener's mount point. A topic name without $. */
	void *exchange;          /* CONTINUE: the plugin's state of the exchange. */
	uintptr_t reserved;
	uint32_t deny_delay_ms; /* DENY: answer so much later at least; no thread is held. At most
				   60 000. */
	uint32_t reserved2;
	avocet_str reason_text;      /* Reason String of CONNACK, AUTH or DISCONNECT. It is logged,
					and the client may show it: no secrets. */
	avocet_str server_reference; /* DENY with 0x9C or 0x9D: where to go instead. */
	const avocet_pair *user_props; /* User Properties of the same packet. */
	size_t n_user_props;
	const avocet_pair *attrs; /* ACCEPT: what later services see in client_info.attrs. */
	size_t n_attrs;
	int64_t expires_ms; /* ACCEPT: UNIX time at which the credential ends. Who has not
			       re-authenticated by then is disconnected with 0xA0. 0: never. */
	uint32_t max_session_expiry_s; /* ACCEPT at CONNECT: at most this, in seconds; 0 = as the
					  listener says, which is never exceeded. */
	uint32_t max_receive;          /* Likewise: PUBLISHes of QoS 1 and 2 at a time. */
	uint32_t max_packet;           /* Likewise: bytes of one packet from the client. */
	uint32_t reserved3;
} avocet_auth_out;

#define AVOCET_WANTS_CERTIFICATE 1u /* client_info.tls_cert_der */
#define AVOCET_WANTS_EXPORTER 2u    /* client_info.tls_exporter */

/* The vtable. Sized. */
typedef struct avocet_authenticator {
	uint32_t struct_size;
	uint32_t exec; /* AVOCET_EXEC_* */
	/* Authentication Methods, ends with NULL; "" = without a method, user name and password.
	 * NULL = {""}. */
	const char *const *methods;
	/* ACCEPT, DENY, DEFER, CONTINUE, ERROR, or PENDING. [exec] */
	int32_t (*authenticate)(void *inst, avocet_req_h req, const avocet_auth_in *in);
	/* A hint; may be NULL. [worker] */
	void (*cancel)(void *inst, avocet_req_h req);
	/* The exchange ended in any way; after the outstanding complete(). [any] */
	void (*exchange_free)(void *inst, void *exchange);
	/* TLS-PSK: the key of an identity; the number of bytes put into key, 0 = unknown. May be
	 * NULL. Must not block. [worker] */
	int32_t (*psk)(void *inst, avocet_str identity, uint8_t *key, size_t size);
	/* AVOCET_WANTS_*: members of client_info that cost something to fill, and are empty unless
	 * an authenticator of the listener's chain wants them. */
	uint32_t wants;
	uint32_t reserved;
} avocet_authenticator;

/* ---- authorizer ---- */

#define AVOCET_SERVICE_AUTHORIZER "avocet.authorizer/0"

#define AVOCET_DO_PUBLISH 1u
#define AVOCET_DO_SUBSCRIBE 2u
#define AVOCET_DO_RECEIVE 4u /* Each delivery, by may_receive. */
#define AVOCET_DO_WILL 8u    /* The will of a CONNECT, at CONNECT and again when it fires. */

/* One thing that is asked for. In arrays with stride item_size; grows at its end. */
typedef struct avocet_access {
	avocet_str topic; /* The full topic, or filter of SUBSCRIBE; after all rewriting. */
	avocet_str topic_received; /* Before rewriting. */
	avocet_str share;          /* The group of $share, or empty. */
	uint32_t qos;
	uint32_t flags; /* AVOCET_MSG_* */
} avocet_access;

/* Sized; the host allocates it. */
typedef struct avocet_authz_in {
	uint32_t struct_size;
	uint32_t action; /* One AVOCET_DO_* */
	const avocet_client_info *client;
	const avocet_access *items; /* A SUBSCRIBE asks for all its filters at once. */
	uint32_t n_items;
	uint32_t item_size;
	const avocet_msg *msg; /* NULL for SUBSCRIBE. */
	uintptr_t reserved;
	int64_t deadline_ns; /* Monotonic clock. */
} avocet_authz_in;

#define AVOCET_CACHE_NONE 0u
#define AVOCET_CACHE_TOPIC 1u /* It holds for this client, action and topic. */
#define AVOCET_CACHE_COVER 2u /* It holds for all topics that the filter `cover` matches. */

/* The answer for one item, FROZEN. */
typedef struct avocet_grant {
	int32_t verdict;  /* ACCEPT, DENY, DEFER, ERROR */
	uint32_t reason;  /* DENY: reason code, 0 = 0x87. */
	uint32_t max_qos; /* ACCEPT of a filter: at most this is granted; 2 = no cap. */
	uint32_t cache;   /* AVOCET_CACHE_*: the host remembers it, per client. */
	uint32_t cache_ms;
	uint32_t reserved;
	avocet_str cover;
} avocet_grant;

/* The vtable. Sized. */
typedef struct avocet_authorizer {
	uint32_t struct_size;
	uint32_t exec;
	uint32_t actions; /* AVOCET_DO_* that it wants to judge; others count as DEFER, unasked. */
	uint32_t reserved;
	/* ACCEPT, DENY, DEFER, ERROR for all items; or PENDING, also to give each item its own by
	 * authz_complete. An INLINE authorizer fills `grants`, n_items of them, which hold DEFER
	 * before, and returns PASS. grants is NULL for the others. [exec] */
	int32_t (*authorize)(
	    void *inst, avocet_req_h req, const avocet_authz_in *in, avocet_grant *grants);
	void (*cancel)(void *inst, avocet_req_h req); /* A hint; may be NULL. [worker] */
	/* May this delivery go to this client? ACCEPT, DENY, DEFER, ERROR. For each delivery:
	 * costly, so only with DO_RECEIVE among the actions. Must not block. [worker] */
	int32_t (*may_receive)(void *inst, const avocet_client_info *client, avocet_str topic);
} avocet_authorizer;

/* ---- the host's side ---- */

#define AVOCET_HOST_AUTH "avocet.auth/0"

#define AVOCET_RECHECK_SUBS 1u /* Also ask again for live subscriptions; end those denied. */

typedef struct avocet_auth_api {
	uint32_t struct_size;
	uint32_t reserved;
	/* out may be NULL. AVOCET_OK, or AVOCET_E_GONE: nobody waits. [any] */
	int32_t (*auth_complete)(
	    avocet_self *self, avocet_req_h req, int32_t verdict, const avocet_auth_out *out);
	/* verdict PASS: the n grants, one per item in order, rule; else the verdict is for all of
	 * them. [any] */
	int32_t (*authz_complete)(avocet_self *self, avocet_req_h req, int32_t verdict,
	    const avocet_grant *grants, size_t n);
	/* Replaces the vtable's methods, from within prepare(), by what the configuration says. The
	 * texts are copied. [main] */
	int32_t (*set_methods)(avocet_self *self, const char *const *methods);
	/* Replaces the vtable's actions, likewise: what is not wanted costs nothing. [main] */
	int32_t (*set_actions)(avocet_self *self, uint32_t actions);
	/* What the instance granted does not hold any more, e.g. since a file has changed: cached
	 * grants of all clients are forgotten. flags: AVOCET_RECHECK_SUBS. [any] */
	int32_t (*authz_flush)(avocet_self *self, uint32_t flags);
} avocet_auth_api;

#ifdef __cplusplus
}
#endif
#endif
