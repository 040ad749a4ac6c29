/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doors and guests. Main accepts, looks at the limits, and hands the descriptor by mail to the
 * client worker with the fewest connections: those it has by its own count plus those that are on
 * their way to it, so that a burst spreads.
 *
 * What a guest counts for is taken back by the worker that closes its connection, under the doors'
 * lock: so main does not wake up for those who leave. Who comes while all places are taken waits a
 * moment for one (waiting.c): often it is the same client, whose last connection is just being
 * closed.
 *
 * What only the arrival needs is in a struct of its own, which the worker frees: a guest lasts as
 * long as its connection, and is small. Arrivals are in a list, so that those who never arrived are
 * freed at the end.
 *
 * max_connect_rate is a bucket that holds one second's worth: counted in milliseconds times the
 * rate, so that a connection costs 1000 of them.
 */
#include "broker/broker_int.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"

enum { SAY_EVERY_MS = 60000, TOKEN = 1000, GUEST_COST = 256 };

/* Connections of one address. */
struct address {
	uint8_t host[16];
	size_t len;
	int64_t count;
};

struct broker_guest {
	struct conn_gone gone;      /* first */
	struct broker_entry *entry; /* a reference; knows the door */
	struct address *address;    /* NULL: not counted */
};

/* What an accepted connection needs until its worker has it. */
struct arrival {
	struct mail mail;
	struct list_link link; /* of doors->arrivals */
	struct broker_guest *guest;
	struct conf *conf; /* a reference */
	const struct conn_listener *listener;
	struct addr peer;
	unsigned hand;
	int fd;
};

static struct bytes
key_of_address(const void *item)
{
	const struct address *address = item;

	return bytes_make(address->host, address->len);
}

void
broker_doors_init(struct broker *broker)
{
	struct broker_doors *doors = &broker->doors;

	lock_init(&doors->lock);
	list_init(&doors->arrivals);
	broker_waiting_init(broker);
	for (int i = 0; i < BROKER_REFUSE_COUNT; i++) {
		doors->refusals[i].said_at_ms = INT64_MIN;
	}
}

/* --- opening and closing --- */

static struct broker_door *
find_door(struct broker *broker, const struct broker_door_plan *plan, const char *bind)
{
	struct broker_door **door, **taken;

	vec_each (door, &broker->doors.open) {
		bool is_taken = false;

		vec_each (taken, &plan->doors) {
			is_taken = is_taken || *taken == *door;
		}
		if (!is_taken && strcmp((*door)->bind, bind) == 0) {
			return *door;
		}
	}
	return NULL;
}

static struct broker_door *
bind_door(struct broker *broker, const char *name, const char *bind, char *why, size_t why_size)
{
	struct listener *listener;
	struct broker_door *door;

	if (!broker_service_adopt(&broker->service, name, bind, &listener, why, why_size)) {
		listener = listener_bind(bind, why, why_size);
	}
	if (listener == NULL) {
		return NULL;
	}
	door = mem_zalloc(sizeof(*door));
	door->broker = broker;
	door->listener = listener;
	door->bind = mem_text(bytes_of(bind));
	return door;
}

static void
free_door(struct broker_door *door)
{
	broker_entry_unref(&door->entry);
	listener_free(&door->listener);
	mem_free(&door->bind);
	mem_free(&door);
}

/* Nobody else has seen the new configuration yet. */
static void
decide(struct broker *broker, struct broker_listener *options, const struct broker_door *door)
{
	struct conn_listener *conn = &options->conn;

	/* Until its chains are made. */
	conn->plugins =
	    broker->setup.plugins != NULL ? broker->setup.plugins : &broker_house_no_plugins;
	conn->allow_anonymous = options->allow_anonymous == BROKER_AUTO
				    ? listener_is_local(door->listener) && !options->proxy_protocol
				    : options->allow_anonymous != 0;
}

int
broker_doors_prepare(struct broker *broker, struct conf *conf, struct broker_options *options,
    struct broker_door_plan *plan, char *why, size_t why_size)
{
	*plan = (struct broker_door_plan){0};
	for (size_t i = 0; i < options->listeners.count; i++) {
		struct broker_listener *listener = broker_options_listener(options, i);
		struct broker_door *door = find_door(broker, plan, listener->bind);
		struct broker_entry *entry;

		if (door == NULL) {
			door = bind_door(broker, listener->name, listener->bind, why, why_size);
		}
		if (door == NULL) {
			broker_doors_abort(plan);
			return ERR_IO;
		}
		vec_push(&plan->doors, door);
		decide(broker, listener, door);
		entry = broker_entry_new(conf, listener, door, why, why_size);
		if (entry == NULL) {
			broker_doors_abort(plan);
			return ERR_IO;
		}
		vec_push(&plan->entries, entry);
	}
	return 0;
}

/* New doors are those that have no options yet. */
void
broker_doors_abort(struct broker_door_plan *plan)
{
	struct broker_door **door;
	struct broker_entry **entry;

	vec_each (entry, &plan->entries) {
		broker_entry_unref(entry);
	}
	vec_each (door, &plan->doors) {
		if ((*door)->options == NULL) {
			free_door(*door);
		}
	}
	vec_fini(&plan->entries);
	vec_fini(&plan->doors);
}

static void
close_door(struct broker_doors *doors, struct broker_door *door)
{
	listener_free(&door->listener);
	broker_entry_unref(&door->entry);
	door->options = NULL;
	vec_push(&doors->closed, door);
}

void
broker_doors_commit(
    struct broker *broker, struct broker_options *options, struct broker_door_plan *plan)
{
	struct broker_doors *doors = &broker->doors;
	struct broker_door **door;

	vec_each (door, &doors->open) {
		(*door)->options = NULL;
	}
	for (size_t i = 0; i < plan->doors.count; i++) {
		broker_entry_unref(&plan->doors.items[i]->entry);
		plan->doors.items[i]->entry = plan->entries.items[i];
		plan->doors.items[i]->options = broker_options_listener(options, i);
	}
	vec_each (door, &doors->open) {
		if ((*door)->options == NULL) {
			log_info("no longer listening on %s", (*door)->bind);
			close_door(doors, *door);
		}
	}
	vec_fini(&doors->open);
	vec_each (door, &plan->doors) {
		vec_push(&doors->open, *door);
	}
	vec_fini(&plan->entries);
	vec_fini(&plan->doors);
}

/* --- limits --- */

static enum counter
counter_of(enum broker_refusal refusal)
{
	static const enum counter counters[BROKER_REFUSE_COUNT] = {COUNTER_ACCEPTS_REFUSED_TOTAL,
	    COUNTER_ACCEPTS_REFUSED_LISTENER, COUNTER_ACCEPTS_REFUSED_RATE,
	    COUNTER_ACCEPTS_REFUSED_ADDRESS, COUNTER_ACCEPTS_REFUSED_PROXY};

	return counters[refusal];
}

/* Counted each time, said once a minute. */
static void
refuse(struct broker_door *door, const struct addr *peer, enum broker_refusal refusal)
{
	static const char *const reasons[BROKER_REFUSE_COUNT] = {
	    "broker.max_connections is reached", "max_connections of its listener is reached",
	    "broker.max_connect_rate is reached", "broker.max_connections_per_address is reached",
	    "it does not come from one of broker.trusted_proxies"};
	struct broker_doors *doors = &door->broker->doors;
	int64_t now = context_current->mono_ms;
	int64_t said = doors->refusals[refusal].said_at_ms;
	char text[ADDR_TEXT_SIZE];
	struct log_field fields[] = {
	    {"address", {NULL, 0}}, {"listener", bytes_of(door->options->name)}};

	counter_add(counter_of(refusal), 1);
	if (said != INT64_MIN && now - said < SAY_EVERY_MS) {
		doors->refusals[refusal].silent++;
		return;
	}
	fields[0].value = bytes_make(text, addr_format(peer, text));
	log_write(LOG_LEVEL_WARNING, fields, 2,
	    "connection closed at once: %s (%" PRIu64 " more since this was last said)",
	    reasons[refusal], doors->refusals[refusal].silent);
	doors->refusals[refusal].said_at_ms = now;
	doors->refusals[refusal].silent = 0;
}

static bool
take_token(struct broker_doors *doors, int64_t rate)
{
	int64_t now = context_current->mono_ms;
	int64_t elapsed = now - doors->tokens_at_ms;

	if (rate == 0) {
		return true;
	}
	doors->tokens_at_ms = now;
	elapsed = elapsed < TOKEN ? elapsed : TOKEN;
	doors->tokens_ms += elapsed * rate;
	if (doors->tokens_ms > TOKEN * rate) {
		doors->tokens_ms = TOKEN * rate;
	}
	if (doors->tokens_ms < TOKEN) {
		return false;
	}
	doors->tokens_ms -= TOKEN;
	return true;
}

static struct address *
find_address(struct broker_doors *doors, struct bytes host)
{
	return host.len != 0 ? map_find(&doors->addresses, host) : NULL;
}

/* Is a limit reached? The lock is held. */
static bool
is_full(struct broker_door *door, const struct addr *peer, enum broker_refusal *refusal_out)
{
	struct broker_doors *doors = &door->broker->doors;
	const struct broker_general *limits = &door->broker->options->broker;
	const struct address *address = find_address(doors, addr_host(peer));

	if (limits->max_connections != 0 && doors->count >= limits->max_connections) {
		*refusal_out = BROKER_REFUSE_TOTAL;
	} else if (door->options->max_connections != 0 &&
		   door->count >= door->options->max_connections) {
		*refusal_out = BROKER_REFUSE_LISTENER;
	} else if (limits->max_connections_per_address != 0 && address != NULL &&
		   address->count >= limits->max_connections_per_address) {
		*refusal_out = BROKER_REFUSE_ADDRESS;
	} else {
		return false;
	}
	return true;
}

/* True: it may come in. */
static bool
has_room(struct broker_door *door, const struct addr *peer, enum broker_refusal *refusal_out)
{
	struct broker_doors *doors = &door->broker->doors;
	bool full;

	lock_take(&doors->lock);
	full = is_full(door, peer, refusal_out);
	lock_give(&doors->lock);
	if (!full && !take_token(doors, door->broker->options->broker.max_connect_rate)) {
		*refusal_out = BROKER_REFUSE_RATE;
		return false;
	}
	return !full;
}

/* Counts one more of this address; NULL: it has none, or there is no memory to count it. The lock
 * is held. */
static struct address *
add_address(struct broker_doors *doors, struct bytes host)
{
	struct address *address = find_address(doors, host);

	if (address == NULL) {
		if (host.len == 0 || host.len > sizeof(address->host) ||
		    !map_try_reserve(&doors->addresses)) {
			return NULL;
		}
		address = mem_zalloc(sizeof(*address));
		address->len = host.len;
		memcpy(address->host, host.data, host.len);
		map_put(&doors->addresses, address);
	}
	address->count++;
	return address;
}

static void
drop_address(struct broker_doors *doors, struct address *address)
{
	if (address != NULL && --address->count == 0) {
		map_take(&doors->addresses, key_of_address(address));
		mem_free(&address);
	}
}

/* --- guests --- */

/* Any thread. */
static void
free_guest(struct broker_doors *doors, struct broker_guest *guest)
{
	lock_take(&doors->lock);
	broker_entry_door(guest->entry)->count--;
	doors->count--;
	drop_address(doors, guest->address);
	lock_give(&doors->lock);
	broker_entry_unref(&guest->entry);
	mem_free(&guest);
}

/* On the connection's worker: it is closed. */
static void
on_gone(struct conn_gone *gone)
{
	struct broker_guest *guest = (struct broker_guest *)(void *)gone;

	free_guest(&broker_entry_door(guest->entry)->broker->doors, guest);
}

/* On the client worker. After conn_open the guest may be gone. */
static void
run_arrival(struct worker *worker, struct mail *mail)
{
	struct arrival *arrival = list_item(mail, struct arrival, mail);
	struct broker_guest *guest = arrival->guest;
	struct broker_door *door = broker_entry_door(guest->entry);
	struct broker *broker = door->broker;

	(void)worker;
	lock_take(&broker->doors.lock);
	list_remove(&arrival->link);
	lock_give(&broker->doors.lock);
	conn_open(broker->house->hands[arrival->hand].conns,
	    broker_entry_stream(guest->entry, arrival->fd, &arrival->peer), arrival->listener,
	    arrival->conf, addr_is_local(&arrival->peer), &guest->gone);
	atomic_fetch_sub_explicit(&broker->doors.arriving[arrival->hand], 1, memory_order_relaxed);
	conf_unref(&arrival->conf);
	mem_free(&arrival);
}

static unsigned
choose_hand(struct broker *broker)
{
	struct broker_doors *doors = &broker->doors;
	unsigned count = broker->house->count, best = 0, fewest = UINT32_MAX;

	for (unsigned i = 0; i < count; i++) {
		unsigned hand = (doors->next + i) % count;
		unsigned load = conn_table_count(broker->house->hands[hand].conns) +
				atomic_load_explicit(&doors->arriving[hand], memory_order_relaxed);

		if (load < fewest) {
			fewest = load;
			best = hand;
		}
	}
	doors->next = (best + 1) % count;
	return best;
}

static void
welcome(struct broker_door *door, int fd, const struct addr *peer)
{
	struct broker *broker = door->broker;
	struct broker_guest *guest = mem_zalloc(sizeof(*guest));
	struct arrival *arrival = mem_zalloc(sizeof(*arrival));

	guest->gone.fn = on_gone;
	guest->entry = broker_entry_ref(door->entry);
	arrival->mail.run = run_arrival;
	arrival->guest = guest;
	arrival->conf = conf_ref(broker->conf);
	arrival->listener = &door->options->conn;
	arrival->peer = *peer;
	arrival->hand = choose_hand(broker);
	arrival->fd = fd;
	lock_take(&broker->doors.lock);
	guest->address = add_address(&broker->doors, addr_host(peer));
	list_append(&broker->doors.arrivals, &arrival->link);
	door->count++;
	broker->doors.count++;
	lock_give(&broker->doors.lock);
	atomic_fetch_add_explicit(&broker->doors.arriving[arrival->hand], 1, memory_order_relaxed);
	mail_send(broker_main(broker), broker->house->hands[arrival->hand].worker, &arrival->mail,
	    GUEST_COST);
}

bool
broker_door_admit(struct broker_door *door, int fd, const struct addr *peer, bool last)
{
	enum broker_refusal refusal;

	if (door->options == NULL) {
		(void)close(fd);
		return true;
	}
	if (!broker_entry_takes(door->entry, peer)) {
		(void)close(fd);
		refuse(door, peer, BROKER_REFUSE_PROXY);
		return true;
	}
	if (has_room(door, peer, &refusal)) {
		welcome(door, fd, peer);
		return true;
	}
	if (refusal != BROKER_REFUSE_RATE && !last) {
		return false;
	}
	(void)close(fd);
	refuse(door, peer, refusal);
	return true;
}

static void
on_accept(struct listener *listener, int fd, const struct addr *peer, void *arg)
{
	struct broker_door *door = arg;

	(void)listener;
	counter_add(COUNTER_ACCEPTS, 1);
	if (!broker_door_admit(door, fd, peer, false) && !broker_waiting_add(door, fd, peer)) {
		(void)broker_door_admit(door, fd, peer, true);
	}
}

/* --- life --- */

static void
say_open(const struct broker_door *door)
{
	char text[ADDR_TEXT_SIZE];
	struct log_field fields[] = {{"listener", bytes_of(door->options->name)}};
	struct buf more;

	(void)addr_format(listener_addr(door->listener), text);
	buf_init(&more, SIZE_MAX);
	broker_entry_describe(door->options, &more);
	log_write(LOG_LEVEL_INFO, fields, 1, "listening on %s%s", text, buf_text(&more));
	buf_fini(&more);
	if (broker_listener_is_shut(door->options)) {
		log_write(LOG_LEVEL_WARNING, fields, 1,
		    "nobody can log in there: anonymous clients are refused (allow_anonymous), and "
		    "nobody knows any others");
	}
}

int
broker_doors_start(struct broker *broker)
{
	struct broker_doors *doors = &broker->doors;
	struct broker_door **door;

	if (doors->arriving == NULL) {
		struct hash_key key;

		worker_random_fill(broker_main(broker), &key, sizeof(key));
		map_init(&doors->addresses, key_of_address, key);
		doors->arriving = mem_zalloc(broker->house->count * sizeof(*doors->arriving));
	}
	vec_each (door, &doors->open) {
		if ((*door)->is_started) {
			continue;
		}
		if (listener_start((*door)->listener, broker_main(broker), on_accept, *door) != 0) {
			return ERR_IO;
		}
		(*door)->is_started = true;
		say_open(*door);
	}
	return 0;
}

void
broker_doors_close(struct broker *broker)
{
	struct broker_doors *doors = &broker->doors;
	struct broker_door **door;

	vec_each (door, &doors->open) {
		close_door(doors, *door);
	}
	vec_fini(&doors->open);
	broker_waiting_close(broker);
}

void
broker_doors_fini(struct broker *broker)
{
	struct broker_doors *doors = &broker->doors;
	struct broker_door **door;

	list_each (link, &doors->arrivals) {
		struct arrival *arrival = list_item(link, struct arrival, link);

		(void)close(arrival->fd);
		conf_unref(&arrival->conf);
		free_guest(doors, arrival->guest);
		mem_free(&arrival);
	}
	broker_doors_close(broker);
	vec_each (door, &doors->closed) {
		free_door(*door);
	}
	vec_fini(&doors->closed);
	map_fini(&doors->addresses);
	mem_free(&doors->arriving);
	lock_fini(&doors->lock);
}
