/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqload: load for brokers of MQTT 3.1.1 and 5 over loopback, by one thread with epoll. Here are
 * its options and main; tests/bench/README.md tells what they mean.
 */
#include "bench/load/load.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OPEN_FILES = 300000 };

struct options options = {
    .host = "127.0.0.1",
    .topology = "pairs",
    .label = "",
    .prefix = "bench",
    .port = 1883,
    .version = 4,
    .cpu = -1,
    .sub_qos = -1,
    .publishers = 50,
    .subscribers = 50,
    .size = 64,
    .window = 32,
    .parallel = 64,
    .batch = 50,
    .nodelay = 1,
    .number = 1000,
    .messages = 1000,
    .burst = 20000,
    .seconds = 3,
    .warm = 0.5,
    .stall = 5,
    .limit = 120,
};

struct counts counts;

/* The option's value goes to the one that is not NULL. */
struct row {
	const char *name;
	bool *flag;
	const char **text;
	double *real;
	long *whole;
	long least, most; /* of whole */
};

enum { MOST = 1000000000 };

static const struct row rows[] = {
    {"--tls", .flag = &options.tls},
    {"--same-topic", .flag = &options.same_topic},
    {"--persistent", .flag = &options.persistent},
    {"--subscribe", .flag = &options.subscribe},
    {"--host", .text = &options.host},
    {"--topology", .text = &options.topology},
    {"--label", .text = &options.label},
    {"--prefix", .text = &options.prefix},
    {"--user", .text = &options.user},
    {"--pass", .text = &options.password},
    {"--rate", .real = &options.rate},
    {"--secs", .real = &options.seconds},
    {"--warm", .real = &options.warm},
    {"--stall", .real = &options.stall},
    {"--limit", .real = &options.limit},
    {"--port", .whole = &options.port, .least = 1, .most = UINT16_MAX},
    {"--v", .whole = &options.version, .least = 4, .most = 5},
    {"--cpu", .whole = &options.cpu, .least = -1, .most = CPU_SETSIZE - 1},
    {"--broker-pid", .whole = &options.broker_pid, .least = 0, .most = MOST},
    {"--qos", .whole = &options.qos, .least = 0, .most = 2},
    {"--sub-qos", .whole = &options.sub_qos, .least = -1, .most = 2},
    {"--pubs", .whole = &options.publishers, .least = 1, .most = MOST},
    {"--subs", .whole = &options.subscribers, .least = 1, .most = MOST},
    /* What is smaller becomes HEAD_LEN; what is larger makes no packet. */
    {"--size", .whole = &options.size, .least = 0, .most = 268000000},
    {"--window", .whole = &options.window, .least = 1, .most = MOST},
    {"--par", .whole = &options.parallel, .least = 1, .most = MOST},
    {"--batch", .whole = &options.batch, .least = 1, .most = 1000000},
    {"--hot", .whole = &options.hot, .least = 0, .most = MOST},
    {"--nodelay", .whole = &options.nodelay, .least = 0, .most = 1},
    {"--n", .whole = &options.number, .least = 1, .most = MOST},
    {"--count", .whole = &options.count, .least = 0, .most = MOST},
    {"--msgs", .whole = &options.messages, .least = 0, .most = MOST},
    {"--burst", .whole = &options.burst, .least = 0, .most = MOST},
};

static const struct {
	const char *name;
	void (*run)(void);
} commands[] = {
    {"pubsub", run_pubsub},
    {"conns", run_conns},
    {"subs", run_subs},
    {"retained", run_retained},
    {"offline", run_offline},
};

void
die(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	fputs("mqload: ", stderr);
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
	va_end(list);
	exit(2);
}

void *
allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (memory == NULL) {
		die("no memory");
	}
	return memory;
}

void *
resize(void *old, size_t size)
{
	void *memory = realloc(old, size);

	if (memory == NULL) {
		die("no memory");
	}
	return memory;
}

static _Noreturn void
usage(void)
{
	fputs("usage: mqload pubsub|conns|subs|retained|offline [--option value]... "
	      "(see tests/bench/README.md)\n",
	    stderr);
	exit(2);
}

static const struct row *
find_row(const char *name)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(rows[i].name, name) == 0) {
			return &rows[i];
		}
	}
	fprintf(stderr, "mqload: unknown option %s\n", name);
	usage();
}

static void
take_value(const struct row *row, const char *value)
{
	char *end;

	errno = 0;
	if (row->text != NULL) {
		*row->text = value;
		return;
	}
	if (row->real != NULL) {
		*row->real = strtod(value, &end);
		if (end == value || *end != '\0' || !(*row->real >= 0 && *row->real <= MOST)) {
			die("%s %s: not a number from 0", row->name, value);
		}
		return;
	}
	*row->whole = strtol(value, &end, 10);
	if (end == value || *end != '\0' || errno != 0 || *row->whole < row->least ||
	    *row->whole > row->most) {
		die("%s %s: not a whole number from %ld to %ld", row->name, value, row->least,
		    row->most);
	}
}

static void
read_options(int count, char **words)
{
	for (int i = 2; i < count; i++) {
		const struct row *row = find_row(words[i]);

		if (row->flag != NULL) {
			*row->flag = true;
			continue;
		}
		if (++i == count) {
			usage();
		}
		take_value(row, words[i]);
	}
	options.size = options.size < HEAD_LEN ? HEAD_LEN : options.size;
}

/* Root may raise the hard limit; others take all that they may. */
static void
raise_file_limit(void)
{
	struct rlimit limit = {OPEN_FILES, OPEN_FILES};

	if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void
pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)options.cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0) {
		fprintf(stderr, "mqload: --cpu %ld: %s\n", options.cpu, strerror(errno));
	}
}

int
main(int argc, char **argv)
{
	void (*run)(void) = NULL;

	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		run = strcmp(argv[1], commands[i].name) == 0 ? commands[i].run : run;
	}
	if (run == NULL) {
		usage();
	}
	read_options(argc, argv);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0); /* --rate waits for less than 50 us */
	raise_file_limit();
	if (options.cpu >= 0) {
		pin();
	}
	clients_setup();
	run();
	fflush(stdout);
	_exit(0); /* the system frees a million connections faster than we */
}
