/* SPDX-License-Identifier: Apache-2.0 */
/* Plugins of the broker; main's thread but for what says otherwise. */
#ifndef BROKER_PLUGINS_H
#define BROKER_PLUGINS_H

#include "base/list.h"
#include "base/lock.h"
#include "broker/options.h"
#include "plugin/host.h"

struct broker;
struct broker_sets;

struct broker_plugins {
	struct plugin_house *house;
	char *data_dir;
	struct lock lock;     /* guards all_sets, present and options */
	struct list all_sets; /* of all snapshots that stand */
	struct broker_sets *present;
	struct broker_sets *next;             /* prepared */
	const struct broker_options *options; /* those of present */
};

/* At binding: opens the modules, checks what `plugins` and `chains` say. What is wrong is among the
 * errors of conf. */
void broker_plugins_bind(struct conf *conf, struct broker_options *options);

void broker_plugins_init(struct broker *broker);
/* When there is a house. */
void broker_plugins_open(struct broker *broker);
/* After loop_join and after the house is gone. */
void broker_plugins_fini(struct broker *broker);

/* Wants and prepares all instances, and gives each listener of the snapshot its set. 0, or
 * ERR_INVALID with a sentence; then nothing has changed. */
int broker_plugins_prepare(struct broker *broker, struct conf *conf, struct broker_options *options,
    char *why, size_t why_size);
/* Of bound options that name a store: its instance, NULL until it was prepared. */
struct avocet_self *broker_plugins_store(const struct broker_options *options);
void broker_plugins_commit(struct broker *broker, struct broker_options *options);

/* Any thread: whom the will of a client of this listener is asked about, with a reference. */
const struct plugin_set *broker_plugins_set_of(void *arg, struct bytes listener);

#endif
