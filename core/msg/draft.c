/* SPDX-License-Identifier: Apache-2.0 */
#include "msg/draft.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/spare.h"
#include "wire/props.h"

/* Memory of a replaced value. */
struct msg_scrap {
	struct msg_scrap *next;
	uint8_t data[];
};

static void
take_props(struct msg_draft *draft, const struct wire_props *props)
{
	draft->props = props->block;
	draft->flags &= (uint8_t)~MSG_EXPIRES;
	if (wire_props_has(props, WIRE_MESSAGE_EXPIRY_INTERVAL)) {
		draft->flags |= MSG_EXPIRES;
		draft->expiry_s = wire_props_number(props, WIRE_MESSAGE_EXPIRY_INTERVAL, 0);
	}
}

void
msg_draft_of_publish(struct msg_draft *draft, const struct wire_publish *publish)
{
	*draft = (struct msg_draft){
	    .topic = publish->topic, .payload = publish->payload, .qos = publish->qos};
	draft->flags = publish->retain ? MSG_RETAIN : 0;
	take_props(draft, &publish->props);
}

void
msg_draft_of_will(struct msg_draft *draft, const struct wire_will *will)
{
	*draft =
	    (struct msg_draft){.topic = will->topic, .payload = will->payload, .qos = will->qos};
	draft->flags = (uint8_t)(MSG_WILL | (will->retain ? MSG_RETAIN : 0));
	take_props(draft, &will->props);
}

static void
free_scraps(struct msg_draft *draft)
{
	while (draft->scraps != NULL) {
		struct msg_scrap *scrap = draft->scraps;

		draft->scraps = scrap->next;
		mem_free(&scrap);
	}
}

void
msg_draft_free(struct msg_draft *draft)
{
	free_scraps(draft);
	/* Who was asked about it may still read it, though nobody waits for the answer. */
	msg_unref(&draft->copy);
}

/* --- replacing --- */

static int
replace(struct msg_draft *draft, struct bytes *view, struct bytes value)
{
	struct msg_scrap *scrap = mem_try_alloc(sizeof(*scrap) + value.len);

	if (scrap == NULL) {
		return ERR_NOMEM;
	}
	if (value.len != 0) {
		memcpy(scrap->data, value.data, value.len);
	}
	scrap->next = draft->scraps;
	draft->scraps = scrap;
	*view = (struct bytes){scrap->data, value.len};
	return 0;
}

int
msg_draft_set_topic(struct msg_draft *draft, struct bytes topic)
{
	struct bytes before = draft->topic;
	int error = topic.len > WIRE_MAX_STRING ? ERR_LIMIT : replace(draft, &draft->topic, topic);

	if (error == 0 && draft->received.data == NULL) {
		draft->received = before;
	}
	return error;
}

int
msg_draft_set_payload(struct msg_draft *draft, struct bytes payload)
{
	return payload.len > WIRE_MAX_REMAINING_LENGTH ? ERR_LIMIT
						       : replace(draft, &draft->payload, payload);
}

int
msg_draft_set_props(struct msg_draft *draft, struct bytes props)
{
	struct wire_props index;
	int error = props.len > WIRE_MAX_REMAINING_LENGTH ? ERR_LIMIT
							  : replace(draft, &draft->props, props);

	if (error == 0) {
		(void)wire_props_index(&index, draft->props);
		if (wire_props_has(&index, WIRE_MESSAGE_EXPIRY_INTERVAL)) {
			take_props(draft, &index);
		}
	}
	return error;
}

/* --- packing --- */

/* What is passed on to receivers as it came [MQTT-3.3.2-4] [MQTT-3.3.2-15] … [MQTT-3.3.2-20]. */
static bool
is_for_receivers(uint8_t id)
{
	switch (id) {
	case WIRE_PAYLOAD_FORMAT_INDICATOR:
	case WIRE_CONTENT_TYPE:
	case WIRE_RESPONSE_TOPIC:
	case WIRE_CORRELATION_DATA:
	case WIRE_USER_PROPERTY:
		return true;
	default:
		return false;
	}
}

/*
 * In their order [MQTT-3.3.2-18], each in its shortest form: as it came, unless a lenient peer
 * padded the identifier (nothing else in these can be padded).
 */
static void
write_props(struct wire_writer *writer, struct bytes block)
{
	struct wire_property property;
	struct bytes whole = block;

	for (; wire_props_next(&block, &property); whole = block) {
		if (!is_for_receivers(property.id)) {
			continue;
		}
		if (*whole.data == property.id) {
			wire_write_bytes(writer, bytes_make(whole.data, whole.len - block.len));
		} else {
			wire_write_property(writer, &property);
		}
	}
}

static void
set_fields(struct msg *msg, const struct msg_draft *draft)
{
	msg->born_mono_ms = draft->born_mono_ms;
	msg->born_wall_ms = draft->born_wall_ms;
	msg->expiry_s = draft->expiry_s;
	msg->qos = draft->qos & 3U;
	msg->flags = draft->flags & 0x3fU;
}

static uint8_t *
put(uint8_t *at, struct bytes bytes)
{
	if (bytes.len != 0) {
		memcpy(at, bytes.data, bytes.len);
	}
	return at + bytes.len;
}

/*
 * Room is taken for the properties as they came; the few bytes of those that are dropped stay
 * unused at the end, which is cheaper than walking over them twice.
 */
static struct msg *
pack(const struct msg_draft *draft)
{
	size_t room = 2 + draft->topic.len + draft->props.len + draft->payload.len +
		      draft->client_id.len + draft->username.len;
	struct msg *msg;
	uint8_t *at;

	if (err_impossible(draft->topic.len > WIRE_MAX_STRING ||
			   draft->payload.len > WIRE_MAX_REMAINING_LENGTH ||
			   draft->client_id.len > WIRE_MAX_STRING ||
			   draft->username.len > WIRE_MAX_STRING)) {
		return NULL;
	}
	msg = spare_alloc(msg_size_for(room));
	if (msg == NULL) {
		return NULL;
	}
	*msg = (struct msg){.payload_len = (uint32_t)draft->payload.len,
	    .client_id_len = (uint16_t)draft->client_id.len,
	    .username_len = (uint16_t)draft->username.len};
	ref_init(&msg->ref);
	at = msg->data;
	*at++ = (uint8_t)(draft->topic.len >> 8);
	*at++ = (uint8_t)draft->topic.len;
	at = put(at, draft->topic);
	if (draft->props.len != 0) {
		struct wire_writer writer = wire_writer_of(at, draft->props.len);

		write_props(&writer, draft->props);
		msg->props_len = (uint32_t)writer.len;
		at += writer.len;
	}
	at = put(at, draft->payload);
	at = put(at, draft->client_id);
	(void)put(at, draft->username);
	return msg;
}

/* --- owning and sealing --- */

static bool
is_view_of(struct bytes view, struct bytes part)
{
	return view.len == part.len && (view.len == 0 || view.data == part.data);
}

/* There is a copy, and nothing was replaced since it was made. */
static bool
copy_is_current(const struct msg_draft *draft)
{
	const struct msg *copy = draft->copy;

	return copy != NULL && is_view_of(draft->topic, msg_topic(copy)) &&
	       is_view_of(draft->props, msg_props(copy)) &&
	       is_view_of(draft->payload, msg_payload(copy)) &&
	       is_view_of(draft->client_id, msg_client_id(copy)) &&
	       is_view_of(draft->username, msg_username(copy));
}

int
msg_draft_own(struct msg_draft *draft)
{
	struct msg_draft kept = {0}; /* scraps that stay */
	struct msg *copy;

	if (copy_is_current(draft)) {
		return 0;
	}
	copy = pack(draft);
	if (copy == NULL || (draft->received.data != NULL &&
				replace(&kept, &draft->received, draft->received) != 0)) {
		msg_unref(&copy);
		return ERR_NOMEM;
	}
	msg_draft_fini(draft);
	draft->scraps = kept.scraps;
	draft->topic = msg_topic(copy);
	draft->props = msg_props(copy);
	draft->payload = msg_payload(copy);
	draft->client_id = msg_client_id(copy);
	draft->username = msg_username(copy);
	draft->copy = copy;
	return 0;
}

struct msg *
msg_seal(struct msg_draft *draft)
{
	bool adopts = copy_is_current(draft);
	struct msg *msg = adopts ? draft->copy : pack(draft);

	if (msg == NULL) {
		return NULL;
	}
	set_fields(msg, draft);
	if (adopts) {
		draft->copy = NULL;
	}
	msg_draft_fini(draft);
	*draft = (struct msg_draft){0};
	return msg;
}
