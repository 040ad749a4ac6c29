/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reason codes of MQTT 5 (section 2.4), and their forms in MQTT 3. All rooms speak in reason codes
 * of MQTT 5, whatever the version of the connection; only encoding and decoding know the older
 * return codes. Pure.
 */
#ifndef WIRE_REASON_H
#define WIRE_REASON_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/packet.h"

/* X(CODE, NAME, "the standard's name") */
#define WIRE_REASON_TABLE(X)                                                                      \
	X(0x00, SUCCESS, "Success")                                                               \
	X(0x01, GRANTED_QOS_1, "Granted QoS 1")                                                   \
	X(0x02, GRANTED_QOS_2, "Granted QoS 2")                                                   \
	X(0x04, DISCONNECT_WITH_WILL, "Disconnect with Will Message")                             \
	X(0x10, NO_MATCHING_SUBSCRIBERS, "No matching subscribers")                               \
	X(0x11, NO_SUBSCRIPTION_EXISTED, "No subscription existed")                               \
	X(0x18, CONTINUE_AUTHENTICATION, "Continue authentication")                               \
	X(0x19, RE_AUTHENTICATE, "Re-authenticate")                                               \
	X(0x80, UNSPECIFIED_ERROR, "Unspecified error")                                           \
	X(0x81, MALFORMED_PACKET, "Malformed Packet")                                             \
	X(0x82, PROTOCOL_ERROR, "Protocol Error")                                                 \
	X(0x83, IMPLEMENTATION_SPECIFIC_ERROR, "Implementation specific error")                   \
	X(0x84, UNSUPPORTED_PROTOCOL_VERSION, "Unsupported Protocol Version")                     \
	X(0x85, CLIENT_IDENTIFIER_NOT_VALID, "Client Identifier not valid")                       \
	X(0x86, BAD_USER_NAME_OR_PASSWORD, "Bad User Name or Password")                           \
	X(0x87, NOT_AUTHORIZED, "Not authorized")                                                 \
	X(0x88, SERVER_UNAVAILABLE, "Server unavailable")                                         \
	X(0x89, SERVER_BUSY, "Server busy")                                                       \
	X(0x8a, BANNED, "Banned")                                                                 \
	X(0x8b, SERVER_SHUTTING_DOWN, "Server shutting down")                                     \
	X(0x8c, BAD_AUTHENTICATION_METHOD, "Bad authentication method")                           \
	X(0x8d, KEEP_ALIVE_TIMEOUT, "Keep Alive timeout")                                         \
	X(0x8e, SESSION_TAKEN_OVER, "Session taken over")                                         \
	X(0x8f, TOPIC_FILTER_INVALID, "Topic Filter invalid")                                     \
	X(0x90, TOPIC_NAME_INVALID, "Topic Name invalid")                                         \
	X(0x91, PACKET_IDENTIFIER_IN_USE, "Packet Identifier in use")                             \
	X(0x92, PACKET_IDENTIFIER_NOT_FOUND, "Packet Identifier not found")                       \
	X(0x93, RECEIVE_MAXIMUM_EXCEEDED, "Receive Maximum exceeded")                             \
	X(0x94, TOPIC_ALIAS_INVALID, "Topic Alias invalid")                                       \
	X(0x95, PACKET_TOO_LARGE, "Packet too large")                                             \
	X(0x96, MESSAGE_RATE_TOO_HIGH, "Message rate too high")                                   \
	X(0x97, QUOTA_EXCEEDED, "Quota exceeded")                                                 \
	X(0x98, ADMINISTRATIVE_ACTION, "Administrative action")                                   \
	X(0x99, PAYLOAD_FORMAT_INVALID, "Payload format invalid")                                 \
	X(0x9a, RETAIN_NOT_SUPPORTED, "Retain not supported")                                     \
	X(0x9b, QOS_NOT_SUPPORTED, "QoS not supported")                                           \
	X(0x9c, USE_ANOTHER_SERVER, "Use another server")                                         \
	X(0x9d, SERVER_MOVED, "Server moved")                                                     \
	X(0x9e, SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, "Shared Subscriptions not supported")         \
	X(0x9f, CONNECTION_RATE_EXCEEDED, "Connection rate exceeded")                             \
	X(0xa0, MAXIMUM_CONNECT_TIME, "Maximum connect time")                                     \
	X(0xa1, SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, "Subscription Identifiers not supported") \
	X(0xa2, WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, "Wildcard Subscriptions not supported")

#define WIRE_REASON_ENUM(code, name, text) WIRE_REASON_##name = (code),
enum wire_reason { WIRE_REASON_TABLE(WIRE_REASON_ENUM) };
#undef WIRE_REASON_ENUM

/* SUBACK's 00 is "Granted QoS 0", DISCONNECT's is "Normal disconnection". */
enum {
	WIRE_REASON_GRANTED_QOS_0 = WIRE_REASON_SUCCESS,
	WIRE_REASON_NORMAL_DISCONNECTION = WIRE_REASON_SUCCESS,
	WIRE_REASON_FIRST_ERROR = 0x80, /* codes from here on say no */
};

/* The standard's name of a code; "unknown reason" for a byte that is none. */
const char *wire_reason_name(uint8_t reason);

/* May this code stand in a packet of this type (MQTT 5) that comes from this side? */
bool wire_reason_is_allowed(enum wire_type type, enum wire_side sender, uint8_t reason);

/* The return code of a CONNACK of MQTT 3 for a reason; -1: none fits, close without CONNACK. */
int wire_reason_to_return_code(uint8_t reason);

/* The reason for such a return code; -1: reserved. */
int wire_reason_of_return_code(uint8_t return_code);

#endif
