/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin that acts unasked, at an operator's command, and one that observes: it logs each event
 * as `NAME CLIENT TOPIC-OR-FILTER reason=N qos=N by=N[NAME] TEXT`. -DEXEC chooses how it observes,
 * -DEVENTS what. Events whose topic or filter holds "slow" take 50 ms.
 *
 *     NAME say TOPIC PAYLOAD [retain|qos1|qos2|expiry|props|badprops]...
 *     NAME kick CLIENT-ID [REASON TEXT]
 *     NAME jobs N MS      so many jobs, that take so long
 *     NAME put KEY VALUE, get KEY, del KEY, scan PREFIX, many N
 */
#include <avocet/avocet_admin.h>
#include <avocet/avocet_auth.h>
#include <avocet/avocet_kv.h>
#include <avocet/avocet_observer.h>
#include <avocet/avocet_runtime.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef EXEC
#define EXEC AVOCET_EXEC_WORKER
#endif
#ifndef EVENTS
#define EVENTS ~UINT64_C(0)
#endif

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_runtime_api *runtime;
	const avocet_admin_api *admin;
	const avocet_kv_api *kv;
	_Atomic int ran, done;
};

static void
say(struct instance *instance, const char *text)
{
	instance->host->log(instance->self, AVOCET_LOG_INFO, text, strlen(text));
}

static int
is(avocet_str text, const char *word)
{
	return text.n == strlen(word) && memcmp(text.p, word, text.n) == 0;
}

static void
nap(long ms)
{
	(void)nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static long
number_of(avocet_str text)
{
	char number[24];

	(void)snprintf(number, sizeof(number), "%.*s", (int)text.n, text.p);
	return strtol(number, NULL, 0);
}

static void
end(struct instance *instance, avocet_req_h req, const char *what, int32_t status)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%s gave %d\n", what, (int)status);

	(void)instance->admin->print(instance->self, req, line, (size_t)n);
	(void)instance->admin->end(instance->self, req, 0, NULL);
}

/* --- commands --- */

static void
publish(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	static const avocet_prop good[] = {
	    {.id = 3, .kind = AVOCET_PROP_STR, .a = {(const uint8_t *)"text", 4}},
	    {.id = 38,
		.kind = AVOCET_PROP_PAIR,
		.a = {(const uint8_t *)"k", 1},
		.b = {(const uint8_t *)"v", 1}}};
	static const avocet_prop bad[] = {{.id = 35, .kind = AVOCET_PROP_NUM, .num = 1}};
	struct instance *instance = inst;
	avocet_publish message = {AVOCET_SIZED(avocet_publish)};

	(void)arg;
	if (in->n_args >= 2) {
		message.topic = in->args[0];
		message.payload = (avocet_bytes){(const uint8_t *)in->args[1].p, in->args[1].n};
	}
	for (size_t i = 2; i < in->n_args; i++) {
		message.flags |= is(in->args[i], "retain") ? AVOCET_MSG_RETAIN : 0;
		message.qos = is(in->args[i], "qos1")   ? 1
			      : is(in->args[i], "qos2") ? 2
							: message.qos;
		message.expiry_s = is(in->args[i], "expiry") ? 99 : message.expiry_s;
		if (is(in->args[i], "props")) {
			message.props = (avocet_props){good, 2};
		} else if (is(in->args[i], "badprops")) {
			message.props = (avocet_props){bad, 1};
		}
	}
	end(instance, req, "publish", instance->host->publish(instance->self, &message));
}

static void
kick(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	struct instance *instance = inst;
	avocet_str none = {0};

	(void)arg;
	end(instance, req, "kick",
	    instance->host->client_kick(instance->self, 0, in->n_args > 0 ? in->args[0] : none,
		in->n_args > 1 ? (uint32_t)number_of(in->args[1]) : 0,
		in->n_args > 2 ? in->args[2] : none));
}

struct work {
	long ms;
	int ran;
};

static void
run(void *inst, void *arg)
{
	struct instance *instance = inst;
	struct work *work = arg;
	char line[64];

	nap(work->ms);
	work->ran = 1;
	(void)snprintf(line, sizeof(line), "ran %d on thread %u",
	    atomic_fetch_add(&instance->ran, 1) + 1, (unsigned)instance->host->thread(NULL));
	say(instance, line);
}

static void
done(void *inst, void *arg)
{
	struct instance *instance = inst;
	struct work *work = arg;
	char line[64];

	(void)snprintf(line, sizeof(line), "done %d %s on thread %u",
	    atomic_fetch_add(&instance->done, 1) + 1, work->ran ? "run" : "unrun",
	    (unsigned)instance->host->thread(NULL));
	say(instance, line);
	free(work);
}

static void
jobs(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	struct instance *instance = inst;
	long count = in->n_args > 0 ? number_of(in->args[0]) : 1;
	int32_t status = AVOCET_OK;

	(void)arg;
	for (long i = 0; i < count && status == AVOCET_OK; i++) {
		struct work *work = calloc(1, sizeof(*work));

		work->ms = in->n_args > 1 ? number_of(in->args[1]) : 0;
		status = instance->runtime->job(instance->self, run, done, work);
		if (status != AVOCET_OK) {
			free(work);
		}
	}
	end(instance, req, "job", status);
}

/* --- values --- */

struct asked {
	avocet_req_h req;
	long left;
	int lists;
};

static void
on_kv(void *inst, int32_t status, avocet_bytes key, avocet_bytes value, void *arg)
{
	struct instance *instance = inst;
	struct asked *asked = arg;
	char line[400];
	int n = snprintf(line, sizeof(line), "%d %.*s %.*s\n", (int)status, (int)key.n,
	    key.n != 0 ? (const char *)key.p : "", (int)(value.n < 200 ? value.n : 200),
	    value.n != 0 ? (const char *)value.p : "");

	if (asked->left <= 1) {
		(void)instance->admin->print(instance->self, asked->req, line, (size_t)n);
	}
	if (asked->lists && status == AVOCET_OK) {
		return;
	}
	if (--asked->left == 0) {
		(void)instance->admin->end(instance->self, asked->req, 0, NULL);
		free(asked);
	}
}

static void
kv(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	struct instance *instance = inst;
	const char *what = arg;
	struct asked *asked = calloc(1, sizeof(*asked));
	avocet_bytes key = {0}, value = {0};
	int32_t status = AVOCET_OK;

	asked->req = req;
	asked->left = 1;
	asked->lists = strcmp(what, "scan") == 0;
	if (in->n_args > 0) {
		key = (avocet_bytes){(const uint8_t *)in->args[0].p, in->args[0].n};
	}
	if (in->n_args > 1) {
		value = (avocet_bytes){(const uint8_t *)in->args[1].p, in->args[1].n};
	}
	if (strcmp(what, "put") == 0) {
		status = instance->kv->put(instance->self, key, value, on_kv, asked);
	} else if (strcmp(what, "get") == 0) {
		status = instance->kv->get(instance->self, key, on_kv, asked);
	} else if (strcmp(what, "del") == 0) {
		status = instance->kv->del(instance->self, key, on_kv, asked);
	} else if (asked->lists) {
		status = instance->kv->scan(instance->self, key, on_kv, asked);
	} else {
		long count = number_of(in->args[0]), i;

		asked->left = count;
		for (i = 0; i < count && status == AVOCET_OK; i++) {
			static const char filling[1000];
			char name[24];
			int n = snprintf(name, sizeof(name), "many%ld", i % 10);

			status = instance->kv->put(instance->self,
			    (avocet_bytes){(const uint8_t *)name, (size_t)n},
			    (avocet_bytes){(const uint8_t *)filling, sizeof(filling)}, on_kv,
			    asked);
		}
		if (status != AVOCET_OK && i > 1) {
			/* The last answer frees it. */
			asked->left = i - 1;
			end(instance, req, what, status);
			return;
		}
	}
	if (status != AVOCET_OK) {
		end(instance, req, what, status);
		free(asked);
	}
}

/* --- observing --- */

static const char *
name_of(uint64_t what)
{
	static const char *const names[] = {"CONNECTED", "REFUSED", "DISCONNECTED", "TAKEN",
	    "ENDED", "SUBSCRIBED", "UNSUBSCRIBED", "PUBLISHED", "DELIVERED", "DROPPED", "DENIED",
	    "WILL", "RELOADED"};
	size_t at = 0;

	while (at < sizeof(names) / sizeof(names[0]) && what >> at != 1) {
		at++;
	}
	return at < sizeof(names) / sizeof(names[0]) ? names[at] : "UNKNOWN";
}

static void
event(void *inst, const avocet_event *event)
{
	avocet_str topic = event->msg != NULL ? event->msg->topic : event->filter;
	avocet_str client = event->client != NULL ? event->client->client_id : avocet_str_of("-");
	char line[400];

	for (size_t i = 0; i + 4 <= topic.n; i++) {
		if (memcmp(topic.p + i, "slow", 4) == 0) {
			nap(50);
			break;
		}
	}
	(void)snprintf(line, sizeof(line), "%s %.*s %.*s reason=%u qos=%u by=%u%.*s %.*s",
	    name_of(event->what), (int)client.n, client.p, (int)topic.n,
	    topic.n != 0 ? topic.p : "", (unsigned)event->reason, (unsigned)event->qos,
	    (unsigned)event->by, (int)event->by_name.n,
	    event->by_name.n != 0 ? event->by_name.p : "", (int)event->text.n,
	    event->text.n != 0 ? event->text.p : "");
	say(inst, line);
}

static int32_t
authorize(void *inst, avocet_req_h req, const avocet_authz_in *in, avocet_grant *grants)
{
	(void)inst;
	(void)req;
	(void)grants;
	return in->items[0].topic.n >= 6 && memcmp(in->items[0].topic.p, "secret", 6) == 0
		   ? AVOCET_DENY
		   : AVOCET_ACCEPT;
}

/* --- life --- */

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst, avocet_error *err)
{
	struct instance *instance = calloc(1, sizeof(*instance));

	(void)err;
	instance->host = host;
	instance->self = self;
	instance->runtime = host->query(self, AVOCET_HOST_RUNTIME);
	instance->admin = host->query(self, AVOCET_HOST_ADMIN);
	instance->kv = host->query(self, AVOCET_HOST_KV);
	(void)instance->admin->command(self, "put", "KEY VALUE", "keeps it", kv, "put");
	(void)instance->admin->command(self, "get", "KEY", "says it", kv, "get");
	(void)instance->admin->command(self, "del", "KEY", "forgets it", kv, "del");
	(void)instance->admin->command(self, "scan", "PREFIX", "says all", kv, "scan");
	(void)instance->admin->command(self, "many", "N", "many of 10 keys", kv, "many");
	(void)instance->admin->command(self, "say", "TOPIC PAYLOAD", "publishes", publish, NULL);
	(void)instance->admin->command(self, "kick", "CLIENT-ID", "sends away", kick, NULL);
	(void)instance->admin->command(self, "jobs", "N MS", "runs jobs", jobs, NULL);
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

static void
stop(void *inst)
{
	say(inst, "stop");
}

static const avocet_observer observer = {
    AVOCET_SIZED(avocet_observer), .exec = EXEC, .events = EVENTS, .event = event};
static const avocet_authorizer authorizer = {AVOCET_SIZED(avocet_authorizer),
    .exec = AVOCET_EXEC_WORKER, .actions = AVOCET_DO_PUBLISH | AVOCET_DO_SUBSCRIBE | AVOCET_DO_WILL,
    .authorize = authorize};
static const avocet_service observe = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_OBSERVER, .vtable = &observer};
static const avocet_service authz = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHORIZER, .vtable = &authorizer};
static const avocet_service *const services[] = {&observe, &authz, NULL};
static const avocet_lifecycle lifecycle = {AVOCET_SIZED(avocet_lifecycle), .create = create,
    .destroy = destroy, .prepare = prepare, .commit = commit, .stop = stop};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {.magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .name = "acts",
    .version = "1",
    .summary = "acts unasked, and observes",
    .license = "Apache-2.0",
    .url = "",
    .lifecycle = &lifecycle,
    .services = services};
