/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judge of wills. What may have become of one is found out from what the client knows: how its
 * connection ended, and what the next CONNACK says. The observer counts how often each was
 * published.
 */
#include "sim.h"

static void
settle(struct sim *sim, struct pub *will, unsigned least, unsigned most)
{
	will->will = WILL_SETTLED;
	will->least = least;
	will->most = most;
	will->settled_ms = world_now(&sim->world);
	sim_say(sim, "will #%u is to be published %u to %u times", will->number, least, most);
}

static struct pub *
will_of(const struct cable *link)
{
	return link->will != 0 ? model_pub(link->client->sim, link->will) : NULL;
}

/* Could the broker have ended the connection for a reason of its own, before it read DISCONNECT? */
static bool
may_have_been_cut(const struct cable *link)
{
	return link->goodbye || link->zombie || link->has_rival || link->eager < 100 ||
	       link->keep_alive != 0 || link->client->sim->world.oracle != NULL;
}

/* Of a slow client nobody knows when the broker has given it up. */
static int64_t
attached_until(const struct cable *link)
{
	return link->closed && !link->is_slow ? link->left_ms : link->alive_ms;
}

void
will_link_ended(struct cable *link)
{
	struct sim *sim = link->client->sim;
	struct pub *will = will_of(link);

	if (will == NULL || will->will == WILL_SETTLED) {
		return;
	}
	if (link->is_refused) {
		settle(sim, will, 0,
		    link->reason == 0x89 ||
			    (link->client->version != 5 && (link->has_rival || link->zombie))
			? 1
			: 0);
		return;
	}
	if (!link->got_connack) {
		settle(sim, will, 0, 1);
		return;
	}
	if (link->left_clean) {
		settle(sim, will, 0, may_have_been_cut(link) ? 1 : 0);
		return;
	}
	will->will = WILL_OWED;
	will->left_min_ms = attached_until(link);
	will->left_max_ms = world_now(&sim->world);
	if (will->delay_s == 0 || (link->life != NULL && !link->life->persistent)) {
		settle(sim, will, 1, 1);
	} else if (link->has_rival) {
		/* An earlier CONNECT that came through later may have dropped it. */
		settle(sim, will, 0, 1);
	}
}

/* The delay in force: the session may end before it has passed. */
static int64_t
delay_ms(const struct client *client, const struct pub *will)
{
	uint32_t delay_s = will->delay_s < client->expiry_s ? will->delay_s : client->expiry_s;

	return (int64_t)delay_s * 1000;
}

/* Did another CONNECT come between, of which nobody knows what became? */
static bool
has_doubtful_between(const struct client *client, const struct cable *old, const struct cable *now)
{
	for (size_t i = 0; i < client->links.count; i++) {
		const struct cable *link = client->links.items[i];

		if (link->number > old->number && link->number < now->number &&
		    !link->got_connack) {
			return true;
		}
	}
	return false;
}

/* The client is back, in the old session or in a new one. */
static void
resolve(struct client *client, struct cable *now, struct cable *old, bool present)
{
	struct sim *sim = client->sim;
	struct pub *will = will_of(old);
	int64_t delay, at = world_now(&sim->world);

	if (will == NULL || will->will == WILL_SETTLED || old == now) {
		return;
	}
	delay = delay_ms(client, will);
	if (client->is_messy || !old->got_connack || has_doubtful_between(client, old, now)) {
		settle(sim, will, 0, 1);
	} else if (old->left_clean) {
		settle(sim, will, 0, 1);
	} else if (!present || delay == 0) {
		settle(sim, will, 1, 1);
	} else {
		int64_t from = will->will == WILL_OWED ? will->left_min_ms : attached_until(old);

		settle(sim, will,
		    will->will == WILL_OWED &&
			now->opened_ms > will->left_max_ms + delay + delay / 16 + SLACK_MS,
		    at >= from + delay);
	}
}

void
will_reconnected(struct client *client, struct cable *link, bool present)
{
	for (size_t i = 0; i < client->links.count; i++) {
		resolve(client, link, client->links.items[i], present);
	}
}

/* Did its client come again, so that it may be settled already? */
static bool
has_come_back(const struct client *client, const struct pub *will)
{
	return client->links.count != 0 &&
	       client->links.items[client->links.count - 1]->number > will->link;
}

static bool
was_left_clean(const struct client *client, const struct pub *will)
{
	for (size_t i = 0; i < client->links.count; i++) {
		if (client->links.items[i]->number == will->link) {
			return client->links.items[i]->left_clean;
		}
	}
	return false;
}

/*
 * What was published shortly before the crash may not be durable: then it is published again. What
 * was dropped likewise. Connections ended with the crash; delays begin anew.
 */
void
will_crash(struct sim *sim)
{
	int64_t now = world_now(&sim->world);

	for (unsigned n = 1; n <= sim->pubs.count; n++) {
		struct pub *will = model_pub(sim, n);

		if (!will->is_will) {
			continue;
		}
		if (will->will == WILL_SETTLED) {
			if (sim->last_crash_ms - will->settled_ms < 20000 ||
			    sim_store_may_fail(sim)) {
				will->most++;
				will->least = will->transient || sim_store_may_fail(sim) ||
						      !world_is_durable(&sim->world)
						  ? 0
						  : will->least;
			}
		} else if (will->will == WILL_OFFERED || will->transient ||
			   sim_store_may_fail(sim) || !world_is_durable(&sim->world)) {
			/* While the store fails, CONNACK waits for nothing. */
			settle(sim, will, 0, 2);
		} else {
			struct client *owner = &sim->clients[will->owner];

			/* It may have been published, or dropped, and that is forgotten. */
			if (has_come_back(owner, will) ||
			    (will->will == WILL_OWED &&
				now >= will->left_min_ms + delay_ms(owner, will))) {
				settle(sim, will, 0, 2);
				continue;
			}
			/* It may have been published just before; or dropped, by DISCONNECT. */
			if (delay_ms(owner, will) == 0 || was_left_clean(owner, will)) {
				settle(sim, will, !was_left_clean(owner, will), 2);
				continue;
			}
			if (will->will == WILL_ARMED) {
				will->left_min_ms = sim->last_crash_ms;
			}
			will->will = WILL_OWED;
			will->left_max_ms = now;
		}
	}
}

/* At the end: all delays have passed, and whoever has not come back owes its will. */
void
will_check(struct sim *sim)
{
	const struct life *observer = sim->clients[OBSERVER].life;
	bool dropped = observer == NULL || observer->fuzzy || observer->crashes != 0 ||
		       world_count(&sim->world, COUNTER_DROPPED_QUEUE_FULL) != 0 ||
		       world_count(&sim->world, COUNTER_DROPPED_OVERLOAD) != 0;

	for (unsigned n = 1; n <= sim->pubs.count; n++) {
		struct pub *will = model_pub(sim, n);
		unsigned extra = will->qos == 1 ? sim->world.crashes : 0;

		if (!will->is_will) {
			continue;
		}
		if (will->will == WILL_OWED) {
			settle(sim, will, 1, 1);
		}
		if (will->will == WILL_ARMED || will->will == WILL_OFFERED) {
			settle(sim, will, 0, 0);
		}
		if (will->observed > will->most + extra) {
			sim_fail(sim, "the will #%u was published %u times; %u would be right",
			    will->number, will->observed, will->most);
		}
		if (will->observed < will->least && !will->doubtful && will->waits == 0 &&
		    !dropped && !(will->qos == 0 && sim->world.crashes != 0)) {
			sim_fail(sim, "the will #%u was not published", will->number);
		}
	}
}
