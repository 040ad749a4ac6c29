/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations as they lie in memory: records in their order, in blocks that are freed together. A
 * chunk is what one worker wrote in one turn. It belongs to the port's worker while it is open, to
 * the list under its lock when it was handed over, and then to the store's thread.
 */
#ifndef STORE_CHUNK_INT_H
#define STORE_CHUNK_INT_H

#include "store/store.h"

struct store_block;

struct store_record {
	struct store_record *next;
	struct store_record **home; /* the cut's pointer to it; NULL: none */
	size_t size;                /* bytes of its block */
	bool dropped;               /* fell away; its references are given back */
	struct store_op op;         /* key and rec lie behind it */
};

struct store_records {
	struct store_record *first;
	struct store_record *last;
	struct store_block *blocks; /* the newest first */
	size_t size;                /* of all records, dropped ones included */
	size_t count;               /* likewise */
};

struct store_chunk {
	struct store_chunk *next; /* in the list */
	struct store_port *port;  /* NULL: written by the store itself, at load */
	uint64_t ticket;
	uint64_t cost;              /* bytes that wait while it is not durable */
	const struct msg *last_msg; /* whose bytes were counted last; never followed */
	struct store_records records;
};

/* Copies key and rec, takes a reference of msg; the reference of entry goes over to the record. */
struct store_record *store_records_add(struct store_records *records, const struct store_op *op);

/* All of `from` behind `to`; `from` is empty then. */
void store_records_join(struct store_records *to, struct store_records *from);

/* Copies what was not dropped into fresh memory, and tells each record's home. */
void store_records_compact(struct store_records *records);

/* Gives back the references of all records, and the memory. */
void store_records_fini(struct store_records *records);

/* Gives back msg and entry. */
void store_record_release(struct store_record *record);

struct store_chunk *store_chunk_new(struct store_port *port, uint64_t ticket);
void store_chunk_add(struct store_chunk *chunk, const struct store_op *op);
void store_chunk_free(struct store_chunk **chunk);

#endif
