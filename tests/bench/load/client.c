/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections and the turn of the loop. Output is collected, and sent at the beginning of a turn
 * with one call for each connection, so that the generator batches where the broker lets it. A
 * connection that ends keeps its struct.
 */
#include "bench/load/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	EVENTS = 512,
	READ_MOST = 512 * 1024,
	RECORD = 16384, /* the most that one SSL_read gives */
	OUT_FIRST = 256,
	OUT_KEPT = 65536, /* larger room is given back as soon as it is empty */
	TURN_NS = 20000000,
};

static int events;
static SSL_CTX *tls;
static struct sockaddr_in broker_address;

static struct client **dirty;
static size_t dirty_count, dirty_room;

static uint8_t *read_buffer;
static uint32_t read_room;

void
clients_setup(void)
{
	broker_address.sin_family = AF_INET;
	broker_address.sin_port = htons((uint16_t)options.port);
	if (inet_pton(AF_INET, options.host, &broker_address.sin_addr) != 1) {
		die("--host %s: not an IPv4 address", options.host);
	}
	events = epoll_create1(EPOLL_CLOEXEC);
	if (events < 0) {
		die("epoll_create1: %s", strerror(errno));
	}
	if (!options.tls) {
		return;
	}
	tls = SSL_CTX_new(TLS_client_method());
	if (tls == NULL || SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) != 1) {
		die("no TLS 1.3");
	}
	/* Measures over loopback only: nobody is to be kept out. */
	SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				  SSL_MODE_RELEASE_BUFFERS);
}

struct client *
clients_new(long count)
{
	return allocate((size_t)count, sizeof(struct client));
}

void
client_init(struct client *client, long index, enum role role, const char *tag)
{
	memset(client, 0, sizeof(*client));
	client->fd = -1;
	client->index = (uint32_t)index;
	client->role = role;
	client->receive_maximum = UINT16_MAX;
	/* Not more of the prefix: an id's length is part of what a connection costs. */
	snprintf(client->id, sizeof(client->id), "%.3s%s%ld", options.prefix, tag, index);
}

/* --- the end --- */

static void
free_output(struct client *client)
{
	free(client->out);
	client->out = NULL;
	client->out_head = client->out_len = client->out_room = 0;
}

static void
close_client(struct client *client)
{
	SSL_free(client->ssl);
	client->ssl = NULL;
	close(client->fd);
	client->fd = -1;
	client->state = CLIENT_CLOSED;
	free_output(client);
	free(client->in);
	client->in = NULL;
	client->in_len = 0;
}

void
client_fail(struct client *client)
{
	if (client->state != CLIENT_CLOSED) {
		counts.closed++;
		close_client(client);
	}
}

/* --- output --- */

static void
mark_dirty(struct client *client)
{
	if (client->is_dirty) {
		return;
	}
	if (dirty_count == dirty_room) {
		dirty_room = dirty_room != 0 ? dirty_room * 2 : 1024;
		dirty = resize(dirty, dirty_room * sizeof(struct client *));
	}
	client->is_dirty = true;
	dirty[dirty_count++] = client;
}

uint8_t *
client_room(struct client *client, uint32_t len)
{
	uint32_t pending = client->out_len - client->out_head;

	if (client->out_room - client->out_len < len) {
		if (client->out_head != 0) {
			memmove(client->out, client->out + client->out_head, pending);
			client->out_head = 0;
			client->out_len = pending;
		}
		if (client->out_room - pending < len) {
			uint64_t room = client->out_room != 0 ? client->out_room : OUT_FIRST;

			while (room - pending < len) {
				room *= 2;
			}
			if (room > UINT32_MAX) {
				die("the broker does not read");
			}
			client->out_room = (uint32_t)room;
			client->out = resize(client->out, client->out_room);
		}
	}
	uint8_t *at = client->out + client->out_len;

	client->out_len += len;
	mark_dirty(client);
	return at;
}

static void
await_output(struct client *client, bool awaits)
{
	struct epoll_event event = {
	    .events = EPOLLIN | (awaits ? EPOLLOUT : 0), .data.ptr = client};

	if (client->awaits_out != awaits) {
		(void)epoll_ctl(events, EPOLL_CTL_MOD, client->fd, &event);
		client->awaits_out = awaits;
	}
}

/* Bytes that went out, 0: none now, -1: none any more. */
static ssize_t
write_some(struct client *client)
{
	const uint8_t *at = client->out + client->out_head;
	size_t len = client->out_len - client->out_head;
	size_t written = 0;

	if (client->ssl == NULL) {
		ssize_t sent = send(client->fd, at, len, MSG_NOSIGNAL);

		return sent >= 0 ? sent : (errno == EAGAIN || errno == EINTR) ? 0 : -1;
	}
	ERR_clear_error();
	if (SSL_write_ex(client->ssl, at, len, &written) == 1) {
		return (ssize_t)written;
	}
	int error = SSL_get_error(client->ssl, 0);

	return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? 0 : -1;
}

static void
flush(struct client *client)
{
	if (client->state != CLIENT_GREETED && client->state != CLIENT_UP) {
		return;
	}
	while (client->out_head < client->out_len) {
		ssize_t written = write_some(client);

		if (written < 0) {
			client_fail(client);
			return;
		}
		if (written == 0) {
			await_output(client, true);
			return;
		}
		client->out_head += (uint32_t)written;
	}
	client->out_head = client->out_len = 0;
	/* An idle connection is to cost the generator nothing. */
	if (client->out_room > OUT_KEPT || client->role == IDLE) {
		free_output(client);
	}
	await_output(client, false);
}

static void
flush_all(void)
{
	for (size_t i = 0; i < dirty_count; i++) {
		dirty[i]->is_dirty = false;
		flush(dirty[i]);
	}
	dirty_count = 0;
}

/* The list of the dirty must not have a struct that is going to be used anew. */
void
client_end(struct client *client)
{
	flush_all();
	if (client->state != CLIENT_CLOSED) {
		close_client(client);
	}
}

/* --- input --- */

/* Bytes that came, 0: none now, -1: none any more. */
static ssize_t
read_some(struct client *client, uint8_t *at)
{
	size_t total = 0, len;

	if (client->ssl == NULL) {
		ssize_t received = recv(client->fd, at, READ_MOST, 0);

		if (received < 0 && (errno == EAGAIN || errno == EINTR)) {
			return 0;
		}
		return received == 0 ? -1 : received;
	}
	/* Room for a whole record each time: what stayed within OpenSSL would wake nobody. */
	while (total <= READ_MOST - RECORD) {
		ERR_clear_error();
		if (SSL_read_ex(client->ssl, at + total, READ_MOST - total, &len) != 1) {
			int error = SSL_get_error(client->ssl, 0);

			if (total == 0 && error != SSL_ERROR_WANT_READ &&
			    error != SSL_ERROR_WANT_WRITE) {
				return -1;
			}
			break;
		}
		total += len;
	}
	return (ssize_t)total;
}

/* Takes a packet from the beginning of len bytes; returns its length, 0: it is not complete. */
static uint32_t
take_one(struct client *client, const uint8_t *bytes, uint32_t len, int64_t read_ns)
{
	uint32_t body_len = 0, at = 1;
	unsigned shift = 0;

	do {
		if (at == len) {
			return 0;
		}
		if (at > 4) {
			counts.protocol_errors++;
			client_fail(client);
			return 0;
		}
		body_len |= (uint32_t)(bytes[at] & 127) << shift;
		shift += 7;
	} while ((bytes[at++] & 128) != 0);
	if (len - at < body_len) {
		return 0;
	}
	packet_take(client, bytes[0], bytes + at, body_len, read_ns);
	return at + body_len;
}

static void
receive(struct client *client)
{
	uint32_t begun = client->in_len;

	if (read_room < begun + READ_MOST) {
		read_room = begun + 2 * READ_MOST;
		read_buffer = resize(read_buffer, read_room);
	}
	if (begun != 0) {
		memcpy(read_buffer, client->in, begun);
		free(client->in);
		client->in = NULL;
		client->in_len = 0;
	}
	ssize_t received = read_some(client, read_buffer + begun);

	if (received < 0) {
		client_fail(client);
		return;
	}
	uint32_t len = begun + (uint32_t)received, at = 0, taken = 1;
	int64_t read_ns = now_ns();

	while (at < len && taken != 0 && client->state != CLIENT_CLOSED) {
		taken = take_one(client, read_buffer + at, len - at, read_ns);
		at += taken;
	}
	if (client->state != CLIENT_CLOSED && at < len) {
		client->in_len = len - at;
		client->in = resize(NULL, client->in_len);
		memcpy(client->in, read_buffer + at, client->in_len);
	}
}

/* --- the beginning --- */

static void
start(struct client *client)
{
	int on = 1;

	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0) {
		die("socket: %s", strerror(errno));
	}
	if (options.nodelay != 0) {
		(void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	if (client->source != 0) {
		struct sockaddr_in own = {.sin_family = AF_INET,
		    .sin_addr.s_addr = htonl(INADDR_LOOPBACK + client->source)};

		/* The port is found by connect(), which knows that only the pair must be new. */
		(void)setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(client->fd, (void *)&own, sizeof(own)) != 0) {
			die("bind: %s", strerror(errno));
		}
	}
	if (connect(client->fd, (void *)&broker_address, sizeof(broker_address)) != 0 &&
	    errno != EINPROGRESS) {
		die("connect: %s", strerror(errno));
	}
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};

	client->awaits_out = true;
	if (epoll_ctl(events, EPOLL_CTL_ADD, client->fd, &event) != 0) {
		die("epoll_ctl: %s", strerror(errno));
	}
	client->state = CLIENT_TCP;
}

static void
greet(struct client *client)
{
	client->state = CLIENT_GREETED;
	send_connect(client);
}

static void
shake_hands(struct client *client)
{
	ERR_clear_error();
	int result = SSL_do_handshake(client->ssl);

	if (result == 1) {
		greet(client);
		return;
	}
	switch (SSL_get_error(client->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		await_output(client, false);
		break;
	case SSL_ERROR_WANT_WRITE:
		await_output(client, true);
		break;
	default:
		fputs("mqload: TLS handshake failed\n", stderr);
		ERR_print_errors_fp(stderr);
		client_fail(client);
	}
}

static void
reached(struct client *client)
{
	int error = 0;
	socklen_t len = sizeof(error);

	(void)getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error != 0) {
		if (counts.closed < 3) { /* the others say the same */
			fprintf(stderr, "mqload: connect: %s\n", strerror(error));
		}
		client_fail(client);
		return;
	}
	if (!options.tls) {
		greet(client);
		return;
	}
	client->ssl = SSL_new(tls);
	if (client->ssl == NULL || SSL_set_fd(client->ssl, client->fd) != 1) {
		die("no memory");
	}
	SSL_set_connect_state(client->ssl);
	client->state = CLIENT_TLS;
	shake_hands(client);
}

/* --- the turn --- */

static void
serve(struct client *client, uint32_t ready)
{
	switch (client->state) {
	case CLIENT_TCP:
		reached(client);
		return;
	case CLIENT_TLS:
		shake_hands(client);
		return;
	case CLIENT_NEW:
	case CLIENT_CLOSED:
		return;
	case CLIENT_GREETED:
	case CLIENT_UP:
		break;
	}
	if ((ready & EPOLLOUT) != 0) {
		flush(client);
	}
	if (client->state != CLIENT_CLOSED && (ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
		receive(client);
	}
}

void
turn(int64_t wait_ns)
{
	struct epoll_event ready[EVENTS];
	struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};

	flush_all();
	int count = epoll_pwait2(events, ready, EVENTS, &wait, NULL);

	if (count < 0 && errno != EINTR) {
		die("epoll_pwait2: %s", strerror(errno));
	}
	for (int i = 0; i < count; i++) {
		serve(ready[i].data.ptr, ready[i].events);
	}
}

void
turn_for(double seconds)
{
	double end = now_s() + seconds;

	while (now_s() < end) {
		turn(TURN_NS);
	}
}

static bool
is_settled(const struct client *client)
{
	return client->state == CLIENT_UP || client->state == CLIENT_CLOSED;
}

long
clients_connect(struct client *clients, long count)
{
	/* All below settled_to are; looking only above it keeps this linear. */
	long started = 0, settled_to = 0, settled = 0, up = 0;
	struct progress progress = progress_begin(0);

	while (settled < count && progress_goes_on(&progress, (uint64_t)settled)) {
		while (started < count && started - settled < options.parallel) {
			start(&clients[started++]);
		}
		turn(TURN_NS);
		while (settled_to < started && is_settled(&clients[settled_to])) {
			settled_to++;
		}
		settled = settled_to;
		for (long i = settled_to; i < started; i++) {
			settled += is_settled(&clients[i]) ? 1 : 0;
		}
	}
	for (long i = 0; i < count; i++) {
		up += clients[i].state == CLIENT_UP ? 1 : 0;
	}
	flush_all();
	return up;
}

bool
clients_subscribed(struct client *clients, long count, uint32_t subacks)
{
	double end = now_s() + options.limit;

	for (long i = 0; i < count;) {
		if (clients[i].suback_count >= subacks || clients[i].state == CLIENT_CLOSED) {
			i++;
		} else if (now_s() > end) {
			return false;
		} else {
			turn(TURN_NS);
		}
	}
	return true;
}
