/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load for a broker that must not bend: a crowd that connects, subscribes, publishes, takes over,
 * and vanishes in every way; in the midst of it steady publishers and subscribers, who check what
 * they get:
 *
 *  - nothing of QoS 1 and 2 is lost, and all of one publisher comes in its order;
 *  - of QoS 2 everything comes exactly once, across connections too (half of the subscribers break
 * theirs again and again);
 *  - every question of the crowd is answered.
 *
 * At the end all sessions are removed, and $SYS must say again what it said at the beginning:
 * clients, sessions, subscriptions, messages and bytes.
 *
 *     stress PORT [SECONDS [CLIENTS [SEED]]]
 */
#include "stress/load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Numbers of $SYS that must come back to where they were. */
static const char *const numbers[NUMBERS] = {"clients/total", "clients/connected",
    "clients/disconnected", "subscriptions/count", "shared_subscriptions/count",
    "retained messages/count", "store/messages/count", "store/messages/bytes"};

void
fault(struct load *load, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("FAULT ", stdout);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
	fflush(stdout);
	if (++load->faults >= MAX_FAULTS) {
		exit(1);
	}
}

/* splitmix64 */
uint64_t
draw(struct load *load, uint64_t bound)
{
	uint64_t z = load->random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % bound;
}

bool
chance(struct load *load, unsigned percent)
{
	return draw(load, 100) < percent;
}

int
some(struct load *load, int bound)
{
	return (int)draw(load, (uint64_t)bound);
}

bool
is_topic(const struct packet *packet, const char *prefix)
{
	size_t len = strlen(prefix);

	return packet->topic_len >= len && memcmp(packet->topic, prefix, len) == 0;
}

const struct will no_will;

bool
dial(struct load *load, struct client *client, int version)
{
	return client_open(&load->net, client, version, (uint32_t)draw(load, 250));
}

/* --- the monitor --- */

static void
monitor_publish(struct monitor *own, const struct packet *packet)
{
	for (int i = 0; i < NUMBERS; i++) {
		char topic[64], text[24] = "";

		snprintf(topic, sizeof(topic), "$SYS/broker/%s", numbers[i]);
		if (packet->topic_len == strlen(topic) && is_topic(packet, topic) &&
		    packet->payload_len < sizeof(text)) {
			memcpy(text, packet->payload, packet->payload_len);
			own->value[i] = strtoull(text, NULL, 10);
			own->seen |= 1U << i;
		}
	}
}

static void
monitor_packet(struct load *load, struct client *client, const struct packet *packet)
{
	struct monitor *own = client->own;
	const char *filter = "$SYS/broker/#";
	uint8_t options = 0;

	if (packet->type == CONNACK && packet->reason == 0) {
		put_subscribe(
		    &client->out, client->version, client_next_id(client), &filter, &options, 1);
	} else if (packet->type == SUBACK && packet->reason == 0) {
		own->is_up = true;
	} else if (packet->type == PUBLISH) {
		monitor_publish(own, packet);
	} else if (packet->type != PUBACK) {
		fault(load, "monitor: packet %d with reason 0x%02x", packet->type, packet->reason);
	}
}

static void
monitor_ended(struct load *load, struct client *client)
{
	const struct monitor *own = client->own;

	if (!own->is_up) {
		fputs("stress: nobody is there\n", stderr);
		exit(2);
	}
	fault(load, "monitor: the broker has closed");
}

static void
clear_retained(struct load *load, struct client *client)
{
	for (int i = 0; i < TOPICS; i++) {
		char topic[32];

		snprintf(topic, sizeof(topic), "ret/%d", i);
		put_publish(&client->out, client->version, topic, "", 0, 1, true, false,
		    client_next_id(client));
	}
	client_flush(&load->net, client);
}

static void
monitor_due(struct load *load, struct client *client)
{
	if (client->fd < 0) {
		if (!dial(load, client, 5)) {
			fault(load, "monitor: no socket");
			return;
		}
		put_connect(&client->out, client->version, "monitor", true, 0, &no_will);
	} else if (load->phase == SETTLE) {
		clear_retained(load, client); /* a late will may have brought another */
	}
	client->due_ms = now_ms() + 2000;
}

static const struct role monitor_role = {"monitor", monitor_packet, monitor_ended, monitor_due};

/* --- cleaning: every session is begun anew, and ends --- */

static bool
next_name(struct load *load, char *id, size_t size)
{
	int at = load->cleaned++;

	if (at < load->pool) {
		snprintf(id, size, "crowd%d", at);
	} else if (at < load->pool + SUBSCRIBERS) {
		snprintf(id, size, "subscriber%d", at - load->pool);
	} else {
		return false;
	}
	return true;
}

static void
cleaner_due(struct load *load, struct client *client)
{
	char id[24];

	client->due_ms = 0;
	if (client->fd >= 0) {
		fault(load, "cleaner: no answer");
		client_close(client, false);
	}
	if (!next_name(load, id, sizeof(id))) {
		return;
	}
	if (!dial(load, client, 5)) {
		fault(load, "cleaner: no socket");
		return;
	}
	put_connect(&client->out, client->version, id, true, 0, &no_will);
	client->due_ms = now_ms() + PATIENCE_MS;
}

static void
cleaner_packet(struct load *load, struct client *client, const struct packet *packet)
{
	if (packet->type != CONNACK || packet->reason != 0 || packet->session_present) {
		fault(load, "cleaner: packet %d with reason 0x%02x", packet->type, packet->reason);
	}
	put_disconnect(&client->out, client->version, 0);
}

static void
cleaner_ended(struct load *load, struct client *client)
{
	(void)load;
	client->due_ms = now_ms();
}

static const struct role cleaner_role = {"cleaner", cleaner_packet, cleaner_ended, cleaner_due};

/* --- phases --- */

static bool
all_arrived(const struct load *load)
{
	for (int i = 0; i < PUBLISHERS; i++) {
		if (load->publishers[i].flight != 0 ||
		    slowest(load, i) < load->publishers[i].next) {
			return false;
		}
	}
	for (int i = 0; i < SUBSCRIBERS; i++) {
		if (!load->subscribers[i].is_up) {
			return false;
		}
	}
	return true;
}

static void
name_missing(struct load *load)
{
	for (int i = 0; i < PUBLISHERS; i++) {
		const struct publisher *own = &load->publishers[i];

		for (int j = 0; j < SUBSCRIBERS; j++) {
			if (load->subscribers[j].next[i] != own->next) {
				fault(load, "subscriber %d has %llu of publisher %d, who sent %llu",
				    j, (unsigned long long)load->subscribers[j].next[i], i,
				    (unsigned long long)own->next);
			}
		}
		if (own->done != own->next) {
			fault(load, "publisher %d: %llu of %llu are acknowledged", i,
			    (unsigned long long)own->done, (unsigned long long)own->next);
		}
	}
}

static void
enter(struct load *load, enum phase phase)
{
	static const char *const names[] = {"begin", "run", "drain", "clean", "settle", "done"};

	load->phase = phase;
	load->phase_ms = now_ms();
	load->monitor.seen = 0;
	printf("%6.1f s  %s\n", (double)(now_ms() - load->begin_ms) / 1000, names[phase]);
	fflush(stdout);
}

static void
begin_run(struct load *load)
{
	memcpy(load->monitor.base, load->monitor.value, sizeof(load->monitor.base));
	enter(load, RUN);
	load->end_ms = now_ms() + load->seconds * 1000;
	for (int i = 0; i < PUBLISHERS; i++) {
		load->publishers[i].client.due_ms = now_ms();
	}
	for (int i = 0; i < SUBSCRIBERS; i++) {
		load->subscribers[i].client.due_ms = now_ms();
	}
	for (int i = 0; i < load->member_count; i++) {
		load->members[i].client.due_ms = now_ms() + some(load, 1000);
	}
}

static void
begin_drain(struct load *load)
{
	enter(load, DRAIN);
	for (int i = 0; i < load->member_count; i++) {
		go_away(load, &load->members[i]);
	}
}

static void
begin_clean(struct load *load)
{
	name_missing(load);
	enter(load, CLEAN);
	for (int i = 0; i < PUBLISHERS; i++) {
		client_close(&load->publishers[i].client, false);
		load->publishers[i].client.due_ms = 0;
	}
	for (int i = 0; i < SUBSCRIBERS; i++) {
		client_close(&load->subscribers[i].client, false);
		load->subscribers[i].client.due_ms = 0;
	}
	for (int i = 0; i < CLEANERS; i++) {
		load->cleaners[i].due_ms = now_ms() + 200;
	}
}

static bool
is_back(const struct monitor *monitor, int at)
{
	uint64_t more = at == BYTES_AT ? BYTES_MORE : 0;

	return monitor->value[at] + (more != 0 ? 100 : 0) >= monitor->base[at] &&
	       monitor->value[at] <= monitor->base[at] + more;
}

static bool
is_settled(const struct load *load)
{
	for (int i = 0; i < NUMBERS; i++) {
		if (!is_back(&load->monitor, i)) {
			return false;
		}
	}
	return load->monitor.seen == (1U << NUMBERS) - 1;
}

static bool
is_clean(const struct load *load)
{
	for (int i = 0; i < CLEANERS; i++) {
		if (load->cleaners[i].fd >= 0 || load->cleaners[i].due_ms != 0) {
			return false;
		}
	}
	return true;
}

static void
name_unsettled(struct load *load)
{
	for (int i = 0; i < NUMBERS; i++) {
		if (!is_back(&load->monitor, i)) {
			fault(load, "$SYS %s is %llu and was %llu at the beginning", numbers[i],
			    (unsigned long long)load->monitor.value[i],
			    (unsigned long long)load->monitor.base[i]);
		}
	}
	if (load->monitor.seen != (1U << NUMBERS) - 1) {
		fault(load, "$SYS: not all numbers came");
	}
}

static void
change_phase(struct load *load)
{
	int64_t since_ms = now_ms() - load->phase_ms;

	switch (load->phase) {
	case BEGIN:
		if (load->monitor.is_up && since_ms > BASE_MS &&
		    load->monitor.seen == (1U << NUMBERS) - 1) {
			begin_run(load);
		} else if (since_ms > PATIENCE_MS) {
			fault(load, "there is no $SYS");
			enter(load, DONE);
		}
		break;
	case RUN:
		if (now_ms() >= load->end_ms) {
			begin_drain(load);
		}
		break;
	case DRAIN:
		if (all_arrived(load) || since_ms > PATIENCE_MS) {
			begin_clean(load);
		}
		break;
	case CLEAN:
		if (is_clean(load)) {
			enter(load, SETTLE);
			load->monitor.client.due_ms = now_ms();
		}
		break;
	case SETTLE:
		if (is_settled(load)) {
			enter(load, DONE);
		} else if (since_ms > PATIENCE_MS / 2) {
			name_unsettled(load);
			enter(load, DONE);
		}
		break;
	case DONE:
		break;
	}
}

static void
look(struct load *load, struct client *client, int64_t now)
{
	if (client->due_ms != 0 && client->due_ms <= now) {
		client->due_ms = 0;
		client->role->due(load, client);
	}
}

static void
look_at_all(struct load *load)
{
	int64_t now = now_ms();

	look(load, &load->monitor.client, now);
	for (int i = 0; i < PUBLISHERS; i++) {
		look(load, &load->publishers[i].client, now);
	}
	for (int i = 0; i < SUBSCRIBERS; i++) {
		look(load, &load->subscribers[i].client, now);
	}
	for (int i = 0; i < load->member_count; i++) {
		look(load, &load->members[i].client, now);
	}
	for (int i = 0; i < CLEANERS; i++) {
		look(load, &load->cleaners[i], now);
	}
}

/* --- main --- */

static void
init(struct load *load)
{
	load->members = calloc((size_t)load->member_count, sizeof(*load->members));
	if (load->members == NULL) {
		exit(2);
	}
	load->pool = load->member_count * 3 / 4 + 1;
	load->monitor.client = (struct client){
	    .role = &monitor_role, .own = &load->monitor, .fd = -1, .due_ms = now_ms()};
	for (int i = 0; i < PUBLISHERS; i++) {
		struct publisher *own = &load->publishers[i];

		own->index = i;
		own->qos = 1 + i % 2;
		own->client = (struct client){.role = &publisher_role, .own = own, .fd = -1};
	}
	for (int i = 0; i < SUBSCRIBERS; i++) {
		struct subscriber *own = &load->subscribers[i];

		own->index = i;
		own->qos = 1 + i % 2;
		own->bounces = i >= SUBSCRIBERS / 2;
		own->client = (struct client){.role = &subscriber_role, .own = own, .fd = -1};
	}
	for (int i = 0; i < load->member_count; i++) {
		struct member *own = &load->members[i];

		own->client = (struct client){.role = &member_role, .own = own, .fd = -1};
	}
	for (int i = 0; i < CLEANERS; i++) {
		load->cleaners[i] = (struct client){.role = &cleaner_role, .fd = -1};
	}
}

static void
raise_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

static long
number_of(int argc, char **argv, int at, long fallback)
{
	return at < argc ? strtol(argv[at], NULL, 10) : fallback;
}

static void
sum_up(const struct load *load)
{
	uint64_t published = 0;

	for (int i = 0; i < PUBLISHERS; i++) {
		published += load->publishers[i].done;
	}
	printf("%llu connections, %llu taken over, %llu of these before CONNACK; steady: %llu "
	       "published, "
	       "%llu delivered; %llu packets, %llu bytes received; %d faults\n",
	    (unsigned long long)load->net.connects,
	    (unsigned long long)(load->taken_over + load->refused),
	    (unsigned long long)load->refused, (unsigned long long)published,
	    (unsigned long long)load->delivered, (unsigned long long)load->net.packets,
	    (unsigned long long)load->net.bytes, load->faults);
}

int
main(int argc, char **argv)
{
	static struct load load;

	if (argc < 2 || argc > 5) {
		fputs("usage: stress PORT [SECONDS [CLIENTS [SEED]]]\n", stderr);
		return 2;
	}
	raise_limit();
	load.seconds = (int)number_of(argc, argv, 2, 10);
	load.member_count = (int)number_of(argc, argv, 3, 1000);
	load.random = (uint64_t)number_of(argc, argv, 4, 1);
	load.begin_ms = load.phase_ms = now_ms();
	net_init(&load.net, (int)number_of(argc, argv, 1, 0));
	init(&load);
	while (load.phase != DONE) {
		net_run(&load.net, &load, 5);
		look_at_all(&load);
		change_phase(&load);
	}
	sum_up(&load);
	free(load.members);
	return load.faults != 0;
}
