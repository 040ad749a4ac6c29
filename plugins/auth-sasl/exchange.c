/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One exchange: a SASL object from CONNECT, or from AUTH 0x19, until it has come to an end, and a
 * fresh one each time. What the library says of the user is asked for after success alone.
 *
 * SCRAM and EXTERNAL run on the worker: they look into memory and take some microseconds. PLAIN
 * hashes a password and GSSAPI may ask a network: they are jobs on the instance's threads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auth_sasl.h"

enum { NOT_AUTHORIZED = 0x87, BAD_METHOD = 0x8c, EXPORTER_LEN = 32 };

static const char plus[] = "-PLUS";

struct exchange {
	sasl_conn_t *conn;
	sasl_callback_t callbacks[1];
	sasl_channel_binding_t binding; /* the library keeps pointers to both */
	unsigned char exporter[EXPORTER_LEN];
	char method[SASL_MAX_METHOD];
	char mechanism[SASL_MAX_METHOD]; /* the method without -PLUS */
	char user[USERS_MAX_NAME + 1];   /* as claimed; empty: not yet */
	bool has_started;
};

/* --- life --- */

static bool
ends_with_plus(const char *method)
{
	size_t len = strlen(method), tail = sizeof(plus) - 1;

	return len > tail && strcmp(method + len - tail, plus) == 0;
}

static bool
offers(const struct state *state, const char *mechanism, const char *suffix)
{
	char name[SASL_MAX_METHOD * 2];

	(void)snprintf(name, sizeof(name), "%s%s", mechanism, suffix);
	for (size_t i = 0; i < state->mechanism_count; i++) {
		if (strcmp(state->mechanisms[i], name) == 0) {
			return true;
		}
	}
	return false;
}

static void
dispose(struct exchange *exchange)
{
	if (exchange != NULL) {
		sasl_dispose(&exchange->conn);
		explicit_bzero(exchange, sizeof(*exchange));
		free(exchange);
	}
}

void
exchange_free(void *inst, void *exchange)
{
	(void)inst;
	dispose(exchange);
}

/* Channel binding: enforced where the method's name ends in -PLUS; else there to notice who was
 * told that it is not offered, which it is. */
static int
bind_channel(struct exchange *exchange, const struct state *state, const avocet_auth_in *in)
{
	bool is_plus = ends_with_plus(exchange->method);

	if (in->client->tls_exporter.n != EXPORTER_LEN ||
	    (!is_plus && !offers(state, exchange->mechanism, plus))) {
		return SASL_OK;
	}
	memcpy(exchange->exporter, in->client->tls_exporter.p, EXPORTER_LEN);
	exchange->binding = (sasl_channel_binding_t){.name = "tls-exporter",
	    .critical = is_plus,
	    .len = EXPORTER_LEN,
	    .data = exchange->exporter};
	return sasl_setprop(exchange->conn, SASL_CHANNEL_BINDING, &exchange->binding);
}

static bool
is_encrypted(const avocet_client_info *client)
{
	return client->tls_version.n != 0;
}

/* Whom a certificate or a PSK has proven, now or when the client connected; empty: nobody. */
static avocet_str
proven_name(const avocet_auth_in *in)
{
	if ((in->flags & AVOCET_AUTH_PROVEN) != 0) {
		return in->username;
	}
	return in->step != AVOCET_AUTH_CONNECT &&
		       (in->client->flags & AVOCET_CLIENT_TLS_VERIFIED) != 0
		   ? in->client->username
		   : (avocet_str){0};
}

static int
set_properties(struct exchange *exchange, const struct state *state, const avocet_auth_in *in)
{
	/* The broker knows no layer of SASL's below MQTT. */
	static const sasl_security_properties_t properties = {
	    .security_flags = SASL_SEC_NOANONYMOUS | SASL_SEC_NOPLAINTEXT};
	static const sasl_ssf_t tls = 128;
	int result = sasl_setprop(exchange->conn, SASL_SEC_PROPS, &properties);
	avocet_str proven = proven_name(in);
	char name[USERS_MAX_NAME + 1];

	/* PLAIN is allowed by this, and by nothing else. */
	if (result == SASL_OK && is_encrypted(in->client)) {
		result = sasl_setprop(exchange->conn, SASL_SSF_EXTERNAL, &tls);
	}
	if (result == SASL_OK && proven.n != 0 && proven.n <= USERS_MAX_NAME) {
		(void)snprintf(name, sizeof(name), "%.*s", (int)proven.n, proven.p);
		result = sasl_setprop(exchange->conn, SASL_AUTH_EXTERNAL, name);
	}
	return result == SASL_OK ? bind_channel(exchange, state, in) : result;
}

static struct exchange *
exchange_new(struct instance *instance, const struct state *state, const avocet_auth_in *in)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));
	struct turn turn;
	bool good;

	if (exchange == NULL) {
		return NULL;
	}
	(void)snprintf(
	    exchange->method, sizeof(exchange->method), "%.*s", (int)in->method.n, in->method.p);
	memcpy(exchange->mechanism, exchange->method, sizeof(exchange->mechanism));
	if (ends_with_plus(exchange->method)) {
		exchange->mechanism[strlen(exchange->mechanism) - (sizeof(plus) - 1)] = '\0';
	}
	exchange->callbacks[0] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
	turn = (struct turn){instance, state, exchange->mechanism, exchange->user};
	library_turn = &turn; /* it asks for the mechanisms already */
	good = sasl_server_new(state->service, state->host, NULL, NULL, NULL, exchange->callbacks,
		   SASL_SUCCESS_DATA, &exchange->conn) == SASL_OK &&
	       set_properties(exchange, state, in) == SASL_OK;
	library_turn = NULL;
	if (!good) {
		dispose(exchange);
		return NULL;
	}
	return exchange;
}

/* --- steps --- */

/* What the library made of a step. */
struct outcome {
	int result;
	const char *data; /* the exchange's */
	unsigned len;
};

static struct outcome
take_step(struct instance *instance, const struct state *state, struct exchange *exchange,
    const avocet_auth_in *in)
{
	const struct turn turn = {instance, state, exchange->mechanism, exchange->user};
	bool has_data = (in->flags & AVOCET_AUTH_HAS_DATA) != 0;
	const char *data = !has_data ? NULL : in->data.n != 0 ? (const char *)in->data.p : "";
	struct outcome outcome = {.data = ""};

	library_turn = &turn;
	if (!exchange->has_started) {
		exchange->has_started = true;
		outcome.result = sasl_server_start(exchange->conn, exchange->method, data,
		    (unsigned)in->data.n, &outcome.data, &outcome.len);
	} else {
		outcome.result = sasl_server_step(exchange->conn, data != NULL ? data : "",
		    (unsigned)in->data.n, &outcome.data, &outcome.len);
	}
	library_turn = NULL;
	if (outcome.result != SASL_OK && outcome.result != SASL_CONTINUE) {
		const char *detail = sasl_errdetail(exchange->conn);

		instance->host->log(instance->self, AVOCET_LOG_DEBUG, detail, strlen(detail));
	}
	return outcome;
}

static int64_t
wall_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
deny(struct instance *instance, avocet_req_h req, uint32_t reason, uint32_t delay_ms,
    const char *text)
{
	avocet_auth_out out = {AVOCET_SIZED(avocet_auth_out), .reason = reason,
	    .deny_delay_ms = delay_ms, .reason_text = avocet_str_of(text)};

	(void)instance->metrics->update(instance->self, instance->refused, 1);
	(void)instance->auth->auth_complete(instance->self, req, AVOCET_DENY, &out);
}

/* A proof that is none, by whatever name: all of them look alike. */
static void
refuse(struct instance *instance, const struct state *state, const struct exchange *exchange,
    avocet_req_h req, const avocet_auth_in *in)
{
	struct guard_key key = {in->client->peer_addr, avocet_str_of(exchange->user)};
	int64_t now_ns = instance->runtime->now_ns();

	deny(instance, req, NOT_AUTHORIZED,
	    guard_note(instance->guard, &state->guard, &key, now_ns), NULL);
}

static void
accept(struct instance *instance, const struct state *state, struct exchange *exchange,
    avocet_req_h req, const avocet_auth_in *in, const struct outcome *outcome)
{
	struct guard_key key = {in->client->peer_addr, avocet_str_of(exchange->user)};
	avocet_pair attr = {avocet_str_of("mechanism"), avocet_str_of(exchange->method)};
	avocet_auth_out out = {AVOCET_SIZED(avocet_auth_out),
	    .data = {(const uint8_t *)outcome->data, outcome->len}, .attrs = &attr, .n_attrs = 1};
	int64_t now_ns = instance->runtime->now_ns();
	const void *name = NULL;
	uint32_t delay_ms;

	if (sasl_getprop(exchange->conn, SASL_USERNAME, &name) != SASL_OK || name == NULL) {
		refuse(instance, state, exchange, req, in);
		return;
	}
	if (guard_is_shut(instance->guard, &state->guard, &key, now_ns, &delay_ms)) {
		deny(instance, req, NOT_AUTHORIZED, delay_ms, NULL);
		return;
	}
	guard_forgive(instance->guard, &key);
	out.username = avocet_str_of(name);
	if (state->reauth_ns != 0) {
		out.expires_ms = wall_ms() + state->reauth_ns / 1000000;
	}
	(void)instance->metrics->update(instance->self, instance->accepted, 1);
	(void)instance->auth->auth_complete(instance->self, req, AVOCET_ACCEPT, &out);
}

/* Answers, and disposes of the exchange unless it goes on or is the host's. */
static void
answer(struct instance *instance, const struct state *state, struct exchange *exchange,
    avocet_req_h req, const avocet_auth_in *in)
{
	struct outcome outcome = take_step(instance, state, exchange, in);
	bool is_hosts = in->exchange != NULL;

	if (outcome.result == SASL_CONTINUE) {
		avocet_auth_out out = {AVOCET_SIZED(avocet_auth_out),
		    .data = {(const uint8_t *)outcome.data, outcome.len}, .exchange = exchange};

		/* It is the host's from here on: nothing of it is looked at any more. */
		(void)instance->auth->auth_complete(instance->self, req, AVOCET_CONTINUE, &out);
		return;
	}
	/* What is the host's may go with the answer: a copy of what is needed then. */
	if (outcome.result == SASL_OK) {
		accept(instance, state, exchange, req, in, &outcome);
	} else if (outcome.result == SASL_NOMECH) {
		deny(instance, req, BAD_METHOD, 0, "this mechanism is not available");
	} else {
		refuse(instance, state, exchange, req, in);
	}
	if (!is_hosts) {
		dispose(exchange);
	}
}

/* --- jobs --- */

struct job {
	struct instance *instance;
	const struct state *state;
	struct exchange *exchange;
	avocet_req_h req;
	const avocet_auth_in *in; /* lives until it is answered */
	bool is_answered;
};

static void
run_job(void *inst, void *arg)
{
	struct job *job = arg;

	(void)inst;
	answer(job->instance, job->state, job->exchange, job->req, job->in);
	job->is_answered = true;
}

static void
end_job(void *inst, void *arg)
{
	struct job *job = arg;
	struct instance *instance = inst;

	if (!job->is_answered) {
		bool is_hosts = job->in->exchange != NULL;

		(void)instance->auth->auth_complete(instance->self, job->req, AVOCET_ERROR, NULL);
		if (!is_hosts) {
			dispose(job->exchange);
		}
	}
	free(job);
}

/* AVOCET_PENDING; or AVOCET_ERROR, and the exchange is still the caller's. */
static int32_t
put_job(struct instance *instance, const struct state *state, struct exchange *exchange,
    avocet_req_h req, const avocet_auth_in *in)
{
	struct job *job = calloc(1, sizeof(*job));

	if (job == NULL) {
		return AVOCET_ERROR;
	}
	*job = (struct job){instance, state, exchange, req, in, false};
	if (instance->runtime->job(instance->self, run_job, end_job, job) != AVOCET_OK) {
		free(job);
		return AVOCET_ERROR;
	}
	return AVOCET_PENDING;
}

/* --- questions --- */

static bool
may_block(const struct exchange *exchange)
{
	return strcmp(exchange->mechanism, "PLAIN") == 0 ||
	       strncmp(exchange->mechanism, "GS", 2) == 0;
}

static bool
is_method(const avocet_auth_in *in, const char *name)
{
	return in->method.n == strlen(name) && memcmp(in->method.p, name, in->method.n) == 0;
}

/* Why the method is not to be had here; NULL: it is. */
static const char *
obstacle(const avocet_auth_in *in)
{
	size_t tail = sizeof(plus) - 1;

	if (is_method(in, "PLAIN") && !is_encrypted(in->client)) {
		return "PLAIN is for TLS only";
	}
	if (in->method.n > tail && memcmp(in->method.p + in->method.n - tail, plus, tail) == 0 &&
	    in->client->tls_exporter.n != EXPORTER_LEN) {
		return "there is no TLS channel to bind to";
	}
	if (is_method(in, "EXTERNAL") && proven_name(in).n == 0) {
		return "no certificate has proven who it is";
	}
	return NULL;
}

static struct exchange *
begin(struct instance *instance, const struct state *state, avocet_req_h req,
    const avocet_auth_in *in)
{
	struct guard_key key = {in->client->peer_addr, {0}};
	const char *text = obstacle(in);
	struct exchange *exchange;
	uint32_t delay_ms;

	if (text != NULL || in->method.n >= SASL_MAX_METHOD) {
		deny(instance, req, BAD_METHOD, 0, text);
		return NULL;
	}
	if (guard_is_shut(
		instance->guard, &state->guard, &key, instance->runtime->now_ns(), &delay_ms)) {
		deny(instance, req, NOT_AUTHORIZED, delay_ms, NULL);
		return NULL;
	}
	exchange = exchange_new(instance, state, in);
	if (exchange == NULL) {
		(void)instance->auth->auth_complete(instance->self, req, AVOCET_ERROR, NULL);
	}
	return exchange;
}

int32_t
exchange_authenticate(void *inst, avocet_req_h req, const avocet_auth_in *in)
{
	struct instance *instance = inst;
	const struct state *state = atomic_load_explicit(&instance->state, memory_order_acquire);
	struct exchange *exchange = in->exchange;

	if (exchange == NULL && in->step == AVOCET_AUTH_CONTINUE) {
		/* A step of an exchange that is not there: the library would not survive it. */
		deny(instance, req, NOT_AUTHORIZED, 0, NULL);
		return AVOCET_PENDING;
	}
	if (exchange == NULL) {
		exchange = begin(instance, state, req, in);
		if (exchange == NULL) {
			return AVOCET_PENDING;
		}
	}
	if (may_block(exchange)) {
		int32_t verdict = put_job(instance, state, exchange, req, in);

		if (verdict != AVOCET_PENDING && in->exchange == NULL) {
			dispose(exchange);
		}
		return verdict;
	}
	answer(instance, state, exchange, req, in);
	return AVOCET_PENDING;
}
