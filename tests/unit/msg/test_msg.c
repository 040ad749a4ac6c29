/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "base/err.h"
#include "base/mem.h"
#include "msg/draft.h"
#include "msg/plain.h"
#include "wire/props.h"

/* Linked in place of mem_try_alloc (--wrap): there is memory for so many more. */
static int allocations_left = INT32_MAX;

void *__real_mem_try_alloc(size_t size);
void *__wrap_mem_try_alloc(size_t size);

void *
__wrap_mem_try_alloc(size_t size)
{
	return allocations_left-- > 0 ? __real_mem_try_alloc(size) : NULL;
}

/* A PUBLISH with one of each property, those for receivers and those not; padded as a lenient peer
 * may. */
static const char block_text[] = "\x01\x01"
				 "\x02\0\0\0\x0a"
				 "\x26\0\1k\0\1"
				 "1"
				 "\x23\0\5"
				 "\x83\x00\0\4text"
				 "\x26\0\1k\0\1"
				 "2";
static const char kept_text[] = "\x01\x01"
				"\x26\0\1k\0\1"
				"1"
				"\x03\0\4text"
				"\x26\0\1k\0\1"
				"2";

static struct wire_publish
make_publish(void)
{
	struct wire_publish publish = {.topic = bytes_of("a/b"),
	    .payload = bytes_of("hello"),
	    .qos = 1,
	    .packet_id = 7,
	    .retain = true};

	wire_props_index(&publish.props, bytes_make(block_text, sizeof(block_text) - 1));
	return publish;
}

static void
check_sealed(const struct msg *msg, const char *topic, const char *payload)
{
	assert_bytes_text(msg_topic(msg), topic);
	assert_bytes_text(msg_payload(msg), payload);
	assert_bytes_text(msg_client_id(msg), "c1");
	assert_bytes_text(msg_username(msg), "u1");
	assert_int_equal(msg->qos, 1);
	assert_int_equal(msg->flags, MSG_RETAIN | MSG_EXPIRES);
	assert_int_equal(msg->expiry_s, 10);
	assert_int_equal(msg->props_len, sizeof(kept_text) - 1);
	assert_memory_equal(msg_props(msg).data, kept_text, sizeof(kept_text) - 1);
	assert_int_equal(msg_size(msg), offsetof(struct msg, data) + 2 + strlen(topic) +
					    sizeof(kept_text) - 1 + strlen(payload) + 4);
}

static void
start(struct msg_draft *draft)
{
	struct wire_publish publish = make_publish();

	msg_draft_of_publish(draft, &publish);
	draft->client_id = bytes_of("c1");
	draft->username = bytes_of("u1");
}

static void
sealing_keeps_what_is_for_receivers_in_its_shortest_form(void **state)
{
	struct msg_draft draft;
	struct msg *msg;

	(void)state;
	start(&draft);
	msg = msg_seal(&draft);
	check_sealed(msg, "a/b", "hello");
	msg_unref(&msg);
	assert_null(msg);
	msg_draft_fini(&draft);
}

static void
a_replaced_value_is_the_drafts_own(void **state)
{
	struct msg_draft draft;
	char topic[] = "x/y/z", payload[] = "bye";
	struct msg *msg;

	(void)state;
	start(&draft);
	assert_int_equal(msg_draft_set_topic(&draft, bytes_of(topic)), 0);
	assert_int_equal(msg_draft_set_payload(&draft, bytes_of(payload)), 0);
	topic[0] = payload[0] = '!';
	msg = msg_seal(&draft);
	check_sealed(msg, "x/y/z", "bye");
	msg_unref(&msg);
}

static void
replaced_properties_are_filtered_like_received_ones(void **state)
{
	struct msg_draft draft;
	struct msg *msg;

	(void)state;
	start(&draft);
	assert_int_equal(msg_draft_set_props(&draft, BYTES_LITERAL("\x23\0\1\x08\0\1r")), 0);
	msg = msg_seal(&draft);
	assert_int_equal(msg->props_len, 4);
	assert_memory_equal(msg_props(msg).data, "\x08\0\1r", 4);
	msg_unref(&msg);
}

static void
an_owned_draft_outlives_its_packet_and_is_adopted(void **state)
{
	struct msg_draft draft;
	char topic[] = "a/b", payload[] = "hello";
	const struct msg *copy;
	struct msg *msg;

	(void)state;
	start(&draft);
	draft.topic = bytes_of(topic);
	draft.payload = bytes_of(payload);
	assert_int_equal(msg_draft_own(&draft), 0);
	topic[0] = payload[0] = '!';
	copy = draft.copy;
	assert_int_equal(msg_draft_own(&draft), 0);
	assert_ptr_equal(draft.copy, copy);
	draft.born_wall_ms = 5; /* what is not a view may still change */
	msg = msg_seal(&draft);
	assert_ptr_equal(msg, copy);
	assert_int_equal(msg->born_wall_ms, 5);
	check_sealed(msg, "a/b", "hello");
	msg_unref(&msg);
}

static void
an_owned_draft_may_still_be_rewritten(void **state)
{
	struct msg_draft draft;
	struct msg *msg;

	(void)state;
	start(&draft);
	assert_int_equal(msg_draft_set_topic(&draft, bytes_of("first")), 0);
	assert_int_equal(msg_draft_own(&draft), 0);
	assert_int_equal(msg_draft_set_topic(&draft, bytes_of("second")), 0);
	assert_int_equal(msg_draft_own(&draft), 0);
	assert_int_equal(msg_draft_set_topic(&draft, bytes_of("third")), 0);
	msg = msg_seal(&draft);
	check_sealed(msg, "third", "hello");
	msg_unref(&msg);
}

static void
what_is_set_after_owning_is_kept(void **state)
{
	struct wire_publish publish = {.topic = bytes_of("t"), .payload = bytes_of("p")};
	struct msg_draft draft;
	struct msg *msg;

	(void)state;
	msg_draft_of_publish(&draft, &publish);
	assert_int_equal(msg_draft_own(&draft), 0);
	draft.client_id = bytes_of("late");
	draft.born_mono_ms = 3;
	msg = msg_seal(&draft);
	assert_bytes_text(msg_client_id(msg), "late");
	assert_bytes_text(msg_topic(msg), "t");
	assert_int_equal(msg->born_mono_ms, 3);
	assert_int_equal(msg->flags, 0);
	assert_null(draft.copy);
	assert_int_equal(draft.topic.len, 0);
	msg_unref(&msg);
}

static void
properties_may_bring_an_expiry_and_take_none_away(void **state)
{
	struct msg_draft draft;

	(void)state;
	start(&draft);
	assert_int_equal(msg_draft_set_props(&draft, BYTES_LITERAL("\x02\0\0\0\x07")), 0);
	assert_int_equal(draft.expiry_s, 7);
	assert_int_equal(draft.flags, MSG_RETAIN | MSG_EXPIRES);
	/* A copy of the draft has none among its properties, and keeps it. */
	assert_int_equal(msg_draft_own(&draft), 0);
	assert_int_equal(draft.props.len, 0);
	assert_int_equal(msg_draft_set_props(&draft, bytes_of("")), 0);
	assert_int_equal(draft.expiry_s, 7);
	assert_int_equal(draft.flags, MSG_RETAIN | MSG_EXPIRES);
	msg_draft_fini(&draft);
}

static void
the_topic_as_it_was_received_is_kept(void **state)
{
	struct msg_draft draft;
	struct bytes before;

	(void)state;
	start(&draft);
	before = draft.topic;
	assert_null(draft.received.data);
	assert_int_equal(msg_draft_set_topic(&draft, bytes_of("one")), 0);
	assert_int_equal(msg_draft_own(&draft), 0);
	assert_int_equal(msg_draft_set_topic(&draft, bytes_of("two")), 0);
	assert_int_equal(msg_draft_own(&draft), 0);
	assert_true(bytes_equal(draft.received, before));
	assert_ptr_not_equal(draft.received.data, before.data);
	assert_bytes_text(draft.topic, "two");
	msg_draft_fini(&draft);
}

/* [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-20] */
static void
every_property_for_receivers_survives_sealing(void **state)
{
	static const char kept[] = "\x01\x01\x03\0\1t\x08\0\1r\x09\0\2\0\1\x26\0\1k\0\1v";
	struct wire_publish publish = {.topic = bytes_of("t")};
	struct msg_draft draft;
	struct msg *msg;

	(void)state;
	wire_props_index(&publish.props, bytes_make(kept, sizeof(kept) - 1));
	msg_draft_of_publish(&draft, &publish);
	msg = msg_seal(&draft);
	assert_int_equal(msg->props_len, sizeof(kept) - 1);
	assert_memory_equal(msg_props(msg).data, kept, sizeof(kept) - 1);
	msg_unref(&msg);
}

static void
a_message_is_named_for_the_store_once(void **state)
{
	struct msg msg = {0};

	(void)state;
	assert_int_equal(msg_store_id_set(&msg, 7), 7);
	assert_int_equal(msg_store_id_set(&msg, 8), 7);
}

static void
a_refused_draft_leaves_nothing_behind(void **state)
{
	static const uint8_t long_topic[65536];
	struct msg_draft draft;

	(void)state;
	start(&draft);
	assert_int_equal(
	    msg_draft_set_topic(&draft, bytes_make(long_topic, sizeof(long_topic))), ERR_LIMIT);
	assert_int_equal(msg_draft_set_payload(&draft, bytes_of("x")), 0);
	assert_int_equal(msg_draft_own(&draft), 0);
	assert_int_equal(msg_draft_set_payload(&draft, bytes_of("y")), 0);
	msg_draft_fini(&draft);
	msg_draft_fini(&draft);
}

/* Nothing changes, nothing is lost, and with memory it goes on. */
static void
without_memory_a_draft_stays_as_it_was(void **state)
{
	struct msg_draft draft;
	struct msg *msg;

	(void)state;
	start(&draft);
	allocations_left = 0;
	assert_int_equal(msg_draft_set_topic(&draft, bytes_of("x")), ERR_NOMEM);
	assert_int_equal(msg_draft_set_payload(&draft, bytes_of("x")), ERR_NOMEM);
	assert_int_equal(msg_draft_set_props(&draft, bytes_of("")), ERR_NOMEM);
	assert_int_equal(msg_draft_own(&draft), ERR_NOMEM);
	assert_null(msg_seal(&draft));
	allocations_left = 1;
	assert_int_equal(msg_draft_set_topic(&draft, bytes_of("x/y/z")), 0);
	assert_int_equal(msg_draft_own(&draft), ERR_NOMEM);
	assert_null(msg_seal(&draft));
	allocations_left = INT32_MAX;
	msg = msg_seal(&draft);
	check_sealed(msg, "x/y/z", "hello");
	msg_unref(&msg);
}

static void
a_will_says_that_it_is_one(void **state)
{
	struct wire_will will = {.topic = bytes_of("w"), .payload = bytes_of(""), .qos = 2};
	struct msg_draft draft;
	struct msg *msg;

	(void)state;
	wire_props_index(&will.props, BYTES_LITERAL("\x18\0\0\0\x05\x02\0\0\0\x06\x03\0\1t"));
	msg_draft_of_will(&draft, &will);
	msg = msg_seal(&draft);
	assert_int_equal(msg->flags, MSG_WILL | MSG_EXPIRES);
	assert_int_equal(msg->expiry_s, 6);
	assert_int_equal(msg->qos, 2);
	assert_int_equal(msg->props_len, 4);
	assert_int_equal(msg->payload_len, 0);
	assert_int_equal(msg_client_id(msg).len, 0);
	msg_unref(&msg);
}

/* [MQTT-3.3.2-5] [MQTT-3.3.2-6] */
static void
expiry_counts_down_by_whole_seconds(void **state)
{
	struct msg msg = {.flags = MSG_EXPIRES, .expiry_s = 10, .born_mono_ms = 1000};
	uint32_t left;

	(void)state;
	assert_true(msg_expiry_left(&msg, 1000, &left));
	assert_int_equal(left, 10);
	assert_true(msg_expiry_left(&msg, 1999, &left));
	assert_int_equal(left, 10);
	assert_true(msg_expiry_left(&msg, 2000, &left));
	assert_int_equal(left, 9);
	assert_true(msg_expiry_left(&msg, 10999, &left));
	assert_int_equal(left, 1);
	assert_false(msg_expiry_left(&msg, 11000, &left));
	assert_int_equal(left, 0);
	assert_true(msg_expiry_left(&msg, 0, &left)); /* a turn that began before its birth */
	assert_int_equal(left, 10);
	msg.expiry_s = 0;
	assert_false(msg_expiry_left(&msg, 1000, &left));
	assert_false(msg_expiry_left(&msg, 0, &left));
	msg.expiry_s = UINT32_MAX;
	assert_true(msg_expiry_left(&msg, 999, &left));
	assert_int_equal(left, UINT32_MAX);
	msg.flags = 0;
	msg.expiry_s = 0;
	assert_true(msg_expiry_left(&msg, INT64_MAX, &left));
	assert_int_equal(left, UINT32_MAX);
}

/* The packet that its parts would make. */
static size_t
write_parts(const struct msg *msg, struct wire_publish_head *head, uint8_t *out)
{
	struct wire_publish_size size = wire_publish_measure(head);
	struct bytes payload = msg_payload(msg);

	wire_publish_write(head, &size, out);
	memcpy(out + size.head, payload.data, payload.len);
	return size.total;
}

static void
check_plain(const struct msg *msg, uint8_t version, uint8_t qos, bool dup, bool retain)
{
	static uint8_t got[70000], want[70000];
	struct msg_plain plain = msg_plain_measure(msg, version, qos);
	struct wire_publish_head head;

	msg_start_head(msg, &head);
	head.version = version;
	head.qos = qos;
	head.packet_id = qos != 0 ? 0x1234 : 0;
	head.dup = dup;
	head.retain = retain;
	if (version != WIRE_V5) {
		head.props = (struct bytes){0};
	}
	assert_int_equal(plain.total, write_parts(msg, &head, want));
	memset(got, 0xee, sizeof(got));
	msg_plain_write(msg, &plain, version,
	    (uint8_t)(WIRE_PUBLISH << 4 | dup << 3 | qos << 1 | retain), head.packet_id, got);
	assert_memory_equal(got, want, plain.total);
	assert_int_equal(got[plain.total], 0xee);
}

/* Before there is a message it is the same packet. */
static void
check_plain_draft(const struct msg *msg, uint8_t version)
{
	static uint8_t got[70000], want[70000];
	const struct msg_draft draft = {.topic = msg_topic(msg), .payload = msg_payload(msg)};
	struct msg_plain plain = msg_plain_measure_draft(&draft, version);
	struct wire_publish_head head;

	msg_start_head(msg, &head);
	head.version = version;
	head.props = (struct bytes){0};
	assert_int_equal(plain.total, write_parts(msg, &head, want));
	memset(got, 0xee, sizeof(got));
	msg_plain_write_draft(&draft, &plain, version, got);
	assert_memory_equal(got, want, plain.total);
	assert_int_equal(got[plain.total], 0xee);
}

static void
check_plain_of(struct msg *msg)
{
	static const uint8_t versions[] = {WIRE_V31, WIRE_V311, WIRE_V5};

	for (unsigned i = 0; i < 3 * 3 * 4; i++) {
		check_plain(
		    msg, versions[i % 3], (uint8_t)(i / 3 % 3), (i / 9 & 1) != 0, (i / 18) != 0);
		check_plain_draft(msg, versions[i % 3]);
	}
	msg_unref(&msg);
}

static void
a_plain_publish_is_what_its_parts_would_make(void **state)
{
	static const size_t lens[] = {0, 1, 3, 100, 127, 128, 16383, 16384, 65000};
	static char payload[65000];
	struct wire_publish publish = {.topic = bytes_of("t")};
	struct msg_draft draft;

	(void)state;
	memset(payload, 'p', sizeof(payload));
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		publish.payload = bytes_make(payload, lens[i]);
		msg_draft_of_publish(&draft, &publish);
		check_plain_of(msg_seal(&draft));
		start(&draft);
		assert_int_equal(msg_draft_set_payload(&draft, publish.payload), 0);
		check_plain_of(msg_seal(&draft));
	}
}

static void
a_plain_publish_that_mqtt_cannot_say_is_none(void **state)
{
	struct msg *msg = mem_zalloc(msg_size_for(2));

	(void)state;
	msg->payload_len = WIRE_MAX_REMAINING_LENGTH - 12;
	msg->data[1] = 10;
	assert_int_equal(msg_plain_measure(msg, WIRE_V311, 0).total, 5 + WIRE_MAX_REMAINING_LENGTH);
	assert_int_equal(msg_plain_measure(msg, WIRE_V311, 1).total, 0);
	assert_int_equal(msg_plain_measure(msg, WIRE_V5, 0).total, 0);
	assert_int_equal(
	    msg_plain_measure_draft(&(struct msg_draft){.topic = bytes_of("0123456789"),
					.payload = {NULL, WIRE_MAX_REMAINING_LENGTH - 12}},
		WIRE_V311)
		.total,
	    5 + WIRE_MAX_REMAINING_LENGTH);
	assert_int_equal(
	    msg_plain_measure_draft(&(struct msg_draft){.topic = bytes_of("0123456789"),
					.payload = {NULL, WIRE_MAX_REMAINING_LENGTH - 12}},
		WIRE_V5)
		.total,
	    0);
	mem_free(&msg);
}

static void
the_last_reference_frees(void **state)
{
	struct msg_draft draft;
	struct msg *first, *second;

	(void)state;
	start(&draft);
	first = msg_seal(&draft);
	second = msg_ref(first);
	msg_unref(&first);
	assert_null(first);
	check_sealed(second, "a/b", "hello");
	msg_unref(&second);
	msg_unref(&second);
}

/* A retained message of 64 bytes is to cost 250 bytes at most, the tree's share included. */
static void
the_header_stays_small(void **state)
{
	(void)state;
	assert_true(sizeof(struct msg) <= 64);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sealing_keeps_what_is_for_receivers_in_its_shortest_form),
	    cmocka_unit_test(a_replaced_value_is_the_drafts_own),
	    cmocka_unit_test(replaced_properties_are_filtered_like_received_ones),
	    cmocka_unit_test(an_owned_draft_outlives_its_packet_and_is_adopted),
	    cmocka_unit_test(an_owned_draft_may_still_be_rewritten),
	    cmocka_unit_test(what_is_set_after_owning_is_kept),
	    cmocka_unit_test(properties_may_bring_an_expiry_and_take_none_away),
	    cmocka_unit_test(the_topic_as_it_was_received_is_kept),
	    cmocka_unit_test(every_property_for_receivers_survives_sealing),
	    cmocka_unit_test(a_message_is_named_for_the_store_once),
	    cmocka_unit_test(a_refused_draft_leaves_nothing_behind),
	    cmocka_unit_test(without_memory_a_draft_stays_as_it_was),
	    cmocka_unit_test(a_will_says_that_it_is_one),
	    cmocka_unit_test(expiry_counts_down_by_whole_seconds),
	    cmocka_unit_test(a_plain_publish_is_what_its_parts_would_make),
	    cmocka_unit_test(a_plain_publish_that_mqtt_cannot_say_is_none),
	    cmocka_unit_test(the_last_reference_frees),
	    cmocka_unit_test(the_header_stays_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
