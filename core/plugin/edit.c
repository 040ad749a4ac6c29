/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The changes of an interceptor. Each is checked before it is taken, and shows at once in the view
 * that the interceptor was given. Where the answer is given at once the draft is changed in place;
 * where it may come later from another thread, the changes are noted and laid on the draft when
 * they have come.
 */
#include "base/err.h"
#include "base/mem.h"
#include "plugin/plugin_int.h"
#include "wire/props.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

void
plugin_edit_init(struct avocet_edit *edit, struct msg_draft *draft, avocet_msg *msg)
{
	*edit = (struct avocet_edit){.draft = draft, .msg = msg};
	buf_init(&edit->topic, WIRE_MAX_STRING);
	buf_init(&edit->payload, WIRE_MAX_REMAINING_LENGTH);
	buf_init(&edit->props, WIRE_MAX_REMAINING_LENGTH);
}

void
plugin_edit_init_filter(struct avocet_edit *edit, struct bytes prefix, avocet_sub *sub)
{
	plugin_edit_init(edit, NULL, NULL);
	edit->sub = sub;
	edit->prefix = prefix;
}

void
plugin_edit_fini(struct avocet_edit *edit)
{
	buf_fini(&edit->topic);
	buf_fini(&edit->payload);
	buf_fini(&edit->props);
}

static void
set_retain(struct msg_draft *draft, bool retain)
{
	draft->flags = (uint8_t)(retain ? draft->flags | MSG_RETAIN : draft->flags & ~MSG_RETAIN);
}

/* From now on. */
static void
set_expiry(struct msg_draft *draft, uint32_t seconds)
{
	int64_t age_s =
	    draft->born_mono_ms != 0 ? (context_current->mono_ms - draft->born_mono_ms) / 1000 : 0;

	draft->flags =
	    (uint8_t)(seconds != 0 ? draft->flags | MSG_EXPIRES : draft->flags & ~MSG_EXPIRES);
	draft->expiry_s = (uint32_t)(seconds < UINT32_MAX - age_s ? seconds + age_s : seconds);
}

void
plugin_edit_apply_filter(const struct avocet_edit *edit, struct plugin_filter *filter)
{
	if (edit->has_topic) {
		buf_clear(&filter->changed);
		buf_append_bytes(&filter->changed, buf_bytes(&edit->topic));
		filter->filter = buf_bytes(&filter->changed);
	}
	filter->qos = (uint8_t)edit->sub->qos;
}

int
plugin_edit_apply(struct avocet_edit *edit, struct msg_draft *draft)
{
	if ((edit->has_topic && msg_draft_set_topic(draft, buf_bytes(&edit->topic)) != 0) ||
	    (edit->has_payload && msg_draft_set_payload(draft, buf_bytes(&edit->payload)) != 0) ||
	    (edit->has_props && msg_draft_set_props(draft, buf_bytes(&edit->props)) != 0)) {
		return ERR_NOMEM;
	}
	if (edit->has_retain) {
		set_retain(draft, edit->retain);
	}
	if (edit->has_expiry) {
		set_expiry(draft, edit->expiry_s);
	}
	return 0;
}

/* Replaces what a buffer holds. */
static int32_t
note(struct buf *buf, bool *has, struct bytes bytes)
{
	buf_clear(buf);
	buf_append_bytes(buf, bytes);
	*has = !buf->failed;
	return buf->failed ? AVOCET_E_NOMEM : AVOCET_OK;
}

static int32_t
change_filter(avocet_edit *edit, struct bytes text)
{
	int32_t status;

	if (wire_topic_filter_check(text, true, false) != WIRE_TOPIC_OK ||
	    bytes_starts_with(text, BYTES_LITERAL("$share/")) ||
	    (text.data[0] != '$' &&
		(text.len <= edit->prefix.len || !bytes_starts_with(text, edit->prefix)))) {
		return AVOCET_E_INVAL;
	}
	status = note(&edit->topic, &edit->has_topic, text);
	edit->sub->filter = (avocet_str){(const char *)edit->topic.data, edit->topic.len};
	return status;
}

static int32_t
set_topic(avocet_edit *edit, avocet_str topic)
{
	struct bytes text = bytes_make(topic.p, topic.n);
	int32_t status = AVOCET_OK;

	if (edit->msg == NULL) {
		return change_filter(edit, text);
	}
	if (wire_topic_name_check(text, true) != WIRE_TOPIC_OK ||
	    bytes_starts_with(text, BYTES_LITERAL("$share/")) ||
	    bytes_starts_with(text, BYTES_LITERAL("$SYS/")) ||
	    bytes_equal(text, BYTES_LITERAL("$SYS"))) {
		return AVOCET_E_INVAL;
	}
	if (edit->draft != NULL) {
		if (msg_draft_set_topic(edit->draft, text) != 0) {
			return AVOCET_E_NOMEM;
		}
		text = edit->draft->topic;
	} else {
		status = note(&edit->topic, &edit->has_topic, text);
		text = buf_bytes(&edit->topic);
	}
	if (status == AVOCET_OK) {
		edit->msg->topic = (avocet_str){(const char *)text.data, text.len};
	}
	return status;
}

static int32_t
set_payload(avocet_edit *edit, const void *p, size_t n)
{
	struct bytes payload = bytes_make(p, n);
	int32_t status = AVOCET_OK;

	if (edit->msg == NULL) {
		return AVOCET_E_STATE;
	}
	if (n > WIRE_MAX_REMAINING_LENGTH) {
		return AVOCET_E_INVAL;
	}
	if (edit->draft != NULL) {
		if (msg_draft_set_payload(edit->draft, payload) != 0) {
			return AVOCET_E_NOMEM;
		}
		payload = edit->draft->payload;
	} else {
		status = note(&edit->payload, &edit->has_payload, payload);
		payload = buf_bytes(&edit->payload);
	}
	if (status == AVOCET_OK) {
		edit->msg->payload = (avocet_bytes){payload.data, payload.len};
	}
	return status;
}

static int32_t
change_retain(avocet_edit *edit, uint32_t on)
{
	if (edit->msg == NULL) {
		return AVOCET_E_STATE;
	}
	if (edit->draft != NULL) {
		set_retain(edit->draft, on != 0);
	} else {
		edit->has_retain = true;
		edit->retain = on != 0;
	}
	edit->msg->flags =
	    on != 0 ? edit->msg->flags | AVOCET_MSG_RETAIN : edit->msg->flags & ~AVOCET_MSG_RETAIN;
	return AVOCET_OK;
}

/* The block as it stands, from what the view was made of. */
static struct bytes
block_of(const struct avocet_edit *edit)
{
	if (edit->has_props) {
		return buf_bytes(&edit->props);
	}
	return edit->draft != NULL ? edit->draft->props : edit->props_before;
}

static bool
may_be_set(uint32_t id)
{
	return id == WIRE_PAYLOAD_FORMAT_INDICATOR || id == WIRE_CONTENT_TYPE ||
	       id == WIRE_RESPONSE_TOPIC || id == WIRE_CORRELATION_DATA || id == WIRE_USER_PROPERTY;
}

bool
plugin_may_set_prop(const avocet_prop *prop)
{
	return may_be_set(prop->id) &&
	       prop->num <= (prop->id == WIRE_PAYLOAD_FORMAT_INDICATOR ? UINT8_MAX : UINT32_MAX) &&
	       prop->a.n <= WIRE_MAX_STRING && prop->b.n <= WIRE_MAX_STRING;
}

/* The block without the properties of this id, with room for `more` bytes. False: no memory. */
static bool
rebuild(avocet_edit *edit, uint32_t without, size_t more, size_t *dropped_out)
{
	struct bytes before = block_of(edit);
	struct wire_property property;
	struct wire_writer writer;
	struct buf block;
	uint8_t *room;

	*dropped_out = 0;
	buf_init(&block, WIRE_MAX_REMAINING_LENGTH);
	room = buf_reserve(&block, before.len + more);
	if (room == NULL) {
		return false;
	}
	writer = wire_writer_of(room, before.len + more);
	while (wire_props_next(&before, &property)) {
		if (property.id == without) {
			++*dropped_out;
		} else if (property.id != WIRE_MESSAGE_EXPIRY_INTERVAL) { /* the draft has it */
			wire_write_property(&writer, &property);
		}
	}
	block.len = writer.len;
	buf_fini(&edit->props);
	edit->props = block;
	edit->has_props = true;
	return true;
}

/* The block goes where its changes go. */
static int32_t
take_block(avocet_edit *edit)
{
	return edit->draft == NULL || msg_draft_set_props(edit->draft, buf_bytes(&edit->props)) == 0
		   ? AVOCET_OK
		   : AVOCET_E_NOMEM;
}

/* Writes a property that is checked; false: it is not what MQTT allows there. */
static bool
write_prop(struct wire_writer *writer, const avocet_prop *prop)
{
	struct wire_property property = {.id = (uint8_t)prop->id,
	    .type = wire_prop_type(prop->id),
	    .number = (uint32_t)prop->num,
	    .value = bytes_make(prop->a.p, prop->a.n),
	    .second = bytes_make(prop->b.p, prop->b.n)};
	size_t before = writer->len;
	struct wire_reader reader;
	struct wire_props props;

	wire_write_property(writer, &property);
	reader = wire_reader_of(bytes_make(writer->data + before, writer->len - before));
	wire_props_check(&reader, WIRE_PUBLISH, WIRE_CLIENT, &props);
	return !writer->failed && reader.fault == NULL;
}

static int32_t
put_prop(avocet_edit *edit, const avocet_prop *prop, bool replaces)
{
	size_t more = prop->a.n + prop->b.n + 16, dropped;
	struct wire_writer writer;
	uint8_t one[16], *room = one;
	bool is_good;

	if (edit->msg == NULL) {
		return AVOCET_E_STATE;
	}
	if (!plugin_may_set_prop(prop)) {
		return AVOCET_E_INVAL;
	}
	/* Tried apart, so that it fails without effect. */
	if (more > sizeof(one)) {
		room = mem_alloc(more);
	}
	writer = wire_writer_of(room, more > sizeof(one) ? more : sizeof(one));
	is_good = write_prop(&writer, prop);
	if (is_good && (replaces || !edit->has_props)) {
		is_good = rebuild(edit, replaces ? prop->id : 0, writer.len, &dropped);
	}
	if (is_good) {
		buf_append(&edit->props, room, writer.len);
	}
	if (room != one) {
		mem_free(&room);
	}
	if (!is_good) {
		return AVOCET_E_INVAL;
	}
	return edit->props.failed ? AVOCET_E_NOMEM : take_block(edit);
}

static int32_t
set_prop(avocet_edit *edit, const avocet_prop *prop)
{
	return put_prop(edit, prop, true);
}

static int32_t
add_user_prop(avocet_edit *edit, avocet_str key, avocet_str value)
{
	const avocet_prop prop = {.id = WIRE_USER_PROPERTY,
	    .kind = AVOCET_PROP_PAIR,
	    .a = {(const uint8_t *)key.p, key.n},
	    .b = {(const uint8_t *)value.p, value.n}};

	return put_prop(edit, &prop, false);
}

static int32_t
del_prop(avocet_edit *edit, uint32_t id)
{
	size_t dropped;

	if (edit->msg == NULL) {
		return AVOCET_E_STATE;
	}
	if (!may_be_set(id)) {
		return AVOCET_E_INVAL;
	}
	if (!rebuild(edit, id, 0, &dropped)) {
		return AVOCET_E_NOMEM;
	}
	if (dropped == 0) {
		return AVOCET_E_NOTFOUND;
	}
	return take_block(edit);
}

static int32_t
change_expiry(avocet_edit *edit, uint32_t seconds)
{
	if (edit->msg == NULL) {
		return AVOCET_E_STATE;
	}
	if (edit->draft != NULL) {
		set_expiry(edit->draft, seconds);
	} else {
		edit->has_expiry = true;
		edit->expiry_s = seconds;
	}
	return AVOCET_OK;
}

static int32_t
set_qos(avocet_edit *edit, uint32_t qos)
{
	if (edit->sub == NULL) {
		return AVOCET_E_STATE;
	}
	if (qos > edit->sub->qos) {
		return AVOCET_E_INVAL;
	}
	edit->sub->qos = qos;
	return AVOCET_OK;
}

static int32_t
set_reason(avocet_edit *edit, uint32_t code)
{
	if (code < WIRE_REASON_FIRST_ERROR || code > UINT8_MAX) {
		return AVOCET_E_INVAL;
	}
	edit->reason = (uint8_t)code;
	return AVOCET_OK;
}

static int32_t
complete(avocet_self *self, avocet_req_h req, int32_t verdict)
{
	int32_t status;
	struct plugin_call *call = plugin_call_take(self, req, PLUGIN_INTERCEPTOR, &status);

	if (call == NULL) {
		return status;
	}
	call->reply.verdict = verdict;
	return plugin_call_reply(call);
}

static int32_t
set_filters(avocet_self *self, const char *const *filters)
{
	if (!self->is_preparing) {
		return AVOCET_E_STATE;
	}
	for (size_t i = 0; filters != NULL && filters[i] != NULL; i++) {
		if (wire_topic_filter_check(bytes_of(filters[i]), true, false) != WIRE_TOPIC_OK) {
			return AVOCET_E_INVAL;
		}
	}
	plugin_words_unref(&self->next_filters);
	self->next_filters = filters != NULL ? plugin_words_new(filters) : NULL;
	self->has_next_filters = true;
	return AVOCET_OK;
}

const avocet_message_api plugin_message_api = {
    .struct_size = sizeof(plugin_message_api),
    .set_topic = set_topic,
    .set_payload = set_payload,
    .set_retain = change_retain,
    .add_user_prop = add_user_prop,
    .set_reason = set_reason,
    .complete = complete,
    .set_filters = set_filters,
    .set_qos = set_qos,
    .set_expiry = change_expiry,
    .set_prop = set_prop,
    .del_prop = del_prop,
};
