/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The least that a forwarder of MQTT can do: an exact topic is looked up in a hash, and the packet
 * is copied to each subscriber's output as it came. No ACL, no wildcards, no retained messages, no
 * keep alive, no limits: a measuring stick and not a broker. QoS 1 and 2 are answered without any
 * state: a publisher's packet id goes to the subscriber, which is right only while a subscriber has
 * one publisher; and all must speak one version of MQTT. One thread.
 */
#ifndef TESTS_BENCH_LOAD_FORWARD_H
#define TESTS_BENCH_LOAD_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

enum { FORWARD_READ = 256 * 1024 };

/* The first field of what a program has for each connection. Never freed: topics point at it. */
struct forward {
	int fd; /* -1: it has ended */
	int version;
	bool is_dirty;   /* in the list of those with output */
	bool awaits_out; /* as last told */
	uint8_t *out;    /* out_head to out_len is not sent */
	uint32_t out_head, out_len, out_room;
	uint8_t *in; /* the beginning of a packet */
	uint32_t in_len;
};

/* What the loop does for it. */
struct forward_loop {
	void (*await_out)(struct forward *forward, bool awaits);
	void (*end)(struct forward *forward); /* closes the socket */
	/* Takes output, where the loop has its own buffers; or NULL. */
	void (*put)(struct forward *forward, const void *bytes, uint32_t len);
};

/* A listening socket at the loopback address; exits where there is none. */
int forward_listen(const struct forward_loop *loop, const char *port);
/* A descriptor, or -1: nobody waits. */
int forward_accept(int listener);
void *forward_new(uint32_t size);
/* Takes whole packets from the beginning; returns the bytes taken. */
uint32_t forward_take(struct forward *forward, const uint8_t *bytes, uint32_t len);
/* Reads once, and takes what came. */
void forward_read(struct forward *forward);
void forward_flush(struct forward *forward);
void forward_flush_all(void);
void forward_end(struct forward *forward);

#endif
