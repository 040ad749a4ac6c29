/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin as the store's engine: what the store writes becomes operations of avocet_store.h, and
 * what the plugin gives back at start becomes what the store loads. What it gives back is checked:
 * a file is no friend.
 */
#ifndef BROKER_ENGINE_H
#define BROKER_ENGINE_H

#include "store/engine.h"

struct avocet_self;
struct store;
struct worker;

/* Bound to nothing yet: it takes no calls but free. main: whose context it is closed in. */
struct store_engine *broker_engine_new(struct worker *main);

/* Main, in main's context, before threads: pins the instance and opens it. 0, or an error with a
 * sentence. The store is the one that owns the engine. */
int broker_engine_bind(struct store_engine *engine, struct store *store, struct avocet_self *self,
    char *why, size_t why_size);

#endif
