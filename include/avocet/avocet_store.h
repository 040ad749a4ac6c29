/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistence: an engine that puts batches of operations on disk, all of a batch or none. The
 * broker owns the queue, group commit, coalescing and the gating of acknowledgements; so every
 * engine gives the same guarantees, and an engine can only be wrong about its own file. One
 * instance serves, the one that `store` of the configuration names. Since ABI 0.2.
 *
 * Ids are 64-bit numbers below 2^63 that the broker hands out, rising and never used twice. An
 * engine keeps what it is given and gives it back; it need not understand it. `rec` is the
 * broker's own record, with a version inside: a new member of it changes nothing here.
 */
#ifndef AVOCET_STORE_H
#define AVOCET_STORE_H

#include <avocet/avocet_plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AVOCET_SERVICE_STORE "avocet.store/0"

/*
 * Kinds of operations, and which members they have; the others are 0. A PUT replaces what is there
 * under the same key, a DEL of what is not there is no error. What follows from what, e.g. that a
 * message without rows goes, the broker says with operations; the one exception is SESSION_DEL.
 */
/* Sessions: a sid; s[0] client id; s[2] rec. */
#define AVOCET_OP_SESSION_PUT 1u
/* a sid: with its subscriptions, replays, received ids and its will. Its rows have been deleted. */
#define AVOCET_OP_SESSION_DEL 2u
/* Subscriptions: a sid; s[0] filter (with $share); s[2] rec. Key: both. */
#define AVOCET_OP_SUB_PUT 3u
#define AVOCET_OP_SUB_DEL 4u
/* Messages: a mid; t when it expires, UNIX ms, or 0; s[0] topic; s[1] payload; s[2] rec. */
#define AVOCET_OP_MSG_PUT 5u
#define AVOCET_OP_MSG_DEL 6u
/* Rows of queues: a qid; b mid; t sid; s[2] rec. New rows of a batch come in the order of qid. */
#define AVOCET_OP_QUEUE_PUT 7u
/* a qid; b state, 0 queued, 1 sent, 2 released; t packet id, 1 to 65535, or 0. */
#define AVOCET_OP_QUEUE_STATE 8u
/* a qid */
#define AVOCET_OP_QUEUE_DEL 9u
/* Packet ids of QoS 2 that were received: a sid; b packet id. Key: both. */
#define AVOCET_OP_RECV_PUT 10u
#define AVOCET_OP_RECV_DEL 11u
/* Retained messages: s[0] topic, the key; a mid; b version. DEL has the topic alone. */
#define AVOCET_OP_RETAIN_PUT 12u
#define AVOCET_OP_RETAIN_DEL 13u
/* Wills: a sid; s[0] topic; s[1] payload; s[2] rec. */
#define AVOCET_OP_WILL_PUT 14u
#define AVOCET_OP_WILL_DEL 15u
/* Replays of retained messages that are under way: a sid; s[0] filter. Key: both. */
#define AVOCET_OP_CURSOR_PUT 16u
#define AVOCET_OP_CURSOR_DEL 17u

/* One operation, FROZEN. s[0] is text in UTF-8 without NUL, to be kept byte for byte. */
typedef struct avocet_store_op {
	uint32_t kind; /* AVOCET_OP_*; more may come with a minor. */
	uint32_t flags;
	uint64_t a, b;
	int64_t t;
	avocet_bytes s[3];
} avocet_store_op;

/* Sized; the host allocates it. Borrowed for the call. */
typedef struct avocet_store_batch {
	uint32_t struct_size;
	uint32_t flags;
	const avocet_store_op *ops;
	size_t n_ops; /* 0: nothing is to be written. Would it work? */
	size_t bytes; /* All that s[] hold. */
	uintptr_t reserved;
} avocet_store_batch;

/* From commit(): it is done and durable, but there is little room left: let nothing new in. */
#define AVOCET_STORE_LOW 1

/* To idle(): operations wait, or the last commit failed. */
#define AVOCET_STORE_BUSY 1u

/*
 * The engine. Sized. [store] is one thread: main until the listeners are open, then the store's
 * own, main again at the end. Between create() and destroy() it gets open(), load(), then commit()
 * and idle(), and close(), which comes also after stop().
 */
typedef struct avocet_store {
	uint32_t struct_size;
	uint32_t reserved;
	/* Opens, migrates, checks. With an error, of which the text is shown, the broker does not
	 * start. It may take its time. [store] */
	int32_t (*open)(void *inst, avocet_error *err);
	/* Gives everything back by sink_op, each as the PUT that made it, in this order: messages,
	 * sessions, subscriptions, replays, rows, the rest; the first two and rows by rising ids,
	 * and a row with a QUEUE_STATE behind it if it has one. [store] */
	int32_t (*load)(void *inst, avocet_sink *sink, avocet_error *err);
	/* All or nothing. AVOCET_OK or AVOCET_STORE_LOW: it and all before it survive a power cut.
	 * An error, AVOCET_E_FULL or another, with a text: nothing of it was done; the same
	 * operations come again, with others. [store] */
	int32_t (*commit)(void *inst, const avocet_store_batch *batch, avocet_error *err);
	/* Time for what else there is to do, some ms of it: checkpoints, commands of operators,
	 * opening again what failed. -> in how many ms it wants to be called again, or negative:
	 * not until wake() or the next commit. May be NULL. [store] */
	int64_t (*idle)(void *inst, uint32_t flags);
	/* clean: everything was committed. [store] */
	void (*close)(void *inst, uint32_t clean);
} avocet_store;

#define AVOCET_HOST_STORE "avocet.store-host/0"

typedef struct avocet_store_api {
	uint32_t struct_size;
	uint32_t reserved;
	/* For load(): takes one operation, which is copied. AVOCET_E_CORRUPT: the broker cannot
	 * use it, and has said so in the log; go on with the next. Any other error: give up and
	 * return it. [store] */
	int32_t (*sink_op)(avocet_sink *sink, const avocet_store_op *op);
	/* Lets idle() run soon. AVOCET_E_STATE: the instance is not the store. [any] */
	int32_t (*wake)(avocet_self *self);
} avocet_store_api;

#ifdef __cplusplus
}
#endif
#endif
