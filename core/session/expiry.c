/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What time does to a sleeping session: its will fires after its delay, or when the session ends,
 * whichever is first [MQTT-3.1.3-9]; it ends after its expiry interval, and never with
 * 0xFFFFFFFF. One timer, set to what comes first. Both spans begin when the connection ended.
 */
#include "session/session_int.h"

static int64_t
expires_at(const struct session *session)
{
	return session->expiry_s == UINT32_MAX
		   ? INT64_MAX
		   : session->sleep->left_ms + (int64_t)session->expiry_s * 1000;
}

static int64_t
will_at(const struct session *session)
{
	return session->will == NULL
		   ? INT64_MAX
		   : session->sleep->left_ms + (int64_t)session->will->delay_s * 1000;
}

bool
session_is_expired(const struct session *session)
{
	return session->sleep != NULL && session_now() >= expires_at(session);
}

bool
session_will_is_due(const struct session *session)
{
	return session->will != NULL && session->sleep != NULL && session_now() >= will_at(session);
}

static void
fire(struct worker *worker, struct timer *timer)
{
	(void)worker;
	session_go_on(list_item(timer, struct session_sleep, timer)->session);
}

void
session_arm(struct session *session)
{
	int64_t first = expires_at(session);

	first = first < will_at(session) ? first : will_at(session);
	session->sleep->timer.fn = fire;
	if (first == INT64_MAX) {
		timer_clear(session->table->worker, &session->sleep->timer);
	} else {
		timer_set(session->table->worker, &session->sleep->timer, first);
	}
}

void
session_go_on(struct session *session)
{
	bool ends = session->ending || session_is_expired(session);
	uint64_t ticket = 0;

	if ((ends || session_will_is_due(session)) && !session_will_fire(session)) {
		return;
	}
	if (!ends) {
		session_arm(session);
		return;
	}
	if (!session->ending && session->expiry_s != 0) {
		counter_add(COUNTER_SESSIONS_EXPIRED, 1);
	}
	session_end(session, &ticket);
}
