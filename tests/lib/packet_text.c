/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/packet_text.h"

#include "wire/props.h"

static void
put_string(struct buf *out, struct bytes text)
{
	buf_append_byte(out, '\'');
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];

		if (c < 0x20 || c > 0x7e || c == '\'' || c == '\\') {
			buf_printf(out, "\\x%02x", c);
		} else {
			buf_append_byte(out, c);
		}
	}
	buf_append_byte(out, '\'');
}

static void
put_binary(struct buf *out, struct bytes data)
{
	buf_append_text(out, "x:");
	for (size_t i = 0; i < data.len; i++) {
		buf_printf(out, "%02x", data.data[i]);
	}
}

static void
put_property(struct buf *out, const struct wire_property *property)
{
	buf_printf(out, "%s=", wire_prop_name(property->id));
	switch (property->type) {
	case WIRE_PROP_STRING:
		put_string(out, property->value);
		break;
	case WIRE_PROP_BINARY:
		put_binary(out, property->value);
		break;
	case WIRE_PROP_PAIR:
		put_string(out, property->value);
		buf_append_byte(out, ':');
		put_string(out, property->second);
		break;
	default:
		buf_printf(out, "%u", property->number);
		break;
	}
}

static void
put_props(struct buf *out, const struct wire_props *props)
{
	struct bytes rest = props->block;
	struct wire_property property;
	const char *comma = "";

	buf_append_text(out, " props{");
	while (wire_props_next(&rest, &property)) {
		buf_append_text(out, comma);
		put_property(out, &property);
		comma = ",";
	}
	buf_append_byte(out, '}');
}

static void
put_connect(struct buf *out, const struct wire_connect *connect)
{
	buf_printf(out, " version=%d bridge=%d clean_start=%d keep_alive=%d", connect->version,
	    connect->bridge, connect->clean_start, connect->keep_alive);
	put_props(out, &connect->props);
	buf_append_text(out, " client_id=");
	put_string(out, connect->client_id);
	if (connect->has_will) {
		buf_printf(out, " will{qos=%d retain=%d", connect->will.qos, connect->will.retain);
		put_props(out, &connect->will.props);
		buf_append_text(out, " topic=");
		put_string(out, connect->will.topic);
		buf_append_text(out, " payload=");
		put_binary(out, connect->will.payload);
		buf_append_byte(out, '}');
	}
	if (connect->has_username) {
		buf_append_text(out, " username=");
		put_string(out, connect->username);
	}
	if (connect->has_password) {
		buf_append_text(out, " password=");
		put_binary(out, connect->password);
	}
}

static void
put_publish(struct buf *out, const struct wire_publish *publish)
{
	buf_printf(
	    out, " dup=%d qos=%d retain=%d topic=", publish->dup, publish->qos, publish->retain);
	put_string(out, publish->topic);
	if (publish->qos != 0) {
		buf_printf(out, " packet_id=%d", publish->packet_id);
	}
	put_props(out, &publish->props);
	buf_append_text(out, " payload=");
	put_binary(out, publish->payload);
}

static void
put_subscribe(struct buf *out, const struct wire_packet *packet)
{
	struct bytes rest = packet->subscribe.filters;
	struct wire_subscription item;

	buf_printf(out, " packet_id=%d", packet->subscribe.packet_id);
	put_props(out, &packet->subscribe.props);
	if (packet->type == WIRE_UNSUBSCRIBE) {
		while (wire_unsubscribe_next(&rest, &item.filter)) {
			buf_append_text(out, " filter=");
			put_string(out, item.filter);
		}
		return;
	}
	while (wire_subscribe_next(&rest, &item)) {
		buf_append_text(out, " filter=");
		put_string(out, item.filter);
		buf_printf(out, " qos=%d no_local=%d retain_as_published=%d retain_handling=%d",
		    item.qos, item.no_local, item.retain_as_published, item.retain_handling);
	}
}

static void
put_suback(struct buf *out, const struct wire_suback *suback)
{
	buf_printf(out, " packet_id=%d", suback->packet_id);
	put_props(out, &suback->props);
	buf_append_text(out, " reasons=");
	for (size_t i = 0; i < suback->reasons.len; i++) {
		buf_printf(out, "%s%02x", i != 0 ? "," : "", suback->reasons.data[i]);
	}
}

static void
put_reason(struct buf *out, uint8_t reason, const struct wire_props *props)
{
	buf_printf(out, " reason=%02x", reason);
	put_props(out, props);
}

void
packet_text(struct buf *out, const struct wire_packet *packet)
{
	buf_append_text(out, wire_type_name(packet->type));
	switch (packet->type) {
	case WIRE_CONNECT:
		put_connect(out, &packet->connect);
		break;
	case WIRE_CONNACK:
		buf_printf(out, " session_present=%d", packet->connack.session_present);
		put_reason(out, packet->connack.reason, &packet->connack.props);
		break;
	case WIRE_PUBLISH:
		put_publish(out, &packet->publish);
		break;
	case WIRE_PUBACK:
	case WIRE_PUBREC:
	case WIRE_PUBREL:
	case WIRE_PUBCOMP:
		buf_printf(out, " packet_id=%d", packet->ack.packet_id);
		put_reason(out, packet->ack.reason, &packet->ack.props);
		break;
	case WIRE_SUBSCRIBE:
	case WIRE_UNSUBSCRIBE:
		put_subscribe(out, packet);
		break;
	case WIRE_SUBACK:
	case WIRE_UNSUBACK:
		put_suback(out, &packet->suback);
		break;
	case WIRE_DISCONNECT:
	case WIRE_AUTH:
		put_reason(out, packet->disconnect.reason, &packet->disconnect.props);
		break;
	case WIRE_PINGREQ:
	case WIRE_PINGRESP:
		break;
	}
}
