/* SPDX-License-Identifier: Apache-2.0 */
/* The byte layout stands in record.h. No state; any thread. */
#include "msg/record.h"

#include "msg/draft.h"
#include "wire/props.h"
#include "wire/topic_name.h"

enum { RECORD_VERSION = 1, HEAD_SIZE = 19, MAX_QOS = 2, SECOND_MS = 1000 };
/* A time whose expiry can be told, too. */
#define LATEST_MS (UINT64_MAX / 4)
enum { KNOWN_FLAGS = MSG_RETAIN | MSG_WILL | MSG_EXPIRES | MSG_FORWARDED };

size_t
msg_record_size(const struct msg *msg)
{
	return (size_t)HEAD_SIZE + 2 + msg->client_id_len + 2 + msg->username_len + msg->props_len;
}

int64_t
msg_record_expires_ms(const struct msg *msg)
{
	return (msg->flags & MSG_EXPIRES) != 0
		   ? msg->born_wall_ms + (int64_t)msg->expiry_s * SECOND_MS
		   : 0;
}

void
msg_record_encode(const struct msg *msg, uint8_t *out)
{
	struct wire_writer writer = wire_writer_of(out, msg_record_size(msg));

	wire_write_u8(&writer, RECORD_VERSION);
	wire_write_u8(&writer, msg->qos);
	wire_write_u8(&writer, msg->flags);
	wire_write_u32(&writer, msg->expiry_s);
	wire_write_u32(&writer, 0);
	wire_write_u32(&writer, (uint32_t)((uint64_t)msg->born_wall_ms >> 32));
	wire_write_u32(&writer, (uint32_t)(uint64_t)msg->born_wall_ms);
	wire_write_prefixed(&writer, msg_client_id(msg));
	wire_write_prefixed(&writer, msg_username(msg));
	wire_write_bytes(&writer, msg_props(msg));
}

static bool
read_props(struct wire_reader *reader, struct bytes *block_out)
{
	struct bytes block = wire_read_bytes(reader, wire_reader_left(reader));
	struct wire_reader inside = wire_reader_of(block);
	struct wire_props props = {0};

	wire_props_check(&inside, WIRE_PUBLISH, WIRE_CLIENT, &props);
	*block_out = block;
	return !wire_reader_failed(&inside) &&
	       !wire_props_has(&props, WIRE_MESSAGE_EXPIRY_INTERVAL) &&
	       !wire_props_has(&props, WIRE_TOPIC_ALIAS);
}

enum msg_record_fault
msg_record_decode(struct bytes topic, struct bytes payload, struct bytes rec, int64_t mono_ms,
    int64_t wall_ms, struct msg **msg_out)
{
	struct wire_reader reader = wire_reader_of(rec);
	struct msg_draft draft = {.topic = topic, .payload = payload};
	uint8_t version = wire_read_u8(&reader);
	uint64_t born;

	if (version > RECORD_VERSION) {
		return MSG_RECORD_NEWER;
	}
	draft.qos = wire_read_u8(&reader);
	draft.flags = wire_read_u8(&reader);
	draft.expiry_s = wire_read_u32(&reader);
	(void)wire_read_u32(&reader);
	born = (uint64_t)wire_read_u32(&reader) << 32;
	born |= wire_read_u32(&reader);
	draft.client_id = wire_read_prefixed(&reader);
	draft.username = wire_read_prefixed(&reader);
	if (version == 0 || wire_reader_failed(&reader) || draft.qos > MAX_QOS ||
	    (draft.flags & ~KNOWN_FLAGS) != 0 || born > LATEST_MS ||
	    payload.len > WIRE_MAX_REMAINING_LENGTH ||
	    wire_topic_name_check(topic, true) != WIRE_TOPIC_OK ||
	    !read_props(&reader, &draft.props)) {
		return MSG_RECORD_DAMAGED;
	}
	/* A clock that was set back since does not make it younger than now. */
	draft.born_wall_ms = (int64_t)born;
	draft.born_mono_ms =
	    mono_ms - (wall_ms > draft.born_wall_ms ? wall_ms - draft.born_wall_ms : 0);
	*msg_out = msg_seal(&draft);
	return *msg_out != NULL ? MSG_RECORD_OK : MSG_RECORD_NO_MEMORY;
}
