/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin to begin with: it lets in whose password is the one of its configuration. It runs on
 * threads that the broker gives it (POOL), so check() may be slow: it may ask a directory, a
 * database, a web service. Everything else goes on meanwhile.
 */
#include <avocet/avocet_auth.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the configuration says. Threads read it, so it does not change: a reload makes another. */
struct state {
	char password[128];
};

/* An entry below `plugins:`. One .so may have several, so nothing is global. */
struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_conf_api *conf;
	struct state *_Atomic state;
};

/* Is that the password? This is the function to make your own. */
static bool
check(const struct state *state, avocet_str name, avocet_bytes password)
{
	size_t len = strlen(state->password);
	uint8_t differ = 0;

	if (name.n == 0 || password.n != len) {
		return false;
	}
	/* All bytes are looked at: how long it takes tells nothing. */
	for (size_t i = 0; i < len; i++) {
		differ |= (uint8_t)(password.p[i] ^ (uint8_t)state->password[i]);
	}
	return differ == 0;
}

/* The question. It may block, but not for longer than in->deadline_ns: then nobody waits. */
static int32_t
authenticate(void *inst, avocet_req_h req, const avocet_auth_in *in)
{
	struct instance *instance = inst;
	/* What is loaded here stays until this function has returned, whatever is reloaded. */
	const struct state *state = atomic_load(&instance->state);

	(void)req;
	if ((in->flags & AVOCET_AUTH_HAS_USERNAME) == 0) {
		return AVOCET_DEFER; /* not mine: the next of the chain is asked */
	}
	return check(state, in->username, in->password) ? AVOCET_ACCEPT : AVOCET_DENY;
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
	/* It is among `needs` below, so it is there. */
	instance->conf = host->query(self, AVOCET_HOST_CONF);
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

/* At start and at each reload: builds what the configuration asks for, beside what is in force. */
static int32_t
prepare(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err)
{
	struct instance *instance = inst;
	struct state *next = calloc(1, sizeof(*next));
	avocet_str password;

	if (next == NULL || instance->conf->str(conf, "password", &password) != AVOCET_OK ||
	    password.n >= sizeof(next->password)) {
		(void)snprintf(err->text, sizeof(err->text), "the password is too long");
		free(next);
		return AVOCET_E_CONFIG; /* the whole reload is refused, with this sentence */
	}
	memcpy(next->password, password.p, password.n);
	*next_out = next;
	return AVOCET_OK;
}

/* All plugins could prepare: now it counts. */
static void
commit(void *inst, void *next, void **old_out)
{
	struct instance *instance = inst;

	*old_out = atomic_exchange(&instance->state, next);
}

static const avocet_lifecycle lifecycle = {
    AVOCET_SIZED(avocet_lifecycle), .create = create, .destroy = destroy, .prepare = prepare,
    .commit = commit, .abort = free_state, /* another plugin could not: `next` goes */
    .retire = free_state,                  /* no thread looks at `old` any more */
};

/* --- what the broker finds --- */

static const avocet_authenticator authenticator = {
    AVOCET_SIZED(avocet_authenticator),
    .exec = AVOCET_EXEC_POOL,
    .authenticate = authenticate,
};
static const avocet_service service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHENTICATOR, .vtable = &authenticator};
static const avocet_service *const services[] = {&service, NULL};
static const char *const needs[] = {AVOCET_HOST_CONF, NULL};

/* The keys of `config`: the broker checks them, and tells errors with file and line. */
static const avocet_conf_item items[] = {
    {.name = "password",
	.type = AVOCET_CONF_SECRET,
	.flags = AVOCET_CONF_REQUIRED | AVOCET_CONF_RELOADABLE,
	.help = "the password that everybody has"},
};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {
    .magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .abi_minor_needed = 0,
    .name = "my-auth",
    .version = "1.0",
    .summary = "one password for all",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .services = services,
    .needs = needs,
    .conf = items,
    .n_conf = sizeof(items) / sizeof(items[0]),
    .conf_item_size = sizeof(items[0]),
};
