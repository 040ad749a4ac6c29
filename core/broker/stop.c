/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shutdown (flow 10) as a state machine on main. Each phase ends by an answer (a round of errands,
 * the store) or is looked at again by a short timer, and each has its end by the clock:
 *
 * nothing is accepted; nothing is read -> open questions and owed acknowledgements have half of
 * shutdown_timeout -> mail is digested -> what was handed to the store is durable -> DISCONNECT
 * 0x8B to all -> their output is flushed until the deadline -> plugins drain and stop -> the loop
 * ends. Wills are kept and not fired.
 *
 * What belongs to connections is gone when the loop ends; the store is closed by broker_free.
 */
#include "broker/broker_int.h"

enum {
	LOOK_EVERY_MS = 10,
	GOODBYE_MS = 500, /* at least so long for saying goodbye, whatever came before */
};

static void go_on(struct broker *broker);

static void
look_later(struct broker *broker)
{
	timer_set(
	    broker_main(broker), &broker->stopping.timer, context_current->mono_ms + LOOK_EVERY_MS);
}

static void
on_timer(struct worker *worker, struct timer *timer)
{
	(void)worker;
	go_on(list_item(timer, struct broker, stopping.timer));
}

static void
finish(struct broker *broker)
{
	broker->stopping.phase = BROKER_DONE;
	timer_clear(broker_main(broker), &broker->stopping.timer);
	log_info("avocet has stopped");
	loop_stop(broker->loop);
}

/* --- the answers --- */

static void
on_reading_stopped(struct broker *broker, bool any)
{
	(void)any;
	if (broker->stopping.phase == BROKER_STOP_READING) {
		broker->stopping.phase = BROKER_BUSY;
		go_on(broker);
	}
}

static void
on_busy(struct broker *broker, bool any)
{
	if (broker->stopping.phase != BROKER_BUSY) {
		return;
	}
	if (any && context_current->mono_ms < broker->stopping.half_at_ms) {
		look_later(broker);
		return;
	}
	broker->stopping.phase = BROKER_DIGESTING;
	go_on(broker);
}

static void
say_goodbye(struct broker *broker)
{
	struct broker_stopping *stopping = &broker->stopping;
	int64_t least = context_current->mono_ms + GOODBYE_MS;

	if (stopping->end_at_ms < least) {
		stopping->end_at_ms = least;
	}
	stopping->phase = BROKER_CLOSING;
	go_on(broker);
}

static void
on_drained(struct worker *main, bool durable, void *arg)
{
	struct broker *broker = arg;

	(void)main;
	if (!durable) {
		log_warning("stopping: the store has not written everything in time");
	}
	if (broker->stopping.phase == BROKER_DRAINING) {
		say_goodbye(broker);
	}
}

static void
on_closing(struct broker *broker, bool any)
{
	(void)any;
	if (broker->stopping.phase == BROKER_CLOSING) {
		broker->stopping.phase = BROKER_FLUSHING;
		go_on(broker);
	}
}

static void
on_plugins_stopped(void *arg)
{
	struct broker *broker = arg;

	if (broker->stopping.phase == BROKER_PLUGINS) {
		finish(broker);
	}
}

static void
stop_plugins(struct broker *broker)
{
	int64_t left_ms = broker->stopping.end_at_ms - context_current->mono_ms;

	broker->stopping.phase = BROKER_PLUGINS;
	plugin_house_stop(broker->plugins.house, left_ms > GOODBYE_MS ? left_ms : GOODBYE_MS,
	    on_plugins_stopped, broker);
}

static void
on_flushed(struct broker *broker, bool any)
{
	if (broker->stopping.phase != BROKER_FLUSHING) {
		return;
	}
	if (any && context_current->mono_ms < broker->stopping.end_at_ms) {
		look_later(broker);
		return;
	}
	stop_plugins(broker);
}

/* --- the phases --- */

static void
digest(struct broker *broker)
{
	if (mail_undigested(broker->loop) != 0 &&
	    context_current->mono_ms < broker->stopping.end_at_ms) {
		look_later(broker);
		return;
	}
	if (broker->house->store == NULL) {
		say_goodbye(broker);
		return;
	}
	broker->stopping.phase = BROKER_DRAINING;
	store_drain(broker->house->store, broker_main(broker), broker->stopping.end_at_ms,
	    on_drained, broker);
}

/* Does what the phase begins with; or looks again. */
static void
go_on(struct broker *broker)
{
	struct broker_errands *errands = &broker->stopping.errands;

	switch (broker->stopping.phase) {
	case BROKER_STOP_READING:
		broker_errands_send(
		    broker, errands, BROKER_ERRAND_STOP_READING, on_reading_stopped);
		break;
	case BROKER_BUSY:
		broker_errands_send(broker, errands, BROKER_ERRAND_IS_BUSY, on_busy);
		break;
	case BROKER_DIGESTING:
		digest(broker);
		break;
	case BROKER_CLOSING:
		broker_errands_send(broker, errands, BROKER_ERRAND_CLOSE_ALL, on_closing);
		break;
	case BROKER_FLUSHING:
		broker_errands_send(broker, errands, BROKER_ERRAND_HAS_CONNS, on_flushed);
		break;
	case BROKER_RUNNING:
	case BROKER_DRAINING:
	case BROKER_PLUGINS:
	case BROKER_DONE:
		break;
	}
}

void
broker_stop(struct broker *broker)
{
	struct broker_stopping *stopping = &broker->stopping;
	int64_t timeout = broker->options->broker.shutdown_timeout_ms;

	if (stopping->phase != BROKER_RUNNING) {
		log_info("stopping at once");
		finish(broker);
		return;
	}
	log_info("stopping");
	broker_service_stopping(&broker->service, timeout);
	stopping->timer.fn = on_timer;
	stopping->half_at_ms = context_current->mono_ms + timeout / 2;
	stopping->end_at_ms = context_current->mono_ms + timeout;
	broker_doors_close(broker);
	broker_control_stop(broker->control);
	broker_sys_set_interval(&broker->sys, 0);
	broker_sweep_stop(&broker->sweep);
	broker_trim_stop(&broker->trim);
	stopping->phase = BROKER_STOP_READING;
	go_on(broker);
}
