/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interceptor that obeys words in topics and filters: a level "i=VERB" for what comes in,
 * "o=VERB" for what goes out to receivers whose client id begins with "out", "f=VERB" for filters.
 * -DEXEC chooses how it runs. As an authorizer it says yes and logs what it is shown.
 *
 *     drop reject disconnect error bogus   answer so
 *     topic    puts it below "new/"; of a filter likewise
 *     bad      tries what must be refused, and logs what it was told
 *     stamp    adds the user property by:edits
 *     prop     sets the content type to "edited"; unprop deletes it
 *     expiry   lets it expire 100 s from now; stale deletes the expiry
 *     payload  "edited"
 *     retain   sets the flag; forget deletes it
 *     qos      of a filter: at most 0
 *     escape   of a filter: tries one outside the mount point
 *     bare     of a filter: tries the mount point itself
 *     slow     of a filter: takes 300 ms
 */
#include <avocet/avocet_auth.h>
#include <avocet/avocet_message.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef EXEC
#define EXEC AVOCET_EXEC_WORKER
#endif

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_message_api *message;
};

static void
say(const struct instance *instance, const char *what, avocet_str text, long number)
{
	char line[300];
	int n = snprintf(line, sizeof(line), "%s %.*s %ld", what, (int)text.n, text.p, number);

	instance->host->log(instance->self, AVOCET_LOG_INFO, line, (size_t)n);
}

/* The verb of a level that begins with this letter; NULL: there is none. */
static const char *
verb_of(avocet_str text, char letter, char *out, size_t size)
{
	for (size_t i = 0; i + 2 < text.n; i++) {
		if ((i == 0 || text.p[i - 1] == '/') && text.p[i] == letter &&
		    text.p[i + 1] == '=') {
			size_t n = 0;

			for (i += 2; i < text.n && text.p[i] != '/' && n + 1 < size; i++) {
				out[n++] = text.p[i];
			}
			out[n] = '\0';
			return out;
		}
	}
	return NULL;
}

static int32_t
edit_message(
    const struct instance *instance, const char *verb, const avocet_msg *msg, avocet_edit *edit)
{
	const avocet_message_api *message = instance->message;
	avocet_prop type = {.id = 3, .kind = AVOCET_PROP_STR, .a = {(const uint8_t *)"edited", 6}};
	char text[200];

	if (strcmp(verb, "drop") == 0) {
		return AVOCET_DROP;
	} else if (strcmp(verb, "reject") == 0) {
		return AVOCET_REJECT;
	} else if (strcmp(verb, "disconnect") == 0) {
		return AVOCET_DISCONNECT;
	} else if (strcmp(verb, "error") == 0) {
		return AVOCET_ERROR;
	} else if (strcmp(verb, "bogus") == 0) {
		return 77;
	} else if (strcmp(verb, "topic") == 0) {
		int n = snprintf(text, sizeof(text), "new/%.*s", (int)msg->topic.n, msg->topic.p);

		(void)message->set_topic(edit, (avocet_str){text, (size_t)n});
	} else if (strcmp(verb, "stamp") == 0) {
		(void)message->add_user_prop(edit, avocet_str_of("by"), avocet_str_of("edits"));
	} else if (strcmp(verb, "prop") == 0) {
		(void)message->set_prop(edit, &type);
	} else if (strcmp(verb, "unprop") == 0) {
		say(instance, "del_prop gave", msg->topic, message->del_prop(edit, 3));
	} else if (strcmp(verb, "expiry") == 0) {
		(void)message->set_expiry(edit, 100);
		(void)message->add_user_prop(edit, avocet_str_of("by"), avocet_str_of("edits"));
	} else if (strcmp(verb, "stale") == 0) {
		(void)message->set_expiry(edit, 0);
	} else if (strcmp(verb, "payload") == 0) {
		(void)message->set_payload(edit, "edited", 6);
	} else if (strcmp(verb, "retain") == 0 || strcmp(verb, "forget") == 0) {
		(void)message->set_retain(edit, verb[0] == 'r');
	} else if (strcmp(verb, "bad") == 0) {
		avocet_prop alias = {.id = 35, .kind = AVOCET_PROP_NUM, .num = 1};
		avocet_prop format = {.id = 1, .kind = AVOCET_PROP_NUM, .num = 256};
		avocet_prop no_text = {.id = 3, .a = {(const uint8_t *)"\xff", 1}};

		say(instance, "bad", avocet_str_of("topic"),
		    message->set_topic(edit, avocet_str_of("a/#")));
		say(instance, "bad", avocet_str_of("alias"), message->set_prop(edit, &alias));
		say(instance, "bad", avocet_str_of("format"), message->set_prop(edit, &format));
		say(instance, "bad", avocet_str_of("text"), message->set_prop(edit, &no_text));
		say(instance, "bad", avocet_str_of("qos"), message->set_qos(edit, 0));
		say(instance, "bad", avocet_str_of("del"), message->del_prop(edit, 2));
	}
	return AVOCET_PASS;
}

static int32_t
publish(void *inst, avocet_req_h req, uint32_t point, const avocet_msg *msg,
    const avocet_client_info *who, avocet_edit *edit)
{
	char word[32];
	const char *verb = verb_of(msg->topic, 'i', word, sizeof(word));

	(void)req;
	(void)point;
	(void)who;
	return verb != NULL ? edit_message(inst, verb, msg, edit) : AVOCET_PASS;
}

static int32_t
publish_out(
    void *inst, const avocet_msg *msg, const avocet_client_info *receiver, avocet_edit *edit)
{
	char word[32];
	const char *verb = verb_of(msg->topic, 'o', word, sizeof(word));

	if (verb == NULL || receiver->client_id.n < 3 ||
	    memcmp(receiver->client_id.p, "out", 3) != 0) {
		return AVOCET_PASS;
	}
	say(inst, "out", msg->topic, (long)msg->qos);
	return edit_message(inst, verb, msg, edit);
}

static int32_t
subscribe(void *inst, avocet_req_h req, uint32_t point, const avocet_sub *sub,
    const avocet_client_info *who, avocet_edit *edit)
{
	const struct instance *instance = inst;
	const avocet_message_api *message = instance->message;
	char word[32], text[200];
	const char *verb = verb_of(sub->filter, 'f', word, sizeof(word));

	(void)req;
	(void)who;
	say(inst, point == AVOCET_AT_SUB ? "sub" : "unsub", sub->filter,
	    (long)(sub->qos | sub->options));
	if (sub->share.n != 0) {
		say(inst, "share", sub->share, (long)sub->sub_id);
	}
	if (verb == NULL) {
		return AVOCET_PASS;
	}
	if (strcmp(verb, "topic") == 0) {
		/* Behind the mount point, which ends with the first slash, if there is one. */
		size_t at =
		    who->listener.n == 5 && memcmp(who->listener.p, "mount", 5) == 0 ? 2 : 0;
		int n = snprintf(text, sizeof(text), "%.*snew/%.*s", (int)at, sub->filter.p,
		    (int)(sub->filter.n - at), sub->filter.p + at);

		(void)message->set_topic(edit, (avocet_str){text, (size_t)n});
	} else if (strcmp(verb, "qos") == 0) {
		(void)message->set_qos(edit, 0);
	} else if (strcmp(verb, "bare") == 0) {
		say(inst, "bare", avocet_str_of("gave"),
		    message->set_topic(edit, (avocet_str){sub->filter.p, 2}));
	} else if (strcmp(verb, "slow") == 0) {
		(void)nanosleep(&(struct timespec){0, 300000000}, NULL);
	} else if (strcmp(verb, "escape") == 0) {
		say(inst, "escape", avocet_str_of("gave"),
		    message->set_topic(edit, avocet_str_of("elsewhere/#")));
	} else if (strcmp(verb, "bad") == 0) {
		say(inst, "bad", avocet_str_of("filter"),
		    message->set_topic(edit, avocet_str_of("a/#/b")));
		say(inst, "bad", avocet_str_of("higher"), message->set_qos(edit, 3));
		say(inst, "bad", avocet_str_of("payload"), message->set_payload(edit, "x", 1));
	} else if (strcmp(verb, "reject") == 0) {
		(void)message->set_reason(edit, 0x97);
		return AVOCET_REJECT;
	} else if (strcmp(verb, "disconnect") == 0) {
		return AVOCET_DISCONNECT;
	} else if (strcmp(verb, "error") == 0) {
		return AVOCET_ERROR;
	} else if (strcmp(verb, "drop") == 0) {
		return AVOCET_DROP;
	}
	return AVOCET_PASS;
}

static int32_t
authorize(void *inst, avocet_req_h req, const avocet_authz_in *in, avocet_grant *grants)
{
	(void)req;
	(void)grants;
	for (uint32_t i = 0; i < in->n_items; i++) {
		const avocet_access *item =
		    (const void *)((const char *)in->items + (size_t)i * in->item_size);

		say(inst, "may", item->topic, (long)in->action);
		say(inst, "was", item->topic_received, (long)in->action);
	}
	return AVOCET_ACCEPT;
}

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst, avocet_error *err)
{
	struct instance *instance = calloc(1, sizeof(*instance));

	(void)err;
	instance->host = host;
	instance->self = self;
	instance->message = host->query(self, AVOCET_HOST_MESSAGE);
	*inst = instance;
	return AVOCET_OK;
}

static void
destroy(void *inst)
{
	free(inst);
}

static int32_t
prepare(void *inst, const avocet_conf *conf, void **next, avocet_error *err)
{
	(void)inst;
	(void)conf;
	(void)err;
	*next = NULL;
	return AVOCET_OK;
}

static void
commit(void *inst, void *next, void **old)
{
	(void)inst;
	(void)next;
	*old = NULL;
}

static const avocet_interceptor interceptor = {AVOCET_SIZED(avocet_interceptor), .exec = EXEC,
    .points = AVOCET_AT_IN | AVOCET_AT_OUT | AVOCET_AT_SUB | AVOCET_AT_UNSUB, .publish = publish,
    .publish_out = publish_out, .subscribe = subscribe};
static const avocet_authorizer authorizer = {AVOCET_SIZED(avocet_authorizer),
    .exec = AVOCET_EXEC_WORKER, .actions = AVOCET_DO_PUBLISH | AVOCET_DO_SUBSCRIBE,
    .authorize = authorize};
static const avocet_service intercept = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_INTERCEPTOR, .vtable = &interceptor};
static const avocet_service authz = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHORIZER, .vtable = &authorizer};
static const avocet_service *const services[] = {&intercept, &authz, NULL};
static const avocet_lifecycle lifecycle = {AVOCET_SIZED(avocet_lifecycle), .create = create,
    .destroy = destroy, .prepare = prepare, .commit = commit};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {.magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .name = "edits",
    .version = "1",
    .summary = "changes messages and filters",
    .license = "Apache-2.0",
    .url = "",
    .lifecycle = &lifecycle,
    .services = services};
