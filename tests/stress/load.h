/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the load program share: the whole of it, and its roles. One thread. */
#ifndef TESTS_STRESS_LOAD_H
#define TESTS_STRESS_LOAD_H

#include "stress/client.h"

enum {
	PUBLISHERS = 8,
	SUBSCRIBERS = 8,
	WINDOW = 10,
	AHEAD = 200, /* a publisher waits for the slowest subscriber */
	TOPICS = 50,
	CLEANERS = 50,
	PATIENCE_MS = 30000, /* for answers: sanitizers are slow */
	MAX_CONNECTS = 400000,
	MAX_FAULTS = 20,
	MAX_ACTIONS = 12,
	BASE_MS = 2500,
};

enum phase { BEGIN, RUN, DRAIN, CLEAN, SETTLE, DONE };

struct publisher {
	struct client client;
	int index;
	int qos;
	bool is_up;
	uint64_t next; /* to be sent */
	uint64_t done; /* acknowledged to the end */
	unsigned flight;
	uint16_t first_id; /* whose acknowledgement is due */
	int64_t heard_ms;
};

struct subscriber {
	struct client client;
	int index;
	int qos;
	bool bounces;
	bool is_up;
	bool was_up;
	uint64_t next[PUBLISHERS];
	uint8_t held[65536]; /* packet ids of QoS 2 between PUBLISH and PUBREL */
	int64_t asked_ms;    /* CONNECT or SUBSCRIBE; 0: nothing is due */
};

enum crowd_state { AWAY, CONNECTING, BUSY, ENDING, VANISHING };

/* How a member of the crowd ends its connection. */
enum ending { SAY_GOODBYE, SAY_WILL, CUT, RESET, HALF, GARBAGE, VANISH, ENDINGS };

struct member {
	struct client client;
	enum crowd_state state;
	enum ending ending;
	bool is_rude; /* it has said something that ends connections */
	int actions;
	int owed; /* answers */
	int64_t since_ms;
	char id[24];
};

enum {
	NUMBERS = 8,
	BYTES_AT = NUMBERS - 1,
	BYTES_MORE = 1000, /* the values of $SYS are messages too, and their digits become more */
};

struct monitor {
	struct client client;
	uint64_t value[NUMBERS];
	uint64_t base[NUMBERS];
	uint32_t seen; /* bit per number, since the beginning of the phase */
	bool is_up;
};

struct load {
	struct net net;
	uint64_t random;
	enum phase phase;
	int64_t begin_ms;
	int64_t end_ms; /* of the phase RUN */
	int64_t phase_ms;
	int seconds;
	int member_count;
	int pool; /* client ids of the crowd */
	int cleaned;
	int faults;
	struct publisher publishers[PUBLISHERS];
	struct subscriber subscribers[SUBSCRIBERS];
	struct monitor monitor;
	struct client cleaners[CLEANERS];
	struct member *members;
	uint64_t delivered, taken_over, refused;
};

/* --- stress.c --- */

extern const struct will no_will;

/* Says what is wrong; too much of it ends the program. */
void fault(struct load *load, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t draw(struct load *load, uint64_t bound);
bool chance(struct load *load, unsigned percent);
int some(struct load *load, int bound); /* 0 … bound - 1 */
bool is_topic(const struct packet *packet, const char *prefix);
bool dial(struct load *load, struct client *client, int version);

/* --- steady.c --- */

extern const struct role publisher_role;
extern const struct role subscriber_role;
/* How much of a publisher all subscribers have. */
uint64_t slowest(const struct load *load, int publisher);

/* --- crowd.c --- */

extern const struct role member_role;
void go_away(struct load *load, struct member *own);

#endif
