/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin that does what it is told by the question itself: a user name or a topic has words like
 * NAME=VERB or NAME=VERB:NUMBER, divided by ';' or '/', and the instance that is called NAME obeys.
 * Without a word for it, it defers. -DEXEC chooses how it runs, -DNAMED its name in `plugin info`.
 *
 *     accept deny defer error pass drop reject disconnect  answer so, at once
 *     bogus          gives a verdict that is none
 *     inside-X       answers X by complete() within the call
 *     later-X:MS     answers X from its own thread, after so many milliseconds
 *     twice-X:MS     likewise, and again
 *     sleep-X:MS     sleeps in the call, then answers X
 *     never          never answers, not even when it is cancelled
 *     thread-X       calls a function on a wrong thread, then answers X
 *     topic-X        interceptor: puts a "new/" before the topic; X as above
 *     stamp-X        interceptor: adds a user property, and makes the payload longer
 *     bad-X          interceptor: tries a topic that is none
 *     qos-X          authorizer: X by grants, with at most QoS 1
 *     cover-X        authorizer: X by grants, to be remembered for all of its level and below
 */
#include <avocet/avocet_admin.h>
#include <avocet/avocet_auth.h>
#include <avocet/avocet_message.h>
#include <avocet/avocet_metrics.h>
#include <avocet/avocet_runtime.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef EXEC
#define EXEC AVOCET_EXEC_WORKER
#endif
#ifndef ACTIONS
#define ACTIONS (AVOCET_DO_PUBLISH | AVOCET_DO_SUBSCRIBE | AVOCET_DO_WILL)
#endif

enum service { AUTHN, AUTHZ, INTERCEPT, ADMIN };

struct job {
	struct job *next;
	enum service service;
	avocet_req_h req;
	int32_t verdict;
	int times;
	int64_t due_ns;
};

/* What it is called: immutable, and replaced as a whole. */
struct state {
	char name[64];
};

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_conf_api *conf;
	const avocet_auth_api *auth;
	const avocet_message_api *message;
	const avocet_runtime_api *runtime;
	const avocet_admin_api *admin;
	const avocet_metrics_api *metrics;
	avocet_metric_h counted, level;
	avocet_watch_h watch;
	avocet_req_h pipe_req;
	int pipes[2];
	struct state *_Atomic state;
	char filters[4][64];
	pthread_mutex_t lock;
	pthread_cond_t news;
	struct job *jobs;
	bool is_ending;
};

static void
say(struct instance *instance, const char *text)
{
	instance->host->log(instance->self, AVOCET_LOG_INFO, text, strlen(text));
}

/* --- its own thread --- */

static int64_t
now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int32_t
complete(struct instance *instance, enum service service, avocet_req_h req, int32_t verdict)
{
	switch (service) {
	case AUTHN:
		return instance->auth->auth_complete(instance->self, req, verdict, NULL);
	case ADMIN:
		(void)instance->admin->print(instance->self, req, "late\n", 5);
		return instance->admin->end(instance->self, req, 0, NULL);
	case AUTHZ:
		return instance->auth->authz_complete(instance->self, req, verdict, NULL, 0);
	default:
		return instance->message->complete(instance->self, req, verdict);
	}
}

static void
answer(struct instance *instance, struct job *job)
{
	char text[64];

	for (int i = 0; i < job->times; i++) {
		(void)snprintf(text, sizeof(text), "complete gave %d",
		    (int)complete(instance, job->service, job->req, job->verdict));
		say(instance, text);
	}
	free(job);
}

static void
run(void *inst, void *arg)
{
	struct instance *instance = inst;

	(void)arg;
	(void)pthread_mutex_lock(&instance->lock);
	while (!instance->is_ending || instance->jobs != NULL) {
		struct job **due = NULL;
		struct timespec until;
		int64_t first_ns = now_ns() + 1000000000;

		for (struct job **at = &instance->jobs; *at != NULL; at = &(*at)->next) {
			if ((*at)->due_ns < first_ns) {
				first_ns = (*at)->due_ns;
				due = at;
			}
		}
		if (due != NULL && (first_ns <= now_ns() || instance->is_ending)) {
			struct job *job = *due;

			*due = job->next;
			(void)pthread_mutex_unlock(&instance->lock);
			answer(instance, job);
			(void)pthread_mutex_lock(&instance->lock);
			continue;
		}
		until = (struct timespec){first_ns / 1000000000, first_ns % 1000000000};
		(void)pthread_cond_timedwait(&instance->news, &instance->lock, &until);
	}
	(void)pthread_mutex_unlock(&instance->lock);
}

static void
put(struct instance *instance, enum service service, avocet_req_h req, int32_t verdict, int times,
    long ms)
{
	struct job *job = malloc(sizeof(*job));

	*job = (struct job){.service = service,
	    .req = req,
	    .verdict = verdict,
	    .times = times,
	    .due_ns = now_ns() + ms * 1000000};
	(void)pthread_mutex_lock(&instance->lock);
	job->next = instance->jobs;
	instance->jobs = job;
	(void)pthread_cond_signal(&instance->news);
	(void)pthread_mutex_unlock(&instance->lock);
}

/* --- words --- */

/* What is behind NAME=, up to the next divider; false: nothing. */
static bool
find(const struct instance *instance, avocet_str text, char *out, size_t size)
{
	const char *name = atomic_load(&instance->state)->name;
	size_t len = strlen(name);

	for (size_t i = 0; i + len < text.n; i++) {
		if ((i == 0 || text.p[i - 1] == ';' || text.p[i - 1] == '/') &&
		    memcmp(text.p + i, name, len) == 0 && text.p[i + len] == '=') {
			size_t begin = i + len + 1, n = 0;

			while (begin + n < text.n && n + 1 < size && text.p[begin + n] != ';' &&
			       text.p[begin + n] != '/') {
				out[n] = text.p[begin + n];
				n++;
			}
			out[n] = '\0';
			return true;
		}
	}
	return false;
}

static int32_t
verdict_of(const char *word)
{
	static const struct {
		const char *word;
		int32_t verdict;
	} words[] = {{"accept", AVOCET_ACCEPT}, {"deny", AVOCET_DENY}, {"defer", AVOCET_DEFER},
	    {"error", AVOCET_ERROR}, {"pass", AVOCET_PASS}, {"drop", AVOCET_DROP},
	    {"reject", AVOCET_REJECT}, {"disconnect", AVOCET_DISCONNECT}, {"bogus", 77}};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t len = strlen(words[i].word);

		if (strncmp(word, words[i].word, len) == 0 &&
		    (word[len] == '\0' || word[len] == ':')) {
			return words[i].verdict;
		}
	}
	return AVOCET_DEFER;
}

static bool
begins(const char *word, const char *with)
{
	return strncmp(word, with, strlen(with)) == 0;
}

static void
nap(long ms)
{
	(void)nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void
nothing(void *inst, void *arg)
{
	(void)inst;
	(void)arg;
}

static int32_t
obey(struct instance *instance, enum service service, avocet_req_h req, const char *word)
{
	const char *number = strchr(word, ':'), *rest = strchr(word, '-');
	long ms = number != NULL ? atol(number + 1) : 0;
	int32_t verdict = verdict_of(rest != NULL ? rest + 1 : word);

	(void)instance->metrics->update(instance->self, instance->counted, 1);

	if (begins(word, "never")) {
		return AVOCET_PENDING;
	}
	if (begins(word, "inside-")) {
		(void)complete(instance, service, req, verdict);
		return AVOCET_PENDING;
	}
	if (begins(word, "later-")) {
		put(instance, service, req, verdict, 1, ms);
		return AVOCET_PENDING;
	}
	if (begins(word, "twice-")) {
		put(instance, service, req, verdict, 2, ms);
		return AVOCET_PENDING;
	}
	if (begins(word, "sleep-")) {
		nap(ms);
	}
	if (begins(word, "thread-")) {
		char text[64];
		avocet_timer_h timer;

		(void)snprintf(text, sizeof(text), "timer_add gave %d",
		    (int)instance->runtime->timer_add(
			instance->self, 1000000, 0, nothing, NULL, &timer));
		say(instance, text);
	}
	return verdict;
}

/* --- services --- */

static int32_t
authenticate(void *inst, avocet_req_h req, const avocet_auth_in *in)
{
	struct instance *instance = inst;
	char word[64];

	if (in->method.n != 0) {
		/* Steps: "more" goes on, and counts; "yes" ends well. */
		avocet_auth_out out = {AVOCET_SIZED(avocet_auth_out)};
		long steps = (long)(intptr_t)in->exchange;
		char data[32];

		out.data.p = (const uint8_t *)data;
		out.data.n = (size_t)snprintf(data, sizeof(data), "step %ld", steps + 1);
		if (in->data.n == 4 && memcmp(in->data.p, "more", 4) == 0) {
			out.exchange = (void *)(intptr_t)(steps + 1);
			(void)instance->auth->auth_complete(
			    instance->self, req, AVOCET_CONTINUE, &out);
			return AVOCET_PENDING;
		}
		if (in->data.n == 3 && memcmp(in->data.p, "yes", 3) == 0) {
			out.username = avocet_str_of("proven");
			(void)instance->auth->auth_complete(
			    instance->self, req, AVOCET_ACCEPT, &out);
			return AVOCET_PENDING;
		}
		return AVOCET_DENY;
	}
	return find(instance, in->username, word, sizeof(word)) ? obey(instance, AUTHN, req, word)
								: AVOCET_DEFER;
}

static void
exchange_free(void *inst, void *exchange)
{
	char text[64];

	(void)snprintf(
	    text, sizeof(text), "the exchange of %ld steps has ended", (long)(intptr_t)exchange);
	say(inst, text);
}

static void
cancel(void *inst, avocet_req_h req)
{
	(void)req;
	say(inst, "cancelled");
}

static void
fill(avocet_grant *grant, const char *word, avocet_str topic)
{
	const char *rest = strchr(word, '-');

	*grant =
	    (avocet_grant){.verdict = verdict_of(rest != NULL ? rest + 1 : word), .max_qos = 2};
	if (begins(word, "qos-")) {
		grant->max_qos = 1;
	}
	if (begins(word, "cover-")) {
		static const char cover[] = "do/#";

		(void)topic;
		grant->cache = AVOCET_CACHE_COVER;
		grant->cache_ms = 60000;
		grant->cover = avocet_str_of(cover);
	}
}

static int32_t
authorize(void *inst, avocet_req_h req, const avocet_authz_in *in, avocet_grant *inline_grants)
{
	struct instance *instance = inst;
	avocet_grant own[64], *grants = inline_grants != NULL ? inline_grants : own;
	char text[192], first[64] = "";
	bool by_grants = inline_grants != NULL || in->n_items > 1;

	for (uint32_t i = 0; i < in->n_items && i < 64; i++) {
		const avocet_access *item =
		    (const void *)((const char *)in->items + (size_t)i * in->item_size);
		char word[64];
		bool found = find(instance, item->topic, word, sizeof(word));

		(void)snprintf(
		    text, sizeof(text), "asked for %.*s", (int)item->topic.n, item->topic.p);
		say(instance, text);
		if (i == 0 && found) {
			memcpy(first, word, sizeof(first));
		}
		fill(&grants[i], found ? word : "defer", item->topic);
		by_grants = by_grants || begins(first, "qos-") || begins(first, "cover-");
	}
	if (inline_grants != NULL) {
		return AVOCET_PASS;
	}
	if (by_grants) {
		(void)instance->auth->authz_complete(
		    instance->self, req, AVOCET_PASS, grants, in->n_items);
		return AVOCET_PENDING;
	}
	return obey(instance, AUTHZ, req, first[0] != '\0' ? first : "defer");
}

static int32_t
publish(void *inst, avocet_req_h req, uint32_t point, const avocet_msg *msg,
    const avocet_client_info *who, avocet_edit *edit)
{
	struct instance *instance = inst;
	const avocet_message_api *message = instance->message;
	char word[64], text[300];

	(void)point;
	(void)who;
	if (!find(instance, msg->topic, word, sizeof(word))) {
		return AVOCET_PASS;
	}
	if (begins(word, "topic-")) {
		int n = snprintf(text, sizeof(text), "new/%.*s", (int)msg->topic.n, msg->topic.p);

		(void)message->set_topic(edit, (avocet_str){text, (size_t)n});
	}
	if (begins(word, "stamp-")) {
		int n = snprintf(
		    text, sizeof(text), "%.*s!", (int)msg->payload.n, (const char *)msg->payload.p);

		(void)message->set_payload(edit, text, (size_t)n);
		(void)message->add_user_prop(
		    edit, avocet_str_of("by"), avocet_str_of(atomic_load(&instance->state)->name));
	}
	if (begins(word, "bad-")) {
		(void)snprintf(text, sizeof(text), "set_topic gave %d",
		    (int)message->set_topic(edit, avocet_str_of("a/+/b")));
		say(instance, text);
	}
	return obey(instance, INTERCEPT, req, word);
}

/* --- commands and numbers --- */

static void
on_echo(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	struct instance *instance = inst;

	(void)arg;
	for (size_t i = 0; i < in->n_args; i++) {
		(void)instance->admin->print(instance->self, req, in->args[i].p, in->args[i].n);
		(void)instance->admin->print(instance->self, req, "\n", 1);
	}
	if ((in->flags & AVOCET_ADMIN_JSON) != 0) {
		(void)instance->admin->print(instance->self, req, "{}\n", 3);
	}
	(void)instance->admin->end(instance->self, req, in->n_args == 0 ? 1 : 0,
	    in->n_args == 0 ? "there is nothing to say" : NULL);
}

static void
on_later(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	char text[16] = "0";

	(void)arg;
	if (in->n_args != 0 && in->args[0].n < sizeof(text)) {
		memcpy(text, in->args[0].p, in->args[0].n);
	}
	put(inst, ADMIN, req, 0, 1, atol(text));
}

/* A pipe that is written to and watched; each byte that comes ends the command. */
static void
on_pipe(void *inst, int32_t fd, uint32_t events, void *arg)
{
	struct instance *instance = inst;
	char byte;

	(void)arg;
	if ((events & AVOCET_FD_READ) != 0 && read(fd, &byte, 1) == 1) {
		(void)instance->runtime->fd_del(instance->self, instance->watch);
		(void)instance->admin->print(instance->self, instance->pipe_req, &byte, 1);
		(void)instance->admin->end(instance->self, instance->pipe_req,
		    instance->runtime->fd_del(instance->self, instance->watch) == AVOCET_E_GONE ? 0
												: 1,
		    NULL);
		(void)close(instance->pipes[0]);
		(void)close(instance->pipes[1]);
	}
}

static void
on_pipe_command(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	struct instance *instance = inst;

	(void)arg;
	instance->pipe_req = req;
	if (in->n_args != 1 || pipe(instance->pipes) != 0 ||
	    instance->runtime->fd_add(instance->self, instance->pipes[0], AVOCET_FD_READ, on_pipe,
		NULL, &instance->watch) != AVOCET_OK ||
	    write(instance->pipes[1], in->args[0].p, 1) != 1) {
		(void)instance->admin->end(instance->self, req, 1, "it does not work");
	}
}

static void
add_commands(struct instance *instance)
{
	avocet_pair label = {avocet_str_of("kind"), avocet_str_of("a\"b")};

	instance->admin = instance->host->query(instance->self, AVOCET_HOST_ADMIN);
	instance->metrics = instance->host->query(instance->self, AVOCET_HOST_METRICS);
	(void)instance->admin->command(
	    instance->self, "echo", "[WORD ...]", "say it again", on_echo, NULL);
	(void)instance->admin->command(
	    instance->self, "pipe", "BYTE", "through a pipe", on_pipe_command, NULL);
	(void)instance->admin->command(
	    instance->self, "answer later", "MS", "answer from a thread", on_later, NULL);
	(void)instance->metrics->add(instance->self, AVOCET_METRIC_COUNTER, "questions_total",
	    "how often it was asked", &label, 1, &instance->counted);
	(void)instance->metrics->add(
	    instance->self, AVOCET_METRIC_GAUGE, "level", "a level", NULL, 0, &instance->level);
	(void)instance->metrics->update(instance->self, instance->level, -7);
}

/* --- life --- */

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err)
{
	struct instance *instance = calloc(1, sizeof(*instance));
	pthread_condattr_t monotonic;

	(void)err;
	instance->host = host;
	instance->self = self;
	instance->conf = host->query(self, AVOCET_HOST_CONF);
	instance->auth = host->query(self, AVOCET_HOST_AUTH);
	instance->message = host->query(self, AVOCET_HOST_MESSAGE);
	instance->runtime = host->query(self, AVOCET_HOST_RUNTIME);
	add_commands(instance);
	(void)pthread_mutex_init(&instance->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&instance->news, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	*inst_out = instance;
	return AVOCET_OK;
}

static void
destroy(void *inst)
{
	struct instance *instance = inst;

	free(atomic_load(&instance->state));
	(void)pthread_cond_destroy(&instance->news);
	(void)pthread_mutex_destroy(&instance->lock);
	free(instance);
}

static int32_t
prepare(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err)
{
	static const char *const methods[] = {"", "SCRIPT", NULL};
	struct instance *instance = inst;
	const char *filters[5] = {NULL};
	struct state *state;
	avocet_str name = {0}, refusal = {0}, filter;
	size_t count = 0;

	(void)instance->conf->str(conf, "name", &name);
	(void)instance->conf->str(conf, "refuse", &refusal);
	if (refusal.n != 0) {
		(void)snprintf(err->text, sizeof(err->text), "%.*s", (int)refusal.n, refusal.p);
		return AVOCET_E_CONFIG;
	}
	(void)instance->conf->count(conf, "filters", &count);
	for (size_t i = 0; i < count && i < 4; i++) {
		char path[32];

		(void)snprintf(path, sizeof(path), "filters[%zu]", i);
		if (instance->conf->str(conf, path, &filter) == AVOCET_OK) {
			(void)snprintf(instance->filters[i], sizeof(instance->filters[i]), "%.*s",
			    (int)filter.n, filter.p);
			filters[i] = instance->filters[i];
		}
	}
	if (count != 0) {
		(void)instance->message->set_filters(instance->self, filters);
	}
	(void)instance->auth->set_methods(instance->self, methods);
	state = calloc(1, sizeof(*state));
	(void)snprintf(state->name, sizeof(state->name), "%.*s", (int)name.n, name.p);
	*next_out = state;
	return AVOCET_OK;
}

static void
commit(void *inst, void *next, void **old_out)
{
	struct instance *instance = inst;

	*old_out = atomic_exchange(&instance->state, next);
}

static void
free_state(void *inst, void *state)
{
	(void)inst;
	free(state);
}

static int32_t
start(void *inst, avocet_error *err)
{
	struct instance *instance = inst;

	(void)err;
	return instance->runtime->thread_start(instance->self, "script", run, NULL);
}

static void
stop(void *inst)
{
	struct instance *instance = inst;

	(void)pthread_mutex_lock(&instance->lock);
	instance->is_ending = true;
	(void)pthread_cond_signal(&instance->news);
	(void)pthread_mutex_unlock(&instance->lock);
}

static const avocet_lifecycle lifecycle = {AVOCET_SIZED(avocet_lifecycle), .create = create,
    .destroy = destroy, .prepare = prepare, .commit = commit, .abort = free_state,
    .retire = free_state, .start = start, .stop = stop};
static const avocet_authenticator authenticator = {AVOCET_SIZED(avocet_authenticator), .exec = EXEC,
    .authenticate = authenticate, .cancel = cancel, .exchange_free = exchange_free};
static const avocet_authorizer authorizer = {AVOCET_SIZED(avocet_authorizer), .exec = EXEC,
    .actions = ACTIONS, .authorize = authorize, .cancel = cancel};
static const avocet_interceptor interceptor = {AVOCET_SIZED(avocet_interceptor), .exec = EXEC,
    .points = AVOCET_AT_IN, .publish = publish, .cancel = cancel};
static const avocet_service authenticator_service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHENTICATOR, .vtable = &authenticator};
static const avocet_service authorizer_service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHORIZER, .vtable = &authorizer};
static const avocet_service interceptor_service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_INTERCEPTOR, .vtable = &interceptor};
static const avocet_service *const services[] = {
    &authenticator_service, &authorizer_service, &interceptor_service, NULL};

#define RELOAD AVOCET_CONF_RELOADABLE
static const avocet_conf_item items[] = {
    {"name", AVOCET_CONF_STR, RELOAD, "script", NULL, "what it is called in words", NULL, 0, 0},
    {"refuse", AVOCET_CONF_STR, RELOAD, NULL, NULL, "refuse the configuration so", NULL, 0, 0},
    {"filters", AVOCET_CONF_LIST, RELOAD, NULL, NULL, "messages that concern it", NULL, 0, 0},
    {"fixed", AVOCET_CONF_STR, 0, "", NULL, "a change makes a new instance", NULL, 0, 0}};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {.magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .name = "script",
    .version = "1",
    .summary = "does what it is told",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .services = services,
    .conf = items,
    .n_conf = sizeof(items) / sizeof(items[0]),
    .conf_item_size = sizeof(items[0])};
