/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients do: each call is one deed of one client, its details drawn by the seed. A client
 * keeps its packet ids and what is not acknowledged over its connections, as its session demands.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sim.h"
#include "wire/props.h"
#include "wire/reason.h"

enum { PROPS_MAX = 256, PAYLOAD_MAX = 6000 };

const char *const sim_topics[TOPIC_COUNT] = {"a", "a/b", "a/c", "b", "b/c", "s/x"};
const char *const sim_filters[FILTER_COUNT] = {"a", "a/b", "a/+", "a/#", "+", "+/c", "#", "b/#",
    "s/x", "$share/g/a/#", "$share/g/s/x", "$share/h/+/c"};

void
client_init(struct client *client, struct sim *sim, uint8_t index)
{
	static const uint32_t expiries[] = {3, 20, 300, UINT32_MAX};

	client->sim = sim;
	client->index = index;
	(void)snprintf(client->id, sizeof(client->id), "c%u", index);
	client->version = index == OBSERVER || sim_chance(sim, 65) ? WIRE_V5 : WIRE_V311;
	client->is_persistent = sim_chance(sim, index == OBSERVER ? 70 : 60);
	client->has_login = index != OBSERVER && sim_chance(sim, 30);
	client->next_id = 1;
	client->expiry_s = !client->is_persistent         ? 0
			   : client->version == WIRE_V311 ? UINT32_MAX
			   : index == OBSERVER            ? UINT32_MAX
							  : expiries[sim_draw(sim, 4)];
}

uint16_t
client_next_id(struct client *client)
{
	uint16_t id = client->next_id++;

	if (client->next_id == 0) {
		client->next_id = 1;
	}
	return id;
}

/* --- publications --- */

static unsigned
pub_new(struct client *client, bool is_will)
{
	struct sim *sim = client->sim;
	struct pub pub = {.number = (unsigned)sim->pubs.count + 1,
	    .is_will = is_will,
	    .owner = client->index,
	    .topic = (uint8_t)sim_draw(sim, TOPIC_COUNT),
	    .qos = (uint8_t)sim_draw(sim, 3),
	    .retain = sim_chance(sim, 30)};

	if (pub.retain && !is_will && sim_chance(sim, 25)) {
		pub.empty = true;
	} else {
		pub.size =
		    12 + (size_t)(sim_chance(sim, 10) ? sim_draw(sim, sim->has_big ? 5000 : 200)
						      : sim_draw(sim, 30));
	}
	if (client->version == WIRE_V5 && sim->has_expiry && !pub.empty && sim_chance(sim, 30)) {
		pub.expires = true;
		pub.expiry_s = 1 + (uint32_t)sim_draw(sim, 20);
	}
	vec_push(&sim->pubs, pub);
	return pub.number;
}

static struct bytes
payload_of(const struct pub *pub, char *memory)
{
	int len;

	if (pub->empty) {
		return (struct bytes){0};
	}
	len = snprintf(memory, PAYLOAD_MAX, "N%u;", pub->number);
	memset(memory + len, '.', pub->size - (size_t)len);
	return bytes_make(memory, pub->size);
}

/* Fills a PUBLISH; its memory is the caller's. */
static void
fill_publish(struct cable *link, struct pub *pub, uint16_t packet_id, bool dup,
    struct wire_publish *packet, char *payload, uint8_t *props)
{
	struct wire_writer writer = wire_writer_of(props, PROPS_MAX);
	const struct world *world = &link->client->sim->world;
	bool aliased = false;

	if (link->client->version == WIRE_V5) {
		if (pub->expires) {
			wire_write_prop_number(
			    &writer, WIRE_MESSAGE_EXPIRY_INTERVAL, pub->expiry_s);
		}
		if (pub->topic < world->limits.max_topic_alias) {
			wire_write_prop_number(&writer, WIRE_TOPIC_ALIAS, (uint32_t)pub->topic + 1);
			aliased = (link->alias_told >> pub->topic & 1) != 0;
			link->alias_told |= 1U << pub->topic;
		}
	}
	*packet = (struct wire_publish){
	    .topic = aliased ? (struct bytes){0} : bytes_of(sim_topics[pub->topic]),
	    .payload = payload_of(pub, payload),
	    .packet_id = packet_id,
	    .qos = pub->qos,
	    .dup = dup,
	    .retain = pub->retain,
	    .props = {.block = bytes_make(props, writer.len)}};
}

void
client_send_pub(struct cable *link, struct pub *pub, uint16_t packet_id, bool dup)
{
	struct sim *sim = link->client->sim;
	char payload[PAYLOAD_MAX];
	uint8_t props[PROPS_MAX];
	struct wire_packet packet = {.type = WIRE_PUBLISH};

	sim->tick++;
	fill_publish(link, pub, packet_id, dup, &packet.publish, payload, props);
	sim_say(sim, "link %u (%s): PUBLISH #%u %s q%u id %u%s%s%s", link->number, link->client->id,
	    pub->number, sim_topics[pub->topic], pub->qos, packet_id, dup ? " dup" : "",
	    pub->retain ? " retain" : "", pub->empty ? " empty" : "");
	if (pub->sent == NEVER) {
		pub->sent = sim->tick;
		pub->sent_ms = world_now(&sim->world);
		pub->life = link->life;
		pub->link = link->number;
	}
	pub->sends++;
	/* A session that has forgotten it takes it for new. */
	pub->lives_sent += dup && link->life->fuzzy;
	if (pub->qos != 0) {
		ack_outgoing(link->client, packet_id)->link = link->number;
		ack_expect(link, &(struct expect){.type = pub->qos == 1 ? WIRE_PUBACK : WIRE_PUBREC,
				     .packet_id = packet_id,
				     .pub = pub->number});
	}
	cable_send(link, &packet);
}

bool
client_may_publish(const struct client *client)
{
	size_t most = (size_t)client->sim->world.limits.session.receive_maximum;
	size_t used = 0;

	if (client->link == NULL || client->link->state != LINK_UP) {
		return false;
	}
	/* Quotas do not outlive a connection. */
	for (size_t i = 0; i < client->outgoing.count; i++) {
		used += client->outgoing.items[i].link == client->link->number;
	}
	/* MQTT 3 knows no Receive Maximum; the broker stops reading. */
	return used < most + (client->version == WIRE_V5 ? 0 : 2);
}

static void
send_new(struct client *client, struct pub *pub)
{
	uint16_t id = 0;

	if (pub->qos != 0) {
		id = client_next_id(client);
		vec_push(&client->outgoing, (struct outgoing){.pub = pub->number, .packet_id = id});
	}
	client_send_pub(client->link, pub, id, false);
}

void
client_publish(struct client *client)
{
	struct pub *pub;

	if (!client_may_publish(client)) {
		return;
	}
	pub = model_pub(client->sim, pub_new(client, false));
	if (client->index == OBSERVER) {
		pub->retain = false;
		pub->empty = false;
		pub->size = pub->size < 12 ? 12 : pub->size;
	}
	send_new(client, pub);
}

void
client_clear(struct client *client, uint8_t topic)
{
	struct pub *pub = model_pub(client->sim, pub_new(client, false));

	pub->topic = topic;
	pub->qos = 1;
	pub->retain = pub->empty = true;
	pub->expires = false;
	pub->size = 0;
	send_new(client, pub);
}

/* --- coming --- */

void
client_ping(struct client *client)
{
	struct wire_packet packet = {.type = WIRE_PINGREQ};

	if (client->link != NULL && client->link->state == LINK_UP) {
		client->link->pings_sent++;
		cable_send(client->link, &packet);
	}
}

/* Other links that the broker may still read. */
static bool
has_rival(const struct client *client)
{
	for (size_t i = 0; i < client->links.count; i++) {
		if (client->links.items[i]->state != LINK_GONE) {
			return true;
		}
	}
	return false;
}

static void
replace_links(struct client *client)
{
	for (size_t i = 0; i < client->links.count; i++) {
		struct cable *link = client->links.items[i];

		if (link->state == LINK_GONE) {
			continue;
		}
		if (!link->got_connack && !link->is_refused) {
			client->is_messy = true;
		}
		link->zombie = true;
		cable_leave(link);
	}
}

static void
fill_will(struct cable *link, struct wire_connect *connect, char *payload, uint8_t *props)
{
	struct client *client = link->client;
	struct sim *sim = client->sim;
	struct wire_writer writer = wire_writer_of(props, PROPS_MAX);
	struct pub *pub = model_pub(sim, pub_new(client, true));

	pub->delay_s =
	    client->version == WIRE_V5 && sim_chance(sim, 60) ? (uint32_t)sim_draw(sim, 30) : 0;
	pub->expires = false;
	pub->size = pub->size > 300 ? 300 : pub->size; /* max_connect_size */
	pub->sent = sim->tick;
	pub->sends = 1;
	pub->link = link->number;
	pub->transient = link->expiry_s == 0;
	link->will = pub->number;
	if (pub->delay_s != 0) {
		wire_write_prop_number(&writer, WIRE_WILL_DELAY_INTERVAL, pub->delay_s);
	}
	connect->has_will = true;
	connect->will = (struct wire_will){.topic = bytes_of(sim_topics[pub->topic]),
	    .payload = payload_of(pub, payload),
	    .qos = pub->qos,
	    .retain = pub->retain,
	    .props = {.block = bytes_make(props, writer.len)}};
	sim_say(sim, "link %u: will #%u %s q%u delay %u%s", link->number, pub->number,
	    sim_topics[pub->topic], pub->qos, pub->delay_s, pub->retain ? " retain" : "");
}

static void
fill_props(struct cable *link, struct wire_writer *writer)
{
	struct client *client = link->client;
	struct sim *sim = client->sim;

	if (client->version != WIRE_V5) {
		return;
	}
	if (link->expiry_s != 0) {
		wire_write_prop_number(writer, WIRE_SESSION_EXPIRY_INTERVAL, link->expiry_s);
	}
	if (client->index != OBSERVER && !sim->is_final && sim_chance(sim, 50)) {
		link->receive_max = (uint16_t)(1 + sim_draw(sim, 5));
		wire_write_prop_number(writer, WIRE_RECEIVE_MAXIMUM, link->receive_max);
	}
	if (client->index != OBSERVER && !sim->is_final && sim_chance(sim, 10)) {
		sim->has_small_packets = true;
		link->max_packet = 200 + (uint32_t)sim_draw(sim, 100);
		wire_write_prop_number(writer, WIRE_MAXIMUM_PACKET_SIZE, link->max_packet);
	}
	if (sim_chance(sim, 50)) {
		link->alias_max = (uint16_t)(1 + sim_draw(sim, 5));
		wire_write_prop_number(writer, WIRE_TOPIC_ALIAS_MAXIMUM, link->alias_max);
	}
}

void
client_connect(struct client *client)
{
	struct sim *sim = client->sim;
	bool rival = has_rival(client);
	char payload[PAYLOAD_MAX];
	uint8_t props[PROPS_MAX], will_props[PROPS_MAX];
	struct wire_writer writer = wire_writer_of(props, PROPS_MAX);
	struct wire_packet packet = {.type = WIRE_CONNECT};
	struct cable *link;

	replace_links(client);
	client->is_messy = client->is_messy && rival;
	link = cable_open(client, (unsigned)sim_draw(sim, WORLD_WORKERS));
	link->has_rival = rival;
	link->expiry_s = client->expiry_s;
	link->clean_start = !client->is_persistent ||
			    (client->index != OBSERVER && !sim->is_final && sim_chance(sim, 8));
	link->keep_alive = client->version == WIRE_V5 && client->index != OBSERVER &&
				   !sim->is_final && sim_chance(sim, 10)
			       ? 5
			       : 0;
	if (!client->is_persistent && client->version == WIRE_V5 && !sim->is_wiping &&
	    sim_chance(sim, 30)) {
		link->clean_start = false;
	}
	if (client->version == WIRE_V311 && link->clean_start) {
		link->expiry_s = 0;
	}
	client->link = link;
	if (link->clean_start) {
		client->outgoing.count = 0;
		if (client->life != NULL) {
			model_life_blur(client->life);
		}
	}
	if (link->expiry_s != 0) {
		client->may_exist = client->may_exist || client->life == NULL ||
				    client->life->ended || link->clean_start;
	}
	fill_props(link, &writer);
	if (link->max_packet != 0 && client->life != NULL &&
	    (client->life->least_packet == 0 || link->max_packet < client->life->least_packet)) {
		client->life->least_packet = link->max_packet;
	}
	packet.connect = (struct wire_connect){.version = client->version,
	    .clean_start = link->clean_start,
	    .keep_alive = link->keep_alive,
	    .client_id = bytes_of(client->id),
	    .has_username = client->has_login,
	    .username = client->has_login ? bytes_of(client->id) : (struct bytes){0},
	    .props = {.block = bytes_make(props, writer.len)}};
	if (sim->has_wills && client->index != OBSERVER && !sim->is_final && sim_chance(sim, 40)) {
		fill_will(link, &packet.connect, payload, will_props);
	}
	sim_say(sim, "link %u: CONNECT %s v%u clean %d expiry %u receive_max %u", link->number,
	    client->id, client->version, link->clean_start, link->expiry_s, link->receive_max);
	cable_send(link, &packet);
}

/* --- going --- */

void
client_disconnect(struct client *client, bool with_will)
{
	struct sim *sim = client->sim;
	struct cable *link = client->link;
	struct wire_packet packet = {.type = WIRE_DISCONNECT};

	if (link == NULL || link->state != LINK_UP) {
		return;
	}
	with_will = with_will && client->version == WIRE_V5;
	packet.disconnect.reason = with_will ? (uint8_t)WIRE_REASON_DISCONNECT_WITH_WILL : 0;
	sim->tick++;
	sim_say(sim, "link %u (%s): DISCONNECT%s", link->number, client->id,
	    with_will ? " with will" : "");
	cable_send(link, &packet);
	link->left_clean = !with_will;
	link->left_ms = world_now(&sim->world);
	if (sim_chance(sim, 50)) {
		cable_close(link, false);
	}
	link->state = LINK_LEFT;
}

static void
send_half(struct cable *link)
{
	struct client *client = link->client;
	char payload[PAYLOAD_MAX];
	uint8_t props[PROPS_MAX];
	struct wire_packet packet = {.type = WIRE_PUBLISH};
	struct pub *pub = model_pub(client->sim, pub_new(client, false));

	/* It is never sent: whoever gets it got it from a broker that reads ahead. */
	pub->retain = pub->empty = false;
	pub->size = pub->size < 12 ? 12 : pub->size;
	fill_publish(link, pub, pub->qos != 0 ? client_next_id(client) : 0, false, &packet.publish,
	    payload, props);
	cable_send_part(link, &packet);
}

void
client_drop(struct client *client)
{
	struct sim *sim = client->sim;
	struct cable *link = client->link;

	if (link == NULL || link->state == LINK_LEFT || link->state == LINK_GONE) {
		return;
	}
	sim->tick++;
	sim_say(sim, "link %u (%s) drops", link->number, client->id);
	if (link->state == LINK_UP && sim_chance(sim, 30)) {
		send_half(link);
	}
	cable_close(link, sim_chance(sim, 50));
}
