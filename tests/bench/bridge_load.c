/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load for bridges: who publishes at one broker and takes at another. Prints a line of JSON.
 *
 *     bridge_load flow PUBPORT SUBPORT QOS PUBLISHERS WINDOW SECONDS BYTES
 *         each publisher has at most WINDOW messages on their way to the subscriber at the other
 * broker bridge_load fill PORT QOS COUNT BYTES publishes so many at QoS 1, with 1000 unacknowledged
 *     bridge_load take PORT QOS COUNT
 *         subscribes, says "ready", and takes until so many have come, or none for 20 s
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	ROOM = 1 << 20,
	MOST = 200,
	HEAD = 16,
	FILL_WINDOW = 1000,
	SILENCE_MS = 20000,
	DRAIN_MS = 2000
};

struct conn {
	int fd;
	uint8_t in[ROOM], out[ROOM];
	size_t in_len, out_len;
	uint32_t on_way; /* sent, and not delivered (flow) or acknowledged (fill) */
	uint16_t next_id;
};

static struct conn *pubs[MOST];
static struct conn taker;
static int qos, publishers, window;
static size_t bytes;
static uint64_t delivered, sent, latency_ns;
static uint64_t acked;
/* Of each publisher: the number of its next message, and that of the next one which is new here. */
static uint32_t numbers[MOST], awaited[MOST];
static uint64_t fresh; /* deliveries that are no repetition */

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
put(struct conn *conn, const void *data, size_t len)
{
	if (conn->out_len + len > ROOM) {
		fprintf(stderr, "output is full\n");
		exit(1);
	}
	memcpy(conn->out + conn->out_len, data, len);
	conn->out_len += len;
}

static void
flush_out(struct conn *conn)
{
	ssize_t n = conn->out_len != 0 ? send(conn->fd, conn->out, conn->out_len, MSG_DONTWAIT) : 0;

	if (n < 0 && errno != EAGAIN) {
		die("send");
	}
	if (n > 0) {
		memmove(conn->out, conn->out + n, conn->out_len - (size_t)n);
		conn->out_len -= (size_t)n;
	}
}

static void
reach(struct conn *conn, int port, const char *id)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	size_t len = strlen(id);
	uint8_t packet[64] = {
	    0x10, (uint8_t)(12 + len), 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, (uint8_t)len};
	uint8_t answer[4];
	int on = 1;

	conn->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (conn->fd < 0 || connect(conn->fd, (void *)&in, sizeof(in)) != 0) {
		die("connect");
	}
	(void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	memcpy(packet + 14, id, len);
	if (write(conn->fd, packet, 14 + len) < 0 || read(conn->fd, answer, 4) != 4 ||
	    answer[3] != 0) {
		die("CONNECT");
	}
}

static void
subscribe(struct conn *conn)
{
	uint8_t packet[] = {0x82, 8, 0, 1, 0, 3, 'b', '/', '#', (uint8_t)qos};
	uint8_t answer[5];

	if (write(conn->fd, packet, sizeof(packet)) < 0 || read(conn->fd, answer, 5) != 5) {
		die("SUBSCRIBE");
	}
}

static size_t
put_length(uint8_t *at, size_t len)
{
	size_t n = 0;

	do {
		at[n] = (uint8_t)(len % 128 | (len >= 128 ? 128 : 0));
		len /= 128;
		n++;
	} while (len != 0);
	return n;
}

/* Topic b/NNN; the payload begins with the moment, the publisher and its count. */
static void
publish(struct conn *conn, int who)
{
	static uint8_t packet[65536];
	size_t remaining = 2 + 5 + (qos != 0 ? 2 : 0) + bytes, at = 1;
	int64_t now = now_ns();
	char topic[8];

	packet[0] = (uint8_t)(0x30 | qos << 1);
	at += put_length(packet + 1, remaining);
	packet[at++] = 0;
	packet[at++] = 5;
	(void)snprintf(topic, sizeof(topic), "b/%03d", who % 1000);
	memcpy(packet + at, topic, 5);
	at += 5;
	if (qos != 0) {
		conn->next_id = conn->next_id == 65535 ? 1 : (uint16_t)(conn->next_id + 1);
		packet[at++] = (uint8_t)(conn->next_id >> 8);
		packet[at++] = (uint8_t)conn->next_id;
	}
	memcpy(packet + at, &now, 8);
	memcpy(packet + at + 8, &who, 4);
	memcpy(packet + at + 12, &numbers[who], 4);
	numbers[who]++;
	put(conn, packet, at + bytes);
	conn->on_way++;
	sent++;
}

static void
take_publish(struct conn *conn, uint8_t first, const uint8_t *body, size_t len)
{
	size_t topic_len = (size_t)body[0] << 8 | body[1];
	int level = first >> 1 & 3;
	const uint8_t *payload = body + 2 + topic_len + (level != 0 ? 2 : 0);
	int64_t then;
	uint32_t number;
	int who;

	(void)len;
	memcpy(&then, payload, 8);
	memcpy(&who, payload + 8, 4);
	memcpy(&number, payload + 12, 4);
	delivered++;
	latency_ns += (uint64_t)(now_ns() - then);
	if (who >= 0 && who < MOST && number >= awaited[who]) { /* a publisher's come in order */
		awaited[who] = number + 1;
		fresh++;
		if (pubs[who] != NULL && pubs[who]->on_way != 0) {
			pubs[who]->on_way--;
		}
	}
	if (level != 0) {
		uint8_t ack[4] = {
		    level == 1 ? 0x40 : 0x50, 2, body[2 + topic_len], body[3 + topic_len]};

		put(conn, ack, 4);
	}
}

static void
take(struct conn *conn, uint8_t first, const uint8_t *body, size_t len)
{
	uint8_t answer[4] = {0, 2, len >= 2 ? body[0] : 0, len >= 2 ? body[1] : 0};

	switch (first >> 4) {
	case 3:
		take_publish(conn, first, body, len);
		break;
	case 4: /* PUBACK */
	case 7: /* PUBCOMP */
		acked++;
		break;
	case 5: /* PUBREC */
		answer[0] = 0x62;
		put(conn, answer, 4);
		break;
	case 6: /* PUBREL */
		answer[0] = 0x70;
		put(conn, answer, 4);
		break;
	default:
		break;
	}
}

static void
read_in(struct conn *conn)
{
	ssize_t n = recv(conn->fd, conn->in + conn->in_len, ROOM - conn->in_len, MSG_DONTWAIT);
	size_t at = 0;

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		die("recv");
	}
	conn->in_len += n > 0 ? (size_t)n : 0;
	for (;;) {
		size_t len = 0, head = 1, shift = 0;

		while (at + head < conn->in_len && head < 5) {
			uint8_t byte = conn->in[at + head++];

			len |= (size_t)(byte & 127) << shift;
			shift += 7;
			if (byte < 128) {
				break;
			}
		}
		if (at + 2 > conn->in_len || at + head + len > conn->in_len) {
			break;
		}
		take(conn, conn->in[at], conn->in + at + head, len);
		at += head + len;
	}
	memmove(conn->in, conn->in + at, conn->in_len - at);
	conn->in_len -= at;
}

static int
wait_for(struct conn *const *conns, int count, int timeout_ms)
{
	static struct pollfd fds[MOST + 1];
	int ready;

	for (int i = 0; i < count; i++) {
		fds[i] = (struct pollfd){.fd = conns[i]->fd,
		    .events = (short)(POLLIN | (conns[i]->out_len != 0 ? POLLOUT : 0))};
	}
	ready = poll(fds, (nfds_t)count, timeout_ms);
	for (int i = 0; i < count; i++) {
		if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
			read_in(conns[i]);
		}
	}
	return ready;
}

/* What is on its way may still come. */
static void
drain(struct conn *const *all, int count)
{
	int64_t until = now_ns() + DRAIN_MS * INT64_C(1000000);
	uint64_t seen = fresh;

	while (fresh < sent && now_ns() < until) {
		for (int i = 0; i < count; i++) {
			flush_out(all[i]);
		}
		(void)wait_for(all, count, 100);
		if (fresh != seen) {
			seen = fresh;
			until = now_ns() + DRAIN_MS * INT64_C(1000000);
		}
	}
}

static void
flow(char **argv)
{
	struct conn *all[MOST + 1];
	int64_t begin, seconds = atoi(argv[5]);
	uint64_t before, latency_before;
	double spent;

	qos = atoi(argv[2]);
	publishers = atoi(argv[3]);
	window = atoi(argv[4]);
	bytes = (size_t)atoi(argv[6]);
	reach(&taker, atoi(argv[1]), "bridge-taker");
	subscribe(&taker);
	for (int i = 0; i < publishers; i++) {
		char id[32];

		pubs[i] = calloc(1, sizeof(*pubs[i]));
		(void)snprintf(id, sizeof(id), "bridge-pub-%d", i);
		reach(pubs[i], atoi(argv[0]), id);
		all[i] = pubs[i];
	}
	all[publishers] = &taker;
	before = latency_before = 0;
	begin = now_ns() + 1000000000;
	for (bool warm = true;;) {
		int64_t now = now_ns();

		if (warm && now >= begin) {
			warm = false;
			before = delivered;
			latency_before = latency_ns;
		}
		if (now >= begin + seconds * 1000000000) {
			break;
		}
		for (int i = 0; i < publishers; i++) {
			while (pubs[i]->on_way < (uint32_t)window &&
			       pubs[i]->out_len + bytes + HEAD < ROOM) {
				publish(pubs[i], i);
			}
			flush_out(pubs[i]);
		}
		flush_out(&taker);
		(void)wait_for(all, publishers + 1, 100);
		flush_out(&taker);
	}
	spent = (double)(now_ns() - begin) / 1e9;
	printf("{\"delivered\": %llu, \"rate\": %.0f, \"latency_us\": %.0f, ",
	    (unsigned long long)(delivered - before), (double)(delivered - before) / spent,
	    (double)(latency_ns - latency_before) / 1e3 / (double)(delivered - before + 1));
	fflush(stdout);
	drain(all, publishers + 1);
	printf("\"lost\": %llu, \"twice\": %llu}\n", (unsigned long long)(sent - fresh),
	    (unsigned long long)(delivered - fresh));
}

static void
fill(char **argv)
{
	uint64_t count = strtoull(argv[2], NULL, 10);
	struct conn *one[1];
	int64_t begin;

	qos = atoi(argv[1]);
	bytes = (size_t)atoi(argv[3]);
	pubs[0] = one[0] = calloc(1, sizeof(*pubs[0]));
	reach(pubs[0], atoi(argv[0]), "bridge-fill");
	begin = now_ns();
	while (acked < count) {
		while (sent < count && sent - acked < FILL_WINDOW) {
			publish(pubs[0], (int)(sent % 100));
		}
		flush_out(pubs[0]);
		if (wait_for(one, 1, SILENCE_MS) == 0) {
			break;
		}
	}
	printf("{\"acknowledged\": %llu, \"rate\": %.0f}\n", (unsigned long long)acked,
	    (double)acked / ((double)(now_ns() - begin) / 1e9));
}

static void
take_all(char **argv)
{
	uint64_t count = strtoull(argv[2], NULL, 10);
	struct conn *one[1] = {&taker};
	int64_t begin = 0;

	qos = atoi(argv[1]);
	reach(&taker, atoi(argv[0]), "bridge-take");
	subscribe(&taker);
	printf("ready\n");
	fflush(stdout);
	while (fresh < count) {
		if (wait_for(one, 1, SILENCE_MS) == 0) {
			break;
		}
		if (begin == 0 && delivered != 0) {
			begin = now_ns();
		}
		flush_out(&taker);
	}
	printf("{\"delivered\": %llu, \"lost\": %llu, \"rate\": %.0f}\n",
	    (unsigned long long)delivered, (unsigned long long)(fresh < count ? count - fresh : 0),
	    (double)delivered / ((double)(now_ns() - begin) / 1e9));
}

int
main(int argc, char **argv)
{
	if (argc == 9 && strcmp(argv[1], "flow") == 0) {
		flow(argv + 2);
	} else if (argc == 6 && strcmp(argv[1], "fill") == 0) {
		fill(argv + 2);
	} else if (argc == 5 && strcmp(argv[1], "take") == 0) {
		take_all(argv + 2);
	} else {
		fprintf(stderr, "bridge_load flow|fill|take …\n");
		return 2;
	}
	return 0;
}
