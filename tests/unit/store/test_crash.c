/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model with crashes. Three workers publish to each other's sessions, retain, acknowledge; the
 * engine is late and fails by seed; after a drawn number of steps everything is dropped and loaded
 * again.
 *
 * Each chunk begins and ends with a marker (a session's and a subscription's record) that holds its
 * number. So what was loaded says for each worker which chunk is the last one on the disk; the two
 * markers must agree, and it must not be older than the last one that was reported durable. Then
 * the model knows exactly what else must be there: whatever the chunks up to these say, and nothing
 * else.
 */
#include "base/rand.h"
#include "base/vec.h"
#include "loop/mailbox.h"
#include "unit/store/house.h"

enum { SEEDS = 150, GENERATIONS = 4, TOPICS = 4, PACKET_IDS = 3, MARKER = 100000 };

struct row {
	uint64_t qid;
	struct msg *msg; /* owned */
	int writer, owner;
	uint64_t put, state, del; /* tickets; 0: before this generation; UINT64_MAX: never */
	uint16_t packet_id;
	bool found;
};

struct topic {
	struct msg_applied applied;
	int refs;
	uint64_t version, mid; /* what the disk holds; mid 0: deleted */
};

struct change { /* of a topic or a received packet id, in this generation */
	int port, at;
	uint64_t ticket, version, mid;
	bool puts;
};

struct note { /* memory that dies with the generation */
	struct mail mail;
	struct store_wait wait;
	struct note *next;
	int port;
	struct row *row;
};

static struct house house;
static struct store_disk *disk;
static struct store_ids ids;
static struct store_id_block blocks[HOUSE_PORTS];
static struct rand_gen gen;
static VEC(struct row *) rows;
static VEC(struct change) retains, receives;
static struct topic topics[TOPICS];
static bool received[HOUSE_PORTS][PACKET_IDS]; /* on the disk */
static bool receiving[HOUSE_PORTS][PACKET_IDS];
static struct note *notes;
static uint64_t version, generation;
static uint64_t spare[TOPICS]; /* a version that somebody has drawn and will use late */
static uint64_t newest[HOUSE_PORTS], reported[HOUSE_PORTS], markers[HOUSE_PORTS][2];
static VEC(struct msg *) messages; /* loaded, owned */
static size_t found_rows, found_retained, found_received;
static size_t total_rows, total_retained, total_received,
    total_lost; /* that the test is no empty talk */

static uint64_t
draw(uint64_t bound)
{
	return rand_gen_below(&gen, bound);
}

static struct note *
new_note(int port)
{
	struct note *note = mem_zalloc(sizeof(*note));

	note->port = port;
	note->next = notes;
	notes = note;
	return note;
}

/* --- what workers do --- */

static uint64_t
put(int port, const struct store_op *op)
{
	return store_put(house.ports[port], op);
}

static void
mark(int port, enum store_kind kind, uint64_t ticket)
{
	uint64_t number = generation * MARKER + ticket;

	(void)put(port, &(struct store_op){.kind = kind,
			    .sid = (uint64_t)port + 1,
			    .key = bytes_of("marker"),
			    .rec = bytes_make(&number, sizeof(number))});
}

static void
acknowledge(struct row *row)
{
	row->del = put(row->owner, &(struct store_op){.kind = STORE_QUEUE_DEL,
				       .sid = (uint64_t)row->owner + 1,
				       .qid = row->qid,
				       .msg = row->msg});
}

static void
come_to_owner(struct worker *worker, struct mail *mail)
{
	struct note *note = list_item(mail, struct note, mail);
	struct row *row = note->row;

	(void)worker;
	if (draw(2) == 0) {
		row->packet_id = (uint16_t)(1 + draw(1000));
		row->state = put(row->owner, &(struct store_op){.kind = STORE_QUEUE_STATE,
						 .sid = (uint64_t)row->owner + 1,
						 .qid = row->qid,
						 .state = STORE_SENT,
						 .packet_id = row->packet_id});
	}
	if (draw(2) == 0) {
		acknowledge(row);
	}
}

static void
publish(int port)
{
	struct msg *msg = house_msg("t", "payload", 0);
	uint64_t count = 1 + draw(3);

	(void)msg_store_id_set(msg, store_id_draw(&ids, &blocks[port]));
	while (count-- != 0) {
		struct row *row = mem_zalloc(sizeof(*row));
		struct note *note = new_note(port);

		*row = (struct row){.qid = store_id_draw(&ids, &blocks[port]),
		    .msg = msg_ref(msg),
		    .writer = port,
		    .owner = (int)draw(HOUSE_PORTS),
		    .state = UINT64_MAX,
		    .del = UINT64_MAX};
		row->put = put(port, &(struct store_op){.kind = STORE_QUEUE_PUT,
					 .sid = (uint64_t)row->owner + 1,
					 .qid = row->qid,
					 .msg = msg});
		vec_push(&rows, row);
		note->row = row;
		note->mail.run = come_to_owner;
		mail_send(house.workers[port], house.workers[row->owner], &note->mail, 1);
	}
	msg_unref(&msg);
}

static void
release(void *entry)
{
	((struct topic *)entry)->refs--;
}

/* Other workers may have drawn newer ones before this one's chunk is handed over. */
static uint64_t
draw_version(int at)
{
	uint64_t late = spare[at];

	if (late != 0 && draw(2) == 0) {
		spare[at] = 0;
		return late;
	}
	if (late == 0 && draw(3) == 0) {
		spare[at] = ++version;
	}
	return ++version;
}

static void
retain(int port)
{
	int at = (int)draw(TOPICS);
	struct topic *topic = &topics[at];
	char name[2] = {(char)('a' + at), '\0'};
	bool puts = draw(3) != 0;
	struct msg *msg = puts ? house_msg(name, "retained", 0) : NULL;
	struct change change = {.port = port, .at = at, .version = draw_version(at), .puts = puts};

	if (puts) {
		change.mid = msg_store_id_set(msg, store_id_draw(&ids, &blocks[port]));
	}
	topic->refs++;
	change.ticket =
	    put(port, &(struct store_op){.kind = puts ? STORE_RETAIN_PUT : STORE_RETAIN_DEL,
			  .key = bytes_of(name),
			  .version = change.version,
			  .msg = msg,
			  .applied = &topic->applied,
			  .entry = topic,
			  .entry_release = release});
	vec_push(&retains, change);
	msg_unref(&msg);
}

static void
receive(int port)
{
	int at = (int)draw(PACKET_IDS);
	bool puts = !receiving[port][at];
	struct change change = {.port = port, .at = at, .puts = puts};

	receiving[port][at] = puts;
	change.ticket = put(port, &(struct store_op){.kind = puts ? STORE_RECV_PUT : STORE_RECV_DEL,
				      .sid = (uint64_t)port + 1,
				      .packet_id = (uint16_t)(at + 1)});
	vec_push(&receives, change);
}

static void
acknowledge_some(int port)
{
	for (size_t i = 0; i < rows.count; i++) {
		struct row *row = rows.items[i];

		/* Its publisher's turn is over: mail came, or it was loaded. */
		if (row->owner == port && row->del == UINT64_MAX && draw(6) == 0 &&
		    (row->put == 0 || row->state != UINT64_MAX)) {
			acknowledge(row);
		}
	}
}

static void
report(struct store_wait *wait)
{
	struct note *note = list_item(wait, struct note, wait);

	assert_true(wait->ticket >= reported[note->port]);
	reported[note->port] = wait->ticket;
}

/* One turn's work. */
static void
act(struct worker *worker, struct mail *mail)
{
	struct note *note = list_item(mail, struct note, mail);
	int port = note->port;
	uint64_t ticket =
	    put(port, &(struct store_op){.kind = STORE_CURSOR_DEL, .sid = (uint64_t)port + 1});

	(void)worker;
	mark(port, STORE_SESSION_PUT, ticket);
	for (uint64_t count = draw(4); count != 0; count--) {
		switch (draw(4)) {
		case 0:
			publish(port);
			break;
		case 1:
			retain(port);
			break;
		case 2:
			receive(port);
			break;
		default:
			acknowledge_some(port);
			break;
		}
	}
	store_id_block_end_turn(&blocks[port]);
	note->wait.fn = report;
	store_wait(house.ports[port], &note->wait, ticket);
}

/* Rows change by mail as well: each turn's chunk ends with its marker. */
static void
end_chunk(struct worker *worker, void *arg)
{
	int port = (int)worker_index(worker);
	struct store_port *own = house.ports[port];
	uint64_t ticket;

	(void)arg;
	ticket =
	    store_put(own, &(struct store_op){.kind = STORE_CURSOR_DEL, .sid = (uint64_t)port + 1});
	mark(port, STORE_SESSION_PUT, ticket);
	mark(port, STORE_SUB_PUT, ticket);
	newest[port] = ticket;
}

/* --- loading --- */

static void
on_session(void *arg, uint64_t sid, struct bytes client_id, struct bytes rec)
{
	(void)arg;
	(void)client_id;
	assert_int_equal(rec.len, 8);
	memcpy(&markers[sid - 1][0], rec.data, 8);
}

static void
on_subscription(void *arg, uint64_t sid, struct bytes filter, struct bytes rec)
{
	(void)arg;
	(void)filter;
	memcpy(&markers[sid - 1][1], rec.data, 8);
}

static void
on_message(void *arg, uint64_t mid, struct msg *msg)
{
	(void)arg;
	(void)mid;
	vec_push(&messages, msg);
}

static struct msg *
find_message(uint64_t mid)
{
	for (size_t i = 0; i < messages.count; i++) {
		if (messages.items[i]->store_id == mid) {
			return messages.items[i];
		}
	}
	fail_msg("message %u is not there", (unsigned)mid);
	return NULL;
}

static uint64_t
last_ticket(int port)
{
	uint64_t number = markers[port][0];

	return number / MARKER == generation ? number % MARKER : 0;
}

static bool
is_there(const struct row *row)
{
	return row->put <= last_ticket(row->writer) && row->del > last_ticket(row->owner);
}

static void
on_queue(void *arg, uint64_t sid, uint64_t qid, uint64_t mid, uint8_t state, uint16_t packet_id,
    struct bytes rec)
{
	struct row *row = NULL;

	(void)arg;
	(void)rec;
	for (size_t i = 0; i < rows.count && row == NULL; i++) {
		row = rows.items[i]->qid == qid ? rows.items[i] : NULL;
	}
	assert_non_null(row);
	assert_int_equal(sid, row->owner + 1);
	assert_int_equal(mid, row->msg->store_id);
	assert_true(is_there(row));
	if (row->state <= last_ticket(row->owner)) {
		assert_int_equal(state, STORE_SENT);
		assert_int_equal(packet_id, row->packet_id);
	} else {
		assert_int_equal(state, STORE_QUEUED);
	}
	msg_unref(&row->msg);
	row->msg = msg_ref(find_message(mid));
	row->found = true;
	found_rows++;
}

static void
on_received(void *arg, uint64_t sid, uint16_t packet_id)
{
	(void)arg;
	assert_true(received[sid - 1][packet_id - 1]);
	found_received++;
}

static void
on_retained(void *arg, struct bytes name, uint64_t mid, uint64_t loaded_version)
{
	struct topic *topic = &topics[name.data[0] - 'a'];

	(void)arg;
	assert_int_equal(mid, topic->mid);
	assert_int_equal(loaded_version, topic->version);
	topic->applied = (struct msg_applied){.version = topic->version};
	topic->applied.msg = msg_ref(find_message(mid));
	found_retained++;
}

static void
on_will(void *arg, uint64_t sid, struct msg *msg, struct bytes rec)
{
	(void)arg;
	(void)sid;
	(void)msg;
	(void)rec;
	fail();
}

static void
on_cursor(void *arg, uint64_t sid, struct bytes filter)
{
	(void)arg;
	(void)sid;
	(void)filter;
	fail();
}

static const struct store_load_ops load_ops = {.session = on_session,
    .subscription = on_subscription,
    .message = on_message,
    .queue = on_queue,
    .received = on_received,
    .retained = on_retained,
    .will = on_will,
    .cursor = on_cursor};

/* Only the markers, to learn what the disk holds; the model then says what must come. */
static void
ignore_message(void *arg, uint64_t mid, struct msg *msg)
{
	(void)arg;
	(void)mid;
	msg_unref(&msg);
}

static void
ignore_queue(void *arg, uint64_t sid, uint64_t qid, uint64_t mid, uint8_t state, uint16_t packet_id,
    struct bytes rec)
{
	(void)arg;
	(void)sid;
	(void)qid;
	(void)mid;
	(void)state;
	(void)packet_id;
	(void)rec;
}

static void
ignore_received(void *arg, uint64_t sid, uint16_t packet_id)
{
	(void)arg;
	(void)sid;
	(void)packet_id;
}

static void
ignore_retained(void *arg, struct bytes name, uint64_t mid, uint64_t loaded_version)
{
	(void)arg;
	(void)name;
	(void)mid;
	(void)loaded_version;
}

static void
read_markers(struct store_engine *engine)
{
	const struct store_load_ops ops = {.session = on_session,
	    .subscription = on_subscription,
	    .message = ignore_message,
	    .queue = ignore_queue,
	    .received = ignore_received,
	    .retained = ignore_retained,
	    .will = on_will,
	    .cursor = on_cursor};
	char why[64];

	assert_int_equal(engine->ops->load(engine, &ops, NULL, why, sizeof(why)), 0);
}

/* --- the model --- */

/* What the changes up to the last chunk of each worker amount to. */
static void
bring_model_up_to_date(void)
{
	for (size_t i = 0; i < retains.count; i++) {
		const struct change *change = &retains.items[i];
		struct topic *topic = &topics[change->at];

		if (change->ticket <= last_ticket(change->port) &&
		    change->version > topic->version) {
			topic->version = change->version;
			topic->mid = change->mid;
		}
	}
	for (size_t i = 0; i < receives.count; i++) {
		const struct change *change = &receives.items[i];

		if (change->ticket <= last_ticket(change->port)) {
			received[change->port][change->at] = change->puts;
		}
	}
	retains.count = receives.count = 0;
}

static void
check_counts(void)
{
	size_t expected_retained = 0, expected_received = 0, kept = 0;

	for (size_t i = 0; i < rows.count; i++) {
		struct row *row = rows.items[i];

		assert_int_equal(row->found, is_there(row));
		if (row->found) {
			rows.items[kept++] = row;
		} else {
			msg_unref(&row->msg);
			mem_free(&row);
		}
	}
	rows.count = kept;
	assert_int_equal(kept, found_rows);
	for (int i = 0; i < TOPICS; i++) {
		expected_retained += topics[i].mid != 0;
	}
	for (int port = 0; port < HOUSE_PORTS; port++) {
		for (int i = 0; i < PACKET_IDS; i++) {
			expected_received += received[port][i];
		}
	}
	assert_int_equal(expected_retained, found_retained);
	assert_int_equal(expected_received, found_received);
	total_rows += found_rows;
	total_retained += found_retained;
	total_received += found_received;
	/* No message without a row: the last row took it along. */
	for (size_t i = 0; i < messages.count; i++) {
		assert_int_not_equal(messages.items[i]->store_rows, 0);
		msg_unref(&messages.items[i]);
	}
	messages.count = 0;
}

static void
begin_generation(uint64_t seed)
{
	struct store_mem_options options = {.seed = seed,
	    .max_delay_ms = (int64_t)draw(20),
	    .fail_per_mille = (uint32_t)draw(300),
	    .fail_length = 2};
	struct store_engine *engine = store_engine_mem_new(disk, &options);
	char why[64];

	read_markers(engine);
	for (int port = 0; port < HOUSE_PORTS; port++) {
		assert_int_equal(markers[port][0], markers[port][1]);
		assert_true(last_ticket(port) >= reported[port]);
		reported[port] = 0;
		total_lost += newest[port] - last_ticket(port);
		newest[port] = 0;
	}
	bring_model_up_to_date();
	for (int i = 0; i < TOPICS; i++) {
		topics[i].applied = (struct msg_applied){0};
		spare[i] = 0;
	}
	house_open(&house, engine, seed);
	for (int port = 0; port < HOUSE_PORTS; port++) {
		worker_on_phase(house.workers[port], WORKER_SETTLE, end_chunk, NULL);
	}
	found_rows = found_received = found_retained = 0;
	assert_int_equal(store_load(house.store, &ids, &load_ops, NULL, why, sizeof(why)), 0);
	check_counts();
	for (size_t i = 0; i < rows.count; i++) {
		struct row *row = rows.items[i];

		row->state = row->state <= last_ticket(row->owner) ? 0 : UINT64_MAX;
		row->put = 0;
		row->del = UINT64_MAX;
		row->found = false;
	}
	generation++;
	memcpy(receiving, received, sizeof(received));
	assert_int_equal(loop_start(house.loop), 0);
}

static void
run_steps(uint64_t count)
{
	while (count-- != 0) {
		if (draw(4) == 0) {
			struct note *note = new_note((int)draw(HOUSE_PORTS));

			note->mail.run = act;
			mail_post(house.workers[note->port], &note->mail);
		}
		(void)sim_step(house.loop);
	}
}

static void
end_generation(void)
{
	house_crash(&house);
	for (int i = 0; i < TOPICS; i++) {
		assert_int_equal(topics[i].refs, 0);
		msg_unref(&topics[i].applied.msg);
	}
	while (notes != NULL) {
		struct note *next = notes->next;

		mem_free(&notes);
		notes = next;
	}
	memset(blocks, 0, sizeof(blocks));
}

static void
run_seed(uint64_t seed)
{
	rand_gen_init(&gen, seed);
	disk = store_disk_new();
	ids.next = HOUSE_PORTS + 1;
	generation = version = 0;
	memset(markers, 0, sizeof(markers));
	memset(reported, 0, sizeof(reported));
	memset(received, 0, sizeof(received));
	memset(topics, 0, sizeof(topics));
	for (int i = 0; i < GENERATIONS; i++) {
		begin_generation(seed * 100 + (uint64_t)i);
		run_steps(draw(300));
		end_generation();
	}
	begin_generation(seed);
	end_generation();
	while (rows.count != 0) {
		struct row *row = vec_pop(&rows);

		msg_unref(&row->msg);
		mem_free(&row);
	}
	store_disk_free(&disk);
}

static void
after_a_crash_all_that_was_reported_durable_is_there_and_nothing_half(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		run_seed(seed);
	}
	print_message("loaded: %zu rows, %zu retained, %zu received; lost: %zu chunks\n",
	    total_rows, total_retained, total_received, total_lost);
	assert_true(total_rows > SEEDS && total_retained > SEEDS && total_received > SEEDS &&
		    total_lost > SEEDS);
	vec_fini(&rows);
	vec_fini(&retains);
	vec_fini(&receives);
	vec_fini(&messages);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(after_a_crash_all_that_was_reported_durable_is_there_and_nothing_half),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
