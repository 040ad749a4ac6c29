/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links: sessions of this broker that a plugin has, for bridges, gateways and pumps. A local link
 * is a session without a socket: messages come by callbacks, and what the plugin publishes goes
 * through it. A remote link is a session of this broker whose connection the broker dials: what its
 * subscriptions here match goes to a remote broker, and what the remote sends is published here;
 * the packet ids on the wire are those of the session, so QoS 1 and 2 keep their promise through
 * crashes of either side. Since ABI 0.3.
 *
 * A link passes the same chains as clients do: those that `links: NAME:` of the configuration says
 * for its instance, else `default`. As a client its id is "$link/INSTANCE/NAME", its listener
 * "link:INSTANCE". No client can have such an id.
 */
#ifndef AVOCET_LINK_H
#define AVOCET_LINK_H

#include <avocet/avocet_plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The bits of `options` of a subscription, as MQTT 5 has them in SUBSCRIBE. */
#define AVOCET_SUB_NO_LOCAL 4u
#define AVOCET_SUB_RETAIN_AS_PUBLISHED 8u
#define AVOCET_SUB_RETAIN_IF_NEW 16u /* Retained messages only when there was no subscription. */
#define AVOCET_SUB_RETAIN_NEVER 32u  /* No retained messages. */

/* A subscription. In arrays with a stride; grows at its end. */
typedef struct avocet_link_sub {
	avocet_str filter;
	uint32_t qos;
	uint32_t options; /* AVOCET_SUB_* */
} avocet_link_sub;

/*
 * A message on its way over a remote link. Sized; the host allocates it. The members that may be
 * changed are marked; what a topic points to must stay until the function has returned: `room` is
 * there for that.
 */
typedef struct avocet_link_map {
	uint32_t struct_size;
	uint32_t qos;     /* May be lowered (map_in). */
	uint32_t retain;  /* 0 or 1; may be changed. */
	uint32_t age_s;   /* How long ago the broker got it; 0 for map_in. */
	avocet_str topic; /* As the side has it that it comes from; may be changed. */
	avocet_bytes payload;
	char *room;       /* Memory for a topic that is made. */
	size_t room_size; /* 65535 */
} avocet_link_map;

/* Steps of enhanced authentication at a remote. */
#define AVOCET_LINK_AUTH_BEGIN 1u    /* Before CONNECT: the first data are wanted. */
#define AVOCET_LINK_AUTH_CONTINUE 2u /* The remote's AUTH: the next data are wanted. */
#define AVOCET_LINK_AUTH_DONE 3u     /* Its CONNACK with the last data: is it who it should be? */

/*
 * What a link tells. Sized; it must live as long as the link. NULL members are not called. All
 * [worker], that of the link, one at a time and in order; none may block.
 */
typedef struct avocet_link_events {
	uint32_t struct_size;
	uint32_t reserved;
	/* Local: the session is there. Remote: the remote has accepted the connection; it happens
	 * again after each loss. present: it (the remote) still had the session. */
	void (*opened)(void *inst, avocet_link_h link, void *user, uint32_t present);
	/* Remote: a connection has ended, or could not be made. The link goes on trying. reason: of
	 * MQTT 5, 0 where there is none. */
	void (*lost)(void *inst, avocet_link_h link, void *user, uint32_t reason, avocet_str text);
	/* The answer to subscribe(), or of the remote to its SUBSCRIBE (cookie 0): a reason code
	 * for each filter, in their order. */
	void (*subscribed)(void *inst, avocet_link_h link, void *user, uint64_t cookie,
	    const uint8_t *reasons, size_t n);
	/* Local: a message. QoS 1 and 2: ack() with `delivery` is due, soon or later; at most
	 * receive_max are open. */
	void (*message)(void *inst, avocet_link_h link, void *user, const avocet_msg *message,
	    uint64_t delivery);
	/* Local: a publish() with QoS 1 or 2 was taken over, and is durable where the store
	 * promises that; or it was refused (reason >= 0x80). */
	void (*published)(
	    void *inst, avocet_link_h link, void *user, uint64_t cookie, uint32_t reason);
	/* Local: after AVOCET_E_AGAIN publish() may be called again. */
	void (*writable)(void *inst, avocet_link_h link, void *user);
	/* Remote: what goes to the remote, and what comes from it. AVOCET_PASS, or AVOCET_DROP: it
	 * is acknowledged to who sent it, and goes no further. */
	int32_t (*map_out)(void *inst, avocet_link_h link, void *user, avocet_link_map *map);
	int32_t (*map_in)(void *inst, avocet_link_h link, void *user, avocet_link_map *map);
	/* Remote with a method: auth_reply() is due, at once or later. step: AVOCET_LINK_AUTH_*. */
	void (*auth)(void *inst, avocet_link_h link, void *user, uint32_t step, avocet_bytes data);
	/* Once: the session stands, with its subscriptions here. What is published from now on is
	 * kept for the link, connected or not. */
	void (*ready)(void *inst, avocet_link_h link, void *user);
	/* The last call for this link. */
	void (*closed)(void *inst, avocet_link_h link, void *user, uint32_t reason);
} avocet_link_events;

#define AVOCET_LINK_TLS 1u       /* TLS; the system's authorities unless cafile says otherwise. */
#define AVOCET_LINK_WEBSOCKET 2u /* WebSocket. */
#define AVOCET_LINK_CLEAN 4u     /* Clean Start each time: what was in flight is not resumed. */
#define AVOCET_LINK_PRIVATE                                                                        \
	8u                   /* MQTT 3: says that it is a bridge (bit 7 of the version), so that a \
				remote that knows this does not send back what it was sent. */
#define AVOCET_LINK_LAZY 16u /* Connects when there is something to send, and not otherwise. */
#define AVOCET_LINK_ROUND_ROBIN                                             \
	32u /* A lost connection is dialled at the next address; else again \
	       from the first one on. */

#define AVOCET_LINK_DRAIN 64u /* Ends, session and all, when everything that it had is sent. */

/* The other end of a remote link. Sized. The plugin allocates it, the host copies it. */
typedef struct avocet_link_remote {
	uint32_t struct_size;
	uint32_t flags;              /* AVOCET_LINK_* */
	const avocet_str *addresses; /* HOST:PORT, [IPV6]:PORT, unix:/path: tried in turn. */
	size_t n_addresses;
	avocet_str client_id;
	avocet_str username; /* With p NULL: none. */
	avocet_bytes password;
	avocet_str method; /* Of enhanced authentication; empty: none. */
	avocet_str path;   /* Of WebSocket. */
	/* Of TLS; empty: none. Paths of files. */
	avocet_str cafile, certfile, keyfile, crlfile, ciphers, ciphersuites;
	avocet_str server_name; /* What the certificate must be for; empty: the address's host. */
	avocet_str state_topic; /* Here, below $SYS: "1" while connected, "0" else, retained. Empty:
				   none. */
	const avocet_publish *will;  /* Its delay is 0. NULL: none. */
	const avocet_publish *birth; /* Published there when connected. NULL: none. */
	const avocet_link_sub *subs; /* What is wanted from there, asked for at each connection. */
	size_t n_subs;
	size_t sub_size;          /* sizeof(avocet_link_sub) */
	const avocet_str *unsubs; /* What is not wanted any more, said at the first connection. */
	size_t n_unsubs;
	uintptr_t reserved;
	uint32_t version; /* 3, 4 or 5, as in avocet_client_info. */
	uint32_t keep_alive_s;
	uint32_t session_expiry_s;   /* MQTT 5; UINT32_MAX: never. */
	uint32_t receive_max;        /* MQTT 5: QoS 1 and 2 from there that are not acknowledged. */
	uint32_t max_packet_size;    /* Of what comes from there; 0: no limit. */
	uint32_t topic_alias_max;    /* MQTT 5: of either direction. */
	uint32_t connect_timeout_ms; /* Of an attempt: the look-up, and all until CONNACK. */
	uint32_t backoff_min_ms, backoff_max_ms; /* Between two attempts; doubled, with jitter. */
	uint32_t lazy_count;                     /* LAZY: as many messages wait. */
	uint32_t lazy_idle_ms;    /* LAZY: the connection ends after so long without one. */
	uint32_t tls_min_version; /* 2: TLS 1.2; 3: TLS 1.3. */
} avocet_link_remote;

#define AVOCET_ANY_WORKER 0xffffffffu

#define AVOCET_LINK_FORGET 1u /* The session begins anew: what it had is dropped. */

/* Sized. The plugin allocates it, the host copies it. */
typedef struct avocet_link_opts {
	uint32_t struct_size;
	uint32_t flags;      /* AVOCET_LINK_FORGET */
	avocet_str name;     /* Of the link, unique in its instance: a topic level. */
	avocet_str username; /* Its principal, for authorizers; empty: the instance's name. */
	const avocet_link_sub
	    *subs; /* Here. Those that the session has and are not among them end. */
	size_t n_subs;
	size_t sub_size;                  /* sizeof(avocet_link_sub) */
	const avocet_link_remote *remote; /* NULL: a local link. */
	/* Local: published here when the link closes with AVOCET_LINK_WILL, or the process dies.
	 * NULL: none. */
	const avocet_publish *will;
	uintptr_t reserved2;
	/* How long the session outlives the link, a remote one its connection: it counts from the
	 * loss of that. UINT32_MAX: for ever. */
	uint32_t session_expiry_s;
	uint32_t receive_max; /* Local: QoS 1 and 2 that are not acknowledged; 0: as limits say. */
	/* parts > 1: of the messages whose topics fall into as many parts, the link gets this one,
	 * counted from 0. Each topic is in one part. */
	uint32_t part, parts;
	uint32_t worker; /* AVOCET_ANY_WORKER, or the index of a worker of clients, from 1 on. A
			  * session that stands already stays where it is. */
	uint32_t reserved;
} avocet_link_opts;

#define AVOCET_LINK_END 1u  /* The session ends with the link. */
#define AVOCET_LINK_WILL 2u /* Local: the link's will is published. */

#define AVOCET_HOST_LINK "avocet.link/0"
typedef struct avocet_link_api {
	uint32_t struct_size;
	uint32_t reserved;
	/* What is wrong with what is given is told at once: AVOCET_E_INVAL, AVOCET_E_CONFIG (a file
	 * of TLS), with a sentence in err, which may be NULL. Then `opened` follows, or `closed`.
	 * AVOCET_E_BUSY: the instance has a link of this name. [main] */
	int32_t (*open)(avocet_self *self, const avocet_link_opts *opts,
	    const avocet_link_events *events, void *user, avocet_link_h *out, avocet_error *err);
	/* `closed` follows. flags: AVOCET_LINK_END, else the session stays as long as
	 * session_expiry_s says; AVOCET_LINK_WILL. [any] */
	int32_t (*close)(avocet_self *self, avocet_link_h link, uint32_t flags);
	/* Local: adds subscriptions, and ends them. [any] */
	int32_t (*subscribe)(avocet_self *self, avocet_link_h link, const avocet_link_sub *subs,
	    size_t n, size_t stride, uint64_t cookie);
	int32_t (*unsubscribe)(
	    avocet_self *self, avocet_link_h link, const avocet_str *filters, size_t n);
	/* Local: AVOCET_E_AGAIN: too many are under way, `writable` follows. [any] */
	int32_t (*publish)(
	    avocet_self *self, avocet_link_h link, const avocet_publish *message, uint64_t cookie);
	/* Local. [any] */
	int32_t (*ack)(avocet_self *self, avocet_link_h link, uint64_t delivery, uint32_t reason);
	/* The answer to `auth`: the data; or a status < 0: the connection ends, and is tried again
	 * after a while. [any] */
	int32_t (*auth_reply)(
	    avocet_self *self, avocet_link_h link, int32_t status, avocet_bytes data);
} avocet_link_api;

#ifdef __cplusplus
}
#endif
#endif
