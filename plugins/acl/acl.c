/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may publish, subscribe and receive what, by rules from a file. The table of rules is
 * immutable; calls on any worker read it through one atomic pointer, and the host says when an old
 * one may go. When the file has changed the instance asks the host to prepare it anew, as a reload
 * does, and to ask again for live subscriptions.
 */
#include "acl.h"

#include <avocet/avocet_admin.h>
#include <avocet/avocet_auth.h>
#include <avocet/avocet_metrics.h>
#include <avocet/avocet_runtime.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "read.h"

enum { MAX_PATH = 4096, MAX_WHY = 512, MAX_SHOWN = 256, KEEP_MS = 600000 };
#define SECOND_NS 1000000000LL

/* A configuration, and what was read for it. */
struct state {
	char path[MAX_PATH];
	struct acl_rules *rules;
	struct stat status; /* of the file that was read */
	int64_t check_ns;
	uint32_t max_lines; /* of denials, per second */
	bool defers;        /* no_match */
};

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_conf_api *conf;
	const avocet_auth_api *auth;
	const avocet_runtime_api *runtime;
	const avocet_admin_api *admin;     /* NULL: likewise */
	const avocet_metrics_api *metrics; /* NULL: this host has none */
	avocet_metric_h denied[3];         /* publications, subscriptions, deliveries */
	struct state *_Atomic state;
	struct stat seen; /* of a file that could not be read: it is not tried twice */
	avocet_timer_h timer;
	bool has_timer;
	bool has_started;

	/* Lines of denials: the second that is counted, and how many it had. */
	_Atomic int64_t second;
	_Atomic uint32_t lines, unsaid;
};

static void __attribute__((format(printf, 3, 4)))
say(struct instance *instance, int32_t level, const char *format, ...)
{
	char text[MAX_PATH + MAX_WHY];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n > 0) {
		instance->host->log(instance->self, level, text,
		    (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
	}
}

/* --- questions --- */

/* May a line be said now? At most so many per second, of all workers. */
static bool
may_say(struct instance *instance, uint32_t max)
{
	int64_t now = instance->runtime->now_ns() / SECOND_NS;
	int64_t second = atomic_load_explicit(&instance->second, memory_order_relaxed);
	uint32_t unsaid;

	if (second != now && atomic_compare_exchange_strong(&instance->second, &second, now)) {
		atomic_store(&instance->lines, 0);
		unsaid = atomic_exchange(&instance->unsaid, 0);
		if (unsaid != 0) {
			say(instance, AVOCET_LOG_INFO, "%u more denials were not told", unsaid);
		}
	}
	if (atomic_fetch_add_explicit(&instance->lines, 1, memory_order_relaxed) < max) {
		return true;
	}
	atomic_fetch_add_explicit(&instance->unsaid, 1, memory_order_relaxed);
	return false;
}

static void
tell_denial(struct instance *instance, const struct state *state, const avocet_client_info *client,
    const char *verb, avocet_str topic, const struct acl_ruling *ruling)
{
	char by[MAX_PATH + 32];

	if (!may_say(instance, state->max_lines)) {
		return;
	}
	if (ruling->is_decided) {
		(void)snprintf(by, sizeof(by), "by %s:%u", state->path, ruling->line);
	} else {
		(void)snprintf(by, sizeof(by), "since no rule of %s allows it", state->path);
	}
	say(instance, verb[0] == 'r' ? AVOCET_LOG_DEBUG : AVOCET_LOG_INFO,
	    "may not %s \"%.*s\" %s: client_id=\"%.*s\" user=\"%.*s\" address=%.*s:%u", verb,
	    (int)(topic.n < MAX_SHOWN ? topic.n : MAX_SHOWN), topic.p, by,
	    (int)(client->client_id.n < MAX_SHOWN ? client->client_id.n : MAX_SHOWN),
	    client->client_id.p,
	    (int)(client->username.n < MAX_SHOWN ? client->username.n : MAX_SHOWN),
	    client->username.p, (int)client->peer_addr.n, client->peer_addr.p, client->peer_port);
}

static struct acl_who
who_of(const avocet_client_info *client)
{
	return (struct acl_who){.user = {client->username.p, client->username.n},
	    .client_id = {client->client_id.p, client->client_id.n},
	    .address = {client->peer_addr.p, client->peer_addr.n}};
}

static int32_t
ask(struct instance *instance, const avocet_client_info *client, unsigned action, const char *verb,
    avocet_str topic)
{
	const struct state *state = atomic_load_explicit(&instance->state, memory_order_acquire);
	struct acl_who who = who_of(client);
	struct acl_ruling ruling =
	    acl_rules_ask(state->rules, &who, action, (struct acl_text){topic.p, topic.n});

	if (ruling.is_decided && !ruling.is_deny) {
		return AVOCET_ACCEPT;
	}
	if (!ruling.is_decided && state->defers) {
		return AVOCET_DEFER;
	}
	if (instance->metrics != NULL) {
		(void)instance->metrics->update(instance->self,
		    instance->denied[action == ACL_PUBLISH     ? 0
				     : action == ACL_SUBSCRIBE ? 1
							       : 2],
		    1);
	}
	tell_denial(instance, state, client, verb, topic, &ruling);
	return AVOCET_DENY;
}

/* A yes is remembered by the host. A no is not: each is told. */
static int32_t
authorize(void *inst, avocet_req_h req, const avocet_authz_in *in, avocet_grant *grants)
{
	bool subscribes = in->action == AVOCET_DO_SUBSCRIBE;

	(void)req;
	for (uint32_t i = 0; i < in->n_items; i++) {
		const avocet_access *item =
		    (const void *)((const char *)in->items + (size_t)i * in->item_size);

		grants[i].verdict = ask(inst, in->client, subscribes ? ACL_SUBSCRIBE : ACL_PUBLISH,
		    subscribes ? "subscribe to" : "publish to", item->topic);
		if (grants[i].verdict == AVOCET_ACCEPT) {
			grants[i].cache = AVOCET_CACHE_TOPIC;
			grants[i].cache_ms = KEEP_MS;
		}
	}
	return AVOCET_PASS;
}

static int32_t
may_receive(void *inst, const avocet_client_info *client, avocet_str topic)
{
	return ask(inst, client, ACL_RECEIVE, "receive", topic);
}

/* --- the file --- */

static bool
has_changed(const struct stat *old, const struct stat *new)
{
	return old->st_ino != new->st_ino || old->st_dev != new->st_dev ||
	       old->st_size != new->st_size || old->st_mtim.tv_sec != new->st_mtim.tv_sec ||
	       old->st_mtim.tv_nsec != new->st_mtim.tv_nsec;
}

/* Main, every check_interval. */
static void
look(void *inst, void *arg)
{
	struct instance *instance = inst;
	struct state *state = atomic_load(&instance->state);
	avocet_error err = {0};
	struct stat now;

	(void)arg;
	if (stat(state->path, &now) != 0 || !has_changed(&state->status, &now) ||
	    !has_changed(&instance->seen, &now)) {
		return;
	}
	if (instance->runtime->renew(instance->self, &err) == AVOCET_OK) {
		state = atomic_load(&instance->state);
		say(instance, AVOCET_LOG_INFO, "the rules have changed: %s has %zu", state->path,
		    acl_rules_count(state->rules));
		(void)instance->auth->authz_flush(instance->self, AVOCET_RECHECK_SUBS);
	} else {
		instance->seen = now;
		say(instance, AVOCET_LOG_ERROR, "the rules have changed, and stay unread: %s",
		    err.text);
	}
}

/* --- life --- */

static void
add_metrics(struct instance *instance)
{
	static const char *const actions[] = {"publish", "subscribe", "receive"};

	for (size_t i = 0; instance->metrics != NULL && i < 3; i++) {
		avocet_pair label = {avocet_str_of("action"), avocet_str_of(actions[i])};

		(void)instance->metrics->add(instance->self, AVOCET_METRIC_COUNTER, "denied_total",
		    "what the rules did not allow", &label, 1, &instance->denied[i]);
	}
}

/* --- commands --- */

static void
on_status(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	struct instance *instance = inst;
	const struct state *state = atomic_load(&instance->state);
	char text[MAX_PATH + 128];
	int n = snprintf(text, sizeof(text), "%s: %zu rules%s\n", state->path,
	    acl_rules_count(state->rules),
	    acl_rules_judge_receive(state->rules) ? "; each delivery is judged" : "");

	(void)arg;
	if ((in->flags & AVOCET_ADMIN_JSON) != 0) {
		n = snprintf(text, sizeof(text), "{\"rules\":%zu,\"judges_receive\":%s}\n",
		    acl_rules_count(state->rules),
		    acl_rules_judge_receive(state->rules) ? "true" : "false");
	}
	(void)instance->admin->print(
	    instance->self, req, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
	(void)instance->admin->end(instance->self, req, 0, NULL);
}

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
	instance->auth = host->query(self, AVOCET_HOST_AUTH);
	instance->runtime = host->query(self, AVOCET_HOST_RUNTIME);
	instance->metrics = host->query(self, AVOCET_HOST_METRICS);
	add_metrics(instance);
	instance->admin = host->query(self, AVOCET_HOST_ADMIN);
	if (instance->admin != NULL) {
		(void)instance->admin->command(self, "status", "",
		    "the rules that are in force, and how many", on_status, NULL);
	}
	*inst_out = instance;
	return AVOCET_OK;
}

static void
free_state(void *inst, void *memory)
{
	struct state *state = memory;

	(void)inst;
	if (state != NULL) {
		acl_rules_free(state->rules);
		free(state);
	}
}

static void
destroy(void *inst)
{
	struct instance *instance = inst;

	free_state(inst, atomic_load(&instance->state));
	free(instance);
}

static int64_t
number(const struct instance *instance, const avocet_conf *conf, const char *path)
{
	int64_t value = 0;

	(void)instance->conf->num(conf, path, &value);
	return value;
}

static int32_t
prepare(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err)
{
	struct instance *instance = inst;
	struct state *state = calloc(1, sizeof(*state));
	char why[MAX_PATH + MAX_WHY] = "";
	avocet_str path = {0};

	if (state == NULL) {
		(void)snprintf(err->text, sizeof(err->text), "no memory");
		return AVOCET_E_NOMEM;
	}
	(void)instance->conf->str(conf, "file", &path);
	(void)snprintf(state->path, sizeof(state->path), "%.*s", (int)path.n, path.p);
	state->check_ns = number(instance, conf, "check_interval");
	state->max_lines = (uint32_t)number(instance, conf, "denials_logged");
	state->defers = number(instance, conf, "no_match") == 1;
	/* Before it is read: what changes meanwhile is noticed. */
	if (stat(state->path, &state->status) != 0) {
		memset(&state->status, 0, sizeof(state->status));
	}
	state->rules = acl_read(
	    state->path, (enum acl_format)number(instance, conf, "format"), why, sizeof(why));
	if (state->rules == NULL) {
		(void)snprintf(err->text, sizeof(err->text), "%.240s", why);
		free_state(inst, state);
		return AVOCET_E_CONFIG;
	}
	(void)instance->auth->set_actions(
	    instance->self, AVOCET_DO_PUBLISH | AVOCET_DO_SUBSCRIBE | AVOCET_DO_WILL |
				(acl_rules_judge_receive(state->rules) ? AVOCET_DO_RECEIVE : 0));
	*next_out = state;
	return AVOCET_OK;
}

static void
set_timer(struct instance *instance)
{
	int64_t period_ns = atomic_load(&instance->state)->check_ns;

	if (instance->has_timer) {
		(void)instance->runtime->timer_del(instance->self, instance->timer);
	}
	instance->has_timer =
	    period_ns > 0 && instance->runtime->timer_add(instance->self, period_ns, period_ns,
				 look, NULL, &instance->timer) == AVOCET_OK;
}

static void
commit(void *inst, void *next, void **old_out)
{
	struct instance *instance = inst;
	struct state *old = atomic_load(&instance->state), *state = next;
	bool has_new_period = old != NULL && old->check_ns != state->check_ns;

	atomic_store_explicit(&instance->state, state, memory_order_release);
	*old_out = old;
	if (instance->has_started && has_new_period) {
		set_timer(instance);
	}
}

static int32_t
start(void *inst, avocet_error *err)
{
	struct instance *instance = inst;

	(void)err;
	instance->has_started = true;
	set_timer(instance);
	return AVOCET_OK;
}

static const avocet_lifecycle lifecycle = {
    AVOCET_SIZED(avocet_lifecycle),
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .commit = commit,
    .abort = free_state,
    .retire = free_state,
    .start = start,
};

/* --- descriptor --- */

static const avocet_authorizer authorizer = {
    AVOCET_SIZED(avocet_authorizer),
    .exec = AVOCET_EXEC_INLINE,
    .actions = AVOCET_DO_PUBLISH | AVOCET_DO_SUBSCRIBE | AVOCET_DO_WILL | AVOCET_DO_RECEIVE,
    .authorize = authorize,
    .may_receive = may_receive,
};
static const avocet_service authorizer_service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHORIZER, .vtable = &authorizer};
static const avocet_service tool_service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_TOOL, .vtable = &acl_tool};
static const avocet_service *const services[] = {&authorizer_service, &tool_service, NULL};

static const char *const needs[] = {AVOCET_HOST_CONF, AVOCET_HOST_AUTH, AVOCET_HOST_RUNTIME, NULL};

#define RELOAD AVOCET_CONF_RELOADABLE
static const avocet_conf_item items[] = {
    {"file", AVOCET_CONF_PATH, AVOCET_CONF_REQUIRED | RELOAD, NULL, NULL,
	"the rules; see avocet-acl(8)", NULL, 0, 0},
    {"format", AVOCET_CONF_ENUM, RELOAD, "auto", "auto|yaml|aclfile",
	"aclfile is Mosquitto's; auto: by the first line that says something", NULL, 0, 0},
    {"no_match", AVOCET_CONF_ENUM, RELOAD, "deny", "deny|defer",
	"what it means that no rule applies; defer: the next member of the chain is asked", NULL, 0,
	0},
    {"check_interval", AVOCET_CONF_DURATION, RELOAD, "500ms", "0..1h",
	"how often the file is looked at for changes; 0 = on reload only", NULL, 0, 0},
    {"denials_logged", AVOCET_CONF_INT, RELOAD, "20", "0..100000",
	"at most so many lines about denials per second; the rest is counted", NULL, 0, 0},
};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {
    .magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .abi_minor_needed = 0,
    .name = "acl",
    .version = PACKAGE_VERSION,
    .summary = "access rules from acl.yaml or Mosquitto's aclfile",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .services = services,
    .needs = needs,
    .conf = items,
    .n_conf = sizeof(items) / sizeof(*items),
    .conf_item_size = sizeof(*items),
};
