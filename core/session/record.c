/* SPDX-License-Identifier: Apache-2.0 */
/* The byte layout of records; it stands in record.h. No state; any thread. */
#include "session/record.h"

#include "wire/reader.h"

enum { RECORD_VERSION = 1 };
enum { SESSION_CONNECTED = 1, SESSION_TRANSIENT = 2, SESSION_AUTHENTICATED = 4 };

static void
put_u16(struct buf *out, uint16_t value)
{
	buf_append_byte(out, (uint8_t)(value >> 8));
	buf_append_byte(out, (uint8_t)value);
}

static void
put_u32(struct buf *out, uint32_t value)
{
	put_u16(out, (uint16_t)(value >> 16));
	put_u16(out, (uint16_t)value);
}

static void
put_i64(struct buf *out, int64_t value)
{
	put_u32(out, (uint32_t)((uint64_t)value >> 32));
	put_u32(out, (uint32_t)(uint64_t)value);
}

static void
put_text(struct buf *out, struct bytes text)
{
	size_t len = text.len < UINT16_MAX ? text.len : UINT16_MAX;

	put_u16(out, (uint16_t)len);
	buf_append(out, text.data, len);
}

static int64_t
read_i64(struct wire_reader *reader)
{
	uint64_t high = wire_read_u32(reader);

	return (int64_t)(high << 32 | wire_read_u32(reader));
}

/* The reader behind the version; failed when that is not known. */
static struct wire_reader
begin(struct bytes rec)
{
	struct wire_reader reader = wire_reader_of(rec);

	if (wire_read_u8(&reader) != RECORD_VERSION) {
		wire_reader_fail(&reader, WIRE_REASON_MALFORMED_PACKET, "unknown version");
	}
	return reader;
}

static bool
is_whole(const struct wire_reader *reader)
{
	return !wire_reader_failed(reader) && wire_reader_left(reader) == 0;
}

void
session_record_queue_encode(
    const struct session_delivery *delivery, struct bytes group_name, struct buf *out)
{
	const uint32_t *ids = session_delivery_ids(delivery);

	buf_append_byte(out, RECORD_VERSION);
	buf_append_byte(out, delivery->qos);
	buf_append_byte(out, delivery->flags);
	put_u16(out, delivery->subscription_id_count);
	for (uint16_t i = 0; i < delivery->subscription_id_count; i++) {
		put_u32(out, ids[i]);
	}
	put_text(out, group_name);
}

bool
session_record_queue_decode(
    struct bytes rec, struct session_delivery *delivery, struct bytes *group_name_out)
{
	struct wire_reader reader = begin(rec);
	uint8_t qos = wire_read_u8(&reader);
	uint8_t flags = wire_read_u8(&reader);
	uint16_t count = wire_read_u16(&reader);
	struct wire_reader ids = reader;
	uint32_t one;

	wire_read_bytes(&reader, (size_t)count * 4);
	*group_name_out = wire_read_prefixed(&reader);
	if (!is_whole(&reader) || qos > 2) {
		return false;
	}
	one = count != 0 ? wire_read_u32(&ids) : 0;
	delivery->subscription_id_count = count;
	if (count > 1) {
		delivery->subscription_ids = mem_alloc(count * sizeof(uint32_t));
		delivery->subscription_ids[0] = one;
		for (uint16_t i = 1; i < count; i++) {
			delivery->subscription_ids[i] = wire_read_u32(&ids);
		}
	} else {
		delivery->subscription_id = one;
	}
	delivery->qos = qos;
	delivery->flags = flags;
	return true;
}

void
session_record_session_encode(const struct session_record_session *record, struct buf *out)
{
	const struct msg_client_parts *client = &record->client;

	buf_append_byte(out, RECORD_VERSION);
	buf_append_byte(out, (uint8_t)((record->connected ? SESSION_CONNECTED : 0) |
				       (record->transient ? SESSION_TRANSIENT : 0) |
				       (client->authenticated ? SESSION_AUTHENTICATED : 0)));
	put_u32(out, record->expiry_s);
	put_i64(out, record->left_wall_ms);
	buf_append_byte(out, client->version);
	put_text(out, client->username);
	put_text(out, client->listener);
	put_text(out, client->address);
	put_text(out, client->prefix);
	put_text(out, client->method);
}

bool
session_record_session_decode(struct bytes rec, struct session_record_session *record_out)
{
	struct wire_reader reader = begin(rec);
	uint8_t flags = wire_read_u8(&reader);

	*record_out = (struct session_record_session){0};
	record_out->connected = (flags & SESSION_CONNECTED) != 0;
	record_out->transient = (flags & SESSION_TRANSIENT) != 0;
	record_out->client.authenticated = (flags & SESSION_AUTHENTICATED) != 0;
	record_out->expiry_s = wire_read_u32(&reader);
	record_out->left_wall_ms = read_i64(&reader);
	record_out->client.version = wire_read_u8(&reader);
	record_out->client.username = wire_read_prefixed(&reader);
	record_out->client.listener = wire_read_prefixed(&reader);
	record_out->client.address = wire_read_prefixed(&reader);
	record_out->client.prefix = wire_read_prefixed(&reader);
	record_out->client.method = wire_read_prefixed(&reader);
	return is_whole(&reader);
}

void
session_record_sub_encode(const struct session_record_sub *record, struct buf *out)
{
	buf_append_byte(out, RECORD_VERSION);
	buf_append_byte(
	    out, (uint8_t)((record->qos & 3) | (record->no_local ? 4 : 0) |
			   (record->retain_as_published ? 8 : 0) |
			   (record->retain_handling & 3) << 4 | (record->shared ? 64 : 0)));
	put_u32(out, record->subscription_id);
	put_u16(out, record->prefix_len);
}

bool
session_record_sub_decode(struct bytes rec, struct session_record_sub *record_out)
{
	struct wire_reader reader = begin(rec);
	uint8_t options = wire_read_u8(&reader);

	*record_out = (struct session_record_sub){.qos = options & 3,
	    .no_local = (options & 4) != 0,
	    .retain_as_published = (options & 8) != 0,
	    .retain_handling = options >> 4 & 3,
	    .shared = (options & 64) != 0};
	record_out->subscription_id = wire_read_u32(&reader);
	record_out->prefix_len = wire_read_u16(&reader);
	return is_whole(&reader) && record_out->qos <= 2;
}

void
session_record_will_encode(const struct msg *will, uint32_t delay_s, struct buf *out)
{
	buf_append_byte(out, RECORD_VERSION);
	put_u32(out, delay_s);
	buf_append_byte(out, will->qos);
	buf_append_byte(out, (will->flags & MSG_RETAIN) != 0);
}

bool
session_record_will_decode(struct bytes rec, uint32_t *delay_s_out)
{
	struct wire_reader reader = begin(rec);

	*delay_s_out = wire_read_u32(&reader);
	wire_read_u8(&reader);
	wire_read_u8(&reader);
	return is_whole(&reader);
}
