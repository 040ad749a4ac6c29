/* SPDX-License-Identifier: Apache-2.0 */
/* The same on real threads, for the thread sanitizer: nothing is lost, and no wake-up either. */
#include "lib/unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "loop/worker.h"
#include "msg/draft.h"
#include "store/engine_mem.h"
#include "store/store.h"

enum { WRITERS = 3, TURNS = 400, ROWS_KEPT = 10 };

struct writer {
	struct mail next;  /* to itself */
	struct mail ready; /* to main */
	struct worker *worker;
	struct store_port *port;
	struct store_id_block block;
	struct store_wait waits[TURNS];
	uint64_t last;
	int turn, durable, deleted, expected;
};

struct row {
	struct mail mail;
	struct writer *owner;
	struct msg *msg;
	uint64_t qid;
	bool keeps;
};

static struct loop *loop;
static struct worker *main_worker, *store_worker;
static struct store *store;
static struct store_ids ids;
static struct writer writers[WRITERS];
static int ready_count, drained;
static struct timer watchdog;

static void
on_drained(struct worker *worker, bool durable, void *arg)
{
	(void)worker;
	(void)arg;
	drained = durable;
	loop_stop(loop);
}

static void
writer_is_ready(struct worker *worker, struct mail *mail)
{
	(void)mail;
	if (++ready_count == WRITERS) {
		store_drain(store, worker, context_current->mono_ms + 20000, on_drained, NULL);
	}
}

/* All its turns are durable and all rows for it came. */
static void
look_if_ready(struct writer *writer)
{
	if (writer->durable == TURNS && writer->deleted == writer->expected) {
		writer->durable = 0;
		mail_send(writer->worker, main_worker, &writer->ready, 0);
	}
}

static void
on_durable(struct store_wait *wait)
{
	size_t index = (size_t)((char *)wait - (char *)writers) / sizeof(struct writer);
	struct writer *writer = &writers[index];

	if (wait->ticket < writer->last || !store_is_durable(writer->port, wait->ticket)) {
		abort();
	}
	writer->last = wait->ticket;
	writer->durable++;
	look_if_ready(writer);
}

static void
row_comes(struct worker *worker, struct mail *mail)
{
	struct row *row = list_item(mail, struct row, mail);
	struct writer *owner = row->owner;

	(void)worker;
	(void)store_put(owner->port,
	    &(struct store_op){.kind = row->keeps ? STORE_QUEUE_STATE : STORE_QUEUE_DEL,
		.sid = 1,
		.qid = row->qid,
		.packet_id = 1,
		.msg = row->keeps ? NULL : row->msg});
	msg_unref(&row->msg);
	mem_free(&row);
	owner->deleted++;
	look_if_ready(owner);
}

static void
take_turn(struct worker *worker, struct mail *mail)
{
	struct writer *writer = list_item(mail, struct writer, next);
	struct msg_draft draft = {.topic = bytes_of("t"), .payload = bytes_of("p")};
	struct msg *msg = msg_seal(&draft);
	uint64_t ticket = 0;

	(void)msg_store_id_set(msg, store_id_draw(&ids, &writer->block));
	for (int i = 0; i < WRITERS; i++) {
		struct row *row = mem_zalloc(sizeof(*row));

		*row = (struct row){.mail.run = row_comes,
		    .owner = &writers[i],
		    .msg = msg_ref(msg),
		    .qid = store_id_draw(&ids, &writer->block),
		    .keeps = writer->turn < ROWS_KEPT};
		ticket = store_put(writer->port,
		    &(struct store_op){
			.kind = STORE_QUEUE_PUT, .sid = 1, .qid = row->qid, .msg = msg});
		mail_send(worker, row->owner->worker, &row->mail, 100);
	}
	msg_unref(&msg);
	store_id_block_end_turn(&writer->block);
	writer->waits[writer->turn].fn = on_durable;
	store_wait(writer->port, &writer->waits[writer->turn], ticket);
	if (++writer->turn < TURNS) {
		mail_send(worker, worker, &writer->next, 0);
	}
}

static void
start_writer(struct worker *worker, void *arg)
{
	struct writer *writer = arg;

	mail_post(worker, &writer->next);
}

static void
too_late(struct worker *worker, struct timer *timer)
{
	(void)worker;
	(void)timer;
	loop_stop(loop);
}

static void
start_main(struct worker *worker, void *arg)
{
	(void)arg;
	watchdog.fn = too_late;
	timer_set(worker, &watchdog, context_current->mono_ms + 60000);
}

static void
many_threads_write_and_wait(void **state)
{
	struct loop_options options = {.log_level = LOG_LEVEL_WARNING};
	struct store_mem_options engine_options = {.max_delay_ms = 2};
	struct store_disk *disk = store_disk_new();
	struct store_disk_counts counts;

	(void)state;
	loop = loop_new(&options);
	main_worker = loop_add_worker(loop, "main");
	worker_on_start(main_worker, start_main, NULL);
	store_worker = loop_add_worker(loop, "store");
	store = store_new(store_engine_mem_new(disk, &engine_options), store_worker);
	ids.next = 1;
	for (int i = 0; i < WRITERS; i++) {
		struct writer *writer = &writers[i];

		writer->worker = loop_add_worker(loop, "writer");
		writer->port = store_add_port(store, writer->worker);
		writer->next.run = take_turn;
		writer->ready.run = writer_is_ready;
		writer->expected = TURNS * WRITERS;
		worker_on_start(writer->worker, start_writer, writer);
	}
	assert_int_equal(loop_start(loop), 0);
	loop_run(loop);
	loop_join(loop);
	store_free(&store);
	loop_free(&loop);
	assert_int_equal(ready_count, WRITERS);
	assert_int_equal(drained, true);
	store_disk_counts(disk, &counts);
	assert_int_equal(counts.queue, WRITERS * WRITERS * ROWS_KEPT);
	assert_int_equal(counts.messages, WRITERS * ROWS_KEPT);
	store_disk_free(&disk);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(many_threads_write_and_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
