/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of MQTT as the load program needs, in the versions 3.1.1 and 5: packets to bytes and
 * back. It shares nothing with the broker, so that both cannot be wrong in the same way. libc only.
 */
#ifndef TESTS_STRESS_PACKETS_H
#define TESTS_STRESS_PACKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum packet_type {
	CONNECT = 1,
	CONNACK,
	PUBLISH,
	PUBACK,
	PUBREC,
	PUBREL,
	PUBCOMP,
	SUBSCRIBE,
	SUBACK,
	UNSUBSCRIBE,
	UNSUBACK,
	PINGREQ,
	PINGRESP,
	DISCONNECT,
	AUTH,
};

/* Bytes that grow; all zero is empty. */
struct bytes_out {
	uint8_t *data;
	size_t len;
	size_t cap;
};

void bytes_put(struct bytes_out *out, const void *data, size_t len);
void bytes_drop(struct bytes_out *out, size_t len); /* from the front */
void bytes_free(struct bytes_out *out);

struct will {
	const char *topic; /* NULL: none */
	int qos;
	bool retain;
	uint32_t delay_s;
};

/* version: 4 or 5. expiry_s only counts in 5. */
void put_connect(struct bytes_out *out, int version, const char *id, bool clean, uint32_t expiry_s,
    const struct will *will);
void put_publish(struct bytes_out *out, int version, const char *topic, const void *payload,
    size_t len, int qos, bool retain, bool dup, uint16_t packet_id);
void put_ack(struct bytes_out *out, enum packet_type type, uint16_t packet_id);
void put_subscribe(struct bytes_out *out, int version, uint16_t packet_id,
    const char *const *filters, const uint8_t *options, size_t count);
void put_unsubscribe(struct bytes_out *out, int version, uint16_t packet_id, const char *filter);
void put_pingreq(struct bytes_out *out);
void put_disconnect(struct bytes_out *out, int version, uint8_t reason);

/* What a broker says. Views are into the bytes that were read. */
struct packet {
	enum packet_type type;
	bool session_present;
	bool dup, retain;
	int qos;
	uint16_t packet_id;
	uint8_t reason; /* the worst of a SUBACK */
	const uint8_t *topic;
	size_t topic_len;
	const uint8_t *payload;
	size_t payload_len;
};

/* The size of the packet at the front; 0: not all of it is there; -1: that is no packet. */
long get_packet(const uint8_t *data, size_t len, int version, struct packet *packet);

#endif
