/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The changes of an interceptor. Each is checked before it is taken, and shows at once in the view
 * that the interceptor was given. Where the answer is given at once the draft is changed in place;
 * where it may come later from another thread, the changes are noted and laid on the draft when
 * they have come.
 */
#include "base/err.h"
#include "base/utf8.h"
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
set_topic(avocet_edit *edit, avocet_str topic)
{
	struct bytes text = bytes_make(topic.p, topic.n);
	int32_t status = AVOCET_OK;

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

static int32_t
add_user_prop(avocet_edit *edit, avocet_str key, avocet_str value)
{
	struct bytes name = bytes_make(key.p, key.n), second = bytes_make(value.p, value.n);
	struct bytes before = block_of(edit);
	struct wire_writer writer;
	uint8_t *room;
	size_t len;

	if (name.len > WIRE_MAX_STRING || second.len > WIRE_MAX_STRING ||
	    utf8_fault_at(name) != name.len || utf8_fault_at(second) != second.len) {
		return AVOCET_E_INVAL;
	}
	len = name.len + second.len + 5;
	if (!edit->has_props) {
		/* The first: what is there is copied, once. */
		buf_clear(&edit->props);
		buf_append_bytes(&edit->props, before);
		edit->has_props = true;
	}
	room = buf_reserve(&edit->props, len);
	if (room == NULL) {
		return AVOCET_E_NOMEM;
	}
	writer = wire_writer_of(room, len);
	wire_write_user_property(&writer, name, second);
	edit->props.len += writer.len;
	return edit->draft == NULL || msg_draft_set_props(edit->draft, buf_bytes(&edit->props)) == 0
		   ? AVOCET_OK
		   : AVOCET_E_NOMEM;
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
};
