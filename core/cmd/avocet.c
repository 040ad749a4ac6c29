/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's main: options, the configuration, and what the process ends with.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "broker/broker.h"

enum {
	OPTION_DUMP = 256,
	OPTION_CORE_FILES,
	PORT_MAX = 65535,
	MAX_WHY = 512,
	MEMORY_KEPT = 8 << 20,
};

static const char usage[] =
    "usage: avocet [-c FILE] [-p PORT] [-v] [-t] [--dump-config] [--core-files] [-V] [-h]\n"
    "  -c FILE        the configuration; default: /etc/avocet/avocet.yaml if it is there\n"
    "  -p PORT        the port of the first listener\n"
    "  -v             log everything\n"
    "  -t             check the configuration and say what would run\n"
    "  --dump-config  print the configuration with all defaults\n"
    "  --core-files   let a crash leave a core file, with all the secrets in it\n"
    "  -V             print the version\n"
    "  -h             print this\n";

struct command {
	const char *path;
	int port;
	bool verbose;
	bool check;
	bool dump;
	bool core_files;
};

static int
fail_usage(void)
{
	fputs(usage, stderr);
	return BROKER_USAGE;
}

/* 0: what it says is no port. */
static int
parse_port(const char *text)
{
	char *end;
	long port = strtol(text, &end, 10);

	return *text >= '0' && *text <= '9' && *end == '\0' && port > 0 && port <= PORT_MAX
		   ? (int)port
		   : 0;
}

/* -1: go on; else what to exit with. */
static int
parse(int argc, char **argv, struct command *command)
{
	static const struct option longs[] = {{"dump-config", no_argument, NULL, OPTION_DUMP},
	    {"core-files", no_argument, NULL, OPTION_CORE_FILES}, {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "c:p:vtVh", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			command->path = optarg;
			break;
		case 'p':
			command->port = parse_port(optarg);
			if (command->port == 0) {
				fputs("avocet: -p takes a port from 1 to 65535\n", stderr);
				return BROKER_USAGE;
			}
			break;
		case 'v':
			command->verbose = true;
			break;
		case 't':
			command->check = true;
			break;
		case OPTION_DUMP:
			command->dump = true;
			break;
		case OPTION_CORE_FILES:
			command->core_files = true;
			break;
		case 'V':
			puts("avocet " PACKAGE_VERSION);
			return BROKER_OK;
		case 'h':
			fputs(usage, stdout);
			return BROKER_OK;
		default:
			return fail_usage();
		}
	}
	return optind == argc ? -1 : fail_usage();
}

/* The broker alone keeps the configuration then: what a reload replaces can go. */
static int
run(const struct command *command, struct conf **conf, const char *path)
{
	struct broker_setup setup = {.conf = *conf,
	    .conf_path = path,
	    .port = command->port,
	    .verbose = command->verbose,
	    .wall_ms = clock_wall_ms()};
	char why[MAX_WHY] = "";
	struct broker *broker = broker_new(&setup, why, sizeof(why));
	int status;

	broker_conf_free(conf);
	if (broker == NULL) {
		fprintf(stderr, "avocet: %s\n", why);
		return BROKER_NOT_STARTED;
	}
	status = broker_run(broker);
	broker_free(&broker);
	return status;
}

int
main(int argc, char **argv)
{
	struct command command = {0};
	int status = parse(argc, argv, &command);
	const char *path;
	struct conf *conf;
	struct buf text;

	if (status >= 0) {
		return status;
	}
	mem_keep(MEMORY_KEPT);
	if (!command.core_files) {
		broker_keep_secrets();
	}
	conf = broker_conf_load(command.path, &path);
	buf_init(&text, SIZE_MAX);
	if (!broker_conf_check(conf, command.port, command.verbose, &text)) {
		fwrite(text.data, 1, text.len, stderr);
		status = BROKER_REFUSED;
	} else if (command.dump || command.check) {
		if (command.dump) {
			broker_conf_dump(conf, &text);
		} else {
			broker_conf_describe(conf, &text);
		}
		fwrite(text.data, 1, text.len, stdout);
		status = fflush(stdout) == 0 ? BROKER_OK : BROKER_NOT_STARTED;
	} else {
		status = run(&command, &conf, path);
	}
	buf_fini(&text);
	broker_conf_free(&conf);
	return status;
}
