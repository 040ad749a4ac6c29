/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The will of a session (flow 9, [MQTT-3.1.2-8]). It belongs to the session, not to the connection,
 * and is published through route, which may have to ask somebody: then `asking` is set until
 * session_will_answered, no timer runs, and a CONNECT of the client id waits.
 *
 * Rows: WILL_PUT behind SESSION_PUT when it is set. Where it is published or denied, route writes
 * WILL_DEL in the chunk of the will's own rows; where it is dropped, this file does.
 */
#include "session/session_int.h"

#include "session/record.h"

void
session_will_free(struct session *session)
{
	if (session->will != NULL) {
		msg_unref(&session->will->msg);
		mem_free(&session->will);
	}
}

void
session_will_set(struct session *session, struct msg *msg, uint32_t delay_s)
{
	struct buf rec;

	session->will = mem_zalloc(sizeof(*session->will));
	session->will->msg = msg;
	session->will->delay_s = delay_s;
	session->will->stored = session->has_row;
	if (!session->has_row) {
		return;
	}
	buf_init(&rec, SIZE_MAX);
	session_record_will_encode(msg, delay_s, &rec);
	session_put(session->table,
	    &(struct store_op){
		.kind = STORE_WILL_PUT, .sid = session->sid, .msg = msg, .rec = buf_bytes(&rec)});
	buf_fini(&rec);
}

void
session_will_cancel(struct session *session)
{
	if (session->will == NULL) {
		return;
	}
	if (session->will->stored) {
		session_put(session->table,
		    &(struct store_op){.kind = STORE_WILL_DEL, .sid = session->sid});
	}
	session_will_free(session);
}

bool
session_will_fire(struct session *session)
{
	struct session_table *table = session->table;

	if (session->will == NULL) {
		return true;
	}
	counter_add(COUNTER_WILLS_FIRED, 1);
	session->asking = true;
	if (table->route_ops->will(table->route_arg, table, session, session->will->msg,
		session->client, session->will->stored) == SESSION_WILL_PENDING) {
		timer_clear(table->worker, &session->sleep->timer);
		return false;
	}
	session->asking = false;
	session_will_free(session);
	return true;
}

void
session_will_answered(struct session_table *table, uint32_t slot, uint32_t generation)
{
	struct session *session = session_table_get(table, slot, generation);

	if (session == NULL || !session->asking) {
		return;
	}
	session->asking = false;
	session_will_free(session);
	if (session_waiting_of(session) != NULL) {
		session_waiting_go_on(session);
	} else {
		session_go_on(session);
	}
}
