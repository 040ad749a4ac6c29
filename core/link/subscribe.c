/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subscriptions of a link's session: authorizers are asked about them as about those of a client.
 * The answer may come later, and when the link has gone.
 */
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "link/link_int.h"
#include "wire/reason.h"
#include "wire/topic_name.h"

enum asking_kind {
	ASKING_ALL,   /* those of the options: when the session was opened */
	ASKING_SOME,  /* the plugin wants them, and is told */
	ASKING_AGAIN, /* the rules may have changed */
};

struct link_asking {
	struct plugin_request request; /* first */
	struct link *link;             /* NULL: it has gone */
	struct list_link item;         /* of table->askings */
	struct conf *conf;             /* a reference: the set is part of it */
	struct msg_client *client;
	struct link_sub *subs;
	struct plugin_access *access;
	uint8_t *reasons;
	size_t count;
	struct arena arena;
	bool failed;  /* nobody could say */
	bool resends; /* what is retained goes out in any case */
	enum asking_kind kind;
	void (*done)(struct link *link); /* of ASKING_ALL */
	uint64_t cookie;                 /* of ASKING_SOME */
};

/* What is asked about again. */
struct link_recheck {
	struct link_subs *wanted; /* by the options */
	VEC(struct link_sub) subs;
};

static void
free_asking(struct plugin_request *request)
{
	struct link_asking *asking = list_item(request, struct link_asking, request);

	plugin_request_fini(request);
	msg_client_unref(&asking->client);
	conf_unref(&asking->conf);
	mem_free(&asking->access);
	mem_free(&asking->subs);
	mem_free(&asking->reasons);
	arena_fini(&asking->arena);
	mem_free(&asking);
}

static struct link_asking *
asking_new(struct link *link, const struct link_subs *subs, bool resends)
{
	struct link_asking *asking = mem_zalloc(sizeof(*asking));

	asking->link = link;
	asking->resends = resends;
	asking->conf = conf_ref(link->conf);
	asking->client = msg_client_ref(link->client);
	asking->count = subs->count;
	asking->subs = mem_zalloc((subs->count + 1) * sizeof(*asking->subs));
	asking->access = mem_zalloc((subs->count + 1) * sizeof(*asking->access));
	asking->reasons = mem_zalloc(subs->count + 1);
	arena_init(&asking->arena);
	for (size_t i = 0; i < subs->count; i++) {
		struct plugin_access *access = &asking->access[i];

		asking->subs[i] = subs->items[i];
		if (resends && asking->subs[i].retain_handling == 1) {
			asking->subs[i].retain_handling = 0;
		}
		asking->subs[i].filter =
		    bytes_of(arena_text(&asking->arena, subs->items[i].filter));
		if (!wire_topic_share_split(
			asking->subs[i].filter, &access->share_name, &access->filter)) {
			access->filter = asking->subs[i].filter;
		}
		access->qos = asking->subs[i].qos;
		access->max_qos = 2;
	}
	plugin_request_init(&asking->request);
	list_append(&link->table->askings, &asking->item);
	return asking;
}

static uint8_t
subscribe_one(struct link *link, const struct link_asking *asking, size_t at)
{
	const struct link_sub *sub = &asking->subs[at];
	const struct plugin_access *access = &asking->access[at];
	const struct link_options *options = link->options;
	struct session_subscribe subscribe = {.filter = sub->filter,
	    .full_filter = access->filter,
	    .share_name = access->share_name,
	    .part = (uint16_t)options->part,
	    .parts = (uint16_t)options->parts,
	    .qos = sub->qos < access->max_qos ? sub->qos : access->max_qos,
	    .no_local = sub->no_local,
	    .retain_as_published = sub->retain_as_published,
	    .retain_handling = sub->retain_handling};
	uint64_t ticket = 0;

	if (access->reason >= WIRE_REASON_FIRST_ERROR) {
		return access->reason;
	}
	return session_subscribe(link->session, &subscribe, &ticket) == 0
		   ? subscribe.qos
		   : (uint8_t)WIRE_REASON_QUOTA_EXCEEDED;
}

static void
tell(struct link *link, const struct link_asking *asking)
{
	int64_t entered;

	if (link->events.subscribed == NULL) {
		return;
	}
	entered = plugin_enter(link->self);
	link->events.subscribed(plugin_inst(link->self), link->handle, link->user, asking->cookie,
	    asking->reasons, asking->count);
	plugin_leave(link->self, entered, "subscribed");
}

/* What stands and is asked about again stays as it is, unless it is denied: an authority that could
 * not say denies nothing. */
static bool
stays(const struct link *link, const struct link_asking *asking, size_t at)
{
	uint8_t reason = asking->access[at].reason;

	if (asking->kind != ASKING_AGAIN) {
		return false;
	}
	if (asking->failed || reason == WIRE_REASON_IMPLEMENTATION_SPECIFIC_ERROR) {
		return true;
	}
	return reason < WIRE_REASON_FIRST_ERROR && !asking->resends &&
	       session_has_subscription(link->session, asking->subs[at].filter);
}

static uint8_t
carry_out_one(struct link *link, const struct link_asking *asking, size_t at)
{
	struct bytes filter = asking->subs[at].filter;
	uint64_t ticket = 0;
	uint8_t reason;

	if (link->session == NULL) {
		return WIRE_REASON_SERVER_UNAVAILABLE;
	}
	if (stays(link, asking, at)) {
		return WIRE_REASON_SUCCESS;
	}
	reason = subscribe_one(link, asking, at);
	if (reason >= WIRE_REASON_FIRST_ERROR) {
		(void)session_unsubscribe(link->session, filter, &ticket);
		link_log(link, LOG_LEVEL_WARNING, "may not have \"%.*s\" of this broker: %s",
		    (int)filter.len, (const char *)filter.data, wire_reason_name(reason));
	}
	return reason;
}

static void
carry_out(struct link_asking *asking)
{
	struct link *link = asking->link;
	void (*done)(struct link *) = asking->done;

	list_remove(&asking->item);
	if (link != NULL && link->asking == asking) {
		link->asking = NULL;
	}
	for (size_t i = 0; link != NULL && i < asking->count; i++) {
		asking->reasons[i] = carry_out_one(link, asking, i);
	}
	if (link != NULL && asking->kind == ASKING_SOME) {
		tell(link, asking);
	}
	plugin_end(&asking->request, free_asking);
	if (link != NULL && done != NULL) {
		done(link);
	}
	if (link != NULL && link->asks_again && link->asking == NULL) {
		bool resends = link->resends;

		link->asks_again = link->resends = false;
		link_recheck(link, resends);
	}
}

static void
take_verdict(struct link_asking *asking, enum plugin_verdict verdict)
{
	asking->failed = verdict != PLUGIN_ACCEPT;
	for (size_t i = 0; verdict != PLUGIN_ACCEPT && i < asking->count; i++) {
		if (asking->access[i].reason < WIRE_REASON_FIRST_ERROR) {
			asking->access[i].reason = asking->request.reason >= WIRE_REASON_FIRST_ERROR
						       ? asking->request.reason
						       : (uint8_t)WIRE_REASON_NOT_AUTHORIZED;
		}
	}
	carry_out(asking);
}

static void
on_done(struct plugin_request *request)
{
	take_verdict(list_item(request, struct link_asking, request), request->verdict);
}

static void
ask(struct link *link, struct link_asking *asking)
{
	const struct plugin_set *plugins = link->terms->plugins;
	enum plugin_verdict verdict;

	if (asking->kind != ASKING_SOME) {
		link->asking = asking;
	}
	if (plugins->authorize == NULL || asking->count == 0) {
		carry_out(asking);
		return;
	}
	asking->request.question = PLUGIN_SUBSCRIBE;
	asking->request.client = asking->client;
	asking->request.items = asking->access;
	asking->request.item_count = asking->count;
	asking->request.done = on_done;
	verdict = plugin_ask(link->table->plugins, plugins->authorize, &asking->request);
	if (verdict != PLUGIN_PENDING) {
		take_verdict(asking, verdict);
	}
}

static bool
is_wanted(struct session *session, const struct session_subscribe *subscription, void *arg)
{
	const struct link_subs *subs = arg;

	(void)session;
	for (size_t i = 0; i < subs->count; i++) {
		if (bytes_equal(subs->items[i].filter, subscription->filter)) {
			return true;
		}
	}
	return false;
}

void
link_subscribe_all(struct link *link, void (*done)(struct link *link))
{
	struct link_asking *asking;

	session_each_subscription(link->session, is_wanted, &link->options->subs);
	asking = asking_new(link, &link->options->subs, false);
	asking->kind = ASKING_ALL;
	asking->done = done;
	ask(link, asking);
}

void
link_subscribe_some(struct link *link, const struct link_subs *subs, uint64_t cookie)
{
	struct link_asking *asking = asking_new(link, subs, false);

	asking->kind = ASKING_SOME;
	asking->cookie = cookie;
	if (link->session != NULL) {
		ask(link, asking);
	} else {
		carry_out(asking);
	}
}

void
link_drop_asking(struct link *link)
{
	list_each (item, &link->table->askings) {
		struct link_asking *asking = list_item(item, struct link_asking, item);

		if (asking->link == link) {
			asking->link = NULL;
		}
	}
	link->asking = NULL;
}

void
link_free_askings(struct link_table *table)
{
	struct list_link *item;

	while ((item = list_take_first(&table->askings)) != NULL) {
		plugin_end(&list_item(item, struct link_asking, item)->request, free_asking);
	}
}

/* Those that the plugin has added. */
static bool
note_other(struct session *session, const struct session_subscribe *subscription, void *arg)
{
	struct link_recheck *recheck = arg;

	if (!is_wanted(session, subscription, recheck->wanted)) {
		vec_push(
		    &recheck->subs, (struct link_sub){.filter = subscription->filter,
					.qos = subscription->qos,
					.no_local = subscription->no_local,
					.retain_as_published = subscription->retain_as_published,
					.retain_handling = subscription->retain_handling});
	}
	return true;
}

void
link_recheck(struct link *link, bool resends)
{
	struct link_recheck recheck = {0};
	struct link_asking *asking;

	if (link->session == NULL || (link->terms->plugins->authorize == NULL && !resends)) {
		return;
	}
	if (link->asking != NULL) {
		/* That is about the rules of before. */
		link->asks_again = true;
		link->resends = link->resends || resends;
		return;
	}
	recheck.wanted = &link->options->subs;
	for (size_t i = 0; i < recheck.wanted->count; i++) {
		vec_push(&recheck.subs, recheck.wanted->items[i]);
	}
	session_each_subscription(link->session, note_other, &recheck);
	asking = asking_new(link,
	    &(struct link_subs){.items = recheck.subs.items, .count = recheck.subs.count}, resends);
	vec_fini(&recheck.subs);
	asking->kind = ASKING_AGAIN;
	ask(link, asking);
}

void
link_table_recheck(struct link_table *table)
{
	list_each (item, &table->links) {
		link_recheck(list_item(item, struct link, item), false);
	}
}
