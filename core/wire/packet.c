/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/packet.h"

#include "wire/reader.h"

const char *
wire_type_name(enum wire_type type)
{
	static const char *const names[] = {"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK",
	    "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK",
	    "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"};

	return names[(unsigned)type <= WIRE_AUTH ? (unsigned)type : 0];
}

bool
wire_unsubscribe_next(struct bytes *filters, struct bytes *filter_out)
{
	struct wire_reader reader = wire_reader_of(*filters);

	if (filters->len == 0) {
		return false;
	}
	*filter_out = wire_read_prefixed(&reader);
	*filters = wire_reader_rest(&reader);
	return !wire_reader_failed(&reader);
}

bool
wire_subscribe_next(struct bytes *filters, struct wire_subscription *item_out)
{
	struct wire_reader reader = wire_reader_of(*filters);
	uint8_t options;

	if (filters->len == 0) {
		return false;
	}
	item_out->filter = wire_read_prefixed(&reader);
	options = wire_read_u8(&reader);
	item_out->qos = options & 3;
	item_out->no_local = (options & 4) != 0;
	item_out->retain_as_published = (options & 8) != 0;
	item_out->retain_handling = options >> 4 & 3;
	*filters = wire_reader_rest(&reader);
	return !wire_reader_failed(&reader);
}
