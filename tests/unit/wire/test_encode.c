/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"

#include "wire/encode.h"
#include "wire/props.h"

static struct wire_packet
ack_with(uint8_t *memory, size_t room)
{
	struct wire_writer block = wire_writer_of(memory, room);
	struct wire_packet packet = {.type = WIRE_PUBACK};

	wire_write_prop_bytes(&block, WIRE_REASON_STRING, bytes_of("because"));
	wire_write_user_property(&block, bytes_of("k"), bytes_of("v"));
	packet.ack.packet_id = 5;
	packet.ack.reason = WIRE_REASON_QUOTA_EXCEEDED;
	packet.ack.props.block = bytes_make(memory, block.len);
	return packet;
}

static void
assert_encodes(const struct wire_encoder *encoder, const struct wire_packet *packet,
    const char *bytes, size_t len)
{
	uint8_t out[256];

	assert_int_equal(wire_encode(encoder, packet, out, sizeof(out)), len);
	assert_memory_equal(out, bytes, len);
}

/* [MQTT-3.4.2-2] [MQTT-3.4.2-3] */
static void
an_ack_sheds_its_reason_string_first_and_user_properties_then(void **state)
{
	uint8_t memory[64];
	struct wire_packet packet = ack_with(memory, sizeof(memory));
	struct wire_encoder encoder = {.version = WIRE_V5};
	static const char full[] = "\x40\x15\0\5\x97\x11\x1f\0\7because\x26\0\1k\0\1v";
	static const char without_reason[] = "\x40\x0b\0\5\x97\x07\x26\0\1k\0\1v";
	static const char bare[] = "\x40\x03\0\5\x97";

	(void)state;
	assert_encodes(&encoder, &packet, full, sizeof(full) - 1);
	encoder.max_packet_size = sizeof(full) - 1;
	assert_encodes(&encoder, &packet, full, sizeof(full) - 1);
	encoder.max_packet_size = sizeof(full) - 2;
	assert_encodes(&encoder, &packet, without_reason, sizeof(without_reason) - 1);
	encoder.max_packet_size = sizeof(without_reason) - 2;
	assert_encodes(&encoder, &packet, bare, sizeof(bare) - 1);
	encoder.max_packet_size = sizeof(bare) - 2;
	assert_int_equal(wire_encode(&encoder, &packet, NULL, 0), 0);
}

/* [MQTT-3.1.2-29] */
static void
problem_information_that_is_not_wanted_stays_out_of_acks(void **state)
{
	uint8_t memory[64];
	struct wire_packet packet = ack_with(memory, sizeof(memory));
	struct wire_packet connack = {.type = WIRE_CONNACK};
	struct wire_packet publish = {.type = WIRE_PUBLISH};
	struct wire_encoder encoder = {.version = WIRE_V5, .omit_problem_information = true};
	static const char bare[] = "\x40\x03\0\5\x97";

	(void)state;
	assert_encodes(&encoder, &packet, bare, sizeof(bare) - 1);
	connack.connack.props.block = packet.ack.props.block;
	assert_int_equal(wire_encode(&encoder, &connack, NULL, 0), 2 + 2 + 1 + 17);
	publish.publish.topic = bytes_of("a");
	publish.publish.props.block = bytes_make(memory + 10, 7);
	assert_int_equal(wire_encode(&encoder, &publish, NULL, 0), 2 + 3 + 1 + 7);
}

/* [MQTT-3.1.2-24] [MQTT-3.1.2-25]: a PUBLISH is never cut. */
static void
a_publish_beyond_the_peers_limit_cannot_be_said(void **state)
{
	struct wire_packet publish = {.type = WIRE_PUBLISH};
	struct wire_encoder encoder = {.version = WIRE_V5, .max_packet_size = 13};

	(void)state;
	publish.publish.topic = bytes_of("a");
	publish.publish.props.block = BYTES_LITERAL("\x26\0\1k\0\1v");
	assert_int_equal(wire_encode(&encoder, &publish, NULL, 0), 13);
	encoder.max_packet_size = 12;
	assert_int_equal(wire_encode(&encoder, &publish, NULL, 0), 0);
}

static void
what_a_version_lacks_cannot_be_said(void **state)
{
	struct wire_encoder encoder = {.version = WIRE_V311};
	struct wire_packet auth = {.type = WIRE_AUTH};
	struct wire_packet connack = {.type = WIRE_CONNACK};
	struct wire_packet none = {0};

	(void)state;
	assert_int_equal(wire_encode(&encoder, &auth, NULL, 0), 0);
	assert_int_equal(wire_encode(&encoder, &none, NULL, 0), 0);
	connack.connack.reason = WIRE_REASON_PACKET_TOO_LARGE;
	assert_int_equal(wire_encode(&encoder, &connack, NULL, 0), 0);
	connack.connack.reason = WIRE_REASON_BANNED;
	assert_encodes(&encoder, &connack, "\x20\x02\0\5", 4);
}

static void
reasons_shrink_to_what_mqtt_3_has(void **state)
{
	struct wire_encoder encoder = {.version = WIRE_V311};
	struct wire_packet suback = {.type = WIRE_SUBACK};
	struct wire_packet puback = {.type = WIRE_PUBACK};

	(void)state;
	suback.suback.packet_id = 1;
	suback.suback.reasons = BYTES_LITERAL("\x02\x87\x00\xa2");
	assert_encodes(&encoder, &suback, "\x90\x06\0\1\x02\x80\x00\x80", 8);
	suback.type = WIRE_UNSUBACK;
	assert_encodes(&encoder, &suback, "\xb0\x02\0\1", 4);
	puback.ack.packet_id = 2;
	puback.ack.reason = WIRE_REASON_NOT_AUTHORIZED;
	assert_encodes(&encoder, &puback, "\x40\x02\0\2", 4);
}

static void
too_little_room_is_told_and_not_overrun(void **state)
{
	struct wire_encoder encoder = {.version = WIRE_V5};
	struct wire_packet ping = {.type = WIRE_PINGREQ};
	uint8_t out[3] = {0xee, 0xee, 0xee};

	(void)state;
	assert_int_equal(wire_encode(&encoder, &ping, out, 1), 2);
	assert_int_equal(out[1], 0xee);
	assert_int_equal(wire_encode(&encoder, &ping, out, 2), 2);
	assert_int_equal(out[2], 0xee);
}

/* A packet made by hand and one made from parts are the same bytes. */
static void
check_parts(const struct wire_publish_head *head, struct bytes payload)
{
	struct wire_encoder encoder = {.version = head->version};
	struct wire_packet packet = {.type = WIRE_PUBLISH};
	struct wire_publish_size size = wire_publish_measure(head);
	uint8_t dynamic[64], parts[512], whole[512];
	struct wire_writer block = wire_writer_of(dynamic, sizeof(dynamic));

	if (head->expires) {
		wire_write_prop_number(&block, WIRE_MESSAGE_EXPIRY_INTERVAL, head->message_expiry);
	}
	if (head->topic_alias != 0) {
		wire_write_prop_number(&block, WIRE_TOPIC_ALIAS, head->topic_alias);
	}
	for (size_t i = 0; i < head->subscription_id_count; i++) {
		wire_write_prop_number(
		    &block, WIRE_SUBSCRIPTION_IDENTIFIER, head->subscription_ids[i]);
	}
	wire_write_bytes(&block, head->props);
	packet.publish = (struct wire_publish){.topic = head->topic,
	    .payload = payload,
	    .packet_id = head->packet_id,
	    .qos = head->qos,
	    .dup = head->dup,
	    .retain = head->retain};
	packet.publish.props.block = bytes_make(dynamic, block.len);
	assert_int_equal(wire_encode(&encoder, &packet, whole, sizeof(whole)), size.total);
	assert_int_equal(size.head + payload.len, size.total);
	wire_publish_write(head, &size, parts);
	memcpy(parts + size.head, payload.data, payload.len);
	assert_memory_equal(parts, whole, size.total);
}

static void
a_publish_from_parts_is_the_same_publish(void **state)
{
	static const uint32_t ids[] = {1, 128, 268435455};
	struct wire_publish_head head = {.topic = bytes_of("a/b"), .payload_len = 5};
	struct bytes payload = bytes_of("hello");

	(void)state;
	for (int flags = 0; flags < 64; flags++) {
		head.version = flags & 1 ? WIRE_V5 : WIRE_V311;
		head.qos = flags & 2 ? 2 : 0;
		head.dup = head.qos != 0;
		head.retain = head.qos == 0;
		head.packet_id = head.qos != 0 ? 77 : 0;
		head.expires = (flags & 4) != 0;
		head.message_expiry = 3600;
		head.topic_alias = flags & 8 ? 3 : 0;
		head.subscription_ids = ids;
		head.subscription_id_count = flags & 16 ? 3 : 0;
		head.props = flags & 32 ? BYTES_LITERAL("\x26\0\1k\0\1v") : bytes_of("");
		check_parts(&head, payload);
	}
}

static void
a_publish_that_mqtt_cannot_say_has_no_size(void **state)
{
	struct wire_publish_head head = {.topic = bytes_of("a"), .version = WIRE_V311};

	(void)state;
	head.payload_len = WIRE_MAX_REMAINING_LENGTH - 3;
	assert_int_equal(wire_publish_measure(&head).total, (size_t)WIRE_MAX_REMAINING_LENGTH + 5);
	head.payload_len++;
	assert_int_equal(wire_publish_measure(&head).total, 0);
	head.payload_len = SIZE_MAX;
	assert_int_equal(wire_publish_measure(&head).total, 0);
}

static void
subscriptions_are_written_and_walked(void **state)
{
	struct wire_subscription item = {.filter = bytes_of("a/+"),
	    .qos = 1,
	    .no_local = true,
	    .retain_as_published = true,
	    .retain_handling = 2};
	uint8_t memory[32];
	struct wire_writer writer = wire_writer_of(memory, sizeof(memory));
	struct wire_subscription have;
	struct bytes rest, filter;

	(void)state;
	wire_write_subscription(&writer, &item, WIRE_V5);
	wire_write_subscription(&writer, &item, WIRE_V311);
	rest = bytes_make(memory, writer.len);
	assert_true(wire_subscribe_next(&rest, &have));
	assert_bytes_text(have.filter, "a/+");
	assert_true(have.qos == 1 && have.no_local && have.retain_as_published);
	assert_int_equal(have.retain_handling, 2);
	assert_true(wire_subscribe_next(&rest, &have));
	assert_true(have.qos == 1 && !have.no_local && !have.retain_as_published);
	assert_false(wire_subscribe_next(&rest, &have));
	writer = wire_writer_of(memory, sizeof(memory));
	wire_write_filter(&writer, bytes_of("x"));
	rest = bytes_make(memory, writer.len);
	assert_true(wire_unsubscribe_next(&rest, &filter));
	assert_bytes_text(filter, "x");
	assert_false(wire_unsubscribe_next(&rest, &filter));
}

static void
type_names_are_the_standards(void **state)
{
	(void)state;
	assert_string_equal(wire_type_name(WIRE_CONNECT), "CONNECT");
	assert_string_equal(wire_type_name(WIRE_AUTH), "AUTH");
	assert_string_equal(wire_type_name((enum wire_type)0), "reserved");
	assert_string_equal(wire_type_name((enum wire_type)16), "reserved");
}

static void
every_answer_sheds_what_does_not_fit_and_nothing_else_does(void **state)
{
	static const struct {
		enum wire_type type;
		size_t bare;
	} rows[] = {{WIRE_CONNACK, 5}, {WIRE_PUBACK, 4}, {WIRE_PUBREC, 4}, {WIRE_PUBREL, 4},
	    {WIRE_PUBCOMP, 4}, {WIRE_SUBACK, 6}, {WIRE_UNSUBACK, 6}, {WIRE_DISCONNECT, 2},
	    {WIRE_AUTH, 2}, {WIRE_SUBSCRIBE, 0}, {WIRE_UNSUBSCRIBE, 0}, {WIRE_PUBLISH, 0},
	    {WIRE_CONNECT, 0}};
	struct wire_encoder encoder = {
	    .version = WIRE_V5, .sender = WIRE_SERVER, .max_packet_size = 8};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct wire_packet packet = {.type = rows[i].type};
		struct bytes block = BYTES_LITERAL("\x26\0\1k\0\1v");

		packet.connect.version = WIRE_V5; /* overwritten where the union is another */
		if (rows[i].type == WIRE_CONNECT) {
			packet.connect.props.block = block;
		} else {
			memset(&packet, 0, sizeof(packet));
			packet.type = rows[i].type;
		}
		switch (rows[i].type) {
		case WIRE_CONNACK:
			packet.connack.props.block = block;
			break;
		case WIRE_PUBLISH:
			packet.publish.props.block = block;
			break;
		case WIRE_SUBSCRIBE:
		case WIRE_UNSUBSCRIBE:
			packet.subscribe.props.block = block;
			break;
		case WIRE_SUBACK:
		case WIRE_UNSUBACK:
			packet.suback.reasons = BYTES_LITERAL("\0");
			packet.suback.props.block = block;
			break;
		case WIRE_DISCONNECT:
		case WIRE_AUTH:
			packet.disconnect.props.block = block;
			break;
		case WIRE_CONNECT:
			break;
		default:
			packet.ack.packet_id = 1;
			packet.ack.props.block = block;
			break;
		}
		assert_int_equal(wire_encode(&encoder, &packet, NULL, 0), rows[i].bare);
	}
}

/* Bytes above what two bytes of length can say must not slip into the next field. */
static void
a_string_that_is_too_long_cannot_be_said(void **state)
{
	static uint8_t text[70000];
	struct wire_encoder encoder = {.version = WIRE_V5};
	struct wire_packet publish = {.type = WIRE_PUBLISH}, connect = {.type = WIRE_CONNECT};
	struct wire_publish_head head = {.version = WIRE_V311};

	(void)state;
	memset(text, 'a', sizeof(text));
	publish.publish.topic = head.topic = bytes_make(text, 65535);
	assert_int_equal(wire_encode(&encoder, &publish, NULL, 0), 4 + 2 + 65535 + 1);
	assert_int_equal(wire_publish_measure(&head).total, 4 + 2 + 65535);
	publish.publish.topic = head.topic = bytes_make(text, 65536);
	assert_int_equal(wire_encode(&encoder, &publish, NULL, 0), 0);
	assert_int_equal(wire_publish_measure(&head).total, 0);
	connect.connect.version = WIRE_V5;
	connect.connect.client_id = bytes_make(text, 65539);
	assert_int_equal(wire_encode(&encoder, &connect, NULL, 0), 0);
}

static void
what_mqtt_3_lacks_in_disconnect_cannot_be_said(void **state)
{
	struct wire_encoder encoder = {.version = WIRE_V311, .sender = WIRE_CLIENT};
	struct wire_packet packet = {.type = WIRE_DISCONNECT};

	(void)state;
	assert_encodes(&encoder, &packet, "\xe0\0", 2);
	packet.disconnect.reason = WIRE_REASON_DISCONNECT_WITH_WILL;
	assert_int_equal(wire_encode(&encoder, &packet, NULL, 0), 0);
	packet.disconnect.reason = 0;
	encoder.sender = WIRE_SERVER;
	assert_int_equal(wire_encode(&encoder, &packet, NULL, 0), 0);
}

static void
a_reason_that_may_not_stand_there_is_not_written(void **state)
{
	struct wire_encoder server = {.version = WIRE_V5, .sender = WIRE_SERVER};
	struct wire_encoder client = {.version = WIRE_V5, .sender = WIRE_CLIENT};
	struct wire_packet packet = {.type = WIRE_DISCONNECT};

	(void)state;
	packet.disconnect.reason = WIRE_REASON_BAD_AUTHENTICATION_METHOD;
	assert_int_equal(wire_encode(&server, &packet, NULL, 0), 0);
	packet.disconnect.reason = WIRE_REASON_SESSION_TAKEN_OVER;
	assert_int_equal(wire_encode(&server, &packet, NULL, 0), 3);
	assert_int_equal(wire_encode(&client, &packet, NULL, 0), 0);
	packet = (struct wire_packet){.type = WIRE_SUBACK};
	packet.suback.reasons = BYTES_LITERAL("\0\x92");
	assert_int_equal(wire_encode(&server, &packet, NULL, 0), 0);
	packet = (struct wire_packet){.type = WIRE_CONNACK};
	packet.connack.session_present = true;
	packet.connack.reason = WIRE_REASON_NOT_AUTHORIZED;
	assert_encodes(&server, &packet, "\x20\x03\0\x87\0", 5); /* [MQTT-3.2.2-6] */
}

static void
a_connect_speaks_its_own_version(void **state)
{
	struct wire_encoder encoder = {.version = WIRE_V5};
	struct wire_packet packet = {.type = WIRE_CONNECT};

	(void)state;
	packet.connect.version = WIRE_V311;
	packet.connect.client_id = bytes_of("a");
	packet.connect.will.qos = 2; /* without a will they are not said */
	packet.connect.will.retain = true;
	assert_encodes(&encoder, &packet, "\x10\x0d\0\4MQTT\4\0\0\0\0\1a", 15);
}

static void
what_cannot_be_said_writes_nothing(void **state)
{
	struct wire_encoder encoder = {.version = WIRE_V5, .max_packet_size = 3};
	struct wire_packet packet = {.type = WIRE_PUBLISH};
	uint8_t out[16];

	(void)state;
	memset(out, 0xee, sizeof(out));
	packet.publish.topic = bytes_of("abc");
	assert_int_equal(wire_encode(&encoder, &packet, out, sizeof(out)), 0);
	assert_int_equal(out[0], 0xee);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_ack_sheds_its_reason_string_first_and_user_properties_then),
	    cmocka_unit_test(problem_information_that_is_not_wanted_stays_out_of_acks),
	    cmocka_unit_test(a_publish_beyond_the_peers_limit_cannot_be_said),
	    cmocka_unit_test(what_a_version_lacks_cannot_be_said),
	    cmocka_unit_test(reasons_shrink_to_what_mqtt_3_has),
	    cmocka_unit_test(too_little_room_is_told_and_not_overrun),
	    cmocka_unit_test(a_publish_from_parts_is_the_same_publish),
	    cmocka_unit_test(a_publish_that_mqtt_cannot_say_has_no_size),
	    cmocka_unit_test(subscriptions_are_written_and_walked),
	    cmocka_unit_test(type_names_are_the_standards),
	    cmocka_unit_test(every_answer_sheds_what_does_not_fit_and_nothing_else_does),
	    cmocka_unit_test(a_string_that_is_too_long_cannot_be_said),
	    cmocka_unit_test(what_mqtt_3_lacks_in_disconnect_cannot_be_said),
	    cmocka_unit_test(a_reason_that_may_not_stand_there_is_not_written),
	    cmocka_unit_test(a_connect_speaks_its_own_version),
	    cmocka_unit_test(what_cannot_be_said_writes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
