/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets to output. Counts what goes out, and stops reading from who asks much and takes nothing.
 */
#include "base/counter.h"
#include "msg/plain.h"
#include "peer/peer_int.h"

enum { FIRST_ROOM = 256 };

static void
added(struct peer *peer, size_t size, bool is_answer)
{
	if (peer->out.first->len == size) {
		peer->written_at = (uint32_t)context_current->mono_ms;
	}
	if (is_answer) {
		peer->out.first->answer_len += (uint32_t)size;
		if (peer->out.first->answer_len > PEER_ANSWER_LIMIT) {
			peer_pause(peer, PEER_PAUSE_OUTPUT);
		}
	}
	counter_add(COUNTER_PACKETS_SENT, 1);
	peer_mark_dirty(peer);
}

bool
peer_send(struct peer *peer, const struct wire_packet *packet)
{
	const struct wire_encoder encoder = {.version = peer->version,
	    .sender = peer->side,
	    .omit_problem_information = peer->omit_problem_information,
	    .max_packet_size = peer->max_packet_out};
	size_t room = FIRST_ROOM, size;
	uint8_t *at;

	if (peer->state != PEER_OPEN) {
		return false;
	}
	at = peer_out_reserve(&peer->out, &peer->room->pool, room);
	size = wire_encode(&encoder, packet, at, room);
	if (size > room) {
		room = size;
		at = peer_out_reserve(&peer->out, &peer->room->pool, room);
		size = wire_encode(&encoder, packet, at, room);
	}
	if (size == 0 || size > room) {
		peer_out_cancel(&peer->out, &peer->room->pool);
		return false;
	}
	peer_out_add(&peer->out, size);
	added(peer, size, true);
	return true;
}

void
peer_send_ack(struct peer *peer, enum wire_type type, uint16_t packet_id, uint8_t reason)
{
	bool has_room = peer->max_packet_out == 0 || peer->max_packet_out >= 5;
	size_t size = peer->version == WIRE_V5 && reason != 0 && has_room ? 5 : 4;
	uint8_t *at;

	if (peer->state != PEER_OPEN) {
		return;
	}
	at = peer_out_reserve(&peer->out, &peer->room->pool, size);
	at[0] = (uint8_t)((unsigned)type << 4 | (type == WIRE_PUBREL ? 2 : 0));
	at[1] = (uint8_t)(size - 2);
	at[2] = (uint8_t)(packet_id >> 8);
	at[3] = (uint8_t)packet_id;
	if (size == 5) {
		at[4] = reason;
	}
	peer_out_add(&peer->out, size);
	added(peer, size, true);
}

struct peer_aliases *
peer_aliases_of(struct peer *peer)
{
	if (peer->aliases == NULL) {
		peer->aliases = peer_aliases_new(peer->aliases_in, peer->aliases_out);
	}
	return peer->aliases;
}

/* Bytes that a Topic Alias adds. */
enum { ALIAS_LEN = 3 };

static struct wire_publish_size
measure(struct peer *peer, struct wire_publish_head *head)
{
	struct wire_publish_size size = wire_publish_measure(head);
	uint32_t max = peer->max_packet_out;

	if (size.total == 0 || (max != 0 && size.total > max)) {
		size.total = 0;
		return size;
	}
	/* An alias is only given where the packet that brings it is sure to go out. */
	if (peer->aliases_out != 0 && (max == 0 || size.total + 2 * ALIAS_LEN <= max)) {
		bool known;

		head->topic_alias = peer_alias_for(peer_aliases_of(peer), head->topic, &known);
		if (head->topic_alias != 0) {
			head->topic = known ? (struct bytes){0} : head->topic;
			size = wire_publish_measure(head);
		}
	}
	return size;
}

static void
fill_head(const struct peer *peer, const struct session_delivery *delivery, uint32_t prefix_len,
    int64_t mono_ms, struct wire_publish_head *head)
{
	const struct msg *msg = delivery->msg;
	uint32_t left = 0;

	msg_start_head(msg, head);
	head->topic = bytes_skip(head->topic, prefix_len);
	head->version = peer->version;
	head->qos = delivery->qos;
	head->packet_id = delivery->packet_id;
	head->dup = (delivery->flags & SESSION_DUP) != 0;
	head->retain = (delivery->flags & SESSION_RETAIN) != 0;
	if (head->version != WIRE_V5) {
		head->props = (struct bytes){0};
		return;
	}
	head->subscription_ids = session_delivery_ids(delivery);
	head->subscription_id_count = delivery->subscription_id_count;
	if ((msg->flags & MSG_EXPIRES) != 0) {
		(void)msg_expiry_left(msg, mono_ms, &left);
		head->expires = true;
		head->message_expiry = left;
	}
}

static void
sent(struct peer *peer, size_t size, size_t payload_len)
{
	added(peer, size, false);
	counter_add(COUNTER_PUBLISHES_SENT, 1);
	counter_add(COUNTER_PUBLISH_BYTES_SENT, payload_len);
	if (peer->out.first->len > PEER_OUT_LIMIT) {
		peer->was_full = true;
	}
}

static enum session_offer
send_head(
    struct peer *peer, const struct session_delivery *delivery, struct wire_publish_head *head)
{
	struct wire_publish_size size = measure(peer, head);
	struct bytes payload = msg_payload(delivery->msg);
	uint8_t *at;

	if (size.total == 0) {
		return SESSION_TOO_LARGE;
	}
	if (payload.len >= PEER_REFERENCE_FROM) {
		at = peer_out_reserve(&peer->out, &peer->room->pool, size.head);
		wire_publish_write(head, &size, at);
		peer_out_add(&peer->out, size.head);
		peer_out_reference(&peer->out, &peer->room->pool, delivery->msg);
	} else {
		at = peer_out_reserve(&peer->out, &peer->room->pool, size.total);
		wire_publish_write(head, &size, at);
		if (payload.len != 0) {
			memcpy(at + size.head, payload.data, payload.len);
		}
		peer_out_add(&peer->out, size.total);
	}
	sent(peer, size.total, payload.len);
	return SESSION_TAKEN;
}

/* It goes out as it lies in the message. */
static bool
is_plain(const struct peer *peer, const struct session_delivery *delivery, uint32_t prefix_len)
{
	const struct msg *msg = delivery->msg;

	return prefix_len == 0 && msg->payload_len < PEER_REFERENCE_FROM &&
	       (peer->version != WIRE_V5 ||
		   (peer->aliases_out == 0 && delivery->subscription_id_count == 0 &&
		       (msg->flags & MSG_EXPIRES) == 0));
}

static enum session_offer
send_plain(struct peer *peer, const struct session_delivery *delivery)
{
	const struct msg *msg = delivery->msg;
	struct msg_plain plain = msg_plain_measure(msg, peer->version, delivery->qos);
	uint8_t first = (uint8_t)(WIRE_PUBLISH << 4 | delivery->qos << 1);

	if (plain.total == 0 || (peer->max_packet_out != 0 && plain.total > peer->max_packet_out)) {
		return SESSION_TOO_LARGE;
	}
	first |= (delivery->flags & SESSION_RETAIN) != 0 ? 1 : 0;
	first |= (delivery->flags & SESSION_DUP) != 0 ? 8 : 0;
	msg_plain_write(msg, &plain, peer->version, first, delivery->packet_id,
	    peer_out_reserve(&peer->out, &peer->room->pool, plain.total));
	peer_out_add(&peer->out, plain.total);
	sent(peer, plain.total, msg->payload_len);
	return SESSION_TAKEN;
}

enum session_offer
peer_send_publish(struct peer *peer, const struct session_delivery *delivery, uint32_t prefix_len,
    int64_t mono_ms)
{
	struct wire_publish_head head;

	if (peer->state != PEER_OPEN || peer->was_full) {
		return SESSION_LATER;
	}
	if (is_plain(peer, delivery, prefix_len)) {
		return send_plain(peer, delivery);
	}
	fill_head(peer, delivery, prefix_len, mono_ms, &head);
	return send_head(peer, delivery, &head);
}

bool
peer_send_draft(struct peer *peer, const struct msg_draft *draft)
{
	struct msg_plain plain = msg_plain_measure_draft(draft, peer->version);

	if (peer->state != PEER_OPEN || peer->was_full || plain.total == 0 ||
	    (peer->max_packet_out != 0 && plain.total > peer->max_packet_out) ||
	    draft->payload.len >= PEER_REFERENCE_FROM ||
	    (peer->version == WIRE_V5 && peer->aliases_out != 0)) {
		return false;
	}
	msg_plain_write_draft(draft, &plain, peer->version,
	    peer_out_reserve(&peer->out, &peer->room->pool, plain.total));
	peer_out_add(&peer->out, plain.total);
	sent(peer, plain.total, draft->payload.len);
	return true;
}

enum session_offer
peer_send_publish_as(struct peer *peer, const struct session_delivery *delivery, struct bytes topic,
    struct bytes props, int64_t mono_ms)
{
	struct wire_publish_head head;

	if (peer->state != PEER_OPEN || peer->was_full) {
		return SESSION_LATER;
	}
	fill_head(peer, delivery, 0, mono_ms, &head);
	head.topic = topic;
	head.props = head.version == WIRE_V5 ? props : (struct bytes){0};
	return send_head(peer, delivery, &head);
}
