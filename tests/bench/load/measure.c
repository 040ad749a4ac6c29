/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks, the broker's CPU and memory, latencies, and what is missing of a stream of numbers. */
#include "bench/load/load.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 64, STEP_BITS = 6, BUCKETS = 64 * STEPS };

struct sequence_counts sequences;

static uint64_t buckets[BUCKETS];
static uint64_t latency_count, latency_most;

/* --- clocks --- */

static double
seconds_of(clockid_t clock)
{
	struct timespec time;

	if (clock_gettime(clock, &time) != 0) {
		return 0;
	}
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int64_t
now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

double
now_s(void)
{
	return (double)now_ns() / 1e9;
}

/* --- what the broker has used --- */

static FILE *
open_proc(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%ld/%s", options.broker_pid, name);
	return fopen(path, "r");
}

static void
read_stat(struct usage *usage)
{
	FILE *file = open_proc("stat");
	char text[2048];
	unsigned long user, system;

	if (file == NULL) {
		return;
	}
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	/* The name of the program may have blanks and brackets: begin behind the last. */
	const char *rest = strrchr(text, ')');

	if (rest != NULL && sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				&user, &system) == 2) {
		double ticks = (double)sysconf(_SC_CLK_TCK);

		usage->user_s = (double)user / ticks;
		usage->system_s = (double)system / ticks;
		usage->cpu_s = usage->user_s + usage->system_s;
	}
}

static void
read_statm(struct usage *usage)
{
	FILE *file = open_proc("statm");
	long size, resident;

	if (file == NULL) {
		return;
	}
	if (fscanf(file, "%ld %ld", &size, &resident) == 2) {
		usage->rss_kb = resident * (sysconf(_SC_PAGESIZE) / 1024);
	}
	fclose(file);
}

struct usage
usage_now(void)
{
	struct usage usage = {.at_s = now_s(), .own_s = seconds_of(CLOCK_PROCESS_CPUTIME_ID)};
	clockid_t clock;

	if (options.broker_pid != 0) {
		read_stat(&usage);
		/* The clock has nanoseconds where stat has ticks. */
		if (clock_getcpuclockid((pid_t)options.broker_pid, &clock) == 0) {
			double cpu_s = seconds_of(clock);

			usage.cpu_s = cpu_s > 0 ? cpu_s : usage.cpu_s;
		}
		read_statm(&usage);
	}
	return usage;
}

double
cpu_us_per(const struct usage *begin, const struct usage *end, uint64_t count)
{
	return count == 0 ? 0 : (end->cpu_s - begin->cpu_s) * 1e6 / (double)count;
}

double
rss_per(const struct usage *begin, const struct usage *end, uint64_t count)
{
	return count == 0 ? 0 : (double)(end->rss_kb - begin->rss_kb) * 1024 / (double)count;
}

double
per_second(uint64_t count, double seconds)
{
	return seconds > 0 ? (double)count / seconds : 0;
}

/* --- latencies: 64 steps for each power of two --- */

static unsigned
bucket_of(uint64_t value)
{
	if (value < STEPS) {
		return (unsigned)value;
	}
	unsigned bits = 63 - (unsigned)__builtin_clzll(value);

	return (bits - STEP_BITS + 1) * STEPS +
	       (unsigned)((value >> (bits - STEP_BITS)) & (STEPS - 1));
}

/* The middle of a bucket. */
static uint64_t
bucket_value(unsigned bucket)
{
	if (bucket < STEPS) {
		return bucket;
	}
	unsigned shift = bucket / STEPS - 1;

	return ((uint64_t)(STEPS + bucket % STEPS) << shift) + ((UINT64_C(1) << shift) >> 1);
}

void
latency_clear(void)
{
	memset(buckets, 0, sizeof(buckets));
	latency_count = latency_most = 0;
}

void
latency_add(int64_t ns)
{
	uint64_t value = ns < 0 ? 0 : (uint64_t)ns;

	buckets[bucket_of(value)]++;
	latency_count++;
	latency_most = value > latency_most ? value : latency_most;
}

double
latency_percentile_us(double percent)
{
	uint64_t rank = (uint64_t)(percent / 100 * (double)latency_count);
	uint64_t passed = 0;

	for (unsigned i = 0; i < BUCKETS && latency_count != 0; i++) {
		passed += buckets[i];
		if (passed > rank) {
			uint64_t value = bucket_value(i);

			return (double)(value < latency_most ? value : latency_most) / 1e3;
		}
	}
	return latency_max_us();
}

double
latency_max_us(void)
{
	return (double)latency_most / 1e3;
}

/* --- sequences --- */

static void
add_gap(struct stream *stream, uint32_t begin, uint32_t end)
{
	if (stream->gap_count == stream->gap_room) {
		stream->gap_room = stream->gap_room != 0 ? stream->gap_room * 2 : 8;
		stream->gaps = resize(stream->gaps, stream->gap_room * sizeof(stream->gaps[0]));
	}
	stream->gaps[stream->gap_count][0] = begin;
	stream->gaps[stream->gap_count++][1] = end;
}

/* Takes a number out of a gap, which may become two. */
static void
fill_gap(struct stream *stream, uint32_t which, uint32_t number)
{
	uint32_t *gap = stream->gaps[which];
	uint32_t end = gap[1];

	if (number == gap[0]) {
		gap[0]++;
		return;
	}
	gap[1] = number;
	if (number + 1 < end) {
		add_gap(stream, number + 1, end);
	}
}

void
stream_take(struct stream *stream, uint32_t number)
{
	if (number >= stream->next) {
		if (number > stream->next) {
			add_gap(stream, stream->next, number);
		}
		stream->next = number + 1;
		return;
	}
	for (uint32_t i = 0; i < stream->gap_count; i++) {
		if (number >= stream->gaps[i][0] && number < stream->gaps[i][1]) {
			sequences.out_of_order++;
			fill_gap(stream, i, number);
			return;
		}
	}
	sequences.duplicates++;
}

/* --- progress --- */

struct progress
progress_begin(uint64_t count)
{
	double at = now_s();

	return (struct progress){.begun_at = at, .moved_at = at, .seen = count};
}

bool
progress_goes_on(struct progress *progress, uint64_t count)
{
	double at = now_s();

	if (count != progress->seen) {
		progress->seen = count;
		progress->moved_at = at;
	}
	return at - progress->moved_at <= options.stall && at - progress->begun_at < options.limit;
}

/* --- payloads --- */

uint8_t *
payload_new(void)
{
	uint8_t *payload = allocate(1, (size_t)options.size);

	memset(payload, 'x', (size_t)options.size);
	return payload;
}

void
print_label(void)
{
	fputs("\"label\":\"", stdout);
	for (const char *at = options.label; *at != '\0'; at++) {
		if (*at == '"' || *at == '\\') {
			putchar('\\');
		}
		if ((unsigned char)*at < 0x20) {
			printf("\\u%04x", (unsigned)*at);
		} else {
			putchar(*at);
		}
	}
	putchar('"');
}
