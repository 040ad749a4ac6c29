/* SPDX-License-Identifier: Apache-2.0 */
#include "stress/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 65536, EVENTS = 256, MAX_INPUT = 1 << 24 };

int64_t
now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
net_init(struct net *net, int port)
{
	*net = (struct net){.port = port, .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	if (net->epoll_fd < 0) {
		perror("stress: epoll");
		exit(2);
	}
}

static void
ask_kernel(struct net *net, struct client *client, int how)
{
	struct epoll_event event = {.events = (client->is_deaf ? 0U : (uint32_t)EPOLLIN) |
					      (client->wants_write ? (uint32_t)EPOLLOUT : 0U),
	    .data.ptr = client};

	if (epoll_ctl(net->epoll_fd, how, client->fd, &event) != 0) {
		perror("stress: epoll_ctl");
		exit(2);
	}
}

bool
client_open(struct net *net, struct client *client, int version, uint32_t address)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)net->port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in from = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + address % 250)};
	int yes = 1;

	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0) {
		return false;
	}
	client->version = version;
	client->is_deaf = false;
	client->wants_write = true; /* until it is connected */
	client->in.len = client->out.len = 0;
	client->last_id = 0;
	/* Many addresses, since the ports of one do not last for all that come and go. */
	(void)setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes));
	(void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	if (bind(client->fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
	    (connect(client->fd, (struct sockaddr *)&to, sizeof(to)) != 0 &&
		errno != EINPROGRESS)) {
		(void)close(client->fd);
		client->fd = -1;
		return false;
	}
	net->connects++;
	ask_kernel(net, client, EPOLL_CTL_ADD);
	return true;
}

void
client_close(struct client *client, bool by_reset)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	if (client->fd < 0) {
		return;
	}
	if (by_reset) {
		(void)setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	}
	(void)close(client->fd);
	client->fd = -1;
	bytes_free(&client->in);
	bytes_free(&client->out);
}

void
client_set_deaf(struct net *net, struct client *client, bool is_deaf)
{
	if (client->fd >= 0 && client->is_deaf != is_deaf) {
		client->is_deaf = is_deaf;
		ask_kernel(net, client, EPOLL_CTL_MOD);
	}
}

uint16_t
client_next_id(struct client *client)
{
	client->last_id = client->last_id == UINT16_MAX ? 1 : (uint16_t)(client->last_id + 1);
	return client->last_id;
}

void
client_flush(struct net *net, struct client *client)
{
	bool waits = client->wants_write;
	ssize_t sent;

	if (client->fd < 0 || client->out.len == 0) {
		return;
	}
	sent = send(client->fd, client->out.data, client->out.len, MSG_NOSIGNAL);
	if (sent > 0) {
		bytes_drop(&client->out, (size_t)sent);
	} else if (sent < 0 && errno != EAGAIN) {
		client->out.len = 0; /* the end is told when it is read */
	}
	client->wants_write = client->out.len != 0;
	if (client->wants_write != waits) {
		ask_kernel(net, client, EPOLL_CTL_MOD);
	}
}

static void
end(struct load *load, struct client *client)
{
	client_close(client, false);
	client->role->ended(load, client);
}

/* Packets at the front of the input. False: the client has closed meanwhile. */
static bool
handle(struct net *net, struct load *load, struct client *client)
{
	size_t used = 0;
	int fd = client->fd;

	while (client->fd == fd && !client->is_deaf) {
		struct packet packet;
		long size = get_packet(
		    client->in.data + used, client->in.len - used, client->version, &packet);

		if (size == 0 && client->in.len - used < MAX_INPUT) {
			break;
		}
		if (size <= 0) {
			fprintf(stderr, "stress: %s got what is no packet: %02x %02x\n",
			    client->role->name, client->in.data[used], client->in.data[used + 1]);
			abort();
		}
		net->packets++;
		client->role->packet(load, client, &packet);
		used += (size_t)size;
	}
	if (client->fd != fd) {
		return false;
	}
	bytes_drop(&client->in, used);
	return true;
}

static void
receive(struct net *net, struct load *load, struct client *client)
{
	uint8_t memory[READ_SIZE];
	ssize_t got = recv(client->fd, memory, sizeof(memory), 0);

	if (got < 0 && errno == EAGAIN) {
		return;
	}
	if (got <= 0) {
		end(load, client);
		return;
	}
	net->bytes += (uint64_t)got;
	bytes_put(&client->in, memory, (size_t)got);
	if (handle(net, load, client)) {
		client_flush(net, client);
	}
}

void
net_run(struct net *net, struct load *load, int milliseconds)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(net->epoll_fd, events, EVENTS, milliseconds);

	for (int i = 0; i < count; i++) {
		struct client *client = events[i].data.ptr;

		/* Closed by another's event, and perhaps open again: then nothing is lost by a
		 * look. */
		if (client->fd < 0) {
			continue;
		}
		if ((events[i].events & EPOLLOUT) != 0) {
			if (client->out.len != 0) {
				client_flush(net, client);
			} else if (client->wants_write) {
				client->wants_write = false;
				ask_kernel(net, client, EPOLL_CTL_MOD);
			}
		}
		if (client->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
			if (client->is_deaf && (events[i].events & EPOLLIN) == 0) {
				end(load, client);
			} else {
				receive(net, load, client);
			}
		}
	}
}
