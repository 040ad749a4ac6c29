/* SPDX-License-Identifier: Apache-2.0 */
/* Those who check: steady publishers, and subscribers who know what is due. */
#include "stress/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- steady publishers --- */

uint64_t
slowest(const struct load *load, int publisher)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < SUBSCRIBERS; i++) {
		uint64_t next = load->subscribers[i].next[publisher];

		least = next < least ? next : least;
	}
	return least;
}

/* What is published before all have subscribed would be missing. */
static bool
all_subscribed(const struct load *load)
{
	for (int i = 0; i < SUBSCRIBERS; i++) {
		if (!load->subscribers[i].was_up) {
			return false;
		}
	}
	return true;
}

static void
publish_more(struct load *load, struct publisher *own)
{
	while (own->is_up && load->phase == RUN && all_subscribed(load) && own->flight < WINDOW &&
	       own->next < slowest(load, own->index) + AHEAD) {
		char topic[32], text[512];
		int len = snprintf(text, sizeof(text), "%llu ", (unsigned long long)own->next);
		size_t size = (size_t)len + (size_t)draw(load, sizeof(text) - (size_t)len);

		memset(text + len, 'x', sizeof(text) - (size_t)len);
		snprintf(topic, sizeof(topic), "steady/%d", own->index);
		put_publish(&own->client.out, own->client.version, topic, text, size, own->qos,
		    false, false, client_next_id(&own->client));
		own->next++;
		own->flight++;
		own->heard_ms = own->flight == 1 ? now_ms() : own->heard_ms;
	}
	client_flush(&load->net, &own->client);
}

static void
publisher_packet(struct load *load, struct client *client, const struct packet *packet)
{
	struct publisher *own = client->own;
	enum packet_type first = own->qos == 1 ? PUBACK : PUBREC;

	own->heard_ms = now_ms();
	if (packet->type == CONNACK && packet->reason == 0) {
		own->is_up = true;
		own->first_id = 1;
	} else if (packet->type == first && packet->reason < 0x80) {
		if (packet->packet_id != own->first_id) {
			fault(load, "publisher %d: acknowledgement %u, due was %u", own->index,
			    packet->packet_id, own->first_id);
		}
		own->first_id = own->first_id == UINT16_MAX ? 1 : (uint16_t)(own->first_id + 1);
		if (own->qos == 2) {
			put_ack(&client->out, PUBREL, packet->packet_id);
			return;
		}
		own->flight--;
		own->done++;
	} else if (packet->type == PUBCOMP && packet->reason == 0 && own->qos == 2) {
		own->flight--;
		own->done++;
	} else {
		fault(load, "publisher %d: packet %d with reason 0x%02x", own->index, packet->type,
		    packet->reason);
	}
	publish_more(load, own);
}

static void
publisher_ended(struct load *load, struct client *client)
{
	struct publisher *own = client->own;

	fault(load, "publisher %d: the broker has closed", own->index);
	own->is_up = false;
}

static void
publisher_due(struct load *load, struct client *client)
{
	struct publisher *own = client->own;

	if (client->fd < 0) {
		char id[24];

		snprintf(id, sizeof(id), "publisher%d", own->index);
		if (!dial(load, client, own->index % 4 < 2 ? 5 : 4)) {
			fault(load, "publisher %d: no socket", own->index);
			return;
		}
		put_connect(&client->out, client->version, id, true, 0, &no_will);
	}
	publish_more(load, own);
	if (own->flight != 0 && now_ms() - own->heard_ms > PATIENCE_MS) {
		fault(load, "publisher %d: %u publications are not acknowledged", own->index,
		    own->flight);
		own->heard_ms = now_ms();
	}
	client->due_ms = now_ms() + 10;
}

const struct role publisher_role = {"publisher", publisher_packet, publisher_ended, publisher_due};

/* --- steady subscribers --- */

static void
take_message(struct load *load, struct subscriber *own, const struct packet *packet)
{
	int from = packet->topic_len > 7 ? packet->topic[7] - '0' : -1;
	char text[24] = "";
	unsigned long long number;
	bool once = packet->qos == 2 || !own->bounces;

	memcpy(text, packet->payload,
	    packet->payload_len < sizeof(text) - 1 ? packet->payload_len : sizeof(text) - 1);
	number = strtoull(text, NULL, 10);
	if (from < 0 || from >= PUBLISHERS || !is_topic(packet, "steady/")) {
		fault(load, "subscriber %d: a topic that it has not subscribed to", own->index);
	} else if (number == own->next[from]) {
		own->next[from]++;
		load->delivered++;
	} else if (number > own->next[from]) {
		fault(load, "subscriber %d: publisher %d, QoS %d: %llu comes, %llu was due: lost",
		    own->index, from, packet->qos, number, (unsigned long long)own->next[from]);
		own->next[from] = number + 1;
	} else if (once || !packet->dup) {
		fault(load, "subscriber %d: publisher %d, QoS %d, DUP %d: %llu again, %llu was due",
		    own->index, from, packet->qos, packet->dup, number,
		    (unsigned long long)own->next[from]);
	}
}

static void
subscriber_publish(struct load *load, struct subscriber *own, const struct packet *packet)
{
	struct client *client = &own->client;

	if (packet->qos == 2 && own->held[packet->packet_id]) {
		if (!packet->dup) {
			fault(load, "subscriber %d: packet id %u again without DUP", own->index,
			    packet->packet_id);
		}
	} else {
		take_message(load, own, packet);
	}
	if (packet->qos == 2) {
		own->held[packet->packet_id] = 1;
		put_ack(&client->out, PUBREC, packet->packet_id);
	} else if (packet->qos == 1) {
		put_ack(&client->out, PUBACK, packet->packet_id);
	} else {
		fault(load, "subscriber %d: QoS 0", own->index);
	}
}

static void
subscribe_steady(struct subscriber *own)
{
	const char *filter = "steady/#";
	uint8_t options = (uint8_t)own->qos;

	put_subscribe(&own->client.out, own->client.version, client_next_id(&own->client), &filter,
	    &options, 1);
}

static void
subscriber_packet(struct load *load, struct client *client, const struct packet *packet)
{
	struct subscriber *own = client->own;

	switch (packet->type) {
	case CONNACK:
		own->asked_ms = 0;
		if (packet->reason != 0 || packet->session_present != own->was_up) {
			fault(load, "subscriber %d: CONNACK 0x%02x, session present %d", own->index,
			    packet->reason, packet->session_present);
		}
		if (!own->was_up) {
			subscribe_steady(own);
			own->asked_ms = now_ms();
		}
		own->is_up = own->was_up;
		break;
	case SUBACK:
		own->asked_ms = 0;
		own->is_up = own->was_up = packet->reason < 0x80;
		if (!own->is_up) {
			fault(load, "subscriber %d: SUBACK 0x%02x", own->index, packet->reason);
		}
		break;
	case PUBLISH:
		subscriber_publish(load, own, packet);
		break;
	case PUBREL:
		own->held[packet->packet_id] = 0;
		put_ack(&client->out, PUBCOMP, packet->packet_id);
		break;
	default:
		fault(load, "subscriber %d: packet %d with reason 0x%02x", own->index, packet->type,
		    packet->reason);
		break;
	}
}

static void
subscriber_ended(struct load *load, struct client *client)
{
	struct subscriber *own = client->own;

	fault(load, "subscriber %d: the broker has closed", own->index);
	own->is_up = false;
}

/* Half of them break their connections, and all of them are slow now and then. */
static void
subscriber_due(struct load *load, struct client *client)
{
	struct subscriber *own = client->own;

	client->due_ms = now_ms() + 1 + some(load, 200);
	if (client->fd < 0) {
		char id[24];

		snprintf(id, sizeof(id), "subscriber%d", own->index);
		if (!dial(load, client, own->index % 4 < 2 ? 5 : 4)) {
			fault(load, "subscriber %d: no socket", own->index);
			return;
		}
		put_connect(&client->out, client->version, id, false, 10000, &no_will);
		own->asked_ms = now_ms();
	} else if (own->asked_ms != 0 && now_ms() - own->asked_ms > PATIENCE_MS) {
		fault(load, "subscriber %d: no answer", own->index);
		own->asked_ms = 0;
	} else if (own->is_up && own->bounces && load->phase == RUN && chance(load, 30)) {
		client_close(client, chance(load, 50));
		own->is_up = false;
		client->due_ms = now_ms() + 1 + some(load, 50);
	} else {
		client_set_deaf(&load->net, client, load->phase == RUN && chance(load, 20));
	}
}

const struct role subscriber_role = {
    "subscriber", subscriber_packet, subscriber_ended, subscriber_due};
