/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remotes of MQTT 3 that do not know bridges send back what they were sent. That is known by its
 * topic and payload, as often as it was sent, for a few seconds. Own thread.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "link/link_int.h"

enum { ECHO_SIZE = 1 << 15, ECHO_MS = 10000 };

struct echo {
	uint64_t hash;
	int64_t at_ms;
	uint32_t count;
};

struct link_echo {
	struct hash_key key;
	struct echo items[ECHO_SIZE];
};

struct link_echo *
link_echo_new(void)
{
	return mem_zalloc(sizeof(struct link_echo));
}

void
link_echo_free(struct link_echo **echo)
{
	mem_free(echo);
}

static struct echo *
find_echo(struct link_echo *echo, struct bytes topic, struct bytes payload, uint64_t *hash_out)
{
	uint64_t hash = hash_bytes(&echo->key, topic) * UINT64_C(0x9e3779b97f4a7c15) ^
			hash_bytes(&echo->key, payload);

	*hash_out = hash;
	return &echo->items[hash & (ECHO_SIZE - 1)];
}

void
link_echo_sent(struct link_echo *echo, struct bytes topic, struct bytes payload, int64_t now_ms)
{
	uint64_t hash;
	struct echo *item = find_echo(echo, topic, payload, &hash);

	if (item->hash != hash || now_ms - item->at_ms > ECHO_MS) {
		*item = (struct echo){.hash = hash};
	}
	item->at_ms = now_ms;
	item->count++;
}

bool
link_echo_is(struct link_echo *echo, struct bytes topic, struct bytes payload, int64_t now_ms)
{
	uint64_t hash;
	struct echo *item = find_echo(echo, topic, payload, &hash);

	if (item->hash != hash || item->count == 0 || now_ms - item->at_ms > ECHO_MS) {
		return false;
	}
	item->count--;
	return true;
}
