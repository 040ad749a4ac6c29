/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Observers, who see what happens and can change nothing. Each instance in `plugins:` that offers
 * this service sees what happens at all listeners; chains do not name it. What nobody wants to see
 * costs nothing. Since ABI 0.0.
 */
#ifndef AVOCET_OBSERVER_H
#define AVOCET_OBSERVER_H

#include <avocet/avocet_plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AVOCET_SERVICE_OBSERVER "avocet.observer/0"

#define AVOCET_EV_CONNECTED (UINT64_C(1) << 0)     /* CONNACK 0x00 was sent. reason 1: resumed. */
#define AVOCET_EV_REFUSED (UINT64_C(1) << 1)       /* A CONNECT was refused: reason, text. */
#define AVOCET_EV_DISCONNECTED (UINT64_C(1) << 2)  /* It was connected: reason, text, by. */
#define AVOCET_EV_SESSION_TAKEN (UINT64_C(1) << 3) /* Another connection has taken it over. */
#define AVOCET_EV_SESSION_ENDED (UINT64_C(1) << 4) /* With all that waited in it. */
#define AVOCET_EV_SUBSCRIBED (UINT64_C(1) << 5)    /* filter (with $share), qos as granted. */
#define AVOCET_EV_UNSUBSCRIBED (UINT64_C(1) << 6)  /* filter; it was there. */
#define AVOCET_EV_PUBLISHED (UINT64_C(1) << 7)     /* A message went out; reason 0x10: to nobody. */
#define AVOCET_EV_DELIVERED (UINT64_C(1) << 8)     /* A message was sent to client, with qos. */
#define AVOCET_EV_DROPPED (UINT64_C(1) << 9)   /* client does not get it; reason: AVOCET_DROP_* */
#define AVOCET_EV_DENIED (UINT64_C(1) << 10)   /* filter, or the topic of a PUBLISH; by_name. */
#define AVOCET_EV_WILL (UINT64_C(1) << 11)     /* The will of client went out, as PUBLISHED. */
#define AVOCET_EV_RELOADED (UINT64_C(1) << 12) /* Another configuration is in force. */

#define AVOCET_DROP_QUEUE_FULL 1u
#define AVOCET_DROP_OFFLINE 2u /* QoS 0, and nobody was connected. */
#define AVOCET_DROP_EXPIRED 3u
#define AVOCET_DROP_TOO_LARGE 4u /* For the receiver's Maximum Packet Size. */
#define AVOCET_DROP_DENIED 5u    /* By may_receive or publish_out. */
#define AVOCET_DROP_MEMORY 6u
#define AVOCET_DROP_GONE 7u /* Its session ended. */

#define AVOCET_BY_CLIENT 1u
#define AVOCET_BY_BROKER 2u
#define AVOCET_BY_PLUGIN 3u  /* by_name */
#define AVOCET_BY_NETWORK 4u /* It was lost without a word. */

/* Sized; the host allocates it; it is borrowed for the call. */
typedef struct avocet_event {
	uint32_t struct_size;
	uint32_t by;                      /* AVOCET_BY_*, or 0. */
	uint64_t what;                    /* One AVOCET_EV_* */
	const avocet_client_info *client; /* Whom it is about; NULL: the broker, or a plugin. */
	const avocet_msg *msg;            /* NULL: there is none. */
	avocet_str filter;
	avocet_str by_name; /* The instance that decided, or empty. */
	avocet_str text;    /* Why, in words. */
	uint32_t reason;    /* A reason code of MQTT 5, or as AVOCET_EV_* says. */
	uint32_t qos;
} avocet_event;

/* The vtable. Sized. */
typedef struct avocet_observer {
	uint32_t struct_size;
	/* AVOCET_EXEC_WORKER or _INLINE: on the worker where it happens; it must not block. _POOL
	 * or _SERIAL: events are kept and come in order on one thread of the instance, which may
	 * block; where `queue` of them wait the next are lost, and counted as a fault. */
	uint32_t exec;
	uint64_t events;                                      /* AVOCET_EV_* wanted. */
	void (*event)(void *inst, const avocet_event *event); /* [exec] */
	uintptr_t reserved;
} avocet_observer;

#ifdef __cplusplus
}
#endif
#endif
