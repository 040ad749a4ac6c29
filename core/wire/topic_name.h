/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The syntax of Topic Names and Topic Filters (section 4.7), of shared subscriptions (4.8.2), and
 * whether a filter matches a name. Bytes are compared as they are: no case, no normalisation
 * [MQTT-4.7.3-4]. Pure.
 */
#ifndef WIRE_TOPIC_NAME_H
#define WIRE_TOPIC_NAME_H

#include <stdbool.h>

#include "base/bytes.h"

enum wire_topic_fault {
	WIRE_TOPIC_OK,
	WIRE_TOPIC_EMPTY,      /* [MQTT-4.7.3-1] */
	WIRE_TOPIC_TOO_LONG,   /* more than 65 535 bytes [MQTT-4.7.3-3] */
	WIRE_TOPIC_NOT_UTF8,   /* [MQTT-1.5.4-1] */
	WIRE_TOPIC_NUL,        /* [MQTT-4.7.3-2] */
	WIRE_TOPIC_RESTRICTED, /* a control character or a non-character, where those are refused */
	WIRE_TOPIC_WILDCARD,   /* + or # in a name [MQTT-4.7.0-1] */
	WIRE_TOPIC_HASH,       /* # not alone in the last level [MQTT-4.7.1-1] */
	WIRE_TOPIC_PLUS,       /* + not alone in its level [MQTT-4.7.1-2] */
	WIRE_TOPIC_SHARE, /* $share without ShareName or filter [MQTT-4.8.2-1] [MQTT-4.8.2-2] */
};

/* A Topic Name, as a PUBLISH or a will has it. allow_control: control and non-characters are
 * accepted.
 */
enum wire_topic_fault wire_topic_name_check(struct bytes name, bool allow_control);

/* A Topic Filter. shared: $share must be well formed (MQTT 5); else an ill-formed one is an
 * ordinary filter. */
enum wire_topic_fault wire_topic_filter_check(struct bytes filter, bool allow_control, bool shared);

/* A sentence about the fault: "the topic …" reads well behind "PUBLISH: ". */
const char *wire_topic_fault_text(enum wire_topic_fault fault);

/* True when the bytes themselves are no legal text, which is malformed; other faults are protocol
 * errors. */
bool wire_topic_fault_is_malformed(enum wire_topic_fault fault);

bool wire_topic_has_wildcard(struct bytes topic);

/* Splits $share/NAME/FILTER; false when it is not a well-formed shared filter. */
bool wire_topic_share_split(
    struct bytes filter, struct bytes *share_name_out, struct bytes *filter_out);

/* Does a checked filter (without $share) match a checked name? Also "$" against wildcards
 * [MQTT-4.7.2-1]. */
bool wire_topic_matches(struct bytes filter, struct bytes name);

/* Number of levels: one more than slashes. */
size_t wire_topic_level_count(struct bytes topic);

/* A walk over levels. `more` tells whether another follows: a topic may end with an empty one. */
struct wire_topic_levels {
	struct bytes rest;
	bool more;
};

static inline struct wire_topic_levels
wire_topic_levels_of(struct bytes topic)
{
	return (struct wire_topic_levels){topic, true};
}

/* The next level; false behind the last. */
bool wire_topic_next_level(struct wire_topic_levels *levels, struct bytes *level_out);

#endif
