/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns a client id, and where a connection is (flow 4). Shared by all workers, sharded, locked
 * inside; touched at CONNECT, move and close only.
 *
 * homes: client id -> home worker, number of claims, its session. An entry with a session or a
 * claim stays; so everybody goes to the same home, and all decisions about one client id are taken
 * by the home worker in the order of arrival. handles: a number per connection that never dangles.
 */
#ifndef SESSION_DIRECTORY_H
#define SESSION_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"

struct msg_client;
struct session_directory;

struct session_directory *session_directory_new(struct hash_key key);
void session_directory_free(struct session_directory **directory);

/* Any worker. Looks the client's id up and claims it in one locked step; without an entry one is
 * made with `own` as home. claim_out rises per entry. The entry references the client, since it
 * keeps no copy of the id. */
void session_directory_claim(struct session_directory *directory, struct msg_client *client,
    uint16_t own, uint16_t *home_out, uint64_t *claim_out);

/* Ends a claim: CONNACK was sent, or the connection died. Once per claim. */
void session_directory_unclaim(struct session_directory *directory, struct bytes client_id);

/* Home worker: a session was made for / has gone from this client id. `gone` clears only if it
 * still names that sid. */
void session_directory_session_made(struct session_directory *directory, struct msg_client *client,
    uint16_t home, uint64_t sid, uint32_t slot);
void session_directory_session_gone(
    struct session_directory *directory, struct bytes client_id, uint64_t sid);

/* Worker `home`: its session of this client id, which may have ended meanwhile: who asks compares
 * the sid. False: none here. */
bool session_directory_find(struct session_directory *directory, struct bytes client_id,
    uint16_t home, uint64_t *sid_out, uint32_t *slot_out);

/* Any thread: entries, for tests and status. */
uint64_t session_directory_count(struct session_directory *directory);

/* --- handles of connections (client_h) --- */

/* Drawn when CONNECT was read; never 0. */
uint64_t session_handle_new(struct session_directory *directory, uint16_t worker, void *connection);
/* By the source of a move, after the flush that carried the connection. */
void session_handle_moved(struct session_directory *directory, uint64_t handle, uint16_t worker);
void session_handle_free(struct session_directory *directory, uint64_t handle);
/* False: freed. The connection may be looked at by its worker only. */
bool session_handle_find(struct session_directory *directory, uint64_t handle, uint16_t *worker_out,
    void **connection_out);

#endif
