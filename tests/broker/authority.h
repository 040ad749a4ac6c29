/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests' authority: answers the questions of plugin/ask.h by rules that a test can foresee, and
 * in a manner that a test chooses: at once, later, out of order, on a foreign thread, or never.
 *
 *     user "good", password "good"      accepted; no password is asked for where a certificate or
 *                                       a PSK proves the user
 *     PSKs "good" "renamed" "stranger"  have the key 00 01 … 0f
 *     user "renamed", password "good"   accepted, as user "principal" with client id "assigned"
 *     any other                         refused 0x86
 *     method TEST: "hello" -> "challenge", "answer" -> accepted with "welcome"; all else refused
 * 0x87 topics and filters deny/…         refused 0x87 filters low/…                     granted QoS
 * 0 at most topics drop/…                     acknowledged and forgotten topics rewrite/x become
 * rewritten/x, and the payload gets a "!" behind it topics kick/…                     the
 * connection is closed 0x98 topics unanswered/…               are never answered, whatever the
 * manner
 *
 * Made and freed by main; one thread of its own, unless it answers at once.
 */
#ifndef TESTS_BROKER_AUTHORITY_H
#define TESTS_BROKER_AUTHORITY_H

#include <stdbool.h>
#include <stdint.h>

#include "plugin/ask.h"

struct loop;
struct authority;

enum { AUTHORITY_KEY_SIZE = 16 };

enum authority_manner {
	AUTHORITY_AT_ONCE,
	AUTHORITY_LATER,        /* each after the delay, in the order of the questions */
	AUTHORITY_OUT_OF_ORDER, /* each after its own delay, drawn up to the one given */
	AUTHORITY_THREAD,       /* as soon as the thread comes to it */
	AUTHORITY_NEVER,
};

struct authority_options {
	enum authority_manner manner;
	int64_t delay_ms;
	int64_t timeout_ms; /* 0: what the desk takes */
	uint64_t seed;
};

/* False: there is no such manner. */
bool authority_manner_of(const char *name, enum authority_manner *manner_out);

struct authority *authority_new(const struct authority_options *options);

/* Lives as long as the authority. */
const struct plugin_set *authority_plugins(const struct authority *authority);

/* Before the loop starts: its thread begins to answer. False: there is no thread to be had. */
bool authority_start(
    struct authority *authority, struct loop *loop, struct plugin_desk *const *desks);

/* After the loop was joined, before the desks go: nothing is answered any more. NULL is allowed. */
void authority_stop(struct authority *authority);

/* After the desks have gone. */
void authority_free(struct authority **authority);

#endif
