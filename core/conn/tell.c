/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection tells observers. Own thread. */
#include "conn/conn_int.h"
#include "plugin/observe.h"
#include "wire/reason.h"

/* Who is refused before it has a snapshot is shown as it claims to be. */
static struct msg_client *
client_of(struct conn *conn)
{
	return conn->client != NULL    ? msg_client_ref(conn->client)
	       : conn->connect != NULL ? conn_claimed_client(conn)
				       : NULL;
}

static void
tell(struct conn *conn, struct plugin_event event)
{
	event.client = client_of(conn);
	plugin_observe(conn->table->house->options.observers, &event);
	msg_client_unref(&event.client);
}

static bool
is_observed(const struct conn *conn, uint64_t what)
{
	return plugin_is_observed(conn->table->house->options.observers, what);
}

void
conn_tell_connected(struct conn *conn)
{
	if (is_observed(conn, AVOCET_EV_CONNECTED)) {
		tell(conn, (struct plugin_event){
			       .what = AVOCET_EV_CONNECTED, .reason = conn->connect->present});
	}
}

void
conn_tell_closed(struct conn *conn, enum session_leave how, uint8_t reason, const char *sentence)
{
	bool was_served = conn->state == CONN_SERVING;
	uint64_t what = was_served ? AVOCET_EV_DISCONNECTED : AVOCET_EV_REFUSED;
	uint32_t by = reason != WIRE_REASON_SUCCESS       ? AVOCET_BY_BROKER
		      : how == SESSION_LEAVE_NORMAL       ? AVOCET_BY_CLIENT
		      : conn->peer.lost || conn->peer.eof ? AVOCET_BY_NETWORK
							  : AVOCET_BY_BROKER;

	/* Who has said nothing is nobody. */
	if (is_observed(conn, what) && (conn->client != NULL || conn->connect != NULL)) {
		tell(conn, (struct plugin_event){
			       .what = what, .by = by, .reason = reason, .text = sentence});
	}
}

void
conn_tell_taken_over(struct conn *conn)
{
	if (is_observed(conn, AVOCET_EV_SESSION_TAKEN)) {
		tell(conn,
		    (struct plugin_event){.what = AVOCET_EV_SESSION_TAKEN, .by = AVOCET_BY_CLIENT});
	}
}

bool
conn_tells_delivered(const struct conn *conn)
{
	return is_observed(conn, AVOCET_EV_DELIVERED);
}

void
conn_tell_delivered(struct conn *conn, struct msg *msg, uint8_t qos, bool retain)
{
	if (is_observed(conn, AVOCET_EV_DELIVERED)) {
		tell(conn,
		    (struct plugin_event){
			.what = AVOCET_EV_DELIVERED, .msg = msg, .qos = qos, .retain = retain});
	}
}

void
conn_tell_filter(const struct conn_table *table, struct msg_client *client, uint64_t what,
    struct bytes filter, uint8_t reason, const char *by_name)
{
	struct plugin_observers *observers = table->house->options.observers;
	bool is_no = what == AVOCET_EV_DENIED;

	if (plugin_is_observed(observers, what)) {
		plugin_observe(observers, &(struct plugin_event){.what = what,
					      .client = client,
					      .filter = filter,
					      .by = is_no ? AVOCET_BY_PLUGIN : AVOCET_BY_CLIENT,
					      .by_name = by_name,
					      .reason = is_no ? reason : 0,
					      .qos = is_no ? 0 : reason});
	}
}
