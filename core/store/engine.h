/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine of the store must do: put the operations of a cut on disk, all or none. Calls come
 * on the store's thread only and may block. The plugin ABI's vtable is adapted to this by broker.
 */
#ifndef STORE_ENGINE_H
#define STORE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "msg/applied.h"

enum store_kind {
	STORE_SESSION_PUT = 1, /* sid, key = client id, rec */
	STORE_SESSION_DEL, /* sid: with all its subscriptions, queue rows, receives, cursors, will;
			    * who deletes a session has written QUEUE_DEL of its rows before, since
			    * these alone say which messages lose a row */
	STORE_SUB_PUT,     /* sid, key = filter (full, with $share), rec */
	STORE_SUB_DEL,     /* sid, key */
	STORE_CURSOR_PUT,  /* sid, key = filter of an open replay */
	STORE_CURSOR_DEL,  /* sid, key */
	STORE_QUEUE_PUT,   /* sid, qid, msg, rec (QoS, flags, subscription ids, share) */
	STORE_QUEUE_STATE, /* sid, qid, packet_id, state */
	STORE_QUEUE_DEL,   /* sid, qid, msg */
	STORE_RECV_PUT,    /* sid, packet_id */
	STORE_RECV_DEL,    /* sid, packet_id */
	STORE_RETAIN_PUT,  /* msg (its topic is the key), version, applied */
	STORE_RETAIN_DEL,  /* key = topic, version, applied */
	STORE_WILL_PUT,    /* sid, msg, rec (delay, QoS, RETAIN, when it fires) */
	STORE_WILL_DEL,    /* sid */
	STORE_MSG_PUT,     /* msg: written by the store's thread alone */
	STORE_MSG_DEL,     /* mid: likewise */
};

/* State of a queue row. */
enum store_state { STORE_QUEUED, STORE_SENT, STORE_RELEASED };

struct store_op {
	enum store_kind kind;
	uint8_t state;
	uint16_t packet_id;
	uint64_t sid;
	uint64_t qid;
	uint64_t version;
	uint64_t mid; /* set by the store's thread from msg */
	struct msg *msg;
	struct msg_applied *applied;        /* of the retained topic's entry */
	void *entry;                        /* a reference that the operation gives back … */
	void (*entry_release)(void *entry); /* … by this, any thread */
	struct bytes key;
	struct bytes rec;
};

/* LOW: it is done and durable, but there is little room: nothing new should be let in. */
enum store_result { STORE_OK, STORE_LOW, STORE_FULL, STORE_IO };

struct store_engine;
struct store_load_ops;

struct store_engine_ops {
	/* All or none; after FULL and IO, for which `why` gets a sentence, the same operations come
	 * again, in a cut of the same or a larger size. Without operations: could it? */
	enum store_result (*commit)(struct store_engine *engine, const struct store_op *const *ops,
	    size_t count, char *why, size_t why_size);
	int (*load)(struct store_engine *engine, const struct store_load_ops *ops, void *arg,
	    char *why, size_t why_size);
	/* A moment without work, or after a failure, or when store_ask_idle was called; busy:
	 * operations wait. Milliseconds until it wants to be called again, < 0: not. */
	int64_t (*idle)(struct store_engine *engine, bool busy);
	/* How long the store shall wait before it commits what is there, ms: 0 for real engines;
	 * the memory engine commits late by this. */
	int64_t (*delay)(struct store_engine *engine);
	/* clean: it was loaded, and all that was handed over is durable. */
	void (*free)(struct store_engine *engine, bool clean);
};

struct store_engine {
	const struct store_engine_ops *ops;
};

#endif
