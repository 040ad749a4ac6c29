/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two workers with sessions and desks of route in the simulator, and a store in memory if a test
 * wants one. A client is a session with a sink that writes down what it gets: "hello q1,ret{7}" is
 * this payload, QoS 1, RETAIN, Subscription Identifier 7.
 */
#ifndef UNIT_ROUTE_OFFICE_H
#define UNIT_ROUTE_OFFICE_H

#include "lib/unit.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "loop/mailbox.h"
#include "loop/sim.h"
#include "route/route.h"
#include "session/session.h"
#include "store/engine_mem.h"
#include "wire/topic_name.h"

enum { OFFICE_WORKERS = 2, OFFICE_COMMIT_MS = 50 };

struct client {
	struct session_sink sink; /* first */
	struct session *session;
	int at; /* which worker */
	struct buf said;
};

struct office {
	struct loop *loop;
	struct worker *workers[OFFICE_WORKERS];
	struct session_house house;
	struct plugin_desk *plugins[OFFICE_WORKERS];
	struct route_house *route;
	struct route_desk *desks[OFFICE_WORKERS];
	struct session_table *tables[OFFICE_WORKERS];
	struct store_port *ports[OFFICE_WORKERS];
	struct store_disk *disk;
	struct session_limits limits;
	uint64_t last_claim;
};

/* --- sinks --- */

static inline enum session_offer
office_offer(struct session_sink *sink, const struct session_delivery *delivery)
{
	struct client *client = (struct client *)(void *)sink;
	struct bytes payload = msg_payload(delivery->msg);

	if (client->said.len != 0) {
		buf_append_byte(&client->said, ' ');
	}
	if (payload.len < 100) {
		buf_append_bytes(&client->said, payload);
	} else {
		buf_printf(&client->said, "%zu", payload.len);
	}
	buf_printf(&client->said, " q%u", (unsigned)delivery->qos);
	buf_append_text(&client->said, (delivery->flags & SESSION_RETAIN) != 0 ? ",ret" : "");
	for (uint16_t i = 0; i < delivery->subscription_id_count; i++) {
		buf_printf(&client->said, "{%u}", (unsigned)session_delivery_ids(delivery)[i]);
	}
	return SESSION_TAKEN;
}

static inline void
office_pubrel(struct session_sink *sink, uint16_t packet_id)
{
	(void)sink;
	(void)packet_id;
}

static inline void
office_received(struct session_sink *sink, uint16_t packet_id, uint8_t reason, uint64_t ticket)
{
	(void)sink;
	(void)packet_id;
	(void)reason;
	(void)ticket;
}

static inline void
office_opened(struct session_sink *sink, struct session *session, bool present, uint64_t ticket,
    uint8_t reason)
{
	(void)present;
	(void)ticket;
	(void)reason;
	((struct client *)(void *)sink)->session = session;
}

static inline void
office_ended(struct session_sink *sink, enum session_end why)
{
	(void)why;
	((struct client *)(void *)sink)->session = NULL;
}

static const struct session_sink_ops office_ops = {.offer = office_offer,
    .pubrel = office_pubrel,
    .received = office_received,
    .opened = office_opened,
    .ended = office_ended};

#define assert_got(client, text)                                      \
	do {                                                          \
		assert_string_equal(buf_text(&(client)->said), text); \
		buf_clear(&(client)->said);                           \
	} while (0)

/* --- the office --- */

static inline void
office_settle(struct office *office)
{
	assert_true(sim_settle(office->loop, 1000000));
}

static inline void
office_make_store(struct office *office, struct worker *worker)
{
	office->disk = store_disk_new();
	office->house.store =
	    store_new(store_engine_mem_new(office->disk, &(struct store_mem_options){.seed = 1,
							     .min_delay_ms = OFFICE_COMMIT_MS,
							     .max_delay_ms = OFFICE_COMMIT_MS}),
		worker);
	for (int i = 0; i < OFFICE_WORKERS; i++) {
		office->ports[i] = store_add_port(office->house.store, office->workers[i]);
	}
}

static inline void
office_open(struct office *office, bool stores)
{
	struct loop_options options = {.seed = 5};
	struct hash_key key = {1, 2};

	*office = (struct office){
	    .limits = {.max_inflight_messages = 1000, .max_session_expiry_ms = INT64_MAX}};
	office->loop = loop_new(&options);
	for (int i = 0; i < OFFICE_WORKERS; i++) {
		office->workers[i] = loop_add_worker(office->loop, "worker");
	}
	office->house.directory = session_directory_new(key);
	office->house.tree = topic_tree_new();
	office->house.retain = topic_retain_new(key);
	atomic_store(&office->house.ids.next, 1);
	if (stores) {
		office_make_store(office, loop_add_worker(office->loop, "store"));
	}
	office->route = route_house_new(office->loop, &office->house);
	for (int i = 0; i < OFFICE_WORKERS; i++) {
		office->plugins[i] = plugin_desk_new(office->workers[i]);
		office->desks[i] = route_desk_new(
		    office->route, office->workers[i], office->plugins[i], office->ports[i]);
		office->tables[i] =
		    session_table_new(&(struct session_table_options){.house = &office->house,
			.worker = office->workers[i],
			.port = office->ports[i],
			.route_ops = &route_session_ops,
			.route_arg = office->desks[i]});
		route_desk_set_table(office->desks[i], office->tables[i]);
	}
	assert_int_equal(loop_start(office->loop), 0);
	office_settle(office);
}

static inline void
office_close(struct office *office)
{
	loop_join(office->loop);
	for (int i = 0; i < OFFICE_WORKERS; i++) {
		session_table_free(&office->tables[i]);
	}
	route_house_free(&office->route);
	for (int i = 0; i < OFFICE_WORKERS; i++) {
		plugin_desk_free(&office->plugins[i]);
	}
	store_free(&office->house.store);
	loop_free(&office->loop);
	topic_retain_free(&office->house.retain);
	topic_tree_free(&office->house.tree);
	session_directory_free(&office->house.directory);
	if (office->disk != NULL) {
		store_disk_free(&office->disk);
	}
}

/* --- clients --- */

static inline void
office_connect_with(struct office *office, struct client *client, int at, const char *client_id,
    uint32_t expiry_s, struct msg *will)
{
	struct msg_client *who = msg_client_new(&(struct msg_client_parts){
	    .version = 5, .client_id = bytes_of(client_id), .listener = bytes_of("default")});
	struct session_open open = {.client = who,
	    .limits = &office->limits,
	    .expiry_s = expiry_s,
	    .receive_maximum = 65535,
	    .clean_start = true,
	    .store = true,
	    .will = will};
	bool present;
	uint64_t ticket;
	uint8_t reason;

	*client = (struct client){.sink = {.ops = &office_ops,
				      .claim = ++office->last_claim & INT64_MAX,
				      .has_room = true},
	    .at = at};
	buf_init(&client->said, SIZE_MAX);
	sim_enter(office->workers[at]);
	assert_int_equal(session_open(office->tables[at], &open, &client->sink, &client->session,
			     &present, &ticket, &reason),
	    SESSION_OPENED);
	session_serve(client->session);
	sim_leave();
	msg_client_unref(&who);
	office_settle(office);
	sim_advance(office->loop, office->disk != NULL ? OFFICE_COMMIT_MS + 1 : 1);
}

static inline void
office_connect(
    struct office *office, struct client *client, int at, const char *client_id, uint32_t expiry_s)
{
	office_connect_with(office, client, at, client_id, expiry_s, NULL);
}

/* The connection ends, abnormally. */
static inline void
office_leave(struct office *office, struct client *client)
{
	sim_enter(office->workers[client->at]);
	session_detach(client->session, SESSION_LEAVE_ABNORMAL);
	sim_leave();
	client->session = NULL;
}

static inline void
client_fini(struct client *client)
{
	buf_fini(&client->said);
}

static inline void
office_subscribe_as(
    struct office *office, struct client *client, const char *filter, struct session_subscribe as)
{
	uint64_t ticket = 0;
	struct bytes inner;

	as.filter = bytes_of(filter);
	if (!wire_topic_share_split(as.filter, &as.share_name, &inner)) {
		as.share_name = (struct bytes){NULL, 0};
		inner = as.filter;
	}
	as.full_filter = inner;
	sim_enter(office->workers[client->at]);
	assert_int_equal(session_subscribe(client->session, &as, &ticket), 0);
	sim_leave();
	office_settle(office);
}

static inline void
office_subscribe(struct office *office, struct client *client, const char *filter, uint8_t qos,
    uint32_t subscription_id)
{
	office_subscribe_as(office, client, filter,
	    (struct session_subscribe){.qos = qos, .subscription_id = subscription_id});
}

/* A publication as conn makes one; the draft's texts are the test's. */
static inline struct route_publication
publication_of(struct client *from, const char *topic, const char *payload, uint8_t qos)
{
	return (struct route_publication){
	    .draft = {.topic = bytes_of(topic), .payload = bytes_of(payload), .qos = qos},
	    .client = session_client(from->session),
	    .session = from->session};
}

/* Carried out at once; returns the reason. */
static inline uint8_t
office_publish(
    struct office *office, struct client *from, const char *topic, const char *payload, uint8_t qos)
{
	struct route_publication publication = publication_of(from, topic, payload, qos);

	sim_enter(office->workers[from->at]);
	assert_int_equal(route_publish(office->desks[from->at], &publication), ROUTE_DONE);
	msg_draft_fini(&publication.draft);
	sim_leave();
	return publication.reason;
}

#endif
