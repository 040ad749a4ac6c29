/* SPDX-License-Identifier: Apache-2.0 */
#include "route/batch.h"

#include <assert.h>

#include "base/mem.h"

enum {
	FIRST_SIZE = 4096,
	FULL_SIZE = 262144,   /* from here on the batch leaves and another begins; */
	FULL_COST = 16777216, /* likewise with the messages that it keeps alive */
};

/* Everything lies at multiples of 8 bytes. */
struct entry {
	struct msg *msg;
	uint32_t receiver_count;
	uint32_t unused;
};

struct receiver {
	struct session_delivery
	    delivery; /* msg NULL: the entry's; ids behind where there are more than one */
	uint64_t sid;
	uint32_t slot;
	uint32_t generation;
	uint32_t group_len; /* its name lies behind the ids */
	uint32_t unused;
};

struct route_batch {
	struct mail mail; /* first */
	struct route_house *house;
	uint32_t len; /* of data */
	uint32_t cap;
	uint32_t entry_at; /* the open entry */
	uint32_t cost;
	bool is_open; /* an entry is open */
	_Alignas(8) uint8_t data[];
};

static size_t
padded(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

/* --- unpacking --- */

static size_t
unpack_receiver(struct route_desk *desk, struct msg *msg, const uint8_t *at)
{
	struct receiver receiver;
	const uint8_t *rest = at + sizeof(receiver);
	size_t ids_len;
	struct session *session;
	struct bytes group_name;

	memcpy(&receiver, at, sizeof(receiver));
	ids_len = receiver.delivery.subscription_id_count > 1
		      ? receiver.delivery.subscription_id_count * sizeof(uint32_t)
		      : 0;
	receiver.delivery.msg = msg;
	if (ids_len != 0) {
		receiver.delivery.subscription_ids = mem_alloc(ids_len);
		memcpy(receiver.delivery.subscription_ids, rest, ids_len);
	}
	group_name = bytes_make(rest + padded(ids_len), receiver.group_len);
	session = session_table_get(desk->table, receiver.slot, receiver.generation);
	if (session != NULL) {
		session_deliver(session, &receiver.delivery);
	} else {
		session_deliver_lost(desk->table, receiver.sid, group_name, &receiver.delivery);
	}
	return sizeof(receiver) + padded(ids_len) + padded(receiver.group_len);
}

static void
on_batch(struct worker *worker, struct mail *mail)
{
	struct route_batch *batch = (struct route_batch *)(void *)mail;
	struct route_desk *desk = batch->house->desks[worker_index(worker)];
	uint32_t at = 0;

	while (at < batch->len) {
		struct entry entry;

		memcpy(&entry, batch->data + at, sizeof(entry));
		at += (uint32_t)sizeof(entry);
		for (uint32_t i = 0; i < entry.receiver_count; i++) {
			at += (uint32_t)unpack_receiver(desk, entry.msg, batch->data + at);
		}
	}
	mem_free(&batch);
}

/* --- packing --- */

static struct route_batch *
room_for(struct route_desk *desk, uint16_t worker, size_t size)
{
	struct route_batch *batch = desk->batches[worker];
	size_t cap;

	if (batch == NULL) {
		cap = size > FIRST_SIZE ? padded(size) : FIRST_SIZE;
		batch = mem_alloc(sizeof(*batch) + cap);
		memset(batch, 0, sizeof(*batch));
		batch->cap = (uint32_t)cap;
		batch->house = desk->house;
		batch->mail.run = on_batch;
		desk->batches[worker] = batch;
		desk->open[desk->open_count++] = worker;
	} else if (batch->cap - batch->len < size) {
		cap = 2 * (size_t)batch->cap;
		while (cap - batch->len < size) {
			cap *= 2;
		}
		batch = mem_realloc(batch, sizeof(*batch) + cap);
		batch->cap = (uint32_t)cap;
		desk->batches[worker] = batch;
	}
	return batch;
}

static void
put(struct route_batch *batch, const void *data, size_t len)
{
	if (len != 0) {
		memcpy(batch->data + batch->len, data, len);
	}
	batch->len += (uint32_t)padded(len);
}

static void
open_entry(struct route_desk *desk, struct route_batch *batch, uint16_t worker, struct msg *msg)
{
	struct entry entry = {.msg = msg};

	if (batch->is_open) {
		memcpy(&entry, batch->data + batch->entry_at, sizeof(entry));
		if (entry.msg == msg) {
			return;
		}
		/* In the middle of a fan-out a session gave another message back. */
		entry = (struct entry){.msg = msg};
	} else {
		desk->touched[desk->touched_count++] = worker;
	}
	batch->entry_at = batch->len;
	batch->is_open = true;
	batch->cost += (uint32_t)msg_size(msg);
	put(batch, &entry, sizeof(entry));
}

void
route_batch_add(struct route_desk *desk, const struct topic_subscriber *subscriber,
    struct bytes group_name, struct session_delivery *delivery)
{
	uint16_t worker = subscriber->worker;
	size_t ids_len = delivery->subscription_id_count > 1
			     ? delivery->subscription_id_count * sizeof(uint32_t)
			     : 0;
	size_t size = sizeof(struct entry) + sizeof(struct receiver) + padded(ids_len) +
		      padded(group_name.len);
	struct route_batch *batch = room_for(desk, worker, size);
	struct receiver receiver = {.delivery = *delivery,
	    .sid = subscriber->sid,
	    .slot = subscriber->slot,
	    .generation = subscriber->generation,
	    .group_len = (uint32_t)group_name.len};
	struct entry *entry;

	open_entry(desk, batch, worker, delivery->msg);
	put(batch, &receiver, sizeof(receiver));
	put(batch, delivery->subscription_ids, ids_len);
	put(batch, group_name.data, group_name.len);
	entry = (struct entry *)(void *)(batch->data + batch->entry_at);
	/* The delivery's reference is the batch's now. */
	assert(entry->msg == delivery->msg);
	entry->receiver_count++;
	if (ids_len != 0) {
		mem_free(&delivery->subscription_ids);
	}
}

static void
send(struct route_desk *desk, uint16_t worker)
{
	struct route_batch *batch = desk->batches[worker];

	desk->batches[worker] = NULL;
	mail_send(desk->worker, loop_worker(desk->house->loop, worker), &batch->mail,
	    batch->cost + batch->len);
}

void
route_end_message(struct route_desk *desk)
{
	for (uint16_t i = 0; i < desk->touched_count; i++) {
		desk->batches[desk->touched[i]]->is_open = false;
	}
	desk->touched_count = 0;
	for (uint16_t i = 0; i < desk->open_count;) {
		const struct route_batch *batch = desk->batches[desk->open[i]];

		if (batch->len >= FULL_SIZE || batch->cost >= FULL_COST) {
			send(desk, desk->open[i]);
			desk->open[i] = desk->open[--desk->open_count];
		} else {
			i++;
		}
	}
}

void
route_flush_batches(struct worker *worker, void *arg)
{
	struct route_desk *desk = arg;

	(void)worker;
	while (desk->open_count != 0) {
		send(desk, desk->open[--desk->open_count]);
	}
}

void
route_batches_free(struct route_desk *desk)
{
	while (desk->open_count != 0) {
		mem_free(&desk->batches[desk->open[--desk->open_count]]);
	}
}
