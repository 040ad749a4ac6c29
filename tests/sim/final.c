/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a run. Everything that may hinder the broker is taken away, everybody comes back and
 * behaves, and time passes. Then nothing may be left undone: no packet unanswered, no message
 * undelivered, the retained ones as they were last published; and when all sessions have ended,
 * nothing may be left at all, in memory or on disk.
 */
#include <string.h>

#include "sim.h"
#include "loop/mailbox.h"
#include "topic/tree.h"
#include "wire/reason.h"

enum { ROUNDS = 40, TRIES = 20 };

/* --- time passes --- */

static void
rest(struct sim *sim, unsigned rounds, int64_t ms)
{
	for (unsigned i = 0; i < rounds; i++) {
		if (sim->world.oracle != NULL) {
			oracle_answer(sim->world.oracle, true);
		}
		for (unsigned k = 0; k < sim->client_count; k++) {
			struct cable *link = sim->clients[k].link;

			if (link != NULL && link->keep_alive != 0) {
				client_ping(&sim->clients[k]);
			}
		}
		sim_advance(sim->world.loop, ms);
		sim_pump_all(sim);
	}
}

/* Until nothing has happened for a while. */
static void
come_to_rest(struct sim *sim)
{
	unsigned idle = 0, before = 0;

	for (unsigned i = 0; i < 3000 && idle < ROUNDS; i++) {
		idle = sim->tick == before ? idle + 1 : 0;
		before = sim->tick;
		rest(sim, 1, 500);
	}
}

static void
behave(struct sim *sim)
{
	sim->is_final = true;
	if (sim->world.disk != NULL) {
		store_disk_set_failing(sim->world.disk, false);
	}
	for (unsigned i = 0; i < sim->client_count; i++) {
		for (size_t k = 0; k < sim->clients[i].links.count; k++) {
			struct cable *link = sim->clients[i].links.items[k];

			link->eager = 100;
			link->take_max = SIZE_MAX;
			if (link->state != LINK_GONE) {
				mem_pipe_set_room(link->pipe, SIZE_MAX);
				mem_pipe_set_read_size(link->pipe, 0);
			}
			if (link->zombie) {
				cable_close(link, false);
			}
		}
	}
	rest(sim, 30, 500);
}

static void
come_back(struct sim *sim)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		bool all = true;

		for (unsigned i = 0; i < sim->client_count; i++) {
			struct client *client = &sim->clients[i];

			if (client->link == NULL && client->is_persistent) {
				client_connect(client);
				all = false;
			}
		}
		rest(sim, 4, 500);
		if (all) {
			return;
		}
	}
	sim_fail(sim, "not everybody can come back");
}

/* --- what is due --- */

static void
check_links(struct sim *sim)
{
	for (unsigned i = 0; i < sim->client_count; i++) {
		const struct client *client = &sim->clients[i];
		const struct cable *link = client->link;

		if (link == NULL) {
			continue;
		}
		if (link->state != LINK_UP) {
			sim_fail(sim, "link %u waits for CONNACK for ever", link->number);
		}
		if (link->expects.count != 0) {
			sim_fail(sim, "link %u: %s %u never comes", link->number,
			    wire_type_name(link->expects.items[0].type),
			    link->expects.items[0].packet_id);
		}
		if (link->pings_got != link->pings_sent) {
			sim_fail(sim, "link %u: PINGRESP never comes", link->number);
		}
		if (client->outgoing.count != 0) {
			sim_fail(sim, "link %u: #%u is never through", link->number,
			    client->outgoing.items[0].pub);
		}
		for (size_t k = 0; k < link->life->arrivals.count && !link->life->fuzzy &&
				   link->life->least_packet == 0;
		     k++) {
			if (link->life->arrivals.items[k].received) {
				sim_fail(sim, "link %u: PUBREL of %u never comes", link->number,
				    link->life->arrivals.items[k].packet_id);
			}
		}
	}
}

static uint8_t
lesser(uint8_t a, uint8_t b)
{
	return a < b ? a : b;
}

/* What excuses a message that did not come, whatever the subscription. */
static bool
is_excused(const struct life *life, const struct pub *pub)
{
	return pub->empty || !pub->ok || model_is_denied(pub) || pub->is_will || pub->expires ||
	       (life->least_packet != 0 && pub->size + 100 > life->least_packet);
}

static bool
is_due(const struct life *life, const struct sub *sub, const struct pub *pub)
{
	unsigned to = pub->ended != NEVER ? pub->ended : FOREVER;

	return lesser(sub->qos, pub->qos) > 0 && model_matches(sub->filter, pub->topic) &&
	       model_is_certain(life, sub, pub->sent, to) &&
	       !(pub->retain && sub->closed_from != NEVER) &&
	       !(sub->no_local && pub->owner == life->owner);
}

static unsigned
count_missing_of(struct sim *sim, struct life *life, bool tell)
{
	unsigned missing = 0;

	for (unsigned n = 1; n <= sim->pubs.count; n++) {
		const struct pub *pub = model_pub(sim, n);

		for (size_t i = 0; i < life->subs.count && !is_excused(life, pub); i++) {
			const struct sub *sub = &life->subs.items[i];

			if (sub->filter < FIRST_SHARED && is_due(life, sub, pub) &&
			    model_got(life, n)->all == 0) {
				missing++;
				if (tell) {
					sim_fail(sim,
					    "c%u (life %u) never gets #%u on %s through %s",
					    life->owner, life->number, n, sim_topics[pub->topic],
					    sim_filters[sub->filter]);
				}
				break;
			}
		}
	}
	return missing;
}

static bool
is_judged(const struct sim *sim, const struct life *life)
{
	const struct client *client = &sim->clients[life->owner];

	return client->life == life && !life->ended && !life->fuzzy && client->link != NULL &&
	       client->link->life == life &&
	       (life->crashes == sim->world.crashes ||
		   (world_is_durable(&sim->world) &&
		       /* Its end may not have been durable: then a crash brings it back. */
		       (life->expiry_s == UINT32_MAX || !sim_store_may_fail(sim))));
}

static void
check_deliveries(struct sim *sim)
{
	uint64_t dropped = world_count(&sim->world, COUNTER_DROPPED_QUEUE_FULL);
	unsigned missing = 0;

	for (size_t i = 0; i < sim->lives.count; i++) {
		if (is_judged(sim, sim->lives.items[i])) {
			missing += count_missing_of(sim, sim->lives.items[i], dropped == 0);
		}
	}
	if (missing > dropped) {
		sim_fail(sim, "%u messages are missing, %llu were dropped", missing,
		    (unsigned long long)dropped);
	}
}

/* A member that was granted QoS 0 may lose what it gets, and of one that may be another nobody
 * knows. */
static bool
has_lossy_member(const struct sim *sim, uint8_t filter)
{
	for (size_t i = 0; i < sim->lives.count; i++) {
		const struct life *life = sim->lives.items[i];

		for (size_t k = 0; k < life->subs.count; k++) {
			const struct sub *sub = &life->subs.items[k];

			if (sub->filter == filter && (sub->qos == 0 || life->fuzzy) &&
			    !sub->refused) {
				return true;
			}
		}
	}
	return false;
}

/* Each message that a group must have got has come to a member. */
static void
check_groups(struct sim *sim)
{
	if (sim->shared_lost || world_count(&sim->world, COUNTER_DROPPED_QUEUE_FULL) != 0) {
		return;
	}
	for (size_t i = 0; i < sim->lives.count; i++) {
		struct life *life = sim->lives.items[i];

		for (size_t k = 0; k < life->subs.count && is_judged(sim, life); k++) {
			const struct sub *sub = &life->subs.items[k];

			if (sub->filter < FIRST_SHARED || has_lossy_member(sim, sub->filter)) {
				continue;
			}
			for (unsigned n = 1; n <= sim->pubs.count; n++) {
				const struct pub *pub = model_pub(sim, n);

				if (!is_excused(life, pub) && !sim->has_small_packets &&
				    life->persistent && is_due(life, sub, pub) &&
				    pub->group_got[sub->filter - FIRST_SHARED] == 0) {
					sim_fail(sim, "nobody of %s gets #%u",
					    sim_filters[sub->filter], n);
				}
			}
		}
	}
}

/* Each subscription that asked for retained messages has got what was there. */
static bool
is_replay_due(
    const struct sim *sim, const struct life *life, const struct sub *sub, const struct pub *pub)
{
	bool asks = sub->retain_handling == 0 || (sub->retain_handling == 1 && sub->was_new);

	return asks && sub->filter < FIRST_SHARED && sub->acked != NEVER && !sub->refused &&
	       sub->closed_from == NEVER && (life->murky >> sub->filter & 1) == 0 &&
	       !(sub->no_local && pub->owner == life->owner) &&
	       model_matches(sub->filter, pub->topic) && pub->retain && pub->sure && pub->ok &&
	       pub->ended != NEVER && pub->ended < sub->sent && lesser(sub->qos, pub->qos) > 0 &&
	       (sim->world.crashes == 0 || world_is_durable(&sim->world));
}

static void
check_replays(struct sim *sim, struct life *life)
{
	for (size_t i = 0; i < life->subs.count; i++) {
		const struct sub *sub = &life->subs.items[i];

		for (unsigned n = 1; n <= sim->pubs.count; n++) {
			const struct pub *pub = model_pub(sim, n);
			bool got = false;

			if (is_excused(life, pub) || !is_replay_due(sim, life, sub, pub)) {
				continue;
			}
			/* Or one that may have taken its place. */
			for (unsigned k = 1; k <= sim->pubs.count && !got; k++) {
				const struct pub *other = model_pub(sim, k);

				got = (k == n && model_got(life, n)->all != 0) ||
				      (k != n && other->retain && other->topic == pub->topic &&
					  (other->ended == NEVER || other->ended > pub->sent) &&
					  other->sent != NEVER);
			}
			if (!got) {
				sim_fail(sim,
				    "c%u (life %u) never gets the retained #%u through %s",
				    life->owner, life->number, n, sim_filters[sub->filter]);
			}
		}
	}
}

static void
check_all_replays(struct sim *sim)
{
	if (world_count(&sim->world, COUNTER_DROPPED_QUEUE_FULL) != 0) {
		return;
	}
	for (size_t i = 0; i < sim->lives.count; i++) {
		if (is_judged(sim, sim->lives.items[i])) {
			check_replays(sim, sim->lives.items[i]);
		}
	}
}

/* --- retained messages --- */

/* Is there a surely later one? */
static bool
is_replaced(struct sim *sim, const struct pub *pub)
{
	for (unsigned n = 1; n <= sim->pubs.count; n++) {
		const struct pub *newer = model_pub(sim, n);

		if (newer->retain && newer->sure && !model_is_denied(newer) &&
		    newer->topic == pub->topic && newer->ended != NEVER && newer->qos > 0 &&
		    pub->ended != NEVER && newer->sent > pub->ended) {
			return true;
		}
	}
	return false;
}

static void
check_topic(struct sim *sim, struct life *life, uint8_t topic)
{
	bool may_be_none = true, must_be = false, got_one = false;

	for (unsigned n = 1; n <= sim->pubs.count; n++) {
		const struct pub *pub = model_pub(sim, n);
		bool got = !pub->empty && model_got(life, n)->all != 0;

		if (!pub->retain || pub->topic != topic || pub->sent == NEVER) {
			continue;
		}
		if (is_replaced(sim, pub)) {
			if (got) {
				sim_fail(sim, "#%u is still retained on %s", n, sim_topics[topic]);
			}
			continue;
		}
		got_one = got_one || got;
		must_be = must_be || (pub->sure && !model_is_denied(pub) && pub->qos > 0 &&
					 pub->ok && !pub->empty);
		may_be_none = may_be_none && !must_be;
		may_be_none = may_be_none || pub->empty || pub->expires;
	}
	if (must_be && !may_be_none && !got_one) {
		bool emptied = false;

		for (unsigned n = 1; n <= sim->pubs.count; n++) {
			const struct pub *pub = model_pub(sim, n);

			emptied = emptied || (pub->topic == topic && pub->retain &&
						 (pub->empty || pub->expires) &&
						 pub->sent != NEVER && !is_replaced(sim, pub));
		}
		if (!emptied) {
			sim_fail(sim, "nothing is retained on %s any more", sim_topics[topic]);
		}
	}
}

/* The store may still fail by itself: then it is refused, and tried again. */
static void
clear(struct sim *sim, struct client *probe, uint8_t topic)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		unsigned number;

		client_clear(probe, topic);
		number = (unsigned)sim->pubs.count;
		come_to_rest(sim);
		if (model_pub(sim, number)->ok) {
			return;
		}
	}
	sim_fail(sim, "%s cannot be cleared", sim_topics[topic]);
}

/* Somebody new looks at what is retained, and deletes it. */
static void
check_retained(struct sim *sim)
{
	struct client *probe = &sim->clients[sim->client_count++];

	client_init(probe, sim, (uint8_t)(sim->client_count - 1));
	probe->version = WIRE_V5;
	probe->is_persistent = probe->has_login = false;
	probe->expiry_s = 0;
	for (unsigned tries = 0; tries < TRIES && (probe->link == NULL || probe->life == NULL);
	     tries++) {
		client_connect(probe);
		rest(sim, 4, 500);
	}
	client_subscribe_one(probe, 6, 2, ++sim->next_sub_id);
	come_to_rest(sim);
	if (probe->link == NULL || probe->link->expects.count != 0) {
		sim_fail(sim, "nobody answers at the end");
	}
	if (sim->world.crashes == 0 || world_is_durable(&sim->world)) {
		for (uint8_t topic = 0; topic < TOPIC_COUNT; topic++) {
			check_topic(sim, probe->life, topic);
		}
	}
	for (uint8_t topic = 0; topic < TOPIC_COUNT; topic++) {
		clear(sim, probe, topic);
	}
}

/* --- the account --- */

static void
end_sessions(struct sim *sim)
{
	for (unsigned i = 0; i < sim->client_count; i++) {
		struct client *client = &sim->clients[i];

		client_disconnect(client, false);
	}
	rest(sim, 4, 500);
	for (unsigned tries = 0; tries < 3; tries++) {
		for (unsigned i = 0; i < sim->client_count; i++) {
			struct client *client = &sim->clients[i];

			sim->is_wiping = true;
			client->is_persistent = false;
			client->expiry_s = 0;
			client_connect(client);
		}
		rest(sim, 6, 500);
		for (unsigned i = 0; i < sim->client_count; i++) {
			client_disconnect(&sim->clients[i], false);
		}
		rest(sim, 6, 500);
	}
}

static void
expect_none(const struct sim *sim, const char *what, uint64_t count)
{
	if (count != 0) {
		sim_fail(sim, "at the end there are %s: %lld", what, (long long)count);
	}
}

static void
check_memory(struct sim *sim)
{
	struct world *world = &sim->world;
	struct topic_tree_stats stats;

	for (unsigned i = 0; i < WORLD_WORKERS; i++) {
		struct session_counts counts;

		session_table_counts(world->house->hands[i].sessions, &counts);
		expect_none(sim, "sessions", counts.sessions);
		expect_none(sim, "connections", conn_table_count(world->house->hands[i].conns));
		expect_none(
		    sim, "open questions", plugin_desk_open_count(world->house->hands[i].plugins));
	}
	topic_tree_stats(world->house->sessions.tree, &stats);
	expect_none(sim, "subscriptions in the tree", stats.subscriptions);
	expect_none(sim, "shared subscriptions in the tree", stats.shared_subscriptions);
	expect_none(sim, "filters in the tree", stats.filters);
	expect_none(sim, "entries of the directory",
	    session_directory_count(world->house->sessions.directory));
	expect_none(
	    sim, "queued bytes", (uint64_t)atomic_load(&world->house->sessions.queued_bytes));
	expect_none(
	    sim, "queued sessions", (uint64_t)atomic_load(&world->house->sessions.queued_sessions));
	expect_none(
	    sim, "sessions in the house", (uint64_t)atomic_load(&world->house->sessions.sessions));
	expect_none(sim, "bytes of mail", mail_undigested(world->loop));
	expect_none(sim, "sessions in the counters", world_count(world, COUNTER_SESSIONS));
	expect_none(sim, "attached sessions", world_count(world, COUNTER_SESSIONS_ATTACHED));
	expect_none(
	    sim, "subscriptions in the counters", world_count(world, COUNTER_SUBSCRIPTIONS));
	expect_none(sim, "bytes of aliases", world_count(world, COUNTER_ALIASES_MEMORY));
}

static void
check_disk(struct sim *sim)
{
	struct store_disk_counts counts;

	if (sim->world.disk == NULL) {
		return;
	}
	store_disk_counts(sim->world.disk, &counts);
	expect_none(sim, "stored sessions", counts.sessions);
	expect_none(sim, "stored subscriptions", counts.subscriptions);
	expect_none(sim, "stored queue rows", counts.queue);
	expect_none(sim, "stored packet ids", counts.received);
	expect_none(sim, "stored wills", counts.wills);
	expect_none(sim, "stored cursors", counts.cursors);
	expect_none(sim, "stored retained messages", counts.retained);
	expect_none(sim, "stored messages", counts.messages);
}

void
final_phase(struct sim *sim)
{
	sim_say(sim, "--- the end begins");
	behave(sim);
	rest(sim, ROUNDS, 2000);
	come_back(sim);
	come_to_rest(sim);
	check_links(sim);
	check_deliveries(sim);
	check_groups(sim);
	check_all_replays(sim);
	will_check(sim);
	check_retained(sim);
	end_sessions(sim);
	check_memory(sim);
	check_disk(sim);
}
