/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interceptor: it moves topics from one prefix to another, and stamps each message with a user
 * property that says when it came in. It never waits, so it runs INLINE on the event loops: nothing
 * is copied for it. Messages that its filters do not match never reach it.
 *
 *     plugins:
 *     - { name: stamp, module: stamp, config: { from: plant, to: site1/plant, property: received }
 * } chains: default: { intercept: [stamp] }
 */
#include <avocet/avocet_message.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOPIC = 65535, MAX_TEXT = 256 };

struct state {
	char from[MAX_TEXT], to[MAX_TEXT];
	size_t from_len, to_len;
	char property[MAX_TEXT]; /* "": no stamp */
};

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_conf_api *conf;
	const avocet_message_api *message;
	struct state *_Atomic state;
};

/* "plant" is moved, and all that is below it; "plants" is another topic. */
static bool
is_below(const struct state *state, avocet_str topic)
{
	return topic.n >= state->from_len && memcmp(topic.p, state->from, state->from_len) == 0 &&
	       (topic.n == state->from_len || topic.p[state->from_len] == '/');
}

static bool
move(
    const struct instance *instance, const struct state *state, avocet_str topic, avocet_edit *edit)
{
	char moved[MAX_TOPIC];
	size_t rest = topic.n - state->from_len;

	if (state->to_len + rest > sizeof(moved)) {
		return false;
	}
	memcpy(moved, state->to, state->to_len);
	memcpy(moved + state->to_len, topic.p + state->from_len, rest);
	/* It is copied and checked: a topic that is none cannot come out of here. */
	return instance->message->set_topic(edit, (avocet_str){moved, state->to_len + rest}) ==
	       AVOCET_OK;
}

/* For each PUBLISH that the filters match, on the publisher's event loop. */
static int32_t
publish(void *inst, avocet_req_h req, uint32_t point, const avocet_msg *msg,
    const avocet_client_info *who, avocet_edit *edit)
{
	struct instance *instance = inst;
	const struct state *state = atomic_load_explicit(&instance->state, memory_order_acquire);
	char text[32];
	int n;

	(void)req;
	(void)point;
	(void)who;
	if (is_below(state, msg->topic) && !move(instance, state, msg->topic, edit)) {
		(void)instance->message->set_reason(edit, 0x90); /* Topic Name invalid */
		return AVOCET_REJECT;
	}
	if (state->property[0] != '\0') {
		n = snprintf(text, sizeof(text), "%lld", (long long)msg->received_ms);
		(void)instance->message->add_user_prop(edit, avocet_str_of(state->property),
		    (avocet_str){text, n > 0 ? (size_t)n : 0});
	}
	return AVOCET_PASS;
}

/* --- life --- */

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err)
{
	struct instance *instance = calloc(1, sizeof(*instance));

	if (instance == NULL) {
		(void)snprintf(err->text, sizeof(err->text), "no memory");
		return AVOCET_E_NOMEM;
	}
	instance->host = host;
	instance->self = self;
	instance->conf = host->query(self, AVOCET_HOST_CONF);
	instance->message = host->query(self, AVOCET_HOST_MESSAGE);
	*inst_out = instance;
	return AVOCET_OK;
}

static void
free_state(void *inst, void *state)
{
	(void)inst;
	free(state);
}

static void
destroy(void *inst)
{
	struct instance *instance = inst;

	free_state(inst, atomic_load(&instance->state));
	free(instance);
}

static bool
read_text(const struct instance *instance, const avocet_conf *conf, const char *key, char *out)
{
	avocet_str text = {NULL, 0};

	if (instance->conf->str(conf, key, &text) != AVOCET_OK || text.n >= MAX_TEXT) {
		return false;
	}
	memcpy(out, text.p, text.n);
	out[text.n] = '\0';
	return true;
}

static int32_t
prepare(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err)
{
	struct instance *instance = inst;
	struct state *next = calloc(1, sizeof(*next));
	char below[MAX_TEXT + 2];
	const char *filters[] = {below, NULL};

	if (next == NULL) {
		return AVOCET_E_NOMEM;
	}
	if (!read_text(instance, conf, "from", next->from) ||
	    !read_text(instance, conf, "to", next->to) ||
	    !read_text(instance, conf, "property", next->property) || next->from[0] == '\0' ||
	    next->to[0] == '\0' || strpbrk(next->from, "+#") != NULL ||
	    strpbrk(next->to, "+#") != NULL) {
		(void)snprintf(err->text, sizeof(err->text),
		    "from and to are topics without wildcards, of less than %d bytes", MAX_TEXT);
		free(next);
		return AVOCET_E_CONFIG;
	}
	next->from_len = strlen(next->from);
	next->to_len = strlen(next->to);
	(void)snprintf(below, sizeof(below), "%s/#", next->from);
	(void)instance->message->set_filters(instance->self, filters);
	*next_out = next;
	return AVOCET_OK;
}

static void
commit(void *inst, void *next, void **old_out)
{
	struct instance *instance = inst;

	*old_out = atomic_exchange(&instance->state, next);
}

static const avocet_lifecycle lifecycle = {
    AVOCET_SIZED(avocet_lifecycle),
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .commit = commit,
    .abort = free_state,
    .retire = free_state,
};

/* --- what the broker finds --- */

static const avocet_interceptor interceptor = {
    AVOCET_SIZED(avocet_interceptor),
    .exec = AVOCET_EXEC_INLINE,
    .points = AVOCET_AT_IN,
    .publish = publish,
};
static const avocet_service service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_INTERCEPTOR, .vtable = &interceptor};
static const avocet_service *const services[] = {&service, NULL};
static const char *const needs[] = {AVOCET_HOST_CONF, AVOCET_HOST_MESSAGE, NULL};

static const avocet_conf_item items[] = {
    {.name = "from",
	.type = AVOCET_CONF_STR,
	.flags = AVOCET_CONF_REQUIRED | AVOCET_CONF_RELOADABLE,
	.help = "topics at and below this one are moved"},
    {.name = "to",
	.type = AVOCET_CONF_STR,
	.flags = AVOCET_CONF_REQUIRED | AVOCET_CONF_RELOADABLE,
	.help = "to this one"},
    {.name = "property",
	.type = AVOCET_CONF_STR,
	.flags = AVOCET_CONF_RELOADABLE,
	.def = "received",
	.help = "the user property with the time in ms since 1970; empty: none"},
};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {
    .magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .abi_minor_needed = 0,
    .name = "stamp",
    .version = "1.0",
    .summary = "moves topics and stamps messages",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .services = services,
    .needs = needs,
    .conf = items,
    .n_conf = sizeof(items) / sizeof(items[0]),
    .conf_item_size = sizeof(items[0]),
};
