/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the siege share. The parent has the honest clients and the clock; its children
 * are the besiegers, and tell it what they do by numbers in shared memory. One thread each. Shares
 * nothing with the broker.
 */
#ifndef TESTS_STRESS_SIEGE_H
#define TESTS_STRESS_SIEGE_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MAX_PROCESSES = 16,
	MAX_FOES = 60000, /* in all */
	MAX_HONEST = 1000,
	MAX_SECONDS = 300,
	MAX_RATE = 20000,
	MAX_HELLO = 1024,
	AT_ONCE_MS = 500, /* closed as early as that: it was not let in */
};

/* What a besieger does. */
enum kind { HELLO, SILENCE, HEADER, HEADER_TLS, SLOW_CONNECT, KINDS };

enum phase { BEFORE, RISE, DURING, PHASES };

struct tally {
	_Atomic int64_t open; /* connected just now */
	_Atomic uint64_t opened;
	_Atomic uint64_t closed_at_once;
	_Atomic uint64_t closed_later;
	_Atomic uint64_t failed; /* no socket, or no connection */
};

struct shared {
	_Atomic bool is_over;
	struct tally tallies[KINDS];
};

struct siege {
	int port, tls_port, ws_port, wss_port;
	int hellos, headers, connects; /* besiegers at a time */
	int addresses, processes;
	int rate;       /* connections that the besiegers open each second, in all */
	int trickle_ms; /* between two bytes */
	int niceness;   /* of the besiegers */
	int honest, period_ms;
	int newcomer_ms; /* between two; 0: none */
	int seconds[PHASES];
	int broker; /* its process; 0: unknown */
	SSL_CTX *tls;
	uint8_t hello[MAX_HELLO]; /* a whole ClientHello */
	size_t hello_len;
	struct shared *shared;
};

int64_t now_ns(void);

/* --- link.c: a non-blocking connection, with TLS if there is a context --- */

struct link {
	int fd; /* -1: none */
	SSL *ssl;
	bool is_up; /* and the handshake is done */
};

/* Edge-triggered events for both directions will carry `link`. False: no socket. */
bool link_open(struct link *link, int epoll_fd, int port, uint32_t address, SSL_CTX *tls);
/* Goes on connecting. False: it failed. */
bool link_advance(struct link *link);
/* Bytes; 0: none now; -1: the end. */
long link_read(struct link *link, void *memory, size_t size);
/* Bytes taken, or -1. */
long link_write(struct link *link, const void *data, size_t len);
/* is_hard: by a reset, which leaves nothing behind in the kernel. */
void link_close(struct link *link, bool is_hard);

/* --- foes.c --- */

/* Besieges until shared->is_over; its share is that of the index-th process. */
void foes_run(const struct siege *siege, int index);

/* --- honest.c --- */

struct times {
	uint32_t *us;
	size_t count, cap;
};

struct honest_report {
	struct times pings[PHASES];
	struct times newcomers[PHASES]; /* until CONNACK */
	uint64_t sent, received;
	uint64_t closed, refused, disordered; /* faults */
	uint64_t newcomers_failed[PHASES];
};

struct honest;

/* Connects and subscribes them; NULL: not all could. */
struct honest *honest_new(const struct siege *siege, struct honest_report *report);
/* Lets them work until a moment. */
void honest_run(struct honest *honest, enum phase phase, int64_t until_ns);
/* Waits for what is under way. */
void honest_finish(struct honest *honest);

#endif
