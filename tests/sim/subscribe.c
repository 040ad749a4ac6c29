/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SUBSCRIBE and UNSUBSCRIBE of clients, and what the model notes of them. Only one request about a
 * filter is under way on a link at a time, so that its answer says what holds.
 */
#include "sim.h"
#include "wire/props.h"

enum { PROPS_MAX = 256 };

static bool
is_pending(const struct cable *link, uint8_t filter)
{
	for (size_t i = 0; i < link->expects.count; i++) {
		const struct expect *expect = &link->expects.items[i];

		for (unsigned k = 0; k < expect->count; k++) {
			if ((expect->type == WIRE_SUBACK || expect->type == WIRE_UNSUBACK) &&
			    expect->filters[k] == filter) {
				return true;
			}
		}
	}
	return false;
}

/* What the model knows of the filter: 1 it is there, 2 it is not, 0 not known. */
static uint8_t
known_of(const struct life *life, uint8_t filter)
{
	uint8_t known = 2;

	for (size_t i = 0; i < life->subs.count; i++) {
		const struct sub *sub = &life->subs.items[i];

		if (sub->filter != filter || sub->refused || sub->closed_at != NEVER) {
			continue;
		}
		if (sub->acked != NEVER && sub->closed_from == NEVER) {
			known = 1;
		} else if (known != 1) {
			known = 0;
		}
	}
	return life->fuzzy || (life->murky >> filter & 1) != 0 ? 0 : known;
}

static unsigned
add_sub(struct cable *link, const struct wire_subscription *item, uint8_t filter, uint32_t id)
{
	struct life *life = link->life;
	struct sim *sim = link->client->sim;
	uint8_t known = known_of(life, filter);
	unsigned at = (unsigned)life->subs.count;
	struct sub sub = {.filter = filter,
	    .qos = item->qos,
	    .no_local = item->no_local,
	    .retain_as_published = item->retain_as_published,
	    .retain_handling = item->retain_handling,
	    .was_new = known == 2,
	    .may_be_new = known != 1,
	    .id = id,
	    .link = link->number,
	    .sent = sim->tick};

	for (size_t i = 0; i < life->subs.count; i++) {
		struct sub *other = &life->subs.items[i];

		if (other->filter == filter && !other->refused && other->closed_from == NEVER) {
			other->closed_from = sim->tick;
			other->closer = at + 1;
		}
	}
	vec_push(&life->subs, sub);
	return at;
}

static void
send_subscribe(struct cable *link, const struct wire_subscription *items, const uint8_t *filters,
    unsigned count, uint32_t id)
{
	struct sim *sim = link->client->sim;
	uint8_t props[PROPS_MAX], memory[PROPS_MAX];
	struct wire_writer writer = wire_writer_of(props, PROPS_MAX);
	struct wire_writer body = wire_writer_of(memory, PROPS_MAX);
	struct expect expect = {
	    .type = WIRE_SUBACK, .packet_id = client_next_id(link->client), .count = count};
	struct wire_packet packet = {.type = WIRE_SUBSCRIBE};

	sim->tick++;
	if (id != 0) {
		wire_write_prop_number(&writer, WIRE_SUBSCRIPTION_IDENTIFIER, id);
	}
	for (unsigned i = 0; i < count; i++) {
		sim_say(sim, "link %u (%s): SUBSCRIBE %s q%u nl %d rap %d rh %u id %u",
		    link->number, link->client->id, sim_filters[filters[i]], items[i].qos,
		    items[i].no_local, items[i].retain_as_published, items[i].retain_handling, id);
		wire_write_subscription(&body, &items[i], link->client->version);
		expect.filters[i] = filters[i];
		expect.subs[i] = add_sub(link, &items[i], filters[i], id);
	}
	packet.subscribe = (struct wire_subscribe){.packet_id = expect.packet_id,
	    .filter_count = count,
	    .filters = bytes_make(memory, body.len),
	    .props = {.block = bytes_make(props, writer.len)}};
	ack_expect(link, &expect);
	cable_send(link, &packet);
}

static uint8_t
draw_filter(const struct client *client)
{
	struct sim *sim = client->sim;

	return (uint8_t)sim_draw(sim, sim->has_shared ? FILTER_COUNT : FIRST_SHARED);
}

void
client_subscribe(struct client *client)
{
	struct sim *sim = client->sim;
	struct cable *link = client->link;
	struct wire_subscription items[2];
	uint8_t filters[2];
	unsigned count = 0;
	bool v5 = client->version == WIRE_V5;
	bool shared = false;

	if (link == NULL || link->state != LINK_UP || client->index == OBSERVER) {
		return;
	}
	for (unsigned i = 0; i < (sim_chance(sim, 20) ? 2U : 1U); i++) {
		uint8_t filter = draw_filter(client);

		if (is_pending(link, filter) || (count == 1 && filters[0] == filter)) {
			continue;
		}
		if (count == 1 && (shared || filter >= FIRST_SHARED)) {
			break; /* its identifier tells a group from all else */
		}
		shared = shared || filter >= FIRST_SHARED;
		filters[count] = filter;
		items[count++] = (struct wire_subscription){.filter = bytes_of(sim_filters[filter]),
		    .qos = (uint8_t)sim_draw(sim, 3),
		    .no_local = v5 && filter < FIRST_SHARED && sim_chance(sim, 20),
		    .retain_as_published = v5 && sim_chance(sim, 30),
		    .retain_handling = v5 ? (uint8_t)sim_draw(sim, 3) : 0};
	}
	if (count != 0) {
		send_subscribe(link, items, filters, count,
		    v5 && (shared || sim_chance(sim, 70)) ? ++sim->next_sub_id : 0);
	}
}

void
client_subscribe_one(struct client *client, uint8_t filter, uint8_t qos, uint32_t id)
{
	struct wire_subscription item = {.filter = bytes_of(sim_filters[filter]),
	    .qos = qos,
	    .retain_handling = client->index == OBSERVER ? 2 : 0};

	send_subscribe(client->link, &item, &filter, 1, id);
}

void
client_unsubscribe(struct client *client)
{
	struct sim *sim = client->sim;
	struct cable *link = client->link;
	uint8_t memory[PROPS_MAX];
	struct wire_writer body = wire_writer_of(memory, PROPS_MAX);
	struct expect expect = {.type = WIRE_UNSUBACK, .count = 1};
	struct wire_packet packet = {.type = WIRE_UNSUBSCRIBE};
	uint8_t filter = draw_filter(client);

	if (link == NULL || link->state != LINK_UP || client->index == OBSERVER ||
	    is_pending(link, filter)) {
		return;
	}
	sim->tick++;
	sim_say(sim, "link %u (%s): UNSUBSCRIBE %s", link->number, client->id, sim_filters[filter]);
	expect.packet_id = client_next_id(client);
	expect.filters[0] = filter;
	expect.had[0] = known_of(link->life, filter);
	wire_write_filter(&body, bytes_of(sim_filters[filter]));
	for (size_t i = 0; i < link->life->subs.count; i++) {
		struct sub *sub = &link->life->subs.items[i];

		if (sub->filter == filter && !sub->refused && sub->closed_from == NEVER) {
			sub->closed_from = sim->tick;
			sim->shared_lost |= filter >= FIRST_SHARED;
		}
	}
	packet.subscribe = (struct wire_subscribe){.packet_id = expect.packet_id,
	    .filter_count = 1,
	    .filters = bytes_make(memory, body.len)};
	ack_expect(link, &expect);
	cable_send(link, &packet);
}
