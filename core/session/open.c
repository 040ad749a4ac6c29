/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CONNECT and its end (flows 4 and 9): resume, take over or make the session, and what happens to
 * the old one's will. Home worker.
 *
 * session_open first finds out whether it may be done at all, before anything changes: a smaller
 * claim than the one that is attached or waits is itself the one taken over; a store that is
 * failing takes no new stored session and loses none. Then the old connection is let go, and the
 * will is settled by this table:
 *
 *     the session ends (clean start, expiry 0, expired)    published now
 *     taken over and resumed, will delay 0                 published now
 *     asleep, and the delay has just passed                published now
 *     otherwise resumed                                    dropped
 *
 * If publishing it opens a question, the open waits with its session: SESSION_WAIT.
 */
#include "session/session_int.h"

#include "conf/conf.h"
#include "base/err.h"

/* --- what waits --- */

void
session_waiting_free(struct session *session)
{
	struct session_waiting *waiting = session_waiting_of(session);

	if (waiting == NULL) {
		return;
	}
	msg_client_unref(&waiting->open.client);
	msg_unref(&waiting->open.will);
	if (waiting->open.conf != NULL) {
		conf_unref(&waiting->open.conf);
	}
	mem_free(&session->sleep->waiting);
}

static void
wait_open(struct session *session, const struct session_open *open, struct session_sink *sink)
{
	struct session_waiting *waiting = mem_alloc(sizeof(*waiting));

	waiting->open = *open;
	waiting->sink = sink;
	msg_client_ref(open->client);
	if (open->conf != NULL) {
		conf_ref(open->conf);
	}
	session->sleep->waiting = waiting;
}

/* --- leaving a connection --- */

void
session_let_go(struct session *session)
{
	if (session->sink == NULL) {
		return;
	}
	session->sink = NULL;
	session->serving = false;
	session_fall_asleep(session, session_now());
	counter_sub(COUNTER_SESSIONS_ATTACHED, 1);
	session_inflight_detach(session);
	session_inbox_leave(session);
	session_show_room(session);
}

static void
fall_asleep(struct session *session)
{
	if (!session_limits_of(session)->queue_qos0) {
		session_queue_drop_qos0(session);
	}
	session_put_row(session);
}

void
session_detach(struct session *session, enum session_leave how)
{
	bool ends = session->expiry_s == 0;

	session_let_go(session);
	if (how == SESSION_LEAVE_SHUTDOWN &&
	    (!ends || (session->will != NULL && session->has_row))) {
		/* Its rows stay as they are: what was connected at the end counts as disconnected
		 * at the next start. */
		return;
	}
	if (how == SESSION_LEAVE_NORMAL) {
		session_will_cancel(session);
	}
	if (how == SESSION_LEAVE_SHUTDOWN) {
		session_will_free(session);
	}
	if (!ends) {
		fall_asleep(session);
	}
	session_go_on(session);
}

void
session_terminate(struct session *session)
{
	struct session_sink *sink = session->sink;

	session_let_go(session);
	session->ending = true;
	if (sink != NULL) {
		sink->ops->ended(sink, SESSION_ENDED);
	}
	if (!session->asking) {
		session_go_on(session);
	}
}

/* --- making and resuming --- */

static void
attach(struct session *session, const struct session_open *open, struct session_sink *sink)
{
	struct msg_client *old = session->client;

	session->client = msg_client_ref(open->client);
	msg_client_unref(&old);
	session->expiry_s = open->expiry_s;
	session->receive_maximum = open->receive_maximum;
	session->max_qos = open->has_max_qos ? open->max_qos & 3U : 2;
	session_set_limits(session, open->limits, open->conf);
	session->sink = sink;
	session->serving = false;
	counter_add(COUNTER_SESSIONS_ATTACHED, 1);
	session_wake_up(session);
	session_show_room(session);
}

/* The will's reference is taken over. */
static uint64_t
put_rows(struct session *session, const struct session_open *open)
{
	uint64_t ticket = session_put_row(session);

	if (open->will != NULL) {
		session_will_set(session, open->will, open->will_delay_s);
	}
	return ticket;
}

static struct session *
resume(struct session *session, const struct session_open *open, struct session_sink *sink,
    uint64_t *ticket_io)
{
	const struct session_table *table = session->table;
	uint64_t ticket;

	session_will_cancel(session);
	attach(session, open, sink);
	ticket = put_rows(session, open);
	/* Its row is durable: while the store is failing its CONNACK waits for nothing. */
	if (session_is_stored(session) && !store_is_failing(table->port)) {
		*ticket_io = ticket;
	}
	return session;
}

static struct session *
begin(struct session_table *table, const struct session_open *open, struct session_sink *sink,
    uint64_t *ticket_io)
{
	struct session *session =
	    session_make(table, open->client, session_table_draw_id(table), true);
	uint64_t ticket;

	session->persistent = open->expiry_s > 0;
	session->has_row =
	    open->store && table->port != NULL && (session->persistent || open->will != NULL);
	attach(session, open, sink);
	ticket = put_rows(session, open);
	session->made_ticket = ticket;
	if (session_is_stored(session)) {
		*ticket_io = ticket;
	}
	return session;
}

/* Does the old session end, whatever becomes of its will? */
static bool
must_end(const struct session *old, const struct session_open *open)
{
	return old->ending || open->clean_start || old->expiry_s == 0 || session_is_expired(old);
}

static struct session *
finish(struct session_table *table, struct session *old, const struct session_open *open,
    struct session_sink *sink, bool *present_out, uint64_t *ticket_out)
{
	*ticket_out = 0;
	*present_out = old != NULL && !must_end(old, open);
	if (*present_out) {
		return resume(old, open, sink, ticket_out);
	}
	if (old != NULL) {
		session_end(old, ticket_out);
	}
	return begin(table, open, sink, ticket_out);
}

void
session_waiting_go_on(struct session *session)
{
	struct session_waiting *waiting = session_waiting_of(session);
	struct session_sink *sink = waiting->sink;
	uint64_t ticket;
	bool present;
	struct session *opened;

	session->sleep->waiting = NULL;
	opened = finish(session->table, session, &waiting->open, sink, &present, &ticket);
	msg_client_unref(&waiting->open.client);
	if (waiting->open.conf != NULL) {
		conf_unref(&waiting->open.conf);
	}
	mem_free(&waiting);
	sink->ops->opened(sink, opened, present, ticket, WIRE_REASON_SUCCESS);
}

/* --- CONNECT --- */

/* A reason why it may not be done; nothing has changed yet. */
static uint8_t
refusal(struct session_table *table, const struct session *old, const struct session_open *open)
{
	const struct session_house *house = table->house;
	int64_t most = atomic_load_explicit(&house->max_sessions, memory_order_relaxed);
	bool resumes = old != NULL && !must_end(old, open);

	if (table->port != NULL && store_is_failing(table->port)) {
		bool stores = !resumes && open->store && open->expiry_s > 0;
		bool loses = old != NULL && !resumes && session_is_stored(old);
		bool unsafe = resumes && session_is_stored(old) &&
			      !store_is_durable(table->port, old->made_ticket);

		if (stores || loses || unsafe) {
			return WIRE_REASON_SERVER_UNAVAILABLE;
		}
	}
	if (old == NULL && most > 0 &&
	    atomic_load_explicit(&house->sessions, memory_order_relaxed) >= most) {
		return WIRE_REASON_QUOTA_EXCEEDED;
	}
	return WIRE_REASON_SUCCESS;
}

static bool
is_outdated(const struct session *old, const struct session_sink *sink)
{
	const struct session_waiting *waiting = session_waiting_of(old);

	return (old->sink != NULL && sink->claim < old->sink->claim) ||
	       (waiting != NULL && sink->claim < waiting->sink->claim);
}

/* Lets the connections go that were here before. */
static void
take_over(struct session *old)
{
	struct session_sink *sink = old->sink;

	if (sink != NULL) {
		session_let_go(old);
		counter_add(COUNTER_SESSIONS_TAKEN_OVER, 1);
		sink->ops->ended(sink, SESSION_TAKEN_OVER);
	}
	if (session_waiting_of(old) != NULL) {
		sink = session_waiting_of(old)->sink;
		session_waiting_free(old);
		sink->ops->ended(sink, SESSION_TAKEN_OVER);
	}
}

/* False: a question is open. */
static bool
settle_will(struct session *old, const struct session_open *open)
{
	if (old->asking) {
		return false;
	}
	/* A connection that was taken over has just ended: without a delay its will is due. MQTT 3
	 * knows no delay, so a take-over publishes its will. */
	return !(must_end(old, open) || session_will_is_due(old)) || session_will_fire(old);
}

enum session_open_status
session_open(struct session_table *table, const struct session_open *open,
    struct session_sink *sink, struct session **session_out, bool *present_out,
    uint64_t *ticket_out, uint8_t *reason_out)
{
	struct session *old = session_table_find(table, msg_client_id_of(open->client));

	if (old != NULL && is_outdated(old, sink)) {
		return SESSION_OUTDATED;
	}
	*reason_out = refusal(table, old, open);
	if (*reason_out != WIRE_REASON_SUCCESS) {
		return SESSION_REFUSED;
	}
	if (old != NULL) {
		take_over(old);
		if (!settle_will(old, open)) {
			wait_open(old, open, sink);
			return SESSION_WAIT;
		}
	}
	*session_out = finish(table, old, open, sink, present_out, ticket_out);
	return SESSION_OPENED;
}

void
session_open_cancel(struct session_table *table, struct session_sink *sink, struct bytes client_id)
{
	struct session *session = session_table_find(table, client_id);

	if (session != NULL && session_waiting_of(session) != NULL &&
	    session_waiting_of(session)->sink == sink) {
		session_waiting_free(session);
	}
}

void
session_serve(struct session *session)
{
	if (err_impossible(session->sink == NULL)) {
		return;
	}
	session->serving = true;
	session_replay_attach(session);
	session_inflight_attach(session);
	session_show_room(session);
	session_mark_dirty(session);
}
