/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A siege: besiegers from many loopback addresses open TLS handshakes, HTTP headers and CONNECTs
 * that never come to an end, and come again when the broker has closed them; meanwhile honest
 * clients measure how long their messages take, before it and during it. One line of JSON tells
 * how it went; ends with 1 if an honest client that was connected saw anything but its messages.
 * Everything is bounded: besiegers, their rate, the time.
 *
 *     siege [--OPTION NUMBER]...
 *
 *     ports (loopback; 0: there is none)   --port --tls-port --ws-port --wss-port
 *     besiegers at a time                  --hellos --headers --connects
 *     how they come                        --addresses --processes --rate --trickle-ms --nice
 *     honest clients                       --honest --period-ms --newcomer-ms
 *     seconds of the three phases          --before --rise --seconds
 *     whose CPU and memory to tell         --broker PID
 *
 * Of the hellos one half stops in the middle, the other is whole and nothing follows; headers go
 * to both WebSocket ports, if there are two.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stress/siege.h"

enum { STEP_MS = 100 };

/* What the broker and the machine have consumed. */
struct usage {
	double at_s;
	double broker_s; /* CPU */
	double queued_s; /* its threads, ready to run, while others had the CPU */
	double own_queued_s;
	double busy_s, idle_s, stolen_s;
	long rss_kb;
	long descriptors;
};

static const char *const kind_names[KINDS] = {
    "hello", "silence", "header", "header_tls", "connect"};
static const char *const phase_names[PHASES] = {"before", "rise", "during"};

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "siege: %s\n", what);
	exit(2);
}

int64_t
now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- what the broker consumes --- */

static long
count_descriptors(int process)
{
	char path[64];
	long count = -2; /* "." and ".." */
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", process);
	folder = opendir(path);
	if (folder == NULL) {
		return 0;
	}
	while (readdir(folder) != NULL) {
		count++;
	}
	closedir(folder);
	return count;
}

static void
look_at_machine(struct usage *usage)
{
	unsigned long user, low, system, idle, wait, irq, soft, stolen;
	FILE *file = fopen("/proc/stat", "r");

	if (file == NULL) {
		return;
	}
	if (fscanf(file, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &user, &low, &system, &idle, &wait,
		&irq, &soft, &stolen) == 8) {
		double tick = (double)sysconf(_SC_CLK_TCK);

		usage->busy_s = (double)(user + low + system + irq + soft) / tick;
		usage->idle_s = (double)(idle + wait) / tick;
		usage->stolen_s = (double)stolen / tick;
	}
	fclose(file);
}

/* Of all threads. */
static double
look_at_queues(int process)
{
	double sum = 0;
	char path[320];
	const struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/task", process);
	folder = opendir(path);
	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		unsigned long long ran, queued;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", process, entry->d_name);
		file = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
		if (file != NULL && fscanf(file, "%llu %llu", &ran, &queued) == 2) {
			sum += (double)queued / 1e9;
		}
		if (file != NULL) {
			fclose(file);
		}
	}
	if (folder != NULL) {
		closedir(folder);
	}
	return sum;
}

static struct usage
look(const struct siege *siege)
{
	struct usage usage = {.at_s = (double)now_ns() / 1e9};
	struct timespec spent;
	clockid_t clock;
	char path[64];
	FILE *file;
	long size, pages;

	look_at_machine(&usage);
	usage.own_queued_s = look_at_queues(getpid());
	if (siege->broker == 0) {
		return usage;
	}
	if (clock_getcpuclockid(siege->broker, &clock) == 0 && clock_gettime(clock, &spent) == 0) {
		usage.broker_s = (double)spent.tv_sec + (double)spent.tv_nsec / 1e9;
	}
	snprintf(path, sizeof(path), "/proc/%d/statm", siege->broker);
	file = fopen(path, "r");
	if (file != NULL) {
		if (fscanf(file, "%ld %ld", &size, &pages) == 2) {
			usage.rss_kb = pages * sysconf(_SC_PAGESIZE) / 1024;
		}
		fclose(file);
	}
	usage.queued_s = look_at_queues(siege->broker);
	usage.descriptors = count_descriptors(siege->broker);
	return usage;
}

/* --- telling --- */

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void
tell_times(const char *name, struct times *times)
{
	size_t count = times->count;

	if (count == 0) {
		printf("\"%s\":{\"count\":0}", name);
		return;
	}
	qsort(times->us, count, sizeof(*times->us), compare);
	printf("\"%s\":{\"count\":%zu,\"p50_us\":%u,\"p99_us\":%u,\"p999_us\":%u,\"max_us\":%u}",
	    name, count, times->us[count / 2], times->us[count * 99 / 100],
	    times->us[count * 999 / 1000], times->us[count - 1]);
}

static void
tell_phase(struct honest_report *report, enum phase phase, const struct usage *from,
    const struct usage *to)
{
	double seconds = to->at_s - from->at_s;
	double machine = to->busy_s - from->busy_s + to->idle_s - from->idle_s;

	printf("\"%s\":{\"seconds\":%.1f,", phase_names[phase], seconds);
	tell_times("ping", &report->pings[phase]);
	putchar(',');
	tell_times("newcomer", &report->newcomers[phase]);
	printf(",\"newcomers_failed\":%llu,\"broker_cpus\":%.3f,"
	       "\"broker_queued\":%.3f,\"own_queued\":%.3f,\"machine_busy\":%.3f,\"stolen\":%.3f,"
	       "\"broker_rss_kb\":%ld,\"broker_descriptors\":%ld},",
	    (unsigned long long)report->newcomers_failed[phase],
	    (to->broker_s - from->broker_s) / seconds, (to->queued_s - from->queued_s) / seconds,
	    (to->own_queued_s - from->own_queued_s) / seconds,
	    machine > 0 ? (to->busy_s - from->busy_s) / machine : 0,
	    (to->stolen_s - from->stolen_s) / seconds, to->rss_kb, to->descriptors);
}

struct spread {
	int64_t least, most;
};

static void
tell_foes(const struct siege *siege, const struct spread spreads[KINDS])
{
	printf("\"besiegers\":{");
	for (int i = 0; i < KINDS; i++) {
		const struct tally *tally = &siege->shared->tallies[i];

		printf("%s\"%s\":{\"open_least\":%lld,\"open_most\":%lld,\"opened\":%llu,"
		       "\"closed_at_once\":%llu,\"closed_later\":%llu,\"failed\":%llu}",
		    i != 0 ? "," : "", kind_names[i], (long long)spreads[i].least,
		    (long long)spreads[i].most, (unsigned long long)tally->opened,
		    (unsigned long long)tally->closed_at_once,
		    (unsigned long long)tally->closed_later, (unsigned long long)tally->failed);
	}
	printf("},");
}

/* --- options --- */

struct option {
	const char *name;
	int *value;
	int least, most;
};

static void
read_options(struct siege *siege, int argc, char **argv)
{
	const struct option options[] = {{"--port", &siege->port, 1, 65535},
	    {"--tls-port", &siege->tls_port, 0, 65535}, {"--ws-port", &siege->ws_port, 0, 65535},
	    {"--wss-port", &siege->wss_port, 0, 65535}, {"--hellos", &siege->hellos, 0, 20000},
	    {"--headers", &siege->headers, 0, 20000}, {"--connects", &siege->connects, 0, 20000},
	    {"--addresses", &siege->addresses, 1, 250},
	    {"--processes", &siege->processes, 1, MAX_PROCESSES},
	    {"--rate", &siege->rate, 1, MAX_RATE}, {"--trickle-ms", &siege->trickle_ms, 1, 60000},
	    {"--nice", &siege->niceness, 0, 19}, {"--honest", &siege->honest, 1, MAX_HONEST},
	    {"--period-ms", &siege->period_ms, 1, 60000},
	    {"--newcomer-ms", &siege->newcomer_ms, 0, 60000},
	    {"--before", &siege->seconds[BEFORE], 0, MAX_SECONDS},
	    {"--rise", &siege->seconds[RISE], 0, MAX_SECONDS},
	    {"--seconds", &siege->seconds[DURING], 0, MAX_SECONDS},
	    {"--broker", &siege->broker, 0, INT32_MAX}};

	for (int i = 1; i < argc; i += 2) {
		size_t at = 0;
		long value = i + 1 < argc ? strtol(argv[i + 1], NULL, 10) : -1;

		while (at < sizeof(options) / sizeof(options[0]) &&
		       strcmp(options[at].name, argv[i]) != 0) {
			at++;
		}
		if (at == sizeof(options) / sizeof(options[0]) || value < options[at].least ||
		    value > options[at].most) {
			fprintf(stderr, "siege: option %s\n", argv[i]);
			die("see the head of its source");
		}
		*options[at].value = (int)value;
	}
	if (siege->port == 0 || (siege->hellos != 0 && siege->tls_port == 0) ||
	    (siege->headers != 0 && siege->ws_port == 0 && siege->wss_port == 0)) {
		die("a port is missing");
	}
}

/* A whole one, as OpenSSL says it. */
static void
make_hello(struct siege *siege)
{
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	SSL *ssl = SSL_new(siege->tls);
	int len;

	if (in == NULL || out == NULL || ssl == NULL) {
		die("no memory");
	}
	SSL_set_bio(ssl, in, out);
	(void)SSL_connect(ssl); /* waits for an answer that does not come */
	len = BIO_read(out, siege->hello, sizeof(siege->hello));
	if (len <= 0 || BIO_pending(out) != 0) {
		die("no ClientHello");
	}
	siege->hello_len = (size_t)len;
	SSL_free(ssl);
}

static void
prepare(struct siege *siege)
{
	struct rlimit limit;

	(void)signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	siege->tls = SSL_CTX_new(TLS_client_method());
	siege->shared = mmap(NULL, sizeof(*siege->shared), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (siege->tls == NULL || siege->shared == MAP_FAILED) {
		die("no memory");
	}
	SSL_CTX_set_verify(siege->tls, SSL_VERIFY_NONE, NULL); /* it is our own broker */
	(void)SSL_CTX_set_mode(
	    siege->tls, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	make_hello(siege);
}

/* --- the siege --- */

static void
start_foes(const struct siege *siege, pid_t *children)
{
	fflush(stdout);
	for (int i = 0; i < siege->processes; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			foes_run(siege, i);
			_exit(0);
		}
		if (children[i] < 0) {
			die("no process");
		}
	}
}

static void
stop_foes(const struct siege *siege, const pid_t *children)
{
	atomic_store(&siege->shared->is_over, true);
	for (int i = 0; i < siege->processes; i++) {
		(void)waitpid(children[i], NULL, 0);
	}
}

static void
run_phase(const struct siege *siege, struct honest *honest, enum phase phase,
    struct spread spreads[KINDS])
{
	int64_t end = now_ns() + siege->seconds[phase] * INT64_C(1000000000);

	for (int i = 0; i < KINDS; i++) {
		spreads[i] = (struct spread){INT64_MAX, 0};
	}
	while (now_ns() < end) {
		honest_run(honest, phase, now_ns() + STEP_MS * INT64_C(1000000));
		for (int i = 0; i < KINDS; i++) {
			int64_t open = siege->shared->tallies[i].open;

			spreads[i].least = open < spreads[i].least ? open : spreads[i].least;
			spreads[i].most = open > spreads[i].most ? open : spreads[i].most;
		}
	}
}

int
main(int argc, char **argv)
{
	static struct siege siege = {.addresses = 50,
	    .processes = 4,
	    .rate = 4000,
	    .trickle_ms = 1000,
	    .honest = 100,
	    .period_ms = 100,
	    .newcomer_ms = 100,
	    .seconds = {5, 6, 20}};
	static struct honest_report report;
	struct usage usages[PHASES + 1];
	struct spread spreads[KINDS];
	pid_t children[MAX_PROCESSES];
	struct honest *honest;
	uint64_t faults;

	read_options(&siege, argc, argv);
	prepare(&siege);
	honest = honest_new(&siege, &report);
	if (honest == NULL) {
		die("the honest clients could not connect");
	}
	for (int phase = BEFORE; phase < PHASES; phase++) {
		if (phase == RISE) {
			start_foes(&siege, children);
		}
		usages[phase] = look(&siege);
		run_phase(&siege, honest, (enum phase)phase, spreads);
	}
	usages[PHASES] = look(&siege);
	stop_foes(&siege, children);
	honest_finish(honest);
	putchar('{');
	for (int phase = BEFORE; phase < PHASES; phase++) {
		tell_phase(&report, (enum phase)phase, &usages[phase], &usages[phase + 1]);
	}
	tell_foes(&siege, spreads);
	faults = report.closed + report.refused + report.disordered;
	faults += report.sent > report.received ? report.sent - report.received : 0;
	printf("\"honest\":{\"clients\":%d,\"sent\":%llu,\"received\":%llu,\"closed\":%llu,"
	       "\"refused\":%llu,\"disordered\":%llu,\"faults\":%llu}}\n",
	    siege.honest, (unsigned long long)report.sent, (unsigned long long)report.received,
	    (unsigned long long)report.closed, (unsigned long long)report.refused,
	    (unsigned long long)report.disordered, (unsigned long long)faults);
	for (int phase = BEFORE; phase < PHASES; phase++) {
		free(report.pings[phase].us);
		free(report.newcomers[phase].us);
	}
	SSL_CTX_free(siege.tls);
	return faults != 0;
}
