/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the topics of one side to those of the other, as Mosquitto's bridges do it: a prefix is
 * taken off, and another put before. The first rule that matches decides.
 */
#include <string.h>

#include "bridge.h"

/* The end of the level that begins at `at`. */
static size_t
level_end(const char *text, size_t len, size_t at)
{
	const char *slash = at < len ? memchr(text + at, '/', len - at) : NULL;

	return slash != NULL ? (size_t)(slash - text) : len;
}

bool
bridge_matches(const char *filter, const char *topic, size_t topic_len)
{
	size_t filter_len = strlen(filter), f = 0, t = 0;

	if (topic_len != 0 && topic[0] == '$' && (filter[0] == '+' || filter[0] == '#')) {
		return false; /* [MQTT-4.7.2-1] */
	}
	for (;;) {
		size_t f_end = level_end(filter, filter_len, f);
		size_t t_end = level_end(topic, topic_len, t);

		if (f_end - f == 1 && filter[f] == '#') {
			return true;
		}
		if (!(f_end - f == 1 && filter[f] == '+') &&
		    (f_end - f != t_end - t || memcmp(filter + f, topic + t, t_end - t) != 0)) {
			return false;
		}
		if (t_end == topic_len) {
			/* What is left of the filter may be "/#", which matches its parent, too. */
			return f_end == filter_len || strcmp(filter + f_end, "/#") == 0;
		}
		if (f_end == filter_len) {
			return false;
		}
		f = f_end + 1;
		t = t_end + 1;
	}
}

/* False: it becomes longer than MQTT can say, or empty. */
static bool
replace_prefix(avocet_link_map *map, size_t old_len, const char *prefix, size_t prefix_len)
{
	avocet_str topic = map->topic;
	size_t rest;

	if (topic.n < old_len) {
		return false;
	}
	rest = topic.n - old_len;
	if (prefix_len == 0) {
		map->topic = (avocet_str){topic.p + old_len, rest};
		return rest != 0;
	}
	if (prefix_len + rest > map->room_size || prefix_len + rest > BRIDGE_MAX_TOPIC) {
		return false;
	}
	memcpy(map->room, prefix, prefix_len);
	memcpy(map->room + prefix_len, topic.p + old_len, rest);
	map->topic = (avocet_str){map->room, prefix_len + rest};
	return true;
}

int32_t
bridge_map_out(const struct bridge_config *config, avocet_link_map *map)
{
	if (config->max_age_s != 0 && map->age_s > config->max_age_s) {
		return AVOCET_DROP;
	}
	for (size_t i = 0; i < config->n_rules; i++) {
		const struct bridge_rule *rule = &config->rules[i];

		if (rule->direction == BRIDGE_IN ||
		    (!rule->is_all && !bridge_matches(rule->local, map->topic.p, map->topic.n))) {
			continue;
		}
		map->retain = rule->clears_retain ? 0 : map->retain;
		return rule->is_all || replace_prefix(map, rule->local_prefix_len,
					   rule->remote_prefix, rule->remote_prefix_len)
			   ? AVOCET_PASS
			   : AVOCET_DROP;
	}
	return AVOCET_DROP; /* of a subscription that is no more */
}

int32_t
bridge_map_in(const struct bridge_config *config, avocet_link_map *map)
{
	for (size_t i = 0; i < config->n_rules; i++) {
		const struct bridge_rule *rule = &config->rules[i];

		if (rule->direction == BRIDGE_OUT ||
		    (!rule->is_all && !bridge_matches(rule->remote, map->topic.p, map->topic.n))) {
			continue;
		}
		map->retain = rule->clears_retain ? 0 : map->retain;
		map->qos = map->qos < rule->qos ? map->qos : rule->qos;
		return rule->is_all || replace_prefix(map, rule->remote_prefix_len,
					   rule->local_prefix, rule->local_prefix_len)
			   ? AVOCET_PASS
			   : AVOCET_DROP;
	}
	return AVOCET_DROP;
}

static bool
ask_for_the_same(const struct bridge_rule *one, const struct bridge_rule *other, bool is_here)
{
	enum bridge_direction except = is_here ? BRIDGE_IN : BRIDGE_OUT;

	return one->direction != except && other->direction != except &&
	       strcmp(is_here ? one->local : one->remote, is_here ? other->local : other->remote) ==
		   0;
}

void
bridge_mark_again(struct bridge_config *config)
{
	for (size_t i = 0; i < config->n_rules; i++) {
		struct bridge_rule *rule = &config->rules[i];

		for (size_t k = 0; k < i; k++) {
			rule->is_again_here |= ask_for_the_same(&config->rules[k], rule, true);
			rule->is_again_there |= ask_for_the_same(&config->rules[k], rule, false);
		}
	}
}
