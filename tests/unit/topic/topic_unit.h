/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the room share: a worker of the simulator, numbers from a seed, random filters
 * and topics of few short levels, so that they meet often, and messages.
 */
#ifndef UNIT_TOPIC_TOPIC_UNIT_H
#define UNIT_TOPIC_TOPIC_UNIT_H

#include "lib/unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "loop/sim.h"
#include "msg/draft.h"
#include "topic/retain.h"
#include "topic/tree.h"
#include "wire/topic_name.h"

struct room {
	struct loop *loop;
	struct worker *worker;
};

static inline struct room
room_open(void)
{
	const struct loop_options options = {.seed = 1, .log_level = LOG_LEVEL_ERROR};
	struct room room = {.loop = loop_new(&options)};

	room.worker = loop_add_worker(room.loop, "main");
	assert_int_equal(loop_start(room.loop), 0);
	sim_enter(room.worker);
	return room;
}

/* The worker's turn ends: what was retired may be freed. */
static inline void
room_turn(struct room *room)
{
	worker_again(room->worker);
	sim_leave();
	(void)sim_settle(room->loop, 100);
	sim_enter(room->worker);
}

static inline void
room_close(struct room *room)
{
	room_turn(room);
	sim_leave();
	loop_free(&room->loop);
}

/* xorshift64*, of Vigna. */
static inline uint32_t
draw(uint64_t *state, uint32_t below)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (uint32_t)(*state * 0x2545f4914f6cdd1d >> 32) % below;
}

enum { TEXT_SIZE = 64 };

static inline struct bytes
draw_text(uint64_t *state, char text[TEXT_SIZE], bool wild)
{
	static const char *const levels[] = {"a", "b", "", "ab", "$x", "c!", "+", "+"};
	uint32_t count = 1 + draw(state, 4);

	do {
		text[0] = '\0';
		for (uint32_t i = 0; i < count; i++) {
			if (i != 0) {
				strcat(text, "/");
			}
			strcat(text, wild && i + 1 == count && draw(state, 4) == 0
					 ? "#"
					 : levels[draw(state, wild ? 8 : 6)]);
		}
	} while (text[0] == '\0');
	return bytes_of(text);
}

static inline struct msg *
make_msg(struct bytes topic, const char *payload)
{
	struct msg_draft draft = {
	    .topic = topic, .payload = bytes_of(payload), .flags = MSG_RETAIN};
	struct msg *msg = msg_seal(&draft);

	assert_non_null(msg);
	return msg;
}

static inline struct msg *
make_expiring(struct bytes topic, const char *payload, int64_t born_ms, uint32_t seconds)
{
	struct msg_draft draft = {.topic = topic,
	    .payload = bytes_of(payload),
	    .flags = MSG_RETAIN | MSG_EXPIRES,
	    .born_mono_ms = born_ms,
	    .expiry_s = seconds};
	struct msg *msg = msg_seal(&draft);

	assert_non_null(msg);
	return msg;
}

#endif
