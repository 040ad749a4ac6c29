/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avocet-test: the archives of avocet with another main, for what avocet has no plugins for yet: a
 * store (the engine in memory, which commits late and fails when told to) and an authority
 * (authority.h), and connections that always move. With none of its own options it is avocet.
 */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "broker/broker.h"
#include "store/engine_mem.h"
#include "broker/authority.h"

enum { MAX_WHY = 512, LOOK_EVERY_MS = 10, DEFAULT_DELAY_MS = 20, DEFAULT_SEED = 1 };

static const char usage[] =
    "usage: avocet-test [-c FILE] [-p PORT] [-v] [--move-always]\n"
    "  [--engine mem[:delay=MIN-MAX][,fail=PER_MILLE][,length=N][,seed=S]] [--fail-file PATH]\n"
    "  [--authority at-once|later|out-of-order|thread|never] [--authority-delay MS]\n"
    "  [--authority-timeout MS] [--authority-seed S]\n"
    "  --fail-file  while this file is there the engine fails\n";

struct command {
	const char *path;
	const char *fail_file;
	int64_t port;
	bool verbose;
	bool move_always;
	bool has_engine;
	bool has_authority;
	struct store_mem_options engine;
	struct authority_options authority;
};

/* --- the command line --- */

static bool
parse_number(const char *text, int64_t max, int64_t *number_out)
{
	char *end;
	long long number = strtoll(text, &end, 10);

	*number_out = number;
	return *text >= '0' && *text <= '9' && *end == '\0' && number >= 0 && number <= max;
}

static bool
parse_span(char *text, struct store_mem_options *engine)
{
	char *dash = strchr(text, '-');
	const char *last = text;

	if (dash != NULL) {
		*dash = '\0';
		last = dash + 1;
	}
	return parse_number(text, INT32_MAX, &engine->min_delay_ms) &&
	       parse_number(last, INT32_MAX, &engine->max_delay_ms) &&
	       engine->min_delay_ms <= engine->max_delay_ms;
}

static bool
parse_engine_word(char *word, struct store_mem_options *engine)
{
	char *value = strchr(word, '=');
	int64_t number;

	if (value == NULL) {
		return false;
	}
	*value++ = '\0';
	if (strcmp(word, "delay") == 0) {
		return parse_span(value, engine);
	}
	if (!parse_number(value, INT32_MAX, &number)) {
		return false;
	}
	if (strcmp(word, "fail") == 0 && number <= 1000) {
		engine->fail_per_mille = (uint32_t)number;
	} else if (strcmp(word, "length") == 0) {
		engine->fail_length = (uint32_t)number;
	} else if (strcmp(word, "seed") == 0) {
		engine->seed = (uint64_t)number;
	} else {
		return false;
	}
	return true;
}

/* Cuts the text into its words. */
static bool
parse_engine(char *text, struct store_mem_options *engine)
{
	char *rest = NULL, *word = strtok_r(text, ":", &rest);

	engine->seed = DEFAULT_SEED;
	if (word == NULL || strcmp(word, "mem") != 0) {
		return false;
	}
	while ((word = strtok_r(NULL, ",", &rest)) != NULL) {
		if (!parse_engine_word(word, engine)) {
			return false;
		}
	}
	return true;
}

enum option_name {
	OPTION_MOVE = 256,
	OPTION_ENGINE,
	OPTION_FAIL_FILE,
	OPTION_AUTHORITY,
	OPTION_DELAY,
	OPTION_TIMEOUT,
	OPTION_SEED,
};

static bool
take_option(struct command *command, int option, char *value)
{
	int64_t number;

	switch (option) {
	case 'c':
		command->path = value;
		return true;
	case 'p':
		return parse_number(value, UINT16_MAX, &command->port) && command->port != 0;
	case 'v':
		command->verbose = true;
		return true;
	case OPTION_MOVE:
		command->move_always = true;
		return true;
	case OPTION_ENGINE:
		command->has_engine = true;
		return parse_engine(value, &command->engine);
	case OPTION_FAIL_FILE:
		command->fail_file = value;
		return true;
	case OPTION_AUTHORITY:
		command->has_authority = true;
		return authority_manner_of(value, &command->authority.manner);
	case OPTION_DELAY:
		return parse_number(value, INT32_MAX, &command->authority.delay_ms);
	case OPTION_TIMEOUT:
		return parse_number(value, INT32_MAX, &command->authority.timeout_ms);
	case OPTION_SEED:
		if (!parse_number(value, INT64_MAX, &number)) {
			return false;
		}
		command->authority.seed = (uint64_t)number;
		return true;
	default:
		return false;
	}
}

static bool
parse(int argc, char **argv, struct command *command)
{
	static const struct option longs[] = {{"move-always", no_argument, NULL, OPTION_MOVE},
	    {"engine", required_argument, NULL, OPTION_ENGINE},
	    {"fail-file", required_argument, NULL, OPTION_FAIL_FILE},
	    {"authority", required_argument, NULL, OPTION_AUTHORITY},
	    {"authority-delay", required_argument, NULL, OPTION_DELAY},
	    {"authority-timeout", required_argument, NULL, OPTION_TIMEOUT},
	    {"authority-seed", required_argument, NULL, OPTION_SEED}, {NULL, 0, NULL, 0}};
	int option;

	command->authority.delay_ms = DEFAULT_DELAY_MS;
	command->authority.seed = DEFAULT_SEED;
	while ((option = getopt_long(argc, argv, "c:p:v", longs, NULL)) != -1) {
		if (!take_option(command, option, optarg)) {
			return false;
		}
	}
	return optind == argc && (command->fail_file == NULL || command->has_engine);
}

/* --- the file that makes the engine fail --- */

struct saboteur {
	pthread_t thread;
	struct store_disk *disk;
	const char *path;
	atomic_bool stopping;
	bool is_running;
};

static void *
watch_file(void *arg)
{
	struct saboteur *saboteur = arg;
	const struct timespec pause = {.tv_nsec = LOOK_EVERY_MS * 1000000L};

	while (!atomic_load(&saboteur->stopping)) {
		store_disk_set_failing(saboteur->disk, access(saboteur->path, F_OK) == 0);
		(void)nanosleep(&pause, NULL);
	}
	return NULL;
}

static bool
saboteur_start(struct saboteur *saboteur)
{
	sigset_t all, before;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &before);
	saboteur->is_running = pthread_create(&saboteur->thread, NULL, watch_file, saboteur) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return saboteur->is_running;
}

static void
saboteur_stop(struct saboteur *saboteur)
{
	if (saboteur->is_running) {
		atomic_store(&saboteur->stopping, true);
		(void)pthread_join(saboteur->thread, NULL);
		saboteur->is_running = false;
	}
}

/* --- running --- */

struct program {
	struct authority *authority;
	struct saboteur saboteur;
};

static void
on_loop(struct loop *loop, struct plugin_desk *const *desks, void *arg)
{
	struct program *program = arg;

	if ((program->authority != NULL && !authority_start(program->authority, loop, desks)) ||
	    (program->saboteur.path != NULL && !saboteur_start(&program->saboteur))) {
		fputs("avocet-test: no thread\n", stderr);
		exit(BROKER_NOT_STARTED);
	}
}

static int
run(const struct command *command, struct conf *conf, const char *path)
{
	struct store_disk *disk = command->has_engine ? store_disk_new() : NULL;
	struct program program = {.saboteur = {.disk = disk, .path = command->fail_file}};
	struct broker_setup setup = {.conf = conf,
	    .conf_path = path,
	    .port = (int)command->port,
	    .verbose = command->verbose,
	    .move_always = command->move_always,
	    .wall_ms = clock_wall_ms(),
	    .on_loop = on_loop,
	    .arg = &program};
	char why[MAX_WHY] = "";
	struct broker *broker;
	int status = BROKER_NOT_STARTED;

	if (disk != NULL) {
		setup.engine = store_engine_mem_new(disk, &command->engine);
	}
	if (command->has_authority) {
		program.authority = authority_new(&command->authority);
		setup.plugins = authority_plugins(program.authority);
	}
	broker = broker_new(&setup, why, sizeof(why));
	if (broker == NULL) {
		fprintf(stderr, "avocet-test: %s\n", why);
	} else {
		status = broker_run(broker);
	}
	saboteur_stop(&program.saboteur);
	/* Both need what the other has: its thread the desks, the desks its functions. */
	authority_stop(program.authority);
	broker_free(&broker);
	authority_free(&program.authority);
	if (disk != NULL) {
		store_disk_free(&disk);
	}
	return status;
}

int
main(int argc, char **argv)
{
	struct command command = {0};
	int status = BROKER_REFUSED;
	const char *path;
	struct conf *conf;
	struct buf errors;

	if (!parse(argc, argv, &command)) {
		fputs(usage, stderr);
		return BROKER_USAGE;
	}
	conf = broker_conf_load(command.path, &path);
	buf_init(&errors, SIZE_MAX);
	if (broker_conf_check(conf, (int)command.port, command.verbose, &errors)) {
		status = run(&command, conf, path);
	} else {
		(void)fwrite(errors.data, 1, errors.len, stderr);
	}
	buf_fini(&errors);
	broker_conf_free(&conf);
	return status;
}
