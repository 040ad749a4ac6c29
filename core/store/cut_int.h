/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cut: the operations of whole chunks, as one transaction. Belongs to the store's thread. What an
 * operation means for rows of messages and for retained topics is accounted for when its chunk is
 * absorbed, once; what the engine gets is put together from that for each attempt, so a cut that
 * failed may grow and be tried again.
 */
#ifndef STORE_CUT_INT_H
#define STORE_CUT_INT_H

#include "base/buf.h"
#include "base/map.h"
#include "base/vec.h"
#include "store/chunk_int.h"
#include "store/idset_int.h"

struct store_cut {
	struct store_records records;
	struct map items;       /* by what they are about: see cut.c */
	struct list messages;   /* items of messages whose rows and whose being stored disagree */
	struct buf key;         /* scratch */
	size_t dropped_size;    /* bytes of records that fell away */
	uint64_t dropped_count; /* since the last settle */
	uint64_t cost;          /* of the chunks that were absorbed */
	struct store_idset sessions;      /* that the engine holds */
	VEC(const struct store_op *) ops; /* of the present attempt */
	VEC(struct store_op) msg_ops;     /* the ones that the store writes itself */
};

void store_cut_init(struct store_cut *cut, struct hash_key hash_key);
void store_cut_fini(struct store_cut *cut);

/* Takes the chunk over and frees it. */
void store_cut_absorb(struct store_cut *cut, struct store_chunk *chunk);

/* A loaded message without a row: the next cut deletes it. */
void store_cut_orphan(struct store_cut *cut, struct msg *msg);

/* Gives memory of what fell away back, if there is much of it: a failing store waits for long. */
void store_cut_trim(struct store_cut *cut);

/* Fills ops for an attempt; returns their number. */
size_t store_cut_assemble(struct store_cut *cut);

/* What was assembled is durable: the cut is empty then. */
void store_cut_settle(struct store_cut *cut);

#endif
