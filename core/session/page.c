/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions told to operators, a page at a time, so that no list holds a worker up. */
#include "session/session_int.h"

static struct session_info
info_of(const struct session *session)
{
	struct session_info info = {.client = session->client,
	    .is_attached = session->sink != NULL,
	    .expiry_s = session->expiry_s,
	    .left_ms = session->sleep != NULL ? session->sleep->left_ms : -1,
	    .subscriptions = session_subscription_count(session),
	    .has_will = session->will != NULL};

	if (session->out != NULL) {
		info.inflight = session->out->inflight.count;
		info.queued_bytes = session->out->queued_bytes;
		for (int i = 0; i < SESSION_RING_COUNT; i++) {
			info.queued += session->out->rings[i].count;
		}
	}
	return info;
}

bool
session_table_page(
    struct session_table *table, uint32_t *slot_io, uint32_t max, session_page_fn *fn, void *arg)
{
	/* Ending one may move the slots: they are looked at anew each time. */
	for (uint32_t i = 0; i < max && *slot_io < table->slots.count; i++, ++*slot_io) {
		struct session *session = table->slots.items[*slot_io].session;
		struct session_info info;

		if (session != NULL) {
			info = info_of(session);
			if (fn(&info, arg)) {
				session_terminate(session);
			}
		}
	}
	return *slot_io < table->slots.count;
}

bool
session_table_tell(
    struct session_table *table, struct bytes client_id, session_page_fn *fn, void *arg)
{
	struct session *session = session_table_find(table, client_id);
	struct session_info info;

	if (session == NULL) {
		return false;
	}
	info = info_of(session);
	if (fn(&info, arg)) {
		session_terminate(session);
	}
	return true;
}

struct session_sink *
session_sink_of(const struct session *session)
{
	return session->sink;
}
