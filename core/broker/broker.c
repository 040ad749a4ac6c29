/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's life. Before there are threads: the log is opened, listeners are bound, privileges
 * dropped, the house is built and what the store holds is loaded. Then the loop runs; what needs a
 * turn of main (the first accept, the first lines of the log) is done in main's start. After the
 * loop everything is taken down by main alone.
 */
#include "broker/broker.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "broker/broker_int.h"
#include "broker/engine.h"
#include "broker/machine.h"

#define DEFAULT_CONTROL "/run/avocet/control.sock"
#define DEFAULT_PATH "/etc/avocet/avocet.yaml"

/* --- the configuration --- */

struct conf *
broker_conf_load(const char *path, const char **path_out)
{
	if (path == NULL && access(DEFAULT_PATH, F_OK) == 0) {
		path = DEFAULT_PATH;
	}
	*path_out = path;
	return path != NULL ? conf_load(path, NULL)
			    : conf_read("defaults", (struct bytes){NULL, 0}, NULL, NULL);
}

void
broker_conf_free(struct conf **conf)
{
	conf_unref(conf);
}

bool
broker_conf_check(struct conf *conf, int port, bool verbose, struct buf *errors)
{
	if (broker_options_bind(conf, (struct broker_override){port, verbose}) != NULL) {
		return true;
	}
	conf_format_errors(conf, errors);
	return false;
}

void
broker_conf_dump(struct conf *conf, struct buf *out)
{
	(void)conf_dump(conf, &broker_options_schema, broker_options_of(conf), false, out);
}

static void
describe_budget(struct buf *out, const char *what, int64_t bytes)
{
	enum { MIB = 1 << 20 };

	if (bytes == 0) {
		buf_printf(out, "%s: no limit\n", what);
	} else {
		buf_printf(out, "%s: %lld MiB\n", what, (long long)(bytes / MIB));
	}
}

static void
describe_listener(const struct broker_listener *listener, struct buf *out)
{
	static const char *const anonymous[] = {"refused", "accepted"};

	buf_append_text(out, "listener ");
	str_escape(out, bytes_of(listener->name), false);
	buf_printf(out, ": %s, anonymous clients are %s", listener->bind,
	    listener->allow_anonymous != BROKER_AUTO ? anonymous[listener->allow_anonymous != 0]
	    : listener->proxy_protocol               ? anonymous[0]
						     : "accepted if it is on this machine only");
	if (listener->mount_point[0] != '\0') {
		buf_printf(out, ", mount point %s", listener->mount_point);
	}
	broker_entry_describe(listener, out);
	buf_append_byte(out, '\n');
}

static unsigned
count_workers(const struct broker_options *options)
{
	enum { MOST = 256 };
	unsigned cpus;

	if (options->broker.workers != BROKER_AUTO) {
		return (unsigned)options->broker.workers;
	}
	cpus = broker_machine_cpus();
	return cpus < MOST ? cpus : MOST;
}

void
broker_conf_describe(struct conf *conf, struct buf *out)
{
	static const char *const durabilities[] = {
	    [ROUTE_COMMIT] = "commit", [ROUTE_RELAXED] = "relaxed", [ROUTE_NONE] = "none"};
	const struct broker_options *options = broker_options_of(conf);
	int64_t memory = broker_machine_memory();

	buf_printf(out, "workers: %u\n", count_workers(options));
	for (size_t i = 0; i < options->listeners.count; i++) {
		describe_listener(broker_options_listener(options, i), out);
	}
	describe_budget(out, "memory for queues", broker_options_max_memory(options, memory));
	describe_budget(
	    out, "memory for messages under way", broker_options_max_transit(options, memory));
	buf_printf(out, "log: to %s\n", options->log.to);
	if (options->store == NULL) {
		buf_append_text(out, "store: none, nothing outlives the process\n");
	} else {
		buf_printf(out, "store: %s, durability %s\n", options->store,
		    durabilities[options->durability.mode]);
	}
}

/* --- building --- */

static int
open_doors(struct broker *broker, char *why, size_t why_size)
{
	struct broker_door_plan plan;

	if (broker_doors_prepare(broker, broker->conf, broker->options, &plan, why, why_size) !=
	    0) {
		return ERR_IO;
	}
	broker_doors_commit(broker, broker->options, &plan);
	return 0;
}

static int
open_log(struct broker *broker, char *why, size_t why_size)
{
	struct broker_log_sink sink;

	if (broker_log_sink_open(&sink, broker->options->log.to, why, why_size) != 0) {
		return ERR_IO;
	}
	broker_logger_init(&broker->logger, &sink, &broker->options->log);
	return 0;
}

static void
make_loop(struct broker *broker)
{
	broker->loop = loop_new(&(struct loop_options){
	    .seed = broker->setup.seed,
	    .log_level = (enum log_level)broker->options->log.level,
	});
	(void)loop_add_worker(broker->loop, "avocet");
}

/* The tests have one set for all. Any worker. */
static const struct plugin_set *
set_of_will(void *arg, struct bytes listener)
{
	struct broker *broker = arg;

	return broker->setup.plugins != NULL ? broker->setup.plugins
					     : broker_plugins_set_of(&broker->plugins, listener);
}

static struct conf *
conf_now(void *arg)
{
	return ((struct broker *)arg)->conf;
}

static struct broker_house_options
house_options(struct broker *broker)
{
	const struct broker_options *options = broker->options;

	return (struct broker_house_options){
	    .observers = &broker->observers,
	    .set_of = set_of_will,
	    .set_arg = broker,
	    .move_always = broker->setup.move_always,
	    .max_memory = broker_options_max_memory(options, broker->memory),
	    .max_transit = broker_options_max_transit(options, broker->memory),
	    .limits = &options->limits,
	    .conf = broker->conf,
	    .wall_ms = broker->setup.wall_ms,
	    .on_sys = broker_sys_ask,
	    .arg = &broker->sys,
	    .conf_now = conf_now,
	    .conf_arg = broker,
	};
}

/* The engine is the tests', or the plugin's, which is made later. */
static int
make_house(struct broker *broker, char *why, size_t why_size)
{
	struct broker_house_options options = house_options(broker);
	struct worker *main;

	make_loop(broker);
	main = loop_worker(broker->loop, 0);
	options.engine = broker->setup.engine;
	broker->setup.engine = NULL;
	if (options.engine == NULL && broker->options->store != NULL) {
		options.engine = broker->engine = broker_engine_new(main);
	}
	options.loads_later = broker->engine != NULL;
	broker->house = broker_house_new(
	    broker->loop, main, count_workers(broker->options), &options, why, why_size);
	return broker->house != NULL ? 0 : ERR_IO;
}

struct opening {
	struct broker *broker;
	char *why;
	size_t why_size;
	int result;
};

static void
open_in_context(struct worker *main, void *arg)
{
	struct opening *opening = arg;
	struct broker *broker = opening->broker;

	(void)main;
	opening->result = broker_engine_bind(broker->engine, broker->house->store,
	    broker_plugins_store(broker->options), opening->why, opening->why_size);
}

/* The plugin is configured. */
static int
open_store(struct broker *broker, char *why, size_t why_size)
{
	struct opening opening = {.broker = broker, .why = why, .why_size = why_size};
	struct broker_house_options options = house_options(broker);

	if (broker->engine == NULL) {
		return 0;
	}
	worker_lend(broker_main(broker), open_in_context, &opening);
	if (opening.result != 0) {
		return opening.result;
	}
	store_set_interval(broker->house->store, broker->options->durability.interval_ms);
	return broker_house_load(broker->house, &options, why, why_size);
}

/* Where nobody has asked for it, the folder of the default may be missing: then there is none. */
static int
open_control(struct broker *broker, char *why, size_t why_size)
{
	const char *path = broker->options->broker.control;
	char sentence[512];

	broker->control = broker_control_new(broker, path, sentence, sizeof(sentence));
	if (broker->control != NULL || path[0] == '\0') {
		return 0;
	}
	if (strcmp(path, DEFAULT_CONTROL) == 0) {
		log_info("there is no control socket: %s", sentence);
		return 0;
	}
	(void)snprintf(why, why_size, "broker.control: %s", sentence);
	return ERR_IO;
}

static int
build(struct broker *broker, char *why, size_t why_size)
{
	const char *user = broker->options->broker.user;
	int log_fd;

	broker_signals_hold();
	broker_process_prepare();
	/* Where a port answers, the control socket does. */
	if (open_log(broker, why, why_size) != 0 || open_control(broker, why, why_size) != 0 ||
	    open_doors(broker, why, why_size) != 0) {
		return ERR_IO;
	}
	log_fd = broker->logger.sink.target == BROKER_LOG_FILE ? broker->logger.sink.fd : -1;
	if (broker_process_drop(user, log_fd, &broker->doors, broker->control, why, why_size) !=
		0 ||
	    make_house(broker, why, why_size) != 0) {
		return ERR_IO;
	}
	broker_plugins_open(broker);
	if (broker_plugins_prepare(broker, broker->conf, broker->options, why, why_size) != 0) {
		return ERR_IO;
	}
	broker_plugins_commit(broker, broker->options);
	if (open_store(broker, why, why_size) != 0) {
		return ERR_IO;
	}
	broker_errands_init(broker, &broker->reload.errands);
	broker_errands_init(broker, &broker->reload.recheck);
	broker_errands_init(broker, &broker->stopping.errands);
	broker_errands_init(broker, &broker->orphans);
	broker_sys_init(&broker->sys, broker->house, broker->options->broker.sys_interval_ms);
	broker_sweep_init(&broker->sweep, broker->house);
	broker_trim_init(&broker->trim, broker->house);
	if (broker->setup.on_loop != NULL) {
		broker->setup.on_loop(broker->loop, broker->house->desks, broker->setup.arg);
	}
	return 0;
}

struct broker *
broker_new(const struct broker_setup *setup, char *why, size_t why_size)
{
	struct broker *broker = mem_zalloc(sizeof(*broker));

	broker->setup = *setup;
	broker->conf = conf_ref(setup->conf);
	broker->logger.sink.fd = -1;
	broker->memory = broker_machine_memory();
	broker_doors_init(broker);
	broker_service_init(&broker->service);
	broker_plugins_init(broker);
	broker->options = broker_options_bind(
	    broker->conf, (struct broker_override){setup->port, setup->verbose});
	if (broker->options == NULL) {
		(void)snprintf(why, why_size, "the configuration has errors");
		broker_free(&broker);
	} else if (build(broker, why, why_size) != 0) {
		broker_free(&broker);
	}
	return broker;
}

/* --- running --- */

static void
say_defaults(const struct broker *broker)
{
	if (broker->setup.conf_path == NULL) {
		log_info("there is no configuration file: the defaults are in force");
	}
}

static void
on_orphans_told(struct broker *broker, bool any)
{
	(void)broker;
	(void)any;
}

/* All plugins serve, or have failed. */
static void
on_plugins_started(void *arg)
{
	struct broker *broker = arg;

	if (broker->stopping.phase != BROKER_RUNNING) {
		return;
	}
	broker->is_ready = true;
	if (broker_doors_start(broker) != 0) {
		log_error("listeners do not accept connections: no memory");
		broker->status = BROKER_NOT_STARTED;
		loop_stop(broker->loop);
		return;
	}
	if (broker_control_start(broker->control) != 0) {
		log_error("the control socket does not accept connections: no memory");
	}
	log_info("avocet " PACKAGE_VERSION " is ready");
	broker_errands_send(broker, &broker->orphans, BROKER_ERRAND_ORPHANS, on_orphans_told);
	broker_service_start(&broker->service, broker->loop);
	broker_service_ready(&broker->service, "Ready");
	if (broker->reload.is_again) {
		broker->reload.is_again = false;
		broker_reload_run(broker);
	}
}

/* Main's first turn. */
static void
on_start(struct worker *worker, void *arg)
{
	struct broker *broker = arg;

	(void)worker;
	say_defaults(broker);
	broker_sys_start(&broker->sys);
	plugin_house_start(broker->plugins.house, on_plugins_started, broker);
}

int
broker_run(struct broker *broker)
{
	broker->status = BROKER_OK;
	broker_logger_start(&broker->logger, broker->loop);
	worker_on_start(broker_main(broker), on_start, broker);
	if (broker_signals_start(broker) != 0 || loop_start(broker->loop) != 0) {
		log_stderr("avocet: cannot start its threads");
		return BROKER_NOT_STARTED;
	}
	loop_run(broker->loop);
	broker_signals_hold();
	loop_join(broker->loop);
	broker_logger_drain(&broker->logger);
	return broker->status;
}

static void
free_engine(struct store_engine *engine)
{
	if (engine != NULL) {
		engine->ops->free(engine, false);
	}
}

void
broker_free(struct broker **address)
{
	struct broker *broker = *address;

	if (broker == NULL) {
		return;
	}
	broker_doors_close(broker);
	broker_control_free(&broker->control);
	if (broker->house != NULL) {
		broker_errands_fini(broker, &broker->reload.errands);
		broker_errands_fini(broker, &broker->reload.recheck);
		broker_errands_fini(broker, &broker->stopping.errands);
		broker_errands_fini(broker, &broker->orphans);
	}
	broker_house_free(&broker->house);
	broker_plugins_fini(broker);
	broker_sys_fini(&broker->sys);
	if (broker->loop != NULL) {
		broker_logger_drain(&broker->logger);
	}
	loop_free(&broker->loop);
	broker_doors_fini(broker);
	broker_service_fini(&broker->service);
	broker_logger_fini(&broker->logger);
	free_engine(broker->setup.engine);
	conf_unref(&broker->conf);
	mem_free(address);
}
