/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzer: exchanges of auth-sasl, with a host that is not there. The input is a sequence of
 * packets: a byte for the step (CONNECT, AUTH 0x18, AUTH 0x19), whether there is data, and TLS; one
 * for the method; one for the length of the data; the data. Each question is answered exactly once,
 * no exchange is lost, and nobody gets in.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/auth-sasl/auth_sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const methods[] = {"SCRAM-SHA-512-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-384-PLUS",
    "SCRAM-SHA-384", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1",
    "PLAIN", "EXTERNAL", "scram-sha-256", "CRAM-MD5", "", "SCRAM-SHA-256-PLUS-PLUS"};

static struct {
	int answers;
	int32_t verdict;
	void *exchange; /* that the host has */
} host;

static void
require(bool condition)
{
	if (!condition) {
		abort();
	}
}

static int32_t
on_complete(avocet_self *self, avocet_req_h req, int32_t verdict, const avocet_auth_out *out)
{
	(void)self;
	(void)req;
	host.answers++;
	host.verdict = verdict;
	require(verdict == AVOCET_DENY || verdict == AVOCET_CONTINUE || verdict == AVOCET_ERROR);
	if (out != NULL && verdict == AVOCET_CONTINUE) {
		require(out->data.n <= 65535 && out->exchange != NULL);
		require(host.exchange == NULL || host.exchange == out->exchange);
		host.exchange = out->exchange;
	}
	return AVOCET_OK;
}

static void
on_log(avocet_self *self, int32_t level, const char *text, size_t n)
{
	(void)self;
	(void)level;
	require(n == 0 || text[n - 1] != '\0');
}

static int32_t
on_update(avocet_self *self, avocet_metric_h metric, int64_t value)
{
	(void)self;
	(void)metric;
	(void)value;
	return AVOCET_OK;
}

static int64_t
on_now(void)
{
	return 1;
}

static int32_t
on_job(avocet_self *self, avocet_task_fn fn, avocet_task_fn done, void *arg)
{
	void *inst = self;

	fn(inst, arg);
	done(inst, arg);
	return AVOCET_OK;
}

static const avocet_host host_table = {.struct_size = sizeof(host_table), .log = on_log};
static const avocet_auth_api auth_table = {
    .struct_size = sizeof(auth_table), .auth_complete = on_complete};
static const avocet_runtime_api runtime_table = {
    .struct_size = sizeof(runtime_table), .now_ns = on_now, .job = on_job};
static const avocet_metrics_api metrics_table = {
    .struct_size = sizeof(metrics_table), .update = on_update};

static struct instance *
instance_of(void)
{
	static const char users[] = "user:SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$"
				    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=:"
				    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
	static struct instance *instance;
	static struct state state;
	char why[512];

	if (instance != NULL) {
		return instance;
	}
	instance = calloc(1, sizeof(*instance));
	instance->host = &host_table;
	instance->self = (void *)instance;
	instance->auth = &auth_table;
	instance->runtime = &runtime_table;
	instance->metrics = &metrics_table;
	instance->guard = guard_new();
	state.users = users_parse("users", users, sizeof(users) - 1, why, sizeof(why));
	(void)snprintf(state.service, sizeof(state.service), "mqtt");
	(void)snprintf(state.host, sizeof(state.host), "localhost");
	for (size_t i = 0; i < 10; i++) {
		(void)snprintf(state.mechanisms[i], SASL_MAX_METHOD, "%s", methods[i]);
	}
	state.mechanism_count = 10;
	require(state.users != NULL && library_init() == NULL);
	atomic_store(&instance->state, &state);
	return instance;
}

/* One question; false: the exchange is over. */
static bool
ask(struct instance *instance, uint8_t how, const char *method, const uint8_t *data, size_t len)
{
	static const uint8_t exporter[32] = "an exporter that is one";
	const avocet_client_info client = {.struct_size = sizeof(client),
	    .client_id = avocet_str_of("c"),
	    .peer_addr = avocet_str_of("192.0.2.1"),
	    .tls_version = avocet_str_of((how & 4) != 0 ? "TLSv1.3" : ""),
	    .tls_exporter = {exporter, (how & 4) != 0 ? sizeof(exporter) : 0}};
	uint32_t step = how % 4 == 0   ? AVOCET_AUTH_CONNECT
			: how % 4 == 1 ? AVOCET_AUTH_REAUTH
				       : AVOCET_AUTH_CONTINUE;
	avocet_auth_in in = {.struct_size = sizeof(in),
	    .step = step,
	    .client = &client,
	    .method = avocet_str_of(method),
	    .data = {data, len},
	    .flags = len != 0 || (how & 8) != 0 ? AVOCET_AUTH_HAS_DATA : 0,
	    .exchange = step == AVOCET_AUTH_CONTINUE ? host.exchange : NULL};
	int32_t verdict;

	if (step != AVOCET_AUTH_CONTINUE && host.exchange != NULL) {
		exchange_free(instance, host.exchange);
		host.exchange = NULL;
	}
	host.answers = 0;
	verdict = exchange_authenticate(instance, 1, &in);
	require(verdict == AVOCET_PENDING ? host.answers == 1 : host.answers == 0);
	return verdict == AVOCET_PENDING && host.verdict == AVOCET_CONTINUE;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct instance *instance = instance_of();
	const char *method = "SCRAM-SHA-256";

	host.exchange = NULL;
	while (size >= 3) {
		uint8_t how = data[0];
		size_t len = data[2] < size - 3 ? data[2] : size - 3;
		/* In memory of its own, so that a byte too far is seen. */
		uint8_t *copy = malloc(len);

		/* As the broker does: an exchange keeps its method. */
		if (how % 4 < 2) {
			method = methods[data[1] % (sizeof(methods) / sizeof(methods[0]))];
		}
		memcpy(copy, data + 3, len);
		if (!ask(instance, how, method, copy, len) && host.exchange != NULL) {
			exchange_free(instance, host.exchange);
			host.exchange = NULL;
		}
		free(copy);
		data += 3 + len;
		size -= 3 + len;
	}
	exchange_free(instance, host.exchange);
	return 0;
}
