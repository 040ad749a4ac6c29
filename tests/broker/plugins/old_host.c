/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host of ABI 0.0, compiled with the headers of that time (tests/abi/minor-0): its tables end
 * where they ended then, and behind each lies what must not be looked at. It judges a module as
 * load.c does, and puts a plugin through its life, with questions to its authenticator.
 *
 *     old_host MODULE FILE [USER PASSWORD]...      a line per login: the verdict
 */
#include <avocet/avocet_auth.h>
#include <avocet/avocet_runtime.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct avocet_self {
	int unused;
};

static struct avocet_self self;
static const char *users_file;
static int32_t completed;

/* A table, and poison where a newer one would go on. */
#define POISON(T)                          \
	struct {                           \
		T table;                   \
		unsigned char poison[256]; \
	}

static POISON(avocet_host) host;
static POISON(avocet_conf_api) conf;
static POISON(avocet_auth_api) auth;
static POISON(avocet_runtime_api) runtime;

static const void *
on_query(avocet_self *of, const char *name)
{
	(void)of;
	return strcmp(name, AVOCET_HOST_CONF) == 0      ? (const void *)&conf.table
	       : strcmp(name, AVOCET_HOST_AUTH) == 0    ? (const void *)&auth.table
	       : strcmp(name, AVOCET_HOST_RUNTIME) == 0 ? (const void *)&runtime.table
							: NULL;
}

static void
on_log(avocet_self *of, int32_t level, const char *text, size_t n)
{
	(void)of;
	(void)level;
	fprintf(stderr, "%.*s\n", (int)n, text);
}

static int32_t
on_str(const avocet_conf *of, const char *path, avocet_str *out)
{
	(void)of;
	if (strcmp(path, "file") != 0) {
		return AVOCET_E_NOTFOUND;
	}
	*out = avocet_str_of(users_file);
	return AVOCET_OK;
}

static int32_t
on_num(const avocet_conf *of, const char *path, int64_t *out)
{
	(void)of;
	(void)path;
	*out = 0;
	return AVOCET_OK;
}

static int32_t
on_complete(avocet_self *of, avocet_req_h req, int32_t verdict, const avocet_auth_out *out)
{
	(void)of;
	(void)req;
	(void)out;
	completed = verdict;
	return AVOCET_OK;
}

static int64_t
on_now(void)
{
	return 1;
}

static int32_t
on_timer(avocet_self *of, int64_t after, int64_t period, avocet_task_fn fn, void *arg,
    avocet_timer_h *out)
{
	(void)of;
	(void)after;
	(void)period;
	(void)fn;
	(void)arg;
	*out = 1;
	return AVOCET_OK;
}

static int32_t
on_timer_del(avocet_self *of, avocet_timer_h timer)
{
	(void)of;
	(void)timer;
	return AVOCET_OK;
}

static void
fill(void)
{
	memset(&host, 0xa5, sizeof(host));
	memset(&conf, 0xa5, sizeof(conf));
	memset(&auth, 0xa5, sizeof(auth));
	memset(&runtime, 0xa5, sizeof(runtime));
	host.table = (avocet_host){AVOCET_SIZED(avocet_host), .abi_major = AVOCET_ABI_MAJOR,
	    .abi_minor = AVOCET_ABI_MINOR, .workers = 1, .version = "0.0.0", .query = on_query,
	    .log = on_log};
	conf.table = (avocet_conf_api){AVOCET_SIZED(avocet_conf_api), .str = on_str, .num = on_num};
	auth.table = (avocet_auth_api){AVOCET_SIZED(avocet_auth_api), .auth_complete = on_complete};
	runtime.table = (avocet_runtime_api){AVOCET_SIZED(avocet_runtime_api), .now_ns = on_now,
	    .timer_add = on_timer, .timer_del = on_timer_del};
}

static const avocet_authenticator *
authenticator_of(const avocet_plugin *plugin)
{
	for (const avocet_service *const *at = plugin->services; *at != NULL; at++) {
		if (strcmp((*at)->id, AVOCET_SERVICE_AUTHENTICATOR) == 0) {
			return (*at)->vtable;
		}
	}
	return NULL;
}

static int32_t
ask(const avocet_authenticator *authenticator, void *inst, const char *user, const char *password)
{
	const avocet_client_info client = {AVOCET_SIZED(avocet_client_info),
	    .client_id = avocet_str_of("c"), .peer_addr = avocet_str_of("192.0.2.1")};
	const avocet_auth_in in = {AVOCET_SIZED(avocet_auth_in), .step = AVOCET_AUTH_CONNECT,
	    .client = &client, .username = avocet_str_of(user),
	    .password = {(const uint8_t *)password, strlen(password)},
	    .flags = AVOCET_AUTH_HAS_USERNAME | AVOCET_AUTH_HAS_PASSWORD};
	int32_t verdict;

	completed = 0;
	verdict = authenticator->authenticate(inst, 1, &in);
	return verdict == AVOCET_PENDING ? completed : verdict;
}

int
main(int argc, char **argv)
{
	void *module, *inst = NULL, *next = NULL, *old = NULL;
	const avocet_plugin *plugin;
	const avocet_lifecycle *life;
	avocet_error error = {0};

	if (argc < 3 || (module = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL)) == NULL ||
	    (plugin = dlsym(module, "avocet_plugin_v0")) == NULL) {
		fprintf(stderr, "%s\n", argc < 3 ? "usage" : dlerror());
		return 2;
	}
	if (plugin->abi_minor_needed > AVOCET_ABI_MINOR) {
		printf("needs 0.%u\n", (unsigned)plugin->abi_minor_needed);
		return 1;
	}
	users_file = argv[2];
	fill();
	life = plugin->lifecycle;
	if (life->create(&host.table, &self, &inst, &error) != AVOCET_OK ||
	    life->prepare(inst, NULL, &next, &error) != AVOCET_OK) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	life->commit(inst, next, &old);
	if (life->start != NULL && life->start(inst, &error) != AVOCET_OK) {
		return 1;
	}
	for (int i = 3; i + 1 < argc; i += 2) {
		printf("%d\n", (int)ask(authenticator_of(plugin), inst, argv[i], argv[i + 1]));
	}
	if (life->stop != NULL) {
		life->stop(inst);
	}
	life->destroy(inst);
	return 0;
}
