/* SPDX-License-Identifier: Apache-2.0 */
/*
 * durable_load PORT QOS PUBLISHERS WINDOW SECONDS BYTES: publishes for a persistent session that is
 * not there, each publisher with so many unacknowledged, and prints a line of JSON: messages that
 * were acknowledged (QoS 2: to the end) a second, and how long that took, in microseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PUBLISHERS = 1000, MAX_SAMPLES = 4 << 20, IDS = 65536, ROOM = 1 << 18 };

struct publisher {
	int fd;
	unsigned open;
	uint16_t next_id;
	int64_t sent_ns[IDS];
	uint8_t in[ROOM], out[ROOM];
	size_t in_len, out_len;
};

static int port, qos, publishers, window, payload_size;
static struct publisher *all[MAX_PUBLISHERS];
static uint32_t *samples;
static size_t sample_count;
static uint64_t done;
static int session_present;

static int64_t
now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void
read_all(int fd, uint8_t *data, size_t len)
{
	while (len != 0) {
		ssize_t n = read(fd, data, len);

		if (n <= 0) {
			die("read");
		}
		data += n;
		len -= (size_t)n;
	}
}

static int
connect_as(const char *client_id, int clean)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	size_t id_len = strlen(client_id);
	uint8_t packet[128] = {0x10, (uint8_t)(12 + id_len), 0, 4, 'M', 'Q', 'T', 'T', 4,
	    (uint8_t)(clean << 1), 0, 0, 0, (uint8_t)id_len},
		answer[4];

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		die("connect");
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	memcpy(packet + 14, client_id, id_len);
	if (write(fd, packet, 14 + id_len) < 0) {
		die("write");
	}
	read_all(fd, answer, 4);
	session_present = answer[2] & 1;
	if (answer[3] != 0) {
		fprintf(stderr, "refused: %u\n", answer[3]);
		exit(1);
	}
	return fd;
}

static void
leave_a_session(void)
{
	uint8_t subscribe[] = {0x82, 8, 0, 1, 0, 3, 'd', '/', '#', (uint8_t)qos}, answer[5],
		bye[] = {0xe0, 0};
	int fd = connect_as("durable-sleeper", 0);

	if (session_present) { /* of an earlier run: what waits for it begins to come */
		close(fd);
		return;
	}
	if (write(fd, subscribe, sizeof(subscribe)) < 0) {
		die("write");
	}
	read_all(fd, answer, 5);
	if (write(fd, bye, 2) < 0 || answer[4] != qos) {
		die("subscribe");
	}
	close(fd);
}

static void
put(struct publisher *one)
{
	size_t remaining = 2 + 8 + 2 + (size_t)payload_size;
	uint8_t *at = one->out + one->out_len;

	one->next_id = one->next_id % 60000 + 1;
	one->sent_ns[one->next_id] = now_ns();
	*at++ = (uint8_t)(0x30 | qos << 1);
	if (remaining > 127) {
		*at++ = (uint8_t)(remaining | 0x80);
		*at++ = (uint8_t)(remaining >> 7);
	} else {
		*at++ = (uint8_t)remaining;
	}
	*at++ = 0;
	*at++ = 8;
	at += sprintf((char *)at, "d/%06d", one->fd % 1000000);
	*at++ = (uint8_t)(one->next_id >> 8);
	*at++ = (uint8_t)one->next_id;
	memset(at, 'x', (size_t)payload_size);
	one->out_len = (size_t)(at + payload_size - one->out);
	one->open++;
}

static void
flush(struct publisher *one)
{
	ssize_t n = one->out_len != 0 ? write(one->fd, one->out, one->out_len) : 0;

	if (n < 0 && errno != EAGAIN) {
		die("write");
	}
	if (n > 0) {
		memmove(one->out, one->out + n, one->out_len - (size_t)n);
		one->out_len -= (size_t)n;
	}
}

static void
finish(struct publisher *one, uint16_t id)
{
	if (sample_count < MAX_SAMPLES) {
		samples[sample_count++] = (uint32_t)((now_ns() - one->sent_ns[id]) / 1000);
	}
	one->open--;
	done++;
}

static void
take(struct publisher *one)
{
	ssize_t n = read(one->fd, one->in + one->in_len, ROOM - one->in_len);
	size_t at = 0;

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		die("the broker has closed");
	}
	one->in_len += n > 0 ? (size_t)n : 0;
	for (; at + 4 <= one->in_len; at += 4) {
		const uint8_t *packet = one->in + at;

		if ((packet[0] & 0xf0) == 0x50) {
			uint8_t release[4] = {0x62, 2, packet[2], packet[3]};

			memcpy(one->out + one->out_len, release, 4);
			one->out_len += 4;
		} else {
			finish(one, (uint16_t)(packet[2] << 8 | packet[3]));
		}
	}
	memmove(one->in, one->in + at, one->in_len - at);
	one->in_len -= at;
}

static int
by_value(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

static uint32_t
percentile(double share)
{
	return sample_count != 0 ? samples[(size_t)((double)(sample_count - 1) * share)] : 0;
}

int
main(int argc, char **argv)
{
	struct epoll_event events[256];
	int poll = epoll_create1(0);
	int64_t begin, end;
	double seconds;

	if (argc != 7) {
		return 2;
	}
	port = atoi(argv[1]);
	qos = atoi(argv[2]);
	publishers = atoi(argv[3]);
	window = atoi(argv[4]);
	seconds = atof(argv[5]);
	payload_size = atoi(argv[6]);
	samples = malloc(MAX_SAMPLES * sizeof(*samples));
	leave_a_session();
	for (int i = 0; i < publishers; i++) {
		char name[32];
		struct epoll_event event = {.events = EPOLLIN};

		sprintf(name, "durable-%d", i);
		all[i] = calloc(1, sizeof(*all[i]));
		all[i]->fd = connect_as(name, 1);
		fcntl(all[i]->fd, F_SETFL, O_NONBLOCK);
		event.data.ptr = all[i];
		epoll_ctl(poll, EPOLL_CTL_ADD, all[i]->fd, &event);
	}
	begin = now_ns();
	end = begin + (int64_t)(seconds * 1e9);
	for (int i = 0; i < publishers; i++) {
		for (int k = 0; k < window; k++) {
			put(all[i]);
		}
		flush(all[i]);
	}
	while (now_ns() < end) {
		int count = epoll_wait(poll, events, 256, 100);

		for (int i = 0; i < count; i++) {
			struct publisher *one = events[i].data.ptr;

			take(one);
			while (one->open < (unsigned)window &&
			       one->out_len + 1024 + (size_t)payload_size < ROOM) {
				put(one);
			}
			flush(one);
		}
	}
	seconds = (double)(now_ns() - begin) / 1e9;
	qsort(samples, sample_count, sizeof(*samples), by_value);
	printf(
	    "{\"rate\": %.0f, \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u, \"count\": %llu}\n",
	    (double)done / seconds, percentile(0.5), percentile(0.99), percentile(1),
	    (unsigned long long)done);
	return 0;
}
