/* SPDX-License-Identifier: Apache-2.0 */
/* What survives: loading from the memory engine after an orderly end and after a crash. */
#include "base/vec.h"
#include "unit/store/house.h"

static struct house house;
static struct store_disk *disk;
static struct store_ids ids;
static struct buf said;                /* what was loaded */
static VEC(struct msg *) loaded = {0}; /* messages, owned */

/* --- the caller of store_load --- */

static void
text(struct bytes bytes)
{
	buf_append_bytes(&said, bytes);
	buf_append_text(&said, " ");
}

static void
on_session(void *arg, uint64_t sid, struct bytes client_id, struct bytes rec)
{
	(void)arg;
	buf_printf(&said, "session %u ", (unsigned)sid);
	text(client_id);
	text(rec);
}

static void
on_subscription(void *arg, uint64_t sid, struct bytes filter, struct bytes rec)
{
	(void)arg;
	buf_printf(&said, "sub %u ", (unsigned)sid);
	text(filter);
	text(rec);
}

static void
on_message(void *arg, uint64_t mid, struct msg *msg)
{
	(void)arg;
	buf_printf(&said, "msg %u ", (unsigned)mid);
	text(msg_topic(msg));
	text(msg_payload(msg));
	assert_int_equal(msg->store_id, mid);
	vec_push(&loaded, msg);
}

static void
on_queue(void *arg, uint64_t sid, uint64_t qid, uint64_t mid, uint8_t row_state, uint16_t packet_id,
    struct bytes rec)
{
	(void)arg;
	buf_printf(&said, "row %u of %u: msg %u, state %u, packet %u, ", (unsigned)qid,
	    (unsigned)sid, (unsigned)mid, row_state, packet_id);
	text(rec);
}

static void
on_received(void *arg, uint64_t sid, uint16_t packet_id)
{
	(void)arg;
	buf_printf(&said, "recv %u %u ", (unsigned)sid, packet_id);
}

static void
on_retained(void *arg, struct bytes topic, uint64_t mid, uint64_t version)
{
	(void)arg;
	buf_printf(&said, "retained %u %u ", (unsigned)mid, (unsigned)version);
	text(topic);
}

static void
on_will(void *arg, uint64_t sid, struct msg *msg, struct bytes rec)
{
	(void)arg;
	buf_printf(&said, "will %u ", (unsigned)sid);
	text(msg_payload(msg));
	text(rec);
	msg_unref(&msg);
}

static void
on_cursor(void *arg, uint64_t sid, struct bytes filter)
{
	(void)arg;
	buf_printf(&said, "cursor %u ", (unsigned)sid);
	text(filter);
}

static const struct store_load_ops load_ops = {.session = on_session,
    .subscription = on_subscription,
    .message = on_message,
    .queue = on_queue,
    .received = on_received,
    .retained = on_retained,
    .will = on_will,
    .cursor = on_cursor};

static void
forget_loaded(void)
{
	while (loaded.count != 0) {
		struct msg *msg = vec_pop(&loaded);

		msg_unref(&msg);
	}
	buf_clear(&said);
}

static void
open_on_disk(void)
{
	struct store_mem_options options = {.min_delay_ms = 5, .max_delay_ms = 5};
	char why[64];

	forget_loaded();
	house_open(&house, store_engine_mem_new(disk, &options), 11);
	assert_int_equal(store_load(house.store, &ids, &load_ops, NULL, why, sizeof(why)), 0);
	assert_int_equal(loop_start(house.loop), 0);
}

static int
begin(void **state)
{
	(void)state;
	disk = store_disk_new();
	ids.next = 1;
	buf_init(&said, SIZE_MAX);
	open_on_disk();
	return 0;
}

static int
end(void **state)
{
	(void)state;
	house_close(&house);
	forget_loaded();
	vec_fini(&loaded);
	buf_fini(&said);
	store_disk_free(&disk);
	return 0;
}

static uint64_t
put(const struct store_op *op)
{
	return house_put(&house, 1, op);
}

static struct msg_applied applied;

/* One of each, and what changes it. */
static void
write_all(void)
{
	struct msg *one = house_msg("a/b", "one", 21), *two = house_msg("c", "two", 20);

	put(&(struct store_op){
	    .kind = STORE_SESSION_PUT, .sid = 3, .key = bytes_of("c3"), .rec = bytes_of("r3")});
	put(&(struct store_op){
	    .kind = STORE_SUB_PUT, .sid = 3, .key = bytes_of("a/#"), .rec = bytes_of("o")});
	put(&(struct store_op){.kind = STORE_CURSOR_PUT, .sid = 3, .key = bytes_of("a/#")});
	put(&(struct store_op){.kind = STORE_RECV_PUT, .sid = 3, .packet_id = 700});
	put(&(struct store_op){.kind = STORE_RECV_PUT, .sid = 3, .packet_id = 7});
	put(&(struct store_op){
	    .kind = STORE_QUEUE_PUT, .sid = 3, .qid = 41, .msg = one, .rec = bytes_of("q1")});
	put(&(struct store_op){.kind = STORE_QUEUE_PUT, .sid = 3, .qid = 40, .msg = two});
	put(&(struct store_op){.kind = STORE_QUEUE_STATE,
	    .sid = 3,
	    .qid = 41,
	    .state = STORE_RELEASED,
	    .packet_id = 9});
	put(&(struct store_op){
	    .kind = STORE_RETAIN_PUT, .msg = two, .version = 5, .applied = &applied});
	put(&(struct store_op){.kind = STORE_WILL_PUT, .sid = 3, .msg = one, .rec = bytes_of("w")});
	msg_unref(&one);
	msg_unref(&two);
}

static void
forget_applied(void)
{
	msg_unref(&applied.msg);
	applied.version = 0;
}

static const char all_of_it[] =
    "msg 20 c two msg 21 a/b one session 3 c3 r3 sub 3 a/# o cursor 3 a/# "
    "row 40 of 3: msg 20, state 0, packet 0,  "
    "row 41 of 3: msg 21, state 2, packet 9, q1 recv 3 7 recv 3 700 retained 20 5 c will 3 one w ";

static void
everything_that_was_written_is_loaded(void **state)
{
	struct store_disk_counts counts;
	struct store_id_block block = {0};

	(void)state;
	write_all();
	sim_advance(house.loop, 20);
	house_close(&house);
	forget_applied();
	store_disk_counts(disk, &counts);
	assert_int_equal(counts.sessions, 1);
	assert_int_equal(counts.subscriptions, 1);
	assert_int_equal(counts.messages, 2);
	assert_int_equal(counts.queue, 2);
	assert_int_equal(counts.received, 2);
	assert_int_equal(counts.retained, 1);
	assert_int_equal(counts.wills, 1);
	assert_int_equal(counts.cursors, 1);
	open_on_disk();
	assert_bytes_text(buf_bytes(&said), all_of_it);
	assert_int_equal(store_id_draw(&ids, &block), 42);
}

static void
a_crash_loses_what_was_not_committed_and_only_that(void **state)
{
	(void)state;
	write_all();
	sim_advance(house.loop, 20);
	put(&(struct store_op){.kind = STORE_SESSION_DEL, .sid = 3});
	house_settle(&house); /* handed over, but the engine is late */
	house_crash(&house);
	forget_applied();
	open_on_disk();
	assert_bytes_text(buf_bytes(&said), all_of_it);
	/* And in the open chunk. */
	put(&(struct store_op){.kind = STORE_SESSION_DEL, .sid = 3});
	house_crash(&house);
	open_on_disk();
	assert_bytes_text(buf_bytes(&said), all_of_it);
}

static void
a_session_goes_with_all_it_has(void **state)
{
	struct msg_applied loaded_topic;

	(void)state;
	write_all();
	sim_advance(house.loop, 20);
	house_close(&house);
	forget_applied();
	open_on_disk();
	loaded_topic = (struct msg_applied){.version = 5, .msg = msg_ref(loaded.items[0])};
	put(&(struct store_op){
	    .kind = STORE_QUEUE_DEL, .sid = 3, .qid = 40, .msg = loaded.items[0]});
	put(&(struct store_op){
	    .kind = STORE_QUEUE_DEL, .sid = 3, .qid = 41, .msg = loaded.items[1]});
	put(&(struct store_op){.kind = STORE_SESSION_DEL, .sid = 3});
	sim_advance(house.loop, 20);
	house_crash(&house);
	msg_unref(&loaded_topic.msg);
	open_on_disk();
	assert_bytes_text(buf_bytes(&said), "msg 20 c two retained 20 5 c ");
	/* The last one that names it goes. */
	loaded_topic = (struct msg_applied){.version = 5, .msg = msg_ref(loaded.items[0])};
	put(&(struct store_op){.kind = STORE_RETAIN_DEL,
	    .key = bytes_of("c"),
	    .version = 6,
	    .applied = &loaded_topic});
	sim_advance(house.loop, 20);
	assert_null(loaded_topic.msg);
	house_crash(&house);
	open_on_disk();
	assert_bytes_text(buf_bytes(&said), "");
}

static void
a_transaction_is_all_or_nothing(void **state)
{
	(void)state;
	store_disk_set_failing(disk, true);
	write_all();
	sim_advance(house.loop, 5000);
	assert_true(store_is_failing(house.ports[0]));
	house_crash(&house);
	forget_applied();
	store_disk_set_failing(disk, false);
	open_on_disk();
	assert_bytes_text(buf_bytes(&said), "");
	store_disk_set_failing(disk, true);
	write_all();
	sim_advance(house.loop, 5000);
	store_disk_set_failing(disk, false);
	sim_advance(house.loop, 1500);
	assert_false(store_is_failing(house.ports[0]));
	house_crash(&house);
	forget_applied();
	open_on_disk();
	assert_bytes_text(buf_bytes(&said), all_of_it);
}

static void
an_engine_that_cannot_load_says_why(void **state)
{
	struct house other;
	char why[64] = "";

	(void)state;
	store_disk_set_failing(disk, true);
	house_open(&other, store_engine_mem_new(disk, &(struct store_mem_options){.seed = 1}), 1);
	assert_int_equal(store_load(other.store, &ids, &load_ops, NULL, why, sizeof(why)), ERR_IO);
	assert_string_equal(why, "the memory engine was told to fail");
	house_crash(&other);
}

/* --- what does not fit together --- */

static struct spy spy;

static int
load_odd(struct store_engine *engine, const struct store_load_ops *ops, void *arg, char *why,
    size_t why_size)
{
	(void)engine;
	(void)why;
	(void)why_size;
	ops->message(arg, 5, house_msg("a", "orphan", 0));
	ops->message(arg, 6, house_msg("a", "kept", 0));
	ops->queue(arg, 1, 50, 6, 0, 0, bytes_of(""));
	ops->queue(arg, 1, 51, 7, 0, 0, bytes_of(""));
	ops->retained(arg, bytes_of("t"), 8, 3);
	return 0;
}

static void
orphans_and_dangling_rows_are_deleted_at_load(void **state)
{
	struct house other;
	struct store_engine *engine = spy_init(&spy);
	struct store_engine_ops ops = *engine->ops;
	char why[64];

	(void)state;
	ops.load = load_odd;
	engine->ops = &ops;
	forget_loaded();
	house_open(&other, engine, 1);
	assert_int_equal(store_load(other.store, &ids, &load_ops, NULL, why, sizeof(why)), 0);
	assert_bytes_text(buf_bytes(&said),
	    "msg 5 a orphan msg 6 a kept row 50 of 1: msg 6, state 0, packet 0,  ");
	assert_int_equal(ids.next, 52);
	assert_int_equal(loop_start(other.loop), 0);
	assert_true(sim_settle(other.loop, 1000));
	assert_said(&spy, "row-51 retain-3 msg-5 | ");
	house_close(&other);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(everything_that_was_written_is_loaded),
	    CASE(a_crash_loses_what_was_not_committed_and_only_that),
	    CASE(a_session_goes_with_all_it_has),
	    CASE(a_transaction_is_all_or_nothing),
	    CASE(an_engine_that_cannot_load_says_why),
	    CASE(orphans_and_dangling_rows_are_deleted_at_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
