/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker under test: a house over the simulated loop, its disk, its authority, and what of it
 * is drawn by the seed. It may be crashed and started again over the same disk.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "base/rand.h"
#include "base/vec.h"
#include "broker/house.h"
#include "loop/sim.h"
#include "store/engine_mem.h"

enum {
	WORLD_WORKERS = 3,
	WORLD_START_S = 1800000000, /* UNIX time at which a run begins */
};

struct sim;
struct oracle;

struct world {
	struct sim *sim;
	struct loop *loop;
	struct worker *main;
	struct worker *foreign; /* an actor that is no part of the house; answers come from it */
	struct broker_house *house;
	struct store_disk *disk; /* NULL: the null engine */
	struct oracle *oracle;
	struct conn_limits limits;
	struct conn_listener listener;
	struct plugin_set plugins;
	struct store_mem_options engine;
	int64_t max_memory, max_transit;
	int64_t wall_ms; /* of the present start */
	bool move_always;
	bool dirty_crashes; /* nothing is drained: memory of mail leaks */
	bool store_failing; /* by force */
	unsigned crashes;
	uint64_t counted[COUNTER_COUNT]; /* of loops that are gone */
};

/* Draws limits, engine and so on, and starts. */
void world_draw(struct world *world, struct sim *sim);
void world_start(struct world *world);
/* All connections are gone; what was not committed is lost. */
void world_crash(struct world *world);
void world_stop(struct world *world);

/* UNIX time. */
int64_t world_now(const struct world *world);
/* Over all starts. */
uint64_t world_count(const struct world *world, enum counter counter);
/* Does durability promise that what was acknowledged outlives a crash? */
bool world_is_durable(const struct world *world);

#endif
