/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Acknowledgements: each exactly once and in the order of what they answer; and CONNACK, which says
 * whether there is a session.
 */
#include <string.h>

#include "sim.h"
#include "wire/reason.h"

void
ack_expect(struct cable *link, const struct expect *expect)
{
	struct expect copy = *expect;

	copy.tick = link->client->sim->tick;
	vec_push(&link->expects, copy);
}

struct outgoing *
ack_outgoing(struct client *client, uint16_t packet_id)
{
	for (size_t i = 0; i < client->outgoing.count; i++) {
		if (client->outgoing.items[i].packet_id == packet_id) {
			return &client->outgoing.items[i];
		}
	}
	return NULL;
}

static void
remove_outgoing(struct client *client, struct outgoing *outgoing)
{
	size_t at = (size_t)(outgoing - client->outgoing.items);

	for (; at + 1 < client->outgoing.count; at++) {
		client->outgoing.items[at] = client->outgoing.items[at + 1];
	}
	client->outgoing.count--;
}

/* --- publications --- */

static void
taken(struct sim *sim, struct pub *pub, uint8_t reason)
{
	if (reason >= WIRE_REASON_FIRST_ERROR) {
		pub->refused = pub->sends == 1;
		pub->ended = pub->refused ? sim->tick : NEVER;
		return;
	}
	pub->ok = true;
	/* The authority cannot tell empty ones apart. */
	pub->sure = !(pub->empty && oracle_may_wait(sim->world.oracle));
	if (pub->sends == 1 || (!oracle_may_wait(sim->world.oracle) && !sim_store_may_fail(sim))) {
		pub->ended = sim->tick;
		pub->ended_ms = world_now(&sim->world);
	}
}

static void
on_publish_ack(struct cable *link, const struct expect *expect, const struct wire_ack *ack)
{
	struct client *client = link->client;
	struct outgoing *outgoing = ack_outgoing(client, ack->packet_id);

	sim_say(client->sim, "link %u: %s of #%u: 0x%02x", link->number,
	    wire_type_name(expect->type), expect->pub, ack->reason);
	if (expect->type == WIRE_PUBCOMP) {
		if (outgoing != NULL) {
			remove_outgoing(client, outgoing);
		}
		return;
	}
	if (outgoing == NULL) {
		sim_fail(client->sim, "the simulator has lost #%u", expect->pub);
	}
	taken(client->sim, model_pub(client->sim, expect->pub), ack->reason);
	if (expect->type == WIRE_PUBACK || ack->reason >= WIRE_REASON_FIRST_ERROR) {
		remove_outgoing(client, outgoing);
	} else {
		outgoing->released = true;
		vec_push(&link->replies, (struct reply){WIRE_PUBREL, ack->packet_id, 0});
	}
}

/* --- subscriptions --- */

static void
on_suback_one(struct cable *link, struct sub *sub, unsigned at, uint8_t code)
{
	struct life *life = link->life;
	struct sim *sim = link->client->sim;

	if (code >= WIRE_REASON_FIRST_ERROR) {
		sub->refused = true;
		for (size_t i = 0; i < at; i++) {
			struct sub *other = &life->subs.items[i];

			if (other->closer == at + 1 && other->closed_at == NEVER) {
				other->closed_from = NEVER;
				other->closer = 0;
			}
		}
		return;
	}
	if (code > sub->qos) {
		sim_fail(sim, "link %u: SUBACK grants QoS %u, asked for was %u", link->number, code,
		    sub->qos);
	}
	sub->qos = code;
	sub->acked = sim->tick;
	for (size_t i = 0; i < at; i++) {
		struct sub *other = &life->subs.items[i];

		if (other->filter == sub->filter && other->closed_at == NEVER &&
		    !other->asked_late) {
			other->closed_at = sim->tick;
		}
	}
}

static void
on_suback(struct cable *link, const struct expect *expect, const struct wire_suback *ack)
{
	struct sim *sim = link->client->sim;

	if (ack->reasons.len != expect->count) {
		sim_fail(sim, "link %u: SUBACK has %zu codes for %u filters", link->number,
		    ack->reasons.len, expect->count);
	}
	for (unsigned i = 0; i < expect->count; i++) {
		sim_say(sim, "link %u: SUBACK %s: 0x%02x", link->number,
		    sim_filters[expect->filters[i]], ack->reasons.data[i]);
		on_suback_one(link, &link->life->subs.items[expect->subs[i]], expect->subs[i],
		    ack->reasons.data[i]);
	}
}

static void
on_unsuback(struct cable *link, const struct expect *expect, const struct wire_suback *ack)
{
	struct life *life = link->life;
	struct sim *sim = link->client->sim;

	if (link->client->version == WIRE_V5 && ack->reasons.len != expect->count) {
		sim_fail(sim, "link %u: UNSUBACK has %zu codes for %u filters", link->number,
		    ack->reasons.len, expect->count);
	}
	for (unsigned i = 0; i < expect->count; i++) {
		uint8_t filter = expect->filters[i];
		uint8_t code = link->client->version == WIRE_V5 ? ack->reasons.data[i] : 0xff;
		bool clear = !life->fuzzy && (life->murky >> filter & 1) == 0;

		sim_say(
		    sim, "link %u: UNSUBACK %s: 0x%02x", link->number, sim_filters[filter], code);
		if (clear && code != 0xff &&
		    ((expect->had[i] == 1 && code != WIRE_REASON_SUCCESS) ||
			(expect->had[i] == 2 && code != WIRE_REASON_NO_SUBSCRIPTION_EXISTED))) {
			sim_fail(sim, "link %u: UNSUBACK 0x%02x for %s", link->number, code,
			    sim_filters[filter]);
		}
		for (size_t k = 0; k < life->subs.count; k++) {
			struct sub *sub = &life->subs.items[k];

			if (sub->filter == filter && sub->sent < expect->tick &&
			    sub->closed_at == NEVER && !sub->asked_late) {
				sub->closed_at = sim->tick;
			}
		}
	}
}

/* --- all of them --- */

static uint16_t
packet_id_of(const struct wire_packet *packet)
{
	return packet->type == WIRE_SUBACK || packet->type == WIRE_UNSUBACK
		   ? packet->suback.packet_id
		   : packet->ack.packet_id;
}

void
ack_came(struct cable *link, const struct wire_packet *packet)
{
	struct sim *sim = link->client->sim;
	struct expect expect;

	if (link->expects.count == 0) {
		sim_fail(sim, "link %u: %s %u answers nothing", link->number,
		    wire_type_name(packet->type), packet_id_of(packet));
	}
	expect = link->expects.items[0];
	if (expect.type != packet->type || expect.packet_id != packet_id_of(packet)) {
		sim_fail(sim, "link %u: %s %u, but due is %s %u", link->number,
		    wire_type_name(packet->type), packet_id_of(packet), wire_type_name(expect.type),
		    expect.packet_id);
	}
	for (size_t i = 1; i < link->expects.count; i++) {
		link->expects.items[i - 1] = link->expects.items[i];
	}
	link->expects.count--;
	if (packet->type == WIRE_SUBACK) {
		on_suback(link, &expect, &packet->suback);
	} else if (packet->type == WIRE_UNSUBACK) {
		on_unsuback(link, &expect, &packet->suback);
	} else {
		on_publish_ack(link, &expect, &packet->ack);
	}
}

/* --- CONNACK --- */

/* Durability is not promised, or was not in force. */
static bool
crashed_since(const struct sim *sim, const struct life *life)
{
	return sim->world.crashes != life->crashes;
}

static bool
must_be_present(const struct client *client, const struct cable *link)
{
	const struct life *life = client->life;
	const struct sim *sim = client->sim;

	if (link->clean_start || life == NULL || life->ended || life->fuzzy || !life->persistent ||
	    client->is_messy ||
	    (crashed_since(sim, life) &&
		(!world_is_durable(&sim->world) || sim_store_may_fail(sim)))) {
		return false;
	}
	return life->expiry_s == UINT32_MAX ||
	       world_now(&sim->world) < life->alive_ms + (int64_t)life->expiry_s * 1000 - SLACK_MS;
}

static bool
may_be_present(const struct client *client, const struct cable *link)
{
	const struct life *life = client->life;
	const struct sim *sim = client->sim;
	int64_t latest;

	if (link->clean_start) {
		return false;
	}
	if (client->may_exist || client->is_messy) {
		return true;
	}
	if (life == NULL || life->ended || !life->persistent) {
		return false;
	}
	if (life->expiry_s == UINT32_MAX || life->left_ms == 0 || link->has_rival ||
	    crashed_since(sim, life)) {
		return true;
	}
	latest = life->left_ms + (int64_t)life->expiry_s * 1000;
	return link->opened_ms <
	       latest + latest / 32 % 1000 + (int64_t)life->expiry_s * 40 + SLACK_MS;
}

static void
resend(struct cable *link)
{
	struct client *client = link->client;
	struct sim *sim = client->sim;

	for (size_t i = 0; i < client->outgoing.count; i++) {
		const struct outgoing *outgoing = &client->outgoing.items[i];
		struct pub *pub = model_pub(sim, outgoing->pub);

		sim->tick++;
		if (outgoing->released) {
			struct wire_packet packet = {
			    .type = WIRE_PUBREL, .ack = {.packet_id = outgoing->packet_id}};

			ack_expect(link, &(struct expect){.type = WIRE_PUBCOMP,
					     .packet_id = outgoing->packet_id,
					     .pub = pub->number});
			cable_send(link, &packet);
			continue;
		}
		client_send_pub(link, pub, outgoing->packet_id, true);
	}
}

static void
begin(struct cable *link, bool present)
{
	struct client *client = link->client;
	struct sim *sim = client->sim;
	struct life *life = client->life;

	if (!present) {
		if (life != NULL) {
			life->ended = true;
			for (size_t i = 0; i < life->subs.count; i++) {
				sim->shared_lost |= life->subs.items[i].filter >= FIRST_SHARED;
			}
		}
		client->outgoing.count = 0;
		life = model_life_new(client, link);
	} else if (life == NULL || life->ended || !life->persistent) {
		/* One that the client does not know: an earlier CONNECT has made it. */
		life = model_life_new(client, link);
		life->fuzzy = true;
		client->outgoing.count = 0;
	}
	client->life = life;
	link->life = life;
	life->links++;
	life->fuzzy = life->fuzzy || client->is_messy;
	life->expiry_s = link->expiry_s;
	life->alive_ms = link->opened_ms;
	life->left_ms = 0;
	if (link->max_packet != 0 &&
	    (life->least_packet == 0 || link->max_packet < life->least_packet)) {
		life->least_packet = link->max_packet;
	}
	if (!client->is_messy) {
		client->may_exist = false;
	}
	resend(link);
}

static void
on_refusal(struct cable *link, uint8_t reason)
{
	struct sim *sim = link->client->sim;
	bool fails = sim_store_may_fail(sim);

	link->is_refused = true;
	link->reason = reason;
	if (reason == WIRE_REASON_SERVER_BUSY && !link->has_rival && !link->zombie) {
		sim_fail(sim, "link %u is taken over by nobody", link->number);
	}
	if (reason == WIRE_REASON_SERVER_UNAVAILABLE && !fails && !link->has_rival &&
	    !link->zombie) {
		sim_fail(sim, "link %u is refused as if the store failed", link->number);
	}
	if (reason != WIRE_REASON_SERVER_BUSY && reason != WIRE_REASON_SERVER_UNAVAILABLE &&
	    sim->world.oracle == NULL) {
		sim_fail(sim, "link %u is refused: 0x%02x", link->number, reason);
	}
	cable_close(link, false);
}

/* The client has given this connection up, but the broker has let it in. */
static void
came_too_late(const struct cable *link, bool present)
{
	struct client *client = link->client;

	if (client->link != NULL && client->link->got_connack) {
		return;
	}
	if (client->life != NULL && present) {
		client->life->left_ms = 0;
	} else {
		client->may_exist = client->may_exist || link->expiry_s != 0;
		if (client->life != NULL) {
			client->life->ended = true;
		}
	}
}

void
ack_connack(struct cable *link, const struct wire_connack *connack)
{
	struct client *client = link->client;
	struct sim *sim = client->sim;

	sim_say(sim, "link %u: CONNACK 0x%02x present %d", link->number, connack->reason,
	    connack->session_present);
	if (connack->reason != WIRE_REASON_SUCCESS) {
		on_refusal(link, connack->reason);
		return;
	}
	link->got_connack = true;
	if (link->zombie || link->state != LINK_OPENING) {
		came_too_late(link, connack->session_present);
		return;
	}
	if (connack->session_present && !may_be_present(client, link)) {
		sim_fail(sim, "link %u: Session Present, but there can be none", link->number);
	}
	if (!connack->session_present && must_be_present(client, link)) {
		sim_fail(sim, "link %u: the session of %s is lost", link->number, client->id);
	}
	link->state = LINK_UP;
	will_reconnected(client, link, connack->session_present);
	if (link->will != 0) {
		model_pub(sim, link->will)->will = WILL_ARMED;
	}
	begin(link, connack->session_present);
}
