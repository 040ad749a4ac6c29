/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's parts for each other: one struct, owned by main, whose thread alone touches it but
 * for what says otherwise.
 */
#ifndef BROKER_BROKER_INT_H
#define BROKER_BROKER_INT_H

#include <stdatomic.h>

#include "base/list.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/vec.h"
#include "broker/broker.h"
#include "broker/entry.h"
#include "broker/house.h"
#include "broker/logger.h"
#include "broker/options.h"
#include "broker/control.h"
#include "broker/plugins.h"
#include "plugin/observe.h"
#include "broker/service.h"
#include "broker/sys.h"
#include "transport/listener.h"

/* --- listeners.c --- */

/* Why a connection is closed at once. */
enum broker_refusal {
	BROKER_REFUSE_TOTAL,
	BROKER_REFUSE_LISTENER,
	BROKER_REFUSE_RATE,
	BROKER_REFUSE_ADDRESS,
	BROKER_REFUSE_PROXY,
	BROKER_REFUSE_COUNT
};

/* A bound listener. Lives until the broker's end: connections name it. */
struct broker_door {
	struct broker *broker;
	struct listener *listener;       /* NULL: closed by a reload */
	struct broker_listener *options; /* of the present configuration; NULL when closed */
	struct broker_entry *entry;      /* likewise; a reference */
	char *bind;                      /* what it was bound to; owned */
	int64_t count;                   /* connections; guarded by the lock of the doors */
	bool is_started;
};

struct broker_doors {
	VEC(struct broker_door *) open;
	VEC(struct broker_door *) closed;
	struct lock
	    lock; /* guards the arrivals, all counts and the addresses: workers take them back */
	struct list arrivals; /* accepted, and not yet with their worker */
	struct map addresses; /* connections per address */
	int64_t count;        /* connections, all listeners */
	int64_t tokens_ms;    /* of max_connect_rate: so many ms' worth are there, times the rate */
	int64_t tokens_at_ms;
	struct list waiting; /* for a place to become free; waiting.c */
	struct timer waiting_timer;
	unsigned waiting_count;
	unsigned next; /* where the search for a worker begins */
	_Atomic uint32_t
	    *arriving; /* by hand: handed over and not arrived; main adds, workers take */
	struct {
		int64_t said_at_ms; /* INT64_MIN: never */
		uint64_t silent;    /* since then */
	} refusals[BROKER_REFUSE_COUNT];
};

/* What a configuration wants to be open: doors that are there, and new ones. */
struct broker_door_plan {
	VEC(struct broker_door *) doors;    /* as in options.listeners */
	VEC(struct broker_entry *) entries; /* likewise; references */
};

void broker_doors_init(struct broker *broker);
/* Binds what is new, reads certificates, and decides what the options of conf leave open. 0, or
 * ERR_IO with a sentence; then nothing has changed. */
int broker_doors_prepare(struct broker *broker, struct conf *conf, struct broker_options *options,
    struct broker_door_plan *plan, char *why, size_t why_size);
/* Undoes it. */
void broker_doors_abort(struct broker_door_plan *plan);
/* Closes what is not wanted any more, opens what is. */
void broker_doors_commit(
    struct broker *broker, struct broker_options *options, struct broker_door_plan *plan);
/* Main, in a turn: accepts at those that do not yet. 0 or ERR_IO. */
int broker_doors_start(struct broker *broker);
/* Nothing is accepted any more. */
void broker_doors_close(struct broker *broker);
/* After loop_join; after the house is gone. */
void broker_doors_fini(struct broker *broker);

/* Hands an accepted descriptor on, or closes it and says why. False: there is no place now, and
 * nothing was done; never when `last`. */
bool broker_door_admit(struct broker_door *door, int fd, const struct addr *peer, bool last);

/* --- waiting.c --- */

void broker_waiting_init(struct broker *broker);
/* Takes fd. False: too many wait already. */
bool broker_waiting_add(struct broker_door *door, int fd, const struct addr *peer);
/* Closes all. */
void broker_waiting_close(struct broker *broker);

/* --- errand.c: main asks all client workers something --- */

enum broker_errand_kind {
	BROKER_ERRAND_RELOAD,
	BROKER_ERRAND_RECHECK,
	BROKER_ERRAND_STOP_READING,
	BROKER_ERRAND_IS_BUSY,
	BROKER_ERRAND_CLOSE_ALL,
	BROKER_ERRAND_HAS_CONNS,
	BROKER_ERRAND_ORPHANS, /* sessions of links that are no more are told */
};

struct broker_control;
struct broker_errand;
typedef void broker_errands_fn(struct broker *broker, bool any);

/* One round at a time. */
struct broker_errands {
	struct broker_errand *items; /* one per hand */
	unsigned open;               /* answers that are missing */
	bool any;                    /* one of them was yes */
	broker_errands_fn *done;
};

void broker_errands_init(struct broker *broker, struct broker_errands *errands);
/* After loop_join. */
void broker_errands_fini(struct broker *broker, struct broker_errands *errands);
/* done is called on main when all have answered. */
void broker_errands_send(struct broker *broker, struct broker_errands *errands,
    enum broker_errand_kind kind, broker_errands_fn *done);

/* --- stop.c --- */

enum broker_phase {
	BROKER_RUNNING,
	BROKER_STOP_READING, /* a round is under way */
	BROKER_BUSY,         /* open questions, acknowledgements */
	BROKER_DIGESTING,    /* mail */
	BROKER_DRAINING,     /* the store */
	BROKER_CLOSING,      /* DISCONNECT to all; a round is under way */
	BROKER_FLUSHING,     /* until nobody is left */
	BROKER_PLUGINS,      /* until they have stopped */
	BROKER_DONE,
};

struct broker_stopping {
	enum broker_phase phase;
	int64_t half_at_ms; /* open requests have until then */
	int64_t end_at_ms;  /* everything */
	struct timer timer; /* looks again */
	struct broker_errands errands;
};

/* SIGTERM: begins it; once more: skips to the end. */
void broker_stop(struct broker *broker);

/* --- reload.c --- */

struct broker_reload {
	struct broker_errands errands;
	bool is_starting; /* new plugins start */
	bool is_again;    /* asked for while the last one was under way */
	char why[512];    /* of the last refusal; who asks clears it */
	struct broker_errands recheck;
	bool rechecks_again; /* likewise */
};

void broker_reload_run(struct broker *broker);
/* What subscriptions were granted is asked again, of all who are connected. */
void broker_recheck(struct broker *broker);

/* --- speak.c: what plugins do unasked; main --- */
struct msg_draft;
struct plugin_kick;
void broker_speak_publish(struct broker *broker, struct msg_draft *draft);
void broker_speak_kick(struct broker *broker, const struct plugin_kick *kick);

/* --- signals.c --- */

/* Before there are threads: what comes waits for broker_signals_start. */
void broker_signals_hold(void);
/* Before loop_start. */
int broker_signals_start(struct broker *broker);

/* --- process.c --- */

/* Soft limit of open files to the hard one; SIGPIPE ignored. */
void broker_process_prepare(void);
/* Switches to the user, if root and one is named; the log file and the files of unix sockets go
 * with it. 0 or ERR_INVALID, ERR_IO with a sentence. */
int broker_process_drop(const char *user, int log_fd, const struct broker_doors *doors,
    const struct broker_control *control, char *why, size_t why_size);

/* --- trim.c --- */

/* Gives memory of queues that have run empty back to the system. */
struct broker_trim {
	struct broker_house *house;
	struct mail mail;
	struct timer timer;
	_Atomic int64_t peak;  /* of what the queues held since the last time */
	_Atomic bool is_asked; /* main looks, or is about to */
	int64_t seen;          /* main's: at its last look */
	int looks;
	bool is_last;
};

void broker_trim_init(struct broker_trim *trim, struct broker_house *house);
void broker_trim_stop(struct broker_trim *trim);

/* --- sweep.c --- */

/* Removes retained messages that have expired. The timer runs only while there are retained
 * messages. */
struct broker_sweep {
	struct broker_house *house;
	struct timer timer;
	struct mail mail;
	_Atomic bool is_running;
};

/* Before loop_start. */
void broker_sweep_init(struct broker_sweep *sweep, struct broker_house *house);
void broker_sweep_stop(struct broker_sweep *sweep);

/* --- the whole --- */

struct broker {
	struct plugin_observers observers; /* who is told what happens */
	struct broker_setup setup;
	struct conf *conf; /* what is in force; a reference */
	struct broker_options *options;
	int64_t memory; /* bytes the machine has */
	struct loop *loop;
	struct broker_house *house;
	struct store_engine *engine; /* of the plugin; the house owns it */
	struct broker_logger logger;
	struct broker_sys sys;
	struct broker_sweep sweep;
	struct broker_trim trim;
	struct broker_errands orphans; /* once, at the start */
	struct broker_service service;
	struct broker_doors doors;
	struct broker_plugins plugins;
	struct broker_reload reload;
	struct broker_control *control; /* NULL: there is none */
	struct broker_stopping stopping;
	bool is_ready; /* clients may come */
	int status;
};

static inline struct worker *
broker_main(const struct broker *broker)
{
	return broker->house->main.worker;
}

#endif
