/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program: runs seeds. A seed gives a scenario, a number of deeds in between which the broker
 * takes some turns, and an end at which everything must be right. The same seed gives the same run,
 * to the last byte: `sim --seed N -v` prints it.
 */
#include "sim.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

static uint64_t seed_now;

uint64_t
sim_draw(struct sim *sim, uint64_t bound)
{
	return rand_gen_below(&sim->random, bound);
}

bool
sim_chance(struct sim *sim, unsigned percent)
{
	return sim_draw(sim, 100) < percent;
}

void
sim_say(const struct sim *sim, const char *format, ...)
{
	va_list args;

	if (!sim->verbose) {
		return;
	}
	va_start(args, format);
	(void)printf("%6u %9lld  ", sim->tick,
	    sim->world.loop != NULL
		? (long long)(world_now(&sim->world) - WORLD_START_S * INT64_C(1000))
		: 0);
	(void)vprintf(format, args);
	(void)printf("\n");
	va_end(args);
}

void
sim_fail(const struct sim *sim, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fflush(stdout);
	(void)fprintf(stderr, "seed %llu, tick %u: ", (unsigned long long)sim->seed, sim->tick);
	(void)vfprintf(stderr, format, args);
	(void)fprintf(stderr, "\n");
	va_end(args);
	_exit(1);
}

bool
sim_store_may_fail(const struct sim *sim)
{
	return sim->world.disk != NULL &&
	       (sim->has_failures || sim->world.engine.fail_per_mille != 0);
}

/* --- a run --- */

void
sim_pump_all(struct sim *sim)
{
	for (unsigned i = 0; i < sim->client_count; i++) {
		struct client *client = &sim->clients[i];

		for (size_t k = 0; k < client->links.count; k++) {
			struct cable *link = client->links.items[k];

			if (link->state != LINK_GONE && sim_chance(sim, link->eager)) {
				cable_look(link);
			}
			if (link->state == LINK_UP && sim_chance(sim, link->eager)) {
				cable_reply(link,
				    link->eager == 100 ? UINT32_MAX : (unsigned)sim_draw(sim, 4));
			}
		}
	}
}

static void
establish_observer(struct sim *sim)
{
	struct client *observer = &sim->clients[OBSERVER];

	for (unsigned tries = 0; tries < 200; tries++) {
		if (observer->link == NULL) {
			client_connect(observer);
		}
		sim_advance(sim->world.loop, 100);
		if (sim->world.oracle != NULL) {
			oracle_answer(sim->world.oracle, true);
		}
		sim_pump_all(sim);
		if (observer->link == NULL || observer->link->state != LINK_UP) {
			continue;
		}
		if (observer->link->expects.count == 0) {
			const struct life *life = observer->life;

			for (size_t i = 0; i < life->subs.count; i++) {
				if (life->subs.items[i].acked != NEVER) {
					return;
				}
			}
			client_subscribe_one(observer, 6, 2, ++sim->next_sub_id);
		}
	}
	sim_fail(sim, "the observer cannot come in");
}

static void
crash(struct sim *sim)
{
	sim->tick++;
	sim_say(sim, "--- crash");
	sim->last_crash_ms = world_now(&sim->world);
	for (unsigned i = 0; i < sim->client_count; i++) {
		struct client *client = &sim->clients[i];

		for (size_t k = 0; k < client->links.count; k++) {
			struct cable *link = client->links.items[k];

			if (link->state != LINK_GONE) {
				link->goodbye = true;
				link->crashed = true;
				link->left_ms =
				    link->left_ms != 0 ? link->left_ms : sim->last_crash_ms;
				link->closed = true;
				mem_pipe_close(link->pipe, true);
			}
		}
	}
	world_crash(&sim->world);
	will_crash(sim);
	for (unsigned i = 0; i < sim->client_count; i++) {
		struct client *client = &sim->clients[i];

		for (size_t k = 0; k < client->links.count; k++) {
			cable_ended(client->links.items[k]);
		}
		client->is_messy = false;
		if (client->life != NULL && !world_is_durable(&sim->world)) {
			model_life_blur(client->life);
		}
		if (client->life != NULL && !client->life->persistent) {
			client->life->ended = true;
		}
		if (client->life != NULL) {
			client->life->left_ms = world_now(&sim->world);
		}
	}
	for (unsigned n = 1; n <= sim->pubs.count; n++) {
		struct pub *pub = model_pub(sim, n);

		if (pub->qos == 0 || !pub->ok || !world_is_durable(&sim->world)) {
			pub->sure = false;
		}
	}
	establish_observer(sim);
}

static void
let_pass(struct sim *sim)
{
	static const int64_t spans[] = {1, 5, 50, 500, 3000, 12000, 40000};
	int64_t ms =
	    1 + (int64_t)sim_draw(sim, (uint64_t)spans[sim_draw(sim, sim_chance(sim, 20) ? 7 : 4)]);

	sim_say(sim, "time passes: %lld", (long long)ms);
	sim_advance(sim->world.loop, ms);
}

static void
toggle_store(struct sim *sim)
{
	if (sim->world.disk == NULL || !sim->has_failures) {
		return;
	}
	sim->world.store_failing = !sim->world.store_failing;
	sim_say(sim, "the store %s", sim->world.store_failing ? "fails" : "is well");
	store_disk_set_failing(sim->world.disk, sim->world.store_failing);
}

/* One deed of somebody. */
static void
deed(struct sim *sim)
{
	struct client *client = &sim->clients[sim_draw(sim, sim->client_count)];
	unsigned luck = (unsigned)sim_draw(sim, 1000);
	bool up = client->link != NULL && client->link->state != LINK_LEFT;

	if (luck < 2 && sim->has_crashes && sim->world.disk != NULL) {
		crash(sim);
	} else if (luck < 10) {
		toggle_store(sim);
	} else if (luck < 110) {
		let_pass(sim);
	} else if (luck < 200 && sim->world.oracle != NULL) {
		oracle_answer(sim->world.oracle, false);
	} else if (client->index == OBSERVER && up) {
		if (luck < 600) {
			client_publish(client);
		}
	} else if (!up || luck < 220) {
		client_connect(client);
	} else if (luck < 560) {
		client_publish(client);
	} else if (luck < 760) {
		client_subscribe(client);
	} else if (luck < 830) {
		client_unsubscribe(client);
	} else if (luck < 870) {
		client_drop(client);
	} else if (luck < 900) {
		client_disconnect(client, sim_chance(sim, 30));
	} else {
		client_ping(client);
	}
}

static void
draw(struct sim *sim, bool clean_memory)
{
	sim->client_count = 4 + (unsigned)sim_draw(sim, 5);
	sim->has_wills = sim_chance(sim, 50);
	sim->has_shared = sim_chance(sim, 50);
	sim->has_expiry = sim_chance(sim, 30);
	sim->has_crashes = sim_chance(sim, 50);
	sim->has_slow = sim_chance(sim, 50);
	sim->has_big = sim_chance(sim, 30);
	sim->has_failures = sim_chance(sim, 20);
	sim->world.dirty_crashes = sim_chance(sim, 50) && !clean_memory;
	world_draw(&sim->world, sim);
	for (unsigned i = 0; i < sim->client_count; i++) {
		client_init(&sim->clients[i], sim, (uint8_t)i);
	}
}

static void
sim_free(struct sim *sim)
{
	world_stop(&sim->world);
	for (unsigned i = 0; i < sim->client_count; i++) {
		struct client *client = &sim->clients[i];

		for (size_t k = 0; k < client->links.count; k++) {
			cable_free(client->links.items[k]);
		}
		vec_fini(&client->links);
		vec_fini(&client->outgoing);
	}
	for (size_t i = 0; i < sim->lives.count; i++) {
		struct life *life = sim->lives.items[i];

		vec_fini(&life->subs);
		vec_fini(&life->gots);
		vec_fini(&life->arrivals);
		mem_free(&life);
	}
	vec_fini(&sim->lives);
	vec_fini(&sim->pubs);
	mem_free(&sim);
}

void
sim_run_seed(uint64_t seed, unsigned steps, bool verbose, bool clean_memory)
{
	struct sim *sim = mem_zalloc(sizeof(*sim));

	seed_now = seed;
	sim->seed = seed;
	sim->verbose = verbose;
	rand_gen_init(&sim->random, seed);
	draw(sim, clean_memory);
	establish_observer(sim);
	for (unsigned i = 0; i < steps; i++) {
		deed(sim);
		(void)sim_settle(sim->world.loop, (unsigned)sim_draw(sim, 20));
		sim_pump_all(sim);
	}
	final_phase(sim);
	sim_free(sim);
}

/* --- the program --- */

static void
on_signal(int number)
{
	char text[64];
	int len = snprintf(
	    text, sizeof(text), "seed %llu: signal %d\n", (unsigned long long)seed_now, number);

	(void)!write(STDERR_FILENO, text, (size_t)len);
	_exit(1);
}

static void
usage(void)
{
	(void)fprintf(stderr,
	    "usage: sim [--seed FIRST] [--seeds COUNT] [--steps N] [--keep-going] "
	    "[--clean-memory] [-v]\n");
	exit(2);
}

/* In a child each, so that a seed that fails ends only itself. Returns how many failed. */
static unsigned
run_apart(uint64_t first, uint64_t count, unsigned steps, bool verbose, bool clean_memory)
{
	unsigned failed = 0;

	for (uint64_t seed = first; seed < first + count; seed++) {
		pid_t child = fork();
		int status = 0;

		if (child == 0) {
			sim_run_seed(seed, steps, verbose, clean_memory);
			_exit(0);
		}
		(void)waitpid(child, &status, 0);
		failed += status != 0;
	}
	return failed;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", required_argument, NULL, 's'},
	    {"seeds", required_argument, NULL, 'n'}, {"steps", required_argument, NULL, 't'},
	    {"keep-going", no_argument, NULL, 'k'}, {"clean-memory", no_argument, NULL, 'c'},
	    {NULL, 0, NULL, 0}};
	uint64_t first = 1, count = 1;
	unsigned steps = 300, failed = 0;
	bool verbose = false, keep_going = false, clean_memory = false;
	int option;

	while ((option = getopt_long(argc, argv, "v", options, NULL)) != -1) {
		switch (option) {
		case 's':
			first = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			count = strtoull(optarg, NULL, 10);
			break;
		case 't':
			steps = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'k':
			keep_going = true;
			break;
		case 'c':
			clean_memory = true;
			break;
		case 'v':
			verbose = true;
			break;
		default:
			usage();
		}
	}
	(void)signal(SIGABRT, on_signal);
	(void)signal(SIGSEGV, on_signal);
	if (keep_going) {
		failed = run_apart(first, count, steps, verbose, clean_memory);
		(void)printf("%llu seeds, %u failed\n", (unsigned long long)count, failed);
		return failed != 0;
	}
	for (uint64_t seed = first; seed < first + count; seed++) {
		sim_run_seed(seed, steps, verbose, clean_memory);
	}
	return 0;
}
