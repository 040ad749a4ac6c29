/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a code may stand: table 2-6 of the standard, and the sections of the packets where those
 * are narrower.
 */
#include "wire/reason.h"

#include <stddef.h>

const char *
wire_reason_name(uint8_t reason)
{
#define REASON_CASE(code, name, text) \
	case (code):                  \
		return text;
	switch (reason) {
		WIRE_REASON_TABLE(REASON_CASE)
	default:
		return "unknown reason";
	}
#undef REASON_CASE
}

/* Sets of codes: 00..3f by bits of `low`, 80..bf by bits of `high`; no code lies elsewhere. */
struct reason_set {
	uint64_t low;
	uint64_t high;
};

#define L(code) ((uint64_t)1 << (code))
#define H(code) ((uint64_t)1 << ((code)-0x80))
#define H_RANGE(first, last) ((H(last) << 1) - H(first))

/* [MQTT-3.2.2-8] */
static const struct reason_set connack_set = {L(0x00),
    H_RANGE(0x80, 0x8a) | H(0x8c) | H(0x90) | H(0x95) | H(0x97) | H_RANGE(0x99, 0x9d) | H(0x9f)};
/* [MQTT-3.4.2-1] [MQTT-3.5.2-1] */
static const struct reason_set puback_set = {
    L(0x00) | L(0x10), H(0x80) | H(0x83) | H(0x87) | H(0x90) | H(0x91) | H(0x97) | H(0x99)};
/* [MQTT-3.6.2-1] [MQTT-3.7.2-1] */
static const struct reason_set pubrel_set = {L(0x00), H(0x92)};
/* [MQTT-3.9.3-2] */
static const struct reason_set suback_set = {L(0x00) | L(0x01) | L(0x02),
    H(0x80) | H(0x83) | H(0x87) | H(0x8f) | H(0x91) | H(0x97) | H(0x9e) | H(0xa1) | H(0xa2)};
/* [MQTT-3.11.3-2] */
static const struct reason_set unsuback_set = {
    L(0x00) | L(0x11), H(0x80) | H(0x83) | H(0x87) | H(0x8f) | H(0x91)};
/* [MQTT-3.14.2-1] */
static const struct reason_set disconnect_client_set = {
    L(0x00) | L(0x04), H_RANGE(0x80, 0x83) | H(0x90) | H_RANGE(0x93, 0x99)};
static const struct reason_set disconnect_server_set = {L(0x00),
    H_RANGE(0x80, 0x83) | H(0x87) | H(0x89) | H(0x8b) | H_RANGE(0x8d, 0x90) | H_RANGE(0x93, 0xa2)};
/* [MQTT-3.15.2-1] */
static const struct reason_set auth_client_set = {L(0x18) | L(0x19), 0};
static const struct reason_set auth_server_set = {L(0x00) | L(0x18), 0};

#undef H_RANGE
#undef H
#undef L

static const struct reason_set *
set_of(enum wire_type type, enum wire_side sender)
{
	switch (type) {
	case WIRE_CONNACK:
		return &connack_set;
	case WIRE_PUBACK:
	case WIRE_PUBREC:
		return &puback_set;
	case WIRE_PUBREL:
	case WIRE_PUBCOMP:
		return &pubrel_set;
	case WIRE_SUBACK:
		return &suback_set;
	case WIRE_UNSUBACK:
		return &unsuback_set;
	case WIRE_DISCONNECT:
		return sender == WIRE_CLIENT ? &disconnect_client_set : &disconnect_server_set;
	case WIRE_AUTH:
		return sender == WIRE_CLIENT ? &auth_client_set : &auth_server_set;
	default:
		return NULL;
	}
}

bool
wire_reason_is_allowed(enum wire_type type, enum wire_side sender, uint8_t reason)
{
	const struct reason_set *set = set_of(type, sender);

	if (set == NULL || (reason & 0x40) != 0) {
		return false;
	}
	return ((reason & 0x80 ? set->high : set->low) >> (reason & 0x3f) & 1) != 0;
}

int
wire_reason_to_return_code(uint8_t reason)
{
	switch (reason) {
	case WIRE_REASON_SUCCESS:
		return 0;
	case WIRE_REASON_UNSUPPORTED_PROTOCOL_VERSION:
		return 1;
	case WIRE_REASON_CLIENT_IDENTIFIER_NOT_VALID:
		return 2;
	case WIRE_REASON_SERVER_UNAVAILABLE:
	case WIRE_REASON_SERVER_BUSY:
	case WIRE_REASON_QUOTA_EXCEEDED:
	case WIRE_REASON_USE_ANOTHER_SERVER:
	case WIRE_REASON_SERVER_MOVED:
	case WIRE_REASON_CONNECTION_RATE_EXCEEDED:
		return 3;
	case WIRE_REASON_BAD_USER_NAME_OR_PASSWORD:
		return 4;
	case WIRE_REASON_NOT_AUTHORIZED:
	case WIRE_REASON_BANNED:
	case WIRE_REASON_BAD_AUTHENTICATION_METHOD:
	case WIRE_REASON_RETAIN_NOT_SUPPORTED:
	case WIRE_REASON_QOS_NOT_SUPPORTED:
		return 5;
	default:
		return -1; /* [MQTT311-3.2.2-6] */
	}
}

int
wire_reason_of_return_code(uint8_t return_code)
{
	static const uint8_t reasons[] = {WIRE_REASON_SUCCESS,
	    WIRE_REASON_UNSUPPORTED_PROTOCOL_VERSION, WIRE_REASON_CLIENT_IDENTIFIER_NOT_VALID,
	    WIRE_REASON_SERVER_UNAVAILABLE, WIRE_REASON_BAD_USER_NAME_OR_PASSWORD,
	    WIRE_REASON_NOT_AUTHORIZED};

	return return_code < sizeof(reasons) ? reasons[return_code] : -1;
}
