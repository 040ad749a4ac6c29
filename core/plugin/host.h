/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The house of instances: it makes them, reloads them as one transaction, starts and ends them, and
 * offers them what the host can do. All on main's thread unless it says otherwise.
 *
 *     begin a change -> add each instance that is wanted -> (commit | abort) -> sets from it
 *
 * An instance that no configuration names any more ends when the last set that asks it has gone and
 * its last question has come back.
 */
#ifndef PLUGIN_HOST_H
#define PLUGIN_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plugin/ask.h"

struct avocet_self;
struct loop;
struct plugin_config;
struct plugin_house;
struct plugin_module;
struct plugin_observers;

/* Who is to be sent away, and how; borrowed. */
struct plugin_kick {
	uint64_t handle; /* of the connection; 0: by the client id */
	struct bytes client_id;
	uint8_t reason;
	struct bytes text; /* may be empty */
};

struct plugin_house_options {
	struct loop *loop;
	struct worker *main;
	struct plugin_desk *const *desks;   /* by the worker's index; outlives the house */
	unsigned workers;                   /* client workers */
	int64_t stall_warn_ms;              /* 0: never said */
	const char *data_dir;               /* of values that are kept; NULL: none are */
	struct plugin_observers *observers; /* outlives the house; NULL: nothing is observed */
	/* Main: an instance with on_failure stop has failed. */
	void (*on_stop)(void *arg, const char *name);
	/* Main: what authorizers granted does not hold any more; recheck: ask for live
	 * subscriptions again. */
	void (*on_flush)(void *arg, bool recheck);
	/* Main: a plugin publishes, and sends a client away. The draft is given. May be NULL. */
	void (*on_publish)(void *arg, struct msg_draft *draft);
	void (*on_kick)(void *arg, const struct plugin_kick *kick);
	/* Main: no configuration names this instance any more; who holds it lets it go. May be
	 * NULL.
	 */
	void (*on_going)(void *arg, struct avocet_self *self);
	void *arg;
	/* What rooms above offer to instances, by name; ends with a NULL id. May be NULL. */
	const struct plugin_interface *interfaces;
	void *links; /* plugin_links_of */
};

struct plugin_interface {
	const char *id;
	const void *table;
};

struct plugin_instance_options {
	int64_t threads;
	int64_t queue;
	int64_t max_requests; /* 0: no limit */
	int64_t start_timeout_ms;
	bool stops_broker; /* on_failure */
};

struct plugin_house *plugin_house_new(const struct plugin_house_options *options);
/* After loop_join, and after all sets are gone; before the desks. */
void plugin_house_free(struct plugin_house **house);
void plugin_house_set_stall_warn(struct plugin_house *house, int64_t ms);

/* Makes instances of a module and frees them, without a broker: two at a time, twice. Appends a
 * line for each finding and says how many there are. */
size_t plugin_module_try(const struct plugin_module *module, struct buf *out);

/* --- changes --- */

void plugin_house_begin(struct plugin_house *house);
/*
 * Wants an instance: the one of that name, if it is of the same module and can take the
 * configuration without a restart; else a new one. Prepares it. NULL with a sentence. The module is
 * borrowed: what it maps stays.
 */
struct avocet_self *plugin_house_want(struct plugin_house *house, const char *name,
    const struct plugin_module *module, struct plugin_config *config,
    const struct plugin_instance_options *options, char *why, size_t why_size);
void plugin_house_abort(struct plugin_house *house);
/* Switches all to what was prepared; those that nobody wanted will end. */
void plugin_house_commit(struct plugin_house *house);

/* --- start and stop --- */

/* Starts those that were only made. done(arg) is called when each serves, or has failed, or took
 * too long: perhaps at once. */
void plugin_house_start(struct plugin_house *house, void (*done)(void *arg), void *arg);
/* No new questions; then all of them end. done(arg) when they have, or the time is over. */
void plugin_house_stop(
    struct plugin_house *house, int64_t timeout_ms, void (*done)(void *arg), void *arg);

/* Forgets all grants of all clients; any thread. */
void plugin_house_flush(struct plugin_house *house);

/* --- for operators --- */

struct plugin_report {
	const char *name, *module, *version, *state;
	const char *why; /* it has failed; "" otherwise */
	uint64_t questions, open;
	const struct plugin_report_fault {
		const char *name;
		uint64_t count;
	} * faults;
	size_t fault_count;
};
/* Each instance; what is reported lives for the call. */
void plugin_house_report(struct plugin_house *house,
    void (*fn)(const struct plugin_report *report, void *arg), void *arg);

/* A metric of an instance. */
struct plugin_number {
	const char *instance, *module, *name, *help;
	const char *labels; /* `,key="value"…`, or "" */
	bool is_counter;
	int64_t value;
};
void plugin_house_metrics(struct plugin_house *house,
    void (*fn)(const struct plugin_number *number, void *arg), void *arg);

/* --- instances --- */

const char *plugin_name(const struct avocet_self *self);
bool plugin_offers(const struct avocet_self *self, const char *service);

#endif
