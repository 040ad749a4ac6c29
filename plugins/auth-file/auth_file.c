/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passwords from the users file. A password is hashed on the instance's threads, never on a worker;
 * an unknown user costs what a wrong password does. Who guesses is slowed down and shut out for a
 * while, by address and by user, without a thread being held (guard.c).
 *
 * What the configuration says, with the users that were read for it, is one immutable state; a file
 * that has changed is a renewed configuration. A question that is open keeps the state it began
 * with.
 */
#include <avocet/avocet_auth.h>
#include <avocet/avocet_runtime.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../users/guard.h"
#include "../users/users.h"
#include "auth_file.h"

enum { MAX_PATH = 4096, MAX_WHY = 512, BAD_LOGIN = 0x86 };

enum proven { PROVEN_LISTED, PROVEN_ANY, PROVEN_NONE };

/* A configuration, and what was read for it. */
struct state {
	char path[MAX_PATH];
	struct users_table *users;
	struct stat status; /* of the file that was read */
	struct guard_options guard;
	int64_t check_ns;
	enum proven proven;
	bool defers_unknown;
};

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_conf_api *conf;
	const avocet_auth_api *auth;
	const avocet_runtime_api *runtime;
	struct guard *guard;
	struct state *_Atomic state;
	avocet_timer_h timer;
	bool has_timer;
};

/* --- the file --- */

static void
say(struct instance *instance, int32_t level, const char *text)
{
	instance->host->log(instance->self, level, text, strlen(text));
}

static bool
read_users(struct state *state, char *why, size_t why_size)
{
	/* Before it is read: what changes meanwhile is noticed. */
	if (stat(state->path, &state->status) != 0) {
		(void)snprintf(why, why_size, "%.400s: %s", state->path, strerror(errno));
		return false;
	}
	state->users = users_read(state->path, why, why_size);
	return state->users != NULL;
}

/* Main, every check_interval: the file may have changed. */
static void
look(void *inst, void *arg)
{
	struct instance *instance = inst;
	struct state *state = atomic_load(&instance->state);
	avocet_error error = {0};
	char text[MAX_WHY];
	struct stat now;

	(void)arg;
	if (stat(state->path, &now) != 0 || !users_file_has_changed(&state->status, &now)) {
		return;
	}
	if (instance->runtime->renew(instance->self, &error) == AVOCET_OK) {
		(void)snprintf(text, sizeof(text), "the users file has changed: %zu lines",
		    users_count(atomic_load(&instance->state)->users));
		say(instance, AVOCET_LOG_INFO, text);
		return;
	}
	(void)snprintf(
	    text, sizeof(text), "the users file has changed, and stays unread: %.240s", error.text);
	say(instance, AVOCET_LOG_ERROR, text);
	state->status = now; /* main's alone */
}

/* --- logins --- */

/* The verdict goes by complete(), since it has a reason. */
static int32_t
deny(struct instance *instance, avocet_req_h req, uint32_t delay_ms)
{
	avocet_auth_out out = {
	    AVOCET_SIZED(avocet_auth_out), .reason = BAD_LOGIN, .deny_delay_ms = delay_ms};

	(void)instance->auth->auth_complete(instance->self, req, AVOCET_DENY, &out);
	return AVOCET_PENDING;
}

static int32_t
judge_proven(const struct users_table *users, enum proven proven, avocet_str name)
{
	if (proven == PROVEN_NONE) {
		return AVOCET_DEFER;
	}
	return proven == PROVEN_ANY || users_find(users, name.p, name.n, -1) != NULL ? AVOCET_ACCEPT
										     : AVOCET_DEFER;
}

static int32_t
authenticate(void *inst, avocet_req_h req, const avocet_auth_in *in)
{
	struct instance *instance = inst;
	const struct state *state = atomic_load_explicit(&instance->state, memory_order_acquire);
	struct guard_key key = {in->client->peer_addr, in->username};
	int64_t now_ns = instance->runtime->now_ns();
	bool is_known = false, is_right;
	uint32_t delay_ms;

	if ((in->flags & AVOCET_AUTH_PROVEN) != 0) {
		return judge_proven(state->users, state->proven, in->username);
	}
	if ((in->flags & AVOCET_AUTH_HAS_USERNAME) == 0 || in->username.n == 0) {
		return deny(instance, req, 0);
	}
	if (guard_is_shut(instance->guard, &state->guard, &key, now_ns, &delay_ms)) {
		return deny(instance, req, delay_ms);
	}
	is_right = users_check(state->users, in->username.p, in->username.n, in->password.p,
	    in->password.n, &is_known);
	if (is_right) {
		guard_forgive(instance->guard, &key);
		return AVOCET_ACCEPT;
	}
	if (!is_known && state->defers_unknown) {
		return AVOCET_DEFER;
	}
	return deny(instance, req, guard_note(instance->guard, &state->guard, &key, now_ns));
}

/* --- life --- */

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err)
{
	struct instance *instance = calloc(1, sizeof(*instance));

	if (instance == NULL || (instance->guard = guard_new()) == NULL) {
		(void)snprintf(err->text, sizeof(err->text), "no memory");
		free(instance);
		return AVOCET_E_NOMEM;
	}
	instance->host = host;
	instance->self = self;
	instance->conf = host->query(self, AVOCET_HOST_CONF);
	instance->auth = host->query(self, AVOCET_HOST_AUTH);
	instance->runtime = host->query(self, AVOCET_HOST_RUNTIME);
	*inst_out = instance;
	return AVOCET_OK;
}

static void
free_state(struct state *state)
{
	if (state != NULL) {
		users_free(state->users);
		free(state);
	}
}

static void
destroy(void *inst)
{
	struct instance *instance = inst;

	free_state(atomic_load(&instance->state));
	guard_free(instance->guard);
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
	char why[MAX_WHY] = "";
	avocet_str path = {0};

	if (state == NULL) {
		return AVOCET_E_NOMEM;
	}
	(void)instance->conf->str(conf, "file", &path);
	(void)snprintf(state->path, sizeof(state->path), "%.*s", (int)path.n, path.p);
	state->guard.max_failures = (uint32_t)number(instance, conf, "lockout_failures");
	state->guard.max_user_failures = (uint32_t)number(instance, conf, "lockout_user_failures");
	state->guard.lockout_ns = number(instance, conf, "lockout_time");
	state->guard.max_delay_ms = (uint32_t)(number(instance, conf, "max_delay") / 1000000);
	state->check_ns = number(instance, conf, "check_interval");
	state->proven = (enum proven)number(instance, conf, "certificate_users");
	state->defers_unknown = number(instance, conf, "unknown_user") == 1;
	if (!read_users(state, why, sizeof(why))) {
		(void)snprintf(err->text, sizeof(err->text), "%.240s", why);
		free_state(state);
		return AVOCET_E_CONFIG;
	}
	if ((state->status.st_mode & (S_IROTH | S_IWOTH)) != 0) {
		(void)snprintf(why, sizeof(why),
		    "%.400s can be read or written by everybody: chmod o= it", state->path);
		say(instance, AVOCET_LOG_WARN, why);
	}
	*next_out = state;
	return AVOCET_OK;
}

static void
set_timer(struct instance *instance)
{
	int64_t check_ns = atomic_load(&instance->state)->check_ns;

	if (instance->has_timer) {
		(void)instance->runtime->timer_del(instance->self, instance->timer);
		instance->has_timer = false;
	}
	if (check_ns > 0) {
		instance->has_timer = instance->runtime->timer_add(instance->self, check_ns,
					  check_ns, look, NULL, &instance->timer) == AVOCET_OK;
	}
}

static void
commit(void *inst, void *next, void **old_out)
{
	struct instance *instance = inst;
	struct state *old = atomic_exchange(&instance->state, next);

	*old_out = old;
	if (old != NULL && old->check_ns != ((struct state *)next)->check_ns) {
		set_timer(instance);
	}
}

static void
abort_next(void *inst, void *next)
{
	(void)inst;
	free_state(next);
}

static void
retire(void *inst, void *old)
{
	(void)inst;
	free_state(old);
}

static int32_t
start(void *inst, avocet_error *err)
{
	(void)err;
	set_timer(inst);
	return AVOCET_OK;
}

static const avocet_lifecycle lifecycle = {
    AVOCET_SIZED(avocet_lifecycle),
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .commit = commit,
    .abort = abort_next,
    .retire = retire,
    .start = start,
};

/* --- descriptor --- */

static const avocet_authenticator authenticator = {
    AVOCET_SIZED(avocet_authenticator),
    .exec = AVOCET_EXEC_POOL,
    .authenticate = authenticate,
};
static const avocet_service authenticator_service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHENTICATOR, .vtable = &authenticator};
static const avocet_service tool_service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_TOOL, .vtable = &auth_file_tool};
static const avocet_service *const services[] = {&authenticator_service, &tool_service, NULL};

static const char *const needs[] = {AVOCET_HOST_CONF, AVOCET_HOST_AUTH, AVOCET_HOST_RUNTIME, NULL};

#define RELOAD AVOCET_CONF_RELOADABLE
static const avocet_conf_item items[] = {
    {"file", AVOCET_CONF_PATH, AVOCET_CONF_REQUIRED | RELOAD, NULL, NULL,
	"the users file; see avocet-auth-file(8)", NULL, 0, 0},
    {"check_interval", AVOCET_CONF_DURATION, RELOAD, "2s", "0..1h",
	"how often the file is looked at for changes; 0 = on reload only", NULL, 0, 0},
    {"unknown_user", AVOCET_CONF_ENUM, RELOAD, "deny", "deny|defer",
	"defer: the next member of the chain is asked about users that are not in the file", NULL,
	0, 0},
    {"certificate_users", AVOCET_CONF_ENUM, RELOAD, "listed", "listed|any|none",
	"whom a verified certificate or a PSK lets in: users in the file, any, or none", NULL, 0,
	0},
    {"lockout_failures", AVOCET_CONF_INT, RELOAD, "10", "0..1000000",
	"so many wrong passwords from an address shut it out; 0 = never", NULL, 0, 0},
    {"lockout_user_failures", AVOCET_CONF_INT, RELOAD, "100", "0..1000000",
	"so many wrong passwords for a user, from anywhere, shut that user out; 0 = never", NULL, 0,
	0},
    {"lockout_time", AVOCET_CONF_DURATION, RELOAD, "1m", "1s..1d",
	"for how long; also how long failures are remembered", NULL, 0, 0},
    {"max_delay", AVOCET_CONF_DURATION, RELOAD, "10s", "0..1m",
	"a refusal is held back for longer with each failure of an address, up to this", NULL, 0,
	0},
};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {
    .magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .abi_minor_needed = 0,
    .name = "auth-file",
    .version = PACKAGE_VERSION,
    .summary = "user names and passwords from a file",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .services = services,
    .needs = needs,
    .conf = items,
    .n_conf = sizeof(items) / sizeof(*items),
    .conf_item_size = sizeof(*items),
};
