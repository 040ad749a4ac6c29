/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Honest clients: each has a subscription to a topic of its own, publishes there with QoS 1 at
 * fixed moments, and looks when it comes back. A message carries the moment at which it was due,
 * so that waiting behind others counts too. Every second one speaks TLS if there is a port for it.
 *
 * Newcomers connect now and then, hear that they are let in, and go: who comes in the midst of a
 * siege must be served as well.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "stress/packets.h"
#include "stress/siege.h"

enum {
	EVENTS = 256,
	NEWCOMERS = 64, /* at a time */
	START_S = 10,
	PATIENCE_S = 10,
	HOME = 0x7f000001, /* 127.0.0.1 */
};

enum state { AWAY, CONNECTING, SUBSCRIBING, READY, GONE };

struct client {
	struct link link; /* first: events carry it */
	enum state state;
	bool is_newcomer;
	bool is_tls;
	int64_t opened_at; /* ns, as all moments here */
	int64_t due_at;
	uint64_t sent, received;
	struct bytes_out in, out;
	char name[24];
};

struct honest {
	const struct siege *siege;
	struct honest_report *report;
	enum phase phase;
	bool is_started;
	int epoll_fd;
	uint64_t named; /* newcomers */
	int64_t newcomer_at;
	struct client clients[MAX_HONEST];
	struct client newcomers[NEWCOMERS];
};

static void
note(struct times *times, int64_t ns)
{
	if (times->count == times->cap) {
		times->cap = times->cap * 2 + 1024;
		times->us = realloc(times->us, times->cap * sizeof(*times->us));
		if (times->us == NULL) {
			abort();
		}
	}
	times->us[times->count++] = (uint32_t)(ns / 1000);
}

/* --- one client --- */

static void
part(struct honest *honest, struct client *client, bool is_fault)
{
	link_close(&client->link, is_fault);
	client->in.len = client->out.len = 0;
	client->state = client->is_newcomer ? AWAY : GONE;
	if (is_fault && client->is_newcomer) {
		honest->report->newcomers_failed[honest->phase]++;
	} else if (is_fault) {
		honest->report->closed++;
	}
}

static void
flush(struct honest *honest, struct client *client)
{
	while (client->out.len != 0 && client->link.is_up) {
		long sent = link_write(&client->link, client->out.data, client->out.len);

		if (sent < 0) {
			part(honest, client, true);
		}
		if (sent <= 0) {
			return;
		}
		bytes_drop(&client->out, (size_t)sent);
	}
}

static void
open_client(struct honest *honest, struct client *client)
{
	const struct siege *siege = honest->siege;

	client->state = CONNECTING;
	client->opened_at = now_ns();
	client->in.len = client->out.len = 0;
	put_connect(&client->out, 4, client->name, true, 0, &(const struct will){.topic = NULL});
	if (!link_open(&client->link, honest->epoll_fd,
		client->is_tls ? siege->tls_port : siege->port, HOME,
		client->is_tls ? siege->tls : NULL)) {
		part(honest, client, true);
	}
}

static void
welcome(struct honest *honest, struct client *client, const struct packet *packet)
{
	const char *filter = client->name;
	uint8_t options = 1;

	if (packet->reason != 0) {
		honest->report->refused += !client->is_newcomer;
		part(honest, client, true);
	} else if (client->is_newcomer) {
		note(&honest->report->newcomers[honest->phase], now_ns() - client->opened_at);
		put_disconnect(&client->out, 4, 0);
		flush(honest, client);
		if (client->state != AWAY) {
			part(honest, client, false);
		}
	} else {
		client->state = SUBSCRIBING;
		put_subscribe(&client->out, 4, 1, &filter, &options, 1);
	}
}

static void
receive_ping(struct honest *honest, struct client *client, const struct packet *packet)
{
	int64_t due_at = 0;
	uint64_t number = 0;

	if (packet->payload_len == sizeof(due_at) + sizeof(number)) {
		memcpy(&due_at, packet->payload, sizeof(due_at));
		memcpy(&number, packet->payload + sizeof(due_at), sizeof(number));
	}
	if (number != client->received || due_at == 0 || packet->qos != 1) {
		honest->report->disordered++;
	}
	client->received++;
	honest->report->received++;
	note(&honest->report->pings[honest->phase], now_ns() - due_at);
	put_ack(&client->out, PUBACK, packet->packet_id);
}

static void
take_packet(struct honest *honest, struct client *client, const struct packet *packet)
{
	switch (packet->type) {
	case CONNACK:
		welcome(honest, client, packet);
		break;
	case SUBACK:
		client->state = READY;
		break;
	case PUBLISH:
		receive_ping(honest, client, packet);
		break;
	case PUBACK:
		break;
	default:
		honest->report->disordered++;
		break;
	}
}

static void
take_packets(struct honest *honest, struct client *client)
{
	size_t used = 0;

	while (client->link.fd >= 0) {
		struct packet packet;
		long size = get_packet(client->in.data + used, client->in.len - used, 4, &packet);

		if (size < 0) {
			honest->report->disordered++;
			part(honest, client, true);
		}
		if (size <= 0) {
			break;
		}
		used += (size_t)size;
		take_packet(honest, client, &packet);
	}
	if (client->link.fd >= 0) {
		bytes_drop(&client->in, used);
	}
}

static void
work(struct honest *honest, struct client *client)
{
	uint8_t memory[16384];
	long got = 0;

	if (!link_advance(&client->link)) {
		part(honest, client, true);
		return;
	}
	flush(honest, client);
	while (client->link.is_up && (got = link_read(&client->link, memory, sizeof(memory))) > 0) {
		bytes_put(&client->in, memory, (size_t)got);
		take_packets(honest, client);
	}
	if (got < 0 && client->link.fd >= 0) {
		part(honest, client, true);
	}
	flush(honest, client);
}

/* --- all of them --- */

/* The next moment at which something is due. */
static int64_t
send_pings(struct honest *honest)
{
	int64_t period = honest->siege->period_ms * INT64_C(1000000);
	int64_t now = now_ns(), next = now + period;

	for (int i = 0; i < honest->siege->honest; i++) {
		struct client *client = &honest->clients[i];
		uint8_t payload[16];

		if (client->state != READY) {
			continue;
		}
		while (client->due_at <= now) {
			memcpy(payload, &client->due_at, 8);
			memcpy(payload + 8, &client->sent, 8);
			client->sent++;
			honest->report->sent++;
			client->due_at += period;
			put_publish(&client->out, 4, client->name, payload, sizeof(payload), 1,
			    false, false, (uint16_t)(1 + client->sent % 60000));
		}
		flush(honest, client);
		next = client->due_at < next ? client->due_at : next;
	}
	return next;
}

static int64_t
send_newcomer(struct honest *honest)
{
	int64_t now = now_ns();

	if (honest->siege->newcomer_ms == 0) {
		return INT64_MAX;
	}
	for (int i = 0; i < NEWCOMERS; i++) {
		struct client *client = &honest->newcomers[i];

		if (client->state == CONNECTING &&
		    now - client->opened_at > PATIENCE_S * INT64_C(1000000000)) {
			part(honest, client, true);
		}
		if (client->state == AWAY && honest->newcomer_at <= now) {
			honest->newcomer_at = now + honest->siege->newcomer_ms * INT64_C(1000000);
			client->is_newcomer = true;
			client->is_tls = honest->siege->tls_port != 0 && honest->named % 2 == 1;
			snprintf(client->name, sizeof(client->name), "newcomer%llu",
			    (unsigned long long)honest->named++ % 100000);
			open_client(honest, client);
		}
	}
	return honest->newcomer_at;
}

static void
take_events(struct honest *honest, int64_t until)
{
	struct epoll_event events[EVENTS];
	int64_t wait_ns = until - now_ns();
	struct timespec wait = {0};
	int n;

	if (wait_ns > 0) {
		wait.tv_sec = wait_ns / 1000000000;
		wait.tv_nsec = wait_ns % 1000000000;
	}
	n = epoll_pwait2(honest->epoll_fd, events, EVENTS, &wait, NULL);
	for (int i = 0; i < n; i++) {
		struct client *client = events[i].data.ptr;

		if (client->link.fd >= 0) {
			work(honest, client);
		}
	}
}

void
honest_run(struct honest *honest, enum phase phase, int64_t until_ns)
{
	honest->phase = phase;
	if (!honest->is_started) {
		honest->is_started = true;
		honest->newcomer_at = now_ns();
		for (int i = 0; i < honest->siege->honest; i++) { /* spread over the period */
			honest->clients[i].due_at = now_ns() + INT64_C(1000000) * i *
								   honest->siege->period_ms /
								   honest->siege->honest;
		}
	}
	while (now_ns() < until_ns) {
		int64_t next = send_pings(honest), newcomer = send_newcomer(honest);

		next = newcomer < next ? newcomer : next;
		take_events(honest, next < until_ns ? next : until_ns);
	}
}

static bool
are_ready(const struct honest *honest)
{
	for (int i = 0; i < honest->siege->honest; i++) {
		if (honest->clients[i].state != READY) {
			return false;
		}
	}
	return true;
}

struct honest *
honest_new(const struct siege *siege, struct honest_report *report)
{
	struct honest *honest = calloc(1, sizeof(*honest));
	int64_t end = now_ns() + START_S * INT64_C(1000000000);

	if (honest == NULL) {
		return NULL;
	}
	honest->siege = siege;
	honest->report = report;
	honest->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < siege->honest; i++) {
		struct client *client = &honest->clients[i];

		client->is_tls = siege->tls_port != 0 && i % 2 == 1;
		snprintf(client->name, sizeof(client->name), "honest%d", i);
		open_client(honest, client);
	}
	for (int i = 0; i < NEWCOMERS; i++) {
		honest->newcomers[i].link.fd = -1;
	}
	while (!are_ready(honest) && now_ns() < end && report->closed == 0) {
		take_events(honest, now_ns() + INT64_C(50000000));
	}
	if (!are_ready(honest)) {
		free(honest);
		return NULL;
	}
	return honest;
}

static bool
is_waiting(const struct honest *honest)
{
	for (int i = 0; i < NEWCOMERS; i++) {
		if (honest->newcomers[i].state != AWAY) {
			return true;
		}
	}
	return honest->report->received < honest->report->sent;
}

void
honest_finish(struct honest *honest)
{
	int64_t end = now_ns() + PATIENCE_S * INT64_C(1000000000);

	while (is_waiting(honest) && now_ns() < end) {
		take_events(honest, now_ns() + INT64_C(50000000));
	}
	for (int i = 0; i < NEWCOMERS; i++) {
		if (honest->newcomers[i].state != AWAY) {
			part(honest, &honest->newcomers[i], true);
		}
		bytes_free(&honest->newcomers[i].in);
		bytes_free(&honest->newcomers[i].out);
	}
	for (int i = 0; i < honest->siege->honest; i++) {
		link_close(&honest->clients[i].link, false);
		bytes_free(&honest->clients[i].in);
		bytes_free(&honest->clients[i].out);
	}
	free(honest);
}
