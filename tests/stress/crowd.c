/* SPDX-License-Identifier: Apache-2.0 */
/* Those who come and go. Of a member nothing is expected but that it gets its answers. */
#include "stress/load.h"

#include <stdio.h>
#include <string.h>

void
go_away(struct load *load, struct member *own)
{
	client_close(&own->client, own->ending == RESET);
	own->state = AWAY;
	own->client.due_ms = load->phase == RUN ? now_ms() + some(load, 50) : 0;
}

static void
subscribe_somehow(struct load *load, struct member *own)
{
	char memory[5][48];
	const char *filters[5];
	uint8_t options[5];
	int count = 1 + some(load, 5);

	for (int i = 0; i < count; i++) {
		int n = some(load, TOPICS);

		switch (some(load, 12)) {
		case 0:
			snprintf(memory[i], sizeof(memory[i]), "crowd/+");
			break;
		case 1:
			snprintf(memory[i], sizeof(memory[i]), "+/%d", n);
			break;
		case 2:
			snprintf(memory[i], sizeof(memory[i]), "crowd/%d/#", n);
			break;
		case 3:
		case 4:
			snprintf(
			    memory[i], sizeof(memory[i]), "$share/g%d/crowd/%d", n % 4, n % 10);
			break;
		case 5:
			snprintf(memory[i], sizeof(memory[i]), "ret/%d", n);
			break;
		case 6:
			snprintf(memory[i], sizeof(memory[i]), "will/%d", n);
			break;
		default:
			snprintf(memory[i], sizeof(memory[i]), "crowd/%d", n);
			break;
		}
		filters[i] = memory[i];
		options[i] = (uint8_t)some(load, 3);
	}
	put_subscribe(&own->client.out, own->client.version, client_next_id(&own->client), filters,
	    options, (size_t)count);
	own->owed++;
}

static void
publish_somehow(struct load *load, struct member *own)
{
	char topic[48], text[2048];
	size_t size = (size_t)draw(load, chance(load, 5) ? sizeof(text) : 64);
	bool retain = chance(load, 10);
	int qos = some(load, 3);

	snprintf(topic, sizeof(topic), "%s/%d", retain ? "ret" : "crowd", some(load, TOPICS));
	memset(text, 'c', sizeof(text));
	put_publish(&own->client.out, own->client.version, topic, text, size, qos, retain, false,
	    qos != 0 ? client_next_id(&own->client) : 0);
	own->owed += qos != 0;
}

static void
act(struct load *load, struct member *own)
{
	char filter[32];

	switch (some(load, 8)) {
	case 0:
	case 1:
		subscribe_somehow(load, own);
		break;
	case 2:
		snprintf(filter, sizeof(filter), "crowd/%d", some(load, TOPICS));
		put_unsubscribe(
		    &own->client.out, own->client.version, client_next_id(&own->client), filter);
		own->owed++;
		break;
	case 3:
		put_pingreq(&own->client.out);
		own->owed++;
		break;
	default:
		publish_somehow(load, own);
		break;
	}
}

static void
finish(struct load *load, struct member *own)
{
	struct client *client = &own->client;

	switch (own->ending) {
	case SAY_GOODBYE:
	case SAY_WILL:
		put_disconnect(&client->out, client->version, own->ending == SAY_WILL ? 4 : 0);
		client_flush(&load->net, client);
		break;
	case HALF:
		bytes_put(&client->out, "\x32\x40\0", 3);
		client_flush(&load->net, client);
		break;
	case GARBAGE:
		own->is_rude = true;
		bytes_put(&client->out, "\xf7\x03xyz", 5);
		client_flush(&load->net, client);
		own->state = ENDING;
		client->due_ms = now_ms() + PATIENCE_MS;
		return;
	case VANISH:
		client_set_deaf(&load->net, client, true);
		own->state = VANISHING;
		client->due_ms = now_ms() + some(load, 500);
		return;
	default:
		break;
	}
	go_away(load, own);
}

/* All at once, and gone: CONNECT, some actions, DISCONNECT. */
static void
pass_by(struct load *load, struct member *own)
{
	for (int i = 0; i < own->actions; i++) {
		act(load, own);
	}
	put_disconnect(&own->client.out, own->client.version, 0);
	own->is_rude = true; /* what answers it does not wait for */
	own->state = ENDING;
	own->client.due_ms = now_ms() + PATIENCE_MS;
}

static void
come(struct load *load, struct member *own)
{
	struct client *client = &own->client;
	char topic[32];
	struct will will = {0};
	bool clean = chance(load, 50);
	uint32_t expiry_s = (uint32_t)(some(load, 3) * 30);

	if (load->net.connects > MAX_CONNECTS || !dial(load, client, chance(load, 60) ? 5 : 4)) {
		client->due_ms = now_ms() + 1000;
		return;
	}
	own->ending = (enum ending)some(load, ENDINGS);
	own->is_rude = false;
	own->owed = 0;
	own->actions = some(load, MAX_ACTIONS);
	snprintf(own->id, sizeof(own->id), "crowd%d", some(load, load->pool));
	if (chance(load, 30)) {
		bool retain = chance(load, 20);

		snprintf(
		    topic, sizeof(topic), "%s/%d", retain ? "ret" : "will", some(load, TOPICS));
		will = (struct will){topic, some(load, 3), retain, (uint32_t)some(load, 2)};
	}
	put_connect(&client->out, client->version, own->id, clean, expiry_s, &will);
	own->state = CONNECTING;
	own->since_ms = now_ms();
	client->due_ms = now_ms() + PATIENCE_MS;
	if (chance(load, 10)) {
		pass_by(load, own);
	} else if (chance(load, 5)) {
		client->due_ms = now_ms() + some(load, 5);
		own->ending = CUT;
		own->state = VANISHING; /* leaves while it is let in */
	}
}

static void
member_due(struct load *load, struct client *client)
{
	struct member *own = client->own;

	switch (own->state) {
	case AWAY:
		if (load->phase == RUN) {
			come(load, own);
		}
		break;
	case CONNECTING:
		fault(load, "crowd: no CONNACK for %s", own->id);
		go_away(load, own);
		break;
	case BUSY:
		if (own->actions > 0) {
			own->actions--;
			act(load, own);
			client_flush(&load->net, client);
			client->due_ms = now_ms() + some(load, 20);
		} else if (own->owed == 0 || chance(load, 20)) {
			finish(load, own);
		} else {
			own->state = ENDING;
			client->due_ms = now_ms() + PATIENCE_MS;
		}
		break;
	case ENDING:
		fault(load, "crowd: %s: %d answers are missing", own->id, own->owed);
		go_away(load, own);
		break;
	case VANISHING:
		go_away(load, own);
		break;
	}
}

static void
member_publish(struct client *client, const struct packet *packet)
{
	if (packet->qos == 1) {
		put_ack(&client->out, PUBACK, packet->packet_id);
	} else if (packet->qos == 2) {
		put_ack(&client->out, PUBREC, packet->packet_id);
	}
}

static void
member_connack(struct load *load, struct member *own, uint8_t reason)
{
	uint8_t taken_over = own->client.version == 5 ? 0x89 : 3;

	if (reason == 0) {
		if (own->state == CONNECTING) {
			own->state = BUSY;
			own->client.due_ms = now_ms() + some(load, 20);
		}
	} else if (reason == taken_over) {
		load->refused++;
		own->is_rude = true; /* nothing more will be answered */
	} else {
		fault(load, "crowd: CONNACK 0x%02x for %s", reason, own->id);
	}
}

static void
member_packet(struct load *load, struct client *client, const struct packet *packet)
{
	struct member *own = client->own;

	switch (packet->type) {
	case CONNACK:
		member_connack(load, own, packet->reason);
		return;
	case PUBLISH:
		member_publish(client, packet);
		return;
	case PUBREL:
		put_ack(&client->out, PUBCOMP, packet->packet_id);
		return;
	case PUBREC:
		if (packet->reason < 0x80) {
			put_ack(&client->out, PUBREL, packet->packet_id);
			return;
		}
		break;
	case DISCONNECT:
		if (packet->reason == 0x8e) {
			load->taken_over++;
		} else if (!own->is_rude) {
			fault(load, "crowd: DISCONNECT 0x%02x for %s", packet->reason, own->id);
		}
		own->is_rude = true;
		return;
	default:
		break;
	}
	own->owed--;
	if (packet->type != UNSUBACK && packet->reason >= 0x80) {
		fault(load, "crowd: packet %d with reason 0x%02x for %s", packet->type,
		    packet->reason, own->id);
	}
	if (own->owed < 0) {
		fault(load, "crowd: packet %d without a question for %s", packet->type, own->id);
	}
	if (own->owed == 0 && own->state == ENDING && !own->is_rude) {
		finish(load, own);
	}
}

static void
member_ended(struct load *load, struct client *client)
{
	struct member *own = client->own;

	/* Version 3.1.1 is not told that it is taken over. */
	if (!own->is_rude && client->version == 5 && own->state != VANISHING) {
		fault(load, "crowd: the broker has closed %s without a word", own->id);
	}
	go_away(load, own);
}

const struct role member_role = {"crowd", member_packet, member_ended, member_due};
