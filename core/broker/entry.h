/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies between the socket of an accepted connection and MQTT, by the configuration of its
 * listener: a PROXY header, TLS, WebSocket, in this order. Made by main for each snapshot,
 * immutable then, and counted: the connections of a snapshot keep its entry, any thread.
 */
#ifndef BROKER_ENTRY_H
#define BROKER_ENTRY_H

#include "broker/options.h"
#include "transport/addr.h"
#include "transport/stream.h"
#include "transport/tls_ctx.h"

struct broker_door;
struct broker_entry;
struct buf;

/*
 * Reads what the listener needs, certificates above all; door is remembered for whoever asks. The
 * listener is part of conf and has its plugins. NULL with a sentence.
 */
struct broker_entry *broker_entry_new(struct conf *conf, const struct broker_listener *listener,
    struct broker_door *door, char *why, size_t why_size);
struct broker_entry *broker_entry_ref(struct broker_entry *entry);
void broker_entry_unref(struct broker_entry **entry);

struct broker_door *broker_entry_door(const struct broker_entry *entry);

/* May who connects from there come in at all? False: a PROXY header is due, and it is no proxy that
 * is trusted. */
bool broker_entry_takes(const struct broker_entry *entry, const struct addr *peer);

/* On the worker: the stack of streams, detached. Takes fd. The entry must live as long. */
struct stream *broker_entry_stream(
    const struct broker_entry *entry, int fd, const struct addr *peer);

/* --- of a listener that is checked, without an entry --- */

/* NULL with a sentence; *wrong_out: the key that is wrong, or NULL. */
struct tls_ctx *broker_entry_tls(const struct broker_listener *listener,
    const struct broker_tls *tls, const char **wrong_out, char *why, size_t why_size);

static inline bool
broker_tls_is_used(const struct broker_tls *tls)
{
	return tls->certfile != NULL || tls->psk;
}

/* Appends ", WebSocket at /mqtt, TLS …": what is between socket and MQTT; nothing where nothing is.
 */
void broker_entry_describe(const struct broker_listener *listener, struct buf *out);

/* --- networks --- */

/* An address or a network of trusted_proxies, or `unix`. NULL: understood; else a sentence, static.
 */
const char *broker_network_parse(const char *text, struct broker_network *network_out);
bool broker_network_has(const struct broker_network *network, const struct addr *addr);

#endif
