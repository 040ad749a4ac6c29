/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin with a local link, `tap`, that subscribes to in/# at QoS 2 and logs what it is told. A
 * message below in/echo/ it publishes again as out/…, at its QoS; it acknowledges the one when the
 * other was taken over. Below in/keep/ it acknowledges nothing until it is told to.
 *
 *     NAME open [forget] [brief] [max N] [will TOPIC]
 *                                    opens it: N unacknowledged at most; brief: without a session
 *                                    that stays
 *     NAME close [end|will]          closes it
 *     NAME sub FILTER QOS, unsub FILTER
 *     NAME ack                       what was kept
 *     NAME flood N [LEVEL]           publishes so many to out/flood/LEVEL, at QoS 1, until AGAIN;
 *                                    says how many
 *     NAME bad                       calls with wrong arguments: what they give
 */
#include <avocet/avocet_admin.h>
#include <avocet/avocet_link.h>
#include <avocet/avocet_runtime.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KEPT = 1000 };

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_link_api *links;
	const avocet_admin_api *admin;
	avocet_link_h link;
	pthread_mutex_t lock;
	uint64_t kept[MOST_KEPT];
	size_t n_kept;
};

__attribute__((format(printf, 2, 3))) static void
say(struct instance *instance, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	instance->host->log(instance->self, AVOCET_LOG_INFO, text, strlen(text));
}

static int
begins(avocet_str text, const char *word)
{
	return text.n >= strlen(word) && memcmp(text.p, word, strlen(word)) == 0;
}

static void
on_ready(void *inst, avocet_link_h link, void *user)
{
	(void)user;
	(void)link;
	say(inst, "link ready");
}

static void
on_opened(void *inst, avocet_link_h link, void *user, uint32_t present)
{
	(void)user;
	(void)link;
	say(inst, "link opened %u", present);
}

static void
on_message(void *inst, avocet_link_h link, void *user, const avocet_msg *message, uint64_t delivery)
{
	struct instance *instance = inst;
	char topic[256];

	(void)user;
	say(instance, "link message %.*s %.*s qos=%u%s%s props=%zu by=%.*s", (int)message->topic.n,
	    message->topic.p, (int)(message->payload.n < 40 ? message->payload.n : 40),
	    (const char *)message->payload.p, message->qos,
	    (message->flags & AVOCET_MSG_RETAIN) != 0 ? " retain" : "",
	    (message->flags & AVOCET_MSG_DUP) != 0 ? " dup" : "", message->props.n,
	    (int)message->origin_client_id.n, message->origin_client_id.p);
	if (begins(message->topic, "in/echo/")) {
		avocet_publish again = {AVOCET_SIZED(avocet_publish), .payload = message->payload,
		    .qos = message->qos, .props = message->props};

		(void)snprintf(topic, sizeof(topic), "out/%.*s", (int)message->topic.n - 8,
		    message->topic.p + 8);
		again.topic = avocet_str_of(topic);
		if (instance->links->publish(instance->self, link, &again, delivery) != AVOCET_OK) {
			say(instance, "link cannot publish");
		}
	} else if (begins(message->topic, "in/keep/")) {
		(void)pthread_mutex_lock(&instance->lock);
		if (instance->n_kept < MOST_KEPT) {
			instance->kept[instance->n_kept++] = delivery;
		}
		(void)pthread_mutex_unlock(&instance->lock);
	} else if (message->qos != 0) {
		(void)instance->links->ack(instance->self, link, delivery, 0);
	}
}

static void
on_published(void *inst, avocet_link_h link, void *user, uint64_t cookie, uint32_t reason)
{
	struct instance *instance = inst;

	(void)user;
	say(instance, "link published 0x%02x", reason);
	if (cookie != 0) {
		(void)instance->links->ack(instance->self, link, cookie, 0);
	}
}

static void
on_writable(void *inst, avocet_link_h link, void *user)
{
	(void)user;
	(void)link;
	say(inst, "link writable");
}

static void
on_subscribed(
    void *inst, avocet_link_h link, void *user, uint64_t cookie, const uint8_t *reasons, size_t n)
{
	(void)user;
	(void)link;
	say(inst, "link subscribed %llu: 0x%02x of %zu", (unsigned long long)cookie, reasons[0], n);
}

static void
on_closed(void *inst, avocet_link_h link, void *user, uint32_t reason)
{
	(void)user;
	(void)link;
	say(inst, "link closed 0x%02x", reason);
}

static const avocet_link_events events = {
    AVOCET_SIZED(avocet_link_events),
    .ready = on_ready,
    .opened = on_opened,
    .message = on_message,
    .published = on_published,
    .writable = on_writable,
    .subscribed = on_subscribed,
    .closed = on_closed,
};

static int
is(avocet_str text, const char *word)
{
	return text.n == strlen(word) && memcmp(text.p, word, text.n) == 0;
}

static long
number_of(avocet_str text)
{
	char number[24];

	(void)snprintf(number, sizeof(number), "%.*s", (int)text.n, text.p);
	return strtol(number, NULL, 10);
}

static int32_t
open_link(struct instance *instance, const avocet_admin_in *in)
{
	avocet_link_sub sub = {
	    .filter = avocet_str_of("in/#"), .qos = 2, .options = AVOCET_SUB_NO_LOCAL};
	avocet_link_opts opts = {AVOCET_SIZED(avocet_link_opts), .name = avocet_str_of("tap"),
	    .subs = &sub, .n_subs = 1, .sub_size = sizeof(sub), .session_expiry_s = 1000,
	    .worker = AVOCET_ANY_WORKER};
	avocet_publish will = {
	    AVOCET_SIZED(avocet_publish), .payload = {(const uint8_t *)"gone", 4}, .qos = 1};
	avocet_error error = {0};
	int32_t status;

	for (size_t i = 0; i < in->n_args; i++) {
		if (is(in->args[i], "forget")) {
			opts.flags |= AVOCET_LINK_FORGET;
		} else if (is(in->args[i], "brief")) {
			opts.session_expiry_s = 0;
		} else if (is(in->args[i], "max") && i + 1 < in->n_args) {
			opts.receive_max = (uint32_t)number_of(in->args[i + 1]);
		} else if (is(in->args[i], "will") && i + 1 < in->n_args) {
			will.topic = in->args[i + 1];
			opts.will = &will;
		}
	}
	status =
	    instance->links->open(instance->self, &opts, &events, NULL, &instance->link, &error);
	if (status != AVOCET_OK) {
		say(instance, "link refused %d %s", status, error.text);
	}
	return status;
}

static long
flood(struct instance *instance, long count, avocet_str level)
{
	char topic[128];
	avocet_publish message = {
	    AVOCET_SIZED(avocet_publish), .payload = {(const uint8_t *)"x", 1}, .qos = 1};

	(void)snprintf(topic, sizeof(topic), "out/flood/%.*s", (int)level.n, level.p);
	message.topic = avocet_str_of(topic);
	for (long i = 0; i < count; i++) {
		if (instance->links->publish(instance->self, instance->link, &message, 0) !=
		    AVOCET_OK) {
			return i;
		}
	}
	return count;
}

static long
bad_calls(struct instance *instance)
{
	avocet_link_sub wrong = {.filter = avocet_str_of("a/#/b"), .qos = 1};
	avocet_link_opts opts = {AVOCET_SIZED(avocet_link_opts), .name = avocet_str_of("a/b"),
	    .worker = AVOCET_ANY_WORKER};
	avocet_publish message = {
	    AVOCET_SIZED(avocet_publish), .topic = avocet_str_of("$SYS/x"), .qos = 1};
	const avocet_link_api *links = instance->links;
	avocet_link_h none;

	say(instance, "bad %d %d %d %d %d %d",
	    links->open(instance->self, &opts, &events, NULL, &none, NULL),
	    links->close(instance->self, 12345, 0),
	    links->subscribe(instance->self, instance->link, &wrong, 1, sizeof(wrong), 0),
	    links->publish(instance->self, instance->link, &message, 0),
	    links->ack(instance->self, instance->link, 1, 999),
	    links->subscribe(instance->self, instance->link, &wrong, 0, sizeof(wrong), 0));
	(void)links->ack(instance->self, instance->link, UINT64_MAX, 0);
	(void)links->ack(instance->self, instance->link, 77, 0);
	(void)links->auth_reply(instance->self, instance->link, 0, (avocet_bytes){NULL, 0});
	return 0;
}

static void
ack_kept(struct instance *instance)
{
	(void)pthread_mutex_lock(&instance->lock);
	for (size_t i = 0; i < instance->n_kept; i++) {
		(void)instance->links->ack(instance->self, instance->link, instance->kept[i], 0);
	}
	instance->n_kept = 0;
	(void)pthread_mutex_unlock(&instance->lock);
}

static void
on_command(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	struct instance *instance = inst;
	const char *what = arg;
	char text[64];
	long result = 0;

	if (strcmp(what, "open") == 0) {
		result = open_link(instance, in);
	} else if (strcmp(what, "close") == 0) {
		result = instance->links->close(instance->self, instance->link,
		    in->n_args == 0           ? 0
		    : is(in->args[0], "will") ? AVOCET_LINK_WILL
					      : AVOCET_LINK_END);
	} else if (strcmp(what, "sub") == 0) {
		avocet_link_sub sub = {
		    .filter = in->args[0], .qos = (uint32_t)number_of(in->args[1])};

		result = instance->links->subscribe(
		    instance->self, instance->link, &sub, 1, sizeof(sub), 7);
	} else if (strcmp(what, "unsub") == 0) {
		result = instance->links->unsubscribe(instance->self, instance->link, in->args, 1);
	} else if (strcmp(what, "flood") == 0) {
		result = flood(instance, number_of(in->args[0]),
		    in->n_args > 1 ? in->args[1] : avocet_str_of("x"));
	} else if (strcmp(what, "bad") == 0) {
		result = bad_calls(instance);
	} else {
		ack_kept(instance);
	}
	(void)snprintf(text, sizeof(text), "gave %ld\n", result);
	(void)instance->admin->print(instance->self, req, text, strlen(text));
	(void)instance->admin->end(instance->self, req, 0, NULL);
}

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err)
{
	struct instance *instance = calloc(1, sizeof(*instance));

	(void)err;
	if (instance == NULL) {
		return AVOCET_E_NOMEM;
	}
	instance->host = host;
	instance->self = self;
	instance->links = host->query(self, AVOCET_HOST_LINK);
	instance->admin = host->query(self, AVOCET_HOST_ADMIN);
	(void)pthread_mutex_init(&instance->lock, NULL);
	*inst_out = instance;
	return AVOCET_OK;
}

static void
destroy(void *inst)
{
	struct instance *instance = inst;

	(void)pthread_mutex_destroy(&instance->lock);
	free(instance);
}

static int32_t
prepare(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err)
{
	(void)inst;
	(void)conf;
	(void)err;
	*next_out = NULL;
	return AVOCET_OK;
}

static void
commit(void *inst, void *next, void **old_out)
{
	(void)inst;
	(void)next;
	*old_out = NULL;
}

static int32_t
start(void *inst, avocet_error *err)
{
	static const char *const commands[] = {
	    "open", "close", "sub", "unsub", "ack", "flood", "bad"};
	struct instance *instance = inst;
	avocet_admin_in none = {AVOCET_SIZED(avocet_admin_in)};

	(void)err;
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		(void)instance->admin->command(instance->self, commands[i], "", "of the tests",
		    on_command, (void *)(uintptr_t)commands[i]);
	}
	return open_link(instance, &none);
}

static const avocet_lifecycle lifecycle = {
    AVOCET_SIZED(avocet_lifecycle),
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .commit = commit,
    .start = start,
};

static const char *const needs[] = {AVOCET_HOST_LINK, AVOCET_HOST_ADMIN, NULL};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {
    .magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .abi_minor_needed = 3,
    .name = "links",
    .version = "1",
    .summary = "of the tests",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .needs = needs,
    .conf_item_size = sizeof(avocet_conf_item),
};
