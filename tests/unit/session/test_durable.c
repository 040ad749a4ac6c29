/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and the store: what waits for the disk, and what comes back from it. */
#include "durable_bench.h"

/* kill -9, and the next start on the same disk. */
static void
crash(struct bench *bench)
{
	house_crash(&bench->house);
	house_build(&bench->house, bench->disk, 8);
	assert_int_equal(house_load(&bench->house), 0);
	house_start(&bench->house);
}

/* Rows as another broker might have left them. */
static void
write_row(struct bench *bench, const struct store_op *op)
{
	sim_enter(bench->house.workers[0]);
	store_put(bench->house.ports[0], op);
	sim_leave();
}

/* --- waiting for the disk --- */

static void
qos2_and_pubrel_wait_for_the_disk_and_qos1_does_not(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench_open(&bench);
	bench_publish(&bench, "a", 2);
	bench_publish(&bench, "b", 1);
	bench_publish(&bench, "c", 2);
	assert_said(&bench.sink.said, "b q1#2");
	assert_int_equal(bench_on_disk(&bench).queue, 3);
	assert_said(&bench.sink.said, "a q2#1 c q2#3");
	bench_acknowledge(&bench, 1, 'r');
	bench_acknowledge(&bench, 1, 'r');
	bench_acknowledge(&bench, 1, 'c'); /* out of turn */
	assert_said(&bench.sink.said, "");
	assert_int_equal(bench_on_disk(&bench).queue, 3);
	assert_said(&bench.sink.said, "rel#1");
	bench_acknowledge(&bench, 1, 'r');
	assert_said(&bench.sink.said, "rel#1");
	bench_acknowledge(&bench, 1, 'c');
	bench_acknowledge(&bench, 2, 'a');
	assert_int_equal(bench_on_disk(&bench).queue, 1);
	assert_int_equal(bench_on_disk(&bench).messages, 1);
	bench_close(&bench);
}

/* What has its PUBREC has arrived; what has not is lost with its session. */
static void
the_end_of_a_session_counts_what_did_not_arrive(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench_open(&bench);
	bench_publish(&bench, "a", 2);
	bench_publish(&bench, "b", 2);
	bench_publish(&bench, "c", 1);
	house_commit(&bench.house);
	bench_acknowledge(&bench, 1, 'r');
	sim_enter(bench.house.workers[0]);
	session_terminate(bench.session);
	sim_leave();
	house_settle(&bench.house);
	assert_int_equal(house_counter(&bench.house, COUNTER_DROPPED_SESSION_GONE), 2);
	assert_int_equal(bench_on_disk(&bench).queue, 0);
	bench_close(&bench);
}

static void
what_is_dropped_leaves_no_row(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench.house.limits =
	    (struct session_limits){.max_inflight_messages = 1, .max_queued_messages = 1};
	bench_open(&bench);
	bench_publish(&bench, "a", 1);
	bench_publish(&bench, "b", 1);
	bench_publish(&bench, "c", 1); /* queue full */
	assert_int_equal(bench_on_disk(&bench).queue, 2);
	bench.sink.answer = SESSION_TOO_LARGE;
	bench_acknowledge(&bench, 1, 'a');
	bench_publish(&bench, "d", 2);
	house_commit(&bench.house);
	assert_int_equal(bench_on_disk(&bench).queue, 0);
	assert_int_equal(bench_on_disk(&bench).messages, 0);
	bench_close(&bench);
}

static void
a_qos2_delivery_that_was_given_back_waits_though_it_has_no_row(void **state)
{
	struct bench bench = {0};
	struct session_delivery delivery;

	(void)state;
	bench_open(&bench);
	sim_enter(bench.house.workers[0]);
	delivery = (struct session_delivery){.msg = house_msg(&bench.house, "t", "a", 2, false, 0),
	    .qos = 2,
	    .flags = SESSION_GIVEN_BACK | SESSION_GATED};
	session_deliver(bench.session, &delivery);
	sim_leave();
	house_settle(&bench.house);
	assert_said(&bench.sink.said, "");
	house_commit(&bench.house);
	assert_said(&bench.sink.said, "a q2#1");
	bench_acknowledge(&bench, 1, 'r'); /* without a row there is nothing to wait for */
	assert_said(&bench.sink.said, "rel#1");
	bench_close(&bench);
}

static void
the_gate_keeps_order_over_a_connection_that_ends(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench_open(&bench);
	bench_publish(&bench, "a", 2);
	bench_publish(&bench, "b", 2);
	bench_acknowledge(&bench, 1, 'a'); /* nothing that was sent */
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	house_commit(&bench.house);
	assert_said(&bench.sink.said, "");
	bench_reconnect(&bench);
	assert_said(&bench.sink.said, "a q2#1 b q2#2"); /* for the first time */
	bench_close(&bench);
}

static void
a_pubrel_passes_a_publish_that_waits_for_the_window(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench_open(&bench);
	bench_publish(&bench, "a", 2);
	bench_publish(&bench, "b", 2);
	bench_publish(&bench, "c", 2);
	house_commit(&bench.house);
	bench_publish(&bench, "d", 2); /* in the gate when the connection ends */
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	bench.house.receive_maximum = 2;
	bench_reconnect(&bench);
	assert_said(&bench.sink.said, "a q2#1,dup b q2#2,dup");
	bench_acknowledge(&bench, 1, 'r');
	bench_acknowledge(&bench, 2, 'r');
	house_commit(&bench.house);
	assert_said(&bench.sink.said, "rel#1 rel#2");
	bench_acknowledge(&bench, 1, 'c');
	assert_said(&bench.sink.said, "c q2#3,dup");
	bench_acknowledge(&bench, 2, 'c');
	assert_said(&bench.sink.said, "d q2#4");
	bench_close(&bench);
}

static void
the_end_of_a_session_leaves_nothing_on_disk(void **state)
{
	struct store_disk_counts counts;
	struct bench bench = {0};
	uint64_t ticket = 0;

	(void)state;
	bench_open(&bench);
	bench_publish(&bench, "a", 2);
	bench_publish(&bench, "b", 1);
	sim_enter(bench.house.workers[0]);
	session_inbound_begin(bench.session, 3, &ticket);
	session_inbound_done(bench.session, 3, 0, &ticket, false);
	sim_leave();
	house_detach(&bench.house, bench.session, SESSION_LEAVE_NORMAL);
	bench_publish(&bench, "c", 1);
	counts = bench_on_disk(&bench);
	assert_int_equal(counts.queue, 3);
	assert_int_equal(counts.subscriptions, 1);
	assert_int_equal(counts.received, 1);
	sim_advance(bench.house.loop, 3700000);
	counts = bench_on_disk(&bench);
	assert_int_equal(counts.sessions + counts.subscriptions + counts.queue + counts.received +
			     counts.messages,
	    0);
	assert_int_equal(session_directory_count(bench.house.house.directory), 0);
	bench_close(&bench);
}

/* --- coming back --- */

static void
a_session_comes_back_from_the_disk(void **state)
{
	struct bench bench = {0};
	uint64_t ticket = 0;

	(void)state;
	bench_open(&bench);
	house_subscribe_as(&bench.house, bench.session, "$share/g/x/+", 1, 9, 0);
	bench_publish(&bench, "a", 1);
	bench_publish(&bench, "b", 2);
	bench_publish(&bench, "c", 2);
	house_commit(&bench.house);
	bench_acknowledge(&bench, 2, 'r');
	sim_enter(bench.house.workers[0]);
	session_inbound_begin(bench.session, 3, &ticket);
	session_inbound_done(bench.session, 3, 0, &ticket, false);
	sim_leave();
	house_detach(&bench.house, bench.session, SESSION_LEAVE_ABNORMAL);
	bench_publish(&bench, "d", 1);
	house_commit(&bench.house);
	crash(&bench);
	bench_publish(&bench, "e", 1);
	bench_reconnect(&bench);
	assert_said(&bench.sink.said, "a q1#1,dup rel#2 c q2#3,dup d q1#4 e q1#5");
	assert_true(session_is_stored(bench.session));
	assert_true(session_has_subscription(bench.session, bytes_of("$share/g/x/+")));
	assert_true(session_has_subscription(bench.session, bytes_of("t")));
	sim_enter(bench.house.workers[0]);
	assert_int_equal(session_inbound_begin(bench.session, 3, &ticket), SESSION_INBOUND_KNOWN);
	house_publish(&bench.house, "x/y", "shared", 0);
	sim_leave();
	assert_said(&bench.sink.said, "shared q0");
	assert_bytes_text(msg_client_username_of(session_client(bench.session)), "user");
	/* The rows that came back go like any other. */
	bench_acknowledge(&bench, 1, 'a');
	bench_acknowledge(&bench, 2, 'c');
	bench_acknowledge(&bench, 3, 'r');
	house_commit(&bench.house);
	bench_acknowledge(&bench, 3, 'c');
	bench_acknowledge(&bench, 4, 'a');
	bench_acknowledge(&bench, 5, 'a');
	assert_int_equal(bench_on_disk(&bench).queue, 0);
	assert_int_equal(bench_on_disk(&bench).messages, 0);
	bench_close(&bench);
}

static void
prefixes_come_back(void **state)
{
	struct bench bench = {0};
	struct session_subscribe plain = {.filter = bytes_of("a"), .full_filter = bytes_of("p/a")};
	struct session_subscribe shared = {.filter = bytes_of("$share/g/a"),
	    .full_filter = bytes_of("p/a"),
	    .share_name = bytes_of("g")};
	uint64_t ticket = 0;

	(void)state;
	bench_open(&bench);
	sim_enter(bench.house.workers[0]);
	assert_int_equal(session_subscribe(bench.session, &plain, &ticket), 0);
	assert_int_equal(session_subscribe(bench.session, &shared, &ticket), 0);
	sim_leave();
	house_commit(&bench.house);
	crash(&bench);
	bench_reconnect(&bench);
	assert_true(session_has_subscription(bench.session, bytes_of("a")));
	assert_true(session_has_subscription(bench.session, bytes_of("$share/g/a")));
	assert_int_equal(session_subscription_count(bench.session), 3);
	sim_enter(bench.house.workers[0]);
	house_publish(&bench.house, "p/a", "x", 0);
	sim_leave();
	assert_said(&bench.sink.said, "x q0 x q0");
	bench_close(&bench);
}

static void
a_crash_counts_as_the_end_of_connections(void **state)
{
	struct bench bench = {0};

	(void)state;
	bench_open(&bench);
	bench.house.will = "W";
	bench.house.will_delay_s = 30;
	bench.session = house_connect(&bench.house, &bench.sink, "w", 60, false, false);
	crash(&bench);
	sim_advance(bench.house.loop, 29000);
	assert_said(&bench.house.said, "");
	sim_advance(bench.house.loop, 2000);
	assert_said(&bench.house.said, "will:W");
	assert_int_equal(bench_on_disk(&bench).sessions, 2);
	sim_advance(bench.house.loop, 40000);
	assert_int_equal(bench_on_disk(&bench).sessions, 1);
	bench_close(&bench);
}

static void
a_transient_session_fires_its_will_at_the_next_start_and_ends(void **state)
{
	struct bench bench = {0};
	struct session *session;

	(void)state;
	bench_open(&bench);
	bench.house.will = "W";
	bench.house.will_delay_s = 30;
	session = house_connect(&bench.house, &bench.sink, "w", 0, false, false);
	house_commit(&bench.house);
	/* A graceful stop keeps it. */
	house_detach(&bench.house, session, SESSION_LEAVE_SHUTDOWN);
	assert_int_equal(bench_on_disk(&bench).wills, 1);
	crash(&bench);
	assert_said(&bench.house.said, "will:W");
	assert_int_equal(bench_on_disk(&bench).sessions, 1);
	assert_int_equal(bench_on_disk(&bench).wills, 0);
	bench_close(&bench);
}

static void
a_session_that_expired_while_the_broker_was_down_ends(void **state)
{
	struct session_record_session record = {
	    .client = {.version = 5}, .expiry_s = 10, .left_wall_ms = 1000};
	struct bench bench = {0};
	struct buf rec;

	(void)state;
	bench_open(&bench);
	buf_init(&rec, SIZE_MAX);
	session_record_session_encode(&record, &rec);
	write_row(&bench, &(struct store_op){.kind = STORE_SESSION_PUT,
			      .sid = 5000,
			      .key = bytes_of("long gone"),
			      .rec = buf_bytes(&rec)});
	buf_fini(&rec);
	assert_int_equal(bench_on_disk(&bench).sessions, 2);
	crash(&bench);
	assert_int_equal(bench_on_disk(&bench).sessions, 1);
	bench_close(&bench);
}

/* Whatever a file says of the time at which it left. */
static void
a_session_that_left_before_all_times_has_expired(void **state)
{
	static const int64_t times[] = {INT64_MIN, INT64_MIN + 1, -1, 0};
	struct session_record_session record = {.client = {.version = 5}, .expiry_s = 10};
	struct bench bench = {0};
	struct buf rec;

	(void)state;
	bench_open(&bench);
	buf_init(&rec, SIZE_MAX);
	for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		record.left_wall_ms = times[i];
		buf_clear(&rec);
		session_record_session_encode(&record, &rec);
		write_row(&bench, &(struct store_op){.kind = STORE_SESSION_PUT,
				      .sid = 5000,
				      .key = bytes_of("long gone"),
				      .rec = buf_bytes(&rec)});
		assert_int_equal(bench_on_disk(&bench).sessions, 2);
		crash(&bench);
		assert_int_equal(bench_on_disk(&bench).sessions, 1);
	}
	buf_fini(&rec);
	bench_close(&bench);
}

static void
of_equal_client_ids_the_larger_sid_wins(void **state)
{
	struct session_record_session record = {
	    .client = {.version = 5}, .expiry_s = 3600, .connected = true};
	struct bench bench = {0};
	struct msg *will;
	struct buf rec;

	(void)state;
	bench_open(&bench);
	buf_init(&rec, SIZE_MAX);
	session_record_session_encode(&record, &rec);
	write_row(&bench, &(struct store_op){.kind = STORE_SESSION_PUT,
			      .sid = 500000,
			      .key = bytes_of("s"),
			      .rec = buf_bytes(&rec)});
	buf_clear(&rec);
	will = house_msg(&bench.house, "will", "L", 1, false, 0);
	session_record_will_encode(will, 3000, &rec);
	write_row(&bench, &(struct store_op){.kind = STORE_WILL_PUT,
			      .sid = session_sid(bench.session),
			      .msg = will,
			      .rec = buf_bytes(&rec)});
	buf_fini(&rec);
	msg_unref(&will);
	assert_int_equal(bench_on_disk(&bench).sessions, 2);
	crash(&bench);
	assert_said(&bench.house.said, "will:L");
	assert_int_equal(bench_on_disk(&bench).sessions, 1);
	assert_int_equal(bench_on_disk(&bench).subscriptions, 0);
	bench_reconnect(&bench);
	assert_int_equal(session_sid(bench.session), 500000);
	bench_close(&bench);
}

static void
orphans_are_deleted_but_a_groups_rows_move(void **state)
{
	struct store_disk_counts counts;
	struct bench bench = {0};
	struct buf rec;

	(void)state;
	bench_open(&bench);
	house_subscribe_as(&bench.house, bench.session, "$share/g/x", 1, 9, 0);
	buf_init(&rec, SIZE_MAX);
	for (uint16_t i = 0; i < 4; i++) {
		/* 0: no group. 1: moves. 2: was sent as QoS 2. 3: nobody is in the group. */
		static const char *const groups[] = {"", "$share/g/x", "$share/g/x", "$share/h/x"};
		struct session_delivery delivery = {
		    .msg = house_msg(&bench.house, "x", "m", 2, false, 0),
		    .qos = 2,
		    .flags = SESSION_SHARED};

		(void)msg_store_id_set(delivery.msg, 6000 + i);
		buf_clear(&rec);
		session_record_queue_encode(&delivery, bytes_of(groups[i]), &rec);
		write_row(&bench, &(struct store_op){.kind = STORE_QUEUE_PUT,
				      .sid = 7777,
				      .qid = 8000u + i,
				      .msg = delivery.msg,
				      .rec = buf_bytes(&rec)});
		if (i == 2) {
			write_row(&bench, &(struct store_op){.kind = STORE_QUEUE_STATE,
					      .sid = 7777,
					      .qid = 8002,
					      .packet_id = 4,
					      .state = STORE_SENT});
		}
		session_delivery_fini(&delivery);
	}
	buf_clear(&rec);
	session_record_sub_encode(&(struct session_record_sub){.qos = 1}, &rec);
	write_row(&bench,
	    &(struct store_op){
		.kind = STORE_SUB_PUT, .sid = 7777, .key = bytes_of("f"), .rec = buf_bytes(&rec)});
	write_row(&bench,
	    &(struct store_op){.kind = STORE_CURSOR_PUT, .sid = 7777, .key = bytes_of("f")});
	write_row(&bench, &(struct store_op){.kind = STORE_RECV_PUT, .sid = 7777, .packet_id = 3});
	buf_fini(&rec);
	counts = bench_on_disk(&bench);
	assert_int_equal(counts.queue, 4);
	assert_int_equal(counts.cursors, 1);
	crash(&bench);
	counts = bench_on_disk(&bench);
	assert_int_equal(counts.queue, 1);
	assert_int_equal(counts.messages, 1);
	assert_int_equal(counts.received, 0);
	assert_int_equal(counts.cursors, 0);
	assert_int_equal(counts.subscriptions, 2);
	bench_reconnect(&bench);
	assert_said(&bench.sink.said, "m q1#1{9}");
	bench_close(&bench);
}

static void
a_replay_begins_anew_after_a_crash(void **state)
{
	struct bench bench = {0};
	char topic[16];

	(void)state;
	bench.house.limits = (struct session_limits){.max_inflight_messages = 2};
	bench_open(&bench);
	sim_enter(bench.house.workers[0]);
	for (int i = 0; i < 5; i++) {
		snprintf(topic, sizeof(topic), "r/%d", i);
		house_publish_retained(&bench.house, topic, "r", 1);
	}
	sim_leave();
	house_subscribe(&bench.house, bench.session, "r/+", 1);
	assert_said(&bench.sink.said, ""); /* SUBACK first */
	assert_int_equal(bench_on_disk(&bench).cursors, 1);
	assert_said(&bench.sink.said, "r q1#1,ret r q1#2,ret");
	assert_int_equal(bench_on_disk(&bench).queue, 2);
	crash(&bench);
	bench_reconnect(&bench);
	assert_said(&bench.sink.said, "r q1#1,dup,ret r q1#2,dup,ret");
	for (int i = 0; i < 4; i++) {
		bench_acknowledge(&bench, 1, 'a');
		bench_acknowledge(&bench, 2, 'a');
	}
	assert_said(&bench.sink.said, "r q1#1,ret r q1#2,ret r q1#1,ret r q1#2,ret r q1#1,ret");
	assert_int_equal(bench_on_disk(&bench).cursors, 0);
	assert_int_equal(bench_on_disk(&bench).queue, 0);
	assert_int_equal(bench_on_disk(&bench).retained, 5);
	bench_close(&bench);
}

static void
a_damaged_record_stops_the_start_with_a_sentence(void **state)
{
	struct bench bench = {0};
	char why[256] = "";

	(void)state;
	bench_open(&bench);
	write_row(&bench, &(struct store_op){.kind = STORE_SESSION_PUT,
			      .sid = 5000,
			      .key = bytes_of("x"),
			      .rec = bytes_of("?")});
	house_commit(&bench.house);
	house_crash(&bench.house);
	house_build(&bench.house, bench.disk, 8);
	sim_enter(bench.house.workers[0]);
	assert_int_equal(session_load(&bench.house.house, bench.house.tables, HOUSE_TABLES,
			     &bench.house.limits, NULL, 0, why, sizeof(why)),
	    ERR_INVALID);
	sim_leave();
	assert_non_null(strstr(why, "session 5000"));
	house_start(&bench.house);
	bench_close(&bench);
}

static void
records_come_back_as_they_were(void **state)
{
	uint32_t ids[3] = {1, 2, 268435455};
	struct session_delivery delivery = {.qos = 2,
	    .flags = SESSION_SHARED | SESSION_GATED,
	    .subscription_id_count = 3,
	    .subscription_ids = ids};
	struct session_delivery back = {0};
	struct bytes name;
	struct buf rec;

	(void)state;
	buf_init(&rec, SIZE_MAX);
	session_record_queue_encode(&delivery, bytes_of("$share/g/x"), &rec);
	for (size_t len = 0; len < rec.len; len++) {
		assert_false(session_record_queue_decode(bytes_make(rec.data, len), &back, &name));
	}
	assert_true(session_record_queue_decode(buf_bytes(&rec), &back, &name));
	assert_bytes_text(name, "$share/g/x");
	assert_int_equal(back.subscription_id_count, 3);
	assert_memory_equal(session_delivery_ids(&back), ids, sizeof(ids));
	session_delivery_fini(&back);
	buf_fini(&rec);
}

/* --- everything at random --- */

enum { RANDOM_MESSAGES = 40 };

/*
 * A publisher's messages, a client that loses its connection, a store that fails, a broker that is
 * killed, at any step.
 * What was acknowledged to the publisher must arrive; QoS 2 exactly once, in whatever state
 * anything was. The client remembers what MQTT says it must.
 */
struct random_run {
	struct bench bench;
	uint32_t random;
	uint64_t tickets[RANDOM_MESSAGES];
	uint8_t qos[RANDOM_MESSAGES];
	bool acked[RANDOM_MESSAGES];
	int arrived[RANDOM_MESSAGES];
	int published;
	bool awaits_pubrel[64]; /* the client's state, by packet id */
	bool online;
	bool failing;
};

static uint32_t
draw(struct random_run *run, uint32_t below)
{
	run->random = run->random * 1664525 + 1013904223;
	return (run->random >> 16) % below;
}

static void
client_reads(struct random_run *run)
{
	struct bench *bench = &run->bench;
	char *said = strdup(buf_text(&bench->sink.said)), *rest = said, *word;

	buf_clear(&bench->sink.said);
	while ((word = strsep(&rest, " ")) != NULL && word[0] != '\0') {
		unsigned id, number, qos;

		if (sscanf(word, "rel#%u", &id) == 1) {
			run->awaits_pubrel[id] = false;
			bench_acknowledge(bench, (uint16_t)id, 'c');
			continue;
		}
		number = (unsigned)strtoul(word + 1, NULL, 10);
		word = strsep(&rest, " ");
		assert_int_equal(sscanf(word, "q%u#%u", &qos, &id), 2);
		assert_true(id < 64);
		if (qos == 1) {
			run->arrived[number]++;
			bench_acknowledge(bench, (uint16_t)id, 'a');
			continue;
		}
		run->arrived[number] += !run->awaits_pubrel[id];
		run->awaits_pubrel[id] = true;
		bench_acknowledge(bench, (uint16_t)id, 'r');
	}
	free(said);
}

static void
note_acks(struct random_run *run)
{
	for (int i = 0; i < run->published; i++) {
		run->acked[i] =
		    run->acked[i] || store_is_durable(run->bench.house.ports[0], run->tickets[i]);
	}
}

static void
publish_one(struct random_run *run)
{
	struct bench *bench = &run->bench;
	char payload[16];
	int number = run->published;

	/* While the store fails, route refuses. */
	if (number == RANDOM_MESSAGES || store_is_failing(bench->house.ports[0])) {
		return;
	}
	snprintf(payload, sizeof(payload), "m%d", number);
	run->qos[number] = (uint8_t)(1 + draw(run, 2));
	sim_enter(bench->house.workers[0]);
	house_publish(&bench->house, "t", payload, run->qos[number]);
	/* The same chunk holds its row. */
	run->tickets[number] =
	    store_put(bench->house.ports[0], &(struct store_op){.kind = STORE_RECV_DEL, .sid = 1});
	sim_leave();
	run->published++;
}

static void
come_back(struct random_run *run)
{
	house_commit(&run->bench.house);
	note_acks(run);
	if (session_is_attached(house_find(&run->bench.house, "s"))) {
		return;
	}
	run->bench.house.receive_maximum = (uint16_t)(1 + draw(run, 5));
	bench_reconnect(&run->bench);
	run->online = true;
}

static void
one_step(struct random_run *run)
{
	struct bench *bench = &run->bench;

	switch (draw(run, 13)) {
	case 0:
		if (run->online) {
			buf_clear(&bench->sink.said); /* what was under way is lost */
			house_detach(&bench->house, bench->session, SESSION_LEAVE_ABNORMAL);
			run->online = false;
		}
		break;
	case 1:
		note_acks(run);
		/* What was not acknowledged may be lost, and is not published again here. */
		for (int i = 0; i < run->published; i++) {
			run->tickets[i] = run->acked[i] ? 0 : UINT64_MAX;
		}
		buf_clear(&bench->sink.said);
		run->failing = false;
		store_disk_set_failing(bench->disk, false);
		crash(bench);
		for (int at = 0; at < HOUSE_TABLES; at++) {
			bench->session = session_table_find(bench->house.tables[at], bytes_of("s"));
			assert_true(at != 0 || bench->session != NULL);
		}
		run->online = false;
		break;
	case 2:
	case 3:
		come_back(run);
		break;
	case 4:
	case 5:
		sim_advance(bench->house.loop, draw(run, 12));
		break;
	case 6:
	case 7:
		if (run->online) {
			client_reads(run);
		}
		break;
	case 8:
		run->failing = !run->failing;
		store_disk_set_failing(bench->disk, run->failing);
		break;
	default:
		publish_one(run);
		break;
	}
	note_acks(run);
}

static void
random_run(uint32_t seed)
{
	struct random_run run = {.random = seed};
	struct bench *bench = &run.bench;

	bench_open(bench);
	run.online = true;
	for (int i = 0; i < 150; i++) {
		one_step(&run);
	}
	store_disk_set_failing(bench->disk, false);
	sim_advance(bench->house.loop, 5000); /* it tries again by itself */
	come_back(&run);
	for (int i = 0; i < 200; i++) {
		client_reads(&run);
		house_commit(&bench->house);
	}
	for (int i = 0; i < run.published; i++) {
		if ((run.acked[i] && run.arrived[i] == 0) ||
		    (run.qos[i] == 2 && run.arrived[i] > 1)) {
			print_error("seed %u: message %d of QoS %u, acknowledged %d, arrived %d "
				    "times\n",
			    (unsigned)seed, i, (unsigned)run.qos[i], run.acked[i], run.arrived[i]);
			fail();
		}
	}
	assert_int_equal(bench_on_disk(bench).queue, 0);
	assert_int_equal(bench_on_disk(bench).messages, 0);
	bench_close(bench);
}

static void
nothing_acknowledged_is_lost_and_qos2_comes_once(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 150; seed++) {
		random_run(seed);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(qos2_and_pubrel_wait_for_the_disk_and_qos1_does_not),
	    cmocka_unit_test(the_end_of_a_session_counts_what_did_not_arrive),
	    cmocka_unit_test(what_is_dropped_leaves_no_row),
	    cmocka_unit_test(a_qos2_delivery_that_was_given_back_waits_though_it_has_no_row),
	    cmocka_unit_test(the_gate_keeps_order_over_a_connection_that_ends),
	    cmocka_unit_test(a_pubrel_passes_a_publish_that_waits_for_the_window),
	    cmocka_unit_test(the_end_of_a_session_leaves_nothing_on_disk),
	    cmocka_unit_test(a_session_comes_back_from_the_disk),
	    cmocka_unit_test(prefixes_come_back),
	    cmocka_unit_test(a_crash_counts_as_the_end_of_connections),
	    cmocka_unit_test(a_transient_session_fires_its_will_at_the_next_start_and_ends),
	    cmocka_unit_test(a_session_that_expired_while_the_broker_was_down_ends),
	    cmocka_unit_test(a_session_that_left_before_all_times_has_expired),
	    cmocka_unit_test(of_equal_client_ids_the_larger_sid_wins),
	    cmocka_unit_test(orphans_are_deleted_but_a_groups_rows_move),
	    cmocka_unit_test(a_replay_begins_anew_after_a_crash),
	    cmocka_unit_test(a_damaged_record_stops_the_start_with_a_sentence),
	    cmocka_unit_test(records_come_back_as_they_were),
	    cmocka_unit_test(nothing_acknowledged_is_lost_and_qos2_comes_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
