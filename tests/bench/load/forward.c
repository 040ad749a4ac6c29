/* SPDX-License-Identifier: Apache-2.0 */
/* See forward.h. */
#include "bench/load/forward.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUCKETS = 65536, OUT_FIRST = 512, OPEN_FILES = 300000, BACKLOG = 4096, FILTERS_MOST = 100 };

struct topic {
	struct topic *next; /* in its bucket */
	uint32_t hash;
	uint32_t count, room;
	struct forward **subscribers; /* also those that have ended */
	uint16_t len;
	uint8_t name[];
};

static struct topic *buckets[BUCKETS];
static const struct forward_loop *loop;
static struct forward **dirty;
static uint32_t dirty_count, dirty_room;
static uint8_t read_buffer[2 * FORWARD_READ];

static void *
resize(void *old, size_t size)
{
	void *memory = realloc(old, size);

	if (memory == NULL) {
		perror("floor");
		exit(1);
	}
	return memory;
}

void *
forward_new(uint32_t size)
{
	return memset(resize(NULL, size), 0, size);
}

/* --- topics --- */

/* FNV-1a */
static uint32_t
hash_of(const uint8_t *bytes, uint16_t len)
{
	uint32_t hash = 2166136261U;

	for (uint16_t i = 0; i < len; i++) {
		hash = (hash ^ bytes[i]) * 16777619U;
	}
	return hash;
}

static struct topic *
find_topic(const uint8_t *name, uint16_t len)
{
	uint32_t hash = hash_of(name, len);
	struct topic *topic = buckets[hash % BUCKETS];

	while (topic != NULL &&
	       (topic->hash != hash || topic->len != len || memcmp(topic->name, name, len) != 0)) {
		topic = topic->next;
	}
	return topic;
}

static void
subscribe(struct forward *forward, const uint8_t *name, uint16_t len)
{
	struct topic *topic = find_topic(name, len);

	if (topic == NULL) {
		topic = forward_new((uint32_t)sizeof(*topic) + len);
		topic->hash = hash_of(name, len);
		topic->len = len;
		memcpy(topic->name, name, len);
		topic->next = buckets[topic->hash % BUCKETS];
		buckets[topic->hash % BUCKETS] = topic;
	}
	if (topic->count == topic->room) {
		topic->room = topic->room != 0 ? topic->room * 2 : 2;
		topic->subscribers =
		    resize(topic->subscribers, topic->room * sizeof(struct forward *));
	}
	topic->subscribers[topic->count++] = forward;
}

/* --- output --- */

static void
make_room(struct forward *forward, uint32_t len)
{
	if (forward->out_head != 0) {
		memmove(forward->out, forward->out + forward->out_head,
		    forward->out_len - forward->out_head);
		forward->out_len -= forward->out_head;
		forward->out_head = 0;
	}
	while (forward->out_room - forward->out_len < len) {
		forward->out_room = forward->out_room != 0 ? forward->out_room * 2 : OUT_FIRST;
		if (forward->out_room == 0) {
			fputs("floor: a subscriber does not read\n", stderr);
			exit(1);
		}
	}
	forward->out = resize(forward->out, forward->out_room);
}

static void
put(struct forward *forward, const void *bytes, uint32_t len)
{
	if (forward->fd < 0) {
		return;
	}
	if (loop->put != NULL) {
		loop->put(forward, bytes, len);
		return;
	}
	if (forward->out_room - forward->out_len < len) {
		make_room(forward, len);
	}
	memcpy(forward->out + forward->out_len, bytes, len);
	forward->out_len += len;
	if (forward->is_dirty) {
		return;
	}
	if (dirty_count == dirty_room) {
		dirty_room = dirty_room != 0 ? dirty_room * 2 : 256;
		dirty = resize(dirty, dirty_room * sizeof(struct forward *));
	}
	forward->is_dirty = true;
	dirty[dirty_count++] = forward;
}

static void
await_out(struct forward *forward, bool awaits)
{
	if (forward->awaits_out != awaits) {
		forward->awaits_out = awaits;
		loop->await_out(forward, awaits);
	}
}

void
forward_end(struct forward *forward)
{
	if (forward->fd < 0) {
		return;
	}
	loop->end(forward);
	forward->fd = -1;
	free(forward->out);
	free(forward->in);
	forward->out = forward->in = NULL;
	forward->out_head = forward->out_len = forward->out_room = forward->in_len = 0;
}

void
forward_flush(struct forward *forward)
{
	while (forward->fd >= 0 && forward->out_head < forward->out_len) {
		ssize_t sent = send(forward->fd, forward->out + forward->out_head,
		    forward->out_len - forward->out_head, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN) {
			await_out(forward, true);
			return;
		}
		if (sent < 0) {
			forward_end(forward);
			return;
		}
		forward->out_head += (uint32_t)sent;
	}
	if (forward->fd >= 0) {
		forward->out_head = forward->out_len = 0;
		await_out(forward, false);
	}
}

void
forward_flush_all(void)
{
	for (uint32_t i = 0; i < dirty_count; i++) {
		dirty[i]->is_dirty = false;
		forward_flush(dirty[i]);
	}
	dirty_count = 0;
}

/* --- packets --- */

static uint16_t
u16_at(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void
answer(struct forward *forward, uint8_t head, const uint8_t *id)
{
	put(forward, (const uint8_t[]){head, 2, id[0], id[1]}, 4);
}

static bool
take_connect(struct forward *forward, const uint8_t *body, uint32_t len)
{
	if (len < 7) {
		return false;
	}
	forward->version = body[6];
	if (forward->version == 5) {
		put(forward, "\x20\x03\0\0\0", 5);
	} else {
		put(forward, "\x20\x02\0\0", 4);
	}
	return true;
}

static bool
take_publish(struct forward *forward, const uint8_t *packet, uint32_t start_len, uint32_t len)
{
	const uint8_t *body = packet + start_len;
	unsigned qos = (packet[0] >> 1) & 3;
	uint32_t name_len = len < 2 ? 0 : u16_at(body);

	if (len < 2 || qos == 3 || 2 + name_len + (qos != 0 ? 2 : 0) > len) {
		return false;
	}
	const struct topic *topic = find_topic(body + 2, (uint16_t)name_len);

	for (uint32_t i = 0; topic != NULL && i < topic->count; i++) {
		put(topic->subscribers[i], packet, start_len + len);
	}
	if (qos != 0) {
		answer(forward, qos == 1 ? 0x40 : 0x50, body + 2 + name_len);
	}
	return true;
}

/* SUBACK grants QoS 0, which here means nothing. */
static bool
take_subscribe(struct forward *forward, const uint8_t *body, uint32_t len)
{
	uint32_t properties = forward->version == 5 ? 1 : 0, count = 0;
	uint8_t suback[4 + 1 + FILTERS_MOST] = {0x90};

	if (len < 5 || (properties != 0 && body[2] != 0)) {
		return false;
	}
	for (uint32_t at = 2 + properties; at < len; count++) {
		uint32_t name_len = at + 2 < len ? u16_at(body + at) : 0;

		if (name_len == 0 || at + 2 + name_len >= len || count == FILTERS_MOST) {
			return false;
		}
		subscribe(forward, body + at + 2, (uint16_t)name_len);
		at += 2 + name_len + 1;
	}
	suback[1] = (uint8_t)(2 + properties + count);
	suback[2] = body[0];
	suback[3] = body[1];
	put(forward, suback, 4 + properties + count);
	return true;
}

/* False: the connection is to end. */
static bool
take_packet(struct forward *forward, const uint8_t *packet, uint32_t start_len, uint32_t len)
{
	const uint8_t *body = packet + start_len;

	switch (packet[0] >> 4) {
	case 1:
		return take_connect(forward, body, len);
	case 3:
		return take_publish(forward, packet, start_len, len);
	case 4: /* a subscriber's PUBACK and PUBCOMP: nothing is kept for them */
	case 7:
		return true;
	case 5:
	case 6:
		if (len >= 2) {
			answer(forward, packet[0] >> 4 == 5 ? 0x62 : 0x70, body);
		}
		return len >= 2;
	case 8:
		return take_subscribe(forward, body, len);
	case 12:
		put(forward, "\xd0\0", 2);
		return true;
	default:
		return false;
	}
}

/* The bytes before the body, 0: not all are there, or there are too many. */
static uint32_t
read_start(const uint8_t *bytes, uint32_t len, uint32_t *body_len_out)
{
	uint32_t value = 0;

	for (uint32_t at = 1; at < len && at < 5; at++) {
		value |= (uint32_t)(bytes[at] & 127) << (7 * (at - 1));
		if ((bytes[at] & 128) == 0) {
			*body_len_out = value;
			return at + 1;
		}
	}
	return 0;
}

uint32_t
forward_take(struct forward *forward, const uint8_t *bytes, uint32_t len)
{
	uint32_t taken = 0, body_len;

	while (forward->fd >= 0) {
		uint32_t start_len = read_start(bytes + taken, len - taken, &body_len);

		if (start_len == 0 || len - taken - start_len < body_len) {
			break;
		}
		if (!take_packet(forward, bytes + taken, start_len, body_len)) {
			forward_end(forward);
		}
		taken += start_len + body_len;
	}
	return taken;
}

void
forward_read(struct forward *forward)
{
	uint32_t begun = forward->in_len;

	if (begun > FORWARD_READ) {
		forward_end(forward);
		return;
	}
	if (begun != 0) {
		memcpy(read_buffer, forward->in, begun);
	}
	ssize_t received = recv(forward->fd, read_buffer + begun, FORWARD_READ, 0);

	if (received < 0 && errno == EAGAIN) {
		return;
	}
	if (received <= 0) {
		forward_end(forward);
		return;
	}
	free(forward->in);
	forward->in = NULL;
	forward->in_len = 0;
	uint32_t len = begun + (uint32_t)received;
	uint32_t taken = forward_take(forward, read_buffer, len);

	if (forward->fd >= 0 && taken < len) {
		forward->in_len = len - taken;
		forward->in = resize(NULL, forward->in_len);
		memcpy(forward->in, read_buffer + taken, forward->in_len);
	}
}

/* --- connections --- */

int
forward_listen(const struct forward_loop *own_loop, const char *port)
{
	struct rlimit limit = {OPEN_FILES, OPEN_FILES};
	struct sockaddr_in address = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)atoi(port)),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	loop = own_loop;
	(void)signal(SIGPIPE, SIG_IGN);
	/* Root may raise the hard limit; others take all that they may. */
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(listener, (void *)&address, sizeof(address)) != 0 ||
	    listen(listener, BACKLOG) != 0) {
		perror("floor");
		exit(1);
	}
	return listener;
}

int
forward_accept(int listener)
{
	int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

	if (fd >= 0) {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	return fd;
}
