/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judge of deliveries. It does not know how the broker goes about it, so for each PUBLISH that
 * comes it asks whether there is a reading under which it is right: as a live delivery, merged over
 * all subscriptions that matched; as one of a shared group; as a retained message that is replayed.
 * What the client does not know exactly (a SUBSCRIBE that is not acknowledged, a publication that
 * may or may not have been carried out) widens what is allowed, never what is due.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "reading.h"
#include "wire/props.h"
#include "wire/topic_name.h"

/* --- looking up --- */

struct pub *
model_pub(struct sim *sim, unsigned number)
{
	return number >= 1 && number <= sim->pubs.count ? &sim->pubs.items[number - 1] : NULL;
}

/* Perhaps: what was not answered in time counts as denied. */
bool
model_is_denied(const struct pub *pub)
{
	return pub->denied || pub->waits != 0;
}

unsigned
model_number_of(struct bytes payload)
{
	unsigned number = 0;

	for (size_t i = 1; i < payload.len && payload.data[0] == 'N'; i++) {
		if (payload.data[i] == ';') {
			return number;
		}
		number = number * 10 + (payload.data[i] - (unsigned)'0');
	}
	return 0;
}

bool
model_matches(uint8_t filter, uint8_t topic)
{
	struct bytes text = bytes_of(sim_filters[filter]), share, inner = text;

	if (filter >= FIRST_SHARED && !wire_topic_share_split(text, &share, &inner)) {
		return false;
	}
	return wire_topic_matches(inner, bytes_of(sim_topics[topic]));
}

struct got *
model_got(struct life *life, unsigned pub)
{
	while (life->gots.count <= pub) {
		vec_push(&life->gots, (struct got){0});
	}
	return &life->gots.items[pub];
}

/* --- sessions --- */

struct life *
model_life_new(struct client *client, const struct cable *link)
{
	struct life *life = mem_zalloc(sizeof(*life));
	struct sim *sim = client->sim;

	life->number = (unsigned)sim->lives.count + 1;
	life->owner = client->index;
	life->persistent = link->expiry_s != 0;
	life->expiry_s = link->expiry_s;
	life->crashes = sim->world.crashes;
	vec_push(&sim->lives, life);
	return life;
}

void
model_life_blur(struct life *life)
{
	life->fuzzy = true;
	life->arrivals.count = 0;
}

bool
model_is_certain(const struct life *life, const struct sub *sub, unsigned a, unsigned b)
{
	return !life->fuzzy && (life->murky >> sub->filter & 1) == 0 && !sub->refused &&
	       sub->acked != NEVER && sub->acked < a && a != NEVER &&
	       (sub->closed_from == NEVER || sub->closed_from > b);
}

bool
model_is_possible(const struct sub *sub, unsigned a, unsigned b)
{
	return !sub->refused && sub->sent <= b && (sub->closed_at == NEVER || sub->closed_at >= a);
}

/* --- counting --- */

static unsigned
routings(const struct sim *sim, const struct pub *pub)
{
	unsigned count = pub->qos == 1 ? pub->sends : 1;

	if (pub->is_will) {
		count = 1 + (pub->qos < 2 ? sim->world.crashes : 0);
	}
	return count + pub->lives_sent;
}

static unsigned
most_replays(const struct came *came)
{
	const struct life *life = came->life;
	unsigned count = 0;

	for (size_t i = 0; i < life->subs.count; i++) {
		const struct sub *sub = &life->subs.items[i];

		count += sub->filter < FIRST_SHARED && !sub->refused &&
			 model_matches(sub->filter, came->pub->topic);
	}
	return came->pub->retain ? count * (1 + 2 * came->link->client->sim->world.crashes) : 0;
}

static unsigned
most_shared(const struct came *came)
{
	const struct life *life = came->life;
	unsigned seen = 0, count = 0;

	for (size_t i = 0; i < life->subs.count; i++) {
		const struct sub *sub = &life->subs.items[i];

		if (sub->filter >= FIRST_SHARED && (seen >> sub->filter & 1) == 0 &&
		    model_matches(sub->filter, came->pub->topic)) {
			seen |= 1U << sub->filter;
			count++;
		}
	}
	return count;
}

static void
describe(const struct came *came, const char *what)
{
	const struct sim *sim = came->link->client->sim;
	const struct wire_publish *packet = came->packet;
	char ids[128] = "";
	size_t len = 0;

	for (unsigned i = 0; i < came->id_count; i++) {
		len += (size_t)snprintf(ids + len, sizeof(ids) - len, " %u", came->ids[i]);
	}
	for (size_t i = 0; i < came->life->subs.count; i++) {
		const struct sub *sub = &came->life->subs.items[i];

		sim_say(sim,
		    "  %zu %s q%u id %u rh %u sent %u acked %u closed from %u at %u by %u%s%s",
		    i + 1, sim_filters[sub->filter], sub->qos, sub->id, sub->retain_handling,
		    sub->sent, sub->acked, sub->closed_from, sub->closed_at, sub->closer,
		    sub->refused ? " refused" : "", sub->asked_late ? " late" : "");
	}
	sim_fail(sim, "link %u (%s, life %u): #%u %s q%u id %u%s%s ids{%s } published q%u: %s",
	    came->link->number, came->link->client->id, came->life->number, came->pub->number,
	    sim_topics[came->pub->topic], packet->qos, packet->packet_id, packet->dup ? " dup" : "",
	    packet->retain ? " retain" : "", ids, came->pub->qos, what);
}

/* Nothing tells of which group it is. */
static void
note_groups(const struct came *came)
{
	for (size_t i = 0; i < came->life->subs.count; i++) {
		const struct sub *sub = &came->life->subs.items[i];

		if (sub->filter >= FIRST_SHARED && model_matches(sub->filter, came->pub->topic)) {
			came->pub->group_got[sub->filter - FIRST_SHARED]++;
		}
	}
}

static void
count_groups(const struct came *came, const struct sub *shared)
{
	struct sim *sim = came->link->client->sim;
	struct pub *pub = came->pub;
	unsigned at = shared->filter - (unsigned)FIRST_SHARED;

	/* A member whose session is not kept takes what it has got along when the broker crashes;
	 * the publisher, not acknowledged yet, sends again. */
	unsigned gone =
	    pub->unkept2[at] < sim->world.crashes ? pub->unkept2[at] : sim->world.crashes;

	pub->group_got[at]++;
	pub->unkept2[at] += came->packet->qos == 2 && !came->life->persistent;
	if (came->packet->qos == 2 &&
	    ++pub->shared2[at] >
		routings(sim, pub) + gone +
		    (model_got(came->life, pub->number)->refused ? sim->world.crashes : 0)) {
		describe(came, "a second member of a group got it at QoS 2");
	}
}

static void
count(const struct came *came, bool live, const struct sub *shared, bool replay)
{
	struct sim *sim = came->link->client->sim;
	struct got *got = model_got(came->life, came->pub->number);
	unsigned routed = routings(sim, came->pub);
	unsigned crashes = sim->world.crashes;
	uint8_t qos = came->packet->qos;

	got->all++;
	got->low += qos < 2;
	got->may_be_live = got->may_be_live || live;
	if (got->first == NEVER) {
		got->first = sim->tick;
		got->first_crashes = crashes;
	}
	if (live && shared == NULL && !replay &&
	    ++got->live[qos] > routed * (1 + ((qos < 2 && came->pub->qos > 0) || got->refused
						     ? crashes - got->first_crashes
						     : 0))) {
		describe(came, "it came more often than it was published");
	}
	if (!live && shared == NULL && ++got->replayed > most_replays(came)) {
		describe(came, "it was replayed too often");
	}
	if (got->all >
	    (got->may_be_live ? routed : 0) + most_replays(came) + 2 * routed * most_shared(came) +
		(qos < 2 || got->low != 0 || got->refused ? crashes * (routed + most_shared(came))
							  : 0)) {
		describe(came, "it came too often");
	}
	if (!live && shared != NULL && !replay && came->link->client->version == WIRE_V5) {
		count_groups(came, shared);
	} else if (shared != NULL) {
		note_groups(came);
	}
	if (came->life->owner == OBSERVER) {
		came->pub->observed++;
	}
}

/* --- order and time --- */

static void
check_order(const struct came *came)
{
	struct sim *sim = came->link->client->sim;
	const struct pub *pub = came->pub;
	unsigned *last = &came->life->last[pub->owner][pub->topic][pub->qos][came->packet->qos];
	const struct pub *before = model_pub(sim, *last);

	/* What was resent at QoS 1 may be routed once more. */
	if (before != NULL && before->number > pub->number && (pub->qos != 1 || pub->sends == 1) &&
	    !model_is_denied(pub) &&
	    /* What was dropped may be back after a crash. */
	    (sim->world.crashes == 0 ||
		world_count(&sim->world, COUNTER_DROPPED_QUEUE_FULL) == 0) &&
	    ((!oracle_may_wait(sim->world.oracle) && !sim_store_may_fail(sim)) ||
		(before->link == pub->link && before->sends == 1 && pub->sends == 1))) {
		sim_say(sim, "#%u came before", before->number);
		describe(came, "it came after a newer one of the same publisher");
	}
	if (pub->number > *last) {
		*last = pub->number;
	}
}

static bool
supersedes(const struct pub *newer, const struct pub *older, unsigned tick)
{
	return newer->retain && newer->sure && !model_is_denied(newer) &&
	       newer->topic == older->topic && newer->ended != NEVER && newer->ended < tick &&
	       older->ended != NEVER && newer->sent > older->ended;
}

/* A replay never shows what was replaced before it was asked for, and comes behind SUBACK. */
static void
check_replay(const struct came *came)
{
	struct sim *sim = came->link->client->sim;

	for (unsigned n = 1; n <= sim->pubs.count; n++) {
		if (supersedes(model_pub(sim, n), came->pub, came->asked)) {
			sim_say(sim, "#%u has replaced it", n);
			describe(came, "a replay shows what was replaced before");
		}
	}
	/* Where SUBACK itself waits, behind others or for the store, a replay may come before it.
	 */
	if (!came->was_acked && (!came->life->persistent || sim->world.disk == NULL) &&
	    came->link->expects.items[0].type == WIRE_SUBACK) {
		describe(came, "a replay before its SUBACK");
	}
}

static void
check_backwards(const struct came *came)
{
	struct sim *sim = came->link->client->sim;
	const struct pub *pub = came->pub;
	unsigned last = came->life->last[pub->owner][pub->topic][pub->qos][came->packet->qos];
	const struct pub *newer = last > pub->number ? model_pub(sim, last) : NULL;

	if (newer != NULL && newer->retain && !pub->is_will && pub->sends == 1 &&
	    newer->sends == 1 && (newer->ok || sim->world.crashes == 0) &&
	    sim->world.crashes == 0 &&
	    ((!oracle_may_wait(sim->world.oracle) && !sim_store_may_fail(sim)) ||
		newer->link == pub->link)) {
		sim_say(sim, "#%u came before", newer->number);
		describe(came, "a replay goes back in time");
	}
}

static void
check_expiry(const struct came *came)
{
	const struct cable *link = came->link;
	const struct pub *pub = came->pub;
	const struct wire_props *props = &came->packet->props;
	uint32_t left = wire_props_number(props, WIRE_MESSAGE_EXPIRY_INTERVAL, 0);
	int64_t over;

	if (!pub->expires) {
		return;
	}
	if (link->client->version == WIRE_V5 &&
	    (!wire_props_has(props, WIRE_MESSAGE_EXPIRY_INTERVAL) || left > pub->expiry_s)) {
		describe(came, "its Message Expiry Interval is wrong");
	}
	if (came->packet->dup || pub->ended_ms == 0 || link->is_slow) {
		return;
	}
	/* It was encoded after the last look. */
	over = link->looked_ms - pub->ended_ms - (int64_t)pub->expiry_s * 1000;
	if (over > SLACK_MS) {
		describe(came, "it had expired");
	}
	if (link->client->version == WIRE_V5 &&
	    (int64_t)left * 1000 >
		(int64_t)pub->expiry_s * 1000 - (link->looked_ms - pub->ended_ms) + SLACK_MS) {
		describe(came, "its Message Expiry Interval did not shrink");
	}
}

/* --- arrivals: packet ids --- */

static struct arrival *
arrival_of(struct life *life, uint16_t packet_id)
{
	for (size_t i = life->arrivals.count; i-- > 0;) {
		if (life->arrivals.items[i].packet_id == packet_id) {
			return &life->arrivals.items[i];
		}
	}
	return NULL;
}

static void
remove_arrival(struct life *life, const struct arrival *arrival)
{
	size_t at = (size_t)(arrival - life->arrivals.items);

	for (; at + 1 < life->arrivals.count; at++) {
		life->arrivals.items[at] = life->arrivals.items[at + 1];
	}
	life->arrivals.count--;
}

/* Empty payloads have no number. */
static bool
is_same(const struct came *came, const struct arrival *arrival)
{
	struct sim *sim = came->link->client->sim;
	const struct pub *other = model_pub(sim, arrival->pub);

	return arrival->qos == came->packet->qos &&
	       (other == came->pub ||
		   (other->empty && came->pub->empty && other->topic == came->pub->topic));
}

/* Is it one that came before? Judges the packet id and DUP. */
static bool
is_resent(const struct came *came)
{
	struct life *life = came->life;
	struct arrival *arrival = arrival_of(life, came->packet->packet_id);
	uint8_t qos = came->packet->qos;
	unsigned crashes = came->link->client->sim->world.crashes;

	if (arrival == NULL) {
		return false;
	}
	if (is_same(came, arrival) && qos == 2 &&
	    (arrival->received || (came->packet->dup && !arrival->released))) {
		if (arrival->link == came->link->number) {
			describe(came, "it was sent twice on one connection");
		}
		if (!came->packet->dup && !life->fuzzy) {
			describe(came, "it is sent again without DUP");
		}
		arrival->link = came->link->number;
		arrival->counted_out = false;
		return true;
	}
	if (is_same(came, arrival) && qos == 1 && arrival->link != came->link->number &&
	    (came->packet->dup || !arrival->acked || crashes != life->crashes)) {
		if (!came->packet->dup && crashes == life->crashes && !life->fuzzy) {
			describe(came, "it is sent again without DUP");
		}
		arrival->link = came->link->number;
		arrival->counted_out = false;
		arrival->acked = false;
		return true;
	}
	/* What became too large on a later connection counts as completed [MQTT-3.1.2-25]. */
	if (!arrival->acked && crashes == life->crashes && life->least_packet == 0 &&
	    !life->fuzzy) {
		describe(came, "its packet id is in use");
	}
	remove_arrival(life, arrival);
	return false;
}

static void
answer(const struct came *came)
{
	struct cable *link = came->link;
	struct sim *sim = link->client->sim;
	struct arrival *arrival = arrival_of(came->life, came->packet->packet_id);
	bool refuses = link->client->version == WIRE_V5 && came->life->owner != OBSERVER &&
		       !sim->is_final && sim_chance(sim, 2);
	uint8_t reason = refuses ? 0x83 : 0;

	if (came->packet->qos == 1) {
		arrival->acked = true;
		vec_push(
		    &link->replies, (struct reply){WIRE_PUBACK, came->packet->packet_id, reason});
		return;
	}
	model_got(came->life, came->pub->number)->refused |= refuses;
	arrival->received = !refuses;
	arrival->acked = refuses;
	vec_push(&link->replies, (struct reply){WIRE_PUBREC, came->packet->packet_id, reason});
}

static void
check_window(const struct came *came)
{
	struct cable *link = came->link;
	unsigned most = (unsigned)link->client->sim->world.limits.session.max_inflight_messages;

	if (link->receive_max != 0 && link->receive_max < most) {
		most = link->receive_max;
	}
	if (++link->unacked > most) {
		describe(came, "more are on their way than Receive Maximum allows");
	}
}

/* --- all of it --- */

static void
read_ids(struct came *came)
{
	struct bytes block = came->packet->props.block;
	struct wire_property property;

	while (wire_props_next(&block, &property)) {
		if (property.id == WIRE_SUBSCRIPTION_IDENTIFIER &&
		    came->id_count < sizeof(came->ids) / sizeof(came->ids[0])) {
			came->ids[came->id_count++] = property.number;
		}
	}
}

static void
judge(struct came *came)
{
	bool live = reading_is_live(came);
	const struct sub *shared = reading_is_shared(came);
	bool replay = reading_is_replay(came);

	if (!live && shared == NULL && !replay && !came->life->fuzzy) {
		describe(came, "no subscription asks for this");
	}
	if (came->life->fuzzy) {
		return;
	}
	if (came->packet->dup && came->life->links == 1) {
		describe(came, "DUP on what was never sent before");
	}
	count(came, live, shared, replay);
	check_expiry(came);
	if (live && shared == NULL && !replay && !came->packet->dup && !came->pub->is_will &&
	    model_got(came->life, came->pub->number)->all == 1) {
		check_order(came);
	}
	if (!live && shared == NULL && replay) {
		check_replay(came);
		check_backwards(came);
	}
}

/* An empty payload has no number: only that it may be there at all is looked at. */
static struct pub *
find_empty(struct cable *link, const struct wire_publish *packet, uint8_t topic)
{
	struct sim *sim = link->client->sim;

	for (unsigned n = (unsigned)sim->pubs.count; n > 0; n--) {
		struct pub *pub = model_pub(sim, n);

		if (pub->empty && pub->topic == topic && pub->sent != NEVER &&
		    packet->qos <= pub->qos) {
			return pub;
		}
	}
	sim_fail(sim, "link %u: an empty message on %s", link->number, sim_topics[topic]);
}

void
model_delivery(struct cable *link, const struct wire_publish *packet, uint8_t topic)
{
	struct sim *sim = link->client->sim;
	unsigned number = model_number_of(packet->payload);
	struct came came = {.link = link,
	    .life = link->life,
	    .packet = packet,
	    .pub = packet->payload.len == 0 ? find_empty(link, packet, topic)
					    : model_pub(sim, number)};

	sim_say(sim, "link %u (%s): got #%u %s q%u id %u%s%s unacked %u", link->number,
	    link->client->id, number, sim_topics[topic], packet->qos, packet->packet_id,
	    packet->dup ? " dup" : "", packet->retain ? " retain" : "", link->unacked);
	if (came.pub == NULL) {
		sim_fail(sim, "link %u: a payload that nobody has made", link->number);
	}
	read_ids(&came);
	came.from = came.pub->sent;
	came.to = came.pub->ended != NEVER ? came.pub->ended : FOREVER;
	if (came.pub->sent == NEVER || came.pub->topic != topic ||
	    (packet->payload.len != came.pub->size)) {
		describe(&came, "it was never published like this");
	}
	if (came.pub->refused && !came.pub->empty) {
		describe(&came, "its publisher was told that it is refused");
	}
	if (packet->qos != 0) {
		check_window(&came);
		if (is_resent(&came)) {
			answer(&came);
			return;
		}
		vec_push(&came.life->arrivals, (struct arrival){.packet_id = packet->packet_id,
						   .qos = packet->qos,
						   .pub = came.pub->number,
						   .link = link->number});
	}
	if (packet->payload.len != 0) {
		judge(&came);
	}
	if (packet->qos != 0) {
		answer(&came);
	}
}
