/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An authenticator that asks a web service, and never makes anybody wait: a question is put into a
 * list and answered PENDING; one thread of its own carries all requests at once (libcurl's multi
 * interface) and completes each when its answer has come.
 *
 * The service gets a POST with the form fields username, password, client_id and address. It
 * answers 2xx: yes; 401 or 403: no; 404: not mine, ask the next; anything else, or nothing in time:
 * an error, for which the chain's on_error decides.
 *
 *     plugins:
 *     - { name: web, module: auth-http, config: { url: "https://users.example/mqtt" } }
 *     chains:
 *       default: { authenticate: [web] }
 */
#define _DEFAULT_SOURCE /* explicit_bzero */
#include <avocet/avocet_auth.h>
#include <avocet/avocet_runtime.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_URL = 1024, NS_PER_MS = 1000000 };

/* The configuration: counted by the questions that use it, under the lock. */
struct state {
	unsigned refs;
	char url[MAX_URL];
	long timeout_ms;
	long connections;
};

/* A question. Its input is the broker's, and stays until it is completed. */
struct question {
	struct question *next;
	avocet_req_h req;
	const avocet_auth_in *in;
	struct state *state;
	CURL *curl;
	char *form;
};

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_conf_api *conf;
	const avocet_auth_api *auth;
	const avocet_runtime_api *runtime;
	CURLM *multi;
	pthread_mutex_t lock; /* guards what follows */
	struct state *state;
	struct question *first, **last; /* new ones */
	bool is_ending;
};

static void
unref(struct instance *instance, struct state *state)
{
	bool is_last;

	(void)pthread_mutex_lock(&instance->lock);
	is_last = --state->refs == 0;
	(void)pthread_mutex_unlock(&instance->lock);
	if (is_last) {
		free(state);
	}
}

/* --- its thread --- */

static void
answer(struct instance *instance, struct question *question, int32_t verdict)
{
	(void)instance->auth->auth_complete(instance->self, question->req, verdict, NULL);
	if (question->curl != NULL) {
		curl_easy_cleanup(question->curl);
	}
	if (question->form != NULL) {
		/* The password is in it. */
		explicit_bzero(question->form, strlen(question->form));
		free(question->form);
	}
	unref(instance, question->state);
	free(question);
}

static bool
append(char **form, CURL *curl, const char *name, const void *value, size_t n)
{
	/* libcurl takes 0 for "up to the NUL". */
	char *escaped =
	    n != 0 ? curl_easy_escape(curl, value, (int)n) : curl_easy_escape(curl, "", 0);
	size_t len = *form != NULL ? strlen(*form) : 0, size;
	char *longer;

	if (escaped == NULL) {
		return false;
	}
	size = len + strlen(name) + strlen(escaped) + 3;
	longer = malloc(size);
	if (longer != NULL) {
		(void)snprintf(longer, size, "%s%s%s=%s", len != 0 ? *form : "",
		    len != 0 ? "&" : "", name, escaped);
	}
	if (*form != NULL) {
		explicit_bzero(*form, len);
		free(*form);
	}
	*form = longer;
	explicit_bzero(escaped, strlen(escaped));
	curl_free(escaped);
	return longer != NULL;
}

/* What the service says besides its status is of no interest. */
static size_t
ignore(char *data, size_t size, size_t count, void *arg)
{
	(void)data;
	(void)arg;
	return size * count;
}

static bool
begin(struct instance *instance, struct question *question)
{
	const avocet_auth_in *in = question->in;
	long left_ms = (long)((in->deadline_ns - instance->runtime->now_ns()) / NS_PER_MS);
	long timeout_ms =
	    left_ms < question->state->timeout_ms ? left_ms : question->state->timeout_ms;
	CURL *curl = question->curl = curl_easy_init();

	if (curl == NULL || timeout_ms <= 0 ||
	    !append(&question->form, curl, "username", in->username.p, in->username.n) ||
	    !append(&question->form, curl, "password", in->password.p, in->password.n) ||
	    !append(&question->form, curl, "client_id", in->client->client_id.p,
		in->client->client_id.n) ||
	    !append(&question->form, curl, "address", in->client->peer_addr.p,
		in->client->peer_addr.n)) {
		return false;
	}
	(void)curl_easy_setopt(curl, CURLOPT_URL, question->state->url);
	(void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, question->form);
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
	(void)curl_easy_setopt(curl, CURLOPT_PRIVATE, question);
	/* Here and not in commit(): of a multi handle only curl_multi_wakeup() is for other threads. */
	(void)curl_multi_setopt(
	    instance->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, question->state->connections);
	return curl_multi_add_handle(instance->multi, curl) == CURLM_OK;
}

static struct question *
take_new(struct instance *instance, bool *is_ending)
{
	struct question *first;

	(void)pthread_mutex_lock(&instance->lock);
	first = instance->first;
	instance->first = NULL;
	instance->last = &instance->first;
	*is_ending = instance->is_ending;
	(void)pthread_mutex_unlock(&instance->lock);
	return first;
}

static void
finish(struct instance *instance)
{
	CURLMsg *news;
	int left;

	while ((news = curl_multi_info_read(instance->multi, &left)) != NULL) {
		struct question *question;
		CURL *curl = news->easy_handle;
		CURLcode result = news->data.result;
		long status = 0;

		if (news->msg != CURLMSG_DONE) {
			continue;
		}
		(void)curl_easy_getinfo(curl, CURLINFO_PRIVATE, (char **)&question);
		(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
		(void)curl_multi_remove_handle(instance->multi, curl);
		answer(instance, question,
		    result != CURLE_OK               ? AVOCET_ERROR
		    : status >= 200 && status < 300  ? AVOCET_ACCEPT
		    : status == 401 || status == 403 ? AVOCET_DENY
		    : status == 404                  ? AVOCET_DEFER
						     : AVOCET_ERROR);
	}
}

/* Until the instance ends and every question has its answer. */
static void
run(void *inst, void *arg)
{
	struct instance *instance = inst;
	bool is_ending = false;
	int running = 0;

	(void)arg;
	while (!is_ending || running != 0) {
		struct question *question = take_new(instance, &is_ending);

		while (question != NULL) {
			struct question *next = question->next;

			if (!begin(instance, question)) {
				answer(instance, question, AVOCET_ERROR);
			}
			question = next;
		}
		(void)curl_multi_perform(instance->multi, &running);
		finish(instance);
		if (!is_ending || running != 0) {
			/* curl_multi_wakeup() ends it early. */
			(void)curl_multi_poll(instance->multi, NULL, 0, 1000, NULL);
		}
	}
}

/* --- the question --- */

/* On the client's event loop: it must not block, and does not. */
static int32_t
authenticate(void *inst, avocet_req_h req, const avocet_auth_in *in)
{
	struct instance *instance = inst;
	struct question *question;

	if ((in->flags & AVOCET_AUTH_HAS_USERNAME) == 0) {
		return AVOCET_DEFER;
	}
	question = calloc(1, sizeof(*question));
	if (question == NULL) {
		return AVOCET_ERROR;
	}
	question->req = req;
	question->in = in;
	(void)pthread_mutex_lock(&instance->lock);
	question->state = instance->state;
	question->state->refs++;
	*instance->last = question;
	instance->last = &question->next;
	(void)pthread_mutex_unlock(&instance->lock);
	(void)curl_multi_wakeup(instance->multi);
	return AVOCET_PENDING;
}

/* --- life --- */

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err)
{
	struct instance *instance = calloc(1, sizeof(*instance));

	if (instance == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 ||
	    (instance->multi = curl_multi_init()) == NULL) {
		(void)snprintf(err->text, sizeof(err->text), "libcurl cannot begin");
		free(instance);
		return AVOCET_E_NOMEM;
	}
	instance->host = host;
	instance->self = self;
	instance->conf = host->query(self, AVOCET_HOST_CONF);
	instance->auth = host->query(self, AVOCET_HOST_AUTH);
	instance->runtime = host->query(self, AVOCET_HOST_RUNTIME);
	instance->last = &instance->first;
	(void)pthread_mutex_init(&instance->lock, NULL);
	*inst_out = instance;
	return AVOCET_OK;
}

static void
destroy(void *inst)
{
	struct instance *instance = inst;

	if (instance->state != NULL) {
		unref(instance, instance->state);
	}
	(void)curl_multi_cleanup(instance->multi);
	(void)pthread_mutex_destroy(&instance->lock);
	curl_global_cleanup();
	free(instance);
}

static int32_t
prepare(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err)
{
	struct instance *instance = inst;
	struct state *next = calloc(1, sizeof(*next));
	avocet_str url = {NULL, 0};
	int64_t timeout_ns = 0, connections = 0;

	if (next == NULL) {
		return AVOCET_E_NOMEM;
	}
	(void)instance->conf->str(conf, "url", &url);
	(void)instance->conf->num(conf, "timeout", &timeout_ns);
	(void)instance->conf->num(conf, "connections", &connections);
	if (url.n == 0 || url.n >= sizeof(next->url)) {
		(void)snprintf(err->text, sizeof(err->text), "the url is empty, or too long");
		free(next);
		return AVOCET_E_CONFIG;
	}
	next->refs = 1;
	memcpy(next->url, url.p, url.n);
	next->timeout_ms = (long)(timeout_ns / NS_PER_MS);
	next->connections = (long)connections;
	*next_out = next;
	return AVOCET_OK;
}

/* Its own references say when the old one goes: there is nothing to retire. */
static void
commit(void *inst, void *next, void **old_out)
{
	struct instance *instance = inst;
	struct state *old;

	(void)pthread_mutex_lock(&instance->lock);
	old = instance->state;
	instance->state = next;
	(void)pthread_mutex_unlock(&instance->lock);
	if (old != NULL) {
		unref(instance, old);
	}
	*old_out = NULL;
}

static void
abort_next(void *inst, void *next)
{
	(void)inst;
	free(next);
}

static int32_t
start(void *inst, avocet_error *err)
{
	struct instance *instance = inst;

	(void)err;
	return instance->runtime->thread_start(instance->self, "auth-http", run, NULL);
}

/* The thread is joined when this has returned: it ends when its last request has. */
static void
stop(void *inst)
{
	struct instance *instance = inst;

	(void)pthread_mutex_lock(&instance->lock);
	instance->is_ending = true;
	(void)pthread_mutex_unlock(&instance->lock);
	(void)curl_multi_wakeup(instance->multi);
}

static const avocet_lifecycle lifecycle = {
    AVOCET_SIZED(avocet_lifecycle),
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .commit = commit,
    .abort = abort_next,
    .start = start,
    .stop = stop,
};

/* --- what the broker finds --- */

static const avocet_authenticator authenticator = {
    AVOCET_SIZED(avocet_authenticator),
    .exec = AVOCET_EXEC_WORKER,
    .authenticate = authenticate,
};
static const avocet_service service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHENTICATOR, .vtable = &authenticator};
static const avocet_service *const services[] = {&service, NULL};
static const char *const needs[] = {AVOCET_HOST_CONF, AVOCET_HOST_AUTH, AVOCET_HOST_RUNTIME, NULL};

static const avocet_conf_item items[] = {
    {.name = "url",
	.type = AVOCET_CONF_STR,
	.flags = AVOCET_CONF_REQUIRED | AVOCET_CONF_RELOADABLE,
	.help = "the service that is asked, by POST"},
    {.name = "timeout",
	.type = AVOCET_CONF_DURATION,
	.flags = AVOCET_CONF_RELOADABLE,
	.def = "5s",
	.constraint = "1ms..1h",
	.help = "an answer that takes longer is an error; the chain's timeout rules as well"},
    {.name = "connections",
	.type = AVOCET_CONF_INT,
	.flags = AVOCET_CONF_RELOADABLE,
	.def = "64",
	.constraint = "1..10000",
	.help = "at most so many to the service at once; further questions wait"},
};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {
    .magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .abi_minor_needed = 0,
    .name = "auth-http",
    .version = "1.0",
    .summary = "asks a web service who may come in",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .services = services,
    .needs = needs,
    .conf = items,
    .n_conf = sizeof(items) / sizeof(items[0]),
    .conf_item_size = sizeof(items[0]),
};
