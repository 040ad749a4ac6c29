/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters: one table names them all, and $SYS, the metrics page and the manual are made from it.
 * Each thread writes its own set without a lock; readers sum the sets of all threads. A gauge may
 * go down: what one thread takes away may have been added by another, so a single set's gauge may
 * be "negative" (modulo 2^64) while the sum is right.
 */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/context.h"

enum counter_kind { COUNTER_TOTAL, COUNTER_GAUGE };

/*
 * X(NAME, kind, "name in metrics and manual", "help"). A room adds its rows with the code that
 * counts them.
 */
#define COUNTER_TABLE(X)                                                                           \
	X(LOG_LINES, TOTAL, "log_lines", "lines written to the log")                               \
	X(LOG_DROPPED, TOTAL, "log_dropped", "log lines lost because a thread's ring was full")    \
	X(LOOP_TURNS, TOTAL, "loop_turns", "turns of all workers' loops")                          \
	X(LOOP_WAKEUPS, TOTAL, "loop_wakeups", "wake-ups of a sleeping worker by another thread")  \
	X(LOOP_MAILS, TOTAL, "loop_mails", "mails between workers that were run")                  \
	X(QUESTIONS, TOTAL, "questions", "questions put to plugins")                               \
	X(QUESTIONS_TIMED_OUT, TOTAL, "questions_timed_out",                                       \
	    "questions that were not answered in time")                                            \
	X(ANSWERS_STALE, TOTAL, "answers_stale", "answers to questions that nobody asks any more") \
	X(DENIED, TOTAL, "denied", "publications, filters and wills that an authorizer denied")    \
	X(PLUGIN_FAULTS, TOTAL, "plugin_faults", "what plugins did that they must not")            \
	X(ALIASES_MEMORY, GAUGE, "aliases_memory", "bytes of topic aliases")                       \
	X(CLOSED_WRITE_TIMEOUT, TOTAL, "closed_write_timeout",                                     \
	    "connections closed because they took nothing")                                        \
	X(CLOSED_KEEP_ALIVE, TOTAL, "closed_keep_alive",                                           \
	    "connections closed because they said nothing")                                        \
	X(CLOSED_PROTOCOL, TOTAL, "closed_protocol",                                               \
	    "connections closed for an error of the client")                                       \
	X(CLOSED_TAKEN_OVER, TOTAL, "closed_taken_over", "connections taken over by another")      \
	X(CLOSED_OVERLOAD, TOTAL, "closed_overload",                                               \
	    "connections closed because the broker is overloaded")                                 \
	X(MOVES, TOTAL, "moves", "connections that moved to the worker of their session")          \
	X(ACCEPT_EXCEEDED, TOTAL, "accept_exceeded",                                               \
	    "connections closed at once because no file descriptor was left")                      \
	X(STORE_COMMITS, TOTAL, "store_commits", "cuts that the store has committed")              \
	X(STORE_FAILURES, TOTAL, "store_failures", "commits that failed and were tried again")     \
	X(STORE_OPERATIONS, TOTAL, "store_operations", "operations that the store has committed")  \
	X(STORE_ANNIHILATED, TOTAL, "store_annihilated",                                           \
	    "operations that fell away before their commit")                                       \
	X(CONNECTS, TOTAL, "connects", "clients that were let in (CONNACK with success)")          \
	X(CONNECTS_REFUSED, TOTAL, "connects_refused", "CONNECTs that were refused")               \
	X(DISCONNECTS, TOTAL, "disconnects", "clients that had been let in and have gone")         \
	X(PACKETS_RECEIVED, TOTAL, "packets_received", "MQTT packets received")                    \
	X(PACKETS_SENT, TOTAL, "packets_sent", "MQTT packets sent")                                \
	X(BYTES_RECEIVED, TOTAL, "bytes_received", "bytes received from clients")                  \
	X(BYTES_SENT, TOTAL, "bytes_sent", "bytes sent to clients")                                \
	X(PUBLISHES_RECEIVED, TOTAL, "publishes_received", "PUBLISH packets received")             \
	X(PUBLISHES_SENT, TOTAL, "publishes_sent", "PUBLISH packets sent")                         \
	X(PUBLISH_BYTES_RECEIVED, TOTAL, "publish_bytes_received", "bytes of payload received")    \
	X(PUBLISH_BYTES_SENT, TOTAL, "publish_bytes_sent", "bytes of payload sent")                \
	X(PUBLISHES_DROPPED, TOTAL, "publishes_dropped", "deliveries that were dropped")           \
	X(ACCEPTS, TOTAL, "accepts", "connections accepted by listeners")                          \
	X(ACCEPTS_REFUSED_TOTAL, TOTAL, "accepts_refused_total",                                   \
	    "connections closed at once: broker.max_connections")                                  \
	X(ACCEPTS_REFUSED_LISTENER, TOTAL, "accepts_refused_listener",                             \
	    "connections closed at once: max_connections of the listener")                         \
	X(ACCEPTS_REFUSED_RATE, TOTAL, "accepts_refused_rate",                                     \
	    "connections closed at once: broker.max_connect_rate")                                 \
	X(ACCEPTS_REFUSED_ADDRESS, TOTAL, "accepts_refused_address",                               \
	    "connections closed at once: broker.max_connections_per_address")                      \
	X(ACCEPTS_REFUSED_PROXY, TOTAL, "accepts_refused_proxy",                                   \
	    "connections closed at once: not of broker.trusted_proxies")                           \
	X(PROXY_REFUSED, TOTAL, "proxy_refused", "connections closed for their PROXY header")      \
	X(TLS_HANDSHAKES_FAILED, TOTAL, "tls_handshakes_failed", "TLS handshakes that failed")     \
	X(WS_HANDSHAKES_FAILED, TOTAL, "ws_handshakes_failed",                                     \
	    "WebSocket connections that failed before CONNECT")                                    \
	X(CLOSED_CONNECT_TIMEOUT, TOTAL, "closed_connect_timeout",                                 \
	    "connections closed because CONNECT did not come in time")                             \
	X(WILLS_FIRED, TOTAL, "wills_fired", "wills that were put to publication")                 \
	X(SHARED_GIVEN_BACK, TOTAL, "shared_given_back",                                           \
	    "shared deliveries that another member got")                                           \
	X(DROPPED_OVERLOAD, TOTAL, "dropped_overload",                                             \
	    "publications of QoS 0 dropped because too much is under way")                         \
	X(SESSIONS, GAUGE, "sessions", "sessions, asleep ones too")                                \
	X(SESSIONS_ATTACHED, GAUGE, "sessions_attached", "sessions with a connection")             \
	X(SESSIONS_TAKEN_OVER, TOTAL, "sessions_taken_over",                                       \
	    "sessions taken over by another connection")                                           \
	X(SESSIONS_EXPIRED, TOTAL, "sessions_expired",                                             \
	    "sessions that ended by their expiry interval")                                        \
	X(SUBSCRIPTIONS, GAUGE, "subscriptions", "subscriptions of all sessions")                  \
	X(DROPPED_QUEUE_FULL, TOTAL, "dropped_queue_full",                                         \
	    "deliveries dropped: the queue was full")                                              \
	X(DROPPED_QOS0_OFFLINE, TOTAL, "dropped_qos0_offline",                                     \
	    "deliveries dropped: QoS 0 for a session that is asleep")                              \
	X(DROPPED_EXPIRED, TOTAL, "dropped_expired", "deliveries dropped: the message expired")    \
	X(DROPPED_TOO_LARGE, TOTAL, "dropped_too_large",                                           \
	    "deliveries dropped: larger than the client's Maximum Packet Size")                    \
	X(DROPPED_DENIED, TOTAL, "dropped_denied",                                                 \
	    "deliveries dropped: the client may not receive them")                                 \
	X(DROPPED_MEMORY, TOTAL, "dropped_memory", "deliveries dropped: no memory")                \
	X(DROPPED_SESSION_GONE, TOTAL, "dropped_session_gone",                                     \
	    "deliveries dropped: their session ended")

#define COUNTER_ENUM(name, kind, label, help) COUNTER_##name,
enum counter { COUNTER_TABLE(COUNTER_ENUM) COUNTER_COUNT };
#undef COUNTER_ENUM

struct counter_info {
	const char *name;
	const char *help;
	enum counter_kind kind;
};

extern const struct counter_info counter_infos[COUNTER_COUNT];

/* One thread's counters, on cache lines of their own. */
struct counter_set {
	_Alignas(64) _Atomic uint64_t values[COUNTER_COUNT];
};

/* Adds to the current thread's set. The only writer is this thread: a load and a store, no locked
 * instruction. */
static inline void
counter_add(enum counter counter, uint64_t n)
{
	struct context *context = context_current;

	if (context != NULL && context->counters != NULL) {
		_Atomic uint64_t *value = &context->counters->values[counter];

		atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n,
		    memory_order_relaxed);
	}
}

static inline void
counter_sub(enum counter counter, uint64_t n)
{
	counter_add(counter, -n);
}

/* Any thread: the sum over `count` sets. */
uint64_t counter_sum(const struct counter_set *const *sets, size_t count, enum counter counter);

#endif
