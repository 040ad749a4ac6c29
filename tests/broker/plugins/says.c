/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An authenticator that says what it is told to, in the user name or in the Authentication Data of
 * the method SAYS: words NAME=VALUE, divided by ';'.
 *
 *     more=…                  another step follows
 *     deny=NUMBER             no, with this reason
 *     user= text= server= data= client=   as it is
 *     attr=K:V prop=K:V       attributes and User Properties, each as often as wanted
 *     expires=MS              the credential ends so much later
 *     session= receive= packet=           limits
 *     bad=…                   a text that is not UTF-8
 *
 * As an authorizer it says yes, and logs what it sees of the client.
 */
#include <avocet/avocet_auth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX = 16 };

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_auth_api *auth;
};

struct words {
	avocet_str value[MAX], name[MAX];
	int count;
};

static void
split(avocet_str text, struct words *words)
{
	const char *end = text.p + text.n;

	words->count = 0;
	for (const char *at = text.p; at < end && words->count < MAX;) {
		const char *stop = memchr(at, ';', (size_t)(end - at));
		const char *equals;

		stop = stop != NULL ? stop : end;
		equals = memchr(at, '=', (size_t)(stop - at));
		if (equals != NULL) {
			words->name[words->count] = (avocet_str){at, (size_t)(equals - at)};
			words->value[words->count++] =
			    (avocet_str){equals + 1, (size_t)(stop - equals - 1)};
		}
		at = stop + 1;
	}
}

static int
is(avocet_str text, const char *name)
{
	return text.n == strlen(name) && memcmp(text.p, name, text.n) == 0;
}

static avocet_pair
pair_of(avocet_str text)
{
	const char *colon = memchr(text.p, ':', text.n);
	size_t n = colon != NULL ? (size_t)(colon - text.p) : text.n;

	return (avocet_pair){{text.p, n}, {text.p + n + 1, colon != NULL ? text.n - n - 1 : 0}};
}

static int64_t
wall_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int32_t
authenticate(void *inst, avocet_req_h req, const avocet_auth_in *in)
{
	struct instance *instance = inst;
	avocet_auth_out out = {AVOCET_SIZED(avocet_auth_out)};
	avocet_pair attrs[MAX], props[MAX];
	int32_t verdict = AVOCET_ACCEPT;
	struct words words;

	split(in->method.n != 0 ? (avocet_str){(const char *)in->data.p, in->data.n} : in->username,
	    &words);
	out.attrs = attrs;
	out.user_props = props;
	for (int i = 0; i < words.count; i++) {
		avocet_str name = words.name[i], value = words.value[i];
		char number[24];

		(void)snprintf(number, sizeof(number), "%.*s", (int)value.n, value.p);
		if (is(name, "attr")) {
			attrs[out.n_attrs++] = pair_of(value);
		} else if (is(name, "prop")) {
			props[out.n_user_props++] = pair_of(value);
		} else if (is(name, "more")) {
			verdict = AVOCET_CONTINUE;
		} else if (is(name, "deny")) {
			verdict = AVOCET_DENY;
			out.reason = (uint32_t)strtoul(number, NULL, 0);
		} else if (is(name, "user")) {
			out.username = value;
		} else if (is(name, "client")) {
			out.client_id = value;
		} else if (is(name, "text")) {
			out.reason_text = value;
		} else if (is(name, "server")) {
			out.server_reference = value;
		} else if (is(name, "data")) {
			out.data = (avocet_bytes){(const uint8_t *)value.p, value.n};
		} else if (is(name, "expires")) {
			out.expires_ms = wall_ms() + atol(number);
		} else if (is(name, "session")) {
			out.max_session_expiry_s = (uint32_t)atol(number);
		} else if (is(name, "receive")) {
			out.max_receive = (uint32_t)atol(number);
		} else if (is(name, "packet")) {
			out.max_packet = (uint32_t)atol(number);
		} else if (is(name, "bad")) {
			out.reason_text = avocet_str_of("\xff");
		}
	}
	(void)instance->auth->auth_complete(instance->self, req, verdict, &out);
	return AVOCET_PENDING;
}

static int32_t
authorize(void *inst, avocet_req_h req, const avocet_authz_in *in, avocet_grant *grants)
{
	const struct instance *instance = inst;
	const avocet_client_info *client = in->client;
	char text[600];
	int n = snprintf(text, sizeof(text), "client %.*s, user %.*s, certificate %zu, exporter ",
	    (int)client->client_id.n, client->client_id.p, (int)client->username.n,
	    client->username.p, client->tls_cert_der.n);

	(void)req;
	(void)grants;
	for (size_t i = 0; i < client->tls_exporter.n; i++) {
		n +=
		    snprintf(text + n, sizeof(text) - (size_t)n, "%02x", client->tls_exporter.p[i]);
	}
	for (size_t i = 0; i < client->n_attrs; i++) {
		n += snprintf(text + n, sizeof(text) - (size_t)n, ", %.*s is %.*s",
		    (int)client->attrs[i].key.n, client->attrs[i].key.p,
		    (int)client->attrs[i].value.n, client->attrs[i].value.p);
	}
	instance->host->log(instance->self, AVOCET_LOG_INFO, text, (size_t)n);
	return AVOCET_ACCEPT;
}

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst, avocet_error *err)
{
	struct instance *instance = calloc(1, sizeof(*instance));

	(void)err;
	instance->host = host;
	instance->self = self;
	instance->auth = host->query(self, AVOCET_HOST_AUTH);
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

static const char *const methods[] = {"", "SAYS", NULL};
static const avocet_authenticator authenticator = {AVOCET_SIZED(avocet_authenticator),
    .methods = methods, .authenticate = authenticate,
    .wants = AVOCET_WANTS_CERTIFICATE | AVOCET_WANTS_EXPORTER};
static const avocet_authorizer authorizer = {AVOCET_SIZED(avocet_authorizer),
    .actions = AVOCET_DO_PUBLISH | AVOCET_DO_SUBSCRIBE, .authorize = authorize};
static const avocet_service authn = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHENTICATOR, .vtable = &authenticator};
static const avocet_service authz = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHORIZER, .vtable = &authorizer};
static const avocet_service *const services[] = {&authn, &authz, NULL};
static const avocet_lifecycle lifecycle = {AVOCET_SIZED(avocet_lifecycle), .create = create,
    .destroy = destroy, .prepare = prepare, .commit = commit};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {.magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .name = "says",
    .version = "1",
    .summary = "says what it is told",
    .license = "Apache-2.0",
    .url = "",
    .lifecycle = &lifecycle,
    .services = services};
