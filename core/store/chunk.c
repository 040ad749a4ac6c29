/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One allocation per block, not per operation: a worker fills it, the store's thread frees it, and
 * an allocator shared by both would be asked for every row.
 */
#include "store/chunk_int.h"

#include <stdalign.h>

#include "base/mem.h"

enum { FIRST_BLOCK = 1024, LARGEST_BLOCK = 65536 };

struct store_block {
	struct store_block *next;
	size_t size;
	size_t used;
	alignas(max_align_t) uint8_t data[];
};

static size_t
round_up(size_t size)
{
	return (size + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
}

/* Blocks grow with what is written, so that a turn with one operation stays small. */
static void *
allocate(struct store_records *records, size_t size)
{
	struct store_block *block = records->blocks;
	void *memory;

	if (block == NULL || block->size - block->used < size) {
		size_t want = block == NULL ? FIRST_BLOCK : block->size * 2;

		want = want > LARGEST_BLOCK ? LARGEST_BLOCK : want;
		want = want < size ? size : want;
		block = mem_alloc(sizeof(*block) + want);
		block->next = records->blocks;
		block->size = want;
		block->used = 0;
		records->blocks = block;
	}
	memory = block->data + block->used;
	block->used += size;
	return memory;
}

static struct bytes
copy(uint8_t *to, struct bytes bytes)
{
	if (bytes.len != 0) {
		memcpy(to, bytes.data, bytes.len);
	}
	return bytes_make(to, bytes.len);
}

/* The references of the operation go over as they are. */
static struct store_record *
append(struct store_records *records, const struct store_op *op)
{
	size_t size = round_up(sizeof(struct store_record) + op->key.len + op->rec.len);
	struct store_record *record = allocate(records, size);
	uint8_t *behind = (uint8_t *)(record + 1);

	*record = (struct store_record){.size = size, .op = *op};
	record->op.key = copy(behind, op->key);
	record->op.rec = copy(behind + op->key.len, op->rec);
	if (records->last != NULL) {
		records->last->next = record;
	} else {
		records->first = record;
	}
	records->last = record;
	records->size += size;
	records->count++;
	return record;
}

struct store_record *
store_records_add(struct store_records *records, const struct store_op *op)
{
	if (op->msg != NULL) {
		(void)msg_ref(op->msg);
	}
	return append(records, op);
}

void
store_records_join(struct store_records *to, struct store_records *from)
{
	struct store_block **end = &from->blocks;

	if (from->first == NULL) {
		return;
	}
	while (*end != NULL) {
		end = &(*end)->next;
	}
	*end = to->blocks;
	to->blocks = from->blocks;
	if (to->last != NULL) {
		to->last->next = from->first;
	} else {
		to->first = from->first;
	}
	to->last = from->last;
	to->size += from->size;
	to->count += from->count;
	*from = (struct store_records){0};
}

static void
free_blocks(struct store_block *block)
{
	while (block != NULL) {
		struct store_block *next = block->next;

		mem_free(&block);
		block = next;
	}
}

void
store_records_compact(struct store_records *records)
{
	struct store_records fresh = {0};

	for (const struct store_record *at = records->first; at != NULL; at = at->next) {
		if (!at->dropped) {
			struct store_record *moved = append(&fresh, &at->op);

			moved->home = at->home;
			if (moved->home != NULL) {
				*moved->home = moved;
			}
		}
	}
	free_blocks(records->blocks);
	*records = fresh;
}

void
store_record_release(struct store_record *record)
{
	struct store_op *op = &record->op;

	msg_unref(&op->msg);
	if (op->entry_release != NULL) {
		op->entry_release(op->entry);
		op->entry_release = NULL;
		op->entry = NULL;
	}
}

void
store_records_fini(struct store_records *records)
{
	for (struct store_record *at = records->first; at != NULL; at = at->next) {
		store_record_release(at);
	}
	free_blocks(records->blocks);
	*records = (struct store_records){0};
}

/* --- chunks --- */

struct store_chunk *
store_chunk_new(struct store_port *port, uint64_t ticket)
{
	struct store_chunk *chunk = mem_zalloc(sizeof(*chunk));

	chunk->port = port;
	chunk->ticket = ticket;
	return chunk;
}

/* A message weighs once for all its rows, which come one behind the other; what only frees does not
 * count it. */
static size_t
weight(struct store_chunk *chunk, const struct store_op *op)
{
	bool brings = op->kind == STORE_QUEUE_PUT || op->kind == STORE_RETAIN_PUT ||
		      op->kind == STORE_WILL_PUT;

	if (!brings || op->msg == NULL || op->msg == chunk->last_msg) {
		return 0;
	}
	chunk->last_msg = op->msg;
	return msg_size(op->msg);
}

void
store_chunk_add(struct store_chunk *chunk, const struct store_op *op)
{
	const struct store_record *record = store_records_add(&chunk->records, op);

	chunk->cost += record->size + weight(chunk, op);
}

void
store_chunk_free(struct store_chunk **chunk)
{
	store_records_fini(&(*chunk)->records);
	mem_free(chunk);
}
