/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inbound is an array by alias, outbound a small hash table of topics by name, both made when first
 * used. Topics are hashed without a key: a client that chooses topics to collide slows its own
 * receivers by at most the number of aliases, which an option limits.
 */
#include "peer/alias.h"

#include "base/mem.h"
#include "peer/peer.h"
#include "wire/props.h"
#include "wire/reason.h"

struct alias {
	uint8_t *topic;
	uint32_t len;
	uint32_t hash;
};

struct peer_aliases {
	struct alias *in;     /* max_in + 1 entries, by alias */
	struct alias *out;    /* open addressing */
	uint16_t *out_number; /* the alias of each slot; 0: free */
	uint32_t out_mask;
	uint16_t max_in, max_out;
	uint16_t out_count;
};

struct peer_aliases *
peer_aliases_new(uint16_t max_in, uint16_t max_out)
{
	struct peer_aliases *aliases = mem_zalloc(sizeof(*aliases));

	aliases->max_in = max_in;
	aliases->max_out = max_out;
	return aliases;
}

void
peer_aliases_free(struct peer_aliases **at)
{
	struct peer_aliases *aliases = *at;

	if (aliases == NULL) {
		return;
	}
	for (uint32_t i = 0; aliases->in != NULL && i <= aliases->max_in; i++) {
		mem_free(&aliases->in[i].topic);
	}
	for (uint32_t i = 0; aliases->out != NULL && i <= aliases->out_mask; i++) {
		mem_free(&aliases->out[i].topic);
	}
	mem_free(&aliases->in);
	mem_free(&aliases->out);
	mem_free(&aliases->out_number);
	mem_free(at);
}

static void
set_topic(struct alias *alias, struct bytes topic)
{
	if (alias->len != topic.len || alias->topic == NULL) {
		mem_free(&alias->topic);
		alias->topic = mem_alloc(topic.len);
		alias->len = (uint32_t)topic.len;
	}
	memcpy(alias->topic, topic.data, topic.len);
}

void
peer_alias_set(struct peer_aliases *aliases, uint16_t alias, struct bytes topic)
{
	if (aliases->in == NULL) {
		aliases->in = mem_zalloc(((size_t)aliases->max_in + 1) * sizeof(struct alias));
	}
	set_topic(&aliases->in[alias], topic);
}

struct bytes
peer_alias_get(const struct peer_aliases *aliases, uint16_t alias)
{
	if (aliases->in == NULL || alias > aliases->max_in) {
		return (struct bytes){NULL, 0};
	}
	return bytes_make(aliases->in[alias].topic, aliases->in[alias].len);
}

uint16_t
peer_alias_max_in(const struct peer_aliases *aliases)
{
	return aliases->max_in;
}

static uint32_t
hash_topic(struct bytes topic)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < topic.len; i++) {
		hash = (hash ^ topic.data[i]) * 16777619u;
	}
	return hash ^ hash >> 15;
}

static void
make_out(struct peer_aliases *aliases)
{
	uint32_t slots = 8;

	while (slots < 2u * aliases->max_out) {
		slots *= 2;
	}
	aliases->out = mem_zalloc(slots * sizeof(struct alias));
	aliases->out_number = mem_zalloc(slots * sizeof(uint16_t));
	aliases->out_mask = slots - 1;
}

uint16_t
peer_alias_for(struct peer_aliases *aliases, struct bytes topic, bool *known_out)
{
	uint32_t hash, at;

	*known_out = false;
	if (aliases->max_out == 0) {
		return 0;
	}
	if (aliases->out == NULL) {
		make_out(aliases);
	}
	hash = hash_topic(topic);
	for (at = hash & aliases->out_mask; aliases->out_number[at] != 0;
	     at = (at + 1) & aliases->out_mask) {
		const struct alias *alias = &aliases->out[at];

		if (alias->hash == hash && alias->len == topic.len &&
		    memcmp(alias->topic, topic.data, topic.len) == 0) {
			*known_out = true;
			return aliases->out_number[at];
		}
	}
	if (aliases->out_count == aliases->max_out) {
		return 0;
	}
	aliases->out[at].hash = hash;
	set_topic(&aliases->out[at], topic);
	aliases->out_number[at] = ++aliases->out_count;
	return aliases->out_number[at];
}

uint8_t
peer_resolve_topic(struct peer *peer, const struct wire_publish *packet, struct bytes *topic_out,
    const char **why_out)
{
	uint32_t alias;

	*topic_out = packet->topic;
	*why_out = NULL;
	if (!wire_props_has(&packet->props, WIRE_TOPIC_ALIAS)) {
		return WIRE_REASON_SUCCESS;
	}
	alias = wire_props_number(&packet->props, WIRE_TOPIC_ALIAS, 0);
	if (alias == 0 || alias > peer->aliases_in) {
		*why_out = "PUBLISH: the Topic Alias is above the maximum";
		return WIRE_REASON_TOPIC_ALIAS_INVALID;
	}
	if (packet->topic.len != 0) {
		peer_alias_set(peer_aliases_of(peer), (uint16_t)alias, packet->topic);
		return WIRE_REASON_SUCCESS;
	}
	*topic_out = peer_alias_get(peer_aliases_of(peer), (uint16_t)alias);
	if (topic_out->len == 0) {
		*why_out = "PUBLISH: the Topic Alias is not known";
		return WIRE_REASON_PROTOCOL_ERROR;
	}
	return WIRE_REASON_SUCCESS;
}
