/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All links by handle, and the links of a worker. A handle is a place in a table and how often that
 * was used; the table is the one thing here that threads share, behind a lock that is held for a
 * look. The link itself is looked at by its worker only.
 */
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "link/link_int.h"
#include "wire/reason.h"

enum { POLL_MS = 5 };

/* --- handles --- */

static uint64_t
handle_of(size_t at, uint32_t generation)
{
	return (uint64_t)generation << 32 | (uint64_t)(at + 1);
}

/* Under the lock. */
static struct link_entry *
entry_of(struct link_house *house, uint64_t handle)
{
	size_t at = (size_t)(handle & UINT32_MAX);
	struct link_entry *entry;

	if (at == 0 || at > house->entries.count) {
		return NULL;
	}
	entry = &house->entries.items[at - 1];
	return entry->link != NULL && entry->generation == handle >> 32 ? entry : NULL;
}

uint64_t
link_enter(struct link_house *house, struct link *link)
{
	size_t at = 0;
	uint64_t handle;

	lock_take(&house->lock);
	while (at < house->entries.count && house->entries.items[at].link != NULL) {
		at++;
	}
	if (at == house->entries.count) {
		vec_push(&house->entries, (struct link_entry){0});
	}
	house->entries.items[at].link = link;
	house->entries.items[at].worker = 0;
	handle = handle_of(at, ++house->entries.items[at].generation);
	lock_give(&house->lock);
	return handle;
}

void
link_moved(struct link_house *house, uint64_t handle, uint16_t worker)
{
	struct link_entry *entry;

	lock_take(&house->lock);
	entry = entry_of(house, handle);
	if (entry != NULL) {
		entry->worker = worker;
	}
	lock_give(&house->lock);
}

void
link_forget(struct link_house *house, uint64_t handle)
{
	struct link_entry *entry;

	lock_take(&house->lock);
	entry = entry_of(house, handle);
	if (entry != NULL) {
		entry->link = NULL;
	}
	lock_give(&house->lock);
}

uint16_t
link_worker_of(struct link_house *house, uint64_t handle)
{
	const struct link_entry *entry;
	uint16_t worker;

	lock_take(&house->lock);
	entry = entry_of(house, handle);
	worker = entry != NULL ? entry->worker : UINT16_MAX;
	lock_give(&house->lock);
	return worker;
}

struct link *
link_find(struct link_table *table, uint64_t handle)
{
	const struct link_entry *entry;
	struct link *link = NULL;

	lock_take(&table->house->lock);
	entry = entry_of(table->house, handle);
	if (entry != NULL && entry->worker == worker_index(table->worker)) {
		link = entry->link;
	}
	lock_give(&table->house->lock);
	return link;
}

/* Names, instances and handles of links do not change, so main may compare them under the lock. */
bool
link_name_is_taken(struct link_house *house, struct avocet_self *self, const char *name)
{
	bool is_taken = false;

	lock_take(&house->lock);
	for (size_t i = 0; i < house->entries.count; i++) {
		const struct link *link = house->entries.items[i].link;

		is_taken = is_taken || (link != NULL && link->self == self &&
					   strcmp(link->options->name, name) == 0);
	}
	lock_give(&house->lock);
	return is_taken;
}

void
link_house_close_of(struct link_house *house, struct avocet_self *self)
{
	VEC(uint64_t) handles = {0};
	uint64_t *handle;

	lock_take(&house->lock);
	for (size_t i = 0; i < house->entries.count; i++) {
		const struct link_entry *entry = &house->entries.items[i];

		if (entry->link != NULL && entry->link->self == self) {
			vec_push(&handles, handle_of(i, entry->generation));
		}
	}
	lock_give(&house->lock);
	vec_each (handle, &handles) {
		(void)link_api.close(self, *handle, 0);
	}
	vec_fini(&handles);
}

/* --- house --- */

struct link_house *
link_house_new(const struct link_house_options *options)
{
	struct link_house *house = mem_zalloc(sizeof(*house));

	house->options = *options;
	lock_init(&house->lock);
	return house;
}

void
link_house_free(struct link_house **house_at)
{
	struct link_house *house = *house_at;

	if (house == NULL) {
		return;
	}
	vec_fini(&house->entries);
	lock_fini(&house->lock);
	mem_free(house_at);
}

/* --- a worker's --- */

/* Nothing of this costs anything while there are no links. */
static void
settle_phase(struct worker *worker, void *arg)
{
	struct link_table *table = arg;
	bool over;

	link_local_settle(table);
	if (!list_is_empty(&table->blocked) && !store_is_failing(table->port)) {
		link_unblock(table);
	}
	if (list_is_empty(&table->conns) && !table->room.withhold) {
		return;
	}
	over = route_desk_is_over(table->route);
	if (over != table->room.withhold) {
		peer_room_set_withhold(&table->room, over);
	}
	if (over && !timer_is_set(&table->poll)) {
		timer_set(worker, &table->poll, context_current->mono_ms + POLL_MS);
	}
}

/* Only wakes the worker up. */
static void
on_poll(struct worker *worker, struct timer *timer)
{
	(void)worker;
	(void)timer;
}

static void
on_store_state(struct store_port *port, bool failing, void *arg)
{
	(void)port;
	if (!failing) {
		link_unblock(arg);
	}
}

static void
on_credit(struct worker *worker, struct worker *target, void *arg)
{
	struct link_table *table = arg;

	(void)worker;
	(void)target;
	list_each (item, &table->conns) {
		peer_resume(&list_item(item, struct link_conn, item)->peer, PEER_PAUSE_CREDIT);
	}
}

struct link_table *
link_table_new(const struct link_table_options *options)
{
	struct link_table *table = mem_zalloc(sizeof(*table));

	table->house = options->house;
	table->worker = options->worker;
	table->sessions = options->sessions;
	table->route = options->route;
	table->plugins = options->plugins;
	table->port = options->port;
	list_init(&table->links);
	list_init(&table->conns);
	list_init(&table->publications);
	list_init(&table->blocked);
	list_init(&table->settling);
	list_init(&table->askings);
	table->poll.fn = on_poll;
	dial_room_init(&table->dials, table->worker);
	table->house->tables[worker_index(table->worker)] = table;
	worker_on_phase(table->worker, WORKER_SETTLE, settle_phase, table);
	peer_room_init(&table->room, table->worker, table->port);
	mail_on_credit(table->worker, on_credit, table);
	if (table->port != NULL) {
		store_on_state(table->port, on_store_state, table);
	}
	return table;
}

void
link_table_free(struct link_table **table_at)
{
	struct link_table *table = *table_at;

	if (table == NULL) {
		return;
	}
	link_free_publications(table);
	link_free_askings(table);
	list_each (item, &table->conns) {
		peer_kill(&list_item(item, struct link_conn, item)->peer);
	}
	list_each (item, &table->links) {
		link_free(list_item(item, struct link, item));
	}
	dial_room_fini(&table->dials);
	peer_room_fini(&table->room);
	mem_free(&table->room_for_topic);
	mem_free(table_at);
}

/* --- for operators --- */

static struct link *
find_by_id(const struct link_table *table, struct bytes client_id)
{
	list_each (item, &table->links) {
		struct link *link = list_item(item, struct link, item);

		if (bytes_equal(link->options->client_id, client_id)) {
			return link;
		}
	}
	return NULL;
}

bool
link_table_kick(struct link_table *table, struct bytes client_id)
{
	struct link *link = find_by_id(table, client_id);

	if (link == NULL || link->session == NULL) {
		return false;
	}
	if (link_is_remote(link)) {
		link->at_once = true;
		link_lose(link, WIRE_REASON_NORMAL_DISCONNECTION, WIRE_REASON_ADMINISTRATIVE_ACTION,
		    "an operator sent it away");
	} else {
		link_close(link, WIRE_REASON_ADMINISTRATIVE_ACTION, SESSION_LEAVE_ABNORMAL);
	}
	return true;
}

static void
tell_orphan(struct session *session, void *arg)
{
	struct bytes id = session_client_id(session);

	if (!bytes_starts_with(id, BYTES_LITERAL("$link/")) || find_by_id(arg, id) != NULL) {
		return;
	}
	log_warning(
	    "session %.*s belongs to no link any more, and goes on keeping messages; avocetctl "
	    "sessions end ends it",
	    (int)id.len, (const char *)id.data);
}

void
link_table_tell_orphans(struct link_table *table)
{
	session_table_each(table->sessions, tell_orphan, table);
}

/* --- reload and shutdown --- */

void
link_table_reload(struct link_table *table, struct conf *conf)
{
	list_each (item, &table->links) {
		struct link *link = list_item(item, struct link, item);
		const struct link_terms *terms =
		    table->house->options.terms(conf, plugin_name(link->self));

		if (terms == NULL) {
			continue; /* its instance goes, and the link with it */
		}
		link->terms = terms;
		if (link->session != NULL) {
			session_set_limits(link->session, terms->limits, conf);
		}
		(void)conf_ref(conf);
		conf_unref(&link->conf);
		link->conf = conf;
	}
	link_table_tell_orphans(table);
}

void
link_table_stop_reading(struct link_table *table)
{
	table->stopping = true;
	list_each (item, &table->conns) {
		peer_pause(&list_item(item, struct link_conn, item)->peer, PEER_PAUSE_STOP);
	}
}

bool
link_table_is_busy(const struct link_table *table)
{
	if (!list_is_empty(&table->publications)) {
		return true;
	}
	list_each (item, &table->conns) {
		if (peer_ack_count(&list_item(item, struct link_conn, item)->peer) != 0) {
			return true;
		}
	}
	return false;
}

void
link_table_close_all(struct link_table *table)
{
	table->closed = true;
	atomic_store(&table->house->is_stopping, true);
	list_each (item, &table->links) {
		link_close(list_item(item, struct link, item), WIRE_REASON_SUCCESS,
		    SESSION_LEAVE_SHUTDOWN);
	}
}

bool
link_table_is_empty(const struct link_table *table)
{
	return list_is_empty(&table->links) && list_is_empty(&table->conns);
}
