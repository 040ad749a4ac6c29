/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The types that all parts of the plugin ABI share.
 *
 * The major is 0 until the freeze: until then everything here may still change. The freeze renames
 * once: the major, the exported symbol and the ids of services and interfaces go from 0 to 1.
 *
 * These rules hold everywhere, and they make the ABI last:
 *
 *  1 NO LINKING.   A plugin has no undefined symbol of the broker and exports one symbol.
 *                  Everything that it calls comes through tables of function pointers.
 *  2 SIZED.        A struct with a member struct_size may grow at its end, and only there.
 *                  Who fills a struct sets struct_size to its own sizeof; who reads it looks at no
 *                  member past struct_size. AVOCET_HAS() is the test. There is no padding, inside
 *                  or at the end, on any machine (else an appended member could lie where an old
 *                  writer's struct_size already reached): 64-bit members come first, a reserved
 *                  uintptr_t stands where a 32-bit machine would pad. Reserved members are 0.
 *  3 FROZEN.       A struct marked FROZEN never changes: it is used by value, in arrays, or inside
 *                  another. Each struct without struct_size is FROZEN, unless the comment above it
 *                  says that it comes in arrays with a stride; then it grows as a sized one does.
 *  4 PLAIN TYPES.  Only fixed-width integers, double, size_t and pointers are used. There is no
 *                  enum, bool, bit-field, long, time_t, va_list, errno, FILE, sockaddr or struct by
 *                  value other than the views below; no type of libevent, OpenSSL or any library.
 *  5 MEMORY.       What a call is given is borrowed until it returns, unless its text says "until
 *                  completion". What is handed to the host is copied before the host function
 *                  returns. Nobody frees the other's memory; the only shared object is avocet_buf,
 *                  which is reference counted.
 *  6 HANDLES.      A *_h is a number (worker, slot, generation) and not a pointer: a stale one is
 *                  noticed (AVOCET_E_GONE) and is never a use after free. 0 is never valid.
 *  7 MARSHALABLE.  Requests and answers hold flat data, so that a service could one day run in
 *                  another process behind the same table. No request has a function pointer.
 *  8 NO THROWING.  Nothing may unwind (C++ exception, longjmp, pthread_exit) across the border.
 *
 * Each function has a tag that names its thread:
 *   [main]    The main thread. Two [main] calls to one instance never run at once.
 *   [worker]  An event-loop thread. For one client it is always the one that owns the client, one
 *             call at a time and in order; for different clients calls run on several threads at
 *             once. It MUST NOT BLOCK, and is watched.
 *   [exec]    The thread that the service's `exec` member chose: its worker, or a pool's.
 *   [store]   The one host thread that serves the store. It may block.
 *   [any]     Any thread, also the plugin's own.
 */
#ifndef AVOCET_BASE_H
#define AVOCET_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A new major is a new exported symbol, and a host may load several majors. */
#define AVOCET_ABI_MAJOR 0u
/* The minor rises by one whenever something is appended. */
#define AVOCET_ABI_MINOR 3u
/* The letters "AVOC". */
#define AVOCET_MAGIC 0x434f5641u

#if defined(_WIN32)
#define AVOCET_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define AVOCET_EXPORT __attribute__((visibility("default")))
#else
#define AVOCET_EXPORT
#endif

/* True if the struct at p is long enough for its member m, be that an integer or a pointer. */
#define AVOCET_FITS(p, m)            \
	((size_t)(p)->struct_size >= \
	    (size_t)((const char *)&(p)->m - (const char *)(p)) + sizeof((p)->m))
/* True if the member also is not null: the test before an optional function is called. */
#define AVOCET_HAS(p, m) (AVOCET_FITS(p, m) && (p)->m != 0)
/* The first initialiser of a sized struct: avocet_auth_out o = {AVOCET_SIZED(avocet_auth_out)}; */
#define AVOCET_SIZED(T) .struct_size = (uint32_t)sizeof(T)

/*
 * Status of calls: 0 or negative. New codes may appear; an unknown one means AVOCET_E_INTERNAL.
 */
#define AVOCET_OK 0
#define AVOCET_E_INVAL (-1)       /* An argument is bad. */
#define AVOCET_E_NOMEM (-2)       /* There is no memory. */
#define AVOCET_E_AGAIN (-3)       /* A window or queue is full: wait for the matching callback. */
#define AVOCET_E_GONE (-4)        /* The handle is stale: client left, request ended or answered. */
#define AVOCET_E_UNSUPPORTED (-5) /* This side does not offer it. */
#define AVOCET_E_NOTFOUND (-6)    /* There is no such thing. */
#define AVOCET_E_THREAD (-7)      /* The call is not allowed on this thread. */
#define AVOCET_E_STATE (-8)       /* The call does not belong to this phase of the life cycle. */
#define AVOCET_E_INTERNAL (-9)    /* A fault of the side that answers. */
#define AVOCET_E_CONFIG (-10)     /* The configuration is wrong. */
#define AVOCET_E_FULL (-11)       /* The disk or a quota is full; it may help to make room. */
#define AVOCET_E_IO (-12)         /* Reading or writing failed below. */
#define AVOCET_E_CORRUPT (-13)    /* Stored data contradict themselves; repair is needed. */
#define AVOCET_E_BUSY (-14)       /* Another holds it: the same call may succeed later. */

/*
 * Verdicts: positive.
 */
#define AVOCET_ACCEPT 1     /* Yes. Ends the chain (sufficient) or goes on (required). */
#define AVOCET_DENY 2       /* No. Ends the chain. */
#define AVOCET_DEFER 3      /* Not mine: ask the next. If all defer, the answer is no. */
#define AVOCET_CONTINUE 4   /* Authentication only: an AUTH step follows, and comes to me. */
#define AVOCET_PASS 5       /* Interceptor: go on, with the edits made. */
#define AVOCET_DROP 6       /* Interceptor: acknowledge with success, deliver to nobody. */
#define AVOCET_REJECT 7     /* Interceptor: refuse; for 3.1.1 as the broker's policy says. */
#define AVOCET_DISCONNECT 8 /* Close the connection with the reason given. */
#define AVOCET_ERROR 9      /* Undecided: `on_error` of the chain member rules (default: deny). */
#define AVOCET_PENDING 10   /* The matching complete() gives or has given the answer. */

/*
 * Handles.
 */
typedef uint64_t avocet_client_h; /* A connection. */
typedef uint64_t avocet_req_h;    /* A question that the host waits on. */
typedef uint64_t avocet_link_h;   /* A session without a socket, of a plugin. */
typedef uint64_t avocet_timer_h;  /* A timer of an instance. */
typedef uint64_t avocet_watch_h;  /* A file descriptor that a loop watches for an instance. */
typedef uint64_t avocet_metric_h; /* A value that an instance shows. */

/*
 * Opaque objects of the host.
 */
typedef struct avocet_self avocet_self; /* This plugin instance, as the host knows it. */
typedef struct avocet_conf avocet_conf; /* A validated YAML subtree. */
typedef struct avocet_edit avocet_edit; /* The changes to one message or subscription. */
typedef struct avocet_buf avocet_buf;   /* Reference counted bytes. */
typedef struct avocet_sink avocet_sink; /* It takes records at load, and state at hand-over. */

/* A view of bytes, FROZEN. p may be NULL when n is 0. */
typedef struct avocet_bytes {
	const uint8_t *p;
	size_t n;
} avocet_bytes;

/* A view of UTF-8 text, FROZEN. It has no NUL at its end. p may be NULL when n is 0. */
typedef struct avocet_str {
	const char *p;
	size_t n;
} avocet_str;

/* A key and its value, FROZEN. */
typedef struct avocet_pair {
	avocet_str key;
	avocet_str value;
} avocet_pair;

/* The kinds of properties say which members of avocet_prop hold the value. */
#define AVOCET_PROP_NUM 1u  /* num: byte, two or four byte integer, variable byte integer. */
#define AVOCET_PROP_STR 2u  /* a: UTF-8. */
#define AVOCET_PROP_BIN 3u  /* a: binary. */
#define AVOCET_PROP_PAIR 4u /* a: key, b: value. */

/* One MQTT 5 property, FROZEN. */
typedef struct avocet_prop {
	uint32_t id;   /* The identifier of MQTT 5.0 section 2.2.2.2, e.g. 38 = User Property. */
	uint32_t kind; /* AVOCET_PROP_* */
	uint64_t num;
	avocet_bytes a, b;
} avocet_prop;

/* The properties of one packet in its order, FROZEN. */
typedef struct avocet_props {
	const avocet_prop *v;
	size_t n;
} avocet_props;

/* The text of an error, FROZEN. The host owns and zeroes it; the plugin may fill it. */
typedef struct avocet_error {
	int32_t code;  /* AVOCET_E_* */
	uint32_t line; /* The line of the configuration that is to blame, or 0. */
	char text[248];
} avocet_error;

#define AVOCET_TRANSPORT_TCP 1u
#define AVOCET_TRANSPORT_TLS 2u
#define AVOCET_TRANSPORT_WS 3u
#define AVOCET_TRANSPORT_WSS 4u
#define AVOCET_TRANSPORT_UNIX 5u
#define AVOCET_TRANSPORT_LINK 6u /* The session of a plugin inside the broker. */

#define AVOCET_CLIENT_CLEAN_START 1u
#define AVOCET_CLIENT_HAS_WILL 2u
#define AVOCET_CLIENT_TLS_VERIFIED 4u /* The listener's CA has verified the certificate chain. */

/* A client, as plugins see it. Sized; the host allocates it. */
typedef struct avocet_client_info {
	uint32_t struct_size;
	uint32_t flags; /* AVOCET_CLIENT_* */
	avocet_client_h handle;
	avocet_str client_id;
	avocet_str username;  /* The principal; empty before authentication. */
	avocet_str listener;  /* Its name in the configuration. */
	avocet_str peer_addr; /* Numeric; behind the PROXY protocol the real one. */
	uint32_t peer_port;
	uint32_t transport; /* AVOCET_TRANSPORT_* */
	uint32_t protocol;  /* 3 = 3.1, 4 = 3.1.1, 5 = 5.0 */
	uint32_t worker;    /* The index of the loop that owns it. */
	uint32_t keepalive_s;
	uint32_t session_expiry_s;
	int64_t connected_ms;       /* UNIX time. */
	avocet_props connect_props; /* The properties of CONNECT. */
	avocet_bytes tls_cert_der; /* The client certificate: parse it with your own TLS library. */
	avocet_str tls_sni;
	avocet_str tls_version;
	avocet_str tls_psk_identity;
	avocet_bytes tls_exporter; /* RFC 9266 channel binding, 32 bytes, if a service wants it. */
	const avocet_pair *attrs;  /* Authenticators set them; all later services see them. */
	size_t n_attrs;
} avocet_client_info;

#define AVOCET_MSG_RETAIN 1u
#define AVOCET_MSG_DUP 2u
#define AVOCET_MSG_WILL 4u

/* A message, read only. Sized; the host allocates it. */
typedef struct avocet_msg {
	uint32_t struct_size;
	uint32_t flags;            /* AVOCET_MSG_* */
	int64_t expires_ms;        /* UNIX time; 0 = never. */
	int64_t received_ms;       /* UNIX time. */
	avocet_str topic;          /* As it now stands in the chain; an alias is resolved. */
	avocet_str topic_received; /* As the publisher sent it. */
	avocet_bytes payload;
	avocet_buf *payload_buf; /* The same bytes, to keep them by buf_ref(); may be NULL. */
	uint32_t qos;
	uint32_t reserved;
	avocet_props props;
	avocet_str origin_client_id; /* Empty: the broker itself. */
	avocet_str origin_username;
	avocet_str origin_node; /* The first broker, for the loop control of links. */
	uintptr_t reserved2;
} avocet_msg;

/* The view of a C string; NULL gives the empty view. */
static inline avocet_str
avocet_str_of(const char *s)
{
	avocet_str view;

	view.p = s;
	view.n = 0;
	while (s && s[view.n]) {
		view.n++;
	}
	return view;
}

#ifdef __cplusplus
}
#endif
#endif
