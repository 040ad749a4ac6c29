/* SPDX-License-Identifier: Apache-2.0 */
/*
 * $SYS: Mosquitto's topics and payloads, made of counters. The numbers and texts are pure; when
 * they are published is sys.c's too. Main's thread, but for broker_sys_ask.
 */
#ifndef BROKER_SYS_H
#define BROKER_SYS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/lock.h"
#include "loop/mailbox.h"
#include "loop/timer.h"

struct broker_house;

/* --- pure --- */

enum { BROKER_SYS_SPANS = 3 }; /* 1, 5 and 15 minutes */

/* A rate per minute, averaged with a weight that falls off by e in each span. */
struct broker_sys_load {
	double average[BROKER_SYS_SPANS];
	uint64_t total; /* at the last update */
};

/* The total is now so much; elapsed_ms since the last update, > 0. */
void broker_sys_load_update(struct broker_sys_load *load, uint64_t total, int64_t elapsed_ms);

struct broker_sys_sample {
	int64_t uptime_s;
	uint64_t clients_total, clients_connected, clients_disconnected, clients_maximum;
	uint64_t clients_expired;
	uint64_t messages_received, messages_sent;
	uint64_t publishes_received, publishes_sent, publishes_dropped;
	uint64_t publish_bytes_received, publish_bytes_sent;
	uint64_t bytes_received, bytes_sent;
	uint64_t store_messages, store_bytes;
	const char *store_state; /* NULL: there is no store */
	uint64_t subscriptions, shared_subscriptions, retained;
	uint64_t connections, sockets; /* for loads only */
};

enum { BROKER_SYS_LOADS = 9 };

void broker_sys_loads_update(struct broker_sys_load loads[BROKER_SYS_LOADS],
    const struct broker_sys_sample *sample, int64_t elapsed_ms);

/* Every topic with its text. */
typedef void broker_sys_emit_fn(void *arg, struct bytes topic, struct bytes payload);
void broker_sys_each(const struct broker_sys_sample *sample,
    const struct broker_sys_load loads[BROKER_SYS_LOADS], broker_sys_emit_fn *emit, void *arg);

/* --- publishing --- */

struct broker_sys {
	struct broker_house *house; /* NULL: not started */
	struct timer timer;         /* main's */
	struct mail mail;
	_Atomic bool is_asked; /* mail is under way */
	_Atomic int64_t interval_ms;
	int64_t started_at_ms;

	struct lock lock; /* guards what follows: any worker computes */
	int64_t counted_at_ms;
	uint64_t clients_maximum;
	struct broker_sys_load loads[BROKER_SYS_LOADS];
};

/* Before loop_start. */
void broker_sys_init(struct broker_sys *sys, struct broker_house *house, int64_t interval_ms);
void broker_sys_fini(struct broker_sys *sys);
/* On main, in its first turn: time begins. */
void broker_sys_start(struct broker_sys *sys);
/* Main. 0: off. */
void broker_sys_set_interval(struct broker_sys *sys, int64_t interval_ms);

/* Any worker, in a turn: the numbers as they are now. */
void broker_sys_sample(struct broker_sys *sys, struct broker_sys_sample *sample);

/* Any worker, in a turn: somebody has subscribed below $SYS and will be given the retained values,
 * so they are made anew now. arg: struct broker_sys. */
void broker_sys_ask(void *arg);

#endif
