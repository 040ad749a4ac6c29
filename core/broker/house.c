/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts the house together. The order is that of the rooms, lowest first; taking it down is the
 * reverse, but that the store goes before the retained messages, whose entries its operations refer
 * to.
 */
#include "broker/house.h"

#include <stdio.h>

#include "base/mem.h"
#include "broker/links.h"

/* What a client worker gives to mail in a turn: hundreds of logins may be answered at once. */
enum { MAIL_TIME_NS = 500000 };

const struct plugin_set broker_house_no_plugins;

static struct hash_key
draw_key(struct worker *worker)
{
	struct hash_key key;

	worker_random_fill(worker, &key, sizeof(key));
	return key;
}

static void
make_sessions(struct session_house *sessions, struct worker *main)
{
	sessions->directory = session_directory_new(draw_key(main));
	sessions->tree = topic_tree_new();
	sessions->retain = topic_retain_new(draw_key(main));
	atomic_init(&sessions->ids.next, 1);
}

static void
make_store(struct broker_house *house, struct store_engine *engine)
{
	if (engine != NULL) {
		house->store = store_new(engine, loop_add_worker(house->loop, "store"));
		house->sessions.store = house->store;
	}
}

/* What every worker has that publishes; main does, for $SYS. */
static void
make_hand(struct broker_house *house, struct broker_hand *hand)
{
	hand->plugins = plugin_desk_new(hand->worker);
	house->desks[worker_index(hand->worker)] = hand->plugins;
	hand->port = house->store != NULL ? store_add_port(house->store, hand->worker) : NULL;
	hand->route = route_desk_new(house->route, hand->worker, hand->plugins, hand->port);
}

static void
make_client_hand(struct broker_house *house, struct broker_hand *hand)
{
	make_hand(house, hand);
	hand->sessions = session_table_new(&(struct session_table_options){
	    .house = &house->sessions,
	    .worker = hand->worker,
	    .port = hand->port,
	    .route_ops = &route_session_ops,
	    .route_arg = hand->route,
	});
	route_desk_set_table(hand->route, hand->sessions);
	hand->conns = conn_table_new(&(struct conn_table_options){
	    .house = house->conn,
	    .worker = hand->worker,
	    .sessions = hand->sessions,
	    .route = hand->route,
	    .plugins = hand->plugins,
	    .port = hand->port,
	});
	hand->links = link_table_new(&(struct link_table_options){
	    .house = house->link,
	    .worker = hand->worker,
	    .sessions = hand->sessions,
	    .route = hand->route,
	    .plugins = hand->plugins,
	    .port = hand->port,
	});
}

static void
add_workers(struct broker_house *house)
{
	for (unsigned i = 0; i < house->count; i++) {
		char name[sizeof("worker 000")];

		(void)snprintf(name, sizeof(name), "worker %u", (i + 1) % 1000);
		house->hands[i].worker = loop_add_worker(house->loop, name);
		worker_set_mail_time(house->hands[i].worker, MAIL_TIME_NS);
	}
}

/* What the store holds, taken down in main's context: what is loaded has its place in time. */
struct loading {
	struct broker_house *house;
	const struct broker_house_options *options;
	char *why;
	size_t why_size;
	int result;
};

static void
load_in_context(struct worker *main, void *arg)
{
	struct loading *loading = arg;
	struct broker_house *house = loading->house;
	const struct broker_house_options *options = loading->options;
	struct session_table **tables = mem_alloc(house->count * sizeof(*tables));

	(void)main;
	for (unsigned i = 0; i < house->count; i++) {
		tables[i] = house->hands[i].sessions;
	}
	loading->result =
	    session_load(&house->sessions, tables, house->count, &options->limits->session,
		options->conf, options->wall_ms, loading->why, loading->why_size);
	mem_free(&tables);
}

int
broker_house_load(struct broker_house *house, const struct broker_house_options *options, char *why,
    size_t why_size)
{
	struct loading loading = {
	    .house = house, .options = options, .why = why, .why_size = why_size};

	worker_lend(house->main.worker, load_in_context, &loading);
	return loading.result;
}

struct broker_house *
broker_house_new(struct loop *loop, struct worker *main, unsigned count,
    const struct broker_house_options *options, char *why, size_t why_size)
{
	struct broker_house *house = mem_zalloc(sizeof(*house) + count * sizeof(house->hands[0]));

	house->loop = loop;
	house->count = count;
	house->main.worker = main;
	make_sessions(&house->sessions, main);
	add_workers(house);
	make_store(house, options->engine);
	house->route = route_house_new(loop, &house->sessions);
	route_house_set_plugins(house->route, options->set_of, options->set_arg);
	route_house_set_observers(house->route, options->observers);
	house->conn = conn_house_new(&(struct conn_house_options){
	    .loop = loop,
	    .sessions = &house->sessions,
	    .move_always = options->move_always,
	    .on_sys = options->on_sys,
	    .observers = options->observers,
	    .arg = options->arg,
	});
	house->link = link_house_new(&(struct link_house_options){
	    .loop = loop,
	    .main = main,
	    .sessions = &house->sessions,
	    .route = house->route,
	    .conf = options->conf_now,
	    .arg = options->conf_arg,
	    .terms = broker_links_terms,
	});
	make_hand(house, &house->main);
	for (unsigned i = 0; i < count; i++) {
		make_client_hand(house, &house->hands[i]);
	}
	broker_house_set_limits(house, options->limits, options->max_memory, options->max_transit);
	if (house->store != NULL && !options->loads_later &&
	    broker_house_load(house, options, why, why_size) != 0) {
		broker_house_free(&house);
	}
	return house;
}

void
broker_house_set_limits(struct broker_house *house, const struct conn_limits *limits,
    int64_t max_memory, int64_t max_transit)
{
	atomic_store(&house->sessions.max_memory, max_memory);
	atomic_store(&house->sessions.max_sessions, limits->max_sessions);
	route_house_set_max_transit(house->route, max_transit);
	topic_retain_set_limits(house->sessions.retain, (uint64_t)limits->max_retained_messages,
	    (uint64_t)limits->max_retained_bytes);
}

void
broker_house_free(struct broker_house **address)
{
	struct broker_house *house = *address;

	if (house == NULL) {
		return;
	}
	for (unsigned i = 0; i < house->count; i++) {
		conn_table_free(&house->hands[i].conns);
	}
	for (unsigned i = 0; i < house->count; i++) {
		link_table_free(&house->hands[i].links);
	}
	link_house_free(&house->link);
	for (unsigned i = 0; i < house->count; i++) {
		session_table_free(&house->hands[i].sessions);
	}
	conn_house_free(&house->conn);
	route_house_free(&house->route);
	for (unsigned i = 0; i < house->count; i++) {
		plugin_desk_free(&house->hands[i].plugins);
	}
	plugin_desk_free(&house->main.plugins);
	store_free(&house->store);
	topic_tree_free(&house->sessions.tree);
	topic_retain_free(&house->sessions.retain);
	session_directory_free(&house->sessions.directory);
	mem_free(address);
}
