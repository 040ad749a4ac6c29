/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values are made when they are wanted. Who subscribes gets them as retained messages, made anew on
 * its own worker before its replay begins, without a fan-out to others. Who is subscribed gets them
 * each interval from main, whose timer runs only while there is such a subscription, so that an
 * idle broker sleeps.
 *
 * Load averages are Mosquitto's: new = rate + e^(-t/span) * (old - rate), where rate is per minute
 * over the time t since the last update. That t may be any length (nobody may have asked for a
 * day): the formula then counts the rate as even over it.
 */
#include "broker/sys.h"

#include <stdio.h>
#include <string.h>

#include "base/counter.h"
#include "broker/house.h"

#define PREFIX "$SYS/broker/"

enum { MINUTE_MS = 60000, SECOND_MS = 1000, MAX_TOPIC = 96, MAX_TEXT = 64 };

/* --- loads --- */

/* e^-x for x >= 0: a few terms of the series at x/1024, squared ten times. Saves the program libm.
 */
static double
decay(double x)
{
	enum { DOUBLINGS = 10, FACTOR = 1 << DOUBLINGS, FAR = 700 };
	double y = x / FACTOR, result;

	if (x > FAR) {
		return 0;
	}
	result = 1 - y * (1 - y / 2 * (1 - y / 3 * (1 - y / 4 * (1 - y / 5))));
	for (int i = 0; i < DOUBLINGS; i++) {
		result *= result;
	}
	return result;
}

void
broker_sys_load_update(struct broker_sys_load *load, uint64_t total, int64_t elapsed_ms)
{
	static const double minutes[BROKER_SYS_SPANS] = {1, 5, 15};
	double elapsed = (double)elapsed_ms / MINUTE_MS;
	/* Workers take their samples side by side: an older one may come last. */
	uint64_t more = total > load->total ? total - load->total : 0;
	double rate = (double)more / elapsed;

	for (int i = 0; i < BROKER_SYS_SPANS; i++) {
		double *average = &load->average[i];

		*average = rate + decay(elapsed / minutes[i]) * (*average - rate);
	}
	load->total += more;
}

/* --- texts --- */

struct number {
	const char *topic;
	size_t offset; /* in struct broker_sys_sample */
};

#define NUMBER(topic, member)                                     \
	{                                                         \
		topic, offsetof(struct broker_sys_sample, member) \
	}

static const struct number numbers[] = {
    NUMBER("clients/total", clients_total),
    NUMBER("clients/connected", clients_connected),
    NUMBER("clients/disconnected", clients_disconnected),
    NUMBER("clients/maximum", clients_maximum),
    NUMBER("clients/expired", clients_expired),
    NUMBER("messages/received", messages_received),
    NUMBER("messages/sent", messages_sent),
    NUMBER("publish/messages/received", publishes_received),
    NUMBER("publish/messages/sent", publishes_sent),
    NUMBER("publish/messages/dropped", publishes_dropped),
    NUMBER("publish/bytes/received", publish_bytes_received),
    NUMBER("publish/bytes/sent", publish_bytes_sent),
    NUMBER("bytes/received", bytes_received),
    NUMBER("bytes/sent", bytes_sent),
    NUMBER("store/messages/count", store_messages),
    NUMBER("store/messages/bytes", store_bytes),
    NUMBER("subscriptions/count", subscriptions),
    NUMBER("shared_subscriptions/count", shared_subscriptions),
    NUMBER("retained messages/count", retained),
};

static const struct number load_numbers[BROKER_SYS_LOADS] = {
    NUMBER("connections", connections),
    NUMBER("sockets", sockets),
    NUMBER("messages/received", messages_received),
    NUMBER("messages/sent", messages_sent),
    NUMBER("publish/received", publishes_received),
    NUMBER("publish/sent", publishes_sent),
    NUMBER("publish/dropped", publishes_dropped),
    NUMBER("bytes/received", bytes_received),
    NUMBER("bytes/sent", bytes_sent),
};

static uint64_t
number_of(const struct broker_sys_sample *sample, const struct number *number)
{
	return *(const uint64_t *)(const void *)((const char *)sample + number->offset);
}

void
broker_sys_loads_update(struct broker_sys_load loads[BROKER_SYS_LOADS],
    const struct broker_sys_sample *sample, int64_t elapsed_ms)
{
	for (size_t i = 0; i < BROKER_SYS_LOADS; i++) {
		broker_sys_load_update(&loads[i], number_of(sample, &load_numbers[i]), elapsed_ms);
	}
}

static void
emit_loads(
    const struct broker_sys_load loads[BROKER_SYS_LOADS], broker_sys_emit_fn *emit, void *arg)
{
	static const char *const spans[BROKER_SYS_SPANS] = {"1min", "5min", "15min"};
	char topic[MAX_TOPIC], text[MAX_TEXT];

	for (size_t i = 0; i < BROKER_SYS_LOADS; i++) {
		for (int span = 0; span < BROKER_SYS_SPANS; span++) {
			(void)snprintf(topic, sizeof(topic), PREFIX "load/%s/%s",
			    load_numbers[i].topic, spans[span]);
			(void)snprintf(text, sizeof(text), "%.2f", loads[i].average[span]);
			emit(arg, bytes_of(topic), bytes_of(text));
		}
	}
}

void
broker_sys_each(const struct broker_sys_sample *sample,
    const struct broker_sys_load loads[BROKER_SYS_LOADS], broker_sys_emit_fn *emit, void *arg)
{
	char topic[MAX_TOPIC], text[MAX_TEXT];

	emit(
	    arg, BYTES_LITERAL(PREFIX "version"), BYTES_LITERAL("avocet version " PACKAGE_VERSION));
	(void)snprintf(text, sizeof(text), "%lld seconds", (long long)sample->uptime_s);
	emit(arg, BYTES_LITERAL(PREFIX "uptime"), bytes_of(text));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		(void)snprintf(topic, sizeof(topic), PREFIX "%s", numbers[i].topic);
		(void)snprintf(
		    text, sizeof(text), "%llu", (unsigned long long)number_of(sample, &numbers[i]));
		emit(arg, bytes_of(topic), bytes_of(text));
	}
	if (sample->store_state != NULL) {
		emit(arg, BYTES_LITERAL(PREFIX "store/state"), bytes_of(sample->store_state));
	}
	emit_loads(loads, emit, arg);
}

/* --- the numbers --- */

static uint64_t
sum(const struct loop *loop, enum counter counter)
{
	const struct counter_set *sets[WORKER_MAX];
	unsigned count = loop_worker_count(loop);

	for (unsigned i = 0; i < count; i++) {
		sets[i] = worker_counters(loop_worker(loop, i));
	}
	return counter_sum(sets, count, counter);
}

static uint64_t
sum_dropped(const struct loop *loop)
{
	static const enum counter counters[] = {
	    COUNTER_PUBLISHES_DROPPED, COUNTER_DROPPED_QUEUE_FULL, COUNTER_DROPPED_MEMORY};
	uint64_t dropped = 0;

	for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++) {
		dropped += sum(loop, counters[i]);
	}
	return dropped;
}

/* A gauge or a difference that is read while others write may be below zero for a moment. */
static uint64_t
not_negative(uint64_t value)
{
	return (int64_t)value < 0 ? 0 : value;
}

static void
sample_clients(const struct loop *loop, struct broker_sys_sample *sample)
{
	uint64_t connected = not_negative(sum(loop, COUNTER_SESSIONS_ATTACHED));
	uint64_t total = not_negative(sum(loop, COUNTER_SESSIONS));

	sample->clients_connected = connected;
	sample->clients_total = total > connected ? total : connected;
	sample->clients_disconnected = sample->clients_total - connected;
	sample->clients_expired = sum(loop, COUNTER_SESSIONS_EXPIRED);
}

static void
sample_traffic(const struct loop *loop, struct broker_sys_sample *sample)
{
	sample->messages_received = sum(loop, COUNTER_PACKETS_RECEIVED);
	sample->messages_sent = sum(loop, COUNTER_PACKETS_SENT);
	sample->publishes_received = sum(loop, COUNTER_PUBLISHES_RECEIVED);
	sample->publishes_sent = sum(loop, COUNTER_PUBLISHES_SENT);
	sample->publishes_dropped = sum_dropped(loop);
	sample->publish_bytes_received = sum(loop, COUNTER_PUBLISH_BYTES_RECEIVED);
	sample->publish_bytes_sent = sum(loop, COUNTER_PUBLISH_BYTES_SENT);
	sample->bytes_received = sum(loop, COUNTER_BYTES_RECEIVED);
	sample->bytes_sent = sum(loop, COUNTER_BYTES_SENT);
	sample->connections = sum(loop, COUNTER_CONNECTS) + sum(loop, COUNTER_CONNECTS_REFUSED);
	sample->sockets = sum(loop, COUNTER_ACCEPTS);
}

static void
sample_stores(const struct broker_sys *sys, struct broker_sys_sample *sample)
{
	const struct session_house *sessions = &sys->house->sessions;
	struct topic_tree_stats tree;
	struct topic_retain_stats retain;
	int64_t queued = atomic_load_explicit(&sessions->queued_bytes, memory_order_relaxed);

	if (sys->house->store != NULL) {
		sample->store_state = store_is_failing(sys->house->main.port) ? "failing" : "ok";
	}
	topic_tree_stats(sessions->tree, &tree);
	topic_retain_stats(sessions->retain, &retain);
	sample->subscriptions = tree.subscriptions;
	sample->shared_subscriptions = tree.shared_subscriptions;
	sample->retained = retain.messages;
	sample->store_messages = sample->retained;
	sample->store_bytes = retain.bytes + (queued > 0 ? (uint64_t)queued : 0);
}

/* Any worker. The loads as they are now are copied out, so that nothing is published under the
 * lock. */
static void
take_sample(struct broker_sys *sys, struct broker_sys_sample *sample,
    struct broker_sys_load loads_out[BROKER_SYS_LOADS])
{
	int64_t now = context_current->mono_ms;

	*sample = (struct broker_sys_sample){0};
	sample->uptime_s = (now - sys->started_at_ms) / SECOND_MS;
	sample_clients(sys->house->loop, sample);
	sample_traffic(sys->house->loop, sample);
	sample_stores(sys, sample);
	lock_take(&sys->lock);
	if (now > sys->counted_at_ms) {
		broker_sys_loads_update(sys->loads, sample, now - sys->counted_at_ms);
		sys->counted_at_ms = now;
	}
	if (sample->clients_connected > sys->clients_maximum) {
		sys->clients_maximum = sample->clients_connected;
	}
	sample->clients_maximum = sys->clients_maximum;
	memcpy(loads_out, sys->loads, sizeof(sys->loads));
	lock_give(&sys->lock);
}

void
broker_sys_sample(struct broker_sys *sys, struct broker_sys_sample *sample)
{
	struct broker_sys_load loads[BROKER_SYS_LOADS];

	take_sample(sys, sample, loads);
}

/* --- publishing --- */

/* To subscribers and into the retained store; main. */
static void
publish(void *arg, struct bytes topic, struct bytes payload)
{
	struct broker_house *house = arg;

	route_publish_own(house->main.route, topic, payload, true);
}

/* Into the retained store only; any worker. */
static void
keep(void *arg, struct bytes topic, struct bytes payload)
{
	struct topic_retain *retain = arg;
	struct msg_draft draft = {
	    .topic = topic,
	    .payload = payload,
	    .born_mono_ms = context_current->mono_ms,
	    .born_wall_ms = context_current->wall_ms,
	    .flags = MSG_RETAIN,
	};
	struct msg *msg = msg_seal(&draft);
	uint64_t version;

	msg_draft_fini(&draft);
	if (msg != NULL) {
		(void)topic_retain_put(retain, msg, NULL, NULL, &version);
	}
	msg_unref(&msg);
}

/* Beside Mosquitto's names: every counter of the table, by its name in the manual. What is refused,
 * dropped, expired or closed is told there by its reason. */
static void
emit_counters(const struct loop *loop, broker_sys_emit_fn *emit, void *arg)
{
	char topic[MAX_TOPIC], text[MAX_TEXT];

	for (enum counter counter = 0; counter < COUNTER_COUNT; counter++) {
		uint64_t value = sum(loop, counter);

		if (counter_infos[counter].kind == COUNTER_GAUGE) {
			value = not_negative(value);
		}
		(void)snprintf(
		    topic, sizeof(topic), PREFIX "counters/%s", counter_infos[counter].name);
		(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
		emit(arg, bytes_of(topic), bytes_of(text));
	}
}

static void
keep_all(struct broker_sys *sys)
{
	struct broker_sys_load loads[BROKER_SYS_LOADS];
	struct broker_sys_sample sample;

	take_sample(sys, &sample, loads);
	broker_sys_each(&sample, loads, keep, sys->house->sessions.retain);
	emit_counters(sys->house->loop, keep, sys->house->sessions.retain);
}

static bool
is_wanted(struct broker_sys *sys)
{
	return atomic_load(&sys->interval_ms) != 0 &&
	       topic_tree_has_level(sys->house->sessions.tree, BYTES_LITERAL("$SYS"));
}

static void
set_timer(struct broker_sys *sys)
{
	timer_set(sys->house->main.worker, &sys->timer,
	    context_current->mono_ms + atomic_load(&sys->interval_ms));
}

static void
on_timer(struct worker *worker, struct timer *timer)
{
	struct broker_sys *sys = list_item(timer, struct broker_sys, timer);
	struct broker_sys_load loads[BROKER_SYS_LOADS];
	struct broker_sys_sample sample;

	(void)worker;
	if (is_wanted(sys)) {
		take_sample(sys, &sample, loads);
		broker_sys_each(&sample, loads, publish, sys->house);
		emit_counters(sys->house->loop, publish, sys->house);
		set_timer(sys);
	}
}

/* Main. The mark goes first: a subscription that comes now asks again. */
static void
on_asked(struct worker *worker, struct mail *mail)
{
	struct broker_sys *sys = list_item(mail, struct broker_sys, mail);

	(void)worker;
	atomic_store(&sys->is_asked, false);
	if (is_wanted(sys) && !timer_is_set(&sys->timer)) {
		set_timer(sys);
	}
}

void
broker_sys_ask(void *arg)
{
	struct broker_sys *sys = arg;

	if (atomic_load(&sys->interval_ms) == 0) {
		return;
	}
	keep_all(sys);
	if (!atomic_exchange(&sys->is_asked, true)) {
		mail_post(sys->house->main.worker, &sys->mail);
	}
}

/* --- life --- */

void
broker_sys_init(struct broker_sys *sys, struct broker_house *house, int64_t interval_ms)
{
	lock_init(&sys->lock);
	sys->mail.run = on_asked;
	sys->timer.fn = on_timer;
	sys->house = house;
	atomic_init(&sys->interval_ms, interval_ms);
}

void
broker_sys_fini(struct broker_sys *sys)
{
	if (sys->house != NULL) {
		lock_fini(&sys->lock);
		sys->house = NULL;
	}
}

void
broker_sys_start(struct broker_sys *sys)
{
	sys->started_at_ms = context_current->mono_ms;
	sys->counted_at_ms = sys->started_at_ms;
}

void
broker_sys_set_interval(struct broker_sys *sys, int64_t interval_ms)
{
	timer_clear(sys->house->main.worker, &sys->timer);
	atomic_store(&sys->interval_ms, interval_ms);
	if (is_wanted(sys)) {
		set_timer(sys);
	}
}
