/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGHUP: everything is read, checked and prepared (sockets are bound, the log is opened) before
 * anything changes; then all of it is committed, or all is thrown away and the log says why.
 * Workers learn of the new snapshot by mail; their connections take it at their next packet.
 */
#include "broker/broker_int.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

enum { MAX_WHY = 512 };

/* --- checking --- */

/* Keys that hold for the life of the process; what changed among them, NULL: nothing. */
static const char *
find_frozen(const struct broker_options *old, const struct broker_options *new)
{
	const char *old_store = old->store != NULL ? old->store : "";
	const char *new_store = new->store != NULL ? new->store : "";
	const struct {
		const char *key;
		bool changed;
	} keys[] = {
	    {"broker.workers", old->broker.workers != new->broker.workers},
	    {"broker.data_dir", strcmp(old->broker.data_dir, new->broker.data_dir) != 0},
	    {"broker.plugin_dir", strcmp(old->broker.plugin_dir, new->broker.plugin_dir) != 0},
	    {"broker.control", strcmp(old->broker.control, new->broker.control) != 0},
	    {"broker.user", strcmp(old->broker.user, new->broker.user) != 0},
	    {"store", strcmp(old_store, new_store) != 0},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (keys[i].changed) {
			return keys[i].key;
		}
	}
	return NULL;
}

static void
refuse(struct broker *broker, const char *why)
{
	char status[MAX_WHY + 64];

	log_warning("reload refused, everything stays as it was: %s", why);
	(void)snprintf(broker->reload.why, sizeof(broker->reload.why), "%s", why);
	(void)snprintf(status, sizeof(status), "Ready; the last reload was refused: %s", why);
	broker_service_ready(&broker->service, status);
}

/* A line of the log for each error. */
static void
refuse_errors(struct broker *broker, struct conf *conf)
{
	struct buf text;
	struct bytes rest;

	refuse(broker, "the configuration has errors");
	buf_init(&text, SIZE_MAX);
	conf_format_errors(conf, &text);
	for (rest = buf_bytes(&text); rest.len != 0;) {
		const uint8_t *end = memchr(rest.data, '\n', rest.len);
		size_t len = end != NULL ? (size_t)(end - rest.data) : rest.len;

		log_warning("%.*s", (int)len, (const char *)rest.data);
		rest = bytes_skip(rest, end != NULL ? len + 1 : len);
	}
	buf_fini(&text);
}

/* --- preparing --- */

struct preparation {
	struct conf *conf;
	struct broker_options *options;
	struct broker_door_plan doors;
	struct broker_log_sink sink;
	bool has_sink; /* the log goes elsewhere */
};

static bool
prepare(struct broker *broker, struct preparation *new)
{
	char why[MAX_WHY] = "";

	new->has_sink = strcmp(new->options->log.to, broker->options->log.to) != 0;
	if (new->has_sink &&
	    broker_log_sink_open(&new->sink, new->options->log.to, why, sizeof(why)) != 0) {
		refuse(broker, why);
		return false;
	}
	if (broker_doors_prepare(broker, new->conf, new->options, &new->doors, why, sizeof(why)) !=
	    0) {
		refuse(broker, why);
		if (new->has_sink) {
			broker_log_sink_close(&new->sink);
		}
		return false;
	}
	if (broker_plugins_prepare(broker, new->conf, new->options, why, sizeof(why)) != 0) {
		refuse(broker, why);
		broker_doors_abort(&new->doors);
		if (new->has_sink) {
			broker_log_sink_close(&new->sink);
		}
		return false;
	}
	return true;
}

/* --- committing --- */

static void
on_reloaded(struct broker *broker, bool any)
{
	(void)any;
	if (broker->stopping.phase != BROKER_RUNNING) {
		return;
	}
	broker_recheck(broker);
	if (broker->reload.is_again) {
		broker->reload.is_again = false;
		broker_reload_run(broker);
	} else {
		broker_service_ready(&broker->service, "Ready");
	}
}

static void
on_rechecked(struct broker *broker, bool any)
{
	(void)any;
	if (broker->reload.rechecks_again && broker->stopping.phase == BROKER_RUNNING) {
		broker->reload.rechecks_again = false;
		broker_recheck(broker);
	}
}

void
broker_recheck(struct broker *broker)
{
	if (broker->options->plugins.count == 0 && broker->setup.plugins == NULL) {
		return;
	}
	if (broker->reload.recheck.open != 0) {
		broker->reload.rechecks_again = true;
		return;
	}
	broker_errands_send(broker, &broker->reload.recheck, BROKER_ERRAND_RECHECK, on_rechecked);
}

/* New instances serve, or have failed: now everybody learns of the snapshot. */
static void
on_started(void *arg)
{
	struct broker *broker = arg;

	broker->reload.is_starting = false;
	if (broker->stopping.phase == BROKER_RUNNING) {
		broker_errands_send(
		    broker, &broker->reload.errands, BROKER_ERRAND_RELOAD, on_reloaded);
	}
}

static void
commit(struct broker *broker, struct preparation *new)
{
	struct broker_options *options = new->options;

	broker_doors_commit(broker, options, &new->doors);
	broker_plugins_commit(broker, options);
	conf_unref(&broker->conf);
	broker->conf = new->conf;
	broker->options = options;
	broker_logger_change(&broker->logger, new->has_sink ? &new->sink : NULL, &options->log);
	broker_house_set_limits(broker->house, &options->limits,
	    broker_options_max_memory(options, broker->memory),
	    broker_options_max_transit(options, broker->memory));
	if (broker->house->store != NULL) {
		store_set_interval(broker->house->store, options->durability.interval_ms);
	}
	broker_sys_set_interval(&broker->sys, options->broker.sys_interval_ms);
	if (broker_doors_start(broker) != 0) {
		log_error("a new listener does not accept connections: no memory");
	}
	log_info("the configuration was loaded again");
	if (plugin_is_observed(&broker->observers, AVOCET_EV_RELOADED)) {
		plugin_observe(&broker->observers,
		    &(struct plugin_event){.what = AVOCET_EV_RELOADED, .by = AVOCET_BY_BROKER});
	}
	broker->reload.is_starting = true;
	plugin_house_start(broker->plugins.house, on_started, broker);
}

static void
load(struct broker *broker, struct preparation *new)
{
	const char *frozen;
	char why[MAX_WHY];

	new->options = broker_options_bind(
	    new->conf, (struct broker_override){broker->setup.port, broker->setup.verbose});
	if (new->options == NULL) {
		refuse_errors(broker, new->conf);
		conf_unref(&new->conf);
		return;
	}
	frozen = find_frozen(broker->options, new->options);
	if (frozen != NULL) {
		(void)snprintf(
		    why, sizeof(why), "%s cannot change while the broker runs; restart it", frozen);
		refuse(broker, why);
		conf_unref(&new->conf);
	} else if (prepare(broker, new)) {
		commit(broker, new);
	} else {
		conf_unref(&new->conf);
	}
}

void
broker_reload_run(struct broker *broker)
{
	struct preparation new = {.sink = {.fd = -1}};

	if (broker->stopping.phase != BROKER_RUNNING) {
		return;
	}
	if (!broker->is_ready || broker->reload.is_starting || broker->reload.errands.open != 0) {
		broker->reload.is_again = true;
		return;
	}
	broker_service_reloading(&broker->service);
	if (broker->setup.conf_path == NULL) {
		refuse(broker, "there is no configuration file");
		return;
	}
	new.conf = conf_load(broker->setup.conf_path, NULL);
	load(broker, &new);
}
