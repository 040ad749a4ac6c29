/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control packets of MQTT 3.1, 3.1.1 and 5.0 as structs. A decoded packet is a set of views
 * into the bytes it was decoded from and lives as long as they do; a packet to be encoded is filled
 * by hand. Pure.
 */
#ifndef WIRE_PACKET_H
#define WIRE_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum wire_type {
	WIRE_CONNECT = 1,
	WIRE_CONNACK,
	WIRE_PUBLISH,
	WIRE_PUBACK,
	WIRE_PUBREC,
	WIRE_PUBREL,
	WIRE_PUBCOMP,
	WIRE_SUBSCRIBE,
	WIRE_SUBACK,
	WIRE_UNSUBSCRIBE,
	WIRE_UNSUBACK,
	WIRE_PINGREQ,
	WIRE_PINGRESP,
	WIRE_DISCONNECT,
	WIRE_AUTH,
};

enum wire_side { WIRE_CLIENT, WIRE_SERVER };

/* Values of the Protocol Version field. */
enum wire_version { WIRE_V31 = 3, WIRE_V311 = 4, WIRE_V5 = 5 };

enum {
	WIRE_MAX_REMAINING_LENGTH = 268435455,
	WIRE_MAX_FIXED_HEADER = 5, /* bytes */
	WIRE_MAX_STRING = 65535,   /* bytes of a string or of binary data */
	WIRE_PROP_ID_LIMIT = 0x2b, /* identifiers of properties are below */
};

/*
 * Properties of MQTT 5. `block` is what stands on the wire behind the Property Length; it is all
 * that encoding needs. Decoding also fills the rest, for the questions of wire/props.h. Empty for
 * MQTT 3.
 */
struct wire_props {
	struct bytes block;
	uint64_t present;                /* bit n: the property with identifier n is there */
	uint32_t at[WIRE_PROP_ID_LIMIT]; /* where in block its value begins; the first one's where
					    it repeats */
};

struct wire_will {
	struct bytes topic;
	struct bytes payload;
	struct wire_props props;
	uint8_t qos;
	bool retain;
};

struct wire_connect {
	uint8_t version; /* enum wire_version; 0 when it was refused before that was known */
	uint8_t level;   /* the Protocol Version byte as it came; 0 when that did not */
	bool is_mqtt;    /* the Protocol Name is one of MQTT's, whatever the level says */
	bool bridge;     /* bit 7 of the level byte: a bridge's wish, outside the standard */
	bool clean_start;
	bool has_will;
	bool has_username;
	bool has_password;
	uint16_t keep_alive; /* seconds, 0 = off */
	struct bytes client_id;
	struct bytes username;
	struct bytes password;
	struct wire_props props;
	struct wire_will will;
};

struct wire_connack {
	bool session_present;
	uint8_t reason; /* also for MQTT 3: see wire/reason.h */
	struct wire_props props;
};

struct wire_publish {
	struct bytes topic; /* empty when a Topic Alias stands for it */
	struct bytes payload;
	uint16_t packet_id; /* 0 for QoS 0 */
	uint8_t qos;
	bool dup;
	bool retain;
	struct wire_props props;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
struct wire_ack {
	uint16_t packet_id;
	uint8_t reason;
	struct wire_props props;
};

/* SUBSCRIBE and UNSUBSCRIBE. `filters` is the payload, checked; wire_subscribe_next walks over it.
 */
struct wire_subscribe {
	uint16_t packet_id;
	uint32_t filter_count;
	struct bytes filters;
	struct wire_props props;
};

/* One item of a SUBSCRIBE. */
struct wire_subscription {
	struct bytes filter;
	uint8_t qos;
	bool no_local;
	bool retain_as_published;
	uint8_t retain_handling;
};

/* SUBACK and UNSUBACK: one reason per filter, as bytes. UNSUBACK of MQTT 3 has none. */
struct wire_suback {
	uint16_t packet_id;
	struct bytes reasons;
	struct wire_props props;
};

/* DISCONNECT and AUTH. */
struct wire_disconnect {
	uint8_t reason;
	struct wire_props props;
};

struct wire_packet {
	enum wire_type type;
	union {
		struct wire_connect connect;
		struct wire_connack connack;
		struct wire_publish publish;
		struct wire_ack ack;
		struct wire_subscribe subscribe; /* also UNSUBSCRIBE */
		struct wire_suback suback;       /* also UNSUBACK */
		struct wire_disconnect disconnect;
		struct wire_disconnect auth;
	};
};

/* "CONNECT" …; "reserved" for a type that is none. */
const char *wire_type_name(enum wire_type type);

/*
 * Takes the next item off a payload that decoding has checked (or that wire_write_subscription
 * made); false at its end. `filters` starts as the packet's and is advanced.
 */
bool wire_subscribe_next(struct bytes *filters, struct wire_subscription *item_out);
bool wire_unsubscribe_next(struct bytes *filters, struct bytes *filter_out);

#endif
