/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enhanced authentication with Cyrus SASL. What the configuration says, with the users file that it
 * names, is one immutable state; a file that has changed is a renewed configuration. A call that is
 * open keeps the state that it began with.
 */
#include "auth_sasl.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_WHY = 512 };

/* All that may be asked for. GSSAPI is there when its module of SASL's is. */
static const char *const known[] = {"SCRAM-SHA-512-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-384-PLUS",
    "SCRAM-SHA-384", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1",
    "PLAIN", "EXTERNAL", "GSSAPI", NULL};

static void
say(struct instance *instance, int32_t level, const char *text)
{
	instance->host->log(instance->self, level, text, strlen(text));
}

/* --- the state --- */

static void
free_state(struct state *state)
{
	if (state != NULL) {
		users_free(state->users);
		OPENSSL_cleanse(state->secret, sizeof(state->secret));
		free(state);
	}
}

static bool
read_secret(int fd, struct state *state)
{
	return read(fd, state->secret, SASL_SECRET_LEN) == SASL_SECRET_LEN;
}

static bool
make_secret(const char *path, struct state *state)
{
	int fd =
	    open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
	bool good = fd >= 0 && RAND_bytes(state->secret, SASL_SECRET_LEN) == 1 &&
		    write(fd, state->secret, SASL_SECRET_LEN) == SASL_SECRET_LEN && fsync(fd) == 0;
	int error = errno;

	if (fd >= 0) {
		(void)close(fd);
	}
	if (fd >= 0 && !good) {
		(void)unlink(path);
	}
	errno = error;
	return good;
}

/* It must be the same after a restart: else names that are not there show by their salts. */
static bool
load_secret(const char *path, struct state *state, char *why, size_t why_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool good;

	if (fd < 0 && errno == ENOENT) {
		good = make_secret(path, state);
	} else {
		errno = fd >= 0 ? 0 : errno;
		good = fd >= 0 && read_secret(fd, state);
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	if (!good) {
		(void)snprintf(why, why_size, "%.400s: %s", path,
		    errno != 0 ? strerror(errno) : "is not a secret of 32 bytes");
	}
	return good;
}

static bool
load_users(struct state *state, char *why, size_t why_size)
{
	/* Before it is read: what changes meanwhile is noticed. */
	if (stat(state->path, &state->status) != 0) {
		(void)snprintf(why, why_size, "%.400s: %s", state->path, strerror(errno));
		return false;
	}
	state->users = users_read(state->path, why, why_size);
	return state->users != NULL;
}

static bool
is_known(avocet_str name)
{
	for (size_t i = 0; known[i] != NULL; i++) {
		if (strlen(known[i]) == name.n && memcmp(known[i], name.p, name.n) == 0) {
			return true;
		}
	}
	return false;
}

static bool
load_mechanisms(const struct instance *instance, const avocet_conf *conf, struct state *state,
    char *why, size_t why_size)
{
	size_t count = 0;

	(void)instance->conf->count(conf, "mechanisms", &count);
	for (size_t i = 0; i < count; i++) {
		avocet_str name = {0};
		char path[32];

		(void)snprintf(path, sizeof(path), "mechanisms[%zu]", i);
		(void)instance->conf->str(conf, path, &name);
		if (!is_known(name) || i >= SASL_MAX_MECHANISMS) {
			(void)snprintf(why, why_size,
			    "mechanisms: there is no \"%.*s\" here; there are SCRAM-SHA-512, -384, "
			    "-256 and -1, each also with -PLUS, PLAIN, EXTERNAL and GSSAPI",
			    (int)(name.n < 64 ? name.n : 64), name.n != 0 ? name.p : "");
			return false;
		}
		(void)snprintf(state->mechanisms[state->mechanism_count++], SASL_MAX_METHOD, "%.*s",
		    (int)name.n, name.p);
	}
	if (state->mechanism_count == 0) {
		(void)snprintf(why, why_size, "mechanisms: names none");
	}
	return state->mechanism_count != 0;
}

static int64_t
number(const struct instance *instance, const avocet_conf *conf, const char *path)
{
	int64_t value = 0;

	(void)instance->conf->num(conf, path, &value);
	return value;
}

static void
text(const struct instance *instance, const avocet_conf *conf, const char *path, char *out,
    size_t size)
{
	avocet_str value = {0};

	(void)instance->conf->str(conf, path, &value);
	(void)snprintf(out, size, "%.*s", (int)value.n, value.n != 0 ? value.p : "");
}

static void
load_words(const struct instance *instance, const avocet_conf *conf, struct state *state)
{
	text(instance, conf, "file", state->path, sizeof(state->path));
	text(instance, conf, "service", state->service, sizeof(state->service));
	text(instance, conf, "hostname", state->host, sizeof(state->host));
	/* Not by the library, which would ask the network for it. */
	if (state->host[0] == '\0' && gethostname(state->host, sizeof(state->host) - 1) != 0) {
		(void)snprintf(state->host, sizeof(state->host), "localhost");
	}
	state->guard.max_failures = (uint32_t)number(instance, conf, "lockout_failures");
	state->guard.max_user_failures = (uint32_t)number(instance, conf, "lockout_user_failures");
	state->guard.lockout_ns = number(instance, conf, "lockout_time");
	state->guard.max_delay_ms = (uint32_t)(number(instance, conf, "max_delay") / 1000000);
	state->check_ns = number(instance, conf, "check_interval");
	state->reauth_ns = number(instance, conf, "reauth_after");
}

static bool
set_methods(const struct instance *instance, const struct state *state)
{
	const char *methods[SASL_MAX_MECHANISMS + 1];

	for (size_t i = 0; i < state->mechanism_count; i++) {
		methods[i] = state->mechanisms[i];
	}
	methods[state->mechanism_count] = NULL;
	return instance->auth->set_methods(instance->self, methods) == AVOCET_OK;
}

static int32_t
prepare(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err)
{
	struct instance *instance = inst;
	struct state *state = calloc(1, sizeof(*state));
	char why[MAX_WHY] = "", secret[SASL_MAX_PATH];

	if (state == NULL) {
		return AVOCET_E_NOMEM;
	}
	load_words(instance, conf, state);
	text(instance, conf, "secret_file", secret, sizeof(secret));
	if (!load_mechanisms(instance, conf, state, why, sizeof(why)) ||
	    !load_users(state, why, sizeof(why)) || !load_secret(secret, state, why, sizeof(why)) ||
	    !set_methods(instance, state)) {
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

/* --- changes --- */

/* Main, every check_interval. */
static void
look(void *inst, void *arg)
{
	struct instance *instance = inst;
	struct state *state = atomic_load(&instance->state);
	char sentence[MAX_WHY];
	avocet_error error = {0};
	struct stat now;

	(void)arg;
	if (stat(state->path, &now) != 0 || !users_file_has_changed(&state->status, &now)) {
		return;
	}
	if (instance->runtime->renew(instance->self, &error) == AVOCET_OK) {
		(void)snprintf(sentence, sizeof(sentence), "the users file has changed: %zu lines",
		    users_count(atomic_load(&instance->state)->users));
		say(instance, AVOCET_LOG_INFO, sentence);
		return;
	}
	(void)snprintf(sentence, sizeof(sentence),
	    "the users file has changed, and stays unread: %.200s", error.text);
	say(instance, AVOCET_LOG_ERROR, sentence);
	state->status = now; /* main's alone */
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
drop(void *inst, void *state)
{
	(void)inst;
	free_state(state);
}

/* --- life --- */

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err)
{
	struct instance *instance = calloc(1, sizeof(*instance));
	const char *failure = library_init();

	if (instance == NULL || failure != NULL || (instance->guard = guard_new()) == NULL) {
		(void)snprintf(
		    err->text, sizeof(err->text), "%s", failure != NULL ? failure : "no memory");
		free(instance);
		return failure != NULL ? AVOCET_E_INTERNAL : AVOCET_E_NOMEM;
	}
	instance->host = host;
	instance->self = self;
	instance->conf = host->query(self, AVOCET_HOST_CONF);
	instance->auth = host->query(self, AVOCET_HOST_AUTH);
	instance->runtime = host->query(self, AVOCET_HOST_RUNTIME);
	instance->metrics = host->query(self, AVOCET_HOST_METRICS);
	(void)instance->metrics->add(self, AVOCET_METRIC_COUNTER, "accepted_total",
	    "logins and re-authentications that were accepted", NULL, 0, &instance->accepted);
	(void)instance->metrics->add(self, AVOCET_METRIC_COUNTER, "refused_total",
	    "logins and re-authentications that were refused", NULL, 0, &instance->refused);
	*inst_out = instance;
	return AVOCET_OK;
}

static void
destroy(void *inst)
{
	struct instance *instance = inst;

	free_state(atomic_load(&instance->state));
	guard_free(instance->guard);
	free(instance);
}

static int32_t
start(void *inst, avocet_error *err)
{
	(void)err;
	set_timer(inst);
	return AVOCET_OK;
}

static const avocet_lifecycle lifecycle = {AVOCET_SIZED(avocet_lifecycle), .create = create,
    .destroy = destroy, .prepare = prepare, .commit = commit, .abort = drop, .retire = drop,
    .start = start};

/* --- descriptor --- */

static const char *const default_methods[] = {"SCRAM-SHA-256", NULL};
static const avocet_authenticator authenticator = {AVOCET_SIZED(avocet_authenticator),
    .exec = AVOCET_EXEC_WORKER, .methods = default_methods, .authenticate = exchange_authenticate,
    .exchange_free = exchange_free, .wants = AVOCET_WANTS_EXPORTER};
static const avocet_service authenticator_service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_AUTHENTICATOR, .vtable = &authenticator};
static const avocet_service *const services[] = {&authenticator_service, NULL};

static const char *const needs[] = {
    AVOCET_HOST_CONF, AVOCET_HOST_AUTH, AVOCET_HOST_RUNTIME, AVOCET_HOST_METRICS, NULL};

#define RELOAD AVOCET_CONF_RELOADABLE
static const avocet_conf_item items[] = {
    {"file", AVOCET_CONF_PATH, AVOCET_CONF_REQUIRED | RELOAD, NULL, NULL,
	"the users file; see avocet-auth-file(8)", NULL, 0, 0},
    {"mechanisms", AVOCET_CONF_LIST, RELOAD,
	"[SCRAM-SHA-512-PLUS, SCRAM-SHA-512, SCRAM-SHA-256-PLUS, SCRAM-SHA-256]", NULL,
	"Authentication Methods of CONNECT; any of SCRAM-SHA-512, -384, -256, -1, each also with "
	"-PLUS, PLAIN (in TLS only), EXTERNAL, GSSAPI",
	NULL, 0, 0},
    {"check_interval", AVOCET_CONF_DURATION, RELOAD, "2s", "0..1h",
	"how often the file is looked at for changes; 0 = on reload only", NULL, 0, 0},
    {"secret_file", AVOCET_CONF_DATA_PATH, RELOAD, "auth-sasl.secret", NULL,
	"32 bytes of which salts of unknown users are made; made at need", NULL, 0, 0},
    {"reauth_after", AVOCET_CONF_DURATION, RELOAD, "0", "0..365d",
	"who has not re-authenticated so long after a login is disconnected; 0 = never", NULL, 0,
	0},
    {"lockout_failures", AVOCET_CONF_INT, RELOAD, "10", "0..1000000",
	"so many wrong proofs from an address shut it out; 0 = never", NULL, 0, 0},
    {"lockout_user_failures", AVOCET_CONF_INT, RELOAD, "100", "0..1000000",
	"so many wrong proofs for a user, from anywhere, shut that user out; 0 = never", NULL, 0,
	0},
    {"lockout_time", AVOCET_CONF_DURATION, RELOAD, "1m", "1s..1d",
	"for how long; also how long failures are remembered", NULL, 0, 0},
    {"max_delay", AVOCET_CONF_DURATION, RELOAD, "10s", "0..1m",
	"a refusal is held back for longer with each failure of an address, up to this", NULL, 0,
	0},
    {"service", AVOCET_CONF_STR, RELOAD, "mqtt", NULL,
	"GSSAPI: the first part of the broker's principal, SERVICE/HOSTNAME", NULL, 0, 0},
    {"hostname", AVOCET_CONF_STR, RELOAD, "", NULL,
	"GSSAPI: the second part; empty: the name of the machine", NULL, 0, 0},
};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {
    .magic = AVOCET_MAGIC,
    .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .abi_minor_needed = 1, /* jobs, and Authentication Data that may be absent */
    .name = "auth-sasl",
    .version = PACKAGE_VERSION,
    .summary = "enhanced authentication by AUTH, with Cyrus SASL: SCRAM and others",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .services = services,
    .needs = needs,
    .conf = items,
    .n_conf = sizeof(items) / sizeof(*items),
    .conf_item_size = sizeof(*items),
};
