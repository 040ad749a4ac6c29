/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plugin does to the broker unasked: publishes, and sends clients away. It may say so on any
 * thread; main does it. A message is copied once, by the thread that says it.
 */
#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "plugin/plugin_int.h"
#include "wire/props.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

enum { MAX_UNDER_WAY = 1024 };

struct spoken {
	struct mail mail;
	struct avocet_self *self; /* a reference */
	struct msg_draft draft;   /* owned */
	uint64_t handle;
	uint8_t reason;
	uint32_t client_id_len, text_len;
	char texts[]; /* the client id, the text */
};

static void
end_spoken(struct spoken *spoken)
{
	atomic_fetch_sub_explicit(&spoken->self->spoken_count, 1, memory_order_relaxed);
	msg_draft_fini(&spoken->draft);
	plugin_unref(spoken->self);
	mem_free(&spoken);
}

static void
on_publish(struct worker *worker, struct mail *mail)
{
	struct spoken *spoken = list_item(mail, struct spoken, mail);
	const struct plugin_house_options *options = &spoken->self->house->options;

	(void)worker;
	spoken->draft.born_mono_ms = context_current->mono_ms;
	spoken->draft.born_wall_ms = context_current->wall_ms;
	if (options->on_publish != NULL) {
		options->on_publish(options->arg, &spoken->draft);
	}
	end_spoken(spoken);
}

static void
on_kick(struct worker *worker, struct mail *mail)
{
	struct spoken *spoken = list_item(mail, struct spoken, mail);
	const struct plugin_house_options *options = &spoken->self->house->options;

	(void)worker;
	if (options->on_kick != NULL) {
		options->on_kick(options->arg,
		    &(struct plugin_kick){.handle = spoken->handle,
			.client_id = bytes_make(spoken->texts, spoken->client_id_len),
			.reason = spoken->reason,
			.text =
			    bytes_make(spoken->texts + spoken->client_id_len, spoken->text_len)});
	}
	end_spoken(spoken);
}

/* NULL: too many are under way. */
static struct spoken *
spoken_new(struct avocet_self *self, mail_run_fn *run, avocet_str client_id, avocet_str text)
{
	struct spoken *spoken;

	if (atomic_fetch_add_explicit(&self->spoken_count, 1, memory_order_relaxed) >=
	    MAX_UNDER_WAY) {
		atomic_fetch_sub_explicit(&self->spoken_count, 1, memory_order_relaxed);
		return NULL;
	}
	spoken = mem_zalloc(sizeof(*spoken) + client_id.n + text.n);
	spoken->mail.run = run;
	spoken->self = plugin_ref(self);
	spoken->client_id_len = (uint32_t)client_id.n;
	spoken->text_len = (uint32_t)text.n;
	if (client_id.n != 0) {
		memcpy(spoken->texts, client_id.p, client_id.n);
	}
	if (text.n != 0) {
		memcpy(spoken->texts + client_id.n, text.p, text.n);
	}
	return spoken;
}

/* --- publishing --- */

/* The block; false: something in it is none of PUBLISH. */
static bool
write_block(const avocet_publish *given, struct buf *block)
{
	struct wire_reader reader;
	struct wire_props props;

	for (size_t i = 0; i < given->props.n; i++) {
		const avocet_prop *prop = &given->props.v[i];
		struct wire_property property = {.id = (uint8_t)prop->id,
		    .type = wire_prop_type(prop->id),
		    .number = (uint32_t)prop->num,
		    .value = bytes_make(prop->a.p, prop->a.n),
		    .second = bytes_make(prop->b.p, prop->b.n)};
		size_t room = prop->a.n + prop->b.n + 16;
		struct wire_writer writer;

		if (!plugin_may_set_prop(prop)) {
			return false;
		}
		writer = wire_writer_of(buf_reserve(block, room), room);
		wire_write_property(&writer, &property);
		block->len += writer.len;
	}
	reader = wire_reader_of(buf_bytes(block));
	wire_props_check(&reader, WIRE_PUBLISH, WIRE_CLIENT, &props);
	return reader.fault == NULL;
}

static bool
is_well_formed(const avocet_publish *given)
{
	struct bytes topic = bytes_make(given->topic.p, given->topic.n);

	return given->qos <= 2 && given->payload.n <= WIRE_MAX_REMAINING_LENGTH &&
	       wire_topic_name_check(topic, true) == WIRE_TOPIC_OK &&
	       !bytes_starts_with(topic, BYTES_LITERAL("$share/"));
}

static bool
is_below_sys(const avocet_publish *given)
{
	struct bytes topic = bytes_make(given->topic.p, given->topic.n);

	return bytes_starts_with(topic, BYTES_LITERAL("$SYS/")) ||
	       bytes_equal(topic, BYTES_LITERAL("$SYS"));
}

int32_t
plugin_take_publish(const avocet_publish *given, bool is_for_here, struct msg_draft *draft_out)
{
	avocet_publish publish = {0};
	struct buf block;
	int32_t status = AVOCET_OK;

	memcpy(&publish, given,
	    given->struct_size < sizeof(publish) ? given->struct_size : sizeof(publish));
	if (!is_well_formed(&publish) || (is_for_here && is_below_sys(&publish))) {
		return AVOCET_E_INVAL;
	}
	buf_init(&block, WIRE_MAX_REMAINING_LENGTH);
	*draft_out = (struct msg_draft){.topic = bytes_make(publish.topic.p, publish.topic.n),
	    .payload = bytes_make(publish.payload.p, publish.payload.n),
	    .qos = (uint8_t)publish.qos,
	    .expiry_s = publish.expiry_s,
	    .flags = (uint8_t)(((publish.flags & AVOCET_MSG_RETAIN) != 0 ? MSG_RETAIN : 0) |
			       (publish.expiry_s != 0 ? MSG_EXPIRES : 0))};
	if (!write_block(&publish, &block)) {
		status = AVOCET_E_INVAL;
	} else {
		draft_out->props = buf_bytes(&block);
		status = msg_draft_own(draft_out) == 0 ? AVOCET_OK : AVOCET_E_NOMEM;
	}
	buf_fini(&block);
	if (status != AVOCET_OK) {
		*draft_out = (struct msg_draft){0};
	}
	return status;
}

int32_t
plugin_host_publish(avocet_self *self, const avocet_publish *given)
{
	struct spoken *spoken;
	struct msg_draft draft;
	int32_t status;

	if (!plugin_is_serving(self)) {
		return AVOCET_E_STATE;
	}
	status = plugin_take_publish(given, true, &draft);
	if (status != AVOCET_OK) {
		return status;
	}
	spoken = spoken_new(self, on_publish, (avocet_str){0}, (avocet_str){0});
	if (spoken == NULL) {
		msg_draft_fini(&draft);
		return AVOCET_E_AGAIN;
	}
	spoken->draft = draft;
	mail_post(self->house->options.main, &spoken->mail);
	return AVOCET_OK;
}

/* --- sending away --- */

int32_t
plugin_host_kick(avocet_self *self, avocet_client_h client, avocet_str client_id, uint32_t reason,
    avocet_str text)
{
	struct bytes words = bytes_make(text.p, text.n);
	struct spoken *spoken;

	if ((client == 0) == (client_id.n == 0) || client_id.n > WIRE_MAX_STRING ||
	    text.n > WIRE_MAX_STRING || utf8_fault_at(words) != words.len ||
	    (reason != 0 &&
		(reason < WIRE_REASON_FIRST_ERROR || reason > UINT8_MAX ||
		    !wire_reason_is_allowed(WIRE_DISCONNECT, WIRE_SERVER, (uint8_t)reason)))) {
		return AVOCET_E_INVAL;
	}
	spoken = spoken_new(self, on_kick, client_id, text);
	if (spoken == NULL) {
		return AVOCET_E_AGAIN;
	}
	spoken->handle = client;
	spoken->reason = reason != 0 ? (uint8_t)reason : WIRE_REASON_ADMINISTRATIVE_ACTION;
	mail_post(self->house->options.main, &spoken->mail);
	return AVOCET_OK;
}
