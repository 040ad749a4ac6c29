/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a connection must stop reading: it is owed too many acknowledgements, a worker has no credit
 * for more mail, or it publishes faster than it may. Own thread.
 */
#include "base/counter.h"
#include "conn/conn_int.h"

enum { BURST_US = 1000000 };

/* MQTT 3 has no Receive Maximum: it is read again when it has got its acknowledgements (flow 6). */
void
conn_stop_if_owing(struct conn *conn)
{
	if (conn_version(conn) != WIRE_V5 &&
	    peer_ack_publishes(&conn->peer) >= conn_receive_maximum(conn)) {
		peer_pause(&conn->peer, PEER_PAUSE_OWING);
	}
}

void
conn_stop_for_credit(struct conn *conn, uint32_t workers)
{
	struct conn_table *table = conn->table;
	struct loop *loop = table->house->options.loop;

	for (unsigned i = 0; workers != 0 && i < loop_worker_count(loop); i++) {
		unsigned bit = i < ROUTE_LAST_WORKER ? i : ROUTE_LAST_WORKER;

		if ((workers >> bit & 1) != 0 &&
		    mail_wait_credit(table->worker, loop_worker(loop, i))) {
			peer_pause(&conn->peer, PEER_PAUSE_CREDIT);
		}
	}
}

static int64_t
now_us(void)
{
	return context_current->mono_ms * 1000;
}

/* GCRA: each publication moves the moment on by its share; a second of burst is allowed. */
void
conn_stop_for_rate(struct conn *conn, size_t size)
{
	const struct conn_limits *limits = conn_limits_of(conn);
	int64_t now = now_us();
	struct conn_more *more;

	if (limits->max_publish_rate == 0 && limits->max_publish_bytes_rate == 0) {
		return;
	}
	more = conn_more_of(conn);
	more->rate_at_us = more->rate_at_us > now ? more->rate_at_us : now;
	more->bytes_at_us = more->bytes_at_us > now ? more->bytes_at_us : now;
	if (limits->max_publish_rate != 0) {
		more->rate_at_us += 1000000 / limits->max_publish_rate;
	}
	if (limits->max_publish_bytes_rate != 0) {
		more->bytes_at_us += (int64_t)size * 1000000 / limits->max_publish_bytes_rate;
	}
	if (more->rate_at_us > now + BURST_US || more->bytes_at_us > now + BURST_US) {
		peer_pause(&conn->peer, PEER_PAUSE_RATE);
		if (!list_is_linked(&more->wait_link)) {
			list_append(&conn->table->rated, &more->wait_link);
		}
	}
}

void
conn_unrate(struct conn_table *table)
{
	int64_t now = now_us();

	list_each (link, &table->rated) {
		struct conn_more *more = list_item(link, struct conn_more, wait_link);

		if (more->rate_at_us <= now + BURST_US && more->bytes_at_us <= now + BURST_US) {
			list_remove(link);
			peer_resume(&more->conn->peer, PEER_PAUSE_RATE);
		}
	}
}
