/* SPDX-License-Identifier: Apache-2.0 */
/* See world.h. */
#include "world.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "conf/schema.h"
#include "sim.h"
#include "topic/tree.h"

/* --- drawing --- */

static void
draw_limits(struct world *world, struct sim *sim)
{
	struct conn_limits *limits = &world->limits;

	*limits = (struct conn_limits){
	    .session = {.max_inflight_messages = 1 + (int64_t)sim_draw(sim, 8),
		.max_queued_messages = 100000,
		.max_queued_bytes = 0,
		.queue_full = sim_chance(sim, 50) ? SESSION_DROP_NEW : SESSION_DROP_OLD,
		.queue_qos0 = sim_chance(sim, 50),
		.max_subscriptions = 100,
		.max_session_expiry_ms = CONF_NEVER,
		.receive_maximum = 2 + (int64_t)sim_draw(sim, 12)},
	    .max_packet_size = 65536,
	    .max_connect_size = 4096,
	    .max_qos = 2,
	    .max_topic_alias = sim_chance(sim, 50) ? 4 : 0,
	    .max_topic_alias_broker = sim_chance(sim, 50) ? 3 : 0,
	    .max_topic_levels = 10,
	    .connect_timeout_ms = 10000,
	    .write_timeout_ms = sim_chance(sim, 50) ? 60000 : 5000,
	    .max_pending = 1 + (int64_t)sim_draw(sim, 5),
	    .max_grants = 0,
	    .auth_delay_ms = sim_chance(sim, 50) ? 0 : 1000,
	    .max_delayed = 2,
	    .auto_id_prefix = "auto-",
	    .retain_available = true,
	    .wildcard_subscriptions = true,
	    .shared_subscriptions = true,
	    .subscription_identifiers = true,
	    .allow_empty_client_id = true,
	};
	if (sim_chance(sim, 20)) {
		limits->session.max_queued_messages = 1 + (int64_t)sim_draw(sim, 6);
	}
	world->max_memory = sim_chance(sim, 5) ? 5000 : 0;
	world->max_transit = sim_chance(sim, 10) ? 1000 + (int64_t)sim_draw(sim, 5000) : 0;
}

static void
draw_engine(struct world *world, struct sim *sim)
{
	world->engine = (struct store_mem_options){.seed = sim_draw(sim, UINT64_MAX),
	    .min_delay_ms = 0,
	    .max_delay_ms = sim_chance(sim, 50) ? 3 : (int64_t)sim_draw(sim, 200),
	    .fail_per_mille = sim_chance(sim, 20) ? 30 : 0,
	    .fail_length = 3};
	if (!sim_chance(sim, 15)) {
		world->disk = store_disk_new();
	}
}

void
world_draw(struct world *world, struct sim *sim)
{
	static const struct plugin_set nobody;

	world->sim = sim;
	world->wall_ms = WORLD_START_S * INT64_C(1000);
	world->move_always = sim_chance(sim, 25);
	draw_limits(world, sim);
	draw_engine(world, sim);
	world->plugins = nobody;
	if (sim_chance(sim, 50)) {
		world->oracle = oracle_new(sim, sim_chance(sim, 70));
		world->plugins = *oracle_set(world->oracle);
	}
	world->listener = (struct conn_listener){.name = "sim",
	    .mount_point = sim_chance(sim, 20) ? "mnt/" : "",
	    .protocol_versions = CONN_V31 | CONN_V311 | CONN_V5,
	    .allow_anonymous = true,
	    .limits = &world->limits,
	    .durability = {.mode = sim_chance(sim, 85)   ? ROUTE_COMMIT
				   : sim_chance(sim, 50) ? ROUTE_RELAXED
							 : ROUTE_NONE},
	    .plugins = &world->plugins};
	sim_say(sim, "store %d mode %d delay %d failing %u authority %d waits %d moves %d mount %s",
	    world->disk != NULL, (int)world->listener.durability.mode,
	    (int)world->engine.max_delay_ms, world->engine.fail_per_mille, world->oracle != NULL,
	    oracle_may_wait(world->oracle), world->move_always, world->listener.mount_point);
	sim_say(sim, "inflight %d queued %d receive_max %d max_pending %d memory %d transit %d",
	    (int)world->limits.session.max_inflight_messages,
	    (int)world->limits.session.max_queued_messages,
	    (int)world->limits.session.receive_maximum, (int)world->limits.max_pending,
	    (int)world->max_memory, (int)world->max_transit);
	world_start(world);
}

/* --- life --- */

static const struct plugin_set *
set_of(void *arg, struct bytes listener)
{
	const struct world *world = arg;

	(void)listener;
	return &world->plugins;
}

void
world_start(struct world *world)
{
	char why[256] = "";

	world->loop = loop_new(&(struct loop_options){.seed = sim_draw(world->sim, UINT64_MAX),
	    .log_level = LOG_LEVEL_ERROR,
	    .log_ring_size = 4096});
	sim_set_wall_ms(world->loop, world->wall_ms);
	world->main = loop_add_worker(world->loop, "main");
	world->house = broker_house_new(world->loop, world->main, WORLD_WORKERS,
	    &(struct broker_house_options){
		.engine =
		    world->disk != NULL ? store_engine_mem_new(world->disk, &world->engine) : NULL,
		.set_of = set_of,
		.set_arg = world,
		.move_always = world->move_always,
		.max_memory = world->max_memory,
		.max_transit = world->max_transit,
		.limits = &world->limits,
		.wall_ms = world->wall_ms},
	    why, sizeof(why));
	if (world->house == NULL) {
		sim_fail(world->sim, "the store cannot be loaded: %s", why);
	}
	world->foreign = loop_add_worker(world->loop, "foreign");
	loop_start(world->loop);
}

static void
keep_counts(struct world *world)
{
	for (unsigned i = 0; i < loop_worker_count(world->loop); i++) {
		const struct counter_set *set = worker_counters(loop_worker(world->loop, i));

		for (unsigned c = 0; c < COUNTER_COUNT; c++) {
			if (counter_infos[c].kind == COUNTER_TOTAL) {
				world->counted[c] += atomic_load(&set->values[c]);
			}
		}
	}
}

static void
close_all(struct world *world)
{
	for (unsigned i = 0; i < WORLD_WORKERS; i++) {
		sim_enter(world->house->hands[i].worker);
		conn_table_close_all(world->house->hands[i].conns, 0x8b);
		sim_leave();
	}
}

/* Nothing reaches the disk any more, so that all that is under way may be digested and freed. */
static void
drain(struct world *world)
{
	if (world->disk != NULL) {
		store_disk_set_failing(world->disk, true);
	}
	close_all(world);
	if (world->oracle != NULL) {
		oracle_answer(world->oracle, true);
	}
	sim_advance(world->loop, 20000);
}

static void
tear_down(struct world *world)
{
	keep_counts(world);
	loop_join(world->loop);
	broker_house_free(&world->house);
	loop_free(&world->loop);
}

void
world_crash(struct world *world)
{
	int64_t now = world_now(world);

	if (!world->dirty_crashes) {
		drain(world);
	}
	if (world->oracle != NULL) {
		oracle_forget(world->oracle);
	}
	tear_down(world);
	if (world->disk != NULL) {
		store_disk_set_failing(world->disk, false);
	}
	world->store_failing = false;
	world->crashes++;
	world->wall_ms = now + 1 + (int64_t)sim_draw(world->sim, 3000);
	world_start(world);
}

void
world_stop(struct world *world)
{
	if (world->loop != NULL) {
		tear_down(world);
	}
	store_disk_free(&world->disk);
	oracle_free(&world->oracle);
}

/* --- what it is --- */

int64_t
world_now(const struct world *world)
{
	return world->wall_ms + sim_now_ms(world->loop) - 1000000;
}

uint64_t
world_count(const struct world *world, enum counter counter)
{
	uint64_t sum = world->counted[counter];

	for (unsigned i = 0; i < loop_worker_count(world->loop); i++) {
		sum += atomic_load(&worker_counters(loop_worker(world->loop, i))->values[counter]);
	}
	return sum;
}

bool
world_is_durable(const struct world *world)
{
	return world->disk != NULL && world->listener.durability.mode == ROUTE_COMMIT;
}
