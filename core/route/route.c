/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a publication. Each may be answered in another turn; then the publication, which its
 * asker holds on the heap, continues where it stood. Without plugins there is no step but the last.
 */
#include "route/route.h"

#include <assert.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/mem.h"
#include "plugin/observe.h"
#include "route/route_int.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

enum step { STEP_INTERCEPT, STEP_AUTHORIZE, STEP_CARRY };

/* --- house and desks --- */

struct route_house *
route_house_new(struct loop *loop, struct session_house *sessions)
{
	struct route_house *house = mem_zalloc(sizeof(*house));

	house->loop = loop;
	house->sessions = sessions;
	return house;
}

void
route_house_free(struct route_house **house_at)
{
	struct route_house *house = *house_at;

	for (unsigned i = 0; house != NULL && i < WORKER_MAX; i++) {
		struct route_desk *desk = house->desks[i];

		if (desk == NULL) {
			continue;
		}
		route_wills_free(desk);
		route_batches_free(desk);
		vec_fini(&desk->runs);
		vec_fini(&desk->groups);
		vec_fini(&desk->receivers);
		vec_fini(&desk->ids);
		for (unsigned w = 0; w < WORKER_MAX; w++) {
			mem_free(&desk->stamps[w].items);
		}
		buf_fini(&desk->record);
		buf_fini(&desk->marked);
		route_memo_free(&desk->memo);
		mem_free(&house->desks[i]);
	}
	if (house != NULL) {
		route_hops_free(house);
	}
	mem_free(house_at);
}

void
route_house_set_max_transit(struct route_house *house, int64_t bytes)
{
	atomic_store_explicit(&house->max_transit, bytes, memory_order_relaxed);
}

int64_t
route_house_max_transit(const struct route_house *house)
{
	return atomic_load_explicit(&house->max_transit, memory_order_relaxed);
}

struct route_house *
route_desk_house(const struct route_desk *desk)
{
	return desk->house;
}

void
route_house_set_plugins(struct route_house *house, route_set_fn *fn, void *arg)
{
	house->set_fn = fn;
	house->set_arg = arg;
}

struct route_desk *
route_desk_new(struct route_house *house, struct worker *worker, struct plugin_desk *plugins,
    struct store_port *port)
{
	struct route_desk *desk = mem_zalloc(sizeof(*desk));

	desk->house = house;
	desk->worker = worker;
	desk->plugins = plugins;
	desk->port = port;
	buf_init(&desk->record, SIZE_MAX);
	buf_init(&desk->marked, SIZE_MAX);
	list_init(&desk->wills);
	house->desks[worker_index(worker)] = desk;
	if (port != NULL) {
		house->any_port = port;
	}
	worker_on_phase(worker, WORKER_STORE, route_flush_batches, desk);
	return desk;
}

void
route_desk_set_table(struct route_desk *desk, struct session_table *table)
{
	desk->table = table;
}

static void
on_dropped(void *arg, struct session *session, const struct session_delivery *delivery,
    enum session_drop reason)
{
	static const uint32_t reasons[] = {
	    [SESSION_DROP_QUEUE_FULL] = AVOCET_DROP_QUEUE_FULL,
	    [SESSION_DROP_QOS0_OFFLINE] = AVOCET_DROP_OFFLINE,
	    [SESSION_DROP_EXPIRED] = AVOCET_DROP_EXPIRED,
	    [SESSION_DROP_TOO_LARGE] = AVOCET_DROP_TOO_LARGE,
	    [SESSION_DROP_DENIED] = AVOCET_DROP_DENIED,
	    [SESSION_DROP_MEMORY] = AVOCET_DROP_MEMORY,
	    [SESSION_DROP_GONE] = AVOCET_DROP_GONE,
	};
	const struct route_desk *desk = arg;

	if (plugin_is_observed(desk->house->observers, AVOCET_EV_DROPPED)) {
		plugin_observe(
		    desk->house->observers, &(struct plugin_event){.what = AVOCET_EV_DROPPED,
						.by = AVOCET_BY_BROKER,
						.client = session_client(session),
						.msg = delivery->msg,
						.reason = reasons[reason],
						.qos = delivery->qos});
	}
}

static void
on_ended(void *arg, struct session *session)
{
	const struct route_desk *desk = arg;

	if (plugin_is_observed(desk->house->observers, AVOCET_EV_SESSION_ENDED)) {
		plugin_observe(
		    desk->house->observers, &(struct plugin_event){.what = AVOCET_EV_SESSION_ENDED,
						.client = session_client(session)});
	}
}

const struct session_route_ops route_session_ops = {
    .will = route_will, .redispatch = route_redispatch, .dropped = on_dropped, .ended = on_ended};

void
route_house_set_observers(struct route_house *house, struct plugin_observers *observers)
{
	house->observers = observers;
}

/* A message has gone out. */
static void
tell_published(const struct route_desk *desk, const struct route_publication *publication,
    struct msg *msg, bool reached)
{
	uint64_t what = (msg->flags & MSG_WILL) != 0 ? AVOCET_EV_WILL : AVOCET_EV_PUBLISHED;

	if (plugin_is_observed(desk->house->observers, what)) {
		plugin_observe(desk->house->observers,
		    &(struct plugin_event){.what = what,
			.client = publication->client,
			.msg = msg,
			.qos = msg->qos,
			.retain = (msg->flags & MSG_RETAIN) != 0,
			.reason = reached ? 0 : WIRE_REASON_NO_MATCHING_SUBSCRIBERS});
	}
}

bool
route_desk_is_over(const struct route_desk *const_desk)
{
	struct route_desk *desk = (struct route_desk *)(uintptr_t)const_desk;
	struct route_house *house = desk->house;
	int64_t max = atomic_load_explicit(&house->max_transit, memory_order_relaxed);
	uint64_t turn = worker_turns(desk->worker);
	uint64_t transit;

	if (max == 0) {
		return false;
	}
	if (desk->over_turn == turn) {
		return desk->over;
	}
	transit = mail_undigested(house->loop) +
		  (uint64_t)atomic_load_explicit(&house->draft_bytes, memory_order_relaxed);
	if (house->any_port != NULL) {
		transit += store_pending_bytes(house->any_port);
	}
	desk->over_turn = turn;
	desk->over = transit > (uint64_t)max;
	return desk->over;
}

/* A draft that waits is transit. Interceptors may change it: what was added is what is taken off.
 */
static void
count_draft(struct route_publication *publication)
{
	const struct msg_draft *draft = &publication->draft;

	if (publication->draft_bytes == 0) {
		publication->draft_bytes =
		    (int64_t)(draft->payload.len + draft->topic.len + draft->props.len + 256);
		atomic_fetch_add_explicit(&publication->desk->house->draft_bytes,
		    publication->draft_bytes, memory_order_relaxed);
	}
}

static void
uncount_draft(struct route_publication *publication)
{
	if (publication->draft_bytes != 0) {
		atomic_fetch_sub_explicit(&publication->desk->house->draft_bytes,
		    publication->draft_bytes, memory_order_relaxed);
		publication->draft_bytes = 0;
	}
}

void
route_forget(struct route_publication *publication)
{
	uncount_draft(publication);
}

/* --- the steps --- */

static void
refuse(struct route_publication *publication, uint8_t reason)
{
	publication->reason = reason;
	counter_add(COUNTER_PUBLISHES_DROPPED, 1);
}

/* A verdict of a plugin: may it go on? */
static bool
judge(struct route_publication *publication, enum plugin_verdict verdict)
{
	uint8_t reason = publication->request.reason;

	switch (verdict) {
	case PLUGIN_ACCEPT:
		return true;
	case PLUGIN_DROP:
		publication->reason = WIRE_REASON_SUCCESS;
		counter_add(COUNTER_PUBLISHES_DROPPED, 1);
		return false;
	case PLUGIN_DISCONNECT:
		publication->disconnect = true;
		break;
	case PLUGIN_DENY:
	case PLUGIN_PENDING:
	case PLUGIN_CONTINUE:
		break;
	}
	reason = reason >= WIRE_REASON_FIRST_ERROR ? reason : (uint8_t)WIRE_REASON_NOT_AUTHORIZED;
	refuse(publication, reason);
	if (plugin_is_observed(publication->desk->house->observers, AVOCET_EV_DENIED)) {
		plugin_observe(publication->desk->house->observers,
		    &(struct plugin_event){.what = AVOCET_EV_DENIED,
			.by = AVOCET_BY_PLUGIN,
			.by_name = publication->request.by,
			.client = publication->client,
			.filter = publication->draft.topic,
			.reason = reason,
			.qos = publication->draft.qos});
	}
	return false;
}

struct retain_row {
	struct route_desk *desk;
	uint64_t ticket;
	bool kept; /* the value itself is stored; else only that an older one is gone */
};

static void
store_retained(void *arg, struct topic_retained *entry, struct msg_applied *applied,
    struct msg *msg, uint64_t version)
{
	struct retain_row *row = arg;
	struct store_op op = {
	    .kind = msg != NULL && row->kept ? STORE_RETAIN_PUT : STORE_RETAIN_DEL,
	    .version = version,
	    .applied = applied,
	    .entry = entry,
	    .entry_release = topic_retained_release};

	if (op.kind == STORE_RETAIN_PUT) {
		(void)msg_store_id_set(msg, session_table_draw_id(row->desk->table));
		op.msg = msg;
	} else {
		op.key = topic_retained_topic(entry);
	}
	row->ticket = store_put(row->desk->port, &op);
}

static void
retain(struct route_desk *desk, struct route_publication *publication, struct route_fan *fan)
{
	bool stored = desk->port != NULL && desk->table != NULL;
	/* A value that is not to be stored still replaces one that is. */
	struct retain_row row = {.desk = desk, .kept = publication->mode != ROUTE_NONE};

	(void)topic_retain_put(desk->house->sessions->retain, fan->msg,
	    stored ? store_retained : NULL, &row, &fan->version);
	if (row.ticket != 0 && row.kept && fan->msg->qos > 0) {
		fan->ticket = row.ticket;
	}
}

/* QoS 0 has nobody who would send it again: it goes when there is too much under way. */
static bool
is_dropped_for_overload(struct route_desk *desk, const struct route_publication *publication)
{
	if (publication->draft.qos != 0 || publication->client == NULL ||
	    !route_desk_is_over(desk)) {
		return false;
	}
	counter_add(COUNTER_PUBLISHES_DROPPED, 1);
	counter_add(COUNTER_DROPPED_OVERLOAD, 1);
	return true;
}

static bool
retained_has_room(struct route_desk *desk, const struct msg_draft *draft)
{
	return (draft->flags & MSG_RETAIN) == 0 || draft->payload.len == 0 ||
	       topic_retain_has_room(desk->house->sessions->retain, draft->topic,
		   draft->payload.len + draft->topic.len + draft->props.len);
}

static bool
is_of_stored_session(struct route_desk *desk, const struct route_publication *publication)
{
	struct session *session = NULL;

	if (publication->session != NULL && desk->table != NULL) {
		session = session_table_get(
		    desk->table, publication->session_slot, publication->session_generation);
	}
	return session != NULL && session_is_stored(session);
}

static enum route_status
carry(struct route_desk *desk, struct route_publication *publication)
{
	struct msg_draft *draft = &publication->draft;
	struct route_fan fan = {.mode = publication->mode,
	    .no_local = publication->session != NULL,
	    .worker = (uint16_t)worker_index(desk->worker),
	    .slot = publication->session_slot,
	    .generation = publication->session_generation};

	if (is_dropped_for_overload(desk, publication)) {
		return ROUTE_DONE;
	}
	if (!retained_has_room(desk, draft)) {
		refuse(publication, WIRE_REASON_QUOTA_EXCEEDED);
		return ROUTE_DONE;
	}
	route_match(desk, draft->topic);
	/* A will is not refused: its rows wait, as those of all that was routed before. */
	if (desk->port != NULL && draft->qos > 0 && publication->mode != ROUTE_NONE &&
	    (draft->flags & MSG_WILL) == 0 && store_is_failing(desk->port) &&
	    (route_writes_row(desk, draft->qos) ||
		(draft->qos == 2 && is_of_stored_session(desk, publication)))) {
		return ROUTE_BLOCKED;
	}
	if (draft->props.len != 0 &&
	    atomic_load_explicit(&desk->house->hops, memory_order_relaxed) != NULL &&
	    route_has_come_round(desk, publication)) {
		return ROUTE_DONE;
	}
	if (!plugin_is_observed(desk->house->observers, AVOCET_EV_PUBLISHED) &&
	    route_pass(desk, draft)) {
		msg_draft_fini(draft);
		publication->reason = WIRE_REASON_SUCCESS;
		return ROUTE_DONE;
	}
	fan.msg = msg_seal(draft);
	if (fan.msg == NULL) {
		refuse(publication, WIRE_REASON_QUOTA_EXCEEDED);
		return ROUTE_DONE;
	}
	if ((fan.msg->flags & MSG_RETAIN) != 0) {
		retain(desk, publication, &fan);
		/* The version must be drawn before the match that counts [flow 5]. */
		route_match(desk, msg_topic(fan.msg));
	}
	route_fan_out(desk, &fan);
	tell_published(desk, publication, fan.msg, fan.reached != 0);
	msg_unref(&fan.msg);
	publication->reason =
	    fan.reached != 0 ? WIRE_REASON_SUCCESS : WIRE_REASON_NO_MATCHING_SUBSCRIBERS;
	publication->ticket = publication->mode == ROUTE_COMMIT ? fan.ticket : 0;
	publication->worker_over = fan.worker_over;
	return ROUTE_DONE;
}

static void on_answer(struct plugin_request *request);

/* Puts the question of this step. */
static enum plugin_verdict
ask(struct route_desk *desk, struct route_publication *publication,
    struct plugin_authority *authority, enum plugin_question question)
{
	struct plugin_request *request = &publication->request;

	plugin_request_fini(request); /* of the step before */
	*request = (struct plugin_request){.question = question,
	    .done = on_answer,
	    .client = publication->client,
	    .draft = &publication->draft,
	    .verdict = PLUGIN_PENDING};
	return plugin_ask(desk->plugins, authority, request);
}

/* An interceptor may have put another topic there; what is the same was checked when it came. */
static bool
topic_stands(struct route_publication *publication, struct bytes before)
{
	enum wire_topic_fault fault;

	if (publication->draft.topic.data == before.data &&
	    publication->draft.topic.len == before.len) {
		return true;
	}
	fault = wire_topic_name_check(publication->draft.topic, true);
	if (fault != WIRE_TOPIC_OK) {
		refuse(publication, WIRE_REASON_TOPIC_NAME_INVALID);
	}
	return fault == WIRE_TOPIC_OK;
}

/* From the present step on; verdict is of the question that this step had put, or PENDING: not yet
 * put. */
static enum route_status
go_on(struct route_desk *desk, struct route_publication *publication, enum plugin_verdict verdict)
{
	const struct plugin_set *set = publication->plugins;
	bool is_will = (publication->draft.flags & MSG_WILL) != 0;

	if (publication->step == STEP_INTERCEPT) {
		if (set->intercept != NULL &&
		    (verdict != PLUGIN_PENDING ||
			plugin_is_concerned(set->intercept, publication->draft.topic))) {
			/* Who has waited does not know what stood there. */
			struct bytes before = verdict == PLUGIN_PENDING ? publication->draft.topic
									: (struct bytes){0};

			if (verdict == PLUGIN_PENDING) {
				verdict = ask(
				    desk, publication, set->intercept, PLUGIN_INTERCEPT_PUBLISH);
			}
			if (verdict == PLUGIN_PENDING) {
				return ROUTE_PENDING;
			}
			if (!judge(publication, verdict) || !topic_stands(publication, before)) {
				return ROUTE_DONE;
			}
		}
		verdict = PLUGIN_PENDING;
		publication->step = STEP_AUTHORIZE;
	}
	if (publication->step == STEP_AUTHORIZE) {
		if (set->authorize != NULL) {
			if (verdict == PLUGIN_PENDING) {
				verdict = ask(desk, publication, set->authorize,
				    is_will ? PLUGIN_WILL : PLUGIN_PUBLISH);
			}
			if (verdict == PLUGIN_PENDING) {
				return ROUTE_PENDING;
			}
			if (!judge(publication, verdict)) {
				return ROUTE_DONE;
			}
		}
		publication->step = STEP_CARRY;
	}
	return publication->ready != NULL ? ROUTE_READY : carry(desk, publication);
}

enum route_status
route_carry(struct route_publication *publication)
{
	/* What waits for a failing store does not count as transit [flow 6]. */
	uncount_draft(publication);
	return carry(publication->desk, publication);
}

static void
on_answer(struct plugin_request *request)
{
	struct route_publication *publication =
	    (struct route_publication *)(void *)((char *)request -
						 offsetof(struct route_publication, request));
	struct route_desk *desk = publication->desk;
	enum route_status status;

	if (request->timed_out) {
		/* The input is still the authority's: nothing of it may be changed or carried. */
		(void)judge(publication, request->verdict);
		status = ROUTE_DONE;
	} else {
		status = go_on(desk, publication, request->verdict);
	}
	if (status == ROUTE_PENDING) {
		return;
	}
	if (status == ROUTE_READY) {
		publication->ready(publication);
		return;
	}
	if (status == ROUTE_BLOCKED) {
		/* It was answered late, and now the store fails: refused; who sent it may send it
		 * again. */
		refuse(publication, WIRE_REASON_QUOTA_EXCEEDED);
	}
	uncount_draft(publication);
	publication->done(publication);
}

enum route_status
route_publish(struct route_desk *desk, struct route_publication *publication)
{
	const struct plugin_set *set = publication->plugins;
	enum route_status status;

	publication->desk = desk;
	if (publication->session != NULL) {
		publication->session_slot = session_slot(publication->session);
		publication->session_generation = session_generation(publication->session);
	}
	if (set == NULL || (set->intercept == NULL && set->authorize == NULL)) {
		publication->step = STEP_CARRY;
		status = publication->ready != NULL ? ROUTE_READY : carry(desk, publication);
	} else {
		publication->step = STEP_INTERCEPT;
		status = go_on(desk, publication, PLUGIN_PENDING);
	}
	if (status == ROUTE_PENDING || status == ROUTE_READY) {
		count_draft(publication);
	}
	return status;
}

void
route_publish_own(struct route_desk *desk, struct bytes topic, struct bytes payload, bool retain_it)
{
	struct route_publication publication = {.draft = {.topic = topic,
						    .payload = payload,
						    .born_mono_ms = context_current->mono_ms,
						    .born_wall_ms = context_current->wall_ms,
						    .flags = (uint8_t)(retain_it ? MSG_RETAIN : 0)},
	    .mode = ROUTE_NONE};

	(void)route_publish(desk, &publication);
	msg_draft_fini(&publication.draft);
}

bool
route_publish_trusted(struct route_desk *desk, struct msg_draft *draft)
{
	struct route_publication publication = {.draft = *draft, .mode = ROUTE_RELAXED};
	enum route_status status = route_publish(desk, &publication);

	msg_draft_fini(&publication.draft);
	*draft = (struct msg_draft){0};
	return status == ROUTE_DONE;
}

/* --- durability --- */

enum route_mode
route_mode_of(const struct route_durability *durability, struct bytes topic)
{
	for (size_t i = 0; i < durability->filter_count; i++) {
		if (wire_topic_matches(bytes_of(durability->filters[i].filter), topic)) {
			return (enum route_mode)durability->filters[i].mode;
		}
	}
	return (enum route_mode)durability->mode;
}
