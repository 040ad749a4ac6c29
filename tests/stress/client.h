/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of the load program: non-blocking sockets of loopback under one epoll, one thread.
 * What a client does is its role's business, which hears of packets, of the end, and of moments it
 * asked for.
 */
#ifndef TESTS_STRESS_CLIENT_H
#define TESTS_STRESS_CLIENT_H

#include "stress/packets.h"

struct client;
struct load;

struct role {
	const char *name;
	void (*packet)(struct load *load, struct client *client, const struct packet *packet);
	void (*ended)(struct load *load, struct client *client); /* the broker has closed */
	void (*due)(struct load *load, struct client *client);   /* due_ms has come */
};

struct client {
	const struct role *role;
	void *own; /* the role's */
	int fd;    /* -1: not connected */
	int version;
	int64_t due_ms; /* 0: none */
	bool wants_write;
	bool is_deaf; /* does not read */
	bool touched; /* has output to be flushed */
	uint16_t last_id;
	struct bytes_out in;
	struct bytes_out out;
};

struct net {
	int epoll_fd;
	int port;
	uint64_t connects;
	uint64_t packets;
	uint64_t bytes;
};

int64_t now_ms(void);

void net_init(struct net *net, int port);

/* Connects, from some address of this machine. False: the system has no more sockets. */
bool client_open(struct net *net, struct client *client, int version, uint32_t address);

/* As a cut cable (FIN), or by a reset. */
void client_close(struct client *client, bool by_reset);
void client_set_deaf(struct net *net, struct client *client, bool is_deaf);
uint16_t client_next_id(struct client *client);

/* Sends what is in `out`; the rest goes when it can. */
void client_flush(struct net *net, struct client *client);

/* Waits for events for so long at most and handles them. */
void net_run(struct net *net, struct load *load, int milliseconds);

#endif
