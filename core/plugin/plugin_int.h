/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of plugin share. */
#ifndef PLUGIN_PLUGIN_INT_H
#define PLUGIN_PLUGIN_INT_H

#include <avocet/avocet_auth.h>
#include <avocet/avocet_message.h>
#include <avocet/avocet_plugin.h>
#include <avocet/avocet_runtime.h>
#include <avocet/avocet_store.h>
#include <stdatomic.h>

#include "base/cond.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/ref.h"
#include "base/thread.h"
#include "base/vec.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "loop/worker.h"
#include "msg/msg.h"
#include "plugin/ask.h"
#include "plugin/chain.h"
#include "plugin/guest.h"
#include "plugin/host.h"
#include "plugin/load.h"
#include "plugin/observe.h"

enum { PLUGIN_MAX_METRICS = 256, PLUGIN_MAX_COMMANDS = 64 };

struct plugin_call;
struct plugin_command;
struct plugin_ear;
struct plugin_jobs;
struct plugin_kv;
struct plugin_metric;
struct plugin_pool;

/* What an instance did that it must not. */
enum plugin_fault {
	PLUGIN_FAULT_TWICE,  /* answered what was answered, or never asked */
	PLUGIN_FAULT_NEVER,  /* did not give a question back until the end */
	PLUGIN_FAULT_THREAD, /* called on a wrong thread */
	PLUGIN_FAULT_LATE,   /* did not answer in time */
	PLUGIN_FAULT_STALL,  /* blocked a worker */
	PLUGIN_FAULT_VALUE,  /* answered with something that is no answer */
	PLUGIN_FAULT_LOST,   /* did not look at events fast enough */
	PLUGIN_FAULT_COUNT
};

enum plugin_state {
	PLUGIN_MADE,     /* created, its configuration is in force */
	PLUGIN_STARTING, /* start() was PENDING */
	PLUGIN_SERVING,
	PLUGIN_FAILED,
	PLUGIN_DRAINING,
	PLUGIN_STOPPED,
};

/* A text list of a plugin, copied. References: who uses it. */
struct plugin_words {
	struct ref ref;
	size_t count;
	struct bytes *views; /* the same, with their lengths */
	const char *items[]; /* ends with NULL; the views and the texts lie behind */
};

struct plugin_words *plugin_words_new(const char *const *items);
void plugin_words_unref(struct plugin_words **words);

/*
 * The time between two commits. Who may look at what was in force then holds a reference; the last
 * one to go sends main to retire it.
 */
struct plugin_era {
	struct ref ref;
	struct avocet_self *self; /* borrowed: it does not end before its eras */
	struct plugin_config *config;
	void *old; /* what the commit that ended it took out of use */
	struct list_link link;
	struct mail mail;
};

void plugin_era_unref(struct plugin_era **era);
/* Main: the next era, with this configuration (whose reference it takes); old: what the commit took
 * out of use. */
void plugin_era_begin(struct avocet_self *self, struct plugin_config *config, void *old);
/* Main: retires it, whoever still looks. */
void plugin_era_end(struct plugin_era *era);

/* An entry of `plugins:` that lives. Main's, but for what says otherwise. */
struct avocet_self {
	struct ref ref; /* the house, sets, calls, exchanges */
	struct plugin_house *house;
	struct plugin_module module;       /* a copy, without the path: modules stay mapped */
	const avocet_lifecycle *lifecycle; /* a full-size copy */
	avocet_lifecycle lifecycle_copy;
	struct plugin_instance_options options;
	_Atomic int64_t max_requests; /* of the options; any thread */
	char *name;
	void *inst;
	_Atomic int state;          /* enum plugin_state; any thread */
	_Atomic int64_t open_count; /* calls that are out */
	_Atomic uint64_t question_count;
	_Atomic uint64_t faults[PLUGIN_FAULT_COUNT];
	_Atomic int64_t said_at_ms[PLUGIN_FAULT_COUNT]; /* when it was logged last; 0: never */
	struct plugin_pool *pool, *serial;              /* NULL: no service wants it */

	/* Full-size copies of the vtables, of what this host knows; struct_size 0: not offered. */
	avocet_authenticator authenticator;
	avocet_authorizer authorizer;
	avocet_interceptor interceptor;
	avocet_observer observer;
	avocet_store store;
	_Atomic bool is_pinned; /* it is the store's engine */
	void (*engine_wake)(void *arg);
	void *engine_arg;
	struct plugin_ear *ear; /* of an observer that may block; NULL: it is told at once */

	/* What chains that are built from now on see. */
	struct plugin_words *methods;      /* never NULL with an authenticator */
	struct plugin_words *filters;      /* NULL: all */
	struct plugin_words *next_methods; /* set during prepare, until commit or abort */
	struct plugin_words *next_filters;
	bool has_next_filters;
	_Atomic uint32_t actions; /* AVOCET_DO_*; chains ask for it each time */
	uint32_t next_actions;
	bool has_created;
	bool is_preparing;
	bool is_prepared; /* next waits for commit or abort */
	bool is_new;      /* made by this change */
	bool is_lost;     /* a thread hangs in it: it is never freed */
	struct plugin_instance_options next_options;
	int64_t start_end_ms;

	void *next; /* prepared */
	struct plugin_config *next_config;
	/* What is in force. Main replaces it under the lock of eras; calls take a reference. */
	struct plugin_era *era;
	struct lock era_lock;
	struct list eras; /* those that still stand */

	struct list_link link; /* of the house's instances, or of those that go */
	struct timer timer;    /* the start's, or the end's */
	struct mail gone;      /* the last reference but the house's went */
	_Atomic bool gone_is_posted;
	struct mail news; /* ready() or fail() said something */
	_Atomic int news_status;
	_Atomic bool has_news;
	struct lock lock; /* guards the text */
	char text[256];
	_Atomic bool wants_end; /* no configuration names it any more */

	struct plugin_metric *metrics[PLUGIN_MAX_METRICS];
	struct plugin_command *commands[PLUGIN_MAX_COMMANDS];
	uint32_t command_count;
	_Atomic uint32_t metric_count; /* published when the metric is there; any thread */

	struct plugin_jobs *jobs; /* NULL: it had none yet; published under the lock */
	bool jobs_are_over;       /* likewise */
	struct plugin_kv *kv;     /* likewise */
	bool kv_is_over;
	_Atomic int64_t spoken_count; /* calls of publish and client_kick that are under way */
	struct list threads;          /* of its own */
	struct list timers;
	uint64_t next_timer;
	struct list watches;
	uint64_t next_watch;
	uint32_t watch_count;
};

static inline bool
plugin_is_serving(const struct avocet_self *self)
{
	return atomic_load_explicit(&self->state, memory_order_acquire) == PLUGIN_SERVING;
}

/* Does an authorizer judge this AVOCET_DO_*? */
static inline bool
plugin_judges(const struct avocet_self *self, uint32_t action)
{
	return (atomic_load_explicit(&self->actions, memory_order_relaxed) & action) != 0;
}

/* Any thread: counts it, and logs it with the sentence, at most once in ten seconds per kind. */
void plugin_fault(struct avocet_self *self, enum plugin_fault fault, const char *sentence);

/* The instance that a worker is in. */
struct plugin_inside {
	struct avocet_self *_Atomic self; /* NULL: none */
	_Atomic int64_t since_ns;
	int64_t told_ns; /* main's: of the call that was told last */
	char apart[40];  /* from the next one's cache line */
};

struct plugin_house {
	struct plugin_inside inside[WORKER_MAX]; /* by worker */
	struct timer watchdog;
	struct plugin_house_options options;
	avocet_host host; /* what plugins are given */
	struct list instances;
	struct list going; /* no configuration names them; they end when nobody needs them */
	_Atomic int64_t stall_warn_ms; /* any thread */
	_Atomic uint32_t epoch;        /* of grants: those of another one do not count */
	struct list errands;           /* commands that are under way */
	uint64_t next_errand;
	struct plugin_start *start;
	struct mail flush_mail;
	_Atomic bool flush_is_posted;
	_Atomic bool flush_rechecks;
	bool is_stopping;
	_Atomic bool has_started; /* before, there is but one thread, without a turn */
};

/* --- host.c: main --- */

/* An instance of which nothing is made yet; makes it, or false with a sentence; frees one that has
 * no threads and that nobody asks any more. */
struct avocet_self *plugin_instance_new(
    struct plugin_house *house, const char *name, const struct plugin_module *module);
bool plugin_instance_create(struct avocet_self *self, const struct plugin_instance_options *options,
    char *why, size_t why_size);
void plugin_instance_free(struct avocet_self *self);

/* --- life.c: main --- */

/* It cannot work any more: says so, and asks the broker to stop where on_failure says so. */
void plugin_fail(struct avocet_self *self, const char *text);
/* Drains and stops it, if it was started; ends its threads. */
void plugin_stop(struct avocet_self *self);

/* --- change.c: what is in force, and what comes next; main --- */

/* Prepares the configuration; false with a sentence. */
bool plugin_prepare(
    struct avocet_self *self, struct plugin_config *config, char *why, size_t why_size);
/* Puts what was prepared in force, or drops it. */
void plugin_commit(struct avocet_self *self);
void plugin_abort(struct avocet_self *self);
/* Prepares what is in force once more, and commits it. AVOCET_OK, or what was wrong; then nothing
 * has changed. */
int32_t plugin_renew(struct avocet_self *self, avocet_error *err);
/* The plugin's own sentence, or that which step failed. */
void plugin_say_error(
    const avocet_error *error, const char *step, const char *name, char *why, size_t why_size);

/* --- client.c: what plugins see of a client --- */

/* A remembered answer. */
struct plugin_answer_kept {
	uint8_t verdict; /* 0: none kept; else enum plugin_verdict */
	uint8_t reason;
	uint8_t max_qos;
};

struct plugin_client {
	struct msg_client_more more; /* first */
	avocet_client_info info;
	struct plugin_grants *grants; /* NULL: none yet */
	uint8_t *copy;                /* what info points to beside the client's own texts */
	avocet_prop *props;
	avocet_pair *attrs;
	struct plugin_client_facts facts; /* its views lie in copy */
};

/* Own thread: the client's, made at need. */
struct plugin_client *plugin_client_of(struct msg_client *client);

/* --- grants.c: own thread of the client --- */

enum plugin_cover { PLUGIN_COVER_TOPIC, PLUGIN_COVER_FILTER };

struct plugin_grants;
void plugin_grants_free(struct plugin_grants **grants);
struct plugin_answer_kept plugin_grants_find(struct plugin_grants *grants, uint32_t epoch,
    uint32_t action, struct bytes topic, int64_t now_ms);
void plugin_grants_keep(struct plugin_grants **grants, size_t max, uint32_t epoch, uint32_t action,
    enum plugin_cover cover, struct bytes text, struct plugin_answer_kept kept, int64_t until_ms);

/* --- edit.c --- */

struct avocet_edit {
	struct msg_draft *draft;   /* changed in place; NULL: noted in the members below */
	avocet_msg *msg;           /* what the interceptors after it see of it; NULL: a filter */
	avocet_sub *sub;           /* likewise */
	struct bytes prefix;       /* that a filter must keep */
	struct bytes props_before; /* the block, where nothing is changed in place */
	struct buf topic, payload, props;
	bool has_topic, has_payload, has_props, has_retain, retain, has_expiry;
	uint8_t reason;
	uint32_t expiry_s;
};

extern const avocet_message_api plugin_message_api;
void plugin_edit_init(struct avocet_edit *edit, struct msg_draft *draft, avocet_msg *msg);
void plugin_edit_fini(struct avocet_edit *edit);
void plugin_edit_init_filter(struct avocet_edit *edit, struct bytes prefix, avocet_sub *sub);
/* Lays what was noted on the draft. 0 or ERR_NOMEM. */
int plugin_edit_apply(struct avocet_edit *edit, struct msg_draft *draft);
void plugin_edit_apply_filter(const struct avocet_edit *edit, struct plugin_filter *filter);
/* Is it a property that a plugin may give a message, with a value of its size? */
bool plugin_may_set_prop(const avocet_prop *prop);

/* --- call.c: one question to one instance --- */

enum plugin_service { PLUGIN_AUTHENTICATOR, PLUGIN_AUTHORIZER, PLUGIN_INTERCEPTOR };

/* What came back; a plugin's answer, copied. */
struct plugin_reply {
	int32_t verdict; /* AVOCET_* */
	uint8_t reason;
	uint32_t delay_ms;
	struct plugin_said *said; /* NULL: nothing more */
	void *exchange;
	VEC(avocet_grant) grants; /* the covers point into `covers` */
	struct buf covers;
};

void plugin_reply_init(struct plugin_reply *reply);
void plugin_reply_fini(struct plugin_reply *reply);

struct plugin_call {
	uint64_t number;
	struct plugin_desk *desk;
	struct avocet_self *self; /* a reference */
	enum plugin_service service;
	/* Guarded by the lock of the calls. */
	void (*done)(struct plugin_call *call, void *arg); /* NULL: nobody waits */
	void *arg;
	bool is_answered;
	bool is_mailed;
	bool is_overdue; /* its worker's: it was not answered in time */
	bool in_call;    /* its worker is inside the plugin's function */

	struct mail mail;
	struct plugin_reply reply;

	/* The input, as the plugin sees it, and what it points to. */
	struct msg_client *client; /* a reference */
	struct plugin_era *era;    /* a reference */
	union {
		avocet_auth_in auth;
		avocet_authz_in authz;
	} in;
	uint32_t point; /* of an interceptor */
	avocet_msg msg;
	avocet_sub sub;
	struct msg *kept; /* what msg points to; NULL: none */
	avocet_access *items;
	avocet_prop *props;
	struct avocet_edit edit;
	struct buf texts; /* wiped */
	void *state;      /* of an exchange of AUTH: in.auth.exchange; NULL: none, or taken back */

	/* The pool's, guarded by its lock. */
	struct plugin_pool *pool; /* constant; NULL: its worker asks */
	struct list_link pool_link;
	struct plugin_strand *strand; /* while it waits */
	struct plugin_seat *seat;     /* that took it */
};

struct plugin_calls;
struct plugin_calls *plugin_calls_new(void);
/* After loop_join: what never came back is a fault. */
void plugin_calls_free(struct plugin_calls **calls);

/* A call without input. Own thread of the desk. */
struct plugin_call *plugin_call_new(struct plugin_desk *desk, struct avocet_self *self,
    enum plugin_service service, struct msg_client *client);
/* Asks. True: reply is the answer; the caller ends the call. False: done follows. */
bool plugin_call_put(
    struct plugin_call *call, void (*done)(struct plugin_call *call, void *arg), void *arg);
/* Nobody waits any more; or the answer was looked at. The call goes when it has come back. */
void plugin_call_end(struct plugin_call *call);
/* Calls the plugin: on a worker, or on a thread of the pool. */
int32_t plugin_call_run(struct plugin_call *call);

/* Any thread: takes the right to answer; NULL: it may not (and *status_out says what it is told).
 * The caller fills reply, then gives it to plugin_call_reply. */
struct plugin_call *plugin_call_take(
    struct avocet_self *self, uint64_t number, enum plugin_service service, int32_t *status_out);
int32_t plugin_call_reply(struct plugin_call *call);

struct plugin_calls *plugin_desk_calls(struct plugin_desk *desk);
struct worker *plugin_desk_worker(struct plugin_desk *desk);

/* --- answer.c: the host interfaces avocet.auth/0 --- */
extern const avocet_auth_api plugin_auth_api;
void plugin_copy_grants(struct plugin_reply *reply, const avocet_grant *grants, size_t n);

/* --- pool.c --- */
enum plugin_late {
	PLUGIN_LATE_NEVER_RAN, /* it was taken out of the queue, and is the caller's */
	PLUGIN_LATE_RUNNING,   /* a thread is inside the plugin's function */
	PLUGIN_LATE_ASKED,     /* the function has returned PENDING */
};
/* 0 or ERR_IO: no threads. */
struct plugin_pool *plugin_pool_new(struct avocet_self *self, unsigned threads, size_t queue);
int plugin_pool_start(struct plugin_pool *pool);
/* False: too many wait, or all its threads hang. */
bool plugin_pool_put(struct plugin_pool *pool, struct plugin_call *call);
/* Own thread of the call's desk: nobody waits for it. */
enum plugin_late plugin_pool_late(struct plugin_pool *pool, struct plugin_call *call);
/* Ends its threads. False: one hangs in the plugin; it is left to itself, and so is all it may
 * touch: the pool, its instance, the calls. */
bool plugin_pool_free(struct plugin_pool **pool);

/* --- stall.c --- */
/* Main: from now on it is said who blocks a worker while it does. */
void plugin_watch_workers(struct plugin_house *house);

/* --- runtime.c --- */
extern const avocet_runtime_api plugin_runtime_api;
/* Main: joins its threads, says which hangs (then false); clears its timers. */
bool plugin_runtime_end(struct avocet_self *self);

/* --- jobs.c --- */
int32_t plugin_job(avocet_self *self, avocet_task_fn fn, avocet_task_fn done, void *arg);
/* Main, around stop(): no job begins any more; then its threads end. False: one hangs. */
void plugin_jobs_drop(struct avocet_self *self);
bool plugin_jobs_end(struct avocet_self *self);
void plugin_jobs_fini(struct avocet_self *self);

/* --- observe.c --- */
/* Main: around start() and stop(). */
bool plugin_observer_start(struct avocet_self *self);
bool plugin_observer_end(struct avocet_self *self);
void plugin_observer_fini(struct avocet_self *self);
/* Main: the instances are others now; and: nobody observes any more. */
void plugin_observers_renew(struct plugin_house *house);
void plugin_observers_clear(struct plugin_house *house);
/* A message as a draft of views, as it goes to somebody; and as plugins see a draft, without its
 * properties. The views are those of what is given. */
void plugin_view_msg(const struct msg *msg, uint8_t qos, bool retain, struct msg_draft *draft);
void plugin_view_draft(const struct msg_draft *draft, avocet_msg *msg);

/* --- kv.c --- */
extern const struct avocet_kv_api plugin_kv_api;
extern const struct avocet_store_api plugin_store_api;
/* Main, after stop(). False: the disk hangs. */
bool plugin_kv_end(struct avocet_self *self);
void plugin_kv_fini(struct avocet_self *self);

/* --- speak.c --- */
int32_t plugin_host_publish(avocet_self *self, const avocet_publish *given);
int32_t plugin_host_kick(avocet_self *self, avocet_client_h client, avocet_str client_id,
    uint32_t reason, avocet_str text);

/* --- watches.c --- */
int32_t plugin_fd_add(avocet_self *self, int32_t fd, uint32_t events, avocet_fd_fn fn, void *arg,
    avocet_watch_h *out);
int32_t plugin_fd_mod(avocet_self *self, avocet_watch_h number, uint32_t events);
int32_t plugin_fd_del(avocet_self *self, avocet_watch_h number);
void plugin_watches_end(struct avocet_self *self);

/* --- admin.c --- */
extern const struct avocet_admin_api plugin_admin_api;
void plugin_commands_fini(struct avocet_self *self);
/* Main: tells who waits for a command that it is over. */
void plugin_errands_end(struct plugin_house *house);

/* --- metrics.c --- */
extern const struct avocet_metrics_api plugin_metrics_api;
void plugin_metrics_fini(struct avocet_self *self);

/* --- config.c --- */
extern const avocet_conf_api plugin_conf_api;
const avocet_conf *plugin_config_abi(const struct plugin_config *config);
/* Is the schema that a module declares well-formed? False: why. */
bool plugin_config_check(const avocet_plugin *descriptor, char *why, size_t why_size);

/* --- offer.c --- */
void plugin_offer_host(avocet_host *host, unsigned workers);
extern const struct plugin_interface plugin_interfaces[];

#endif
