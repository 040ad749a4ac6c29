/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small durable values of an instance: what it must still know after a restart. Each instance has
 * its own, by its name in the configuration. Since ABI 0.0.
 *
 * Nothing waits: each call is answered later, on the main thread, in the order of the calls. Who is
 * told that a value was put may rely on it after a power cut.
 */
#ifndef AVOCET_KV_H
#define AVOCET_KV_H

#include <avocet/avocet_plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AVOCET_HOST_KV "avocet.kv/0"

#define AVOCET_KV_MAX_KEY 1024u    /* Bytes. A key is not empty. */
#define AVOCET_KV_MAX_VALUE 65536u /* Bytes. */

/* status: AVOCET_OK; AVOCET_E_NOTFOUND; AVOCET_E_IO, and nothing has changed; AVOCET_E_BUSY: after
 * a reload the instance that had this name before has not ended yet. key and value are borrowed for
 * the call. [main] */
typedef void (*avocet_kv_fn)(
    void *inst, int32_t status, avocet_bytes key, avocet_bytes value, void *arg);

typedef struct avocet_kv_api {
	uint32_t struct_size;
	uint32_t reserved;
	/* All copy what they are given. AVOCET_E_AGAIN: 1024 calls are under way. AVOCET_E_STATE:
	 * before create() has returned, or after stop(). AVOCET_E_UNSUPPORTED: this host keeps
	 * nothing (avocetctl, avocet-plugintest). What is out at stop() is carried out, and
	 * answered after it. [any] */
	int32_t (*get)(avocet_self *self, avocet_bytes key, avocet_kv_fn fn, void *arg);
	/* fn may be NULL in both; it is given no value. */
	int32_t (*put)(
	    avocet_self *self, avocet_bytes key, avocet_bytes value, avocet_kv_fn fn, void *arg);
	int32_t (*del)(avocet_self *self, avocet_bytes key, avocet_kv_fn fn, void *arg);
	/* fn for each key that begins with the prefix (which may be empty), in no order; then once
	 * with AVOCET_E_NOTFOUND and an empty key: that was all. */
	int32_t (*scan)(avocet_self *self, avocet_bytes prefix, avocet_kv_fn fn, void *arg);
} avocet_kv_api;

#ifdef __cplusplus
}
#endif
#endif
