/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers come from /proc and the cgroup's files: sched_getaffinity belongs to the rooms with
 * threads, and libc's count of CPUs does not look at the affinity. Who runs without /proc gets what
 * sysconf says.
 */
#include "broker/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

enum { MAX_FILE = 16384, MAX_PATH = 512, KIB = 1024 };

/* The beginning of a file; empty when it cannot be read. */
static struct bytes
read_start(const char *path, char buffer[MAX_FILE])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0) {
		return (struct bytes){NULL, 0};
	}
	n = read(fd, buffer, MAX_FILE);
	(void)close(fd);
	return bytes_make(buffer, n > 0 ? (size_t)n : 0);
}

static struct bytes
trim(struct bytes text)
{
	while (text.len != 0 && (*text.data == ' ' || *text.data == '\t')) {
		text = bytes_skip(text, 1);
	}
	while (
	    text.len != 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == ' ')) {
		text.len--;
	}
	return text;
}

struct bytes
broker_machine_find_line(struct bytes text, const char *key)
{
	struct bytes wanted = bytes_of(key);

	while (text.len != 0) {
		const uint8_t *end = memchr(text.data, '\n', text.len);
		size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
		struct bytes line = {text.data, len};

		if (bytes_starts_with(line, wanted)) {
			return trim(bytes_skip(line, wanted.len));
		}
		text = bytes_skip(text, end != NULL ? len + 1 : len);
	}
	return (struct bytes){NULL, 0};
}

/* Takes a number off the front; -1 when there is none. */
static int64_t
take_number(struct bytes *text)
{
	struct bytes digits = *text;
	int64_t value;

	for (digits.len = 0; digits.len < text->len && text->data[digits.len] >= '0' &&
			     text->data[digits.len] <= '9';) {
		digits.len++;
	}
	*text = bytes_skip(*text, digits.len);
	return str_to_i64(digits, &value) ? value : -1;
}

unsigned
broker_machine_count_list(struct bytes text)
{
	enum { MOST = 65536 };
	int64_t count = 0;

	while (text.len != 0) {
		int64_t first = take_number(&text), last = first;

		if (text.len != 0 && *text.data == '-') {
			text = bytes_skip(text, 1);
			last = take_number(&text);
		}
		if (first < 0 || last < first || last > MOST ||
		    (text.len != 0 && *text.data != ',')) {
			return 0;
		}
		count += last - first + 1;
		text = bytes_skip(text, text.len != 0 ? 1 : 0);
	}
	return count < MOST ? (unsigned)count : MOST;
}

unsigned
broker_machine_cpus(void)
{
	char buffer[MAX_FILE];
	struct bytes status = read_start("/proc/self/status", buffer);
	unsigned count =
	    broker_machine_count_list(broker_machine_find_line(status, "Cpus_allowed_list:"));
	long online;

	if (count != 0) {
		return count;
	}
	online = sysconf(_SC_NPROCESSORS_ONLN);
	return online > 0 ? (unsigned)online : 1;
}

static int64_t
smaller_limit(int64_t memory, const char *path)
{
	char buffer[MAX_FILE];
	struct bytes text = trim(read_start(path, buffer));
	int64_t limit;

	return str_to_i64(text, &limit) && limit > 0 && limit < memory ? limit : memory;
}

/* cgroup v2: a limit may stand in any folder from the process's own up to the root. */
static int64_t
cgroup_limit(int64_t memory)
{
	char buffer[MAX_FILE], path[MAX_PATH];
	struct bytes own = broker_machine_find_line(read_start("/proc/self/cgroup", buffer), "0::");

	for (;;) {
		int n = snprintf(path, sizeof(path), "/sys/fs/cgroup%.*s/memory.max", (int)own.len,
		    (const char *)own.data);

		if (n > 0 && (size_t)n < sizeof(path)) {
			memory = smaller_limit(memory, path);
		}
		if (own.len == 0) {
			break;
		}
		while (own.len != 0 && own.data[own.len - 1] != '/') {
			own.len--;
		}
		own.len -= own.len != 0 ? 1 : 0;
	}
	return smaller_limit(memory, "/sys/fs/cgroup/memory/memory.limit_in_bytes");
}

int64_t
broker_machine_memory(void)
{
	char buffer[MAX_FILE];
	struct bytes line =
	    broker_machine_find_line(read_start("/proc/meminfo", buffer), "MemTotal:");
	int64_t memory = take_number(&line) * KIB;

	if (memory <= 0) {
		memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
	}
	return cgroup_limit(memory);
}
