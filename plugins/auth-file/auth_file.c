/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passwords from the users file. A password is hashed on the instance's threads, never on a worker;
 * an unknown user costs what a wrong password does. Who guesses is slowed down and shut out for a
 * while, by address and by user, without a thread being held (guard.c).
 *
 * The table of users is immutable and counted: threads take a reference under a lock, main replaces
 * it when the file has changed.
 */
#include <avocet/avocet_auth.h>
#include <avocet/avocet_runtime.h>
#include <errno.h>
#include <pthread.h>
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

struct table {
	atomic_int refs;
	struct users_table *users;
};

/* A configuration, and what was read for it. */
struct state {
	char path[MAX_PATH];
	struct table *table;
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
	pthread_mutex_t lock; /* guards state and its table */
	struct state *state;
	avocet_timer_h timer;
	bool has_timer;
};

/* --- tables --- */

static struct table *
table_new(struct users_table *users)
{
	struct table *table = malloc(sizeof(*table));

	if (table == NULL) {
		users_free(users);
		return NULL;
	}
	atomic_init(&table->refs, 1);
	table->users = users;
	return table;
}

static void
table_unref(struct table *table)
{
	if (table != NULL && atomic_fetch_sub(&table->refs, 1) == 1) {
		users_free(table->users);
		free(table);
	}
}

static void
say(struct instance *instance, int32_t level, const char *text)
{
	instance->host->log(instance->self, level, text, strlen(text));
}

static bool
read_table(struct state *state, char *why, size_t why_size)
{
	struct users_table *users;

	/* Before it is read: what changes meanwhile is noticed. */
	if (stat(state->path, &state->status) != 0) {
		(void)snprintf(why, why_size, "%.400s: %s", state->path, strerror(errno));
		return false;
	}
	users = users_read(state->path, why, why_size);
	if (users == NULL) {
		return false;
	}
	table_unref(state->table);
	state->table = table_new(users);
	return state->table != NULL;
}

static bool
has_changed(const struct stat *old, const struct stat *new)
{
	return old->st_ino != new->st_ino || old->st_size != new->st_size ||
	       old->st_mtim.tv_sec != new->st_mtim.tv_sec ||
	       old->st_mtim.tv_nsec != new->st_mtim.tv_nsec;
}

/* Main, every check_interval: the file may have changed. */
static void
look(void *inst, void *arg)
{
	struct instance *instance = inst;
	struct state *state = instance->state;
	struct state fresh = {0};
	char why[MAX_WHY] = "", text[MAX_WHY + 64];
	struct stat now;

	(void)arg;
	if (stat(state->path, &now) != 0 || !has_changed(&state->status, &now)) {
		return;
	}
	memcpy(fresh.path, state->path, sizeof(fresh.path));
	if (read_table(&fresh, why, sizeof(why))) {
		struct table *old;

		(void)pthread_mutex_lock(&instance->lock);
		old = state->table;
		state->table = fresh.table;
		(void)pthread_mutex_unlock(&instance->lock);
		table_unref(old);
		(void)snprintf(text, sizeof(text), "the users file has changed: %zu lines",
		    users_count(fresh.table->users));
		say(instance, AVOCET_LOG_INFO, text);
	} else {
		(void)snprintf(
		    text, sizeof(text), "the users file has changed, and stays unread: %s", why);
		say(instance, AVOCET_LOG_ERROR, text);
	}
	state->status = now;
}

/* --- logins --- */

static struct table *
take_table(struct instance *instance, struct state *copy)
{
	struct table *table;

	(void)pthread_mutex_lock(&instance->lock);
	table = instance->state->table;
	atomic_fetch_add(&table->refs, 1);
	copy->guard = instance->state->guard;
	copy->proven = instance->state->proven;
	copy->defers_unknown = instance->state->defers_unknown;
	(void)pthread_mutex_unlock(&instance->lock);
	return table;
}

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
	struct state now = {0};
	struct table *table = take_table(instance, &now);
	struct guard_key key = {in->client->peer_addr, in->username};
	int64_t now_ns = instance->runtime->now_ns();
	bool is_known = false, is_right;
	uint32_t delay_ms;
	int32_t verdict;

	if ((in->flags & AVOCET_AUTH_PROVEN) != 0) {
		verdict = judge_proven(table->users, now.proven, in->username);
	} else if ((in->flags & AVOCET_AUTH_HAS_USERNAME) == 0 || in->username.n == 0) {
		verdict = deny(instance, req, 0);
	} else if (guard_is_shut(instance->guard, &now.guard, &key, now_ns, &delay_ms)) {
		verdict = deny(instance, req, delay_ms);
	} else {
		is_right = users_check(table->users, in->username.p, in->username.n, in->password.p,
		    in->password.n, &is_known);
		if (is_right) {
			guard_forgive(instance->guard, &key);
			verdict = AVOCET_ACCEPT;
		} else if (!is_known && now.defers_unknown) {
			verdict = AVOCET_DEFER;
		} else {
			delay_ms = guard_note(instance->guard, &now.guard, &key, now_ns);
			verdict = deny(instance, req, delay_ms);
		}
	}
	table_unref(table);
	return verdict;
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
	(void)pthread_mutex_init(&instance->lock, NULL);
	*inst_out = instance;
	return AVOCET_OK;
}

static void
free_state(struct state *state)
{
	if (state != NULL) {
		table_unref(state->table);
		free(state);
	}
}

static void
destroy(void *inst)
{
	struct instance *instance = inst;

	free_state(instance->state);
	guard_free(instance->guard);
	(void)pthread_mutex_destroy(&instance->lock);
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
	if (!read_table(state, why, sizeof(why))) {
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
	if (instance->has_timer) {
		(void)instance->runtime->timer_del(instance->self, instance->timer);
		instance->has_timer = false;
	}
	if (instance->state->check_ns > 0) {
		instance->has_timer =
		    instance->runtime->timer_add(instance->self, instance->state->check_ns,
			instance->state->check_ns, look, NULL, &instance->timer) == AVOCET_OK;
	}
}

static void
commit(void *inst, void *next, void **old_out)
{
	struct instance *instance = inst;

	(void)pthread_mutex_lock(&instance->lock);
	*old_out = instance->state;
	instance->state = next;
	(void)pthread_mutex_unlock(&instance->lock);
	if (*old_out != NULL) {
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
