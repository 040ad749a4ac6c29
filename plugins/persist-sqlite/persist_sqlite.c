/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin: configuration, the store's service, and what operators ask. Commands come on main and
 * are done on the store's thread, a part at a time, between commits.
 */
#include <avocet/avocet_admin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job.h"

enum { MAX_JOBS = 8, USAGE = 2, REFUSED = 1 };

struct errand {
	struct job job;
	avocet_req_h req;
	struct instance *instance;
};

struct instance {
	const avocet_host *host;
	avocet_self *self;
	const avocet_conf_api *conf;
	const avocet_store_api *store;
	const avocet_admin_api *admin;
	struct db_options options; /* main, until it is opened */
	struct db db;
	bool is_open;
	pthread_mutex_t lock; /* guards errands and count */
	struct errand *errands[MAX_JOBS];
	size_t count;
};

static void
say(void *arg, int32_t level, const char *text)
{
	struct instance *instance = arg;

	instance->host->log(instance->self, level, text, strlen(text));
}

static void
tell(avocet_error *err, int32_t code, const char *path, const char *why)
{
	err->code = code;
	(void)snprintf(
	    err->text, sizeof(err->text), "%.120s%s%.124s", path, path[0] != '\0' ? ": " : "", why);
}

/* --- what operators ask: main --- */

static void
print_text(void *arg, const char *text, size_t n)
{
	struct errand *errand = arg;

	(void)errand->instance->admin->print(errand->instance->self, errand->req, text, n);
}

static void
free_errand(struct errand *errand)
{
	job_fini(&errand->job);
	free(errand);
}

static void
refuse(struct instance *instance, avocet_req_h req, int32_t status, const char *sentence)
{
	(void)instance->admin->end(instance->self, req, status, sentence);
}

static bool
put(struct instance *instance, struct errand *errand)
{
	bool good;

	(void)pthread_mutex_lock(&instance->lock);
	good = instance->count < MAX_JOBS;
	if (good) {
		instance->errands[instance->count++] = errand;
	}
	(void)pthread_mutex_unlock(&instance->lock);
	return good;
}

static void
on_command(void *inst, avocet_req_h req, const avocet_admin_in *in, void *arg)
{
	struct instance *instance = inst;
	const enum job_kind *kind = arg;
	size_t wanted = *kind == JOB_BACKUP;
	struct errand *errand;

	if (in->n_args != wanted) {
		refuse(instance, req, USAGE,
		    wanted != 0 ? "it takes the file to write" : "it takes no argument");
		return;
	}
	if (wanted != 0 &&
	    (in->args[0].n == 0 || in->args[0].p[0] != '/' || in->args[0].n >= DB_MAX_PATH - 16)) {
		refuse(instance, req, USAGE,
		    "the file must be an absolute path: it is the broker that "
		    "writes it");
		return;
	}
	errand = calloc(1, sizeof(*errand));
	if (errand == NULL) {
		refuse(instance, req, REFUSED, "there is no memory");
		return;
	}
	*errand = (struct errand){
	    .job = {.kind = *kind, .is_running = true, .print = print_text, .arg = errand},
	    .req = req,
	    .instance = instance};
	if (wanted != 0) {
		memcpy(errand->job.path, in->args[0].p, in->args[0].n);
	}
	if (!put(instance, errand)) {
		refuse(instance, req, REFUSED, "too many commands wait already");
		free_errand(errand);
	} else if (instance->store->wake(instance->self) != AVOCET_OK) {
		/* Not the store: nobody would come for it. */
		(void)pthread_mutex_lock(&instance->lock);
		instance->count--;
		(void)pthread_mutex_unlock(&instance->lock);
		refuse(instance, req, REFUSED, "this instance is not the broker's store");
		free_errand(errand);
	}
}

static void
offer_commands(struct instance *instance)
{
	static const enum job_kind check = JOB_CHECK, dump = JOB_DUMP, backup = JOB_BACKUP,
				   compact = JOB_COMPACT, status = JOB_STATUS;
	static const struct {
		const char *name, *usage, *help;
		const enum job_kind *kind;
	} commands[] = {
	    {"status", "", "how large the database is, and what is in it", &status},
	    {"check", "", "check the whole database; commits wait meanwhile", &check},
	    {"dump", "", "print all rows, a JSON object each", &dump},
	    {"backup", "FILE", "copy the database to a file while the broker runs", &backup},
	    {"compact", "", "write the database anew without gaps; commits wait meanwhile",
		&compact},
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		(void)instance->admin->command(instance->self, commands[i].name, commands[i].usage,
		    commands[i].help, on_command, (void *)(uintptr_t)commands[i].kind);
	}
}

/* --- what operators ask: the store's thread --- */

static struct errand *
first(struct instance *instance)
{
	struct errand *errand;

	(void)pthread_mutex_lock(&instance->lock);
	errand = instance->count != 0 ? instance->errands[0] : NULL;
	(void)pthread_mutex_unlock(&instance->lock);
	return errand;
}

static void
remove_first(struct instance *instance)
{
	(void)pthread_mutex_lock(&instance->lock);
	instance->count--;
	memmove(instance->errands, instance->errands + 1,
	    instance->count * sizeof(instance->errands[0]));
	(void)pthread_mutex_unlock(&instance->lock);
}

/* A part of the first; true if there is more to do. */
static bool
work(struct instance *instance)
{
	struct errand *errand = first(instance);

	if (errand == NULL) {
		return false;
	}
	if (!job_step(&errand->job, &instance->db)) {
		return true;
	}
	(void)instance->admin->end(
	    instance->self, errand->req, errand->job.status, errand->job.sentence);
	remove_first(instance);
	free_errand(errand);
	return first(instance) != NULL;
}

/* --- the store --- */

static int32_t
open_store(void *inst, avocet_error *err)
{
	struct instance *instance = inst;
	char why[DB_MAX_WHY] = "";
	int32_t status = db_open(&instance->db, &instance->options, say, instance, why);

	instance->is_open = status == AVOCET_OK;
	if (status != AVOCET_OK) {
		tell(err, status, instance->options.path, why);
	}
	return status;
}

struct taking {
	const avocet_store_api *store;
	avocet_sink *sink;
};

static int32_t
take(void *arg, const avocet_store_op *op)
{
	struct taking *taking = arg;

	return taking->store->sink_op(taking->sink, op);
}

static int32_t
load(void *inst, avocet_sink *sink, avocet_error *err)
{
	struct instance *instance = inst;
	struct taking taking = {instance->store, sink};
	char why[DB_MAX_WHY] = "";
	int32_t status = db_load(&instance->db, take, &taking, why);

	if (status != AVOCET_OK) {
		tell(err, status, instance->options.path, why);
	}
	return status;
}

static int32_t
commit_batch(void *inst, const avocet_store_batch *batch, avocet_error *err)
{
	struct instance *instance = inst;
	char why[DB_MAX_WHY] = "";
	int32_t status = db_commit(&instance->db, batch, why);

	if (status < 0) {
		tell(err, status, "", why);
	}
	return status;
}

static int64_t
be_idle(void *inst, uint32_t flags)
{
	struct instance *instance = inst;
	int64_t ms = db_upkeep(&instance->db, (flags & AVOCET_STORE_BUSY) != 0);

	return work(instance) ? 0 : ms;
}

static void
close_store(void *inst, uint32_t clean)
{
	struct instance *instance = inst;
	struct errand *errand;

	while ((errand = first(instance)) != NULL) {
		remove_first(instance);
		free_errand(errand);
	}
	if (instance->is_open) {
		instance->is_open = false;
		db_close(&instance->db, clean != 0);
	}
}

/* --- life --- */

static void
destroy(void *inst)
{
	struct instance *instance = inst;

	(void)pthread_mutex_destroy(&instance->lock);
	free(instance);
}

static int32_t
create(const avocet_host *host, avocet_self *self, void **inst_out, avocet_error *err)
{
	struct instance *instance = calloc(1, sizeof(*instance));

	(void)err;
	if (instance == NULL) {
		return AVOCET_E_NOMEM;
	}
	instance->host = host;
	instance->self = self;
	instance->conf = host->query(self, AVOCET_HOST_CONF);
	instance->store = host->query(self, AVOCET_HOST_STORE);
	instance->admin = host->query(self, AVOCET_HOST_ADMIN);
	(void)pthread_mutex_init(&instance->lock, NULL);
	offer_commands(instance);
	*inst_out = instance;
	return AVOCET_OK;
}

static int64_t
number(const struct instance *instance, const avocet_conf *conf, const char *key)
{
	int64_t value = 0;

	(void)instance->conf->num(conf, key, &value);
	return value;
}

static int32_t
prepare(void *inst, const avocet_conf *conf, void **next_out, avocet_error *err)
{
	struct instance *instance = inst;
	struct db_options *options = calloc(1, sizeof(*options));
	avocet_str path = {0};

	if (options == NULL) {
		return AVOCET_E_NOMEM;
	}
	(void)instance->conf->str(conf, "file", &path);
	if (path.n == 0 || path.n >= DB_MAX_PATH - 64) {
		tell(err, AVOCET_E_CONFIG, "", "file: is empty or too long");
		free(options);
		return AVOCET_E_CONFIG;
	}
	memcpy(options->path, path.p, path.n);
	options->cache_size = number(instance, conf, "cache_size");
	options->checkpoint_size = number(instance, conf, "checkpoint_size");
	options->min_free = number(instance, conf, "min_free");
	options->ballast = number(instance, conf, "ballast");
	options->check = (enum db_check)number(instance, conf, "check_on_start");
	options->on_corrupt = (enum db_corrupt)number(instance, conf, "on_corrupt");
	*next_out = options;
	return AVOCET_OK;
}

/* None of it changes while the database is open: the same values come again. */
static void
commit(void *inst, void *next, void **old_out)
{
	struct instance *instance = inst;

	if (!instance->is_open) {
		instance->options = *(struct db_options *)next;
	}
	free(next);
	*old_out = NULL;
}

static void
abort_next(void *inst, void *next)
{
	(void)inst;
	free(next);
}

static const avocet_lifecycle lifecycle = {
    AVOCET_SIZED(avocet_lifecycle),
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .commit = commit,
    .abort = abort_next,
};

/* --- a stopped broker --- */

static void
print_line(void *arg, const char *text, size_t n)
{
	const avocet_tool_in *in = arg;

	in->out(in->arg, text, n != 0 && text[n - 1] == '\n' ? n - 1 : n);
}

static void
say_offline(void *arg, int32_t level, const char *text)
{
	const avocet_tool_in *in = arg;

	(void)level;
	in->err(in->arg, text, strlen(text));
}

static int32_t
run_offline(const avocet_tool_in *in, enum job_kind kind)
{
	struct db_options options = {.cache_size = 64 << 20, .is_offline = true};
	struct job job = {.kind = kind, .print = print_line, .arg = (void *)(uintptr_t)in};
	size_t wanted = kind == JOB_BACKUP ? 2 : 1;
	char why[DB_MAX_WHY] = "", text[DB_MAX_PATH + DB_MAX_WHY + 16];
	struct db db;

	if (in->n_args != wanted || in->args[0].n >= sizeof(options.path) - 64 ||
	    (wanted == 2 && in->args[1].n >= sizeof(job.path) - 16)) {
		return USAGE;
	}
	memcpy(options.path, in->args[0].p, in->args[0].n);
	if (wanted == 2) {
		memcpy(job.path, in->args[1].p, in->args[1].n);
	}
	if (db_open(&db, &options, say_offline, (void *)(uintptr_t)in, why) != AVOCET_OK) {
		(void)snprintf(text, sizeof(text), "%s: %s", options.path, why);
		in->err(in->arg, text, strlen(text));
		return REFUSED;
	}
	while (!job_step(&job, &db)) {}
	if (job.sentence[0] != '\0') {
		in->err(in->arg, job.sentence, strlen(job.sentence));
	}
	job_fini(&job);
	db_close(&db, false);
	return job.status;
}

static int32_t
run_check(const avocet_tool_in *in)
{
	return run_offline(in, JOB_CHECK);
}

static int32_t
run_dump(const avocet_tool_in *in)
{
	return run_offline(in, JOB_DUMP);
}

static int32_t
run_backup(const avocet_tool_in *in)
{
	return run_offline(in, JOB_BACKUP);
}

static int32_t
run_compact(const avocet_tool_in *in)
{
	return run_offline(in, JOB_COMPACT);
}

static int32_t
run_status(const avocet_tool_in *in)
{
	return run_offline(in, JOB_STATUS);
}

static const avocet_tool_command commands[] = {
    {"store status", "[FILE]", "how large the database is, and what is in it", run_status},
    {"store check", "[FILE]", "check the whole database", run_check},
    {"store dump", "[FILE]", "print all rows, a JSON object each", run_dump},
    {"store backup", "[FILE] TARGET", "copy the database to a new file", run_backup},
    {"store compact", "[FILE]", "write the database anew without gaps", run_compact},
};
static const avocet_tool tool = {
    AVOCET_SIZED(avocet_tool),
    .n_commands = sizeof(commands) / sizeof(*commands),
    .commands = commands,
    .command_size = sizeof(*commands),
};

/* --- descriptor --- */

static const avocet_store store = {
    AVOCET_SIZED(avocet_store),
    .open = open_store,
    .load = load,
    .commit = commit_batch,
    .idle = be_idle,
    .close = close_store,
};
static const avocet_service store_service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_STORE, .vtable = &store};
static const avocet_service tool_service = {
    AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_TOOL, .vtable = &tool};
static const avocet_service *const services[] = {&store_service, &tool_service, NULL};

static const char *const needs[] = {AVOCET_HOST_CONF, AVOCET_HOST_STORE, AVOCET_HOST_ADMIN, NULL};

static const avocet_conf_item items[] = {
    {"file", AVOCET_CONF_DATA_PATH, 0, "avocet.db", NULL,
	"the database; beside it lie its log (-wal) and the ballast", NULL, 0, 0},
    {"cache_size", AVOCET_CONF_SIZE, 0, "64MiB", "1MiB..1024GiB",
	"memory for pages of the database", NULL, 0, 0},
    {"checkpoint_size", AVOCET_CONF_SIZE, 0, "64MiB", "1MiB..64GiB",
	"a log larger than this is written back at once, on a quick disk one of a sixteenth; a "
	"smaller one when there is time",
	NULL, 0, 0},
    {"min_free", AVOCET_CONF_SIZE, 0, "64MiB", NULL,
	"with less left on the disk nothing new is stored; 0 = until it is full", NULL, 0, 0},
    {"ballast", AVOCET_CONF_SIZE, 0, "16MiB", NULL,
	"a file that is deleted when the disk is full, so that what frees space can be written; 0 "
	"= "
	"none",
	NULL, 0, 0},
    {"check_on_start", AVOCET_CONF_ENUM, 0, "unclean", "unclean|always|never",
	"when the structure of the database is checked; unclean: after a crash", NULL, 0, 0},
    {"on_corrupt", AVOCET_CONF_ENUM, 0, "salvage", "salvage|refuse|fresh",
	"of a damaged database, set it aside and start with what can be read; do not start; or "
	"set it aside and start with nothing",
	NULL, 0, 0},
};

AVOCET_EXPORT const avocet_plugin avocet_plugin_v0 = {
    .magic = AVOCET_MAGIC,
    AVOCET_SIZED(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR,
    .abi_minor = AVOCET_ABI_MINOR,
    .abi_minor_needed = 2,
    .name = "persist-sqlite",
    .version = PACKAGE_VERSION,
    .summary = "sessions and messages in an SQLite database",
    .license = "Apache-2.0",
    .lifecycle = &lifecycle,
    .services = services,
    .needs = needs,
    .conf = items,
    .n_conf = sizeof(items) / sizeof(*items),
    .conf_item_size = sizeof(*items),
};
